//! Exchanges: what belongs together of the events of a trace.
//!
//! An exchange is a message and what comes of it: a request with its handling and its reply, a connection request with
//! its outcome, or a datagram. [`Exchanges`] is fed with events in order of time and joins them. The exchange that a server's
//! thread was handling when it sent a message is that message's parent; so all that an action caused is a tree.

use abi::alpc::{
    LPC_CONNECTION_REPLY, LPC_CONNECTION_REQUEST, LPC_DATAGRAM, LPC_LOST_REPLY, LPC_REPLY, LPC_REQUEST,
};
use abi::trace::*;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A process and a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// Process id; 0: the kernel.
    pub process: u32,
    /// Thread id.
    pub thread: u32,
}

/// What kind of exchange it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A request, to be answered.
    #[default]
    Request,
    /// A request for a connection.
    Connect,
    /// A message that is not answered.
    Datagram,
}

/// See the module head. Times are time-stamp counter values; what was not seen is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Its number in the trace.
    pub index: usize,
    /// Kind.
    pub kind: Kind,
    /// Message id.
    pub message: u32,
    /// Id of the connection port.
    pub port: u32,
    /// PORT_MESSAGE type of the message with flags.
    pub message_type: u16,
    /// Who sent it.
    pub client: Who,
    /// Who received it, or its process if only that is known.
    pub server: Who,
    /// Processor that it was sent on, and received.
    pub cpus: (u8, u8),
    /// Payload bytes of the message.
    pub size: u16,
    /// Payload bytes of the reply.
    pub reply_size: u16,
    /// Attributes sent, delivered, and delivered with the reply.
    pub attributes: u8,
    /// Sent.
    pub sent: Option<u64>,
    /// Received.
    pub received: Option<u64>,
    /// Its receiver waited for something else before it answered.
    pub left: Option<u64>,
    /// Answered.
    pub replied: Option<u64>,
    /// Who answered.
    pub replier: Who,
    /// The sender has its answer, or has given up.
    pub returned: Option<u64>,
    /// The sender waited for the answer.
    pub waited: bool,
    /// How it ended: a status that is not success came back from sending, answering or waiting.
    pub status: u32,
    /// The exchange that its sender was handling.
    pub parent: Option<usize>,
    /// Exchanges above it.
    pub depth: usize,
    /// The message's payload, as far as it was recorded.
    pub payload: Vec<u8>,
    /// The reply's.
    pub reply: Vec<u8>,
}

impl Exchange {
    /// Ticks from sending to the answer's arrival.
    pub fn latency(&self) -> Option<u64> {
        (self.kind != Kind::Datagram)
            .then(|| Some(self.returned?.saturating_sub(self.sent?)))
            .flatten()
            .filter(|_| self.is_answered())
    }

    /// A message that the kernel sends of its own, without an event.
    pub fn is_notice(&self) -> bool {
        self.kind == Kind::Datagram && self.message_type & 0xFF != LPC_DATAGRAM
    }

    /// The sender has its answer, or it was given at least.
    pub fn is_answered(&self) -> bool {
        self.kind != Kind::Datagram && (self.replied.is_some() || self.returned.is_some() && self.status == 0)
    }

    /// The first time that is known of it.
    pub fn start(&self) -> u64 {
        [self.sent, self.received, self.replied, self.returned].into_iter().flatten().min().unwrap_or(0)
    }

    /// True when all of it was seen.
    pub fn is_complete(&self) -> bool {
        match self.kind {
            _ if self.status != 0 => self.returned.is_some(),
            Kind::Datagram => self.received.is_some() && (self.sent.is_some() || self.is_notice()),
            _ => self.sent.is_some() && self.returned.is_some(),
        }
    }
}

type Key = (u32, u32);

/// Joins events to exchanges. See the module head.
#[derive(Clone, Debug, Default)]
pub struct Exchanges {
    all: Vec<Exchange>,
    /// Exchanges that are not done, by port and message id.
    open: BTreeMap<Key, usize>,
    /// What a thread is handling, the latest last.
    handling: BTreeMap<u32, Vec<usize>>,
    /// Exchanges that were done since [`Exchanges::take_done`].
    done: Vec<usize>,
}

