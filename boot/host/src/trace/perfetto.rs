//! The Trace Event format, which Perfetto and chrome://tracing open.
//!
//! Processes and threads are as they are; a request is a slice on its sender's thread while that waits, its handling a slice on
//! the receiver's thread, and flow arrows lead from one to the other and back. Requests that nobody waited for are
//! async spans. Each port with messages has a counter of how many were sent and not received, and the processors are
//! threads of a process of their own with a slice for each thread that ran.
//!
//! Rules of the format that are kept (source: the Trace Event Format document and Perfetto's "Other formats"): slices of a
//! thread nest; the ends of a flow lie in slices of their threads; a flow's id is used for one arrow. Slices that
//! would not nest are cut: who answers later than it turned to something else has a slice of its own for the answer.

use super::Capture;
use super::jsonl::kind_name;
use abi::trace::{TRACE_REPLY, TRACE_SEND, TRACE_SWITCH};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use trace::exchange::{Exchange, Kind, Who};
use trace::text::{attribute_letters, message_type_text, payload_text, status_text, who};

/// Process number of the processors.
const PROCESSORS: u32 = 1_000_000_000;

/// A slice that is to be, in nanoseconds.
struct Slice {
    who: Who,
    start: u64,
    end: u64,
    name: String,
    args: Value,
}

/// Writes a trace.
pub fn write(capture: &Capture) -> String {
    let mut events = Events::default();
    names(capture, &mut events);
    let mut slices = Vec::new();
    for exchange in capture.exchanges.all() {
        one(capture, exchange, &mut slices, &mut events);
    }
    for slice in nest(slices) {
        let time = span(slice.start, slice.end);
        events.add("X", slice.who, time, &slice.name, json!({ "cat": "alpc", "args": slice.args }));
    }
    queues(capture, &mut events);
    processors(capture, &mut events);
    let lost = capture.reading.lost;
    let other = json!({ "commands": capture.title, "records lost": lost });
    format!("{{\"displayTimeUnit\":\"ns\",\"otherData\":{other},\"traceEvents\":[\n{}\n]}}\n", events.0)
}

/// The events, one a line.
#[derive(Default)]
struct Events(String);

impl Events {
    /// Adds an event; `time` and `more` are objects whose members it has too.
    fn add(&mut self, phase: &str, who: Who, time: Value, name: &str, more: Value) {
        let mut event = json!({ "ph": phase, "pid": who.process, "tid": who.thread, "name": name });
        for part in [time, more] {
            if let (Value::Object(event), Value::Object(part)) = (&mut event, part) {
                event.extend(part);
            }
        }
        let separator = if self.0.is_empty() { "" } else { ",\n" };
        // Strings take everything.
        let _ = write!(self.0, "{separator}{event}");
    }
}

/// A time in microseconds, as the format wants it, exact to the nanosecond.
fn at(time: u64) -> Value {
    json!({ "ts": time as f64 / 1000.0 })
}

fn span(start: u64, end: u64) -> Value {
    json!({ "ts": start as f64 / 1000.0, "dur": (end - start) as f64 / 1000.0 })
}

fn names(capture: &Capture, events: &mut Events) {
    let mut threads: BTreeMap<u32, Who> = BTreeMap::new();
    for record in &capture.reading.records {
        if record.thread != 0 {
            threads.insert(record.thread, Who { process: record.process, thread: record.thread });
        }
    }
    let label = |events: &mut Events, what: &str, who: Who, name: &str| {
        events.add("M", who, json!({}), what, json!({ "args": { "name": name } }));
    };
    let mut processes: Vec<u32> = threads.values().map(|who| who.process).collect();
    processes.sort_unstable();
    processes.dedup();
    for process in processes {
        let who = Who { process, thread: 0 };
        label(events, "process_name", who, &format!("{} ({process})", capture.names.process(process)));
    }
    for who in threads.values() {
        label(events, "thread_name", *who, &format!("thread {}", who.thread));
    }
    label(events, "process_name", Who { process: PROCESSORS, thread: 0 }, "Processors");
    for cpu in 0..capture.cpus {
        let thread = cpu as u32 + 1;
        label(events, "thread_name", Who { process: PROCESSORS, thread }, &format!("cpu {cpu}"));
    }
}

