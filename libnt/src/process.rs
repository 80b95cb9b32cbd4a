//! Processes: starting programs, waiting for them, ending them.
//!
//! The creator is the loader: [`Command::spawn`] maps the image's segments into an empty process, writes the parameter
//! block, duplicates the handles and starts the first thread. When any step fails the half-made process is ended, so that
//! nothing is left over.

use crate::handle::{OwnedHandle, duplicate_into};
use crate::loader::{self, Plan, Segment};
use crate::params::{ExtraHandle, Parameters, StandardHandles};
use crate::section::View;
use crate::sys::calls;
use crate::{env, info, ob, session, wait};
use abi::arg::Handle;
use abi::mm::*;
use abi::ob::*;
use abi::ps::*;
use abi::status::*;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use zerocopy::IntoBytes;

/// Bytes of a program's first stack.
const STACK: u64 = 0x4_0000;
/// Most bytes of an image name in the kernel.
const MAX_IMAGE_NAME: usize = 40;

/// A process of this system.
#[derive(Debug)]
pub struct Process(OwnedHandle);

impl Process {
    /// Opens a process by id.
    pub fn open(process_id: u64, access: u32) -> NtResult<Self> {
        calls::open_process(process_id, access).map(OwnedHandle::new).map(Self)
    }

    /// A process behind a handle.
    pub const fn from_handle(handle: OwnedHandle) -> Self {
        Self(handle)
    }

    /// The handle; it is signalled when the process has ended.
    pub const fn handle(&self) -> Handle {
        self.0.raw()
    }

    /// What the kernel says of it.
    pub fn information(&self) -> NtResult<ProcessBasicInformation> {
        calls::query_process(self.handle(), PROCESS_BASIC_INFORMATION)
    }

    /// Process id.
    pub fn id(&self) -> NtResult<u64> {
        self.information().map(|information| information.unique_process_id)
    }

    /// Exit status, or STATUS_PENDING while it runs.
    pub fn exit_status(&self) -> NtResult<NtStatus> {
        self.information().map(|information| NtStatus(information.exit_status))
    }

    /// Waits for its end; answers the exit status.
    pub fn wait(&self) -> NtResult<NtStatus> {
        wait::one(self.handle(), None)?;
        self.exit_status()
    }

    /// Waits for its end; `None` when the time-out passed.
    pub fn wait_for(&self, timeout: Duration) -> NtResult<Option<NtStatus>> {
        if wait::one(self.handle(), Some(timeout))? { self.exit_status().map(Some) } else { Ok(None) }
    }

    /// Ends it.
    pub fn terminate(&self, status: NtStatus) -> NtResult {
        calls::terminate_process(self.handle(), status)
    }
}

/// Ends this process.
pub fn exit(status: NtStatus) -> ! {
    crate::entry::exit(status)
}

/// This process's id.
pub fn current_id() -> u64 {
    crate::thread::current_id().unique_process
}

/// All processes.
pub fn list() -> NtResult<Vec<info::Process>> {
    info::processes()
}

/// Starts a program with these arguments and this process's streams, and answers the process.
pub fn spawn(image: &str, arguments: &[&str]) -> NtResult<Process> {
    let mut command = Command::new(image);
    for argument in arguments {
        command.argument(argument);
    }
    command.spawn()
}

/// A handle to give to a new process under a name.
struct Given {
    name: String,
    handle: Handle,
    access: Option<u32>,
    data: [u64; 4],
}

/// A program to start.
pub struct Command {
    name: String,
    section: Option<Handle>,
    arguments: Vec<String>,
    environment: Vec<String>,
    standard: StandardHandles,
    session_access: Option<u32>,
    root_access: Option<u32>,
    extra: Vec<Given>,
    quota: Option<(Handle, QuotaLimits)>,
    priority: Option<i32>,
    token: Option<Handle>,
}

impl Command {
    /// A program by its image's name (in `\SystemRoot`) or absolute path; it gets this process's streams, root directory,
    /// session object and environment.
    pub fn new(image: &str) -> Self {
        Self {
            name: image.to_string(),
            section: None,
            arguments: Vec::new(),
            environment: env::vars().map(|(name, value)| alloc::format!("{name}={value}")).collect(),
            standard: StandardHandles { root: Handle::NULL, session: session::handle(), ..env::standard() },
            session_access: None,
            root_access: None,
            extra: Vec::new(),
            quota: None,
            priority: None,
            token: None,
        }
    }

