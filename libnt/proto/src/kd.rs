//! The debug console's protocol.
//!
//! kd is driven over its serial line; its root object ([`TYPE_KD`], what smss hands out) lets programs run the same
//! commands.

use crate::declare::protocol;
use alloc::string::String;

/// Server type number of the root object.
pub const TYPE_KD: u32 = 0x300;

/// Kd access: run commands.
pub const KD_EXECUTE: u32 = 1;
/// Kd access: everything.
pub const KD_ALL_ACCESS: u32 = 1;

/// Extra handle that smss gives console and kd: RESOURCE_IO_PORTS of their serial line; data 0 is the first port.
pub const HANDLE_SERIAL: &str = "serial";
/// Extra handle: RESOURCE_IRQ of the serial line; data 0 is the global interrupt.
pub const HANDLE_SERIAL_IRQ: &str = "serial-irq";
/// Extra handle: RESOURCE_DEBUG (the kernel log for console; tracing, queries and .crash for kd).
pub const HANDLE_DEBUG: &str = "debug";

protocol! {
    /// The debug console.
    pub Kd = 4 "kd" version 1;

    /// Runs a command and answers its output (cut to what a message holds).
    once Execute { command: String } -> String;
}
