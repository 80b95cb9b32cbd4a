//! Receiving: which message a port gets next, its delivery, and the threads that wait for one.

use super::{
    Body, ConnectionState, Delivery, Effects, Group, NO_LINK, Place, Received, Role, Sender, Waiter,
};
use crate::{NoMemory, try_push};
use abi::alpc::{LPC_CONNECTION_REQUEST, LPC_CONTINUATION_REQUIRED, LPC_REQUEST};
use abi::status::*;

impl<B: Body> Group<B> {
    /// The first message that a port may receive; if there is none, the status if none will ever come.
    pub(super) fn first_for(&self, role: Role) -> Result<u64, Option<NtStatus>> {
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
    pub(super) fn wake_filtered(&mut self, fx: &mut impl Effects) {
        let connections = &self.connections;
        self.waiters.retain(|(filter, waiter)| {
            let helped = connections.get(*filter).is_some_and(|c| c.in_main > 0);
            if helped {
                fx.wake(*waiter, STATUS_SUCCESS, false);
            }
            !helped
        });
    }

    pub(super) fn deliver(&mut self, id: u64, receiver: Sender, fx: &mut impl Effects) -> Received<B> {
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

    /// The message reached the receiver. A request is now owed a reply, and keeps `kept` of its body until it is
    /// answered, released or withdrawn. Anything else is done with, unless `kept` is something that its receiver has to
    /// give back ([`Group::reply`]) or that goes with the connection. `false` when its sender has gone meanwhile.
    pub fn end_delivery(&mut self, id: u32, kept: Option<B>) -> bool {
        let id = u64::from(id);
        let Some(m) = self.messages.get(id).filter(|m| m.place == Place::Delivering) else {
            return false;
        };
        let request = matches!(m.message_type & 0xFF, LPC_REQUEST | LPC_CONNECTION_REQUEST);
        let connected = match self.connections.get(m.connection) {
            Some(c) => c.state == ConnectionState::Connected,
            None => m.connection == 0,
        };
        if request || (kept.is_some() && connected) {
            let m = self.message(id);
            m.place = Place::Pending;
            m.body = kept;
            m.message_type |= if request { 0 } else { LPC_CONTINUATION_REQUIRED };
        } else {
            self.messages.remove(id);
        }
        true
    }

    /// What a pending message that was received through this port keeps of its body.
    pub fn kept(&mut self, role: Role, id: u32) -> Option<&mut B> {
        self.answerable(role, id).ok()?;
        self.messages.get_mut(u64::from(id))?.body.as_mut()
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
}
