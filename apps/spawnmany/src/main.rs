//! Creates and ends processes in a row: `spawnmany [N=10000]`. Afterwards the kernel's counters must be where they were.

#![no_std]
#![no_main]

extern crate alloc;

use libnt::prelude::*;
use libnt::process;
use testkit::{Counters, Test};

libnt::main!(main);

const CHILD: &str = "--child";
/// Processes before the counters are looked at, so that every server has the memory it needs.
const WARM_UP: usize = 100;
/// Frames and heap blocks that servers may still have taken.
const SLACK: u64 = 40;

fn main() -> NtResult<u32> {
    if env::args().next() == Some(CHILD) {
        return Ok(CHILD_STATUS.0);
    }
    let count = testkit::count_argument(10_000)?;
    let mut test = Test::new("spawnmany");
    run(&mut test, WARM_UP);
    let before = Counters::settled()?;
    let done = run(&mut test, count);
    test.equal("processes that were made", done, count);
    before.must_return(&mut test, SLACK);
    Ok(test.finish())
}

/// What a child returns, so that a wrong end is seen.
const CHILD_STATUS: NtStatus = NtStatus(77);

/// Makes so many processes; stops at the first that fails.
fn run(test: &mut Test, count: usize) -> usize {
    for done in 0..count {
        let ended = process::spawn(env::image(), &[CHILD]).and_then(|child| child.wait());
        if ended != Ok(CHILD_STATUS) {
            test.fail(format_args!("process {done}: {ended:?}"));
            return done;
        }
        if done % 1000 == 999 {
            println!("{} processes", done + 1);
        }
    }
    count
}
