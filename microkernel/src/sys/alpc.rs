//! ALPC calls that connect, send and receive: arguments in, operations of [`crate::alpc`], handles out. Those that look
//! after ports and messages are in [`super::alpc_control`].
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]
#![expect(clippy::too_many_arguments, reason = "NT's parameter lists")]

use super::alpc_security::check_server;
use super::{OK, SysResult, insert_handle, user};
use crate::alpc::connecting::{self, Connect};
use crate::alpc::message::{Body, ReceiveBuffer};
use crate::alpc::ops::{self, Outgoing, Via};
use crate::alpc::port::{Port, ServerObject, max_length};
use crate::alpc::security::PortSecurity;
use crate::ke::alert::Until;
use crate::ke::{deadline, sched};
use crate::kref::Ref;
use crate::ob::Object;
use crate::ob::handles::Endpoint;
use crate::se::descriptor;
use crate::trace;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{Handle, In, InOut, Out, Req};
use abi::ob::*;
use abi::status::*;
use antares_core::alpc::{ObjectContext, Role};

type OwnedPort = Req<{ ty::PORT }, PORT_ALL_ACCESS>;

const SEND_FLAGS: u32 = ALPC_MSGFLG_REPLY_MESSAGE
    | ALPC_MSGFLG_LPC_MODE
    | ALPC_MSGFLG_RELEASE_MESSAGE
    | ALPC_MSGFLG_SYNC_REQUEST
    | ALPC_MSGFLG_TRACK_PORT_REFERENCES
    | ALPC_MSGFLG_WAIT_USER_MODE
    | ALPC_MSGFLG_WAIT_ALERTABLE;

fn port_attributes(from: In<AlpcPortAttributes>) -> Result<AlpcPortAttributes, NtStatus> {
    let attributes = if from.is_null() { AlpcPortAttributes::default() } else { user::read(from)? };
    if attributes.flags & ALPC_PORFLG_SYSTEM_PROCESS != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    max_length(&attributes)?;
    Ok(attributes)
}

pub fn NtAlpcCreatePort(
    PortHandle: Out<Handle>,
    ObjectAttributes: In<ObjectAttributes>,
    PortAttributes: In<AlpcPortAttributes>,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    let port_attributes = port_attributes(PortAttributes)?;
    let process = &sched::current().process;
    let port = Port::new_connection(&process.quota(), process.id(), &port_attributes)?;
    trace::port_event(abi::trace::TRACE_CREATE, &port, trace::Details::default());
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
    let port_attributes = port_attributes(PortAttributes)?;
    if Flags & !(ALPC_MSGFLG_SYNC_CONNECTION | ALPC_MSGFLG_WAIT_USER_MODE | ALPC_MSGFLG_WAIT_ALERTABLE) != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let required = match ServerSecurityRequirements {
        0 => None,
        at => Some(descriptor::capture(at)?),
    };
    let until = Until {
        deadline: deadline(user::timeout(Timeout)?),
        alertable: Flags & ALPC_MSGFLG_WAIT_ALERTABLE != 0,
    };
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
    if let Some(required) = &required {
        check_server(&port, required)?;
    }
    let connected = connecting::connect(&Connect {
        port: &port,
        message: ConnectionMessage,
        attributes: OutMessageAttributes,
        buffer,
        port_attributes: &port_attributes,
        security: PortSecurity::new(&port_attributes, true)?,
        sync: Flags & ALPC_MSGFLG_SYNC_CONNECTION != 0,
        until,
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
    let port_attributes = port_attributes(PortAttributes)?;
    if Flags != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let port: Ref<Port> = sched::current().process.handles.need(ConnectionPortHandle)?;
    if port.role != Role::Connection {
        return Err(STATUS_INVALID_PORT_HANDLE);
    }
    if !AcceptConnection {
        connecting::refuse(&port, ConnectionRequest)?;
        return OK;
    }
    let security = PortSecurity::new(&port_attributes, false)?;
    let server = connecting::accept(
        &port,
        ConnectionRequest,
        ConnectionMessageAttributes,
        &port_attributes,
        security.as_ref(),
        PortContext,
    )?;
    insert_handle(Object::Port(server), PORT_ALL_ACCESS, attributes, PortHandle)
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
    let has = |flag: u32| Flags & flag != 0;
    let (sync, release) = (has(ALPC_MSGFLG_SYNC_REQUEST), has(ALPC_MSGFLG_RELEASE_MESSAGE));
    let reply = has(ALPC_MSGFLG_REPLY_MESSAGE);
    if Flags & !SEND_FLAGS != 0 || (sync && release) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let endpoint = sched::current().process.handles.endpoint(PortHandle)?;
    let (via, port) = match &endpoint {
        Endpoint::Port(port) => (Via::Port(port), Some(port)),
        Endpoint::Object(group, context) => (Via::Object(group, *context), None),
    };
    let (sends, receives) = (!SendMessage.is_null(), !ReceiveMessage.is_null());
    if (!sends && (sync || reply || release || !receives)) || (receives && !sync && port.is_none()) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if sync && !receives {
        return Err(STATUS_LPC_RECEIVE_BUFFER_EXPECTED);
    }
    if sends && has(ALPC_MSGFLG_LPC_MODE) && via.group().flags & ALPC_PORFLG_ALLOW_LPC_REQUESTS == 0 {
        return Err(STATUS_LPC_REQUESTS_NOT_ALLOWED);
    }
    let until = Until {
        deadline: deadline(user::timeout(Timeout)?),
        alertable: Flags & ALPC_MSGFLG_WAIT_ALERTABLE != 0,
    };
    let buffer = if receives {
        Some(ReceiveBuffer::new(ReceiveMessage, BufferLength, ReceiveMessageAttributes)?)
    } else {
        None
    };
    let track = has(ALPC_MSGFLG_TRACK_PORT_REFERENCES);
    if sends {
        if release
            && let Some(port) = port
            && let Some(header) = ops::only_ids(SendMessage)?
        {
            ops::release(port, &header)?;
        } else {
            let message = Outgoing::capture(&via, SendMessage, SendMessageAttributes, sync || reply)?;
            let (id, callback_id) = message.answers();
            match (&buffer, port) {
                (Some(buffer), Some(port)) if sync && reply => {
                    return ops::reply_and_wait(port, message, buffer, until);
                }
                // A client calls back only who called it back: any other id is left from an earlier message.
                (Some(buffer), Some(port))
                    if sync && id != 0 && (callback_id != 0 || !matches!(port.role, Role::Client(_))) =>
                {
                    return ops::call_back(port, message, buffer, until);
                }
                (Some(buffer), _) if sync && !reply => {
                    return ops::send_and_wait(&via, message, buffer, until, track);
                }
                (_, Some(port)) if reply || id != 0 => ops::send_reply(port, message, receives)?,
                (_, None) if reply || id != 0 => return Err(STATUS_MESSAGE_NOT_FOUND),
                // All that can be sent on a connection port is a reply.
                (_, Some(port)) if release && port.role == Role::Connection => {
                    return Err(STATUS_MESSAGE_NOT_FOUND);
                }
                _ => ops::send_message(&via, message, release, track)?,
            }
        }
    }
    match (&buffer, port) {
        (Some(buffer), Some(port)) => ops::receive(port, buffer, until),
        _ => OK,
    }
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
