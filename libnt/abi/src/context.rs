//! CONTEXT: a thread's registers, as user APCs save them and NtContinue loads them (64-bit).
//!
//! Layout and values: public SDK headers (winnt.h).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// CONTEXT, 0x4D0 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Context {
    /// Home space of the first parameters; not used.
    pub parameter_home: [u64; 6],
    /// CONTEXT_ flags: which parts are there.
    pub context_flags: u32,
    /// MXCSR.
    pub mx_csr: u32,
    /// Selectors: cs, ds, es, fs, gs, ss.
    pub segments: [u16; 6],
    /// Flags register.
    pub eflags: u32,
    /// Debug registers; not used.
    pub debug: [u64; 6],
    /// Integer registers.
    pub rax: u64,
    /// See `rax`.
    pub rcx: u64,
    /// See `rax`.
    pub rdx: u64,
    /// See `rax`.
    pub rbx: u64,
    /// Stack pointer (a control register).
    pub rsp: u64,
    /// See `rax`.
    pub rbp: u64,
    /// See `rax`.
    pub rsi: u64,
    /// See `rax`.
    pub rdi: u64,
    /// See `rax`.
    pub r8: u64,
    /// See `rax`.
    pub r9: u64,
    /// See `rax`.
    pub r10: u64,
    /// See `rax`.
    pub r11: u64,
    /// See `rax`.
    pub r12: u64,
    /// See `rax`.
    pub r13: u64,
    /// See `rax`.
    pub r14: u64,
    /// See `rax`.
    pub r15: u64,
    /// Instruction pointer (a control register).
    pub rip: u64,
    /// x87 and SSE state as FXSAVE stores it.
    pub float_save: [u8; 512],
    /// Vector registers; not used.
    pub vectors: [u64; 52],
    /// Vector and debug control, last branches; not used.
    pub control: [u64; 6],
}

/// The layout is this processor's; without it a CONTEXT is refused.
pub const CONTEXT_AMD64: u32 = 0x10_0000;
/// `rip`, `rsp`, `eflags` and the selectors cs and ss.
pub const CONTEXT_CONTROL: u32 = CONTEXT_AMD64 | 0x1;
/// The other general registers.
pub const CONTEXT_INTEGER: u32 = CONTEXT_AMD64 | 0x2;
/// `float_save`.
pub const CONTEXT_FLOATING_POINT: u32 = CONTEXT_AMD64 | 0x8;
/// Flags of the flags register that NtContinue takes from a CONTEXT: CF, PF, AF, ZF, SF, TF, DF, OF, RF, AC, ID.
pub const EFLAGS_USER: u32 = 0x25_0DD5;

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::offset_of;

    #[test]
    fn the_layout_is_nts() {
        assert_eq!(size_of::<Context>(), 0x4D0);
        assert_eq!(offset_of!(Context, context_flags), 0x30);
        assert_eq!(offset_of!(Context, segments), 0x38);
        assert_eq!(offset_of!(Context, eflags), 0x44);
        assert_eq!(offset_of!(Context, rax), 0x78);
        assert_eq!(offset_of!(Context, rsp), 0x98);
        assert_eq!(offset_of!(Context, rip), 0xF8);
        assert_eq!(offset_of!(Context, float_save), 0x100);
        assert_eq!(offset_of!(Context, control), 0x4A0);
    }
}
