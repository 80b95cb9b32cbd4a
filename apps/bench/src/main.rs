//! bench: what the basic operations cost, in guest instructions (the time-stamp counter counts them under `-icount`).
//!
//! Each result is a line `BENCH <name> <instructions>`, the mean over many runs after a warm-up. The program starts itself
//! as the other process: `--serve` answers messages, `--exit` ends at once.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

use abi::alpc::{LPC_CONNECTION_REQUEST, LPC_PORT_CLOSED, LPC_REQUEST};
use libnt::alpc::{Attributes, ConnectionPort, Message, Port, request};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::process::{Command, spawn};
use libnt::sys::calls;
use libnt::time::tsc;
use libnt::{NtResult, info, session, wait};

libnt::main!(main);

/// Name of the server's port.
const PORT: &str = "\\RPC Control\\bench";
/// Name of the event that says that the port is there.
const READY: &str = "ready";
/// Bytes of payload.
const PAYLOAD: usize = 32;
/// A header and the payload, in words.
type Words = [u64; 5 + PAYLOAD / 8];

fn main() -> NtResult {
    match env::args().next() {
        None => {
            report("null_syscall", null_syscall());
            report("alpc_rt_32", alpc_round_trip()?);
            report("process_create_exit", process_create_exit()?);
            match boot_to_prompt()? {
                Some(instructions) => report("boot_to_prompt", instructions),
                None => println!("bench: no shell has shown a prompt yet"),
            }
            Ok(())
        }
        Some("--serve") => serve(),
        Some("--exit") => Ok(()),
        Some(_) => {
            println!("usage: bench");
            Err(STATUS_INVALID_PARAMETER)
        }
    }
}

fn report(name: &str, instructions: u64) {
    println!("BENCH {name} {instructions}");
}

/// Mean of the instructions of `work`, after a tenth of the runs as a warm-up.
fn measure<E>(runs: u64, mut work: impl FnMut() -> Result<(), E>) -> Result<u64, E> {
    for _ in 0..runs / 10 {
        work()?;
    }
    let start = tsc();
    for _ in 0..runs {
        work()?;
    }
    Ok((tsc() - start) / runs)
}

fn null_syscall() -> u64 {
    let Ok(mean) = measure(20_000, || {
        calls::current_processor();
        Ok::<_, core::convert::Infallible>(())
    });
    mean
}

fn alpc_round_trip() -> NtResult<u64> {
    let ready = Event::notification(false)?;
    let server =
        Command::new("bench").argument("--serve").give(READY, ready.handle(), None, [0; 4]).spawn()?;
    if wait::any(&[ready.handle(), server.handle()], None)? == Some(1) {
        return Err(server.exit_status()?);
    }
    let port = Port::connect(PORT)?;
    let mut message = Message::<Words>::fixed();
    let mean = measure(5_000, || {
        message.set_payload(&[0x5A; PAYLOAD])?;
        request(port.handle(), &mut message, None, None)
    })?;
    drop(port);
    server.wait()?;
    Ok(mean)
}

/// Answers one client until it is gone.
fn serve() -> NtResult {
    let port = ConnectionPort::create_named(PORT)?;
    if let Some(ready) = env::extra(READY) {
        calls::set_event(ready.handle)?;
    }
    let mut message = Message::<Words>::fixed();
    port.receive(&mut message, &mut Attributes::new(), None)?;
    let mut connection = None;
    loop {
        match message.header().kind() {
            LPC_CONNECTION_REQUEST => {
                connection = Some(port.accept(&message, 1)?);
                port.receive(&mut message, &mut Attributes::new(), None)?;
            }
            LPC_REQUEST => {
                let id = message.header().message_id;
                message.set_length(PAYLOAD)?;
                message.set_reply_to(id);
                port.exchange(&mut message, None)?;
            }
            LPC_PORT_CLOSED => {
                drop(connection);
                return Ok(());
            }
            _ => {
                port.receive(&mut message, &mut Attributes::new(), None)?;
            }
        }
    }
}

fn process_create_exit() -> NtResult<u64> {
    measure(100, || spawn("bench", &["--exit"])?.wait().map(drop))
}

/// From kernel entry to the first prompt.
fn boot_to_prompt() -> NtResult<Option<u64>> {
    let boot = info::counters()?.tsc_boot;
    Ok(session::query_boot_mark()?.map(|mark| mark.saturating_sub(boot)))
}
