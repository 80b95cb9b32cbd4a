//! ALPC structures, message types, flags and attribute layouts (64-bit).
//!
//! Layouts and values: public NT headers (phnt), Wine's tests of the ntdll helpers.

use crate::arg::Handle;
use crate::se::SecurityQualityOfService;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// CLIENT_ID: who sent a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClientId {
    /// Process id.
    pub unique_process: u64,
    /// Thread id.
    pub unique_thread: u64,
}

/// PORT_MESSAGE, 0x28 bytes; the payload follows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PortMessage {
    /// Bytes of payload.
    pub data_length: u16,
    /// Bytes of header and payload.
    pub total_length: u16,
    /// LPC_ type with flag bits; filled by the kernel for the receiver.
    pub message_type: u16,
    /// Zero (no data information).
    pub data_info_offset: u16,
    /// The sender; filled by the kernel.
    pub client_id: ClientId,
    /// Identifies the message; a reply carries the id of its request, everything else 0.
    pub message_id: u32,
    /// Zero.
    pub reserved: u32,
    /// ClientViewSize (connection requests) or CallbackId (requests).
    pub callback_id: u64,
}

/// Size of [`PortMessage`].
pub const PORT_MESSAGE_SIZE: usize = 0x28;
/// Largest total length of any message (header and payload).
pub const ALPC_MAX_ALLOWED_MESSAGE_LENGTH: usize = 0xFFFF;

impl PortMessage {
    /// A header for `data_length` bytes of payload, or `None` when that is too long.
    pub const fn with_data(data_length: usize) -> Option<Self> {
        let total = PORT_MESSAGE_SIZE + data_length;
        if total > ALPC_MAX_ALLOWED_MESSAGE_LENGTH {
            return None;
        }
        Some(Self {
            data_length: data_length as u16,
            total_length: total as u16,
            message_type: 0,
            data_info_offset: 0,
            client_id: ClientId { unique_process: 0, unique_thread: 0 },
            message_id: 0,
            reserved: 0,
            callback_id: 0,
        })
    }

    /// The type without its flag bits.
    pub const fn kind(&self) -> u16 {
        self.message_type & 0xFF
    }
}

/// A request that wants a reply.
pub const LPC_REQUEST: u16 = 1;
/// A reply.
pub const LPC_REPLY: u16 = 2;
/// A message that wants no reply.
pub const LPC_DATAGRAM: u16 = 3;
/// A reply that could not be delivered.
pub const LPC_LOST_REPLY: u16 = 4;
/// The peer closed its port.
pub const LPC_PORT_CLOSED: u16 = 5;
/// A client thread died (legacy LPC).
pub const LPC_CLIENT_DIED: u16 = 6;
/// An exception message.
pub const LPC_EXCEPTION: u16 = 7;
/// A debug event.
pub const LPC_DEBUG_EVENT: u16 = 8;
/// A hard error.
pub const LPC_ERROR_EVENT: u16 = 9;
/// A connection request.
pub const LPC_CONNECTION_REQUEST: u16 = 10;
/// The answer to a connection request.
pub const LPC_CONNECTION_REPLY: u16 = 11;
/// The message was cancelled.
pub const LPC_CANCELED: u16 = 12;
/// A process unregistered.
pub const LPC_UNREGISTER_PROCESS: u16 = 13;
/// Antares: the last handle to a server object was closed; the CONTEXT attribute says which.
pub const LPC_OBJECT_CLOSED: u16 = 14;
/// Antares: the last handle but the name handle was closed; the CONTEXT attribute says which.
pub const LPC_NAME_RELEASED: u16 = 15;

/// Flag in the type: the sender is blocked and a reply is owed.
pub const LPC_CONTINUATION_REQUIRED: u16 = 0x2000;
/// Flag in the type: no impersonation.
pub const LPC_NO_IMPERSONATE: u16 = 0x4000;
/// Flag in the type: the kernel sent it.
pub const LPC_KERNELMODE_MESSAGE: u16 = 0x8000;

