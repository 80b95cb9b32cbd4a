//! Ends: of a client, of a server's side of a connection, of the connection port.

use super::{Body, ConnectionState, Connections, Effects, Group, Messages, NO_LINK, NO_OBJECT, Place, Role};
use abi::alpc::LPC_CANCELED;
use abi::status::*;

impl<B: Body> Group<B> {
    /// Removes the requests of a connection whose senders block, waking those with `status`, what receivers hold, and what
    /// is kept for direct requests.
    fn fail_requests(&mut self, connection: u64, status: NtStatus, fx: &mut impl Effects) {
        let mut index = 0;
        while let Some(id) = self.messages.next_key(index) {
            index = Messages::<B>::index_of(id) + 1;
            let m = self.message(id);
            if m.connection != connection || matches!(m.place, Place::Reserved | Place::Replied) {
                continue;
            }
            if m.waiter.is_none() && !matches!(m.place, Place::Pending | Place::Posted | Place::Idle) {
                continue;
            }
            if let Some(m) = self.detach(id, fx) {
                m.wake_sender(status, fx);
            }
        }
    }

    /// Removes a connection's messages in the queues of the connection port and those delivered from there. With
    /// `delivered_only`, what is still queued stays.
    fn drop_from_main(&mut self, connection: u64, delivered_only: bool, fx: &mut impl Effects) {
        let mut index = 0;
        while let Some(id) = self.messages.next_key(index) {
            index = Messages::<B>::index_of(id) + 1;
            let m = self.message(id);
            let there = match m.place {
                Place::Pending | Place::Delivering => true,
                place => place.is_queue() && !delivered_only,
            };
            if m.connection == connection && !m.to_client && there {
                self.detach(id, fx);
            }
        }
    }

    /// Removes what is queued for a client that closed.
    fn drop_client_queue(&mut self, connection: u64, fx: &mut impl Effects) {
        while let Some(id) = self.connections.get(connection).and_then(|c| {
            let heads = [c.client_queue.head, c.client_large.head, c.client_canceled.head];
            heads.into_iter().find(|id| *id != NO_LINK)
        }) {
            self.detach(id, fx);
        }
    }

    /// One side of a connection closes: its reserves go, and nobody waits for its references any more.
    fn drop_side(&mut self, connection: u64, of_client: bool, fx: &mut impl Effects) {
        self.drop_reserves(connection, of_client);
        if let Some(c) = self.connections.get_mut(connection) {
            for waiter in c.usage(of_client).take_waiters() {
                fx.wake(waiter, STATUS_PORT_CLOSED, false);
            }
        }
    }

    /// Once both sides are closed the connection goes.
    fn forget_if_unused(&mut self, connection: u64) {
        let Some(c) = self.connections.get(connection).filter(|c| !c.client_open && !c.server_open) else {
            return;
        };
        for id in [c.close_notice, c.client_notice] {
            if self.messages.get(id).is_some_and(|m| m.place == Place::Reserved) {
                self.messages.remove(id);
            }
        }
        self.connections.remove(connection);
    }

    /// The client's last handle was closed.
    pub fn close_client(&mut self, connection: u64, fx: &mut impl Effects)
    where
        B: Default,
    {
        let Some(c) = self.connections.get_mut(connection) else { return };
        c.client_open = false;
        c.client_object = NO_OBJECT;
        let (state, request) = (c.state, c.request);
        let waiters = core::mem::take(&mut c.client_waiters);
        for waiter in waiters {
            fx.wake(waiter, STATUS_PORT_CLOSED, false);
        }
        self.drop_side(connection, true, fx);
        match state {
            ConnectionState::Pending => {
                // A request the server has seen stays until it answers, and is then STATUS_REQUEST_CANCELED.
                let seen = self.messages.get(request).is_some_and(|m| !m.place.is_queue());
                if !seen {
                    self.detach(request, fx);
                }
                self.connections.remove(connection);
            }
            ConnectionState::Connected => self.end_connection(connection, true, false, fx),
            _ => {}
        }
        self.drop_client_queue(connection, fx);
        self.forget_if_unused(connection);
    }

    /// The last handle to the server communication port was closed.
    pub fn close_server(&mut self, connection: u64, fx: &mut impl Effects)
    where
        B: Default,
    {
        self.drop_side(connection, false, fx);
        let Some(c) = self.connections.get_mut(connection) else { return };
        if c.state == ConnectionState::Connected {
            self.end_connection(connection, false, false, fx);
        }
        self.drop_from_main(connection, false, fx);
        if let Some(c) = self.connections.get_mut(connection) {
            c.server_open = false;
            c.server_object = NO_OBJECT;
        }
        self.wake_server_waiters(connection, STATUS_PORT_CLOSED, fx);
        self.forget_if_unused(connection);
    }

