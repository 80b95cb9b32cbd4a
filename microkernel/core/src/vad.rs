//! The regions of an address space.
//!
//! A sorted list of runs of pages with equal state. Runs made by one allocation share `base`, and their pages
//! together are that allocation's region. Owns no pages: the caller maps and unmaps what the runs say.

use crate::NoMemory;
use alloc::vec::Vec;

/// A run of pages with equal state. Addresses are page-aligned; `end` is exclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<S> {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// First address of the region it belongs to.
    pub base: u64,
    /// Committed; else reserved only.
    pub committed: bool,
    /// PAGE_ protection.
    pub protect: u32,
    /// PAGE_ protection given when the region was made.
    pub initial_protect: u32,
    /// For views: the section, and the offset in it of the region's first page.
    pub view: Option<(S, u64)>,
}

/// See the module head.
pub struct Vads<S> {
    runs: Vec<Run<S>>,
}

impl<S: Clone + PartialEq> Default for Vads<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Clone + PartialEq> Vads<S> {
    /// Nothing is mapped.
    pub const fn new() -> Self {
        Self { runs: Vec::new() }
    }

    /// All runs in order.
    pub fn runs(&self) -> &[Run<S>] {
        &self.runs
    }

    fn index_after(&self, address: u64) -> usize {
        self.runs.partition_point(|run| run.end <= address)
    }

    /// The run that an address lies in.
    pub fn find(&self, address: u64) -> Option<&Run<S>> {
        self.runs.get(self.index_after(address)).filter(|run| run.start <= address)
    }

    /// The first run that ends after an address.
    pub fn next(&self, address: u64) -> Option<&Run<S>> {
        self.runs.get(self.index_after(address))
    }

    /// True when no run touches `start..end`.
    pub fn is_free(&self, start: u64, end: u64) -> bool {
        self.runs.get(self.index_after(start)).is_none_or(|run| run.start >= end)
    }

    /// A free range of `size` bytes within `min..max`, aligned to `align`; lowest, or highest for `top_down`.
    pub fn find_free(&self, size: u64, align: u64, min: u64, max: u64, top_down: bool) -> Option<u64> {
        if size == 0 || size > max - min {
            return None;
        }
        if top_down {
            let mut ceiling = max;
            for run in self.runs.iter().rev() {
                if run.start < ceiling {
                    let start = ceiling.checked_sub(size).map(|s| s & !(align - 1))?;
                    if start >= run.end && start >= min {
                        return Some(start);
                    }
                    ceiling = ceiling.min(run.start);
                }
            }
            let start = ceiling.checked_sub(size)? & !(align - 1);
            (start >= min).then_some(start)
        } else {
            let mut floor = min.next_multiple_of(align);
            for run in &self.runs {
                if run.end <= floor {
                    continue;
                }
                if floor.checked_add(size)? <= run.start {
                    break;
                }
                floor = run.end.next_multiple_of(align);
            }
            (floor.checked_add(size)? <= max).then_some(floor)
        }
    }

    /// Adds a region; the range must be free. Makes room for later splits of it too.
    pub fn insert(&mut self, run: Run<S>) -> Result<(), NoMemory> {
        self.runs.try_reserve(1).map_err(|_| NoMemory)?;
        let at = self.index_after(run.start);
        self.runs.insert(at, run);
        Ok(())
    }

    /// First and last address (exclusive) of the region with this base.
    pub fn region(&self, base: u64) -> Option<(u64, u64)> {
        let first = self.index_after(base);
        let start = self.runs.get(first).filter(|run| run.base == base && run.start == base)?.start;
        let end = self.runs[first..].iter().take_while(|run| run.base == base).last()?.end;
        Some((start, end))
    }

    fn split_at(&mut self, address: u64) {
        let at = self.index_after(address);
        if let Some(run) = self.runs.get(at).filter(|run| run.start < address) {
            let mut upper = run.clone();
            upper.start = address;
            self.runs[at].end = address;
            self.runs.insert(at + 1, upper);
        }
    }

    /// True when `start..end` lies within one region (without holes).
    pub fn within_one_region(&self, start: u64, end: u64) -> bool {
        let Some(run) = self.find(start) else { return false };
        self.region(run.base).is_some_and(|(_, region_end)| end <= region_end)
    }

