//! Security descriptors: their parts, checked, and what they let a token do.
//!
//! The kernel captures the parts of a self-relative descriptor one by one; nothing here trusts a length or an offset in
//! them. Access-allowed and access-denied entries are evaluated as in NT, in order. Any other kind of entry is
//! STATUS_NOT_IMPLEMENTED when the descriptor comes in, so that no check is made on part of one.

use crate::se::token::Identity;
use abi::ob::{GENERIC_ALL, GENERIC_EXECUTE, GENERIC_READ, GENERIC_WRITE, READ_CONTROL, WRITE_DAC};
use abi::se::*;
use abi::status::*;
use alloc::vec::Vec;

/// Bytes of an ACL's head.
pub const ACL_HEAD: usize = 8;
const ACE_HEAD: usize = 8;

/// A discretionary ACL, checked.
#[derive(Debug, PartialEq, Eq)]
pub enum Dacl {
    /// There is none: everybody may do everything.
    Null,
    /// The entries.
    Entries(Vec<u8>),
}

/// A security descriptor, checked.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Owner.
    pub owner: Option<Sid>,
    /// Primary group.
    pub group: Option<Sid>,
    /// Who may do what.
    pub dacl: Dacl,
}

/// What the generic rights mean: all, read, write, execute.
pub type GenericMapping = (u32, u32, u32, u32);

/// Turns generic rights into specific ones.
pub fn map_generic(mask: u32, mapping: GenericMapping) -> u32 {
    let (all, read, write, execute) = mapping;
    let pairs =
        [(GENERIC_ALL, all), (GENERIC_READ, read), (GENERIC_WRITE, write), (GENERIC_EXECUTE, execute)];
    pairs.iter().fold(
        mask,
        |mask, (generic, specific)| {
            if mask & generic != 0 { mask & !generic | specific } else { mask }
        },
    )
}

/// Bytes of the ACL with this head. STATUS_INVALID_ACL when it cannot be one.
pub fn acl_length(head: [u8; ACL_HEAD]) -> Result<usize, NtStatus> {
    let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
    if !(2..=4).contains(&head[0]) || length < ACL_HEAD || length % 4 != 0 {
        return Err(STATUS_INVALID_ACL);
    }
    Ok(length)
}

/// An entry.
struct Ace<'a> {
    kind: u8,
    flags: u8,
    body: &'a [u8],
}

/// Splits off the entry that `rest` begins with.
fn next_ace(rest: &[u8]) -> Option<(Ace<'_>, &[u8])> {
    let size = usize::from(u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?]));
    if size < ACE_HEAD || size % 4 != 0 {
        return None;
    }
    let (ace, after) = rest.split_at_checked(size)?;
    Some((Ace { kind: ace[0], flags: ace[1], body: &ace[4..] }, after))
}

impl Ace<'_> {
    fn mask_and_sid(&self) -> Option<(u32, Sid)> {
        let mask = self.body.first_chunk().copied().map(u32::from_le_bytes)?;
        Some((mask, Sid::parse(&self.body[4..])?))
    }
}

impl Dacl {
    /// Checks an ACL's bytes (as long as [`acl_length`] said). STATUS_INVALID_ACL, or STATUS_NOT_IMPLEMENTED for an entry
    /// that is neither an access-allowed nor an access-denied one.
    pub fn new(bytes: Vec<u8>) -> Result<Self, NtStatus> {
        let head = *bytes.first_chunk().ok_or(STATUS_INVALID_ACL)?;
        if acl_length(head)? != bytes.len() {
            return Err(STATUS_INVALID_ACL);
        }
        let mut rest = &bytes[ACL_HEAD..];
        for _ in 0..u16::from_le_bytes([head[4], head[5]]) {
            let (ace, after) = next_ace(rest).ok_or(STATUS_INVALID_ACL)?;
            if !matches!(ace.kind, ACCESS_ALLOWED_ACE_TYPE | ACCESS_DENIED_ACE_TYPE) {
                return Err(STATUS_NOT_IMPLEMENTED);
            }
            ace.mask_and_sid().ok_or(STATUS_INVALID_ACL)?;
            rest = after;
        }
        Ok(Self::Entries(bytes))
    }

    fn aces(&self) -> impl Iterator<Item = Ace<'_>> {
        let (mut rest, count) = match self {
            Self::Null => (&[][..], 0),
            Self::Entries(bytes) => (&bytes[ACL_HEAD..], u16::from_le_bytes([bytes[4], bytes[5]])),
        };
        (0..count).map_while(move |_| {
            let (ace, after) = next_ace(rest)?;
            rest = after;
            Some(ace)
        })
    }
}

impl Descriptor {
    /// True when the descriptor lets the holder of an identity have all of `desired` (specific rights).
    pub fn grants(&self, identity: &Identity, desired: u32, mapping: GenericMapping) -> bool {
        if self.dacl == Dacl::Null {
            return true;
        }
        let mut missing = desired;
        if self.owner.is_some_and(|owner| identity.is(&owner, false)) {
            missing &= !(READ_CONTROL | WRITE_DAC);
        }
        for ace in self.dacl.aces().filter(|ace| ace.flags & INHERIT_ONLY_ACE == 0) {
            if missing == 0 {
                break;
            }
            let Some((mask, sid)) = ace.mask_and_sid() else { return false };
            let mask = map_generic(mask, mapping);
            let denies = ace.kind == ACCESS_DENIED_ACE_TYPE;
            if !identity.is(&sid, denies) {
                continue;
            }
            if !denies {
                missing &= !mask;
            } else if mask & missing != 0 {
                return false;
            }
        }
        missing == 0
    }
}

#[cfg(test)]
mod tests;
