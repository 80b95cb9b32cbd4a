//! Tests of the dispatcher: priorities, waits, parking, timers, and random schedules against invariants.

use super::*;
use proptest::prelude::*;

fn with_cpus(count: u32) -> Dispatcher<()> {
    let mut d = Dispatcher::new();
    for cpu in 0..count {
        d.add_cpu().unwrap();
        d.set_online(cpu);
    }
    d
}

fn spawn(d: &mut Dispatcher<()>, priority: u8) -> u32 {
    let t = d.add_thread((), priority, u64::MAX).unwrap();
    d.make_ready(t);
    t
}

#[test]
fn higher_priority_preempts_and_equal_takes_turns() {
    let mut d = with_cpus(1);
    let a = spawn(&mut d, 8);
    assert_eq!(d.take_kicks(), 1);
    assert_eq!(d.schedule(0), a);
    let b = spawn(&mut d, 8);
    assert_eq!(d.take_kicks(), 0);
    assert_eq!(d.schedule(0), a, "an equal one waits for the quantum's end");
    assert!(d.yield_current(0));
    assert_eq!(d.schedule(0), b);
    let high = spawn(&mut d, 20);
    assert_eq!(d.take_kicks(), 1);
    assert_eq!(d.schedule(0), high);
    d.exit_current(0);
    assert_eq!(d.schedule(0), b, "the preempted thread is first in its queue");
    d.remove_thread(high);
}

#[test]
fn idle_processors_take_and_steal() {
    let mut d = with_cpus(2);
    let a = spawn(&mut d, 8);
    let b = spawn(&mut d, 8);
    assert_eq!(d.take_kicks(), 3, "each goes to its own idle processor");
    assert_eq!((d.schedule(0), d.schedule(1)), (a, b));
    let c = spawn(&mut d, 8);
    d.exit_current(1);
    assert_eq!(d.schedule(1), c, "taken from wherever it was queued");
}

#[test]
fn affinity_is_kept() {
    let mut d = with_cpus(2);
    let t = d.add_thread((), 8, 0b10).unwrap();
    d.make_ready(t);
    assert_eq!(d.schedule(0), NONE);
    assert_eq!(d.schedule(1), t);
    assert!(d.set_affinity(t, 0b01));
    assert_eq!(d.take_kicks() & 0b10, 0b10);
    assert_eq!(d.schedule(1), NONE);
    assert_eq!(d.schedule(0), t);
    assert!(!d.set_affinity(t, 0b100));
}

#[test]
fn synchronization_objects_release_one_notification_objects_all() {
    let mut d = with_cpus(1);
    let (sync, note) = (d.add_object(true, false).unwrap(), d.add_object(false, false).unwrap());
    let threads: Vec<u32> = (0..4).map(|_| spawn(&mut d, 8)).collect();
    for (i, t) in threads.iter().enumerate() {
        assert_eq!(d.schedule(0), *t);
        let object = if i < 2 { sync } else { note };
        assert_eq!(d.wait(*t, &[object], false, NEVER, 0), Wait::Blocked);
    }
    assert_eq!(d.schedule(0), NONE);
    assert!(!d.signal(sync));
    assert!(!d.is_signaled(sync), "taken by the first waiter");
    assert_eq!(d.schedule(0), threads[0]);
    d.signal(note);
    assert!(d.is_signaled(note));
    assert_eq!(d.wait(threads[0], &[note], false, NEVER, 0), Wait::Done(0));
    d.exit_current(0);
    assert_eq!(d.schedule(0), threads[2]);
    d.exit_current(0);
    assert_eq!(d.schedule(0), threads[3]);
    assert_eq!(d.info(threads[1]).state, State::Waiting);
}

#[test]
fn wait_for_all_takes_nothing_until_all_are_there() {
    let mut d = with_cpus(1);
    let (a, b) = (d.add_object(true, false).unwrap(), d.add_object(true, false).unwrap());
    let t = spawn(&mut d, 8);
    d.schedule(0);
    assert_eq!(d.wait(t, &[a, b], true, 100, 0), Wait::Blocked);
    assert_eq!(d.schedule(0), NONE);
    d.signal(a);
    assert!(d.is_signaled(a), "not taken");
    d.signal(b);
    assert!(!d.is_signaled(a) && !d.is_signaled(b));
    assert_eq!(d.schedule(0), t);
    assert_eq!(d.wait_status(t), 0);
    assert_eq!(d.next_deadline(), NEVER, "the timer is gone");
}

