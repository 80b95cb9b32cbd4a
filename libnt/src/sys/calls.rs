//! The system calls with references and slices in place of pointers, and `Result`s in place of statuses.
//!
//! Each `unsafe` block here is one system call whose pointers are made on the spot from references that outlive it
//! and whose lengths are theirs.

use super::*;
use abi::alpc::{AlpcMessageAttributes, AlpcPortAttributes, ClientId, PortMessage};
use abi::arg::{Handle, In, InOut, Out};
use abi::mm::*;
use abi::ps::PROCESS_APC_DISPATCHER;
use abi::status::{NtResult, NtStatus};
use zerocopy::IntoBytes;

/// A value read by an information class: any bytes are valid.
pub use abi::arg::Pod;

fn unit(status: NtStatus) -> NtResult {
    status.ok().map(drop)
}

fn bytes_in(bytes: &[u8]) -> In<u8> {
    In::at(bytes.as_ptr() as u64)
}

fn bytes_out(bytes: &mut [u8]) -> Out<u8> {
    Out::at(bytes.as_mut_ptr() as u64)
}

/// NtClose.
pub fn close(handle: Handle) -> NtResult {
    // SAFETY: no pointers.
    unit(unsafe { NtClose(handle) })
}

/// NtDuplicateObject.
pub fn duplicate(
    source_process: Handle,
    source: Handle,
    target_process: Handle,
    access: u32,
    attributes: u32,
    options: u32,
) -> NtResult<Handle> {
    let mut target = Handle::NULL;
    // SAFETY: `target` is ours.
    unit(unsafe {
        NtDuplicateObject(
            source_process.into(),
            source,
            target_process,
            (&mut target).into(),
            access,
            attributes,
            options,
        )
    })?;
    Ok(target)
}

/// NtQueryObject into a buffer; answers the length.
pub fn query_object_bytes(handle: Handle, class: u32, buffer: &mut [u8]) -> NtResult<usize> {
    let mut length = 0u32;
    // SAFETY: the buffer and its length are the slice's.
    unit(unsafe {
        NtQueryObject(handle, class, bytes_out(buffer), buffer.len() as u32, (&mut length).into())
    })?;
    Ok(length as usize)
}

/// NtQueryObject of a fixed-size class.
pub fn query_object<T: Pod>(handle: Handle, class: u32) -> NtResult<T> {
    let mut value = T::new_zeroed();
    query_object_bytes(handle, class, value.as_mut_bytes())?;
    Ok(value)
}

/// NtSetInformationObject.
pub fn set_object(handle: Handle, class: u32, value: &[u8]) -> NtResult {
    // SAFETY: the buffer and its length are the slice's.
    unit(unsafe { NtSetInformationObject(handle, class, bytes_in(value), value.len() as u32) })
}

/// NtCompareObjects.
pub fn compare(first: Handle, second: Handle) -> NtResult {
    // SAFETY: no pointers.
    unit(unsafe { NtCompareObjects(first, second) })
}

/// NtWaitForSingleObject.
pub fn wait_one(handle: Handle, alertable: bool, timeout: Option<&i64>) -> NtStatus {
    // SAFETY: the time-out is only read.
    unsafe { NtWaitForSingleObject(handle.into(), alertable, timeout.into()) }
}

/// NtWaitForMultipleObjects.
pub fn wait_many(handles: &[Handle], wait_type: u32, alertable: bool, timeout: Option<&i64>) -> NtStatus {
    let array = In::at(handles.as_ptr() as u64);
    // SAFETY: the array and its length are the slice's; it is only read.
    unsafe { NtWaitForMultipleObjects(handles.len() as u32, array, wait_type, alertable, timeout.into()) }
}

/// NtDelayExecution.
pub fn delay(alertable: bool, interval: &i64) -> NtStatus {
    // SAFETY: the interval is only read.
    unsafe { NtDelayExecution(alertable, interval.into()) }
}

/// NtYieldExecution.
pub fn yield_execution() -> NtStatus {
    // SAFETY: no pointers.
    unsafe { NtYieldExecution() }
}

/// NtGetCurrentProcessorNumber.
#[inline(always)]
pub fn current_processor() -> u32 {
    // SAFETY: no pointers.
    unsafe { NtGetCurrentProcessorNumber() }.0
}

