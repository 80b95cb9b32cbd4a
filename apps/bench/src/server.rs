//! What answers: each role receives until it is ended.

use abi::alpc::{LPC_CONNECTION_REQUEST, LPC_PORT_CLOSED, LPC_REQUEST};
use abi::mm::PAGE_READONLY;
use alloc::collections::BTreeMap;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::process::{Command, Process};
use libnt::section::Section;
use libnt::sys::calls;
use libnt::{NtResult, proto, thread, wait};

/// Name of the event that says that the port is there.
const READY: &str = "ready";
/// A header and 32 bytes of payload, in words.
pub type Words = [u64; 9];

/// A server process, ended when it is dropped.
pub struct Server(Process);

impl Server {
    /// Starts a server in a role, on a processor if one is named, and waits until its port is there.
    pub fn start(role: &str, port: &str, processor: Option<u64>) -> NtResult<Self> {
        let ready = Event::notification(false)?;
        let mut command = Command::new("bench");
        command.argument("--serve").argument(role).argument(port);
        if let Some(processor) = processor {
            command.argument(&processor.to_string());
        }
        let server = Self(command.give(READY, ready.handle(), None, [0; 4]).spawn()?);
        match wait::any(&[ready.handle(), server.0.handle()], None)? {
            Some(0) => Ok(server),
            _ => Err(server.0.exit_status()?),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended with its client.
        let _ = self.0.terminate(STATUS_SUCCESS);
        let _ = self.0.wait();
    }
}

/// Serves in a role.
pub fn run(role: &str, words: &[&str]) -> NtResult {
    let name = words.first().ok_or(STATUS_INVALID_PARAMETER)?;
    if let Some(word) = words.get(1) {
        stay_on(word.parse().map_err(|_| STATUS_INVALID_PARAMETER)?)?;
    }
    let port = ConnectionPort::create_named(name)?;
    if let Some(ready) = env::extra(READY) {
        calls::set_event(ready.handle)?;
    }
    match role {
        "echo" => echo(&port, Message::<Words>::fixed()),
        "large" => echo(&port, Message::new(proto::MAX_PAYLOAD)),
        "handles" => handles(&port, false),
        "sections" => handles(&port, true),
        "listen" => listen(&port),
        "drain" => drain(&port),
        "views" => crate::views::serve(&port),
        _ => Err(STATUS_INVALID_PARAMETER),
    }
}

/// Keeps the calling thread on one processor.
pub fn stay_on(processor: u64) -> NtResult {
    thread::set_affinity(Handle::CURRENT_THREAD, 1 << processor)
}

/// Waits for the client and accepts it; returns the connection with the first message after that.
pub fn accept<B: AsRef<[u64]> + AsMut<[u64]>>(
    port: &ConnectionPort,
    message: &mut Message<B>,
    attributes: &mut Attributes,
) -> NtResult<Port> {
    port.receive(message, attributes, None)?;
    if message.header().kind() != LPC_CONNECTION_REQUEST {
        return Err(STATUS_UNSUCCESSFUL);
    }
    let connection = port.accept(message, 1)?;
    port.receive(message, attributes, None)?;
    Ok(connection)
}

/// Answers each request of one client with its own payload.
fn echo<B: AsRef<[u64]> + AsMut<[u64]>>(port: &ConnectionPort, mut message: Message<B>) -> NtResult {
    let _connection = accept(port, &mut message, &mut Attributes::new())?;
    answer(port, &mut message)
}

/// Answers until the client is gone.
#[inline(never)]
fn answer<B: AsRef<[u64]> + AsMut<[u64]>>(port: &ConnectionPort, message: &mut Message<B>) -> NtResult {
    loop {
        let header = message.header();
        if header.kind() != LPC_REQUEST {
            return Ok(());
        }
        message.set_length(usize::from(header.data_length))?;
        message.set_reply_to(header.message_id);
        port.exchange(message, None)?;
    }
}

/// Takes the handle of each request and closes it; `maps`: it is a section, of which a word per page is read first.
fn handles(port: &ConnectionPort, maps: bool) -> NtResult {
    let (mut message, mut attributes) = (Message::<Words>::fixed(), Attributes::new());
    let _connection = accept(port, &mut message, &mut attributes)?;
    while message.header().kind() == LPC_REQUEST {
        let header = message.header();
        let handle = attributes.take_handle().ok_or(STATUS_INVALID_HANDLE)?;
        if maps {
            read_pages(handle)?;
        } else {
            drop(handle);
        }
        message.set_length(usize::from(header.data_length))?;
        message.set_reply_to(header.message_id);
        attributes.clear();
        port.exchange(&mut message, Some(&mut attributes))?;
    }
    Ok(())
}

fn read_pages(handle: OwnedHandle) -> NtResult {
    let view = Section::from_handle(handle).map(0, 0, PAGE_READONLY)?;
    for page in 0..view.size() / 4096 {
        let mut word = [0; 1];
        view.read(page * 4096, &mut word);
        core::hint::black_box(word);
    }
    Ok(())
}

/// Accepts every connection and closes its side when the client has closed.
fn listen(port: &ConnectionPort) -> NtResult {
    let (mut message, mut attributes) = (Message::<Words>::fixed(), Attributes::new());
    let (mut connections, mut number) = (BTreeMap::new(), 0);
    loop {
        attributes.clear();
        port.receive(&mut message, &mut attributes, None)?;
        match message.header().kind() {
            LPC_CONNECTION_REQUEST => {
                number += 1;
                connections.insert(number, port.accept(&message, number)?);
            }
            LPC_PORT_CLOSED => {
                let context = attributes.context().map_or(0, |context| context.port_context);
                connections.remove(&context);
            }
            _ => {}
        }
    }
}

/// Takes messages, and answers those that are requests.
fn drain(port: &ConnectionPort) -> NtResult {
    let mut message = Message::<Words>::fixed();
    let _connection = accept(port, &mut message, &mut Attributes::new())?;
    loop {
        let header = message.header();
        match header.kind() {
            LPC_PORT_CLOSED => return Ok(()),
            LPC_REQUEST => {
                message.set_length(usize::from(header.data_length))?;
                message.set_reply_to(header.message_id);
                port.exchange(&mut message, None)?;
            }
            _ => {
                port.receive(&mut message, &mut Attributes::new(), None)?;
            }
        }
    }
}
