//! Calls from the client's side.

use crate::alpc::{self, Attributes, Message, Port};
use crate::handle::OwnedHandle;
use crate::sync::Mutex;
use crate::time;
use abi::arg::Handle;
use abi::status::{NtResult, STATUS_INVALID_MESSAGE, STATUS_PORT_DISCONNECTED};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::time::Duration;
use proto::{Call, MAX_PAYLOAD, Protocol};

/// Full-size message buffers that wait to be used again.
static BUFFERS: Mutex<Vec<Message>> = Mutex::new(Vec::new());
/// How many are kept.
const KEPT_BUFFERS: usize = 4;

/// A handle that goes with a message.
#[derive(Clone, Copy, Debug)]
pub struct Attach {
    /// The sender's handle.
    pub handle: Handle,
    /// Access for the receiver; `None` is what the sender's handle grants.
    pub access: Option<u32>,
}

impl Attach {
    /// Passes the handle with the access it has.
    pub const fn same(handle: Handle) -> Self {
        Self { handle, access: None }
    }
}

/// Makes a call on a connection or a server object; a handle may go with it and come back.
pub fn call_on<C: Call>(
    port: Handle,
    call: C,
    attach: Option<Attach>,
) -> NtResult<(C::Reply, Option<OwnedHandle>)> {
    call_within(port, call, attach, None)
}

/// The same with a time-out.
pub fn call_within<C: Call>(
    port: Handle,
    call: C,
    attach: Option<Attach>,
    timeout: Option<Duration>,
) -> NtResult<(C::Reply, Option<OwnedHandle>)> {
    let (reply, handle) = request::<C::Protocol>(port, &call.into_request(), attach, timeout)?;
    C::from_reply(reply).map(|reply| (reply, handle)).ok_or(STATUS_INVALID_MESSAGE)
}

fn request<P: Protocol>(
    port: Handle,
    request: &P::Request,
    attach: Option<Attach>,
    timeout: Option<Duration>,
) -> NtResult<(P::Reply, Option<OwnedHandle>)> {
    let payload = proto::encode_request::<P>(request)?;
    let mut message = BUFFERS.lock().pop().unwrap_or_else(|| Message::new(MAX_PAYLOAD));
    let mut attributes =
        attach.map_or_else(Attributes::new, |attach| Attributes::passing(attach.handle, attach.access));
    let result = message
        .set_payload(&payload)
        .and_then(|()| alpc::request(port, &mut message, Some(&mut attributes), timeout))
        .and_then(|()| {
            let handle = attributes.take_handle();
            proto::decode_reply::<P>(message.payload()).map(|reply| (reply, handle))
        });
    let mut buffers = BUFFERS.lock();
    if buffers.len() < KEPT_BUFFERS {
        buffers.push(message);
    }
    result
}

/// Pauses before each new try to reach a core server that has just ended: together about a quarter of a second.
pub fn pauses() -> impl Iterator<Item = Duration> {
    (0..8).map(|step| Duration::from_millis(1 << step))
}

/// How a client gets a new handle to a server that was restarted.
type Reconnect = fn() -> NtResult<OwnedHandle>;

/// A client of a server.
pub struct Client<P: Protocol> {
    handle: Mutex<Arc<OwnedHandle>>,
    reconnect: Option<Reconnect>,
    protocol: PhantomData<fn() -> P>,
}

impl<P: Protocol> fmt::Debug for Client<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client<{}>({:?})", P::NAME, self.handle.lock())
    }
}

impl<P: Protocol> Client<P> {
    /// A client on a connection or server object.
    pub fn on(handle: OwnedHandle) -> Self {
        Self { handle: Mutex::new(Arc::new(handle)), reconnect: None, protocol: PhantomData }
    }

    /// A client that connects to a named port.
    pub fn connect(name: &str) -> NtResult<Self> {
        Port::connect(name).map(|port| Self::on(port.into_handle()))
    }

    /// A client of a core server: `reconnect` gets the handle, now and whenever the server was restarted. Idempotent
    /// calls that find the server gone are then repeated once.
    pub fn with_reconnect(reconnect: Reconnect) -> NtResult<Self> {
        let handle = Mutex::new(Arc::new(reconnect()?));
        Ok(Self { handle, reconnect: Some(reconnect), protocol: PhantomData })
    }

    /// Makes a call.
    pub fn call<C: Call<Protocol = P>>(&self, call: C) -> NtResult<C::Reply> {
        self.call_with(call, None).map(|(reply, _)| reply)
    }

    /// Makes a call; a handle may go with it and come back.
    pub fn call_with<C: Call<Protocol = P>>(
        &self,
        call: C,
        attach: Option<Attach>,
    ) -> NtResult<(C::Reply, Option<OwnedHandle>)> {
        let message = call.into_request();
        let mut pauses = pauses();
        let (reply, attached) = loop {
            let handle = self.handle.lock().clone();
            match (request::<P>(handle.raw(), &message, attach, None), self.reconnect) {
                (Err(STATUS_PORT_DISCONNECTED), Some(reconnect)) => {
                    time::sleep(pauses.next().ok_or(STATUS_PORT_DISCONNECTED)?);
                    *self.handle.lock() = Arc::new(reconnect()?);
                    if !P::is_idempotent(&message) {
                        return Err(STATUS_PORT_DISCONNECTED);
                    }
                }
                (result, _) => break result?,
            }
        };
        C::from_reply(reply).map(|reply| (reply, attached)).ok_or(STATUS_INVALID_MESSAGE)
    }
}