/// NtTestAlert. APCs that are queued to the caller run.
pub fn test_alert() -> NtStatus {
    // SAFETY: no pointers; the APCs are their queuers' promise.
    unsafe { NtTestAlert() }
}

/// NtAlertThread.
pub fn alert_thread(thread: Handle) -> NtResult {
    // SAFETY: no pointers.
    unit(unsafe { NtAlertThread(thread.into()) })
}

/// NtAlertResumeThread; answers the former suspend count.
pub fn alert_resume_thread(thread: Handle) -> NtResult<u32> {
    let mut previous = 0;
    // SAFETY: `previous` is ours.
    unit(unsafe { NtAlertResumeThread(thread.into(), (&mut previous).into()) })?;
    Ok(previous)
}

/// NtQueueApcThread.
///
/// # Safety
/// `routine` must be code of the thread's process that is sound to run with these arguments in any alertable wait.
pub unsafe fn queue_apc(thread: Handle, routine: u64, arguments: [u64; 3]) -> NtResult {
    let [first, second, third] = arguments;
    // SAFETY: no pointers that the kernel follows; the code is the caller's promise.
    unit(unsafe { NtQueueApcThread(thread.into(), routine, first, second, third) })
}

/// NtContinue; returns only on an error.
///
/// # Safety
/// It must be sound to go on with these registers.
pub unsafe fn go_on(context: &Context, test_alert: bool) -> NtStatus {
    // SAFETY: the context is only read; the rest is the caller's promise.
    unsafe { NtContinue(context.into(), test_alert) }
}

/// NtSetInformationProcess of PROCESS_APC_DISPATCHER, for the caller's process: only the runtime's own dispatcher.
pub(crate) fn set_apc_dispatcher(address: u64) -> NtResult {
    let value = address.as_bytes();
    // SAFETY: the buffer and its length are the slice's; `crate::apc` passes its dispatcher.
    unit(unsafe {
        NtSetInformationProcess(
            Handle::CURRENT_PROCESS.into(),
            PROCESS_APC_DISPATCHER,
            bytes_in(value),
            value.len() as u32,
        )
    })
}

/// NtCreateIoCompletion, unnamed.
pub fn create_io_completion(access: u32, limit: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours.
    unit(unsafe { NtCreateIoCompletion((&mut handle).into(), access, In::NULL, limit) })?;
    Ok(handle)
}

/// NtSetIoCompletion.
pub fn set_io_completion(object: Handle, packet: &FileIoCompletionInformation) -> NtResult {
    let FileIoCompletionInformation { key_context, apc_context, io_status_block } = packet;
    let IoStatusBlock { status, information, .. } = io_status_block;
    // SAFETY: no pointers.
    unit(unsafe { NtSetIoCompletion(object.into(), *key_context, *apc_context, *status, *information) })
}

/// NtRemoveIoCompletion; answers the status (success class) and the packet.
pub fn remove_io_completion(
    object: Handle,
    timeout: Option<&i64>,
) -> NtResult<(NtStatus, FileIoCompletionInformation)> {
    let mut packet = FileIoCompletionInformation::default();
    // SAFETY: the packet is ours, the time-out is only read.
    let status = unsafe {
        NtRemoveIoCompletion(
            object.into(),
            (&mut packet.key_context).into(),
            (&mut packet.apc_context).into(),
            (&mut packet.io_status_block).into(),
            timeout.into(),
        )
    };
    status.ok().map(|status| (status, packet))
}

/// NtRemoveIoCompletionEx; answers the status (success class) and how many packets there were.
pub fn remove_io_completion_ex(
    object: Handle,
    packets: &mut [FileIoCompletionInformation],
    timeout: Option<&i64>,
    alertable: bool,
) -> NtResult<(NtStatus, u32)> {
    let mut removed = 0;
    let array = Out::at(packets.as_mut_ptr() as u64);
    // SAFETY: the array and its length are the slice's, `removed` is ours, the time-out is only read.
    let status = unsafe {
        NtRemoveIoCompletionEx(
            object.into(),
            array,
            packets.len() as u32,
            (&mut removed).into(),
            timeout.into(),
            alertable,
        )
    };
    status.ok().map(|status| (status, removed))
}

