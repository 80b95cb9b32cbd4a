//! ALPC calls that look after ports and messages: cancelling, reserves, queries, settings, disconnecting.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::alpc_security::{connected_sid, message_information};
use super::{OK, SysResult, alpc_completion, user};
use crate::alpc::connecting;
use crate::alpc::group::Fx;
use crate::alpc::message::Body;
use crate::alpc::ops::{Via, waiting};
use crate::alpc::passing;
use crate::alpc::port::{self, Port};
use crate::alpc::zone;
use crate::ke::{deadline, sched};
use crate::kref::Ref;
use crate::ps::thread::Thread;
use crate::trace;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{Handle, In, InOut, Out, Req};
use abi::info::{WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY};
use abi::ob::*;
use abi::status::*;
use antares_core::alpc::{Cancel, Cancelled, Role};
use antares_core::dispatch::State;
use core::sync::atomic::Ordering;
use zerocopy::IntoBytes;

type OwnedPort = Req<{ ty::PORT }, PORT_ALL_ACCESS>;

fn owned(handle: OwnedPort) -> Result<Ref<Port>, NtStatus> {
    sched::current().process.handles.need(handle)
}

pub fn NtAlpcDisconnectPort(PortHandle: OwnedPort, Flags: u32) -> SysResult {
    if Flags & !ALPC_DISCONNECT_NO_FLUSH != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    connecting::disconnect(&*owned(PortHandle)?, Flags & ALPC_DISCONNECT_NO_FLUSH != 0)?;
    OK
}

pub fn NtAlpcCancelMessage(
    PortHandle: OwnedPort,
    Flags: u32,
    MessageContext: In<AlpcContextAttr>,
) -> SysResult {
    let known = ALPC_CANCELFLG_TRY_CANCEL | ALPC_CANCELFLG_NO_CONTEXT_CHECK | ALPC_CANCELFLG_FLUSH;
    if Flags & !known != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let all = Flags & ALPC_CANCELFLG_FLUSH != 0;
    let only_unseen = Flags & ALPC_CANCELFLG_TRY_CANCEL != 0;
    let wanted = user::read(MessageContext)?;
    if wanted.message_id == 0 && !all {
        return Err(STATUS_MESSAGE_NOT_FOUND);
    }
    let port = owned(PortHandle)?;
    let context = wanted.message_context;
    let mut fx = Fx::new(false);
    let cancelled = if all {
        port.group.lock().cancel_all(port.role, context, only_unseen, &mut fx)
    } else {
        let cancel = Cancel { id: (wanted.message_id, wanted.callback_id), context, only_unseen };
        port.group.lock().cancel(port.role, &cancel, &mut fx)
    };
    drop(fx);
    let details = trace::Details::id(wanted.message_id).with(cancelled.map(|_| wanted.message_id), || 0);
    Via::Port(&port).event(abi::trace::TRACE_CANCEL, details);
    Ok(match cancelled? {
        Cancelled::Unseen => STATUS_SUCCESS,
        Cancelled::Retrieved => STATUS_MESSAGE_RETRIEVED,
    })
}

pub fn NtAlpcCreateResourceReserve(
    PortHandle: OwnedPort,
    Flags: u32,
    MessageSize: u64,
    ResourceId: Out<u32>,
) -> SysResult {
    if Flags != 0 || MessageSize < PORT_MESSAGE_SIZE as u64 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let port = owned(PortHandle)?;
    if MessageSize > port.max_length() as u64 {
        return Err(STATUS_PORT_MESSAGE_TOO_LONG);
    }
    let length = MessageSize as usize - PORT_MESSAGE_SIZE;
    let body = Body::reserve(&sched::current().process.quota(), length)?;
    let id = port.group.lock().create_reserve(port.role, length, body)?;
    if let Err(status) = user::write(ResourceId, &id) {
        let _ = port.group.lock().delete_reserve(port.role, id);
        return Err(status);
    }
    OK
}

