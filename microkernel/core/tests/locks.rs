//! The kernel's own state machine and dispatcher under two locks, in every order of several threads that shuttle finds:
//! nobody waits for ever, no answer goes astray.
//!
//! [`Group`] and [`Dispatcher`] are what the kernel runs. The steps between them (take a ticket, publish the waiter, open
//! one lock, take the other, park; both locks for a direct switch) are those of the kernel's `alpc::ops`,
//! `alpc::fastpath`, `alpc::group` and `ke::sched`, written down again in [`Machine`], because there they are between
//! user memory and assembly. Threads are real ones of the checker; a processor is a number that the dispatcher gives
//! them. Not covered: orders of memory accesses that only weak memory shows, preemption by the clock, inter-processor
//! interrupts, address spaces.

use abi::NtStatus;
use abi::alpc::LPC_REQUEST;
use abi::status::*;
use antares_core::alpc::*;
use antares_core::dispatch::{Dispatcher, NEVER, NONE, Wait};
use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
use shuttle::thread::{self, JoinHandle};

const CPUS: u32 = 2;
const ANY: u64 = (1 << CPUS) - 1;
/// A deadline; when it comes is the timer thread's choice.
const SOON: u64 = 1;

/// A payload: who asks, and for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Data(u32);

impl Body for Data {
    fn data_length(&self) -> usize {
        4
    }
    fn recycle(&mut self) {}
}

/// Both locks, and what the checker needs to run threads as the dispatcher says.
struct Machine {
    group: Mutex<Group<Data>>,
    dispatcher: Mutex<Dispatcher<u32>>,
    /// Something changed that the dispatcher decides.
    changed: Condvar,
    /// Where a direct switch puts a message: per thread, header id and payload.
    landing: Vec<Mutex<Option<(u32, Data)>>>,
    over: Mutex<bool>,
}

/// A thread of the machine.
struct Thread {
    machine: Arc<Machine>,
    index: u32,
    ticket: u32,
}

/// Carries effects to the dispatcher, one lock at a time, as the kernel's does.
struct Fx<'a> {
    machine: &'a Machine,
    /// Processor of a caller that blocks next.
    cpu: Option<u32>,
}

impl Effects for Fx<'_> {
    fn wake(&mut self, waiter: Waiter, status: NtStatus, soon: bool) {
        let hint = self.cpu.filter(|_| soon);
        self.machine.decide(|d| d.unpark(waiter.thread, waiter.ticket, status.0, hint));
    }
    fn readable(&mut self, _: u32, _: bool) {}
}

impl Machine {
    fn new(threads: u32) -> Arc<Self> {
        let mut dispatcher = Dispatcher::new();
        for cpu in 0..CPUS {
            dispatcher.add_cpu().unwrap();
            dispatcher.set_online(cpu);
        }
        for number in 0..threads {
            assert_eq!(dispatcher.add_thread(number, 8, ANY), Ok(number));
        }
        Arc::new(Self {
            group: Mutex::new(Group::new(7, NO_OBJECT, u32::MAX)),
            dispatcher: Mutex::new(dispatcher),
            changed: Condvar::new(),
            landing: (0..threads).map(|_| Mutex::new(None)).collect(),
            over: Mutex::new(false),
        })
    }

    /// Changes something under the dispatcher's lock.
    fn decide<R>(&self, with: impl FnOnce(&mut Dispatcher<u32>) -> R) -> R {
        let result = with(&mut self.dispatcher.lock().unwrap());
        self.changed.notify_all();
        result
    }

    fn fx(&self) -> Fx<'_> {
        Fx { machine: self, cpu: None }
    }

    /// An accepted connection.
    fn connection(&self) -> u64 {
        let mut group = self.group.lock().unwrap();
        let (connection, id) = group.connect(sender(100), Data(0), None, NO_OBJECT, &mut self.fx()).unwrap();
        let Received::Message(request) = group.receive(Role::Connection, 64, sender(101), &mut self.fx())
        else {
            panic!("no connection request")
        };
        assert!(group.end_delivery(request.key, None, &mut self.fx()));
        assert_eq!(group.accept(id, sender(101), 1, NO_OBJECT, Data(0), &mut self.fx()), Ok(connection));
        connection
    }

    /// A processor's idle loop.
    fn idle(&self, cpu: u32) {
        let mut d = self.dispatcher.lock().unwrap();
        while !*self.over.lock().unwrap() {
            if d.current(cpu) == NONE && d.schedule(cpu) != NONE {
                self.changed.notify_all();
            }
            d = self.changed.wait(d).unwrap();
        }
    }
}

