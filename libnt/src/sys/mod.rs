//! System calls.
//!
//! The functions here are the raw calls, one per entry of the table in [`abi::syscalls`], with NT's names and arguments.
//! They are `unsafe` because the kernel writes where they point. [`calls`] has the same calls with slices and
//! references for pointers, [`security`] those for tokens and senders; everything else in this crate uses these.

pub mod alpc_control;
pub mod alpc_section;
pub mod calls;
mod gate;
pub mod security;

use abi::alpc::*;
use abi::arg::{In, InOut, Out, Req, SyscallArg};
use abi::completion::*;
use abi::context::Context;
use abi::ob::*;
use abi::se::*;
use abi::status::NtStatus;

/// The type alone: arguments are named `Handle` too, which a tuple struct's constructor would forbid.
type Handle = abi::arg::Handle;

macro_rules! stubs {
    ($(
        $(#[doc = $doc:literal])*
        $number:literal $name:ident ( $($arg:ident : $t:ty),* ) [ $($err:ident $why:literal),* ];
    )*) => {$(
        $(#[doc = $doc])*
        ///
        $(#[doc = concat!("* `", stringify!($err), "`: ", $why, ".")])*
        ///
        /// # Safety
        /// Memory that the call writes, frees, protects or maps over must not be in use by Rust code; code that it
        /// starts must be sound to run.
        #[allow(non_snake_case, clippy::too_many_arguments)]
        #[inline(always)]
        pub unsafe fn $name($($arg: $t),*) -> NtStatus {
            // SAFETY: the caller's promise is this block's.
            NtStatus(unsafe { gate::syscall!($number $(, $arg.to_word())*) })
        }
    )*};
}
abi::for_each_syscall!(stubs);
