//! Parts of a whole that are taken: which are free is found first-fit.
//!
//! Used for the regions of a port section. Knows offsets and lengths only.

use abi::NtStatus;
use abi::status::{STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MEMORY};
use alloc::vec::Vec;

/// The parts that are taken, sorted by offset.
#[derive(Default)]
pub struct Ranges {
    taken: Vec<(u64, u64)>,
}

impl Ranges {
    /// Nothing is taken.
    pub const fn new() -> Self {
        Self { taken: Vec::new() }
    }

    /// Takes the first free part of `size` within `0..whole`; its offset. Each is given back by itself.
    ///
    /// # Errors
    /// STATUS_NO_MEMORY: no part of that size is free. STATUS_INSUFFICIENT_RESOURCES: no memory to remember it.
    pub fn take(&mut self, size: u64, whole: u64) -> Result<u64, NtStatus> {
        self.taken.try_reserve(1).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let mut offset = 0;
        let mut at = self.taken.len();
        for (index, (start, end)) in self.taken.iter().enumerate() {
            if start - offset >= size {
                at = index;
                break;
            }
            offset = *end;
        }
        let end = offset.checked_add(size).filter(|end| *end <= whole).ok_or(STATUS_NO_MEMORY)?;
        self.taken.insert(at, (offset, end));
        Ok(offset)
    }

    /// Gives the part at this offset back.
    pub fn give_back(&mut self, offset: u64) {
        if let Ok(at) = self.taken.binary_search_by_key(&offset, |(start, _)| *start) {
            self.taken.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_gap_is_taken() {
        let mut ranges = Ranges::new();
        assert_eq!(ranges.take(4, 10), Ok(0));
        assert_eq!(ranges.take(4, 10), Ok(4));
        assert_eq!(ranges.take(4, 10), Err(STATUS_NO_MEMORY));
        assert_eq!(ranges.take(2, 10), Ok(8));
        ranges.give_back(0);
        assert_eq!(ranges.take(5, 10), Err(STATUS_NO_MEMORY));
        assert_eq!(ranges.take(3, 10), Ok(0));
        assert_eq!(ranges.take(u64::MAX, 10), Err(STATUS_NO_MEMORY));
    }

    proptest! {
        #[test]
        fn parts_never_overlap(ops in proptest::collection::vec((any::<bool>(), 1u64..8, 0usize..8), 0..100)) {
            let mut ranges = Ranges::new();
            let mut owner = [None; 24];
            let mut taken = Vec::new();
            for (n, (take, size, which)) in ops.into_iter().enumerate() {
                if take {
                    let fits = (0..24u64).find(|at| {
                        at + size <= 24 && owner[*at as usize..(at + size) as usize].iter().all(Option::is_none)
                    });
                    prop_assert_eq!(ranges.take(size, 24).ok(), fits);
                    if let Some(at) = fits {
                        owner[at as usize..(at + size) as usize].fill(Some(n));
                        taken.push((at, n));
                    }
                } else if !taken.is_empty() {
                    let (at, n) = taken.swap_remove(which % taken.len());
                    ranges.give_back(at);
                    owner.iter_mut().filter(|o| **o == Some(n)).for_each(|o| *o = None);
                }
            }
        }
    }
}
