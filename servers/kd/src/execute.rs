//! Executes a command line over the [`System`] trait.

use crate::command::{Alpc, Command, Line, ProcessName, number, parse_line};
use crate::names::{port_matches, process_matches};
use crate::object_view::{Named, TokenFacts};
use crate::pager::Size;
use crate::snapshot::{Snapshot, id, port_name, process_id};
use crate::wait_chain::{self, Waits};
use crate::{alpc_view, debug, debug_command, json, process_view, system_view, trace_command};
use abi::info::{
    SystemHandleEntry, SystemKernelCounters, SystemMessageInformation, SystemPortInformation,
    SystemSyscallCounter, SystemThreadInformation,
};
use abi::kd::{SYSDBG_MAX_READ, SysdbgModule, SysdbgPort, SysdbgProcess, SysdbgProcessor, SysdbgThread};
use abi::mm::MemoryBasicInformation;
use abi::status::{NtResult, NtStatus};
use abi::trace::TraceFilter;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::time::Duration;
use libnt::info::Process;
use serde::Serialize;
use trace::{Memory, Position, Trace};

/// The kernel as the debug console sees it.
pub trait System {
    /// The trace memory.
    type Memory: Memory;
    /// The state of processes, ports and messages.
    fn snapshot(&mut self) -> NtResult<Snapshot>;
    /// The handles of a process.
    fn handles(&mut self, process: u32) -> NtResult<Vec<SystemHandleEntry>>;
    /// The kernel's counters.
    fn counters(&mut self) -> NtResult<SystemKernelCounters>;
    /// How often each system call was made.
    fn syscalls(&mut self) -> NtResult<Vec<SystemSyscallCounter>>;
    /// The trace rings, where they could be mapped.
    fn trace(&self) -> Option<&Trace<Self::Memory>>;
    /// Starts recording.
    fn trace_start(&mut self, filter: &TraceFilter) -> NtResult;
    /// Stops recording.
    fn trace_stop(&mut self) -> NtResult;
    /// Stops the system with a bugcheck; returns only when that failed.
    fn crash(&mut self) -> NtStatus;
    /// Reads memory of the kernel, or of a process for its user addresses: as many bytes as are there.
    fn read(&mut self, process: u32, address: u64, to: &mut [u8]) -> NtResult<usize>;
    /// Reads physical memory.
    fn read_physical(&mut self, address: u64, to: &mut [u8]) -> NtResult<usize>;
    /// The files of the kernel and the boot modules.
    fn modules(&mut self) -> NtResult<Vec<SysdbgModule>>;
    /// A processor's control block.
    fn processor(&mut self, processor: u32) -> NtResult<SysdbgProcessor>;
    /// What the kernel knows of a process.
    fn process(&mut self, process: u32) -> NtResult<SysdbgProcess>;
    /// What the kernel knows of a thread.
    fn thread(&mut self, thread: u32) -> NtResult<SysdbgThread>;
    /// What the kernel knows of a port.
    fn port(&mut self, port: u32) -> NtResult<SysdbgPort>;
    /// The regions of a process's memory, in order.
    fn regions(&mut self, process: u32) -> NtResult<Vec<MemoryBasicInformation>>;
    /// A process's primary token.
    fn token(&mut self, process: u32) -> NtResult<TokenFacts>;
    /// An object by its path.
    fn object(&mut self, path: &str) -> NtResult<Named>;
    /// The time-stamp counter.
    fn tsc(&self) -> u64;
    /// Stops the system until somebody lets it go on.
    fn break_in(&mut self) -> NtResult;
    /// Restarts the machine.
    fn reboot(&mut self) -> NtResult;

    /// Reads memory, all of it or nothing.
    fn read_all(&mut self, process: u32, address: u64, to: &mut [u8]) -> bool {
        let mut done = 0;
        while done < to.len() {
            let Some(at) = address.checked_add(done as u64) else { return false };
            let end = to.len().min(done + SYSDBG_MAX_READ as usize);
            match self.read(process, at, &mut to[done..end]) {
                Ok(count) if count > 0 => done += count,
                _ => return false,
            }
        }
        true
    }
}

