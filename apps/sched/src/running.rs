//! Who runs: priorities, preemption, affinity, many threads, suspending, ending.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use libnt::abi::ps::{THREAD_BASIC_INFORMATION, ThreadBasicInformation};
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sync::Mutex;
use libnt::sys::calls;
use libnt::{info, thread, time, wait};
use testkit::Test;

const LONG: Duration = Duration::from_secs(20);

/// All checks of this file.
pub fn run(test: &mut Test) -> NtResult {
    priorities_order(test)?;
    high_preempts_low(test)?;
    equals_share(test)?;
    affinity(test)?;
    wrong_values(test)?;
    many_threads(test)?;
    suspending(test)?;
    ending(test)
}

/// Of threads that become ready together on one processor, the higher priority runs first.
fn priorities_order(test: &mut Test) -> NtResult {
    let order = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(Event::notification(false)?);
    let waiting = Arc::new(AtomicU32::new(0));
    let mut threads = Vec::new();
    for priority in [3, 12, 7, 1, 14, 9] {
        let (order, gate, waiting) = (order.clone(), gate.clone(), waiting.clone());
        threads.push(thread::spawn(move || {
            let mine = thread::set_affinity(Handle::CURRENT_THREAD, 1)
                .and_then(|()| thread::set_priority(Handle::CURRENT_THREAD, priority));
            waiting.fetch_add(1, Ordering::SeqCst);
            let opened = mine.and_then(|()| wait::one(gate.handle(), Some(LONG)));
            order.lock().push(priority);
            opened
        })?);
    }
    // This thread is above them all on their processor, so none runs before all are ready.
    thread::set_affinity(Handle::CURRENT_THREAD, 1)?;
    thread::set_priority(Handle::CURRENT_THREAD, 8)?;
    while waiting.load(Ordering::SeqCst) < 6 {
        time::sleep(Duration::from_millis(1));
    }
    time::sleep(Duration::from_millis(20));
    thread::set_priority(Handle::CURRENT_THREAD, 15)?;
    gate.set()?;
    thread::set_priority(Handle::CURRENT_THREAD, 8)?;
    for thread in threads {
        test.equal("a thread with a priority", thread.join()?, Ok(true));
    }
    test.equal("the order by priority", order.lock().clone(), vec![14, 12, 9, 7, 3, 1]);
    thread::set_affinity(Handle::CURRENT_THREAD, info::basic()?.active_processors_affinity_mask)
}

/// A thread of low priority that never blocks does not keep a higher one from running on its processor.
fn high_preempts_low(test: &mut Test) -> NtResult {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let busy = thread::spawn(move || -> NtResult {
        thread::set_affinity(Handle::CURRENT_THREAD, 1)?;
        thread::set_priority(Handle::CURRENT_THREAD, 2)?;
        while !flag.load(Ordering::Relaxed) {
            core::hint::spin_loop();
        }
        Ok(())
    })?;
    let high = thread::spawn(move || -> NtResult<u32> {
        thread::set_affinity(Handle::CURRENT_THREAD, 1)?;
        thread::set_priority(Handle::CURRENT_THREAD, 12)?;
        for _ in 0..10 {
            time::sleep(Duration::from_millis(5));
        }
        Ok(10)
    })?;
    let done = wait::one(high.handle(), Some(LONG))?;
    test.check("a higher thread runs beside a busy one", done);
    stop.store(true, Ordering::Relaxed);
    test.equal("the higher thread", high.join()?, Ok(10));
    test.equal("the busy thread", busy.join()?, Ok(()));
    Ok(())
}

/// Busy threads of one priority on one processor take turns.
fn equals_share(test: &mut Test) -> NtResult {
    const THREADS: usize = 3;
    let counts: Arc<[AtomicU64; THREADS]> = Arc::new(Default::default());
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for index in 0..THREADS {
        let (counts, stop) = (counts.clone(), stop.clone());
        threads.push(thread::spawn(move || {
            let pinned = thread::set_affinity(Handle::CURRENT_THREAD, 1);
            while !stop.load(Ordering::Relaxed) {
                counts[index].fetch_add(1, Ordering::Relaxed);
            }
            pinned
        })?);
    }
    let all_run = || counts.iter().all(|count| count.load(Ordering::Relaxed) > 100_000);
    for _ in 0..500 {
        if all_run() {
            break;
        }
        time::sleep(Duration::from_millis(20));
    }
    test.check("busy threads take turns", all_run());
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        test.equal("a busy thread", thread.join()?, Ok(()));
    }
    Ok(())
}

fn affinity(test: &mut Test) -> NtResult {
    let basic = info::basic()?;
    let processors = u32::from(basic.number_of_processors);
    test.equal("processors in the mask", basic.active_processors_affinity_mask.count_ones(), processors);
    for processor in 0..processors {
        let seen = thread::spawn(move || {
            let pinned = thread::set_affinity(Handle::CURRENT_THREAD, 1 << processor);
            pinned.map(|()| {
                (0..20).all(|_| {
                    thread::yield_now();
                    calls::current_processor() == processor
                })
            })
        })?;
        test.equal(format_args!("a thread on processor {processor}"), seen.join()?, Ok(true));
    }
    for mask in [0, 1 << 63, basic.active_processors_affinity_mask + 1] {
        let result = thread::set_affinity(Handle::CURRENT_THREAD, mask);
        let fits = mask != 0 && mask & !basic.active_processors_affinity_mask == 0;
        test.check(format_args!("affinity {mask:#x}"), fits || result == Err(STATUS_INVALID_PARAMETER));
    }
    thread::set_affinity(Handle::CURRENT_THREAD, basic.active_processors_affinity_mask)
}

