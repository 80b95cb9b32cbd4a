//! Random interleavings of many clients and server threads, with deaths at every step, against a simple model.
//!
//! The model keeps all queued messages in one list and searches it. It foresees every result, every waking of a
//! blocked sender and every readable flag. Of receivers it foresees only whom closing wakes: which of several is
//! woken for a message is the group's choice, but none may sleep next to a message once all woken ones have run.

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

/// A body that is told apart by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Tag {
    number: u32,
    length: usize,
}

impl Body for Tag {
    fn data_length(&self) -> usize {
        self.length
    }
}

#[derive(Clone, Debug)]
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
}

impl Line {
    fn gone(&self) -> bool {
        !self.client_open && !self.server_open
    }

    fn over(&self) -> bool {
        !matches!(self.phase, Phase::Pending | Phase::Connected)
    }
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
}

/// One step: which thread, what, and two choices.
type Step = (u8, u8, u8, u8);

/// The real group, the model and the threads.
struct World {
    group: Group<Tag>,
    log: Log,
    closed: bool,
    queued: Vec<Letter>,
    out: Vec<Letter>,
    owed: Vec<Letter>,
    answered: Vec<Letter>,
    lines: BTreeMap<u64, Line>,
    reserved: Vec<u32>,
    waiting: Vec<(Role, Waiter)>,
    /// Wake-ups that must happen in this step.
    expected: Vec<(Waiter, NtStatus)>,
    delivered: u32,
    threads: [Doing; THREADS],
    counter: u32,
    seen_ids: Vec<u32>,
    seen_notices: Vec<u32>,
}

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

impl World {
    fn new(seed: u32) -> Self {
        Self {
            group: Group::new(seed, MAIN_OBJECT),
            log: Log::default(),
            closed: false,
            queued: Vec::new(),
            out: Vec::new(),
            owed: Vec::new(),
            answered: Vec::new(),
            lines: BTreeMap::new(),
            reserved: Vec::new(),
            waiting: Vec::new(),
            expected: Vec::new(),
            delivered: 0,
            threads: [Doing::Idle; THREADS],
            counter: 0,
            seen_ids: vec![0, 0x10001],
            seen_notices: Vec::new(),
        }
    }

    fn number(&mut self) -> u32 {
        self.counter += 1;
        self.counter
    }

    fn body(&mut self, choice: u8) -> Tag {
        Tag { number: self.number(), length: if one_in(4, choice) { LARGE } else { SMALL } }
    }

    fn waiter(&mut self, thread: usize) -> Waiter {
        Waiter { thread: thread as u32, ticket: self.number() }
    }

    // ----- what the model knows ----------------------------------------------------------------------------------

    fn is_for(letter: &Letter, role: Role) -> bool {
        match role {
            Role::Connection => !letter.to_client,
            Role::Server(line) => !letter.to_client && letter.line == line,
            Role::Client(line) => letter.to_client && letter.line == line,
        }
    }

    fn next(&self, role: Role) -> Option<usize> {
        self.queued.iter().position(|l| Self::is_for(l, role))
    }

    fn depth(&self, role: Role) -> usize {
        self.queued.iter().filter(|l| Self::is_for(l, role)).count()
    }

    /// What a receive says when nothing is queued and nothing will come.
    fn end_status(&self, role: Role) -> Option<NtStatus> {
        let (Role::Server(line) | Role::Client(line)) = role else {
            return self.closed.then_some(STATUS_PORT_CLOSED);
        };
        let line = &self.lines[&line];
        if line.gone() {
            return Some(STATUS_PORT_DISCONNECTED);
        }
        match line.phase {
            Phase::Pending | Phase::Connected => None,
            Phase::Refused => Some(STATUS_PORT_CONNECTION_REFUSED),
            Phase::Cancelled => Some(STATUS_UNSUCCESSFUL),
            Phase::Disconnected => Some(STATUS_PORT_DISCONNECTED),
        }
    }

    fn line(&mut self, line: u64) -> &mut Line {
        self.lines.get_mut(&line).unwrap()
    }

    /// Takes a letter out of every place but the answered ones.
    fn strike(&mut self, which: impl Fn(&Letter) -> bool) -> Vec<Letter> {
        let mut struck = Vec::new();
        for place in [&mut self.queued, &mut self.out, &mut self.owed] {
            struck.extend(place.extract_if(.., |l| which(l)));
        }
        struck
    }

    fn expect(&mut self, waiter: Waiter, status: NtStatus) {
        self.expected.push((waiter, status));
    }

    /// Every receiver at a port is told that it closes.
    fn expect_closed(&mut self, role: Role) {
        let at_port: Vec<_> = self.waiting.extract_if(.., |(r, _)| *r == role).collect();
        for (_, waiter) in at_port {
            self.expect(waiter, STATUS_PORT_CLOSED);
        }
    }

