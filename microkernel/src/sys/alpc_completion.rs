//! The classes of NtAlpcSetInformation that tie a port to an I/O completion object.

use super::{OK, SysResult, user};
use crate::alpc::completion;
use crate::alpc::port::Port;
use crate::ke::completion::IoCompletion;
use crate::ke::sched;
use crate::kref::Ref;
use abi::arg::In;
use abi::completion::AlpcPortAssociateCompletionPort;
use abi::ob::IO_COMPLETION_MODIFY_STATE;

/// AlpcAssociateCompletionPortInformation.
pub fn associate(port: &Ref<Port>, information: In<u8>, length: u32) -> SysResult {
    let input: AlpcPortAssociateCompletionPort = user::input(information, length)?;
    let handles = &sched::current().process.handles;
    let (object, _): (Ref<IoCompletion>, u32) =
        handles.get(input.completion_port, IO_COMPLETION_MODIFY_STATE)?;
    completion::associate(port, object, input.completion_key)?;
    OK
}
