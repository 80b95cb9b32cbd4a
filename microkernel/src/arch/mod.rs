//! The processor and the platform: everything that is x86_64.
//!
//! Owns traps, system-call entry, context switches, page-table entries, user copies, APICs and the platform's tables.
//! The rest of the kernel calls it through safe functions; it never decides policy.

pub mod acpi;
pub mod apic;
pub mod cpu;
pub mod entry;
pub mod fpu;
pub mod gdt;
pub mod idt;
pub mod ioapic;
pub mod paging;
pub mod percpu;
pub mod serial;
pub mod smp;
pub mod switch;
pub mod time;
pub mod usercopy;