/// NT's name of a message type (flag bits are ignored).
pub fn message_type_name(message_type: u16) -> &'static str {
    match message_type & 0xFF {
        LPC_REQUEST => "LPC_REQUEST",
        LPC_REPLY => "LPC_REPLY",
        LPC_DATAGRAM => "LPC_DATAGRAM",
        LPC_LOST_REPLY => "LPC_LOST_REPLY",
        LPC_PORT_CLOSED => "LPC_PORT_CLOSED",
        LPC_CLIENT_DIED => "LPC_CLIENT_DIED",
        LPC_EXCEPTION => "LPC_EXCEPTION",
        LPC_DEBUG_EVENT => "LPC_DEBUG_EVENT",
        LPC_ERROR_EVENT => "LPC_ERROR_EVENT",
        LPC_CONNECTION_REQUEST => "LPC_CONNECTION_REQUEST",
        LPC_CONNECTION_REPLY => "LPC_CONNECTION_REPLY",
        LPC_CANCELED => "LPC_CANCELED",
        LPC_UNREGISTER_PROCESS => "LPC_UNREGISTER_PROCESS",
        LPC_OBJECT_CLOSED => "LPC_OBJECT_CLOSED",
        LPC_NAME_RELEASED => "LPC_NAME_RELEASED",
        _ => "LPC_UNKNOWN",
    }
}

/// ALPC_PORT_ATTRIBUTES, 0x48 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcPortAttributes {
    /// ALPC_PORFLG_ bits.
    pub flags: u32,
    /// SECURITY_QUALITY_OF_SERVICE: length, level, tracking mode and effective-only packed as in NT.
    pub security_qos: [u32; 3],
    /// Largest message (header and payload); 0 means the maximum.
    pub max_message_length: u64,
    /// Informational.
    pub memory_bandwidth: u64,
    /// Largest kernel memory of queued messages, in bytes; 0 means the default.
    pub max_pool_usage: u64,
    /// Largest port section.
    pub max_section_size: u64,
    /// Largest view.
    pub max_view_size: u64,
    /// Largest sum of port sections.
    pub max_total_section_size: u64,
    /// Object types the handle attribute may carry.
    pub dup_object_types: u32,
    /// Zero.
    pub reserved: u32,
}

impl AlpcPortAttributes {
    /// The quality of service.
    pub const fn qos(&self) -> SecurityQualityOfService {
        let [length, impersonation_level, modes] = self.security_qos;
        SecurityQualityOfService {
            length,
            impersonation_level,
            context_tracking_mode: modes as u8,
            effective_only: (modes >> 8) as u8,
            reserved: [(modes >> 16) as u8, (modes >> 24) as u8],
        }
    }

    /// The same with this quality of service, and with ALPC_PORFLG_ALLOW_IMPERSONATION.
    #[must_use]
    pub const fn impersonable(mut self, qos: SecurityQualityOfService) -> Self {
        let modes = [qos.context_tracking_mode, qos.effective_only, 0, 0];
        self.security_qos = [qos.length, qos.impersonation_level, u32::from_le_bytes(modes)];
        self.flags |= ALPC_PORFLG_ALLOW_IMPERSONATION;
        self
    }
}

/// The port lets its server impersonate.
pub const ALPC_PORFLG_ALLOW_IMPERSONATION: u32 = 0x1_0000;
/// The port takes LPC requests.
pub const ALPC_PORFLG_ALLOW_LPC_REQUESTS: u32 = 0x2_0000;
/// The port can be waited on; it is signalled while a message is queued.
pub const ALPC_PORFLG_WAITABLE_PORT: u32 = 0x4_0000;
/// The handle attribute is allowed on messages sent through this port (needed by the receiver's port).
pub const ALPC_PORFLG_ALLOW_DUP_OBJECT: u32 = 0x8_0000;
/// The port takes direct messages.
pub const ALPC_PORFLG_DIRECT_MESSAGE: u32 = 0x100_0000;
/// The port takes handle attributes with several handles.
pub const ALPC_PORFLG_ALLOW_MULTIHANDLE_ATTRIBUTE: u32 = 0x200_0000;
/// Kernel only.
pub const ALPC_PORFLG_SYSTEM_PROCESS: u32 = 0x10_0000;

