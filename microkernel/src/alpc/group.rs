//! What is behind one connection port, under its lock; and how the state machine's effects reach the dispatcher.

use crate::alpc::message::Body;
use crate::alpc::per_port::PerPort;
use crate::alpc::section::Limits;
use crate::alpc::security::PortSecurity;
use crate::alpc::zone::Zone;
use crate::arch::percpu;
use crate::ke::sched::{self, DispatchGuard};
use crate::kref::Ref;
use crate::se::token::Token;
use crate::sync::{Guard, Lock, rank};
use abi::NtStatus;
use abi::alpc::AlpcPortAttributes;
use antares_core::alpc::{Effects, Group, NO_COMPLETION, NO_OBJECT, Sender, Waiter};
use core::sync::atomic::{AtomicBool, Ordering};

/// Longest label of a port.
pub const LABEL_LENGTH: usize = 64;
/// A port's name in the name space, for traces and listings.
pub type Label = heapless::String<LABEL_LENGTH>;

/// Messages that nobody waits for, of one direction of a connection or one process's on server objects, that may exist.
const MOST: u32 = 4096;

/// See the module head.
pub struct GroupCell {
    /// Id of the connection port.
    pub id: u32,
    /// Process that made the connection port.
    pub owner: u32,
    /// ALPC_PORFLG_ flags of the connection port.
    pub flags: u32,
    /// Largest total length of a message.
    pub max_length: usize,
    /// What its connection port takes of what messages carry.
    pub limits: Limits,
    /// Name given by the name server.
    pub label: Lock<Label, { rank::LEAF }>,
    /// Trace filter flag.
    pub traced: AtomicBool,
    /// That of its owner.
    pub owner_traced: AtomicBool,
    /// Who made the connection port.
    pub owner_token: Ref<Token>,
    /// What the communication ports let their peers have of their makers.
    pub sides: PerPort<Ref<PortSecurity>>,
    /// Memory for payloads that wait to be received on its ports.
    pub zones: PerPort<Ref<Zone>>,
    state: Lock<Group<Body>, { rank::GROUP }>,
}

/// A reference to a group.
#[derive(Clone)]
pub struct GroupRef(pub Ref<GroupCell>);

impl core::ops::Deref for GroupRef {
    type Target = GroupCell;
    fn deref(&self) -> &GroupCell {
        &self.0
    }
}

impl GroupCell {
    /// A new group of the current process. `object` is the dispatcher object of a waitable connection port.
    pub fn new(
        id: u32,
        owner: u32,
        attributes: &AlpcPortAttributes,
        max_length: usize,
        object: Option<u32>,
    ) -> Self {
        Self {
            id,
            owner,
            flags: attributes.flags,
            max_length,
            limits: Limits::new(attributes),
            label: Lock::new(Label::new()),
            traced: AtomicBool::new(crate::trace::matches_port("")),
            owner_traced: AtomicBool::new(crate::trace::is_process_traced(owner)),
            owner_token: sched::current().process.token(),
            sides: PerPort::new(),
            zones: PerPort::new(),
            state: Lock::new(Group::new(id.wrapping_mul(0x9E37), object.unwrap_or(NO_OBJECT), MOST)),
        }
    }

    /// Takes the lock.
    pub fn lock(&self) -> Guard<'_, Group<Body>, { rank::GROUP }> {
        self.state.lock()
    }

    /// Takes the lock if it is open.
    pub fn try_lock(&self) -> Option<Guard<'_, Group<Body>, { rank::GROUP }>> {
        self.state.try_lock()
    }

    /// Takes the lock if that does not take long.
    #[inline(always)]
    pub fn lock_briefly(&self) -> Option<Guard<'_, Group<Body>, { rank::GROUP }>> {
        self.state.lock_briefly()
    }

    /// Sends a reserved notice.
    pub fn send_notice(&self, notice: u32) {
        self.lock().send_notice(notice, Sender::default(), &mut Fx::new(false));
    }

    /// Takes over what the filter says of its label and of its owner.
    pub fn refresh_trace(&self) {
        let label = self.label.lock().clone();
        let matches = crate::trace::matches_port(&label);
        self.traced.store(matches, Ordering::Relaxed);
        self.owner_traced.store(crate::trace::is_process_traced(self.owner), Ordering::Relaxed);
    }
}

/// Carries effects to the dispatcher. Used under the group's lock.
///
/// For a caller that blocks right after (which ends no message) it takes the dispatcher's lock with the first effect and
/// keeps it until it is dropped. Otherwise it takes it for each effect: messages may be dropped between two of them,
/// and what goes with those needs locks of its own.
pub struct Fx {
    will_block: bool,
    dispatcher: Option<DispatchGuard>,
}

impl Fx {
    /// `will_block`: the caller blocks right after, so whom it wakes may have its processor.
    pub fn new(will_block: bool) -> Self {
        Self { will_block, dispatcher: None }
    }

    fn with(&mut self, effect: impl FnOnce(&mut DispatchGuard)) {
        if self.will_block {
            effect(self.dispatcher.get_or_insert_with(sched::lock));
        } else {
            effect(&mut sched::lock());
        }
    }
}

impl Effects for Fx {
    fn wake(&mut self, waiter: Waiter, status: NtStatus, soon: bool) {
        let hint = (soon && self.will_block).then(|| {
            // Should the caller return to user mode instead of blocking, it schedules first, and the thread that
            // was handed over is queued.
            percpu::this().reschedule.store(true, Ordering::Relaxed);
            percpu::this().index
        });
        self.with(|d| {
            d.unpark(waiter.thread, waiter.ticket, status.0, hint);
        });
    }

    fn readable(&mut self, object: u32, readable: bool) {
        if object != NO_OBJECT {
            self.with(|d| {
                if readable {
                    d.signal(object);
                } else {
                    d.clear(object);
                }
            });
        }
    }

    fn arrived(&mut self, source: u32, count: u32) {
        if source != NO_COMPLETION {
            self.with(|d| d.post_source(source, count));
        }
    }
}
