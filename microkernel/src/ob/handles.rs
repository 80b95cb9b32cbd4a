//! Handle tables: (object, granted access, attributes) per process.
//!
//! A handle's value is the table key times four, so the two low bits are free for tags and 0 is none. It fits 32 bits.
//! Keys carry a generation: a stale handle is refused; its value comes back only after all 2^30 others of the table. Type and access are checked here, once.

use crate::alpc::group::GroupRef;
use crate::alpc::port::Port;
use crate::kref::Ref;
use crate::ob::{HandleRef, Object};
use crate::quota::{Kind, QuotaBlock};
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::arg::{Handle, Req};
use abi::ob::*;
use abi::status::*;
use antares_core::alpc::ObjectContext;
use antares_core::table::Table;
use core::sync::atomic::{AtomicU64, Ordering};

/// What an entry refers to.
pub enum Target {
    /// A handle that keeps the object open.
    Open(HandleRef),
    /// A name server's handle, which does not; the reserved notice goes with it.
    Name(Object),
}

impl Target {
    /// The object.
    pub fn object(&self) -> &Object {
        match self {
            Self::Open(handle) => handle.object(),
            Self::Name(object) => object,
        }
    }
}

/// An entry of a handle table.
pub struct Entry {
    /// Object.
    pub target: Target,
    /// Granted access.
    pub access: u32,
    /// OBJ_INHERIT and OBJ_PROTECT_CLOSE.
    pub attributes: u32,
}

type Entries = Table<Entry, 16, 14>;

/// Handles in all tables.
pub static TOTAL: AtomicU64 = AtomicU64::new(0);

/// Slots of a table are charged in steps of this many.
const CHARGE_STEP: usize = 64;
/// Kernel memory of a slot.
const SLOT_BYTES: u64 = 48;

struct Inner {
    entries: Entries,
    shut: bool,
    quota: Option<Ref<QuotaBlock>>,
    /// Slots charged; a table never shrinks before it goes.
    charged: usize,
}

impl Inner {
    /// Charges for one slot more than there are.
    fn charge(&mut self) -> Result<(), NtStatus> {
        if self.entries.slots() >= self.charged {
            if let Some(quota) = &self.quota {
                quota.charge(Kind::Pool, CHARGE_STEP as u64 * SLOT_BYTES)?;
            }
            self.charged += CHARGE_STEP;
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(quota) = &self.quota {
            quota.release(Kind::Pool, self.charged as u64 * SLOT_BYTES);
        }
    }
}

/// A process's handles.
pub struct HandleTable {
    /// Goes up, under the lock, with each entry that is taken out.
    version: AtomicU64,
    inner: Lock<Inner, { rank::HANDLES }>,
}

fn key(handle: Handle) -> u64 {
    handle.0 >> 2
}

/// What a message is sent or received on: a port handle with all access, or a server object's handle with any.
pub enum Endpoint {
    /// A port.
    Port(Ref<Port>),
    /// A server object.
    Object(GroupRef, ObjectContext),
}

/// A reference to the right kind of object.
pub trait Typed: Sized {
    /// Takes the reference out of an object, if it is of this type.
    fn from_object(object: &Object) -> Option<Self>;
}

macro_rules! typed {
    ($($variant:ident $t:ty;)*) => {$(
        impl Typed for Ref<$t> {
            fn from_object(object: &Object) -> Option<Self> {
                match object {
                    Object::$variant(o) => Some(o.clone()),
                    _ => None,
                }
            }
        }
    )*};
}
typed! {
    Process crate::ps::process::Process;
    Thread crate::ps::thread::Thread;
    Event crate::ke::event::Event;
    Section crate::mm::section::Section;
    Port crate::alpc::port::Port;
    Server crate::alpc::port::ServerObject;
    Resource crate::io::Resource;
    Interrupt crate::io::Interrupt;
    Token crate::se::token::Token;
    IoCompletion crate::ke::completion::IoCompletion;
}

impl HandleTable {
    /// An empty table, charged to a quota block.
    pub fn new(quota: Ref<QuotaBlock>) -> Self {
        let inner = Inner { entries: Entries::reviving(), shut: false, quota: Some(quota), charged: 0 };
        Self { version: AtomicU64::new(1), inner: Lock::new(inner) }
    }

    /// Charges another quota block for it.
    pub fn set_quota(&self, block: &Ref<QuotaBlock>) -> Result<(), NtStatus> {
        let mut inner = self.inner.lock();
        let bytes = inner.charged as u64 * SLOT_BYTES;
        block.charge(Kind::Pool, bytes)?;
        let old = inner.quota.replace(block.clone());
        if let Some(old) = &old {
            old.release(Kind::Pool, bytes);
        }
        drop(inner);
        drop(old);
        Ok(())
    }

