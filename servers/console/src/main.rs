//! The console server: owns the first serial line and the framebuffer.
//!
//! smss gives it its devices as extra handles ([`devices`]). It registers its root object with smss; who holds
//! that opens input and output handles, which are passed on to programs as their streams. All requests come on
//! such handles; a read that has to wait for a line is answered later.
//!
//! The kernel's log is drained before each write and each read, so that a crash report stands before whatever the
//! shell says about it.

#![no_std]
#![no_main]

extern crate alloc;

mod devices;

use console::readers::{Action, Answer, Readers, Want};
use core::time::Duration;
use devices::{KernelLog, Screen};
use libnt::abi::ob::ObjectType;
use libnt::alpc::ConnectionPort;
use libnt::event::Event;
use libnt::handle::object_id;
use libnt::prelude::*;
use libnt::proto::console::{
    CONSOLE_ALL_ACCESS, CONSOLE_CONTROL, CONSOLE_READ, CONSOLE_WRITE, Console as Protocol, Line, MAX_WRITE,
    MODE_LINE, MODE_RAW_CTRL_C, Reply, Request, Stream, TYPE_CONSOLE, TYPE_INPUT, TYPE_OUTPUT,
};
use libnt::rpc::{self, Caller, Origin, Server, Service, Token};
use libnt::session;
use tty::serial::Serial;

libnt::main!(main);

/// Context of the root object; streams count from 1.
const ROOT: u64 = 0;
/// Longest prompt in bytes.
const MAX_PROMPT: usize = 1024;
/// How long the screen waits for more output before it is painted.
const PAINT_DELAY: Duration = Duration::from_millis(15);
/// After so many writes it is painted even if there is more.
const PAINT_AFTER: u32 = 100;
/// How often a serial line without an interrupt is looked at.
const POLL: Duration = Duration::from_millis(20);
/// A line of the kernel log that is longer is shown in parts.
const MAX_LOG_LINE: usize = 4096;

fn main() -> NtResult {
    let mut server = Server::new(ConnectionPort::create()?);
    let root = server.create_object(ROOT, TYPE_CONSOLE, CONSOLE_ALL_ACCESS)?;
    let mut console = Console::open();
    console.drain_log();
    console.show();
    // smss itself opens the streams of programs; others may only write.
    session::register_server(root.raw(), CONSOLE_WRITE)?;
    server.run(&mut console)
}

/// A read that waits: how to answer it, what it asked, and on which stream.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    token: Token,
    is_line: bool,
    stream: u64,
}

/// What a further wait object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Serial,
    Log,
}

struct Console {
    serial: Option<Serial>,
    log: Option<KernelLog>,
    screen: Option<Screen>,
    readers: Readers<Waiting>,
    /// The shell's event for Ctrl-C, and the stream that set it.
    control: Option<(u64, Event)>,
    next_stream: u64,
    /// What the log said of a line that is not finished yet.
    log_line: Vec<u8>,
    writes_since_paint: u32,
    sources: Vec<Source>,
}

impl Console {
    fn open() -> Self {
        Self {
            serial: Serial::open(),
            log: KernelLog::open(),
            screen: Screen::open(),
            readers: Readers::default(),
            control: None,
            next_stream: ROOT + 1,
            log_line: Vec::new(),
            writes_since_paint: 0,
            sources: Vec::new(),
        }
    }

