//! TLB shoot-down: making every processor forget a mapping before its frame is reused (Intel SDM vol. 3, 4.10.5).
//!
//! One request at a time. The sender writes the page-table entry first, then asks the processors that may know of the
//! address space ([`antares_core::tlb`] decides which) and waits for all answers. A processor answers from the interrupt, or from wherever it spins
//! with interrupts off ([`crate::sync::Relax`]); so nobody waits for somebody who cannot answer.

use crate::arch::{apic, cpu, percpu};
use crate::mm::kernel_root;
use crate::sync::{Lock, rank};
use antares_core::tlb::{Answer, Residence};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU64, Ordering, fence};

const PAGE: u64 = 4096;
/// More pages than this are forgotten by reloading the page table.
const SINGLE_PAGES: u64 = 32;

static SENDER: Lock<(), { rank::SHOOTDOWN }> = Lock::new(());
static OF: AtomicPtr<Residence> = AtomicPtr::new(null_mut());
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
    if kernel && cpu::has_pcids() {
        // With PCIDs on, some processors (Alder Lake, Raptor Lake) keep global translations in spite of INVLPG.
        cpu::forget_all_translations();
    } else if pages <= SINGLE_PAGES || kernel {
        for page in 0..pages {
            cpu::invlpg(start + page * PAGE);
        }
    } else {
        let loaded = percpu::this().page_table.load(Ordering::Relaxed);
        // SAFETY: reloads what is loaded, and forgets what is known of it.
        unsafe { cpu::write_cr3(loaded) };
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
        let of = OF.load(Ordering::Relaxed);
        // SAFETY: the sender, which has it on loan for longer than it waits for this answer, put it there.
        let of = unsafe { of.as_ref() };
        flush_of(of, START.load(Ordering::Relaxed), PAGES.load(Ordering::Relaxed));
        PENDING.fetch_and(!(1 << index), Ordering::Release);
    }
}

/// Forgets pages of an address space, if this processor may know of them (`None`: of the kernel).
fn flush_of(of: Option<&Residence>, start: u64, pages: u64) {
    let me = percpu::this();
    let loaded = me.page_table.load(Ordering::Relaxed);
    if of.is_none_or(|of| of.answer(me.bit, loaded) == Answer::Forget) {
        flush_here(start, pages);
    }
}

fn flush(of: Option<&Residence>, start: u64, pages: u64) {
    // Page-table writes must be visible before we look who may know of them: whoever loads the tables later sees them.
    fence(Ordering::SeqCst);
    let processors = of.map_or_else(|| u64::MAX >> (64 - percpu::count()), Residence::processors);
    let others = processors & !percpu::this().bit;
    if others != 0 {
        let sender = SENDER.lock();
        OF.store(of.map_or(null_mut(), |of| core::ptr::from_ref(of).cast_mut()), Ordering::Relaxed);
        START.store(start, Ordering::Relaxed);
        PAGES.store(pages, Ordering::Relaxed);
        PENDING.store(others, Ordering::Release);
        SENT.fetch_add(1, Ordering::Relaxed);
        for index in (0..percpu::count()).filter(|i| others >> i & 1 == 1) {
            apic::send_ipi(percpu::of(index).apic_id.load(Ordering::Relaxed), apic::TLB);
        }
        flush_of(of, start, pages);
        while PENDING.load(Ordering::Acquire) != 0 {
            core::hint::spin_loop();
        }
        drop(sender);
    } else if of.is_none() || processors != 0 {
        flush_of(of, start, pages);
    }
}

/// Forgets user addresses of an address space.
pub fn flush_user(of: &Residence, start: u64, pages: u64) {
    flush(Some(of), start, pages);
}

/// Forgets kernel addresses everywhere.
pub fn flush_kernel(start: u64, pages: u64) {
    if kernel_root() != 0 {
        flush(None, start, pages);
    }
}
