//! The HANDLE attribute: handles that go from the sender's table to the receiver's.
//!
//! All that a message passes are taken when it is sent, or none. Of one handle the receiver gets its own with the message. Of
//! several it gets the first with the message, and each of the others when it asks for it
//! (NtAlpcQueryInformationMessage) while it holds the message; what it does not ask for is closed as the message goes.

use crate::alpc::attributes::{Attached, Given, Receiving, Sending};
use crate::alpc::message::Body;
use crate::alpc::port::Port;
use crate::ke::sched;
use crate::ob::handles::{Entry, Target};
use crate::ob::{HandleRef, Object};
use crate::quota::{Charge, Kind};
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{Handle, In, Out};
use abi::status::*;
use alloc::vec::Vec;
use antares_core::alpc::Group;
use antares_core::try_push;

/// A handle on its way.
pub struct PassedHandle {
    handle: HandleRef,
    access: u32,
    attributes: u32,
    /// The receiver has it.
    given: Option<Handle>,
}

impl PassedHandle {
    /// What the receiver's table is to hold.
    fn entry(&self) -> Entry {
        let target = Target::Open(self.handle.another(self.access));
        Entry { target, access: self.access, attributes: self.attributes }
    }
}

/// The handles that a message passes.
#[derive(Default)]
pub struct Handles {
    list: Vec<PassedHandle>,
    /// Process that received the first of several.
    receiver: u32,
    _charge: Option<Charge>,
}

impl Handles {
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The receiver of several has to give the message back.
    pub fn must_be_returned(&self) -> bool {
        self.list.len() > 1
    }

    /// The receiver has the first of several, and may ask for the others.
    pub fn is_held(&self) -> bool {
        self.list.len() > 1 && self.list[0].given.is_some()
    }

    /// What the receiver has the first as.
    pub fn given(&self) -> Option<Handle> {
        self.list.first().and_then(|first| first.given)
    }

    /// The receiver has the first.
    pub fn keep(&mut self, given: Handle) {
        if let Some(first) = self.list.first_mut() {
            first.given = Some(given);
            self.receiver = sched::current().process.id();
        }
    }
}

/// Captures the HANDLE attribute.
pub fn capture(sending: &Sending, from: u64, attached: &mut Attached) -> Result<(), NtStatus> {
    const ENTRY: u64 = size_of::<AlpcHandleAttr32>() as u64;
    let attribute: AlpcHandleAttr = user::read(In::at(from))?;
    if attribute.flags & !KNOWN != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let indirect = attribute.flags & ALPC_HANDLEFLG_INDIRECT != 0;
    let count = if indirect { attribute.object_type } else { 1 };
    if count == 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if sending.group.flags & ALPC_PORFLG_ALLOW_DUP_OBJECT == 0 {
        return Err(STATUS_ACCESS_DENIED);
    }
    let several = sending.group.flags & ALPC_PORFLG_ALLOW_MULTIHANDLE_ATTRIBUTE != 0;
    if count > if several { ALPC_MAX_HANDLES } else { 1 } {
        return Err(STATUS_LPC_HANDLE_COUNT_EXCEEDED);
    }
    let bytes = u64::from(count) * size_of::<PassedHandle>() as u64;
    let charge = Charge::new(&sched::current().process.quota(), Kind::Pool, bytes)?;
    let mut handles = Handles { _charge: Some(charge), ..Handles::default() };
    for index in 0..u64::from(count) {
        let attribute = if indirect {
            let entry: AlpcHandleAttr32 = user::read(In::at(attribute.handle.0.wrapping_add(index * ENTRY)))?;
            if entry.flags & !KNOWN != 0 || entry.flags & ALPC_HANDLEFLG_INDIRECT != 0 {
                return Err(STATUS_INVALID_PARAMETER);
            }
            AlpcHandleAttr {
                flags: entry.flags,
                reserved: 0,
                handle: widen(entry.handle),
                object_type: entry.object_type,
                desired_access: entry.desired_access,
            }
        } else {
            attribute
        };
        let passed = take(&attribute)?;
        let code = type_code(&passed.handle);
        if attribute.object_type != 0 && attribute.object_type != code {
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        }
        if !sending.receiver_takes(|limits| limits.takes_type(code)) {
            return Err(STATUS_ACCESS_DENIED);
        }
        try_push(&mut handles.list, passed).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    }
    attached.handles = handles;
    Ok(())
}

/// A handle in 32 bits; the pseudo handles are negative numbers.
fn widen(handle: u32) -> Handle {
    [Handle::CURRENT_PROCESS, Handle::CURRENT_THREAD]
        .into_iter()
        .find(|pseudo| pseudo.0 as u32 == handle)
        .unwrap_or(Handle(u64::from(handle)))
}

const KNOWN: u32 = ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS
    | ALPC_HANDLEFLG_DUPLICATE_SAME_ATTRIBUTES
    | ALPC_HANDLEFLG_INDIRECT
    | ALPC_HANDLEFLG_DUPLICATE_INHERIT;

