//! Threads as the scheduler sees them: ready queues, waits, timers and dispatcher objects.
//!
//! One [`Dispatcher`] holds all of it, indexed, without pointers; the kernel keeps it under the dispatcher lock and
//! does the context switches that [`Dispatcher::schedule`] decides. It never allocates while a thread blocks or wakes:
//! room for links, timers and wait blocks is made when a thread or wait is set up.
//!
//! Two kinds of waits. A *dispatcher wait* ([`Dispatcher::wait`]) is on objects of this module. A *parked* thread
//! ([`Dispatcher::park`]) waits for someone who keeps its ticket, as ALPC does: the ticket is taken before the thread
//! is published as a waiter, and a wake-up that comes before the park is remembered, so none is lost.

mod alert;
mod queries;
mod queue;

pub use queries::WaitFacts;
pub use queue::{MAX_PACKETS, Packet, PostError};

use crate::{NoMemory, try_push};
use alert::Alerts;
use alloc::vec::Vec;
use queue::{Membership, Queues};

/// No thread, or no object.
pub const NONE: u32 = u32::MAX;
/// A deadline that never comes.
pub const NEVER: u64 = u64::MAX;
/// Priorities 0 to 31; 0 is below every thread of a program.
pub const PRIORITIES: usize = 32;
/// Most objects of one wait.
pub const MAX_WAIT_OBJECTS: usize = 64;

const STATUS_TIMEOUT: u32 = 0x102;
const STATUS_THREAD_IS_TERMINATING: u32 = 0xC000_004B;
const STATUS_INSUFFICIENT_RESOURCES: u32 = 0xC000_009A;

/// KTHREAD_STATE, NT's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Made, never readied.
    Initialized = 0,
    /// In a ready queue.
    Ready = 1,
    /// On a processor.
    Running = 2,
    /// Ended.
    Terminated = 4,
    /// Blocked.
    Waiting = 5,
}

/// Outcome of starting a wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Over at once, with this status.
    Done(u32),
    /// The thread is blocked; its processor must schedule another one.
    Blocked,
}

#[derive(Clone, Copy)]
struct Block {
    object: u32,
    prev: u32,
    next: u32,
}

struct ThreadRec<P> {
    payload: P,
    /// Not one that was forgotten.
    in_use: bool,
    state: State,
    reason: u8,
    priority: u8,
    base_priority: u8,
    affinity: u64,
    cpu: u32,
    prev: u32,
    next: u32,
    blocks: Vec<Block>,
    wait_all: bool,
    parked: bool,
    /// Parked without a deadline and counted by no completion queue: may be switched to directly.
    direct: bool,
    /// Is to end, or belongs to a completion queue: may not be switched from directly.
    bound: bool,
    ticket: u32,
    woken: u32,
    early_status: u32,
    status: u32,
    deadline: u64,
    heap: u32,
    terminating: bool,
    switches: u32,
    alerts: Alerts,
    membership: Membership,
}

struct Obj {
    signaled: bool,
    auto_reset: bool,
    head: u32,
    tail: u32,
}

#[derive(Clone, Copy)]
struct Queue {
    head: u32,
    tail: u32,
}

struct Cpu {
    online: bool,
    current: u32,
    /// A thread that was woken for this processor, whose current thread is about to block.
    handoff: u32,
    yielding: bool,
    ready_mask: u32,
    queues: [Queue; PRIORITIES],
}

/// A switch from a running thread to a parked one that may be done: [`Dispatcher::begin_switch`].
pub struct DirectSwitch<'a, P> {
    /// What the kernel gave for the parked thread.
    pub payload: P,
    cpu: &'a mut Cpu,
    number: u32,
    from: &'a mut ThreadRec<P>,
    to: &'a mut ThreadRec<P>,
    index: u32,
    switches: &'a mut u64,
}

