//! TLB shoot-down: making every processor forget a mapping before its frame is reused (Intel SDM vol. 3, 4.10.5).
//!
//! One request at a time. The sender writes the page-table entry first, then asks the processors that have the
//! address space loaded and waits for all answers. A processor answers from the interrupt, or from wherever it spins
//! with interrupts off ([`crate::sync::Relax`]); so nobody waits for somebody who cannot answer.

use crate::arch::{apic, cpu, percpu};
use crate::mm::kernel_root;
use crate::sync::{Lock, rank};
use core::sync::atomic::{AtomicU64, Ordering, fence};

const PAGE: u64 = 4096;
/// More pages than this are forgotten by reloading the page table.
const SINGLE_PAGES: u64 = 32;

static SENDER: Lock<(), { rank::SHOOTDOWN }> = Lock::new(());
static START: AtomicU64 = AtomicU64::new(0);
static PAGES: AtomicU64 = AtomicU64::new(0);
static PENDING: AtomicU64 = AtomicU64::new(0);
static SENT: AtomicU64 = AtomicU64::new(0);

/// Shoot-downs sent to other processors.
pub fn count() -> u64 {
    SENT.load(Ordering::Relaxed)
}

fn flush_here(start: u64, pages: u64) {
    let kernel = start >= 1 << 63;
    if pages <= SINGLE_PAGES || kernel {
        for page in 0..pages {
            cpu::invlpg(start + page * PAGE);
        }
    } else {
        let root = percpu::this().page_table.load(Ordering::Relaxed);
        // SAFETY: reloads what is loaded.
        unsafe { cpu::write_cr3(root) };
    }
}

/// Answers a shoot-down if one is addressed to this processor.
#[inline]
pub fn answer() {
    if PENDING.load(Ordering::Acquire) == 0 {
        return;
    }
    let Some(index) = percpu::try_index() else { return };
    if PENDING.load(Ordering::Acquire) >> index & 1 == 1 {
        flush_here(START.load(Ordering::Relaxed), PAGES.load(Ordering::Relaxed));
        PENDING.fetch_and(!(1 << index), Ordering::Release);
    }
}

fn flush(active: impl FnOnce() -> u64, start: u64, pages: u64) {
    // Page-table writes must be visible before we look who has the tables loaded: whoever loads them later sees them.
    fence(Ordering::SeqCst);
    let me = percpu::this().index;
    let others = active() & !(1 << me);
    if others != 0 {
        let sender = SENDER.lock();
        START.store(start, Ordering::Relaxed);
        PAGES.store(pages, Ordering::Relaxed);
        PENDING.store(others, Ordering::Release);
        SENT.fetch_add(1, Ordering::Relaxed);
        for index in (0..percpu::count()).filter(|i| others >> i & 1 == 1) {
            apic::send_ipi(percpu::of(index).apic_id.load(Ordering::Relaxed), apic::TLB);
        }
        flush_here(start, pages);
        while PENDING.load(Ordering::Acquire) != 0 {
            core::hint::spin_loop();
        }
        drop(sender);
    } else {
        flush_here(start, pages);
    }
}

/// Forgets user addresses of the address space that the processors in `active` have loaded.
pub fn flush_user(active: &AtomicU64, root: u64, start: u64, pages: u64) {
    // The entries were written with plain stores: they must be seen by whoever loads the tables after this look.
    fence(Ordering::SeqCst);
    if percpu::this().page_table.load(Ordering::Relaxed) == root || active.load(Ordering::SeqCst) != 0 {
        flush(|| active.load(Ordering::SeqCst), start, pages);
    }
}

/// Forgets kernel addresses everywhere.
pub fn flush_kernel(start: u64, pages: u64) {
    if kernel_root() != 0 {
        flush(|| u64::MAX >> (64 - percpu::count()), start, pages);
    }
}
