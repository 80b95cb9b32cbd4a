//! I/O completion objects: packets, waiters, the limit of running threads, the handle's signal, the end.

use crate::alerts::{LONG, NOW};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use libnt::abi::completion::{FileIoCompletionInformation, IoStatusBlock};
use libnt::abi::info::{WAIT_REASON_QUEUE, WAIT_REASON_USER_REQUEST};
use libnt::abi::ob::{IO_COMPLETION_MODIFY_STATE, IO_COMPLETION_QUERY_STATE};
use libnt::completion::IoCompletion;
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::calls;
use libnt::wait::{self, Ended};
use libnt::{thread, time};
use testkit::{Test, until_waits};

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("packet/order-and-contents", order);
    test.case("packet/many-at-once", many_at_once);
    test.case("packet/signal", signal);
    test.case("packet/rights", rights);
    test.case("packet/wrong-arguments", wrong_arguments);
    test.case("packet/latest-waiter-first", latest_first);
    test.case("packet/limit", limit);
    test.case("packet/blocked-thread-lets-another-go", blocked);
    test.case("packet/time-out", time_out);
    test.case("packet/full", full);
    test.case("packet/closed", closed);
    test.case("packet/ended-thread", ended_thread);
    test.case("packet/many-threads", many_threads);
}

type Packet = FileIoCompletionInformation;

fn packet(key: u64) -> Packet {
    let io_status_block =
        IoStatusBlock { status: 0xC000_0001, reserved: 0, information: key.wrapping_add(2) };
    Packet { key_context: key, apc_context: key.wrapping_add(1), io_status_block }
}

fn post(object: &IoCompletion, key: u64) -> NtResult {
    calls::set_io_completion(object.handle(), &packet(key))
}

fn order(test: &mut Test) -> NtResult {
    let object = IoCompletion::create(1)?;
    for key in 0..10 {
        post(&object, key)?;
    }
    test.equal("depth", object.depth()?, 10);
    for key in 0..10 {
        test.equal("a packet", object.remove(NOW)?, Some(packet(key)));
    }
    test.equal("no more", object.remove(NOW)?, None);
    test.equal("depth", object.depth()?, 0);
    Ok(())
}

fn many_at_once(test: &mut Test) -> NtResult {
    let object = IoCompletion::create(1)?;
    for key in 0..300 {
        post(&object, key)?;
    }
    let mut packets = [Packet::default(); 300];
    let removed = object.remove_many(&mut packets[..5], NOW, false);
    test.equal("as many as asked for", removed, Ok(Ended::Signalled(5)));
    let removed = object.remove_many(&mut packets[5..], NOW, false);
    test.equal("at most 256", removed, Ok(Ended::Signalled(256)));
    let removed = object.remove_many(&mut packets[261..], NOW, false);
    test.equal("as many as there are", removed, Ok(Ended::Signalled(39)));
    test.check("all in order", packets.iter().enumerate().all(|(key, found)| *found == packet(key as u64)));
    test.equal("then none", object.remove_many(&mut packets, NOW, false), Ok(Ended::TimedOut));
    Ok(())
}

fn signal(test: &mut Test) -> NtResult {
    let object = Arc::new(IoCompletion::create(1)?);
    test.equal("an empty queue", wait::one(object.handle(), NOW), Ok(false));
    let waits = object.clone();
    let thread = thread::spawn(move || wait::one(waits.handle(), None))?;
    until_waits(thread.handle(), WAIT_REASON_USER_REQUEST)?;
    post(&object, 1)?;
    test.equal("a thread that waits on the handle", thread.join()?, Ok(true));
    test.equal("it takes nothing", wait::one(object.handle(), NOW), Ok(true));
    object.remove(NOW)?;
    test.equal("empty again", wait::one(object.handle(), NOW), Ok(false));
    Ok(())
}

fn rights(test: &mut Test) -> NtResult {
    let object = IoCompletion::create(1)?;
    let query = duplicate(object.handle(), Some(IO_COMPLETION_QUERY_STATE))?;
    let modify = duplicate(object.handle(), Some(IO_COMPLETION_MODIFY_STATE))?;
    let (query, modify) = (IoCompletion::from_handle(query), IoCompletion::from_handle(modify));
    test.refused("posting", post(&query, 1), STATUS_ACCESS_DENIED);
    test.refused("removing", query.remove(NOW), STATUS_ACCESS_DENIED);
    let many = query.remove_many(&mut [Packet::default()], NOW, false);
    test.refused("removing many", many, STATUS_ACCESS_DENIED);
    test.equal("querying", query.depth(), Ok(0));
    test.refused("querying", modify.depth(), STATUS_ACCESS_DENIED);
    test.ok("posting", post(&modify, 1));
    test.equal("removing", modify.remove(NOW), Ok(Some(packet(1))));
    test.refused("waiting", wait::one(modify.handle(), NOW), STATUS_ACCESS_DENIED);
    let event = Event::notification(false)?;
    let wrong = IoCompletion::from_handle(duplicate(event.handle(), None)?);
    test.refused("an event", post(&wrong, 1), STATUS_OBJECT_TYPE_MISMATCH);
    Ok(())
}