    fn wake_server_waiters(&mut self, connection: u64, status: NtStatus, fx: &mut impl Effects) {
        self.waiters.retain(|(filter, waiter)| {
            if *filter == connection {
                fx.wake(*waiter, status, false);
            }
            *filter != connection
        });
    }

    /// Ends a connection from one side; both handles stay open. With `no_flush` a server that ends it can still receive
    /// what the client had sent.
    pub fn disconnect(&mut self, role: Role, no_flush: bool, fx: &mut impl Effects) -> Result<(), NtStatus>
    where
        B: Default,
    {
        let (connection, by_client) = match role {
            Role::Connection => return Err(STATUS_INVALID_PORT_HANDLE),
            Role::Client(connection) => (connection, true),
            Role::Server(connection) => (connection, false),
        };
        match self.connections.get(connection).map(|c| c.state) {
            Some(ConnectionState::Connected) => {
                self.end_connection(connection, by_client, no_flush, fx);
                Ok(())
            }
            _ => Err(STATUS_PORT_DISCONNECTED),
        }
    }

    fn end_connection(&mut self, connection: u64, by_client: bool, no_flush: bool, fx: &mut impl Effects)
    where
        B: Default,
    {
        let Some(c) = self.connections.get_mut(connection) else { return };
        c.state = ConnectionState::Disconnected;
        let notice = if by_client { c.close_notice } else { c.client_notice };
        let objects = [c.client_object, c.server_object];
        self.fail_requests(connection, STATUS_PORT_DISCONNECTED, fx);
        if !by_client {
            self.drop_from_main(connection, no_flush, fx);
        }
        if let Some(m) = self.messages.get_mut(notice).filter(|m| m.place == Place::Reserved) {
            m.body = Some(B::default());
            self.post(notice, Place::Queued, false, fx);
        }
        for object in objects {
            fx.readable(object, true);
        }
        // Whoever still waits finds the notice or learns that nothing will come.
        if let Some(c) = self.connections.get_mut(connection) {
            let waiters = core::mem::take(&mut c.client_waiters);
            for waiter in waiters {
                fx.wake(waiter, STATUS_SUCCESS, false);
            }
        }
        self.wake_server_waiters(connection, STATUS_SUCCESS, fx);
    }

    /// The last handle to the connection port was closed: every connection ends, every sender is told.
    pub fn close_connection_port(&mut self, fx: &mut impl Effects)
    where
        B: Default,
    {
        self.closed = true;
        let mut index = 0;
        while let Some(connection) = self.connections.next_key(index) {
            index = Connections::index_of(connection) + 1;
            let Some(c) = self.connections.get(connection) else { continue };
            let (state, request) = (c.state, c.request);
            match state {
                ConnectionState::Connected => self.end_connection(connection, false, false, fx),
                ConnectionState::Pending => self.cancel_request(connection, request, fx),
                _ => {}
            }
        }
        let mut index = 0;
        while let Some(id) = self.messages.next_key(index) {
            index = Messages::<B>::index_of(id) + 1;
            let m = self.message(id);
            if m.to_client
                || m.place == Place::Replied
                || (matches!(m.place, Place::Reserved | Place::Idle) && m.connection != 0)
            {
                continue;
            }
            if let Some(m) = self.detach(id, fx) {
                m.wake_sender(STATUS_PORT_DISCONNECTED, fx);
            }
        }
        for (_, waiter) in core::mem::take(&mut self.waiters) {
            fx.wake(waiter, STATUS_PORT_CLOSED, false);
        }
        self.object = NO_OBJECT;
    }

    fn cancel_request(&mut self, connection: u64, request: u64, fx: &mut impl Effects)
    where
        B: Default,
    {
        let Some(m) = self.messages.get(request) else { return };
        let (waiter, place) = (m.waiter, m.place);
        if waiter.is_some() {
            self.detach(request, fx);
            self.fail_connect(connection, waiter, fx);
            return;
        }
        let Some(c) = self.connections.get_mut(connection) else { return };
        c.state = ConnectionState::Cancelled;
        c.request = 0;
        let waiters = core::mem::take(&mut c.client_waiters);
        // The notice is the request with its id, going back to its sender. One that is being delivered gets a new id:
        // the server's thread will still end or undo its delivery under the old one.
        let notice = match place {
            place if place.is_queue() => {
                self.unlink(request, fx);
                Some(request)
            }
            Place::Delivering => self.messages.remove(request).and_then(|m| self.messages.insert(m).ok()),
            _ => Some(request),
        };
        if let Some(id) = notice {
            let m = self.message(id);
            m.message_type = LPC_CANCELED;
            m.to_client = true;
            m.body = Some(B::default());
            self.link(id, Place::Queued, false, fx);
        }
        // One gets the notice; the others learn that nothing else will come.
        for waiter in waiters {
            fx.wake(waiter, STATUS_SUCCESS, false);
        }
    }
}
