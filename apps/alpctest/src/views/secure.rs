//! Views of secure sections: one side at a time writes.

use super::{fill, filled, get_view, protection, show};
use crate::holding::*;
use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::mm::*;
use libnt::alpc::attributes::ALL;
use libnt::alpc::{Attributes, Message, PortView};
use libnt::memory::Pages;
use libnt::prelude::*;
use libnt::sys::calls;
use testkit::Test;

pub fn secure(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.client.section(64 << 10, true)?;
    let view = section.view(64 << 10)?;
    fill(&view, 1)?;
    for round in 0..3u8 {
        test.equal("writable before", protection(view.base()), Ok(PAGE_READWRITE));
        let asker = ask(pair.client.handle(), Attributes::showing(&view.attribute(0)))?;
        let (got, seen) = get_view(pair.server.handle(), LPC_REQUEST)?;
        let attribute = got.attributes.view().unwrap_or_default();
        test.equal("the receiver is told that it is secure", attribute.flags, 0);
        test.equal("read-only while the message is out", protection(view.base()), Ok(PAGE_READONLY));
        test.refused("the sender writes", view.write(0, &[1]), STATUS_PARTIAL_COPY);
        test.equal("the sender reads", filled(&view, 1 + round), Ok(true));
        // SAFETY: a call that is refused.
        let raised =
            unsafe { calls::protect_memory(Handle::CURRENT_PROCESS, view.base(), PAGE_SIZE, PAGE_READWRITE) };
        test.refused("taking the right to write back", raised.map(drop), STATUS_INVALID_PAGE_PROTECTION);
        let twice = show(&pair.client, &view, 0);
        test.refused("showing it while it is out", twice, STATUS_ACCESS_DENIED);
        test.equal("the receiver reads", filled(&seen, 1 + round), Ok(true));
        test.ok("the receiver writes", fill(&seen, 2 + round));
        answer(pair.server.handle(), got.header.message_id, None)?;
        asker.join()??;
        test.equal("writable again", protection(view.base()), Ok(PAGE_READWRITE));
        test.equal("what the receiver wrote", filled(&view, 2 + round), Ok(true));
        test.equal("the receiver's is read-only then", protection(seen.base()), Ok(PAGE_READONLY));
        test.refused("the receiver writes then", seen.write(0, &[1]), STATUS_PARTIAL_COPY);
        test.equal("the receiver still reads", filled(&seen, 2 + round), Ok(true));
        if round != 1 {
            seen.forget();
        }
    }
    // A datagram: until it is given back.
    show(&pair.client, &view, ALPC_VIEWFLG_AUTO_RELEASE)?;
    let (got, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    test.check("it has to be given back", got.header.message_type & LPC_CONTINUATION_REQUIRED != 0);
    test.equal("read-only until then", protection(view.base()), Ok(PAGE_READONLY));
    test.ok("the receiver of a datagram writes", fill(&seen, 9));
    answer(pair.server.handle(), got.header.message_id, None)?;
    test.equal("writable when it is given back", protection(view.base()), Ok(PAGE_READWRITE));
    seen.forget();
    // With the connection.
    show(&pair.client, &view, 0)?;
    let (_, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    pair.accepted.disconnect()?;
    test.equal("writable when the connection ends", protection(view.base()), Ok(PAGE_READWRITE));
    test.equal("the receiver's is read-only", protection(seen.base()), Ok(PAGE_READONLY));
    Ok(())
}

pub fn writable(test: &mut Test, view: &PortView, when: &str) {
    test.equal(when, protection(view.base()), Ok(PAGE_READWRITE));
}

pub fn secure_never_received(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.client.section(PAGE_SIZE, true)?;
    let view = section.view(PAGE_SIZE)?;
    let mut attributes = Attributes::showing(&view.attribute(0));
    let asked = pair.client.request(&mut text(b"")?, Some(&mut attributes), Some(Duration::from_millis(1)));
    test.refused("asking who does not receive", asked, STATUS_TIMEOUT);
    writable(test, &view, "after a time-out");
    let mut bad = Attributes::showing(&view.attribute(0))
        .with(ALPC_MESSAGE_HANDLE_ATTRIBUTE, &AlpcHandleAttr::default());
    let refused = pair.client.datagram(&mut text(b"")?, Some(&mut bad));
    test.refused("sending a bad handle with it", refused, STATUS_INVALID_HANDLE);
    writable(test, &view, "after a send that was refused");
    show(&pair.client, &view, 0)?;
    let seen = expect(&pair.server, LPC_DATAGRAM)?;
    test.equal("a receiver without the attribute holds nothing", seen.header.message_type, LPC_DATAGRAM);
    writable(test, &view, "after a receiver without the attribute");
    show(&pair.client, &view, ALPC_VIEWFLG_AUTO_RELEASE)?;
    let (used, failed) = receive_halfway(pair.server.handle())?;
    test.refused("receiving where the attributes cannot be written", failed, STATUS_ACCESS_VIOLATION);
    let memory = calls::query_memory(Handle::CURRENT_PROCESS, used)?;
    test.equal("what was mapped for it", memory.state, MEM_FREE);
    let (got, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    test.equal("the next receive has it", seen.read(0, &mut [0]), Ok(()));
    answer(pair.server.handle(), got.header.message_id, None)?;
    seen.forget();
    writable(test, &view, "after a receive that failed, and another");
    show(&pair.client, &view, 0)?;
    pair.accepted.disconnect()?;
    writable(test, &view, "after the end of the connection");
    test.refused("showing it then", show(&pair.client, &view, 0), STATUS_PORT_DISCONNECTED);
    writable(test, &view, "after a send without connection");
    Ok(())
}

/// Receives with an attribute buffer that has room for a view, and for the context in memory that cannot be written. What
/// was written for the view, and the outcome.
fn receive_halfway(port: Handle) -> NtResult<(u64, NtResult)> {
    const HEADER_AND_VIEW: usize = 0x28;
    let memory = Pages::allocate(2 * PAGE_SIZE as usize)?;
    let page = memory.bytes().as_ptr() as u64 + PAGE_SIZE;
    let words = (page - HEADER_AND_VIEW as u64) as *mut u64;
    let mut message = Message::new(ROOM);
    // SAFETY: the words are those of `memory`, used by nothing else; the second page is written by nobody any more.
    unsafe {
        words.write(u64::from(ALPC_MESSAGE_VIEW_ATTRIBUTE | ALPC_MESSAGE_CONTEXT_ATTRIBUTE));
        calls::protect_memory(Handle::CURRENT_PROCESS, page, PAGE_SIZE, PAGE_READONLY)?;
        let attributes = core::slice::from_raw_parts_mut(words, header_size(ALL) / 8);
        let buffer = calls::Buffer { words: message.words_mut(), attributes };
        let received = calls::send_receive(port, 0, None, Some(buffer), Some(&0));
        Ok((words.add(3).read(), received.map(drop)))
    }
}

/// The child shows a secure view and writes to it.
pub fn secure_faults(test: &mut Test) -> NtResult {
    let child = child_of("views/write-secure").spawn()?;
    test.equal("writing to what is out", child.wait(), Ok(STATUS_ACCESS_VIOLATION));
    Ok(())
}
