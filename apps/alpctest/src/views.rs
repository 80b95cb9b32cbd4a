//! Port sections and views: shown to who receives a message, given up, taken back, refused, and gone with whoever dies.

use crate::pair::*;
use alloc::sync::Arc;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::mm::*;
use libnt::abi::ob::{PORT_CONNECT, SECTION_MAP_READ, SECTION_QUERY};
use libnt::alpc::attributes::ALL;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port, PortView};
use libnt::handle::duplicate;
use libnt::memory::Pages;
use libnt::prelude::*;
use libnt::section::Section;
use libnt::sys::{alpc_section, calls};
use libnt::thread::{self, JoinHandle};
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("view/request-and-reply", request_and_reply);
    test.case("view/in-a-reply", in_a_reply);
    test.case("view/datagrams", datagrams);
    test.case("view/shown-twice", shown_twice);
    test.case("view/auto-release", auto_release);
    test.case("view/unmap-existing", unmap_existing);
    test.case("view/secure", secure);
    test.case("view/secure-never-received", secure_never_received);
    test.case("view/secure-faults", secure_faults);
    test.case("view/of-a-section", of_a_section);
    test.case("view/refused", refused);
    test.case("view/foreign", foreign);
    test.case("view/limits", limits);
    test.case("view/not-accepted", not_accepted);
    test.case("view/deleted-while-shown", deleted_while_shown);
    test.case("view/not-by-other-calls", not_by_other_calls);
    test.case("view/ports-close", ports_close);
    test.case("view/processes-die", processes_die);
    test.case("view/races", races);
}

/// A message that was received with room for every attribute.
struct Got {
    header: PortMessage,
    attributes: Attributes,
}

/// Receives on a port of either side; `None` when nothing is there.
fn get(port: Handle, time: Duration) -> NtResult<Option<Got>> {
    let (mut message, mut attributes) = (Message::new(ROOM), Attributes::allocating(ALL));
    let port = core::mem::ManuallyDrop::new(Port::from_handle(OwnedHandle::new(port)));
    let there = port.receive(&mut message, Some(&mut attributes), Some(time))?;
    Ok(there.then(|| Got { header: message.header(), attributes }))
}

/// Receives something that must be of this type and bring a view.
fn get_view(port: Handle, kind: u16) -> NtResult<(Got, PortView<'static>)> {
    let got = get(port, LONG)?.filter(|got| got.header.kind() == kind).ok_or(STATUS_INVALID_MESSAGE)?;
    let attribute = got.attributes.view().ok_or(STATUS_NOT_MAPPED_VIEW)?;
    // SAFETY: received on this port; the tests know when it goes, and reach it through the kernel.
    let view = unsafe { PortView::received(port, &attribute) };
    Ok((got, view))
}

/// A thread that asks with attributes; they come back with the answer's.
fn ask(port: Handle, mut attributes: Attributes) -> NtResult<JoinHandle<NtResult<Attributes>>> {
    let port = duplicate(port, None)?;
    thread::spawn(move || {
        libnt::alpc::request(port.raw(), &mut text(b"look")?, Some(&mut attributes), Some(LONG))?;
        Ok(attributes)
    })
}

/// Answers a request, or gives a message back.
fn answer(port: Handle, id: u32, attributes: Option<&mut Attributes>) -> NtResult {
    let mut message = text(b"seen")?;
    message.set_reply_to(id);
    let port = core::mem::ManuallyDrop::new(Port::from_handle(OwnedHandle::new(port)));
    port.reply(&mut message, attributes)
}

fn show(port: &Port, view: &PortView, flags: u32) -> NtResult {
    port.datagram(&mut text(b"look")?, Some(&mut Attributes::showing(&view.attribute(flags))))
}

/// Writes a pattern to every page of a view.
fn fill(view: &PortView, seed: u8) -> NtResult {
    for offset in (0..view.size()).step_by(PAGE_SIZE as usize) {
        view.write(offset + 8, &[seed, (offset >> 12) as u8, (offset >> 20) as u8])?;
    }
    Ok(())
}

/// Is the pattern in every page?
fn filled(view: &PortView, seed: u8) -> NtResult<bool> {
    let mut found = [0; 3];
    for offset in (0..view.size()).step_by(PAGE_SIZE as usize) {
        view.read(offset + 8, &mut found)?;
        if found != [seed, (offset >> 12) as u8, (offset >> 20) as u8] {
            return Ok(false);
        }
    }
    Ok(true)
}

fn protection(address: u64) -> NtResult<u32> {
    calls::query_memory(Handle::CURRENT_PROCESS, address).map(|memory| memory.protect)
}

/// Nothing is mapped there any more.
fn is_gone(view: &PortView) -> bool {
    calls::query_memory(Handle::CURRENT_PROCESS, view.base()).is_ok_and(|memory| memory.state == MEM_FREE)
}

