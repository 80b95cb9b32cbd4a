//! libnt: what a program on Antares links.
//!
//! The smallest program:
//! ```ignore
//! #![no_std]
//! #![no_main]
//! use libnt::prelude::*;
//!
//! libnt::main!(main);
//!
//! fn main() {
//!     println!("Hello from ring 3!");
//! }
//! ```
//!
//! Principles:
//! * NT's names and values; Rust's ownership. A handle is an [`OwnedHandle`] that closes itself, a failure an
//!   `Err(`[`NtStatus`]`)`.
//! * A program has the authority of the handles in its parameter block ([`params`]) and no other: console streams, the
//!   object manager's root directory, the session object.
//! * `unsafe` lives in [`sys`], [`entry`], [`heap`], [`memory`] and thread start; the rest is safe code on top.
//! * Logic without system calls ([`params`], [`loader`], [`alpc::attributes`]) also builds on the host and is tested there.
//!
//! Map: [`sys`] system calls; [`entry`], [`env`], [`params`] start and arguments; [`io`] console; [`process`], [`thread`],
//! [`event`], [`wait`], [`completion`], [`apc`], [`sync`], [`time`] execution; [`memory`], [`section`], [`heap`] memory; [`handle`] handles;
//! [`token`] who one acts as; [`ob`] names; [`alpc`] ports and messages; [`rpc`] typed clients and servers; [`session`] smss; [`resource`] hardware;
//! [`info`] system queries; [`nt`] NT-named functions beyond the kernel's.

#![no_std]

extern crate alloc;

pub mod alpc;
pub mod apc;
pub mod completion;
pub mod entry;
pub mod env;
pub mod event;
pub mod handle;
pub mod heap;
pub mod info;
pub mod io;
pub mod loader;
pub mod memory;
pub mod nt;
pub mod ob;
pub mod params;
pub mod process;
pub mod resource;
pub mod rpc;
pub mod section;
pub mod session;
pub mod sync;
pub mod sys;
pub mod thread;
pub mod time;
pub mod token;
pub mod wait;

pub use abi;
pub use abi::arg::Handle;
pub use abi::status::{self, NtResult, NtStatus};
pub use handle::OwnedHandle;
pub use proto;

/// What nearly every program uses.
pub mod prelude {
    pub use crate::abi::arg::Handle;
    pub use crate::abi::status::*;
    pub use crate::handle::OwnedHandle;
    pub use crate::{env, eprint, eprintln, print, println};
    pub use alloc::borrow::ToOwned;
    pub use alloc::boxed::Box;
    pub use alloc::format;
    pub use alloc::string::{String, ToString};
    pub use alloc::vec;
    pub use alloc::vec::Vec;
}

/// Makes a function the program's entry point. It may return nothing, an [`NtStatus`], a `u32` exit status, or
/// `Result<(), NtStatus>`.
#[macro_export]
macro_rules! main {
    ($main:path) => {
        #[allow(unsafe_code)]
        const _: () = {
            // SAFETY: the one definition of the entry point's name.
            #[unsafe(no_mangle)]
            extern "sysv64" fn _start(parameters: u64) -> ! {
                // SAFETY: the kernel calls the entry point once, with the parameter block's address.
                unsafe { $crate::entry::start(parameters, $main) }
            }
        };
    };
}
