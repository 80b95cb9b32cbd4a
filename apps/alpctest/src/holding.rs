//! Messages received with room for every attribute, held, and given back, on a port of either side.

use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::PortMessage;
use libnt::alpc::attributes::ALL;
use libnt::alpc::{Attributes, Message, Port};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::thread::{self, JoinHandle};

/// A message that was received with room for every attribute.
pub struct Got {
    pub header: PortMessage,
    pub attributes: Attributes,
}

/// Receives on a port of either side; `None` when nothing is there.
pub fn get(port: Handle, time: Duration) -> NtResult<Option<Got>> {
    let (mut message, mut attributes) = (Message::new(ROOM), Attributes::allocating(ALL));
    let port = core::mem::ManuallyDrop::new(Port::from_handle(OwnedHandle::new(port)));
    let there = port.receive(&mut message, Some(&mut attributes), Some(time))?;
    Ok(there.then(|| Got { header: message.header(), attributes }))
}

/// A thread that asks with attributes; they come back with the answer's.
pub fn ask(port: Handle, mut attributes: Attributes) -> NtResult<JoinHandle<NtResult<Attributes>>> {
    let port = duplicate(port, None)?;
    thread::spawn(move || {
        libnt::alpc::request(port.raw(), &mut text(b"look")?, Some(&mut attributes), Some(LONG))?;
        Ok(attributes)
    })
}

/// Answers a request, or gives a message back.
pub fn answer(port: Handle, id: u32, attributes: Option<&mut Attributes>) -> NtResult {
    let mut message = text(b"seen")?;
    message.set_reply_to(id);
    let port = core::mem::ManuallyDrop::new(Port::from_handle(OwnedHandle::new(port)));
    port.reply(&mut message, attributes)
}
