//! System-call entry and exit.
//!
//! `syscall` comes here with interrupts off (SFMASK) and on the user's stack. The entry switches to the thread's
//! kernel stack, saves the registers in a [`TrapFrame`] (the same that traps save, so that threads can be
//! stopped, inspected and started in one way), and calls [`crate::sys::dispatch`]. What a frame has besides is added by who needs
//! it ([`TrapFrame::complete`]). It goes back with `sysret` and only the
//! registers that the kernel's code does not keep itself; if there was something to do before user mode, which may have
//! changed the frame, it goes back as from a trap. Convention: [`abi::syscalls`].
//!
//! NtAlpcSendWaitReceivePort is tried on the fast path first ([`crate::alpc::fastpath`]). A thread that parks there leaves nothing on its
//! kernel stack but the frame and where to go on, so whoever switches to it can send it on to user mode from the frame
//! alone ([`return_to_user`]).
//! Sources: Intel SDM vol. 3, 5.8.8 and 2.2.1; AMD APM vol. 2, 6.1.

use crate::alpc::fastpath;
use crate::arch::cpu::{self, Features};
use crate::arch::gdt::STAR;
use crate::arch::idt::{SYSTEM_CALL, TrapFrame};
use crate::arch::percpu::PerCpu;
use crate::ke::sched::DISPATCHER;
use crate::ke::trap;
use abi::alpc::{ALPC_MSGFLG_RELEASE_MESSAGE, ALPC_MSGFLG_SYNC_REQUEST};
use abi::mm::USER_MAX;
use abi::syscalls::nr;
use core::arch::{asm, global_asm};
use core::mem::offset_of;

const MSR_STAR: u32 = 0xC000_0081;
const MSR_LSTAR: u32 = 0xC000_0082;
const MSR_SFMASK: u32 = 0xC000_0084;
/// TF, IF, DF, IOPL, NT, RF, AC: off in the kernel.
const SYSCALL_FLAG_MASK: u64 = 0x0005_7700;

// The numbers are offsets into `TrapFrame` and, behind GS, `percpu::PerCpu`. `sysret` faults in ring 0 on a non-canonical rcx; user memory
// ends below the canonical hole (`abi::mm::USER_MAX`), so that no system call returns to one.
//
// The fast path is called with the words of message and buffer that decide whether it can be taken, read here because they
// cost least here. They lie below `USER_MAX` or in the unmapped gap above it.
const _: () = {
    assert!(
        offset_of!(TrapFrame, r15) == 0
            && offset_of!(TrapFrame, r8) == 56
            && offset_of!(TrapFrame, rdi) == 72
    );
    assert!(
        offset_of!(TrapFrame, rdx) == 88
            && offset_of!(TrapFrame, rbx) == 104
            && offset_of!(TrapFrame, rax) == 112
    );
    assert!(offset_of!(TrapFrame, vector) == 120 && offset_of!(TrapFrame, rip) == 136);
    assert!(offset_of!(TrapFrame, rflags) == 152 && offset_of!(TrapFrame, rsp) == 160);
    assert!(offset_of!(PerCpu, kernel_frame) == 8 && offset_of!(PerCpu, user_rsp) == 16);
};

macro_rules! entry {
    ($name:literal, $words:literal, $open:literal, $close:literal, $smap:literal) => {
        global_asm!(
            concat!(".global ", $name),
            concat!($name, ":"),
            "swapgs",
            "mov gs:[16], rsp",
            "mov rsp, gs:[8]",
            "mov [rsp + 152], r11",
            "mov r11, gs:[16]",
            "mov [rsp + 160], r11",
            "mov [rsp + 136], rcx",
            "mov qword ptr [rsp + 120], {system_call}",
            "mov [rsp + 112], rax",
            "mov [rsp + 104], rbx",
            "mov [rsp + 88], rdx",
            "mov [rsp + 80], rsi",
            "mov [rsp + 72], rdi",
            "mov [rsp + 64], rbp",
            "mov [rsp + 56], r8",
            "mov [rsp + 48], r9",
            "mov [rsp + 40], r10",
            "mov [rsp + 24], r12",
            "mov [rsp + 16], r13",
            "mov [rsp + 8], r14",
            "mov [rsp], r15",
            "xor ebp, ebp",
            "mov rdi, rsp",
            "cmp eax, {fast}",
            "je 3f",
            "2:",
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
            // No word for the length is no use either.
            "lea r10, [r9 - 1]",
            "cmp r10, rcx",
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
            // With 0 in rax: the thread was parked and goes on. Else the call was declined.
            "test eax, eax",
            "jz antares_fast_woken",
            "4:",
            "mov rdi, rsp",
            "jmp 2b",
            // A fault in one of the four lands here.
            concat!($words, "_failed:"),
            $close,
            "jmp 4b",
            system_call = const SYSTEM_CALL,
            fast = const nr::NtAlpcSendWaitReceivePort,
            user_max = const USER_MAX,
            request = sym fastpath::request::<$smap>,
            reply = sym fastpath::reply::<$smap>,
            sync = const ALPC_MSGFLG_SYNC_REQUEST,
            release = const ALPC_MSGFLG_RELEASE_MESSAGE,
            dispatch = sym antares_syscall,
        );
    };
}
entry!("antares_syscall_entry", "antares_message_words", "stac", "clac", true);
// For a processor without SMAP.
entry!("antares_syscall_entry_plain", "antares_plain_words", "nop", "nop", false);

// With the frame at rsp and the status in rax: to user mode, with every register from the frame.
global_asm!(
    ".global antares_fast_woken",
    ".global antares_fast_return",
    "antares_fast_woken:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "call {woken}",
    "antares_fast_return:",
    "mov r15, [rsp]",
    "mov r14, [rsp + 8]",
    "mov r13, [rsp + 16]",
    "mov r12, [rsp + 24]",
    "mov r10, [rsp + 40]",
    "mov r9, [rsp + 48]",
    "mov r8, [rsp + 56]",
    "mov rbp, [rsp + 64]",
    "mov rdi, [rsp + 72]",
    "mov rsi, [rsp + 80]",
    "mov rdx, [rsp + 88]",
    "mov rbx, [rsp + 104]",
    "mov rcx, [rsp + 136]",
    "mov r11, [rsp + 152]",
    "mov rsp, [rsp + 160]",
    "swapgs",
    "sysretq",
    woken = sym fastpath::woken,
);

// rdi = frame: leaves the kernel with every register as the frame has it.
global_asm!(".global antares_resume", "antares_resume:", "mov rsp, rdi", "jmp antares_trap_return",);

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

/// Leaves this stack for good, opens the dispatcher lock, and returns to user mode from the frame at the top of the current
/// thread's kernel stack, which is that of a system call, with STATUS_SUCCESS.
///
/// # Safety
/// The current thread's address space, kernel stack and extended state are in place, and this stack is another's; the lock is
/// held by this processor, and nothing on this stack below its thread's frame is needed again.
#[inline(always)]
pub unsafe fn return_to_user() -> ! {
    // SAFETY: off the stack before somebody else can get its thread.
    unsafe {
        asm!(
            "mov rsp, gs:[8]",
            "mov byte ptr [rip + {lock}], 0",
            "xor eax, eax",
            "jmp antares_fast_return",
            lock = sym DISPATCHER,
            options(noreturn)
        )
    }
}

/// Returns the status; the frame, which nobody changed, has the rest.
extern "C" fn antares_syscall(frame: &mut TrapFrame) -> u64 {
    let status = crate::sys::dispatch(frame);
    if !trap::is_quiet() {
        trap::leave(frame, status);
    }
    u64::from(status.0)
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
