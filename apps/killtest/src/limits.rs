//! Programs that take all they can get: memory, threads, handles, ports, messages, sections. Each is refused with a clear
//! status, and when it is gone everything is back.

use core::time::Duration;
use libnt::abi::ob::PORT_CONNECT;
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::memory::Pages;
use libnt::prelude::*;
use libnt::process::{self, Command};
use libnt::section::Section;
use libnt::sys::calls;
use libnt::thread;
use testkit::Test;

/// What a child takes.
pub const ROLES: [&str; 9] = [
    "commit",
    "touch",
    "threads",
    "events",
    "ports",
    "objects",
    "sections",
    "datagrams",
    "handles-in-messages",
];
/// More of anything than there can be.
const NEVER: usize = 1 << 22;
/// Nothing here takes so long unless it hangs.
const LONG: Duration = Duration::from_secs(60);

/// Every kind once, one after the other; then two at once.
pub fn run(test: &mut Test) -> NtResult {
    for role in ROLES {
        let child = process::spawn(env::image(), &[role])?;
        let status = child.wait_for(LONG)?;
        test.equal(format_args!("a program that takes {role}"), status, Some(STATUS_SUCCESS));
        if status.is_none() {
            child.terminate(STATUS_CANCELLED)?;
            child.wait()?;
        }
        // Everything works afterwards.
        test.check("a program after it", quick_child()? == STATUS_SUCCESS);
    }
    Ok(())
}

fn quick_child() -> NtResult<NtStatus> {
    Command::new("hello").spawn()?.wait()
}

/// Takes until it is refused: the status must be one that says so.
fn take<T>(mut one: impl FnMut() -> NtResult<T>) -> NtResult {
    // The list has its room before the memory is gone.
    let mut taken: Vec<T> = Vec::with_capacity(1 << 16);
    for _ in 0..NEVER {
        match one() {
            Ok(thing) if taken.len() < taken.capacity() => taken.push(thing),
            Ok(thing) => core::mem::forget(thing),
            Err(STATUS_QUOTA_EXCEEDED) if !taken.is_empty() => return Ok(()),
            Err(status) => return Err(status),
        }
    }
    Err(STATUS_UNSUCCESSFUL)
}

/// A child in a role.
pub fn child(role: &str) -> NtResult {
    match role {
        "commit" => take(|| Pages::allocate(1 << 20)),
        "touch" => take(|| {
            let mut pages = Pages::allocate(1 << 18)?;
            pages.bytes_mut().chunks_mut(4096).for_each(|page| page[0] = 1);
            Ok(pages)
        }),
        "threads" => {
            let handle = Event::notification(false)?;
            take(|| {
                let event = handle.handle();
                // They end with the process.
                thread::spawn(move || calls::wait_one(event, false, None))
            })
        }
        "events" => take(|| Event::notification(false)),
        "ports" => take(ConnectionPort::create),
        "objects" => {
            let port = ConnectionPort::create()?;
            take(|| port.create_object(1, 1, 1))
        }
        "sections" => take(|| {
            let section = Section::create(1 << 16)?;
            let view = section.map(0, 1 << 16, libnt::abi::mm::PAGE_READWRITE)?;
            for page in 0..16 {
                view.write(page * 4096, &[1]);
            }
            Ok((section, view))
        }),
        _ => flood(role == "handles-in-messages"),
    }
}

/// Datagrams to a port that nobody receives on.
fn flood(handles: bool) -> NtResult {
    let server = ConnectionPort::create()?;
    let connect = duplicate(server.handle(), Some(PORT_CONNECT))?;
    let client = thread::spawn(move || {
        Port::connect_to::<Box<[u64]>>(connect.raw(), &libnt::alpc::Connect::default(), None)
    })?;
    let (mut message, mut attributes) = (Message::new(512), Attributes::new());
    server.receive(&mut message, &mut attributes, None)?;
    let accepted = server.accept(&message, 1)?;
    let client = client.join()??;
    take(|| {
        let mut message = Message::<[u64; 69]>::fixed();
        message.set_length(512)?;
        if handles {
            let event = Event::notification(false)?;
            client.datagram(&mut message, Some(&mut Attributes::passing(event.handle(), None)))
        } else {
            client.datagram(&mut message, None)
        }
    })?;
    drop(accepted);
    Ok(())
}
