//! The protocol and the supervision.
//!
//! smss makes a call to a server only after that server registered, which a server does as its last act before it
//! serves: so the two never wait for each other. A server that does not answer in time is ended, and so restarted.

use crate::child::{Child, Program, SERVERS, SHELL};
use crate::machine::Machine;
use abi::arg::Handle;
use abi::io::{RESOURCE_POWER, RESOURCE_QUOTA, SHUTDOWN_POWER_OFF};
use abi::ob::*;
use abi::status::*;
use alloc::vec::Vec;
use core::time::Duration;
use libnt::event::Event;
use libnt::process::{Command, Process};
use libnt::rpc::{Answer, Attach, Caller, Origin, Server, Service, Token, call_within};
use libnt::sys::calls;
use libnt::time::system_time;
use libnt::{NtResult, OwnedHandle, info, io, ob, process, thread};
use proto::console;
use proto::smss::*;
use smss::backoff::Backoff;
use smss::limits;

/// Name of smss's own port, as in NT.
const OWN_PORT: &str = "\\SmApiPort";
/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most clients that wait for one server.
const MAX_WAITING: usize = 1024;
/// Rights on the root directory that programs and servers get.
const ROOT_ACCESS: u32 = DIRECTORY_QUERY | DIRECTORY_TRAVERSE | READ_CONTROL;
/// Times that ending programs is tried at shutdown.
const ROUNDS: usize = 100;

const OBJMGR: usize = 0;
const CONSOLE: usize = 1;
const KD: usize = 2;
const CMD: usize = 3;

/// The system is to end.
#[derive(Clone, Copy)]
struct Shutdown {
    action: u32,
    /// Until when to wait for a console that is still starting, so that it can show why.
    latest: i64,
}

impl Shutdown {
    fn new(action: u32) -> Self {
        Self { action, latest: system_time() + PATIENCE.as_micros() as i64 * 10 }
    }
}

/// The session manager.
pub struct Session {
    machine: Machine,
    children: [Child; 4],
    /// Which child each wait object is.
    waited: Vec<usize>,
    /// objmgr registered, and its tree is still to be filled.
    populate: bool,
    /// Set when objmgr's successor has taken over.
    names_lost: Event,
    shutdown: Option<Shutdown>,
    next_instance: u64,
    boot_mark: u64,
    power: OwnedHandle,
    quota: OwnedHandle,
    limits: abi::ps::QuotaLimits,
}

impl Session {
    /// A session in which nothing runs yet.
    pub fn new(machine: Machine) -> NtResult<Self> {
        let power = machine.derive(RESOURCE_POWER, 0, 0)?;
        let quota = machine.derive(RESOURCE_QUOTA, 0, 0)?;
        let limits = limits::programs(info::counters()?.frames_free);
        let [objmgr, console, kd] = &SERVERS;
        Ok(Self {
            machine,
            children: [Child::new(objmgr), Child::new(console), Child::new(kd), Child::new(&SHELL)],
            waited: Vec::new(),
            populate: false,
            names_lost: Event::notification(false)?,
            shutdown: None,
            next_instance: 1,
            boot_mark: 0,
            power,
            quota,
            limits,
        })
    }

    /// Starts every core server that is due.
    pub fn start_servers(&mut self, server: &mut Server) {
        for index in [OBJMGR, CONSOLE, KD] {
            let child = &self.children[index];
            if child.state == ServerState::Waiting && child.due <= system_time() {
                let result = self.start(server, index, |_, _| Ok(()));
                self.started_or_not(server, index, result);
            }
        }
    }

    /// Starts a child; `prepare` adds to its command.
    fn start(
        &mut self,
        server: &Server,
        index: usize,
        prepare: impl FnOnce(&Self, &mut Command) -> NtResult,
    ) -> NtResult {
        let program = self.children[index].program;
        let section = self.machine.module(program.name).ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?;
        let instance = self.next_instance;
        self.next_instance += 1;
        let session = server.create_object(instance, TYPE_SESSION, program.session_access)?;
        let mut command = Command::new(program.name);
        command
            .section(section)
            .session(session.raw(), None)
            .root(Handle::NULL, Some(ROOT_ACCESS))
            .priority(program.priority);
        prepare(self, &mut command)?;
        let resources = self.machine.equip(program.name, &mut command)?;
        let process = command.spawn()?;
        drop(resources);
        self.children[index].started(process, instance, system_time());
        Ok(())
    }

