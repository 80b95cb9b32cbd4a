//! Ends: closing and disconnecting, from either side, with messages at every stage; processes that die.

use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::ob::PORT_CONNECT;
use libnt::alpc::{Connect, ConnectionPort, Message, Port};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::process::Process;
use libnt::sys::alpc_control;
use libnt::thread;
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("end/client-closes", client_closes);
    test.case("end/server-closes", server_closes);
    test.case("end/either-disconnects", either_disconnects);
    test.case("end/port-closes", port_closes);
    test.case("end/blocked-senders", blocked_senders);
    test.case("end/client-leaves-a-request", client_leaves_a_request);
    test.case("end/client-processes-die", client_processes_die);
    test.case("end/server-process-dies", server_process_dies);
}

fn client_closes(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    pair.client.datagram(&mut text(b"last words")?, None)?;
    drop(pair.client);
    test.equal("what was sent before", expect(&pair.server, LPC_DATAGRAM)?.payload.as_slice(), b"last words");
    let notice = expect(&pair.server, LPC_PORT_CLOSED)?;
    test.equal("the notice's length", notice.header.data_length, 0);
    test.equal("the notice's context", notice.attributes.context().unwrap_or_default().port_context, CONTEXT);
    test.equal("who closed", notice.header.client_id.unique_process, libnt::process::current_id());
    test.check("the notice comes once", poll(&pair.server)?.is_none());
    let result = pair.accepted.datagram(&mut text(b"x")?, None);
    test.refused("sending to who is gone", result, STATUS_PORT_DISCONNECTED);
    test.refused("receiving from who is gone", poll_port(&pair.accepted), STATUS_PORT_DISCONNECTED);
    Ok(())
}

/// The client learns of the end and finds the connection ended.
fn client_is_told(test: &mut Test, client: &Port) -> NtResult {
    match poll_port(client) {
        Ok(Some(notice)) => drop(test.equal("the client's notice", notice.header.kind(), LPC_PORT_CLOSED)),
        other => test.fail(format_args!("the client's notice: {:?}", other.map(drop))),
    }
    test.refused("the client receiving after it", poll_port(client), STATUS_PORT_DISCONNECTED);
    let result = client.datagram(&mut text(b"x")?, None);
    test.refused("the client sending after it", result, STATUS_PORT_DISCONNECTED);
    let result = request(client.handle(), &mut text(b"x")?, None, Some(LONG));
    test.refused("the client asking after it", result, STATUS_PORT_DISCONNECTED);
    Ok(())
}

fn server_closes(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    drop(pair.accepted);
    client_is_told(test, &pair.client)?;
    drop(pair.client);
    test.check("the server closed itself and needs no notice", poll(&pair.server)?.is_none());
    Ok(())
}

fn either_disconnects(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    test.ok("the server disconnects", pair.accepted.disconnect());
    client_is_told(test, &pair.client)?;
    let pair = Pair::new()?;
    test.ok("the client disconnects", pair.client.disconnect());
    let notice = expect(&pair.server, LPC_PORT_CLOSED)?;
    test.equal("its context", notice.attributes.context().unwrap_or_default().port_context, CONTEXT);
    let result = pair.client.datagram(&mut text(b"x")?, None);
    test.refused("sending after one's own end", result, STATUS_PORT_DISCONNECTED);
    drop(pair.client);
    test.check("closing it then says nothing more", poll(&pair.server)?.is_none());
    let result = alpc_control::disconnect_port(pair.server.handle(), 0);
    test.refused("disconnecting a connection port", result, STATUS_INVALID_PORT_HANDLE);
    Ok(())
}

fn port_closes(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let connect_handle = duplicate(pair.server.handle(), Some(PORT_CONNECT))?;
    drop(pair.server);
    // The connecting handle keeps the port object alive, not the server.
    drop(connect_handle);
    client_is_told(test, &pair.client)
}

/// A thread that asks and waits.
fn ask(port: &Port) -> NtResult<thread::JoinHandle<NtResult>> {
    let port = duplicate(port.handle(), None)?;
    thread::spawn(move || request(port.raw(), &mut text(b"question")?, None, Some(LONG)))
}

fn blocked_senders(test: &mut Test) -> NtResult {
    for received in [false, true] {
        for how in ["closing the connection", "disconnecting", "closing the port"] {
            let pair = Pair::new()?;
            let client = ask(&pair.client)?;
            libnt::wait::one(pair.server.handle(), Some(LONG))?;
            if received {
                expect(&pair.server, LPC_REQUEST)?;
            }
            match how {
                "closing the connection" => drop(pair.accepted),
                "disconnecting" => pair.accepted.disconnect()?,
                _ => drop(pair.server),
            }
            let what = format!("{how} on a request that was {}received", if received { "" } else { "not " });
            test.refused(what, client.join()?, STATUS_PORT_DISCONNECTED);
        }
    }
    Ok(())
}

