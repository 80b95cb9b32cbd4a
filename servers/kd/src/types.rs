//! `dt`: the kernel's types, from the table that the host tool takes out of its debug information (boot/host, `types`).

use crate::address::hexadecimal;
use crate::execute::System;
use crate::memory_view::read_with_holes;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use serde::Serialize;

/// Name of the boot module with the table.
pub const TABLE: &str = "kernel.types";
/// Largest value that is shown as a number, in bytes.
const WORD: u64 = 8;

/// A field of a type, or a name of one of its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Offset in bytes, or the value.
    pub at: i64,
    /// Bytes of a field.
    pub size: Option<u64>,
    /// Name.
    pub name: String,
    /// Type of a field.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// What it holds, where that was asked for: hexadecimal, `?` where nothing is.
    pub value: Option<String>,
}

/// A type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Type {
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Fields, or names of values.
    pub members: Vec<Member>,
}

/// A line of the table that begins a type: size and name.
fn head(line: &str) -> Option<(u64, &str)> {
    let mut parts = line.strip_prefix("T\t")?.splitn(2, '\t');
    Some((parts.next()?.parse().ok()?, parts.next()?))
}

fn member(line: &str) -> Option<Member> {
    if let Some(rest) = line.strip_prefix("F\t") {
        let mut parts = rest.splitn(4, '\t');
        let (at, size) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (name, type_name) = (parts.next()?.into(), Some(parts.next()?.into()));
        return Some(Member { at, size: Some(size), name, type_name, value: None });
    }
    let mut parts = line.strip_prefix("E\t")?.splitn(2, '\t');
    let at = parts.next()?.parse().ok()?;
    Some(Member { at, size: None, name: parts.next()?.into(), type_name: None, value: None })
}

/// The names of the types that match a pattern with `*` and `?`.
pub fn names(table: &str, pattern: &str) -> Vec<String> {
    let all = table.lines().filter_map(head).map(|(_, name)| name);
    all.filter(|name| crate::symbols::is_match(pattern, name)).map(Into::into).collect()
}

/// The type that a name means: in full, or by its end behind `::`, if that is only one.
pub fn find(table: &str, name: &str) -> Result<Type, String> {
    let exact = |candidate: &str| candidate.eq_ignore_ascii_case(name);
    let end = format!("::{}", name.to_ascii_lowercase());
    let by_end = |candidate: &str| candidate.to_ascii_lowercase().ends_with(&end);
    let named = |test: &dyn Fn(&str) -> bool| -> Vec<&str> {
        table.lines().filter_map(head).map(|(_, name)| name).filter(|name| test(name)).collect()
    };
    let mut found = named(&exact);
    if found.is_empty() {
        found = named(&by_end);
    }
    let full = match found[..] {
        [] => return Err(format!("there is no type '{name}'; dt *PART* looks for one")),
        [one] => one,
        _ => return Err(format!("'{name}' is one of {}", found.join(", "))),
    };
    let mut lines = table.lines().skip_while(|line| head(line).is_none_or(|(_, name)| name != full));
    let size = lines.next().and_then(head).map_or(0, |(size, _)| size);
    let members = lines.take_while(|line| !line.starts_with('T')).filter_map(member).collect();
    Ok(Type { name: full.into(), size, members })
}

/// Fills in what the fields of a type hold at an address.
pub fn fill<S: System>(found: &mut Type, process: u32, address: u64, system: &mut S) {
    for member in &mut found.members {
        let Some(size) = member.size.filter(|size| (1..=WORD).contains(size)) else { continue };
        let at = address.wrapping_add(member.at.cast_unsigned());
        let bytes = read_with_holes(process, at, size as usize, system);
        let whole: Option<Vec<u8>> = bytes.into_iter().rev().collect();
        member.value = Some(match whole {
            Some(whole) => whole.iter().map(|byte| format!("{byte:02x}")).collect(),
            None => "?".repeat(2 * size as usize),
        });
    }
}

/// `dt TYPE [ADDRESS]`.
pub fn write_type(out: &mut dyn Write, found: &Type) -> fmt::Result {
    writeln!(out, "{}  {:#x} bytes", found.name, found.size)?;
    for Member { at, name, type_name, value, .. } in &found.members {
        match type_name {
            Some(type_name) => {
                write!(out, "   +{at:#05x} {name:<20} : ")?;
                match value {
                    Some(value) => writeln!(out, "{value}  {type_name}")?,
                    None => writeln!(out, "{type_name}")?,
                }
            }
            None => writeln!(out, "   {name} = {at}")?,
        }
    }
    Ok(())
}

/// `dt PATTERN`.
pub fn write_names(out: &mut dyn Write, names: &[String]) -> fmt::Result {
    names.iter().try_for_each(|name| writeln!(out, "{name}"))?;
    writeln!(out, "{} types", names.len())
}

/// Reads the table.
pub fn read_table<S: System>(system: &mut S) -> Result<String, String> {
    const MOST: u64 = 16 << 20;
    let files = system.modules().map_err(|status| format!("modules: {status}"))?;
    let file = files.iter().find(|file| crate::symbols::module_name(file) == TABLE);
    let file = file.filter(|file| file.file_size <= MOST).ok_or("there are no types in this system")?;
    let mut bytes = alloc::vec![0; file.file_size as usize];
    if !system.read_all(0, file.file, &mut bytes) {
        return Err("the types cannot be read".into());
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// True for a text that stands for several types rather than one.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The address in `dt TYPE ADDRESS`.
pub fn address(text: &str) -> Result<u64, String> {
    hexadecimal(text).ok_or_else(|| format!("'{text}' is not an address (hexadecimal)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "T\t16\tmicrokernel::ps::Process\nF\t0\t8\tnext\t*const Process\nF\t8\t4\tid\tu32\n\
                          F\t12\t100\tname\t[u8; 100]\nT\t1\tabi::Process\nE\t0\tOne\nE\t-2\tTwo\nT\tx\tbad\n?\nT\t1\n";

    #[test]
    fn types_are_found_by_name_or_end() {
        let process = find(SAMPLE, "ps::process").unwrap();
        assert_eq!((process.size, process.members.len()), (16, 3));
        assert!(find(SAMPLE, "Process").unwrap_err().contains("microkernel::ps::Process, abi::Process"));
        assert!(find(SAMPLE, "nothing").unwrap_err().contains("no type"));
        assert_eq!(names(SAMPLE, "*proc*").len(), 2);
        let mut out = String::new();
        write_type(&mut out, &find(SAMPLE, "abi::Process").unwrap()).unwrap();
        write_type(&mut out, &process).unwrap();
        assert_eq!(
            out,
            "abi::Process  0x1 bytes\n   One = 0\n   Two = -2\nmicrokernel::ps::Process  0x10 bytes\n   \
             +0x000 next                 : *const Process\n   +0x008 id                   : u32\n   \
             +0x00c name                 : [u8; 100]\n"
        );
    }
}
