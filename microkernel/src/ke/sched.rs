//! Running threads: the dispatcher lock, blocking, switching, the timer, the idle loop.
//!
//! Decisions are [`antares_core::dispatch`]'s; this module carries them out. The dispatcher lock is held across the
//! switch and opened on the other side, so no other processor takes a thread whose registers are not saved yet. A
//! thread in the kernel is never preempted: it gives the processor up where it blocks, or on its way back to user mode.

use crate::arch::percpu::PerCpu;
use crate::arch::{apic, cpu, entry, fpu, gdt, percpu, switch, time};
use crate::kref::Ref;
use crate::mm::kernel_root;
use crate::ps::thread::Thread;
use crate::sync::{Guard, Lock, rank};
use crate::trace;
use abi::NtStatus;
use abi::status::STATUS_INSUFFICIENT_RESOURCES;
use antares_core::alpc::Waiter;
use antares_core::dispatch::{Dispatcher, NEVER, NONE, Wait};
use core::ops::{Deref, DerefMut};
use core::ptr::null;
use core::sync::atomic::Ordering;

/// A thread as the dispatcher keeps it: alive as long as its dispatcher record.
#[derive(Clone, Copy)]
pub struct ThreadPointer(pub *const Thread);

// SAFETY: the pointer is only followed while the record exists, which the thread outlives.
unsafe impl Send for ThreadPointer {}

/// Its first byte is known to [`entry::return_to_user`].
pub(crate) static DISPATCHER: Lock<Dispatcher<ThreadPointer>, { rank::DISPATCH }> =
    Lock::new(Dispatcher::new());

/// Length of a clock tick in 100 ns: a thread has the processor that long before an equal one's turn.
const TICK_100NS: u64 = 100_000;

/// The dispatcher lock. When it opens, processors that must schedule are told so.
pub struct DispatchGuard {
    guard: Option<Guard<'static, Dispatcher<ThreadPointer>, { rank::DISPATCH }>>,
}

/// Takes the dispatcher lock.
pub fn lock() -> DispatchGuard {
    DispatchGuard { guard: Some(DISPATCHER.lock()) }
}

impl Deref for DispatchGuard {
    type Target = Dispatcher<ThreadPointer>;
    fn deref(&self) -> &Self::Target {
        self.guard.as_ref().expect("held until dropped")
    }
}

impl DerefMut for DispatchGuard {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.guard.as_mut().expect("held until dropped")
    }
}

impl Drop for DispatchGuard {
    fn drop(&mut self) {
        let Some(mut guard) = self.guard.take() else { return };
        let kicks = guard.take_kicks();
        let next = guard.next_deadline();
        drop(guard);
        arm_for(next);
        kick(kicks);
    }
}

#[inline]
fn kick(kicks: u64) {
    if kicks != 0 {
        kick_them(kicks);
    }
}

#[cold]
fn kick_them(kicks: u64) {
    let me = percpu::this();
    if kicks >> me.index & 1 == 1 {
        me.reschedule.store(true, Ordering::Relaxed);
    }
    for index in (0..percpu::count()).filter(|i| *i != me.index && kicks >> i & 1 == 1) {
        apic::send_ipi(percpu::of(index).apic_id.load(Ordering::Relaxed), apic::RESCHEDULE);
    }
}

/// Makes sure that the timer fires no later than `deadline`.
fn arm_for(deadline: u64) {
    let me = percpu::this();
    if deadline < me.armed.load(Ordering::Relaxed) {
        me.armed.store(deadline, Ordering::Relaxed);
        apic::timer_one_shot(deadline.saturating_sub(cpu::rdtsc()));
    }
}

fn tick_end() -> u64 {
    cpu::rdtsc().saturating_add(time::ns100_to_ticks(TICK_100NS))
}

/// The timer fired.
pub fn timer_interrupt() {
    let me = percpu::this();
    let now = cpu::rdtsc();
    me.armed.store(NEVER, Ordering::Relaxed);
    let mut d = lock();
    d.expire(now);
    if !percpu::is_idle() {
        if d.yield_current(me.index) {
            me.reschedule.store(true, Ordering::Relaxed);
        }
        arm_for(tick_end());
    }
}

/// Does something with a thread's dispatcher record, if it has not ended.
pub fn with_thread<R>(thread: &Thread, with: impl FnOnce(&mut DispatchGuard) -> R) -> Option<R> {
    let mut guard = lock();
    let alive = guard.try_payload(thread.index).is_some_and(|p| core::ptr::eq(p.0, thread));
    alive.then(|| with(&mut guard))
}

