//! Message zones: payloads that wait in this process's memory, which the program may do anything to.

use crate::asking::ask;
use crate::pair::*;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::info::WAIT_REASON_LPC_REPLY;
use libnt::abi::mm::*;
use libnt::abi::ob::PORT_CONNECT;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::handle::duplicate;
use libnt::memory::Pages;
use libnt::prelude::*;
use libnt::section::{Section, View};
use libnt::sys::calls;
use libnt::thread;
use testkit::{Random, Test, until_waits};
use zerocopy::IntoBytes;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("zone/payloads-lie-there", payloads_lie_there);
    test.case("zone/charges-nobody", charges_nobody);
    test.case("zone/full", full);
    test.case("zone/each-port", each_port);
    test.case("zone/what-does-not-lie-there", what_does_not_lie_there);
    test.case("zone/cancelled-and-withdrawn", cancelled_and_withdrawn);
    test.case("zone/large-messages", large_messages);
    test.case("zone/spoilt", spoilt);
    test.case("zone/unmapped", unmapped);
    test.case("zone/taken-away", taken_away);
    test.case("zone/closed-port", closed_port);
    test.case("zone/wrong-arguments", wrong_arguments);
    test.race("zone/races", races);
}

const SIZE: u64 = 0x1000;

/// Memory that can be a zone.
fn memory(size: u64) -> NtResult<View> {
    Section::create(size)?.map(0, 0, PAGE_READWRITE)
}

/// A pair whose connection port has a zone.
fn zoned(size: u64) -> NtResult<(Pair, View)> {
    let (pair, view) = (Pair::new()?, memory(size)?);
    pair.server.set_message_zone(Some(&view))?;
    Ok((pair, view))
}

fn send(port: &Port, payload: &[u8]) -> NtResult {
    port.datagram(&mut text(payload)?, None)
}

fn bytes(view: &View) -> Vec<u8> {
    let mut bytes = vec![0; view.size()];
    view.read(0, &mut bytes);
    bytes
}

/// Whether a payload lies somewhere in the memory.
fn holds(view: &View, payload: &[u8]) -> bool {
    bytes(view).windows(payload.len()).any(|part| part == payload)
}

fn payload_of(seen: Option<Seen>) -> Option<Vec<u8>> {
    seen.map(|seen| seen.payload)
}

fn payloads_lie_there(test: &mut Test) -> NtResult {
    let (pair, view) = zoned(SIZE)?;
    send(&pair.client, b"a datagram")?;
    test.check("a datagram's payload", holds(&view, b"a datagram"));
    pair.client.send_request(&mut text(b"an asynchronous request")?, 0)?;
    test.check("an asynchronous request's", holds(&view, b"an asynchronous request"));
    let asker = ask(pair.client.handle(), b"a request")?;
    until_waits(asker.handle(), WAIT_REASON_LPC_REPLY)?;
    test.check("a request's", holds(&view, b"a request"));
    let object = Port::from_handle(pair.server.create_object(1, 1, 1)?);
    send(&object, b"on a server object")?;
    test.check("what is sent on a server object", holds(&view, b"on a server object"));
    for expected in [&b"a datagram"[..], b"an asynchronous request", b"a request", b"on a server object"] {
        let seen = poll(&pair.server)?.ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        test.equal("received", &seen.payload[..], expected);
        if seen.header.kind() == LPC_REQUEST {
            reply(&pair.server, seen.header.message_id, b"an answer")?;
        }
    }
    let (asked, answer) = asker.join()?;
    test.equal("the answer", (asked, answer.payload()), (Ok(()), &b"an answer"[..]));
    test.check("answers do not lie there", !holds(&view, b"an answer"));
    // Every length, over the end of a page.
    let (pair, _view) = zoned(2 * SIZE)?;
    for length in (0..ROOM).step_by(37).chain([1, 63, 64, 65, ROOM]) {
        let sent: Vec<u8> = (0..length).map(|i| (i * 7 + length) as u8).collect();
        for _ in 0..20 {
            send(&pair.client, &sent)?;
        }
        for _ in 0..20 {
            let received = payload_of(poll(&pair.server)?);
            test.check(format_args!("{length} bytes"), received.as_ref() == Some(&sent));
        }
    }
    Ok(())
}