/// NtQueryIoCompletion.
pub fn query_io_completion(object: Handle) -> NtResult<IoCompletionBasicInformation> {
    let mut value = IoCompletionBasicInformation::default();
    let bytes = value.as_mut_bytes();
    // SAFETY: the buffer and its length are the structure's.
    unit(unsafe {
        NtQueryIoCompletion(
            object.into(),
            IO_COMPLETION_BASIC_INFORMATION,
            bytes_out(bytes),
            bytes.len() as u32,
            Out::NULL,
        )
    })?;
    Ok(value)
}

/// NtAlpcSetInformation.
pub fn set_port(port: Handle, class: u32, value: &[u8]) -> NtResult {
    // SAFETY: the buffer and its length are the slice's; it is only read.
    unit(unsafe { NtAlpcSetInformation(port.into(), class, bytes_in(value), value.len() as u32) })
}

/// NtCreateEvent, unnamed.
pub fn create_event(access: u32, event_type: u32, signalled: bool) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours.
    unit(unsafe { NtCreateEvent((&mut handle).into(), access, In::NULL, event_type, signalled) })?;
    Ok(handle)
}

/// NtSetEvent; answers the former state.
pub fn set_event(event: Handle) -> NtResult<i32> {
    let mut previous = 0;
    // SAFETY: `previous` is ours.
    unit(unsafe { NtSetEvent(event.into(), (&mut previous).into()) })?;
    Ok(previous)
}

/// NtResetEvent; answers the former state.
pub fn reset_event(event: Handle) -> NtResult<i32> {
    let mut previous = 0;
    // SAFETY: `previous` is ours.
    unit(unsafe { NtResetEvent(event.into(), (&mut previous).into()) })?;
    Ok(previous)
}

/// NtQueryEvent.
pub fn query_event(event: Handle) -> NtResult<abi::ps::EventBasicInformation> {
    let mut value = abi::ps::EventBasicInformation::default();
    let bytes = value.as_mut_bytes();
    // SAFETY: the buffer and its length are the structure's.
    unit(unsafe { NtQueryEvent(event.into(), 0, bytes_out(bytes), bytes.len() as u32, Out::NULL) })?;
    Ok(value)
}

/// NtCreateProcessEx with the caller as parent.
pub fn create_process(access: u32, flags: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours.
    unit(unsafe {
        NtCreateProcessEx(
            (&mut handle).into(),
            access,
            In::NULL,
            Handle::CURRENT_PROCESS.into(),
            flags,
            Handle::NULL,
            Handle::NULL,
            Handle::NULL,
            0,
        )
    })?;
    Ok(handle)
}

/// NtTerminateProcess.
pub fn terminate_process(process: Handle, exit_status: NtStatus) -> NtResult {
    // SAFETY: no pointers; a process that ends runs no more Rust code.
    unit(unsafe { NtTerminateProcess(process, exit_status.0) })
}

/// NtOpenProcess.
pub fn open_process(process_id: u64, access: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    let id = ClientId { unique_process: process_id, unique_thread: 0 };
    // SAFETY: `handle` is ours, `id` is only read.
    unit(unsafe { NtOpenProcess((&mut handle).into(), access, In::NULL, (&id).into()) })?;
    Ok(handle)
}

/// NtQueryInformationProcess into a buffer; answers the length.
pub fn query_process_bytes(process: Handle, class: u32, buffer: &mut [u8]) -> NtResult<usize> {
    let mut length = 0u32;
    // SAFETY: the buffer and its length are the slice's.
    unit(unsafe {
        NtQueryInformationProcess(
            process.into(),
            class,
            bytes_out(buffer),
            buffer.len() as u32,
            (&mut length).into(),
        )
    })?;
    Ok(length as usize)
}

/// NtQueryInformationProcess of a fixed-size class.
pub fn query_process<T: Pod>(process: Handle, class: u32) -> NtResult<T> {
    let mut value = T::new_zeroed();
    query_process_bytes(process, class, value.as_mut_bytes())?;
    Ok(value)
}