    /// Deals with the outcome of a start: what cannot be started says so, and is given up or tried again.
    fn started_or_not(&mut self, server: &Server, index: usize, result: NtResult) {
        let Err(status) = result else { return };
        let child = &mut self.children[index];
        let name = child.program.name;
        let hopeless = match status {
            STATUS_OBJECT_NAME_NOT_FOUND => {
                io::log(format_args!("smss: boot module {name} is missing"));
                true
            }
            STATUS_INVALID_IMAGE_FORMAT => {
                io::log(format_args!("smss: boot module {name} is damaged: {status}"));
                true
            }
            _ => {
                io::log(format_args!("smss: cannot start {name}: {status}"));
                false
            }
        };
        if !hopeless {
            child.due = child.backoff.ended(system_time());
            return;
        }
        child.state = ServerState::Stopped;
        for token in child.waiting.drain(..) {
            // A client that is gone meanwhile needs no answer.
            let _ = server.answer::<Smss>(token, Answer::Error(STATUS_OBJECT_NAME_NOT_FOUND));
        }
        if child.program.essential {
            io::log(format_args!("smss: the system cannot run without {name}; stopping"));
            self.shutdown = Some(Shutdown::new(SHUTDOWN_POWER_OFF));
        }
    }

    /// True when the shell can be started now.
    fn shell_is_due(&self) -> bool {
        let running = |index: usize| self.children[index].state == ServerState::Running;
        let shell = &self.children[CMD];
        running(OBJMGR)
            && running(CONSOLE)
            && shell.state == ServerState::Waiting
            && shell.due <= system_time()
    }

    /// Starts the shell on streams of the console.
    fn start_shell(&mut self, server: &Server) {
        let streams = self.open_streams();
        let (input, output) = match streams {
            Ok(streams) => streams,
            Err(status) => {
                io::log(format_args!("smss: the console gives no streams: {status}"));
                self.give_up_on(CONSOLE);
                return;
            }
        };
        let result = self.start(server, CMD, |session, command| {
            command
                .streams(input.raw(), output.raw(), output.raw())
                .quota(session.quota.raw(), session.limits);
            Ok(())
        });
        if result.is_ok() {
            self.children[CMD].state = ServerState::Running;
        }
        self.started_or_not(server, CMD, result);
    }

    /// Opens an input and an output stream of the console.
    fn open_streams(&self) -> NtResult<(OwnedHandle, OwnedHandle)> {
        let (root, _) = self.children[CONSOLE].root.as_ref().ok_or(STATUS_PORT_DISCONNECTED)?;
        let open = |stream, access| {
            let ((), handle) =
                call_within(root.raw(), console::Open { stream, access }, None, Some(PATIENCE))?;
            handle.ok_or(STATUS_INVALID_MESSAGE)
        };
        let input = open(console::Stream::Input, console::CONSOLE_READ | console::CONSOLE_CONTROL)?;
        let output = open(console::Stream::Output, console::CONSOLE_WRITE)?;
        Ok((input, output))
    }

    /// Ends a server that does not answer; its end is then dealt with as any other.
    fn give_up_on(&mut self, index: usize) {
        let child = &mut self.children[index];
        child.state = ServerState::Starting;
        if let Some(process) = &child.process {
            // If it is ending already, so much the better.
            let _ = process.terminate(STATUS_IO_TIMEOUT);
        }
    }

    /// Fills objmgr's tree with what smss keeps, the boot modules and its own port, and tells all others who gave names.
    fn populate(&mut self, server: &Server) {
        for (name, section) in self.machine.modules() {
            let path = alloc::format!("\\Device\\BootModules\\{name}");
            self.insert(&path, section, None, OBJ_PERMANENT);
        }
        self.insert(OWN_PORT, server.port().handle(), Some(PORT_CONNECT), 0);
        match Event::notification(false) {
            Ok(next) => {
                let lost = core::mem::replace(&mut self.names_lost, next);
                // Whoever gave names to the objmgr before this one gives them again.
                let _ = lost.set();
            }
            Err(status) => io::log(format_args!("smss: names are not restored: {status}")),
        }
    }

    fn insert(&self, path: &str, object: Handle, access: Option<u32>, attributes: u32) {
        if let Err(status) = ob::insert(path, object, access, attributes) {
            io::log(format_args!("smss: cannot name {path}: {status}"));
        }
    }

    /// Access of the session object that a request came on; connections may ask only.
    fn access(caller: &Caller) -> u32 {
        match caller.origin {
            Origin::Object { access, server_type: TYPE_SESSION, .. } => access,
            _ => SM_QUERY,
        }
    }

    fn require(caller: &Caller, access: u32) -> NtResult {
        if Self::access(caller) & access == access { Ok(()) } else { Err(STATUS_ACCESS_DENIED) }
    }

