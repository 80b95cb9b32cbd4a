//! What goes with a connection request to the server, and with its answer to the client: attributes and payloads of every
//! length.

use crate::holding::*;
use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::arg::{In, InOut};
use libnt::abi::ob::{ObjectAttributes, PORT_CONNECT};
use libnt::alpc::attributes::ALL;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::event::Event;
use libnt::handle::{basic_information, duplicate, same_object};
use libnt::prelude::*;
use libnt::sys::{self, alpc_section, calls};
use libnt::thread;
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("invitation/handle", handle);
    test.case("invitation/several-handles", several_handles);
    test.case("invitation/behalf-token-context", behalf_token_context);
    test.case("invitation/refused-attributes", refused_attributes);
    test.case("invitation/without-a-message", without_a_message);
    test.case("invitation/answer-attributes", answer_attributes);
    test.case("invitation/answer-several-handles", answer_several_handles);
    test.case("invitation/lengths", lengths);
    test.case("invitation/limits", limits);
    test.case("invitation/small-buffers", small_buffers);
}

const ALL_FLAGS: u32 =
    ALPC_PORFLG_ALLOW_DUP_OBJECT | ALPC_PORFLG_ALLOW_MULTIHANDLE_ATTRIBUTE | ALPC_PORFLG_DIRECT_MESSAGE;

/// Attributes of a port with these flags.
fn with_flags(flags: u32) -> AlpcPortAttributes {
    AlpcPortAttributes { flags, ..Default::default() }
}

/// Connects in a thread, with attributes for the server and room for those of the answer; a blocked thread or not.
fn invite(
    server: Handle,
    sync: bool,
    message: Message,
    mut sent: Attributes,
) -> NtResult<thread::JoinHandle<NtResult<(Port, Message, Attributes)>>> {
    let target = duplicate(server, Some(PORT_CONNECT))?;
    thread::spawn(move || {
        let (mut message, mut received) = (message, Attributes::allocating(ALL));
        let flags = if sync { ALPC_MSGFLG_SYNC_CONNECTION } else { 0 };
        let client = alpc_section::connect_port_with(
            target.raw(),
            &with_flags(ALL_FLAGS),
            flags,
            message.words_mut(),
            Some(sent.words_mut()),
            Some(received.words_mut()),
        )?;
        Ok((Port::from_handle(OwnedHandle::new(client)), message, received))
    })
}

/// The request, with room for every attribute.
fn request(server: &ConnectionPort) -> NtResult<Got> {
    get(server.handle(), LONG)?
        .filter(|got| got.header.kind() == LPC_CONNECTION_REQUEST)
        .ok_or(STATUS_IO_TIMEOUT)
}

/// Accepts with attributes.
fn admit(server: &ConnectionPort, id: u32, payload: &[u8], attributes: &mut Attributes) -> NtResult<Port> {
    let mut message = text(payload)?;
    message.set_reply_to(id);
    let port = with_flags(ALL_FLAGS);
    let (words, sent) = (message.words(), attributes.words_mut());
    let handle = alpc_section::accept_port_with(server.handle(), &port, CONTEXT, words, sent)?;
    Ok(Port::from_handle(OwnedHandle::new(handle)))
}

fn handles_of(handle: Handle) -> NtResult<u32> {
    basic_information(handle).map(|information| information.handle_count)
}

fn handle(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create_with(&with_flags(ALL_FLAGS))?;
    let event = Event::notification(false)?;
    for sync in [false, true] {
        let client =
            invite(server.handle(), sync, text(b"take this")?, Attributes::passing(event.handle(), None))?;
        let mut got = request(&server)?;
        let received = got.attributes.take_handle().ok_or(STATUS_INVALID_HANDLE)?;
        test.check("the server gets the handle", same_object(received.raw(), event.handle()));
        let accepted = admit(&server, got.header.message_id, b"", &mut Attributes::new())?;
        test.ok("and the client is in", client.join()?.map(drop));
        drop((received, accepted));
        // Refused: the handle is closed on its way.
        let client =
            invite(server.handle(), sync, text(b"take this")?, Attributes::passing(event.handle(), None))?;
        // A receiver without room for the attribute.
        let mut message = Message::new(ROOM);
        let there = server.receive(&mut message, &mut Attributes::allocating(0), Some(LONG));
        test.equal("a receiver without room for it", there, Ok(true));
        message.set_reply_to(message.header().message_id);
        server.refuse(&message)?;
        let refused = client.join()?.map(drop);
        test.equal("a refused one", refused, if sync { Err(STATUS_PORT_CONNECTION_REFUSED) } else { Ok(()) });
        while poll(&server)?.is_some() {}
    }
    let client = invite(server.handle(), false, text(b"")?, Attributes::passing(event.handle(), None))?;
    drop(client.join()??);
    test.equal("nothing is left", (poll(&server)?.is_none(), handles_of(event.handle())?), (true, 1));
    // A port that takes no handles.
    let closed = OwnedHandle::new(calls::create_port(&with_flags(0))?);
    let client = invite(closed.raw(), true, text(b"")?, Attributes::passing(event.handle(), None))?;
    test.refused("a port without ALLOW_DUP_OBJECT", client.join()?.map(drop), STATUS_ACCESS_DENIED);
    let types = AlpcPortAttributes { dup_object_types: 0x80, ..with_flags(ALL_FLAGS) };
    let server = ConnectionPort::create_with(&types)?;
    let client = invite(server.handle(), true, text(b"")?, Attributes::passing(event.handle(), None))?;
    test.refused("a type that it does not take", client.join()?.map(drop), STATUS_ACCESS_DENIED);
    test.check("it is not asked", poll(&server)?.is_none());
    Ok(())
}

