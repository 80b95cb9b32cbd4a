//! NtQuerySystemInformation.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::{OK, SysResult, user};
use crate::alpc::port::{self, Port};
use crate::arch::{cpu, percpu, time};
use crate::ke::sched;
use crate::kref::Ref;
use crate::mm::{frames, heap, kstack, tlb};
use crate::ob::handles;
use crate::ps::ids;
use crate::ps::process::{self, Process};
use crate::ps::thread::{self, Thread};
use abi::NtStatus;
use abi::arg::{In, InOut, Out};
use abi::info::*;
use abi::mm::*;
use abi::ob::UnicodeString;
use abi::status::*;
use abi::syscalls::syscalls;
use antares_core::alpc::Role;
use antares_core::dispatch::State;
use core::sync::atomic::{AtomicU32, Ordering};
use zerocopy::{Immutable, IntoBytes};

/// Processor time of a process in 100 ns.
pub fn process_time(process: &Process) -> i64 {
    let mut ticks = process.past_ticks.load(Ordering::Relaxed);
    process.for_threads(|thread| ticks += thread.run_ticks.load(Ordering::Relaxed));
    time::ticks_to_100ns(ticks) as i64
}

/// Writes records into the caller's buffer while they fit, and counts what is needed.
struct Writer {
    base: u64,
    room: u64,
    used: u64,
    fits: bool,
}

impl Writer {
    fn new(buffer: InOut<u8>, length: u32) -> Self {
        Self { base: buffer.address(), room: u64::from(length), used: 0, fits: true }
    }

    fn at(&self) -> u64 {
        self.base.wrapping_add(self.used)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), NtStatus> {
        if self.used + bytes.len() as u64 > self.room {
            self.fits = false;
        } else if self.fits {
            user::write_bytes(self.at(), bytes)?;
        }
        self.used += bytes.len() as u64;
        Ok(())
    }

    fn record<T: IntoBytes + Immutable>(&mut self, record: &T) -> Result<(), NtStatus> {
        self.bytes(record.as_bytes())
    }

    fn finish(self, length: Out<u32>) -> SysResult {
        user::write_opt(length, &(self.used as u32))?;
        if self.fits { OK } else { Err(STATUS_INFO_LENGTH_MISMATCH) }
    }
}

pub fn NtQuerySystemInformation(
    SystemInformationClass: u32,
    SystemInformation: InOut<u8>,
    SystemInformationLength: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let mut writer = Writer::new(SystemInformation, SystemInformationLength);
    match SystemInformationClass {
        SYSTEM_BASIC_INFORMATION => writer.record(&basic())?,
        SYSTEM_PROCESS_INFORMATION => processes(&mut writer)?,
        SYSTEM_KERNEL_COUNTERS => writer.record(&counters())?,
        SYSTEM_PORT_INFORMATION => {
            let mut from = 0;
            while let Some((port, next)) = port::next_port(from) {
                writer.record(&describe_port(&port))?;
                sched::preemption_point();
                from = next;
            }
        }
        SYSTEM_HANDLE_INFORMATION => {
            if SystemInformationLength < 8 {
                return Err(STATUS_INFO_LENGTH_MISMATCH);
            }
            let id = user::read(In::<u64>::at(SystemInformation.address()))?;
            let process = ids::process(id).ok_or(STATUS_INVALID_CID)?;
            handles_of(&process, &mut writer)?;
        }
        SYSTEM_SYSCALL_COUNTERS => {
            for call in syscalls() {
                let calls = percpu::sum(|block| &block.syscalls[call.number as usize]);
                writer.record(&SystemSyscallCounter { number: u64::from(call.number), calls })?;
            }
        }
        SYSTEM_MESSAGE_INFORMATION => messages(&mut writer)?,
        _ => return Err(STATUS_INVALID_INFO_CLASS),
    }
    writer.finish(ReturnLength)
}

fn basic() -> SystemBasicInformation {
    let (total, _) = frames::counts();
    SystemBasicInformation {
        timer_resolution: 100_000,
        page_size: PAGE_SIZE as u32,
        number_of_physical_pages: total as u32,
        highest_physical_page: total as u32,
        allocation_granularity: ALLOCATION_GRANULARITY as u32,
        minimum_user_mode_address: USER_MIN,
        maximum_user_mode_address: USER_MAX - 1,
        active_processors_affinity_mask: super::thread::online_mask(),
        number_of_processors: percpu::count() as u8,
        ..SystemBasicInformation::default()
    }
}

