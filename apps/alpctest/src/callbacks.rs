//! Call backs: who holds a request asks its blocked sender something before it answers.

use crate::asking::*;
use crate::pair::*;
use libnt::abi::alpc::*;
use libnt::alpc::{ConnectionPort, Message};
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::thread::{self, JoinHandle};
use libnt::wait;
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("callback/answered", answered);
    test.case("callback/twice", twice);
    test.case("callback/out-of-turn", out_of_turn);
    test.case("callback/answered-without-waiting", answered_without_waiting);
    test.case("callback/nested", nested);
    test.case("callback/given-up", given_up);
    test.case("callback/thread-ends", thread_ends);
    test.case("callback/nobody-waits", nobody_waits);
    test.case("callback/small-buffer", small_buffer);
}

/// A client that asks and deals with the call back in the same thread.
fn client<T: Send + 'static>(
    pair: &Pair,
    work: impl FnOnce(Handle, Message) -> T + Send + 'static,
) -> NtResult<JoinHandle<NtResult<T>>> {
    let port = duplicate(pair.client.handle(), None)?;
    thread::spawn(move || {
        let mut message = text(b"question")?;
        libnt::alpc::request(port.raw(), &mut message, None, Some(LONG))?;
        Ok(work(port.raw(), message))
    })
}

/// Calls back who sent a request; what comes back.
fn call_back(server: &ConnectionPort, header: &PortMessage, payload: &[u8]) -> NtResult<Message> {
    let mut message = naming(header.message_id, header.callback_id, payload)?;
    exchange(server.handle(), 0, &mut message, None)?;
    Ok(message)
}

/// Answers the call back that lies in a buffer, and waits for the answer to the own request.
fn answer_and_wait(port: Handle, call: &Message, payload: &[u8]) -> NtResult<Message> {
    let header = call.header();
    let mut message = naming(header.message_id, header.callback_id, payload)?;
    exchange(port, ALPC_MSGFLG_REPLY_MESSAGE, &mut message, None)?;
    Ok(message)
}

fn answered(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asker = client(&pair, |port, call| {
        let answer = answer_and_wait(port, &call, b"the name");
        (call, answer)
    })?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let back = call_back(&pair.server, &seen.header, b"what name?")?;
    test.equal("the call back's answer", back.payload(), b"the name");
    test.equal("its type", back.header().kind(), LPC_REPLY);
    test.equal("its id is the request's", back.header().message_id, seen.header.message_id);
    test.check("it has a callback id", back.header().callback_id != 0);
    test.equal("its sender", back.header().client_id, seen.header.client_id);
    reply(&pair.server, seen.header.message_id, b"done")?;
    let (call, answer) = asker.join()??;
    let header = call.header();
    test.equal("what the sender got", header.message_type, LPC_REQUEST | LPC_CONTINUATION_REQUIRED);
    test.equal("its id", header.message_id, seen.header.message_id);
    test.equal("its callback id", header.callback_id, back.header().callback_id);
    test.equal("its payload", call.payload(), b"what name?");
    test.equal("its sender", header.client_id, thread::current_id());
    let answer = answer?;
    test.equal("the answer at last", answer.payload(), b"done");
    test.equal("has no callback id", (answer.header().kind(), answer.header().callback_id), (LPC_REPLY, 0));
    Ok(())
}

fn twice(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asker = client(&pair, |port, call| {
        let second = answer_and_wait(port, &call, b"1")?;
        let ids = (call.header().callback_id, second.header().callback_id);
        answer_and_wait(port, &second, b"2").map(|answer| (ids, answer))
    })?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    test.equal("the first", call_back(&pair.server, &seen.header, b"?")?.payload(), b"1");
    test.equal("the second", call_back(&pair.server, &seen.header, b"??")?.payload(), b"2");
    reply(&pair.server, seen.header.message_id, b"done")?;
    let (ids, answer) = asker.join()???;
    test.check("each has its own id", ids.0 != ids.1 && ids.0 != 0 && ids.1 != 0);
    test.equal("the answer", answer.payload(), b"done");
    Ok(())
}

