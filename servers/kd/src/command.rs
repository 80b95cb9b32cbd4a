//! Command lines: words, options, ids.

use crate::debug_command::{self, Debug};
use crate::pager::Size;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// How a command names a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessName {
    /// By id.
    Id(u32),
    /// By image name.
    Name(String),
}

/// What `!alpc` is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alpc {
    /// All ports (also `/g`).
    All,
    /// One port (`/p`), by id or name.
    Port(String),
    /// The ports of a process (`/lpp`).
    ProcessPorts(ProcessName),
    /// The connections of a connection port (`/lpc`), by id or name.
    Connections(String),
    /// One message (`/m`).
    Message(u32),
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Nothing was typed.
    Nothing,
    /// `help [COMMAND]`.
    Help(Option<String>),
    /// `!process [PROCESS] [DETAIL]`; no process: all.
    Process(Option<ProcessName>, u32),
    /// `!thread [THREAD]`; none: all.
    Thread(Option<u32>),
    /// `!alpc`.
    Alpc(Alpc),
    /// Memory, code, the machine, objects.
    Debug(Debug),
    /// `!wait [THREAD]`; none: all threads that wait for a reply.
    Wait(Option<u32>),
    /// `.terminal ROWS [COLUMNS]`, or off: what the person at the line can see.
    Terminal(Option<Size>),
    /// `!handle PROCESS`.
    Handle(ProcessName),
    /// `!vm`.
    Vm,
    /// `!syscalls`.
    Syscalls,
    /// `trace ...`, the whole line.
    Trace(String),
    /// `.crash`.
    Crash,
}

/// A command line: what is to be done, and whether its listing is wanted as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The command.
    pub command: Command,
    /// `--json` was given.
    pub json: bool,
}

/// Parses a command line with `--json` anywhere behind its first word. The error is what to tell the person.
pub fn parse_line(line: &str) -> Result<Line, String> {
    let mut words = split(line)?;
    let before = words.len();
    let mut first = true;
    words.retain(|word| core::mem::take(&mut first) || word != "--json");
    let json = words.len() < before;
    let command = parse_words(line, &words)?;
    if json && !command.is_listing() {
        return Err(format!("'{}' has no --json", words.first().map_or("", String::as_str)));
    }
    Ok(Line { command, json })
}

impl Command {
    /// True for what can be asked for as JSON.
    pub const fn is_listing(&self) -> bool {
        if let Self::Debug(command) = self {
            return command.is_listing();
        }
        !matches!(self, Self::Nothing | Self::Help(_) | Self::Terminal(_) | Self::Trace(_) | Self::Crash)
    }
}

/// Parses a command line without options. The error is what to tell the person.
pub fn parse(line: &str) -> Result<Command, String> {
    parse_words(line, &split(line)?)
}

fn parse_words(line: &str, words: &[String]) -> Result<Command, String> {
    let Some((verb, arguments)) = words.split_first() else { return Ok(Command::Nothing) };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match verb.to_ascii_lowercase().as_str() {
        "help" | ".help" | "?" | "!help" => match arguments[..] {
            [] => Ok(Command::Help(None)),
            [topic] => Ok(Command::Help(Some(topic.to_string()))),
            _ => Err("help takes one command at most".into()),
        },
        "!process" => process(&arguments),
        "!thread" => match arguments[..] {
            [] => Ok(Command::Thread(None)),
            [thread] => Ok(Command::Thread(Some(number(thread, "a thread id")?))),
            _ => Err("usage: !thread [THREAD]".into()),
        },
        "!alpc" => alpc(&arguments).map(Command::Alpc),
        "!wait" => match arguments[..] {
            [] => Ok(Command::Wait(None)),
            [thread] => Ok(Command::Wait(Some(number(thread, "a thread id")?))),
            _ => Err("usage: !wait [THREAD]".into()),
        },
        ".terminal" => terminal(&arguments),
        "!handle" => match arguments[..] {
            [process] => Ok(Command::Handle(process_name(process))),
            _ => Err("usage: !handle PROCESS (an id or an image name)".into()),
        },
        "!vm" => none(&arguments, "!vm", Command::Vm),
        "!syscalls" => none(&arguments, "!syscalls", Command::Syscalls),
        ".crash" => none(&arguments, ".crash", Command::Crash),
        "trace" => Ok(Command::Trace(line.into())),
        other => debug_command::parse(other, &arguments).map_or_else(
            || Err(format!("unknown command '{verb}'; 'help' lists the commands")),
            |parsed| parsed.map(Command::Debug),
        ),
    }
}

/// Splits a line into words at blanks; `"..."` keeps blanks in a word (`port="\RPC Control\x"`).
fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        return Err("a quotation mark is not closed".into());
    }
    words.extend(word);
    Ok(words)
}

fn none(arguments: &[&str], verb: &str, command: Command) -> Result<Command, String> {
    if arguments.is_empty() { Ok(command) } else { Err(format!("{verb} takes no arguments")) }
}

fn process(arguments: &[&str]) -> Result<Command, String> {
    let (name, detail) = match *arguments {
        [] => ("0", "0"),
        [name] => (name, if name == "0" { "0" } else { "7" }),
        [name, detail] => (name, detail),
        _ => return Err("usage: !process [PROCESS | 0] [0 | 7]".into()),
    };
    let detail = number(detail, "a detail level (0 or 7)")?;
    match process_name(name) {
        ProcessName::Id(0) => Ok(Command::Process(None, detail)),
        name => Ok(Command::Process(Some(name), detail)),
    }
}

