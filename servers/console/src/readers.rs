//! Who reads what is typed.
//!
//! Reads wait here until a line (or a byte) is there for them. One read at a time is served: a read of the shell,
//! that is of a handle with [`CONSOLE_CONTROL`](libnt::proto::console::CONSOLE_CONTROL), before all others; else the
//! newest. While the shell is reading, whoever else waits is in the background and stays unserved, as a stopped job.
//!
//! Ctrl-C at the shell's own line belongs to the line editor. Otherwise a program is running: the line is
//! dropped, the reads that wait are ended, and the shell is told by its event.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use tty::editor::{Editor, Event};
use tty::newline::NewlineMapper;

/// Typed bytes that are kept for later reads; more are dropped with a bell.
const MAX_TYPED_AHEAD: usize = 0x1_0000;
/// Reads that may wait at once.
pub const MAX_READERS: usize = 256;

const CONTROL_C: u8 = 3;

/// What a reader wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// A line, edited behind a prompt.
    Line {
        /// Prompt.
        prompt: String,
        /// Whether the line enters the history.
        history: bool,
    },
    /// Up to so many bytes.
    Bytes(usize),
}

/// What becomes of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A line without its end.
    Line(String),
    /// Bytes; none at the end of the input.
    Bytes(Vec<u8>),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D on an empty line.
    EndOfFile,
}

/// Something the server has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<T> {
    /// Answer a read. When that fails, call [`Readers::undelivered`] with the answer.
    Answer(T, Answer),
    /// Tell the shell of Ctrl-C.
    Interrupt,
}

#[derive(Debug)]
struct Reader<T> {
    number: u64,
    token: T,
    control: bool,
    background: bool,
    want: Want,
}

/// The reads that wait, the line being edited, and the output on its way to the screen. `T` is how the server
/// finds a request again.
#[derive(Debug)]
pub struct Readers<T> {
    waiting: Vec<Reader<T>>,
    next_number: u64,
    /// Number of the reader whose line is on the screen.
    current: Option<u64>,
    editor: Editor,
    typed: VecDeque<u8>,
    /// Bytes of a line that a byte reader has not taken yet.
    line_rest: VecDeque<u8>,
    line_mode: bool,
    raw_control_c: bool,
    newline: NewlineMapper,
    output: Vec<u8>,
}

impl<T: Clone> Default for Readers<T> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            next_number: 1,
            current: None,
            editor: Editor::default(),
            typed: VecDeque::new(),
            line_rest: VecDeque::new(),
            line_mode: true,
            raw_control_c: false,
            newline: NewlineMapper::default(),
            output: Vec::new(),
        }
    }
}

impl<T: Clone> Readers<T> {
    /// The output that has come together since the last call, for the screen.
    pub fn take_output(&mut self) -> Vec<u8> {
        core::mem::take(&mut self.output)
    }

    /// Somebody writes. A line being edited makes room and is shown again behind it.
    pub fn write(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        if !self.is_editing() {
            return self.newline.map(text, &mut self.output);
        }
        let mut out = Vec::new();
        self.editor.hide(&mut out);
        out.extend_from_slice(text);
        if text.last() != Some(&b'\n') {
            out.push(b'\n');
        }
        self.editor.show(&mut out);
        self.newline.map(&out, &mut self.output);
    }

