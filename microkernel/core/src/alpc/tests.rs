//! Tests of the ALPC state machine: each behaviour by itself here, random interleavings against a model in `model`.

mod model;

use super::*;
use abi::alpc::{
    LPC_CANCELED, LPC_CONNECTION_REPLY, LPC_CONNECTION_REQUEST, LPC_CONTINUATION_REQUIRED, LPC_DATAGRAM,
    LPC_KERNELMODE_MESSAGE, LPC_OBJECT_CLOSED, LPC_PORT_CLOSED, LPC_REPLY, LPC_REQUEST,
};
use abi::status::*;
use std::collections::HashMap;

#[derive(Default, Debug, PartialEq, Eq)]
struct Text(&'static str);

impl Body for Text {
    fn data_length(&self) -> usize {
        self.0.len()
    }

    fn recycle(&mut self) {
        self.0 = "";
    }
}

/// Remembers the effects.
#[derive(Default)]
struct Log {
    wakes: Vec<(Waiter, NtStatus)>,
    readable: HashMap<u32, bool>,
}

impl Effects for Log {
    fn wake(&mut self, waiter: Waiter, status: NtStatus, _soon: bool) {
        self.wakes.push((waiter, status));
    }

    fn readable(&mut self, object: u32, readable: bool) {
        self.readable.insert(object, readable);
    }
}

const ROOM: usize = 100;
const MOST: u32 = 50;
const MAIN_OBJECT: u32 = 1;
const SERVER: Sender = Sender { process: 1, thread: 10 };
const CLIENT: Sender = Sender { process: 2, thread: 20 };
const CONTEXT: u64 = 0xC0;
const OBJECT: ObjectContext = ObjectContext { context: 0x0B, access: 3, server_type: 7 };

fn waiter(n: u32) -> Waiter {
    Waiter { thread: n, ticket: n }
}

/// Which port sends, and which may receive that.
fn every_way(c: u64) -> [(Role, Role); 3] {
    [
        (Role::Client(c), Role::Connection),
        (Role::Client(c), Role::Server(c)),
        (Role::Server(c), Role::Client(c)),
    ]
}

/// A waitable connection port and what happened. Every step checks the readable flags.
struct World {
    group: Group<Text>,
    log: Log,
    connections: Vec<u64>,
    acceptors: u32,
}

impl World {
    fn new() -> Self {
        Self {
            group: Group::new(0x1234, MAIN_OBJECT, MOST),
            log: Log::default(),
            connections: Vec::new(),
            acceptors: 0,
        }
    }

    /// With one connection made without blocking, whose client has taken the answer.
    fn connected() -> (Self, u64) {
        let mut w = Self::new();
        let connection = w.pair();
        (w, connection)
    }

    fn pair(&mut self) -> u64 {
        let (connection, id) = self.connect(None).unwrap();
        assert_eq!(self.take(Role::Connection).id, id);
        assert_eq!(self.accept(id), Ok(connection));
        self.take(Role::Client(connection));
        self.log.wakes.clear();
        connection
    }

    fn client_object(connection: u64) -> u32 {
        1000 + connection as u32
    }

    fn connect(&mut self, waits: Option<u32>) -> Result<(u64, u32), NtStatus> {
        // Keys of a new table count from one.
        let object = Self::client_object(self.connections.len() as u64 + 1);
        let made = self.group.connect(CLIENT, Text("hello"), waits.map(waiter), object, &mut self.log);
        if let Ok((connection, _)) = made {
            assert_eq!(Self::client_object(connection), object);
            self.connections.push(connection);
        }
        self.check();
        made
    }

    fn accept(&mut self, id: u32) -> Result<u64, NtStatus> {
        self.acceptors += 1;
        let object = 2000 + self.acceptors;
        let accepted = self.group.accept(id, SERVER, CONTEXT, object, Text("welcome"), &mut self.log);
        self.check();
        accepted
    }

    fn refuse(&mut self, id: u32) -> Result<(), NtStatus> {
        let refused = self.group.refuse(id, &mut self.log);
        self.check();
        refused
    }

    fn datagram(&mut self, role: Role, text: &'static str) -> Result<u32, NtStatus> {
        let sent = self.group.send(role, &Post::datagram(CLIENT), Text(text), &mut self.log);
        self.check();
        sent
    }

    fn request(&mut self, role: Role, text: &'static str, waits: u32) -> Result<u32, NtStatus> {
        let sent = self.group.send(role, &Post::request(CLIENT, waiter(waits)), Text(text), &mut self.log);
        self.check();
        sent
    }

    fn on_object(&mut self, text: &'static str, waits: Option<u32>) -> Result<u32, NtStatus> {
        let post = waits.map_or(Post::datagram(CLIENT), |waits| Post::request(CLIENT, waiter(waits)));
        let sent = self.group.send_on_object(OBJECT, &post, Text(text), &mut self.log);
        self.check();
        sent
    }

    fn reply(&mut self, role: Role, id: u32) -> Result<(), NtStatus> {
        let replied = self.group.reply(role, (id, 0), SERVER, 0, Text("answer"), &mut self.log);
        self.check();
        replied
    }

    fn receive_into(&mut self, role: Role, room: usize) -> Received<Text> {
        let received = self.group.receive(role, room, SERVER, &mut self.log);
        self.check();
        received
    }

    /// Receives what must be there; its delivery is not ended yet.
    fn begin(&mut self, role: Role) -> Delivery<Text> {
        match self.receive_into(role, ROOM) {
            Received::Message(delivery) => delivery,
            other => panic!("no message for {role:?}: {other:?}"),
        }
    }

    fn take(&mut self, role: Role) -> Delivery<Text> {
        let delivery = self.begin(role);
        assert!(self.end(delivery.key));
        delivery
    }

    fn text(&mut self, role: Role) -> &'static str {
        self.take(role).body.0
    }

    fn kind(&mut self, role: Role) -> u16 {
        self.take(role).message_type & 0xFF
    }

    fn end(&mut self, id: u32) -> bool {
        let ended = self.group.end_delivery(id, None, &mut self.log);
        self.check();
        ended
    }

    fn undo(&mut self, delivery: Delivery<Text>) {
        self.group.undo_delivery(delivery.key, delivery.body, &mut self.log);
        self.check();
    }

    fn expect_empty(&mut self, role: Role) {
        let received = self.receive_into(role, ROOM);
        assert!(matches!(received, Received::Empty), "{role:?}: {received:?}");
    }

    fn expect_status(&mut self, role: Role, status: NtStatus) {
        let received = self.receive_into(role, ROOM);
        assert!(matches!(received, Received::Status(s) if s == status), "{role:?}: {received:?}");
    }

    fn wait(&mut self, role: Role, n: u32) {
        self.expect_empty(role);
        self.group.add_waiter(role, waiter(n)).unwrap();
    }

    fn unwait(&mut self, role: Role, n: u32) {
        self.group.remove_waiter(role, waiter(n), &mut self.log);
        self.check();
    }

    fn end_taken(&mut self, answer: Option<Delivery<Text>>) -> Option<Delivery<Text>> {
        if let Some(answer) = &answer {
            assert!(self.end(answer.key));
        }
        answer
    }

    fn abandon(&mut self, id: u32) -> Option<Delivery<Text>> {
        let answer = match self.group.take(id, ROOM, &mut self.log) {
            Woken::Answer(answer) => Some(answer),
            Woken::Nothing => None,
            other => panic!("neither an answer nor nothing: {other:?}"),
        };
        self.check();
        self.end_taken(answer)
    }

    fn abandon_connect(&mut self, connection: u64, id: u32) -> Option<Delivery<Text>> {
        let answer = self.group.take_connect(connection, id, &mut self.log);
        self.check();
        self.end_taken(answer)
    }

    fn close_client(&mut self, connection: u64) {
        self.group.close_client(connection, &mut self.log);
        self.check();
    }

    fn close_server(&mut self, connection: u64) {
        self.group.close_server(connection, &mut self.log);
        self.check();
    }

    fn close_port(&mut self) {
        self.group.close_connection_port(&mut self.log);
        self.check();
    }

    fn disconnect(&mut self, role: Role) -> Result<(), NtStatus> {
        let ended = self.group.disconnect(role, false, &mut self.log);
        self.check();
        ended
    }

    /// Who was woken since the last time, in order.
    fn woken(&mut self) -> Vec<(u32, NtStatus)> {
        std::mem::take(&mut self.log.wakes).into_iter().map(|(w, status)| (w.thread, status)).collect()
    }

    fn flag(&self, object: u32) -> bool {
        self.log.readable.get(&object).copied().unwrap_or(false)
    }

    /// A port is readable exactly when a receive would not wait.
    fn check(&self) {
        if !self.group.closed {
            assert_eq!(self.flag(MAIN_OBJECT), self.group.depth(Role::Connection) > 0, "connection port");
        }
        for (key, c) in self.group.connections.iter() {
            let over = !matches!(c.state, ConnectionState::Pending | ConnectionState::Connected);
            if c.client_open {
                assert_eq!(self.flag(c.client_object), over || c.for_client() > 0, "client of {key}");
            }
            if c.server_open {
                assert_eq!(self.flag(c.server_object), over || c.in_main > 0, "server of {key}");
            }
        }
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.group.message_count(), 0, "messages left");
        assert_eq!(self.group.connection_count(), 0, "connections left");
    }

    /// Closes what is open of one connection, then the connection port; nothing may remain.
    fn finish(mut self) {
        for connection in self.connections.clone() {
            self.close_client(connection);
            self.close_server(connection);
        }
        self.close_port();
        self.assert_nothing_left();
    }
}

