//! The reduced console: commands on the debug console's line while the system is stopped, or after a bugcheck.
//!
//! It speaks as the debug console's server does, with the same marks around prompts and output, so that whoever drives that
//! can drive this.

use crate::arch::idt::TrapFrame;
use crate::arch::{acpi, cpu, percpu};
use crate::bugcheck;
use crate::kd::line::Line;
use crate::kd::show::{self, LOCKED};
use crate::kd::stack::{self, Context};
use crate::kd::{alpc, memory, stop};
use crate::ke::sched;
use crate::mm::kernel_root;
use crate::ps::ids;
use crate::ps::process::Name;
use crate::ps::thread::Thread;
use antares_core::dispatch::{NONE, State};
use core::fmt::{self, Write};

/// Longest command.
const LONGEST: usize = 256;
/// Most words of a command.
const WORDS: usize = 6;
/// Most units of one dump.
const MOST: usize = 4096;

/// Why the console answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The system is stopped and can go on.
    Stopped,
    /// It has crashed.
    Crashed,
}

const HELP: &str = "\
r                    registers of the processor (~N chooses it), as it was stopped
k [THREAD]           stack of the processor, or of a thread that does not run
~N                   looks at processor N
!running             what each processor runs
!ready               threads that are ready to run
!process [0 [0 | 7]] processes; with 7 their threads, and why each waits
!process ID [0 | 7]  one of them
!thread [ID]         threads, and why each waits
!alpc [/m MESSAGE]   ports, or a message by its id in hexadecimal
!vm                  free memory
.process ID          whose addresses are meant below the kernel's; 0 is nobody's
db dw dd dq ADDRESS [Ln]  memory in bytes, words, double words, quad words
ln ADDRESS           the symbol at an address
g                    lets the system go on
.reboot              restarts the machine
";

/// What commands act on.
struct Target {
    mode: Mode,
    processor: u32,
    process: u32,
}

/// What comes after a command.
enum Then {
    Prompt(u32),
    Go,
}

/// Answers until `g`; after a bugcheck for ever. The line is taken over meanwhile.
pub fn run(mode: Mode) {
    let mut line = Line::take();
    let mut state = Target { mode, processor: percpu::try_index().unwrap_or(0), process: 0 };
    // Whoever drives the line waits for the end of the command that led here. The line cannot fail.
    let _ = match mode {
        Mode::Stopped => {
            writeln!(line, "The system is stopped; g lets it go on, .help lists what can be asked.")
        }
        Mode::Crashed => {
            writeln!(line, "\n*** The system has crashed; COM1 says why. .help lists what can be asked.")
        }
    };
    let _ = write!(line, "\x1b]133;D;0\x07");
    loop {
        let _ = write!(line, "\x1b]133;A\x07{}: kd> \x1b]133;B\x07", state.processor);
        let mut buffer = [0; LONGEST];
        let text = line.read(&mut buffer);
        let _ = write!(line, "\x1b]133;C\x07");
        match command(&mut line, &mut state, text) {
            // The server ends the output of `.break`, whose end this is.
            Ok(Then::Go) => return,
            Ok(Then::Prompt(status)) => {
                let _ = write!(line, "\x1b]133;D;{status}\x07");
            }
            Err(_) => {}
        }
    }
}