/// Where a command's output goes.
pub trait Output: Write {
    /// Shows what was written so far, and waits; true when the command is to end (a key was pressed, or nobody could press
    /// one).
    fn pause(&mut self, time: Duration) -> bool;
}

impl Output for String {
    fn pause(&mut self, _: Duration) -> bool {
        true
    }
}

/// A debugging session: what outlives a command.
#[derive(Clone, Debug)]
pub struct Session {
    /// Where the rings were when tracing was last switched on.
    pub(crate) trace_from: Position,
    /// What the person at the line can see; `None`: a script reads.
    pub terminal: Option<Size>,
    /// What debugger commands mean.
    pub context: debug::Context,
}

impl Default for Session {
    fn default() -> Self {
        Self { trace_from: Position::START, terminal: None, context: debug::Context::default() }
    }
}

/// Why a command failed.
pub enum Failure {
    /// To be told as it is.
    Said(String),
    /// What was tried, and the kernel's answer.
    Status(&'static str, NtStatus),
    /// The output could not be written.
    Output,
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Self::Output
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

/// What a command comes to.
pub type Outcome = Result<(), Failure>;

/// Executes a command line and writes what it says; gives its status, 0 when it worked.
pub fn execute<S: System>(line: &str, session: &mut Session, system: &mut S, out: &mut dyn Output) -> u32 {
    let outcome = match parse_line(line) {
        Ok(Line { command, json: true }) => list(&command, session, system, out).or_else(|failure| {
            let why = match failure {
                Failure::Said(text) => text,
                Failure::Status(what, status) => format!("{what}: {status}"),
                Failure::Output => return Err(Failure::Output),
            };
            // What reads JSON gets JSON, also of failures.
            put(out, &Refused { error: why })?;
            Err(Failure::Output)
        }),
        Ok(Line { command, json: false }) => run(&command, session, system, out),
        Err(text) => Err(Failure::Said(text)),
    };
    // An error that cannot be written cannot be told either; the status stays.
    let _ = match outcome {
        Ok(()) => return 0,
        Err(Failure::Said(text)) => writeln!(out, "{text}"),
        Err(Failure::Status(what, status)) => writeln!(out, "{what}: {status}"),
        Err(Failure::Output) => Ok(()),
    };
    1
}

/// Prints a listing as JSON.
fn list<S: System>(command: &Command, session: &mut Session, system: &mut S, out: &mut dyn Write) -> Outcome {
    match command {
        Command::Process(name, detail) => {
            let snapshot = snapshot(system)?;
            let found = find(name.as_ref(), &snapshot)?;
            let mut facts = |thread| system.thread(thread).ok();
            let rows = found.iter().map(|p| json::process(p, *detail, &snapshot, &mut facts));
            put(out, &rows.collect::<Vec<_>>())
        }
        Command::Thread(wanted) => {
            let snapshot = snapshot(system)?;
            let found = find_threads(*wanted, &snapshot)?;
            put(
                out,
                &found
                    .iter()
                    .map(|t| json::thread(t, system.thread(id(t.unique_thread)).ok().as_ref(), &snapshot))
                    .collect::<Vec<_>>(),
            )
        }
        Command::Wait(wanted) => {
            let snapshot = snapshot(system)?;
            find_threads(*wanted, &snapshot)?;
            put(out, &wait_chain::describe_waits(&Waits::new(&snapshot), *wanted))
        }
        Command::Debug(command) => debug::run(command, true, &mut session.context, system, out),
        Command::Alpc(what) => list_alpc(what, &snapshot(system)?, system, out),
        Command::Handle(name) => {
            let snapshot = snapshot(system)?;
            let mut rows = Vec::new();
            for process in find(Some(name), &snapshot)? {
                let id = process_id(process);
                let handles = system.handles(id).map_err(|s| Failure::Status("handles", s))?;
                rows.extend(handles.iter().map(|entry| json::handle(id, entry, &snapshot)));
            }
            put(out, &rows)
        }
        Command::Vm => {
            let counters = system.counters().map_err(|s| Failure::Status("kernel counters", s))?;
            put(out, &json::vm(&counters))
        }
        Command::Syscalls => {
            let counters = system.syscalls().map_err(|s| Failure::Status("system-call counters", s))?;
            put(out, &counters.iter().map(json::syscall).collect::<Vec<_>>())
        }
        _ => Err(Failure::Said("this has no --json".into())),
    }
}

fn list_alpc<S: System>(what: &Alpc, snapshot: &Snapshot, system: &mut S, out: &mut dyn Write) -> Outcome {
    match what {
        Alpc::All => put(out, &json::alpc(snapshot)),
        Alpc::Port(port) => {
            let port = find_port(port, snapshot)?;
            put(out, &json::port_in_full(port, system.port(port.port).ok().as_ref(), snapshot))
        }
        Alpc::ProcessPorts(name) => {
            let found = find(Some(name), snapshot)?;
            let ports = found.iter().map(|p| json::process_ports(process_id(p), snapshot));
            put(out, &ports.collect::<Vec<_>>())
        }
        Alpc::Connections(port) => {
            put(out, &json::port_in_full(find_connection_port(port, snapshot)?, None, snapshot))
        }
        Alpc::Message(id) => put(out, &json::message(find_message(*id, snapshot)?, snapshot)),
    }
}

/// A listing that failed, as JSON.
#[derive(Serialize)]
struct Refused {
    error: String,
}

/// Prints a value as JSON, in one line.
pub fn put(out: &mut dyn Write, value: &impl Serialize) -> Outcome {
    let text = serde_json::to_string(value).map_err(|error| Failure::Said(format!("JSON: {error}")))?;
    Ok(writeln!(out, "{text}")?)
}

fn run<S: System>(command: &Command, session: &mut Session, system: &mut S, out: &mut dyn Output) -> Outcome {
    match command {
        Command::Nothing => Ok(()),
        Command::Help(topic) => help(topic.as_deref(), out),
        Command::Process(name, detail) => {
            let snapshot = snapshot(system)?;
            for process in find(name.as_ref(), &snapshot)? {
                process_view::write_process(out, process, *detail, &snapshot, &mut |thread| {
                    system.thread(thread).ok()
                })?;
            }
            Ok(())
        }
        Command::Thread(wanted) => {
            let snapshot = snapshot(system)?;
            for thread in find_threads(*wanted, &snapshot)? {
                let facts = system.thread(id(thread.unique_thread)).ok();
                process_view::write_thread(out, thread, facts.as_ref(), &snapshot)?;
            }
            Ok(())
        }
        Command::Wait(wanted) => {
            let snapshot = snapshot(system)?;
            find_threads(*wanted, &snapshot)?;
            Ok(wait_chain::write_waits(out, &Waits::new(&snapshot), *wanted)?)
        }
        Command::Terminal(size) => {
            session.terminal = *size;
            Ok(())
        }
        Command::Debug(command) => debug::run(command, false, &mut session.context, system, out),
        Command::Alpc(what) => alpc(what, &snapshot(system)?, system, out),
        Command::Handle(name) => {
            let snapshot = snapshot(system)?;
            for process in find(Some(name), &snapshot)? {
                let handles =
                    system.handles(process_id(process)).map_err(|s| Failure::Status("handles", s))?;
                system_view::write_handles(out, process_id(process), &handles, &snapshot)?;
            }
            Ok(())
        }
        Command::Vm => {
            let counters = system.counters().map_err(|s| Failure::Status("kernel counters", s))?;
            Ok(system_view::write_vm(out, &counters)?)
        }
        Command::Syscalls => {
            let counters = system.syscalls().map_err(|s| Failure::Status("system-call counters", s))?;
            Ok(system_view::write_syscalls(out, &counters)?)
        }
        Command::Trace(line) => trace_command::run(line, session, system, out),
        Command::Crash => Err(Failure::Status(".crash", system.crash())),
    }
}

fn snapshot<S: System>(system: &mut S) -> Result<Snapshot, Failure> {
    system.snapshot().map_err(|status| Failure::Status("system information", status))
}

/// The processes that are meant; all when no name is given.
pub fn find<'a>(name: Option<&ProcessName>, snapshot: &'a Snapshot) -> Result<Vec<&'a Process>, Failure> {
    let found: Vec<&Process> =
        snapshot.processes().iter().filter(|process| is_meant(process, name)).collect();
    match name {
        Some(ProcessName::Id(id)) if found.is_empty() => Err(format!("no process has the id {id}").into()),
        Some(ProcessName::Name(name)) if found.is_empty() => {
            Err(format!("no process is named '{name}'").into())
        }
        _ => Ok(found),
    }
}

