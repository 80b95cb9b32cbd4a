//! Every behaviour of ALPC that programs may depend on: connecting, sending, receiving, replying, time-outs, ends of
//! either side at every stage, passed handles, server objects.
//!
//! A group of checks per file. With an argument it is one of the children that [`ends`] starts and ends.

#![no_std]
#![no_main]

extern crate alloc;

mod connecting;
mod ends;
mod handles;
mod messages;
mod pair;

use libnt::prelude::*;
use testkit::{Counters, Test};

libnt::main!(main);

fn main() -> NtResult<u32> {
    if let Some(role) = env::args().next() {
        return ends::child(role).map(|()| 0);
    }
    let mut test = Test::new("alpctest");
    // Once to warm up, then with the kernel's counters watched.
    for round in 0..2 {
        let before = Counters::settled()?;
        test.parts(&[
            ("connecting", connecting::run),
            ("messages", messages::run),
            ("ends", ends::run),
            ("handles", handles::run),
        ]);
        if round > 0 {
            before.must_return(&mut test, 24);
        }
    }
    Ok(test.finish())
}
