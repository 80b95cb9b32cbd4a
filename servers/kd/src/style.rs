//! Colour for a terminal: put on whole lines by what they begin with, so that the views stay plain text.

use alloc::string::String;

/// Sequences of ANSI terminals.
const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[1;36m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[1;31m";
const UNDERLINE: &str = "\x1b[4m";
const PLAIN: &str = "\x1b[0m";

/// The colour of a line.
fn colour(line: &str) -> Option<&'static str> {
    let text = line.trim_start();
    let first = text.split(' ').next().unwrap_or_default();
    match first {
        "PROCESS" | "Port" | "Message" | "Object" | "Directory" => return Some(CYAN),
        "THREAD" => return Some(BOLD),
        "Waiting" => return Some(YELLOW),
        "deadlock:" => return Some(RED),
        _ => {}
    }
    // Headings are in capitals.
    let letters = || text.chars().filter(|c| c.is_alphabetic());
    (letters().count() > 3 && letters().all(char::is_uppercase) && !text.contains(':')).then_some(UNDERLINE)
}

/// Colours a stream of text that comes in pieces of any size.
#[derive(Debug, Default)]
pub struct Painter {
    line: String,
}

impl Painter {
    /// Takes text; appends whole lines, coloured, to `out`.
    pub fn write(&mut self, text: &str, out: &mut String) {
        for piece in text.split_inclusive('\n') {
            self.line.push_str(piece);
            if piece.ends_with('\n') {
                self.flush(out);
            }
        }
    }

    /// What is left of a line without an end.
    pub fn flush(&mut self, out: &mut String) {
        let line = core::mem::take(&mut self.line);
        match (colour(&line), line.strip_suffix('\n')) {
            (Some(colour), Some(text)) => {
                out.push_str(colour);
                out.push_str(text);
                out.push_str(PLAIN);
                out.push('\n');
            }
            _ => out.push_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_coloured_by_what_they_are() {
        let (mut painter, mut out) = (Painter::default(), String::new());
        painter.write("PROCESS 4\n    THREAD 8\ntext\nHANDLE OB", &mut out);
        painter.write("JECT\ndeadlock: a\n  Type : ALPC\nend", &mut out);
        painter.flush(&mut out);
        assert_eq!(
            out,
            "\x1b[1;36mPROCESS 4\x1b[0m\n\x1b[1m    THREAD 8\x1b[0m\ntext\n\x1b[4mHANDLE OBJECT\x1b[0m\n\
             \x1b[1;31mdeadlock: a\x1b[0m\n  Type : ALPC\nend"
        );
    }
}