fn command(out: &mut Line, state: &mut Target, text: &str) -> Result<Then, fmt::Error> {
    let mut words = [""; WORDS];
    let mut count = 0;
    for word in text.split_ascii_whitespace() {
        if count == WORDS {
            return said(out, "too many words");
        }
        words[count] = word;
        count += 1;
    }
    let done = Ok(Then::Prompt(0));
    match &words[..count] {
        [] => done,
        [".help" | "help" | "?"] => out.write_str(HELP).and(done),
        ["g"] if state.mode == Mode::Stopped => Ok(Then::Go),
        ["g"] => said(out, "the system has crashed and cannot go on"),
        [".reboot"] => acpi::reboot(),
        ["r"] => registers(out, state),
        ["k"] => stack_of_processor(out, state),
        ["k", thread] => on_thread(out, thread, |out, thread, image| {
            stack::walk_thread(out, thread, Context::of(&thread.process, image))
        }),
        ["!running"] => show::running(out).and(done),
        ["!ready"] => {
            let mut any = false;
            show::for_threads(out, |out, thread, image| {
                if show::facts(thread).is_some_and(|facts| facts.state == State::Ready) {
                    any = true;
                    let _ = show::thread(out, thread, image);
                }
            })?;
            if any { done } else { out.write_str("no thread is ready\n").and(done) }
        }
        ["!process"] | ["!process", "0"] | ["!process", "0", "0"] => processes(out, None, false),
        ["!process", "0", _] => processes(out, None, true),
        ["!process", id] => with_number(out, id, |out, id| processes(out, Some(id), true)),
        ["!process", id, detail] => {
            let detail = *detail != "0";
            with_number(out, id, |out, id| processes(out, Some(id), detail))
        }
        ["!thread"] => {
            show::for_threads(out, |out, thread, image| {
                let _ = show::thread(out, thread, image);
            })?;
            done
        }
        ["!thread", id] => on_thread(out, id, show::thread),
        ["!alpc"] => alpc::ports(out).and(done),
        ["!alpc", "/m" | "/M", id] => match hexadecimal(id).and_then(|id| u32::try_from(id).ok()) {
            Some(id) => alpc::message(out, id).and(done),
            None => said(out, "usage: !alpc /m MESSAGE (hexadecimal)"),
        },
        ["!vm"] => show::vm(out).and(done),
        [".process", id] => with_number(out, id, |_, id| {
            state.process = id;
            Ok(Then::Prompt(0))
        }),
        ["ln", address] => match hexadecimal(address) {
            Some(address) => in_context(state.process, |context| {
                writeln!(out, "{}", stack::Symbol { address, context, is_return: false })
            })
            .and(done),
            None => said(out, "usage: ln ADDRESS (hexadecimal)"),
        },
        [verb @ ("db" | "dw" | "dd" | "dq"), address] => dump(out, state, verb, address, None),
        [verb @ ("db" | "dw" | "dd" | "dq"), address, count] => dump(out, state, verb, address, Some(count)),
        [word] if word.starts_with('~') => match word[1..].parse() {
            Ok(index) if index < percpu::count() => {
                state.processor = index;
                done
            }
            _ => said(out, "there is no such processor"),
        },
        [verb, ..] => {
            writeln!(out, "'{verb}' is not known while the system is stopped, or not in this form; .help")?;
            Ok(Then::Prompt(1))
        }
    }
}

/// A failure, in words.
fn said(out: &mut Line, why: &str) -> Result<Then, fmt::Error> {
    writeln!(out, "{why}")?;
    Ok(Then::Prompt(1))
}

/// An address: hexadecimal, with or without 0x, a backquote between its halves.
fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut value = 0u64;
    for c in digits.chars().filter(|c| *c != '`') {
        value = value.checked_mul(16)?.checked_add(c.to_digit(16)?.into())?;
    }
    (!digits.is_empty()).then_some(value)
}

/// An id: decimal, or hexadecimal with 0x.
fn with_number(
    out: &mut Line,
    text: &str,
    with: impl FnOnce(&mut Line, u32) -> Result<Then, fmt::Error>,
) -> Result<Then, fmt::Error> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match number {
        Ok(number) => with(out, number),
        Err(_) => said(out, "that is not an id"),
    }
}

fn on_thread(
    out: &mut Line,
    text: &str,
    with: impl FnOnce(&mut dyn Write, &Thread, &str) -> fmt::Result,
) -> Result<Then, fmt::Error> {
    with_number(out, text, |out, wanted| {
        let mut with = Some(with);
        let mut result = Ok(());
        show::for_threads(out, |out, thread, image| {
            if thread.id() == wanted
                && let Some(with) = with.take()
            {
                result = with(out, thread, image);
            }
        })?;
        result?;
        if with.is_none() { Ok(Then::Prompt(0)) } else { said(out, "no such thread") }
    })
}

