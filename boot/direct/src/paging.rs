//! 4-level page tables, over any supply of frames.

use crate::{Error, PAGE};

/// The entry is valid.
const PRESENT: u64 = 1;
/// The page may be written.
pub const WRITE: u64 = 1 << 1;
/// The entry maps a page rather than naming the next table.
const LARGE: u64 = 1 << 7;
/// The page may not be executed.
pub const NO_EXECUTE: u64 = 1 << 63;
/// The address in an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// A page table.
pub type Table = [u64; 512];

/// Where tables come from, and how to reach one by its physical address.
pub trait Frames {
    /// A new table, all zero.
    fn new_table(&mut self) -> Result<u64, Error>;
    /// The table at this address, which `new_table` gave.
    fn table(&mut self, address: u64) -> &mut Table;
}

/// The three page sizes; the number is how many levels of tables lie below the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// 4 KiB.
    Page = 0,
    /// 2 MiB.
    Large = 1,
    /// 1 GiB: not on every processor.
    Huge = 2,
}

impl Size {
    /// Bytes in a page of this size.
    pub fn bytes(self) -> u64 {
        PAGE << (9 * self as u64)
    }
}

/// A tree of page tables.
#[derive(Clone, Copy, Debug)]
pub struct AddressSpace {
    /// Physical address of the top table.
    pub root: u64,
}

impl AddressSpace {
    /// An address space with nothing in it.
    pub fn new(frames: &mut impl Frames) -> Result<AddressSpace, Error> {
        Ok(AddressSpace { root: frames.new_table()? })
    }

    /// Maps one page, unless a larger page already covers that address.
    pub fn map(
        &self,
        frames: &mut impl Frames,
        address: u64,
        frame: u64,
        size: Size,
        flags: u64,
    ) -> Result<(), Error> {
        let mut table = self.root;
        for level in (size as u64 + 1..=3).rev() {
            let index = index(address, level);
            let entry = frames.table(table)[index];
            if entry & LARGE != 0 {
                return Ok(());
            }
            let mut next = entry & ADDRESS;
            if entry & PRESENT == 0 {
                next = frames.new_table()?;
                // The last level alone decides on rights.
                frames.table(table)[index] = next | WRITE | PRESENT;
            }
            table = next;
        }
        let large = if size == Size::Page { 0 } else { LARGE };
        frames.table(table)[index(address, size as u64)] = frame | flags | large | PRESENT;
        Ok(())
    }

    /// Maps `base..end` at `offset` above itself, writable and executable, in pages no larger than
    /// `largest` and no smaller than 2 MiB: the ends round outwards.
    pub fn map_direct(
        &self,
        frames: &mut impl Frames,
        offset: u64,
        base: u64,
        end: u64,
        largest: Size,
    ) -> Result<(), Error> {
        let mut at = base - base % Size::Large.bytes();
        while at < end {
            let huge = largest == Size::Huge
                && at.is_multiple_of(Size::Huge.bytes())
                && end - at >= Size::Huge.bytes();
            let size = if huge { Size::Huge } else { Size::Large };
            self.map(frames, offset + at, at, size, WRITE)?;
            at += size.bytes();
        }
        Ok(())
    }

    /// Makes the lowest 512 GiB of addresses show what the 512 GiB from `from` show.
    pub fn mirror_low(&self, frames: &mut impl Frames, from: u64) {
        let table = frames.table(self.root);
        table[0] = table[index(from, 3)];
    }
}

/// The entry for `address` in its table of this level, counted from the page upwards.
fn index(address: u64, level: u64) -> usize {
    (address >> (12 + 9 * level)) as usize & 511
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HHDM;
    use std::vec::Vec;

    /// Table `n` has the address `n` pages.
    struct Heap(Vec<Table>);

    impl Frames for Heap {
        fn new_table(&mut self) -> Result<u64, Error> {
            self.0.push([0; 512]);
            Ok((self.0.len() - 1) as u64 * PAGE)
        }
        fn table(&mut self, address: u64) -> &mut Table {
            &mut self.0[(address / PAGE) as usize]
        }
    }

    /// Walks as the processor does: the address's frame and the last entry's flags.
    fn walk(heap: &mut Heap, space: &AddressSpace, address: u64) -> Option<(u64, u64)> {
        let mut table = space.root;
        for level in (0..=3u64).rev() {
            let entry = heap.table(table)[index(address, level)];
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || entry & LARGE != 0 {
                let mask = (PAGE << (9 * level)) - 1;
                let flags = entry & (WRITE | NO_EXECUTE);
                return Some(((entry & ADDRESS & !mask) | (address & mask), flags));
            }
            table = entry & ADDRESS;
        }
        None
    }

    #[test]
    fn small_pages_have_their_own_rights() {
        let mut heap = Heap(Vec::new());
        let space = AddressSpace::new(&mut heap).unwrap();
        let kernel = 0xffff_ffff_8000_0000;
        space.map(&mut heap, kernel, 0x7000, Size::Page, 0).unwrap();
        space.map(&mut heap, kernel + PAGE, 0x3000, Size::Page, WRITE | NO_EXECUTE).unwrap();
        assert_eq!(walk(&mut heap, &space, kernel + 5), Some((0x7005, 0)));
        assert_eq!(walk(&mut heap, &space, kernel + PAGE), Some((0x3000, WRITE | NO_EXECUTE)));
        assert_eq!(walk(&mut heap, &space, kernel + 2 * PAGE), None);
        assert_eq!(heap.0.len(), 4);
    }

    #[test]
    fn direct_map_uses_the_largest_pages_that_fit() {
        for largest in [Size::Large, Size::Huge] {
            let mut heap = Heap(Vec::new());
            let space = AddressSpace::new(&mut heap).unwrap();
            space.map_direct(&mut heap, HHDM, 0, 1 << 32, largest).unwrap();
            // Below 4 GiB it is mapped already; above, the end rounds up to 2 MiB.
            space.map_direct(&mut heap, HHDM, 0x1000, 0x9_f000, largest).unwrap();
            space.map_direct(&mut heap, HHDM, 1 << 32, (6 << 30) + PAGE, largest).unwrap();
            for at in [0, 0x1234, (1 << 32) - 1, 1 << 32, (6 << 30) + 0x1f_ffff] {
                assert_eq!(walk(&mut heap, &space, HHDM + at), Some((at, WRITE)), "{at:x}");
            }
            assert_eq!(walk(&mut heap, &space, HHDM + (6 << 30) + 0x20_0000), None);
            assert_eq!(walk(&mut heap, &space, 0x1234), None);
            space.mirror_low(&mut heap, HHDM);
            assert_eq!(walk(&mut heap, &space, 0x1234), Some((0x1234, WRITE)));
            assert_eq!(heap.0.len(), if largest == Size::Huge { 3 } else { 9 });
        }
    }
}