impl<P> DirectSwitch<'_, P> {
    /// Parks the running thread with `ticket` and makes the other one the one that runs. The kernel switches at once.
    #[inline(always)]
    pub fn commit(self, ticket: u32, reason: u8) {
        let Self { from, to, .. } = self;
        (to.parked, to.direct) = (false, false);
        to.woken = to.ticket;
        to.status = 0;
        to.state = State::Running;
        to.cpu = self.number;
        to.switches = to.switches.wrapping_add(1);
        from.ticket = ticket;
        (from.parked, from.direct) = (true, true);
        from.state = State::Waiting;
        from.reason = reason;
        self.cpu.current = self.index;
        *self.switches += 1;
    }
}

/// Facts about a thread, for queries.
#[derive(Clone, Copy, Debug)]
pub struct ThreadInfo {
    /// State.
    pub state: State,
    /// Wait reason given to the wait.
    pub reason: u8,
    /// Priority now.
    pub priority: u8,
    /// Base priority.
    pub base_priority: u8,
    /// Processors allowed.
    pub affinity: u64,
    /// Processor it runs on or ran on last.
    pub cpu: u32,
    /// Times it was switched to.
    pub switches: u32,
}

/// See the module head. `P` is what the kernel needs to switch to a thread.
pub struct Dispatcher<P> {
    threads: Vec<ThreadRec<P>>,
    free_threads: Vec<u32>,
    objects: Vec<Obj>,
    cpus: Vec<Cpu>,
    timers: Vec<(u64, u32)>,
    queues: Queues,
    kicks: u64,
    switches: u64,
}

impl<P: Copy> Default for Dispatcher<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Copy> Dispatcher<P> {
    /// No processor, no thread.
    pub const fn new() -> Self {
        Self {
            threads: Vec::new(),
            free_threads: Vec::new(),
            objects: Vec::new(),
            cpus: Vec::new(),
            timers: Vec::new(),
            queues: Queues::new(),
            kicks: 0,
            switches: 0,
        }
    }

    /// Makes room for threads and objects, so that their usual number needs no more memory later.
    pub fn reserve(&mut self, threads: usize, objects: usize) -> Result<(), NoMemory> {
        self.threads.try_reserve(threads).map_err(|_| NoMemory)?;
        self.free_threads.try_reserve(threads).map_err(|_| NoMemory)?;
        self.timers.try_reserve(threads).map_err(|_| NoMemory)?;
        self.objects.try_reserve(objects).map_err(|_| NoMemory)
    }

    /// Adds the next processor (numbered from 0), offline.
    pub fn add_cpu(&mut self) -> Result<(), NoMemory> {
        let queues = [Queue { head: NONE, tail: NONE }; PRIORITIES];
        try_push(
            &mut self.cpus,
            Cpu { online: false, current: NONE, handoff: NONE, yielding: false, ready_mask: 0, queues },
        )
    }

    /// The processor takes threads from now on.
    pub fn set_online(&mut self, cpu: u32) {
        self.cpus[cpu as usize].online = true;
    }

    /// Processors that must be made to schedule (each once), and forgets them.
    pub fn take_kicks(&mut self) -> u64 {
        core::mem::take(&mut self.kicks)
    }

    /// Context switches so far.
    pub const fn switch_count(&self) -> u64 {
        self.switches
    }

    fn rec(&self, thread: u32) -> &ThreadRec<P> {
        let rec = &self.threads[thread as usize];
        debug_assert!(rec.in_use, "a live thread index");
        rec
    }

    fn rec_mut(&mut self, thread: u32) -> &mut ThreadRec<P> {
        let rec = &mut self.threads[thread as usize];
        debug_assert!(rec.in_use, "a live thread index");
        rec
    }

    // ----- threads -------------------------------------------------------------------------------------------

    /// Makes a thread record; it does not run before [`Dispatcher::make_ready`].
    pub fn add_thread(&mut self, payload: P, priority: u8, affinity: u64) -> Result<u32, NoMemory> {
        let priority = priority.min(PRIORITIES as u8 - 1);
        let rec = ThreadRec {
            payload,
            in_use: true,
            state: State::Initialized,
            reason: 0,
            priority,
            base_priority: priority,
            affinity,
            cpu: affinity.trailing_zeros().min(self.cpus.len() as u32 - 1),
            prev: NONE,
            next: NONE,
            blocks: Vec::new(),
            wait_all: false,
            parked: false,
            direct: false,
            bound: false,
            ticket: 0,
            woken: 0,
            early_status: 0,
            status: 0,
            deadline: NEVER,
            heap: NONE,
            terminating: false,
            switches: 0,
            alerts: Alerts::default(),
            membership: Membership::NONE,
        };
        if let Some(index) = self.free_threads.pop() {
            self.threads[index as usize] = rec;
            return Ok(index);
        }
        let index = self.threads.len() as u32;
        self.timers.try_reserve(self.threads.len() + 1 - self.timers.len()).map_err(|_| NoMemory)?;
        self.free_threads.try_reserve(self.threads.len() + 1).map_err(|_| NoMemory)?;
        try_push(&mut self.threads, rec)?;
        Ok(index)
    }

