//! The console's logic: everything that needs no hardware and no kernel.
//!
//! The console owns the first serial line and the framebuffer. It shows what programs write and what the
//! kernel has to say, and reads lines for them. Its logic is here, pure and tested on the host; `main.rs` adds
//! the devices and the protocol.
//!
//! * [`readers`]: who reads what is typed (the foreground, and nobody else), and Ctrl-C;
//! * [`terminal`]: the text screen behind the framebuffer, with the escape sequences it understands;
//! * [`paint`]: the text screen as pixels.
//!
//! What goes to the screen goes to the serial line too, in the same order.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod paint;
pub mod readers;
pub mod terminal;