fn charges_nobody(test: &mut Test) -> NtResult {
    const COUNT: u64 = 8;
    let limits = AlpcPortAttributes { max_pool_usage: 192 * COUNT, ..Default::default() };
    let mut charged = Vec::new();
    for in_zone in [false, true] {
        let server = ConnectionPort::create_with(&limits)?;
        let view = memory(SIZE)?;
        if in_zone {
            server.set_message_zone(Some(&view))?;
        }
        let (accepted, client) = connect(&server, 1)?;
        let before = pool()?;
        let mut sent = 0;
        while send(&client, &[7; 192]).is_ok() {
            sent += 1;
        }
        test.equal("how many the port's pool takes", sent, if in_zone { COUNT } else { COUNT / 2 });
        charged.push((pool()? - before) / sent);
        test.refused("the next", send(&client, &[7; 192]), STATUS_QUOTA_EXCEEDED);
        for _ in 0..sent {
            test.equal("received", payload_of(poll(&server)?), Some(vec![7; 192]));
        }
        drop((accepted, client, server));
    }
    test.equal("charged for each in the pool and in the zone", charged, vec![192 + 192, 192]);
    Ok(())
}

fn full(test: &mut Test) -> NtResult {
    let (pair, view) = zoned(SIZE)?;
    // The zone has room for 8 of them.
    for number in 1..=12u8 {
        send(&pair.client, &[number; 500])?;
    }
    let lie_there = (1..=12u8).filter(|number| holds(&view, &[*number; 500])).count();
    test.equal("in the zone", lie_there, 8);
    for number in 1..=12u8 {
        test.equal("all come", payload_of(poll(&pair.server)?), Some(vec![number; 500]));
    }
    send(&pair.client, &[13; 500])?;
    test.check("there is room again", holds(&view, &[13; 500]));
    let mut large = Message::new(0x1001);
    large.set_length(0x1001)?;
    pair.client.datagram(&mut large, None)?;
    test.check("one that is larger than the zone", poll(&pair.server)?.is_some());
    let mut message = Message::new(0x2000);
    pair.server.receive(&mut message, &mut Attributes::new(), Some(LONG))?;
    test.equal("comes too", message.payload().len(), 0x1001);
    Ok(())
}

/// Whose zone a message goes to.
fn each_port(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let (other_accepted, other) = connect(&pair.server, 2)?;
    let views = [memory(SIZE)?, memory(SIZE)?, memory(SIZE)?];
    pair.server.set_message_zone(Some(&views[0]))?;
    pair.accepted.set_message_zone(Some(&views[1]))?;
    pair.client.set_message_zone(Some(&views[2]))?;
    let lies_in = |payload: &[u8]| views.each_ref().map(|view| holds(view, payload));
    send(&pair.client, b"to a port with a zone")?;
    test.equal(
        "a server's communication port's own",
        lies_in(b"to a port with a zone"),
        [false, true, false],
    );
    send(&other, b"to a port without")?;
    test.equal("else the connection port's", lies_in(b"to a port without"), [true, false, false]);
    send(&pair.accepted, b"to the client")?;
    test.equal("the client's", lies_in(b"to the client"), [false, false, true]);
    send(&other_accepted, b"to the other client")?;
    test.equal("none", lies_in(b"to the other client"), [false; 3]);
    for expected in [&b"to a port with a zone"[..], b"to a port without"] {
        test.equal("received", payload_of(poll(&pair.server)?).as_deref(), Some(expected));
    }
    test.equal("received", payload_of(poll_port(&pair.client)?).as_deref(), Some(&b"to the client"[..]));
    test.equal("received", payload_of(poll_port(&other)?).as_deref(), Some(&b"to the other client"[..]));
    Ok(())
}