fn request_and_reply(test: &mut Test) -> NtResult {
    for size in [PAGE_SIZE, 64 << 10, 16 << 20] {
        let pair = Pair::new()?;
        let section = pair.client.section(size, false)?;
        test.equal("the section's size", section.size(), size);
        let view = section.view(size)?;
        fill(&view, 1)?;
        let asker = ask(pair.client.handle(), Attributes::showing(&view.attribute(0)))?;
        let (got, seen) = get_view(pair.server.handle(), LPC_REQUEST)?;
        let attribute = got.attributes.view().unwrap_or_default();
        test.equal("flags for the receiver", attribute.flags, ALPC_VIEWFLG_NOT_SECURE);
        test.equal("no section for the receiver", attribute.section_handle, 0);
        test.equal("the size for the receiver", attribute.view_size, size);
        test.check("a mapping of its own", attribute.view_base != view.base());
        test.equal("what the receiver sees", filled(&seen, 1), Ok(true));
        fill(&seen, 2)?;
        answer(pair.server.handle(), got.header.message_id, None)?;
        asker.join()??;
        test.equal("what the sender sees then", filled(&view, 2), Ok(true));
        fill(&view, 3)?;
        test.equal("the receiver's view stays", filled(&seen, 3), Ok(true));
        drop(seen);
        test.equal("the sender's stays when the receiver's goes", filled(&view, 3), Ok(true));
    }
    Ok(())
}