    /// The running instance that a request comes from.
    fn registrant(&self, caller: &Caller) -> NtResult<usize> {
        Self::require(caller, SM_REGISTER)?;
        let Origin::Object { context, .. } = caller.origin else { return Err(STATUS_ACCESS_DENIED) };
        self.children.iter().position(|child| child.instance == context).ok_or(STATUS_ACCESS_DENIED)
    }

    fn get_server(&mut self, name: &str, token: Token) -> Answer<Reply> {
        let Some(index) = self.children.iter().position(|child| child.program.name == name) else {
            return Answer::Error(STATUS_OBJECT_NAME_NOT_FOUND);
        };
        // One that has ended is as good as restarting. Until its tree is filled, objmgr is not there for others.
        let child = &mut self.children[index];
        let alive = child.process.as_ref().is_some_and(|p| p.exit_status() == Ok(STATUS_PENDING));
        let ready = alive && !(self.populate && index == OBJMGR);
        if let Some((root, access)) = child.root.as_ref().filter(|_| ready) {
            return give_root(root, *access);
        }
        if child.state == ServerState::Stopped || self.shutdown.is_some() || child.program.name == SHELL.name
        {
            return Answer::Error(STATUS_OBJECT_NAME_NOT_FOUND);
        }
        if child.waiting.len() >= MAX_WAITING {
            return Answer::Error(STATUS_INSUFFICIENT_RESOURCES);
        }
        child.waiting.push(token);
        Answer::Later
    }

    fn register_server(
        &mut self,
        server: &Server,
        caller: &Caller,
        client_access: u32,
        root: Option<OwnedHandle>,
    ) -> NtResult {
        let index = self.registrant(caller)?;
        let root = root.ok_or(STATUS_INVALID_PARAMETER)?;
        if index == OBJMGR {
            ob::set_root(root.try_clone()?);
            self.populate = true;
        }
        let child = &mut self.children[index];
        child.root = Some((root, client_access));
        child.state = ServerState::Running;
        if index != OBJMGR {
            self.answer_waiting(server, index);
        }
        Ok(())
    }

    /// Gives a server's root to those who asked before it was there.
    fn answer_waiting(&mut self, server: &Server, index: usize) {
        let child = &mut self.children[index];
        let Some((root, access)) = &child.root else { return };
        for token in child.waiting.drain(..) {
            // A client that is gone meanwhile needs no answer.
            let _ = server.answer::<Smss>(token, give_root(root, *access));
        }
    }

    /// Ends a server; its end is then dealt with as any other.
    fn restart(&self, name: &str) -> NtResult {
        let mut servers = self.children[..CMD].iter();
        let server = servers.find(|child| child.program.name == name).ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?;
        server.process.as_ref().ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?.terminate(STATUS_CANCELLED)
    }

    fn answer(
        &mut self,
        server: &Server,
        caller: &Caller,
        request: Request,
        handle: Option<OwnedHandle>,
    ) -> NtResult<Answer<Reply>> {
        let reply = match request {
            Request::GetServer(r) => {
                Self::require(caller, SM_QUERY)?;
                return Ok(self.get_server(&r.name, caller.token()));
            }
            Request::RegisterServer(r) => {
                self.register_server(server, caller, r.client_access, handle)?;
                Reply::RegisterServer(())
            }
            Request::WatchNames(_) => {
                Self::require(caller, SM_QUERY)?;
                let attach = Attach { handle: self.names_lost.handle(), access: Some(SYNCHRONIZE) };
                return Ok(Answer::Lend(Reply::WatchNames(()), attach));
            }
            Request::Restart(r) => {
                Self::require(caller, SM_SHUTDOWN)?;
                self.restart(&r.name)?;
                Reply::Restart(())
            }
            Request::ListServers(_) => {
                Self::require(caller, SM_QUERY)?;
                Reply::ListServers(self.children.iter().map(Child::info).collect())
            }
            Request::Shutdown(r) => {
                Self::require(caller, SM_SHUTDOWN)?;
                if r.action > SHUTDOWN_POWER_OFF {
                    return Err(STATUS_INVALID_PARAMETER);
                }
                self.shutdown = Some(Shutdown::new(r.action));
                Reply::Shutdown(())
            }
            Request::BootMark(r) => {
                Self::require(caller, SM_BOOT_MARK)?;
                if self.boot_mark == 0 {
                    self.boot_mark = r.tsc;
                }
                Reply::BootMark(())
            }
            Request::QueryBootMark(_) => {
                Self::require(caller, SM_QUERY)?;
                Reply::QueryBootMark(self.boot_mark)
            }
        };
        Ok(Answer::Reply(reply))
    }