/// NtSetInformationProcess, but for PROCESS_APC_DISPATCHER (STATUS_INVALID_INFO_CLASS).
pub fn set_process(process: Handle, class: u32, value: &[u8]) -> NtResult {
    if class == PROCESS_APC_DISPATCHER {
        return Err(abi::status::STATUS_INVALID_INFO_CLASS);
    }
    // SAFETY: the buffer and its length are the slice's; it is only read.
    unit(unsafe { NtSetInformationProcess(process.into(), class, bytes_in(value), value.len() as u32) })
}

/// NtCreateThreadEx.
///
/// # Safety
/// In the caller's own process `start` must be code that is sound to run with `argument`.
pub unsafe fn create_thread(
    process: Handle,
    access: u32,
    start: u64,
    argument: u64,
    flags: u32,
    stack_size: u64,
) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours; the code is the caller's promise.
    unit(unsafe {
        NtCreateThreadEx(
            (&mut handle).into(),
            access,
            In::NULL,
            process.into(),
            start,
            argument,
            flags,
            0,
            stack_size,
            stack_size,
            0,
        )
    })?;
    Ok(handle)
}

/// NtTerminateThread.
///
/// # Safety
/// A thread of the caller's own process must not be ended while it holds locks or owns what others borrow.
pub unsafe fn terminate_thread(thread: Handle, exit_status: NtStatus) -> NtResult {
    // SAFETY: the caller's promise.
    unit(unsafe { NtTerminateThread(thread, exit_status.0) })
}

/// NtOpenThread.
pub fn open_thread(client: &ClientId, access: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours, `client` is only read.
    unit(unsafe { NtOpenThread((&mut handle).into(), access, In::NULL, client.into()) })?;
    Ok(handle)
}

/// NtSuspendThread; answers the former count.
pub fn suspend_thread(thread: Handle) -> NtResult<u32> {
    let mut count = 0;
    // SAFETY: `count` is ours.
    unit(unsafe { NtSuspendThread(thread.into(), (&mut count).into()) })?;
    Ok(count)
}

/// NtResumeThread; answers the former count.
pub fn resume_thread(thread: Handle) -> NtResult<u32> {
    let mut count = 0;
    // SAFETY: `count` is ours.
    unit(unsafe { NtResumeThread(thread.into(), (&mut count).into()) })?;
    Ok(count)
}

/// NtQueryInformationThread of a fixed-size class.
pub fn query_thread<T: Pod>(thread: Handle, class: u32) -> NtResult<T> {
    let mut value = T::new_zeroed();
    let bytes = value.as_mut_bytes();
    // SAFETY: the buffer and its length are the value's.
    unit(unsafe {
        NtQueryInformationThread(thread.into(), class, bytes_out(bytes), bytes.len() as u32, Out::NULL)
    })?;
    Ok(value)
}

/// NtSetInformationThread.
pub fn set_thread(thread: Handle, class: u32, value: &[u8]) -> NtResult {
    // SAFETY: the buffer and its length are the slice's; it is only read.
    unit(unsafe { NtSetInformationThread(thread.into(), class, bytes_in(value), value.len() as u32) })
}

/// NtAllocateVirtualMemory; `base` 0 lets the kernel choose. Answers base and size.
pub fn allocate_memory(
    process: Handle,
    base: u64,
    size: u64,
    kind: u32,
    protect: u32,
) -> NtResult<(u64, u64)> {
    let (mut base, mut size) = (base, size);
    // SAFETY: base and size are ours; the kernel takes only free addresses (or commits reserved ones).
    unit(unsafe {
        NtAllocateVirtualMemory(process.into(), (&mut base).into(), 0, (&mut size).into(), kind, protect)
    })?;
    Ok((base, size))
}

/// NtFreeVirtualMemory.
///
/// # Safety
/// In the caller's own process nothing may use the memory any more.
pub unsafe fn free_memory(process: Handle, base: u64, size: u64, kind: u32) -> NtResult {
    let (mut base, mut size) = (base, size);
    // SAFETY: base and size are ours; the rest is the caller's promise.
    unit(unsafe { NtFreeVirtualMemory(process.into(), (&mut base).into(), (&mut size).into(), kind) })
}

