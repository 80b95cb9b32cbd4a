//! Which page frames are free: a bitmap with one summary bit per 64 frames.
//!
//! Owns only the bookkeeping; the caller provides the storage (found before any allocator runs) and the memory.
//! Frames are numbers: physical address divided by the page size.

/// See the module head. A set bit is a free frame.
pub struct Frames<'a> {
    bits: &'a mut [u64],
    summary: &'a mut [u64],
    free: usize,
    total: usize,
    hint: usize,
}

/// 64-bit words of bitmap for frames below `limit`.
pub const fn bitmap_words(limit: usize) -> usize {
    limit.div_ceil(64)
}

/// 64-bit words of summary for frames below `limit`.
pub const fn summary_words(limit: usize) -> usize {
    bitmap_words(limit).div_ceil(64)
}

impl<'a> Frames<'a> {
    /// All frames in use. `bits` and `summary` must be zero and have the lengths of [`bitmap_words`] and
    /// [`summary_words`].
    pub fn new(bits: &'a mut [u64], summary: &'a mut [u64]) -> Self {
        Self { bits, summary, free: 0, total: 0, hint: 0 }
    }

    /// Frames free.
    pub const fn free_count(&self) -> usize {
        self.free
    }

    /// Frames ever added.
    pub const fn total(&self) -> usize {
        self.total
    }

    fn is_free(&self, frame: usize) -> bool {
        self.bits.get(frame / 64).is_some_and(|word| word >> (frame % 64) & 1 == 1)
    }

    /// Adds frames `first..first + count`; those outside the bitmap are left out.
    pub fn add(&mut self, first: usize, count: usize) {
        let end = (first + count).min(self.bits.len() * 64);
        let mut frame = first;
        while frame < end {
            if frame.is_multiple_of(64) && end - frame >= 64 && self.bits[frame / 64] == 0 {
                self.bits[frame / 64] = u64::MAX;
                self.summary[frame / 4096] |= 1 << (frame / 64 % 64);
                self.free += 64;
                self.total += 64;
                frame += 64;
                continue;
            }
            if !self.is_free(frame) {
                self.set_free(frame);
                self.total += 1;
            }
            frame += 1;
        }
    }

    fn set_free(&mut self, frame: usize) {
        self.bits[frame / 64] |= 1 << (frame % 64);
        self.summary[frame / 4096] |= 1 << (frame / 64 % 64);
        self.free += 1;
    }

    fn set_used(&mut self, frame: usize) {
        let word = &mut self.bits[frame / 64];
        *word &= !(1 << (frame % 64));
        if *word == 0 {
            self.summary[frame / 4096] &= !(1 << (frame / 64 % 64));
        }
        self.free -= 1;
    }

    /// Takes a free frame.
    pub fn alloc(&mut self) -> Option<usize> {
        if self.free == 0 {
            return None;
        }
        let words = self.summary.len();
        for step in 0..words {
            let at = (self.hint + step) % words;
            let summary = self.summary[at];
            if summary != 0 {
                let word = at * 64 + summary.trailing_zeros() as usize;
                let frame = word * 64 + self.bits[word].trailing_zeros() as usize;
                self.hint = at;
                self.set_used(frame);
                return Some(frame);
            }
        }
        None
    }

    /// Takes `count` free frames in a row, the first a multiple of `align`.
    pub fn alloc_contiguous(&mut self, count: usize, align: usize) -> Option<usize> {
        if count == 1 && align <= 1 {
            return self.alloc();
        }
        if count == 0 || count > self.free {
            return None;
        }
        let limit = self.bits.len() * 64;
        let align = align.max(1);
        let mut first = 0;
        'search: while first + count <= limit {
            if first % 4096 == 0 && self.summary[first / 4096] == 0 {
                first = (first + 4096).next_multiple_of(align);
                continue;
            }
            for frame in (first..first + count).rev() {
                if !self.is_free(frame) {
                    first = (frame + 1).next_multiple_of(align);
                    continue 'search;
                }
            }
            for frame in first..first + count {
                self.set_used(frame);
            }
            return Some(first);
        }
        None
    }

    /// Gives a frame back. `false` (and no change) if it was free already or is no frame.
    #[must_use]
    pub fn release(&mut self, frame: usize) -> bool {
        if frame / 64 >= self.bits.len() || self.is_free(frame) {
            return false;
        }
        self.set_free(frame);
        self.hint = self.hint.min(frame / 4096);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn exhausts_and_refills() {
        let (mut bits, mut summary) = (vec![0; bitmap_words(300)], vec![0; summary_words(300)]);
        let mut frames = Frames::new(&mut bits, &mut summary);
        frames.add(3, 250);
        let taken: BTreeSet<_> = std::iter::from_fn(|| frames.alloc()).collect();
        assert_eq!(taken, (3..253).collect());
        assert!(frames.release(100));
        assert!(!frames.release(100), "double free is refused");
        assert!(!frames.release(1 << 40));
        assert_eq!(frames.alloc(), Some(100));
        assert_eq!(frames.free_count(), 0);
        assert_eq!(frames.total(), 250);
    }

    #[test]
    fn skipping_used_frames_keeps_the_alignment() {
        const LIMIT: usize = 5 * 4096;
        for align in [8192, 3, 5] {
            let (mut bits, mut summary) = (vec![0; bitmap_words(LIMIT)], vec![0; summary_words(LIMIT)]);
            let mut frames = Frames::new(&mut bits, &mut summary);
            frames.add(4096, 4 * 4096);
            let first = frames.alloc_contiguous(2, align).unwrap();
            assert_eq!((first, first % align), (4096usize.next_multiple_of(align), 0));
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(ops in proptest::collection::vec((0u8..4, any::<u16>()), 0..300)) {
            const LIMIT: usize = 9000;
            let (mut bits, mut summary) = (vec![0; bitmap_words(LIMIT)], vec![0; summary_words(LIMIT)]);
            let mut frames = Frames::new(&mut bits, &mut summary);
            frames.add(100, 4000);
            frames.add(4200, 4500);
            let mut model: BTreeSet<usize> = (100..4100).chain(4200..8700).collect();
            let mut taken = Vec::new();
            for (op, n) in ops {
                let n = usize::from(n);
                match op {
                    0 => {
                        let frame = frames.alloc().unwrap();
                        prop_assert!(model.remove(&frame));
                        taken.push(frame);
                    }
                    1 => {
                        let (count, align) = (n % 600 + 1, 1 << (n % 14));
                        if let Some(first) = frames.alloc_contiguous(count, align) {
                            prop_assert_eq!(first % align, 0);
                            for frame in first..first + count {
                                prop_assert!(model.remove(&frame));
                                taken.push(frame);
                            }
                        } else {
                            let fits = (0..LIMIT - count).step_by(align).any(|f| (f..f + count).all(|x| model.contains(&x)));
                            prop_assert!(!fits);
                        }
                    }
                    _ if !taken.is_empty() => {
                        let frame = taken.swap_remove(n % taken.len());
                        prop_assert!(frames.release(frame));
                        model.insert(frame);
                    }
                    _ => {}
                }
                prop_assert_eq!(frames.free_count(), model.len());
            }
        }
    }
}
