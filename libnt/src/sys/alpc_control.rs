//! The ALPC calls that look after ports and messages, with references and slices in place of pointers.
//!
//! Each `unsafe` block here is one system call whose pointers are made on the spot from references that outlive it and
//! whose lengths are theirs.

use super::*;
use abi::arg::{Handle, In, InOut, Out, Pod};
use abi::status::{NtResult, STATUS_UNSUCCESSFUL};
use alloc::string::String;
use zerocopy::{FromBytes, IntoBytes};

fn unit(status: NtStatus) -> NtResult {
    status.ok().map(drop)
}

/// NtAlpcDisconnectPort.
pub fn disconnect_port(port: Handle, flags: u32) -> NtResult {
    // SAFETY: no pointers.
    unit(unsafe { NtAlpcDisconnectPort(port.into(), flags) })
}

/// NtAlpcCancelMessage; the status of success tells whether the message had been received.
pub fn cancel_message(port: Handle, flags: u32, message: &AlpcContextAttr) -> NtResult<NtStatus> {
    // SAFETY: the attribute is only read.
    unsafe { NtAlpcCancelMessage(port.into(), flags, message.into()) }.ok()
}

/// NtAlpcCreateResourceReserve for messages of at most `size` bytes, header included; its id.
pub fn create_resource_reserve(port: Handle, size: u64) -> NtResult<u32> {
    let mut id = 0u32;
    // SAFETY: `id` is ours.
    unit(unsafe { NtAlpcCreateResourceReserve(port.into(), 0, size, (&mut id).into()) })?;
    Ok(id)
}

/// NtAlpcDeleteResourceReserve.
pub fn delete_resource_reserve(port: Handle, id: u32) -> NtResult {
    // SAFETY: no pointers.
    unit(unsafe { NtAlpcDeleteResourceReserve(port.into(), 0, id) })
}

fn query<T: Pod + Default>(port: Handle, class: u32) -> NtResult<T> {
    let mut value = T::default();
    let bytes = value.as_mut_bytes();
    let (at, length) = (InOut::at(bytes.as_mut_ptr() as u64), bytes.len() as u32);
    // SAFETY: the buffer and its length are the structure's.
    unit(unsafe { NtAlpcQueryInformation(port.into(), class, at, length, Out::NULL) })?;
    Ok(value)
}

/// NtAlpcQueryInformation, basic.
pub fn query_port(port: Handle) -> NtResult<AlpcBasicInformation> {
    query(port, ALPC_BASIC_INFORMATION)
}

/// NtAlpcQueryInformation, the server's session: of a client port.
pub fn query_server_session(port: Handle) -> NtResult<AlpcServerSessionInformation> {
    query(port, ALPC_SERVER_SESSION_INFORMATION)
}

/// On which server a thread is blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockingServer {
    /// Process id of the server.
    pub process: u64,
    /// Name of its connection port; empty when that has none.
    pub port_name: String,
}

/// NtAlpcQueryInformation, the server on which a thread is blocked; `None` when it waits for no answer.
pub fn query_blocking_server(thread: Handle) -> NtResult<Option<BlockingServer>> {
    let mut buffer = [0u64; 64];
    buffer[0] = thread.0;
    let address = buffer.as_mut_ptr() as u64;
    let length = size_of_val(&buffer) as u32;
    // SAFETY: the buffer and its length are ours; a thread is asked about, not a port.
    unit(unsafe {
        NtAlpcQueryInformation(
            Handle::NULL.into(),
            ALPC_SERVER_INFORMATION,
            InOut::at(address),
            length,
            Out::NULL,
        )
    })?;
    let (found, rest) =
        AlpcServerInformation::read_from_prefix(buffer.as_bytes()).map_err(|_| STATUS_UNSUCCESSFUL)?;
    if found.thread_blocked == 0 {
        return Ok(None);
    }
    let units = rest[..usize::from(found.name_length)]
        .chunks_exact(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]));
    let port_name = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Ok(Some(BlockingServer { process: found.connected_process_id, port_name }))
}

/// NtAlpcSetInformation, the port's limits; the flags must be those it was made with.
pub fn set_port_attributes(port: Handle, attributes: &AlpcPortAttributes) -> NtResult {
    let bytes = attributes.as_bytes();
    let (at, length) = (In::at(bytes.as_ptr() as u64), bytes.len() as u32);
    // SAFETY: the structure is only read.
    unit(unsafe { NtAlpcSetInformation(port.into(), ALPC_PORT_INFORMATION, at, length) })
}

/// NtAlpcSetInformation: waits until every message is gone that was sent with ALPC_MSGFLG_TRACK_PORT_REFERENCES.
pub fn wait_for_port_references(port: Handle) -> NtResult {
    // SAFETY: no pointers.
    unit(unsafe { NtAlpcSetInformation(port.into(), ALPC_WAIT_FOR_PORT_REFERENCES, In::NULL, 0) })
}
