//! A thread's extended processor state: x87, SSE, AVX.
//!
//! Owns: the layout and size of the save area and the instructions that fill and load it. Called by
//! the scheduler and the #NM handler, which own the policy (who has the FPU, when it is saved). It never
//! allocates and never looks at whose state it moves. The kernel itself is built without SSE, so
//! between save and restore nothing here disturbs the registers.
//!
//! Areas are 64-byte aligned and in the standard (not compacted) format of XSAVE, so that an area may be
//! copied and looked at. XSAVEOPT is used where present; its condition (Intel SDM vol. 1, 13.6) is that
//! state saved to an area came from the last `restore`, which holds because every thread's state enters
//! the registers by `restore`.

use super::cpu::{self, CR0_TS, Features};
use core::arch::asm;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Alignment of a save area.
pub const AREA_ALIGNMENT: usize = 64;
/// FXSAVE's area, with which XSAVE's begins.
pub const LEGACY_SIZE: usize = 512;
/// Offset of the default control word, and its value: all exceptions masked, 64-bit precision.
const FCW: (usize, u16) = (0, 0x037F);
/// Offset of MXCSR, and its value: all exceptions masked, round to nearest.
const MXCSR: (usize, u32) = (24, 0x1F80);

static AREA_SIZE: AtomicUsize = AtomicUsize::new(0);

/// Bytes of a save area. To be asked after `cpu::init_this_cpu`, which sets XCR0.
pub fn area_size() -> usize {
    let known = AREA_SIZE.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let size = if cpu::features().contains(Features::XSAVE) {
        // EBX: size for the components now enabled in XCR0 (Intel SDM vol. 1, 13.2).
        (cpu::cpuid(0xD, 0).ebx as usize).max(LEGACY_SIZE + 64)
    } else {
        LEGACY_SIZE
    };
    AREA_SIZE.store(size, Ordering::Relaxed);
    size
}

/// Writes the state a new thread starts with. `area` must have at least `area_size()` bytes; what is
/// past that is zeroed too.
pub fn init_area(area: &mut [u8]) {
    // XSTATE_BV (at 512) zero means: every component in its initial state; MXCSR is loaded regardless.
    area.fill(0);
    area[FCW.0..FCW.0 + 2].copy_from_slice(&FCW.1.to_le_bytes());
    area[MXCSR.0..MXCSR.0 + 4].copy_from_slice(&MXCSR.1.to_le_bytes());
}

/// Saves this processor's extended state to `area`. CR0.TS must be clear.
///
/// # Safety
/// `area` must be valid for `area_size()` bytes, 64-byte aligned, not shared, and one that
/// `init_area` once filled in.
pub unsafe fn save(area: *mut u8) {
    let features = cpu::features();
    // SAFETY: the caller vouches for the area; the mask asks for all that XCR0 enables.
    unsafe {
        if features.contains(Features::XSAVEOPT) {
            asm!("xsaveopt64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX,
                options(nostack, preserves_flags));
        } else if features.contains(Features::XSAVE) {
            asm!("xsave64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX,
                options(nostack, preserves_flags));
        } else {
            asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags));
        }
    }
}

/// x87 and SSE state as FXSAVE stores it.
#[repr(C, align(16))]
struct Legacy([u8; LEGACY_SIZE]);

/// Copies this processor's x87 and SSE state out. CR0.TS must be clear.
pub fn save_legacy(to: &mut [u8; LEGACY_SIZE]) {
    let mut legacy = Legacy([0; LEGACY_SIZE]);
    // SAFETY: the area has FXSAVE's size and alignment.
    unsafe { asm!("fxsave64 [{}]", in(reg) &raw mut legacy, options(nostack, preserves_flags)) };
    *to = legacy.0;
}

/// Loads x87 and SSE state from bytes of any origin; upper halves of AVX registers stay. CR0.TS must be clear.
pub fn load_legacy(from: &[u8; LEGACY_SIZE]) {
    let mut mask = [0; LEGACY_SIZE];
    save_legacy(&mut mask);
    // MXCSR_MASK (Intel SDM vol. 1, 11.6.6): a reserved bit in MXCSR would raise #GP here.
    let mask = match u32::from_le_bytes([mask[28], mask[29], mask[30], mask[31]]) {
        0 => 0xFFBF,
        mask => mask,
    };
    let mut legacy = Legacy(*from);
    let at = MXCSR.0..MXCSR.0 + 4;
    let mxcsr = u32::from_le_bytes([from[24], from[25], from[26], from[27]]) & mask;
    legacy.0[at].copy_from_slice(&mxcsr.to_le_bytes());
    // SAFETY: the area has FXRSTOR's size and alignment; the one field that can fault was cut to what exists.
    unsafe { asm!("fxrstor64 [{}]", in(reg) &raw const legacy, options(nostack, preserves_flags)) };
}

/// Loads this processor's extended state from `area`. CR0.TS must be clear.
///
/// # Safety
/// `area` must be valid for `area_size()` bytes, 64-byte aligned, and hold what `save` or `init_area`
/// left there: a made-up area can raise #GP in the kernel.
pub unsafe fn restore(area: *const u8) {
    // SAFETY: the caller vouches for the area and its content.
    unsafe {
        if cpu::features().contains(Features::XSAVE) {
            asm!("xrstor64 [{}]", in(reg) area, in("eax") u32::MAX, in("edx") u32::MAX,
                options(nostack, preserves_flags));
        } else {
            asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags));
        }
    }
}

/// Makes the next FPU instruction on this processor raise #NM.
pub fn set_ts() {
    // SAFETY: TS only makes FPU instructions fault, and the kernel uses none.
    unsafe { cpu::write_cr0(cpu::read_cr0() | CR0_TS) };
}

/// Lets FPU instructions run on this processor.
pub fn clear_ts() {
    // SAFETY: as for `set_ts`.
    unsafe { asm!("clts", options(nomem, nostack, preserves_flags)) };
}

/// Unmasked exceptions that the x87 status word holds.
pub fn x87_exceptions() -> u32 {
    let (mut status, mut control) = (0u16, 0u16);
    // SAFETY: stores two words; the caller's thread owns the FPU now.
    unsafe {
        asm!("fnstsw [{}]", "fnstcw [{}]", in(reg) &raw mut status, in(reg) &raw mut control, options(nostack));
    }
    u32::from(status & !control & 0x3F)
}

/// Unmasked exceptions that MXCSR holds.
pub fn sse_exceptions() -> u32 {
    let mut mxcsr = 0u32;
    // SAFETY: stores one word; the caller's thread owns the FPU now.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack)) };
    mxcsr & !(mxcsr >> 7) & 0x3F
}
