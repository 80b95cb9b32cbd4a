//! The line editor: bytes from the terminal in, bytes to the terminal and finished lines out.
//!
//! It assumes little of the terminal: backspace, CR, `ESC [ n C`, `ESC [ n D`, `ESC [ K`, and for Ctrl-L
//! `ESC [ H`, `ESC [ 2 J`. A line longer than the terminal is wide wraps as the terminal wraps it; the
//! editor does not know the width and never redraws more than it must, so typing at the end of a long
//! line always looks right.
//!
//! Keys: arrows, Home and End, Ctrl-A/E/B/F/P/N, Ctrl-Left and Ctrl-Right, Backspace, Delete, Ctrl-H,
//! Ctrl-D (delete, or end of file on an empty line), Ctrl-K, Ctrl-U, Ctrl-W, Ctrl-L, Ctrl-C. Tab asks the
//! caller for completions ([`Editor::take_tab`], [`Editor::complete`]). A line that begins with a blank is not kept in
//! the history.

use crate::history::History;
use crate::keys::{Key, KeyReader};
use alloc::string::String;
use alloc::vec::Vec;
use unicode_width::UnicodeWidthChar;

/// Longest line in bytes; more only rings the bell.
pub const MAX_LINE: usize = 8192;
/// Most completions that are listed.
const MAX_LISTED: usize = 200;

/// How a line ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Enter.
    Line(String),
    /// Ctrl-C: the line is dropped.
    Interrupt,
    /// Ctrl-D on an empty line.
    EndOfFile,
}

/// A line editor with its history.
#[derive(Debug, Default)]
pub struct Editor {
    keys: KeyReader,
    history: History,
    prompt: Vec<u8>,
    /// Whether the line being edited goes into the history.
    remember: bool,
    line: String,
    /// Byte index into `line`, always on a character boundary.
    cursor: usize,
    /// Tab was pressed.
    tab: bool,
}

impl Editor {
    /// Begins a line: writes the prompt. With `remember` the line goes into the history, and the arrows
    /// bring older lines back.
    pub fn begin(&mut self, prompt: &[u8], remember: bool, out: &mut Vec<u8>) {
        self.prompt = prompt.to_vec();
        self.remember = remember;
        self.line.clear();
        self.cursor = 0;
        self.history.leave();
        out.extend_from_slice(prompt);
    }

    /// Takes the line off the screen, so that something else can be written there.
    pub fn hide(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\x1b[K");
    }

    /// Puts prompt and line on the screen again, from the beginning of a screen line.
    pub fn show(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prompt);
        out.extend_from_slice(self.line.as_bytes());
        left(width(self.tail()), out);
    }

    /// What has been typed so far.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// What stands before the cursor.
    pub fn before_cursor(&self) -> &str {
        &self.line[..self.cursor]
    }

    /// True once after Tab was pressed. A caller that completes answers with [`Editor::complete`], one that does not with
    /// [`Editor::refuse_tab`].
    pub fn take_tab(&mut self) -> bool {
        core::mem::take(&mut self.tab)
    }

    /// Nothing can be completed.
    pub fn refuse_tab(&self, out: &mut Vec<u8>) {
        bell(out);
    }

    /// Completes the word that begins at byte `from` of the line and ends at the cursor: puts what all `candidates` begin
    /// with in its place, and lists them when there are several and nothing was added.
    pub fn complete(&mut self, from: usize, candidates: &[String], out: &mut Vec<u8>) {
        let Some(word) = self.line.get(from..self.cursor) else { return bell(out) };
        let Some(mut common) = common_prefix(candidates) else { return bell(out) };
        let grows = common.len() > word.len() && common.is_char_boundary(word.len());
        if candidates.len() == 1 {
            common.push(' ');
        } else if !grows {
            return self.list(candidates, out);
        }
        if self.line.len() - word.len() + common.len() > MAX_LINE {
            return bell(out);
        }
        let end = self.cursor;
        self.go(from, out);
        self.line.replace_range(from..end, &common);
        out.extend_from_slice(self.tail().as_bytes());
        out.extend_from_slice(b"\x1b[K");
        let tail = width(self.tail());
        self.cursor = from + common.len();
        left(tail - width(&self.line[from..self.cursor]), out);
    }

    /// Shows candidates below the line, and the line again.
    fn list(&self, candidates: &[String], out: &mut Vec<u8>) {
        const COLUMNS: usize = 80;
        right(width(self.tail()), out);
        out.extend_from_slice(b"\r\n");
        let longest = candidates.iter().map(|c| width(c)).max().unwrap_or(0) + 2;
        let across = (COLUMNS / longest).max(1);
        for row in candidates[..candidates.len().min(MAX_LISTED)].chunks(across) {
            for candidate in row {
                out.extend_from_slice(candidate.as_bytes());
                out.extend(core::iter::repeat_n(b' ', longest - width(candidate)));
            }
            out.extend_from_slice(b"\r\n");
        }
        if candidates.len() > MAX_LISTED {
            out.extend_from_slice(
                alloc::format!("and {} more\r\n", candidates.len() - MAX_LISTED).as_bytes(),
            );
        }
        self.show(out);
    }

    /// Takes a byte from the terminal. After an event the line is done; [`Editor::begin`] starts the next.
    pub fn feed(&mut self, byte: u8, out: &mut Vec<u8>) -> Option<Event> {
        let key = self.keys.feed(byte)?;
        self.key(key, out)
    }

