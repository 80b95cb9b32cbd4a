//! Quota blocks: who pays for kernel memory, user pages, processes and threads.
//!
//! A process belongs to a quota block, which its children share unless they are given their own. Whatever the kernel
//! spends for a process is charged to its block first and refused past the limit (STATUS_QUOTA_EXCEEDED). A
//! [`Charge`] gives back what it holds when it is dropped, so nothing is forgotten on an error path.

use crate::account::Account;
use crate::kref::Ref;
use abi::NtStatus;
use abi::ps::QuotaLimits;
use abi::status::{STATUS_NO_MEMORY, STATUS_QUOTA_EXCEEDED};
use core::sync::atomic::AtomicU64;
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
    accounts: [Account; 4],
    handles_per_process: u64,
}

/// Pages committed in the whole system.
static COMMITTED: Account = Account { used: AtomicU64::new(0), limit: AtomicU64::new(0) };

/// Sets how many pages all processes together may commit.
pub fn set_commit_limit(pages: u64) {
    COMMITTED.set_limit(pages);
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

impl QuotaBlock {
    /// A block with these limits.
    pub fn new(limits: QuotaLimits) -> Self {
        let QuotaLimits { pool, pages, processes, threads, handles_per_process } = limits;
        Self { accounts: [pool, pages, processes, threads].map(Account::new), handles_per_process }
    }

    /// The limits.
    pub fn limits(&self) -> QuotaLimits {
        let [pool, pages, processes, threads] = self.accounts.each_ref().map(Account::limit);
        QuotaLimits { pool, pages, processes, threads, handles_per_process: self.handles_per_process }
    }

    /// What is charged now.
    pub fn used(&self, kind: Kind) -> u64 {
        self.accounts[kind as usize].used()
    }

    /// Most handles of one process.
    pub const fn handle_limit(&self) -> u64 {
        self.handles_per_process
    }

    /// Charges without a [`Charge`]; [`QuotaBlock::release`] gives back.
    pub fn charge(&self, kind: Kind, amount: u64) -> Result<(), NtStatus> {
        let own = &self.accounts[kind as usize];
        if !own.charge(amount) {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        if kind == Kind::Pages && !COMMITTED.charge(amount) {
            own.give_back(amount);
            return Err(STATUS_NO_MEMORY);
        }
        Ok(())
    }

    /// Gives back what [`QuotaBlock::charge`] took.
    pub fn release(&self, kind: Kind, amount: u64) {
        self.accounts[kind as usize].give_back(amount);
        if kind == Kind::Pages {
            COMMITTED.give_back(amount);
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