fn sender(number: u32) -> Sender {
    Sender { process: 4, thread: number }
}

/// How a request ended for who made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answer(Data),
    Status(NtStatus),
}

impl Thread {
    fn cpu(&self) -> u32 {
        self.machine.dispatcher.lock().unwrap().running_on(self.index).unwrap()
    }

    fn fx(&self, blocks: bool) -> Fx<'_> {
        Fx { machine: &self.machine, cpu: blocks.then(|| self.cpu()) }
    }

    fn prepare_park(&mut self) -> Waiter {
        self.ticket = self.ticket.wrapping_add(1);
        Waiter { thread: self.index, ticket: self.ticket }
    }

    /// Until the dispatcher runs this thread.
    fn until_running(&self, mut d: MutexGuard<'_, Dispatcher<u32>>) {
        while d.running_on(self.index).is_none() {
            d = self.machine.changed.wait(d).unwrap();
        }
    }

    /// The processor goes to whom the dispatcher says; back when it is this thread again.
    fn reschedule(&self, mut d: MutexGuard<'_, Dispatcher<u32>>, cpu: u32) {
        d.schedule(cpu);
        self.machine.changed.notify_all();
        self.until_running(d);
    }

    fn park(&self, waiter: Waiter, deadline: u64) -> NtStatus {
        let machine = &self.machine;
        let mut d = machine.dispatcher.lock().unwrap();
        let cpu = d.running_on(self.index).unwrap();
        match d.park(self.index, waiter.ticket, deadline, 0) {
            Wait::Done(status) => {
                d.settle(cpu);
                machine.changed.notify_all();
                NtStatus(status)
            }
            Wait::Blocked => {
                self.reschedule(d, cpu);
                NtStatus(machine.dispatcher.lock().unwrap().wait_status(self.index))
            }
        }
    }

    fn landed(&self) -> Option<(u32, Data)> {
        self.machine.landing[self.index as usize].lock().unwrap().take()
    }

    /// A blocking request, the short way if `direct` and that takes it.
    fn request(&mut self, connection: u64, data: Data, deadline: u64, direct: bool) -> Outcome {
        let role = Role::Client(connection);
        let (id, status) = match direct.then(|| self.request_directly(connection, data)).flatten() {
            Some(id) => (id, NtStatus(self.machine.dispatcher.lock().unwrap().wait_status(self.index))),
            None => {
                let waiter = self.prepare_park();
                let post = Post::request(sender(self.index), waiter);
                let sent = self.machine.group.lock().unwrap().send(role, &post, data, &mut self.fx(true));
                match sent {
                    Ok(id) => (id, self.park(waiter, deadline)),
                    Err(status) => return Outcome::Status(status),
                }
            }
        };
        if let Some((of, answer)) = self.landed() {
            assert_eq!(of, id, "an answer to another request");
            return Outcome::Answer(answer);
        }
        let taken = self.machine.group.lock().unwrap().take(id, 64, &mut self.machine.fx());
        match taken {
            Woken::Answer(delivery) => {
                self.machine.group.lock().unwrap().end_delivery(delivery.key, None, &mut self.machine.fx());
                assert_eq!(delivery.id, id);
                Outcome::Answer(delivery.body)
            }
            Woken::Nothing if status == STATUS_SUCCESS => Outcome::Status(STATUS_PORT_DISCONNECTED),
            Woken::Nothing => Outcome::Status(status),
            other => panic!("{other:?}"),
        }
    }

    fn request_directly(&mut self, connection: u64, data: Data) -> Option<u32> {
        let machine = self.machine.clone();
        let mut group = machine.group.lock().unwrap();
        let slot = group.prepare_direct(connection)?;
        let request = group.begin_direct(connection, slot)?;
        let mut d = machine.dispatcher.lock().unwrap();
        let cpu = d.running_on(self.index).unwrap();
        let (to, id) = (request.receiver, request.id);
        let switch = d.begin_switch(cpu, self.index, to.thread, to.ticket)?;
        *machine.landing[to.thread as usize].lock().unwrap() = Some((id, data));
        let waiter = self.prepare_park();
        request.commit(None, sender(self.index), waiter, sender(to.thread));
        switch.commit(waiter.ticket, 0);
        drop(group);
        machine.changed.notify_all();
        self.until_running(d);
        Some(id)
    }

    /// Receives on the connection port: id and payload of a request.
    fn receive(&mut self) -> Result<(u32, Data), NtStatus> {
        loop {
            let machine = self.machine.clone();
            let mut group = machine.group.lock().unwrap();
            let received = group.receive(Role::Connection, 64, sender(self.index), &mut self.machine.fx());
            match received {
                Received::Message(delivery) => {
                    drop(group);
                    let there = machine.group.lock().unwrap().end_delivery(
                        delivery.key,
                        None,
                        &mut self.machine.fx(),
                    );
                    if delivery.message_type & 0xFF == LPC_REQUEST && there {
                        return Ok((delivery.id, delivery.body));
                    }
                }
                Received::Status(status) => return Err(status),
                Received::Empty => {
                    let waiter = self.prepare_park();
                    group.add_waiter(Role::Connection, waiter).unwrap();
                    drop(group);
                    let status = self.park(waiter, NEVER);
                    if let Some(request) = self.waited(waiter, status)? {
                        return Ok(request);
                    }
                }
                Received::TooSmall(_) => panic!("there is room"),
            }
        }
    }

    /// What a wait to receive brought: a request that landed, or that there is something in the queue.
    fn waited(&self, waiter: Waiter, status: NtStatus) -> Result<Option<(u32, Data)>, NtStatus> {
        if let Some(request) = self.landed() {
            return Ok(Some(request));
        }
        if status == STATUS_SUCCESS {
            return Ok(None);
        }
        self.machine.group.lock().unwrap().remove_waiter(Role::Connection, waiter, &mut self.machine.fx());
        Err(status)
    }

    fn reply(&self, id: u32, data: Data, blocks: bool) -> Result<(), NtStatus> {
        let mut group = self.machine.group.lock().unwrap();
        group.reply(Role::Connection, (id, 0), sender(self.index), 0, data, &mut self.fx(blocks))
    }

    /// Answers and receives the next request, the short way if `direct` and that takes it.
    fn reply_and_receive(&mut self, id: u32, data: Data, direct: bool) -> Result<(u32, Data), NtStatus> {
        if direct && let Some(waiter) = self.reply_directly(id, data) {
            let status = NtStatus(self.machine.dispatcher.lock().unwrap().wait_status(self.index));
            return match self.waited(waiter, status)? {
                Some(request) => Ok(request),
                None => self.receive(),
            };
        }
        // Who asked may have given up.
        let _ = self.reply(id, data, true);
        self.receive()
    }

    fn reply_directly(&mut self, id: u32, data: Data) -> Option<Waiter> {
        let machine = self.machine.clone();
        let mut group = machine.group.lock().unwrap();
        let answer = group.begin_answer(0, id)?;
        let mut d = machine.dispatcher.lock().unwrap();
        let cpu = d.running_on(self.index).unwrap();
        let asker = answer.asker;
        let switch = d.begin_switch(cpu, self.index, asker.thread, asker.ticket)?;
        *machine.landing[asker.thread as usize].lock().unwrap() = Some((id, data));
        let waiter = self.prepare_park();
        let is_over = answer.commit(waiter);
        switch.commit(waiter.ticket, 0);
        if is_over {
            group.drop_answered(id);
        }
        drop(group);
        machine.changed.notify_all();
        self.until_running(d);
        Some(waiter)
    }

    /// On the way to user mode: whoever was handed the processor, or is more urgent, runs first.
    fn to_user_mode(&self) {
        let mut d = self.machine.dispatcher.lock().unwrap();
        let cpu = d.running_on(self.index).unwrap();
        d.yield_current(cpu);
        self.reschedule(d, cpu);
    }
}

