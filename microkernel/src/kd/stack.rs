//! Stack walks by frame pointers, from registers or from where a thread left its kernel stack.

use crate::arch::idt::TrapFrame;
use crate::kd::memory::{self, KERNEL_START};
use crate::mm::kernel_root;
use crate::ps::process::Process;
use crate::ps::thread::Thread;
use crate::{boot, symbols};
use abi::mm::USER_MAX;
use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

/// Most return addresses of one stack.
const DEPTH: usize = 32;
/// Frames further apart than this are not of one stack.
const LARGEST_FRAME: u64 = 1 << 20;

/// Whose addresses are meant: tables for reading, and the program's file for names.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Top-level page table.
    pub root: u64,
    /// The program's ELF file.
    pub file: Option<&'static [u8]>,
    /// Image name.
    pub image: &'a str,
}

impl<'a> Context<'a> {
    /// The kernel's own.
    pub fn kernel() -> Self {
        Self { root: kernel_root(), file: None, image: "" }
    }

    /// A process's; `image` is its image name.
    pub fn of(process: &Process, image: &'a str) -> Self {
        let file = boot::info().modules.iter().find(|module| module.name == image).map(|m| m.bytes);
        Self { root: process.space.directory_base(), file, image }
    }

    /// A word of memory.
    pub fn word(&self, address: u64) -> Option<u64> {
        memory::read_word(self.root, address)
    }
}

/// An address with the symbol that it lies in.
pub struct Symbol<'a> {
    /// The address.
    pub address: u64,
    /// Whose it is.
    pub context: Context<'a>,
    /// It is a return address: the call before it is what is meant, as that may be its function's last instruction.
    pub is_return: bool,
}

impl fmt::Display for Symbol<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, context, is_return } = *self;
        let back = u64::from(is_return);
        let meant = address.wrapping_sub(back);
        write!(out, "{address:016x}")?;
        let (module, found) = if address >= KERNEL_START {
            ("nt", symbols::lookup(meant))
        } else {
            (context.image, context.file.and_then(|file| symbols::lookup_in(file, meant)))
        };
        match found.map(|(name, offset)| (name, offset + back)) {
            Some((name, offset)) => write!(out, " {module}!{:#}+{offset:#x}", rustc_demangle::demangle(name)),
            None => Ok(()),
        }
    }
}

/// Prints where registers are, and the return addresses above that.
pub fn walk(out: &mut dyn Write, context: Context<'_>, rip: u64, mut rbp: u64) -> fmt::Result {
    writeln!(out, "{}", Symbol { address: rip, context, is_return: false })?;
    for _ in 0..DEPTH {
        let (Some(next), Some(address)) = (context.word(rbp), context.word(rbp.wrapping_add(8))) else {
            break;
        };
        if address == 0 {
            break;
        }
        writeln!(out, "{}", Symbol { address, context, is_return: true })?;
        if next <= rbp || next - rbp > LARGEST_FRAME {
            break;
        }
        rbp = next;
    }
    Ok(())
}

/// The registers with which a thread entered the kernel from user mode, at the top of its kernel stack.
pub fn user_frame(thread: &Thread) -> Option<TrapFrame> {
    let mut words = [0; size_of::<TrapFrame>() / 8];
    for (index, word) in words.iter_mut().enumerate() {
        *word = memory::read_word(kernel_root(), thread.frame + 8 * index as u64)?;
    }
    let mut frame = TrapFrame::from_words(words);
    if !(1..USER_MAX).contains(&frame.rip) {
        return None;
    }
    frame.complete();
    Some(frame)
}

/// Prints the stack of a thread that does not run: in the kernel where it was switched away, then in user mode.
pub fn walk_thread(out: &mut dyn Write, thread: &Thread, context: Context<'_>) -> fmt::Result {
    let rsp = thread.saved_rsp.load(Ordering::Relaxed);
    // `switch_stack` leaves the place to go on at, then rbx and rbp.
    let word = |at: u64| memory::read_word(kernel_root(), rsp.wrapping_add(at));
    if rsp == thread.resume_rsp {
        // It parked on the fast path, or has not run yet: nothing is above the place to go on at.
        let address = word(0).unwrap_or(0);
        writeln!(out, "{}", Symbol { address, context, is_return: false })?;
    } else if let (Some(rip), Some(rbp)) = (word(0), word(16)) {
        walk(out, Context { root: kernel_root(), ..context }, rip, rbp)?;
    }
    match user_frame(thread) {
        Some(frame) => {
            writeln!(out, "-- user mode")?;
            walk(out, context, frame.rip, frame.rbp)
        }
        None => Ok(()),
    }
}
