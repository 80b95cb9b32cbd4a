//! Small requests to a thread that waits, and the replies: what the kernel may do on its fast path, at and beyond each
//! of that path's conditions. The same must be observed when the fast path is off.

use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::alpc::{Attributes, ConnectionPort, Message};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::calls::{self, Buffer};
use libnt::thread::{self, JoinHandle};
use testkit::{Test, record};

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("fast/lengths", lengths);
    test.case("fast/each-port", each_port);
    test.case("fast/context", context);
    test.case("fast/objects", objects);
    test.case("fast/small-rooms", small_rooms);
    test.case("fast/behind-a-datagram", behind_a_datagram);
    test.case("fast/time-outs", time_outs);
    test.case("fast/wrong-replies", wrong_replies);
    test.case("fast/wrong-handles", wrong_handles);
}

/// Payload lengths at the borders of words, of what the fast path takes (128 bytes), and beyond.
const LENGTHS: [usize; 14] = [2, 3, 7, 8, 9, 16, 64, 119, 120, 121, 127, 128, 129, 400];

// What a request asks of the serving thread: its first byte. The second byte is how long an answer it wants, in steps
// of 4 bytes; 0 is as long as the request. The answer is the request with every bit turned, cut or filled up.

/// An answer.
const ECHO: u8 = 1;
/// An answer after the next message.
const LATE: u8 = 2;
/// Two answers.
const TWICE: u8 = 3;
/// No answer.
const NOTE: u8 = 4;
/// The end of the serving thread.
const END: u8 = 5;

/// A time after which a request that is not answered comes back.
const PATIENCE: Option<Duration> = Some(Duration::from_millis(30));

type Server = JoinHandle<NtResult<Vec<NtStatus>>>;

/// A thread that receives on a port, with room for `room` bytes, and gives each answer together with the next receive.
/// Its result: the statuses of the calls that failed.
fn serve(port: Handle, room: usize) -> NtResult<Server> {
    let port = duplicate(port, None)?;
    let server = thread::spawn(move || serving(&ConnectionPort::from_handle(port), room))?;
    // It should wait before the first request; nothing depends on it.
    libnt::time::sleep(Duration::from_millis(2));
    Ok(server)
}

fn serving(port: &ConnectionPort, room: usize) -> NtResult<Vec<NtStatus>> {
    let mut failed = Vec::new();
    let (mut message, mut attributes) = (Message::new(room), Attributes::new());
    let mut answer: Option<Message> = None;
    loop {
        attributes.clear();
        let result = match answer.take() {
            Some(mut answer) => port.reply_and_receive(&mut answer, None, &mut message, &mut attributes),
            None => port.receive(&mut message, &mut attributes, None).map(drop),
        };
        if let Err(status) = result {
            record::note(format_args!("serving: {status}"));
            failed.push(status);
            if failed.len() > LENGTHS.len() {
                return Ok(failed);
            }
            message = Message::new(ROOM);
            continue;
        }
        note("serving", &message, Some(&attributes));
        let asked = message.payload().to_vec();
        let mut reply = Message::new(ROOM * 2);
        let mut bytes: Vec<u8> = asked.iter().map(|byte| !byte).collect();
        if let Some(length) = asked.get(1).filter(|length| **length != 0) {
            bytes.resize(usize::from(*length) * 4, 0x5A);
        }
        reply.set_payload(&bytes)?;
        reply.set_reply_to(message.header().message_id);
        match asked.first() {
            Some(&ECHO) => answer = Some(reply),
            Some(&LATE) => {
                port.receive(&mut message, &mut attributes, Some(LONG))?;
                answer = Some(reply);
            }
            Some(&TWICE) => {
                port.reply(&mut reply.clone(), None)?;
                answer = Some(reply);
            }
            Some(&NOTE) => {}
            _ => return Ok(failed),
        }
    }
}

/// A request's payload.
fn payload(kind: u8, answer: usize, length: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..length.max(2)).map(|at| at as u8).collect();
    bytes[0] = kind;
    bytes[1] = (answer / 4) as u8;
    bytes
}

