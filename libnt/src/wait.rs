//! Waiting on objects.

use crate::sys::calls;
use crate::time::relative;
use abi::arg::Handle;
use abi::ps::{WAIT_ALL, WAIT_ANY};
use abi::status::{NtResult, STATUS_TIMEOUT};
use core::time::Duration;

/// Waits for an object; false when the time-out passed first. `None` waits for ever.
pub fn one(handle: Handle, timeout: Option<Duration>) -> NtResult<bool> {
    let status = calls::wait_one(handle, false, relative(timeout).as_ref()).ok()?;
    Ok(status != STATUS_TIMEOUT)
}

/// Waits for any of up to 64 objects: the index of the first that is signalled, or `None` when the time-out passed.
pub fn any(handles: &[Handle], timeout: Option<Duration>) -> NtResult<Option<usize>> {
    let status = calls::wait_many(handles, WAIT_ANY, false, relative(timeout).as_ref()).ok()?;
    Ok((status != STATUS_TIMEOUT).then_some(status.0 as usize))
}

/// Waits until all of up to 64 objects are signalled at once; false when the time-out passed first.
pub fn all(handles: &[Handle], timeout: Option<Duration>) -> NtResult<bool> {
    let status = calls::wait_many(handles, WAIT_ALL, false, relative(timeout).as_ref()).ok()?;
    Ok(status != STATUS_TIMEOUT)
}