    fn notice(&mut self, line: u64, to_client: bool, process: u32) {
        self.queued.push(Letter {
            id: None,
            kind: LPC_PORT_CLOSED | LPC_KERNELMODE_MESSAGE,
            from: Sender { process, thread: 0 },
            line,
            to_client,
            object: None,
            body: Tag::default(),
            blocked: None,
        });
    }

    /// A connection ends from one side.
    fn end(&mut self, line: u64, by_client: bool) {
        self.line(line).phase = Phase::Disconnected;
        for letter in self.strike(|l| l.line == line && l.blocked.is_some()) {
            self.expect(letter.blocked.unwrap(), STATUS_PORT_DISCONNECTED);
        }
        if !by_client {
            self.strike(|l| l.line == line && !l.to_client);
        }
        let l = self.lines[&line].clone();
        if by_client && l.server_open {
            self.notice(line, false, l.client_process);
        }
        if !by_client && l.client_open {
            self.notice(line, true, l.server_process);
        }
    }

    // ----- steps of threads --------------------------------------------------------------------------------------

    fn connect(&mut self, thread: usize, sync: bool, choice: u8) {
        if self.lines.values().filter(|l| !l.gone()).count() >= LINES {
            return;
        }
        let body = self.body(choice);
        let waiter = sync.then(|| self.waiter(thread));
        let object = 1000 + self.number();
        let made = self.group.connect(sender(thread), body, waiter, object, &mut self.log);
        if self.closed {
            assert_eq!(made, Err(STATUS_PORT_CONNECTION_REFUSED));
            return;
        }
        let (line, id) = made.expect("a connection");
        let new = Line {
            phase: Phase::Pending,
            client_open: true,
            server_open: false,
            client_held: !sync,
            accepted: false,
            context: 0,
            client_process: sender(thread).process,
            server_process: 0,
            client_object: object,
            server_object: NO_OBJECT,
        };
        assert!(self.lines.insert(line, new).is_none(), "a connection's key came back");
        self.queued.push(Letter {
            id: Some(id),
            kind: LPC_CONNECTION_REQUEST | if sync { LPC_CONTINUATION_REQUIRED } else { 0 },
            from: sender(thread),
            line,
            to_client: false,
            object: None,
            body,
            blocked: waiter,
        });
        self.seen_ids.push(id);
        if let Some(waiter) = waiter {
            self.threads[thread] = Doing::Connecting { line, id, waiter, woken: None };
        }
    }

    fn seen_request(&self, id: u32) -> Option<usize> {
        self.owed.iter().position(|l| l.id == Some(id) && kind_of(l) == LPC_CONNECTION_REQUEST)
    }

    /// The answer of a request: to its blocked sender or into the client's queue.
    fn answer(&mut self, at: usize, kind: u16, from: Sender, body: Tag) {
        let letter = Letter { kind, from, body, ..self.owed.remove(at) };
        match letter.blocked {
            Some(waiter) => {
                self.answered.push(letter);
                self.expect(waiter, STATUS_SUCCESS);
            }
            None => self.queued.push(Letter { to_client: true, ..letter }),
        }
    }

    fn accept(&mut self, thread: usize, id: u32, choice: u8) {
        let (body, context, object) = (self.body(choice), u64::from(self.number()), 2000 + self.number());
        let accepted = self.group.accept(id, sender(thread), context, object, body, &mut self.log);
        let Some(at) = self.seen_request(id) else {
            assert_eq!(accepted, Err(STATUS_INVALID_MESSAGE));
            return;
        };
        let line = self.owed[at].line;
        let l = self.line(line);
        if l.phase != Phase::Pending || !l.client_open {
            self.owed.remove(at);
            assert_eq!(accepted, Err(STATUS_REQUEST_CANCELED));
            return;
        }
        (l.phase, l.server_open, l.accepted) = (Phase::Connected, true, true);
        (l.context, l.server_process, l.server_object) = (context, sender(thread).process, object);
        assert_eq!(accepted, Ok(line));
        self.answer(at, LPC_CONNECTION_REPLY, sender(thread), body);
    }

    fn refuse(&mut self, id: u32) {
        let refused = self.group.refuse(id, &mut self.log);
        let Some(at) = self.seen_request(id) else {
            assert_eq!(refused, Err(STATUS_INVALID_MESSAGE));
            return;
        };
        assert_eq!(refused, Ok(()));
        let letter = self.owed.remove(at);
        if let Some(waiter) = letter.blocked {
            self.line(letter.line).client_open = false;
            self.expect(waiter, STATUS_PORT_CONNECTION_REFUSED);
        }
        self.line(letter.line).phase = Phase::Refused;
    }

