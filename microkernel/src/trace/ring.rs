//! The trace memory: a ring of records for each processor, and the log of names. Layout: [`abi::trace`].
//!
//! The only place that writes there. A ring is written by its processor, with interrupts off; the name log under its
//! lock. Readers in ring 3 have it mapped read-only and find out by the sequence numbers what they may believe.

use crate::alpc::group::GroupCell;
use crate::arch::percpu::{self, PerCpu};
use crate::arch::{cpu, paging, time, usercopy};
use crate::kref::Ref;
use crate::mm::section::Section;
use crate::mm::{TRACE_BASE, frames, kernel_root, phys_to_virt};
use crate::ps::thread::{AlpcWait, Thread};
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::status::STATUS_NO_MEMORY;
use abi::trace::*;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering, fence};

static PHYSICAL: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
/// Where the name log begins; 0: there is no trace memory.
static NAME_LOG: AtomicU64 = AtomicU64::new(0);
static NAMES: Lock<u64, { rank::LEAF }> = Lock::new(0);
const NAME_RECORDS: u64 = 2048;

/// Makes the rings for this many processors, of `wanted` records each; without a wish 16,384 where memory is not short.
/// Rounded down to a power of two, and to what there is memory for.
pub fn init(cpus: u32, tsc_boot: u64, wanted: Option<u32>) -> Option<()> {
    let ram = frames::counts().0 * 4096;
    let usual: u64 = if ram >= 256 << 20 { 16384 } else { 4096 };
    // No more than a quarter of the memory is given away.
    let most = ram / 4 / u64::from(cpus) / 64;
    let mut per_ring = 1 << wanted.map_or(usual, u64::from).min(most).max(4096).ilog2();
    let (physical, bytes) = loop {
        let bytes = (HEADER + (u64::from(cpus) * per_ring + NAME_RECORDS) * 64).next_multiple_of(4096);
        match frames::alloc_contiguous((bytes / 4096) as usize) {
            Some(physical) => break (physical, bytes),
            None if per_ring > 4096 => per_ring /= 2,
            None => return None,
        }
    };
    for offset in (0..bytes).step_by(4096) {
        // SAFETY: frames just taken, in the direct map.
        unsafe { phys_to_virt(physical + offset).write_bytes(0, 4096) };
        let (to, flags) = (TRACE_BASE + offset, paging::W | paging::NX | paging::G);
        paging::map_kernel(kernel_root(), to, physical + offset, flags)?;
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
        forgotten: 0,
    };
    // SAFETY: the trace memory was just mapped and has room for the header.
    unsafe { (TRACE_BASE as *mut TraceHeader).write(header) };
    for index in 0..cpus {
        let block = percpu::of(index);
        let head = offset_of!(TraceHeader, heads) + 8 * index as usize;
        block.trace_ring.store(TRACE_BASE + HEADER + u64::from(index) * per_ring * 64, Ordering::Relaxed);
        block.trace_mask.store(per_ring - 1, Ordering::Relaxed);
        block.trace_head.store(core::ptr::from_ref(header_field(head)).cast_mut(), Ordering::Relaxed);
    }
    PHYSICAL.store(physical, Ordering::Relaxed);
    BYTES.store(bytes, Ordering::Relaxed);
    NAME_LOG.store(TRACE_BASE + HEADER + u64::from(cpus) * per_ring * 64, Ordering::Release);
    Some(())
}

/// Bytes of the header with its padding.
const HEADER: u64 = size_of::<TraceHeader>().next_multiple_of(4096) as u64;

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

/// Tells readers whether events are recorded.
pub fn set_enabled(on: bool) {
    // `name_records` and `enabled` share an aligned word.
    let offset = offset_of!(TraceHeader, name_records);
    header_field(offset).store(u64::from(on) << 32 | NAME_RECORDS, Ordering::Relaxed);
}

/// Tells readers how many requests' times were forgotten.
pub fn set_forgotten(count: u64) {
    header_field(offset_of!(TraceHeader, forgotten)).store(count, Ordering::Relaxed);
}

/// Writes a 64-byte record whose first word is its sequence number.
fn publish(slot: u64, number: u64, record: &[u64; RECORD_WORDS]) {
    let words = slot as *const AtomicU64;
    // SAFETY: `slot` lies in the trace memory; this processor (or the holder of the names' lock) is its only writer.
    let words = unsafe { core::slice::from_raw_parts(words, RECORD_WORDS) };
    words[0].store(0, Ordering::Relaxed);
    fence(Ordering::Release);
    for (to, from) in words[1..].iter().zip(&record[1..]) {
        to.store(*from, Ordering::Relaxed);
    }
    words[0].store(number + 1, Ordering::Release);
}

/// Writes a record to this processor's ring.
pub fn write(record: [u64; RECORD_WORDS]) {
    let me = percpu::this();
    let head = head(me);
    let number = head.load(Ordering::Relaxed);
    publish(slot(me, number), number, &record);
    head.store(number + 1, Ordering::Release);
}