/// NtAlpcSendWaitReceivePort: the message answers the one that its ids name; with SYNC_REQUEST it answers a call back,
/// and the caller goes on waiting for the answer to its own request.
pub const ALPC_MSGFLG_REPLY_MESSAGE: u32 = 0x1;
/// NtAlpcSendWaitReceivePort: sent as LPC would; the connection port must have ALPC_PORFLG_ALLOW_LPC_REQUESTS.
pub const ALPC_MSGFLG_LPC_MODE: u32 = 0x2;
/// NtAlpcSendWaitReceivePort: the message answers the request with its MessageId and gives it back. With MessageId 0 it
/// is a new message that wants no answer. With both lengths 0 nothing is sent, and the message is given back.
pub const ALPC_MSGFLG_RELEASE_MESSAGE: u32 = 0x1_0000;
/// NtAlpcSendWaitReceivePort: ALPC_WAIT_FOR_PORT_REFERENCES waits until the message is gone.
pub const ALPC_MSGFLG_TRACK_PORT_REFERENCES: u32 = 0x4_0000;
/// NtAlpcSendWaitReceivePort: send, then wait for the reply.
pub const ALPC_MSGFLG_SYNC_REQUEST: u32 = 0x2_0000;
/// NtAlpcSendWaitReceivePort: wait in user mode.
pub const ALPC_MSGFLG_WAIT_USER_MODE: u32 = 0x10_0000;
/// NtAlpcSendWaitReceivePort: the wait is alertable.
pub const ALPC_MSGFLG_WAIT_ALERTABLE: u32 = 0x20_0000;
/// A MessageId from here on names a resource reserve.
pub const ALPC_RESERVE_ID: u32 = 0x8000_0000;
/// NtAlpcCancelMessage: only if nobody has received it yet.
pub const ALPC_CANCELFLG_TRY_CANCEL: u32 = 0x1;
/// NtAlpcCancelMessage: accepted; the context is compared all the same.
pub const ALPC_CANCELFLG_NO_CONTEXT_CHECK: u32 = 0x8;
/// NtAlpcCancelMessage: all messages sent through the port with this MessageContext, whatever their ids.
pub const ALPC_CANCELFLG_FLUSH: u32 = 0x1_0000;
/// NtAlpcDisconnectPort: what the other side had sent can still be received.
pub const ALPC_DISCONNECT_NO_FLUSH: u32 = 0x1;
/// NtAlpcConnectPort(Ex): block until the server accepts or refuses.
pub const ALPC_MSGFLG_SYNC_CONNECTION: u32 = 0x2_0000;

/// ALPC_MESSAGE_ATTRIBUTES header; the bodies of the allocated attributes follow, highest bit first.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcMessageAttributes {
    /// Attributes with room in the buffer.
    pub allocated_attributes: u32,
    /// Attributes that are really there.
    pub valid_attributes: u32,
}

/// Attribute bit: security.
pub const ALPC_MESSAGE_SECURITY_ATTRIBUTE: u32 = 0x8000_0000;
/// Attribute bit: view.
pub const ALPC_MESSAGE_VIEW_ATTRIBUTE: u32 = 0x4000_0000;
/// Attribute bit: context.
pub const ALPC_MESSAGE_CONTEXT_ATTRIBUTE: u32 = 0x2000_0000;
/// Attribute bit: handle.
pub const ALPC_MESSAGE_HANDLE_ATTRIBUTE: u32 = 0x1000_0000;
/// Attribute bit: token.
pub const ALPC_MESSAGE_TOKEN_ATTRIBUTE: u32 = 0x0800_0000;
/// Attribute bit: direct.
pub const ALPC_MESSAGE_DIRECT_ATTRIBUTE: u32 = 0x0400_0000;
/// Attribute bit: work on behalf of.
pub const ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE: u32 = 0x0200_0000;

/// All known attributes with the sizes of their bodies, highest bit first.
pub const ATTRIBUTE_SIZES: [(u32, usize); 7] = [
    (ALPC_MESSAGE_SECURITY_ATTRIBUTE, 0x18),
    (ALPC_MESSAGE_VIEW_ATTRIBUTE, 0x20),
    (ALPC_MESSAGE_CONTEXT_ATTRIBUTE, 0x20),
    (ALPC_MESSAGE_HANDLE_ATTRIBUTE, 0x18),
    (ALPC_MESSAGE_TOKEN_ATTRIBUTE, 0x18),
    (ALPC_MESSAGE_DIRECT_ATTRIBUTE, 0x08),
    (ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, 0x08),
];

