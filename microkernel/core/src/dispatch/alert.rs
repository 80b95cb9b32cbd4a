//! Alerts and user APCs as the dispatcher sees them: waits that these may end.
//!
//! The kernel calls [`Dispatcher::begin_alertable`] right before it starts a wait, under the same lock, and
//! [`Dispatcher::end_alertable`] when that wait is over. In between an alert ([`Dispatcher::alert`]) or a queued APC
//! ([`Dispatcher::set_apcs`]) ends the wait; at any other time it is remembered for the next alertable wait. The APCs
//! themselves are the kernel's.

use super::{Dispatcher, State};

const STATUS_USER_APC: u32 = 0xC0;
const STATUS_ALERTED: u32 = 0x101;

/// What a thread's record keeps of them.
#[derive(Clone, Copy, Default)]
pub(super) struct Alerts {
    /// It is in, or about to start, a wait that may be ended.
    alertable: bool,
    /// It was alerted, and no wait has told it so yet.
    alerted: bool,
    /// APCs are queued to it.
    apcs: bool,
}

impl<P: Copy> Dispatcher<P> {
    /// The thread's next wait is alertable. If an alert or an APC is there already the wait must not start: returns
    /// STATUS_ALERTED, which takes the alert, or STATUS_USER_APC.
    pub fn begin_alertable(&mut self, thread: u32) -> Option<u32> {
        let alerts = &mut self.rec_mut(thread).alerts;
        if core::mem::take(&mut alerts.alerted) {
            return Some(STATUS_ALERTED);
        }
        if alerts.apcs {
            return Some(STATUS_USER_APC);
        }
        alerts.alertable = true;
        None
    }

    /// The alertable wait is over.
    pub fn end_alertable(&mut self, thread: u32) {
        self.rec_mut(thread).alerts.alertable = false;
    }

    /// True when a wait for these objects would not be over at once.
    pub fn would_block(&self, objects: &[u32], all: bool) -> bool {
        if all && !objects.is_empty() {
            objects.iter().any(|o| !self.is_signaled(*o))
        } else {
            objects.iter().all(|o| !self.is_signaled(*o))
        }
    }

    /// True when the thread was woken with this ticket before it parked.
    pub fn is_woken(&self, thread: u32, ticket: u32) -> bool {
        self.rec(thread).woken == ticket
    }

    /// Alerts a thread: ends its alertable wait with STATUS_ALERTED, or is remembered for its next one.
    pub fn alert(&mut self, thread: u32) {
        if self.waits_alertably(thread) {
            self.end_wait(thread, STATUS_ALERTED, None);
        } else {
            self.rec_mut(thread).alerts.alerted = true;
        }
    }

    /// APCs are queued to the thread (an alertable wait ends with STATUS_USER_APC), or no more are.
    pub fn set_apcs(&mut self, thread: u32, any: bool) {
        self.rec_mut(thread).alerts.apcs = any;
        if any && self.waits_alertably(thread) {
            self.end_wait(thread, STATUS_USER_APC, None);
        }
    }

    /// What an alertable wait would end with at once: as [`Dispatcher::begin_alertable`], without a wait.
    pub fn test_alert(&mut self, thread: u32) -> Option<u32> {
        let found = self.begin_alertable(thread);
        self.end_alertable(thread);
        found
    }

    fn waits_alertably(&self, thread: u32) -> bool {
        let rec = self.rec(thread);
        rec.state == State::Waiting && rec.alerts.alertable
    }
}
