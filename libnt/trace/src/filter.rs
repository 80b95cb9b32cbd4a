//! The filter language: `trace on alpcping and size>100 and passes=handle`.
//!
//! A filter is a list of terms that all have to hold, with or without `and` between them:
//!
//! | term | holds for events |
//! |---|---|
//! | `process=NAME`, `NAME` | done by the process, or on ports it made; `!=`: all others |
//! | `port=NAME` | on ports of that name: the last part, or with a backslash in front the whole path; `!=`: all others |
//! | `event=KIND,...` | of these kinds |
//! | `type=TYPE,...` | with messages of these types: `LPC_REQUEST` or `request` |
//! | `size>N` | with that much payload; also `>=`, `<`, `<=`, `=`; two of them make a range |
//! | `status=STATUS` | with that status: a name, a number, or `error` |
//! | `passes=ATTRIBUTE,...` | that pass one of these: `handle`, `view`, `security`, `context`, `token`, `direct`, `work` |
//! | `latency>TIME` | answers that take longer: `100us`, `2ms`, `5000ticks`; nothing else is recorded then |
//!
//! Three words say what is recorded besides: `payload=N` that many bytes of each message, `switches` the switches between
//! threads; `last=N` and `for=SECONDS` are for listings. A name with blanks stands in quotation marks, or, if it begins with a backslash,
//! as it is. An error tells the column.

use crate::names::{Names, port_matches, process_matches};
use crate::ring::Clock;
use abi::alpc::message_type_name;
use abi::status::NtStatus;
use abi::trace::filter::{FILTER_NOT_PORT, FILTER_NOT_PROCESS, FILTER_SWITCHES, MOST_PAYLOAD};
use abi::trace::{TraceFilter, TracePredicate, TraceRecord, event_name};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Longest name in a filter.
pub const MAX_NAME: usize = 40;

/// A name that is wanted, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub name: String,
    /// All others are wanted.
    pub negated: bool,
}

/// A latency that an answer must exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// In ticks of the time-stamp counter.
    Ticks(u64),
    /// In nanoseconds.
    Nanoseconds(u64),
}

/// What a filter says. See the module head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Process.
    pub process: Option<Name>,
    /// Port.
    pub port: Option<Name>,
    /// Conditions on the event.
    pub predicate: TracePredicate,
    /// Only answers that are that late.
    pub latency: Option<Latency>,
    /// Payload bytes to record.
    pub payload: u16,
    /// Switches between threads are recorded.
    pub switches: bool,
    /// Only so many of the last ones are listed.
    pub last: Option<usize>,
    /// Seconds that a live listing goes on.
    pub seconds: Option<u64>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            process: None,
            port: None,
            predicate: TracePredicate::ALL,
            latency: None,
            payload: 0,
            switches: false,
            last: None,
            seconds: None,
        }
    }
}

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Characters before it.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

impl Wrong {
    /// The line with a mark under the place.
    pub fn show(&self, line: &str) -> String {
        format!("{line}\n{:width$}^ {}", "", self.what, width = self.column)
    }
}

/// A word of a line.
struct Word {
    column: usize,
    text: String,
    /// Quotation marks say where it ends.
    quoted: bool,
}

/// The words of a line from byte `from` on. Quotation marks keep blanks together.
fn words(line: &str, from: usize) -> Result<Vec<Word>, Wrong> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    for (column, (at, c)) in line.char_indices().enumerate() {
        if at < from {
            continue;
        }
        match c {
            '"' => {
                quote = if quote.is_some() { None } else { Some(column) };
                word.get_or_insert_with(|| Word { column, text: String::new(), quoted: true }).quoted = true;
            }
            c if c.is_whitespace() && quote.is_none() => words.extend(word.take()),
            c => {
                let new = || Word { column, text: String::new(), quoted: false };
                word.get_or_insert_with(new).text.push(c);
            }
        }
    }
    if let Some(column) = quote {
        return Err(Wrong { column, what: "this quotation mark is not closed".into() });
    }
    words.extend(word);
    Ok(words)
}

