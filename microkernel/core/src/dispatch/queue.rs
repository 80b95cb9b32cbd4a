//! Completion queues (NT's KQUEUE): packets, and threads of which only so many run at a time.
//!
//! A thread that removes a packet belongs to the queue from then on, until it removes from another one or ends; it
//! counts as running except while it waits, for whatever. Packets are given out while fewer than the queue's limit
//! run, to the thread that began to wait last. A wake-up grants one packet, which the thread takes when it runs.
//!
//! A *source* is something that posts and must never fail to, as an ALPC port: it keeps its count of packets itself
//! and lies in the queue once, so that posting needs no memory. Sources with more than one packet take turns.

use super::{Dispatcher, NONE, State, Wait};
use crate::{NoMemory, try_push};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const STATUS_ABANDONED: u32 = 0x80;
const STATUS_TIMEOUT: u32 = 0x102;
const STATUS_THREAD_IS_TERMINATING: u32 = 0xC000_004B;
const STATUS_INSUFFICIENT_RESOURCES: u32 = 0xC000_009A;

/// Most packets of one queue, besides those of its sources.
pub const MAX_PACKETS: usize = 1 << 14;

/// Items for which a queue always keeps its memory.
const KEPT_ITEMS: usize = 32;

/// A completion packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Packet {
    /// The poster's key.
    pub key: u64,
    /// The poster's context.
    pub context: u64,
    /// NTSTATUS of what completed.
    pub status: u32,
    /// Its information.
    pub information: u64,
    /// The kernel's own: who is charged. 0 for a source's packet.
    pub owner: u64,
}

/// Why a packet was not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PostError {
    /// The queue has [`MAX_PACKETS`].
    Full,
    /// No memory.
    NoMemory,
    /// The queue is closed.
    Closed,
}

#[derive(Clone, Copy)]
enum Item {
    Packet(Packet),
    Source(u32),
}

/// Which queue a thread belongs to.
#[derive(Clone, Copy)]
pub(super) struct Membership {
    queue: u32,
    generation: u32,
    /// It waits in the queue.
    waits: bool,
}

impl Membership {
    pub(super) const NONE: Self = Self { queue: NONE, generation: 0, waits: false };

    /// True when the thread's waits concern no queue.
    pub(super) const fn is_none(&self) -> bool {
        self.queue == NONE
    }
}

struct Queue {
    open: bool,
    generation: u32,
    /// Most threads that run.
    limit: u32,
    /// Threads that belong to it and do not wait.
    running: u32,
    /// Packets that were given to threads which have not taken them yet.
    granted: u64,
    /// All packets.
    depth: u64,
    /// Packets that are no source's.
    packets: usize,
    /// Sources that have no packet, for each of which `items` has room.
    idle_sources: usize,
    /// Dispatcher object, signalled while a packet can be had.
    object: u32,
    items: VecDeque<Item>,
    /// Threads that wait, the latest last.
    waiters: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Source {
    queue: u32,
    generation: u32,
    key: u64,
    pending: u32,
    /// Most packets at a time.
    most: u32,
}

/// Gives memory back that a queue once needed and is far from needing now: what is charged for packets must bound it. Room
/// for `spare` further items stays.
fn shrink(items: &mut VecDeque<Item>, spare: usize) {
    let needed = items.len() + spare;
    if items.capacity() > KEPT_ITEMS && items.capacity() / 4 > needed {
        let mut fresh = VecDeque::new();
        // Without memory for it, the large one stays.
        if fresh.try_reserve(2 * needed).is_ok() {
            fresh.append(items);
            *items = fresh;
        }
    }
}

/// All queues and sources.
pub(super) struct Queues {
    queues: Vec<Queue>,
    sources: Vec<Source>,
    free_sources: Vec<u32>,
}

impl Queues {
    pub(super) const fn new() -> Self {
        Self { queues: Vec::new(), sources: Vec::new(), free_sources: Vec::new() }
    }
}

impl<P: Copy> Dispatcher<P> {
    /// Makes a queue for `limit` running threads; `object` is a notification object of its own.
    pub fn add_queue(&mut self, limit: u32, object: u32) -> Result<u32, NoMemory> {
        let queue = Queue {
            open: true,
            generation: 1,
            limit,
            running: 0,
            granted: 0,
            depth: 0,
            packets: 0,
            idle_sources: 0,
            object,
            items: VecDeque::new(),
            waiters: Vec::new(),
        };
        try_push(&mut self.queues.queues, queue)?;
        Ok(self.queues.queues.len() as u32 - 1)
    }

