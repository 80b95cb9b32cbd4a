//! A server's loop.
//!
//! One thread receives everything on the server's connection port: requests of clients, requests on the server's
//! objects, connections, closes. A [`Service`] decides; [`Server::run`] does the rest: it decodes, answers malformed
//! messages with STATUS_INVALID_MESSAGE, keeps the connections, waits for further objects (interrupts, processes) and
//! time-outs, and answers and receives in one system call where nothing else is to be waited for.

use super::Attach;
use crate::alpc::{Attributes, ConnectionPort, Message, Port};
use crate::event::Event;
use crate::handle::OwnedHandle;
use crate::{env, io, ob, session, wait};
use abi::alpc::*;
use abi::arg::Handle;
use abi::ps::MAXIMUM_WAIT_OBJECTS;
use abi::status::*;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use proto::{MAX_PAYLOAD, Protocol};

/// Through what a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A handle to one of the server's objects.
    Object {
        /// What the server gave when it minted the handle.
        context: u64,
        /// Access granted to the client's handle.
        access: u32,
        /// What the server gave when it minted the handle.
        server_type: u32,
    },
    /// A connection, by the number that [`Server`] gave it.
    Client(u64),
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Through what.
    pub origin: Origin,
    /// The request's header: sender, message id, type.
    pub header: PortMessage,
    /// True when the sender waits for an answer, or will receive it later.
    pub wants_reply: bool,
}

impl Caller {
    /// What a later answer needs ([`Answer::Later`]).
    pub const fn token(&self) -> Token {
        Token(self.header.message_id)
    }

    /// Process id of the sender.
    pub const fn process_id(&self) -> u64 {
        self.header.client_id.unique_process
    }

    /// Access granted to the handle that the request came on; 0 for connections.
    pub const fn access(&self) -> u32 {
        match self.origin {
            Origin::Object { access, .. } => access,
            Origin::Client(_) => 0,
        }
    }

    /// `Ok` when the handle grants all of `access`.
    pub const fn require(&self, access: u32) -> NtResult {
        if self.access() & access == access { Ok(()) } else { Err(STATUS_ACCESS_DENIED) }
    }
}

/// A request that is still to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u32);

/// What a service answers.
#[derive(Debug)]
pub enum Answer<R> {
    /// A reply.
    Reply(R),
    /// A reply with a handle, which the server closes after sending.
    Give(R, OwnedHandle, Option<u32>),
    /// A reply with a handle that the server keeps.
    Lend(R, Attach),
    /// A status that says why not.
    Error(NtStatus),
    /// The answer comes later by [`Server::answer`].
    Later,
}

impl<R> From<NtResult<R>> for Answer<R> {
    fn from(result: NtResult<R>) -> Self {
        result.map_or_else(Answer::Error, Answer::Reply)
    }
}

/// What a server does. Every method but [`Service::request`] has a default.
pub trait Service {
    /// The protocol it speaks.
    type Protocol: Protocol;

    /// Answers a request. A handle that came with it is dropped (closed) unless it is kept.
    fn request(
        &mut self,
        server: &mut Server,
        caller: &Caller,
        request: <Self::Protocol as Protocol>::Request,
        handle: Option<OwnedHandle>,
    ) -> Answer<<Self::Protocol as Protocol>::Reply>;

    /// Decides on a connection; `client` is its number if it is accepted. The default refuses: a server whose clients
    /// hold its objects needs no connections.
    fn connect(&mut self, server: &mut Server, client: u64, request: &Message) -> bool {
        let _ = (server, client, request);
        false
    }

    /// A client closed its connection.
    fn client_closed(&mut self, server: &mut Server, client: u64) {
        let _ = (server, client);
    }

    /// The last handle to one of the server's objects was closed.
    fn object_closed(&mut self, server: &mut Server, context: u64, server_type: u32) {
        let _ = (server, context, server_type);
    }

    /// The last handle but a name handle was closed.
    fn name_released(&mut self, server: &mut Server, context: u64) {
        let _ = (server, context);
    }

    /// Adds further objects to wait on, at most 62. Called before each wait.
    fn wait_objects(&mut self, objects: &mut Vec<Handle>) {
        let _ = objects;
    }

    /// A further object was signalled, by its index in what [`Service::wait_objects`] gave.
    fn signalled(&mut self, server: &mut Server, index: usize) {
        let _ = (server, index);
    }

    /// How long to wait at most; called before each wait.
    fn timeout(&mut self) -> Option<Duration> {
        None
    }

    /// The time-out passed.
    fn timed_out(&mut self, server: &mut Server) {
        let _ = server;
    }

    /// True when there is work that must wait until the last request was answered, such as calls to that client.
    fn has_work(&self) -> bool {
        false
    }

    /// Does that work.
    fn work(&mut self, server: &mut Server) {
        let _ = server;
    }

    /// True ends [`Server::run`].
    fn finished(&self) -> bool {
        false
    }
}

