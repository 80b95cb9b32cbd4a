//! ALPC: messages, attributes, connection ports and connections.
//!
//! * [`Message`] is a PORT_MESSAGE with its payload, on the heap or in an array.
//! * [`Attributes`] holds what goes with a message besides its payload.
//! * [`PortSection`] and [`PortView`] are memory that messages show to their receivers.
//! * [`ConnectionPort`] is the server's side: it receives everything, replies, accepts and refuses.
//! * [`Port`] is the client's side: a connection, or a server-object handle, which is used in the same way but needs no
//!   connection.
//! * [`helpers`] are ntdll's functions on attribute buffers, for 32-bit and 64-bit programs.
//! * [`security`] has what a server may know of its clients, and clients of servers.
//!
//! Typed messages are in [`crate::rpc`].

mod alertable;
pub mod attributes;
pub mod helpers;
mod list;
mod message;
mod port;
mod section;
pub mod security;
mod zone;

pub use attributes::Attributes;
pub use list::{CompletionList, ListMessage};
pub use message::{MAX_WORDS, Message};
pub use port::{Connect, ConnectionPort, Port, request};
pub use section::{PortSection, PortView};
