//! The text screen: a grid of characters with the escape sequences that our programs and the line editor use.
//!
//! Understood: CR, LF, BS, TAB; `ESC [` with A B C D G H f J K m; OSC and the other strings are skipped.
//! Anything else is skipped too, however long, without keeping it.

use alloc::vec;
use alloc::vec::Vec;

/// A character with its colours (0 to 15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Character.
    pub character: char,
    /// Foreground colour.
    pub foreground: u8,
    /// Background colour.
    pub background: u8,
}

/// Colour of ordinary text.
pub const DEFAULT_FOREGROUND: u8 = 7;
/// Colour of the screen.
pub const DEFAULT_BACKGROUND: u8 = 0;

const BLANK: Cell = Cell { character: ' ', foreground: DEFAULT_FOREGROUND, background: DEFAULT_BACKGROUND };
const MAX_PARAMETERS: usize = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    /// ESC and a byte that takes one more.
    Skip,
    Csi,
    /// OSC and other strings, up to BEL or ESC \.
    Text,
    TextEscape,
}

/// The text screen.
#[derive(Debug)]
pub struct Terminal {
    columns: usize,
    rows: usize,
    cells: Vec<Cell>,
    row: usize,
    /// May be one past the last column: the next character wraps.
    column: usize,
    style: Cell,
    bold: bool,
    reverse: bool,
    state: State,
    parameters: [usize; MAX_PARAMETERS],
    parameter: usize,
    utf8: Vec<u8>,
}

impl Terminal {
    /// An empty screen.
    pub fn new(columns: usize, rows: usize) -> Self {
        let (columns, rows) = (columns.max(1), rows.max(1));
        Self {
            columns,
            rows,
            cells: vec![BLANK; columns * rows],
            row: 0,
            column: 0,
            style: BLANK,
            bold: false,
            reverse: false,
            state: State::Ground,
            parameters: [0; MAX_PARAMETERS],
            parameter: 0,
            utf8: Vec::new(),
        }
    }

    /// Columns of the screen.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Rows of the screen.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Row and column of the cursor.
    pub fn cursor(&self) -> (usize, usize) {
        (self.row, self.column.min(self.columns - 1))
    }

    /// All cells, row by row.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Takes output.
    pub fn feed(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }

    fn byte(&mut self, byte: u8) {
        self.state = match self.state {
            State::Ground => self.ground(byte),
            State::Escape => match byte {
                b'[' => {
                    self.parameters = [0; MAX_PARAMETERS];
                    self.parameter = 0;
                    State::Csi
                }
                b']' | b'P' | b'X' | b'^' | b'_' => State::Text,
                0x20..=0x2F => State::Skip,
                0x1B => State::Escape,
                _ => State::Ground,
            },
            State::Skip => State::Ground,
            State::Csi => self.csi(byte),
            State::Text => match byte {
                0x07 => State::Ground,
                0x1B => State::TextEscape,
                _ => State::Text,
            },
            State::TextEscape if byte == b'\\' => State::Ground,
            State::TextEscape if byte == 0x1B => State::TextEscape,
            State::TextEscape => State::Text,
        };
    }

