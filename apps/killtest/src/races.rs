//! Races between threads of one process, on the edges of what the dispatcher, the handle table and ports do.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use libnt::abi::alpc::AlpcPortAttributes;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::memory::Pages;
use libnt::prelude::*;
use libnt::sys::calls;
use libnt::thread::{self, JoinHandle};
use libnt::time::sleep;
use libnt::{info, wait};
use testkit::{Random, Test};

const LONG: Duration = Duration::from_secs(20);
const STORM: usize = 400;
const STORMS: u64 = 20;
const PAIRS: usize = 400;

/// Every race, in an order of no meaning.
pub fn run(test: &mut Test, seed: u64) -> NtResult {
    suspend_resume(test, seed)?;
    suspend_terminate(test, seed)?;
    tiny_timeouts(test, seed)?;
    two_close(test)?;
    close_under_duplicate(test)?;
    port_closes_under_receiver(test, seed)?;
    memory_comes_and_goes(test, seed)
}

/// Waits for a thread that must not hang; false when it does (then it is left alone).
fn join<T>(test: &mut Test, what: &str, thread: JoinHandle<T>) -> NtResult<Option<T>> {
    if !test.check(what, wait::one(thread.handle(), Some(LONG))?) {
        core::mem::forget(thread);
        return Ok(None);
    }
    thread.join().map(Some)
}

