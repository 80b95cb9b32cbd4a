//! The debug console's logic: everything that needs no hardware and no kernel.
//!
//! kd answers on the second serial line in the words that WinDbg users know. Its logic is here, pure and
//! tested on the host; `main.rs` adds the serial line and the system calls.
//!
//! * [`snapshot`] decodes what NtQuerySystemInformation tells;
//! * [`names`] knows the names of processes and ports, also of those that are gone;
//! * [`command`] parses a command line;
//! * `trace_command` does what begins with `trace`, with the crate `trace`;
//! * [`process_view`], [`alpc_view`] and [`system_view`] print; [`json`] is what `--json` prints;
//! * [`wait_chain`] finds out who waits for whom;
//! * [`execute`] puts them together over the [`System`] trait;
//! * [`debug_command`] and [`debug`] are the debugger's commands, over [`address`], [`symbols`], [`memory_view`],
//!   [`code_view`], [`machine_view`], [`object_view`] and [`types`];
//! * [`complete`], [`pager`] and [`style`] are for a person at a terminal.
//!
//! Ids are decimal, as the shell's `tasklist` shows them, and are taken in hexadecimal with `0x`; message ids are
//! hexadecimal, as in `!alpc /m`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod address;
pub mod alpc_view;
pub mod code_view;
pub mod command;
pub mod complete;
pub mod debug;
pub mod debug_command;
pub mod execute;
pub mod json;
pub mod machine_view;
pub mod memory_view;
pub mod names;
pub mod object_view;
pub mod pager;
pub mod process_view;
pub mod snapshot;
pub mod style;
pub mod symbols;
pub mod system_view;
mod trace_command;
pub mod types;
pub mod wait_chain;

pub use execute::{System, execute};

#[cfg(test)]
mod testing;