#[test]
fn wait_for_any_tells_which_and_same_object_twice_is_fine() {
    let mut d = with_cpus(1);
    let (a, b) = (d.add_object(false, false).unwrap(), d.add_object(true, false).unwrap());
    let t = spawn(&mut d, 8);
    let u = spawn(&mut d, 8);
    d.schedule(0);
    assert_eq!(d.wait(t, &[b, b, a], false, NEVER, 0), Wait::Blocked);
    d.schedule(0);
    assert_eq!(d.wait(u, &[a, a, b], false, NEVER, 0), Wait::Blocked);
    d.schedule(0);
    d.signal(a);
    assert_eq!((d.wait_status(t), d.wait_status(u)), (2, 0));
    assert_eq!(d.objects[b as usize].head, NONE);
}

#[test]
fn wake_before_park_is_not_lost_and_stale_tickets_do_nothing() {
    let mut d = with_cpus(1);
    let t = spawn(&mut d, 8);
    d.schedule(0);
    let (first, second) = (1, 2);
    assert!(d.unpark(t, first, 5, None));
    assert_eq!(d.park(t, first, NEVER, 0), Wait::Done(5));
    assert!(!d.unpark(t, first, 6, None));
    assert_eq!(d.park(t, second, NEVER, 0), Wait::Blocked);
    assert_eq!(d.schedule(0), NONE);
    assert!(!d.unpark(t, first, 6, None), "an old ticket");
    assert!(d.unpark(t, second, 7, Some(0)));
    assert!(!d.unpark(t, second, 8, None), "only once");
    assert_eq!(d.schedule(0), t);
    assert_eq!(d.wait_status(t), 7);
}

#[test]
fn a_handed_over_thread_runs_whatever_its_waker_does() {
    let mut d = with_cpus(2);
    let (waker, woken) = (spawn(&mut d, 8), spawn(&mut d, 8));
    assert_eq!((d.schedule(0), d.schedule(1)), (waker, woken));
    for blocks in [true, false] {
        let ticket = 1 + u32::from(!blocks);
        assert_eq!(d.park(woken, ticket, NEVER, 0), Wait::Blocked);
        assert_eq!(d.schedule(1), NONE);
        d.take_kicks();
        assert!(d.unpark(woken, ticket, 0, Some(0)));
        assert_eq!(d.take_kicks(), 0, "nobody is disturbed");
        if blocks {
            assert_eq!(d.park(waker, 1, NEVER, 0), Wait::Blocked);
            assert_eq!(d.schedule(0), woken);
            assert!(d.unpark(waker, 1, 0, None));
            assert_eq!(d.schedule(1), waker);
            let (w, s) = (d.current(1), d.current(0));
            assert_eq!((w, s), (waker, woken));
            // Back to where they were, for the other case.
            assert_eq!(d.wait(woken, &[], false, 5, 0), Wait::Blocked);
            assert_eq!(d.schedule(0), NONE);
            assert_eq!(d.wait(waker, &[], false, 5, 0), Wait::Blocked);
            assert_eq!(d.schedule(1), NONE);
            d.expire(5);
            assert_eq!((d.schedule(0), d.schedule(1)), (woken, waker));
            let _ = (d.set_affinity(waker, 1), d.set_affinity(woken, 2));
            assert_eq!((d.schedule(0), d.schedule(1)), (NONE, woken));
            assert_eq!(d.schedule(0), waker);
            let _ = (d.set_affinity(waker, u64::MAX), d.set_affinity(woken, u64::MAX));
        } else {
            d.settle(0);
            assert_ne!(d.take_kicks() & 0b10, 0, "the idle processor is told");
            assert_eq!(d.schedule(1), woken);
        }
    }
}

