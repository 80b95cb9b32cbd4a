//! What is refused of sections and views, and what is not accepted.

use super::{PORT, get_view, show};
use crate::holding::*;
use crate::pair::*;
use libnt::abi::alpc::*;
use libnt::abi::mm::*;
use libnt::abi::ob::{SECTION_MAP_READ, SECTION_QUERY};
use libnt::alpc::{Attributes, ConnectionPort, Port};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::section::Section;
use libnt::sys::{alpc_section, calls};
use testkit::Test;

pub fn of_a_section(test: &mut Test) -> NtResult {
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

pub fn refused(test: &mut Test) -> NtResult {
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
pub fn foreign(test: &mut Test) -> NtResult {
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

pub fn not_mine() -> NtResult {
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

pub fn limits(test: &mut Test) -> NtResult {
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
pub fn not_accepted(test: &mut Test) -> NtResult {
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

/// Views of ports are ALPC's: the calls for other memory leave them alone.
pub fn not_by_other_calls(test: &mut Test) -> NtResult {
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
