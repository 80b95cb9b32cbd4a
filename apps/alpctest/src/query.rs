//! Queries of ports and messages, disconnecting without a flush, answers to connections with attributes.

use crate::asking::*;
use crate::pair::*;
use libnt::abi::alpc::*;
use libnt::abi::arg::{In, InOut};
use libnt::alpc::Attributes;
use libnt::event::Event;
use libnt::prelude::*;
use libnt::sys::{self, alpc_control, calls};
use libnt::{process, thread, wait};
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("query/blocking-server", blocking_server);
    test.case("query/server-session", server_session);
    test.case("query/classes", classes);
    test.case("query/message", message);
    test.case("query/set-classes", set_classes);
    test.case("end/no-flush", no_flush);
    test.case("connect/attributes", connect_attributes);
}

fn blocking_server(test: &mut Test) -> NtResult {
    let name = "\\BaseNamedObjects\\alpctest-blocking";
    let pair = Pair::on(libnt::alpc::ConnectionPort::create_named(name)?)?;
    let asker = ask(pair.client.handle(), b"question")?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    let found = loop {
        // The sender may be on its way into its wait.
        match alpc_control::query_blocking_server(asker.handle())? {
            Some(found) => break found,
            None => thread::yield_now(),
        }
    };
    test.equal("the server's process", found.process, process::current_id());
    test.equal("the port's name", found.port_name.as_str(), name);
    reply(&pair.server, seen.header.message_id, b"answer")?;
    asker.join()?.0?;
    let me = alpc_control::query_blocking_server(Handle::CURRENT_THREAD)?;
    test.equal("a thread that runs", me, None);
    let bad = alpc_control::query_blocking_server(pair.client.handle());
    test.refused("no thread", bad, STATUS_OBJECT_TYPE_MISMATCH);
    test.refused("no handle", alpc_control::query_blocking_server(Handle(0x7FF0)), STATUS_INVALID_HANDLE);
    Ok(())
}

fn server_session(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let expected = AlpcServerSessionInformation { session_id: 0, process_id: process::current_id() as u32 };
    test.equal("a client's server", alpc_control::query_server_session(pair.client.handle()), Ok(expected));
    for port in [pair.server.handle(), pair.accepted.handle()] {
        let status = alpc_control::query_server_session(port);
        test.refused("of a server's port", status, STATUS_INVALID_PORT_HANDLE);
    }
    Ok(())
}

fn classes(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let mut buffer = [0u64; 8];
    let at = InOut::at(buffer.as_mut_ptr() as u64);
    let mut returned = 0u32;
    let mut query = |class: u32, length: u32| {
        // SAFETY: the buffer is larger than any length here, and `returned` is ours.
        unsafe {
            sys::NtAlpcQueryInformation(
                pair.client.handle().into(),
                class,
                at,
                length,
                (&mut returned).into(),
            )
        }
    };
    test.equal("basic", query(ALPC_BASIC_INFORMATION, 0x10), STATUS_SUCCESS);
    for length in [0, 0xF, 0x11] {
        test.equal("a wrong length", query(ALPC_BASIC_INFORMATION, length), STATUS_INFO_LENGTH_MISMATCH);
    }
    test.equal("a wrong length", query(ALPC_SERVER_INFORMATION, 0x1F), STATUS_INFO_LENGTH_MISMATCH);
    test.equal("a wrong length", query(ALPC_SERVER_SESSION_INFORMATION, 4), STATUS_INFO_LENGTH_MISMATCH);
    for class in [ALPC_PORT_INFORMATION, ALPC_MESSAGE_ZONE_INFORMATION, 9, 13, 0x7777, u32::MAX] {
        test.equal("a class that is not asked for", query(class, 0x10), STATUS_INVALID_INFO_CLASS);
    }
    test.equal("the length", returned, 0x10);
    Ok(())
}

fn query_message(port: Handle, header: &PortMessage, class: u32) -> NtStatus {
    match libnt::sys::security::query_message(port, header, class, &mut [0; 128]) {
        Ok(_) => STATUS_SUCCESS,
        Err(status) => status,
    }
}

