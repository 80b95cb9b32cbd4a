//! JSON lines: a line for each exchange, in the order of their first events; the first line says what the trace is.
//!
//! Times are nanoseconds since the kernel was entered; `null` is what was not seen.

use super::Capture;
use serde_json::{Value, json};
use trace::exchange::{Exchange, Kind, Who};
use trace::text::{attribute_letters, message_type_text, payload_text, status_text};

/// Writes a trace.
pub fn write(capture: &Capture) -> String {
    let mut lines = json!({
        "trace": capture.title,
        "messages": capture.exchanges.all().len(),
        "events": capture.reading.records.len(),
        "lost": capture.reading.lost,
        "ticks_per_second": capture.clock.frequency,
    })
    .to_string();
    for exchange in capture.exchanges.all() {
        lines.push('\n');
        lines += &line(capture, exchange).to_string();
    }
    lines.push('\n');
    lines
}

/// A name for the kind of an exchange.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Request => "request",
        Kind::Connect => "connect",
        Kind::Datagram => "datagram",
    }
}

fn line(capture: &Capture, exchange: &Exchange) -> Value {
    let time = |tsc: Option<u64>| tsc.map(|tsc| capture.time(tsc));
    let who = |who: Who| json!({ "process": who.process, "thread": who.thread, "image": capture.names.process(who.process) });
    let text = |payload: &[u8], is_reply| (!payload.is_empty()).then(|| payload_text(payload, is_reply));
    json!({
        "index": exchange.index,
        "kind": kind_name(exchange.kind),
        "message": format!("{:08x}", exchange.message),
        "port": exchange.port,
        "port_name": capture.names.port(exchange.port),
        "type": message_type_text(exchange.message_type),
        "client": who(exchange.client),
        "server": who(exchange.server),
        "sent": time(exchange.sent),
        "received": time(exchange.received),
        "replied": time(exchange.replied),
        "returned": time(exchange.returned),
        "latency": exchange.latency().map(|ticks| capture.clock.span(ticks)),
        "size": exchange.size,
        "reply_size": exchange.is_answered().then_some(exchange.reply_size),
        "attributes": attribute_letters(exchange.attributes),
        "status": status_text(exchange.status),
        "parent": exchange.parent,
        "depth": exchange.depth,
        "request": text(&exchange.payload, false),
        "reply": text(&exchange.reply, true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::capture;

    #[test]
    fn a_line_for_each_exchange() {
        let text = write(&capture());
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["messages"], lines.len() - 1);
        assert_eq!(lines[1]["client"]["image"], "app");
        assert_eq!((&lines[2]["parent"], &lines[2]["latency"]), (&json!(0), &json!(5000)));
        assert_eq!(lines[1]["request"], "68 69 hi");
    }
}
