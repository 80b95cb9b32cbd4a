//! The few facts the kernel needs from ACPI, read from untrusted bytes.
//!
//! Owns: finding RSDP, XSDT or RSDT, MADT, FADT and DSDT in physical memory and taking out of them the
//! processors, the I/O APICs, the interrupt source overrides, and what power-off and reset need.
//! Called by the kernel's `arch::acpi` at boot, and by unit tests on made-up memory. It never
//! interprets AML (it only searches the DSDT for the constant package `\_S5`), never writes, never
//! allocates, and never trusts a length, count, address or checksum: a damaged table is skipped, an
//! absent one leaves its facts empty. Source: ACPI 6.5, chapters 5.2 and 7.4.

/// Physical memory, as the parser sees it.
pub trait PhysicalMemory {
    /// The `length` bytes at physical `address`, or `None` if they may not be read.
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]>;
}

/// Why nothing at all could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The RSDP is not in readable memory, or its signature or checksum is wrong.
    BadRsdp,
    /// Neither the XSDT nor the RSDT could be read.
    NoRootTable,
}

/// A list with a fixed bound; what does not fit is counted and left out.
#[derive(Debug, Clone, Copy)]
pub struct List<T, const N: usize> {
    items: [T; N],
    length: usize,
    lost: usize,
}

impl<T: Copy + Default, const N: usize> List<T, N> {
    fn new() -> Self {
        Self { items: [T::default(); N], length: 0, lost: 0 }
    }

    fn push(&mut self, item: T) {
        match self.items.get_mut(self.length) {
            Some(slot) => {
                *slot = item;
                self.length += 1;
            }
            None => self.lost += 1,
        }
    }

    /// The entries.
    pub fn as_slice(&self) -> &[T] {
        self.items.get(..self.length).unwrap_or(&[])
    }

    /// How many entries did not fit.
    pub fn lost(&self) -> usize {
        self.lost
    }
}

/// A processor of the MADT that is enabled or may be brought online.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Processor {
    /// ACPI processor UID.
    pub uid: u32,
    /// Local APIC (or x2APIC) id.
    pub apic_id: u32,
    /// Enabled now (else: online-capable, that is, an empty socket).
    pub enabled: bool,
}

/// An I/O APIC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IoApic {
    /// Its id.
    pub id: u8,
    /// Physical address of its registers.
    pub address: u32,
    /// First global system interrupt it serves.
    pub gsi_base: u32,
}

/// An ISA interrupt that is wired otherwise than one to one, edge, active high.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Override {
    /// ISA interrupt line.
    pub irq: u8,
    /// Global system interrupt it arrives on.
    pub gsi: u32,
    /// Level triggered.
    pub level: bool,
    /// Active low.
    pub active_low: bool,
}

/// Generic address structure (ACPI 5.2.3.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GenericAddress {
    /// 0 memory, 1 I/O port, 2 PCI configuration space, ...
    pub space: u8,
    /// Width in bits.
    pub bits: u8,
    /// Address in that space.
    pub address: u64,
}

impl GenericAddress {
    /// The I/O port it names, if it names one.
    pub fn port(&self) -> Option<u16> {
        if self.space == 1 && self.address != 0 { u16::try_from(self.address).ok() } else { None }
    }
}

/// What power-off and reset need, from the FADT and the DSDT.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Power {
    /// SMI command port, 0 if the machine is always in ACPI mode.
    pub smi_command: u16,
    /// Value that switches to ACPI mode.
    pub acpi_enable: u8,
    /// PM1a control register.
    pub pm1a_control: Option<u16>,
    /// PM1b control register.
    pub pm1b_control: Option<u16>,
    /// `SLP_TYPa` and `SLP_TYPb` of `\_S5`.
    pub s5: Option<(u8, u8)>,
    /// Reset register and the value to write there.
    pub reset: Option<(GenericAddress, u8)>,
    /// CMOS index of the century, 0 if there is none.
    pub century: u8,
}

/// Everything read.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    /// Physical address of the local APIC registers; `None` without a MADT.
    pub local_apic_address: Option<u64>,
    /// A pair of 8259s is there as well and must be masked.
    pub has_pic: bool,
    /// Processors.
    pub processors: List<Processor, 256>,
    /// I/O APICs.
    pub io_apics: List<IoApic, 16>,
    /// ISA interrupt source overrides.
    pub overrides: List<Override, 32>,
    /// Power-off, reset, clock.
    pub power: Power,
}

