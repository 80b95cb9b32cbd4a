//! The fast path: a blocking request to a thread that waits, and the reply that waits for the next.
//!
//! Both legs have the same shape. All checks come first and write nothing that another thread can see. The payload is
//! copied once, from the sender's memory into the buffer that the receiver waits with, whose page is reached through
//! the direct map ([`crate::alpc::landing`]); that is the last thing that can fail. Then the message is there, this thread parks,
//! and the receiver gets the processor with the rest of the time slice. No memory is allocated, nothing is queued, the
//! scheduler does not run. Whatever is declined goes the long way, [`crate::sys::alpc`] and [`crate::alpc::ops`], with the same
//! result.
//!
//! A thread that parks here leaves nothing on its kernel stack but its trap frame. So the one that switches to it sends it on to
//! user mode at once, unless there is more to do for it: then, and when the scheduler lets it run, it comes to [`woken`].
//!
//! Declined: flags but ALPC_MSGFLG_SYNC_REQUEST alone or ALPC_MSGFLG_RELEASE_MESSAGE alone, attributes to send, a
//! time-out on either side, no word for the length, a buffer of which nothing is known yet, a payload that does not fit
//! the rest of the receiver's page, messages that wait in the queue, a receiver that may not run on this processor, a
//! more urgent thread that is ready. A trace has one record for each leg.
//!
//! Cost: a round trip of 32 bytes, both legs with the programs' own part, is under 800 instructions; `docs/performance.md`
//! has the figure and where each hundred goes, and a test keeps that page true.
//!
//! Locks, in order: group, dispatcher. Neither is waited for for long.

use crate::alpc::group::Fx;
use crate::alpc::landing::{Context, Landed, Place};
use crate::alpc::message::{Body, Mail, ReceiveBuffer};
use crate::alpc::ops::{self, Via};
use crate::alpc::route::{self, Kind};
use crate::arch::idt::TrapFrame;
use crate::arch::percpu::PerCpu;
use crate::arch::{percpu, usercopy};
use crate::ke::alert::Until;
use crate::ke::{sched, trap};
use crate::ob::handles::Endpoint;
use crate::ps::thread::Thread;
use crate::sys::SysResult;
use crate::trace;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{InOut, Out};
use abi::info::{WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY};
use abi::status::*;
use abi::syscalls::nr;
use abi::trace::{TRACE_CALL, TRACE_RECEIVE, TRACE_RETURN, TRACE_UNWAIT};
use antares_core::alpc::{Sender, Waiter};
use core::sync::atomic::Ordering;

const HEADER: u64 = PORT_MESSAGE_SIZE as u64;
/// Bits of a message's first word that must be clear: data information, and of the type LPC_NO_IMPERSONATE.
const NOT_PLAIN: u64 = 0xFFFF << 48 | (LPC_NO_IMPERSONATE as u64) << 32;
/// What [`request`] and [`reply`] return when the call must go the long way.
const DECLINED: u64 = 1;

const REQUEST: u16 = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
/// What [`trace::direct`] is told of the two legs.
const CALL_EVENT: u32 = (REQUEST as u32) << 16 | TRACE_CALL as u32;
const RETURN_EVENT: u32 = (LPC_REPLY as u32) << 16 | TRACE_RETURN as u32;

/// Allows the fast path, or sends everything the long way (`alpc.fastpath=off` on the kernel's command line).
pub fn enable(on: bool) {
    route::enable(on);
}

/// A call whose arguments the fast path can do something with.
#[derive(Clone, Copy)]
struct Call<'a> {
    frame: &'a TrapFrame,
    thread: &'a Thread,
    /// First word of the header to send.
    word: u64,
}

impl<'a> Call<'a> {
    /// Checks arguments. `word` is the first of the message, `zero` what must be 0 of the others. No attributes, no time-out, no
    /// data information, a total length of 0x28 more; the type is the kernel's to say, but for LPC_NO_IMPERSONATE.
    #[inline(always)]
    fn new(frame: &'a TrapFrame, word: u64, zero: u64) -> Option<Self> {
        let lengths = (word as u16 as u32).wrapping_mul(0x1_0001).wrapping_add((HEADER as u32) << 16);
        if word as u32 != lengths || frame.r10 | frame.r13 | zero | (word & NOT_PLAIN) != 0 {
            return None;
        }
        // SAFETY: a system call has a current thread.
        let thread = unsafe { &*percpu::current_pointer() };
        Some(Self { frame, thread, word })
    }

