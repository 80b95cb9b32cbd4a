//! Where a message is put while a thread waits for it: straight into the buffer that the thread gave.
//!
//! Opened by the owner before it parks for a message; used by [`crate::alpc::fastpath`] of another thread under the
//! dispatcher lock while the owner is parked; read by the owner when it runs again. So the two never touch it at the
//! same time. It holds a kernel address of the buffer, good for one version of the owner's address space, and what
//! the receiver is told of a message besides what lies in the buffer.

use crate::alpc::message::ReceiveBuffer;
use crate::mm::space::AddressSpace;
use abi::alpc::{ClientId, PORT_MESSAGE_SIZE, PortMessage};
use antares_core::alpc::{ObjectContext, Sender};
use core::cell::Cell;

/// What a receiver is told of a message besides its payload.
#[derive(Clone, Copy)]
pub struct Mail {
    /// The header as the receiver sees it.
    pub header: PortMessage,
    /// Port context.
    pub context: u64,
    /// For server objects.
    pub object: Option<ObjectContext>,
    /// Sequence number.
    pub sequence: u32,
}

impl Mail {
    /// A message without context.
    #[inline(always)]
    pub fn new(id: u32, message_type: u16, length: u16, sender: Sender) -> Self {
        let header = PortMessage {
            data_length: length,
            total_length: length.wrapping_add(PORT_MESSAGE_SIZE as u16),
            message_type,
            data_info_offset: 0,
            client_id: ClientId {
                unique_process: u64::from(sender.process),
                unique_thread: u64::from(sender.thread),
            },
            message_id: id,
            reserved: 0,
            callback_id: 0,
        };
        Self { header, context: 0, object: None, sequence: 0 }
    }
}

/// See the module head.
pub struct Landing {
    /// User address of the buffer that the next three are about.
    buffer: Cell<u64>,
    address: Cell<u64>,
    page_room: Cell<u64>,
    version: Cell<u64>,
    /// Payload bytes that may be put there, plus one; 0 while it is closed.
    limit: Cell<u64>,
    /// The owner asked for attributes.
    attributes: Cell<bool>,
    /// What was put there.
    mail: Cell<Option<Mail>>,
}

// SAFETY: the owner uses it while it runs, others only under the dispatcher lock while the owner is parked; the lock
// orders the two.
unsafe impl Sync for Landing {}

/// A place for one message of a parked thread.
#[derive(Clone, Copy)]
pub struct Place {
    /// Kernel address of the header; the payload follows it.
    pub address: u64,
    /// Version of the address space for which that is true.
    pub version: u64,
    /// The owner asked for attributes.
    pub attributes: bool,
}

impl Landing {
    /// A closed landing.
    pub const fn new() -> Self {
        Self {
            buffer: Cell::new(0),
            address: Cell::new(0),
            page_room: Cell::new(0),
            version: Cell::new(0),
            limit: Cell::new(0),
            attributes: Cell::new(false),
            mail: Cell::new(None),
        }
    }

    /// The owner, which calls this, is about to park for a message into `buffer`.
    #[inline(always)]
    pub fn open(&self, buffer: u64, room: u64, attributes: bool, space: &AddressSpace) {
        if self.buffer.get() != buffer || self.version.get() != space.version() {
            self.look_up(buffer, space);
        }
        self.limit.set(self.page_room.get().min(room + 1));
        self.attributes.set(attributes);
    }

    #[cold]
    fn look_up(&self, buffer: u64, space: &AddressSpace) {
        const HEADER: u64 = PORT_MESSAGE_SIZE as u64;
        self.buffer.set(buffer);
        let found = space.landing(buffer).filter(|found| found.room > HEADER);
        self.page_room.set(found.map_or(0, |found| found.room - HEADER + 1));
        // Without one nothing is remembered: the page may come any time.
        self.version.set(found.map_or(u64::MAX, |found| found.version));
        self.address.set(found.map_or(0, |found| found.address));
    }

    /// The owner parks for something else.
    pub fn close(&self) {
        self.limit.set(0);
    }

    /// Where a message with `length` bytes of payload can be put.
    ///
    /// # Safety
    /// The owner is parked and the caller holds the dispatcher lock.
    #[inline(always)]
    pub unsafe fn place(&self, length: u64) -> Option<Place> {
        (length < self.limit.get()).then(|| Place {
            address: self.address.get(),
            version: self.version.get(),
            attributes: self.attributes.get(),
        })
    }

    /// Tells the owner that the message is there.
    ///
    /// # Safety
    /// As for [`Landing::place`], which gave a place; header and payload lie there.
    #[inline(always)]
    pub unsafe fn fill(&self, mail: Mail) {
        self.mail.set(Some(mail));
    }

    /// What was put in the buffer, if something was. Only the owner calls this, while it runs.
    #[inline(always)]
    pub fn collect(&self) -> Option<Mail> {
        self.mail.take()
    }
}

impl Default for Landing {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveBuffer {
    /// Opens the current thread's landing for this buffer.
    pub fn open(&self, landing: &Landing, space: &AddressSpace) {
        landing.open(self.message.address(), self.room as u64, !self.attributes.is_null(), space);
    }
}
