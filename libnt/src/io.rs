//! Console input and output.
//!
//! stdout and stderr are output handles of the console; text goes there in messages of up to a kibibyte, without the
//! heap. A program without them (a server, or a program while the console is away) writes to the kernel log.

use crate::alpc::{self, Message};
use crate::sys::calls;
use crate::{env, rpc};
use abi::arg::Handle;
use abi::status::NtResult;
use core::fmt::{self, Write};
pub use proto::console::Line;
use proto::console::{self, write_payload};

/// Bytes of text in one message.
const CHUNK: usize = 1024;
/// Words of a message that holds them.
const WORDS: usize = 5 + (CHUNK + 16) / 8;

/// Writes bytes to an output handle, or to the kernel log when it is null.
pub fn write(output: Handle, bytes: &[u8]) -> NtResult {
    for chunk in bytes.chunks(CHUNK) {
        if output.is_null() {
            calls::display_string(chunk)?;
            continue;
        }
        let mut message = Message::<[u64; WORDS]>::fixed();
        let length = write_payload(chunk, message.room());
        message.set_length(length)?;
        alpc::request(output, &mut message, None, None)?;
        proto::decode_reply::<console::Console>(message.payload())?;
    }
    Ok(())
}

/// Reads a line on stdin, with the console's line editor. The line enters the history if `history` says so.
pub fn read_line(prompt: &str, history: bool) -> NtResult<Line> {
    let call = console::ReadLine { prompt: prompt.into(), history };
    rpc::call_on(env::standard().stdin, call, None).map(|(line, _)| line)
}

/// Collects text and writes it in chunks.
struct Stream {
    output: Handle,
    buffer: [u8; CHUNK],
    used: usize,
    status: NtResult,
}

impl Stream {
    fn new(output: Handle) -> Self {
        Self { output, buffer: [0; CHUNK], used: 0, status: Ok(()) }
    }

    fn flush(&mut self) {
        let written = write(self.output, &self.buffer[..self.used]);
        self.status = self.status.and(written);
        self.used = 0;
    }
}

impl Write for Stream {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.used == CHUNK {
                self.flush();
            }
            self.buffer[self.used] = byte;
            self.used += 1;
        }
        Ok(())
    }
}

/// Writes formatted text to an output handle, or to the kernel log when it is null.
pub fn write_fmt(output: Handle, arguments: fmt::Arguments<'_>) -> NtResult {
    let mut stream = Stream::new(output);
    let _ = stream.write_fmt(arguments);
    stream.flush();
    stream.status
}

/// Writes to stdout; failures are ignored, as a program cannot say them anywhere.
pub fn print(arguments: fmt::Arguments<'_>) {
    let _ = write_fmt(env::standard().stdout, arguments);
}

/// Writes to stderr; failures are ignored.
pub fn eprint(arguments: fmt::Arguments<'_>) {
    let _ = write_fmt(env::standard().stderr, arguments);
}

/// Writes a line to the kernel log, which the console shows.
pub fn log(arguments: fmt::Arguments<'_>) {
    let _ = write_fmt(Handle::NULL, format_args!("{arguments}\n"));
}

/// Says a panic's message and place on stderr, or in the kernel log when that fails.
pub fn report_panic(info: &core::panic::PanicInfo<'_>) {
    let text = format_args!("{}: {info}\n", env::image());
    if write_fmt(env::standard().stderr, text).is_err() {
        let _ = write_fmt(Handle::NULL, text);
    }
}

/// Prints to stdout.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::io::print(::core::format_args!($($arg)*)) };
}

/// Prints to stdout, with a line end.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($($arg:tt)*) => { $crate::io::print(::core::format_args!("{}\n", ::core::format_args!($($arg)*))) };
}

/// Prints to stderr.
#[macro_export]
macro_rules! eprint {
    ($($arg:tt)*) => { $crate::io::eprint(::core::format_args!($($arg)*)) };
}

/// Prints to stderr, with a line end.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::eprint!("\n") };
    ($($arg:tt)*) => { $crate::io::eprint(::core::format_args!("{}\n", ::core::format_args!($($arg)*))) };
}