fn in_a_reply(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.server.section(64 << 10, false)?;
    let view = section.view(64 << 10)?;
    fill(&view, 7)?;
    for flags in [0, ALPC_VIEWFLG_AUTO_RELEASE] {
        let asker = ask(pair.client.handle(), Attributes::allocating(ALL))?;
        let id = get(pair.server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?.header.message_id;
        answer(pair.server.handle(), id, Some(&mut Attributes::showing(&view.attribute(flags))))?;
        let attributes = asker.join()??;
        let attribute = attributes.view().unwrap_or_default();
        test.equal("its flags", attribute.flags, ALPC_VIEWFLG_NOT_SECURE | flags);
        // SAFETY: received on this port, and reached through the kernel only.
        let seen = unsafe { PortView::received(pair.client.handle(), &attribute) };
        test.equal("what the asker sees", filled(&seen, 7), Ok(true));
        let released = answer(pair.client.handle(), id, None);
        if flags == 0 {
            test.refused("an answer that is not held", released, STATUS_MESSAGE_NOT_FOUND);
            test.equal("a view that stays", filled(&seen, 7), Ok(true));
        } else {
            test.ok("giving the answer back", released);
            test.check("a view that went with the answer", is_gone(&seen));
            seen.forget();
        }
    }
    Ok(())
}

fn datagrams(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.client.section(3 * PAGE_SIZE, false)?;
    let views = [section.view(PAGE_SIZE)?, section.view(2 * PAGE_SIZE)?];
    for (number, view) in views.iter().enumerate() {
        fill(view, number as u8)?;
        show(&pair.client, view, 0)?;
        let (got, seen) = get_view(pair.accepted.handle(), LPC_DATAGRAM)?;
        test.equal("nothing to give back", got.header.message_type, LPC_DATAGRAM);
        test.equal("a part of the section", seen.size(), (number as u64 + 1) * PAGE_SIZE);
        test.equal("and the right one", filled(&seen, number as u8), Ok(true));
        let released = answer(pair.accepted.handle(), got.header.message_id, None);
        test.refused("giving back what is not held", released, STATUS_MESSAGE_NOT_FOUND);
    }
    // The other way, in the other side's queue.
    let section = pair.accepted.section(PAGE_SIZE, false)?;
    let view = section.view(PAGE_SIZE)?;
    fill(&view, 9)?;
    show(&pair.accepted, &view, 0)?;
    let (_, seen) = get_view(pair.client.handle(), LPC_DATAGRAM)?;
    test.equal("what a client sees", filled(&seen, 9), Ok(true));
    Ok(())
}

fn shown_twice(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.client.section(PAGE_SIZE, false)?;
    let view = section.view(PAGE_SIZE)?;
    show(&pair.client, &view, 0)?;
    show(&pair.client, &view, 0)?;
    let (_, first) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    let (_, second) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    test.equal("one mapping for one port", second.base(), first.base());
    // SAFETY: reached through the kernel only.
    test.ok("deleting it", unsafe { alpc_section::delete_section_view(pair.server.handle(), first.base()) });
    // SAFETY: as above.
    let again = unsafe { alpc_section::delete_section_view(pair.server.handle(), second.base()) };
    test.refused("deleting it again", again, STATUS_NOT_MAPPED_VIEW);
    first.forget();
    second.forget();
    show(&pair.client, &view, 0)?;
    let (_, third) = get_view(pair.accepted.handle(), LPC_DATAGRAM)?;
    test.equal("a mapping for another port", third.read(0, &mut [0; 8]), Ok(()));
    Ok(())
}

fn auto_release(test: &mut Test) -> NtResult {
    let flags = ALPC_VIEWFLG_AUTO_RELEASE;
    // A request: with its reply.
    let pair = Pair::new()?;
    let section = pair.client.section(PAGE_SIZE, false)?;
    let view = section.view(PAGE_SIZE)?;
    let asker = ask(pair.client.handle(), Attributes::showing(&view.attribute(flags)))?;
    let (got, seen) = get_view(pair.server.handle(), LPC_REQUEST)?;
    let attribute = got.attributes.view().unwrap_or_default();
    test.equal("the receiver is told", attribute.flags, flags | ALPC_VIEWFLG_NOT_SECURE);
    fill(&seen, 5)?;
    answer(pair.server.handle(), got.header.message_id, None)?;
    test.check("the view goes with the reply", is_gone(&seen));
    seen.forget();
    asker.join()??;
    test.equal("the sender's stays", filled(&view, 5), Ok(true));
    // Datagrams: with the last of two that is given back.
    show(&pair.client, &view, flags)?;
    show(&pair.client, &view, flags)?;
    let (first, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    let continued = LPC_DATAGRAM | LPC_CONTINUATION_REQUIRED;
    test.equal("it has to be given back", first.header.message_type, continued);
    let (second, same) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    test.equal("one mapping", same.base(), seen.base());
    same.forget();
    let wrong = answer(pair.client.handle(), first.header.message_id, None);
    test.refused("giving it back from the wrong side", wrong, STATUS_MESSAGE_NOT_FOUND);
    test.ok("giving back the first", answer(pair.server.handle(), first.header.message_id, None));
    test.equal("the view stays for the second", seen.read(0, &mut [0; 8]), Ok(()));
    test.ok("giving back the second", answer(pair.accepted.handle(), second.header.message_id, None));
    test.check("the view went", is_gone(&seen));
    seen.forget();
    let twice = answer(pair.server.handle(), second.header.message_id, None);
    test.refused("giving it back twice", twice, STATUS_MESSAGE_NOT_FOUND);
    // With the connection.
    show(&pair.client, &view, flags)?;
    let (held, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    pair.client.disconnect()?;
    test.check("the view goes with the connection", is_gone(&seen));
    seen.forget();
    let late = answer(pair.server.handle(), held.header.message_id, None);
    test.refused("giving it back then", late, STATUS_MESSAGE_NOT_FOUND);
    test.equal("the sender's still stays", filled(&view, 5), Ok(true));
    Ok(())
}

fn unmap_existing(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.client.section(PAGE_SIZE, false)?;
    let view = section.view(PAGE_SIZE)?;
    // Nothing came: nothing is given up, in a reply or elsewhere.
    let asker = ask(pair.client.handle(), Attributes::new())?;
    let id = get(pair.server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?.header.message_id;
    let empty = answer(pair.server.handle(), id, Some(&mut Attributes::giving_up_the_view()));
    test.ok("giving up nothing", empty);
    asker.join()??;
    let sent = pair.client.datagram(&mut text(b"")?, Some(&mut Attributes::giving_up_the_view()));
    test.ok("giving up nothing in a datagram", sent);
    let got = get(pair.server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    test.equal("that shows nothing", got.attributes.view(), None);
    // What came with the request.
    let asker = ask(pair.client.handle(), Attributes::showing(&view.attribute(0)))?;
    let (got, seen) = get_view(pair.server.handle(), LPC_REQUEST)?;
    let id = got.header.message_id;
    let given_up = answer(pair.server.handle(), id, Some(&mut Attributes::giving_up_the_view()));
    test.ok("giving up the request's view", given_up);
    test.check("it went with the reply", is_gone(&seen));
    seen.forget();
    let attributes = asker.join()??;
    test.equal("the asker is shown nothing", attributes.view(), None);
    // And another shown in its place.
    let own = pair.server.section(PAGE_SIZE, false)?;
    let reply = own.view(PAGE_SIZE)?;
    fill(&reply, 3)?;
    let wanted = Attributes::allocating(ALL).with(ALPC_MESSAGE_VIEW_ATTRIBUTE, &view.attribute(0));
    let asker = ask(pair.client.handle(), wanted)?;
    let (got, seen) = get_view(pair.server.handle(), LPC_REQUEST)?;
    let mut attributes = Attributes::showing(&reply.attribute(ALPC_VIEWFLG_UNMAP_EXISTING));
    answer(pair.server.handle(), got.header.message_id, Some(&mut attributes))?;
    test.check("one went", is_gone(&seen));
    seen.forget();
    let attribute = asker.join()??.view().unwrap_or_default();
    // SAFETY: received on this port, and reached through the kernel only.
    let seen = unsafe { PortView::received(pair.client.handle(), &attribute) };
    test.equal("one came", filled(&seen, 3), Ok(true));
    Ok(())
}

fn secure(test: &mut Test) -> NtResult {
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

fn writable(test: &mut Test, view: &PortView, when: &str) {
    test.equal(when, protection(view.base()), Ok(PAGE_READWRITE));
}

fn secure_never_received(test: &mut Test) -> NtResult {
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
fn secure_faults(test: &mut Test) -> NtResult {
    let child = child_of("views/write-secure").spawn()?;
    test.equal("writing to what is out", child.wait(), Ok(STATUS_ACCESS_VIOLATION));
    Ok(())
}

fn of_a_section(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let object = Section::create(3 * PAGE_SIZE)?;
    let whole = object.map(0, 0, PAGE_READWRITE)?;
    whole.write(0, b"in the section");
    let section = pair.client.section_of(object.handle(), 0)?;
    test.equal("all of it", section.size(), 3 * PAGE_SIZE);
    let view = section.view(3 * PAGE_SIZE)?;
    show(&pair.client, &view, 0)?;
    let (_, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    let mut bytes = [0; 14];
    seen.read(0, &mut bytes)?;
    test.equal("what the receiver sees", &bytes, b"in the section");
    test.ok("the receiver writes", seen.write(PAGE_SIZE, b"back"));
    let mut bytes = [0; 4];
    test.check(
        "what is in the section then",
        whole.read(PAGE_SIZE as usize, &mut bytes) && &bytes == b"back",
    );
    // With a handle that may only read.
    let narrow = duplicate(object.handle(), Some(SECTION_MAP_READ))?;
    let section = pair.client.section_of(narrow.raw(), PAGE_SIZE)?;
    let view = section.view(PAGE_SIZE)?;
    test.refused("writing without the right", view.write(0, &[1]), STATUS_PARTIAL_COPY);
    show(&pair.client, &view, 0)?;
    let (_, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    test.refused("nor may the receiver", seen.write(0, &[1]), STATUS_PARTIAL_COPY);
    // SAFETY: a call that is refused.
    let raised =
        unsafe { calls::protect_memory(Handle::CURRENT_PROCESS, seen.base(), PAGE_SIZE, PAGE_READWRITE) };
    test.refused("nor take the right", raised.map(drop), STATUS_SECTION_PROTECTION);
    let blind = duplicate(object.handle(), Some(SECTION_QUERY))?;
    test.refused("no right to map", pair.client.section_of(blind.raw(), 0), STATUS_ACCESS_DENIED);
    let larger = pair.client.section_of(object.handle(), 3 * PAGE_SIZE + 1);
    test.refused("more than there is", larger, STATUS_SECTION_TOO_BIG);
    test.refused("no section", pair.client.section_of(pair.client.handle(), 0), STATUS_OBJECT_TYPE_MISMATCH);
    let secure = alpc_section::create_port_section(
        pair.client.handle(),
        ALPC_PORTSECTION_SECURE,
        object.handle(),
        PAGE_SIZE,
    );
    test.refused("secure memory that others can map", secure, STATUS_INVALID_PARAMETER);
    Ok(())
}

fn refused(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let port = &pair.client;
    test.refused("a section of no size", port.section(0, false), STATUS_INVALID_PARAMETER);
    for size in [u64::MAX, USER_MAX, 1 << 46] {
        test.refused("a section too large", port.section(size, false), STATUS_SECTION_TOO_BIG);
    }
    let section = port.section(PAGE_SIZE + 1, false)?;
    test.equal("a size is rounded", section.size(), 2 * PAGE_SIZE);
    for size in [0, 2 * PAGE_SIZE + 1, u64::MAX] {
        test.refused("a view of a bad size", section.view(size), STATUS_INVALID_VIEW_SIZE);
    }
    let view = section.view(1)?;
    test.equal("a view's size is rounded", view.size(), PAGE_SIZE);
    let other = section.view(PAGE_SIZE)?;
    test.refused("no part left", section.view(1), STATUS_NO_MEMORY);
    drop(other);
    drop(test.ok("a part given back", section.view(PAGE_SIZE)));
    let good = view.attribute(0);
    let mut send = |what: &str, attribute: AlpcDataViewAttr, status| -> NtResult {
        let sent = port.datagram(&mut text(b"")?, Some(&mut Attributes::showing(&attribute)));
        test.refused(what, sent, status);
        Ok(())
    };
    send("nothing at all", AlpcDataViewAttr::default(), STATUS_INVALID_PARAMETER)?;
    send("no base", AlpcDataViewAttr { view_base: 0, ..good }, STATUS_INVALID_PARAMETER)?;
    send("no section", AlpcDataViewAttr { section_handle: 0, ..good }, STATUS_INVALID_HANDLE)?;
    send("a stale section", AlpcDataViewAttr { section_handle: 1 << 16, ..good }, STATUS_INVALID_HANDLE)?;
    send("any section", AlpcDataViewAttr { section_handle: u64::MAX, ..good }, STATUS_INVALID_HANDLE)?;
    let inside = good.view_base + PAGE_SIZE / 2;
    send("a base within", AlpcDataViewAttr { view_base: inside, ..good }, STATUS_INVALID_PARAMETER)?;
    let stack = (&raw const good) as u64 & !(PAGE_SIZE - 1);
    send("memory of the program", AlpcDataViewAttr { view_base: stack, ..good }, STATUS_INVALID_PARAMETER)?;
    send("the kernel", AlpcDataViewAttr { view_base: 1 << 63, ..good }, STATUS_INVALID_PARAMETER)?;
    send("a larger size", AlpcDataViewAttr { view_size: 2 * PAGE_SIZE, ..good }, STATUS_INVALID_VIEW_SIZE)?;
    send("any size", AlpcDataViewAttr { view_size: u64::MAX, ..good }, STATUS_INVALID_VIEW_SIZE)?;
    for flag in [1, ALPC_VIEWFLG_NOT_SECURE, 0x8000_0000] {
        send("a flag that is none", AlpcDataViewAttr { flags: flag, ..good }, STATUS_INVALID_PARAMETER)?;
    }
    test.check("nothing of that arrived", poll(&pair.server)?.is_none());
    for bad in [AlpcDataViewAttr { flags: 1, ..good }, good] {
        let made = alpc_section::create_section_view(port.handle(), &mut bad.clone());
        test.refused("a view at a place, or with flags", made, STATUS_INVALID_PARAMETER);
    }
    for base in [0, good.view_base + 1, good.view_base + PAGE_SIZE, stack, u64::MAX] {
        // SAFETY: no view is there.
        let deleted = unsafe { alpc_section::delete_section_view(port.handle(), base) };
        test.refused("deleting what is no view", deleted, STATUS_NOT_MAPPED_VIEW);
    }
    let gone = section.handle();
    drop(section);
    let deleted = alpc_section::delete_port_section(port.handle(), gone);
    test.refused("deleting a section twice", deleted, STATUS_INVALID_HANDLE);
    let mut attribute = AlpcDataViewAttr { section_handle: gone, view_size: 1, ..Default::default() };
    let made = alpc_section::create_section_view(port.handle(), &mut attribute);
    test.refused("a view of a section that is gone", made, STATUS_INVALID_HANDLE);
    let object = pair.server.create_object(1, 1, 1)?;
    let object = Port::from_handle(object);
    test.refused("a server object's section", object.section(1, false), STATUS_OBJECT_TYPE_MISMATCH);
    test.refused("a view on a server object", show(&object, &view, 0), STATUS_INVALID_PARAMETER);
    Ok(())
}

/// Sections and views mean something to their own port, and their own process, only.
fn foreign(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let (_accepted, client) = connect(&pair.server, 0)?;
    let section = pair.client.section(PAGE_SIZE, false)?;
    let view = section.view(PAGE_SIZE)?;
    let other = client.section(PAGE_SIZE, false)?;
    test.equal("handles are the port's own", other.handle(), section.handle());
    test.refused("another port's view", show(&client, &view, 0), STATUS_INVALID_PARAMETER);
    for port in [client.handle(), pair.server.handle(), pair.accepted.handle()] {
        // SAFETY: a call that is refused.
        let deleted = unsafe { alpc_section::delete_section_view(port, view.base()) };
        test.refused("deleting another port's view", deleted, STATUS_NOT_MAPPED_VIEW);
    }
    let deleted = alpc_section::delete_port_section(pair.server.handle(), section.handle());
    test.refused("deleting another port's section", deleted, STATUS_INVALID_HANDLE);
    // What was received is not shown further.
    show(&pair.client, &view, 0)?;
    let (_, seen) = get_view(pair.accepted.handle(), LPC_DATAGRAM)?;
    let own = pair.accepted.section(PAGE_SIZE, false)?;
    let attribute = AlpcDataViewAttr { section_handle: own.handle(), ..seen.attribute(0) };
    let sent = pair.accepted.datagram(&mut text(b"")?, Some(&mut Attributes::showing(&attribute)));
    test.refused("showing what was received", sent, STATUS_INVALID_PARAMETER);
    // Another view of the same port, with this section's handle.
    let second = pair.client.section(PAGE_SIZE, false)?;
    let attribute = AlpcDataViewAttr { section_handle: second.handle(), ..view.attribute(0) };
    let sent = pair.client.datagram(&mut text(b"")?, Some(&mut Attributes::showing(&attribute)));
    test.refused("a view of another section", sent, STATUS_INVALID_PARAMETER);
    // Another process with the same port has its own addresses.
    let child = child_of("views/not-mine")
        .argument(&format!("{}", view.base()))
        .give(PORT, pair.client.handle(), None, [0; 4])
        .spawn()?;
    test.equal("another process", child.wait(), Ok(STATUS_SUCCESS));
    test.equal("the view is still there", view.read(0, &mut [0]), Ok(()));
    Ok(())
}

fn limits(test: &mut Test) -> NtResult {
    let attributes = AlpcPortAttributes {
        max_section_size: 4 * PAGE_SIZE,
        max_view_size: 2 * PAGE_SIZE,
        max_total_section_size: 6 * PAGE_SIZE,
        ..AlpcPortAttributes::default()
    };
    let port = ConnectionPort::create_with(&attributes)?;
    test.refused("a section too large", port.section(4 * PAGE_SIZE + 1, false), STATUS_SECTION_TOO_BIG);
    let object = Section::create(5 * PAGE_SIZE)?;
    test.refused("all of a larger one", port.section_of(object.handle(), 0), STATUS_SECTION_TOO_BIG);
    let first = port.section(4 * PAGE_SIZE, false)?;
    test.refused("a sum too large", port.section(2 * PAGE_SIZE + 1, false), STATUS_QUOTA_EXCEEDED);
    let second = port.section(2 * PAGE_SIZE, false)?;
    test.refused("no more", port.section(1, false), STATUS_QUOTA_EXCEEDED);
    test.refused("a view too large", first.view(2 * PAGE_SIZE + 1), STATUS_INVALID_VIEW_SIZE);
    let view = first.view(2 * PAGE_SIZE)?;
    drop(first);
    test.refused("a deleted section that is mapped counts", port.section(1, false), STATUS_QUOTA_EXCEEDED);
    drop(view);
    drop(test.ok("and no longer when it is not", port.section(4 * PAGE_SIZE, false)));
    drop(second);
    // What a server's port accepts is known to who sends to it.
    let pair = Pair::on(port)?;
    let section = pair.client.section(3 * PAGE_SIZE, false)?;
    let view = section.view(3 * PAGE_SIZE)?;
    test.refused("larger than the server accepts", show(&pair.client, &view, 0), STATUS_INVALID_VIEW_SIZE);
    let few = alpc_section::create_port_section(pair.client.handle(), 0, Handle::NULL, 1 << 40);
    test.refused("more than the quota", few, STATUS_SECTION_TOO_BIG);
    Ok(())
}

/// A receiver that does not take the view gets the message without it.
fn not_accepted(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let narrow = AlpcPortAttributes { max_view_size: PAGE_SIZE, ..AlpcPortAttributes::default() };
    let client = connect_async(&server, &narrow, b"")?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    let accepted = accept(&server, &request, 0, b"")?;
    get(client.handle(), LONG)?;
    let section = accepted.section(3 * PAGE_SIZE, false)?;
    let (large, small) = (section.view(2 * PAGE_SIZE)?, section.view(PAGE_SIZE)?);
    show(&accepted, &large, ALPC_VIEWFLG_AUTO_RELEASE)?;
    show(&accepted, &small, 0)?;
    let got = get(client.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
    test.equal("a view larger than the client's port takes", got.attributes.view(), None);
    test.equal("leaves nothing to give back", got.header.message_type, LPC_DATAGRAM);
    let (_, seen) = get_view(client.handle(), LPC_DATAGRAM)?;
    test.equal("a smaller one", seen.size(), PAGE_SIZE);
    // Without room for the attribute.
    show(&accepted, &small, 0)?;
    let seen = poll_port(&client)?.ok_or(STATUS_IO_TIMEOUT)?;
    test.equal("without room", seen.attributes.valid() & ALPC_MESSAGE_VIEW_ATTRIBUTE, 0);
    Ok(())
}

fn deleted_while_shown(test: &mut Test) -> NtResult {
    for flags in [0, ALPC_VIEWFLG_AUTO_RELEASE] {
        for is_secure in [false, true] {
            let pair = Pair::new()?;
            let section = pair.client.section(PAGE_SIZE, is_secure)?;
            let view = section.view(PAGE_SIZE)?;
            fill(&view, 4)?;
            // The sender's goes while the message is queued, and its section with it.
            show(&pair.client, &view, flags)?;
            drop((view, section));
            let (got, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
            test.equal("the memory is still there", filled(&seen, 4), Ok(true));
            // The receiver's goes while it holds the message.
            let base = seen.base();
            drop(seen);
            let memory = calls::query_memory(Handle::CURRENT_PROCESS, base)?;
            test.equal("and goes", memory.state, MEM_FREE);
            let held = flags != 0 || is_secure;
            let released = answer(pair.server.handle(), got.header.message_id, None);
            test.equal("the message is given back", released.is_ok(), held);
        }
    }
    Ok(())
}

/// Views of ports are ALPC's: the calls for other memory leave them alone.
fn not_by_other_calls(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let section = pair.client.section(2 * PAGE_SIZE, false)?;
    let view = section.view(2 * PAGE_SIZE)?;
    // SAFETY: a call that is refused.
    let unmapped = unsafe { calls::unmap_view(Handle::CURRENT_PROCESS, view.base()) };
    test.refused("NtUnmapViewOfSection", unmapped, STATUS_INVALID_PAGE_PROTECTION);
    // SAFETY: a call that is refused.
    let freed = unsafe { calls::free_memory(Handle::CURRENT_PROCESS, view.base(), 0, MEM_RELEASE) };
    test.refused("NtFreeVirtualMemory", freed.map(drop), STATUS_UNABLE_TO_FREE_VM);
    // SAFETY: the view is used through the kernel only.
    let narrowed =
        unsafe { calls::protect_memory(Handle::CURRENT_PROCESS, view.base(), PAGE_SIZE, PAGE_NOACCESS) };
    test.equal("a view that is not secure may be narrowed", narrowed, Ok(PAGE_READWRITE));
    test.refused("and then is", view.read(0, &mut [0]), STATUS_PARTIAL_COPY);
    show(&pair.client, &view, 0)?;
    let (_, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
    test.equal("the receiver's is its own", seen.read(0, &mut [0]), Ok(()));
    let memory = calls::query_memory(Handle::CURRENT_PROCESS, seen.base())?;
    test.equal("it is a view", memory.kind, MEM_MAPPED);
    Ok(())
}

/// Ports with views close in every order.
fn ports_close(test: &mut Test) -> NtResult {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in ORDERS {
        for stage in ["queued", "received", "asked"] {
            for is_secure in [false, true] {
                let Pair { server, accepted, client } = Pair::new()?;
                let section = client.section(2 * PAGE_SIZE, is_secure)?;
                let view = section.view(PAGE_SIZE)?;
                let made = view.base();
                let attribute = view.attribute(ALPC_VIEWFLG_AUTO_RELEASE);
                view.forget();
                drop(section);
                let mut asker = None;
                // The section is gone by name: show it before, under its own name.
                let section = client.section(PAGE_SIZE, is_secure)?;
                let shown = section.view(PAGE_SIZE)?;
                let bases = [made, shown.base()];
                let attribute = AlpcDataViewAttr { flags: attribute.flags, ..shown.attribute(0) };
                let mut attributes = Attributes::showing(&attribute);
                match stage {
                    "asked" => asker = Some(ask(client.handle(), attributes)?),
                    _ => client.datagram(&mut text(b"")?, Some(&mut attributes))?,
                }
                let mut received = None;
                if stage != "queued" {
                    let got = get(server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
                    received = got.attributes.view().map(|view| view.view_base);
                    test.check("a view was received", received.is_some());
                }
                shown.forget();
                drop(section);
                let mut ports = [
                    Some(duplicate(client.handle(), None)?),
                    Some(duplicate(accepted.handle(), None)?),
                    Some(duplicate(server.handle(), None)?),
                ];
                drop((client, accepted, server));
                for port in order {
                    ports[port] = None;
                    if let Some(asker) = asker.take_if(|_| port > 0) {
                        let asked = asker.join()?;
                        test.refused("asking whom the port closed for", asked, STATUS_PORT_DISCONNECTED);
                    }
                }
                if let Some(asker) = asker {
                    test.check("asking on one's closed port", asker.join()?.is_err());
                }
                for base in bases.into_iter().chain(received) {
                    let memory = calls::query_memory(Handle::CURRENT_PROCESS, base)?;
                    test.equal(format_args!("a view of closed ports, {stage}"), memory.state, MEM_FREE);
                }
            }
        }
    }
    Ok(())
}

/// Name of the extra handle by which a child reaches the port of these tests.
const PORT: &str = "port";

/// What a child does.
pub fn child(role: &str) -> NtResult {
    match role {
        // Shows a secure view, and writes to it: the end.
        "write-secure" => {
            let pair = Pair::new()?;
            let section = pair.client.section(PAGE_SIZE, true)?;
            let view = section.view(PAGE_SIZE)?;
            // SAFETY: the view stays as long as the section's port.
            let words = unsafe { view.words() };
            words[0].store(1, core::sync::atomic::Ordering::Relaxed);
            show(&pair.client, &view, 0)?;
            words[0].store(2, core::sync::atomic::Ordering::Relaxed);
            Ok(())
        }
        "not-mine" => not_mine(),
        // Shows a view and asks; or receives one. Either waits to be ended.
        "show" => {
            let port = env::extra(PORT).ok_or(STATUS_INVALID_HANDLE)?.handle;
            let client = Port::connect_to::<Box<[u64]>>(port, &Default::default(), None)?;
            let section = client.section(16 * PAGE_SIZE, true)?;
            let view = section.view(16 * PAGE_SIZE)?;
            fill(&view, 6)?;
            show(&client, &view, ALPC_VIEWFLG_AUTO_RELEASE)?;
            libnt::time::sleep(Duration::from_secs(600));
            Ok(())
        }
        _ => {
            let port = env::extra(PORT).ok_or(STATUS_INVALID_HANDLE)?.handle;
            let (got, seen) = get_view(port, LPC_DATAGRAM)?;
            fill(&seen, 8)?;
            // The parent has to know what to give back.
            libnt::process::exit(NtStatus(got.header.message_id))
        }
    }
}

fn not_mine() -> NtResult {
    let port = env::extra(PORT).ok_or(STATUS_INVALID_HANDLE)?.handle;
    let base: u64 = env::args().nth(2).and_then(|text| text.parse().ok()).ok_or(STATUS_INVALID_PARAMETER)?;
    // SAFETY: a call that is refused.
    let deleted = unsafe { alpc_section::delete_section_view(port, base) };
    let port = core::mem::ManuallyDrop::new(Port::from_handle(OwnedHandle::new(port)));
    let attribute =
        AlpcDataViewAttr { section_handle: 1, view_base: base, view_size: PAGE_SIZE, ..Default::default() };
    let sent = port.datagram(&mut text(b"")?, Some(&mut Attributes::showing(&attribute)));
    match (deleted, sent) {
        (Err(STATUS_NOT_MAPPED_VIEW), Err(STATUS_INVALID_PARAMETER | STATUS_INVALID_HANDLE)) => Ok(()),
        _ => Err(STATUS_UNSUCCESSFUL),
    }
}

fn processes_die(test: &mut Test) -> NtResult {
    // Who shows a view: its receiver keeps what it sees, until it gives it back.
    for received in [false, true] {
        let server = ConnectionPort::create()?;
        let child = child_of("views/show").give(PORT, server.handle(), Some(PORT_CONNECT), [0; 4]).spawn()?;
        let request = receive_within(&server, LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
        let _accepted = accept(&server, &request, 0, b"")?;
        libnt::wait::one(server.handle(), Some(LONG))?;
        let mut seen = None;
        if received {
            let view = get_view(server.handle(), LPC_DATAGRAM)?.1;
            test.equal("what a child shows", filled(&view, 6), Ok(true));
            test.ok("writing to it", fill(&view, 7));
            seen = Some(view);
        }
        child.terminate(STATUS_CANCELLED)?;
        child.wait()?;
        match seen {
            Some(view) => {
                expect(&server, LPC_PORT_CLOSED)?;
                test.check("it goes with the connection", is_gone(&view));
                view.forget();
            }
            None => {
                let got = get(server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
                test.equal("what was sent before the end", got.header.kind(), LPC_DATAGRAM);
            }
        }
    }
    // Who receives a secure view, on a port that others have too: the sender gets its own back with the message.
    let pair = Pair::new()?;
    let section = pair.client.section(4 * PAGE_SIZE, true)?;
    let view = section.view(4 * PAGE_SIZE)?;
    for _ in 0..2 {
        show(&pair.client, &view, 0)?;
        let child = child_of("views/take").give(PORT, pair.server.handle(), None, [0; 4]).spawn()?;
        let id = child.wait()?.0;
        test.equal("what it wrote", filled(&view, 8), Ok(true));
        test.equal("its message is still out", protection(view.base()), Ok(PAGE_READONLY));
        test.ok("it is given back for it", answer(pair.server.handle(), id, None));
        writable(test, &view, "after that");
    }
    Ok(())
}

/// Something to do at the same time as other things.
type Act = Box<dyn FnOnce() -> NtResult + Send>;

fn closing(ports: impl Send + 'static) -> Act {
    Box::new(move || {
        drop(ports);
        Ok(())
    })
}

/// The ways of a view to go, at the same time.
fn races(test: &mut Test) -> NtResult {
    for round in 0..40 {
        let Pair { server, accepted, client } = Pair::new()?;
        let section = client.section(4 * PAGE_SIZE, round % 2 == 0)?;
        let view = section.view(4 * PAGE_SIZE)?;
        show(&client, &view, ALPC_VIEWFLG_AUTO_RELEASE)?;
        let (got, seen) = get_view(server.handle(), LPC_DATAGRAM)?;
        let (id, bases) = (got.header.message_id, [view.base(), seen.base()]);
        view.forget();
        seen.forget();
        drop(section);
        let (server, client) = (Arc::new(server), Arc::new(client));
        let mut threads = Vec::new();
        let mut race = |what: Act| -> NtResult {
            threads.push(thread::spawn(what)?);
            Ok(())
        };
        let port = server.clone();
        race(Box::new(move || answer(port.handle(), id, Some(&mut Attributes::giving_up_the_view()))))?;
        let port = server.clone();
        // SAFETY: nothing uses the views any more; so below.
        race(Box::new(move || unsafe { alpc_section::delete_section_view(port.handle(), bases[1]) }))?;
        let port = client.clone();
        // SAFETY: as above.
        race(Box::new(move || unsafe { alpc_section::delete_section_view(port.handle(), bases[0]) }))?;
        match round % 4 {
            0 => race(closing((accepted, client)))?,
            1 => race(closing((server, client)))?,
            2 => race(Box::new(move || client.disconnect()))?,
            _ => race(Box::new(move || accepted.disconnect()))?,
        }
        for thread in threads {
            // Who comes late is refused.
            let _ = thread.join()?;
        }
        for base in bases {
            let memory = calls::query_memory(Handle::CURRENT_PROCESS, base)?;
            test.equal("a view after the race", memory.state, MEM_FREE);
        }
    }
    Ok(())
}
