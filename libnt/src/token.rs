//! Tokens: who this process and its threads act as.
//!
//! A [`Token`] is a handle to one. [`current`], [`of_thread`] and [`effective`] ask about the caller's without opening
//! anything.

use crate::handle::OwnedHandle;
use crate::sys::calls;
use crate::sys::security::{self, NewToken};
use abi::arg::Handle;
use abi::se::*;
use abi::status::*;
use alloc::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

/// A group in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The group.
    pub sid: Sid,
    /// SE_GROUP_ attributes.
    pub attributes: u32,
}

/// A handle to a token, or one of the pseudo handles.
#[derive(Debug)]
pub struct Token(OwnedHandle);

impl Token {
    /// A process's primary token.
    pub fn of_process(process: Handle, access: u32) -> NtResult<Self> {
        security::open_process_token(process, access, 0).map(OwnedHandle::new).map(Self)
    }

    /// The token that a thread impersonates (STATUS_NO_TOKEN if it does not). `as_self`: opened as this process, not as whom
    /// the calling thread impersonates.
    pub fn of_thread(thread: Handle, access: u32, as_self: bool) -> NtResult<Self> {
        security::open_thread_token(thread, access, as_self, 0).map(OwnedHandle::new).map(Self)
    }

    /// Makes a token (SeCreateTokenPrivilege).
    pub fn create(new: &NewToken<'_>) -> NtResult<Self> {
        security::create_token(TOKEN_ALL_ACCESS, new).map(OwnedHandle::new).map(Self)
    }

    /// A token behind a handle.
    pub const fn from_handle(handle: OwnedHandle) -> Self {
        Self(handle)
    }

    /// The handle.
    pub const fn handle(&self) -> Handle {
        self.0.raw()
    }

    /// A primary token of the same holder, for a new process.
    pub fn duplicate_primary(&self) -> NtResult<Self> {
        self.duplicate(TOKEN_PRIMARY, SECURITY_ANONYMOUS, false)
    }

    /// An impersonation token of the same holder.
    pub fn duplicate_impersonation(&self, level: u32) -> NtResult<Self> {
        self.duplicate(TOKEN_IMPERSONATION, level, false)
    }

    /// NtDuplicateToken with all access.
    pub fn duplicate(&self, token_type: u32, level: u32, effective_only: bool) -> NtResult<Self> {
        security::duplicate_token(self.handle(), TOKEN_ALL_ACCESS, token_type, level, effective_only)
            .map(OwnedHandle::new)
            .map(Self)
    }

    /// The user.
    pub fn user(&self) -> NtResult<Sid> {
        user(self.handle())
    }

    /// Enables or disables a privilege. STATUS_NOT_ALL_ASSIGNED, as an error, when the token does not have it.
    pub fn set_privilege(&self, privilege: u32, enabled: bool) -> NtResult {
        let attributes = if enabled { SE_PRIVILEGE_ENABLED } else { 0 };
        let change = LuidAndAttributes { luid: Luid::from_u64(u64::from(privilege)), attributes };
        match security::adjust_privileges(self.handle(), &[change])? {
            STATUS_SUCCESS => Ok(()),
            status => Err(status),
        }
    }
}

/// The pseudo handle of this process's token.
pub const fn current() -> Handle {
    Handle::CURRENT_PROCESS_TOKEN
}

/// The pseudo handle of the token that the calling thread impersonates.
pub const fn of_thread() -> Handle {
    Handle::CURRENT_THREAD_TOKEN
}

/// The pseudo handle of the token that counts for the calling thread.
pub const fn effective() -> Handle {
    Handle::CURRENT_EFFECTIVE_TOKEN
}

/// The calling thread acts as a token's holder from now on (an impersonation token with TOKEN_IMPERSONATE).
pub fn impersonate(token: &Token) -> NtResult {
    set_thread_token(Handle::CURRENT_THREAD, token.handle())
}

/// The calling thread acts as its process again.
pub fn revert() -> NtResult {
    set_thread_token(Handle::CURRENT_THREAD, Handle::NULL)
}

/// Sets or takes away (null) the token that a thread impersonates.
pub fn set_thread_token(thread: Handle, token: Handle) -> NtResult {
    calls::set_thread(thread, THREAD_IMPERSONATION_TOKEN, token.as_bytes())
}

/// Gives a process that has no thread yet a primary token (SeAssignPrimaryTokenPrivilege).
pub fn set_process_token(process: Handle, token: Handle) -> NtResult {
    let value = ProcessAccessToken { token: token.0, thread: 0 };
    calls::set_process(process, PROCESS_ACCESS_TOKEN, value.as_bytes())
}

/// The SID that an address in an answer points to.
fn sid_in(answer: &[u64], address: u64) -> Option<Sid> {
    let offset = address.checked_sub(answer.as_ptr() as u64)?;
    Sid::parse(answer.as_bytes().get(usize::try_from(offset).ok()?..)?)
}

/// SID_AND_ATTRIBUTES entries from an offset of an answer on.
fn groups_in(answer: &[u64], offset: usize, count: usize) -> Option<Vec<Group>> {
    let entry = |index: usize| {
        let bytes = answer.as_bytes().get(offset + index * size_of::<SidAndAttributes>()..)?;
        let (entry, _) = SidAndAttributes::read_from_prefix(bytes).ok()?;
        Some(Group { sid: sid_in(answer, entry.sid)?, attributes: entry.attributes })
    };
    (0..count).map(entry).collect()
}

/// The user of a token.
pub fn user(token: Handle) -> NtResult<Sid> {
    let answer = security::query_token(token, TOKEN_USER_CLASS)?;
    sid_in(&answer, answer[0]).ok_or(STATUS_INVALID_SID)
}

/// The groups of a token.
pub fn groups(token: Handle) -> NtResult<Vec<Group>> {
    let answer = security::query_token(token, TOKEN_GROUPS_CLASS)?;
    groups_in(&answer, 8, answer[0] as u32 as usize).ok_or(STATUS_INVALID_SID)
}

/// The privileges of a token.
pub fn privileges(token: Handle) -> NtResult<Vec<LuidAndAttributes>> {
    let answer = security::query_token(token, TOKEN_PRIVILEGES_CLASS)?;
    let bytes = &answer.as_bytes()[4..];
    let entry = size_of::<LuidAndAttributes>();
    let list = bytes.chunks_exact(entry).filter_map(|bytes| LuidAndAttributes::read_from_bytes(bytes).ok());
    Ok(list.take(answer[0] as u32 as usize).collect())
}

/// The integrity level of a token.
pub fn integrity(token: Handle) -> NtResult<u32> {
    let answer = security::query_token(token, TOKEN_INTEGRITY_LEVEL_CLASS)?;
    sid_in(&answer, answer[0]).and_then(|sid| sid.integrity_level()).ok_or(STATUS_INVALID_SID)
}

/// The owner of what the holder of a token makes.
pub fn owner(token: Handle) -> NtResult<Sid> {
    let answer = security::query_token(token, TOKEN_OWNER_CLASS)?;
    sid_in(&answer, answer[0]).ok_or(STATUS_INVALID_SID)
}

/// Ids, type and counts of a token.
pub fn statistics(token: Handle) -> NtResult<TokenStatistics> {
    security::query_token_value(token, TOKEN_STATISTICS_CLASS)
}
