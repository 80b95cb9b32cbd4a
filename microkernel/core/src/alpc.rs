//! The ALPC state machine of one connection port: its connections, messages, queues and waiters.
//!
//! A [`Group`] is everything behind one connection port; the kernel keeps each under its own lock. Every operation is
//! a pure state change: who must be woken and which ports became readable goes to an [`Effects`] sink, message bodies
//! (payload, passed handles, quota charge) are opaque and moved in and out, never looked into. Nothing here blocks:
//! a thread that must wait publishes a [`Waiter`] and parks outside.
//!
//! States of a message: queued in the main queue (for the server) or a client's queue; being delivered (its body is
//! out with the receiving thread, which then ends or undoes the delivery); pending (delivered, a reply is owed);
//! replied (the reply is in it, the blocked sender will take it); reserved (a notice that must never fail to be sent).
//! A blocked sender that goes away takes its message with it in every state, so that a later reply finds nothing.

pub mod direct;

use crate::table::Table;
use crate::{NoMemory, try_push};
use abi::alpc::{
    LPC_CANCELED, LPC_CONNECTION_REPLY, LPC_CONNECTION_REQUEST, LPC_CONTINUATION_REQUIRED, LPC_DATAGRAM,
    LPC_KERNELMODE_MESSAGE, LPC_PORT_CLOSED, LPC_REPLY, LPC_REQUEST,
};
use abi::status::*;
use alloc::vec::Vec;

/// A thread that waits: its dispatcher index and park ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiter {
    /// Dispatcher index.
    pub thread: u32,
    /// Park ticket.
    pub ticket: u32,
}

/// Who sent a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sender {
    /// Process id.
    pub process: u32,
    /// Thread id.
    pub thread: u32,
}

/// Which of the three kinds of ports an operation is done on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The connection port.
    Connection,
    /// The server communication port of this connection.
    Server(u64),
    /// The client communication port of this connection.
    Client(u64),
}

/// What the CONTEXT attribute tells of a message sent on a server object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectContext {
    /// Server's context.
    pub context: u64,
    /// Access granted to the handle it was sent on.
    pub access: u32,
    /// Server's type number.
    pub server_type: u32,
}

/// Where the consequences of an operation go.
pub trait Effects {
    /// A waiter is to be woken with this status. `soon`: the caller is about to block, so its processor is free.
    fn wake(&mut self, waiter: Waiter, status: NtStatus, soon: bool);
    /// A port's dispatcher object becomes signalled or not.
    fn readable(&mut self, object: u32, readable: bool);
}

/// Length of a body, for checks against the receiver's buffer.
pub trait Body {
    /// Payload bytes.
    fn data_length(&self) -> usize;
}

const NO_LINK: u64 = 0;
/// A port that cannot be waited on; the sink ignores it.
pub const NO_OBJECT: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Reserved,
    Queued,
    Delivering,
    Pending,
    Replied,
}

struct Message<B> {
    message_type: u16,
    sender: Sender,
    connection: u64,
    to_client: bool,
    object: Option<ObjectContext>,
    body: Option<B>,
    waiter: Option<Waiter>,
    receiver: Sender,
    sequence: u32,
    place: Place,
    prev: u64,
    next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ConnectionState {
    Pending,
    Connected,
    Refused,
    Cancelled,
    Disconnected,
}

#[derive(Clone, Copy, Default)]
struct Queue {
    head: u64,
    tail: u64,
    count: u32,
}

struct Connection {
    state: ConnectionState,
    client_open: bool,
    server_open: bool,
    request: u64,
    close_notice: u64,
    client_notice: u64,
    context: u64,
    client_process: u32,
    server_process: u32,
    client_object: u32,
    server_object: u32,
    client_queue: Queue,
    client_waiters: Vec<Waiter>,
    in_main: u32,
}

/// A message on its way to a receiver.
#[derive(Debug)]
pub struct Delivery<B> {
    /// Message id.
    pub id: u32,
    /// PORT_MESSAGE type with flags.
    pub message_type: u16,
    /// Sender.
    pub sender: Sender,
    /// Connection key (0 for server objects).
    pub connection: u64,
    /// Port context of the connection, or the object's.
    pub context: u64,
    /// For server objects.
    pub object: Option<ObjectContext>,
    /// Sequence number on the port.
    pub sequence: u32,
    /// Messages left in the queue.
    pub depth: u32,
    /// The body.
    pub body: B,
}

/// Outcome of a receive.
#[derive(Debug)]
pub enum Received<B> {
    /// A message; [`Group::end_delivery`] or [`Group::undo_delivery`] must follow.
    Message(Delivery<B>),
    /// Nothing there: wait.
    Empty,
    /// The first message needs a buffer for this many payload bytes.
    TooSmall(usize),
    /// Nothing there and never again, or a refused connection.
    Status(NtStatus),
}

/// Facts about a port for queries.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortFacts {
    /// Bit 0 connection pending, 1 refused, 2 disconnected, 3 closed.
    pub state: u32,
    /// Messages queued for it.
    pub queued: u32,
    /// Messages delivered through it that are owed a reply.
    pub pending: u32,
    /// Threads waiting on it.
    pub waiters: u32,
    /// Messages received.
    pub sequence: u32,
    /// Process at the other side.
    pub peer_process: u32,
    /// Context given at accept.
    pub context: u64,
}