    /// Forgets a thread that never ran or has ended.
    pub fn remove_thread(&mut self, thread: u32) {
        debug_assert!(matches!(self.rec(thread).state, State::Initialized | State::Terminated));
        let rec = self.rec_mut(thread);
        rec.in_use = false;
        rec.direct = false;
        rec.blocks = Vec::new();
        // Room was made when the index was first given out.
        self.free_threads.push(thread);
    }

    /// What the kernel gave for this thread.
    pub fn payload(&self, thread: u32) -> P {
        self.rec(thread).payload
    }

    /// What the kernel gave for this thread, if the index is in use.
    pub fn try_payload(&self, thread: u32) -> Option<P> {
        self.threads.get(thread as usize).filter(|rec| rec.in_use).map(|rec| rec.payload)
    }

    /// Replaces what the kernel gave for this thread.
    pub fn set_payload(&mut self, thread: u32, payload: P) {
        self.rec_mut(thread).payload = payload;
    }

    /// The processor it runs on, if it runs.
    pub fn running_on(&self, thread: u32) -> Option<u32> {
        let rec = self.rec(thread);
        (rec.state == State::Running).then_some(rec.cpu)
    }

    /// Facts for queries.
    pub fn info(&self, thread: u32) -> ThreadInfo {
        let rec = self.rec(thread);
        ThreadInfo {
            state: rec.state,
            reason: rec.reason,
            priority: rec.priority,
            base_priority: rec.base_priority,
            affinity: rec.affinity,
            cpu: rec.cpu,
            switches: rec.switches,
        }
    }

    /// Puts an initialized thread into a ready queue.
    pub fn make_ready(&mut self, thread: u32) {
        let cpu = self.choose_cpu(thread);
        self.enqueue(thread, cpu, false);
    }

    fn choose_cpu(&self, thread: u32) -> u32 {
        let rec = self.rec(thread);
        let allowed = |cpu: u32| rec.affinity >> cpu & 1 == 1 && self.cpus[cpu as usize].online;
        let idle = |cpu: u32| {
            let c = &self.cpus[cpu as usize];
            c.current == NONE && c.ready_mask == 0
        };
        if allowed(rec.cpu) && idle(rec.cpu) {
            return rec.cpu;
        }
        let mut lowest: Option<(u8, u32)> = None;
        for cpu in (0..self.cpus.len() as u32).filter(|c| allowed(*c)) {
            if idle(cpu) {
                return cpu;
            }
            let running = match self.cpus[cpu as usize].current {
                NONE => 0,
                current => self.rec(current).priority,
            };
            let queued = self.top_priority(cpu).unwrap_or(0);
            let busy = running.max(queued);
            if lowest.is_none_or(|(p, _)| busy < p) {
                lowest = Some((busy, cpu));
            }
        }
        match lowest {
            Some((priority, cpu)) if priority < rec.priority || !allowed(rec.cpu) => cpu,
            _ => rec.cpu,
        }
    }

    fn top_priority(&self, cpu: u32) -> Option<u8> {
        let mask = self.cpus[cpu as usize].ready_mask;
        (mask != 0).then(|| 31 - mask.leading_zeros() as u8)
    }

