//! Time: time-outs, system time, the time-stamp counter.

use crate::sys::calls;
use core::time::Duration;

/// A time-out as the kernel takes it: relative, in 100 ns, negative. `None` waits for ever.
pub(crate) fn relative(timeout: Option<Duration>) -> Option<i64> {
    timeout.map(|t| -i64::try_from(t.as_nanos() / 100).unwrap_or(i64::MAX))
}

/// System time: 100 ns since 1601 (UTC).
pub fn system_time() -> i64 {
    calls::system_time().unwrap_or(0)
}

/// The time-stamp counter. Under QEMU's `-icount` it counts guest instructions.
#[inline(always)]
pub fn tsc() -> u64 {
    // SAFETY: user mode may read the counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Sleeps.
pub fn sleep(duration: Duration) {
    if let Some(interval) = relative(Some(duration)) {
        calls::delay(false, &interval);
    }
}
