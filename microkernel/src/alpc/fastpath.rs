//! The fast path: a blocking request to a thread that waits, and the reply that waits for the next.
//!
//! Both legs have the same shape. All checks come first and write nothing that another thread can see. The payload is
//! copied once, from the sender's memory into the buffer that the receiver waits with, whose page is reached through
//! the direct map ([`crate::alpc::landing`]); that is the last thing that can fail. Then the message is there, this thread parks,
//! and the receiver gets the processor with the rest of the time slice. No memory is allocated, nothing is queued, the
//! scheduler does not run. Whatever is declined goes the long way, [`crate::sys::alpc`] and [`crate::alpc::ops`], with the same
//! result.
//!
//! Declined: flags but ALPC_MSGFLG_SYNC_REQUEST alone or ALPC_MSGFLG_RELEASE_MESSAGE alone, attributes to send, a
//! time-out, no word for the length, a payload that does not fit the rest of the receiver's page, messages that wait in the
//! queue, a receiver that may not run on this processor, a more urgent thread that is ready.
//!
//! Locks, in order: handle table (opened again at once), group, dispatcher, receiver's address space (tried only).

use crate::alpc::group::{Fx, GroupCell, GroupRef};
use crate::alpc::landing::{Context, Landed};
use crate::alpc::message::{Body, Mail, ReceiveBuffer};
use crate::alpc::ops::{self, Via};
use crate::alpc::port::Port;
use crate::arch::idt::TrapFrame;
use crate::arch::{percpu, usercopy};
use crate::ke::alert::Until;
use crate::ke::{sched, trap};
use crate::ob::handles::Endpoint;
use crate::ps::thread::Thread;
use crate::sys::SysResult;
use crate::trace;
use abi::alpc::*;
use abi::arg::{Handle, InOut, Out};
use abi::info::{WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY};
use abi::status::*;
use abi::syscalls::nr;
use antares_core::alpc::{ObjectContext, Role, Sender, Waiter};
use core::sync::atomic::{AtomicBool, Ordering};

const HEADER: u64 = PORT_MESSAGE_SIZE as u64;
/// Bits of a message's type that its sender has no say in.
const KERNELS_TYPE: u64 = 0xFFFF ^ LPC_NO_IMPERSONATE as u64;
/// What [`antares_fast_call`] returns when the call must go the long way; no status is that large.
const DECLINED: u64 = 1 << 32;

static OFF: AtomicBool = AtomicBool::new(false);

/// Allows the fast path, or sends everything the long way (`alpc.fastpath=off` on the kernel's command line).
pub fn enable(on: bool) {
    OFF.store(!on, Ordering::Relaxed);
}

/// A message as the sender gave it.
#[derive(Clone, Copy)]
struct Outgoing {
    /// User address of the payload.
    payload: u64,
    length: u64,
    /// Of the request that it answers.
    id: u32,
}