/// Facts about a message for queries.
#[derive(Clone, Copy, Debug)]
pub struct MessageFacts {
    /// Id.
    pub id: u32,
    /// Type with flags.
    pub message_type: u16,
    /// Connection key.
    pub connection: u64,
    /// In a client's queue rather than the main queue.
    pub to_client: bool,
    /// 1 queued, 2 pending, 3 being delivered.
    pub queue: u32,
    /// Sender.
    pub sender: Sender,
    /// The sender is blocked.
    pub waits: bool,
    /// Who received it.
    pub receiver: Sender,
    /// Payload bytes (0 when the body is out).
    pub data_length: usize,
}

const MESSAGE_BITS: u32 = 16;
/// Most messages behind one connection port at once.
const MESSAGES: usize = (1 << MESSAGE_BITS) - 1;

/// See the module head.
pub struct Group<B> {
    closed: bool,
    object: u32,
    messages: Table<Message<B>, MESSAGE_BITS, 16>,
    connections: Table<Connection, 16, 32>,
    main: Queue,
    waiters: Vec<(u64, Waiter)>,
    sequence: u32,
}

impl<B: Body> Group<B> {
    /// A new connection port. Message ids start at a place that `seed` chooses; `object` is the dispatcher object of
    /// a waitable port, or [`NO_OBJECT`].
    pub const fn new(seed: u32, object: u32) -> Self {
        Self {
            closed: false,
            object,
            messages: Table::wrapping(seed),
            connections: Table::new(),
            main: Queue { head: 0, tail: 0, count: 0 },
            waiters: Vec::new(),
            sequence: 0,
        }
    }

    /// True after the connection port was closed.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Messages in existence, reserved notices included.
    pub const fn message_count(&self) -> usize {
        self.messages.len()
    }

    /// Connections in existence.
    pub const fn connection_count(&self) -> usize {
        self.connections.len()
    }

    // ----- queues ------------------------------------------------------------------------------------------------

    fn message(&mut self, id: u64) -> &mut Message<B> {
        self.messages.get_mut(id).expect("a linked message exists")
    }

    fn queue(&mut self, to_client: bool, connection: u64) -> Option<&mut Queue> {
        if to_client {
            self.connections.get_mut(connection).map(|c| &mut c.client_queue)
        } else {
            Some(&mut self.main)
        }
    }

    fn link(&mut self, id: u64, at_head: bool, fx: &mut impl Effects) {
        let (to_client, connection) = {
            let m = self.message(id);
            m.place = Place::Queued;
            (m.to_client, m.connection)
        };
        let Some(queue) = self.queue(to_client, connection) else { return };
        let (head, tail) = (queue.head, queue.tail);
        queue.count += 1;
        let first = queue.count == 1;
        if at_head || tail == NO_LINK {
            queue.head = id;
        }
        if !at_head || tail == NO_LINK {
            queue.tail = id;
        }
        let (prev, next) = if at_head { (NO_LINK, head) } else { (tail, NO_LINK) };
        let m = self.message(id);
        (m.prev, m.next) = (prev, next);
        if prev != NO_LINK {
            self.message(prev).next = id;
        }
        if next != NO_LINK {
            self.message(next).prev = id;
        }
        if to_client {
            if let Some(c) = self.connections.get(connection).filter(|_| first) {
                fx.readable(c.client_object, true);
            }
        } else {
            if first {
                fx.readable(self.object, true);
            }
            if let Some(c) = self.connections.get_mut(connection) {
                c.in_main += 1;
                if c.in_main == 1 && c.server_open {
                    fx.readable(c.server_object, true);
                }
            }
        }
    }

    fn unlink(&mut self, id: u64, fx: &mut impl Effects) {
        let m = self.message(id);
        let (prev, next, to_client, connection) = (m.prev, m.next, m.to_client, m.connection);
        (m.prev, m.next) = (NO_LINK, NO_LINK);
        if prev != NO_LINK {
            self.message(prev).next = next;
        }
        if next != NO_LINK {
            self.message(next).prev = prev;
        }
        let Some(queue) = self.queue(to_client, connection) else { return };
        if queue.head == id {
            queue.head = next;
        }
        if queue.tail == id {
            queue.tail = prev;
        }
        queue.count -= 1;
        let empty = queue.count == 0;
        if to_client {
            if let Some(c) = self.connections.get(connection).filter(|_| empty) {
                fx.readable(
                    c.client_object,
                    c.state != ConnectionState::Connected && c.state != ConnectionState::Pending,
                );
            }
        } else {
            if empty {
                fx.readable(self.object, false);
            }
            if let Some(c) = self.connections.get_mut(connection) {
                c.in_main -= 1;
                if c.in_main == 0 && c.server_open {
                    fx.readable(c.server_object, c.state == ConnectionState::Disconnected);
                }
            }
        }
    }

    /// Wakes one thread that may receive a message just queued.
    fn notify(&mut self, to_client: bool, connection: u64, soon: bool, fx: &mut impl Effects) {
        let waiter = if to_client {
            let Some(c) = self.connections.get_mut(connection).filter(|c| !c.client_waiters.is_empty())
            else {
                return;
            };
            c.client_waiters.remove(0)
        } else {
            let Some(at) = self.waiters.iter().position(|(filter, _)| *filter == 0 || *filter == connection)
            else {
                return;
            };
            self.waiters.remove(at).1
        };
        fx.wake(waiter, STATUS_SUCCESS, soon);
    }

