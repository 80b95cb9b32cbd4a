//! Replying: which messages a port may answer, answers and releases, and what a blocked sender does when it wakes.

use super::{
    Body, ConnectionState, Delivery, Effects, Group, Place, RECEIVERS, Role, SENDERS, Sender, Woken,
};
use abi::alpc::{LPC_CONNECTION_REQUEST, LPC_REPLY};
use abi::status::*;

impl<B: Body> Group<B> {
    /// The message that an id and a callback id name: a call back if that is not 0, else the message itself.
    pub(super) fn resolve(&self, id: u32, callback_id: u32) -> Result<u64, NtStatus> {
        let key = u64::from(if callback_id == 0 { id } else { callback_id });
        let m = self.messages.get(key).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        let origin = if m.parent == 0 { key } else { m.origin };
        let names_callback = m.parent != 0;
        if origin != u64::from(id) || names_callback != (callback_id != 0) {
            return Err(STATUS_MESSAGE_NOT_FOUND);
        }
        Ok(key)
    }

    /// The key of a message that was received through this port and that is pending. STATUS_MESSAGE_NOT_FOUND: there is none, or
    /// it was not received through a port like this.
    fn pending_key(&self, role: Role, id: u32, callback_id: u32) -> Result<u64, NtStatus> {
        let key = self.resolve(id, callback_id)?;
        let m = self.messages.get(key).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        let right_side = match role {
            Role::Connection => !m.to_client,
            Role::Server(connection) => !m.to_client && m.connection == connection,
            Role::Client(connection) => m.to_client && m.connection == connection,
        };
        if right_side && m.place == Place::Pending { Ok(key) } else { Err(STATUS_MESSAGE_NOT_FOUND) }
    }

    /// Checks that a pending message may be answered or given back through this port; its key.
    ///
    /// STATUS_MESSAGE_NOT_FOUND: there is none, it was not received through a port like this, or it is a connection request.
    /// STATUS_REPLY_MESSAGE_MISMATCH: its sender answers a call back first and does not wait for this.
    pub(super) fn held(&self, role: Role, id: u32, callback_id: u32) -> Result<u64, NtStatus> {
        let key = self.pending_key(role, id, callback_id)?;
        let m = self.messages.get(key).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        if m.kind() == LPC_CONNECTION_REQUEST {
            return Err(STATUS_MESSAGE_NOT_FOUND);
        }
        // A call back that its caller gave up, and that the blocked thread has not taken, is in nobody's way.
        let busy =
            self.messages.get(m.callback).is_some_and(|c| c.place != Place::Posted || c.waiter.is_some());
        if busy { Err(STATUS_REPLY_MESSAGE_MISMATCH) } else { Ok(key) }
    }

    /// Checks that a message was received through this port and is still to be answered, given back, or accepted or refused:
    /// STATUS_MESSAGE_NOT_FOUND.
    pub fn is_held(&self, role: Role, id: u32, callback_id: u32) -> Result<(), NtStatus> {
        self.pending_key(role, id, callback_id).map(drop)
    }

    /// What a pending message that was received through this port keeps of its body.
    pub fn kept(&mut self, role: Role, id: u32, callback_id: u32) -> Option<&mut B> {
        let key = self.pending_key(role, id, callback_id).ok()?;
        self.message(key).body.as_mut()
    }

