//! Spin locks with a stated order.
//!
//! The kernel runs with interrupts off, so a lock is held only by code that is running. Locks nest from lower to
//! higher [`rank`]; a debug build checks that at every acquisition. While a processor spins it answers TLB
//! shoot-downs, so that a holder that waits for one does not wait for a spinner ([`crate::mm::tlb`]).

/// Atomics. Modules that take them from here are checked on the host with those of a model checker.
pub use core::sync::atomic;

use core::ops::{Deref, DerefMut};
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// The order of locks: a lock may be taken while only locks of lower rank are held.
pub mod rank {
    /// Handle table of a process.
    pub const HANDLES: u32 = 1;
    /// Threads and state of a process.
    pub const PROCESS: u32 = 2;
    /// ALPC group.
    pub const GROUP: u32 = 3;
    /// Sections and views of an ALPC port.
    pub const PORT_VIEWS: u32 = 4;
    /// Views of one region of a port section.
    pub const REGION: u32 = 5;
    /// Address space.
    pub const SPACE: u32 = 6;
    /// Pages of a section.
    pub const SECTION: u32 = 7;
    /// Process and thread ids; lists of objects for queries.
    pub const IDS: u32 = 8;
    /// Dispatcher.
    pub const DISPATCH: u32 = 9;
    /// TLB shoot-down in progress.
    pub const SHOOTDOWN: u32 = 10;
    /// Leaves: kernel log, names, deferred closes, kernel stacks.
    pub const LEAF: u32 = 11;
    /// Kernel heap.
    pub const HEAP: u32 = 12;
    /// Page frames.
    pub const FRAMES: u32 = 13;
}

/// Answers TLB shoot-downs while spinning.
pub struct Relax;

impl spin::RelaxStrategy for Relax {
    fn relax() {
        crate::mm::tlb::answer();
        core::hint::spin_loop();
    }
}

/// A spin lock of a given rank.
pub struct Lock<T, const RANK: u32> {
    inner: SpinMutex<T, Relax>,
}

/// Holds a [`Lock`].
pub struct Guard<'a, T, const RANK: u32> {
    inner: SpinMutexGuard<'a, T, Relax>,
}

impl<T, const RANK: u32> Lock<T, RANK> {
    /// An open lock.
    pub const fn new(value: T) -> Self {
        Self { inner: SpinMutex::new(value) }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> Guard<'_, T, RANK> {
        #[cfg(debug_assertions)]
        order::acquire(RANK);
        Guard { inner: self.inner.lock() }
    }

    /// Takes the lock if it is open. Never waits, so the order does not matter.
    #[inline(always)]
    pub fn try_lock(&self) -> Option<Guard<'_, T, RANK>> {
        let inner = self.inner.try_lock()?;
        #[cfg(debug_assertions)]
        order::acquire_any(RANK);
        Some(Guard { inner })
    }

    /// Takes the lock, waiting a short while at most, for a caller that can do without. Answers nothing while it waits.
    #[inline(always)]
    pub fn lock_briefly(&self) -> Option<Guard<'_, T, RANK>> {
        for _ in 0..1000 {
            if let Some(guard) = self.try_lock() {
                return Some(guard);
            }
            core::hint::spin_loop();
        }
        None
    }

    /// Puts a value in without the check of the order, where another lock of the same rank is held and nobody else
    /// can want this one.
    pub fn set_unshared(&self, value: T) {
        *self.inner.lock() = value;
    }

    /// The value, when nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.inner.get_mut()
    }

    /// Opens a lock that another context took and whose guard was forgotten.
    ///
    /// # Safety
    /// The lock is held, its guard was forgotten, and this processor is the one that goes on in the holder's place.
    pub unsafe fn force_unlock(&self) {
        #[cfg(debug_assertions)]
        order::release(RANK);
        // SAFETY: the caller's contract is the same.
        unsafe { self.inner.force_unlock() };
    }

    /// The value of a lock this processor holds across a context switch.
    ///
    /// # Safety
    /// The lock is held by this processor, its guard was forgotten, and no other reference to the value is in use.
    #[expect(clippy::mut_from_ref, reason = "the lock is held; see the contract")]
    pub unsafe fn held(&self) -> &mut T {
        // SAFETY: exclusive by the caller's contract.
        unsafe { &mut *self.inner.as_mut_ptr() }
    }
}

impl<T, const RANK: u32> Lock<Option<T>, RANK> {
    /// Takes the value out, under the same terms as [`Lock::set_unshared`].
    pub fn take_unshared(&self) -> Option<T> {
        self.inner.lock().take()
    }
}

impl<T, const RANK: u32> Deref for Guard<'_, T, RANK> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T, const RANK: u32> DerefMut for Guard<'_, T, RANK> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(debug_assertions)]
impl<T, const RANK: u32> Drop for Guard<'_, T, RANK> {
    fn drop(&mut self) {
        order::release(RANK);
    }
}

/// The check of the lock order, kept per processor.
#[cfg(debug_assertions)]
mod order {
    use crate::arch::percpu;
    use core::sync::atomic::{AtomicU32, Ordering};

    static HELD: [AtomicU32; abi::trace::MAX_CPUS] = [const { AtomicU32::new(0) }; abi::trace::MAX_CPUS];

    pub fn acquire(rank: u32) {
        if let Some(cpu) = percpu::try_index() {
            let held = HELD[cpu as usize].load(Ordering::Relaxed);
            assert!(held >> rank == 0, "lock order: rank {rank} while holding {held:#x}");
            HELD[cpu as usize].store(held | 1 << rank, Ordering::Relaxed);
        }
    }

    pub fn acquire_any(rank: u32) {
        if let Some(cpu) = percpu::try_index() {
            HELD[cpu as usize].fetch_or(1 << rank, Ordering::Relaxed);
        }
    }

    pub fn release(rank: u32) {
        if let Some(cpu) = percpu::try_index() {
            HELD[cpu as usize].fetch_and(!(1 << rank), Ordering::Relaxed);
        }
    }
}
