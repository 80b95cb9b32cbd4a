//! Reads the kernel's trace memory (layout: [`abi::trace`]) while the kernel writes to it.
//!
//! Nothing read here can be trusted to hold still: a record counts only when its sequence number is the
//! expected one before and after the copy. What was overwritten, before or during the reading, is counted as
//! lost and never passed over in silence.

use abi::trace::{MAX_CPUS, NameRecord, PayloadRecord, RECORD_WORDS, RawRecord, TraceHeader, TraceRecord};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem::offset_of;
use zerocopy::{IntoBytes, transmute};

/// Memory that somebody else writes to, read in aligned words.
pub trait Memory {
    /// Bytes.
    fn size(&self) -> usize;
    /// The word at a byte offset (a multiple of 8 below [`Memory::size`]). Reads are made in program order.
    fn word(&self, offset: usize) -> u64;
}

/// Where the rings begin.
const HEADER_SIZE: usize = 4096;
/// Words of a name record.
const NAME_WORDS: usize = size_of::<NameRecord>() / 8;

/// How far each ring had been written at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position([u64; MAX_CPUS]);

impl Position {
    /// Before the first record.
    pub const START: Self = Self([0; MAX_CPUS]);

    /// Records written between `earlier` and this position.
    pub fn since(&self, earlier: &Self) -> u64 {
        self.0.iter().zip(&earlier.0).map(|(now, then)| now.saturating_sub(*then)).sum()
    }
}

/// What a reading found.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The records that were wanted, in order of time.
    pub records: Vec<TraceRecord>,
    /// Records that had been overwritten.
    pub lost: u64,
    /// What is there of the payloads, by the processor and sequence number of the record that they belong to.
    pub payloads: BTreeMap<(u8, u64), Vec<u8>>,
}

impl Reading {
    /// What is there of the payload of a record's message.
    pub fn payload(&self, record: &TraceRecord) -> &[u8] {
        self.payloads.get(&(record.cpu, record.sequence)).map_or(&[], Vec::as_slice)
    }
}

/// Puts pieces of payloads together, in one ring.
#[derive(Default)]
struct Pieces {
    /// The last event and its message.
    event: Option<(u64, u32)>,
    bytes: Vec<u8>,
}

impl Pieces {
    fn end(&mut self, cpu: u8, payloads: &mut BTreeMap<(u8, u64), Vec<u8>>) {
        if let Some((sequence, _)) = self.event.take()
            && !self.bytes.is_empty()
        {
            payloads.insert((cpu, sequence), core::mem::take(&mut self.bytes));
        }
        self.bytes.clear();
    }

    /// A piece that does not follow its event, or what it follows there, belongs to something lost.
    fn take(&mut self, piece: &PayloadRecord) {
        let length = usize::from(piece.length).min(piece.bytes.len());
        if self.event.is_some_and(|(_, message)| message == piece.message_id)
            && usize::from(piece.offset) == self.bytes.len()
        {
            self.bytes.extend_from_slice(&piece.bytes[..length]);
        }
    }
}

/// The trace memory.
#[derive(Debug)]
pub struct Trace<M> {
    memory: M,
    cpus: usize,
    records_per_ring: usize,
    name_records: usize,
}

impl<M: Memory> Trace<M> {
    /// Takes trace memory; `None` when its header does not fit its size.
    pub fn new(memory: M) -> Option<Self> {
        if memory.size() < HEADER_SIZE {
            return None;
        }
        let [a, b] = [memory.word(0), memory.word(8)];
        let cpus = usize::try_from(a & 0xFFFF_FFFF).ok()?;
        let records_per_ring = usize::try_from(a >> 32).ok()?;
        let name_records = usize::try_from(b & 0xFFFF_FFFF).ok()?;
        let rings = cpus.checked_mul(records_per_ring)?.checked_mul(size_of::<TraceRecord>())?;
        let names = name_records.checked_mul(size_of::<NameRecord>())?;
        let needed = rings.checked_add(names)?.checked_add(HEADER_SIZE)?;
        let good = (1..=MAX_CPUS).contains(&cpus) && records_per_ring > 0 && needed <= memory.size();
        good.then_some(Self { memory, cpus, records_per_ring, name_records })
    }

