//! A thread's inbox: where a small message is put while the thread waits for it, so that no memory is allocated.
//!
//! Filled by [`crate::ke::sched::post`] under the dispatcher lock while the owner is parked; read by the owner when it
//! runs again. So the two never touch it at the same time.

use antares_core::alpc::{ObjectContext, Sender};
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Largest payload that goes through an inbox.
pub const INBOX_BYTES: usize = 128;
const WORDS: usize = INBOX_BYTES / 8;

/// A message's head.
#[derive(Clone, Copy)]
pub struct Mail {
    /// Message id.
    pub id: u32,
    /// PORT_MESSAGE type with flags.
    pub message_type: u16,
    /// Payload bytes.
    pub length: u16,
    /// Sender.
    pub sender: Sender,
    /// Port context.
    pub context: u64,
    /// For server objects.
    pub object: Option<ObjectContext>,
    /// Sequence number.
    pub sequence: u32,
}

struct Contents {
    mail: Mail,
    data: [u64; WORDS],
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
        let sender = Sender { process: 0, thread: 0 };
        let mail = Mail { id: 0, message_type: 0, length: 0, sender, context: 0, object: None, sequence: 0 };
        Self {
            room: AtomicUsize::new(0),
            full: AtomicBool::new(false),
            contents: UnsafeCell::new(Contents { mail, data: [0; WORDS] }),
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
    /// holds. `data` has at least `mail.length` bytes and at most [`INBOX_BYTES`].
    pub unsafe fn fill(&self, mail: &Mail, data: &[u64]) {
        // SAFETY: nobody else touches the contents now, by the contract.
        let contents = unsafe { &mut *self.contents.get() };
        contents.mail = *mail;
        let words = usize::from(mail.length).div_ceil(8);
        for (to, from) in contents.data.iter_mut().zip(data).take(words) {
            *to = *from;
        }
        self.full.store(true, Ordering::Relaxed);
    }

    /// Takes a message out, if there is one. Only the owner calls this, while it runs.
    #[inline]
    pub fn take<R>(&self, with: impl FnOnce(&Mail, &[u8]) -> R) -> Option<R> {
        if !self.full.load(Ordering::Relaxed) {
            return None;
        }
        self.full.store(false, Ordering::Relaxed);
        // SAFETY: the owner runs and its inbox is closed, so nobody fills it.
        let contents = unsafe { &*self.contents.get() };
        let bytes = zerocopy::IntoBytes::as_bytes(&contents.data);
        Some(with(&contents.mail, &bytes[..usize::from(contents.mail.length)]))
    }
}
