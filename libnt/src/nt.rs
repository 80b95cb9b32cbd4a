//! NT-named functions that libnt gives beyond the kernel's system calls.

#![allow(non_snake_case)]

use crate::alpc::helpers::{self, Width};
use crate::alpc::{CompletionList, Connect, ListMessage, Message, Port};
use abi::alpc::AlpcPortAttributes;
use abi::arg::Handle;
use abi::ob::PORT_CONNECT;
use abi::se::Sid;
use abi::status::NtResult;
use core::time::Duration;

/// NtAlpcConnectPort: connects to a port by name, synchronously. The object manager resolves the name; the kernel
/// connects.
pub fn NtAlpcConnectPort<B: AsRef<[u64]> + AsMut<[u64]>>(
    port_name: &str,
    port_attributes: Option<&AlpcPortAttributes>,
    required_server_sid: Option<&Sid>,
    connection_message: Option<&mut Message<B>>,
    timeout: Option<Duration>,
) -> NtResult<Port> {
    let connection_port = crate::ob::open_port(port_name, PORT_CONNECT)?;
    let options = Connect {
        attributes: port_attributes.copied().unwrap_or_default(),
        timeout,
        required_server: required_server_sid.copied(),
    };
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

/// AlpcRegisterCompletionList ([`CompletionList::register`]); the memory is libnt's.
pub fn AlpcRegisterCompletionList(
    port: Handle,
    size: u32,
    concurrency_count: u32,
    attribute_flags: u32,
) -> NtResult<CompletionList> {
    CompletionList::register(port, size, concurrency_count, attribute_flags)
}

/// AlpcUnregisterCompletionList.
pub fn AlpcUnregisterCompletionList(list: CompletionList) -> NtResult {
    list.unregister()
}

/// AlpcRundownCompletionList ([`CompletionList::run_down`]).
pub fn AlpcRundownCompletionList(list: &CompletionList) -> NtResult {
    list.run_down()
}

/// AlpcAdjustCompletionListConcurrencyCount.
pub fn AlpcAdjustCompletionListConcurrencyCount(list: &CompletionList, count: u32) -> NtResult {
    list.adjust_concurrency(count)
}

/// AlpcRegisterCompletionListWorkerThread: how many work on the list now.
pub fn AlpcRegisterCompletionListWorkerThread(list: &CompletionList) -> u16 {
    list.add_worker()
}

/// AlpcUnregisterCompletionListWorkerThread: how many work on the list now.
pub fn AlpcUnregisterCompletionListWorkerThread(list: &CompletionList) -> u16 {
    list.remove_worker()
}

/// AlpcGetMessageFromCompletionList.
pub fn AlpcGetMessageFromCompletionList(list: &CompletionList) -> Option<ListMessage<'_>> {
    list.take()
}

/// AlpcFreeCompletionListMessage; dropping the message does the same.
pub fn AlpcFreeCompletionListMessage(message: ListMessage<'_>) {
    drop(message);
}

/// AlpcGetCompletionListMessageAttributes.
pub fn AlpcGetCompletionListMessageAttributes<'a>(message: &'a ListMessage<'_>) -> &'a [u8] {
    message.attributes()
}

/// AlpcGetCompletionListLastMessageInformation: message id and callback id.
pub fn AlpcGetCompletionListLastMessageInformation(list: &CompletionList) -> (u32, u32) {
    list.last_message()
}

/// AlpcGetOutstandingCompletionListMessageCount.
pub fn AlpcGetOutstandingCompletionListMessageCount(list: &CompletionList) -> u32 {
    list.outstanding()
}
