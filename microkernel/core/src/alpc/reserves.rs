//! Resource reserves: a message and its memory, set aside by a program so that it can be sent when there is none.
//!
//! A reserve belongs to one side of a connection. Its id has the highest bit, which no message's id has. While idle it
//! keeps a slot of the message table and an empty body; a message that is sent with it has that slot under an id of its
//! own, and both come back when the message is gone, wherever it went.

use super::{Body, Effects, Group, Message, Place, Post, Role, Sender};
use crate::table::Table;
use abi::status::*;

/// Tells a reserve's id from a message's.
const RESERVE: u32 = 0x8000_0000;
/// Most reserves of one side of a connection.
const MOST: u32 = 64;

/// One reserve.
pub(super) struct Reserve<B> {
    connection: u64,
    of_client: bool,
    /// Payload bytes that its body has room for.
    size: usize,
    /// Key of its slot in the message table.
    slot: u64,
    body: Option<B>,
    /// Taken, or in a message.
    busy: bool,
    /// Goes when it comes back.
    deleted: bool,
}

pub(super) type Reserves<B> = Table<Reserve<B>, 12, 19>;

impl<B: Body> Group<B> {
    fn reserve_key(&self, role: Role, id: u32) -> Option<u64> {
        let key = u64::from(id & !RESERVE);
        let (connection, of_client) = match role {
            Role::Connection => return None,
            Role::Server(connection) => (connection, false),
            Role::Client(connection) => (connection, true),
        };
        let r = self.reserves.get(key).filter(|_| id & RESERVE != 0)?;
        (r.connection == connection && r.of_client == of_client && !r.deleted).then_some(key)
    }

    /// Reserves that one side of a connection has.
    pub fn reserve_count(&self, role: Role) -> u32 {
        let (connection, of_client) = match role {
            Role::Connection => return 0,
            Role::Server(connection) => (connection, false),
            Role::Client(connection) => (connection, true),
        };
        let mine =
            self.reserves.iter().filter(|(_, r)| r.connection == connection && r.of_client == of_client);
        mine.filter(|(_, r)| !r.deleted).count() as u32
    }

    /// True when this is the id of a reserve of this port.
    pub fn is_reserve(&self, role: Role, id: u32) -> bool {
        self.reserve_key(role, id).is_some()
    }