const OPERATORS: [&str; 6] = ["!=", ">=", "<=", "=", ">", "<"];
const KEYS: [&str; 11] =
    ["process", "port", "event", "type", "size", "status", "passes", "latency", "payload", "last", "for"];

/// Key, operator and value of a word, if it is a term.
fn term(word: &str) -> Option<(&str, &'static str, &str)> {
    let at = word.find(['=', '<', '>', '!'])?;
    let operator = OPERATORS.into_iter().find(|operator| word[at..].starts_with(operator))?;
    Some((&word[..at], operator, &word[at + operator.len()..]))
}

fn is_and(word: &str) -> bool {
    word.eq_ignore_ascii_case("and") || word == "&&"
}

impl Filter {
    /// Parses what stands in `line` from byte `from` on.
    ///
    /// # Errors
    /// What is wrong, and its column in the line.
    pub fn parse(line: &str, from: usize) -> Result<Self, Wrong> {
        let mut filter = Self::default();
        let mut words = words(line, from)?.into_iter().peekable();
        let mut seen: Vec<String> = Vec::new();
        while let Some(Word { column, text: word, quoted }) = words.next() {
            if is_and(&word) {
                continue;
            }
            let wrong = |what: String| Wrong { column, what };
            let Some((key, operator, value)) = term(&word) else {
                if word.eq_ignore_ascii_case("switches") {
                    filter.switches = true;
                } else if filter.process.is_some() {
                    return Err(wrong(format!("'{word}' is a second process, or a term without '='")));
                } else {
                    filter.process = Some(Name { name: name(&word).map_err(wrong)?, negated: false });
                }
                continue;
            };
            let mut value = value.to_string();
            // The rest of a path with blanks.
            while value.starts_with('\\')
                && !quoted
                && let Some(next) = words.next_if(|next| term(&next.text).is_none() && !is_and(&next.text))
            {
                value.push(' ');
                value.push_str(&next.text);
            }
            let key = key.to_ascii_lowercase();
            if key != "size" && seen.contains(&key) {
                return Err(wrong(format!("{key} is given twice")));
            }
            let at = column + key.chars().count() + operator.len();
            filter
                .take(&key, operator, &value)
                .map_err(|(what, of_value)| Wrong { column: if of_value { at } else { column }, what })?;
            seen.push(key);
        }
        if filter.predicate.least_size > filter.predicate.most_size {
            return Err(Wrong { column: from, what: "no size is in the range that is asked for".into() });
        }
        Ok(filter)
    }

    /// Takes a term. The error says whether it lies in the value.
    fn take(&mut self, key: &str, operator: &str, value: &str) -> Result<(), (String, bool)> {
        let of_value = |what: String| (what, true);
        let known = KEYS.contains(&key);
        let fits = match key {
            "process" | "port" => matches!(operator, "=" | "!="),
            "size" => operator != "!=",
            "latency" => matches!(operator, ">" | ">="),
            _ => operator == "=",
        };
        if known && !fits {
            return Err((format!("'{key}' does not go with '{operator}'"), false));
        }
        match key {
            "process" | "port" => {
                let wanted = Name { name: name(value).map_err(of_value)?, negated: operator == "!=" };
                *(if key == "process" { &mut self.process } else { &mut self.port }) = Some(wanted);
            }
            "event" => self.predicate.events = set(value, event_bit).map_err(of_value)?,
            "type" => self.predicate.types = set(value, type_bit).map_err(of_value)?,
            "passes" => self.predicate.attributes = set(value, attribute_bit).map_err(of_value)?,
            "size" => {
                let size = number(value, "a number of bytes up to 65535").map_err(of_value)?;
                self.size(operator, size).map_err(of_value)?;
            }
            "status" => {
                (self.predicate.status_mask, self.predicate.status) = status(value).map_err(of_value)?;
            }
            "latency" => self.latency = Some(latency(value, operator).map_err(of_value)?),
            "payload" => {
                let most = format!("a number of bytes up to {MOST_PAYLOAD}");
                let bytes: u16 = number(value, &most).map_err(of_value)?;
                if bytes > MOST_PAYLOAD {
                    return Err(of_value(format!("'{value}' is not {most}")));
                }
                self.payload = bytes;
            }
            "for" => {
                let seconds: u32 = number(value, "a number of seconds").map_err(of_value)?;
                self.seconds = Some(seconds.into());
            }
            "last" => self.last = Some(number(value, "a number").map_err(of_value)?),
            _ => {
                return Err((
                    format!("there is no '{key}'; there are {}, and 'switches'", KEYS.join(", ")),
                    false,
                ));
            }
        }
        Ok(())
    }

