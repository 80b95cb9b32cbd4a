//! Spin locks with a stated order.
//!
//! The kernel runs with interrupts off, so a lock is held only by code that is running. Locks nest from lower to
//! higher [`rank`]; a debug build checks that at every acquisition. While a processor spins it answers TLB
//! shoot-downs, so that a holder that waits for one does not wait for a spinner ([`crate::mm::tlb`]).

/// Atomics. Modules that take them from here are checked on the host with those of a model checker.
pub use core::sync::atomic;

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, Ordering};

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

/// A spin lock of a given rank. Its first byte is 1 while it is held, for code that opens it after it has left its stack.
#[repr(C)]
pub struct Lock<T, const RANK: u32> {
    held: AtomicBool,
    value: UnsafeCell<T>,
}

const _: () = assert!(core::mem::offset_of!(Lock<u8, 0>, held) == 0);

// SAFETY: the lock gives its value to one holder at a time.
unsafe impl<T: Send, const RANK: u32> Sync for Lock<T, RANK> {}

/// Holds a [`Lock`].
pub struct Guard<'a, T, const RANK: u32> {
    lock: &'a Lock<T, RANK>,
}

impl<T, const RANK: u32> Lock<T, RANK> {
    /// An open lock.
    pub const fn new(value: T) -> Self {
        Self { held: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    #[inline(always)]
    fn take(&self) -> bool {
        !self.held.swap(true, Ordering::Acquire)
    }

    fn wait(&self) {
        while !self.take() {
            while self.held.load(Ordering::Relaxed) {
                <Relax as spin::RelaxStrategy>::relax();
            }
        }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> Guard<'_, T, RANK> {
        #[cfg(debug_assertions)]
        order::acquire(RANK);
        self.wait();
        Guard { lock: self }
    }

    /// Takes the lock if it is open. Never waits, so the order does not matter.
    pub fn try_lock(&self) -> Option<Guard<'_, T, RANK>> {
        if !self.take() {
            return None;
        }
        #[cfg(debug_assertions)]
        order::acquire_any(RANK);
        Some(Guard { lock: self })
    }

    /// Takes the lock, waiting a short while at most, for a caller that can do without. The wait is bounded, so the order does
    /// not matter.
    #[inline(always)]
    pub fn lock_briefly(&self) -> Option<Guard<'_, T, RANK>> {
        if !self.take() && !self.wait_briefly() {
            return None;
        }
        #[cfg(debug_assertions)]
        order::acquire_any(RANK);
        Some(Guard { lock: self })
    }

    #[cold]
    fn wait_briefly(&self) -> bool {
        (0..1000).any(|_| {
            core::hint::spin_loop();
            !self.held.load(Ordering::Relaxed) && self.take()
        })
    }

    /// Takes the lock and opens it again: whoever held it has done so.
    pub fn pass(&self) {
        drop(self.lock());
    }

    /// Puts a value in without the check of the order, where another lock of the same rank is held and nobody else
    /// can want this one.
    pub fn set_unshared(&self, value: T) {
        self.wait();
        // SAFETY: the lock is held.
        let old = core::mem::replace(unsafe { &mut *self.value.get() }, value);
        self.held.store(false, Ordering::Release);
        drop(old);
    }

    /// The value, when nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }

    /// Opens a lock that another context took and whose guard was forgotten.
    ///
    /// # Safety
    /// The lock is held, its guard was forgotten, and this processor is the one that goes on in the holder's place.
    pub unsafe fn force_unlock(&self) {
        #[cfg(debug_assertions)]
        order::release(RANK);
        self.held.store(false, Ordering::Release);
    }

    /// As [`Lock::force_unlock`] but for the opening, which the caller is about to do.
    pub fn announce_unlock(&self) {
        #[cfg(debug_assertions)]
        order::release(RANK);
    }

    /// The value of a lock this processor holds across a context switch.
    ///
    /// # Safety
    /// The lock is held by this processor, its guard was forgotten, and no other reference to the value is in use.
    #[expect(clippy::mut_from_ref, reason = "the lock is held; see the contract")]
    pub unsafe fn held(&self) -> &mut T {
        // SAFETY: exclusive by the caller's contract.
        unsafe { &mut *self.value.get() }
    }
}

impl<T, const RANK: u32> Lock<Option<T>, RANK> {
    /// Takes the value out, under the same terms as [`Lock::set_unshared`].
    pub fn take_unshared(&self) -> Option<T> {
        self.wait();
        // SAFETY: the lock is held.
        let value = unsafe { (*self.value.get()).take() };
        self.held.store(false, Ordering::Release);
        value
    }
}

impl<T, const RANK: u32> Deref for Guard<'_, T, RANK> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held while the guard exists.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, const RANK: u32> DerefMut for Guard<'_, T, RANK> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held while the guard exists, which is borrowed exclusively.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, const RANK: u32> Drop for Guard<'_, T, RANK> {
    #[inline(always)]
    fn drop(&mut self) {
        #[cfg(debug_assertions)]
        order::release(RANK);
        self.lock.held.store(false, Ordering::Release);
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
