//! Virtual memory of this process.

use crate::sys::calls;
use abi::arg::Handle;
use abi::mm::{MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, MemoryBasicInformation, PAGE_READWRITE};
use abi::status::NtResult;

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
