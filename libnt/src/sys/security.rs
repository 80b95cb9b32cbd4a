//! The system calls for tokens with references and slices in place of pointers.
//!
//! Each `unsafe` block here is one system call whose pointers are made on the spot from references that outlive it and
//! whose lengths are theirs.

use super::*;
use abi::arg::{Handle, In, Out, Pod};
use abi::se::*;
use abi::status::{NtResult, STATUS_BUFFER_TOO_SMALL};
use alloc::vec;
use alloc::vec::Vec;

fn made(status: NtStatus, handle: Handle) -> NtResult<Handle> {
    status.ok().map(|_| handle)
}

/// NtOpenProcessTokenEx.
pub fn open_process_token(process: Handle, access: u32, attributes: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours.
    made(unsafe { NtOpenProcessTokenEx(process.into(), access, attributes, (&mut handle).into()) }, handle)
}

/// NtOpenThreadTokenEx.
pub fn open_thread_token(thread: Handle, access: u32, as_self: bool, attributes: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours.
    let status =
        unsafe { NtOpenThreadTokenEx(thread.into(), access, as_self, attributes, (&mut handle).into()) };
    made(status, handle)
}

/// OBJECT_ATTRIBUTES that ask for an impersonation level.
fn at_level(qos: &SecurityQualityOfService) -> ObjectAttributes {
    ObjectAttributes {
        security_quality_of_service: core::ptr::from_ref(qos) as u64,
        ..ObjectAttributes::unnamed(0)
    }
}

/// NtDuplicateToken.
pub fn duplicate_token(
    token: Handle,
    access: u32,
    token_type: u32,
    level: u32,
    effective_only: bool,
) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    let qos = SecurityQualityOfService::new(level, SECURITY_STATIC_TRACKING);
    let attributes = at_level(&qos);
    // SAFETY: `handle` is ours, the attributes are only read.
    let status = unsafe {
        NtDuplicateToken(
            token.into(),
            access,
            (&attributes).into(),
            effective_only,
            token_type,
            (&mut handle).into(),
        )
    };
    made(status, handle)
}

/// NtQueryInformationToken into words; answers the bytes. Addresses in the answer point into `buffer`.
pub fn query_token_words(token: Handle, class: u32, buffer: &mut [u64]) -> (NtStatus, usize) {
    let mut length = 0u32;
    let bytes = size_of_val(buffer) as u32;
    let out = Out::at(buffer.as_mut_ptr() as u64);
    // SAFETY: the buffer and its length are the slice's.
    let status = unsafe { NtQueryInformationToken(token.into(), class, out, bytes, (&mut length).into()) };
    (status, length as usize)
}

/// NtQueryInformationToken with as much room as it takes.
pub fn query_token(token: Handle, class: u32) -> NtResult<Vec<u64>> {
    let mut buffer = vec![0; 64];
    loop {
        let (status, length) = query_token_words(token, class, &mut buffer);
        if status != STATUS_BUFFER_TOO_SMALL {
            return status.ok().map(|_| buffer);
        }
        buffer = vec![0; length.div_ceil(8)];
    }
}

/// NtQueryInformationToken of a class without pointers.
pub fn query_token_value<T: Pod>(token: Handle, class: u32) -> NtResult<T> {
    let buffer = query_token(token, class)?;
    let bytes = zerocopy::IntoBytes::as_bytes(&buffer[..]);
    T::read_from_prefix(bytes).map(|(value, _)| value).map_err(|_| STATUS_BUFFER_TOO_SMALL)
}

/// NtAdjustPrivilegesToken; answers the status, which may be STATUS_NOT_ALL_ASSIGNED.
pub fn adjust_privileges(token: Handle, privileges: &[LuidAndAttributes]) -> NtResult<NtStatus> {
    let mut state = vec![privileges.len() as u32];
    for privilege in privileges {
        state.extend([privilege.luid.low_part, privilege.luid.high_part as u32, privilege.attributes]);
    }
    let state = In::at(state.as_ptr() as u64);
    // SAFETY: the state is only read.
    unsafe { NtAdjustPrivilegesToken(token.into(), false, state, 0, Out::NULL, Out::NULL) }.ok()
}

/// NtAllocateLocallyUniqueId.
pub fn allocate_luid() -> NtResult<Luid> {
    let mut luid = Luid::default();
    // SAFETY: `luid` is ours.
    unsafe { NtAllocateLocallyUniqueId((&mut luid).into()) }.ok().map(|_| luid)
}

/// What NtCreateToken is told.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// The user.
    pub user: Sid,
    /// Groups with SE_GROUP_ attributes; the mandatory label is one.
    pub groups: &'a [(Sid, u32)],
    /// Privileges with SE_PRIVILEGE_ attributes.
    pub privileges: &'a [LuidAndAttributes],
    /// Primary group: the user or one of the groups.
    pub primary_group: Sid,
    /// Logon session.
    pub authentication_id: Luid,
    /// TOKEN_PRIMARY or TOKEN_IMPERSONATION.
    pub token_type: u32,
    /// Level of an impersonation token.
    pub level: u32,
    /// Who makes it.
    pub source: TokenSource,
}

/// NtxCreateToken.
pub fn create_token(access: u32, new: &NewToken<'_>) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    let qos = SecurityQualityOfService::new(new.level, SECURITY_STATIC_TRACKING);
    let attributes = at_level(&qos);
    let address = |sid: &Sid| core::ptr::from_ref(sid) as u64;
    let user = SidAndAttributes { sid: address(&new.user), ..SidAndAttributes::default() };
    let mut groups = vec![new.groups.len() as u64];
    for (sid, attributes) in new.groups {
        groups.extend([address(sid), u64::from(*attributes)]);
    }
    let mut privileges = vec![new.privileges.len() as u32];
    for entry in new.privileges {
        privileges.extend([entry.luid.low_part, entry.luid.high_part as u32, entry.attributes]);
    }
    let defaults = TokenDefaults { primary_group: address(&new.primary_group), ..TokenDefaults::default() };
    let expiration = i64::MAX;
    // SAFETY: `handle` is ours, everything else is only read.
    let status = unsafe {
        NtxCreateToken(
            (&mut handle).into(),
            access,
            (&attributes).into(),
            new.token_type,
            (&new.authentication_id).into(),
            (&expiration).into(),
            (&user).into(),
            In::at(groups.as_ptr() as u64),
            In::at(privileges.as_ptr() as u64),
            (&defaults).into(),
            (&new.source).into(),
        )
    };
    made(status, handle)
}
