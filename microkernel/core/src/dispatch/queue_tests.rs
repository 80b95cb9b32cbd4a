//! Tests of completion queues: order, limit, sources, closing, and random runs against a count of what must be there.

use super::super::{Dispatcher, NEVER, NONE, State, Wait};
use super::{MAX_PACKETS, Packet, PostError};
use proptest::prelude::*;

const ABANDONED: u32 = 0x80;
const USER_APC: u32 = 0xC0;
const ALERTED: u32 = 0x101;
const TIMEOUT: u32 = 0x102;

struct World {
    d: Dispatcher<()>,
    queue: u32,
    object: u32,
}

fn world(cpus: u32, limit: u32) -> World {
    let mut d = Dispatcher::new();
    for cpu in 0..cpus {
        d.add_cpu().unwrap();
        d.set_online(cpu);
    }
    let object = d.add_object(false, false).unwrap();
    let queue = d.add_queue(limit, object).unwrap();
    World { d, queue, object }
}

fn packet(key: u64) -> Packet {
    Packet { key, context: key + 1, status: 0, information: 2, owner: 7 }
}

impl World {
    /// A new thread that runs on a processor of its own.
    fn run(&mut self, cpu: u32) -> u32 {
        let t = self.d.add_thread((), 8, 1 << cpu).unwrap();
        self.d.make_ready(t);
        assert_eq!(self.d.schedule(cpu), t);
        t
    }

    fn remove(&mut self, thread: u32, deadline: u64) -> Wait {
        self.d.remove_packet(thread, self.queue, deadline, 15, false)
    }

    fn post(&mut self, key: u64) {
        self.d.post_packet(self.queue, packet(key)).unwrap();
    }

    fn take(&mut self) -> Option<u64> {
        self.d.take_granted(self.queue).map(|p| p.key)
    }

    /// A remove that must be over at once with this packet.
    fn takes(&mut self, thread: u32, key: u64) {
        assert_eq!(self.remove(thread, NEVER), Wait::Done(0));
        assert_eq!(self.take(), Some(key));
    }

    fn state(&self, thread: u32) -> State {
        self.d.info(thread).state
    }
}

#[test]
fn packets_come_in_order_and_the_object_shows_them() {
    let mut w = world(1, 1);
    let t = w.run(0);
    assert!(!w.d.is_signaled(w.object));
    w.post(1);
    w.post(2);
    assert!(w.d.is_signaled(w.object));
    assert_eq!(w.d.queue_depth(w.queue), 2);
    w.takes(t, 1);
    assert_eq!(w.d.take_more(w.queue), Some(packet(2)));
    assert_eq!(w.d.take_more(w.queue), None);
    assert!(!w.d.is_signaled(w.object));
    assert_eq!(w.remove(t, 0), Wait::Done(TIMEOUT));
}

#[test]
fn the_latest_waiter_goes_first() {
    let mut w = world(3, 3);
    let threads = [w.run(0), w.run(1), w.run(2)];
    for t in threads {
        assert_eq!(w.remove(t, NEVER), Wait::Blocked);
    }
    w.post(1);
    assert_eq!(threads.map(|t| w.state(t)), [State::Waiting, State::Waiting, State::Ready]);
    w.post(2);
    assert_eq!(w.state(threads[1]), State::Ready);
    assert_eq!(w.state(threads[0]), State::Waiting);
    assert_eq!((w.take(), w.take()), (Some(1), Some(2)));
}

#[test]
fn only_so_many_run_and_one_that_blocks_lets_another_go() {
    let mut w = world(2, 1);
    let (a, b) = (w.run(0), w.run(1));
    assert_eq!(w.remove(b, NEVER), Wait::Blocked);
    assert_eq!(w.remove(a, NEVER), Wait::Blocked);
    w.post(1);
    w.post(2);
    assert_eq!((w.state(a), w.state(b)), (State::Ready, State::Waiting), "one at a time");
    assert!(w.d.is_signaled(w.object), "the second can be had");
    assert_eq!(w.d.schedule(0), a);
    assert_eq!(w.take(), Some(1));
    let event = w.d.add_object(true, false).unwrap();
    assert_eq!(w.d.wait(a, &[event], false, NEVER, 0), Wait::Blocked);
    assert_eq!(w.state(b), State::Ready, "the first one waits for something else");
    assert_eq!(w.take(), Some(2));
    w.d.signal(event);
    assert_eq!(w.state(a), State::Ready, "now two run");
    w.post(3);
    assert_eq!(w.d.schedule(0), a);
    assert_eq!(w.remove(a, 0), Wait::Done(TIMEOUT), "the other one runs");
    assert_eq!(w.remove(a, NEVER), Wait::Blocked);
    assert_eq!(w.d.schedule(1), b);
    w.takes(b, 3);
}

