//! System-call entry and exit.
//!
//! `syscall` comes here with interrupts off (SFMASK) and on the user's stack. The entry switches to the thread's
//! kernel stack, saves every general register as a [`TrapFrame`] (the same that traps save, so that threads can be
//! stopped, inspected and started in one way), and calls [`crate::sys::dispatch`]. It goes back with `sysret` and only the
//! registers that the kernel's code does not keep itself; if there was something to do before user mode, which may have
//! changed the frame, it goes back as from a trap. Convention: [`abi::syscalls`].
//! Sources: Intel SDM vol. 3, 5.8.8 and 2.2.1; AMD APM vol. 2, 6.1.

use crate::alpc::fastpath;
use crate::arch::cpu::{self, Features};
use crate::arch::gdt::STAR;
use crate::arch::idt::TrapFrame;
use crate::ke::trap;
use abi::alpc::{ALPC_MSGFLG_RELEASE_MESSAGE, ALPC_MSGFLG_SYNC_REQUEST};
use abi::mm::USER_MAX;
use abi::syscalls::nr;
use core::arch::global_asm;

const MSR_STAR: u32 = 0xC000_0081;
const MSR_LSTAR: u32 = 0xC000_0082;
const MSR_SFMASK: u32 = 0xC000_0084;
/// TF, IF, DF, IOPL, NT, RF, AC: off in the kernel.
const SYSCALL_FLAG_MASK: u64 = 0x0005_7700;

// The frame is pushed in the order that `TrapFrame` declares, last field first; its vector is 0x100, which no trap has. GS
// offsets: `percpu::PerCpu`. `sysret` faults in ring 0 on a non-canonical rcx; user memory ends below the canonical hole
// (`abi::mm::USER_MAX`), so that no system call returns to one.
//
// NtAlpcSendWaitReceivePort is tried on the fast path first: with the words of its message and buffer that decide whether
// that can be, read here because they cost least here. They lie below `USER_MAX` or in the unmapped gap above it.
macro_rules! entry {
    ($name:literal, $words:literal, $open:literal, $close:literal) => {
        global_asm!(
            concat!(".global ", $name),
            concat!($name, ":"),
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
            "cmp eax, {fast}",
            "je 3f",
            "2:",
            "call {dispatch}",
            "5:",
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
            "3:",
            "lea r11, [rip + {request}]",
            "cmp esi, {sync}",
            "je 6f",
            "lea r11, [rip + {reply}]",
            "cmp esi, {release}",
            "jne 2b",
            "6:",
            "movabs rcx, {user_max}",
            "cmp rdx, rcx",
            "jae 2b",
            "cmp r9, rcx",
            "jae 2b",
            $open,
            concat!($words, "_start:"),
            "mov rsi, [rdx]",
            "mov rcx, [r9]",
            "mov r8, [rdx + 32]",
            "mov rdx, [rdx + 24]",
            concat!($words, "_end:"),
            $close,
            "call r11",
            "bt rax, 32",
            "jnc 5b",
            "4:",
            "mov rdi, rsp",
            "jmp 2b",
            // A fault in one of the four lands here.
            concat!($words, "_failed:"),
            $close,
            "jmp 4b",
            fast = const nr::NtAlpcSendWaitReceivePort,
            user_max = const USER_MAX,
            request = sym fastpath::antares_fast_request,
            reply = sym fastpath::antares_fast_reply,
            sync = const ALPC_MSGFLG_SYNC_REQUEST,
            release = const ALPC_MSGFLG_RELEASE_MESSAGE,
            dispatch = sym antares_syscall,
        );
    };
}
entry!("antares_syscall_entry", "antares_message_words", "stac", "clac");
// For a processor without SMAP.
entry!("antares_syscall_entry_plain", "antares_plain_words", "nop", "nop");

// rdi = frame: leaves the kernel with every register as the frame has it.
global_asm!("antares_resume:", "mov rsp, rdi", "jmp antares_trap_return",);

unsafe extern "C" {
    fn antares_syscall_entry();
    fn antares_syscall_entry_plain();
    /// Leaves the kernel with every register as the frame has it.
    pub fn antares_resume(frame: &mut TrapFrame) -> !;
    static antares_message_words_start: u8;
    static antares_message_words_end: u8;
    fn antares_message_words_failed();
    static antares_plain_words_start: u8;
    static antares_plain_words_end: u8;
    fn antares_plain_words_failed();
}

/// For a fault at kernel address `rip`: where to go on if it was the entry's own access to a message.
pub fn fixup(rip: u64) -> Option<u64> {
    let failed: [unsafe extern "C" fn(); 2] = [antares_message_words_failed, antares_plain_words_failed];
    let stretches = [
        &raw const antares_message_words_start as u64..&raw const antares_message_words_end as u64,
        &raw const antares_plain_words_start as u64..&raw const antares_plain_words_end as u64,
    ];
    let at = stretches.iter().position(|stretch| stretch.contains(&rip))?;
    Some(failed[at] as usize as u64)
}

/// Returns the status; the frame, which nobody changed, has the rest.
extern "C" fn antares_syscall(frame: &mut TrapFrame) -> u32 {
    let status = crate::sys::dispatch(frame);
    if !trap::is_quiet() {
        trap::leave(frame, status);
    }
    status.0
}

/// Points this processor's `syscall` instruction here.
pub fn init_this_cpu() {
    let smap = cpu::features().contains(Features::SMAP);
    let entry: unsafe extern "C" fn() =
        if smap { antares_syscall_entry } else { antares_syscall_entry_plain };
    // SAFETY: the segments are those of the GDT, the entry follows the contract of the instruction.
    unsafe {
        cpu::wrmsr(MSR_STAR, STAR);
        cpu::wrmsr(MSR_LSTAR, entry as usize as u64);
        cpu::wrmsr(MSR_SFMASK, SYSCALL_FLAG_MASK);
    }
}