// ----- connecting ------------------------------------------------------------------------------------------------

#[test]
fn a_blocking_connect_is_accepted() {
    let mut w = World::new();
    let (connection, id) = w.connect(Some(5)).unwrap();
    assert_eq!(w.group.facts(Role::Client(connection)).state, 1);
    let request = w.take(Role::Connection);
    assert_eq!(request.message_type, LPC_CONNECTION_REQUEST | LPC_CONTINUATION_REQUIRED);
    assert_eq!((request.id, request.sender, request.body, request.context), (id, CLIENT, Text("hello"), 0));
    assert_eq!(w.accept(id), Ok(connection));
    assert_eq!(w.woken(), [(5, STATUS_SUCCESS)]);
    let answer = w.abandon_connect(connection, id).expect("the answer");
    assert_eq!((answer.message_type, answer.sender), (LPC_CONNECTION_REPLY, SERVER));
    assert_eq!((answer.id, answer.body), (id, Text("welcome")));
    w.expect_empty(Role::Client(connection));
    let (client, server) = (w.group.facts(Role::Client(connection)), w.group.facts(Role::Server(connection)));
    assert_eq!((client.state, client.peer_process, client.context), (0, SERVER.process, 0));
    assert_eq!((server.state, server.peer_process, server.context), (0, CLIENT.process, CONTEXT));
    w.finish();
}

#[test]
fn a_connect_without_blocking_is_accepted() {
    let mut w = World::new();
    let (connection, id) = w.connect(None).unwrap();
    w.wait(Role::Client(connection), 3);
    assert_eq!(w.take(Role::Connection).message_type, LPC_CONNECTION_REQUEST);
    assert_eq!(w.accept(id), Ok(connection));
    assert_eq!(w.woken(), [(3, STATUS_SUCCESS)]);
    let answer = w.take(Role::Client(connection));
    assert_eq!((answer.message_type, answer.id, answer.sender), (LPC_CONNECTION_REPLY, id, SERVER));
    assert_eq!(answer.body, Text("welcome"));
    assert_eq!(w.accept(id), Err(STATUS_INVALID_MESSAGE), "it is accepted already");
    w.finish();
}

#[test]
fn a_blocking_connect_is_refused() {
    let mut w = World::new();
    let (connection, id) = w.connect(Some(5)).unwrap();
    w.take(Role::Connection);
    assert_eq!(w.refuse(id), Ok(()));
    assert_eq!(w.woken(), [(5, STATUS_PORT_CONNECTION_REFUSED)]);
    assert!(w.abandon_connect(connection, id).is_none());
    assert_eq!(w.refuse(id), Err(STATUS_INVALID_MESSAGE));
    w.assert_nothing_left();
}

#[test]
fn a_connect_without_blocking_is_refused() {
    let mut w = World::new();
    let (connection, id) = w.connect(None).unwrap();
    w.wait(Role::Client(connection), 3);
    w.wait(Role::Client(connection), 4);
    w.take(Role::Connection);
    assert_eq!(w.refuse(id), Ok(()));
    assert_eq!(w.woken(), [(3, STATUS_SUCCESS), (4, STATUS_SUCCESS)], "nothing will come: all learn it");
    w.expect_status(Role::Client(connection), STATUS_PORT_CONNECTION_REFUSED);
    assert_eq!(w.datagram(Role::Client(connection), "a"), Err(STATUS_PORT_CONNECTION_REFUSED));
    assert_eq!(w.group.facts(Role::Client(connection)).state, 2);
    w.close_client(connection);
    w.assert_nothing_left();
}

#[test]
fn only_a_seen_request_can_be_answered() {
    let mut w = World::new();
    let (_, id) = w.connect(None).unwrap();
    assert_eq!(w.accept(id), Err(STATUS_INVALID_MESSAGE), "still queued");
    let delivery = w.begin(Role::Connection);
    assert_eq!(w.accept(id), Err(STATUS_INVALID_MESSAGE), "being delivered");
    assert_eq!(w.refuse(id), Err(STATUS_INVALID_MESSAGE));
    assert_eq!(w.reply(Role::Connection, id), Err(STATUS_MESSAGE_NOT_FOUND));
    assert!(w.end(delivery.id));
    assert_eq!(w.reply(Role::Connection, id), Err(STATUS_MESSAGE_NOT_FOUND), "a reply does not accept");
    assert_eq!(w.accept(0), Err(STATUS_INVALID_MESSAGE));
    assert!(w.accept(id).is_ok());
    w.finish();
}

