//! The measurements that need two processors.
//!
//! Under `-icount` QEMU runs the processors in turn and the time-stamp counter counts the instructions of all of them. So a round trip
//! between two processors is all that both execute for it, and pairs that run side by side are measured by the sum of their
//! instructions: what each processor executes for a round trip is that sum divided by the processors.

use crate::client::{PORT, small_round_trips};
use crate::server::{Server, Words, stay_on};
use alloc::vec::Vec;
use libnt::alpc::{Message, Port, request};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::process::{Command, Process};
use libnt::sys::calls;
use libnt::time::tsc;
use libnt::{NtResult, wait};

/// Events of a pair: it is warm, it may start, it is done.
const EVENTS: [&str; 3] = ["warm", "go", "done"];

/// A 32-byte round trip with the server on the other processor.
pub fn other_cpu(runs: u64) -> NtResult<u64> {
    let _server = Server::start("echo", PORT, Some(1))?;
    stay_on(0)?;
    let port = Port::connect(PORT)?;
    small_round_trips(&port, runs)
}

/// All instructions of the machine while so many pairs, each on a processor of its own, make `runs` round trips each; per round
/// trip of one pair.
pub fn together(count: u64, runs: u64) -> NtResult<u64> {
    let go = Event::notification(false)?;
    let mut pairs: Vec<Pair> = Vec::new();
    for processor in 0..count {
        pairs.push(Pair::start(processor, runs, &go)?);
    }
    let warm: Vec<Handle> = pairs.iter().map(|pair| pair.warm.handle()).collect();
    let done: Vec<Handle> = pairs.iter().map(|pair| pair.done.handle()).collect();
    wait::all(&warm, None)?;
    let start = tsc();
    go.set()?;
    wait::all(&done, None)?;
    let total = tsc() - start;
    pairs.iter().try_for_each(|pair| pair.process.wait().map(drop))?;
    Ok(total / runs)
}

struct Pair {
    process: Process,
    warm: Event,
    done: Event,
}

impl Pair {
    fn start(processor: u64, runs: u64, go: &Event) -> NtResult<Self> {
        let (warm, done) = (Event::notification(false)?, Event::notification(false)?);
        let mut command = Command::new("bench");
        command.argument("--pair").argument(&processor.to_string()).argument(&runs.to_string());
        for (name, event) in EVENTS.into_iter().zip([&warm, go, &done]) {
            command.give(name, event.handle(), None, [0; 4]);
        }
        Ok(Self { process: command.spawn()?, warm, done })
    }
}

/// A client with its server, both on the processor named.
pub fn pair(words: &[&str]) -> NtResult {
    let [processor, runs] = words else { return Err(STATUS_INVALID_PARAMETER) };
    let processor: u64 = processor.parse().map_err(|_| STATUS_INVALID_PARAMETER)?;
    let runs: u64 = runs.parse().map_err(|_| STATUS_INVALID_PARAMETER)?;
    let event = |name| env::extra(name).map(|extra| extra.handle).ok_or(STATUS_INVALID_PARAMETER);
    let [warm, go, done] = [event(EVENTS[0])?, event(EVENTS[1])?, event(EVENTS[2])?];
    stay_on(processor)?;
    let name = format!("{PORT}{processor}");
    let _server = Server::start("echo", &name, Some(processor))?;
    let port = Port::connect(&name)?;
    let mut message = Message::<Words>::fixed();
    let mut round_trip = || {
        // Under `-icount` a processor that neither halts nor pauses keeps the emulator for itself: here they take turns.
        core::hint::spin_loop();
        message.set_payload(&[0x5A; 32])?;
        request(port.handle(), &mut message, None, None)
    };
    (0..runs.div_ceil(10)).try_for_each(|_| round_trip())?;
    calls::set_event(warm)?;
    wait::one(go, None)?;
    (0..runs).try_for_each(|_| round_trip())?;
    calls::set_event(done).map(drop)
}
