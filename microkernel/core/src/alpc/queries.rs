//! What can be asked about ports and messages.

use super::{
    Body, Connection, ConnectionState, Group, MessageFacts, Origin, Place, PortFacts, Queue, Role, Sender,
};
use abi::status::{NtStatus, STATUS_MESSAGE_NOT_FOUND};

impl<B: Body> Group<B> {
    /// Facts about a port.
    pub fn facts(&self, role: Role) -> PortFacts {
        let pending = |to_client: bool, connection: Option<u64>| {
            self.messages
                .iter()
                .filter(|(_, m)| {
                    m.place == Place::Pending
                        && m.to_client == to_client
                        && connection.is_none_or(|c| m.connection == c)
                })
                .count() as u32
        };
        match role {
            Role::Connection => PortFacts {
                state: u32::from(self.closed) << 3,
                queued: self.for_server(),
                large: self.large.count,
                canceled: self.canceled.count,
                pending: pending(false, None),
                waiters: self.waiters.iter().filter(|(f, _)| *f == 0).count() as u32,
                sequence: self.sequence,
                ..PortFacts::default()
            },
            Role::Server(connection) | Role::Client(connection) => {
                let client = matches!(role, Role::Client(_));
                let Some(c) = self.connections.get(connection) else {
                    return PortFacts { state: 4, ..PortFacts::default() };
                };
                PortFacts {
                    state: match c.state {
                        ConnectionState::Pending => 1,
                        ConnectionState::Connected => 0,
                        ConnectionState::Refused => 2,
                        ConnectionState::Cancelled | ConnectionState::Disconnected => 4,
                    },
                    queued: if client { c.for_client() } else { c.in_main },
                    large: if client { c.client_large.count } else { self.in_queue(self.large, connection) },
                    canceled: if client {
                        c.client_canceled.count
                    } else {
                        self.in_queue(self.canceled, connection)
                    },
                    pending: pending(client, Some(connection)),
                    waiters: if client {
                        c.client_waiters.len() as u32
                    } else {
                        self.waiters.iter().filter(|(f, _)| *f == connection).count() as u32
                    },
                    sequence: self.sequence,
                    peer_process: if client { c.server_process } else { c.client_process },
                    context: if client { 0 } else { c.context },
                }
            }
        }
    }

    /// Facts about all messages that are queued, pending or being delivered.
    pub fn message_facts(&self) -> impl Iterator<Item = MessageFacts> {
        self.messages.iter().filter_map(|(id, m)| {
            let queue = match m.place {
                Place::Queued => 1,
                Place::Pending => 2,
                Place::Delivering => 3,
                Place::Large => 4,
                Place::Canceled => 5,
                Place::Posted => 6,
                Place::Reserved | Place::Replied | Place::Idle => return None,
            };
            Some(MessageFacts {
                id: id as u32,
                message_type: m.message_type,
                connection: m.connection,
                to_client: m.to_client,
                queue,
                sender: m.sender,
                waits: m.waiter.is_some(),
                receiver: m.receiver,
                data_length: m.body.as_ref().map_or(0, B::data_length),
            })
        })
    }

    /// Where a message comes from.
    pub fn origin(&self, id: u32, callback_id: u32) -> Option<Origin> {
        let key = self.resolve(id, callback_id).ok()?;
        let m = self.messages.get(key).filter(|m| m.place != Place::Idle)?;
        let from = match m.connection {
            0 => None,
            connection if m.to_client => Some(Role::Server(connection)),
            connection => Some(Role::Client(connection)),
        };
        Some(Origin { sender: m.sender, from })
    }

    /// Where a message comes from that was received through this port and is still to be answered or given back, a
    /// connection request included.
    pub fn received(&self, role: Role, id: u32, callback_id: u32) -> Result<Origin, NtStatus> {
        self.is_held(role, id, callback_id)?;
        self.origin(id, callback_id).ok_or(STATUS_MESSAGE_NOT_FOUND)
    }

    /// Who sent a message (nobody, if there is none).
    pub fn sender(&self, id: u32) -> Sender {
        self.messages.get(u64::from(id)).map_or(Sender::default(), |m| m.sender)
    }

    /// Process at the other side of a connection.
    pub fn peer(&self, role: Role) -> u32 {
        match role {
            Role::Connection => 0,
            Role::Server(c) => self.connections.get(c).map_or(0, |c| c.client_process),
            Role::Client(c) => self.connections.get(c).map_or(0, |c| c.server_process),
        }
    }

    /// Messages in the queues that a port receives from.
    pub fn depth(&self, role: Role) -> u32 {
        match role {
            Role::Connection | Role::Server(_) => self.for_server(),
            Role::Client(c) => self.connections.get(c).map_or(0, Connection::for_client),
        }
    }

    /// Messages of one connection in a queue of the connection port.
    fn in_queue(&self, queue: Queue, connection: u64) -> u32 {
        let mut count = 0;
        let mut id = queue.head;
        while let Some(m) = self.messages.get(id) {
            count += u32::from(m.connection == connection);
            id = m.next;
        }
        count
    }
}