#[test]
fn a_thread_that_ends_or_leaves_lets_another_go() {
    let mut w = world(2, 1);
    let (a, b) = (w.run(0), w.run(1));
    w.post(1);
    w.takes(a, 1);
    assert_eq!(w.remove(b, NEVER), Wait::Blocked);
    w.post(2);
    assert_eq!(w.state(b), State::Waiting);
    w.d.exit_current(0);
    assert_eq!(w.state(b), State::Ready);
    assert_eq!(w.take(), Some(2));
    // Another queue takes the thread over.
    let (object, c) = (w.d.add_object(false, false).unwrap(), w.d.add_queue(1, w.object).unwrap());
    let _ = object;
    assert_eq!(w.d.schedule(0), NONE);
    let d = w.run(0);
    assert_eq!(w.remove(d, NEVER), Wait::Blocked);
    assert_eq!(w.d.schedule(1), b);
    w.post(3);
    assert_eq!(w.state(d), State::Waiting);
    assert_eq!(w.d.remove_packet(b, c, 0, 15, false), Wait::Done(TIMEOUT));
    assert_eq!(w.state(d), State::Ready);
}

#[test]
fn waits_end_by_time_out_and_termination() {
    let mut w = world(2, 1);
    let (a, b) = (w.run(0), w.run(1));
    assert_eq!(w.remove(a, 50), Wait::Blocked);
    assert_eq!(w.remove(b, NEVER), Wait::Blocked);
    w.d.expire(50);
    assert_eq!((w.state(a), w.d.wait_status(a)), (State::Ready, TIMEOUT));
    w.d.terminate(b);
    assert_eq!(w.d.wait_status(b), 0xC000_004B);
    w.post(1);
    assert_eq!(w.d.schedule(1), b);
    w.d.exit_current(1);
    w.d.remove_thread(b);
    assert_eq!(w.d.schedule(0), a);
    w.takes(a, 1);
}

#[test]
fn sources_never_need_memory_and_take_turns() {
    let mut w = world(1, 1);
    let t = w.run(0);
    let (a, b) = (w.d.add_source(w.queue, 10).unwrap(), w.d.add_source(w.queue, 20).unwrap());
    w.d.post_source(a, 3);
    w.d.post_source(b, 1);
    w.post(30);
    assert_eq!(w.d.queue_depth(w.queue), 5);
    for key in [10, 20, 30, 10, 10] {
        w.takes(t, key);
    }
    assert_eq!(w.remove(t, 0), Wait::Done(TIMEOUT));
    w.d.post_source(a, 2);
    w.d.remove_source(a);
    assert!(!w.d.is_signaled(w.object));
    assert_eq!(w.remove(t, 0), Wait::Done(TIMEOUT), "they went with their source");
    w.d.post_source(b, u32::MAX);
    w.d.post_source(b, 5);
    assert_eq!(w.d.queue_depth(w.queue), u64::from(u32::MAX), "it stops counting");
    w.d.remove_source(b);
    assert_eq!(w.d.add_source(w.queue, 1).unwrap(), b);
    w.d.limit_source(b, 2);
    w.d.post_source(b, 1);
    w.d.post_source(b, 5);
    assert_eq!(w.d.queue_depth(w.queue), 2, "no more than were asked for");
}

