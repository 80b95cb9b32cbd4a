//! The queues of a port and who is woken for what lies in them.
//!
//! A queue is a list through the messages themselves. The connection port and each client have three: the main queue,
//! the queue of messages that were too large for a receiver, and that of notices of cancellation. Everything that links
//! or unlinks a message goes through here, so that a port is readable exactly while a receive would not wait, and no
//! waiter sleeps beside a message that it may take.

use super::{Body, ConnectionState, Effects, Group, MESSAGES, Message, NO_LINK, Place, Queue};
use abi::status::*;

impl<B: Body> Group<B> {
    pub(super) fn message(&mut self, id: u64) -> &mut Message<B> {
        self.messages.get_mut(id).expect("a linked message exists")
    }

    fn queue(&mut self, place: Place, to_client: bool, connection: u64) -> Option<&mut Queue> {
        if to_client {
            let c = self.connections.get_mut(connection)?;
            Some(match place {
                Place::Large => &mut c.client_large,
                Place::Canceled => &mut c.client_canceled,
                _ => &mut c.client_queue,
            })
        } else {
            Some(match place {
                Place::Large => &mut self.large,
                Place::Canceled => &mut self.canceled,
                _ => &mut self.main,
            })
        }
    }

    /// Messages in the queues of the connection port.
    pub(super) const fn for_server(&self) -> u32 {
        self.queued
    }

    /// Puts a message into the queue for its place.
    pub(super) fn link(&mut self, id: u64, place: Place, at_head: bool, fx: &mut impl Effects) {
        let (to_client, connection) = {
            let m = self.message(id);
            m.place = place;
            (m.to_client, m.connection)
        };
        let Some(queue) = self.queue(place, to_client, connection) else { return };
        let (head, tail) = (queue.head, queue.tail);
        queue.count += 1;
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
            if let Some(c) = self.connections.get(connection) {
                if c.for_client() == 1 {
                    fx.readable(c.client_object, true);
                }
                fx.arrived(c.client_completion, 1);
            }
        } else {
            self.queued += 1;
            if self.queued == 1 {
                fx.readable(self.object, true);
            }
            fx.arrived(self.completion, 1);
            if let Some(c) = self.connections.get_mut(connection) {
                c.in_main += 1;
                if c.in_main == 1 && c.server_open {
                    fx.readable(c.server_object, true);
                }
                fx.arrived(c.server_completion, 1);
            }
        }
    }

    pub(super) fn unlink(&mut self, id: u64, fx: &mut impl Effects) {
        let m = self.message(id);
        let (place, prev, next, to_client, connection) = (m.place, m.prev, m.next, m.to_client, m.connection);
        (m.prev, m.next) = (NO_LINK, NO_LINK);
        if prev != NO_LINK {
            self.message(prev).next = next;
        }
        if next != NO_LINK {
            self.message(next).prev = prev;
        }
        let Some(queue) = self.queue(place, to_client, connection) else { return };
        if queue.head == id {
            queue.head = next;
        }
        if queue.tail == id {
            queue.tail = prev;
        }
        queue.count -= 1;
        if to_client {
            if let Some(c) = self.connections.get(connection).filter(|c| c.for_client() == 0) {
                fx.readable(
                    c.client_object,
                    c.state != ConnectionState::Connected && c.state != ConnectionState::Pending,
                );
            }
        } else {
            self.queued -= 1;
            if self.queued == 0 {
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
            if self.connections.get(connection).is_some_and(|c| c.for_client() > 0) {
                self.notify(true, connection, false, fx);
            }
            return;
        }
        if self.waiters.is_empty() {
            return;
        }
        for mut id in [self.canceled.head, self.large.head, self.main.head] {
            while let Some(m) = self.messages.get(id) {
                let (from, next) = (m.connection, m.next);
                if self.waiters.iter().any(|(filter, _)| *filter == 0 || *filter == from) {
                    self.notify(false, from, false, fx);
                    return;
                }
                id = next;
            }
        }
    }

    /// Queues a message and wakes a thread for it.
    pub(super) fn post(&mut self, id: u64, place: Place, soon: bool, fx: &mut impl Effects) {
        self.link(id, place, false, fx);
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

    /// Takes a message out of wherever it is. Threads that are called back in its course learn that no answer will come.
    pub(super) fn remove_message(&mut self, id: u64, fx: &mut impl Effects) -> Option<Message<B>> {
        let removed = self.detach(id, fx)?;
        self.lose_callbacks(removed.callback, STATUS_LPC_REPLY_LOST, fx);
        Some(removed)
    }

    /// Ends a chain of call backs that begins with this one.
    pub(super) fn lose_callbacks(&mut self, mut callback: u64, status: NtStatus, fx: &mut impl Effects) {
        while let Some(lost) = self.detach(callback, fx) {
            lost.wake_sender(status, fx);
            callback = lost.callback;
        }
    }

    /// A call back is answered or gone: the request that it was made for may be answered.
    pub(super) fn leave_parent(&mut self, id: u64) {
        let parent = self.messages.get(id).map_or(0, |m| m.parent);
        if let Some(above) = self.messages.get_mut(parent).filter(|above| above.callback == id) {
            above.callback = 0;
        }
    }

    /// Takes one message out; what depends on it is the caller's business. One that was sent with a reserve goes back there.
    pub(super) fn detach(&mut self, id: u64, fx: &mut impl Effects) -> Option<Message<B>> {
        let m = self.messages.get(id)?;
        let (place, reserve) = (m.place, m.reserve);
        if place.is_queue() {
            self.unlink(id, fx);
        }
        self.leave_parent(id);
        let removed = if reserve == 0 { self.messages.remove(id) } else { self.return_to_reserve(id) }?;
        self.uncount(&removed, fx);
        Some(removed)
    }
}

impl<B> Message<B> {
    /// Wakes its blocked sender, unless that is on its way already.
    pub(super) fn wake_sender(&self, status: NtStatus, fx: &mut impl Effects) {
        if let Some(waiter) = self.waiter.filter(|_| !self.called) {
            fx.wake(waiter, status, false);
        }
    }
}