/// Writes a payload behind its event.
pub fn write_payload(tsc: u64, message_id: u32, payload: &[u8]) {
    for (index, piece) in payload.chunks(PAYLOAD_PIECE).enumerate() {
        let mut bytes = [0; PAYLOAD_PIECE];
        bytes[..piece.len()].copy_from_slice(piece);
        write_piece(tsc, message_id, index * PAYLOAD_PIECE, piece.len(), bytes);
    }
}

/// Writes a payload of `count` bytes that the current process has at a user address behind its event, as far as it can be
/// read without a fault.
pub fn copy_payload(message_id: u32, address: u64, count: usize) {
    for offset in (0..count).step_by(PAYLOAD_PIECE) {
        let mut bytes = [0; PAYLOAD_PIECE];
        let length = (count - offset).min(PAYLOAD_PIECE);
        if !usercopy::peek(&mut bytes[..length], address + offset as u64) {
            return;
        }
        write_piece(cpu::rdtsc_unordered(), message_id, offset, length, bytes);
    }
}

fn write_piece(tsc: u64, message_id: u32, offset: usize, length: usize, bytes: [u8; PAYLOAD_PIECE]) {
    let (length, offset) = (length as u8, offset as u16);
    let record = PayloadRecord { sequence: 0, tsc, event: TRACE_PAYLOAD, length, offset, message_id, bytes };
    write(zerocopy::transmute!(record));
}

/// How many records this processor has written.
#[inline(always)]
fn head(me: &PerCpu) -> &'static AtomicU64 {
    // SAFETY: set by `init`, before anything is recorded, to a field of the header, which is mapped for good.
    unsafe { &*me.trace_head.load(Ordering::Relaxed) }
}

/// Where the record with this number lies in a processor's ring.
#[inline(always)]
fn slot(me: &PerCpu, number: u64) -> u64 {
    // Their number in a ring is a power of two.
    me.trace_ring.load(Ordering::Relaxed) + (number & me.trace_mask.load(Ordering::Relaxed)) * 64
}

/// Writes a [`DirectRecord`]: `event` is its kind with the message's type above 16 bits, `lengths` what begins the
/// message. Field by field, from what lies together in memory already: this is all that tracing adds to the fast path.
///
/// `from` is the current thread, about to park, and `to` is parked until the caller lets go of the dispatcher lock.
#[inline(always)]
pub fn write_direct(group: &GroupCell, event: u32, from: &Thread, to: &Thread, lengths: u32, flags: u32) {
    let me = percpu::this();
    let head = head(me);
    let number = head.load(Ordering::Relaxed);
    let record = slot(me, number) as *mut DirectRecord;
    // SAFETY: a record in the trace memory, of which this processor is the only writer.
    let (record, sequence) = unsafe { (&raw mut *record, &*record.cast::<AtomicU64>()) };
    sequence.store(0, Ordering::Relaxed);
    fence(Ordering::Release);
    let (low, high) = cpu::rdtsc_halves();
    // SAFETY: as above; the fields are aligned for the words that are written. Readers may look at any time, so each write is one access.
    unsafe {
        let half = |at: usize, value: u32| record.byte_add(at).cast::<u32>().write_volatile(value);
        let word = |at: usize, value: u64| record.byte_add(at).cast::<u64>().write_volatile(value);
        half(offset_of!(DirectRecord, data_length), lengths);
        half(offset_of!(DirectRecord, event), event);
        half(offset_of!(DirectRecord, tsc), low);
        half(offset_of!(DirectRecord, tsc) + 4, high);
        half(offset_of!(DirectRecord, connection_port), group.id);
        word(offset_of!(DirectRecord, from), from.sender.as_word());
        word(offset_of!(DirectRecord, from.port), waits(from));
        word(offset_of!(DirectRecord, to), to.sender.as_word());
        word(offset_of!(DirectRecord, to.port), waits(to));
        half(offset_of!(DirectRecord, flags), flags);
    }
    sequence.store(number + 1, Ordering::Release);
    head.store(number + 1, Ordering::Release);
}

/// Port and message that a thread waits for, as they follow each other in a [`DirectSide`].
#[inline(always)]
fn waits(thread: &Thread) -> u64 {
    const _: () = assert!(offset_of!(AlpcWait, message) == offset_of!(AlpcWait, port) + 4);
    let pair = (&raw const thread.alpc_wait.port).cast::<u64>();
    // SAFETY: two aligned words of a living thread that follow each other. Only the thread itself writes them, and it is the
    // current one or parked.
    unsafe { pair.read() }
}

/// Writes a name to the log of names.
pub fn log_name(kind: u32, id: u32, owner: u32, name: &str) {
    let log = NAME_LOG.load(Ordering::Acquire);
    if log == 0 {
        return;
    }
    let mut text = [0; 40];
    // A long path is known by its end.
    let bytes = name.as_bytes();
    let cut = &bytes[bytes.len().saturating_sub(40)..];
    text[..cut.len()].copy_from_slice(cut);
    let record = NameRecord { sequence: 0, kind, id, owner, length: cut.len() as u32, name: text };
    let mut head = NAMES.lock();
    publish(log + *head % NAME_RECORDS * 64, *head, &zerocopy::transmute!(record));
    *head += 1;
    header_field(offset_of!(TraceHeader, name_head)).store(*head, Ordering::Release);
}
