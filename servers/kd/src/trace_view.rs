//! `trace show`: one line a record.

use crate::command::Filter;
use crate::names::{Names, port_matches, process_matches};
use crate::ring::{Clock, Reading};
use abi::alpc::{LPC_CONTINUATION_REQUIRED, LPC_KERNELMODE_MESSAGE, LPC_NO_IMPERSONATE, message_type_name};
use abi::status::NtStatus;
use abi::syscalls::syscall_name;
use abi::trace::{
    TRACE_ACCEPT, TRACE_CONNECT, TRACE_CONNECTED, TRACE_DISCONNECT, TRACE_HANDLE, TRACE_NOT_IMPLEMENTED,
    TRACE_RECEIVE, TRACE_REFUSE, TRACE_REPLY, TRACE_SEND, TraceRecord, event_name,
};
use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};

/// True when a record is of a wanted process (done by it, done to it, or done to a port of it) and port.
pub fn is_wanted(record: &TraceRecord, filter: &Filter, names: &Names) -> bool {
    let owner = names.port_entry(record.connection_port);
    let process = filter.process.as_deref().is_none_or(|wanted| {
        [record.process, record.peer_process]
            .into_iter()
            .chain(owner.map(|port| port.owner))
            .any(|id| id != 0 && process_matches(&names.process(id), wanted))
    });
    let port = filter.port.as_deref().is_none_or(|wanted| {
        owner.is_some_and(|port| port_matches(&port.name, wanted))
            || wanted == format!("{}", record.connection_port)
    });
    process && port
}

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
    for record in &reading.records[total - shown..] {
        write_record(out, record, clock, names)?;
    }
    write!(out, "{total} records")?;
    if shown < total {
        write!(out, ", the last {shown} shown")?;
    }
    match reading.lost {
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
    let time = clock.nanoseconds(record.tsc);
    let actor = format!("{}({}:{})", names.process(record.process), record.process, record.thread);
    let message =
        if record.message_id == 0 { String::from("-") } else { format!("{:08x}", record.message_id) };
    let length = match (record.data_length, record.total_length) {
        (0, 0) => String::from("-"),
        (data, total) => format!("{data}/{total}"),
    };
    write!(
        out,
        "{:>10}.{:03} {:>3} {:<10} {:<26} {:<20} {:<30} {:<8} {:<24} {:>10} {:<4}",
        time / 1000,
        time % 1000,
        record.cpu,
        event_name(record.event),
        actor,
        peer(record, names),
        names.port(record.connection_port),
        message,
        type_text(record),
        length,
        attribute_letters(record.attributes),
    )?;
    match record.status {
        0 => writeln!(out),
        status => match NtStatus(status).name() {
            Some(name) => writeln!(out, " {name}"),
            None => writeln!(out, " 0x{status:08X}"),
        },
    }
}

/// The other side, with an arrow that points where the message goes.
fn peer(record: &TraceRecord, names: &Names) -> String {
    if record.peer_process == 0 {
        return String::from("-");
    }
    let arrow = match record.event {
        TRACE_SEND | TRACE_REPLY | TRACE_CONNECT | TRACE_ACCEPT | TRACE_REFUSE => "->",
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
    if record.message_type == 0 {
        return String::from("-");
    }
    let mut text = String::from(message_type_name(record.message_type));
    let flags = flag_letters(record.message_type);
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
fn attribute_letters(attributes: u8) -> String {
    let letters: String = "SVCHTDW"
        .chars()
        .enumerate()
        .filter(|(i, _)| attributes & (0x40 >> i) != 0)
        .map(|(_, c)| c)
        .collect();
    if letters.is_empty() { String::from("-") } else { letters }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Position;
    use crate::testing::TraceMemory;
    use abi::alpc::{LPC_CONNECTION_REQUEST, LPC_REPLY, LPC_REQUEST};
    use abi::trace::{NAME_PORT, NAME_PROCESS, TRACE_CLOSE, TRACE_UNWAIT, TRACE_WAIT_NEW};

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
        let reading = trace.read(&Position::START, |r| is_wanted(r, filter, &names));
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

    fn filter(process: Option<&str>, port: Option<&str>, last: Option<usize>) -> Filter {
        Filter { process: process.map(Into::into), port: port.map(Into::into), last }
    }

    fn count(filter: &Filter) -> usize {
        show(filter).lines().filter(|line| line.contains("(12:13)") || line.contains("(20:21)")).count()
    }

    #[test]
    fn filters() {
        assert_eq!(count(&filter(Some("ALPCPING"), None, None)), 6);
        assert_eq!(count(&filter(Some("server"), None, None)), 8);
        assert_eq!(count(&filter(Some("ping"), None, None)), 0);
        assert_eq!(count(&filter(None, Some("x"), None)), 8);
        assert_eq!(count(&filter(None, Some("7"), None)), 8);
        assert_eq!(count(&filter(None, Some("y"), None)), 0);
        assert_eq!(count(&filter(Some("server"), Some("\\rpc control\\X"), Some(2))), 2);
        assert!(show(&filter(None, None, Some(2))).ends_with("8 records, the last 2 shown, none lost\n"));
        assert_eq!(show(&filter(None, Some("y"), None)), "0 records, none lost\n");
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
}