/// The thread with an id, or all.
fn find_threads(wanted: Option<u32>, snapshot: &Snapshot) -> Result<Vec<&SystemThreadInformation>, Failure> {
    let threads = snapshot.processes().iter().flat_map(|process| &process.threads);
    let found: Vec<_> =
        threads.filter(|t| wanted.is_none_or(|id| u64::from(id) == t.unique_thread)).collect();
    if found.is_empty() { Err(Failure::Said("no such thread".into())) } else { Ok(found) }
}

fn is_meant(process: &Process, name: Option<&ProcessName>) -> bool {
    match name {
        None => true,
        Some(ProcessName::Id(id)) => process_id(process) == *id,
        Some(ProcessName::Name(name)) => process_matches(&process.name, name),
    }
}

/// The port that is meant by an id or a name.
fn find_port<'a>(text: &str, snapshot: &'a Snapshot) -> Result<&'a SystemPortInformation, Failure> {
    let found = match number(text, "") {
        Ok(id) => snapshot.port(id),
        Err(_) => {
            snapshot.ports().iter().find(|port| port.name_length > 0 && port_matches(&port_name(port), text))
        }
    };
    found.ok_or_else(|| Failure::Said(format!("no port '{text}'; '!alpc' lists all")))
}

fn find_connection_port<'a>(
    text: &str,
    snapshot: &'a Snapshot,
) -> Result<&'a SystemPortInformation, Failure> {
    let port = find_port(text, snapshot)?;
    match port.kind {
        1 => Ok(port),
        _ => Err(format!("port {} is not a connection port", port.port).into()),
    }
}

