//! The `syscall` instruction, by number of arguments.
//!
//! `eax` = number; arguments in rdi, rsi, rdx, r10, r8, r9, r12, r13, r14, r15, rbx; status in `eax`; rcx and r11 are
//! destroyed. The compiler keeps rbx for itself, so the eleventh argument is moved there around the instruction.

use core::arch::asm;

macro_rules! gates {
    ($($name:ident ( $($arg:ident $reg:tt),* );)*) => {$(
        /// # Safety
        /// As the system call demands.
        #[inline(always)]
        #[allow(clippy::too_many_arguments)]
        pub unsafe fn $name(number: u32 $(, $arg: u64)*) -> u32 {
            let status: u32;
            // SAFETY: the kernel keeps every register but rax, rcx and r11; what it writes is the caller's promise.
            unsafe {
                asm!(
                    "syscall",
                    inlateout("eax") number => status,
                    $(in($reg) $arg,)*
                    lateout("rcx") _,
                    lateout("r11") _,
                    options(nostack),
                );
            }
            status
        }
    )*};
}

gates! {
    syscall0();
    syscall1(a "rdi");
    syscall2(a "rdi", b "rsi");
    syscall3(a "rdi", b "rsi", c "rdx");
    syscall4(a "rdi", b "rsi", c "rdx", d "r10");
    syscall5(a "rdi", b "rsi", c "rdx", d "r10", e "r8");
    syscall6(a "rdi", b "rsi", c "rdx", d "r10", e "r8", f "r9");
    syscall7(a "rdi", b "rsi", c "rdx", d "r10", e "r8", f "r9", g "r12");
    syscall8(a "rdi", b "rsi", c "rdx", d "r10", e "r8", f "r9", g "r12", h "r13");
    syscall9(a "rdi", b "rsi", c "rdx", d "r10", e "r8", f "r9", g "r12", h "r13", i "r14");
    syscall10(a "rdi", b "rsi", c "rdx", d "r10", e "r8", f "r9", g "r12", h "r13", i "r14", j "r15");
}

/// # Safety
/// As the system call demands.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub unsafe fn syscall11(
    number: u32,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
    e: u64,
    f: u64,
    g: u64,
    h: u64,
    i: u64,
    j: u64,
    k: u64,
) -> u32 {
    let status: u32;
    // SAFETY: as above; rbx is restored from the stack, which the assembler block may use (no `nostack`).
    unsafe {
        asm!(
            "push rbx",
            "mov rbx, rcx",
            "syscall",
            "pop rbx",
            inlateout("eax") number => status,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            in("r12") g,
            in("r13") h,
            in("r14") i,
            in("r15") j,
            inlateout("rcx") k => _,
            lateout("r11") _,
        );
    }
    status
}

/// `syscall!(number, arguments...)`: the gate for that many arguments.
macro_rules! syscall {
    ($n:expr) => {
        $crate::sys::gate::syscall0($n)
    };
    ($n:expr, $a:expr) => {
        $crate::sys::gate::syscall1($n, $a)
    };
    ($n:expr, $a:expr, $b:expr) => {
        $crate::sys::gate::syscall2($n, $a, $b)
    };
    ($n:expr, $a:expr, $b:expr, $c:expr) => {
        $crate::sys::gate::syscall3($n, $a, $b, $c)
    };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr) => {
        $crate::sys::gate::syscall4($n, $a, $b, $c, $d)
    };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr) => {
        $crate::sys::gate::syscall5($n, $a, $b, $c, $d, $e)
    };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr) => {
        $crate::sys::gate::syscall6($n, $a, $b, $c, $d, $e, $f)
    };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr, $g:expr) => {
        $crate::sys::gate::syscall7($n, $a, $b, $c, $d, $e, $f, $g)
    };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr, $g:expr, $h:expr) => {
        $crate::sys::gate::syscall8($n, $a, $b, $c, $d, $e, $f, $g, $h)
    };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr, $g:expr, $h:expr, $i:expr) => {
        $crate::sys::gate::syscall9($n, $a, $b, $c, $d, $e, $f, $g, $h, $i)
    };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr, $g:expr, $h:expr, $i:expr, $j:expr) => {
        $crate::sys::gate::syscall10($n, $a, $b, $c, $d, $e, $f, $g, $h, $i, $j)
    };
    ($n:expr, $a:expr, $b:expr, $c:expr, $d:expr, $e:expr, $f:expr, $g:expr, $h:expr, $i:expr, $j:expr, $k:expr) => {
        $crate::sys::gate::syscall11($n, $a, $b, $c, $d, $e, $f, $g, $h, $i, $j, $k)
    };
}
pub(super) use syscall;
