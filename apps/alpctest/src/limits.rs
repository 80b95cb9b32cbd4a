//! Port limits: lengths, memory, and what one client may take up.

use crate::pair::*;
use libnt::abi::alpc::*;
use libnt::alpc::{ConnectionPort, Port};
use libnt::prelude::*;
use libnt::sys::{alpc_control, calls};
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("limit/message-length", message_length);
    test.case("limit/pool-of-a-client", pool_of_a_client);
    test.case("limit/pool-of-a-server", pool_of_a_server);
    test.case("limit/one-client", one_client);
    test.case("limit/set-information", set_information);
    test.case("limit/large-messages", large_messages);
}

/// A connection whose two sides were made with these attributes.
fn limited(
    server: &ConnectionPort,
    of_client: &AlpcPortAttributes,
    of_server: &AlpcPortAttributes,
) -> NtResult<(Port, Port)> {
    let client = connect_async(server, of_client, b"")?;
    let mut request = text(b"")?;
    request.set_reply_to(expect(server, LPC_CONNECTION_REQUEST)?.header.message_id);
    let accepted = calls::accept_port(server.handle(), Some(of_server), 1, request.words(), true)?;
    poll_port(&client)?;
    Ok((Port::from_handle(OwnedHandle::new(accepted)), client))
}

fn message_length(test: &mut Test) -> NtResult {
    let length = |max_message_length| AlpcPortAttributes { max_message_length, ..Default::default() };
    let server = ConnectionPort::create_with(&length(0x28 + 100))?;
    let (accepted, client) = limited(&server, &length(0x28 + 50), &length(0x28 + 500))?;
    let sends = |port: &Port, bytes: usize| port.datagram(&mut text(&[1; 512][..bytes])?, None);
    test.ok("all that a client's port allows", sends(&client, 50));
    test.refused("one byte more", sends(&client, 51), STATUS_PORT_MESSAGE_TOO_LONG);
    test.ok("all that the connection port allows", sends(&accepted, 100));
    test.refused("more than that", sends(&accepted, 101), STATUS_PORT_MESSAGE_TOO_LONG);
    for bad in [1, 0x27] {
        let made = calls::create_port(&length(bad)).map(OwnedHandle::new).map(drop);
        test.refused("no room for a header", made, STATUS_INVALID_PARAMETER);
    }
    let long = text(&[0; 60])?;
    let refused = calls::connect_port(
        server.handle(),
        Some(&length(0x28 + 50)),
        0,
        Some(&mut long.words().to_vec()),
        None,
    );
    test.refused("a connection message", refused.map(drop), STATUS_PORT_MESSAGE_TOO_LONG);
    Ok(())
}

/// Sends until it is refused: how many went, and the status.
fn fill(port: &Port, payload: &[u8]) -> NtResult<(u32, NtStatus)> {
    let mut sent = 0;
    loop {
        match port.datagram(&mut text(payload)?, None) {
            Ok(()) => sent += 1,
            Err(status) => return Ok((sent, status)),
        }
    }
}

fn pool_of_a_client(test: &mut Test) -> NtResult {
    let pool =
        AlpcPortAttributes { max_pool_usage: 3 * (192 + 100), memory_bandwidth: 512, ..Default::default() };
    let server = ConnectionPort::create()?;
    let (accepted, client) = limited(&server, &pool, &AlpcPortAttributes::default())?;
    test.equal("as much as fits", fill(&client, &[0; 100])?, (3, STATUS_QUOTA_EXCEEDED));
    expect(&server, LPC_DATAGRAM)?;
    test.equal("one more when one was received", fill(&client, &[0; 100])?, (1, STATUS_QUOTA_EXCEEDED));
    test.ok("the other side is free", accepted.datagram(&mut text(b"x")?, None));
    Ok(())
}

fn pool_of_a_server(test: &mut Test) -> NtResult {
    let pool = AlpcPortAttributes { max_pool_usage: 4 * (192 + 100), ..Default::default() };
    let server = ConnectionPort::create_with(&pool)?;
    let open = AlpcPortAttributes { max_pool_usage: 0xFFFF_FFFF, ..Default::default() };
    let (_one_accepted, one) = limited(&server, &open, &open)?;
    let (_two_accepted, two) = limited(&server, &open, &open)?;
    two.datagram(&mut text(&[0; 100])?, None)?;
    test.equal("all clients together", fill(&one, &[0; 100])?, (3, STATUS_QUOTA_EXCEEDED));
    let object = Port::from_handle(server.create_object(1, 1, 1)?);
    test.equal("and on objects", fill(&object, &[0; 100])?, (0, STATUS_QUOTA_EXCEEDED));
    for _ in 0..4 {
        expect(&server, LPC_DATAGRAM)?;
    }
    test.equal("when it is empty", fill(&object, &[0; 100])?, (4, STATUS_QUOTA_EXCEEDED));
    Ok(())
}