/// Starts thread `index` of the machine.
fn start<R: Send + 'static>(
    machine: &Arc<Machine>,
    index: u32,
    work: impl FnOnce(&mut Thread) -> R + Send + 'static,
) -> JoinHandle<R> {
    let machine = machine.clone();
    thread::spawn(move || {
        machine.decide(|d| d.make_ready(index));
        let mut thread = Thread { machine: machine.clone(), index, ticket: 0 };
        thread.until_running(machine.dispatcher.lock().unwrap());
        let result = work(&mut thread);
        let mut d = machine.dispatcher.lock().unwrap();
        let cpu = d.running_on(index).unwrap();
        d.exit_current(cpu);
        d.schedule(cpu);
        d.remove_thread(index);
        machine.changed.notify_all();
        result
    })
}

/// Runs the idle loops beside `work`, then sees that nothing is left in the group but what its connections keep.
fn with_idle(machine: &Arc<Machine>, work: impl FnOnce()) {
    let idle: Vec<_> = (0..CPUS)
        .map(|cpu| {
            let machine = machine.clone();
            thread::spawn(move || machine.idle(cpu))
        })
        .collect();
    work();
    {
        // Under the lock that the idle loops look under, so that none misses it.
        let _d = machine.dispatcher.lock().unwrap();
        *machine.over.lock().unwrap() = true;
        machine.changed.notify_all();
    }
    for loops in idle {
        loops.join().unwrap();
    }
}

