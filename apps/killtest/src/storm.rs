//! A thousand clients, connected at once to one server, while clients, servers and threads on both sides are killed at
//! random. In the end everyone comes back, nobody has had a wrong answer, and nothing is left.
//!
//! `killtest storm [SEED=1] [CLIENTS=1000] [KILLS=40]`. The clients are threads of a few processes; a server that is
//! killed is followed by another, of which the broker tells. What is killed and what each client does comes from the
//! seed; the scheduling does not.

use crate::broker::{BROKER, Broker, Link};
use crate::client;
use crate::server::{kill, wrong};
use crate::wire::*;
use core::sync::atomic::Ordering;
use core::time::Duration;
use libnt::abi::ob::{EVENT_MODIFY_STATE, ObjectType, PORT_CONNECT, SYNCHRONIZE};
use libnt::alpc::{Connect, ConnectionPort, Port};
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::process::{Command, Process};
use libnt::thread::{self, JoinHandle};
use libnt::time::sleep;
use libnt::{info, wait};
use testkit::{Counters, Random, Test};

/// Threads of a client process.
const THREADS: usize = 40;
/// Nothing here takes so long unless it hangs.
const LONG: Duration = Duration::from_secs(240);
const KILLED: NtStatus = STATUS_CANCELLED;
/// Extra handle: set when all is over.
const STOP: &str = "stop";

/// The storm, checked.
pub fn run(test: &mut Test, seed: u64, clients: usize, kills: u64) -> NtResult {
    // A short one to warm up: the kernel's tables do not shrink.
    storm(test, seed ^ 0xAAAA, clients, 4)?;
    let before = Counters::settled()?;
    storm(test, seed, clients, kills)?;
    before.must_return(test, crate::SLACK);
    Ok(())
}

/// The controller's side.
struct Storm {
    seed: u64,
    random: Random,
    broker: Broker,
    wrong: Event,
    worked: Event,
    stop: Event,
    calm: Event,
}

fn storm(test: &mut Test, seed: u64, clients: usize, kills: u64) -> NtResult {
    let mut storm = Storm {
        seed,
        random: Random::new(seed),
        broker: Broker::start(clients)?,
        wrong: Event::notification(false)?,
        worked: Event::notification(false)?,
        stop: Event::notification(false)?,
        calm: Event::notification(false)?,
    };
    let mut server = storm.server()?;
    let groups: Vec<(usize, usize)> =
        (0..clients).step_by(THREADS).map(|first| (first, THREADS.min(clients - first))).collect();
    let mut processes = Vec::new();
    for group in &groups {
        processes.push(storm.clients(*group)?);
    }
    if !storm.all_connected(test, clients)? {
        return Ok(());
    }
    storm.calm.set()?;
    storm.broker.let_go();
    for _ in 0..kills {
        sleep(Duration::from_micros(storm.random.below(20_000) as u64));
        if storm.random.below(5) == 0 {
            let new = storm.server()?;
            let old = core::mem::replace(&mut server, new);
            end(test, "the server before it is killed", &old)?;
        } else {
            let victim = storm.random.below(groups.len());
            let new = storm.clients(groups[victim])?;
            end(test, "clients before they are killed", &core::mem::replace(&mut processes[victim], new))?;
        }
    }
    sleep(Duration::from_micros(storm.random.below(20_000) as u64));
    storm.broker.set_over();
    storm.stop.set()?;
    end(test, "the last server", &server)?;
    let mut hangs = false;
    for (process, group) in processes.iter().zip(&groups) {
        let status = process.wait_for(LONG)?;
        hangs |= !test.equal(format_args!("clients from {}", group.0), status, Some(STATUS_SUCCESS));
    }
    test.check("nobody saw anything wrong", !wait::one(storm.wrong.handle(), Some(Duration::ZERO))?);
    if hangs {
        test.fail(format_args!("with seed {seed}"));
        for process in &processes {
            let _ = process.terminate(KILLED);
        }
    }
    let answers = storm.broker.end()?;
    test.check("clients had answers", answers > clients as u64 / 4);
    println!("killtest: {clients} clients, {kills} kills, {answers} answers to those who lived");
    Ok(())
}

/// Kills a process that runs.
fn end(test: &mut Test, what: &str, process: &Process) -> NtResult {
    test.equal(what, process.exit_status(), Ok(STATUS_PENDING));
    process.terminate(KILLED)?;
    test.equal("the end of what is killed", process.wait_for(LONG)?, Some(KILLED));
    Ok(())
}

