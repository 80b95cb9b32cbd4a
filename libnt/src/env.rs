//! What the program was started with: arguments, environment, handles.

use crate::params::{Block, ExtraHandle, StandardHandles};
use abi::arg::Handle;
use abi::ps::{BootModule, FramebufferInformation, InitialParameters};
use spin::Once;
use zerocopy::{FromBytes, IntoBytes};

static BLOCK: Once<Block<'static>> = Once::new();
static INITIAL: Once<Initial> = Once::new();

/// Name of the extra handle that is a framebuffer's physical memory.
pub const FRAMEBUFFER: &str = "framebuffer";

/// What the kernel hands the first process.
#[derive(Clone, Copy, Debug)]
pub struct Initial {
    /// Fixed part.
    pub parameters: &'static InitialParameters,
    /// Boot modules.
    pub modules: &'static [BootModule],
    /// Kernel command line.
    pub command_line: &'static [u8],
}

pub(crate) fn set_block(block: Block<'static>) {
    BLOCK.call_once(|| block);
}

pub(crate) fn set_initial(initial: Initial) {
    INITIAL.call_once(|| initial);
}

fn block() -> &'static Block<'static> {
    static EMPTY: Block<'static> = Block::empty();
    BLOCK.get().unwrap_or(&EMPTY)
}

/// What the kernel gave the first process; `None` in every other.
pub fn initial() -> Option<Initial> {
    INITIAL.get().copied()
}

/// The image's name.
pub fn image() -> &'static str {
    if INITIAL.get().is_some() { "smss" } else { block().image() }
}

/// Arguments, without the program's name.
pub fn args() -> impl Iterator<Item = &'static str> {
    block().arguments()
}

/// The value of an environment variable (names compare without regard to ASCII case, as in NT).
pub fn var(name: &str) -> Option<&'static str> {
    vars().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Environment variables.
pub fn vars() -> impl Iterator<Item = (&'static str, &'static str)> {
    block().environment().filter_map(|entry| entry.split_once('='))
}

/// Handles that every program has; those of the object manager and the session may have been renewed since
/// ([`crate::ob::root`], [`crate::session::handle`]).
pub fn standard() -> StandardHandles {
    block().standard()
}

/// An extra handle by name.
pub fn extra(name: &str) -> Option<ExtraHandle> {
    block().extra().find(|extra| extra.is_named(name))
}

/// The framebuffer, for the server that was given it: its physical memory resource and its geometry.
pub fn framebuffer() -> Option<(Handle, FramebufferInformation)> {
    let extra = extra(FRAMEBUFFER)?;
    let information = FramebufferInformation::read_from_bytes(extra.data.as_bytes()).ok()?;
    Some((extra.handle, information))
}
