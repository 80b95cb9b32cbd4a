//! Copies between the kernel and user memory.
//!
//! The only code that touches user addresses. A fault inside the two marked instructions ends the copy instead of
//! the kernel: the page-fault handler first tries to bring the page in, and otherwise continues at the landing that
//! reports how much is left ([`fixup`]). SMAP is opened for the copy only (Intel SDM vol. 3, 4.6).

use crate::arch::cpu::{self, Features};
use abi::mm::{USER_MAX, USER_MIN};
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, Ordering};

static SMAP: AtomicBool = AtomicBool::new(false);

// rdi = destination, rsi = source, rcx = bytes. Returns the bytes not copied. Short copies of whole words, the usual
// case, avoid the start-up cost of `rep movsb`.
global_asm!(
    ".global antares_user_copy",
    "antares_user_copy:",
    "mov rcx, rdx",
    "antares_user_copy_start:",
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
    address >= USER_MIN && address <= USER_MAX && length as u64 <= USER_MAX - address
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

/// Copies from user memory. `false` if the range is not user memory or cannot be read.
#[must_use]
pub fn from_user(to: &mut [u8], address: u64) -> bool {
    is_user_range(address, to.len()) && copy(to.as_mut_ptr(), address as *const u8, to.len())
}

/// Copies to user memory. `false` if the range is not user memory or cannot be written.
#[must_use]
pub fn to_user(address: u64, from: &[u8]) -> bool {
    is_user_range(address, from.len()) && copy(address as *mut u8, from.as_ptr(), from.len())
}