    /// Wakes one thread that may receive what is queued, for one that was chosen but takes nothing.
    fn pass_turn(&mut self, to_client: bool, connection: u64, fx: &mut impl Effects) {
        if to_client {
            if self.connections.get(connection).is_some_and(|c| c.client_queue.count > 0) {
                self.notify(true, connection, false, fx);
            }
            return;
        }
        if self.waiters.is_empty() {
            return;
        }
        let mut id = self.main.head;
        while let Some(m) = self.messages.get(id) {
            let (from, next) = (m.connection, m.next);
            if self.waiters.iter().any(|(filter, _)| *filter == 0 || *filter == from) {
                self.notify(false, from, false, fx);
                return;
            }
            id = next;
        }
    }

    fn post(&mut self, id: u64, soon: bool, fx: &mut impl Effects) {
        self.link(id, false, fx);
        let m = self.message(id);
        let (to_client, connection) = (m.to_client, m.connection);
        self.notify(to_client, connection, soon, fx);
    }

    fn add_message(&mut self, message: Message<B>) -> Result<u64, NtStatus> {
        // A full table is a queue that nobody empties, not the system's lack of memory.
        let full = self.messages.len() >= MESSAGES;
        let refused = if full { STATUS_QUOTA_EXCEEDED } else { STATUS_INSUFFICIENT_RESOURCES };
        self.messages.insert(message).map_err(|_| refused)
    }

    /// Takes a message out of wherever it is.
    fn remove_message(&mut self, id: u64, fx: &mut impl Effects) -> Option<Message<B>> {
        if self.messages.get(id)?.place == Place::Queued {
            self.unlink(id, fx);
        }
        self.messages.remove(id)
    }

    // ----- connecting --------------------------------------------------------------------------------------------

    /// A client asks for a connection. With a waiter the client blocks until the answer. Returns connection and message.
    pub fn connect(
        &mut self,
        sender: Sender,
        body: B,
        waiter: Option<Waiter>,
        client_object: u32,
        fx: &mut impl Effects,
    ) -> Result<(u64, u32), NtStatus> {
        if self.closed {
            return Err(STATUS_PORT_CONNECTION_REFUSED);
        }
        let connection = self
            .connections
            .insert(Connection {
                state: ConnectionState::Pending,
                client_open: true,
                server_open: false,
                request: 0,
                close_notice: 0,
                client_notice: 0,
                context: 0,
                client_process: sender.process,
                server_process: 0,
                client_object,
                server_object: NO_OBJECT,
                client_queue: Queue::default(),
                client_waiters: Vec::new(),
                in_main: 0,
            })
            .map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let flag = if waiter.is_some() { LPC_CONTINUATION_REQUIRED } else { 0 };
        let message = Message {
            message_type: LPC_CONNECTION_REQUEST | flag,
            sender,
            connection,
            to_client: false,
            object: None,
            body: Some(body),
            waiter,
            receiver: Sender::default(),
            sequence: 0,
            place: Place::Reserved,
            prev: 0,
            next: 0,
        };
        let id = match self.add_message(message) {
            Ok(id) => id,
            Err(status) => {
                self.connections.remove(connection);
                return Err(status);
            }
        };
        if let Some(c) = self.connections.get_mut(connection) {
            c.request = id;
        }
        self.post(id, waiter.is_some(), fx);
        Ok((connection, id as u32))
    }

    fn pending_request(&self, id: u32) -> Result<u64, NtStatus> {
        let message = self.messages.get(u64::from(id)).ok_or(STATUS_INVALID_MESSAGE)?;
        if message.message_type & 0xFF != LPC_CONNECTION_REQUEST || message.place != Place::Pending {
            return Err(STATUS_INVALID_MESSAGE);
        }
        Ok(message.connection)
    }

    fn reserve(&mut self, message_type: u16, connection: u64, to_client: bool) -> Result<u64, NtStatus> {
        self.add_message(Message {
            message_type: message_type | LPC_KERNELMODE_MESSAGE,
            sender: Sender::default(),
            connection,
            to_client,
            object: None,
            body: None,
            waiter: None,
            receiver: Sender::default(),
            sequence: 0,
            place: Place::Reserved,
            prev: 0,
            next: 0,
        })
    }

