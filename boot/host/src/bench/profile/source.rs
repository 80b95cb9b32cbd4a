//! From addresses to functions and files.

use super::trace::Executed;
use super::{KERNEL, LEGS, Row};
use crate::error::{Context, Result, message};
use crate::paths;
use addr2line::Loader;
use elf::ElfBytes;
use elf::abi::{STT_FUNC, STT_NOTYPE};
use elf::endian::LittleEndian;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// What tells where an address came from.
struct Source {
    lines: Loader,
    symbols: BTreeMap<u64, String>,
    root: String,
}

impl Source {
    fn open(file: &Path) -> Result<Source> {
        let lines = Loader::new(file)
            .map_err(|error| message(format!("read the line tables of {}: {error}", file.display())))?;
        let mut symbols: BTreeMap<u64, String> = BTreeMap::new();
        for (name, range) in functions(file)? {
            // Of two names for one place the longer says more.
            let known = symbols.entry(range.start).or_default();
            if name.len() > known.len() {
                *known = name;
            }
        }
        Ok(Source { lines, symbols, root: format!("{}/", paths::root()?.display()) })
    }

    /// Function and file of an address: the innermost function of this project, so that what the standard library does inlined is its
    /// caller's, as a closure's is that of the function around it.
    fn place(&self, address: u64) -> (String, String) {
        if let Ok(mut frames) = self.lines.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame.function.as_ref().and_then(|function| function.demangle().ok());
                let file = frame.location.and_then(|location| location.file);
                if let (Some(name), Some(file)) = (name, file)
                    && let Some(file) = file.strip_prefix(&self.root)
                    && !name.starts_with('{')
                {
                    return (plain(&name), file.to_owned());
                }
            }
        }
        let symbol = self.symbols.range(..=address).next_back();
        (symbol.map_or_else(|| format!("{address:#x}"), |(_, name)| name.clone()), String::new())
    }
}

/// A function's name without its hash and its type arguments.
fn plain(name: &str) -> String {
    let name = without_hash(name);
    let end = name.find('<').filter(|at| *at > 0).unwrap_or(name.len());
    name[..end].to_owned()
}

/// The rows of a profile, most expensive first; `runs` operations were made. Without a program, all of user mode is one row.
pub fn rows(executed: &Executed, runs: u64, kernel: &Path, program: Option<&Path>) -> Result<Vec<Row>> {
    let kernel = Source::open(kernel)?;
    let program = program.map(Source::open).transpose()?;
    let mut sums: BTreeMap<(bool, (String, String)), [u64; LEGS]> = BTreeMap::new();
    for (address, counts) in &executed.counts {
        let in_kernel = *address >= KERNEL;
        let source = if in_kernel { Some(&kernel) } else { program.as_ref() };
        let place =
            source.map_or_else(|| ("(all programs)".into(), String::new()), |source| source.place(*address));
        let sum = sums.entry((in_kernel, place)).or_default();
        (0..LEGS).for_each(|leg| sum[leg] += counts[leg]);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let row = |((in_kernel, (function, file)), sum): ((bool, (String, String)), [u64; LEGS])| Row {
        function,
        file,
        in_kernel,
        legs: sum.map(|count| count as f64 / runs as f64),
    };
    let mut rows: Vec<Row> = sums.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.total().total_cmp(&a.total()));
    Ok(rows)
}

/// The functions of an ELF file, and its assembly's labels, which have no type.
pub fn functions(file: &Path) -> Result<Vec<(String, Range<u64>)>> {
    symbols(file, &[STT_FUNC, STT_NOTYPE])
}

/// An ELF file's symbols of these types, demangled.
pub fn symbols(file: &Path, types: &[u8]) -> Result<Vec<(String, Range<u64>)>> {
    let bytes = std::fs::read(file).context(format_args!("read {}", file.display()))?;
    let parsed = ElfBytes::<LittleEndian>::minimal_parse(&bytes)
        .and_then(|parsed| parsed.symbol_table())
        .map_err(|error| message(format!("{}: {error}", file.display())))?;
    let (symbols, names) =
        parsed.ok_or_else(|| message(format!("{} has no symbol table", file.display())))?;
    let symbol = |symbol: elf::symbol::Symbol| {
        let name = names.get(symbol.st_name as usize).unwrap_or_default();
        let name = addr2line::demangle_auto(name.into(), None);
        (without_hash(&name).to_owned(), symbol.st_value..symbol.st_value + symbol.st_size)
    };
    Ok(symbols.iter().filter(|symbol| types.contains(&symbol.st_symtype())).map(symbol).collect())
}

/// A demangled name without the compiler's hash (`::h0123456789abcdef`).
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((rest, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => rest,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_only_the_compiler_reads() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::hello"), "a::hello");
        assert_eq!(plain("switch<a::B, {closure_env#0}>"), "switch");
    }
}
