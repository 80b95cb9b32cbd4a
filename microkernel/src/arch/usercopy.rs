//! Copies between the kernel and user memory.
//!
//! The only code that touches user addresses. A fault inside the two marked instructions ends the copy instead of
//! the kernel: the page-fault handler first tries to bring the page in, and otherwise continues at the landing that
//! reports how much is left ([`fixup`]). SMAP is opened for the copy only (Intel SDM vol. 3, 4.6).

use crate::arch::cpu::{self, Features};
use abi::NtStatus;
use abi::mm::{USER_MAX, USER_MIN};
use abi::status::{STATUS_ACCESS_VIOLATION, STATUS_INSUFFICIENT_RESOURCES};
use alloc::vec::Vec;
use core::arch::global_asm;
use core::mem::MaybeUninit;
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
}

/// Learns whether this processor has SMAP.
pub fn init() {
    SMAP.store(cpu::features().contains(Features::SMAP), Ordering::Relaxed);
}

/// For a fault at kernel address `rip`: where to go on if the fault was in a user copy.
pub fn fixup(rip: u64) -> Option<u64> {
    let (start, end) = (&raw const antares_user_copy_start as u64, &raw const antares_user_copy_end as u64);
    (start..end).contains(&rip).then_some(end)
}

/// True when `address..address + length` lies in user space.
#[inline]
pub fn is_user_range(address: u64, length: usize) -> bool {
    (USER_MIN..=USER_MAX).contains(&address) && length as u64 <= USER_MAX - address
}

fn copy(to: *mut u8, from: *const u8, count: usize) -> bool {
    let smap = SMAP.load(Ordering::Relaxed);
    if smap {
        // SAFETY: sets AC only; SMAP exists.
        unsafe { core::arch::asm!("stac", options(nomem, nostack)) };
    }
    // SAFETY: one side is a kernel buffer of `count` bytes, the other a user range; faults on the latter are caught.
    let left = unsafe { antares_user_copy(to, from, count) };
    if smap {
        // SAFETY: clears AC only; SMAP exists.
        unsafe { core::arch::asm!("clac", options(nomem, nostack)) };
    }
    left == 0
}

/// Copies `length` bytes from user memory into words that need not be initialised before. Returns the words that hold
/// them, the last one filled up with zeros; `None` if they do not fit or cannot be read.
#[inline]
pub fn words_from_user<const N: usize>(
    to: &mut [MaybeUninit<u64>; N],
    address: u64,
    length: usize,
) -> Option<&[u64]> {
    let words = length.div_ceil(8);
    if words > N {
        return None;
    }
    if let Some(last) = words.checked_sub(1) {
        to[last].write(0);
        if !is_user_range(address, length) || !copy(to.as_mut_ptr().cast(), address as *const u8, length) {
            return None;
        }
    }
    // SAFETY: the copy filled all words but the end of the last, which was zeroed.
    Some(unsafe { core::slice::from_raw_parts(to.as_ptr().cast(), words) })
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