    fn enqueue(&mut self, thread: u32, cpu: u32, at_head: bool) {
        let rec = self.rec_mut(thread);
        rec.state = State::Ready;
        rec.cpu = cpu;
        let priority = rec.priority;
        let queue = self.cpus[cpu as usize].queues[priority as usize];
        let (prev, next) = if at_head { (NONE, queue.head) } else { (queue.tail, NONE) };
        let rec = self.rec_mut(thread);
        rec.prev = prev;
        rec.next = next;
        let mut queue = queue;
        match prev {
            NONE => queue.head = thread,
            prev => self.rec_mut(prev).next = thread,
        }
        match next {
            NONE => queue.tail = thread,
            next => self.rec_mut(next).prev = thread,
        }
        let current = self.cpus[cpu as usize].current;
        let preempts = current == NONE || self.rec(current).priority < priority;
        let c = &mut self.cpus[cpu as usize];
        c.queues[priority as usize] = queue;
        c.ready_mask |= 1 << priority;
        if preempts {
            self.kicks |= 1 << cpu;
        }
    }

    fn dequeue(&mut self, thread: u32) {
        let rec = self.rec(thread);
        let (cpu, priority, prev, next) = (rec.cpu as usize, rec.priority as usize, rec.prev, rec.next);
        match prev {
            NONE => self.cpus[cpu].queues[priority].head = next,
            prev => self.rec_mut(prev).next = next,
        }
        match next {
            NONE => self.cpus[cpu].queues[priority].tail = prev,
            next => self.rec_mut(next).prev = prev,
        }
        if self.cpus[cpu].queues[priority].head == NONE {
            self.cpus[cpu].ready_mask &= !(1 << priority);
        }
        let rec = self.rec_mut(thread);
        rec.prev = NONE;
        rec.next = NONE;
    }

    /// The thread a processor runs ([`NONE`] when idle).
    pub fn current(&self, cpu: u32) -> u32 {
        self.cpus[cpu as usize].current
    }

    /// The running thread lets others of its priority go first at the next [`Dispatcher::schedule`]. `false` when
    /// there are none.
    pub fn yield_current(&mut self, cpu: u32) -> bool {
        let current = self.cpus[cpu as usize].current;
        let others =
            current != NONE && self.top_priority(cpu).is_some_and(|p| p >= self.rec(current).priority);
        self.cpus[cpu as usize].yielding = others;
        others
    }

    /// The processor's current thread did not block after all: a thread handed over to it is queued like any other.
    pub fn settle(&mut self, cpu: u32) {
        self.settle_handoff(cpu);
    }

    /// True when [`Dispatcher::schedule`] might choose another thread than the current one.
    pub fn has_ready(&self, cpu: u32) -> bool {
        self.cpus[cpu as usize].ready_mask != 0
    }

    /// Makes the thread that was handed over current, if the processor's own has blocked and nothing comes before it.
    fn take_handoff(&mut self, cpu: u32) -> Option<u32> {
        let c = &mut self.cpus[cpu as usize];
        let (current, handed, mask) = (c.current, c.handoff, c.ready_mask);
        if current != NONE && self.rec(current).state == State::Running {
            return None;
        }
        let rec = self.rec_mut(handed);
        if rec.affinity >> cpu & 1 == 0 || u64::from(mask) >> (rec.priority + 1) != 0 {
            return None;
        }
        rec.state = State::Running;
        rec.switches = rec.switches.wrapping_add(1);
        self.switches += 1;
        let c = &mut self.cpus[cpu as usize];
        c.handoff = NONE;
        c.current = handed;
        Some(handed)
    }

    /// Puts a thread that was handed over, and did not get the processor, into the ready queue.
    fn settle_handoff(&mut self, cpu: u32) {
        let thread = core::mem::replace(&mut self.cpus[cpu as usize].handoff, NONE);
        if thread != NONE {
            self.make_ready(thread);
        }
    }

