//! Random interleavings of many clients and server threads, with deaths at every step, against a simple model.
//!
//! The model keeps the messages of each kind of place in one list and searches it. It foresees every result, every waking
//! of a blocked sender and every readable flag. Of receivers it foresees only whom closing wakes: which of several is
//! woken for a message is the group's choice, but none may sleep next to a message once all woken ones have run.
//!
//! [`know`] is what the model knows, [`steps`] connecting, sending, receiving and replying, [`further`] call backs,
//! cancelling, reserves and limits, [`ends`] the ends, [`running`] the choice of steps, [`checking`] the comparison.

mod checking;
mod ends;
mod further;
mod know;
mod running;
mod steps;

use super::Log;
use crate::alpc::*;
use abi::alpc::{
    LPC_CANCELED, LPC_CONNECTION_REPLY, LPC_CONNECTION_REQUEST, LPC_CONTINUATION_REQUIRED, LPC_DATAGRAM,
    LPC_KERNELMODE_MESSAGE, LPC_OBJECT_CLOSED, LPC_PORT_CLOSED, LPC_REPLY, LPC_REQUEST,
};
use abi::status::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const THREADS: usize = 8;
const LINES: usize = 6;
const MAIN_OBJECT: u32 = 1;
const SMALL: usize = 10;
const LARGE: usize = 20;
/// Messages that one direction of a connection may have.
const MOST: u32 = 5;

/// A body that is told apart by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Tag {
    number: u32,
    length: usize,
    /// A reserve's.
    reserved: bool,
}

impl Body for Tag {
    fn data_length(&self) -> usize {
        self.length
    }

    fn recycle(&mut self) {
        (self.number, self.length) = (0, 0);
    }
}

#[derive(Clone, Debug, Default)]
struct Letter {
    /// Unknown for a notice until it is delivered.
    id: Option<u32>,
    kind: u16,
    from: Sender,
    /// 0 for server objects.
    line: u64,
    to_client: bool,
    object: Option<ObjectContext>,
    body: Tag,
    blocked: Option<Waiter>,
    /// Its sender was woken for a call back.
    called: bool,
    /// What its receiver sees as its id; 0: its own.
    origin: u32,
    /// Of a call back: what it is made for.
    parent: u32,
    contexts: [u64; 2],
    /// Counted with so many bytes, for this direction.
    cost: u64,
    sent_to_client: bool,
    reserve: u32,
    cancel: Option<bool>,
    gone: bool,
    /// Something of its body is kept.
    kept: bool,
    tracked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Pending,
    Connected,
    Refused,
    Cancelled,
    Disconnected,
}

/// A connection.
#[derive(Clone, Debug)]
struct Line {
    phase: Phase,
    client_open: bool,
    server_open: bool,
    /// There is a client handle (a blocked connect has none yet).
    client_held: bool,
    accepted: bool,
    context: u64,
    client_process: u32,
    server_process: u32,
    client_object: u32,
    server_object: u32,
    /// Most bytes that the server's side (0) and the client's (1) may have sent.
    pools: [u64; 2],
}

impl Line {
    fn gone(&self) -> bool {
        !self.client_open && !self.server_open
    }

    fn over(&self) -> bool {
        !matches!(self.phase, Phase::Pending | Phase::Connected)
    }
}

/// A resource reserve.
#[derive(Clone, Copy, Debug)]
struct Spare {
    id: u32,
    line: u64,
    of_client: bool,
    size: usize,
    deleted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Idle,
    Connecting {
        line: u64,
        id: u32,
        waiter: Waiter,
        woken: Option<NtStatus>,
    },
    Sending {
        id: u32,
        waiter: Waiter,
        woken: Option<NtStatus>,
    },
    Waiting {
        role: Role,
        room: usize,
        waiter: Waiter,
        woken: Option<NtStatus>,
    },
    Delivering {
        id: u32,
        body: Tag,
    },
    /// Has a request that was handed over directly and copies it out.
    Handed {
        id: u32,
        body: Tag,
    },
    /// Waits until no tracked message is left.
    Tracking {
        role: Role,
        waiter: Waiter,
        woken: Option<NtStatus>,
    },
}

/// One step: which thread, what, and two choices.
type Step = (u8, u8, u8, u8);

