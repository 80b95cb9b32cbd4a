//! ALPC structures and those they refer to as 32-bit programs lay them out, with the way to and from the 64-bit forms.
//!
//! Layouts: public NT headers (phnt), compiled for both widths. Each declaration gives a field's offsets in the 32-bit
//! and in the 64-bit form; the 32-bit ones are checked by the compiler.

use crate::alpc::*;
use crate::narrow::{DoesNotFit, Field, Kind, Kind::*, Layout, Narrow, Width};
use core::mem::offset_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! narrow {
    ($(
        $(#[$attribute:meta])* $name:ident: $narrow:literal, $wide:literal {
            $( $(#[$about:meta])* $field:ident: $type:ty = $at:literal, $wide_at:literal, $kind:expr; )*
        }
    )*) => {$(
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct $name { $( $(#[$about])* pub $field: $type, )* }

        const _: () = {
            assert!(size_of::<$name>() == $narrow);
            $( assert!(offset_of!($name, $field) == $at); )*
        };

        impl Narrow for $name {
            const FORMS: Layout = Layout {
                wide: $wide,
                narrow: $narrow,
                fields: &[ $( Field { narrow: $at, wide: $wide_at, kind: $kind } ),* ],
            };
        }
    )*};
}

narrow! {
    /// UNICODE_STRING, 8 bytes.
    #[repr(C)]
    UnicodeString32: 0x8, 0x10 {
        /// Bytes in use.
        length: u16 = 0x0, 0x0, Same(2);
        /// Bytes of the buffer.
        maximum_length: u16 = 0x2, 0x2, Same(2);
        /// Address of the UTF-16 text.
        buffer: u32 = 0x4, 0x8, Size;
    }

    /// OBJECT_ATTRIBUTES, 0x18 bytes.
    #[repr(C)]
    ObjectAttributes32: 0x18, 0x30 {
        /// Size of this structure: 0x18.
        length: u32 = 0x0, 0x0, OwnSize;
        /// Handle that the name is relative to.
        root_directory: u32 = 0x4, 0x8, Handle;
        /// Address of a [`UnicodeString32`], or 0.
        object_name: u32 = 0x8, 0x10, Size;
        /// OBJ_ flags.
        attributes: u32 = 0xC, 0x18, Same(4);
        /// Address of a security descriptor, or 0.
        security_descriptor: u32 = 0x10, 0x20, Size;
        /// Address of a SECURITY_QUALITY_OF_SERVICE, or 0.
        security_quality_of_service: u32 = 0x14, 0x28, Size;
    }

    /// CLIENT_ID, 8 bytes.
    #[repr(C)]
    ClientId32: 0x8, 0x10 {
        /// Process id.
        unique_process: u32 = 0x0, 0x0, Handle;
        /// Thread id.
        unique_thread: u32 = 0x4, 0x8, Handle;
    }

    /// PORT_MESSAGE, 0x18 bytes; the payload follows it. Its total length counts this header, so it is another in
    /// the 64-bit form. (32-bit programs under WoW64 use the 64-bit form for most legacy LPC calls.)
    #[repr(C, align(8))]
    PortMessage32: 0x18, 0x28 {
        /// Bytes of payload.
        data_length: u16 = 0x0, 0x0, Same(2);
        /// Bytes of header and payload.
        total_length: u16 = 0x2, 0x2, Behind;
        /// LPC_ type with flag bits.
        message_type: u16 = 0x4, 0x4, Same(2);
        /// Offset of the data information, or 0.
        data_info_offset: u16 = 0x6, 0x6, BehindOrNone;
        /// The sending process.
        unique_process: u32 = 0x8, 0x8, Handle;
        /// The sending thread.
        unique_thread: u32 = 0xC, 0x10, Handle;
        /// Identifies the message.
        message_id: u32 = 0x10, 0x18, Same(4);
        /// ClientViewSize (connection requests) or CallbackId (requests).
        callback_id: u32 = 0x14, 0x20, Size;
    }

    /// PORT_VIEW, 0x18 bytes.
    #[repr(C)]
    PortView32: 0x18, 0x30 {
        /// Size of this structure: 0x18.
        length: u32 = 0x0, 0x0, OwnSize;
        /// The section.
        section_handle: u32 = 0x4, 0x8, Handle;
        /// Offset of the view in it.
        section_offset: u32 = 0x8, 0x10, Same(4);
        /// Bytes of the view.
        view_size: u32 = 0xC, 0x18, Size;
        /// Where it is in this process.
        view_base: u32 = 0x10, 0x20, Size;
        /// Where it is in the other process.
        view_remote_base: u32 = 0x14, 0x28, Size;
    }

    /// REMOTE_PORT_VIEW, 0xC bytes.
    #[repr(C)]
    RemotePortView32: 0xC, 0x18 {
        /// Size of this structure: 0xC.
        length: u32 = 0x0, 0x0, OwnSize;
        /// Bytes of the view.
        view_size: u32 = 0x4, 0x8, Size;
        /// Where it is in the other process.
        view_base: u32 = 0x8, 0x10, Size;
    }

    /// ALPC_PORT_ATTRIBUTES, 0x2C bytes.
    #[repr(C)]
    AlpcPortAttributes32: 0x2C, 0x48 {
        /// ALPC_PORFLG_ bits.
        flags: u32 = 0x0, 0x0, Same(4);
        /// SECURITY_QUALITY_OF_SERVICE, the same in both forms.
        security_qos: [u32; 3] = 0x4, 0x4, Same(12);
        /// Largest message, header and payload.
        max_message_length: u32 = 0x10, 0x10, Size;
        /// Informational.
        memory_bandwidth: u32 = 0x14, 0x18, Size;
        /// Largest kernel memory of queued messages, in bytes.
        max_pool_usage: u32 = 0x18, 0x20, Size;
        /// Largest port section.
        max_section_size: u32 = 0x1C, 0x28, Size;
        /// Largest view.
        max_view_size: u32 = 0x20, 0x30, Size;
        /// Largest sum of port sections.
        max_total_section_size: u32 = 0x24, 0x38, Size;
        /// Object types the handle attribute may carry.
        dup_object_types: u32 = 0x28, 0x40, Same(4);
    }

    /// ALPC_SECURITY_ATTR, 0xC bytes.
    #[repr(C)]
    AlpcSecurityAttr32: 0xC, 0x18 {
        /// ALPC_SECFLG_ bits.
        flags: u32 = 0x0, 0x0, Same(4);
        /// Address of a SECURITY_QUALITY_OF_SERVICE.
        qos: u32 = 0x4, 0x8, Size;
        /// The security context.
        context_handle: u32 = 0x8, 0x10, Handle;
    }

    /// ALPC_DATA_VIEW_ATTR, 0x10 bytes.
    #[repr(C)]
    AlpcDataViewAttr32: 0x10, 0x20 {
        /// ALPC_VIEWFLG_ bits.
        flags: u32 = 0x0, 0x0, Same(4);
        /// The port section.
        section_handle: u32 = 0x4, 0x8, Handle;
        /// Where the view is.
        view_base: u32 = 0x8, 0x10, Size;
        /// Its bytes.
        view_size: u32 = 0xC, 0x18, Size;
    }

    /// ALPC_CONTEXT_ATTR, 0x14 bytes.
    #[repr(C)]
    AlpcContextAttr32: 0x14, 0x20 {
        /// What the server gave NtAlpcAcceptConnectPort.
        port_context: u32 = 0x0, 0x0, Size;
        /// Per-message context.
        message_context: u32 = 0x4, 0x8, Size;
        /// Sequence number of the message on its port.
        sequence: u32 = 0x8, 0x10, Same(4);
        /// As in the header.
        message_id: u32 = 0xC, 0x14, Same(4);
        /// As in the header.
        callback_id: u32 = 0x10, 0x18, Same(4);
    }

    /// ALPC_HANDLE_ATTR, 0x10 bytes. With ALPC_HANDLEFLG_INDIRECT the handle is the address of an array, whose
    /// entries are the same in both forms; so it is converted as one.
    #[repr(C)]
    AlpcHandleAttr32: 0x10, 0x18 {
        /// ALPC_HANDLEFLG_ bits.
        flags: u32 = 0x0, 0x0, Same(4);
        /// The handle.
        handle: u32 = 0x4, 0x8, Handle;
        /// Object type code.
        object_type: u32 = 0x8, 0x10, Same(4);
        /// Access.
        desired_access: u32 = 0xC, 0x14, Same(4);
    }

    /// ALPC_TOKEN_ATTR, 0x18 bytes in both forms.
    #[repr(C)]
    AlpcTokenAttr32: 0x18, 0x18 {
        /// Id of the token.
        token_id: u64 = 0x0, 0x0, Same(8);
        /// Id of its logon.
        authentication_id: u64 = 0x8, 0x8, Same(8);
        /// Id that changes with it.
        modified_id: u64 = 0x10, 0x10, Same(8);
    }

    /// ALPC_DIRECT_ATTR, 4 bytes.
    #[repr(C)]
    AlpcDirectAttr32: 0x4, 0x8 {
        /// The event.
        event: u32 = 0x0, 0x0, Handle;
    }

    /// ALPC_WORK_ON_BEHALF_ATTR, 8 bytes in both forms.
    #[repr(C)]
    AlpcWorkOnBehalfAttr32: 0x8, 0x8 {
        /// The ticket.
        ticket: u64 = 0x0, 0x0, Same(8);
    }

    /// ALPC_BASIC_INFORMATION, 0xC bytes.
    #[repr(C)]
    AlpcBasicInformation32: 0xC, 0x10 {
        /// Port flags as created.
        flags: u32 = 0x0, 0x0, Same(4);
        /// Messages received so far.
        sequence_no: u32 = 0x4, 0x4, Same(4);
        /// Context of a server communication port.
        port_context: u32 = 0x8, 0x8, Size;
    }

    /// ALPC_PORT_ASSOCIATE_COMPLETION_PORT, 8 bytes.
    #[repr(C)]
    AlpcPortAssociateCompletionPort32: 0x8, 0x10 {
        /// Key of the packets.
        completion_key: u32 = 0x0, 0x0, Size;
        /// The I/O completion object.
        completion_port: u32 = 0x4, 0x8, Handle;
    }

    /// ALPC_SERVER_INFORMATION as it is returned, 0x10 bytes.
    #[repr(C)]
    AlpcServerInformation32: 0x10, 0x20 {
        /// 1: the thread waits for a server.
        thread_blocked: u8 = 0x0, 0x0, Same(1);
        /// Zero.
        reserved: [u8; 3] = 0x1, 0x1, Same(3);
        /// The server's process.
        connected_process_id: u32 = 0x4, 0x8, Handle;
        /// Name of its port: bytes in use.
        name_length: u16 = 0x8, 0x10, Same(2);
        /// Bytes of the name's buffer.
        name_maximum_length: u16 = 0xA, 0x12, Same(2);
        /// Address of the name.
        name_buffer: u32 = 0xC, 0x18, Size;
    }

    /// ALPC_PORT_MESSAGE_ZONE_INFORMATION, 8 bytes.
    #[repr(C)]
    AlpcPortMessageZoneInformation32: 0x8, 0x10 {
        /// Address of the zone.
        buffer: u32 = 0x0, 0x0, Size;
        /// Its bytes.
        size: u32 = 0x4, 0x8, Same(4);
    }

    /// ALPC_PORT_COMPLETION_LIST_INFORMATION, 0x10 bytes.
    #[repr(C)]
    AlpcPortCompletionListInformation32: 0x10, 0x18 {
        /// Address of the list.
        buffer: u32 = 0x0, 0x0, Size;
        /// Its bytes.
        size: u32 = 0x4, 0x8, Same(4);
        /// Threads that use it at a time.
        concurrency_count: u32 = 0x8, 0xC, Same(4);
        /// Attributes that its messages carry.
        attribute_flags: u32 = 0xC, 0x10, Same(4);
    }
}

/// The attributes in both forms, highest bit first.
const ATTRIBUTES: [(u32, Layout); 7] = [
    (ALPC_MESSAGE_SECURITY_ATTRIBUTE, AlpcSecurityAttr32::FORMS),
    (ALPC_MESSAGE_VIEW_ATTRIBUTE, AlpcDataViewAttr32::FORMS),
    (ALPC_MESSAGE_CONTEXT_ATTRIBUTE, AlpcContextAttr32::FORMS),
    (ALPC_MESSAGE_HANDLE_ATTRIBUTE, AlpcHandleAttr32::FORMS),
    (ALPC_MESSAGE_TOKEN_ATTRIBUTE, AlpcTokenAttr32::FORMS),
    (ALPC_MESSAGE_DIRECT_ATTRIBUTE, AlpcDirectAttr32::FORMS),
    (ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, AlpcWorkOnBehalfAttr32::FORMS),
];

const _: () = {
    let mut i = 0;
    while i < ATTRIBUTES.len() {
        assert!(ATTRIBUTES[i].0 == ATTRIBUTE_SIZES[i].0 && ATTRIBUTES[i].1.wide == ATTRIBUTE_SIZES[i].1);
        i += 1;
    }
    assert!(header_size_of(Width::W32, 0xFE00_0000) == 0x6C);
    assert!(header_size_of(Width::W64, 0xFE00_0000) == 0xA0);
};

/// AlpcGetHeaderSize for a width: bytes of the header and the bodies of `flags`; unknown bits add nothing.
pub const fn header_size_of(width: Width, flags: u32) -> usize {
    let mut size = size_of::<AlpcMessageAttributes>();
    let mut i = 0;
    while i < ATTRIBUTES.len() {
        if flags & ATTRIBUTES[i].0 != 0 {
            size += ATTRIBUTES[i].1.size(width);
        }
        i += 1;
    }
    size
}

/// AlpcGetMessageAttribute's offset for a width: where the body of `flag` lies in a buffer with `allocated`
/// attributes, or `None` when `flag` is not exactly one known attribute that is allocated.
pub const fn attribute_offset_of(width: Width, allocated: u32, flag: u32) -> Option<usize> {
    if flag.count_ones() != 1 || allocated & flag == 0 || flag < ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE {
        return None;
    }
    Some(header_size_of(width, allocated & !(flag | (flag - 1))))
}

/// Converts an attribute buffer to the form `width`: the header as it is, and the body of each attribute that is
/// allocated and valid; the room of the others becomes 0. Returns the bytes that `to` has now.
///
/// # Errors
/// [`DoesNotFit`] when a value does not, or a buffer is shorter than its allocated attributes.
pub fn convert_attributes(width: Width, from: &[u8], to: &mut [u8]) -> Result<usize, DoesNotFit> {
    let (header, _) = AlpcMessageAttributes::read_from_prefix(from).map_err(|_| DoesNotFit)?;
    let other = if width == Width::W32 { Width::W64 } else { Width::W32 };
    let allocated = header.allocated_attributes;
    let size = header_size_of(width, allocated);
    let to = to.get_mut(..size).ok_or(DoesNotFit)?;
    if from.len() < header_size_of(other, allocated) {
        return Err(DoesNotFit);
    }
    to.fill(0);
    to[..size_of_val(&header)].copy_from_slice(header.as_bytes());
    for (flag, layout) in ATTRIBUTES.iter().filter(|(flag, _)| header.valid_attributes & flag != 0) {
        let at = |width| attribute_offset_of(width, allocated, *flag);
        if let (Some(source), Some(target)) = (at(other), at(width)) {
            let layout = if *flag == ALPC_MESSAGE_HANDLE_ATTRIBUTE && is_indirect(&from[source..]) {
                &INDIRECT
            } else {
                layout
            };
            layout.convert(width, &from[source..], &mut to[target..])?;
        }
    }
    Ok(size)
}

/// A handle attribute whose handle is an address.
const INDIRECT: Layout = Layout {
    fields: &[
        Field { narrow: 0x0, wide: 0x0, kind: Kind::Same(4) },
        Field { narrow: 0x4, wide: 0x8, kind: Kind::Size },
        Field { narrow: 0x8, wide: 0x10, kind: Kind::Same(4) },
        Field { narrow: 0xC, wide: 0x14, kind: Kind::Same(4) },
    ],
    ..AlpcHandleAttr32::FORMS
};

fn is_indirect(body: &[u8]) -> bool {
    u32::read_from_prefix(body).is_ok_and(|(flags, _)| flags & ALPC_HANDLEFLG_INDIRECT != 0)
}

#[cfg(test)]
mod tests;
