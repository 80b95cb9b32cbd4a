//! Chains and deadlocks of small systems.

use super::*;
use abi::info::{
    SystemMessageInformation, SystemPortInformation, SystemProcessInformation, WAIT_REASON_USER_REQUEST,
};
use libnt::info::Process;
use zerocopy::FromZeros;

/// A system that is put together thread by thread. The port of process `p` has the id `p`.
#[derive(Default)]
struct Made {
    processes: Vec<Process>,
    messages: Vec<SystemMessageInformation>,
}

impl Made {
    fn thread(&mut self, process: u32, thread: u32, wait_reason: u32, wait_message: u32) {
        let thread = SystemThreadInformation {
            unique_process: process.into(),
            unique_thread: thread.into(),
            thread_state: STATE_WAITING,
            wait_reason,
            wait_message,
            ..Default::default()
        };
        match self.processes.iter_mut().find(|p| p.information.unique_process_id == u64::from(process)) {
            Some(process) => process.threads.push(thread),
            None => self.processes.push(Process {
                information: SystemProcessInformation {
                    unique_process_id: process.into(),
                    ..Default::default()
                },
                name: format!("p{process}"),
                threads: Vec::from([thread]),
            }),
        }
    }

    /// A thread that asked process `to`; `receiver` has the message, or nobody (0).
    fn asks(&mut self, process: u32, thread: u32, to: u32, receiver: u32) {
        let message_id = 0x100 + thread;
        self.thread(process, thread, WAIT_REASON_LPC_REPLY, message_id);
        self.messages.push(SystemMessageInformation {
            message_id,
            queue_port: to,
            connection_port: to,
            queue: if receiver == 0 { 1 } else { QUEUE_PENDING },
            process,
            thread,
            waiting_thread: thread,
            server_thread: receiver,
            ..Default::default()
        });
    }

    fn snapshot(self) -> Snapshot {
        let port = |process: &Process| {
            let mut port = SystemPortInformation::new_zeroed();
            port.port = id(process.information.unique_process_id);
            (port.kind, port.owner_process, port.connection_port) = (1, port.port, port.port);
            port
        };
        let ports = self.processes.iter().map(port).collect();
        Snapshot::new(self.processes, ports, self.messages)
    }
}

#[test]
fn two_that_ask_each_other() {
    let mut made = Made::default();
    made.asks(10, 11, 20, 0);
    made.asks(20, 21, 10, 0);
    made.asks(30, 31, 20, 0);
    let snapshot = made.snapshot();
    let waits = Waits::new(&snapshot);
    assert_eq!(waits.deadlocks(), [[11, 21]]);
    assert_eq!(waits.chain(31).threads, [31, 21, 11, 21]);
    let mut out = String::new();
    write_waits(&mut out, &waits, Some(31)).unwrap();
    assert_eq!(
        out,
        "THREAD 31 of process 30 (p30)
    Waiting for reply to ALPC message 0000011f: queued at port 20 of p20: owned by process 20 p20
THREAD 21 of process 20 (p20)
    Waiting for reply to ALPC message 00000115: queued at port 10 of p10: owned by process 10 p10
THREAD 11 of process 10 (p10)
    Waiting for reply to ALPC message 0000010b: queued at port 20 of p20: owned by process 20 p20
deadlock: thread 11 (p10) waits for thread 21 (p20) waits for thread 11 (p10)
"
    );
    out.clear();
    write_waits(&mut out, &waits, None).unwrap();
    assert!(out.ends_with("\n3 threads wait for a reply, 1 deadlock\n"), "{out}");
}

#[test]
fn a_second_thread_that_can_receive_breaks_the_circle() {
    let mut made = Made::default();
    made.asks(10, 11, 20, 0);
    made.asks(20, 21, 10, 0);
    made.thread(20, 22, WAIT_REASON_LPC_RECEIVE, 0);
    let snapshot = made.snapshot();
    let waits = Waits::new(&snapshot);
    assert!(waits.deadlocks().is_empty());
    assert_eq!(waits.chain(21), Chain { threads: Vec::from([21, 11, 22]), end: End::Thread(22) });
}

#[test]
fn received_messages_wait_for_their_receiver_alone() {
    let mut made = Made::default();
    made.asks(10, 11, 20, 21);
    made.thread(20, 22, WAIT_REASON_LPC_RECEIVE, 0);
    made.asks(20, 21, 10, 11);
    let snapshot = made.snapshot();
    assert_eq!(Waits::new(&snapshot).deadlocks(), [[11, 21]]);
}

#[test]
fn who_asks_himself_and_who_waits_for_something_else() {
    let mut made = Made::default();
    made.asks(10, 11, 10, 0);
    made.asks(20, 21, 30, 0);
    made.thread(30, 31, WAIT_REASON_USER_REQUEST, 0);
    let snapshot = made.snapshot();
    let waits = Waits::new(&snapshot);
    assert_eq!(waits.deadlocks(), [[11]]);
    assert_eq!(waits.chain(21).end, End::Thread(31));
    let json = serde_json::to_value(describe_waits(&waits, None)).unwrap();
    assert_eq!(json["deadlocks"], serde_json::json!([[11]]));
    assert_eq!(json["chains"][0]["end"], "deadlock");
    assert_eq!(json["chains"][1]["threads"][1]["state"], "Waiting (UserRequest)");
}

#[test]
fn what_is_gone_ends_a_chain() {
    let mut made = Made::default();
    made.thread(10, 11, WAIT_REASON_LPC_REPLY, 0x999);
    made.asks(20, 21, 10, 77);
    let snapshot = made.snapshot();
    let waits = Waits::new(&snapshot);
    assert!(waits.deadlocks().is_empty());
    assert_eq!(waits.chain(21), Chain { threads: Vec::from([21]), end: End::Gone });
    assert_eq!(waits.chain(5), Chain { threads: Vec::from([5]), end: End::Thread(5) });
}

/// Whatever who waits for whom: chains end, and what is called a deadlock has no way out.
#[test]
fn any_system_is_followed_to_an_end() {
    let mut seed = 7u64;
    let mut random = move |below: u32| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u32 % below
    };
    let mut found = 0;
    for _ in 0..500 {
        let mut made = Made::default();
        for thread in 100..100 + 1 + random(12) {
            let process = 10 + random(4);
            match random(8) {
                0 => made.thread(process, thread, WAIT_REASON_LPC_RECEIVE, 0),
                1 => made.thread(process, thread, WAIT_REASON_USER_REQUEST, 0),
                _ => {
                    let receiver = if random(2) == 0 { 0 } else { 100 + random(14) };
                    made.asks(process, thread, 10 + random(5), receiver);
                }
            }
        }
        let snapshot = made.snapshot();
        let waits = Waits::new(&snapshot);
        for circle in waits.deadlocks() {
            found += 1;
            assert!(circle.iter().all(|thread| waits.is_stuck(*thread)));
        }
        for thread in 100..112 {
            let chain = waits.chain(thread);
            assert_eq!(chain.end == End::Deadlock, waits.stuck.contains(&thread), "{chain:?}");
        }
    }
    assert!(found > 20);
}
