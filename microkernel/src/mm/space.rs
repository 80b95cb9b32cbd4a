//! A process's address space: its regions and its page tables.
//!
//! Pages come on first touch ([`AddressSpace::fault`]); commit is charged when it is asked for. A page frame in the
//! tables is either owned by the space (private memory, private copies: entry bit `OWNED`) or belongs to a section.
//! No mapping is ever writable and executable. Frames are freed only after the TLB shoot-down that follows unmapping.

use crate::alpc::view::{self, View};
use crate::arch::cpu;
use crate::arch::paging::{self, ADDRESS, CD, NX, OWNED, P, PAGE, U, W, WT};
use crate::arch::percpu::PerCpu;
use crate::ke::sched;
use crate::kref::Ref;
use crate::mm::section::Section;
use crate::mm::{frames, kernel_root, phys_to_virt, tlb};
use crate::quota::{Kind, QuotaBlock};
use crate::sync::{Guard, Lock, rank};
use abi::NtStatus;
use abi::mm::*;
use abi::status::*;
use antares_core::tlb::{Pcids, Residence};
use antares_core::vad::{Run, Vads};
use core::sync::atomic::{AtomicU64, Ordering};

/// What a page fault wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Execute.
    Execute,
}

/// What a view shows.
#[derive(Clone, PartialEq)]
struct Shown {
    section: Ref<Section>,
    /// ALPC's record of a view of a port section: only ALPC unmaps it, and is told when it goes with the space.
    owner: Option<Ref<View>>,
}

struct Inner {
    quota: Ref<QuotaBlock>,
    vads: Vads<Shown>,
    /// Pages charged: commit of private memory and private copies, page tables.
    charged: u64,
    /// Runs of regions charged to the pool.
    charged_runs: usize,
    /// Frames owned by the space that are present.
    present: u64,
    dead: bool,
}

/// Where the kernel may write a page's memory while the space's version is `version`: see [`AddressSpace::landing`].
#[derive(Clone, Copy, Debug)]
pub struct Landing {
    /// Kernel address.
    pub address: u64,
    /// Bytes to the end of the page.
    pub room: u64,
    /// Version of the space when this was true.
    pub version: u64,
}

static PCIDS: Lock<Pcids, { rank::LEAF }> = Lock::new(Pcids::new());

/// See the module head.
pub struct AddressSpace {
    root: u64,
    /// Goes up, under the lock, before a mapping is taken away, made less or pointed at another frame.
    version: AtomicU64,
    residence: Residence,
    inner: Lock<Inner, { rank::SPACE }>,
}

/// Size and commit of an address space.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    /// Bytes of all regions.
    pub reserved: u64,
    /// Pages charged.
    pub charged: u64,
    /// Private frames present.
    pub present: u64,
}

fn is_valid_protection(protect: u32) -> bool {
    matches!(
        protect,
        PAGE_NOACCESS | PAGE_READONLY | PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE | PAGE_EXECUTE_READ
    )
}

fn allows(protect: u32, access: Access) -> bool {
    match access {
        Access::Read => protect != PAGE_NOACCESS,
        Access::Write => matches!(protect, PAGE_READWRITE | PAGE_WRITECOPY),
        Access::Execute => matches!(protect, PAGE_EXECUTE | PAGE_EXECUTE_READ),
    }
}

/// Entry flags for a page under a protection; 0 when it may not be present. A section's page is never writable under
/// write-copy.
fn flags_for(protect: u32, owned: bool) -> u64 {
    match protect {
        PAGE_READONLY => P | U | NX,
        PAGE_READWRITE => P | U | W | NX,
        PAGE_WRITECOPY if owned => P | U | W | NX,
        PAGE_WRITECOPY => P | U | NX,
        PAGE_EXECUTE | PAGE_EXECUTE_READ => P | U,
        _ => 0,
    }
}

fn page_range(address: u64, length: u64) -> Result<(u64, u64), NtStatus> {
    let start = address & !(PAGE - 1);
    let end =
        address.checked_add(length).filter(|end| *end <= USER_MAX).ok_or(STATUS_CONFLICTING_ADDRESSES)?;
    let end = end.next_multiple_of(PAGE);
    if start < USER_MIN || end > USER_MAX {
        return Err(STATUS_CONFLICTING_ADDRESSES);
    }
    Ok((start, end))
}