    /// Changes every run in `start..end`, which must lie within one region; splits and merges as needed.
    pub fn change(
        &mut self,
        start: u64,
        end: u64,
        mut with: impl FnMut(&mut Run<S>),
    ) -> Result<(), NoMemory> {
        self.runs.try_reserve(2).map_err(|_| NoMemory)?;
        self.split_at(start);
        self.split_at(end);
        let mut at = self.index_after(start);
        while let Some(run) = self.runs.get_mut(at).filter(|run| run.start < end) {
            with(run);
            at += 1;
        }
        self.merge(start, end);
        Ok(())
    }

    fn merge(&mut self, start: u64, end: u64) {
        let mut at = self.index_after(start.saturating_sub(1)).saturating_sub(1);
        while at + 1 < self.runs.len() && self.runs[at].start <= end {
            let (a, b) = (&self.runs[at], &self.runs[at + 1]);
            if a.end == b.start
                && a.base == b.base
                && a.committed == b.committed
                && a.protect == b.protect
                && a.initial_protect == b.initial_protect
                && a.view == b.view
            {
                self.runs[at].end = self.runs[at + 1].end;
                self.runs.remove(at + 1);
            } else {
                at += 1;
            }
        }
    }

    /// Changes the protection of the whole region with this base. Needs no memory.
    pub fn protect_region(&mut self, base: u64, protect: u32) {
        let first = self.index_after(base);
        for run in self.runs[first..].iter_mut().take_while(|run| run.base == base) {
            run.protect = protect;
        }
    }

    /// Takes the region with this base out and returns its runs' sections (for the caller to drop).
    pub fn remove_region(&mut self, base: u64) -> Option<(u64, u64)> {
        let bounds = self.region(base)?;
        self.runs.retain(|run| run.base != base);
        Some(bounds)
    }

