//! Sections: views in one process and in two, copy on write.

use crate::probe;
use core::sync::atomic::Ordering;
use core::time::Duration;
use libnt::abi::mm::*;
use libnt::abi::ob::{EVENT_MODIFY_STATE, SECTION_MAP_READ, SECTION_MAP_WRITE, SYNCHRONIZE};
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::process::Command;
use libnt::section::{Section, View};
use libnt::sys::calls;
use libnt::wait;
use testkit::Test;

/// First argument of the second process.
pub const CHILD: &str = "--child";

const LONG: Duration = Duration::from_secs(20);
const SIZE: u64 = 16 * PAGE_SIZE;
const ROUNDS: u64 = 100;
const SECTION: &str = "section";
const TO_CHILD: &str = "to-child";
const TO_PARENT: &str = "to-parent";

/// All checks of this file.
pub fn run(test: &mut Test) -> NtResult {
    views(test)?;
    rights(test)?;
    copy_on_write(test)?;
    two_processes(test)
}

fn word(view: &View, offset: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    view.read(offset, &mut bytes).then(|| u64::from_le_bytes(bytes))
}

fn set(view: &View, offset: usize, value: u64) -> bool {
    view.write(offset, &value.to_le_bytes())
}

fn views(test: &mut Test) -> NtResult {
    let section = Section::create(SIZE)?;
    test.equal("its size", section.size(), Ok(SIZE));
    let (one, two) = (section.map(0, 0, PAGE_READWRITE)?, section.map(0, 0, PAGE_READONLY)?);
    test.equal("a fresh section", word(&one, 100), Some(0));
    set(&one, 5 * 4096 + 8, 77);
    test.equal("seen in the other view", word(&two, 5 * 4096 + 8), Some(77));
    let part = section.map(5 * PAGE_SIZE, PAGE_SIZE, PAGE_READWRITE)?;
    test.equal("a part's size", part.size(), 4096);
    test.equal("seen in a part", word(&part, 8), Some(77));
    test.check("a read-only view cannot be written", !probe::is_writable(two.base()));
    let info = libnt::memory::query(two.base())?;
    test.equal("a view's kind and protection", (info.kind, info.protect), (MEM_MAPPED, PAGE_READONLY));
    let base = part.base();
    drop(part);
    test.equal("an unmapped view", probe::read(base), None);
    // SAFETY: nothing is mapped there.
    let twice = unsafe { calls::unmap_view(Handle::CURRENT_PROCESS, base) };
    test.refused("unmapping twice", twice, STATUS_NOT_MAPPED_VIEW);
    drop(section);
    test.equal("views outlive the handle", word(&two, 5 * 4096 + 8), Some(77));
    Ok(())
}

fn rights(test: &mut Test) -> NtResult {
    let section = Section::create(SIZE)?;
    let map = |handle: Handle, offset: u64, size: u64, protect: u32| {
        calls::map_view(handle, Handle::CURRENT_PROCESS, 0, offset, size, protect).map(drop)
    };
    let read = duplicate(section.handle(), Some(SECTION_MAP_READ))?;
    let refused = map(read.raw(), 0, 0, PAGE_READWRITE);
    test.check(
        "writing with the right to read",
        matches!(refused, Err(STATUS_ACCESS_DENIED | STATUS_SECTION_PROTECTION)),
    );
    let refused = map(read.raw(), 0, 0, PAGE_EXECUTE_READ);
    test.check(
        "executing with the right to read",
        matches!(refused, Err(STATUS_ACCESS_DENIED | STATUS_SECTION_PROTECTION)),
    );
    let view = Section::from_handle(read).map(0, 0, PAGE_READONLY)?;
    // SAFETY: the view is reached through the kernel only.
    let raised =
        unsafe { calls::protect_memory(Handle::CURRENT_PROCESS, view.base(), PAGE_SIZE, PAGE_READWRITE) };
    test.refused("raising a view's protection", raised, STATUS_SECTION_PROTECTION);
    let program = libnt::ob::open_section("\\SystemRoot\\hello", SECTION_MAP_READ)?;
    let view = Section::from_handle(program).map(0, 0, PAGE_READONLY)?;
    // SAFETY: the view is not used.
    let raised =
        unsafe { calls::protect_memory(Handle::CURRENT_PROCESS, view.base(), PAGE_SIZE, PAGE_EXECUTE_READ) };
    test.refused("making a readable view executable", raised, STATUS_SECTION_PROTECTION);
    test.refused(
        "beyond the end",
        map(section.handle(), SIZE, PAGE_SIZE, PAGE_READONLY),
        STATUS_INVALID_VIEW_SIZE,
    );
    test.refused("too long", map(section.handle(), PAGE_SIZE, SIZE, PAGE_READONLY), STATUS_INVALID_VIEW_SIZE);
    test.refused(
        "a huge offset",
        map(section.handle(), u64::MAX - 4095, 4096, PAGE_READONLY),
        STATUS_INVALID_VIEW_SIZE,
    );
    test.refused("an odd offset", map(section.handle(), 12, 4096, PAGE_READONLY), STATUS_MAPPED_ALIGNMENT);
    let both = map(section.handle(), 0, 0, PAGE_EXECUTE_READWRITE);
    test.refused("writable and executable", both, STATUS_INVALID_PAGE_PROTECTION);
    test.refused("a section of no bytes", Section::create(0), STATUS_INVALID_PARAMETER);
    test.check("a section of all bytes", Section::create(u64::MAX).is_err());
    test.check("a section of 2^60 bytes", Section::create(1 << 60).is_err());
    // SAFETY: the region is private memory of nobody: it is refused.
    let wrong = unsafe { calls::free_memory(Handle::CURRENT_PROCESS, view.base(), 0, MEM_RELEASE) };
    test.refused("freeing a view", wrong, STATUS_UNABLE_TO_FREE_VM);
    Ok(())
}

