//! `!process` and `!thread`: processes, threads, and why each thread waits.

use crate::snapshot::{Snapshot, id, port_name, type_name};
use abi::info::{
    SystemThreadInformation, WAIT_REASON_DELAY, WAIT_REASON_EXECUTIVE, WAIT_REASON_LPC_RECEIVE,
    WAIT_REASON_LPC_REPLY, WAIT_REASON_QUEUE, WAIT_REASON_SUSPENDED, WAIT_REASON_USER_REQUEST,
};
use abi::kd::{SysdbgThread, SysdbgWait};
use abi::ob::ty;
use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};
use libnt::info::Process;

/// Detail level from which on threads are shown.
pub const DETAIL_THREADS: u32 = 1;

/// Prints a process in one line, and with detail what it uses and its threads. `facts` is what only a debugger is told of a
/// thread.
pub fn write_process(
    out: &mut dyn Write,
    process: &Process,
    detail: u32,
    snapshot: &Snapshot,
    facts: &mut dyn FnMut(u32) -> Option<SysdbgThread>,
) -> fmt::Result {
    let info = &process.information;
    writeln!(
        out,
        "PROCESS {:<6} SessionId: {}  Cid: {:04x}  ParentCid: {:04x}  HandleCount: {:<4} Threads: {:<3} Image: {}",
        info.unique_process_id,
        info.session_id,
        info.unique_process_id,
        info.inherited_from_unique_process_id,
        info.handle_count,
        info.number_of_threads,
        process.name,
    )?;
    if detail < DETAIL_THREADS {
        return Ok(());
    }
    writeln!(
        out,
        "    BasePriority: {}  UserTime: {}  PageFaults: {}",
        info.base_priority,
        seconds(info.user_time),
        info.page_fault_count
    )?;
    writeln!(
        out,
        "    VirtualSize: {} KiB  Committed: {} KiB  WorkingSet: {} KiB  QuotaCharged: {} bytes",
        info.virtual_size / 1024,
        info.private_page_count / 1024,
        info.working_set_size / 1024,
        info.quota[3],
    )?;
    for thread in &process.threads {
        write_thread(out, thread, facts(id(thread.unique_thread)).as_ref(), snapshot)?;
    }
    Ok(())
}

/// Prints a thread: where it is, and why it waits.
pub fn write_thread(
    out: &mut dyn Write,
    thread: &SystemThreadInformation,
    facts: Option<&SysdbgThread>,
    snapshot: &Snapshot,
) -> fmt::Result {
    writeln!(
        out,
        "    THREAD {:<6} Cid: {:04x}.{:04x}  Process: {}  Priority: {}  BasePriority: {}  State: {}",
        thread.unique_thread,
        thread.unique_process,
        thread.unique_thread,
        snapshot.process_name(id(thread.unique_process)),
        thread.priority,
        thread.base_priority,
        state(thread),
    )?;
    writeln!(
        out,
        "        StartAddress: {:#x}  ContextSwitches: {}  UserTime: {}",
        thread.start_address,
        thread.context_switches,
        seconds(thread.user_time),
    )?;
    if let Some(facts) = facts {
        writeln!(
            out,
            "        Object: {:016x}  Teb: {:x}  KernelStack: {:x}",
            facts.object, facts.teb, facts.kernel_stack
        )?;
    }
    match full_reason(thread, facts, snapshot) {
        reason if reason.is_empty() => Ok(()),
        reason => writeln!(out, "        {reason}"),
    }
}

/// Why a thread waits: for ALPC as [`reason`] says it, else for which objects.
pub fn full_reason(
    thread: &SystemThreadInformation,
    facts: Option<&SysdbgThread>,
    snapshot: &Snapshot,
) -> String {
    match (reason(thread, snapshot), facts) {
        (reason, Some(facts)) if reason.is_empty() && thread.thread_state == STATE_WAITING => {
            waiting_for_objects(facts, snapshot)
        }
        (reason, _) => reason,
    }
}

