//! The WORK_ON_BEHALF attribute: for whom a message's sender works.
//!
//! A ticket names a thread by its id and the low half of its creation time. A sender names itself, or whom it received a
//! ticket of; the kernel lets no other ticket through, so a server can believe what it reads.

use crate::alpc::attributes::{Attached, Given, Receiving, Sending};
use crate::ke::sched;
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::AlpcWorkOnBehalfAttr;
use abi::arg::{In, Out};
use abi::status::STATUS_ACCESS_DENIED;
use core::sync::atomic::Ordering;

/// Captures the WORK_ON_BEHALF attribute. Ticket 0 is the sender's own.
pub fn capture(_: &Sending, from: u64, attached: &mut Attached) -> Result<(), NtStatus> {
    let ticket = user::read::<AlpcWorkOnBehalfAttr>(In::at(from))?.ticket;
    let thread = sched::current();
    let own = u64::from(thread.created as u32) << 32 | u64::from(thread.id());
    if ticket != 0 && ticket != own && ticket != thread.ticket_received.load(Ordering::Relaxed) {
        return Err(STATUS_ACCESS_DENIED);
    }
    attached.on_behalf = Some(if ticket == 0 { own } else { ticket });
    Ok(())
}

/// Tells the receiver, which may pass the ticket on from now on.
pub fn deliver(receiving: &mut Receiving, to: u64, _: &mut Given) -> Result<bool, NtStatus> {
    let Some(ticket) = receiving.attached.as_deref().and_then(|attached| attached.on_behalf) else {
        return Ok(false);
    };
    user::write(Out::at(to), &AlpcWorkOnBehalfAttr { ticket })?;
    sched::current().ticket_received.store(ticket, Ordering::Relaxed);
    Ok(true)
}
