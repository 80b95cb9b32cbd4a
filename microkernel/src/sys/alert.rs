//! Alerts, user APCs, and going on with other registers.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::{OK, SysResult, thread_of, user};
use crate::ke::alert::{self, Apc};
use crate::ke::sched;
use abi::arg::{In, Out, Req};
use abi::context::Context;
use abi::mm::{USER_MAX, USER_MIN};
use abi::ob::*;
use abi::status::*;
use core::sync::atomic::Ordering;

pub fn NtTestAlert() -> SysResult {
    Ok(if alert::test() { STATUS_ALERTED } else { STATUS_SUCCESS })
}

pub fn NtAlertThread(ThreadHandle: Req<{ ty::THREAD }, THREAD_ALERT>) -> SysResult {
    let thread = thread_of(ThreadHandle.0, THREAD_ALERT)?;
    if alert::alert(&thread) { OK } else { Err(STATUS_THREAD_IS_TERMINATING) }
}

pub fn NtAlertResumeThread(
    ThreadHandle: Req<{ ty::THREAD }, THREAD_SUSPEND_RESUME>,
    PreviousSuspendCount: Out<u32>,
) -> SysResult {
    let thread = thread_of(ThreadHandle.0, THREAD_SUSPEND_RESUME)?;
    if !alert::alert(&thread) {
        return Err(STATUS_THREAD_IS_TERMINATING);
    }
    user::write_opt(PreviousSuspendCount, &thread.resume())?;
    OK
}

pub fn NtQueueApcThread(
    ThreadHandle: Req<{ ty::THREAD }, THREAD_SET_CONTEXT>,
    ApcRoutine: u64,
    ApcArgument1: u64,
    ApcArgument2: u64,
    ApcArgument3: u64,
) -> SysResult {
    let thread = thread_of(ThreadHandle.0, THREAD_SET_CONTEXT)?;
    if !(USER_MIN..USER_MAX).contains(&ApcRoutine) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if thread.process.apc_dispatcher.load(Ordering::Relaxed) == 0 {
        return Err(STATUS_NOT_SUPPORTED);
    }
    let arguments = [ApcArgument1, ApcArgument2, ApcArgument3];
    let apc = Apc::new(&sched::current().process.quota(), ApcRoutine, arguments)?;
    alert::queue(&thread, apc)?;
    OK
}

pub fn NtContinue(ThreadContext: In<Context>, TestAlert: bool) -> SysResult {
    let context = user::read(ThreadContext)?;
    alert::go_on(&context)?;
    if TestAlert {
        alert::run_rest();
    }
    OK
}
