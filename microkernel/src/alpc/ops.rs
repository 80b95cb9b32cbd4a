//! Sending, receiving, replying, call backs.
//!
//! User memory is touched only while no lock is held: a message's body is captured before the state machine sees it,
//! and copied out between the start and the end of its delivery.

use crate::alpc::attributes::Sending;
use crate::alpc::context::SentContext;
use crate::alpc::fastpath;
use crate::alpc::group::{Fx, GroupRef};
use crate::alpc::message::{Body, ReceiveBuffer, capture, read_header};
use crate::alpc::port::Port;
use crate::alpc::security;
use crate::alpc::view::{self, Region};
use crate::ke::alert::{self, Until};
use crate::ke::sched;
use crate::kref::Ref;
use crate::sys::user;
use crate::trace;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{In, InOut};
use abi::info::{WAIT_REASON_LPC_RECEIVE, WAIT_REASON_LPC_REPLY};
use abi::status::*;
use abi::trace::*;
use antares_core::alpc::{Delivery, Group, ObjectContext, Post, Received, Role, Sender, Waiter, Woken};
use core::sync::atomic::Ordering;

/// The current thread as a sender.
pub fn me() -> Sender {
    let thread = sched::current();
    Sender { process: thread.process.id(), thread: thread.id() }
}

/// Remembers what the thread blocks for, while `wait` blocks.
pub fn waiting(port: u32, message: u32, wait: impl FnOnce() -> NtStatus) -> NtStatus {
    let thread = sched::current();
    thread.alpc_wait.set(port, message);
    wait()
}

/// What a send is done on.
pub enum Via<'a> {
    /// A port.
    Port(&'a Port),
    /// A server object.
    Object(&'a GroupRef, ObjectContext),
}

impl Via<'_> {
    /// The group behind it.
    pub fn group(&self) -> &GroupRef {
        match self {
            Self::Port(port) => &port.group,
            Self::Object(group, _) => group,
        }
    }

    /// Port id for listings.
    pub fn port_id(&self) -> u32 {
        match self {
            Self::Port(port) => port.id,
            Self::Object(group, _) => group.id,
        }
    }

    fn sending(&self, is_datagram: bool) -> Sending<'_> {
        let port = match self {
            Self::Port(port) => Some(*port),
            Self::Object(..) => None,
        };
        Sending { group: self.group(), port, is_datagram }
    }

    fn peer(&self) -> u32 {
        match self {
            Self::Port(port) if port.role != Role::Connection => port.group.lock().peer(port.role),
            Self::Port(_) => 0,
            Self::Object(group, _) => group.owner,
        }
    }

    /// Records an event on it.
    pub fn event(&self, event: u8, details: trace::Details) {
        if trace::is_on(self.group()) {
            trace::alpc(event, self.group(), self.port_id(), details);
        }
    }

    /// Longest message that may be sent on it, header included.
    pub fn max_length(&self) -> usize {
        match self {
            Self::Port(port) => port.max_length(),
            Self::Object(group, _) => group.max_length,
        }
    }

    fn send(&self, message: Outgoing, post: &Post) -> Result<u32, NtStatus> {
        let mut fx = Fx::new(post.waiter.is_some());
        match self {
            Self::Port(port) if message.reserved => {
                let id = message.header.message_id;
                port.group.lock().send_reserved(port.role, id, post, message.body, &mut fx)
            }
            Self::Port(port) => port.group.lock().send(port.role, post, message.body, &mut fx),
            Self::Object(group, object) => group.lock().send_on_object(*object, post, message.body, &mut fx),
        }
    }
}

/// A message captured from user memory.
pub struct Outgoing {
    header: PortMessage,
    body: Body,
    context: Option<SentContext>,
    /// Its body is that of the reserve that its id names.
    reserved: bool,
}

impl Outgoing {
    /// Captures a message to send. An id that names a reserve of the port takes that. `answers`: somebody waits for its
    /// answer, or it is one.
    pub fn capture(
        via: &Via,
        message: In<PortMessage>,
        attributes: InOut<AlpcMessageAttributes>,
        answers: bool,
    ) -> Result<Self, NtStatus> {
        let header = read_header(message, via.max_length())?;
        let context = SentContext::read(attributes)?;
        if let Via::Port(port) = via
            && port.group.lock().is_reserve(port.role, header.message_id)
        {
            let length = usize::from(header.data_length);
            let mut body = port.group.lock().begin_reserve(port.role, header.message_id, length)?;
            let filled = body
                .fill(message, &header, attributes, &via.sending(!answers))
                .and_then(|()| security::imply(via, &header, &mut body));
            if let Err(status) = filled {
                port.group.lock().cancel_reserve(header.message_id, body);
                return Err(status);
            }
            return Ok(Self { header, body, context, reserved: true });
        }
        let sending = via.sending(!answers && header.message_id == 0);
        let mut body = capture(message, &header, attributes, &sending)?;
        // Answers and call backs say nothing of their own.
        if header.message_id == 0 {
            security::imply(via, &header, &mut body)?;
        }
        Ok(Self { header, body, context, reserved: false })
    }

