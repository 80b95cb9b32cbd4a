//! Completion lists: messages of a port written into memory of its server, which takes them without system calls.
//!
//! A list belongs to a port that is tied to an I/O completion object, and to the process that registered it. Messages
//! arrive in the port's queue and post packets as ever; a thread of that process that removes packets first has every
//! list of the object filled from its queue ([`fill_all`]), in its own address space and through the ordinary delivery.
//! What finds no room stays queued. The region is the program's: the kernel writes to it and reads back nothing but the
//! bitmap, in one copy, and the bits that are set there can only keep blocks that the kernel itself gave out.
//!
//! One thread fills a list at a time: it takes the list's [`Work`] out, so no lock is held while it copies.

use crate::alpc::group::Fx;
use crate::alpc::message::ReceiveBuffer;
use crate::alpc::ops::{Via, hand_out, me};
use crate::alpc::port::Port;
use crate::ke::completion::IoCompletion;
use crate::ke::sched;
use crate::kref::Ref;
use crate::quota::{Charge, Kind, QuotaBlock};
use crate::sync::{Lock, rank};
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::{AlpcMessageAttributes, PORT_MESSAGE_SIZE};
use abi::arg::{InOut, Out};
use abi::completion::*;
use abi::status::*;
use abi::trace::TRACE_RECEIVE;
use alloc::vec::Vec;
use antares_core::alpc::Received;
use antares_core::alpc::list::{Blocks, Layout};
use core::sync::atomic::{AtomicBool, Ordering};
use zerocopy::IntoBytes;

/// Messages written in one go.
const BATCH: u32 = 256;
/// Times that a thread fills a list anew because another one wanted it filled meanwhile.
const ROUNDS: u32 = 4;

/// Every ALPC_MESSAGE_ attribute bit.
const ALL_ATTRIBUTES: u32 = 0xFE00_0000;

/// What became of an attempt to write a message.
#[derive(PartialEq, Eq)]
enum Step {
    Written,
    /// Somebody else was faster: the next one is another.
    Again,
    /// No message, or no room for it.
    Stop,
}

/// The kernel's own knowledge of a list.
struct Work {
    blocks: Blocks,
    /// The region's bitmap as it was last read.
    bitmap: Vec<u8>,
    tail: u32,
    posted: u32,
    sequence: u32,
}

struct State {
    /// Out while a thread fills the list.
    work: Option<Work>,
    /// Somebody wanted it filled meanwhile.
    again: bool,
}

/// A registered list.
pub struct List {
    process: u32,
    base: u64,
    layout: Layout,
    attributes: u32,
    /// Nothing is written any more: rundown, the end, or a region that is not there.
    stopped: AtomicBool,
    state: Lock<State, { rank::LEAF }>,
    _charge: Charge,
}

impl List {
    /// A list of the calling process, whose region is divided and whose header is written here.
    ///
    /// # Errors
    /// STATUS_INVALID_PARAMETER: the size (0x1000 to 0x100000 bytes), the alignment, or unknown attributes;
    /// STATUS_ACCESS_VIOLATION: the region cannot be written.
    pub fn new(
        quota: &Ref<QuotaBlock>,
        information: &AlpcPortCompletionListInformation,
    ) -> Result<Ref<Self>, NtStatus> {
        let AlpcPortCompletionListInformation { buffer: base, size, attribute_flags: attributes, .. } =
            *information;
        let known = attributes & !ALL_ATTRIBUTES == 0;
        if !base.is_multiple_of(COMPLETION_LIST_ALIGNMENT) || !known {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let layout = Layout::of(size, attributes).ok_or(STATUS_INVALID_PARAMETER)?;
        let bytes = u64::from(layout.bitmap_size);
        let charge = Charge::new(quota, Kind::Pool, Blocks::bytes(&layout) + bytes + 256)?;
        let blocks = Blocks::new(&layout).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let mut bitmap = Vec::new();
        bitmap.try_reserve_exact(bytes as usize).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        bitmap.resize(bytes as usize, 0);
        write_header(base, &layout, attributes, &bitmap)?;
        let work = Work { blocks, bitmap, tail: 0, posted: 0, sequence: 0 };
        Ref::try_new(Self {
            process: sched::current().process.id(),
            base,
            layout,
            attributes,
            stopped: AtomicBool::new(false),
            state: Lock::new(State { work: Some(work), again: false }),
            _charge: charge,
        })
    }

    /// No more messages are written. When this returns, nobody writes to the region.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // A thread that fills it looks at the mark after each message, and never blocks.
        while self.state.lock().work.is_none() {
            sched::preemption_point();
        }
    }

