//! Sections and their views.

use crate::handle::OwnedHandle;
use crate::sys::calls;
use abi::arg::Handle;
use abi::mm::*;
use abi::ob::SECTION_ALL_ACCESS;
use abi::status::NtResult;
use core::sync::atomic::{AtomicU8, AtomicU64};

/// A section object: memory that processes share.
#[derive(Debug)]
pub struct Section(OwnedHandle);

impl Section {
    /// A section of `size` zeroed bytes whose views may be writable.
    pub fn create(size: u64) -> NtResult<Self> {
        calls::create_section(SECTION_ALL_ACCESS, size, PAGE_READWRITE, SEC_COMMIT, Handle::NULL)
            .map(OwnedHandle::new)
            .map(Self)
    }

    /// A window on device memory: the first `size` bytes of a RESOURCE_PHYSICAL resource.
    pub fn physical(resource: Handle, size: u64) -> NtResult<Self> {
        calls::create_section(SECTION_ALL_ACCESS, size, PAGE_READWRITE, SEC_PHYSICAL, resource)
            .map(OwnedHandle::new)
            .map(Self)
    }

    /// A section behind a handle.
    pub const fn from_handle(handle: OwnedHandle) -> Self {
        Self(handle)
    }

    /// The handle.
    pub const fn handle(&self) -> Handle {
        self.0.raw()
    }

    /// Its size in bytes.
    pub fn size(&self) -> NtResult<u64> {
        calls::query_section(self.handle()).map(|information| information.maximum_size)
    }

    /// Maps a view of `size` bytes (0: all) from `offset` on, with a PAGE_ protection.
    pub fn map(&self, offset: u64, size: u64, protect: u32) -> NtResult<View> {
        let (base, size) = calls::map_view(self.handle(), Handle::CURRENT_PROCESS, 0, offset, size, protect)?;
        let writable = matches!(protect & 0xFF, PAGE_READWRITE | PAGE_WRITECOPY);
        Ok(View::new(base, size as usize, writable))
    }
}

/// A view of a section in this process, unmapped on drop.
///
/// Others may write the memory at any time, so it is reached by atomics and copies, not by slices.
#[derive(Debug)]
pub struct View {
    base: u64,
    size: usize,
    writable: bool,
}

impl View {
    /// The view that was just mapped at `base`.
    pub(crate) const fn new(base: u64, size: usize, writable: bool) -> Self {
        Self { base, size, writable }
    }

    /// First address.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Bytes.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Copies bytes out; false when they are not all within the view.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> bool {
        if offset.checked_add(buffer.len()).is_none_or(|end| end > self.size) {
            return false;
        }
        for (i, byte) in buffer.iter_mut().enumerate() {
            *byte = self.byte(offset + i).load(core::sync::atomic::Ordering::Relaxed);
        }
        true
    }

    /// Copies bytes in; false when they do not all fit or the view is read-only.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> bool {
        if !self.writable || offset.checked_add(bytes.len()).is_none_or(|end| end > self.size) {
            return false;
        }
        for (i, &byte) in bytes.iter().enumerate() {
            self.byte(offset + i).store(byte, core::sync::atomic::Ordering::Relaxed);
        }
        true
    }

    /// An aligned word in a writable view, for protocols between processes.
    pub fn word(&self, offset: usize) -> Option<&AtomicU64> {
        if !self.writable || !offset.is_multiple_of(8) || offset.checked_add(8)? > self.size {
            return None;
        }
        // SAFETY: within the view, aligned, writable, and shared memory is accessed by atomics only.
        Some(unsafe { AtomicU64::from_ptr((self.base as usize + offset) as *mut u64) })
    }

    /// The whole view as 32-bit pixels, for a framebuffer that only this process writes.
    pub fn pixels(&mut self) -> &mut [u32] {
        let length = if self.writable { self.size / 4 } else { 0 };
        // SAFETY: the view is mapped writable and page-aligned; the exclusive borrow is the only use in this process.
        unsafe { core::slice::from_raw_parts_mut(self.base as *mut u32, length) }
    }

    fn byte(&self, offset: usize) -> &AtomicU8 {
        // SAFETY: callers keep `offset` within the view and store to writable views only.
        unsafe { AtomicU8::from_ptr((self.base as usize + offset) as *mut u8) }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        // SAFETY: no borrow of the view outlives it.
        let _ = unsafe { calls::unmap_view(Handle::CURRENT_PROCESS, self.base) };
    }
}
