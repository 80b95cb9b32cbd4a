//! Passed handles and server objects.

use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::ob::{EVENT_ALL_ACCESS, EVENT_MODIFY_STATE, EVENT_QUERY_STATE, SYNCHRONIZE};
use libnt::alpc::{Attributes, ConnectionPort, Port};
use libnt::event::Event;
use libnt::handle::{basic_information, duplicate, same_object};
use libnt::prelude::*;
use libnt::sys::calls;
use libnt::{thread, wait};
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("handle/passed-with-less", passed_with_less);
    test.case("handle/passed-wrongly", passed_wrongly);
    test.case("handle/dropped-on-the-way", dropped_on_the_way);
    test.case("handle/passed-back", passed_back);
    test.case("handle/a-port-in-its-own-queue", a_port_in_its_own_queue);
    test.case("object/requests", objects);
    test.case("object/close", objects_close);
    test.case("object/without-server", objects_without_server);
}

/// A message that passes the very port it waits in does not keep that port: the counters tell, at the end.
fn a_port_in_its_own_queue(test: &mut Test) -> NtResult {
    let Pair { server, accepted, client } = Pair::new()?;
    let own = duplicate(server.handle(), None)?;
    client.datagram(&mut text(b"")?, Some(&mut Attributes::passing(own.raw(), None)))?;
    drop((own, server, accepted));
    let sent = client.datagram(&mut text(b"")?, None);
    test.refused("sending to the port that holds itself", sent, STATUS_PORT_DISCONNECTED);
    Ok(())
}

/// NT's code of an event in the handle attribute.
const EVENT_TYPE_CODE: u32 = 0x10;

fn passed_with_less(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let event = Event::notification(false)?;
    let mut attributes = Attributes::passing(event.handle(), Some(EVENT_QUERY_STATE));
    pair.client.datagram(&mut text(b"take this")?, Some(&mut attributes))?;
    let mut seen = expect(&pair.server, LPC_DATAGRAM)?;
    let body = seen.attributes.handle().unwrap_or_default();
    test.equal("the passed handle's type", body.object_type, EVENT_TYPE_CODE);
    test.equal("the passed handle's access", body.desired_access, EVENT_QUERY_STATE);
    let Some(passed) = seen.attributes.take_handle() else {
        test.fail("no handle arrived");
        return Ok(());
    };
    test.check("it is the same object", same_object(passed.raw(), event.handle()));
    test.ok("what it may", calls::query_event(passed.raw()));
    test.refused("what it may not", calls::set_event(passed.raw()), STATUS_ACCESS_DENIED);
    let wide = duplicate(passed.raw(), Some(EVENT_MODIFY_STATE));
    test.refused("getting more from it", wide, STATUS_ACCESS_DENIED);
    let mut same = Attributes::passing(event.handle(), None);
    pair.client.datagram(&mut text(b"")?, Some(&mut same))?;
    let body = expect(&pair.server, LPC_DATAGRAM)?.attributes.take_handle();
    let granted =
        body.and_then(|handle| basic_information(handle.raw()).ok()).map(|info| info.granted_access);
    test.equal("passed with the same access", granted, Some(EVENT_ALL_ACCESS));
    Ok(())
}

fn passed_wrongly(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let event = Event::notification(false)?;
    let narrow = duplicate(event.handle(), Some(SYNCHRONIZE))?;
    let mut send = |what: &str, handle: Handle, access: Option<u32>, expected: NtStatus| -> NtResult {
        let mut attributes = Attributes::passing(handle, access);
        let result = pair.client.datagram(&mut text(b"")?, Some(&mut attributes));
        test.refused(what, result, expected);
        Ok(())
    };
    send("passing more than one has", narrow.raw(), Some(EVENT_MODIFY_STATE), STATUS_ACCESS_DENIED)?;
    send("passing what is not there", Handle(0x7FF4), None, STATUS_INVALID_HANDLE)?;
    send("passing nothing", Handle::NULL, None, STATUS_INVALID_HANDLE)?;
    test.check("nothing of that arrived", poll(&pair.server)?.is_none());
    // A port that does not take handles.
    let attributes = AlpcPortAttributes { flags: ALPC_PORFLG_WAITABLE_PORT, ..AlpcPortAttributes::default() };
    let strict = OwnedHandle::new(calls::create_port(&attributes)?);
    let (client, _) = calls::connect_port(strict.raw(), Some(&attributes), 0, None, None)?;
    let (client, server) = (Port::from_handle(OwnedHandle::new(client)), Port::from_handle(strict));
    let request = poll_port(&server)?.ok_or(STATUS_IO_TIMEOUT)?;
    let mut answer = text(b"")?;
    answer.set_reply_to(request.header.message_id);
    let accepted = calls::accept_port(server.handle(), Some(&attributes), 0, answer.words(), true)?;
    let _accepted = OwnedHandle::new(accepted);
    let result = client.datagram(&mut text(b"")?, Some(&mut Attributes::passing(event.handle(), None)));
    let arrived = poll_port(&server)?.and_then(|mut seen| seen.attributes.take_handle());
    test.check("a port without ALLOW_DUP_OBJECT gets no handle", result.is_err() || arrived.is_none());
    Ok(())
}

/// Open handles to an event, this program's included.
fn handle_count(event: &Event) -> NtResult<u32> {
    basic_information(event.handle()).map(|information| information.handle_count)
}

