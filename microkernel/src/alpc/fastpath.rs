//! The fast path: a small blocking request to a thread that waits, and the reply that waits for the next.
//!
//! What it handles: payload of at most [`INBOX_BYTES`], no attributes to send, nobody traces, the receiver is parked on
//! the port with room for the message and nothing is queued before it. All checks come first; after the marked point
//! nothing can fail: the receiver has the message in its inbox and is handed this processor, and the sender parks.
//! Everything else returns `None` with nothing changed, and [`super::ops`] does it the long way with the same result.

use crate::alpc::group::Fx;
use crate::alpc::inbox::{INBOX_BYTES, Mail};
use crate::alpc::message::{Body, ReceiveBuffer, read_header};
use crate::alpc::ops::{self, Via, me, waiting};
use crate::alpc::port::Port;
use crate::arch::{percpu, usercopy};
use crate::ke::sched;
use crate::sys::SysResult;
use crate::trace;
use abi::alpc::{LPC_CONTINUATION_REQUIRED, LPC_REPLY, LPC_REQUEST, PORT_MESSAGE_SIZE, PortMessage};
use abi::arg::In;
use abi::info::{WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY};
use abi::status::*;
use abi::trace::{TRACE_RECEIVE, TRACE_UNWAIT};
use antares_core::alpc::Role;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, Ordering};

static OFF: AtomicBool = AtomicBool::new(false);

/// Allows the fast path, or sends everything the long way (`alpc.fastpath=off` on the kernel's command line).
pub fn enable(on: bool) {
    OFF.store(!on, Ordering::Relaxed);
}

/// Counts a request or reply that goes this way.
#[inline]
fn count() {
    // Only this processor writes it, and not from interrupts.
    let counter = &percpu::this().alpc_fast;
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

type Words = [MaybeUninit<u64>; INBOX_BYTES / 8];

/// Reads a message that fits an inbox; `None` for any other, and for a bad one.
#[inline]
fn read_small(
    message: In<PortMessage>,
    max_length: usize,
    data: &mut Words,
) -> Option<(PortMessage, &[u64])> {
    let header = read_header(message, max_length).ok()?;
    let payload = message.address().wrapping_add(PORT_MESSAGE_SIZE as u64);
    let words = usercopy::words_from_user(data, payload, usize::from(header.data_length))?;
    Some((header, words))
}

/// Sends a request and blocks for its reply.
#[inline]
pub fn request(
    via: &Via,
    message: In<PortMessage>,
    buffer: &ReceiveBuffer,
    deadline: u64,
) -> Option<SysResult> {
    let group = via.group();
    if OFF.load(Ordering::Relaxed) || trace::is_on(group) {
        return None;
    }
    let mut data = [const { MaybeUninit::uninit() }; INBOX_BYTES / 8];
    let (header, words) = read_small(message, group.max_length, &mut data)?;
    let (role, object) = match via {
        Via::Port(port) => (port.role, None),
        Via::Object(_, object) => (Role::Connection, Some(*object)),
    };
    let thread = sched::current();
    let sender = me();
    let waiter = sched::prepare_park();
    let mut state = group.lock();
    let direct = state.begin_direct(role, object, sender, waiter)?;
    let request = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
    let mail = Mail {
        context: direct.context,
        object,
        sequence: direct.sequence,
        ..Mail::new(direct.id, request, header.data_length, sender)
    };
    let Some(dispatcher) = sched::post(direct.receiver, &mail, words) else {
        state.cancel_direct(direct.id);
        return None;
    };
    // Point of no return: the receiver has the message, and runs when this thread has parked.
    count();
    state.end_direct(direct.receiver);
    drop(state);
    thread.inbox.open(usize::MAX);
    let status = waiting(via.port_id(), direct.id, || {
        sched::park_holding(dispatcher, waiter, deadline, WAIT_REASON_LPC_REPLY)
    });
    thread.inbox.close();
    if let Some(result) = thread.inbox.take(|mail, data| deliver(via, buffer, mail, data)) {
        return Some(result);
    }
    Some(ops::finish_request(via, direct.id, status, buffer))
}

/// Answers a request whose sender is parked, then receives the next message.
#[inline]
pub fn reply_and_receive(
    port: &Port,
    message: In<PortMessage>,
    buffer: &ReceiveBuffer,
    deadline: u64,
) -> Option<SysResult> {
    let group = &port.group;
    if OFF.load(Ordering::Relaxed) || trace::is_on(group) {
        return None;
    }
    let mut data = [const { MaybeUninit::uninit() }; INBOX_BYTES / 8];
    let (header, words) = read_small(message, group.max_length, &mut data)?;
    let id = header.message_id;
    let mail = Mail::new(id, LPC_REPLY, header.data_length, me());
    let mut state = group.lock();
    let asker = state.direct_answer(port.role, id)?;
    if !state.is_quiet(port.role) {
        return None;
    }
    let thread = sched::current();
    let own = sched::prepare_park();
    state.add_waiter(port.role, own).ok()?;
    let Some(dispatcher) = sched::post(asker, &mail, words) else {
        state.remove_waiter(port.role, own, &mut Fx::new(false));
        return None;
    };
    // Point of no return: the sender has its answer, and runs when this thread has parked.
    count();
    state.end_answer(id);
    drop(state);
    thread.inbox.open(buffer.room);
    let status =
        waiting(port.id, 0, || sched::park_holding(dispatcher, own, deadline, WAIT_REASON_LPC_RECEIVE));
    thread.inbox.close();
    if let Some(result) = thread.inbox.take(|mail, bytes| deliver(&Via::Port(port), buffer, mail, bytes)) {
        return Some(result);
    }
    Some(ops::receive_after(port, own, status, buffer, deadline))
}

/// Copies mail out to the thread that waited for it; `bytes` are header and payload.
pub fn deliver(via: &Via, buffer: &ReceiveBuffer, mail: &Mail, bytes: &[u8]) -> SysResult {
    let header = &mail.header;
    let reply = header.kind() == LPC_REPLY;
    let data = &bytes[PORT_MESSAGE_SIZE..];
    if data.len() > buffer.room {
        // Only a reply can be too long: a receiver's room was looked at before.
        return Err(buffer.too_small(data.len()));
    }
    let port = match via {
        Via::Port(port) => Some(*port),
        Via::Object(..) => None,
    };
    let delivered = buffer.deliver_mail(port, mail, bytes);
    if trace::is_on(via.group()) {
        let details = trace::Details::of(header.message_type, header.data_length, false)
            .attributes(delivered.unwrap_or(0))
            .with(delivered.map(|_| header.message_id), || header.client_id.unique_process as u32);
        via.event(if reply { TRACE_UNWAIT } else { TRACE_RECEIVE }, details);
    }
    if delivered.is_err() && !reply {
        let body = Body::from_bytes(data).ok();
        via.group().lock().undo_direct(header.message_id, body, &mut Fx::new(false));
    }
    delivered.map(|_| STATUS_SUCCESS)
}
