//! Quota blocks: who pays for kernel memory, user pages, processes and threads.
//!
//! A process belongs to a quota block, which its children share unless they are given their own. Whatever the kernel
//! spends for a process is charged to its block first and refused past the limit (STATUS_QUOTA_EXCEEDED). A
//! [`Charge`] gives back what it holds when it is dropped, so nothing is forgotten on an error path.

use crate::kref::Ref;
use abi::NtStatus;
use abi::ps::QuotaLimits;
use abi::status::{STATUS_NO_MEMORY, STATUS_QUOTA_EXCEEDED};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Once;

/// What is charged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Kernel memory in bytes.
    Pool = 0,
    /// Committed user pages and page tables.
    Pages = 1,
    /// Processes.
    Processes = 2,
    /// Threads.
    Threads = 3,
}

/// See the module head.
pub struct QuotaBlock {
    limits: [AtomicU64; 5],
    used: [AtomicU64; 4],
}

/// Pages committed in the whole system, and how many may be.
static COMMITTED: AtomicU64 = AtomicU64::new(0);
static COMMIT_LIMIT: AtomicU64 = AtomicU64::new(0);

/// Sets how many pages all processes together may commit.
pub fn set_commit_limit(pages: u64) {
    COMMIT_LIMIT.store(pages, Ordering::Relaxed);
}

static SYSTEM: Once<Ref<QuotaBlock>> = Once::new();

/// Makes a block the system's: that of the first process and the core servers.
pub fn set_system(block: &Ref<QuotaBlock>) {
    SYSTEM.call_once(|| block.clone());
}

/// True for the system's block.
pub fn is_system(block: &Ref<QuotaBlock>) -> bool {
    SYSTEM.get().is_some_and(|system| Ref::same(system, block))
}

fn add(counter: &AtomicU64, amount: u64, limit: u64) -> bool {
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(amount).filter(|sum| *sum <= limit)
        })
        .is_ok()
}

impl QuotaBlock {
    /// A block with these limits.
    pub fn new(limits: QuotaLimits) -> Self {
        let QuotaLimits { pool, pages, processes, threads, handles_per_process } = limits;
        Self {
            limits: [pool, pages, processes, threads, handles_per_process].map(AtomicU64::new),
            used: [const { AtomicU64::new(0) }; 4],
        }
    }

    /// The limits.
    pub fn limits(&self) -> QuotaLimits {
        let at = |i: usize| self.limits[i].load(Ordering::Relaxed);
        QuotaLimits {
            pool: at(0),
            pages: at(1),
            processes: at(2),
            threads: at(3),
            handles_per_process: at(4),
        }
    }

    /// What is charged now.
    pub fn used(&self, kind: Kind) -> u64 {
        self.used[kind as usize].load(Ordering::Relaxed)
    }

    /// Most handles of one process.
    pub fn handle_limit(&self) -> u64 {
        self.limits[4].load(Ordering::Relaxed)
    }

    /// Charges without a [`Charge`]; [`QuotaBlock::release`] gives back.
    pub fn charge(&self, kind: Kind, amount: u64) -> Result<(), NtStatus> {
        let at = kind as usize;
        if !add(&self.used[at], amount, self.limits[at].load(Ordering::Relaxed)) {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        if kind == Kind::Pages && !add(&COMMITTED, amount, COMMIT_LIMIT.load(Ordering::Relaxed)) {
            self.used[at].fetch_sub(amount, Ordering::Relaxed);
            return Err(STATUS_NO_MEMORY);
        }
        Ok(())
    }

    /// Gives back what [`QuotaBlock::charge`] took.
    pub fn release(&self, kind: Kind, amount: u64) {
        self.used[kind as usize].fetch_sub(amount, Ordering::Relaxed);
        if kind == Kind::Pages {
            COMMITTED.fetch_sub(amount, Ordering::Relaxed);
        }
    }
}

/// A charge that is given back when dropped.
pub struct Charge {
    block: Option<Ref<QuotaBlock>>,
    kind: Kind,
    amount: u64,
}

impl Charge {
    /// Charges a block.
    pub fn new(block: &Ref<QuotaBlock>, kind: Kind, amount: u64) -> Result<Self, NtStatus> {
        block.charge(kind, amount)?;
        Ok(Self { block: Some(block.clone()), kind, amount })
    }

    /// No charge: what the kernel makes for itself.
    pub const fn none() -> Self {
        Self { block: None, kind: Kind::Pool, amount: 0 }
    }

    /// How much.
    pub const fn amount(&self) -> u64 {
        self.amount
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(block) = &self.block {
            block.release(self.kind, self.amount);
        }
    }
}