fn wrong_values(test: &mut Test) -> NtResult {
    for priority in [-1, 0, 16, 31, 32, i32::MAX] {
        let result = thread::set_priority(Handle::CURRENT_THREAD, priority);
        test.check(format_args!("priority {priority} without authority"), result.is_err());
    }
    let information =
        calls::query_thread::<ThreadBasicInformation>(Handle::CURRENT_THREAD, THREAD_BASIC_INFORMATION)?;
    test.equal("the priority all the same", information.base_priority, 8);
    test.equal("the thread's id", information.client_id, thread::current_id());
    Ok(())
}

fn many_threads(test: &mut Test) -> NtResult {
    const THREADS: u64 = 60;
    let sum = Arc::new(AtomicU64::new(0));
    let mut threads = Vec::new();
    for number in 0..THREADS {
        let sum = sum.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..10 {
                thread::yield_now();
            }
            sum.fetch_add(number, Ordering::SeqCst);
            number
        })?);
    }
    for (number, thread) in (0..).zip(threads) {
        test.equal("what a thread returns", thread.join(), Ok(number));
    }
    test.equal("what all of them did", sum.load(Ordering::SeqCst), THREADS * (THREADS - 1) / 2);
    Ok(())
}

/// True when the counter grows within a while.
fn grows(counter: &AtomicU64, patience: u32) -> bool {
    let before = counter.load(Ordering::SeqCst);
    (0..patience).any(|_| {
        time::sleep(Duration::from_millis(10));
        counter.load(Ordering::SeqCst) != before
    })
}

fn suspending(test: &mut Test) -> NtResult {
    let counter = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let (count, flag) = (counter.clone(), stop.clone());
    let busy = thread::spawn(move || {
        while !flag.load(Ordering::Relaxed) {
            count.fetch_add(1, Ordering::SeqCst);
        }
    })?;
    test.check("a thread runs", grows(&counter, 500));
    test.equal("suspending", calls::suspend_thread(busy.handle()), Ok(0));
    test.equal("suspending again", calls::suspend_thread(busy.handle()), Ok(1));
    time::sleep(Duration::from_millis(10));
    test.check("a suspended thread stands still", !grows(&counter, 5));
    test.equal("resuming once", calls::resume_thread(busy.handle()), Ok(2));
    test.check("it stands still yet", !grows(&counter, 5));
    test.equal("resuming twice", calls::resume_thread(busy.handle()), Ok(1));
    test.check("it runs again", grows(&counter, 500));
    test.equal("resuming what runs", calls::resume_thread(busy.handle()), Ok(0));
    for expected in 0..127 {
        if calls::suspend_thread(busy.handle()) != Ok(expected) {
            test.fail(format_args!("suspension {expected}"));
        }
    }
    let once_more = calls::suspend_thread(busy.handle());
    test.refused("too many suspensions", once_more, STATUS_SUSPEND_COUNT_EXCEEDED);
    for _ in 0..127 {
        calls::resume_thread(busy.handle())?;
    }
    stop.store(true, Ordering::Relaxed);
    busy.join()?;
    // A thread that waits while it is suspended.
    let event = Arc::new(Event::synchronization(false)?);
    let gate = event.clone();
    let waiter = thread::spawn(move || wait::one(gate.handle(), Some(LONG)))?;
    time::sleep(Duration::from_millis(20));
    calls::suspend_thread(waiter.handle())?;
    event.set()?;
    test.equal("a suspended waiter", wait::one(waiter.handle(), Some(Duration::from_millis(50))), Ok(false));
    calls::resume_thread(waiter.handle())?;
    test.equal("it got what it waited for", waiter.join()?, Ok(true));
    Ok(())
}

fn ending(test: &mut Test) -> NtResult {
    let thread = thread::spawn(|| time::sleep(Duration::from_secs(600)))?;
    let handle = duplicate(thread.handle(), None)?;
    test.equal("a thread that sleeps", wait::one(handle.raw(), Some(Duration::ZERO)), Ok(false));
    // SAFETY: the thread holds no lock and lends nothing: it sleeps.
    unsafe { calls::terminate_thread(handle.raw(), STATUS_CANCELLED) }?;
    test.equal("ended from outside", wait::one(handle.raw(), Some(LONG)), Ok(true));
    let information = calls::query_thread::<ThreadBasicInformation>(handle.raw(), THREAD_BASIC_INFORMATION)?;
    test.equal("its exit status", information.exit_status, STATUS_CANCELLED.0);
    test.refused("joining it", thread.join(), STATUS_UNSUCCESSFUL);
    let late = calls::suspend_thread(handle.raw());
    test.refused("suspending what has ended", late, STATUS_THREAD_IS_TERMINATING);
    Ok(())
}
