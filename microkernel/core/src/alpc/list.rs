//! Completion lists: how a region of user memory is divided, and which of its blocks are out.
//!
//! A list is a ring of entries, each the number of a block's first granule; a bitmap with a bit per granule, set for
//! the first granule of each block that is out; and the granules, which hold messages. Everything here is the
//! kernel's own: what the region says is only looked at for bits that the user has cleared, and a bit that is not a
//! block's first means nothing.

use abi::alpc::header_size;
use abi::completion::{COMPLETION_LIST_GRANULE, COMPLETION_LIST_HEADER_SIZE};
use alloc::vec::Vec;

use crate::NoMemory;
use crate::granules::Granules;

/// Smallest region.
pub const SMALLEST: u32 = 0x1000;
/// Largest region.
pub const LARGEST: u32 = 1 << 20;
/// Fewest bytes of data that a region must have room for.
const LEAST_DATA: u32 = 0x400;

/// Where the parts of a region lie, in bytes from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Size of all.
    pub total_size: u32,
    /// Entries, 4 bytes each.
    pub list_offset: u32,
    /// Bytes of the entries.
    pub list_size: u32,
    /// Bitmap, in words of 8 bytes.
    pub bitmap_offset: u32,
    /// Bytes of the bitmap.
    pub bitmap_size: u32,
    /// Granules.
    pub data_offset: u32,
    /// Bytes of the granules.
    pub data_size: u32,
    /// Bytes of attributes before each message.
    pub attribute_size: u32,
}

impl Layout {
    /// The parts of a region of this size whose messages carry these attributes. `None` when the size is not one.
    pub fn of(total_size: u32, attribute_flags: u32) -> Option<Self> {
        if !(SMALLEST..=LARGEST).contains(&total_size) {
            return None;
        }
        let attribute_size = if attribute_flags == 0 { 0 } else { header_size(attribute_flags) as u32 };
        let room = total_size - COMPLETION_LIST_HEADER_SIZE;
        // Each granule takes itself, an entry and a bit; a granule is lost to the bitmap's last word and to alignment.
        let granules =
            ((room - 2 * COMPLETION_LIST_GRANULE) * 8 / (COMPLETION_LIST_GRANULE * 8 + 4 * 8 + 1)) & !1;
        let list_offset = COMPLETION_LIST_HEADER_SIZE;
        let list_size = granules * 4;
        let bitmap_offset = list_offset + list_size;
        let bitmap_size = granules.div_ceil(64) * 8;
        let data_offset = (bitmap_offset + bitmap_size).next_multiple_of(COMPLETION_LIST_GRANULE);
        let data_size = granules * COMPLETION_LIST_GRANULE;
        let fits = data_size >= LEAST_DATA && data_offset + data_size <= total_size;
        fits.then_some(Self {
            total_size,
            list_offset,
            list_size,
            bitmap_offset,
            bitmap_size,
            data_offset,
            data_size,
            attribute_size: attribute_size.next_multiple_of(8),
        })
    }

    /// Entries of the ring.
    pub const fn entries(&self) -> u32 {
        self.list_size / 4
    }

    /// Granules of data.
    pub const fn granules(&self) -> u32 {
        self.data_size / COMPLETION_LIST_GRANULE
    }
}

/// The blocks of a region.
pub struct Blocks {
    granules: Granules,
    /// Most blocks out: one entry of the ring stays empty.
    most: usize,
    /// First granule and count of each block that is out.
    out: Vec<(u32, u32)>,
}

impl Blocks {
    /// None out. All memory that it ever needs.
    pub fn new(layout: &Layout) -> Result<Self, NoMemory> {
        let mut out = Vec::new();
        let most = layout.entries() as usize - 1;
        out.try_reserve_exact(most).map_err(|_| NoMemory)?;
        Ok(Self { granules: Granules::new(layout.granules())?, most, out })
    }

    /// Kernel memory of the blocks of such a region.
    pub const fn bytes(layout: &Layout) -> u64 {
        Granules::bytes(layout.granules()) + layout.entries() as u64 * 8
    }

    /// Takes a block of so many bytes; its first granule.
    pub fn take(&mut self, bytes: usize) -> Option<u32> {
        let count = u32::try_from(bytes).ok()?.div_ceil(COMPLETION_LIST_GRANULE).max(1);
        if self.out.len() >= self.most {
            return None;
        }
        let first = self.granules.take(count)?;
        self.out.push((first, count));
        Some(first)
    }