#[test]
fn the_client_closes_before_its_request_is_seen() {
    let mut w = World::new();
    let (connection, _) = w.connect(None).unwrap();
    w.close_client(connection);
    w.expect_empty(Role::Connection);
    w.assert_nothing_left();
}

#[test]
fn the_client_closes_after_its_request_was_seen() {
    for refuse in [false, true] {
        let mut w = World::new();
        let (connection, id) = w.connect(None).unwrap();
        w.take(Role::Connection);
        w.close_client(connection);
        if refuse {
            assert_eq!(w.refuse(id), Ok(()));
        } else {
            assert_eq!(w.accept(id), Err(STATUS_REQUEST_CANCELED));
        }
        assert_eq!(w.accept(id), Err(STATUS_INVALID_MESSAGE));
        w.assert_nothing_left();
    }
}

#[test]
fn the_client_closes_while_its_request_is_delivered() {
    let mut w = World::new();
    let (connection, id) = w.connect(None).unwrap();
    w.begin(Role::Connection);
    w.close_client(connection);
    assert!(w.end(id));
    assert_eq!(w.accept(id), Err(STATUS_REQUEST_CANCELED));
    w.assert_nothing_left();
}

#[test]
fn a_request_that_nobody_saw_goes_with_its_client() {
    let mut w = World::new();
    let (connection, _) = w.connect(None).unwrap();
    let delivery = w.begin(Role::Connection);
    w.close_client(connection);
    w.undo(delivery);
    w.expect_empty(Role::Connection);
    w.assert_nothing_left();
}

#[test]
fn a_blocked_connect_gives_up() {
    for seen in [false, true] {
        let mut w = World::new();
        let (connection, id) = w.connect(Some(5)).unwrap();
        if seen {
            w.take(Role::Connection);
        }
        assert!(w.abandon_connect(connection, id).is_none());
        assert_eq!(w.accept(id), Err(STATUS_INVALID_MESSAGE));
        assert!(w.woken().is_empty());
        w.assert_nothing_left();
    }
}

#[test]
fn the_server_port_closes_before_a_blocked_connect_takes_its_answer() {
    let mut w = World::new();
    let (connection, id) = w.connect(Some(5)).unwrap();
    w.take(Role::Connection);
    w.accept(id).unwrap();
    w.close_server(connection);
    w.close_port();
    assert_eq!(w.woken(), [(5, STATUS_SUCCESS)], "once");
    assert!(w.abandon_connect(connection, id).is_some());
    assert_eq!(w.kind(Role::Client(connection)), LPC_PORT_CLOSED);
    w.expect_status(Role::Client(connection), STATUS_PORT_DISCONNECTED);
    w.close_client(connection);
    w.assert_nothing_left();
}

#[test]
fn the_connection_port_closes_before_a_blocking_connect_is_answered() {
    for steps in 0..3 {
        let mut w = World::new();
        let (connection, id) = w.connect(Some(5)).unwrap();
        if steps > 0 {
            w.begin(Role::Connection);
        }
        if steps > 1 {
            w.end(id);
        }
        w.close_port();
        assert_eq!(w.woken(), [(5, STATUS_PORT_CONNECTION_REFUSED)]);
        assert!(w.abandon_connect(connection, id).is_none());
        assert!(!w.end(id));
        w.assert_nothing_left();
        assert_eq!(w.connect(None), Err(STATUS_PORT_CONNECTION_REFUSED));
    }
}

#[test]
fn the_connection_port_closes_before_a_connect_without_blocking_is_answered() {
    for seen in [false, true] {
        let mut w = World::new();
        let (connection, id) = w.connect(None).unwrap();
        w.wait(Role::Client(connection), 3);
        w.wait(Role::Client(connection), 4);
        if seen {
            w.take(Role::Connection);
        }
        w.close_port();
        assert_eq!(
            w.woken(),
            [(3, STATUS_SUCCESS), (4, STATUS_SUCCESS)],
            "one gets the message, one the end"
        );
        let notice = w.take(Role::Client(connection));
        assert_eq!((notice.message_type, notice.sender, notice.body), (LPC_CANCELED, CLIENT, Text("")));
        assert_eq!(notice.id, id, "the request's id");
        w.expect_status(Role::Client(connection), STATUS_UNSUCCESSFUL);
        w.expect_status(Role::Client(connection), STATUS_UNSUCCESSFUL);
        assert_eq!(w.accept(id), Err(STATUS_INVALID_MESSAGE));
        w.close_client(connection);
        w.assert_nothing_left();
    }
}

#[test]
fn the_connection_port_closes_while_a_request_is_delivered() {
    for undo in [false, true] {
        let mut w = World::new();
        let (connection, _) = w.connect(None).unwrap();
        let old = w.begin(Role::Connection);
        w.close_port();
        let notice = w.begin(Role::Client(connection));
        assert_eq!((notice.message_type, notice.body.0), (LPC_CANCELED, ""));
        // The server's thread comes late; that must not touch what the client is being given.
        if undo {
            w.undo(old);
        } else {
            assert!(!w.end(old.id));
        }
        assert!(w.end(notice.id));
        w.expect_status(Role::Client(connection), STATUS_UNSUCCESSFUL);
        w.close_client(connection);
        w.assert_nothing_left();
    }
}

// ----- messages --------------------------------------------------------------------------------------------------

#[test]
fn a_request_is_answered() {
    let (mut w, c) = World::connected();
    for (from, to) in every_way(c) {
        let id = w.request(from, "question", 5).unwrap();
        let request = w.take(to);
        assert_eq!((request.id, request.message_type), (id, LPC_REQUEST | LPC_CONTINUATION_REQUIRED));
        assert_eq!((request.body.0, request.connection), ("question", c));
        assert_eq!(request.context, if to == Role::Client(c) { 0 } else { CONTEXT });
        assert_eq!(w.group.facts(to).pending, 1);
        assert_eq!(w.reply(to, id), Ok(()));
        assert_eq!(w.woken(), [(5, STATUS_SUCCESS)]);
        assert_eq!(w.reply(to, id), Err(STATUS_MESSAGE_NOT_FOUND), "already replied");
        let answer = w.abandon(id).expect("the answer");
        assert_eq!((answer.message_type, answer.sender, answer.body.0), (LPC_REPLY, SERVER, "answer"));
        assert_eq!(w.reply(to, id), Err(STATUS_MESSAGE_NOT_FOUND), "taken");
    }
    w.finish();
}

#[test]
fn datagrams_keep_their_order_both_ways() {
    let (mut w, c) = World::connected();
    for text in ["a", "b", "c"] {
        w.datagram(Role::Client(c), text).unwrap();
        w.datagram(Role::Server(c), text).unwrap();
    }
    for (n, text) in ["a", "b", "c"].into_iter().enumerate() {
        for to in [Role::Connection, Role::Client(c)] {
            let d = w.take(to);
            assert_eq!((d.message_type, d.body.0, d.depth), (LPC_DATAGRAM, text, 2 - n as u32));
            assert_eq!(w.reply(to, d.id), Err(STATUS_MESSAGE_NOT_FOUND), "nothing to reply to");
        }
    }
    w.expect_empty(Role::Connection);
    w.expect_empty(Role::Client(c));
    assert_eq!(w.datagram(Role::Connection, "a"), Err(STATUS_LPC_INVALID_CONNECTION_USAGE));
    w.finish();
}

