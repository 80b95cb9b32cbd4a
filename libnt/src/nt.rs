//! NT-named functions that libnt gives beyond the kernel's system calls.

#![allow(non_snake_case)]

use crate::alpc::{Connect, Message, Port, attributes};
use abi::alpc::{ALPC_MAX_ALLOWED_MESSAGE_LENGTH, AlpcPortAttributes, header_size};
use abi::ob::PORT_CONNECT;
use abi::status::NtResult;
use core::time::Duration;

/// NtAlpcConnectPort: connects to a port by name, synchronously. The object manager resolves the name; the kernel
/// connects.
pub fn NtAlpcConnectPort<B: AsRef<[u64]> + AsMut<[u64]>>(
    port_name: &str,
    port_attributes: Option<&AlpcPortAttributes>,
    connection_message: Option<&mut Message<B>>,
    timeout: Option<Duration>,
) -> NtResult<Port> {
    let connection_port = crate::ob::open_port(port_name, PORT_CONNECT)?;
    let options = Connect { attributes: port_attributes.copied().unwrap_or_default(), timeout };
    Port::connect_to(connection_port.raw(), &options, connection_message)
}

/// AlpcGetHeaderSize.
pub const fn AlpcGetHeaderSize(flags: u32) -> usize {
    header_size(flags)
}

/// AlpcMaxAllowedMessageLength.
pub const fn AlpcMaxAllowedMessageLength() -> usize {
    ALPC_MAX_ALLOWED_MESSAGE_LENGTH
}

/// AlpcInitializeMessageAttribute.
pub fn AlpcInitializeMessageAttribute(
    flags: u32,
    buffer: Option<&mut [u8]>,
    required: &mut usize,
) -> NtResult {
    attributes::initialize(flags, buffer, required)
}

/// AlpcGetMessageAttribute: the bytes from the attribute's body on.
pub fn AlpcGetMessageAttribute(buffer: &mut [u8], flag: u32) -> Option<&mut [u8]> {
    let offset = attributes::offset_in(buffer, flag)?;
    buffer.get_mut(offset..)
}
