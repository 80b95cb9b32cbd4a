//! Reading memory that may not be there: of the kernel, of a process, physical.
//!
//! Addresses are translated by walking the page tables and read through the direct map, so nothing can fault. Only RAM is
//! read; device registers may change when they are read. What is read may change meanwhile: it is only shown.

use crate::arch::paging;
use crate::boot;
use crate::mm::{self, phys_to_virt};

/// Lowest address that can be the kernel's.
pub const KERNEL_START: u64 = 0xFFFF_8000_0000_0000;
const PAGE: u64 = paging::PAGE;

fn is_canonical(address: u64) -> bool {
    (address << 16).cast_signed() >> 16 == address.cast_signed()
}

/// True when a physical address is RAM that the direct map shows.
fn is_ram(physical: u64) -> bool {
    boot::overlaps_ram(physical, 1) && mm::is_mapped(physical, 1)
}

/// Copies physical memory; gives the number of bytes up to the first page that cannot be read.
pub fn read_physical(physical: u64, to: &mut [u8]) -> usize {
    read_with(physical, to, Some)
}

/// Copies memory at a virtual address of the tables `root`; gives the number of bytes up to the first page that cannot be
/// read. The tables stay as they are meanwhile: they are the kernel's own, those of a space whose lock is held, or the
/// system is stopped.
pub fn read(root: u64, address: u64, to: &mut [u8]) -> usize {
    read_with(address, to, |address| {
        is_canonical(address).then(|| paging::translate(root, address)).flatten().map(|(at, _)| at)
    })
}

fn read_with(address: u64, to: &mut [u8], translate: impl Fn(u64) -> Option<u64>) -> usize {
    let mut done = 0;
    while done < to.len() {
        let Some(at) = address.checked_add(done as u64) else { break };
        let Some(physical) = translate(at).filter(|physical| is_ram(*physical)) else { break };
        let count = (to.len() - done).min((PAGE - at % PAGE) as usize);
        let from = phys_to_virt(physical);
        for (offset, byte) in to[done..done + count].iter_mut().enumerate() {
            // SAFETY: RAM that the direct map shows for good, within one page. Others may write it meanwhile, so each byte is
            // read once, as volatile.
            *byte = unsafe { from.add(offset).read_volatile() };
        }
        done += count;
    }
    done
}

/// A word at a virtual address, if it is there.
pub fn read_word(root: u64, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    (read(root, address, &mut bytes) == 8).then(|| u64::from_le_bytes(bytes))
}
