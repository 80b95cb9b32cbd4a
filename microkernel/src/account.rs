//! An amount that several processors charge and give back at once, and its limit: what quota blocks are made of.
//!
//! Whatever they do at the same time, no more is ever out than the limit allowed when it was charged, and what was
//! given back can be charged again. Checked in every order of threads and memory by loom (`core/tests/accounts.rs`), which is
//! why the atomics come from [`crate::sync`].

use crate::sync::atomic::{AtomicU64, Ordering};

/// See the module head.
pub struct Account {
    /// What is charged.
    pub used: AtomicU64,
    /// The most that may be.
    pub limit: AtomicU64,
}

impl Account {
    /// Nothing charged yet.
    pub fn new(limit: u64) -> Self {
        Self { used: AtomicU64::new(0), limit: AtomicU64::new(limit) }
    }

    /// Charges an amount. `false`: the limit does not allow it, and nothing was charged.
    pub fn charge(&self, amount: u64) -> bool {
        let limit = self.limit();
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(amount).filter(|sum| *sum <= limit)
            })
            .is_ok()
    }

    /// Gives back what was charged.
    pub fn give_back(&self, amount: u64) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }

    /// What is charged now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The limit.
    pub fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets the limit, for what is charged from now on.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }
}
