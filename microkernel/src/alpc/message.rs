//! Message bodies, and their way in from and out to user memory; what is attached besides the payload is in
//! [`crate::alpc::attributes`].

use crate::alpc::attributes::{self, Attached, Receiving, Sending};
use crate::alpc::passing::Handles;
use crate::alpc::port::Port;
use crate::alpc::security::MessageSecurity;
use crate::alpc::zone::Block;
use crate::arch::usercopy;
use crate::ke::sched;
use crate::kref::Ref;
use crate::ps::thread::Thread;
use crate::quota::{Charge, Kind, QuotaBlock};
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{In, InOut, Out};
use abi::status::*;
use alloc::boxed::Box;
use alloc::vec::Vec;
use antares_core::alpc::{Delivery, MESSAGE_COST, ObjectContext, Sender};

/// Kernel memory charged for a message besides its payload.
const MESSAGE_CHARGE: u64 = MESSAGE_COST as u64;

/// What a message carries. Empty for notices.
#[derive(Default)]
pub struct Body {
    data: Vec<u8>,
    /// The payload, if it lies in a zone; `data` is empty then.
    in_zone: Option<Block>,
    attached: Option<Box<Attached>>,
    _charge: Option<Charge>,
    /// A reserve's: its memory is used again.
    reserved: bool,
}

impl antares_core::alpc::Body for Body {
    fn data_length(&self) -> usize {
        self.in_zone.as_ref().map_or(self.data.len(), Block::length)
    }

    fn pool_length(&self) -> usize {
        self.data.len()
    }

    fn recycle(&mut self) {
        self.data.clear();
        self.in_zone = None;
        self.attached = None;
    }
}

impl Body {
    /// An empty body that is charged.
    pub fn empty(quota: &Ref<QuotaBlock>) -> Result<Self, NtStatus> {
        Ok(Self { _charge: Some(Charge::new(quota, Kind::Pool, MESSAGE_CHARGE)?), ..Self::default() })
    }

    /// A body without payload that carries attributes.
    pub fn of_attributes(
        quota: &Ref<QuotaBlock>,
        attributes: InOut<AlpcMessageAttributes>,
        sending: &Sending,
    ) -> Result<Self, NtStatus> {
        Ok(Self { attached: attributes::capture(attributes, sending)?, ..Self::empty(quota)? })
    }

    /// A body of payload that a receiver got and gives back; not charged.
    pub fn from_user(address: u64, length: usize) -> Result<Self, NtStatus> {
        let data = usercopy::vec_from_user(address, length)?;
        Ok(Self { data, ..Self::default() })
    }

    /// A reserve's empty body with room for `length` payload bytes, charged once and for all.
    pub fn reserve(quota: &Ref<QuotaBlock>, length: usize) -> Result<Self, NtStatus> {
        let charge = Charge::new(quota, Kind::Pool, MESSAGE_CHARGE + length as u64)?;
        let mut data = Vec::new();
        data.try_reserve_exact(length).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(Self { data, _charge: Some(charge), reserved: true, ..Self::default() })
    }

    /// As [`capture`], into a reserve's body that has the room.
    pub fn fill(
        &mut self,
        message: In<PortMessage>,
        header: &PortMessage,
        attributes: InOut<AlpcMessageAttributes>,
        sending: &Sending,
    ) -> Result<(), NtStatus> {
        self.data.resize(usize::from(header.data_length), 0);
        user::read_bytes(message.address().wrapping_add(PORT_MESSAGE_SIZE as u64), &mut self.data)?;
        self.attached = attributes::capture(attributes, sending)?;
        Ok(())
    }

    /// What a message that was received keeps: of one that is `owed` an answer all that this has to do with, of others
    /// what its receiver has to give back, and a reserve's memory.
    pub fn keep(mut self, owed: bool) -> Option<Self> {
        if self.attached.as_mut().is_some_and(|attached| attached.keep(owed)) {
            if self.reserved {
                self.data.clear();
            } else {
                self.data = Vec::new();
                self.in_zone = None;
            }
            return Some(self);
        }
        self.reserved.then(|| {
            antares_core::alpc::Body::recycle(&mut self);
            self
        })
    }

    /// Gives it security that its sender did not ask for by an attribute; or that forbids what the attribute allows.
    pub fn imply_security(&mut self, security: MessageSecurity) -> Result<(), NtStatus> {
        let attached = match self.attached.take() {
            Some(attached) => attached,
            None => Attached::charged()?,
        };
        let place = &mut self.attached.insert(attached).security;
        if place.is_none() || matches!(security, MessageSecurity::Refused) {
            *place = Some(security);
        }
        Ok(())
    }

    /// Flags that go with it in the type of its message.
    fn type_flags(&self) -> u16 {
        let security = self.attached().and_then(|attached| attached.security.as_ref());
        security.map_or(0, MessageSecurity::type_flags)
    }

    /// The handles that it passes.
    pub fn handles_mut(&mut self) -> Option<&mut Handles> {
        self.attached.as_mut().map(|attached| &mut attached.handles)
    }

    /// The payload.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// What is attached.
    pub fn attached(&self) -> Option<&Attached> {
        self.attached.as_deref()
    }

    /// True when a handle is passed.
    pub fn has_handle(&self) -> bool {
        self.attached.as_ref().is_some_and(|attached| !attached.handles.is_empty())
    }
}

/// Reads and checks a message header to send; `max_length` is the port's largest total length.
pub fn read_header(message: In<PortMessage>, max_length: usize) -> Result<PortMessage, NtStatus> {
    let header = user::read(message)?;
    let total = usize::from(header.total_length);
    if total != usize::from(header.data_length) + PORT_MESSAGE_SIZE || header.data_info_offset != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if total > max_length {
        return Err(STATUS_PORT_MESSAGE_TOO_LONG);
    }
    Ok(header)
}

