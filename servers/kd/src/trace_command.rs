//! `trace ...`: what traces are asked for, and what is shown of them.
//!
//! The language of filters and everything that looks into records is in the crate [`trace`]; here are the commands.

use crate::execute::{Failure, Outcome, Output, Session, System};
use crate::names::add_snapshot;
use crate::system_view;
use abi::alpc::message_type_name;
use abi::status::STATUS_NOT_SUPPORTED;
use abi::trace::{TRACE_SEND, TracePredicate, TraceRecord};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use trace::filter::Wrong;
use trace::stats::{Latencies, sums};
use trace::{Clock, Exchange, Exchanges, Filter, Names, Position, Reading, Trace, text};

/// What `trace` can be followed by, with what it does.
pub const HELP: &[(&str, &str)] = &[
    ("trace on [FILTER]", "record ALPC events, all or those that pass a filter ('help filter')"),
    ("trace off", "stop recording; the records stay"),
    ("trace status", "records written and lost"),
    ("trace show [FILTER] [last=N]", "the records since 'trace on', one a line"),
    ("trace tail [FILTER] [last=N]", "messages, request and reply joined, one a line"),
    ("trace live [FILTER] [for=SECONDS]", "the same as they come, until a key is pressed"),
    ("trace top [FILTER]", "ports and processes by messages, bytes and latency"),
    ("trace hist [FILTER]", "latencies of each port: p50, p99, p99.9 and a histogram"),
    ("trace tree MESSAGE [port=PORT]", "all that a message caused, from what caused it on"),
];

/// The filter language, for `help filter`.
pub const FILTER_HELP: &str = "\
A FILTER is a list of terms that all must hold, with or without 'and' between them:
NAME, process=NAME, process!=NAME          done by the process, or on ports that it made
port=NAME, port!=NAME                      on the port: last part, or with a backslash the whole path
event=KIND,...                             send, receive, reply, connect, ...
type=TYPE,...                              request, reply, datagram, connection-request, ...
size>N  (also >= < <= =)                   payload bytes
status=STATUS                              a name, a number, or 'error'
passes=ATTRIBUTE,...                       handle, view, security, context, token, direct, work
latency>TIME                               answers that take longer: 100us, 2ms, 5000ticks
payload=N, switches                        record N bytes of each message; switches between threads
";

/// How often `trace live` looks.
const LIVE: Duration = Duration::from_millis(100);
/// Exchanges that `trace live` remembers at most, besides open ones.
const REMEMBERED: usize = 4096;

const USAGE: &str =
    "usage: trace on | off | status | show | tail | live | top | hist | tree; 'help trace' has more";

/// Runs a command line that begins with `trace`.
pub fn run<S: System>(line: &str, session: &mut Session, system: &mut S, out: &mut dyn Output) -> Outcome {
    // Where the words after the second begin, so that errors tell their column.
    let mut words = line.split_whitespace();
    let verb = words.nth(1).ok_or_else(|| Failure::Said(USAGE.into()))?;
    let rest = verb.as_ptr() as usize - line.as_ptr() as usize + verb.len();
    let filter = || Filter::parse(line, rest).map_err(|wrong| Failure::Said(wrong.show(line)));
    let none = |out: Outcome| match words.clone().next() {
        None => out,
        Some(_) => Err(Failure::Said(format!("trace {verb} takes no arguments"))),
    };
    match verb.to_ascii_lowercase().as_str() {
        "on" | "start" => on(line, &filter()?, session, system, out),
        "off" | "stop" => {
            none(Ok(()))?;
            system.trace_stop().map_err(|s| Failure::Status("trace off", s))?;
            Ok(writeln!(out, "Tracing is off; 'trace show' shows what was recorded")?)
        }
        "status" => {
            none(Ok(()))?;
            Ok(system_view::write_trace_status(out, rings(system)?, &session.trace_from)?)
        }
        "show" => show(&filter()?, session, system, out),
        "tail" => {
            let filter = filter()?;
            let shown = Joined::read(session, system)?;
            let wanted = shown.wanted(&filter);
            let lost = shown.reading.lost;
            Ok(text::write_exchanges(out, &wanted, filter.last, lost, shown.clock, &shown.names)?)
        }
        "live" => live(&filter()?, system, out),
        "top" => top(&filter()?, session, system, out),
        "hist" => hist(&filter()?, session, system, out),
        "tree" => tree(line, rest, session, system, out),
        _ => Err(Failure::Said(USAGE.into())),
    }
}

