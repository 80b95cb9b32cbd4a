//! The debug console: answers on the second serial line.
//!
//! smss gives it the line and the RESOURCE_DEBUG resource as extra handles. Each command is framed by OSC 133 marks
//! (prompt, input, output, done with status), so that a program at the other end can drive it. What the commands
//! do is in the library part of this crate; the root object lets programs run them too.

#![no_std]
#![no_main]

extern crate alloc;

mod kernel;
mod line;

use core::fmt::{self, Write};
use core::time::Duration;
use kd::complete::complete;
use kd::execute::{Output, Session, System, execute};
use kernel::Kernel;
use libnt::alpc::ConnectionPort;
use libnt::prelude::*;
use libnt::proto::kd::{KD_ALL_ACCESS, KD_EXECUTE, Kd as Protocol, Reply, Request, TYPE_KD};
use libnt::rpc::{self, Caller, Server, Service};
use libnt::session;
use line::{Line, Typed};
use tty::editor::Event;
use tty::serial::Serial;

libnt::main!(main);

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

impl Output for Limited {
    fn pause(&mut self, _: Duration) -> bool {
        true
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
        line.greet(b"\nAntares debug console; 'help' lists the commands.\n");
    }

    /// Executes what was typed, command by command.
    fn work(&mut self) {
        let Some(line) = &mut self.line else { return };
        line.receive();
        while let Some(typed) = line.next() {
            match typed {
                Typed::Line(event) => {
                    line.begin_output(self.session.terminal);
                    let status = match event {
                        Event::Line(command) => execute(&command, &mut self.session, &mut self.kernel, line),
                        Event::Interrupt | Event::EndOfFile => 0,
                    };
                    line.end_output(status);
                }
                Typed::Tab(before) => {
                    // Without a snapshot there are fewer names to offer.
                    let snapshot = self.kernel.snapshot().unwrap_or_default();
                    let (context, kernel) = (&mut self.session.context, &mut self.kernel);
                    let found =
                        complete(&before, &snapshot, &mut |start| context.symbols_with(start, kernel));
                    line.complete(&found);
                }
            }
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
