//! Programs: in the foreground and in the background.

use crate::FAILED;
use abi::arg::Handle;
use libnt::event::Event;
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::process::{Command, Process};
use libnt::{NtResult, rpc, session, wait};
use proto::console::{CONSOLE_READ, SetControlEvent};
use proto::smss::SM_QUERY;

/// The shell's state.
pub struct Shell {
    /// Set by Ctrl-C; absent when the console does not tell.
    interrupt: Option<Event>,
    /// Standard input as programs get it: without the control of the console.
    stdin: Option<OwnedHandle>,
    /// Status to end with, once `exit` was typed.
    pub ending: Option<NtStatus>,
}

impl Shell {
    /// A shell on this process's streams.
    pub fn new() -> Self {
        let stdin = env::standard().stdin;
        let interrupt = Event::synchronization(false).ok().filter(|event| {
            let attach = rpc::Attach::same(event.handle());
            rpc::call_on(stdin, SetControlEvent {}, Some(attach)).is_ok()
        });
        Self { interrupt, stdin: duplicate(stdin, Some(CONSOLE_READ)).ok(), ending: None }
    }

    /// Starts a program; what goes wrong is said.
    fn start(&self, name: &str, arguments: &[String]) -> Result<Process, NtStatus> {
        let mut command = Command::new(name);
        for argument in arguments {
            command.argument(argument);
        }
        let standard = env::standard();
        let stdin = self.stdin.as_ref().map_or(Handle::NULL, OwnedHandle::raw);
        command.streams(stdin, standard.stdout, standard.stderr);
        // Ending the system is the shell's business.
        command.session(session::handle(), Some(SM_QUERY));
        command.spawn().map_err(|status| match status {
            STATUS_OBJECT_NAME_NOT_FOUND | STATUS_OBJECT_PATH_NOT_FOUND => {
                println!("'{name}' is not recognized as a command or program");
                FAILED
            }
            status => {
                println!("{name}: {status}");
                status
            }
        })
    }

    /// Runs a program in the foreground; answers its exit status. Ctrl-C ends it.
    pub fn run(&self, name: &str, arguments: &[String]) -> NtStatus {
        if let Some(interrupt) = &self.interrupt {
            // A Ctrl-C from before does not concern this program.
            let _ = interrupt.reset();
        }
        let process = match self.start(name, arguments) {
            Ok(process) => process,
            Err(status) => return status,
        };
        self.wait(&process).unwrap_or_else(|status| {
            println!("{name}: {status}");
            status
        })
    }

    fn wait(&self, process: &Process) -> NtResult<NtStatus> {
        if let Some(interrupt) = &self.interrupt
            && wait::any(&[process.handle(), interrupt.handle()], None)? == Some(1)
        {
            // It may be ending already; then its own status counts.
            let _ = process.terminate(STATUS_CONTROL_C_EXIT);
        }
        process.wait()
    }

    /// Starts a program in the background.
    pub fn start_background(&self, name: &str, arguments: &[String]) -> NtStatus {
        match self.start(name, arguments) {
            Ok(process) => {
                println!("[{}] {name}", process.id().unwrap_or(0));
                STATUS_SUCCESS
            }
            Err(status) => status,
        }
    }
}
