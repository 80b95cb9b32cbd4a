//! Trace rings: what ALPC does, written as it happens.
//!
//! One ring per processor, written by that processor only (the kernel runs with interrupts off), read through a
//! read-only mapping by the debug console. Layout and reading: [`abi::trace`]. Off, an event costs one predictable
//! branch. Names of processes and ports go to a log of their own, so that they can be told after their owners ended.

use crate::alpc::group::GroupCell;
use crate::alpc::port::Port;
use crate::arch::percpu::{self, PerCpu};
use crate::arch::{cpu, paging, time};
use crate::ke::sched;
use crate::kref::Ref;
use crate::mm::section::Section;
use crate::mm::{TRACE_BASE, frames, kernel_root, phys_to_virt};
use crate::ps::ids;
use crate::ps::process::Process;
use crate::ps::thread::Thread;
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::status::*;
use abi::trace::*;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

static ON: AtomicBool = AtomicBool::new(false);
static BASE: AtomicU64 = AtomicU64::new(0);
static PHYSICAL: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static RECORDS: AtomicU64 = AtomicU64::new(0);
static NAMES: Lock<u64, { rank::LEAF }> = Lock::new(0);
const NAME_RECORDS: u64 = 2048;

struct Filter {
    process: heapless::String<40>,
    port: heapless::String<40>,
}

static FILTER: Lock<Filter, { rank::LEAF }> =
    Lock::new(Filter { process: heapless::String::new(), port: heapless::String::new() });

/// Makes the rings for this many processors: 16,384 records each where memory is not short.
pub fn init(cpus: u32, tsc_boot: u64) -> Option<()> {
    let ram = frames::counts().0 * 4096;
    let per_ring: u64 = if ram >= 256 << 20 { 16384 } else { 4096 };
    let header_bytes = size_of::<TraceHeader>().next_multiple_of(4096) as u64;
    let bytes = (header_bytes + (u64::from(cpus) * per_ring + NAME_RECORDS) * 64).next_multiple_of(4096);
    let physical = frames::alloc_contiguous((bytes / 4096) as usize)?;
    for offset in (0..bytes).step_by(4096) {
        // SAFETY: frames just taken, in the direct map.
        unsafe { phys_to_virt(physical + offset).write_bytes(0, 4096) };
        paging::map_kernel(
            kernel_root(),
            TRACE_BASE + offset,
            physical + offset,
            paging::W | paging::NX | paging::G,
        )?;
    }
    let header = TraceHeader {
        cpus,
        records_per_ring: per_ring as u32,
        name_records: NAME_RECORDS as u32,
        enabled: 0,
        tsc_frequency: time::tsc_frequency(),
        tsc_boot,
        name_head: 0,
        heads: [0; MAX_CPUS],
    };
    // SAFETY: the trace memory was just mapped and has room for the header.
    unsafe { (TRACE_BASE as *mut TraceHeader).write(header) };
    RECORDS.store(per_ring, Ordering::Relaxed);
    for index in 0..cpus {
        let ring = records_start() + u64::from(index) * per_ring * 64;
        percpu::of(index).trace_ring.store(ring, Ordering::Relaxed);
        percpu::of(index).trace_mask.store(per_ring - 1, Ordering::Relaxed);
    }
    PHYSICAL.store(physical, Ordering::Relaxed);
    BYTES.store(bytes, Ordering::Relaxed);
    BASE.store(TRACE_BASE, Ordering::Release);
    Some(())
}

/// The trace memory as a section that can be mapped read-only.
pub fn section() -> Result<Ref<Section>, NtStatus> {
    match PHYSICAL.load(Ordering::Relaxed) {
        0 => Err(STATUS_NO_MEMORY),
        physical => Section::boot(physical, BYTES.load(Ordering::Relaxed)),
    }
}

fn header_field(offset: usize) -> &'static AtomicU64 {
    // SAFETY: the header is mapped for good; readers in ring 3 only read.
    unsafe { &*((TRACE_BASE as usize + offset) as *const AtomicU64) }
}

fn records_start() -> u64 {
    TRACE_BASE + size_of::<TraceHeader>().next_multiple_of(4096) as u64
}

/// Writes a 64-byte record whose first word is its sequence number.
fn publish(slot: u64, number: u64, record: &[u64; 8]) {
    let words = slot as *const AtomicU64;
    // SAFETY: `slot` lies in the trace memory; this processor (or the holder of the names' lock) is its only writer.
    let words = unsafe { core::slice::from_raw_parts(words, 8) };
    words[0].store(0, Ordering::Relaxed);
    core::sync::atomic::fence(Ordering::Release);
    for (to, from) in words[1..].iter().zip(&record[1..]) {
        to.store(*from, Ordering::Relaxed);
    }
    words[0].store(number + 1, Ordering::Release);
}

