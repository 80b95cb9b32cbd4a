//! Port sections and views: memory that is shown to who receives a message.

use crate::sys::{alpc_section, calls};
use abi::alpc::*;
use abi::arg::{Handle, In};
use abi::status::{NtResult, STATUS_INVALID_VIEW_SIZE};
use core::marker::PhantomData;
use core::sync::atomic::AtomicU64;

/// A section of a port, deleted on drop; views of it stay.
#[derive(Debug)]
pub struct PortSection<'p> {
    port: Handle,
    open: PhantomData<&'p Handle>,
    handle: u64,
    size: u64,
}

impl<'p> PortSection<'p> {
    /// Of a port that stays open: `size` bytes of new memory, rounded up to pages; or of the section object `section`,
    /// all for 0.
    pub(super) fn make(
        _: &'p impl Sized,
        port: Handle,
        flags: u32,
        section: Handle,
        size: u64,
    ) -> NtResult<Self> {
        let (handle, size) = alpc_section::create_port_section(port, flags, section, size)?;
        Ok(Self { port, open: PhantomData, handle, size })
    }

    /// ALPC_HANDLE of the section.
    pub const fn handle(&self) -> u64 {
        self.handle
    }

    /// Its size in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Maps `size` bytes of it that no other view shows.
    pub fn view(&self, size: u64) -> NtResult<PortView<'p>> {
        let mut view =
            AlpcDataViewAttr { section_handle: self.handle, view_size: size, ..AlpcDataViewAttr::default() };
        alpc_section::create_section_view(self.port, &mut view)?;
        Ok(PortView {
            port: self.port,
            open: PhantomData,
            section: self.handle,
            base: view.view_base,
            size: view.view_size,
        })
    }
}

impl Drop for PortSection<'_> {
    fn drop(&mut self) {
        let _ = alpc_section::delete_port_section(self.port, self.handle);
    }
}

/// A view that this process made or received through a port, unmapped on drop.
///
/// One that was received can go earlier: with the answer that gives it up, with the message of
/// ALPC_VIEWFLG_AUTO_RELEASE. So reading and writing go through the kernel, which says what cannot be done now;
/// [`PortView::words`] is the direct way.
#[derive(Debug)]
pub struct PortView<'p> {
    port: Handle,
    open: PhantomData<&'p Handle>,
    section: u64,
    base: u64,
    size: u64,
}

impl PortView<'_> {
    /// The view that a message brought.
    ///
    /// # Safety
    /// The attribute came with a message received on `port`, and this view is not used after the port was closed or the
    /// view given up.
    pub const unsafe fn received(port: Handle, attribute: &AlpcDataViewAttr) -> Self {
        let (base, size) = (attribute.view_base, attribute.view_size);
        Self { port, open: PhantomData, section: 0, base, size }
    }

    /// First address.
    pub const fn base(&self) -> u64 {
        self.base
    }

    /// Bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What shows it to the receiver of a message, with ALPC_VIEWFLG_ bits.
    pub const fn attribute(&self, flags: u32) -> AlpcDataViewAttr {
        AlpcDataViewAttr {
            flags,
            reserved: 0,
            section_handle: self.section,
            view_base: self.base,
            view_size: self.size,
        }
    }

    /// Copies bytes out. STATUS_PARTIAL_COPY: the view is gone.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> NtResult {
        let from = self.place(offset, buffer.len())?;
        calls::read_memory(Handle::CURRENT_PROCESS, from, buffer)
    }

    /// Copies bytes in. STATUS_PARTIAL_COPY: the view is gone, or cannot be written now.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> NtResult {
        let to = self.place(offset, bytes.len())?;
        let from: In<u8> = In::at(bytes.as_ptr() as u64);
        // SAFETY: the memory is shared and used by atomics and copies only.
        unsafe { calls::write_memory(Handle::CURRENT_PROCESS, to, from.address(), bytes.len() as u64) }
    }

    /// The memory itself, as words.
    ///
    /// # Safety
    /// The view stays mapped as long as the words are used: its port is open, and its message is not given back.
    pub unsafe fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped by the contract, page-aligned, whole pages; shared memory is accessed by atomics only.
        unsafe { core::slice::from_raw_parts(self.base as *const AtomicU64, self.size as usize / 8) }
    }

    /// Forgets the view without unmapping it.
    pub const fn forget(self) {
        core::mem::forget(self);
    }

    fn place(&self, offset: u64, length: usize) -> NtResult<u64> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.size);
        end.map(|_| self.base + offset).ok_or(STATUS_INVALID_VIEW_SIZE)
    }
}

impl Drop for PortView<'_> {
    fn drop(&mut self) {
        // SAFETY: `words` borrows the view, so nothing uses the memory any more.
        let _ = unsafe { alpc_section::delete_section_view(self.port, self.base) };
    }
}
