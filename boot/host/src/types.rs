//! The kernel's types, taken out of its debug information for the debug console's `dt`.
//!
//! The kernel is compiled with debug information, of which the system needs little: [`table`] reduces it to a text that
//! becomes the boot module [`NAME`], and [`without_debug_information`] is the kernel that boots.
//!
//! The table has a line per type, then a line per field or enumerator, with tabs between the parts (sizes and offsets in decimal):
//!
//! ```text
//! T size name
//! F offset size name type
//! E value name
//! ```
//!
//! Types are those of the kernel's own crates that have fields or enumerators. The variants of an enum are fields that overlap.

use crate::error::{Result, message};
use addr2line::gimli::{
    self, AttributeValue, DebugInfoOffset, DebuggingInformationEntry, Dwarf, EndianSlice, LittleEndian, Unit,
};
use elf::ElfBytes;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Name of the boot module with the table.
pub const NAME: &str = "kernel.types";

/// Crates whose types are kept.
const CRATES: [&str; 3] = ["microkernel::", "antares_core::", "abi::"];

type Reader<'a> = EndianSlice<'a, LittleEndian>;
type Entry<'a> = DebuggingInformationEntry<Reader<'a>>;

fn dwarf_error(error: gimli::Error) -> crate::error::Error {
    message(format!("the kernel's debug information is damaged: {error}"))
}

fn elf_error(error: elf::ParseError) -> crate::error::Error {
    message(format!("the kernel's file is damaged: {error}"))
}

/// What is known of a type: name and size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Named {
    name: String,
    size: u64,
}

/// A field or enumerator.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    Field { offset: u64, name: String, of: usize },
    Enumerator { value: i64, name: String },
}

/// All types by their place in the debug information.
#[derive(Debug, Default)]
struct Types {
    named: BTreeMap<usize, Named>,
    members: BTreeMap<usize, Vec<Member>>,
    /// Of arrays: the element's type, and how many there are.
    arrays: BTreeMap<usize, (usize, u64)>,
}

/// The table of a kernel's types; empty when it was compiled without debug information.
pub fn table(kernel: &[u8]) -> Result<String> {
    let file = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(kernel).map_err(elf_error)?;
    let load = |id: gimli::SectionId| -> Result<Reader<'_>> {
        let section = file.section_header_by_name(id.name()).map_err(elf_error)?;
        let bytes = match section {
            Some(section) => file.section_data(&section).map_err(elf_error)?.0,
            None => &[],
        };
        Ok(EndianSlice::new(bytes, LittleEndian))
    };
    let dwarf = Dwarf::load(load)?;
    let mut types = Types::default();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().map_err(dwarf_error)? {
        let unit = dwarf.unit(header).map_err(dwarf_error)?;
        types.add(&dwarf, &unit).map_err(dwarf_error)?;
    }
    Ok(types.render())
}

