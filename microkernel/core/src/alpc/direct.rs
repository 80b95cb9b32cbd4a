//! The short way through the state machine: a blocking request for a thread that already waits, and its reply.
//!
//! Used by the kernel's fast path only. The payload never comes here: the kernel copies it from thread to thread. Each
//! step is a check that changes nothing that anybody can see, and a commit that cannot fail. A request made this way
//! is pending from the start, so that the reply, a death on either side and every query find it as they would any
//! other. A connection keeps one message for such requests, which is given a new id each time. Everything that the
//! checks decline goes the long way with the same result.

use super::{
    Body, ConnectionState, Effects, Group, Message, NO_LINK, ObjectContext, Place, Role, Sender, Waiter,
};
use abi::alpc::{LPC_CONTINUATION_REQUIRED, LPC_REQUEST};
use abi::status::STATUS_INSUFFICIENT_RESOURCES;

/// A request that can be handed over directly.
#[derive(Clone, Copy, Debug)]
pub struct Direct {
    /// Message id that it will have.
    pub id: u32,
    /// The thread that takes it.
    pub receiver: Waiter,
    /// Sequence number that it will have.
    pub sequence: u32,
    /// Port context.
    pub context: u64,
    /// Its place among the waiters.
    at: usize,
}

/// A pending request that can be answered directly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its blocked sender.
    pub asker: Waiter,
    /// Its sequence number.
    pub sequence: u32,
}

impl<B> Message<B> {
    /// Nothing has to be looked after when it ends: no part of its body is kept, it has no contexts, no reserve and no call
    /// back, and nobody waits for its end but its sender.
    #[inline]
    fn is_plain(&self) -> bool {
        self.body.is_none()
            && self.contexts == [0; 2]
            && (self.reserve | self.callback) == 0
            && !self.tracked
            && !self.called
    }
}

impl<B: Body> Group<B> {
    /// Looks for the thread that has waited longest for a request, and sets a message aside for it. `None`: nobody waits,
    /// something is queued, or the port is not in a state to send. [`Group::commit_direct`] may follow under the same
    /// lock; without it nothing has been sent.
    #[inline]
    pub fn begin_direct(&mut self, role: Role, object: Option<ObjectContext>) -> Option<Direct> {
        let (connection, context, kept) = match (role, object) {
            (_, Some(object)) if !self.closed => (NO_LINK, object.context, self.object_direct),
            (Role::Client(connection), None) => {
                let c = self.connections.get(connection)?;
                if c.state != ConnectionState::Connected {
                    return None;
                }
                (connection, c.context, c.direct)
            }
            _ => return None,
        };
        if self.for_server() > 0 {
            return None;
        }
        let at = self.waiters.iter().position(|(filter, _)| *filter == 0 || *filter == connection)?;
        let receiver = self.waiters[at].1;
        let idle = self.messages.get(kept).is_some_and(|m| m.place == Place::Idle);
        let id = if idle { kept } else { self.keep_message(connection, kept)? };
        let sequence = self.sequence.wrapping_add(1);
        Some(Direct { id: id as u32, receiver, sequence, context, at })
    }

    /// Makes a message for direct requests; the connection keeps it unless the one it has is in use.
    #[cold]
    fn keep_message(&mut self, connection: u64, kept: u64) -> Option<u64> {
        let request = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
        let message =
            Message { place: Place::Idle, ..Message::new(request, Sender::default(), connection, false) };
        let id = self.messages.insert(message).ok()?;
        if self.messages.get(kept).is_none() {
            match self.connections.get_mut(connection) {
                Some(c) => c.direct = id,
                None => self.object_direct = id,
            }
        }
        Some(id)
    }

    /// The receiver has the request: it is pending, and `waiter` is blocked for its reply.
    #[inline]
    pub fn commit_direct(
        &mut self,
        direct: &Direct,
        object: Option<ObjectContext>,
        sender: Sender,
        waiter: Waiter,
        receiver: Sender,
    ) {
        self.sequence = direct.sequence;
        if self.waiters.len() == 1 {
            self.waiters.clear();
        } else {
            self.waiters.remove(direct.at);
        }
        if let Some(m) = self.messages.get_mut(u64::from(direct.id)) {
            m.object = object;
            m.sender = sender;
            m.waiter = Some(waiter);
            m.receiver = receiver;
            m.sequence = direct.sequence;
            m.place = Place::Pending;
        }
    }

    /// Nothing was sent: a message that was made for this request only goes.
    #[cold]
    pub fn cancel_direct(&mut self, direct: &Direct) {
        self.release_direct(u64::from(direct.id));
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

    /// The blocked sender of a pending request that may be answered through this port, when a receive after that would
    /// find nothing, and its waiter can be published without memory.
    #[inline]
    pub fn direct_answer(&self, role: Role, id: u32) -> Option<Answer> {
        let quiet = match role {
            Role::Connection => !self.closed && self.for_server() == 0,
            Role::Server(connection) => self
                .connections
                .get(connection)
                .is_some_and(|c| c.in_main == 0 && c.state == ConnectionState::Connected),
            Role::Client(_) => false,
        };
        if !quiet || self.waiters.len() == self.waiters.capacity() {
            return None;
        }
        let m = self.messages.get(self.held(role, id, 0).ok()?).filter(|m| m.is_plain())?;
        Some(Answer { asker: m.waiter?, sequence: m.sequence })
    }

    /// The sender has its answer: the request is done with, and `waiter` waits on the port for the next.
    #[inline]
    pub fn commit_answer(&mut self, role: Role, id: u32, waiter: Waiter) {
        self.release_direct(u64::from(id));
        let filter = if let Role::Server(connection) = role { connection } else { 0 };
        // There is room: `direct_answer` looked.
        self.waiters.push((filter, waiter));
    }

    /// A request is done with: its connection keeps the message if it is the one for direct requests.
    #[inline]
    fn release_direct(&mut self, id: u64) {
        let Some(m) = self.messages.get_mut(id) else { return };
        let connection = m.connection;
        let kept = match self.connections.get_mut(connection) {
            Some(c) => &mut c.direct,
            None => &mut self.object_direct,
        };
        if *kept != id {
            self.messages.discard(id);
            return;
        }
        m.place = Place::Idle;
        m.waiter = None;
        *kept = self.messages.renew(id).unwrap_or(NO_LINK);
    }
}