fn message(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let forged = PortMessage { message_id: 0x1234_5678, ..PortMessage::default() };
    for class in 0..4 {
        let status = query_message(pair.server.handle(), &forged, class);
        test.equal("no such message", status, STATUS_MESSAGE_NOT_FOUND);
    }
    pair.client.send_request(&mut text(b"held")?, 0)?;
    let seen = expect(&pair.server, LPC_DATAGRAM)?;
    for class in [4, 0x7777, u32::MAX] {
        let status = query_message(pair.server.handle(), &seen.header, class);
        test.equal("an unknown class", status, STATUS_INVALID_INFO_CLASS);
    }
    let stranger = query_message(pair.client.handle(), &seen.header, 0);
    test.equal("by its sender", stranger, STATUS_MESSAGE_NOT_FOUND);
    Ok(())
}

fn set_classes(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let set = |class: u32, length: u32| {
        let zeros = [0u64; 16];
        // SAFETY: the buffer is only read and larger than any length here.
        unsafe {
            let at = In::at(zeros.as_ptr() as u64);
            sys::NtAlpcSetInformation(pair.client.handle().into(), class, at, length)
        }
    };
    for class in
        [ALPC_BASIC_INFORMATION, ALPC_CONNECTED_SID_INFORMATION, ALPC_SERVER_INFORMATION, 9, 13, u32::MAX]
    {
        test.equal("a class that is not set", set(class, 8), STATUS_INVALID_INFO_CLASS);
    }
    for length in [0, 0x47, 0x49] {
        test.equal("a wrong length", set(ALPC_PORT_INFORMATION, length), STATUS_INFO_LENGTH_MISMATCH);
    }
    test.equal("a wrong length", set(ALPC_WAIT_FOR_PORT_REFERENCES, 4), STATUS_INFO_LENGTH_MISMATCH);
    Ok(())
}

fn no_flush(test: &mut Test) -> NtResult {
    for no_flush in [false, true] {
        let pair = Pair::new()?;
        pair.client.datagram(&mut text(b"before the end")?, None)?;
        let asker = ask(pair.client.handle(), b"question")?;
        let flags = if no_flush { ALPC_DISCONNECT_NO_FLUSH } else { 0 };
        alpc_control::disconnect_port(pair.accepted.handle(), flags)?;
        let ended = asker.join()?.0;
        test.refused("the blocked sender", ended, STATUS_PORT_DISCONNECTED);
        let left = poll(&pair.server)?.map(|seen| seen.payload);
        test.equal("what the client had sent", left.is_some(), no_flush);
        test.check("the request is gone", poll(&pair.server)?.is_none());
        let unknown = alpc_control::disconnect_port(pair.client.handle(), 2);
        test.refused("an unknown flag", unknown, STATUS_INVALID_PARAMETER);
    }
    Ok(())
}

/// A handle with the acceptance of a connection.
fn connect_attributes(test: &mut Test) -> NtResult {
    let server = libnt::alpc::ConnectionPort::create()?;
    let attributes = AlpcPortAttributes { flags: ALPC_PORFLG_ALLOW_DUP_OBJECT, ..Default::default() };
    let client = connect_async(&server, &attributes, b"let me in")?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    let event = Event::notification(false)?;
    let mut answer = text(b"take this")?;
    answer.set_reply_to(request.header.message_id);
    let mut passing = Attributes::passing(event.handle(), None);
    let accepted = calls::accept_port_with(
        server.handle(),
        Some(&attributes),
        CONTEXT,
        answer.words(),
        passing.words_mut(),
    )?;
    let _accepted = OwnedHandle::new(accepted);
    let mut seen = poll_port(&client)?.ok_or(STATUS_INVALID_MESSAGE)?;
    test.equal(
        "the answer",
        (seen.header.kind(), seen.payload.as_slice()),
        (LPC_CONNECTION_REPLY, b"take this".as_slice()),
    );
    let Some(handle) = seen.attributes.take_handle() else {
        test.fail("no handle came with the answer");
        return Ok(());
    };
    Event::from_handle(handle).set()?;
    let set = wait::one(event.handle(), Some(core::time::Duration::ZERO));
    test.ok("it is the event", set.map(drop));
    // Attributes that were received can be given back as they are.
    let client = connect_async(&server, &attributes, b"again")?;
    let mut request = expect(&server, LPC_CONNECTION_REQUEST)?;
    let mut answer = text(b"")?;
    answer.set_reply_to(request.header.message_id);
    let valid = request.attributes.valid();
    let words = request.attributes.words_mut();
    let accepted = calls::accept_port_with(server.handle(), Some(&attributes), 0, answer.words(), words)?;
    let _accepted = OwnedHandle::new(accepted);
    test.equal("they are not changed", request.attributes.valid(), valid);
    test.check("the client is connected", poll_port(&client)?.is_some());
    Ok(())
}
