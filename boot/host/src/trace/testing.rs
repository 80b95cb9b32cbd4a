//! A small trace for tests of the formats.

use super::Capture;
use abi::alpc::{LPC_DATAGRAM, LPC_REPLY, LPC_REQUEST};
use abi::trace::*;
use trace::testing::TraceMemory;
use trace::{Exchanges, Names, Position};
use zerocopy::transmute;

/// App 20 asks server 12 twice, the second time before the first is answered; the server asks store 8 in between; a
/// datagram; switches between the three.
pub fn capture() -> Capture {
    let mut memory = TraceMemory::new(2, 128, 16);
    memory.name(NAME_PROCESS, 20, 4, "app");
    memory.name(NAME_PROCESS, 12, 4, "server");
    memory.name(NAME_PROCESS, 8, 4, "store");
    memory.name(NAME_PORT, 7, 12, "\\RPC Control\\x");
    memory.name(NAME_PORT, 5, 8, "\\Store");
    let mut event =
        |cpu: usize, tsc: u64, event: u8, who: (u32, u32), peer: u32, port: u32, id: u32, kind: u16| {
            memory.event(cpu, tsc * 1000, |r| {
                (r.event, r.process, r.thread, r.peer_process) = (event, who.0, who.1, peer);
                (r.connection_port, r.message_id, r.message_type) = (port, id, kind);
                if kind != 0 {
                    (r.data_length, r.total_length) = (2, 42);
                }
            });
            if event == TRACE_RECEIVE && (port, id) == (7, 1) {
                let mut bytes = [0; PAYLOAD_PIECE];
                bytes[..2].copy_from_slice(b"hi");
                let event = TRACE_PAYLOAD;
                let piece =
                    PayloadRecord { sequence: 0, tsc, event, length: 2, offset: 0, message_id: id, bytes };
                memory.raw(cpu, transmute!(piece));
            }
        };
    let (app, server, store) = ((20, 21), (12, 13), (8, 9));
    event(0, 10, TRACE_SEND, app, 12, 7, 1, LPC_REQUEST);
    event(0, 10, TRACE_WAIT_REPLY, app, 12, 7, 1, 0);
    event(1, 12, TRACE_RECEIVE, server, 20, 7, 1, LPC_REQUEST);
    event(1, 14, TRACE_SEND, server, 8, 5, 1, LPC_REQUEST);
    event(1, 15, TRACE_RECEIVE, store, 12, 5, 1, LPC_REQUEST);
    event(1, 18, TRACE_REPLY, store, 12, 5, 1, LPC_REPLY);
    event(1, 19, TRACE_UNWAIT, server, 8, 5, 1, LPC_REPLY);
    event(1, 20, TRACE_WAIT_NEW, server, 0, 7, 0, 0);
    event(0, 21, TRACE_SEND, (20, 22), 12, 7, 2, LPC_REQUEST);
    event(1, 22, TRACE_RECEIVE, server, 20, 7, 2, LPC_REQUEST);
    event(1, 24, TRACE_REPLY, server, 20, 7, 1, LPC_REPLY);
    event(0, 25, TRACE_UNWAIT, app, 12, 7, 1, LPC_REPLY);
    event(1, 26, TRACE_REPLY, server, 20, 7, 2, LPC_REPLY);
    event(0, 27, TRACE_UNWAIT, (20, 22), 12, 7, 2, LPC_REPLY);
    event(0, 30, TRACE_SEND, app, 12, 7, 3, LPC_DATAGRAM);
    event(1, 31, TRACE_RECEIVE, server, 20, 7, 3, LPC_DATAGRAM);
    for (tsc, from, to) in [(10, app, store), (32, store, (0, 0)), (35, (0, 0), app)] {
        memory.event(0, tsc * 1000 + 1, |r| {
            (r.event, r.process, r.thread) = (TRACE_SWITCH, from.0, from.1);
            (r.peer_process, r.detail) = (to.0, u64::from(to.1));
        });
    }
    let trace = memory.trace();
    let mut names = Names::default();
    names.add_log(&trace.names().0);
    let reading = trace.read(&Position::START, |_| true);
    let exchanges = Exchanges::of(&reading);
    Capture { title: "test".into(), clock: trace.clock(), cpus: 2, names, reading, exchanges }
}
