//! What the kernel does for the debug console: reads on its behalf, and a reduced console of its own.
//!
//! * [`memory`] reads any address without faulting; [`query`] answers NtSystemDebugControl;
//! * [`stop`] stops all processors (`.break`), and [`console`] then answers on the debug console's serial line, as it does
//!   after a bugcheck; [`show`] and [`alpc`] print there; [`stack`] walks stacks.
//!
//! The reduced console allocates nothing and waits for no lock: what it finds locked it says so of. Nothing here runs
//! unless a debugger asks or the system has crashed.

pub mod alpc;
pub mod console;
pub mod line;
pub mod memory;
pub mod query;
pub mod show;
pub mod stack;
pub mod stop;