/// AlpcGetHeaderSize: bytes of the header and the bodies of `flags`; unknown bits add nothing.
pub const fn header_size(flags: u32) -> usize {
    let mut size = 8;
    let mut i = 0;
    while i < ATTRIBUTE_SIZES.len() {
        if flags & ATTRIBUTE_SIZES[i].0 != 0 {
            size += ATTRIBUTE_SIZES[i].1;
        }
        i += 1;
    }
    size
}

/// AlpcGetMessageAttribute's offset: where the body of `flag` lies in a buffer with `allocated` attributes,
/// or `None` when `flag` is not exactly one known attribute that is allocated.
pub const fn attribute_offset(allocated: u32, flag: u32) -> Option<usize> {
    if flag.count_ones() != 1 || allocated & flag == 0 || flag < ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE {
        return None;
    }
    Some(header_size(allocated & !(flag | (flag - 1))))
}

/// ALPC_CONTEXT_ATTR, 0x20 bytes; made by the kernel on receive.
///
/// For a message sent on a server object (or its close notice), `port_context` is the object's context and
/// `message_context` holds the granted access in its low half and the server's type number in its high half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcContextAttr {
    /// What the server gave NtAlpcAcceptConnectPort (or NtxCreateServerObject).
    pub port_context: u64,
    /// Per-message context.
    pub message_context: u64,
    /// Sequence number of the message on its port.
    pub sequence: u32,
    /// As in the header.
    pub message_id: u32,
    /// As in the header.
    pub callback_id: u32,
    /// Zero.
    pub reserved: u32,
}

/// ALPC_HANDLE_ATTR, 0x18 bytes. The receiver gets its own handle with at most the granted access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcHandleAttr {
    /// ALPC_HANDLEFLG_ bits.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The handle: the sender's on send, the receiver's on receive.
    pub handle: Handle,
    /// Object type code (`OB_..._TYPE_CODE`) on receive.
    pub object_type: u32,
    /// Access wanted for the receiver (ignored with DUPLICATE_SAME_ACCESS); on receive what was granted.
    pub desired_access: u32,
}

/// ALPC_DATA_VIEW_ATTR, 0x20 bytes: a part of a port section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcDataViewAttr {
    /// ALPC_VIEWFLG_ bits.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The sender's port section; 0 on receive.
    pub section_handle: u64,
    /// Where the view is: the sender's on send, the receiver's on receive.
    pub view_base: u64,
    /// Bytes.
    pub view_size: u64,
}

/// View attribute: the view that came with the message that this one answers is unmapped.
pub const ALPC_VIEWFLG_UNMAP_EXISTING: u32 = 0x1_0000;
/// View attribute: the receiver's view is unmapped when it gives the message back.
pub const ALPC_VIEWFLG_AUTO_RELEASE: u32 = 0x2_0000;
/// View attribute, on receive: the sender can still write what the view shows.
pub const ALPC_VIEWFLG_NOT_SECURE: u32 = 0x4_0000;
/// NtAlpcCreatePortSection: only one side at a time can write.
pub const ALPC_PORTSECTION_SECURE: u32 = 0x4_0000;

/// ALPC_DIRECT_ATTR, 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcDirectAttr {
    /// The event to set; 0 on receive.
    pub event: Handle,
}

/// ALPC_WORK_ON_BEHALF_ATTR, 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcWorkOnBehalfAttr {
    /// Thread id in the low half, low half of the thread's creation time in the high half.
    pub ticket: u64,
}

/// ALPC_HANDLE_ATTR32, 0x10 bytes: one of several handles of a HANDLE attribute with [`ALPC_HANDLEFLG_INDIRECT`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcHandleAttr32 {
    /// ALPC_HANDLEFLG_ bits.
    pub flags: u32,
    /// The sender's handle.
    pub handle: u32,
    /// Object type code that it must have; 0 is any.
    pub object_type: u32,
    /// Access wanted for the receiver (ignored with DUPLICATE_SAME_ACCESS).
    pub desired_access: u32,
}

/// Most handles of one message.
pub const ALPC_MAX_HANDLES: u32 = 32;

/// ALPC_MESSAGE_HANDLE_INFORMATION, 0x14 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcMessageHandleInformation {
    /// In: which of the message's handles, from 0 on.
    pub index: u32,
    /// Zero.
    pub flags: u32,
    /// The receiver's handle.
    pub handle: u32,
    /// Object type code.
    pub object_type: u32,
    /// What the handle grants.
    pub granted_access: u32,
}