    /// Payload bytes to send.
    #[inline(always)]
    fn length(self) -> u64 {
        self.word & 0xFFFF
    }

    /// Where the sender has the payload.
    #[inline(always)]
    fn payload(self) -> u64 {
        self.frame.rdx + HEADER
    }

    /// First word of the header that the receiver sees.
    #[inline(always)]
    fn sent(self, message_type: u16) -> u64 {
        u64::from(self.word as u32) | u64::from(message_type) << 32
    }

    /// Where the reply or the next message is to land; `size` is that of the buffer. `false` when nothing is known of it yet.
    #[inline(always)]
    fn open(self, size: u64) -> bool {
        let Self { frame, thread, .. } = self;
        thread.landing.reopen(frame.r8, frame.r9, size, frame.r12 != 0, &thread.process.space)
    }
}

/// NtAlpcSendWaitReceivePort with ALPC_MSGFLG_SYNC_REQUEST: sends a request and blocks for its reply. Returns only when it must
/// go the long way. `word`, `id` and `callback` are the first, fourth and fifth word of the message, `size` that of the buffer.
pub extern "C" fn request<const SMAP: bool>(
    frame: &mut TrapFrame,
    word: u64,
    id: u64,
    size: u64,
    callback: u64,
) -> u64 {
    let Some(call) = Call::new(frame, word, callback | u64::from(id as u32)) else { return DECLINED };
    let kind = call.thread.route.find(frame.rdi, &call.thread.process.handles);
    if kind == Kind::Client {
        if call.length() + HEADER <= call.thread.route.longest() {
            hand_over::<SMAP, false>(call, size);
        }
    } else if kind == Kind::Object {
        hand_over_on_object::<SMAP>(frame, word, size);
    }
    DECLINED
}

/// Apart from a request on a port, so that neither is in the way of the other.
#[inline(never)]
fn hand_over_on_object<const SMAP: bool>(frame: &TrapFrame, word: u64, size: u64) {
    let call = Call { frame, thread: sched::current(), word };
    if call.length() + HEADER <= call.thread.route.group().max_length as u64 {
        hand_over::<SMAP, true>(call, size);
    }
}

/// Hands a request over. Returns only when it is declined.
#[inline(always)]
fn hand_over<const SMAP: bool, const OBJECT: bool>(call: Call, size: u64) {
    let thread = call.thread;
    if thread.impersonation.is_active() || !call.open(size) {
        return;
    }
    let (group, connection) = (thread.route.group(), thread.route.connection());
    let Some(mut state) = group.lock_briefly() else { return };
    let Some(request) = state.begin_direct(connection, thread.route.message.get()) else {
        // For the next one.
        thread.route.message.set(state.prepare_direct(connection).unwrap_or(0));
        return;
    };
    let Some(mut dispatcher) = sched::lock_for_switch() else { return };
    let me = percpu::this();
    let receiver = request.receiver;
    let Some(switch) = dispatcher.begin_switch(me.index, thread.index, receiver.thread, receiver.ticket)
    else {
        return;
    };
    // SAFETY: the dispatcher has a record of the thread, so it is alive, and the lock keeps the record.
    let to = unsafe { &*switch.payload.0 };
    let Some(place) = place::<SMAP>(to, call) else { return };
    // Point of no return: the receiver has the message.
    let (id, sequence) = (request.id, request.sequence);
    land(place, call, REQUEST, id);
    let waiter = Waiter { thread: thread.index, ticket: sched::next_ticket(thread) };
    let object = if OBJECT { thread.route.object() } else { None };
    request.commit(object, thread.sender, waiter, to.sender);
    switch.commit(waiter.ticket, WAIT_REASON_LPC_REPLY as u8);
    thread.alpc_wait.set(thread.route.port_id(), id);
    if trace::is_recording() {
        trace::direct(group, CALL_EVENT, thread, to, call.sent(REQUEST), call.payload());
    }
    count(me);
    if is_all(me, to) {
        drop(state);
        // SAFETY: the switch was committed, and whoever is told nothing has parked here.
        unsafe { sched::switch_to_user(dispatcher, me, thread, to) }
    }
    let context = match thread.route.object() {
        Some(object) => object.context,
        None => state.port_context(connection),
    };
    drop(state);
    tell(call, to, REQUEST, id, context, sequence);
    // SAFETY: the switch was committed.
    unsafe { sched::switch_to_kernel(dispatcher, me, thread, to) }
}

