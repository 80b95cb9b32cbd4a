//! The memory map: what the firmware said, made sorted, page-aligned and free of overlap; and memory
//! taken from it.
//!
//! The map always covers what it covered at first: taking memory changes a range's kind, never its
//! presence. Two neighbours never have the same kind, so a map taken from at one end stays short.

use crate::{Error, PAGE};
use heapless::Vec;

/// The most regions a map holds.
pub const CAPACITY: usize = 256;

/// What a range of physical memory is for. The numbers are the Limine protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Kind {
    /// Free for the kernel.
    Usable = 0,
    /// Not to be touched.
    Reserved = 1,
    /// ACPI tables: usable once they have been read.
    AcpiReclaimable = 2,
    /// ACPI's own memory.
    AcpiNvs = 3,
    /// Broken memory.
    Bad = 4,
    /// The loader's: responses, page tables, stacks. Usable once the kernel needs none of them.
    Reclaimable = 5,
    /// The kernel's image and the boot modules.
    Executable = 6,
}

impl Kind {
    /// The kind for an entry of the firmware's (E820) map.
    pub fn from_e820(number: u32) -> Kind {
        match number {
            1 => Kind::Usable,
            3 => Kind::AcpiReclaimable,
            4 => Kind::AcpiNvs,
            5 => Kind::Bad,
            _ => Kind::Reserved,
        }
    }

    /// Where firmware entries overlap, the highest rank wins: the least usable one.
    fn rank(self) -> u8 {
        match self {
            Kind::Usable => 0,
            Kind::Reclaimable => 1,
            Kind::Executable => 2,
            Kind::AcpiReclaimable => 3,
            Kind::AcpiNvs => 4,
            Kind::Reserved => 5,
            Kind::Bad => 6,
        }
    }
}

/// A range of physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub base: u64,
    /// One past the last byte.
    pub end: u64,
    /// What it is for.
    pub kind: Kind,
}

/// The memory map.
#[derive(Debug, Default)]
pub struct MemoryMap {
    regions: Vec<Region, CAPACITY>,
}

impl MemoryMap {
    /// Makes a map from the firmware's entries, which may be in any order, unaligned and overlapping.
    ///
    /// Usable ranges shrink to whole pages, all others grow; page 0 is never usable; where two kinds meet,
    /// the less usable one wins.
    pub fn from_firmware(entries: &[Region]) -> Result<MemoryMap, Error> {
        let rounded = || entries.iter().map(round).filter(|entry| entry.base < entry.end);
        let mut map = MemoryMap::default();
        // From boundary to boundary, upwards: between two boundaries the set of covering entries is
        // constant.
        let mut from = 0;
        while let Some(to) = rounded().flat_map(|e| [e.base, e.end]).filter(|at| *at > from).min() {
            let covering = rounded().filter(|entry| entry.base <= from && entry.end >= to);
            if let Some(entry) = covering.max_by_key(|entry| entry.kind.rank()) {
                map.append(Region { base: from, end: to, kind: entry.kind })?;
            }
            from = to;
        }
        Ok(map)
    }

    /// The regions, sorted by address.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// Whether all of `base..end` is usable.
    pub fn is_usable(&self, base: u64, end: u64) -> bool {
        let inside = |region: &Region| region.base <= base && end <= region.end;
        self.regions.iter().any(|region| region.kind == Kind::Usable && inside(region))
    }

    /// Gives every page that touches `base..end` the kind `kind`, as far as it was usable or reclaimable.
    pub fn claim(&mut self, base: u64, end: u64, kind: Kind) -> Result<(), Error> {
        let Region { base, end, .. } = round(&Region { base, end, kind: Kind::Reserved });
        let mut changed = MemoryMap::default();
        for region in &self.regions {
            let inside = match region.kind {
                Kind::Usable | Kind::Reclaimable => kind,
                other => other,
            };
            let low = base.clamp(region.base, region.end);
            let high = end.clamp(low, region.end);
            changed.append(Region { end: low, ..*region })?;
            changed.append(Region { base: low, end: high, kind: inside })?;
            changed.append(Region { base: high, ..*region })?;
        }
        *self = changed;
        Ok(())
    }

    /// Takes `size` bytes (in whole pages) below `limit` at a multiple of `align`, from as high as
    /// possible.
    pub fn take(&mut self, size: u64, align: u64, limit: u64, kind: Kind) -> Result<u64, Error> {
        let refusal = Error::OutOfMemory(size);
        let size = size.max(1).checked_next_multiple_of(PAGE).ok_or(refusal)?;
        let align = align.max(PAGE);
        let fits = |region: &Region| {
            let top = region.end.min(limit).checked_sub(size)?;
            let base = top - top % align;
            (base >= region.base).then_some(base)
        };
        let usable = self.regions.iter().rev().filter(|region| region.kind == Kind::Usable);
        let base = usable.filter_map(fits).next().ok_or(refusal)?;
        self.claim(base, base + size, kind)?;
        Ok(base)
    }

    /// Puts a region above all others, joining it to the last where they touch and agree.
    fn append(&mut self, region: Region) -> Result<(), Error> {
        if region.base >= region.end {
            return Ok(());
        }
        match self.regions.last_mut() {
            Some(last) if last.end == region.base && last.kind == region.kind => last.end = region.end,
            _ => self.regions.push(region).map_err(|_| Error::TooMany("memory regions"))?,
        }
        Ok(())
    }
}

