//! objmgr: the server that owns the name space.
//!
//! It has no authority but its session object. It makes NT's initial tree, gives smss a full handle on the root
//! directory, and then answers requests on the directory and link handles that it mints. Named kernel objects are kept
//! by name handles, which do not keep the objects open: when the last other handle is closed, the kernel says so and the
//! name goes.
//!
//! Map: [`service`] answers requests; [`named`] keeps named kernel objects; the tree itself is this crate's library.

#![no_std]
#![no_main]
#![deny(unsafe_code)]

extern crate alloc;

mod named;
mod service;

use abi::ob::DIRECTORY_ALL_ACCESS;
use libnt::alpc::ConnectionPort;
use libnt::rpc::Server;
use libnt::{NtResult, session};
use objmgr::access::WORLD_READ;
use objmgr::namespace::{ROOT, SYSTEM_OWNER};
use service::ObjectManager;

libnt::main!(main);

fn main() -> NtResult<()> {
    let mut server = Server::new(ConnectionPort::create()?);
    let mut service = ObjectManager::new(objmgr::tree::initial()?);
    let root = service.mint(&server, ROOT, DIRECTORY_ALL_ACCESS, SYSTEM_OWNER)?;
    session::register_server(root.raw(), WORLD_READ)?;
    drop(root);
    server.run(&mut service)
}
