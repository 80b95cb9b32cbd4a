//! Alertable waits on ports, and ports that post to I/O completion objects.

use super::port::buffer;
use super::{Attributes, ConnectionPort, Message, Port};
use crate::completion::IoCompletion;
use crate::handle::OwnedHandle;
use crate::sys::calls;
use crate::time::relative;
use crate::wait::Ended;
use abi::alpc::{
    ALPC_ASSOCIATE_COMPLETION_PORT_INFORMATION, ALPC_MSGFLG_SYNC_CONNECTION, ALPC_MSGFLG_SYNC_REQUEST,
    ALPC_MSGFLG_WAIT_ALERTABLE, AlpcPortAttributes,
};
use abi::arg::Handle;
use abi::completion::AlpcPortAssociateCompletionPort;
use abi::status::{NtResult, NtStatus, STATUS_ALERTED, STATUS_TIMEOUT, STATUS_USER_APC};
use core::time::Duration;
use zerocopy::IntoBytes;

fn ended(status: NtStatus) -> Ended {
    match status {
        STATUS_TIMEOUT => Ended::TimedOut,
        STATUS_ALERTED => Ended::Alerted,
        STATUS_USER_APC => Ended::Apc,
        _ => Ended::Signalled(0),
    }
}

fn associate(port: Handle, object: &IoCompletion, key: u64) -> NtResult {
    let information =
        AlpcPortAssociateCompletionPort { completion_key: key, completion_port: object.handle() };
    calls::set_port(port, ALPC_ASSOCIATE_COMPLETION_PORT_INFORMATION, information.as_bytes())
}

fn receive<B: AsRef<[u64]> + AsMut<[u64]>>(
    port: Handle,
    message: &mut Message<B>,
    attributes: Option<&mut Attributes>,
    timeout: Option<Duration>,
) -> NtResult<Ended> {
    let timeout = relative(timeout);
    let into = Some(buffer(message, attributes));
    let (status, _) = calls::send_receive(port, ALPC_MSGFLG_WAIT_ALERTABLE, None, into, timeout.as_ref())?;
    Ok(ended(status))
}

impl Port {
    /// As [`Port::request`], alertable: a request that an alert or an APC ends is taken back.
    pub fn request_alertable<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        message: &mut Message<B>,
        attributes: Option<&mut Attributes>,
        timeout: Option<Duration>,
    ) -> NtResult<Ended> {
        let timeout = relative(timeout);
        let flags = ALPC_MSGFLG_SYNC_REQUEST | ALPC_MSGFLG_WAIT_ALERTABLE;
        let done = calls::exchange(self.handle(), flags, buffer(message, attributes), timeout.as_ref());
        done.map(|(status, _)| ended(status))
    }

    /// As [`Port::receive`], alertable.
    pub fn receive_alertable<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        message: &mut Message<B>,
        attributes: Option<&mut Attributes>,
        timeout: Option<Duration>,
    ) -> NtResult<Ended> {
        receive(self.handle(), message, attributes, timeout)
    }

    /// Connects to the connection port behind a handle, alertably: the port, or what ended the wait.
    pub fn connect_alertable(
        connection_port: Handle,
        timeout: Option<Duration>,
    ) -> NtResult<Result<Self, Ended>> {
        let timeout = relative(timeout);
        let flags = ALPC_MSGFLG_SYNC_CONNECTION | ALPC_MSGFLG_WAIT_ALERTABLE;
        let attributes = AlpcPortAttributes::default();
        let (status, handle) =
            calls::connect_port_status(connection_port, &attributes, flags, timeout.as_ref())?;
        Ok(if handle.is_null() {
            Err(ended(status))
        } else {
            Ok(Self::from_handle(OwnedHandle::new(handle)))
        })
    }

    /// Each message that arrives here posts a packet with `key`; those that wait post at once. Only once for a port
    /// (STATUS_PORT_ALREADY_SET).
    pub fn associate(&self, object: &IoCompletion, key: u64) -> NtResult {
        associate(self.handle(), object, key)
    }
}

impl ConnectionPort {
    /// As [`ConnectionPort::receive`], alertable.
    pub fn receive_alertable<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        message: &mut Message<B>,
        attributes: &mut Attributes,
        timeout: Option<Duration>,
    ) -> NtResult<Ended> {
        receive(self.handle(), message, Some(attributes), timeout)
    }

    /// As [`Port::associate`].
    pub fn associate(&self, object: &IoCompletion, key: u64) -> NtResult {
        associate(self.handle(), object, key)
    }
}
