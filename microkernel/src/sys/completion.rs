//! I/O completion objects.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::{OK, SysResult, new_handle, user};
use crate::alpc::list;
use crate::arch::percpu;
use crate::ke::completion::{IoCompletion, delivered, entry_of};
use crate::ke::{deadline, sched};
use crate::kref::Ref;
use crate::ob::Object;
use abi::NtStatus;
use abi::arg::{Handle, In, Out, Req};
use abi::completion::*;
use abi::ob::*;
use abi::status::*;
use antares_core::dispatch::Packet;
use zerocopy::IntoBytes;

/// Packets copied out at a time.
const BATCH: usize = 16;

type Modify = Req<{ ty::IO_COMPLETION }, IO_COMPLETION_MODIFY_STATE>;

fn object(handle: Modify) -> Result<Ref<IoCompletion>, NtStatus> {
    sched::current().process.handles.need(handle)
}

pub fn NtCreateIoCompletion(
    IoCompletionHandle: Out<Handle>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
    Count: u32,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    let limit = if Count == 0 { percpu::count() } else { Count };
    let object = IoCompletion::new(&sched::current().process.quota(), limit)?;
    new_handle(Object::IoCompletion(object), DesiredAccess, attributes, IoCompletionHandle)
}

pub fn NtOpenIoCompletion(
    IoCompletionHandle: Out<Handle>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
) -> SysResult {
    let _ = (IoCompletionHandle, DesiredAccess, ObjectAttributes);
    Err(STATUS_NOT_IMPLEMENTED)
}

pub fn NtSetIoCompletion(
    IoCompletionHandle: Modify,
    KeyContext: u64,
    ApcContext: u64,
    IoStatus: u32,
    IoStatusInformation: u64,
) -> SysResult {
    let entry = FileIoCompletionInformation {
        key_context: KeyContext,
        apc_context: ApcContext,
        io_status_block: IoStatusBlock { status: IoStatus, reserved: 0, information: IoStatusInformation },
    };
    object(IoCompletionHandle)?.post(&sched::current().process.quota(), &entry)?;
    OK
}

pub fn NtRemoveIoCompletion(
    IoCompletionHandle: Modify,
    KeyContext: Out<u64>,
    ApcContext: Out<u64>,
    IoStatusBlock: Out<IoStatusBlock>,
    Timeout: In<i64>,
) -> SysResult {
    let until = deadline(user::timeout(Timeout)?);
    let object = object(IoCompletionHandle)?;
    list::fill_all(&object, true);
    let packet = match object.remove(until, false) {
        Ok(packet) => {
            list::fill_all(&object, false);
            packet
        }
        Err(status) => return Ok(status),
    };
    let entry = entry_of(&packet);
    let written = user::write(KeyContext, &entry.key_context)
        .and_then(|()| user::write(ApcContext, &entry.apc_context))
        .and_then(|()| user::write(IoStatusBlock, &entry.io_status_block));
    match written {
        Ok(()) => delivered(&[packet]),
        Err(_) => object.put_back(&[packet]),
    }
    written.and(OK)
}

pub fn NtRemoveIoCompletionEx(
    IoCompletionHandle: Modify,
    IoCompletionInformation: Out<FileIoCompletionInformation>,
    Count: u32,
    NumEntriesRemoved: Out<u32>,
    Timeout: In<i64>,
    Alertable: bool,
) -> SysResult {
    let until = deadline(user::timeout(Timeout)?);
    let object = object(IoCompletionHandle)?;
    if Count == 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    // Before anything is taken that could not be accounted for.
    user::write(NumEntriesRemoved, &0)?;
    list::fill_all(&object, true);
    let mut next = match object.remove(until, Alertable) {
        Ok(packet) => {
            list::fill_all(&object, false);
            Some(packet)
        }
        Err(status) => return Ok(status),
    };
    let most = Count.min(MAXIMUM_REMOVED_PACKETS) as usize;
    let mut done = 0;
    while done < most {
        let mut batch = heapless::Vec::<Packet, BATCH>::new();
        while batch.len() < BATCH.min(most - done) {
            let Some(packet) = next.take().or_else(|| object.remove_more()) else { break };
            // There is room.
            let _ = batch.push(packet);
        }
        if batch.is_empty() {
            break;
        }
        let mut entries = [FileIoCompletionInformation::default(); BATCH];
        batch.iter().zip(&mut entries).for_each(|(packet, entry)| *entry = entry_of(packet));
        let at = (done * size_of::<FileIoCompletionInformation>()) as u64;
        let to = IoCompletionInformation.address().wrapping_add(at);
        if let Err(status) = user::write_bytes(to, entries[..batch.len()].as_bytes()) {
            object.put_back(&batch);
            if done == 0 {
                return Err(status);
            }
            break;
        }
        delivered(&batch);
        done += batch.len();
    }
    user::write(NumEntriesRemoved, &(done as u32))?;
    OK
}

pub fn NtQueryIoCompletion(
    IoCompletionHandle: Req<{ ty::IO_COMPLETION }, IO_COMPLETION_QUERY_STATE>,
    IoCompletionInformationClass: u32,
    IoCompletionInformation: Out<u8>,
    IoCompletionInformationLength: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let object: Ref<IoCompletion> = sched::current().process.handles.need(IoCompletionHandle)?;
    if IoCompletionInformationClass != IO_COMPLETION_BASIC_INFORMATION {
        return Err(STATUS_INVALID_INFO_CLASS);
    }
    let depth = object.depth().min(i32::MAX as u64) as i32;
    let basic = IoCompletionBasicInformation { depth };
    user::answer(&basic, IoCompletionInformation, u64::from(IoCompletionInformationLength), true)?;
    user::write_opt(ReturnLength, &(size_of::<IoCompletionBasicInformation>() as u32))?;
    OK
}
