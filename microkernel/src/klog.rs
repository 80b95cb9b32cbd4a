//! The kernel log: crash reports, NtDisplayString, what the kernel has to say while the system runs.
//!
//! Until the console server reads it (NtxReadKernelLog) every line also goes to the serial line directly. A bugcheck
//! does not come here: it writes to the serial line itself.

use crate::arch::serial;
use crate::ke::event::Event;
use crate::kref::Ref;
use crate::sync::{Lock, rank};
use core::fmt::{self, Write};

const SIZE: usize = 32 * 1024;

struct Log {
    bytes: [u8; SIZE],
    head: usize,
    length: usize,
    lost: usize,
    reader: Option<Ref<Event>>,
}

static LOG: Lock<Log, { rank::LEAF }> =
    Lock::new(Log { bytes: [0; SIZE], head: 0, length: 0, lost: 0, reader: None });

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.length == SIZE {
                self.head = (self.head + 1) % SIZE;
                self.lost += 1;
            } else {
                self.length += 1;
            }
            let at = (self.head + self.length - 1) % SIZE;
            self.bytes[at] = byte;
        }
        Ok(())
    }
}

/// Adds text.
pub fn write(text: fmt::Arguments) {
    let event = {
        let mut log = LOG.lock();
        if log.reader.is_none() {
            // The serial line takes anything.
            let _ = serial::Serial.write_fmt(text);
        }
        let _ = log.write_fmt(text);
        log.reader.clone()
    };
    if let Some(event) = event {
        event.state.set();
    }
}

/// Takes up to `to.len()` bytes out, oldest first; from now on `event` tells when there is more.
pub fn read(to: &mut [u8], event: Option<Ref<Event>>) -> usize {
    let (count, old) = {
        let mut log = LOG.lock();
        let first = log.reader.is_none();
        let old = match event {
            Some(event) => log.reader.replace(event),
            None => None,
        };
        if first && log.reader.is_some() {
            // What was said before has been on the serial line already.
            log.length = 0;
        }
        if log.lost > 0 && to.len() >= 48 && log.length > 0 {
            let lost = core::mem::take(&mut log.lost);
            let mut note = Note { to, used: 0 };
            let _ = writeln!(note, "[{lost} bytes of the kernel log were lost]");
            (note.used, old)
        } else {
            let count = to.len().min(log.length);
            for slot in &mut to[..count] {
                *slot = log.bytes[log.head];
                log.head = (log.head + 1) % SIZE;
            }
            log.length -= count;
            (count, old)
        }
    };
    drop(old);
    count
}

struct Note<'a> {
    to: &'a mut [u8],
    used: usize,
}

impl Write for Note<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.used + text.len();
        self.to.get_mut(self.used..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.used = end;
        Ok(())
    }
}