/// Bytes of address space cleared between two preemption points.
const CLEAR_STEP: u64 = 16 << 20;
/// Kernel memory of a run.
const RUN_BYTES: u64 = 96;
/// Runs are charged in steps of this many.
const RUN_STEP: usize = 16;

impl Inner {
    /// Charges for the runs that one operation can add: an insertion, or two splits.
    fn charge_runs(&mut self) -> Result<(), NtStatus> {
        if self.vads.runs().len() + 2 > self.charged_runs {
            self.quota.charge(Kind::Pool, RUN_STEP as u64 * RUN_BYTES)?;
            self.charged_runs += RUN_STEP;
        }
        Ok(())
    }

    /// Gives back the charge for runs that are gone.
    fn release_runs(&mut self) {
        let keep = (self.vads.runs().len() + 2).next_multiple_of(RUN_STEP);
        if self.charged_runs > keep {
            self.quota.release(Kind::Pool, (self.charged_runs - keep) as u64 * RUN_BYTES);
            self.charged_runs = keep;
        }
    }
}

impl AddressSpace {
    /// An empty address space.
    pub fn new(quota: Ref<QuotaBlock>) -> Result<Self, NtStatus> {
        quota.charge(Kind::Pages, 1)?;
        let Some(root) = paging::new_root(kernel_root()) else {
            quota.release(Kind::Pages, 1);
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        };
        let inner = Inner { quota, vads: Vads::new(), charged: 1, charged_runs: 0, present: 0, dead: false };
        let pcid = if cpu::has_pcids() { PCIDS.lock().take() } else { 0 };
        let residence = Residence::new(root, pcid);
        Ok(Self { root, version: AtomicU64::new(0), residence, inner: Lock::new(inner) })
    }

    /// Loads it on this processor.
    #[inline(always)]
    pub fn enter(&self, me: &PerCpu) {
        if me.page_table.load(Ordering::Relaxed) != self.residence.table() {
            paging::load_other(me, self.residence.table(), self.residence.enter(me.bit));
        }
    }

