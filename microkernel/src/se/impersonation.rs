//! What a thread impersonates.

use crate::kref::Ref;
use crate::quota::QuotaBlock;
use crate::se::token::Token;
use crate::sync::{Lock, rank};
use abi::NtStatus;
use antares_core::se::token::{Kind, Level, impersonation_level};
use core::sync::atomic::{AtomicBool, Ordering};

/// A token as a server has it of its client (NT's PS_IMPERSONATION_INFORMATION).
#[derive(Clone)]
pub struct Impersonation {
    /// Whose.
    pub token: Ref<Token>,
    /// At which level.
    pub level: Level,
    /// Without what is disabled in it.
    pub effective_only: bool,
    /// Opening it gives a copy: the token itself is somebody else's.
    pub copy_on_open: bool,
}

impl Impersonation {
    /// A token of its own that is what this one allows.
    pub fn copy(&self, quota: &Ref<QuotaBlock>) -> Result<Ref<Token>, NtStatus> {
        self.token.duplicate(quota, self.token.kind, Kind::Impersonation(self.level), self.effective_only)
    }

    /// The same at the level that a process with this token may have.
    pub fn lowered_for(self, server: &Token) -> Self {
        let level =
            impersonation_level(server.identity(), &server.privileges(), self.token.identity(), self.level);
        Self { level, ..self }
    }
}

/// A thread's place for it.
pub struct Slot {
    /// One cheap test for the fast path: nothing is to be captured for a thread that does not impersonate.
    active: AtomicBool,
    held: Lock<Option<Impersonation>, { rank::LEAF }>,
}

impl Slot {
    /// Impersonating nobody.
    pub const fn new() -> Self {
        Self { active: AtomicBool::new(false), held: Lock::new(None) }
    }

    /// True while the thread impersonates.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// What it impersonates.
    pub fn get(&self) -> Option<Impersonation> {
        if self.is_active() { self.held.lock().clone() } else { None }
    }

    /// Impersonates, or stops to.
    pub fn set(&self, new: Option<Impersonation>) {
        let old = {
            let mut held = self.held.lock();
            self.active.store(new.is_some(), Ordering::Relaxed);
            core::mem::replace(&mut *held, new)
        };
        drop(old);
    }
}