/// Lets a deadline come at some time, once.
fn timer(machine: &Arc<Machine>) -> JoinHandle<()> {
    let machine = machine.clone();
    thread::spawn(move || {
        for _ in 0..thread_rng().gen_range(0..4) {
            thread::yield_now();
        }
        machine.decide(|d| d.expire(SOON));
    })
}

fn check(iterations: usize, scenario: fn()) {
    shuttle::check_random(scenario, iterations);
    shuttle::check_pct(scenario, iterations, 3);
}

/// A reply and a time-out of the same request: the server's reply succeeds if and only if the client has the answer.
fn reply_against_time_out() {
    let machine = Machine::new(2);
    let connection = machine.connection();
    with_idle(&machine, || {
        let server = start(&machine, 0, |me| {
            let (id, data) = me.receive()?;
            me.reply(id, Data(!data.0), false)
        });
        let client = start(&machine, 1, move |me| me.request(connection, Data(5), SOON, true));
        let timer = timer(&machine);
        timer.join().unwrap();
        // If the time had not begun to run, it passes now or is not needed.
        machine.decide(|d| d.expire(SOON));
        let outcome = loop_until(&machine, client);
        machine.group.lock().unwrap().close_connection_port(&mut machine.fx());
        match server.join().unwrap() {
            Ok(()) => assert_eq!(outcome, Outcome::Answer(Data(!5))),
            Err(_) => assert_eq!(outcome, Outcome::Status(STATUS_TIMEOUT)),
        }
    });
}

/// Joins a thread whose deadline may come later than the timer thread looked.
fn loop_until<R>(machine: &Arc<Machine>, thread: JoinHandle<R>) -> R {
    let late = machine.clone();
    let done = Arc::new(Mutex::new(false));
    let end = done.clone();
    let again = thread::spawn(move || {
        while !*end.lock().unwrap() {
            late.decide(|d| d.expire(SOON));
            thread::yield_now();
        }
    });
    let result = thread.join().unwrap();
    *done.lock().unwrap() = true;
    again.join().unwrap();
    result
}

/// Two threads answer the same request: one is heard.
fn two_repliers() {
    let machine = Machine::new(3);
    let connection = machine.connection();
    with_idle(&machine, || {
        let received = Arc::new(Mutex::new(None));
        let tell = received.clone();
        let first = start(&machine, 0, move |me| {
            let (id, _) = me.receive().unwrap();
            *tell.lock().unwrap() = Some(id);
            me.reply(id, Data(10), false)
        });
        let second = start(&machine, 1, move |me| {
            loop {
                let id = *received.lock().unwrap();
                match id {
                    Some(id) => return me.reply(id, Data(11), false),
                    None => me.to_user_mode(),
                }
                thread::yield_now();
            }
        });
        let client = start(&machine, 2, move |me| me.request(connection, Data(1), NEVER, true));
        let outcome = client.join().unwrap();
        match (first.join().unwrap(), second.join().unwrap()) {
            (Ok(()), Err(STATUS_MESSAGE_NOT_FOUND)) => assert_eq!(outcome, Outcome::Answer(Data(10))),
            (Err(STATUS_MESSAGE_NOT_FOUND), Ok(())) => assert_eq!(outcome, Outcome::Answer(Data(11))),
            other => panic!("{other:?}"),
        }
    });
}

