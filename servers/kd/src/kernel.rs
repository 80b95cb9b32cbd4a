//! The running kernel behind the [`System`] trait.

use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use kd::System;
use kd::object_view::{Named, TokenFacts};
use kd::snapshot::Snapshot;
use libnt::abi::info::{SystemHandleEntry, SystemKernelCounters, SystemSyscallCounter};
use libnt::abi::io::SHUTDOWN_REBOOT;
use libnt::abi::kd::*;
use libnt::abi::mm::{MemoryBasicInformation, USER_MAX, USER_MIN};
use libnt::abi::ob::{DIRECTORY_QUERY, OBJ_PERMANENT, PROCESS_QUERY_LIMITED_INFORMATION};
use libnt::abi::se::TOKEN_QUERY;
use libnt::abi::trace::{TRACE_START, TRACE_STOP, TraceFilter};
use libnt::prelude::*;
use libnt::process::Process;
use libnt::proto::kd::HANDLE_DEBUG;
use libnt::sys::calls;
use libnt::token::{self, Token};
use libnt::{info, ob, resource, session};
use trace::{Memory, Trace};
use zerocopy::{FromBytes, FromZeros, IntoBytes, KnownLayout};

/// The trace memory, mapped read-only into this process for all its life.
#[derive(Debug)]
pub struct Mapped {
    base: u64,
    size: usize,
}

impl Memory for Mapped {
    fn size(&self) -> usize {
        self.size
    }

    fn word(&self, offset: usize) -> u64 {
        assert!(offset.is_multiple_of(8) && offset < self.size);
        let address = (self.base as usize + offset) as *mut u64;
        // SAFETY: the kernel mapped `size` bytes at `base`, page-aligned, and never unmaps them; the word is in bounds and
        // aligned. The kernel writes it at any time, so it is read atomically; relaxed loads are allowed on read-only
        // memory.
        let word = unsafe { AtomicU64::from_ptr(address) }.load(Ordering::Relaxed);
        // The processor keeps loads in order; so must the compiler.
        compiler_fence(Ordering::SeqCst);
        word
    }
}

/// The kernel, with the right to watch it.
#[derive(Debug)]
pub struct Kernel {
    debug: Handle,
    trace: Option<Trace<Mapped>>,
}

impl Kernel {
    /// Takes the resource that smss gave and maps the trace memory.
    pub fn open() -> NtResult<Self> {
        let debug = env::extra(HANDLE_DEBUG).ok_or(STATUS_ACCESS_DENIED)?.handle;
        let mapped = resource::map_trace(debug).ok();
        let trace = mapped.and_then(|(base, size)| {
            let size = usize::try_from(size).ok()? / 8 * 8;
            Trace::new(Mapped { base, size })
        });
        Ok(Self { debug, trace })
    }
}

impl Kernel {
    fn read_with(&self, command: u32, target: u32, address: u64, to: &mut [u8]) -> NtResult<usize> {
        let count = to.len().min(SYSDBG_MAX_READ as usize);
        let request = SysdbgRead { address, buffer: 0, request: count as u32, target };
        calls::debug_control(self.debug, command, request.as_bytes(), &mut to[..count])
    }

    fn ask<T: FromBytes + FromZeros + IntoBytes + KnownLayout>(
        &self,
        command: u32,
        input: &[u8],
    ) -> NtResult<T> {
        let mut answer = T::new_zeroed();
        calls::debug_control(self.debug, command, input, answer.as_mut_bytes())?;
        Ok(answer)
    }
}

impl System for Kernel {
    type Memory = Mapped;

    fn snapshot(&mut self) -> NtResult<Snapshot> {
        Ok(Snapshot::new(info::processes()?, info::ports()?, info::messages()?))
    }

    fn handles(&mut self, process: u32) -> NtResult<Vec<SystemHandleEntry>> {
        info::handles(process.into())
    }

    fn counters(&mut self) -> NtResult<SystemKernelCounters> {
        info::counters()
    }

    fn syscalls(&mut self) -> NtResult<Vec<SystemSyscallCounter>> {
        info::syscall_counters()
    }

    fn trace(&self) -> Option<&Trace<Mapped>> {
        self.trace.as_ref()
    }

    fn trace_start(&mut self, filter: &TraceFilter) -> NtResult {
        resource::trace_control(self.debug, TRACE_START, filter.as_bytes(), &mut []).map(drop)
    }