    fn size(&mut self, operator: &str, size: u16) -> Result<(), String> {
        let predicate = &mut self.predicate;
        let none = || "no message has such a size".to_string();
        match operator {
            "=" => (predicate.least_size, predicate.most_size) = (size, size),
            ">" => predicate.least_size = size.checked_add(1).ok_or_else(none)?,
            ">=" => predicate.least_size = size,
            "<" => predicate.most_size = size.checked_sub(1).ok_or_else(none)?,
            _ => predicate.most_size = size,
        }
        Ok(())
    }

    /// As the kernel takes it.
    pub fn wire(&self, clock: Clock) -> TraceFilter {
        let negated = |name: &Option<Name>| name.as_ref().is_some_and(|name| name.negated);
        let flag = |condition: bool, flag: u16| if condition { flag } else { 0 };
        TraceFilter {
            process: padded(&self.process),
            port: padded(&self.port),
            predicate: self.predicate,
            // 0 would mean none.
            latency: self.latency.map_or(0, |latency| latency.ticks(clock).max(1)),
            payload: self.payload,
            flags: flag(negated(&self.process), FILTER_NOT_PROCESS)
                | flag(negated(&self.port), FILTER_NOT_PORT)
                | flag(self.switches, FILTER_SWITCHES),
            reserved: 0,
        }
    }

    /// True for a recorded event that is wanted in a listing. There a process is also who an event is done to.
    pub fn wants(&self, record: &TraceRecord, names: &Names) -> bool {
        self.predicate.passes(record)
            && self.wants_names([record.process, record.peer_process], record.connection_port, names)
    }

    /// True when one of these processes or the port's owner is wanted, and the port is.
    pub fn wants_names(&self, processes: [u32; 2], port: u32, names: &Names) -> bool {
        let entry = names.port_entry(port);
        let by_process = self.process.as_ref().is_none_or(|wanted| {
            let owner = entry.map(|port| port.owner);
            let mut ids = processes.into_iter().chain(owner).filter(|id| *id != 0);
            ids.any(|id| process_matches(&names.process(id), &wanted.name)) != wanted.negated
        });
        by_process
            && self.port.as_ref().is_none_or(|wanted| {
                let is_it = entry.is_some_and(|port| port_matches(&port.name, &wanted.name))
                    || wanted.name == format!("{port}");
                is_it != wanted.negated
            })
    }
}

impl Latency {
    /// In ticks.
    pub fn ticks(self, clock: Clock) -> u64 {
        match self {
            Self::Ticks(ticks) => ticks,
            Self::Nanoseconds(time) => {
                let ticks = u128::from(time) * u128::from(clock.frequency) / 1_000_000_000;
                u64::try_from(ticks).unwrap_or(u64::MAX)
            }
        }
    }
}

fn padded(name: &Option<Name>) -> [u8; MAX_NAME] {
    let mut bytes = [0; MAX_NAME];
    if let Some(name) = name {
        let text = name.name.as_bytes();
        let length = text.len().min(MAX_NAME);
        bytes[..length].copy_from_slice(&text[..length]);
    }
    bytes
}

