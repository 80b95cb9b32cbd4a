//! Connecting, accepting, refusing, disconnecting.
//!
//! Called by [`crate::sys::alpc`] with checked arguments; user memory is touched only while no lock is held.

use crate::alpc::attributes::Sending;
use crate::alpc::group::Fx;
use crate::alpc::message::{Body, ReceiveBuffer, capture, read_header};
use crate::alpc::ops::{Via, me, waiting};
use crate::alpc::port::{Port, max_length, new_signal};
use crate::alpc::security::{PortSecurity, Undo};
use crate::ke::alert::{self, Until};
use crate::ke::sched;
use crate::kref::Ref;
use crate::trace;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{In, InOut};
use abi::info::WAIT_REASON_LPC_REPLY;
use abi::status::*;
use abi::trace::*;
use antares_core::alpc::{Body as _, Delivery, NO_OBJECT, Role};

/// What NtAlpcConnectPortEx was given.
pub struct Connect<'a> {
    /// Connection port.
    pub port: &'a Port,
    /// Connection message, if any.
    pub message: InOut<PortMessage>,
    /// Its attributes, which may come without a message.
    pub attributes: InOut<AlpcMessageAttributes>,
    /// Where the answer goes, if there is a message buffer.
    pub buffer: Option<ReceiveBuffer>,
    /// Of the client port.
    pub port_attributes: &'a AlpcPortAttributes,
    /// What it lets the server have of its maker.
    pub security: Option<Ref<PortSecurity>>,
    /// Block until the answer.
    pub sync: bool,
    /// How long.
    pub until: Until,
}

/// Asks for a connection. On success the new client port, which the caller gives a handle or closes.
pub fn connect(request: &Connect) -> Result<Result<Ref<Port>, NtStatus>, NtStatus> {
    let Connect { port, message, attributes, buffer, port_attributes, security, sync, until } = request;
    let group = &port.group;
    let quota = sched::current().process.quota();
    let sending = Sending { group, port: None, is_datagram: false };
    let body = if message.is_null() {
        Body::of_attributes(&quota, *attributes, &sending)?
    } else {
        let longest = max_length(port_attributes).map_or(0, |length| length.min(group.max_length));
        let header = read_header(In::at(message.address()), longest)?;
        capture(In::at(message.address()), &header, *attributes, &sending)?
    };
    let signal = new_signal(port_attributes.flags)?;
    let object = signal.as_ref().map_or(NO_OBJECT, |s| s.index());
    let waiter = sync.then(sched::prepare_park);
    let via = Via::Port(port);
    let details = trace::Details::of(LPC_CONNECTION_REQUEST, body.data_length() as u16, body.has_handle());
    let asked = {
        let mut state = group.lock();
        group.sides.reserve()?;
        let asked = state.connect(me(), body, waiter, object, &mut Fx::new(*sync));
        if let Ok((connection, _)) = asked
            && let Some(security) = security
        {
            group.sides.add(Role::Client(connection), security.clone());
        }
        asked
    };
    via.event(TRACE_CONNECT, details.with(asked.map(|(_, id)| id), || group.owner));
    let (connection, id) = asked?;
    let undo = Undo::new(group, Role::Client(connection));
    let mut answer = None;
    if let Some(waiter) = waiter {
        let status = waiting(port.id, id, || alert::park(waiter, *until, WAIT_REASON_LPC_REPLY));
        answer = group.lock().take_connect(connection, id, &mut Fx::new(false));
        if answer.is_none() {
            let status = if status == STATUS_SUCCESS { STATUS_PORT_CONNECTION_REFUSED } else { status };
            via.event(TRACE_CONNECTED, trace::Details::id(id).status(status));
            return Ok(Err(status));
        }
        alert::keep(status);
    }
    let owner = sched::current().process.id();
    let role = Role::Client(connection);
    let made = Port::new_communication(&quota, group, role, port_attributes, owner, signal);
    let client = made.map_err(|(status, signal)| {
        group.lock().close_client(connection, &mut Fx::new(false));
        drop(signal);
        status
    })?;
    undo.keep();
    if let Some(delivery) = answer
        && let Err(status) = deliver_answer(&via, &client, buffer.as_ref(), delivery)
    {
        client.close();
        return Err(status);
    }
    Ok(Ok(client))
}

