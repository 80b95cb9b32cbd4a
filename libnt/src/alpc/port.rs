//! Ports: the server's connection port and the client's side.

use super::security::requirements;
use super::{Attributes, Message, PortSection};
use crate::handle::OwnedHandle;
use crate::sys::calls::{self, Buffer};
use crate::sys::security as raw;
use crate::sys::{alpc_control, alpc_section};
use crate::time::relative;
use abi::alpc::*;
use abi::arg::Handle;
use abi::ob::PORT_CONNECT;
use abi::se::Sid;
use abi::status::{NtResult, NtStatus, STATUS_SUCCESS, STATUS_TIMEOUT};
use core::time::Duration;

pub(super) fn buffer<'a, B: AsRef<[u64]> + AsMut<[u64]>>(
    message: &'a mut Message<B>,
    attributes: Option<&'a mut Attributes>,
) -> Buffer<'a> {
    Buffer { words: message.words_mut(), attributes: attributes.map_or(&mut [], |a| a.words_mut()) }
}

/// Sends a request on a client port or server object and waits for the reply, which overwrites message and attributes.
/// A time-out is STATUS_TIMEOUT as an error.
#[inline]
pub fn request<B: AsRef<[u64]> + AsMut<[u64]>>(
    port: Handle,
    message: &mut Message<B>,
    attributes: Option<&mut Attributes>,
    timeout: Option<Duration>,
) -> NtResult {
    let timeout = relative(timeout);
    match calls::exchange(port, ALPC_MSGFLG_SYNC_REQUEST, buffer(message, attributes), timeout.as_ref())? {
        (STATUS_TIMEOUT, _) => Err(STATUS_TIMEOUT),
        _ => Ok(()),
    }
}

/// How to connect.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connect {
    /// Port attributes; libnt adds ALLOW_DUP_OBJECT so that replies can pass handles.
    pub attributes: AlpcPortAttributes,
    /// How long to wait for the server; `None` is for ever.
    pub timeout: Option<Duration>,
    /// RequiredServerSid: the user, or a group, of who made the port (else STATUS_SERVER_SID_MISMATCH).
    pub required_server: Option<Sid>,
}

/// A client communication port, a server communication port, or a server object.
#[derive(Debug)]
pub struct Port(OwnedHandle);

impl Port {
    /// Connects to a named port.
    pub fn connect(name: &str) -> NtResult<Self> {
        let port = crate::ob::open_port(name, PORT_CONNECT)?;
        Self::connect_to::<alloc::boxed::Box<[u64]>>(port.raw(), &Connect::default(), None)
    }

    /// Connects to the connection port behind a handle. A connection message is sent with the request, and the
    /// server's answer overwrites it.
    pub fn connect_to<B: AsRef<[u64]> + AsMut<[u64]>>(
        connection_port: Handle,
        options: &Connect,
        message: Option<&mut Message<B>>,
    ) -> NtResult<Self> {
        let mut attributes = options.attributes;
        attributes.flags |= ALPC_PORFLG_ALLOW_DUP_OBJECT;
        let timeout = relative(options.timeout);
        let required = options.required_server.map(|sid| requirements(Some(&sid), &[]));
        let handle = raw::connect_port_to(
            connection_port,
            &attributes,
            ALPC_MSGFLG_SYNC_CONNECTION,
            required.as_deref(),
            message.map(Message::words_mut),
            timeout.as_ref(),
        )?;
        if handle.is_null() { Err(STATUS_TIMEOUT) } else { Ok(Self::from_handle(OwnedHandle::new(handle))) }
    }

    /// A port or server object behind a handle.
    pub const fn from_handle(handle: OwnedHandle) -> Self {
        Self(handle)
    }

    /// The handle.
    pub const fn handle(&self) -> Handle {
        self.0.raw()
    }

    /// The handle, owned.
    pub fn into_handle(self) -> OwnedHandle {
        self.0
    }

