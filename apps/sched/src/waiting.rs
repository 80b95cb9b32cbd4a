//! Events and waits: for one, for any, for all; time-outs.

use alloc::sync::Arc;
use core::time::Duration;
use libnt::abi::ps::{NOTIFICATION_EVENT, WAIT_ALL, WAIT_ANY};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::sys::calls;
use libnt::{thread, time, wait};
use testkit::Test;

const LONG: Duration = Duration::from_secs(20);
const NOW: Option<Duration> = Some(Duration::ZERO);

/// All checks of this file.
pub fn run(test: &mut Test) -> NtResult {
    events(test)?;
    any(test)?;
    all(test)?;
    wrong_waits(test)?;
    time_outs(test)?;
    one_of_many_waiters(test)?;
    processes(test)
}

fn events(test: &mut Test) -> NtResult {
    let notification = Event::notification(true)?;
    test.equal("a signalled event", wait::one(notification.handle(), NOW), Ok(true));
    test.equal("it stays signalled", wait::one(notification.handle(), NOW), Ok(true));
    test.equal("resetting it", notification.reset(), Ok(true));
    test.equal("it is not signalled", wait::one(notification.handle(), NOW), Ok(false));
    test.equal("setting it", notification.set(), Ok(false));
    test.equal("its type", notification.query()?.event_type, NOTIFICATION_EVENT);
    test.equal("its state", notification.query()?.event_state, 1);
    let synchronization = Event::synchronization(true)?;
    test.equal("a synchronization event", wait::one(synchronization.handle(), NOW), Ok(true));
    test.equal("one wait takes it", wait::one(synchronization.handle(), NOW), Ok(false));
    synchronization.set()?;
    test.equal("setting it twice counts once", synchronization.set(), Ok(true));
    test.equal("taken", wait::one(synchronization.handle(), NOW), Ok(true));
    test.equal("and gone", wait::one(synchronization.handle(), NOW), Ok(false));
    test.refused("an unknown type", calls::create_event(0x1F_0003, 2, false), STATUS_INVALID_PARAMETER);
    Ok(())
}

/// Synchronization events, none signalled.
fn gates(count: usize) -> NtResult<(Vec<Event>, Vec<Handle>)> {
    let events = (0..count).map(|_| Event::synchronization(false)).collect::<NtResult<Vec<Event>>>()?;
    let handles = events.iter().map(Event::handle).collect();
    Ok((events, handles))
}

fn any(test: &mut Test) -> NtResult {
    let (events, handles) = gates(64)?;
    test.equal("none of 64", wait::any(&handles, NOW), Ok(None));
    events[40].set()?;
    events[63].set()?;
    test.equal("the first that is signalled", wait::any(&handles, NOW), Ok(Some(40)));
    test.equal("then the other", wait::any(&handles, NOW), Ok(Some(63)));
    test.equal("then none", wait::any(&handles, NOW), Ok(None));
    let events = Arc::new(events);
    let setter = events.clone();
    let thread = thread::spawn(move || {
        time::sleep(Duration::from_millis(20));
        setter[7].set()
    })?;
    test.equal("one that comes later", wait::any(&handles, Some(LONG)), Ok(Some(7)));
    test.equal("the thread that set it", thread.join()?, Ok(false));
    let twice = [handles[3], handles[3]];
    events[3].set()?;
    test.equal("the same twice", wait::any(&twice, NOW), Ok(Some(0)));
    Ok(())
}

fn all(test: &mut Test) -> NtResult {
    let (events, handles) = gates(3)?;
    events[0].set()?;
    events[1].set()?;
    test.equal("two of three", wait::all(&handles, NOW), Ok(false));
    test.equal("nothing was taken", events[0].query()?.event_state, 1);
    events[2].set()?;
    test.equal("all three", wait::all(&handles, NOW), Ok(true));
    test.check(
        "all were taken",
        events.iter().all(|event| event.query().is_ok_and(|info| info.event_state == 0)),
    );
    // One after the other, while somebody else takes one in between.
    let shared = Arc::new(events);
    let waiter = {
        let shared = shared.clone();
        thread::spawn(move || wait::all(&[shared[0].handle(), shared[1].handle()], Some(LONG)))?
    };
    time::sleep(Duration::from_millis(10));
    shared[0].set()?;
    test.equal("taking the first away", wait::one(shared[0].handle(), NOW), Ok(true));
    shared[1].set()?;
    test.equal("the waiter waits on", wait::one(waiter.handle(), Some(Duration::from_millis(20))), Ok(false));
    shared[0].set()?;
    test.equal("now it has both", waiter.join()?, Ok(true));
    let twice = [handles[0], handles[0]];
    test.refused("all of the same twice", wait::all(&twice, NOW), STATUS_INVALID_PARAMETER_MIX);
    Ok(())
}

