//! The processor's own instructions and registers: CPUID, MSRs, control registers, ports, halting.
//!
//! Owns: which processor features the kernel uses, and the value of EFER, CR0, CR4 and XCR0 on every
//! processor. Called by everything in `arch`, by paging (CR3, INVLPG) and by the scheduler's idle loop. It
//! never allocates, never takes a lock and knows nothing of per-CPU data.
//!
//! **Caching.** The PAT keeps the layout it has at reset, which is also what the Limine protocol
//! promises for its first four entries (Intel SDM vol. 3, 13.12.4): a page-table entry selects with
//! its bits PCD:PWT (bit 4, bit 3) 00 write-back, 01 write-through, 10 UC-, 11 uncached. So MMIO is
//! mapped with **PCD and PWT both set** (0x18), with the PAT bit (7 in a 4 KiB entry, 12 in a large one)
//! clear.
//!
//! **GS base.** CR4.FSGSBASE stays clear, so ring 3 cannot write its GS base: the trap entry for NMI,
//! double fault and machine check tells kernel from user GS base by its sign and relies on that.

use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

bitflags::bitflags! {
    /// What the processor can do, of the things the kernel would use.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Features: u64 {
        /// Supervisor-mode execution prevention.
        const SMEP = 1;
        /// Supervisor-mode access prevention.
        const SMAP = 2;
        /// User-mode instruction prevention (SGDT, SIDT, SLDT, SMSW, STR).
        const UMIP = 4;
        /// No-execute pages.
        const NX = 8;
        /// CR0.WP; every x86-64 processor has it.
        const WP = 16;
        /// Process-context identifiers.
        const PCID = 32;
        /// XSAVE and XRSTOR.
        const XSAVE = 64;
        /// AVX, and the XSAVE state for it.
        const AVX = 128;
        /// x2APIC mode of the local APIC.
        const X2APIC = 256;
        /// RDFSBASE and the like. Left off, see the head of the file.
        const FSGSBASE = 1 << 9;
        /// RDTSCP.
        const RDTSCP = 1 << 10;
        /// The local APIC timer can fire at a TSC value.
        const TSC_DEADLINE = 1 << 11;
        /// The TSC runs at one rate in every power state.
        const INVARIANT_TSC = 1 << 12;
        /// Global pages.
        const PGE = 1 << 13;
        /// XSAVEOPT.
        const XSAVEOPT = 1 << 14;
        /// Machine-check exception.
        const MCE = 1 << 15;
        /// 1 GiB pages.
        const GIB_PAGES = 1 << 16;
        /// INVPCID.
        const INVPCID = 1 << 17;
        /// Running under a hypervisor or emulator that says so.
        const HYPERVISOR = 1 << 18;
        /// Five-level paging is possible.
        const LA57 = 1 << 19;
        /// RDRAND.
        const RDRAND = 1 << 20;
        /// RDSEED.
        const RDSEED = 1 << 21;
    }
}

/// Set in `FEATURES` once it has been computed.
const KNOWN: u64 = 1 << 63;
static FEATURES: AtomicU64 = AtomicU64::new(0);

/// The features of the processor that asked first, which is the boot processor.
pub fn features() -> Features {
    let cached = FEATURES.load(Ordering::Relaxed);
    if cached & KNOWN != 0 {
        return Features::from_bits_truncate(cached);
    }
    let found = detect();
    FEATURES.store(found.bits() | KNOWN, Ordering::Relaxed);
    found
}

/// True when address spaces can have identifiers in the TLB.
pub fn has_pcids() -> bool {
    features().contains(Features::PCID)
}