    /// Sends a request and waits for the reply, which overwrites message and attributes.
    pub fn request<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        message: &mut Message<B>,
        attributes: Option<&mut Attributes>,
        timeout: Option<Duration>,
    ) -> NtResult {
        request(self.handle(), message, attributes, timeout)
    }

    /// Sends a message that wants no reply.
    pub fn datagram<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        message: &mut Message<B>,
        attributes: Option<&mut Attributes>,
    ) -> NtResult {
        let send = Some(buffer(message, attributes));
        calls::send_receive(self.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, send, None, None).map(drop)
    }

    /// Sends a request without waiting: the answer is to be received on this port, as a message of type LPC_REPLY with
    /// the request's id. Returns that, with `context` it comes with the answer.
    pub fn send_request<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        message: &mut Message<B>,
        context: u64,
    ) -> NtResult<u32> {
        let mut attributes = Attributes::with_context(context);
        let send = Some(buffer(message, Some(&mut attributes)));
        calls::send_receive(self.handle(), 0, send, None, None)?;
        Ok(attributes.context().unwrap_or_default().message_id)
    }

    /// Cancels a message by its id and context. True when it had been received already.
    pub fn cancel(&self, message_id: u32, context: u64) -> NtResult<bool> {
        let message = AlpcContextAttr { message_id, message_context: context, ..AlpcContextAttr::default() };
        alpc_control::cancel_message(self.handle(), 0, &message).map(|status| status != STATUS_SUCCESS)
    }

    /// Sets memory aside for one message of at most `payload` bytes: with its id as MessageId it can be sent when there
    /// is none.
    pub fn create_reserve(&self, payload: usize) -> NtResult<u32> {
        alpc_control::create_resource_reserve(self.handle(), (PORT_MESSAGE_SIZE + payload) as u64)
    }

    /// Answers a request that was received here, or gives back another message: `reply` carries its message id.
    pub fn reply<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        reply: &mut Message<B>,
        attributes: Option<&mut Attributes>,
    ) -> NtResult {
        let send = Some(buffer(reply, attributes));
        calls::send_receive(self.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, send, None, None).map(drop)
    }

    /// Receives a message; false when the time-out passed.
    pub fn receive<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        message: &mut Message<B>,
        attributes: Option<&mut Attributes>,
        timeout: Option<Duration>,
    ) -> NtResult<bool> {
        receive(self.handle(), message, attributes, timeout)
    }

    /// A section of `size` bytes of new memory, to be shown to who receives messages. `secure`: only one side at a time can
    /// write.
    pub fn section(&self, size: u64, secure: bool) -> NtResult<PortSection<'_>> {
        let flags = if secure { ALPC_PORTSECTION_SECURE } else { 0 };
        PortSection::make(self, self.handle(), flags, Handle::NULL, size)
    }

    /// A port section of the first `size` bytes (0: all) of a section object.
    pub fn section_of(&self, section: Handle, size: u64) -> NtResult<PortSection<'_>> {
        PortSection::make(self, self.handle(), 0, section, size)
    }

    /// Ends the connection.
    pub fn disconnect(&self) -> NtResult {
        alpc_control::disconnect_port(self.handle(), 0)
    }
}

fn receive<B: AsRef<[u64]> + AsMut<[u64]>>(
    port: Handle,
    message: &mut Message<B>,
    attributes: Option<&mut Attributes>,
    timeout: Option<Duration>,
) -> NtResult<bool> {
    let timeout = relative(timeout);
    let (status, _) =
        calls::send_receive(port, 0, None, Some(buffer(message, attributes)), timeout.as_ref())?;
    Ok(status != STATUS_TIMEOUT)
}

/// A server's connection port: everything for the server arrives here.
#[derive(Debug)]
pub struct ConnectionPort(OwnedHandle);

impl ConnectionPort {
    /// A nameless port that can be waited on and lets handles pass.
    pub fn create() -> NtResult<Self> {
        Self::create_with(&AlpcPortAttributes::default())
    }

    /// The same with further attributes.
    pub fn create_with(attributes: &AlpcPortAttributes) -> NtResult<Self> {
        let mut attributes = *attributes;
        attributes.flags |= ALPC_PORFLG_WAITABLE_PORT | ALPC_PORFLG_ALLOW_DUP_OBJECT;
        calls::create_port(&attributes).map(OwnedHandle::new).map(Self)
    }

    /// A connection port with a name, for as long as it is open.
    pub fn create_named(name: &str) -> NtResult<Self> {
        let port = Self::create()?;
        crate::ob::insert_port(name, port.handle())?;
        Ok(port)
    }

    /// A connection port behind a handle.
    pub const fn from_handle(handle: OwnedHandle) -> Self {
        Self(handle)
    }

    /// The handle.
    pub const fn handle(&self) -> Handle {
        self.0.raw()
    }

