//! System-call entry and exit.
//!
//! `syscall` comes here with interrupts off (SFMASK) and on the user's stack. The entry switches to the thread's
//! kernel stack, saves every general register as a [`TrapFrame`] (the same that traps save, so that threads can be
//! stopped, inspected and started in one way), and calls [`crate::sys::dispatch`]. It goes back with `sysret` and only the
//! registers that the kernel's code does not keep itself; if there was something to do before user mode, which may have
//! changed the frame, it goes back as from a trap. Convention: [`abi::syscalls`].
//! Sources: Intel SDM vol. 3, 5.8.8 and 2.2.1; AMD APM vol. 2, 6.1.

use crate::arch::cpu;
use crate::arch::gdt::STAR;
use crate::arch::idt::TrapFrame;
use crate::ke::trap;
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
    // The compiler's code has kept rbx and r12 to r15.
    "mov r10, [rsp + 40]",
    "mov r9, [rsp + 48]",
    "mov r8, [rsp + 56]",
    "mov rbp, [rsp + 64]",
    "mov rdi, [rsp + 72]",
    "mov rsi, [rsp + 80]",
    "mov rdx, [rsp + 88]",
    "mov rcx, [rsp + 136]",
    "mov r11, [rsp + 152]",
    "mov rsp, [rsp + 160]",
    "swapgs",
    "sysretq",
    dispatch = sym antares_syscall,
);

// rdi = frame: leaves the kernel with every register as the frame has it.
global_asm!("antares_resume:", "mov rsp, rdi", "jmp antares_trap_return",);

unsafe extern "C" {
    fn antares_syscall_entry();
    fn antares_resume(frame: &mut TrapFrame) -> !;
}

/// Returns the status; the frame, which nobody changed, has the rest.
extern "C" fn antares_syscall(frame: &mut TrapFrame) -> u32 {
    let status = crate::sys::dispatch(frame).0;
    if !trap::is_quiet() {
        frame.rax = u64::from(status);
        trap::before_user(frame);
        // SAFETY: the frame is this thread's own, at the top of its kernel stack, and nothing below it is needed any more.
        unsafe { antares_resume(frame) }
    }
    status
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
