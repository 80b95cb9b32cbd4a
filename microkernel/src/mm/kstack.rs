//! Kernel stacks: one per thread, 16 KiB above an unmapped guard page.
//!
//! An overflow hits the guard page, faults on the full stack, and becomes a double fault on its own stack: a bugcheck,
//! not silent damage. A few freed stacks stay mapped for the next threads.

use crate::arch::paging::{self, G, NX, OWNED, P, PAGE, W};
use crate::mm::{STACK_BASE, frames, kernel_root, tlb};
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::status::STATUS_INSUFFICIENT_RESOURCES;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

/// Bytes of a kernel stack.
pub const STACK_SIZE: u64 = 4 * PAGE;
const SLOT: u64 = STACK_SIZE + PAGE;
const KEPT: usize = 16;
const MOST: u64 = 1 << 16;

struct Stacks {
    kept: heapless::Vec<u64, KEPT>,
    free: Vec<u64>,
    next: u64,
}

static STACKS: Lock<Stacks, { rank::LEAF }> =
    Lock::new(Stacks { kept: heapless::Vec::new(), free: Vec::new(), next: 0 });

/// A kernel stack; dropping it gives it back.
pub struct KernelStack {
    top: u64,
}

impl KernelStack {
    /// Maps a stack, or takes one that was kept.
    pub fn new() -> Result<Self, NtStatus> {
        let mut stacks = STACKS.lock();
        if let Some(top) = stacks.kept.pop() {
            return Ok(Self { top });
        }
        let slot = match stacks.free.pop() {
            Some(slot) => slot,
            None if stacks.next < MOST => {
                // Room for giving it back later.
                let all = stacks.next as usize + 1;
                let more = all.saturating_sub(stacks.free.len());
                stacks.free.try_reserve(more).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
                stacks.next += 1;
                stacks.next - 1
            }
            None => return Err(STATUS_INSUFFICIENT_RESOURCES),
        };
        drop(stacks);
        let bottom = STACK_BASE + slot * SLOT + PAGE;
        for page in 0..STACK_SIZE / PAGE {
            let mapped = frames::alloc_zeroed().is_some_and(|frame| {
                let done = paging::map_kernel(kernel_root(), bottom + page * PAGE, frame, NX | W | G | OWNED);
                if done.is_none() {
                    frames::free(frame);
                }
                done.is_some()
            });
            if !mapped {
                unmap(bottom, page);
                // Room was made when the slot was first given out.
                STACKS.lock().free.push(slot);
                return Err(STATUS_INSUFFICIENT_RESOURCES);
            }
        }
        Ok(Self { top: bottom + STACK_SIZE })
    }

    /// One past the highest address.
    pub fn top(&self) -> u64 {
        self.top
    }
}

fn unmap(bottom: u64, pages: u64) {
    let mut taken = [0; (STACK_SIZE / PAGE) as usize];
    for page in 0..pages {
        if let Some(entry) = paging::find(kernel_root(), bottom + page * PAGE) {
            taken[page as usize] = entry.swap(0, Ordering::Relaxed);
        }
    }
    tlb::flush_kernel(bottom, pages);
    for entry in taken.into_iter().filter(|e| e & P != 0) {
        frames::free(entry & paging::ADDRESS);
    }
}

impl Drop for KernelStack {
    fn drop(&mut self) {
        let bottom = self.top - STACK_SIZE;
        if STACKS.lock().kept.push(self.top).is_err() {
            unmap(bottom, STACK_SIZE / PAGE);
            STACKS.lock().free.push((bottom - PAGE - STACK_BASE) / SLOT);
        }
    }
}

/// Frames in kept stacks.
pub fn kept_frames() -> u64 {
    STACKS.lock().kept.len() as u64 * (STACK_SIZE / PAGE)
}
