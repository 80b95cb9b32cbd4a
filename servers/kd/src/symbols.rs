//! Symbol tables: the kernel's and the boot modules', read out of the files in the kernel's memory.
//!
//! A file is only trusted as far as it is checked: what does not fit is a module without symbols.

use crate::execute::System;
use abi::kd::SysdbgModule;
use abi::status::NtResult;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use elf::abi::{PT_LOAD, SHT_SYMTAB, STT_FUNC, STT_OBJECT};
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::section::SectionHeaderTable;
use elf::segment::SegmentTable;
use elf::string_table::StringTable;
use elf::symbol::SymbolTable;

/// Lowest address that can be the kernel's.
pub const KERNEL_START: u64 = 0xFFFF_8000_0000_0000;
/// The kernel's module, as NT debuggers call it.
pub const KERNEL: &str = "nt";
/// Largest table that is read.
const MAX_TABLE: u64 = 16 << 20;
/// An address further behind a symbol than this has no name.
const REACH: u64 = 1 << 20;

/// A function or variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Where it is.
    pub address: u64,
    /// Its size in bytes; 0 when the table does not say.
    pub size: u64,
    /// Its name, demangled.
    pub name: String,
}

/// A module with its symbols in order of address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Name.
    pub name: String,
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    symbols: Vec<Symbol>,
}

/// A symbol and how far into it an address is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near<'a> {
    /// Module.
    pub module: &'a str,
    /// Symbol.
    pub symbol: &'a Symbol,
    /// Bytes from its start.
    pub offset: u64,
}

impl fmt::Display for Near<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}!{}", self.module, self.symbol.name)?;
        match self.offset {
            0 => Ok(()),
            offset => write!(out, "+{offset:#x}"),
        }
    }
}

impl Module {
    /// A module from its file, which `read` reads (offset, bytes). Without a usable file it has no symbols.
    pub fn load(name: &str, read: &mut dyn FnMut(u64, &mut [u8]) -> bool) -> Self {
        let (start, end, symbols) = parse(read).unwrap_or_default();
        Self { name: name.into(), start, end, symbols }
    }

    /// The symbol that an address lies in, or behind.
    pub fn near(&self, address: u64) -> Option<Near<'_>> {
        let at = self.symbols.partition_point(|symbol| symbol.address <= address);
        let symbol = self.symbols.get(at.checked_sub(1)?)?;
        let offset = address - symbol.address;
        let inside = offset < symbol.size.max(1) || (symbol.size == 0 && offset < REACH);
        inside.then_some(Near { module: &self.name, symbol, offset })
    }

    /// The symbol with a name: in full, or its end behind `::` where that is only one.
    pub fn find(&self, name: &str) -> Option<&Symbol> {
        if let Some(symbol) = self.symbols.iter().find(|symbol| symbol.name == name) {
            return Some(symbol);
        }
        let end = format!("::{name}");
        let mut with_end = self.symbols.iter().filter(|symbol| symbol.name.ends_with(&end));
        with_end.next().filter(|_| with_end.next().is_none())
    }

    /// The symbols whose names match a pattern with `*` and `?`, in any case.
    pub fn matching<'a>(&'a self, pattern: &str) -> impl Iterator<Item = &'a Symbol> + use<'a> {
        let pattern = pattern.to_ascii_lowercase();
        self.symbols.iter().filter(move |symbol| matches(&pattern, &symbol.name.to_ascii_lowercase()))
    }

    /// How many symbols it has.
    pub fn count(&self) -> usize {
        self.symbols.len()
    }
}

/// True when a text matches a pattern with `*` and `?`, in any case.
pub fn is_match(pattern: &str, text: &str) -> bool {
    matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

/// True when a text matches a pattern in which `*` is any text and `?` any character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to try anew: behind the last star, one character further.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

type Parsed = (u64, u64, Vec<Symbol>);

fn parse(read: &mut dyn FnMut(u64, &mut [u8]) -> bool) -> Option<Parsed> {
    let mut bytes = |offset: u64, size: u64| {
        let mut buffer = vec![0; usize::try_from(size).ok().filter(|_| size <= MAX_TABLE)?];
        read(offset, &mut buffer).then_some(buffer)
    };
    let head = bytes(0, 64)?;
    let ident = parse_ident::<LittleEndian>(head.get(..16)?).ok()?;
    let header = FileHeader::parse_tail(ident, head.get(16..64)?).ok()?;
    if header.class != Class::ELF64 {
        return None;
    }
    let table = |count: u16, size: u16| u64::from(count) * u64::from(size);
    let segments = bytes(header.e_phoff, table(header.e_phnum, header.e_phentsize))?;
    let segments = SegmentTable::new(LittleEndian, Class::ELF64, &segments);
    let loads = || segments.iter().filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0);
    let start = loads().map(|segment| segment.p_vaddr).min()?;
    let end = loads().map(|segment| segment.p_vaddr.saturating_add(segment.p_memsz)).max()?;
    let sections = bytes(header.e_shoff, table(header.e_shnum, header.e_shentsize))?;
    let sections = SectionHeaderTable::new(LittleEndian, Class::ELF64, &sections);
    let Some(symtab) = sections.iter().find(|section| section.sh_type == SHT_SYMTAB) else {
        return Some((start, end, Vec::new()));
    };
    let strtab = sections.get(usize::try_from(symtab.sh_link).ok()?).ok()?;
    let names = bytes(strtab.sh_offset, strtab.sh_size)?;
    let names = StringTable::new(&names);
    let symbols = bytes(symtab.sh_offset, symtab.sh_size)?;
    let symbols = SymbolTable::new(LittleEndian, Class::ELF64, &symbols);
    let mut found: Vec<Symbol> = symbols
        .iter()
        .filter(|symbol| matches!(symbol.st_symtype(), STT_FUNC | STT_OBJECT) && symbol.st_value != 0)
        .filter_map(|symbol| {
            let name = names.get(usize::try_from(symbol.st_name).ok()?).ok()?;
            let name = format!("{:#}", rustc_demangle::demangle(name));
            Some(Symbol { address: symbol.st_value, size: symbol.st_size, name })
        })
        .collect();
    found.sort_by_key(|symbol| (symbol.address, symbol.size));
    Some((start, end, found))
}

