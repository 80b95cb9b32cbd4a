//! Waiting on objects.

use crate::sys::calls;
use crate::time::relative;
use abi::arg::Handle;
use abi::ps::{WAIT_ALL, WAIT_ANY};
use abi::status::{NtResult, NtStatus, STATUS_ALERTED, STATUS_TIMEOUT, STATUS_USER_APC};
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

/// How an alertable wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// By the object with this index; for all, 0. For packets: so many were removed.
    Signalled(usize),
    /// The time-out passed.
    TimedOut,
    /// The thread was alerted.
    Alerted,
    /// User APCs were run.
    Apc,
}

fn ended(status: NtStatus) -> NtResult<Ended> {
    Ok(match status.ok()? {
        STATUS_TIMEOUT => Ended::TimedOut,
        STATUS_ALERTED => Ended::Alerted,
        STATUS_USER_APC => Ended::Apc,
        NtStatus(index) => Ended::Signalled(index as usize),
    })
}

/// As [`one`], alertable.
pub fn one_alertable(handle: Handle, timeout: Option<Duration>) -> NtResult<Ended> {
    ended(calls::wait_one(handle, true, relative(timeout).as_ref()))
}

/// As [`any`], alertable.
pub fn any_alertable(handles: &[Handle], timeout: Option<Duration>) -> NtResult<Ended> {
    ended(calls::wait_many(handles, WAIT_ANY, true, relative(timeout).as_ref()))
}

/// As [`all`], alertable.
pub fn all_alertable(handles: &[Handle], timeout: Option<Duration>) -> NtResult<Ended> {
    ended(calls::wait_many(handles, WAIT_ALL, true, relative(timeout).as_ref()))
}

/// Sleeps, alertably; [`Ended::TimedOut`] when it slept to the end.
pub fn sleep_alertable(duration: Duration) -> NtResult<Ended> {
    let interval = relative(Some(duration)).unwrap_or(0);
    match ended(calls::delay(true, &interval))? {
        Ended::Signalled(_) => Ok(Ended::TimedOut),
        other => Ok(other),
    }
}
