//! Handles with an owner.

use crate::sys::calls;
use abi::arg::Handle;
use abi::ob::*;
use abi::status::NtResult;
use core::fmt;

/// A handle that is closed when it is dropped.
#[derive(PartialEq, Eq)]
pub struct OwnedHandle(Handle);

impl OwnedHandle {
    /// Takes ownership of a handle.
    pub const fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// The handle, still owned.
    pub const fn raw(&self) -> Handle {
        self.0
    }

    /// The handle, no longer owned.
    pub const fn into_raw(self) -> Handle {
        let handle = self.0;
        core::mem::forget(self);
        handle
    }

    /// Another handle to the same object with the same access.
    pub fn try_clone(&self) -> NtResult<OwnedHandle> {
        duplicate(self.0, None)
    }

    /// Another handle to the same object with this access.
    pub fn with_access(&self, access: u32) -> NtResult<OwnedHandle> {
        duplicate(self.0, Some(access))
    }
}

impl fmt::Debug for OwnedHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnedHandle({:?})", self.0)
    }
}

impl Drop for OwnedHandle {
    fn drop(&mut self) {
        if !self.0.is_null() {
            let _ = calls::close(self.0);
        }
    }
}

/// Duplicates a handle within this process; `None` keeps the access.
pub fn duplicate(handle: Handle, access: Option<u32>) -> NtResult<OwnedHandle> {
    duplicate_into(Handle::CURRENT_PROCESS, handle, access).map(OwnedHandle)
}

/// Duplicates a handle of this process into another process; answers the handle's value there.
pub fn duplicate_into(process: Handle, handle: Handle, access: Option<u32>) -> NtResult<Handle> {
    let options = if access.is_none() { DUPLICATE_SAME_ACCESS } else { 0 };
    calls::duplicate(Handle::CURRENT_PROCESS, handle, process, access.unwrap_or(0), 0, options)
}

/// Closes a handle of another process (it needs PROCESS_DUP_HANDLE).
pub fn close_in(process: Handle, handle: Handle) -> NtResult {
    calls::duplicate(process, handle, Handle::NULL, 0, 0, DUPLICATE_CLOSE_SOURCE).map(drop)
}

/// NtQueryObject, basic: granted access, counts.
pub fn basic_information(handle: Handle) -> NtResult<ObjectBasicInformation> {
    calls::query_object(handle, OBJECT_BASIC_INFORMATION)
}

/// The object's id and type.
pub fn object_id(handle: Handle) -> NtResult<ObjectIdInformation> {
    calls::query_object(handle, OBJECT_ID_INFORMATION)
}

/// True when both handles are to the same object.
pub fn same_object(first: Handle, second: Handle) -> bool {
    calls::compare(first, second).is_ok()
}
