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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_nts() {
        assert_eq!(size_of::<IoStatusBlock>(), 0x10);
        assert_eq!(size_of::<FileIoCompletionInformation>(), 0x20);
        assert_eq!(size_of::<AlpcPortAssociateCompletionPort>(), 0x10);
    }
}
