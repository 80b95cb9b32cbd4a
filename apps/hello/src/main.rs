//! The smallest libnt program.

#![no_std]
#![no_main]

use libnt::prelude::*;

libnt::main!(main);

fn main() {
    println!("Hello from ring 3!");
}
