//! The console's protocol.
//!
//! The console's root object ([`TYPE_CONSOLE`], what smss hands out) opens In and Out handles; a program's stdin, stdout
//! and stderr are such handles. All are server objects: no connection is needed, and a handle passed on works the same.

use crate::declare::protocol;
use crate::{Bytes, Header, Protocol};
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Server type number of the root object.
pub const TYPE_CONSOLE: u32 = 0x200;
/// Server type number of input handles.
pub const TYPE_INPUT: u32 = 0x201;
/// Server type number of output handles.
pub const TYPE_OUTPUT: u32 = 0x202;

/// Console access: read (input handles).
pub const CONSOLE_READ: u32 = 1;
/// Console access: write (output handles).
pub const CONSOLE_WRITE: u32 = 2;
/// Console access: be told of Ctrl-C, set modes, flush (root object, and the shell's input handle).
pub const CONSOLE_CONTROL: u32 = 4;
/// Console access: everything.
pub const CONSOLE_ALL_ACCESS: u32 = 7;

/// Most bytes of one [`Write`].
pub const MAX_WRITE: usize = 0x8000;

/// Mode bit of [`SetMode`]: typed characters are echoed and edited in lines (the default).
pub const MODE_LINE: u32 = 1;
/// Mode bit of [`SetMode`]: Ctrl-C is a character, not a signal.
pub const MODE_RAW_CTRL_C: u32 = 2;

/// Writes the payload of a [`Write`] of `data` into `buffer`, without the heap, and answers its length. The buffer must
/// have sixteen bytes more than the data; what does not fit is left out.
pub fn write_payload(data: &[u8], buffer: &mut [u8]) -> usize {
    const VARIANT: u32 = 1;
    let data = &data[..data.len().min(buffer.len().saturating_sub(16))];
    let Some((header, rest)) = buffer.split_at_mut_checked(Header::SIZE) else { return 0 };
    header.copy_from_slice(&Header { protocol: Console::NUMBER, version: Console::VERSION }.bytes());
    let written = postcard::to_slice(&(VARIANT, WireBytes(data)), rest).map_or(0, |used| used.len());
    Header::SIZE + written
}

/// Borrowed bytes with the encoding of [`Bytes`].
struct WireBytes<'a>(&'a [u8]);

impl Serialize for WireBytes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Which stream [`Open`] opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// Input.
    Input,
    /// Output.
    Output,
}

/// What [`ReadLine`] read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C ended the line.
    Interrupted,
    /// Ctrl-D on an empty line, or the terminal is gone.
    EndOfFile,
}

protocol! {
    /// The console.
    pub Console = 3 "console" version 1;

    /// Opens a stream, on the root object. The handle comes attached.
    once Open { stream: Stream, access: u32 } -> ();

    /// Writes bytes, on an output handle; answers how many were taken (all, up to [`MAX_WRITE`]).
    once Write { data: Bytes } -> u32;

    /// Shows the prompt and reads a line with the line editor, on an input handle. Held back until the line is there.
    once ReadLine {
        /// Text before the line, redrawn by the editor.
        prompt: String,
        /// Whether the line enters the history and the arrow keys bring back earlier ones.
        history: bool,
    } -> Line;

    /// Reads up to `length` bytes as they come (at least one; none at the end), on an input handle. Held back until then.
    once Read { length: u32 } -> Bytes;

    /// Sets the mode (MODE_ bits), on an input handle with [`CONSOLE_CONTROL`].
    once SetMode { mode: u32 } -> ();

    /// From now on Ctrl-C (outside a ReadLine of the shell itself) sets the attached event, on an input handle with
    /// [`CONSOLE_CONTROL`]; readers of other handles that wait get [`Line::Interrupted`].
    once SetControlEvent {} -> ();

    /// Answered when everything written so far is on the wire. On the root object or an output handle.
    idempotent Flush {} -> ();
}
