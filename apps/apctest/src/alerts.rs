//! Alerts: which waits they end, and what becomes of those that come at other times.

use alloc::sync::Arc;
use core::time::Duration;
use libnt::abi::info::*;
use libnt::abi::ob::{THREAD_ALERT, THREAD_SUSPEND_RESUME};
use libnt::completion::IoCompletion;
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::calls;
use libnt::wait::{self, Ended};
use libnt::{apc, thread, time};
use testkit::{Test, until_waits};

/// Longer than anything here takes.
pub const LONG: Option<Duration> = Some(Duration::from_secs(600));
/// No waiting.
pub const NOW: Option<Duration> = Some(Duration::ZERO);

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("alert/every-wait", every_wait);
    test.case("alert/remembered", remembered);
    test.case("alert/order", order);
    test.case("alert/not-alertable", not_alertable);
    test.case("alert/resume", resume);
    test.case("alert/rights", rights);
    test.case("alert/ended-thread", ended_thread);
}

/// An alertable wait and the reason that it has.
pub type Waiting = (u32, fn(Handle, Handle) -> NtResult<Ended>);

/// Every alertable wait, for two events that nobody sets.
pub const WAITS: [Waiting; 5] = [
    (WAIT_REASON_USER_REQUEST, |a, _| wait::one_alertable(a, LONG)),
    (WAIT_REASON_USER_REQUEST, |a, b| wait::any_alertable(&[a, b], LONG)),
    (WAIT_REASON_USER_REQUEST, |a, b| wait::all_alertable(&[a, b], None)),
    (WAIT_REASON_DELAY, |_, _| wait::sleep_alertable(Duration::from_secs(600))),
    (WAIT_REASON_QUEUE, |_, _| {
        IoCompletion::create(1)?.remove_many(&mut [Default::default(); 2], LONG, true)
    }),
];

/// Starts a thread that waits; returns when it does.
pub fn waiting(which: Waiting) -> NtResult<thread::JoinHandle<NtResult<Ended>>> {
    let (reason, wait) = which;
    let started = thread::spawn(move || {
        let (a, b) = (Event::notification(false)?, Event::synchronization(false)?);
        wait(a.handle(), b.handle())
    })?;
    until_waits(started.handle(), reason)?;
    Ok(started)
}

fn every_wait(test: &mut Test) -> NtResult {
    for (number, which) in WAITS.into_iter().enumerate() {
        let thread = waiting(which)?;
        apc::alert(thread.handle())?;
        test.equal(format_args!("wait {number}"), thread.join()?, Ok(Ended::Alerted));
    }
    Ok(())
}

fn remembered(test: &mut Test) -> NtResult {
    let event = Event::notification(false)?;
    let me = Handle::CURRENT_THREAD;
    calls::alert_thread(me)?;
    calls::alert_thread(me)?;
    test.equal("an alert from before", wait::one_alertable(event.handle(), LONG), Ok(Ended::Alerted));
    test.equal("counts once", wait::one_alertable(event.handle(), NOW), Ok(Ended::TimedOut));
    calls::alert_thread(me)?;
    test.equal("a wait that is not alertable", wait::one(event.handle(), NOW), Ok(false));
    test.check("leaves it", apc::test_alert());
    test.check("and the test takes it", !apc::test_alert());
    Ok(())
}

fn order(test: &mut Test) -> NtResult {
    let event = Event::synchronization(true)?;
    calls::alert_thread(Handle::CURRENT_THREAD)?;
    let both = wait::one_alertable(event.handle(), NOW);
    test.equal("a signalled object comes first", both, Ok(Ended::Signalled(0)));
    test.equal("the alert before the time-out", wait::one_alertable(event.handle(), NOW), Ok(Ended::Alerted));
    let object = IoCompletion::create(1)?;
    object.post(1, 2, STATUS_SUCCESS, 3)?;
    calls::alert_thread(Handle::CURRENT_THREAD)?;
    let mut packets = [Default::default(); 2];
    let removed = object.remove_many(&mut packets, NOW, true);
    test.equal("a packet comes first", removed, Ok(Ended::Signalled(1)));
    test.equal("then the alert", object.remove_many(&mut packets, NOW, true), Ok(Ended::Alerted));
    test.equal("then nothing", object.remove_many(&mut packets, NOW, true), Ok(Ended::TimedOut));
    calls::alert_thread(Handle::CURRENT_THREAD)?;
    test.equal("a sleep of no time", wait::sleep_alertable(Duration::ZERO), Ok(Ended::Alerted));
    test.equal("and again", wait::sleep_alertable(Duration::ZERO), Ok(Ended::TimedOut));
    Ok(())
}

fn not_alertable(test: &mut Test) -> NtResult {
    let gate = Arc::new(Event::notification(false)?);
    let opens = gate.clone();
    let thread = thread::spawn(move || (wait::one(opens.handle(), None), apc::test_alert()))?;
    until_waits(thread.handle(), WAIT_REASON_USER_REQUEST)?;
    apc::alert(thread.handle())?;
    time::sleep(Duration::from_millis(5));
    test.equal("it waits on", wait::one(thread.handle(), NOW), Ok(false));
    gate.set()?;
    test.equal("and is alerted afterwards", thread.join()?, (Ok(true), true));
    Ok(())
}

fn resume(test: &mut Test) -> NtResult {
    let gate = Arc::new(Event::notification(false)?);
    let opens = gate.clone();
    let thread = thread::spawn(move || {
        // The wait is over while the thread is suspended.
        let opened = wait::one(opens.handle(), None);
        (opened, wait::sleep_alertable(Duration::from_secs(600)))
    })?;
    until_waits(thread.handle(), WAIT_REASON_USER_REQUEST)?;
    calls::suspend_thread(thread.handle())?;
    gate.set()?;
    until_waits(thread.handle(), WAIT_REASON_SUSPENDED)?;
    test.equal("resuming with an alert", apc::alert_and_resume(thread.handle()), Ok(1));
    test.equal("what it saw", thread.join()?, (Ok(true), Ok(Ended::Alerted)));
    Ok(())
}

fn rights(test: &mut Test) -> NtResult {
    let thread = waiting(WAITS[0])?;
    let blind = duplicate(thread.handle(), Some(!(THREAD_ALERT | THREAD_SUSPEND_RESUME) & 0x1F_FFFF))?;
    test.refused("no right to alert", apc::alert(blind.raw()), STATUS_ACCESS_DENIED);
    test.refused("no right to resume", apc::alert_and_resume(blind.raw()), STATUS_ACCESS_DENIED);
    let event = Event::notification(false)?;
    test.refused("not a thread", apc::alert(event.handle()), STATUS_OBJECT_TYPE_MISMATCH);
    let only = duplicate(thread.handle(), Some(THREAD_ALERT))?;
    test.ok("the right to alert is enough", apc::alert(only.raw()));
    test.equal("it was", thread.join()?, Ok(Ended::Alerted));
    Ok(())
}

fn ended_thread(test: &mut Test) -> NtResult {
    let thread = thread::spawn(|| ())?;
    wait::one(thread.handle(), None)?;
    test.refused("alerting it", apc::alert(thread.handle()), STATUS_THREAD_IS_TERMINATING);
    test.refused("resuming it", apc::alert_and_resume(thread.handle()), STATUS_THREAD_IS_TERMINATING);
    test.refused("an APC for it", apc::queue(&thread, nothing, [0; 3]), STATUS_UNSUCCESSFUL);
    thread.join()
}

/// An APC that does nothing.
pub extern "sysv64" fn nothing(_: u64, _: u64, _: u64) {}
