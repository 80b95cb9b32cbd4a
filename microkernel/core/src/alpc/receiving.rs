//! Receiving: which message a port gets next, its delivery, and the threads that wait for one.

use super::{
    Body, ConnectionState, Delivery, Effects, Group, NO_LINK, Place, RECEIVERS, Received, Role, Sender,
    Waiter,
};
use crate::{NoMemory, try_push};
use abi::alpc::{LPC_CANCELED, LPC_CONNECTION_REQUEST};
use abi::status::*;

/// What a port may receive next.
enum Next {
    /// A message.
    Message(u64),
    /// A message of the main queue that is too large.
    TooLarge(u64),
    /// Nothing but large messages, the first of which needs this much room.
    Needs(usize),
    /// Nothing; the status if nothing will ever come.
    Nothing(Option<NtStatus>),
}

/// For a message that goes from queue to queue: nothing has arrived.
struct Quiet<'a, F>(&'a mut F);

impl<F: Effects> Effects for Quiet<'_, F> {
    fn wake(&mut self, waiter: Waiter, status: NtStatus, soon: bool) {
        self.0.wake(waiter, status, soon);
    }

    fn readable(&mut self, object: u32, readable: bool) {
        self.0.readable(object, readable);
    }
}

impl<B: Body> Group<B> {
    /// The first message from `id` on of a queue that a port may receive and that `fits`.
    fn first(&self, mut id: u64, role: Role, fits: impl Fn(usize) -> bool) -> Option<(u64, usize)> {
        while let Some(m) = self.messages.get(id) {
            let length = m.body.as_ref().map_or(0, B::data_length);
            let mine = !matches!(role, Role::Server(connection) if m.connection != connection);
            if mine && fits(length) {
                return Some((id, length));
            }
            id = m.next;
        }
        None
    }

    /// Notices of cancellation come first, then what was too large before and fits now, then the main queue.
    fn next_for(&self, role: Role, room: usize) -> Next {
        let ([canceled, large, main], end) = match role {
            Role::Connection => (
                [self.canceled.head, self.large.head, self.main.head],
                self.closed.then_some(STATUS_PORT_CLOSED),
            ),
            Role::Server(connection) => {
                let Some(c) = self.connections.get(connection) else {
                    return Next::Nothing(Some(STATUS_PORT_DISCONNECTED));
                };
                let heads = if c.in_main == 0 {
                    [NO_LINK; 3]
                } else {
                    [self.canceled.head, self.large.head, self.main.head]
                };
                (heads, (c.state == ConnectionState::Disconnected).then_some(STATUS_PORT_DISCONNECTED))
            }
            Role::Client(connection) => {
                let Some(c) = self.connections.get(connection) else {
                    return Next::Nothing(Some(STATUS_PORT_DISCONNECTED));
                };
                let end = match c.state {
                    ConnectionState::Pending | ConnectionState::Connected => None,
                    ConnectionState::Refused => Some(STATUS_PORT_CONNECTION_REFUSED),
                    ConnectionState::Cancelled => Some(STATUS_UNSUCCESSFUL),
                    ConnectionState::Disconnected => Some(STATUS_PORT_DISCONNECTED),
                };
                ([c.client_canceled.head, c.client_large.head, c.client_queue.head], end)
            }
        };
        let notice = self.first(canceled, role, |_| true);
        if let Some((id, _)) = notice.or_else(|| self.first(large, role, |length| length <= room)) {
            return Next::Message(id);
        }
        match self.first(main, role, |_| true) {
            Some((id, length)) if length <= room => Next::Message(id),
            Some((id, _)) => Next::TooLarge(id),
            None => match self.first(large, role, |_| true) {
                Some((_, length)) => Next::Needs(length),
                None => Next::Nothing(end),
            },
        }
    }

    /// Payload bytes of what a receive into a buffer of `room` bytes would hand out; `None` when there is nothing that fits.
    pub fn next_length(&self, role: Role, room: usize) -> Option<usize> {
        match self.next_for(role, room) {
            Next::Message(id) => Some(self.messages.get(id)?.body.as_ref().map_or(0, B::data_length)),
            _ => None,
        }
    }

    /// If the next message of the main queue is one that no buffer of `room` bytes could take, it goes to the large-message
    /// queue, where it is in nobody's way. `false`: it is not.
    pub fn pass_over(&mut self, role: Role, room: usize, fx: &mut impl Effects) -> bool {
        let Next::TooLarge(id) = self.next_for(role, room) else { return false };
        self.set_large(id, fx);
        true
    }

    fn set_large(&mut self, id: u64, fx: &mut impl Effects) {
        let quiet = &mut Quiet(fx);
        self.unlink(id, quiet);
        self.link(id, Place::Large, false, quiet);
    }

