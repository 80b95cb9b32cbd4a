//! Notices: messages of the kernel that are set aside early, so that sending them cannot fail.

use super::{Body, Effects, Group, ObjectContext, Place, Sender};
use abi::status::*;

impl<B: Body> Group<B> {
    /// Sets a notice aside that can later be sent without memory.
    pub fn reserve_notice(
        &mut self,
        message_type: u16,
        body: B,
        object: ObjectContext,
    ) -> Result<u32, NtStatus> {
        if self.closed {
            return Err(STATUS_PORT_CLOSED);
        }
        let id = self.reserve(message_type, 0, false)?;
        let m = self.message(id);
        m.body = Some(body);
        m.object = Some(object);
        Ok(id as u32)
    }

    /// Sends a reserved notice.
    pub fn send_notice(&mut self, id: u32, sender: Sender, fx: &mut impl Effects) {
        let id = u64::from(id);
        if let Some(m) = self.messages.get_mut(id).filter(|m| m.place == Place::Reserved) {
            m.sender = sender;
            self.post(id, Place::Queued, false, fx);
        }
    }

    /// Gives a reserved notice up.
    pub fn drop_notice(&mut self, id: u32) {
        if self.messages.get(u64::from(id)).is_some_and(|m| m.place == Place::Reserved) {
            self.messages.remove(u64::from(id));
        }
    }
}