fn detect() -> Features {
    let highest = cpuid(0, 0).eax;
    let highest_extended = cpuid(0x8000_0000, 0).eax;
    let one = cpuid(1, 0);
    let seven = if highest >= 7 { cpuid(7, 0) } else { CpuidResult::default() };
    let xsave_bits = if highest >= 0xD { cpuid(0xD, 1).eax } else { 0 };
    let xcr0_valid = if highest >= 0xD { cpuid(0xD, 0).eax } else { 0 };
    let ext1 = if highest_extended >= 0x8000_0001 { cpuid(0x8000_0001, 0) } else { CpuidResult::default() };
    let ext7 = if highest_extended >= 0x8000_0007 { cpuid(0x8000_0007, 0) } else { CpuidResult::default() };
    let xsave = one.ecx >> 26 & 1 != 0 && highest >= 0xD;

    let mut features = Features::WP;
    features.set(Features::PCID, one.ecx >> 17 & 1 != 0);
    features.set(Features::X2APIC, one.ecx >> 21 & 1 != 0);
    features.set(Features::TSC_DEADLINE, one.ecx >> 24 & 1 != 0);
    features.set(Features::XSAVE, xsave);
    features.set(Features::AVX, xsave && one.ecx >> 28 & 1 != 0 && xcr0_valid & 7 == 7);
    features.set(Features::XSAVEOPT, xsave && xsave_bits & 1 != 0);
    features.set(Features::RDRAND, one.ecx >> 30 & 1 != 0);
    features.set(Features::HYPERVISOR, one.ecx >> 31 & 1 != 0);
    features.set(Features::MCE, one.edx >> 7 & 1 != 0);
    features.set(Features::PGE, one.edx >> 13 & 1 != 0);
    features.set(Features::FSGSBASE, seven.ebx & 1 != 0);
    features.set(Features::SMEP, seven.ebx >> 7 & 1 != 0);
    features.set(Features::INVPCID, seven.ebx >> 10 & 1 != 0);
    features.set(Features::RDSEED, seven.ebx >> 18 & 1 != 0);
    features.set(Features::SMAP, seven.ebx >> 20 & 1 != 0);
    features.set(Features::UMIP, seven.ecx >> 2 & 1 != 0);
    features.set(Features::LA57, seven.ecx >> 16 & 1 != 0);
    features.set(Features::NX, ext1.edx >> 20 & 1 != 0);
    features.set(Features::GIB_PAGES, ext1.edx >> 26 & 1 != 0);
    features.set(Features::RDTSCP, ext1.edx >> 27 & 1 != 0);
    features.set(Features::INVARIANT_TSC, ext7.edx >> 8 & 1 != 0);
    features
}