    /// True when the system can be ended: its last words can be shown, or there is nobody to show them.
    fn shutdown_is_due(&self, now: i64) -> bool {
        let speechless = self.children[CONSOLE].state == ServerState::Starting;
        self.shutdown.is_some_and(|shutdown| !speechless || now >= shutdown.latest)
    }

    /// Ends everything in order and then the system: programs, kd, console (when all is on the wire).
    fn end(&mut self, action: u32) {
        io::log(format_args!("smss: the system is shutting down"));
        self.end_programs();
        if let Some(process) = &self.children[KD].process {
            let _ = process.terminate(STATUS_SUCCESS);
        }
        if let Some((root, _)) = &self.children[CONSOLE].root {
            // A console that is gone has nothing to flush.
            let _ = call_within(root.raw(), console::Flush {}, None, Some(PATIENCE));
        }
        if let Err(status) = calls::shutdown_system(self.power.raw(), action) {
            io::log(format_args!("smss: the system does not shut down: {status}"));
        }
    }

    /// Ends every process but smss and the core servers, and waits until they are gone.
    fn end_programs(&self) {
        let own = process::current_id();
        let is_core = |id: u64| {
            let servers = &self.children[..CMD];
            id == own || servers.iter().any(|child| child.process_id == id)
        };
        for _ in 0..ROUNDS {
            let mut left = false;
            for program in process::list().unwrap_or_default() {
                let id = program.information.unique_process_id;
                if id == 0 || is_core(id) {
                    continue;
                }
                if let Ok(process) = Process::open(id, PROCESS_TERMINATE) {
                    left = true;
                    // It may be ending already.
                    let _ = process.terminate(STATUS_SUCCESS);
                }
            }
            if !left {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

fn give_root(root: &OwnedHandle, access: u32) -> Answer<Reply> {
    Answer::Lend(Reply::GetServer(()), Attach { handle: root.raw(), access: Some(access) })
}

impl Service for Session {
    type Protocol = Smss;

    fn request(
        &mut self,
        server: &mut Server,
        caller: &Caller,
        request: Request,
        handle: Option<OwnedHandle>,
    ) -> Answer<Reply> {
        self.answer(server, caller, request, handle).unwrap_or_else(Answer::Error)
    }

    fn connect(&mut self, _server: &mut Server, _client: u64, _request: &libnt::alpc::Message) -> bool {
        true
    }

    fn wait_objects(&mut self, objects: &mut Vec<Handle>) {
        self.waited.clear();
        for (index, child) in self.children.iter().enumerate() {
            if let Some(process) = &child.process {
                objects.push(process.handle());
                self.waited.push(index);
            }
        }
    }

    fn signalled(&mut self, _server: &mut Server, index: usize) {
        let Some(&index) = self.waited.get(index) else { return };
        let child = &mut self.children[index];
        let status = child.process.as_ref().map_or(Ok(STATUS_SUCCESS), Process::exit_status);
        let status = status.unwrap_or(STATUS_UNSUCCESSFUL);
        let Program { name, .. } = child.program;
        if index == CMD && status == STATUS_SUCCESS {
            // Somebody typed `exit`, which is no failure.
            child.backoff = Backoff::default();
        }
        child.ended(status, system_time());
        let delay = (child.due - system_time()).max(0) / 10_000;
        io::log(format_args!("smss: {name} ended with {status}; starting it again in {delay} ms"));
        if index == OBJMGR {
            ob::clear_root();
            self.populate = false;
        }
    }

    fn timeout(&mut self) -> Option<Duration> {
        let now = system_time();
        let waiting = self.children.iter().filter(|child| child.state == ServerState::Waiting);
        let starts = waiting.map(|child| child.due);
        let end = self.shutdown.map(|shutdown| shutdown.latest);
        let due = starts.chain(end).filter(|due| *due > now).min()?;
        Some(Duration::from_nanos((due - now) as u64 * 100))
    }

    fn has_work(&self) -> bool {
        let now = system_time();
        let due = |child: &Child| child.state == ServerState::Waiting && child.due <= now;
        self.shutdown_is_due(now)
            || self.populate
            || self.children[..CMD].iter().any(due)
            || self.shell_is_due()
    }

    fn work(&mut self, server: &mut Server) {
        if let Some(shutdown) = self.shutdown.filter(|_| self.shutdown_is_due(system_time())) {
            self.end(shutdown.action);
            // Still here: the request failed. The session goes on without it.
            self.shutdown = None;
            return;
        }
        if self.populate {
            self.populate(server);
            self.populate = false;
            self.answer_waiting(server, OBJMGR);
        }
        self.start_servers(server);
        if self.shell_is_due() {
            self.start_shell(server);
        }
    }
}
