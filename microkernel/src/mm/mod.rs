//! Memory: frames, the kernel's own address space and heap, processes' address spaces, sections.
//!
//! Kernel address map (upper half; every address space shares it):
//!
//! | from | holds | protection |
//! |---|---|---|
//! | the loader's direct-map base | all RAM and ACPI memory, 2 MiB pages where they fit | read-write, no execute; the kernel image and modules read-only |
//! | `0xFFFF_FE80_0000_0000` | devices ([`map_device`]) | read-write, no execute, uncached |
//! | `0xFFFF_FF00_0000_0000` | kernel stacks, each above a guard page | read-write, no execute |
//! | `0xFFFF_FF80_0000_0000` | trace memory | read-write, no execute |
//! | `0xFFFF_FFFF_8000_0000` | the kernel image | by segment: text executable, the rest not; only data writable |

pub mod frames;
pub mod heap;
pub mod kstack;
pub mod section;
pub mod space;
pub mod tlb;

use crate::arch::paging::{self, CD, G, NX, PAGE, W, WT};
use crate::boot::{BootInfo, RegionKind};
use crate::sync::{Lock, rank};
use core::sync::atomic::{AtomicU64, Ordering};

const DEVICE_BASE: u64 = 0xFFFF_FE80_0000_0000;
/// First address of the kernel stacks.
pub const STACK_BASE: u64 = 0xFFFF_FF00_0000_0000;
/// Where the trace memory is mapped for the kernel.
pub const TRACE_BASE: u64 = abi::trace::TRACE_ADDRESS;

/// Reserved regions up to this size are shown in the direct map, read-only.
const SMALL_RESERVED: u64 = 2 << 20;

static DIRECT_MAP: AtomicU64 = AtomicU64::new(0);
static KERNEL_ROOT: AtomicU64 = AtomicU64::new(0);
static DEVICES: Lock<u64, { rank::LEAF }> = Lock::new(DEVICE_BASE);

unsafe extern "C" {
    static kernel_start: u8;
    static kernel_text_end: u8;
    static kernel_rodata_end: u8;
    static kernel_end: u8;
}

/// Where the direct map shows a physical address of RAM or ACPI memory.
#[inline]
pub fn phys_to_virt(physical: u64) -> *mut u8 {
    (physical + DIRECT_MAP.load(Ordering::Relaxed)) as *mut u8
}

/// Sets the direct map's base, which the loader made.
pub fn set_direct_map(base: u64) {
    DIRECT_MAP.store(base, Ordering::Relaxed);
}

/// Top-level table of the kernel alone, which idle processors use.
pub fn kernel_root() -> u64 {
    KERNEL_ROOT.load(Ordering::Relaxed)
}

/// Takes over memory: frames, then the kernel's own page tables. `None` when RAM does not suffice for that.
pub fn init(boot: &BootInfo) -> Option<()> {
    frames::init(boot)?;
    let root = paging::new_table()?;
    let base = &raw const kernel_start as u64;
    let segments = [
        (base, &raw const kernel_text_end as u64, 0),
        (&raw const kernel_text_end as u64, &raw const kernel_rodata_end as u64, NX),
        (&raw const kernel_rodata_end as u64, &raw const kernel_end as u64, NX | W),
    ];
    for (start, end, flags) in segments {
        for address in (start..end).step_by(PAGE as usize) {
            paging::map_kernel(root, address, address - base + boot.kernel_physical, flags | G)?;
        }
    }
    for region in boot.regions() {
        let flags = match region.kind {
            RegionKind::Usable | RegionKind::Reclaimable | RegionKind::Acpi => NX | W | G,
            // ACPI tables of some firmware lie in small reserved regions; large ones are devices.
            RegionKind::Kernel => NX | G,
            RegionKind::Reserved if region.length <= SMALL_RESERVED => NX | G,
            RegionKind::Reserved => continue,
        };
        let mut at = region.base & !(PAGE - 1);
        let end = (region.base + region.length).next_multiple_of(PAGE);
        while at < end {
            let virt = phys_to_virt(at) as u64;
            if at.is_multiple_of(0x20_0000) && end - at >= 0x20_0000 {
                paging::map_large(root, virt, at, flags)?;
                at += 0x20_0000;
            } else {
                paging::map_kernel(root, virt, at, flags)?;
                at += PAGE;
            }
        }
    }
    for top in [DEVICE_BASE, STACK_BASE, TRACE_BASE] {
        paging::make_top(root, top)?;
    }
    KERNEL_ROOT.store(root, Ordering::Relaxed);
    paging::load(root);
    Some(())
}

/// Where the kernel's image is, and its size.
pub fn kernel_image() -> (u64, u64) {
    let start = &raw const kernel_start as u64;
    (start, &raw const kernel_end as u64 - start)
}

/// True when the direct map shows a physical range.
pub fn is_mapped(physical: u64, length: u64) -> bool {
    let last = physical.saturating_add(length.max(1) - 1);
    (physical & !(PAGE - 1)..=last)
        .step_by(PAGE as usize)
        .all(|at| paging::translate(kernel_root(), phys_to_virt(at) as u64).is_some())
}

/// Maps device memory for the kernel, uncached, for good.
pub fn map_device(physical: u64, length: u64) -> Option<*mut u8> {
    let first = physical & !(PAGE - 1);
    let pages = (physical + length - first).div_ceil(PAGE);
    let mut next = DEVICES.lock();
    let start = *next;
    for page in 0..pages {
        let flags = NX | W | G | CD | WT;
        paging::map_kernel(kernel_root(), start + page * PAGE, first + page * PAGE, flags)?;
    }
    *next = start + (pages + 1) * PAGE;
    Some((start + physical - first) as *mut u8)
}
