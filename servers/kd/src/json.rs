//! What `--json` prints: one JSON array or object per listing, with ids as numbers and names as text.
//!
//! The structures here are the format; a field that a listing shows as text has the same words in it.

use crate::alpc_view::{kind, queue_name, state as port_state, type_text};
use crate::process_view::{full_reason, state};
use crate::snapshot::{Snapshot, id, port_name, process_id, type_name};
use crate::system_view;
use abi::info::{
    SystemHandleEntry, SystemKernelCounters, SystemMessageInformation, SystemPortInformation,
    SystemSyscallCounter, SystemThreadInformation,
};
use abi::kd::{SysdbgPort, SysdbgThread};
use abi::syscalls::syscall_name;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use libnt::info::Process;
use serde::Serialize;

/// Kind number of client communication ports.
const CLIENT: u32 = 3;

/// A thread.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadJson {
    thread: u32,
    process: u32,
    image: String,
    priority: i32,
    base_priority: i32,
    state: String,
    start_address: u64,
    context_switches: u32,
    user_time_100ns: i64,
    /// Why it waits, as in the listing.
    waits: Option<String>,
    wait_port: Option<u32>,
    wait_message: Option<u32>,
}

/// A thread.
pub fn thread(
    thread: &SystemThreadInformation,
    facts: Option<&SysdbgThread>,
    snapshot: &Snapshot,
) -> ThreadJson {
    ThreadJson {
        thread: id(thread.unique_thread),
        process: id(thread.unique_process),
        image: snapshot.process_name(id(thread.unique_process)).into(),
        priority: thread.priority,
        base_priority: thread.base_priority,
        state: state(thread),
        start_address: thread.start_address,
        context_switches: thread.context_switches,
        user_time_100ns: thread.user_time,
        waits: Some(full_reason(thread, facts, snapshot)).filter(|text| !text.is_empty()),
        wait_port: (thread.wait_port != 0).then_some(thread.wait_port),
        wait_message: (thread.wait_message != 0).then_some(thread.wait_message),
    }
}

/// A process; its threads where the detail asks for them.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessJson {
    process: u32,
    parent: u32,
    session: u32,
    image: String,
    handles: u32,
    thread_count: u32,
    base_priority: i32,
    user_time_100ns: i64,
    virtual_size: u64,
    committed: u64,
    working_set: u64,
    quota_charged: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<Vec<ThreadJson>>,
}

/// A process.
pub fn process(
    process: &Process,
    detail: u32,
    snapshot: &Snapshot,
    facts: &mut dyn FnMut(u32) -> Option<SysdbgThread>,
) -> ProcessJson {
    let info = &process.information;
    let threads = || {
        let threads = process.threads.iter();
        threads.map(|t| thread(t, facts(id(t.unique_thread)).as_ref(), snapshot)).collect()
    };
    ProcessJson {
        process: process_id(process),
        parent: id(info.inherited_from_unique_process_id),
        session: info.session_id,
        image: process.name.clone(),
        handles: info.handle_count,
        thread_count: info.number_of_threads,
        base_priority: info.base_priority,
        user_time_100ns: info.user_time,
        virtual_size: info.virtual_size,
        committed: info.private_page_count,
        working_set: info.working_set_size,
        quota_charged: info.quota[3],
        threads: (detail >= crate::process_view::DETAIL_THREADS).then(threads),
    }
}

/// A message.
#[derive(Clone, Debug, Serialize)]
pub struct MessageJson {
    message_id: u32,
    #[serde(rename = "type")]
    message_type: String,
    data_length: u32,
    owner_process: u32,
    owner_thread: u32,
    waiting_thread: Option<u32>,
    queue_type: &'static str,
    queue_port: u32,
    queue_port_name: String,
    queue_port_owner_process: Option<u32>,
    connection_port: u32,
    server_thread: Option<u32>,
}

/// A message.
pub fn message(message: &SystemMessageInformation, snapshot: &Snapshot) -> MessageJson {
    let some = |id: u32| (id != 0).then_some(id);
    MessageJson {
        message_id: message.message_id,
        message_type: type_text(u16::try_from(message.message_type & 0xFFFF).unwrap_or(0)),
        data_length: message.data_length,
        owner_process: message.process,
        owner_thread: message.thread,
        waiting_thread: some(message.waiting_thread),
        queue_type: queue_name(message.queue),
        queue_port: message.queue_port,
        queue_port_name: snapshot.name_of_port(message.queue_port),
        queue_port_owner_process: snapshot.port(message.queue_port).map(|port| port.owner_process),
        connection_port: message.connection_port,
        server_thread: some(message.server_thread),
    }
}

/// A port; its messages where one port was asked for.
#[derive(Clone, Debug, Serialize)]
pub struct PortJson {
    port: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    name: String,
    connection_port: u32,
    owner_process: u32,
    owner_image: String,
    peer_port: Option<u32>,
    peer_process: Option<u32>,
    state: &'static str,
    flags: u32,
    sequence_no: u32,
    handles: u32,
    waiting_threads: u32,
    main_queue: u32,
    pending_queue: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<MessageJson>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connections: Option<Vec<PortJson>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    details: Option<PortDetails>,
}

/// What only a debugger is told of a port.
#[derive(Clone, Debug, Serialize)]
pub struct PortDetails {
    object: u64,
    context: u64,
    completion_port: Option<u64>,
    completion_list: bool,
    large_queue: u32,
    canceled_queue: u32,
    max_message_length: u32,
    reserves: u32,
    sections: u32,
    views: u32,
    security: u32,
}

