//! Views of secure sections in requests that are cancelled, not waited for, or interrupted by a call back.

use super::secure::writable;
use super::{get_view, protection, show};
use crate::holding::*;
use crate::pair::*;
use libnt::abi::alpc::*;
use libnt::abi::mm::*;
use libnt::alpc::{Attributes, Message};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::{alpc_control, calls};
use libnt::thread;
use testkit::Test;

fn buffer<'a>(message: &'a mut Message, attributes: &'a mut Attributes) -> calls::Buffer<'a> {
    calls::Buffer { words: message.words_mut(), attributes: attributes.words_mut() }
}

/// A request that its sender's process cancels, before and after it is received.
pub fn cancelled(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.client.section(PAGE_SIZE, true)?;
    let view = section.view(PAGE_SIZE)?;
    for received in [false, true] {
        let asker = ask(pair.client.handle(), Attributes::showing(&view.attribute(0)))?;
        libnt::wait::one(pair.server.handle(), Some(LONG))?;
        let id = if received {
            get_view(pair.server.handle(), LPC_REQUEST)?.0.header.message_id
        } else {
            let own = libnt::process::current_id();
            let queued = libnt::info::messages()?
                .into_iter()
                .filter(|message| u64::from(message.process) == own && message.waiting_thread != 0);
            queued.map(|message| message.message_id).next_back().ok_or(STATUS_MESSAGE_NOT_FOUND)?
        };
        let message = AlpcContextAttr { message_id: id, ..AlpcContextAttr::default() };
        test.ok("cancelling it", alpc_control::cancel_message(pair.client.handle(), 0, &message));
        test.ok("its sender goes on", asker.join()?);
        writable(test, &view, "after it is cancelled");
    }
    Ok(())
}

/// One whose answer is received like any message.
pub fn asynchronous_request(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.client.section(PAGE_SIZE, true)?;
    let view = section.view(PAGE_SIZE)?;
    let (mut message, mut attributes) = (text(b"later")?, Attributes::showing(&view.attribute(0)));
    let send = Some(buffer(&mut message, &mut attributes));
    calls::send_receive(pair.client.handle(), 0, send, None, None)?;
    let (got, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    test.equal("read-only until it is answered", protection(view.base()), Ok(PAGE_READONLY));
    test.ok("the receiver writes", seen.write(0, b"answer"));
    answer(pair.server.handle(), got.header.message_id, None)?;
    writable(test, &view, "when it is answered");
    let reply = get(pair.client.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    test.equal(
        "the answer",
        (reply.header.kind(), reply.header.message_id),
        (LPC_REPLY, got.header.message_id),
    );
    let mut found = [0; 6];
    view.read(0, &mut found)?;
    test.equal("what was written", &found, b"answer");
    // Nothing is held any more: the view can be shown again.
    test.ok("showing it again", show(&pair.client, &view, 0));
    Ok(())
}

/// The sender answers a call back while its view is out, and can write when its own answer is there.
pub fn call_back(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.client.section(PAGE_SIZE, true)?;
    let view = section.view(PAGE_SIZE)?;
    let attribute = view.attribute(0);
    for round in 0..20u8 {
        let port = duplicate(pair.client.handle(), None)?;
        let asker = thread::spawn(move || -> NtResult<[u16; 2]> {
            let (mut message, mut attributes) = (text(b"look")?, Attributes::showing(&attribute));
            libnt::alpc::request(port.raw(), &mut message, Some(&mut attributes), Some(LONG))?;
            let called = message.header();
            message.set_payload(b"here")?;
            let ids = PortMessage {
                message_id: called.message_id,
                callback_id: called.callback_id,
                ..message.header()
            };
            message.set_header(&ids);
            let flags = ALPC_MSGFLG_REPLY_MESSAGE | ALPC_MSGFLG_SYNC_REQUEST;
            calls::exchange(port.raw(), flags, buffer(&mut message, &mut Attributes::new()), None)?;
            Ok([called.kind(), message.header().kind()])
        })?;
        let (got, seen) = get_view(pair.server.handle(), LPC_REQUEST)?;
        seen.forget();
        let (mut message, mut attributes) = (text(b"who are you?")?, Attributes::new());
        message.set_reply_to(got.header.message_id);
        let call = buffer(&mut message, &mut attributes);
        calls::exchange(pair.server.handle(), ALPC_MSGFLG_SYNC_REQUEST, call, None)?;
        test.equal("the answer to the call back", message.payload(), b"here");
        test.equal("the view is still out", protection(view.base()), Ok(PAGE_READONLY));
        answer(pair.server.handle(), got.header.message_id, None)?;
        test.equal("the asker was called back, then answered", asker.join()?, Ok([LPC_REQUEST, LPC_REPLY]));
        test.equal("writing then", view.write(0, &[round]), Ok(()));
    }
    Ok(())
}
