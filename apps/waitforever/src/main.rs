//! Waits until somebody ends it: for trying Ctrl-C, `taskkill`, and what the debug console says of a program that waits.

#![no_std]
#![no_main]

use libnt::event::Event;
use libnt::prelude::*;

libnt::main!(main);

fn main() -> NtResult {
    println!("Waiting for ever; end me with Ctrl-C.");
    let never = Event::notification(false)?;
    libnt::wait::one(never.handle(), None).map(drop)
}