    /// Chooses what the processor runs next and makes it current ([`NONE`]: nothing).
    ///
    /// A current thread that still runs keeps the processor unless a higher priority is ready, or an equal one after
    /// [`Dispatcher::yield_current`].
    pub fn schedule(&mut self, cpu: u32) -> u32 {
        if self.cpus[cpu as usize].handoff != NONE {
            if let Some(thread) = self.take_handoff(cpu) {
                return thread;
            }
            self.settle_handoff(cpu);
        }
        let current = self.cpus[cpu as usize].current;
        let yielding = core::mem::take(&mut self.cpus[cpu as usize].yielding);
        let best = self.top_priority(cpu);
        if current != NONE && self.rec(current).state == State::Running {
            let rec = self.rec(current);
            let priority = rec.priority;
            let allowed = rec.affinity >> cpu & 1 == 1;
            let keep = match best {
                None => true,
                Some(best) => best < priority || (best == priority && !yielding),
            };
            if keep && allowed {
                return current;
            }
            self.cpus[cpu as usize].current = NONE;
            if allowed {
                self.enqueue(current, cpu, !yielding);
                self.kicks &= !(1 << cpu);
            } else {
                let other = self.choose_cpu(current);
                self.enqueue(current, other, false);
            }
        }
        let next = match self.top_priority(cpu) {
            Some(priority) => self.cpus[cpu as usize].queues[priority as usize].head,
            None => self.steal(cpu),
        };
        self.cpus[cpu as usize].current = next;
        if next != NONE {
            self.dequeue(next);
            let rec = self.rec_mut(next);
            rec.state = State::Running;
            rec.cpu = cpu;
            if next != current {
                rec.switches = rec.switches.wrapping_add(1);
                self.switches += 1;
            }
        }
        next
    }

    /// The best ready thread of another processor that may run here.
    fn steal(&self, cpu: u32) -> u32 {
        let mut found = NONE;
        let mut best = 0;
        for (other, c) in self.cpus.iter().enumerate() {
            if other == cpu as usize || c.ready_mask == 0 {
                continue;
            }
            let mut mask = c.ready_mask;
            while mask != 0 {
                let priority = 31 - mask.leading_zeros();
                if found != NONE && priority as u8 <= best {
                    break;
                }
                let mut thread = c.queues[priority as usize].head;
                while thread != NONE && self.rec(thread).affinity >> cpu & 1 == 0 {
                    thread = self.rec(thread).next;
                }
                if thread != NONE {
                    found = thread;
                    best = priority as u8;
                    break;
                }
                mask &= !(1 << priority);
            }
        }
        found
    }

    /// Ends the thread a processor runs; [`Dispatcher::schedule`] must follow.
    pub fn exit_current(&mut self, cpu: u32) {
        let current = self.cpus[cpu as usize].current;
        self.rec_mut(current).state = State::Terminated;
        self.leave_queue(current);
    }

    /// Marks a thread as ending: a wait it is in ends with STATUS_THREAD_IS_TERMINATING, and so does every later one.
    /// Returns the processor it runs on, if it runs.
    pub fn terminate(&mut self, thread: u32) -> Option<u32> {
        let rec = self.rec_mut(thread);
        (rec.terminating, rec.bound) = (true, true);
        match self.rec(thread).state {
            State::Waiting => {
                self.end_wait(thread, STATUS_THREAD_IS_TERMINATING, None);
                None
            }
            State::Running => Some(self.rec(thread).cpu),
            _ => None,
        }
    }

    /// Queues a thread if it was handed over and has not run yet.
    fn settle_thread(&mut self, thread: u32) {
        let cpu = self.rec(thread).cpu;
        if self.cpus[cpu as usize].handoff == thread {
            self.settle_handoff(cpu);
        }
    }

    /// Changes priority and base priority.
    pub fn set_priority(&mut self, thread: u32, priority: u8) {
        let priority = priority.min(PRIORITIES as u8 - 1);
        let state = self.rec(thread).state;
        self.settle_thread(thread);
        if state == State::Ready {
            self.dequeue(thread);
        }
        let rec = self.rec_mut(thread);
        rec.priority = priority;
        rec.base_priority = priority;
        let cpu = rec.cpu;
        match state {
            State::Ready => self.make_ready(thread),
            State::Running if self.top_priority(cpu).is_some_and(|p| p > priority) => {
                self.kicks |= 1 << cpu;
            }
            _ => {}
        }
    }

