//! Alertable waits, alerts and user APCs.
//!
//! A user APC is a call of a routine in a thread's own process. It is queued to the thread and runs when the thread
//! waits alertably, calls NtTestAlert, or enters user mode for the first time: on the way to user mode
//! ([`before_user`]) the kernel saves the registers as a CONTEXT on the user's stack and goes on in the process's APC
//! dispatcher, which calls the routine and comes back with NtContinue. The dispatcher lock orders queueing, waits and
//! deliveries; the queue's own lock is taken under it.

use crate::arch::idt::TrapFrame;
use crate::arch::usercopy;
use crate::ke::sched::{self, USER_SELECTORS};
use crate::ke::trap;
use crate::kref::Ref;
use crate::ps::thread::{FLAG_APC, FLAG_CONTINUE, FLAG_END, FLAG_NEW, Thread};
use crate::quota::{Charge, Kind, QuotaBlock};
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::context::*;
use abi::mm::{USER_MAX, USER_MIN};
use abi::status::*;
use alloc::collections::VecDeque;
use antares_core::alpc::Waiter;
use antares_core::dispatch::{NEVER, Wait};
use core::sync::atomic::Ordering;
use zerocopy::{FromZeros, IntoBytes};

/// Most APCs queued to a thread.
const MAX_APCS: usize = 1024;
/// APCs for which a thread always keeps the memory.
const KEPT_APCS: usize = 16;
/// Kernel memory charged for an APC.
const APC_CHARGE: u64 = 64;
/// Bytes below the stack pointer that compiled code may use without moving it.
const RED_ZONE: u64 = 128;

/// A user APC.
pub struct Apc {
    routine: u64,
    arguments: [u64; 3],
    _charge: Charge,
}

impl Apc {
    /// An APC charged to `quota`.
    pub fn new(quota: &Ref<QuotaBlock>, routine: u64, arguments: [u64; 3]) -> Result<Self, NtStatus> {
        Ok(Self { routine, arguments, _charge: Charge::new(quota, Kind::Pool, APC_CHARGE)? })
    }
}

struct State {
    queue: VecDeque<Apc>,
    /// What NtContinue goes on with: which parts, and the registers.
    resume: Option<(u32, TrapFrame)>,
    closed: bool,
}

/// A thread's APCs.
pub struct Apcs {
    state: Lock<State, { rank::LEAF }>,
}

impl Apcs {
    /// None.
    pub const fn new() -> Self {
        Self { state: Lock::new(State { queue: VecDeque::new(), resume: None, closed: false }) }
    }

    /// The thread ends: frees what is queued and takes no more.
    pub fn close(&self) {
        let left = {
            let mut state = self.state.lock();
            state.closed = true;
            core::mem::take(&mut state.queue)
        };
        drop(left);
    }
}

// ----- waits ---------------------------------------------------------------------------------------------------------

/// How long an ALPC wait lasts, and whether alerts and APCs end it.
#[derive(Clone, Copy)]
pub struct Until {
    /// Deadline; 0 polls.
    pub deadline: u64,
    /// An alert or a user APC ends it.
    pub alertable: bool,
}

impl Until {
    /// For ever.
    pub const NEVER: Self = Self { deadline: NEVER, alertable: false };

    /// True when the wait need not even begin.
    pub const fn polls(self) -> bool {
        self.deadline == 0 && !self.alertable
    }
}

/// After an alertable wait: an APC that ended it is delivered on the way to user mode.
pub fn over(thread: &Thread, status: NtStatus, alertable: bool) {
    if alertable {
        sched::lock().end_alertable(thread.index);
        if status == STATUS_USER_APC {
            thread.flags.fetch_or(FLAG_APC, Ordering::AcqRel);
        }
    }
}

/// Waits for dispatcher objects, as [`sched::wait`]; an alert or an APC ends it if `alertable`.
pub fn wait(objects: &[u32], all: bool, deadline: u64, reason: u32, alertable: bool) -> NtStatus {
    if !alertable {
        return sched::wait(objects, all, deadline, reason);
    }
    let thread = sched::current();
    let mut d = sched::lock();
    let alerted = if d.would_block(objects, all) { d.begin_alertable(thread.index) } else { None };
    let started = match alerted {
        Some(status) => Wait::Done(status),
        None => d.wait(thread.index, objects, all, deadline, reason as u8),
    };
    let status = sched::finish_wait(d, started, thread.index, deadline);
    over(thread, status, true);
    status
}

