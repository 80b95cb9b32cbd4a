//! One supervised process.

use abi::status::{NtStatus, STATUS_SUCCESS};
use alloc::string::ToString;
use alloc::vec::Vec;
use libnt::OwnedHandle;
use libnt::process::Process;
use libnt::rpc::Token;
use proto::smss::{SM_ALL_ACCESS, SM_BOOT_MARK, SM_QUERY, SM_REGISTER, SM_SHUTDOWN, ServerInfo, ServerState};
use smss::backoff::Backoff;

/// What is known of a supervised program before it runs.
#[derive(Debug)]
pub struct Program {
    /// Name of its boot module.
    pub name: &'static str,
    /// Access of its session object.
    pub session_access: u32,
    /// Base priority.
    pub priority: i32,
    /// Without it there is no system to use.
    pub essential: bool,
}

/// The core servers, in the order of their start.
pub const SERVERS: [Program; 3] = [
    Program { name: "objmgr", session_access: SM_QUERY | SM_REGISTER, priority: 12, essential: true },
    Program { name: "console", session_access: SM_QUERY | SM_REGISTER, priority: 12, essential: true },
    Program {
        name: "kd",
        session_access: SM_QUERY | SM_REGISTER | SM_SHUTDOWN,
        priority: 13,
        essential: false,
    },
];

/// The shell.
pub const SHELL: Program = Program {
    name: "cmd",
    session_access: SM_QUERY | SM_SHUTDOWN | SM_BOOT_MARK,
    priority: abi::ps::NORMAL_PRIORITY,
    essential: true,
};

const _: () = assert!(SHELL.session_access & !SM_ALL_ACCESS == 0);

/// A supervised process and what it registered.
#[derive(Debug)]
pub struct Child {
    /// What it is.
    pub program: &'static Program,
    /// The present instance.
    pub process: Option<Process>,
    /// Its process id.
    pub process_id: u64,
    /// Number of the present instance, in the context of its session object.
    pub instance: u64,
    /// State.
    pub state: ServerState,
    /// When to start it, while it waits (system time).
    pub due: i64,
    /// Record of its ends.
    pub backoff: Backoff,
    /// Times it was started again.
    pub restarts: u32,
    /// Exit status of the last instance that ended.
    pub last_status: NtStatus,
    /// What clients are given, with which access.
    pub root: Option<(OwnedHandle, u32)>,
    /// Clients that wait for it.
    pub waiting: Vec<Token>,
}

impl Child {
    /// A program that waits to be started.
    pub fn new(program: &'static Program) -> Self {
        Self {
            program,
            process: None,
            process_id: 0,
            instance: 0,
            state: ServerState::Waiting,
            due: 0,
            backoff: Backoff::default(),
            restarts: 0,
            last_status: STATUS_SUCCESS,
            root: None,
            waiting: Vec::new(),
        }
    }

    /// An instance runs now.
    pub fn started(&mut self, process: Process, instance: u64, now: i64) {
        self.process_id = process.id().unwrap_or(0);
        self.process = Some(process);
        self.instance = instance;
        self.state = ServerState::Starting;
        self.backoff.started(now);
    }

    /// The instance ended: what it registered is void.
    pub fn ended(&mut self, status: NtStatus, now: i64) {
        self.process = None;
        self.process_id = 0;
        self.instance = 0;
        self.last_status = status;
        self.root = None;
        self.state = ServerState::Waiting;
        self.due = self.backoff.ended(now);
        self.restarts = self.restarts.saturating_add(1);
    }

    /// What is told of it.
    pub fn info(&self) -> ServerInfo {
        ServerInfo {
            name: self.program.name.to_string(),
            process_id: self.process_id,
            state: self.state,
            restarts: self.restarts,
            last_status: self.last_status.0,
        }
    }
}
