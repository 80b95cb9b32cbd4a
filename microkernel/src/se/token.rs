//! The token object.

use crate::kref::Ref;
use crate::ob::Header;
use crate::quota::{Charge, Kind as Quota, QuotaBlock};
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::ob::ObjectType;
use abi::se::*;
use antares_core::se::token::{Identity, Kind, Privileges, may_duplicate};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static NEXT_LUID: AtomicU64 = AtomicU64::new(FIRST_LUID);

/// A LUID that nobody else has.
pub fn new_luid() -> u64 {
    NEXT_LUID.fetch_add(1, Ordering::Relaxed)
}

/// An identity that tokens share, charged to who made the first of them.
struct Shared {
    identity: Identity,
    _charge: Charge,
}

struct State {
    privileges: Privileges,
    modified_id: u64,
}

/// See the module head.
pub struct Token {
    /// Object header.
    pub header: Header,
    /// TokenId.
    pub id: u64,
    /// Primary or impersonation, with its level.
    pub kind: Kind,
    shared: Ref<Shared>,
    state: Lock<State, { rank::LEAF }>,
    /// A primary token that a process has.
    taken: AtomicBool,
}

impl Token {
    /// A token of a new identity.
    pub fn new(
        quota: &Ref<QuotaBlock>,
        kind: Kind,
        identity: Identity,
        privileges: Privileges,
    ) -> Result<Ref<Self>, NtStatus> {
        let charge = Charge::new(quota, Quota::Pool, identity.bytes() as u64)?;
        let shared = Ref::try_new(Shared { identity, _charge: charge })?;
        Self::make(quota, kind, shared, privileges, None)
    }

    fn make(
        quota: &Ref<QuotaBlock>,
        kind: Kind,
        shared: Ref<Shared>,
        privileges: Privileges,
        modified_id: Option<u64>,
    ) -> Result<Ref<Self>, NtStatus> {
        let header = Header::new(ObjectType::Token, quota)?;
        let modified_id = modified_id.unwrap_or_else(new_luid);
        Ref::try_new(Self {
            header,
            id: new_luid(),
            kind,
            shared,
            state: Lock::new(State { privileges, modified_id }),
            taken: AtomicBool::new(false),
        })
    }

    /// The first process's token.
    pub fn system(quota: &Ref<QuotaBlock>) -> Result<Ref<Self>, NtStatus> {
        Self::new(quota, Kind::Primary, Identity::system()?, Privileges::system())
    }

    /// A token that says nothing of anybody.
    pub fn anonymous(quota: &Ref<QuotaBlock>, kind: Kind) -> Result<Ref<Self>, NtStatus> {
        Self::new(quota, kind, Identity::anonymous()?, Privileges::default())
    }

    /// Another token of the same holder. STATUS_BAD_IMPERSONATION_LEVEL when `from`, this token as its holder has it, does
    /// not allow that kind.
    pub fn duplicate(
        &self,
        quota: &Ref<QuotaBlock>,
        from: Kind,
        to: Kind,
        effective_only: bool,
    ) -> Result<Ref<Self>, NtStatus> {
        may_duplicate(from, to)?;
        let (privileges, modified_id) = {
            let state = self.state.lock();
            (state.privileges, state.modified_id)
        };
        if !effective_only {
            return Self::make(quota, to, self.shared.clone(), privileges, Some(modified_id));
        }
        let privileges = privileges.effective();
        if self.identity().has_disabled() {
            return Self::new(quota, to, self.identity().effective()?, privileges);
        }
        Self::make(quota, to, self.shared.clone(), privileges, Some(modified_id))
    }

    /// Who the holder is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// The privileges now.
    pub fn privileges(&self) -> Privileges {
        self.state.lock().privileges
    }

    /// ModifiedId now.
    pub fn modified_id(&self) -> u64 {
        self.state.lock().modified_id
    }

    /// Changes the privileges by `change`, which says whether it did.
    pub fn change_privileges(&self, change: impl FnOnce(&mut Privileges) -> bool) {
        let mut state = self.state.lock();
        if change(&mut state.privileges) {
            state.modified_id = new_luid();
        }
    }

    /// Takes a primary token for a process: only one can have it.
    pub fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::AcqRel)
    }

    /// The process that took it has another.
    pub fn give_back(&self) {
        self.taken.store(false, Ordering::Release);
    }
}