/// An answer on its way.
struct Outgoing {
    message: Message,
    attributes: Option<Attributes>,
    /// Closed after sending.
    _given: Option<OwnedHandle>,
}

/// A server's port and its connections.
#[derive(Debug)]
pub struct Server {
    port: ConnectionPort,
    clients: BTreeMap<u64, Port>,
    next_client: u64,
    /// Names of the port.
    names: Vec<String>,
    /// Set when the names are lost; there once the port has one.
    names_lost: Option<Event>,
}

/// Receives that fail in a row before the server gives its port up.
const MAX_FAILURES: u32 = 16;
/// Most connections of one server.
const MAX_CLIENTS: usize = 4096;

impl Server {
    /// A server on a connection port.
    pub fn new(port: ConnectionPort) -> Self {
        Self { port, clients: BTreeMap::new(), next_client: 1, names: Vec::new(), names_lost: None }
    }

    /// Gives the port a name, now and again whenever objmgr was restarted.
    pub fn publish(&mut self, name: &str) -> NtResult {
        if self.names_lost.is_none() {
            self.names_lost = Some(session::watch_names()?);
        }
        ob::insert_port(name, self.port.handle())?;
        self.names.push(name.into());
        Ok(())
    }

    /// Gives the port its names again.
    fn publish_again(&mut self) {
        // Without an event the server goes on with the names it has.
        self.names_lost = session::watch_names().ok();
        for name in &self.names {
            if let Err(status) = ob::insert_port(name, self.port.handle()) {
                io::log(format_args!("{}: cannot give {name} again: {status}", env::image()));
            }
        }
    }

    /// The connection port.
    pub const fn port(&self) -> &ConnectionPort {
        &self.port
    }

    /// Mints a handle for one of the server's objects; `server_type` must not be 0.
    pub fn create_object(&self, context: u64, server_type: u32, access: u32) -> NtResult<OwnedHandle> {
        self.port.create_object(context, server_type, access)
    }

    /// Ends a client's connection.
    pub fn disconnect(&mut self, client: u64) {
        self.clients.remove(&client);
    }

    /// Gives the answer to a request that was put off with [`Answer::Later`]. An error says that the client is gone.
    pub fn answer<P: Protocol>(&self, token: Token, answer: Answer<P::Reply>) -> NtResult {
        match outgoing::<P>(token, answer) {
            Some(outgoing) => self.send(outgoing),
            None => Ok(()),
        }
    }

    /// Sends an answer; when its handle cannot be passed, the client gets the reason instead.
    fn send(&self, mut outgoing: Outgoing) -> NtResult {
        let id = outgoing.message.header().message_id;
        let Err(status) = self.port.reply(&mut outgoing.message, outgoing.attributes.as_mut()) else {
            return Ok(());
        };
        if outgoing.attributes.is_some() && is_handle_failure(status) {
            // Any protocol's error has the same encoding but for the header, which the message already has.
            let mut plain = Message::new(16);
            let header = outgoing.message.payload().get(..proto::Header::SIZE).unwrap_or_default();
            plain.set_payload(&proto::codec::encode_error(header, status))?;
            plain.set_reply_to(id);
            return self.port.reply(&mut plain, None);
        }
        Err(status)
    }

    /// Receives and answers until the service has finished. An error says that the port itself fails.
    pub fn run<S: Service>(&mut self, service: &mut S) -> NtResult {
        let mut message = Message::new(MAX_PAYLOAD);
        let mut attributes = Attributes::new();
        let mut pending: Option<Outgoing> = None;
        let mut failures = 0;
        while !service.finished() {
            if service.has_work() {
                if let Some(outgoing) = pending.take() {
                    // The client may be gone, which concerns nobody else.
                    let _ = self.send(outgoing);
                }
                service.work(self);
                continue;
            }
            let mut objects = Vec::new();
            service.wait_objects(&mut objects);
            objects.truncate(MAXIMUM_WAIT_OBJECTS - 2);
            let timeout = service.timeout();
            attributes.clear();
            if failures > 0 {
                // Perhaps it was the handle that could not be taken.
                attributes.refuse_handles();
            }
            let received = if objects.is_empty() && self.names_lost.is_none() && timeout.is_none() {
                match pending.take() {
                    Some(outgoing) => self.answer_and_receive(outgoing, &mut message, &mut attributes),
                    None => self.port.receive(&mut message, &mut attributes, None),
                }
            } else {
                if let Some(outgoing) = pending.take() {
                    // The client may be gone, which concerns nobody else.
                    let _ = self.send(outgoing);
                }
                // The port comes last: however many requests there are, the other objects are not forgotten.
                let others = objects.len();
                objects.extend(self.names_lost.as_ref().map(Event::handle));
                objects.push(self.port.handle());
                match wait::any(&objects, timeout)? {
                    None => {
                        service.timed_out(self);
                        continue;
                    }
                    Some(index) if index < others => {
                        service.signalled(self, index);
                        continue;
                    }
                    Some(index) if index < objects.len() - 1 => {
                        self.publish_again();
                        continue;
                    }
                    Some(_) => self.port.receive(&mut message, &mut attributes, Some(Duration::ZERO)),
                }
            };
            match received {
                Ok(true) => pending = self.dispatch(service, &message, &mut attributes),
                Ok(false) => {}
                // One message that cannot be received (its handle does not fit the quota, say) must not end the server.
                Err(_) if failures < MAX_FAILURES => {
                    failures += 1;
                    continue;
                }
                Err(status) => return Err(status),
            }
            failures = 0;
        }
        match pending {
            Some(outgoing) => self.send(outgoing),
            None => Ok(()),
        }
    }