fn rings<S: System>(system: &S) -> Result<&Trace<S::Memory>, Failure> {
    system.trace().ok_or(Failure::Status("trace memory", STATUS_NOT_SUPPORTED))
}

fn on<S: System>(
    line: &str,
    filter: &Filter,
    session: &mut Session,
    system: &mut S,
    out: &mut dyn Output,
) -> Outcome {
    if filter.last.is_some() || filter.seconds.is_some() {
        let column = line.find("last=").or(line.find("for=")).unwrap_or(0);
        let what = "this belongs to listings".into();
        return Err(Failure::Said(Wrong { column, what }.show(line)));
    }
    let trace = rings(system)?;
    let (from, wire) = (trace.position(), filter.wire(trace.clock()));
    system.trace_start(&wire).map_err(|status| Failure::Status("trace on", status))?;
    session.trace_from = from;
    let mut said = "Tracing is on".to_string();
    for (what, name) in [("of processes", &filter.process), ("on ports", &filter.port)] {
        if let Some(name) = name {
            let not = if name.negated { " not" } else { "" };
            said += &format!(", {what}{not} named '{}'", name.name);
        }
    }
    if filter.predicate != TracePredicate::ALL {
        said += ", of events that pass the filter";
    }
    if wire.latency > 0 {
        let clock = rings(system)?.clock();
        said +=
            &format!(", of answers that take {} us or more", text::microseconds(clock.span(wire.latency)));
    }
    if filter.payload > 0 {
        said += &format!(", with {} bytes of each message", filter.payload);
    }
    if filter.switches {
        said += ", with switches between threads";
    }
    Ok(writeln!(out, "{said}")?)
}

/// Names from the log, and those of all that lives; and how many the log has lost.
fn names<S: System>(system: &mut S) -> Result<(Names, u64), Failure> {
    // The snapshot only adds names to those in the log; without it there are just fewer.
    let snapshot = system.snapshot().unwrap_or_default();
    let (log, lost) = rings(system)?.names();
    let mut names = Names::default();
    names.add_log(&log);
    add_snapshot(&mut names, &snapshot);
    Ok((names, lost))
}

fn show<S: System>(filter: &Filter, session: &Session, system: &mut S, out: &mut dyn Output) -> Outcome {
    let (names, names_lost) = names(system)?;
    let trace = rings(system)?;
    let reading = trace.read(&session.trace_from, |record| filter.wants(record, &names));
    text::write_reading(out, &reading, filter.last, trace.clock(), &names)?;
    if names_lost > 0 && filter.process.is_some() {
        writeln!(out, "{names_lost} names were lost: a process that ended long ago may be missing here")?;
    }
    Ok(())
}

/// What was recorded since tracing was switched on, joined.
struct Joined {
    names: Names,
    clock: Clock,
    reading: Reading,
    exchanges: Exchanges,
}

impl Joined {
    fn read<S: System>(session: &Session, system: &mut S) -> Result<Self, Failure> {
        let (names, _) = names(system)?;
        let trace = rings(system)?;
        let reading = trace.read(&session.trace_from, |_| true);
        Ok(Self { names, clock: trace.clock(), exchanges: Exchanges::of(&reading), reading })
    }

    fn wanted(&self, filter: &Filter) -> Vec<&Exchange> {
        let all = self.exchanges.all().iter();
        all.filter(|exchange| is_wanted(exchange, filter, self.clock, &self.names)).collect()
    }

    /// Says what was lost, if something was.
    fn tell_losses(&self, out: &mut dyn Output) -> Outcome {
        match self.reading.lost {
            0 => Ok(()),
            lost => Ok(writeln!(out, "{lost} records LOST (overwritten before they were read)")?),
        }
    }
}

