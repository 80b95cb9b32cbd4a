//! Port sections: memory that a port's owner shares with who it sends messages to, and the calls on them.
//!
//! A port owns its sections and the views made or received through it ([`PortViews`]); all go when it closes. What a view
//! shows, and how it changes while messages are out, is in [`crate::alpc::view`].

use crate::alpc::attributes::{Attached, Given, Receiving, Sending};
use crate::alpc::port::Port;
use crate::alpc::view::{Passage, Region, View};
use crate::ke::sched;
use crate::kref::Ref;
use crate::mm::section::Section;
use crate::quota::{Charge, Kind};
use crate::sync::{Lock, rank};
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{Handle, In, Out};
use abi::mm::*;
use abi::ob::{SECTION_MAP_READ, SECTION_MAP_WRITE};
use abi::status::*;
use alloc::vec::Vec;
use antares_core::ranges::Ranges;
use antares_core::table::Table;
use antares_core::try_push;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Kernel memory charged for a port section.
const RECORD_CHARGE: u64 = 256;
/// Most sections, and most views, of one port.
const MOST: usize = 4096;

/// A port section.
pub struct PortSection {
    /// The memory.
    pub section: Ref<Section>,
    /// Bytes of it that may be shown: whole pages.
    pub size: u64,
    /// Only one side at a time writes.
    pub secure: bool,
    /// Views may be writable at all.
    pub writable: bool,
    ranges: Lock<Ranges, { rank::LEAF }>,
    total: Ref<AtomicU64>,
    _charge: Charge,
}

impl PortSection {
    /// A free part of it. STATUS_NO_MEMORY: there is none of this size.
    pub fn take_range(&self, size: u64) -> Result<u64, NtStatus> {
        self.ranges.lock().take(size, self.size)
    }

    /// Gives a part back.
    pub fn give_range_back(&self, offset: u64) {
        self.ranges.lock().give_back(offset);
    }
}

