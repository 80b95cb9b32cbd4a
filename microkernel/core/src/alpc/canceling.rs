//! Cancelling a message that was sent: NtAlpcCancelMessage.
//!
//! Either side may cancel: who sent it, or who received it. A blocked sender returns with a message of type LPC_CANCELED
//! without payload; so does, on its port, the sender of an asynchronous request that its receiver cancels. A receiver
//! that holds the message finds a notice in its canceled queue when the other side cancels it.

use super::{Body, ConnectionState, Effects, Group, Message, Messages, Place, RECEIVERS, Role, SENDERS};
use abi::alpc::{LPC_CANCELED, LPC_DATAGRAM, LPC_REQUEST};
use abi::status::*;

/// Which message to cancel, and how.
#[derive(Clone, Copy, Debug)]
pub struct Cancel {
    /// MessageId and CallbackId.
    pub id: (u32, u32),
    /// MessageContext as the canceling side knows it.
    pub context: u64,
    /// Only if it was not received yet.
    pub only_unseen: bool,
}

/// What became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cancelled {
    /// It was not received by anybody.
    Unseen,
    /// It was received already (STATUS_MESSAGE_RETRIEVED), and is cancelled unless that was to be avoided.
    Retrieved,
}

impl<B: Body> Group<B> {
    /// Cancels one message.
    ///
    /// STATUS_MESSAGE_NOT_FOUND: there is none that this port sent or received. STATUS_CONTEXT_MISMATCH: it has another
    /// context.
    pub fn cancel(
        &mut self,
        role: Role,
        cancel: &Cancel,
        fx: &mut impl Effects,
    ) -> Result<Cancelled, NtStatus>
    where
        B: Default,
    {
        let key = self.resolve(cancel.id.0, cancel.id.1)?;
        let by_sender = self.cancellable(role, key).ok_or(STATUS_MESSAGE_NOT_FOUND)?;
        if self.context_for(key, by_sender) != cancel.context {
            return Err(STATUS_CONTEXT_MISMATCH);
        }
        Ok(self.cancel_one(key, by_sender, cancel.only_unseen, fx))
    }

    /// Cancels every message that was sent through this port with a MessageContext.
    /// STATUS_MESSAGE_NOT_FOUND: there is none.
    pub fn cancel_all(
        &mut self,
        role: Role,
        context: u64,
        only_unseen: bool,
        fx: &mut impl Effects,
    ) -> Result<Cancelled, NtStatus>
    where
        B: Default,
    {
        let mut done = Err(STATUS_MESSAGE_NOT_FOUND);
        let mut index = 0;
        while let Some(key) = self.messages.next_key(index) {
            index = Messages::<B>::index_of(key) + 1;
            if self.cancellable(role, key) == Some(true) && self.context_for(key, true) == context {
                let one = self.cancel_one(key, true, only_unseen, fx);
                if done != Ok(Cancelled::Retrieved) {
                    done = Ok(one);
                }
            }
        }
        done
    }

    /// Whether a port sent this message (`true`) or is the one that receives it (`false`), if it may cancel it.
    fn cancellable(&self, role: Role, key: u64) -> Option<bool> {
        let m = self.messages.get(key)?;
        let by_sender = match role {
            Role::Connection if !m.to_client => false,
            Role::Server(c) if m.connection == c => m.to_client,
            Role::Client(c) if m.connection == c => !m.to_client,
            _ => return None,
        };
        let place = matches!(m.place, Place::Queued | Place::Large | Place::Delivering | Place::Pending);
        (place && matches!(m.kind(), LPC_REQUEST | LPC_DATAGRAM) && m.cancel.is_none() && !m.gone)
            .then_some(by_sender)
    }

    /// MessageContext as the sender's or the receiver's side knows it.
    fn context_for(&self, key: u64, by_sender: bool) -> u64 {
        let Some(m) = self.messages.get(key) else { return 0 };
        match m.object {
            Some(object) if !by_sender => u64::from(object.server_type) << 32 | u64::from(object.access),
            _ => m.contexts[if by_sender { SENDERS } else { RECEIVERS }],
        }
    }

    fn cancel_one(&mut self, key: u64, by_sender: bool, only_unseen: bool, fx: &mut impl Effects) -> Cancelled
    where
        B: Default,
    {
        let m = self.message(key);
        let seen = matches!(m.place, Place::Delivering | Place::Pending);
        if !seen {
            self.unlink(key, fx);
            self.finish_cancel(key, by_sender, false, fx);
            return Cancelled::Unseen;
        }
        if !only_unseen {
            if m.place == Place::Delivering {
                m.cancel = Some(by_sender);
            } else {
                self.finish_cancel(key, by_sender, true, fx);
            }
        }
        Cancelled::Retrieved
    }

    /// A message that is in no queue is cancelled. `seen`: its receiver has it.
    pub(super) fn finish_cancel(&mut self, key: u64, by_sender: bool, seen: bool, fx: &mut impl Effects)
    where
        B: Default,
    {
        self.leave_parent(key);
        let m = self.message(key);
        m.place = Place::Pending;
        m.kept = false;
        m.cancel = None;
        let (callback, reserve, waiter) = (m.callback, m.reserve, m.waiter);
        let (connection, to_client, sender, owed) = (m.connection, m.to_client, m.sender, m.is_owed_answer());
        let (origin, object, contexts) = (if m.parent == 0 { key } else { m.origin }, m.object, m.contexts);
        let kept = m.body.take();
        let connected =
            self.connections.get(connection).is_some_and(|c| c.state == ConnectionState::Connected);
        if reserve != 0 {
            self.return_body(reserve, kept);
        }
        self.lose_callbacks(callback, STATUS_LPC_REPLY_LOST, fx);
        if let Some(waiter) = waiter {
            if by_sender && seen {
                // Without room for the notice the receiver learns it from its reply, which finds no message.
                let notice = Message {
                    origin,
                    object,
                    contexts,
                    body: Some(B::default()),
                    ..Message::new(LPC_CANCELED, sender, connection, to_client)
                };
                if let Ok(notice) = self.add_message(notice) {
                    self.post(notice, Place::Canceled, false, fx);
                }
            }
            let m = self.message(key);
            m.message_type = LPC_CANCELED;
            m.body = Some(B::default());
            m.place = Place::Replied;
            if !m.called {
                fx.wake(waiter, STATUS_SUCCESS, false);
            }
        } else if owed && connected && (seen || !by_sender) {
            // To the side that did not do it, if that knows the message and is still there.
            let m = self.message(key);
            m.message_type = LPC_CANCELED;
            m.body = Some(B::default());
            if !by_sender {
                m.to_client = !m.to_client;
                m.contexts.swap(SENDERS, RECEIVERS);
            }
            self.post(key, if by_sender { Place::Canceled } else { Place::Queued }, false, fx);
        } else {
            self.detach(key, fx);
        }
    }
}
