//! The classes of NtAlpcSetInformation that tie a port to an I/O completion object and that are about its completion list.

use super::{OK, SysResult, user};
use crate::alpc::completion;
use crate::alpc::port::Port;
use crate::ke::completion::IoCompletion;
use crate::ke::sched;
use crate::kref::Ref;
use abi::NtStatus;
use abi::arg::In;
use abi::completion::{AlpcPortAssociateCompletionPort, AlpcPortCompletionListInformation};
use abi::ob::IO_COMPLETION_MODIFY_STATE;
use abi::status::STATUS_INFO_LENGTH_MISMATCH;

/// AlpcAssociateCompletionPortInformation.
pub fn associate(port: &Ref<Port>, information: In<u8>, length: u32) -> SysResult {
    let input: AlpcPortAssociateCompletionPort = user::input(information, length)?;
    let handles = &sched::current().process.handles;
    let (object, _): (Ref<IoCompletion>, u32) =
        handles.get(input.completion_port, IO_COMPLETION_MODIFY_STATE)?;
    completion::associate(port, object, input.completion_key)?;
    OK
}

/// AlpcRegisterCompletionListInformation.
pub fn register(port: &Ref<Port>, information: In<u8>, length: u32) -> SysResult {
    let input: AlpcPortCompletionListInformation = user::input(information, length)?;
    completion::register(port, &input)?;
    OK
}

/// AlpcUnregisterCompletionListInformation; no data.
pub fn unregister(port: &Port, length: u32) -> SysResult {
    no_data(length)?;
    completion::unregister(port)?;
    OK
}

/// AlpcAdjustCompletionListConcurrencyCountInformation; a u32.
pub fn adjust_concurrency(port: &Port, information: In<u8>, length: u32) -> SysResult {
    completion::adjust_concurrency(port, user::input(information, length)?)?;
    OK
}

/// AlpcCompletionListRundownInformation; no data.
pub fn run_down(port: &Port, length: u32) -> SysResult {
    no_data(length)?;
    completion::run_down(port)?;
    OK
}

fn no_data(length: u32) -> Result<(), NtStatus> {
    if length == 0 { Ok(()) } else { Err(STATUS_INFO_LENGTH_MISMATCH) }
}
