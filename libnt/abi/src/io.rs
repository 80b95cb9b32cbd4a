//! Hardware and system authority as handles (Antares): what a user-mode driver or a system server holds.
//!
//! A resource is a range of one kind. The kernel gives the first process one resource of kind
//! [`RESOURCE_ROOT`]; narrower ones are derived from it with NtxCreateResource and handed on. A server has
//! exactly the authority it was handed.

/// Everything: any resource can be derived from it.
pub const RESOURCE_ROOT: u32 = 0;
/// A range of I/O ports (base, count).
pub const RESOURCE_IO_PORTS: u32 = 1;
/// A range of physical addresses that are not RAM (base, bytes), for NtCreateSection with SEC_PHYSICAL.
pub const RESOURCE_PHYSICAL: u32 = 2;
/// A range of global system interrupts (base, count).
pub const RESOURCE_IRQ: u32 = 3;
/// The right to trace, to read the kernel's state and log, and to stop it.
pub const RESOURCE_DEBUG: u32 = 4;
/// The right to end the system (NtShutdownSystem).
pub const RESOURCE_POWER: u32 = 5;
/// The right to make quota blocks (NtSetInformationProcess, ProcessQuotaLimits) and to raise priorities past 15.
pub const RESOURCE_QUOTA: u32 = 6;

/// NtShutdownSystem: halt.
pub const SHUTDOWN_NO_REBOOT: u32 = 0;
/// NtShutdownSystem: restart.
pub const SHUTDOWN_REBOOT: u32 = 1;
/// NtShutdownSystem: power off.
pub const SHUTDOWN_POWER_OFF: u32 = 2;

/// NtSystemDebugControl (Antares use of the command number): stop with bugcheck MANUALLY_INITIATED_CRASH (0xE2).
pub const DEBUG_CONTROL_BUGCHECK: u32 = 1;
