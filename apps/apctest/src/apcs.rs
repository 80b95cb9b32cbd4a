//! User APCs: when they run, in which order, with which registers, and what is left of them.

use crate::alerts::{NOW, WAITS, nothing, waiting};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use libnt::abi::info::{WAIT_REASON_SUSPENDED, WAIT_REASON_USER_REQUEST};
use libnt::abi::ob::{THREAD_ALL_ACCESS, THREAD_SET_CONTEXT};
use libnt::abi::ps::THREAD_CREATE_FLAGS_CREATE_SUSPENDED;
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sync::Mutex;
use libnt::sys::calls;
use libnt::wait::{self, Ended};
use libnt::{apc, thread, time};
use testkit::{Test, until_waits};

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("apc/every-wait", every_wait);
    test.case("apc/order", order);
    test.case("apc/test-alert", test_alert);
    test.case("apc/alert-first", alert_first);
    test.case("apc/not-alertable", not_alertable);
    test.case("apc/queued-by-an-apc", queued_by_an_apc);
    test.case("apc/waits-in-an-apc", waits_in_an_apc);
    test.case("apc/before-the-start", before_the_start);
    test.case("apc/suspended", suspended);
    test.case("apc/registers", registers);
    test.case("apc/many-threads", many_threads);
    test.case("apc/limit", limit);
    test.case("apc/left-over", left_over);
    test.case("apc/rights", rights);
}

/// What the APCs here did, in order. Tests of one program run one after the other.
static LOG: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn log() -> Vec<u64> {
    core::mem::take(&mut *LOG.lock())
}

extern "sysv64" fn note(first: u64, second: u64, third: u64) {
    LOG.lock().extend([first, second, third]);
}

extern "sysv64" fn note_one(number: u64, _: u64, _: u64) {
    LOG.lock().push(number);
}

fn every_wait(test: &mut Test) -> NtResult {
    for (number, which) in WAITS.into_iter().enumerate() {
        let thread = waiting(which)?;
        apc::queue(&thread, note, [1, u64::MAX, 3])?;
        test.equal(format_args!("wait {number}"), thread.join()?, Ok(Ended::Apc));
        test.equal("its arguments", log(), vec![1, u64::MAX, 3]);
    }
    Ok(())
}

fn order(test: &mut Test) -> NtResult {
    let event = Event::notification(true)?;
    for number in 0..50 {
        apc::queue_to_self(note_one, [number, 0, 0])?;
    }
    test.equal("a signalled object", wait::one_alertable(event.handle(), NOW), Ok(Ended::Signalled(0)));
    test.equal("comes before APCs", log(), vec![]);
    event.reset()?;
    test.equal("one wait", wait::one_alertable(event.handle(), NOW), Ok(Ended::Apc));
    test.equal("runs all, in order", log(), (0..50).collect());
    test.equal("and then no more", wait::one_alertable(event.handle(), NOW), Ok(Ended::TimedOut));
    Ok(())
}

fn test_alert(test: &mut Test) -> NtResult {
    apc::queue_to_self(note_one, [1, 0, 0])?;
    apc::queue_to_self(note_one, [2, 0, 0])?;
    test.check("no alert", !apc::test_alert());
    test.equal("both ran", log(), vec![1, 2]);
    Ok(())
}

fn alert_first(test: &mut Test) -> NtResult {
    apc::queue_to_self(note_one, [1, 0, 0])?;
    calls::alert_thread(Handle::CURRENT_THREAD)?;
    test.equal("an alert", wait::sleep_alertable(Duration::ZERO), Ok(Ended::Alerted));
    test.equal("runs no APC", log(), vec![]);
    test.equal("which is still there", wait::sleep_alertable(Duration::ZERO), Ok(Ended::Apc));
    test.equal("it ran", log(), vec![1]);
    Ok(())
}

fn not_alertable(test: &mut Test) -> NtResult {
    apc::queue_to_self(note_one, [7, 0, 0])?;
    time::sleep(Duration::from_millis(1));
    thread::yield_now();
    let event = Event::notification(false)?;
    test.equal("a wait that is not alertable", wait::one(event.handle(), NOW), Ok(false));
    test.equal("runs none", log(), vec![]);
    apc::test_alert();
    test.equal("the next chance does", log(), vec![7]);
    Ok(())
}

extern "sysv64" fn queue_more(left: u64, _: u64, _: u64) {
    LOG.lock().push(left);
    if left > 0 {
        let _ = apc::queue_to_self(queue_more, [left - 1, 0, 0]);
    }
}

fn queued_by_an_apc(test: &mut Test) -> NtResult {
    apc::queue_to_self(queue_more, [5, 0, 0])?;
    test.equal("one wait", wait::sleep_alertable(Duration::ZERO), Ok(Ended::Apc));
    test.equal("runs those too", log(), vec![5, 4, 3, 2, 1, 0]);
    Ok(())
}

extern "sysv64" fn wait_inside(number: u64, _: u64, _: u64) {
    LOG.lock().push(number);
    let ended = wait::sleep_alertable(Duration::ZERO);
    LOG.lock().push(if ended == Ok(Ended::Apc) { number + 100 } else { number + 200 });
}

