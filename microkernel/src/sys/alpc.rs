//! ALPC calls: arguments in, operations of [`crate::alpc`], handles out.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]
#![expect(clippy::too_many_arguments, reason = "NT's parameter lists")]

use super::{OK, SysResult, insert_handle, user};
use crate::alpc::fastpath;
use crate::alpc::group::GroupRef;
use crate::alpc::message::{Body, ReceiveBuffer};
use crate::alpc::ops::{self, Connect, Outgoing, Via};
use crate::alpc::port::{Port, ServerObject};
use crate::ke::{deadline, sched};
use crate::kref::Ref;
use crate::ob::Object;
use crate::ob::handles::Target;
use crate::trace;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{Handle, In, InOut, Out, Req};
use abi::ob::*;
use abi::status::*;
use antares_core::alpc::{ObjectContext, Role};

type OwnedPort = Req<{ ty::PORT }, PORT_ALL_ACCESS>;

const SEND_FLAGS: u32 = 0x3
    | ALPC_MSGFLG_RELEASE_MESSAGE
    | ALPC_MSGFLG_SYNC_REQUEST
    | 0x4_0000
    | ALPC_MSGFLG_WAIT_USER_MODE
    | ALPC_MSGFLG_WAIT_ALERTABLE;

fn port_attributes(from: In<AlpcPortAttributes>) -> Result<(AlpcPortAttributes, usize), NtStatus> {
    let attributes = if from.is_null() { AlpcPortAttributes::default() } else { user::read(from)? };
    if attributes.flags & ALPC_PORFLG_SYSTEM_PROCESS != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let longest = match attributes.max_message_length {
        0 => ALPC_MAX_ALLOWED_MESSAGE_LENGTH,
        length if length < PORT_MESSAGE_SIZE as u64 => return Err(STATUS_INVALID_PARAMETER),
        length => (length as usize).min(ALPC_MAX_ALLOWED_MESSAGE_LENGTH),
    };
    Ok((attributes, longest))
}

pub fn NtAlpcCreatePort(
    PortHandle: Out<Handle>,
    ObjectAttributes: In<ObjectAttributes>,
    PortAttributes: In<AlpcPortAttributes>,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    let (port_attributes, longest) = port_attributes(PortAttributes)?;
    let process = &sched::current().process;
    let port = Port::new_connection(&process.quota(), process.id(), &port_attributes, longest)?;
    trace::port_event(abi::trace::TRACE_CREATE, &port, 0);
    insert_handle(Object::Port(port), PORT_ALL_ACCESS, attributes, PortHandle)
}

pub fn NtAlpcConnectPort(
    PortHandle: Out<Handle>,
    PortName: In<UnicodeString>,
    ObjectAttributes: In<ObjectAttributes>,
    PortAttributes: In<AlpcPortAttributes>,
    Flags: u32,
    RequiredServerSid: u64,
    ConnectionMessage: InOut<PortMessage>,
    BufferLength: InOut<u64>,
    OutMessageAttributes: InOut<AlpcMessageAttributes>,
    InMessageAttributes: InOut<AlpcMessageAttributes>,
    Timeout: In<i64>,
) -> SysResult {
    let _ =
        (PortHandle, PortName, ObjectAttributes, PortAttributes, Flags, RequiredServerSid, ConnectionMessage);
    let _ = (BufferLength, OutMessageAttributes, InMessageAttributes, Timeout);
    // The kernel knows no names: libnt asks the object manager and then calls NtAlpcConnectPortEx.
    Err(STATUS_OBJECT_PATH_SYNTAX_BAD)
}

pub fn NtAlpcConnectPortEx(
    PortHandle: Out<Handle>,
    ConnectionPortObjectAttributes: In<ObjectAttributes>,
    ClientPortObjectAttributes: In<ObjectAttributes>,
    PortAttributes: In<AlpcPortAttributes>,
    Flags: u32,
    ServerSecurityRequirements: u64,
    ConnectionMessage: InOut<PortMessage>,
    BufferLength: InOut<u64>,
    OutMessageAttributes: InOut<AlpcMessageAttributes>,
    InMessageAttributes: InOut<AlpcMessageAttributes>,
    Timeout: In<i64>,
) -> SysResult {
    let target = user::object_attributes(ConnectionPortObjectAttributes)?;
    let attributes = user::attributes(ClientPortObjectAttributes)?;
    let (port_attributes, _) = port_attributes(PortAttributes)?;
    if Flags & !(ALPC_MSGFLG_SYNC_CONNECTION | ALPC_MSGFLG_WAIT_USER_MODE | ALPC_MSGFLG_WAIT_ALERTABLE) != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if ServerSecurityRequirements != 0 {
        return Err(STATUS_NOT_IMPLEMENTED);
    }
    let until = deadline(user::timeout(Timeout)?);
    let process = &sched::current().process;
    let (port, _): (Ref<Port>, u32) = process.handles.get(target.root_directory, PORT_CONNECT)?;
    if port.role != Role::Connection {
        return Err(STATUS_INVALID_PORT_HANDLE);
    }
    let buffer = if ConnectionMessage.is_null() {
        None
    } else {
        let message = Out::at(ConnectionMessage.address());
        Some(ReceiveBuffer::new(message, BufferLength, InMessageAttributes)?)
    };
    let connected = ops::connect(&Connect {
        port: &port,
        message: ConnectionMessage,
        attributes: OutMessageAttributes,
        buffer,
        flags: port_attributes.flags,
        sync: Flags & ALPC_MSGFLG_SYNC_CONNECTION != 0,
        deadline: until,
    })?;
    match connected {
        Ok(client) => insert_handle(Object::Port(client), PORT_ALL_ACCESS, attributes, PortHandle),
        Err(status) => Ok(status),
    }
}