/// Parks the current thread, as [`sched::park`].
pub fn park(waiter: Waiter, until: Until, reason: u32) -> NtStatus {
    let Until { deadline, alertable } = until;
    if !alertable {
        return sched::park(waiter, deadline, reason);
    }
    let thread = sched::current();
    let mut d = sched::lock();
    let woken = d.is_woken(waiter.thread, waiter.ticket);
    let alerted = if woken { None } else { d.begin_alertable(waiter.thread) };
    let started = match alerted {
        Some(status) => Wait::Done(status),
        None => d.park(waiter.thread, waiter.ticket, deadline, reason as u8),
    };
    let status = sched::finish_wait(d, started, waiter.thread, deadline);
    over(thread, status, true);
    status
}

/// The wait ended with this status, but the caller gets what it waited for all the same: an alert stays for later.
pub fn keep(status: NtStatus) {
    if status == STATUS_ALERTED {
        let thread = sched::current();
        sched::lock().alert(thread.index);
    }
}

/// NtTestAlert: true if there was an alert, which is taken; otherwise queued APCs will be delivered.
pub fn test() -> bool {
    let thread = sched::current();
    let found = sched::lock().test_alert(thread.index).map(NtStatus);
    if found == Some(STATUS_USER_APC) {
        thread.flags.fetch_or(FLAG_APC, Ordering::AcqRel);
    }
    found == Some(STATUS_ALERTED)
}

/// NtAlertThread. `false` when the thread ends.
pub fn alert(thread: &Thread) -> bool {
    let ends = thread.flags.load(Ordering::Acquire) & FLAG_END != 0;
    !ends && sched::with_thread(thread, |d| d.alert(thread.index)).is_some()
}