fn alpc(arguments: &[&str]) -> Result<Alpc, String> {
    let usage = "usage: !alpc [/g | /p PORT | /lpp PROCESS | /lpc PORT | /m MESSAGE]";
    match *arguments {
        [] => Ok(Alpc::All),
        [option] if option.trim_start_matches(['/', '-']).eq_ignore_ascii_case("g") => Ok(Alpc::All),
        [option, value] => match option.to_ascii_lowercase().trim_start_matches(['/', '-']) {
            "p" => Ok(Alpc::Port(value.into())),
            "lpp" => Ok(Alpc::ProcessPorts(process_name(value))),
            "lpc" => Ok(Alpc::Connections(value.into())),
            "m" => {
                let digits = value.strip_prefix("0x").or(value.strip_prefix("0X")).unwrap_or(value);
                let id = u32::from_str_radix(digits, 16);
                id.map(Alpc::Message).map_err(|_| format!("'{value}' is not a message id (hexadecimal)"))
            }
            _ => Err(usage.into()),
        },
        _ => Err(usage.into()),
    }
}

fn terminal(arguments: &[&str]) -> Result<Command, String> {
    let usage = || String::from("usage: .terminal ROWS [COLUMNS] | off");
    let size = |rows: &str, columns: &str| {
        let number = |text: &str| text.parse().ok().filter(|n| (2..=10_000).contains(n)).ok_or_else(usage);
        Ok(Command::Terminal(Some(Size { rows: number(rows)?, columns: number(columns)? })))
    };
    match *arguments {
        ["off"] => Ok(Command::Terminal(None)),
        [rows] => size(rows, "80"),
        [rows, columns] => size(rows, columns),
        _ => Err(usage()),
    }
}

/// An id or an image name.
pub fn process_name(text: &str) -> ProcessName {
    number(text, "").map_or_else(|_| ProcessName::Name(text.into()), ProcessName::Id)
}

/// A number in decimal, or in hexadecimal with `0x`.
pub fn number(text: &str, what: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("'{text}' is not {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u32) -> Option<ProcessName> {
        Some(ProcessName::Id(id))
    }

    #[test]
    fn windbg_words() {
        assert_eq!(parse("!process 0 0"), Ok(Command::Process(None, 0)));
        assert_eq!(parse("!process"), Ok(Command::Process(None, 0)));
        assert_eq!(parse("!PROCESS 12"), Ok(Command::Process(id(12), 7)));
        assert_eq!(parse("!process 0x1c 0"), Ok(Command::Process(id(28), 0)));
        assert_eq!(
            parse(" !process  cmd 7 "),
            Ok(Command::Process(Some(ProcessName::Name("cmd".into())), 7))
        );
        assert_eq!(parse("!thread 5"), Ok(Command::Thread(Some(5))));
        assert_eq!(parse("!alpc"), Ok(Command::Alpc(Alpc::All)));
        assert_eq!(parse("!alpc /P 8"), Ok(Command::Alpc(Alpc::Port("8".into()))));
        assert_eq!(
            parse("!alpc /lpp cmd"),
            Ok(Command::Alpc(Alpc::ProcessPorts(ProcessName::Name("cmd".into()))))
        );
        assert_eq!(
            parse("!alpc /lpc \"\\RPC Control\\x\""),
            Ok(Command::Alpc(Alpc::Connections("\\RPC Control\\x".into())))
        );
        assert_eq!(parse("!alpc /m 4e"), Ok(Command::Alpc(Alpc::Message(0x4E))));
        assert_eq!(parse("?"), Ok(Command::Help(None)));
        assert_eq!(parse(".help trace"), Ok(Command::Help(Some("trace".into()))));
        assert_eq!(parse("   "), Ok(Command::Nothing));
    }

    #[test]
    fn json_is_an_option_of_listings() {
        let line = |command, json| Ok(Line { command, json });
        assert_eq!(parse_line("!process 0 0 --json"), line(Command::Process(None, 0), true));
        assert_eq!(parse_line("!vm"), line(Command::Vm, false));
        assert_eq!(parse_line("!wait --json 5"), line(Command::Wait(Some(5)), true));
        assert_eq!(parse_line(".crash --json"), Err("'.crash' has no --json".into()));
        assert!(parse_line("--json").is_err());
    }

    #[test]
    fn the_terminal_is_told() {
        let size = |rows, columns| Ok(Command::Terminal(Some(Size { rows, columns })));
        assert_eq!(parse(".terminal 24"), size(24, 80));
        assert_eq!(parse(".terminal 24 132"), size(24, 132));
        assert_eq!(parse(".terminal off"), Ok(Command::Terminal(None)));
        for wrong in [".terminal", ".terminal 1", ".terminal x", ".terminal 24 80 1", ".terminal 99999"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        assert_eq!(parse("frob 1"), Err("unknown command 'frob'; 'help' lists the commands".into()));
        assert_eq!(parse("!vm 1"), Err("!vm takes no arguments".into()));
        assert_eq!(parse("!alpc /m zz"), Err("'zz' is not a message id (hexadecimal)".into()));
        assert_eq!(parse("!process 4 x"), Err("'x' is not a detail level (0 or 7)".into()));
        assert_eq!(parse("help \"a"), Err("a quotation mark is not closed".into()));
        assert!(parse("!handle").is_err());
        assert!(parse("!thread 99999999999").is_err());
    }
}
