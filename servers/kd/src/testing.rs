//! Makes trace memory and kernel answers for tests.

use crate::ring::Trace;
use crate::snapshot::Snapshot;
use abi::alpc::ALPC_PORFLG_WAITABLE_PORT;
use abi::info::{
    SystemMessageInformation, SystemPortInformation, SystemProcessInformation, SystemThreadInformation,
    WAIT_REASON_DELAY, WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY,
};
use abi::kd::SysdbgThread;
use abi::status::{NtResult, STATUS_INVALID_CID};
use abi::trace::{NameRecord, TraceRecord};
use alloc::vec;
use alloc::vec::Vec;
use libnt::info::Process;
use zerocopy::{FromZeros, transmute};

const TRACE_WORDS: usize = size_of::<TraceRecord>() / 8;
const NAME_WORDS: usize = size_of::<NameRecord>() / 8;

/// Trace memory as the kernel writes it.
pub struct TraceMemory {
    words: Vec<u64>,
    cpus: usize,
    records: usize,
    names: usize,
}

impl TraceMemory {
    /// Empty rings; 1 GHz, booted at tick 0.
    pub fn new(cpus: usize, records: usize, names: usize) -> Self {
        let mut words = vec![0; 512 + cpus * records * TRACE_WORDS + names * NAME_WORDS];
        words[0] = cpus as u64 | (records as u64) << 32;
        words[1] = names as u64 | 1 << 32;
        words[2] = 1_000_000_000;
        Self { words, cpus, records, names }
    }

    /// The memory.
    pub fn words(&self) -> &Vec<u64> {
        &self.words
    }

    /// The memory, to be damaged.
    pub fn words_mut(&mut self) -> &mut Vec<u64> {
        &mut self.words
    }

    /// The memory behind its reader.
    pub fn trace(self) -> Trace<Vec<u64>> {
        Trace::new(self.words).expect("a good header")
    }

    /// Writes an event.
    pub fn event(&mut self, cpu: usize, tsc: u64, fill: impl FnOnce(&mut TraceRecord)) {
        let number = self.words[5 + cpu];
        let mut record = TraceRecord { sequence: number + 1, tsc, cpu: cpu as u8, ..TraceRecord::default() };
        fill(&mut record);
        let words: [u64; TRACE_WORDS] = transmute!(record);
        let slot = cpu * self.records + number as usize % self.records;
        self.words[512 + slot * TRACE_WORDS..][..TRACE_WORDS].copy_from_slice(&words);
        self.words[5 + cpu] = number + 1;
    }

    /// Writes a name.
    pub fn name(&mut self, kind: u32, id: u32, owner: u32, name: &str) {
        let number = self.words[4];
        let mut text = [0; 40];
        text[..name.len()].copy_from_slice(name.as_bytes());
        let record =
            NameRecord { sequence: number + 1, kind, id, owner, length: name.len() as u32, name: text };
        let words: [u64; NAME_WORDS] = transmute!(record);
        let at = 512 + self.cpus * self.records * TRACE_WORDS + number as usize % self.names * NAME_WORDS;
        self.words[at..][..NAME_WORDS].copy_from_slice(&words);
        self.words[4] = number + 1;
    }
}

/// A console (12) with a port, and a shell (20) that waits for its answer.
pub fn snapshot() -> Snapshot {
    let thread = |process: u64, thread: u64, wait_reason, wait_port, wait_message| SystemThreadInformation {
        unique_process: process,
        unique_thread: thread,
        start_address: 0x40_1000,
        priority: 8,
        base_priority: 8,
        context_switches: 3,
        thread_state: 5,
        wait_reason,
        wait_port,
        wait_message,
        ..SystemThreadInformation::default()
    };
    let process = |id: u64, name: &str, threads: Vec<SystemThreadInformation>| Process {
        information: SystemProcessInformation {
            number_of_threads: threads.len() as u32,
            unique_process_id: id,
            inherited_from_unique_process_id: 4,
            handle_count: 9,
            base_priority: 8,
            user_time: 12_500_000,
            virtual_size: 0x2_0000,
            private_page_count: 0x1_0000,
            ..SystemProcessInformation::default()
        },
        name: name.into(),
        threads,
    };
    let port = |port, kind, owner_process, peer_port, peer_process, name: &str| {
        let mut info = SystemPortInformation::new_zeroed();
        (info.port, info.kind, info.owner_process, info.connection_port) = (port, kind, owner_process, 8);
        (info.peer_port, info.peer_process, info.handles, info.sequence_no) = (peer_port, peer_process, 1, 5);
        info.flags = ALPC_PORFLG_WAITABLE_PORT;
        info.name[..name.len()].copy_from_slice(name.as_bytes());
        info.name_length = name.len() as u32;
        info
    };
    let mut connection = port(8, 1, 12, 0, 0, "\\RPC Control\\x");
    (connection.main_queue, connection.waiters) = (1, 1);
    let message = SystemMessageInformation {
        message_id: 0x42,
        message_type: 0x2001,
        queue_port: 8,
        connection_port: 8,
        queue: 1,
        process: 20,
        thread: 21,
        waiting_thread: 21,
        data_length: 32,
        server_thread: 0,
    };
    Snapshot::new(
        vec![
            process(12, "console", vec![thread(12, 13, WAIT_REASON_LPC_RECEIVE, 8, 0)]),
            process(
                20,
                "cmd",
                vec![
                    thread(20, 21, WAIT_REASON_LPC_REPLY, 10, 0x42),
                    thread(20, 22, WAIT_REASON_DELAY, 0, 0),
                ],
            ),
        ],
        vec![connection, port(9, 2, 12, 10, 20, ""), port(10, 3, 20, 9, 12, "")],
        vec![message],
    )
}

/// Memory of the tests: a page of `nop`s at 0x2000.
pub fn read(_process: u32, address: u64, to: &mut [u8]) -> NtResult<usize> {
    let Some(offset) = address.checked_sub(0x2000).filter(|offset| *offset < 0x1000) else { return Ok(0) };
    let count = to.len().min(0x1000 - offset as usize);
    to[..count].fill(0x90);
    Ok(count)
}

/// Page tables of the tests: empty.
pub fn read_physical(_address: u64, to: &mut [u8]) -> NtResult<usize> {
    to.fill(0);
    Ok(to.len())
}

/// The threads 13, 21 and 22, all waiting; 21 for a second.
pub fn thread(thread: u32) -> NtResult<SysdbgThread> {
    let deadline = if thread == 21 { 1000 } else { u64::MAX };
    match thread {
        13 | 21 | 22 => Ok(SysdbgThread { state: 5, process: 20, deadline, ..SysdbgThread::default() }),
        _ => Err(STATUS_INVALID_CID),
    }
}