fn two(events: &[Event; 2]) -> Attributes {
    let entry = |event: &Event| AlpcHandleAttr32 {
        flags: ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS,
        handle: event.handle().0 as u32,
        ..Default::default()
    };
    Attributes::passing_several(events.iter().map(entry).collect())
}

fn several_handles(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create_with(&with_flags(ALL_FLAGS))?;
    let events = [Event::notification(false)?, Event::notification(false)?];
    for sync in [false, true] {
        let client = invite(server.handle(), sync, text(b"")?, two(&events))?;
        let mut got = request(&server)?;
        let first = got.attributes.take_handle().ok_or(STATUS_INVALID_HANDLE)?;
        test.check("the first", same_object(first.raw(), events[0].handle()));
        let ask = || alpc_section::query_message_handle(server.handle(), &got.header, 1);
        let second = OwnedHandle::new(Handle(u64::from(ask()?.handle)));
        test.check("the second", same_object(second.raw(), events[1].handle()));
        let released = answer(server.handle(), got.header.message_id, None);
        test.refused("it cannot be given back", released, STATUS_MESSAGE_NOT_FOUND);
        let accepted = admit(&server, got.header.message_id, b"", &mut Attributes::new())?;
        test.refused("asking after the answer", ask(), STATUS_MESSAGE_NOT_FOUND);
        test.ok("the client is in", client.join()?.map(drop));
        drop((first, second, accepted));
        while poll(&server)?.is_some() {}
        test.equal(
            "nothing is left",
            (handles_of(events[0].handle())?, handles_of(events[1].handle())?),
            (1, 1),
        );
    }
    Ok(())
}

fn behalf_token_context(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create_with(&with_flags(ALL_FLAGS))?;
    let sent = Attributes::with_context(0x55)
        .with(ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, &AlpcWorkOnBehalfAttr { ticket: 0 });
    let client = invite(server.handle(), true, text(b"")?, sent)?;
    let got = request(&server)?;
    let context = got.attributes.context().unwrap_or_default();
    test.equal("the id", context.message_id, got.header.message_id);
    test.equal("contexts come from nobody", (context.port_context, context.message_context), (0, 0));
    let ticket = got.attributes.ticket().unwrap_or(0);
    test.equal("the client's ticket", u64::from(ticket as u32), got.header.client_id.unique_thread);
    let token: Option<AlpcTokenAttr> = got.attributes.get(ALPC_MESSAGE_TOKEN_ATTRIBUTE);
    test.check("its token", token.is_some_and(|token| token.token_id != 0));
    // The ticket that was received may be passed on.
    let back = AlpcWorkOnBehalfAttr { ticket };
    let mut back = Attributes::new().with(ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, &back);
    let _accepted = admit(&server, got.header.message_id, b"", &mut back)?;
    let (_client, answer, received) = client.join()??;
    test.equal("it comes back", received.ticket(), Some(ticket));
    test.equal("the answer's id", answer.header().message_id, got.header.message_id);
    let forged = AlpcWorkOnBehalfAttr { ticket: ticket ^ 1 << 40 };
    let forged = Attributes::new().with(ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, &forged);
    let client = invite(server.handle(), true, text(b"")?, forged)?;
    test.refused("a forged ticket", client.join()?.map(drop), STATUS_ACCESS_DENIED);
    Ok(())
}

