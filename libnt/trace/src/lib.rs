//! Reading ALPC traces: everything between the kernel's rings and a picture of them.
//!
//! The debug console uses this crate inside, the host tool outside, on the same trace memory, so that both tell the
//! same. Nothing here needs an operating system.
//!
//! * [`ring`] reads trace memory while the kernel writes to it, and counts what was lost;
//! * [`names`] knows the names of processes and ports, also of those that are gone;
//! * [`filter`] is the language of `trace on`;
//! * [`exchange`] joins events to exchanges: a request, its handling, its reply, and what caused it;
//! * [`stats`] sums exchanges up: by port and process, and as histograms of latency;
//! * [`text`] prints records and exchanges, a line each.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod exchange;
pub mod filter;
pub mod names;
pub mod ring;
pub mod stats;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;

pub use exchange::{Exchange, Exchanges};
pub use filter::Filter;
pub use names::Names;
pub use ring::{Clock, Memory, Position, Reading, Trace};
