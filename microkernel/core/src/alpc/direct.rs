//! The short way through the state machine: a blocking request for a thread that already waits, and its reply.
//!
//! The payload never comes here: the kernel hands it from thread to thread. A request made this way is pending from
//! the start, so that the reply, a death on either side and every query find it as they would any other. Everything
//! that these functions decline goes the long way with the same result.

use super::{Body, Effects, Sender, Waiter};
use super::{ConnectionState, Group, Message, NO_LINK, ObjectContext, Place, Role};
use abi::alpc::{LPC_CONTINUATION_REQUIRED, LPC_REQUEST};
use abi::status::STATUS_INSUFFICIENT_RESOURCES;

/// What a request handed over directly looks like to its receiver.
#[derive(Clone, Copy, Debug)]
pub struct Direct {
    /// Message id.
    pub id: u32,
    /// The thread that takes it.
    pub receiver: Waiter,
    /// Sequence number.
    pub sequence: u32,
    /// Port context.
    pub context: u64,
}

impl<B: Body> Group<B> {
    /// Registers a request of a blocking sender for the thread that has waited longest. `None`: nobody waits, something is
    /// queued, or the port is not in a state to send. [`Group::end_direct`] or [`Group::cancel_direct`] must follow
    /// under the same lock.
    pub fn begin_direct(
        &mut self,
        role: Role,
        object: Option<ObjectContext>,
        sender: Sender,
        waiter: Waiter,
    ) -> Option<Direct> {
        let (connection, context) = match (role, object) {
            (_, Some(object)) if !self.closed => (0, object.context),
            (Role::Client(connection), None) => {
                let c = self.connections.get(connection)?;
                if c.state != ConnectionState::Connected {
                    return None;
                }
                (connection, c.context)
            }
            _ => return None,
        };
        if self.main.head != NO_LINK {
            return None;
        }
        let receiver = self.waiters.iter().find(|(filter, _)| *filter == 0 || *filter == connection)?.1;
        self.sequence = self.sequence.wrapping_add(1);
        let request = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
        let message = Message {
            object,
            waiter: Some(waiter),
            sequence: self.sequence,
            place: Place::Pending,
            ..Message::new(request, sender, connection, false)
        };
        let id = self.messages.insert(message).ok()? as u32;
        Some(Direct { id, receiver, sequence: self.sequence, context })
    }

    /// The receiver has it.
    pub fn end_direct(&mut self, receiver: Waiter) {
        if let Some(at) = self.waiters.iter().position(|(_, waiter)| *waiter == receiver) {
            self.waiters.remove(at);
        }
    }

    /// The receiver could not take it: as if nothing had been sent.
    pub fn cancel_direct(&mut self, id: u32) {
        self.messages.discard(u64::from(id));
        self.sequence = self.sequence.wrapping_sub(1);
    }

    /// The receiver could not copy it out: the request goes to the front of the queue with `body`, or, without one, back
    /// to its sender as a failure.
    pub fn undo_direct(&mut self, id: u32, body: Option<B>, fx: &mut impl Effects) {
        let id = u64::from(id);
        let Some(m) = self.messages.get_mut(id).filter(|m| m.place == Place::Pending) else { return };
        let connection = m.connection;
        match body {
            Some(body) => {
                m.body = Some(body);
                self.link(id, true, fx);
                self.notify(false, connection, false, fx);
            }
            None => {
                if let Some(waiter) = self.messages.remove(id).and_then(|m| m.waiter) {
                    fx.wake(waiter, STATUS_INSUFFICIENT_RESOURCES, false);
                }
            }
        }
    }

    /// The blocked sender of a pending request that may be answered through this port. `None` also when something of
    /// the request's body is kept, which has to be given back first.
    pub fn direct_answer(&self, role: Role, id: u32) -> Option<Waiter> {
        self.answerable(role, id).ok()?;
        self.messages.get(u64::from(id)).filter(|m| m.body.is_none())?.waiter
    }

    /// True when a receive on a server's port would find nothing and wait.
    pub fn is_quiet(&self, role: Role) -> bool {
        match role {
            Role::Connection => !self.closed && self.main.head == NO_LINK,
            Role::Server(connection) => self
                .connections
                .get(connection)
                .is_some_and(|c| c.in_main == 0 && c.state == ConnectionState::Connected),
            Role::Client(_) => false,
        }
    }

    /// The sender has its answer: the request is done with.
    pub fn end_answer(&mut self, id: u32) {
        self.messages.discard(u64::from(id));
    }
}
