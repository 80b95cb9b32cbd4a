//! Random kills: clients and servers end in the middle of their talk; whoever is left must come back.

use crate::wire::*;
use core::time::Duration;
use libnt::abi::ob::{EVENT_MODIFY_STATE, PORT_CONNECT};
use libnt::alpc::ConnectionPort;
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::process::{Command, Process};
use libnt::time::sleep;
use libnt::wait;
use testkit::{Random, Test};

const CLIENTS: usize = 4;
/// Nothing here takes so long unless it hangs.
const LONG: Duration = Duration::from_secs(60);
/// The status of what is killed.
const KILLED: NtStatus = STATUS_CANCELLED;

/// Rounds of random kills.
pub fn run(test: &mut Test, seed: u64, rounds: u64, hold: bool) -> NtResult {
    for round in 0..rounds {
        let mut random = Random::new(seed.wrapping_mul(1000).wrapping_add(round));
        if !one(test, &mut random, hold)? {
            test.fail(format_args!("in round {round} of seed {seed}"));
            break;
        }
    }
    Ok(())
}

/// One server's life. False when somebody hangs.
fn one(test: &mut Test, random: &mut Random, hold: bool) -> NtResult<bool> {
    let wrong = Event::notification(false)?;
    let ready = Event::notification(false)?;
    let worked = Event::notification(false)?;
    let (server, port) = {
        let port = ConnectionPort::create()?;
        let server = Command::new(env::image())
            .argument("server")
            .argument(&format!("{}", random.number() >> 8))
            .give(PORT, port.handle(), None, [0; 4])
            .give(WRONG, wrong.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
            .give(READY, ready.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
            .spawn()?;
        // From now on the port lives as long as the server.
        (server, duplicate(port.handle(), Some(PORT_CONNECT))?)
    };
    wait::any(&[ready.handle(), server.handle()], Some(LONG))?;
    let start = |random: &mut Random| {
        Command::new(env::image())
            .argument("client")
            .argument(&format!("{}", random.number() >> 8))
            .give(PORT, port.raw(), Some(PORT_CONNECT), [0; 4])
            .give(WRONG, wrong.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
            .give(WORKED, worked.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
            .spawn()
    };
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(start(random)?);
    }
    test.check("clients are answered", wait::one(worked.handle(), Some(LONG))?);
    for _ in 0..random.below(12) {
        sleep(Duration::from_micros(random.below(20_000) as u64));
        let victim = random.below(CLIENTS);
        let new = if random.below(2) == 0 { Some(start(random)?) } else { None };
        clients[victim].terminate(KILLED)?;
        if !ended(test, "a killed client", &clients[victim], KILLED)? {
            return Ok(false);
        }
        match new {
            Some(new) => clients[victim] = new,
            None => clients[victim] = start(random)?,
        }
    }
    sleep(Duration::from_micros(random.below(20_000) as u64));
    test.equal("the server before it is killed", server.exit_status(), Ok(STATUS_PENDING));
    server.terminate(KILLED)?;
    let mut all = ended(test, "the killed server", &server, KILLED)?;
    for client in &clients {
        all &= ended(test, "a client when its server is gone", client, STATUS_SUCCESS)?;
    }
    let saw = wait::one(wrong.handle(), Some(Duration::ZERO))?;
    test.check("nobody saw anything wrong", !saw);
    if !hold {
        for client in &clients {
            let _ = client.terminate(KILLED);
            client.wait()?;
        }
    }
    Ok(all)
}

fn ended(test: &mut Test, what: &str, process: &Process, expected: NtStatus) -> NtResult<bool> {
    let status = process.wait_for(LONG)?;
    test.equal(what, status, Some(expected));
    Ok(status.is_some())
}