#[test]
fn only_a_delivered_request_of_the_right_port_can_be_replied_to() {
    let (mut w, c) = World::connected();
    let other = w.pair();
    let not_found = Err(STATUS_MESSAGE_NOT_FOUND);
    let id = w.request(Role::Client(c), "question", 5).unwrap();
    assert_eq!(w.reply(Role::Connection, 0), not_found);
    assert_eq!(w.reply(Role::Connection, id ^ 0x10000), not_found, "another generation");
    assert_eq!(w.reply(Role::Connection, id), not_found, "queued");
    let delivery = w.begin(Role::Connection);
    assert_eq!(w.reply(Role::Connection, id), not_found, "being delivered");
    assert!(w.end(delivery.id));
    assert_eq!(w.reply(Role::Server(other), id), not_found, "another connection's port");
    assert_eq!(w.reply(Role::Client(c), id), not_found, "its own sender");
    assert_eq!(w.reply(Role::Client(other), id), not_found);
    assert!(w.woken().is_empty());
    assert_eq!(w.reply(Role::Server(c), id), Ok(()));
    assert!(w.abandon(id).is_some());
    // And towards a client.
    let id = w.request(Role::Server(c), "question", 6).unwrap();
    w.take(Role::Client(c));
    for wrong in [Role::Connection, Role::Server(c), Role::Client(other)] {
        assert_eq!(w.reply(wrong, id), not_found);
    }
    assert_eq!(w.reply(Role::Client(c), id), Ok(()));
    assert!(w.abandon(id).is_some());
    w.finish();
}

#[test]
fn a_server_communication_port_sees_only_its_client() {
    let (mut w, one) = World::connected();
    let two = w.pair();
    for (from, text) in [(one, "1a"), (two, "2a"), (one, "1b"), (two, "2b")] {
        w.datagram(Role::Client(from), text).unwrap();
    }
    w.on_object("object", None).unwrap();
    assert_eq!(w.text(Role::Server(two)), "2a");
    assert_eq!(w.text(Role::Server(two)), "2b");
    w.expect_empty(Role::Server(two));
    assert_eq!(w.text(Role::Connection), "1a");
    assert_eq!(w.text(Role::Server(one)), "1b");
    w.expect_empty(Role::Server(one));
    assert_eq!(w.text(Role::Connection), "object");
    w.finish();
}

#[test]
fn what_does_not_fit_stays_queued() {
    let (mut w, c) = World::connected();
    for (from, role) in every_way(c) {
        w.datagram(from, "long text").unwrap();
        w.datagram(from, "b").unwrap();
        assert!(matches!(w.receive_into(role, 8), Received::TooSmall(9)));
        let facts = w.group.facts(role);
        assert_eq!((facts.queued, facts.large), (2, 1), "in the large-message queue");
        let Received::Message(small) = w.receive_into(role, 8) else {
            panic!("the small one is not in its way")
        };
        assert_eq!(small.body.0, "b");
        assert!(w.end(small.key));
        assert!(matches!(w.receive_into(role, 8), Received::TooSmall(9)), "nothing smaller is left");
        w.datagram(from, "c").unwrap();
        let Received::Message(large) = w.receive_into(role, 9) else { panic!("it fits exactly") };
        assert_eq!((large.body.0, w.group.facts(role).large), ("long text", 0), "it was there first");
        assert!(w.end(large.key));
        assert_eq!(w.text(role), "c");
    }
    w.finish();
}

#[test]
fn an_undone_delivery_is_first_again() {
    let (mut w, c) = World::connected();
    for (from, to) in [(Role::Client(c), Role::Connection), (Role::Server(c), Role::Client(c))] {
        for text in ["a", "b"] {
            w.datagram(from, text).unwrap();
        }
        let d = w.begin(to);
        assert_eq!(d.body.0, "a");
        w.undo(d);
        assert_eq!((w.text(to), w.text(to)), ("a", "b"));
        // Also when it was the only one.
        w.datagram(from, "c").unwrap();
        let d = w.begin(to);
        w.undo(d);
        w.datagram(from, "d").unwrap();
        assert_eq!((w.text(to), w.text(to)), ("c", "d"));
    }
    let id = w.request(Role::Client(c), "question", 5).unwrap();
    let d = w.begin(Role::Server(c));
    w.undo(d);
    assert_eq!(w.reply(Role::Connection, id), Err(STATUS_MESSAGE_NOT_FOUND), "queued again");
    w.take(Role::Connection);
    assert_eq!(w.reply(Role::Connection, id), Ok(()));
    assert!(w.abandon(id).is_some());
    w.finish();
}

#[test]
fn a_datagram_undone_after_its_receiver_went_is_gone() {
    for server_first in [false, true] {
        let (mut w, c) = World::connected();
        w.datagram(Role::Server(c), "a").unwrap();
        let d = w.begin(Role::Client(c));
        if server_first {
            w.close_server(c);
            w.close_client(c);
            w.undo(d);
        } else {
            w.close_client(c);
            w.undo(d);
            assert_eq!(w.group.depth(Role::Client(c)), 0, "nobody can receive it");
            w.close_server(c);
        }
        w.assert_nothing_left();
    }
}

#[test]
fn a_closed_client_keeps_no_messages() {
    let (mut w, c) = World::connected();
    w.datagram(Role::Server(c), "a").unwrap();
    w.close_client(c);
    let left = w.group.message_facts().filter(|m| m.to_client).count();
    assert_eq!(left, 0, "datagrams nobody can receive");
    w.finish();
}

#[test]
fn a_blocked_sender_gives_up_wherever_its_message_is() {
    let (mut w, c) = World::connected();
    for (from, to) in [(Role::Client(c), Role::Connection), (Role::Server(c), Role::Client(c))] {
        let before = w.group.message_count();
        // Queued.
        let id = w.request(from, "a", 5).unwrap();
        assert!(w.abandon(id).is_none());
        w.expect_empty(to);
        // Being delivered.
        for undo in [false, true] {
            let id = w.request(from, "a", 5).unwrap();
            let d = w.begin(to);
            assert!(w.abandon(id).is_none());
            if undo {
                w.undo(d);
            } else {
                assert!(!w.end(id));
            }
            w.expect_empty(to);
            assert_eq!(w.reply(to, id), Err(STATUS_MESSAGE_NOT_FOUND));
        }
        // Pending.
        let id = w.request(from, "a", 5).unwrap();
        w.take(to);
        assert!(w.abandon(id).is_none());
        assert_eq!(w.reply(to, id), Err(STATUS_MESSAGE_NOT_FOUND));
        // Replied: the answer is not lost.
        let id = w.request(from, "a", 5).unwrap();
        w.take(to);
        w.reply(to, id).unwrap();
        assert!(w.abandon(id).is_some());
        assert!(w.abandon(id).is_none());
        assert_eq!(w.woken(), [(5, STATUS_SUCCESS)]);
        assert_eq!(w.group.message_count(), before);
    }
    w.finish();
}

