//! Records and exchanges as text, a line each.

use crate::exchange::{Exchange, Exchanges, Kind, Who};
use crate::names::Names;
use crate::ring::{Clock, Reading};
use crate::stats::{Latencies, Sum};
use abi::alpc::{LPC_CONTINUATION_REQUIRED, LPC_KERNELMODE_MESSAGE, LPC_NO_IMPERSONATE, message_type_name};
use abi::status::NtStatus;
use abi::syscalls::syscall_name;
use abi::trace::{
    TRACE_ACCEPT, TRACE_CONNECT, TRACE_CONNECTED, TRACE_DISCONNECT, TRACE_HANDLE, TRACE_NOT_IMPLEMENTED,
    TRACE_RECEIVE, TRACE_REFUSE, TRACE_REPLY, TRACE_SEND, TRACE_SWITCH, TRACE_TIMED, TRACE_UNMAP, TRACE_VIEW,
    TraceRecord, event_name,
};
use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};

/// Prints a reading: a heading, its records, and what was lost.
pub fn write_reading(
    out: &mut dyn Write,
    reading: &Reading,
    last: Option<usize>,
    clock: Clock,
    names: &Names,
) -> fmt::Result {
    let total = reading.records.len();
    let shown = last.unwrap_or(total).min(total);
    if shown > 0 {
        writeln!(out, "{HEADING}")?;
    }
    let mut last = None;
    for record in &reading.records[total - shown..] {
        write_record(out, record, clock, names)?;
        // A leg of the fast path is several events, and its payload one.
        if last.replace((record.cpu, record.sequence)) != Some((record.cpu, record.sequence)) {
            write_payload(
                out,
                reading.payload(record),
                record.event == TRACE_REPLY || is_reply(record),
                " ",
            )?;
        }
    }
    write_count(out, total, shown, "records", reading.lost)
}

fn is_reply(record: &TraceRecord) -> bool {
    record.message_type & 0xFF == abi::alpc::LPC_REPLY
}

fn write_count(out: &mut dyn Write, total: usize, shown: usize, what: &str, lost: u64) -> fmt::Result {
    write!(out, "{total} {what}")?;
    if shown < total {
        write!(out, ", the last {shown} shown")?;
    }
    match lost {
        0 => writeln!(out, ", none lost"),
        lost => writeln!(out, ", {lost} LOST (overwritten before they were read)"),
    }
}

const HEADING: &str = concat!(
    "       time us cpu event      process(pid:tid)           peer                 ",
    "port                           message  type                     data/total attr status"
);

/// Prints one record.
pub fn write_record(out: &mut dyn Write, record: &TraceRecord, clock: Clock, names: &Names) -> fmt::Result {
    let actor = who(Who { process: record.process, thread: record.thread }, names);
    let message =
        if record.message_id == 0 { String::from("-") } else { format!("{:08x}", record.message_id) };
    let length = match (record.data_length, record.total_length) {
        (0, 0) => String::from("-"),
        (data, total) => format!("{data}/{total}"),
    };
    let port = if record.connection_port == 0 {
        String::from("-")
    } else {
        String::from(names.port(record.connection_port))
    };
    write!(
        out,
        "{:>14} {:>3} {:<10} {:<26} {:<20} {:<30} {:<8} {:<24} {:>10} {:<4}",
        microseconds(clock.nanoseconds(record.tsc)),
        record.cpu,
        event_name(record.event),
        actor,
        peer(record, names),
        port,
        message,
        type_text(record),
        length,
        attribute_letters(record.attributes),
    )?;
    match record.event {
        TRACE_TIMED => write!(out, " took {} us", microseconds(clock.span(record.detail)))?,
        TRACE_HANDLE | TRACE_VIEW | TRACE_UNMAP if record.detail != 0 => {
            write!(out, " 0x{:x}", record.detail)?
        }
        _ => {}
    }
    if record.status != 0 {
        write!(out, " {}", status_text(record.status))?;
    }
    writeln!(out)
}

/// The payload decoded, or its first bytes; nothing when none was recorded.
fn write_payload(out: &mut dyn Write, payload: &[u8], is_reply: bool, indent: &str) -> fmt::Result {
    if payload.is_empty() {
        return Ok(());
    }
    writeln!(out, "{:15}{indent}{} {}", "", if is_reply { '<' } else { '>' }, payload_text(payload, is_reply))
}