    /// As long as this does not change, a handle that was in the table is in it.
    #[inline(always)]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn entry_goes(&self) {
        self.version.store(self.version.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// Handles in the table.
    pub fn len(&self) -> usize {
        self.inner.lock().entries.len()
    }

    /// Puts an entry in, at most `limit` of them.
    pub fn insert(&self, entry: Entry, limit: u64) -> Result<Handle, NtStatus> {
        let mut table = self.inner.lock();
        let refused = if table.shut {
            STATUS_PROCESS_IS_TERMINATING
        } else if table.entries.len() as u64 >= limit {
            STATUS_QUOTA_EXCEEDED
        } else if let Err(status) = table.charge() {
            status
        } else {
            match table.entries.insert(entry) {
                Ok(key) => {
                    TOTAL.fetch_add(1, Ordering::Relaxed);
                    return Ok(Handle(key << 2));
                }
                Err(entry) => {
                    drop(table);
                    drop(entry);
                    return Err(STATUS_INSUFFICIENT_RESOURCES);
                }
            }
        };
        drop(table);
        drop(entry);
        Err(refused)
    }

    /// Calls `with` on an entry.
    pub fn with<R>(
        &self,
        handle: Handle,
        with: impl FnOnce(&mut Entry) -> Result<R, NtStatus>,
    ) -> Result<R, NtStatus> {
        let mut table = self.inner.lock();
        with(table.entries.get_mut(key(handle)).ok_or(STATUS_INVALID_HANDLE)?)
    }

    /// Looks a handle up to send or receive on.
    pub fn endpoint(&self, handle: Handle) -> Result<Endpoint, NtStatus> {
        let table = self.inner.lock();
        let entry = table.entries.get(key(handle)).ok_or(STATUS_INVALID_HANDLE)?;
        let Target::Open(open) = &entry.target else { return Err(STATUS_OBJECT_TYPE_MISMATCH) };
        match open.object() {
            Object::Port(_) if entry.access & PORT_ALL_ACCESS != PORT_ALL_ACCESS => Err(STATUS_ACCESS_DENIED),
            Object::Port(port) => Ok(Endpoint::Port(port.clone())),
            Object::Server(server) => {
                let context = ObjectContext { access: entry.access, ..server.object };
                Ok(Endpoint::Object(server.group.clone(), context))
            }
            _ => Err(STATUS_OBJECT_TYPE_MISMATCH),
        }
    }

    /// The object of a handle that must be open, of type `T`, and grant `access`; with the access it grants.
    pub fn get<T: Typed>(&self, handle: Handle, access: u32) -> Result<(T, u32), NtStatus> {
        if matches!(handle, Handle::CURRENT_PROCESS | Handle::CURRENT_THREAD) {
            // The calls that take pseudo handles have looked for them before.
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        }
        self.with(handle, |entry| {
            let Target::Open(open) = &entry.target else { return Err(STATUS_OBJECT_TYPE_MISMATCH) };
            let object = T::from_object(open.object()).ok_or(STATUS_OBJECT_TYPE_MISMATCH)?;
            if entry.access & access != access {
                return Err(STATUS_ACCESS_DENIED);
            }
            Ok((object, entry.access))
        })
    }

    /// The object of an argument that states what it needs.
    pub fn need<T: Typed, const TYPE: u8, const ACCESS: u32>(
        &self,
        handle: Req<TYPE, ACCESS>,
    ) -> Result<T, NtStatus> {
        self.get(handle.0, ACCESS).map(|(object, _)| object)
    }

    /// Takes an entry out, unless it is protected.
    pub fn remove(&self, handle: Handle) -> Result<Entry, NtStatus> {
        let mut table = self.inner.lock();
        let entry = table.entries.get(key(handle)).ok_or(STATUS_INVALID_HANDLE)?;
        if entry.attributes & OBJ_PROTECT_CLOSE != 0 {
            return Err(STATUS_HANDLE_NOT_CLOSABLE);
        }
        let entry = table.entries.remove(key(handle)).ok_or(STATUS_INVALID_HANDLE)?;
        self.entry_goes();
        TOTAL.fetch_sub(1, Ordering::Relaxed);
        Ok(entry)
    }

    /// Takes an entry out, protected or not: for one that its process never learned of.
    pub fn take(&self, handle: Handle) -> Option<Entry> {
        let mut table = self.inner.lock();
        let entry = table.entries.remove(key(handle))?;
        self.entry_goes();
        TOTAL.fetch_sub(1, Ordering::Relaxed);
        Some(entry)
    }

    /// Closes the table: no more inserts. Then [`HandleTable::take_any`] empties it.
    pub fn shut(&self) {
        self.inner.lock().shut = true;
    }

    /// Takes some entry out of a shut table.
    pub fn take_any(&self, from: &mut u32) -> Option<Entry> {
        let mut table = self.inner.lock();
        let key = table.entries.next_key(*from)?;
        *from = Entries::index_of(key);
        self.entry_goes();
        TOTAL.fetch_sub(1, Ordering::Relaxed);
        table.entries.remove(key)
    }

    /// The handle at or after a table index, and the index to go on with.
    pub fn next(&self, from: u32) -> Option<(Handle, u32)> {
        let key = self.inner.lock().entries.next_key(from)?;
        Some((Handle(key << 2), Entries::index_of(key) + 1))
    }

    /// Copies the inheritable entries of `parent` into this (new) table, at the same values.
    pub fn inherit(&self, parent: &HandleTable) -> Result<(), NtStatus> {
        let mut from = 0;
        let mut copies = Entries::reviving();
        loop {
            let parent = parent.inner.lock();
            let Some(at) = parent.entries.next_key(from) else { break };
            from = Entries::index_of(at) + 1;
            let entry = parent.entries.get(at).ok_or(STATUS_INVALID_HANDLE)?;
            let Target::Open(open) = &entry.target else { continue };
            if entry.attributes & OBJ_INHERIT == 0 {
                continue;
            }
            let copy = Entry {
                target: Target::Open(open.another(entry.access)),
                access: entry.access,
                attributes: entry.attributes,
            };
            drop(parent);
            copies.insert_at(at, copy).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        }
        let mut inner = self.inner.lock();
        if inner.shut || !inner.entries.is_empty() {
            // Somebody found the half-made process by its id, and ended it or gave it a handle.
            return Err(STATUS_PROCESS_IS_TERMINATING);
        }
        while inner.charged < copies.slots() {
            if let Some(quota) = &inner.quota {
                quota.charge(Kind::Pool, CHARGE_STEP as u64 * SLOT_BYTES)?;
            }
            inner.charged += CHARGE_STEP;
        }
        TOTAL.fetch_add(copies.len() as u64, Ordering::Relaxed);
        inner.entries = copies;
        Ok(())
    }
}
