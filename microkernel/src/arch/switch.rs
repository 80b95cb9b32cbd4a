//! The context switch: from one kernel stack to another.
//!
//! Only callee-saved registers and the stack pointer are exchanged; everything else is on the stacks. Called by
//! [`crate::ke::sched`] with the dispatcher lock held, which the other side opens.

use crate::arch::idt::TrapFrame;
use core::arch::{global_asm, naked_asm};

/// Saves the callee-saved registers on this stack, leaves its pointer in `*save`, and goes on where the stack `load`
/// was left.
///
/// # Safety
/// `load` was saved by this function, or made by [`prepare`], and its stack is not in use. Interrupts are off.
#[unsafe(naked)]
pub unsafe extern "C" fn switch_stack(save: *mut u64, load: u64) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "mov [rdi], rsp",
        "mov rsp, rsi",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbx",
        "pop rbp",
        "ret",
    )
}

// A new thread comes out of `switch_stack` here: it opens the dispatcher lock, checks for termination, and returns to
// user mode through the frame above it.
global_asm!(
    ".global antares_thread_start",
    "antares_thread_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "call {first}",
    "jmp antares_trap_return",
    first = sym antares_first_run,
);

unsafe extern "C" {
    fn antares_thread_start();
}

extern "C" fn antares_first_run(frame: &mut TrapFrame) {
    crate::ke::sched::first_run();
    crate::ke::trap::before_user(frame);
}

/// Lays a new thread's first frame on its kernel stack and returns the stack pointer for [`switch_stack`].
///
/// # Safety
/// `top` is the top of a mapped, unused kernel stack, aligned to 16.
pub unsafe fn prepare(top: u64, frame: TrapFrame) -> u64 {
    let at = (top - size_of::<TrapFrame>() as u64) & !15;
    let entry: unsafe extern "C" fn() = antares_thread_start;
    // SAFETY: the caller gives a mapped, unused stack with room for this.
    unsafe {
        (at as *mut TrapFrame).write(frame);
        let saved = (at as *mut u64).sub(7);
        saved.write_bytes(0, 6);
        saved.add(6).write(entry as usize as u64);
        saved as u64
    }
}
