//! Cancelling: by either side, seen or not, by context, all at once.

use crate::asking::*;
use crate::pair::*;
use libnt::abi::alpc::*;
use libnt::prelude::*;
use libnt::sys::alpc_control;
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("cancel/wrong-arguments", wrong_arguments);
    test.case("cancel/try", only_try);
    test.case("cancel/by-the-server", by_the_server);
    test.case("cancel/by-the-client", by_the_client);
    test.case("cancel/not-received", not_received);
    test.case("cancel/asynchronous", asynchronous);
    test.case("cancel/contexts", contexts);
    test.case("cancel/all-of-a-context", all_of_a_context);
    test.case("cancel/strangers", strangers);
}

fn named(message_id: u32) -> AlpcContextAttr {
    AlpcContextAttr { message_id, ..AlpcContextAttr::default() }
}

fn wrong_arguments(test: &mut Test) -> NtResult {
    let bad = Handle(0xDEAC);
    let cancel = alpc_control::cancel_message;
    test.refused("an unknown flag", cancel(bad, 0x10, &named(0)), STATUS_INVALID_PARAMETER);
    test.refused("no message id", cancel(bad, 0, &named(0)), STATUS_MESSAGE_NOT_FOUND);
    test.refused("a bad handle", cancel(bad, 0, &named(1)), STATUS_INVALID_HANDLE);
    let pair = Pair::new()?;
    for port in [pair.server.handle(), pair.accepted.handle(), pair.client.handle()] {
        for id in [1, 0x7FFF_FFFF, 0x8000_0001, u32::MAX] {
            test.refused("an unknown id", cancel(port, 0, &named(id)), STATUS_MESSAGE_NOT_FOUND);
        }
    }
    Ok(())
}

fn only_try(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asker = ask(pair.client.handle(), b"question")?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let context = seen.attributes.context().unwrap_or_default();
    let flags = ALPC_CANCELFLG_TRY_CANCEL;
    let tried = alpc_control::cancel_message(pair.server.handle(), flags, &context)?;
    test.equal("what was received", tried, STATUS_MESSAGE_RETRIEVED);
    reply(&pair.server, seen.header.message_id, b"answer")?;
    let (result, message) = asker.join()?;
    test.ok("the sender that was left alone", result);
    test.equal("its answer", message.payload(), b"answer");
    let mut queued = text(b"unseen")?;
    let id = pair.client.send_request(&mut queued, 0)?;
    let tried = alpc_control::cancel_message(pair.client.handle(), flags, &named(id))?;
    test.equal("what was not received", tried, STATUS_SUCCESS);
    test.check("it is gone", poll(&pair.server)?.is_none());
    Ok(())
}

fn by_the_server(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    for port in [pair.server.handle(), pair.accepted.handle()] {
        let asker = ask(pair.client.handle(), b"question")?;
        let seen = expect(&pair.server, LPC_REQUEST)?;
        let id = seen.header.message_id;
        let context = seen.attributes.context().unwrap_or_default();
        let status = alpc_control::cancel_message(port, 0, &context)?;
        test.equal("the status", status, STATUS_MESSAGE_RETRIEVED);
        let (result, message) = asker.join()?;
        test.ok("the sender", result);
        let header = message.header();
        test.equal("its message's type", header.kind(), LPC_CANCELED);
        test.equal("its message's length", (header.data_length, header.total_length), (0, 0x28));
        test.equal("its message's id", header.message_id, id);
        test.refused("a late answer", reply(&pair.server, id, b"late"), STATUS_MESSAGE_NOT_FOUND);
        let again = alpc_control::cancel_message(port, 0, &context);
        test.refused("cancelling twice", again, STATUS_MESSAGE_NOT_FOUND);
        test.check("the server is told nothing", poll(&pair.server)?.is_none());
    }
    Ok(())
}

fn by_the_client(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asker = ask(pair.client.handle(), b"question")?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let id = seen.header.message_id;
    test.equal("it had been received", pair.client.cancel(id, 0), Ok(true));
    let (result, message) = asker.join()?;
    test.ok("the sender", result);
    test.equal("its message's type", message.header().kind(), LPC_CANCELED);
    let facts = alpc_control::query_port(pair.server.handle())?;
    let notice = expect(&pair.server, LPC_CANCELED)?;
    test.equal("the notice's id", notice.header.message_id, id);
    test.equal("the notice's length", notice.header.data_length, 0);
    test.equal("the notice's sender", notice.header.client_id, seen.header.client_id);
    let context = notice.attributes.context().unwrap_or_default();
    test.equal("the notice's context", context.port_context, CONTEXT);
    test.check("it has its place in the sequence", context.sequence == facts.sequence_no + 1);
    test.refused("answering it", reply(&pair.server, id, b"late"), STATUS_MESSAGE_NOT_FOUND);
    test.check("there is one", poll(&pair.server)?.is_none());
    Ok(())
}

