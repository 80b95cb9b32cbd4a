//! Alerts and user APCs: routines that other threads have a thread call while it waits alertably.
//!
//! An APC runs inside an alertable wait ([`crate::wait::one_alertable`] and the like), in a call of NtTestAlert
//! ([`test_alert`]), or before the thread's first instruction; nowhere else. The kernel enters [`install`]'s dispatcher
//! (NT's KiUserApcDispatcher) with the interrupted registers on the stack; the dispatcher calls the routine and goes
//! back with NtContinue, which runs the next APC first.

use crate::sys::calls;
use crate::thread::JoinHandle;
use abi::arg::Handle;
use abi::status::{NtResult, STATUS_ALERTED};
use abi::syscalls::nr;
use core::arch::global_asm;

/// What an APC calls: three arguments of the caller's choice.
pub type Routine = extern "sysv64" fn(u64, u64, u64);

// rdi = saved CONTEXT, rsi = routine, rdx, rcx, r8 = its arguments; the stack is as after a call. Should NtContinue
// return, the thread cannot go on.
global_asm!(
    ".global antares_user_apc_dispatcher",
    "antares_user_apc_dispatcher:",
    "mov rbx, rdi",
    "mov rax, rsi",
    "mov rdi, rdx",
    "mov rsi, rcx",
    "mov rdx, r8",
    "mov rcx, rbx",
    "sub rsp, 8",
    "call rax",
    "mov rdi, rbx",
    "mov esi, 1",
    "mov eax, {go_on}",
    "syscall",
    "mov esi, eax",
    "xor edi, edi",
    "mov eax, {end}",
    "syscall",
    "ud2",
    go_on = const nr::NtContinue,
    end = const nr::NtTerminateThread,
);

unsafe extern "C" {
    fn antares_user_apc_dispatcher();
}

/// Tells the kernel where user APCs of this process go. Called once, before the program's main function.
pub(crate) fn install() {
    let address = antares_user_apc_dispatcher as *const () as u64;
    // Without it, queueing an APC to this process is refused.
    let _ = calls::set_apc_dispatcher(address);
}

/// Has a thread of this process call `routine` in its next alertable wait, or before it starts.
///
/// # Errors
/// STATUS_UNSUCCESSFUL when the thread has ended, STATUS_QUOTA_EXCEEDED when it has too many APCs.
pub fn queue<T>(thread: &JoinHandle<T>, routine: Routine, arguments: [u64; 3]) -> NtResult {
    // SAFETY: the routine is a safe function of this process, whose thread this is.
    unsafe { calls::queue_apc(thread.handle(), routine as *const () as u64, arguments) }
}

/// As [`queue`], for the calling thread.
pub fn queue_to_self(routine: Routine, arguments: [u64; 3]) -> NtResult {
    // SAFETY: as above.
    unsafe { calls::queue_apc(Handle::CURRENT_THREAD, routine as *const () as u64, arguments) }
}

/// Runs this thread's APCs; true if the thread was alerted instead, which is taken.
pub fn test_alert() -> bool {
    calls::test_alert() == STATUS_ALERTED
}

/// Alerts a thread: its alertable wait, or else its next one, ends with STATUS_ALERTED.
pub fn alert(thread: Handle) -> NtResult {
    calls::alert_thread(thread)
}

/// Alerts a thread and takes one suspension back; answers the former suspend count.
pub fn alert_and_resume(thread: Handle) -> NtResult<u32> {
    calls::alert_resume_thread(thread)
}