    /// The server accepts a connection request that it received. `body` is what the client gets. Returns the connection.
    pub fn accept(
        &mut self,
        id: u32,
        acceptor: Sender,
        context: u64,
        server_object: u32,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<u64, NtStatus> {
        let connection = self.pending_request(id)?;
        let id = u64::from(id);
        let alive = self
            .connections
            .get(connection)
            .is_some_and(|c| c.state == ConnectionState::Pending && c.client_open);
        if !alive {
            self.messages.remove(id);
            return Err(STATUS_REQUEST_CANCELED);
        }
        let close_notice = self.reserve(LPC_PORT_CLOSED, connection, false)?;
        let client_notice = match self.reserve(LPC_PORT_CLOSED, connection, true) {
            Ok(notice) => notice,
            Err(status) => {
                self.messages.remove(close_notice);
                return Err(status);
            }
        };
        let client_process = {
            let c = self.connections.get_mut(connection).ok_or(STATUS_INVALID_MESSAGE)?;
            c.state = ConnectionState::Connected;
            c.server_open = true;
            c.request = 0;
            c.close_notice = close_notice;
            c.client_notice = client_notice;
            c.context = context;
            c.server_process = acceptor.process;
            c.server_object = server_object;
            c.client_process
        };
        self.message(close_notice).sender = Sender { process: client_process, thread: 0 };
        self.message(client_notice).sender = Sender { process: acceptor.process, thread: 0 };
        self.answer(id, acceptor, LPC_CONNECTION_REPLY, body, fx);
        Ok(connection)
    }

    /// Turns a request into its answer: for a blocked sender to take, else into the client's queue.
    fn answer(&mut self, id: u64, sender: Sender, message_type: u16, body: B, fx: &mut impl Effects) {
        let m = self.message(id);
        m.message_type = message_type;
        m.sender = sender;
        m.body = Some(body);
        match m.waiter {
            Some(waiter) => {
                m.place = Place::Replied;
                fx.wake(waiter, STATUS_SUCCESS, true);
            }
            None => {
                m.to_client = true;
                self.post(id, false, fx);
            }
        }
    }

    /// The server refuses a connection request that it received.
    pub fn refuse(&mut self, id: u32, fx: &mut impl Effects) -> Result<(), NtStatus> {
        let connection = self.pending_request(id)?;
        let message = self.messages.remove(u64::from(id)).ok_or(STATUS_INVALID_MESSAGE)?;
        self.fail_connect(connection, message.waiter, fx);
        Ok(())
    }

    fn fail_connect(&mut self, connection: u64, waiter: Option<Waiter>, fx: &mut impl Effects) {
        if let Some(waiter) = waiter {
            // A client that blocks in connect has no handle yet: the connection goes with the refusal.
            self.connections.remove(connection);
            fx.wake(waiter, STATUS_PORT_CONNECTION_REFUSED, true);
        } else if let Some(c) = self.connections.get_mut(connection) {
            c.state = ConnectionState::Refused;
            c.request = 0;
            fx.readable(c.client_object, true);
            let waiters = core::mem::take(&mut c.client_waiters);
            for waiter in waiters {
                fx.wake(waiter, STATUS_SUCCESS, false);
            }
        }
    }

    // ----- sending -----------------------------------------------------------------------------------------------

    /// Sends a request (with a waiter, which blocks for the reply) or a datagram.
    pub fn send(
        &mut self,
        role: Role,
        sender: Sender,
        body: B,
        waiter: Option<Waiter>,
        fx: &mut impl Effects,
    ) -> Result<u32, NtStatus> {
        let (connection, to_client) = match role {
            Role::Connection => return Err(STATUS_LPC_INVALID_CONNECTION_USAGE),
            Role::Server(connection) => (connection, true),
            Role::Client(connection) => (connection, false),
        };
        match self.connections.get(connection).map(|c| c.state) {
            Some(ConnectionState::Connected) => {}
            Some(ConnectionState::Refused) => return Err(STATUS_PORT_CONNECTION_REFUSED),
            _ => return Err(STATUS_PORT_DISCONNECTED),
        }
        self.send_to(connection, to_client, None, sender, body, waiter, fx)
    }

    /// Sends a request or datagram on a server object.
    pub fn send_on_object(
        &mut self,
        object: ObjectContext,
        sender: Sender,
        body: B,
        waiter: Option<Waiter>,
        fx: &mut impl Effects,
    ) -> Result<u32, NtStatus> {
        if self.closed {
            return Err(STATUS_PORT_DISCONNECTED);
        }
        self.send_to(0, false, Some(object), sender, body, waiter, fx)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    fn send_to(
        &mut self,
        connection: u64,
        to_client: bool,
        object: Option<ObjectContext>,
        sender: Sender,
        body: B,
        waiter: Option<Waiter>,
        fx: &mut impl Effects,
    ) -> Result<u32, NtStatus> {
        let message_type =
            if waiter.is_some() { LPC_REQUEST | LPC_CONTINUATION_REQUIRED } else { LPC_DATAGRAM };
        let id = self.add_message(Message {
            message_type,
            sender,
            connection,
            to_client,
            object,
            body: Some(body),
            waiter,
            receiver: Sender::default(),
            sequence: 0,
            place: Place::Reserved,
            prev: 0,
            next: 0,
        })?;
        self.post(id, waiter.is_some(), fx);
        Ok(id as u32)
    }

    /// Checks that a pending request may be answered through this port.
    fn answerable(&self, role: Role, id: u32) -> Result<(), NtStatus> {
        let m = self.messages.get(u64::from(id)).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        let right_side = match role {
            Role::Connection => !m.to_client,
            Role::Server(connection) => !m.to_client && m.connection == connection,
            Role::Client(connection) => m.to_client && m.connection == connection,
        };
        if !right_side || m.message_type & 0xFF != LPC_REQUEST {
            return Err(STATUS_MESSAGE_NOT_FOUND);
        }
        match m.place {
            Place::Pending => Ok(()),
            _ => Err(STATUS_MESSAGE_NOT_FOUND),
        }
    }

    /// Answers a pending request.
    pub fn reply(
        &mut self,
        role: Role,
        id: u32,
        sender: Sender,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<(), NtStatus> {
        self.answerable(role, id)?;
        self.answer(u64::from(id), sender, LPC_REPLY, body, fx);
        Ok(())
    }

    /// The blocked sender takes its answer. `None` when there is none (yet).
    pub fn take_reply(&mut self, id: u32) -> Option<Delivery<B>> {
        let id = u64::from(id);
        if self.messages.get(id)?.place != Place::Replied {
            return None;
        }
        let message = self.messages.remove(id)?;
        Some(Delivery {
            id: id as u32,
            message_type: message.message_type,
            sender: message.sender,
            connection: message.connection,
            context: 0,
            object: None,
            sequence: message.sequence,
            depth: 0,
            body: message.body?,
        })
    }

    /// The blocked sender gives up. If the answer is there already it is returned, else the message is gone.
    pub fn abandon(&mut self, id: u32, fx: &mut impl Effects) -> Option<Delivery<B>> {
        if let Some(delivery) = self.take_reply(id) {
            return Some(delivery);
        }
        self.remove_message(u64::from(id), fx);
        None
    }

    /// A client that gave up connecting: its connection goes too.
    pub fn abandon_connect(
        &mut self,
        connection: u64,
        id: u32,
        fx: &mut impl Effects,
    ) -> Option<Delivery<B>> {
        let answer = self.abandon(id, fx);
        if answer.is_none()
            && self.connections.get(connection).is_some_and(|c| c.state == ConnectionState::Pending)
        {
            self.connections.remove(connection);
        }
        answer
    }

    // ----- receiving ---------------------------------------------------------------------------------------------

    /// The first message that a port may receive; if there is none, the status if none will ever come.
    fn first_for(&self, role: Role) -> Result<u64, Option<NtStatus>> {
        let (id, end) = match role {
            Role::Connection => (self.main.head, self.closed.then_some(STATUS_PORT_CLOSED)),
            Role::Server(connection) => {
                let c = self.connections.get(connection).ok_or(Some(STATUS_PORT_DISCONNECTED))?;
                let mut id = if c.in_main == 0 { NO_LINK } else { self.main.head };
                while let Some(m) = self.messages.get(id).filter(|m| m.connection != connection) {
                    id = m.next;
                }
                (id, (c.state == ConnectionState::Disconnected).then_some(STATUS_PORT_DISCONNECTED))
            }
            Role::Client(connection) => {
                let c = self.connections.get(connection).ok_or(Some(STATUS_PORT_DISCONNECTED))?;
                let end = match c.state {
                    ConnectionState::Pending | ConnectionState::Connected => None,
                    ConnectionState::Refused => Some(STATUS_PORT_CONNECTION_REFUSED),
                    ConnectionState::Cancelled => Some(STATUS_UNSUCCESSFUL),
                    ConnectionState::Disconnected => Some(STATUS_PORT_DISCONNECTED),
                };
                (c.client_queue.head, end)
            }
        };
        if id == NO_LINK { Err(end) } else { Ok(id) }
    }

    /// Starts to receive the next message for a port into a buffer of `room` payload bytes.
    pub fn receive(
        &mut self,
        role: Role,
        room: usize,
        receiver: Sender,
        fx: &mut impl Effects,
    ) -> Received<B> {
        let id = match self.first_for(role) {
            Ok(id) => id,
            Err(end) => {
                // What a thread at a communication port was woken for may have been taken by a thread at the
                // connection port that was woken for something else.
                if matches!(role, Role::Server(_)) {
                    self.pass_turn(false, 0, fx);
                }
                return end.map_or(Received::Empty, Received::Status);
            }
        };
        let m = self.message(id);
        let (to_client, connection) = (m.to_client, m.connection);
        let length = m.body.as_ref().map_or(0, B::data_length);
        if length > room {
            // Another waiter may have the room.
            self.pass_turn(to_client, connection, fx);
            return Received::TooSmall(length);
        }
        let received = self.deliver(id, receiver, fx);
        if role == Role::Connection {
            self.wake_filtered(fx);
        }
        received
    }

    /// A thread at the connection port takes the first message, which may not be the one it was woken for: threads
    /// at communication ports that might wait for that one are woken.
    fn wake_filtered(&mut self, fx: &mut impl Effects) {
        let connections = &self.connections;
        self.waiters.retain(|(filter, waiter)| {
            let helped = connections.get(*filter).is_some_and(|c| c.in_main > 0);
            if helped {
                fx.wake(*waiter, STATUS_SUCCESS, false);
            }
            !helped
        });
    }

    fn deliver(&mut self, id: u64, receiver: Sender, fx: &mut impl Effects) -> Received<B> {
        self.unlink(id, fx);
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let m = self.message(id);
        m.place = Place::Delivering;
        m.receiver = receiver;
        m.sequence = sequence;
        let (connection, to_client) = (m.connection, m.to_client);
        let (message_type, sender, object) = (m.message_type, m.sender, m.object);
        let body = m.body.take();
        let (context, depth) = match self.connections.get(connection) {
            Some(c) if to_client => (0, c.client_queue.count),
            Some(c) => (c.context, self.main.count),
            None => (object.map_or(0, |o| o.context), self.main.count),
        };
        match body {
            Some(body) => Received::Message(Delivery {
                id: id as u32,
                message_type,
                sender,
                connection,
                context,
                object,
                sequence,
                depth,
                body,
            }),
            None => {
                self.messages.remove(id);
                Received::Empty
            }
        }
    }

    /// The message reached the receiver. A request is now owed a reply; everything else is done with. `false` when
    /// its sender has gone meanwhile.
    pub fn end_delivery(&mut self, id: u32) -> bool {
        let id = u64::from(id);
        let Some(m) = self.messages.get_mut(id).filter(|m| m.place == Place::Delivering) else {
            return false;
        };
        if matches!(m.message_type & 0xFF, LPC_REQUEST | LPC_CONNECTION_REQUEST) {
            m.place = Place::Pending;
        } else {
            self.messages.remove(id);
        }
        true
    }

    /// The message could not be copied out: back to the front of its queue, for whoever receives next. It is gone if
    /// the client that it is for, or whose connection request it is, has closed.
    pub fn undo_delivery(&mut self, id: u32, body: B, fx: &mut impl Effects) {
        let id = u64::from(id);
        let Some(m) = self.messages.get_mut(id).filter(|m| m.place == Place::Delivering) else { return };
        m.body = Some(body);
        let (to_client, connection) = (m.to_client, m.connection);
        let wanted = match self.connections.get(connection) {
            Some(c) => !to_client || c.client_open,
            None => connection == 0,
        };
        if !wanted {
            self.messages.remove(id);
            return;
        }
        self.link(id, true, fx);
        self.notify(to_client, connection, false, fx);
    }

    /// Publishes a thread that waits to receive; to be called when [`Group::receive`] said empty, under the same lock.
    pub fn add_waiter(&mut self, role: Role, waiter: Waiter) -> Result<(), NoMemory> {
        match role {
            Role::Connection => try_push(&mut self.waiters, (0, waiter)),
            Role::Server(connection) => try_push(&mut self.waiters, (connection, waiter)),
            Role::Client(connection) => match self.connections.get_mut(connection) {
                Some(c) => try_push(&mut c.client_waiters, waiter),
                None => Ok(()),
            },
        }
    }

    /// Takes a waiter back (time-out, termination). If it had been chosen already, its turn goes to the next one.
    pub fn remove_waiter(&mut self, role: Role, waiter: Waiter, fx: &mut impl Effects) {
        let (to_client, connection, found) = match role {
            Role::Client(connection) => {
                let Some(c) = self.connections.get_mut(connection) else { return };
                let before = c.client_waiters.len();
                c.client_waiters.retain(|w| *w != waiter);
                (true, connection, c.client_waiters.len() != before)
            }
            Role::Connection | Role::Server(_) => {
                let before = self.waiters.len();
                self.waiters.retain(|(_, w)| *w != waiter);
                (false, if let Role::Server(c) = role { c } else { 0 }, self.waiters.len() != before)
            }
        };
        if !found {
            self.pass_turn(to_client, connection, fx);
        }
    }

    // ----- notices -----------------------------------------------------------------------------------------------

    /// Sets a notice aside that can later be sent without memory.
    pub fn reserve_notice(
        &mut self,
        message_type: u16,
        body: B,
        object: ObjectContext,
    ) -> Result<u32, NtStatus> {
        if self.closed {
            return Err(STATUS_PORT_CLOSED);
        }
        let id = self.reserve(message_type, 0, false)?;
        let m = self.message(id);
        m.body = Some(body);
        m.object = Some(object);
        Ok(id as u32)
    }

    /// Sends a reserved notice.
    pub fn send_notice(&mut self, id: u32, sender: Sender, fx: &mut impl Effects) {
        let id = u64::from(id);
        if let Some(m) = self.messages.get_mut(id).filter(|m| m.place == Place::Reserved) {
            m.sender = sender;
            self.post(id, false, fx);
        }
    }

    /// Gives a reserved notice up.
    pub fn drop_notice(&mut self, id: u32) {
        if self.messages.get(u64::from(id)).is_some_and(|m| m.place == Place::Reserved) {
            self.messages.remove(u64::from(id));
        }
    }

    // ----- ending ------------------------------------------------------------------------------------------------

    /// Removes the requests of a connection whose senders block, waking those with `status`.
    fn fail_requests(&mut self, connection: u64, status: NtStatus, fx: &mut impl Effects) {
        let mut index = 0;
        while let Some(id) = self.messages.next_key(index) {
            index = Table::<Message<B>, 16, 16>::index_of(id) + 1;
            let m = self.message(id);
            if m.connection != connection || m.place == Place::Reserved || m.place == Place::Replied {
                continue;
            }
            if let Some(waiter) = m.waiter {
                self.remove_message(id, fx);
                fx.wake(waiter, status, false);
            }
        }
    }

    /// Removes a connection's messages in the main queue and those delivered from it.
    fn drop_from_main(&mut self, connection: u64, fx: &mut impl Effects) {
        let mut index = 0;
        while let Some(id) = self.messages.next_key(index) {
            index = Table::<Message<B>, 16, 16>::index_of(id) + 1;
            let m = self.message(id);
            if m.connection == connection
                && !m.to_client
                && matches!(m.place, Place::Queued | Place::Pending | Place::Delivering)
            {
                self.remove_message(id, fx);
            }
        }
    }

    /// Removes what is queued for a client that closed.
    fn drop_client_queue(&mut self, connection: u64, fx: &mut impl Effects) {
        while let Some(id) =
            self.connections.get(connection).map(|c| c.client_queue.head).filter(|id| *id != NO_LINK)
        {
            self.remove_message(id, fx);
        }
    }

    /// Once both sides are closed the connection goes.
    fn forget_if_unused(&mut self, connection: u64) {
        let Some(c) = self.connections.get(connection).filter(|c| !c.client_open && !c.server_open) else {
            return;
        };
        let notices = [c.close_notice, c.client_notice];
        for notice in notices {
            if self.messages.get(notice).is_some_and(|m| m.place == Place::Reserved) {
                self.messages.remove(notice);
            }
        }
        self.connections.remove(connection);
    }

    /// The client's last handle was closed.
    pub fn close_client(&mut self, connection: u64, fx: &mut impl Effects)
    where
        B: Default,
    {
        let Some(c) = self.connections.get_mut(connection) else { return };
        c.client_open = false;
        c.client_object = NO_OBJECT;
        let (state, request) = (c.state, c.request);
        let waiters = core::mem::take(&mut c.client_waiters);
        for waiter in waiters {
            fx.wake(waiter, STATUS_PORT_CLOSED, false);
        }
        match state {
            ConnectionState::Pending => {
                // A request the server has seen stays until it answers, and is then STATUS_REQUEST_CANCELED.
                let seen = self.messages.get(request).is_some_and(|m| m.place != Place::Queued);
                if !seen {
                    self.remove_message(request, fx);
                }
                self.connections.remove(connection);
            }
            ConnectionState::Connected => self.end_connection(connection, true, fx),
            _ => {}
        }
        self.drop_client_queue(connection, fx);
        self.forget_if_unused(connection);
    }

    /// The last handle to the server communication port was closed.
    pub fn close_server(&mut self, connection: u64, fx: &mut impl Effects)
    where
        B: Default,
    {
        let Some(c) = self.connections.get_mut(connection) else { return };
        if c.state == ConnectionState::Connected {
            self.end_connection(connection, false, fx);
        }
        self.drop_from_main(connection, fx);
        if let Some(c) = self.connections.get_mut(connection) {
            c.server_open = false;
            c.server_object = NO_OBJECT;
        }
        self.wake_server_waiters(connection, STATUS_PORT_CLOSED, fx);
        self.forget_if_unused(connection);
    }

    fn wake_server_waiters(&mut self, connection: u64, status: NtStatus, fx: &mut impl Effects) {
        self.waiters.retain(|(filter, waiter)| {
            if *filter == connection {
                fx.wake(*waiter, status, false);
            }
            *filter != connection
        });
    }

    /// Ends a connection from one side; both handles stay open.
    pub fn disconnect(&mut self, role: Role, fx: &mut impl Effects) -> Result<(), NtStatus>
    where
        B: Default,
    {
        let (connection, by_client) = match role {
            Role::Connection => return Err(STATUS_INVALID_PORT_HANDLE),
            Role::Client(connection) => (connection, true),
            Role::Server(connection) => (connection, false),
        };
        match self.connections.get(connection).map(|c| c.state) {
            Some(ConnectionState::Connected) => {
                self.end_connection(connection, by_client, fx);
                Ok(())
            }
            _ => Err(STATUS_PORT_DISCONNECTED),
        }
    }

    fn end_connection(&mut self, connection: u64, by_client: bool, fx: &mut impl Effects)
    where
        B: Default,
    {
        let Some(c) = self.connections.get_mut(connection) else { return };
        c.state = ConnectionState::Disconnected;
        let notice = if by_client { c.close_notice } else { c.client_notice };
        let objects = [c.client_object, c.server_object];
        self.fail_requests(connection, STATUS_PORT_DISCONNECTED, fx);
        if !by_client {
            self.drop_from_main(connection, fx);
        }
        if let Some(m) = self.messages.get_mut(notice).filter(|m| m.place == Place::Reserved) {
            m.body = Some(B::default());
            self.post(notice, false, fx);
        }
        for object in objects {
            fx.readable(object, true);
        }
        // Whoever still waits finds the notice or learns that nothing will come.
        if let Some(c) = self.connections.get_mut(connection) {
            let waiters = core::mem::take(&mut c.client_waiters);
            for waiter in waiters {
                fx.wake(waiter, STATUS_SUCCESS, false);
            }
        }
        self.wake_server_waiters(connection, STATUS_SUCCESS, fx);
    }

    /// The last handle to the connection port was closed: every connection ends, every sender is told.
    pub fn close_connection_port(&mut self, fx: &mut impl Effects)
    where
        B: Default,
    {
        self.closed = true;
        let mut index = 0;
        while let Some(connection) = self.connections.next_key(index) {
            index = Table::<Connection, 16, 32>::index_of(connection) + 1;
            let Some(c) = self.connections.get(connection) else { continue };
            let (state, request) = (c.state, c.request);
            match state {
                ConnectionState::Connected => self.end_connection(connection, false, fx),
                ConnectionState::Pending => self.cancel_request(connection, request, fx),
                _ => {}
            }
        }
        let mut index = 0;
        while let Some(id) = self.messages.next_key(index) {
            index = Table::<Message<B>, 16, 16>::index_of(id) + 1;
            let m = self.message(id);
            if m.to_client || m.place == Place::Replied || (m.place == Place::Reserved && m.connection != 0) {
                continue;
            }
            let waiter = m.waiter;
            self.remove_message(id, fx);
            if let Some(waiter) = waiter {
                fx.wake(waiter, STATUS_PORT_DISCONNECTED, false);
            }
        }
        for (_, waiter) in core::mem::take(&mut self.waiters) {
            fx.wake(waiter, STATUS_PORT_CLOSED, false);
        }
        self.object = NO_OBJECT;
    }

    fn cancel_request(&mut self, connection: u64, request: u64, fx: &mut impl Effects)
    where
        B: Default,
    {
        let Some(m) = self.messages.get(request) else { return };
        let (waiter, place) = (m.waiter, m.place);
        if waiter.is_some() {
            self.remove_message(request, fx);
            self.fail_connect(connection, waiter, fx);
            return;
        }
        let Some(c) = self.connections.get_mut(connection) else { return };
        c.state = ConnectionState::Cancelled;
        c.request = 0;
        let waiters = core::mem::take(&mut c.client_waiters);
        // The notice is the request with its id, going back to its sender. One that is being delivered gets a new id:
        // the server's thread will still end or undo its delivery under the old one.
        let notice = match place {
            Place::Queued => {
                self.unlink(request, fx);
                Some(request)
            }
            Place::Delivering => self.messages.remove(request).and_then(|m| self.messages.insert(m).ok()),
            _ => Some(request),
        };
        if let Some(id) = notice {
            let m = self.message(id);
            m.message_type = LPC_CANCELED;
            m.to_client = true;
            m.body = Some(B::default());
            self.link(id, false, fx);
        }
        // One gets the notice; the others learn that nothing else will come.
        for waiter in waiters {
            fx.wake(waiter, STATUS_SUCCESS, false);
        }
    }

    // ----- queries -----------------------------------------------------------------------------------------------

    /// Facts about a port.
    pub fn facts(&self, role: Role) -> PortFacts {
        let pending = |to_client: bool, connection: Option<u64>| {
            self.messages
                .iter()
                .filter(|(_, m)| {
                    m.place == Place::Pending
                        && m.to_client == to_client
                        && connection.is_none_or(|c| m.connection == c)
                })
                .count() as u32
        };
        match role {
            Role::Connection => PortFacts {
                state: u32::from(self.closed) << 3,
                queued: self.main.count,
                pending: pending(false, None),
                waiters: self.waiters.iter().filter(|(f, _)| *f == 0).count() as u32,
                sequence: self.sequence,
                ..PortFacts::default()
            },
            Role::Server(connection) | Role::Client(connection) => {
                let client = matches!(role, Role::Client(_));
                let Some(c) = self.connections.get(connection) else {
                    return PortFacts { state: 4, ..PortFacts::default() };
                };
                PortFacts {
                    state: match c.state {
                        ConnectionState::Pending => 1,
                        ConnectionState::Connected => 0,
                        ConnectionState::Refused => 2,
                        ConnectionState::Cancelled | ConnectionState::Disconnected => 4,
                    },
                    queued: if client { c.client_queue.count } else { c.in_main },
                    pending: pending(client, Some(connection)),
                    waiters: if client {
                        c.client_waiters.len() as u32
                    } else {
                        self.waiters.iter().filter(|(f, _)| *f == connection).count() as u32
                    },
                    sequence: self.sequence,
                    peer_process: if client { c.server_process } else { c.client_process },
                    context: if client { 0 } else { c.context },
                }
            }
        }
    }

    /// Facts about all messages that are queued, pending or being delivered.
    pub fn message_facts(&self) -> impl Iterator<Item = MessageFacts> {
        self.messages.iter().filter_map(|(id, m)| {
            let queue = match m.place {
                Place::Queued => 1,
                Place::Pending => 2,
                Place::Delivering => 3,
                Place::Reserved | Place::Replied => return None,
            };
            Some(MessageFacts {
                id: id as u32,
                message_type: m.message_type,
                connection: m.connection,
                to_client: m.to_client,
                queue,
                sender: m.sender,
                waits: m.waiter.is_some(),
                receiver: m.receiver,
                data_length: m.body.as_ref().map_or(0, B::data_length),
            })
        })
    }

    /// Who sent a message (nobody, if there is none).
    pub fn sender(&self, id: u32) -> Sender {
        self.messages.get(u64::from(id)).map_or(Sender::default(), |m| m.sender)
    }

    /// Process at the other side of a connection.
    pub fn peer(&self, role: Role) -> u32 {
        match role {
            Role::Connection => 0,
            Role::Server(c) => self.connections.get(c).map_or(0, |c| c.client_process),
            Role::Client(c) => self.connections.get(c).map_or(0, |c| c.server_process),
        }
    }

    /// Messages in the queue that a port receives from.
    pub fn depth(&self, role: Role) -> u32 {
        match role {
            Role::Connection | Role::Server(_) => self.main.count,
            Role::Client(c) => self.connections.get(c).map_or(0, |c| c.client_queue.count),
        }
    }
}

#[cfg(test)]
mod tests;
