//! NtQuerySystemInformation classes and their layouts.
//!
//! NT's classes have NT's layout. Classes from 0x1000 on are Antares' own: arrays of fixed records, all that fit,
//! with STATUS_INFO_LENGTH_MISMATCH and the needed size in ReturnLength when not all do.

use crate::ob::UnicodeString;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Class 0: [`SystemBasicInformation`].
pub const SYSTEM_BASIC_INFORMATION: u32 = 0;
/// Class 5: [`SystemProcessInformation`] entries.
pub const SYSTEM_PROCESS_INFORMATION: u32 = 5;
/// Antares: [`SystemKernelCounters`].
pub const SYSTEM_KERNEL_COUNTERS: u32 = 0x1000;
/// Antares: array of [`SystemPortInformation`].
pub const SYSTEM_PORT_INFORMATION: u32 = 0x1001;
/// Antares: array of [`SystemHandleEntry`] of one process; `Buffer`'s first u64 holds the process id on entry.
pub const SYSTEM_HANDLE_INFORMATION: u32 = 0x1002;
/// Antares: array of [`SystemSyscallCounter`], one per declared system call.
pub const SYSTEM_SYSCALL_COUNTERS: u32 = 0x1003;
/// Antares: array of [`SystemMessageInformation`]: every queued or pending ALPC message.
pub const SYSTEM_MESSAGE_INFORMATION: u32 = 0x1004;

/// SYSTEM_BASIC_INFORMATION, 0x40 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemBasicInformation {
    /// Zero.
    pub reserved: u32,
    /// Timer resolution in 100 ns.
    pub timer_resolution: u32,
    /// Bytes of a page.
    pub page_size: u32,
    /// Pages of RAM.
    pub number_of_physical_pages: u32,
    /// Lowest page frame.
    pub lowest_physical_page: u32,
    /// Highest page frame.
    pub highest_physical_page: u32,
    /// Alignment of chosen addresses.
    pub allocation_granularity: u32,
    /// Zero.
    pub reserved2: u32,
    /// Lowest user address.
    pub minimum_user_mode_address: u64,
    /// Highest user address.
    pub maximum_user_mode_address: u64,
    /// Processors.
    pub active_processors_affinity_mask: u64,
    /// How many.
    pub number_of_processors: u8,
    /// Zero.
    pub reserved3: [u8; 7],
}

/// SYSTEM_PROCESS_INFORMATION, 0x100 bytes, followed by `number_of_threads` [`SystemThreadInformation`], then the
/// image name. Fields that Antares does not keep are zero.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemProcessInformation {
    /// Offset of the next entry from this one; 0 in the last.
    pub next_entry_offset: u32,
    /// Threads that follow.
    pub number_of_threads: u32,
    /// Not kept.
    pub working_set_private_size: i64,
    /// Not kept.
    pub hard_fault_count: u32,
    /// Not kept.
    pub number_of_threads_high_watermark: u32,
    /// Time-stamp counter ticks spent.
    pub cycle_time: u64,
    /// System time at creation.
    pub create_time: i64,
    /// Processor time in 100 ns.
    pub user_time: i64,
    /// Not told apart.
    pub kernel_time: i64,
    /// Image name; the buffer lies in the caller's buffer.
    pub image_name: UnicodeString,
    /// Base priority.
    pub base_priority: i32,
    /// Zero.
    pub reserved0: u32,
    /// Process id.
    pub unique_process_id: u64,
    /// Parent's id.
    pub inherited_from_unique_process_id: u64,
    /// Handles.
    pub handle_count: u32,
    /// Session.
    pub session_id: u32,
    /// Not kept.
    pub unique_process_key: u64,
    /// Committed bytes, peak.
    pub peak_virtual_size: u64,
    /// Reserved bytes.
    pub virtual_size: u64,
    /// Page faults.
    pub page_fault_count: u32,
    /// Zero.
    pub reserved1: u32,
    /// Peak of the next.
    pub peak_working_set_size: u64,
    /// Bytes of private pages present.
    pub working_set_size: u64,
    /// Kernel memory charged to the quota block, in order: peak paged, paged, peak non-paged, non-paged.
    pub quota: [u64; 4],
    /// Committed bytes.
    pub pagefile_usage: u64,
    /// Peak.
    pub peak_pagefile_usage: u64,
    /// Committed private bytes.
    pub private_page_count: u64,
    /// Not kept.
    pub io: [i64; 6],
}

/// SYSTEM_THREAD_INFORMATION, 0x50 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemThreadInformation {
    /// Not told apart.
    pub kernel_time: i64,
    /// Processor time in 100 ns.
    pub user_time: i64,
    /// System time at creation.
    pub create_time: i64,
    /// Not kept.
    pub wait_time: u32,
    /// Antares: for a thread in an ALPC wait, the port id it waits on.
    pub wait_port: u32,
    /// Start address.
    pub start_address: u64,
    /// Process id.
    pub unique_process: u64,
    /// Thread id.
    pub unique_thread: u64,
    /// Priority.
    pub priority: i32,
    /// Base priority.
    pub base_priority: i32,
    /// Context switches.
    pub context_switches: u32,
    /// KTHREAD_STATE: 0 initialized, 1 ready, 2 running, 4 terminated, 5 waiting.
    pub thread_state: u32,
    /// KWAIT_REASON; see the `WAIT_REASON_` constants.
    pub wait_reason: u32,
    /// Antares: for a thread that waits for a reply, the message id.
    pub wait_message: u32,
}

