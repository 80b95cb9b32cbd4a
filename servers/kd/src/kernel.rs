//! The running kernel behind the [`System`] trait.

use core::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use kd::System;
use kd::ring::{Memory, Trace};
use kd::snapshot::Snapshot;
use libnt::abi::info::{SystemHandleEntry, SystemKernelCounters, SystemSyscallCounter};
use libnt::abi::trace::{TRACE_START, TRACE_STOP, TraceFilter};
use libnt::prelude::*;
use libnt::proto::kd::HANDLE_DEBUG;
use libnt::{info, resource};
use zerocopy::IntoBytes;

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
}