fn matches(filter: &str, name: &str) -> bool {
    filter.is_empty() || filter.eq_ignore_ascii_case(name)
}

/// True when a port with this name passes the port filter.
pub fn matches_port(name: &str) -> bool {
    let filter = FILTER.lock();
    let last = name.rsplit('\\').next().unwrap_or(name);
    matches(&filter.port, if filter.port.starts_with('\\') { name } else { last })
}

/// Sets a process's filter flag.
pub fn refresh_process(process: &Process) {
    let name = process.name();
    let passes = matches(&FILTER.lock().process, &name);
    process.traced.store(passes, Ordering::Relaxed);
}

/// True while events are recorded. One predictable branch.
#[inline(always)]
pub fn is_recording() -> bool {
    ON.load(Ordering::Relaxed)
}

/// True when events on this group are recorded now, for the current thread.
#[inline]
pub fn is_on(group: &GroupCell) -> bool {
    ON.load(Ordering::Relaxed) && passes(group)
}

#[cold]
#[inline(never)]
fn passes(group: &GroupCell) -> bool {
    if !group.traced.load(Ordering::Relaxed) {
        return false;
    }
    if !percpu::is_idle() && sched::current().process.traced.load(Ordering::Relaxed) {
        return true;
    }
    group.owner_traced.load(Ordering::Relaxed)
}

/// A process's filter flag.
pub fn is_process_traced(process: u32) -> bool {
    ids::process(u64::from(process)).is_some_and(|process| process.traced.load(Ordering::Relaxed))
}

/// Starts recording what passes the filter.
pub fn start(process: &str, port: &str) {
    {
        let mut filter = FILTER.lock();
        filter.process.clear();
        filter.port.clear();
        // The buffers are as long as the filter's fields.
        let _ = filter.process.push_str(process);
        let _ = filter.port.push_str(port);
    }
    let mut from = 0;
    while let Some((process, next)) = ids::next_process(from) {
        refresh_process(&process);
        from = next;
    }
    let mut from = 0;
    while let Some((port, next)) = crate::alpc::port::next_port(from) {
        port.group.refresh_trace();
        from = next;
    }
    ON.store(true, Ordering::Relaxed);
    set_enabled(1);
}

/// Stops recording.
pub fn stop() {
    ON.store(false, Ordering::Relaxed);
    set_enabled(0);
}

fn set_enabled(value: u64) {
    let offset = core::mem::offset_of!(TraceHeader, name_records);
    // `name_records` and `enabled` share an aligned word.
    header_field(offset).store(value << 32 | NAME_RECORDS, Ordering::Relaxed);
}

/// What an event is about.
#[derive(Clone, Copy, Default)]
pub struct Details {
    message_type: u16,
    data_length: u16,
    status: u32,
    message_id: u32,
    peer: u32,
    attributes: u32,
    depth: u32,
}

