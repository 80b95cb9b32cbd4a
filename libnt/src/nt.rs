//! NT-named functions that libnt gives beyond the kernel's system calls.

#![allow(non_snake_case)]

use crate::alpc::helpers::{self, Width};
use crate::alpc::{Connect, Message, Port};
use abi::alpc::AlpcPortAttributes;
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

/// AlpcGetHeaderSize ([`helpers::header_size`]).
pub const fn AlpcGetHeaderSize(flags: u32) -> usize {
    helpers::header_size(Width::W64, flags)
}

/// AlpcMaxAllowedMessageLength.
pub const fn AlpcMaxAllowedMessageLength() -> usize {
    helpers::max_allowed_message_length()
}

/// AlpcInitializeMessageAttribute ([`helpers::initialize`]).
///
/// # Errors
/// STATUS_BUFFER_TOO_SMALL.
pub fn AlpcInitializeMessageAttribute(
    flags: u32,
    buffer: Option<&mut [u8]>,
    size: usize,
    required: &mut usize,
) -> NtResult {
    helpers::initialize(Width::W64, flags, buffer, size, required)
}

/// AlpcGetMessageAttribute: the bytes from the attribute's body on ([`helpers::find`]).
pub fn AlpcGetMessageAttribute(buffer: &mut [u8], flag: u32) -> Option<&mut [u8]> {
    let offset = helpers::find(Width::W64, buffer, flag)?;
    buffer.get_mut(offset..)
}
