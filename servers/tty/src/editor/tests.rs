//! The editor against a small terminal: whatever keys come, the screen shows the line and the cursor.

use super::*;
use alloc::vec;

/// One line of a terminal that is as wide as it must be.
#[derive(Default)]
struct Screen {
    cells: Vec<String>,
    column: usize,
    lines: Vec<String>,
}

impl Screen {
    fn feed(&mut self, bytes: &[u8]) {
        let text = core::str::from_utf8(bytes).expect("the editor writes UTF-8");
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                '\r' => self.column = 0,
                '\n' => {
                    self.lines.push(self.text());
                    self.cells.clear();
                }
                '\x08' => self.column -= 1,
                '\x07' => {}
                '\x1b' => {
                    assert_eq!(chars.next(), Some('['));
                    let mut number = 0;
                    let last = loop {
                        let c = chars.next().unwrap();
                        match c.to_digit(10) {
                            Some(digit) => number = number * 10 + digit as usize,
                            None => break c,
                        }
                    };
                    match last {
                        'C' => self.column += number,
                        'D' => self.column -= number,
                        'K' => self.cells.truncate(self.column),
                        'H' => self.column = 0,
                        'J' => self.cells.clear(),
                        other => panic!("unexpected sequence {other}"),
                    }
                }
                c if c.width() == Some(0) => {
                    let base = self.cells[..self.column].iter_mut().rfind(|cell| !cell.is_empty());
                    base.expect("a mark stands on something").push(c);
                }
                c => {
                    let end = self.column + c.width().unwrap();
                    if self.cells.len() < end {
                        self.cells.resize(end, " ".into());
                    }
                    self.cells[self.column..end].fill(String::new());
                    self.cells[self.column] = c.into();
                    self.column += c.width().unwrap();
                }
            }
        }
    }

    fn text(&self) -> String {
        self.cells.concat()
    }
}

struct Typist {
    editor: Editor,
    screen: Screen,
    events: Vec<Event>,
}

impl Typist {
    fn new() -> Self {
        let mut typist = Self { editor: Editor::default(), screen: Screen::default(), events: vec![] };
        typist.begin();
        typist
    }

    fn begin(&mut self) {
        let mut out = vec![];
        self.editor.begin(b"> ", true, &mut out);
        self.screen = Screen::default();
        self.screen.feed(&out);
    }

    fn types(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            let mut out = vec![];
            let event = self.editor.feed(*byte, &mut out);
            self.screen.feed(&out);
            if let Some(event) = event {
                self.events.push(event);
                self.begin();
            }
            self.check();
        }
        self
    }

    /// The screen shows what the editor holds.
    fn check(&self) {
        let editor = &self.editor;
        assert_eq!(self.screen.text(), alloc::format!("> {}", editor.line));
        assert_eq!(self.screen.column, 2 + width(&editor.line[..editor.cursor]));
    }

    fn line(&self) -> &str {
        self.editor.line()
    }
}

fn lines(typist: &Typist) -> Vec<Event> {
    typist.events.clone()
}

#[test]
fn a_line_is_typed() {
    let mut typist = Typist::new();
    typist.types(b"hello\r\nworld\n");
    assert_eq!(lines(&typist), [Event::Line("hello".into()), Event::Line("world".into())]);
}

#[test]
fn editing_in_the_middle() {
    let mut typist = Typist::new();
    assert_eq!(typist.types(b"helo\x1b[Dl").line(), "hello");
    assert_eq!(typist.types(b"\x01>\x05<").line(), ">hello<");
    assert_eq!(typist.types(b"\x7f\x1b[H\x1b[3~").line(), "hello");
    assert_eq!(typist.types(b"\x1b[C\x1b[C\x0b").line(), "he");
    assert_eq!(typist.types(b"\x15").line(), "");
    typist.types(b"\r");
    assert_eq!(lines(&typist), [Event::Line(String::new())]);
}

#[test]
fn words() {
    let mut typist = Typist::new();
    assert_eq!(typist.types(b"one two  three  \x17").line(), "one two  ");
    assert_eq!(typist.types(b"\x1b[1;5D\x1b[1;5DX").line(), "Xone two  ");
    assert_eq!(typist.types(b"\x1b[1;5C\x1b[1;5C!").line(), "Xone two!  ");
}

#[test]
fn history_by_arrows() {
    let mut typist = Typist::new();
    typist.types(b"first\rsecond\r\rdra");
    assert_eq!(typist.types(b"\x1b[A").line(), "second");
    assert_eq!(typist.types(b"\x10\x10").line(), "first");
    assert_eq!(typist.types(b"\x1b[B\x0e").line(), "dra");
    typist.types(b"\x1b[A\x1b[A!\r");
    assert_eq!(typist.events.last(), Some(&Event::Line("first!".into())));
}

