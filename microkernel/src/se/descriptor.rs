//! Security descriptors in user memory.

use crate::ke::sched;
use crate::quota::{Charge, Kind};
use crate::sys::user;
use abi::NtStatus;
use abi::arg::In;
use abi::se::*;
use abi::status::*;
use alloc::vec::Vec;
use antares_core::se::access::{ACL_HEAD, Dacl, Descriptor, acl_length};

/// Captures a self-relative security descriptor part by part, each read once and then checked.
///
/// # Errors
/// STATUS_UNKNOWN_REVISION, STATUS_INVALID_SECURITY_DESCR (not self-relative), STATUS_INVALID_SID, STATUS_INVALID_ACL;
/// STATUS_NOT_IMPLEMENTED for a system ACL and for entries that are neither access-allowed nor access-denied.
pub fn capture(at: u64) -> Result<Descriptor, NtStatus> {
    let head: SecurityDescriptorRelative = user::read(In::at(at))?;
    if head.revision != 1 {
        return Err(STATUS_UNKNOWN_REVISION);
    }
    if head.control & SE_SELF_RELATIVE == 0 {
        return Err(STATUS_INVALID_SECURITY_DESCR);
    }
    if head.control & SE_SACL_PRESENT != 0 && head.sacl != 0 {
        return Err(STATUS_NOT_IMPLEMENTED);
    }
    let sid = |offset: u32| match offset {
        0 => Ok(None),
        offset => user::sid(at.wrapping_add(u64::from(offset))).map(Some),
    };
    let dacl = if head.control & SE_DACL_PRESENT == 0 || head.dacl == 0 {
        Dacl::Null
    } else {
        acl(at.wrapping_add(u64::from(head.dacl)))?
    };
    Ok(Descriptor { owner: sid(head.owner)?, group: sid(head.group)?, dacl })
}

fn acl(at: u64) -> Result<Dacl, NtStatus> {
    let head: [u8; ACL_HEAD] = user::read(In::at(at))?;
    let length = acl_length(head)?;
    // For as long as it takes to copy; it lives no longer than the call.
    let _charge = Charge::new(&sched::current().process.quota(), Kind::Pool, length as u64)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    bytes.resize(length, 0);
    bytes[..ACL_HEAD].copy_from_slice(&head);
    user::read_bytes(at.wrapping_add(ACL_HEAD as u64), &mut bytes[ACL_HEAD..])?;
    Dacl::new(bytes)
}
