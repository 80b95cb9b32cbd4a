//! ALPC calls about who sent a message: impersonation, security contexts, senders.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::process::{open_process, open_thread};
use super::{OK, SysResult, user};
use crate::alpc::port::Port;
use crate::alpc::security;
use crate::ke::sched;
use crate::kref::Ref;
use crate::ps::ids;
use crate::trace;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{Handle, In, InOut, Out, Req};
use abi::ob::*;
use abi::se::{Luid, Sid};
use abi::status::*;
use antares_core::se::access::Descriptor;

type OwnedPort = Req<{ ty::PORT }, PORT_ALL_ACCESS>;

fn port(handle: OwnedPort) -> Result<Ref<Port>, NtStatus> {
    sched::current().process.handles.need(handle)
}

/// The port, if the flags of the call are as they must be.
fn port_without_flags(handle: OwnedPort, flags: u32) -> Result<Ref<Port>, NtStatus> {
    if flags != 0 { Err(STATUS_INVALID_PARAMETER) } else { port(handle) }
}

/// STATUS_SERVER_SID_MISMATCH unless the maker of a connection port is who a client requires: the descriptor's owner or a
/// member of it, and somebody to whom it grants PORT_CONNECT.
pub fn check_server(port: &Port, required: &Descriptor) -> Result<(), NtStatus> {
    let identity = port.group.owner_token.identity();
    let mapping = (PORT_ALL_ACCESS, READ_CONTROL | PORT_CONNECT, DELETE, 0);
    let is_owner = required.owner.is_none_or(|owner| identity.is(&owner, false));
    if is_owner && required.grants(identity, PORT_CONNECT, mapping) {
        Ok(())
    } else {
        Err(STATUS_SERVER_SID_MISMATCH)
    }
}

pub fn NtAlpcCreateSecurityContext(
    PortHandle: OwnedPort,
    Flags: u32,
    SecurityAttribute: InOut<AlpcSecurityAttr>,
) -> SysResult {
    security::create_context(&*port_without_flags(PortHandle, Flags)?, SecurityAttribute.address())?;
    OK
}

pub fn NtAlpcDeleteSecurityContext(PortHandle: OwnedPort, Flags: u32, ContextHandle: u64) -> SysResult {
    security::delete_context(&*port_without_flags(PortHandle, Flags)?, ContextHandle)?;
    OK
}

pub fn NtAlpcRevokeSecurityContext(PortHandle: OwnedPort, Flags: u32, ContextHandle: u64) -> SysResult {
    security::revoke_context(&*port_without_flags(PortHandle, Flags)?, ContextHandle)?;
    OK
}

pub fn NtAlpcImpersonateClientOfPort(
    PortHandle: OwnedPort,
    Message: In<PortMessage>,
    Flags: u64,
) -> SysResult {
    let known =
        ALPC_IMPERSONATEFLG_ANONYMOUS | ALPC_IMPERSONATEFLG_REQUIRE_IMPERSONATE | ALPC_IMPERSONATE_LEVEL_MASK;
    let port = port(PortHandle)?;
    if Flags & !known != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let header = user::read(Message)?;
    let client = security::impersonate(&port, &header, Flags)?;
    sched::current().impersonation.set(Some(client));
    trace::port_event(abi::trace::TRACE_IMPERSONATE, &port, trace::Details::id(header.message_id));
    OK
}

pub fn NtAlpcImpersonateClientContainerOfPort(
    PortHandle: OwnedPort,
    Message: In<PortMessage>,
    Flags: u32,
) -> SysResult {
    let port = port_without_flags(PortHandle, Flags)?;
    security::sender(&port, &user::read(Message)?)?;
    // There are no containers that a client could be in.
    Err(STATUS_NOT_IMPLEMENTED)
}

pub fn NtAlpcOpenSenderProcess(
    ProcessHandle: Out<Handle>,
    PortHandle: OwnedPort,
    PortMessage: In<PortMessage>,
    Flags: u32,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
) -> SysResult {
    let port = port_without_flags(PortHandle, Flags)?;
    let attributes = user::attributes(ObjectAttributes)?;
    let sender = security::sender(&port, &user::read(PortMessage)?)?;
    let process = ids::process(u64::from(sender.process)).ok_or(STATUS_INVALID_CID)?;
    open_process(process, DesiredAccess, attributes, ProcessHandle)
}

pub fn NtAlpcOpenSenderThread(
    ThreadHandle: Out<Handle>,
    PortHandle: OwnedPort,
    PortMessage: In<PortMessage>,
    Flags: u32,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
) -> SysResult {
    let port = port_without_flags(PortHandle, Flags)?;
    let attributes = user::attributes(ObjectAttributes)?;
    let sender = security::sender(&port, &user::read(PortMessage)?)?;
    let thread = ids::thread(u64::from(sender.thread)).ok_or(STATUS_INVALID_CID)?;
    open_thread(thread, DesiredAccess, attributes, ThreadHandle)
}

/// Answers a query with bytes: STATUS_BUFFER_TOO_SMALL, with the length in `returned`, when they do not fit.
fn answer(bytes: &[u8], to: Out<u8>, length: u32, returned: Out<u32>) -> Result<(), NtStatus> {
    user::write_opt(returned, &(bytes.len() as u32))?;
    if (length as usize) < bytes.len() {
        return Err(STATUS_BUFFER_TOO_SMALL);
    }
    user::write_bytes(to.address(), bytes)
}

/// NtAlpcQueryInformation, class ALPC_CONNECTED_SID_INFORMATION.
pub fn connected_sid(port: &Port, to: Out<u8>, length: u32, returned: Out<u32>) -> Result<(), NtStatus> {
    let sid: Sid = security::connected_token(port)?.identity().user;
    answer(sid.bytes(), to, length, returned)
}

/// NtAlpcQueryInformationMessage, the classes about the sender: its SID, or the ModifiedId of its token.
pub fn message_information(
    port: &Port,
    header: &PortMessage,
    class: u32,
    to: Out<u8>,
    length: u32,
    returned: Out<u32>,
) -> Result<(), NtStatus> {
    let token = security::message_token(port, header)?;
    if class == ALPC_MESSAGE_SID_INFORMATION {
        return answer(token.identity().user.bytes(), to, length, returned);
    }
    let modified_id = Luid::from_u64(token.modified_id());
    answer(zerocopy::IntoBytes::as_bytes(&modified_id), to, length, returned)
}