fn processes(out: &mut Line, wanted: Option<u32>, threads: bool) -> Result<Then, fmt::Error> {
    let mut found = false;
    let mut result = Ok(());
    let open = show::for_processes(|process| {
        if wanted.is_none_or(|id| id == process.id()) && result.is_ok() {
            found = true;
            result = show::process(out, process);
        }
    });
    result?;
    match (open, found) {
        (false, _) => writeln!(out, "the processes are {LOCKED}")?,
        (true, false) => return said(out, "no process has this id"),
        _ => {}
    }
    if threads {
        show::for_threads(out, |out, thread, image| {
            if wanted.is_none_or(|id| id == thread.process.id()) {
                let _ = show::thread(out, thread, image);
            }
        })?;
    }
    Ok(Then::Prompt(0))
}

/// Calls `with` with the addresses of a process, or with the kernel's where there is none with this id.
fn in_context<R>(process: u32, with: impl FnOnce(Context<'_>) -> R) -> R {
    let mut found = None;
    show::for_processes(|candidate| {
        if candidate.id() == process {
            found = candidate.peek(|name, _| Name::try_from(name).unwrap_or_default()).map(|name| {
                let context = Context::of(candidate, &name);
                (context.root, context.file, name)
            });
        }
    });
    match &found {
        Some((root, file, image)) => with(Context { root: *root, file: *file, image }),
        None => with(Context::kernel()),
    }
}

fn registers(out: &mut Line, state: &Target) -> Result<Then, fmt::Error> {
    match frame_of(state.processor) {
        Some(frame) => {
            show::registers(out, &frame)?;
            let context = context_of_processor(state.processor);
            in_context(context, |context| {
                writeln!(out, "{}", stack::Symbol { address: frame.rip, context, is_return: false })
            })?;
        }
        None => {
            writeln!(out, "cr3={:016x} cr2={:016x}", cpu::read_cr3(), cpu::read_cr2())?;
            writeln!(out, "processor {} stopped itself in the kernel; k shows where", state.processor)?;
        }
    }
    Ok(Then::Prompt(0))
}

fn stack_of_processor(out: &mut Line, state: &Target) -> Result<Then, fmt::Error> {
    let processor = state.processor;
    if stop::frame(processor).is_none() {
        // The one that this runs on.
        let (rip, _, rbp) = bugcheck::here();
        stack::walk(out, Context::kernel(), rip, rbp)?;
    }
    if let Some(frame) = frame_of(processor) {
        if stop::frame(processor).is_none() {
            writeln!(out, "-- user mode")?;
        }
        in_context(context_of_processor(processor), |context| {
            stack::walk(out, context, frame.rip, frame.rbp)
        })?;
    }
    Ok(Then::Prompt(0))
}

/// The registers with which a processor was stopped; of the one that stopped the others those of the system call.
fn frame_of(processor: u32) -> Option<TrapFrame> {
    if let Some(frame) = stop::frame(processor) {
        return Some(frame);
    }
    let thread = current_thread(processor)?;
    stack::user_frame(&*ids::peek_thread(thread)?)
}

fn current_thread(processor: u32) -> Option<u32> {
    sched::peek(|d| match d.current(processor) {
        NONE => None,
        // SAFETY: a thread with a dispatcher record is alive while the dispatcher's lock is held.
        thread => Some(unsafe { &*d.payload(thread).0 }.id()),
    })
    .flatten()
}

/// The process whose thread a processor runs; 0 when it is idle.
fn context_of_processor(processor: u32) -> u32 {
    current_thread(processor).and_then(ids::peek_thread).map_or(0, |thread| thread.process.id())
}

fn dump(
    out: &mut Line,
    state: &Target,
    verb: &str,
    address: &str,
    count: Option<&str>,
) -> Result<Then, fmt::Error> {
    let unit = match verb {
        "db" => 1,
        "dw" => 2,
        "dd" => 4,
        _ => 8,
    };
    let count = match count {
        None => Some(128 / unit),
        Some(text) => {
            let digits = text.strip_prefix(['l', 'L']).unwrap_or("");
            hexadecimal(digits).and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=MOST).contains(n))
        }
    };
    let (Some(address), Some(count)) = (hexadecimal(address), count) else {
        return said(out, "usage: db|dw|dd|dq ADDRESS [Ln], both hexadecimal, n up to 1000");
    };
    let root = match (address >= memory::KERNEL_START, state.process) {
        (true, _) | (_, 0) => kernel_root(),
        (_, process) => in_context(process, |context| context.root),
    };
    show::dump(out, root, address, unit, count)?;
    Ok(Then::Prompt(0))
}