    /// Makes a closed queue into a new one.
    pub fn reuse_queue(&mut self, queue: u32, limit: u32, object: u32) {
        let q = self.queue_mut(queue);
        debug_assert!(!q.open && q.items.is_empty() && q.waiters.is_empty());
        q.open = true;
        q.limit = limit;
        q.object = object;
    }

    fn queue_mut(&mut self, queue: u32) -> &mut Queue {
        &mut self.queues.queues[queue as usize]
    }

    /// Packets in the queue.
    pub fn queue_depth(&self, queue: u32) -> u64 {
        self.queues.queues[queue as usize].depth
    }

    /// Closes a queue for good: its waiters get STATUS_ABANDONED, its sources post nowhere. The packets that are no
    /// source's are returned, for their owners' sake.
    pub fn close_queue(&mut self, queue: u32) -> impl Iterator<Item = Packet> + use<P> {
        let q = self.queue_mut(queue);
        q.open = false;
        let (items, waiters) = (core::mem::take(&mut q.items), core::mem::take(&mut q.waiters));
        let object = q.object;
        for thread in waiters {
            self.end_wait(thread, STATUS_ABANDONED, None);
        }
        // Its threads belong to nothing now, and its sources neither.
        let q = self.queue_mut(queue);
        q.generation = q.generation.wrapping_add(1);
        (q.running, q.granted, q.depth, q.packets, q.idle_sources) = (0, 0, 0, 0, 0);
        self.clear(object);
        items.into_iter().filter_map(|item| match item {
            Item::Packet(packet) => Some(packet),
            Item::Source(_) => None,
        })
    }

    // ----- posting -----------------------------------------------------------------------------------------------

    /// Queues a packet.
    pub fn post_packet(&mut self, queue: u32, packet: Packet) -> Result<(), PostError> {
        let q = self.queue_mut(queue);
        if !q.open {
            return Err(PostError::Closed);
        }
        if q.packets >= MAX_PACKETS {
            return Err(PostError::Full);
        }
        q.items.try_reserve(q.idle_sources + 1).map_err(|_| PostError::NoMemory)?;
        q.items.push_back(Item::Packet(packet));
        q.packets += 1;
        q.depth += 1;
        self.give_out(queue);
        Ok(())
    }

    /// Puts a packet that was taken and could not be used back to the front. Its owner is told if there is no memory.
    pub fn unpost_packet(&mut self, queue: u32, packet: Packet) -> Result<(), PostError> {
        let q = self.queue_mut(queue);
        if !q.open {
            return Err(PostError::Closed);
        }
        q.items.try_reserve(q.idle_sources + 1).map_err(|_| PostError::NoMemory)?;
        q.items.push_front(Item::Packet(packet));
        q.packets += 1;
        q.depth += 1;
        self.give_out(queue);
        Ok(())
    }

    /// Makes a source of packets with this key.
    pub fn add_source(&mut self, queue: u32, key: u64) -> Result<u32, PostError> {
        let q = self.queue_mut(queue);
        if !q.open {
            return Err(PostError::Closed);
        }
        q.items.try_reserve(q.idle_sources + 1).map_err(|_| PostError::NoMemory)?;
        let source = Source { queue, generation: q.generation, key, pending: 0, most: u32::MAX };
        let queues = &mut self.queues;
        let index = match queues.free_sources.pop() {
            Some(index) => {
                queues.sources[index as usize] = source;
                index
            }
            None => {
                let more = queues.sources.len() + 1 - queues.free_sources.len();
                queues.free_sources.try_reserve(more).map_err(|_| PostError::NoMemory)?;
                try_push(&mut queues.sources, source).map_err(|_| PostError::NoMemory)?;
                queues.sources.len() as u32 - 1
            }
        };
        self.queue_mut(queue).idle_sources += 1;
        Ok(index)
    }