    /// MessageId and CallbackId of the message that it answers, if it does; 0 for a new message, with a reserve or without.
    pub fn answers(&self) -> (u32, u32) {
        if self.reserved { (0, 0) } else { (self.header.message_id, self.header.callback_id as u32) }
    }

    /// What it shows.
    fn shown(&self) -> Option<Ref<Region>> {
        let attached = self.body.attached()?;
        attached.view.as_ref().map(|passage| passage.region().clone())
    }

    fn post(&self, waiter: Option<Waiter>, release: bool, tracked: bool) -> Post {
        let context = self.context.as_ref().map_or(0, SentContext::message_context);
        Post { sender: me(), waiter, release, context, tracked }
    }
}

/// Sends a message that nobody waits for: with `release` a datagram, else an asynchronous request.
pub fn send_message(via: &Via, message: Outgoing, release: bool, tracked: bool) -> Result<(), NtStatus> {
    let details = trace::Details::of(LPC_DATAGRAM, message.header.data_length, message.body.has_handle());
    let (post, context) = (message.post(None, release, tracked), message.context);
    let direct = message.body.attached().and_then(|attached| attached.direct.as_ref());
    let completion = direct.map(|direct| direct.completion().clone());
    let sent = via.send(message, &post);
    via.event(TRACE_SEND, details.with(sent, || via.peer()));
    if let (Ok(id), Via::Port(port), Some(completion)) = (sent, via, completion) {
        port.sent.remember(id, &completion);
    }
    if let Some(context) = context {
        context.tell(sent?, 0);
    }
    sent.map(|_| ())
}

/// Tells what was attached to a message that it is answered, or given back without an answer.
fn answered(group: &mut Group<Body>, port: &Port, ids: (u32, u32), answer: Option<&Outgoing>) {
    let unmap = answer.and_then(|answer| answer.body.attached()).is_some_and(|given| given.unmap_existing);
    if let Some(attached) = group.kept(port.role, ids.0, ids.1).and_then(|body| body.attached()) {
        attached.answered(unmap);
    }
}

/// Answers a request. `will_block`: the caller receives next.
pub fn send_reply(port: &Port, message: Outgoing, will_block: bool) -> Result<(), NtStatus> {
    let ids = message.answers();
    let id = message.header.message_id;
    let details = trace::Details::of(LPC_REPLY, message.header.data_length, message.body.has_handle());
    let traced = trace::is_on(&port.group);
    let asker = if traced { port.group.lock().sender(id).process } else { 0 };
    let context = message.context.as_ref().map_or(0, SentContext::message_context);
    let result = {
        let mut group = port.group.lock();
        answered(&mut group, port, ids, Some(&message));
        group.reply(port.role, ids, me(), context, message.body, &mut Fx::new(will_block))
    };
    if traced {
        Via::Port(port).event(TRACE_REPLY, details.with(result.map(|()| told_id(ids)), || asker));
    }
    result
}

/// The header of a message that has no lengths, and so is none: it only names one.
pub fn only_ids(message: In<PortMessage>) -> Result<Option<PortMessage>, NtStatus> {
    let header = user::read(message)?;
    Ok((header.total_length == 0 && header.data_length == 0).then_some(header))
}

/// Gives a received message back without an answer.
pub fn release(port: &Port, header: &PortMessage) -> Result<(), NtStatus> {
    let id = header.message_id;
    let ids = (id, header.callback_id as u32);
    let released = {
        let mut group = port.group.lock();
        answered(&mut group, port, ids, None);
        group.release(port.role, ids, &mut Fx::new(false))
    };
    let details = trace::Details::of(LPC_LOST_REPLY, 0, false);
    Via::Port(port).event(TRACE_REPLY, details.with(released.map(|()| told_id(ids)), || 0));
    released
}

/// Sends a request and blocks for its reply.
pub fn send_and_wait(
    via: &Via,
    message: Outgoing,
    buffer: &ReceiveBuffer,
    until: Until,
    tracked: bool,
) -> Result<NtStatus, NtStatus> {
    let request = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
    let details = trace::Details::of(request, message.header.data_length, message.body.has_handle());
    let waiter = sched::prepare_park();
    buffer.open(sched::current());
    let (post, context) = (message.post(Some(waiter), false, tracked), message.context);
    let shown = message.shown();
    let sent = via.send(message, &post);
    via.event(TRACE_SEND, details.with(sent, || via.peer()));
    let id = sent?;
    if let Some(context) = context {
        context.tell(id, 0);
    }
    wait_for_answer(via, id, waiter, shown, buffer, until)
}

