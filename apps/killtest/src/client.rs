//! A client process: threads that connect, ask, send and pass handles in a random order until the server is gone.

use crate::server::wrong;
use crate::wire::*;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::alpc::{Attributes, Connect, Port};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::sys::{alpc_control, calls};
use libnt::thread;
use testkit::Random;

const THREADS: u64 = 3;
/// Refusals in a row that do not come from a server that lives.
const MANY: u32 = 30;

/// Runs until the server is gone; 0 when all was as it must be.
pub fn run(seed: u64) -> NtResult<u32> {
    let port = env::extra(PORT).ok_or(STATUS_INVALID_HANDLE)?.handle;
    let mut threads = Vec::new();
    for number in 0..THREADS {
        threads.push(thread::spawn(move || talk(port, seed + number))?);
    }
    let mut failed = 0;
    for thread in threads {
        if let Err(status) = thread.join()? {
            wrong(status);
            failed = 1;
        }
    }
    Ok(failed)
}

/// Connects again and again until there is nothing to connect to.
fn talk(port: Handle, seed: u64) -> NtResult {
    let mut random = Random::new(seed);
    let me = thread::current_id();
    let mut number = 0;
    let mut refused = 0;
    loop {
        let mut hello = Small::fixed();
        Words::new(me.unique_process, me.unique_thread, number, ECHO, 0).write(&mut hello)?;
        let timeout = (random.below(8) == 0).then(|| Duration::from_micros(random.below(500) as u64));
        let connect = Connect { timeout, ..Connect::default() };
        let connection = match Port::connect_to(port, &connect, Some(&mut hello)) {
            Ok(connection) => connection,
            Err(STATUS_TIMEOUT) => continue,
            // A server that lives refuses some; a port without a server all.
            Err(STATUS_PORT_CONNECTION_REFUSED | STATUS_PORT_DISCONNECTED) if refused < MANY => {
                refused += 1;
                continue;
            }
            Err(STATUS_PORT_CONNECTION_REFUSED | STATUS_PORT_DISCONNECTED) => return Ok(()),
            Err(status) => return Err(status),
        };
        refused = 0;
        for _ in 0..random.below(60) {
            number += 1;
            let words = Words::new(me.unique_process, me.unique_thread, number, ECHO, random.number());
            match step(&connection, words, &mut random) {
                Ok(()) | Err(STATUS_TIMEOUT) => {}
                Err(STATUS_PORT_DISCONNECTED) => break,
                Err(status) => return Err(status),
            }
        }
    }
}

/// Right answers that this process had.
pub static ANSWERS: AtomicU64 = AtomicU64::new(0);

/// Asks and waits for as long as it takes.
pub fn echo(connection: &Port, words: Words) -> NtResult {
    let mut message = Small::fixed();
    words.write(&mut message)?;
    connection.request(&mut message, None, None)?;
    right(&message, words)
}