/// A payload as its protocol says, or in hexadecimal.
pub fn payload_text(payload: &[u8], is_reply: bool) -> String {
    proto::describe(payload, is_reply).filter(|text| !text.ends_with("(malformed)")).unwrap_or_else(|| {
        let mut text = String::new();
        for byte in payload.iter().take(32) {
            // Strings take everything.
            let _ = write!(text, "{byte:02x} ");
        }
        let shown =
            payload.iter().take(32).map(|byte| if byte.is_ascii_graphic() { *byte as char } else { '.' });
        text.extend(shown);
        if payload.len() > 32 {
            text.push_str("...");
        }
        text
    })
}

/// A time or span in nanoseconds as microseconds.
pub fn microseconds(nanoseconds: u64) -> String {
    format!("{}.{:03}", nanoseconds / 1000, nanoseconds % 1000)
}

/// NTSTATUS by name, or its number.
pub fn status_text(status: u32) -> String {
    match NtStatus(status).name() {
        Some(name) => name.into(),
        None => format!("0x{status:08X}"),
    }
}

/// Image name with process and thread id.
pub fn who(who: Who, names: &Names) -> String {
    format!("{}({}:{})", names.process(who.process), who.process, who.thread)
}

/// The other side, with an arrow that points where the message goes.
fn peer(record: &TraceRecord, names: &Names) -> String {
    if record.event == TRACE_SWITCH {
        let to = Who { process: record.peer_process, thread: record.detail as u32 };
        return if to.thread == 0 { String::from("-> (idle)") } else { format!("-> {}", who(to, names)) };
    }
    if record.peer_process == 0 {
        return String::from("-");
    }
    let arrow = match record.event {
        TRACE_SEND | TRACE_REPLY | TRACE_CONNECT | TRACE_ACCEPT | TRACE_REFUSE | TRACE_TIMED => "->",
        TRACE_RECEIVE | TRACE_CONNECTED | TRACE_HANDLE => "<-",
        TRACE_DISCONNECT => "-x",
        _ => "--",
    };
    format!("{arrow} {}({})", names.process(record.peer_process), record.peer_process)
}

/// The message type with its flags, or for a call that is not implemented its name.
fn type_text(record: &TraceRecord) -> String {
    if record.event == TRACE_NOT_IMPLEMENTED {
        return match syscall_name(u32::from(record.message_type)) {
            Some(name) => String::from(name),
            None => format!("system call {}", record.message_type),
        };
    }
    if record.message_type == 0 { String::from("-") } else { message_type_text(record.message_type) }
}

/// A message type's name with the letters of its flags.
pub fn message_type_text(message_type: u16) -> String {
    let mut text = String::from(message_type_name(message_type));
    let flags = flag_letters(message_type);
    if !flags.is_empty() {
        text.push(' ');
        text.push_str(&flags);
    }
    text
}

/// `C` for continuation required, `N` for no impersonation, `K` for a message of the kernel.
pub fn flag_letters(message_type: u16) -> String {
    let flags = [(LPC_CONTINUATION_REQUIRED, 'C'), (LPC_NO_IMPERSONATE, 'N'), (LPC_KERNELMODE_MESSAGE, 'K')];
    flags.iter().filter(|(bit, _)| message_type & bit != 0).map(|(_, letter)| *letter).collect()
}

/// The attributes of a message: security, view, context, handle, token, direct, work on behalf.
pub fn attribute_letters(attributes: u8) -> String {
    let letters: String = "SVCHTDW"
        .chars()
        .enumerate()
        .filter(|(i, _)| attributes & (0x40 >> i) != 0)
        .map(|(_, c)| c)
        .collect();
    if letters.is_empty() { String::from("-") } else { letters }
}

/// Over [`write_exchange`]'s lines.
pub const EXCHANGE_HEADING: &str = concat!(
    "       time us    took us client(pid:tid) -> server(pid:tid)                         ",
    "port                           message  size>reply attr"
);