/// Calls the thread back that waits for the answer to a held message, and blocks for its reply.
pub fn call_back(
    port: &Port,
    message: Outgoing,
    buffer: &ReceiveBuffer,
    until: Until,
) -> Result<NtStatus, NtStatus> {
    let via = Via::Port(port);
    let request = LPC_REQUEST | LPC_CONTINUATION_REQUIRED;
    let details = trace::Details::of(request, message.header.data_length, message.body.has_handle());
    let ids = message.answers();
    let waiter = sched::prepare_park();
    buffer.open(sched::current());
    let (post, context) = (message.post(Some(waiter), false, false), message.context);
    let shown = message.shown();
    let sent = port.group.lock().call_back(port.role, ids, &post, message.body, &mut Fx::new(true));
    via.event(TRACE_SEND, details.with(sent, || via.peer()));
    let callback = sent?;
    if let Some(context) = context {
        context.tell(ids.0, callback);
    }
    wait_for_answer(&via, callback, waiter, shown, buffer, until)
}

/// Answers a call back and goes on waiting for the answer to the caller's own request.
pub fn reply_and_wait(
    port: &Port,
    message: Outgoing,
    buffer: &ReceiveBuffer,
    until: Until,
) -> Result<NtStatus, NtStatus> {
    let ids = message.answers();
    let details = trace::Details::of(LPC_REPLY, message.header.data_length, message.body.has_handle());
    let waiter = sched::prepare_park();
    buffer.open(sched::current());
    let replied = {
        let mut group = port.group.lock();
        answered(&mut group, port, ids, Some(&message));
        group.reply_and_wait(port.role, ids, me(), waiter, message.body, &mut Fx::new(true))
    };
    let via = Via::Port(port);
    via.event(TRACE_REPLY, details.with(replied.map(|_| told_id(ids)), || via.peer()));
    let shown = sched::current().shown.lock().take();
    wait_for_answer(&via, replied?, waiter, shown, buffer, until)
}

fn wait_for_answer(
    via: &Via,
    id: u32,
    waiter: Waiter,
    shown: Option<Ref<Region>>,
    buffer: &ReceiveBuffer,
    until: Until,
) -> Result<NtStatus, NtStatus> {
    via.event(TRACE_WAIT_REPLY, trace::Details::id(id).with(Ok(id), || via.peer()));
    let thread = sched::current();
    let status = waiting(via.port_id(), id, || alert::park(waiter, until, WAIT_REASON_LPC_REPLY));
    // What the message showed is as it was before when this thread goes on, whoever settles it.
    let settle = || shown.iter().for_each(view::settle);
    settle();
    if let Some(landed) = thread.landing.collect() {
        return fastpath::finish(via, thread, landed, buffer);
    }
    let result = finish_request(via, id, status, buffer);
    settle();
    if shown.is_some() && thread.alpc_wait.called_back.load(Ordering::Relaxed) {
        let old = core::mem::replace(&mut *thread.shown.lock(), shown);
        drop(old);
    }
    result
}

/// The end of a blocking request that the long way answered, or nobody: takes the answer, or a call back that is to be
/// answered first, or the request back.
pub fn finish_request(
    via: &Via,
    id: u32,
    status: NtStatus,
    buffer: &ReceiveBuffer,
) -> Result<NtStatus, NtStatus> {
    let taken = via.group().lock().take(id, buffer.room, &mut Fx::new(false));
    let delivery = match taken {
        Woken::Answer(delivery) => {
            alert::keep(status);
            delivery
        }
        Woken::Callback(delivery) => {
            sched::current().alpc_wait.called_back.store(true, Ordering::Relaxed);
            alert::keep(status);
            delivery
        }
        Woken::TooSmall(length) => return Err(buffer.too_small(length)),
        Woken::Nothing => {
            let status = if status == STATUS_SUCCESS { STATUS_PORT_DISCONNECTED } else { status };
            via.event(
                if status == STATUS_TIMEOUT { TRACE_CANCEL } else { TRACE_UNWAIT },
                trace::Details::id(id).status(status),
            );
            return Ok(status);
        }
    };
    let port = match via {
        Via::Port(port) => Some(*port),
        Via::Object(..) => None,
    };
    hand_out(via, port, buffer, delivery, TRACE_UNWAIT)
}