/// NtAlpcSendWaitReceivePort with ALPC_MSGFLG_RELEASE_MESSAGE: answers a request, then waits for the next message. As
/// [`request`].
pub extern "C" fn reply<const SMAP: bool>(
    frame: &mut TrapFrame,
    word: u64,
    id: u64,
    size: u64,
    callback: u64,
) -> u64 {
    let Some(call) = Call::new(frame, word, callback) else { return DECLINED };
    let route = &call.thread.route;
    if route.find(frame.rdi, &call.thread.process.handles) == Kind::Server
        && call.length() + HEADER <= route.longest()
    {
        hand_back::<SMAP>(call, id as u32, size);
    }
    DECLINED
}

/// Hands an answer over. Returns only when it is declined.
#[inline(always)]
fn hand_back<const SMAP: bool>(call: Call, id: u32, size: u64) {
    let thread = call.thread;
    if !call.open(size) {
        return;
    }
    let group = thread.route.group();
    let Some(mut state) = group.lock_briefly() else { return };
    let Some(answer) = state.begin_answer(thread.route.connection(), id) else { return };
    let Some(mut dispatcher) = sched::lock_for_switch() else { return };
    let me = percpu::this();
    let asker = answer.asker;
    let Some(switch) = dispatcher.begin_switch(me.index, thread.index, asker.thread, asker.ticket) else {
        return;
    };
    // SAFETY: the dispatcher has a record of the thread, so it is alive, and the lock keeps the record.
    let to = unsafe { &*switch.payload.0 };
    let Some(place) = place::<SMAP>(to, call) else { return };
    // Point of no return: the sender has its answer.
    let sequence = answer.sequence;
    land(place, call, LPC_REPLY, id);
    let waiter = Waiter { thread: thread.index, ticket: sched::next_ticket(thread) };
    let is_over = answer.commit(waiter);
    switch.commit(waiter.ticket, WAIT_REASON_LPC_RECEIVE as u8);
    if is_over {
        state.drop_answered(id);
    }
    drop(state);
    thread.alpc_wait.set(thread.route.port_id(), 0);
    if trace::is_recording() {
        trace::direct(group, RETURN_EVENT, thread, to, call.sent(LPC_REPLY), call.payload());
    }
    count(me);
    if is_all(me, to) {
        // SAFETY: the switch was committed, and whoever is told nothing has parked here.
        unsafe { sched::switch_to_user(dispatcher, me, thread, to) }
    }
    tell(call, to, LPC_REPLY, id, 0, sequence);
    // SAFETY: the switch was committed.
    unsafe { sched::switch_to_kernel(dispatcher, me, thread, to) }
}

/// Copies the payload into the buffer that a parked thread waits with. `None`: it does not fit, the buffer's mapping has
/// changed, or the payload cannot be read without a fault; then nothing but room for payload has been written.
#[inline(always)]
fn place<const SMAP: bool>(to: &Thread, call: Call) -> Option<Place> {
    // SAFETY: the caller is about to switch to the thread: it is parked, and the dispatcher lock is held.
    let place = unsafe { to.landing.place(call.length()) }?;
    if to.process.space.version() != place.version {
        return None;
    }
    let payload = place.message.wrapping_add(PORT_MESSAGE_SIZE / 8).cast();
    // SAFETY: `place` is ring-3 memory for a header and this much payload, and a word for the length, that stays mapped
    // while the dispatcher lock is held; the kernel has no references into it. What its owner does with it is its own
    // affair. The system-call entry has looked at the message's address, and the processor has SMAP if SMAP is true.
    unsafe { usercopy::take::<SMAP>(payload, call.payload(), call.length()) }.then_some(place)
}

