//! Traces: who records what. Off, an event costs one predictable branch.
//!
//! [`ring`] is the memory that records are written to; [`filter`] says which events are wanted; [`pending`] remembers
//! when requests were sent, while latencies are asked for. Names of processes and ports go to a log of their own, so
//! that they can be told after their owners ended. What records look like: [`abi::trace`].

mod filter;
mod pending;
mod ring;

pub use filter::{is_process_traced, matches_port};
pub use ring::{init, section};

use crate::alpc::group::GroupCell;
use crate::alpc::port::Port;
use crate::arch::{cpu, percpu};
use crate::ke::sched;
use crate::ps::process::Process;
use crate::ps::thread::Thread;
use abi::NtStatus;
use abi::status::*;
use abi::trace::filter::{FILTER_NOT_PROCESS, FILTER_SWITCHES};
use abi::trace::*;
use antares_core::alpc::Sender;
use core::sync::atomic::{AtomicU32, Ordering};

/// What is recorded: 0 nothing, [`mode::ON`] every event, with further bits only some or more.
static MODE: AtomicU32 = AtomicU32::new(0);

mod mode {
    /// Events are recorded.
    pub const ON: u32 = 1;
    /// Only those of named processes or ports.
    pub const NAMED: u32 = 1 << 1;
    /// Only those for which the conditions on events hold.
    pub const CONDITIONS: u32 = 1 << 2;
    /// The filter names a process that is not wanted.
    pub const NOT_PROCESS: u32 = 1 << 3;
    /// Only late answers.
    pub const LATENCY: u32 = 1 << 4;
    /// With payloads.
    pub const PAYLOAD: u32 = 1 << 5;
    /// Switches between threads too.
    pub const SWITCHES: u32 = 1 << 6;
}

fn has(bit: u32) -> bool {
    MODE.load(Ordering::Relaxed) & bit != 0
}

/// True while events are recorded. One predictable branch.
#[inline(always)]
pub fn is_recording() -> bool {
    MODE.load(Ordering::Relaxed) != 0
}

/// True when events on this group are recorded now, for the current thread.
#[inline]
pub fn is_on(group: &GroupCell) -> bool {
    is_recording() && passes(group)
}

#[cold]
#[inline(never)]
fn passes(group: &GroupCell) -> bool {
    // Answers are looked at for those who asked.
    if has(mode::LATENCY) {
        return group.traced.load(Ordering::Relaxed);
    }
    filter::current_passes(group, has(mode::NOT_PROCESS))
}

/// Starts recording what passes a filter, which is valid.
pub fn start(wanted: &TraceFilter) {
    MODE.store(0, Ordering::Relaxed);
    filter::set(wanted);
    pending::clear();
    let bit = |condition: bool, bit: u32| if condition { bit } else { 0 };
    let named = wanted.process[0] != 0 || wanted.port[0] != 0;
    let new = mode::ON
        | bit(named, mode::NAMED)
        | bit(!wanted.predicate.is_all(), mode::CONDITIONS)
        | bit(wanted.flags & FILTER_NOT_PROCESS != 0, mode::NOT_PROCESS)
        | bit(wanted.latency > 0, mode::LATENCY)
        | bit(wanted.payload > 0, mode::PAYLOAD)
        | bit(wanted.flags & FILTER_SWITCHES != 0, mode::SWITCHES);
    MODE.store(new, Ordering::Relaxed);
    ring::set_enabled(true);
}

/// Stops recording.
pub fn stop() {
    MODE.store(0, Ordering::Relaxed);
    ring::set_enabled(false);
}

/// What an event is about.
#[derive(Clone, Copy, Default)]
pub struct Details<'a> {
    /// When it began; 0: as it is recorded.
    tsc: u64,
    message_type: u16,
    data_length: u16,
    status: u32,
    message_id: u32,
    peer: u32,
    attributes: u32,
    depth: u32,
    detail: u64,
    payload: &'a [u8],
}

impl<'a> Details<'a> {
    /// A message that is about to be sent.
    pub fn of(message_type: u16, data_length: u16, handle: bool) -> Self {
        let attributes = if handle { abi::alpc::ALPC_MESSAGE_HANDLE_ATTRIBUTE } else { 0 };
        let tsc = if is_recording() { cpu::rdtsc() } else { 0 };
        Self { tsc, message_type, data_length, attributes, ..Self::default() }
    }

    /// A message that is received.
    pub fn received(message_type: u16, payload: &'a [u8]) -> Self {
        Self { message_type, data_length: payload.len() as u16, payload, ..Self::default() }
    }

    /// A message known by its id.
    pub fn id(message_id: u32) -> Self {
        Self { message_id, ..Self::default() }
    }

    /// With an outcome: the message id, or the status that was returned; the peer is asked for only on success.
    pub fn with(mut self, outcome: Result<u32, NtStatus>, peer: impl FnOnce() -> u32) -> Self {
        match outcome {
            Ok(id) => {
                self.message_id = id;
                self.peer = peer();
            }
            Err(status) => self.status = status.0,
        }
        self
    }

