//! What a test observed, in a form that is the same whenever the same happened.
//!
//! Each thread's observations are a stream of lines in its order; the streams of the other threads follow that of
//! the thread that ran the test, sorted by what they say. Ids differ from run to run: an observation writes them as
//! [`Id`]s, and the record numbers each kind of them by first appearance.

use alloc::collections::BTreeMap;
use core::fmt::{self, Display};
use core::sync::atomic::{AtomicBool, Ordering};
use libnt::prelude::*;
use libnt::sync::Mutex;
use libnt::thread;

/// Around an id in a line.
const OPEN: char = '\u{1}';
const CLOSE: char = '\u{2}';
/// A line that starts so forgets the numbers of the ids of the kind behind it.
const ANEW: char = '\u{3}';

static ON: AtomicBool = AtomicBool::new(false);
static STREAMS: Mutex<Vec<(u64, Vec<String>)>> = Mutex::new(Vec::new());

/// A number that differs from run to run, of a kind: `Id('m', message_id)`.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub char, pub u64);

impl Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => write!(f, "{}0", self.0),
            number => write!(f, "{OPEN}{}{number}{CLOSE}", self.0),
        }
    }
}

/// Is something to be recorded?
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Notes an observation of the calling thread.
pub fn note(observation: impl Display) {
    if !is_on() {
        return;
    }
    let line = observation.to_string().replace('\n', " ");
    let me = thread::current_id().unique_thread;
    let mut streams = STREAMS.lock();
    match streams.iter_mut().find(|(thread, _)| *thread == me) {
        Some((_, lines)) => lines.push(line),
        None => streams.push((me, vec![line])),
    }
}

/// Ids of this kind mean something else from now on: they are numbered anew.
pub fn renumber(kind: char) {
    note(format_args!("{ANEW}{kind}"));
}

/// Does something of which nothing is recorded, by any thread: what has no fixed number of observations.
pub fn quietly<R>(work: impl FnOnce() -> R) -> R {
    let was = ON.swap(false, Ordering::Relaxed);
    let result = work();
    ON.store(was, Ordering::Relaxed);
    result
}

/// Starts to record; the calling thread's stream comes first.
pub(crate) fn begin() {
    *STREAMS.lock() = vec![(thread::current_id().unique_thread, Vec::new())];
    ON.store(true, Ordering::Relaxed);
}

/// Ends recording; the lines.
pub(crate) fn end() -> Vec<String> {
    ON.store(false, Ordering::Relaxed);
    let streams = core::mem::take(&mut *STREAMS.lock());
    canonical(streams.into_iter().map(|(_, lines)| lines).collect())
}

/// The first stream, then the others sorted, with ids numbered.
fn canonical(mut streams: Vec<Vec<String>>) -> Vec<String> {
    let mut numbers = Numbers::default();
    let mut record = Vec::new();
    if streams.is_empty() {
        return record;
    }
    for line in streams.remove(0) {
        numbers.line(&line, "", &mut record);
    }
    // Streams that say the same but for ids are told apart by the ids that are known already.
    let mut others: Vec<(Vec<String>, Vec<String>)> = streams
        .into_iter()
        .map(|stream| (stream.iter().map(|line| numbers.rewrite(line, false)).collect(), stream))
        .collect();
    others.sort_by(|a, b| a.0.cmp(&b.0));
    for (at, (_, stream)) in others.iter().enumerate() {
        for line in stream {
            numbers.line(line, &format!("thread {}: ", at + 1), &mut record);
        }
    }
    record
}

/// The numbers that ids have in a record.
#[derive(Default)]
struct Numbers(BTreeMap<String, usize>);

impl Numbers {
    /// Adds a line to the record.
    fn line(&mut self, line: &str, before: &str, record: &mut Vec<String>) {
        match line.strip_prefix(ANEW).and_then(|rest| rest.chars().next()) {
            Some(kind) => self.0.retain(|id, _| !id.starts_with(kind)),
            None => record.push(format!("{before}{}", self.rewrite(line, true))),
        }
    }

    /// A line with its ids numbered; ids that have no number yet get one (`assign`) or stay `?`.
    fn rewrite(&mut self, line: &str, assign: bool) -> String {
        let mut text = String::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once(OPEN) {
            let (id, behind) = after.split_once(CLOSE).unwrap_or((after, ""));
            text.push_str(before);
            let kind = id.chars().next().unwrap_or('?');
            if assign && !self.0.contains_key(id) {
                let next = self.0.keys().filter(|known| known.starts_with(kind)).count() + 1;
                self.0.insert(id.to_owned(), next);
            }
            match self.0.get(id) {
                Some(number) => text.push_str(&format!("{kind}{number}")),
                None => text.push_str(&format!("{kind}?")),
            }
            rest = behind;
        }
        text.push_str(rest);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(ids: [u64; 3]) -> Vec<Vec<String>> {
        let [a, b, c] = ids.map(|id| Id('m', id));
        vec![
            vec![
                format!("got {a} from {}", Id('t', ids[0])),
                format!("got {b}"),
                format!("none {}", Id('m', 0)),
            ],
            vec![format!("asked {b}")],
            vec![format!("asked {a}"), format!("and {c}")],
        ]
    }

    #[test]
    fn ids_are_relative() {
        let record = canonical(streams([700, 31, 9]));
        assert_eq!(
            record,
            [
                "got m1 from t1",
                "got m2",
                "none m0",
                "thread 1: asked m1",
                "thread 1: and m3",
                "thread 2: asked m2"
            ]
        );
    }

    #[test]
    fn ids_can_be_numbered_anew() {
        let id = |n| format!("{}{}", Id('m', n), Id('t', 1));
        let record = canonical(vec![vec![id(5), id(6), format!("{ANEW}m"), id(6), id(5)]]);
        assert_eq!(record, ["m1t1", "m2t1", "m1t1", "m2t1"]);
    }

    #[test]
    fn neither_ids_nor_the_order_of_threads_matter() {
        let mut other = streams([1, 2, 3]);
        other.swap(1, 2);
        assert_eq!(canonical(other), canonical(streams([9, 8, 7])));
        assert!(canonical(vec![]).is_empty());
    }

    #[test]
    fn equal_threads_are_told_apart_by_known_ids() {
        let id = |n| Id('m', n);
        let one = vec![
            vec![format!("{}", id(5)), format!("{}", id(6))],
            vec![format!("x {}", id(6))],
            vec![format!("x {}", id(5))],
        ];
        assert_eq!(canonical(one), ["m1", "m2", "thread 1: x m1", "thread 2: x m2"]);
    }
}