impl Tables {
    /// No tables: a machine of which nothing is known.
    pub fn empty() -> Self {
        Self {
            local_apic_address: None,
            has_pic: true,
            processors: List::new(),
            io_apics: List::new(),
            overrides: List::new(),
            power: Power::default(),
        }
    }
}

/// Length of the header each table but the RSDP begins with.
const HEADER: usize = 36;
/// No table we read is larger (a DSDT is some hundred KiB at most).
const LARGEST_TABLE: usize = 4 << 20;
/// No root table names more.
const MOST_TABLES: usize = 512;

fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at.checked_add(2)?)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

fn sums_to_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// The whole table at `address`, with its length and checksum verified.
fn table(memory: &impl PhysicalMemory, address: u64) -> Option<&[u8]> {
    if address == 0 {
        return None;
    }
    let length = u32_at(memory.bytes(address, HEADER)?, 4)? as usize;
    if !(HEADER..=LARGEST_TABLE).contains(&length) {
        return None;
    }
    let bytes = memory.bytes(address, length)?;
    sums_to_zero(bytes).then_some(bytes)
}

/// Reads the tables that the RSDP at physical address `rsdp` leads to.
pub fn parse(memory: &impl PhysicalMemory, rsdp: u64) -> Result<Tables, Error> {
    let (root, entry_size) = root_table(memory, rsdp)?;
    let mut tables = Tables::empty();
    let mut seen_madt = false;
    let mut seen_fadt = false;
    for entry in root.get(HEADER..).unwrap_or(&[]).chunks_exact(entry_size).take(MOST_TABLES) {
        let address = if entry_size == 8 { u64_at(entry, 0) } else { u32_at(entry, 0).map(u64::from) };
        let Some(bytes) = address.and_then(|address| table(memory, address)) else { continue };
        match bytes.get(..4) {
            Some(b"APIC") if !seen_madt => {
                seen_madt = true;
                parse_madt(bytes, &mut tables);
            }
            Some(b"FACP") if !seen_fadt => {
                seen_fadt = true;
                tables.power = parse_fadt(memory, bytes);
            }
            _ => {}
        }
    }
    Ok(tables)
}

/// The XSDT where there is a good one, else the RSDT; and the size of its entries.
fn root_table(memory: &impl PhysicalMemory, rsdp: u64) -> Result<(&[u8], usize), Error> {
    let first = memory.bytes(rsdp, 20).ok_or(Error::BadRsdp)?;
    if !first.starts_with(b"RSD PTR ") || !sums_to_zero(first) {
        return Err(Error::BadRsdp);
    }
    if u8_at(first, 15).unwrap_or(0) >= 2 {
        let xsdt = memory
            .bytes(rsdp, 36)
            .filter(|bytes| sums_to_zero(bytes))
            .and_then(|bytes| table(memory, u64_at(bytes, 24)?))
            .filter(|bytes| bytes.starts_with(b"XSDT"));
        if let Some(bytes) = xsdt {
            return Ok((bytes, 8));
        }
    }
    u32_at(first, 16)
        .and_then(|address| table(memory, u64::from(address)))
        .filter(|bytes| bytes.starts_with(b"RSDT"))
        .map(|bytes| (bytes, 4))
        .ok_or(Error::NoRootTable)
}

/// Multiple APIC description table (ACPI 5.2.12).
fn parse_madt(madt: &[u8], tables: &mut Tables) {
    tables.local_apic_address = u32_at(madt, 36).map(u64::from);
    tables.has_pic = u32_at(madt, 40).unwrap_or(1) & 1 != 0;
    let mut rest = madt.get(44..).unwrap_or(&[]);
    // Each round takes at least two bytes, so this ends.
    while let Some(length) = u8_at(rest, 1).map(usize::from) {
        let Some(entry) = rest.get(..length).filter(|_| length >= 2) else { break };
        rest = rest.get(length..).unwrap_or(&[]);
        // A short entry is skipped.
        let _ = parse_madt_entry(entry, tables);
    }
}

