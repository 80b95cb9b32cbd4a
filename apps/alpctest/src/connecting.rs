//! Connecting: asynchronous and synchronous, accepted, refused, given up.

use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::ob::{PORT_ALL_ACCESS, PORT_CONNECT, SYNCHRONIZE};
use libnt::alpc::{Connect, ConnectionPort, Message, Port};
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::calls;
use libnt::{process, thread};
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("connect/accepted-later", accepted_later);
    test.case("connect/refused-later", refused_later);
    test.case("connect/accepted-blocking", accepted_at_once);
    test.case("connect/refused-blocking", refused_at_once);
    test.case("connect/client-gives-up", client_gives_up);
    test.case("connect/server-goes-away", server_goes_away);
    test.case("connect/time-out", time_passes);
    test.case("connect/wrong-handles", wrong_handles);
}

fn accepted_later(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let client = connect_async(&server, &AlpcPortAttributes::default(), b"let me in")?;
    test.check("nothing is there before the answer", poll_port(&client)?.is_none());
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    let me = thread::current_id();
    test.equal("the request's type", request.header.message_type, LPC_CONNECTION_REQUEST);
    test.equal("the request's sender", request.header.client_id, me);
    test.equal("the request's payload", request.payload.as_slice(), b"let me in");
    test.equal("the request's length", request.header.total_length, 0x28 + 9);
    test.check("the request has an id", request.header.message_id != 0);
    let _accepted = accept(&server, &request, CONTEXT, b"come in")?;
    let Some(answer) = poll_port(&client)? else {
        test.fail("no answer arrived");
        return Ok(());
    };
    test.equal("the answer's type", answer.header.kind(), LPC_CONNECTION_REPLY);
    test.equal("the answer's id", answer.header.message_id, request.header.message_id);
    test.equal("the answer's payload", answer.payload.as_slice(), b"come in");
    test.equal("the answer's sender", answer.header.client_id.unique_process, me.unique_process);
    test.refused("accepting twice", accept(&server, &request, 0, b""), STATUS_INVALID_MESSAGE);
    Ok(())
}

fn refused_later(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let client = connect_async(&server, &AlpcPortAttributes::default(), b"")?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    refuse(&server, &request)?;
    test.refused("receiving when refused", poll_port(&client), STATUS_PORT_CONNECTION_REFUSED);
    test.refused(
        "sending when refused",
        client.datagram(&mut text(b"x")?, None),
        STATUS_PORT_CONNECTION_REFUSED,
    );
    test.refused("refusing twice", refuse(&server, &request), STATUS_INVALID_MESSAGE);
    Ok(())
}

/// Connects synchronously in a thread; its outcome and the message buffer.
fn connect_in_thread(
    server: &ConnectionPort,
    timeout: Option<Duration>,
) -> NtResult<thread::JoinHandle<(NtResult<Port>, Message)>> {
    let port = duplicate(server.handle(), Some(PORT_CONNECT))?;
    thread::spawn(move || {
        let mut message = Message::new(ROOM);
        let set = message.set_payload(b"request");
        let options = Connect { timeout, ..Connect::default() };
        let result = set.and_then(|()| Port::connect_to(port.raw(), &options, Some(&mut message)));
        (result, message)
    })
}

fn accepted_at_once(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let client = connect_in_thread(&server, Some(LONG))?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    test.equal(
        "a blocked client's request",
        request.header.message_type,
        LPC_CONNECTION_REQUEST | LPC_CONTINUATION_REQUIRED,
    );
    let _accepted = accept(&server, &request, CONTEXT, b"welcome, client")?;
    let (result, message) = client.join()?;
    test.ok("connecting and waiting", result);
    test.equal("the answer's type", message.header().kind(), LPC_CONNECTION_REPLY);
    test.equal("the answer's payload", message.payload(), b"welcome, client");
    test.equal("the answer's sender", message.header().client_id.unique_process, process::current_id());
    Ok(())
}

