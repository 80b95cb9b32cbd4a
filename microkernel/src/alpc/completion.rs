//! Ports tied to I/O completion objects, and their completion lists.
//!
//! The tie is the port's, from NtAlpcSetInformation until the port closes; the state machine only knows the number to
//! post to. The port's own lock is taken before the group's and the dispatcher's.

use crate::alpc::group::Fx;
use crate::alpc::list::List;
use crate::alpc::port::Port;
use crate::ke::completion::{Association, IoCompletion};
use crate::ke::sched;
use crate::kref::Ref;
use abi::NtStatus;
use abi::completion::AlpcPortCompletionListInformation;
use abi::status::*;

/// What ties a port.
pub struct Tie {
    association: Association,
    list: Option<Ref<List>>,
}

impl Tie {
    /// Id of the I/O completion object.
    pub fn object_id(&self) -> u64 {
        self.association.object().header.id
    }

    /// The completion list, and what it posts to.
    pub fn list(&self) -> Option<(Ref<List>, u32)> {
        Some((self.list.clone()?, self.association.source()))
    }
}

/// Ties a port to an I/O completion object, for good: each message that is queued for the port, or is queued already,
/// posts a packet with this key.
///
/// # Errors
/// STATUS_PORT_ALREADY_SET, STATUS_PORT_CLOSED, STATUS_PORT_DISCONNECTED, and those of memory.
pub fn associate(port: &Port, object: Ref<IoCompletion>, key: u64) -> Result<(), NtStatus> {
    let mut place = port.completion.lock();
    if place.is_some() {
        return Err(STATUS_PORT_ALREADY_SET);
    }
    if port.is_closed() {
        return Err(STATUS_PORT_CLOSED);
    }
    let association = Association::new(object, key)?;
    let tied = port.group.lock().associate(port.role, association.source(), &mut Fx::new(false));
    match tied {
        Ok(()) => *place = Some(Tie { association, list: None }),
        Err(_) => association.end(),
    }
    tied
}

/// The port has closed.
pub fn dissociate(port: &Port) {
    let tie = port.completion.lock().take();
    let Some(Tie { association, list }) = tie else { return };
    if let Some(list) = list {
        association.object().remove_list(port.id);
        list.stop();
    }
    port.group.lock().dissociate(port.role);
    association.end();
}

/// Registers a completion list of the calling process.
///
/// # Errors
/// STATUS_PORT_NOT_SET: the port is tied to no I/O completion object. STATUS_PORT_ALREADY_HAS_COMPLETION_LIST.
/// STATUS_QUOTA_EXCEEDED: the object has too many. Those of [`List::new`].
pub fn register(port: &Ref<Port>, information: &AlpcPortCompletionListInformation) -> Result<(), NtStatus> {
    if information.concurrency_count == 0 || information.reserved != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    match &*port.completion.lock() {
        None => return Err(STATUS_PORT_NOT_SET),
        Some(tie) if tie.list.is_some() => return Err(STATUS_PORT_ALREADY_HAS_COMPLETION_LIST),
        Some(_) => {}
    }
    // Its header is written here, while no lock is held.
    let list = List::new(&sched::current().process.quota(), information)?;
    let mut place = port.completion.lock();
    let tie = place.as_mut().ok_or(STATUS_PORT_CLOSED)?;
    if tie.list.is_some() {
        return Err(STATUS_PORT_ALREADY_HAS_COMPLETION_LIST);
    }
    tie.association.object().add_list(port)?;
    sched::lock().limit_source(tie.association.source(), information.concurrency_count);
    tie.list = Some(list);
    Ok(())
}

fn list(port: &Port) -> Result<Ref<List>, NtStatus> {
    let place = port.completion.lock();
    let tie = place.as_ref().ok_or(STATUS_PORT_NOT_SET)?;
    tie.list.clone().ok_or(STATUS_INVALID_PARAMETER)
}

/// Changes how many packets of the port are queued at a time. STATUS_INVALID_PARAMETER: 0, or no list.
pub fn adjust_concurrency(port: &Port, count: u32) -> Result<(), NtStatus> {
    if count == 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    list(port)?;
    if let Some(tie) = &*port.completion.lock() {
        sched::lock().limit_source(tie.association.source(), count);
    }
    Ok(())
}

/// No more messages are written into the list; it stays registered, and what it holds can be taken. STATUS_INVALID_PARAMETER:
/// no list.
pub fn run_down(port: &Port) -> Result<(), NtStatus> {
    list(port)?.stop();
    Ok(())
}

/// Forgets the list; the region is the program's alone when this returns. STATUS_INVALID_PARAMETER: no list.
pub fn unregister(port: &Port) -> Result<(), NtStatus> {
    list(port)?.stop();
    let list = {
        let mut place = port.completion.lock();
        let tie = place.as_mut().ok_or(STATUS_PORT_NOT_SET)?;
        let list = tie.list.take().ok_or(STATUS_INVALID_PARAMETER)?;
        tie.association.object().remove_list(port.id);
        sched::lock().limit_source(tie.association.source(), u32::MAX);
        list
    };
    drop(list);
    Ok(())
}