fn not_received(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    pair.client.datagram(&mut text(b"before")?, None)?;
    let id = pair.client.send_request(&mut text(b"unseen")?, 5)?;
    pair.client.datagram(&mut text(b"after")?, None)?;
    test.equal("cancelling it", pair.client.cancel(id, 5), Ok(false));
    test.equal("the one before", expect(&pair.server, LPC_DATAGRAM)?.payload, b"before".to_vec());
    test.equal("the one after", expect(&pair.server, LPC_DATAGRAM)?.payload, b"after".to_vec());
    test.check("nothing else", poll(&pair.server)?.is_none() && poll_port(&pair.client)?.is_none());
    Ok(())
}

fn asynchronous(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let id = pair.client.send_request(&mut text(b"a")?, 9)?;
    let seen = expect(&pair.server, LPC_DATAGRAM)?;
    let context = seen.attributes.context().unwrap_or_default();
    let status = alpc_control::cancel_message(pair.server.handle(), 0, &context)?;
    test.equal("the server's status", status, STATUS_MESSAGE_RETRIEVED);
    let told = poll_port(&pair.client)?;
    let header = told.as_ref().map(|seen| (seen.header.kind(), seen.header.message_id));
    test.equal("the client is told", header, Some((LPC_CANCELED, id)));
    let context = told.and_then(|seen| seen.attributes.context()).unwrap_or_default();
    test.equal("with its context", context.message_context, 9);
    let id = pair.client.send_request(&mut text(b"b")?, 9)?;
    expect(&pair.server, LPC_DATAGRAM)?;
    test.equal("the client cancels", pair.client.cancel(id, 9), Ok(true));
    test.equal("the server is told", expect(&pair.server, LPC_CANCELED)?.header.message_id, id);
    test.check("the client is not", poll_port(&pair.client)?.is_none());
    Ok(())
}

fn contexts(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let asker = ask(pair.client.handle(), b"question")?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let right = seen.attributes.context().unwrap_or_default();
    let wrong = AlpcContextAttr { message_context: right.message_context ^ 1, ..right };
    for flags in [0, ALPC_CANCELFLG_NO_CONTEXT_CHECK, ALPC_CANCELFLG_TRY_CANCEL] {
        let status = alpc_control::cancel_message(pair.accepted.handle(), flags, &wrong);
        test.refused("another context", status, STATUS_CONTEXT_MISMATCH);
    }
    let status = alpc_control::cancel_message(pair.accepted.handle(), 0, &right)?;
    test.equal("the right one", status, STATUS_MESSAGE_RETRIEVED);
    test.equal("the sender", asker.join()?.1.header().kind(), LPC_CANCELED);
    // On a server object the receiver knows it by access and type.
    let object = pair.server.create_object(3, 7, 1)?;
    let asker = ask(object.raw(), b"question")?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let context = seen.attributes.context().unwrap_or_default();
    test.equal("an object's context", context.message_context, 7 << 32 | 1);
    let status = alpc_control::cancel_message(pair.server.handle(), 0, &context)?;
    test.equal("cancelling what came on an object", status, STATUS_MESSAGE_RETRIEVED);
    test.equal("its sender", asker.join()?.1.header().kind(), LPC_CANCELED);
    Ok(())
}

fn all_of_a_context(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let mut ids = Vec::new();
    for context in [7, 8, 7, 7] {
        ids.push(pair.client.send_request(&mut text(b"one of four")?, context)?);
    }
    expect(&pair.server, LPC_DATAGRAM)?;
    let all = AlpcContextAttr { message_context: 7, ..AlpcContextAttr::default() };
    let flush =
        |all: &AlpcContextAttr| alpc_control::cancel_message(pair.client.handle(), ALPC_CANCELFLG_FLUSH, all);
    test.equal("one was received", flush(&all), Ok(STATUS_MESSAGE_RETRIEVED));
    test.equal("its notice", expect(&pair.server, LPC_CANCELED)?.header.message_id, ids[0]);
    let left = expect(&pair.server, LPC_DATAGRAM)?;
    test.equal("the other context's is left", left.header.message_id, ids[1]);
    test.check("nothing else", poll(&pair.server)?.is_none());
    test.refused("none is left", flush(&all), STATUS_MESSAGE_NOT_FOUND);
    Ok(())
}

fn strangers(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let (other_server, other_client) = connect(&pair.server, 2)?;
    let id = pair.client.send_request(&mut text(b"mine")?, 0)?;
    for port in [other_server.handle(), other_client.handle()] {
        let status = alpc_control::cancel_message(port, 0, &named(id));
        test.refused("of another connection", status, STATUS_MESSAGE_NOT_FOUND);
    }
    let later = connect_async(&pair.server, &AlpcPortAttributes::default(), b"")?;
    expect(&pair.server, LPC_DATAGRAM)?;
    let request = expect(&pair.server, LPC_CONNECTION_REQUEST)?;
    let connecting = request.header.message_id;
    for port in [pair.server.handle(), later.handle()] {
        let status = alpc_control::cancel_message(port, 0, &named(connecting));
        test.refused("a connection request", status, STATUS_MESSAGE_NOT_FOUND);
    }
    refuse(&pair.server, &request)
}
