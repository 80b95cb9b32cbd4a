//! `!wait`: whom a thread waits for, whom that one waits for, and so on; and who waits for each other.
//!
//! A thread that waits for a reply waits for the thread that received its message, or, while the message is queued, for any
//! thread of the process that owns the port. Threads are in a deadlock when none of them can go on before another of
//! them does. What is found is true of one snapshot; it says nothing of time-outs, which end a wait without a reply.

use crate::process_view::{reason, state};
use crate::snapshot::{Snapshot, id};
use abi::info::{
    SystemThreadInformation, WAIT_REASON_DELAY, WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY,
    WAIT_REASON_QUEUE,
};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use serde::Serialize;

/// A thread waits for a reply: [`SystemThreadInformation::thread_state`] and reason.
fn waits_for_reply(thread: &SystemThreadInformation) -> bool {
    thread.thread_state == STATE_WAITING && thread.wait_reason == WAIT_REASON_LPC_REPLY
}

const STATE_WAITING: u32 = 5;
const QUEUE_PENDING: u32 = 2;

/// Could this thread come and take a message from a queue, as it is?
fn can_receive(thread: &SystemThreadInformation) -> bool {
    thread.thread_state != STATE_WAITING
        || matches!(thread.wait_reason, WAIT_REASON_LPC_RECEIVE | WAIT_REASON_QUEUE | WAIT_REASON_DELAY)
}

/// Who could answer what a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// The thread that received the message.
    Receiver(u32),
    /// Nobody received it; the threads of the process that owns the port.
    Owner(Vec<u32>),
    /// The message or its receiver is gone: the wait ends any moment.
    Gone,
}

/// How a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// In threads that wait for each other.
    Deadlock,
    /// At a thread that does not wait for a reply.
    Thread(u32),
    /// At a message that is gone.
    Gone,
}

/// The threads one after the other, each waiting for the next; at the end of a deadlock the one that closes it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Thread ids.
    pub threads: Vec<u32>,
    /// How it ends.
    pub end: End,
}

/// All waits of a snapshot.
pub struct Waits<'a> {
    snapshot: &'a Snapshot,
    threads: BTreeMap<u32, &'a SystemThreadInformation>,
    next: BTreeMap<u32, Next>,
    stuck: BTreeSet<u32>,
    rounds: BTreeMap<u32, u32>,
}

impl<'a> Waits<'a> {
    /// Finds out who waits for whom.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let all = snapshot.processes().iter().flat_map(|process| &process.threads);
        let threads: BTreeMap<u32, _> = all.map(|thread| (id(thread.unique_thread), thread)).collect();
        let waiting = threads.iter().filter(|(_, thread)| waits_for_reply(thread));
        let next = waiting.map(|(number, thread)| (*number, next(thread, snapshot, &threads))).collect();
        let mut waits = Self { snapshot, threads, next, stuck: BTreeSet::new(), rounds: BTreeMap::new() };
        waits.find_stuck();
        waits
    }

    /// Leaves in `stuck` the largest set of threads none of which can be answered from outside of it. The others get the
    /// round in which it was seen that they can: later than that of whoever answers them.
    fn find_stuck(&mut self) {
        self.stuck = self.next.keys().copied().collect();
        for round in 1.. {
            let free: Vec<u32> = self.stuck.iter().copied().filter(|t| !self.is_stuck(*t)).collect();
            if free.is_empty() {
                return;
            }
            for thread in free {
                self.stuck.remove(&thread);
                self.rounds.insert(thread, round);
            }
        }
    }

    fn is_stuck(&self, thread: u32) -> bool {
        match self.next.get(&thread) {
            Some(Next::Receiver(receiver)) => self.stuck.contains(receiver),
            Some(Next::Owner(owners)) => owners.iter().all(|owner| self.stuck.contains(owner)),
            Some(Next::Gone) | None => false,
        }
    }

    /// Threads that wait for a reply.
    pub fn waiting(&self) -> impl Iterator<Item = u32> + '_ {
        self.next.keys().copied()
    }

    /// The chain from a thread.
    pub fn chain(&self, thread: u32) -> Chain {
        let mut threads = Vec::from([thread]);
        let mut at = thread;
        loop {
            let next = match self.next.get(&at) {
                None => return Chain { threads, end: End::Thread(at) },
                Some(Next::Gone) => return Chain { threads, end: End::Gone },
                Some(Next::Receiver(receiver)) => *receiver,
                Some(Next::Owner(owners)) => self.most_telling(owners),
            };
            let closes = threads.contains(&next);
            threads.push(next);
            if closes {
                // Only threads of which each is stuck are followed in a circle.
                return Chain { threads, end: End::Deadlock };
            }
            at = next;
        }
    }

    /// Of the threads that could take a message, the one to follow: the nearest to an answer, or any of those in a deadlock
    /// where all are.
    fn most_telling(&self, owners: &[u32]) -> u32 {
        let distance = |t: &&u32| match self.threads.get(t) {
            Some(thread) if can_receive(thread) => 0,
            _ if self.stuck.contains(t) => u32::MAX,
            _ => self.rounds.get(t).map_or(1, |round| round + 1),
        };
        owners.iter().min_by_key(distance).copied().unwrap_or(0)
    }

    /// The deadlocks, each once, as the threads of which each waits for the next.
    pub fn deadlocks(&self) -> Vec<Vec<u32>> {
        let mut found: Vec<Vec<u32>> = Vec::new();
        for thread in &self.stuck {
            let circle = circle(&self.chain(*thread));
            if !found.iter().any(|other| circle.iter().any(|t| other.contains(t))) {
                found.push(circle);
            }
        }
        found
    }

    fn name(&self, thread: u32) -> String {
        let process = self.threads.get(&thread).map_or(0, |t| id(t.unique_process));
        format!("{thread} ({})", self.snapshot.process_name(process))
    }

    fn step(&self, thread: u32) -> Step {
        let found = self.threads.get(&thread);
        let process = found.map_or(0, |t| id(t.unique_process));
        Step {
            thread,
            process,
            image: self.snapshot.process_name(process).into(),
            state: found.map_or_else(|| "gone".into(), |thread| state(thread)),
            waits: found.map(|thread| reason(thread, self.snapshot)).filter(|text| !text.is_empty()),
        }
    }

    /// What `--json` says of a chain.
    pub fn describe(&self, chain: &Chain) -> ChainJson {
        ChainJson {
            threads: chain.threads.iter().map(|thread| self.step(*thread)).collect(),
            end: match chain.end {
                End::Deadlock => "deadlock",
                End::Thread(_) => "thread",
                End::Gone => "gone",
            },
        }
    }

    /// Prints a chain.
    pub fn write_chain(&self, out: &mut dyn Write, chain: &Chain) -> fmt::Result {
        let shown = match chain.end {
            End::Deadlock => &chain.threads[..chain.threads.len() - 1],
            _ => &chain.threads[..],
        };
        for thread in shown {
            let step = self.step(*thread);
            writeln!(out, "THREAD {thread} of process {} ({})", step.process, step.image)?;
            writeln!(out, "    {}", step.waits.unwrap_or(step.state))?;
        }
        match chain.end {
            End::Deadlock => self.write_deadlock(out, &circle(chain)),
            End::Gone => writeln!(out, "    The message is being answered or withdrawn"),
            End::Thread(_) => Ok(()),
        }
    }

    /// Prints the line that names a deadlock.
    pub fn write_deadlock(&self, out: &mut dyn Write, circle: &[u32]) -> fmt::Result {
        write!(out, "deadlock: ")?;
        for thread in circle {
            write!(out, "thread {} waits for ", self.name(*thread))?;
        }
        writeln!(out, "thread {}", self.name(circle.first().copied().unwrap_or(0)))
    }
}

