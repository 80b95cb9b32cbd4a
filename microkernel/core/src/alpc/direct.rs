//! The short way through the state machine: a blocking request for a thread that already waits, and its reply.
//!
//! Used by the kernel's fast path only. The payload never comes here: the kernel copies it from thread to thread, when all
//! checks are done and before anything is changed. A request made this way is pending from the start, so that the
//! reply, a death on either side and every query find it as they would any other. A connection keeps a message for
//! such requests, which is given a new id each time. Everything that is declined goes the long way with the same
//! result.

use super::{
    Body, ConnectionState, Effects, Group, MESSAGE_BITS, Message, NO_LINK, ObjectContext, Place, Role,
    Sender, Waiter,
};
use crate::table::{Occupied, Table};
use abi::alpc::{LPC_CONTINUATION_REQUIRED, LPC_REQUEST};
use abi::status::STATUS_INSUFFICIENT_RESOURCES;
use alloc::vec::Vec;

/// A request that can be handed over directly: all checks are done, nothing is changed.
pub struct Request<'a, B> {
    /// Message id that it will have.
    pub id: u32,
    /// The thread that takes it.
    pub receiver: Waiter,
    /// Sequence number that it will have.
    pub sequence: u32,
    /// Port context.
    pub context: u64,
    message: &'a mut Message<B>,
    kept: &'a mut u64,
    port_sequence: &'a mut u32,
    waiters: &'a mut Vec<(u64, Waiter)>,
}

impl<B> Request<'_, B> {
    /// The receiver has it: it is pending, and `waiter` blocked for the reply.
    #[inline(always)]
    pub fn commit(self, object: Option<ObjectContext>, sender: Sender, waiter: Waiter, receiver: Sender) {
        *self.kept = NO_LINK;
        let message = self.message;
        message.object = object;
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
    kept: &'a mut u64,
    filter: u64,
    waiters: &'a mut Vec<(u64, Waiter)>,
}

impl<B> Answer<'_, B> {
    /// The sender has its answer: the request is done with, and `waiter` waits on the port for the next. Its connection
    /// keeps the message, and drops one that it has already.
    #[inline(always)]
    pub fn commit(self, waiter: Waiter) -> Option<u64> {
        // There is room: it was looked at.
        self.waiters.push((self.filter, waiter));
        self.request.value.place = Place::Idle;
        self.request.value.waiter = None;
        let other = *self.kept;
        *self.kept = self.request.renew();
        (other != NO_LINK).then_some(other)
    }
}

impl<B> Message<B> {
    /// Nothing has to be looked after when it ends: no part of its body is kept, it has no contexts, no reserve, belongs
    /// to no chain of call backs, and nobody waits for its end but its sender.
    #[inline(always)]
    fn is_plain(&self) -> bool {
        let links = self.contexts[0] | self.contexts[1] | self.reserve | self.callback | self.parent;
        links == 0 && !(self.tracked | self.called) && self.body.is_none()
    }
}

impl<B: Body> Group<B> {
    /// A blocking request to the thread that has waited longest, on a client's port or on a server object. `None`: nobody
    /// waits, something is queued, or the port is not in a state to send.
    #[inline(always)]
    pub fn begin_direct(&mut self, role: Role, object: Option<&ObjectContext>) -> Option<Request<'_, B>> {
        if self.for_server() != 0 {
            return None;
        }
        let (connection, context, kept) = match (role, object) {
            (Role::Client(connection), None) => {
                let c = self.connections.get_mut(connection)?;
                if c.state != ConnectionState::Connected {
                    return None;
                }
                (connection, c.context, &mut c.direct)
            }
            (_, Some(object)) if !self.closed => (NO_LINK, object.context, &mut self.object_direct),
            _ => return None,
        };
        let receiver = match self.waiters[..] {
            [(filter, first), ..] if filter == 0 || filter == connection => first,
            _ => return None,
        };
        if *kept == NO_LINK {
            *kept = make(&mut self.messages, connection)?;
        }
        let message = self.messages.get_mut(*kept)?;
        Some(Request {
            id: *kept as u32,
            receiver,
            sequence: self.sequence.wrapping_add(1),
            context,
            message,
            kept,
            port_sequence: &mut self.sequence,
            waiters: &mut self.waiters,
        })
    }

    /// The receiver could not take all of it: the request goes to the front of the queue with `body`, or, without one,
    /// back to its sender as a failure.
    pub fn undo_direct(&mut self, id: u32, body: Option<B>, fx: &mut impl Effects) {
        let id = u64::from(id);
        let Some(m) = self.messages.get_mut(id).filter(|m| m.place == Place::Pending) else { return };
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

    /// A pending request whose sender is blocked, to be answered from a thread that then waits for the next message.
    /// `None`: it may not be answered through this port, something of it has to be looked after, a receive would find
    /// something, or there is no room to publish the waiter.
    #[inline(always)]
    pub fn begin_answer(&mut self, role: Role, id: u32) -> Option<Answer<'_, B>> {
        let filter = match role {
            Role::Connection if !self.closed && self.for_server() == 0 => 0,
            Role::Server(connection) => {
                let c = self.connections.get(connection)?;
                if c.in_main != 0 || c.state != ConnectionState::Connected {
                    return None;
                }
                connection
            }
            _ => return None,
        };
        if self.waiters.len() == self.waiters.capacity() {
            return None;
        }
        let request = self.messages.occupied(u64::from(id))?;
        let message = &*request.value;
        if message.place != Place::Pending
            || message.kind() != LPC_REQUEST
            || message.to_client
            || !message.is_plain()
            || (filter != 0 && message.connection != filter)
        {
            return None;
        }
        let kept = match self.connections.get_mut(message.connection) {
            Some(c) => &mut c.direct,
            None => &mut self.object_direct,
        };
        Some(Answer {
            asker: message.waiter?,
            sequence: message.sequence,
            request,
            kept,
            filter,
            waiters: &mut self.waiters,
        })
    }

    /// Drops a message that a connection kept and keeps no more.
    #[cold]
    pub fn drop_kept(&mut self, id: u64) {
        self.messages.discard(id);
    }
}

/// Makes a message for direct requests of a connection (0: on server objects).
#[cold]
fn make<B>(messages: &mut Table<Message<B>, MESSAGE_BITS, 15>, connection: u64) -> Option<u64> {
    let request = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
    let message =
        Message { place: Place::Idle, ..Message::new(request, Sender::default(), connection, false) };
    messages.insert(message).ok()
}
