//! Stale translations: when a page is unmapped or protected, no processor may go on using what it remembers.
//!
//! A thread on each processor touches a page, the main thread maps another section at the same address (or takes the
//! right to write away), and each thread looks again.

use crate::probe;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use core::time::Duration;
use libnt::abi::mm::*;
use libnt::prelude::*;
use libnt::section::Section;
use libnt::sys::calls;
use libnt::{info, thread};
use testkit::Test;

const ROUNDS: u64 = 100;
const ME: Handle = Handle::CURRENT_PROCESS;

/// What the threads and the main thread tell each other.
struct Stage {
    /// The page that is looked at.
    address: u64,
    /// Round that is played; the last one ends the threads.
    round: AtomicU64,
    /// Threads that have looked in this round.
    looked: AtomicU32,
    /// Threads that saw something else than they should.
    wrong: AtomicU32,
}

/// Waits until a condition holds. It sleeps rather than spins: the machine may have fewer processors than it shows.
fn until(condition: impl Fn() -> bool) {
    while !condition() {
        libnt::time::sleep(Duration::from_micros(100));
    }
}

/// All checks of this file.
pub fn run(test: &mut Test) -> NtResult {
    remapped(test)?;
    protected(test)
}

/// Starts a thread on each processor that looks once a round.
fn watchers(
    stage: &Arc<Stage>,
    look: fn(&Stage, u64) -> bool,
) -> NtResult<Vec<thread::JoinHandle<NtResult>>> {
    let processors = u64::from(info::basic()?.number_of_processors);
    (0..processors)
        .map(|processor| {
            let stage = stage.clone();
            thread::spawn(move || {
                thread::set_affinity(Handle::CURRENT_THREAD, 1 << processor)?;
                for round in 1..=ROUNDS {
                    until(|| stage.round.load(Ordering::SeqCst) >= round);
                    if !look(&stage, round) {
                        stage.wrong.fetch_add(1, Ordering::SeqCst);
                    }
                    stage.looked.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        })
        .collect()
}

/// Lets the threads look in a round and waits until all have.
fn play(stage: &Stage, round: u64, threads: usize) {
    stage.looked.store(0, Ordering::SeqCst);
    stage.round.store(round, Ordering::SeqCst);
    until(|| stage.looked.load(Ordering::SeqCst) as usize == threads);
}

fn finish(
    test: &mut Test,
    what: &str,
    stage: &Stage,
    threads: Vec<thread::JoinHandle<NtResult>>,
) -> NtResult {
    for thread in threads {
        test.equal("a watching thread", thread.join()?, Ok(()));
    }
    test.equal(what, stage.wrong.load(Ordering::SeqCst), 0);
    Ok(())
}

/// Reads with the program's own translation.
fn look_at(address: u64) -> u64 {
    // SAFETY: the stage maps the page before it lets anyone look, and keeps it until all have.
    unsafe { (address as *const u64).read_volatile() }
}

fn remapped(test: &mut Test) -> NtResult {
    let (base, _) = calls::allocate_memory(ME, 0, PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE)?;
    let stage = Arc::new(Stage {
        address: base,
        round: AtomicU64::new(0),
        looked: AtomicU32::new(0),
        wrong: AtomicU32::new(0),
    });
    let sections = [Section::create(PAGE_SIZE)?, Section::create(PAGE_SIZE)?];
    let writers = [sections[0].map(0, 0, PAGE_READWRITE)?, sections[1].map(0, 0, PAGE_READWRITE)?];
    let threads = watchers(&stage, |stage, round| look_at(stage.address) == round)?;
    // SAFETY: nothing uses the region: it only kept the address free while the threads got their stacks.
    unsafe { calls::free_memory(ME, base, 0, MEM_RELEASE) }?;
    for round in 1..=ROUNDS {
        let which = (round % 2) as usize;
        writers[which].write(0, &round.to_le_bytes());
        calls::map_view(sections[which].handle(), ME, base, 0, PAGE_SIZE, PAGE_READONLY)?;
        play(&stage, round, threads.len());
        // SAFETY: all threads have looked; none does before the next round.
        unsafe { calls::unmap_view(ME, base) }?;
    }
    finish(test, "processors that saw a page which was unmapped", &stage, threads)
}

fn protected(test: &mut Test) -> NtResult {
    let (base, _) = calls::allocate_memory(ME, 0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)?;
    let stage = Arc::new(Stage {
        address: base,
        round: AtomicU64::new(0),
        looked: AtomicU32::new(0),
        wrong: AtomicU32::new(0),
    });
    let threads = watchers(&stage, |stage, round| probe::is_writable(stage.address) == (round % 2 == 1))?;
    for round in 1..=ROUNDS {
        let protection = if round % 2 == 1 { PAGE_READWRITE } else { PAGE_READONLY };
        // SAFETY: the threads reach the page through the kernel, which checks.
        unsafe { calls::protect_memory(ME, base, PAGE_SIZE, protection) }?;
        play(&stage, round, threads.len());
    }
    finish(test, "processors that wrote to a page which was protected", &stage, threads)?;
    // SAFETY: the threads are gone.
    unsafe { calls::free_memory(ME, base, 0, MEM_RELEASE) }
}