    fn send(&mut self, thread: usize, role: Role, sync: bool, choice: u8) {
        let body = self.body(choice);
        let waiter = sync.then(|| self.waiter(thread));
        let sent = self.group.send(role, sender(thread), body, waiter, &mut self.log);
        let (Role::Server(line) | Role::Client(line)) = role else {
            assert_eq!(sent, Err(STATUS_LPC_INVALID_CONNECTION_USAGE));
            return;
        };
        let l = &self.lines[&line];
        if l.phase == Phase::Refused && !l.gone() {
            assert_eq!(sent, Err(STATUS_PORT_CONNECTION_REFUSED));
        } else if l.phase != Phase::Connected || l.gone() {
            assert_eq!(sent, Err(STATUS_PORT_DISCONNECTED));
        } else {
            self.sent(thread, sent, line, matches!(role, Role::Server(_)), None, body, waiter);
        }
    }

    /// A blocking request straight to a thread that waits. `false`: it must go the long way.
    fn hand_over(&mut self, thread: usize, role: Role, object: Option<ObjectContext>, choice: u8) -> bool {
        let body = self.body(choice);
        let waiter = self.waiter(thread);
        let line = match (role, object) {
            (_, Some(_)) if !self.closed => Some(0),
            (Role::Client(line), None) if self.lines[&line].phase == Phase::Connected => Some(line),
            _ => None,
        };
        let receiver = line.filter(|_| self.depth(Role::Connection) == 0).and_then(|line| {
            let of_server = |(role, _): &(Role, Waiter)| !matches!(role, Role::Client(_));
            let first = self.waiting.iter().copied().find(of_server);
            first.filter(|(role, _)| *role == Role::Connection || *role == Role::Server(line))
        });
        let gives = !one_in(4, choice);
        let sequence = self.delivered + 1;
        let begun = self.group.begin_direct(role, object.as_ref());
        assert_eq!(begun.as_ref().map(|r| r.receiver), receiver.map(|(_, waiter)| waiter));
        let Some((begun, (_, receiver))) = begun.zip(receiver) else { return false };
        assert_eq!(begun.sequence, sequence);
        if !gives {
            return false;
        }
        let id = begun.id;
        begun.commit(object, sender(thread), waiter, sender(receiver.thread as usize));
        self.delivered += 1;
        self.waiting.retain(|(_, w)| *w != receiver);
        self.threads[receiver.thread as usize] = Doing::Handed { id: id, body };
        self.threads[thread] = Doing::Sending { id: id, waiter, woken: None };
        self.seen_ids.push(id);
        self.owed.push(Letter {
            id: Some(id),
            kind: LPC_REQUEST | LPC_CONTINUATION_REQUIRED,
            from: sender(thread),
            line: line.unwrap(),
            to_client: false,
            object,
            body,
            blocked: Some(waiter),
        });
        true
    }

    /// The receiver of a direct request has it, or could not copy it out.
    fn finish_handed(&mut self, thread: usize, id: u32, body: Tag, choice: u8) {
        self.threads[thread] = Doing::Idle;
        if !one_in(4, choice) {
            return;
        }
        let kept = one_in(8, choice).then_some(body);
        self.group.undo_direct(id, kept, &mut self.log);
        if let Some(at) = self.owed.iter().position(|l| l.id == Some(id)) {
            let letter = self.owed.remove(at);
            match kept {
                Some(_) => self.queued.insert(0, letter),
                None => self.expect(letter.blocked.unwrap(), STATUS_INSUFFICIENT_RESOURCES),
            }
        }
    }

    /// A reply handed to its blocked sender by a thread that waits for the next message. `false`: it must go the long way.
    fn hand_back(&mut self, thread: usize, role: Role, id: u32) -> bool {
        let quiet = match role {
            Role::Connection => !self.closed,
            Role::Server(line) => {
                self.lines.get(&line).is_some_and(|l| l.phase == Phase::Connected && !l.gone())
            }
            Role::Client(_) => false,
        };
        let quiet = quiet && self.next(role).is_none();
        let found = self
            .owed
            .iter()
            .position(|l| l.id == Some(id) && kind_of(l) == LPC_REQUEST && Self::is_for(l, role));
        let waiter = found.and_then(|at| self.owed[at].blocked);
        let own = self.waiter(thread);
        let begun = self.group.begin_answer(role, id);
        let asker = begun.as_ref().map(|a| a.asker);
        if !quiet || waiter.is_none() {
            assert_eq!(asker, None);
            return false;
        }
        // Without room to publish the waiter it declines, and when something has to be looked after.
        assert!(asker.is_none() || asker == waiter, "{asker:?}, not {waiter:?}");
        let Some(((at, waiter), begun)) = found.zip(asker).zip(begun) else { return false };
        let other = begun.commit(own);
        if let Some(other) = other {
            self.group.drop_kept(other);
        }
        self.owed.remove(at);
        self.waiting.push((role, own));
        self.threads[waiter.thread as usize] = Doing::Idle;
        self.threads[thread] = Doing::Waiting { role, room: LARGE, waiter: own, woken: None };
        true
    }