fn find_message(id: u32, snapshot: &Snapshot) -> Result<&SystemMessageInformation, Failure> {
    let gone = || Failure::Said(format!("message {id:08x} is neither queued nor pending"));
    snapshot.message(id).ok_or_else(gone)
}

fn alpc<S: System>(what: &Alpc, snapshot: &Snapshot, system: &mut S, out: &mut dyn Write) -> Outcome {
    match what {
        Alpc::All => alpc_view::write_ports(out, snapshot)?,
        Alpc::Port(port) => {
            let port = find_port(port, snapshot)?;
            // A port that has closed meanwhile is shown as it was in the snapshot.
            alpc_view::write_port(out, port, system.port(port.port).ok().as_ref(), snapshot)?;
        }
        Alpc::ProcessPorts(name) => {
            for process in find(Some(name), snapshot)? {
                alpc_view::write_process_ports(out, process_id(process), snapshot)?;
            }
        }
        Alpc::Connections(port) => {
            alpc_view::write_connections(out, find_connection_port(port, snapshot)?, snapshot)?;
        }
        Alpc::Message(id) => alpc_view::write_message(out, find_message(*id, snapshot)?, snapshot)?,
    }
    Ok(())
}

/// The commands with their arguments and what they do.
pub(crate) const HELP: &[(&str, &str)] = &[
    ("!process [0 | PROCESS] [0 | 7]", "processes; 7 shows threads and why each waits"),
    ("!thread [THREAD]", "threads and why each waits"),
    ("!alpc", "all ALPC ports with the depths of their queues"),
    ("!alpc /p PORT", "a port: fields, queued and pending messages, connections"),
    ("!alpc /lpp PROCESS", "the ports a process made, and those it is connected to"),
    ("!alpc /lpc PORT", "the connections of a connection port"),
    ("!alpc /m MESSAGE", "a message (hexadecimal id)"),
    ("!wait [THREAD]", "whom a thread waits for, and so on; names deadlocks"),
    ("!handle PROCESS", "the handles of a process"),
    ("!vm", "memory, objects and event counts of the kernel"),
    ("!syscalls", "how often each system call was made"),
    (".crash", "stop the system with a bugcheck"),
    (".terminal ROWS [COLUMNS] | off", "page and colour for a terminal of this size, or neither"),
    ("help [COMMAND]", "this page"),
];