impl Drop for PortSection {
    fn drop(&mut self) {
        self.total.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// What a port's attributes say of what messages carry: sizes of sections and views in bytes, and types of objects.
#[derive(Default)]
pub struct Limits {
    section: AtomicU64,
    view: AtomicU64,
    total: AtomicU64,
    types: AtomicU32,
}

impl Limits {
    /// Those of a port made with these attributes. A size of 0 is no limit but the quota.
    pub fn new(attributes: &AlpcPortAttributes) -> Self {
        let limits = Self::default();
        limits.set(attributes);
        limits
    }

    /// Other limits from now on.
    pub fn set(&self, attributes: &AlpcPortAttributes) {
        let limit = |n: u64| if n == 0 { u64::MAX } else { n };
        self.section.store(limit(attributes.max_section_size), Ordering::Relaxed);
        self.view.store(limit(attributes.max_view_size), Ordering::Relaxed);
        self.total.store(limit(attributes.max_total_section_size), Ordering::Relaxed);
        self.types.store(attributes.dup_object_types, Ordering::Relaxed);
    }

    /// A view of this size is accepted.
    pub fn takes_view(&self, size: u64) -> bool {
        size <= self.view.load(Ordering::Relaxed)
    }

    /// Handles to objects with this type code are accepted.
    pub fn takes_type(&self, code: u32) -> bool {
        let types = self.types.load(Ordering::Relaxed);
        types == 0 || types & code != 0
    }
}

#[derive(Default)]
struct Inner {
    closed: bool,
    sections: Table<Ref<PortSection>, 16, 16>,
    /// Bytes of the sections that exist, those whose handle was deleted included.
    total: Option<Ref<AtomicU64>>,
    views: Vec<Ref<View>>,
}

/// The sections and views of a port.
pub struct PortViews {
    inner: Lock<Inner, { rank::PORT_VIEWS }>,
}

impl Default for PortViews {
    fn default() -> Self {
        Self { inner: Lock::new(Inner::default()) }
    }
}

impl PortViews {
    /// The port closes: all go.
    pub fn close(&self) {
        let (sections, views) = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            (core::mem::take(&mut inner.sections), core::mem::take(&mut inner.views))
        };
        for view in &views {
            view.region.unmap(view);
        }
        drop((views, sections));
    }

    /// How many sections and views there are.
    pub fn counts(&self) -> (u32, u32) {
        let inner = self.inner.lock();
        (inner.sections.len() as u32, inner.views.len() as u32)
    }

    /// A view is gone.
    pub fn forget(&self, view: &Ref<View>) {
        let mut inner = self.inner.lock();
        let at = inner.views.iter().position(|v| v == view);
        let gone = at.map(|at| inner.views.swap_remove(at));
        drop(inner);
        drop(gone);
    }

    /// The current process's view at an address.
    fn find(&self, base: u64) -> Option<Ref<View>> {
        let process = sched::current().process.id();
        let inner = self.inner.lock();
        inner.views.iter().find(|v| v.process == process && v.base() == base).cloned()
    }

    fn section(&self, handle: u64) -> Result<Ref<PortSection>, NtStatus> {
        self.inner.lock().sections.get(handle).cloned().ok_or(STATUS_INVALID_HANDLE)
    }
}

/// NtAlpcCreatePortSection: new memory of `size` bytes, or that behind a section handle. Returns handle and size.
pub fn create(port: &Port, handle: Handle, size: u64, secure: bool) -> Result<(u64, u64), NtStatus> {
    let process = &sched::current().process;
    let quota = process.quota();
    let (most, most_in_all) = {
        let limits = &port.limits;
        (limits.section.load(Ordering::Relaxed), limits.total.load(Ordering::Relaxed))
    };
    let check = |size: u64| {
        let rounded = size.checked_next_multiple_of(PAGE_SIZE).filter(|n| *n <= USER_MAX);
        rounded.filter(|n| *n <= most).ok_or(STATUS_SECTION_TOO_BIG)
    };
    let (section, size, writable) = if handle.is_null() {
        if size == 0 {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let size = check(size)?;
        if size / PAGE_SIZE > quota.limits().pages {
            return Err(STATUS_SECTION_TOO_BIG);
        }
        (Section::new(&quota, size, PAGE_READWRITE, SEC_COMMIT)?, size, true)
    } else {
        let (section, granted): (Ref<Section>, u32) = process.handles.get(handle, SECTION_MAP_READ)?;
        // Other views of it, which ALPC does not know, could be written while a message is out.
        if secure || section.is_device() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let whole = section.size.next_multiple_of(PAGE_SIZE);
        let size = check(if size == 0 { whole } else { size })?;
        if size > whole {
            return Err(STATUS_SECTION_TOO_BIG);
        }
        let writable = granted & SECTION_MAP_WRITE != 0 && section.protect == PAGE_READWRITE;
        (section, size, writable)
    };
    let charge = Charge::new(&quota, Kind::Pool, RECORD_CHARGE)?;
    let fresh = Ref::try_new(AtomicU64::new(0))?;
    let total = port.views.inner.lock().total.get_or_insert(fresh).clone();
    let fits = |sum: u64| sum.checked_add(size).filter(|sum| *sum <= most_in_all);
    if total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
        return Err(STATUS_QUOTA_EXCEEDED);
    }
    let ranges = Lock::new(Ranges::new());
    let made = PortSection { section, size, secure, writable, ranges, total, _charge: charge };
    let made = Ref::try_new(made)?;
    let mut inner = port.views.inner.lock();
    if inner.closed {
        return Err(STATUS_PORT_CLOSED);
    }
    if inner.sections.len() >= MOST {
        return Err(STATUS_QUOTA_EXCEEDED);
    }
    let key = inner.sections.insert(made.clone()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    Ok((key, size))
}

/// NtAlpcDeletePortSection: the handle names nothing any more; what is mapped stays.
pub fn delete(port: &Port, handle: u64) -> Result<(), NtStatus> {
    let gone = port.views.inner.lock().sections.remove(handle);
    gone.map(drop).ok_or(STATUS_INVALID_HANDLE)
}

/// NtAlpcCreateSectionView: maps a part of a section that no other view has. Fills base and size.
pub fn create_view(port: &Port, attribute: &mut AlpcDataViewAttr) -> Result<(), NtStatus> {
    if attribute.flags != 0 || attribute.view_base != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let section = port.views.section(attribute.section_handle)?;
    let size = attribute.view_size.checked_next_multiple_of(PAGE_SIZE);
    let size = size.filter(|n| *n > 0 && *n <= section.size && port.limits.takes_view(*n));
    let size = size.ok_or(STATUS_INVALID_VIEW_SIZE)?;
    let process = &sched::current().process;
    let region = Region::new(&section, size, process)?;
    let view = Region::map_maker(&region, process, port.id)?;
    let mut inner = port.views.inner.lock();
    let known = if inner.closed {
        Err(STATUS_PORT_CLOSED)
    } else if inner.views.len() >= MOST {
        Err(STATUS_QUOTA_EXCEEDED)
    } else {
        try_push(&mut inner.views, view.clone()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
    };
    drop(inner);
    if let Err(status) = known {
        region.unmap(&view);
        return Err(status);
    }
    (attribute.view_base, attribute.view_size) = (view.base(), size);
    Ok(())
}

/// NtAlpcDeleteSectionView.
pub fn delete_view(port: &Port, base: u64) -> Result<(), NtStatus> {
    let view = port.views.find(base).ok_or(STATUS_NOT_MAPPED_VIEW)?;
    if !view.region.unmap(&view) {
        return Err(STATUS_NOT_MAPPED_VIEW);
    }
    port.views.forget(&view);
    Ok(())
}

/// Captures the VIEW attribute of a message to send.
pub fn capture(sending: &Sending, from: u64, attached: &mut Attached) -> Result<(), NtStatus> {
    let attribute: AlpcDataViewAttr = user::read(In::at(from))?;
    if attribute.flags & !(ALPC_VIEWFLG_UNMAP_EXISTING | ALPC_VIEWFLG_AUTO_RELEASE) != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    attached.unmap_existing = attribute.flags & ALPC_VIEWFLG_UNMAP_EXISTING != 0;
    if attribute.section_handle == 0 && attribute.view_base == 0 && attribute.view_size == 0 {
        // Nothing is sent; what came with the request is given up.
        return if attached.unmap_existing { Ok(()) } else { Err(STATUS_INVALID_PARAMETER) };
    }
    let port = sending.port.ok_or(STATUS_INVALID_PARAMETER)?;
    let section = port.views.section(attribute.section_handle)?;
    let view = port.views.find(attribute.view_base).ok_or(STATUS_INVALID_PARAMETER)?;
    if !view.is_maker() || view.region.section != section {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let size = view.region.size;
    if attribute.view_size != 0 && attribute.view_size.checked_next_multiple_of(PAGE_SIZE) != Some(size)
        || !sending.receiver_takes(|limits| limits.takes_view(size))
    {
        return Err(STATUS_INVALID_VIEW_SIZE);
    }
    attached.view = Some(Passage::new(&view, attribute.flags & ALPC_VIEWFLG_AUTO_RELEASE != 0)?);
    Ok(())
}

/// Maps the view that a message brings into the receiver, if its port accepts it.
pub fn deliver(receiving: &mut Receiving, to: u64, given: &mut Given) -> Result<bool, NtStatus> {
    let (Some(port), Some(passage)) =
        (receiving.port, receiving.attached.as_deref().and_then(|attached| attached.view.as_ref()))
    else {
        return Ok(false);
    };
    let (size, secure) = (passage.region().size, passage.region().section.secure);
    if !port.limits.takes_view(size) {
        return Ok(false);
    }
    let mut inner = port.views.inner.lock();
    if inner.closed || inner.views.len() >= MOST {
        return Ok(false);
    }
    let mapped = passage.map(&sched::current().process, port.id, |view| {
        try_push(&mut inner.views, view.clone()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
    });
    drop(inner);
    // A receiver that has no room for it gets the message without the view: it must not be kept from all others.
    let Ok(held) = mapped else { return Ok(false) };
    let automatic = if passage.auto_release { ALPC_VIEWFLG_AUTO_RELEASE } else { 0 };
    let attribute = AlpcDataViewAttr {
        flags: automatic | if secure { 0 } else { ALPC_VIEWFLG_NOT_SECURE },
        view_base: held.view().base(),
        view_size: size,
        ..AlpcDataViewAttr::default()
    };
    given.view = Some(held);
    user::write(Out::at(to), &attribute)?;
    Ok(true)
}
