//! Bytes to keys: control characters, the escape sequences that terminals send, UTF-8.
//!
//! [`KeyReader`] takes one byte at a time, so a sequence may come in any pieces. What it does not know it
//! drops; nothing that comes over the line can make it keep more than a few bytes.

/// Something a person typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A printable character.
    Char(char),
    /// A control character by its letter: `Control(b'C')` is Ctrl-C.
    Control(u8),
    /// Enter (CR, LF, or CR LF as one).
    Enter,
    /// Backspace (BS or DEL).
    Backspace,
    /// Delete.
    Delete,
    /// Cursor left.
    Left,
    /// Cursor right.
    Right,
    /// Word left (Ctrl-Left, Alt-B).
    WordLeft,
    /// Word right (Ctrl-Right, Alt-F).
    WordRight,
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// Home.
    Home,
    /// End.
    End,
}

/// Longest parameter part of an escape sequence that is understood.
const MAX_PARAMETERS: usize = 8;

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After ESC O: one letter follows.
    Single,
    /// After ESC [: parameters, then a letter. Holds what came and how much.
    Csi([u8; MAX_PARAMETERS], usize),
    /// In a UTF-8 sequence: the bytes so far, how many, how many there will be.
    Utf8([u8; 4], usize, usize),
}

/// Turns bytes into keys.
#[derive(Debug, Default)]
pub struct KeyReader {
    state: State,
    after_cr: bool,
}

impl KeyReader {
    /// Takes a byte; gives the key it completes, if it does.
    pub fn feed(&mut self, byte: u8) -> Option<Key> {
        let after_cr = core::mem::take(&mut self.after_cr);
        match core::mem::take(&mut self.state) {
            State::Ground => self.ground(byte, after_cr),
            State::Escape => self.escape(byte),
            State::Single => letter(byte, false),
            State::Csi(parameters, length) => self.csi(parameters, length, byte),
            State::Utf8(bytes, have, need) => self.utf8(bytes, have, need, byte),
        }
    }

    fn ground(&mut self, byte: u8, after_cr: bool) -> Option<Key> {
        match byte {
            b'\r' => {
                self.after_cr = true;
                Some(Key::Enter)
            }
            b'\n' if after_cr => None,
            b'\n' => Some(Key::Enter),
            0x08 | 0x7F => Some(Key::Backspace),
            0x1B => {
                self.state = State::Escape;
                None
            }
            0x00 => None,
            0x01..=0x1F => Some(Key::Control(byte + b'@')),
            0x20..=0x7E => Some(Key::Char(char::from(byte))),
            0xC2..=0xF4 => {
                let need = if byte < 0xE0 { 2 } else { 3 + usize::from(byte >= 0xF0) };
                self.state = State::Utf8([byte, 0, 0, 0], 1, need);
                None
            }
            // A continuation byte without its start, or a byte that UTF-8 never has.
            0x80..=0xFF => None,
        }
    }

    fn escape(&mut self, byte: u8) -> Option<Key> {
        match byte {
            b'[' => self.state = State::Csi([0; MAX_PARAMETERS], 0),
            b'O' => self.state = State::Single,
            0x1B => self.state = State::Escape,
            b'b' => return Some(Key::WordLeft),
            b'f' => return Some(Key::WordRight),
            // Ctrl-C is never part of a sequence: a person who types it means it.
            0x03 => return Some(Key::Control(b'C')),
            _ => {}
        }
        None
    }

    fn csi(&mut self, mut parameters: [u8; MAX_PARAMETERS], length: usize, byte: u8) -> Option<Key> {
        match byte {
            0x20..=0x3F => {
                // Too long a sequence is read to its end, and then means nothing.
                if let Some(slot) = parameters.get_mut(length) {
                    *slot = byte;
                }
                self.state = State::Csi(parameters, (length + 1).min(MAX_PARAMETERS + 1));
                None
            }
            b'~' => match parameters.get(..length)? {
                b"1" | b"7" => Some(Key::Home),
                b"4" | b"8" => Some(Key::End),
                b"3" => Some(Key::Delete),
                _ => None,
            },
            0x40..=0x7D => letter(byte, matches!(parameters.get(..length)?, b"1;5" | b"1;3" | b"5")),
            // Anything else cannot be in a sequence: it was cut off.
            _ => self.ground(byte, false),
        }
    }

    fn utf8(&mut self, mut bytes: [u8; 4], have: usize, need: usize, byte: u8) -> Option<Key> {
        if !(0x80..0xC0).contains(&byte) {
            // The character was cut off; the byte begins something new.
            return self.ground(byte, false);
        }
        bytes[have] = byte;
        if have + 1 < need {
            self.state = State::Utf8(bytes, have + 1, need);
            return None;
        }
        let c = core::str::from_utf8(&bytes[..need]).ok()?.chars().next()?;
        (!c.is_control()).then_some(Key::Char(c))
    }
}

/// The key of a sequence that ends in a letter.
fn letter(byte: u8, word: bool) -> Option<Key> {
    Some(match byte {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' if word => Key::WordRight,
        b'D' if word => Key::WordLeft,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'H' => Key::Home,
        b'F' => Key::End,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut reader = KeyReader::default();
        bytes.iter().filter_map(|b| reader.feed(*b)).collect()
    }

    #[test]
    fn enter_is_cr_lf_or_both() {
        assert_eq!(keys(b"\r\n\n\r\ra"), [Key::Enter, Key::Enter, Key::Enter, Key::Enter, Key::Char('a')]);
    }

    #[test]
    fn sequences_of_common_terminals() {
        assert_eq!(
            keys(b"\x1b[A\x1bOB\x1b[H\x1bOF\x1b[1~\x1b[8~\x1b[3~\x1b[1;5C\x1b[1;5D\x1bb\x7f\x08"),
            [
                Key::Up,
                Key::Down,
                Key::Home,
                Key::End,
                Key::Home,
                Key::End,
                Key::Delete,
                Key::WordRight,
                Key::WordLeft,
                Key::WordLeft,
                Key::Backspace,
                Key::Backspace
            ]
        );
    }

    #[test]
    fn unknown_sequences_leave_no_trace() {
        assert_eq!(
            keys(b"\x1b[200~a\x1b[12;34;56;78;90;1mb\x1b]c\x1b[5~d"),
            "abcd".chars().map(Key::Char).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_cut_sequence_does_not_eat_control_c() {
        assert_eq!(keys(b"\x1b\x03\x1b[1\x03\xc3\x03"), vec![Key::Control(b'C'); 3]);
    }

    #[test]
    fn utf8_valid_and_broken() {
        assert_eq!(keys("ä€😀".as_bytes()), ['ä', '€', '😀'].map(Key::Char));
        assert_eq!(keys(b"\xff\x80\xc3a\xe2\x82b\xed\xa0\x80c\xc2\x85"), ['a', 'b', 'c'].map(Key::Char));
    }
}