impl Exchanges {
    /// Joins a whole reading.
    pub fn of(reading: &crate::Reading) -> Self {
        let mut exchanges = Self::default();
        for record in &reading.records {
            exchanges.event(record, reading.payload(record));
        }
        exchanges
    }

    /// All exchanges, in the order of their first events.
    pub fn all(&self) -> &[Exchange] {
        &self.all
    }

    /// The exchanges that were done since this was last called.
    pub fn take_done(&mut self) -> Vec<usize> {
        core::mem::take(&mut self.done)
    }

    /// Forgets exchanges that are done and told, except those that open ones came from, when there are more than `most`. Their
    /// numbers change.
    pub fn trim(&mut self, most: usize) {
        if self.all.len() <= most || !self.done.is_empty() {
            return;
        }
        let mut kept = alloc::vec![false; self.all.len()];
        for index in self.open.values().chain(self.handling.values().flatten()) {
            let mut next = Some(*index);
            while let Some(index) = next.filter(|index| !kept[*index]) {
                kept[index] = true;
                next = self.all[index].parent;
            }
        }
        let mut numbers = alloc::vec![0; self.all.len()];
        let mut all: Vec<Exchange> = Vec::new();
        for (old, exchange) in
            core::mem::take(&mut self.all).into_iter().enumerate().filter(|(old, _)| kept[*old])
        {
            numbers[old] = all.len();
            let parent = exchange.parent.map(|parent| numbers[parent]);
            all.push(Exchange { index: all.len(), parent, ..exchange });
        }
        self.all = all;
        for index in self.open.values_mut().chain(self.handling.values_mut().flatten()) {
            *index = numbers[*index];
        }
    }

    /// The latest exchange with this message id.
    pub fn find(&self, message: u32) -> Option<&Exchange> {
        self.all.iter().rev().find(|exchange| exchange.message == message)
    }

    /// The exchange that caused an exchange first of all.
    pub fn root<'a>(&'a self, exchange: &'a Exchange) -> &'a Exchange {
        let mut root = exchange;
        // A parent is older than its child.
        while let Some(parent) = root.parent {
            root = &self.all[parent];
        }
        root
    }

    /// An exchange and all that it caused, in order of time.
    pub fn tree(&self, root: &Exchange) -> Vec<&Exchange> {
        let mut inside = alloc::vec![false; self.all.len()];
        let mut tree = Vec::new();
        for exchange in &self.all[root.index..] {
            if exchange.index == root.index || exchange.parent.is_some_and(|parent| inside[parent]) {
                inside[exchange.index] = true;
                tree.push(exchange);
            }
        }
        tree
    }

    /// Takes an event and what is there of its message's payload.
    pub fn event(&mut self, record: &TraceRecord, payload: &[u8]) {
        let who = Who { process: record.process, thread: record.thread };
        match record.event {
            TRACE_SEND | TRACE_CONNECT => self.sent(record, who, payload),
            TRACE_RECEIVE => {
                if record.status == 0 {
                    self.leave(who.thread, record.tsc);
                }
                self.received(record, who, payload);
            }
            TRACE_REPLY | TRACE_ACCEPT | TRACE_REFUSE => self.replied(record, who, payload),
            TRACE_UNWAIT | TRACE_CONNECTED | TRACE_CANCEL => self.returned(record, payload),
            TRACE_WAIT_REPLY => {
                if let Some(index) = self.open.get(&(record.connection_port, record.message_id)) {
                    self.all[*index].waited = true;
                }
            }
            TRACE_WAIT_NEW => self.leave(who.thread, record.tsc),
            _ => {}
        }
    }

    /// A thread turns to something else than what it handles.
    fn leave(&mut self, thread: u32, tsc: u64) {
        for index in self.handling.get(&thread).into_iter().flatten() {
            self.all[*index].left.get_or_insert(tsc);
        }
    }