    fn key(&mut self, key: Key, out: &mut Vec<u8>) -> Option<Event> {
        match key {
            Key::Char(c) => self.insert(c, out),
            Key::Enter => return Some(self.enter(out)),
            Key::Control(b'C') => {
                right(width(self.tail()), out);
                out.extend_from_slice(b"^C\r\n");
                self.history.leave();
                return Some(Event::Interrupt);
            }
            Key::Control(b'D') if self.line.is_empty() => {
                out.extend_from_slice(b"\r\n");
                return Some(Event::EndOfFile);
            }
            Key::Backspace | Key::Control(b'H') => {
                let from = self.before(self.cursor);
                self.delete(from, self.cursor, out);
            }
            Key::Delete | Key::Control(b'D') => {
                let to = self.after(self.cursor);
                self.delete(self.cursor, to, out);
            }
            Key::Control(b'K') => self.delete(self.cursor, self.line.len(), out),
            Key::Control(b'U') => self.delete(0, self.cursor, out),
            Key::Control(b'W') => {
                let from = self.line[..self.cursor].trim_end().rfind(' ').map_or(0, |i| i + 1);
                self.delete(from, self.cursor, out);
            }
            Key::Left | Key::Control(b'B') => self.go(self.before(self.cursor), out),
            Key::Right | Key::Control(b'F') => self.go(self.after(self.cursor), out),
            Key::WordLeft => {
                let to = self.line[..self.cursor].trim_end().rfind(' ').map_or(0, |i| i + 1);
                self.go(to, out);
            }
            Key::WordRight => {
                let spaces = self.tail().len() - self.tail().trim_start().len();
                let word = self.tail()[spaces..].find(' ').unwrap_or(self.tail().len() - spaces);
                self.go(self.cursor + spaces + word, out);
            }
            Key::Home | Key::Control(b'A') => self.go(0, out),
            Key::End | Key::Control(b'E') => self.go(self.line.len(), out),
            Key::Up | Key::Control(b'P') => {
                match self.remember.then(|| self.history.older(&self.line)).flatten() {
                    Some(line) => self.replace(line, out),
                    None => bell(out),
                }
            }
            Key::Down | Key::Control(b'N') => match self.remember.then(|| self.history.newer()).flatten() {
                Some(line) => self.replace(line, out),
                None => bell(out),
            },
            Key::Control(b'L') => {
                out.extend_from_slice(b"\x1b[H\x1b[2J");
                self.show(out);
            }
            Key::Control(b'I') => self.tab = true,
            Key::Control(_) => bell(out),
        }
        None
    }

    fn enter(&mut self, out: &mut Vec<u8>) -> Event {
        right(width(self.tail()), out);
        out.extend_from_slice(b"\r\n");
        if self.remember && !self.line.starts_with(' ') {
            self.history.add(&self.line);
        }
        Event::Line(core::mem::take(&mut self.line))
    }

    fn insert(&mut self, c: char, out: &mut Vec<u8>) {
        // A combining mark needs a character before it to stand on.
        if self.line.len() + c.len_utf8() > MAX_LINE || (self.cursor == 0 && c.width() == Some(0)) {
            return bell(out);
        }
        self.line.insert(self.cursor, c);
        out.extend_from_slice(self.tail().as_bytes());
        self.cursor += c.len_utf8();
        left(width(self.tail()), out);
    }

    /// Deletes the bytes `from..to` of the line; the cursor is at one of the two.
    fn delete(&mut self, from: usize, to: usize, out: &mut Vec<u8>) {
        if from == to {
            return bell(out);
        }
        self.go(from, out);
        self.line.replace_range(from..to, "");
        out.extend_from_slice(self.tail().as_bytes());
        out.extend_from_slice(b"\x1b[K");
        left(width(self.tail()), out);
    }

    fn replace(&mut self, line: String, out: &mut Vec<u8>) {
        self.go(0, out);
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\x1b[K");
        self.cursor = line.len();
        self.line = line;
    }

    fn go(&mut self, to: usize, out: &mut Vec<u8>) {
        if to < self.cursor {
            left(width(&self.line[to..self.cursor]), out);
        } else {
            right(width(&self.line[self.cursor..to]), out);
        }
        self.cursor = to;
    }

    fn tail(&self) -> &str {
        &self.line[self.cursor..]
    }

    /// Start of the character before `at`, together with the combining marks that stand on it.
    fn before(&self, at: usize) -> usize {
        let mut chars = self.line[..at].char_indices().rev();
        chars.find(|(_, c)| c.width() != Some(0)).map_or(0, |(i, _)| i)
    }

    /// End of the character at `at`, together with the combining marks that stand on it.
    fn after(&self, at: usize) -> usize {
        let mut chars = self.line[at..].char_indices().skip(1);
        chars.find(|(_, c)| c.width() != Some(0)).map_or(self.line.len(), |(i, _)| at + i)
    }
}

/// Columns that a text takes, character by character as terminals count them.
fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// What all texts begin with; `None` when there are none.
fn common_prefix(texts: &[String]) -> Option<String> {
    let (first, rest) = texts.split_first()?;
    let common = rest.iter().fold(first.as_str(), |common, text| {
        let same = common.char_indices().zip(text.chars()).take_while(|((_, a), b)| a == b);
        &common[..same.last().map_or(0, |((at, a), _)| at + a.len_utf8())]
    });
    Some(String::from(common))
}

fn bell(out: &mut Vec<u8>) {
    out.push(0x07);
}

fn left(columns: usize, out: &mut Vec<u8>) {
    match columns {
        0 => {}
        1..=3 => out.extend(core::iter::repeat_n(0x08, columns)),
        _ => out.extend_from_slice(alloc::format!("\x1b[{columns}D").as_bytes()),
    }
}

fn right(columns: usize, out: &mut Vec<u8>) {
    if columns > 0 {
        out.extend_from_slice(alloc::format!("\x1b[{columns}C").as_bytes());
    }
}

#[cfg(test)]
mod tests;
