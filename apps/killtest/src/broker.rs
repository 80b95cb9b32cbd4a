//! Who tells a thousand clients where their server is: a port of the controller, which is never killed.
//!
//! A client asks for the server of the hour and is passed a handle to its port; one that has had its first answer says
//! so and waits until all have, so that all are connected at once.

use crate::wire::*;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::alpc::{Attributes, Connect, ConnectionPort, Port};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sync::Mutex;
use libnt::thread::{self, JoinHandle};

/// Extra handle: the broker's port.
pub const BROKER: &str = "broker";

/// Asks for the server.
const NEXT: u64 = 10;
/// Says that a client has had an answer, and waits for the others.
const READY: u64 = 11;
/// Says how many answers a process had.
const TOTAL: u64 = 12;

/// The broker's answer: go on, with this server.
const GO: u64 = 1;
/// The broker's answer: all is over.
const OVER: u64 = 2;

/// How often the broker looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Default)]
struct State {
    server: Option<OwnedHandle>,
    /// Clients that are ready, by number.
    ready: Vec<bool>,
    /// Requests of those that wait for the others.
    waiting: Vec<u32>,
    started: bool,
    over: bool,
    ended: bool,
    answers: u64,
    /// The broker's sides of its connections, by context.
    accepted: BTreeMap<u64, Port>,
    next: u64,
}

/// The broker, in its own thread.
pub struct Broker {
    port: ConnectionPort,
    state: Arc<Mutex<State>>,
    thread: JoinHandle<NtResult>,
}

impl Broker {
    /// A broker for so many clients.
    pub fn start(clients: usize) -> NtResult<Self> {
        let state = Arc::new(Mutex::new(State { ready: vec![false; clients], ..State::default() }));
        let port = ConnectionPort::create()?;
        let (own, shared) = (duplicate(port.handle(), None)?, state.clone());
        let thread = thread::spawn(move || serve(&ConnectionPort::from_handle(own), &shared))?;
        Ok(Self { port, state, thread })
    }

    /// The port's handle.
    pub const fn handle(&self) -> Handle {
        self.port.handle()
    }

    /// Names the server from now on.
    pub fn set_server(&self, port: OwnedHandle) {
        let old = self.state.lock().server.replace(port);
        drop(old);
    }

    /// How many clients are ready.
    pub fn ready(&self) -> usize {
        self.state.lock().ready.iter().filter(|ready| **ready).count()
    }

    /// Lets those go on that wait for the others.
    pub fn let_go(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.started = true;
            core::mem::take(&mut state.waiting)
        };
        for id in waiting {
            answer(&self.port, id, GO, None);
        }
    }

    /// All is over: whoever asks is told.
    pub fn set_over(&self) {
        self.state.lock().over = true;
    }

    /// Ends the broker; how many answers the clients had that lived to tell.
    pub fn end(self) -> NtResult<u64> {
        self.state.lock().ended = true;
        self.thread.join()??;
        let answers = self.state.lock().answers;
        Ok(answers)
    }
}

fn serve(port: &ConnectionPort, state: &Mutex<State>) -> NtResult {
    loop {
        let (mut message, mut attributes) = (Small::fixed(), Attributes::new());
        if !port.receive(&mut message, &mut attributes, Some(LOOK))? {
            if state.lock().ended {
                return Ok(());
            }
            continue;
        }
        let context = attributes.context().unwrap_or_default().port_context;
        let id = message.header().message_id;
        match message.header().kind() {
            LPC_CONNECTION_REQUEST => {
                let context = {
                    let mut state = state.lock();
                    state.next += 1;
                    state.next
                };
                // Who asked may have been killed.
                if let Ok(accepted) = port.accept(&message, context) {
                    state.lock().accepted.insert(context, accepted);
                }
            }
            LPC_PORT_CLOSED => {
                let closed = state.lock().accepted.remove(&context);
                drop(closed);
            }
            LPC_REQUEST | LPC_DATAGRAM => {
                let Words([_, _, client, verb, number]) =
                    Words::read(&message).ok_or(STATUS_INVALID_MESSAGE)?;
                asked(port, state, id, client as usize, verb, number)?;
            }
            _ => return Err(STATUS_INVALID_MESSAGE),
        }
    }
}

fn asked(
    port: &ConnectionPort,
    state: &Mutex<State>,
    id: u32,
    client: usize,
    verb: u64,
    number: u64,
) -> NtResult {
    let mut locked = state.lock();
    let what = if locked.over { OVER } else { GO };
    match verb {
        NEXT => {
            let server = locked.server.as_ref().map(|server| duplicate(server.raw(), None)).transpose()?;
            drop(locked);
            answer(port, id, what, server);
        }
        READY => {
            *locked.ready.get_mut(client).ok_or(STATUS_INVALID_MESSAGE)? = true;
            if locked.started {
                drop(locked);
                answer(port, id, what, None);
            } else {
                locked.waiting.push(id);
            }
        }
        TOTAL => locked.answers += number,
        _ => return Err(STATUS_INVALID_MESSAGE),
    }
    Ok(())
}

/// Answers, if who asked is still there.
fn answer(port: &ConnectionPort, id: u32, what: u64, server: Option<OwnedHandle>) {
    let mut message = Small::fixed();
    if Words::new(0, 0, 0, what, 0).write(&mut message).is_err() {
        return;
    }
    message.set_reply_to(id);
    let mut attributes = match &server {
        Some(server) => Attributes::passing(server.raw(), None),
        None => Attributes::new(),
    };
    let _ = port.reply(&mut message, Some(&mut attributes));
}

/// A client's connection to the broker.
pub struct Link(Port);

impl Link {
    /// Connects to the broker that this process was given.
    pub fn new() -> NtResult<Self> {
        let broker = env::extra(BROKER).ok_or(STATUS_INVALID_HANDLE)?.handle;
        Port::connect_to::<Box<[u64]>>(broker, &Connect::default(), None).map(Self)
    }

    fn ask(&self, client: u64, verb: u64) -> NtResult<Option<Attributes>> {
        let (mut message, mut attributes) = (Small::fixed(), Attributes::new());
        Words::new(0, 0, client, verb, 0).write(&mut message)?;
        self.0.request(&mut message, Some(&mut attributes), None)?;
        let Words([.., what, _]) = Words::read(&message).ok_or(STATUS_INVALID_MESSAGE)?;
        Ok((what == GO).then_some(attributes))
    }

    /// The server's port; `None` when all is over.
    pub fn server(&self, client: u64) -> NtResult<Option<OwnedHandle>> {
        match self.ask(client, NEXT)? {
            Some(mut attributes) => attributes.take_handle().map(Some).ok_or(STATUS_INVALID_HANDLE),
            None => Ok(None),
        }
    }

    /// Waits until all clients are ready, as this one is.
    pub fn ready(&self, client: u64) -> NtResult {
        self.ask(client, READY).map(drop)
    }

    /// Tells how many answers this process had.
    pub fn total(&self, answers: u64) -> NtResult {
        let mut message = Small::fixed();
        Words::new(0, 0, 0, TOTAL, answers).write(&mut message)?;
        self.0.datagram(&mut message, None)
    }
}