/// KWAIT_REASON: executive (an object).
pub const WAIT_REASON_EXECUTIVE: u32 = 0;
/// KWAIT_REASON: delay.
pub const WAIT_REASON_DELAY: u32 = 4;
/// KWAIT_REASON: suspended.
pub const WAIT_REASON_SUSPENDED: u32 = 5;
/// KWAIT_REASON: user request (an object).
pub const WAIT_REASON_USER_REQUEST: u32 = 6;
/// KWAIT_REASON: WrQueue.
pub const WAIT_REASON_QUEUE: u32 = 15;
/// KWAIT_REASON: WrLpcReceive.
pub const WAIT_REASON_LPC_RECEIVE: u32 = 16;
/// KWAIT_REASON: WrLpcReply.
pub const WAIT_REASON_LPC_REPLY: u32 = 17;

/// Counts of what the kernel holds. After a program has ended they return to where they were before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemKernelCounters {
    /// Frames of RAM that the allocator manages.
    pub frames_total: u64,
    /// Frames free.
    pub frames_free: u64,
    /// Frames kept ready for new kernel stacks.
    pub frames_cached: u64,
    /// Bytes in use on the kernel heap.
    pub heap_bytes: u64,
    /// Blocks in use on the kernel heap.
    pub heap_blocks: u64,
    /// Handles in all tables.
    pub handles: u64,
    /// Objects alive by type number.
    pub objects: [u64; 16],
    /// Processes alive (not ended).
    pub processes: u64,
    /// Threads alive.
    pub threads: u64,
    /// ALPC messages in existence.
    pub messages: u64,
    /// System calls made.
    pub system_calls: u64,
    /// Context switches.
    pub context_switches: u64,
    /// Interrupts taken.
    pub interrupts: u64,
    /// Page faults resolved.
    pub page_faults: u64,
    /// TLB shoot-downs sent.
    pub tlb_shootdowns: u64,
    /// ALPC requests and replies that took the fast path.
    pub alpc_fast: u64,
    /// Time-stamp counter at kernel entry.
    pub tsc_boot: u64,
    /// Time-stamp counter ticks per second.
    pub tsc_frequency: u64,
    /// Time-stamp counter ticks that processors spent halted.
    pub idle_ticks: u64,
    /// Processor feature bits in use: 1 SMEP, 2 SMAP, 4 UMIP, 8 NX, 16 WP, 32 PCID, 64 XSAVE, 128 AVX, 256 x2APIC.
    pub features: u64,
}

/// One ALPC port.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemPortInformation {
    /// Port id.
    pub port: u32,
    /// 1 connection port, 2 server communication port, 3 client communication port.
    pub kind: u32,
    /// Process that made it.
    pub owner_process: u32,
    /// Id of the connection port of its group.
    pub connection_port: u32,
    /// Id of the other communication port (0 when there is none).
    pub peer_port: u32,
    /// Process at the other side.
    pub peer_process: u32,
    /// ALPC_PORFLG_ flags.
    pub flags: u32,
    /// Bit 0 connection pending, 1 refused, 2 disconnected, 3 closed.
    pub state: u32,
    /// Messages in the main queue.
    pub main_queue: u32,
    /// Messages delivered that are owed a reply.
    pub pending_queue: u32,
    /// Messages received on it so far.
    pub sequence_no: u32,
    /// Threads waiting to receive.
    pub waiters: u32,
    /// Open handles.
    pub handles: u32,
    /// Bytes of the name.
    pub name_length: u32,
    /// Name it was given in the name space (UTF-8), for connection ports.
    pub name: [u8; 64],
}

/// One handle of a process.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemHandleEntry {
    /// Handle value.
    pub handle: u64,
    /// Object id (as in OBJECT_ID_INFORMATION).
    pub object_id: u64,
    /// Granted access.
    pub granted_access: u32,
    /// OBJ_ attributes.
    pub attributes: u32,
    /// Object type number.
    pub object_type: u32,
    /// For processes and threads their id, for ports the port id, for server objects the server's type number.
    pub detail: u32,
}

/// Calls of one system call since boot.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemSyscallCounter {
    /// Number.
    pub number: u64,
    /// Times called.
    pub calls: u64,
}

/// One ALPC message that is queued or pending.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SystemMessageInformation {
    /// Message id.
    pub message_id: u32,
    /// PORT_MESSAGE type with flags.
    pub message_type: u32,
    /// Port in whose queue it is.
    pub queue_port: u32,
    /// Connection port of the group.
    pub connection_port: u32,
    /// 1 main queue, 2 pending (delivered, reply owed), 3 being delivered, 4 large-message queue, 5 canceled queue, 6 posted
    /// to its blocked receiver.
    pub queue: u32,
    /// Sender.
    pub process: u32,
    /// Sender.
    pub thread: u32,
    /// Thread that waits for the reply (0 when none).
    pub waiting_thread: u32,
    /// Payload bytes.
    pub data_length: u32,
    /// Server thread that received it (0 when queued).
    pub server_thread: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_nts() {
        assert_eq!(size_of::<SystemProcessInformation>(), 0x100);
        assert_eq!(core::mem::offset_of!(SystemProcessInformation, unique_process_id), 0x50);
        assert_eq!(core::mem::offset_of!(SystemProcessInformation, private_page_count), 0xC8);
        assert_eq!(size_of::<SystemThreadInformation>(), 0x50);
        assert_eq!(core::mem::offset_of!(SystemThreadInformation, unique_process), 0x28);
        assert_eq!(size_of::<SystemBasicInformation>(), 0x40);
    }
}