fn counters() -> SystemKernelCounters {
    let (frames_total, frames_free) = frames::counts();
    let (heap_bytes, heap_blocks) = heap::usage();
    let mut messages = 0;
    let mut from = 0;
    while let Some((port, next)) = port::next_port(from) {
        if port.role == Role::Connection {
            messages += port.group.lock().message_count() as u64;
        }
        from = next;
    }
    let mut system_calls = 0;
    for call in syscalls() {
        system_calls += percpu::sum(|block| &block.syscalls[call.number as usize]);
    }
    SystemKernelCounters {
        frames_total,
        frames_free,
        frames_cached: kstack::kept_frames(),
        heap_bytes,
        heap_blocks,
        handles: handles::TOTAL.load(Ordering::Relaxed),
        objects: crate::ob::alive(),
        processes: u64::from(process::ALIVE.load(Ordering::Relaxed)),
        threads: u64::from(thread::ALIVE.load(Ordering::Relaxed)),
        messages,
        system_calls,
        context_switches: sched::lock().switch_count(),
        interrupts: percpu::sum(|block| &block.interrupts),
        page_faults: percpu::sum(|block| &block.page_faults),
        tlb_shootdowns: tlb::count(),
        alpc_fast: percpu::sum(|block| &block.alpc_fast),
        tsc_boot: crate::tsc_boot(),
        tsc_frequency: time::tsc_frequency(),
        idle_ticks: percpu::sum(|block| &block.idle_ticks),
        features: cpu::features().bits() & 0x1FF,
    }
}

fn processes(writer: &mut Writer) -> Result<(), NtStatus> {
    let mut from = 0;
    let mut next = ids::next_process(from);
    while let Some((process, after)) = next {
        from = after;
        next = ids::next_process(from);
        describe_process(&process, next.is_none(), writer)?;
    }
    Ok(())
}

fn describe_process(process: &Ref<Process>, last: bool, writer: &mut Writer) -> Result<(), NtStatus> {
    const MOST: usize = 64;
    let mut threads = heapless::Vec::<Ref<Thread>, MOST>::new();
    process.for_threads(|thread| {
        // A listing shows the first ones.
        let _ = threads.push(thread.clone());
    });
    let name: heapless::Vec<u16, 40> = process.name().encode_utf16().collect();
    let name_bytes = name.len() * 2;
    let fixed = size_of::<SystemProcessInformation>() + threads.len() * size_of::<SystemThreadInformation>();
    let size = (fixed + name_bytes).next_multiple_of(8);
    let usage = process.space.usage();
    let quota = process.quota();
    let pool = quota.used(crate::quota::Kind::Pool);
    let start = writer.at();
    writer.record(&SystemProcessInformation {
        next_entry_offset: if last { 0 } else { size as u32 },
        number_of_threads: threads.len() as u32,
        create_time: process.created,
        user_time: process_time(process),
        image_name: UnicodeString {
            length: name_bytes as u16,
            maximum_length: name_bytes as u16,
            reserved: 0,
            buffer: start.wrapping_add(fixed as u64),
        },
        base_priority: process.base_priority.load(Ordering::Relaxed),
        unique_process_id: u64::from(process.id()),
        inherited_from_unique_process_id: u64::from(process.parent),
        handle_count: process.handles.len() as u32,
        virtual_size: usage.reserved,
        working_set_size: usage.present * PAGE_SIZE,
        quota: [0, pool, 0, 0],
        pagefile_usage: usage.charged * PAGE_SIZE,
        private_page_count: usage.charged * PAGE_SIZE,
        ..SystemProcessInformation::default()
    })?;
    for thread in &threads {
        writer.record(&describe_thread(thread))?;
    }
    writer.bytes(name.as_bytes())?;
    writer.bytes(&[0; 8][..size - fixed - name_bytes])
}

