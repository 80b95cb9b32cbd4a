//! Messages: datagrams, requests and replies, buffers, lengths, time-outs, waiting, full queues.

use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::calls::{self, Buffer};
use libnt::{thread, wait};
use testkit::{Test, record};

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("message/datagrams", datagrams);
    test.case("message/each-connection-apart", each_connection_apart);
    test.case("message/requests", requests);
    test.case("message/both-directions", both_directions);
    test.case("message/wrong-replies", wrong_replies);
    test.case("message/wrong-sends", wrong_sends);
    test.case("message/time-outs", time_outs);
    test.case("message/small-buffers", small_buffers);
    test.case("message/lengths", lengths);
    test.case("message/waiting", waiting);
    test.case("message/full-queue", full_queue);
}

fn datagrams(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let mut ids = Vec::new();
    let mut sequences = Vec::new();
    for number in 0..3u8 {
        pair.client.datagram(&mut text(&[number; 10])?, None)?;
    }
    for number in 0..3u8 {
        let seen = expect(&pair.server, LPC_DATAGRAM)?;
        test.equal("a datagram's type", seen.header.message_type, LPC_DATAGRAM);
        test.equal("a datagram's payload", seen.payload, vec![number; 10]);
        test.equal("a datagram's sender", seen.header.client_id, thread::current_id());
        let context = seen.attributes.context().unwrap_or_default();
        test.equal("the port context", context.port_context, CONTEXT);
        test.equal("the id in the context", context.message_id, seen.header.message_id);
        ids.push(seen.header.message_id);
        sequences.push(context.sequence);
    }
    test.check("datagrams have different ids", ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    test.check("the sequence grows", sequences.windows(2).all(|two| two[1] == two[0] + 1));
    pair.accepted.datagram(&mut text(b"down")?, None)?;
    let down = poll_port(&pair.client)?;
    test.equal("a datagram of the server", down.map(|seen| seen.payload), Some(b"down".to_vec()));
    Ok(())
}

fn each_connection_apart(test: &mut Test) -> NtResult {
    let one = Pair::new()?;
    let (accepted, client) = connect(&one.server, 2)?;
    client.datagram(&mut text(b"two")?, None)?;
    one.client.datagram(&mut text(b"one")?, None)?;
    test.equal("the first's", poll_port(&one.accepted)?.map(|s| s.payload), Some(b"one".to_vec()));
    test.check("no more of the first", poll_port(&one.accepted)?.is_none());
    let second = poll_port(&accepted)?;
    test.equal("the second's", second.as_ref().map(|s| s.payload.as_slice()), Some(b"two".as_slice()));
    let context = second.and_then(|seen| seen.attributes.context()).unwrap_or_default();
    test.equal("the second's context", context.port_context, 2);
    Ok(())
}

/// Makes a request in a thread of its own.
fn request_in_thread(
    port: Handle,
    payload: &'static [u8],
    timeout: Option<Duration>,
) -> NtResult<thread::JoinHandle<NtResult<Message>>> {
    let port = duplicate(port, None)?;
    thread::spawn(move || {
        let mut message = text(payload)?;
        request(port.raw(), &mut message, None, timeout).map(|()| message)
    })
}

fn requests(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    for through_connection in [false, true] {
        let client = request_in_thread(pair.client.handle(), b"question", Some(LONG))?;
        let seen = expect(&pair.server, LPC_REQUEST)?;
        test.equal("a request's type", seen.header.message_type, LPC_REQUEST | LPC_CONTINUATION_REQUIRED);
        test.equal("a request's payload", seen.payload.as_slice(), b"question");
        let id = seen.header.message_id;
        if through_connection {
            let mut answer = text(b"through the connection")?;
            answer.set_reply_to(id);
            send(&pair.accepted, ALPC_MSGFLG_RELEASE_MESSAGE, &mut answer)?;
        } else {
            reply(&pair.server, id, b"through the port")?;
        }
        let Some(answer) = test.ok("a request", client.join()?) else { continue };
        test.equal("a reply's type", answer.header().kind(), LPC_REPLY);
        test.equal("a reply's id", answer.header().message_id, id);
        test.equal("a reply's sender", answer.header().client_id, thread::current_id());
        let expected: &[u8] =
            if through_connection { b"through the connection" } else { b"through the port" };
        test.equal("a reply's payload", answer.payload(), expected);
        test.refused("a second reply", reply(&pair.server, id, b"again"), STATUS_MESSAGE_NOT_FOUND);
    }
    Ok(())
}

/// Sends through a communication port with flags.
fn send(port: &Port, flags: u32, message: &mut Message) -> NtResult {
    let buffer = Buffer { words: message.words_mut(), attributes: &mut [] };
    calls::send_receive(port.handle(), flags, Some(buffer), None, None).map(drop)
}

/// The server asks its client.
fn both_directions(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asking = request_in_thread(pair.accepted.handle(), b"server asks", Some(LONG))?;
    let mut message = Message::new(ROOM);
    test.check("the question arrives", pair.client.receive(&mut message, None, Some(LONG))?);
    test.equal("the question", message.payload(), b"server asks");
    let id = message.header().message_id;
    let mut answer = text(b"client answers")?;
    answer.set_reply_to(id);
    test.ok("answering as a client", send(&pair.client, ALPC_MSGFLG_RELEASE_MESSAGE, &mut answer));
    if let Some(answer) = test.ok("asking as a server", asking.join()?) {
        test.equal("the client's answer", answer.payload(), b"client answers");
    }
    Ok(())
}

fn wrong_replies(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    test.refused("a reply to nothing", reply(&pair.server, 0x1234_5678, b""), STATUS_MESSAGE_NOT_FOUND);
    test.refused("a reply without an id", reply(&pair.server, 0, b""), STATUS_MESSAGE_NOT_FOUND);
    pair.client.datagram(&mut text(b"x")?, None)?;
    let id = expect(&pair.server, LPC_DATAGRAM)?.header.message_id;
    test.refused("a reply to a datagram", reply(&pair.server, id, b""), STATUS_MESSAGE_NOT_FOUND);
    let (other, _client) = connect(&pair.server, 2)?;
    let client = request_in_thread(pair.client.handle(), b"", Some(LONG))?;
    let id = expect(&pair.server, LPC_REQUEST)?.header.message_id;
    let mut forged = text(b"forged")?;
    forged.set_reply_to(id);
    let through = |port: &Port, message: &mut Message| send(port, ALPC_MSGFLG_RELEASE_MESSAGE, message);
    test.refused(
        "a reply through another connection",
        through(&other, &mut forged),
        STATUS_MESSAGE_NOT_FOUND,
    );
    forged.set_reply_to(id);
    test.refused(
        "a reply of the client to itself",
        through(&pair.client, &mut forged),
        STATUS_MESSAGE_NOT_FOUND,
    );
    reply(&pair.server, id, b"true")?;
    let answer = test.ok("the request all the same", client.join()?);
    test.equal("its answer", answer.map(|a| a.payload().to_vec()), Some(b"true".to_vec()));
    // A reply to a request that is queued, not received: the next id cannot be known, but the last one plus others
    // can be tried.
    let client = request_in_thread(pair.client.handle(), b"", Some(LONG))?;
    wait::one(pair.server.handle(), Some(LONG))?;
    let guesses =
        (0..64u32).map(|step| id.wrapping_add(step << 16)).chain((0..64).map(|step| id.wrapping_add(step)));
    let hits = guesses.filter(|guess| reply(&pair.server, *guess, b"early").is_ok()).count();
    test.equal("replies to a request that nobody has received", hits, 0);
    let id = expect(&pair.server, LPC_REQUEST)?.header.message_id;
    reply(&pair.server, id, b"in time")?;
    test.ok("that request", client.join()?);
    Ok(())
}

fn wrong_sends(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let mut message = text(b"x")?;
    let on_port = |flags: u32, message: &mut Message| {
        let buffer = Buffer { words: message.words_mut(), attributes: &mut [] };
        calls::send_receive(pair.server.handle(), flags, Some(buffer), None, None).map(drop)
    };
    test.refused(
        "a datagram on a connection port",
        on_port(0, &mut message),
        STATUS_LPC_INVALID_CONNECTION_USAGE,
    );
    let without = send(&pair.client, ALPC_MSGFLG_SYNC_REQUEST, &mut message);
    test.refused("a request without a receive buffer", without, STATUS_LPC_RECEIVE_BUFFER_EXPECTED);
    for flags in [1 << 5, 1 << 30] {
        test.check("unknown flags are refused", send(&pair.client, flags, &mut message).is_err());
    }
    let neither = calls::send_receive(pair.client.handle(), 0, None, None, None).map(drop);
    test.check("neither sending nor receiving", neither.is_err());
    test.check("nothing of that arrived", poll(&pair.server)?.is_none());
    Ok(())
}

fn time_outs(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    test.check("an empty port", poll(&pair.server)?.is_none());
    let patience = Some(Duration::from_millis(20));
    let mut message = text(b"slow")?;
    let result = request(pair.client.handle(), &mut message, None, patience);
    test.refused("a request that nobody receives", result, STATUS_TIMEOUT);
    test.check("it is gone", poll(&pair.server)?.is_none());
    let client = request_in_thread(pair.client.handle(), b"slow", Some(Duration::from_millis(50)))?;
    let id = expect(&pair.server, LPC_REQUEST)?.header.message_id;
    test.refused("a request that nobody answers", client.join()?, STATUS_TIMEOUT);
    let late = reply(&pair.server, id, b"late");
    test.check("a late reply", matches!(late, Err(STATUS_MESSAGE_NOT_FOUND | STATUS_REQUEST_CANCELED)));
    let client = request_in_thread(pair.client.handle(), b"next", Some(LONG))?;
    let id = expect(&pair.server, LPC_REQUEST)?.header.message_id;
    reply(&pair.server, id, b"answer")?;
    let answer = test.ok("the next request", client.join()?);
    test.equal("its answer", answer.map(|a| a.payload().to_vec()), Some(b"answer".to_vec()));
    Ok(())
}

/// Receives into a buffer with this room.
fn receive_into(port: &ConnectionPort, room: usize) -> (NtResult<bool>, Message) {
    let mut message = Message::new(room);
    let result = port.receive(&mut message, &mut Attributes::new(), Some(Duration::ZERO));
    (result, message)
}

fn small_buffers(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    pair.client.datagram(&mut text(&[7; 100])?, None)?;
    for room in [0, 8, 96] {
        test.refused(
            "a buffer that is too small",
            receive_into(&pair.server, room).0,
            STATUS_BUFFER_TOO_SMALL,
        );
    }
    let (result, message) = receive_into(&pair.server, 104);
    test.equal("the message stayed", result, Ok(true));
    test.equal("it is whole", message.payload(), [7; 100].as_slice());
    // The client's buffer is too small for the reply.
    let port = duplicate(pair.client.handle(), None)?;
    let client = thread::spawn(move || {
        let mut message = Message::new(8);
        let set = message.set_payload(b"short");
        set.and_then(|()| request(port.raw(), &mut message, None, Some(LONG)))
    })?;
    let id = expect(&pair.server, LPC_REQUEST)?.header.message_id;
    reply(&pair.server, id, &[1; 200])?;
    test.refused("a reply that does not fit", client.join()?, STATUS_BUFFER_TOO_SMALL);
    Ok(())
}

fn lengths(test: &mut Test) -> NtResult {
    let limits = AlpcPortAttributes { max_message_length: 0x28 + 64, ..AlpcPortAttributes::default() };
    let pair = Pair::on(ConnectionPort::create_with(&limits)?)?;
    test.ok("a message as long as allowed", pair.client.datagram(&mut text(&[1; 64])?, None));
    let long = pair.client.datagram(&mut text(&[1; 65])?, None);
    test.refused("a message that is too long", long, STATUS_PORT_MESSAGE_TOO_LONG);
    let largest = Pair::new()?;
    let mut message = Message::new(libnt::proto::MAX_PAYLOAD);
    message.set_length(libnt::proto::MAX_PAYLOAD)?;
    message.room().fill(0x5C);
    test.ok("the largest message", largest.client.datagram(&mut message, None));
    let (result, message) = receive_into(&largest.server, libnt::proto::MAX_PAYLOAD);
    test.equal("it arrives", result, Ok(true));
    test.check(
        "it is whole",
        message.payload().len() == libnt::proto::MAX_PAYLOAD && message.payload().iter().all(|b| *b == 0x5C),
    );
    for (data, total) in [(10, 0x28), (10, 0x33), (0xFFFF, 0xFFFF), (0, 0), (5, 0x27)] {
        let mut lying = text(b"")?;
        lying.set_header(&PortMessage { data_length: data, total_length: total, ..PortMessage::default() });
        let result = largest.client.datagram(&mut lying, None);
        test.check(format_args!("a header with lengths {data} and {total}"), result.is_err());
    }
    test.check("nothing of that arrived", poll(&largest.server)?.is_none());
    Ok(())
}

fn waiting(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let signalled = |handle: Handle| wait::one(handle, Some(Duration::ZERO));
    test.equal("an empty port", signalled(pair.server.handle()), Ok(false));
    pair.client.datagram(&mut text(b"1")?, None)?;
    pair.client.datagram(&mut text(b"2")?, None)?;
    test.equal("a port with messages", signalled(pair.server.handle()), Ok(true));
    poll(&pair.server)?;
    test.equal("with one message left", signalled(pair.server.handle()), Ok(true));
    poll(&pair.server)?;
    test.equal("emptied", signalled(pair.server.handle()), Ok(false));
    pair.accepted.datagram(&mut text(b"3")?, None)?;
    test.equal("a client's port with a message", signalled(pair.client.handle()), Ok(true));
    poll_port(&pair.client)?;
    test.equal("a client's port, emptied", signalled(pair.client.handle()), Ok(false));
    let plain = OwnedHandle::new(calls::create_port(&AlpcPortAttributes::default())?);
    test.refused("a port that cannot be waited on", signalled(plain.raw()), STATUS_OBJECT_TYPE_MISMATCH);
    // A thread that waits is woken.
    let port = duplicate(pair.server.handle(), None)?;
    let waiter = thread::spawn(move || wait::one(port.raw(), Some(LONG)))?;
    libnt::time::sleep(Duration::from_millis(10));
    pair.client.datagram(&mut text(b"4")?, None)?;
    test.equal("a thread that waits for a message", waiter.join()?, Ok(true));
    Ok(())
}

fn full_queue(test: &mut Test) -> NtResult {
    const ENOUGH: u32 = 200_000;
    let pair = Pair::new()?;
    let mut sent = 0u32;
    let refusal = loop {
        let mut message = text(&[0; 256])?;
        message.room()[..4].copy_from_slice(&sent.to_le_bytes());
        match pair.client.datagram(&mut message, None) {
            Ok(()) if sent < ENOUGH => sent += 1,
            Ok(()) => break None,
            Err(status) => break Some(status),
        }
    };
    let expected = matches!(refusal, Some(STATUS_QUOTA_EXCEEDED | STATUS_INSUFFICIENT_RESOURCES));
    test.check(format_args!("a queue that is never emptied: {refusal:?}"), expected);
    test.check("it holds at least a few messages", sent > 16);
    record::quietly(|| -> NtResult {
        for number in 0..sent {
            let payload = poll(&pair.server)?.map(|seen| seen.payload);
            if !test.equal(
                "a message of the full queue",
                payload.as_ref().map(|p| &p[..4]),
                Some(&number.to_le_bytes()[..]),
            ) {
                break;
            }
        }
        Ok(())
    })?;
    test.ok("a message when there is room again", pair.client.datagram(&mut text(b"x")?, None));
    Ok(())
}
