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

mod connecting;
pub mod direct;
mod ending;
mod notices;
mod queries;
mod queues;
mod receiving;
mod sending;

use crate::table::Table;
use abi::status::NtStatus;
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
    /// Kept by a connection for its next direct request.
    Idle,
}

struct Message<B> {
    message_type: u16,
    sender: Sender,
    connection: u64,
    to_client: bool,
    object: Option<ObjectContext>,
    /// While queued what is sent, while pending what is kept of that, when replied the answer.
    body: Option<B>,
    waiter: Option<Waiter>,
    receiver: Sender,
    sequence: u32,
    place: Place,
    prev: u64,
    next: u64,
}

impl<B> Message<B> {
    /// A message that is in no queue and that nobody waits for.
    const fn new(message_type: u16, sender: Sender, connection: u64, to_client: bool) -> Self {
        Self {
            message_type,
            sender,
            connection,
            to_client,
            object: None,
            body: None,
            waiter: None,
            receiver: Sender { process: 0, thread: 0 },
            sequence: 0,
            place: Place::Reserved,
            prev: NO_LINK,
            next: NO_LINK,
        }
    }
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
    /// Message kept for direct requests ([`direct`]); 0 or stale: none.
    direct: u64,
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
    /// Message kept for direct requests on server objects; 0 or stale: none.
    object_direct: u64,
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
            object_direct: NO_LINK,
        }
    }

    /// True after the connection port was closed.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Messages in existence, reserved notices included.
    pub fn message_count(&self) -> usize {
        self.messages.iter().filter(|(_, m)| m.place != Place::Idle).count()
    }

    /// Connections in existence.
    pub const fn connection_count(&self) -> usize {
        self.connections.len()
    }
}

#[cfg(test)]
mod tests;