// ----- waiting ---------------------------------------------------------------------------------------------------

#[test]
fn the_first_waiter_that_may_receive_is_woken() {
    let (mut w, one) = World::connected();
    let two = w.pair();
    w.wait(Role::Server(two), 1);
    w.wait(Role::Connection, 2);
    w.wait(Role::Server(one), 3);
    w.wait(Role::Connection, 4);
    w.datagram(Role::Client(one), "a").unwrap();
    assert_eq!(w.woken(), [(2, STATUS_SUCCESS)]);
    w.datagram(Role::Client(one), "b").unwrap();
    assert_eq!(w.woken(), [(3, STATUS_SUCCESS)]);
    w.datagram(Role::Client(two), "c").unwrap();
    assert_eq!(w.woken(), [(1, STATUS_SUCCESS)]);
    w.on_object("d", None).unwrap();
    assert_eq!(w.woken(), [(4, STATUS_SUCCESS)]);
    w.datagram(Role::Client(one), "e").unwrap();
    assert_eq!(w.woken(), []);
    w.finish();
}

#[test]
fn an_objects_message_wakes_nobody_at_a_communication_port() {
    let (mut w, c) = World::connected();
    w.wait(Role::Server(c), 1);
    w.on_object("a", None).unwrap();
    assert_eq!(w.woken(), []);
    w.finish();
}

#[test]
fn a_waiter_that_left_is_not_woken() {
    let (mut w, c) = World::connected();
    for (from, to) in every_way(c) {
        w.wait(to, 1);
        w.wait(to, 2);
        w.unwait(to, 1);
        w.datagram(from, "a").unwrap();
        assert_eq!(w.woken(), [(2, STATUS_SUCCESS)]);
        w.take(to);
    }
    w.finish();
}

#[test]
fn a_chosen_waiter_that_times_out_passes_its_turn_on() {
    let (mut w, c) = World::connected();
    let other = w.pair();
    for (from, to) in every_way(c) {
        if to != Role::Client(c) {
            w.wait(Role::Server(other), 9);
        }
        w.wait(to, 1);
        w.wait(to, 2);
        w.datagram(from, "a").unwrap();
        assert_eq!(w.woken(), [(1, STATUS_SUCCESS)]);
        w.unwait(to, 1);
        assert_eq!(w.woken(), [(2, STATUS_SUCCESS)]);
        w.unwait(to, 2);
        assert_eq!(w.woken(), [], "nobody may take it");
        w.take(to);
        w.unwait(Role::Server(other), 9);
    }
    w.finish();
}

#[test]
fn a_turn_is_passed_on_to_whom_it_helps() {
    let (mut w, one) = World::connected();
    let two = w.pair();
    w.wait(Role::Connection, 1);
    w.wait(Role::Server(two), 2);
    w.wait(Role::Server(two), 3);
    w.datagram(Role::Client(one), "a").unwrap();
    w.datagram(Role::Client(two), "b").unwrap();
    assert_eq!(w.woken(), [(1, STATUS_SUCCESS), (2, STATUS_SUCCESS)]);
    w.unwait(Role::Server(two), 2);
    assert_eq!(w.woken(), [(3, STATUS_SUCCESS)], "for the second message: nobody waits for the first");
    w.unwait(Role::Connection, 1);
    assert_eq!(w.woken(), []);
    w.finish();
}

#[test]
fn an_undone_delivery_wakes_the_next() {
    let (mut w, c) = World::connected();
    w.wait(Role::Connection, 1);
    w.wait(Role::Connection, 2);
    w.datagram(Role::Client(c), "a").unwrap();
    let d = w.begin(Role::Connection);
    assert_eq!(w.woken(), [(1, STATUS_SUCCESS)]);
    w.undo(d);
    assert_eq!(w.woken(), [(2, STATUS_SUCCESS)]);
    w.finish();
}

#[test]
fn a_receiver_with_too_small_a_buffer_passes_its_turn_on() {
    let (mut w, c) = World::connected();
    for (from, to) in every_way(c) {
        w.wait(to, 1);
        w.wait(to, 2);
        w.datagram(from, "long text").unwrap();
        assert_eq!(w.woken(), [(1, STATUS_SUCCESS)]);
        assert!(matches!(w.receive_into(to, 2), Received::TooSmall(9)));
        assert_eq!(w.woken(), [(2, STATUS_SUCCESS)], "the other one may have the room");
        w.take(to);
    }
    w.finish();
}

#[test]
fn a_waiter_whose_message_was_taken_passes_its_turn_on() {
    for ended in [false, true] {
        let (mut w, one) = World::connected();
        let two = w.pair();
        w.wait(Role::Server(two), 1);
        w.wait(Role::Connection, 2);
        w.wait(Role::Connection, 3);
        w.datagram(Role::Client(two), "a").unwrap();
        w.datagram(Role::Client(one), "b").unwrap();
        assert_eq!(w.woken(), [(1, STATUS_SUCCESS), (2, STATUS_SUCCESS)]);
        assert_eq!(w.text(Role::Connection), "a", "the second was woken for the other message");
        if ended {
            w.disconnect(Role::Server(two)).unwrap();
            w.expect_status(Role::Server(two), STATUS_PORT_DISCONNECTED);
        } else {
            w.expect_empty(Role::Server(two));
        }
        assert_eq!(w.woken(), [(3, STATUS_SUCCESS)]);
        w.finish();
    }
}

#[test]
fn a_waiter_that_takes_anothers_message_leaves_nobody_asleep() {
    let (mut w, one) = World::connected();
    let two = w.pair();
    w.datagram(Role::Client(two), "undone").unwrap();
    let undone = w.begin(Role::Server(two));
    w.wait(Role::Connection, 1);
    w.wait(Role::Server(one), 2);
    w.datagram(Role::Client(one), "a").unwrap();
    assert_eq!(w.woken(), [(1, STATUS_SUCCESS)]);
    w.undo(undone);
    assert_eq!(w.woken(), []);
    // Woken for one's message, it gets the other's, which came back to the front.
    assert_eq!(w.text(Role::Connection), "undone");
    assert_eq!(w.woken(), [(2, STATUS_SUCCESS)]);
    w.finish();
}

// ----- ending ----------------------------------------------------------------------------------------------------

#[test]
fn the_client_closes() {
    let (mut w, c) = World::connected();
    w.datagram(Role::Client(c), "a").unwrap();
    let lost = w.request(Role::Client(c), "lost", 5).unwrap();
    w.datagram(Role::Client(c), "b").unwrap();
    let from_server = w.request(Role::Server(c), "lost", 6).unwrap();
    w.close_client(c);
    assert_eq!(w.woken(), [(5, STATUS_PORT_DISCONNECTED), (6, STATUS_PORT_DISCONNECTED)]);
    assert!(w.abandon(lost).is_none() && w.abandon(from_server).is_none());
    assert_eq!((w.text(Role::Connection), w.text(Role::Server(c))), ("a", "b"));
    let notice = w.take(Role::Connection);
    assert_eq!(notice.message_type, LPC_PORT_CLOSED | LPC_KERNELMODE_MESSAGE);
    assert_eq!((notice.context, notice.connection, notice.body.0), (CONTEXT, c, ""));
    assert_eq!(notice.sender, Sender { process: CLIENT.process, thread: 0 });
    w.expect_empty(Role::Connection);
    w.expect_status(Role::Server(c), STATUS_PORT_DISCONNECTED);
    assert_eq!(w.datagram(Role::Server(c), "a"), Err(STATUS_PORT_DISCONNECTED));
    w.close_server(c);
    w.assert_nothing_left();
}

