//! `db` to `du`, `!pte`, `!vad`: memory, and what maps it. What is not there shows as `?`.

use crate::execute::System;
use crate::symbols::KERNEL_START;
use abi::mm::{
    MEM_COMMIT, MEM_FREE, MEM_PRIVATE, MemoryBasicInformation, PAGE_EXECUTE, PAGE_EXECUTE_READ,
    PAGE_NOACCESS, PAGE_READONLY, PAGE_READWRITE, PAGE_WRITECOPY,
};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use serde::Serialize;

const PAGE: u64 = 4096;
/// Bytes of a line of a dump.
const LINE: usize = 16;

/// Reads memory that may have holes: each byte that is there.
pub fn read_with_holes<S: System>(
    process: u32,
    address: u64,
    count: usize,
    system: &mut S,
) -> Vec<Option<u8>> {
    let mut bytes = Vec::with_capacity(count);
    while bytes.len() < count {
        let at = address.wrapping_add(bytes.len() as u64);
        let in_page = usize::try_from(PAGE - at % PAGE).unwrap_or(1).min(count - bytes.len());
        let mut buffer = vec![0; in_page];
        // What cannot be read is a hole, whatever the reason.
        let got = system.read(process, at, &mut buffer).unwrap_or(0).min(in_page);
        bytes.extend(buffer[..got].iter().copied().map(Some));
        bytes.extend(core::iter::repeat_n(None, in_page - got));
    }
    bytes
}