/// ALPC_SECURITY_ATTR, 0x18 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcSecurityAttr {
    /// ALPC_SECFLG_ bits.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
    /// Address of a SECURITY_QUALITY_OF_SERVICE, or 0 for the port's; 0 on receive.
    pub qos: u64,
    /// A security context of the sender's port: in, or with CREATE_HANDLE out; on receive the one that the message carries.
    pub context_handle: u64,
}

/// Security attribute: make a context of the sender's token and answer its handle.
pub const ALPC_SECFLG_CREATE_HANDLE: u32 = 0x2_0000;

/// ALPC_TOKEN_ATTR, 0x18 bytes; made by the kernel on receive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcTokenAttr {
    /// The token.
    pub token_id: u64,
    /// Its logon session.
    pub authentication_id: u64,
    /// Changes with the token.
    pub modified_id: u64,
}

/// NtAlpcImpersonateClientOfPort: act as the anonymous logon instead.
pub const ALPC_IMPERSONATEFLG_ANONYMOUS: u64 = 0x1;
/// NtAlpcImpersonateClientOfPort: fail if the thread could not act as the client.
pub const ALPC_IMPERSONATEFLG_REQUIRE_IMPERSONATE: u64 = 0x2;
/// NtAlpcImpersonateClientOfPort: where the least SECURITY_IMPERSONATION_LEVEL stands in the flags.
pub const ALPC_IMPERSONATE_LEVEL_SHIFT: u32 = 2;
/// NtAlpcImpersonateClientOfPort: its bits.
pub const ALPC_IMPERSONATE_LEVEL_MASK: u64 = 0xC;

/// Handle attribute: grant what the sender's handle grants.
pub const ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS: u32 = 0x1_0000;
/// Handle attribute: keep the handle attributes.
pub const ALPC_HANDLEFLG_DUPLICATE_SAME_ATTRIBUTES: u32 = 0x2_0000;
/// Handle attribute: the slot points to an array of handles.
pub const ALPC_HANDLEFLG_INDIRECT: u32 = 0x4_0000;
/// Handle attribute: the receiver's handle is inheritable.
pub const ALPC_HANDLEFLG_DUPLICATE_INHERIT: u32 = 0x8_0000;

/// NtAlpcQueryInformation class 0: [`AlpcBasicInformation`].
pub const ALPC_BASIC_INFORMATION: u32 = 0;
/// NtAlpcSetInformation class 1: [`AlpcPortAttributes`].
pub const ALPC_PORT_INFORMATION: u32 = 1;
/// NtAlpcSetInformation class 2: binds the port to an I/O completion object.
pub const ALPC_ASSOCIATE_COMPLETION_PORT_INFORMATION: u32 = 2;
/// NtAlpcQueryInformation class 3: the SID of the other side.
pub const ALPC_CONNECTED_SID_INFORMATION: u32 = 3;
/// NtAlpcQueryInformation class 4: [`AlpcServerInformation`].
pub const ALPC_SERVER_INFORMATION: u32 = 4;
/// NtAlpcSetInformation class 5: [`AlpcPortMessageZoneInformation`], memory for payloads that wait to be received.
pub const ALPC_MESSAGE_ZONE_INFORMATION: u32 = 5;
/// NtAlpcSetInformation class 6: registers a completion list.
pub const ALPC_REGISTER_COMPLETION_LIST_INFORMATION: u32 = 6;
/// NtAlpcSetInformation class 7: unregisters a completion list.
pub const ALPC_UNREGISTER_COMPLETION_LIST_INFORMATION: u32 = 7;
/// NtAlpcSetInformation class 8: how many threads work on a completion list.
pub const ALPC_ADJUST_COMPLETION_LIST_CONCURRENCY_COUNT_INFORMATION: u32 = 8;
/// NtAlpcSetInformation class 10: ends a completion list.
pub const ALPC_COMPLETION_LIST_RUNDOWN_INFORMATION: u32 = 10;
/// NtAlpcSetInformation class 11, no data: waits until every message is gone that was sent through the port with
/// ALPC_MSGFLG_TRACK_PORT_REFERENCES.
pub const ALPC_WAIT_FOR_PORT_REFERENCES: u32 = 11;
/// NtAlpcQueryInformation class 12: [`AlpcServerSessionInformation`].
pub const ALPC_SERVER_SESSION_INFORMATION: u32 = 12;

