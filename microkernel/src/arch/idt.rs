//! All 256 interrupt vectors: the entry stubs, the trap frame, and the way back.
//!
//! Owns: the IDT and every instruction between an interrupt or exception and `antares_trap`, and from
//! its return to the IRETQ. Called by the processor; `init` and `load` by start-up. It decides nothing:
//! which vector means what is `antares_trap`'s business. All gates are interrupt gates, so a handler
//! starts with interrupts off; the direction flag and RFLAGS.AC (SMAP's override) are clear in it.
//!
//! **GS.** In the kernel GS base is the per-CPU block; SWAPGS exchanges it with ring 3's. An ordinary
//! entry looks at the saved CS. That is not enough for NMI, #DF and #MC, which may hit the kernel between
//! SYSCALL and its SWAPGS, or between the SWAPGS and the IRETQ on the way out: these look at the GS base
//! itself, where a negative address is the kernel's. Ring 3 must therefore never get a negative GS base
//! (CR4.FSGSBASE is clear, and the kernel must refuse one). One ordinary fault can also happen
//! there: an IRETQ to a bad ring-3 context. The entry knows that instruction's address and swaps;
//! `is_return_fault` lets the handler end the thread instead of the system.
//!
//! **Not safe against**: a debug exception on the first instruction of the system-call entry (MOV SS
//! with a data breakpoint on it, CVE-2018-8897). Ring 3 cannot set debug registers; before it may, #DB
//! needs the paranoid entry and an IST stack too.
//!
//! Sources: Intel SDM vol. 3, 6.10 to 6.14; AMD APM vol. 2, 8.9.

use super::cpu::{self, Features};
use super::gdt::{IST_DOUBLE_FAULT, IST_MACHINE_CHECK, IST_NMI, KERNEL_CS, USER_CS, USER_DS};
use core::arch::{asm, global_asm};
use core::cell::UnsafeCell;
use core::mem::{offset_of, size_of};
use core::sync::atomic::AtomicU8;

/// The interrupted context, as it lies on the kernel stack.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct TrapFrame {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
    /// Which vector was taken.
    pub vector: u64,
    /// The processor's error code, 0 for vectors without one.
    pub error_code: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
}

impl TrapFrame {
    /// Whether ring 3 was interrupted.
    pub fn is_user(&self) -> bool {
        self.cs & 3 != 0
    }

    /// Adds to the frame of a system call what its entry leaves out.
    pub fn complete(&mut self) {
        if self.vector == SYSTEM_CALL {
            (self.rcx, self.r11) = (self.rip, self.rflags);
            (self.cs, self.ss) = (USER_CS.into(), USER_DS.into());
            (self.vector, self.error_code) = (COMPLETED, 0);
        }
    }

    /// The frame that lies in memory as these words.
    pub fn from_words(words: [u64; 22]) -> Self {
        let [r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax, rest @ ..] = words;
        let [vector, error_code, rip, cs, rflags, rsp, ss] = rest;
        Self {
            r15,
            r14,
            r13,
            r12,
            r11,
            r10,
            r9,
            r8,
            rbp,
            rdi,
            rsi,
            rdx,
            rcx,
            rbx,
            rax,
            vector,
            error_code,
            rip,
            cs,
            rflags,
            rsp,
            ss,
        }
    }
}

/// [`TrapFrame::vector`] of a system call whose entry has left rcx, r11, cs, ss and the error code as they were: no trap has it.
pub const SYSTEM_CALL: u64 = 0x100;
/// That of a system call's frame to which they were added.
const COMPLETED: u64 = 0x101;

// The assembly below counts on these.
const _: () = {
    assert!(size_of::<TrapFrame>() == 22 * 8);
    assert!(offset_of!(TrapFrame, vector) == 15 * 8);
    assert!(offset_of!(TrapFrame, cs) - offset_of!(TrapFrame, vector) == 24);
};

/// Whether the stubs may use CLAC, which only exists with SMAP.
#[unsafe(no_mangle)]
static ANTARES_TRAP_CLAC: AtomicU8 = AtomicU8::new(0);

