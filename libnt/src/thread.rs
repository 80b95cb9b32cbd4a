//! Threads of this process.

use crate::handle::OwnedHandle;
use crate::sync::Mutex;
use crate::sys::calls;
use crate::wait;
use abi::alpc::ClientId;
use abi::arg::Handle;
use abi::ob::THREAD_ALL_ACCESS;
use abi::ps::*;
use abi::status::{NtResult, STATUS_SUCCESS, STATUS_UNSUCCESSFUL};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;
use zerocopy::IntoBytes;

/// A thread that can be joined.
#[derive(Debug)]
pub struct JoinHandle<T> {
    handle: OwnedHandle,
    result: Arc<Mutex<Option<T>>>,
}

impl<T> JoinHandle<T> {
    /// The thread's handle.
    pub const fn handle(&self) -> Handle {
        self.handle.raw()
    }

    /// Waits for the thread's end; STATUS_UNSUCCESSFUL when it was ended from outside.
    pub fn join(self) -> NtResult<T> {
        wait::one(self.handle(), None)?;
        self.result.lock().take().ok_or(STATUS_UNSUCCESSFUL)
    }
}

/// A new thread's work.
type Start = Box<dyn FnOnce() + Send>;

/// Starts a thread with the kernel's default stack.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> NtResult<JoinHandle<T>> {
    spawn_with_stack(0, work)
}

/// Starts a thread with a stack of `stack_size` bytes (0: the kernel's default).
pub fn spawn_with_stack<T: Send + 'static>(
    stack_size: u64,
    work: impl FnOnce() -> T + Send + 'static,
) -> NtResult<JoinHandle<T>> {
    let result = Arc::new(Mutex::new(None));
    let slot = result.clone();
    let start: Start = Box::new(move || *slot.lock() = Some(work()));
    let argument = Box::into_raw(Box::new(start));
    // SAFETY: `run` takes the box that `argument` points to, which nobody else uses.
    let created = unsafe {
        calls::create_thread(
            Handle::CURRENT_PROCESS,
            THREAD_ALL_ACCESS,
            run as *const () as u64,
            argument as u64,
            0,
            stack_size,
        )
    };
    match created {
        Ok(handle) => Ok(JoinHandle { handle: OwnedHandle::new(handle), result }),
        Err(status) => {
            // SAFETY: no thread was made, so the box is still ours.
            drop(unsafe { Box::from_raw(argument) });
            Err(status)
        }
    }
}

/// First function of a spawned thread.
extern "sysv64" fn run(argument: u64) -> ! {
    // SAFETY: `spawn_with_stack` passed the address of a boxed `Start` and gave it up.
    let start = unsafe { Box::from_raw(argument as *mut Start) };
    start();
    exit()
}

/// Ends the calling thread. What its stack holds is not dropped.
fn exit() -> ! {
    loop {
        // SAFETY: the thread's work is done: it holds no lock and lends nothing.
        let _ = unsafe { calls::terminate_thread(Handle::NULL, STATUS_SUCCESS) };
    }
}

/// Process and thread id of the caller.
pub fn current_id() -> ClientId {
    calls::query_thread::<ThreadBasicInformation>(Handle::CURRENT_THREAD, THREAD_BASIC_INFORMATION)
        .map(|information| information.client_id)
        .unwrap_or_default()
}

/// Sleeps.
pub fn sleep(duration: Duration) {
    crate::time::sleep(duration);
}

/// Gives the processor to another ready thread of the same priority.
pub fn yield_now() {
    calls::yield_execution();
}

/// Sets a thread's priority (1 to 15).
pub fn set_priority(thread: Handle, priority: i32) -> NtResult {
    calls::set_thread(thread, THREAD_PRIORITY, priority.as_bytes())
}

/// Sets the processors a thread may use.
pub fn set_affinity(thread: Handle, mask: u64) -> NtResult {
    calls::set_thread(thread, THREAD_AFFINITY_MASK, mask.as_bytes())
}

/// Names a thread, for tools.
pub fn set_name(thread: Handle, name: &str) -> NtResult {
    calls::set_thread(thread, THREAD_NAME_INFORMATION, name.as_bytes())
}