/// True for an exchange that a listing's filter is about.
fn is_wanted(exchange: &Exchange, filter: &Filter, clock: Clock, names: &Names) -> bool {
    let record = TraceRecord {
        event: TRACE_SEND,
        message_type: exchange.message_type,
        data_length: exchange.size,
        total_length: exchange.size.saturating_add(40),
        attributes: exchange.attributes,
        status: exchange.status,
        ..TraceRecord::default()
    };
    let late = |least: u64| exchange.latency().is_some_and(|ticks| ticks >= least);
    TracePredicate { events: 0, ..filter.predicate }.passes(&record)
        && filter.latency.is_none_or(|latency| late(latency.ticks(clock)))
        && filter.wants_names([exchange.client.process, exchange.server.process], exchange.port, names)
}

fn live<S: System>(filter: &Filter, system: &mut S, out: &mut dyn Output) -> Outcome {
    let mut from = rings(system)?.position();
    let mut exchanges = Exchanges::default();
    let clock = rings(system)?.clock();
    let rounds = filter.seconds.map(|seconds| seconds * 1000 / LIVE.as_millis() as u64);
    if !rings(system)?.is_enabled() {
        writeln!(out, "Tracing is off; 'trace on' switches it on")?;
    }
    writeln!(out, "{}", text::EXCHANGE_HEADING)?;
    let mut round = 0;
    loop {
        let ends = out.pause(LIVE) || rounds.is_some_and(|rounds| round >= rounds);
        round += 1;
        let (names, _) = names(system)?;
        let to: Position = rings(system)?.position();
        let reading = rings(system)?.read_between(&from, &to, |_| true);
        from = to;
        for record in &reading.records {
            exchanges.event(record, reading.payload(record));
        }
        for index in exchanges.take_done() {
            let exchange = &exchanges.all()[index];
            if is_wanted(exchange, filter, clock, &names) {
                text::write_exchange(out, exchange, 0, clock, &names)?;
            }
        }
        if reading.lost > 0 {
            writeln!(out, "{} records LOST (overwritten before they were read)", reading.lost)?;
        }
        exchanges.trim(REMEMBERED);
        if ends {
            return Ok(());
        }
    }
}

fn top<S: System>(filter: &Filter, session: &Session, system: &mut S, out: &mut dyn Output) -> Outcome {
    let shown = Joined::read(session, system)?;
    let wanted: Vec<Exchange> = shown.wanted(filter).into_iter().cloned().collect();
    let names = &shown.names;
    let ports = sums(&wanted, |exchange| alloc::vec![exchange.port]);
    let processes = sums(&wanted, |exchange| {
        let mut both = alloc::vec![exchange.client.process, exchange.server.process];
        both.dedup();
        both
    });
    let last = |sums: Vec<(String, _)>| sums.into_iter().take(filter.last.unwrap_or(20)).collect::<Vec<_>>();
    let ports = ports.into_iter().map(|(port, sum)| (names.port(port).to_string(), sum)).collect();
    text::write_sums(out, "PORT", &last(ports), shown.clock)?;
    let of_process = |id: u32| format!("{}({id})", names.process(id));
    let processes = processes.into_iter().map(|(id, sum)| (of_process(id), sum)).collect();
    text::write_sums(out, "PROCESS", &last(processes), shown.clock)?;
    shown.tell_losses(out)
}

fn hist<S: System>(filter: &Filter, session: &Session, system: &mut S, out: &mut dyn Output) -> Outcome {
    let shown = Joined::read(session, system)?;
    let wanted: Vec<Exchange> = shown.wanted(filter).into_iter().cloned().collect();
    let ports = Latencies::by_port(&wanted);
    for (port, latencies) in &ports {
        text::write_latencies(out, &shown.names.port(*port), latencies, shown.clock)?;
    }
    if ports.is_empty() {
        writeln!(out, "no answers were recorded")?;
    }
    shown.tell_losses(out)
}

fn tree<S: System>(
    line: &str,
    from: usize,
    session: &Session,
    system: &mut S,
    out: &mut dyn Output,
) -> Outcome {
    let word = line[from..].split_whitespace().next();
    let word = word.ok_or_else(|| Failure::Said("usage: trace tree MESSAGE [port=PORT]".into()))?;
    let digits = word.trim_start_matches("0x");
    let message = u32::from_str_radix(digits, 16)
        .map_err(|_| Failure::Said(format!("'{word}' is not a message id (hexadecimal)")))?;
    let after = word.as_ptr() as usize - line.as_ptr() as usize + word.len();
    let filter = Filter::parse(line, after).map_err(|wrong| Failure::Said(wrong.show(line)))?;
    let shown = Joined::read(session, system)?;
    let found = shown.wanted(&filter).into_iter().rfind(|exchange| exchange.message == message);
    let exchange = found.ok_or_else(|| {
        Failure::Said(format!("no {} with the id {message:08x} was recorded", message_type_name(1)))
    })?;
    text::write_tree(out, &shown.exchanges, exchange, shown.clock, &shown.names)?;
    shown.tell_losses(out)
}