fn waits_in_an_apc(test: &mut Test) -> NtResult {
    apc::queue_to_self(wait_inside, [1, 0, 0])?;
    apc::queue_to_self(wait_inside, [2, 0, 0])?;
    test.equal("the outer wait", wait::sleep_alertable(Duration::ZERO), Ok(Ended::Apc));
    test.equal("the second ran in the first", log(), vec![1, 2, 202, 101]);
    Ok(())
}

extern "sysv64" fn first_code(_: u64) -> ! {
    LOG.lock().push(0);
    loop {
        // SAFETY: this thread owns nothing.
        let _ = unsafe { calls::terminate_thread(Handle::NULL, STATUS_SUCCESS) };
    }
}

/// A thread that was never started.
fn sleeper() -> NtResult<OwnedHandle> {
    let (start, suspended) = (first_code as *const () as u64, THREAD_CREATE_FLAGS_CREATE_SUSPENDED);
    // SAFETY: the code takes any argument and ends the thread.
    let handle =
        unsafe { calls::create_thread(Handle::CURRENT_PROCESS, THREAD_ALL_ACCESS, start, 0, suspended, 0) }?;
    Ok(OwnedHandle::new(handle))
}

fn queue_raw(thread: Handle, routine: extern "sysv64" fn(u64, u64, u64), number: u64) -> NtResult {
    // SAFETY: a safe function of this process, whose thread it is.
    unsafe { calls::queue_apc(thread, routine as *const () as u64, [number, 0, 0]) }
}

fn before_the_start(test: &mut Test) -> NtResult {
    let thread = sleeper()?;
    for number in 1..=3 {
        queue_raw(thread.raw(), note_one, number)?;
    }
    calls::resume_thread(thread.raw())?;
    wait::one(thread.raw(), None)?;
    test.equal("APCs, then the thread", log(), vec![1, 2, 3, 0]);
    let thread = sleeper()?;
    queue_raw(thread.raw(), note_one, 9)?;
    // SAFETY: it has not run.
    unsafe { calls::terminate_thread(thread.raw(), STATUS_CANCELLED) }?;
    wait::one(thread.raw(), None)?;
    test.equal("a thread that is ended runs none", log(), vec![]);
    Ok(())
}

fn suspended(test: &mut Test) -> NtResult {
    let gate = Arc::new(Event::notification(false)?);
    let opens = gate.clone();
    let thread = thread::spawn(move || {
        let opened = wait::one(opens.handle(), None);
        (opened, wait::sleep_alertable(Duration::from_secs(600)))
    })?;
    until_waits(thread.handle(), WAIT_REASON_USER_REQUEST)?;
    calls::suspend_thread(thread.handle())?;
    gate.set()?;
    until_waits(thread.handle(), WAIT_REASON_SUSPENDED)?;
    apc::queue(&thread, note_one, [4, 0, 0])?;
    time::sleep(Duration::from_millis(2));
    test.equal("no APC while it is suspended", log(), vec![]);
    apc::alert_and_resume(thread.handle())?;
    test.equal("the alert, then", thread.join()?, (Ok(true), Ok(Ended::Alerted)));
    test.equal("no APC: the thread waited no more", log(), vec![]);
    Ok(())
}

