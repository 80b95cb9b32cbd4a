//! A thread's inbox: where a small message is put while the thread waits for it, so that no memory is allocated.
//!
//! Filled by [`crate::ke::sched::post`] under the dispatcher lock while the owner is parked; read by the owner when it
//! runs again. So the two never touch it at the same time.

use abi::alpc::{ClientId, PORT_MESSAGE_SIZE, PortMessage};
use antares_core::alpc::{ObjectContext, Sender};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Largest payload that goes through an inbox.
pub const INBOX_BYTES: usize = 128;
const WORDS: usize = INBOX_BYTES / 8;

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
    #[inline]
    pub fn new(id: u32, message_type: u16, length: u16, sender: Sender) -> Self {
        let header = PortMessage {
            data_length: length,
            total_length: length + PORT_MESSAGE_SIZE as u16,
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

/// Header and payload lie as in a receiver's buffer.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Message {
    header: PortMessage,
    data: [u64; WORDS],
}

struct Contents {
    message: Message,
    context: u64,
    object: Option<ObjectContext>,
    sequence: u32,
}

/// See the module head.
pub struct Inbox {
    room: AtomicUsize,
    full: AtomicBool,
    contents: UnsafeCell<Contents>,
}

// SAFETY: the contents are written by one poster while the owner is parked, and read by the owner while it runs; the
// dispatcher lock orders the two.
unsafe impl Sync for Inbox {}

impl Inbox {
    /// An empty, closed inbox.
    pub const fn new() -> Self {
        let header = match PortMessage::with_data(0) {
            Some(header) => header,
            None => unreachable!(),
        };
        let message = Message { header, data: [0; WORDS] };
        Self {
            room: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            contents: UnsafeCell::new(Contents { message, context: 0, object: None, sequence: 0 }),
        }
    }

    /// The owner will wait for a message of at most `room` payload bytes.
    #[inline]
    pub fn open(&self, room: usize) {
        self.room.store(room, Ordering::Relaxed);
    }

    /// The owner no longer waits.
    #[inline]
    pub fn close(&self) {
        self.room.store(0, Ordering::Relaxed);
    }

    /// Payload bytes that the owner takes.
    #[inline]
    pub fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    /// Puts a message in.
    ///
    /// # Safety
    /// The owner was parked with the inbox open and cannot run before the caller opens the dispatcher lock, which it
    /// holds. `data` holds the payload and has at most [`INBOX_BYTES`].
    pub unsafe fn fill(&self, mail: &Mail, data: &[u64]) {
        // SAFETY: nobody else touches the contents now, by the contract.
        let contents = unsafe { &mut *self.contents.get() };
        contents.message.header = mail.header;
        contents.context = mail.context;
        contents.object = mail.object;
        contents.sequence = mail.sequence;
        for (to, from) in contents.message.data.iter_mut().zip(data) {
            *to = *from;
        }
        self.full.store(true, Ordering::Relaxed);
    }

    /// Takes a message out, if there is one: its head, and header and payload as one run of bytes. Only the owner calls
    /// this, while it runs.
    #[inline]
    pub fn take<R>(&self, with: impl FnOnce(&Mail, &[u8]) -> R) -> Option<R> {
        if !self.full.load(Ordering::Relaxed) {
            return None;
        }
        self.full.store(false, Ordering::Relaxed);
        // SAFETY: the owner runs and its inbox is closed, so nobody fills it.
        let Contents { message, context, object, sequence } = unsafe { &*self.contents.get() };
        let mail = Mail { header: message.header, context: *context, object: *object, sequence: *sequence };
        Some(with(&mail, &message.as_bytes()[..usize::from(message.header.total_length)]))
    }
}
