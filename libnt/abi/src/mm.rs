//! Virtual memory: protections, allocation types, NtQueryVirtualMemory.
//!
//! Values: public NT headers.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Lowest user address; below lies the null page guard.
pub const USER_MIN: u64 = 0x1_0000;
/// One past the highest user address.
pub const USER_MAX: u64 = 0x7FFF_FFFE_0000;
/// Bytes of a page.
pub const PAGE_SIZE: u64 = 4096;
/// Alignment of addresses that the kernel chooses.
pub const ALLOCATION_GRANULARITY: u64 = 0x1_0000;

/// No access.
pub const PAGE_NOACCESS: u32 = 0x01;
/// Read.
pub const PAGE_READONLY: u32 = 0x02;
/// Read and write.
pub const PAGE_READWRITE: u32 = 0x04;
/// Read; a write makes a private copy.
pub const PAGE_WRITECOPY: u32 = 0x08;
/// Execute (readable too on this processor).
pub const PAGE_EXECUTE: u32 = 0x10;
/// Execute and read.
pub const PAGE_EXECUTE_READ: u32 = 0x20;
/// Execute, read and write: refused with STATUS_INVALID_PAGE_PROTECTION (W^X).
pub const PAGE_EXECUTE_READWRITE: u32 = 0x40;
/// Execute and write-copy: refused likewise.
pub const PAGE_EXECUTE_WRITECOPY: u32 = 0x80;
/// Not cached (only for physical sections).
pub const PAGE_NOCACHE: u32 = 0x200;

/// NtAllocateVirtualMemory: commit pages. Antares commits demand-zero pages and charges them here.
pub const MEM_COMMIT: u32 = 0x1000;
/// NtAllocateVirtualMemory: reserve addresses.
pub const MEM_RESERVE: u32 = 0x2000;
/// NtFreeVirtualMemory: decommit pages.
pub const MEM_DECOMMIT: u32 = 0x4000;
/// NtFreeVirtualMemory: release the whole region.
pub const MEM_RELEASE: u32 = 0x8000;
/// Free (in queries).
pub const MEM_FREE: u32 = 0x1_0000;
/// Private memory (in queries).
pub const MEM_PRIVATE: u32 = 0x2_0000;
/// A view of a data section (in queries).
pub const MEM_MAPPED: u32 = 0x4_0000;
/// NtAllocateVirtualMemory: choose the highest address.
pub const MEM_TOP_DOWN: u32 = 0x10_0000;

/// NtCreateSection: pages are committed (the only kind).
pub const SEC_COMMIT: u32 = 0x800_0000;
/// Antares: the section is a range of physical addresses; the file handle is a RESOURCE_PHYSICAL resource.
pub const SEC_PHYSICAL: u32 = 0x2000_0000;

/// NtQueryVirtualMemory class 0: [`MemoryBasicInformation`].
pub const MEMORY_BASIC_INFORMATION: u32 = 0;

/// MEMORY_BASIC_INFORMATION, 0x30 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryBasicInformation {
    /// First page of the run.
    pub base_address: u64,
    /// First page of the region it belongs to.
    pub allocation_base: u64,
    /// Protection at allocation.
    pub allocation_protect: u32,
    /// Zero.
    pub partition_id: u32,
    /// Bytes with the same state from `base_address` on.
    pub region_size: u64,
    /// MEM_COMMIT, MEM_RESERVE or MEM_FREE.
    pub state: u32,
    /// Protection now.
    pub protect: u32,
    /// MEM_PRIVATE or MEM_MAPPED.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

/// NtMapViewOfSection: the child of a process made with inheritance gets the view (accepted, not used).
pub const VIEW_SHARE: u32 = 1;
/// NtMapViewOfSection: the view is not inherited.
pub const VIEW_UNMAP: u32 = 2;

/// NtQuerySection class 0: SECTION_BASIC_INFORMATION.
pub const SECTION_BASIC_INFORMATION: u32 = 0;

/// SECTION_BASIC_INFORMATION, 0x18 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SectionBasicInformation {
    /// Zero.
    pub base_address: u64,
    /// SEC_ flags.
    pub allocation_attributes: u32,
    /// Zero.
    pub reserved: u32,
    /// Size in bytes, as given at creation.
    pub maximum_size: u64,
}