fn parse_madt_entry(entry: &[u8], tables: &mut Tables) -> Option<()> {
    match u8_at(entry, 0)? {
        0 => {
            let apic_id = u32::from(u8_at(entry, 3)?);
            add_processor(tables, u32::from(u8_at(entry, 2)?), apic_id, u32_at(entry, 4)?, 0xFF);
        }
        9 => add_processor(tables, u32_at(entry, 12)?, u32_at(entry, 4)?, u32_at(entry, 8)?, u32::MAX),
        1 => tables.io_apics.push(IoApic {
            id: u8_at(entry, 2)?,
            address: u32_at(entry, 4)?,
            gsi_base: u32_at(entry, 8)?,
        }),
        2 => {
            let flags = u16_at(entry, 8)?;
            // 0 conforms to the bus (for ISA: active high, edge), 1 high or edge, 3 low or level.
            tables.overrides.push(Override {
                irq: u8_at(entry, 3)?,
                gsi: u32_at(entry, 4)?,
                level: flags >> 2 & 3 == 3,
                active_low: flags & 3 == 3,
            });
        }
        5 => tables.local_apic_address = Some(u64_at(entry, 4)?),
        _ => {}
    }
    Some(())
}

fn add_processor(tables: &mut Tables, uid: u32, apic_id: u32, flags: u32, nobody: u32) {
    let known = tables.processors.as_slice().iter().any(|other| other.apic_id == apic_id);
    if flags & 3 != 0 && apic_id != nobody && !known {
        tables.processors.push(Processor { uid, apic_id, enabled: flags & 1 != 0 });
    }
}

/// Fixed ACPI description table (ACPI 5.2.9). Fields past the end of an old, short FADT read as absent.
fn parse_fadt(memory: &impl PhysicalMemory, fadt: &[u8]) -> Power {
    let port = |extended: usize, old: usize| {
        let old_port = || u32_at(fadt, old).and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0);
        generic_address(fadt, extended).and_then(|address| address.port()).or_else(old_port)
    };
    let reset_supported = u32_at(fadt, 112).unwrap_or(0) & (1 << 10) != 0;
    let reset = generic_address(fadt, 116).zip(u8_at(fadt, 128));
    let dsdt = u64_at(fadt, 140)
        .and_then(|address| table(memory, address))
        .or_else(|| table(memory, u64::from(u32_at(fadt, 40)?)))
        .filter(|bytes| bytes.starts_with(b"DSDT"));
    Power {
        smi_command: u32_at(fadt, 48).and_then(|p| u16::try_from(p).ok()).unwrap_or(0),
        acpi_enable: u8_at(fadt, 52).unwrap_or(0),
        pm1a_control: port(172, 64),
        pm1b_control: port(184, 68),
        s5: dsdt.and_then(find_s5),
        reset: reset.filter(|(address, _)| reset_supported && address.address != 0),
        century: u8_at(fadt, 108).unwrap_or(0),
    }
}

fn generic_address(bytes: &[u8], at: usize) -> Option<GenericAddress> {
    Some(GenericAddress {
        space: u8_at(bytes, at)?,
        bits: u8_at(bytes, at + 1)?,
        address: u64_at(bytes, at + 4)?,
    })
}

/// Searches AML for `Name (\_S5, Package { a, b, ... })` and gives `a` and `b`.
///
/// The package is constant in every DSDT (ACPI 7.4.2), so its byte code can be recognised without an
/// interpreter: NameOp, the name with or without the root prefix, PackageOp, length, count, integers.
pub fn find_s5(aml: &[u8]) -> Option<(u8, u8)> {
    (0..aml.len()).find_map(|at| {
        let rest = aml.get(at..)?;
        let body = rest.strip_prefix(b"\x08_S5_\x12").or_else(|| rest.strip_prefix(b"\x08\\_S5_\x12"))?;
        // The two top bits of the first length byte say how many length bytes follow.
        let following = usize::from(*body.first()? >> 6);
        let count = *body.get(following + 1)?;
        let mut values = body.get(following + 2..)?;
        let first = if count >= 1 { aml_integer(&mut values)? } else { return None };
        let second = if count >= 2 { aml_integer(&mut values)? } else { 0 };
        (first < 8 && second < 8).then_some((first, second))
    })
}