/// Prints an exchange on one line, further in the deeper it lies below `above`, and under it what is there of its payloads.
pub fn write_exchange(
    out: &mut dyn Write,
    exchange: &Exchange,
    above: usize,
    clock: Clock,
    names: &Names,
) -> fmt::Result {
    let indent = format!("{:width$}", "", width = 2 * exchange.depth.saturating_sub(above).min(12));
    let took = match exchange.latency() {
        Some(ticks) => microseconds(clock.span(ticks)),
        None => String::from("-"),
    };
    let arrow = match exchange.kind {
        Kind::Request => "->",
        Kind::Connect => "=>",
        Kind::Datagram => "~>",
    };
    let server = if exchange.received.is_some() {
        who(exchange.server, names)
    } else {
        format!("{}({})", names.process(exchange.server.process), exchange.server.process)
    };
    let parties = format!("{indent}{} {arrow} {server}", who(exchange.client, names));
    let sizes = match exchange.kind {
        Kind::Datagram => format!("{}", exchange.size),
        _ if !exchange.is_answered() => format!("{}>?", exchange.size),
        _ => format!("{}>{}", exchange.size, exchange.reply_size),
    };
    write!(
        out,
        "{:>14} {:>10} {:<58} {:<30} {:08x} {:>10} {:<4}",
        microseconds(clock.nanoseconds(exchange.start())),
        took,
        parties,
        names.port(exchange.port),
        exchange.message,
        sizes,
        attribute_letters(exchange.attributes),
    )?;
    if exchange.is_notice() {
        write!(out, " {}", message_type_text(exchange.message_type))?;
    }
    if exchange.status != 0 {
        write!(out, " {}", status_text(exchange.status))?;
    } else if !exchange.is_complete() {
        write!(out, " (open)")?;
    }
    writeln!(out)?;
    write_payload(out, &exchange.payload, false, &indent)?;
    write_payload(out, &exchange.reply, true, &indent)
}

/// Prints exchanges, the last `last` of them.
pub fn write_exchanges(
    out: &mut dyn Write,
    exchanges: &[&Exchange],
    last: Option<usize>,
    lost: u64,
    clock: Clock,
    names: &Names,
) -> fmt::Result {
    let shown = last.unwrap_or(exchanges.len()).min(exchanges.len());
    if shown > 0 {
        writeln!(out, "{EXCHANGE_HEADING}")?;
    }
    for exchange in &exchanges[exchanges.len() - shown..] {
        write_exchange(out, exchange, 0, clock, names)?;
    }
    write_count(out, exchanges.len(), shown, "messages", lost)
}

/// Prints the tree of what caused an exchange and what that caused.
pub fn write_tree(
    out: &mut dyn Write,
    exchanges: &Exchanges,
    exchange: &Exchange,
    clock: Clock,
    names: &Names,
) -> fmt::Result {
    let root = exchanges.root(exchange);
    writeln!(out, "{EXCHANGE_HEADING}")?;
    for exchange in exchanges.tree(root) {
        write_exchange(out, exchange, root.depth, clock, names)?;
    }
    Ok(())
}

/// Prints sums: a heading and a line for each name.
pub fn write_sums(out: &mut dyn Write, what: &str, sums: &[(String, Sum)], clock: Clock) -> fmt::Result {
    writeln!(out, "{what:<36} messages      bytes   answered    mean us     max us     failed")?;
    for (name, sum) in sums {
        let [mean, longest] = [sum.mean(), sum.longest].map(|ticks| microseconds(clock.span(ticks)));
        writeln!(
            out,
            "{name:<36} {:>8} {:>10} {:>10} {mean:>10} {longest:>10} {:>10}",
            sum.messages, sum.bytes, sum.answered, sum.failed
        )?;
    }
    Ok(())
}