#[test]
fn termination_ends_any_wait_and_forbids_new_ones() {
    let mut d = with_cpus(1);
    let o = d.add_object(false, false).unwrap();
    let t = spawn(&mut d, 8);
    d.schedule(0);
    assert_eq!(d.wait(t, &[o], false, NEVER, 0), Wait::Blocked);
    d.schedule(0);
    assert_eq!(d.terminate(t), None);
    assert_eq!(d.schedule(0), t);
    assert_eq!(d.wait_status(t), STATUS_THREAD_IS_TERMINATING);
    assert_eq!(d.terminate(t), Some(0));
    assert_eq!(d.park(t, 1, NEVER, 0), Wait::Done(STATUS_THREAD_IS_TERMINATING));
    d.reuse_object(o, true, true);
    assert!(d.is_signaled(o) && d.is_auto_reset(o));
}

proptest! {
    /// Random operations on many threads, objects and processors keep every queue consistent, never run a thread
    /// twice, and never let a lower priority run while a higher one is ready on the same processor.
    #[test]
    fn random_schedules_keep_the_invariants(ops in proptest::collection::vec((0u8..9, any::<u16>()), 1..400)) {
        const CPUS: u32 = 3;
        let mut d = with_cpus(CPUS);
        let objects: Vec<u32> = (0..4).map(|i| d.add_object(i % 2 == 0, false).unwrap()).collect();
        let mut threads: Vec<u32> = Vec::new();
        let mut now = 1u64;
        for (op, n) in ops {
            let cpu = u32::from(n) % CPUS;
            let object = objects[usize::from(n) / 8 % 4];
            let current = d.current(cpu);
            match op {
                0 if threads.len() < 20 => threads.push(spawn(&mut d, (n % 32) as u8)),
                1 if current != NONE => {
                    let all = n % 3 == 0;
                    let second = objects[(usize::from(n) / 8 + 1) % 4];
                    let deadline = if n % 5 == 0 { now + u64::from(n % 50) + 1 } else { NEVER };
                    d.wait(current, &[object, second], all, deadline, 0);
                    d.schedule(cpu);
                }
                2 => { d.signal(object); }
                3 => { d.clear(object); }
                4 => { now += u64::from(n % 64); d.expire(now); prop_assert!(d.next_deadline() > now); }
                5 if current != NONE => { d.yield_current(cpu); d.schedule(cpu); }
                6 if !threads.is_empty() => d.set_priority(threads[usize::from(n) % threads.len()], (n / 7 % 32) as u8),
                7 if !threads.is_empty() => { d.terminate(threads[usize::from(n) % threads.len()]); }
                8 if current != NONE => {
                    d.exit_current(cpu);
                    d.schedule(cpu);
                    d.remove_thread(current);
                    threads.retain(|t| *t != current);
                }
                _ => { d.schedule(cpu); }
            }
            for cpu in 0..CPUS {
                if d.kicks >> cpu & 1 == 1 { d.schedule(cpu); }
            }
            d.take_kicks();
            let running: Vec<u32> = (0..CPUS).map(|c| d.current(c)).filter(|t| *t != NONE).collect();
            for (cpu, c) in d.cpus.iter().enumerate() {
                for priority in 0..PRIORITIES {
                    let mut t = c.queues[priority].head;
                    prop_assert_eq!(t != NONE, c.ready_mask >> priority & 1 == 1);
                    let mut prev = NONE;
                    while t != NONE {
                        let rec = d.rec(t);
                        prop_assert_eq!((rec.state, rec.priority as usize, rec.cpu as usize, rec.prev), (State::Ready, priority, cpu, prev));
                        prop_assert!(!running.contains(&t));
                        prev = t;
                        t = rec.next;
                    }
                    prop_assert_eq!(c.queues[priority].tail, prev);
                }
                if c.current != NONE {
                    prop_assert_eq!(d.rec(c.current).state, State::Running);
                    if let Some(top) = d.top_priority(cpu as u32) {
                        prop_assert!(top <= d.rec(c.current).priority);
                    }
                } else {
                    prop_assert_eq!(c.ready_mask, 0, "no processor idles over its own ready threads");
                }
            }
            for (at, (deadline, t)) in d.timers.iter().enumerate() {
                prop_assert_eq!((d.rec(*t).deadline, d.rec(*t).heap as usize), (*deadline, at));
                prop_assert!(at == 0 || d.timers[(at - 1) / 2].0 <= *deadline);
            }
        }
    }
}
