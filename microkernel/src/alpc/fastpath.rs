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
//! time-out on either side, no word for the length, a buffer of which nothing is known yet, a payload that does not fit
//! the rest of the receiver's page, messages that wait in the queue, a receiver that may not run on this processor, a
//! more urgent thread that is ready. A trace has one record for each leg.
//!
//! Locks, in order: group, dispatcher, receiver's address space. None is waited for for long.

use crate::alpc::group::Fx;
use crate::alpc::landing::{Context, Landed};
use crate::alpc::message::{Body, Mail, ReceiveBuffer};
use crate::alpc::ops::{self, Via};
use crate::arch::idt::TrapFrame;
use crate::arch::{percpu, usercopy};
use crate::ke::alert::Until;
use crate::ke::{sched, trap};
use crate::ob::handles::Endpoint;
use crate::ps::thread::Thread;
use crate::sys::SysResult;
use crate::trace;
use abi::alpc::*;
use abi::arg::{InOut, Out};
use abi::info::{WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY};
use abi::status::*;
use abi::syscalls::nr;
use abi::trace::{TRACE_CALL, TRACE_RECEIVE, TRACE_RETURN, TRACE_UNWAIT};
use antares_core::alpc::{ObjectContext, Role, Sender, Waiter};
use core::sync::atomic::{AtomicBool, Ordering};

const HEADER: u64 = PORT_MESSAGE_SIZE as u64;
/// Bits of a message's first word that must be clear: data information, and of the type LPC_NO_IMPERSONATE.
const NOT_PLAIN: u64 = 0xFFFF << 48 | (LPC_NO_IMPERSONATE as u64) << 32;
/// What the two functions below return when the call must go the long way; no status is that large.
const DECLINED: u64 = 1 << 32;

const REQUEST: u16 = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
/// What [`trace::direct`] is told of the two legs.
const CALL_EVENT: u32 = (REQUEST as u32) << 16 | TRACE_CALL as u32;
const RETURN_EVENT: u32 = (LPC_REPLY as u32) << 16 | TRACE_RETURN as u32;

static OFF: AtomicBool = AtomicBool::new(false);

/// Allows the fast path, or sends everything the long way (`alpc.fastpath=off` on the kernel's command line).
pub fn enable(on: bool) {
    OFF.store(!on, Ordering::Relaxed);
}

/// What the system-call entry hands over: the saved registers, and the words of the message to send and of the receive
/// buffer that it has read.
struct Call<'a> {
    frame: &'a mut TrapFrame,
    /// Payload bytes to send.
    length: u64,
    /// Message id in the header to send.
    id: u32,
    /// Size of the receive buffer.
    size: u64,
}

impl<'a> Call<'a> {
    /// Checks arguments. `word`, `id`, `callback` are the first, fourth and fifth word of the message.
    #[inline(always)]
    fn new(frame: &'a mut TrapFrame, word: u64, id: u64, size: u64, callback: u64) -> Option<Self> {
        let length = word & 0xFFFF;
        // Total length 0x28 more and no data information; the type is the kernel's to say, but for LPC_NO_IMPERSONATE. No attributes, no time-out, no call back.
        let lengths =
            word as u32 == (length as u32).wrapping_mul(0x1_0001).wrapping_add((HEADER as u32) << 16);
        if !lengths || frame.r10 | frame.r13 | callback | (word & NOT_PLAIN) != 0 || size < HEADER {
            return None;
        }
        Some(Self { frame, length, id: id as u32, size })
    }

    /// Where the reply or the next message is to land: `None` when nothing is known of the buffer yet.
    #[inline(always)]
    fn open(&self, thread: &Thread) -> Option<()> {
        let frame = &self.frame;
        let space = &thread.process.space;
        thread.landing.reopen(frame.r8, frame.r9, self.size - HEADER, frame.r12 != 0, space).then_some(())
    }

    /// First word of the header that the receiver sees.
    #[inline(always)]
    fn word(&self, message_type: u16) -> u64 {
        self.length * 0x1_0001 + (HEADER << 16) + (u64::from(message_type) << 32)
    }

    fn payload(&self) -> u64 {
        self.frame.rdx + HEADER
    }

    /// The receive buffer, for what is done the long way.
    #[cold]
    fn buffer(&self) -> ReceiveBuffer {
        let room = (self.size - HEADER).min(ALPC_MAX_ALLOWED_MESSAGE_LENGTH as u64) as usize;
        ReceiveBuffer {
            message: Out::at(self.frame.r8),
            length: InOut::at(self.frame.r9),
            attributes: InOut::at(self.frame.r12),
            room,
        }
    }

