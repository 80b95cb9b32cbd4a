//! Virtual memory of this process.

use crate::sys::calls;
use abi::arg::Handle;
use abi::mm::{MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, MemoryBasicInformation, PAGE_READWRITE};
use abi::status::NtResult;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// Private zeroed pages, released on drop.
#[derive(Debug)]
pub struct Pages {
    base: u64,
    size: usize,
}

impl Pages {
    /// Allocates at least `size` bytes, readable and writable.
    pub fn allocate(size: usize) -> NtResult<Self> {
        let kind = MEM_RESERVE | MEM_COMMIT;
        let (base, size) =
            calls::allocate_memory(Handle::CURRENT_PROCESS, 0, size as u64, kind, PAGE_READWRITE)?;
        Ok(Self { base, size: size as usize })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the pages are committed, readable and ours until drop.
        unsafe { core::slice::from_raw_parts(self.base as *const u8, self.size) }
    }

    /// The bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the pages are committed, writable and ours until drop; the borrow is exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.base as *mut u8, self.size) }
    }
}

/// Pages that the kernel or other processes write too: never borrowed as a whole.
#[derive(Debug)]
pub struct SharedPages(Pages);

impl SharedPages {
    /// Allocates at least `size` bytes, readable and writable.
    pub fn allocate(size: usize) -> NtResult<Self> {
        Pages::allocate(size).map(Self)
    }

    /// Address of the first byte.
    pub const fn address(&self) -> u64 {
        self.0.base
    }

    /// Bytes.
    pub const fn size(&self) -> usize {
        self.0.size
    }

    fn at<T>(&self, offset: u64) -> *mut T {
        let fits = usize::try_from(offset).is_ok_and(|at| at <= self.size() - size_of::<T>());
        assert!(fits && offset.is_multiple_of(align_of::<T>() as u64), "outside the pages");
        (self.address() + offset) as *mut T
    }

    /// The word at an offset.
    ///
    /// # Panics
    /// When it is not aligned or not within the pages.
    pub fn word(&self, offset: u64) -> &AtomicU32 {
        // SAFETY: an aligned word of the pages, which live as long as `self`; nobody here uses it but atomically.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }

    /// The double word at an offset; see [`SharedPages::word`].
    pub fn long(&self, offset: u64) -> &AtomicU64 {
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }
    }

    /// Bytes at an offset, as many as there are of `length`.
    ///
    /// # Safety
    /// Nobody writes them as long as they are borrowed.
    pub unsafe fn part(&self, offset: u64, length: usize) -> &[u8] {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(self.size());
        let length = length.min(self.size() - offset);
        // SAFETY: within the pages; the rest is the caller's promise.
        unsafe { core::slice::from_raw_parts((self.address() as *const u8).add(offset), length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: no borrow of the pages outlives them.
        let _ = unsafe { calls::free_memory(Handle::CURRENT_PROCESS, self.base, 0, MEM_RELEASE) };
    }
}

/// What lies at an address.
pub fn query(address: u64) -> NtResult<MemoryBasicInformation> {
    calls::query_memory(Handle::CURRENT_PROCESS, address)
}