    /// Fills it from its port's queue. Messages written.
    fn fill(&self, port: &Port) -> u32 {
        let mut written = 0;
        for _ in 0..ROUNDS {
            let work = {
                let mut state = self.state.lock();
                let work = state.work.take();
                state.again = work.is_none();
                work
            };
            let Some(mut work) = work else { break };
            written += self.write_messages(port, &mut work);
            let mut state = self.state.lock();
            state.work = Some(work);
            if !core::mem::take(&mut state.again) {
                break;
            }
        }
        written
    }

    fn write_messages(&self, port: &Port, work: &mut Work) -> u32 {
        let bitmap_at = self.base + u64::from(self.layout.bitmap_offset);
        let mut written = 0;
        if port.group.lock().next_length(port.role, usize::MAX).is_none()
            || self.stopped.load(Ordering::SeqCst)
        {
            return 0;
        }
        if user::read_bytes(bitmap_at, &mut work.bitmap).is_err() {
            self.stopped.store(true, Ordering::SeqCst);
            return 0;
        }
        work.blocks.reclaim(&work.bitmap);
        for _ in 0..BATCH {
            match self.write_next(port, work) {
                Ok(Step::Written) => written += 1,
                Ok(Step::Again) => {}
                Ok(Step::Stop) => break,
                // The region is not there any more. What was not delivered is still queued.
                Err(_) => self.stopped.store(true, Ordering::SeqCst),
            }
            if self.stopped.load(Ordering::SeqCst) {
                break;
            }
        }
        written
    }

    /// Writes the next message.
    fn write_next(&self, port: &Port, work: &mut Work) -> Result<Step, NtStatus> {
        let attribute_size = self.layout.attribute_size as usize;
        let most = self.layout.data_size as usize - attribute_size - PORT_MESSAGE_SIZE;
        let next = {
            let mut group = port.group.lock();
            if group.pass_over(port.role, most, &mut Fx::new(false)) {
                // What the list could not take if it were empty is received directly.
                return Ok(Step::Again);
            }
            group.next_length(port.role, most)
        };
        let Some(length) = next else { return Ok(Step::Stop) };
        let Some(granule) = work.blocks.take(attribute_size + PORT_MESSAGE_SIZE + length) else {
            return Ok(Step::Stop);
        };
        let block = u64::from(self.layout.data_offset) + u64::from(granule * COMPLETION_LIST_GRANULE);
        let attributes = self.base + block;
        if attribute_size > 0 {
            let header = AlpcMessageAttributes { allocated_attributes: self.attributes, valid_attributes: 0 };
            if let Err(status) = user::write_bytes(attributes, header.as_bytes()) {
                work.blocks.untake();
                return Err(status);
            }
        }
        let received = {
            let mut group = port.group.lock();
            // Another thread may have received it meanwhile.
            match group.next_length(port.role, length) {
                Some(_) => group.receive(port.role, length, me(), &mut Fx::new(false)),
                None => Received::Empty,
            }
        };
        let Received::Message(delivery) = received else {
            work.blocks.untake();
            return Ok(Step::Again);
        };
        let (id, callback) = (delivery.id, delivery.callback_id);
        let buffer = ReceiveBuffer {
            message: Out::at(attributes + attribute_size as u64),
            length: InOut::NULL,
            attributes: if attribute_size == 0 { InOut::NULL } else { InOut::at(attributes) },
            room: length,
        };
        if let Err(status) = hand_out(&Via::Port(port), Some(port), &buffer, delivery, TRACE_RECEIVE) {
            work.blocks.untake();
            return Err(status);
        }
        self.publish(work, granule, id, callback)?;
        Ok(Step::Written)
    }