    fn sent(&mut self, record: &TraceRecord, who: Who, payload: &[u8]) {
        let kind = match record.message_type & 0xFF {
            LPC_DATAGRAM => Kind::Datagram,
            LPC_CONNECTION_REQUEST => Kind::Connect,
            _ => Kind::Request,
        };
        if record.status != 0 {
            let index = self.add(record, kind);
            let exchange = &mut self.all[index];
            (exchange.client, exchange.sent, exchange.returned) = (who, Some(record.tsc), Some(record.tsc));
            exchange.status = record.status;
            self.done.push(index);
            return;
        }
        let key = (record.connection_port, record.message_id);
        // What was received on another processor may have been seen first.
        let early = self.open.get(&key).copied().filter(|index| self.all[*index].sent.is_none());
        let index = early.unwrap_or_else(|| self.add(record, kind));
        let parent = self.handling.get(&who.thread).and_then(|stack| stack.last()).copied();
        let parent = parent.filter(|parent| *parent < index && self.all[*parent].left.is_none());
        let depth = parent.map_or(0, |parent| self.all[parent].depth + 1);
        let exchange = &mut self.all[index];
        exchange.kind = kind;
        exchange.client = who;
        exchange.cpus.0 = record.cpu;
        exchange.sent = Some(exchange.received.map_or(record.tsc, |received| received.min(record.tsc)));
        (exchange.parent, exchange.depth) = (parent, depth);
        keep(&mut exchange.payload, payload);
        exchange.attributes |= record.attributes;
        if exchange.server.process == 0 {
            exchange.server.process = record.peer_process;
        }
        self.open.insert(key, index);
        self.end_datagram(index, key);
    }

    fn add(&mut self, record: &TraceRecord, kind: Kind) -> usize {
        let index = self.all.len();
        self.all.push(Exchange {
            index,
            kind,
            message: record.message_id,
            port: record.connection_port,
            message_type: record.message_type,
            size: record.data_length,
            ..Exchange::default()
        });
        index
    }

    fn end_datagram(&mut self, index: usize, key: Key) {
        let exchange = &self.all[index];
        if exchange.kind == Kind::Datagram && exchange.is_complete() {
            self.open.remove(&key);
            self.done.push(index);
        }
    }

    fn received(&mut self, record: &TraceRecord, who: Who, payload: &[u8]) {
        if record.status != 0 {
            return;
        }
        let key = (record.connection_port, record.message_id);
        let kind = match record.message_type & 0xFF {
            LPC_REQUEST => Kind::Request,
            LPC_CONNECTION_REQUEST => Kind::Connect,
            // The answer to a request that nobody waited for.
            LPC_REPLY | LPC_CONNECTION_REPLY => return self.returned(record, payload),
            _ => Kind::Datagram,
        };
        let index = match self.open.get(&key) {
            Some(index) if self.all[*index].received.is_none() => *index,
            _ => {
                let index = self.add(record, kind);
                self.all[index].client = Who { process: record.peer_process, thread: 0 };
                self.open.insert(key, index);
                index
            }
        };
        let exchange = &mut self.all[index];
        (exchange.server, exchange.received, exchange.cpus.1) = (who, Some(record.tsc), record.cpu);
        exchange.attributes |= record.attributes;
        keep(&mut exchange.payload, payload);
        if kind != Kind::Datagram {
            self.handling.entry(who.thread).or_default().push(index);
        }
        self.end_datagram(index, key);
    }

    fn replied(&mut self, record: &TraceRecord, who: Who, payload: &[u8]) {
        let key = (record.connection_port, record.message_id);
        let Some(index) = self.open.get(&key).copied() else { return };
        let exchange = &mut self.all[index];
        let is_lost = record.message_type & 0xFF == LPC_LOST_REPLY;
        exchange.replied = (!is_lost).then_some(record.tsc);
        exchange.replier = who;
        keep(&mut exchange.reply, payload);
        exchange.reply_size = record.data_length;
        if exchange.server.thread == 0 {
            exchange.server = who;
        }
        if record.status != 0 {
            exchange.status = record.status;
        }
        for stack in self.handling.values_mut() {
            stack.retain(|handled| *handled != index);
        }
        self.handling.retain(|_, stack| !stack.is_empty());
    }

