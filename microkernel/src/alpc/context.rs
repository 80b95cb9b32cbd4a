//! The CONTEXT attribute of a message that is sent: the sender's MessageContext in, the message's ids out.

use crate::sys::user;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{In, InOut, Out};

/// A CONTEXT attribute that its sender set.
#[derive(Clone, Copy)]
pub struct SentContext {
    address: u64,
    attribute: AlpcContextAttr,
}

impl SentContext {
    /// Reads the attribute of a message to send, if it is valid there. All but its MessageContext is ignored.
    pub fn read(attributes: InOut<AlpcMessageAttributes>) -> Result<Option<Self>, NtStatus> {
        if attributes.is_null() {
            return Ok(None);
        }
        let base = attributes.address();
        let header: AlpcMessageAttributes = user::read(In::at(base))?;
        let valid = header.valid_attributes & ALPC_MESSAGE_CONTEXT_ATTRIBUTE != 0;
        let offset = attribute_offset(header.allocated_attributes, ALPC_MESSAGE_CONTEXT_ATTRIBUTE);
        let Some(offset) = offset.filter(|_| valid) else { return Ok(None) };
        let address = base.wrapping_add(offset as u64);
        Ok(Some(Self { address, attribute: user::read(In::at(address))? }))
    }

    /// What the sender wants to be reminded of.
    pub const fn message_context(&self) -> u64 {
        self.attribute.message_context
    }

    /// Tells the sender the ids of its message, by which it can be cancelled. The message is on its way: memory that has
    /// gone meanwhile is the sender's own business.
    pub fn tell(&self, message_id: u32, callback_id: u32) {
        let told = AlpcContextAttr { message_id, callback_id, ..self.attribute };
        let _ = user::write(Out::at(self.address), &told);
    }
}
