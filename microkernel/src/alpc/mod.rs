//! ALPC in the kernel: port objects around the state machine of [`antares_core::alpc`], and the operations on them.
//!
//! [`group`] holds what is behind one connection port; [`port`] the objects that handles refer to; [`message`] bodies
//! and their way from and to user memory; [`ops`] sending, receiving, connecting.

pub mod group;
pub mod message;
pub mod ops;
pub mod port;
