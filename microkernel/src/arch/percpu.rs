//! The block that each processor keeps for itself, reached through GS in the kernel.
//!
//! The system-call entry uses the first fields by offset ([`crate::arch::entry`]). User mode has its own GS base (the
//! TEB); `swapgs` at each crossing exchanges the two (Intel SDM vol. 3, 5.8.8).

use crate::arch::cpu;
use crate::ps::thread::Thread;
use abi::syscalls::SYSCALL_LIMIT;
use abi::trace::MAX_CPUS;
use core::arch::asm;
use core::ptr::null;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// See the module head. The layout of the first four fields is known to assembly.
#[repr(C)]
pub struct PerCpu {
    this: AtomicPtr<PerCpu>,
    /// Where the current thread's trap frame lies, at the top of its kernel stack.
    pub kernel_frame: AtomicU64,
    /// Where the system-call entry keeps the user stack pointer for a moment.
    pub user_rsp: AtomicU64,
    current: AtomicPtr<Thread>,
    /// Number of the processor, from 0.
    pub index: u32,
    /// The bit of that number.
    pub bit: u64,
    /// The stack pointer in the task-state segment, for traps from user mode.
    rsp0: AtomicPtr<AtomicU64>,
    /// Local APIC id.
    pub apic_id: AtomicU32,
    /// The processor must schedule before it returns to user mode.
    pub reschedule: AtomicBool,
    /// CR0.TS is set.
    pub fpu_trap: AtomicBool,
    /// Stack pointer of the idle loop while a thread runs.
    pub idle_rsp: AtomicU64,
    /// TSC value that the timer is armed for.
    pub armed: AtomicU64,
    /// The loaded top-level page table and its identifier: CR3 without its highest bit.
    pub page_table: AtomicU64,
    /// A thread that ended on this processor and whose stack can be freed (from `Ref::into_raw`).
    pub reap: AtomicPtr<Thread>,
    /// Time-stamp counter at the last context switch.
    pub switched_at: AtomicU64,
    /// Ticks spent halted.
    pub idle_ticks: AtomicU64,
    /// First record of its trace ring.
    pub trace_ring: AtomicU64,
    /// Records in it, less one.
    pub trace_mask: AtomicU64,
    /// Where the trace memory says how many it has written.
    pub trace_head: AtomicPtr<AtomicU64>,
    /// Interrupts taken.
    pub interrupts: AtomicU64,
    /// Page faults resolved.
    pub page_faults: AtomicU64,
    /// Requests and replies that took ALPC's fast path.
    pub alpc_fast: AtomicU64,
    /// Calls of each system call.
    pub syscalls: [AtomicU64; SYSCALL_LIMIT as usize],
}

impl PerCpu {
    const fn new(index: u32) -> Self {
        Self {
            this: AtomicPtr::new(core::ptr::null_mut()),
            kernel_frame: AtomicU64::new(0),
            user_rsp: AtomicU64::new(0),
            current: AtomicPtr::new(core::ptr::null_mut()),
            index,
            bit: 1 << index,
            rsp0: AtomicPtr::new(core::ptr::null_mut()),
            apic_id: AtomicU32::new(0),
            reschedule: AtomicBool::new(false),
            fpu_trap: AtomicBool::new(false),
            idle_rsp: AtomicU64::new(0),
            armed: AtomicU64::new(u64::MAX),
            page_table: AtomicU64::new(0),
            reap: AtomicPtr::new(core::ptr::null_mut()),
            switched_at: AtomicU64::new(0),
            idle_ticks: AtomicU64::new(0),
            trace_ring: AtomicU64::new(0),
            trace_mask: AtomicU64::new(0),
            trace_head: AtomicPtr::new(core::ptr::null_mut()),
            interrupts: AtomicU64::new(0),
            page_faults: AtomicU64::new(0),
            alpc_fast: AtomicU64::new(0),
            syscalls: [const { AtomicU64::new(0) }; SYSCALL_LIMIT as usize],
        }
    }
}