    /// Sets a message with room for `size` payload bytes aside; `body` has that room. Returns its id.
    ///
    /// STATUS_INVALID_PORT_HANDLE: a connection port. STATUS_PORT_DISCONNECTED: no connection. STATUS_QUOTA_EXCEEDED: the
    /// port has 64.
    pub fn create_reserve(&mut self, role: Role, size: usize, body: B) -> Result<u32, NtStatus> {
        if role == Role::Connection {
            return Err(STATUS_INVALID_PORT_HANDLE);
        }
        let (connection, to_client) = self.direction(role)?;
        let of_client = !to_client;
        let mine =
            self.reserves.iter().filter(|(_, r)| r.connection == connection && r.of_client == of_client);
        if mine.count() >= MOST as usize {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        let slot = self.add_message(Message::new(0, Sender::default(), connection, to_client))?;
        let reserve =
            Reserve { connection, of_client, size, slot, body: Some(body), busy: false, deleted: false };
        match self.reserves.insert(reserve) {
            Ok(key) => Ok(key as u32 | RESERVE),
            Err(_) => {
                self.messages.remove(slot);
                Err(STATUS_INSUFFICIENT_RESOURCES)
            }
        }
    }

    /// Deletes a reserve; one that is in use goes when its message is gone. STATUS_INVALID_PARAMETER: there is none.
    pub fn delete_reserve(&mut self, role: Role, id: u32) -> Result<(), NtStatus> {
        let key = self.reserve_key(role, id).ok_or(STATUS_INVALID_PARAMETER)?;
        self.drop_reserve(key);
        Ok(())
    }

    fn drop_reserve(&mut self, key: u64) {
        let Some(r) = self.reserves.get_mut(key) else { return };
        r.deleted = true;
        if !r.busy {
            let slot = r.slot;
            self.messages.remove(slot);
            self.reserves.remove(key);
        }
    }

    /// The reserves of one side of a connection go.
    pub(super) fn drop_reserves(&mut self, connection: u64, of_client: bool) {
        let mut index = 0;
        while let Some(key) = self.reserves.next_key(index) {
            index = Reserves::<B>::index_of(key) + 1;
            if self.reserves.get(key).is_some_and(|r| r.connection == connection && r.of_client == of_client)
            {
                self.drop_reserve(key);
            }
        }
    }

    /// Takes a reserve's body, to be filled and sent with [`Group::send_reserved`] or put back with
    /// [`Group::cancel_reserve`].
    ///
    /// STATUS_MESSAGE_NOT_FOUND: no such reserve. STATUS_INSUFFICIENT_RESOURCES: it is in use.
    /// STATUS_PORT_MESSAGE_TOO_LONG: `length` is more than it was made for.
    pub fn begin_reserve(&mut self, role: Role, id: u32, length: usize) -> Result<B, NtStatus> {
        let key = self.reserve_key(role, id).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        let r = self.reserves.get_mut(key).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        if r.busy {
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        if length > r.size {
            return Err(STATUS_PORT_MESSAGE_TOO_LONG);
        }
        r.busy = true;
        r.body.take().ok_or(STATUS_INSUFFICIENT_RESOURCES)
    }

    /// Puts a body back that was not sent.
    pub fn cancel_reserve(&mut self, id: u32, body: B) {
        let key = u64::from(id & !RESERVE);
        self.return_body(key, Some(body));
        self.idle(key);
    }

    /// As [`Group::send`], with a body taken from a reserve; takes no memory. The body comes back on an error.
    pub fn send_reserved(
        &mut self,
        role: Role,
        id: u32,
        post: &Post,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<u32, NtStatus> {
        let key = u64::from(id & !RESERVE);
        let sends = self.direction(role);
        let ((connection, to_client), Some(slot)) =
            (*sends.as_ref().unwrap_or(&(0, false)), self.reserves.get(key).map(|r| r.slot))
        else {
            return Err(STATUS_MESSAGE_NOT_FOUND);
        };
        if let Err(status) = sends {
            self.cancel_reserve(id, body);
            return Err(status);
        }
        *self.message(slot) =
            Message { body: Some(body), reserve: key, ..post.message(connection, to_client) };
        if post.tracked {
            self.track(connection, to_client);
        }
        self.post(slot, Place::Queued, post.waiter.is_some(), fx);
        Ok(slot as u32)
    }

    /// A body comes back to its reserve, unless that has it already.
    pub(super) fn return_body(&mut self, key: u64, body: Option<B>) {
        if let Some((r, mut body)) = self.reserves.get_mut(key).filter(|r| r.body.is_none()).zip(body) {
            body.recycle();
            r.body = Some(body);
        }
    }

    /// A message that was sent with a reserve is gone; its slot gets another id. If its body is out with a receiver, the
    /// slot stays until that has ended its delivery.
    pub(super) fn return_to_reserve(&mut self, id: u64) -> Option<Message<B>> {
        let m = self.messages.get_mut(id)?;
        let key = m.reserve;
        let blank = Message::new(0, Sender::default(), m.connection, m.to_client);
        if m.place == Place::Delivering {
            let left = Message {
                waiter: m.waiter.take(),
                callback: core::mem::take(&mut m.callback),
                called: m.called,
                tracked: core::mem::take(&mut m.tracked),
                sent_to_client: m.sent_to_client,
                ..blank
            };
            m.gone = true;
            return Some(left);
        }
        let mut gone = core::mem::replace(m, blank);
        if self.reserves.get(key).is_some_and(|r| r.body.is_none()) {
            self.return_body(key, gone.body.take());
        }
        let renewed = self.messages.renew(id).unwrap_or_default();
        if let Some(r) = self.reserves.get_mut(key) {
            r.slot = renewed;
        }
        self.idle(key);
        Some(gone)
    }

    fn idle(&mut self, key: u64) {
        let Some(r) = self.reserves.get_mut(key) else { return };
        r.busy = false;
        if r.deleted {
            self.drop_reserve(key);
        }
    }
}
