//! The ALPC calls on port sections and views, and on what messages brought, with references and slices in place of pointers.

use super::*;
use abi::arg::{Handle, In, InOut};
use abi::status::NtResult;
use zerocopy::IntoBytes;

fn unit(status: NtStatus) -> NtResult {
    status.ok().map(drop)
}

/// NtAlpcCreatePortSection. Answers the section's handle, which means something to this port alone, and its size.
pub fn create_port_section(port: Handle, flags: u32, section: Handle, size: u64) -> NtResult<(u64, u64)> {
    let (mut made, mut actual) = (0, 0);
    // SAFETY: the results are ours.
    unit(unsafe {
        NtAlpcCreatePortSection(port.into(), flags, section, size, (&mut made).into(), (&mut actual).into())
    })?;
    Ok((made, actual))
}

/// NtAlpcDeletePortSection.
pub fn delete_port_section(port: Handle, section: u64) -> NtResult {
    // SAFETY: no pointers.
    unit(unsafe { NtAlpcDeletePortSection(port.into(), 0, section) })
}

/// NtAlpcCreateSectionView. Fills base and size.
pub fn create_section_view(port: Handle, view: &mut AlpcDataViewAttr) -> NtResult {
    // SAFETY: the attribute is ours; new memory is mapped where nothing is.
    unit(unsafe { NtAlpcCreateSectionView(port.into(), 0, view.into()) })
}

/// NtAlpcDeleteSectionView.
///
/// # Safety
/// Nothing uses the memory of the view any more.
pub unsafe fn delete_section_view(port: Handle, base: u64) -> NtResult {
    // SAFETY: no pointers; the rest is the caller's promise.
    unit(unsafe { NtAlpcDeleteSectionView(port.into(), 0, base) })
}

/// NtAlpcQueryInformationMessage, handles: one of those that a message brought which this process holds.
pub fn query_message_handle(
    port: Handle,
    message: &PortMessage,
    index: u32,
) -> NtResult<AlpcMessageHandleInformation> {
    let mut value = AlpcMessageHandleInformation { index, ..AlpcMessageHandleInformation::default() };
    super::security::query_message(port, message, ALPC_MESSAGE_HANDLE_INFORMATION, value.as_mut_bytes())?;
    Ok(value)
}

/// NtAlpcQueryInformationMessage, direct status: how a direct message ended that was sent on this port, or STATUS_PENDING.
pub fn query_direct_status(port: Handle, message: &PortMessage) -> NtResult<NtStatus> {
    let mut status = 0u32;
    super::security::query_message(
        port,
        message,
        ALPC_MESSAGE_DIRECT_STATUS_INFORMATION,
        status.as_mut_bytes(),
    )?;
    Ok(NtStatus(status))
}

fn attributes(words: Option<&mut [u64]>) -> InOut<AlpcMessageAttributes> {
    words.map_or(InOut::NULL, |words| InOut::at(words.as_mut_ptr() as u64))
}

/// NtAlpcConnectPortEx with attributes: `sent` go with the message, `received` with the answer, for which only a client
/// that waits has a use.
pub fn connect_port_with(
    connection_port: Handle,
    port: &AlpcPortAttributes,
    flags: u32,
    message: &mut [u64],
    sent: Option<&mut [u64]>,
    received: Option<&mut [u64]>,
) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    let target = ObjectAttributes::relative_to(connection_port, 0);
    let mut length = size_of_val(message) as u64;
    // SAFETY: `handle` and `length` are ours; the buffers are the slices', and attributes say in their header how long they are.
    unit(unsafe {
        NtAlpcConnectPortEx(
            (&mut handle).into(),
            (&target).into(),
            In::NULL,
            port.into(),
            flags,
            0,
            InOut::at(message.as_mut_ptr() as u64),
            (&mut length).into(),
            attributes(sent),
            attributes(received),
            In::NULL,
        )
    })?;
    Ok(handle)
}

/// NtAlpcAcceptConnectPort of an acceptance with attributes, which go to the client.
pub fn accept_port_with(
    connection_port: Handle,
    port: &AlpcPortAttributes,
    context: u64,
    request: &[u64],
    sent: &mut [u64],
) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours; the request and the attributes are only read.
    unit(unsafe {
        NtAlpcAcceptConnectPort(
            (&mut handle).into(),
            connection_port.into(),
            0,
            In::NULL,
            port.into(),
            context,
            In::at(request.as_ptr() as u64),
            attributes(Some(sent)),
            true,
        )
    })?;
    Ok(handle)
}
