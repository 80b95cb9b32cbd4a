//! Several handles, types of handles, direct messages, work on behalf of others.

use crate::holding::*;
use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::ob::{EVENT_ALL_ACCESS, EVENT_MODIFY_STATE, EVENT_QUERY_STATE, SECTION_QUERY, SYNCHRONIZE};
use libnt::alpc::attributes::ALL;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::event::Event;
use libnt::handle::{basic_information, duplicate, same_object};
use libnt::memory::Pages;
use libnt::prelude::*;
use libnt::section::Section;
use libnt::sys::{alpc_section, calls, security};
use libnt::{thread, wait};
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("handle/types", types);
    test.case("handle/types-of-a-client", types_of_a_client);
    test.case("several/asked-for", asked_for);
    test.case("several/in-a-reply", in_a_reply);
    test.case("several/refused", several_refused);
    test.case("several/not-accepted", several_not_accepted);
    test.case("several/not-asked-for", not_asked_for);
    test.case("direct/answered", direct_answered);
    test.case("direct/ends", direct_ends);
    test.case("direct/refused", direct_refused);
    test.case("direct/with-a-view", direct_with_a_view);
    test.case("behalf/own-and-received", own_and_received);
    test.case("behalf/refused", behalf_refused);
}

/// Object type codes of the HANDLE attribute.
const EVENT: u32 = 0x10;
const SECTION: u32 = 0x80;

/// A pair whose server's port has these attributes besides the usual.
fn pair_with(attributes: AlpcPortAttributes) -> NtResult<Pair> {
    Pair::on(ConnectionPort::create_with(&attributes)?)
}