/// The sender is ended while the server answers, or while nobody does.
fn reply_against_kill() {
    let machine = Machine::new(2);
    let connection = machine.connection();
    with_idle(&machine, || {
        let server = start(&machine, 0, |me| {
            let (id, data) = me.receive()?;
            me.reply(id, Data(!data.0), false)
        });
        let client = start(&machine, 1, move |me| me.request(connection, Data(5), NEVER, true));
        let killer = {
            let machine = machine.clone();
            thread::spawn(move || machine.decide(|d| d.try_payload(1).is_some().then(|| d.terminate(1))))
        };
        let outcome = client.join().unwrap();
        killer.join().unwrap();
        machine.group.lock().unwrap().close_connection_port(&mut machine.fx());
        match server.join().unwrap() {
            Ok(()) => assert_eq!(outcome, Outcome::Answer(Data(!5))),
            Err(_) => assert_eq!(outcome, Outcome::Status(STATUS_THREAD_IS_TERMINATING)),
        }
    });
}

/// The port closes under a server that waits and clients that wait or are about to.
fn close_against_wait() {
    let machine = Machine::new(3);
    let connection = machine.connection();
    with_idle(&machine, || {
        let server = start(&machine, 0, |me| {
            let mut next = me.receive();
            while let Ok((id, data)) = next {
                next = me.reply_and_receive(id, Data(!data.0), true);
            }
            next
        });
        let clients: Vec<_> = (1..3)
            .map(|index| start(&machine, index, move |me| me.request(connection, Data(index), NEVER, true)))
            .collect();
        let closer = {
            let machine = machine.clone();
            thread::spawn(move || {
                machine.group.lock().unwrap().close_connection_port(&mut machine.fx());
            })
        };
        for (index, client) in (1..3).zip(clients) {
            let outcome = client.join().unwrap();
            let good = [Outcome::Answer(Data(!index)), Outcome::Status(STATUS_PORT_DISCONNECTED)];
            assert!(good.contains(&outcome), "{outcome:?}");
        }
        closer.join().unwrap();
        assert!(server.join().unwrap().is_err());
    });
}

/// Clients of two servers, each request and answer the short way or the long one by chance: everyone has its own
/// answers.
fn hand_overs() {
    const REQUESTS: u32 = 3;
    let machine = Machine::new(4);
    let connection = machine.connection();
    with_idle(&machine, || {
        let servers: Vec<_> = (0..2)
            .map(|index| {
                start(&machine, index, |me| {
                    let mut next = me.receive();
                    while let Ok((id, data)) = next {
                        next = me.reply_and_receive(id, Data(!data.0), thread_rng().r#gen());
                    }
                })
            })
            .collect();
        let clients: Vec<_> = (2..4)
            .map(|index| {
                start(&machine, index, move |me| {
                    for number in 0..REQUESTS {
                        let data = Data(index << 8 | number);
                        let outcome = me.request(connection, data, NEVER, thread_rng().r#gen());
                        assert_eq!(outcome, Outcome::Answer(Data(!data.0)));
                        me.to_user_mode();
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        machine.group.lock().unwrap().close_connection_port(&mut machine.fx());
        for server in servers {
            server.join().unwrap();
        }
    });
}

#[test]
fn a_reply_and_a_time_out_agree() {
    check(800, reply_against_time_out);
}

#[test]
fn one_of_two_repliers_is_heard() {
    check(800, two_repliers);
}

#[test]
fn a_reply_and_a_death_agree() {
    check(800, reply_against_kill);
}

#[test]
fn a_port_that_closes_wakes_everyone() {
    check(800, close_against_wait);
}

#[test]
fn every_hand_over_arrives() {
    check(500, hand_overs);
}