    fn returned(&mut self, record: &TraceRecord, payload: &[u8]) {
        let key = (record.connection_port, record.message_id);
        if record.message_id == 0 {
            return;
        }
        // A call back that interrupts the wait for an answer is a request of its own.
        if record.message_type & 0xFF == LPC_REQUEST {
            let who = Who { process: record.process, thread: record.thread };
            let event = TraceRecord { event: TRACE_RECEIVE, ..*record };
            return self.received(&event, who, payload);
        }
        let Some(index) = self.open.remove(&key) else { return };
        let exchange = &mut self.all[index];
        exchange.waited |= record.event != TRACE_RECEIVE;
        exchange.returned = Some(exchange.replied.map_or(record.tsc, |replied| replied.max(record.tsc)));
        keep(&mut exchange.reply, payload);
        exchange.attributes |= record.attributes;
        if record.data_length > 0 {
            exchange.reply_size = record.data_length;
        }
        if record.status != 0 {
            exchange.status = record.status;
        }
        self.done.push(index);
    }
}

/// Takes a payload. On the fast path it comes with the sending, else with the receiving.
fn keep(place: &mut Vec<u8>, payload: &[u8]) {
    if !payload.is_empty() {
        *place = payload.to_vec();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::TraceMemory;

    /// A trace in which client 20 asks server 12 (port 7), which asks server 8 (port 5) before it answers; then a
    /// datagram, and a request that times out.
    pub(crate) fn nested() -> crate::Reading {
        let mut memory = TraceMemory::new(2, 64, 16);
        let mut event =
            |cpu: usize, tsc: u64, event: u8, process: u32, peer: u32, port: u32, id: u32, kind: u16| {
                memory.event(cpu, tsc, |r| {
                    (r.event, r.process, r.thread, r.peer_process) = (event, process, process + 1, peer);
                    (r.connection_port, r.message_id, r.message_type) = (port, id, kind);
                    if kind != 0 {
                        (r.data_length, r.total_length) = (tsc as u16, tsc as u16 + 40);
                    }
                    if event == TRACE_CANCEL {
                        r.status = 0x102;
                    }
                });
            };
        event(0, 10, TRACE_SEND, 20, 12, 7, 1, LPC_REQUEST);
        event(1, 12, TRACE_RECEIVE, 12, 20, 7, 1, LPC_REQUEST);
        event(1, 14, TRACE_SEND, 12, 8, 5, 1, LPC_REQUEST);
        event(1, 15, TRACE_RECEIVE, 8, 12, 5, 1, LPC_REQUEST);
        event(1, 18, TRACE_REPLY, 8, 12, 5, 1, LPC_REPLY);
        event(1, 19, TRACE_UNWAIT, 12, 8, 5, 1, LPC_REPLY);
        event(1, 20, TRACE_REPLY, 12, 20, 7, 1, LPC_REPLY);
        event(0, 22, TRACE_UNWAIT, 20, 12, 7, 1, LPC_REPLY);
        event(0, 30, TRACE_SEND, 20, 12, 7, 2, LPC_DATAGRAM);
        event(1, 31, TRACE_RECEIVE, 12, 20, 7, 2, LPC_DATAGRAM);
        event(0, 40, TRACE_SEND, 20, 12, 7, 3, LPC_REQUEST);
        event(0, 90, TRACE_CANCEL, 20, 12, 7, 3, 0);
        memory.trace().read(&crate::Position::START, |_| true)
    }

    #[test]
    fn requests_are_joined_with_their_replies_and_causes() {
        let exchanges = Exchanges::of(&nested());
        let [outer, inner, datagram, late] = exchanges.all() else { panic!("{:?}", exchanges.all()) };
        assert_eq!((outer.client.process, outer.server.thread, outer.depth), (20, 13, 0));
        assert_eq!((outer.size, outer.reply_size, outer.latency()), (10, 22, Some(12)));
        assert_eq!((outer.cpus, outer.parent), ((0, 1), None));
        assert_eq!((inner.parent, inner.depth, inner.latency()), (Some(0), 1, Some(5)));
        assert_eq!((datagram.kind, datagram.latency(), datagram.is_complete()), (Kind::Datagram, None, true));
        assert_eq!((late.status, late.latency(), late.returned), (0x102, None, Some(90)));
        let tree: Vec<usize> = exchanges.tree(exchanges.root(inner)).iter().map(|e| e.index).collect();
        assert_eq!(tree, [0, 1]);
        assert_eq!(exchanges.find(3).unwrap().index, 3);
    }

    #[test]
    fn trimming_keeps_what_is_open_and_its_causes() {
        let reading = nested();
        let mut exchanges = Exchanges::default();
        reading.records[..3].iter().for_each(|record| exchanges.event(record, &[]));
        let before = exchanges.all().to_vec();
        exchanges.trim(0);
        assert_eq!(exchanges.all(), before);
        reading.records[3..6].iter().for_each(|record| exchanges.event(record, &[]));
        exchanges.trim(0);
        assert_eq!(exchanges.all().len(), 2, "not yet told");
        assert_eq!(exchanges.take_done(), [1]);
        exchanges.trim(5);
        assert_eq!(exchanges.all().len(), 2);
        exchanges.trim(1);
        assert_eq!(exchanges.all().len(), 1);
        reading.records[6..].iter().for_each(|record| exchanges.event(record, &[]));
        assert_eq!(exchanges.all()[0].latency(), Some(12));
    }

    #[test]
    fn what_is_done_is_told_once() {
        let mut exchanges = Exchanges::of(&nested());
        assert_eq!(exchanges.take_done(), [1, 0, 2, 3]);
        assert_eq!(exchanges.take_done(), []);
    }

    #[test]
    fn a_receive_that_is_seen_before_its_send_is_the_same_exchange() {
        let mut exchanges = Exchanges::default();
        let record = TraceRecord {
            connection_port: 7,
            message_id: 1,
            message_type: LPC_REQUEST,
            ..Default::default()
        };
        exchanges
            .event(&TraceRecord { event: TRACE_RECEIVE, tsc: 5, process: 12, thread: 13, ..record }, b"x");
        exchanges.event(&TraceRecord { event: TRACE_SEND, tsc: 6, process: 20, thread: 21, ..record }, &[]);
        let [one] = exchanges.all() else { panic!() };
        assert_eq!((one.sent, one.received, one.payload.as_slice()), (Some(5), Some(5), &b"x"[..]));
    }

    #[test]
    fn payloads_come_with_either_end() {
        let mut exchanges = Exchanges::default();
        let record = TraceRecord {
            connection_port: 7,
            message_id: 1,
            message_type: LPC_REQUEST,
            ..Default::default()
        };
        let events: [(u8, &[u8]); 4] =
            [(TRACE_SEND, b"ask"), (TRACE_RECEIVE, b""), (TRACE_REPLY, b"say"), (TRACE_UNWAIT, b"")];
        for (event, payload) in events {
            let message_type = if event >= TRACE_REPLY { LPC_REPLY } else { LPC_REQUEST };
            exchanges.event(&TraceRecord { event, message_type, ..record }, payload);
        }
        let [one] = exchanges.all() else { panic!() };
        assert_eq!((one.payload.as_slice(), one.reply.as_slice()), (&b"ask"[..], &b"say"[..]));
    }

    #[test]
    fn an_id_that_is_used_again_is_another_exchange() {
        let mut exchanges = Exchanges::default();
        let record = TraceRecord {
            connection_port: 7,
            message_id: 1,
            message_type: LPC_REQUEST,
            ..Default::default()
        };
        for tsc in [1, 5] {
            exchanges.event(&TraceRecord { event: TRACE_SEND, tsc, ..record }, &[]);
            exchanges.event(&TraceRecord { event: TRACE_RECEIVE, tsc: tsc + 1, ..record }, &[]);
        }
        assert_eq!(exchanges.all().len(), 2);
    }
}