pub fn NtAlpcDeleteResourceReserve(PortHandle: OwnedPort, Flags: u32, ResourceId: u32) -> SysResult {
    if Flags != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let port = owned(PortHandle)?;
    port.group.lock().delete_reserve(port.role, ResourceId)?;
    OK
}

pub fn NtAlpcQueryInformation(
    PortHandle: Req<{ ty::PORT }, 0>,
    PortInformationClass: u32,
    PortInformation: InOut<u8>,
    Length: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let to = Out::at(PortInformation.address());
    let returned = match PortInformationClass {
        // Asks about a thread, not about a port.
        ALPC_SERVER_INFORMATION => server_information(PortInformation, Length, ReturnLength)?,
        _ => {
            let port: Ref<Port> = sched::current().process.handles.need(PortHandle)?;
            match PortInformationClass {
                ALPC_BASIC_INFORMATION => {
                    let facts = port.group.lock().facts(port.role);
                    let basic = AlpcBasicInformation {
                        flags: port.flags,
                        sequence_no: facts.sequence,
                        port_context: facts.context,
                    };
                    user::answer(&basic, to, u64::from(Length), true)?;
                    size_of_val(&basic)
                }
                ALPC_SERVER_SESSION_INFORMATION => {
                    let process_id = match port.role {
                        Role::Client(_) => port.group.lock().peer(port.role),
                        Role::Connection | Role::Server(_) => return Err(STATUS_INVALID_PORT_HANDLE),
                    };
                    // There is one session.
                    let session = AlpcServerSessionInformation { session_id: 0, process_id };
                    user::answer(&session, to, u64::from(Length), true)?;
                    size_of_val(&session)
                }
                ALPC_CONNECTED_SID_INFORMATION => {
                    connected_sid(&port, to, Length, ReturnLength)?;
                    return OK;
                }
                _ => return Err(STATUS_INVALID_INFO_CLASS),
            }
        }
    };
    user::write_opt(ReturnLength, &(returned as u32))?;
    OK
}

/// On which server a thread is blocked: the structure, and behind it the name of the server's port.
fn server_information(
    information: InOut<u8>,
    length: u32,
    return_length: Out<u32>,
) -> Result<usize, NtStatus> {
    const SIZE: usize = size_of::<AlpcServerInformation>();
    if (length as usize) < SIZE {
        return Err(STATUS_INFO_LENGTH_MISMATCH);
    }
    let handle: Handle = user::read(In::at(information.address()))?;
    let thread: Ref<Thread> = super::thread_of(handle, THREAD_QUERY_LIMITED_INFORMATION)?;
    let facts = sched::with_thread(&thread, |d| d.info(thread.index));
    let waits_for_answer =
        facts.is_some_and(|f| f.state == State::Waiting && u32::from(f.reason) == WAIT_REASON_LPC_REPLY);
    let port = port::find(thread.alpc_wait.port.load(Ordering::Relaxed)).filter(|_| waits_for_answer);
    let mut found = AlpcServerInformation::default();
    let mut name = [0u16; crate::alpc::group::LABEL_LENGTH];
    if let Some(port) = port {
        let process = match port.role {
            Role::Connection => port.group.owner,
            Role::Server(_) | Role::Client(_) => port.group.lock().peer(port.role),
        };
        let label = port.group.label.lock().clone();
        let mut units = 0;
        for (to, from) in name.iter_mut().zip(label.encode_utf16()) {
            *to = from;
            units += 1;
        }
        let bytes = (units * 2) as u16;
        found = AlpcServerInformation {
            thread_blocked: 1,
            connected_process_id: u64::from(process),
            name_length: bytes,
            name_maximum_length: bytes,
            reserved: 0,
            name_buffer: if units == 0 { 0 } else { information.address().wrapping_add(SIZE as u64) },
        };
    }
    let bytes = usize::from(found.name_length);
    let needed = SIZE + bytes;
    if (length as usize) < needed {
        user::write_opt(return_length, &(needed as u32))?;
        return Err(STATUS_INFO_LENGTH_MISMATCH);
    }
    user::write_bytes(information.address(), found.as_bytes())?;
    if bytes != 0 {
        user::write_bytes(found.name_buffer, &name.as_bytes()[..bytes])?;
    }
    Ok(needed)
}

