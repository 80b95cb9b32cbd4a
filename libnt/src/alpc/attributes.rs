//! Message attributes.
//!
//! The buffer is an ALPC_MESSAGE_ATTRIBUTES header with the bodies of the allocated attributes behind it. Without asking
//! for more it has two: CONTEXT (made by the kernel for the receiver) and HANDLE (both ways).

use crate::handle::OwnedHandle;
use abi::alpc::*;
use abi::arg::{Handle, Pod};
use alloc::vec::Vec;
use zerocopy::IntoBytes;

const USUAL: u32 = ALPC_MESSAGE_CONTEXT_ATTRIBUTE | ALPC_MESSAGE_HANDLE_ATTRIBUTE;
/// Every known attribute.
pub const ALL: u32 = 0xFE00_0000;
const WORDS: usize = header_size(ALL) / 8;

/// The attributes of a message.
#[derive(Clone, Debug)]
pub struct Attributes {
    words: [u64; WORDS],
    /// The handles of a HANDLE attribute with several, to which it points.
    several: Vec<AlpcHandleAttr32>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self::new()
    }
}

impl Attributes {
    /// Attributes to receive into, or to send without any.
    pub const fn new() -> Self {
        Self::allocating(USUAL)
    }

    /// Room for these ALPC_MESSAGE_..._ATTRIBUTE bits, or [`ALL`].
    pub const fn allocating(flags: u32) -> Self {
        let mut words = [0; WORDS];
        words[0] = flags as u64;
        Self { words, several: Vec::new() }
    }

    /// Attributes to send that pass a handle; `None` grants what the sender's handle grants.
    pub fn passing(handle: Handle, access: Option<u32>) -> Self {
        let flags = if access.is_none() { ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS } else { 0 };
        let body =
            AlpcHandleAttr { flags, handle, desired_access: access.unwrap_or(0), ..Default::default() };
        Self::new().with(ALPC_MESSAGE_HANDLE_ATTRIBUTE, &body)
    }

    /// Attributes to send that pass several handles.
    pub fn passing_several(handles: Vec<AlpcHandleAttr32>) -> Self {
        let count = handles.len() as u32;
        let body =
            AlpcHandleAttr { flags: ALPC_HANDLEFLG_INDIRECT, object_type: count, ..Default::default() };
        let mut attributes = Self::new().with(ALPC_MESSAGE_HANDLE_ATTRIBUTE, &body);
        attributes.several = handles;
        attributes
    }

    /// Attributes to send with a MessageContext, which comes back with the answer. The kernel puts the message's id in.
    pub fn with_context(message_context: u64) -> Self {
        let body = AlpcContextAttr { message_context, ..AlpcContextAttr::default() };
        Self::new().with(ALPC_MESSAGE_CONTEXT_ATTRIBUTE, &body)
    }

    /// Attributes to send that show a view ([`super::PortView::attribute`]).
    pub fn showing(view: &AlpcDataViewAttr) -> Self {
        Self::new().with(ALPC_MESSAGE_VIEW_ATTRIBUTE, view)
    }

    /// Attributes for an answer that gives up the view which came with the request.
    pub fn giving_up_the_view() -> Self {
        Self::showing(&AlpcDataViewAttr { flags: ALPC_VIEWFLG_UNMAP_EXISTING, ..Default::default() })
    }

    /// Attributes to send whose event is set when the receiver has dealt with the message.
    pub fn telling(event: Handle) -> Self {
        Self::new().with(ALPC_MESSAGE_DIRECT_ATTRIBUTE, &AlpcDirectAttr { event })
    }

    /// With one more attribute to send, whose body is `body`.
    pub fn with<T: Pod>(mut self, flag: u32, body: &T) -> Self {
        if self.allocated() & flag == 0 {
            let mut moved = Self::allocating(self.allocated() | flag);
            moved.words[0] |= u64::from(self.valid()) << 32;
            for (kept, size) in ATTRIBUTE_SIZES {
                if let (Some(to), Some(from)) = (moved.offset(kept), self.offset(kept)) {
                    let body = &self.words.as_bytes()[from..from + size];
                    moved.words.as_mut_bytes()[to..to + size].copy_from_slice(body);
                }
            }
            moved.several = core::mem::take(&mut self.several);
            self = moved;
        }
        if let Some(at) = self.offset(flag) {
            self.words.as_mut_bytes()[at..at + size_of::<T>()].copy_from_slice(body.as_bytes());
            self.words[0] |= u64::from(flag) << 32;
        }
        self
    }

    /// Forgets what is valid.
    pub fn clear(&mut self) {
        self.words[0] = u64::from(self.allocated());
        self.several.clear();
    }

    /// Forgets what is valid, and has no room for a handle: one that comes with the message is not received.
    pub fn refuse_handles(&mut self) {
        self.words[0] = u64::from(ALPC_MESSAGE_CONTEXT_ATTRIBUTE);
        self.several.clear();
    }

    /// Attributes with room.
    pub const fn allocated(&self) -> u32 {
        self.words[0] as u32
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

    /// The VIEW attribute, if it is there.
    pub fn view(&self) -> Option<AlpcDataViewAttr> {
        self.get(ALPC_MESSAGE_VIEW_ATTRIBUTE)
    }

    /// The ticket of the WORK_ON_BEHALF attribute, if it is there.
    pub fn ticket(&self) -> Option<u64> {
        self.get::<AlpcWorkOnBehalfAttr>(ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE).map(|body| body.ticket)
    }

    /// Takes the handle that was received, if any: of several, the first.
    pub fn take_handle(&mut self) -> Option<OwnedHandle> {
        let handle = self.handle()?.handle;
        self.words[0] &= !(u64::from(ALPC_MESSAGE_HANDLE_ATTRIBUTE) << 32);
        (!handle.is_null()).then(|| OwnedHandle::new(handle))
    }

    /// The buffer, for system calls.
    pub fn words_mut(&mut self) -> &mut [u64] {
        if !self.several.is_empty()
            && let Some(at) = self.offset(ALPC_MESSAGE_HANDLE_ATTRIBUTE)
        {
            self.words[at / 8 + 1] = self.several.as_ptr() as u64;
        }
        &mut self.words
    }

    /// The body of an attribute, if it is there.
    pub fn get<T: Pod>(&self, flag: u32) -> Option<T> {
        if self.valid() & flag == 0 {
            return None;
        }
        let offset = self.offset(flag)?;
        T::read_from_prefix(&self.words.as_bytes()[offset..]).ok().map(|(value, _)| value)
    }

    const fn offset(&self, flag: u32) -> Option<usize> {
        attribute_offset(self.allocated(), flag)
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

    #[test]
    fn attributes_move_as_more_are_set() {
        let view = AlpcDataViewAttr { view_base: 0x1000, view_size: 0x2000, ..Default::default() };
        let attributes = Attributes::passing(Handle(0x44), None)
            .with(ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, &AlpcWorkOnBehalfAttr { ticket: 7 })
            .with(ALPC_MESSAGE_VIEW_ATTRIBUTE, &view);
        assert_eq!(attributes.view(), Some(view));
        assert_eq!(attributes.handle().map(|body| body.handle), Some(Handle(0x44)));
        assert_eq!((attributes.ticket(), attributes.context()), (Some(7), None));
        assert_eq!(attributes.allocated(), 0x7200_0000);
        let mut several = Attributes::passing_several(alloc::vec![AlpcHandleAttr32::default(); 3]).clone();
        let address = several.several.as_ptr() as u64;
        assert_eq!(several.words_mut()[6], address);
        assert_eq!(several.handle().map(|body| body.object_type), Some(3));
    }
}
