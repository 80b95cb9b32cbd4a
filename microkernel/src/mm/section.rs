//! Sections: memory that several address spaces can map.
//!
//! Three kinds: zeroed memory whose frames come on first touch; boot modules, whose frames the loader filled and which
//! are never written or freed; and windows on device memory. A section owns its frames; views only refer to them, so
//! frames live until the last view and handle are gone.

use crate::arch::paging::PAGE;
use crate::kref::Ref;
use crate::mm::frames;
use crate::ob::Header;
use crate::quota::{Charge, Kind, QuotaBlock};
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::ob::ObjectType;
use abi::status::{STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MEMORY};
use alloc::vec::Vec;

enum Backing {
    /// Frame addresses; 0 is a page not touched yet.
    Zeroed(Lock<Vec<u64>, { rank::SECTION }>),
    /// First physical address; read-only.
    Boot(u64),
    /// First physical address; uncached.
    Device(u64),
}

/// A section object.
pub struct Section {
    /// Object header.
    pub header: Header,
    backing: Backing,
    /// Size in bytes, as asked for.
    pub size: u64,
    /// PAGE_ protection that bounds every view's.
    pub protect: u32,
    /// SEC_ attributes.
    pub attributes: u32,
    _charge: Charge,
}

impl Section {
    /// Zeroed memory.
    pub fn new(
        quota: &Ref<QuotaBlock>,
        size: u64,
        protect: u32,
        attributes: u32,
    ) -> Result<Ref<Self>, NtStatus> {
        let pages = size.div_ceil(PAGE);
        let charge = Charge::new(quota, Kind::Pages, pages + pages.div_ceil(512))?;
        let mut list = Vec::new();
        list.try_reserve_exact(pages as usize).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        list.resize(pages as usize, 0);
        let backing = Backing::Zeroed(Lock::new(list));
        let header = Header::new(ObjectType::Section, quota)?;
        Ref::try_new(Self { header, backing, size, protect, attributes, _charge: charge })
    }

    /// A boot module at a page-aligned physical address.
    pub fn boot(physical: u64, size: u64) -> Result<Ref<Self>, NtStatus> {
        let header = Header::uncharged(ObjectType::Section);
        let (protect, attributes) = (abi::mm::PAGE_EXECUTE_READ, abi::mm::SEC_COMMIT);
        let backing = Backing::Boot(physical);
        Ref::try_new(Self { header, backing, size, protect, attributes, _charge: Charge::none() })
    }

    /// Device memory at a page-aligned physical address.
    pub fn device(
        quota: &Ref<QuotaBlock>,
        physical: u64,
        size: u64,
        protect: u32,
    ) -> Result<Ref<Self>, NtStatus> {
        let header = Header::new(ObjectType::Section, quota)?;
        let attributes = abi::mm::SEC_PHYSICAL;
        let backing = Backing::Device(physical);
        Ref::try_new(Self { header, backing, size, protect, attributes, _charge: Charge::none() })
    }

    /// Device memory is mapped uncached.
    pub fn is_device(&self) -> bool {
        matches!(self.backing, Backing::Device(_))
    }

    /// Frame of the page at a page-aligned offset; zeroed memory is made on the first call.
    pub fn frame(&self, offset: u64) -> Result<u64, NtStatus> {
        match &self.backing {
            Backing::Boot(physical) | Backing::Device(physical) => Ok(physical + offset),
            Backing::Zeroed(pages) => {
                let mut pages = pages.lock();
                let slot = pages.get_mut((offset / PAGE) as usize).ok_or(STATUS_NO_MEMORY)?;
                if *slot == 0 {
                    *slot = frames::alloc_zeroed().ok_or(STATUS_NO_MEMORY)?;
                }
                Ok(*slot)
            }
        }
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        if let Backing::Zeroed(pages) = &mut self.backing {
            for frame in pages.get_mut().iter().filter(|frame| **frame != 0) {
                frames::free(*frame);
            }
        }
    }
}
