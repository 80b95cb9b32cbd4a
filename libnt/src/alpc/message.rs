//! Message buffers.

use abi::alpc::{ALPC_MAX_ALLOWED_MESSAGE_LENGTH, PORT_MESSAGE_SIZE, PortMessage};
use abi::status::{NtResult, STATUS_PORT_MESSAGE_TOO_LONG};
use alloc::boxed::Box;
use alloc::vec;
use zerocopy::{FromBytes, IntoBytes};

const HEADER_WORDS: usize = PORT_MESSAGE_SIZE / 8;
/// Words of the largest message.
pub const MAX_WORDS: usize = ALPC_MAX_ALLOWED_MESSAGE_LENGTH.div_ceil(8);

/// A PORT_MESSAGE and room for its payload. `B` is `Box<[u64]>` or an array such as `[u64; 16]`.
#[derive(Clone, Debug)]
pub struct Message<B = Box<[u64]>> {
    words: B,
}

impl Message {
    /// An empty message with room for `capacity` bytes of payload (no more than a message can have).
    pub fn new(capacity: usize) -> Self {
        let words = (HEADER_WORDS + capacity.div_ceil(8)).min(MAX_WORDS);
        let mut message = Self { words: vec![0; words].into_boxed_slice() };
        message.clear();
        message
    }
}

impl<const N: usize> Message<[u64; N]> {
    /// An empty message in an array of `N` words, five of which are the header.
    pub const fn fixed() -> Self {
        const { assert!(N >= HEADER_WORDS && N <= MAX_WORDS) };
        let mut words = [0; N];
        // total_length of a message without payload.
        words[0] = (PORT_MESSAGE_SIZE as u64) << 16;
        Self { words }
    }
}

impl<B: AsRef<[u64]> + AsMut<[u64]>> Message<B> {
    /// The header.
    pub fn header(&self) -> PortMessage {
        PortMessage::read_from_bytes(self.words.as_ref()[..HEADER_WORDS].as_bytes()).unwrap_or_default()
    }

    /// Replaces the header.
    pub fn set_header(&mut self, header: &PortMessage) {
        self.words.as_mut()[..HEADER_WORDS].as_mut_bytes().copy_from_slice(header.as_bytes());
    }

    /// Makes it an empty, new message.
    pub fn clear(&mut self) {
        self.set_header(&PortMessage { total_length: PORT_MESSAGE_SIZE as u16, ..PortMessage::default() });
    }

    /// Bytes of payload that fit.
    pub fn capacity(&self) -> usize {
        ((self.words.as_ref().len() - HEADER_WORDS) * 8).min(proto::MAX_PAYLOAD)
    }

    /// The payload, as long as the header says.
    pub fn payload(&self) -> &[u8] {
        let length = usize::from(self.header().data_length).min(self.capacity());
        &self.words.as_ref()[HEADER_WORDS..].as_bytes()[..length]
    }

    /// All room for payload; [`Message::set_length`] says how much of it is used.
    pub fn room(&mut self) -> &mut [u8] {
        self.words.as_mut()[HEADER_WORDS..].as_mut_bytes()
    }

    /// Makes it a new message with `length` bytes of payload, whatever the room holds.
    pub fn set_length(&mut self, length: usize) -> NtResult {
        let header = PortMessage::with_data(length).ok_or(STATUS_PORT_MESSAGE_TOO_LONG)?;
        if length > self.capacity() {
            return Err(STATUS_PORT_MESSAGE_TOO_LONG);
        }
        self.set_header(&header);
        Ok(())
    }

    /// Makes it a new message with this payload.
    pub fn set_payload(&mut self, payload: &[u8]) -> NtResult {
        self.set_length(payload.len())?;
        self.room()[..payload.len()].copy_from_slice(payload);
        Ok(())
    }

    /// Makes it the answer to the request with this id.
    pub fn set_reply_to(&mut self, message_id: u32) {
        let mut header = self.header();
        header.message_id = message_id;
        self.set_header(&header);
    }

    /// Header and payload as words.
    pub fn words(&self) -> &[u64] {
        self.words.as_ref()
    }

    /// Header and payload as words, for system calls.
    pub fn words_mut(&mut self) -> &mut [u64] {
        self.words.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_the_payload() {
        let mut message = Message::new(20);
        assert_eq!(message.header().total_length, 0x28);
        message.set_payload(b"hello").unwrap();
        assert_eq!(message.payload(), b"hello");
        assert_eq!((message.header().data_length, message.header().total_length), (5, 0x2D));
        assert_eq!(message.set_payload(&[0; 25]), Err(STATUS_PORT_MESSAGE_TOO_LONG));
        message.set_reply_to(9);
        assert_eq!(message.header().message_id, 9);
        assert_eq!(message.payload(), b"hello");
    }

    #[test]
    fn a_header_that_lies_is_cut_to_the_buffer() {
        let mut message = Message::<[u64; 6]>::fixed();
        assert_eq!(message.header().total_length, 0x28);
        message.set_header(&PortMessage { data_length: 500, ..PortMessage::default() });
        assert_eq!(message.payload().len(), 8);
    }

    #[test]
    fn the_largest_payload_fits_the_largest_message() {
        assert_eq!(Message::new(usize::MAX - 7).capacity(), proto::MAX_PAYLOAD);
    }
}