    /// Somebody wants to read. `control` says that it is the shell. False when too many reads wait.
    pub fn read(&mut self, token: T, control: bool, want: Want, actions: &mut Vec<Action<T>>) -> bool {
        if self.waiting.len() >= MAX_READERS {
            return false;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.waiting.push(Reader { number, token, control, background: false, want });
        self.pump(actions);
        true
    }

    /// Sets the mode: edit lines for byte readers, take Ctrl-C as a character.
    pub fn set_mode(&mut self, line_mode: bool, raw_control_c: bool, actions: &mut Vec<Action<T>>) {
        (self.line_mode, self.raw_control_c) = (line_mode, raw_control_c);
        self.leave_line();
        self.pump(actions);
    }

    /// Bytes came from the keyboard.
    pub fn typed(&mut self, bytes: &[u8], actions: &mut Vec<Action<T>>) {
        for &byte in bytes {
            if byte == CONTROL_C && !self.raw_control_c && !self.shell_reads() {
                self.interrupt(actions);
            } else if self.typed.len() < MAX_TYPED_AHEAD {
                self.typed.push_back(byte);
                self.pump(actions);
            } else {
                self.output.push(0x07);
            }
        }
    }

    /// An answer found nobody: the reader is dead. What was typed goes to the next one.
    pub fn undelivered(&mut self, answer: Answer, actions: &mut Vec<Action<T>>) {
        let bytes = match answer {
            Answer::Line(line) => [line.as_bytes(), b"\r"].concat(),
            Answer::Bytes(bytes) => bytes,
            Answer::Interrupted | Answer::EndOfFile => return,
        };
        bytes.into_iter().rev().for_each(|byte| self.typed.push_front(byte));
        self.pump(actions);
    }

    /// Forgets reads whose client is known to be gone.
    pub fn forget(&mut self, is_gone: impl Fn(&T) -> bool, actions: &mut Vec<Action<T>>) {
        self.waiting.retain(|reader| !is_gone(&reader.token));
        self.pump(actions);
    }

    /// True when a line is on the screen.
    fn is_editing(&self) -> bool {
        self.find(self.current).is_some_and(|reader| self.wants_line(reader))
    }

    fn wants_line(&self, reader: &Reader<T>) -> bool {
        self.line_mode || matches!(reader.want, Want::Line { .. })
    }

    fn shell_reads(&self) -> bool {
        self.find(self.current).is_some_and(|reader| reader.control)
    }

    fn find(&self, number: Option<u64>) -> Option<&Reader<T>> {
        self.waiting.iter().find(|reader| Some(reader.number) == number)
    }

    /// The read to be served: the shell's, else the newest in the foreground.
    fn chosen(&self) -> Option<u64> {
        let newest = |control| {
            self.waiting.iter().rev().find(|reader| reader.control == control && !reader.background)
        };
        newest(true).or_else(|| newest(false)).map(|reader| reader.number)
    }

    /// Makes the chosen read the current one, and serves it with what was typed, and so on.
    fn pump(&mut self, actions: &mut Vec<Action<T>>) {
        loop {
            let chosen = self.chosen();
            if chosen != self.current {
                self.leave_line();
                self.current = chosen;
                self.enter_line();
            }
            let Some(reader) = self.find(chosen) else { return };
            let now = match reader.want {
                Want::Bytes(length) if !self.line_rest.is_empty() || !self.line_mode => Some(length),
                _ => None,
            };
            let answer = match now {
                Some(length) => self.take_bytes(length),
                None => self.edit(),
            };
            let Some(answer) = answer else { return };
            self.answer(chosen, answer, actions);
        }
    }

    /// Takes bytes as they were typed, or the rest of a line.
    fn take_bytes(&mut self, length: usize) -> Option<Answer> {
        let source = if self.line_rest.is_empty() { &mut self.typed } else { &mut self.line_rest };
        let count = source.len().min(length);
        (count > 0).then(|| Answer::Bytes(source.drain(..count).collect()))
    }

    /// Feeds the editor until the line is done.
    fn edit(&mut self) -> Option<Answer> {
        let mut out = Vec::new();
        let mut event = None;
        while event.is_none() {
            let Some(byte) = self.typed.pop_front() else { break };
            event = self.editor.feed(byte, &mut out);
            if self.editor.take_tab() {
                self.editor.refuse_tab(&mut out);
            }
        }
        self.newline.map(&out, &mut self.output);
        Some(match event? {
            Event::Line(line) => Answer::Line(line),
            Event::Interrupt => Answer::Interrupted,
            Event::EndOfFile => Answer::EndOfFile,
        })
    }

    /// Answers a read; a byte reader gets its part of a line, with its end.
    fn answer(&mut self, number: Option<u64>, answer: Answer, actions: &mut Vec<Action<T>>) {
        let Some(index) = self.waiting.iter().position(|reader| Some(reader.number) == number) else {
            return;
        };
        let reader = self.waiting.remove(index);
        self.current = None;
        let answer = match (&reader.want, answer) {
            (Want::Bytes(length), Answer::Line(line)) => {
                self.line_rest.extend(line.bytes().chain([b'\n']));
                let count = self.line_rest.len().min(*length);
                Answer::Bytes(self.line_rest.drain(..count).collect())
            }
            (Want::Bytes(_), Answer::EndOfFile) => Answer::Bytes(Vec::new()),
            (_, answer) => answer,
        };
        actions.push(Action::Answer(reader.token, answer));
    }

    /// Ctrl-C while a program runs.
    fn interrupt(&mut self, actions: &mut Vec<Action<T>>) {
        self.typed.clear();
        self.line_rest.clear();
        self.newline.map(b"^C\n", &mut self.output);
        let (ended, rest) =
            core::mem::take(&mut self.waiting).into_iter().partition(|reader| !reader.background);
        self.waiting = rest;
        self.current = None;
        let ended: Vec<Reader<T>> = ended;
        actions.extend(ended.into_iter().map(|reader| Action::Answer(reader.token, Answer::Interrupted)));
        actions.push(Action::Interrupt);
        self.pump(actions);
    }

    /// Takes the current line off the screen.
    fn leave_line(&mut self) {
        if self.is_editing() {
            let mut out = Vec::new();
            self.editor.hide(&mut out);
            self.newline.map(&out, &mut self.output);
        }
        self.current = None;
    }

    /// Puts the prompt of the current read on the screen. When it is the shell's, all others are background now.
    fn enter_line(&mut self) {
        if self.shell_reads() {
            self.waiting
                .iter_mut()
                .filter(|reader| !reader.control)
                .for_each(|reader| reader.background = true);
        }
        if !self.is_editing() || (!self.line_rest.is_empty() && !self.shell_reads()) {
            return;
        }
        let (prompt, history) = match self.find(self.current).map(|reader| &reader.want) {
            Some(Want::Line { prompt, history }) => (prompt.clone(), *history),
            _ => (String::new(), false),
        };
        let mut out = Vec::new();
        self.editor.begin(prompt.as_bytes(), history, &mut out);
        self.newline.map(&out, &mut self.output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Desk {
        readers: Readers<u32>,
        actions: Vec<Action<u32>>,
    }

    impl Desk {
        fn line(&mut self, token: u32, control: bool) -> &mut Self {
            let prompt = if control { "> " } else { "? " }.into();
            assert!(self.readers.read(
                token,
                control,
                Want::Line { prompt, history: control },
                &mut self.actions
            ));
            self
        }
        fn bytes(&mut self, token: u32, length: usize) -> &mut Self {
            assert!(self.readers.read(token, false, Want::Bytes(length), &mut self.actions));
            self
        }
        fn typed(&mut self, text: &str) -> &mut Self {
            self.readers.typed(text.as_bytes(), &mut self.actions);
            self
        }
        fn screen(&mut self) -> String {
            String::from_utf8(self.readers.take_output()).unwrap()
        }
        fn actions(&mut self) -> Vec<Action<u32>> {
            core::mem::take(&mut self.actions)
        }
    }

    fn line(token: u32, text: &str) -> Action<u32> {
        Action::Answer(token, Answer::Line(text.into()))
    }

    fn bytes(token: u32, text: &str) -> Action<u32> {
        Action::Answer(token, Answer::Bytes(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_line_for_the_shell() {
        let mut desk = Desk::default();
        desk.line(1, true).typed("hello\r");
        assert_eq!(desk.screen(), "> hello\r\n");
        assert_eq!(desk.actions(), [line(1, "hello")]);
    }

    #[test]
    fn what_is_typed_ahead_waits_for_its_reader() {
        let mut desk = Desk::default();
        desk.typed("one\rtwo\rthr");
        assert_eq!((desk.screen().as_str(), desk.actions().len()), ("", 0));
        desk.line(1, true).line(2, true);
        assert_eq!(desk.actions(), [line(1, "one"), line(2, "two")]);
        assert_eq!(desk.screen(), "> one\r\n> two\r\n");
        desk.line(3, true).typed("ee\r");
        assert_eq!(desk.actions(), [line(3, "three")]);
    }

    #[test]
    fn a_write_makes_room_for_itself() {
        let mut desk = Desk::default();
        desk.line(1, true).typed("ab");
        desk.screen();
        desk.readers.write(b"news\n");
        assert_eq!(desk.screen(), "\r\x1b[Knews\r\n> ab");
        desk.readers.write(b"half");
        assert_eq!(desk.screen(), "\r\x1b[Khalf\r\n> ab");
        desk.typed("\r");
        desk.screen();
        desk.readers.write(b"plain");
        assert_eq!(desk.screen(), "plain");
    }

    #[test]
    fn a_program_reads_while_the_shell_does_not() {
        let mut desk = Desk::default();
        desk.line(7, false).typed("in\r");
        assert_eq!(desk.actions(), [line(7, "in")]);
        assert_eq!(desk.screen(), "? in\r\n");
    }

    #[test]
    fn the_shell_takes_the_line_from_a_background_program() {
        let mut desk = Desk::default();
        desk.line(7, false).typed("x").line(1, true);
        assert_eq!(desk.screen(), "? x\r\x1b[K> ");
        desk.typed("dir\r");
        assert_eq!(desk.actions(), [line(1, "dir")]);
        // The program stays in the background; a new one in the foreground reads.
        desk.typed("ahead\r");
        assert_eq!(desk.actions(), []);
        desk.line(8, false);
        assert_eq!(desk.actions(), [line(8, "ahead")]);
    }

    #[test]
    fn a_background_program_that_asks_at_the_prompt_waits() {
        let mut desk = Desk::default();
        desk.line(1, true).line(7, false).typed("a\r");
        assert_eq!(desk.actions(), [line(1, "a")]);
        assert_eq!(desk.screen(), "> a\r\n? ");
    }

    #[test]
    fn control_c_at_the_prompt_ends_the_line_only() {
        let mut desk = Desk::default();
        desk.line(1, true).typed("abc\x03");
        assert_eq!(desk.actions(), [Action::Answer(1, Answer::Interrupted)]);
        assert_eq!(desk.screen(), "> abc^C\r\n");
    }

    #[test]
    fn control_c_while_a_program_runs() {
        let mut desk = Desk::default();
        desk.typed("typed ahead\x03");
        assert_eq!(desk.actions(), [Action::Interrupt]);
        assert_eq!(desk.screen(), "^C\r\n");
        desk.line(7, false).typed("x\x03y\r");
        assert_eq!(desk.actions(), [Action::Answer(7, Answer::Interrupted), Action::Interrupt]);
        desk.line(1, true);
        assert_eq!(desk.actions(), [line(1, "y")]);
    }

    #[test]
    fn bytes_in_line_mode_come_by_lines() {
        let mut desk = Desk::default();
        desk.bytes(1, 3).typed("hel\x7flo\r");
        assert_eq!(desk.actions(), [bytes(1, "hel")]);
        desk.bytes(2, 100);
        assert_eq!(desk.actions(), [bytes(2, "o\n")]);
        desk.bytes(3, 100).typed("\x04");
        assert_eq!(desk.actions(), [bytes(3, "")]);
    }

    #[test]
    fn bytes_in_raw_mode_come_as_they_are() {
        let mut desk = Desk::default();
        desk.readers.set_mode(false, true, &mut Vec::new());
        desk.bytes(1, 2).typed("a").bytes(2, 2).typed("\x03\x1b[A").bytes(3, 9);
        assert_eq!(desk.actions(), [bytes(1, "a"), bytes(2, "\x03"), bytes(3, "\x1b[A")]);
        assert_eq!(desk.screen(), "");
    }

    #[test]
    fn what_a_dead_reader_should_have_got_goes_to_the_next() {
        let mut desk = Desk::default();
        desk.line(7, false).typed("dir\r");
        let Some(Action::Answer(7, answer)) = desk.actions().pop() else { panic!("no answer") };
        desk.readers.undelivered(answer, &mut Vec::new());
        desk.line(1, true);
        assert_eq!(desk.actions(), [line(1, "dir")]);
    }

    #[test]
    fn gone_readers_are_forgotten() {
        let mut desk = Desk::default();
        desk.line(1, true).line(2, true);
        desk.readers.forget(|token| *token == 2, &mut Vec::new());
        desk.typed("x\r");
        assert_eq!(desk.actions(), [line(1, "x")]);
    }

    #[test]
    fn nothing_grows_without_bound() {
        let mut desk = Desk::default();
        desk.typed(&"x".repeat(MAX_TYPED_AHEAD + 10));
        assert_eq!(desk.readers.typed.len(), MAX_TYPED_AHEAD);
        desk.readers.typed.clear();
        for token in 0..MAX_READERS as u32 {
            desk.line(token, false);
        }
        assert!(!desk.readers.read(9999, false, Want::Bytes(1), &mut Vec::new()));
    }
}
