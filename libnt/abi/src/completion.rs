//! I/O completion objects: packets, and what ALPC ports post to them.
//!
//! Layouts and values: public NT headers (phnt), WDK documentation.

use crate::arg::Handle;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// IO_STATUS_BLOCK, 0x10 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoStatusBlock {
    /// NTSTATUS.
    pub status: u32,
    /// Zero.
    pub reserved: u32,
    /// What the operation tells besides.
    pub information: u64,
}

/// FILE_IO_COMPLETION_INFORMATION, 0x20 bytes: a packet that was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileIoCompletionInformation {
    /// Key of what completed: the port's for messages, the poster's for NtSetIoCompletion.
    pub key_context: u64,
    /// The poster's context; 0 for messages.
    pub apc_context: u64,
    /// The poster's status; all zero for messages.
    pub io_status_block: IoStatusBlock,
}

/// NtQueryIoCompletion class 0: [`IoCompletionBasicInformation`].
pub const IO_COMPLETION_BASIC_INFORMATION: u32 = 0;

/// IO_COMPLETION_BASIC_INFORMATION, 4 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IoCompletionBasicInformation {
    /// Packets in the queue.
    pub depth: i32,
}

/// Most entries that one NtRemoveIoCompletionEx takes.
pub const MAXIMUM_REMOVED_PACKETS: u32 = 256;

/// ALPC_PORT_ASSOCIATE_COMPLETION_PORT, 0x10 bytes: NtAlpcSetInformation class 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcPortAssociateCompletionPort {
    /// Key of the packets.
    pub completion_key: u64,
    /// I/O completion object, with IO_COMPLETION_MODIFY_STATE.
    pub completion_port: Handle,
}

/// ALPC_PORT_COMPLETION_LIST_INFORMATION, 0x18 bytes: NtAlpcSetInformation class 6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcPortCompletionListInformation {
    /// Address of the region, a multiple of 128; the caller's memory, readable and writable.
    pub buffer: u64,
    /// Its bytes.
    pub size: u32,
    /// Threads that work on the list at a time: most packets of the port that are queued at once.
    pub concurrency_count: u32,
    /// Attributes that its messages carry (ALPC_MESSAGE_ bits).
    pub attribute_flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// Alignment of a completion list's region.
pub const COMPLETION_LIST_ALIGNMENT: u64 = 0x80;
/// Bytes of the header of a completion list.
pub const COMPLETION_LIST_HEADER_SIZE: u32 = 0x300;
/// Messages in a completion list take multiples of this.
pub const COMPLETION_LIST_GRANULE: u32 = 0x40;
/// First and last word of the header.
pub const COMPLETION_LIST_MAGIC: u64 = u64::from_le_bytes(*b"AlpcList");

/// ALPC_COMPLETION_LIST_HEADER, 0x300 bytes, as byte offsets: parts of it are written by the kernel and by several
/// threads at the same time, so it is never a value.
///
/// The list is a ring of u32, each the number of a granule in the data area. There lie, if the list has attributes, an
/// ALPC_MESSAGE_ATTRIBUTES buffer of [`ATTRIBUTE_SIZE`](list_header::ATTRIBUTE_SIZE) bytes, and then the message. A thread takes an entry by
/// counting the head in [`STATE`](list_header::STATE) up, and gives the message back by clearing the granule's bit in the bitmap.
pub mod list_header {
    /// u64: [`super::COMPLETION_LIST_MAGIC`].
    pub const START_MAGIC: u64 = 0;
    /// u32: bytes of the region.
    pub const TOTAL_SIZE: u64 = 0x08;
    /// u32: offset of the list's entries.
    pub const LIST_OFFSET: u64 = 0x0C;
    /// u32: bytes of the entries.
    pub const LIST_SIZE: u64 = 0x10;
    /// u32: offset of the bitmap.
    pub const BITMAP_OFFSET: u64 = 0x14;
    /// u32: bytes of the bitmap.
    pub const BITMAP_SIZE: u64 = 0x18;
    /// u32: offset of the data area.
    pub const DATA_OFFSET: u64 = 0x1C;
    /// u32: bytes of the data area.
    pub const DATA_SIZE: u64 = 0x20;
    /// u32: attributes of the messages.
    pub const ATTRIBUTE_FLAGS: u64 = 0x24;
    /// u32: bytes of attributes before each message.
    pub const ATTRIBUTE_SIZE: u64 = 0x28;
    /// u64: head (next entry to take, 24 bits), tail (next entry to be written, 24 bits), threads at work (16 bits).
    pub const STATE: u64 = 0x80;
    /// u32: id of the message last written.
    pub const LAST_MESSAGE_ID: u64 = 0x88;
    /// u32: callback id of the message last written.
    pub const LAST_CALLBACK_ID: u64 = 0x8C;
    /// u32: messages written.
    pub const POST_COUNT: u64 = 0x100;
    /// u32: messages given back.
    pub const RETURN_COUNT: u64 = 0x180;
    /// u32: counts every change of the list by the kernel.
    pub const LOG_SEQUENCE_NUMBER: u64 = 0x200;
    /// u64: the runtime's.
    pub const USER_LOCK: u64 = 0x280;
    /// u64: [`super::COMPLETION_LIST_MAGIC`].
    pub const END_MAGIC: u64 = 0x288;
    /// Bits of head and tail.
    pub const INDEX_MASK: u64 = 0xFF_FFFF;
    /// Where the tail begins in the state.
    pub const TAIL_SHIFT: u32 = 24;
    /// Where the threads at work begin in the state.
    pub const THREADS_SHIFT: u32 = 48;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_nts() {
        assert_eq!(size_of::<IoStatusBlock>(), 0x10);
        assert_eq!(size_of::<FileIoCompletionInformation>(), 0x20);
        assert_eq!(size_of::<AlpcPortAssociateCompletionPort>(), 0x10);
        assert_eq!(size_of::<AlpcPortCompletionListInformation>(), 0x18);
    }
}
