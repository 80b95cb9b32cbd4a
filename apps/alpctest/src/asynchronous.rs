//! Requests that nobody waits for: answered later, released, tracked.

use crate::asking::*;
use crate::pair::*;
use libnt::abi::alpc::*;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::alpc_control;
use libnt::thread;
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("async/answered", answered);
    test.case("async/of-the-server", of_the_server);
    test.case("async/released", released);
    test.case("async/sender-released", sender_released);
    test.case("async/receiver-ends", receiver_ends);
    test.case("async/goes-with-the-connection", goes_with_the_connection);
    test.case("async/flags", flags);
    test.case("async/references", references);
}

fn answered(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let id = pair.client.send_request(&mut text(b"no hurry")?, 0x77)?;
    let other = pair.client.send_request(&mut text(b"me neither")?, 0x78)?;
    let (first, second) = (expect(&pair.server, LPC_DATAGRAM)?, expect(&pair.server, LPC_DATAGRAM)?);
    test.equal("the request's type", first.header.message_type, LPC_DATAGRAM | LPC_CONTINUATION_REQUIRED);
    test.equal("the ids", (first.header.message_id, second.header.message_id), (id, other));
    let context = first.attributes.context().unwrap_or_default();
    test.equal("the sender's context is its own", context.message_context, 0);
    reply(&pair.server, other, b"second first")?;
    reply(&pair.server, id, b"answer")?;
    test.refused("answering twice", reply(&pair.server, id, b"again"), STATUS_MESSAGE_NOT_FOUND);
    for (id, context, payload) in [(other, 0x78, b"second first".as_slice()), (id, 0x77, b"answer")] {
        let Some(seen) = poll_port(&pair.client)? else {
            test.fail("the answer is not there");
            return Ok(());
        };
        test.equal("the answer's type", seen.header.message_type, LPC_REPLY);
        test.equal("the answer's id", seen.header.message_id, id);
        test.equal("the answer's payload", seen.payload.as_slice(), payload);
        let back = seen.attributes.context().unwrap_or_default();
        test.equal("the context comes back", back.message_context, context);
    }
    Ok(())
}

fn of_the_server(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let id = pair.accepted.send_request(&mut text(b"client?")?, 3)?;
    let seen = poll_port(&pair.client)?.ok_or(STATUS_INVALID_MESSAGE)?;
    test.equal("what the client gets", (seen.header.kind(), seen.header.message_id), (LPC_DATAGRAM, id));
    send(pair.client.handle(), ALPC_MSGFLG_REPLY_MESSAGE, &mut naming(id, 0, b"here")?)?;
    let answer = expect(&pair.server, LPC_REPLY)?;
    test.equal("the answer", (answer.header.message_id, answer.payload.as_slice()), (id, b"here".as_slice()));
    let context = answer.attributes.context().unwrap_or_default();
    test.equal("its contexts", (context.port_context, context.message_context), (CONTEXT, 3));
    Ok(())
}

fn released(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let id = pair.client.send_request(&mut text(b"no hurry")?, 0)?;
    let release = |id: u32| send(pair.server.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut only_naming(id)?);
    test.refused("before it was received", release(id), STATUS_MESSAGE_NOT_FOUND);
    expect(&pair.server, LPC_DATAGRAM)?;
    test.refused("without its id", release(0), STATUS_MESSAGE_NOT_FOUND);
    let mut mine = only_naming(id)?;
    let wrong = send(pair.client.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut mine);
    test.refused("by its sender", wrong, STATUS_MESSAGE_NOT_FOUND);
    test.ok("giving it back", release(id));
    test.refused("twice", release(id), STATUS_MESSAGE_NOT_FOUND);
    test.check("the sender gets nothing", poll_port(&pair.client)?.is_none());
    let mut nothing = only_naming(id)?;
    let plain = send(pair.server.handle(), 0, &mut nothing);
    test.refused("without the flag it is no message", plain, STATUS_INVALID_PARAMETER);
    Ok(())
}

fn sender_released(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asker = ask(pair.client.handle(), b"question")?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let mut given_back = only_naming(seen.header.message_id)?;
    send(pair.server.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut given_back)?;
    test.refused("the blocked sender", asker.join()?.0, STATUS_LPC_REPLY_LOST);
    Ok(())
}