    /// Changes the allowed processors (at least one online one must be among them: `false` otherwise).
    pub fn set_affinity(&mut self, thread: u32, affinity: u64) -> bool {
        let online = self.cpus.iter().enumerate().any(|(i, c)| c.online && affinity >> i & 1 == 1);
        if !online {
            return false;
        }
        let state = self.rec(thread).state;
        self.settle_thread(thread);
        if state == State::Ready {
            self.dequeue(thread);
        }
        self.rec_mut(thread).affinity = affinity;
        let cpu = self.rec(thread).cpu;
        match state {
            State::Ready => self.make_ready(thread),
            State::Running if affinity >> cpu & 1 == 0 => self.kicks |= 1 << cpu,
            _ => {}
        }
        true
    }

    // ----- parking -------------------------------------------------------------------------------------------

    /// Blocks the running thread until [`Dispatcher::unpark`] with this ticket, the deadline, or its termination.
    ///
    /// Tickets are the thread's own count: each park has the next one. It may be taken, and the thread published as a
    /// waiter, before the park and without the dispatcher's lock.
    pub fn park(&mut self, thread: u32, ticket: u32, deadline: u64, reason: u8) -> Wait {
        let rec = self.rec_mut(thread);
        rec.ticket = ticket;
        if rec.woken == ticket {
            return Wait::Done(rec.early_status);
        }
        if rec.terminating {
            return Wait::Done(STATUS_THREAD_IS_TERMINATING);
        }
        if deadline == 0 {
            return Wait::Done(STATUS_TIMEOUT);
        }
        rec.parked = true;
        rec.direct = deadline == NEVER && rec.membership.is_none();
        self.block(thread, deadline, reason);
        Wait::Blocked
    }

    /// Wakes a parked thread, or keeps it from parking with this ticket. Ignored (`false`) when the ticket is used up.
    /// With `hint`, the thread is handed that processor, whose current thread is about to block and schedule; if that does not
    /// happen the next [`Dispatcher::schedule`] or [`Dispatcher::settle`] there queues it.
    pub fn unpark(&mut self, thread: u32, ticket: u32, status: u32, hint: Option<u32>) -> bool {
        let Some(rec) = self.threads.get_mut(thread as usize).filter(|rec| rec.in_use) else { return false };
        // Tickets only grow: one that is not newer than the last wake-up is used up.
        if ticket.wrapping_sub(rec.woken).cast_signed() <= 0 {
            return false;
        }
        if rec.state == State::Waiting && rec.parked {
            if rec.ticket != ticket {
                return false;
            }
            self.end_wait(thread, status, hint);
        } else {
            // Not parked yet. A ticket older than the next park's does no harm: no later park has it.
            rec.early_status = status;
        }
        self.rec_mut(thread).woken = ticket;
        true
    }