/// Asks for an echo of so many bytes with an answer of so many, and checks it.
fn echo(test: &mut Test, port: Handle, length: usize, answer: usize) -> NtResult {
    let bytes = payload(ECHO, answer, length);
    let mut expected: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
    if answer != 0 {
        expected.resize(answer, 0x5A);
    }
    let mut message = Message::new(ROOM * 2);
    message.set_payload(&bytes)?;
    test.ok(format_args!("asking {length}, {answer}"), request(port, &mut message, None, None));
    test.equal(format_args!("the answer to {length}, {answer}"), message.payload(), &expected);
    Ok(())
}

/// Ends a serving thread; what failed there.
fn end(test: &mut Test, port: Handle, server: Server, expected: &[NtStatus]) -> NtResult {
    let sent = libnt::alpc::Port::from_handle(duplicate(port, None)?).datagram(&mut text(&[END, 0])?, None);
    test.ok("ending the server", sent);
    let failed = server.join()?;
    test.equal("what failed at the server", failed.as_deref(), Ok(expected));
    Ok(())
}

fn lengths(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let server = serve(pair.server.handle(), ROOM)?;
    for length in LENGTHS {
        echo(test, pair.client.handle(), length, 0)?;
    }
    for answer in [4, 120, 124, 128, 132, 500] {
        echo(test, pair.client.handle(), 16, answer)?;
        echo(test, pair.client.handle(), 300, answer)?;
    }
    end(test, pair.client.handle(), server, &[])
}

/// Servers on the connection port, on the server's side of the connection; a client that serves its server.
fn each_port(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let (accepted, client) = (pair.accepted.handle(), pair.client.handle());
    for (at, from) in [(pair.server.handle(), client), (accepted, client), (client, accepted)] {
        let server = serve(at, ROOM)?;
        for length in [8, 32, 32, 128, 136] {
            echo(test, from, length, 0)?;
        }
        end(test, from, server, &[])?;
    }
    Ok(())
}

/// Asks with attributes to receive only.
fn ask_with(port: Handle, bytes: &[u8], attributes: &mut Attributes) -> NtResult<Message> {
    let mut answer = Message::new(ROOM);
    let mut question = text(bytes)?;
    let send = Buffer { words: question.words_mut(), attributes: &mut [] };
    let receive = Buffer { words: answer.words_mut(), attributes: attributes.words_mut() };
    calls::send_receive(port, ALPC_MSGFLG_SYNC_REQUEST, Some(send), Some(receive), None)?;
    note("answered", &answer, Some(attributes));
    Ok(answer)
}

fn context(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let server = serve(pair.server.handle(), ROOM)?;
    for length in [16, 16, 200, 16] {
        let mut attributes = Attributes::new();
        let answer = ask_with(pair.client.handle(), &payload(ECHO, 0, length), &mut attributes)?;
        let context = attributes.context().unwrap_or_default();
        test.equal("the answer's context", context.port_context, 0);
        test.equal("the id in it", context.message_id, answer.header().message_id);
    }
    end(test, pair.client.handle(), server, &[])
}

fn objects(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let object = server.create_object(0xAB_CDEF, 9, 0b111)?;
    let narrow = duplicate(object.raw(), Some(0b010))?;
    let serving = serve(server.handle(), ROOM)?;
    for handle in [object.raw(), narrow.raw()] {
        for length in [8, 128, 200] {
            echo(test, handle, length, 0)?;
        }
    }
    end(test, object.raw(), serving, &[])
}

fn small_rooms(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let client = pair.client.handle();
    let server = serve(pair.server.handle(), 16)?;
    echo(test, client, 16, 0)?;
    // The server has no room for this one: it asks again with more.
    echo(test, client, 64, 0)?;
    for (room, answer) in [(8, 12), (8, 100), (128, 132), (16, 400)] {
        let mut message = Message::new(room);
        message.set_payload(&payload(ECHO, answer, 8))?;
        let result = request(client, &mut message, None, None);
        test.refused("an answer that does not fit", result, STATUS_BUFFER_TOO_SMALL);
    }
    echo(test, client, 32, 0)?;
    end(test, client, server, &[STATUS_BUFFER_TOO_SMALL])
}

fn behind_a_datagram(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let server = serve(pair.server.handle(), ROOM)?;
    for number in 0..8 {
        for _ in 0..number % 3 {
            pair.client.datagram(&mut text(&payload(NOTE, number * 4, 8))?, None)?;
        }
        echo(test, pair.client.handle(), 24, 0)?;
    }
    end(test, pair.client.handle(), server, &[])
}

