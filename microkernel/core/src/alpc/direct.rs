//! The short way through the state machine: a blocking request for a thread that already waits, and its reply.
//!
//! Used by the kernel's fast path only. The payload never comes here: the kernel copies it from thread to thread, when all
//! checks are done and before anything is changed. A request made this way is pending from the start, so that the
//! reply, a death on either side and every query find it as they would any other.
//!
//! A connection keeps messages for such requests ([`Group::prepare_direct`]): idle in between, with a new id each time. An idle
//! message is proof that its connection is up, since it goes with it; so a sender that remembers which one it used last
//! ([`Group::begin_direct`]) needs to look at nothing else. Everything that is declined goes the long way with the
//! same result.

use super::{
    Body, ConnectionState, Effects, Group, MESSAGE_BITS, MESSAGES, Message, ObjectContext, Place, Sender,
    Waiter,
};
use crate::table::Occupied;
use abi::alpc::{LPC_CONTINUATION_REQUIRED, LPC_REQUEST};
use abi::status::STATUS_INSUFFICIENT_RESOURCES;
use alloc::vec::Vec;

/// Most messages that a connection keeps for direct requests, and that a port keeps for those on its server objects.
const MOST_KEPT: usize = 4;
/// The type of a request.
const REQUEST: u16 = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;

/// Indices of the messages that are kept for direct requests of a connection. An index may be stale: it names a message of
/// this connection only as long as that one says so itself.
#[derive(Clone, Copy)]
pub(super) struct Kept([u32; MOST_KEPT]);

impl Kept {
    /// None: no message has index 0.
    pub(super) const NONE: Self = Self([0; MOST_KEPT]);
}

/// A request that can be handed over directly: all checks are done, nothing is changed.
pub struct Request<'a, B> {
    /// Message id that it will have.
    pub id: u32,
    /// The thread that takes it.
    pub receiver: Waiter,
    /// Sequence number that it will have.
    pub sequence: u32,
    message: &'a mut Message<B>,
    port_sequence: &'a mut u32,
    waiters: &'a mut Vec<(u64, Waiter)>,
}

impl<B> Request<'_, B> {
    /// The receiver has it: it is pending, and `waiter` blocked for the reply.
    #[inline(always)]
    pub fn commit(self, object: Option<ObjectContext>, sender: Sender, waiter: Waiter, receiver: Sender) {
        let message = self.message;
        if object.is_some() {
            // Those of connections never have one.
            message.object = object;
        }
        message.sender = sender;
        message.waiter = Some(waiter);
        message.receiver = receiver;
        message.sequence = self.sequence;
        message.place = Place::Pending;
        *self.port_sequence = self.sequence;
        if self.waiters.len() == 1 {
            self.waiters.clear();
        } else {
            self.waiters.remove(0);
        }
    }
}

/// A pending request that can be answered directly: all checks are done, nothing is changed.
pub struct Answer<'a, B> {
    /// Its blocked sender.
    pub asker: Waiter,
    /// Its sequence number.
    pub sequence: u32,
    request: Occupied<'a, Message<B>, MESSAGE_BITS, 15>,
    filter: u64,
    waiters: &'a mut Vec<(u64, Waiter)>,
}

impl<B> Answer<'_, B> {
    /// The sender has its answer: the request is done with, and `waiter` waits on the port for the next. `true`: the message
    /// is none that is kept, and [`Group::drop_answered`] must follow.
    #[inline(always)]
    #[must_use]
    pub fn commit(self, waiter: Waiter) -> bool {
        // There is room: it was looked at.
        self.waiters.push((self.filter, waiter));
        self.request.value.waiter = None;
        if !self.request.value.kept {
            return true;
        }
        self.request.value.place = Place::Idle;
        self.request.renew();
        false
    }
}

impl<B> Message<B> {
    /// A request to the server, and nothing has to be looked after when it ends: no part of its body is kept, it has no
    /// contexts, no reserve, belongs to no chain of call backs, and nobody waits for its end but its sender.
    fn is_plain_request(&self) -> bool {
        let links = self.contexts[0] | self.contexts[1] | self.reserve | self.callback | self.parent;
        links == 0
            && !(self.tracked | self.called | self.to_client)
            && self.body.is_none()
            && self.kind() == LPC_REQUEST
    }
}