/// A pair whose ports take several handles, the client's too.
fn several() -> NtResult<(ConnectionPort, Port, Port)> {
    let attributes =
        AlpcPortAttributes { flags: ALPC_PORFLG_ALLOW_MULTIHANDLE_ATTRIBUTE, ..Default::default() };
    let server = ConnectionPort::create_with(&attributes)?;
    let flags = ALPC_PORFLG_ALLOW_MULTIHANDLE_ATTRIBUTE | ALPC_PORFLG_ALLOW_DUP_OBJECT;
    let attributes = AlpcPortAttributes { flags, ..Default::default() };
    let client = connect_async(&server, &attributes, b"")?;
    let mut reply = text(b"")?;
    reply.set_reply_to(expect(&server, LPC_CONNECTION_REQUEST)?.header.message_id);
    let accepted = calls::accept_port(server.handle(), Some(&attributes), 0, reply.words(), true)?;
    let accepted = Port::from_handle(OwnedHandle::new(accepted));
    get(client.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    Ok((server, accepted, client))
}

fn entry(handle: Handle, access: Option<u32>) -> AlpcHandleAttr32 {
    let flags = if access.is_none() { ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS } else { 0 };
    AlpcHandleAttr32 { flags, handle: handle.0 as u32, object_type: 0, desired_access: access.unwrap_or(0) }
}

fn handle_count(handle: Handle) -> NtResult<u32> {
    basic_information(handle).map(|information| information.handle_count)
}

fn send(port: &Port, mut attributes: Attributes) -> NtResult {
    port.datagram(&mut text(b"")?, Some(&mut attributes))
}

fn types(test: &mut Test) -> NtResult {
    let (event, section) = (Event::notification(false)?, Section::create(1)?);
    let pair = pair_with(AlpcPortAttributes { dup_object_types: SECTION, ..Default::default() })?;
    let refused = send(&pair.client, Attributes::passing(event.handle(), None));
    test.refused("a type that the server's port does not take", refused, STATUS_ACCESS_DENIED);
    let refused = send(&pair.client, Attributes::passing(pair.server.handle(), None));
    test.refused("a type without a code", refused, STATUS_ACCESS_DENIED);
    test.ok("a type that it takes", send(&pair.client, Attributes::passing(section.handle(), None)));
    let mut got = get(pair.server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    let body = got.attributes.handle().unwrap_or_default();
    test.equal("its code", body.object_type, SECTION);
    drop(got.attributes.take_handle());
    let pair = Pair::new()?;
    for (what, code, expected) in [
        ("any", 0, Ok(())),
        ("the right", EVENT, Ok(())),
        ("a wrong", SECTION, Err(STATUS_OBJECT_TYPE_MISMATCH)),
    ] {
        let body = AlpcHandleAttr {
            flags: ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS,
            handle: event.handle(),
            object_type: code,
            ..Default::default()
        };
        let sent = send(&pair.client, Attributes::new().with(ALPC_MESSAGE_HANDLE_ATTRIBUTE, &body));
        test.equal(format_args!("an event as {what} type"), sent, expected);
    }
    let unknown = AlpcHandleAttr { flags: 1, handle: event.handle(), ..Default::default() };
    let sent = send(&pair.client, Attributes::new().with(ALPC_MESSAGE_HANDLE_ATTRIBUTE, &unknown));
    test.refused("a flag that is none", sent, STATUS_INVALID_PARAMETER);
    Ok(())
}

/// What a client takes is looked at as it receives.
fn types_of_a_client(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let attributes = AlpcPortAttributes {
        flags: ALPC_PORFLG_ALLOW_DUP_OBJECT,
        dup_object_types: EVENT,
        ..Default::default()
    };
    let client = connect_async(&server, &attributes, b"")?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    let accepted = accept(&server, &request, 0, b"")?;
    get(client.handle(), LONG)?;
    let (event, section) = (Event::notification(false)?, Section::create(1)?);
    for (handle, taken) in [(event.handle(), true), (section.handle(), false)] {
        send(&accepted, Attributes::passing(handle, None))?;
        let mut got = get(client.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
        test.equal("a handle that a client takes, or not", got.attributes.take_handle().is_some(), taken);
        test.equal("it is closed on its way", handle_count(handle), Ok(1));
    }
    Ok(())
}

fn asked_for(test: &mut Test) -> NtResult {
    let (server, accepted, client) = several()?;
    let (event, section) = (Event::notification(false)?, Section::create(1)?);
    let handles = || {
        vec![
            entry(event.handle(), Some(EVENT_MODIFY_STATE)),
            entry(section.handle(), Some(SECTION_QUERY)),
            entry(Handle::CURRENT_PROCESS, Some(SYNCHRONIZE)),
            entry(event.handle(), None),
        ]
    };
    for through in [server.handle(), accepted.handle()] {
        send(&client, Attributes::passing_several(handles()))?;
        let mut got = get(through, LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
        let body = got.attributes.handle().unwrap_or_default();
        test.equal("it says that there are several", body.flags, ALPC_HANDLEFLG_INDIRECT);
        test.equal("and how many", body.object_type, 4);
        let continued = LPC_DATAGRAM | LPC_CONTINUATION_REQUIRED;
        test.equal("it has to be given back", got.header.message_type, continued);
        let first = got.attributes.take_handle().ok_or(STATUS_INVALID_HANDLE)?;
        let ask = |index| alpc_section::query_message_handle(through, &got.header, index);
        let found = ask(0)?;
        test.equal("the first is the one in the attribute", u64::from(found.handle), first.raw().0);
        let expected = [
            (EVENT, EVENT_MODIFY_STATE),
            (SECTION, SECTION_QUERY),
            (0x20, SYNCHRONIZE),
            (EVENT, EVENT_ALL_ACCESS),
        ];
        let mut kept = vec![first];
        for (index, (code, access)) in (0..).zip(expected) {
            let found = ask(index)?;
            test.equal("type and access", (found.object_type, found.granted_access), (code, access));
            test.equal("the same handle each time", ask(index), Ok(found));
            if index > 0 {
                kept.push(OwnedHandle::new(Handle(u64::from(found.handle))));
            }
        }
        test.check("the second", same_object(kept[1].raw(), section.handle()));
        test.check("the last", same_object(kept[3].raw(), event.handle()));
        test.ok("what the first may", calls::set_event(kept[0].raw()));
        test.refused("what it may not", calls::query_event(kept[0].raw()), STATUS_ACCESS_DENIED);
        test.refused("one more", ask(4), STATUS_INVALID_PARAMETER);
        test.refused("any index", ask(u32::MAX), STATUS_INVALID_PARAMETER);
        let other = alpc_section::query_message_handle(client.handle(), &got.header, 1);
        test.refused("asking on the sender's port", other, STATUS_MESSAGE_NOT_FOUND);
        let class = security::query_message(through, &got.header, 9, &mut [0; 4]);
        test.refused("asking what nobody knows", class, STATUS_INVALID_INFO_CLASS);
        let short = security::query_message(through, &got.header, 3, &mut [0; 0x13]);
        test.refused("with a short buffer", short, STATUS_INFO_LENGTH_MISMATCH);
        answer(through, got.header.message_id, None)?;
        test.refused("asking for what was given back", ask(1), STATUS_MESSAGE_NOT_FOUND);
        drop(kept);
        test.equal(
            "handles then",
            (handle_count(event.handle()), handle_count(section.handle())),
            (Ok(1), Ok(1)),
        );
    }
    Ok(())
}

fn in_a_reply(test: &mut Test) -> NtResult {
    let (server, _accepted, client) = several()?;
    let events = [Event::notification(false)?, Event::notification(true)?];
    let asker = ask(client.handle(), Attributes::new())?;
    let id = get(server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?.header.message_id;
    let list = events.iter().map(|event| entry(event.handle(), None)).collect();
    answer(server.handle(), id, Some(&mut Attributes::passing_several(list)))?;
    let mut attributes = asker.join()??;
    let first = attributes.take_handle().ok_or(STATUS_INVALID_HANDLE)?;
    test.check("the first", same_object(first.raw(), events[0].handle()));
    let header = PortMessage { message_id: id, ..PortMessage::default() };
    let second = alpc_section::query_message_handle(client.handle(), &header, 1)?;
    let second = OwnedHandle::new(Handle(u64::from(second.handle)));
    test.check("the second", same_object(second.raw(), events[1].handle()));
    test.ok("giving the answer back", answer(client.handle(), id, None));
    Ok(())
}

fn several_refused(test: &mut Test) -> NtResult {
    let (server, _accepted, client) = several()?;
    let event = Event::notification(false)?;
    let good = entry(event.handle(), None);
    let narrow = duplicate(event.handle(), Some(SYNCHRONIZE))?;
    let nested = AlpcHandleAttr32 { flags: ALPC_HANDLEFLG_INDIRECT, ..good };
    let wrong_type = AlpcHandleAttr32 { object_type: SECTION, ..good };
    let bad = [
        ("no handle", entry(Handle::NULL, None), STATUS_INVALID_HANDLE),
        ("a handle that is none", entry(Handle(0x7FF4), None), STATUS_INVALID_HANDLE),
        ("more than one has", entry(narrow.raw(), Some(EVENT_MODIFY_STATE)), STATUS_ACCESS_DENIED),
        ("a wrong type", wrong_type, STATUS_OBJECT_TYPE_MISMATCH),
        ("several in one", nested, STATUS_INVALID_PARAMETER),
    ];
    for (what, bad, expected) in bad {
        for at in 0..3 {
            let mut list = vec![good; 3];
            list[at] = bad;
            test.refused(what, send(&client, Attributes::passing_several(list)), expected);
        }
    }
    test.equal("none of them was taken", handle_count(event.handle()), Ok(2));
    let most = ALPC_MAX_HANDLES as usize;
    let many = send(&client, Attributes::passing_several(vec![good; most + 1]));
    test.refused("too many", many, STATUS_LPC_HANDLE_COUNT_EXCEEDED);
    test.ok("as many as there may be", send(&client, Attributes::passing_several(vec![good; most])));
    let body = |count, at| AlpcHandleAttr {
        flags: ALPC_HANDLEFLG_INDIRECT,
        handle: Handle(at),
        object_type: count,
        ..Default::default()
    };
    let pages = Pages::allocate(64)?;
    let end = pages.bytes().as_ptr() as u64 + 0x1000 - 16;
    for (what, body, expected) in [
        ("none", body(0, end), STATUS_INVALID_PARAMETER),
        ("as many as fit a word", body(u32::MAX, end), STATUS_LPC_HANDLE_COUNT_EXCEEDED),
        ("a list in the kernel", body(2, 0xFFFF_8000_0000_0000), STATUS_ACCESS_VIOLATION),
        ("a list that wraps around", body(2, u64::MAX - 7), STATUS_ACCESS_VIOLATION),
        ("no list", body(1, 0), STATUS_ACCESS_VIOLATION),
    ] {
        let sent = send(&client, Attributes::new().with(ALPC_MESSAGE_HANDLE_ATTRIBUTE, &body));
        test.refused(what, sent, expected);
    }
    // One, the long way: like one the short way.
    drop(get(server.handle(), LONG)?.and_then(|mut got| got.attributes.take_handle()));
    send(&client, Attributes::passing_several(vec![good]))?;
    let mut got = get(server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    let body = got.attributes.handle().unwrap_or_default();
    test.equal("a list of one", (body.flags, body.object_type), (0, EVENT));
    test.equal("nothing to give back", got.header.message_type, LPC_DATAGRAM);
    drop(got.attributes.take_handle());
    let pair = Pair::new()?;
    let sent = send(&pair.client, Attributes::passing_several(vec![good; 2]));
    test.refused("a port that takes one only", sent, STATUS_LPC_HANDLE_COUNT_EXCEEDED);
    Ok(())
}

fn several_not_accepted(test: &mut Test) -> NtResult {
    let attributes =
        AlpcPortAttributes { flags: ALPC_PORFLG_ALLOW_MULTIHANDLE_ATTRIBUTE, ..Default::default() };
    // The client's port takes one handle only.
    let pair = pair_with(attributes)?;
    let event = Event::notification(false)?;
    let list = || vec![entry(event.handle(), None); 2];
    send(&pair.accepted, Attributes::passing_several(list()))?;
    let got = get(pair.client.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    test.equal("a client's port that takes one only", got.attributes.handle(), None);
    test.equal("nothing to give back", got.header.message_type, LPC_DATAGRAM);
    test.equal("they are closed", handle_count(event.handle()), Ok(1));
    // A receiver without room.
    send(&pair.client, Attributes::passing_several(list()))?;
    let mut message = Message::new(ROOM);
    let port = Port::from_handle(duplicate(pair.server.handle(), None)?);
    test.equal("a receiver without attributes", port.receive(&mut message, None, Some(LONG)), Ok(true));
    test.equal("they are closed then", handle_count(event.handle()), Ok(1));
    Ok(())
}

fn not_asked_for(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    let list = || vec![entry(event.handle(), None); 5];
    for how in ["given back", "the connection ends", "the port closes"] {
        let (server, accepted, client) = several()?;
        send(&client, Attributes::passing_several(list()))?;
        let mut got = get(server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
        drop(got.attributes.take_handle());
        let before = handle_count(event.handle());
        match how {
            "given back" => answer(server.handle(), got.header.message_id, None)?,
            "the connection ends" => accepted.disconnect()?,
            _ => drop((server, accepted)),
        }
        test.check("they wait to be asked for", before != Ok(1));
        test.equal(format_args!("{how}: the others are closed"), handle_count(event.handle()), Ok(1));
    }
    Ok(())
}

/// A pair whose server takes direct messages.
fn direct() -> NtResult<Pair> {
    pair_with(AlpcPortAttributes { flags: ALPC_PORFLG_DIRECT_MESSAGE, ..Default::default() })
}

/// Sends a direct message; its header, for questions.
fn send_direct(port: &Port, event: &Event, more: Option<&AlpcDataViewAttr>) -> NtResult<PortMessage> {
    let mut attributes =
        Attributes::telling(event.handle()).with(ALPC_MESSAGE_CONTEXT_ATTRIBUTE, &AlpcContextAttr::default());
    if let Some(view) = more {
        attributes = attributes.with(ALPC_MESSAGE_VIEW_ATTRIBUTE, view);
    }
    port.datagram(&mut text(b"")?, Some(&mut attributes))?;
    let message_id = attributes.context().unwrap_or_default().message_id;
    Ok(PortMessage { message_id, ..PortMessage::default() })
}

fn is_set(event: &Event) -> NtResult<bool> {
    wait::one(event.handle(), Some(Duration::ZERO))
}

fn direct_answered(test: &mut Test) -> NtResult {
    let pair = direct()?;
    let event = Event::notification(false)?;
    let sent = send_direct(&pair.client, &event, None)?;
    let state = || alpc_section::query_direct_status(pair.client.handle(), &sent);
    test.equal("before it is received", state(), Ok(STATUS_PENDING));
    let got = get(pair.server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    test.check("the receiver is told", got.attributes.valid() & ALPC_MESSAGE_DIRECT_ATTRIBUTE != 0);
    let body = got.attributes.get::<AlpcDirectAttr>(ALPC_MESSAGE_DIRECT_ATTRIBUTE);
    test.equal("the event is the sender's", body, Some(AlpcDirectAttr::default()));
    test.equal("it has to be given back", got.header.message_type, LPC_DATAGRAM | LPC_CONTINUATION_REQUIRED);
    test.equal("while it is held", state(), Ok(STATUS_PENDING));
    test.equal("the event then", is_set(&event), Ok(false));
    answer(pair.server.handle(), got.header.message_id, None)?;
    test.equal("the event when it is given back", is_set(&event), Ok(true));
    test.equal("its status then", state(), Ok(STATUS_SUCCESS));
    test.equal("and again", state(), Ok(STATUS_SUCCESS));
    let other = alpc_section::query_direct_status(pair.server.handle(), &sent);
    test.refused("asking on another port", other, STATUS_MESSAGE_NOT_FOUND);
    // A thread that waits for it.
    calls::reset_event(event.handle())?;
    let handle = duplicate(event.handle(), None)?;
    let waiter = thread::spawn(move || wait::one(handle.raw(), Some(LONG)))?;
    send_direct(&pair.client, &event, None)?;
    let id = get(pair.accepted.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?.header.message_id;
    answer(pair.accepted.handle(), id, None)?;
    test.equal("a waiting thread", waiter.join()?, Ok(true));
    // A receiver that does not take the attribute has dealt with the message as it has it.
    calls::reset_event(event.handle())?;
    let sent = send_direct(&pair.client, &event, None)?;
    let seen = expect(&pair.server, LPC_DATAGRAM)?;
    test.equal("nothing to give back", seen.header.message_type, LPC_DATAGRAM);
    test.equal("the event", is_set(&event), Ok(true));
    let state = alpc_section::query_direct_status(pair.client.handle(), &sent);
    test.equal("the status", state, Ok(STATUS_SUCCESS));
    Ok(())
}

fn direct_ends(test: &mut Test) -> NtResult {
    for received in [false, true] {
        for how in ["the server disconnects", "the client disconnects", "the port closes"] {
            let Pair { server, accepted, client } = direct()?;
            let event = Event::notification(false)?;
            let sent = send_direct(&client, &event, None)?;
            if received {
                get(server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
            }
            match how {
                "the server disconnects" => accepted.disconnect()?,
                "the client disconnects" => client.disconnect()?,
                _ => drop((server, accepted)),
            }
            let queued_still = !received && how == "the client disconnects";
            let what = format!("{how}, received: {received}");
            test.equal(format_args!("{what}: the event"), is_set(&event), Ok(!queued_still));
            let expected = if queued_still { STATUS_PENDING } else { STATUS_CANCELLED };
            let state = alpc_section::query_direct_status(client.handle(), &sent);
            test.equal(format_args!("{what}: the status"), state, Ok(expected));
        }
    }
    Ok(())
}

fn direct_refused(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let event = Event::notification(false)?;
    let refused = send(&pair.client, Attributes::telling(event.handle()));
    test.refused("a port that takes no direct messages", refused, STATUS_ACCESS_DENIED);
    let pair = direct()?;
    let narrow = duplicate(event.handle(), Some(EVENT_QUERY_STATE))?;
    for (what, handle, expected) in [
        ("no event", Handle::NULL, STATUS_INVALID_HANDLE),
        ("a port for an event", pair.client.handle(), STATUS_OBJECT_TYPE_MISMATCH),
        ("an event that may not be set", narrow.raw(), STATUS_ACCESS_DENIED),
    ] {
        test.refused(what, send(&pair.client, Attributes::telling(handle)), expected);
    }
    let mut attributes = Attributes::telling(event.handle());
    let asked = pair.client.request(&mut text(b"")?, Some(&mut attributes), Some(LONG));
    test.refused("a request that waits", asked, STATUS_INVALID_PARAMETER);
    let unknown = PortMessage { message_id: 0x1234, ..PortMessage::default() };
    let state = alpc_section::query_direct_status(pair.client.handle(), &unknown);
    test.refused("asking for what was never sent", state, STATUS_MESSAGE_NOT_FOUND);
    let short = security::query_message(pair.client.handle(), &unknown, 2, &mut [0; 3]);
    test.check("a short buffer", short.is_err());
    test.equal("the event was never set", is_set(&event), Ok(false));
    Ok(())
}

/// When the event is set, the view that went with the message can be written again.
fn direct_with_a_view(test: &mut Test) -> NtResult {
    let pair = direct()?;
    let event = Event::notification(false)?;
    let section = pair.client.section(0x1000, true)?;
    let view = section.view(0x1000)?;
    for round in 0..20u8 {
        let handle = duplicate(event.handle(), None)?;
        calls::reset_event(event.handle())?;
        send_direct(&pair.client, &event, Some(&view.attribute(ALPC_VIEWFLG_AUTO_RELEASE)))?;
        test.refused("writing while it is out", view.write(0, &[round]), STATUS_PARTIAL_COPY);
        let port = duplicate(pair.server.handle(), None)?;
        let server = thread::spawn(move || -> NtResult {
            let got = get(port.raw(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
            answer(port.raw(), got.header.message_id, None)
        })?;
        test.equal("the event", wait::one(handle.raw(), Some(LONG)), Ok(true));
        test.equal("writing then", view.write(0, &[round]), Ok(()));
        server.join()??;
    }
    Ok(())
}

fn behalf(ticket: u64) -> Attributes {
    Attributes::new().with(ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, &AlpcWorkOnBehalfAttr { ticket })
}

fn own_and_received(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    send(&pair.client, behalf(0))?;
    let got = get(pair.server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    let own = got.attributes.ticket().unwrap_or_default();
    test.equal("the sender's thread", u64::from(own as u32), got.header.client_id.unique_thread);
    test.ok("naming oneself", send(&pair.client, behalf(own)));
    let got = get(pair.server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    test.equal("it arrives", got.attributes.ticket(), Some(own));
    // Another thread may pass on what it received, and nothing else.
    let (from, to) = (duplicate(pair.server.handle(), None)?, duplicate(pair.accepted.handle(), None)?);
    send(&pair.client, behalf(0))?;
    let server = thread::spawn(move || -> NtResult<(NtResult, NtResult)> {
        let to = Port::from_handle(to);
        let before = send(&to, behalf(own));
        get(from.raw(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
        Ok((before, send(&to, behalf(own))))
    })?;
    let (before, after) = server.join()??;
    test.refused("a ticket that one did not receive", before, STATUS_ACCESS_DENIED);
    test.ok("a ticket that one received", after);
    let got = get(pair.client.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    test.equal("the ticket is the first thread's", got.attributes.ticket(), Some(own));
    test.check("the sender is not", got.header.client_id.unique_thread != u64::from(own as u32));
    // A receiver without room learns nothing.
    send(&pair.client, behalf(0))?;
    let seen = expect(&pair.server, LPC_DATAGRAM)?;
    test.equal("without room", seen.attributes.ticket(), None);
    Ok(())
}

fn behalf_refused(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    send(&pair.client, behalf(0))?;
    let got = get(pair.server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    let own = got.attributes.ticket().unwrap_or_default();
    for bad in [1, own ^ 4, own ^ (1 << 40), own as u32 as u64, u64::MAX] {
        test.refused("a forged ticket", send(&pair.client, behalf(bad)), STATUS_ACCESS_DENIED);
    }
    let mut attributes = Attributes::allocating(ALL);
    attributes.words_mut()[0] |= 1 << 32;
    test.refused("an attribute without room", send(&pair.client, attributes), STATUS_INVALID_PARAMETER);
    test.check("nothing arrived", get(pair.server.handle(), Duration::ZERO)?.is_none());
    Ok(())
}
