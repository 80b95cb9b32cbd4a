//! A server and a client in one process, connected without threads.

use core::time::Duration;
use libnt::abi::alpc::{AlpcPortAttributes, LPC_CONNECTION_REPLY, LPC_CONNECTION_REQUEST, PortMessage};
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::prelude::*;
use libnt::process::Command;
use libnt::sys::calls;
use libnt::time::sleep;
use libnt::{info, process};
use testkit::record::{self, Id};

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
    seen(port.receive(&mut message, &mut attributes, Some(time)), message, attributes)
}

/// Receives on a communication port; `None` when nothing is there.
pub fn poll_port(port: &Port) -> NtResult<Option<Seen>> {
    let (mut message, mut attributes) = (Message::new(ROOM), Attributes::new());
    seen(port.receive(&mut message, Some(&mut attributes), Some(Duration::ZERO)), message, attributes)
}

/// What a receive brought, recorded.
fn seen(received: NtResult<bool>, message: Message, attributes: Attributes) -> NtResult<Option<Seen>> {
    match received {
        Ok(true) => note("received", &message, Some(&attributes)),
        Ok(false) => record::note("received nothing"),
        Err(status) => record::note(format_args!("received: {status}")),
    }
    let there = received?;
    Ok(there.then(|| Seen { header: message.header(), payload: message.payload().to_vec(), attributes }))
}

/// Records a message as it lies in its buffer: what the kernel wrote there.
pub fn note(what: &str, message: &Message, attributes: Option<&Attributes>) {
    if !record::is_on() {
        return;
    }
    let header = message.header();
    let mut text = format!(
        "{what}: type {:#x} data {} total {} info {:#x} id {} callback {} process {} thread {} payload {:016x}",
        header.message_type,
        header.data_length,
        header.total_length,
        header.data_info_offset,
        Id('m', header.message_id.into()),
        Id('c', header.callback_id),
        Id('p', header.client_id.unique_process),
        Id('t', header.client_id.unique_thread),
        hash(message.payload()),
    );
    if let Some(attributes) = attributes {
        text += &format!(" valid {:#x}", attributes.valid());
        if let Some(context) = attributes.context() {
            text += &format!(
                " context {:#x} {:#x} sequence {} id {} callback {}",
                context.port_context,
                context.message_context,
                context.sequence,
                Id('m', context.message_id.into()),
                Id('c', context.callback_id.into()),
            );
        }
        if let Some(handle) = attributes.handle() {
            text += &format!(" handle type {:#x} access {:#x}", handle.object_type, handle.desired_access);
        }
    }
    record::note(text);
}

/// FNV-1a of a payload.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, step)
}

/// Sends a request and waits for the reply, which overwrites message and attributes; recorded.
pub fn request(
    port: Handle,
    message: &mut Message,
    mut attributes: Option<&mut Attributes>,
    timeout: Option<Duration>,
) -> NtResult {
    let result = libnt::alpc::request(port, message, attributes.as_deref_mut(), timeout);
    match result {
        Ok(()) => note("answered", message, attributes.as_deref()),
        Err(status) => record::note(format_args!("asked: {status}")),
    }
    result
}

/// A program to start that is a child of this one, in a role `module/role` that [`crate::CHILDREN`] has.
pub fn child_of(role: &str) -> Command {
    let mut command = Command::new(env::image());
    command.argument(crate::CHILD).argument(role);
    command
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
        // Each port has message ids of its own.
        record::renumber('m');
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

/// Kernel memory charged to this process's quota block, once nothing is given back any more of what earlier tests left:
/// threads that have ended, say.
pub fn pool() -> NtResult<u64> {
    const STILL: u32 = 5;
    let me = process::current_id();
    let (mut last, mut still) = (0, 0);
    while still < STILL {
        let found = info::processes()?.into_iter().find(|found| found.information.unique_process_id == me);
        let now = found.map(|found| found.information.quota[1]).ok_or(STATUS_INVALID_CID)?;
        still = if now == last { still + 1 } else { 0 };
        last = now;
        sleep(Duration::from_millis(10));
    }
    Ok(last)
}
