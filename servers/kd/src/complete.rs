//! Tab completion: what the word before the cursor could become.

use crate::execute::HELP;
use crate::snapshot::{Snapshot, port_name};
use crate::{debug_command, trace_command};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// What can be put in place of the text from byte `from` to the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Where the word begins.
    pub from: usize,
    /// What it could become, sorted; quoted where that is needed.
    pub candidates: Vec<String>,
}

/// What a word names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Verb,
    Process,
    Thread,
    Port,
    Words(&'static [&'static str]),
    Symbol,
    Nothing,
}

/// What the word at `index` of a command is, after the words before it.
fn kind(before: &[&str]) -> Kind {
    let Some((verb, arguments)) = before.split_first() else { return Kind::Verb };
    match (verb.to_ascii_lowercase().as_str(), arguments) {
        ("help" | ".help" | "?" | "!help", []) => Kind::Verb,
        ("!process" | "!handle" | "!token" | "!vad" | ".process", []) => Kind::Process,
        ("!thread" | "!wait" | ".thread" | "k", []) => Kind::Thread,
        ("!alpc", []) => Kind::Words(&["/g", "/lpc", "/lpp", "/m", "/p"]),
        ("!alpc", ["/lpp"]) => Kind::Process,
        ("!alpc", ["/p" | "/lpc"]) | ("!object", []) => Kind::Port,
        ("trace", []) => Kind::Words(&["off", "on", "show", "status"]),
        ("trace", _) => Kind::Process,
        ("x" | "u" | "ln" | "db" | "dw" | "dd" | "dq" | "du", []) => Kind::Symbol,
        _ => Kind::Nothing,
    }
}

/// The first words of all commands.
fn verbs() -> BTreeSet<String> {
    let usages = HELP
        .iter()
        .chain(trace_command::HELP)
        .chain(debug_command::HELP)
        .map(|(usage, _)| usage.split(' ').next());
    usages.flatten().flat_map(|verbs| verbs.split('|')).map(Into::into).collect()
}

/// Splits what stands before the cursor: the words that are done, and where the one being typed begins.
fn split(line: &str) -> (Vec<&str>, usize) {
    let (mut words, mut start, mut quoted) = (Vec::new(), None, false);
    for (at, c) in line.char_indices() {
        match c {
            '"' => {
                quoted = !quoted;
                start.get_or_insert(at);
            }
            c if c.is_whitespace() && !quoted => words.extend(start.take().map(|start| &line[start..at])),
            _ => drop(start.get_or_insert(at)),
        }
    }
    (words, start.unwrap_or(line.len()))
}

/// What can be typed at the end of `before`, which is the line up to the cursor. `symbols` gives the names of symbols that
/// begin with a text.
pub fn complete(
    before: &str,
    snapshot: &Snapshot,
    symbols: &mut dyn FnMut(&str) -> Vec<String>,
) -> Completion {
    let (words, from) = split(before);
    let word = before[from..].trim_start_matches('"');
    let names: BTreeSet<String> = match kind(&words) {
        Kind::Verb => verbs(),
        Kind::Process => snapshot.processes().iter().map(|process| process.name.clone()).collect(),
        Kind::Thread => {
            let threads = snapshot.processes().iter().flat_map(|process| &process.threads);
            threads.map(|thread| thread.unique_thread.to_string()).collect()
        }
        Kind::Port => snapshot.ports().iter().filter(|p| p.name_length > 0).map(port_name).collect(),
        Kind::Words(words) => words.iter().map(|word| String::from(*word)).collect(),
        Kind::Symbol => symbols(word).into_iter().collect(),
        Kind::Nothing => BTreeSet::new(),
    };
    let fits = |name: &String| {
        name.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)) && !name.is_empty()
    };
    let quoted = before[from..].starts_with('"');
    let quote = |name: String| if quoted || name.contains(' ') { format!("\"{name}\"") } else { name };
    Completion { from, candidates: names.into_iter().filter(fits).map(quote).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::snapshot;

    fn candidates(before: &str) -> Vec<String> {
        let symbols = |start: &str| {
            ["kernel!main", "kernel!memcpy"]
                .iter()
                .filter(|s| s.starts_with(start))
                .map(|s| s.to_string())
                .collect()
        };
        complete(before, &snapshot(), &mut { symbols }).candidates
    }

    #[test]
    fn verbs_processes_ports_symbols() {
        assert_eq!(candidates("!pro"), ["!process"]);
        assert_eq!(candidates("!process c"), ["cmd", "console"]);
        assert_eq!(candidates("!alpc /l"), ["/lpc", "/lpp"]);
        assert_eq!(candidates("!alpc /lpp cm"), ["cmd"]);
        assert_eq!(candidates("!alpc /p \\R"), ["\"\\RPC Control\\x\""]);
        assert_eq!(candidates("!alpc /p \"\\rpc C"), ["\"\\RPC Control\\x\""]);
        assert_eq!(candidates("!wait "), ["13", "21", "22"]);
        assert_eq!(candidates("u kernel!me"), ["kernel!memcpy"]);
        assert!(candidates("!vm x").is_empty());
        assert!(candidates("").len() > 10);
    }

    #[test]
    fn the_word_begins_after_the_last_blank_outside_quotes() {
        let from = |before| complete(before, &snapshot(), &mut |_| Vec::new()).from;
        assert_eq!(from("!alpc /p \"\\RPC C"), 9);
        assert_eq!(from("!process "), 9);
        assert_eq!(from("  !pr"), 2);
        assert_eq!(from("ä \u{a0}"), 5);
    }
}