pub fn NtAlpcAcceptConnectPort(
    PortHandle: Out<Handle>,
    ConnectionPortHandle: OwnedPort,
    Flags: u32,
    ObjectAttributes: In<ObjectAttributes>,
    PortAttributes: In<AlpcPortAttributes>,
    PortContext: u64,
    ConnectionRequest: In<PortMessage>,
    ConnectionMessageAttributes: InOut<AlpcMessageAttributes>,
    AcceptConnection: bool,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    let (port_attributes, _) = port_attributes(PortAttributes)?;
    if Flags != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let port: Ref<Port> = sched::current().process.handles.need(ConnectionPortHandle)?;
    if port.role != Role::Connection {
        return Err(STATUS_INVALID_PORT_HANDLE);
    }
    if !AcceptConnection {
        ops::refuse(&port, ConnectionRequest)?;
        return OK;
    }
    let server = ops::accept(
        &port,
        ConnectionRequest,
        ConnectionMessageAttributes,
        port_attributes.flags,
        PortContext,
    )?;
    insert_handle(Object::Port(server), PORT_ALL_ACCESS, attributes, PortHandle)
}

/// What a send or receive is done on: a port handle with all access, or a server object's handle with any.
pub enum Endpoint {
    /// A port.
    Port(Ref<Port>),
    /// A server object.
    Object(GroupRef, ObjectContext),
}

/// Looks a handle up to send or receive on.
#[inline(always)]
pub fn endpoint(handle: Handle) -> Result<Endpoint, NtStatus> {
    sched::current().process.handles.with(handle, |entry| match &entry.target {
        Target::Open(open) => match open.object() {
            Object::Port(_) if entry.access & PORT_ALL_ACCESS != PORT_ALL_ACCESS => Err(STATUS_ACCESS_DENIED),
            Object::Port(port) => Ok(Endpoint::Port(port.clone())),
            Object::Server(server) => {
                let context = ObjectContext { access: entry.access, ..server.object };
                Ok(Endpoint::Object(server.group.clone(), context))
            }
            _ => Err(STATUS_OBJECT_TYPE_MISMATCH),
        },
        Target::Name(_) => Err(STATUS_OBJECT_TYPE_MISMATCH),
    })
}

pub fn NtAlpcSendWaitReceivePort(
    PortHandle: Handle,
    Flags: u32,
    SendMessage: In<PortMessage>,
    SendMessageAttributes: InOut<AlpcMessageAttributes>,
    ReceiveMessage: Out<PortMessage>,
    BufferLength: InOut<u64>,
    ReceiveMessageAttributes: InOut<AlpcMessageAttributes>,
    Timeout: In<i64>,
) -> SysResult {
    let direct = matches!(Flags, ALPC_MSGFLG_SYNC_REQUEST | ALPC_MSGFLG_RELEASE_MESSAGE)
        && SendMessageAttributes.is_null()
        && Timeout.is_null();
    if direct && !SendMessage.is_null() && !ReceiveMessage.is_null() {
        let call = fastpath::Call {
            port: PortHandle,
            flags: Flags,
            send: SendMessage,
            receive: ReceiveMessage,
            length: BufferLength,
            attributes: ReceiveMessageAttributes,
        };
        if let Some(result) = fastpath::attempt(&call) {
            return result;
        }
    }
    let sync = Flags & ALPC_MSGFLG_SYNC_REQUEST != 0;
    let reply = Flags & ALPC_MSGFLG_RELEASE_MESSAGE != 0;
    if Flags & !SEND_FLAGS != 0 || (sync && reply) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let endpoint = endpoint(PortHandle)?;
    let (via, port) = match &endpoint {
        Endpoint::Port(port) => (Via::Port(port), Some(port)),
        Endpoint::Object(group, context) => (Via::Object(group, *context), None),
    };
    let (sends, receives) = (!SendMessage.is_null(), !ReceiveMessage.is_null());
    if (!sends && (sync || reply || !receives)) || (receives && !sync && port.is_none()) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if sync && !receives {
        return Err(STATUS_LPC_RECEIVE_BUFFER_EXPECTED);
    }
    let until = deadline(user::timeout(Timeout)?);
    let buffer = if receives {
        Some(ReceiveBuffer::new(ReceiveMessage, BufferLength, ReceiveMessageAttributes)?)
    } else {
        None
    };
    if sends {
        let message = Outgoing::capture(&via, SendMessage, SendMessageAttributes)?;
        match (&buffer, port) {
            (Some(buffer), _) if sync => return ops::send_and_wait(&via, message, buffer, until),
            (_, Some(port)) if reply || message.message_id() != 0 => {
                ops::send_reply(port, message, receives)?
            }
            (_, None) if reply || message.message_id() != 0 => return Err(STATUS_MESSAGE_NOT_FOUND),
            _ => ops::send_datagram(&via, message)?,
        }
    }
    match (&buffer, port) {
        (Some(buffer), Some(port)) => ops::receive(port, buffer, until),
        _ => OK,
    }
}

