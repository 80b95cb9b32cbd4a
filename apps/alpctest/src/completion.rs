//! Ports that post to I/O completion objects, and alertable waits on ports.

use crate::pair::*;
use alloc::sync::Arc;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::completion::*;
use libnt::abi::info::{WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY};
use libnt::abi::ob::{IO_COMPLETION_QUERY_STATE, PORT_CONNECT};
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::apc;
use libnt::completion::IoCompletion;
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::calls;
use libnt::wait::Ended;
use libnt::{thread, wait};
use testkit::{Test, until_waits};
use zerocopy::IntoBytes;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("completion/messages-post", messages_post);
    test.case("completion/queued-before", queued_before);
    test.case("completion/every-role", every_role);
    test.case("completion/only-once", only_once);
    test.case("completion/wrong-arguments", wrong_arguments);
    test.case("completion/refusal", refusal);
    test.case("completion/closed-port", closed_port);
    test.case("completion/closed-object", closed_object);
    test.case("completion/server", server);
    test.case("alertable/receive", receive);
    test.case("alertable/request", request);
    test.case("alertable/connect", connecting);
    test.case("alertable/poll", poll_alerted);
}

const NOW: Option<Duration> = Some(Duration::ZERO);

/// The keys of all packets that are there.
fn keys(object: &IoCompletion) -> NtResult<Vec<u64>> {
    let mut keys = Vec::new();
    while let Some(packet) = object.remove(NOW)? {
        let expected = FileIoCompletionInformation { key_context: packet.key_context, ..Default::default() };
        if packet != expected {
            return Err(STATUS_INVALID_MESSAGE);
        }
        keys.push(packet.key_context);
    }
    Ok(keys)
}

fn messages_post(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let object = IoCompletion::create(1)?;
    pair.server.associate(&object, 77)?;
    test.equal("nothing was there", keys(&object)?, vec![]);
    for _ in 0..3 {
        pair.client.datagram(&mut text(b"x")?, None)?;
    }
    test.equal("packets", object.depth()?, 3);
    test.equal("their keys", keys(&object)?, vec![77; 3]);
    for _ in 0..3 {
        test.check("the messages are there", poll(&pair.server)?.is_some());
    }
    test.check("and no more", poll(&pair.server)?.is_none());
    // A receiver that took the message before leaves the packet.
    pair.client.datagram(&mut text(b"x")?, None)?;
    test.check("received without the packet", poll(&pair.server)?.is_some());
    test.equal("the packet", keys(&object)?, vec![77]);
    test.check("finds nothing", poll(&pair.server)?.is_none());
    Ok(())
}

fn queued_before(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    for _ in 0..5 {
        pair.client.datagram(&mut text(b"x")?, None)?;
    }
    let object = IoCompletion::create(1)?;
    pair.server.associate(&object, 1)?;
    test.equal("one for each message that waits", keys(&object)?, vec![1; 5]);
    Ok(())
}

fn every_role(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let other = connect(&pair.server, 2)?;
    let object = IoCompletion::create(1)?;
    pair.client.associate(&object, 3)?;
    pair.accepted.associate(&object, 2)?;
    pair.server.associate(&object, 1)?;
    other.1.datagram(&mut text(b"x")?, None)?;
    test.equal("another connection's message", keys(&object)?, vec![1]);
    pair.client.datagram(&mut text(b"x")?, None)?;
    let mut both = keys(&object)?;
    both.sort_unstable();
    test.equal("a message that two ports may receive", both, vec![1, 2]);
    pair.accepted.datagram(&mut text(b"x")?, None)?;
    test.equal("a message for the client", keys(&object)?, vec![3]);
    pair.accepted.disconnect()?;
    test.equal("the end of the connection", keys(&object)?, vec![3]);
    let server = pair.server.create_object(9, 1, 1)?;
    Port::from_handle(server).datagram(&mut text(b"x")?, None)?;
    test.equal("a message on a server object, and its close", keys(&object)?, vec![1, 1]);
    Ok(())
}

fn only_once(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let (object, other) = (IoCompletion::create(1)?, IoCompletion::create(1)?);
    pair.server.associate(&object, 1)?;
    test.refused("the same object", pair.server.associate(&object, 1), STATUS_PORT_ALREADY_SET);
    test.refused("another object", pair.server.associate(&other, 2), STATUS_PORT_ALREADY_SET);
    pair.client.datagram(&mut text(b"x")?, None)?;
    test.equal("the first counts", (keys(&object)?, keys(&other)?), (vec![1], vec![]));
    Ok(())
}

