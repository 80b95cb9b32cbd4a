//! The server process: some threads that receive on one port, and a first thread that kills and replaces them.
//!
//! A thread that can be killed anywhere must not allocate, and owns nothing but numbers in the tables here.

use crate::wire::*;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::alpc::{Attributes, ConnectionPort};
use libnt::prelude::*;
use libnt::sys::{alpc_control, calls};
use libnt::thread::{self, JoinHandle};
use libnt::time::sleep;
use libnt::wait;
use testkit::Random;

const THREADS: usize = 3;
const CONNECTIONS: usize = 2048;
const OBJECT_TYPE: u32 = 0x4B;

/// Handles of accepted connections, by their context less one.
static ACCEPTED: [AtomicU64; CONNECTIONS] = [const { AtomicU64::new(0) }; CONNECTIONS];

/// Serves until it is killed.
pub fn run(seed: u64) -> NtResult {
    let port = env::extra(PORT).ok_or(STATUS_INVALID_HANDLE)?.handle;
    let mut random = Random::new(seed);
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        threads.push(start(port, random.number())?);
    }
    calls::set_event(env::extra(READY).ok_or(STATUS_INVALID_HANDLE)?.handle)?;
    if let Some(calm) = env::extra(CALM) {
        wait::one(calm.handle, None)?;
    }
    loop {
        sleep(Duration::from_micros(random.below(12_000) as u64));
        let victim = random.below(THREADS);
        let new = start(port, random.number())?;
        kill(&core::mem::replace(&mut threads[victim], new))?;
    }
}

fn start(port: Handle, seed: u64) -> NtResult<JoinHandle<()>> {
    thread::spawn(move || {
        if let Err(status) = serve(port, seed) {
            wrong(status);
        }
    })
}

/// Ends a thread from outside: one that may be killed anywhere, as the module head says.
#[expect(unsafe_code, reason = "the threads here hold no lock and lend nothing")]
pub fn kill<T>(thread: &JoinHandle<T>) -> NtResult {
    // SAFETY: see the module head.
    match unsafe { calls::terminate_thread(thread.handle(), STATUS_CANCELLED) } {
        Ok(()) | Err(STATUS_THREAD_IS_TERMINATING) => Ok(()),
        Err(status) => Err(status),
    }
}

/// Tells the controller that something happened that must not.
pub fn wrong(status: NtStatus) {
    println!("killtest: process {} saw {status}", libnt::process::current_id());
    if let Some(event) = env::extra(WRONG) {
        let _ = calls::set_event(event.handle);
    }
}

fn serve(port: Handle, seed: u64) -> NtResult {
    let port = core::mem::ManuallyDrop::new(ConnectionPort::from_handle(OwnedHandle::new(port)));
    let mut random = Random::new(seed);
    loop {
        let (mut message, mut attributes) = (Small::fixed(), Attributes::new());
        port.receive(&mut message, &mut attributes, None)?;
        let header = message.header();
        let context = attributes.context().unwrap_or_default();
        drop(attributes.take_handle());
        match header.kind() {
            LPC_CONNECTION_REQUEST if random.below(16) == 0 => ignore(port.refuse(&message))?,
            LPC_CONNECTION_REQUEST => accept(&port, &message)?,
            LPC_REQUEST => answer(&port, &message, &context)?,
            LPC_PORT_CLOSED => hang_up(context.port_context),
            LPC_DATAGRAM if header.message_type & LPC_CONTINUATION_REQUIRED != 0 => {
                answer(&port, &message, &context)?;
            }
            LPC_DATAGRAM => drop(check(&message)?),
            // Its client cancelled what a thread here holds, or held when it was killed.
            LPC_CANCELED if header.data_length == 0 => {}
            LPC_OBJECT_CLOSED => {}
            _ => return Err(STATUS_INVALID_MESSAGE),
        }
    }
}

/// Who asked may be gone by now.
fn ignore(result: NtResult) -> NtResult {
    match result {
        Err(
            STATUS_REQUEST_CANCELED
            | STATUS_MESSAGE_NOT_FOUND
            | STATUS_PORT_DISCONNECTED
            | STATUS_INVALID_MESSAGE,
        ) => Ok(()),
        other => other,
    }
}

fn accept(port: &ConnectionPort, message: &Small) -> NtResult {
    // The table says whether a place is taken: u64::MAX is a handle that is on its way.
    let free = ACCEPTED
        .iter()
        .position(|at| at.compare_exchange(0, u64::MAX, Ordering::SeqCst, Ordering::SeqCst).is_ok());
    let Some(place) = free else { return ignore(port.refuse(message)) };
    match port.accept(message, place as u64 + 1) {
        Ok(accepted) => {
            let handle = accepted.into_handle().into_raw().0;
            let taken =
                ACCEPTED[place].compare_exchange(u64::MAX, handle, Ordering::SeqCst, Ordering::SeqCst);
            if taken.is_err() {
                // Its end was told to another thread before the handle was in its place.
                ACCEPTED[place].store(0, Ordering::SeqCst);
                let _ = calls::close(Handle(handle));
            }
            Ok(())
        }
        Err(status) => {
            ACCEPTED[place].store(0, Ordering::SeqCst);
            ignore(Err(status))
        }
    }
}

const CLOSED_EARLY: u64 = u64::MAX - 1;

fn hang_up(context: u64) {
    let Some(place) = context.checked_sub(1).and_then(|at| ACCEPTED.get(at as usize)) else { return };
    match place.load(Ordering::SeqCst) {
        0 | CLOSED_EARLY => {}
        u64::MAX => {
            if place.compare_exchange(u64::MAX, CLOSED_EARLY, Ordering::SeqCst, Ordering::SeqCst).is_err() {
                hang_up_handle(place.swap(0, Ordering::SeqCst));
            }
        }
        _ => hang_up_handle(place.swap(0, Ordering::SeqCst)),
    }
}

fn hang_up_handle(handle: u64) {
    if handle != 0 && handle < CLOSED_EARLY {
        let _ = calls::close(Handle(handle));
    }
}

/// What the message says must be what the kernel says of its sender.
fn check(message: &Small) -> NtResult<Words> {
    let words = Words::read(message).ok_or(STATUS_INVALID_MESSAGE)?;
    let id = message.header().client_id;
    if [id.unique_process, id.unique_thread] == words.0[..2] {
        Ok(words)
    } else {
        Err(STATUS_REPLY_MESSAGE_MISMATCH)
    }
}

fn answer(port: &ConnectionPort, message: &Small, context: &AlpcContextAttr) -> NtResult {
    let words = check(message)?;
    let [.., verb, object] = words.0;
    if context.message_context >> 32 == u64::from(OBJECT_TYPE) && context.port_context != object {
        return Err(STATUS_CONTEXT_MISMATCH);
    }
    let mut reply = Small::fixed();
    words.answer().write(&mut reply)?;
    reply.set_reply_to(message.header().message_id);
    match verb {
        OBJECT => {
            let minted = port.create_object(object, OBJECT_TYPE, 1)?;
            ignore(port.reply(&mut reply, Some(&mut Attributes::passing(minted.raw(), None))))
        }
        HANG_UP => {
            hang_up(context.port_context);
            Ok(())
        }
        CANCEL => match alpc_control::cancel_message(port.handle(), 0, context) {
            Ok(STATUS_MESSAGE_RETRIEVED) => Ok(()),
            Ok(_) => Err(STATUS_INVALID_MESSAGE),
            Err(status) => ignore(Err(status)),
        },
        _ => ignore(port.reply(&mut reply, None)),
    }
}