pub fn NtAlpcSetInformation(
    PortHandle: OwnedPort,
    PortInformationClass: u32,
    PortInformation: In<u8>,
    Length: u32,
) -> SysResult {
    let port = owned(PortHandle)?;
    match PortInformationClass {
        ALPC_PORT_INFORMATION => {
            port.set_attributes(&user::input(PortInformation, Length)?)?;
            OK
        }
        ALPC_WAIT_FOR_PORT_REFERENCES if Length != 0 => Err(STATUS_INFO_LENGTH_MISMATCH),
        ALPC_WAIT_FOR_PORT_REFERENCES => wait_for_references(&port),
        ALPC_ASSOCIATE_COMPLETION_PORT_INFORMATION => {
            alpc_completion::associate(&port, PortInformation, Length)
        }
        ALPC_REGISTER_COMPLETION_LIST_INFORMATION => {
            alpc_completion::register(&port, PortInformation, Length)
        }
        ALPC_UNREGISTER_COMPLETION_LIST_INFORMATION => alpc_completion::unregister(&port, Length),
        ALPC_ADJUST_COMPLETION_LIST_CONCURRENCY_COUNT_INFORMATION => {
            alpc_completion::adjust_concurrency(&port, PortInformation, Length)
        }
        ALPC_COMPLETION_LIST_RUNDOWN_INFORMATION => alpc_completion::run_down(&port, Length),
        ALPC_MESSAGE_ZONE_INFORMATION => {
            zone::set(&port, &user::input(PortInformation, Length)?)?;
            OK
        }
        _ => Err(STATUS_INVALID_INFO_CLASS),
    }
}

/// Blocks until every tracked message is gone that was sent through a port.
fn wait_for_references(port: &Port) -> SysResult {
    let waiter = sched::prepare_park();
    let waits = port.group.lock().wait_references(port.role, waiter);
    if !waits? {
        return OK;
    }
    let status = waiting(port.id, 0, || sched::park(waiter, deadline(None), WAIT_REASON_LPC_RECEIVE));
    port.group.lock().end_references(port.role, waiter);
    Ok(status)
}

pub fn NtAlpcQueryInformationMessage(
    PortHandle: OwnedPort,
    PortMessage: In<PortMessage>,
    MessageInformationClass: u32,
    MessageInformation: InOut<u8>,
    Length: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let header = user::read(PortMessage)?;
    let port = owned(PortHandle)?;
    let class = MessageInformationClass;
    if matches!(class, ALPC_MESSAGE_SID_INFORMATION | ALPC_MESSAGE_TOKEN_MODIFIED_ID_INFORMATION) {
        message_information(
            &port,
            &header,
            class,
            Out::at(MessageInformation.address()),
            Length,
            ReturnLength,
        )?;
        return OK;
    }
    let ids = (header.message_id, header.callback_id as u32);
    let (to, length) = (Out::at(MessageInformation.address()), u64::from(Length));
    if class == ALPC_MESSAGE_DIRECT_STATUS_INFORMATION {
        // Its sender asks, which holds nothing.
        let status = port.sent.result(header.message_id)?;
        user::answer(&status.0, to, length, true)?;
        user::write_opt(ReturnLength, &(size_of::<u32>() as u32))?;
        return OK;
    }
    port.group.lock().is_held(port.role, header.message_id, header.callback_id as u32)?;
    match class {
        ALPC_MESSAGE_HANDLE_INFORMATION => {
            let asked: AlpcMessageHandleInformation =
                user::input(In::at(MessageInformation.address()), Length)?;
            let found = passing::query(&port, ids, asked.index)?;
            user::answer(&found, to, length, true)?;
            user::write_opt(ReturnLength, &(size_of_val(&found) as u32))?;
            OK
        }
        _ => Err(STATUS_INVALID_INFO_CLASS),
    }
}
