//! Escape sequences as they come over a serial line.
//!
//! [`Scanner`] splits a byte stream, in pieces of any size, into text, control sequences and the OSC 133 marks. [`Screen`] is just
//! enough of a terminal to tell what a line editor has left on the screen.

/// One thing found in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes to show, with their line ends, backspaces and other control characters.
    Text(Vec<u8>),
    /// A control sequence `ESC [ parameters final`.
    Csi(String, u8),
    /// A shell-integration mark.
    Mark(Mark),
}

/// The shell-integration marks of OSC 133.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// `A`: the prompt is about to be drawn.
    PromptStart,
    /// `B`: the prompt is there; what follows is typed.
    PromptEnd,
    /// `C`: Enter was pressed; what follows is the command's output.
    OutputStart,
    /// `D`: the command is done, with its status.
    Done(u32),
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// `ESC (` and the like: one more byte belongs to it.
    EscapeIntermediate,
    Csi,
    /// OSC, DCS, PM, APC, SOS: a string up to BEL or `ESC \`.
    String,
    StringEscape,
}

/// What an unterminated sequence may grow to before it is given up as damage.
const MAX_SEQUENCE: usize = 4096;

/// Splits a stream into [`Event`]s.
#[derive(Debug, Default)]
pub struct Scanner {
    state: State,
    text: Vec<u8>,
    sequence: Vec<u8>,
    is_osc: bool,
}

impl Scanner {
    /// Takes more of the stream and appends what it holds to `events`.
    pub fn feed(&mut self, bytes: &[u8], events: &mut Vec<Event>) {
        for &byte in bytes {
            self.byte(byte, events);
        }
        self.flush(events);
    }

    fn flush(&mut self, events: &mut Vec<Event>) {
        if !self.text.is_empty() {
            events.push(Event::Text(std::mem::take(&mut self.text)));
        }
    }

    fn byte(&mut self, byte: u8, events: &mut Vec<Event>) {
        match (self.state, byte) {
            (State::Ground, 0x1b) => self.state = State::Escape,
            (State::Ground, 0 | 0x7f) => {}
            (State::Ground, _) => self.text.push(byte),
            (State::Escape, b'[') => self.begin(State::Csi, false),
            (State::Escape, b']') => self.begin(State::String, true),
            (State::Escape, b'P' | b'X' | b'^' | b'_') => self.begin(State::String, false),
            (State::Escape, 0x20..=0x2f) => self.state = State::EscapeIntermediate,
            (State::Escape, 0x1b) => {}
            (State::Escape | State::EscapeIntermediate, _) => self.state = State::Ground,
            (State::Csi, 0x40..=0x7e) => {
                self.flush(events);
                let parameters = String::from_utf8_lossy(&self.sequence).into_owned();
                events.push(Event::Csi(parameters, byte));
                self.state = State::Ground;
            }
            (State::Csi, 0x20..=0x3f) if self.sequence.len() < MAX_SEQUENCE => self.sequence.push(byte),
            (State::Csi, _) => self.state = State::Ground,
            (State::String, 0x07) => self.end_string(events),
            (State::String, 0x1b) => self.state = State::StringEscape,
            (State::String, _) if self.sequence.len() < MAX_SEQUENCE => self.sequence.push(byte),
            (State::String, _) => self.state = State::Ground,
            (State::StringEscape, b'\\') => self.end_string(events),
            (State::StringEscape, _) => {
                // Not a terminator: the string was cut off and another sequence begins.
                self.state = State::Escape;
                self.byte(byte, events);
            }
        }
    }

    fn begin(&mut self, state: State, is_osc: bool) {
        self.state = state;
        self.is_osc = is_osc;
        self.sequence.clear();
    }

    fn end_string(&mut self, events: &mut Vec<Event>) {
        self.state = State::Ground;
        if self.is_osc
            && let Some(mark) = parse_mark(&self.sequence)
        {
            self.flush(events);
            events.push(Event::Mark(mark));
        }
    }
}

