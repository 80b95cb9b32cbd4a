//! Segments and the task state segment of each processor.
//!
//! Owns: the selectors' values and the per-CPU GDT and TSS. Called once per processor at start-up, and
//! by the scheduler at each switch to a thread with another kernel stack. It never owns stacks:
//! their tops are handed in by who maps them (with guard pages). The TSS has no I/O permission bitmap, so
//! no port is open to ring 3. Source: Intel SDM vol. 3, 3.4.5, 8.2.3, 8.7, 6.14.5.

use super::cpu::{msr, rdmsr, wrmsr};
use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;

/// Ring-0 code.
pub const KERNEL_CS: u16 = 0x08;
/// Ring-0 data (SS).
pub const KERNEL_DS: u16 = 0x10;
/// Ring-3 data, with RPL 3.
pub const USER_DS: u16 = 0x1B;
/// Ring-3 64-bit code, with RPL 3.
pub const USER_CS: u16 = 0x23;
/// The TSS.
pub const TSS_SELECTOR: u16 = 0x28;
/// For IA32_STAR: SYSCALL takes CS 0x08 and SS 0x10; SYSRET takes SS 0x18 and CS 0x20 (+8 and +16 on
/// 0x10), both with RPL 3.
pub const STAR: u64 = (0x13 << 48) | (KERNEL_CS as u64) << 32;

/// `ist_tops` index, and (plus one) IST number, of the double fault's stack.
pub const IST_DOUBLE_FAULT: usize = 0;
/// The NMI's stack.
pub const IST_NMI: usize = 1;
/// The machine check's stack.
pub const IST_MACHINE_CHECK: usize = 2;

const TSS_LENGTH: u64 = 104;

/// One processor's GDT and TSS. 256-byte aligned, so that neither crosses a page (Intel SDM vol. 3, 8.2.1).
///
/// The TSS begins at `tss_reserved`, 4 bytes past a multiple of 8: that puts its 64-bit fields, which
/// the architecture leaves at odd multiples of 4 within the TSS, on multiples of 8 in memory.
#[repr(C, align(256))]
pub struct CpuTables {
    gdt: [u64; 8],
    pad: u32,
    tss_reserved: u32,
    rsp0: AtomicU64,
    rsp1: u64,
    rsp2: u64,
    reserved1: u64,
    ist: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    iomap_base: u16,
}

const TSS_OFFSET: usize = offset_of!(CpuTables, tss_reserved);
const _: () = {
    assert!(offset_of!(CpuTables, rsp0) - TSS_OFFSET == 4);
    assert!(offset_of!(CpuTables, ist) - TSS_OFFSET == 36);
    assert!(offset_of!(CpuTables, iomap_base) - TSS_OFFSET == 102);
};

impl CpuTables {
    /// Tables that only `init` makes usable.
    pub const fn new() -> Self {
        Self {
            gdt: [0; 8],
            pad: 0,
            tss_reserved: 0,
            rsp0: AtomicU64::new(0),
            rsp1: 0,
            rsp2: 0,
            reserved1: 0,
            ist: [0; 7],
            reserved2: 0,
            reserved3: 0,
            iomap_base: 0,
        }
    }

    /// The stack that a trap from ring 3 starts on: 16-byte aligned, and unused whenever ring 3 runs.
    pub const fn rsp0(&self) -> &AtomicU64 {
        &self.rsp0
    }
}

impl Default for CpuTables {
    fn default() -> Self {
        Self::new()
    }
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Fills in `tables` and loads them on this processor: GDT, all segment registers, task register. The
/// bases of FS and GS keep their value.
///
/// # Safety
/// Each of `ist_tops` must be 16-byte aligned and end a mapped stack of at least 16 KiB that nothing else uses; the tables and the stacks must stay mapped in every address space.
pub unsafe fn init(tables: &'static mut CpuTables, ist_tops: [u64; 3]) {
    let base = core::ptr::from_mut(tables) as u64;
    let tss = base + TSS_OFFSET as u64;
    // Descriptor types: code 0x9B/0xFB with L, data 0x93/0xF3, accessed bits set so that the processor
    // need not write; 0x89 an available 64-bit TSS.
    tables.gdt = [
        0,
        0x00AF_9B00_0000_FFFF,
        0x00CF_9300_0000_FFFF,
        0x00CF_F300_0000_FFFF,
        0x00AF_FB00_0000_FFFF,
        (TSS_LENGTH - 1) | (tss & 0xFF_FFFF) << 16 | 0x89 << 40 | (tss >> 24 & 0xFF) << 56,
        tss >> 32,
        0,
    ];
    tables.ist[..3].copy_from_slice(&ist_tops);
    tables.iomap_base = TSS_LENGTH as u16;

    let pointer = TablePointer { limit: (size_of::<[u64; 8]>() - 1) as u16, base };
    let fs_base = rdmsr(msr::FS_BASE);
    let gs_base = rdmsr(msr::GS_BASE);
    // SAFETY: the table is filled in, lives for ever and holds a code segment equal to the current
    // mode under KERNEL_CS; the far return goes to the next instruction. Loading FS and GS with
    // null may clear their bases, which are put back.
    unsafe {
        asm!(
            "lgdt [{pointer}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ss, {data:e}",
            "mov ds, {null:e}",
            "mov es, {null:e}",
            "mov fs, {null:e}",
            "mov gs, {null:e}",
            "ltr {task:x}",
            pointer = in(reg) &pointer,
            code = in(reg) u64::from(KERNEL_CS),
            data = in(reg) u32::from(KERNEL_DS),
            null = in(reg) 0u32,
            task = in(reg) TSS_SELECTOR,
            scratch = out(reg) _,
            options(preserves_flags),
        );
        wrmsr(msr::FS_BASE, fs_base);
        wrmsr(msr::GS_BASE, gs_base);
    }
}