    /// Shows a message that lies in a block.
    fn publish(&self, work: &mut Work, granule: u32, id: u32, callback: u32) -> Result<(), NtStatus> {
        use list_header::*;
        let space = &sched::current().process.space;
        let put = |offset: u64, value: u32| user::write(Out::at(self.base + offset), &value);
        let bit = 1 << (granule % 64);
        let word = u64::from(self.layout.bitmap_offset) + u64::from(granule / 64) * 8;
        space.update(self.base + word, |bits| bits | bit)?;
        put(u64::from(self.layout.list_offset) + u64::from(work.tail) * 4, granule)?;
        put(LAST_MESSAGE_ID, id)?;
        put(LAST_CALLBACK_ID, callback)?;
        work.posted = work.posted.wrapping_add(1);
        put(POST_COUNT, work.posted)?;
        work.sequence = work.sequence.wrapping_add(1);
        put(LOG_SEQUENCE_NUMBER, work.sequence)?;
        work.tail = (work.tail + 1) % self.layout.entries();
        let tail = u64::from(work.tail) << TAIL_SHIFT;
        space.update(self.base + STATE, |state| state & !(INDEX_MASK << TAIL_SHIFT) | tail)
    }
}

/// Writes the header of a new list, zeroes its counters and clears its bitmap.
fn write_header(base: u64, layout: &Layout, attributes: u32, zeros: &[u8]) -> Result<(), NtStatus> {
    use list_header::*;
    let mut header = [0u8; COMPLETION_LIST_HEADER_SIZE as usize];
    let mut put = |offset: u64, bytes: &[u8]| {
        let at = offset as usize;
        header[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(START_MAGIC, &COMPLETION_LIST_MAGIC.to_le_bytes());
    put(END_MAGIC, &COMPLETION_LIST_MAGIC.to_le_bytes());
    for (offset, value) in [
        (TOTAL_SIZE, layout.total_size),
        (LIST_OFFSET, layout.list_offset),
        (LIST_SIZE, layout.list_size),
        (BITMAP_OFFSET, layout.bitmap_offset),
        (BITMAP_SIZE, layout.bitmap_size),
        (DATA_OFFSET, layout.data_offset),
        (DATA_SIZE, layout.data_size),
        (ATTRIBUTE_FLAGS, attributes),
        (ATTRIBUTE_SIZE, layout.attribute_size),
    ] {
        put(offset, &value.to_le_bytes());
    }
    user::write_bytes(base.wrapping_add(u64::from(layout.bitmap_offset)), zeros)?;
    user::write_bytes(base, &header)
}

/// Fills every list of an I/O completion object that belongs to the calling process. `waits`: the caller waits for a
/// packet next, so what was written now, without a packet of its own, posts one.
pub fn fill_all(object: &IoCompletion, waits: bool) {
    let process = sched::current().process.id();
    let mut at = 0;
    while let Some(port) = object.list_port(at) {
        at += 1;
        let Some((list, source)) = port.completion.lock().as_ref().and_then(|tie| tie.list()) else {
            continue;
        };
        if list.process == process {
            let written = list.fill(&port);
            if waits && written > 0 {
                // The source may have gone with the association meanwhile, and its number be another's.
                let tie = port.completion.lock();
                let now = tie.as_ref().and_then(|tie| tie.list());
                if now.is_some_and(|(now, at)| now == list && at == source) {
                    sched::lock().post_source(source, written);
                }
            }
        }
    }
}