/// Hands the server's answer out to a client that waited for it with its new port.
fn deliver_answer(
    via: &Via,
    client: &Port,
    buffer: Option<&ReceiveBuffer>,
    mut delivery: Delivery<Body>,
) -> Result<(), NtStatus> {
    let length = delivery.body.data_length();
    let delivered = match buffer {
        None => Ok(0),
        Some(buffer) if length > buffer.room => Err(buffer.too_small(length)),
        Some(buffer) => buffer.deliver(Some(client), &mut delivery),
    };
    let details = trace::Details::delivery(&delivery);
    via.event(TRACE_CONNECTED, details.with(delivered.map(|_| delivery.id), || delivery.sender.process));
    let Delivery { key, body, .. } = delivery;
    let kept = delivered.is_ok().then(|| body.keep(false)).flatten();
    client.group.lock().end_delivery(key, kept, &mut Fx::new(false));
    delivered.map(drop)
}

/// Accepts a connection request; payload and attributes go to the client. Returns the server communication port.
pub fn accept(
    port: &Port,
    request: In<PortMessage>,
    attributes: InOut<AlpcMessageAttributes>,
    port_attributes: &AlpcPortAttributes,
    security: Option<&Ref<PortSecurity>>,
    context: u64,
) -> Result<Ref<Port>, NtStatus> {
    let group = &port.group;
    let longest = max_length(port_attributes)?.min(port.max_length());
    let header = read_header(request, longest)?;
    let sending = Sending { group, port: Some(port), is_datagram: false };
    let body = capture(request, &header, attributes, &sending)?;
    let has_handle = body.has_handle();
    let signal = new_signal(port_attributes.flags)?;
    let object = signal.as_ref().map_or(NO_OBJECT, |s| s.index());
    let accepted = {
        let mut state = group.lock();
        group.sides.reserve()?;
        let fx = &mut Fx::new(false);
        let accepted = state.accept(header.message_id, me(), context, object, body, fx);
        if let Ok(connection) = accepted
            && let Some(security) = security
        {
            group.sides.add(Role::Server(connection), security.clone());
        }
        accepted
    };
    let details = trace::Details::of(LPC_CONNECTION_REPLY, header.data_length, has_handle);
    let peer = || accepted.map_or(0, |c| group.lock().peer(Role::Server(c)));
    Via::Port(port).event(TRACE_ACCEPT, details.with(accepted.map(|_| header.message_id), peer));
    let connection = accepted?;
    let undo = Undo::new(group, Role::Server(connection));
    let process = &sched::current().process;
    let role = Role::Server(connection);
    let quota = process.quota();
    let made = Port::new_communication(&quota, group, role, port_attributes, process.id(), signal);
    match made {
        Ok(port) => {
            undo.keep();
            Ok(port)
        }
        Err((status, signal)) => {
            group.lock().close_server(connection, &mut Fx::new(false));
            drop(signal);
            Err(status)
        }
    }
}

/// Refuses a connection request.
pub fn refuse(port: &Port, request: In<PortMessage>) -> Result<(), NtStatus> {
    let header = read_header(request, port.group.max_length)?;
    let result = port.group.lock().refuse(header.message_id, &mut Fx::new(false));
    let details = trace::Details::of(LPC_CONNECTION_REPLY, 0, false);
    Via::Port(port).event(TRACE_REFUSE, details.with(result.map(|()| header.message_id), || 0));
    result
}

/// Ends a connection from this side. `no_flush`: what the client had sent can still be received.
pub fn disconnect(port: &Port, no_flush: bool) -> Result<(), NtStatus> {
    let result = port.group.lock().disconnect(port.role, no_flush, &mut Fx::new(false));
    let details = trace::Details::default().with(result.map(|()| 0), || 0);
    Via::Port(port).event(TRACE_DISCONNECT, details);
    result
}