impl Details {
    /// A message that is sent.
    pub fn of(message_type: u16, data_length: u16, handle: bool) -> Self {
        let attributes = if handle { abi::alpc::ALPC_MESSAGE_HANDLE_ATTRIBUTE } else { 0 };
        Self { message_type, data_length, attributes, ..Self::default() }
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
}

/// Records an ALPC event. The caller has checked [`is_on`].
#[cold]
pub fn alpc(event: u8, group: &GroupCell, port: u32, details: Details) {
    record(event, port, group.id, details);
}

fn record(event: u8, port: u32, connection_port: u32, details: Details) {
    if BASE.load(Ordering::Acquire) == 0 {
        return;
    }
    let me = percpu::this();
    let (process, thread) = if percpu::is_idle() {
        (0, 0)
    } else {
        let current = sched::current();
        (current.process.id(), current.id())
    };
    let header_length = if details.message_type == 0 { 0 } else { abi::alpc::PORT_MESSAGE_SIZE as u16 };
    let record = TraceRecord {
        sequence: 0,
        tsc: cpu::rdtsc(),
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
        flags: 0,
        peer_thread: 0,
        peer_port: 0,
    };
    write(me, &record);
}

/// Writes a record to this processor's ring.
fn write(me: &PerCpu, record: &TraceRecord) {
    let head = header_field(core::mem::offset_of!(TraceHeader, heads) + 8 * me.index as usize);
    let number = head.load(Ordering::Relaxed);
    publish(slot(me, number), number, &zerocopy::transmute!(*record));
    head.store(number + 1, Ordering::Release);
}

/// Where the record with this number lies in a processor's ring.
#[inline(always)]
fn slot(me: &PerCpu, number: u64) -> u64 {
    // Their number in a ring is a power of two.
    me.trace_ring.load(Ordering::Relaxed) + (number & me.trace_mask.load(Ordering::Relaxed)) * 64
}

/// Records a message that went from the current thread straight to `to`, if it is to be recorded: one record for all that
/// happens at once. `event` is its kind, with the message's type above 16 bits; `word` the first of the header. The port is
/// that on which `from` is about to wait. Written word by word, since this is all that
/// tracing adds there.
#[inline(never)]
pub fn direct(group: &GroupCell, event: u32, from: &Thread, to: &Thread, word: u64, id: u32) {
    if !group.traced.load(Ordering::Relaxed) {
        return;
    }
    let traced = |thread: &Thread| thread.process.traced.load(Ordering::Relaxed);
    if traced(from) && traced(to) && !to.landing.wants_attributes() {
        write_direct(group, event, from, to, word, id, 0);
    } else {
        direct_in_part(group, event, from, to, word, id);
    }
}

/// As [`direct`], where one side is perhaps not to be recorded, or tells itself what it received.
#[cold]
fn direct_in_part(group: &GroupCell, event: u32, from: &Thread, to: &Thread, word: u64, id: u32) {
    let owner = group.owner_traced.load(Ordering::Relaxed);
    let recorded = |thread: &Thread| owner || thread.process.traced.load(Ordering::Relaxed);
    let unseen = if recorded(from) { 0 } else { TRACE_FLAG_UNSEEN };
    let told = if recorded(to) && !to.landing.wants_attributes() { 0 } else { TRACE_FLAG_TOLD };
    if unseen == 0 || told == 0 {
        write_direct(group, event, from, to, word, id, unseen | told);
    }
}

#[inline(always)]
fn write_direct(group: &GroupCell, event: u32, from: &Thread, to: &Thread, word: u64, id: u32, flags: u16) {
    let me = percpu::this();
    let head = header_field(core::mem::offset_of!(TraceHeader, heads) + 8 * me.index as usize);
    let number = head.load(Ordering::Relaxed);
    // SAFETY: a record in the trace memory, of which this processor is the only writer.
    let record = unsafe { &*(slot(me, number) as *const [AtomicU64; 8]) };
    let put = |at: usize, value: u64| record[at].store(value, Ordering::Relaxed);
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    put(0, 0);
    core::sync::atomic::fence(Ordering::Release);
    put(1, cpu::rdtsc_unordered());
    put(2, u64::from(event) | u64::from(me.index) << 8);
    put(3, pair(from.sender.process, from.sender.thread));
    put(4, pair(from.alpc_wait.port.load(Ordering::Relaxed), group.id));
    put(5, pair(id, to.sender.process));
    put(6, word & 0xFFFF_FFFF | u64::from(flags) << 48);
    put(7, pair(to.sender.thread, to.alpc_wait.port.load(Ordering::Relaxed)));
    record[0].store(number + 1, Ordering::Release);
    head.store(number + 1, Ordering::Release);
}

/// Records an event on a port outside of a message.
pub fn port_event(event: u8, port: &Port, status: u32) {
    if is_on(&port.group) {
        alpc(event, &port.group, port.id, Details::default().status(NtStatus(status)));
    }
}

/// Records a call that is declared but not implemented.
pub fn not_implemented(number: u32) {
    if ON.load(Ordering::Relaxed) && sched::current().process.traced.load(Ordering::Relaxed) {
        let details = Details { message_type: number as u16, ..Details::default() };
        record(TRACE_NOT_IMPLEMENTED, 0, 0, details.status(STATUS_NOT_IMPLEMENTED));
    }
}

fn log_name(kind: u32, id: u32, owner: u32, name: &str) {
    if BASE.load(Ordering::Acquire) == 0 {
        return;
    }
    let mut text = [0; 40];
    // A long path is known by its end.
    let bytes = name.as_bytes();
    let cut = &bytes[bytes.len().saturating_sub(40)..];
    text[..cut.len()].copy_from_slice(cut);
    let record = NameRecord { sequence: 0, kind, id, owner, length: cut.len() as u32, name: text };
    let mut head = NAMES.lock();
    let rings = u64::from(percpu_rings()) * RECORDS.load(Ordering::Relaxed);
    publish(records_start() + (rings + *head % NAME_RECORDS) * 64, *head, &zerocopy::transmute!(record));
    *head += 1;
    header_field(core::mem::offset_of!(TraceHeader, name_head)).store(*head, Ordering::Release);
}

fn percpu_rings() -> u32 {
    // SAFETY: the header is mapped for good and this field never changes.
    unsafe { (*(TRACE_BASE as *const TraceHeader)).cpus }
}

/// A process got its name.
pub fn name_process(process: &Process, name: &str) {
    let passes = matches(&FILTER.lock().process, name);
    process.traced.store(passes, Ordering::Relaxed);
    log_name(NAME_PROCESS, process.id(), process.parent, name);
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
    log_name(NAME_PORT, port.id, port.owner, name);
}