/// Threads that suspend and resume one thread, each at its own pace: once its count is 0 it runs.
fn suspend_resume(test: &mut Test, seed: u64) -> NtResult {
    let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, stopped) = (count.clone(), stop.clone());
    let target = thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            counted.fetch_add(1, Ordering::Relaxed);
            calls::yield_execution();
        }
    })?;
    for round in 0..STORMS {
        let mut storm = Vec::new();
        for number in 0..3 {
            let handle = duplicate(target.handle(), None)?;
            let mut random = Random::new(seed + 10 * round + number);
            storm.push(thread::spawn(move || -> NtResult {
                for _ in 0..STORM {
                    match if number == 0 {
                        calls::suspend_thread(handle.raw())
                    } else {
                        calls::resume_thread(handle.raw())
                    } {
                        Ok(_) | Err(STATUS_SUSPEND_COUNT_EXCEEDED) => {}
                        Err(status) => return Err(status),
                    }
                    for _ in 0..random.below(20) {
                        core::hint::spin_loop();
                    }
                }
                Ok(())
            })?);
        }
        for thread in storm {
            let result = join(test, "a thread that suspends or resumes", thread)?;
            test.check("suspending and resuming", matches!(result, None | Some(Ok(()))));
        }
        while calls::resume_thread(target.handle())? > 1 {}
        let before = count.load(Ordering::Relaxed);
        let runs = (0..200).any(|_| {
            sleep(Duration::from_millis(1));
            count.load(Ordering::Relaxed) != before
        });
        if !test.check("a thread that nobody suspends runs", runs) {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    // Suspended once more and resumed, even a lost one comes back; one that is not lost may have ended by now.
    match calls::suspend_thread(target.handle()) {
        Ok(_) => _ = calls::resume_thread(target.handle())?,
        Err(STATUS_THREAD_IS_TERMINATING) => {}
        Err(status) => return Err(status),
    }
    join(test, "the suspended thread's end", target).map(drop)
}

#[expect(unsafe_code, reason = "the threads here hold no lock and lend nothing")]
fn kill(thread: Handle) -> NtResult {
    // SAFETY: the threads that this is used on only spin, wait, and count.
    match unsafe { calls::terminate_thread(thread, STATUS_CANCELLED) } {
        Ok(()) | Err(STATUS_THREAD_IS_TERMINATING) => Ok(()),
        Err(status) => Err(status),
    }
}

/// Threads are suspended, resumed and ended at once: each ends.
fn suspend_terminate(test: &mut Test, seed: u64) -> NtResult {
    let mut random = Random::new(seed);
    let never = Event::notification(false)?;
    let mask = info::basic()?.active_processors_affinity_mask;
    for round in 0..60 {
        let kind = random.below(3);
        // The number only: a killed thread drops nothing.
        let event = never.handle();
        let target = thread::spawn(move || {
            loop {
                match kind {
                    0 => core::hint::spin_loop(),
                    1 => _ = calls::wait_one(event, false, None),
                    _ => _ = calls::yield_execution(),
                }
            }
        })?;
        let handle = duplicate(target.handle(), None)?;
        let mut other = Random::new(random.number());
        let storm = thread::spawn(move || {
            for _ in 0..40 {
                let _ = calls::suspend_thread(handle.raw());
                let wanted = (other.number() & mask).max(1) & mask;
                if wanted != 0 {
                    let _ = thread::set_affinity(handle.raw(), wanted);
                }
                let _ = thread::set_priority(handle.raw(), 1 + other.below(8) as i32);
                if other.below(3) > 0 {
                    let _ = calls::resume_thread(handle.raw());
                }
            }
        })?;
        for _ in 0..random.below(2000) {
            core::hint::spin_loop();
        }
        if round % 2 == 0 {
            sleep(Duration::from_micros(random.below(500) as u64));
        }
        kill(target.handle())?;
        let ended = wait::one(target.handle(), Some(LONG))?;
        if !test.check(format_args!("a thread (kind {kind}) ends when it is ended, suspended or not"), ended)
        {
            return Ok(());
        }
        join(test, "who suspended it", storm)?;
    }
    Ok(())
}

/// Every signal of a synchronization event is taken by exactly one wait, whatever the time-outs do.
fn tiny_timeouts(test: &mut Test, seed: u64) -> NtResult {
    let event = Arc::new(Event::synchronization(false)?);
    let taken = Arc::new(AtomicU64::new(0));
    let given = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for number in 0..4 {
        let (event, taken, given) = (event.clone(), taken.clone(), given.clone());
        let mut random = Random::new(seed + number);
        threads.push(thread::spawn(move || -> NtResult {
            for _ in 0..3000 {
                if number % 2 == 0 {
                    let time = -(random.below(400) as i64);
                    match calls::wait_one(event.handle(), false, Some(&time)) {
                        STATUS_SUCCESS => _ = taken.fetch_add(1, Ordering::Relaxed),
                        STATUS_TIMEOUT => {}
                        status => return Err(status),
                    }
                } else {
                    if !event.set()? {
                        given.fetch_add(1, Ordering::Relaxed);
                    }
                    for _ in 0..random.below(300) {
                        core::hint::spin_loop();
                    }
                }
            }
            Ok(())
        })?);
    }
    for thread in threads {
        let result = join(test, "waits with tiny time-outs", thread)?;
        test.check("a wait's status", matches!(result, None | Some(Ok(()))));
    }
    let left = u64::from(wait::one(event.handle(), Some(Duration::ZERO))?);
    let (taken, given) = (taken.load(Ordering::Relaxed), given.load(Ordering::Relaxed));
    test.equal("signals taken, of those given", taken + left, given);
    test.check("some were taken", taken > 0);
    Ok(())
}

/// Two threads that meet `rounds` times.
struct Meet(AtomicU64);

impl Meet {
    fn wait(&self, round: usize) {
        self.0.fetch_add(1, Ordering::SeqCst);
        while self.0.load(Ordering::SeqCst) < 2 * (round as u64 + 1) {
            calls::yield_execution();
        }
    }
}

/// A handle is closed once, whoever tries.
fn two_close(test: &mut Test) -> NtResult {
    let meet = Arc::new(Meet(AtomicU64::new(0)));
    let handle = Arc::new(AtomicU64::new(0));
    let closed = Arc::new(AtomicU64::new(0));
    let (other_meet, other_handle, other_closed) = (meet.clone(), handle.clone(), closed.clone());
    let other = thread::spawn(move || {
        for round in 0..PAIRS {
            other_meet.wait(2 * round);
            if calls::close(Handle(other_handle.load(Ordering::SeqCst))).is_ok() {
                other_closed.fetch_add(1, Ordering::SeqCst);
            }
            other_meet.wait(2 * round + 1);
        }
    })?;
    for round in 0..PAIRS {
        let made = ConnectionPort::create()?;
        handle.store(made.handle().0, Ordering::SeqCst);
        core::mem::forget(made);
        meet.wait(2 * round);
        if calls::close(Handle(handle.load(Ordering::SeqCst))).is_ok() {
            closed.fetch_add(1, Ordering::SeqCst);
        }
        meet.wait(2 * round + 1);
    }
    join(test, "who closes the same handles", other)?;
    test.equal("handles closed", closed.load(Ordering::SeqCst), PAIRS as u64);
    Ok(())
}

/// One thread closes what another duplicates: the duplicate is whole or was refused.
fn close_under_duplicate(test: &mut Test) -> NtResult {
    let meet = Arc::new(Meet(AtomicU64::new(0)));
    let handle = Arc::new(AtomicU64::new(0));
    let (other_meet, other_handle) = (meet.clone(), handle.clone());
    let other = thread::spawn(move || -> NtResult<u32> {
        let mut whole = 0;
        for round in 0..PAIRS {
            other_meet.wait(2 * round);
            let result = duplicate(Handle(other_handle.load(Ordering::SeqCst)), None);
            other_meet.wait(2 * round + 1);
            match result {
                Ok(copy) => {
                    calls::set_event(copy.raw())?;
                    whole += 1;
                }
                Err(STATUS_INVALID_HANDLE) => {}
                Err(status) => return Err(status),
            }
        }
        Ok(whole)
    })?;
    for round in 0..PAIRS {
        let event = Event::notification(false)?;
        handle.store(event.handle().0, Ordering::SeqCst);
        meet.wait(2 * round);
        drop(event);
        meet.wait(2 * round + 1);
    }
    let result = join(test, "who duplicates what is closed", other)?;
    test.check(format_args!("duplicating what is closed: {result:?}"), matches!(result, None | Some(Ok(_))));
    Ok(())
}

/// A port's last handle is closed while threads receive on it, ask on it and connect to it.
fn port_closes_under_receiver(test: &mut Test, seed: u64) -> NtResult {
    let mut random = Random::new(seed);
    for round in 0..40 {
        let server = ConnectionPort::create()?;
        let connect = duplicate(server.handle(), Some(libnt::abi::ob::PORT_CONNECT))?;
        let client = {
            let attributes = AlpcPortAttributes::default();
            let (handle, _) = calls::connect_port(server.handle(), Some(&attributes), 0, None, None)?;
            Port::from_handle(OwnedHandle::new(handle))
        };
        let raw = server.handle();
        let receivers: Vec<_> = (0..2)
            .map(|_| {
                thread::spawn(move || -> NtResult {
                    let port =
                        core::mem::ManuallyDrop::new(ConnectionPort::from_handle(OwnedHandle::new(raw)));
                    let mut held = Vec::new();
                    loop {
                        let (mut message, mut attributes) = (Message::new(64), Attributes::new());
                        port.receive(&mut message, &mut attributes, None)?;
                        if message.header().kind() == libnt::abi::alpc::LPC_CONNECTION_REQUEST {
                            held.push(port.accept(&message, 1)?);
                        }
                    }
                })
            })
            .collect::<NtResult<_>>()?;
        let connector = {
            let connect = duplicate(connect.raw(), None)?;
            thread::spawn(move || {
                Port::connect_to::<Box<[u64]>>(connect.raw(), &libnt::alpc::Connect::default(), None)
                    .and_then(|port| port.request(&mut Message::new(64), None, None))
            })?
        };
        let asker = thread::spawn(move || client.request(&mut Message::new(64), None, None))?;
        match round % 4 {
            0 => sleep(Duration::from_micros(random.below(2000) as u64)),
            _ => (0..random.below(4000)).for_each(|_| core::hint::spin_loop()),
        }
        drop(server);
        for receiver in receivers {
            let result = join(test, "a receiver on a port that closes", receiver)?;
            let sensible = matches!(
                result,
                None | Some(Err(STATUS_PORT_CLOSED
                    | STATUS_PORT_DISCONNECTED
                    | STATUS_INVALID_HANDLE
                    | STATUS_REQUEST_CANCELED
                    | STATUS_INVALID_MESSAGE))
            );
            test.check(format_args!("a receiver on a port that closes: {result:?}"), sensible);
        }
        for (what, thread) in [("connecting", connector), ("asking", asker)] {
            let result = join(test, what, thread)?;
            let sensible =
                matches!(result, None | Some(Err(STATUS_PORT_DISCONNECTED | STATUS_PORT_CONNECTION_REFUSED)));
            test.check(format_args!("{what} when the port closes: {result:?}"), sensible);
        }
    }
    Ok(())
}

/// Threads map, write, read and free memory of their own, in one address space on all processors.
fn memory_comes_and_goes(test: &mut Test, seed: u64) -> NtResult {
    let mut threads = Vec::new();
    for number in 0..4 {
        let mut random = Random::new(seed + number);
        threads.push(thread::spawn(move || -> NtResult<bool> {
            for _ in 0..150 {
                let mut memory = Pages::allocate((1 + random.below(12)) * 4096)?;
                let mark = random.number() as u8;
                memory.bytes_mut().fill(mark);
                calls::yield_execution();
                if memory.bytes().iter().any(|byte| *byte != mark) {
                    return Ok(false);
                }
            }
            Ok(true)
        })?);
    }
    for thread in threads {
        let result = join(test, "memory that comes and goes", thread)?;
        test.check("memory holds what was written", matches!(result, None | Some(Ok(true))));
    }
    Ok(())
}