    fn answer_and_receive(
        &self,
        mut outgoing: Outgoing,
        message: &mut Message,
        attributes: &mut Attributes,
    ) -> NtResult<bool> {
        if outgoing.attributes.is_none() {
            let sent = self.port.reply_and_receive(&mut outgoing.message, None, message, attributes);
            if sent.is_ok() {
                return Ok(true);
            }
            // The client is gone; receive alone, where an error of the port itself shows.
        } else {
            let _ = self.send(outgoing);
        }
        attributes.clear();
        self.port.receive(message, attributes, None)
    }

    /// Deals with one message; answers what is to be sent.
    fn dispatch<S: Service>(
        &mut self,
        service: &mut S,
        message: &Message,
        attributes: &mut Attributes,
    ) -> Option<Outgoing> {
        let handle = attributes.take_handle();
        let header = message.header();
        let context = attributes.context().unwrap_or_default();
        let server_type = (context.message_context >> 32) as u32;
        match header.kind() {
            LPC_REQUEST | LPC_DATAGRAM => {
                let origin = if server_type != 0 {
                    let access = context.message_context as u32;
                    Origin::Object { context: context.port_context, access, server_type }
                } else {
                    Origin::Client(context.port_context)
                };
                // An asynchronous request wants one, too, and is held until it has it.
                let wants_reply = header.message_type & LPC_CONTINUATION_REQUIRED != 0;
                let caller = Caller { origin, header, wants_reply };
                let answer = match proto::decode_request::<S::Protocol>(message.payload()) {
                    Ok(request) => service.request(self, &caller, request, handle),
                    Err(status) => Answer::Error(status),
                };
                if caller.wants_reply { outgoing::<S::Protocol>(caller.token(), answer) } else { None }
            }
            LPC_CONNECTION_REQUEST => {
                self.connection_request(service, message);
                None
            }
            LPC_PORT_CLOSED => {
                if self.clients.remove(&context.port_context).is_some() {
                    service.client_closed(self, context.port_context);
                }
                None
            }
            LPC_OBJECT_CLOSED => {
                service.object_closed(self, context.port_context, server_type);
                None
            }
            LPC_NAME_RELEASED => {
                service.name_released(self, context.port_context);
                None
            }
            // Lost replies and cancelled messages concern nobody any more.
            _ => None,
        }
    }

    fn connection_request<S: Service>(&mut self, service: &mut S, message: &Message) {
        let client = self.next_client;
        if self.clients.len() < MAX_CLIENTS && service.connect(self, client, message) {
            match self.port.accept(message, client) {
                Ok(port) => {
                    self.next_client += 1;
                    self.clients.insert(client, port);
                }
                // The client is gone already.
                Err(_) => service.client_closed(self, client),
            }
        } else {
            // It does not matter if the client is gone already.
            let _ = self.port.refuse(message);
        }
    }
}

/// Failures of passing a handle, as against those of reaching the client.
fn is_handle_failure(status: NtStatus) -> bool {
    !matches!(
        status,
        STATUS_MESSAGE_NOT_FOUND
            | STATUS_REQUEST_CANCELED
            | STATUS_PORT_DISCONNECTED
            | STATUS_INVALID_MESSAGE
    )
}

fn outgoing<P: Protocol>(token: Token, answer: Answer<P::Reply>) -> Option<Outgoing> {
    let (result, attach, given) = match answer {
        Answer::Reply(reply) => (Ok(reply), None, None),
        Answer::Give(reply, handle, access) => {
            (Ok(reply), Some(Attach { handle: handle.raw(), access }), Some(handle))
        }
        Answer::Lend(reply, attach) => (Ok(reply), Some(attach), None),
        Answer::Error(status) => (Err(status), None, None),
        Answer::Later => return None,
    };
    let payload = proto::encode_reply::<P>(&result)
        .or_else(|status| proto::encode_reply::<P>(&Err(status)))
        .unwrap_or_default();
    let mut message = Message::new(payload.len());
    // A payload that was encoded fits a message.
    let _ = message.set_payload(&payload);
    message.set_reply_to(token.0);
    let attributes = attach.map(|attach| Attributes::passing(attach.handle, attach.access));
    Some(Outgoing { message, attributes, _given: given })
}