/// Prints memory in units of `unit` bytes, sixteen bytes a line.
pub fn write_dump(out: &mut dyn Write, address: u64, unit: usize, bytes: &[Option<u8>]) -> fmt::Result {
    for (index, line) in bytes.chunks(LINE).enumerate() {
        write!(out, "{:016x} ", address.wrapping_add((index * LINE) as u64))?;
        for (place, units) in line.chunks(unit).enumerate() {
            let middle = unit == 1 && place == 8;
            write!(out, "{}", if middle { '-' } else { ' ' })?;
            let whole: Option<Vec<u8>> = units.iter().copied().collect();
            match whole.filter(|whole| whole.len() == unit) {
                Some(whole) => whole.iter().rev().try_for_each(|byte| write!(out, "{byte:02x}"))?,
                None => write!(out, "{}", "??".repeat(unit))?,
            }
        }
        if unit == 1 {
            write!(out, "{:blanks$}  ", "", blanks = 3 * (LINE - line.len()))?;
            for byte in line {
                let c = match byte {
                    Some(byte @ b' '..=b'~') => char::from(*byte),
                    Some(_) => '.',
                    None => '?',
                };
                write!(out, "{c}")?;
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Prints memory as UTF-16 up to the first zero or hole.
pub fn write_text(out: &mut dyn Write, address: u64, bytes: &[Option<u8>]) -> fmt::Result {
    let units = bytes.chunks_exact(2).map_while(|pair| match *pair {
        [Some(low), Some(high)] => Some(u16::from_le_bytes([low, high])).filter(|unit| *unit != 0),
        _ => None,
    });
    let text: String = char::decode_utf16(units)
        .map(|c| c.ok().filter(|c| !c.is_control()).unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    let hole = if bytes.first().is_none_or(Option::is_none) { "????" } else { "" };
    writeln!(out, "{address:016x}  \"{text}\"{hole}")
}

/// A page-table entry on the way to an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    level: &'static str,
    /// Physical address of the entry.
    at: u64,
    contains: Option<u64>,
    flags: String,
}

/// The entries of an address in the tables at `root`, from the top down to the one that maps it or is empty.
pub fn page_table_entries<S: System>(root: u64, address: u64, system: &mut S) -> Vec<Entry> {
    const PRESENT: u64 = 1;
    const LARGE: u64 = 1 << 7;
    const FRAME: u64 = 0x000F_FFFF_FFFF_F000;
    let mut entries = Vec::new();
    let mut table = root & FRAME;
    for (shift, level) in [(39, "PXE"), (30, "PPE"), (21, "PDE"), (12, "PTE")] {
        let at = table + 8 * (address >> shift & 0x1FF);
        let mut bytes = [0; 8];
        let contains = (system.read_physical(at, &mut bytes) == Ok(8)).then(|| u64::from_le_bytes(bytes));
        let flags = contains.map(|value| flags(value, level)).unwrap_or_default();
        entries.push(Entry { level, at, contains, flags });
        match contains {
            Some(value) if value & PRESENT != 0 && (level == "PXE" || value & LARGE == 0) => {
                table = value & FRAME;
            }
            _ => break,
        }
    }
    entries
}

/// WinDbg's letters: Global, Large, Dirty, Accessed, uNcached, write-Through, User or Kernel, Writable or Read-only,
/// Executable, Valid.
fn flags(value: u64, level: &str) -> String {
    let large = level != "PTE" && level != "PXE" && value >> 7 & 1 != 0;
    let letter = |bit: u32, yes: char, no: char| if value >> bit & 1 != 0 { yes } else { no };
    [
        letter(8, 'G', '-'),
        if large { 'L' } else { '-' },
        letter(6, 'D', '-'),
        letter(5, 'A', '-'),
        letter(4, 'N', '-'),
        letter(3, 'T', '-'),
        letter(2, 'U', 'K'),
        letter(1, 'W', 'R'),
        letter(63, '-', 'E'),
        letter(0, 'V', '-'),
    ]
    .into_iter()
    .collect()
}

/// `!pte`.
pub fn write_entries(out: &mut dyn Write, address: u64, entries: &[Entry]) -> fmt::Result {
    writeln!(out, "VA {address:016x}")?;
    for Entry { level, at, contains, flags } in entries {
        match contains {
            Some(value) => {
                let pfn = (value & 0x000F_FFFF_FFFF_F000) >> 12;
                writeln!(out, "{level} at {at:012x}  contains {value:016x}  pfn {pfn:<8x} {flags}")?;
            }
            None => writeln!(out, "{level} at {at:012x}  contains ????????????????")?,
        }
    }
    if entries.last().is_some_and(|e| e.contains.is_some_and(|value| value & 1 == 0)) {
        writeln!(out, "not mapped")?;
    }
    Ok(())
}

/// A run of pages.
#[derive(Clone, Debug, Serialize)]
pub struct Region {
    start: u64,
    end: u64,
    base: u64,
    pages: u64,
    state: &'static str,
    protect: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Regions as they are shown, without what is free.
pub fn regions(runs: &[MemoryBasicInformation]) -> Vec<Region> {
    let taken = runs.iter().filter(|run| run.state != MEM_FREE);
    taken
        .map(|run| Region {
            start: run.base_address,
            end: run.base_address.saturating_add(run.region_size),
            base: run.allocation_base,
            pages: run.region_size / PAGE,
            state: if run.state == MEM_COMMIT { "Commit" } else { "Reserve" },
            protect: if run.state == MEM_COMMIT { protection(run.protect) } else { "-" },
            kind: if run.kind == MEM_PRIVATE { "Private" } else { "Mapped" },
        })
        .collect()
}

fn protection(protect: u32) -> &'static str {
    match protect {
        PAGE_NOACCESS => "NO_ACCESS",
        PAGE_READONLY => "READONLY",
        PAGE_READWRITE => "READWRITE",
        PAGE_WRITECOPY => "WRITECOPY",
        PAGE_EXECUTE => "EXECUTE",
        PAGE_EXECUTE_READ => "EXECUTE_READ",
        _ => "?",
    }
}

/// `!vad`.
pub fn write_regions(out: &mut dyn Write, process: &str, regions: &[Region]) -> fmt::Result {
    writeln!(out, "Regions of process {process}")?;
    writeln!(out, "START            END              PAGES TYPE    STATE   PROTECT      ALLOCATION")?;
    for region in regions {
        writeln!(
            out,
            "{:016x} {:016x} {:>5} {:<7} {:<7} {:<12} {:x}",
            region.start, region.end, region.pages, region.kind, region.state, region.protect, region.base
        )?;
    }
    let pages: u64 =
        regions.iter().filter(|region| region.state == "Commit").map(|region| region.pages).sum();
    writeln!(out, "{} runs, {pages} pages committed", regions.len())
}

/// Whose page tables map an address: any process has the kernel's.
pub fn owner(address: u64, process: u32) -> Result<u32, String> {
    match process {
        0 if address < KERNEL_START => Err("a user address needs a process: .process PROCESS".to_string()),
        0 => Ok(4),
        process => Ok(process),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn holes_show_as_question_marks() {
        let bytes = [Some(b'A'), Some(0), None, Some(0x42)];
        let text = |unit| {
            let mut out = String::new();
            write_dump(&mut out, 0x1000, unit, &bytes).unwrap();
            out
        };
        assert_eq!(text(1), format!("0000000000001000  41 00 ?? 42{}  A.?B\n", " ".repeat(36)));
        assert_eq!(text(2), "0000000000001000  0041 ????\n");
        assert_eq!(text(4), "0000000000001000  ????????\n");
        assert_eq!(text(8), "0000000000001000  ????????????????\n");
        let mut out = String::new();
        write_text(&mut out, 0, &[None]).unwrap();
        write_text(&mut out, 0, &[Some(b'h'), Some(0), Some(b'i'), Some(0), Some(0), Some(0)]).unwrap();
        assert_eq!(out, "0000000000000000  \"\"????\n0000000000000000  \"hi\"\n");
    }

    #[test]
    fn flags_are_windbgs() {
        assert_eq!(flags(0x63, "PTE"), "--DA--KWEV");
        assert_eq!(flags(0x8000_0000_0000_01E3, "PDE"), "GLDA--KW-V");
        assert_eq!(flags(0x25, "PTE"), "---A--URE-".replace("E-", "EV"));
    }
}