fn name(name: &str) -> Result<String, String> {
    match name.len() {
        0 => Err("a name is missing".into()),
        1..=MAX_NAME => Ok(name.into()),
        _ => Err(format!("'{name}' is longer than the {MAX_NAME} bytes that are kept of a name")),
    }
}

fn number<T: TryFrom<u64>>(text: &str, what: &str) -> Result<T, String> {
    let parsed = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.ok().and_then(|number| T::try_from(number).ok()).ok_or_else(|| format!("'{text}' is not {what}"))
}

fn set(list: &str, bit: fn(&str) -> Result<u32, String>) -> Result<u32, String> {
    list.split(',').try_fold(0, |all, word| Ok(all | bit(word.trim())?))
}

fn event_bit(word: &str) -> Result<u32, String> {
    let kinds = || (1..32).filter(|kind| !matches!(event_name(*kind), "?" | "call" | "return" | "payload"));
    let found = kinds().find(|kind| event_name(*kind).eq_ignore_ascii_case(word));
    let all = || kinds().map(event_name).collect::<Vec<_>>().join(", ");
    found.map(|kind| 1 << kind).ok_or_else(|| format!("'{word}' is not an event; there are {}", all()))
}

fn type_bit(word: &str) -> Result<u32, String> {
    let short = |number: u8| message_type_name(number.into()).trim_start_matches("LPC_");
    let types = || (1..32).filter(|number| message_type_name((*number).into()) != "LPC_UNKNOWN");
    let given = word.to_ascii_uppercase().replace('-', "_");
    let found = types().find(|number| short(*number) == given.trim_start_matches("LPC_"));
    let all = || types().map(short).collect::<Vec<_>>().join(", ").to_ascii_lowercase();
    found
        .map(|number| 1 << number)
        .ok_or_else(|| format!("'{word}' is not a message type; there are {}", all()))
}

/// The attributes, the highest bit first.
const ATTRIBUTES: [&str; 7] = ["security", "view", "context", "handle", "token", "direct", "work"];

fn attribute_bit(word: &str) -> Result<u32, String> {
    let found = ATTRIBUTES.iter().position(|name| name.eq_ignore_ascii_case(word));
    found
        .map(|at| 0x40 >> at)
        .ok_or_else(|| format!("'{word}' is not an attribute; there are {}", ATTRIBUTES.join(", ")))
}

fn status(word: &str) -> Result<(u32, u32), String> {
    if word.eq_ignore_ascii_case("error") {
        return Ok((0xC000_0000, 0xC000_0000));
    }
    let named = || NtStatus::from_name(&word.to_ascii_uppercase()).map(|status| status.0);
    let value = number(word, "").ok().or_else(named);
    value
        .map(|value| (u32::MAX, value))
        .ok_or_else(|| format!("'{word}' is not a status; there is also 'error'"))
}