    /// With a status.
    pub fn status(mut self, status: NtStatus) -> Self {
        self.status = status.0;
        self
    }

    /// With delivered attributes.
    pub fn attributes(mut self, valid: u32) -> Self {
        self.attributes |= valid;
        self
    }

    /// With the queue's depth.
    pub fn depth(mut self, depth: u32) -> Self {
        self.depth = depth;
        self
    }

    /// With what the event's kind has to say besides.
    pub fn detail(mut self, detail: u64) -> Self {
        self.detail = detail;
        self
    }
}

/// Records an ALPC event. The caller has checked [`is_on`].
#[cold]
pub fn alpc(event: u8, group: &GroupCell, port: u32, details: Details) {
    let mut details = details;
    // What was received is there only when it is recorded.
    if details.tsc == 0 {
        details.tsc = cpu::rdtsc();
    }
    let record = record_of(event, port, group.id, &details);
    if has(mode::LATENCY) {
        time(group, &record);
    } else {
        write(&record, details.payload);
    }
}

fn record_of(event: u8, port: u32, connection_port: u32, details: &Details) -> TraceRecord {
    let me = percpu::this();
    let (process, thread) = if percpu::is_idle() {
        (0, 0)
    } else {
        let current = sched::current();
        (current.process.id(), current.id())
    };
    let header_length = if details.message_type == 0 { 0 } else { abi::alpc::PORT_MESSAGE_SIZE as u16 };
    TraceRecord {
        sequence: 0,
        tsc: details.tsc,
        event,
        cpu: me.index as u8,
        message_type: details.message_type,
        status: details.status,
        process,
        thread,
        port,
        connection_port,
        message_id: details.message_id,
        peer_process: details.peer,
        data_length: details.data_length,
        total_length: details.data_length.saturating_add(header_length),
        attributes: (details.attributes >> 25) as u8,
        queue_depth: details.depth.min(255) as u8,
        reserved: 0,
        detail: details.detail,
    }
}

/// Writes a record if it passes the conditions on events.
fn write(record: &TraceRecord, payload: &[u8]) {
    if has(mode::CONDITIONS) && !filter::predicate().passes(record) {
        return;
    }
    ring::write(zerocopy::transmute!(*record));
    if has(mode::PAYLOAD) {
        ring::write_payload(record.tsc, record.message_id, &payload[..payload.len().min(filter::payload())]);
    }
}

/// While only late answers are recorded: remembers a request that passes the filter, and records its answer if that is
/// late.
fn time(group: &GroupCell, record: &TraceRecord) {
    let (port, id) = (record.connection_port, record.message_id);
    match record.event {
        TRACE_SEND | TRACE_CONNECT if record.status == 0 => {
            let wanted = filter::predicate().passes(record)
                && filter::current_passes(group, has(mode::NOT_PROCESS))
                && record.message_type & 0xFF != abi::alpc::LPC_DATAGRAM;
            if wanted {
                pending::sent(
                    port,
                    id,
                    record.tsc,
                    Sender { process: record.process, thread: record.thread },
                );
            }
        }
        TRACE_REPLY | TRACE_CONNECTED if id != 0 => late(record),
        TRACE_CANCEL => drop(pending::ended(port, id)),
        TRACE_UNWAIT if record.status != 0 => drop(pending::ended(port, id)),
        _ => {}
    }
}

/// Records an answer if it is late.
fn late(answer: &TraceRecord) {
    let Some((asker, sent)) = pending::ended(answer.connection_port, answer.message_id) else { return };
    let ticks = answer.tsc.saturating_sub(sent);
    if ticks >= filter::latency() {
        let record = TraceRecord {
            event: TRACE_TIMED,
            process: asker.process,
            thread: asker.thread,
            peer_process: answer.process,
            detail: ticks,
            ..*answer
        };
        ring::write(zerocopy::transmute!(record));
    }
}

/// Records a message that goes from the current thread straight to `to`, which is parked: one record for all that happens at once. `event` is
/// its kind, with the message's type above 16 bits; `word` the first of the header, and `payload` where the sender has
/// the rest. Called under the dispatcher lock, when `from` has said what it is about to wait for.
#[inline(never)]
pub fn direct(group: &GroupCell, event: u32, from: &Thread, to: &Thread, word: u64, payload: u64) {
    let mode = MODE.load(Ordering::Relaxed);
    if mode == mode::ON && !to.landing.wants_attributes() {
        ring::write_direct(group, event, from, to, word as u32, 0);
    } else if mode & (mode::LATENCY | mode::SWITCHES) != 0 || may_pass(mode, group, event, from, to, word) {
        direct_in_part(group, event, from, to, word, payload);
    }
}

