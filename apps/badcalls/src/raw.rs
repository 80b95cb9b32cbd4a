//! A system call with any number and any words.

use core::arch::asm;

/// Words that a call takes at most.
pub const WORDS: usize = 11;

/// Makes a system call.
///
/// # Safety
/// Memory that the call may write or change with these words must be nobody's but the tests'.
pub unsafe fn call(number: u32, words: &[u64; WORDS]) -> u32 {
    let status;
    // SAFETY: the words are read from the array; the kernel keeps all registers but rax, rcx and r11, and those that are
    // loaded here are declared; rbx, which the compiler keeps for itself, is restored. The rest is the caller's promise.
    unsafe {
        asm!(
            "push rbx",
            "mov rdi, [rcx]",
            "mov rsi, [rcx + 8]",
            "mov rdx, [rcx + 16]",
            "mov r10, [rcx + 24]",
            "mov r8, [rcx + 32]",
            "mov r9, [rcx + 40]",
            "mov r12, [rcx + 48]",
            "mov r13, [rcx + 56]",
            "mov r14, [rcx + 64]",
            "mov r15, [rcx + 72]",
            "mov rbx, [rcx + 80]",
            "syscall",
            "pop rbx",
            inout("eax") number => status,
            inout("rcx") words => _,
            out("rdi") _,
            out("rsi") _,
            out("rdx") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            out("r11") _,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
        );
    }
    status
}