    /// Gives the block that was taken last back.
    pub fn untake(&mut self) {
        if let Some((first, count)) = self.out.pop() {
            self.granules.untake(first, count);
        }
    }

    /// Takes back every block whose bit in the region's bitmap is clear.
    pub fn reclaim(&mut self, bitmap: &[u8]) {
        let mut at = 0;
        while let Some(&(first, count)) = self.out.get(at) {
            let kept = bitmap.get(first as usize / 8).is_some_and(|byte| byte >> (first % 8) & 1 == 1);
            if kept {
                at += 1;
            } else {
                self.granules.give_back(first, count);
                self.out.swap_remove(at);
            }
        }
    }

    /// Blocks that are out.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layouts_fill_their_regions_without_overlap() {
        for size in (SMALLEST..=LARGEST).step_by(64) {
            let l = Layout::of(size, 0xFE00_0000).unwrap();
            assert_eq!(l.attribute_size, 0xA0);
            assert!(l.list_offset >= 0x300 && l.bitmap_offset >= l.list_offset + l.list_size);
            assert!(l.bitmap_offset.is_multiple_of(8) && l.data_offset.is_multiple_of(64));
            assert!(l.data_offset >= l.bitmap_offset + l.bitmap_size);
            assert!(l.bitmap_size * 8 >= l.granules() && l.entries() == l.granules());
            assert!(l.data_offset + l.data_size <= size);
            assert!(size - l.data_offset - l.data_size < 4 * 64 + 64, "little is wasted");
        }
        assert_eq!(Layout::of(SMALLEST - 1, 0), None);
        assert_eq!(Layout::of(LARGEST + 1, 0), None);
        assert_eq!(Layout::of(SMALLEST, 0).unwrap().attribute_size, 0);
    }

    fn bits(layout: &Layout) -> Vec<u8> {
        vec![0; layout.bitmap_size as usize]
    }

    #[test]
    fn blocks_come_back_when_their_first_bit_is_clear() {
        let layout = Layout::of(SMALLEST, 0).unwrap();
        let mut blocks = Blocks::new(&layout).unwrap();
        let (a, b) = (blocks.take(65).unwrap(), blocks.take(1).unwrap());
        assert_eq!((a, b), (0, 2));
        let mut map = bits(&layout);
        map[0] = 0b101;
        blocks.reclaim(&map);
        assert_eq!(blocks.len(), 2);
        // The second granule of the first block means nothing.
        map[0] = 0b110;
        blocks.reclaim(&map);
        assert_eq!(blocks.len(), 1);
        assert_eq!(blocks.take(layout.data_size as usize), None);
        blocks.reclaim(&bits(&layout));
        assert!(blocks.is_empty());
        assert_eq!(blocks.take(layout.data_size as usize), Some(0));
        blocks.untake();
        assert!(blocks.is_empty());
        assert_eq!(blocks.take(layout.data_size as usize + 1), None);
    }

    #[test]
    fn an_entry_stays_empty() {
        let layout = Layout::of(SMALLEST, 0).unwrap();
        let mut blocks = Blocks::new(&layout).unwrap();
        let taken = (0..).take_while(|_| blocks.take(0).is_some()).count();
        assert_eq!(taken as u32, layout.entries() - 1);
    }

    proptest! {
        /// Whatever is taken and given back, blocks do not overlap and nothing is lost.
        #[test]
        fn blocks_never_overlap(steps in proptest::collection::vec((0usize..600, any::<u64>()), 1..200)) {
            let layout = Layout::of(0x2000, 0).unwrap();
            let mut blocks = Blocks::new(&layout).unwrap();
            let mut map = bits(&layout);
            for (bytes, noise) in steps {
                if let Some(first) = blocks.take(bytes) {
                    map[first as usize / 8] |= 1 << (first % 8);
                }
                // Random bits cleared: those blocks come back. Random bits set: nothing.
                let at = noise as usize % map.len();
                map[at] &= (noise >> 32) as u8;
                blocks.reclaim(&map);
                let mut seen = vec![false; layout.granules() as usize];
                for &(first, count) in &blocks.out {
                    assert!(map[first as usize / 8] >> (first % 8) & 1 == 1);
                    for granule in first..first + count {
                        assert!(!core::mem::replace(&mut seen[granule as usize], true));
                    }
                }
                for (granule, used) in seen.iter().enumerate() {
                    assert_eq!(blocks.granules.is_taken(granule as u32), *used);
                }
            }
        }
    }
}
