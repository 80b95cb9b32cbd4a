//! The kernel executive's core: scheduling, waits, alerts and APCs, dispatcher objects, completion objects, traps.

pub mod alert;
pub mod completion;
pub mod event;
pub mod sched;
pub mod trap;

use crate::arch::{cpu, time};
use antares_core::dispatch::NEVER;

/// Deadline in time-stamp ticks for an NT time-out: negative is relative, positive is a system time, `None` is never,
/// zero polls (deadline 0).
pub fn deadline(timeout: Option<i64>) -> u64 {
    match timeout {
        None => NEVER,
        Some(0) => 0,
        Some(relative) if relative < 0 => {
            cpu::rdtsc().saturating_add(time::ns100_to_ticks(relative.unsigned_abs())).clamp(1, NEVER - 1)
        }
        Some(absolute) => {
            let left = absolute.saturating_sub(crate::system_time());
            if left <= 0 {
                0
            } else {
                cpu::rdtsc().saturating_add(time::ns100_to_ticks(left as u64)).min(NEVER - 1)
            }
        }
    }
}