#[test]
fn a_granted_packet_may_go_with_its_source() {
    let mut w = world(1, 1);
    let t = w.run(0);
    let source = w.d.add_source(w.queue, 10).unwrap();
    assert_eq!(w.remove(t, NEVER), Wait::Blocked);
    w.d.post_source(source, 1);
    assert_eq!(w.state(t), State::Ready);
    w.d.remove_source(source);
    assert_eq!(w.take(), None);
    assert_eq!(w.d.schedule(0), t);
    w.post(1);
    w.takes(t, 1);
}

#[test]
fn a_closed_queue_abandons_its_waiters() {
    let mut w = world(2, 1);
    let (a, b) = (w.run(0), w.run(1));
    w.post(1);
    w.takes(a, 1);
    assert_eq!(w.remove(b, NEVER), Wait::Blocked);
    let source = w.d.add_source(w.queue, 3).unwrap();
    w.post(2);
    w.d.post_source(source, 1);
    assert_eq!(w.d.close_queue(w.queue).collect::<Vec<_>>(), [packet(2)]);
    assert_eq!((w.state(b), w.d.wait_status(b)), (State::Ready, ABANDONED));
    assert!(!w.d.is_signaled(w.object));
    w.d.post_source(source, 1);
    w.d.remove_source(source);
    assert_eq!(w.d.post_packet(w.queue, packet(1)), Err(PostError::Closed));
    assert_eq!(w.d.add_source(w.queue, 3), Err(PostError::Closed));
    assert_eq!(w.remove(a, 0), Wait::Done(ABANDONED));
    // The new queue in its place does not know the old one's threads.
    w.d.reuse_queue(w.queue, 1, w.object);
    assert_eq!(w.d.schedule(1), b);
    w.post(5);
    w.takes(b, 5);
    assert_eq!(w.remove(b, 0), Wait::Done(TIMEOUT));
}

#[test]
fn a_full_queue_refuses() {
    let mut w = world(1, 1);
    for key in 0..MAX_PACKETS as u64 {
        w.post(key);
    }
    assert_eq!(w.d.post_packet(w.queue, packet(0)), Err(PostError::Full));
    let source = w.d.add_source(w.queue, 3).unwrap();
    w.d.post_source(source, 1);
    assert_eq!(w.d.queue_depth(w.queue), MAX_PACKETS as u64 + 1);
    // Its memory follows what is in it, and there is room for the source at any time.
    let t = w.run(0);
    for key in 0..MAX_PACKETS as u64 {
        w.takes(t, key);
        let q = &w.d.queues.queues[w.queue as usize];
        assert!(q.items.capacity() <= (8 * q.items.len()).max(64));
    }
    w.takes(t, 3);
    w.d.post_source(source, 1);
    w.takes(t, 3);
}

#[test]
fn alerts_end_alertable_waits_only() {
    let mut w = world(1, 1);
    let t = w.run(0);
    let event = w.d.add_object(true, false).unwrap();
    assert_eq!(w.d.begin_alertable(t), None);
    assert_eq!(w.d.wait(t, &[event], false, NEVER, 0), Wait::Blocked);
    w.d.alert(t);
    assert_eq!((w.state(t), w.d.wait_status(t)), (State::Ready, ALERTED));
    assert_eq!(w.d.schedule(0), t);
    w.d.end_alertable(t);
    // Remembered while it does not wait alertably.
    assert_eq!(w.d.wait(t, &[event], false, NEVER, 0), Wait::Blocked);
    w.d.alert(t);
    w.d.set_apcs(t, true);
    assert_eq!(w.state(t), State::Waiting);
    w.d.signal(event);
    assert_eq!(w.d.schedule(0), t);
    assert_eq!(w.d.begin_alertable(t), Some(ALERTED));
    assert_eq!(w.d.begin_alertable(t), Some(USER_APC));
    assert_eq!(w.d.test_alert(t), Some(USER_APC), "until no APC is left");
    w.d.set_apcs(t, false);
    assert_eq!(w.d.test_alert(t), None);
    // A packet comes before an alert.
    w.d.alert(t);
    w.post(1);
    assert_eq!(w.d.remove_packet(t, w.queue, NEVER, 15, true), Wait::Done(0));
    assert_eq!(w.take(), Some(1));
    assert_eq!(w.d.remove_packet(t, w.queue, NEVER, 15, true), Wait::Done(ALERTED));
    assert_eq!(w.d.remove_packet(t, w.queue, NEVER, 15, true), Wait::Blocked);
    w.d.set_apcs(t, true);
    assert_eq!((w.state(t), w.d.wait_status(t)), (State::Ready, USER_APC));
}