    /// Processors that have a ring.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// Records that a ring holds.
    pub fn records_per_ring(&self) -> usize {
        self.records_per_ring
    }

    /// True while events are recorded.
    pub fn is_enabled(&self) -> bool {
        self.memory.word(offset_of!(TraceHeader, name_records)) >> 32 != 0
    }

    /// Time-stamp counter ticks per second, and its value at kernel entry.
    pub fn clock(&self) -> Clock {
        Clock {
            frequency: self.memory.word(offset_of!(TraceHeader, tsc_frequency)),
            boot: self.memory.word(offset_of!(TraceHeader, tsc_boot)),
        }
    }

    /// How far the rings are written now.
    pub fn position(&self) -> Position {
        let heads = offset_of!(TraceHeader, heads);
        Position(core::array::from_fn(
            |cpu| if cpu < self.cpus { self.memory.word(heads + cpu * 8) } else { 0 },
        ))
    }

    /// Requests whose time the kernel has forgotten before they were answered, under a filter by latency.
    pub fn forgotten(&self) -> u64 {
        self.memory.word(offset_of!(TraceHeader, forgotten))
    }

    /// Reads what was written since `from` and is still there, in order of time; `keep` says which records are wanted.
    pub fn read(&self, from: &Position, keep: impl FnMut(&TraceRecord) -> bool) -> Reading {
        self.read_between(from, &self.position(), keep)
    }

    /// As [`Trace::read`], of what was written until `to`.
    pub fn read_between(
        &self,
        from: &Position,
        to: &Position,
        mut keep: impl FnMut(&TraceRecord) -> bool,
    ) -> Reading {
        let mut reading = Reading::default();
        for cpu in 0..self.cpus {
            let ring = Ring { base: self.ring_base(cpu), capacity: self.records_per_ring };
            let mut pieces = Pieces::default();
            let index = cpu as u8;
            reading.lost += self.walk(ring, from.0[cpu], to.0[cpu], |words: [u64; RECORD_WORDS]| {
                let record = RawRecord::new(words, index);
                if let RawRecord::Payload(piece) = &record {
                    return pieces.take(piece);
                }
                pieces.end(index, &mut reading.payloads);
                for event in record.events().filter(&mut keep) {
                    pieces.event =
                        Some((event.sequence, event.message_id).max(pieces.event.unwrap_or_default()));
                    reading.records.push(event);
                }
            });
            pieces.end(index, &mut reading.payloads);
        }
        reading.records.sort_by_key(|r| (r.tsc, r.cpu, r.sequence));
        reading
    }

    /// Reads the name log; also says how many names it no longer holds.
    pub fn names(&self) -> (Vec<NameRecord>, u64) {
        let log = Ring { base: self.ring_base(self.cpus), capacity: self.name_records };
        let head = self.memory.word(offset_of!(TraceHeader, name_head));
        let mut names = Vec::new();
        let lost = self.walk(log, 0, head, |words: [u64; NAME_WORDS]| names.push(transmute!(words)));
        (names, lost)
    }

    /// Where the ring of a processor begins; behind the last lies the name log.
    fn ring_base(&self, cpu: usize) -> usize {
        HEADER_SIZE + cpu * self.records_per_ring * size_of::<TraceRecord>()
    }

    /// Passes the records `from..to` of a ring to `take`; gives how many of them were overwritten.
    fn walk<const WORDS: usize>(
        &self,
        ring: Ring,
        from: u64,
        to: u64,
        mut take: impl FnMut([u64; WORDS]),
    ) -> u64 {
        let capacity = ring.capacity as u64;
        let oldest = to.saturating_sub(capacity);
        let mut lost = oldest.saturating_sub(from);
        for number in from.max(oldest)..to {
            let slot = (number % capacity) as usize;
            match self.copy(ring.base + slot * WORDS * 8, number + 1) {
                Some(words) => take(words),
                None => lost += 1,
            }
        }
        lost
    }

    /// Copies a record, unless its sequence number is or becomes another.
    fn copy<const WORDS: usize>(&self, at: usize, sequence: u64) -> Option<[u64; WORDS]> {
        let words: [u64; WORDS] = core::array::from_fn(|i| self.memory.word(at + i * 8));
        (words[0] == sequence && self.memory.word(at) == sequence).then_some(words)
    }
}

