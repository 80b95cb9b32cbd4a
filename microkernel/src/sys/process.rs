//! Processes.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]
#![expect(clippy::too_many_arguments, reason = "NT's parameter lists")]

use super::{OK, SysResult, insert_handle, new_handle, process_of, user};
use crate::io::Resource;
use crate::ke::sched;
use crate::kref::Ref;
use crate::ob::Object;
use crate::ps::process::Process;
use crate::ps::thread::Thread;
use crate::ps::{ids, thread};
use crate::quota::QuotaBlock;
use crate::se::Subject;
use crate::se::token::Token;
use abi::NtStatus;
use abi::alpc::ClientId;
use abi::arg::{Handle, In, Out, Req};
use abi::io::RESOURCE_QUOTA;
use abi::mm::{USER_MAX, USER_MIN};
use abi::ob::*;
use abi::ps::*;
use abi::se::*;
use abi::status::*;
use antares_core::se::token::Kind;
use core::sync::atomic::Ordering;

pub fn NtCreateProcessEx(
    ProcessHandle: Out<Handle>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
    ParentProcess: Req<{ ty::PROCESS }, PROCESS_CREATE_PROCESS>,
    Flags: u32,
    SectionHandle: Handle,
    DebugPort: Handle,
    ExceptionPort: Handle,
    JobMemberLevel: u32,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    let parent = process_of(ParentProcess.0, PROCESS_CREATE_PROCESS)?;
    let must_be_null = [SectionHandle, DebugPort, ExceptionPort];
    if Flags & !PROCESS_CREATE_FLAGS_INHERIT_HANDLES != 0
        || must_be_null.iter().any(|h| !h.is_null())
        || JobMemberLevel != 0
    {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let child = parent.new_child(Flags & PROCESS_CREATE_FLAGS_INHERIT_HANDLES != 0)?;
    let result = new_handle(Object::Process(child.clone()), DesiredAccess, attributes, ProcessHandle);
    if let Err(status) = result {
        let _ = child.terminate(status.0);
    }
    result
}

pub fn NtTerminateProcess(ProcessHandle: Handle, ExitStatus: u32) -> SysResult {
    let current = sched::current();
    if ProcessHandle.is_null() {
        current.process.terminate_others(current, ExitStatus);
        return OK;
    }
    let process = process_of(ProcessHandle, PROCESS_TERMINATE)?;
    process.terminate(ExitStatus)?;
    OK
}

/// Opens an object of which the caller may have `most`.
pub fn open(object: Object, desired: u32, most: u32, attributes: u32, to: Out<Handle>) -> SysResult {
    let access = object.map_access(desired, most);
    if access & !most != 0 {
        return Err(STATUS_ACCESS_DENIED);
    }
    insert_handle(object, access, attributes, to)
}

pub fn NtOpenProcess(
    ProcessHandle: Out<Handle>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
    ClientId: In<ClientId>,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    let id = client_id(ClientId)?;
    let process = ids::process(id.unique_process).ok_or(STATUS_INVALID_CID)?;
    if id.unique_thread != 0 {
        let thread = ids::thread(id.unique_thread).ok_or(STATUS_INVALID_CID)?;
        if !Ref::same(&thread.process, &process) {
            return Err(STATUS_INVALID_CID);
        }
    }
    open_process(process, DesiredAccess, attributes, ProcessHandle)
}

/// Opens a process with what the caller may have of it.
pub fn open_process(process: Ref<Process>, access: u32, attributes: u32, to: Out<Handle>) -> SysResult {
    let subject = Subject::current();
    let most = subject.process_access(&process, PROCESS_ALL_ACCESS, PROCESS_QUERY_LIMITED_INFORMATION)?;
    open(Object::Process(process), access, most, attributes, to)
}

/// Opens a thread with what the caller may have of its process.
pub fn open_thread(thread: Ref<Thread>, access: u32, attributes: u32, to: Out<Handle>) -> SysResult {
    let subject = Subject::current();
    let most =
        subject.process_access(&thread.process, THREAD_ALL_ACCESS, THREAD_QUERY_LIMITED_INFORMATION)?;
    open(Object::Thread(thread), access, most, attributes, to)
}

fn client_id(from: In<ClientId>) -> Result<ClientId, NtStatus> {
    if from.is_null() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    user::read(from)
}

pub fn NtOpenThread(
    ThreadHandle: Out<Handle>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
    ClientId: In<ClientId>,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    let id = client_id(ClientId)?;
    let thread = ids::thread(id.unique_thread).ok_or(STATUS_INVALID_CID)?;
    if id.unique_process != 0 && u64::from(thread.process.id()) != id.unique_process {
        return Err(STATUS_INVALID_CID);
    }
    open_thread(thread, DesiredAccess, attributes, ThreadHandle)
}

pub fn NtQueryInformationProcess(
    ProcessHandle: Req<{ ty::PROCESS }, PROCESS_QUERY_LIMITED_INFORMATION>,
    ProcessInformationClass: u32,
    ProcessInformation: Out<u8>,
    ProcessInformationLength: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let process = process_of(ProcessHandle.0, PROCESS_QUERY_LIMITED_INFORMATION)?;
    let length = u64::from(ProcessInformationLength);
    let size = match ProcessInformationClass {
        PROCESS_BASIC_INFORMATION => {
            let basic = ProcessBasicInformation {
                exit_status: process.exit_status(),
                affinity_mask: super::thread::online_mask(),
                base_priority: process.base_priority.load(Ordering::Relaxed),
                unique_process_id: u64::from(process.id()),
                inherited_from: u64::from(process.parent),
                ..ProcessBasicInformation::default()
            };
            user::answer(&basic, ProcessInformation, length, true)?;
            size_of::<ProcessBasicInformation>()
        }
        PROCESS_TIMES => {
            let times = KernelUserTimes {
                create_time: process.created,
                exit_time: process.exited.load(Ordering::Relaxed) as i64,
                kernel_time: 0,
                user_time: super::info::process_time(&process),
            };
            user::answer(&times, ProcessInformation, length, true)?;
            size_of::<KernelUserTimes>()
        }
        PROCESS_HANDLE_COUNT => {
            user::answer(&(process.handles.len() as u32), ProcessInformation, length, true)?;
            4
        }
        PROCESS_QUOTA_LIMITS => {
            user::answer(&process.quota().limits(), ProcessInformation, length, true)?;
            size_of::<QuotaLimits>()
        }
        PROCESS_IMAGE_FILE_NAME => {
            let name = process.name();
            user::write_opt(ReturnLength, &(name.len() as u32))?;
            if (ProcessInformationLength as usize) < name.len() {
                return Err(STATUS_INFO_LENGTH_MISMATCH);
            }
            user::write_bytes(ProcessInformation.address(), name.as_bytes())?;
            name.len()
        }
        _ => return Err(STATUS_INVALID_INFO_CLASS),
    };
    user::write_opt(ReturnLength, &(size as u32))?;
    OK
}

pub fn NtSetInformationProcess(
    ProcessHandle: Req<{ ty::PROCESS }, PROCESS_SET_INFORMATION>,
    ProcessInformationClass: u32,
    ProcessInformation: In<u8>,
    ProcessInformationLength: u32,
) -> SysResult {
    let process = process_of(ProcessHandle.0, PROCESS_SET_INFORMATION)?;
    match ProcessInformationClass {
        PROCESS_IMAGE_FILE_NAME => {
            process.set_name(user::name(ProcessInformation, ProcessInformationLength)?)
        }
        PROCESS_BASE_PRIORITY => {
            let priority: i32 = user::input(ProcessInformation, ProcessInformationLength)?;
            if !(1..=super::thread::highest_priority()).contains(&priority) {
                return Err(STATUS_INVALID_PARAMETER);
            }
            let change = priority - process.base_priority.swap(priority, Ordering::Relaxed);
            process.for_threads(|thread| {
                sched::with_thread(thread, |d| {
                    let old = i32::from(d.info(thread.index).base_priority);
                    d.set_priority(thread.index, (old + change).clamp(1, 31) as u8);
                });
            });
        }
        PROCESS_QUOTA_LIMITS => {
            let words: [u64; 6] = user::input(ProcessInformation, ProcessInformationLength)?;
            let [resource, pool, pages, processes, threads, handles_per_process] = words;
            let (resource, _): (Ref<Resource>, u32) =
                sched::current().process.handles.get(Handle(resource), RESOURCE_USE)?;
            resource.check(RESOURCE_QUOTA)?;
            let limits = QuotaLimits { pool, pages, processes, threads, handles_per_process };
            process.set_quota(&Ref::try_new(QuotaBlock::new(limits))?)?;
        }
        PROCESS_ACCESS_TOKEN => {
            let value: ProcessAccessToken = user::input(ProcessInformation, ProcessInformationLength)?;
            let handles = &sched::current().process.handles;
            let (token, _): (Ref<Token>, u32) = handles.get(Handle(value.token), TOKEN_ASSIGN_PRIMARY)?;
            if token.kind != Kind::Primary {
                return Err(STATUS_BAD_TOKEN_TYPE);
            }
            if !Subject::current().holds(SE_ASSIGNPRIMARYTOKEN_PRIVILEGE) {
                return Err(STATUS_PRIVILEGE_NOT_HELD);
            }
            process.set_token(&token)?;
        }
        PROCESS_APC_DISPATCHER => {
            let address: u64 = user::input(ProcessInformation, ProcessInformationLength)?;
            if !(USER_MIN..USER_MAX).contains(&address) {
                return Err(STATUS_INVALID_PARAMETER);
            }
            if !Ref::same(&process, &sched::current().process) {
                return Err(STATUS_ACCESS_DENIED);
            }
            process.apc_dispatcher.store(address, Ordering::Relaxed);
        }
        _ => return Err(STATUS_INVALID_INFO_CLASS),
    }
    OK
}

pub fn NtTerminateThread(ThreadHandle: Handle, ExitStatus: u32) -> SysResult {
    let handle = if ThreadHandle.is_null() { Handle::CURRENT_THREAD } else { ThreadHandle };
    let target = super::thread_of(handle, THREAD_TERMINATE)?;
    if Ref::same(&target, &sched::current_ref()) {
        target.request_end(ExitStatus);
        drop(target);
        thread::exit_current_thread();
    }
    target.request_end(ExitStatus);
    OK
}
