//! What clients and server say to each other: a few words that carry who asked, and for what.

use libnt::alpc::Message;
use libnt::prelude::*;

/// Extra handle: the server's port.
pub const PORT: &str = "port";
/// Extra handle: set when somebody saw what must not be.
pub const WRONG: &str = "wrong";
/// Extra handle: set by the server when it receives.
pub const READY: &str = "ready";

/// Extra handle: set by a client that had a right answer.
pub const WORKED: &str = "worked";

/// Extra handle: until it is set nobody is killed.
pub const CALM: &str = "calm";

/// Words of payload.
pub const WORDS: usize = 5;
/// A message: header and payload.
pub type Small = Message<[u64; 5 + WORDS]>;

/// Asks for an answer only.
pub const ECHO: u64 = 1;
/// Asks for a server object with the number as context.
pub const OBJECT: u64 = 2;
/// Asks the server to end this connection.
pub const HANG_UP: u64 = 3;

/// Has the server cancel the message instead of answering it.
pub const CANCEL: u64 = 4;

/// Payload of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words(pub [u64; WORDS]);

impl Words {
    /// What `process`, `thread` says as its message `number`.
    pub const fn new(process: u64, thread: u64, number: u64, verb: u64, object: u64) -> Self {
        Self([process, thread, number, verb, object])
    }

    /// The right answer to it.
    pub fn answer(self) -> Self {
        Self(self.0.map(|word| !word))
    }

    /// Puts it into a message.
    pub fn write(self, message: &mut Small) -> NtResult {
        message.set_length(WORDS * 8)?;
        for (to, word) in message.room().chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        Ok(())
    }

    /// Reads it from a message.
    pub fn read(message: &Small) -> Option<Self> {
        let mut words = [0; WORDS];
        if message.payload().len() != WORDS * 8 {
            return None;
        }
        for (word, bytes) in words.iter_mut().zip(message.payload().chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().ok()?);
        }
        Some(Self(words))
    }
}
