//! Locks between the threads of a process.
//!
//! Critical sections here are short (a map lookup, a heap operation), so a lock spins a little, then yields, then
//! sleeps: a thread of higher priority that waits must let the holder run.

use crate::sys::calls;
use spin::relax::RelaxStrategy;

/// How a thread passes the time until a lock is free.
pub struct Backoff;

impl RelaxStrategy for Backoff {
    fn relax() {
        if calls::yield_execution() == abi::status::STATUS_NO_YIELD_PERFORMED {
            // The holder may have a lower priority: sleep 100 microseconds.
            calls::delay(false, &-1000);
        }
    }
}

/// A lock around a value.
pub type Mutex<T> = spin::mutex::Mutex<T, Backoff>;
/// A value that is made once.
pub type Once<T> = spin::once::Once<T, Backoff>;