fn waiting_for_objects(facts: &SysdbgThread, snapshot: &Snapshot) -> String {
    let count = facts.wait_count as usize;
    let mut text = match (count, facts.wait_all != 0, facts.deadline) {
        (0, _, u64::MAX) => return String::new(),
        (0, ..) => return "Waiting for a time-out".into(),
        (1, ..) => String::from("Waiting for "),
        (_, true, _) => format!("Waiting for all of {count} objects: "),
        (_, false, _) => format!("Waiting for any of {count} objects: "),
    };
    for (place, wait) in facts.waits.iter().take(count).enumerate() {
        text += if place > 0 { ", " } else { "" };
        text += &object(wait, snapshot);
    }
    if count > facts.waits.len() {
        text += &format!(" and {} more", count - facts.waits.len());
    }
    if facts.deadline != u64::MAX {
        text += ", or a time-out";
    }
    text
}

fn object(wait: &SysdbgWait, snapshot: &Snapshot) -> String {
    if wait.handle == 0 {
        return "an object without a handle".into();
    }
    let handle = wait.handle;
    match u8::try_from(wait.object_type).unwrap_or(0) {
        ty::PROCESS => {
            let name = snapshot.process_name(wait.detail);
            format!("process {} {name} (handle {handle:#x})", wait.detail)
        }
        ty::THREAD => format!("thread {} (handle {handle:#x})", wait.detail),
        ty::PORT => format!("ALPC port {} (handle {handle:#x})", port(wait.detail, snapshot)),
        _ => format!("{} {} (handle {handle:#x})", type_name(wait.object_type), wait.object_id),
    }
}

fn seconds(time: i64) -> String {
    let time = time.unsigned_abs();
    format!("{}.{:03} s", time / 10_000_000, time / 10_000 % 1000)
}

const STATE_WAITING: u32 = 5;

/// A thread's state, with its wait reason.
pub fn state(thread: &SystemThreadInformation) -> String {
    match thread.thread_state {
        0 => "Initialized".into(),
        1 => "Ready".into(),
        2 => "Running".into(),
        4 => "Terminated".into(),
        STATE_WAITING => format!("Waiting ({})", reason_name(thread.wait_reason)),
        other => format!("state {other}"),
    }
}

fn reason_name(reason: u32) -> String {
    match reason {
        WAIT_REASON_EXECUTIVE => "Executive".into(),
        WAIT_REASON_DELAY => "DelayExecution".into(),
        WAIT_REASON_SUSPENDED => "Suspended".into(),
        WAIT_REASON_USER_REQUEST => "UserRequest".into(),
        WAIT_REASON_QUEUE => "WrQueue".into(),
        WAIT_REASON_LPC_RECEIVE => "WrLpcReceive".into(),
        WAIT_REASON_LPC_REPLY => "WrLpcReply".into(),
        other => format!("reason {other}"),
    }
}

/// Why a thread waits, where there is more to say than the reason's name.
pub fn reason(thread: &SystemThreadInformation, snapshot: &Snapshot) -> String {
    if thread.thread_state != STATE_WAITING {
        return String::new();
    }
    match thread.wait_reason {
        WAIT_REASON_LPC_REPLY => waiting_for_reply(thread, snapshot),
        WAIT_REASON_LPC_RECEIVE => {
            format!("Waiting for a message at port {}", port(thread.wait_port, snapshot))
        }
        _ => String::new(),
    }
}

/// WinDbg's most useful line: which message, in whose queue, who owns it.
fn waiting_for_reply(thread: &SystemThreadInformation, snapshot: &Snapshot) -> String {
    let mut text = format!("Waiting for reply to ALPC message {:08x}", thread.wait_message);
    let message = snapshot.message(thread.wait_message);
    let queue = message.map_or(thread.wait_port, |message| message.queue_port);
    let what = match message.map(|message| message.queue) {
        Some(2) => "received at",
        _ => "queued at",
    };
    text += &format!(": {what} port {}", port(queue, snapshot));
    let Some(info) = snapshot.port(queue) else { return text };
    let owner = snapshot.port(info.connection_port).unwrap_or(info).owner_process;
    text += &format!(": owned by process {owner} {}", snapshot.process_name(owner));
    if let Some(server) = message.map(|message| message.server_thread).filter(|thread| *thread != 0) {
        text += &format!(" (thread {server})");
    }
    text
}

