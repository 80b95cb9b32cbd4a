//! What one serial line is doing.
//!
//! The shell and the debug console both say where they are by OSC 133 marks: prompt, typing, output, done. [`Protocol`] follows them
//! and sorts the text on the line: the prompt and the echo are dropped, a command's output is reported, and so is what the system
//! says on its own between commands (a crash report that comes late). The text before the first prompt belongs to the start-up and is
//! only kept in the transcript.

use crate::term::{Event, Mark, Screen, plain};

/// What came by on the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Text to show: the output of the running command, or something the system said outside of any.
    Output(Vec<u8>),
    /// The command is done.
    Done(u32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Boot,
    Prompt,
    Editing,
    Running,
    Between,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Typed {
    Nothing,
    Command(String),
    Raw,
}

/// The longest transcript kept in memory (the log file has all of it).
const MAX_TRANSCRIPT: usize = 1 << 20;
/// The status of a command whose shell ended before it could say one.
pub const LOST: u32 = 1;
/// How the bugcheck screen begins.
const STOP: &str = "*** STOP: 0x";
/// How the direct-boot loader's last words begin, when it cannot start the kernel.
const LOADER_STOP: &str = "direct boot: ";

/// Follows one line.
#[derive(Debug)]
pub struct Protocol {
    phase: Phase,
    typed: Typed,
    edit: Screen,
    held: Vec<u8>,
    prompts: u64,
    transcript: String,
    line_start: usize,
    stop: Option<usize>,
}

impl Default for Protocol {
    fn default() -> Self {
        Protocol {
            phase: Phase::Boot,
            typed: Typed::Nothing,
            edit: Screen::default(),
            held: Vec::new(),
            prompts: 0,
            transcript: String::new(),
            line_start: 0,
            stop: None,
        }
    }
}

impl Protocol {
    /// May a command be typed now?
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Editing && self.typed == Typed::Nothing
    }

    /// Has there been a prompt?
    pub fn has_booted(&self) -> bool {
        self.phase != Phase::Boot
    }

    /// All text that came by (the last MiB of it), cleaned.
    pub fn transcript(&self) -> &str {
        &self.transcript
    }

    /// The bugcheck screen so far (or the loader's last words), if there is one.
    pub fn bugcheck(&self) -> Option<&str> {
        self.stop.map(|at| &self.transcript[at..])
    }

    /// What the line editor shows now, prompt left out.
    pub fn editor(&self) -> &Screen {
        &self.edit
    }

    /// A command is about to be typed: its echo is not output.
    pub fn command(&mut self, command: &str, seen: &mut Vec<Seen>) {
        self.leave_editing(seen);
        self.typed = Typed::Command(command.to_owned());
    }

    /// Keys are about to be sent that are not a whole command: whatever the editor makes of them is not output.
    pub fn keys(&mut self) {
        // While a command runs, keys belong to it.
        if self.typed == Typed::Nothing && self.phase == Phase::Editing {
            self.typed = Typed::Raw;
        }
    }

    /// How many prompts there were.
    pub fn prompts(&self) -> u64 {
        self.prompts
    }

    /// The keys sent have left an empty line at a prompt.
    pub fn line_was_dropped(&mut self) {
        self.typed = Typed::Nothing;
    }

    /// Takes one event of the stream.
    pub fn event(&mut self, event: &Event, seen: &mut Vec<Seen>) {
        match event {
            Event::Text(text) => {
                self.record(text);
                match self.phase {
                    Phase::Boot | Phase::Prompt => {}
                    Phase::Editing => self.edit.event(event),
                    Phase::Running => output(plain(text), seen),
                    Phase::Between => {
                        self.held.extend(plain(text));
                        if !self.held.iter().all(u8::is_ascii_whitespace) {
                            output(std::mem::take(&mut self.held), seen);
                        }
                    }
                }
            }
            Event::Csi(..) => {
                if self.phase == Phase::Editing {
                    self.edit.event(event);
                }
            }
            Event::Mark(Mark::PromptStart) => {
                match self.phase {
                    Phase::Editing => self.leave_editing(seen),
                    // The shell itself has ended, and a new one is there.
                    Phase::Running => seen.push(Seen::Done(LOST)),
                    _ => {}
                }
                self.held.clear();
                self.phase = Phase::Prompt;
            }
            Event::Mark(Mark::PromptEnd) => {
                self.edit = Screen::default();
                self.prompts += 1;
                self.phase = Phase::Editing;
            }
            Event::Mark(Mark::OutputStart) => {
                self.leave_editing(seen);
                self.typed = Typed::Nothing;
                self.phase = Phase::Running;
            }
            Event::Mark(Mark::Done(status)) => {
                if self.phase == Phase::Running {
                    seen.push(Seen::Done(*status));
                    self.held.clear();
                    self.phase = Phase::Between;
                }
            }
        }
    }

    /// Reports what stands on the screen beside the echo of what was typed.
    fn leave_editing(&mut self, seen: &mut Vec<Seen>) {
        let screen = std::mem::take(&mut self.edit);
        if self.phase != Phase::Editing || self.typed == Typed::Raw {
            return;
        }
        let lines = screen.lines();
        let last = lines.len() - 1;
        for (number, line) in lines.iter().enumerate() {
            let text = match &self.typed {
                Typed::Command(command) => match line.trim_end().strip_suffix(command.trim_end()) {
                    // The echo, and after a redraw the prompt before it.
                    Some(_) => "",
                    // The echo of its beginning, interrupted by something the system said.
                    None if number == last && command.starts_with(line.trim_end()) => "",
                    None => line,
                },
                _ => line,
            };
            if !text.trim().is_empty() {
                output(format!("{}\n", text.trim_end()).into_bytes(), seen);
            }
        }
    }

    fn record(&mut self, text: &[u8]) {
        self.transcript.push_str(&String::from_utf8_lossy(&plain(text)));
        loop {
            let line = &self.transcript[self.line_start..];
            let at = if self.phase == Phase::Boot && line.starts_with(LOADER_STOP) {
                Some(0)
            } else if self.phase == Phase::Running {
                line.starts_with(STOP).then_some(0)
            } else {
                line.lines().next().and_then(|l| l.find(STOP))
            };
            if let (Some(at), None) = (at, self.stop) {
                self.stop = Some(self.line_start + at);
            }
            match line.find('\n') {
                Some(end) => self.line_start += end + 1,
                None => break,
            }
        }
        if self.transcript.len() > MAX_TRANSCRIPT && self.stop.is_none() {
            let mut cut = self.transcript.len() - MAX_TRANSCRIPT / 2;
            while !self.transcript.is_char_boundary(cut) {
                cut += 1;
            }
            self.transcript.drain(..cut);
            self.line_start = self.line_start.saturating_sub(cut);
        }
    }
}

