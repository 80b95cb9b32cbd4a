//! What the console and the debug console share: a line editor and a driver for the 16550 serial port.
//!
//! This is a library, not a server. All but [`serial`] is pure: the editor turns bytes into bytes and
//! events, the driver reaches the chip through the [`uart::Registers`] trait. So it is tested on the host.
//!
//! * [`editor`]: the line editor (arrows, history, words, UTF-8);
//! * [`history`]: the lines typed before;
//! * [`keys`]: bytes to keys (escape sequences, UTF-8);
//! * [`newline`]: LF to CR LF, without doubling;
//! * [`uart`]: the serial port's chip;
//! * [`serial`]: the serial line as smss hands it to a server.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod editor;
pub mod history;
pub mod keys;
pub mod newline;
pub mod serial;
pub mod uart;