// One stub per vector, 16 bytes apart. The vectors with an error code of their own: 8, 10 to 14, 17, 21,
// 29, 30.
global_asm!(
    r#"
    .macro ANTARES_PUSH_REGISTERS
        pushq %rax
        pushq %rbx
        pushq %rcx
        pushq %rdx
        pushq %rsi
        pushq %rdi
        pushq %rbp
        pushq %r8
        pushq %r9
        pushq %r10
        pushq %r11
        pushq %r12
        pushq %r13
        pushq %r14
        pushq %r15
    .endm

    .macro ANTARES_POP_REGISTERS
        popq %r15
        popq %r14
        popq %r13
        popq %r12
        popq %r11
        popq %r10
        popq %r9
        popq %r8
        popq %rbp
        popq %rdi
        popq %rsi
        popq %rdx
        popq %rcx
        popq %rbx
        popq %rax
    .endm

    .section .text.antares_trap_entry, "ax", @progbits
    .balign 16
    .globl antares_trap_stubs
    .type antares_trap_stubs, @function
antares_trap_stubs:
    .set antares_vector, 0
    .rept 256
        .balign 16
        .set antares_has_code, (antares_vector == 8) || (antares_vector == 17) || (antares_vector == 21)
        .set antares_has_code, antares_has_code || ((antares_vector >= 10) && (antares_vector <= 14))
        .set antares_has_code, antares_has_code || (antares_vector == 29) || (antares_vector == 30)
        .if antares_has_code
        .else
            pushq $0
        .endif
        pushq $antares_vector
        .if (antares_vector == 2) || (antares_vector == 8) || (antares_vector == 18)
            jmp antares_trap_paranoid
        .else
            jmp antares_trap_common
        .endif
        .set antares_vector, antares_vector + 1
    .endr
    .size antares_trap_stubs, . - antares_trap_stubs

    // At entry: vector, error code, rip, cs, rflags, rsp, ss from rsp upwards.
    .balign 16
    .type antares_trap_common, @function
antares_trap_common:
    cld
    testb $3, 24(%rsp)
    jnz 1f
    // From ring 0. Only the IRETQ below can fault with ring 3's GS base in place.
    cmpq $antares_trap_iretq, 16(%rsp)
    jne 2f
1:  swapgs
2:  lfence
    ANTARES_PUSH_REGISTERS
    cmpb $0, {clac}(%rip)
    je 3f
    clac
3:  movq %rsp, %rdi
    // A frame for stack walks: the interrupted rip above the interrupted rbp is not at hand, so end the
    // chain.
    xorl %ebp, %ebp
    call antares_trap
    .size antares_trap_common, . - antares_trap_common

    // Also jumped to, with a TrapFrame at rsp, to start a user thread. Interrupts are off.
    .globl antares_trap_return
    .type antares_trap_return, @function
antares_trap_return:
    ANTARES_POP_REGISTERS
    testb $3, 24(%rsp)
    jz 1f
    swapgs
1:  addq $16, %rsp
    .globl antares_trap_iretq
antares_trap_iretq:
    iretq
    .size antares_trap_return, . - antares_trap_return

    .balign 16
    .type antares_trap_paranoid, @function
antares_trap_paranoid:
    cld
    ANTARES_PUSH_REGISTERS
    cmpb $0, {clac}(%rip)
    je 1f
    clac
1:  movl $0xC0000101, %ecx
    rdmsr
    xorl %ebx, %ebx
    testl %edx, %edx
    js 2f
    swapgs
    movl $1, %ebx
2:  lfence
    movq %rsp, %rdi
    xorl %ebp, %ebp
    call antares_trap
    testl %ebx, %ebx
    jz 3f
    swapgs
3:  ANTARES_POP_REGISTERS
    addq $16, %rsp
    iretq
    .size antares_trap_paranoid, . - antares_trap_paranoid
    .text
    "#,
    clac = sym ANTARES_TRAP_CLAC,
    options(att_syntax)
);

unsafe extern "C" {
    static antares_trap_stubs: u8;
    static antares_trap_iretq: u8;
}

/// Whether a fault at kernel address `rip` was the return to ring 3 itself failing, because the ring-3
/// context is impossible (a non-canonical RIP): the thread is to blame, not the kernel.
pub fn is_return_fault(rip: u64) -> bool {
    rip == &raw const antares_trap_iretq as u64
}

/// An IDT entry (Intel SDM vol. 3, 6.14.1).
#[repr(C)]
#[derive(Clone, Copy)]
struct Gate {
    low: u64,
    high: u64,
}

#[repr(C, align(4096))]
struct Table(UnsafeCell<[Gate; 256]>);

// SAFETY: written by `init` on the boot processor before any other processor or interrupt reads it,
// never afterwards.
unsafe impl Sync for Table {}

static IDT: Table = Table(UnsafeCell::new([Gate { low: 0, high: 0 }; 256]));

const BREAKPOINT: usize = 3;
const OVERFLOW: usize = 4;

/// Fills in the IDT. Once, on the boot processor, before `load`.
pub fn init() {
    let clac = cpu::features().contains(Features::SMAP);
    ANTARES_TRAP_CLAC.store(clac.into(), core::sync::atomic::Ordering::Relaxed);
    let stubs = &raw const antares_trap_stubs as u64;
    for vector in 0..256usize {
        let handler = stubs + 16 * vector as u64;
        let ist = match vector {
            8 => IST_DOUBLE_FAULT as u64 + 1,
            2 => IST_NMI as u64 + 1,
            18 => IST_MACHINE_CHECK as u64 + 1,
            _ => 0,
        };
        let dpl = if vector == BREAKPOINT || vector == OVERFLOW { 3 } else { 0 };
        // Present, type 0xE: 64-bit interrupt gate.
        let kind: u64 = 0x8E | dpl << 5;
        let low = (handler & 0xFFFF)
            | u64::from(KERNEL_CS) << 16
            | ist << 32
            | kind << 40
            | (handler >> 16 & 0xFFFF) << 48;
        // SAFETY: the index is within the table, and nobody else touches it yet (see `Sync` above).
        unsafe { (*IDT.0.get())[vector] = Gate { low, high: handler >> 32 } };
    }
}

/// Where the IDT is, and the offset of its last byte.
pub fn address() -> (u64, u32) {
    (IDT.0.get() as u64, (size_of::<[Gate; 256]>() - 1) as u32)
}

/// Loads the IDT on this processor.
pub fn load() {
    #[repr(C, packed)]
    struct Pointer {
        limit: u16,
        base: u64,
    }
    let pointer = Pointer { limit: (size_of::<[Gate; 256]>() - 1) as u16, base: IDT.0.get() as u64 };
    // SAFETY: the table is static; its gates lead to the stubs above.
    unsafe { asm!("lidt [{}]", in(reg) &pointer, options(readonly, nostack, preserves_flags)) };
}