fn wrong_arguments(test: &mut Test) -> NtResult {
    let object = IoCompletion::create(1)?;
    post(&object, 1)?;
    let none = object.remove_many(&mut [], NOW, false);
    test.refused("no room", none, STATUS_INVALID_PARAMETER);
    // SAFETY: the addresses are nobody's memory.
    let status = unsafe {
        use libnt::abi::arg::{In, Out};
        let zero = 0i64;
        let (bad, mut count) = (Out::at(0x10), 0u32);
        let (handle, now) = (object.handle().into(), In::from(&zero));
        [
            libnt::sys::NtRemoveIoCompletion(handle, bad, Out::at(0x10), Out::at(0x10), now),
            libnt::sys::NtRemoveIoCompletionEx(handle, Out::at(0x10), 4, (&mut count).into(), now, false),
            libnt::sys::NtRemoveIoCompletionEx(handle, Out::at(0x10), 4, Out::at(0x10), now, false),
        ]
    };
    test.equal("bad pointers", status, [STATUS_ACCESS_VIOLATION; 3]);
    test.equal("the packet is still there", object.remove(NOW)?, Some(packet(1)));
    test.equal("once", object.remove(NOW)?, None);
    Ok(())
}

/// Threads that each remove one packet, waiting in this order.
fn waiters(
    object: &Arc<IoCompletion>,
    count: usize,
) -> NtResult<Vec<thread::JoinHandle<NtResult<Option<Packet>>>>> {
    (0..count)
        .map(|_| {
            let object = object.clone();
            let thread = thread::spawn(move || object.remove(None))?;
            until_waits(thread.handle(), WAIT_REASON_QUEUE)?;
            Ok(thread)
        })
        .collect()
}

fn latest_first(test: &mut Test) -> NtResult {
    let object = Arc::new(IoCompletion::create(10)?);
    let mut threads = waiters(&object, 4)?;
    for key in 0..4 {
        post(&object, key)?;
        let latest = threads.pop().ok_or(STATUS_UNSUCCESSFUL)?;
        test.equal("the latest waiter's", latest.join()?, Ok(Some(packet(key))));
    }
    Ok(())
}