#[cfg(test)]
mod tests {
    use crate::execute::tests::{Fake, with};
    use crate::execute::{Session, execute};
    use abi::trace::{NAME_PORT, NAME_PROCESS, TRACE_RECEIVE, TRACE_REPLY, TRACE_SEND, TRACE_UNWAIT};
    use alloc::string::String;
    use trace::testing::TraceMemory;

    fn fake() -> Fake {
        let mut memory = TraceMemory::new(1, 32, 8);
        memory.name(NAME_PROCESS, 99, 4, "gone");
        memory.name(NAME_PORT, 7, 12, "\\x");
        let events = [
            (1000, TRACE_SEND, 99),
            (2000, TRACE_RECEIVE, 12),
            (4000, TRACE_REPLY, 12),
            (5000, TRACE_UNWAIT, 99),
        ];
        for (tsc, event, process) in events {
            memory.event(0, tsc, |r| {
                (r.event, r.process, r.peer_process) = (event, process, 12);
                (r.connection_port, r.message_id, r.message_type) =
                    (7, 0x42, 1 + u16::from(event >= TRACE_REPLY));
                (r.data_length, r.total_length) = (32, 72);
            });
        }
        Fake::with_trace(memory)
    }

    fn go(line: &str) -> (u32, String) {
        with(&mut fake(), &mut Session::default(), line)
    }

    #[test]
    fn listings() {
        for line in [
            "trace show gone",
            "trace tail",
            "trace tail size=32 port=x",
            "trace live for=0",
            "trace tree 42",
        ] {
            assert_eq!(go(line).0, 0, "{line}: {}", go(line).1);
        }
        assert!(go("trace tail").1.contains("gone(99:0) -> console(12:0)"));
        assert!(go("trace tail size>32").1.starts_with("0 messages"));
        assert!(go("trace tail latency>=4us").1.ends_with("1 messages, none lost\n"));
        assert!(go("trace tail latency>4us").1.ends_with("0 messages, none lost\n"));
        let top = go("trace top").1;
        assert!(top.lines().any(|line| line.starts_with("\\x") && line.contains("2         64")), "{top}");
        assert!(go("trace hist").1.starts_with("\\x: 1 answers, p50 4000 ticks = 4.000 us, p99"));
        assert_eq!(go("trace hist port=y").1, "no answers were recorded\n");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        assert_eq!(
            go("trace on  size>x").1,
            "trace on  size>x\n               ^ 'x' is not a number of bytes up to 65535\n"
        );
        assert_eq!(go("trace on last=5").1, "trace on last=5\n         ^ this belongs to listings\n");
        assert_eq!(go("trace off x").1, "trace off takes no arguments\n");
        assert_eq!(go("trace tree zz").1, "'zz' is not a message id (hexadecimal)\n");
        assert_eq!(go("trace tree 43").1, "no LPC_REQUEST with the id 00000043 was recorded\n");
        for line in ["trace", "trace x", "trace tree", "trace show last=x", "trace on port="] {
            assert_eq!(go(line).0, 1, "{line}");
        }
    }

    #[test]
    fn conditions_reach_the_kernel() {
        let (mut fake, mut session) = (fake(), Session::default());
        let (_, said) =
            with(&mut fake, &mut session, "trace on process!=kd and size>100 payload=64 switches");
        assert_eq!(
            said,
            "Tracing is on, of processes not named 'kd', of events that pass the filter, with 64 bytes of each message, \
             with switches between threads\n"
        );
        let filter = fake.started[0];
        assert_eq!((filter.payload, filter.flags, filter.predicate.least_size), (64, 5, 101));
        let mut out = String::new();
        assert_eq!(execute("trace on latency>=2ms", &mut session, &mut fake, &mut out), 0);
        assert_eq!(fake.started[1].latency, 2_000_000);
    }
}
