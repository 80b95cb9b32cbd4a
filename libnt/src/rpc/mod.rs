//! Typed messages: clients and servers of the protocols in [`proto`].
//!
//! * [`call_on`] makes one call on a handle (a connection or a server object); [`Client`] keeps the handle and gets a new
//!   one when the server was restarted.
//! * [`Server`] with a [`Service`] is a server's loop.

mod client;
mod server;

pub(crate) use client::pauses;
pub use client::{Attach, Client, call_on, call_within};
pub use server::{Answer, Caller, Origin, Server, Service, Token};