/// NtQueueApcThread.
///
/// # Errors
/// STATUS_UNSUCCESSFUL when the thread ends, STATUS_QUOTA_EXCEEDED when it has too many.
pub fn queue(thread: &Thread, apc: Apc) -> Result<(), NtStatus> {
    let queued = sched::with_thread(thread, |d| {
        let mut state = thread.apcs.state.lock();
        if state.closed {
            return Err(STATUS_UNSUCCESSFUL);
        }
        if state.queue.len() >= MAX_APCS {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        state.queue.try_reserve(1).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        state.queue.push_back(apc);
        drop(state);
        d.set_apcs(thread.index, true);
        Ok(())
    });
    queued.unwrap_or(Err(STATUS_UNSUCCESSFUL))
}

/// Takes the first APC of the current thread.
fn take(thread: &Thread) -> Option<Apc> {
    let mut d = sched::lock();
    let mut state = thread.apcs.state.lock();
    let apc = state.queue.pop_front();
    let more = !state.queue.is_empty();
    if !more && state.queue.capacity() > KEPT_APCS {
        // What is charged for queued APCs must bound their memory.
        state.queue = VecDeque::new();
    }
    drop(state);
    d.set_apcs(thread.index, more);
    apc
}

// ----- registers -----------------------------------------------------------------------------------------------------

/// The way to user mode of a thread with FLAG_APC, FLAG_CONTINUE or FLAG_NEW: puts in what NtContinue was given, then the
/// next APC.
pub fn before_user(thread: &Thread, frame: &mut TrapFrame) {
    let flags = thread.flags.fetch_and(!(FLAG_APC | FLAG_CONTINUE | FLAG_NEW), Ordering::AcqRel);
    let resume = thread.apcs.state.lock().resume.take();
    if let Some((parts, new)) = resume {
        let old = *frame;
        *frame = TrapFrame { vector: old.vector, error_code: old.error_code, ..new };
        if parts & CONTEXT_CONTROL != CONTEXT_CONTROL {
            (frame.rip, frame.rsp, frame.rflags) = (old.rip, old.rsp, old.rflags);
        }
        if parts & CONTEXT_INTEGER != CONTEXT_INTEGER {
            let control = *frame;
            *frame = TrapFrame { rip: control.rip, rsp: control.rsp, rflags: control.rflags, ..old };
        }
    }
    if flags & (FLAG_APC | FLAG_NEW) != 0
        && let Some(apc) = take(thread)
    {
        enter(thread, frame, &apc);
    }
}

/// Saves the registers on the user's stack and turns the frame to the APC dispatcher. A stack without room ends the
/// process, as a fault on it would.
fn enter(thread: &Thread, frame: &mut TrapFrame, apc: &Apc) {
    let context = context_of(thread, frame);
    let at = frame.rsp.wrapping_sub(RED_ZONE + size_of::<Context>() as u64) & !15;
    if !usercopy::to_user(at, context.as_bytes()) {
        return trap::end_program(frame, STATUS_STACK_OVERFLOW, Some(("write", at)));
    }
    let [first, second, third] = apc.arguments;
    (frame.rdi, frame.rsi) = (at, apc.routine);
    (frame.rdx, frame.rcx, frame.r8) = (first, second, third);
    frame.rsp = at - 8;
    frame.rip = thread.process.apc_dispatcher.load(Ordering::Relaxed);
    frame.rflags = 0x202;
}

fn context_of(thread: &Thread, frame: &TrapFrame) -> Context {
    let mut context = Context::new_zeroed();
    context.context_flags = CONTEXT_CONTROL | CONTEXT_INTEGER;
    (context.segments[0], context.segments[5]) = (frame.cs as u16, frame.ss as u16);
    context.eflags = frame.rflags as u32;
    (context.rip, context.rsp) = (frame.rip, frame.rsp);
    (context.rax, context.rcx, context.rdx, context.rbx) = (frame.rax, frame.rcx, frame.rdx, frame.rbx);
    (context.rbp, context.rsi, context.rdi) = (frame.rbp, frame.rsi, frame.rdi);
    (context.r8, context.r9, context.r10, context.r11) = (frame.r8, frame.r9, frame.r10, frame.r11);
    (context.r12, context.r13, context.r14, context.r15) = (frame.r12, frame.r13, frame.r14, frame.r15);
    if thread.save_float(&mut context.float_save) {
        context.context_flags |= CONTEXT_FLOATING_POINT;
        context.mx_csr = u32::from_le_bytes([
            context.float_save[24],
            context.float_save[25],
            context.float_save[26],
            context.float_save[27],
        ]);
    }
    context
}

/// NtContinue: the current thread goes on with the registers of a CONTEXT, which is not trusted: selectors are the
/// user's, of the flags only the harmless ones are taken, and the instruction pointer must be a user address.
///
/// # Errors
/// STATUS_INVALID_PARAMETER; nothing has changed then.
pub fn go_on(context: &Context) -> Result<(), NtStatus> {
    let thread = sched::current();
    let flags = context.context_flags;
    if flags & CONTEXT_AMD64 == 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    if flags & CONTEXT_CONTROL == CONTEXT_CONTROL && !(USER_MIN..USER_MAX).contains(&context.rip) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let c = context;
    let frame = TrapFrame {
        rip: c.rip,
        rsp: c.rsp,
        rflags: u64::from(c.eflags & EFLAGS_USER) | 0x202,
        cs: u64::from(USER_SELECTORS.0),
        ss: u64::from(USER_SELECTORS.1),
        rax: c.rax,
        rcx: c.rcx,
        rdx: c.rdx,
        rbx: c.rbx,
        rbp: c.rbp,
        rsi: c.rsi,
        rdi: c.rdi,
        r8: c.r8,
        r9: c.r9,
        r10: c.r10,
        r11: c.r11,
        r12: c.r12,
        r13: c.r13,
        r14: c.r14,
        r15: c.r15,
        vector: 0,
        error_code: 0,
    };
    if flags & CONTEXT_FLOATING_POINT == CONTEXT_FLOATING_POINT {
        thread.load_float(&context.float_save)?;
    }
    thread.apcs.state.lock().resume = Some((flags, frame));
    thread.flags.fetch_or(FLAG_CONTINUE, Ordering::AcqRel);
    Ok(())
}

/// NtContinue with TestAlert: the rest of the APCs run first. An alert is left for the next alertable wait.
pub fn run_rest() {
    let thread = sched::current();
    if !thread.apcs.state.lock().queue.is_empty() {
        thread.flags.fetch_or(FLAG_APC, Ordering::AcqRel);
    }
}
