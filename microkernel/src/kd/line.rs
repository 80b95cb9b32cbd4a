//! COM2 as the reduced console uses it: polled, taken over from the debug console's server and given back as it was.
//!
//! Nothing waits without a bound but for what a person types. Source: PC16550D data sheet.

use crate::arch::cpu::{inb, outb};
use core::fmt;

/// First port of COM2.
const COM2: u16 = 0x2F8;
const INTERRUPT_ENABLE: u16 = COM2 + 1;
const LINE_CONTROL: u16 = COM2 + 3;
const LINE_STATUS: u16 = COM2 + 5;
const SCRATCH: u16 = COM2 + 7;
const DATA_READY: u8 = 0x01;
const TRANSMIT_EMPTY: u8 = 0x20;
/// 8 data bits, no parity, one stop bit.
const EIGHT_N_ONE: u8 = 0x03;
/// Polls per byte before the byte is sent regardless.
const POLL_LIMIT: u32 = 10_000;

fn write(port: u16, value: u8) {
    // SAFETY: only called with COM2's own registers, which reach no memory. While the system is stopped nobody else uses
    // them.
    unsafe { outb(port, value) };
}

/// True where there is a UART.
pub fn is_present() -> bool {
    write(SCRATCH, 0x5A);
    let first = inb(SCRATCH) == 0x5A;
    write(SCRATCH, 0xA5);
    first && inb(SCRATCH) == 0xA5
}

/// The line in the reduced console's hands. Dropping it gives the line back.
pub struct Line {
    enabled: u8,
}

impl Line {
    /// Takes the line: 115200 8N1 whatever it was, its interrupt off.
    pub fn take() -> Self {
        write(LINE_CONTROL, EIGHT_N_ONE);
        let enabled = inb(INTERRUPT_ENABLE);
        write(INTERRUPT_ENABLE, 0);
        write(LINE_CONTROL, 0x80 | EIGHT_N_ONE);
        write(COM2, 1);
        write(COM2 + 1, 0);
        write(LINE_CONTROL, EIGHT_N_ONE);
        // FIFOs on; what has been typed already stays.
        write(COM2 + 2, 0x01);
        write(COM2 + 4, 0x0B);
        Self { enabled }
    }

    fn send(&mut self, byte: u8) {
        for _ in 0..POLL_LIMIT {
            if inb(LINE_STATUS) & TRANSMIT_EMPTY != 0 {
                break;
            }
            core::hint::spin_loop();
        }
        write(COM2, byte);
    }

    /// Waits for a key.
    pub fn key(&mut self) -> u8 {
        while inb(LINE_STATUS) & DATA_READY == 0 {
            core::hint::spin_loop();
        }
        inb(COM2)
    }

    /// Reads a line with as much editing as Backspace, Ctrl-U and Ctrl-C give. What is not ASCII text is dropped, what is too
    /// long rings the bell.
    pub fn read<'a>(&mut self, buffer: &'a mut [u8]) -> &'a str {
        let mut length = 0;
        let mut escape = Escape::None;
        loop {
            let key = self.key();
            // The keys of a terminal that are sequences mean nothing here.
            escape = match (escape, key) {
                (Escape::None, 0x1B) => Escape::Begun,
                (Escape::Begun, b'[' | b'O') | (Escape::Sequence, 0x20..=0x3F) => Escape::Sequence,
                (Escape::Begun | Escape::Sequence, 0x20..=0x7E) => Escape::Done,
                _ => Escape::None,
            };
            match (escape, key) {
                (Escape::Begun | Escape::Sequence, _) => {}
                (Escape::Done, _) => escape = Escape::None,
                (_, b'\r' | b'\n') => break,
                (_, 0x08 | 0x7F) if length > 0 => {
                    length -= 1;
                    self.text("\x08 \x08");
                }
                (_, 0x15) => {
                    while length > 0 {
                        length -= 1;
                        self.text("\x08 \x08");
                    }
                }
                (_, 0x03) => {
                    length = 0;
                    self.text("^C");
                    break;
                }
                (_, b' '..=b'~') if length < buffer.len() => {
                    buffer[length] = key;
                    length += 1;
                    self.send(key);
                }
                (_, b' '..=b'~') => self.send(0x07),
                _ => {}
            }
        }
        self.text("\n");
        core::str::from_utf8(&buffer[..length]).unwrap_or("")
    }

    fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.send(b'\r');
            }
            self.send(byte);
        }
    }
}

/// Where in an escape sequence of a terminal's key the input is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    Sequence,
    Done,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text);
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // The server's driver finds its interrupt as it left it; what is typed meanwhile raises it.
        write(INTERRUPT_ENABLE, self.enabled);
    }
}
