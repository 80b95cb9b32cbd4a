//! What the reduced console prints of processes, threads, processors and memory.
//!
//! Everything is looked at without waiting; what is locked is named as such.

use crate::alpc::port;
use crate::arch::idt::TrapFrame;
use crate::arch::percpu;
use crate::kd::memory;
use crate::ke::sched;
use crate::kref::Ref;
use crate::mm::frames;
use crate::ps::ids;
use crate::ps::process::{Name, Process};
use crate::ps::thread::Thread;
use abi::info::{
    WAIT_REASON_DELAY, WAIT_REASON_EXECUTIVE, WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY,
    WAIT_REASON_QUEUE, WAIT_REASON_SUSPENDED, WAIT_REASON_USER_REQUEST,
};
use antares_core::alpc::{MessageFacts, Role};
use antares_core::dispatch::{NONE, State, ThreadInfo};
use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

/// Said of what cannot be looked at.
pub const LOCKED: &str = "locked at the time of the stop; not shown";

/// Prints all registers of a frame.
pub fn registers(out: &mut dyn Write, f: &TrapFrame) -> fmt::Result {
    writeln!(out, "rax={:016x} rbx={:016x} rcx={:016x}", f.rax, f.rbx, f.rcx)?;
    writeln!(out, "rdx={:016x} rsi={:016x} rdi={:016x}", f.rdx, f.rsi, f.rdi)?;
    writeln!(out, "rip={:016x} rsp={:016x} rbp={:016x}", f.rip, f.rsp, f.rbp)?;
    writeln!(out, " r8={:016x}  r9={:016x} r10={:016x}", f.r8, f.r9, f.r10)?;
    writeln!(out, "r11={:016x} r12={:016x} r13={:016x}", f.r11, f.r12, f.r13)?;
    writeln!(out, "r14={:016x} r15={:016x}", f.r14, f.r15)?;
    writeln!(out, "cs={:04x} ss={:04x} rflags={:08x}", f.cs, f.ss, f.rflags)
}

/// The image name of a process, by its id.
pub struct ImageOf(pub u32);

impl fmt::Display for ImageOf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut found = None;
        for_processes(|process| {
            if process.id() == self.0 {
                found = process.peek(|name, _| Name::try_from(name).unwrap_or_default());
            }
        });
        out.write_str(found.as_deref().unwrap_or("?"))
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::Initialized => "Initialized",
        State::Ready => "Ready",
        State::Running => "Running",
        State::Terminated => "Terminated",
        State::Waiting => "Waiting",
    }
}

fn reason_name(reason: u32) -> &'static str {
    match reason {
        WAIT_REASON_EXECUTIVE => "Executive",
        WAIT_REASON_DELAY => "DelayExecution",
        WAIT_REASON_SUSPENDED => "Suspended",
        WAIT_REASON_USER_REQUEST => "UserRequest",
        WAIT_REASON_QUEUE => "WrQueue",
        WAIT_REASON_LPC_RECEIVE => "WrLpcReceive",
        WAIT_REASON_LPC_REPLY => "WrLpcReply",
        _ => "?",
    }
}

/// A thread's dispatcher facts, unless the dispatcher is locked or it has ended.
pub fn facts(thread: &Thread) -> Option<ThreadInfo> {
    sched::peek(|d| {
        let alive = d.try_payload(thread.index).is_some_and(|p| core::ptr::eq(p.0, thread));
        alive.then(|| d.info(thread.index))
    })
    .flatten()
}

/// Prints a process in one line.
pub fn process(out: &mut dyn Write, process: &Process) -> fmt::Result {
    write!(
        out,
        "PROCESS {:<6} Cid: {:04x}  ParentCid: {:04x}  DirBase: {:08x}  ",
        process.id(),
        process.id(),
        process.parent,
        process.space.directory_base()
    )?;
    match process.peek(|name, threads| writeln!(out, "Threads: {:<3} Image: {name}", threads.len())) {
        Some(result) => result,
        None => writeln!(out, "({LOCKED})"),
    }
}

/// Prints a thread, and why it waits.
pub fn thread(out: &mut dyn Write, thread: &Thread, image: &str) -> fmt::Result {
    let (process, id) = (thread.process.id(), thread.id());
    write!(out, "    THREAD {id:<6} Cid: {process:04x}.{id:04x}  Process: {image}  ")?;
    let Some(facts) = facts(thread) else { return writeln!(out, "({LOCKED})") };
    write!(out, "Priority: {}  State: {}", facts.priority, state_name(facts.state))?;
    match facts.state {
        State::Waiting => writeln!(out, " ({})", reason_name(facts.reason.into()))?,
        State::Running => writeln!(out, " on processor {}", facts.cpu)?,
        _ => writeln!(out)?,
    }
    if facts.state != State::Waiting {
        return Ok(());
    }
    let port = thread.alpc_wait.port.load(Ordering::Relaxed);
    let message = thread.alpc_wait.message.load(Ordering::Relaxed);
    match u32::from(facts.reason) {
        WAIT_REASON_LPC_RECEIVE => writeln!(out, "        Waiting for a message at port {port}"),
        WAIT_REASON_LPC_REPLY => waiting_for_reply(out, message),
        _ => Ok(()),
    }
}

