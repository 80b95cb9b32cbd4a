//! Events.

use crate::handle::OwnedHandle;
use crate::sys::calls;
use abi::arg::Handle;
use abi::ob::EVENT_ALL_ACCESS;
use abi::ps::{EventBasicInformation, NOTIFICATION_EVENT, SYNCHRONIZATION_EVENT};
use abi::status::NtResult;

/// An event object.
#[derive(Debug)]
pub struct Event(OwnedHandle);

impl Event {
    /// A notification event: stays signalled until reset.
    pub fn notification(signalled: bool) -> NtResult<Self> {
        calls::create_event(EVENT_ALL_ACCESS, NOTIFICATION_EVENT, signalled).map(OwnedHandle::new).map(Self)
    }

    /// A synchronization event: releases one waiter and resets itself.
    pub fn synchronization(signalled: bool) -> NtResult<Self> {
        calls::create_event(EVENT_ALL_ACCESS, SYNCHRONIZATION_EVENT, signalled)
            .map(OwnedHandle::new)
            .map(Self)
    }

    /// An event behind a handle.
    pub const fn from_handle(handle: OwnedHandle) -> Self {
        Self(handle)
    }

    /// The handle.
    pub const fn handle(&self) -> Handle {
        self.0.raw()
    }

    /// Signals the event; answers whether it was signalled before.
    pub fn set(&self) -> NtResult<bool> {
        calls::set_event(self.handle()).map(|previous| previous != 0)
    }

    /// Resets the event; answers whether it was signalled before.
    pub fn reset(&self) -> NtResult<bool> {
        calls::reset_event(self.handle()).map(|previous| previous != 0)
    }

    /// Type and state.
    pub fn query(&self) -> NtResult<EventBasicInformation> {
        calls::query_event(self.handle())
    }
}