    /// Puts what the kernel has to say on the screen, by whole lines.
    fn drain_log(&mut self) {
        let Some(log) = &self.log else { return };
        self.log_line.append(&mut log.read());
        let end = match self.log_line.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if self.log_line.len() > MAX_LOG_LINE => self.log_line.len(),
            None => return,
        };
        let lines: Vec<u8> = self.log_line.drain(..end).collect();
        self.readers.write(&lines);
    }

    /// Sends what has come together to the devices.
    fn show(&mut self) {
        let output = self.readers.take_output();
        if output.is_empty() {
            return;
        }
        if let Some(screen) = &mut self.screen {
            screen.feed(&output);
            self.writes_since_paint += 1;
            if self.writes_since_paint > PAINT_AFTER {
                screen.paint();
                self.writes_since_paint = 0;
            }
        }
        if let Some(serial) = &mut self.serial {
            serial.send(&output);
        }
    }

    /// Takes what was typed.
    fn poll_keyboard(&mut self, server: &Server) {
        let Some(serial) = &mut self.serial else { return };
        let mut bytes = Vec::new();
        serial.receive(&mut bytes);
        let mut actions = Vec::new();
        if !bytes.is_empty() {
            self.drain_log();
            self.readers.typed(&bytes, &mut actions);
        }
        self.act(server, actions);
    }

    /// Answers reads and tells of Ctrl-C. The screen comes first: who gets a line sees what was typed.
    fn act(&mut self, server: &Server, mut actions: Vec<Action<Waiting>>) {
        self.show();
        while !actions.is_empty() {
            let mut more = Vec::new();
            for action in actions {
                match action {
                    Action::Interrupt => {
                        if let Some((_, event)) = &self.control {
                            // The shell may be gone; then nobody minds.
                            let _ = event.set();
                        }
                    }
                    Action::Answer(waiting, answer) => {
                        let reply = reply(waiting.is_line, &answer);
                        if server.answer::<Protocol>(waiting.token, reply).is_err() {
                            self.readers.undelivered(answer, &mut more);
                        }
                    }
                }
            }
            self.show();
            actions = more;
        }
    }

    fn open_stream(
        &mut self,
        server: &Server,
        caller: &Caller,
        stream: Stream,
        access: u32,
    ) -> NtResult<OwnedHandle> {
        let (server_type, allowed) = match stream {
            Stream::Input => (TYPE_INPUT, CONSOLE_READ | CONSOLE_CONTROL),
            Stream::Output => (TYPE_OUTPUT, CONSOLE_WRITE),
        };
        caller.require(access)?;
        if access == 0 || access & !allowed != 0 {
            return Err(STATUS_ACCESS_DENIED);
        }
        let context = self.next_stream;
        self.next_stream += 1;
        server.create_object(context, server_type, access)
    }

    fn write(&mut self, server: &Server, data: &[u8]) -> NtResult<u32> {
        let data = &data[..data.len().min(MAX_WRITE)];
        self.drain_log();
        self.readers.write(data);
        self.show();
        // A program that writes without end must not keep Ctrl-C from being seen.
        if self.serial.as_mut().is_some_and(Serial::has_input) {
            self.poll_keyboard(server);
        }
        Ok(data.len() as u32)
    }

    fn read(&mut self, server: &Server, caller: &Caller, stream: u64, want: Want) -> rpc::Answer<Reply> {
        if !caller.wants_reply {
            return rpc::Answer::Error(STATUS_INVALID_PARAMETER);
        }
        let waiting = Waiting { token: caller.token(), is_line: matches!(want, Want::Line { .. }), stream };
        let control = caller.access() & CONSOLE_CONTROL != 0;
        let mut actions = Vec::new();
        self.drain_log();
        if !self.readers.read(waiting, control, want, &mut actions) {
            return rpc::Answer::Error(STATUS_INSUFFICIENT_RESOURCES);
        }
        self.act(server, actions);
        rpc::Answer::Later
    }

    fn set_control_event(&mut self, stream: u64, handle: Option<OwnedHandle>) -> NtResult {
        let handle = handle.ok_or(STATUS_INVALID_HANDLE)?;
        if object_id(handle.raw())?.object_type != ObjectType::Event as u32 {
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        }
        self.control = Some((stream, Event::from_handle(handle)));
        Ok(())
    }
}

/// What a reader is told.
fn reply(is_line: bool, answer: &Answer) -> rpc::Answer<Reply> {
    rpc::Answer::Reply(match (is_line, answer) {
        (true, Answer::Line(line)) => Reply::ReadLine(Line::Text(line.clone())),
        (true, Answer::Interrupted) => Reply::ReadLine(Line::Interrupted),
        (true, _) => Reply::ReadLine(Line::EndOfFile),
        (false, Answer::Bytes(bytes)) => Reply::Read(bytes.as_slice().into()),
        (false, Answer::Interrupted) => return rpc::Answer::Error(STATUS_CANCELLED),
        (false, _) => Reply::Read(Default::default()),
    })
}

impl Service for Console {
    type Protocol = Protocol;