/// Makes an exchange's slices and adds its flows.
fn one(capture: &Capture, exchange: &Exchange, slices: &mut Vec<Slice>, events: &mut Events) {
    let time = |tsc: Option<u64>| tsc.map(|tsc| capture.time(tsc));
    let port = capture.names.port(exchange.port);
    let text = |payload: &[u8], is_reply| {
        if payload.is_empty() { Value::Null } else { payload_text(payload, is_reply).into() }
    };
    let args = json!({
        "message": format!("{:08x}", exchange.message),
        "type": message_type_text(exchange.message_type),
        "size": exchange.size,
        "reply size": exchange.reply_size,
        "attributes": attribute_letters(exchange.attributes),
        "status": status_text(exchange.status),
        "request": text(&exchange.payload, false),
        "reply": text(&exchange.reply, true),
    });
    let kind = kind_name(exchange.kind);
    let (sent, received) = (time(exchange.sent), time(exchange.received));
    let (replied, returned) = (time(exchange.replied), time(exchange.returned));
    let id = exchange.index;
    let mut slice = |who: Who, start: u64, end: u64, name: String| {
        slices.push(Slice { who, start, end: end.max(start), name, args: args.clone() });
    };
    if let Some(sent) = sent.filter(|_| exchange.client.thread != 0) {
        let name = format!("{kind} {port}");
        if exchange.waited {
            slice(exchange.client, sent, returned.unwrap_or(sent), name);
        } else {
            slice(exchange.client, sent, sent, format!("send {port}"));
            if let Some(returned) = returned.filter(|_| exchange.kind != Kind::Datagram) {
                let more = || json!({ "cat": "alpc", "id": format!("{id}.a") });
                events.add("b", exchange.client, at(sent), &name, more());
                events.add("e", exchange.client, at(returned.max(sent)), &name, more());
                slice(exchange.client, returned, returned, format!("answer from {port}"));
            }
        }
    }
    if let Some(received) = received.filter(|_| exchange.server.thread != 0) {
        let same = exchange.replier == exchange.server || exchange.replied.is_none();
        let until = time(exchange.left).into_iter().chain(replied.filter(|_| same)).min().unwrap_or(received);
        slice(exchange.server, received, until, format!("handle {kind} {port}"));
    }
    if let Some(replied) = replied.filter(|_| exchange.replier.thread != 0) {
        slice(exchange.replier, replied, replied, format!("reply {port}"));
    }
    let mut arrow = |what: &str, from: (Who, Option<u64>), to: (Who, Option<u64>)| {
        let (Some(start), Some(end)) = (from.1, to.1) else { return };
        if from.0.thread != 0 && to.0.thread != 0 {
            let letter = &what[..3];
            let more = |bind| json!({ "cat": "alpc", "id": format!("{id}.{letter}"), "bp": bind });
            events.add("s", from.0, at(start), what, more(Value::Null));
            events.add("f", to.0, at(end.max(start)), what, more("e".into()));
        }
    };
    arrow(kind, (exchange.client, sent), (exchange.server, received));
    arrow("reply", (exchange.replier, replied), (exchange.client, returned));
}

/// Cuts slices so that those of a thread nest.
fn nest(mut slices: Vec<Slice>) -> Vec<Slice> {
    slices.sort_by_key(|slice| (slice.who, slice.start, std::cmp::Reverse(slice.end)));
    let mut open: Vec<(Who, u64)> = Vec::new();
    let mut cut = Vec::new();
    for slice in &mut slices {
        // A slice that ends as the next begins is not around it, unless that has no length.
        let is_around = |(who, end): &(Who, u64)| {
            *who == slice.who && (*end > slice.start || *end == slice.start && slice.end == slice.start)
        };
        while open.last().is_some_and(|last| !is_around(last)) {
            open.pop();
        }
        if let Some((_, end)) = open.last().filter(|(_, end)| *end < slice.end) {
            // What was to happen at its end has a place of its own; without length it nests anywhere.
            let (name, args) = (format!("end of {}", slice.name), slice.args.clone());
            cut.push(Slice { who: slice.who, start: slice.end, end: slice.end, name, args });
            slice.end = *end;
        }
        open.push((slice.who, slice.end));
    }
    slices.extend(cut);
    slices
}

