//! Who is at the other side: impersonation, security contexts, the SECURITY and TOKEN attributes, requirements to servers.

use crate::handle::OwnedHandle;
use crate::sys::security;
use crate::token;
use abi::alpc::*;
use abi::arg::Handle;
use abi::se::*;
use abi::status::*;
use alloc::vec::Vec;
use core::marker::PhantomData;
use zerocopy::IntoBytes;

/// The calling thread acts as somebody else until this is dropped.
#[derive(Debug)]
#[must_use = "dropped, the thread acts as its process again"]
pub struct Impersonating(PhantomData<*const ()>);

impl Drop for Impersonating {
    fn drop(&mut self) {
        let _ = token::revert();
    }
}

/// Acts as the sender of a message that is still to be answered. `flags` are ALPC_IMPERSONATEFLG_ bits and the least level.
pub fn impersonate(port: Handle, message: &PortMessage, flags: u64) -> NtResult<Impersonating> {
    security::impersonate_client(port, message, flags).map(|()| Impersonating(PhantomData))
}

/// NtAlpcImpersonateClientOfPort's flag for a least level.
pub const fn at_least(level: u32) -> u64 {
    (level as u64) << ALPC_IMPERSONATE_LEVEL_SHIFT
}

/// Opens the thread that sent a message which is still to be answered.
pub fn open_sender_thread(port: Handle, message: &PortMessage, access: u32) -> NtResult<OwnedHandle> {
    security::open_sender_thread(port, message, access).map(OwnedHandle::new)
}

/// The SID of who sent a message that is still to be answered.
pub fn sender_sid(port: Handle, message: &PortMessage) -> NtResult<Sid> {
    let mut bytes = [0; size_of::<Sid>()];
    let length = security::query_message(port, message, ALPC_MESSAGE_SID_INFORMATION, &mut bytes)?;
    Sid::parse(&bytes[..length]).ok_or(STATUS_INVALID_SID)
}

/// The ModifiedId of the token of who sent a message that is still to be answered.
pub fn sender_modified_id(port: Handle, message: &PortMessage) -> NtResult<Luid> {
    let mut luid = Luid::default();
    let class = ALPC_MESSAGE_TOKEN_MODIFIED_ID_INFORMATION;
    security::query_message(port, message, class, luid.as_mut_bytes())?;
    Ok(luid)
}

/// The SID of who is at the other side of a connection.
pub fn connected_sid(port: Handle) -> NtResult<Sid> {
    security::connected_sid(port)
}

/// What a client requires of a server: a self-relative security descriptor with this owner, and these entries of a DACL
/// (ACE type, access mask, SID) if there are any.
pub fn requirements(owner: Option<&Sid>, entries: &[(u8, u32, Sid)]) -> Vec<u8> {
    let mut descriptor = SecurityDescriptorRelative {
        revision: 1,
        control: SE_SELF_RELATIVE | if entries.is_empty() { 0 } else { SE_DACL_PRESENT },
        ..SecurityDescriptorRelative::default()
    };
    let mut parts = Vec::new();
    let mut at = size_of::<SecurityDescriptorRelative>() as u32;
    if let Some(owner) = owner {
        descriptor.owner = at;
        parts.extend_from_slice(owner.bytes());
        at += owner.length() as u32;
    }
    if !entries.is_empty() {
        descriptor.dacl = at;
        let mut body = Vec::new();
        for (kind, mask, sid) in entries {
            body.extend([*kind, 0]);
            body.extend_from_slice(&((8 + sid.length()) as u16).to_le_bytes());
            body.extend_from_slice(&mask.to_le_bytes());
            body.extend_from_slice(sid.bytes());
        }
        parts.extend([2, 0]);
        parts.extend_from_slice(&((8 + body.len()) as u16).to_le_bytes());
        parts.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        parts.extend([0, 0]);
        parts.extend_from_slice(&body);
    }
    let mut bytes = descriptor.as_bytes().to_vec();
    bytes.extend_from_slice(&parts);
    bytes
}

const ALLOCATED: u32 =
    ALPC_MESSAGE_SECURITY_ATTRIBUTE | ALPC_MESSAGE_CONTEXT_ATTRIBUTE | ALPC_MESSAGE_TOKEN_ATTRIBUTE;
const WORDS: usize = header_size(ALLOCATED) / 8;

/// Room for the SECURITY, CONTEXT and TOKEN attributes of a message.
#[derive(Clone, Debug)]
pub struct SecurityAttributes {
    words: [u64; WORDS],
}

impl Default for SecurityAttributes {
    fn default() -> Self {
        Self::new()
    }
}

impl SecurityAttributes {
    /// To receive into.
    pub const fn new() -> Self {
        let mut words = [0; WORDS];
        words[0] = ALLOCATED as u64;
        Self { words }
    }

    /// To send with a SECURITY attribute.
    pub fn sending(attribute: &AlpcSecurityAttr) -> Self {
        let mut this = Self::new();
        this.words[0] |= u64::from(ALPC_MESSAGE_SECURITY_ATTRIBUTE) << 32;
        this.words.as_mut_bytes()[8..][..size_of::<AlpcSecurityAttr>()].copy_from_slice(attribute.as_bytes());
        this
    }

    /// Attributes that are there.
    pub const fn valid(&self) -> u32 {
        (self.words[0] >> 32) as u32
    }

    /// The SECURITY attribute, if it is there.
    pub fn security(&self) -> Option<AlpcSecurityAttr> {
        self.get(ALPC_MESSAGE_SECURITY_ATTRIBUTE)
    }

    /// The TOKEN attribute, if it is there.
    pub fn token(&self) -> Option<AlpcTokenAttr> {
        self.get(ALPC_MESSAGE_TOKEN_ATTRIBUTE)
    }

    /// The buffer, for system calls.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    fn get<T: abi::arg::Pod>(&self, flag: u32) -> Option<T> {
        let offset = attribute_offset(ALLOCATED, flag).filter(|_| self.valid() & flag != 0)?;
        T::read_from_prefix(&self.words.as_bytes()[offset..]).ok().map(|(value, _)| value)
    }
}