/// Rounds to whole pages: inwards if usable (and page 0 never is), outwards if not.
fn round(region: &Region) -> Region {
    let down = |at: u64| at - at % PAGE;
    let up = |at: u64| at.checked_next_multiple_of(PAGE).unwrap_or(down(u64::MAX));
    match region.kind {
        Kind::Usable => Region { base: up(region.base).max(PAGE), end: down(region.end), ..*region },
        _ => Region { base: down(region.base), end: up(region.end), ..*region },
    }
}

#[cfg(test)]
mod tests {
    use super::Kind::*;
    use super::*;

    fn region(base: u64, end: u64, kind: Kind) -> Region {
        Region { base, end, kind }
    }

    /// QEMU's q35 with 512 MiB, shuffled.
    fn q35() -> MemoryMap {
        MemoryMap::from_firmware(&[
            region(0x10_0000, 0x1ffd_c000, Usable),
            region(0, 0x9_fc00, Usable),
            region(0x1ffd_c000, 0x2000_0000, Reserved),
            region(0x9_fc00, 0xa_0000, Reserved),
            region(0xf_0000, 0x10_0000, Reserved),
            region(0xfffc_0000, 0x1_0000_0000, Reserved),
        ])
        .unwrap()
    }

    #[test]
    fn firmware_map_is_sorted_and_rounded() {
        assert_eq!(
            q35().regions(),
            [
                region(0x1000, 0x9_f000, Usable),
                region(0x9_f000, 0xa_0000, Reserved),
                region(0xf_0000, 0x10_0000, Reserved),
                region(0x10_0000, 0x1ffd_c000, Usable),
                region(0x1ffd_c000, 0x2000_0000, Reserved),
                region(0xfffc_0000, 0x1_0000_0000, Reserved),
            ]
        );
    }

    #[test]
    fn overlap_goes_to_the_less_usable() {
        let map = MemoryMap::from_firmware(&[
            region(0x1000, 0x9000, Usable),
            region(0x4800, 0x5800, AcpiNvs),
            region(0x5000, 0x7000, Reserved),
            region(0x8000, 0xa000, Usable),
            region(0xb000, 0xb000, Bad),
        ])
        .unwrap();
        assert_eq!(
            map.regions(),
            [
                region(0x1000, 0x4000, Usable),
                region(0x4000, 0x5000, AcpiNvs),
                region(0x5000, 0x7000, Reserved),
                region(0x7000, 0xa000, Usable),
            ]
        );
    }

    #[test]
    fn usable_means_all_of_it() {
        let map = q35();
        assert!(map.is_usable(0x10_0000, 0x1ffd_c000) && map.is_usable(0x1000, 0x1001));
        assert!(!map.is_usable(0x10_0000, 0x1ffd_c001) && !map.is_usable(0xfff, 0x1001));
    }

    #[test]
    fn the_top_of_the_address_space_is_no_overflow() {
        let map = MemoryMap::from_firmware(&[region(u64::MAX - 10, u64::MAX, Reserved)]).unwrap();
        assert!(map.regions().is_empty());
    }

    #[test]
    fn claims_only_what_is_free() {
        let mut map = q35();
        map.claim(0x9_e800, 0xa_0800, Reclaimable).unwrap();
        map.claim(0x9_e000, 0x9_e001, Executable).unwrap();
        assert_eq!(
            map.regions()[..3],
            [
                region(0x1000, 0x9_e000, Usable),
                region(0x9_e000, 0x9_f000, Executable),
                region(0x9_f000, 0xa_0000, Reserved),
            ]
        );
    }

    #[test]
    fn takes_from_the_top_below_the_limit() {
        let mut map = q35();
        assert_eq!(map.take(1, 1, 0xa_0000, Reclaimable), Ok(0x9_e000));
        assert_eq!(map.take(0x1001, PAGE, 1 << 32, Executable), Ok(0x1ffd_a000));
        assert_eq!(map.take(PAGE, 0x20_0000, 1 << 32, Reclaimable), Ok(0x1fe0_0000));
        assert_eq!(map.take(1 << 30, PAGE, 1 << 32, Usable), Err(Error::OutOfMemory(1 << 30)));
        assert_eq!(map.take(u64::MAX, PAGE, 1 << 32, Usable), Err(Error::OutOfMemory(u64::MAX)));
        assert_eq!(map.take(PAGE, PAGE, 0x800, Usable), Err(Error::OutOfMemory(PAGE)));
    }

    #[test]
    fn taking_keeps_the_invariants_and_stays_short() {
        let mut map = q35();
        for step in 0..1000u64 {
            let size = (step * 7919) % 30_000;
            map.take(size, PAGE, 1 << 32, Reclaimable).unwrap();
        }
        assert!(map.regions().len() < 16);
        for pair in map.regions().windows(2) {
            assert!(pair[0].end <= pair[1].base);
            assert!(pair[0].end < pair[1].base || pair[0].kind != pair[1].kind);
        }
        let bytes = |map: &MemoryMap| map.regions().iter().map(|r| r.end - r.base).sum::<u64>();
        assert_eq!(bytes(&map), bytes(&q35()));
    }

    #[test]
    fn too_many_regions_are_refused() {
        let mut entries = std::vec::Vec::new();
        for i in 0..=CAPACITY as u64 {
            entries.push(region(i * 0x4000 + 0x1000, i * 0x4000 + 0x2000, Usable));
        }
        assert_eq!(MemoryMap::from_firmware(&entries).unwrap_err(), Error::TooMany("memory regions"));
    }
}