/// Copies a message out and ends its delivery, or undoes it.
pub fn hand_out(
    via: &Via,
    port: Option<&Port>,
    buffer: &ReceiveBuffer,
    mut delivery: Delivery<Body>,
    event: u8,
) -> Result<NtStatus, NtStatus> {
    let delivered = buffer.deliver(port, &mut delivery);
    let details = trace::Details::delivery(&delivery).attributes(delivered.unwrap_or(0));
    let id = told_id((delivery.id, delivery.callback_id));
    via.event(event, details.with(delivered.map(|_| id), || delivery.sender.process));
    if trace::is_recording() {
        tell_what_came(via, &delivery, delivered.unwrap_or(0));
    }
    let Delivery { key, message_type, body, .. } = delivery;
    match delivered {
        Ok(_) => {
            let owed = message_type & LPC_CONTINUATION_REQUIRED != 0
                || message_type & 0xFF == LPC_CONNECTION_REQUEST;
            via.group().lock().end_delivery(key, body.keep(owed), &mut Fx::new(false));
            Ok(STATUS_SUCCESS)
        }
        // An answer whose receiver has no memory for it is lost, as it is on the fast path.
        Err(status) if message_type & 0xFF == LPC_REPLY && event == TRACE_UNWAIT => {
            via.group().lock().end_delivery(key, None, &mut Fx::new(false));
            Err(status)
        }
        Err(status) => {
            via.group().lock().undo_delivery(key, body, &mut Fx::new(false));
            Err(status)
        }
    }
}

/// Which id a trace has for a message with these two: a call back is told by its own.
fn told_id((message, callback): (u32, u32)) -> u32 {
    if callback == 0 { message } else { callback }
}

/// Records what the receiver got with a message.
#[cold]
fn tell_what_came(via: &Via, delivery: &Delivery<Body>, delivered: u32) {
    let Some(attached) = delivery.body.attached() else { return };
    let id = told_id((delivery.id, delivery.callback_id));
    let details = trace::Details::id(id).with(Ok(id), || delivery.sender.process);
    if delivered & ALPC_MESSAGE_HANDLE_ATTRIBUTE != 0 {
        let handle = attached.handles.given().map_or(0, |handle| handle.0);
        via.event(TRACE_HANDLE, details.detail(handle));
    }
    if let Some(base) = attached.view.as_ref().and_then(|passage| passage.mapped()) {
        via.event(TRACE_VIEW, details.detail(base));
    }
}

/// Goes on after a wait to receive that ended without mail: a message is queued, or the wait failed.
pub fn receive_after(
    port: &Port,
    waiter: Waiter,
    status: NtStatus,
    buffer: &ReceiveBuffer,
    until: Until,
) -> Result<NtStatus, NtStatus> {
    if status == STATUS_SUCCESS {
        return receive(port, buffer, until);
    }
    port.group.lock().remove_waiter(port.role, waiter, &mut Fx::new(false));
    Via::Port(port).event(TRACE_UNWAIT, trace::Details::default().status(status));
    Ok(status)
}

/// Receives the next message.
pub fn receive(port: &Port, buffer: &ReceiveBuffer, until: Until) -> Result<NtStatus, NtStatus> {
    // What follows from an answer must not wait until this thread receives the next message.
    crate::ob::run_deferred();
    loop {
        let mut group = port.group.lock();
        let received = group.receive(port.role, buffer.room, me(), &mut Fx::new(false));
        let delivery = match received {
            Received::Message(delivery) => delivery,
            Received::Status(status) => return Err(status),
            Received::TooSmall(length) => {
                drop(group);
                return Err(buffer.too_small(length));
            }
            Received::Empty if until.polls() => return Ok(STATUS_TIMEOUT),
            Received::Empty => {
                let waiter = sched::prepare_park();
                let thread = sched::current();
                buffer.open(thread);
                group.add_waiter(port.role, waiter).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
                drop(group);
                Via::Port(port).event(TRACE_WAIT_NEW, trace::Details::default());
                let status = waiting(port.id, 0, || alert::park(waiter, until, WAIT_REASON_LPC_RECEIVE));
                if let Some(landed) = thread.landing.collect() {
                    return fastpath::finish(&Via::Port(port), thread, landed, buffer);
                }
                if status != STATUS_SUCCESS {
                    port.group.lock().remove_waiter(port.role, waiter, &mut Fx::new(false));
                    Via::Port(port).event(TRACE_UNWAIT, trace::Details::default().status(status));
                    return Ok(status);
                }
                continue;
            }
        };
        drop(group);
        return hand_out(&Via::Port(port), Some(port), buffer, delivery, TRACE_RECEIVE);
    }
}

impl<'a> trace::Details<'a> {
    /// Of a message that is delivered.
    pub fn delivery(delivery: &'a Delivery<Body>) -> Self {
        Self::received(delivery.message_type, delivery.body.data()).depth(delivery.depth)
    }
}
