//! Sending: requests, datagrams and replies, and what a blocked sender does when it wakes.

use super::{
    Body, ConnectionState, Delivery, Effects, Group, Message, ObjectContext, Place, Role, Sender, Waiter,
};
use abi::alpc::{LPC_CONNECTION_REQUEST, LPC_CONTINUATION_REQUIRED, LPC_DATAGRAM, LPC_REPLY, LPC_REQUEST};
use abi::status::*;

impl<B: Body> Group<B> {
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
    pub(super) fn send_to(
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
        let message = Message::new(message_type, sender, connection, to_client);
        let id = self.add_message(Message { object, body: Some(body), waiter, ..message })?;
        self.post(id, waiter.is_some(), fx);
        Ok(id as u32)
    }

    /// Checks that a pending message may be answered or given back through this port.
    pub(super) fn answerable(&self, role: Role, id: u32) -> Result<(), NtStatus> {
        let m = self.messages.get(u64::from(id)).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        let right_side = match role {
            Role::Connection => !m.to_client,
            Role::Server(connection) => !m.to_client && m.connection == connection,
            Role::Client(connection) => m.to_client && m.connection == connection,
        };
        if !right_side || m.message_type & 0xFF == LPC_CONNECTION_REQUEST {
            return Err(STATUS_MESSAGE_NOT_FOUND);
        }
        match m.place {
            Place::Pending => Ok(()),
            _ => Err(STATUS_MESSAGE_NOT_FOUND),
        }
    }

    /// Answers a pending request. Any other message that its receiver holds is given back by it, and `body` goes nowhere.
    pub fn reply(
        &mut self,
        role: Role,
        id: u32,
        sender: Sender,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<(), NtStatus> {
        self.answerable(role, id)?;
        let id = u64::from(id);
        if self.message(id).message_type & 0xFF == LPC_REQUEST {
            self.answer(id, sender, LPC_REPLY, body, fx);
        } else {
            self.messages.remove(id);
        }
        Ok(())
    }

    /// The blocked sender takes its answer. `None` when there is none (yet).
    pub fn take_reply(&mut self, id: u32) -> Option<Delivery<B>> {
        let delivery = self.claim_reply(id)?;
        self.end_delivery(id, None);
        Some(delivery)
    }

    /// The blocked sender starts to take its answer; [`Group::end_delivery`] must follow.
    fn claim_reply(&mut self, id: u32) -> Option<Delivery<B>> {
        let m = self.messages.get_mut(u64::from(id)).filter(|m| m.place == Place::Replied)?;
        let body = m.body.take()?;
        m.place = Place::Delivering;
        m.to_client = !m.to_client;
        m.waiter = None;
        Some(Delivery {
            id,
            message_type: m.message_type,
            sender: m.sender,
            connection: m.connection,
            context: 0,
            object: None,
            sequence: m.sequence,
            depth: 0,
            body,
        })
    }

    /// As [`Group::abandon`], but an answer is only being delivered: [`Group::end_delivery`] must follow.
    pub fn claim(&mut self, id: u32, fx: &mut impl Effects) -> Option<Delivery<B>> {
        let answer = self.claim_reply(id);
        if answer.is_none() {
            self.remove_message(u64::from(id), fx);
        }
        answer
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
        let answer = self.claim_connect(connection, id, fx);
        self.end_delivery(id, None);
        answer
    }

    /// As [`Group::abandon_connect`], but an answer is only being delivered: [`Group::end_delivery`] must follow.
    pub fn claim_connect(&mut self, connection: u64, id: u32, fx: &mut impl Effects) -> Option<Delivery<B>> {
        let answer = self.claim(id, fx);
        if answer.is_none()
            && self.connections.get(connection).is_some_and(|c| c.state == ConnectionState::Pending)
        {
            self.connections.remove(connection);
        }
        answer
    }
}
