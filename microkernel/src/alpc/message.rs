//! Message bodies, and their way in from and out to user memory.

use crate::alpc::inbox::Mail;
use crate::alpc::port::Port;
use crate::arch::usercopy;
use crate::ke::sched;
use crate::kref::Ref;
use crate::ob::HandleRef;
use crate::ob::handles::{Entry, Target};
use crate::quota::{Charge, Kind, QuotaBlock};
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{In, InOut, Out};
use abi::status::*;
use alloc::vec::Vec;
use antares_core::alpc::Delivery;
use zerocopy::IntoBytes;

/// Kernel memory charged for a message besides its payload.
const MESSAGE_CHARGE: u64 = 192;

/// A handle on its way.
pub struct PassedHandle {
    handle: HandleRef,
    access: u32,
    attributes: u32,
}

/// What a message carries. Empty for notices.
#[derive(Default)]
pub struct Body {
    data: Vec<u8>,
    handle: Option<PassedHandle>,
    _charge: Option<Charge>,
}

impl antares_core::alpc::Body for Body {
    fn data_length(&self) -> usize {
        self.data.len()
    }
}

impl Body {
    /// An empty body that is charged.
    pub fn empty(quota: &Ref<QuotaBlock>) -> Result<Self, NtStatus> {
        Ok(Self {
            data: Vec::new(),
            handle: None,
            _charge: Some(Charge::new(quota, Kind::Pool, MESSAGE_CHARGE)?),
        })
    }

    /// A body for payload that is in the kernel already; a thread's own, so not charged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NtStatus> {
        let mut data = Vec::new();
        data.try_reserve_exact(bytes.len()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        data.extend_from_slice(bytes);
        Ok(Self { data, handle: None, _charge: None })
    }

