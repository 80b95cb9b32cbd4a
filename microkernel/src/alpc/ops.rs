//! Sending, receiving, connecting, accepting.
//!
//! User memory is touched only while no lock is held: a message's body is captured before the state machine sees it,
//! and copied out between the start and the end of its delivery.

use crate::alpc::attributes::Sending;
use crate::alpc::fastpath;
use crate::alpc::group::{Fx, GroupRef};
use crate::alpc::message::{Body, ReceiveBuffer, capture, read_header};
use crate::alpc::port::{Port, new_signal};
use crate::ke::sched;
use crate::kref::Ref;
use crate::trace;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{In, InOut};
use abi::info::{WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY};
use abi::status::*;
use abi::trace::*;
use antares_core::alpc::{Body as _, Delivery, NO_OBJECT, ObjectContext, Received, Role, Sender, Waiter};

/// The current thread as a sender.
pub fn me() -> Sender {
    let thread = sched::current();
    Sender { process: thread.process.id(), thread: thread.id() }
}

/// Remembers what the thread blocks for, while `wait` blocks.
pub fn waiting(port: u32, message: u32, wait: impl FnOnce() -> NtStatus) -> NtStatus {
    let thread = sched::current();
    thread.alpc_wait.set(port, message);
    wait()
}

/// What a send is done on.
pub enum Via<'a> {
    /// A port.
    Port(&'a Port),
    /// A server object.
    Object(&'a GroupRef, ObjectContext),
}

impl Via<'_> {
    /// The group behind it.
    pub fn group(&self) -> &GroupRef {
        match self {
            Self::Port(port) => &port.group,
            Self::Object(group, _) => group,
        }
    }

    /// Port id for listings.
    pub fn port_id(&self) -> u32 {
        match self {
            Self::Port(port) => port.id,
            Self::Object(group, _) => group.id,
        }
    }

    fn sending(&self) -> Sending<'_> {
        let port = match self {
            Self::Port(port) => Some(*port),
            Self::Object(..) => None,
        };
        Sending { group: self.group(), port }
    }

    fn peer(&self) -> u32 {
        match self {
            Self::Port(port) if port.role != Role::Connection => port.group.lock().peer(port.role),
            Self::Port(_) => 0,
            Self::Object(group, _) => group.owner,
        }
    }

    /// Records an event on it.
    pub fn event(&self, event: u8, details: trace::Details) {
        if trace::is_on(self.group()) {
            trace::alpc(event, self.group(), self.port_id(), details);
        }
    }

    fn send(&self, body: Body, waiter: Option<Waiter>) -> Result<u32, NtStatus> {
        let mut fx = Fx::new(waiter.is_some());
        match self {
            Self::Port(port) => port.group.lock().send(port.role, me(), body, waiter, &mut fx),
            Self::Object(group, object) => group.lock().send_on_object(*object, me(), body, waiter, &mut fx),
        }
    }
}

/// A message captured from user memory.
pub struct Outgoing {
    header: PortMessage,
    body: Body,
}

impl Outgoing {
    /// Captures a message to send.
    pub fn capture(
        via: &Via,
        message: In<PortMessage>,
        attributes: InOut<AlpcMessageAttributes>,
    ) -> Result<Self, NtStatus> {
        let header = read_header(message, via.group().max_length)?;
        Ok(Self { header, body: capture(message, &header, attributes, &via.sending())? })
    }

    /// The id in its header: of the request it answers, if it does.
    pub fn message_id(&self) -> u32 {
        self.header.message_id
    }
}

/// Sends a datagram.
pub fn send_datagram(via: &Via, message: Outgoing) -> Result<(), NtStatus> {
    let details = trace::Details::of(LPC_DATAGRAM, message.header.data_length, message.body.has_handle());
    let sent = via.send(message.body, None);
    via.event(TRACE_SEND, details.with(sent, || via.peer()));
    sent.map(|_| ())
}

/// Answers a request. `will_block`: the caller receives next.
pub fn send_reply(port: &Port, message: Outgoing, will_block: bool) -> Result<(), NtStatus> {
    let id = message.header.message_id;
    let details = trace::Details::of(LPC_REPLY, message.header.data_length, message.body.has_handle());
    let traced = trace::is_on(&port.group);
    let asker = if traced { port.group.lock().sender(id).process } else { 0 };
    let result = port.group.lock().reply(port.role, id, me(), message.body, &mut Fx::new(will_block));
    if traced {
        Via::Port(port).event(TRACE_REPLY, details.with(result.map(|()| id), || asker));
    }
    result
}