    /// Returns to the system-call entry, or to user mode another way if there is something to do before.
    #[inline(always)]
    fn end(self, thread: &Thread, status: SysResult) -> u64 {
        let (Ok(status) | Err(status)) = status;
        let me = percpu::this();
        me.count_call(nr::NtAlpcSendWaitReceivePort);
        if !trap::is_quiet_for(me, thread) {
            trap::leave(self.frame, status);
        }
        u64::from(status.0)
    }
}

/// NtAlpcSendWaitReceivePort with ALPC_MSGFLG_SYNC_REQUEST: sends a request and blocks for its reply. Returns the status,
/// or [`DECLINED`].
pub extern "C" fn antares_fast_request(
    frame: &mut TrapFrame,
    word: u64,
    id: u64,
    size: u64,
    callback: u64,
) -> u64 {
    let Some(call) = Call::new(frame, word, id, size, callback) else { return DECLINED };
    // SAFETY: a system call has a current thread.
    let thread = unsafe { &*percpu::current_pointer() };
    if !thread.route.find(call.frame.rdi, &thread.process.handles) {
        return DECLINED;
    }
    let sent = match thread.route.endpoint() {
        Some(Endpoint::Port(port)) => {
            request(&call, thread, port.role, None, (port.max_length() as u64, port.id))
        }
        Some(Endpoint::Object(group, object)) => {
            request_on_object(&call, thread, *object, (group.max_length as u64, group.id))
        }
        None => None,
    };
    let Some(sent) = sent else { return DECLINED };
    if thread.landing.collect().is_some() && call.frame.r12 == 0 {
        return call.end(thread, Ok(STATUS_SUCCESS));
    }
    let result = request_ended(&call, thread, sent);
    call.end(thread, result)
}

/// NtAlpcSendWaitReceivePort with ALPC_MSGFLG_RELEASE_MESSAGE: answers a request, then waits for the next message.
/// Returns the status, or [`DECLINED`].
pub extern "C" fn antares_fast_reply(
    frame: &mut TrapFrame,
    word: u64,
    id: u64,
    size: u64,
    callback: u64,
) -> u64 {
    let Some(call) = Call::new(frame, word, id, size, callback) else { return DECLINED };
    // SAFETY: a system call has a current thread.
    let thread = unsafe { &*percpu::current_pointer() };
    let Some(waiter) = reply(&call, thread) else { return DECLINED };
    if thread.landing.collect().is_some() && call.frame.r12 == 0 {
        return call.end(thread, Ok(STATUS_SUCCESS));
    }
    let result = reply_ended(&call, thread, waiter);
    call.end(thread, result)
}

/// Apart from [`request`] on a port, so that neither is in the way of the other.
#[inline(never)]
fn request_on_object(call: &Call, thread: &Thread, object: ObjectContext, via: (u64, u32)) -> Option<u32> {
    request(call, thread, Role::Connection, Some(object), via)
}

/// Hands a request over. `via`: longest message, and id for listings, of what it is sent on.
#[inline(always)]
fn request(
    call: &Call,
    thread: &Thread,
    role: Role,
    object: Option<ObjectContext>,
    via: (u64, u32),
) -> Option<u32> {
    let (max_length, port_id) = via;
    let group = thread.route.group();
    if OFF.load(Ordering::Relaxed)
        || call.length + HEADER > max_length
        || call.id != 0
        || thread.impersonation.is_active()
    {
        return None;
    }
    call.open(thread)?;
    let mut state = group.lock_briefly()?;
    let request = state.begin_direct(role, object.as_ref())?;
    let mut dispatcher = sched::lock_for_switch()?;
    let me = percpu::this();
    let receiver = request.receiver;
    let switch = dispatcher.begin_switch(me.index, thread.index, receiver.thread, receiver.ticket)?;
    // SAFETY: the dispatcher has a record of the thread, so it is alive, and the lock keeps the record.
    let to = unsafe { &*switch.payload.0 };
    let (id, sequence, context) = (request.id, request.sequence, request.context);
    if !land(to, call, REQUEST, id, thread.sender, || Context {
        process: thread.sender.process,
        context,
        object,
        sequence,
    }) {
        return None;
    }
    // Point of no return: the receiver has the message.
    let waiter = Waiter { thread: thread.index, ticket: sched::next_ticket(thread) };
    request.commit(object, thread.sender, waiter, to.sender);
    switch.commit(waiter.ticket, WAIT_REASON_LPC_REPLY as u8);
    drop(state);
    thread.alpc_wait.set(port_id, id);
    if trace::is_recording() {
        trace::direct(group, CALL_EVENT, thread, to, call.word(REQUEST), id);
    }
    me.count_fast();
    sched::switch_directly(dispatcher, me, thread, to);
    Some(id)
}