#[test]
fn the_server_closes() {
    let (mut w, c) = World::connected();
    w.datagram(Role::Server(c), "a").unwrap();
    w.datagram(Role::Client(c), "unseen").unwrap();
    let queued = w.request(Role::Client(c), "lost", 5).unwrap();
    let pending = w.request(Role::Client(c), "lost", 6).unwrap();
    w.text(Role::Connection);
    w.take(Role::Connection);
    w.close_server(c);
    assert_eq!(w.woken(), [(5, STATUS_PORT_DISCONNECTED), (6, STATUS_PORT_DISCONNECTED)]);
    assert_eq!(w.reply(Role::Connection, queued), Err(STATUS_MESSAGE_NOT_FOUND));
    assert!(w.abandon(queued).is_none() && w.abandon(pending).is_none());
    w.expect_empty(Role::Connection);
    assert_eq!(w.text(Role::Client(c)), "a");
    let notice = w.take(Role::Client(c));
    assert_eq!((notice.message_type & 0xFF, notice.sender.process), (LPC_PORT_CLOSED, SERVER.process));
    w.expect_status(Role::Client(c), STATUS_PORT_DISCONNECTED);
    assert_eq!(w.datagram(Role::Client(c), "a"), Err(STATUS_PORT_DISCONNECTED));
    assert_eq!(w.group.facts(Role::Client(c)).state, 4);
    w.close_client(c);
    w.assert_nothing_left();
}

#[test]
fn an_answer_given_before_the_end_is_not_lost() {
    for by_client in [false, true] {
        let (mut w, c) = World::connected();
        let id = w.request(Role::Client(c), "question", 5).unwrap();
        w.take(Role::Connection);
        w.reply(Role::Server(c), id).unwrap();
        if by_client {
            w.close_client(c);
        } else {
            w.close_server(c);
        }
        w.close_port();
        assert_eq!(w.woken(), [(5, STATUS_SUCCESS)]);
        assert_eq!(w.abandon(id).expect("the answer").body.0, "answer");
        w.close_client(c);
        w.close_server(c);
        w.assert_nothing_left();
    }
}

#[test]
fn a_disconnect_is_told_once() {
    for by_client in [false, true] {
        let (mut w, c) = World::connected();
        let (mine, others) =
            if by_client { (Role::Client(c), Role::Server(c)) } else { (Role::Server(c), Role::Client(c)) };
        w.wait(others, 1);
        w.wait(others, 2);
        w.wait(mine, 3);
        assert_eq!(w.disconnect(mine), Ok(()));
        let mut woken = w.woken();
        woken.sort_unstable_by_key(|w| w.0);
        assert_eq!(woken, [1, 2, 3].map(|n| (n, STATUS_SUCCESS)), "each once");
        assert_eq!(w.disconnect(mine), Err(STATUS_PORT_DISCONNECTED));
        assert_eq!(w.disconnect(others), Err(STATUS_PORT_DISCONNECTED));
        assert_eq!(w.kind(others), LPC_PORT_CLOSED);
        w.expect_status(others, STATUS_PORT_DISCONNECTED);
        w.expect_status(mine, STATUS_PORT_DISCONNECTED);
        // Closing tells nothing more.
        if by_client {
            w.close_client(c);
        } else {
            w.close_server(c);
        }
        w.expect_status(others, STATUS_PORT_DISCONNECTED);
        w.expect_empty(Role::Connection);
        w.finish();
    }
    let (mut w, _) = World::connected();
    assert_eq!(w.disconnect(Role::Connection), Err(STATUS_INVALID_PORT_HANDLE));
}

#[test]
fn both_sides_close_with_everything_underway() {
    for order in 0..2 {
        let (mut w, c) = World::connected();
        for text in ["a", "b"] {
            w.datagram(Role::Client(c), text).unwrap();
            w.datagram(Role::Server(c), text).unwrap();
        }
        let (to_server, to_client) = (w.begin(Role::Connection), w.begin(Role::Client(c)));
        if order == 0 {
            w.close_client(c);
            w.close_server(c);
        } else {
            w.close_server(c);
            w.close_client(c);
        }
        assert_eq!(w.group.connection_count(), 0);
        w.end(to_server.id);
        w.end(to_client.id);
        w.assert_nothing_left();
    }
}

#[test]
fn a_closing_port_wakes_its_own_waiters() {
    let (mut w, c) = World::connected();
    w.wait(Role::Client(c), 1);
    w.close_client(c);
    assert_eq!(w.woken(), [(1, STATUS_PORT_CLOSED)]);
    w.finish();
    let (mut w, c) = World::connected();
    let other = w.pair();
    w.wait(Role::Server(c), 1);
    w.wait(Role::Server(other), 2);
    w.close_server(c);
    assert_eq!(w.woken().iter().map(|w| w.0).collect::<Vec<_>>(), [1]);
    w.expect_status(Role::Server(c), STATUS_PORT_DISCONNECTED);
    w.finish();
}

#[test]
fn the_connection_port_closes() {
    let (mut w, c) = World::connected();
    let gone = w.pair();
    w.wait(Role::Connection, 1);
    w.wait(Role::Server(c), 2);
    w.wait(Role::Client(c), 3);
    w.wait(Role::Client(c), 4);
    w.datagram(Role::Server(gone), "drained").unwrap();
    w.close_client(gone);
    assert_eq!(w.woken(), [(1, STATUS_SUCCESS)]);
    let queued = w.request(Role::Client(c), "lost", 5).unwrap();
    assert_eq!(w.woken(), [(2, STATUS_SUCCESS)]);
    let on_object = w.on_object("lost", Some(6)).unwrap();
    let notice = w.group.reserve_notice(LPC_OBJECT_CLOSED, Text(""), OBJECT).unwrap();
    w.take(Role::Server(c));
    w.wait(Role::Server(c), 2);
    w.close_port();
    let mut woken = w.woken();
    woken.sort_unstable_by_key(|w| w.0);
    let ended = STATUS_PORT_DISCONNECTED;
    assert_eq!(
        woken,
        [(2, STATUS_SUCCESS), (3, STATUS_SUCCESS), (4, STATUS_SUCCESS), (5, ended), (6, ended)]
    );
    assert!(w.abandon(queued).is_none() && w.abandon(on_object).is_none());
    w.expect_status(Role::Connection, STATUS_PORT_CLOSED);
    w.expect_status(Role::Server(c), STATUS_PORT_DISCONNECTED);
    assert_eq!(w.group.message_facts().filter(|m| !m.to_client).count(), 0);
    assert_eq!(w.kind(Role::Client(c)), LPC_PORT_CLOSED);
    w.expect_status(Role::Client(c), STATUS_PORT_DISCONNECTED);
    assert_eq!(w.on_object("late", None), Err(STATUS_PORT_DISCONNECTED));
    assert_eq!(w.datagram(Role::Client(c), "late"), Err(STATUS_PORT_DISCONNECTED));
    assert_eq!(w.group.reserve_notice(LPC_OBJECT_CLOSED, Text(""), OBJECT), Err(STATUS_PORT_CLOSED));
    w.group.send_notice(notice, CLIENT, &mut w.log);
    w.group.drop_notice(notice);
    assert_eq!(w.group.facts(Role::Connection).state, 8);
    for connection in [c, gone] {
        w.close_server(connection);
        w.close_client(connection);
    }
    w.assert_nothing_left();
}

