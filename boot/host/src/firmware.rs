//! Keeps what UEFI firmware paints on the serial lines out of the output.
//!
//! OVMF makes both serial ports its consoles and cannot be told not to. What it writes there before the kernel runs is control sequences
//! and a line or two that begin with `BdsDxe:`. [`Filter`] drops exactly that; the first other text ends its work, so that a message of the
//! boot loader or the kernel is never lost.

/// How the firmware's own lines begin.
const OWN_LINE: &[u8] = b"BdsDxe:";
/// The longest control sequence the firmware writes.
const MAX_SEQUENCE: usize = 32;

/// Drops the firmware's output at the start of a stream.
#[derive(Debug, Default)]
pub struct Filter {
    held: Vec<u8>,
    is_done: bool,
}

/// What the beginning of the held bytes is.
enum Head {
    /// So many bytes of noise.
    Noise(usize),
    /// More is needed to tell.
    Unclear,
    /// Something else: the filter is done.
    Other,
}

impl Filter {
    /// A filter that drops nothing, for machines without UEFI.
    pub fn off() -> Filter {
        Filter { held: Vec::new(), is_done: true }
    }

    /// Takes more of the stream; returns what is to be shown of it.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<u8> {
        if self.is_done {
            return bytes.to_vec();
        }
        self.held.extend_from_slice(bytes);
        loop {
            match head(&self.held) {
                Head::Noise(count) => drop(self.held.drain(..count)),
                Head::Unclear => return Vec::new(),
                Head::Other => {
                    self.is_done = true;
                    return std::mem::take(&mut self.held);
                }
            }
        }
    }
}

fn head(bytes: &[u8]) -> Head {
    match bytes {
        [] | [0x1b] => Head::Unclear,
        [b'\r' | b'\n' | b' ' | 0, ..] => Head::Noise(1),
        [0x1b, b'[', rest @ ..] => match rest.iter().position(|byte| (0x40..=0x7e).contains(byte)) {
            Some(end) => Head::Noise(end + 3),
            None if rest.len() < MAX_SEQUENCE => Head::Unclear,
            None => Head::Other,
        },
        _ if bytes.starts_with(OWN_LINE) => match bytes.iter().position(|&byte| byte == b'\n') {
            Some(end) => Head::Noise(end + 1),
            None => Head::Unclear,
        },
        _ if OWN_LINE.starts_with(bytes) => Head::Unclear,
        _ => Head::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOISE: &[u8] =
        b"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2JBdsDxe: loading Boot0001 \"UEFI\" from x\r\nBdsDxe: starting Boot0001\r\n\x1b[2J\x1b[01;01H";

    #[test]
    fn noise_goes_and_the_rest_stays_wherever_it_is_cut() {
        let stream = [NOISE, b"Antares \x1b[1mstarts\x1b[0m\r\nBdsDxe: not noise any more\r\n"].concat();
        for cut in 0..stream.len() {
            let mut filter = Filter::default();
            let mut shown = filter.feed(&stream[..cut]);
            shown.extend(filter.feed(&stream[cut..]));
            assert_eq!(shown, &stream[NOISE.len()..], "cut at {cut}");
        }
    }

    #[test]
    fn a_mark_or_another_word_ends_it() {
        assert_eq!(Filter::default().feed(b"\x1b[2J\x1b]133;A\x07"), b"\x1b]133;A\x07");
        assert_eq!(Filter::default().feed(b"Bds"), b"");
        assert_eq!(Filter::default().feed(b"Boom"), b"Boom");
        assert_eq!(Filter::off().feed(b"\x1b[2J"), b"\x1b[2J");
    }
}
