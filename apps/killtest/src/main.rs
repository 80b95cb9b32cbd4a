//! Things end at bad moments: clients, servers, threads and handles go while others wait for them, memory and tables run
//! out. Whoever waits comes back, no answer reaches the wrong one, nothing is lost.
//!
//! `killtest [SEED=1] [ROUNDS=4]`: random kills by the seed, then races between threads. `killtest limits`: programs that take
//! all they can get. `killtest storm [SEED=1] [CLIENTS=1000] [KILLS=40]`: a thousand clients of one server. `killtest hold SEED ROUNDS` leaves what hangs as it is, for the debug console. With another word it
//! is one of the programs that this one starts and kills.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod broker;
mod client;
mod kills;
mod limits;
mod races;
mod server;
mod storm;
mod wire;

use libnt::prelude::*;
use testkit::{Counters, Test};

libnt::main!(main);

/// Frames and heap blocks that servers may still have taken.
const SLACK: u64 = 40;

fn main() -> NtResult<u32> {
    let arguments: Vec<&str> = env::args().collect();
    let number = |at: usize, default: u64| {
        match arguments.get(at) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| {
            println!("usage: killtest [SEED=1] [ROUNDS=4] | killtest limits | killtest storm [SEED=1] [CLIENTS=1000] [KILLS=40] | killtest hold SEED ROUNDS");
            STATUS_INVALID_PARAMETER
        }),
    }
    };
    match arguments.first() {
        Some(&"server") => server::run(number(1, 1)?).map(|()| 0),
        Some(&"client") => client::run(number(1, 1)?),
        Some(&"limits") => limits(),
        Some(&"storm") => storm(number(1, 1)?, number(2, 1000)?, number(3, 40)?),
        Some(&"storm-client") => storm::clients(number(1, 0)?, number(2, 1)?, number(3, 1)?),
        Some(&"hold") => all(number(1, 1)?, number(2, 4)?, true),
        Some(role) if limits::ROLES.contains(role) => limits::child(role).map(|()| 0),
        _ => all(number(0, 1)?, number(1, 4)?, false),
    }
}

fn all(seed: u64, rounds: u64, hold: bool) -> NtResult<u32> {
    let mut test = Test::new("killtest");
    // Once to warm up, then with the kernel's counters watched.
    kills::run(&mut test, seed ^ 0xAAAA, rounds.min(2), hold)?;
    if hold {
        return Ok(test.finish());
    }
    races::run(&mut test, seed ^ 0xAAAA)?;
    let before = Counters::settled()?;
    kills::run(&mut test, seed, rounds, hold)?;
    races::run(&mut test, seed)?;
    before.must_return(&mut test, SLACK);
    Ok(test.finish())
}

fn storm(seed: u64, clients: u64, kills: u64) -> NtResult<u32> {
    let mut test = Test::new("killtest storm");
    storm::run(&mut test, seed, clients.clamp(1, 4000) as usize, kills)?;
    Ok(test.finish())
}

fn limits() -> NtResult<u32> {
    let mut test = Test::new("killtest limits");
    limits::run(&mut test)?;
    let before = Counters::settled()?;
    limits::run(&mut test)?;
    before.must_return(&mut test, SLACK);
    Ok(test.finish())
}