    /// Starts to receive the next message for a port into a buffer of `room` payload bytes. One that is too large goes to
    /// the large-message queue, where it is in nobody's way.
    pub fn receive(
        &mut self,
        role: Role,
        room: usize,
        receiver: Sender,
        fx: &mut impl Effects,
    ) -> Received<B> {
        let length = match self.next_for(role, room) {
            Next::Message(id) => {
                let received = self.deliver(id, receiver, fx);
                if role == Role::Connection {
                    self.wake_filtered(fx);
                }
                return received;
            }
            Next::Nothing(end) => {
                // What a thread at a communication port was woken for may have been taken by a thread at the
                // connection port that was woken for something else.
                if matches!(role, Role::Server(_)) {
                    self.pass_turn(false, 0, fx);
                }
                return end.map_or(Received::Empty, Received::Status);
            }
            Next::TooLarge(id) => {
                self.set_large(id, fx);
                self.message(id).body.as_ref().map_or(0, B::data_length)
            }
            Next::Needs(length) => length,
        };
        // Another waiter may have the room.
        let (to_client, connection) = match role {
            Role::Client(connection) => (true, connection),
            Role::Connection | Role::Server(_) => (false, 0),
        };
        self.pass_turn(to_client, connection, fx);
        Received::TooSmall(length)
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
        let (origin, is_callback) = (if m.origin == 0 { id } else { m.origin }, m.parent != 0);
        let message_context = m.contexts[RECEIVERS];
        let body = m.body.take();
        let (context, depth) = match self.connections.get(connection) {
            Some(c) if to_client => (0, c.for_client()),
            Some(c) => (c.context, self.for_server()),
            None => (object.map_or(0, |o| o.context), self.for_server()),
        };
        match body {
            Some(body) => Received::Message(Delivery {
                key: id as u32,
                id: origin as u32,
                callback_id: if is_callback { id as u32 } else { 0 },
                message_type,
                sender,
                connection,
                context,
                message_context,
                object,
                sequence,
                depth,
                body,
            }),
            None => {
                self.detach(id, fx);
                Received::Empty
            }
        }
    }

    /// The message reached the receiver. A request is now owed a reply, and keeps `kept` of its body until it is
    /// answered, released or withdrawn. Anything else is done with, unless `kept` is something that its receiver has to
    /// give back ([`Group::reply`], [`Group::release`]) or that goes with the connection. `false` when its sender has gone
    /// meanwhile.
    pub fn end_delivery(&mut self, key: u32, kept: Option<B>, fx: &mut impl Effects) -> bool
    where
        B: Default,
    {
        let id = u64::from(key);
        let Some(m) = self.messages.get_mut(id).filter(|m| m.place == Place::Delivering) else {
            return false;
        };
        let held = kept.is_some();
        m.place = Place::Pending;
        m.body = kept;
        let (gone, cancel, connection, to_client) = (m.gone, m.cancel, m.connection, m.to_client);
        let (owed, waits) = (m.is_owed_answer(), m.waiter.is_some() || m.kind() == LPC_CONNECTION_REQUEST);
        let connected = match self.connections.get(connection) {
            Some(c) => c.state == ConnectionState::Connected,
            // Who asked a server object has no port to give the answer back through.
            None => connection == 0 && !to_client,
        };
        let stays = waits || connected && (owed || held && m.reserve == 0);
        if gone || !stays {
            self.detach(id, fx);
        } else if let Some(by_sender) = cancel {
            self.finish_cancel(id, by_sender, true, fx);
        }
        !gone
    }

    /// The message could not be copied out: back to the front of its queue, for whoever receives next. It is gone if
    /// the client that it is for, or whose connection request it is, has closed.
    pub fn undo_delivery(&mut self, key: u32, body: B, fx: &mut impl Effects)
    where
        B: Default,
    {
        let id = u64::from(key);
        let Some(m) = self.messages.get_mut(id).filter(|m| m.place == Place::Delivering) else { return };
        m.place = Place::Pending;
        m.body = Some(body);
        let (to_client, connection, cancel, gone) = (m.to_client, m.connection, m.cancel, m.gone);
        let place = if m.kind() == LPC_CANCELED && m.origin != 0 { Place::Canceled } else { Place::Queued };
        if gone || !self.is_receivable(connection, to_client) {
            self.remove_message(id, fx);
            return;
        }
        if let Some(by_sender) = cancel {
            self.finish_cancel(id, by_sender, false, fx);
            return;
        }
        self.link(id, place, true, fx);
        self.notify(to_client, connection, false, fx);
    }

    /// Somebody may receive what is queued for this side.
    pub(super) fn is_receivable(&self, connection: u64, to_client: bool) -> bool {
        match self.connections.get(connection) {
            Some(c) if to_client => c.client_open,
            Some(c) => c.server_open || c.state == ConnectionState::Pending,
            None => connection == 0 && !to_client,
        }
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
