//! Handles: duplicate, close, protect, inherit, compare; what is stale is refused.

#![no_std]
#![no_main]

extern crate alloc;

use libnt::abi::ob::*;
use libnt::abi::ps::PROCESS_CREATE_FLAGS_INHERIT_HANDLES;
use libnt::event::Event;
use libnt::handle::{basic_information, close_in, duplicate, duplicate_into, object_id, same_object};
use libnt::prelude::*;
use libnt::sys::calls;
use testkit::{Counters, Test};

libnt::main!(main);

fn main() -> NtResult<u32> {
    let mut test = Test::new("handletest");
    for round in 0..2 {
        let before = Counters::settled()?;
        values(&mut test)?;
        access(&mut test)?;
        duplicate_options(&mut test)?;
        protection(&mut test)?;
        stale(&mut test)?;
        other_processes(&mut test)?;
        inheritance(&mut test)?;
        queries(&mut test)?;
        many(&mut test)?;
        a_chain_of_owners(&mut test)?;
        if round > 0 {
            before.must_return(&mut test, 16);
        }
    }
    Ok(test.finish())
}

/// Each of many processes that never ran holds the only handle to the one before; closing the last ends them all, one
/// after the other and not one inside the other.
fn a_chain_of_owners(test: &mut Test) -> NtResult {
    const LINKS: usize = 64;
    let mut last = calls::create_process(PROCESS_ALL_ACCESS, 0)?;
    for _ in 1..LINKS {
        let next = calls::create_process(PROCESS_ALL_ACCESS, 0)?;
        let options = DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE;
        calls::duplicate(Handle::CURRENT_PROCESS, last, next, 0, 0, options)?;
        last = next;
    }
    test.ok("closing the end of a chain", calls::close(last));
    Ok(())
}

/// Sets a handle's inherit and protect flags.
fn set_flags(handle: Handle, inherit: bool, protect: bool) -> NtResult {
    calls::set_object(handle, OBJECT_HANDLE_FLAG_INFORMATION, &[u8::from(inherit), u8::from(protect)])
}

fn values(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    let value = event.handle().0;
    test.check("a handle is a multiple of 4 and not 0", value != 0 && value.is_multiple_of(4));
    for tag in 1..4 {
        let tagged = calls::query_event(Handle(value | tag)).map(drop);
        test.ok("the two low bits are ignored", tagged);
    }
    for (what, value) in [
        ("0", 0),
        ("an unused one", 0x7FFC),
        ("a huge one", 1 << 40),
        ("a kernel address", 0xFFFF_8000_0000_0000),
    ] {
        test.refused(format_args!("handle {what}"), calls::set_event(Handle(value)), STATUS_INVALID_HANDLE);
        test.refused(format_args!("closing {what}"), calls::close(Handle(value)), STATUS_INVALID_HANDLE);
    }
    test.refused(
        "the current process as an event",
        calls::set_event(Handle::CURRENT_PROCESS),
        STATUS_OBJECT_TYPE_MISMATCH,
    );
    test.refused(
        "the current thread as an event",
        calls::set_event(Handle::CURRENT_THREAD),
        STATUS_OBJECT_TYPE_MISMATCH,
    );
    let process = duplicate(Handle::CURRENT_PROCESS, None)?;
    test.check("a pseudo handle becomes a real one", same_object(process.raw(), Handle::CURRENT_PROCESS));
    Ok(())
}

fn access(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    let query = duplicate(event.handle(), Some(EVENT_QUERY_STATE))?;
    test.ok("querying", calls::query_event(query.raw()));
    test.refused("setting", calls::set_event(query.raw()), STATUS_ACCESS_DENIED);
    test.refused("waiting", calls::wait_one(query.raw(), false, Some(&0)).ok(), STATUS_ACCESS_DENIED);
    for more in [EVENT_MODIFY_STATE, SYNCHRONIZE, EVENT_ALL_ACCESS, u32::MAX] {
        test.refused("getting more", duplicate(query.raw(), Some(more)), STATUS_ACCESS_DENIED);
    }
    let process = duplicate(Handle::CURRENT_PROCESS, Some(PROCESS_QUERY_LIMITED_INFORMATION))?;
    let through =
        calls::duplicate(process.raw(), event.handle(), Handle::CURRENT_PROCESS, 0, 0, DUPLICATE_SAME_ACCESS);
    test.refused("duplicating from a process without the right", through, STATUS_ACCESS_DENIED);
    Ok(())
}

