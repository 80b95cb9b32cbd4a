//! Message attributes: what is captured of those sent, and what is delivered of those received.
//!
//! Two tables say which attribute is handled by which function: [`SENT`] and [`RECEIVED`]. A capture function reads the
//! attribute's body once, checks it and puts what it stands for into [`Attached`], which travels with the message. A
//! delivery function writes the body for the receiver and says whether the attribute is there; what it gave the
//! receiver goes to [`Given`], which takes it back if the delivery fails. No lock is held in either.

use crate::alpc::group::GroupRef;
use crate::alpc::message::Mail;
use crate::alpc::passing::{self, PassedHandle};
use crate::alpc::port::Port;
use crate::ke::sched;
use crate::kref::try_box;
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{Handle, In, InOut, Out};
use abi::status::*;
use alloc::boxed::Box;
use zerocopy::IntoBytes;

/// What a message carries besides its payload.
#[derive(Default)]
pub struct Attached {
    /// HANDLE.
    pub handle: Option<PassedHandle>,
}

/// How a message is sent, for the rules that depend on it.
pub struct Sending<'a> {
    /// What it is sent through.
    pub group: &'a GroupRef,
    /// The port it is sent on; none for a server object.
    #[expect(dead_code, reason = "for attributes that name something that a port owns")]
    pub port: Option<&'a Port>,
}

/// Reads an attribute's body at an address of the sender's.
type Capture = fn(&Sending, u64, &mut Attached) -> Result<(), NtStatus>;

/// Attributes that a sender may set. Those the kernel makes ([`MADE_BY_KERNEL`]) are ignored on send; others are
/// STATUS_NOT_IMPLEMENTED.
const SENT: [(u32, Capture); 1] = [(ALPC_MESSAGE_HANDLE_ATTRIBUTE, passing::capture)];

const MADE_BY_KERNEL: u32 = ALPC_MESSAGE_CONTEXT_ATTRIBUTE | ALPC_MESSAGE_TOKEN_ATTRIBUTE;

/// Captures the attributes of a message to send; `None` when there are none.
pub fn capture(
    attributes: InOut<AlpcMessageAttributes>,
    sending: &Sending,
) -> Result<Option<Box<Attached>>, NtStatus> {
    if attributes.is_null() {
        return Ok(None);
    }
    let base = attributes.address();
    let header: AlpcMessageAttributes = user::read(In::at(base))?;
    let valid = header.valid_attributes & !MADE_BY_KERNEL;
    if valid & !header.allocated_attributes != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if valid & !SENT.iter().fold(0, |all, (flag, _)| all | flag) != 0 {
        return Err(STATUS_NOT_IMPLEMENTED);
    }
    if valid == 0 {
        return Ok(None);
    }
    let mut attached = try_box(Attached::default())?;
    for (flag, capture) in SENT.iter().filter(|(flag, _)| valid & flag != 0) {
        let offset = attribute_offset(header.allocated_attributes, *flag).ok_or(STATUS_INVALID_PARAMETER)?;
        capture(sending, base.wrapping_add(offset as u64), &mut attached)?;
    }
    Ok(Some(attached))
}

/// A message on its way to the current thread.
pub struct Receiving<'a> {
    /// The port it is received on; none for the answer to a server object's request or to a connect.
    pub port: Option<&'a Port>,
    /// Its head.
    pub mail: &'a Mail,
    /// What it carries.
    pub attached: Option<&'a Attached>,
}

/// What a delivery has given the receiver. Dropped before [`Given::keep`], it is taken back.
#[derive(Default)]
pub struct Given {
    /// A handle in the current process's table.
    pub handle: Option<Handle>,
}

impl Given {
    fn keep(mut self) {
        self.handle = None;
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if let Some(handle) = self.handle {
            drop(sched::current().process.handles.take(handle));
        }
    }
}

/// Writes an attribute's body at an address of the receiver's. `false`: the message has no such attribute.
type Deliver = fn(&Receiving, u64, &mut Given) -> Result<bool, NtStatus>;

/// Attributes that a receiver can get.
const RECEIVED: [(u32, Deliver); 2] =
    [(ALPC_MESSAGE_CONTEXT_ATTRIBUTE, context), (ALPC_MESSAGE_HANDLE_ATTRIBUTE, passing::deliver)];

/// Fills the receiver's attribute buffer. Returns the attributes that are there. On an error nothing has been given.
pub fn deliver(to: InOut<AlpcMessageAttributes>, receiving: &Receiving) -> Result<u32, NtStatus> {
    if to.is_null() {
        return Ok(0);
    }
    let base = to.address();
    let mut header: AlpcMessageAttributes = user::read(In::at(base))?;
    header.valid_attributes = 0;
    let mut given = Given::default();
    for (flag, deliver) in RECEIVED {
        if let Some(offset) = attribute_offset(header.allocated_attributes, flag)
            && deliver(receiving, base.wrapping_add(offset as u64), &mut given)?
        {
            header.valid_attributes |= flag;
        }
    }
    user::write_bytes(base, header.as_bytes())?;
    given.keep();
    Ok(header.valid_attributes)
}

fn context(receiving: &Receiving, to: u64, _: &mut Given) -> Result<bool, NtStatus> {
    let mail = receiving.mail;
    let context = AlpcContextAttr {
        port_context: mail.context,
        message_context: mail
            .object
            .map_or(mail.message_context, |o| u64::from(o.server_type) << 32 | u64::from(o.access)),
        sequence: mail.sequence,
        message_id: mail.header.message_id,
        callback_id: mail.header.callback_id as u32,
        reserved: 0,
    };
    user::write(Out::at(to), &context)?;
    Ok(true)
}
