//! One page that shows a trace in a browser, with nothing from elsewhere: `page.html` with the trace as JSON in it.
//!
//! Exchanges go as columns, one array for each field, so that 100,000 of them stay small; texts that repeat are told once.

use super::Capture;
use serde_json::{Value, json};
use std::collections::HashMap;
use trace::exchange::{Exchange, Kind, Who};
use trace::text::{attribute_letters, message_type_text, payload_text, status_text};

const PAGE: &str = include_str!("page.html");
/// Where the trace goes.
const PLACE: &str = "\"the trace\"";

/// Texts by number.
#[derive(Default)]
struct Texts {
    all: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Texts {
    fn number(&mut self, text: String) -> usize {
        let next = self.all.len();
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.all.push(text.clone());
            next
        })
    }
}

/// Writes a trace.
pub fn write(capture: &Capture) -> String {
    // No `</script>` and no `<!--` in a script.
    PAGE.replacen(PLACE, &data(capture).to_string().replace('<', "\\u003c"), 1)
}

fn data(capture: &Capture) -> Value {
    let all = capture.exchanges.all();
    let mut texts = Texts::default();
    let column = |field: &dyn Fn(&Exchange) -> Value| all.iter().map(field).collect::<Vec<_>>();
    let time = |tsc: Option<u64>| tsc.map_or(Value::Null, |tsc| capture.time(tsc).into());
    let mut text = |field: &dyn Fn(&Exchange) -> String| {
        all.iter().map(|exchange| texts.number(field(exchange))).collect::<Vec<_>>()
    };
    let payload = |bytes: &[u8], is_reply| match bytes {
        [] => String::new(),
        bytes => payload_text(bytes, is_reply),
    };
    let types = text(&|e| message_type_text(e.message_type));
    let attributes = text(&|e| attribute_letters(e.attributes));
    let status = text(&|e| if e.status == 0 { String::new() } else { status_text(e.status) });
    let requests = text(&|e| payload(&e.payload, false));
    let replies = text(&|e| payload(&e.reply, true));
    let who = |who: Who| json!([who.process, who.thread]);
    let mut processes: Vec<u32> = all.iter().flat_map(|e| [e.client.process, e.server.process]).collect();
    processes.sort_unstable();
    processes.dedup();
    let mut ports: Vec<u32> = all.iter().map(|e| e.port).collect();
    ports.sort_unstable();
    ports.dedup();
    json!({
        "title": capture.title,
        "lost": capture.reading.lost,
        "events": capture.reading.records.len(),
        "processes": processes.iter().map(|id| json!([id, capture.names.process(*id)])).collect::<Vec<_>>(),
        "ports": ports.iter().map(|id| json!([id, capture.names.port(*id)])).collect::<Vec<_>>(),
        "kind": column(&|e| match e.kind { Kind::Request => 0, Kind::Connect => 1, Kind::Datagram => 2 }.into()),
        "message": column(&|e| e.message.into()),
        "port": column(&|e| e.port.into()),
        "client": column(&|e| who(e.client)),
        "server": column(&|e| who(e.server)),
        "sent": column(&|e| time(e.sent)),
        "received": column(&|e| time(e.received)),
        "replied": column(&|e| time(e.replied)),
        "returned": column(&|e| time(e.returned)),
        "size": column(&|e| e.size.into()),
        "replySize": column(&|e| e.reply_size.into()),
        "parent": column(&|e| e.parent.map_or(Value::Null, Into::into)),
        "type": types,
        "attributes": attributes,
        "status": status,
        "request": requests,
        "reply": replies,
        "texts": texts.all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::capture;

    #[test]
    fn the_trace_is_in_the_page() {
        let page = write(&capture());
        assert!(!page.contains(PLACE));
        let (_, rest) = page.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
        let (data, _) = rest.split_once("</script>").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["kind"], json!([0, 0, 0, 2]));
        assert_eq!(data["texts"][data["request"][0].as_u64().unwrap() as usize], "68 69 hi");
        assert_eq!(data["parent"], json!([null, 0, null, null]));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        assert!(PAGE.contains(PLACE));
        for word in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!PAGE.contains(word), "{word}");
        }
    }

    #[test]
    fn no_text_ends_the_script() {
        let mut capture = capture();
        capture.title = "</script><b>".into();
        assert!(!write(&capture).contains("</script><b>"));
    }
}