/// Sends a request and blocks for its reply.
pub fn send_and_wait(
    via: &Via,
    message: Outgoing,
    buffer: &ReceiveBuffer,
    deadline: u64,
) -> Result<NtStatus, NtStatus> {
    let request = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
    let details = trace::Details::of(request, message.header.data_length, message.body.has_handle());
    let waiter = sched::prepare_park();
    buffer.open(sched::current());
    let sent = via.send(message.body, Some(waiter));
    via.event(TRACE_SEND, details.with(sent, || via.peer()));
    let id = sent?;
    via.event(TRACE_WAIT_REPLY, trace::Details::id(id).with(Ok(id), || via.peer()));
    let thread = sched::current();
    let status = waiting(via.port_id(), id, || sched::park(waiter, deadline, WAIT_REASON_LPC_REPLY));
    if let Some(landed) = thread.landing.collect() {
        return fastpath::finish(via, thread, landed, buffer);
    }
    finish_request(via, id, status, buffer)
}

/// The end of a blocking request that the long way answered, or nobody: takes the answer, or the request back.
pub fn finish_request(
    via: &Via,
    id: u32,
    status: NtStatus,
    buffer: &ReceiveBuffer,
) -> Result<NtStatus, NtStatus> {
    let answer = via.group().lock().abandon(id, &mut Fx::new(false));
    let Some(delivery) = answer else {
        let status = if status == STATUS_SUCCESS { STATUS_PORT_DISCONNECTED } else { status };
        via.event(
            if status == STATUS_TIMEOUT { TRACE_CANCEL } else { TRACE_UNWAIT },
            trace::Details::id(id).status(status),
        );
        return Ok(status);
    };
    let room = delivery.body.data_length();
    if room > buffer.room {
        return Err(buffer.too_small(room));
    }
    let port = match via {
        Via::Port(port) => Some(*port),
        Via::Object(..) => None,
    };
    let delivered = buffer.deliver(port, &delivery);
    let details = trace::Details::delivery(&delivery).attributes(delivered.unwrap_or(0));
    via.event(TRACE_UNWAIT, details.with(delivered.map(|_| id), || delivery.sender.process));
    delivered.map(|_| STATUS_SUCCESS)
}

/// Goes on after a wait to receive that ended without mail: a message is queued, or the wait failed.
pub fn receive_after(
    port: &Port,
    waiter: Waiter,
    status: NtStatus,
    buffer: &ReceiveBuffer,
    deadline: u64,
) -> Result<NtStatus, NtStatus> {
    if status == STATUS_SUCCESS {
        return receive(port, buffer, deadline);
    }
    port.group.lock().remove_waiter(port.role, waiter, &mut Fx::new(false));
    Via::Port(port).event(TRACE_UNWAIT, trace::Details::default().status(status));
    Ok(status)
}

/// Receives the next message.
pub fn receive(port: &Port, buffer: &ReceiveBuffer, deadline: u64) -> Result<NtStatus, NtStatus> {
    loop {
        let mut group = port.group.lock();
        let received = group.receive(port.role, buffer.room, me(), &mut Fx::new(false));
        let delivery = match received {
            Received::Message(delivery) => delivery,
            Received::Status(status) => return Err(status),
            Received::TooSmall(length) => {
                drop(group);
                return Err(buffer.too_small(length));
            }
            Received::Empty if deadline == 0 => return Ok(STATUS_TIMEOUT),
            Received::Empty => {
                let waiter = sched::prepare_park();
                let thread = sched::current();
                buffer.open(thread);
                group.add_waiter(port.role, waiter).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
                drop(group);
                Via::Port(port).event(TRACE_WAIT_NEW, trace::Details::default());
                let status = waiting(port.id, 0, || sched::park(waiter, deadline, WAIT_REASON_LPC_RECEIVE));
                if let Some(landed) = thread.landing.collect() {
                    return fastpath::finish(&Via::Port(port), thread, landed, buffer);
                }
                if status != STATUS_SUCCESS {
                    port.group.lock().remove_waiter(port.role, waiter, &mut Fx::new(false));
                    Via::Port(port).event(TRACE_UNWAIT, trace::Details::default().status(status));
                    return Ok(status);
                }
                continue;
            }
        };
        drop(group);
        let delivered = buffer.deliver(Some(port), &delivery);
        let details = trace::Details::delivery(&delivery).attributes(delivered.unwrap_or(0));
        let peer = delivery.sender.process;
        Via::Port(port).event(TRACE_RECEIVE, details.with(delivered.map(|_| delivery.id), || peer));
        let id = delivery.id;
        return match delivered {
            Ok(_) => {
                port.group.lock().end_delivery(id, None);
                Ok(STATUS_SUCCESS)
            }
            Err(status) => {
                let body = delivery.body;
                port.group.lock().undo_delivery(id, body, &mut Fx::new(false));
                Err(status)
            }
        };
    }
}

/// What NtAlpcConnectPortEx was given.
pub struct Connect<'a> {
    /// Connection port.
    pub port: &'a Port,
    /// Connection message, if any.
    pub message: InOut<PortMessage>,
    /// Its attributes.
    pub attributes: InOut<AlpcMessageAttributes>,
    /// Where the answer goes, if there is a message buffer.
    pub buffer: Option<ReceiveBuffer>,
    /// ALPC_PORFLG_ flags of the client port.
    pub flags: u32,
    /// Block until the answer.
    pub sync: bool,
    /// Deadline of that.
    pub deadline: u64,
}