    /// A direct switch on `cpu` from the thread `from`, which runs there, to `to`, which is parked with `ticket`: it gets
    /// the rest of the time slice. `None`: it no longer waits, or has a deadline, may not run here, something more
    /// urgent is ready here, the running thread is to end, or a completion queue counts one of them. Nothing is changed yet.
    #[inline(always)]
    pub fn begin_switch(&mut self, cpu: u32, from: u32, to: u32, ticket: u32) -> Option<DirectSwitch<'_, P>> {
        let c = self.cpus.get_mut(cpu as usize)?;
        let Ok([from, rec]) = self.threads.get_disjoint_mut([from as usize, to as usize]) else {
            return None;
        };
        if rec.ticket != ticket
            || !rec.direct
            || from.bound
            || rec.affinity >> cpu & 1 == 0
            || (c.ready_mask != 0 && u64::from(c.ready_mask) >> (rec.priority + 1) != 0)
            || c.handoff != NONE
        {
            return None;
        }
        Some(DirectSwitch {
            payload: rec.payload,
            cpu: c,
            number: cpu,
            from,
            to: rec,
            index: to,
            switches: &mut self.switches,
        })
    }

    fn block(&mut self, thread: u32, deadline: u64, reason: u8) {
        let rec = self.rec_mut(thread);
        rec.state = State::Waiting;
        rec.reason = reason;
        rec.deadline = deadline;
        let member = !rec.membership.is_none();
        if deadline != NEVER {
            self.timer_insert(thread);
        }
        if member {
            self.member_blocks(thread);
        }
    }

    fn end_wait(&mut self, thread: u32, status: u32, hint: Option<u32>) {
        let rec = self.rec(thread);
        let (waits, timed) = (!rec.blocks.is_empty(), rec.heap != NONE);
        if !rec.membership.is_none() {
            self.member_wakes(thread);
        }
        if waits {
            self.unlink_blocks(thread);
        }
        if timed {
            self.timer_remove(thread);
        }
        let rec = self.rec_mut(thread);
        rec.status = status;
        rec.direct = false;
        if core::mem::take(&mut rec.parked) {
            rec.woken = rec.ticket;
        }
        if let Some(cpu) = hint
            && rec.affinity >> cpu & 1 == 1
            && let Some(slot) = self.cpus.get_mut(cpu as usize).filter(|c| c.handoff == NONE)
        {
            slot.handoff = thread;
            let rec = self.rec_mut(thread);
            rec.state = State::Ready;
            rec.cpu = cpu;
        } else {
            self.make_ready(thread);
        }
    }

    /// Status that the thread's last wait ended with.
    pub fn wait_status(&self, thread: u32) -> u32 {
        self.rec(thread).status
    }

    // ----- dispatcher objects ----------------------------------------------------------------------------------

    /// Makes an object: a synchronization object (`auto_reset`) or a notification object.
    pub fn add_object(&mut self, auto_reset: bool, signaled: bool) -> Result<u32, NoMemory> {
        try_push(&mut self.objects, Obj { signaled, auto_reset, head: NONE, tail: NONE })?;
        Ok(self.objects.len() as u32 - 1)
    }

    /// Makes an object that nobody waits on into a new one.
    pub fn reuse_object(&mut self, object: u32, auto_reset: bool, signaled: bool) {
        let obj = &mut self.objects[object as usize];
        debug_assert!(obj.head == NONE);
        obj.auto_reset = auto_reset;
        obj.signaled = signaled;
    }

    /// True when signalled.
    pub fn is_signaled(&self, object: u32) -> bool {
        self.objects[object as usize].signaled
    }

    /// True for a synchronization object.
    pub fn is_auto_reset(&self, object: u32) -> bool {
        self.objects[object as usize].auto_reset
    }

    /// Signals an object and wakes whom that satisfies. Returns the former state.
    pub fn signal(&mut self, object: u32) -> bool {
        let was = core::mem::replace(&mut self.objects[object as usize].signaled, true);
        self.satisfy_waiters(object);
        was
    }

    /// Resets an object. Returns the former state.
    pub fn clear(&mut self, object: u32) -> bool {
        core::mem::replace(&mut self.objects[object as usize].signaled, false)
    }

    /// Signals for those who wait now, then resets. Returns the former state.
    pub fn pulse(&mut self, object: u32) -> bool {
        let was = self.signal(object);
        self.clear(object);
        was
    }

    /// Starts a wait of the running thread on one or several objects.
    pub fn wait(&mut self, thread: u32, objects: &[u32], all: bool, deadline: u64, reason: u8) -> Wait {
        if self.rec(thread).terminating {
            return Wait::Done(STATUS_THREAD_IS_TERMINATING);
        }
        if all {
            if objects.iter().all(|o| self.is_signaled(*o)) {
                objects.iter().for_each(|o| self.consume(*o));
                return Wait::Done(0);
            }
        } else if let Some(at) = objects.iter().position(|o| self.is_signaled(*o)) {
            self.consume(objects[at]);
            return Wait::Done(at as u32);
        }
        if deadline == 0 {
            return Wait::Done(STATUS_TIMEOUT);
        }
        let rec = self.rec_mut(thread);
        rec.blocks.clear();
        if rec.blocks.try_reserve(objects.len()).is_err() {
            return Wait::Done(STATUS_INSUFFICIENT_RESOURCES);
        }
        rec.wait_all = all;
        for (at, object) in objects.iter().enumerate() {
            let link = thread * MAX_WAIT_OBJECTS as u32 + at as u32;
            let prev = self.objects[*object as usize].tail;
            self.rec_mut(thread).blocks.push(Block { object: *object, prev, next: NONE });
            match prev {
                NONE => self.objects[*object as usize].head = link,
                prev => self.link_mut(prev).next = link,
            }
            self.objects[*object as usize].tail = link;
        }
        self.block(thread, deadline, reason);
        Wait::Blocked
    }

    fn link_mut(&mut self, link: u32) -> &mut Block {
        let at = link as usize % MAX_WAIT_OBJECTS;
        &mut self.rec_mut(link / MAX_WAIT_OBJECTS as u32).blocks[at]
    }

    fn unlink_blocks(&mut self, thread: u32) {
        let count = self.rec(thread).blocks.len();
        for at in 0..count {
            let Block { object, prev, next } = self.rec(thread).blocks[at];
            match prev {
                NONE => self.objects[object as usize].head = next,
                prev => self.link_mut(prev).next = next,
            }
            match next {
                NONE => self.objects[object as usize].tail = prev,
                next => self.link_mut(next).prev = prev,
            }
        }
        self.rec_mut(thread).blocks.clear();
    }

    fn consume(&mut self, object: u32) {
        let obj = &mut self.objects[object as usize];
        if obj.auto_reset {
            obj.signaled = false;
        }
    }

    fn satisfy_waiters(&mut self, object: u32) {
        let mut link = self.objects[object as usize].head;
        while link != NONE && self.objects[object as usize].signaled {
            let thread = link / MAX_WAIT_OBJECTS as u32;
            let at = link as usize % MAX_WAIT_OBJECTS;
            let rec = self.rec(thread);
            link = rec.blocks[at].next;
            if rec.wait_all {
                if !rec.blocks.iter().all(|b| self.objects[b.object as usize].signaled) {
                    continue;
                }
                for i in 0..self.rec(thread).blocks.len() {
                    let object = self.rec(thread).blocks[i].object;
                    self.consume(object);
                }
                self.end_wait(thread, 0, None);
            } else {
                self.consume(object);
                // The same object may stand in the list twice; its next link must not be one that goes with it.
                while link != NONE && link / MAX_WAIT_OBJECTS as u32 == thread {
                    link = self.link_mut(link).next;
                }
                self.end_wait(thread, at as u32, None);
            }
        }
    }

    // ----- timers ----------------------------------------------------------------------------------------------

    /// The earliest deadline ([`NEVER`] when there is none).
    pub fn next_deadline(&self) -> u64 {
        self.timers.first().map_or(NEVER, |t| t.0)
    }

    /// Ends the waits whose deadlines have come.
    pub fn expire(&mut self, now: u64) {
        while let Some(&(deadline, thread)) = self.timers.first()
            && deadline <= now
        {
            self.end_wait(thread, STATUS_TIMEOUT, None);
        }
    }

    fn timer_insert(&mut self, thread: u32) {
        let at = self.timers.len();
        self.timers.push((self.rec(thread).deadline, thread));
        self.rec_mut(thread).heap = at as u32;
        self.sift_up(at);
    }

    fn timer_remove(&mut self, thread: u32) {
        let at = core::mem::replace(&mut self.rec_mut(thread).heap, NONE);
        if at == NONE {
            return;
        }
        let at = at as usize;
        let last = self.timers.len() - 1;
        self.timers.swap(at, last);
        self.timers.pop();
        if at < last {
            self.rec_mut(self.timers[at].1).heap = at as u32;
            self.sift_up(at);
            self.sift_down(at);
        }
    }

    fn timer_swap(&mut self, a: usize, b: usize) {
        self.timers.swap(a, b);
        self.rec_mut(self.timers[a].1).heap = a as u32;
        self.rec_mut(self.timers[b].1).heap = b as u32;
    }

    fn sift_up(&mut self, mut at: usize) {
        while at > 0 && self.timers[at].0 < self.timers[(at - 1) / 2].0 {
            self.timer_swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut least = at;
            if left < self.timers.len() && self.timers[left].0 < self.timers[least].0 {
                least = left;
            }
            if right < self.timers.len() && self.timers[right].0 < self.timers[least].0 {
                least = right;
            }
            if least == at {
                return;
            }
            self.timer_swap(at, least);
            at = least;
        }
    }
}

#[cfg(test)]
mod tests;