fn refused_attributes(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create_with(&with_flags(ALL_FLAGS))?;
    let event = Event::notification(false)?;
    let security = |flags| {
        let body = AlpcSecurityAttr { flags, ..Default::default() };
        Attributes::new().with(ALPC_MESSAGE_SECURITY_ATTRIBUTE, &body)
    };
    let cases = [
        ("a security context: there is no port yet", security(0)),
        ("a new one", security(ALPC_SECFLG_CREATE_HANDLE)),
        ("the direct attribute: somebody waits", Attributes::telling(event.handle())),
        ("a view: there is no section yet", Attributes::showing(&AlpcDataViewAttr::default())),
    ];
    for (what, attributes) in cases {
        for sync in [false, true] {
            let client = invite(server.handle(), sync, text(b"")?, attributes.clone())?;
            test.refused(what, client.join()?.map(drop), STATUS_INVALID_PARAMETER);
        }
        let client = connect_async(&server, &with_flags(ALL_FLAGS), b"")?;
        let id = request(&server)?.header.message_id;
        let refused = admit(&server, id, b"", &mut attributes.clone()).map(drop);
        test.refused("the same with the answer", refused, STATUS_INVALID_PARAMETER);
        test.ok("the request is still there", admit(&server, id, b"", &mut Attributes::new()).map(drop));
        drop(client);
        while poll(&server)?.is_some() {}
    }
    Ok(())
}

fn without_a_message(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create_with(&with_flags(ALL_FLAGS))?;
    let event = Event::notification(false)?;
    let mut sent = Attributes::passing(event.handle(), None);
    let (mut client, port) = (Handle::NULL, with_flags(ALL_FLAGS));
    let target = ObjectAttributes::relative_to(server.handle(), 0);
    // SAFETY: `client` is ours; attributes say in their header how long they are; everything else is null or only read.
    let status = unsafe {
        sys::NtAlpcConnectPortEx(
            (&mut client).into(),
            (&target).into(),
            In::NULL,
            (&port).into(),
            0,
            0,
            InOut::NULL,
            InOut::NULL,
            InOut::at(sent.words_mut().as_mut_ptr() as u64),
            InOut::NULL,
            In::NULL,
        )
    };
    test.equal("attributes without a message", status, STATUS_SUCCESS);
    let client = OwnedHandle::new(client);
    let mut got = request(&server)?;
    test.equal("no payload", got.header.data_length, 0);
    let handle = got.attributes.take_handle().ok_or(STATUS_INVALID_HANDLE)?;
    test.check("the handle", same_object(handle.raw(), event.handle()));
    drop(client);
    Ok(())
}

fn answer_attributes(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create_with(&with_flags(ALL_FLAGS))?;
    let event = Event::notification(false)?;
    for sync in [false, true] {
        let client = invite(server.handle(), sync, text(b"let me in")?, Attributes::new())?;
        let id = request(&server)?.header.message_id;
        let own = AlpcWorkOnBehalfAttr { ticket: 0 };
        let mut sent = Attributes::passing(event.handle(), None);
        sent = sent.with(ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, &own);
        let accepted = admit(&server, id, b"come in", &mut sent)?;
        let (client, mut message, mut received) = client.join()??;
        if sync {
            test.equal("the answer", message.payload(), b"come in");
        } else {
            test.equal("the buffer is as it was", message.payload(), b"let me in");
            message = Message::new(ROOM);
            let there = client.receive(&mut message, Some(&mut received), Some(LONG));
            test.equal("the answer comes to the port", there, Ok(true));
            test.equal("the answer", message.payload(), b"come in");
        }
        test.equal("its kind", message.header().kind(), LPC_CONNECTION_REPLY);
        let context = received.context().unwrap_or_default();
        test.equal("the context is the server's", (context.port_context, context.message_id), (0, id));
        test.equal(
            "for whom the server works",
            received.ticket().map(|ticket| u64::from(ticket as u32)),
            Some(thread::current_id().unique_thread),
        );
        let handle = received.take_handle().ok_or(STATUS_INVALID_HANDLE)?;
        test.check("the handle", same_object(handle.raw(), event.handle()));
        drop((accepted, client));
        while poll(&server)?.is_some() {}
    }
    Ok(())
}

fn answer_several_handles(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create_with(&with_flags(ALL_FLAGS))?;
    let events = [Event::notification(false)?, Event::notification(false)?];
    for sync in [false, true] {
        let client = invite(server.handle(), sync, text(b"")?, Attributes::new())?;
        let id = request(&server)?.header.message_id;
        let accepted = admit(&server, id, b"", &mut two(&events))?;
        let (client, mut message, mut received) = client.join()??;
        if !sync {
            message = Message::new(ROOM);
            client.receive(&mut message, Some(&mut received), Some(LONG))?;
        }
        let continued = LPC_CONNECTION_REPLY | LPC_CONTINUATION_REQUIRED;
        test.equal("the answer is to be given back", message.header().message_type, continued);
        let first = received.take_handle().ok_or(STATUS_INVALID_HANDLE)?;
        test.check("the first", same_object(first.raw(), events[0].handle()));
        let second = alpc_section::query_message_handle(client.handle(), &message.header(), 1)?;
        let second = OwnedHandle::new(Handle(u64::from(second.handle)));
        test.check("the second", same_object(second.raw(), events[1].handle()));
        test.ok("giving the answer back", answer(client.handle(), id, None));
        drop((first, second, accepted, client));
        while poll(&server)?.is_some() {}
    }
    test.equal("nothing is left", (handles_of(events[0].handle())?, handles_of(events[1].handle())?), (1, 1));
    Ok(())
}