/// Answers, messages with a reserve, and what is connected with.
fn what_does_not_lie_there(test: &mut Test) -> NtResult {
    let (pair, view) = zoned(SIZE)?;
    let client_view = memory(SIZE)?;
    pair.client.set_message_zone(Some(&client_view))?;
    let reserve = pair.client.create_reserve(100)?;
    let mut message = text(b"with a reserve")?;
    message.set_reply_to(reserve);
    crate::asking::send(pair.client.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut message)?;
    test.check("a reserve has its own memory", !holds(&view, b"with a reserve"));
    test.equal("it comes", payload_of(poll(&pair.server)?).as_deref(), Some(&b"with a reserve"[..]));
    pair.client.send_request(&mut text(b"question")?, 0)?;
    let seen = expect(&pair.server, LPC_DATAGRAM)?;
    reply(&pair.server, seen.header.message_id, b"answer")?;
    test.check("an answer", !holds(&client_view, b"answer") && !holds(&view, b"answer"));
    test.equal("it comes", payload_of(poll_port(&pair.client)?).as_deref(), Some(&b"answer"[..]));
    let client = connect_async(&pair.server, &AlpcPortAttributes::default(), b"let me in")?;
    test.check("a connection request's payload does", holds(&view, b"let me in"));
    refuse(&pair.server, &expect(&pair.server, LPC_CONNECTION_REQUEST)?)?;
    drop(client);
    Ok(())
}

/// A message that goes without being received leaves its place.
fn cancelled_and_withdrawn(test: &mut Test) -> NtResult {
    let (pair, view) = zoned(SIZE)?;
    for round in 0..200u32 {
        let payload = [round as u8; 500];
        let id = pair.client.send_request(&mut text(&payload)?, round.into())?;
        test.check("it lies there", holds(&view, &payload));
        test.equal("cancelled", pair.client.cancel(id, round.into()), Ok(false));
    }
    for _ in 0..20 {
        let mut message = text(&[9; 500])?;
        let asked = pair.client.request(&mut message, None, Some(Duration::from_millis(1)));
        test.refused("a request that is withdrawn", asked, STATUS_TIMEOUT);
    }
    for number in 1..=8u8 {
        send(&pair.client, &[number; 500])?;
        test.check("there is room for all", holds(&view, &[number; 500]));
    }
    pair.accepted.disconnect()?;
    let (_accepted, client) = connect(&pair.server, 3)?;
    for number in 11..=18u8 {
        send(&client, &[number; 500])?;
        test.check("and after the end of a connection", holds(&view, &[number; 500]));
    }
    Ok(())
}

fn large_messages(test: &mut Test) -> NtResult {
    let (pair, _view) = zoned(SIZE)?;
    send(&pair.client, &[5; 300])?;
    let mut message = Message::new(100);
    let received = pair.server.receive(&mut message, &mut Attributes::new(), Some(Duration::ZERO));
    test.refused("a buffer that is too small", received, STATUS_BUFFER_TOO_SMALL);
    test.equal("with room", payload_of(poll(&pair.server)?), Some(vec![5; 300]));
    Ok(())
}

fn spoilt(test: &mut Test) -> NtResult {
    let (pair, view) = zoned(SIZE)?;
    let mut ids = Vec::new();
    for _ in 0..4 {
        send(&pair.client, &[1; 100])?;
        ids.push(pair.client.send_request(&mut text(&[1; 100])?, 0)?);
    }
    view.write(0, &vec![0xEE; view.size()]);
    let mut seen_ids = Vec::new();
    for number in 0..8 {
        let seen = poll(&pair.server)?.ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        test.equal("lengths", (seen.header.data_length, seen.header.total_length), (100, 0x28 + 100));
        test.equal("the sender", seen.header.client_id, thread::current_id());
        test.equal("only the payload is what was written there", seen.payload, vec![0xEE; 100]);
        if number % 2 == 1 {
            seen_ids.push(seen.header.message_id);
        }
    }
    test.equal("ids", seen_ids, ids);
    Ok(())
}

fn unmapped(test: &mut Test) -> NtResult {
    let (pair, view) = zoned(SIZE)?;
    send(&pair.client, b"before it is unmapped")?;
    drop(view);
    send(&pair.client, b"after it is unmapped")?;
    for expected in [&b"before it is unmapped"[..], b"after it is unmapped"] {
        test.equal("received", payload_of(poll(&pair.server)?).as_deref(), Some(expected));
    }
    // Read-only for this process, which is nothing to the kernel.
    let (pair, view) = zoned(SIZE)?;
    // SAFETY: it is reached by atomics, for reading only.
    unsafe { calls::protect_memory(Handle::CURRENT_PROCESS, view.base(), SIZE, PAGE_READONLY) }?;
    send(&pair.client, b"into read-only memory")?;
    test.check("it lies there", holds(&view, b"into read-only memory"));
    let received = payload_of(poll(&pair.server)?);
    test.equal("received", received.as_deref(), Some(&b"into read-only memory"[..]));
    Ok(())
}