/// NtProtectVirtualMemory; answers the former protection.
///
/// # Safety
/// In the caller's own process nothing may use the memory in a way the new protection forbids.
pub unsafe fn protect_memory(process: Handle, base: u64, size: u64, protect: u32) -> NtResult<u32> {
    let (mut base, mut size, mut old) = (base, size, 0);
    // SAFETY: base, size and old are ours; the rest is the caller's promise.
    unit(unsafe {
        NtProtectVirtualMemory(
            process.into(),
            (&mut base).into(),
            (&mut size).into(),
            protect,
            (&mut old).into(),
        )
    })?;
    Ok(old)
}

/// NtQueryVirtualMemory.
pub fn query_memory(process: Handle, address: u64) -> NtResult<MemoryBasicInformation> {
    let mut value = MemoryBasicInformation::default();
    let bytes = value.as_mut_bytes();
    // SAFETY: the buffer and its length are the structure's.
    unit(unsafe {
        NtQueryVirtualMemory(
            process.into(),
            address,
            MEMORY_BASIC_INFORMATION,
            bytes_out(bytes),
            bytes.len() as u64,
            Out::NULL,
        )
    })?;
    Ok(value)
}

/// NtReadVirtualMemory of the whole buffer.
pub fn read_memory(process: Handle, address: u64, buffer: &mut [u8]) -> NtResult {
    // SAFETY: the buffer and its length are the slice's; the kernel copies from any address fault-safely.
    unsafe { NtReadVirtualMemory(process.into(), address, bytes_out(buffer), buffer.len() as u64, Out::NULL) }
        .ok()
        .map(drop)
}

/// NtWriteVirtualMemory of `length` bytes at address `from` of the caller.
///
/// # Safety
/// `process` must not be the caller's own, unless nothing there uses the memory.
pub unsafe fn write_memory(process: Handle, address: u64, from: u64, length: u64) -> NtResult {
    // SAFETY: the kernel reads `from` fault-safely; the rest is the caller's promise.
    unit(unsafe { NtWriteVirtualMemory(process.into(), address, In::at(from), length, Out::NULL) })
}

/// NtCreateSection. `file` is null, or the resource of a physical section.
pub fn create_section(
    access: u32,
    size: u64,
    protect: u32,
    attributes: u32,
    file: Handle,
) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours, `size` is only read.
    unit(unsafe {
        NtCreateSection((&mut handle).into(), access, In::NULL, (&size).into(), protect, attributes, file)
    })?;
    Ok(handle)
}

/// NtMapViewOfSection; `base` 0 lets the kernel choose, `size` 0 maps to the section's end. Answers base and size.
pub fn map_view(
    section: Handle,
    process: Handle,
    base: u64,
    offset: u64,
    size: u64,
    protect: u32,
) -> NtResult<(u64, u64)> {
    let (mut base, mut offset, mut size) = (base, offset, size);
    // SAFETY: base, offset and size are ours; the kernel maps at free addresses only.
    unit(unsafe {
        NtMapViewOfSection(
            section.into(),
            process.into(),
            (&mut base).into(),
            0,
            0,
            (&mut offset).into(),
            (&mut size).into(),
            VIEW_UNMAP,
            0,
            protect,
        )
    })?;
    Ok((base, size))
}

/// NtUnmapViewOfSection.
///
/// # Safety
/// In the caller's own process nothing may use the view any more.
pub unsafe fn unmap_view(process: Handle, base: u64) -> NtResult {
    // SAFETY: the caller's promise.
    unit(unsafe { NtUnmapViewOfSection(process.into(), base) })
}

/// NtQuerySection.
pub fn query_section(section: Handle) -> NtResult<SectionBasicInformation> {
    let mut value = SectionBasicInformation::default();
    let bytes = value.as_mut_bytes();
    // SAFETY: the buffer and its length are the structure's.
    unit(unsafe {
        NtQuerySection(
            section.into(),
            SECTION_BASIC_INFORMATION,
            bytes_out(bytes),
            bytes.len() as u64,
            Out::NULL,
        )
    })?;
    Ok(value)
}

/// NtAlpcCreatePort.
pub fn create_port(attributes: &AlpcPortAttributes) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours, the attributes are only read.
    unit(unsafe { NtAlpcCreatePort((&mut handle).into(), In::NULL, attributes.into()) })?;
    Ok(handle)
}