    /// Answers a pending request. A blocked sender takes the answer, an asynchronous one receives it on its port. Any
    /// other message that its receiver holds is given back by it, and `body` goes nowhere.
    pub fn reply(
        &mut self,
        role: Role,
        (id, callback_id): (u32, u32),
        sender: Sender,
        context: u64,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<(), NtStatus> {
        let key = self.held(role, id, callback_id)?;
        if !self.message(key).is_owed_answer() {
            self.detach(key, fx);
            return Ok(());
        }
        if context != 0 {
            self.message(key).contexts[RECEIVERS] = context;
        }
        self.answer(key, sender, LPC_REPLY, body, fx);
        Ok(())
    }

    /// Gives a pending request back without an answer: a blocked sender returns STATUS_LPC_REPLY_LOST.
    pub fn release(
        &mut self,
        role: Role,
        (id, callback_id): (u32, u32),
        fx: &mut impl Effects,
    ) -> Result<(), NtStatus> {
        let key = self.held(role, id, callback_id)?;
        if let Some(m) = self.remove_message(key, fx) {
            m.wake_sender(STATUS_LPC_REPLY_LOST, fx);
        }
        Ok(())
    }

    /// Turns a request into its answer: for a blocked sender to take, else into its port's queue.
    pub(super) fn answer(
        &mut self,
        id: u64,
        sender: Sender,
        message_type: u16,
        body: B,
        fx: &mut impl Effects,
    ) {
        let (reserve, callback) = {
            let m = self.message(id);
            (m.reserve, m.callback)
        };
        self.lose_callbacks(callback, STATUS_LPC_REPLY_LOST, fx);
        self.leave_parent(id);
        let m = self.message(id);
        m.message_type = message_type;
        m.kept = false;
        m.sender = sender;
        let kept = m.body.replace(body);
        if reserve != 0 {
            self.return_body(reserve, kept);
        }
        let m = self.message(id);
        match m.waiter {
            Some(waiter) => {
                m.place = Place::Replied;
                if !m.called {
                    fx.wake(waiter, STATUS_SUCCESS, true);
                }
            }
            None => {
                m.to_client = !m.to_client;
                m.contexts.swap(SENDERS, RECEIVERS);
                self.post(id, Place::Queued, false, fx);
            }
        }
    }

    /// A blocked sender goes on, woken or not: takes its answer, or a call back that it is to answer first, or gives its
    /// message up. What has more than `room` payload bytes stays to be received on its port, if it has one.
    pub fn take(&mut self, id: u32, room: usize, fx: &mut impl Effects) -> Woken<B> {
        let id = u64::from(id);
        let Some(m) = self.messages.get_mut(id) else { return Woken::Nothing };
        m.called = false;
        let (place, callback) = (m.place, m.callback);
        if place == Place::Posted {
            // The thread that it is for was woken and must find it.
            m.waiter = None;
            return Woken::Nothing;
        }
        if place == Place::Replied {
            return self.take_reply(id, room, fx);
        }
        if self.messages.get(callback).is_some_and(|c| c.place == Place::Posted) {
            return self.take_callback(id, callback, room, fx);
        }
        if self.messages.get(id).is_some_and(|m| m.waiter.is_some()) {
            self.remove_message(id, fx);
        }
        Woken::Nothing
    }

    fn take_reply(&mut self, id: u64, room: usize, fx: &mut impl Effects) -> Woken<B> {
        let m = self.message(id);
        let length = m.body.as_ref().map_or(0, B::data_length);
        if length > room {
            m.to_client = !m.to_client;
            m.waiter = None;
            m.contexts.swap(SENDERS, RECEIVERS);
            let (connection, to_client) = (m.connection, m.to_client);
            if self.is_receivable(connection, to_client) {
                self.post(id, Place::Large, false, fx);
            } else {
                self.detach(id, fx);
            }
            return Woken::TooSmall(length);
        }
        let Some(body) = m.body.take() else { return Woken::Nothing };
        m.place = Place::Delivering;
        m.to_client = !m.to_client;
        m.waiter = None;
        m.contexts.swap(SENDERS, RECEIVERS);
        let is_callback = m.parent != 0;
        Woken::Answer(Delivery {
            key: id as u32,
            id: if is_callback { m.origin as u32 } else { id as u32 },
            callback_id: if is_callback { id as u32 } else { 0 },
            message_type: m.message_type,
            sender: m.sender,
            connection: m.connection,
            context: 0,
            message_context: m.contexts[RECEIVERS],
            object: None,
            sequence: m.sequence,
            depth: 0,
            body,
        })
    }

    /// A client goes on that blocked in a connect: takes the answer ([`Group::end_delivery`] must follow), or gives up.
    /// Without an answer its connection goes.
    pub fn take_connect(&mut self, connection: u64, id: u32, fx: &mut impl Effects) -> Option<Delivery<B>> {
        if let Woken::Answer(delivery) = self.take(id, usize::MAX, fx) {
            return Some(delivery);
        }
        if self.connections.get(connection).is_some_and(|c| c.state == ConnectionState::Pending) {
            self.connections.remove(connection);
        }
        None
    }
}
