//! What threads are doing.

use libnt::abi::ps::{THREAD_BASIC_INFORMATION, ThreadBasicInformation};
use libnt::prelude::*;
use libnt::sys::calls;
use libnt::{info, thread};

/// THREAD_STATE: waiting.
const WAITING: u32 = 5;

/// Returns once a thread of this process waits for this reason (KWAIT_REASON).
pub fn until_waits(thread: Handle, reason: u32) -> NtResult {
    let basic: ThreadBasicInformation = calls::query_thread(thread, THREAD_BASIC_INFORMATION)?;
    let id = basic.client_id;
    loop {
        let processes = info::processes()?;
        let own = processes.iter().find(|p| p.information.unique_process_id == id.unique_process);
        let found = own.and_then(|p| p.threads.iter().find(|t| t.unique_thread == id.unique_thread));
        match found {
            Some(found) if found.thread_state == WAITING && found.wait_reason == reason => return Ok(()),
            Some(_) => thread::yield_now(),
            None => return Err(STATUS_THREAD_IS_TERMINATING),
        }
    }
}