fn duplicate_options(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    let me = Handle::CURRENT_PROCESS;
    let source = duplicate(event.handle(), None)?;
    let moved = calls::duplicate(me, source.raw(), me, 0, 0, DUPLICATE_SAME_ACCESS | DUPLICATE_CLOSE_SOURCE)?;
    let moved = OwnedHandle::new(moved);
    test.check("closing the source moves the handle", same_object(moved.raw(), event.handle()));
    // The source's value may be in use again by the moved handle; only then is it valid.
    if moved.raw() != source.raw() {
        test.refused("the source is closed", calls::query_event(source.raw()), STATUS_INVALID_HANDLE);
    }
    let _ = source.into_raw();
    let source = duplicate(event.handle(), None)?;
    close_in(me, source.raw())?;
    test.refused("closed through its process", calls::query_event(source.raw()), STATUS_INVALID_HANDLE);
    let _ = source.into_raw();
    let wrong = calls::duplicate(me, Handle(0x7FFC), me, 0, 0, DUPLICATE_SAME_ACCESS);
    test.refused("duplicating nothing", wrong, STATUS_INVALID_HANDLE);
    let wrong = calls::duplicate(me, event.handle(), event.handle(), 0, 0, DUPLICATE_SAME_ACCESS);
    test.refused("duplicating into an event", wrong, STATUS_OBJECT_TYPE_MISMATCH);
    Ok(())
}

fn protection(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    set_flags(event.handle(), false, true)?;
    test.refused("closing a protected handle", calls::close(event.handle()), STATUS_HANDLE_NOT_CLOSABLE);
    // NtDuplicateObject does not say whether it could close the source.
    let _ = close_in(Handle::CURRENT_PROCESS, event.handle());
    test.ok("it is still there", calls::query_event(event.handle()));
    let mut flags = [0u8; 2];
    calls::query_object_bytes(event.handle(), OBJECT_HANDLE_FLAG_INFORMATION, &mut flags)?;
    test.equal("its flags", flags, [0, 1]);
    let twin = duplicate(event.handle(), None)?;
    test.ok("a twin is not protected", calls::close(twin.into_raw()));
    set_flags(event.handle(), false, false)?;
    Ok(())
}

/// A value that was closed stays invalid when its place is used again.
fn stale(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    let mut seen = Vec::new();
    for _ in 0..200 {
        let handle = duplicate(event.handle(), None)?.into_raw();
        test.ok("closing", calls::close(handle));
        let twice = calls::close(handle);
        test.refused("closing twice", twice, STATUS_INVALID_HANDLE);
        seen.push(handle);
    }
    let live: Vec<OwnedHandle> = (0..10).map_while(|_| duplicate(event.handle(), None).ok()).collect();
    let hits = seen
        .iter()
        .filter(|old| !live.iter().any(|new| new.raw() == **old) && calls::query_event(**old).is_ok());
    test.equal("stale handles that work", hits.count(), 0);
    let reused = seen.iter().filter(|old| live.iter().any(|new| new.raw() == **old)).count();
    test.equal("values given out again so soon", reused, 0);
    Ok(())
}

fn other_processes(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    let process = OwnedHandle::new(calls::create_process(PROCESS_ALL_ACCESS, 0)?);
    let there = duplicate_into(process.raw(), event.handle(), Some(EVENT_QUERY_STATE))?;
    test.equal("handles in two processes", basic_information(event.handle())?.handle_count, 2);
    let back = calls::duplicate(process.raw(), there, Handle::CURRENT_PROCESS, 0, 0, DUPLICATE_SAME_ACCESS);
    if let Some(back) = test.ok("duplicating back", back) {
        let back = OwnedHandle::new(back);
        test.equal("with its access there", basic_information(back.raw())?.granted_access, EVENT_QUERY_STATE);
    }
    calls::terminate_process(process.raw(), STATUS_SUCCESS)?;
    let late = duplicate_into(process.raw(), event.handle(), None);
    test.refused("duplicating into a process that ended", late, STATUS_PROCESS_IS_TERMINATING);
    test.equal("its handles went with it", basic_information(event.handle())?.handle_count, 1);
    Ok(())
}

