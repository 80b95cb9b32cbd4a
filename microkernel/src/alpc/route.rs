//! What a thread's last message went through: the outcome of looking its handle up, kept for the next one.
//!
//! Used by [`crate::alpc::fastpath`] alone, for the current thread. It holds as long as no handle of the process has been
//! taken away since; then the handle is looked up again. It keeps the port object alive, not open: a port closes with its
//! handles whoever remembers it. A thread forgets it when it closes that handle, and when it ends.

use crate::alpc::group::GroupCell;
use crate::ob::handles::{Endpoint, HandleTable};
use abi::arg::Handle;
use core::cell::{Cell, UnsafeCell};
use core::ptr::null;

/// See the module head.
pub struct Route {
    handle: Cell<u64>,
    version: Cell<u64>,
    group: Cell<*const GroupCell>,
    endpoint: UnsafeCell<Option<Endpoint>>,
}

// SAFETY: only the thread that has it uses it.
unsafe impl Sync for Route {}
// SAFETY: the pointer is into the endpoint's group, which may go from processor to processor.
unsafe impl Send for Route {}

impl Route {
    /// Nothing remembered.
    pub const fn new() -> Self {
        Self {
            handle: Cell::new(0),
            version: Cell::new(0),
            group: Cell::new(null()),
            endpoint: UnsafeCell::new(None),
        }
    }

    /// Makes sure that it is what `handle` of `table` stands for. `false`: that is nothing that messages go through.
    #[inline(always)]
    pub fn find(&self, handle: u64, table: &HandleTable) -> bool {
        (self.handle.get() == handle && self.version.get() == table.version()) || self.look_up(handle, table)
    }

    #[cold]
    fn look_up(&self, handle: u64, table: &HandleTable) -> bool {
        self.forget();
        let version = table.version();
        let Ok(endpoint) = table.endpoint(Handle(handle)) else { return false };
        let group: *const GroupCell = match &endpoint {
            Endpoint::Port(port) => &raw const *port.group,
            Endpoint::Object(group, _) => &raw const **group,
        };
        // SAFETY: only this thread uses it, and no reference into it is in use while a handle is looked up.
        unsafe { *self.endpoint.get() = Some(endpoint) };
        self.handle.set(handle);
        self.version.set(version);
        self.group.set(group);
        true
    }

    /// Forgets what is remembered.
    pub fn forget(&self) {
        self.handle.set(0);
        // No table has this version.
        self.version.set(0);
        self.group.set(null());
        // SAFETY: as in `look_up`.
        drop(unsafe { (*self.endpoint.get()).take() });
    }

    /// Forgets it if it is for this handle.
    pub fn forget_handle(&self, handle: Handle) {
        if self.handle.get() == handle.0 {
            self.forget();
        }
    }

    /// The group, once [`Route::find`] said yes.
    #[inline(always)]
    pub fn group(&self) -> &GroupCell {
        // SAFETY: not null after `find`, and in a group that the endpoint keeps alive.
        unsafe { &*self.group.get() }
    }

    /// What it goes through, once [`Route::find`] said yes.
    #[inline(always)]
    pub fn endpoint(&self) -> Option<&Endpoint> {
        // SAFETY: nobody changes it while the caller, which is this thread in one system call, uses it.
        unsafe { (*self.endpoint.get()).as_ref() }
    }
}
