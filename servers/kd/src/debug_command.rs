//! The commands of a debugger: memory, code, machine, objects. What [`crate::command`] does not know it asks here.

use crate::address::hexadecimal;
use crate::command::{ProcessName, number, process_name};
use alloc::format;
use alloc::string::String;

/// A command on memory, code, the machine or objects. Addresses are as they were typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Debug {
    /// `db`, `dw`, `dd`, `dq`, `du`: memory in units of so many bytes; `du` (text in UTF-16) has 0.
    Dump(usize, String, Option<u64>),
    /// `u ADDRESS [Ln]`.
    Unassemble(String, Option<u64>),
    /// `k [THREAD]`.
    Stack(Option<u32>),
    /// `r`.
    Registers,
    /// `ln ADDRESS`.
    Near(String),
    /// `x MODULE!PATTERN`.
    Examine(String, String),
    /// `lm`.
    Modules,
    /// `dt TYPE [ADDRESS]`, or `dt PATTERN`.
    Type(String, Option<String>),
    /// `.process [PROCESS]`.
    SetProcess(Option<ProcessName>),
    /// `.thread [THREAD]`.
    SetThread(Option<u32>),
    /// `!pte ADDRESS`.
    Pte(String),
    /// `!vad [PROCESS]`.
    Vad(Option<ProcessName>),
    /// `!token [PROCESS]`.
    Token(Option<ProcessName>),
    /// `!object PATH` or `!object ID`.
    Object(String),
    /// `!running`.
    Running,
    /// `!ready`.
    Ready,
    /// `!timer`.
    Timers,
    /// `!pcr [PROCESSOR]`.
    Pcr(Option<u32>),
    /// `!idt [VECTOR]`.
    Idt(Option<u8>),
    /// `.break`.
    Break,
    /// `g`, which means something only after `.break`.
    Go,
    /// `.reboot`.
    Reboot,
}

/// The commands with their arguments and what they do.
pub const HELP: &[(&str, &str)] = &[
    ("!object \\PATH | ID", "an object by its name, or the handles to one by its id"),
    ("!token [PROCESS]", "a process's token: user, groups, privileges"),
    ("!running", "the threads that run, by processor"),
    ("!ready", "the threads that are ready to run"),
    ("!timer", "waits that end by themselves, the next first"),
    ("!pcr [PROCESSOR]", "processor control blocks"),
    ("!idt [VECTOR]", "the interrupt descriptor table"),
    ("!pte ADDRESS", "the page-table entries of an address"),
    ("!vad [PROCESS]", "the regions of a process's memory"),
    (".process [PROCESS]", "whose user addresses are meant from now on"),
    (".thread [THREAD]", "which thread k and r mean from now on"),
    ("db|dw|dd|dq ADDRESS [Ln]", "memory in bytes, words, double words, quad words"),
    ("du ADDRESS [Ln]", "memory as UTF-16 text"),
    ("u ADDRESS [Ln]", "instructions"),
    ("k [THREAD]", "a thread's stack"),
    ("r", "the registers with which .thread left user mode"),
    ("lm", "modules"),
    ("x MODULE!PATTERN", "symbols; * and ? stand for any text"),
    ("ln ADDRESS", "the symbol at an address"),
    ("dt TYPE [ADDRESS]", "a type of the kernel, and what is at an address; with * the names of types"),
    (".break", "stop the whole system; then .help lists what can be asked, g goes on"),
    (".reboot", "restart the machine"),
];

