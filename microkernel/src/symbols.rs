//! Names for kernel addresses.
//!
//! Owns: the kernel file's symbol table, as the boot loader left the file in memory. Called by the
//! bugcheck screen, fault reports and the reduced debug console, so it never allocates, never takes a lock, never fails loudly:
//! without a table every address is nameless.

use core::fmt;
use elf::ElfBytes;
use elf::abi::STT_FUNC;
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::string_table::StringTable;
use elf::symbol::SymbolTable;
use spin::Once;

/// The raw `.symtab` and its string table.
struct Found {
    symbols: &'static [u8],
    strings: &'static [u8],
}

static TABLE: Once<Found> = Once::new();

/// Takes the symbol table out of the kernel's own ELF file. The file must stay in memory. A stripped or
/// damaged file leaves the kernel without names.
pub fn init(kernel_file: &'static [u8]) {
    if let Some(found) = find(kernel_file) {
        TABLE.call_once(|| found);
    }
}

fn find(file: &'static [u8]) -> Option<Found> {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).ok()?;
    let headers = elf.section_headers()?;
    let table = headers.iter().find(|header| header.sh_type == elf::abi::SHT_SYMTAB)?;
    let names = headers.get(usize::try_from(table.sh_link).ok()?).ok()?;
    Some(Found { symbols: elf.section_data(&table).ok()?.0, strings: elf.section_data(&names).ok()?.0 })
}

/// The function that contains `address`: its mangled name and the offset into it.
pub fn lookup(address: u64) -> Option<(&'static str, u64)> {
    find_in(TABLE.get()?, address)
}

/// The same in another file that stays in memory. The file is searched for its table anew each time.
pub fn lookup_in(file: &'static [u8], address: u64) -> Option<(&'static str, u64)> {
    find_in(&find(file)?, address)
}

fn find_in(found: &Found, address: u64) -> Option<(&'static str, u64)> {
    let symbols = SymbolTable::<LittleEndian>::new(LittleEndian, Class::ELF64, found.symbols);
    let symbol = symbols.iter().find(|symbol| {
        symbol.st_symtype() == STT_FUNC
            && address.checked_sub(symbol.st_value).is_some_and(|offset| offset < symbol.st_size)
    })?;
    let name = StringTable::new(found.strings).get(symbol.st_name as usize).ok()?;
    Some((name, address - symbol.st_value))
}

/// An address that prints as `0x... name+0x...`, demangled and without hash; without a name, as the
/// number alone.
pub struct Named(pub u64);

/// A return address, printed like `Named`. A call that never returns can be a function's last
/// instruction, so the name is looked up one byte before.
pub struct Return(pub u64);

impl fmt::Display for Named {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_named(out, self.0, lookup(self.0))
    }
}

impl fmt::Display for Return {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.0.checked_sub(1).and_then(lookup);
        write_named(out, self.0, found.map(|(name, offset)| (name, offset + 1)))
    }
}

fn write_named(out: &mut fmt::Formatter<'_>, address: u64, found: Option<(&str, u64)>) -> fmt::Result {
    write!(out, "{address:#018x}")?;
    match found {
        Some((name, offset)) => write!(out, " {:#}+{offset:#x}", rustc_demangle::demangle(name)),
        None => Ok(()),
    }
}
