//! What the current filter says.
//!
//! Names are looked at when a process or port gets its name and when the filter changes: what comes of it is kept in flags
//! of processes and groups. The conditions on events are words of their own, so that looking at them takes no lock; a
//! change of the filter that another processor sees by halves lets some events through or not, no more.

use crate::alpc::group::GroupCell;
use crate::arch::percpu;
use crate::ke::sched;
use crate::ps::ids;
use crate::ps::process::Process;
use crate::sync::{Lock, rank};
use abi::alpc::{LPC_REPLY, LPC_REQUEST};
use abi::trace::filter::{FILTER_NOT_PORT, FILTER_NOT_PROCESS};
use abi::trace::*;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

static FILTER: Lock<TraceFilter, { rank::LEAF }> = Lock::new(TraceFilter::ALL);
static EVENTS: AtomicU32 = AtomicU32::new(0);
static TYPES: AtomicU32 = AtomicU32::new(0);
/// Fewest bytes, and most above 16 bits.
static SIZES: AtomicU32 = AtomicU32::new(0);
static ATTRIBUTES: AtomicU32 = AtomicU32::new(0);
static STATUS_MASK: AtomicU32 = AtomicU32::new(0);
static STATUS: AtomicU32 = AtomicU32::new(0);
/// Sizes that pass on the two legs of the fast path, requests first: fewest, and how many more at most.
static LEGS: [[AtomicU32; 2]; 2] = [const { [const { AtomicU32::new(0) }; 2] }; 2];
static LATENCY: AtomicU64 = AtomicU64::new(0);
static PAYLOAD: AtomicU32 = AtomicU32::new(0);

/// Takes over a filter, which is valid.
pub fn set(filter: &TraceFilter) {
    *FILTER.lock() = *filter;
    let predicate = &filter.predicate;
    EVENTS.store(predicate.events, Ordering::Relaxed);
    TYPES.store(predicate.types, Ordering::Relaxed);
    SIZES.store(u32::from(predicate.least_size) | u32::from(predicate.most_size) << 16, Ordering::Relaxed);
    ATTRIBUTES.store(predicate.attributes, Ordering::Relaxed);
    STATUS_MASK.store(predicate.status_mask, Ordering::Relaxed);
    STATUS.store(predicate.status, Ordering::Relaxed);
    for (leg, event, message_type) in [(0, TRACE_CALL, LPC_REQUEST), (1, TRACE_RETURN, LPC_REPLY)] {
        let (least, more) = predicate.sizes_of_leg(event, message_type);
        LEGS[leg][0].store(least, Ordering::Relaxed);
        LEGS[leg][1].store(more, Ordering::Relaxed);
    }
    LATENCY.store(filter.latency, Ordering::Relaxed);
    PAYLOAD.store(filter.payload.into(), Ordering::Relaxed);
    let mut from = 0;
    while let Some((process, next)) = ids::next_process(from) {
        refresh_process(&process, &process.name());
        from = next;
    }
    let mut from = 0;
    while let Some((port, next)) = crate::alpc::port::next_port(from) {
        port.group.refresh_trace();
        from = next;
    }
}

/// The conditions on events.
#[inline(always)]
pub fn predicate() -> TracePredicate {
    let sizes = SIZES.load(Ordering::Relaxed);
    TracePredicate {
        events: EVENTS.load(Ordering::Relaxed),
        types: TYPES.load(Ordering::Relaxed),
        least_size: sizes as u16,
        most_size: (sizes >> 16) as u16,
        attributes: ATTRIBUTES.load(Ordering::Relaxed),
        status_mask: STATUS_MASK.load(Ordering::Relaxed),
        status: STATUS.load(Ordering::Relaxed),
    }
}

/// True when one of the events that a leg of the fast path stands for may pass.
#[inline(always)]
pub fn leg_passes(event: u8, data_length: u16) -> bool {
    let [least, more] = &LEGS[usize::from(event == TRACE_RETURN)];
    u32::from(data_length).wrapping_sub(least.load(Ordering::Relaxed)) <= more.load(Ordering::Relaxed)
}

/// Ticks from which on an answer counts as late.
pub fn latency() -> u64 {
    LATENCY.load(Ordering::Relaxed)
}

/// Bytes of a payload that are recorded.
pub fn payload() -> usize {
    PAYLOAD.load(Ordering::Relaxed) as usize
}

fn matches(filter: Option<&str>, name: &str, negated: bool) -> bool {
    let filter = filter.unwrap_or_default();
    filter.is_empty() || filter.eq_ignore_ascii_case(name) != negated
}

/// True when a port with this name passes the port filter.
pub fn matches_port(name: &str) -> bool {
    let filter = FILTER.lock();
    let wanted = filter.port_name();
    let last = name.rsplit('\\').next().unwrap_or(name);
    let is_path = wanted.is_some_and(|wanted| wanted.starts_with('\\'));
    matches(wanted, if is_path { name } else { last }, filter.flags & FILTER_NOT_PORT != 0)
}

/// Sets the filter flag of a process of this name.
pub fn refresh_process(process: &Process, name: &str) {
    let filter = FILTER.lock();
    let passes = matches(filter.process_name(), name, filter.flags & FILTER_NOT_PROCESS != 0);
    process.traced.store(passes, Ordering::Relaxed);
}

/// A process's filter flag.
pub fn is_process_traced(process: u32) -> bool {
    ids::process(u64::from(process)).is_some_and(|process| process.traced.load(Ordering::Relaxed))
}

/// True when the names let through what a process does on a group. `negated`: the filter names the process that is not wanted.
#[inline(always)]
pub fn names_pass(group: &GroupCell, process: &Process, negated: bool) -> bool {
    let by = process.traced.load(Ordering::Relaxed);
    let owner = group.owner_traced.load(Ordering::Relaxed);
    group.traced.load(Ordering::Relaxed) && if negated { by && owner } else { by || owner }
}

/// As [`names_pass`], for what the current thread does, or the kernel on its own.
pub fn current_passes(group: &GroupCell, negated: bool) -> bool {
    if percpu::is_idle() {
        return group.traced.load(Ordering::Relaxed) && group.owner_traced.load(Ordering::Relaxed);
    }
    names_pass(group, &sched::current().process, negated)
}