/// While a call back is not answered, its request cannot be answered, and nothing but its ids answers it.
fn out_of_turn(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let server = ConnectionPort::from_handle(duplicate(pair.server.handle(), None)?);
    let asker = client(&pair, move |port, call| {
        let header = call.header();
        let (id, callback) = (header.message_id, header.callback_id);
        let mut statuses = Vec::new();
        // The server's other threads come too early.
        statuses.push(reply(&server, id, b"early"));
        statuses.push(send(server.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut only_naming(id)?));
        statuses.push(exchange(server.handle(), 0, &mut naming(id, 0, b"again")?, Some(&0)).map(drop));
        // The client's answers name something else.
        for (id, callback) in [(id, 0), (id, callback ^ 0x1_0000), (id ^ 0x1_0000, callback), (0, callback)] {
            statuses.push(send(port, ALPC_MSGFLG_REPLY_MESSAGE, &mut naming(id, callback, b"forged")?));
        }
        // The server answers its own call back.
        let mut own = naming(id, callback, b"own")?;
        statuses.push(send(server.handle(), ALPC_MSGFLG_REPLY_MESSAGE, &mut own));
        // Another thread cannot wait in this one's place.
        let elsewhere = duplicate(port, None)?;
        let stolen = thread::spawn(move || {
            let mut message = naming(id, callback, b"stolen")?;
            exchange(elsewhere.raw(), ALPC_MSGFLG_REPLY_MESSAGE, &mut message, None).map(drop)
        })?;
        statuses.push(stolen.join()?);
        answer_and_wait(port, &call, b"right").map(|answer| (statuses, answer))
    })?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    test.equal("the right answer", call_back(&pair.server, &seen.header, b"?")?.payload(), b"right");
    reply(&pair.server, seen.header.message_id, b"done")?;
    let (statuses, answer) = asker.join()???;
    let expected = [
        STATUS_REPLY_MESSAGE_MISMATCH,
        STATUS_REPLY_MESSAGE_MISMATCH,
        STATUS_REPLY_MESSAGE_MISMATCH,
        STATUS_MESSAGE_NOT_FOUND,
        STATUS_MESSAGE_NOT_FOUND,
        STATUS_MESSAGE_NOT_FOUND,
        STATUS_MESSAGE_NOT_FOUND,
        STATUS_MESSAGE_NOT_FOUND,
        STATUS_REPLY_MESSAGE_MISMATCH,
    ];
    test.equal("what is out of turn", statuses, expected.map(Err).to_vec());
    test.equal("the answer", answer.payload(), b"done");
    Ok(())
}

/// Then the request is an asynchronous one.
fn answered_without_waiting(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asker = client(&pair, |port, call| {
        let header = call.header();
        let mut answer = naming(header.message_id, header.callback_id, b"bye")?;
        send(port, ALPC_MSGFLG_REPLY_MESSAGE, &mut answer)
    })?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let id = seen.header.message_id;
    test.equal("the answer", call_back(&pair.server, &seen.header, b"?")?.payload(), b"bye");
    asker.join()???;
    let again = call_back(&pair.server, &seen.header, b"?").map(drop);
    test.refused("calling back again", again, STATUS_REPLY_MESSAGE_MISMATCH);
    reply(&pair.server, id, b"later")?;
    let late = poll_port(&pair.client)?;
    let what = late.map(|seen| (seen.header.kind(), seen.header.message_id, seen.payload));
    test.equal("the answer is queued", what, Some((LPC_REPLY, id, b"later".to_vec())));
    Ok(())
}

/// The client calls the server's thread back before it answers.
fn nested(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asker = client(&pair, |port, call| {
        let header = call.header();
        let mut inner = naming(header.message_id, header.callback_id, b"which?")?;
        exchange(port, 0, &mut inner, None)?;
        answer_and_wait(port, &call, inner.payload()).map(|answer| (inner, answer))
    })?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let inner = call_back(&pair.server, &seen.header, b"name?")?;
    test.equal("the server's thread is called back", inner.payload(), b"which?");
    test.equal("of the same request", inner.header().message_id, seen.header.message_id);
    let outer = answer_and_wait(pair.server.handle(), &inner, b"that one")?;
    test.equal("its own call back is answered", outer.payload(), b"that one");
    test.check("they are two", outer.header().callback_id != inner.header().callback_id);
    reply(&pair.server, seen.header.message_id, b"done")?;
    let (_, answer) = asker.join()???;
    test.equal("the answer", answer.payload(), b"done");
    Ok(())
}

