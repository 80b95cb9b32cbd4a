//! Message attributes: what is captured of those sent, and what is delivered of those received.
//!
//! Two tables say which attribute is handled by which function: [`SENT`] and [`RECEIVED`]. A capture function reads the
//! attribute's body once, checks it and puts what it stands for into [`Attached`], which travels with the message. A
//! delivery function writes the body for the receiver and says whether the attribute is there; what it gave the
//! receiver goes to [`Given`], which takes it back if the delivery fails. No lock is held in either.

use crate::alpc::behalf;
use crate::alpc::direct::{self, Direct};
use crate::alpc::group::GroupRef;
use crate::alpc::message::Mail;
use crate::alpc::passing::{self, Handles};
use crate::alpc::port::Port;
use crate::alpc::section::{self, Limits};
use crate::alpc::security::{self, MessageSecurity};
use crate::alpc::view::{Passage, Use};
use crate::ke::sched;
use crate::kref::try_box;
use crate::quota::{Charge, Kind};
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{Handle, In, InOut, Out};
use abi::status::*;
use alloc::boxed::Box;
use antares_core::alpc::Role;
use zerocopy::IntoBytes;

/// What a message carries besides its payload.
#[derive(Default)]
pub struct Attached {
    /// HANDLE.
    pub handles: Handles,
    /// VIEW.
    pub view: Option<Passage>,
    /// VIEW with UNMAP_EXISTING: what came with the message that this one answers is given up.
    pub unmap_existing: bool,
    /// DIRECT.
    pub direct: Option<Direct>,
    /// WORK_ON_BEHALF.
    pub on_behalf: Option<u64>,
    /// SECURITY, or what is captured of an impersonating sender.
    pub security: Option<MessageSecurity>,
    /// The receiver took the DIRECT attribute.
    held_directly: bool,
    _charge: Option<Charge>,
}

impl Attached {
    /// Nothing yet, charged to the current process.
    pub fn charged() -> Result<Box<Self>, NtStatus> {
        let charge = Charge::new(&sched::current().process.quota(), Kind::Pool, CHARGE)?;
        try_box(Self { _charge: Some(charge), ..Self::default() })
    }

    /// What the message keeps when its receiver has it; false: nothing. A request (`owed`) is answered, so what it
    /// brought is kept until then; anything else only if its receiver has to give it back.
    pub fn keep(&mut self, owed: bool) -> bool {
        if !self.handles.is_held() {
            self.handles = Handles::default();
        }
        self.on_behalf = None;
        let keeps = self.is_held()
            || (owed && (self.view.is_some() || self.direct.is_some() || self.security.is_some()));
        if !keeps {
            // Its receiver has it, and nothing is left to be done.
            self.answered(false);
        }
        keeps
    }

    /// The receiver has taken something that it has to give back.
    pub fn is_held(&self) -> bool {
        self.held_directly || self.handles.is_held() || self.view.as_ref().is_some_and(Passage::is_held)
    }

    /// The receiver answers the message, or gives it back; `unmap`: with its view.
    pub fn answered(&self, unmap: bool) {
        if let Some(direct) = &self.direct {
            direct.succeed();
        }
        if let Some(passage) = self.view.as_ref().filter(|_| unmap) {
            passage.give_up();
        }
    }
}

/// Kernel memory charged for a message's attributes.
const CHARGE: u64 = size_of::<Attached>() as u64;

/// How a message is sent, for the rules that depend on it.
pub struct Sending<'a> {
    /// What it is sent through.
    pub group: &'a GroupRef,
    /// The port it is sent on; none for a server object.
    pub port: Option<&'a Port>,
    /// Nobody waits for its answer, and it is none.
    pub is_datagram: bool,
}