    /// True when a handle is passed.
    pub fn has_handle(&self) -> bool {
        self.handle.is_some()
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

/// Copies a message's payload and the handle it passes into a body.
pub fn capture(
    message: In<PortMessage>,
    header: &PortMessage,
    attributes: InOut<AlpcMessageAttributes>,
    may_pass_handles: bool,
) -> Result<Body, NtStatus> {
    let quota = sched::current().process.quota();
    let length = usize::from(header.data_length);
    let charge = Charge::new(&quota, Kind::Pool, MESSAGE_CHARGE + length as u64)?;
    let data = usercopy::vec_from_user(message.address().wrapping_add(PORT_MESSAGE_SIZE as u64), length)?;
    let handle = if attributes.is_null() { None } else { capture_handle(attributes, may_pass_handles)? };
    Ok(Body { data, handle, _charge: Some(charge) })
}

fn capture_handle(
    attributes: InOut<AlpcMessageAttributes>,
    may_pass_handles: bool,
) -> Result<Option<PassedHandle>, NtStatus> {
    let header: AlpcMessageAttributes = user::read(In::at(attributes.address()))?;
    let made_by_kernel = ALPC_MESSAGE_CONTEXT_ATTRIBUTE | ALPC_MESSAGE_TOKEN_ATTRIBUTE;
    let valid = header.valid_attributes & !made_by_kernel;
    if valid & !header.allocated_attributes != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if valid & !ALPC_MESSAGE_HANDLE_ATTRIBUTE != 0 {
        return Err(STATUS_NOT_IMPLEMENTED);
    }
    if valid == 0 {
        return Ok(None);
    }
    let offset = attribute_offset(header.allocated_attributes, ALPC_MESSAGE_HANDLE_ATTRIBUTE)
        .ok_or(STATUS_INVALID_PARAMETER)?;
    let attribute: AlpcHandleAttr = user::read(In::at(attributes.address() + offset as u64))?;
    if attribute.flags & ALPC_HANDLEFLG_INDIRECT != 0 {
        return Err(STATUS_NOT_IMPLEMENTED);
    }
    if !may_pass_handles {
        return Err(STATUS_ACCESS_DENIED);
    }
    let passed = sched::current().process.handles.with(attribute.handle, |entry| {
        let Target::Open(open) = &entry.target else { return Err(STATUS_OBJECT_TYPE_MISMATCH) };
        let access = if attribute.flags & ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS != 0 {
            entry.access
        } else {
            open.object().map_access(attribute.desired_access, entry.access)
        };
        if access & !entry.access != 0 {
            return Err(STATUS_ACCESS_DENIED);
        }
        let kept = if attribute.flags & ALPC_HANDLEFLG_DUPLICATE_SAME_ATTRIBUTES != 0 {
            // Protection from close is the sender's own business.
            entry.attributes & abi::ob::OBJ_INHERIT
        } else {
            0
        };
        let inherit =
            if attribute.flags & ALPC_HANDLEFLG_DUPLICATE_INHERIT != 0 { abi::ob::OBJ_INHERIT } else { 0 };
        // On its way it may not receive: a port is not kept open by a message that lies in its own queue.
        Ok(PassedHandle { handle: open.another(0), access, attributes: kept | inherit })
    });
    // A pseudo handle is no table entry; it stands for the caller's own process or thread.
    match passed {
        Err(STATUS_INVALID_HANDLE) => crate::sys::objects::pseudo(attribute.handle)
            .and_then(|(object, access)| {
                let handle = HandleRef::new(object, access)?;
                Some(Some(PassedHandle { handle, access, attributes: 0 }))
            })
            .ok_or(STATUS_INVALID_HANDLE),
        other => other.map(Some),
    }
}

/// Object type codes of the handle attribute (public NT headers).
fn type_code(handle: &HandleRef) -> u32 {
    use abi::ob::ObjectType;
    match handle.object().header().kind {
        ObjectType::Thread => 0x4,
        ObjectType::Event => 0x10,
        ObjectType::Process => 0x20,
        ObjectType::Section => 0x80,
        _ => 0,
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
    pub fn deliver(&self, port: Option<&Port>, delivery: &Delivery<Body>) -> Result<u32, NtStatus> {
        let data = &delivery.body.data;
        let mail = Mail {
            context: delivery.context,
            object: delivery.object,
            sequence: delivery.sequence,
            ..Mail::new(delivery.id, delivery.message_type, data.len() as u16, delivery.sender)
        };
        user::write(self.message, &mail.header)?;
        if !data.is_empty() && !usercopy::to_user(self.message.address() + PORT_MESSAGE_SIZE as u64, data) {
            return Err(STATUS_ACCESS_VIOLATION);
        }
        self.finish(port, &mail, delivery.body.handle.as_ref())
    }

    /// As [`ReceiveBuffer::deliver`], for a message whose header and payload are one run of bytes.
    #[inline]
    pub fn deliver_mail(&self, port: Option<&Port>, mail: &Mail, bytes: &[u8]) -> Result<u32, NtStatus> {
        user::write_bytes(self.message.address(), bytes)?;
        self.finish(port, mail, None)
    }

    #[inline]
    fn finish(
        &self,
        port: Option<&Port>,
        mail: &Mail,
        handle: Option<&PassedHandle>,
    ) -> Result<u32, NtStatus> {
        if !self.length.is_null() {
            user::write(Out::at(self.length.address()), &u64::from(mail.header.total_length))?;
        }
        if self.attributes.is_null() { Ok(0) } else { self.deliver_attributes(port, mail, handle) }
    }

    fn deliver_attributes(
        &self,
        port: Option<&Port>,
        delivery: &Mail,
        handle: Option<&PassedHandle>,
    ) -> Result<u32, NtStatus> {
        let base = self.attributes.address();
        let mut header: AlpcMessageAttributes = user::read(In::at(base))?;
        let allocated = header.allocated_attributes;
        header.valid_attributes = 0;
        if let Some(offset) = attribute_offset(allocated, ALPC_MESSAGE_CONTEXT_ATTRIBUTE) {
            let message_context =
                delivery.object.map_or(0, |o| u64::from(o.server_type) << 32 | u64::from(o.access));
            let context = AlpcContextAttr {
                port_context: delivery.context,
                message_context,
                sequence: delivery.sequence,
                message_id: delivery.header.message_id,
                callback_id: 0,
                reserved: 0,
            };
            user::write(Out::at(base + offset as u64), &context)?;
            header.valid_attributes |= ALPC_MESSAGE_CONTEXT_ATTRIBUTE;
        }
        let takes_handles = port.is_none_or(|p| p.flags & ALPC_PORFLG_ALLOW_DUP_OBJECT != 0);
        let Some((offset, passed)) =
            attribute_offset(allocated, ALPC_MESSAGE_HANDLE_ATTRIBUTE).filter(|_| takes_handles).zip(handle)
        else {
            user::write_bytes(base, header.as_bytes())?;
            return Ok(header.valid_attributes);
        };
        let process = &sched::current().process;
        let (access, attributes) = (passed.access, passed.attributes);
        let object_type = type_code(&passed.handle);
        let target = Target::Open(passed.handle.another(access));
        let inserted =
            process.handles.insert(Entry { target, access, attributes }, process.quota().handle_limit());
        let Ok(handle) = inserted else {
            // A receiver whose table is full gets the message without the handle: it must not be kept from all others.
            user::write_bytes(base, header.as_bytes())?;
            return Ok(header.valid_attributes);
        };
        let attribute = AlpcHandleAttr { flags: 0, reserved: 0, handle, object_type, desired_access: access };
        header.valid_attributes |= ALPC_MESSAGE_HANDLE_ATTRIBUTE;
        let written = user::write(Out::at(base + offset as u64), &attribute)
            .and_then(|()| user::write_bytes(base, header.as_bytes()));
        if let Err(status) = written {
            drop(process.handles.take(handle));
            return Err(status);
        }
        Ok(header.valid_attributes)
    }
}