impl From<&SysdbgPort> for PortDetails {
    fn from(facts: &SysdbgPort) -> Self {
        Self {
            object: facts.object,
            context: facts.context,
            completion_port: (facts.completion_port != 0).then_some(facts.completion_port),
            completion_list: facts.completion_list != 0,
            large_queue: facts.large_queue,
            canceled_queue: facts.canceled_queue,
            max_message_length: facts.max_message_length,
            reserves: facts.reserves,
            sections: facts.sections,
            views: facts.views,
            security: facts.security,
        }
    }
}

/// A port in a list.
pub fn port(port: &SystemPortInformation, snapshot: &Snapshot) -> PortJson {
    let some = |id: u32| (id != 0).then_some(id);
    PortJson {
        port: port.port,
        kind: kind(port.kind),
        name: port_name(port),
        connection_port: port.connection_port,
        owner_process: port.owner_process,
        owner_image: snapshot.process_name(port.owner_process).into(),
        peer_port: some(port.peer_port),
        peer_process: some(port.peer_process),
        state: port_state(port),
        flags: port.flags,
        sequence_no: port.sequence_no,
        handles: port.handles,
        waiting_threads: port.waiters,
        main_queue: port.main_queue,
        pending_queue: port.pending_queue,
        messages: None,
        connections: None,
        details: None,
    }
}

/// A port with its messages and, for a connection port, the client ports of its connections.
pub fn port_in_full(
    wanted: &SystemPortInformation,
    facts: Option<&SysdbgPort>,
    snapshot: &Snapshot,
) -> PortJson {
    let messages = snapshot.messages().iter().filter(|m| m.queue_port == wanted.port);
    let clients = snapshot.ports().iter().filter(|p| p.kind == CLIENT && p.connection_port == wanted.port);
    PortJson {
        messages: Some(messages.map(|m| message(m, snapshot)).collect()),
        connections: (wanted.kind == 1).then(|| clients.map(|p| port(p, snapshot)).collect()),
        details: facts.map(PortDetails::from),
        ..port(wanted, snapshot)
    }
}

/// `!alpc --json`.
#[derive(Clone, Debug, Serialize)]
pub struct AlpcJson {
    ports: Vec<PortJson>,
    messages: Vec<MessageJson>,
}

/// Every port and message.
pub fn alpc(snapshot: &Snapshot) -> AlpcJson {
    AlpcJson {
        ports: snapshot.ports().iter().map(|p| port(p, snapshot)).collect(),
        messages: snapshot.messages().iter().map(|m| message(m, snapshot)).collect(),
    }
}

/// The ports of a process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessPortsJson {
    process: u32,
    image: String,
    created: Vec<PortJson>,
    connected: Vec<PortJson>,
}

/// The ports that a process made, and its sides of connections to others.
pub fn process_ports(process: u32, snapshot: &Snapshot) -> ProcessPortsJson {
    let of = |wanted: u32| {
        let own = snapshot.ports().iter().filter(move |p| p.owner_process == process && p.kind == wanted);
        own.map(|p| port(p, snapshot)).collect()
    };
    ProcessPortsJson {
        process,
        image: snapshot.process_name(process).into(),
        created: of(1),
        connected: of(CLIENT),
    }
}

/// A handle.
#[derive(Clone, Debug, Serialize)]
pub struct HandleJson {
    process: u32,
    handle: u64,
    object: u64,
    access: u32,
    attributes: String,
    #[serde(rename = "type")]
    object_type: &'static str,
    detail: String,
}

/// A handle.
pub fn handle(process: u32, entry: &SystemHandleEntry, snapshot: &Snapshot) -> HandleJson {
    HandleJson {
        process,
        handle: entry.handle,
        object: entry.object_id,
        access: entry.granted_access,
        attributes: system_view::attributes(entry.attributes),
        object_type: type_name(entry.object_type),
        detail: system_view::detail(entry, snapshot),
    }
}

/// What the kernel holds.
#[derive(Clone, Debug, Serialize)]
pub struct VmJson {
    page_size: u32,
    pages: u64,
    pages_available: u64,
    pages_stack_cache: u64,
    heap_bytes: u64,
    heap_blocks: u64,
    handles: u64,
    objects: BTreeMap<&'static str, u64>,
    processes: u64,
    threads: u64,
    alpc_messages: u64,
    alpc_fast: u64,
    system_calls: u64,
    context_switches: u64,
    interrupts: u64,
    page_faults: u64,
    tlb_shootdowns: u64,
    features: String,
}

/// What the kernel holds.
pub fn vm(counters: &SystemKernelCounters) -> VmJson {
    let objects = (0u32..).zip(counters.objects).skip(1).filter(|(number, _)| type_name(*number) != "?");
    VmJson {
        page_size: 4096,
        pages: counters.frames_total,
        pages_available: counters.frames_free,
        pages_stack_cache: counters.frames_cached,
        heap_bytes: counters.heap_bytes,
        heap_blocks: counters.heap_blocks,
        handles: counters.handles,
        objects: objects.map(|(number, count)| (type_name(number), count)).collect(),
        processes: counters.processes,
        threads: counters.threads,
        alpc_messages: counters.messages,
        alpc_fast: counters.alpc_fast,
        system_calls: counters.system_calls,
        context_switches: counters.context_switches,
        interrupts: counters.interrupts,
        page_faults: counters.page_faults,
        tlb_shootdowns: counters.tlb_shootdowns,
        features: system_view::features(counters.features),
    }
}

/// Calls of a system call.
#[derive(Clone, Debug, Serialize)]
pub struct SyscallJson {
    number: u64,
    name: &'static str,
    calls: u64,
}

/// Calls of a system call.
pub fn syscall(counter: &SystemSyscallCounter) -> SyscallJson {
    SyscallJson {
        number: counter.number,
        name: u32::try_from(counter.number).ok().and_then(syscall_name).unwrap_or("?"),
        calls: counter.calls,
    }
}