/// A small AML integer (ZeroOp, OneOp, Byte-, Word- or DWordPrefix), cut to eight bits.
fn aml_integer(bytes: &mut &[u8]) -> Option<u8> {
    let (value, length) = match *bytes.first()? {
        value @ (0 | 1) => (value, 1),
        0x0A => (*bytes.get(1)?, 2),
        0x0B => (*bytes.get(1)?, 3),
        0x0C => (*bytes.get(1)?, 5),
        _ => return None,
    };
    *bytes = bytes.get(length..)?;
    Some(value)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::{vec, vec::Vec};

    struct Memory(Vec<u8>);

    impl PhysicalMemory for Memory {
        fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
            let start = usize::try_from(address).ok()?;
            self.0.get(start..start.checked_add(length)?)
        }
    }

    impl Memory {
        fn put(&mut self, at: usize, bytes: &[u8]) {
            self.0[at..at + bytes.len()].copy_from_slice(bytes);
        }
    }

    fn fix(bytes: &mut [u8], checksum: usize) {
        bytes[checksum] = 0;
        bytes[checksum] = 0u8.wrapping_sub(bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    }

    fn make(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut table = vec![0u8; HEADER];
        table[..4].copy_from_slice(signature);
        table[4..8].copy_from_slice(&((HEADER + body.len()) as u32).to_le_bytes());
        table.extend_from_slice(body);
        fix(&mut table, 9);
        table
    }

    fn rsdp(revision: u8, rsdt: u32, xsdt: u64) -> Vec<u8> {
        let mut bytes = vec![0u8; 36];
        bytes[..8].copy_from_slice(b"RSD PTR ");
        bytes[15] = revision;
        bytes[16..20].copy_from_slice(&rsdt.to_le_bytes());
        bytes[20..24].copy_from_slice(&36u32.to_le_bytes());
        bytes[24..32].copy_from_slice(&xsdt.to_le_bytes());
        fix(&mut bytes[..20], 8);
        fix(&mut bytes, 32);
        bytes
    }

    const S5: &[u8] = b"\x10\x20junk\x08_S5_\x12\x06\x04\x0A\x05\x0A\x06\x00\x00tail";

    fn madt() -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(&0xFEE0_0000u32.to_le_bytes());
        body.extend_from_slice(&1u32.to_le_bytes());
        body.extend_from_slice(&[0, 8, 0, 0, 1, 0, 0, 0]);
        body.extend_from_slice(&[0, 8, 1, 4, 1, 0, 0, 0]);
        body.extend_from_slice(&[0, 8, 2, 9, 0, 0, 0, 0]); // disabled, not online-capable
        body.extend_from_slice(&[0, 8, 3, 4, 1, 0, 0, 0]); // the same id again
        body.extend_from_slice(&[9, 16, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0]);
        body.extend_from_slice(&[1, 12, 2, 0, 0, 0, 0xC0, 0xFE, 0, 0, 0, 0]);
        body.extend_from_slice(&[2, 10, 0, 0, 2, 0, 0, 0, 0, 0]);
        body.extend_from_slice(&[2, 10, 0, 9, 9, 0, 0, 0, 0x0D, 0]);
        body.extend_from_slice(&[2, 10, 0, 5, 5, 0, 0, 0, 0x0F, 0]);
        body.extend_from_slice(&[2, 3, 0]); // too short for its type
        make(b"APIC", &body)
    }

    fn fadt(dsdt: u32) -> Vec<u8> {
        let mut body = vec![0u8; 244 - HEADER];
        let mut set = |at: usize, bytes: &[u8]| body[at - HEADER..][..bytes.len()].copy_from_slice(bytes);
        set(40, &dsdt.to_le_bytes());
        set(48, &0xB2u32.to_le_bytes());
        set(52, &[2]);
        set(64, &0x604u32.to_le_bytes());
        set(108, &[0x32]);
        set(112, &(1u32 << 10).to_le_bytes());
        set(116, &[1, 8, 0, 1, 0xF9, 0x0C, 0, 0, 0, 0, 0, 0]);
        set(128, &[0x0F]);
        make(b"FACP", &body)
    }

    fn machine(revision: u8) -> Memory {
        let mut memory = Memory(vec![0; 0x6000]);
        memory.put(0x100, &rsdp(revision, 0x200, 0x300));
        memory.put(0x200, &make(b"RSDT", &[0, 0x10, 0, 0, 0, 0x20, 0, 0]));
        let mut list = Vec::new();
        for address in [0x1000u64, 0x2000, 0, u64::MAX - 3] {
            list.extend_from_slice(&address.to_le_bytes());
        }
        memory.put(0x300, &make(b"XSDT", &list));
        memory.put(0x1000, &madt());
        memory.put(0x2000, &fadt(0x3000));
        memory.put(0x3000, &make(b"DSDT", S5));
        memory
    }

    fn check(tables: &Tables) {
        assert_eq!(tables.local_apic_address, Some(0xFEE0_0000));
        assert!(tables.has_pic);
        let ids: Vec<u32> = tables.processors.as_slice().iter().map(|p| p.apic_id).collect();
        assert_eq!(ids, [0, 4, 256]);
        assert_eq!(tables.io_apics.as_slice(), [IoApic { id: 2, address: 0xFEC0_0000, gsi_base: 0 }]);
        assert_eq!(
            tables.overrides.as_slice(),
            [
                Override { irq: 0, gsi: 2, level: false, active_low: false },
                Override { irq: 9, gsi: 9, level: true, active_low: false },
                Override { irq: 5, gsi: 5, level: true, active_low: true },
            ]
        );
        assert_eq!(tables.power.pm1a_control, Some(0x604));
        assert_eq!(tables.power.pm1b_control, None);
        assert_eq!(tables.power.s5, Some((5, 6)));
        assert_eq!(
            tables.power.reset.map(|(address, value)| (address.port(), value)),
            Some((Some(0xCF9), 0x0F))
        );
        assert_eq!((tables.power.smi_command, tables.power.acpi_enable), (0xB2, 2));
        assert_eq!(tables.power.century, 0x32);
    }

    #[test]
    fn reads_by_rsdt_and_by_xsdt() {
        for revision in [0, 2] {
            check(&parse(&machine(revision), 0x100).expect("good tables"));
        }
    }

    #[test]
    fn a_bad_xsdt_falls_back_to_the_rsdt() {
        let mut memory = machine(2);
        memory.0[0x300 + 9] ^= 1;
        check(&parse(&memory, 0x100).expect("the RSDT is good"));
    }

    #[test]
    fn bad_roots_are_refused() {
        let memory = machine(0);
        assert_eq!(parse(&memory, 0x101).err(), Some(Error::BadRsdp));
        assert_eq!(parse(&memory, u64::MAX).err(), Some(Error::BadRsdp));
        let mut memory = machine(2);
        memory.0[0x200 + 9] ^= 1;
        memory.0[0x300 + 9] ^= 1;
        assert_eq!(parse(&memory, 0x100).err(), Some(Error::NoRootTable));
    }

    #[test]
    fn a_damaged_table_is_as_if_absent() {
        let mut memory = machine(2);
        memory.0[0x1000 + 50] ^= 0x40;
        memory.0[0x3000 + 40] ^= 0x40;
        let tables = parse(&memory, 0x100).expect("root is good");
        assert_eq!(tables.local_apic_address, None);
        assert!(tables.processors.as_slice().is_empty());
        assert_eq!(tables.power.pm1a_control, Some(0x604));
        assert_eq!(tables.power.s5, None);
    }

    #[test]
    fn any_single_byte_change_is_survived() {
        let memory = machine(2);
        for at in (0x100..0x400).chain(0x1000..0x1100).chain(0x2000..0x2100).chain(0x3000..0x3100) {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut changed = Memory(memory.0.clone());
                changed.0[at] = value;
                let _ = parse(&changed, 0x100);
            }
        }
    }

    #[test]
    fn hostile_madt_entries_end_the_walk() {
        for entries in [&[0u8, 0][..], &[0, 1], &[0, 200], &[1], &[]] {
            let mut body = vec![0u8; 8];
            body.extend_from_slice(entries);
            let mut tables = Tables::empty();
            parse_madt(&make(b"APIC", &body), &mut tables);
            assert!(tables.processors.as_slice().is_empty());
        }
    }

    #[test]
    fn more_than_fits_is_counted() {
        let mut tables = Tables::empty();
        for apic_id in 0..300 {
            add_processor(&mut tables, apic_id, apic_id, 1, u32::MAX);
        }
        assert_eq!((tables.processors.as_slice().len(), tables.processors.lost()), (256, 44));
    }

    #[test]
    fn s5_forms() {
        assert_eq!(find_s5(S5), Some((5, 6)));
        assert_eq!(find_s5(b"\x08\\_S5_\x12\x06\x04\x00\x01\x00\x00"), Some((0, 1)));
        assert_eq!(find_s5(b"\x08_S5_\x12\x47\x00\x04\x0B\x05\x00\x00"), Some((5, 0)));
        assert_eq!(find_s5(b"\x08_S5_\x12\x06\x00\x00"), None);
        assert_eq!(find_s5(b"\x08_S5_\x12\x06\x04\x0A"), None);
        assert_eq!(find_s5(b"\x08_S5_\x12"), None);
        assert_eq!(find_s5(b"_S5_"), None);
    }
}