/// A message is the port's: another thread answers what was received by one that has ended.
fn receiver_ends(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    // In this order, whatever the threads do.
    let later = pair.client.send_request(&mut text(b"no hurry")?, 0)?;
    let asker = ask(pair.client.handle(), b"question")?;
    let port = duplicate(pair.server.handle(), None)?;
    let receiver = thread::spawn(move || -> NtResult<Vec<u32>> {
        let server = libnt::alpc::ConnectionPort::from_handle(port);
        let mut ids = Vec::new();
        while ids.len() < 2 {
            ids.push(receive_within(&server, LONG)?.ok_or(STATUS_IO_TIMEOUT)?.header.message_id);
        }
        Ok(ids)
    })?;
    let ids = receiver.join()??;
    test.check("both were received", ids.contains(&later));
    for id in ids {
        test.ok("another thread answers", reply(&pair.server, id, b"answer"));
    }
    let (asked, message) = asker.join()?;
    test.equal("the blocked sender", (asked, message.payload()), (Ok(()), &b"answer"[..]));
    test.equal("the other one", poll_port(&pair.client)?.map(|seen| seen.payload), Some(b"answer".to_vec()));
    Ok(())
}

fn goes_with_the_connection(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let id = pair.client.send_request(&mut text(b"no hurry")?, 0)?;
    expect(&pair.server, LPC_DATAGRAM)?;
    pair.client.disconnect()?;
    test.refused("answering nobody", reply(&pair.server, id, b"late"), STATUS_MESSAGE_NOT_FOUND);
    Ok(())
}

fn flags(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let client = pair.client.handle();
    for flags in [0x4, 0x8_0000, ALPC_MSGFLG_SYNC_REQUEST | ALPC_MSGFLG_RELEASE_MESSAGE] {
        test.refused("unknown flags", send(client, flags, &mut text(b"x")?), STATUS_INVALID_PARAMETER);
    }
    let lpc = send(client, ALPC_MSGFLG_LPC_MODE, &mut text(b"x")?);
    test.refused("LPC mode", lpc, STATUS_LPC_REQUESTS_NOT_ALLOWED);
    let reply_to_nothing = send(client, ALPC_MSGFLG_REPLY_MESSAGE, &mut text(b"x")?);
    test.refused("a reply to nothing", reply_to_nothing, STATUS_MESSAGE_NOT_FOUND);
    test.check("nothing was sent", poll(&pair.server)?.is_none());
    let attributes = AlpcPortAttributes { flags: ALPC_PORFLG_ALLOW_LPC_REQUESTS, ..Default::default() };
    let open = Pair::on(libnt::alpc::ConnectionPort::create_with(&attributes)?)?;
    send(open.client.handle(), ALPC_MSGFLG_LPC_MODE | ALPC_MSGFLG_RELEASE_MESSAGE, &mut text(b"x")?)?;
    test.equal("LPC mode where it is allowed", expect(&open.server, LPC_DATAGRAM)?.payload, b"x".to_vec());
    Ok(())
}

fn references(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    test.ok("nothing to wait for", alpc_control::wait_for_port_references(pair.client.handle()));
    let tracked = ALPC_MSGFLG_TRACK_PORT_REFERENCES | ALPC_MSGFLG_RELEASE_MESSAGE;
    send(pair.client.handle(), tracked, &mut text(b"one")?)?;
    send(pair.client.handle(), ALPC_MSGFLG_TRACK_PORT_REFERENCES, &mut text(b"two")?)?;
    test.ok("the other side has none", alpc_control::wait_for_port_references(pair.accepted.handle()));
    let port = duplicate(pair.client.handle(), None)?;
    let waits = thread::spawn(move || alpc_control::wait_for_port_references(port.raw()))?;
    expect(&pair.server, LPC_DATAGRAM)?;
    let seen = expect(&pair.server, LPC_DATAGRAM)?;
    let mut given_back = only_naming(seen.header.message_id)?;
    send(pair.server.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut given_back)?;
    test.ok("they are gone", waits.join()?);
    // The connection ends before the message does.
    send(pair.client.handle(), tracked, &mut text(b"three")?)?;
    let port = duplicate(pair.client.handle(), None)?;
    let waits = thread::spawn(move || alpc_control::wait_for_port_references(port.raw()))?;
    pair.accepted.disconnect()?;
    test.ok("the server ends it", waits.join()?);
    Ok(())
}
