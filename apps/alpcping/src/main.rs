//! Messages between two processes: `alpcping [COUNT] [SIZE]`.
//!
//! The client starts itself a second time as the server, connects to the server's port by name, sends COUNT
//! synchronous requests of SIZE bytes, each with other contents, and checks every reply: id, type, length, contents.

#![no_std]
#![no_main]

extern crate alloc;

use core::time::Duration;
use libnt::abi::alpc::{LPC_CONNECTION_REQUEST, LPC_PORT_CLOSED, LPC_REPLY, LPC_REQUEST};
use libnt::abi::ob::EVENT_MODIFY_STATE;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::process::{self, Command, Process};
use libnt::proto::MAX_PAYLOAD;

libnt::main!(main);

const DEFAULT_COUNT: usize = 1000;
const DEFAULT_SIZE: usize = 32;
/// The request's number, and in a reply the id that the server saw.
const MIN_SIZE: usize = 16;
/// How long the server may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// Name of the extra handle by which the server says that its port is there.
const READY: &str = "ready";

fn main() -> NtStatus {
    let arguments: Vec<&str> = env::args().collect();
    let result = match arguments[..] {
        ["--server", name] => serve(name),
        [] => client(DEFAULT_COUNT, DEFAULT_SIZE),
        [count] => number(count).and_then(|count| client(count, DEFAULT_SIZE)),
        [count, size] => number(count).and_then(|count| client(count, number(size)?)),
        _ => Err(STATUS_INVALID_PARAMETER),
    };
    match result {
        Ok(()) => STATUS_SUCCESS,
        Err(STATUS_INVALID_PARAMETER) => {
            eprintln!(
                "usage: alpcping [COUNT={DEFAULT_COUNT}] [SIZE={DEFAULT_SIZE}], SIZE from {MIN_SIZE} to {MAX_PAYLOAD}"
            );
            STATUS_INVALID_PARAMETER
        }
        Err(status) => {
            eprintln!("alpcping: {status}");
            status
        }
    }
}

fn number(text: &str) -> NtResult<usize> {
    text.parse().map_err(|_| STATUS_INVALID_PARAMETER)
}

/// Writes the contents of request `index`: its number, then bytes that depend on number and place.
fn fill(payload: &mut [u8], index: u64) {
    payload[..8].copy_from_slice(&index.to_le_bytes());
    payload[8..MIN_SIZE].fill(0);
    for (place, byte) in payload.iter_mut().enumerate().skip(MIN_SIZE) {
        *byte = (index as usize).wrapping_mul(31).wrapping_add(place.wrapping_mul(7)) as u8;
    }
}

/// The server's answer: every byte inverted, and the message id that the server saw.
fn answer(payload: &mut [u8], message_id: u32) {
    payload.iter_mut().for_each(|byte| *byte = !*byte);
    payload[8..12].copy_from_slice(&message_id.to_le_bytes());
}

fn client(count: usize, size: usize) -> NtResult {
    if !(MIN_SIZE..=MAX_PAYLOAD).contains(&size) {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let name = format!("\\RPC Control\\alpcping-{}", process::current_id());
    let server = start_server(&name)?;
    let result = measure(&name, count, size);
    match server.wait_for(PATIENCE)? {
        Some(STATUS_SUCCESS) => {}
        Some(status) => {
            eprintln!("alpcping: the server ended with {status}");
            return result.and(Err(status));
        }
        None => {
            server.terminate(STATUS_TIMEOUT)?;
            return result.and(Err(STATUS_IO_TIMEOUT));
        }
    }
    result
}

/// Starts the server and waits until its port is there.
fn start_server(name: &str) -> NtResult<Process> {
    let ready = Event::notification(false)?;
    let server = Command::new(env::image())
        .argument("--server")
        .argument(name)
        .give(READY, ready.handle(), Some(EVENT_MODIFY_STATE), [0; 4])
        .spawn()?;
    match libnt::wait::any(&[ready.handle(), server.handle()], Some(PATIENCE))? {
        Some(0) => Ok(server),
        Some(_) => Err(server.exit_status()?),
        None => {
            server.terminate(STATUS_TIMEOUT)?;
            Err(STATUS_IO_TIMEOUT)
        }
    }
}

fn measure(name: &str, count: usize, size: usize) -> NtResult {
    let port = Port::connect(name)?;
    let mut message = Message::new(size);
    let (begin, frequency) = libnt::sys::calls::performance_counter()?;
    for index in 0..count as u64 {
        round_trip(&port, &mut message, index, size)?;
    }
    let (end, _) = libnt::sys::calls::performance_counter()?;
    let ticks = end.abs_diff(begin).max(1);
    let per_second = 2 * count as u128 * u128::from(frequency.unsigned_abs()) / u128::from(ticks);
    println!("{count} round trips, {per_second} messages per second");
    Ok(())
}

/// Sends one request and checks its reply.
fn round_trip(port: &Port, message: &mut Message, index: u64, size: usize) -> NtResult {
    message.set_length(size)?;
    fill(&mut message.room()[..size], index);
    // Without a time-out, which the fast path does not take; a server that goes is told of.
    port.request(message, None, None)?;
    let header = message.header();
    let mut expected = vec![0; size];
    fill(&mut expected, index);
    answer(&mut expected, header.message_id);
    let wrong = if header.kind() != LPC_REPLY {
        "type"
    } else if usize::from(header.data_length) != size || usize::from(header.total_length) != size + 0x28 {
        "length"
    } else if header.message_id == 0 {
        "id"
    } else if message.payload() != expected {
        "contents"
    } else {
        return Ok(());
    };
    eprintln!("alpcping: reply {index} has the wrong {wrong}: {header:?}");
    Err(STATUS_REPLY_MESSAGE_MISMATCH)
}

/// Answers one client until it closes its port.
fn serve(name: &str) -> NtResult {
    let port = ConnectionPort::create_named(name)?;
    if let Some(ready) = env::extra(READY) {
        libnt::sys::calls::set_event(ready.handle)?;
    }
    let mut message = Message::new(MAX_PAYLOAD);
    let mut attributes = Attributes::new();
    let mut connection = None;
    let mut is_there = port.receive(&mut message, &mut attributes, Some(PATIENCE))?;
    while is_there {
        let header = message.header();
        match header.kind() {
            LPC_CONNECTION_REQUEST if connection.is_none() => connection = Some(port.accept(&message, 1)?),
            LPC_CONNECTION_REQUEST => port.refuse(&message)?,
            LPC_REQUEST if message.payload().len() >= MIN_SIZE => {
                let length = message.payload().len();
                answer(&mut message.room()[..length], header.message_id);
                message.set_length(length)?;
                message.set_reply_to(header.message_id);
                port.exchange(&mut message, None)?;
                continue;
            }
            LPC_PORT_CLOSED => return Ok(()),
            _ => return Err(STATUS_INVALID_MESSAGE),
        }
        is_there = port.receive(&mut message, &mut attributes, Some(PATIENCE))?;
    }
    Err(STATUS_IO_TIMEOUT)
}