/// The registers CPUID answers in.
#[derive(Debug, Clone, Copy, Default)]
pub struct CpuidResult {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// CPUID of `leaf` and `subleaf`.
pub fn cpuid(leaf: u32, subleaf: u32) -> CpuidResult {
    let (eax, ebx, ecx, edx);
    // SAFETY: CPUID only writes these four registers; RBX, which the compiler keeps for itself, is put
    // back.
    unsafe {
        asm!(
            "mov {saved:r}, rbx",
            "cpuid",
            "xchg {saved:r}, rbx",
            saved = out(reg) ebx,
            inout("eax") leaf => eax,
            inout("ecx") subleaf => ecx,
            out("edx") edx,
            options(nostack, preserves_flags),
        );
    }
    let ebx: u64 = ebx;
    CpuidResult { eax, ebx: ebx as u32, ecx, edx }
}

/// Model-specific registers used by the kernel (Intel SDM vol. 4).
pub mod msr {
    /// Local APIC base and mode.
    pub const APIC_BASE: u32 = 0x1B;
    /// TSC value at which the local APIC timer fires.
    pub const TSC_DEADLINE: u32 = 0x6E0;
    /// First x2APIC register; register at MMIO offset `o` is this plus `o / 16`.
    pub const X2APIC: u32 = 0x800;
    /// Extended features: SCE, LME, LMA, NXE.
    pub const EFER: u32 = 0xC000_0080;
    /// FS base.
    pub const FS_BASE: u32 = 0xC000_0100;
    /// GS base in use.
    pub const GS_BASE: u32 = 0xC000_0101;
    /// GS base that SWAPGS brings in.
    pub const KERNEL_GS_BASE: u32 = 0xC000_0102;
}

const EFER_SCE: u64 = 1;
const EFER_NXE: u64 = 1 << 11;

const CR0_MP: u64 = 1 << 1;
const CR0_EM: u64 = 1 << 2;
/// CR0.TS: the next use of the FPU raises #NM.
pub const CR0_TS: u64 = 1 << 3;
const CR0_NE: u64 = 1 << 5;
const CR0_WP: u64 = 1 << 16;
const CR0_AM: u64 = 1 << 18;

const CR4_TSD: u64 = 1 << 2;
const CR4_DE: u64 = 1 << 3;
const CR4_MCE: u64 = 1 << 6;
const CR4_PGE: u64 = 1 << 7;
const CR4_PCE: u64 = 1 << 8;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const CR4_UMIP: u64 = 1 << 11;
/// Five-level paging is on.
pub const CR4_LA57: u64 = 1 << 12;
const CR4_FSGSBASE: u64 = 1 << 16;
const CR4_PCIDE: u64 = 1 << 17;
const CR4_OSXSAVE: u64 = 1 << 18;
const CR4_SMEP: u64 = 1 << 20;
const CR4_SMAP: u64 = 1 << 21;
const CR4_PKE: u64 = 1 << 22;
const CR4_CET: u64 = 1 << 23;

/// XCR0: x87, SSE.
const XCR0_BASE: u64 = 3;
/// XCR0: the upper halves of the AVX registers.
const XCR0_AVX: u64 = 4;

/// Puts this processor into the state the kernel is written for. Every processor calls it once,
/// early, after loading page tables in which the kernel is not in a user page (SMEP, SMAP).
///
/// EFER: SCE, NXE. CR0: WP, NE, MP set, EM and AM clear, TS as found. CR4: SMEP, SMAP, UMIP, PGE, MCE,
/// PCIDE, OSXSAVE where present, OSFXSR, OSXMMEXCPT, DE; FSGSBASE, PCE, PKE, CET and TSD clear. XCR0: x87,
/// SSE, AVX where present, and nothing more, so that a thread's extended state is bounded and known.
/// (Intel SDM vol. 3, 2.2.1, 2.5, 2.6.)
pub fn init_this_cpu() {
    let features = features();

    let mut efer = rdmsr(msr::EFER) | EFER_SCE;
    if features.contains(Features::NX) {
        efer |= EFER_NXE;
    }
    // SAFETY: SCE only enables SYSCALL, NXE is set only where it exists; LME and LMA keep their value.
    unsafe { wrmsr(msr::EFER, efer) };

    let cr0 = (read_cr0() | CR0_WP | CR0_NE | CR0_MP) & !(CR0_EM | CR0_AM);
    // SAFETY: paging and protection stay on; the bits changed only forbid accesses or route x87 errors.
    unsafe { write_cr0(cr0) };

    let mut cr4 = read_cr4() | CR4_DE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    cr4 &= !(CR4_TSD | CR4_PCE | CR4_FSGSBASE | CR4_PKE | CR4_CET);
    for (feature, bit) in [
        (Features::SMEP, CR4_SMEP),
        (Features::SMAP, CR4_SMAP),
        (Features::UMIP, CR4_UMIP),
        (Features::PGE, CR4_PGE),
        (Features::MCE, CR4_MCE),
        (Features::PCID, CR4_PCIDE),
        (Features::XSAVE, CR4_OSXSAVE),
    ] {
        if features.contains(feature) {
            cr4 |= bit;
        }
    }
    if features.contains(Features::PCID) {
        // SAFETY: the same tables, with identifier 0.
        unsafe { write_cr3(read_cr3() & !0xFFF) };
    }
    // SAFETY: every bit set is one that CPUID reported; the paging bits PAE and LA57 keep their value, and CR3 has
    // identifier 0, as setting PCIDE wants it (SDM vol. 3, 4.10.1).
    unsafe { write_cr4(cr4) };
    // AC would lift SMAP; a boot loader may have left it set.
    if features.contains(Features::SMAP) {
        // SAFETY: SMAP exists, so CLAC does; it only clears RFLAGS.AC.
        unsafe { asm!("clac", options(nomem, nostack)) };
    }

    if features.contains(Features::XSAVE) {
        let avx = if features.contains(Features::AVX) { XCR0_AVX } else { 0 };
        // SAFETY: OSXSAVE is on, and the components are ones CPUID lists as valid in XCR0.
        unsafe { xsetbv(XCR0_BASE | avx) };
    }
}

/// Reads a model-specific register. One that does not exist raises #GP.
pub fn rdmsr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: RDMSR writes EAX and EDX and has no effect on memory.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register.
///
/// # Safety
/// The register must exist, and the new value must not break what the running code relies on.
pub unsafe fn wrmsr(register: u32, value: u64) {
    // SAFETY: the caller vouches for register and value.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// Writes XCR0.
///
/// # Safety
/// CR4.OSXSAVE must be set and `value` a combination that CPUID leaf 0xD allows.
unsafe fn xsetbv(value: u64) {
    // SAFETY: the caller vouches for it.
    unsafe {
        asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32,
            options(nostack, preserves_flags));
    }
}

/// The time-stamp counter, read after all earlier instructions have completed (LFENCE first, Intel
/// SDM vol. 2, RDTSC).
pub fn rdtsc() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter; CR4.TSD does not concern ring 0.
    unsafe {
        asm!("lfence", "rdtsc", out("eax") low, out("edx") high, options(nostack, preserves_flags));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// The time-stamp counter without ordering: for time stamps on fast paths.
pub fn rdtsc_unordered() -> u64 {
    let counter;
    // SAFETY: reads a counter.
    unsafe {
        asm!("rdtsc", "shl rdx, 32", "or rax, rdx", out("rax") counter, out("rdx") _, options(nomem, nostack));
    }
    counter
}

/// As [`rdtsc_unordered`], in its lower and upper half, as the processor gives it.
#[inline(always)]
pub fn rdtsc_halves() -> (u32, u32) {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter.
    unsafe {
        asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    (low, high)
}

macro_rules! control_register {
    ($read:ident, $name:literal) => {
        #[doc = concat!("Reads ", $name, ".")]
        pub fn $read() -> u64 {
            let value;
            // SAFETY: reading a control register changes nothing.
            unsafe { asm!(concat!("mov {}, ", $name), out(reg) value, options(nostack, preserves_flags)) };
            value
        }
    };
    ($read:ident, $write:ident, $name:literal) => {
        control_register!($read, $name);
        #[doc = concat!("Writes ", $name, ".")]
        ///
        /// # Safety
        /// The running code, its stack and all live references must still be valid under the new value.
        pub unsafe fn $write(value: u64) {
            // SAFETY: the caller vouches for the value. Not `nomem`: memory may look different after it.
            unsafe { asm!(concat!("mov ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
        }
    };
}

control_register!(read_cr0, write_cr0, "cr0");
control_register!(read_cr2, "cr2");
control_register!(read_cr3, write_cr3, "cr3");
control_register!(read_cr4, write_cr4, "cr4");

/// Drops this processor's translation of the page at `address` (current PCID, and global pages).
pub fn invlpg(address: u64) {
    // SAFETY: dropping a cached translation is always allowed; the next access walks the tables.
    // Not `nomem`, so that stores to page tables before it stay before it.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack, preserves_flags)) };
}

/// Drops all of this processor's translations: of every PCID, and global ones.
pub fn forget_all_translations() {
    let cr4 = read_cr4();
    // SAFETY: clearing and setting PGE drops translations and nothing else (Intel SDM vol. 3, 4.10.4.1).
    unsafe {
        write_cr4(cr4 & !CR4_PGE);
        write_cr4(cr4);
    }
}

macro_rules! port_input {
    ($name:ident, $type:ty, $instruction:literal, $register:tt) => {
        /// Reads an I/O port of that width.
        pub fn $name(port: u16) -> $type {
            let value;
            // SAFETY: a read from a port reaches no memory of ours.
            unsafe {
                asm!($instruction, in("dx") port, out($register) value, options(nostack, preserves_flags));
            }
            value
        }
    };
}

macro_rules! port_output {
    ($name:ident, $type:ty, $instruction:literal, $register:tt) => {
        /// Writes an I/O port of that width.
        ///
        /// # Safety
        /// The device must not be made to touch memory that Rust code relies on.
        pub unsafe fn $name(port: u16, value: $type) {
            // SAFETY: the caller vouches for the device's behaviour.
            unsafe {
                asm!($instruction, in("dx") port, in($register) value, options(nostack, preserves_flags));
            }
        }
    };
}

port_input!(inb, u8, "in al, dx", "al");
port_input!(inw, u16, "in ax, dx", "ax");
port_input!(inl, u32, "in eax, dx", "eax");
port_output!(outb, u8, "out dx, al", "al");
port_output!(outw, u16, "out dx, ax", "ax");
port_output!(outl, u32, "out dx, eax", "eax");

/// Disables interrupts on this processor.
pub fn cli() {
    // SAFETY: fewer interruptions break nothing. Not `nomem`: it opens a critical section.
    unsafe { asm!("cli", options(nostack)) };
}

/// Halts until an interrupt (with interrupts off: until NMI, SMI or reset).
pub fn hlt() {
    // SAFETY: waiting changes nothing.
    unsafe { asm!("hlt", options(nostack)) };
}

/// One past the highest physical address that page tables can hold (CPUID leaf 0x8000_0008).
pub fn physical_limit() -> u64 {
    let bits = cpuid(0x8000_0008, 0).eax & 0xFF;
    1 << bits.clamp(32, 52)
}

/// Takes the interrupts that are pending, and turns them off again. STI holds interrupts back for one instruction more
/// (Intel SDM vol. 2, STI), so there must be one in between.
pub fn sti_cli() {
    // SAFETY: handlers run on this stack as on any other; interrupts are off again after it.
    unsafe { asm!("sti", "nop", "cli", options(nostack)) };
}

/// The idle step: enable interrupts, halt until one has been handled, disable them again. STI's
/// one-instruction shadow (Intel SDM vol. 2, STI) means that no interrupt falls between the check the
/// caller made with interrupts off and the halt.
pub fn sti_hlt_cli() {
    // SAFETY: as for `sti`, `hlt` and `cli`.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}
