//! The measured loops that need one processor. The server of each is this program again, in a role of [`server`](crate::server).

use crate::measure::measure;
use crate::server::{Server, Words};
use abi::ob::PORT_CONNECT;
use libnt::alpc::{Attributes, Connect, Message, Port, request};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::process::spawn;
use libnt::section::Section;
use libnt::sys::calls;
use libnt::{NtResult, ob, proto};

/// The large payload: the largest that a message carries, 40 bytes short of 64 KiB.
pub const LARGE: usize = proto::MAX_PAYLOAD;
/// Bytes handed over in a section.
pub const SHARED: u64 = 0x1_0000;
/// Messages in a batch of [`batches`].
pub const BATCH: u64 = 64;
/// Name of the server's port.
pub const PORT: &str = "\\RPC Control\\bench";

/// A system call that does nothing.
pub fn null_syscall(runs: u64) -> NtResult<u64> {
    measure(runs, || {
        calls::current_processor();
        Ok(())
    })
}

/// A synchronous request and its reply, both with this payload.
pub fn round_trip(size: usize, runs: u64) -> NtResult<u64> {
    let small = size == 32;
    let _server = Server::start(if small { "echo" } else { "large" }, PORT, None)?;
    let port = Port::connect(PORT)?;
    if small { small_round_trips(&port, runs) } else { round_trips(&port, size, runs) }
}

/// 32 bytes each way, in a buffer on the stack.
#[inline(never)]
pub fn small_round_trips(port: &Port, runs: u64) -> NtResult<u64> {
    let mut message = Message::<Words>::fixed();
    measure(runs, || {
        message.set_payload(&[0x5A; 32])?;
        request(port.handle(), &mut message, None, None)
    })
}

fn round_trips(port: &Port, size: usize, runs: u64) -> NtResult<u64> {
    let mut message = Message::new(size);
    message.room().fill(0x5A);
    measure(runs, || {
        message.set_length(size)?;
        request(port.handle(), &mut message, None, None)
    })
}

/// A round trip whose request passes a handle, which the server closes.
pub fn handle_round_trip(runs: u64) -> NtResult<u64> {
    let event = Event::notification(false)?;
    pass("handles", event.handle(), runs)
}

/// 64 KiB handed over as a section, which the server maps, reads a word per page of, unmaps and closes.
pub fn section(runs: u64) -> NtResult<u64> {
    let section = Section::create(SHARED)?;
    let view = section.map(0, 0, abi::mm::PAGE_READWRITE)?;
    (0..SHARED as usize / 4096).for_each(|page| {
        view.write(page * 4096, &[0x5A]);
    });
    pass("sections", section.handle(), runs)
}

fn pass(role: &str, handle: Handle, runs: u64) -> NtResult<u64> {
    let _server = Server::start(role, PORT, None)?;
    let port = Port::connect(PORT)?;
    let mut message = Message::<Words>::fixed();
    measure(runs, || {
        message.set_payload(&[0x5A; 32])?;
        request(port.handle(), &mut message, Some(&mut Attributes::passing(handle, None)), None)
    })
}

/// A connection to a port whose handle is at hand: request, acceptance, and the ends of both sides.
pub fn connect_close(runs: u64) -> NtResult<u64> {
    let _server = Server::start("listen", PORT, None)?;
    let port = ob::open_port(PORT, PORT_CONNECT)?;
    measure(runs, || Port::connect_to::<Box<[u64]>>(port.raw(), &Connect::default(), None).map(drop))
}

/// The same from the port's name.
pub fn connect_close_by_name(runs: u64) -> NtResult<u64> {
    let _server = Server::start("listen", PORT, None)?;
    measure(runs, || Port::connect(PORT).map(drop))
}

/// Messages without a reply, 32 bytes each, [`BATCH`] sent before the server has its turn; per message. A request ends
/// each batch, so that all of them have been received. `runs` is a number of messages.
pub fn batches(runs: u64) -> NtResult<u64> {
    let _server = Server::start("drain", PORT, None)?;
    let port = Port::connect(PORT)?;
    let mut message = Message::<Words>::fixed();
    let batch = measure(runs.div_ceil(BATCH), || {
        for _ in 1..BATCH {
            message.set_payload(&[0x5A; 32])?;
            port.datagram(&mut message, None)?;
        }
        message.set_payload(&[0x5A; 32])?;
        request(port.handle(), &mut message, None, None)
    })?;
    Ok(batch / BATCH)
}

/// A process from its creation to its end.
pub fn process_create_exit(runs: u64) -> NtResult<u64> {
    measure(runs, || spawn("bench", &["--exit"])?.wait().map(drop))
}