/// The modules that are known, read when they are first asked for.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    files: Option<Vec<SysdbgModule>>,
    loaded: BTreeMap<String, Module>,
}

impl Symbols {
    /// The module of this name: `nt`, or an image name.
    pub fn module<S: System>(&mut self, name: &str, system: &mut S) -> NtResult<Option<&Module>> {
        let name = if name == "kernel" || name == "microkernel" { KERNEL } else { name };
        if !self.loaded.contains_key(name) {
            if self.files.is_none() {
                self.files = Some(system.modules()?);
            }
            let files = self.files.iter().flatten();
            let Some(file) = files.into_iter().find(|file| module_name(file) == name) else {
                return Ok(None);
            };
            let (base, size) = (file.file, file.file_size);
            let module = Module::load(name, &mut |offset, to| {
                let fits = offset.checked_add(to.len() as u64).is_some_and(|end| end <= size);
                fits && system.read_all(0, base.wrapping_add(offset), to)
            });
            self.loaded.insert(name.to_string(), module);
        }
        Ok(self.loaded.get(name))
    }

    /// The symbol at an address: of the kernel, or of a process with this image name.
    pub fn near<S: System>(&mut self, address: u64, image: &str, system: &mut S) -> Option<Near<'_>> {
        let name = if address >= KERNEL_START { KERNEL } else { image };
        self.module(name, system).ok().flatten()?.near(address)
    }

    /// An address and its symbol, as stacks and disassembly show it.
    pub fn describe<S: System>(&mut self, address: u64, image: &str, system: &mut S) -> String {
        self.near(address, image, system).map(|near| near.to_string()).unwrap_or_default()
    }
}

/// Name of a file.
pub fn module_name(file: &SysdbgModule) -> &str {
    let name = file.name.split(|byte| *byte == 0).next().unwrap_or_default();
    core::str::from_utf8(name).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module() -> Module {
        let symbol = |address, size, name: &str| Symbol { address, size, name: name.into() };
        Module {
            name: "m".into(),
            start: 0x1000,
            end: 0x2000,
            symbols: vec![
                symbol(0x1000, 0x10, "a::first"),
                symbol(0x1010, 0x20, "a::second"),
                symbol(0x1100, 0, "label"),
                symbol(0x1200, 4, "b::second"),
            ],
        }
    }

    #[test]
    fn addresses_have_names_within_symbols_only() {
        let module = module();
        assert_eq!(module.near(0x1018).unwrap().to_string(), "m!a::second+0x8");
        assert_eq!(module.near(0x1000).unwrap().to_string(), "m!a::first");
        assert_eq!(module.near(0x1030), None);
        assert_eq!(module.near(0xFFF), None);
        assert_eq!(module.near(0x1108).unwrap().to_string(), "m!label+0x8");
    }

    #[test]
    fn names_are_found_in_full_or_by_a_unique_end() {
        let module = module();
        assert_eq!(module.find("a::second").unwrap().address, 0x1010);
        assert_eq!(module.find("first").unwrap().address, 0x1000);
        assert_eq!(module.find("second"), None);
        assert_eq!(module.matching("*SECOND").count(), 2);
        assert_eq!(module.matching("?abel").count(), 1);
        assert_eq!(module.matching("second").count(), 0);
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("**x", "yx", true),
            ("", "x", false),
            ("a?", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        // Not exponential.
        assert!(!matches(&"*a".repeat(30), &"a".repeat(29)));
    }

    #[test]
    fn this_very_program_is_read_and_no_damage_breaks_it() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let load = |file: &[u8]| {
            Module::load("self", &mut |offset, to: &mut [u8]| {
                let Ok(offset) = usize::try_from(offset) else { return false };
                match offset.checked_add(to.len()).and_then(|end| file.get(offset..end)) {
                    Some(bytes) => {
                        to.copy_from_slice(bytes);
                        true
                    }
                    None => false,
                }
            })
        };
        let module = load(&file);
        assert!(module.matching("*symbols::matches*").count() > 0);
        let mut damaged = file[..file.len().min(1 << 16)].to_vec();
        let mut seed = 3u64;
        for _ in 0..300 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % 64;
            damaged[at] = (seed >> 24) as u8;
            load(&damaged);
        }
        assert_eq!(load(&[]).count(), 0);
    }
}
