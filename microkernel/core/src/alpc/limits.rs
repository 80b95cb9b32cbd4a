//! What one client may take up.
//!
//! A message that nobody waits for exists until somebody receives it, answers it or releases it. So many of them as one
//! side of a connection may have, and so many bytes as its port and the connection port allow, are counted here; so are
//! those that a process has sent on server objects. A blocked thread has one message at most and is not counted.

use super::{Body, Effects, Group, Message, Role, Waiter};
use crate::{NoMemory, try_push};
use abi::status::*;
use alloc::vec::Vec;

/// Bytes that a message takes besides its payload.
pub const MESSAGE_COST: usize = 192;

/// What one side of a connection has sent.
pub(super) struct Usage {
    messages: u32,
    bytes: u64,
    most_bytes: u64,
    tracked: u32,
    /// Threads that wait until no tracked message is left.
    waiters: Vec<Waiter>,
}

impl Usage {
    /// The threads that wait until no tracked message is left.
    pub(super) fn take_waiters(&mut self) -> Vec<Waiter> {
        core::mem::take(&mut self.waiters)
    }

    pub(super) const fn new() -> Self {
        Self { messages: 0, bytes: 0, most_bytes: u64::MAX, tracked: 0, waiters: Vec::new() }
    }
}

/// What is allowed and used of a whole group.
pub(super) struct Limits {
    most: u32,
    bytes: u64,
    most_bytes: u64,
    /// Messages on server objects by sending process.
    on_objects: Vec<(u32, u32)>,
}

impl Limits {
    pub(super) const fn new(most: u32) -> Self {
        Self { most, bytes: 0, most_bytes: u64::MAX, on_objects: Vec::new() }
    }
}

impl<B: Body> Group<B> {
    /// Sets the most bytes of uncollected messages: of all at the connection port, or of those sent through a
    /// communication port (MaxPoolUsage).
    pub fn set_pool_limit(&mut self, role: Role, most_bytes: u64) {
        match role {
            Role::Connection => self.limits.most_bytes = most_bytes,
            Role::Server(c) | Role::Client(c) => {
                if let Some(c) = self.connections.get_mut(c) {
                    c.usage(matches!(role, Role::Client(_))).most_bytes = most_bytes;
                }
            }
        }
    }

    /// Counts a message that is about to be sent and that nobody waits for; its cost. STATUS_QUOTA_EXCEEDED when a limit
    /// is reached.
    pub(super) fn count(
        &mut self,
        connection: u64,
        to_client: bool,
        process: u32,
        length: usize,
    ) -> Result<u32, NtStatus> {
        let cost = (MESSAGE_COST + length) as u64;
        let most = self.limits.most;
        if !to_client && self.limits.bytes + cost > self.limits.most_bytes {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        if connection == 0 {
            match self.limits.on_objects.iter_mut().find(|(who, _)| *who == process) {
                Some((_, count)) if *count >= most => return Err(STATUS_QUOTA_EXCEEDED),
                Some((_, count)) => *count += 1,
                None => try_push(&mut self.limits.on_objects, (process, 1))
                    .map_err(|NoMemory| STATUS_INSUFFICIENT_RESOURCES)?,
            }
        } else if let Some(c) = self.connections.get_mut(connection) {
            let usage = c.usage(!to_client);
            if usage.messages >= most || usage.bytes + cost > usage.most_bytes {
                return Err(STATUS_QUOTA_EXCEEDED);
            }
            usage.messages += 1;
            usage.bytes += cost;
        }
        if !to_client {
            self.limits.bytes += cost;
        }
        Ok(cost as u32)
    }

    /// A message is gone that was counted or tracked.
    pub(super) fn uncount(&mut self, message: &Message<B>, fx: &mut impl Effects) {
        let to_client = message.sent_to_client;
        self.uncount_parts(message.connection, to_client, message.sender.process, message.cost);
        if message.tracked {
            self.untrack(message.connection, to_client, fx);
        }
    }

    pub(super) fn uncount_parts(&mut self, connection: u64, to_client: bool, process: u32, cost: u32) {
        if cost == 0 {
            return;
        }
        let bytes = u64::from(cost);
        if !to_client {
            self.limits.bytes -= bytes;
        }
        if connection == 0 {
            let senders = &mut self.limits.on_objects;
            if let Some(at) = senders.iter().position(|(who, _)| *who == process) {
                senders[at].1 -= 1;
                if senders[at].1 == 0 {
                    senders.swap_remove(at);
                }
            }
        } else if let Some(c) = self.connections.get_mut(connection) {
            let usage = c.usage(!to_client);
            usage.messages -= 1;
            usage.bytes -= bytes;
        }
    }

    /// A tracked message is about to be sent.
    pub(super) fn track(&mut self, connection: u64, to_client: bool) {
        if let Some(c) = self.connections.get_mut(connection) {
            c.usage(!to_client).tracked += 1;
        }
    }

    fn untrack(&mut self, connection: u64, to_client: bool, fx: &mut impl Effects) {
        let Some(c) = self.connections.get_mut(connection) else { return };
        let usage = c.usage(!to_client);
        usage.tracked -= 1;
        if usage.tracked == 0 {
            for waiter in core::mem::take(&mut usage.waiters) {
                fx.wake(waiter, STATUS_SUCCESS, false);
            }
        }
    }

    fn tracked(&mut self, role: Role) -> Option<&mut Usage> {
        match role {
            Role::Connection => None,
            Role::Server(c) | Role::Client(c) => {
                Some(self.connections.get_mut(c)?.usage(matches!(role, Role::Client(_))))
            }
        }
    }

    /// Publishes a thread that waits until no tracked message is left that was sent through a communication port.
    /// `false`: there is none. STATUS_PORT_CLOSED: the port was closed, so nobody would be there to be told;
    /// STATUS_INSUFFICIENT_RESOURCES: no memory.
    pub fn wait_references(&mut self, role: Role, waiter: Waiter) -> Result<bool, NtStatus> {
        let open = match role {
            Role::Connection => true,
            Role::Server(connection) => self.connections.get(connection).is_some_and(|c| c.server_open),
            Role::Client(connection) => self.connections.get(connection).is_some_and(|c| c.client_open),
        };
        if !open {
            return Err(STATUS_PORT_CLOSED);
        }
        match self.tracked(role).filter(|usage| usage.tracked > 0) {
            Some(usage) => try_push(&mut usage.waiters, waiter)
                .map(|()| true)
                .map_err(|NoMemory| STATUS_INSUFFICIENT_RESOURCES),
            None => Ok(false),
        }
    }

    /// Such a thread gives up.
    pub fn end_references(&mut self, role: Role, waiter: Waiter) {
        if let Some(usage) = self.tracked(role) {
            usage.waiters.retain(|w| *w != waiter);
        }
    }
}
