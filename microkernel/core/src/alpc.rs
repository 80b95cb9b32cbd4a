//! The ALPC state machine of one connection port: its connections, messages, queues and waiters.
//!
//! A [`Group`] is everything behind one connection port; the kernel keeps each under its own lock. Every operation is
//! a pure state change: who must be woken and which ports became readable goes to an [`Effects`] sink, message bodies
//! (payload, passed handles, quota charge) are opaque and moved in and out, never looked into. Nothing here blocks:
//! a thread that must wait publishes a [`Waiter`] and parks outside.
//!
//! States of a message: in a queue of the port that it is for (the main queue, the large-message queue, the canceled
//! queue); being delivered (its body is out with the receiving thread, which then ends or undoes the delivery); pending
//! (delivered, a reply is owed); posted (a call back that the blocked thread it is for will take); replied (the reply is
//! in it, the blocked sender will take it); reserved (set aside, so that sending it cannot fail); idle (kept for a direct request).
//! A blocked sender that goes away takes its message with it in every state, so that a later reply finds nothing.
//!
//! [`queues`] owns the lists and whom a message wakes; [`connecting`], [`sending`], [`replying`], [`callbacks`],
//! [`receiving`], [`canceling`] and [`ending`] the operations; [`limits`] what one client may take up; [`reserves`]
//! messages set aside by programs, [`notices`] those of the kernel; [`direct`] the short way; [`completion`] what ports post, [`list`] the shared memory of completion lists; [`queries`] what is shown.

mod callbacks;
mod canceling;
mod completion;
mod connecting;
pub mod direct;
mod ending;
mod limits;
pub mod list;
mod notices;
mod queries;
mod queues;
mod receiving;
mod replying;
mod reserves;
mod sending;

pub use callbacks::Woken;
pub use canceling::{Cancel, Cancelled};
pub use limits::MESSAGE_COST;
pub use sending::Post;

use crate::table::Table;
use abi::alpc::{LPC_CONNECTION_REQUEST, LPC_CONTINUATION_REQUIRED, LPC_DATAGRAM, LPC_REQUEST};
use abi::status::NtStatus;
use alloc::vec::Vec;
use direct::Kept;
use limits::{Limits, Usage};
use reserves::Reserves;

/// A thread that waits: its dispatcher index and park ticket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waiter {
    /// Dispatcher index.
    pub thread: u32,
    /// Park ticket.
    pub ticket: u32,
}

/// Who sent a message. Aligned so that it is copied as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C, align(8))]
pub struct Sender {
    /// Process id.
    pub process: u32,
    /// Thread id.
    pub thread: u32,
}

impl Sender {
    /// Both, the process in the lower half.
    #[inline(always)]
    pub fn as_word(self) -> u64 {
        u64::from(self.process) | u64::from(self.thread) << 32
    }
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
    /// Messages were queued for a port that posts to this source ([`NO_COMPLETION`]: to none).
    fn arrived(&mut self, _source: u32, _count: u32) {}
}

/// Length of a body, for checks against the receiver's buffer.
pub trait Body {
    /// Payload bytes.
    fn data_length(&self) -> usize;
    /// Payload bytes that lie in kernel memory, which is what ports limit.
    fn pool_length(&self) -> usize {
        self.data_length()
    }
    /// Forgets the payload and all that goes with it, but not the memory: a reserve's body is used again.
    fn recycle(&mut self);
}

const NO_LINK: u64 = 0;
/// A port that cannot be waited on; the sink ignores it.
pub const NO_OBJECT: u32 = u32::MAX;
/// A port that posts to no I/O completion object; the sink ignores it.
pub const NO_COMPLETION: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Set aside.
    Reserved,
    /// In the main queue, or the client's.
    Queued,
    /// In the large-message queue.
    Large,
    /// In the canceled queue.
    Canceled,
    /// A call back that the blocked thread it is for has not taken yet.
    Posted,
    Delivering,
    Pending,
    Replied,
    /// Kept by a connection for a direct request.
    Idle,
}

impl Place {
    const fn is_queue(self) -> bool {
        matches!(self, Self::Queued | Self::Large | Self::Canceled)
    }
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
    /// Its connection keeps it for direct requests, and it is nothing else.
    kept: bool,
    prev: u64,
    next: u64,
    /// The request that the receiver sees as its id: of a call back, that in whose course it is made; of a notice of
    /// cancellation, that which was cancelled. 0: itself.
    origin: u64,
    /// Of a call back: the request or call back whose sender it goes to.
    parent: u64,
    /// The call back to its sender that is not answered yet.
    callback: u64,
    /// Its sender was woken and has not come back yet.
    called: bool,
    /// What its sender and its receiver want to be reminded of.
    contexts: [u64; 2],
    /// The reserve that it was sent with.
    reserve: u64,
    /// Counted against its port's limits as this many bytes.
    cost: u32,
    /// The direction in which it was sent first, which is what it is counted for.
    sent_to_client: bool,
    /// [`Group::wait_references`] waits for its end.
    tracked: bool,
    /// To be cancelled when its delivery has ended; by its sender's side or the other.
    cancel: Option<bool>,
    /// It has no sender any more and goes when its delivery has ended.
    gone: bool,
}