fn wrong_arguments(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let object = IoCompletion::create(1)?;
    let set = |handle: Handle, length: usize| {
        let information = AlpcPortAssociateCompletionPort { completion_key: 1, completion_port: handle };
        let bytes = information.as_bytes();
        calls::set_port(
            pair.server.handle(),
            ALPC_ASSOCIATE_COMPLETION_PORT_INFORMATION,
            &bytes[..length.min(bytes.len())],
        )
    };
    test.refused("no handle", set(Handle::NULL, 16), STATUS_INVALID_HANDLE);
    test.refused("a port's handle", set(pair.client.handle(), 16), STATUS_OBJECT_TYPE_MISMATCH);
    let blind = duplicate(object.handle(), Some(IO_COMPLETION_QUERY_STATE))?;
    test.refused("no right to post", set(blind.raw(), 16), STATUS_ACCESS_DENIED);
    test.refused("a short structure", set(object.handle(), 8), STATUS_INFO_LENGTH_MISMATCH);
    let unknown = calls::set_port(pair.server.handle(), 0x77, &[0; 16]);
    test.refused("an unknown class", unknown, STATUS_INVALID_INFO_CLASS);
    let connect_only = duplicate(pair.server.handle(), Some(PORT_CONNECT))?;
    let information = AlpcPortAssociateCompletionPort { completion_key: 1, completion_port: object.handle() };
    let refused = calls::set_port(
        connect_only.raw(),
        ALPC_ASSOCIATE_COMPLETION_PORT_INFORMATION,
        information.as_bytes(),
    );
    test.refused("a port that may only be connected to", refused, STATUS_ACCESS_DENIED);
    test.ok("after all that", pair.server.associate(&object, 1));
    Ok(())
}

fn refusal(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let object = IoCompletion::create(1)?;
    let client = connect_async(&server, &AlpcPortAttributes::default(), b"")?;
    client.associate(&object, 4)?;
    test.equal("before the answer", keys(&object)?, vec![]);
    refuse(&server, &expect(&server, LPC_CONNECTION_REQUEST)?)?;
    test.equal("the refusal", keys(&object)?, vec![4]);
    test.refused("what the receive says", poll_port(&client), STATUS_PORT_CONNECTION_REFUSED);
    Ok(())
}

fn closed_port(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let object = IoCompletion::create(1)?;
    pair.server.associate(&object, 1)?;
    pair.client.associate(&object, 2)?;
    pair.client.datagram(&mut text(b"x")?, None)?;
    drop(pair.server);
    test.equal("a closed port's packets are gone; its end is told", keys(&object)?, vec![2]);
    drop(pair.client);
    drop(pair.accepted);
    test.equal("nothing more", keys(&object)?, vec![]);
    Ok(())
}

fn closed_object(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let object = IoCompletion::create(1)?;
    pair.server.associate(&object, 1)?;
    pair.client.datagram(&mut text(b"x")?, None)?;
    drop(object);
    pair.client.datagram(&mut text(b"y")?, None)?;
    test.check("messages still come", poll(&pair.server)?.is_some() && poll(&pair.server)?.is_some());
    let other = IoCompletion::create(1)?;
    test.refused("the port stays tied", pair.server.associate(&other, 1), STATUS_PORT_ALREADY_SET);
    Ok(())
}

/// A server of two threads that waits for packets and drains its port, and blocking clients.
fn server(test: &mut Test) -> NtResult {
    const CLIENTS: usize = 3;
    const ROUNDS: usize = 40;
    const STOP: u64 = 99;
    let port = ConnectionPort::create()?;
    let object = Arc::new(IoCompletion::create(0)?);
    let pairs = (0..CLIENTS as u64).map(|i| connect(&port, i)).collect::<NtResult<Vec<_>>>()?;
    let (accepted, clients): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    port.associate(&object, 1)?;
    let port = Arc::new(port);
    let workers = (0..2)
        .map(|_| {
            let (port, object) = (port.clone(), object.clone());
            thread::spawn(move || -> NtResult<usize> {
                let mut answered = 0;
                loop {
                    let Some(packet) = object.remove(None)? else { continue };
                    if packet.key_context == STOP {
                        return Ok(answered);
                    }
                    // What each of the two gets differs from run to run, so it is not recorded.
                    let mut message = Message::new(ROOM);
                    while port.receive(&mut message, &mut Attributes::new(), NOW)? {
                        if message.header().kind() == LPC_REQUEST {
                            message.set_reply_to(message.header().message_id);
                            port.reply(&mut message, None)?;
                            answered += 1;
                        }
                    }
                }
            })
        })
        .collect::<NtResult<Vec<_>>>()?;
    let askers = clients
        .into_iter()
        .map(|client| {
            thread::spawn(move || -> NtResult<usize> {
                let mut right = 0;
                for round in 0..ROUNDS {
                    let mut message = text(&round.to_le_bytes())?;
                    client.request(&mut message, None, Some(LONG))?;
                    right += usize::from(message.payload() == round.to_le_bytes());
                }
                Ok(right)
            })
        })
        .collect::<NtResult<Vec<_>>>()?;
    for asker in askers {
        test.equal("right answers", asker.join()??, ROUNDS);
    }
    for _ in &workers {
        object.post(STOP, 0, STATUS_SUCCESS, 0)?;
    }
    let mut answered = 0;
    for worker in workers {
        answered += worker.join()??;
    }
    test.equal("all requests", answered, CLIENTS * ROUNDS);
    drop(accepted);
    Ok(())
}