/// Looks at the dispatcher, for the debug console; `None` when it is locked.
pub fn peek<R>(with: impl FnOnce(&Dispatcher<ThreadPointer>) -> R) -> Option<R> {
    Some(with(&*DISPATCHER.try_lock()?))
}

/// Makes room for the usual number of threads and dispatcher objects.
pub fn init() -> Result<(), NtStatus> {
    lock().reserve(512, 2048).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
}

/// Adds a processor to the dispatcher.
pub fn add_cpu() -> Result<(), NtStatus> {
    lock().add_cpu().map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
}

/// The thread this processor runs.
///
/// # Panics
/// In the idle loop, which makes no system calls.
pub fn current() -> &'static Thread {
    let thread = percpu::current_pointer();
    assert!(!thread.is_null(), "no current thread");
    // SAFETY: the current thread is alive until it has left its processor, and so for as long as its own code runs.
    unsafe { &*thread }
}

/// A counted reference to the current thread.
pub fn current_ref() -> Ref<Thread> {
    // SAFETY: threads are only ever made in `Ref`s, and the current one is alive.
    unsafe { Ref::from_alive(current()) }
}

/// Schedules, switching if another thread is chosen. The lock is open afterwards.
fn reschedule(guard: DispatchGuard) {
    reschedule_for(guard, NONE);
}

/// As [`reschedule`]; returns the status of the wait that `thread`, which called this, was in.
fn reschedule_for(mut guard: DispatchGuard, thread: u32) -> u32 {
    let status = |d: &Dispatcher<ThreadPointer>| if thread == NONE { 0 } else { d.wait_status(thread) };
    let me = percpu::this();
    let previous = percpu::current_pointer();
    me.reschedule.store(false, Ordering::Relaxed);
    let index = guard.schedule(me.index);
    let next = if index == NONE { null() } else { guard.payload(index).0 };
    if core::ptr::eq(previous, next) {
        return status(&guard);
    }
    let kicks = guard.take_kicks() & !(1 << me.index);
    kick(kicks);
    if trace::records_switches() {
        // SAFETY: null, or threads with dispatcher records, which the held lock keeps.
        let (from, to) = unsafe { (previous.as_ref(), next.as_ref()) };
        trace::switch(from, to);
    }
    core::mem::forget(guard);
    switch_to(me, previous, next);
    finish_switch(status)
}

/// Goes from one thread (null: the idle loop) to another. The dispatcher lock is held.
#[inline(always)]
fn switch_to(me: &PerCpu, previous: *const Thread, next: *const Thread) {
    // SAFETY: both are null or threads with dispatcher records, which the held lock keeps.
    let (previous, next) = unsafe { (previous.as_ref(), next.as_ref()) };
    count_time(me, previous);
    if let Some(area) = previous.and_then(Thread::fpu_area) {
        // SAFETY: the area is the running thread's own, made with the right size.
        unsafe { fpu::save(area) };
    }
    me.set_current(next.map_or(null(), core::ptr::from_ref));
    match next {
        Some(next) => {
            enter(me, next);
            load_fpu(me, next);
        }
        None => crate::arch::paging::load(kernel_root()),
    }
    let save = previous.map_or(me.idle_rsp.as_ptr(), |t| t.saved_rsp.as_ptr());
    let load =
        next.map_or_else(|| me.idle_rsp.load(Ordering::Relaxed), |t| t.saved_rsp.load(Ordering::Relaxed));
    if previous.is_none() {
        arm_for(tick_end());
    }
    // SAFETY: `load` was saved by the last switch away from that context, or prepared for a new thread.
    unsafe { switch::switch_stack(save, load) };
}

/// The thread that leaves this processor (`None`: the idle loop) has run until now.
#[inline(always)]
fn count_time(me: &PerCpu, previous: Option<&Thread>) {
    let now = cpu::rdtsc_unordered();
    let since = me.switched_at.load(Ordering::Relaxed);
    me.switched_at.store(now, Ordering::Relaxed);
    if let Some(previous) = previous {
        // Only the processor that runs a thread counts its time.
        let ticks = &previous.run_ticks;
        ticks.store(ticks.load(Ordering::Relaxed).wrapping_add(now.wrapping_sub(since)), Ordering::Relaxed);
    }
}

