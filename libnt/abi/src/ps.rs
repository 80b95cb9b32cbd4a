//! Processes and threads: TEB, PEB, start parameters, query classes, waits.
//!
//! Start of a process. The creator makes an empty process (NtCreateProcessEx), maps the program's segments and
//! a parameter block into it, duplicates handles into it, and creates its first thread (NtCreateThreadEx) with
//! the address of the parameter block as its argument. The kernel makes the stack and the TEB of every thread.
//! At the entry point: `rdi` = `rcx` = the argument, GS base = the TEB, `rsp` = top of the stack minus 8 (so
//! that the entry point looks like a called function), direction flag clear, all other registers zero.

use crate::alpc::ClientId;
use crate::arg::Handle;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Thread environment block; one page per thread, made by the kernel, GS base of the thread. The first part is
/// NT's layout.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Teb {
    /// NT_TIB.ExceptionList.
    pub exception_list: u64,
    /// Highest stack address (one past).
    pub stack_base: u64,
    /// Lowest usable stack address.
    pub stack_limit: u64,
    /// NT_TIB fields that are not used.
    pub tib_reserved: [u64; 3],
    /// Address of this TEB (offset 0x30).
    pub self_address: u64,
    /// NT field that is not used.
    pub environment_pointer: u64,
    /// Process and thread id (offset 0x40).
    pub client_id: ClientId,
    /// NT fields that are not used.
    pub reserved: [u64; 2],
    /// Address of the process's parameter block or PEB (offset 0x60); libnt sets it.
    pub peb: u64,
    /// GetLastError's value (offset 0x68).
    pub last_error: u32,
    /// Zero.
    pub reserved2: u32,
    /// Slots for the runtime (offset 0x70); libnt uses them for thread-local data.
    pub slots: [u64; 64],
}

/// NtCreateProcessEx flag: the new process gets copies of the parent's inheritable handles, at the same values.
pub const PROCESS_CREATE_FLAGS_INHERIT_HANDLES: u32 = 0x4;

/// NtCreateThreadEx flag: the thread starts suspended.
pub const THREAD_CREATE_FLAGS_CREATE_SUSPENDED: u32 = 0x1;

/// Threads: idle priority (never for threads of programs).
pub const LOW_PRIORITY: i32 = 0;
/// Priority that a thread gets unless told otherwise.
pub const NORMAL_PRIORITY: i32 = 8;
/// First real-time priority; only processes of the system's quota block (the core servers) may give it.
pub const LOW_REALTIME_PRIORITY: i32 = 16;
/// Highest priority.
pub const HIGH_PRIORITY: i32 = 31;

/// NtQueryInformationProcess class 0: [`ProcessBasicInformation`].
pub const PROCESS_BASIC_INFORMATION: u32 = 0;
/// NtSetInformationProcess class 1: [`QuotaLimits`]; makes a new quota block for the process (RESOURCE_QUOTA).
pub const PROCESS_QUOTA_LIMITS: u32 = 1;
/// NtQueryInformationProcess class 4: [`KernelUserTimes`].
pub const PROCESS_TIMES: u32 = 4;
/// NtSetInformationProcess class 5: i32 base priority of threads created from now on.
pub const PROCESS_BASE_PRIORITY: u32 = 5;
/// NtQueryInformationProcess class 20: u32 handle count.
pub const PROCESS_HANDLE_COUNT: u32 = 20;
/// Set/query class 27: image name as UTF-8 bytes (Antares: no UNICODE_STRING; at most 40 bytes), shown by tools and traces.
pub const PROCESS_IMAGE_FILE_NAME: u32 = 27;

/// NtSetInformationProcess (Antares): u64 address of the caller's KiUserApcDispatcher, in the caller's own process only.
/// Entered for each user APC with rdi = address of the saved CONTEXT (rsp lies just below it), rsi = the routine, rdx,
/// rcx and r8 = its arguments.
pub const PROCESS_APC_DISPATCHER: u32 = 0x1000;

/// PROCESS_BASIC_INFORMATION, 0x30 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessBasicInformation {
    /// Exit status, or STATUS_PENDING while it runs.
    pub exit_status: u32,
    /// Zero.
    pub reserved: u32,
    /// Address of the PEB (0: libnt keeps it).
    pub peb_base_address: u64,
    /// Processors its threads may use.
    pub affinity_mask: u64,
    /// Base priority.
    pub base_priority: i32,
    /// Zero.
    pub reserved2: u32,
    /// Process id.
    pub unique_process_id: u64,
    /// Parent's process id.
    pub inherited_from: u64,
}