extern "sysv64" fn destroy(_: u64, _: u64, _: u64) {
    // SAFETY: every register that is written is declared; the APC may use them as any function may, and the others are
    // restored by whoever saved them.
    unsafe {
        core::arch::asm!(
            "push rbx",
            "push rbp",
            "mov rbx, -1",
            "mov rbp, -1",
            "mov r8, -1",
            "mov r9, -1",
            "mov r10, -1",
            "mov r12, -1",
            "mov r13, -1",
            "mov r14, -1",
            "mov r15, -1",
            "std",
            "cld",
            "stc",
            "pop rbp",
            "pop rbx",
            out("r8") _, out("r9") _, out("r10") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
}

/// Makes NtTestAlert with known values in the registers, and tells which came back wrong.
fn registers(test: &mut Test) -> NtResult {
    apc::queue_to_self(destroy, [0; 3])?;
    apc::queue_to_self(destroy, [0; 3])?;
    let (mut status, mut wrong): (u64, u64) = (libnt::abi::syscalls::nr::NtTestAlert.into(), 0);
    // SAFETY: the kernel keeps all registers but rax, rcx and r11; those that are loaded are declared or restored.
    unsafe {
        core::arch::asm!(
            "push rbx",
            "push rbp",
            "mov rbx, 0x1001",
            "mov rbp, 0x1002",
            "mov rsi, 0x1003",
            "mov rdi, 0x1004",
            "mov r8, 0x1005",
            "mov r9, 0x1006",
            "mov r10, 0x1007",
            "mov r12, 0x1008",
            "mov r13, 0x1009",
            "mov r14, 0x100A",
            "mov r15, 0x100B",
            "mov rdx, rsp",
            "syscall",
            "sub rdx, rsp",
            "xor rbx, 0x1001",
            "xor rbp, 0x1002",
            "xor rsi, 0x1003",
            "xor rdi, 0x1004",
            "xor r8, 0x1005",
            "xor r9, 0x1006",
            "xor r10, 0x1007",
            "xor r12, 0x1008",
            "xor r13, 0x1009",
            "xor r14, 0x100A",
            "xor r15, 0x100B",
            "or rdx, rbx",
            "or rdx, rbp",
            "or rdx, rsi",
            "or rdx, rdi",
            "or rdx, r8",
            "or rdx, r9",
            "or rdx, r10",
            "or rdx, r12",
            "or rdx, r13",
            "or rdx, r14",
            "or rdx, r15",
            "pop rbp",
            "pop rbx",
            inlateout("rax") status,
            lateout("rdx") wrong,
            out("rcx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _, out("r10") _, out("r11") _,
            out("r12") _, out("r13") _, out("r14") _, out("r15") _,
        );
    }
    test.equal("the status", status, 0);
    test.equal("registers that differ", wrong, 0);
    Ok(())
}

extern "sysv64" fn count(counter: u64, _: u64, _: u64) {
    // SAFETY: the test passes the address of a counter that lives until all threads have ended.
    let counter = unsafe { &*(counter as *const AtomicU64) };
    counter.fetch_add(1, Ordering::SeqCst);
}

/// Several threads queue APCs to several others, which wait alertably all the time.
fn many_threads(test: &mut Test) -> NtResult {
    const THREADS: usize = 4;
    const EACH: u64 = 200;
    let counters: Arc<[AtomicU64; THREADS]> = Arc::new(core::array::from_fn(|_| AtomicU64::new(0)));
    let workers = (0..THREADS)
        .map(|number| {
            let counters = counters.clone();
            thread::spawn(move || {
                while counters[number].load(Ordering::SeqCst) < 2 * EACH {
                    if wait::sleep_alertable(Duration::from_secs(600)) != Ok(Ended::Apc) {
                        return false;
                    }
                }
                true
            })
        })
        .collect::<NtResult<Vec<_>>>()?;
    let workers = Arc::new(workers);
    let queuers = (0..2)
        .map(|_| {
            let (workers, counters) = (workers.clone(), counters.clone());
            thread::spawn(move || -> NtResult {
                for number in 0..EACH * THREADS as u64 {
                    let at = number as usize % THREADS;
                    let counter = &raw const counters[at] as u64;
                    while apc::queue(&workers[at], count, [counter, 0, 0]) == Err(STATUS_QUOTA_EXCEEDED) {
                        thread::yield_now();
                    }
                }
                Ok(())
            })
        })
        .collect::<NtResult<Vec<_>>>()?;
    for queuer in queuers {
        test.ok("queueing", queuer.join()?);
    }
    for worker in Arc::into_inner(workers).ok_or(STATUS_UNSUCCESSFUL)? {
        test.equal("a worker", worker.join()?, true);
    }
    let ran: Vec<u64> = counters.iter().map(|c| c.load(Ordering::SeqCst)).collect();
    test.equal("each APC ran once", ran, vec![2 * EACH; THREADS]);
    Ok(())
}

fn limit(test: &mut Test) -> NtResult {
    let gate = Arc::new(Event::notification(false)?);
    let opens = gate.clone();
    let thread = thread::spawn(move || (wait::one(opens.handle(), None), apc::test_alert()))?;
    until_waits(thread.handle(), WAIT_REASON_USER_REQUEST)?;
    for number in 0..1024 {
        apc::queue(&thread, note_one, [number, 0, 0])?;
    }
    test.refused("one more", apc::queue(&thread, note_one, [0; 3]), STATUS_QUOTA_EXCEEDED);
    gate.set()?;
    test.equal("the thread", thread.join()?, (Ok(true), false));
    test.equal("all of them ran", log(), (0..1024).collect());
    Ok(())
}

/// APCs that never run are freed with their thread; the counters show it.
fn left_over(test: &mut Test) -> NtResult {
    let gate = Arc::new(Event::notification(false)?);
    let opens = gate.clone();
    let thread = thread::spawn(move || wait::one(opens.handle(), None))?;
    until_waits(thread.handle(), WAIT_REASON_USER_REQUEST)?;
    for number in 0..100 {
        apc::queue(&thread, note_one, [number, 0, 0])?;
    }
    gate.set()?;
    test.equal("the thread", thread.join()?, Ok(true));
    test.equal("none ran", log(), vec![]);
    Ok(())
}

fn rights(test: &mut Test) -> NtResult {
    let thread = waiting(WAITS[0])?;
    let blind = duplicate(thread.handle(), Some(!THREAD_SET_CONTEXT & 0x1F_FFFF))?;
    test.refused("no right", queue_raw(blind.raw(), nothing, 0), STATUS_ACCESS_DENIED);
    let only = duplicate(thread.handle(), Some(THREAD_SET_CONTEXT))?;
    test.ok("the right is enough", queue_raw(only.raw(), nothing, 0));
    test.equal("it ran", thread.join()?, Ok(Ended::Apc));
    Ok(())
}
