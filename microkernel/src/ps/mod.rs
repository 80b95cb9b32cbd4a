//! Processes and threads.

pub mod ids;
pub mod process;
pub mod thread;
