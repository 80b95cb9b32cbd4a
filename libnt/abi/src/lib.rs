//! The contract between the Antares kernel and ring 3.
//!
//! Everything that both sides must agree on is declared here and nowhere else: the system-call table
//! ([`syscalls`]), NTSTATUS values ([`status`]), handles and typed user pointers ([`arg`]), access masks
//! and OBJECT_ATTRIBUTES ([`ob`]), ALPC structures ([`alpc`], for 32-bit programs [`alpc32`] by way of [`narrow`]), processes, threads and their parameters
//! ([`ps`]), tokens and SIDs ([`se`]), memory ([`mm`]), query classes ([`info`]), trace records ([`trace`]), what a debugger asks ([`kd`]) and the hardware
//! resources that user-mode drivers hold ([`io`]).
//!
//! Principles:
//! * No code here allocates, does I/O or contains `unsafe`.
//! * Names, argument order, layouts and values are NT's where NT has them. What NT does not have carries
//!   the prefix `Ntx` (calls) or is marked "Antares".
//! * Structures that cross the boundary have no padding (checked by `zerocopy` derives).

#![no_std]
#![forbid(unsafe_code)]

pub mod alpc;
pub mod alpc32;
pub mod arg;
pub mod completion;
pub mod context;
pub mod info;
pub mod io;
pub mod kd;
pub mod mm;
pub mod narrow;
pub mod ob;
pub mod ps;
pub mod se;
pub mod status;
pub mod syscalls;
pub mod trace;

pub use arg::{Handle, In, InOut, Out, Req};
pub use status::NtStatus;
