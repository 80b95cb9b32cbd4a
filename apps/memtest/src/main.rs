//! Memory: allocating, protecting, freeing, querying; sections shared between processes, copy on write; stale
//! translations on other processors.

#![no_std]
#![no_main]

extern crate alloc;

mod private;
mod probe;
mod shared;
mod translations;

use libnt::prelude::*;
use testkit::{Counters, Test};

libnt::main!(main);

fn main() -> NtResult<u32> {
    if env::args().next() == Some(shared::CHILD) {
        return shared::child().map(|()| 0);
    }
    let mut test = Test::new("memtest");
    for round in 0..2 {
        let before = Counters::settled()?;
        test.parts(&[
            ("private memory", private::run),
            ("sections", shared::run),
            ("translations", translations::run),
        ]);
        if round > 0 {
            before.must_return(&mut test, 24);
        }
    }
    Ok(test.finish())
}