/// Parses a command; `None` when it is not one of these.
pub fn parse(verb: &str, arguments: &[&str]) -> Option<Result<Debug, String>> {
    let usage = || {
        let known = HELP.iter().find(|(usage, _)| usage.split([' ', '|']).any(|word| word == verb));
        Err(format!("usage: {}", known.map_or(verb, |(usage, _)| usage)))
    };
    let dump = |unit| match *arguments {
        [address] => Ok(Debug::Dump(unit, address.into(), None)),
        [address, count] => length(count).map(|count| Debug::Dump(unit, address.into(), Some(count))),
        _ => usage(),
    };
    let one = |make: fn(String) -> Debug| match *arguments {
        [argument] => Ok(make(argument.into())),
        _ => usage(),
    };
    let none = |command| if arguments.is_empty() { Ok(command) } else { usage() };
    let process = |make: fn(Option<ProcessName>) -> Debug| match *arguments {
        [] => Ok(make(None)),
        [name] => Ok(make(Some(process_name(name)))),
        _ => usage(),
    };
    let id = |make: fn(Option<u32>) -> Debug, what| match *arguments {
        [] => Ok(make(None)),
        [text] => number(text, what).map(|id| make(Some(id))),
        _ => usage(),
    };
    Some(match verb {
        "db" => dump(1),
        "dw" => dump(2),
        "dd" => dump(4),
        "dq" => dump(8),
        "du" => dump(0),
        "u" => match *arguments {
            [address] => Ok(Debug::Unassemble(address.into(), None)),
            [address, count] => length(count).map(|count| Debug::Unassemble(address.into(), Some(count))),
            _ => usage(),
        },
        "k" => id(Debug::Stack, "a thread id"),
        "r" => none(Debug::Registers),
        "ln" => one(Debug::Near),
        "lm" => none(Debug::Modules),
        "x" => match *arguments {
            [text] => match text.split_once('!') {
                Some((module, pattern)) => Ok(Debug::Examine(module.into(), pattern.into())),
                None => usage(),
            },
            _ => usage(),
        },
        "dt" => match *arguments {
            [name] => Ok(Debug::Type(name.into(), None)),
            [name, address] => Ok(Debug::Type(name.into(), Some(address.into()))),
            _ => usage(),
        },
        ".process" => process(Debug::SetProcess),
        ".thread" => id(Debug::SetThread, "a thread id"),
        "!pte" => one(Debug::Pte),
        "!vad" => process(Debug::Vad),
        "!token" => process(Debug::Token),
        "!object" => one(Debug::Object),
        "!running" => none(Debug::Running),
        "!ready" => none(Debug::Ready),
        "!timer" => none(Debug::Timers),
        "!pcr" => id(Debug::Pcr, "a processor"),
        "!idt" => match *arguments {
            [] => Ok(Debug::Idt(None)),
            [vector] => match hexadecimal(vector).and_then(|vector| u8::try_from(vector).ok()) {
                Some(vector) => Ok(Debug::Idt(Some(vector))),
                None => Err(format!("'{vector}' is not a vector (hexadecimal)")),
            },
            _ => usage(),
        },
        ".break" => none(Debug::Break),
        "g" => none(Debug::Go),
        ".reboot" => none(Debug::Reboot),
        _ => return None,
    })
}

/// Most units that a command shows.
pub const MOST_UNITS: u64 = 0x1_0000;

/// `L20`: how many, hexadecimal as in WinDbg.
fn length(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix(['l', 'L']).unwrap_or("");
    let count = hexadecimal(digits).filter(|count| (1..=MOST_UNITS).contains(count));
    count.ok_or_else(|| format!("'{text}' is not a length (L and a hexadecimal number up to {MOST_UNITS:x})"))
}

impl Debug {
    /// True for what can be asked for as JSON.
    pub const fn is_listing(&self) -> bool {
        !matches!(
            self,
            Self::SetProcess(_) | Self::SetThread(_) | Self::Break | Self::Go | Self::Reboot | Self::Dump(..)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windbg_words() {
        let go = |verb, arguments: &[&str]| parse(verb, arguments).unwrap();
        assert_eq!(go("db", &["1000", "L20"]), Ok(Debug::Dump(1, "1000".into(), Some(0x20))));
        assert_eq!(go("du", &["1000"]), Ok(Debug::Dump(0, "1000".into(), None)));
        assert_eq!(go("x", &["nt!*main*"]), Ok(Debug::Examine("nt".into(), "*main*".into())));
        assert_eq!(go("!idt", &["0e"]), Ok(Debug::Idt(Some(14))));
        assert_eq!(go("k", &[]), Ok(Debug::Stack(None)));
        assert_eq!(go("!vad", &["cmd"]), Ok(Debug::Vad(Some(ProcessName::Name("cmd".into())))));
        assert_eq!(parse("frob", &[]), None);
    }

    #[test]
    fn wrong_forms_tell_the_right_one() {
        assert_eq!(parse("x", &["nt"]).unwrap(), Err("usage: x MODULE!PATTERN".into()));
        assert_eq!(parse("dq", &[]).unwrap(), Err("usage: db|dw|dd|dq ADDRESS [Ln]".into()));
        for (verb, arguments) in [
            ("db", &["0", "20"][..]),
            ("db", &["0", "L0"]),
            ("u", &["0", "L10001"]),
            ("!idt", &["100"]),
            ("k", &["x"]),
            ("g", &["1"]),
        ] {
            assert!(parse(verb, arguments).unwrap().is_err(), "{verb} {arguments:?}");
        }
    }
}
