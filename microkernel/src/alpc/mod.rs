//! ALPC in the kernel: port objects around the state machine of [`antares_core::alpc`], and the operations on them.
//!
//! [`group`] holds what is behind one connection port; [`port`] the objects that handles refer to; [`message`] bodies
//! and their way from and to user memory; [`attributes`] what goes with them besides the payload: [`passing`] handles, [`section`] and
//! [`view`] memory, [`direct`] and [`behalf`]; [`later`] what must follow when a message goes; [`ops`] sending, receiving, connecting; [`fastpath`] the short way of small
//! requests and replies between threads that wait, through their [`landing`]es; [`zone`] memory for payloads that wait; [`per_port`] what groups find by a port's role; [`completion`] ports that post to I/O completion objects, [`list`] their messages in shared memory.

pub mod attributes;
pub mod behalf;
pub mod completion;
pub mod connecting;
pub mod context;
pub mod direct;
pub mod fastpath;
pub mod group;
pub mod landing;
pub mod later;
pub mod list;
pub mod message;
pub mod ops;
pub mod passing;
pub mod per_port;
pub mod port;
pub mod route;
pub mod section;
pub mod security;
pub mod view;
pub mod zone;