    /// The source's queue, if it is still open.
    fn open_queue_of(&self, source: u32) -> Option<u32> {
        let source = &self.queues.sources[source as usize];
        let q = self.queues.queues.get(source.queue as usize)?;
        (q.open && q.generation == source.generation).then_some(source.queue)
    }

    /// Posts `count` packets of a source. Never fails; a closed queue takes nothing.
    pub fn post_source(&mut self, source: u32, count: u32) {
        let Some(queue) = self.open_queue_of(source).filter(|_| count > 0) else { return };
        let s = &mut self.queues.sources[source as usize];
        // A source that nobody drains stops counting.
        let count = count.min(s.most.saturating_sub(s.pending));
        if count == 0 {
            return;
        }
        let first = s.pending == 0;
        s.pending += count;
        let q = self.queue_mut(queue);
        q.depth += u64::from(count);
        if first {
            // There is room for each idle source.
            q.idle_sources -= 1;
            q.items.push_back(Item::Source(source));
        }
        self.give_out(queue);
    }

    /// At most so many packets (at least one) of a source are queued at a time; it counts no further.
    pub fn limit_source(&mut self, source: u32, most: u32) {
        self.queues.sources[source as usize].most = most.max(1);
    }

    /// Takes a source away, with the packets that are still queued.
    pub fn remove_source(&mut self, source: u32) {
        if let Some(queue) = self.open_queue_of(source) {
            let pending = core::mem::take(&mut self.queues.sources[source as usize].pending);
            let q = self.queue_mut(queue);
            if pending == 0 {
                q.idle_sources -= 1;
            } else {
                q.depth -= u64::from(pending);
                q.items.retain(|item| !matches!(item, Item::Source(at) if *at == source));
            }
            self.show(queue);
        }
        // A number that is not in use posts to nobody.
        self.queues.sources[source as usize].queue = NONE;
        // Room was made when the source was.
        self.queues.free_sources.push(source);
    }

    /// Wakes waiters while there are packets for them and the limit allows.
    fn give_out(&mut self, queue: u32) {
        loop {
            let q = self.queue_mut(queue);
            if q.depth <= q.granted || q.running >= q.limit {
                break;
            }
            let Some(thread) = q.waiters.pop() else { break };
            q.granted += 1;
            self.end_wait(thread, 0, None);
        }
        self.show(queue);
    }

    /// Signals or clears the queue's object.
    fn show(&mut self, queue: u32) {
        let q = &self.queues.queues[queue as usize];
        let (object, there) = (q.object, q.depth > q.granted);
        if there != self.is_signaled(object) {
            if there {
                self.signal(object);
            } else {
                self.clear(object);
            }
        }
    }

    // ----- removing ----------------------------------------------------------------------------------------------