fn latency(text: &str, operator: &str) -> Result<Latency, String> {
    let expected = || format!("'{text}' is not a time: 100us, 2ms, 1s, 800ns, 5000ticks");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits.parse().map_err(|_| expected())?;
    let scale = match &text[digits.len()..] {
        "" | "ticks" => return Ok(Latency::Ticks(count.saturating_add(u64::from(operator == ">")))),
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return Err(expected()),
    };
    Ok(Latency::Nanoseconds(count.saturating_mul(scale).saturating_add(u64::from(operator == ">"))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::trace::{TRACE_RECEIVE, TRACE_SEND};
    use proptest::prelude::*;

    fn parse(text: &str) -> Filter {
        Filter::parse(text, 0).unwrap_or_else(|wrong| panic!("{}", wrong.show(text)))
    }

    fn named(name: &str, negated: bool) -> Option<Name> {
        Some(Name { name: name.into(), negated })
    }

    #[test]
    fn terms() {
        assert_eq!(parse(""), Filter::default());
        assert_eq!(parse("alpcping").process, named("alpcping", false));
        assert_eq!(parse("process!=kd").process, named("kd", true));
        let filter = parse("port=\\RPC Control\\x and size>100 size<=200");
        assert_eq!(filter.port, named("\\RPC Control\\x", false));
        assert_eq!((filter.predicate.least_size, filter.predicate.most_size), (101, 200));
        assert_eq!(parse("port=\"\\RPC Control\\x\" cmd").process, named("cmd", false));
        let filter = parse("event=send,receive && type=request,LPC_DATAGRAM passes=handle,view");
        assert_eq!(filter.predicate.events, 1 << TRACE_SEND | 1 << TRACE_RECEIVE);
        assert_eq!(filter.predicate.types, 1 << 1 | 1 << 3);
        assert_eq!(filter.predicate.attributes, 0x28);
        let filter = parse("status=STATUS_PORT_DISCONNECTED");
        assert_eq!((filter.predicate.status_mask, filter.predicate.status), (u32::MAX, 0xC000_0037));
        assert_eq!(parse("status=0x80000005").predicate.status, 0x8000_0005);
        assert_eq!(parse("status=error").predicate.status_mask, 0xC000_0000);
        let filter = parse("payload=64 switches last=5 size=7");
        assert_eq!((filter.payload, filter.switches, filter.last), (64, true, Some(5)));
        assert_eq!((filter.predicate.least_size, filter.predicate.most_size), (7, 7));
    }

    #[test]
    fn latencies_become_ticks() {
        let clock = Clock { frequency: 2_000_000_000, boot: 0 };
        let ticks = |text: &str| parse(text).wire(clock).latency;
        assert_eq!(ticks("latency>=100us"), 200_000);
        assert_eq!(ticks("latency>=2ms"), 4_000_000);
        assert_eq!(ticks("latency>5000ticks"), 5001);
        assert_eq!(ticks("latency>=0"), 1);
        assert_eq!(ticks("cmd"), 0);
    }

    #[test]
    fn errors_point_at_their_column() {
        for (text, column) in [
            ("size>x", 5),
            ("cmd size>70000", 9),
            ("size<0", 5),
            ("cmd reg", 4),
            ("cmd and colour=red", 8),
            ("event=sned", 6),
            ("type=requests", 5),
            ("passes=hand", 7),
            ("status=STATUS_X", 7),
            ("latency<5us", 0),
            ("latency>5h", 8),
            ("port=", 5),
            ("port=x port=y", 7),
            ("port>x", 0),
            ("port=\"x", 5),
            ("payload=1025", 8),
            ("size>5 size<3", 0),
        ] {
            assert_eq!(Filter::parse(text, 0).map_err(|wrong| wrong.column), Err(column), "{text}");
        }
        let line = "trace on size>x";
        let shown = Filter::parse(line, 9).unwrap_err().show(line);
        assert_eq!(shown, "trace on size>x\n              ^ 'x' is not a number of bytes up to 65535");
    }

    #[test]
    fn listings_also_look_at_the_peer() {
        let mut names = Names::default();
        names.add_process(12, "server");
        names.add_process(20, "alpcping");
        names.add_port(7, 12, "\\RPC Control\\x");
        let record = TraceRecord { process: 20, connection_port: 7, ..TraceRecord::default() };
        for (text, wanted) in [
            ("alpcping", true),
            ("SERVER", true),
            ("ping", false),
            ("process!=server", false),
            ("process!=cmd", true),
            ("port=x", true),
            ("port=7", true),
            ("port!=x", false),
            ("port=\\rpc control\\X", true),
            ("port=y", false),
            ("size>0", false),
        ] {
            assert_eq!(parse(text).wants(&record, &names), wanted, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_valid_filter_or_an_error_in_the_text(text in "[a-z=<>!,\\\\\" 0-9]{0,40}") {
            let clock = Clock { frequency: 1_000_000_000, boot: 0 };
            match Filter::parse(&text, 0) {
                Ok(filter) => prop_assert!(filter.wire(clock).is_valid()),
                Err(wrong) => prop_assert!(wrong.column <= text.chars().count()),
            }
        }
    }
}
