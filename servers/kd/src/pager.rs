//! `more`-like paging: shows a screenful, asks, goes on.
//!
//! Pure: text and keys go in, what to send to the terminal comes out. Off until the terminal has said how many rows it has
//! (`.terminal`), so that scripts get everything at once.

use alloc::string::String;

/// Most text that is kept while a person reads; what is more is cut, and that is said.
const MAX_HELD: usize = 4 << 20;
/// What asks for a key.
const PROMPT: &str = "-- more: Space page, Enter line, Q quit --";
/// Takes the question off the screen.
const ERASE: &str = "\r\x1b[K";

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Rows, at least 2.
    pub rows: usize,
    /// Columns, at least 1.
    pub columns: usize,
}

/// One command's output on its way to the terminal.
#[derive(Debug)]
pub struct Pager {
    size: Option<Size>,
    /// Rows that may be shown before the next question.
    room: usize,
    column: usize,
    in_escape: bool,
    held: String,
    cut: bool,
    asking: bool,
    dropped: bool,
}

impl Pager {
    /// A pager for this terminal; without one everything is shown.
    pub fn new(size: Option<Size>) -> Self {
        let room = size.map_or(0, |size| size.rows.saturating_sub(1).max(1));
        Self {
            size,
            room,
            column: 0,
            in_escape: false,
            held: String::new(),
            cut: false,
            asking: false,
            dropped: false,
        }
    }

    /// Takes text; appends what is shown at once to `out`.
    pub fn write(&mut self, text: &str, out: &mut String) {
        if self.size.is_none() {
            return out.push_str(text);
        }
        if self.dropped {
            return;
        }
        if self.asking {
            if self.held.len() + text.len() > MAX_HELD {
                self.cut = true;
            } else if !self.cut {
                self.held.push_str(text);
            }
            return;
        }
        let end = self.fits(text);
        out.push_str(&text[..end]);
        if end < text.len() {
            self.asking = true;
            self.held.push_str(&text[end..]);
            out.push_str(PROMPT);
        }
    }

    /// Bytes of `text` that may be shown now; counts them.
    fn fits(&mut self, text: &str) -> usize {
        let columns = self.size.map_or(usize::MAX, |size| size.columns.max(1));
        for (at, c) in text.char_indices() {
            if self.room == 0 {
                return at;
            }
            match c {
                '\x1b' => self.in_escape = true,
                c if self.in_escape => self.in_escape = !c.is_ascii_alphabetic(),
                '\n' => {
                    self.room -= 1;
                    self.column = 0;
                }
                _ => {
                    if self.column == columns {
                        self.room -= 1;
                        self.column = 0;
                    }
                    self.column += 1;
                }
            }
        }
        text.len()
    }

    /// True while it waits for a key.
    pub const fn is_asking(&self) -> bool {
        self.asking
    }

    /// Takes a key while it asks. `false`: the key is not for the pager, which has given up its text for it.
    pub fn key(&mut self, key: u8, out: &mut String) -> bool {
        let rows = self.size.map_or(1, |size| size.rows.saturating_sub(1).max(1));
        match key {
            b' ' | b'f' => self.room = rows,
            b'\r' | b'\n' | b'j' => self.room = 1,
            b'q' | b'Q' | 0x03 => {
                self.drop_rest(out);
                return true;
            }
            0x00..=0x1F => {
                self.drop_rest(out);
                return false;
            }
            _ => return true,
        }
        out.push_str(ERASE);
        self.asking = false;
        let text = core::mem::take(&mut self.held);
        self.write(&text, out);
        if !self.asking && core::mem::take(&mut self.cut) {
            out.push_str("\n[the rest was too long to keep]\n");
        }
        true
    }

    fn drop_rest(&mut self, out: &mut String) {
        out.push_str(ERASE);
        self.asking = false;
        self.dropped = true;
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn pager(rows: usize) -> Pager {
        Pager::new(Some(Size { rows, columns: 10 }))
    }

    fn lines(from: usize, to: usize) -> String {
        (from..=to).map(|i| format!("{i}\n")).collect()
    }

    #[test]
    fn without_a_terminal_nothing_is_held() {
        let (mut pager, mut out) = (Pager::new(None), String::new());
        pager.write(&lines(1, 1000), &mut out);
        assert_eq!(out, lines(1, 1000));
        assert!(!pager.is_asking());
    }

    #[test]
    fn pages_and_lines() {
        let (mut pager, mut out) = (pager(4), String::new());
        pager.write(&lines(1, 2), &mut out);
        pager.write(&lines(3, 9), &mut out);
        assert_eq!(out, format!("{}{PROMPT}", lines(1, 3)));
        pager.write("10\n", &mut out);
        out.clear();
        assert!(pager.key(b'x', &mut out) && out.is_empty());
        assert!(pager.key(b'\r', &mut out));
        assert_eq!(out, format!("{ERASE}4\n{PROMPT}"));
        out.clear();
        assert!(pager.key(b' ', &mut out));
        assert_eq!(out, format!("{ERASE}{}{PROMPT}", lines(5, 7)));
        out.clear();
        assert!(pager.key(b' ', &mut out));
        assert_eq!(out, format!("{ERASE}{}", lines(8, 10)));
        assert!(!pager.is_asking());
    }

    #[test]
    fn a_text_that_just_fits_asks_nothing() {
        let (mut pager, mut out) = (pager(4), String::new());
        pager.write(&lines(1, 3), &mut out);
        assert!(!pager.is_asking());
    }

    #[test]
    fn quitting_drops_the_rest() {
        for (key, used) in [(b'q', true), (0x03, true), (0x15, false)] {
            let (mut pager, mut out) = (pager(3), String::new());
            pager.write(&lines(1, 9), &mut out);
            assert_eq!(pager.key(key, &mut out), used);
            out.clear();
            pager.write("more\n", &mut out);
            assert_eq!((pager.is_asking(), out.as_str()), (false, ""));
        }
    }

    #[test]
    fn long_lines_take_several_rows_and_colours_none() {
        let (mut pager, mut out) = (pager(3), String::new());
        pager.write("\x1b[1;31m0123456789\x1b[0mabc\nx\n", &mut out);
        assert_eq!(out, format!("\x1b[1;31m0123456789\x1b[0mabc\n{PROMPT}"));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut pager, mut out) = (pager(2), String::new());
        let piece = "x\n".repeat(1 << 18);
        (0..20).for_each(|_| pager.write(&piece, &mut out));
        assert!(pager.held.len() <= MAX_HELD);
        assert!(pager.cut);
    }
}
