//! COM1 for the kernel's own words: boot messages before there is a console server, and the bugcheck
//! screen after there is none.
//!
//! Owns: the 16550 at port 0x3F8, polled. Called by the boot path, by fault reports and by
//! `bugcheck`. It never takes a lock (a crash must be able to print), never waits without a bound,
//! and never uses the UART's interrupt: in normal running the console server drives the port.
//! Source: PC16550D data sheet.

use super::cpu::{inb, outb};
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

/// First port of COM1.
const COM1: u16 = 0x3F8;
/// Line status: the transmit holding register is empty.
const TRANSMIT_EMPTY: u8 = 0x20;
/// Polls per byte before the byte is sent regardless. At 115200 baud a byte takes 87 us, and a read of
/// an ISA port about 1 us.
const POLL_LIMIT: u32 = 10_000;

/// Whether a UART answers. Until `init` says otherwise, nothing is sent.
static PRESENT: AtomicBool = AtomicBool::new(false);

/// Sets COM1 to 115200 8N1, FIFO on, interrupts off, and finds out whether it is there.
pub fn init() {
    // SAFETY: these are COM1's own registers. They reach no memory, and before the console server
    // runs the kernel is their only user.
    unsafe {
        // The scratch register keeps what is written to it only where there is a UART.
        outb(COM1 + 7, 0x5A);
        let mut present = inb(COM1 + 7) == 0x5A;
        outb(COM1 + 7, 0xA5);
        present &= inb(COM1 + 7) == 0xA5;
        // A UART without scratch register still never shows all ones in its line status.
        present |= inb(COM1 + 5) != 0xFF;
        PRESENT.store(present, Ordering::Relaxed);
        if !present {
            return;
        }
        outb(COM1 + 1, 0x00);
        outb(COM1 + 3, 0x80);
        outb(COM1, 1);
        outb(COM1 + 1, 0);
        outb(COM1 + 3, 0x03);
        outb(COM1 + 2, 0x07);
        outb(COM1 + 4, 0x0B);
    }
}

/// Sends `bytes`, with LF as CR LF. Does nothing where there is no UART.
pub fn write_bytes(bytes: &[u8]) {
    if !PRESENT.load(Ordering::Relaxed) {
        return;
    }
    for byte in bytes {
        if *byte == b'\n' {
            write_byte(b'\r');
        }
        write_byte(*byte);
    }
}

fn write_byte(byte: u8) {
    for _ in 0..POLL_LIMIT {
        if inb(COM1 + 5) & TRANSMIT_EMPTY != 0 {
            break;
        }
        core::hint::spin_loop();
    }
    // SAFETY: the transmit register of COM1; writing it sends a byte and reaches no memory.
    unsafe { outb(COM1, byte) };
}

/// COM1 as a formatting target: `write!(Serial, ...)`. Never fails.
pub struct Serial;

impl fmt::Write for Serial {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_bytes(text.as_bytes());
        Ok(())
    }
}
