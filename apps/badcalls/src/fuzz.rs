//! Random calls, in a process that nobody needs.

use crate::bench::Bench;
use crate::raw::WORDS;
use libnt::abi::arg::Dir;
use libnt::abi::mm::USER_MAX;
use libnt::abi::ob::ty;
use libnt::abi::syscalls::{ArgInfo, syscalls};
use libnt::prelude::*;
use testkit::Random;

/// Calls before everything is made anew.
const PER_BENCH: usize = 100;

/// Makes so many random calls.
pub fn run(seed: u64, rounds: usize) -> NtResult {
    let mut random = Random::new(seed);
    let mut bench = Bench::new()?;
    for round in 0..rounds {
        if round % PER_BENCH == PER_BENCH - 1 {
            bench = Bench::new()?;
        }
        let info = &syscalls()[random.below(syscalls().len())];
        if info.name == "NtDisplayString" {
            continue;
        }
        let mut words = bench.words(info);
        for (index, argument) in info.args.iter().enumerate() {
            if random.below(3) == 0 && !must_stay(argument) {
                words[index] = word(&mut random, &bench, argument, words[index]);
            }
        }
        bench.call(info, &words);
    }
    Ok(())
}

/// Time-outs stay zero, or the caller would wait. Null, where it is a handle, may mean the caller itself.
fn must_stay(argument: &ArgInfo) -> bool {
    matches!(argument.name, "Timeout" | "DelayInterval")
}

fn word(random: &mut Random, bench: &Bench, argument: &ArgInfo, good: u64) -> u64 {
    match argument.dir {
        Dir::Handle => {
            let kinds = [
                ty::PROCESS,
                ty::THREAD,
                ty::EVENT,
                ty::SECTION,
                ty::PORT,
                ty::SERVER,
                ty::TOKEN,
                ty::IO_COMPLETION,
            ];
            match random.below(11) {
                0 => bench.client().0,
                1 => random.number() | 4,
                2 => (random.number() & 0xFFC) | 0x1000,
                kind => bench.handle(kinds[(kind - 3) % kinds.len()]).0,
            }
        }
        Dir::Value => match random.below(4) {
            0 => random.number(),
            1 => 1 << random.below(64),
            2 => random.number() & 0xFF,
            _ => good.wrapping_add(random.number() & 7),
        },
        Dir::In | Dir::Out | Dir::InOut => match random.below(6) {
            0 => 0,
            1 => bench.read_only() + random.below(4096) as u64,
            2 => bench.no_access() - random.below(64) as u64,
            3 => USER_MAX.wrapping_sub(random.number() & 0xFF),
            4 => random.number() | 1 << 63,
            // Anywhere in the scratch memory, so that what is read is odd.
            _ => bench.slot(random.below(WORDS - 1)) + random.below(4096) as u64,
        },
    }
}
