//! Where a message is put while a thread waits for it: straight into the buffer that the thread gave.
//!
//! Opened by the owner before it parks for a message; used by [`crate::alpc::fastpath`] of another thread under the
//! dispatcher lock while the owner is parked; read by the owner when it runs again. So the two never touch it at the
//! same time. It holds a kernel address of the buffer, good for one version of the owner's address space, and what
//! the receiver is told of a message besides what lies in the buffer.

use crate::mm::space::AddressSpace;
use abi::alpc::PORT_MESSAGE_SIZE;
use antares_core::alpc::ObjectContext;
use core::cell::Cell;

/// The owner asked for attributes.
const ATTRIBUTES: u8 = 1;
/// The owner waits in the middle of what it does the long way, and must go on there.
const LONG: u8 = 2;

/// See the module head.
pub struct Landing {
    /// User addresses of the buffer and of the word for its length, and its size, which the next five are about.
    buffer: Cell<u64>,
    length: Cell<u64>,
    size: Cell<u64>,
    address: Cell<u64>,
    length_address: Cell<u64>,
    /// Payload bytes to the end of the buffer's page, plus one; 0: nothing can land.
    page_room: Cell<u64>,
    version: Cell<u64>,
    /// Payload bytes that may be put there, plus one.
    limit: Cell<u64>,
    /// What the owner does with a message besides going on in user mode.
    more: Cell<u8>,
    /// First word of the header of the message that was put there; 0: none that the owner must be told of.
    landed: Cell<u64>,
    /// Its message id.
    id: Cell<u32>,
    /// What the attributes say; only for an owner that asked for them.
    context: Cell<Context>,
}

/// What attributes say of a message that was put into a buffer.
#[derive(Clone, Copy)]
pub struct Context {
    /// Process that sent it.
    pub process: u32,
    /// Port context.
    pub context: u64,
    /// For server objects.
    pub object: Option<ObjectContext>,
    /// Sequence number.
    pub sequence: u32,
}

/// A message that was put into the owner's buffer.
#[derive(Clone, Copy)]
pub struct Landed {
    /// First word of its header.
    pub word: u64,
    /// Message id.
    pub id: u32,
}

impl Landed {
    /// Payload bytes.
    pub const fn data_length(self) -> u16 {
        self.word as u16
    }

    /// Type with flags.
    pub const fn message_type(self) -> u16 {
        (self.word >> 32) as u16
    }
}

// SAFETY: the owner uses it while it runs, others only under the dispatcher lock while the owner is parked, or has become
// current and does not run yet; the lock orders the two.
unsafe impl Sync for Landing {}

/// A place for one message of a parked thread.
#[derive(Clone, Copy)]
pub struct Place {
    /// Kernel address of the header; the payload follows it.
    pub message: *mut u64,
    /// Kernel address of the word for the length.
    pub length: *mut u64,
    /// Version of the address space for which that is true.
    pub version: u64,
}

impl Landing {
    /// A closed landing.
    pub const fn new() -> Self {
        Self {
            buffer: Cell::new(0),
            length: Cell::new(0),
            size: Cell::new(0),
            address: Cell::new(0),
            length_address: Cell::new(0),
            page_room: Cell::new(0),
            version: Cell::new(u64::MAX),
            limit: Cell::new(0),
            more: Cell::new(0),
            landed: Cell::new(0),
            id: Cell::new(0),
            context: Cell::new(Context { process: 0, context: 0, object: None, sequence: 0 }),
        }
    }

    /// The owner, which calls this, is about to park for a message into `buffer`, of at most `size` bytes with the header, whose
    /// length goes to `length`. When it goes on it collects what landed.
    pub fn open(&self, buffer: u64, length: u64, size: u64, attributes: bool, space: &AddressSpace) {
        if !self.reopen(buffer, length, size, attributes, space) {
            self.look_up(buffer, length, space);
            self.set_size(size);
        }
        self.more.set(if attributes { LONG | ATTRIBUTES } else { LONG });
    }

    /// As [`Landing::open`], if that was last done for the same addresses and nothing has changed since; for an owner that goes
    /// on in user mode when a message has landed.
    #[inline(always)]
    pub fn reopen(
        &self,
        buffer: u64,
        length: u64,
        size: u64,
        attributes: bool,
        space: &AddressSpace,
    ) -> bool {
        if self.buffer.get() != buffer || self.length.get() != length || self.version.get() != space.version()
        {
            return false;
        }
        if self.size.get() != size {
            self.set_size(size);
        }
        self.more.set(attributes.into());
        true
    }

    #[cold]
    fn set_size(&self, size: u64) {
        self.size.set(size);
        let room = size.checked_sub(PORT_MESSAGE_SIZE as u64).map_or(0, |room| room + 1);
        self.limit.set(self.page_room.get().min(room));
    }

    /// Size of the buffer that was given last.
    pub fn size(&self) -> u64 {
        self.size.get()
    }

    #[cold]
    fn look_up(&self, buffer: u64, length: u64, space: &AddressSpace) {
        const HEADER: u64 = PORT_MESSAGE_SIZE as u64;
        let version = space.version();
        // Written in whole words.
        let place = |address: u64| if address.is_multiple_of(8) { space.landing(address) } else { None };
        let found = place(buffer).filter(|found| found.room >= HEADER);
        let word = place(length).filter(|found| found.room >= 8);
        let both =
            found.zip(word).filter(|(found, word)| found.version == version && word.version == version);
        self.buffer.set(buffer);
        self.length.set(length);
        self.page_room.set(both.map_or(0, |(found, _)| found.room - HEADER + 1));
        // Without them nothing is remembered: the pages may come any time.
        self.version.set(both.map_or(u64::MAX, |_| version));
        self.address.set(both.map_or(0, |(found, _)| found.address));
        self.length_address.set(both.map_or(0, |(_, word)| word.address));
    }

    /// The owner asked for attributes.
    pub fn wants_attributes(&self) -> bool {
        self.more.get() & ATTRIBUTES != 0
    }

    /// The owner has nothing to do with a message but to go on in user mode, and need not be told of it.
    #[inline(always)]
    pub fn is_all(&self) -> bool {
        self.more.get() == 0
    }

    /// Where a message with `length` bytes of payload can be put.
    ///
    /// # Safety
    /// The owner is parked, or current and not running yet, and the caller holds the dispatcher lock.
    #[inline(always)]
    pub unsafe fn place(&self, length: u64) -> Option<Place> {
        (length < self.limit.get()).then(|| Place {
            message: self.address.get() as *mut u64,
            length: self.length_address.get() as *mut u64,
            version: self.version.get(),
        })
    }

    /// Tells the owner that the message is there.
    ///
    /// # Safety
    /// As for [`Landing::place`], which gave the place where header and payload lie now.
    pub unsafe fn fill(&self, landed: Landed, context: Context) {
        self.landed.set(landed.word);
        self.id.set(landed.id);
        self.context.set(context);
    }

    /// What was put into the buffer, if something was. Only the owner calls this, while it runs.
    pub fn collect(&self) -> Option<Landed> {
        let word = self.landed.replace(0);
        (word != 0).then(|| Landed { word, id: self.id.get() })
    }

    /// What the attributes of the message last collected say.
    pub fn context(&self) -> Context {
        self.context.get()
    }
}

impl Default for Landing {
    fn default() -> Self {
        Self::new()
    }
}
