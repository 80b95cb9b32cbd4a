//! Sending: requests, asynchronous requests and datagrams.

use super::{
    Body, ConnectionState, Effects, Group, Message, ObjectContext, Place, RECEIVERS, Role, SENDERS, Sender,
    Waiter,
};
use abi::alpc::{LPC_CONTINUATION_REQUIRED, LPC_DATAGRAM, LPC_REQUEST};
use abi::status::*;

/// What is sent, besides its body.
#[derive(Clone, Copy, Debug)]
pub struct Post {
    /// Who sends.
    pub sender: Sender,
    /// A request: the thread that blocks for the reply.
    pub waiter: Option<Waiter>,
    /// Nobody waits and no answer is wanted: the message is gone when it was received. Without this it is an
    /// asynchronous request, which the receiver answers or releases.
    pub release: bool,
    /// The sender's MessageContext.
    pub context: u64,
    /// [`Group::wait_references`] waits for the end of it.
    pub tracked: bool,
}

impl Post {
    /// A request of a thread that blocks.
    pub const fn request(sender: Sender, waiter: Waiter) -> Self {
        Self { sender, waiter: Some(waiter), release: false, context: 0, tracked: false }
    }

    /// A message that wants no answer.
    pub const fn datagram(sender: Sender) -> Self {
        Self { sender, waiter: None, release: true, context: 0, tracked: false }
    }

    const fn message_type(&self) -> u16 {
        match self.waiter {
            Some(_) => LPC_REQUEST | LPC_CONTINUATION_REQUIRED,
            None if self.release => LPC_DATAGRAM,
            None => LPC_DATAGRAM | LPC_CONTINUATION_REQUIRED,
        }
    }
}

impl<B: Body> Group<B> {
    /// Which connection a port sends on, and which way.
    pub(super) fn direction(&self, role: Role) -> Result<(u64, bool), NtStatus> {
        let (connection, to_client) = match role {
            Role::Connection => return Err(STATUS_LPC_INVALID_CONNECTION_USAGE),
            Role::Server(connection) => (connection, true),
            Role::Client(connection) => (connection, false),
        };
        match self.connections.get(connection).map(|c| c.state) {
            Some(ConnectionState::Connected) => Ok((connection, to_client)),
            Some(ConnectionState::Refused) => Err(STATUS_PORT_CONNECTION_REFUSED),
            _ => Err(STATUS_PORT_DISCONNECTED),
        }
    }

    /// Sends a request, an asynchronous request or a datagram. Returns its id. STATUS_QUOTA_EXCEEDED when too many that
    /// nobody waits for have not been received or answered yet.
    pub fn send(&mut self, role: Role, post: &Post, body: B, fx: &mut impl Effects) -> Result<u32, NtStatus> {
        let (connection, to_client) = self.direction(role)?;
        self.send_to(connection, to_client, None, post, body, fx)
    }

    /// Sends a request or datagram on a server object.
    pub fn send_on_object(
        &mut self,
        object: ObjectContext,
        post: &Post,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<u32, NtStatus> {
        if self.closed {
            return Err(STATUS_PORT_DISCONNECTED);
        }
        // An answer could come to nobody: there is no port to receive it on.
        let post = Post { release: post.waiter.is_none(), tracked: false, ..*post };
        self.send_to(0, false, Some(object), &post, body, fx)
    }

    fn send_to(
        &mut self,
        connection: u64,
        to_client: bool,
        object: Option<ObjectContext>,
        post: &Post,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<u32, NtStatus> {
        let process = post.sender.process;
        let cost = match post.waiter {
            Some(_) => 0,
            None => self.count(connection, to_client, process, body.pool_length())?,
        };
        let message = Message { object, body: Some(body), cost, ..post.message(connection, to_client) };
        let id = match self.add_message(message) {
            Ok(id) => id,
            Err(status) => {
                self.uncount_parts(connection, to_client, process, cost);
                return Err(status);
            }
        };
        if post.tracked {
            self.track(connection, to_client);
        }
        self.post(id, Place::Queued, post.waiter.is_some(), fx);
        Ok(id as u32)
    }
}

impl Post {
    pub(super) const fn message<B>(&self, connection: u64, to_client: bool) -> Message<B> {
        let mut message = Message::new(self.message_type(), self.sender, connection, to_client);
        message.waiter = self.waiter;
        message.contexts[SENDERS] = self.context;
        message.contexts[RECEIVERS] = 0;
        message.tracked = self.tracked;
        message
    }
}