/// The real group, the model and the threads.
struct World {
    group: Group<Tag>,
    log: Log,
    closed: bool,
    queued: Vec<Letter>,
    large: Vec<Letter>,
    canceled: Vec<Letter>,
    posted: Vec<Letter>,
    out: Vec<Letter>,
    owed: Vec<Letter>,
    answered: Vec<Letter>,
    /// Being delivered, with nothing left but the reserve that they were sent with.
    ghosts: Vec<Letter>,
    lines: BTreeMap<u64, Line>,
    spares: Vec<Spare>,
    reserved: Vec<u32>,
    waiting: Vec<(Role, Waiter)>,
    /// Most bytes at the connection port.
    pool: u64,
    /// Wake-ups that must happen in this step.
    expected: Vec<(Waiter, NtStatus)>,
    delivered: u32,
    threads: [Doing; THREADS],
    counter: u32,
    /// Message that a connection's direct request used last.
    slots: BTreeMap<u64, u32>,
    seen_ids: Vec<u32>,
    seen_notices: Vec<u32>,
    seen_spares: Vec<u32>,
}

/// Ids to try that nobody was given; the second may be given out some day.
const MADE_UP: [u32; 2] = [0, 0x10001];

fn pick<T: Copy>(list: &[T], choice: u8) -> Option<T> {
    (!list.is_empty()).then(|| list[usize::from(choice) % list.len()])
}

fn one_in(n: u8, choice: u8) -> bool {
    choice.is_multiple_of(n)
}

fn sender(thread: usize) -> Sender {
    Sender { process: 1 + thread as u32 / 2, thread: 100 + thread as u32 }
}

fn kind_of(letter: &Letter) -> u16 {
    letter.kind & 0xFF
}

/// Whoever receives it owes an answer.
fn is_owed(letter: &Letter) -> bool {
    match kind_of(letter) {
        LPC_REQUEST | LPC_CONNECTION_REQUEST => true,
        LPC_DATAGRAM => letter.kind & LPC_CONTINUATION_REQUIRED != 0,
        _ => false,
    }
}

impl World {
    fn new(seed: u32) -> Self {
        Self {
            group: Group::new(seed, MAIN_OBJECT, MOST),
            log: Log::default(),
            closed: false,
            queued: Vec::new(),
            large: Vec::new(),
            canceled: Vec::new(),
            posted: Vec::new(),
            out: Vec::new(),
            owed: Vec::new(),
            answered: Vec::new(),
            ghosts: Vec::new(),
            lines: BTreeMap::new(),
            spares: Vec::new(),
            reserved: Vec::new(),
            waiting: Vec::new(),
            pool: u64::MAX,
            expected: Vec::new(),
            delivered: 0,
            threads: [Doing::Idle; THREADS],
            counter: 0,
            slots: BTreeMap::new(),
            seen_ids: MADE_UP.to_vec(),
            seen_notices: Vec::new(),
            seen_spares: vec![0, 0x8000_0001],
        }
    }

    fn number(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    fn body(&mut self, choice: u8) -> Tag {
        let length = if one_in(4, choice) { LARGE } else { SMALL };
        Tag { number: self.number(), length, reserved: false }
    }

    fn waiter(&mut self, thread: usize) -> Waiter {
        Waiter { thread: thread as u32, ticket: self.number() }
    }
}

/// How many cases to run: PROPTEST_CASES, or so many.
fn cases(otherwise: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(1500), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_the_model(
        seed in any::<u32>(),
        pairs in 0..3,
        order in any::<u8>(),
        steps in proptest::collection::vec(any::<Step>(), 0..200),
    ) {
        let mut world = World::new(seed);
        for _ in 0..pairs {
            world.pair();
        }
        for step in steps {
            world.run(step);
        }
        world.settle();
        world.close_all(order);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(500), failure_persistence: None, ..ProptestConfig::default() })]

    /// Only sending, receiving at all kinds of ports, undoing and leaving: whose turn is it?
    #[test]
    fn no_turn_is_lost(
        steps in proptest::collection::vec(
            (any::<u8>(), prop_oneof![20..30u8, 56..80u8, 30..42u8, Just(129)], any::<u8>(), any::<u8>()),
            0..100,
        ),
    ) {
        let mut world = World::new(0);
        world.pair();
        world.pair();
        for step in steps {
            world.run(step);
        }
        world.settle();
        world.close_all(0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(1000), failure_persistence: None, ..ProptestConfig::default() })]

    /// Mostly requests in two connections, held, called back, answered, cancelled and given up.
    #[test]
    fn conversations_hold_together(
        order in any::<u8>(),
        steps in proptest::collection::vec(
            (any::<u8>(), prop_oneof![30..42u8, 46..70u8, 96..126u8, Just(129)], any::<u8>(), any::<u8>()),
            0..200,
        ),
    ) {
        let mut world = World::new(7);
        world.pair();
        world.pair();
        for step in steps {
            world.run(step);
        }
        world.settle();
        world.close_all(order);
    }
}