fn help(topic: Option<&str>, out: &mut dyn Write) -> Outcome {
    let matches = |usage: &str| {
        let verbs = usage.split(' ').next().unwrap_or_default();
        topic.is_none_or(|t| verbs.split('|').any(|verb| verb.eq_ignore_ascii_case(t)))
    };
    let mut found = false;
    if topic == Some("filter") {
        return Ok(write!(out, "{}", trace_command::FILTER_HELP)?);
    }
    for (usage, what) in
        HELP.iter().chain(trace_command::HELP).chain(debug_command::HELP).filter(|(usage, _)| matches(usage))
    {
        writeln!(out, "{usage:<42} {what}")?;
        found = true;
    }
    match topic {
        Some(topic) if !found => Err(format!("there is no command '{topic}'").into()),
        Some(_) => Ok(()),
        None => Ok(writeln!(
            out,
            "PROCESS is an id or an image name, PORT an id or a name; quote what has blanks. Listings take --json."
        )?),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::snapshot;
    use abi::status::{STATUS_ACCESS_DENIED, STATUS_INVALID_CID};
    use abi::trace::{NAME_PROCESS, TRACE_SEND};
    use trace::testing::TraceMemory;

    pub(crate) struct Fake {
        trace: Option<Trace<Vec<u64>>>,
        pub(crate) started: Vec<TraceFilter>,
    }

    impl Fake {
        fn new() -> Self {
            let mut memory = TraceMemory::new(1, 8, 8);
            memory.name(NAME_PROCESS, 99, 4, "gone");
            memory.event(0, 1, |r| (r.event, r.process, r.peer_process) = (TRACE_SEND, 99, 12));
            Self::with_trace(memory)
        }

        pub(crate) fn with_trace(memory: TraceMemory) -> Self {
            Self { trace: Some(memory.trace()), started: Vec::new() }
        }
    }

    impl System for Fake {
        type Memory = Vec<u64>;
        fn snapshot(&mut self) -> NtResult<Snapshot> {
            Ok(snapshot())
        }
        fn handles(&mut self, process: u32) -> NtResult<Vec<SystemHandleEntry>> {
            if process == 20 { Ok(Vec::new()) } else { Err(STATUS_INVALID_CID) }
        }
        fn counters(&mut self) -> NtResult<SystemKernelCounters> {
            Ok(SystemKernelCounters::default())
        }
        fn syscalls(&mut self) -> NtResult<Vec<SystemSyscallCounter>> {
            Ok(Vec::new())
        }
        fn trace(&self) -> Option<&Trace<Vec<u64>>> {
            self.trace.as_ref()
        }
        fn trace_start(&mut self, filter: &TraceFilter) -> NtResult {
            self.started.push(*filter);
            Ok(())
        }
        fn trace_stop(&mut self) -> NtResult {
            Err(STATUS_ACCESS_DENIED)
        }
        fn crash(&mut self) -> NtStatus {
            STATUS_ACCESS_DENIED
        }
        fn read(&mut self, process: u32, address: u64, to: &mut [u8]) -> NtResult<usize> {
            crate::testing::read(process, address, to)
        }
        fn read_physical(&mut self, address: u64, to: &mut [u8]) -> NtResult<usize> {
            crate::testing::read_physical(address, to)
        }
        fn modules(&mut self) -> NtResult<Vec<SysdbgModule>> {
            Ok(Vec::new())
        }
        fn processor(&mut self, processor: u32) -> NtResult<SysdbgProcessor> {
            if processor < 2 { Ok(SysdbgProcessor::default()) } else { Err(STATUS_INVALID_CID) }
        }
        fn process(&mut self, _process: u32) -> NtResult<SysdbgProcess> {
            Ok(SysdbgProcess { directory_base: 0x1000, ..Default::default() })
        }
        fn thread(&mut self, thread: u32) -> NtResult<SysdbgThread> {
            crate::testing::thread(thread)
        }
        fn port(&mut self, _port: u32) -> NtResult<SysdbgPort> {
            Ok(SysdbgPort::default())
        }
        fn regions(&mut self, _process: u32) -> NtResult<Vec<MemoryBasicInformation>> {
            Ok(Vec::from([MemoryBasicInformation { region_size: 0x2000, ..Default::default() }]))
        }
        fn token(&mut self, _process: u32) -> NtResult<TokenFacts> {
            Err(STATUS_ACCESS_DENIED)
        }
        fn object(&mut self, path: &str) -> NtResult<Named> {
            Ok(Named { path: path.into(), ..Default::default() })
        }
        fn tsc(&self) -> u64 {
            0
        }
        fn break_in(&mut self) -> NtResult {
            Err(STATUS_ACCESS_DENIED)
        }
        fn reboot(&mut self) -> NtResult {
            Err(STATUS_ACCESS_DENIED)
        }
    }

    pub(crate) fn with(fake: &mut Fake, session: &mut Session, line: &str) -> (u32, String) {
        let mut out = String::new();
        let status = execute(line, session, fake, &mut out);
        (status, out)
    }

    fn go(line: &str) -> (u32, String) {
        with(&mut Fake::new(), &mut Session::default(), line)
    }

    #[test]
    fn every_command_in_the_help_runs() {
        let (status, text) = go("help");
        assert_eq!(status, 0);
        let lines = HELP.len() + trace_command::HELP.len() + debug_command::HELP.len() + 1;
        assert_eq!(text.lines().count(), lines);
        for line in [
            "!process 0 0",
            "!process cmd 7",
            "!thread",
            "!thread 21",
            "!alpc",
            "!alpc /p 8",
            "!alpc /p x",
            "!alpc /lpp cmd",
            "!alpc /lpc \\rpc",
            "!alpc /lpc 8",
            "!alpc /m 42",
            "!handle cmd",
            "!vm",
            "!syscalls",
            "!wait",
            "!wait 21",
            ".terminal 24 80",
            ".terminal off",
            "!object \\x",
            "!running",
            "!ready",
            "!timer",
            "!pcr",
            "!pcr 1",
            "!idt",
            "!pte ffff800000000000",
            ".process cmd",
            "!vad cmd",
            ".thread",
            ".thread 21",
            "db 2000",
            "dw 2000 L4",
            "dd ffffffffffffffff",
            "dq 0",
            "du 2000",
            "u 2000",
            "k 21",
            "lm",
            "ln 2000",
            "trace on",
            "trace show",
            "trace status",
            "help trace",
            "",
        ] {
            let (status, text) = go(line);
            assert_eq!(status, u32::from(line == "!alpc /lpc \\rpc"), "{line}: {text}");
        }
    }

    #[test]
    fn every_listing_is_valid_json() {
        for line in [
            "!process 0 0 --json",
            "!process cmd 7 --json",
            "!thread --json",
            "!thread 21 --json",
            "!wait --json",
            "!wait 21 --json",
            "!alpc --json",
            "!alpc /g --json",
            "!alpc /p 8 --json",
            "!alpc /lpp cmd --json",
            "!alpc /lpc 8 --json",
            "!alpc /m 42 --json",
            "!handle cmd --json",
            "!vm --json",
            "!syscalls --json",
            "!object \\x --json",
            "!running --json",
            "!ready --json",
            "!timer --json",
            "!pcr --json",
            "!idt --json",
            "!pte ffff800000000000 --json",
            "!vad cmd --json",
            "u 2000 --json",
            "k 21 --json",
            "lm --json",
            "ln 2000 --json",
        ] {
            let (status, text) = go(line);
            assert_eq!(status, 0, "{line}: {text}");
            let value: serde_json::Value = serde_json::from_str(&text).expect(line);
            assert!(value.is_array() || value.is_object(), "{line}: {text}");
        }
        let (_, text) = go("!alpc /p 8 --json");
        let port: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(port["name"], "\\RPC Control\\x");
        assert_eq!(port["messages"][0]["queue_type"], "ALPC_MSGQUEUE_MAIN");
        assert_eq!(port["connections"][0]["port"], 10);
    }

    #[test]
    fn failures_are_said_and_have_a_status() {
        for (line, expected) in [
            ("frob", "unknown command 'frob'; 'help' lists the commands\n"),
            ("!process 5", "no process has the id 5\n"),
            ("!process nobody", "no process is named 'nobody'\n"),
            ("!thread 5", "no such thread\n"),
            ("!alpc /p 77", "no port '77'; '!alpc' lists all\n"),
            ("!alpc /lpc 9", "port 9 is not a connection port\n"),
            ("!alpc /m 1 --json", "{\"error\":\"message 00000001 is neither queued nor pending\"}\n"),
            ("!alpc /m 1", "message 00000001 is neither queued nor pending\n"),
            ("!handle console", "handles: STATUS_INVALID_CID (0xC000000B)\n"),
            (".break", ".break: STATUS_ACCESS_DENIED (0xC0000022)\n"),
            ("g", "the system is running; .break stops it\n"),
            ("!pcr 2", "there is no such processor\n"),
            ("!object 5", "nobody has a handle to an object 5\n"),
            ("!pte 1000", "a user address needs a process: .process PROCESS\n"),
            ("k", "which thread? .thread THREAD chooses one\n"),
            ("k 99", "no such thread\n"),
            ("x nt!*", "there is no module 'nt'; lm lists them\n"),
            ("trace off", "trace off: STATUS_ACCESS_DENIED (0xC0000022)\n"),
            (".crash", ".crash: STATUS_ACCESS_DENIED (0xC0000022)\n"),
            ("help frob", "there is no command 'frob'\n"),
        ] {
            assert_eq!(go(line), (1, expected.into()), "{line}");
        }
    }

    #[test]
    fn tracing_begins_anew_and_passes_its_filter_on() {
        let (mut fake, mut session) = (Fake::new(), Session::default());
        assert!(with(&mut fake, &mut session, "trace show gone").1.contains("gone(99:0)"));
        let (status, text) = with(&mut fake, &mut session, "trace on alpcping port=x");
        assert_eq!(
            (status, text.as_str()),
            (0, "Tracing is on, of processes named 'alpcping', on ports named 'x'\n")
        );
        assert_eq!(&fake.started[0].process[..9], b"alpcping\0");
        assert_eq!(&fake.started[0].port[..2], b"x\0");
        assert_eq!(with(&mut fake, &mut session, "trace show").1, "0 records, none lost\n");
    }

    #[test]
    fn without_trace_memory_the_rest_works() {
        let mut fake = Fake { trace: None, started: Vec::new() };
        let mut session = Session::default();
        for line in ["trace on", "trace show", "trace status"] {
            assert_eq!(with(&mut fake, &mut session, line).0, 1);
        }
        assert_eq!(with(&mut fake, &mut session, "!process 0 0").0, 0);
    }
}