/// NtAlpcSendWaitReceivePort, called by the system-call entry with the first and the fourth word of the message to send
/// (lengths and type; id), the size of the receive buffer, and the message's fifth word (call-back id). Returns the
/// status, or [`DECLINED`].
pub extern "C" fn antares_fast_call(
    frame: &mut TrapFrame,
    word: u64,
    id: u64,
    size: u64,
    callback: u64,
) -> u64 {
    let length = word & 0xFFFF;
    // Total length 0x28 more, no data information; the type is the kernel's to say, but for LPC_NO_IMPERSONATE.
    let well_formed = word & !(KERNELS_TYPE << 32) == length * 0x1_0001 + (HEADER << 16);
    if frame.r10 | frame.r13 | callback != 0 || !well_formed || size < HEADER || OFF.load(Ordering::Relaxed) {
        return DECLINED;
    }
    let message = Outgoing { payload: frame.rdx + HEADER, length, id: id as u32 };
    let thread = sched::current();
    thread.landing.open(frame.r8, frame.r9, size - HEADER, frame.r12 != 0, &thread.process.space);
    let result = match (thread.process.handles.endpoint(Handle(frame.rdi)), frame.rsi as u32) {
        (Ok(Endpoint::Port(port)), ALPC_MSGFLG_SYNC_REQUEST) => {
            let sent = request(thread, &port.group, port.role, None, port.max_length(), message);
            sent.map(|id| replied(frame, size, thread, &Via::Port(&port), id))
        }
        (Ok(Endpoint::Port(port)), ALPC_MSGFLG_RELEASE_MESSAGE) => reply(frame, size, thread, &port, message),
        (Ok(Endpoint::Object(group, object)), ALPC_MSGFLG_SYNC_REQUEST) => {
            request_on_object(frame, size, thread, &group, object, message)
        }
        _ => None,
    };
    let Some(Ok(status) | Err(status)) = result else { return DECLINED };
    let calls = &percpu::this().syscalls[nr::NtAlpcSendWaitReceivePort as usize];
    calls.store(calls.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    if !trap::is_quiet() {
        trap::leave(frame, status);
    }
    u64::from(status.0)
}

/// Apart from [`request`] on a port so that neither is in the way of the other.
#[inline(never)]
fn request_on_object(
    frame: &TrapFrame,
    size: u64,
    thread: &Thread,
    group: &GroupRef,
    object: ObjectContext,
    message: Outgoing,
) -> Option<SysResult> {
    let sent = request(thread, group, Role::Connection, Some(object), group.max_length, message);
    sent.map(|id| replied(frame, size, thread, &Via::Object(group, object), id))
}

/// Sends a request and blocks. Returns its id when the wait is over.
#[inline(always)]
fn request(
    thread: &Thread,
    group: &GroupCell,
    role: Role,
    object: Option<ObjectContext>,
    max_length: usize,
    message: Outgoing,
) -> Option<u32> {
    if message.length + HEADER > max_length as u64
        || message.id != 0
        || trace::is_on(group)
        || thread.impersonation.is_active()
    {
        return None;
    }
    let mut state = group.lock();
    let request = state.begin_direct(role, object.as_ref())?;
    let mut dispatcher = sched::lock_for_switch();
    let cpu = percpu::this().index;
    let switch =
        dispatcher.begin_switch(cpu, thread.index, request.receiver.thread, request.receiver.ticket)?;
    // SAFETY: the dispatcher has a record of the thread, so it is alive, and the lock keeps the record.
    let to = unsafe { &*switch.payload.0 };
    let kind = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
    let (id, sequence, context) = (request.id, request.sequence, request.context);
    if !land(to, message, kind, id, thread.sender, || Context { context, object, sequence }) {
        return None;
    }
    // Point of no return: the receiver has the message.
    let waiter = Waiter { thread: thread.index, ticket: sched::next_ticket(thread) };
    request.commit(object, thread.sender, waiter, to.sender);
    switch.commit(waiter.ticket, WAIT_REASON_LPC_REPLY as u8);
    drop(state);
    thread.alpc_wait.set(group.id, id);
    count();
    sched::switch_directly(dispatcher, thread, to);
    Some(id)
}

/// What a request returns when its wait is over.
#[inline(always)]
fn replied(frame: &TrapFrame, size: u64, thread: &Thread, via: &Via, id: u32) -> SysResult {
    match thread.landing.collect() {
        Some(_) if frame.r12 == 0 => Ok(STATUS_SUCCESS),
        Some(landed) => finish(via, thread, landed, &buffer(frame, size)),
        None => ops::finish_request(via, id, sched::last_wait_status(), &buffer(frame, size)),
    }
}

/// Answers a request whose sender is parked, then waits for the next message.
#[inline(always)]
fn reply(frame: &TrapFrame, size: u64, thread: &Thread, port: &Port, message: Outgoing) -> Option<SysResult> {
    let group = &port.group;
    if message.length + HEADER > port.max_length() as u64 || trace::is_on(group) {
        return None;
    }
    let mut state = group.lock();
    let answer = state.begin_answer(port.role, message.id)?;
    let mut dispatcher = sched::lock_for_switch();
    let cpu = percpu::this().index;
    let switch = dispatcher.begin_switch(cpu, thread.index, answer.asker.thread, answer.asker.ticket)?;
    // SAFETY: the dispatcher has a record of the thread, so it is alive, and the lock keeps the record.
    let to = unsafe { &*switch.payload.0 };
    let sequence = answer.sequence;
    let context = || Context { context: 0, object: None, sequence };
    if !land(to, message, LPC_REPLY, message.id, thread.sender, context) {
        return None;
    }
    // Point of no return: the sender has its answer.
    let waiter = Waiter { thread: thread.index, ticket: sched::next_ticket(thread) };
    let other = answer.commit(waiter);
    switch.commit(waiter.ticket, WAIT_REASON_LPC_RECEIVE as u8);
    if let Some(other) = other {
        state.drop_kept(other);
    }
    drop(state);
    thread.alpc_wait.set(port.id, 0);
    count();
    sched::switch_directly(dispatcher, thread, to);
    Some(match thread.landing.collect() {
        Some(_) if frame.r12 == 0 => Ok(STATUS_SUCCESS),
        Some(landed) => finish(&Via::Port(port), thread, landed, &buffer(frame, size)),
        None => {
            ops::receive_after(port, waiter, sched::last_wait_status(), &buffer(frame, size), Until::NEVER)
        }
    })
}

/// Counts a request or reply that goes this way.
#[inline(always)]
fn count() {
    // Only this processor writes it, and not from interrupts.
    let counter = &percpu::this().alpc_fast;
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Puts a message into the buffer that a parked thread waits with. `false`: it does not fit, the buffer's mapping has
/// changed, or the payload cannot be read without a fault; then nothing but room for payload has been written.
///
/// The point of no return is where this says `true`.
#[inline(always)]
fn land(
    to: &Thread,
    message: Outgoing,
    message_type: u16,
    id: u32,
    sender: Sender,
    context: impl FnOnce() -> Context,
) -> bool {
    // SAFETY: the caller is in a hand-over to the thread: it is parked, and the dispatcher lock is held.
    let Some(place) = (unsafe { to.landing.place(message.length) }) else { return false };
    let Some(hold) = to.process.space.hold(place.version) else { return false };
    let payload = place.message.wrapping_add(1).cast();
    // SAFETY: `place` is ring-3 memory for a header and this much payload, and a word for the length, that stays mapped
    // while `hold` is there; the kernel has no references into it. What its owner does with it is its own affair.
    if !unsafe { usercopy::take(payload, message.payload, message.length as usize) } {
        return false;
    }
    let word = message.length * 0x1_0001 + (HEADER << 16) | u64::from(message_type) << 32;
    let header = [word, u64::from(sender.process), u64::from(sender.thread), u64::from(id), 0];
    // SAFETY: as above. Ring 3 may look at any time: written as memory that others see.
    unsafe {
        place.message.write_volatile(header);
        place.length.write_volatile(message.length + HEADER);
    }
    drop(hold);
    // SAFETY: as for `place`.
    unsafe { to.landing.fill(Landed { word, id }, context) };
    true
}

/// The receive buffer that the call gave, for what is done the long way.
#[cold]
fn buffer(frame: &TrapFrame, size: u64) -> ReceiveBuffer {
    let room = (size - HEADER).min(ALPC_MAX_ALLOWED_MESSAGE_LENGTH as u64) as usize;
    ReceiveBuffer {
        message: Out::at(frame.r8),
        length: InOut::at(frame.r9),
        attributes: InOut::at(frame.r12),
        room,
    }
}

/// The end of a wait whose message lies in the buffer: fills in the attributes, if they are wanted.
#[cold]
pub fn finish(via: &Via, thread: &Thread, landed: Landed, buffer: &ReceiveBuffer) -> SysResult {
    if buffer.attributes.is_null() {
        return Ok(STATUS_SUCCESS);
    }
    let Context { context, object, sequence } = thread.landing.context();
    let (length, message_type) = (landed.data_length(), landed.message_type());
    let mail =
        Mail { context, object, sequence, ..Mail::new(landed.id, message_type, length, Sender::default()) };
    let port = match via {
        Via::Port(port) => Some(*port),
        Via::Object(..) => None,
    };
    let delivered = buffer.finish(port, &mail, None);
    if delivered.is_err() && message_type & 0xFF == LPC_REQUEST {
        // The request goes back to the queue, as if this receive had never been.
        let body = Body::from_user(buffer.message.address() + HEADER, usize::from(length)).ok();
        via.group().lock().undo_direct(landed.id, body, &mut Fx::new(false));
    }
    delivered.map(|_| STATUS_SUCCESS)
}