/// The largest payload.
const LARGEST: usize = ALPC_MAX_ALLOWED_MESSAGE_LENGTH - PORT_MESSAGE_SIZE;

fn filled(length: usize) -> NtResult<Message> {
    let mut message = Message::new(LARGEST);
    let bytes: Vec<u8> = (0..length).map(|i| (i * 13 + length) as u8).collect();
    message.set_payload(&bytes)?;
    Ok(message)
}

fn lengths(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    for sync in [false, true] {
        for length in [0, 1, 7, 8, 0x1000, 0xFF00, LARGEST] {
            let client = invite(server.handle(), sync, filled(length)?, Attributes::new())?;
            let mut message = Message::new(LARGEST);
            while server.receive(&mut message, &mut Attributes::new(), Some(LONG))?
                && message.header().kind() != LPC_CONNECTION_REQUEST
            {}
            let sent = filled(length)?;
            test.check(format_args!("a request of {length} bytes"), message.payload() == sent.payload());
            let back = LARGEST - length;
            let mut reply = filled(back)?;
            reply.set_reply_to(message.header().message_id);
            let _accepted = server.accept(&reply, 1)?;
            let (client, mut message, _) = client.join()??;
            if !sync {
                client.receive(&mut message, None, Some(LONG))?;
            }
            let sent = filled(back)?;
            test.check(format_args!("an answer of {back} bytes"), message.payload() == sent.payload());
        }
    }
    Ok(())
}

fn limits(test: &mut Test) -> NtResult {
    let limit = |most: u64| AlpcPortAttributes { max_message_length: 0x28 + most, ..Default::default() };
    let server = ConnectionPort::create_with(&limit(100))?;
    let connect = |most: u64, payload: usize| {
        let mut message = filled(payload)?;
        calls::connect_port(server.handle(), Some(&limit(most)), 0, Some(message.words_mut()), None)
            .map(|(client, _)| Port::from_handle(OwnedHandle::new(client)))
    };
    test.refused(
        "more than the client's own port allows",
        connect(50, 51).map(drop),
        STATUS_PORT_MESSAGE_TOO_LONG,
    );
    test.refused("more than the server's", connect(500, 101).map(drop), STATUS_PORT_MESSAGE_TOO_LONG);
    let client = connect(50, 50)?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    let admit = |most: u64, payload: usize| {
        let mut message = filled(payload)?;
        message.set_reply_to(request.header.message_id);
        calls::accept_port(server.handle(), Some(&limit(most)), 1, message.words(), true)
            .map(OwnedHandle::new)
    };
    test.refused("an answer over its port's limit", admit(20, 21).map(drop), STATUS_PORT_MESSAGE_TOO_LONG);
    test.refused("over the connection port's", admit(500, 101).map(drop), STATUS_PORT_MESSAGE_TOO_LONG);
    // The limit of the client's port is for what is sent on it.
    let accepted = admit(500, 100)?;
    let answer = poll_port(&client)?.map(|seen| seen.payload.len());
    test.equal("as much as the connection port allows", answer, Some(100));
    drop(accepted);
    Ok(())
}

/// An answer that does not fit the client's buffer.
fn small_buffers(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let small = || {
        let mut message = Message::new(8);
        message.set_payload(b"in").map(|()| message)
    };
    let client = invite(server.handle(), true, small()?, Attributes::new())?;
    let asked = expect(&server, LPC_CONNECTION_REQUEST)?;
    let accepted = accept(&server, &asked, 1, b"longer than eight bytes")?;
    test.refused("a client that waits", client.join()?.map(drop), STATUS_BUFFER_TOO_SMALL);
    test.check("has no connection", poll(&server)?.is_some_and(|seen| seen.header.kind() == LPC_PORT_CLOSED));
    let gone = accepted.datagram(&mut text(b"x")?, None);
    test.refused("as its server finds", gone, STATUS_PORT_DISCONNECTED);
    let client = connect_async(&server, &AlpcPortAttributes::default(), b"")?;
    let asked = expect(&server, LPC_CONNECTION_REQUEST)?;
    let _accepted = accept(&server, &asked, 1, b"longer than eight bytes")?;
    let early = client.receive(&mut small()?, None, Some(Duration::ZERO));
    test.refused("one that does not wait", early, STATUS_BUFFER_TOO_SMALL);
    let answer = poll_port(&client)?.map(|seen| seen.payload);
    test.equal("receives it with room", answer.as_deref(), Some(&b"longer than eight bytes"[..]));
    Ok(())
}
