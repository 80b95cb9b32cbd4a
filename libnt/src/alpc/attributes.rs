//! Message attributes.
//!
//! The buffer is an ALPC_MESSAGE_ATTRIBUTES header with the bodies of the allocated attributes behind it. libnt uses
//! two: CONTEXT (made by the kernel for the receiver) and HANDLE (both ways).

use crate::handle::OwnedHandle;
use abi::alpc::*;
use abi::arg::Handle;
use zerocopy::IntoBytes;

const ALLOCATED: u32 = ALPC_MESSAGE_CONTEXT_ATTRIBUTE | ALPC_MESSAGE_HANDLE_ATTRIBUTE;
const WORDS: usize = header_size(ALLOCATED) / 8;

/// Room for the CONTEXT and HANDLE attributes of a message.
#[derive(Clone, Debug)]
pub struct Attributes {
    words: [u64; WORDS],
}

impl Default for Attributes {
    fn default() -> Self {
        Self::new()
    }
}

impl Attributes {
    /// Attributes to receive into, or to send without any.
    pub const fn new() -> Self {
        let mut words = [0; WORDS];
        words[0] = ALLOCATED as u64;
        Self { words }
    }

    /// Attributes to send that pass a handle; `None` grants what the sender's handle grants.
    pub fn passing(handle: Handle, access: Option<u32>) -> Self {
        let mut attributes = Self::new();
        let flags = if access.is_none() { ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS } else { 0 };
        let body =
            AlpcHandleAttr { flags, handle, desired_access: access.unwrap_or(0), ..Default::default() };
        attributes.words[0] = u64::from(ALLOCATED) | u64::from(ALPC_MESSAGE_HANDLE_ATTRIBUTE) << 32;
        attributes.body_mut(ALPC_MESSAGE_HANDLE_ATTRIBUTE).copy_from_slice(body.as_bytes());
        attributes
    }

    /// Attributes to send with a MessageContext, which comes back with the answer. The kernel puts the message's id in.
    pub fn with_context(message_context: u64) -> Self {
        let mut attributes = Self::new();
        let body = AlpcContextAttr { message_context, ..AlpcContextAttr::default() };
        attributes.words[0] = u64::from(ALLOCATED) | u64::from(ALPC_MESSAGE_CONTEXT_ATTRIBUTE) << 32;
        attributes.body_mut(ALPC_MESSAGE_CONTEXT_ATTRIBUTE).copy_from_slice(body.as_bytes());
        attributes
    }

    /// Forgets what is valid.
    pub fn clear(&mut self) {
        self.words[0] = u64::from(ALLOCATED);
    }

    /// Forgets what is valid, and has no room for a handle: one that comes with the message is not received.
    pub fn refuse_handles(&mut self) {
        self.words[0] = u64::from(ALPC_MESSAGE_CONTEXT_ATTRIBUTE);
    }

    /// Attributes that are there.
    pub const fn valid(&self) -> u32 {
        (self.words[0] >> 32) as u32
    }

    /// The CONTEXT attribute, if it is there.
    pub fn context(&self) -> Option<AlpcContextAttr> {
        self.get(ALPC_MESSAGE_CONTEXT_ATTRIBUTE)
    }

    /// The HANDLE attribute, if it is there.
    pub fn handle(&self) -> Option<AlpcHandleAttr> {
        self.get(ALPC_MESSAGE_HANDLE_ATTRIBUTE)
    }

    /// Takes the handle that was received, if any.
    pub fn take_handle(&mut self) -> Option<OwnedHandle> {
        let handle = self.handle()?.handle;
        self.words[0] &= !(u64::from(ALPC_MESSAGE_HANDLE_ATTRIBUTE) << 32);
        (!handle.is_null()).then(|| OwnedHandle::new(handle))
    }

    /// The buffer, for system calls.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    fn get<T: abi::arg::Pod>(&self, flag: u32) -> Option<T> {
        if self.valid() & flag == 0 {
            return None;
        }
        let offset = attribute_offset(ALLOCATED, flag)?;
        T::read_from_prefix(&self.words.as_bytes()[offset..]).ok().map(|(value, _)| value)
    }

    fn body_mut(&mut self, flag: u32) -> &mut [u8] {
        let offset = attribute_offset(ALLOCATED, flag).unwrap_or(8);
        let end = attribute_offset(ALLOCATED, flag >> 1).unwrap_or(size_of::<Self>());
        &mut self.words.as_mut_bytes()[offset..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_handle_is_in_its_place() {
        let mut attributes = Attributes::passing(Handle(0x44), Some(5));
        assert_eq!(attributes.valid(), ALPC_MESSAGE_HANDLE_ATTRIBUTE);
        assert_eq!(attributes.context(), None);
        let body = attributes.handle().unwrap();
        assert_eq!((body.flags, body.handle, body.desired_access), (0, Handle(0x44), 5));
        assert_eq!(attributes.words_mut()[6], 0x44);
        attributes.clear();
        assert_eq!(attributes.handle(), None);
    }
}
