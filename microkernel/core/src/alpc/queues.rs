//! The queues of a port and who is woken for what lies in them.
//!
//! A queue is a list through the messages themselves: the main queue of the connection port, and one for each client.
//! Everything that links or unlinks a message goes through here, so that a port is readable exactly while a receive
//! would not wait, and no waiter sleeps beside a message that it may take.

use super::{Body, ConnectionState, Effects, Group, MESSAGES, Message, NO_LINK, Place, Queue};
use abi::status::*;

impl<B: Body> Group<B> {
    pub(super) fn message(&mut self, id: u64) -> &mut Message<B> {
        self.messages.get_mut(id).expect("a linked message exists")
    }

    pub(super) fn queue(&mut self, to_client: bool, connection: u64) -> Option<&mut Queue> {
        if to_client {
            self.connections.get_mut(connection).map(|c| &mut c.client_queue)
        } else {
            Some(&mut self.main)
        }
    }

    pub(super) fn link(&mut self, id: u64, at_head: bool, fx: &mut impl Effects) {
        let (to_client, connection) = {
            let m = self.message(id);
            m.place = Place::Queued;
            (m.to_client, m.connection)
        };
        let Some(queue) = self.queue(to_client, connection) else { return };
        let (head, tail) = (queue.head, queue.tail);
        queue.count += 1;
        let first = queue.count == 1;
        if at_head || tail == NO_LINK {
            queue.head = id;
        }
        if !at_head || tail == NO_LINK {
            queue.tail = id;
        }
        let (prev, next) = if at_head { (NO_LINK, head) } else { (tail, NO_LINK) };
        let m = self.message(id);
        (m.prev, m.next) = (prev, next);
        if prev != NO_LINK {
            self.message(prev).next = id;
        }
        if next != NO_LINK {
            self.message(next).prev = id;
        }
        if to_client {
            if let Some(c) = self.connections.get(connection).filter(|_| first) {
                fx.readable(c.client_object, true);
            }
        } else {
            if first {
                fx.readable(self.object, true);
            }
            if let Some(c) = self.connections.get_mut(connection) {
                c.in_main += 1;
                if c.in_main == 1 && c.server_open {
                    fx.readable(c.server_object, true);
                }
            }
        }
    }

    pub(super) fn unlink(&mut self, id: u64, fx: &mut impl Effects) {
        let m = self.message(id);
        let (prev, next, to_client, connection) = (m.prev, m.next, m.to_client, m.connection);
        (m.prev, m.next) = (NO_LINK, NO_LINK);
        if prev != NO_LINK {
            self.message(prev).next = next;
        }
        if next != NO_LINK {
            self.message(next).prev = prev;
        }
        let Some(queue) = self.queue(to_client, connection) else { return };
        if queue.head == id {
            queue.head = next;
        }
        if queue.tail == id {
            queue.tail = prev;
        }
        queue.count -= 1;
        let empty = queue.count == 0;
        if to_client {
            if let Some(c) = self.connections.get(connection).filter(|_| empty) {
                fx.readable(
                    c.client_object,
                    c.state != ConnectionState::Connected && c.state != ConnectionState::Pending,
                );
            }
        } else {
            if empty {
                fx.readable(self.object, false);
            }
            if let Some(c) = self.connections.get_mut(connection) {
                c.in_main -= 1;
                if c.in_main == 0 && c.server_open {
                    fx.readable(c.server_object, c.state == ConnectionState::Disconnected);
                }
            }
        }
    }

    /// Wakes one thread that may receive a message just queued.
    pub(super) fn notify(&mut self, to_client: bool, connection: u64, soon: bool, fx: &mut impl Effects) {
        let waiter = if to_client {
            let Some(c) = self.connections.get_mut(connection).filter(|c| !c.client_waiters.is_empty())
            else {
                return;
            };
            c.client_waiters.remove(0)
        } else {
            let Some(at) = self.waiters.iter().position(|(filter, _)| *filter == 0 || *filter == connection)
            else {
                return;
            };
            self.waiters.remove(at).1
        };
        fx.wake(waiter, STATUS_SUCCESS, soon);
    }

    /// Wakes one thread that may receive what is queued, for one that was chosen but takes nothing.
    pub(super) fn pass_turn(&mut self, to_client: bool, connection: u64, fx: &mut impl Effects) {
        if to_client {
            if self.connections.get(connection).is_some_and(|c| c.client_queue.count > 0) {
                self.notify(true, connection, false, fx);
            }
            return;
        }
        if self.waiters.is_empty() {
            return;
        }
        let mut id = self.main.head;
        while let Some(m) = self.messages.get(id) {
            let (from, next) = (m.connection, m.next);
            if self.waiters.iter().any(|(filter, _)| *filter == 0 || *filter == from) {
                self.notify(false, from, false, fx);
                return;
            }
            id = next;
        }
    }

    pub(super) fn post(&mut self, id: u64, soon: bool, fx: &mut impl Effects) {
        self.link(id, false, fx);
        let m = self.message(id);
        let (to_client, connection) = (m.to_client, m.connection);
        self.notify(to_client, connection, soon, fx);
    }

    pub(super) fn add_message(&mut self, message: Message<B>) -> Result<u64, NtStatus> {
        // A full table is a queue that nobody empties, not the system's lack of memory.
        let full = self.messages.len() >= MESSAGES;
        let refused = if full { STATUS_QUOTA_EXCEEDED } else { STATUS_INSUFFICIENT_RESOURCES };
        self.messages.insert(message).map_err(|_| refused)
    }

    /// Takes a message out of wherever it is.
    pub(super) fn remove_message(&mut self, id: u64, fx: &mut impl Effects) -> Option<Message<B>> {
        if self.messages.get(id)?.place == Place::Queued {
            self.unlink(id, fx);
        }
        self.messages.remove(id)
    }
}