/// Address space, kernel stack and user GS base of a thread that is about to run.
#[inline(always)]
fn enter(me: &PerCpu, next: &Thread) {
    next.process.space.enter(me);
    me.set_kernel_stack(next.stack_top(), next.frame);
    // Always: ring 3 takes the base away by loading a selector, and processes have their TEBs at equal addresses.
    // SAFETY: the shadow GS base is the user's; TEB addresses are user addresses.
    unsafe { cpu::wrmsr(cpu::msr::KERNEL_GS_BASE, next.teb) };
}

/// Extended state of a thread that is about to run.
fn load_fpu(me: &PerCpu, next: &Thread) {
    match next.fpu_area() {
        Some(area) => {
            fpu::clear_ts();
            me.fpu_trap.store(false, Ordering::Relaxed);
            // SAFETY: the area holds this thread's saved or clean state.
            unsafe { fpu::restore(area) };
        }
        None if !me.fpu_trap.load(Ordering::Relaxed) => {
            me.fpu_trap.store(true, Ordering::Relaxed);
            fpu::set_ts();
        }
        None => {}
    }
}

/// First thing on the new side of a switch: reads what `read` wants, frees a thread that ended, opens the lock.
#[inline(always)]
fn finish_switch<R>(read: impl FnOnce(&Dispatcher<ThreadPointer>) -> R) -> R {
    let ended = (!percpu::this().reap.load(Ordering::Relaxed).is_null()).then(reap);
    // SAFETY: the lock was taken before the switch and its guard forgotten; this is the side that goes on.
    let result = unsafe {
        let result = read(DISPATCHER.held());
        DISPATCHER.force_unlock();
        result
    };
    drop(ended);
    result
}

