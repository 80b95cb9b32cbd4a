//! Port sections and views: shown to who receives a message, given up, taken back, refused, and gone with whoever dies.

mod ending;
mod refusing;
mod secure;
mod waiting;

use crate::holding::*;
use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::mm::*;
use libnt::alpc::attributes::ALL;
use libnt::alpc::{Attributes, ConnectionPort, Port, PortView};
use libnt::prelude::*;
use libnt::sys::{alpc_section, calls};
use testkit::Test;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("view/request-and-reply", request_and_reply);
    test.case("view/in-a-reply", in_a_reply);
    test.case("view/in-an-answer-to-a-connect", in_an_answer_to_a_connect);
    test.case("view/datagrams", datagrams);
    test.case("view/shown-twice", shown_twice);
    test.case("view/auto-release", auto_release);
    test.case("view/unmap-existing", unmap_existing);
    test.case("view/secure", secure::secure);
    test.case("view/secure-never-received", secure::secure_never_received);
    test.case("view/secure-faults", secure::secure_faults);
    test.case("view/of-a-section", refusing::of_a_section);
    test.case("view/refused", refusing::refused);
    test.case("view/foreign", refusing::foreign);
    test.case("view/limits", refusing::limits);
    test.case("view/not-accepted", refusing::not_accepted);
    test.case("view/deleted-while-shown", ending::deleted_while_shown);
    test.case("view/not-by-other-calls", refusing::not_by_other_calls);
    test.case("view/ports-close", ending::ports_close);
    test.case("view/processes-die", ending::processes_die);
    test.race("view/races", ending::races);
    test.case("view/cancelled", waiting::cancelled);
    test.case("view/asynchronous-request", waiting::asynchronous_request);
    test.case("view/call-back", waiting::call_back);
}

/// Receives something that must be of this type and bring a view.
fn get_view(port: Handle, kind: u16) -> NtResult<(Got, PortView<'static>)> {
    let got = get(port, LONG)?.filter(|got| got.header.kind() == kind).ok_or(STATUS_INVALID_MESSAGE)?;
    let attribute = got.attributes.view().ok_or(STATUS_NOT_MAPPED_VIEW)?;
    // SAFETY: received on this port; the tests know when it goes, and reach it through the kernel.
    let view = unsafe { PortView::received(port, &attribute) };
    Ok((got, view))
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
    // The asker, which is in this process, may have mapped the other one in its place already.
    test.check("one went", is_gone(&seen) || filled(&seen, 3) == Ok(true));
    seen.forget();
    let attribute = asker.join()??.view().unwrap_or_default();
    // SAFETY: received on this port, and reached through the kernel only.
    let seen = unsafe { PortView::received(pair.client.handle(), &attribute) };
    test.equal("one came", filled(&seen, 3), Ok(true));
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
        "not-mine" => refusing::not_mine(),
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

/// A server shows a view as it accepts, to a client that waits and to one that does not.
fn in_an_answer_to_a_connect(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let section = server.section(PAGE_SIZE, false)?;
    let view = section.view(PAGE_SIZE)?;
    fill(&view, 5)?;
    let port = AlpcPortAttributes::default();
    let client = connect_async(&server, &port, b"")?;
    let request = expect(&server, LPC_CONNECTION_REQUEST)?;
    let mut message = text(b"")?;
    message.set_reply_to(request.header.message_id);
    let mut attributes = Attributes::showing(&view.attribute(0));
    let accepted = server.accept_with(&message, 0, &mut attributes)?;
    let (_, seen) = get_view(client.handle(), LPC_CONNECTION_REPLY)?;
    test.equal("what the client sees", filled(&seen, 5), Ok(true));
    fill(&seen, 6)?;
    test.equal("what the server sees then", filled(&view, 6), Ok(true));
    drop(seen);
    drop((client, accepted));
    // A connect brings no view: the client has no port yet that could have a section.
    let mut message = text(b"")?;
    let mut attributes = Attributes::showing(&view.attribute(0));
    let sent = Some(attributes.words_mut());
    let refused = alpc_section::connect_port_with(server.handle(), &port, 0, message.words_mut(), sent, None);
    test.refused("showing a view before there is a port", refused, STATUS_INVALID_PARAMETER);
    Ok(())
}