/// A port's id with the name of its connection port, or with the process that serves one without a name.
pub fn port(number: u32, snapshot: &Snapshot) -> String {
    let Some(named) = snapshot.port(number).map(|port| snapshot.port(port.connection_port).unwrap_or(port))
    else {
        return format!("{number}");
    };
    match port_name(named) {
        name if name.is_empty() => format!("{number} of {}", snapshot.process_name(named.owner_process)),
        name => format!("{number} ({name})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::snapshot;

    fn show(process: u32, detail: u32) -> String {
        let snapshot = snapshot();
        let mut out = String::new();
        write_process(&mut out, snapshot.process(process).unwrap(), detail, &snapshot, &mut |_| None)
            .unwrap();
        out
    }

    #[test]
    fn one_line() {
        assert_eq!(
            show(12, 0),
            "PROCESS 12     SessionId: 0  Cid: 000c  ParentCid: 0004  HandleCount: 9    Threads: 1   Image: console\n"
        );
    }

    #[test]
    fn a_thread_says_why_it_waits() {
        assert_eq!(
            show(20, 7),
            "\
PROCESS 20     SessionId: 0  Cid: 0014  ParentCid: 0004  HandleCount: 9    Threads: 2   Image: cmd
    BasePriority: 8  UserTime: 1.250 s  PageFaults: 0
    VirtualSize: 128 KiB  Committed: 64 KiB  WorkingSet: 0 KiB  QuotaCharged: 0 bytes
    THREAD 21     Cid: 0014.0015  Process: cmd  Priority: 8  BasePriority: 8  State: Waiting (WrLpcReply)
        StartAddress: 0x401000  ContextSwitches: 3  UserTime: 0.000 s
        Waiting for reply to ALPC message 00000042: queued at port 8 (\\RPC Control\\x): owned by process 12 console
    THREAD 22     Cid: 0014.0016  Process: cmd  Priority: 8  BasePriority: 8  State: Waiting (DelayExecution)
        StartAddress: 0x401000  ContextSwitches: 3  UserTime: 0.000 s
"
        );
        assert!(show(12, 7).ends_with("        Waiting for a message at port 8 (\\RPC Control\\x)\n"));
    }

    #[test]
    fn a_wait_for_objects_names_them() {
        let snapshot = snapshot();
        let waits = |object_type: u8, detail| SysdbgWait {
            handle: 0x24,
            object_id: 9,
            object_type: object_type.into(),
            detail,
        };
        let mut facts = SysdbgThread { wait_count: 3, deadline: u64::MAX, ..SysdbgThread::default() };
        facts.waits[0] = waits(ty::EVENT, 0);
        facts.waits[1] = waits(ty::PROCESS, 12);
        let thread = SystemThreadInformation { wait_reason: 6, ..snapshot.process(20).unwrap().threads[1] };
        let text = |facts: &SysdbgThread| full_reason(&thread, Some(facts), &snapshot);
        assert_eq!(
            text(&facts),
            "Waiting for any of 3 objects: Event 9 (handle 0x24), process 12 console (handle 0x24), \
             an object without a handle"
        );
        (facts.wait_count, facts.deadline) = (1, 5);
        assert_eq!(text(&facts), "Waiting for Event 9 (handle 0x24), or a time-out");
        facts.wait_count = 0;
        assert_eq!(text(&facts), "Waiting for a time-out");
        facts.wait_count = 20;
        assert!(text(&facts).contains("an object without a handle and 12 more"));
    }

    #[test]
    fn a_received_message_names_the_server_thread() {
        let snapshot = snapshot();
        let messages = alloc::vec![abi::info::SystemMessageInformation {
            queue: 2,
            server_thread: 13,
            ..snapshot.messages()[0]
        }];
        let snapshot = Snapshot::new(snapshot.processes().to_vec(), snapshot.ports().to_vec(), messages);
        let thread = &snapshot.process(20).unwrap().threads[0];
        assert_eq!(
            reason(thread, &snapshot),
            "Waiting for reply to ALPC message 00000042: received at port 8 (\\RPC Control\\x): \
             owned by process 12 console (thread 13)"
        );
    }

    #[test]
    fn what_is_gone_is_not_invented() {
        let snapshot = snapshot();
        let thread = SystemThreadInformation {
            wait_message: 0x99,
            wait_port: 77,
            ..snapshot.process(20).unwrap().threads[0]
        };
        assert_eq!(
            reason(&thread, &snapshot),
            "Waiting for reply to ALPC message 00000099: queued at port 77"
        );
    }
}