/// The server does not wait for the answer to its call back.
fn given_up(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let gave_up = Event::notification(false)?;
    let waits = duplicate(gave_up.handle(), None)?;
    let asker = client(&pair, move |port, call| {
        wait::one(waits.raw(), Some(LONG))?;
        let header = call.header();
        let mut late = naming(header.message_id, header.callback_id, b"late")?;
        let late = send(port, ALPC_MSGFLG_REPLY_MESSAGE, &mut late);
        NtResult::Ok((late, call))
    })?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let mut call = naming(seen.header.message_id, 0, b"quick?")?;
    let status = exchange(pair.server.handle(), 0, &mut call, Some(&-1))?;
    test.equal("giving up", status, STATUS_TIMEOUT);
    gave_up.set()?;
    let (late, call) = asker.join()???;
    test.refused("the late answer", late, STATUS_MESSAGE_NOT_FOUND);
    test.equal("the call back", call.payload(), b"quick?");
    reply(&pair.server, seen.header.message_id, b"done")?;
    test.equal("the answer is queued", poll_port(&pair.client)?.map(|s| s.payload), Some(b"done".to_vec()));
    Ok(())
}

fn thread_ends(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asker = client(&pair, |_, _| ())?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let lost = call_back(&pair.server, &seen.header, b"still there?").map(drop);
    test.refused("the call back", lost, STATUS_LPC_REPLY_LOST);
    asker.join()??;
    let late = reply(&pair.server, seen.header.message_id, b"late");
    test.refused("its request is gone", late, STATUS_MESSAGE_NOT_FOUND);
    Ok(())
}

fn nobody_waits(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    pair.client.send_request(&mut text(b"no hurry")?, 0)?;
    let seen = expect(&pair.server, LPC_DATAGRAM)?;
    let back = call_back(&pair.server, &seen.header, b"?").map(drop);
    test.refused("an asynchronous request", back, STATUS_REPLY_MESSAGE_MISMATCH);
    let forged = PortMessage { message_id: 0x1234_5678, ..PortMessage::default() };
    let back = call_back(&pair.server, &forged, b"?").map(drop);
    test.refused("an unknown request", back, STATUS_MESSAGE_NOT_FOUND);
    let mut answer = naming(seen.header.message_id, 0, b"?")?;
    let waits = exchange(pair.server.handle(), ALPC_MSGFLG_REPLY_MESSAGE, &mut answer, None);
    test.refused("answering what is no call back and waiting", waits, STATUS_REPLY_MESSAGE_MISMATCH);
    let object = pair.server.create_object(3, 7, 1)?;
    let asker = ask(object.raw(), b"question")?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let back = call_back(&pair.server, &seen.header, b"?").map(drop);
    test.refused("on a server object", back, STATUS_LPC_INVALID_CONNECTION_USAGE);
    reply(&pair.server, seen.header.message_id, b"done")?;
    asker.join()?.0
}

/// A call back that does not fit is to be received on the port.
fn small_buffer(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let port = duplicate(pair.client.handle(), None)?;
    let asker = thread::spawn(move || {
        let mut message = Message::new(8);
        message.set_payload(b"question")?;
        libnt::alpc::request(port.raw(), &mut message, None, Some(LONG))
    })?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let server = ConnectionPort::from_handle(duplicate(pair.server.handle(), None)?);
    let header = seen.header;
    let caller = thread::spawn(move || call_back(&server, &header, b"a call back of many bytes"))?;
    test.refused("the sender", asker.join()?, STATUS_BUFFER_TOO_SMALL);
    let Some(call) = poll_port(&pair.client)? else {
        test.fail("the call back is not there");
        return Ok(());
    };
    test.equal("the call back", call.payload.as_slice(), b"a call back of many bytes");
    test.equal("its id", call.header.message_id, seen.header.message_id);
    let mut answer = naming(call.header.message_id, call.header.callback_id, b"here")?;
    send(pair.client.handle(), ALPC_MSGFLG_REPLY_MESSAGE, &mut answer)?;
    test.equal("its answer", caller.join()??.payload(), b"here");
    Ok(())
}