fn waiting_for_reply(out: &mut dyn Write, message: u32) -> fmt::Result {
    write!(out, "        Waiting for reply to ALPC message {message:08x}")?;
    match find_message(message) {
        Some(found) => {
            let what = if found.facts.queue == 2 { "received at" } else { "queued at" };
            write!(out, ": {what} port {}: owned by process {} ", found.queue_port, found.owner)?;
            write!(out, "{}", ImageOf(found.owner))?;
            match found.facts.receiver.thread {
                0 => writeln!(out),
                thread => writeln!(out, " (thread {thread})"),
            }
        }
        None => writeln!(out),
    }
}

/// A message and where it is.
pub struct Found {
    /// The message.
    pub facts: MessageFacts,
    /// Port in whose queue it is.
    pub queue_port: u32,
    /// Process that owns that port.
    pub owner: u32,
    /// Connection port of its group.
    pub connection_port: u32,
}

/// Looks for a message in all groups that are not locked.
pub fn find_message(id: u32) -> Option<Found> {
    let mut found = None;
    port::peek_ports(|port| {
        if port.role != Role::Connection || found.is_some() {
            return;
        }
        let Some(group) = port.group.try_lock() else { return };
        let facts = group.message_facts().find(|m| m.id == id);
        found = facts.map(|facts| Found {
            facts,
            queue_port: port.id,
            owner: port.owner,
            connection_port: port.group.id,
        });
    });
    if let Some(found) = found.as_mut().filter(|found| found.facts.to_client) {
        port::peek_ports(|port| {
            if port.group.id == found.connection_port && port.role == Role::Client(found.facts.connection) {
                (found.queue_port, found.owner) = (port.id, port.owner);
            }
        });
    }
    found
}

/// Prints what each processor runs.
pub fn running(out: &mut dyn Write) -> fmt::Result {
    for index in 0..percpu::count() {
        let current = sched::peek(|d| match d.current(index) {
            NONE => (0, 0, 0),
            thread => {
                // SAFETY: a thread with a dispatcher record is alive while the dispatcher's lock is held.
                let pointer = unsafe { &*d.payload(thread).0 };
                (pointer.id(), pointer.process.id(), d.info(thread).priority)
            }
        });
        match current {
            None => writeln!(out, "  {index}  the dispatcher is {LOCKED}")?,
            Some((0, ..)) => writeln!(out, "  {index}  idle")?,
            Some((thread, process, priority)) => {
                let image = ImageOf(process);
                writeln!(
                    out,
                    "  {index}  thread {thread} of process {process} ({image}), priority {priority}"
                )?;
            }
        }
    }
    Ok(())
}

/// Calls `with` on each process; `false` when they cannot be looked at. No lock is held meanwhile.
pub fn for_processes(mut with: impl FnMut(&Ref<Process>)) -> bool {
    let mut from = 0;
    loop {
        match ids::peek_process(from) {
            Ok(Some((process, next))) => {
                with(&process);
                from = next;
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// Calls `with` on each thread and its process's image name, with no lock held. Says which processes cannot be looked at.
pub fn for_threads(out: &mut dyn Write, mut with: impl FnMut(&mut dyn Write, &Thread, &str)) -> fmt::Result {
    let mut result = Ok(());
    let open = for_processes(|process| {
        let mut at = 0;
        loop {
            let next = process
                .peek(|name, threads| (Name::try_from(name).unwrap_or_default(), threads.get(at).cloned()));
            match next {
                Some((name, Some(thread))) => with(out, &thread, &name),
                Some((_, None)) => return,
                None => {
                    result = writeln!(out, "process {}: {LOCKED}", process.id());
                    return;
                }
            }
            at += 1;
        }
    });
    if !open {
        writeln!(out, "the processes are {LOCKED}")?;
    }
    result
}

/// Prints memory in units of `unit` bytes (1, 2, 4 or 8), `?` for what is not there.
pub fn dump(out: &mut dyn Write, root: u64, address: u64, unit: usize, count: usize) -> fmt::Result {
    let mut at = address;
    let mut left = count;
    while left > 0 {
        let in_line = left.min(16 / unit);
        write!(out, "{at:016x} ")?;
        let mut text = [b' '; 16];
        for place in 0..in_line {
            let mut bytes = [0; 8];
            let from = at.wrapping_add((place * unit) as u64);
            if memory::read(root, from, &mut bytes[..unit]) == unit {
                write!(out, " {:0width$x}", u64::from_le_bytes(bytes), width = unit * 2)?;
                for (slot, byte) in text[place * unit..].iter_mut().zip(&bytes[..unit]) {
                    *slot = if (b' '..=b'~').contains(byte) { *byte } else { b'.' };
                }
            } else {
                write!(out, " {:?<width$}", "", width = unit * 2)?;
                text[place * unit..][..unit].fill(b'?');
            }
        }
        if unit == 1 {
            let blanks = 3 * (16 - in_line) + 2;
            write!(out, "{:blanks$}{}", "", core::str::from_utf8(&text[..in_line]).unwrap_or(""))?;
        }
        writeln!(out)?;
        at = at.wrapping_add(16);
        left -= in_line;
    }
    Ok(())
}

/// Prints how much memory is free.
pub fn vm(out: &mut dyn Write) -> fmt::Result {
    match frames::peek_counts() {
        Some((total, free)) => writeln!(out, "Physical memory: {total} pages, {free} available"),
        None => writeln!(out, "the page frames are {LOCKED}"),
    }
}