    /// Takes the image from a section (with SECTION_MAP_READ, SECTION_MAP_EXECUTE and SECTION_QUERY) instead of by name.
    pub fn section(&mut self, section: Handle) -> &mut Self {
        self.section = Some(section);
        self
    }

    /// Adds an argument.
    pub fn argument(&mut self, argument: &str) -> &mut Self {
        self.arguments.push(argument.to_string());
        self
    }

    /// Sets the console streams.
    pub fn streams(&mut self, stdin: Handle, stdout: Handle, stderr: Handle) -> &mut Self {
        self.standard = StandardHandles { stdin, stdout, stderr, ..self.standard };
        self
    }

    /// Sets the session object, with this access (`None`: as the handle has).
    pub fn session(&mut self, session: Handle, access: Option<u32>) -> &mut Self {
        self.standard.session = session;
        self.session_access = access;
        self
    }

    /// Sets the root directory, with this access (`None`: as the handle has).
    pub fn root(&mut self, root: Handle, access: Option<u32>) -> &mut Self {
        self.standard.root = root;
        self.root_access = access;
        self
    }

    /// Gives a further handle, which the program finds by its name.
    pub fn give(&mut self, name: &str, handle: Handle, access: Option<u32>, data: [u64; 4]) -> &mut Self {
        self.extra.push(Given { name: name.to_string(), handle, access, data });
        self
    }

    /// Gives the process its own quota block; `authority` is a RESOURCE_QUOTA resource.
    pub fn quota(&mut self, authority: Handle, limits: QuotaLimits) -> &mut Self {
        self.quota = Some((authority, limits));
        self
    }

    /// Sets the base priority of the process's threads.
    pub fn priority(&mut self, priority: i32) -> &mut Self {
        self.priority = Some(priority);
        self
    }

    /// Gives the process another primary token than a copy of this process's (SeAssignPrimaryTokenPrivilege).
    pub fn token(&mut self, token: Handle) -> &mut Self {
        self.token = Some(token);
        self
    }

    /// Starts the program.
    pub fn spawn(&self) -> NtResult<Process> {
        let opened;
        let section = match self.section {
            Some(section) => section,
            None => {
                let path = if self.name.starts_with('\\') {
                    self.name.clone()
                } else {
                    alloc::format!("\\SystemRoot\\{}", self.name)
                };
                let access = SECTION_MAP_READ | SECTION_MAP_EXECUTE | SECTION_QUERY;
                opened = ob::open_section(&path, access)?;
                opened.raw()
            }
        };
        let image = Image::open(section)?;
        let unfinished =
            Unfinished(Some(Process(OwnedHandle::new(calls::create_process(PROCESS_ALL_ACCESS, 0)?))));
        let process = unfinished.handle();
        self.configure(process)?;
        image.load(process)?;
        let block = self.write_parameters(process)?;
        // SAFETY: the thread runs in the new process.
        let thread =
            unsafe { calls::create_thread(process, THREAD_ALL_ACCESS, image.plan.entry, block, 0, STACK) }?;
        drop(OwnedHandle::new(thread));
        unfinished.finish()
    }

    fn configure(&self, process: Handle) -> NtResult {
        if let Some((authority, limits)) = &self.quota {
            let mut value = [0u64; 6];
            value[0] = authority.0;
            value[1..].as_mut_bytes().copy_from_slice(limits.as_bytes());
            calls::set_process(process, PROCESS_QUOTA_LIMITS, value.as_bytes())?;
        }
        if let Some(token) = self.token {
            crate::token::set_process_token(process, token)?;
        }
        if let Some(priority) = self.priority {
            calls::set_process(process, PROCESS_BASE_PRIORITY, priority.as_bytes())?;
        }
        let leaf = self.name.rsplit('\\').next().unwrap_or_default();
        let mut end = leaf.len().min(MAX_IMAGE_NAME);
        while !leaf.is_char_boundary(end) {
            end -= 1;
        }
        calls::set_process(process, PROCESS_IMAGE_FILE_NAME, &leaf.as_bytes()[..end])
    }

