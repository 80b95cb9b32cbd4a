//! What the loader wants from ACPI: a valid RSDP, and the MADT's processors and I/O APICs.

use crate::Error;
use heapless::Vec;

/// The most processors the loader starts: local APIC ids are 8 bits wide, and 255 is "everyone".
pub const MAX_PROCESSORS: usize = 255;

/// A processor that can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processor {
    /// ACPI's number for it.
    pub uid: u32,
    /// Its local APIC id.
    pub apic_id: u32,
}

/// Whether `bytes` begins with an RSDP whose checksums hold.
pub fn is_rsdp(bytes: &[u8]) -> bool {
    if !bytes.starts_with(b"RSD PTR ") || bytes.len() < 20 || sum(&bytes[..20]) != 0 {
        return false;
    }
    // Revision 2 adds the 64-bit fields and a checksum over all 36 bytes.
    bytes[15] < 2 || (bytes.len() >= 36 && sum(&bytes[..36]) == 0)
}

/// Adds up the bytes, as ACPI's checksums do.
fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The physical address of the root table and the width of its entries, from an RSDP.
pub fn root_table(rsdp: &[u8]) -> Option<(u64, usize)> {
    let xsdt = u64_at(rsdp, 24).filter(|address| rsdp[15] >= 2 && *address != 0);
    match xsdt {
        Some(address) => Some((address, 8)),
        None => Some((u64::from(u32_at(rsdp, 16)?), 4)),
    }
}

/// The addresses in a root table (RSDT with 4-byte entries, XSDT with 8-byte ones).
pub fn table_addresses(root: &[u8], width: usize) -> impl Iterator<Item = u64> + '_ {
    root.get(36..).unwrap_or_default().chunks_exact(width).map(move |entry| {
        let mut bytes = [0; 8];
        bytes[..width].copy_from_slice(entry);
        u64::from_le_bytes(bytes)
    })
}

/// A table's length, from its header.
pub fn table_length(header: &[u8]) -> usize {
    u32_at(header, 4).unwrap_or(0) as usize
}

/// The MADT's records, each with its two-byte head.
fn records(madt: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = madt.get(44..).unwrap_or_default();
    core::iter::from_fn(move || {
        let length = usize::from(*rest.get(1)?);
        let record = rest.get(..length).filter(|record| record.len() >= 2)?;
        rest = &rest[length..];
        Some(record)
    })
}

/// The processors that are enabled, or that could be brought online, in the MADT's order.
pub fn processors(madt: &[u8]) -> Result<Vec<Processor, MAX_PROCESSORS>, Error> {
    let mut found = Vec::new();
    for record in records(madt).filter(|record| record[0] == 0 && record.len() >= 8) {
        let flags = record[4];
        // Bit 0: enabled; bit 1: not enabled, but can be. Both set is not a processor to start.
        if (flags & 1 != 0) != (flags & 2 != 0) && record[3] != 0xff {
            let processor = Processor { uid: u32::from(record[2]), apic_id: u32::from(record[3]) };
            found.push(processor).map_err(|_| Error::TooMany("processors"))?;
        }
    }
    Ok(found)
}

/// The physical addresses of the I/O APICs.
pub fn io_apics(madt: &[u8]) -> impl Iterator<Item = u64> + '_ {
    records(madt).filter(|record| record[0] == 1).filter_map(|record| u32_at(record, 4)).map(u64::from)
}

/// A little-endian number inside a table.
fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// A little-endian number inside a table.
fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + 8)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn madt_records() {
        let mut madt = [0u8; 44].to_vec();
        madt.extend([0, 8, 0, 0, 1, 0, 0, 0]);
        madt.extend([1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
        madt.extend([0, 8, 1, 1, 0, 0, 0, 0]); // absent
        madt.extend([0, 8, 2, 4, 2, 0, 0, 0]); // can be brought online
        madt.extend([0, 8, 3]); // cut short
        let found = processors(&madt).unwrap();
        assert_eq!(found[..], [Processor { uid: 0, apic_id: 0 }, Processor { uid: 2, apic_id: 4 }]);
        assert!(io_apics(&madt).eq([0xfec0_0000]));
    }

    #[test]
    fn a_record_of_length_zero_ends_the_list() {
        let madt = [0u8; 60];
        assert!(processors(&madt).unwrap().is_empty());
        assert!(processors(&[]).unwrap().is_empty());
    }

    #[test]
    fn rsdp_checksums_and_roots() {
        let mut rsdp = [0u8; 36];
        rsdp[..8].copy_from_slice(b"RSD PTR ");
        rsdp[16..20].copy_from_slice(&0x7ffe_0000u32.to_le_bytes());
        rsdp[8] = 0u8.wrapping_sub(sum(&rsdp[..20]));
        assert!(is_rsdp(&rsdp[..20]));
        assert_eq!(root_table(&rsdp[..20]), Some((0x7ffe_0000, 4)));
        rsdp[17] ^= 1;
        assert!(!is_rsdp(&rsdp));
        assert!(table_addresses(&[0; 36], 4).next().is_none());
        let mut root = [0u8; 36].to_vec();
        root.extend(0x1234u32.to_le_bytes());
        assert!(table_addresses(&root, 4).eq([0x1234]));
    }
}
