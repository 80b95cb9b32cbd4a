//! The fast path: a blocking request to a thread that waits, and the reply that waits for the next.
//!
//! Both legs have the same shape. All checks come first and write nothing that another thread can see. The payload is
//! copied once, from the sender's memory into the buffer that the receiver waits with, whose page is reached through
//! the direct map ([`crate::alpc::landing`]). After the marked point nothing can fail: the message is there, this thread parks, and
//! the receiver gets the processor with the rest of the time slice. No memory is allocated, nothing is queued, the
//! scheduler does not run. Whatever a check declines returns `None`, and [`crate::alpc::ops`] does it the long way with
//! the same result.
//!
//! Declined: flags but ALPC_MSGFLG_SYNC_REQUEST alone or ALPC_MSGFLG_RELEASE_MESSAGE alone, attributes to send, a time-out,
//! a payload that does not fit the rest of the receiver's page, a receiver that waits on another processor's behalf
//! (its affinity), a more urgent thread that is ready, messages that wait in the queue.
//!
//! Locks, in order: handle table (opened again at once), group, dispatcher, receiver's address space (tried only).

use crate::alpc::landing::{Context, Landed};
use crate::alpc::message::{Body, Mail, ReceiveBuffer};
use crate::alpc::ops::{self, Via, me};
use crate::alpc::port::Port;
use crate::arch::{percpu, usercopy};
use crate::ke::alert::Until;
use crate::ke::sched;
use crate::ps::thread::Thread;
use crate::sys::SysResult;
use crate::sys::alpc::{Endpoint, endpoint};
use crate::trace;
use abi::alpc::*;
use abi::arg::{Handle, In, InOut, Out};
use abi::info::{WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY};
use abi::status::*;
use antares_core::alpc::{Role, Sender};
use core::sync::atomic::{AtomicBool, Ordering};

static OFF: AtomicBool = AtomicBool::new(false);

/// Allows the fast path, or sends everything the long way (`alpc.fastpath=off` on the kernel's command line).
pub fn enable(on: bool) {
    OFF.store(!on, Ordering::Relaxed);
}

const HEADER: u64 = PORT_MESSAGE_SIZE as u64;