/// NtAlpcConnectPortEx. The message buffer is read for the request and written with the answer.
pub fn connect_port(
    connection_port: Handle,
    attributes: Option<&AlpcPortAttributes>,
    flags: u32,
    message: Option<&mut [u64]>,
    timeout: Option<&i64>,
) -> NtResult<(Handle, usize)> {
    let mut handle = Handle::NULL;
    let target = ObjectAttributes::relative_to(connection_port, 0);
    let mut length = message.as_ref().map_or(0, |m| m.len() * 8) as u64;
    let pointer = message.map_or(InOut::NULL, |m| InOut::at(m.as_mut_ptr() as u64));
    // SAFETY: `handle` and `length` are ours; the message buffer and its length are the slice's.
    unit(unsafe {
        NtAlpcConnectPortEx(
            (&mut handle).into(),
            (&target).into(),
            In::NULL,
            attributes.into(),
            flags,
            0,
            pointer,
            if pointer.is_null() { InOut::NULL } else { (&mut length).into() },
            InOut::NULL,
            InOut::NULL,
            timeout.into(),
        )
    })?;
    Ok((handle, length as usize))
}

/// NtAlpcConnectPortEx without a message; the status (success class) and the handle, null when something ended the wait.
pub fn connect_port_status(
    connection_port: Handle,
    attributes: &AlpcPortAttributes,
    flags: u32,
    timeout: Option<&i64>,
) -> NtResult<(NtStatus, Handle)> {
    let mut handle = Handle::NULL;
    let target = ObjectAttributes::relative_to(connection_port, 0);
    // SAFETY: `handle` is ours; the rest is only read.
    let status = unsafe {
        NtAlpcConnectPortEx(
            (&mut handle).into(),
            (&target).into(),
            In::NULL,
            attributes.into(),
            flags,
            0,
            InOut::NULL,
            InOut::NULL,
            InOut::NULL,
            InOut::NULL,
            timeout.into(),
        )
    };
    status.ok().map(|status| (status, handle))
}

/// NtAlpcAcceptConnectPort; a refusal answers the null handle.
pub fn accept_port(
    connection_port: Handle,
    attributes: Option<&AlpcPortAttributes>,
    context: u64,
    request: &[u64],
    accept: bool,
) -> NtResult<Handle> {
    raw_accept(connection_port, attributes, context, request, InOut::NULL, accept)
}

/// The same with attributes for the client; always accepts.
pub fn accept_port_with(
    connection_port: Handle,
    attributes: Option<&AlpcPortAttributes>,
    context: u64,
    request: &[u64],
    message_attributes: &mut [u64],
) -> NtResult<Handle> {
    let message_attributes = InOut::at(message_attributes.as_mut_ptr() as u64);
    raw_accept(connection_port, attributes, context, request, message_attributes, true)
}

fn raw_accept(
    connection_port: Handle,
    attributes: Option<&AlpcPortAttributes>,
    context: u64,
    request: &[u64],
    message_attributes: InOut<AlpcMessageAttributes>,
    accept: bool,
) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours; request and attributes are only read, and start with headers that tell how much of them
    // there is; the kernel faults safely on what lies behind a short buffer.
    unit(unsafe {
        NtAlpcAcceptConnectPort(
            (&mut handle).into(),
            connection_port.into(),
            0,
            In::NULL,
            attributes.into(),
            context,
            In::at(request.as_ptr() as u64),
            message_attributes,
            accept,
        )
    })?;
    Ok(handle)
}

/// A message buffer of NtAlpcSendWaitReceivePort with the attributes that go with it.
pub struct Buffer<'a> {
    /// Header and payload.
    pub words: &'a mut [u64],
    /// Attribute header and bodies, or empty.
    pub attributes: &'a mut [u64],
}

