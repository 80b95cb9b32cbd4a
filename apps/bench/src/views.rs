//! 64 KiB shown to the server in a view of a port section.

#![allow(unsafe_code)]

use crate::client::{PORT, SHARED};
use crate::measure::measure;
use crate::server::{Server, Words, accept};
use abi::alpc::{ALPC_MESSAGE_VIEW_ATTRIBUTE, AlpcDataViewAttr, LPC_REQUEST};
use core::sync::atomic::Ordering;
use libnt::NtResult;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port, PortView, request};
use libnt::prelude::*;

/// A round trip whose request shows a view, of which the server reads a word per page and which its answer gives up.
pub fn view(runs: u64) -> NtResult<u64> {
    let _server = Server::start("views", PORT, None)?;
    let port = Port::connect(PORT)?;
    let section = port.section(SHARED, false)?;
    let view = section.view(SHARED)?;
    touch(&view);
    let mut message = Message::<Words>::fixed();
    measure(runs, || {
        message.set_payload(&[0x5A; 32])?;
        request(port.handle(), &mut message, Some(&mut Attributes::showing(&view.attribute(0))), None)
    })
}

/// Reads a word of each page.
fn touch(view: &PortView) {
    // SAFETY: the caller's view: nobody gives it up before this returns.
    let words = unsafe { view.words() };
    for page in words.chunks(4096 / 8) {
        core::hint::black_box(page[0].load(Ordering::Relaxed));
    }
}

/// Answers requests that show views.
pub fn serve(port: &ConnectionPort) -> NtResult {
    let mut message = Message::<Words>::fixed();
    let mut attributes = Attributes::allocating(ALPC_MESSAGE_VIEW_ATTRIBUTE);
    let _connection = accept(port, &mut message, &mut attributes)?;
    while message.header().kind() == LPC_REQUEST {
        let header = message.header();
        let shown: AlpcDataViewAttr = attributes.view().ok_or(STATUS_NOT_MAPPED_VIEW)?;
        // SAFETY: the attribute came with the request; the answer below, which gives the view up, comes after its last use.
        let view = unsafe { PortView::received(port.handle(), &shown) };
        touch(&view);
        view.forget();
        message.set_length(usize::from(header.data_length))?;
        message.set_reply_to(header.message_id);
        attributes = Attributes::giving_up_the_view();
        port.exchange(&mut message, Some(&mut attributes))?;
    }
    Ok(())
}
