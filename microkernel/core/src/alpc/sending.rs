//! Sending: requests, datagrams and replies, and what a blocked sender does when it wakes.

use super::{
    Body, ConnectionState, Delivery, Effects, Group, Message, ObjectContext, Place, Role, Sender, Waiter,
};
use abi::alpc::{LPC_CONTINUATION_REQUIRED, LPC_DATAGRAM, LPC_REPLY, LPC_REQUEST};
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

    /// Checks that a pending request may be answered through this port.
    pub(super) fn answerable(&self, role: Role, id: u32) -> Result<(), NtStatus> {
        let m = self.messages.get(u64::from(id)).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        let right_side = match role {
            Role::Connection => !m.to_client,
            Role::Server(connection) => !m.to_client && m.connection == connection,
            Role::Client(connection) => m.to_client && m.connection == connection,
        };
        if !right_side || m.message_type & 0xFF != LPC_REQUEST {
            return Err(STATUS_MESSAGE_NOT_FOUND);
        }
        match m.place {
            Place::Pending => Ok(()),
            _ => Err(STATUS_MESSAGE_NOT_FOUND),
        }
    }

    /// Answers a pending request.
    pub fn reply(
        &mut self,
        role: Role,
        id: u32,
        sender: Sender,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<(), NtStatus> {
        self.answerable(role, id)?;
        self.answer(u64::from(id), sender, LPC_REPLY, body, fx);
        Ok(())
    }

    /// The blocked sender takes its answer. `None` when there is none (yet).
    pub fn take_reply(&mut self, id: u32) -> Option<Delivery<B>> {
        let id = u64::from(id);
        if self.messages.get(id)?.place != Place::Replied {
            return None;
        }
        let message = self.messages.remove(id)?;
        Some(Delivery {
            id: id as u32,
            message_type: message.message_type,
            sender: message.sender,
            connection: message.connection,
            context: 0,
            object: None,
            sequence: message.sequence,
            depth: 0,
            body: message.body?,
        })
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
        let answer = self.abandon(id, fx);
        if answer.is_none()
            && self.connections.get(connection).is_some_and(|c| c.state == ConnectionState::Pending)
        {
            self.connections.remove(connection);
        }
        answer
    }
}
