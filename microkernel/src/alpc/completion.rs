//! Ports tied to I/O completion objects.
//!
//! The tie is the port's, from NtAlpcSetInformation until the port closes; the state machine only knows the number to
//! post to. The port's own lock is taken before the group's and the dispatcher's.

use crate::alpc::group::Fx;
use crate::alpc::port::Port;
use crate::ke::completion::{Association, IoCompletion};
use crate::kref::Ref;
use abi::NtStatus;
use abi::status::*;

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
        Ok(()) => *place = Some(association),
        Err(_) => association.end(),
    }
    tied
}

/// The port has closed.
pub fn dissociate(port: &Port) {
    let association = port.completion.lock().take();
    if let Some(association) = association {
        port.group.lock().dissociate(port.role);
        association.end();
    }
}
