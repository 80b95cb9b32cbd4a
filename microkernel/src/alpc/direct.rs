//! The DIRECT attribute: an event that tells a sender, which does not wait, that its message has been dealt with.
//!
//! A message with the attribute is a datagram that its receiver holds if it takes the attribute, and gives back by
//! answering it. [`Completion`] is what sender and message share: the result is in it, and the event is set, once the
//! message is gone, however it went.

use crate::alpc::attributes::{Attached, Given, Receiving, Sending};
use crate::alpc::later::{Later, Link};
use crate::alpc::view::{self, Region};
use crate::ke::event::Event;
use crate::ke::sched;
use crate::kref::Ref;
use crate::quota::{Charge, Kind};
use crate::sync::{Lock, rank};
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::{ALPC_PORFLG_DIRECT_MESSAGE, AlpcDirectAttr};
use abi::arg::{In, Out};
use abi::ob::EVENT_MODIFY_STATE;
use abi::status::*;
use alloc::vec::Vec;
use antares_core::try_push;
use core::sync::atomic::{AtomicU32, Ordering};

/// Kernel memory charged for a completion.
const RECORD_CHARGE: u64 = 128;
/// Results that a port remembers; the oldest is forgotten for the next.
const MOST_RESULTS: usize = 64;
/// Most direct messages of a port on their way.
const MOST_PENDING: usize = 1024;

/// What a sender learns of its direct message.
pub struct Completion {
    event: Ref<Event>,
    /// The view that goes with the message is as it was before when the event is set.
    region: Option<Ref<Region>>,
    decided: AtomicU32,
    result: AtomicU32,
    /// Its place in the list of what is to be done later.
    pub link: Link,
    _charge: Charge,
}

impl Completion {
    /// STATUS_PENDING, or how the message ended.
    pub fn result(&self) -> NtStatus {
        NtStatus(self.result.load(Ordering::Acquire))
    }

    /// The message is gone: sets the event. Called with no lock held.
    pub fn tell(&self) {
        if let Some(region) = &self.region {
            view::settle(region);
        }
        self.result.store(self.decided.load(Ordering::Acquire), Ordering::Release);
        self.event.state.set();
    }
}

/// The message's part.
pub struct Direct(Ref<Completion>);

impl Direct {
    /// What the sender shares.
    pub fn completion(&self) -> &Ref<Completion> {
        &self.0
    }

    /// The receiver has dealt with the message. Without this it ends as STATUS_CANCELLED.
    pub fn succeed(&self) {
        self.0.decided.store(STATUS_SUCCESS.0, Ordering::Release);
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        Later::Completion(self.0.clone()).push();
    }
}

/// The direct messages that were sent on a port.
pub struct Sent(Lock<Vec<(u32, Ref<Completion>)>, { rank::LEAF }>);

impl Sent {
    /// None.
    pub const fn new() -> Self {
        Self(Lock::new(Vec::new()))
    }

    /// Room for one more; else STATUS_QUOTA_EXCEEDED.
    fn check(&self) -> Result<(), NtStatus> {
        if self.0.lock().len() < MOST_PENDING { Ok(()) } else { Err(STATUS_QUOTA_EXCEEDED) }
    }

    /// Remembers a message that was sent, for [`Sent::result`]; without memory for it the result cannot be asked for.
    pub fn remember(&self, id: u32, completion: &Ref<Completion>) {
        let mut forgotten = None;
        let mut list = self.0.lock();
        let ended = |c: &(u32, Ref<Completion>)| c.1.result() != STATUS_PENDING;
        if list.iter().filter(|c| ended(c)).count() >= MOST_RESULTS {
            forgotten = list.iter().position(ended).map(|at| list.remove(at));
        }
        let _ = try_push(&mut list, (id, completion.clone()));
        drop(list);
        drop(forgotten);
    }

    /// How a message ended, or STATUS_PENDING.
    pub fn result(&self, id: u32) -> Result<NtStatus, NtStatus> {
        let list = self.0.lock();
        list.iter().rfind(|c| c.0 == id).map(|c| c.1.result()).ok_or(STATUS_MESSAGE_NOT_FOUND)
    }

    /// The port closes.
    pub fn clear(&self) {
        let all = core::mem::take(&mut *self.0.lock());
        drop(all);
    }
}

/// Captures the DIRECT attribute.
pub fn capture(sending: &Sending, from: u64, attached: &mut Attached) -> Result<(), NtStatus> {
    let attribute: AlpcDirectAttr = user::read(In::at(from))?;
    if sending.group.flags & ALPC_PORFLG_DIRECT_MESSAGE == 0 {
        return Err(STATUS_ACCESS_DENIED);
    }
    if !sending.is_datagram {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if let Some(port) = sending.port {
        port.sent.check()?;
    }
    let process = &sched::current().process;
    let (event, _) = process.handles.get(attribute.event, EVENT_MODIFY_STATE)?;
    let completion = Ref::try_new(Completion {
        event,
        region: attached.view.as_ref().map(|passage| passage.region().clone()),
        decided: AtomicU32::new(STATUS_CANCELLED.0),
        result: AtomicU32::new(STATUS_PENDING.0),
        link: Link::new(),
        _charge: Charge::new(&process.quota(), Kind::Pool, RECORD_CHARGE)?,
    })?;
    attached.direct = Some(Direct(completion));
    Ok(())
}

/// Tells the receiver that somebody waits for it to give the message back. The event stays the sender's.
pub fn deliver(receiving: &mut Receiving, to: u64, given: &mut Given) -> Result<bool, NtStatus> {
    let direct = receiving.attached.as_deref().is_some_and(|attached| attached.direct.is_some());
    if !direct || receiving.port.is_none() {
        return Ok(false);
    }
    user::write(Out::at(to), &AlpcDirectAttr::default())?;
    given.direct = true;
    Ok(true)
}
