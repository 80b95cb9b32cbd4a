//! docs/syscalls.md is made from the table of system calls: this test renders it and compares. With `ANTARES_BLESS=1` in
//! the environment it writes the page.

use abi::arg::Dir;
use abi::ob::ObjectType;
use abi::syscalls::{ArgInfo, SyscallInfo, syscalls};
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "\
# System calls

This page is made from the table in [libnt/abi/src/syscalls.rs](../libnt/abi/src/syscalls.rs), the one place where system
calls are declared; a unit test of `abi` compares the two (`ANTARES_BLESS=1 cargo test -p abi` rewrites the page).
[traps.md](traps.md) has the calling convention and how a call reaches its handler.

Below each call stand its arguments in order: name, direction, and the type behind the pointer, or for handles the object
type and the access that are needed. `u8` behind a pointer means a buffer whose length is another argument.

Every call can also return these, and the entries do not repeat them:

| status | when |
|---|---|
| STATUS_ACCESS_VIOLATION | a pointer is not a user address, or the memory cannot be read or written |
| STATUS_INVALID_HANDLE | a handle names nothing in the caller's table |
| STATUS_OBJECT_TYPE_MISMATCH | a handle is to an object of another type |
| STATUS_ACCESS_DENIED | a handle does not grant the access |
| STATUS_QUOTA_EXCEEDED | the caller's quota block is used up |
| STATUS_INSUFFICIENT_RESOURCES | the kernel has no memory |
| STATUS_NOT_IMPLEMENTED | the call or option is declared only ([alpc.md](alpc.md) lists which) |

A number that is not here is STATUS_INVALID_SYSTEM_SERVICE.
";

/// First number of each family, and its title.
const FAMILIES: [(u32, &str); 9] = [
    (0, "Handles and waits"),
    (16, "Events"),
    (32, "Processes"),
    (40, "Threads"),
    (48, "Memory"),
    (64, "ALPC"),
    (96, "Server objects and names"),
    (112, "The system"),
    (128, "Hardware resources"),
];

/// A declared type without its spaces, which differ from compiler to compiler.
fn type_text(argument: &ArgInfo) -> String {
    argument.type_name.chars().filter(|c| !c.is_whitespace()).collect()
}

/// The `x` of `In<x>`.
fn pointee(argument: &ArgInfo) -> String {
    let text = type_text(argument);
    let inner = text.split_once('<').and_then(|(_, rest)| rest.strip_suffix('>'));
    inner.unwrap_or(&text).to_owned()
}

fn handle_needs(argument: &ArgInfo) -> String {
    let text = type_text(argument);
    let Some((_, access)) = text.trim_end_matches('>').rsplit_once(',') else { return "any object".into() };
    let object = ObjectType::from_number(argument.object_type).map_or("any object", |object| object.name());
    let object = if argument.object_type == 0 { "any object" } else { object };
    if argument.access == 0 { object.into() } else { format!("{object}, {access}") }
}

fn write_call(page: &mut String, call: &SyscallInfo) {
    writeln!(page, "\n### {} {}\n", call.number, call.name).unwrap();
    let what: Vec<&str> = call.what.iter().map(|line| line.trim()).collect();
    let what = what.join(" ").replace("[`crate::info`]", "`abi::info`").replace("[`crate::io`]", "`abi::io`");
    writeln!(page, "{what}").unwrap();
    if !call.args.is_empty() {
        let width = call.args.iter().map(|argument| argument.name.len()).max().unwrap_or(0);
        writeln!(page, "\n```text").unwrap();
        for argument in call.args {
            let (direction, rest) = match argument.dir {
                Dir::Value => ("value", type_text(argument)),
                Dir::Handle => ("handle", handle_needs(argument)),
                Dir::In => ("in", pointee(argument)),
                Dir::Out => ("out", pointee(argument)),
                Dir::InOut => ("in-out", pointee(argument)),
            };
            writeln!(page, "{:width$}  {direction:<6}  {rest}", argument.name).unwrap();
        }
        writeln!(page, "```").unwrap();
    }
    if !call.errors.is_empty() {
        writeln!(page).unwrap();
    }
    for (status, when) in call.errors {
        writeln!(page, "- {} (0x{:08X}): {when}", status.name().expect("a status with a name"), status.0)
            .unwrap();
    }
}

fn render() -> String {
    let mut page = HEAD.to_owned();
    let mut families = FAMILIES.iter().peekable();
    for call in syscalls() {
        if let Some((_, title)) = families.next_if(|(first, _)| *first <= call.number) {
            writeln!(page, "\n## {title}").unwrap();
        }
        write_call(&mut page, call);
    }
    page
}

#[test]
fn the_page_is_the_table() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/syscalls.md");
    let page = render();
    if std::env::var_os("ANTARES_BLESS").is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let there = std::fs::read_to_string(&file).unwrap_or_default();
    let differs = page.lines().zip(there.lines()).find(|(wanted, found)| wanted != found);
    assert!(
        page == there,
        "docs/syscalls.md is not what the table says ({differs:?}); ANTARES_BLESS=1 cargo test -p abi rewrites it"
    );
}
