//! Bad arguments to every system call: handles, pointers, lengths, flags, numbers. Each must be refused with an error
//! status, and the system goes on. `badcalls [ROUNDS]` also makes ROUNDS (default 20,000) random calls in each of a few
//! children.

#![no_std]
#![no_main]

extern crate alloc;

mod bench;
mod fuzz;
mod probes;
mod raw;

use libnt::abi::ob::PROCESS_TERMINATE;
use libnt::prelude::*;
use libnt::process;
use testkit::{Counters, Test};

libnt::main!(main);

const DEFAULT_ROUNDS: usize = 20_000;
const SEEDS: u64 = 4;

fn main() -> NtResult<u32> {
    let arguments: Vec<&str> = env::args().collect();
    if let ["--fuzz", seed, rounds] = arguments[..] {
        let number = |text: &str| text.parse::<u32>().map_err(|_| STATUS_INVALID_PARAMETER);
        return fuzz::run(number(seed)?.into(), number(rounds)? as usize).map(|()| 0);
    }
    let rounds = testkit::count_argument(DEFAULT_ROUNDS)?.to_string();
    let mut test = Test::new("badcalls");
    probes::run(&mut test)?;
    let before = Counters::settled()?;
    probes::run(&mut test)?;
    before.must_return(&mut test, 24);
    for seed in 1..=SEEDS {
        let child = process::spawn(env::image(), &["--fuzz", &seed.to_string(), &rounds])?;
        let id = child.id()?;
        test.equal(format_args!("random calls with seed {seed}"), child.wait(), Ok(STATUS_SUCCESS));
        sweep(id)?;
    }
    before.must_return(&mut test, 64);
    Ok(test.finish())
}

/// Ends the processes that a child made and whose handles it lost: each has a suspended thread, and would stay.
fn sweep(parent: u64) -> NtResult {
    for process in process::list()? {
        if process.information.inherited_from_unique_process_id == parent && process.name.is_empty() {
            // It may be ending by itself.
            let orphan = process::Process::open(process.information.unique_process_id, PROCESS_TERMINATE);
            let _ = orphan.and_then(|orphan| orphan.terminate(STATUS_CANCELLED));
        }
    }
    Ok(())
}
