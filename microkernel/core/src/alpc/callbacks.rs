//! Call backs: who holds a request asks its blocked sender something before it answers.
//!
//! The call back is a request of its own to that very thread: it is posted, not queued, and the thread wakes from its own
//! request to take it. Both sides see it under the id of the request in whose course it is made, with the call back's own
//! id as CallbackId. While it is not answered the request cannot be answered. The thread answers it and goes on
//! waiting in one step; if it answers without waiting, or its caller gives up, the request becomes an asynchronous one.

use super::{
    Body, Delivery, Effects, Group, Message, Messages, Place, Post, RECEIVERS, Role, SENDERS, Sender, Waiter,
};
use abi::alpc::LPC_REPLY;
use abi::status::*;

/// What a blocked sender finds.
#[derive(Debug)]
pub enum Woken<B> {
    /// Its answer: [`Group::end_delivery`] or [`Group::undo_delivery`] must follow.
    Answer(Delivery<B>),
    /// A call back: [`Group::end_delivery`] or [`Group::undo_delivery`] must follow.
    Callback(Delivery<B>),
    /// The answer or call back needs a buffer for this many payload bytes; it is in its port's large-message queue.
    TooSmall(usize),
    /// Nothing: its message is gone.
    Nothing,
}

impl<B: Body> Group<B> {
    /// Calls the blocked sender of a pending request, or of a call back, back. Returns what the caller waits for.
    ///
    /// STATUS_MESSAGE_NOT_FOUND as for a reply. STATUS_REPLY_MESSAGE_MISMATCH: no thread waits for the answer to it.
    /// STATUS_LPC_INVALID_CONNECTION_USAGE: it was sent on a server object.
    pub fn call_back(
        &mut self,
        role: Role,
        (id, callback_id): (u32, u32),
        post: &Post,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<u32, NtStatus> {
        let parent = self.held(role, id, callback_id)?;
        let m = self.message(parent);
        let (connection, to_client, called) = (m.connection, !m.to_client, m.called);
        let Some(waiter) = m.waiter.filter(|_| !called) else { return Err(STATUS_REPLY_MESSAGE_MISMATCH) };
        if connection == 0 {
            return Err(STATUS_LPC_INVALID_CONNECTION_USAGE);
        }
        let message = Message {
            body: Some(body),
            place: Place::Posted,
            origin: u64::from(id),
            parent,
            tracked: false,
            ..post.message(connection, to_client)
        };
        let key = self.add_message(message)?;
        let m = self.message(parent);
        m.callback = key;
        m.called = true;
        fx.wake(waiter, STATUS_SUCCESS, true);
        Ok(key as u32)
    }

    /// The blocked sender of `id` takes a call back.
    pub(super) fn take_callback(
        &mut self,
        id: u64,
        callback: u64,
        room: usize,
        fx: &mut impl Effects,
    ) -> Woken<B> {
        let asked = self.message(id);
        asked.waiter = None;
        let receiver = asked.sender;
        let message_context = asked.contexts[SENDERS];
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let m = self.message(callback);
        let length = m.body.as_ref().map_or(0, B::data_length);
        if length > room {
            if m.waiter.is_some() {
                self.post(callback, Place::Large, false, fx);
            } else {
                self.detach(callback, fx);
            }
            return Woken::TooSmall(length);
        }
        m.place = Place::Delivering;
        m.receiver = receiver;
        m.sequence = sequence;
        m.contexts[RECEIVERS] = message_context;
        // Its caller gave up: there is nobody to answer, but the thread was woken for it.
        m.gone = m.waiter.is_none();
        let (message_type, sender, connection, to_client, origin) =
            (m.message_type, m.sender, m.connection, m.to_client, m.origin);
        let Some(body) = m.body.take() else { return Woken::Nothing };
        let context = self.connections.get(connection).filter(|_| !to_client).map_or(0, |c| c.context);
        Woken::Callback(Delivery {
            key: callback as u32,
            id: origin as u32,
            callback_id: callback as u32,
            message_type,
            sender,
            connection,
            context,
            message_context,
            object: None,
            sequence,
            depth: 0,
            body,
        })
    }

    /// Answers a call back and goes on waiting for the answer to the request that it came with. Returns what the caller
    /// waits for.
    ///
    /// STATUS_REPLY_MESSAGE_MISMATCH: it is no call back, or it was made to another thread.
    pub fn reply_and_wait(
        &mut self,
        role: Role,
        (id, callback_id): (u32, u32),
        sender: Sender,
        waiter: Waiter,
        body: B,
        fx: &mut impl Effects,
    ) -> Result<u32, NtStatus> {
        let key = self.held(role, id, callback_id)?;
        let parent = self.message(key).parent;
        match self.messages.get_mut(parent) {
            Some(asked)
                if asked.sender == sender && asked.waiter.is_none() && asked.place == Place::Pending =>
            {
                asked.waiter = Some(waiter);
                self.answer(key, sender, LPC_REPLY, body, fx);
                Ok(parent as u32)
            }
            _ => Err(STATUS_REPLY_MESSAGE_MISMATCH),
        }
    }

    /// A thread has ended that may have taken call backs and not answered them: their callers learn that no answer comes.
    pub fn thread_gone(&mut self, thread: u32, fx: &mut impl Effects) {
        let mut index = 0;
        while let Some(id) = self.messages.next_key(index) {
            index = Messages::<B>::index_of(id) + 1;
            let m = self.message(id);
            if m.sender.thread == thread && m.waiter.is_none() && m.callback != 0 {
                self.remove_message(id, fx);
            }
        }
    }
}
