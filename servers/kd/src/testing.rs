//! Makes kernel answers for tests.

use crate::snapshot::Snapshot;
use abi::alpc::ALPC_PORFLG_WAITABLE_PORT;
use abi::info::{
    SystemMessageInformation, SystemPortInformation, SystemProcessInformation, SystemThreadInformation,
    WAIT_REASON_DELAY, WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY,
};
use abi::kd::SysdbgThread;
use abi::status::{NtResult, STATUS_INVALID_CID};
use alloc::vec;
use alloc::vec::Vec;
use libnt::info::Process;
use zerocopy::FromZeros;

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