pub fn NtAlpcDisconnectPort(PortHandle: OwnedPort, Flags: u32) -> SysResult {
    if Flags & !1 != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let port: Ref<Port> = sched::current().process.handles.need(PortHandle)?;
    ops::disconnect(&port)?;
    OK
}

pub fn NtAlpcQueryInformation(
    PortHandle: Req<{ ty::PORT }, 0>,
    PortInformationClass: u32,
    PortInformation: Out<u8>,
    Length: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let port: Ref<Port> = sched::current().process.handles.need(PortHandle)?;
    if PortInformationClass != ALPC_BASIC_INFORMATION {
        return Err(STATUS_INVALID_INFO_CLASS);
    }
    let facts = port.group.lock().facts(port.role);
    let basic =
        AlpcBasicInformation { flags: port.flags, sequence_no: facts.sequence, port_context: facts.context };
    user::answer(&basic, PortInformation, u64::from(Length), true)?;
    user::write_opt(ReturnLength, &(size_of::<AlpcBasicInformation>() as u32))?;
    OK
}

pub fn NtxCreateServerObject(
    ObjectHandle: Out<Handle>,
    PortHandle: OwnedPort,
    Context: u64,
    ServerType: u32,
    GrantedAccess: u32,
    HandleAttributes: u32,
) -> SysResult {
    let process = &sched::current().process;
    let port: Ref<Port> = process.handles.need(PortHandle)?;
    if port.role != Role::Connection {
        return Err(STATUS_INVALID_PORT_HANDLE);
    }
    let quota = process.quota();
    let object = ObjectContext { context: Context, access: 0, server_type: ServerType };
    let body = Body::empty(&quota)?;
    let notice = port.group.lock().reserve_notice(LPC_OBJECT_CLOSED, body, object)?;
    let made = ServerObject::new(&quota, port.group.clone(), object, notice);
    let server = match made {
        Ok(server) => server,
        Err(status) => {
            port.group.lock().drop_notice(notice);
            return Err(status);
        }
    };
    let result = insert_handle(Object::Server(server), GrantedAccess, HandleAttributes, ObjectHandle);
    if result.is_err() {
        // The server is told by this error, not by a notice as well.
        port.group.lock().drop_notice(notice);
    }
    result
}

macro_rules! not_implemented {
    ($($name:ident($($t:ty),*);)*) => {$(
        pub fn $name($(_: $t),*) -> SysResult {
            Err(STATUS_NOT_IMPLEMENTED)
        }
    )*};
}
not_implemented! {
    NtAlpcCancelMessage(OwnedPort, u32, In<AlpcContextAttr>);
    NtAlpcSetInformation(OwnedPort, u32, In<u8>, u32);
    NtAlpcQueryInformationMessage(OwnedPort, In<PortMessage>, u32, Out<u8>, u32, Out<u32>);
    NtAlpcCreatePortSection(OwnedPort, u32, Handle, u64, Out<u64>, Out<u64>);
    NtAlpcDeletePortSection(OwnedPort, u32, u64);
    NtAlpcCreateSectionView(OwnedPort, u32, InOut<u8>);
    NtAlpcDeleteSectionView(OwnedPort, u32, u64);
    NtAlpcCreateResourceReserve(OwnedPort, u32, u64, Out<u32>);
    NtAlpcDeleteResourceReserve(OwnedPort, u32, u32);
    NtAlpcCreateSecurityContext(OwnedPort, u32, InOut<u8>);
    NtAlpcDeleteSecurityContext(OwnedPort, u32, u64);
    NtAlpcRevokeSecurityContext(OwnedPort, u32, u64);
    NtAlpcImpersonateClientOfPort(OwnedPort, In<PortMessage>, u64);
    NtAlpcOpenSenderProcess(Out<Handle>, OwnedPort, In<PortMessage>, u32, u32, In<ObjectAttributes>);
    NtAlpcOpenSenderThread(Out<Handle>, OwnedPort, In<PortMessage>, u32, u32, In<ObjectAttributes>);
}