    /// Starts to remove a packet: the running thread belongs to the queue from now on. Status 0, at once or when the
    /// wait is over: [`Dispatcher::take_granted`] must follow.
    pub fn remove_packet(
        &mut self,
        thread: u32,
        queue: u32,
        deadline: u64,
        reason: u8,
        alertable: bool,
    ) -> Wait {
        if self.rec(thread).terminating {
            return Wait::Done(STATUS_THREAD_IS_TERMINATING);
        }
        // It is done with its last packet. One of this queue's may take the next without waking another for it.
        match self.open_membership(thread) {
            Some(m) if m.queue == queue => self.queue_mut(queue).running -= 1,
            _ => self.leave_queue(thread),
        }
        let q = self.queue_mut(queue);
        if !q.open {
            return Wait::Done(STATUS_ABANDONED);
        }
        let generation = q.generation;
        let free = q.running < q.limit && q.depth > q.granted;
        let status = if free {
            q.granted += 1;
            Some(0)
        } else if let Some(status) = alertable.then(|| self.begin_alertable(thread)).flatten() {
            Some(status)
        } else if deadline == 0 {
            Some(STATUS_TIMEOUT)
        } else {
            let q = self.queue_mut(queue);
            if q.waiters.try_reserve(1).is_err() { Some(STATUS_INSUFFICIENT_RESOURCES) } else { None }
        };
        let q = self.queue_mut(queue);
        match status {
            Some(_) => q.running += 1,
            None => q.waiters.push(thread),
        }
        let rec = self.rec_mut(thread);
        rec.membership = Membership { queue, generation, waits: status.is_none() };
        rec.bound = true;
        match status {
            Some(status) => {
                self.show(queue);
                Wait::Done(status)
            }
            None => {
                self.block(thread, deadline, reason);
                Wait::Blocked
            }
        }
    }

    /// Takes the packet that was granted to the caller. `None`: it went with its source or the queue meanwhile.
    pub fn take_granted(&mut self, queue: u32) -> Option<Packet> {
        let q = self.queue_mut(queue);
        q.granted = q.granted.saturating_sub(1);
        let packet = self.take_first(queue);
        self.give_out(queue);
        packet
    }

    /// Takes a further packet, if one is there that was granted to nobody.
    pub fn take_more(&mut self, queue: u32) -> Option<Packet> {
        let q = self.queue_mut(queue);
        if q.depth <= q.granted {
            return None;
        }
        let packet = self.take_first(queue);
        self.show(queue);
        packet
    }

    fn take_first(&mut self, queue: u32) -> Option<Packet> {
        let q = self.queue_mut(queue);
        let first = q.items.pop_front()?;
        q.depth -= 1;
        match first {
            Item::Packet(packet) => {
                q.packets -= 1;
                shrink(&mut q.items, q.idle_sources);
                Some(packet)
            }
            Item::Source(source) => {
                let s = &mut self.queues.sources[source as usize];
                s.pending -= 1;
                let (key, more) = (s.key, s.pending > 0);
                let q = self.queue_mut(queue);
                if more {
                    // The place at the front is free.
                    q.items.push_back(first);
                } else {
                    q.idle_sources += 1;
                }
                Some(Packet { key, ..Packet::default() })
            }
        }
    }

    // ----- threads -----------------------------------------------------------------------------------------------

    fn open_membership(&self, thread: u32) -> Option<Membership> {
        let m = self.rec(thread).membership;
        let q = self.queues.queues.get(m.queue as usize)?;
        (q.generation == m.generation).then_some(m)
    }

    /// A thread that belongs to a queue starts to wait: another one may run.
    #[cold]
    pub(super) fn member_blocks(&mut self, thread: u32) {
        if let Some(m) = self.open_membership(thread).filter(|m| !m.waits) {
            let q = self.queue_mut(m.queue);
            q.running -= 1;
            self.give_out(m.queue);
        }
    }

    /// A thread that belongs to a queue no longer waits.
    #[cold]
    pub(super) fn member_wakes(&mut self, thread: u32) {
        let waited = core::mem::take(&mut self.rec_mut(thread).membership.waits);
        if let Some(m) = self.open_membership(thread) {
            let q = self.queue_mut(m.queue);
            q.running += 1;
            if waited {
                q.waiters.retain(|waiter| *waiter != thread);
            }
        }
    }

    /// The running thread no longer belongs to a queue. One that ends leaves by itself, but not before others may know
    /// of its end.
    pub fn leave_queue(&mut self, thread: u32) {
        debug_assert!(matches!(self.rec(thread).state, State::Running | State::Terminated));
        if self.rec(thread).membership.is_none() {
            return;
        }
        self.member_blocks(thread);
        let rec = self.rec_mut(thread);
        rec.membership = Membership::NONE;
        rec.bound = rec.terminating;
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