    /// Takes the whole list.
    pub fn take(&mut self) -> Vec<Run<S>> {
        core::mem::take(&mut self.runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(start: u64, end: u64) -> Run<u8> {
        Run { start, end, base: start, committed: false, protect: 4, initial_protect: 4, view: None }
    }

    #[test]
    fn finds_free_ranges_both_ways() {
        let mut v = Vads::new();
        v.insert(run(0x3000, 0x5000)).unwrap();
        v.insert(run(0x8000, 0x9000)).unwrap();
        assert_eq!(v.find_free(0x2000, 0x1000, 0x1000, 0x10000, false), Some(0x1000));
        assert_eq!(v.find_free(0x3000, 0x1000, 0x1000, 0x10000, false), Some(0x5000));
        assert_eq!(v.find_free(0x4000, 0x1000, 0x1000, 0x10000, false), Some(0x9000));
        assert_eq!(v.find_free(0x8000, 0x1000, 0x1000, 0x10000, false), None);
        assert_eq!(v.find_free(0x7000, 0x1000, 0x1000, 0x10000, true), Some(0x9000));
        assert_eq!(v.find_free(0x3000, 0x1000, 0x1000, 0xA000, true), Some(0x5000));
        assert_eq!(v.find_free(0x1000, 0x1000, 0x1000, 0xA000, true), Some(0x9000));
        assert!(v.is_free(0x5000, 0x8000) && !v.is_free(0x5000, 0x8001) && !v.is_free(0x4FFF, 0x5001));
    }

    #[test]
    fn splits_and_merges() {
        let mut v = Vads::new();
        v.insert(run(0x10000, 0x20000)).unwrap();
        v.change(0x12000, 0x14000, |r| r.committed = true).unwrap();
        assert_eq!(v.runs().len(), 3);
        assert_eq!(v.region(0x10000), Some((0x10000, 0x20000)));
        assert!(v.within_one_region(0x11000, 0x20000) && !v.within_one_region(0x11000, 0x20001));
        v.change(0x12000, 0x14000, |r| r.committed = false).unwrap();
        assert_eq!(v.runs(), &[run(0x10000, 0x20000)]);
        assert_eq!(v.remove_region(0x10000), Some((0x10000, 0x20000)));
        assert!(v.runs().is_empty());
    }

    #[test]
    fn a_whole_region_is_protected_and_no_other() {
        let mut v = Vads::new();
        v.insert(run(0x10000, 0x14000)).unwrap();
        v.insert(run(0x14000, 0x16000)).unwrap();
        v.change(0x11000, 0x12000, |r| r.committed = true).unwrap();
        v.protect_region(0x10000, 2);
        assert!(v.runs().iter().all(|r| r.protect == if r.base == 0x10000 { 2 } else { 4 }));
        v.protect_region(0x12000, 1);
        assert!(v.runs().iter().all(|r| r.protect != 1), "no region begins there");
    }

    const PAGE: u64 = 0x1000;
    const PAGES: u64 = 48;

    /// The first or last place where a range fits, by trying all.
    fn fits(used: &[Option<u64>], size: u64, align: u64, min: u64, max: u64, top_down: bool) -> Option<u64> {
        let mut places = (min..max).filter(|start| {
            start % align == 0
                && start + size <= max
                && (*start..start + size).all(|page| used.get(page as usize).is_none_or(Option::is_none))
        });
        if top_down { places.next_back() } else { places.next() }
    }

    proptest! {
        /// Regions come and go and change; each page's owner is kept in a plain array.
        #[test]
        fn behaves_like_an_array(
            ops in proptest::collection::vec((0u8..6, 0..PAGES, 1u64..12, 0u32..4, 0..PAGES), 1..80),
        ) {
            let mut v = Vads::new();
            let mut owner = [None; PAGES as usize];
            let mut state = [(false, 4u32); PAGES as usize];
            for (op, page, size, power, other) in ops {
                let (align, top_down) = (1 << power, op % 2 == 0);
                let (min, max) = (page.min(other), page.max(other));
                match op {
                    0 | 1 => {
                        let found = v.find_free(size * PAGE, align * PAGE, min * PAGE, max * PAGE, top_down);
                        let place = fits(&owner, size, align, min, max, top_down);
                        prop_assert_eq!(found, place.map(|p| p * PAGE));
                        if let Some(start) = place {
                            v.insert(run(start * PAGE, (start + size) * PAGE)).unwrap();
                            owner[start as usize..(start + size) as usize].fill(Some(start));
                            state[start as usize..(start + size) as usize].fill((false, 4));
                        }
                    }
                    2 => {
                        let bounds = owner[page as usize].map(|base| {
                            let end = (base..PAGES).find(|p| owner[*p as usize] != Some(base)).unwrap_or(PAGES);
                            (base * PAGE, end * PAGE)
                        });
                        let base = v.find(page * PAGE).map(|run| run.base);
                        prop_assert_eq!(base, owner[page as usize].map(|base| base * PAGE));
                        prop_assert_eq!(base.and_then(|base| v.remove_region(base)), bounds);
                        for slot in owner.iter_mut().filter(|o| o.map(|b| b * PAGE) == base && base.is_some()) {
                            *slot = None;
                        }
                    }
                    _ => {
                        let end = (page + size).min(PAGES);
                        let base = owner[page as usize];
                        let within = base.is_some() && owner[page as usize..end as usize].iter().all(|o| *o == base);
                        prop_assert_eq!(v.within_one_region(page * PAGE, end * PAGE), within);
                        if within {
                            let new = (op == 3, 1 << power);
                            v.change(page * PAGE, end * PAGE, |r| (r.committed, r.protect) = new).unwrap();
                            state[page as usize..end as usize].fill(new);
                        }
                    }
                }
                for (page, base) in owner.iter().enumerate() {
                    let found = v.find(page as u64 * PAGE).map(|r| (r.base, (r.committed, r.protect)));
                    prop_assert_eq!(found, base.map(|base| (base * PAGE, state[page])));
                }
                for pair in v.runs().windows(2) {
                    prop_assert!(pair[0].end <= pair[1].start, "sorted");
                    let same = Run { start: pair[0].start, end: pair[0].end, ..pair[1].clone() };
                    prop_assert!(pair[0] != same, "runs that are equal are one");
                }
                let free = (min..=max).all(|p| owner[p as usize].is_none());
                prop_assert_eq!(v.is_free(min * PAGE, (max + 1) * PAGE), free);
            }
        }

        #[test]
        fn change_is_page_exact(ops in proptest::collection::vec((0u64..64, 1u64..64, any::<bool>()), 1..40)) {
            let mut v = Vads::new();
            let base = 0x40_0000;
            v.insert(run(base, base + 64 * 4096)).unwrap();
            let mut model = [false; 64];
            for (first, count, commit) in ops {
                let last = (first + count).min(64);
                v.change(base + first * 4096, base + last * 4096, |r| r.committed = commit).unwrap();
                model[first as usize..last as usize].fill(commit);
                for (page, want) in model.iter().enumerate() {
                    prop_assert_eq!(v.find(base + page as u64 * 4096).unwrap().committed, *want);
                }
                for pair in v.runs().windows(2) {
                    prop_assert_eq!(pair[0].end, pair[1].start);
                    prop_assert_ne!(pair[0].committed, pair[1].committed, "neighbours merge");
                }
            }
        }
    }
}
