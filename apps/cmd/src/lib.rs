//! The shell's logic that needs no kernel: [`line`] splits a command line, [`marks`] makes the shell-integration escapes.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod line;
pub mod marks;