    /// Writes the parameter block into the process; answers its address there.
    fn write_parameters(&self, process: Handle) -> NtResult<u64> {
        let give = |handle: Handle, access: Option<u32>| {
            if handle.is_null() { Ok(Handle::NULL) } else { duplicate_into(process, handle, access) }
        };
        // Before the object manager runs there is no root directory to give.
        let root = if self.standard.root.is_null() { ob::root().ok() } else { None };
        let root = root.as_ref().map_or(self.standard.root, |root| root.raw());
        let standard = StandardHandles {
            stdin: give(self.standard.stdin, None)?,
            stdout: give(self.standard.stdout, None)?,
            stderr: give(self.standard.stderr, None)?,
            root: give(root, self.root_access)?,
            session: give(self.standard.session, self.session_access)?,
        };
        let mut extra = Vec::new();
        for given in &self.extra {
            extra.push(ExtraHandle::new(&given.name, give(given.handle, given.access)?, given.data));
        }
        let leaf = self.name.rsplit('\\').next().unwrap_or_default();
        let parameters = Parameters {
            standard,
            image: leaf,
            arguments: &self.arguments,
            environment: &self.environment,
            extra: &extra,
        };
        let block = parameters.build().ok_or(STATUS_INVALID_PARAMETER)?;
        let size = block.len() as u64;
        let (address, size_there) =
            calls::allocate_memory(process, 0, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)?;
        // SAFETY: the process is another one, and no thread runs there yet.
        unsafe {
            calls::write_memory(process, address, block.as_ptr() as u64, size)?;
            calls::protect_memory(process, address, size_there, PAGE_READONLY)?;
        }
        Ok(address)
    }
}

/// A program file, checked.
struct Image {
    section: Handle,
    view: View,
    plan: Plan,
}

impl Image {
    fn open(section: Handle) -> NtResult<Self> {
        let size = calls::query_section(section)?.maximum_size;
        let (base, mapped) = calls::map_view(section, Handle::CURRENT_PROCESS, 0, 0, 0, PAGE_READONLY)?;
        let view = View::new(base, mapped as usize, false);
        let mut head = [0; loader::HEADER_BYTES];
        let length = size.min(head.len() as u64) as usize;
        if !view.read(0, &mut head[..length]) {
            return Err(STATUS_INVALID_IMAGE_FORMAT);
        }
        let plan = loader::plan(&head[..length], size)?;
        Ok(Self { section, view, plan })
    }

    fn load(&self, process: Handle) -> NtResult {
        for segment in &self.plan.segments {
            if segment.is_mappable() { self.map(process, segment)? } else { self.copy(process, segment)? }
        }
        Ok(())
    }

    fn map(&self, process: Handle, segment: &Segment) -> NtResult {
        let offset = segment.file_offset - segment.skew;
        let size = segment.skew + segment.file_size;
        calls::map_view(self.section, process, segment.address, offset, size, segment.protect).map(drop)
    }

    fn copy(&self, process: Handle, segment: &Segment) -> NtResult {
        let kind = MEM_RESERVE | MEM_COMMIT;
        calls::allocate_memory(process, segment.address, segment.size, kind, PAGE_READWRITE)?;
        let (from, to) = (self.view.base() + segment.file_offset, segment.address + segment.skew);
        // SAFETY: the process is another one, and no thread runs there yet.
        unsafe {
            if segment.file_size != 0 {
                calls::write_memory(process, to, from, segment.file_size)?;
            }
            if segment.protect != PAGE_READWRITE {
                calls::protect_memory(process, segment.address, segment.size, segment.protect)?;
            }
        }
        Ok(())
    }
}

/// A process that is ended unless it is finished.
struct Unfinished(Option<Process>);

impl Unfinished {
    fn handle(&self) -> Handle {
        self.0.as_ref().map_or(Handle::NULL, Process::handle)
    }

    fn finish(mut self) -> NtResult<Process> {
        self.0.take().ok_or(STATUS_INVALID_HANDLE)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(process) = &self.0 {
            // It has no thread; ending it frees what it has.
            let _ = process.terminate(STATUS_UNSUCCESSFUL);
        }
    }
}
