//! A server and a client in one process, connected without threads.

use core::time::Duration;
use libnt::abi::alpc::{AlpcPortAttributes, LPC_CONNECTION_REPLY, LPC_CONNECTION_REQUEST, PortMessage};
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::prelude::*;
use libnt::sys::calls;

/// Longer than anything here takes.
pub const LONG: Duration = Duration::from_secs(10);

/// Payload room of the buffers here.
pub const ROOM: usize = 512;

/// A message that was received.
#[derive(Debug)]
pub struct Seen {
    pub header: PortMessage,
    pub payload: Vec<u8>,
    pub attributes: Attributes,
}

/// Receives on a connection port; `None` when nothing is there.
pub fn poll(port: &ConnectionPort) -> NtResult<Option<Seen>> {
    receive_within(port, Duration::ZERO)
}

/// Receives on a connection port within a time.
pub fn receive_within(port: &ConnectionPort, time: Duration) -> NtResult<Option<Seen>> {
    let (mut message, mut attributes) = (Message::new(ROOM), Attributes::new());
    let there = port.receive(&mut message, &mut attributes, Some(time))?;
    Ok(there.then(|| Seen { header: message.header(), payload: message.payload().to_vec(), attributes }))
}

/// Receives on a communication port; `None` when nothing is there.
pub fn poll_port(port: &Port) -> NtResult<Option<Seen>> {
    let (mut message, mut attributes) = (Message::new(ROOM), Attributes::new());
    let there = port.receive(&mut message, Some(&mut attributes), Some(Duration::ZERO))?;
    Ok(there.then(|| Seen { header: message.header(), payload: message.payload().to_vec(), attributes }))
}

/// A message with this payload.
pub fn text(payload: &[u8]) -> NtResult<Message> {
    let mut message = Message::new(ROOM);
    message.set_payload(payload)?;
    Ok(message)
}

/// Starts to connect without waiting; the client's port.
pub fn connect_async(
    port: &ConnectionPort,
    attributes: &AlpcPortAttributes,
    payload: &[u8],
) -> NtResult<Port> {
    let mut message = text(payload)?;
    let (handle, _) =
        calls::connect_port(port.handle(), Some(attributes), 0, Some(message.words_mut()), None)?;
    Ok(Port::from_handle(OwnedHandle::new(handle)))
}

/// Receives something that must be of this type.
pub fn expect(port: &ConnectionPort, kind: u16) -> NtResult<Seen> {
    receive_within(port, LONG)?.filter(|seen| seen.header.kind() == kind).ok_or(STATUS_INVALID_MESSAGE)
}

/// A connected pair.
#[derive(Debug)]
pub struct Pair {
    pub server: ConnectionPort,
    /// The server's side of the connection.
    pub accepted: Port,
    pub client: Port,
}

/// The port context of a [`Pair`].
pub const CONTEXT: u64 = 0x1234_5678_9ABC_DEF0;

impl Pair {
    /// A pair with ordinary ports.
    pub fn new() -> NtResult<Self> {
        Self::on(ConnectionPort::create()?)
    }

    /// A pair on this connection port.
    pub fn on(server: ConnectionPort) -> NtResult<Self> {
        let (accepted, client) = connect(&server, CONTEXT)?;
        Ok(Self { server, accepted, client })
    }
}

/// Connects to a port of this process; the server's and the client's side.
pub fn connect(server: &ConnectionPort, context: u64) -> NtResult<(Port, Port)> {
    use libnt::abi::alpc::{ALPC_PORFLG_ALLOW_DUP_OBJECT, ALPC_PORFLG_WAITABLE_PORT};
    let flags = ALPC_PORFLG_ALLOW_DUP_OBJECT | ALPC_PORFLG_WAITABLE_PORT;
    let client = connect_async(server, &AlpcPortAttributes { flags, ..Default::default() }, b"")?;
    let request = expect(server, LPC_CONNECTION_REQUEST)?;
    let accepted = accept(server, &request, context, b"")?;
    match poll_port(&client)? {
        Some(answer) if answer.header.kind() == LPC_CONNECTION_REPLY => Ok((accepted, client)),
        _ => Err(STATUS_INVALID_MESSAGE),
    }
}

/// Accepts a request with an answer.
pub fn accept(server: &ConnectionPort, request: &Seen, context: u64, answer: &[u8]) -> NtResult<Port> {
    let mut message = text(answer)?;
    message.set_reply_to(request.header.message_id);
    server.accept(&message, context)
}

/// Refuses a request.
pub fn refuse(server: &ConnectionPort, request: &Seen) -> NtResult {
    let mut message = text(b"")?;
    message.set_reply_to(request.header.message_id);
    server.refuse(&message)
}

/// Replies to a request through the connection port.
pub fn reply(server: &ConnectionPort, id: u32, payload: &[u8]) -> NtResult {
    let mut message = text(payload)?;
    message.set_reply_to(id);
    server.reply(&mut message, None)
}
