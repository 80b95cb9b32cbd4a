//! The HANDLE attribute: a handle that goes from the sender's table to the receiver's.

use crate::alpc::attributes::{Attached, Given, Receiving, Sending};
use crate::ke::sched;
use crate::ob::HandleRef;
use crate::ob::handles::{Entry, Target};
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{In, Out};
use abi::status::*;

/// A handle on its way.
pub struct PassedHandle {
    handle: HandleRef,
    access: u32,
    attributes: u32,
}

/// Captures the HANDLE attribute.
pub fn capture(sending: &Sending, from: u64, attached: &mut Attached) -> Result<(), NtStatus> {
    let attribute: AlpcHandleAttr = user::read(In::at(from))?;
    if attribute.flags & ALPC_HANDLEFLG_INDIRECT != 0 {
        return Err(STATUS_NOT_IMPLEMENTED);
    }
    if sending.group.flags & ALPC_PORFLG_ALLOW_DUP_OBJECT == 0 {
        return Err(STATUS_ACCESS_DENIED);
    }
    attached.handle = Some(take(&attribute)?);
    Ok(())
}

fn take(attribute: &AlpcHandleAttr) -> Result<PassedHandle, NtStatus> {
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
                Some(PassedHandle { handle, access, attributes: 0 })
            })
            .ok_or(STATUS_INVALID_HANDLE),
        other => other,
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

/// Gives the receiver its handle, if its port takes handles.
pub fn deliver(receiving: &mut Receiving, to: u64, given: &mut Given) -> Result<bool, NtStatus> {
    let takes_handles = receiving.port.is_none_or(|port| port.flags & ALPC_PORFLG_ALLOW_DUP_OBJECT != 0);
    let passed = receiving.attached.as_deref().and_then(|attached| attached.handle.as_ref());
    let Some(passed) = passed.filter(|_| takes_handles) else { return Ok(false) };
    let process = &sched::current().process;
    let (access, attributes) = (passed.access, passed.attributes);
    let target = Target::Open(passed.handle.another(access));
    let inserted =
        process.handles.insert(Entry { target, access, attributes }, process.quota().handle_limit());
    // A receiver whose table is full gets the message without the handle: it must not be kept from all others.
    let Ok(handle) = inserted else { return Ok(false) };
    given.handle = Some(handle);
    let object_type = type_code(&passed.handle);
    let attribute = AlpcHandleAttr { flags: 0, reserved: 0, handle, object_type, desired_access: access };
    user::write(Out::at(to), &attribute)?;
    Ok(true)
}