/// The part of a deadlock's chain in which each waits for the next and the last for the first, from the lowest id on.
fn circle(chain: &Chain) -> Vec<u32> {
    let Some((last, rest)) = chain.threads.split_last() else { return Vec::new() };
    let start = rest.iter().position(|thread| thread == last).unwrap_or(0);
    let mut circle = rest[start..].to_vec();
    let lowest = circle.iter().enumerate().min_by_key(|(_, thread)| **thread).map_or(0, |(at, _)| at);
    circle.rotate_left(lowest);
    circle
}

fn next(
    thread: &SystemThreadInformation,
    snapshot: &Snapshot,
    threads: &BTreeMap<u32, &SystemThreadInformation>,
) -> Next {
    let Some(message) = snapshot.message(thread.wait_message) else { return Next::Gone };
    if message.queue == QUEUE_PENDING {
        let receiver = message.server_thread;
        return if threads.contains_key(&receiver) { Next::Receiver(receiver) } else { Next::Gone };
    }
    let owner = snapshot.port(message.queue_port).map_or(0, |port| port.owner_process);
    match snapshot.process(owner) {
        Some(process) if !process.threads.is_empty() => {
            Next::Owner(process.threads.iter().map(|thread| id(thread.unique_thread)).collect())
        }
        _ => Next::Gone,
    }
}

/// A thread in a chain.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    thread: u32,
    process: u32,
    image: String,
    state: String,
    waits: Option<String>,
}

/// A chain, as `--json` says it.
#[derive(Clone, Debug, Serialize)]
pub struct ChainJson {
    threads: Vec<Step>,
    end: &'static str,
}

/// `!wait --json`.
#[derive(Clone, Debug, Serialize)]
pub struct WaitsJson {
    /// The chains asked for.
    pub chains: Vec<ChainJson>,
    /// Circles of threads, each waiting for the next.
    pub deadlocks: Vec<Vec<u32>>,
}

/// `!wait` and `!wait THREAD`: the chains and the deadlocks.
pub fn write_waits(out: &mut dyn Write, waits: &Waits<'_>, thread: Option<u32>) -> fmt::Result {
    if let Some(thread) = thread {
        return waits.write_chain(out, &waits.chain(thread));
    }
    let deadlocks = waits.deadlocks();
    for thread in waits.waiting().filter(|thread| !deadlocks.iter().any(|circle| circle.contains(thread))) {
        waits.write_chain(out, &waits.chain(thread))?;
        writeln!(out)?;
    }
    for circle in &deadlocks {
        waits.write_chain(out, &waits.chain(circle[0]))?;
        writeln!(out)?;
    }
    write!(out, "{} threads wait for a reply, ", waits.waiting().count())?;
    match deadlocks.len() {
        0 => writeln!(out, "no deadlock"),
        1 => writeln!(out, "1 deadlock"),
        more => writeln!(out, "{more} deadlocks"),
    }
}

/// What `--json` says.
pub fn describe_waits(waits: &Waits<'_>, thread: Option<u32>) -> WaitsJson {
    let threads: Vec<u32> = thread.map_or_else(|| waits.waiting().collect(), |thread| Vec::from([thread]));
    WaitsJson {
        chains: threads.iter().map(|thread| waits.describe(&waits.chain(*thread))).collect(),
        deadlocks: waits.deadlocks(),
    }
}

#[cfg(test)]
mod tests;
