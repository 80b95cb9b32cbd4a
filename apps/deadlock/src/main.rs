//! Starts two processes that ask each other and so wait for ever, and leaves them so: for trying `!wait` in the debug
//! console.
//!
//! Each of the two has a port. The first connects to the second's and the second to the first's; then each sends a request
//! on its connection and blocks until an answer comes, which neither of them is there to give.

#![no_std]
#![no_main]

extern crate alloc;

use core::time::Duration;
use libnt::abi::alpc::{LPC_CONNECTION_REQUEST, LPC_REQUEST};
use libnt::abi::ob::EVENT_MODIFY_STATE;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::process::{self, Command};
use libnt::{info, time};

libnt::main!(main);

/// How long the other one may take to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// Name of the extra handle by which the second one says that its port is there.
const READY: &str = "ready";

fn main() -> NtResult {
    let arguments: Vec<&str> = env::args().collect();
    match arguments[..] {
        [] => start(),
        ["--first"] => first(),
        ["--second", first] => second(first),
        _ => {
            eprintln!("usage: deadlock");
            Err(STATUS_INVALID_PARAMETER)
        }
    }
}

fn name(process: impl core::fmt::Display) -> String {
    format!("\\RPC Control\\deadlock-{process}")
}

/// Starts the two and waits until each waits for the other.
fn start() -> NtResult {
    let first = process::spawn(env::image(), &["--first"])?;
    let id = first.id()?;
    let latest = time::system_time() + PATIENCE.as_micros() as i64 * 10;
    while time::system_time() < latest {
        if unanswered(id)? == 2 {
            println!("Two processes wait for each other; end them with taskkill /IM deadlock.");
            return Ok(());
        }
        if first.exit_status()? != STATUS_PENDING {
            return Err(first.exit_status()?);
        }
        time::sleep(Duration::from_millis(10));
    }
    first.terminate(STATUS_TIMEOUT)?;
    Err(STATUS_IO_TIMEOUT)
}

/// Requests that lie in the queues of the process's and its child's ports, with their senders blocked.
fn unanswered(first: u64) -> NtResult<usize> {
    let list = process::list()?;
    let is_one = |id: u32| {
        list.iter().map(|process| &process.information).any(|information| {
            information.unique_process_id == u64::from(id)
                && (information.unique_process_id == first
                    || information.inherited_from_unique_process_id == first)
        })
    };
    let ports = info::ports()?;
    let of_one = |port: u32| ports.iter().any(|p| p.port == port && is_one(p.owner_process));
    let messages = info::messages()?;
    let asked = messages.iter().filter(|message| {
        message.queue == 1
            && message.message_type & 0xFF == u32::from(LPC_REQUEST)
            && message.waiting_thread != 0
            && of_one(message.queue_port)
    });
    Ok(asked.count())
}

fn first() -> NtResult {
    let own = ConnectionPort::create_named(&name(process::current_id()))?;
    let ready = Event::notification(false)?;
    let second = Command::new(env::image())
        .argument("--second")
        .argument(&process::current_id().to_string())
        .give(READY, ready.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
        .spawn()?;
    match libnt::wait::any(&[ready.handle(), second.handle()], Some(PATIENCE))? {
        Some(0) => {}
        Some(_) => return Err(second.exit_status()?),
        None => return Err(STATUS_IO_TIMEOUT),
    }
    let to_second = Port::connect(&name(second.id()?))?;
    accept(&own)?;
    ask(&to_second)
}

fn second(first: &str) -> NtResult {
    let own = ConnectionPort::create_named(&name(process::current_id()))?;
    let ready = env::extra(READY).ok_or(STATUS_INVALID_PARAMETER)?;
    libnt::sys::calls::set_event(ready.handle)?;
    accept(&own)?;
    ask(&Port::connect(&name(first))?)
}

/// Lets the next client in. The connection stays for as long as the process.
fn accept(port: &ConnectionPort) -> NtResult {
    let mut message = Message::new(0);
    if !port.receive(&mut message, &mut Attributes::new(), Some(PATIENCE))? {
        return Err(STATUS_IO_TIMEOUT);
    }
    if message.header().kind() != LPC_CONNECTION_REQUEST {
        return Err(STATUS_INVALID_MESSAGE);
    }
    core::mem::forget(port.accept(&message, 1)?);
    Ok(())
}

fn ask(port: &Port) -> NtResult {
    let mut message = Message::new(16);
    message.set_payload(b"Are you there?")?;
    port.request(&mut message, None, None)
}