fn client_leaves_a_request(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let client = ask(&pair.client)?;
    let id = expect(&pair.server, LPC_REQUEST)?.header.message_id;
    pair.client.disconnect()?;
    test.refused("asking when one's own side ends", client.join()?, STATUS_PORT_DISCONNECTED);
    let result = reply(&pair.server, id, b"nobody");
    test.check(
        "answering who is gone",
        matches!(result, Err(STATUS_MESSAGE_NOT_FOUND | STATUS_REQUEST_CANCELED)),
    );
    expect(&pair.server, LPC_PORT_CLOSED)?;
    Ok(())
}

/// Name of the extra handle by which a child reaches the port of these tests.
const PORT: &str = "port";

/// Starts a child of this program in a role; it gets this handle.
fn start(role: &str, handle: Handle, access: Option<u32>) -> NtResult<Process> {
    child_of(&format!("ends/{role}")).give(PORT, handle, access, [0; 4]).spawn()
}

fn end(child: &Process) -> NtResult {
    child.terminate(STATUS_CANCELLED)?;
    child.wait().map(drop)
}

/// What a child does. Each role ends by being ended, or waits here long enough to be noticed.
pub fn child(role: &str) -> NtResult {
    let port = env::extra(PORT).ok_or(STATUS_INVALID_HANDLE)?.handle;
    match role {
        // Serves on the port it was given, and dies with a request in its hands.
        "die-serving" => {
            let mut message = Message::new(ROOM);
            let port = Port::from_handle(OwnedHandle::new(port));
            port.receive(&mut message, None, Some(LONG))?;
            libnt::process::exit(STATUS_SUCCESS)
        }
        "connect" => Port::connect_to::<Box<[u64]>>(port, &Connect::default(), None).map(drop),
        _ => {
            let client = Port::connect_to::<Box<[u64]>>(port, &Connect::default(), None)?;
            client.datagram(&mut text(b"here")?, None)?;
            if role == "ask" {
                client.request(&mut text(b"question")?, None, None)?;
            }
            libnt::time::sleep(Duration::from_secs(600));
            Ok(())
        }
    }
}

fn client_processes_die(test: &mut Test) -> NtResult {
    // While it waits to be connected: with the request queued, and with it received.
    for received in [false, true] {
        let server = ConnectionPort::create()?;
        let client = start("connect", server.handle(), Some(PORT_CONNECT))?;
        libnt::wait::one(server.handle(), Some(LONG))?;
        let request = if received { Some(expect(&server, LPC_CONNECTION_REQUEST)?) } else { None };
        end(&client)?;
        match request {
            Some(request) => {
                let result = accept(&server, &request, 0, b"").map(drop);
                let expected = matches!(result, Err(STATUS_REQUEST_CANCELED | STATUS_INVALID_MESSAGE));
                test.check("accepting a process that died", expected);
            }
            None => drop(test.check("the request of a process that died", poll(&server)?.is_none())),
        }
    }
    // Connected; with a request queued; with a request received.
    for (role, received) in [("idle", false), ("ask", false), ("ask", true)] {
        let server = ConnectionPort::create()?;
        let client = start(role, server.handle(), Some(PORT_CONNECT))?;
        let request = receive_within(&server, LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
        let _accepted = accept(&server, &request, CONTEXT, b"")?;
        test.equal(
            "the child's first words",
            receive_within(&server, LONG)?.map(|s| s.payload),
            Some(b"here".to_vec()),
        );
        let mut id = 0;
        if role == "ask" {
            libnt::wait::one(server.handle(), Some(LONG))?;
            if received {
                id = expect(&server, LPC_REQUEST)?.header.message_id;
            }
        }
        end(&client)?;
        let notice = expect(&server, LPC_PORT_CLOSED)?;
        let what = format!("the notice of a process that died, {role}, received: {received}");
        test.equal(&what, notice.attributes.context().unwrap_or_default().port_context, CONTEXT);
        test.equal(
            "who died",
            notice.header.client_id.unique_process,
            request.header.client_id.unique_process,
        );
        test.check("its request is gone", poll(&server)?.is_none());
        if received {
            test.check("answering who died", reply(&server, id, b"").is_err());
        }
    }
    Ok(())
}

fn server_process_dies(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let server = start("die-serving", pair.server.handle(), None)?;
    let (accepted, client) = (pair.accepted, ask(&pair.client)?);
    // The child alone serves now; the server's side of the connection is ours still, and ends with the port.
    drop(pair.server);
    test.equal("the serving child", server.wait(), Ok(STATUS_SUCCESS));
    test.refused("asking a process that dies", client.join()?, STATUS_PORT_DISCONNECTED);
    drop(accepted);
    client_is_told(test, &pair.client)
}
