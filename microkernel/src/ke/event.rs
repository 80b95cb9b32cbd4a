//! Dispatcher objects in kernel objects, and the event object.

use crate::ke::sched;
use crate::kref::Ref;
use crate::ob::Header;
use crate::quota::QuotaBlock;
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::ob::ObjectType;
use abi::status::STATUS_INSUFFICIENT_RESOURCES;
use alloc::vec::Vec;

/// Dispatcher objects that are free to be used again. An object may be freed under almost any lock (its last reference
/// can go with a message), so that must not need the dispatcher's.
static FREE: Lock<(Vec<u32>, usize), { rank::LEAF }> = Lock::new((Vec::new(), 0));

/// A dispatcher object; it lives as long as the kernel object that holds it.
pub struct Signal {
    index: u32,
}

impl Signal {
    /// A synchronization (`auto_reset`) or notification object.
    pub fn new(auto_reset: bool, signaled: bool) -> Result<Self, NtStatus> {
        let reused = FREE.lock().0.pop();
        if let Some(index) = reused {
            sched::lock().reuse_object(index, auto_reset, signaled);
            return Ok(Self { index });
        }
        {
            let (free, made) = &mut *FREE.lock();
            // Room for giving every one back.
            let more = (*made + 1).saturating_sub(free.len());
            free.try_reserve(more).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
            *made += 1;
        }
        let made = sched::lock().add_object(auto_reset, signaled);
        made.map(|index| Self { index }).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
    }

    /// Its number in the dispatcher.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Signals it. Returns the former state.
    pub fn set(&self) -> bool {
        sched::lock().signal(self.index)
    }

    /// Resets it. Returns the former state.
    pub fn clear(&self) -> bool {
        sched::lock().clear(self.index)
    }

    /// Signals for those who wait now only. Returns the former state.
    pub fn pulse(&self) -> bool {
        sched::lock().pulse(self.index)
    }

    /// State now.
    pub fn is_set(&self) -> bool {
        sched::lock().is_signaled(self.index)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        FREE.lock().0.push(self.index);
    }
}

/// An event object.
pub struct Event {
    /// Object header.
    pub header: Header,
    /// State.
    pub state: Signal,
    /// NOTIFICATION_EVENT or SYNCHRONIZATION_EVENT.
    pub kind: u32,
}

impl Event {
    /// A new event.
    pub fn new(quota: &Ref<QuotaBlock>, kind: u32, signaled: bool) -> Result<Ref<Self>, NtStatus> {
        let header = Header::new(ObjectType::Event, quota)?;
        Ref::try_new(Self {
            header,
            state: Signal::new(kind == abi::ps::SYNCHRONIZATION_EVENT, signaled)?,
            kind,
        })
    }
}