impl<B: Body> Group<B> {
    /// The index of a message that a direct request of this connection (0: on a server object) can use; makes one if there is
    /// none. `None`: the connection is not up, all that it keeps are in use, there is no memory, or the port has so many
    /// messages that others shall have the rest.
    #[cold]
    pub fn prepare_direct(&mut self, connection: u64) -> Option<u32> {
        let kept = match self.connections.get_mut(connection) {
            Some(c) if c.state == ConnectionState::Connected => &mut c.direct,
            None if connection == 0 && !self.closed => &mut self.object_direct,
            _ => return None,
        };
        let mut free = None;
        for index in &mut kept.0 {
            match self.messages.at_mut(*index) {
                Some((_, m)) if m.kept && m.connection == connection => {
                    if m.place == Place::Idle {
                        return Some(*index);
                    }
                }
                _ => free = Some(index),
            }
        }
        let free = free.filter(|_| self.messages.len() < MESSAGES / 2)?;
        let message = Message {
            place: Place::Idle,
            kept: true,
            ..Message::new(REQUEST, Sender::default(), connection, false)
        };
        // The index is the lower part of a key.
        let key = self.messages.insert(message).ok()?;
        *free = (key & ((1 << MESSAGE_BITS) - 1)) as u32;
        Some(*free)
    }

    /// A blocking request to the thread that has waited longest, of a connection's client (0: on a server object), with the message
    /// at `index`. `None`: nobody waits, something is queued, or that is no idle message of the connection.
    #[inline(always)]
    pub fn begin_direct(&mut self, connection: u64, index: u32) -> Option<Request<'_, B>> {
        if self.for_server() != 0 {
            return None;
        }
        let (key, message) = self.messages.at_mut(index)?;
        if message.place != Place::Idle || message.connection != connection {
            return None;
        }
        let receiver = match self.waiters[..] {
            [(filter, first), ..] if filter == 0 || filter == connection => first,
            _ => return None,
        };
        Some(Request {
            id: key as u32,
            receiver,
            sequence: self.sequence.wrapping_add(1),
            message,
            port_sequence: &mut self.sequence,
            waiters: &mut self.waiters,
        })
    }

    /// The context that a connection's messages come with.
    #[cold]
    pub fn port_context(&self, connection: u64) -> u64 {
        self.connections.get(connection).map_or(0, |c| c.context)
    }

    /// The receiver could not take all of it: the request goes to the front of the queue with `body`, or, without one,
    /// back to its sender as a failure.
    pub fn undo_direct(&mut self, id: u32, body: Option<B>, fx: &mut impl Effects) {
        let id = u64::from(id);
        // One that was answered or cancelled meanwhile, and is held by its sender now, has its id still.
        let of_receiver = |m: &&mut Message<B>| m.place == Place::Pending && m.kept;
        let Some(m) = self.messages.get_mut(id).filter(of_receiver) else { return };
        m.kept = false;
        let connection = m.connection;
        match body {
            Some(body) => {
                m.body = Some(body);
                self.link(id, Place::Queued, true, fx);
                self.notify(false, connection, false, fx);
            }
            None => {
                if let Some(m) = self.remove_message(id, fx) {
                    m.wake_sender(STATUS_INSUFFICIENT_RESOURCES, fx);
                }
            }
        }
    }

    /// A pending request whose sender is blocked, to be answered from a thread that then waits for the next message: on the
    /// server communication port of `connection`, or on the connection port (0).
    /// `None`: it may not be answered through this port, something of it has to be looked after, a receive would find
    /// something, or there is no room to publish the waiter.
    #[inline(always)]
    pub fn begin_answer(&mut self, connection: u64, id: u32) -> Option<Answer<'_, B>> {
        if connection == 0 {
            if self.closed || self.for_server() != 0 {
                return None;
            }
        } else if !self.is_quiet(connection) {
            return None;
        }
        if self.waiters.len() == self.waiters.capacity() {
            return None;
        }
        let request = self.messages.occupied(u64::from(id))?;
        let message = &*request.value;
        if message.place != Place::Pending || (connection != 0 && message.connection != connection) {
            return None;
        }
        // One that is kept is a plain request but for call backs.
        let kept = message.kept && !message.called && message.callback == 0;
        if !kept && !message.is_plain_request() {
            return None;
        }
        debug_assert!(message.is_plain_request());
        Some(Answer {
            asker: message.waiter?,
            sequence: message.sequence,
            request,
            filter: connection,
            waiters: &mut self.waiters,
        })
    }

    /// The connection is up, and nothing of it is queued for the server.
    fn is_quiet(&self, connection: u64) -> bool {
        let c = self.connections.get(connection);
        c.is_some_and(|c| c.in_main == 0 && c.state == ConnectionState::Connected)
    }

    /// The message that was answered is gone.
    #[cold]
    pub fn drop_answered(&mut self, id: u32) {
        self.messages.discard(u64::from(id));
    }
}
