//! Threads that ask, and raw sends for what libnt has no method for.

use crate::pair::*;
use libnt::abi::alpc::*;
use libnt::alpc::{Attributes, Message};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::calls::{self, Buffer};
use libnt::thread::{self, JoinHandle};

/// How a request ended, and what lies in its buffer.
pub type Asked = (NtResult, Message);

/// Sends a request in a thread and waits there for the answer.
pub fn ask(port: Handle, payload: &'static [u8]) -> NtResult<JoinHandle<Asked>> {
    let port = duplicate(port, None)?;
    thread::spawn(move || {
        let mut message = Message::new(ROOM);
        let result = message
            .set_payload(payload)
            .and_then(|()| libnt::alpc::request(port.raw(), &mut message, None, Some(LONG)));
        (result, message)
    })
}

/// Sends with these flags; nothing is received.
pub fn send(port: Handle, flags: u32, message: &mut Message) -> NtResult {
    send_with(port, flags, message, None)
}

/// Sends with these flags and attributes.
pub fn send_with(
    port: Handle,
    flags: u32,
    message: &mut Message,
    attributes: Option<&mut Attributes>,
) -> NtResult {
    let attributes = attributes.map_or(&mut [][..], |a| a.words_mut());
    let buffer = Buffer { words: message.words_mut(), attributes };
    calls::send_receive(port, flags, Some(buffer), None, None).map(drop)
}

/// Sends with these flags and SYNC_REQUEST; what comes overwrites the message.
pub fn exchange(
    port: Handle,
    flags: u32,
    message: &mut Message,
    timeout: Option<&i64>,
) -> NtResult<NtStatus> {
    let buffer = Buffer { words: message.words_mut(), attributes: &mut [] };
    calls::exchange(port, flags | ALPC_MSGFLG_SYNC_REQUEST, buffer, timeout).map(|(status, _)| status)
}

/// A message that names another one.
pub fn naming(message_id: u32, callback_id: u64, payload: &[u8]) -> NtResult<Message> {
    let mut message = text(payload)?;
    message.set_header(&PortMessage { message_id, callback_id, ..message.header() });
    Ok(message)
}

/// A header that names a message and is none itself.
pub fn only_naming(message_id: u32) -> NtResult<Message> {
    let mut message = text(b"")?;
    message.set_header(&PortMessage { message_id, ..PortMessage::default() });
    Ok(message)
}
