//! Touching memory without faulting: the kernel copies, and says when it cannot.

use libnt::abi::arg::{In, Out};
use libnt::prelude::*;
use libnt::sys::{NtQuerySystemTime, calls};

/// A region of this process that these tests alone use, at a known place.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub base: u64,
    pub size: u64,
}

/// The word at an address, if it can be read.
pub fn read(address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    calls::read_memory(Handle::CURRENT_PROCESS, address, &mut bytes).ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// True when a word could be written; the memory must be nobody's but the tests'.
pub fn write(address: u64, value: u64) -> bool {
    let from = (&raw const value) as u64;
    // SAFETY: the memory belongs to the tests, which reach it through this module only; the kernel checks the rest.
    unsafe { calls::write_memory(Handle::CURRENT_PROCESS, address, from, 8) }.is_ok()
}

/// True when a system call could write there with the program's own rights.
pub fn is_writable(address: u64) -> bool {
    // SAFETY: as above.
    unsafe { NtQuerySystemTime(Out::at(address)) }.is_success()
}

/// True when a system call could read there with the program's own rights.
pub fn is_readable(address: u64) -> bool {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours; at the address the call only reads, what it takes for object attributes.
    let status = unsafe { libnt::sys::NtCreateEvent((&mut handle).into(), 1, In::at(address), 0, false) };
    drop(OwnedHandle::new(handle));
    status != STATUS_ACCESS_VIOLATION
}