/// Records of one kind, one after the other.
#[derive(Clone, Copy)]
struct Ring {
    base: usize,
    capacity: usize,
}

/// The time-stamp counter's measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Ticks per second (0 when unknown).
    pub frequency: u64,
    /// Value at kernel entry.
    pub boot: u64,
}

impl Clock {
    /// Nanoseconds since kernel entry.
    pub fn nanoseconds(&self, tsc: u64) -> u64 {
        let ticks = u128::from(tsc.saturating_sub(self.boot));
        u64::try_from(ticks * 1_000_000_000 / u128::from(self.frequency.max(1))).unwrap_or(u64::MAX)
    }

    /// So many ticks in nanoseconds.
    pub fn span(&self, ticks: u64) -> u64 {
        Self { boot: 0, ..*self }.nanoseconds(ticks)
    }
}

impl Memory for Vec<u64> {
    fn size(&self) -> usize {
        self.as_slice().as_bytes().len()
    }

    fn word(&self, offset: usize) -> u64 {
        self[offset / 8]
    }
}

impl<M: Memory> Memory for &M {
    fn size(&self) -> usize {
        (**self).size()
    }

    fn word(&self, offset: usize) -> u64 {
        (**self).word(offset)
    }
}

const _: () = assert!(size_of::<TraceHeader>() <= HEADER_SIZE);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TraceMemory;
    use abi::trace::TRACE_PAYLOAD;
    use core::cell::RefCell;

    fn sequences(reading: &Reading) -> Vec<(u8, u64)> {
        reading.records.iter().map(|r| (r.cpu, r.sequence)).collect()
    }

    #[test]
    fn rings_are_merged_by_time() {
        let mut memory = TraceMemory::new(2, 8, 4);
        memory.event(0, 10, |_| {});
        memory.event(1, 5, |_| {});
        memory.event(0, 20, |_| {});
        memory.event(1, 15, |_| {});
        let trace = Trace::new(memory.words()).unwrap();
        let reading = trace.read(&Position::START, |_| true);
        assert_eq!(sequences(&reading), [(1, 1), (0, 1), (1, 2), (0, 2)]);
        assert_eq!(reading.lost, 0);
    }

    #[test]
    fn after_a_wrap_the_rest_is_lost_and_counted() {
        let mut memory = TraceMemory::new(1, 8, 4);
        (0..20).for_each(|t| memory.event(0, t, |_| {}));
        let trace = Trace::new(memory.words()).unwrap();
        let reading = trace.read(&Position::START, |_| true);
        assert_eq!(reading.lost, 12);
        assert_eq!(reading.records.len(), 8);
        assert_eq!(reading.records[0].sequence, 13);
    }

    #[test]
    fn a_reading_begins_where_it_is_told() {
        let mut memory = TraceMemory::new(2, 8, 4);
        memory.event(0, 1, |_| {});
        let middle = Trace::new(memory.words()).unwrap().position();
        memory.event(0, 2, |_| {});
        memory.event(1, 3, |_| {});
        let trace = Trace::new(memory.words()).unwrap();
        assert_eq!(sequences(&trace.read(&middle, |_| true)), [(0, 2), (1, 1)]);
        assert_eq!(trace.position().since(&middle), 2);
        assert_eq!(trace.read(&trace.position(), |_| true).records.len(), 0);
    }

    #[test]
    fn unwanted_records_are_not_lost_records() {
        let mut memory = TraceMemory::new(1, 8, 4);
        (0..6).for_each(|t| memory.event(0, t, |r| r.port = t as u32 % 2));
        let reading = Trace::new(memory.words()).unwrap().read(&Position::START, |r| r.port == 1);
        assert_eq!((reading.records.len(), reading.lost), (3, 0));
    }

    /// Memory that a writer changes after a number of reads.
    struct Racing {
        state: RefCell<(TraceMemory, usize)>,
        after: usize,
    }

    impl Memory for Racing {
        fn size(&self) -> usize {
            self.state.borrow().0.words().size()
        }

        fn word(&self, offset: usize) -> u64 {
            let (memory, reads) = &mut *self.state.borrow_mut();
            *reads += 1;
            if *reads == self.after {
                (100..105).for_each(|t| memory.event(0, t, |r| r.port = 7));
            }
            memory.words().word(offset)
        }
    }

    #[test]
    fn a_record_that_is_overwritten_while_it_is_read_is_lost_not_torn() {
        let mut outcomes = alloc::collections::BTreeSet::new();
        for after in 1..400 {
            let mut memory = TraceMemory::new(1, 8, 4);
            (0..8).for_each(|t| memory.event(0, t, |r| r.port = 3));
            let racing = Racing { state: RefCell::new((memory, 0)), after };
            let trace = Trace::new(racing).unwrap();
            let reading = trace.read(&Position::START, |_| true);
            for record in &reading.records {
                let fresh = record.sequence > 8;
                assert_eq!(
                    record.port,
                    if fresh { 7 } else { 3 },
                    "torn with the writer after {after} reads"
                );
                assert_eq!(record.tsc >= 100, fresh, "torn with the writer after {after} reads");
            }
            let (found, total) = (reading.records.len() as u64 + reading.lost, trace.position().0[0]);
            assert!(found == 8 || found == total, "{found} of {total} accounted for");
            outcomes.insert(reading.lost);
        }
        assert!(outcomes.len() > 3, "the race was not met: {outcomes:?}");
    }

    #[test]
    fn a_record_being_written_is_not_taken() {
        let mut memory = TraceMemory::new(1, 8, 4);
        (0..3).for_each(|t| memory.event(0, t, |_| {}));
        memory.words_mut()[HEADER_SIZE / 8 + RECORD_WORDS] = 0;
        let reading = Trace::new(memory.words()).unwrap().read(&Position::START, |_| true);
        assert_eq!((reading.records.len(), reading.lost), (2, 1));
    }

    fn piece(memory: &mut TraceMemory, message_id: u32, offset: u16, text: &[u8]) {
        let mut bytes = [0; 40];
        bytes[..text.len()].copy_from_slice(text);
        let length = text.len() as u8;
        let piece =
            PayloadRecord { sequence: 0, tsc: 0, event: TRACE_PAYLOAD, length, offset, message_id, bytes };
        memory.raw(0, transmute!(piece));
    }

    #[test]
    fn payloads_are_put_together() {
        let mut memory = TraceMemory::new(1, 8, 4);
        piece(&mut memory, 6, 40, b"of something lost");
        memory.event(0, 1, |r| r.message_id = 7);
        piece(&mut memory, 7, 0, &[b'a'; 40]);
        piece(&mut memory, 7, 40, b"bc");
        memory.event(0, 2, |r| r.message_id = 8);
        memory.event(0, 3, |r| r.message_id = 9);
        piece(&mut memory, 9, 0, b"z");
        let reading = memory.trace().read(&Position::START, |_| true);
        let payloads: Vec<&[u8]> = reading.records.iter().map(|r| reading.payload(r)).collect();
        let mut long = [b'a'; 42];
        long[40..].copy_from_slice(b"bc");
        assert_eq!(payloads, [&long[..], b"", b"z"]);
        assert_eq!(reading.lost, 0);
    }

    #[test]
    fn names_and_their_loss() {
        let mut memory = TraceMemory::new(1, 8, 4);
        (0..6).for_each(|i| memory.name(abi::trace::NAME_PROCESS, i, 0, "x"));
        let (names, lost) = Trace::new(memory.words()).unwrap().names();
        assert_eq!(names.iter().map(|n| n.id).collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert_eq!(lost, 2);
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        let mut memory = TraceMemory::new(2, 8, 4);
        assert!(Trace::new(memory.words()).is_some());
        memory.words_mut()[0] = u64::MAX;
        assert!(Trace::new(memory.words()).is_none());
        memory.words_mut()[0] = 0;
        assert!(Trace::new(memory.words()).is_none());
        memory.words_mut()[0] = 2 | 9 << 32;
        assert!(Trace::new(memory.words()).is_none());
        assert!(Trace::new(&Vec::new()).is_none());
    }

    #[test]
    fn ticks_become_time() {
        let clock = Clock { frequency: 2_500_000_000, boot: 1000 };
        assert_eq!(clock.nanoseconds(1000 + 2_500), 1000);
        assert_eq!(clock.nanoseconds(0), 0);
        assert_eq!(clock.nanoseconds(u64::MAX) / 1_000_000_000, u64::MAX / 2_500_000_000);
    }
}