impl PerCpu {
    /// Sets the current thread.
    #[inline(always)]
    pub fn set_current(&self, thread: *const Thread) {
        self.current.store(thread.cast_mut(), Ordering::Relaxed);
    }

    /// Counts a system call. Only this processor counts here, and not from interrupts.
    #[inline(always)]
    pub fn count_call(&self, number: u32) {
        if let Some(counter) = self.syscalls.get(number as usize) {
            counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Counts a request or reply that takes ALPC's fast path.
    #[inline(always)]
    pub fn count_fast(&self) {
        self.alpc_fast.store(self.alpc_fast.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Traps and system calls from user mode start on this stack from now on, with a frame at `frame`.
    #[inline(always)]
    pub fn set_kernel_stack(&self, top: u64, frame: u64) {
        self.kernel_frame.store(frame, Ordering::Relaxed);
        // SAFETY: set by `set_tables` to a field of tables that are never freed, before the first thread runs.
        unsafe { (*self.rsp0.load(Ordering::Relaxed)).store(top, Ordering::Relaxed) };
    }

    /// Tells where the task-state segment keeps the stack pointer for traps from user mode.
    pub fn set_tables(&self, rsp0: &'static AtomicU64) {
        self.rsp0.store(core::ptr::from_ref(rsp0).cast_mut(), Ordering::Relaxed);
    }
}

static BLOCKS: [PerCpu; MAX_CPUS] = {
    let mut blocks = [const { PerCpu::new(0) }; MAX_CPUS];
    let mut i = 0;
    while i < MAX_CPUS {
        blocks[i] = PerCpu::new(i as u32);
        i += 1;
    }
    blocks
};
static FIRST_READY: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU32 = AtomicU32::new(1);

/// Makes block `index` this processor's own.
pub fn init(index: u32, apic_id: u32) {
    let block = &BLOCKS[index as usize];
    block.this.store(core::ptr::from_ref(block).cast_mut(), Ordering::Relaxed);
    block.apic_id.store(apic_id, Ordering::Relaxed);
    // SAFETY: the block is static, and nothing used GS before.
    unsafe { cpu::wrmsr(cpu::msr::GS_BASE, core::ptr::from_ref(block) as u64) };
    FIRST_READY.store(true, Ordering::Relaxed);
}

/// This processor's block.
#[inline]
pub fn this() -> &'static PerCpu {
    let block: *const PerCpu;
    // SAFETY: in the kernel GS points to the block, whose first field is its own address.
    unsafe {
        asm!("mov {}, gs:[0]", out(reg) block, options(nostack, preserves_flags, pure, readonly));
        &*block
    }
}

/// The block of any processor.
pub fn of(index: u32) -> &'static PerCpu {
    &BLOCKS[index as usize]
}

/// This processor's number, or `None` before the first block is in place.
pub fn try_index() -> Option<u32> {
    FIRST_READY.load(Ordering::Relaxed).then(|| this().index)
}

/// Processors in the system (started ones).
pub fn count() -> u32 {
    COUNT.load(Ordering::Relaxed)
}

/// One more processor runs.
pub fn set_count(count: u32) {
    COUNT.store(count, Ordering::Relaxed);
}

/// The thread this processor runs, or null in the idle loop.
#[inline]
pub fn current_pointer() -> *const Thread {
    let thread: *const Thread;
    // SAFETY: in the kernel GS points to the block; the current thread is its fourth word.
    unsafe {
        asm!("mov {}, gs:[24]", out(reg) thread, options(nostack, preserves_flags, pure, readonly));
    }
    thread
}

/// True in the idle loop and during boot.
pub fn is_idle() -> bool {
    core::ptr::eq(current_pointer(), null())
}

/// Sum of one counter over all processors.
pub fn sum(of: impl Fn(&PerCpu) -> &AtomicU64) -> u64 {
    BLOCKS.iter().take(count() as usize).map(|block| of(block).load(Ordering::Relaxed)).sum()
}