fn dropped_on_the_way(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    let pair = Pair::new()?;
    let pass = |pair: &Pair| -> NtResult {
        let mut attributes = Attributes::passing(event.handle(), None);
        pair.client.datagram(&mut text(b"")?, Some(&mut attributes))
    };
    // A receiver that has no room for it.
    pass(&pair)?;
    let mut message = text(b"")?;
    let port = duplicate(pair.server.handle(), None)?;
    let received = Port::from_handle(port).receive(&mut message, None, Some(Duration::ZERO));
    test.equal("a receiver without attributes", received, Ok(true));
    test.equal("handles after that", handle_count(&event), Ok(1));
    // Never received.
    pass(&pair)?;
    drop(pair);
    test.equal("handles when the message is never received", handle_count(&event), Ok(1));
    Ok(())
}

fn passed_back(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let port = duplicate(pair.client.handle(), None)?;
    let client = thread::spawn(move || -> NtResult<Option<OwnedHandle>> {
        let mut attributes = Attributes::new();
        request(port.raw(), &mut text(b"give")?, Some(&mut attributes), Some(LONG))?;
        Ok(attributes.take_handle())
    })?;
    let id = expect(&pair.server, LPC_REQUEST)?.header.message_id;
    let event = Event::notification(false)?;
    let mut answer = text(b"here")?;
    answer.set_reply_to(id);
    pair.server
        .reply(&mut answer, Some(&mut Attributes::passing(event.handle(), Some(EVENT_MODIFY_STATE))))?;
    let passed = test.ok("a reply with a handle", client.join()?).flatten();
    let set = passed.map(|handle| calls::set_event(handle.raw()).map(drop));
    test.equal("using it", set, Some(Ok(())));
    test.equal("the event was set by it", wait::one(event.handle(), Some(Duration::ZERO)), Ok(true));
    Ok(())
}

const OBJECT_TYPE: u32 = 0x77;
const OBJECT: u64 = 0xABCD_EF01_2345_6789;

fn objects(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let object = server.create_object(OBJECT, OBJECT_TYPE, 0b111)?;
    let narrow = duplicate(object.raw(), Some(0b010))?;
    test.refused("more than it grants", duplicate(narrow.raw(), Some(0b110)), STATUS_ACCESS_DENIED);
    for (handle, access) in [(object.raw(), 0b111u32), (narrow.raw(), 0b010)] {
        let handle = duplicate(handle, None)?;
        let client = thread::spawn(move || -> NtResult<Vec<u8>> {
            let mut message = text(b"do it")?;
            request(handle.raw(), &mut message, None, Some(LONG))?;
            Ok(message.payload().to_vec())
        })?;
        let seen = expect(&server, LPC_REQUEST)?;
        let context = seen.attributes.context().unwrap_or_default();
        test.equal("the object's context", context.port_context, OBJECT);
        test.equal(
            "type and access",
            context.message_context,
            u64::from(OBJECT_TYPE) << 32 | u64::from(access),
        );
        reply(&server, seen.header.message_id, b"done")?;
        test.equal("the answer", client.join()?, Ok(b"done".to_vec()));
    }
    let port = Port::from_handle(object);
    port.datagram(&mut text(b"note")?, None)?;
    let seen = expect(&server, LPC_DATAGRAM)?;
    test.equal("a datagram on an object", seen.attributes.context().map(|c| c.port_context), Some(OBJECT));
    let waited = wait::one(port.handle(), Some(Duration::ZERO));
    test.check("an object cannot be waited on", waited.is_err());
    test.check("nor received from", poll_port(&port).is_err());
    let on_client = Pair::new()?;
    let wrong = calls::create_server_object(on_client.client.handle(), 1, 1, 1).map(drop);
    test.refused("minting on a connection", wrong, STATUS_INVALID_PORT_HANDLE);
    Ok(())
}

fn objects_close(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let object = server.create_object(OBJECT, OBJECT_TYPE, 1)?;
    let second = duplicate(object.raw(), None)?;
    drop(object);
    test.check("one of two handles was closed", poll(&server)?.is_none());
    // A third one, in a message that is never received.
    let pair = Pair::new()?;
    pair.client.datagram(&mut text(b"")?, Some(&mut Attributes::passing(second.raw(), None)))?;
    drop(second);
    test.check("one is on its way in a message", poll(&server)?.is_none());
    drop(pair);
    let notice = expect(&server, LPC_OBJECT_CLOSED)?;
    let context = notice.attributes.context().unwrap_or_default();
    test.equal("the notice's context", context.port_context, OBJECT);
    test.equal("the notice's type", context.message_context >> 32, u64::from(OBJECT_TYPE));
    test.check("the notice comes once", poll(&server)?.is_none());
    Ok(())
}

fn objects_without_server(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let object = server.create_object(OBJECT, OBJECT_TYPE, 1)?;
    let handle = duplicate(object.raw(), None)?;
    let client = thread::spawn(move || request(handle.raw(), &mut text(b"x")?, None, Some(LONG)))?;
    expect(&server, LPC_REQUEST)?;
    drop(server);
    test.refused("asking when the server goes", client.join()?, STATUS_PORT_DISCONNECTED);
    let port = Port::from_handle(object);
    let result = request(port.handle(), &mut text(b"x")?, None, Some(LONG));
    test.refused("asking when the server is gone", result, STATUS_PORT_DISCONNECTED);
    Ok(())
}