    /// Receives a message; false when the time-out passed.
    pub fn receive<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        message: &mut Message<B>,
        attributes: &mut Attributes,
        timeout: Option<Duration>,
    ) -> NtResult<bool> {
        receive(self.handle(), message, Some(attributes), timeout)
    }

    /// Answers a request: `reply` carries its message id ([`Message::set_reply_to`]).
    pub fn reply<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        reply: &mut Message<B>,
        attributes: Option<&mut Attributes>,
    ) -> NtResult {
        let send = Some(buffer(reply, attributes));
        calls::send_receive(self.handle(), ALPC_MSGFLG_RELEASE_MESSAGE, send, None, None).map(drop)
    }

    /// Answers a request and receives the next message, in one call. On an error nothing was received; the answer may
    /// have been impossible to deliver.
    pub fn reply_and_receive<B: AsRef<[u64]> + AsMut<[u64]>, C: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        reply: &mut Message<B>,
        reply_attributes: Option<&mut Attributes>,
        message: &mut Message<C>,
        attributes: &mut Attributes,
    ) -> NtResult {
        calls::send_receive(
            self.handle(),
            ALPC_MSGFLG_RELEASE_MESSAGE,
            Some(buffer(reply, reply_attributes)),
            Some(buffer(message, Some(attributes))),
            None,
        )
        .map(drop)
    }

    /// Answers a request and receives the next message in the same buffer, in one call.
    #[inline]
    pub fn exchange<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        message: &mut Message<B>,
        attributes: Option<&mut Attributes>,
    ) -> NtResult<NtStatus> {
        let flags = ALPC_MSGFLG_RELEASE_MESSAGE;
        calls::exchange(self.handle(), flags, buffer(message, attributes), None).map(|(status, _)| status)
    }

    /// Accepts a connection request. `context` comes with the client's messages; the payload of `request` goes to the
    /// client. The connection lasts until the port that is returned is dropped.
    pub fn accept<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        request: &Message<B>,
        context: u64,
    ) -> NtResult<Port> {
        let attributes =
            AlpcPortAttributes { flags: ALPC_PORFLG_ALLOW_DUP_OBJECT, ..AlpcPortAttributes::default() };
        let handle = calls::accept_port(self.handle(), Some(&attributes), context, request.words(), true)?;
        Ok(Port::from_handle(OwnedHandle::new(handle)))
    }

    /// As [`ConnectionPort::accept`], with attributes that go to the client.
    pub fn accept_with<B: AsRef<[u64]> + AsMut<[u64]>>(
        &self,
        request: &Message<B>,
        context: u64,
        attributes: &mut Attributes,
    ) -> NtResult<Port> {
        let flags = ALPC_PORFLG_ALLOW_DUP_OBJECT;
        let port = AlpcPortAttributes { flags, ..AlpcPortAttributes::default() };
        let (request, sent) = (request.words(), attributes.words_mut());
        let handle = alpc_section::accept_port_with(self.handle(), &port, context, request, sent)?;
        Ok(Port::from_handle(OwnedHandle::new(handle)))
    }

    /// Refuses a connection request.
    pub fn refuse<B: AsRef<[u64]> + AsMut<[u64]>>(&self, request: &Message<B>) -> NtResult {
        calls::accept_port(self.handle(), None, 0, request.words(), false).map(drop)
    }

    /// A section of `size` bytes of new memory, to be shown to who receives messages. `secure`: only one side at a time can
    /// write.
    pub fn section(&self, size: u64, secure: bool) -> NtResult<PortSection<'_>> {
        let flags = if secure { ALPC_PORTSECTION_SECURE } else { 0 };
        PortSection::make(self, self.handle(), flags, Handle::NULL, size)
    }

    /// A port section of the first `size` bytes (0: all) of a section object.
    pub fn section_of(&self, section: Handle, size: u64) -> NtResult<PortSection<'_>> {
        PortSection::make(self, self.handle(), 0, section, size)
    }

    /// Opens the process that sent a message which is still to be answered.
    pub fn open_sender_process(&self, message: &PortMessage, access: u32) -> NtResult<OwnedHandle> {
        calls::open_sender_process(self.handle(), message, access).map(OwnedHandle::new)
    }

    /// Mints a handle for something this server owns: requests on it arrive here with `context`, the granted access
    /// and `server_type` (not 0).
    pub fn create_object(&self, context: u64, server_type: u32, access: u32) -> NtResult<OwnedHandle> {
        calls::create_server_object(self.handle(), context, server_type, access).map(OwnedHandle::new)
    }
}