/// Writes header and length.
#[inline(always)]
fn land(place: Place, call: Call, message_type: u16, id: u32) {
    let sender: Sender = call.thread.sender;
    // SAFETY: as in `place`. Ring 3 may look at any time: written as memory that others see.
    unsafe {
        place.message.write_volatile(call.sent(message_type));
        place.message.add(1).write_volatile(u64::from(sender.process));
        place.message.add(2).write_volatile(u64::from(sender.thread));
        place.message.add(3).write_volatile(u64::from(id));
        place.message.add(4).write_volatile(0);
        place.length.write_volatile(call.length() + HEADER);
    }
}

/// A parked thread that has its message has nothing to do but to go on in user mode.
#[inline(always)]
fn is_all(me: &PerCpu, to: &Thread) -> bool {
    to.landing.is_all() && trap::is_quiet_for(me, to)
}

/// Tells a parked thread what has landed.
#[cold]
#[inline(never)]
fn tell(call: Call, to: &Thread, message_type: u16, id: u32, context: u64, sequence: u32) {
    let object = if message_type == REQUEST { call.thread.route.object() } else { None };
    let context = Context { process: call.thread.sender.process, context, object, sequence };
    // SAFETY: it has become current without running yet, and the dispatcher lock is held.
    unsafe { to.landing.fill(Landed { word: call.sent(message_type), id }, context) };
}

#[inline(always)]
fn count(me: &PerCpu) {
    me.count_call(nr::NtAlpcSendWaitReceivePort);
    me.count_fast();
}

/// Where a thread goes on that parked here: it has to be told what came, or nothing came. Returns the status.
pub extern "C" fn woken(frame: &mut TrapFrame) -> u64 {
    let waited = sched::back_from_switch();
    let thread = sched::current();
    let (Ok(status) | Err(status)) = ended(frame, thread, waited);
    if !trap::is_quiet() {
        trap::leave(frame, status);
    }
    u64::from(status.0)
}

fn ended(frame: &TrapFrame, thread: &Thread, waited: NtStatus) -> SysResult {
    let room = thread.landing.size().saturating_sub(HEADER).min(ALPC_MAX_ALLOWED_MESSAGE_LENGTH as u64);
    let buffer = ReceiveBuffer {
        message: Out::at(frame.r8),
        length: InOut::at(frame.r9),
        attributes: InOut::at(frame.r12),
        room: room as usize,
    };
    let via = match thread.route.endpoint().ok_or(STATUS_INVALID_HANDLE)? {
        Endpoint::Port(port) => Via::Port(port),
        Endpoint::Object(group, object) => Via::Object(group, *object),
    };
    if let Some(landed) = thread.landing.collect() {
        return finish(&via, thread, landed, &buffer);
    }
    let waiter = Waiter { thread: thread.index, ticket: thread.ticket.load(Ordering::Relaxed) };
    match via {
        Via::Port(port) if frame.rsi as u32 == ALPC_MSGFLG_RELEASE_MESSAGE => {
            ops::receive_after(port, waiter, waited, &buffer, Until::NEVER)
        }
        via => ops::finish_request(&via, thread.alpc_wait.message.load(Ordering::Relaxed), waited, &buffer),
    }
}

/// The end of a wait whose message lies in the buffer: fills in the attributes, if they are wanted.
#[cold]
pub fn finish(via: &Via, thread: &Thread, landed: Landed, buffer: &ReceiveBuffer) -> SysResult {
    if buffer.attributes.is_null() {
        return Ok(STATUS_SUCCESS);
    }
    let Context { process, context, object, sequence } = thread.landing.context();
    let (length, message_type) = (landed.data_length(), landed.message_type());
    let mail =
        Mail { context, object, sequence, ..Mail::new(landed.id, message_type, length, Sender::default()) };
    let port = match via {
        Via::Port(port) => Some(*port),
        Via::Object(..) => None,
    };
    let delivered = buffer.finish(port, &mail, None);
    let details = trace::Details::of(message_type, length, false).attributes(delivered.unwrap_or(0));
    let event = if message_type == LPC_REPLY { TRACE_UNWAIT } else { TRACE_RECEIVE };
    via.event(event, details.with(delivered.map(|_| landed.id), || process));
    if delivered.is_err() && message_type & 0xFF == LPC_REQUEST {
        // The request goes back to the queue, as if this receive had never been.
        let body = Body::from_user(buffer.message.address() + HEADER, usize::from(length)).ok();
        via.group().lock().undo_direct(landed.id, body, &mut Fx::new(false));
    }
    delivered.map(|_| STATUS_SUCCESS)
}