#[test]
fn without_remember_there_is_no_history() {
    let mut editor = Editor::default();
    let mut out = vec![];
    editor.begin(b"", false, &mut out);
    for byte in b"secret\r" {
        editor.feed(*byte, &mut out);
    }
    editor.begin(b"", true, &mut out);
    for byte in b"\x1b[A" {
        editor.feed(*byte, &mut out);
    }
    assert_eq!(editor.line(), "");
}

#[test]
fn control_c_and_control_d() {
    let mut typist = Typist::new();
    typist.types(b"ab\x1b[D\x04\x03");
    assert_eq!(typist.events, [Event::Interrupt]);
    assert_eq!(typist.line(), "");
    typist.types(b"\x04");
    assert_eq!(typist.events, [Event::Interrupt, Event::EndOfFile]);
}

#[test]
fn utf8_is_edited_by_character() {
    let mut typist = Typist::new();
    assert_eq!(typist.types("äö漢字e\u{301}".as_bytes()).line(), "äö漢字e\u{301}");
    assert_eq!(typist.types(b"\x7f\x7f").line(), "äö漢");
    assert_eq!(typist.types(b"\x1b[D\x1b[D\x1b[3~").line(), "ä漢");
}

#[test]
fn a_line_has_an_end() {
    let mut typist = Typist::new();
    for _ in 0..MAX_LINE + 100 {
        typist.editor.feed(b'x', &mut vec![]);
    }
    assert_eq!(typist.line().len(), MAX_LINE);
}

#[test]
fn hidden_and_shown_again() {
    let mut typist = Typist::new();
    typist.types(b"hello\x1b[D\x1b[D");
    let mut out = vec![];
    typist.editor.hide(&mut out);
    typist.screen.feed(&out);
    assert_eq!(typist.screen.text(), "");
    out.clear();
    typist.editor.show(&mut out);
    typist.screen.feed(&out);
    typist.check();
    typist.types(b"\x0c").check();
}

#[test]
fn any_keys_leave_screen_and_line_in_step() {
    let keys: [&[u8]; 24] = [
        b"a",
        b"b ",
        " ä".as_bytes(),
        "漢".as_bytes(),
        b"\x7f",
        b"\x1b[A",
        b"\x1b[B",
        b"\x1b[C",
        b"\x1b[D",
        b"\x1b[H",
        b"\x1b[F",
        b"\x1b[3~",
        b"\x01",
        b"\x05",
        b"\x0b",
        b"\x15",
        b"\x17",
        b"\x0c",
        b"\x1b[1;5C",
        b"\x1b[1;5D",
        b"\r",
        b"\x03",
        b"\x04",
        b"\xc3",
    ];
    let mut typist = Typist::new();
    let mut seed = 1u64;
    for _ in 0..20_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        typist.types(keys[(seed >> 33) as usize % keys.len()]);
    }
    assert!(typist.events.len() > 1000);
}

fn completed(typist: &mut Typist, from: usize, candidates: &[&str]) -> Vec<u8> {
    assert!(typist.editor.take_tab());
    assert!(!typist.editor.take_tab());
    let candidates: Vec<String> = candidates.iter().map(|c| String::from(*c)).collect();
    let mut out = vec![];
    typist.editor.complete(from, &candidates, &mut out);
    typist.screen.feed(&out);
    typist.check();
    out
}

#[test]
fn tab_completes_the_word_before_the_cursor() {
    let mut typist = Typist::new();
    typist.types(b"!alpc /p x\x1b[D\x1b[D\x1b[D\x1b[D\x1b[D\t");
    assert_eq!(typist.editor.before_cursor(), "!alpc");
    completed(&mut typist, 0, &["!alpcport", "!alpctrace"]);
    assert_eq!(typist.line(), "!alpc /p x");
    typist.types(b"\t");
    completed(&mut typist, 0, &["!alpcports"]);
    assert_eq!(typist.line(), "!alpcports  /p x");
    typist.types(b"\x15\xc3\xa4\t");
    completed(&mut typist, 0, &["äbc1", "äbc2"]);
    assert_eq!(typist.editor.before_cursor(), "äbc");
    typist.types(b"\t");
    assert_eq!(completed(&mut typist, 0, &[]), b"\x07");
}

#[test]
fn several_completions_are_listed() {
    let mut typist = Typist::new();
    typist.types(b"a\t");
    completed(&mut typist, 0, &["a", "ab"]);
    assert_eq!(typist.screen.lines, ["> a", "a   ab  "]);
    typist.types(b"\t");
    let many: Vec<String> = (0..MAX_LISTED + 7).map(|i| alloc::format!("a{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    completed(&mut typist, 0, &many);
    assert_eq!(typist.screen.lines.last().unwrap(), "and 7 more");
}

#[test]
fn a_line_with_a_blank_in_front_is_not_remembered() {
    let mut typist = Typist::new();
    typist.types(b"one\r two\r\x1b[A");
    assert_eq!(typist.line(), "one");
}
