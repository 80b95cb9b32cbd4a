//! The session manager's protocol.
//!
//! A program talks to smss on the session handle of its parameter block: a server object whose granted access
//! ([`SM_QUERY`] and so on) says what the program may ask. Programs may also connect to `\SmApiPort`, with [`SM_QUERY`]
//! only.

use crate::declare::protocol;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Server type number of session objects.
pub const TYPE_SESSION: u32 = 0x100;

/// Session access: ask for servers and states.
pub const SM_QUERY: u32 = 1;
/// Session access: register a server. Only the servers that smss starts hold it.
pub const SM_REGISTER: u32 = 2;
/// Session access: end the system, restart servers.
pub const SM_SHUTDOWN: u32 = 4;
/// Session access: report the first prompt.
pub const SM_BOOT_MARK: u32 = 8;
/// Session access: everything.
pub const SM_ALL_ACCESS: u32 = 0xF;

/// Where a supervised process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerState {
    /// Started, has not registered yet.
    Starting,
    /// Registered (or, for the shell, running).
    Running,
    /// Ended; it is started again when the back-off time is over.
    Waiting,
    /// Its boot module is missing or damaged, or the system is shutting down.
    Stopped,
}

/// A process that smss supervises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// Name (of its boot module).
    pub name: String,
    /// Process id of the present instance, or 0.
    pub process_id: u64,
    /// State.
    pub state: ServerState,
    /// Times it was started again.
    pub restarts: u32,
    /// Exit status of the last instance that ended (0 when none has).
    pub last_status: u32,
}

protocol! {
    /// The session manager.
    pub Smss = 1 "smss" version 1;

    /// Hands out the handle that a server registered: for `objmgr` the root directory, for `console` and `kd` their root
    /// objects. The handle comes attached. While the server is being restarted the answer is held back.
    idempotent GetServer {
        /// `objmgr`, `console`, `kd`.
        name: String,
    } -> ();

    /// Registers the calling server: the handle attached is what [`GetServer`] hands out. Needs [`SM_REGISTER`].
    idempotent RegisterServer {
        /// Access that [`GetServer`] gives to clients.
        client_access: u32,
    } -> ();

    /// Hands out an event, attached, that is set once objmgr was restarted: who gave names must give them again (and ask
    /// for the next event).
    idempotent WatchNames {} -> ();

    /// Ends a server, which is then started again. Needs [`SM_SHUTDOWN`].
    once Restart {
        /// `objmgr`, `console`, `kd`.
        name: String,
    } -> ();

    /// What smss supervises.
    idempotent ListServers {} -> Vec<ServerInfo>;

    /// Ends the system: programs, then kd, then console, then NtShutdownSystem. Needs [`SM_SHUTDOWN`].
    once Shutdown {
        /// `abi::io::SHUTDOWN_...`
        action: u32,
    } -> ();

    /// The shell shows its first prompt now. Only the first mark counts. Needs [`SM_BOOT_MARK`].
    idempotent BootMark {
        /// Time-stamp counter.
        tsc: u64,
    } -> ();

    /// The time-stamp counter at the first prompt, or 0 when there was none yet.
    idempotent QueryBootMark {} -> u64;
}