/// Counters of how many messages each port has that were sent and not received.
fn queues(capture: &Capture, events: &mut Events) {
    let mut changes: BTreeMap<u32, Vec<(u64, i64)>> = BTreeMap::new();
    for exchange in capture.exchanges.all() {
        if let (Some(sent), Some(received)) = (exchange.sent, exchange.received) {
            let port = changes.entry(exchange.port).or_default();
            port.push((capture.time(sent), 1));
            port.push((capture.time(received), -1));
        }
    }
    for (port, mut changes) in changes {
        // What is received in the same nanosecond was sent first.
        changes.sort_by_key(|(time, change)| (*time, -change));
        let process = capture.names.port_entry(port).map_or(0, |entry| entry.owner);
        let name = format!("queue of {}", capture.names.port(port));
        let mut depth = 0;
        for (time, change) in changes {
            depth += change;
            let more = json!({ "args": { "messages": depth } });
            events.add("C", Who { process, thread: 0 }, at(time), &name, more);
        }
    }
}

/// Slices of the threads that ran on each processor.
fn processors(capture: &Capture, events: &mut Events) {
    let mut running: Vec<Option<(Who, u64)>> = vec![None; capture.cpus];
    let mut switch = |cpu: u8, time: u64, to: Option<Who>| {
        let Some(place) = running.get_mut(usize::from(cpu)) else { return };
        if let Some((thread, since)) = place.take() {
            let on = Who { process: PROCESSORS, thread: u32::from(cpu) + 1 };
            let more =
                json!({ "cat": "sched", "args": { "process": thread.process, "thread": thread.thread } });
            events.add("X", on, span(since, time.max(since)), &who(thread, &capture.names), more);
        }
        *place = to.filter(|to| to.thread != 0).map(|to| (to, time));
    };
    let mut last = 0;
    for record in &capture.reading.records {
        last = capture.time(record.tsc);
        let direct = matches!(record.event, TRACE_SEND | TRACE_REPLY) && record.detail != 0;
        if record.event == TRACE_SWITCH || direct {
            let to = Who { process: record.peer_process, thread: record.detail as u32 };
            switch(record.cpu, last, Some(to));
        }
    }
    for cpu in 0..capture.cpus {
        switch(cpu as u8, last, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::rules::check;
    use crate::trace::testing::capture;

    fn events() -> Vec<Value> {
        let trace: Value = serde_json::from_str(&write(&capture())).unwrap();
        trace["traceEvents"].as_array().unwrap().clone()
    }

    #[test]
    fn the_formats_rules_are_kept() {
        assert_eq!(check(&write(&capture())), Ok((13, 7)));
    }

    #[test]
    fn the_rules_are_looked_at() {
        let good = write(&capture());
        let bad = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            check(&good.replacen(from, to, 1)).unwrap_err()
        };
        assert!(bad("\"dur\":5.0", "\"dur\":7.5").contains("nest"));
        assert!(bad("\"ph\":\"s\"", "\"ph\":\"i\"").contains("phase"));
        assert!(bad("\"id\":\"1.rep\"", "\"id\":\"0.rep\"").contains("flow"));
    }

    #[test]
    fn processors_show_who_ran() {
        let ran: Vec<_> = events()
            .iter()
            .filter(|event| event["cat"] == "sched")
            .map(|event| (event["name"].as_str().unwrap().to_owned(), event["ts"].as_f64().unwrap()))
            .collect();
        assert_eq!(ran, [("store(8:9)".to_owned(), 10.001), ("app(20:21)".to_owned(), 35.001)]);
    }

    #[test]
    fn queues_end_empty() {
        let depths: Vec<i64> = events()
            .iter()
            .filter(|event| event["name"] == "queue of \\RPC Control\\x")
            .map(|event| event["args"]["messages"].as_i64().unwrap())
            .collect();
        assert_eq!(depths, [1, 0, 1, 0, 1, 0]);
    }
}
