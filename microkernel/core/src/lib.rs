//! The kernel's logic that needs no hardware, as plain data structures.
//!
//! Each module owns one structure, never blocks, never panics on its callers' input, allocates only fallibly and
//! contains no `unsafe`; the kernel crate puts a lock around it and adds memory, time and processors. That way
//! ordinary unit tests, `proptest` and Miri reach everything here on the host.
//!
//! | module | owns |
//! |---|---|
//! | [`table`] | slots with generations: handles, process and thread ids, ports, messages |
//! | [`frames`] | which page frames are free |
//! | [`vad`] | the regions of an address space |
//! | [`tlb`] | which processors remember what of an address space |
//! | [`ranges`] | which parts of a whole are taken |
//! | [`granules`] | which granules of a region are taken |
//! | [`dispatch`] | threads, ready queues, waits, timers, dispatcher objects |
//! | [`alpc`] | the ALPC state machine of one connection port and its connections |
//! | [`se`] | identities, privileges, impersonation levels, access checks |
//! | [`acpi`] | reading of ACPI tables |
//! | [`options`] | the kernel's words on its command line |

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod acpi;
pub mod alpc;
pub mod dispatch;
pub mod frames;
pub mod granules;
pub mod options;
pub mod ranges;
pub mod se;
pub mod table;
pub mod tlb;
pub mod vad;

/// A structure could not grow: no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Pushes onto a vector, or says that there is no memory.
pub fn try_push<T>(vec: &mut alloc::vec::Vec<T>, value: T) -> Result<(), NoMemory> {
    vec.try_reserve(1).map_err(|_| NoMemory)?;
    vec.push(value);
    Ok(())
}