#[test]
fn what_would_block_is_known() {
    let mut w = world(1, 1);
    let (set, unset) = (w.d.add_object(false, true).unwrap(), w.d.add_object(false, false).unwrap());
    assert!(!w.d.would_block(&[set, unset], false));
    assert!(w.d.would_block(&[set, unset], true));
    assert!(w.d.would_block(&[unset], false));
    assert!(!w.d.would_block(&[set], true));
    assert!(w.d.would_block(&[], false));
    let t = w.run(0);
    assert!(!w.d.is_woken(t, 1));
    w.d.unpark(t, 1, 0, None);
    assert!(w.d.is_woken(t, 1));
}

proptest! {
    /// Whatever threads and sources do, every packet that was posted is taken once or still there, and no thread waits
    /// beside a packet that it may have.
    #[test]
    fn nothing_is_lost(steps in proptest::collection::vec((0u32..8, 0u32..3, 0u64..4), 1..200)) {
        let mut w = world(3, 2);
        let event = w.d.add_object(false, false).unwrap();
        let threads = [w.run(0), w.run(1), w.run(2)];
        let source = w.d.add_source(w.queue, 99).unwrap();
        let (mut posted, mut taken) = (0u64, 0u64);
        // What a thread that was woken was waiting for.
        let mut removing = [false; 3];
        for (what, who, amount) in steps {
            let t = threads[who as usize];
            // A woken thread first takes what it was given.
            if w.state(t) == State::Ready {
                assert_eq!(w.d.schedule(who), t);
                if core::mem::take(&mut removing[who as usize]) && w.d.wait_status(t) == 0 {
                    assert!(w.take().is_some());
                    taken += 1;
                }
            }
            let runs = w.state(t) == State::Running;
            match what {
                0..=1 => {
                    w.post(amount);
                    posted += 1;
                }
                2 => {
                    w.d.post_source(source, amount as u32);
                    posted += amount;
                }
                3..=5 if runs => match w.remove(t, if amount == 0 { 0 } else { 100 }) {
                    Wait::Done(0) => {
                        assert!(w.take().is_some());
                        taken += 1;
                    }
                    Wait::Done(status) => assert_eq!(status, TIMEOUT),
                    Wait::Blocked => removing[who as usize] = true,
                },
                6 if runs => {
                    w.d.clear(event);
                    assert_eq!(w.d.wait(t, &[event], false, 100, 0), Wait::Blocked);
                }
                7 if amount == 0 => w.d.expire(100),
                7 => { w.d.signal(event); }
                _ => {}
            }
            assert_eq!(w.d.queue_depth(w.queue), posted - taken);
            let q = &w.d.queues.queues[w.queue as usize];
            assert!(q.granted <= q.depth);
            assert!(q.waiters.is_empty() || q.depth == q.granted || q.running >= q.limit);
            assert!(q.items.capacity() - q.items.len() >= q.idle_sources);
            let there = q.depth > q.granted;
            assert_eq!(w.d.is_signaled(w.object), there);
        }
    }
}

#[test]
fn a_source_that_is_gone_posts_to_nobody() {
    let mut w = world(2, 1);
    let t = w.run(0);
    let gone = w.d.add_source(w.queue, 7).unwrap();
    w.d.remove_source(gone);
    w.d.post_source(gone, 3);
    assert_eq!(w.remove(t, 0), Wait::Done(TIMEOUT));
    // Its number is another's now, in another queue.
    let object = w.d.add_object(false, false).unwrap();
    let other = w.d.add_queue(1, object).unwrap();
    let again = w.d.add_source(other, 9).unwrap();
    assert_eq!(again, gone);
    w.d.post_source(again, 1);
    assert_eq!(w.remove(t, 0), Wait::Done(TIMEOUT));
    assert_eq!(w.d.remove_packet(t, other, 0, 15, false), Wait::Done(0));
    assert_eq!(w.d.take_granted(other).map(|p| p.key), Some(9));
}
