//! Tokens and impersonation: who a thread acts as, and what it may therefore open.
//!
//! A process has a primary token ([`token::Token`]), a copy of its parent's unless it is given another before its first
//! thread runs. A thread may have an impersonation token besides ([`impersonation::Slot`]); its *effective* token is that one,
//! else the process's. The rules are in `antares_core::se`.

pub mod descriptor;
pub mod impersonation;
pub mod token;

use crate::ke::sched;
use crate::kref::Ref;
use crate::ps::process::Process;
use crate::quota::is_system;
use abi::NtStatus;
use abi::ob::SYNCHRONIZE;
use abi::se::*;
use abi::status::*;
use antares_core::se::token::Level;
use impersonation::Impersonation;
use token::Token;

/// Who the current thread acts as.
pub struct Subject {
    token: Ref<Token>,
    /// Set when it impersonates.
    impersonation: Option<Impersonation>,
}

impl Subject {
    /// The current thread as it is now.
    pub fn current() -> Self {
        let thread = sched::current();
        let impersonation = thread.impersonation.get();
        let token = impersonation.as_ref().map_or_else(|| thread.process.token(), |i| i.token.clone());
        Self { token, impersonation }
    }

    /// The current process, whatever the thread impersonates.
    pub fn process() -> Self {
        Self { token: sched::current().process.token(), impersonation: None }
    }

    /// The token.
    pub fn token(&self) -> &Ref<Token> {
        &self.token
    }

    /// The level at which the thread impersonates; none when it does not.
    pub fn level(&self) -> Option<Level> {
        self.impersonation.as_ref().map(|impersonation| impersonation.level)
    }

    /// Only what is enabled in the token counts.
    pub fn effective_only(&self) -> bool {
        self.impersonation.as_ref().is_some_and(|impersonation| impersonation.effective_only)
    }

    /// STATUS_BAD_IMPERSONATION_LEVEL for a thread that knows its client but may not act as it.
    pub fn may_act(&self) -> Result<(), NtStatus> {
        match self.level() {
            Some(level) if level < Level::Impersonation => Err(STATUS_BAD_IMPERSONATION_LEVEL),
            _ => Ok(()),
        }
    }

    /// True when a privilege is held and enabled, at a level that may use it.
    pub fn holds(&self, privilege: u32) -> bool {
        self.may_act().is_ok() && self.token.privileges().holds(privilege)
    }

    /// True when what belongs to the holder of `other` is this subject's to change: it is the same user at no lower
    /// integrity, the system, or a debugger.
    fn rules(&self, other: &Token) -> bool {
        let (own, other) = (self.token.identity(), other.identity());
        let trusted = own.user == SID_LOCAL_SYSTEM || self.token.privileges().holds(SE_DEBUG_PRIVILEGE);
        trusted || (own.user == other.user && own.integrity >= other.integrity)
    }

    /// What it may open of a token: all if it is its own user's, its own system's; else nothing.
    pub fn token_access(&self, token: &Token) -> Result<u32, NtStatus> {
        self.may_act()?;
        Ok(if self.rules(token) { TOKEN_ALL_ACCESS } else { 0 })
    }

    /// What it may open of a process, or of a thread in it: `all` where the quota block is its own (or it is a core server)
    /// and the token is its own user's; else what is harmless.
    pub fn process_access(&self, process: &Process, all: u32, limited: u32) -> Result<u32, NtStatus> {
        self.may_act()?;
        let own = sched::current().process.quota();
        let near = Ref::same(&process.quota(), &own) || is_system(&own);
        Ok(if near && self.rules(&process.token()) { all } else { limited | SYNCHRONIZE })
    }
}
