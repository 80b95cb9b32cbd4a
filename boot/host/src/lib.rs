//! The host side of Antares: everything `run.sh` does once a Rust compiler is there.
//!
//! Principles:
//!
//! * **The guest is watched, not guessed at.** The shell and the debug console mark their prompts and the ends of their commands with
//!   the OSC 133 escapes that terminals use for shell integration; nothing here waits for a while and hopes.
//! * **Each failure says its cause and what to do**, and leaves the console logs behind.
//! * **One driver.** `exec`, `bench` and the system tests all boot the machine through [`session::Session`].
//!
//! Map:
//!
//! | module | holds |
//! |---|---|
//! | [`term`] | escape sequences: the scanner, the OSC 133 marks, a one-line screen model |
//! | [`protocol`] | what one serial line is doing, from the marks on it |
//! | [`session`] | a booted machine: run commands on either line, raw input, shutdown |
//! | [`exec`] | `./run.sh exec`: the order of the commands, the exit status |
//! | [`qemu`] | QEMU's command line |
//! | [`guest`] | cargo for kernel, servers and apps; `build/boot` |
//! | [`types`] | the kernel's types for the debug console, and the kernel without its debug information |
//! | [`image`] | the Limine ISO and the direct-boot module list |
//! | [`firmware`] | keeps what UEFI paints on the serial lines out of the output |
//! | [`run`] | `./run.sh` and `./run.sh kd`: a person at a terminal |
//! | [`suite`] | `./run.sh test` |
//! | [`bench`](mod@bench) | `./run.sh bench`: the figures, Linux's, the bounds |
//! | [`mod@trace`] | `./run.sh trace`: ALPC traffic for Perfetto, Wireshark, browsers |
//! | [`newapp`] | `./run.sh new` |
//! | [`cli`] | the command line |

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod bench;
pub mod cli;
pub mod error;
pub mod exec;
pub mod firmware;
pub mod guest;
pub mod image;
pub mod newapp;
pub mod paths;
pub mod protocol;
pub mod qemu;
pub mod run;
pub mod session;
pub mod suite;
pub mod term;
pub mod trace;
pub mod types;

pub use error::{Error, Result};