    fn request(
        &mut self,
        server: &mut Server,
        caller: &Caller,
        request: Request,
        handle: Option<OwnedHandle>,
    ) -> rpc::Answer<Reply> {
        let Origin::Object { context, server_type, .. } = caller.origin else {
            return rpc::Answer::Error(STATUS_ACCESS_DENIED);
        };
        let (wanted_type, wanted_access) = match &request {
            Request::Open(_) => (TYPE_CONSOLE, 0),
            Request::Write(_) => (TYPE_OUTPUT, CONSOLE_WRITE),
            Request::ReadLine(_) | Request::Read(_) => (TYPE_INPUT, CONSOLE_READ),
            Request::SetMode(_) | Request::SetControlEvent(_) => (TYPE_INPUT, CONSOLE_CONTROL),
            Request::Flush(_) => (server_type, 0),
        };
        if server_type != wanted_type {
            return rpc::Answer::Error(STATUS_OBJECT_TYPE_MISMATCH);
        }
        if let Err(status) = caller.require(wanted_access) {
            return rpc::Answer::Error(status);
        }
        match request {
            Request::Open(open) => match self.open_stream(server, caller, open.stream, open.access) {
                Ok(handle) => rpc::Answer::Give(Reply::Open(()), handle, None),
                Err(status) => rpc::Answer::Error(status),
            },
            Request::Write(write) => self.write(server, &write.data.0).map(Reply::Write).into(),
            Request::ReadLine(read) if read.prompt.len() > MAX_PROMPT => {
                rpc::Answer::Error(STATUS_INVALID_PARAMETER)
            }
            Request::ReadLine(read) => {
                self.read(server, caller, context, Want::Line { prompt: read.prompt, history: read.history })
            }
            Request::Read(read) if read.length == 0 => rpc::Answer::Reply(Reply::Read(Default::default())),
            Request::Read(read) => {
                let length = usize::try_from(read.length).unwrap_or(MAX_WRITE).min(MAX_WRITE);
                self.read(server, caller, context, Want::Bytes(length))
            }
            Request::SetMode(set) if set.mode & !(MODE_LINE | MODE_RAW_CTRL_C) != 0 => {
                rpc::Answer::Error(STATUS_INVALID_PARAMETER)
            }
            Request::SetMode(set) => {
                let mut actions = Vec::new();
                let (line, raw) = (set.mode & MODE_LINE != 0, set.mode & MODE_RAW_CTRL_C != 0);
                self.readers.set_mode(line, raw, &mut actions);
                self.act(server, actions);
                rpc::Answer::Reply(Reply::SetMode(()))
            }
            Request::SetControlEvent(_) => {
                self.set_control_event(context, handle).map(Reply::SetControlEvent).into()
            }
            Request::Flush(_) => {
                self.drain_log();
                self.show();
                rpc::Answer::Reply(Reply::Flush(()))
            }
        }
    }

    fn object_closed(&mut self, server: &mut Server, context: u64, _server_type: u32) {
        if self.control.as_ref().is_some_and(|(stream, _)| *stream == context) {
            self.control = None;
        }
        let mut actions = Vec::new();
        self.readers.forget(|waiting| waiting.stream == context, &mut actions);
        self.act(server, actions);
    }

    fn wait_objects(&mut self, objects: &mut Vec<Handle>) {
        self.sources.clear();
        if let Some(handle) = self.serial.as_ref().and_then(Serial::wait_handle) {
            objects.push(handle);
            self.sources.push(Source::Serial);
        }
        if let Some(log) = &self.log {
            objects.push(log.wait_handle());
            self.sources.push(Source::Log);
        }
    }

    fn signalled(&mut self, server: &mut Server, index: usize) {
        match self.sources.get(index) {
            Some(Source::Serial) => self.poll_keyboard(server),
            Some(Source::Log) => {
                self.drain_log();
                self.show();
            }
            None => {}
        }
    }

    fn timeout(&mut self) -> Option<Duration> {
        if self.screen.as_ref().is_some_and(Screen::is_dirty) {
            return Some(PAINT_DELAY);
        }
        self.serial.as_ref().is_some_and(|serial| serial.wait_handle().is_none()).then_some(POLL)
    }

    fn timed_out(&mut self, server: &mut Server) {
        self.poll_keyboard(server);
        if let Some(screen) = &mut self.screen {
            screen.paint();
            self.writes_since_paint = 0;
        }
    }
}