/// NtAlpcSendWaitReceivePort. Answers the status (success class) and the received length.
pub fn send_receive(
    port: Handle,
    flags: u32,
    send: Option<Buffer<'_>>,
    receive: Option<Buffer<'_>>,
    timeout: Option<&i64>,
) -> NtResult<(NtStatus, usize)> {
    fn attributes(words: &mut [u64]) -> InOut<AlpcMessageAttributes> {
        if words.is_empty() { InOut::NULL } else { InOut::at(words.as_mut_ptr() as u64) }
    }
    let (out, out_attributes) = match send {
        Some(buffer) => (In::at(buffer.words.as_ptr() as u64), attributes(buffer.attributes)),
        None => (In::NULL, InOut::NULL),
    };
    let mut length = 0u64;
    let (into, into_attributes) = match receive {
        Some(buffer) => {
            length = size_of_val(buffer.words) as u64;
            (Out::at(buffer.words.as_mut_ptr() as u64), attributes(buffer.attributes))
        }
        None => (Out::NULL, InOut::NULL),
    };
    raw_send_receive(port, flags, out, out_attributes, into, &mut length, into_attributes, timeout)
}

/// NtAlpcSendWaitReceivePort where what arrives overwrites what was sent.
pub fn exchange(
    port: Handle,
    flags: u32,
    buffer: Buffer<'_>,
    timeout: Option<&i64>,
) -> NtResult<(NtStatus, usize)> {
    let address = buffer.words.as_mut_ptr() as u64;
    let mut length = size_of_val(buffer.words) as u64;
    let attributes = if buffer.attributes.is_empty() {
        InOut::NULL
    } else {
        InOut::at(buffer.attributes.as_mut_ptr() as u64)
    };
    raw_send_receive(
        port,
        flags,
        In::at(address),
        attributes,
        Out::at(address),
        &mut length,
        attributes,
        timeout,
    )
}

#[allow(clippy::too_many_arguments)]
#[inline]
fn raw_send_receive(
    port: Handle,
    flags: u32,
    send: In<PortMessage>,
    send_attributes: InOut<AlpcMessageAttributes>,
    receive: Out<PortMessage>,
    length: &mut u64,
    receive_attributes: InOut<AlpcMessageAttributes>,
    timeout: Option<&i64>,
) -> NtResult<(NtStatus, usize)> {
    let length_argument = if receive.is_null() { InOut::NULL } else { InOut::from(&mut *length) };
    // SAFETY: this private function's callers made each pointer from a slice they hold exclusively; `length` is the
    // receive buffer's. A send reads what the header says, fault-safely.
    let status = unsafe {
        NtAlpcSendWaitReceivePort(
            port,
            flags,
            send,
            send_attributes,
            receive,
            length_argument,
            receive_attributes,
            timeout.into(),
        )
    };
    status.ok().map(|status| (status, *length as usize))
}

/// NtAlpcOpenSenderProcess.
pub fn open_sender_process(port: Handle, message: &PortMessage, access: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours, the message is only read.
    unit(unsafe {
        NtAlpcOpenSenderProcess((&mut handle).into(), port.into(), message.into(), 0, access, In::NULL)
    })?;
    Ok(handle)
}

/// NtxCreateServerObject.
pub fn create_server_object(port: Handle, context: u64, server_type: u32, access: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours.
    unit(unsafe {
        NtxCreateServerObject((&mut handle).into(), port.into(), context, server_type, access, 0)
    })?;
    Ok(handle)
}

/// NtxCreateNameHandle.
pub fn create_name_handle(object: Handle, port: Handle, context: u64, name: &[u8]) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours; the name and its length are the slice's.
    unit(unsafe {
        NtxCreateNameHandle(
            (&mut handle).into(),
            object,
            port.into(),
            context,
            bytes_in(name),
            name.len() as u32,
        )
    })?;
    Ok(handle)
}

/// NtQuerySystemInformation; answers the length that was (or, on STATUS_INFO_LENGTH_MISMATCH, would be) written.
pub fn query_system(class: u32, buffer: &mut [u8]) -> (NtStatus, usize) {
    let mut length = 0u32;
    let pointer = InOut::at(buffer.as_mut_ptr() as u64);
    // SAFETY: the buffer and its length are the slice's.
    let status =
        unsafe { NtQuerySystemInformation(class, pointer, buffer.len() as u32, (&mut length).into()) };
    (status, length as usize)
}