/// Limits of a quota block; a child shares its parent's block unless it is given its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct QuotaLimits {
    /// Kernel memory (objects, queued messages, tables) in bytes.
    pub pool: u64,
    /// Committed user pages and page-table pages.
    pub pages: u64,
    /// Processes alive.
    pub processes: u64,
    /// Threads alive.
    pub threads: u64,
    /// Handles in each process.
    pub handles_per_process: u64,
}

/// KERNEL_USER_TIMES, 0x20 bytes, in 100 ns.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct KernelUserTimes {
    /// System time at creation.
    pub create_time: i64,
    /// System time at exit, 0 while running.
    pub exit_time: i64,
    /// Time in kernel mode (not told apart from user mode: 0).
    pub kernel_time: i64,
    /// Processor time.
    pub user_time: i64,
}

/// NtQueryInformationThread class 0: [`ThreadBasicInformation`].
pub const THREAD_BASIC_INFORMATION: u32 = 0;
/// NtQueryInformationThread class 1: [`KernelUserTimes`].
pub const THREAD_TIMES: u32 = 1;
/// NtSetInformationThread class 2: i32 priority.
pub const THREAD_PRIORITY: u32 = 2;
/// NtSetInformationThread class 4: u64 affinity mask.
pub const THREAD_AFFINITY_MASK: u32 = 4;
/// NtSetInformationThread class 38: thread name as UTF-8 bytes (Antares; at most 32).
pub const THREAD_NAME_INFORMATION: u32 = 38;

/// THREAD_BASIC_INFORMATION, 0x30 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ThreadBasicInformation {
    /// Exit status, or STATUS_PENDING while it runs.
    pub exit_status: u32,
    /// Zero.
    pub reserved: u32,
    /// Address of the TEB.
    pub teb_base_address: u64,
    /// Process and thread id.
    pub client_id: ClientId,
    /// Processors the thread may use.
    pub affinity_mask: u64,
    /// Priority now.
    pub priority: i32,
    /// Base priority.
    pub base_priority: i32,
}

/// Event type: stays signalled until reset.
pub const NOTIFICATION_EVENT: u32 = 0;
/// Event type: releases one waiter and resets itself.
pub const SYNCHRONIZATION_EVENT: u32 = 1;
/// NtWaitForMultipleObjects: until all are signalled.
pub const WAIT_ALL: u32 = 0;
/// NtWaitForMultipleObjects: until any is signalled.
pub const WAIT_ANY: u32 = 1;
/// Most objects of one wait.
pub const MAXIMUM_WAIT_OBJECTS: usize = 64;

/// NtQueryEvent class 0: EVENT_BASIC_INFORMATION.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EventBasicInformation {
    /// Event type.
    pub event_type: u32,
    /// 1 when signalled.
    pub event_state: i32,
}

/// What the kernel hands the first process (smss): address in its argument register.
///
/// The block and everything it points to lie in read-only memory of the process.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct InitialParameters {
    /// [`INITIAL_MAGIC`], so that the entry point can tell this block from a program's parameters.
    pub magic: u64,
    /// A RESOURCE_ROOT resource.
    pub root_resource: Handle,
    /// Boot modules in `modules`.
    pub module_count: u32,
    /// Bytes of the kernel command line that follows the modules.
    pub command_line_length: u32,
    /// Framebuffer, all zero when there is none.
    pub framebuffer: FramebufferInformation,
}

/// [`InitialParameters::magic`]: "NTSMSS01" in little-endian order.
pub const INITIAL_MAGIC: u64 = u64::from_le_bytes(*b"NTSMSS01");

/// A boot module, in an array behind [`InitialParameters`].
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct BootModule {
    /// Section with the module's bytes; SECTION_MAP_READ, SECTION_MAP_EXECUTE and SECTION_QUERY.
    pub section: Handle,
    /// Bytes.
    pub size: u64,
    /// Name (its boot command line), UTF-8, zero-padded.
    pub name: [u8; 48],
}

/// A linear framebuffer.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FramebufferInformation {
    /// Physical address.
    pub physical: u64,
    /// Bytes per line.
    pub pitch: u64,
    /// Pixels per line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bits per pixel.
    pub bits_per_pixel: u32,
    /// Bit positions of red, green, blue, and zero.
    pub shifts: [u8; 4],
}