#[test]
fn the_connection_port_closes_and_its_waiters_learn_it() {
    let (mut w, c) = World::connected();
    w.wait(Role::Connection, 1);
    w.wait(Role::Connection, 2);
    w.close_port();
    assert_eq!(w.woken(), [(1, STATUS_PORT_CLOSED), (2, STATUS_PORT_CLOSED)]);
    w.close_client(c);
    w.close_server(c);
    w.assert_nothing_left();
}

// ----- server objects --------------------------------------------------------------------------------------------

#[test]
fn a_server_object_carries_requests_and_datagrams() {
    let (mut w, c) = World::connected();
    let id = w.on_object("question", Some(5)).unwrap();
    w.on_object("telling", None).unwrap();
    w.expect_empty(Role::Server(c));
    let request = w.take(Role::Connection);
    assert_eq!(
        (request.message_type, request.object),
        (LPC_REQUEST | LPC_CONTINUATION_REQUIRED, Some(OBJECT))
    );
    assert_eq!((request.connection, request.context), (0, OBJECT.context));
    assert_eq!(w.kind(Role::Connection), LPC_DATAGRAM);
    assert_eq!(w.reply(Role::Server(c), id), Err(STATUS_MESSAGE_NOT_FOUND));
    assert_eq!(w.reply(Role::Connection, id), Ok(()));
    assert_eq!(w.woken(), [(5, STATUS_SUCCESS)]);
    assert_eq!(w.abandon(id).expect("the answer").body.0, "answer");
    w.finish();
}

#[test]
fn notices_wait_until_they_are_sent() {
    let mut w = World::new();
    let notice = w.group.reserve_notice(LPC_OBJECT_CLOSED, Text("n"), OBJECT).unwrap();
    let dropped = w.group.reserve_notice(LPC_OBJECT_CLOSED, Text("n"), OBJECT).unwrap();
    w.wait(Role::Connection, 1);
    assert_eq!(w.group.message_facts().count(), 0);
    w.group.drop_notice(dropped);
    w.group.send_notice(dropped, CLIENT, &mut w.log);
    assert_eq!(w.woken(), []);
    w.group.send_notice(notice, CLIENT, &mut w.log);
    w.group.send_notice(notice, CLIENT, &mut w.log);
    w.group.drop_notice(notice);
    assert_eq!(w.woken(), [(1, STATUS_SUCCESS)], "once");
    let d = w.take(Role::Connection);
    assert_eq!((d.message_type, d.sender), (LPC_OBJECT_CLOSED | LPC_KERNELMODE_MESSAGE, CLIENT));
    assert_eq!((d.context, d.object, d.body.0), (OBJECT.context, Some(OBJECT), "n"));
    assert_eq!(w.reply(Role::Connection, notice), Err(STATUS_MESSAGE_NOT_FOUND));
    w.expect_empty(Role::Connection);
    w.close_port();
    w.assert_nothing_left();
}

#[test]
fn facts_name_the_messages() {
    let (mut w, c) = World::connected();
    let pending = w.request(Role::Client(c), "pending", 1).unwrap();
    w.take(Role::Connection);
    let delivering = w.request(Role::Client(c), "delivering", 2).unwrap();
    w.begin(Role::Connection);
    let queued = w.datagram(Role::Server(c), "queued").unwrap();
    let mut facts: Vec<_> =
        w.group.message_facts().map(|m| (m.queue, m.id, m.to_client, m.waits, m.data_length)).collect();
    facts.sort_unstable();
    assert_eq!(
        facts,
        [(1, queued, true, false, 6), (2, pending, false, true, 0), (3, delivering, false, true, 0)]
    );
    let server = w.group.facts(Role::Server(c));
    assert_eq!((server.queued, server.pending, server.waiters), (0, 1, 0));
    assert_eq!((w.group.facts(Role::Client(c)).queued, w.group.facts(Role::Connection).pending), (1, 1));
    assert_eq!((w.group.peer(Role::Client(c)), w.group.peer(Role::Server(c))), (1, 2));
    w.finish();
}

/// A blocked sender starts to take its answer.
fn claim(w: &mut World, id: u32) -> Option<Delivery<Text>> {
    match w.group.take(id, ROOM, &mut w.log) {
        Woken::Answer(answer) => Some(answer),
        Woken::Nothing => None,
        other => panic!("neither an answer nor nothing: {other:?}"),
    }
}

/// Receives a datagram and keeps something of it.
fn hold(w: &mut World, from: Role, at: Role) -> u32 {
    let id = w.datagram(from, "with a view").unwrap();
    let Received::Message(delivery) = w.group.receive(at, ROOM, SERVER, &mut w.log) else {
        panic!("nothing to receive");
    };
    assert_eq!(delivery.id, id);
    assert!(w.group.end_delivery(id, Some(Text("the view")), &mut w.log));
    id
}

#[test]
fn what_a_receiver_holds_is_given_back_once_by_it() {
    let (mut w, c) = World::connected();
    let none = w.group.message_count();
    for (from, at) in every_way(c) {
        let id = hold(&mut w, from, at);
        assert_eq!(w.group.kept(at, id, 0), Some(&mut Text("the view")));
        let facts = w.group.message_facts().find(|m| m.id == id).expect("a pending message");
        assert_eq!((facts.message_type, facts.queue), (LPC_DATAGRAM, 2));
        let wrong = match at {
            Role::Client(_) => Role::Connection,
            _ => Role::Client(c),
        };
        assert_eq!(w.group.kept(wrong, id, 0), None);
        let given_back = w.group.reply(wrong, (id, 0), SERVER, 0, Text(""), &mut w.log);
        assert_eq!(given_back, Err(STATUS_MESSAGE_NOT_FOUND));
        assert_eq!(w.group.reply(at, (id, 0), SERVER, 0, Text("nowhere"), &mut w.log), Ok(()));
        assert_eq!(w.group.message_count(), none);
        let given_back = w.group.reply(at, (id, 0), SERVER, 0, Text(""), &mut w.log);
        assert_eq!(given_back, Err(STATUS_MESSAGE_NOT_FOUND));
        assert!(w.log.wakes.is_empty());
    }
}