    fn lock(&self) -> Result<Guard<'_, Inner, { rank::SPACE }>, NtStatus> {
        let inner = self.inner.lock();
        if inner.dead { Err(STATUS_PROCESS_IS_TERMINATING) } else { Ok(inner) }
    }

    /// Charges another quota block for it, with all that it has.
    pub fn set_quota(&self, block: &Ref<QuotaBlock>) -> Result<(), NtStatus> {
        let mut inner = self.lock()?;
        let (charged, runs) = (inner.charged, inner.charged_runs as u64 * RUN_BYTES);
        block.charge(Kind::Pages, charged)?;
        if let Err(status) = block.charge(Kind::Pool, runs) {
            block.release(Kind::Pages, charged);
            return Err(status);
        }
        let old = core::mem::replace(&mut inner.quota, block.clone());
        old.release(Kind::Pages, charged);
        old.release(Kind::Pool, runs);
        drop(inner);
        drop(old);
        Ok(())
    }

    fn mappings_change(&self) {
        self.version.store(self.version.load(Ordering::Relaxed) + 1, Ordering::Release);
        // Whoever writes through a landing of an older version has done so when it opens the dispatcher lock.
        sched::pass();
    }

    /// Version of the mappings: as long as it does not change, what was mapped stays mapped as it was.
    #[inline(always)]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Kernel address of user memory that ring 3 could write now without a fault. To be used under the dispatcher lock,
    /// and only if the space's version is still the landing's then: no mapping goes before that lock is opened.
    pub fn landing(&self, address: u64) -> Option<Landing> {
        let _inner = self.lock().ok()?;
        if !(USER_MIN..USER_MAX).contains(&address) {
            return None;
        }
        let value = paging::find(self.root, address)?.load(Ordering::Relaxed);
        if value & (P | W | U | CD) != P | W | U {
            return None;
        }
        let offset = address % PAGE;
        Some(Landing {
            address: phys_to_virt(value & ADDRESS) as u64 + offset,
            room: PAGE - offset,
            version: self.version(),
        })
    }

    /// Size and commit.
    pub fn usage(&self) -> Usage {
        let inner = self.inner.lock();
        let reserved = inner.vads.runs().iter().map(|run| run.end - run.start).sum();
        Usage { reserved, charged: inner.charged, present: inner.present }
    }

    fn place(inner: &Inner, wanted: u64, size: u64, top_down: bool) -> Result<u64, NtStatus> {
        if wanted != 0 {
            let (start, end) = page_range(wanted, size)?;
            return if inner.vads.is_free(start, end) {
                Ok(start)
            } else {
                Err(STATUS_CONFLICTING_ADDRESSES)
            };
        }
        inner
            .vads
            .find_free(size, ALLOCATION_GRANULARITY, ALLOCATION_GRANULARITY, USER_MAX, top_down)
            .ok_or(STATUS_NO_MEMORY)
    }

    /// NtAllocateVirtualMemory. Returns the range really affected.
    pub fn allocate(&self, base: u64, size: u64, kind: u32, protect: u32) -> Result<(u64, u64), NtStatus> {
        if size == 0
            || kind & !(MEM_COMMIT | MEM_RESERVE | MEM_TOP_DOWN) != 0
            || kind & (MEM_COMMIT | MEM_RESERVE) == 0
        {
            return Err(STATUS_INVALID_PARAMETER);
        }
        if !is_valid_protection(protect) || protect == PAGE_WRITECOPY {
            return Err(STATUS_INVALID_PAGE_PROTECTION);
        }
        if size > USER_MAX {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let mut inner = self.lock()?;
        inner.charge_runs()?;
        if kind & MEM_RESERVE != 0 || base == 0 {
            let size = size.next_multiple_of(PAGE);
            let start = Self::place(&inner, base, size, kind & MEM_TOP_DOWN != 0)?;
            let end = if base == 0 { start + size } else { page_range(base, size)?.1 };
            let committed = kind & MEM_COMMIT != 0;
            let pages = if committed { (end - start) / PAGE } else { 0 };
            inner.quota.charge(Kind::Pages, pages)?;
            let run =
                Run { start, end, base: start, committed, protect, initial_protect: protect, view: None };
            if inner.vads.insert(run).is_err() {
                inner.quota.release(Kind::Pages, pages);
                return Err(STATUS_INSUFFICIENT_RESOURCES);
            }
            inner.charged += pages;
            return Ok((start, end - start));
        }
        let (start, end) = page_range(base, size)?;
        if !inner.vads.within_one_region(start, end)
            || inner.vads.find(start).is_some_and(|run| run.view.is_some())
        {
            return Err(STATUS_CONFLICTING_ADDRESSES);
        }
        let pages = (end - start) / PAGE - committed_pages(&inner, start, end);
        inner.quota.charge(Kind::Pages, pages)?;
        let changed = inner.vads.change(start, end, |run| {
            if !run.committed {
                run.committed = true;
                run.protect = protect;
            }
        });
        if changed.is_err() {
            inner.quota.release(Kind::Pages, pages);
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        inner.charged += pages;
        Ok((start, end - start))
    }

    /// Unmaps `start..end`: empties the entries, shoots the TLBs down, frees owned frames, in batches.
    fn unmap(&self, inner: &mut Inner, start: u64, end: u64) {
        const BATCH: usize = 64;
        self.mappings_change();
        let mut at = start;
        while at < end {
            let mut owned = heapless::Vec::<u64, BATCH>::new();
            let (mut first, mut last) = (None, at);
            let mut stop = end;
            paging::for_each(self.root, at, end, |address, entry| {
                if owned.is_full() {
                    stop = address;
                    return false;
                }
                let value = entry.swap(0, Ordering::Relaxed);
                first.get_or_insert(address);
                last = address;
                if value & OWNED != 0 {
                    // The vector was not full.
                    let _ = owned.push(value & ADDRESS);
                }
                true
            });
            if let Some(first) = first {
                tlb::flush_user(&self.residence, first, (last - first) / PAGE + 1);
            }
            inner.present -= owned.len() as u64;
            for frame in &owned {
                frames::free(*frame);
            }
            at = stop;
        }
    }

    /// NtFreeVirtualMemory. Returns the range really affected.
    pub fn free(&self, base: u64, size: u64, kind: u32) -> Result<(u64, u64), NtStatus> {
        let mut inner = self.lock()?;
        if kind == MEM_DECOMMIT {
            inner.charge_runs()?;
        }
        match kind {
            MEM_RELEASE => {
                let start = base & !(PAGE - 1);
                let run = inner.vads.find(start).ok_or(STATUS_UNABLE_TO_FREE_VM)?;
                if run.view.is_some() || run.base != start {
                    return Err(STATUS_UNABLE_TO_FREE_VM);
                }
                let (start, end) = inner.vads.region(start).ok_or(STATUS_UNABLE_TO_FREE_VM)?;
                if size != 0 && size.checked_next_multiple_of(PAGE) != Some(end - start) {
                    return Err(STATUS_UNABLE_TO_FREE_VM);
                }
                let pages = committed_pages(&inner, start, end);
                self.unmap(&mut inner, start, end);
                inner.vads.remove_region(start);
                inner.release_runs();
                self.uncharge(&mut inner, pages);
                Ok((start, end - start))
            }
            MEM_DECOMMIT => {
                let (mut start, mut end) = page_range(base, size)?;
                if size == 0 {
                    (start, end) = inner.vads.region(start).ok_or(STATUS_UNABLE_TO_FREE_VM)?;
                }
                if !inner.vads.within_one_region(start, end) {
                    return Err(STATUS_CONFLICTING_ADDRESSES);
                }
                if inner.vads.find(start).is_some_and(|run| run.view.is_some()) {
                    return Err(STATUS_UNABLE_TO_FREE_VM);
                }
                let pages = committed_pages(&inner, start, end);
                inner
                    .vads
                    .change(start, end, |run| run.committed = false)
                    .map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
                self.unmap(&mut inner, start, end);
                self.uncharge(&mut inner, pages);
                Ok((start, end - start))
            }
            _ => Err(STATUS_INVALID_PARAMETER),
        }
    }

    fn uncharge(&self, inner: &mut Inner, pages: u64) {
        inner.charged -= pages;
        inner.quota.release(Kind::Pages, pages);
    }

    /// NtProtectVirtualMemory. Returns the range and the first page's former protection.
    pub fn protect(&self, base: u64, size: u64, protect: u32) -> Result<(u64, u64, u32), NtStatus> {
        if !is_valid_protection(protect) {
            return Err(STATUS_INVALID_PAGE_PROTECTION);
        }
        if size == 0 {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let mut inner = self.lock()?;
        inner.charge_runs()?;
        let (start, end) = page_range(base, size)?;
        if !inner.vads.within_one_region(start, end) {
            return Err(STATUS_CONFLICTING_ADDRESSES);
        }
        let run = inner.vads.find(start).ok_or(STATUS_CONFLICTING_ADDRESSES)?;
        let old = run.protect;
        match &run.view {
            None if protect == PAGE_WRITECOPY => return Err(STATUS_INVALID_PAGE_PROTECTION),
            Some((shown, _)) => {
                if shown.owner.as_ref().is_some_and(|view| view.is_secure()) {
                    return Err(STATUS_INVALID_PAGE_PROTECTION);
                }
                let copies = run.initial_protect == PAGE_WRITECOPY;
                if copies && protect == PAGE_READWRITE {
                    return Err(STATUS_SECTION_PROTECTION);
                }
                if !copies && protect == PAGE_WRITECOPY {
                    return Err(STATUS_SECTION_PROTECTION);
                }
                check_section_protection(&shown.section, protect)?;
                // A view keeps within what its handle granted when it was mapped.
                let raised = match protect {
                    PAGE_READWRITE => run.initial_protect != PAGE_READWRITE,
                    PAGE_EXECUTE | PAGE_EXECUTE_READ => !allows(run.initial_protect, Access::Execute),
                    _ => false,
                };
                if raised {
                    return Err(STATUS_SECTION_PROTECTION);
                }
            }
            None => {}
        }
        if committed_pages(&inner, start, end) != (end - start) / PAGE {
            return Err(STATUS_NOT_COMMITTED);
        }
        inner
            .vads
            .change(start, end, |run| run.protect = protect)
            .map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        self.change_entries(start, end, protect);
        Ok((start, end - start, old))
    }

    /// Gives the pages that are present in `start..end` another protection.
    fn change_entries(&self, start: u64, end: u64, protect: u32) {
        self.mappings_change();
        let mut any = false;
        paging::for_each(self.root, start, end, |_, entry| {
            let value = entry.load(Ordering::Relaxed);
            let keep = value & (ADDRESS | OWNED | CD | WT);
            entry.store(keep | flags_for(protect, value & OWNED != 0), Ordering::Relaxed);
            any = true;
            true
        });
        if any {
            tlb::flush_user(&self.residence, start, (end - start) / PAGE);
        }
    }

    /// NtQueryVirtualMemory.
    pub fn query(&self, address: u64) -> Result<MemoryBasicInformation, NtStatus> {
        if address >= USER_MAX {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let inner = self.lock()?;
        let page = address & !(PAGE - 1);
        Ok(match inner.vads.find(page) {
            Some(run) => MemoryBasicInformation {
                base_address: page,
                allocation_base: run.base,
                allocation_protect: run.initial_protect,
                region_size: run.end - page,
                state: if run.committed { MEM_COMMIT } else { MEM_RESERVE },
                protect: if run.committed { run.protect } else { 0 },
                kind: if run.view.is_some() { MEM_MAPPED } else { MEM_PRIVATE },
                ..MemoryBasicInformation::default()
            },
            None => MemoryBasicInformation {
                base_address: page,
                region_size: inner.vads.next(page).map_or(USER_MAX, |run| run.start) - page,
                state: MEM_FREE,
                protect: PAGE_NOACCESS,
                ..MemoryBasicInformation::default()
            },
        })
    }

    /// NtMapViewOfSection. Returns base and size.
    pub fn map(
        &self,
        section: &Ref<Section>,
        base: u64,
        offset: u64,
        size: u64,
        protect: u32,
        top_down: bool,
    ) -> Result<(u64, u64), NtStatus> {
        if !is_valid_protection(protect) {
            return Err(STATUS_INVALID_PAGE_PROTECTION);
        }
        check_section_protection(section, protect)?;
        if !offset.is_multiple_of(PAGE) || !base.is_multiple_of(PAGE) {
            return Err(STATUS_MAPPED_ALIGNMENT);
        }
        let whole = section.size.next_multiple_of(PAGE);
        let rest = whole.checked_sub(offset).filter(|rest| *rest > 0).ok_or(STATUS_INVALID_VIEW_SIZE)?;
        let size = if size == 0 {
            rest
        } else {
            size.checked_next_multiple_of(PAGE).ok_or(STATUS_INVALID_VIEW_SIZE)?
        };
        if size > rest {
            return Err(STATUS_INVALID_VIEW_SIZE);
        }
        let shown = Shown { section: section.clone(), owner: None };
        let start = self.insert_view(shown, offset, size, base, (protect, protect), top_down)?;
        Ok((start, size))
    }

    /// The section whose memory `base..base + size` is, and where in it that begins. Both are multiples of the page size.
    ///
    /// # Errors
    /// STATUS_ACCESS_VIOLATION: something else than one mapping, or ring 3 may not write all of it. STATUS_NOT_MAPPED_VIEW: it
    /// is private memory. STATUS_INVALID_PARAMETER: a device's memory, or a view of a port section.
    pub fn section_behind(&self, base: u64, size: u64) -> Result<(Ref<Section>, u64), NtStatus> {
        let (start, end) = page_range(base, size).map_err(|_| STATUS_ACCESS_VIOLATION)?;
        let inner = self.lock()?;
        if !inner.vads.within_one_region(start, end) {
            return Err(STATUS_ACCESS_VIOLATION);
        }
        let mut at = start;
        while let Some(run) = inner.vads.find(at).filter(|run| run.start < end) {
            if !run.committed || run.protect != PAGE_READWRITE {
                return Err(STATUS_ACCESS_VIOLATION);
            }
            at = run.end;
        }
        let run = inner.vads.find(start).ok_or(STATUS_ACCESS_VIOLATION)?;
        let (shown, offset) = run.view.as_ref().ok_or(STATUS_NOT_MAPPED_VIEW)?;
        if shown.owner.is_some() || shown.section.is_device() {
            return Err(STATUS_INVALID_PARAMETER);
        }
        Ok((shown.section.clone(), offset + (start - run.base)))
    }

    /// Adds a view of `size` bytes, which fits its section; `protect` now, and at most.
    fn insert_view(
        &self,
        shown: Shown,
        offset: u64,
        size: u64,
        base: u64,
        (protect, initial_protect): (u32, u32),
        top_down: bool,
    ) -> Result<u64, NtStatus> {
        let mut inner = self.lock()?;
        inner.charge_runs()?;
        let start = Self::place(&inner, base, size, top_down)?;
        let pages = if initial_protect == PAGE_WRITECOPY { size / PAGE } else { 0 };
        inner.quota.charge(Kind::Pages, pages)?;
        let view = Some((shown, offset));
        let end = start + size;
        let run = Run { start, end, base: start, committed: true, protect, initial_protect, view };
        if inner.vads.insert(run).is_err() {
            inner.quota.release(Kind::Pages, pages);
            return Err(STATUS_INSUFFICIENT_RESOURCES);
        }
        inner.charged += pages;
        Ok(start)
    }

    /// Maps a view for ALPC: `protect` now, and at most `most`. Returns its base.
    pub fn map_owned(
        &self,
        section: &Ref<Section>,
        range: (u64, u64),
        protect: u32,
        most: u32,
        owner: &Ref<View>,
    ) -> Result<u64, NtStatus> {
        let shown = Shown { section: section.clone(), owner: Some(owner.clone()) };
        self.insert_view(shown, range.0, range.1, 0, (protect, most), false)
    }

    /// Start and end of the view that ALPC mapped at `base` for this record, unless it went with the space.
    fn owned(inner: &Inner, base: u64, owner: &Ref<View>) -> Option<(u64, u64)> {
        let (shown, _) = inner.vads.find(base)?.view.as_ref()?;
        shown.owner.as_ref().filter(|found| *found == owner)?;
        inner.vads.region(base)
    }

    /// Unmaps a view that ALPC mapped.
    pub fn unmap_owned(&self, base: u64, owner: &Ref<View>) {
        let Ok(mut inner) = self.lock() else { return };
        let Some((start, end)) = Self::owned(&inner, base, owner) else { return };
        self.unmap(&mut inner, start, end);
        inner.vads.remove_region(base);
        inner.release_runs();
    }

    /// Changes the protection of a view that ALPC mapped. Cannot fail for want of memory.
    pub fn protect_owned(&self, base: u64, owner: &Ref<View>, protect: u32) {
        let Ok(mut inner) = self.lock() else { return };
        let Some((start, end)) = Self::owned(&inner, base, owner) else { return };
        inner.vads.protect_region(base, protect);
        self.change_entries(start, end, protect);
    }

    /// NtUnmapViewOfSection.
    pub fn unmap_view(&self, address: u64) -> Result<(), NtStatus> {
        let mut inner = self.lock()?;
        let run = inner.vads.find(address).filter(|run| run.view.is_some()).ok_or(STATUS_NOT_MAPPED_VIEW)?;
        if run.view.as_ref().is_some_and(|(shown, _)| shown.owner.is_some()) {
            return Err(STATUS_INVALID_PAGE_PROTECTION);
        }
        let (base, copies) = (run.base, run.initial_protect == PAGE_WRITECOPY);
        let (start, end) = inner.vads.region(base).ok_or(STATUS_NOT_MAPPED_VIEW)?;
        self.unmap(&mut inner, start, end);
        let section = inner.vads.find(start).and_then(|run| run.view.clone());
        inner.vads.remove_region(base);
        inner.release_runs();
        if copies {
            self.uncharge(&mut inner, (end - start) / PAGE);
        }
        drop(inner);
        // The last reference may free all of a section's frames: outside the lock.
        drop(section);
        Ok(())
    }

    /// Brings in the page of an address, or says why not.
    pub fn fault(&self, address: u64, access: Access) -> Result<(), NtStatus> {
        let page = address & !(PAGE - 1);
        let mut inner = self.lock()?;
        self.bring_in(&mut inner, page, access).map(|_| ())
    }

    /// The frame behind a page after a legitimate access; the entry is present with the right flags.
    fn bring_in(&self, inner: &mut Inner, page: u64, access: Access) -> Result<u64, NtStatus> {
        let run = inner.vads.find(page).filter(|run| run.committed).ok_or(STATUS_ACCESS_VIOLATION)?;
        if !allows(run.protect, access) {
            return Err(STATUS_ACCESS_VIOLATION);
        }
        let (protect, view) =
            (run.protect, run.view.as_ref().map(|(s, o)| (s.section.clone(), o + (page - run.base))));
        let mut tables = 0;
        let entry = paging::find_or_make(self.root, page, U, || {
            inner.quota.charge(Kind::Pages, 1).ok()?;
            let table = paging::new_table();
            match table {
                Some(_) => tables += 1,
                None => inner.quota.release(Kind::Pages, 1),
            }
            table
        });
        inner.charged += tables;
        let entry = entry.ok_or(STATUS_NO_MEMORY)?;
        let value = entry.load(Ordering::Relaxed);
        let owned = value & OWNED != 0;
        if value & ADDRESS != 0 && (owned || !(protect == PAGE_WRITECOPY && access == Access::Write)) {
            // Present already (another processor was faster), or its frame was kept while access was off.
            entry.store(value & !(P | W | U | NX) | flags_for(protect, owned), Ordering::Relaxed);
            return Ok(value & ADDRESS);
        }
        let (frame, extra) = match view {
            None => (frames::alloc_zeroed().ok_or(STATUS_NO_MEMORY)?, OWNED),
            Some((section, offset)) => {
                let frame = section.frame(offset)?;
                if protect == PAGE_WRITECOPY && access == Access::Write {
                    let copy = frames::alloc().ok_or(STATUS_NO_MEMORY)?;
                    // SAFETY: both are whole frames in the direct map; the copy is not mapped anywhere yet.
                    unsafe {
                        phys_to_virt(copy).copy_from_nonoverlapping(phys_to_virt(frame), PAGE as usize)
                    };
                    (copy, OWNED)
                } else if section.is_device() {
                    (frame, CD | WT)
                } else {
                    (frame, 0)
                }
            }
        };
        if value & P != 0 {
            self.mappings_change();
        }
        entry.store(frame | extra | flags_for(protect, extra & OWNED != 0), Ordering::Relaxed);
        if extra & OWNED != 0 {
            inner.present += 1;
        }
        if value & P != 0 {
            tlb::flush_user(&self.residence, page, 1);
        }
        Ok(frame)
    }

    /// Copies between this address space and a kernel buffer that lies within one page's reach. `false` at the first
    /// byte that cannot be accessed.
    fn remote(
        &self,
        address: u64,
        length: usize,
        access: Access,
        with: impl FnOnce(*mut u8),
    ) -> Result<(), NtStatus> {
        debug_assert!(address % PAGE + length as u64 <= PAGE);
        let mut inner = self.lock()?;
        let frame = self.bring_in(&mut inner, address & !(PAGE - 1), access)?;
        if inner.vads.find(address).and_then(|r| r.view.as_ref()).is_some_and(|(s, _)| s.section.is_device())
        {
            return Err(STATUS_ACCESS_VIOLATION);
        }
        with(phys_to_virt(frame).wrapping_add((address % PAGE) as usize));
        Ok(())
    }

    /// Copies what is present of this space's memory, without bringing anything in; gives the number of bytes up to the first
    /// page that is not there.
    pub fn peek(&self, address: u64, to: &mut [u8]) -> usize {
        match self.lock() {
            Ok(_held) => crate::kd::memory::read(self.root, address, to),
            Err(_) => 0,
        }
    }

    /// Physical address of the top-level table.
    pub fn directory_base(&self) -> u64 {
        self.root
    }

    /// Reads memory of this space, which need not be the current one. The range must not cross a page.
    pub fn read(&self, address: u64, to: &mut [u8]) -> Result<(), NtStatus> {
        self.remote(address, to.len(), Access::Read, |from| {
            // SAFETY: `from` is within a frame that stays mapped while the lock is held; `to` is a kernel buffer.
            unsafe { to.as_mut_ptr().copy_from_nonoverlapping(from, to.len()) }
        })
    }

    /// Writes memory of this space. The range must not cross a page.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), NtStatus> {
        self.remote(address, from.len(), Access::Write, |to| {
            // SAFETY: as in `read`, the other way round.
            unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) }
        })
    }

    /// Changes an aligned word of this space atomically, against ring 3 too. STATUS_ACCESS_VIOLATION also when ring 3 keeps
    /// changing it.
    pub fn update(&self, address: u64, change: impl Fn(u64) -> u64) -> Result<(), NtStatus> {
        const TRIES: u32 = 1000;
        if !address.is_multiple_of(8) {
            return Err(STATUS_ACCESS_VIOLATION);
        }
        let mut changed = false;
        self.remote(address, 8, Access::Write, |at| {
            // SAFETY: an aligned word within a frame that stays mapped while the lock is held; the kernel has no
            // references to it.
            let word = unsafe { AtomicU64::from_ptr(at.cast()) };
            changed = (0..TRIES).any(|_| {
                let old = word.load(Ordering::Relaxed);
                word.compare_exchange(old, change(old), Ordering::AcqRel, Ordering::Relaxed).is_ok()
            });
        })?;
        if changed { Ok(()) } else { Err(STATUS_ACCESS_VIOLATION) }
    }

    /// Frees everything but the top-level table, with preemption points. No thread of the process runs user code any
    /// more.
    pub fn clear(&self) {
        let mut at = USER_MIN;
        {
            let mut inner = self.inner.lock();
            if inner.dead {
                return;
            }
            inner.dead = true;
        }
        while at < USER_MAX {
            let (start, end) = {
                let inner = self.inner.lock();
                let Some(run) = inner.vads.next(at) else { break };
                let start = at.max(run.start);
                (start, run.end.min(start + CLEAR_STEP))
            };
            self.unmap(&mut self.inner.lock(), start, end);
            at = end;
            sched::preemption_point();
        }
        let mut inner = self.inner.lock();
        let runs = inner.vads.take();
        inner.release_runs();
        let rest = inner.charged_runs as u64 * RUN_BYTES;
        inner.charged_runs = 0;
        inner.quota.release(Kind::Pool, rest);
        inner.quota.release(Kind::Pages, inner.charged - 1);
        inner.charged = 1;
        drop(inner);
        for (shown, _) in runs.iter().filter_map(|run| run.view.as_ref()) {
            if let Some(view) = &shown.owner {
                view::lost(view);
            }
        }
        drop(runs);
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        self.clear();
        paging::free_tables(self.root);
        if self.residence.pcid() != 0 {
            PCIDS.lock().give_back(self.residence.pcid());
        }
        self.inner.get_mut().quota.release(Kind::Pages, 1);
    }
}

fn committed_pages(inner: &Inner, start: u64, end: u64) -> u64 {
    inner
        .vads
        .runs()
        .iter()
        .filter(|run| run.committed && run.start < end && run.end > start)
        .map(|run| (run.end.min(end) - run.start.max(start)) / PAGE)
        .sum()
}

fn check_section_protection(section: &Section, protect: u32) -> Result<(), NtStatus> {
    let allowed = match section.protect {
        PAGE_READWRITE => matches!(protect, PAGE_NOACCESS | PAGE_READONLY | PAGE_READWRITE | PAGE_WRITECOPY),
        PAGE_READONLY | PAGE_WRITECOPY => matches!(protect, PAGE_NOACCESS | PAGE_READONLY | PAGE_WRITECOPY),
        PAGE_EXECUTE | PAGE_EXECUTE_READ => protect != PAGE_READWRITE,
        _ => protect == PAGE_NOACCESS,
    };
    if allowed { Ok(()) } else { Err(STATUS_SECTION_PROTECTION) }
}
