#![no_std]
#![no_main]
libnt::main!(main);
fn main() {}
