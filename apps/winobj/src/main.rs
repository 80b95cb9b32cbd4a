//! Prints the name space: `winobj [PATH] [-s]`.
//!
//! Each name with its type, symbolic links with their target; `-s` goes into the directories below.

#![no_std]
#![no_main]

extern crate alloc;

use libnt::abi::ob::DIRECTORY_QUERY;
use libnt::ob::{self, Directory};
use libnt::prelude::*;

libnt::main!(main);

const USAGE: &str =
    "usage: winobj [PATH] [-s]\nPrints the names below PATH (default \\); -s goes into directories.";
const DIRECTORY: &str = "Directory";
const SYMBOLIC_LINK: &str = "SymbolicLink";

fn main() -> NtStatus {
    let mut path = None;
    let mut recurse = false;
    for argument in env::args() {
        match argument {
            "-s" | "/s" | "-S" | "/S" => recurse = true,
            "-h" | "/?" | "-?" | "--help" => {
                println!("{USAGE}");
                return STATUS_SUCCESS;
            }
            name if name.starts_with('\\') && path.is_none() => path = Some(name),
            wrong => {
                eprintln!("winobj: '{wrong}' is not a path (paths begin with \\)\n{USAGE}");
                return STATUS_INVALID_PARAMETER;
            }
        }
    }
    let path = match path.unwrap_or("\\").trim_end_matches('\\') {
        "" => "\\",
        path => path,
    };
    match show(path, recurse) {
        Ok(()) => STATUS_SUCCESS,
        Err(status) => {
            eprintln!("winobj: {path}: {status}");
            status
        }
    }
}

/// Prints a directory with those below it, or the one object that `path` names.
fn show(path: &str, recurse: bool) -> NtResult {
    let directory = match Directory::open(path, DIRECTORY_QUERY) {
        Err(STATUS_OBJECT_TYPE_MISMATCH) => return show_object(path),
        directory => directory?,
    };
    // The directories still to be shown, the next one last.
    let mut waiting = vec![(path.to_string(), directory)];
    while let Some((path, directory)) = waiting.pop() {
        let entries = directory.list()?;
        println!("Directory {path}");
        let mut below = Vec::new();
        for entry in &entries {
            let name = join(&path, &entry.name);
            println!("  {:<32} {:<14} {}", entry.name, entry.type_name, detail(&name, &entry.type_name));
            if recurse && entry.type_name == DIRECTORY {
                match Directory::open(&name, DIRECTORY_QUERY) {
                    Ok(directory) => below.push((name, directory)),
                    Err(status) => eprintln!("winobj: {name}: {status}"),
                }
            }
        }
        println!("{} objects", entries.len());
        waiting.extend(below.into_iter().rev());
        if !waiting.is_empty() {
            println!();
        }
    }
    Ok(())
}

fn show_object(path: &str) -> NtResult {
    let info = ob::query(path)?;
    println!("{path}  {}  {}", info.type_name, detail(path, &info.type_name));
    Ok(())
}

fn join(directory: &str, name: &str) -> String {
    if directory == "\\" { format!("\\{name}") } else { format!("{directory}\\{name}") }
}

/// Where a link points; a name that is gone by now has no detail.
fn detail(path: &str, type_name: &str) -> String {
    if type_name != SYMBOLIC_LINK {
        return String::new();
    }
    match ob::query_symbolic_link(path) {
        Ok(target) => format!("-> {target}"),
        Err(status) => format!("({status})"),
    }
}