/// `false`: the filter surely rejects a leg. What this costs is what a trace costs that rejects everything.
#[inline(always)]
fn may_pass(mode: u32, group: &GroupCell, event: u32, from: &Thread, to: &Thread, word: u64) -> bool {
    let traced = |thread: &Thread| thread.process.traced.load(Ordering::Relaxed);
    // Without a branch for each.
    let by_process = || traced(from) | traced(to) | group.owner_traced.load(Ordering::Relaxed);
    group.traced.load(Ordering::Relaxed)
        && (mode & mode::CONDITIONS == 0 || filter::leg_passes(event as u8, word as u16))
        && by_process()
}

/// As [`direct`], where the event is perhaps not to be recorded, or only a side of it, or more.
#[cold]
#[inline(never)]
fn direct_in_part(group: &GroupCell, event: u32, from: &Thread, to: &Thread, word: u64, payload: u64) {
    let recorded = direct_filtered(group, event, from, to, word);
    if recorded && has(mode::PAYLOAD) {
        let count = usize::from(word as u16).min(filter::payload());
        ring::copy_payload(direct_id(event, from, to), payload, count);
    }
    if !recorded && has(mode::SWITCHES) {
        switch(Some(from), Some(to));
    }
}

/// Records what of a leg is to be recorded; `false`: nothing is.
fn direct_filtered(group: &GroupCell, event: u32, from: &Thread, to: &Thread, word: u64) -> bool {
    if has(mode::LATENCY) {
        if group.traced.load(Ordering::Relaxed) {
            time(group, &direct_as_event(group, event, from, to, word));
        }
        return false;
    }
    let recorded = |thread: &Thread| filter::names_pass(group, &thread.process, has(mode::NOT_PROCESS));
    let unseen = if recorded(from) { 0 } else { DIRECT_UNSEEN };
    let told = if recorded(to) && !to.landing.wants_attributes() { 0 } else { DIRECT_TOLD };
    if unseen | told == DIRECT_UNSEEN | DIRECT_TOLD || !filter::leg_passes(event as u8, word as u16) {
        return false;
    }
    ring::write_direct(group, event, from, to, word as u32, unseen | told);
    true
}

/// Message id of a leg of the fast path: who asked waits for it.
fn direct_id(event: u32, from: &Thread, to: &Thread) -> u32 {
    let asker = if event as u8 == TRACE_CALL { from } else { to };
    asker.alpc_wait.message.load(Ordering::Relaxed)
}

fn direct_as_event(group: &GroupCell, event: u32, from: &Thread, to: &Thread, word: u64) -> TraceRecord {
    let details = Details {
        tsc: cpu::rdtsc_unordered(),
        message_type: (event >> 16) as u16,
        data_length: word as u16,
        message_id: direct_id(event, from, to),
        peer: to.sender.process,
        ..Details::default()
    };
    let kind = if event as u8 == TRACE_CALL { TRACE_SEND } else { TRACE_REPLY };
    record_of(kind, from.alpc_wait.port.load(Ordering::Relaxed), group.id, &details)
}

/// True while switches between threads are recorded.
#[inline(always)]
pub fn records_switches() -> bool {
    has(mode::SWITCHES)
}

/// Records that this processor goes from one thread (none: the idle loop) to another. Called under the dispatcher lock.
#[cold]
pub fn switch(from: Option<&Thread>, to: Option<&Thread>) {
    let [from, to] = [from, to].map(|thread| thread.map_or(Sender::default(), |thread| thread.sender));
    let record = TraceRecord {
        tsc: cpu::rdtsc_unordered(),
        event: TRACE_SWITCH,
        process: from.process,
        thread: from.thread,
        peer_process: to.process,
        detail: to.thread.into(),
        ..TraceRecord::default()
    };
    ring::write(zerocopy::transmute!(record));
}

/// Records an event on a port outside of a message.
pub fn port_event(event: u8, port: &Port, details: Details) {
    if is_on(&port.group) {
        alpc(event, &port.group, port.id, details);
    }
}

/// Records a call that is declared but not implemented.
pub fn not_implemented(number: u32) {
    if is_recording() && !has(mode::LATENCY) && sched::current().process.traced.load(Ordering::Relaxed) {
        let mut details = Details { message_type: number as u16, ..Details::default() };
        details.tsc = cpu::rdtsc();
        let record = record_of(TRACE_NOT_IMPLEMENTED, 0, 0, &details.status(STATUS_NOT_IMPLEMENTED));
        write(&TraceRecord { total_length: 0, ..record }, &[]);
    }
}

/// A process got its name.
pub fn name_process(process: &Process, name: &str) {
    filter::refresh_process(process, name);
    ring::log_name(NAME_PROCESS, process.id(), process.parent, name);
}

/// A port got its name.
pub fn name_port(port: &Port, name: &str) {
    {
        let mut label = port.group.label.lock();
        label.clear();
        let cut = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 64).last();
        // Cut to the label's capacity.
        let _ = label.push_str(&name[..cut.unwrap_or(0)]);
    }
    port.group.refresh_trace();
    ring::log_name(NAME_PORT, port.id, port.owner, name);
}