fn take(attribute: &AlpcHandleAttr) -> Result<PassedHandle, NtStatus> {
    let wanted = |object: &Object, granted: u32| {
        let same = attribute.flags & ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS != 0;
        let access = if same { granted } else { object.map_access(attribute.desired_access, granted) };
        if access & !granted != 0 { Err(STATUS_ACCESS_DENIED) } else { Ok(access) }
    };
    let inherit =
        if attribute.flags & ALPC_HANDLEFLG_DUPLICATE_INHERIT != 0 { abi::ob::OBJ_INHERIT } else { 0 };
    // On its way a handle may not receive: a port is not kept open by a message that lies in its own queue.
    if let Some((object, granted)) = crate::sys::objects::pseudo(attribute.handle) {
        let access = wanted(&object, granted)?;
        let handle = HandleRef::new(object, 0).ok_or(STATUS_INVALID_HANDLE)?;
        return Ok(PassedHandle { handle, access, attributes: inherit, given: None });
    }
    sched::current().process.handles.with(attribute.handle, |entry| {
        let Target::Open(open) = &entry.target else { return Err(STATUS_OBJECT_TYPE_MISMATCH) };
        let access = wanted(open.object(), entry.access)?;
        // Protection from close is the sender's own business.
        let same = attribute.flags & ALPC_HANDLEFLG_DUPLICATE_SAME_ATTRIBUTES != 0;
        let kept = if same { entry.attributes & abi::ob::OBJ_INHERIT } else { 0 };
        Ok(PassedHandle { handle: open.another(0), access, attributes: kept | inherit, given: None })
    })
}

/// Object type codes of the handle attribute (public NT headers).
fn type_code(handle: &HandleRef) -> u32 {
    use abi::ob::ObjectType;
    match handle.object().header().kind {
        ObjectType::Thread => 0x4,
        ObjectType::Event => 0x10,
        ObjectType::Process => 0x20,
        ObjectType::Section => 0x80,
        ObjectType::Token => 0x200,
        _ => 0,
    }
}

/// Gives the receiver its handle, the first of several, if its port takes them.
pub fn deliver(receiving: &mut Receiving, to: u64, given: &mut Given) -> Result<bool, NtStatus> {
    let Some(handles) = receiving.attached.as_deref().map(|attached| &attached.handles) else {
        return Ok(false);
    };
    let several = handles.list.len() > 1;
    let takes = |port: &Port| {
        let needed =
            ALPC_PORFLG_ALLOW_DUP_OBJECT | if several { ALPC_PORFLG_ALLOW_MULTIHANDLE_ATTRIBUTE } else { 0 };
        port.flags & needed == needed
            && handles.list.iter().all(|passed| port.limits.takes_type(type_code(&passed.handle)))
    };
    // Several are held, which needs a port to give them back through.
    if !receiving.port.map_or(!several, takes) {
        return Ok(false);
    }
    let Some(first) = handles.list.first() else { return Ok(false) };
    let process = &sched::current().process;
    // A receiver whose table is full gets the message without the handle: it must not be kept from all others.
    let Ok(handle) = process.handles.insert(first.entry(), process.quota().handle_limit()) else {
        return Ok(false);
    };
    given.handle = Some(handle);
    let attribute = AlpcHandleAttr {
        flags: if several { ALPC_HANDLEFLG_INDIRECT } else { 0 },
        reserved: 0,
        handle,
        object_type: if several { handles.list.len() as u32 } else { type_code(&first.handle) },
        desired_access: first.access,
    };
    user::write(Out::at(to), &attribute)?;
    Ok(true)
}

/// One of the handles of a message that was received through a port; it is put into the current process's table, which
/// must be the receiver's, the first time it is asked for.
///
/// # Errors
/// STATUS_MESSAGE_NOT_FOUND: this process holds no such message with several handles. STATUS_INVALID_PARAMETER: it has
/// not so many.
pub fn query(port: &Port, ids: (u32, u32), index: u32) -> Result<AlpcMessageHandleInformation, NtStatus> {
    let process = &sched::current().process;
    let me = process.id();
    let find = |group: &mut Group<Body>| {
        let body = group.kept(port.role, ids.0, ids.1).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        let handles = body.handles_mut().filter(|handles| handles.is_held() && handles.receiver == me);
        let passed = handles.ok_or(STATUS_MESSAGE_NOT_FOUND)?.list.get_mut(index as usize);
        let passed = passed.ok_or(STATUS_INVALID_PARAMETER)?;
        let answer = AlpcMessageHandleInformation {
            index,
            flags: 0,
            handle: passed.given.map_or(0, |handle| handle.0 as u32),
            object_type: type_code(&passed.handle),
            granted_access: passed.access,
        };
        // It is taken under the lock, and put into the table outside.
        let entry = if passed.given.is_none() { Some(passed.entry()) } else { None };
        Ok((answer, entry))
    };
    let found = find(&mut port.group.lock());
    let (mut answer, entry) = found?;
    let Some(entry) = entry else { return Ok(answer) };
    let handle = process.handles.insert(entry, process.quota().handle_limit())?;
    let first = {
        let mut group = port.group.lock();
        let handles = group.kept(port.role, ids.0, ids.1).and_then(|body| body.handles_mut());
        let passed = handles.and_then(|handles| handles.list.get_mut(index as usize));
        passed.filter(|passed| passed.given.is_none()).map(|passed| passed.given = Some(handle)).is_some()
    };
    if !first {
        // Another thread asked at the same time, or gave the message back.
        drop(process.handles.take(handle));
        let found = find(&mut port.group.lock());
        let (answer, _) = found?;
        return if answer.handle == 0 { Err(STATUS_MESSAGE_NOT_FOUND) } else { Ok(answer) };
    }
    answer.handle = handle.0 as u32;
    Ok(answer)
}
