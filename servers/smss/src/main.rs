//! smss: the session manager, the first process.
//!
//! The kernel starts it with a resource for everything and the boot modules. It starts the core servers and gives each the
//! narrow resources it needs and no more, starts the shell under a quota of its own, and from then on supervises: a server
//! that ends is started again, its ports get their names back, and whoever asks for it meanwhile waits.
//!
//! Map: [`machine`] what the kernel gave; [`child`] one supervised process; [`session`] the protocol and the
//! supervision; the library has the parts that run on the host.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod child;
mod machine;
mod session;

use abi::status::{NtStatus, STATUS_INVALID_PARAMETER};
use libnt::alpc::ConnectionPort;
use libnt::rpc::Server;
use libnt::{env, io};
use machine::Machine;
use session::Session;

libnt::main!(main);

fn main() -> NtStatus {
    let Some(initial) = env::initial() else {
        libnt::eprintln!("smss: only the kernel starts smss");
        return STATUS_INVALID_PARAMETER;
    };
    match run(Machine::new(initial)) {
        Ok(()) => abi::status::STATUS_SUCCESS,
        Err(status) => {
            io::log(format_args!("smss: cannot go on: {status}"));
            status
        }
    }
}

fn run(machine: Machine) -> libnt::NtResult {
    let mut server = Server::new(ConnectionPort::create()?);
    let mut session = Session::new(machine)?;
    session.start_servers(&mut server);
    server.run(&mut session)
}