/// Prints the latencies of a port: quantiles and a histogram, in ticks of the time-stamp counter and in time.
pub fn write_latencies(out: &mut dyn Write, port: &str, latencies: &Latencies, clock: Clock) -> fmt::Result {
    write!(out, "{port}: {} answers", latencies.count())?;
    for (name, thousandths) in [("p50", 500), ("p99", 990), ("p99.9", 999), ("max", 1000)] {
        let ticks = latencies.quantile(thousandths);
        write!(out, ", {name} {ticks} ticks = {} us", microseconds(clock.span(ticks)))?;
    }
    writeln!(out)?;
    let buckets = latencies.buckets();
    let most = buckets.iter().map(|(_, count)| *count).max().unwrap_or(1);
    for (from, count) in buckets {
        let bar = (count * 50).div_ceil(most);
        let time = microseconds(clock.span(from));
        writeln!(out, "  >= {from:>12} ticks {time:>12} us {count:>8} {}", "#".repeat(bar))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::tests::nested;
    use crate::filter::Filter;
    use crate::ring::Position;
    use crate::testing::TraceMemory;
    use abi::alpc::{LPC_CONNECTION_REQUEST, LPC_REPLY, LPC_REQUEST};
    use abi::trace::{NAME_PORT, NAME_PROCESS, TRACE_CLOSE, TRACE_UNWAIT, TRACE_WAIT_NEW};
    use alloc::vec::Vec;

    /// A client (20) that connects to a server (12), asks once, and is gone.
    fn memory() -> TraceMemory {
        let mut memory = TraceMemory::new(2, 32, 16);
        memory.name(NAME_PROCESS, 12, 4, "server");
        memory.name(NAME_PROCESS, 20, 4, "alpcping");
        memory.name(NAME_PORT, 7, 12, "\\RPC Control\\x");
        let mut event = |cpu, tsc, event, process, peer: u32, message_id, message_type, data: u16, status| {
            memory.event(cpu, tsc, |r| {
                (r.event, r.process, r.thread, r.peer_process) = (event, process, process + 1, peer);
                (r.port, r.connection_port, r.message_id, r.message_type) = (9, 7, message_id, message_type);
                (r.data_length, r.total_length) = (data, if data > 0 { data + 40 } else { 0 });
                (r.status, r.attributes) = (status, if event == TRACE_RECEIVE { 0x18 } else { 0 });
            });
        };
        let c = LPC_CONTINUATION_REQUIRED;
        event(0, 1_000_500, TRACE_WAIT_NEW, 12, 0, 0, 0, 0, 0);
        event(1, 2_000_000, TRACE_CONNECT, 20, 12, 0x41, LPC_CONNECTION_REQUEST | c, 8, 0);
        event(1, 3_000_000, TRACE_SEND, 20, 12, 0x42, LPC_REQUEST | c | LPC_KERNELMODE_MESSAGE, 32, 0);
        event(0, 3_000_750, TRACE_RECEIVE, 12, 20, 0x42, LPC_REQUEST | c, 32, 0);
        event(0, 3_001_000, TRACE_REPLY, 12, 20, 0x42, LPC_REPLY, 32, 0);
        event(1, 3_002_000, TRACE_UNWAIT, 20, 12, 0x42, 0, 0, 0xC000_0037);
        event(0, 4_000_000, TRACE_NOT_IMPLEMENTED, 12, 0, 0, 74, 0, 0xC000_0002);
        event(1, 5_000_000, TRACE_CLOSE, 20, 0, 0, 0, 0, 0xCAFE_0001);
        memory
    }

    fn names(memory: &TraceMemory) -> Names {
        let mut names = Names::default();
        names.add_log(&crate::ring::Trace::new(memory.words()).unwrap().names().0);
        names
    }

    fn show(filter: &Filter) -> String {
        let memory = memory();
        let names = names(&memory);
        let trace = memory.trace();
        let reading = trace.read(&Position::START, |r| filter.wants(r, &names));
        let mut out = String::new();
        write_reading(&mut out, &reading, filter.last, trace.clock(), &names).unwrap();
        out
    }

    #[test]
    fn golden() {
        let lines: alloc::vec::Vec<String> =
            show(&Filter::default()).lines().map(|line| String::from(line.trim_end())).collect();
        assert_eq!(lines, GOLDEN.trim_start_matches('\n').lines().collect::<alloc::vec::Vec<_>>());
    }

    const GOLDEN: &str = r"
       time us cpu event      process(pid:tid)           peer                 port                           message  type                     data/total attr status
      1000.500   0 wait-new   server(12:13)              -                    \RPC Control\x                 -        -                                 - -
      2000.000   1 connect    alpcping(20:21)            -> server(12)        \RPC Control\x                 00000041 LPC_CONNECTION_REQUEST C       8/48 -
      3000.000   1 send       alpcping(20:21)            -> server(12)        \RPC Control\x                 00000042 LPC_REQUEST CK                32/72 -
      3000.750   0 receive    server(12:13)              <- alpcping(20)      \RPC Control\x                 00000042 LPC_REQUEST C                 32/72 CH
      3001.000   0 reply      server(12:13)              -> alpcping(20)      \RPC Control\x                 00000042 LPC_REPLY                     32/72 -
      3002.000   1 unwait     alpcping(20:21)            -- server(12)        \RPC Control\x                 00000042 -                                 - -    STATUS_PORT_DISCONNECTED
      4000.000   0 not-impl   server(12:13)              -                    \RPC Control\x                 -        NtAlpcCreatePortSection           - -    STATUS_NOT_IMPLEMENTED
      5000.000   1 close      alpcping(20:21)            -                    \RPC Control\x                 -        -                                 - -    0xCAFE0001
8 records, none lost";

    fn count(filter: &str) -> usize {
        let shown = show(&Filter::parse(filter, 0).unwrap());
        shown.lines().filter(|line| line.contains("(12:13)") || line.contains("(20:21)")).count()
    }

    #[test]
    fn filters() {
        assert_eq!(count("ALPCPING"), 6);
        assert_eq!(count("server"), 8);
        assert_eq!(count("ping"), 0);
        assert_eq!(count("port=x"), 8);
        assert_eq!(count("port=7"), 8);
        assert_eq!(count("port=y"), 0);
        assert_eq!(count("server port=\\rpc control\\X last=2"), 2);
        assert_eq!(count("event=receive,reply"), 2);
        let last = show(&Filter::parse("last=2", 0).unwrap());
        assert!(last.ends_with("8 records, the last 2 shown, none lost\n"));
        assert_eq!(show(&Filter::parse("port=y", 0).unwrap()), "0 records, none lost\n");
    }

    #[test]
    fn losses_are_said() {
        let reading = Reading { lost: 3, ..Reading::default() };
        let mut out = String::new();
        let clock = Clock { frequency: 1, boot: 0 };
        write_reading(&mut out, &reading, None, clock, &Names::default()).unwrap();
        assert_eq!(out, "0 records, 3 LOST (overwritten before they were read)\n");
    }

    #[test]
    fn letters() {
        assert_eq!(attribute_letters(0x7F), "SVCHTDW");
        assert_eq!(attribute_letters(0x11), "CW");
        assert_eq!(flag_letters(0xE001), "CNK");
    }

    fn server_names() -> Names {
        let mut names = Names::default();
        for (id, name) in [(20, "app"), (12, "server"), (8, "store")] {
            names.add_process(id, name);
        }
        names.add_port(7, 12, "\\x");
        names.add_port(5, 8, "\\y");
        names
    }

    fn lines(text: &str) -> Vec<&str> {
        text.lines().map(str::trim_end).collect()
    }

    #[test]
    fn exchanges_are_lines_and_trees() {
        let (exchanges, names) = (Exchanges::of(&nested()), server_names());
        let clock = Clock { frequency: 1_000_000, boot: 0 };
        let mut out = String::new();
        let all: Vec<&Exchange> = exchanges.all().iter().collect();
        write_exchanges(&mut out, &all, None, 0, clock, &names).unwrap();
        let expected = r"
       time us    took us client(pid:tid) -> server(pid:tid)                         port                           message  size>reply attr
        10.000     12.000 app(20:21) -> server(12:13)                                \x                             00000001      10>22 -
        14.000      5.000   server(12:13) -> store(8:9)                              \y                             00000001      14>19 -
        30.000          - app(20:21) ~> server(12:13)                                \x                             00000002         30 -
        40.000          - app(20:21) -> server(12)                                   \x                             00000003       40>? -    STATUS_TIMEOUT
4 messages, none lost";
        assert_eq!(lines(&out), lines(expected.trim_start_matches('\n')));
        let mut out = String::new();
        write_tree(&mut out, &exchanges, &exchanges.all()[1], clock, &names).unwrap();
        assert_eq!(lines(&out), lines(expected.trim_start_matches('\n'))[..3]);
    }

    #[test]
    fn histograms() {
        let mut out = String::new();
        let ports = Latencies::by_port(Exchanges::of(&nested()).all());
        write_latencies(&mut out, "\\x", &ports[1].1, Clock { frequency: 1_000_000, boot: 0 }).unwrap();
        let bar = "#".repeat(50);
        assert_eq!(
            out,
            format!(
                "\\x: 1 answers, p50 12 ticks = 12.000 us, p99 12 ticks = 12.000 us, p99.9 12 ticks = 12.000 us, \
                 max 12 ticks = 12.000 us\n  >=            8 ticks        8.000 us        1 {bar}\n"
            )
        );
    }
}