impl Types {
    /// Takes in the types of a unit.
    fn add(&mut self, dwarf: &Dwarf<Reader<'_>>, unit: &Unit<Reader<'_>>) -> gimli::Result<()> {
        let place = |entry: &Entry<'_>| match entry.offset().to_debug_info_offset(&unit.header) {
            Some(DebugInfoOffset(offset)) => offset,
            None => 0,
        };
        // The scopes around the entry: its depth, its name, and the type it is (0: none).
        let mut scopes: Vec<(isize, String, usize)> = Vec::new();
        let mut entries = unit.entries();
        while let Some(entry) = entries.next_dfs()? {
            let depth = entry.depth();
            scopes.retain(|(of, ..)| *of < depth);
            let name = name(dwarf, unit, entry)?;
            let own = place(entry);
            let around = || scopes.iter().map(|(_, name, _)| name.as_str());
            match entry.tag() {
                gimli::DW_TAG_namespace => scopes.push((depth, name.into_owned(), 0)),
                gimli::DW_TAG_structure_type
                | gimli::DW_TAG_union_type
                | gimli::DW_TAG_enumeration_type
                | gimli::DW_TAG_base_type
                | gimli::DW_TAG_pointer_type
                | gimli::DW_TAG_array_type
                | gimli::DW_TAG_subroutine_type => {
                    let full = around().chain([&*name]).filter(|part| !part.is_empty());
                    let full = full.collect::<Vec<_>>().join("::");
                    let size = number(entry, gimli::DW_AT_byte_size).unwrap_or(match entry.tag() {
                        gimli::DW_TAG_pointer_type => 8,
                        _ => 0,
                    });
                    if let (gimli::DW_TAG_array_type, Some(of)) =
                        (entry.tag(), reference(unit, entry, gimli::DW_AT_type))
                    {
                        self.arrays.insert(own, (of, 0));
                    }
                    self.named.insert(own, Named { name: full, size });
                    scopes.push((depth, name.into_owned(), own));
                }
                gimli::DW_TAG_member => {
                    let owner = scopes.iter().rev().find(|(_, _, of)| *of != 0).map_or(0, |(.., of)| *of);
                    if let (Some(of), false) = (reference(unit, entry, gimli::DW_AT_type), owner == 0) {
                        let offset = number(entry, gimli::DW_AT_data_member_location).unwrap_or(0);
                        let field = Member::Field { offset, name: name.into_owned(), of };
                        self.members.entry(owner).or_default().push(field);
                    }
                }
                gimli::DW_TAG_subrange_type => {
                    let count = number(entry, gimli::DW_AT_count);
                    let count = count.or(number(entry, gimli::DW_AT_upper_bound).map(|last| last + 1));
                    let array = scopes.last().and_then(|(.., of)| self.arrays.get_mut(of));
                    if let (Some(array), Some(count)) = (array, count) {
                        array.1 = count;
                    }
                }
                gimli::DW_TAG_enumerator => {
                    let owner = scopes.iter().rev().find(|(_, _, of)| *of != 0).map_or(0, |(.., of)| *of);
                    let value = match entry.attr_value(gimli::DW_AT_const_value) {
                        Some(value) => value.sdata_value().or(value.udata_value().map(u64::cast_signed)),
                        None => None,
                    };
                    if let (Some(value), false) = (value, owner == 0) {
                        let enumerator = Member::Enumerator { value, name: name.into_owned() };
                        self.members.entry(owner).or_default().push(enumerator);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Name and size of a type, also of arrays, which have no names of their own.
    fn describe(&self, place: usize) -> Named {
        match self.arrays.get(&place) {
            Some((of, count)) if *of != place => {
                // Arrays of arrays are few and short; each step goes to another type.
                let of = if self.arrays.contains_key(of) { Named::default() } else { self.describe(*of) };
                Named { name: format!("[{}; {count}]", of.name), size: of.size * count }
            }
            _ => self.named.get(&place).cloned().unwrap_or_default(),
        }
    }

    fn render(&self) -> String {
        let mut out = String::new();
        let mut seen = std::collections::BTreeSet::new();
        for (place, members) in &self.members {
            let Some(own) = self.named.get(place).filter(|own| own.size > 0) else { continue };
            let kept = CRATES.iter().any(|from| own.name.starts_with(from)) && !own.name.contains('{');
            if !kept || !seen.insert(&own.name) {
                continue;
            }
            // Writing to a string cannot fail.
            let _ = writeln!(out, "T\t{}\t{}", own.size, own.name);
            let mut sorted = members.clone();
            sorted.sort_by_key(|member| match member {
                Member::Field { offset, .. } => (*offset).cast_signed(),
                Member::Enumerator { value, .. } => *value,
            });
            for member in &sorted {
                let _ = match member {
                    Member::Field { offset, name, of } => {
                        let of = self.describe(*of);
                        let name = if name.is_empty() { "-" } else { name };
                        writeln!(out, "F\t{offset}\t{}\t{name}\t{}", of.size, of.name)
                    }
                    Member::Enumerator { value, name } => writeln!(out, "E\t{value}\t{name}"),
                };
            }
        }
        out
    }
}

fn name<'a>(
    dwarf: &Dwarf<Reader<'a>>,
    unit: &Unit<Reader<'a>>,
    entry: &Entry<'a>,
) -> gimli::Result<Cow<'a, str>> {
    match entry.attr_value(gimli::DW_AT_name) {
        Some(value) => Ok(dwarf.attr_string(unit, value)?.to_string_lossy()),
        None => Ok(Cow::Borrowed("")),
    }
}

fn number(entry: &Entry<'_>, attribute: gimli::DwAt) -> Option<u64> {
    entry.attr_value(attribute)?.udata_value()
}

/// Where in the debug information an attribute points.
fn reference(unit: &Unit<Reader<'_>>, entry: &Entry<'_>, attribute: gimli::DwAt) -> Option<usize> {
    match entry.attr_value(attribute)? {
        AttributeValue::UnitRef(offset) => Some(offset.to_debug_info_offset(&unit.header)?.0),
        AttributeValue::DebugInfoRef(DebugInfoOffset(offset)) => Some(offset),
        _ => None,
    }
}

/// Bytes of a section header.
const SECTION_HEADER: usize = 64;

/// The kernel's file without its sections of debug information. All that is loaded stays where it is in the file.
pub fn without_debug_information(kernel: &[u8]) -> Result<Vec<u8>> {
    let damaged = || message("the kernel's file is damaged: a section lies outside of it");
    let file = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(kernel).map_err(elf_error)?;
    let (Some(sections), Some(names)) = file.section_headers_with_strtab().map_err(elf_error)? else {
        return Ok(kernel.to_vec());
    };
    let is_debug = |header: &elf::section::SectionHeader| {
        let is_loaded = header.sh_flags & u64::from(elf::abi::SHF_ALLOC) != 0;
        !is_loaded && names.get(header.sh_name as usize).is_ok_and(|name| name.starts_with(".debug"))
    };
    let Some(first) = sections.iter().filter(is_debug).map(|header| header.sh_offset).min() else {
        return Ok(kernel.to_vec());
    };
    let first = usize::try_from(first).map_err(|_| damaged())?;
    let mut out = kernel.get(..first).ok_or_else(damaged)?.to_vec();
    let table = usize::try_from(file.ehdr.e_shoff).map_err(|_| damaged())?;
    let mut headers = Vec::new();
    for (index, header) in sections.iter().enumerate() {
        let at = table + index * SECTION_HEADER;
        let mut bytes = kernel.get(at..at + SECTION_HEADER).ok_or_else(damaged)?.to_vec();
        let mut set =
            |offset: usize, value: u64| bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
        if is_debug(&header) {
            // The numbers of the sections behind it stay: it becomes one that is not used.
            bytes.fill(0);
        } else if header.sh_offset >= first as u64 && header.sh_type != elf::abi::SHT_NOBITS {
            out.resize(out.len().next_multiple_of(16), 0);
            set(24, out.len() as u64);
            let from = usize::try_from(header.sh_offset).map_err(|_| damaged())?;
            let size = usize::try_from(header.sh_size).map_err(|_| damaged())?;
            out.extend_from_slice(kernel.get(from..).and_then(|rest| rest.get(..size)).ok_or_else(damaged)?);
        }
        headers.extend(bytes);
    }
    out.resize(out.len().next_multiple_of(16), 0);
    let at = out.len() as u64;
    out.extend(headers);
    // e_shoff.
    out.get_mut(40..48).ok_or_else(damaged)?.copy_from_slice(&at.to_le_bytes());
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the tests look for in their own program.
    #[derive(Debug)]
    #[expect(dead_code, reason = "looked at through the debug information")]
    struct Sample {
        first: u8,
        second: u64,
    }

    fn own() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn the_file_without_debug_information_has_the_same_symbols_and_segments() {
        let whole = own();
        let small = without_debug_information(&whole).unwrap();
        assert!(small.len() < whole.len());
        assert_eq!(table(&small).unwrap(), "");
        let symbols = |bytes: &[u8]| {
            let file = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(bytes).unwrap();
            let (symbols, names) = file.symbol_table().unwrap().unwrap();
            let list: Vec<(u64, String)> = symbols
                .iter()
                .map(|s| (s.st_value, names.get(s.st_name as usize).unwrap().to_owned()))
                .collect();
            let segments: Vec<_> = file.segments().unwrap().iter().collect();
            // A program's file header, which tells where the section headers are, may be loaded too.
            let loaded: Vec<Vec<u8>> = segments
                .iter()
                .map(|s| {
                    file.segment_data(s)
                        .unwrap()
                        .iter()
                        .skip(if s.p_offset == 0 { 64 } else { 0 })
                        .copied()
                        .collect()
                })
                .collect();
            (list, segments, loaded)
        };
        assert!(symbols(&whole) == symbols(&small), "symbols or segments differ");
        // A second time there is nothing to take out.
        assert!(without_debug_information(&small).unwrap() == small);
    }

    #[test]
    fn types_have_their_fields() {
        let sample = Sample { first: 1, second: 2 };
        assert!(format!("{sample:?}").starts_with("Sample"));
        let file = own();
        let elf = ElfBytes::<elf::endian::LittleEndian>::minimal_parse(&file).unwrap();
        let load = |id: gimli::SectionId| -> gimli::Result<Reader<'_>> {
            let section = elf.section_header_by_name(id.name()).unwrap();
            let bytes = section.map_or(&[][..], |section| elf.section_data(&section).unwrap().0);
            Ok(EndianSlice::new(bytes, LittleEndian))
        };
        let dwarf = Dwarf::load(load).unwrap();
        let mut types = Types::default();
        let mut headers = dwarf.units();
        while let Some(header) = headers.next().unwrap() {
            types.add(&dwarf, &dwarf.unit(header).unwrap()).unwrap();
        }
        let found = types.named.iter().find(|(_, named)| named.name.ends_with("types::tests::Sample"));
        let (place, named) = found.expect("the debug information has the sample");
        assert_eq!(named.size, 16);
        let fields: Vec<String> = types.members[place]
            .iter()
            .filter_map(|member| match member {
                Member::Field { name, of, .. } => Some(format!("{name} {}", types.named[of].name)),
                Member::Enumerator { .. } => None,
            })
            .collect();
        assert!(fields.contains(&"first u8".into()) && fields.contains(&"second u64".into()), "{fields:?}");
    }
}
