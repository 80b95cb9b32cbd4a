//! bench: what the basic operations cost, in guest instructions (the time-stamp counter counts them under `-icount`).
//!
//! Each result is a line `BENCH <name> <instructions> <runs>`, the mean over many runs after a warm-up. The program starts itself as the other
//! process: `--serve` answers messages, `--pair` is a client with its server, `--exit` ends at once.
//!
//! Map: this file chooses and reports; [`client`] has the measured loops, [`server`] what answers them, [`pairs`] the
//! two-processor measurements, [`views`] both sides of a shown view, [`measure`] the counting.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod client;
mod measure;
mod pairs;
mod server;
mod views;

use libnt::prelude::*;
use libnt::{NtResult, info, session};

libnt::main!(main);

/// A measurement: its name, its work, how often that is done.
type Benchmark = (&'static str, fn(u64) -> NtResult<u64>, u64);

/// Measured with one processor.
const ONE: [Benchmark; 11] = [
    ("null_syscall", client::null_syscall, 20_000),
    ("alpc_rt_32", |runs| client::round_trip(32, runs), 5_000),
    ("alpc_rt_1k", |runs| client::round_trip(1024, runs), 2_000),
    ("alpc_rt_64k", |runs| client::round_trip(client::LARGE, runs), 200),
    ("alpc_view_64k", views::view, 500),
    ("alpc_section_64k", client::section, 500),
    ("alpc_handle_rt", client::handle_round_trip, 2_000),
    ("alpc_connect_close", client::connect_close, 500),
    ("alpc_connect_close_by_name", client::connect_close_by_name, 500),
    ("alpc_async_32", client::batches, 12_800),
    ("process_create_exit", client::process_create_exit, 100),
];

/// Measured with two processors.
const TWO: [Benchmark; 3] = [
    ("alpc_rt_32_other_cpu", pairs::other_cpu, 5_000),
    ("alpc_one_pair", |runs| pairs::together(1, runs), 10_000),
    ("alpc_two_pairs", |runs| pairs::together(2, runs), 10_000),
];

fn main() -> NtResult {
    let words: Vec<&str> = env::args().collect();
    match words.as_slice() {
        [] => {
            ONE.iter().try_for_each(|benchmark| run(benchmark, None))?;
            match boot_to_prompt()? {
                Some(instructions) => println!("BENCH boot_to_prompt {instructions} 1"),
                None => println!("bench: no shell has shown a prompt yet"),
            }
            Ok(())
        }
        ["two"] => TWO.iter().try_for_each(|benchmark| run(benchmark, None)),
        ["--serve", role, rest @ ..] => server::run(role, rest),
        ["--pair", rest @ ..] => pairs::pair(rest),
        ["--exit"] => Ok(()),
        [name, rest @ ..] => {
            let named = ONE.iter().chain(&TWO).find(|(known, ..)| known == name);
            let runs = rest.first().map(|word| word.parse());
            match (named, runs) {
                (Some(benchmark), None) => run(benchmark, None),
                (Some(benchmark), Some(Ok(runs))) if runs > 0 => run(benchmark, Some(runs)),
                _ => usage(),
            }
        }
    }
}

fn run((name, work, runs): &Benchmark, wanted: Option<u64>) -> NtResult {
    let runs = wanted.unwrap_or(*runs);
    println!("BENCH {name} {} {runs}", work(runs)?);
    Ok(())
}

fn usage() -> NtResult {
    let names: Vec<&str> = ONE.iter().chain(&TWO).map(|(name, ..)| *name).collect();
    println!("usage: bench            all that one processor shows");
    println!("       bench two        what two processors show");
    println!("       bench NAME [RUNS]");
    println!("NAME: {}", names.join(", "));
    Err(STATUS_INVALID_PARAMETER)
}

/// From kernel entry to the first prompt.
fn boot_to_prompt() -> NtResult<Option<u64>> {
    let boot = info::counters()?.tsc_boot;
    Ok(session::query_boot_mark()?.map(|mark| mark.saturating_sub(boot)))
}