/// Reads the body of an OSC sequence (`133;D;0`) as a mark.
fn parse_mark(body: &[u8]) -> Option<Mark> {
    let text = std::str::from_utf8(body).ok()?;
    let mut parts = text.split(';');
    if parts.next() != Some("133") {
        return None;
    }
    match parts.next()? {
        "A" => Some(Mark::PromptStart),
        "B" => Some(Mark::PromptEnd),
        "C" => Some(Mark::OutputStart),
        "D" => Some(Mark::Done(parts.next().map_or(0, parse_status))),
        _ => None,
    }
}

/// A status in decimal; a negative one is taken as the 32 bits it stands for.
fn parse_status(text: &str) -> u32 {
    match text.trim().parse::<i64>() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a status is its low 32 bits"
        )]
        Ok(value) => value as u32,
        Err(_) => 1,
    }
}

/// The text of a stream without its escape sequences, with plain line ends.
pub fn clean(bytes: &[u8]) -> String {
    let mut events = Vec::new();
    Scanner::default().feed(bytes, &mut events);
    let mut out = Vec::new();
    for event in events {
        if let Event::Text(text) = event {
            out.extend(plain(&text));
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Text without carriage returns and other control characters that show nothing.
pub fn plain(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| matches!(byte, b'\n' | b'\t' | 0x20..=0xff)).collect()
}

/// What is on the screen after a stretch of line editing: lines, and a cursor on the last one.
#[derive(Debug, Default, Clone)]
pub struct Screen {
    done: Vec<String>,
    line: Vec<char>,
    column: usize,
    partial: Vec<u8>,
}

impl Screen {
    /// Takes one event; marks change nothing.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::Text(bytes) => bytes.iter().for_each(|&byte| self.byte(byte)),
            Event::Csi(parameters, last) => self.control(parameters, *last),
            Event::Mark(_) => {}
        }
    }

    /// Takes a raw stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut events = Vec::new();
        Scanner::default().feed(bytes, &mut events);
        events.iter().for_each(|event| self.event(event));
    }

    /// The line the cursor is on.
    pub fn line(&self) -> String {
        self.line.iter().collect()
    }

    /// The cursor's column on it.
    pub fn column(&self) -> usize {
        self.column
    }

    /// All lines, the one under the cursor last.
    pub fn lines(&self) -> Vec<String> {
        self.done.iter().cloned().chain([self.line()]).collect()
    }

    fn byte(&mut self, byte: u8) {
        match byte {
            b'\r' => self.column = 0,
            b'\n' => {
                let line = self.line();
                self.done.push(line);
                self.line.clear();
                self.column = 0;
            }
            0x08 => self.column = self.column.saturating_sub(1),
            0x20..=0x7e => self.put(char::from(byte)),
            0x80.. => {
                self.partial.push(byte);
                match std::str::from_utf8(&self.partial) {
                    Ok(text) => {
                        let chars: Vec<char> = text.chars().collect();
                        self.partial.clear();
                        chars.into_iter().for_each(|c| self.put(c));
                    }
                    Err(_) if self.partial.len() >= 4 => self.partial.clear(),
                    Err(_) => {}
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, c: char) {
        while self.line.len() <= self.column {
            self.line.push(' ');
        }
        self.line[self.column] = c;
        self.column += 1;
    }

    fn control(&mut self, parameters: &str, last: u8) {
        let first: Option<usize> = parameters.split(';').next().and_then(|text| text.parse().ok());
        let count = first.unwrap_or(1).max(1);
        let column = self.column.min(self.line.len());
        match last {
            b'C' => self.column = self.column.saturating_add(count).min(4096),
            b'D' => self.column = self.column.saturating_sub(count),
            b'G' => self.column = (count - 1).min(4096),
            b'K' => match first.unwrap_or(0) {
                0 => self.line.truncate(column),
                1 => self.line.iter_mut().take(column + 1).for_each(|c| *c = ' '),
                _ => self.line.clear(),
            },
            b'J' if first.unwrap_or(0) == 0 => self.line.truncate(column),
            b'J' => {
                self.done.clear();
                self.line.clear();
            }
            b'H' | b'f' => self.column = 0,
            b'P' => {
                let end = column.saturating_add(count).min(self.line.len());
                self.line.drain(column..end);
            }
            b'@' => {
                let spaces = std::iter::repeat_n(' ', count.min(4096));
                self.line.splice(column..column, spaces);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(pieces: &[&[u8]]) -> Vec<Event> {
        let (mut scanner, mut events) = (Scanner::default(), Vec::new());
        for piece in pieces {
            scanner.feed(piece, &mut events);
        }
        events
    }

    #[test]
    fn marks_are_found() {
        let events =
            scan(&[b"x\x1b]133;A\x07C:\\>\x1b]133;B\x07\x1b]133;C\x07out\r\n\x1b]133;D;3221225794\x07"]);
        assert_eq!(
            events,
            vec![
                Event::Text(b"x".to_vec()),
                Event::Mark(Mark::PromptStart),
                Event::Text(b"C:\\>".to_vec()),
                Event::Mark(Mark::PromptEnd),
                Event::Mark(Mark::OutputStart),
                Event::Text(b"out\r\n".to_vec()),
                Event::Mark(Mark::Done(0xC000_0142)),
            ]
        );
    }

    #[test]
    fn a_sequence_may_be_split_anywhere() {
        let stream = b"a\x1b[31mb\x1b]133;D;7\x1b\\c";
        let whole = clean(stream);
        for cut in 0..stream.len() {
            let events = scan(&[&stream[..cut], &stream[cut..]]);
            assert!(events.contains(&Event::Mark(Mark::Done(7))), "cut at {cut}");
            let text: Vec<u8> =
                events.iter().flat_map(|e| if let Event::Text(t) = e { t.clone() } else { vec![] }).collect();
            assert_eq!(text, whole.as_bytes(), "cut at {cut}");
        }
    }

    #[test]
    fn statuses() {
        assert_eq!(parse_mark(b"133;D"), Some(Mark::Done(0)));
        assert_eq!(parse_mark(b"133;D;-1073741819"), Some(Mark::Done(0xC000_0005)));
        assert_eq!(parse_mark(b"133;D;what"), Some(Mark::Done(1)));
        assert_eq!(parse_mark(b"133;A;aid=1"), Some(Mark::PromptStart));
        assert_eq!(parse_mark(b"0;title"), None);
        assert_eq!(parse_mark(b"133"), None);
    }

    #[test]
    fn text_is_cleaned() {
        assert_eq!(
            clean(b"\x1b]0;title\x07\x1b[1;32mok\x1b[0m\r\ntab\there\x08\x00\r\n\x1b(B."),
            "ok\ntab\there\n."
        );
    }

    #[test]
    fn an_endless_sequence_is_given_up() {
        let mut stream = b"\x1b]".to_vec();
        stream.extend(std::iter::repeat_n(b'x', 5000));
        stream.extend(b"\x1b]133;A\x07");
        assert!(scan(&[&stream]).contains(&Event::Mark(Mark::PromptStart)));
    }

    #[test]
    fn the_screen_follows_a_line_editor() {
        let mut screen = Screen::default();
        screen.feed(b"C:\\>helo\x08\x1b[K");
        assert_eq!((screen.line().as_str(), screen.column()), ("C:\\>hel", 7));
        screen.feed(b"\r\x1b[KC:\\>hello\x1b[2Dx");
        assert_eq!(screen.line(), "C:\\>helxo");
        screen.feed(b"\x1b[1P\r\nnext \xc3\xa4");
        assert_eq!(screen.lines(), ["C:\\>helx", "next ä"]);
    }
}
