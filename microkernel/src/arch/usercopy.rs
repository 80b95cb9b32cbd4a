//! Copies between the kernel and user memory.
//!
//! The only code that touches user addresses. A fault inside one of the marked stretches ends the copy instead of the
//! kernel: the page-fault handler first tries to bring the page in, and otherwise continues at the landing that
//! reports the failure ([`fixup`]). SMAP is opened for the copy only (Intel SDM vol. 3, 4.6).
//!
//! The ALPC fast path copies a payload while it holds locks, so that a fault there must not bring anything in ([`take`]);
//! the few words it decides on are read by the system-call entry ([`crate::arch::entry`]).

use crate::arch::cpu::{self, Features};
use crate::arch::entry;
use abi::NtStatus;
use abi::mm::{USER_MAX, USER_MIN};
use abi::status::{STATUS_ACCESS_VIOLATION, STATUS_INSUFFICIENT_RESOURCES};
use alloc::vec::Vec;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, Ordering};

static SMAP: AtomicBool = AtomicBool::new(false);

// rdi = destination, rsi = source, rdx = bytes. Returns 0, or something else after a fault. Words first, then the
// rest; a fault in either lands at the end with rcx not zero.
global_asm!(
    ".global antares_user_copy",
    "antares_user_copy:",
    "mov ecx, edx",
    "shr rcx, 3",
    "antares_user_copy_start:",
    "rep movsq",
    "and edx, 7",
    "jz antares_user_copy_end",
    "mov ecx, edx",
    "rep movsb",
    "antares_user_copy_end:",
    "mov rax, rcx",
    "ret",
);

unsafe extern "C" {
    fn antares_user_copy(to: *mut u8, from: *const u8, count: usize) -> usize;
    static antares_user_copy_start: u8;
    static antares_user_copy_end: u8;
    static kernel_fixups: Stretch;
    static kernel_fixups_end: Stretch;
}

/// Learns whether this processor has SMAP.
pub fn init() {
    SMAP.store(cpu::features().contains(Features::SMAP), Ordering::Relaxed);
}

/// Where a fault at a kernel address goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fixup {
    /// Address of the landing.
    pub landing: u64,
    /// The page may be brought in and the access tried again.
    pub may_retry: bool,
}

/// An entry of the table that code with accesses of its own to user memory makes in the section `.antares_fixups`
/// (linker script): instructions in which a fault must not bring anything in.
#[repr(C)]
struct Stretch {
    start: u64,
    end: u64,
}

fn stretches() -> &'static [Stretch] {
    let (first, end) = (&raw const kernel_fixups, &raw const kernel_fixups_end);
    let count = (end as usize - first as usize) / size_of::<Stretch>();
    // SAFETY: the linker script lays the entries of the section between the two symbols.
    unsafe { core::slice::from_raw_parts(first, count) }
}

/// For a fault at kernel address `rip`: where to go on if the fault was in a user copy.
pub fn fixup(rip: u64) -> Option<Fixup> {
    let (copy, copied) = (&raw const antares_user_copy_start as u64, &raw const antares_user_copy_end as u64);
    if (copy..copied).contains(&rip) {
        return Some(Fixup { landing: copied, may_retry: true });
    }
    if let Some(stretch) = stretches().iter().find(|s| (s.start..s.end).contains(&rip)) {
        return Some(Fixup { landing: stretch.end, may_retry: false });
    }
    entry::fixup(rip).map(|landing| Fixup { landing, may_retry: true })
}

/// True when `address..address + length` lies in user space.
#[inline]
pub fn is_user_range(address: u64, length: usize) -> bool {
    (USER_MIN..=USER_MAX).contains(&address) && length as u64 <= USER_MAX - address
}

/// Lets `with` touch user pages.
#[inline(always)]
fn opened<R>(with: impl FnOnce() -> R) -> R {
    let smap = SMAP.load(Ordering::Relaxed);
    if smap {
        // SAFETY: sets AC only; SMAP exists.
        unsafe { asm!("stac", options(nostack)) };
    }
    let result = with();
    if smap {
        // SAFETY: clears AC only; SMAP exists.
        unsafe { asm!("clac", options(nostack)) };
    }
    result
}

fn copy(to: *mut u8, from: *const u8, count: usize) -> bool {
    // SAFETY: one side is a kernel buffer of `count` bytes, the other a user range; faults on the latter are caught.
    opened(|| unsafe { antares_user_copy(to, from, count) }) == 0
}