    fn trace_stop(&mut self) -> NtResult {
        resource::trace_control(self.debug, TRACE_STOP, &[], &mut []).map(drop)
    }

    fn crash(&mut self) -> NtStatus {
        resource::bugcheck(self.debug).err().unwrap_or(STATUS_UNSUCCESSFUL)
    }

    fn read(&mut self, process: u32, address: u64, to: &mut [u8]) -> NtResult<usize> {
        self.read_with(SYSDBG_READ_VIRTUAL, process, address, to)
    }

    fn read_physical(&mut self, address: u64, to: &mut [u8]) -> NtResult<usize> {
        self.read_with(SYSDBG_READ_PHYSICAL, 0, address, to)
    }

    fn modules(&mut self) -> NtResult<Vec<SysdbgModule>> {
        const MOST: usize = 65;
        let mut buffer = vec![0; MOST * size_of::<SysdbgModule>()];
        let command = SYSDBG_QUERY_MODULE_INFORMATION;
        let length = calls::debug_control(self.debug, command, &[], &mut buffer)?;
        let files = buffer[..length].chunks_exact(size_of::<SysdbgModule>());
        Ok(files.filter_map(|file| SysdbgModule::read_from_bytes(file).ok()).collect())
    }

    fn processor(&mut self, processor: u32) -> NtResult<SysdbgProcessor> {
        let request = SysdbgRead { target: processor, ..SysdbgRead::default() };
        self.ask(SYSDBG_READ_CONTROL_SPACE, request.as_bytes())
    }

    fn process(&mut self, process: u32) -> NtResult<SysdbgProcess> {
        self.ask(SYSDBG_QUERY_PROCESS, u64::from(process).as_bytes())
    }

    fn thread(&mut self, thread: u32) -> NtResult<SysdbgThread> {
        self.ask(SYSDBG_QUERY_THREAD, u64::from(thread).as_bytes())
    }

    fn port(&mut self, port: u32) -> NtResult<SysdbgPort> {
        self.ask(SYSDBG_QUERY_PORT, u64::from(port).as_bytes())
    }

    fn regions(&mut self, process: u32) -> NtResult<Vec<MemoryBasicInformation>> {
        let process = Process::open(process.into(), PROCESS_QUERY_LIMITED_INFORMATION)?;
        let mut runs = Vec::new();
        let mut at = USER_MIN;
        while at < USER_MAX {
            let run = calls::query_memory(process.handle(), at)?;
            let next = run.base_address.saturating_add(run.region_size);
            if next <= at {
                break;
            }
            at = next;
            runs.push(run);
        }
        Ok(runs)
    }

    fn token(&mut self, process: u32) -> NtResult<TokenFacts> {
        let process = Process::open(process.into(), PROCESS_QUERY_LIMITED_INFORMATION)?;
        let token = Token::of_process(process.handle(), TOKEN_QUERY)?;
        let handle = token.handle();
        Ok(TokenFacts {
            user: token::user(handle)?,
            groups: token::groups(handle)?,
            privileges: token::privileges(handle)?,
            integrity: token::integrity(handle)?,
            authentication_id: token::statistics(handle)?.authentication_id.to_u64(),
        })
    }

    fn object(&mut self, path: &str) -> NtResult<Named> {
        let info = ob::query(path)?;
        let is_directory = info.type_name == "Directory";
        let entries = match is_directory {
            true => Some(ob::Directory::open(path, DIRECTORY_QUERY)?.list()?),
            false => None,
        };
        Ok(Named {
            path: if info.path.is_empty() { path.into() } else { info.path },
            type_name: info.type_name,
            permanent: info.attributes & OBJ_PERMANENT != 0,
            target: Some(info.target).filter(|target| !target.is_empty()),
            entries: entries.map(|list| list.into_iter().map(|e| (e.name, e.type_name)).collect()),
        })
    }

    fn tsc(&self) -> u64 {
        libnt::time::tsc()
    }

    fn break_in(&mut self) -> NtResult {
        calls::debug_control(self.debug, SYSDBG_BREAK_POINT, &[], &mut []).map(drop)
    }

    fn reboot(&mut self) -> NtResult {
        session::shutdown(SHUTDOWN_REBOOT)
    }
}
