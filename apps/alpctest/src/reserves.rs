//! Resource reserves: a message that gets through when others do not.

use crate::asking::*;
use crate::pair::*;
use libnt::abi::alpc::*;
use libnt::alpc::Message;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::alpc_control::{create_resource_reserve, delete_resource_reserve};
use libnt::thread;
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("reserve/wrong-arguments", wrong_arguments);
    test.case("reserve/used-again", used_again);
    test.case("reserve/request", request);
    test.case("reserve/when-nothing-else-goes", when_nothing_else_goes);
    test.case("reserve/deleted-in-use", deleted_in_use);
    test.case("reserve/goes-with-its-port", goes_with_its_port);
}

fn wrong_arguments(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let client = pair.client.handle();
    for size in [0, 1, 0x27] {
        test.refused("no room for a header", create_resource_reserve(client, size), STATUS_INVALID_PARAMETER);
    }
    for size in [0x1_0000, 1 << 32, u64::MAX] {
        let too_long = create_resource_reserve(client, size);
        test.refused("longer than any message", too_long, STATUS_PORT_MESSAGE_TOO_LONG);
    }
    let on_port = create_resource_reserve(pair.server.handle(), 0x100);
    test.refused("on a connection port", on_port, STATUS_INVALID_PORT_HANDLE);
    let id = pair.client.create_reserve(64)?;
    test.check("its id is no message's", id >= ALPC_RESERVE_ID);
    for (port, id) in [(client, 0), (client, id ^ 0x1_0000), (client, 5), (pair.accepted.handle(), id)] {
        test.refused(
            "deleting what is not there",
            delete_resource_reserve(port, id),
            STATUS_INVALID_PARAMETER,
        );
    }
    let theirs = send(pair.accepted.handle(), 0, &mut naming(id, 0, b"x")?);
    test.refused("the other side's", theirs, STATUS_MESSAGE_NOT_FOUND);
    test.ok("deleting it", delete_resource_reserve(client, id));
    test.refused("deleting it twice", delete_resource_reserve(client, id), STATUS_INVALID_PARAMETER);
    test.refused("using it after that", send(client, 0, &mut naming(id, 0, b"x")?), STATUS_MESSAGE_NOT_FOUND);
    let mut many = 0;
    let last = loop {
        match pair.client.create_reserve(8) {
            Ok(_) => many += 1,
            Err(status) => break status,
        }
    };
    test.equal("how many one port has", (many, last), (64, STATUS_QUOTA_EXCEEDED));
    Ok(())
}

fn used_again(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let id = pair.client.create_reserve(16)?;
    let mut ids = Vec::new();
    for round in 0..5u8 {
        let payload = [round; 16];
        send(pair.client.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut naming(id, 0, &payload)?)?;
        let busy = send(pair.client.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut naming(id, 0, b"x")?);
        test.refused("while it is in use", busy, STATUS_INSUFFICIENT_RESOURCES);
        let seen = expect(&pair.server, LPC_DATAGRAM)?;
        test.equal("the payload", seen.payload.as_slice(), payload.as_slice());
        test.check("the message's id is new", !ids.contains(&seen.header.message_id));
        ids.push(seen.header.message_id);
    }
    let long = send(pair.client.handle(), 0, &mut naming(id, 0, &[0; 17])?);
    test.refused("more than it was made for", long, STATUS_PORT_MESSAGE_TOO_LONG);
    // Held until it is given back.
    send(pair.client.handle(), 0, &mut naming(id, 0, b"held")?)?;
    let seen = expect(&pair.server, LPC_DATAGRAM)?;
    let held = send(pair.client.handle(), 0, &mut naming(id, 0, b"x")?);
    test.refused("while its message is held", held, STATUS_INSUFFICIENT_RESOURCES);
    reply(&pair.server, seen.header.message_id, b"answer")?;
    test.equal("its answer", poll_port(&pair.client)?.map(|s| s.payload), Some(b"answer".to_vec()));
    send(pair.client.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut naming(id, 0, b"free")?)?;
    test.equal("free again", expect(&pair.server, LPC_DATAGRAM)?.payload, b"free".to_vec());
    Ok(())
}

fn request(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let id = pair.client.create_reserve(64)?;
    for _ in 0..3 {
        let port = duplicate(pair.client.handle(), None)?;
        let asker = thread::spawn(move || {
            let mut message = naming(id, 0, b"question")?;
            exchange(port.raw(), 0, &mut message, None).map(|_| message)
        })?;
        let seen = expect(&pair.server, LPC_REQUEST)?;
        test.equal("the question", seen.payload.as_slice(), b"question");
        reply(&pair.server, seen.header.message_id, &[1; 200])?;
        let answer: Message = asker.join()??;
        test.equal("the answer's id", answer.header().message_id, seen.header.message_id);
        test.equal("the answer is longer than the reserve", answer.payload(), [1; 200].as_slice());
    }
    Ok(())
}

fn when_nothing_else_goes(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let id = pair.client.create_reserve(64)?;
    let mut sent = 0;
    let refused = loop {
        match pair.client.datagram(&mut text(b"flood")?, None) {
            Ok(()) => sent += 1,
            Err(status) => break status,
        }
    };
    test.equal("an ordinary message", refused, STATUS_QUOTA_EXCEEDED);
    send(pair.client.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut naming(id, 0, b"through")?)?;
    for _ in 0..sent {
        expect(&pair.server, LPC_DATAGRAM)?;
    }
    test.equal("the reserve's", expect(&pair.server, LPC_DATAGRAM)?.payload, b"through".to_vec());
    test.check("that was all", poll(&pair.server)?.is_none());
    Ok(())
}

fn deleted_in_use(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let id = pair.client.create_reserve(64)?;
    send(pair.client.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut naming(id, 0, b"on its way")?)?;
    test.ok("deleting it", delete_resource_reserve(pair.client.handle(), id));
    test.equal("its message", expect(&pair.server, LPC_DATAGRAM)?.payload, b"on its way".to_vec());
    let gone = send(pair.client.handle(), 0, &mut naming(id, 0, b"x")?);
    test.refused("it is gone", gone, STATUS_MESSAGE_NOT_FOUND);
    Ok(())
}

fn goes_with_its_port(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let (idle, used) = (pair.client.create_reserve(64)?, pair.client.create_reserve(64)?);
    test.check("two are two", idle != used);
    send(pair.client.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, &mut naming(used, 0, b"last words")?)?;
    drop(pair.client);
    test.equal("its message is there", expect(&pair.server, LPC_DATAGRAM)?.payload, b"last words".to_vec());
    expect(&pair.server, LPC_PORT_CLOSED)?;
    let (accepted, client) = connect(&pair.server, 2)?;
    accepted.disconnect()?;
    test.refused("without a connection", client.create_reserve(64), STATUS_PORT_DISCONNECTED);
    Ok(())
}