fn describe_thread(thread: &Thread) -> SystemThreadInformation {
    let facts = sched::with_thread(thread, |d| d.info(thread.index));
    let in_alpc = facts.is_some_and(|f| {
        f.state == State::Waiting
            && matches!(u32::from(f.reason), WAIT_REASON_LPC_RECEIVE | WAIT_REASON_LPC_REPLY)
    });
    let waited = |what: &AtomicU32| if in_alpc { what.load(Ordering::Relaxed) } else { 0 };
    SystemThreadInformation {
        user_time: time::ticks_to_100ns(thread.run_ticks.load(Ordering::Relaxed)) as i64,
        create_time: thread.created,
        wait_port: waited(&thread.alpc_wait.port),
        start_address: thread.start,
        unique_process: u64::from(thread.process.id()),
        unique_thread: u64::from(thread.id()),
        priority: facts.map_or(0, |f| i32::from(f.priority)),
        base_priority: facts.map_or(0, |f| i32::from(f.base_priority)),
        context_switches: facts.map_or(0, |f| f.switches),
        thread_state: facts.map_or(4, |f| f.state as u32),
        wait_reason: facts.map_or(0, |f| u32::from(f.reason)),
        wait_message: waited(&thread.alpc_wait.message),
        ..SystemThreadInformation::default()
    }
}

fn describe_port(port: &Ref<Port>) -> SystemPortInformation {
    let facts = port.group.lock().facts(port.role);
    let mut peer_port = 0;
    if let Role::Server(connection) | Role::Client(connection) = port.role {
        let peer = match port.role {
            Role::Server(_) => Role::Client(connection),
            _ => Role::Server(connection),
        };
        let mut from = 0;
        while let Some((other, next)) = port::next_port(from) {
            if other.role == peer && Ref::same(&other.group.0, &port.group.0) {
                peer_port = other.id;
                break;
            }
            from = next;
        }
    }
    let mut name = [0; 64];
    let label = port.group.label.lock();
    name[..label.len()].copy_from_slice(label.as_bytes());
    SystemPortInformation {
        port: port.id,
        kind: match port.role {
            Role::Connection => 1,
            Role::Server(_) => 2,
            Role::Client(_) => 3,
        },
        owner_process: port.owner,
        connection_port: port.group.id,
        peer_port,
        peer_process: facts.peer_process,
        flags: port.flags,
        state: facts.state,
        main_queue: facts.queued,
        pending_queue: facts.pending,
        sequence_no: facts.sequence,
        waiters: facts.waiters,
        handles: port.header.handle_count(),
        name_length: label.len() as u32,
        name,
    }
}

fn handles_of(process: &Process, writer: &mut Writer) -> Result<(), NtStatus> {
    let mut from = 0;
    while let Some((handle, next)) = process.handles.next(from) {
        from = next;
        let entry = process.handles.with(handle, |entry| {
            let object = entry.target.object();
            Ok(SystemHandleEntry {
                handle: handle.0,
                object_id: object.header().id,
                granted_access: entry.access,
                attributes: entry.attributes,
                object_type: object.header().kind as u32,
                detail: object.detail(),
            })
        });
        // A handle closed meanwhile is left out.
        if let Ok(entry) = entry {
            writer.record(&entry)?;
        }
    }
    Ok(())
}

/// Id of the client's port of a connection; that of the connection port itself when the client's is gone.
fn client_port(connection_port: &Ref<Port>, connection: u64) -> u32 {
    let mut from = 0;
    while let Some((other, next)) = port::next_port(from) {
        if other.role == Role::Client(connection) && Ref::same(&other.group.0, &connection_port.group.0) {
            return other.id;
        }
        from = next;
    }
    connection_port.id
}

fn messages(writer: &mut Writer) -> Result<(), NtStatus> {
    const MOST: usize = 64;
    let mut from = 0;
    while let Some((port, next)) = port::next_port(from) {
        from = next;
        if port.role != Role::Connection {
            continue;
        }
        let mut skip = 0;
        loop {
            let facts: heapless::Vec<_, MOST> =
                port.group.lock().message_facts().skip(skip).take(MOST).collect();
            for m in &facts {
                let queue_port = if m.to_client { client_port(&port, m.connection) } else { port.id };
                writer.record(&SystemMessageInformation {
                    message_id: m.id,
                    message_type: u32::from(m.message_type),
                    queue_port,
                    connection_port: port.group.id,
                    queue: m.queue,
                    process: m.sender.process,
                    thread: m.sender.thread,
                    waiting_thread: if m.waits { m.sender.thread } else { 0 },
                    data_length: m.data_length as u32,
                    server_thread: m.receiver.thread,
                })?;
            }
            if facts.len() < MOST {
                break;
            }
            skip += MOST;
        }
    }
    Ok(())
}
