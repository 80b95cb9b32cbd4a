//! NtSystemDebugControl: what a debugger asks of the kernel.
//!
//! NT's commands have NT's numbers (SYSDBG_COMMAND); those from 0x1000 on are Antares' own. The first argument is a
//! RESOURCE_DEBUG resource, so only who was handed one can read another process or the kernel. Nothing here changes
//! anything but [`SYSDBG_BREAK_POINT`] and [`DEBUG_CONTROL_BUGCHECK`](crate::io::DEBUG_CONTROL_BUGCHECK), and no address
//! can make the kernel fault: a page that is not there is not read, nor brought in.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// SysDbgQueryModuleInformation: array of [`SysdbgModule`], the kernel first, then the boot modules.
pub const SYSDBG_QUERY_MODULE_INFORMATION: u32 = 0;
/// SysDbgBreakPoint: stops all processors and answers on the debug console's serial line until `g`.
pub const SYSDBG_BREAK_POINT: u32 = 6;
/// SysDbgReadVirtual: input [`SysdbgRead`], output the bytes up to the first page that is not there; ReturnLength tells
/// how many.
pub const SYSDBG_READ_VIRTUAL: u32 = 8;
/// SysDbgReadPhysical: the same of physical memory; only RAM can be read.
pub const SYSDBG_READ_PHYSICAL: u32 = 10;
/// SysDbgReadControlSpace: input [`SysdbgRead`] with a processor's number as `target`, output [`SysdbgProcessor`].
pub const SYSDBG_READ_CONTROL_SPACE: u32 = 12;
/// Antares: input a process id (u64), output [`SysdbgProcess`].
pub const SYSDBG_QUERY_PROCESS: u32 = 0x1000;
/// Antares: input a thread id (u64), output [`SysdbgThread`].
pub const SYSDBG_QUERY_THREAD: u32 = 0x1001;
/// Antares: input a port id (u64), output [`SysdbgPort`].
pub const SYSDBG_QUERY_PORT: u32 = 0x1002;

/// Most bytes of one read.
pub const SYSDBG_MAX_READ: u32 = 0x1_0000;

/// SYSDBG_VIRTUAL and its like. NT puts the bytes at `buffer`; here that is 0 and they go to OutputBuffer.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysdbgRead {
    /// First address.
    pub address: u64,
    /// 0.
    pub buffer: u64,
    /// Bytes, at most [`SYSDBG_MAX_READ`].
    pub request: u32,
    /// Of a virtual address below the kernel's: the process id. Of a control space: the processor.
    pub target: u32,
}

/// A file that the loader gave: the kernel, or a boot module.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysdbgModule {
    /// Kernel address of the file's bytes.
    pub file: u64,
    /// Bytes of the file.
    pub file_size: u64,
    /// Where its image is in memory; 0 for boot modules, which lie where their program headers say.
    pub image_base: u64,
    /// Bytes of the image; 0 for boot modules.
    pub image_size: u64,
    /// Name, padded with zeroes.
    pub name: [u8; 48],
}

/// A processor's control block (KPCR) and tables.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysdbgProcessor {
    /// Address of its control block.
    pub self_address: u64,
    /// Local APIC id.
    pub apic_id: u32,
    /// Id of the thread that it runs; 0 in the idle loop.
    pub current_thread: u32,
    /// Top of the current thread's kernel stack.
    pub kernel_stack: u64,
    /// Physical address of the loaded top-level page table (CR3).
    pub page_table: u64,
    /// TSC value that its timer is armed for; all ones: it is not.
    pub timer: u64,
    /// Interrupts taken.
    pub interrupts: u64,
    /// Page faults resolved.
    pub page_faults: u64,
    /// ALPC requests and replies that took the fast path.
    pub alpc_fast: u64,
    /// Time-stamp counter ticks spent halted.
    pub idle_ticks: u64,
    /// Base of the interrupt descriptor table.
    pub idt_base: u64,
    /// Its last byte's offset.
    pub idt_limit: u32,
    /// 1: it must schedule before it returns to user mode.
    pub reschedule: u32,
    /// CR0, CR4 and EFER (the same on every processor).
    pub cr0: u64,
    /// See `cr0`.
    pub cr4: u64,
    /// See `cr0`.
    pub efer: u64,
}

/// A process, beyond SYSTEM_PROCESS_INFORMATION.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysdbgProcess {
    /// Address of the process object.
    pub object: u64,
    /// Physical address of its top-level page table.
    pub directory_base: u64,
    /// Address of its primary token.
    pub token: u64,
    /// References to the process object.
    pub pointer_count: u64,
    /// Open handles to it.
    pub handle_count: u32,
    /// Exit status, STATUS_PENDING while it runs.
    pub exit_status: u32,
    /// 1: the system stops when it ends.
    pub critical: u32,
    /// 1: it is ending.
    pub ending: u32,
}

/// Wait objects that [`SysdbgThread`] tells of.
pub const SYSDBG_WAIT_OBJECTS: usize = 8;

/// An object that a thread waits for.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysdbgWait {
    /// A handle to it in the thread's process; 0 when there is none.
    pub handle: u64,
    /// Its id (OBJECT_ID_INFORMATION); 0 without a handle.
    pub object_id: u64,
    /// Object type number; 0 without a handle.
    pub object_type: u32,
    /// As in [`SystemHandleEntry`](crate::info::SystemHandleEntry).
    pub detail: u32,
}

/// A thread, beyond SYSTEM_THREAD_INFORMATION.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysdbgThread {
    /// Address of the thread object.
    pub object: u64,
    /// Address of its TEB.
    pub teb: u64,
    /// Top of its kernel stack; the user registers lie right below it as a trap frame.
    pub stack_base: u64,
    /// Lowest address of its kernel stack.
    pub stack_limit: u64,
    /// Kernel stack pointer while it does not run.
    pub kernel_stack: u64,
    /// Processors that it may run on.
    pub affinity: u64,
    /// TSC value at which its wait ends by itself; all ones: never.
    pub deadline: u64,
    /// Process that it belongs to.
    pub process: u32,
    /// Processor that it runs on or ran on last.
    pub processor: u32,
    /// KTHREAD_STATE.
    pub state: u32,
    /// KWAIT_REASON.
    pub wait_reason: u32,
    /// Priority.
    pub priority: u32,
    /// 1: it impersonates.
    pub impersonates: u32,
    /// Objects that it waits for.
    pub wait_count: u32,
    /// 1: for all of them.
    pub wait_all: u32,
    /// The first of them.
    pub waits: [SysdbgWait; SYSDBG_WAIT_OBJECTS],
}

/// A port, beyond [`SystemPortInformation`](crate::info::SystemPortInformation).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SysdbgPort {
    /// Address of the port object.
    pub object: u64,
    /// Server's context of the connection.
    pub context: u64,
    /// Object id of the I/O completion object that it posts to; 0: none.
    pub completion_port: u64,
    /// 1: it has a completion list.
    pub completion_list: u32,
    /// Messages in the large-message queue.
    pub large_queue: u32,
    /// Messages in the canceled queue.
    pub canceled_queue: u32,
    /// Largest message, header included.
    pub max_message_length: u32,
    /// Resource reserves of its side of the connection.
    pub reserves: u32,
    /// Port sections.
    pub sections: u32,
    /// Views of port sections.
    pub views: u32,
    /// 0 none: nobody may impersonate its maker; 1 static, 2 dynamic tracking.
    pub security: u32,
}
