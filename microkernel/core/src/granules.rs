//! Which granules of a region are taken: the blocks of completion lists and of message zones.
//!
//! Owns the account alone, a bit for each granule; what a granule is, and where, is the caller's.

use crate::NoMemory;
use alloc::vec::Vec;

/// See the module head.
pub struct Granules {
    count: u32,
    used: Vec<u64>,
    /// Where to look first.
    cursor: u32,
}

impl Granules {
    /// `count` free granules. Takes all memory that it ever needs.
    pub fn new(count: u32) -> Result<Self, NoMemory> {
        let words = count.div_ceil(64) as usize;
        let mut used = Vec::new();
        used.try_reserve_exact(words).map_err(|_| NoMemory)?;
        used.resize(words, 0);
        Ok(Self { count, used, cursor: 0 })
    }

    /// Memory of the account of so many granules, in bytes.
    pub const fn bytes(count: u32) -> u64 {
        count.div_ceil(64) as u64 * 8
    }

    /// The first granule at or after `at` and before `end` that is taken, or that is free; `end` if there is none.
    fn next(&self, mut at: u32, end: u32, taken: bool) -> u32 {
        while at < end {
            let word = self.used[at as usize / 64];
            let rest = if taken { word } else { !word } >> (at % 64);
            if rest != 0 {
                return end.min(at + rest.trailing_zeros());
            }
            at = (at / 64 + 1) * 64;
        }
        end
    }

    /// First granule of `count` free ones in a row at or after `from`.
    fn find(&self, count: u32, from: u32) -> Option<u32> {
        let mut at = from;
        while at.checked_add(count)? <= self.count {
            let stop = self.next(at, at + count, true);
            if stop == at + count {
                return Some(at);
            }
            at = self.next(stop, self.count, false);
        }
        None
    }

    fn mark(&mut self, first: u32, count: u32, taken: bool) {
        for granule in first..first + count {
            let word = &mut self.used[granule as usize / 64];
            let bit = 1 << (granule % 64);
            *word = if taken { *word | bit } else { *word & !bit };
        }
    }

    /// Takes `count` granules in a row, at least one; the first of them.
    pub fn take(&mut self, count: u32) -> Option<u32> {
        let first = self.find(count, self.cursor).or_else(|| self.find(count, 0))?;
        self.mark(first, count, true);
        self.cursor = first + count;
        Some(first)
    }

    /// Gives granules back that were taken.
    pub fn give_back(&mut self, first: u32, count: u32) {
        self.mark(first, count, false);
    }

    /// Gives granules back that were taken last, to be taken next.
    pub fn untake(&mut self, first: u32, count: u32) {
        self.mark(first, count, false);
        self.cursor = first;
    }

    /// How many there are.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// True when one is taken. `granule` is less than [`Granules::count`].
    pub fn is_taken(&self, granule: u32) -> bool {
        self.used[granule as usize / 64] >> (granule % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_can_be_taken_and_no_more() {
        let mut granules = Granules::new(130).unwrap();
        assert_eq!(granules.take(131), None);
        assert_eq!(granules.take(130), Some(0));
        assert_eq!(granules.take(1), None);
        granules.give_back(63, 3);
        assert_eq!(granules.take(4), None);
        assert_eq!(granules.take(3), Some(63));
        granules.untake(63, 3);
        assert_eq!(granules.take(1), Some(63), "what was taken last is taken next");
        assert_eq!(granules.take(u32::MAX), None);
    }

    proptest! {
        /// A row is found whenever there is one, and never one of which a granule is taken.
        #[test]
        fn behaves_like_an_array(count in 1u32..300, steps in proptest::collection::vec((1u32..80, any::<u32>()), 1..120)) {
            let mut granules = Granules::new(count).unwrap();
            let mut taken = vec![false; count as usize];
            let mut out = Vec::new();
            for (wanted, choice) in steps {
                if choice % 3 == 0 && !out.is_empty() {
                    let (first, wanted) = out.swap_remove(choice as usize % out.len());
                    granules.give_back(first, wanted);
                    taken[first as usize..(first + wanted) as usize].fill(false);
                    continue;
                }
                let fits = taken.windows(wanted as usize).any(|row| row.iter().all(|taken| !taken));
                let found = granules.take(wanted);
                prop_assert_eq!(found.is_some(), fits);
                if let Some(first) = found {
                    let row = &mut taken[first as usize..(first + wanted) as usize];
                    prop_assert!(row.iter().all(|taken| !taken));
                    row.fill(true);
                    out.push((first, wanted));
                }
                for (granule, taken) in taken.iter().enumerate() {
                    prop_assert_eq!(granules.is_taken(granule as u32), *taken);
                }
            }
        }
    }
}
