//! LF to CR LF, as a terminal on a serial line wants it.

use alloc::vec::Vec;

/// Translates a stream in pieces of any size; a line end that is CR LF already stays as it is.
#[derive(Debug, Default)]
pub struct NewlineMapper {
    last: u8,
}

impl NewlineMapper {
    /// Appends the translation of `text` to `out`.
    pub fn map(&mut self, text: &[u8], out: &mut Vec<u8>) {
        for &byte in text {
            if byte == b'\n' && self.last != b'\r' {
                out.push(b'\r');
            }
            out.push(byte);
            self.last = byte;
        }
    }

    /// True when what was written so far ends in the middle of a line.
    pub fn in_line(&self) -> bool {
        !matches!(self.last, 0 | b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_become_cr_lf_once() {
        let mut mapper = NewlineMapper::default();
        let mut out = Vec::new();
        for piece in [&b"a\nb\r"[..], b"\nc\n\n", b"d"] {
            mapper.map(piece, &mut out);
        }
        assert_eq!(out, b"a\r\nb\r\nc\r\n\r\nd");
        assert!(mapper.in_line());
    }
}