/// Copies a message's payload and its attributes into a body: of a new message into the zone of who receives it, if that
/// has one with room.
pub fn capture(
    message: In<PortMessage>,
    header: &PortMessage,
    attributes: InOut<AlpcMessageAttributes>,
    sending: &Sending,
) -> Result<Body, NtStatus> {
    let quota = sched::current().process.quota();
    let length = usize::from(header.data_length);
    let payload = message.address().wrapping_add(PORT_MESSAGE_SIZE as u64);
    let is_new = header.message_id == 0;
    let in_zone = if is_new { Block::capture(sending, payload, length)? } else { None };
    let in_pool = if in_zone.is_some() { 0 } else { length };
    let charge = Charge::new(&quota, Kind::Pool, MESSAGE_CHARGE + in_pool as u64)?;
    let data = usercopy::vec_from_user(payload, in_pool)?;
    let attached = attributes::capture(attributes, sending)?;
    Ok(Body { data, in_zone, attached, _charge: Some(charge), reserved: false })
}

/// What a receiver is told of a message besides its payload.
#[derive(Clone, Copy)]
pub struct Mail {
    /// The header as the receiver sees it.
    pub header: PortMessage,
    /// Port context.
    pub context: u64,
    /// What the receiver is reminded of.
    pub message_context: u64,
    /// For server objects.
    pub object: Option<ObjectContext>,
    /// Sequence number.
    pub sequence: u32,
}

impl Mail {
    /// A message without context.
    pub fn new(id: u32, message_type: u16, length: u16, sender: Sender) -> Self {
        let header = PortMessage {
            data_length: length,
            total_length: length.wrapping_add(PORT_MESSAGE_SIZE as u16),
            message_type,
            data_info_offset: 0,
            client_id: ClientId {
                unique_process: u64::from(sender.process),
                unique_thread: u64::from(sender.thread),
            },
            message_id: id,
            reserved: 0,
            callback_id: 0,
        };
        Self { header, context: 0, message_context: 0, object: None, sequence: 0 }
    }
}

/// Where a received message goes.
#[derive(Clone, Copy)]
pub struct ReceiveBuffer {
    /// Header and payload.
    pub message: Out<PortMessage>,
    /// In: size of the buffer; out: size of the message.
    pub length: InOut<u64>,
    /// Attributes.
    pub attributes: InOut<AlpcMessageAttributes>,
    /// Payload bytes that fit.
    pub room: usize,
}

impl ReceiveBuffer {
    /// Reads the buffer's size. Too small even for a header is STATUS_BUFFER_TOO_SMALL.
    pub fn new(
        message: Out<PortMessage>,
        length: InOut<u64>,
        attributes: InOut<AlpcMessageAttributes>,
    ) -> Result<Self, NtStatus> {
        let size = if length.is_null() {
            ALPC_MAX_ALLOWED_MESSAGE_LENGTH as u64
        } else {
            user::read(In::at(length.address()))?
        };
        let room = size.checked_sub(PORT_MESSAGE_SIZE as u64).ok_or(STATUS_BUFFER_TOO_SMALL)?;
        Ok(Self {
            message,
            length,
            attributes,
            room: room.min(ALPC_MAX_ALLOWED_MESSAGE_LENGTH as u64) as usize,
        })
    }

    /// The current thread is about to park for a message into this buffer: lets one land there.
    pub fn open(&self, thread: &Thread) {
        thread.landing.open(
            self.message.address(),
            self.length.address(),
            (PORT_MESSAGE_SIZE + self.room) as u64,
            !self.attributes.is_null(),
            &thread.process.space,
        );
    }

    /// Tells how large the buffer must be.
    pub fn too_small(&self, data_length: usize) -> NtStatus {
        if !self.length.is_null() {
            let needed = (PORT_MESSAGE_SIZE + data_length) as u64;
            if let Err(status) = user::write(Out::at(self.length.address()), &needed) {
                return status;
            }
        }
        STATUS_BUFFER_TOO_SMALL
    }

    /// Copies a message out. On an error nothing has been given to the receiver. Returns the attributes delivered.
    pub fn deliver(&self, port: Option<&Port>, delivery: &mut Delivery<Body>) -> Result<u32, NtStatus> {
        let message_type = delivery.message_type | delivery.body.type_flags();
        let length = antares_core::alpc::Body::data_length(&delivery.body);
        let Body { data, in_zone, attached, .. } = &mut delivery.body;
        let mut mail = Mail {
            context: delivery.context,
            message_context: delivery.message_context,
            object: delivery.object,
            sequence: delivery.sequence,
            ..Mail::new(delivery.id, message_type, length as u16, delivery.sender)
        };
        mail.header.callback_id = u64::from(delivery.callback_id);
        user::write(self.message, &mail.header)?;
        let payload = self.message.address() + PORT_MESSAGE_SIZE as u64;
        match in_zone {
            Some(block) => block.deliver(payload)?,
            None if data.is_empty() => {}
            None => user::write_bytes(payload, data)?,
        }
        self.finish(port, &mail, attached.as_deref_mut())
    }

    /// Tells how long the message is and fills in the attributes that the receiver wants. Returns which are valid.
    pub fn finish(
        &self,
        port: Option<&Port>,
        mail: &Mail,
        attached: Option<&mut Attached>,
    ) -> Result<u32, NtStatus> {
        if !self.length.is_null() {
            user::write(Out::at(self.length.address()), &u64::from(mail.header.total_length))?;
        }
        let message = self.message;
        attributes::deliver(self.attributes, &mut Receiving { port, message, mail, attached })
    }
}
