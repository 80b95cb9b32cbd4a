//! The serial line of a person or a script: editor, pager, colours, and the marks around each command.

use core::fmt::{self, Write};
use core::time::Duration;
use kd::complete::Completion;
use kd::pager::{Pager, Size};
use kd::style::Painter;
use libnt::prelude::*;
use tty::editor::{Editor, Event};
use tty::newline::NewlineMapper;
use tty::serial::Serial;

const PROMPT: &[u8] = b"\x1b]133;A\x07kd> \x1b]133;B\x07";
const OUTPUT_MARK: &[u8] = b"\x1b]133;C\x07";
/// Output goes to the line in pieces of about this many bytes.
const PIECE: usize = 1024;

/// What came of the bytes that were typed.
pub enum Typed {
    /// A line is done.
    Line(Event),
    /// Tab was pressed behind this text.
    Tab(String),
}

/// One command's output on its way.
struct Output {
    pager: Pager,
    painter: Option<Painter>,
    ready: String,
    /// The command's status, once it is done.
    status: Option<u32>,
}

/// The serial line.
pub struct Line {
    /// The port.
    pub serial: Serial,
    editor: Editor,
    newline: NewlineMapper,
    /// What was typed ahead.
    typed: alloc::collections::VecDeque<u8>,
    /// While a command runs, and while a person reads what it said.
    output: Option<Output>,
}

impl Line {
    /// A line on this port.
    pub fn new(serial: Serial) -> Self {
        Self {
            serial,
            editor: Editor::default(),
            newline: NewlineMapper::default(),
            typed: Default::default(),
            output: None,
        }
    }

    fn send(&mut self, text: &[u8]) {
        let mut out = Vec::with_capacity(text.len() + 16);
        self.newline.map(text, &mut out);
        self.serial.send(&out);
    }

    /// The first words, and the first prompt.
    pub fn greet(&mut self, text: &[u8]) {
        self.send(text);
        self.prompt();
    }

    fn prompt(&mut self) {
        let mut out = Vec::new();
        self.editor.begin(PROMPT, true, &mut out);
        self.send(&out);
    }

    /// Takes in what has come.
    pub fn receive(&mut self) {
        let mut bytes = Vec::new();
        self.serial.receive(&mut bytes);
        self.typed.extend(bytes);
    }

    /// Goes through what was typed up to something that the caller must do.
    pub fn next(&mut self) -> Option<Typed> {
        while self.output.is_some() {
            let key = self.typed.pop_front()?;
            self.page(key);
        }
        let mut out = Vec::new();
        let mut found = None;
        while found.is_none() {
            let Some(byte) = self.typed.pop_front() else { break };
            found = self.editor.feed(byte, &mut out).map(Typed::Line);
            if self.editor.take_tab() {
                found = Some(Typed::Tab(self.editor.before_cursor().into()));
            }
        }
        self.send(&out);
        found
    }

    /// Completes what stands before the cursor.
    pub fn complete(&mut self, found: &Completion) {
        let mut out = Vec::new();
        self.editor.complete(found.from, &found.candidates, &mut out);
        self.send(&out);
    }

    /// A command begins, whose output this person can see so much of at a time.
    pub fn begin_output(&mut self, terminal: Option<Size>) {
        self.send(OUTPUT_MARK);
        self.output = Some(Output {
            pager: Pager::new(terminal),
            painter: terminal.map(|_| Painter::default()),
            ready: String::new(),
            status: None,
        });
    }

    /// The command is done. The next prompt comes when everything has been read.
    pub fn end_output(&mut self, status: u32) {
        if let Some(output) = &mut self.output {
            output.status = Some(status);
            if let Some(painter) = &mut output.painter {
                let mut text = String::new();
                painter.flush(&mut text);
                output.pager.write(&text, &mut output.ready);
            }
        }
        self.settle();
    }

    /// Sends what may be shown, and the prompt behind the end.
    fn settle(&mut self) {
        let Some(output) = &mut self.output else { return };
        let ready = core::mem::take(&mut output.ready);
        let done = output.status.filter(|_| !output.pager.is_asking());
        self.send(ready.as_bytes());
        if let Some(status) = done {
            self.output = None;
            self.send(format!("\x1b]133;D;{status}\x07").as_bytes());
            self.prompt();
        }
    }

    /// A key while a person reads.
    fn page(&mut self, key: u8) {
        let Some(output) = &mut self.output else { return };
        if !output.pager.key(key, &mut output.ready) {
            self.typed.push_front(key);
        }
        self.settle();
    }
}

impl kd::execute::Output for Line {
    fn pause(&mut self, time: Duration) -> bool {
        self.settle();
        libnt::time::sleep(time);
        let before = self.typed.len();
        self.receive();
        // The first key is the one that ends the command.
        self.typed.remove(before).is_some()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(output) = &mut self.output else { return Ok(()) };
        match &mut output.painter {
            Some(painter) => {
                let mut painted = String::new();
                painter.write(text, &mut painted);
                output.pager.write(&painted, &mut output.ready);
            }
            None => output.pager.write(text, &mut output.ready),
        }
        if output.ready.len() > PIECE {
            self.settle();
        }
        Ok(())
    }
}
