//! The debug console: answers on the second serial line.
//!
//! smss gives it the line and the RESOURCE_DEBUG resource as extra handles. Each command is framed by OSC 133 marks
//! (prompt, input, output, done with status), so that a program at the other end can drive it. What the commands
//! do is in the library part of this crate; the root object lets programs run them too.

#![no_std]
#![no_main]

extern crate alloc;

mod kernel;

use core::fmt::{self, Write};
use core::time::Duration;
use kd::execute::{Session, execute};
use kernel::Kernel;
use libnt::alpc::ConnectionPort;
use libnt::prelude::*;
use libnt::proto::kd::{KD_ALL_ACCESS, KD_EXECUTE, Kd as Protocol, Reply, Request, TYPE_KD};
use libnt::rpc::{self, Caller, Server, Service};
use libnt::session;
use tty::editor::{Editor, Event};
use tty::newline::NewlineMapper;
use tty::serial::Serial;

libnt::main!(main);

const PROMPT: &[u8] = b"\x1b]133;A\x07kd> \x1b]133;B\x07";
const OUTPUT_MARK: &[u8] = b"\x1b]133;C\x07";
/// How often a serial line without an interrupt is looked at.
const POLL: Duration = Duration::from_millis(20);
/// Most text of an answer to a program.
const MAX_ANSWER: usize = 0xF000;

fn main() -> NtResult {
    let mut server = Server::new(ConnectionPort::create()?);
    let root = server.create_object(0, TYPE_KD, KD_ALL_ACCESS)?;
    let kernel = Kernel::open()?;
    let line = Serial::open().map(Line::new);
    session::register_server(root.raw(), KD_ALL_ACCESS)?;
    let mut console = DebugConsole { line, session: Session::default(), kernel };
    console.greet();
    server.run(&mut console)
}

/// The serial line with its editor.
struct Line {
    serial: Serial,
    editor: Editor,
    newline: NewlineMapper,
    /// What was typed ahead.
    typed: alloc::collections::VecDeque<u8>,
}

impl Line {
    fn new(serial: Serial) -> Self {
        Self {
            serial,
            editor: Editor::default(),
            newline: NewlineMapper::default(),
            typed: Default::default(),
        }
    }

    fn send(&mut self, text: &[u8]) {
        let mut out = Vec::with_capacity(text.len() + 16);
        self.newline.map(text, &mut out);
        self.serial.send(&out);
    }

    fn prompt(&mut self) {
        let mut out = Vec::new();
        self.editor.begin(PROMPT, true, &mut out);
        self.send(&out);
    }

    /// Takes what was typed; gives the next finished line.
    fn next(&mut self) -> Option<Event> {
        let mut out = Vec::new();
        let mut event = None;
        while event.is_none() {
            let Some(byte) = self.typed.pop_front() else { break };
            event = self.editor.feed(byte, &mut out);
        }
        self.send(&out);
        event
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.send(text.as_bytes());
        Ok(())
    }
}

/// Collects a command's output into larger pieces for the line.
struct Buffered<'a> {
    line: &'a mut Line,
    text: String,
}

impl Buffered<'_> {
    fn flush(&mut self) {
        self.line.send(self.text.as_bytes());
        self.text.clear();
    }
}

impl Write for Buffered<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        if self.text.len() > 1024 {
            self.flush();
        }
        Ok(())
    }
}

/// Text cut to a length.
struct Limited(String);

impl Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut room = MAX_ANSWER.saturating_sub(self.0.len()).min(text.len());
        while !text.is_char_boundary(room) {
            room -= 1;
        }
        self.0.push_str(&text[..room]);
        Ok(())
    }
}

struct DebugConsole {
    line: Option<Line>,
    session: Session,
    kernel: Kernel,
}

impl DebugConsole {
    fn greet(&mut self) {
        let Some(line) = &mut self.line else { return };
        line.send(b"\nAntares debug console; 'help' lists the commands.\n");
        line.prompt();
    }

    /// Executes what was typed, command by command.
    fn work(&mut self) {
        let Some(line) = &mut self.line else { return };
        let mut bytes = Vec::new();
        line.serial.receive(&mut bytes);
        line.typed.extend(bytes);
        while let Some(event) = line.next() {
            line.send(OUTPUT_MARK);
            let status = match event {
                Event::Line(command) => {
                    let mut out = Buffered { line, text: String::new() };
                    let status = execute(&command, &mut self.session, &mut self.kernel, &mut out);
                    out.flush();
                    status
                }
                Event::Interrupt | Event::EndOfFile => 0,
            };
            line.send(format!("\x1b]133;D;{status}\x07").as_bytes());
            line.prompt();
        }
    }
}

impl Service for DebugConsole {
    type Protocol = Protocol;

    fn request(
        &mut self,
        _server: &mut Server,
        caller: &Caller,
        request: Request,
        _handle: Option<OwnedHandle>,
    ) -> rpc::Answer<Reply> {
        if let Err(status) = caller.require(KD_EXECUTE) {
            return rpc::Answer::Error(status);
        }
        let Request::Execute(call) = request;
        let mut out = Limited(String::new());
        // The status is in the text: a command that fails says so.
        execute(&call.command, &mut self.session, &mut self.kernel, &mut out);
        rpc::Answer::Reply(Reply::Execute(out.0))
    }

    fn wait_objects(&mut self, objects: &mut Vec<Handle>) {
        objects.extend(self.line.as_ref().and_then(|line| line.serial.wait_handle()));
    }

    fn signalled(&mut self, _server: &mut Server, _index: usize) {
        self.work();
    }

    fn timeout(&mut self) -> Option<Duration> {
        self.line.as_ref().is_some_and(|line| line.serial.wait_handle().is_none()).then_some(POLL)
    }

    fn timed_out(&mut self, _server: &mut Server) {
        self.work();
    }
}
