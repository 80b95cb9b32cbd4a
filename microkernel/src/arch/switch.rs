//! The context switch: from one kernel stack to another.
//!
//! Only the stack pointer is exchanged: whatever a side wants to find again, the compiler has put on its stack. Used by
//! [`crate::ke::sched`] with the dispatcher lock held, which the other side opens.

use crate::arch::idt::TrapFrame;
use core::arch::{asm, global_asm};

/// Leaves this stack, with where to go on as its last word (there RAX is 0), its pointer in `*save`, and goes on where the stack `load` was
/// left. Every register but the stack and frame pointers may come back changed.
///
/// # Safety
/// `load` was saved by this function, or made by [`prepare`], and its stack is not in use. Interrupts are off.
#[inline(always)]
pub unsafe fn switch_stack(save: *mut u64, load: u64) {
    // SAFETY: the other side finds its own frame and stack pointers on its stack, and returns to the label below when
    // this stack is loaded again; all other registers are declared as changed.
    unsafe {
        asm!(
            "push rbp",
            "push rbx",
            "lea rax, [rip + 2f]",
            "push rax",
            "mov [rdi], rsp",
            "mov rsp, rsi",
            "xor eax, eax",
            "ret",
            "2:",
            "pop rbx",
            "pop rbp",
            inlateout("rdi") save => _,
            inlateout("rsi") load => _,
            lateout("r12") _,
            lateout("r13") _,
            lateout("r14") _,
            lateout("r15") _,
            clobber_abi("C"),
        );
    }
}

/// Leaves this stack for good and goes on where the stack `load` was left: as [`switch_stack`] for a thread that has put
/// aside nothing but its trap frame.
///
/// # Safety
/// As for [`switch_stack`]; nothing on this stack below the trap frame is needed again.
#[inline(always)]
pub unsafe fn leave_stack(load: u64) -> ! {
    // SAFETY: the other side's contract is that of `switch_stack`.
    unsafe { asm!("mov rsp, {}", "xor eax, eax", "ret", in(reg) load, options(noreturn)) }
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
/// `top` is the top of a mapped, unused kernel stack, aligned to a page.
pub unsafe fn prepare(top: u64, frame: TrapFrame) -> u64 {
    let at = top - size_of::<TrapFrame>() as u64;
    let entry: unsafe extern "C" fn() = antares_thread_start;
    // SAFETY: the caller gives a mapped, unused stack with room for this.
    unsafe {
        (at as *mut TrapFrame).write(frame);
        let saved = (at as *mut u64).sub(1);
        saved.write(entry as usize as u64);
        saved as u64
    }
}