fn wrong_waits(test: &mut Test) -> NtResult {
    let event = Event::notification(true)?;
    let many = vec![event.handle(); 65];
    test.refused("65 objects", wait::any(&many, NOW), STATUS_INVALID_PARAMETER);
    test.refused("no objects", wait::any(&[], NOW), STATUS_INVALID_PARAMETER);
    let unknown = calls::wait_many(&many[..2], 2, false, Some(&0)).ok();
    test.refused("an unknown wait type", unknown, STATUS_INVALID_PARAMETER);
    for kind in [WAIT_ANY, WAIT_ALL] {
        let bad = [event.handle(), Handle(0x7FFC)];
        let result = calls::wait_many(&bad, kind, false, Some(&0)).ok();
        test.refused("a bad handle among good ones", result, STATUS_INVALID_HANDLE);
    }
    let section = libnt::section::Section::create(4096)?;
    // A section's handle never grants SYNCHRONIZE, which is looked at too.
    let refused =
        matches!(wait::one(section.handle(), NOW), Err(STATUS_OBJECT_TYPE_MISMATCH | STATUS_ACCESS_DENIED));
    test.check("what cannot be waited on", refused);
    Ok(())
}

/// Milliseconds that something takes.
fn measure(what: impl FnOnce() -> NtResult) -> NtResult<u64> {
    let (begin, frequency) = calls::performance_counter()?;
    what()?;
    let (end, _) = calls::performance_counter()?;
    Ok(end.abs_diff(begin) * 1000 / frequency.unsigned_abs().max(1))
}

fn time_outs(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    for length in [1u64, 20, 100] {
        let wanted = Some(Duration::from_millis(length));
        let took = measure(|| {
            let signalled = wait::one(event.handle(), wanted)?;
            test.check("the time-out passes", !signalled);
            Ok(())
        })?;
        test.check(
            format_args!("a wait of {length} ms took {took} ms"),
            took >= length && took < length + 5000,
        );
    }
    let took = measure(|| {
        time::sleep(Duration::from_millis(30));
        Ok(())
    })?;
    test.check(format_args!("a sleep of 30 ms took {took} ms"), (30..5000).contains(&took));
    let until = time::system_time() + 300_000;
    let took = measure(|| calls::delay(false, &until).ok().map(drop))?;
    test.check(format_args!("a sleep until 30 ms from now took {took} ms"), (25..5000).contains(&took));
    let past = calls::wait_one(event.handle(), false, Some(&1)).ok();
    test.equal("a wait until 1601", past, Ok(STATUS_TIMEOUT));
    let (_events, handles) = gates(5)?;
    let wanted = Some(Duration::from_millis(10));
    test.equal("a time-out for any", wait::any(&handles, wanted), Ok(None));
    test.equal("a time-out for all", wait::all(&handles, wanted), Ok(false));
    Ok(())
}

fn one_of_many_waiters(test: &mut Test) -> NtResult {
    const WAITERS: usize = 5;
    let gate = Arc::new(Event::synchronization(false)?);
    let mut waiters = Vec::new();
    for _ in 0..WAITERS {
        let gate = gate.clone();
        waiters.push(thread::spawn(move || wait::one(gate.handle(), Some(LONG)))?);
    }
    time::sleep(Duration::from_millis(30));
    let finished = |waiters: &[thread::JoinHandle<NtResult<bool>>]| {
        waiters.iter().filter(|waiter| wait::one(waiter.handle(), NOW) == Ok(true)).count()
    };
    for expected in 1..=WAITERS {
        gate.set()?;
        for _ in 0..200 {
            if finished(&waiters) >= expected {
                break;
            }
            time::sleep(Duration::from_millis(5));
        }
        test.equal("waiters that one signal releases", finished(&waiters), expected);
    }
    let gate = Arc::new(Event::notification(false)?);
    let mut waiters = Vec::new();
    for _ in 0..WAITERS {
        let gate = gate.clone();
        waiters.push(thread::spawn(move || wait::one(gate.handle(), Some(LONG)))?);
    }
    gate.set()?;
    for waiter in waiters {
        test.equal("a notification releases all", waiter.join()?, Ok(true));
    }
    Ok(())
}

/// A process is signalled when it has ended.
fn processes(test: &mut Test) -> NtResult {
    let child = libnt::process::spawn("waitforever", &[])?;
    test.equal("a process that runs", wait::one(child.handle(), Some(Duration::from_millis(20))), Ok(false));
    child.terminate(NtStatus(42))?;
    test.equal("a process that was ended", child.wait_for(LONG), Ok(Some(NtStatus(42))));
    Ok(())
}