fn limit(test: &mut Test) -> NtResult {
    let object = Arc::new(IoCompletion::create(1)?);
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let threads = (0..4)
        .map(|_| {
            let (object, running, most) = (object.clone(), running.clone(), most.clone());
            thread::spawn(move || -> NtResult<u32> {
                let mut taken = 0;
                loop {
                    let packet = object.remove(None)?.ok_or(STATUS_UNSUCCESSFUL)?;
                    if packet.key_context == u64::MAX {
                        return Ok(taken);
                    }
                    taken += 1;
                    let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    // Gives the processor up, but does not block.
                    for _ in 0..20 {
                        thread::yield_now();
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                }
            })
        })
        .collect::<NtResult<Vec<_>>>()?;
    for key in 0..200 {
        post(&object, key)?;
    }
    for _ in &threads {
        post(&object, u64::MAX)?;
    }
    let mut taken = 0;
    for thread in threads {
        taken += thread.join()??;
    }
    test.equal("all were taken", taken, 200);
    test.equal("one at a time", most.load(Ordering::SeqCst), 1);
    Ok(())
}

fn blocked(test: &mut Test) -> NtResult {
    let object = Arc::new(IoCompletion::create(1)?);
    let (gate, go) = (Arc::new(Event::notification(false)?), Arc::new(Event::notification(false)?));
    let first = {
        let (object, gate, go) = (object.clone(), gate.clone(), go.clone());
        thread::spawn(move || -> NtResult<Option<Packet>> {
            let found = object.remove(None)?;
            // Runs, and so keeps the second packet from the other thread, until it may block.
            while !wait::one(go.handle(), NOW)? {
                thread::yield_now();
            }
            wait::one(gate.handle(), None)?;
            Ok(found)
        })?
    };
    let other = waiters(&object, 1)?;
    until_waits(first.handle(), WAIT_REASON_QUEUE)?;
    // The latest waiter may be either; what matters is that the second waits while the first runs.
    post(&object, 1)?;
    post(&object, 2)?;
    go.set()?;
    let mut ended = 0;
    for thread in other {
        test.check("the other gets one", thread.join()?.is_ok_and(|found| found.is_some()));
        ended += 1;
    }
    gate.set()?;
    test.check("the first too", first.join()?.is_ok_and(|found| found.is_some()));
    test.equal("the other", ended, 1);
    Ok(())
}

fn time_out(test: &mut Test) -> NtResult {
    let object = IoCompletion::create(1)?;
    test.equal("nothing comes", object.remove(Some(Duration::from_millis(5)))?, None);
    post(&object, 1)?;
    test.equal("something is there", object.remove(LONG)?, Some(packet(1)));
    Ok(())
}

fn full(test: &mut Test) -> NtResult {
    let object = IoCompletion::create(1)?;
    let mut posted = 0;
    let refused = loop {
        match post(&object, posted) {
            Ok(()) => posted += 1,
            Err(status) => break status,
        }
    };
    test.equal("a full queue", refused, STATUS_QUOTA_EXCEEDED);
    test.check("has many packets", posted > 100 && posted <= 16384);
    test.equal("the first", object.remove(NOW)?, Some(packet(0)));
    test.ok("room for one again", post(&object, 0));
    // The rest goes with the object; the counters show it.
    Ok(())
}

fn closed(test: &mut Test) -> NtResult {
    let object = IoCompletion::create(1)?;
    // The threads know the handle only, so that closing it here is the last close.
    let handle = object.handle();
    let threads = (0..3)
        .map(|_| {
            let thread = thread::spawn(move || calls::remove_io_completion(handle, None))?;
            until_waits(thread.handle(), WAIT_REASON_QUEUE)?;
            Ok(thread)
        })
        .collect::<NtResult<Vec<_>>>()?;
    drop(object);
    for thread in threads {
        let ended = thread.join()?.map(|(status, _)| status);
        test.equal("a thread that waited", ended, Ok(STATUS_ABANDONED));
    }
    test.refused("the handle", calls::remove_io_completion(handle, Some(&0)), STATUS_INVALID_HANDLE);
    Ok(())
}

fn ended_thread(test: &mut Test) -> NtResult {
    let object = Arc::new(IoCompletion::create(1)?);
    let threads = waiters(&object, 2)?;
    for thread in &threads {
        // SAFETY: it waits, and holds nothing but references that are never released.
        unsafe { calls::terminate_thread(thread.handle(), STATUS_CANCELLED) }?;
    }
    for thread in threads {
        test.refused("a thread that was ended", thread.join(), STATUS_UNSUCCESSFUL);
    }
    post(&object, 5)?;
    test.equal("no packet went to it", object.remove(NOW)?, Some(packet(5)));
    // The ended threads keep their references.
    // SAFETY: nobody uses the handle any more.
    let _ = calls::close(object.handle());
    core::mem::forget(object);
    Ok(())
}

fn many_threads(test: &mut Test) -> NtResult {
    const POSTERS: u64 = 3;
    const EACH: u64 = 400;
    let object = Arc::new(IoCompletion::create(2)?);
    let takers = (0..4)
        .map(|number| {
            let object = object.clone();
            thread::spawn(move || -> NtResult<u64> {
                let (mut sum, mut packets) = (0, [Packet::default(); 7]);
                loop {
                    let found = match number % 2 {
                        0 => object.remove_many(&mut packets, LONG, true)?,
                        _ => {
                            packets[0] = object.remove(LONG)?.ok_or(STATUS_TIMEOUT)?;
                            Ended::Signalled(1)
                        }
                    };
                    let Ended::Signalled(count) = found else { return Err(STATUS_UNSUCCESSFUL) };
                    for (at, packet) in packets[..count].iter().enumerate() {
                        if packet.key_context == u64::MAX {
                            // The rest is for the others.
                            for packet in &packets[at + 1..count] {
                                calls::set_io_completion(object.handle(), packet)?;
                            }
                            return Ok(sum);
                        }
                        sum += packet.key_context;
                        if packet.key_context % 50 == 0 {
                            time::sleep(Duration::from_micros(50));
                        }
                    }
                }
            })
        })
        .collect::<NtResult<Vec<_>>>()?;
    let posters = (0..POSTERS)
        .map(|_| {
            let object = object.clone();
            thread::spawn(move || (1..=EACH).try_for_each(|key| post(&object, key)))
        })
        .collect::<NtResult<Vec<_>>>()?;
    for poster in posters {
        test.ok("posting", poster.join()?);
    }
    for _ in &takers {
        post(&object, u64::MAX)?;
    }
    let mut sum = 0;
    for taker in takers {
        sum += taker.join()??;
    }
    test.equal("every packet once", sum, POSTERS * EACH * (EACH + 1) / 2);
    test.equal("none is left", object.depth()?, 0);
    Ok(())
}