    fn ground(&mut self, byte: u8) -> State {
        if byte < 0x80 {
            self.utf8.clear();
        }
        match byte {
            b'\r' => self.column = 0,
            b'\n' => self.line_feed(),
            0x08 => self.column = self.column.min(self.columns).saturating_sub(1),
            b'\t' => self.column = (self.column / 8 * 8 + 8).min(self.columns - 1),
            0x1B => return State::Escape,
            0x20..=0x7E => self.put(char::from(byte)),
            0x80.. => {
                self.utf8.push(byte);
                match core::str::from_utf8(&self.utf8).map(|text| text.chars().next()) {
                    Ok(Some(c)) => {
                        self.utf8.clear();
                        self.put(c);
                    }
                    Err(error) if error.error_len().is_some() => {
                        self.utf8.clear();
                        self.put(char::REPLACEMENT_CHARACTER);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        State::Ground
    }

    fn put(&mut self, character: char) {
        if self.column >= self.columns {
            self.column = 0;
            self.line_feed();
        }
        let (mut foreground, mut background) = (self.style.foreground, self.style.background);
        if self.bold && foreground < 8 {
            foreground += 8;
        }
        if self.reverse {
            (foreground, background) = (background, foreground);
        }
        self.cells[self.row * self.columns + self.column] = Cell { character, foreground, background };
        self.column += 1;
    }

    fn line_feed(&mut self) {
        if self.row + 1 < self.rows {
            self.row += 1;
        } else {
            self.cells.drain(..self.columns);
            self.cells.resize(self.columns * self.rows, BLANK);
        }
    }

    fn csi(&mut self, byte: u8) -> State {
        match byte {
            b'0'..=b'9' => {
                if let Some(value) = self.parameters.get_mut(self.parameter) {
                    *value = (*value * 10 + usize::from(byte - b'0')).min(9999);
                }
                State::Csi
            }
            b';' => {
                self.parameter = (self.parameter + 1).min(MAX_PARAMETERS);
                State::Csi
            }
            0x20..=0x3F => State::Csi,
            0x40..=0x7E => {
                self.control(byte);
                State::Ground
            }
            _ => State::Ground,
        }
    }

    fn control(&mut self, last: u8) {
        let [first, second] = [self.parameters[0], self.parameters[1]];
        let count = first.max(1);
        let column = self.column.min(self.columns - 1);
        let here = self.row * self.columns + column;
        let line = self.row * self.columns..(self.row + 1) * self.columns;
        match last {
            b'A' => self.row = self.row.saturating_sub(count),
            b'B' => self.row = (self.row + count).min(self.rows - 1),
            b'C' => self.column = (column + count).min(self.columns - 1),
            b'D' => self.column = self.column.min(self.columns).saturating_sub(count),
            b'G' => self.column = (count - 1).min(self.columns - 1),
            b'H' | b'f' => {
                self.row = (count - 1).min(self.rows - 1);
                self.column = (second.max(1) - 1).min(self.columns - 1);
            }
            b'J' => match first {
                0 => self.cells[here..].fill(BLANK),
                1 => self.cells[..=here].fill(BLANK),
                _ => self.cells.fill(BLANK),
            },
            b'K' => match first {
                0 if self.column >= self.columns => {}
                0 => self.cells[here..line.end].fill(BLANK),
                1 => self.cells[line.start..=here].fill(BLANK),
                _ => self.cells[line].fill(BLANK),
            },
            b'm' => self.colours(),
            _ => {}
        }
    }

    fn colours(&mut self) {
        let parameters = self.parameters;
        let mut parameters = parameters.into_iter().take(self.parameter + 1);
        while let Some(code) = parameters.next() {
            match code {
                0 => (self.style, self.bold, self.reverse) = (BLANK, false, false),
                1 => self.bold = true,
                22 => self.bold = false,
                7 => self.reverse = true,
                27 => self.reverse = false,
                30..=37 => self.style.foreground = (code - 30) as u8,
                39 => self.style.foreground = DEFAULT_FOREGROUND,
                40..=47 => self.style.background = (code - 40) as u8,
                49 => self.style.background = DEFAULT_BACKGROUND,
                90..=97 => self.style.foreground = (code - 90 + 8) as u8,
                100..=107 => self.style.background = (code - 100 + 8) as u8,
                // 256 and true colours: their parameters are not codes of their own.
                38 | 48 => {
                    let skip = if parameters.next() == Some(2) { 3 } else { 1 };
                    parameters.by_ref().take(skip).for_each(drop);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    fn rows(terminal: &Terminal) -> Vec<String> {
        let rows = terminal.cells.chunks(terminal.columns);
        rows.map(|row| row.iter().map(|c| c.character).collect::<String>().trim_end().to_string()).collect()
    }

    fn screen(columns: usize, lines: usize, text: &str) -> Vec<String> {
        let mut terminal = Terminal::new(columns, lines);
        terminal.feed(text.as_bytes());
        rows(&terminal)
    }

    #[test]
    fn lines_wrap_and_scroll() {
        assert_eq!(screen(5, 3, "abcdefg\r\nx"), ["abcde", "fg", "x"]);
        assert_eq!(screen(5, 2, "one\r\ntwo\r\nthree\r\nfour"), ["three", "four"]);
        assert_eq!(screen(5, 2, "12345\r\nx"), ["12345", "x"]);
    }

    #[test]
    fn the_line_editors_sequences() {
        assert_eq!(screen(20, 1, "> hello\x08\x08\x1b[K!"), ["> hel!"]);
        assert_eq!(screen(20, 1, "> hello\x1b[5Djell\x1b[2C?"), ["> jello ?"]);
        assert_eq!(screen(20, 1, "> hello\r\x1b[Knews"), ["news"]);
        assert_eq!(screen(20, 2, "a\r\nb\x1b[H\x1b[2Jc"), ["c", ""]);
    }

    #[test]
    fn strings_and_unknown_sequences_are_skipped() {
        assert_eq!(
            screen(20, 1, "\x1b]133;A\x07C:\\>\x1b]133;B\x1b\\x\x1b(B\x1b[?25hy\x1b=z\x07"),
            ["C:\\>xyz"]
        );
        let mut terminal = Terminal::new(4, 1);
        terminal.feed(&[b"\x1b[", &[b'1'; 5000][..], b"mok\x1b]", &[b'x'; 5000][..]].concat());
        assert_eq!(rows(&terminal), ["ok"]);
    }

    #[test]
    fn colours() {
        let mut terminal = Terminal::new(10, 1);
        terminal.feed(b"a\x1b[1;31mb\x1b[0;44;97mc\x1b[38;5;9;7md\x1b[me");
        let colours: Vec<(u8, u8)> =
            terminal.cells[..5].iter().map(|c| (c.foreground, c.background)).collect();
        assert_eq!(colours, [(7, 0), (9, 0), (15, 4), (4, 15), (7, 0)]);
    }

    #[test]
    fn utf8_and_what_is_not() {
        assert_eq!(screen(9, 1, "ä€x"), ["ä€x"]);
        let mut terminal = Terminal::new(9, 1);
        terminal.feed(b"\xff\xc3x\xe2\x82\xffy");
        assert_eq!(rows(&terminal), ["\u{fffd}x\u{fffd}y"]);
    }

    #[test]
    fn any_bytes_keep_the_cursor_on_the_screen() {
        let mut terminal = Terminal::new(7, 3);
        let mut seed = 7u32;
        for _ in 0..200_000 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let byte = (seed >> 24) as u8;
            terminal.feed(&[if byte.is_multiple_of(5) {
                0x1B
            } else if byte.is_multiple_of(7) {
                b'['
            } else {
                byte
            }]);
            assert_eq!(terminal.cells.len(), 21);
            assert!(terminal.cursor().0 < 3 && terminal.cursor().1 < 7);
        }
    }
}