impl Storm {
    /// A new server, which the broker names from now on.
    fn server(&mut self) -> NtResult<Process> {
        let ready = Event::notification(false)?;
        let port = ConnectionPort::create()?;
        let server = Command::new(env::image())
            .argument("server")
            .argument(&format!("{}", self.random.number() >> 8))
            .give(PORT, port.handle(), None, [0; 4])
            .give(WRONG, self.wrong.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
            .give(READY, ready.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
            .give(CALM, self.calm.handle(), Some(SYNCHRONIZE), [0; 4])
            .spawn()?;
        // From now on the port lives as long as the server.
        let connect = duplicate(port.handle(), Some(PORT_CONNECT))?;
        drop(port);
        wait::any(&[ready.handle(), server.handle()], Some(LONG))?;
        self.broker.set_server(connect);
        Ok(server)
    }

    /// A process of clients: the first one's number, and how many.
    fn clients(&mut self, (first, count): (usize, usize)) -> NtResult<Process> {
        let life = self.random.number() >> 40;
        Command::new(env::image())
            .argument("storm-client")
            .argument(&format!("{first}"))
            .argument(&format!("{count}"))
            .argument(&format!("{}", self.seed.wrapping_mul(1_000_003).wrapping_add(life) >> 1))
            .give(BROKER, self.broker.handle(), Some(PORT_CONNECT), [0; 4])
            .give(WRONG, self.wrong.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
            .give(WORKED, self.worked.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
            .give(STOP, self.stop.handle(), Some(SYNCHRONIZE), [0; 4])
            .give(CALM, self.calm.handle(), Some(SYNCHRONIZE), [0; 4])
            .spawn()
    }

    /// Waits until all clients have had an answer and are connected at the same time.
    fn all_connected(&self, test: &mut Test, clients: usize) -> NtResult<bool> {
        // As long as more and more come, nobody hangs.
        let (mut last, mut still) = (0, 0);
        while last < clients && still < 1200 {
            sleep(Duration::from_millis(50));
            let now = self.broker.ready();
            still = if now == last { still + 1 } else { 0 };
            last = now;
        }
        let ports = info::counters()?.objects[ObjectType::AlpcPort as usize];
        let all = test.equal("clients that are connected at once", last, clients);
        Ok(all & test.check("each has its two ports", ports >= 2 * clients as u64))
    }
}

/// A process of clients, `count` from `first` on: threads that talk, and this one, which kills and replaces them.
pub fn clients(first: u64, count: u64, seed: u64) -> NtResult<u32> {
    let link: &'static Link = Box::leak(Box::new(Link::new()?));
    let stop = env::extra(STOP).ok_or(STATUS_INVALID_HANDLE)?.handle;
    let calm = env::extra(CALM).ok_or(STATUS_INVALID_HANDLE)?.handle;
    let mut random = Random::new(seed);
    let start = |number: u64, random: &mut Random| -> NtResult<JoinHandle<()>> {
        let seed = random.number();
        thread::spawn(move || {
            if let Err(status) = talk(link, number, seed) {
                wrong(status);
            }
        })
    };
    let mut threads = Vec::new();
    for number in first..first + count {
        threads.push(start(number, &mut random)?);
    }
    while !wait::one(stop, Some(Duration::from_micros(random.below(40_000) as u64)))? {
        if wait::one(calm, Some(Duration::ZERO))? {
            let victim = random.below(threads.len());
            kill(&threads[victim])?;
            if !wait::one(threads[victim].handle(), Some(LONG))? {
                wrong(STATUS_IO_TIMEOUT);
            }
            threads[victim] = start(first + victim as u64, &mut random)?;
        }
    }
    for thread in threads {
        wait::one(thread.handle(), None)?;
    }
    link.total(client::ANSWERS.load(Ordering::Relaxed))?;
    Ok(0)
}

/// A client's life: server after server, until all is over. It may be killed anywhere.
fn talk(link: &Link, number: u64, seed: u64) -> NtResult {
    let mut random = Random::new(seed);
    let me = thread::current_id();
    let mut count = 0;
    let mut ready = false;
    while let Some(port) = link.server(number)? {
        let timeout =
            (ready && random.below(8) == 0).then(|| Duration::from_micros(random.below(500) as u64));
        let mut hello = Small::fixed();
        Words::new(me.unique_process, me.unique_thread, count, ECHO, 0).write(&mut hello)?;
        let connect = Connect { timeout, ..Connect::default() };
        let connection = match Port::connect_to(port.raw(), &connect, Some(&mut hello)) {
            Ok(connection) => connection,
            Err(STATUS_TIMEOUT | STATUS_PORT_CONNECTION_REFUSED | STATUS_PORT_DISCONNECTED) => {
                sleep(Duration::from_micros(random.below(3000) as u64));
                continue;
            }
            Err(status) => return Err(status),
        };
        if !ready {
            count += 1;
            let words = Words::new(me.unique_process, me.unique_thread, count, ECHO, random.number());
            match client::echo(&connection, words) {
                Ok(()) => {}
                Err(STATUS_PORT_DISCONNECTED) => continue,
                Err(status) => return Err(status),
            }
            ready = true;
            link.ready(number)?;
        }
        for _ in 0..random.below(100) {
            count += 1;
            let words = Words::new(me.unique_process, me.unique_thread, count, ECHO, random.number());
            match client::step(&connection, words, &mut random) {
                Ok(()) | Err(STATUS_TIMEOUT) => {}
                Err(STATUS_PORT_DISCONNECTED) => break,
                Err(status) => return Err(status),
            }
        }
        if random.below(4) == 0 {
            match connection.disconnect() {
                Ok(()) | Err(STATUS_PORT_DISCONNECTED) => {}
                Err(status) => return Err(status),
            }
        }
    }
    Ok(())
}