fn copy_on_write(test: &mut Test) -> NtResult {
    let section = Section::create(SIZE)?;
    let shared = section.map(0, 0, PAGE_READWRITE)?;
    set(&shared, 0, 1);
    set(&shared, 4096, 2);
    let (one, two) = (section.map(0, 0, PAGE_WRITECOPY)?, section.map(0, 0, PAGE_WRITECOPY)?);
    test.equal("a copy sees the section", (word(&one, 0), word(&two, 4096)), (Some(1), Some(2)));
    set(&shared, 4096, 3);
    test.equal("until it writes", word(&one, 4096), Some(3));
    test.check("a copy can be written", set(&one, 0, 10) && probe::is_writable(one.base() + 64));
    test.equal("its own", word(&one, 0), Some(10));
    test.equal("not the section's", (word(&shared, 0), word(&two, 0)), (Some(1), Some(1)));
    set(&shared, 0, 5);
    test.equal("a copied page is apart", (word(&one, 0), word(&two, 0)), (Some(10), Some(5)));
    set(&shared, 8, 6);
    test.equal("also its other words", word(&one, 8), Some(0));
    test.equal("the next page is not copied", word(&one, 4096), Some(3));
    Ok(())
}

fn two_processes(test: &mut Test) -> NtResult {
    let section = Section::create(SIZE)?;
    let view = section.map(0, 0, PAGE_READWRITE)?;
    let (to_child, to_parent) = (Event::synchronization(false)?, Event::synchronization(false)?);
    set(&view, 2 * 4096, 500);
    let child = Command::new(env::image())
        .argument(CHILD)
        .give(SECTION, section.handle(), Some(SECTION_MAP_READ | SECTION_MAP_WRITE), [0; 4])
        .give(TO_CHILD, to_child.handle(), Some(SYNCHRONIZE), [0; 4])
        .give(TO_PARENT, to_parent.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
        .spawn()?;
    drop(section);
    for round in 0..ROUNDS {
        let Some(counter) = view.word(0) else { break };
        counter.store(round * 2 + 1, Ordering::SeqCst);
        to_child.set()?;
        let answered = wait::any(&[to_parent.handle(), child.handle()], Some(LONG))?;
        if !test.equal("the other process answers", answered, Some(0)) {
            break;
        }
        test.equal("what it wrote", counter.load(Ordering::SeqCst), round * 2 + 2);
    }
    test.equal("the other process", child.wait_for(LONG), Ok(Some(STATUS_SUCCESS)));
    test.equal("its private copy is not seen", word(&view, 2 * 4096), Some(500));
    Ok(())
}

/// The second process: adds one to the shared word whenever it is told to.
pub fn child() -> NtResult {
    let find = |name: &str| env::extra(name).map(|extra| extra.handle).ok_or(STATUS_INVALID_HANDLE);
    let section = Section::from_handle(OwnedHandle::new(find(SECTION)?));
    let (wake, done) = (find(TO_CHILD)?, Event::from_handle(OwnedHandle::new(find(TO_PARENT)?)));
    let view = section.map(0, 0, PAGE_READWRITE)?;
    let copy = section.map(2 * PAGE_SIZE, PAGE_SIZE, PAGE_WRITECOPY)?;
    if word(&copy, 0) != Some(500) || !set(&copy, 0, 501) || word(&copy, 0) != Some(501) {
        return Err(STATUS_UNSUCCESSFUL);
    }
    for _ in 0..ROUNDS {
        if !wait::one(wake, Some(LONG))? {
            return Err(STATUS_IO_TIMEOUT);
        }
        view.word(0).ok_or(STATUS_UNSUCCESSFUL)?.fetch_add(1, Ordering::SeqCst);
        done.set()?;
    }
    Ok(())
}