/// Index into [`Message::contexts`].
const SENDERS: usize = 0;
/// Index into [`Message::contexts`].
const RECEIVERS: usize = 1;

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
            kept: false,
            prev: NO_LINK,
            next: NO_LINK,
            origin: 0,
            parent: 0,
            callback: 0,
            called: false,
            contexts: [0; 2],
            reserve: 0,
            cost: 0,
            sent_to_client: to_client,
            tracked: false,
            cancel: None,
            gone: false,
        }
    }

    /// Its type without flags.
    const fn kind(&self) -> u16 {
        self.message_type & 0xFF
    }

    /// True when whoever receives it owes an answer, or must release it.
    const fn is_owed_answer(&self) -> bool {
        matches!(self.kind(), LPC_REQUEST | LPC_CONNECTION_REQUEST)
            || self.kind() == LPC_DATAGRAM && self.message_type & LPC_CONTINUATION_REQUIRED != 0
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
    /// Messages kept for direct requests.
    direct: Kept,
    context: u64,
    client_process: u32,
    server_process: u32,
    client_object: u32,
    server_object: u32,
    client_completion: u32,
    server_completion: u32,
    client_queue: Queue,
    client_large: Queue,
    client_canceled: Queue,
    client_waiters: Vec<Waiter>,
    /// Its messages in the queues of the connection port.
    in_main: u32,
    /// What the client has sent.
    by_client: Usage,
    /// What the server has sent.
    by_server: Usage,
}

impl Connection {
    /// Messages that the client can receive.
    const fn for_client(&self) -> u32 {
        self.client_queue.count + self.client_large.count + self.client_canceled.count
    }

    fn usage(&mut self, of_client: bool) -> &mut Usage {
        if of_client { &mut self.by_client } else { &mut self.by_server }
    }
}

/// A message on its way to a receiver.
#[derive(Debug)]
pub struct Delivery<B> {
    /// What [`Group::end_delivery`] and [`Group::undo_delivery`] know it by.
    pub key: u32,
    /// Message id.
    pub id: u32,
    /// Of a call back: what its answer must name besides the id.
    pub callback_id: u32,
    /// PORT_MESSAGE type with flags.
    pub message_type: u16,
    /// Sender.
    pub sender: Sender,
    /// Connection key (0 for server objects).
    pub connection: u64,
    /// What the receiver gave with the message before.
    pub message_context: u64,
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
    /// Messages queued for it, in all its queues.
    pub queued: u32,
    /// Of these, in the large-message queue.
    pub large: u32,
    /// Of these, in the canceled queue.
    pub canceled: u32,
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

/// Where a message comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// Who sent it.
    pub sender: Sender,
    /// The port it was sent on; none for a server object.
    pub from: Option<Role>,
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
    /// For a client rather than the server.
    pub to_client: bool,
    /// 1 main queue, 2 pending, 3 being delivered, 4 large-message queue, 5 canceled queue, 6 posted to its blocked
    /// receiver.
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
/// Ids have 31 bits: the highest bit tells a reserve's id.
type Messages<B> = Table<Message<B>, MESSAGE_BITS, 15>;
type Connections = Table<Connection, 16, 32>;

/// See the module head.
pub struct Group<B> {
    closed: bool,
    object: u32,
    completion: u32,
    messages: Messages<B>,
    connections: Connections,
    main: Queue,
    large: Queue,
    canceled: Queue,
    /// Messages in these three.
    queued: u32,
    waiters: Vec<(u64, Waiter)>,
    sequence: u32,
    /// Messages kept for direct requests on server objects.
    object_direct: Kept,
    reserves: Reserves<B>,
    limits: Limits,
}

impl<B: Body> Group<B> {
    /// A new connection port. Message ids start at a place that `seed` chooses; `object` is the dispatcher object of
    /// a waitable port, or [`NO_OBJECT`]; `most` messages that nobody waits for may exist for each direction of a
    /// connection, and for each process that sends on server objects.
    pub const fn new(seed: u32, object: u32, most: u32) -> Self {
        const EMPTY: Queue = Queue { head: 0, tail: 0, count: 0 };
        Self {
            closed: false,
            object,
            completion: NO_COMPLETION,
            messages: Table::wrapping(seed),
            connections: Table::new(),
            main: EMPTY,
            large: EMPTY,
            canceled: EMPTY,
            queued: 0,
            waiters: Vec::new(),
            sequence: 0,
            object_direct: Kept::NONE,
            reserves: Table::new(),
            limits: Limits::new(most),
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
