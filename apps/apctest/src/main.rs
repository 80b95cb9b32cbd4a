//! Alerts, user APCs, NtContinue and I/O completion objects, with every hostile argument that we can think of.
//!
//! A group of checks per file, tests with names as in `alpctest`. With the argument `/child` it is one of the
//! processes that [`hostile`] starts, which do not survive what they do.

#![no_std]
#![no_main]

extern crate alloc;

mod alerts;
mod apcs;
mod hostile;
mod packets;

use libnt::prelude::*;
use testkit::Test;

libnt::main!(main);

/// First argument of a child; the second is what it does.
const CHILD: &str = "/child";

/// Frames and heap blocks that servers may still have taken.
const SLACK: u64 = 24;

fn main() -> NtResult<u32> {
    let mut arguments = env::args();
    if arguments.next() == Some(CHILD) {
        return hostile::child(arguments.next().unwrap_or_default()).map(|()| 0);
    }
    Test::from_arguments("apctest")?.run_cases(SLACK, run)
}

/// All tests.
fn run(test: &mut Test) {
    alerts::run(test);
    apcs::run(test);
    packets::run(test);
    hostile::run(test);
}