fn inheritance(test: &mut Test) -> NtResult {
    let (given, kept) = (Event::notification(false)?, Event::notification(false)?);
    set_flags(given.handle(), true, false)?;
    for flags in [0, PROCESS_CREATE_FLAGS_INHERIT_HANDLES] {
        let process = OwnedHandle::new(calls::create_process(PROCESS_ALL_ACCESS, flags)?);
        let there = |handle: Handle| {
            calls::duplicate(process.raw(), handle, Handle::CURRENT_PROCESS, 0, 0, DUPLICATE_SAME_ACCESS)
                .map(OwnedHandle::new)
        };
        if flags == 0 {
            test.refused("not inherited without the flag", there(given.handle()), STATUS_INVALID_HANDLE);
        } else if let Some(inherited) = test.ok("inherited at the same value", there(given.handle())) {
            test.check("the same object", same_object(inherited.raw(), given.handle()));
        }
        test.refused("not inheritable", there(kept.handle()), STATUS_INVALID_HANDLE);
        calls::terminate_process(process.raw(), STATUS_SUCCESS)?;
    }
    Ok(())
}

fn queries(test: &mut Test) -> NtResult {
    let (one, two) = (Event::notification(false)?, Event::notification(false)?);
    let twin = duplicate(one.handle(), None)?;
    test.check("two handles to one object", same_object(one.handle(), twin.raw()));
    test.refused("two objects", calls::compare(one.handle(), two.handle()), STATUS_NOT_SAME_OBJECT);
    test.refused("comparing nothing", calls::compare(one.handle(), Handle::NULL), STATUS_INVALID_HANDLE);
    let (first, second) = (object_id(one.handle())?, object_id(two.handle())?);
    test.check("ids tell objects apart", first.object_id != second.object_id);
    test.equal("ids follow the object", object_id(twin.raw())?.object_id, first.object_id);
    test.equal("the type", first.object_type, ObjectType::Event as u32);
    let basic = basic_information(twin.raw())?;
    test.equal("the access", basic.granted_access, EVENT_ALL_ACCESS);
    test.equal("the count of handles", basic.handle_count, 2);
    let mut short = [0; 8];
    let result = calls::query_object_bytes(one.handle(), OBJECT_BASIC_INFORMATION, &mut short);
    test.refused("a short buffer", result, STATUS_INFO_LENGTH_MISMATCH);
    let result = calls::query_object_bytes(one.handle(), 0x7777, &mut short);
    test.refused("an unknown class", result, STATUS_INVALID_INFO_CLASS);
    let mut name = [0; 64];
    let length = calls::query_object_bytes(one.handle(), OBJECT_TYPE_INFORMATION, &mut name)?;
    let text: Vec<u8> = "Event".encode_utf16().flat_map(u16::to_le_bytes).collect();
    test.check("the type's name", name[..length].windows(text.len()).any(|part| part == text));
    Ok(())
}

/// Thousands of handles, up to the quota.
fn many(test: &mut Test) -> NtResult {
    const ENOUGH: usize = 100_000;
    let event = Event::notification(false)?;
    let mut open = Vec::with_capacity(ENOUGH);
    let mut refusal = None;
    while open.len() < ENOUGH && refusal.is_none() {
        match duplicate(event.handle(), None) {
            Ok(handle) => open.push(handle),
            Err(status) => refusal = Some(status),
        }
    }
    test.check("at least a thousand handles", open.len() >= 1000);
    test.check("the end is the quota", matches!(refusal, None | Some(STATUS_QUOTA_EXCEEDED)));
    let all_good = open.iter().all(|handle| same_object(handle.raw(), event.handle()));
    test.check("each of them works", all_good);
    let count = basic_information(event.handle())?.handle_count as usize;
    test.equal("all are counted", count, open.len() + 1);
    drop(open);
    test.equal("all are closed", basic_information(event.handle())?.handle_count, 1);
    Ok(())
}
