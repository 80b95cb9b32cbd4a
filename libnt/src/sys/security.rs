//! The system calls for tokens and for whom messages come from, with references and slices in place of pointers.
//!
//! Each `unsafe` block here is one system call whose pointers are made on the spot from references that outlive it and
//! whose lengths are theirs.

use super::*;
use abi::arg::{Handle, In, InOut, Out, Pod};
use abi::se::*;
use abi::status::{NtResult, STATUS_BUFFER_TOO_SMALL, STATUS_INVALID_SID};
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

/// NtAlpcCreateSecurityContext; `None` takes the port's quality of service.
pub fn create_security_context(port: Handle, qos: Option<&SecurityQualityOfService>) -> NtResult<u64> {
    let qos = qos.map_or(0, |qos| core::ptr::from_ref(qos) as u64);
    let mut attribute = AlpcSecurityAttr { flags: ALPC_SECFLG_CREATE_HANDLE, qos, ..Default::default() };
    // SAFETY: the attribute is ours.
    unsafe { NtAlpcCreateSecurityContext(port.into(), 0, (&mut attribute).into()) }.ok()?;
    Ok(attribute.context_handle)
}

/// NtAlpcDeleteSecurityContext.
pub fn delete_security_context(port: Handle, context: u64) -> NtResult {
    // SAFETY: no pointers.
    unsafe { NtAlpcDeleteSecurityContext(port.into(), 0, context) }.ok().map(drop)
}

/// NtAlpcRevokeSecurityContext.
pub fn revoke_security_context(port: Handle, context: u64) -> NtResult {
    // SAFETY: no pointers.
    unsafe { NtAlpcRevokeSecurityContext(port.into(), 0, context) }.ok().map(drop)
}

/// NtAlpcImpersonateClientOfPort.
pub fn impersonate_client(port: Handle, message: &PortMessage, flags: u64) -> NtResult {
    // SAFETY: the message is only read.
    unsafe { NtAlpcImpersonateClientOfPort(port.into(), message.into(), flags) }.ok().map(drop)
}

/// NtAlpcImpersonateClientContainerOfPort.
pub fn impersonate_client_container(port: Handle, message: &PortMessage) -> NtResult {
    // SAFETY: the message is only read.
    unsafe { NtAlpcImpersonateClientContainerOfPort(port.into(), message.into(), 0) }.ok().map(drop)
}

/// NtAlpcOpenSenderThread.
pub fn open_sender_thread(port: Handle, message: &PortMessage, access: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours, the message is only read.
    let status = unsafe {
        NtAlpcOpenSenderThread((&mut handle).into(), port.into(), message.into(), 0, access, In::NULL)
    };
    made(status, handle)
}

/// NtAlpcQueryInformationMessage into a buffer; answers the length.
pub fn query_message(port: Handle, message: &PortMessage, class: u32, buffer: &mut [u8]) -> NtResult<usize> {
    let mut length = 0u32;
    let out = InOut::at(buffer.as_mut_ptr() as u64);
    let bytes = buffer.len() as u32;
    // SAFETY: the buffer and its length are the slice's, the message is only read.
    let status = unsafe {
        NtAlpcQueryInformationMessage(port.into(), message.into(), class, out, bytes, (&mut length).into())
    };
    status.ok().map(|_| length as usize)
}

/// NtAlpcQueryInformation, class ALPC_CONNECTED_SID_INFORMATION.
pub fn connected_sid(port: Handle) -> NtResult<Sid> {
    let mut sid = Sid::default();
    let bytes = zerocopy::IntoBytes::as_mut_bytes(&mut sid);
    let (out, length) = (InOut::at(bytes.as_mut_ptr() as u64), bytes.len() as u32);
    let class = ALPC_CONNECTED_SID_INFORMATION;
    // SAFETY: the buffer and its length are the SID's.
    unsafe { NtAlpcQueryInformation(port.into(), class, out, length, Out::NULL) }.ok()?;
    Sid::parse(zerocopy::IntoBytes::as_bytes(&sid)).ok_or(STATUS_INVALID_SID)
}

/// NtAlpcConnectPortEx with ServerSecurityRequirements: a self-relative security descriptor. What arrives overwrites the
/// message. The null handle: the time-out passed.
pub fn connect_port_to(
    connection_port: Handle,
    attributes: &AlpcPortAttributes,
    flags: u32,
    requirements: Option<&[u8]>,
    message: Option<&mut [u64]>,
    timeout: Option<&i64>,
) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    let target = ObjectAttributes::relative_to(connection_port, 0);
    let mut length = message.as_ref().map_or(0, |m| m.len() * 8) as u64;
    let pointer = message.map_or(InOut::NULL, |m| InOut::at(m.as_mut_ptr() as u64));
    // SAFETY: `handle` and `length` are ours; the message buffer and its length are the slice's; the descriptor is only read,
    // and the kernel faults safely on what lies behind a short one.
    let status = unsafe {
        NtAlpcConnectPortEx(
            (&mut handle).into(),
            (&target).into(),
            In::NULL,
            attributes.into(),
            flags,
            requirements.map_or(0, |bytes| bytes.as_ptr() as u64),
            pointer,
            if pointer.is_null() { InOut::NULL } else { (&mut length).into() },
            InOut::NULL,
            InOut::NULL,
            timeout.into(),
        )
    };
    made(status, handle)
}