fn refused_at_once(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let client = connect_in_thread(&server, Some(LONG))?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    refuse(&server, &request)?;
    let (result, message) = client.join()?;
    test.refused("connecting when refused", result, STATUS_PORT_CONNECTION_REFUSED);
    test.equal("the buffer of a refused client", message.payload(), b"request");
    Ok(())
}

fn client_gives_up(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let client = connect_async(&server, &AlpcPortAttributes::default(), b"")?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    drop(client);
    test.refused("accepting who is gone", accept(&server, &request, 0, b""), STATUS_REQUEST_CANCELED);
    test.refused("accepting it again", accept(&server, &request, 0, b""), STATUS_INVALID_MESSAGE);
    drop(connect_async(&server, &AlpcPortAttributes::default(), b"")?);
    test.check("a request taken back before it was seen", poll(&server)?.is_none());
    Ok(())
}

fn server_goes_away(test: &mut Test) -> NtResult {
    for seen in [false, true] {
        let server = ConnectionPort::create()?;
        let client = connect_async(&server, &AlpcPortAttributes::default(), b"payload")?;
        let id = if seen { Some(expect(&server, LPC_CONNECTION_REQUEST)?.header.message_id) } else { None };
        drop(server);
        match poll_port(&client)? {
            Some(notice) => {
                test.equal("the cancelled request's type", notice.header.kind(), LPC_CANCELED);
                test.equal("the cancelled request's length", notice.header.data_length, 0);
                if let Some(id) = id {
                    test.equal("the cancelled request's id", notice.header.message_id, id);
                }
            }
            None => test.fail("no notice of the cancelled request"),
        }
        test.refused("receiving after that", poll_port(&client), STATUS_UNSUCCESSFUL);
    }
    let server = ConnectionPort::create()?;
    let client = connect_in_thread(&server, Some(LONG))?;
    expect(&server, LPC_CONNECTION_REQUEST)?;
    drop(server);
    test.refused("waiting when the server goes", client.join()?.0, STATUS_PORT_CONNECTION_REFUSED);
    Ok(())
}

fn time_passes(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let client = connect_in_thread(&server, Some(Duration::from_millis(30)))?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    test.refused("connecting with a time-out", client.join()?.0, STATUS_TIMEOUT);
    let late = accept(&server, &request, 0, b"").map(drop);
    test.check(
        "accepting after the time-out",
        matches!(late, Err(STATUS_REQUEST_CANCELED | STATUS_INVALID_MESSAGE)),
    );
    Ok(())
}

fn wrong_handles(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let event = Event::notification(false)?;
    let attributes = AlpcPortAttributes::default();
    let try_connect =
        |handle: Handle| calls::connect_port(handle, Some(&attributes), 0, None, None).map(drop);
    test.refused("connecting to an event", try_connect(event.handle()), STATUS_OBJECT_TYPE_MISMATCH);
    test.refused("connecting to nothing", try_connect(Handle(0x7FF0)), STATUS_INVALID_HANDLE);
    test.refused(
        "connecting to a connection",
        try_connect(pair.accepted.handle()),
        STATUS_INVALID_PORT_HANDLE,
    );
    let blind = duplicate(pair.server.handle(), Some(SYNCHRONIZE))?;
    test.refused("connecting without PORT_CONNECT", try_connect(blind.raw()), STATUS_ACCESS_DENIED);
    let narrow = Port::from_handle(duplicate(pair.server.handle(), Some(PORT_CONNECT))?);
    test.refused("receiving with PORT_CONNECT only", poll_port(&narrow), STATUS_ACCESS_DENIED);
    let wide = duplicate(narrow.handle(), Some(PORT_ALL_ACCESS));
    test.refused("widening it again", wide, STATUS_ACCESS_DENIED);
    let mut forged = text(b"")?;
    forged.set_reply_to(0x00AB_CDEF);
    test.refused("accepting a forged request", pair.server.accept(&forged, 0), STATUS_INVALID_MESSAGE);
    let accepted = calls::accept_port(pair.accepted.handle(), None, 0, forged.words(), true).map(drop);
    test.refused("accepting on a connection", accepted, STATUS_INVALID_PORT_HANDLE);
    Ok(())
}