/// NtQuerySystemTime.
pub fn system_time() -> NtResult<i64> {
    let mut time = 0;
    // SAFETY: `time` is ours.
    unit(unsafe { NtQuerySystemTime((&mut time).into()) })?;
    Ok(time)
}

/// NtQueryPerformanceCounter: counter and frequency.
pub fn performance_counter() -> NtResult<(i64, i64)> {
    let (mut counter, mut frequency) = (0, 0);
    // SAFETY: both are ours.
    unit(unsafe { NtQueryPerformanceCounter((&mut counter).into(), (&mut frequency).into()) })?;
    Ok((counter, frequency))
}

/// NtShutdownSystem.
pub fn shutdown_system(power: Handle, action: u32) -> NtResult {
    // SAFETY: no pointers.
    unit(unsafe { NtShutdownSystem(power.into(), action) })
}

/// NtTraceControl; answers the output's length.
pub fn trace_control(debug: Handle, function: u32, input: &[u8], output: &mut [u8]) -> NtResult<usize> {
    let mut length = 0u32;
    // SAFETY: the buffers and their lengths are the slices'.
    unit(unsafe {
        NtTraceControl(
            debug.into(),
            function,
            if input.is_empty() { In::NULL } else { bytes_in(input) },
            input.len() as u32,
            if output.is_empty() { Out::NULL } else { bytes_out(output) },
            output.len() as u32,
            (&mut length).into(),
        )
    })?;
    Ok(length as usize)
}

/// NtSystemDebugControl; answers the output's length.
pub fn debug_control(debug: Handle, command: u32, input: &[u8], output: &mut [u8]) -> NtResult<usize> {
    let mut length = 0u32;
    // SAFETY: the buffers and their lengths are the slices'.
    unit(unsafe {
        NtSystemDebugControl(
            debug.into(),
            command,
            bytes_in(input),
            input.len() as u32,
            bytes_out(output),
            output.len() as u32,
            (&mut length).into(),
        )
    })?;
    Ok(length as usize)
}

/// NtDisplayString.
pub fn display_string(text: &[u8]) -> NtResult {
    // SAFETY: the text and its length are the slice's; it is only read.
    unit(unsafe { NtDisplayString(bytes_in(text), text.len() as u32) })
}

/// NtxReadKernelLog; answers how many bytes were taken.
pub fn read_kernel_log(debug: Handle, event: Handle, buffer: &mut [u8]) -> NtResult<usize> {
    let mut length = 0u32;
    // SAFETY: the buffer and its length are the slice's.
    unit(unsafe {
        NtxReadKernelLog(debug.into(), event, bytes_out(buffer), buffer.len() as u32, (&mut length).into())
    })?;
    Ok(length as usize)
}

/// NtxCreateResource.
pub fn create_resource(parent: Handle, kind: u32, base: u64, length: u64) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours.
    unit(unsafe { NtxCreateResource((&mut handle).into(), parent.into(), kind, base, length) })?;
    Ok(handle)
}

/// NtxReadIoPort of bytes.
pub fn read_io_port(resource: Handle, port: u16, buffer: &mut [u8]) -> NtResult {
    // SAFETY: the buffer and its length are the slice's.
    unit(unsafe { NtxReadIoPort(resource.into(), port.into(), 1, bytes_out(buffer), buffer.len() as u32) })
}

/// NtxWriteIoPort of bytes.
pub fn write_io_port(resource: Handle, port: u16, bytes: &[u8]) -> NtResult {
    // SAFETY: the bytes and their length are the slice's; they are only read.
    unit(unsafe { NtxWriteIoPort(resource.into(), port.into(), 1, bytes_in(bytes), bytes.len() as u32) })
}

/// NtxCreateInterrupt.
pub fn create_interrupt(resource: Handle, global_interrupt: u32, flags: u32) -> NtResult<Handle> {
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours.
    unit(unsafe { NtxCreateInterrupt((&mut handle).into(), resource.into(), global_interrupt, flags) })?;
    Ok(handle)
}

/// NtxAcknowledgeInterrupt.
pub fn acknowledge_interrupt(interrupt: Handle) -> NtResult {
    // SAFETY: no pointers.
    unit(unsafe { NtxAcknowledgeInterrupt(interrupt.into()) })
}