/// NtAlpcQueryInformationMessage class 0: the SID of the sender.
pub const ALPC_MESSAGE_SID_INFORMATION: u32 = 0;
/// NtAlpcQueryInformationMessage class 1: ModifiedId of the sender's token.
pub const ALPC_MESSAGE_TOKEN_MODIFIED_ID_INFORMATION: u32 = 1;
/// NtAlpcQueryInformationMessage class 2: the NTSTATUS of a direct message that was sent on the port, as u32.
pub const ALPC_MESSAGE_DIRECT_STATUS_INFORMATION: u32 = 2;
/// NtAlpcQueryInformationMessage class 3: [`AlpcMessageHandleInformation`], a handle that came with a held message.
pub const ALPC_MESSAGE_HANDLE_INFORMATION: u32 = 3;

/// ALPC_SERVER_INFORMATION, 0x20 bytes: on which server a thread is blocked. In: the thread's handle in the first field.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcServerInformation {
    /// 1 when the thread waits for an answer (in: the thread's handle).
    pub thread_blocked: u64,
    /// The server's process.
    pub connected_process_id: u64,
    /// UNICODE_STRING ConnectionPortName: Length and MaximumLength in bytes; the characters follow this structure.
    pub name_length: u16,
    /// In bytes.
    pub name_maximum_length: u16,
    /// Zero.
    pub reserved: u32,
    /// Address of the characters.
    pub name_buffer: u64,
}

/// ALPC_SERVER_SESSION_INFORMATION, 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcServerSessionInformation {
    /// Session of the server.
    pub session_id: u32,
    /// Process of the server.
    pub process_id: u32,
}

/// ALPC_PORT_MESSAGE_ZONE_INFORMATION, 0x10 bytes: NtAlpcSetInformation class 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcPortMessageZoneInformation {
    /// Address of the zone, a multiple of the page size, in a view of a section that the caller may write; 0, with size 0,
    /// takes the port's zone away.
    pub buffer: u64,
    /// Its bytes, a multiple of the page size.
    pub size: u32,
    /// Padding; anything.
    pub reserved: u32,
}

/// Fewest bytes of a message zone.
pub const ALPC_MESSAGE_ZONE_SMALLEST: u32 = 0x1000;
/// Most bytes of a message zone.
pub const ALPC_MESSAGE_ZONE_LARGEST: u32 = 0x10_0000;

/// ALPC_BASIC_INFORMATION, 0x10 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct AlpcBasicInformation {
    /// Port flags as created.
    pub flags: u32,
    /// Messages received so far.
    pub sequence_no: u32,
    /// Context of a server communication port.
    pub port_context: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_nts() {
        assert_eq!(size_of::<PortMessage>(), 0x28);
        assert_eq!(size_of::<AlpcPortAttributes>(), 0x48);
        assert_eq!(size_of::<AlpcSecurityAttr>(), 0x18);
        assert_eq!(size_of::<AlpcTokenAttr>(), 0x18);
        assert_eq!(size_of::<AlpcPortMessageZoneInformation>(), 0x10);
        assert_eq!(core::mem::offset_of!(AlpcPortAttributes, max_message_length), 0x10);
        assert_eq!(core::mem::offset_of!(AlpcPortAttributes, dup_object_types), 0x40);
        assert_eq!(header_size(0xFE00_0000), 0xA0);
        assert_eq!(attribute_offset(0xFE00_0000, ALPC_MESSAGE_CONTEXT_ATTRIBUTE), Some(0x40));
        assert_eq!(attribute_offset(0xFE00_0000, ALPC_MESSAGE_HANDLE_ATTRIBUTE), Some(0x60));
        assert_eq!(attribute_offset(0xFE00_0000, ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE), Some(0x98));
        assert_eq!(attribute_offset(0x3000_0000, ALPC_MESSAGE_HANDLE_ATTRIBUTE), Some(0x28));
        assert_eq!(attribute_offset(0x3000_0000, ALPC_MESSAGE_VIEW_ATTRIBUTE), None);
        assert_eq!(attribute_offset(0x3000_0001, 1), None);
    }
}