/// Copies from user memory to a kernel address that others may be writing. `false` if the range is not user memory or
/// cannot be read.
///
/// # Safety
/// `to` must be valid for writes of `count` bytes, and no reference may reach them.
#[must_use]
pub unsafe fn from_user_to(to: *mut u8, address: u64, count: usize) -> bool {
    is_user_range(address, count) && copy(to, address as *const u8, count)
}

/// Copies from a kernel address that others may be writing to user memory. `false` if the range is not user memory or
/// cannot be written.
///
/// # Safety
/// `from` must be valid for reads of `count` bytes, and no exclusive reference may reach them.
#[must_use]
pub unsafe fn to_user_from(address: u64, from: *const u8, count: usize) -> bool {
    is_user_range(address, count) && copy(address as *mut u8, from, count)
}

/// Copies a message's payload from user memory to a kernel address, bringing nothing in. `false` if some of it is not
/// user memory or cannot be read now.
///
/// # Safety
/// `to` must be valid for writes of `count` bytes to which the kernel has no references. `address` lies at most a header above an address
/// below [`USER_MAX`], and `count` is a message's: a range that goes on behind user space faults in the unmapped gap there, which is
/// longer. `HAS_SMAP` is true exactly if the processor has SMAP.
#[must_use]
#[inline(always)]
pub unsafe fn take<const HAS_SMAP: bool>(to: *mut u8, address: u64, count: u64) -> bool {
    let left: u64;
    if HAS_SMAP {
        // SAFETY: sets AC only; SMAP exists.
        unsafe { asm!("stac", options(nostack)) };
    }
    // SAFETY: the caller vouches for `to` and for `address`. A fault there goes on behind the last copy, with what is left in
    // rcx.
    unsafe {
        asm!(
            "2:",
            "rep movsq",
            "mov ecx, {tail:e}",
            "rep movsb",
            "3:",
            ".pushsection .antares_fixups, \"a\", @progbits",
            ".quad 2b, 3b",
            ".popsection",
            tail = in(reg) count & 7,
            inlateout("rcx") count >> 3 => left,
            inlateout("rdi") to => _,
            inlateout("rsi") address => _,
            options(nostack),
        );
    }
    if HAS_SMAP {
        // SAFETY: clears AC only; SMAP exists.
        unsafe { asm!("clac", options(nostack)) };
    }
    left == 0
}

/// Copies from user memory without bringing anything in. `false` if the range is not user memory or cannot be read now.
#[must_use]
pub fn peek(to: &mut [u8], address: u64) -> bool {
    let (at, count) = (to.as_mut_ptr(), to.len() as u64);
    if !is_user_range(address, to.len()) {
        return false;
    }
    // SAFETY: `to` is the caller's alone, the range is user memory, and `SMAP` says what the processor has.
    unsafe {
        if SMAP.load(Ordering::Relaxed) {
            take::<true>(at, address, count)
        } else {
            take::<false>(at, address, count)
        }
    }
}

/// Copies from user memory into a new vector.
///
/// # Errors
/// STATUS_INSUFFICIENT_RESOURCES when there is no memory, STATUS_ACCESS_VIOLATION when it cannot be read.
pub fn vec_from_user(address: u64, length: usize) -> Result<Vec<u8>, NtStatus> {
    let mut bytes = Vec::new();
    if length == 0 {
        return Ok(bytes);
    }
    bytes.try_reserve_exact(length).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    if !is_user_range(address, length) || !copy(bytes.as_mut_ptr(), address as *const u8, length) {
        return Err(STATUS_ACCESS_VIOLATION);
    }
    // SAFETY: the copy filled all of `length`, which was reserved.
    unsafe { bytes.set_len(length) };
    Ok(bytes)
}

/// Copies from user memory. `false` if the range is not user memory or cannot be read.
#[must_use]
#[inline]
pub fn from_user(to: &mut [u8], address: u64) -> bool {
    is_user_range(address, to.len()) && copy(to.as_mut_ptr(), address as *const u8, to.len())
}

/// Copies to user memory. `false` if the range is not user memory or cannot be written.
#[must_use]
#[inline]
pub fn to_user(address: u64, from: &[u8]) -> bool {
    is_user_range(address, from.len()) && copy(address as *mut u8, from.as_ptr(), from.len())
}