extern "sysv64" fn set_event(event: u64, _: u64, _: u64) {
    let _ = calls::set_event(Handle(event));
}

fn receive(test: &mut Test) -> NtResult {
    let port = Arc::new(ConnectionPort::create()?);
    let waits = port.clone();
    let thread = thread::spawn(move || {
        let mut message = Message::new(ROOM);
        waits.receive_alertable(&mut message, &mut Attributes::new(), Some(LONG))
    })?;
    until_waits(thread.handle(), WAIT_REASON_LPC_RECEIVE)?;
    apc::alert(thread.handle())?;
    test.equal("a receive that was alerted", thread.join()?, Ok(Ended::Alerted));
    let (waits, event) = (port.clone(), Event::notification(false)?);
    let thread = thread::spawn(move || {
        let mut message = Message::new(ROOM);
        waits.receive_alertable(&mut message, &mut Attributes::new(), Some(LONG))
    })?;
    until_waits(thread.handle(), WAIT_REASON_LPC_RECEIVE)?;
    apc::queue(&thread, set_event, [event.handle().0, 0, 0])?;
    test.equal("a receive that an APC ended", thread.join()?, Ok(Ended::Apc));
    test.equal("the APC ran", wait::one(event.handle(), NOW), Ok(true));
    // The waiters are gone: the next message is not lost on them.
    let client = connect_async(&port, &AlpcPortAttributes::default(), b"")?;
    test.check("the next message", poll(&port)?.is_some());
    drop(client);
    Ok(())
}

fn request(test: &mut Test) -> NtResult {
    let Pair { server, accepted, client } = Pair::new()?;
    let client = Arc::new(client);
    for seen_before in [false, true] {
        let asks = client.clone();
        let thread = thread::spawn(move || -> NtResult<Ended> {
            asks.request_alertable(&mut text(b"question")?, None, Some(LONG))
        })?;
        until_waits(thread.handle(), WAIT_REASON_LPC_REPLY)?;
        let seen = if seen_before { poll(&server)? } else { None };
        apc::alert(thread.handle())?;
        test.equal("a request that was alerted", thread.join()?, Ok(Ended::Alerted));
        if let Some(seen) = seen {
            let late = reply(&server, seen.header.message_id, b"late");
            test.refused("a reply to it", late, STATUS_MESSAGE_NOT_FOUND);
        }
        test.check("it was taken back", poll(&server)?.is_none());
    }
    // An APC, with a reply after all.
    let asks = client.clone();
    let thread = thread::spawn(move || -> NtResult<(Ended, Vec<u8>)> {
        let mut message = text(b"question")?;
        let ended = asks.request_alertable(&mut message, None, Some(LONG))?;
        Ok((ended, message.payload().to_vec()))
    })?;
    let seen = expect(&server, LPC_REQUEST)?;
    reply(&server, seen.header.message_id, b"answer")?;
    let answered = thread.join()?;
    test.equal("one that was answered", answered, Ok((Ended::Signalled(0), b"answer".to_vec())));
    drop(accepted);
    Ok(())
}

fn connecting(test: &mut Test) -> NtResult {
    let server = Arc::new(ConnectionPort::create()?);
    let to = server.clone();
    let thread = thread::spawn(move || -> NtResult<Option<Ended>> {
        Port::connect_alertable(to.handle(), Some(LONG)).map(|connected| connected.err())
    })?;
    until_waits(thread.handle(), WAIT_REASON_LPC_REPLY)?;
    apc::alert(thread.handle())?;
    test.equal("a connect that was alerted", thread.join()?, Ok(Some(Ended::Alerted)));
    test.check("it was taken back", poll(&server)?.is_none());
    Ok(())
}

fn poll_alerted(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let mut message = Message::new(ROOM);
    calls::alert_thread(Handle::CURRENT_THREAD)?;
    pair.client.datagram(&mut text(b"x")?, None)?;
    let found = pair.server.receive_alertable(&mut message, &mut Attributes::new(), NOW);
    test.equal("a message comes before an alert", found, Ok(Ended::Signalled(0)));
    let found = pair.server.receive_alertable(&mut message, &mut Attributes::new(), NOW);
    test.equal("an alert comes before the time-out", found, Ok(Ended::Alerted));
    let found = pair.server.receive_alertable(&mut message, &mut Attributes::new(), NOW);
    test.equal("and is told once", found, Ok(Ended::TimedOut));
    Ok(())
}
