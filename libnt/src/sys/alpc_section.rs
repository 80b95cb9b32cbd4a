//! The ALPC calls on port sections and views, and on what messages brought, with references and slices in place of pointers.

use super::*;
use abi::arg::{Handle, Out};
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
    query_message(port, message, ALPC_MESSAGE_HANDLE_INFORMATION, value.as_mut_bytes())?;
    Ok(value)
}

/// NtAlpcQueryInformationMessage, direct status: how a direct message ended that was sent on this port, or STATUS_PENDING.
pub fn query_direct_status(port: Handle, message: &PortMessage) -> NtResult<NtStatus> {
    let mut status = 0u32;
    query_message(port, message, ALPC_MESSAGE_DIRECT_STATUS_INFORMATION, status.as_mut_bytes())?;
    Ok(NtStatus(status))
}

/// NtAlpcQueryInformationMessage with a buffer that may be read and is written.
pub fn query_message(port: Handle, message: &PortMessage, class: u32, buffer: &mut [u8]) -> NtResult {
    let length = buffer.len() as u32;
    // SAFETY: the buffer and its length are the slice's.
    unit(unsafe {
        NtAlpcQueryInformationMessage(
            port.into(),
            message.into(),
            class,
            Out::at(buffer.as_mut_ptr() as u64),
            length,
            Out::NULL,
        )
    })
}