fn taken_away(test: &mut Test) -> NtResult {
    let (pair, view) = zoned(SIZE)?;
    send(&pair.client, b"before")?;
    test.ok("it is taken away", pair.server.set_message_zone(None));
    send(&pair.client, b"behind it")?;
    test.check("nothing comes any more", holds(&view, b"before") && !holds(&view, b"behind it"));
    test.refused("twice", pair.server.set_message_zone(None), STATUS_INVALID_PARAMETER);
    let other = memory(SIZE)?;
    test.ok("another one", pair.server.set_message_zone(Some(&other)));
    send(&pair.client, b"in the other")?;
    test.check("is used", holds(&other, b"in the other") && !holds(&view, b"in the other"));
    drop(view);
    for expected in [&b"before"[..], b"behind it", b"in the other"] {
        test.equal("received", payload_of(poll(&pair.server)?).as_deref(), Some(expected));
    }
    Ok(())
}

fn closed_port(test: &mut Test) -> NtResult {
    let view = memory(SIZE)?;
    // The same memory for one port after the other, with messages in it.
    for _ in 0..3 {
        let pair = Pair::new()?;
        test.ok("a zone", pair.server.set_message_zone(Some(&view)));
        send(&pair.client, b"never received")?;
    }
    // A message that outlives its zone and is the last to know of the section.
    let (pair, view) = zoned(16 * SIZE)?;
    send(&pair.client, b"the last one")?;
    pair.server.set_message_zone(None)?;
    drop(view);
    test.equal("received", payload_of(poll(&pair.server)?).as_deref(), Some(&b"the last one"[..]));
    Ok(())
}

fn wrong_arguments(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let port = pair.server.handle();
    let set = |buffer: u64, size: u32| {
        let information = AlpcPortMessageZoneInformation { buffer, size, reserved: 0x55 };
        calls::set_port(port, ALPC_MESSAGE_ZONE_INFORMATION, information.as_bytes())
    };
    let section = Section::create(0x11_0000)?;
    let view = section.map(0, 0, PAGE_READWRITE)?;
    let base = view.base();
    test.refused("no zone", set(0, 0), STATUS_INVALID_PARAMETER);
    for length in [0, 8, 12, 17] {
        let refused = calls::set_port(port, ALPC_MESSAGE_ZONE_INFORMATION, &[0; 24][..length]);
        test.refused("a wrong length", refused, STATUS_INFO_LENGTH_MISMATCH);
    }
    for (buffer, size) in [
        (base, 0),
        (base, 0xFFF),
        (base, 0x1001),
        (base, 0x10_1000),
        (base, u32::MAX),
        (base + 64, 0x1000),
        (base + 0xFFF, 0x1000),
        (1, 0x1000),
        (0, 0x1001),
    ] {
        test.refused(
            format_args!("size {size:#x} at {buffer:#x}"),
            set(buffer, size),
            STATUS_INVALID_PARAMETER,
        );
    }
    for buffer in
        [0, 0x1000, 0x7FFF_FFFF_F000, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, 0xFFFF_FFFF_FFFF_F000]
    {
        let refused = set(buffer, 0x1000);
        test.refused(format_args!("memory at {buffer:#x}"), refused, STATUS_ACCESS_VIOLATION);
    }
    test.refused("over the end", set(base + 0x10_F000, 0x2000), STATUS_ACCESS_VIOLATION);
    let pages = Pages::allocate(0x1000)?;
    let private = pages.bytes().as_ptr() as u64;
    test.refused("private memory", set(private, 0x1000), STATUS_NOT_MAPPED_VIEW);
    for (what, protect) in [("a read-only view", PAGE_READONLY), ("a view of private copies", PAGE_WRITECOPY)]
    {
        let other = section.map(0, 0x1000, protect)?;
        test.refused(what, set(other.base(), 0x1000), STATUS_ACCESS_VIOLATION);
    }
    let shown = pair.server.section(0x1000, false)?;
    let shown_view = shown.view(0x1000)?;
    let at = shown_view.attribute(0).view_base;
    test.refused("a view of a port section", set(at, 0x1000), STATUS_INVALID_PARAMETER);
    // A page in the middle that cannot be written.
    // SAFETY: nobody writes there but by atomics in the tests above.
    unsafe { calls::protect_memory(Handle::CURRENT_PROCESS, base + 0x2000, 0x1000, PAGE_READONLY) }?;
    test.refused("a page that is read-only", set(base, 0x4000), STATUS_ACCESS_VIOLATION);
    test.ok("what is before it", set(base, 0x2000));
    test.refused("a second zone", set(base + 0x4000, 0x1000), STATUS_PORT_ALREADY_SET);
    test.refused("a second zone that is none", set(base, 1), STATUS_PORT_ALREADY_SET);
    test.ok("the end", set(0, 0));
    test.ok("the largest", set(base + 0x3000, 0x10_0000));
    test.ok("the end", set(0, 0));
    let connect_only = duplicate(port, Some(PORT_CONNECT))?;
    let information = AlpcPortMessageZoneInformation { buffer: base, size: 0x1000, reserved: 0 };
    let refused = calls::set_port(connect_only.raw(), ALPC_MESSAGE_ZONE_INFORMATION, information.as_bytes());
    test.refused("a port that may only be connected to", refused, STATUS_ACCESS_DENIED);
    Ok(())
}