impl Sending<'_> {
    /// It goes to the connection port's owner, whose attributes are known.
    pub fn to_server(&self) -> bool {
        self.port.is_none_or(|port| matches!(port.role, Role::Client(_)))
    }

    /// True when the receiver's limits allow something, as far as they are known: a client's are looked at only as it
    /// receives.
    pub fn receiver_takes(&self, allows: impl FnOnce(&Limits) -> bool) -> bool {
        !self.to_server() || allows(&self.group.limits)
    }
}

/// Reads an attribute's body at an address of the sender's.
type Capture = fn(&Sending, u64, &mut Attached) -> Result<(), NtStatus>;

/// Attributes that a sender may set. Those the kernel makes ([`MADE_BY_KERNEL`]) are ignored on send; others are
/// STATUS_NOT_IMPLEMENTED.
const SENT: [(u32, Capture); 5] = [
    (ALPC_MESSAGE_SECURITY_ATTRIBUTE, security::capture),
    (ALPC_MESSAGE_VIEW_ATTRIBUTE, section::capture),
    (ALPC_MESSAGE_HANDLE_ATTRIBUTE, passing::capture),
    (ALPC_MESSAGE_DIRECT_ATTRIBUTE, direct::capture),
    (ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, behalf::capture),
];

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
    let mut attached = Attached::charged()?;
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
    /// Where its header was written.
    pub message: Out<PortMessage>,
    /// Its head.
    pub mail: &'a Mail,
    /// What it carries.
    pub attached: Option<&'a mut Attached>,
}

/// What a delivery has given the receiver. Dropped before [`Given::keep`], it is taken back.
#[derive(Default)]
pub struct Given {
    /// A handle in the current process's table.
    pub handle: Option<Handle>,
    /// A view.
    pub view: Option<Use>,
    /// The DIRECT attribute.
    pub direct: bool,
}

impl Given {
    fn must_be_returned(&self, attached: Option<&Attached>) -> bool {
        let Some(attached) = attached else { return false };
        let by_view = || attached.view.as_ref().is_some_and(Passage::must_be_returned);
        self.direct
            || (self.handle.is_some() && attached.handles.must_be_returned())
            || (self.view.is_some() && by_view())
    }

    fn keep(mut self, attached: Option<&mut Attached>) {
        let handle = self.handle.take();
        let Some(attached) = attached else { return };
        if let Some(handle) = handle {
            attached.handles.keep(handle);
        }
        attached.held_directly = self.direct;
        if let (Some(passage), Some(held)) = (&mut attached.view, self.view.take()) {
            passage.keep(held);
        }
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
type Deliver = fn(&mut Receiving, u64, &mut Given) -> Result<bool, NtStatus>;

/// Attributes that a receiver can get.
const RECEIVED: [(u32, Deliver); 7] = [
    (ALPC_MESSAGE_SECURITY_ATTRIBUTE, security::deliver),
    (ALPC_MESSAGE_VIEW_ATTRIBUTE, section::deliver),
    (ALPC_MESSAGE_CONTEXT_ATTRIBUTE, context),
    (ALPC_MESSAGE_HANDLE_ATTRIBUTE, passing::deliver),
    (ALPC_MESSAGE_TOKEN_ATTRIBUTE, security::deliver_token),
    (ALPC_MESSAGE_DIRECT_ATTRIBUTE, direct::deliver),
    (ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE, behalf::deliver),
];

/// Fills the receiver's attribute buffer. Returns the attributes that are there. On an error nothing has been given.
pub fn deliver(to: InOut<AlpcMessageAttributes>, receiving: &mut Receiving) -> Result<u32, NtStatus> {
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
    if given.must_be_returned(receiving.attached.as_deref()) {
        let header = receiving.mail.header;
        let message_type = header.message_type | LPC_CONTINUATION_REQUIRED;
        user::write(receiving.message, &PortMessage { message_type, ..header })?;
    }
    given.keep(receiving.attached.as_deref_mut());
    Ok(header.valid_attributes)
}

fn context(receiving: &mut Receiving, to: u64, _: &mut Given) -> Result<bool, NtStatus> {
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