#[inline(always)]
fn reply(call: &Call, thread: &Thread) -> Option<Waiter> {
    if !thread.route.find(call.frame.rdi, &thread.process.handles) {
        return None;
    }
    let group = thread.route.group();
    let Some(Endpoint::Port(port)) = thread.route.endpoint() else { return None };
    if OFF.load(Ordering::Relaxed) || call.length + HEADER > port.max_length() as u64 {
        return None;
    }
    call.open(thread)?;
    let mut state = group.lock_briefly()?;
    let answer = state.begin_answer(port.role, call.id)?;
    let mut dispatcher = sched::lock_for_switch()?;
    let me = percpu::this();
    let asker = answer.asker;
    let switch = dispatcher.begin_switch(me.index, thread.index, asker.thread, asker.ticket)?;
    // SAFETY: the dispatcher has a record of the thread, so it is alive, and the lock keeps the record.
    let to = unsafe { &*switch.payload.0 };
    let sequence = answer.sequence;
    let context = || Context { process: thread.sender.process, context: 0, object: None, sequence };
    if !land(to, call, LPC_REPLY, call.id, thread.sender, context) {
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
    if trace::is_recording() {
        trace::direct(group, RETURN_EVENT, thread, to, call.word(LPC_REPLY), call.id);
    }
    me.count_fast();
    sched::switch_directly(dispatcher, me, thread, to);
    Some(waiter)
}

/// Puts a message into the buffer that a parked thread waits with. `false`: it does not fit, the buffer's mapping has
/// changed, or the payload cannot be read without a fault; then nothing but room for payload has been written.
///
/// The point of no return is where this says `true`.
#[inline(always)]
fn land(
    to: &Thread,
    call: &Call,
    message_type: u16,
    id: u32,
    sender: Sender,
    context: impl FnOnce() -> Context,
) -> bool {
    // SAFETY: the caller is about to switch to the thread: it is parked, and the dispatcher lock is held.
    let Some(place) = (unsafe { to.landing.place(call.length) }) else { return false };
    let Some(hold) = to.process.space.hold(place.version) else { return false };
    let payload = place.message.wrapping_add(PORT_MESSAGE_SIZE / 8).cast();
    // SAFETY: `place` is ring-3 memory for a header and this much payload, and a word for the length, that stays mapped
    // while `hold` is there; the kernel has no references into it. What its owner does with it is its own affair.
    if !unsafe { usercopy::take(payload, call.payload(), call.length) } {
        return false;
    }
    let word = call.word(message_type);
    // SAFETY: as above. Ring 3 may look at any time: written as memory that others see.
    unsafe {
        place.message.write_volatile(word);
        place.message.add(1).write_volatile(u64::from(sender.process));
        place.message.add(2).write_volatile(u64::from(sender.thread));
        place.message.add(3).write_volatile(u64::from(id));
        place.message.add(4).write_volatile(0);
        place.length.write_volatile(call.length + HEADER);
    }
    drop(hold);
    // SAFETY: as for `place`.
    unsafe { to.landing.fill(Landed { word, id }, context) };
    true
}

fn via(endpoint: &Endpoint) -> Via<'_> {
    match endpoint {
        Endpoint::Port(port) => Via::Port(port),
        Endpoint::Object(group, object) => Via::Object(group, *object),
    }
}

/// The end of a request's wait when there is more to do than to return.
#[cold]
fn request_ended(call: &Call, thread: &Thread, id: u32) -> SysResult {
    let endpoint = thread.route.endpoint().ok_or(STATUS_INVALID_HANDLE)?;
    match thread.landing.last() {
        Some(landed) => finish(&via(endpoint), thread, landed, &call.buffer()),
        None => ops::finish_request(&via(endpoint), id, sched::last_wait_status(), &call.buffer()),
    }
}

/// The end of a wait for the next message when there is more to do than to return.
#[cold]
fn reply_ended(call: &Call, thread: &Thread, waiter: Waiter) -> SysResult {
    let Some(Endpoint::Port(port)) = thread.route.endpoint() else { return Err(STATUS_INVALID_HANDLE) };
    match thread.landing.last() {
        Some(landed) => finish(&Via::Port(port), thread, landed, &call.buffer()),
        None => ops::receive_after(port, waiter, sched::last_wait_status(), &call.buffer(), Until::NEVER),
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