/// Takes the thread that ended on this processor, whose stack nobody is on any more. The dispatcher lock is held.
#[cold]
fn reap() -> Ref<Thread> {
    let ended = percpu::this().reap.swap(core::ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: put there by `exit_current` from `into_raw`, once; the lock is held and its guard forgotten.
    unsafe {
        let thread = Ref::from_raw(ended.cast_const());
        DISPATCHER.held().remove_thread(thread.index);
        thread
    }
}

/// The first code of a new thread.
pub fn first_run() {
    finish_switch(|_| ());
}

/// Lets another thread run if one should.
pub fn reschedule_now() {
    reschedule(lock());
}

/// NtYieldExecution: `true` if another thread was ready.
pub fn yield_now() -> bool {
    let mut d = lock();
    let others = d.yield_current(percpu::this().index);
    reschedule(d);
    others
}

/// Takes the ticket for the next [`park`], so that the thread can be published as a waiter before it.
pub fn prepare_park() -> Waiter {
    let thread = current();
    Waiter { thread: thread.index, ticket: next_ticket(thread) }
}

/// The current thread's next ticket.
#[inline(always)]
pub fn next_ticket(thread: &Thread) -> u32 {
    let ticket = thread.ticket.load(Ordering::Relaxed).wrapping_add(1);
    thread.ticket.store(ticket, Ordering::Relaxed);
    ticket
}

/// Blocks the current thread until it is unparked, its deadline comes, or it is to end. Returns the wait's status.
pub fn park(waiter: Waiter, deadline: u64, reason: u32) -> NtStatus {
    park_holding(lock(), waiter, deadline, reason)
}

/// As [`park`], with the dispatcher lock held already.
pub fn park_holding(mut d: DispatchGuard, waiter: Waiter, deadline: u64, reason: u32) -> NtStatus {
    let started = d.park(waiter.thread, waiter.ticket, deadline, reason as u8);
    finish_wait(d, started, waiter.thread, deadline)
}

/// The dispatcher lock as the fast path takes it. Nobody has to be told anything when it opens.
pub type FastGuard = Guard<'static, Dispatcher<ThreadPointer>, { rank::DISPATCH }>;

/// Takes the dispatcher lock for a direct switch, if that does not take long.
#[inline(always)]
pub fn lock_for_switch() -> Option<FastGuard> {
    DISPATCHER.lock_briefly()
}

/// Goes from the current thread, of which nothing is kept but its trap frame, to the one that the dispatcher has just made
/// current, and which has nothing to do but to go on in user mode with STATUS_SUCCESS.
///
/// The thread that calls this goes on in the same way, or else behind the call of the fast path in [`entry`].
///
/// # Safety
/// The dispatcher has made `to` current in place of `from`, which calls this from its system call's fast path; `to` has parked on
/// the fast path.
#[inline(always)]
pub unsafe fn switch_to_user(guard: FastGuard, me: &PerCpu, from: &Thread, to: &Thread) -> ! {
    leave(guard, me, from, to);
    DISPATCHER.announce_unlock();
    // SAFETY: the thread's frame has all that it goes on with, by the caller's word; it is current, its address space
    // and stack are set up. The lock was taken by this processor and its guard forgotten.
    unsafe { entry::return_to_user() }
}

/// As [`switch_to_user`], to a thread that goes on in the kernel where it parked.
///
/// # Safety
/// As there, but `to` may have parked anywhere.
pub unsafe fn switch_to_kernel(guard: FastGuard, me: &PerCpu, from: &Thread, to: &Thread) -> ! {
    leave(guard, me, from, to);
    // SAFETY: saved when the thread left its stack last. The other side opens the lock.
    unsafe { switch::leave_stack(to.saved_rsp.load(Ordering::Relaxed)) }
}

#[inline(always)]
fn leave(guard: FastGuard, me: &PerCpu, from: &Thread, to: &Thread) {
    core::mem::forget(guard);
    count_time(me, Some(from));
    // While the trap is set, whoever runs has no extended state.
    if !me.fpu_trap.load(Ordering::Relaxed) || to.fpu_area().is_some() {
        change_fpu(me, from, to);
    }
    me.set_current(to);
    enter(me, to);
    from.saved_rsp.store(from.resume_rsp, Ordering::Relaxed);
}

#[cold]
fn change_fpu(me: &PerCpu, from: &Thread, to: &Thread) {
    if let Some(area) = from.fpu_area() {
        // SAFETY: the area is the running thread's own, made with the right size.
        unsafe { fpu::save(area) };
    }
    load_fpu(me, to);
}

/// First thing that a thread does which went away by [`switch_to_user`] or [`switch_to_kernel`], and was not sent on to user mode. Returns the status of
/// its wait.
pub fn back_from_switch() -> NtStatus {
    let index = current().index;
    NtStatus(finish_switch(|d| d.wait_status(index)))
}

/// Waits until whoever holds the dispatcher lock has opened it.
pub fn pass() {
    DISPATCHER.pass();
}

/// The rest of a wait that the current thread started: blocks if it must. Returns the wait's status.
pub(super) fn finish_wait(mut d: DispatchGuard, started: Wait, thread: u32, deadline: u64) -> NtStatus {
    match started {
        Wait::Done(status) => {
            d.settle(percpu::this().index);
            NtStatus(status)
        }
        Wait::Blocked => {
            arm_for(deadline);
            NtStatus(reschedule_for(d, thread))
        }
    }
}

/// Waits for dispatcher objects. Returns the wait's status.
pub fn wait(objects: &[u32], all: bool, deadline: u64, reason: u32) -> NtStatus {
    let thread = current().index;
    let mut d = lock();
    let started = d.wait(thread, objects, all, deadline, reason as u8);
    finish_wait(d, started, thread, deadline)
}

/// Leaves the processor for good. `thread` is the current thread's own reference; it is dropped on the other side.
pub fn exit_current(thread: Ref<Thread>) -> ! {
    let me = percpu::this();
    let mut d = lock();
    d.exit_current(me.index);
    me.reap.store(Ref::into_raw(thread).cast_mut(), Ordering::Relaxed);
    reschedule(d);
    unreachable!("an ended thread was scheduled")
}

/// What a processor does when no thread is ready: halts until an interrupt.
pub fn idle_loop() -> ! {
    let me = percpu::this();
    lock().set_online(me.index);
    loop {
        me.reschedule.store(false, Ordering::Relaxed);
        reschedule(lock());
        crate::ob::run_deferred();
        if me.reschedule.load(Ordering::Relaxed) {
            continue;
        }
        arm_for(lock().next_deadline());
        let halted = cpu::rdtsc();
        cpu::sti_hlt_cli();
        me.idle_ticks.fetch_add(cpu::rdtsc() - halted, Ordering::Relaxed);
    }
}

/// A named preemption point: lets interrupts in and others run, in the middle of long work. No lock is held.
pub fn preemption_point() {
    cpu::sti_cli();
    if percpu::this().reschedule.load(Ordering::Relaxed) && !percpu::is_idle() {
        reschedule_now();
    }
}

/// Selectors are known to `gdt`; this keeps the user's in one place for new threads.
pub const USER_SELECTORS: (u16, u16) = (gdt::USER_CS, gdt::USER_DS);