/// Is it the answer to these words?
fn right(message: &Small, words: Words) -> NtResult {
    if message.header().kind() != LPC_REPLY || Words::read(message) != Some(words.answer()) {
        println!("killtest: {words:x?} was answered {:x?} {:?}", Words::read(message), message.header());
        return Err(STATUS_REPLY_MESSAGE_MISMATCH);
    }
    ANSWERS.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn ask(port: Handle, words: Words, attributes: &mut Attributes, random: &mut Random) -> NtResult {
    let mut message = Small::fixed();
    words.write(&mut message)?;
    let timeout = (random.below(8) == 0).then(|| Duration::from_micros(random.below(300) as u64));
    libnt::alpc::request(port, &mut message, Some(attributes), timeout)?;
    right(&message, words)?;
    match env::extra(WORKED) {
        Some(event) => calls::set_event(event.handle).map(drop),
        None => Err(STATUS_INVALID_HANDLE),
    }
}

/// Asks, and is cancelled instead of answered.
fn ask_in_vain(port: Handle, words: Words) -> NtResult {
    let mut message = Small::fixed();
    words.write(&mut message)?;
    libnt::alpc::request(port, &mut message, None, None)?;
    let header = message.header();
    if header.kind() == LPC_CANCELED && header.data_length == 0 {
        Ok(())
    } else {
        Err(STATUS_INVALID_MESSAGE)
    }
}

/// Asks without waiting, and perhaps cancels that by its id, or all that was sent with its context.
fn ask_and_cancel(connection: &Port, words: Words, random: &mut Random) -> NtResult {
    let context = random.below(3) as u64 + 1;
    let mut message = Small::fixed();
    words.write(&mut message)?;
    let message_id = connection.send_request(&mut message, context)?;
    let named = AlpcContextAttr { message_id, message_context: context, ..AlpcContextAttr::default() };
    let flags = match random.below(6) {
        0 => 0,
        1 => ALPC_CANCELFLG_TRY_CANCEL,
        2 => ALPC_CANCELFLG_FLUSH,
        3 => ALPC_CANCELFLG_FLUSH | ALPC_CANCELFLG_TRY_CANCEL,
        _ => return Ok(()),
    };
    match alpc_control::cancel_message(connection.handle(), flags, &named) {
        // Answered or cancelled by the server already.
        Ok(_) | Err(STATUS_MESSAGE_NOT_FOUND) => Ok(()),
        Err(status) => Err(status),
    }
}

/// Takes what has come to the port: answers to what was asked without waiting, and notices that it was cancelled.
fn drain(connection: &Port) -> NtResult {
    let me = thread::current_id();
    let mut message = Small::fixed();
    while connection.receive(&mut message, None, Some(Duration::ZERO))? {
        let header = message.header();
        match header.kind() {
            LPC_CANCELED if header.data_length == 0 => {}
            LPC_REPLY => {
                let asked = Words::read(&message).map(Words::answer).ok_or(STATUS_INVALID_MESSAGE)?;
                if asked.0[..2] != [me.unique_process, me.unique_thread] {
                    return Err(STATUS_REPLY_MESSAGE_MISMATCH);
                }
            }
            LPC_PORT_CLOSED => return Err(STATUS_PORT_DISCONNECTED),
            _ => return Err(STATUS_INVALID_MESSAGE),
        }
    }
    Ok(())
}

/// Does something or other.
pub fn step(connection: &Port, mut words: Words, random: &mut Random) -> NtResult {
    match random.below(20) {
        0..=1 => {
            let event = Event::notification(false)?;
            let mut message = Small::fixed();
            words.write(&mut message)?;
            connection.datagram(&mut message, Some(&mut Attributes::passing(event.handle(), None)))
        }
        2..=3 => {
            let mut message = Small::fixed();
            words.write(&mut message)?;
            connection.datagram(&mut message, None)
        }
        4..=5 => {
            words.0[3] = OBJECT;
            let mut attributes = Attributes::new();
            ask(connection.handle(), words, &mut attributes, random)?;
            let object = attributes.take_handle().ok_or(STATUS_INVALID_HANDLE)?;
            words.0[3] = ECHO;
            for _ in 0..random.below(4) {
                ask(object.raw(), words, &mut Attributes::new(), random)?;
            }
            Ok(())
        }
        6 if random.below(4) == 0 => {
            words.0[3] = HANG_UP;
            ask(connection.handle(), words, &mut Attributes::new(), random)
        }
        7 => {
            let event = Event::notification(false)?;
            let mut attributes = Attributes::passing(event.handle(), None);
            ask(connection.handle(), words, &mut attributes, random)
        }
        8 => {
            calls::yield_execution();
            Ok(())
        }
        9..=10 => {
            words.0[3] = if random.below(3) == 0 { CANCEL } else { ECHO };
            ask_and_cancel(connection, words, random)?;
            drain(connection)
        }
        11 => {
            words.0[3] = CANCEL;
            ask_in_vain(connection.handle(), words)
        }
        _ => ask(connection.handle(), words, &mut Attributes::new(), random),
    }
}