/// Asks for a connection. On success the new client port, which the caller gives a handle or closes.
pub fn connect(request: &Connect) -> Result<Result<Ref<Port>, NtStatus>, NtStatus> {
    let Connect { port, message, attributes, buffer, flags, sync, deadline } = request;
    let group = &port.group;
    let quota = sched::current().process.quota();
    let body = if message.is_null() {
        Body::empty(&quota)?
    } else {
        let header = read_header(In::at(message.address()), group.max_length)?;
        let sending = Sending { group, port: None };
        capture(In::at(message.address()), &header, *attributes, &sending)?
    };
    let signal = new_signal(*flags)?;
    let object = signal.as_ref().map_or(NO_OBJECT, |s| s.index());
    let waiter = sync.then(sched::prepare_park);
    let via = Via::Port(port);
    let details = trace::Details::of(LPC_CONNECTION_REQUEST, body.data_length() as u16, body.has_handle());
    let asked = group.lock().connect(me(), body, waiter, object, &mut Fx::new(*sync));
    via.event(TRACE_CONNECT, details.with(asked.map(|(_, id)| id), || group.owner));
    let (connection, id) = asked?;
    if let Some(waiter) = waiter {
        let status = waiting(port.id, id, || sched::park(waiter, *deadline, WAIT_REASON_LPC_REPLY));
        let answer = group.lock().abandon_connect(connection, id, &mut Fx::new(false));
        let Some(delivery) = answer else {
            let status = if status == STATUS_SUCCESS { STATUS_PORT_CONNECTION_REFUSED } else { status };
            via.event(TRACE_CONNECTED, trace::Details::id(id).status(status));
            return Ok(Err(status));
        };
        let delivered = match buffer {
            None => Ok(0),
            Some(buffer) if delivery.body.data_length() > buffer.room => {
                Err(buffer.too_small(delivery.body.data_length()))
            }
            Some(buffer) => buffer.deliver(None, &delivery),
        };
        via.event(
            TRACE_CONNECTED,
            trace::Details::delivery(&delivery).with(delivered.map(|_| id), || delivery.sender.process),
        );
        if let Err(status) = delivered {
            group.lock().close_client(connection, &mut Fx::new(false));
            return Err(status);
        }
    }
    let owner = sched::current().process.id();
    let made = Port::new_communication(&quota, group, Role::Client(connection), *flags, owner, signal);
    match made {
        Ok(port) => Ok(Ok(port)),
        Err((status, signal)) => {
            group.lock().close_client(connection, &mut Fx::new(false));
            drop(signal);
            Err(status)
        }
    }
}

/// Accepts a connection request. Returns the server communication port.
pub fn accept(
    port: &Port,
    request: In<PortMessage>,
    attributes: InOut<AlpcMessageAttributes>,
    flags: u32,
    context: u64,
) -> Result<Ref<Port>, NtStatus> {
    let group = &port.group;
    let header = read_header(request, group.max_length)?;
    let body = capture(request, &header, InOut::NULL, &Sending { group, port: None })?;
    let _ = attributes;
    let signal = new_signal(flags)?;
    let object = signal.as_ref().map_or(NO_OBJECT, |s| s.index());
    let accepted = group.lock().accept(header.message_id, me(), context, object, body, &mut Fx::new(false));
    let details = trace::Details::of(LPC_CONNECTION_REPLY, header.data_length, false);
    let peer = || accepted.map_or(0, |c| group.lock().peer(Role::Server(c)));
    Via::Port(port).event(TRACE_ACCEPT, details.with(accepted.map(|_| header.message_id), peer));
    let connection = accepted?;
    let process = &sched::current().process;
    let role = Role::Server(connection);
    let made = Port::new_communication(&process.quota(), group, role, flags, process.id(), signal);
    made.map_err(|(status, signal)| {
        group.lock().close_server(connection, &mut Fx::new(false));
        drop(signal);
        status
    })
}

/// Refuses a connection request.
pub fn refuse(port: &Port, request: In<PortMessage>) -> Result<(), NtStatus> {
    let header = read_header(request, port.group.max_length)?;
    let result = port.group.lock().refuse(header.message_id, &mut Fx::new(false));
    let details = trace::Details::of(LPC_CONNECTION_REPLY, 0, false);
    Via::Port(port).event(TRACE_REFUSE, details.with(result.map(|()| header.message_id), || 0));
    result
}

/// Ends a connection from this side.
pub fn disconnect(port: &Port) -> Result<(), NtStatus> {
    let result = port.group.lock().disconnect(port.role, &mut Fx::new(false));
    let details = trace::Details::default().with(result.map(|()| 0), || 0);
    Via::Port(port).event(TRACE_DISCONNECT, details);
    result
}

impl trace::Details {
    fn delivery(delivery: &Delivery<Body>) -> Self {
        let length = delivery.body.data_length() as u16;
        Self::of(delivery.message_type, length, false).depth(delivery.depth)
    }
}
