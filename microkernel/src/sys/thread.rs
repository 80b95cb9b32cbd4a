//! Threads.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]
#![expect(clippy::too_many_arguments, reason = "NT's parameter lists")]

use super::{OK, SysResult, insert_handle, process_of, thread_of, user};
use crate::arch::{percpu, time};
use crate::ke::sched;
use crate::ob::Object;
use crate::ps::thread::{MAX_STACK, Thread};
use abi::alpc::ClientId;
use abi::arg::{Handle, In, Out, Req};
use abi::mm::{USER_MAX, USER_MIN};
use abi::ob::*;
use abi::ps::*;
use abi::se::THREAD_IMPERSONATION_TOKEN;
use abi::status::*;
use core::sync::atomic::Ordering;

/// Processors that run.
pub fn online_mask() -> u64 {
    u64::MAX >> (64 - percpu::count())
}

/// Highest priority that the caller may give: real-time ones are for the core servers.
pub fn highest_priority() -> i32 {
    let system = crate::quota::is_system(&sched::current().process.quota());
    if system { HIGH_PRIORITY } else { LOW_REALTIME_PRIORITY - 1 }
}

pub fn NtCreateThreadEx(
    ThreadHandle: Out<Handle>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
    ProcessHandle: Req<{ ty::PROCESS }, PROCESS_CREATE_THREAD>,
    StartRoutine: u64,
    Argument: u64,
    CreateFlags: u32,
    ZeroBits: u64,
    StackSize: u64,
    MaximumStackSize: u64,
    AttributeList: u64,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    let process = process_of(ProcessHandle.0, PROCESS_CREATE_THREAD)?;
    let stack = StackSize.max(MaximumStackSize);
    if CreateFlags & !THREAD_CREATE_FLAGS_CREATE_SUSPENDED != 0
        || !(USER_MIN..USER_MAX).contains(&StartRoutine)
        || stack > MAX_STACK
        || ZeroBits != 0
        || AttributeList != 0
    {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let thread = Thread::new(&process, StartRoutine, Argument, stack)?;
    // From here on it must be launched, whatever happens: only the thread itself can leave its process. One that cannot
    // be suspended is to end already.
    if CreateFlags & THREAD_CREATE_FLAGS_CREATE_SUSPENDED != 0 {
        let _ = thread.suspend();
    }
    let object = Object::Thread(thread.clone());
    let access = object.map_access(DesiredAccess, THREAD_ALL_ACCESS);
    let result = if access & !THREAD_ALL_ACCESS != 0 {
        Err(STATUS_ACCESS_DENIED)
    } else {
        insert_handle(object, access, attributes, ThreadHandle)
    };
    if let Err(status) = result {
        // It runs only to end: a thread is always taken down by itself.
        thread.request_end(status.0);
    }
    Thread::launch(&thread);
    result
}

pub fn NtSuspendThread(
    ThreadHandle: Req<{ ty::THREAD }, THREAD_SUSPEND_RESUME>,
    PreviousSuspendCount: Out<u32>,
) -> SysResult {
    let old = thread_of(ThreadHandle.0, THREAD_SUSPEND_RESUME)?.suspend()?;
    user::write_opt(PreviousSuspendCount, &old)?;
    OK
}

pub fn NtResumeThread(
    ThreadHandle: Req<{ ty::THREAD }, THREAD_SUSPEND_RESUME>,
    PreviousSuspendCount: Out<u32>,
) -> SysResult {
    let old = thread_of(ThreadHandle.0, THREAD_SUSPEND_RESUME)?.resume();
    user::write_opt(PreviousSuspendCount, &old)?;
    OK
}

pub fn NtQueryInformationThread(
    ThreadHandle: Req<{ ty::THREAD }, THREAD_QUERY_LIMITED_INFORMATION>,
    ThreadInformationClass: u32,
    ThreadInformation: Out<u8>,
    ThreadInformationLength: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let thread = thread_of(ThreadHandle.0, THREAD_QUERY_LIMITED_INFORMATION)?;
    let length = u64::from(ThreadInformationLength);
    let size = match ThreadInformationClass {
        THREAD_BASIC_INFORMATION => {
            let facts = sched::with_thread(&thread, |d| d.info(thread.index));
            let basic = ThreadBasicInformation {
                exit_status: thread.exit_status(),
                reserved: 0,
                teb_base_address: thread.teb,
                client_id: ClientId {
                    unique_process: u64::from(thread.process.id()),
                    unique_thread: u64::from(thread.id()),
                },
                affinity_mask: facts.map_or(0, |f| f.affinity & online_mask()),
                priority: facts.map_or(0, |f| i32::from(f.priority)),
                base_priority: facts.map_or(0, |f| i32::from(f.base_priority)),
            };
            user::answer(&basic, ThreadInformation, length, true)?;
            size_of::<ThreadBasicInformation>()
        }
        THREAD_TIMES => {
            let times = KernelUserTimes {
                create_time: thread.created,
                exit_time: 0,
                kernel_time: 0,
                user_time: time::ticks_to_100ns(thread.run_ticks.load(Ordering::Relaxed)) as i64,
            };
            user::answer(&times, ThreadInformation, length, true)?;
            size_of::<KernelUserTimes>()
        }
        _ => return Err(STATUS_INVALID_INFO_CLASS),
    };
    user::write_opt(ReturnLength, &(size as u32))?;
    OK
}

pub fn NtSetInformationThread(
    ThreadHandle: Req<{ ty::THREAD }, THREAD_SET_INFORMATION>,
    ThreadInformationClass: u32,
    ThreadInformation: In<u8>,
    ThreadInformationLength: u32,
) -> SysResult {
    if ThreadInformationClass == THREAD_IMPERSONATION_TOKEN {
        let thread = thread_of(ThreadHandle.0, THREAD_SET_THREAD_TOKEN)?;
        let handle = user::input(ThreadInformation, ThreadInformationLength)?;
        thread.impersonation.set(super::token::assigned(&thread, handle)?);
        return OK;
    }
    let thread = thread_of(ThreadHandle.0, THREAD_SET_INFORMATION)?;
    match ThreadInformationClass {
        THREAD_PRIORITY => {
            let priority: i32 = user::input(ThreadInformation, ThreadInformationLength)?;
            if !(1..=highest_priority()).contains(&priority) {
                return Err(STATUS_INVALID_PARAMETER);
            }
            sched::with_thread(&thread, |d| d.set_priority(thread.index, priority as u8))
                .ok_or(STATUS_THREAD_IS_TERMINATING)?;
        }
        THREAD_AFFINITY_MASK => {
            let mask: u64 = user::input(ThreadInformation, ThreadInformationLength)?;
            if mask == 0 || mask & !online_mask() != 0 {
                return Err(STATUS_INVALID_PARAMETER);
            }
            let set = sched::with_thread(&thread, |d| d.set_affinity(thread.index, mask));
            if !set.ok_or(STATUS_THREAD_IS_TERMINATING)? {
                return Err(STATUS_INVALID_PARAMETER);
            }
        }
        THREAD_NAME_INFORMATION => {
            *thread.name.lock() = user::name(ThreadInformation, ThreadInformationLength)?;
        }
        _ => return Err(STATUS_INVALID_INFO_CLASS),
    }
    OK
}
