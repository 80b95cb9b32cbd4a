//! Connecting: the request, its acceptance or refusal, and a client that gives up.

use super::direct::Kept;
use super::limits::Usage;
use super::{
    Body, Connection, ConnectionState, Effects, Group, Message, NO_COMPLETION, NO_OBJECT, Place, Queue,
    Sender, Waiter,
};
use abi::alpc::{
    LPC_CONNECTION_REPLY, LPC_CONNECTION_REQUEST, LPC_CONTINUATION_REQUIRED, LPC_KERNELMODE_MESSAGE,
    LPC_PORT_CLOSED,
};
use abi::status::*;
use alloc::vec::Vec;

impl<B: Body> Group<B> {
    /// A client asks for a connection. With a waiter the client blocks until the answer. Returns connection and message.
    pub fn connect(
        &mut self,
        sender: Sender,
        body: B,
        waiter: Option<Waiter>,
        client_object: u32,
        fx: &mut impl Effects,
    ) -> Result<(u64, u32), NtStatus> {
        if self.closed {
            return Err(STATUS_PORT_CONNECTION_REFUSED);
        }
        let connection = self
            .connections
            .insert(Connection {
                state: ConnectionState::Pending,
                client_open: true,
                server_open: false,
                request: 0,
                close_notice: 0,
                client_notice: 0,
                direct: Kept::NONE,
                context: 0,
                client_process: sender.process,
                server_process: 0,
                client_object,
                server_object: NO_OBJECT,
                client_completion: NO_COMPLETION,
                server_completion: NO_COMPLETION,
                client_queue: Queue::default(),
                client_large: Queue::default(),
                client_canceled: Queue::default(),
                client_waiters: Vec::new(),
                in_main: 0,
                by_client: Usage::new(),
                by_server: Usage::new(),
            })
            .map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let flag = if waiter.is_some() { LPC_CONTINUATION_REQUIRED } else { 0 };
        let message_type = LPC_CONNECTION_REQUEST | flag;
        let message =
            Message { body: Some(body), waiter, ..Message::new(message_type, sender, connection, false) };
        let id = match self.add_message(message) {
            Ok(id) => id,
            Err(status) => {
                self.connections.remove(connection);
                return Err(status);
            }
        };
        if let Some(c) = self.connections.get_mut(connection) {
            c.request = id;
        }
        self.post(id, Place::Queued, waiter.is_some(), fx);
        Ok((connection, id as u32))
    }

    pub(super) fn pending_request(&self, id: u32) -> Result<u64, NtStatus> {
        let message = self.messages.get(u64::from(id)).ok_or(STATUS_INVALID_MESSAGE)?;
        if message.message_type & 0xFF != LPC_CONNECTION_REQUEST || message.place != Place::Pending {
            return Err(STATUS_INVALID_MESSAGE);
        }
        Ok(message.connection)
    }

    pub(super) fn reserve(
        &mut self,
        message_type: u16,
        connection: u64,
        to_client: bool,
    ) -> Result<u64, NtStatus> {
        let message_type = message_type | LPC_KERNELMODE_MESSAGE;
        self.add_message(Message::new(message_type, Sender::default(), connection, to_client))
    }

    /// The server accepts a connection request that it received. `body` is what the client gets. Returns the connection.
    pub fn accept(
        &mut self,
        id: u32,
        acceptor: Sender,
        context: u64,
        server_object: u32,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<u64, NtStatus> {
        let connection = self.pending_request(id)?;
        let id = u64::from(id);
        let alive = self
            .connections
            .get(connection)
            .is_some_and(|c| c.state == ConnectionState::Pending && c.client_open);
        if !alive {
            self.messages.remove(id);
            return Err(STATUS_REQUEST_CANCELED);
        }
        let close_notice = self.reserve(LPC_PORT_CLOSED, connection, false)?;
        let client_notice = match self.reserve(LPC_PORT_CLOSED, connection, true) {
            Ok(notice) => notice,
            Err(status) => {
                self.messages.remove(close_notice);
                return Err(status);
            }
        };
        let client_process = {
            let c = self.connections.get_mut(connection).ok_or(STATUS_INVALID_MESSAGE)?;
            c.state = ConnectionState::Connected;
            c.server_open = true;
            c.request = 0;
            c.close_notice = close_notice;
            c.client_notice = client_notice;
            c.context = context;
            c.server_process = acceptor.process;
            c.server_object = server_object;
            c.client_process
        };
        self.message(close_notice).sender = Sender { process: client_process, thread: 0 };
        self.message(client_notice).sender = Sender { process: acceptor.process, thread: 0 };
        self.answer(id, acceptor, LPC_CONNECTION_REPLY, body, fx);
        Ok(connection)
    }

    /// The server refuses a connection request that it received.
    pub fn refuse(&mut self, id: u32, fx: &mut impl Effects) -> Result<(), NtStatus> {
        let connection = self.pending_request(id)?;
        let message = self.messages.remove(u64::from(id)).ok_or(STATUS_INVALID_MESSAGE)?;
        self.fail_connect(connection, message.waiter, fx);
        Ok(())
    }

    pub(super) fn fail_connect(&mut self, connection: u64, waiter: Option<Waiter>, fx: &mut impl Effects) {
        if let Some(waiter) = waiter {
            // A client that blocks in connect has no handle yet: the connection goes with the refusal.
            self.connections.remove(connection);
            fx.wake(waiter, STATUS_PORT_CONNECTION_REFUSED, true);
        } else if let Some(c) = self.connections.get_mut(connection) {
            c.state = ConnectionState::Refused;
            c.request = 0;
            fx.readable(c.client_object, true);
            // The receive that this posts for tells of the refusal.
            fx.arrived(c.client_completion, 1);
            let waiters = core::mem::take(&mut c.client_waiters);
            for waiter in waiters {
                fx.wake(waiter, STATUS_SUCCESS, false);
            }
        }
    }
}