/// Threads that send, one that receives, one that scribbles over the memory, and one that takes the zone away, unmaps it
/// and sets another.
fn races(test: &mut Test) -> NtResult {
    const SENDERS: usize = 2;
    const EACH: usize = 150;
    let server = Arc::new(ConnectionPort::create()?);
    let pairs = (0..SENDERS as u64).map(|i| connect(&server, i)).collect::<NtResult<Vec<_>>>()?;
    let (accepted, clients): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let stop = Arc::new(AtomicBool::new(false));
    let (sets, stops) = (server.clone(), stop.clone());
    let changer = thread::spawn(move || -> NtResult<u32> {
        let mut random = Random::new(3);
        let mut zones = 0;
        while !stops.load(Ordering::SeqCst) {
            let view = memory(0x1000 << random.below(3))?;
            sets.set_message_zone(Some(&view))?;
            zones += 1;
            for _ in 0..random.below(200) {
                view.write(random.below(view.size()), &[random.number() as u8]);
            }
            if random.below(2) == 0 {
                drop(view);
            }
            sets.set_message_zone(None)?;
        }
        Ok(zones)
    })?;
    let senders = clients
        .into_iter()
        .enumerate()
        .map(|(number, client)| {
            thread::spawn(move || -> NtResult {
                let mut random = Random::new(number as u64);
                for _ in 0..EACH {
                    let length = random.below(ROOM);
                    loop {
                        match send(&client, &[0xAB; ROOM][..length]) {
                            Err(STATUS_QUOTA_EXCEEDED) => thread::yield_now(),
                            sent => break sent?,
                        }
                    }
                }
                client.request(&mut text(b"done")?, None, Some(Duration::from_secs(600)))
            })
        })
        .collect::<NtResult<Vec<_>>>()?;
    let (mut received, mut done) = (0, 0);
    while done < SENDERS {
        let seen = receive_within(&server, Duration::from_secs(600))?.ok_or(STATUS_IO_TIMEOUT)?;
        match seen.header.kind() {
            LPC_DATAGRAM => received += 1,
            LPC_REQUEST => reply(&server, seen.header.message_id, b"")?,
            LPC_PORT_CLOSED => done += 1,
            _ => {}
        }
    }
    stop.store(true, Ordering::SeqCst);
    test.equal("all that was sent", received, SENDERS * EACH);
    for sender in senders {
        test.ok("a sender", sender.join()?);
    }
    test.check("zones came and went", changer.join()?? > 0);
    drop(accepted);
    Ok(())
}