/// Counts a request or reply that goes this way.
#[inline(always)]
fn count() {
    // Only this processor writes it, and not from interrupts.
    let counter = &percpu::this().alpc_fast;
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

/// Arguments of NtAlpcSendWaitReceivePort that sends and receives.
pub struct Call {
    /// Port or server object.
    pub port: Handle,
    /// ALPC_MSGFLG_ bits.
    pub flags: u32,
    /// What is sent.
    pub send: In<PortMessage>,
    /// Where the answer or the next message goes.
    pub receive: Out<PortMessage>,
    /// Size of that buffer.
    pub length: InOut<u64>,
    /// Attributes wanted with it.
    pub attributes: InOut<AlpcMessageAttributes>,
}

/// A message as the sender gave it.
#[derive(Clone, Copy)]
struct Outgoing {
    payload: u64,
    length: u64,
    id: u32,
}

/// Does the call, or declines it.
#[inline(always)]
pub fn attempt(call: &Call) -> Option<SysResult> {
    let size_at = if call.length.is_null() { call.send.address() } else { call.length.address() };
    let [word, id, size] = usercopy::message_words(call.send.address(), size_at)?;
    let (length, total, info) = (word & 0xFFFF, word >> 16 & 0xFFFF, word >> 48);
    let size = if call.length.is_null() { u64::MAX } else { size };
    if total != length + HEADER || info != 0 || size < HEADER {
        return None;
    }
    let message = Outgoing { payload: call.send.address() + HEADER, length, id: id as u32 };
    let buffer = ReceiveBuffer {
        message: call.receive,
        length: call.length,
        attributes: call.attributes,
        room: (size - HEADER).min(ALPC_MAX_ALLOWED_MESSAGE_LENGTH as u64) as usize,
    };
    let endpoint = endpoint(call.port).ok()?;
    match (&endpoint, call.flags) {
        (Endpoint::Port(port), ALPC_MSGFLG_SYNC_REQUEST) => request(&Via::Port(port), message, &buffer),
        (Endpoint::Object(group, object), ALPC_MSGFLG_SYNC_REQUEST) => {
            request(&Via::Object(group, *object), message, &buffer)
        }
        (Endpoint::Port(port), ALPC_MSGFLG_RELEASE_MESSAGE) => reply(port, message, &buffer),
        _ => None,
    }
}

/// Sends a request and blocks for its reply.
#[inline(always)]
fn request(via: &Via, message: Outgoing, buffer: &ReceiveBuffer) -> Option<SysResult> {
    let group = via.group();
    if message.length + HEADER > via.max_length() as u64
        || message.id != 0
        || OFF.load(Ordering::Relaxed)
        || trace::is_on(group)
    {
        return None;
    }
    let (role, object) = match via {
        Via::Port(port) => (port.role, None),
        Via::Object(_, object) => (Role::Connection, Some(*object)),
    };
    let thread = sched::current();
    buffer.open(thread);
    let mut state = group.lock();
    let direct = state.begin_direct(role, object)?;
    let context = || Context { context: direct.context, object, sequence: direct.sequence };
    let kind = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
    let sender = me();
    let claim = sched::claim(thread, direct.receiver)
        .filter(|claim| land(claim.thread(), message, kind, direct.id, sender, context));
    let Some(claim) = claim else {
        state.cancel_direct(&direct);
        return None;
    };
    // Point of no return.
    let waiter = sched::prepare_park();
    let to = claim.thread();
    let receiver = Sender { process: to.process.id(), thread: to.id() };
    state.commit_direct(&direct, object, sender, waiter, receiver);
    drop(state);
    thread.alpc_wait.set(via.port_id(), direct.id);
    count();
    let status = claim.switch(thread, waiter.ticket, WAIT_REASON_LPC_REPLY);
    match thread.landing.collect() {
        Some(landed) => Some(finish(via, thread, landed, buffer)),
        None => Some(ops::finish_request(via, direct.id, status, buffer)),
    }
}

/// Answers a request whose sender is parked, then waits for the next message.
#[inline(always)]
fn reply(port: &Port, message: Outgoing, buffer: &ReceiveBuffer) -> Option<SysResult> {
    let group = &port.group;
    if message.length + HEADER > port.max_length() as u64
        || OFF.load(Ordering::Relaxed)
        || trace::is_on(group)
    {
        return None;
    }
    let thread = sched::current();
    buffer.open(thread);
    let mut state = group.lock();
    let answer = state.direct_answer(port.role, message.id)?;
    let context = || Context { context: 0, object: None, sequence: answer.sequence };
    let claim = sched::claim(thread, answer.asker)
        .filter(|claim| land(claim.thread(), message, LPC_REPLY, message.id, me(), context))?;
    // Point of no return.
    let waiter = sched::prepare_park();
    state.commit_answer(port.role, message.id, waiter);
    drop(state);
    thread.alpc_wait.set(port.id, 0);
    count();
    let status = claim.switch(thread, waiter.ticket, WAIT_REASON_LPC_RECEIVE);
    match thread.landing.collect() {
        Some(landed) => Some(finish(&Via::Port(port), thread, landed, buffer)),
        None => Some(ops::receive_after(port, waiter, status, buffer, Until::NEVER)),
    }
}

/// Puts a message into the buffer that a parked thread waits with. `false`: it does not fit, the buffer's page has
/// changed, or the payload cannot be read without a fault; then the header has not been touched.
#[inline(always)]
fn land(
    to: &Thread,
    message: Outgoing,
    message_type: u16,
    id: u32,
    sender: Sender,
    context: impl FnOnce() -> Context,
) -> bool {
    // SAFETY: the caller holds a claim to the thread: it is parked, and the dispatcher lock is held.
    let Some(place) = (unsafe { to.landing.place(message.length) }) else { return false };
    let Some(hold) = to.process.space.hold(place.version) else { return false };
    let header = place.address as *mut [u64; 5];
    // SAFETY: `place` is ring-3 memory of header and payload's length that stays mapped, and so keeps its frame, while
    // `hold` is there; the kernel has no references into it. Whatever its owner does with it meanwhile is its own affair.
    if !unsafe { usercopy::take(header.add(1).cast(), message.payload, message.length as usize) } {
        return false;
    }
    let word = message.length | (message.length + HEADER) << 16 | u64::from(message_type) << 32;
    let words = [word, u64::from(sender.process), u64::from(sender.thread), u64::from(id), 0];
    // SAFETY: as above. Ring 3 may read it at any time, so it is written as memory that others look at.
    unsafe { header.write_volatile(words) };
    drop(hold);
    // SAFETY: as for `place`.
    unsafe { to.landing.fill(Landed { word, id }, context) };
    true
}

/// The end of a wait whose message lies in the buffer: tells its length and fills in the attributes.
#[inline(always)]
pub fn finish(via: &Via, thread: &Thread, landed: Landed, buffer: &ReceiveBuffer) -> SysResult {
    let told = buffer.length.is_null() || usercopy::put(buffer.length.address(), landed.total_length());
    if told && buffer.attributes.is_null() {
        return Ok(STATUS_SUCCESS);
    }
    finish_rest(via, thread, landed, buffer, told)
}

/// As [`finish`], for a receiver that wants attributes or whose buffer went away under it.
#[cold]
fn finish_rest(via: &Via, thread: &Thread, landed: Landed, buffer: &ReceiveBuffer, told: bool) -> SysResult {
    let Context { context, object, sequence } = thread.landing.context();
    let (length, message_type) = ((landed.word & 0xFFFF) as u16, landed.message_type());
    let mail =
        Mail { context, object, sequence, ..Mail::new(landed.id, message_type, length, Sender::default()) };
    let port = match via {
        Via::Port(port) => Some(*port),
        Via::Object(..) => None,
    };
    let delivered = if told { buffer.finish(port, &mail, None) } else { Err(STATUS_ACCESS_VIOLATION) };
    if delivered.is_err() && message_type & 0xFF == LPC_REQUEST {
        // The request goes back to the queue, as if this receive had never been.
        let body = Body::from_user(buffer.message.address() + HEADER, usize::from(length)).ok();
        via.group().lock().undo_direct(landed.id, body, &mut crate::alpc::group::Fx::new(false));
    }
    delivered.map(|_| STATUS_SUCCESS)
}