#[test]
fn what_is_held_goes_with_the_connection() {
    for by_client in [false, true] {
        for at in 0..3 {
            let (mut w, c) = World::connected();
            let (from, at) = every_way(c)[at];
            let id = hold(&mut w, from, at);
            // One that is received only after the end is not held.
            let late = (by_client && at == Role::Connection).then(|| w.datagram(from, "late").unwrap());
            let who = if by_client { Role::Client(c) } else { Role::Server(c) };
            w.group.disconnect(who, false, &mut w.log).unwrap();
            assert_eq!(w.group.kept(at, id, 0), None);
            if let Some(late) = late {
                assert!(matches!(w.group.receive(at, ROOM, SERVER, &mut w.log), Received::Message(_)));
                assert!(w.group.end_delivery(late, Some(Text("the view")), &mut w.log));
                assert_eq!(w.group.kept(at, late, 0), None);
            }
            w.group.close_client(c, &mut w.log);
            w.group.close_server(c, &mut w.log);
            while let Received::Message(rest) = w.group.receive(Role::Connection, ROOM, SERVER, &mut w.log) {
                w.group.end_delivery(rest.key, None, &mut w.log);
            }
            assert_eq!((w.group.message_count(), w.group.connection_count()), (0, 0));
        }
    }
}

#[test]
fn an_answer_can_be_held_by_who_asked() {
    let (mut w, c) = World::connected();
    let none = w.group.message_count();
    for (asker, server) in [(Role::Client(c), Role::Connection), (Role::Server(c), Role::Client(c))] {
        let id = w.request(asker, "question", 7).unwrap();
        assert!(claim(&mut w, id + 1).is_none());
        w.take(server);
        w.group.reply(server, (id, 0), SERVER, 0, Text("answer"), &mut w.log).unwrap();
        let answer = claim(&mut w, id).expect("the answer");
        assert_eq!((answer.body.0, answer.message_type), ("answer", LPC_REPLY));
        assert!(claim(&mut w, id).is_none(), "it is taken once");
    }
    w.group.close_client(c, &mut w.log);
    w.group.close_server(c, &mut w.log);
    let (mut w, c) = World::connected();
    for (asker, server) in [(Role::Client(c), Role::Connection), (Role::Server(c), Role::Client(c))] {
        let id = w.request(asker, "question", 7).unwrap();
        w.take(server);
        w.group.reply(server, (id, 0), SERVER, 0, Text("answer"), &mut w.log).unwrap();
        claim(&mut w, id).expect("the answer");
        assert!(w.group.end_delivery(id, Some(Text("the view")), &mut w.log));
        assert_eq!(
            w.group.reply(server, (id, 0), SERVER, 0, Text(""), &mut w.log),
            Err(STATUS_MESSAGE_NOT_FOUND)
        );
        assert_eq!(w.group.reply(asker, (id, 0), SERVER, 0, Text(""), &mut w.log), Ok(()));
        assert_eq!(w.group.message_count(), none);
    }
    // Nobody asks any more: the request goes, and nothing is claimed.
    let id = w.request(Role::Client(c), "question", 7).unwrap();
    assert!(claim(&mut w, id).is_none());
    assert_eq!(w.group.message_count(), none);
}

#[test]
fn where_a_held_message_comes_from_is_told_to_who_holds_it() {
    let (mut w, c) = World::connected();
    let other = w.pair();
    let not_found = Err(STATUS_MESSAGE_NOT_FOUND);
    let from = |sender, from| Ok(Origin { sender, from });
    let id = w.request(Role::Client(c), "question", 5).unwrap();
    assert_eq!(w.group.received(Role::Connection, id, 0), not_found, "queued");
    w.take(Role::Connection);
    let client = from(CLIENT, Some(Role::Client(c)));
    assert_eq!(w.group.received(Role::Connection, id, 0), client);
    assert_eq!(w.group.received(Role::Server(c), id, 0), client);
    for wrong in [Role::Client(c), Role::Server(other), Role::Client(other)] {
        assert_eq!(w.group.received(wrong, id, 0), not_found);
    }
    assert_eq!(w.group.received(Role::Connection, id ^ 0x10000, 0), not_found, "another generation");
    assert_eq!(w.group.received(Role::Connection, id, 7), not_found, "no call back");
    assert_eq!(w.reply(Role::Connection, id), Ok(()));
    assert_eq!(w.group.received(Role::Connection, id, 0), not_found, "answered");
    assert!(w.abandon(id).is_some());
    // A connection request, by the connection port only.
    let (_, id) = w.connect(None).unwrap();
    assert_eq!(w.group.received(Role::Connection, id, 0), not_found, "queued");
    w.take(Role::Connection);
    assert_eq!(w.group.received(Role::Connection, id, 0).map(|origin| origin.sender), Ok(CLIENT));
    assert_eq!(w.group.received(Role::Server(c), id, 0), not_found);
    assert_eq!(w.refuse(id), Ok(()));
    assert_eq!(w.group.received(Role::Connection, id, 0), not_found);
}

#[test]
fn nobody_waits_for_the_references_of_a_closed_port() {
    let (mut w, c) = World::connected();
    let post = Post { sender: SERVER, waiter: None, release: true, context: 0, tracked: true };
    w.group.send(Role::Server(c), &post, Text("tracked"), &mut w.log).unwrap();
    assert_eq!(w.group.wait_references(Role::Server(c), waiter(1)), Ok(true));
    w.group.close_server(c, &mut w.log);
    assert!(w.log.wakes.contains(&(waiter(1), STATUS_PORT_CLOSED)));
    // The message is still there. Once the client has closed, too, nothing knows who waited for it.
    assert_eq!(w.group.wait_references(Role::Server(c), waiter(2)), Err(STATUS_PORT_CLOSED));
    assert_eq!(w.group.wait_references(Role::Client(c), waiter(3)), Ok(false));
    w.group.close_client(c, &mut w.log);
    assert_eq!(w.group.wait_references(Role::Client(c), waiter(3)), Err(STATUS_PORT_CLOSED));
}

#[test]
fn what_its_sender_holds_is_no_direct_request_any_more() {
    let (mut w, c) = World::connected();
    let client = Role::Client(c);
    w.group.add_waiter(Role::Connection, waiter(1)).unwrap();
    let slot = w.group.prepare_direct(c).unwrap();
    let request = w.group.begin_direct(c, slot).unwrap();
    let id = request.id;
    request.commit(None, CLIENT, waiter(2), SERVER);
    // Cancelled, and its sender keeps something of what it gets for that.
    let cancel = Cancel { id: (id, 0), context: 0, only_unseen: false };
    w.group.cancel(client, &cancel, &mut w.log).unwrap();
    let Woken::Answer(delivery) = w.group.take(id, ROOM, &mut w.log) else { panic!("it was cancelled") };
    assert!(w.group.end_delivery(delivery.key, Some(Text("kept")), &mut w.log));
    assert_eq!(w.group.is_held(client, id, 0), Ok(()));
    // The thread that it was handed to could not take all of it.
    w.group.undo_direct(id, Some(Text("request")), &mut w.log);
    assert_eq!(w.group.is_held(client, id, 0), Ok(()));
    assert_eq!(w.group.kept(client, id, 0), Some(&mut Text("kept")));
}
