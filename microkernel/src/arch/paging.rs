//! Four-level page tables: entries, walks and changes (Intel SDM vol. 3, 4.5).
//!
//! Tables are reached through the direct map of physical memory. Callers hold the lock of the address space that a
//! table belongs to, and do TLB invalidation themselves ([`crate::mm::tlb`]).

use crate::arch::cpu;
use crate::arch::percpu::{self, PerCpu};
use crate::mm::{frames, phys_to_virt};
use core::sync::atomic::{AtomicU64, Ordering};

/// Present.
pub const P: u64 = 1;
/// Writable.
pub const W: u64 = 1 << 1;
/// User.
pub const U: u64 = 1 << 2;
/// Write-through; with [`CD`] uncached under the PAT's reset value.
pub const WT: u64 = 1 << 3;
/// Cache disabled.
pub const CD: u64 = 1 << 4;
/// Large page in a directory.
pub const LARGE: u64 = 1 << 7;
/// Global.
pub const G: u64 = 1 << 8;
/// Software: the frame belongs to the address space and is freed with the mapping.
pub const OWNED: u64 = 1 << 9;
/// Not executable.
pub const NX: u64 = 1 << 63;
/// Bits of the physical address.
pub const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
/// Bytes of a page.
pub const PAGE: u64 = 4096;

fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level) & 511) as usize
}

/// The entry `at` of the table in frame address `table`.
fn entry(table: u64, at: usize) -> &'static AtomicU64 {
    // SAFETY: `table` is the address of a page-table frame, which the direct map reaches; entries are only ever
    // accessed atomically, by us and by the processor.
    unsafe { &*phys_to_virt(table & ADDRESS).cast::<AtomicU64>().add(at) }
}

/// A zeroed frame for a table.
pub fn new_table() -> Option<u64> {
    frames::alloc_zeroed()
}

/// The last-level entry of an address, or `None` when a table on the way is missing (or a large page is there).
pub fn find(root: u64, address: u64) -> Option<&'static AtomicU64> {
    let mut table = root;
    for level in [3, 2, 1] {
        let value = entry(table, index(address, level)).load(Ordering::Relaxed);
        if value & P == 0 || value & LARGE != 0 {
            return None;
        }
        table = value & ADDRESS;
    }
    Some(entry(table, index(address, 0)))
}

/// The last-level entry of an address; makes missing tables with `make`. `None` when that fails.
///
/// Two processors may do this at once in the kernel's half, which has no lock: one table stays, the other is freed.
pub fn find_or_make(
    root: u64,
    address: u64,
    flags: u64,
    mut make: impl FnMut() -> Option<u64>,
) -> Option<&'static AtomicU64> {
    let mut table = root;
    for level in [3, 2, 1] {
        let at = entry(table, index(address, level));
        let value = at.load(Ordering::Relaxed);
        table = if value & P == 0 {
            let new = make()?;
            match at.compare_exchange(value, new | P | W | flags, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => new,
                Err(other) => {
                    frames::free(new);
                    other & ADDRESS
                }
            }
        } else {
            value & ADDRESS
        };
    }
    Some(entry(table, index(address, 0)))
}

/// Maps a 2 MiB page of the kernel at boot.
pub fn map_large(root: u64, address: u64, physical: u64, flags: u64) -> Option<()> {
    let mut table = root;
    for level in [3, 2] {
        let at = entry(table, index(address, level));
        let value = at.load(Ordering::Relaxed);
        table = if value & P == 0 {
            let new = new_table()?;
            at.store(new | P | W, Ordering::Relaxed);
            new
        } else {
            value & ADDRESS
        };
    }
    entry(table, index(address, 1)).store(physical | flags | P | LARGE, Ordering::Relaxed);
    Some(())
}

/// Maps a 4 KiB page of the kernel at boot or in the kernel's own regions.
pub fn map_kernel(root: u64, address: u64, physical: u64, flags: u64) -> Option<()> {
    find_or_make(root, address, 0, new_table)?.store(physical | flags | P, Ordering::Relaxed);
    Some(())
}

/// Makes the table below one top-level entry, so that every address space can share it.
pub fn make_top(root: u64, address: u64) -> Option<()> {
    let at = entry(root, index(address, 3));
    if at.load(Ordering::Relaxed) & P == 0 {
        at.store(new_table()? | P | W, Ordering::Relaxed);
    }
    Some(())
}

/// A new top-level table whose upper half is that of `kernel_root`.
pub fn new_root(kernel_root: u64) -> Option<u64> {
    let root = new_table()?;
    for at in 256..512 {
        entry(root, at).store(entry(kernel_root, at).load(Ordering::Relaxed), Ordering::Relaxed);
    }
    Some(root)
}

/// Visits the last-level entries of `start..end` (user half) that are not empty, in order, until `with` says stop
/// (`false`).
pub fn for_each(root: u64, start: u64, end: u64, mut with: impl FnMut(u64, &AtomicU64) -> bool) {
    let mut address = start;
    'next: while address < end {
        let mut table = root;
        for level in [3, 2, 1] {
            let value = entry(table, index(address, level)).load(Ordering::Relaxed);
            if value & P == 0 {
                let span = 1u64 << (12 + 9 * level);
                address = (address & !(span - 1)) + span;
                continue 'next;
            }
            table = value & ADDRESS;
        }
        let last = end.min((address & !0x1F_FFFF) + 0x20_0000);
        while address < last {
            let at = entry(table, index(address, 0));
            if at.load(Ordering::Relaxed) != 0 && !with(address, at) {
                return;
            }
            address += PAGE;
        }
    }
}

/// Frees the tables of the user half and the top-level table; nothing may be mapped in it any more. Returns how many.
pub fn free_tables(root: u64) -> u64 {
    fn free_level(table: u64, level: u32, entries: usize) -> u64 {
        let mut freed = 1;
        if level > 0 {
            for at in 0..entries {
                let value = entry(table, at).load(Ordering::Relaxed);
                if value & P != 0 {
                    freed += free_level(value & ADDRESS, level - 1, 512);
                }
            }
        }
        frames::free(table);
        freed
    }
    free_level(root, 3, 256)
}

/// Where an address is mapped: its entry, or the large page's, as (physical address, flags).
pub fn translate(root: u64, address: u64) -> Option<(u64, u64)> {
    let mut table = root;
    for level in [3, 2, 1, 0] {
        let value = entry(table, index(address, level)).load(Ordering::Relaxed);
        if value & P == 0 {
            return None;
        }
        if level == 0 || value & LARGE != 0 {
            let mask = (1u64 << (12 + 9 * level)) - 1;
            return Some(((value & ADDRESS & !mask) | (address & mask), value & !ADDRESS));
        }
        table = value & ADDRESS;
    }
    None
}

/// Loads a top-level table on this processor, if it is not loaded.
pub fn load(root: u64) {
    let me = percpu::this();
    if me.page_table.load(Ordering::Relaxed) != root {
        load_other(me, root, root);
    }
}

/// Loads a top-level table that is not loaded on this processor, which is `me`: table with identifier, and all of CR3.
#[inline(always)]
pub fn load_other(me: &PerCpu, table: u64, cr3: u64) {
    me.page_table.store(table, Ordering::Relaxed);
    // SAFETY: every root shares the kernel half.
    unsafe { cpu::write_cr3(cr3) };
}
