//! Scheduling: priorities, preemption, affinity, events and waits with time-outs, suspending.

#![no_std]
#![no_main]

extern crate alloc;

mod running;
mod waiting;

use libnt::prelude::*;
use testkit::{Counters, Test};

libnt::main!(main);

fn main() -> NtResult<u32> {
    let mut test = Test::new("sched");
    for round in 0..2 {
        let before = Counters::settled()?;
        running::run(&mut test)?;
        waiting::run(&mut test)?;
        if round > 0 {
            before.must_return(&mut test, 24);
        }
    }
    Ok(test.finish())
}
