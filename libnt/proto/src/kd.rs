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

protocol! {
    /// The debug console.
    pub Kd = 4 "kd" version 1;

    /// Runs a command and answers its output (cut to what a message holds).
    once Execute { command: String } -> String;
}