fn one_client(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let (_accepted, other) = connect(&pair.server, 2)?;
    test.equal("one client", fill(&pair.client, b"flood")?, (4096, STATUS_QUOTA_EXCEEDED));
    test.ok("another one", other.datagram(&mut text(b"me too")?, None));
    test.ok("its own requests", {
        let asker = crate::asking::ask(pair.client.handle(), b"question")?;
        for _ in 0..4096 {
            expect(&pair.server, LPC_DATAGRAM)?;
        }
        expect(&pair.server, LPC_DATAGRAM)?;
        let seen = expect(&pair.server, LPC_REQUEST)?;
        reply(&pair.server, seen.header.message_id, b"answer")?;
        asker.join()?.0
    });
    Ok(())
}

fn set_information(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let made = AlpcPortAttributes::default();
    let (_accepted, client) = limited(&server, &made, &made)?;
    let set =
        |attributes: &AlpcPortAttributes| alpc_control::set_port_attributes(client.handle(), attributes);
    test.ok("a shorter length", set(&AlpcPortAttributes { max_message_length: 0x28 + 4, ..made }));
    let long = client.datagram(&mut text(b"12345")?, None);
    test.refused("counts at once", long, STATUS_PORT_MESSAGE_TOO_LONG);
    test.ok("a pool", set(&AlpcPortAttributes { max_pool_usage: 2 * (192 + 5), ..made }));
    test.equal("counts at once", fill(&client, b"12345")?, (2, STATUS_QUOTA_EXCEEDED));
    let other = AlpcPortAttributes { flags: ALPC_PORFLG_WAITABLE_PORT, ..made };
    test.refused("other flags", set(&other), STATUS_INVALID_PARAMETER);
    let short = AlpcPortAttributes { max_message_length: 5, ..made };
    test.refused("no room for a header", set(&short), STATUS_INVALID_PARAMETER);
    Ok(())
}

/// What is too large for a receiver is in nobody's way.
fn large_messages(test: &mut Test) -> NtResult {
    use libnt::alpc::{Attributes, Message};
    use libnt::wait;
    let pair = Pair::new()?;
    let waitable = || wait::one(pair.server.handle(), Some(core::time::Duration::ZERO));
    pair.client.datagram(&mut text(&[7; 200])?, None)?;
    pair.client.datagram(&mut text(b"small")?, None)?;
    let (mut message, mut attributes) = (Message::new(16), Attributes::new());
    let mut receive = |message: &mut Message| {
        pair.server.receive(message, &mut attributes, Some(core::time::Duration::ZERO))
    };
    test.refused("the large one first", receive(&mut message), STATUS_BUFFER_TOO_SMALL);
    test.equal("then the small one", receive(&mut message), Ok(true));
    test.equal("its payload", message.payload(), b"small");
    test.refused("nothing smaller is left", receive(&mut message), STATUS_BUFFER_TOO_SMALL);
    test.ok("the port is signalled", waitable().map(drop));
    test.equal("it is received with room", expect(&pair.server, LPC_DATAGRAM)?.payload, vec![7; 200]);
    // An answer that does not fit is not lost.
    let mut question = Message::new(8);
    question.set_payload(b"question")?;
    let port = libnt::handle::duplicate(pair.client.handle(), None)?;
    let asker =
        libnt::thread::spawn(move || libnt::alpc::request(port.raw(), &mut question, None, Some(LONG)))?;
    let seen = expect(&pair.server, LPC_REQUEST)?;
    reply(&pair.server, seen.header.message_id, &[9; 100])?;
    test.refused("the asker", asker.join()?, STATUS_BUFFER_TOO_SMALL);
    let answer = poll_port(&pair.client)?;
    let what = answer.map(|s| (s.header.kind(), s.header.message_id, s.payload));
    test.equal("the answer is on its port", what, Some((LPC_REPLY, seen.header.message_id, vec![9; 100])));
    Ok(())
}
