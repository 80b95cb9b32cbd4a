//! The session manager's logic that needs no kernel.
//!
//! [`backoff`] says when a server that ended is started again; [`limits`] shares the machine's memory out.

#![no_std]
#![forbid(unsafe_code)]

pub mod backoff;
pub mod limits;
