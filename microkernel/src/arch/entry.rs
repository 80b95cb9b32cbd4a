//! System-call entry and exit.
//!
//! `syscall` comes here with interrupts off (SFMASK) and on the user's stack. The entry switches to the thread's
//! kernel stack, saves every general register as a [`TrapFrame`] (the same that traps save, so that threads can be
//! stopped, inspected and started in one way), and calls [`crate::sys::dispatch`]. Convention: [`abi::syscalls`].
//! Sources: Intel SDM vol. 3, 5.8.8 and 2.2.1; AMD APM vol. 2, 6.1.

use crate::arch::cpu;
use crate::arch::gdt::STAR;
use crate::arch::idt::TrapFrame;
use core::arch::global_asm;

const MSR_STAR: u32 = 0xC000_0081;
const MSR_LSTAR: u32 = 0xC000_0082;
const MSR_SFMASK: u32 = 0xC000_0084;
/// TF, IF, DF, IOPL, NT, RF, AC: off in the kernel.
const SYSCALL_FLAG_MASK: u64 = 0x0005_7700;

// The frame is pushed in the order that `TrapFrame` declares, last field first; its vector is 0x100, which no trap has. GS offsets: `percpu::PerCpu`.
// `sysret` faults in ring 0 on a non-canonical rcx; user memory ends below the canonical hole (`abi::mm::USER_MAX`),
// so that no system call returns to one.
global_asm!(
    ".global antares_syscall_entry",
    "antares_syscall_entry:",
    "swapgs",
    "mov gs:[16], rsp",
    "mov rsp, gs:[8]",
    "push 0x1b",
    "push qword ptr gs:[16]",
    "push r11",
    "push 0x23",
    "push rcx",
    "push 0",
    "push 0x100",
    "push rax",
    "push rbx",
    "push rcx",
    "push rdx",
    "push rsi",
    "push rdi",
    "push rbp",
    "push r8",
    "push r9",
    "push r10",
    "push r11",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "call {dispatch}",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop r11",
    "pop r10",
    "pop r9",
    "pop r8",
    "pop rbp",
    "pop rdi",
    "pop rsi",
    "pop rdx",
    "pop rcx",
    "pop rbx",
    "pop rax",
    "add rsp, 16",
    "pop rcx",
    "add rsp, 8",
    "pop r11",
    "pop rsp",
    "swapgs",
    "sysretq",
    dispatch = sym antares_syscall,
);

unsafe extern "C" {
    fn antares_syscall_entry();
}

extern "C" fn antares_syscall(frame: &mut TrapFrame) {
    crate::sys::dispatch(frame);
    crate::ke::trap::before_user(frame);
}

/// Points this processor's `syscall` instruction here.
pub fn init_this_cpu() {
    let entry: unsafe extern "C" fn() = antares_syscall_entry;
    // SAFETY: the segments are those of the GDT, the entry follows the contract of the instruction.
    unsafe {
        cpu::wrmsr(MSR_STAR, STAR);
        cpu::wrmsr(MSR_LSTAR, entry as usize as u64);
        cpu::wrmsr(MSR_SFMASK, SYSCALL_FLAG_MASK);
    }
}
