//! Counted references to kernel objects, made fallibly.
//!
//! Like `Arc`, but creation returns STATUS_INSUFFICIENT_RESOURCES instead of aborting, and a reference can be turned
//! into a pointer and back for the scheduler. Checked in every order of threads and memory by loom
//! (`core/tests/references.rs`), which is why the atomics come from [`crate::sync`].

use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use abi::NtStatus;
use abi::status::STATUS_INSUFFICIENT_RESOURCES;
use alloc::alloc::{Layout, alloc, dealloc};
use alloc::boxed::Box;
use core::ops::Deref;
use core::ptr::NonNull;

/// Moves a value that nobody shares to the heap.
pub fn try_box<T>(value: T) -> Result<Box<T>, NtStatus> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout is not zero-sized.
    let memory = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if memory.is_null() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    // SAFETY: fresh memory of the value's layout, which the box frees as such.
    unsafe {
        memory.write(value);
        Ok(Box::from_raw(memory))
    }
}

#[repr(C)]
struct Inner<T> {
    count: AtomicUsize,
    value: T,
}

/// A counted reference.
pub struct Ref<T> {
    inner: NonNull<Inner<T>>,
}

// SAFETY: a `Ref` gives shared access from any processor and drops the value on whichever goes last, as `Arc` does.
unsafe impl<T: Send + Sync> Send for Ref<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Ref<T> {}

impl<T> Ref<T> {
    /// Moves a value to the heap.
    pub fn try_new(value: T) -> Result<Self, NtStatus> {
        Self::try_new_or_back(value).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
    }

    /// Moves a value to the heap, or gives it back.
    pub fn try_new_or_back(value: T) -> Result<Self, T> {
        let layout = Layout::new::<Inner<T>>();
        // SAFETY: the layout has the counter in it and so is not zero-sized.
        let memory = unsafe { alloc(layout) }.cast::<Inner<T>>();
        let Some(inner) = NonNull::new(memory) else { return Err(value) };
        // SAFETY: fresh memory of the right layout.
        unsafe { inner.write(Inner { count: AtomicUsize::new(1), value }) };
        Ok(Self { inner })
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: this reference holds a count, so the value is alive.
        unsafe { self.inner.as_ref() }
    }

    /// References to the value.
    pub fn count(this: &Self) -> usize {
        this.inner().count.load(Ordering::Relaxed)
    }

    /// True when both refer to the same value.
    pub fn same(a: &Self, b: &Self) -> bool {
        a.inner == b.inner
    }

    /// Gives the reference up as a pointer to the value; [`Ref::from_raw`] takes it back.
    pub fn into_raw(this: Self) -> *const T {
        let pointer: *const T = &raw const this.inner().value;
        core::mem::forget(this);
        pointer
    }

    fn from_value_pointer(value: *const T) -> NonNull<Inner<T>> {
        let offset = core::mem::offset_of!(Inner<T>, value);
        let inner = value.wrapping_byte_sub(offset).cast::<Inner<T>>().cast_mut();
        // The pointer came from a reference and is not null.
        NonNull::new(inner).unwrap_or(NonNull::dangling())
    }

    /// Takes back a reference given up by [`Ref::into_raw`].
    ///
    /// # Safety
    /// `value` came from `into_raw` and has not been taken back since.
    pub unsafe fn from_raw(value: *const T) -> Self {
        Self { inner: Self::from_value_pointer(value) }
    }

    /// A further reference to the value that a plain reference points to.
    ///
    /// # Safety
    /// `value` lies in a `Ref`'s allocation that is alive.
    pub unsafe fn from_alive(value: &T) -> Self {
        let inner = Self::from_value_pointer(core::ptr::from_ref(value));
        let this = core::mem::ManuallyDrop::new(Self { inner });
        Self::clone(&this)
    }
}

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Self {
        self.inner().count.fetch_add(1, Ordering::Relaxed);
        Self { inner: self.inner }
    }
}

impl<T> Deref for Ref<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner().value
    }
}

impl<T> PartialEq for Ref<T> {
    fn eq(&self, other: &Self) -> bool {
        Self::same(self, other)
    }
}

impl<T> Drop for Ref<T> {
    fn drop(&mut self) {
        if self.inner().count.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
        // SAFETY: this was the last reference, and the value and memory came from `try_new`.
        unsafe {
            self.inner.drop_in_place();
            dealloc(self.inner.as_ptr().cast(), Layout::new::<Inner<T>>());
        }
    }
}
