//! What a thread's last message went through: the outcome of looking its handle up, kept for the next one.
//!
//! Used by [`crate::alpc::fastpath`] alone, for the current thread. It holds as long as no handle of the process has been
//! taken away since; then the handle is looked up again. It keeps the port object alive, not open: a port closes with its
//! handles whoever remembers it. A thread forgets it when it closes that handle, and when it ends.

use crate::alpc::group::GroupCell;
use crate::ob::handles::{Endpoint, HandleTable};
use abi::arg::Handle;
use antares_core::alpc::{ObjectContext, Role};
use core::cell::{Cell, UnsafeCell};
use core::ptr::null;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Set while no route is found, so that everything goes the long way.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// What a message can go through.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    None,
    /// A client's port.
    Client,
    /// A server communication port, or a connection port.
    Server,
    /// A server object.
    Object,
}

/// See the module head.
pub struct Route {
    handle: Cell<u64>,
    version: Cell<u64>,
    kind: Cell<Kind>,
    group: Cell<*const GroupCell>,
    connection: Cell<u64>,
    /// Longest message that the port takes.
    longest: Cell<*const AtomicU32>,
    /// Id of the port, for listings.
    port: Cell<u32>,
    /// Index of the message that served its last request.
    pub message: Cell<u32>,
    endpoint: UnsafeCell<Option<Endpoint>>,
}

// SAFETY: only the thread that has it uses it.
unsafe impl Sync for Route {}
// SAFETY: the pointers are into the endpoint's group and port, which may go from processor to processor.
unsafe impl Send for Route {}

/// With `false`, no thread finds a route any more.
pub fn enable(on: bool) {
    CLOSED.store(!on, Ordering::Relaxed);
}

impl Route {
    /// Nothing remembered.
    pub const fn new() -> Self {
        Self {
            handle: Cell::new(0),
            version: Cell::new(0),
            kind: Cell::new(Kind::None),
            group: Cell::new(null()),
            connection: Cell::new(0),
            longest: Cell::new(null()),
            port: Cell::new(0),
            message: Cell::new(0),
            endpoint: UnsafeCell::new(None),
        }
    }

    /// What `handle` of `table` stands for, which is remembered from then on.
    #[inline(always)]
    pub fn find(&self, handle: u64, table: &HandleTable) -> Kind {
        if self.handle.get() == handle && self.version.get() == table.version() {
            self.kind.get()
        } else {
            self.look_up(handle, table)
        }
    }

    #[cold]
    fn look_up(&self, handle: u64, table: &HandleTable) -> Kind {
        self.forget();
        let version = table.version();
        if CLOSED.load(Ordering::Relaxed) {
            return Kind::None;
        }
        let Ok(endpoint) = table.endpoint(Handle(handle)) else { return Kind::None };
        let (kind, group) = match &endpoint {
            Endpoint::Port(port) => {
                self.longest.set(port.longest());
                self.port.set(port.id);
                let kind = match port.role {
                    Role::Client(connection) => {
                        self.connection.set(connection);
                        Kind::Client
                    }
                    Role::Server(connection) => {
                        self.connection.set(connection);
                        Kind::Server
                    }
                    Role::Connection => Kind::Server,
                };
                (kind, &raw const *port.group)
            }
            Endpoint::Object(group, _) => {
                self.port.set(group.id);
                (Kind::Object, &raw const **group)
            }
        };
        // SAFETY: only this thread uses it, and no reference into it is in use while a handle is looked up.
        unsafe { *self.endpoint.get() = Some(endpoint) };
        self.handle.set(handle);
        self.version.set(version);
        self.kind.set(kind);
        self.group.set(group);
        kind
    }

    /// Forgets what is remembered.
    pub fn forget(&self) {
        self.handle.set(0);
        // No table has this version.
        self.version.set(0);
        self.kind.set(Kind::None);
        self.group.set(null());
        self.connection.set(0);
        self.longest.set(null());
        self.message.set(0);
        // SAFETY: as in `look_up`.
        drop(unsafe { (*self.endpoint.get()).take() });
    }

    /// Forgets it if it is for this handle.
    pub fn forget_handle(&self, handle: Handle) {
        if self.handle.get() == handle.0 {
            self.forget();
        }
    }

    /// The group, once [`Route::find`] found something.
    #[inline(always)]
    pub fn group(&self) -> &GroupCell {
        // SAFETY: not null then, and in a group that the endpoint keeps alive.
        unsafe { &*self.group.get() }
    }

    /// The connection, once [`Route::find`] found a communication port; else 0.
    #[inline(always)]
    pub fn connection(&self) -> u64 {
        self.connection.get()
    }

    /// Longest message, header included, once [`Route::find`] found a port.
    #[inline(always)]
    pub fn longest(&self) -> u64 {
        // SAFETY: not null then, and in a port that the endpoint keeps alive.
        u64::from(unsafe { &*self.longest.get() }.load(Ordering::Relaxed))
    }

    /// Id of what it goes through, for listings.
    #[inline(always)]
    pub fn port_id(&self) -> u32 {
        self.port.get()
    }

    /// What it goes through, once [`Route::find`] found something.
    #[inline(always)]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        // SAFETY: nobody changes it while the caller, which is this thread in one system call, uses it.
        unsafe { (*self.endpoint.get()).as_ref() }
    }

    /// The server object that it goes through, once [`Route::find`] found one.
    pub fn object(&self) -> Option<ObjectContext> {
        match self.endpoint() {
            Some(Endpoint::Object(_, object)) => Some(*object),
            _ => None,
        }
    }
}
