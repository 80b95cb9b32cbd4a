//! Keeps many processes open at once: `spawnopen [N=1000]`, until there are N or the quota refuses. Then it ends them,
//! and the kernel's counters must be where they were.

#![no_std]
#![no_main]

extern crate alloc;

use libnt::event::Event;
use libnt::prelude::*;
use libnt::process::{self, Process};
use testkit::{Counters, Test};

libnt::main!(main);

const CHILD: &str = "--child";
/// Frames and heap blocks that servers may still have taken.
const SLACK: u64 = 40;

fn main() -> NtResult<u32> {
    if env::args().next() == Some(CHILD) {
        let never = Event::notification(false)?;
        return libnt::wait::one(never.handle(), None).map(|_| 0);
    }
    let count = testkit::count_argument(1000)?;
    let mut test = Test::new("spawnopen");
    // Once to warm up: servers and this program's heap grow to what they need.
    open(&mut test, count);
    let before = Counters::settled()?;
    let opened = open(&mut test, count);
    test.check("at least ten processes were open at once", opened >= count.min(10));
    before.must_return(&mut test, SLACK);
    Ok(test.finish())
}

/// Opens up to so many processes at once and ends them again; how many there were.
fn open(test: &mut Test, count: usize) -> usize {
    let mut children: Vec<Process> = Vec::with_capacity(count);
    while children.len() < count {
        match process::spawn(env::image(), &[CHILD]) {
            Ok(child) => children.push(child),
            Err(STATUS_QUOTA_EXCEEDED) => {
                println!("the quota refused process {}", children.len() + 1);
                break;
            }
            Err(status) => {
                test.fail(format_args!("process {}: {status}", children.len() + 1));
                break;
            }
        }
    }
    println!("{} processes open at once", children.len());
    for child in &children {
        test.ok("ending a child", child.terminate(STATUS_CANCELLED));
    }
    for child in &children {
        test.equal("a child's exit status", child.wait(), Ok(STATUS_CANCELLED));
    }
    children.len()
}