fn output(text: Vec<u8>, seen: &mut Vec<Seen>) {
    if text.is_empty() {
        return;
    }
    if let Some(Seen::Output(before)) = seen.last_mut() {
        before.extend(text);
    } else {
        seen.push(Seen::Output(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::Scanner;

    const A: &str = "\x1b]133;A\x07";
    const B: &str = "\x1b]133;B\x07";
    const C: &str = "\x1b]133;C\x07";

    struct Fake {
        scanner: Scanner,
        protocol: Protocol,
        seen: Vec<Seen>,
    }

    impl Fake {
        fn new() -> Self {
            let mut fake =
                Fake { scanner: Scanner::default(), protocol: Protocol::default(), seen: Vec::new() };
            fake.says(&format!("Antares\r\n{A}C:\\>{B}"));
            assert!(fake.protocol.is_ready());
            assert_eq!(fake.seen, vec![]);
            fake
        }

        fn says(&mut self, text: &str) {
            let mut events = Vec::new();
            self.scanner.feed(text.as_bytes(), &mut events);
            for event in events {
                self.protocol.event(&event, &mut self.seen);
            }
        }

        fn types(&mut self, command: &str) {
            self.protocol.command(command, &mut self.seen);
        }

        fn shown(&self) -> String {
            let mut all = Vec::new();
            for seen in &self.seen {
                if let Seen::Output(text) = seen {
                    all.extend(text);
                }
            }
            String::from_utf8(all).unwrap()
        }
    }

    #[test]
    fn a_command_from_prompt_to_prompt() {
        let mut fake = Fake::new();
        fake.types("echo hi");
        assert!(!fake.protocol.is_ready());
        fake.says(&format!("echo hi\r\n{C}hi\r\n\x1b]133;D;3\x07\r\n{A}C:\\>{B}"));
        assert_eq!(fake.seen, vec![Seen::Output(b"hi\n".to_vec()), Seen::Done(3)]);
        assert!(fake.protocol.is_ready());
    }

    #[test]
    fn an_editor_that_redraws_its_line_is_still_an_echo() {
        let mut fake = Fake::new();
        fake.types("dir");
        fake.says(&format!("d\r\x1b[KC:\\>di\r\x1b[KC:\\>dir\r\n{C}\x1b]133;D;0\x07"));
        assert_eq!(fake.seen, vec![Seen::Done(0)]);
    }

    #[test]
    fn what_comes_at_an_idle_prompt_is_shown() {
        let mut fake = Fake::new();
        fake.says(&format!("\r\x1b[Kcrash.exe ended: 0xC0000005\r\n{A}C:\\>{B}"));
        fake.types("x");
        fake.says(&format!("x\r\n{C}y\r\n\x1b]133;D;0\x07late news\r\n{A}"));
        assert_eq!(fake.shown(), "crash.exe ended: 0xC0000005\ny\nlate news\n");
    }

    #[test]
    fn what_interrupts_the_echo_is_shown() {
        let mut fake = Fake::new();
        fake.types("hello");
        fake.says(&format!("hel\r\x1b[Kbackground done\r\n{A}C:\\>{B}hello\r\n{C}\x1b]133;D;0\x07"));
        assert_eq!(fake.shown(), "background done\n");
    }

    #[test]
    fn a_prompt_ends_a_command_whose_shell_died() {
        let mut fake = Fake::new();
        fake.types("exit");
        fake.says(&format!("exit\r\n{C}a new shell\r\n{A}C:\\>{B}"));
        assert_eq!(fake.seen, vec![Seen::Output(b"a new shell\n".to_vec()), Seen::Done(LOST)]);
        assert!(fake.protocol.is_ready());
    }

    #[test]
    fn done_without_a_command_means_nothing() {
        let mut fake = Fake::new();
        fake.says(&format!("\x1b]133;D;0\x07{A}C:\\>{B}"));
        assert_eq!(fake.seen, vec![]);
        assert!(fake.protocol.is_ready());
    }

    #[test]
    fn keys_are_not_output() {
        let mut fake = Fake::new();
        fake.protocol.keys();
        fake.says("abc\x08\x1b[K");
        assert_eq!(fake.protocol.editor().line(), "ab");
        fake.says(&format!("\r\n{C}out\r\n\x1b]133;D;0\x07"));
        assert_eq!(fake.shown(), "out\n");
    }

    #[test]
    fn keys_for_a_program_leave_the_next_prompt_free() {
        let mut fake = Fake::new();
        fake.types("wait");
        fake.says(&format!("wait\r\n{C}waiting\r\n"));
        fake.protocol.keys();
        fake.says(&format!("^C\r\n\x1b]133;D;9\x07{A}C:\\>{B}"));
        assert!(fake.protocol.is_ready());
    }

    #[test]
    fn a_bugcheck_is_seen_wherever_it_comes() {
        let mut fake = Fake::new();
        fake.says("\r\n*** STO");
        fake.says("P: 0x0000001E (1, 2, 3, 4)\r\nrip ...\r\n");
        assert_eq!(fake.protocol.bugcheck(), Some("*** STOP: 0x0000001E (1, 2, 3, 4)\nrip ...\n"));

        let mut fake = Fake::new();
        fake.types("x");
        fake.says(&format!("x\r\n{C}text about *** STOP: 0x1 is no stop\r\n*** STOP: 0x7F"));
        assert_eq!(fake.protocol.bugcheck(), Some("*** STOP: 0x7F"));

        let mut fake = Fake { scanner: Scanner::default(), protocol: Protocol::default(), seen: Vec::new() };
        fake.says("starting\r\n*** STOP: 0x0000007D\r\n");
        assert!(fake.protocol.bugcheck().is_some());

        let mut fake = Fake { scanner: Scanner::default(), protocol: Protocol::default(), seen: Vec::new() };
        fake.says("direct boot: out of memory\r\n");
        assert!(fake.protocol.bugcheck().is_some());
    }

    #[test]
    fn the_transcript_stays_bounded() {
        let mut fake = Fake::new();
        fake.types("x");
        fake.says(&format!("x\r\n{C}"));
        for _ in 0..3000 {
            fake.says(&format!("{}ä\r\n", "y".repeat(1000)));
            fake.seen.clear();
        }
        assert!(fake.protocol.transcript().len() <= MAX_TRANSCRIPT);
        fake.says("*** STOP: 0x1\r\n");
        assert_eq!(fake.protocol.bugcheck(), Some("*** STOP: 0x1\n"));
    }
}