fn time_outs(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let client = pair.client.handle();
    let server = serve(pair.server.handle(), ROOM)?;
    for length in [16, 200] {
        let result = request(client, &mut text(&payload(LATE, 0, length))?, None, PATIENCE);
        test.refused("a request that waits in vain", result, STATUS_TIMEOUT);
        pair.client.datagram(&mut text(&payload(NOTE, 0, 8))?, None)?;
        echo(test, client, length, 0)?;
    }
    end(test, client, server, &[STATUS_MESSAGE_NOT_FOUND; 2])
}

/// A reply together with a receive that finds nothing.
fn reply_and_poll(port: Handle, id: u32) -> NtResult<NtStatus> {
    let mut answer = text(b"forged")?;
    answer.set_reply_to(id);
    let mut message = Message::new(ROOM);
    let send = Buffer { words: answer.words_mut(), attributes: &mut [] };
    let receive = Buffer { words: message.words_mut(), attributes: &mut [] };
    let reply = ALPC_MSGFLG_RELEASE_MESSAGE;
    calls::send_receive(port, reply, Some(send), Some(receive), Some(&0)).map(|(status, _)| status)
}

fn wrong_replies(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let (other, _client) = connect(&pair.server, 2)?;
    let port = duplicate(pair.client.handle(), None)?;
    let client = thread::spawn(move || request(port.raw(), &mut text(b"question")?, None, Some(LONG)))?;
    let id = expect(&pair.server, LPC_REQUEST)?.header.message_id;
    for (what, port, id) in [
        ("without an id", pair.server.handle(), 0),
        ("to another id", pair.server.handle(), id ^ 1),
        ("to another generation", pair.server.handle(), id ^ 0x10_0000),
        ("through another connection", other.handle(), id),
        ("of the client", pair.client.handle(), id),
    ] {
        test.refused(format_args!("a reply {what}"), reply_and_poll(port, id), STATUS_MESSAGE_NOT_FOUND);
    }
    let answered = reply_and_poll(pair.server.handle(), id);
    test.equal("the reply", answered, Ok(STATUS_TIMEOUT));
    test.ok("the request", client.join()?);
    test.refused("the reply again", reply_and_poll(pair.server.handle(), id), STATUS_MESSAGE_NOT_FOUND);
    let server = serve(pair.server.handle(), ROOM)?;
    for length in [16, 200] {
        let mut message = text(&payload(TWICE, 0, length))?;
        test.ok("a request that is answered twice", request(pair.client.handle(), &mut message, None, None));
    }
    end(test, pair.client.handle(), server, &[STATUS_MESSAGE_NOT_FOUND; 2])
}

/// What is no port is refused, whatever the thread's last message went through.
fn wrong_handles(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let server = serve(pair.server.handle(), ROOM)?;
    let event = libnt::event::Event::notification(false)?;
    let closed = duplicate(pair.client.handle(), None)?;
    let stale = closed.raw();
    echo(test, stale, 16, 0)?;
    drop(closed);
    let handles = [
        ("of an event", event.handle(), STATUS_OBJECT_TYPE_MISMATCH),
        ("0", Handle::NULL, STATUS_INVALID_HANDLE),
        ("that was closed", stale, STATUS_INVALID_HANDLE),
    ];
    for (what, handle, expected) in handles {
        echo(test, pair.client.handle(), 16, 0)?;
        for _ in 0..2 {
            let mut message = text(&payload(ECHO, 0, 16))?;
            let asked = request(handle, &mut message, None, None);
            test.refused(format_args!("a request on a handle {what}"), asked, expected);
            let answered = reply_and_poll(handle, 5);
            test.refused(format_args!("a reply on a handle {what}"), answered, expected);
            let waited = calls::exchange(
                handle,
                ALPC_MSGFLG_RELEASE_MESSAGE,
                Buffer { words: message.words_mut(), attributes: &mut [] },
                None,
            );
            test.refused(format_args!("a reply and a wait on a handle {what}"), waited, expected);
        }
    }
    end(test, pair.client.handle(), server, &[])
}
