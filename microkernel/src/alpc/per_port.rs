//! What a group keeps for some of its ports and finds by their role: what they let their peers have of their makers, the
//! memory that messages for them may lie in, who fills their completion lists.
//!
//! Whoever asks for a port that has none pays a load.

use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::status::STATUS_INSUFFICIENT_RESOURCES;
use alloc::vec::Vec;
use antares_core::alpc::Role;
use core::sync::atomic::{AtomicUsize, Ordering};

/// A connection and whether it is its client's port; none for the connection port.
type Key = Option<(u64, bool)>;

const fn key_of(role: Role) -> Key {
    match role {
        Role::Connection => None,
        Role::Client(connection) => Some((connection, true)),
        Role::Server(connection) => Some((connection, false)),
    }
}

/// See the module head.
pub struct PerPort<T> {
    /// Entries, for those who look without the lock.
    count: AtomicUsize,
    /// By ascending key.
    list: Lock<Vec<(Key, T)>, { rank::LEAF }>,
}

impl<T: Clone> PerPort<T> {
    /// Nothing.
    pub const fn new() -> Self {
        Self { count: AtomicUsize::new(0), list: Lock::new(Vec::new()) }
    }

    /// True when no port has any.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Makes room for one more. To be called, with [`PerPort::add`], under the group's lock.
    pub fn reserve(&self) -> Result<(), NtStatus> {
        self.list.lock().try_reserve(1).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
    }

    /// Takes a port's in, for which there is room. `false`: the port has one.
    pub fn add(&self, role: Role, value: T) -> bool {
        let key = key_of(role);
        let mut list = self.list.lock();
        let place = list.binary_search_by_key(&key, |entry| entry.0);
        if let Err(at) = place {
            list.insert(at, (key, value));
            self.count.store(list.len(), Ordering::Relaxed);
        }
        place.is_err()
    }

    /// A port's.
    pub fn get(&self, role: Role) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let list = self.list.lock();
        let at = list.binary_search_by_key(&key_of(role), |entry| entry.0).ok()?;
        Some(list[at].1.clone())
    }

    /// Takes a port's out.
    pub fn remove(&self, role: Role) -> Option<T> {
        let mut list = self.list.lock();
        let at = list.binary_search_by_key(&key_of(role), |entry| entry.0).ok()?;
        let (_, value) = list.remove(at);
        self.count.store(list.len(), Ordering::Relaxed);
        Some(value)
    }
}