    fn send_on_object(&mut self, thread: usize, sync: bool, choice: u8) {
        let body = self.body(choice);
        let waiter = sync.then(|| self.waiter(thread));
        let object = ObjectContext { context: 7000 + u64::from(choice), access: 3, server_type: 4 };
        let sent = self.group.send_on_object(object, sender(thread), body, waiter, &mut self.log);
        if self.closed {
            assert_eq!(sent, Err(STATUS_PORT_DISCONNECTED));
        } else {
            self.sent(thread, sent, 0, false, Some(object), body, waiter);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    fn sent(
        &mut self,
        thread: usize,
        sent: Result<u32, NtStatus>,
        line: u64,
        to_client: bool,
        object: Option<ObjectContext>,
        body: Tag,
        blocked: Option<Waiter>,
    ) {
        let id = sent.expect("it is sent");
        let kind = if blocked.is_some() { LPC_REQUEST | LPC_CONTINUATION_REQUIRED } else { LPC_DATAGRAM };
        let from = sender(thread);
        self.queued.push(Letter { id: Some(id), kind, from, line, to_client, object, body, blocked });
        self.seen_ids.push(id);
        if let Some(waiter) = blocked {
            self.threads[thread] = Doing::Sending { id, waiter, woken: None };
        }
    }

    fn reply(&mut self, thread: usize, role: Role, id: u32, choice: u8) {
        let body = self.body(choice);
        let replied = self.group.reply(role, id, sender(thread), body, &mut self.log);
        let found = self
            .owed
            .iter()
            .position(|l| l.id == Some(id) && kind_of(l) == LPC_REQUEST && Self::is_for(l, role));
        match found {
            Some(at) => {
                assert_eq!(replied, Ok(()));
                self.answer(at, LPC_REPLY, sender(thread), body);
            }
            None => assert_eq!(replied, Err(STATUS_MESSAGE_NOT_FOUND)),
        }
    }

    fn receive(&mut self, thread: usize, role: Role, room: usize, wait: bool) {
        self.threads[thread] = Doing::Idle;
        let received = self.group.receive(role, room, sender(thread), &mut self.log);
        let Some(at) = self.next(role) else {
            if let Some(status) = self.end_status(role) {
                assert!(
                    matches!(received, Received::Status(s) if s == status),
                    "{received:?}, not {status:?}"
                );
                return;
            }
            assert!(matches!(received, Received::Empty), "{received:?}, not empty");
            if wait {
                let waiter = self.waiter(thread);
                self.group.add_waiter(role, waiter).unwrap();
                self.waiting.push((role, waiter));
                self.threads[thread] = Doing::Waiting { role, room, waiter, woken: None };
            }
            return;
        };
        let length = self.queued[at].body.length;
        if length > room {
            assert!(matches!(received, Received::TooSmall(n) if n == length), "{received:?}, not too small");
            return;
        }
        let Received::Message(delivery) = received else { panic!("{received:?}, not a message") };
        let mut letter = self.queued.remove(at);
        self.delivered += 1;
        let context = match letter.object {
            Some(object) => object.context,
            None if letter.to_client => 0,
            None => self.lines[&letter.line].context,
        };
        let queue = if letter.to_client { role } else { Role::Connection };
        assert_eq!(letter.id.unwrap_or(delivery.id), delivery.id);
        assert_eq!((delivery.message_type, delivery.sender), (letter.kind, letter.from));
        assert_eq!((delivery.connection, delivery.context), (letter.line, context));
        assert_eq!((delivery.object, delivery.body), (letter.object, letter.body));
        assert_eq!((delivery.sequence, delivery.depth as usize), (self.delivered, self.depth(queue)));
        letter.id = Some(delivery.id);
        self.threads[thread] = Doing::Delivering { id: delivery.id, body: delivery.body };
        self.out.push(letter);
    }

    fn end_delivery(&mut self, thread: usize, id: u32) {
        self.threads[thread] = Doing::Idle;
        let found = self.out.iter().position(|l| l.id == Some(id)).map(|at| self.out.remove(at));
        assert_eq!(self.group.end_delivery(id, None), found.is_some());
        if let Some(letter) = found.filter(|l| matches!(kind_of(l), LPC_REQUEST | LPC_CONNECTION_REQUEST)) {
            self.owed.push(letter);
        }
    }

    fn undo_delivery(&mut self, thread: usize, id: u32, body: Tag) {
        self.threads[thread] = Doing::Idle;
        self.group.undo_delivery(id, body, &mut self.log);
        let Some(at) = self.out.iter().position(|l| l.id == Some(id)) else { return };
        let letter = self.out.remove(at);
        let receivable = match self.lines.get(&letter.line) {
            Some(line) if letter.to_client => line.client_open,
            Some(line) => !line.gone(),
            None => true,
        };
        if receivable {
            self.queued.insert(0, letter);
        }
    }

    /// The group's answer to a sender that returns, against the model's.
    fn check_answer(&mut self, id: u32, woken: Option<NtStatus>, answer: Option<Delivery<Tag>>) -> bool {
        let found = self.answered.iter().position(|l| l.id == Some(id)).map(|at| self.answered.remove(at));
        assert_eq!(woken == Some(STATUS_SUCCESS), found.is_some(), "woken with success means answered");
        match (&found, answer) {
            (Some(letter), Some(d)) => {
                assert_eq!((d.id, d.message_type, d.sender), (id, letter.kind, letter.from));
                assert_eq!((d.body, d.connection), (letter.body, letter.line));
            }
            (None, None) => {
                let struck = self.strike(|l| l.id == Some(id));
                assert_eq!(struck.len(), usize::from(woken.is_none()));
            }
            (found, answer) => panic!("{answer:?}, not {found:?}"),
        }
        found.is_some()
    }

    /// A blocked sender or connector goes on, by its waking, a time-out or its death.
    fn finish(&mut self, thread: usize) {
        match self.threads[thread] {
            Doing::Sending { id, woken, .. } => {
                let answer = self.group.abandon(id, &mut self.log);
                self.check_answer(id, woken, answer);
            }
            Doing::Connecting { line, id, woken, .. } => {
                let answer = self.group.abandon_connect(line, id, &mut self.log);
                if self.check_answer(id, woken, answer) {
                    self.line(line).client_held = true;
                } else {
                    self.line(line).client_open = false;
                }
            }
            _ => return,
        }
        self.threads[thread] = Doing::Idle;
    }

    /// A waiting receiver leaves without receiving.
    fn leave(&mut self, thread: usize) {
        if let Doing::Waiting { role, waiter, .. } = self.threads[thread] {
            self.waiting.retain(|(_, w)| *w != waiter);
            self.threads[thread] = Doing::Idle;
            self.group.remove_waiter(role, waiter, &mut self.log);
        }
    }

    // ----- ends --------------------------------------------------------------------------------------------------

    fn close_client(&mut self, line: u64) {
        self.group.close_client(line, &mut self.log);
        self.line(line).client_held = false;
        self.line(line).client_open = false;
        self.expect_closed(Role::Client(line));
        match self.lines[&line].phase {
            // A request that was seen stays for the server to answer.
            Phase::Pending => self.queued.retain(|l| l.line != line),
            Phase::Connected => self.end(line, true),
            _ => {}
        }
        self.queued.retain(|l| l.line != line || !l.to_client);
    }

    fn close_server(&mut self, line: u64) {
        self.group.close_server(line, &mut self.log);
        if self.lines[&line].phase == Phase::Connected {
            self.end(line, false);
        }
        self.strike(|l| l.line == line && !l.to_client);
        self.line(line).server_open = false;
    }

    fn disconnect(&mut self, role: Role) {
        let ended = self.group.disconnect(role, &mut self.log);
        let (line, by_client) = match role {
            Role::Connection => {
                assert_eq!(ended, Err(STATUS_INVALID_PORT_HANDLE));
                return;
            }
            Role::Server(line) => (line, false),
            Role::Client(line) => (line, true),
        };
        if self.lines[&line].phase == Phase::Connected {
            assert_eq!(ended, Ok(()));
            self.end(line, by_client);
        } else {
            assert_eq!(ended, Err(STATUS_PORT_DISCONNECTED));
        }
    }

    fn close_connection_port(&mut self) {
        self.group.close_connection_port(&mut self.log);
        self.closed = true;
        let lines: Vec<u64> = self.lines.keys().copied().collect();
        for line in lines {
            match self.lines[&line].phase {
                Phase::Connected => self.end(line, false),
                Phase::Pending if !self.lines[&line].gone() => self.cancel(line),
                _ => {}
            }
        }
        for letter in self.strike(|l| !l.to_client) {
            if let Some(waiter) = letter.blocked {
                self.expect(waiter, STATUS_PORT_DISCONNECTED);
            }
        }
        self.reserved.clear();
        self.expect_closed(Role::Connection);
    }

    fn cancel(&mut self, line: u64) {
        let being_delivered = self.out.iter().any(|l| l.line == line);
        let request = self.strike(|l| l.line == line).pop().expect("a request that is not answered");
        if let Some(waiter) = request.blocked {
            self.line(line).client_open = false;
            self.expect(waiter, STATUS_PORT_CONNECTION_REFUSED);
            return;
        }
        self.line(line).phase = Phase::Cancelled;
        let id = request.id.filter(|_| !being_delivered);
        self.queued.push(Letter { id, kind: LPC_CANCELED, to_client: true, body: Tag::default(), ..request });
    }

    fn notices(&mut self, thread: usize, choice: u8, extra: u8) {
        let old = pick(&self.seen_notices, extra);
        match (choice % 3, old) {
            (1, Some(id)) => {
                self.group.send_notice(id, sender(thread), &mut self.log);
                if self.reserved.contains(&id) {
                    self.reserved.retain(|r| *r != id);
                    self.queued.push(Letter {
                        id: Some(id),
                        kind: LPC_OBJECT_CLOSED | LPC_KERNELMODE_MESSAGE,
                        from: sender(thread),
                        line: 0,
                        to_client: false,
                        object: Some(ObjectContext { context: u64::from(id), access: 0, server_type: 9 }),
                        body: Tag { number: 1, length: 1 },
                        blocked: None,
                    });
                }
            }
            (2, Some(id)) => {
                self.group.drop_notice(id);
                self.reserved.retain(|r| *r != id);
            }
            _ => {
                let body = Tag { number: 1, length: 1 };
                let mut object = ObjectContext { context: 0, access: 0, server_type: 9 };
                match self.group.reserve_notice(LPC_OBJECT_CLOSED, body, object) {
                    Ok(id) => {
                        assert!(!self.closed);
                        // Its context is to be its id, which is known only now.
                        object.context = u64::from(id);
                        self.group.message(u64::from(id)).object = Some(object);
                        self.reserved.push(id);
                        self.seen_notices.push(id);
                    }
                    Err(status) => assert!(self.closed && status == STATUS_PORT_CLOSED),
                }
            }
        }
    }

    // ----- running -----------------------------------------------------------------------------------------------

    fn lines_where(&self, which: impl Fn(&Line) -> bool) -> Vec<u64> {
        self.lines.iter().filter(|(_, l)| which(l)).map(|(key, _)| *key).collect()
    }

    /// A port that some thread has or had a handle to.
    fn role(&self, choice: u8) -> Role {
        // Old connections are chosen now and then, living ones most of the time.
        let living = !one_in(16, choice);
        let usable = |l: &Line| !living || !l.gone();
        let role = if one_in(2, choice) {
            pick(&self.lines_where(|l| l.accepted && usable(l)), choice >> 2).map(Role::Server)
        } else {
            let held = |l: &Line| (l.client_held || l.phase == Phase::Disconnected) && usable(l);
            pick(&self.lines_where(held), choice >> 2).map(Role::Client)
        };
        role.unwrap_or(Role::Connection)
    }

    fn receiving_role(&self, choice: u8) -> Role {
        if one_in(3, choice) { Role::Connection } else { self.role(choice) }
    }

    /// An id that this is meant for, or now and then just any.
    fn id(&self, choice: u8, wanted: impl Fn(&Letter) -> bool) -> u32 {
        let good: Vec<u32> = self.owed.iter().filter(|l| wanted(l)).filter_map(|l| l.id).collect();
        let any = self.seen_ids[self.seen_ids.len().saturating_sub(8)..].to_vec();
        if !one_in(8, choice) { pick(&good, choice) } else { None }.or(pick(&any, choice)).unwrap()
    }

    fn run(&mut self, (thread, what, choice, extra): Step) {
        let thread = usize::from(thread) % THREADS;
        match self.threads[thread] {
            Doing::Idle => self.start(thread, what, choice, extra),
            Doing::Delivering { id, body } if one_in(4, what) => self.undo_delivery(thread, id, body),
            Doing::Delivering { id, .. } => self.end_delivery(thread, id),
            Doing::Handed { id, body } => self.finish_handed(thread, id, body, what),
            Doing::Waiting { role, room, woken: Some(STATUS_SUCCESS), .. } if !one_in(4, what) => {
                self.receive(thread, role, room, true);
            }
            Doing::Waiting { woken: None, .. } if !one_in(4, what) => {}
            Doing::Waiting { .. } => self.leave(thread),
            Doing::Sending { woken: None, .. } | Doing::Connecting { woken: None, .. }
                if !one_in(8, what) => {}
            Doing::Sending { .. } | Doing::Connecting { .. } => self.finish(thread),
        }
        self.check();
    }

    fn start(&mut self, thread: usize, what: u8, choice: u8, extra: u8) {
        let is_connect = |l: &Letter| kind_of(l) == LPC_CONNECTION_REQUEST;
        match what % 100 {
            0..5 => self.connect(thread, true, choice),
            5..10 => self.connect(thread, false, choice),
            10..18 => self.accept(thread, self.id(choice, is_connect), extra),
            18..20 => self.refuse(self.id(choice, is_connect)),
            20..30 => self.send(thread, self.role(choice), false, extra),
            30..42 => {
                let role = self.role(choice);
                if one_in(2, extra) || !self.hand_over(thread, role, None, extra) {
                    self.send(thread, role, true, extra);
                }
            }
            42..46 => {
                let object = ObjectContext { context: 5, access: 1, server_type: 2 };
                if !one_in(3, extra) || !self.hand_over(thread, Role::Connection, Some(object), extra) {
                    self.send_on_object(thread, one_in(2, extra), choice);
                }
            }
            46..56 => {
                let id = self.id(choice, |l| !is_connect(l));
                let letter = self.owed.iter().find(|l| l.id == Some(id));
                let role = match letter.filter(|_| !one_in(4, extra)) {
                    Some(l) if l.to_client => Role::Client(l.line),
                    Some(l) if l.line != 0 && one_in(2, extra) => Role::Server(l.line),
                    Some(_) => Role::Connection,
                    None => self.role(extra),
                };
                if one_in(2, choice) || !self.hand_back(thread, role, id) {
                    self.reply(thread, role, id, extra);
                }
            }
            56..80 => {
                let room = if one_in(5, extra) { SMALL } else { LARGE };
                self.receive(thread, self.receiving_role(choice), room, !one_in(8, extra));
            }
            80..84 => self.notices(thread, choice, extra),
            84..88 => {
                if let Some(line) = pick(&self.lines_where(|l| l.client_held), choice) {
                    self.close_client(line);
                }
            }
            88..91 => {
                if let Some(line) = pick(&self.lines_where(|l| l.server_open), choice) {
                    self.close_server(line);
                }
            }
            91..93 => self.disconnect(self.role(choice)),
            93 if one_in(4, extra) && !self.closed => self.close_connection_port(),
            _ => self.settle(),
        }
    }

    /// A connection whose client has taken the answer.
    fn pair(&mut self) {
        self.connect(0, false, 1);
        self.receive(1, Role::Connection, LARGE, false);
        self.check();
        let id = *self.seen_ids.last().unwrap();
        self.end_delivery(1, id);
        self.accept(1, id, 1);
        self.check();
        let line = *self.lines.keys().last().unwrap();
        self.receive(0, Role::Client(line), LARGE, false);
        self.end_delivery(0, id);
        self.check();
    }

    /// Lets every woken receiver run. After that nobody may sleep who has something to receive or to learn.
    fn settle(&mut self) {
        self.check();
        while let Some(thread) =
            self.threads.iter().position(|t| matches!(t, Doing::Waiting { woken: Some(_), .. }))
        {
            match self.threads[thread] {
                Doing::Waiting { role, room, woken: Some(STATUS_SUCCESS), .. } => {
                    self.receive(thread, role, room, true);
                }
                _ => self.leave(thread),
            }
            self.check();
            if let Doing::Delivering { id, .. } = self.threads[thread] {
                self.end_delivery(thread, id);
                self.check();
            }
        }
        for (role, waiter) in &self.waiting {
            assert_eq!(self.next(*role), None, "{waiter:?} at {role:?} sleeps next to a message");
            assert_eq!(self.end_status(*role), None, "{waiter:?} sleeps at {role:?}, which has ended");
        }
    }

    /// Everybody leaves and everything is closed, in one of several orders; nothing remains.
    fn close_all(&mut self, order: u8) {
        if order & 1 != 0 && !self.closed {
            self.close_connection_port();
            self.check();
        }
        let threads: Vec<usize> =
            if order & 2 != 0 { (0..THREADS).rev().collect() } else { (0..THREADS).collect() };
        for thread in threads {
            match self.threads[thread] {
                Doing::Idle => {}
                Doing::Delivering { id, body } if order & 4 != 0 => self.undo_delivery(thread, id, body),
                Doing::Delivering { id, .. } => self.end_delivery(thread, id),
                Doing::Handed { id, body } => self.finish_handed(thread, id, body, order),
                Doing::Waiting { .. } => self.leave(thread),
                Doing::Sending { .. } | Doing::Connecting { .. } => self.finish(thread),
            }
            self.check();
        }
        for server in if order & 8 != 0 { [false, true] } else { [true, false] } {
            for line in self.lines_where(|l| if server { l.server_open } else { l.client_held }) {
                if server {
                    self.close_server(line)
                } else {
                    self.close_client(line)
                }
                self.check();
            }
        }
        if !self.closed {
            self.close_connection_port();
            self.check();
        }
        assert_eq!((self.group.message_count(), self.group.connection_count()), (0, 0), "left behind");
    }

    // ----- comparing ---------------------------------------------------------------------------------------------

    fn check(&mut self) {
        self.check_wakes();
        self.check_senders();
        self.check_messages();
        self.check_ports();
    }

    fn check_wakes(&mut self) {
        for (waiter, status) in std::mem::take(&mut self.log.wakes) {
            if let Some(at) = self.expected.iter().position(|e| *e == (waiter, status)) {
                self.expected.remove(at);
            } else {
                let at = self.waiting.iter().position(|(_, w)| *w == waiter);
                let at = at.unwrap_or_else(|| panic!("{waiter:?} woken with {status:?} for no reason"));
                assert_eq!(status, STATUS_SUCCESS, "{waiter:?}");
                self.waiting.remove(at);
            }
            match &mut self.threads[waiter.thread as usize] {
                Doing::Connecting { waiter: w, woken, .. }
                | Doing::Sending { waiter: w, woken, .. }
                | Doing::Waiting { waiter: w, woken, .. } => {
                    assert_eq!(*w, waiter, "woken late");
                    assert_eq!(woken.replace(status), None, "woken twice");
                }
                other => panic!("{waiter:?} woken, which does {other:?}"),
            }
        }
        assert!(self.expected.is_empty(), "not woken: {:?}", self.expected);
    }

    /// A blocked sender's message exists until it is woken.
    fn check_senders(&self) {
        for doing in &self.threads {
            let (Doing::Connecting { id, waiter, woken, .. } | Doing::Sending { id, waiter, woken }) = doing
            else {
                continue;
            };
            let has =
                |place: &[Letter]| place.iter().any(|l| l.id == Some(*id) && l.blocked == Some(*waiter));
            let unanswered = has(&self.queued) || has(&self.out) || has(&self.owed);
            assert_eq!(unanswered, woken.is_none(), "{doing:?}");
            assert_eq!(has(&self.answered), *woken == Some(STATUS_SUCCESS), "{doing:?}");
        }
    }

    fn check_messages(&self) {
        let mut mine = Vec::new();
        for (place, letters) in [(1, &self.queued), (2, &self.owed), (3, &self.out)] {
            for l in letters {
                let from = (l.from.process, l.from.thread);
                mine.push((place, l.id.unwrap_or(0), l.kind, l.line, l.to_client, from, l.blocked.is_some()));
            }
        }
        let known: Vec<u32> = mine.iter().map(|m| m.1).collect();
        let mut real: Vec<_> = self
            .group
            .message_facts()
            .map(|m| {
                let id = if known.contains(&m.id) { m.id } else { 0 };
                let from = (m.sender.process, m.sender.thread);
                (m.queue, id, m.message_type, m.connection, m.to_client, from, m.waits)
            })
            .collect();
        mine.sort_unstable();
        real.sort_unstable();
        assert_eq!(real, mine);
        let set_aside = |l: &Line| match l.phase {
            Phase::Connected => 2,
            Phase::Disconnected if !l.gone() => 1,
            _ => 0,
        };
        let reserved = self.reserved.len() + self.lines.values().map(set_aside).sum::<usize>();
        assert_eq!(self.group.message_count(), mine.len() + self.answered.len() + reserved);
        assert_eq!(self.group.connection_count(), self.lines_where(|l| !l.gone()).len());
    }

    fn check_ports(&self) {
        let flag = |object: u32| self.log.readable.get(&object).copied().unwrap_or(false);
        if !self.closed {
            assert_eq!(flag(MAIN_OBJECT), self.depth(Role::Connection) > 0, "connection port readable");
        }
        self.check_facts(Role::Connection, u32::from(self.closed) << 3);
        for (key, line) in self.lines.iter().filter(|(_, l)| !l.gone()) {
            let (client, server) = (Role::Client(*key), Role::Server(*key));
            let state = match line.phase {
                Phase::Pending => 1,
                Phase::Connected => 0,
                Phase::Refused => 2,
                Phase::Cancelled | Phase::Disconnected => 4,
            };
            self.check_facts(client, state);
            if line.client_open {
                assert_eq!(
                    flag(line.client_object),
                    line.over() || self.depth(client) > 0,
                    "{client:?} readable"
                );
            }
            if line.accepted {
                self.check_facts(server, state);
            }
            if line.server_open {
                assert_eq!(
                    flag(line.server_object),
                    line.over() || self.depth(server) > 0,
                    "{server:?} readable"
                );
            }
        }
    }

    fn check_facts(&self, role: Role, state: u32) {
        let facts = self.group.facts(role);
        let pending = self.owed.iter().filter(|l| Self::is_for(l, role)).count();
        let waiters = self.waiting.iter().filter(|(r, _)| *r == role).count();
        assert_eq!(facts.state, state, "{role:?}");
        assert_eq!(
            (facts.queued as usize, facts.pending as usize, facts.waiters as usize),
            (self.depth(role), pending, waiters),
            "{role:?}"
        );
        if let Role::Client(line) = role {
            assert_eq!(facts.peer_process, self.lines[&line].server_process);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_the_model(
        seed in any::<u32>(),
        pairs in 0..3,
        order in any::<u8>(),
        steps in proptest::collection::vec(any::<Step>(), 0..150),
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
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Only sending, receiving at all kinds of ports, undoing and leaving: whose turn is it?
    #[test]
    fn no_turn_is_lost(
        steps in proptest::collection::vec(
            (any::<u8>(), prop_oneof![20..30u8, 56..80u8, 30..42u8, Just(99)], any::<u8>(), any::<u8>()),
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
