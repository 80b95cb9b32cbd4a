//! What happens on a trap: interrupts, page faults, exceptions of programs, bugs of the kernel.

use crate::arch::cpu;
use crate::arch::idt::{TrapFrame, is_return_fault};
use crate::arch::percpu::PerCpu;
use crate::arch::{apic, entry, fpu, percpu, usercopy};
use crate::bugcheck::{self, bugcheck};
use crate::kd::stop;
use crate::ke::sched;
use crate::klog;
use crate::mm::space::Access;
use crate::mm::tlb;
use crate::ps::thread::{self, Thread};
use abi::NtStatus;
use abi::status::*;
use core::sync::atomic::Ordering;

const KMODE_EXCEPTION_NOT_HANDLED: u32 = 0x1E;
const PAGE_FAULT_IN_NONPAGED_AREA: u32 = 0x50;
const UNEXPECTED_KERNEL_MODE_TRAP: u32 = 0x7F;
const MACHINE_CHECK_EXCEPTION: u32 = 0x9C;

const STATUS_DATATYPE_MISALIGNMENT: NtStatus = NtStatus(0x8000_0002);
const STATUS_ARRAY_BOUNDS_EXCEEDED: NtStatus = NtStatus(0xC000_008C);
const STATUS_FLOAT_DENORMAL_OPERAND: NtStatus = NtStatus(0xC000_008D);

/// Everything that [`crate::arch::idt`] catches comes here.
#[unsafe(no_mangle)]
extern "C" fn antares_trap(frame: *mut TrapFrame) {
    // SAFETY: the stub passes the frame it just built on this stack.
    let frame = unsafe { &mut *frame };
    match frame.vector as u8 {
        2 => return bugcheck::on_nmi(frame),
        8 => bugcheck(UNEXPECTED_KERNEL_MODE_TRAP, [8, frame.rip, frame.rsp, cpu::read_cr2()], Some(frame)),
        18 => bugcheck(MACHINE_CHECK_EXCEPTION, [18, frame.rip, 0, 0], Some(frame)),
        14 => page_fault(frame),
        7 if frame.is_user() => fpu_first_use(frame),
        vector @ 0..=31 => exception(frame, vector),
        apic::BREAK => {
            apic::eoi();
            stop::on_interrupt(frame);
        }
        vector => interrupt(vector),
    }
    if frame.is_user() {
        before_user(frame);
    }
}

fn interrupt(vector: u8) {
    percpu::this().interrupts.fetch_add(1, Ordering::Relaxed);
    match vector {
        apic::TIMER => {
            apic::eoi();
            sched::timer_interrupt();
        }
        apic::RESCHEDULE => {
            apic::eoi();
            percpu::this().reschedule.store(true, Ordering::Relaxed);
        }
        apic::TLB => {
            apic::eoi();
            tlb::answer();
        }
        apic::SPURIOUS => {}
        _ => {
            crate::io::device_interrupt(vector);
            apic::eoi();
        }
    }
}

/// True when nothing is to be done before user mode.
#[inline(always)]
pub fn is_quiet() -> bool {
    is_quiet_for(percpu::this(), sched::current())
}

/// As [`is_quiet`], for who knows the processor and its thread.
#[inline(always)]
pub fn is_quiet_for(me: &PerCpu, thread: &Thread) -> bool {
    !crate::ob::any_deferred()
        && !me.reschedule.load(Ordering::Relaxed)
        && thread.flags.load(Ordering::Acquire) == 0
}

/// The last stop before user mode, with a complete frame: closes what was left to close, lets others run, ends or suspends the thread, delivers
/// its APCs. The frame may be another one then, which only IRETQ can load.
pub fn before_user(frame: &mut TrapFrame) {
    while !is_quiet() {
        crate::ob::run_deferred();
        let thread = sched::current();
        if percpu::this().reschedule.load(Ordering::Relaxed) {
            sched::reschedule_now();
        } else if thread.flags.load(Ordering::Acquire) != 0 {
            thread.handle_flags(frame);
        }
    }
}

/// Leaves the kernel after a system call when something is to be done before that, with every register as the frame then
/// has it.
#[cold]
pub fn leave(frame: &mut TrapFrame, status: NtStatus) -> ! {
    frame.rax = u64::from(status.0);
    frame.complete();
    before_user(frame);
    // SAFETY: the frame is the current thread's own, at the top of its kernel stack, and nothing below it is needed.
    unsafe { entry::antares_resume(frame) }
}

fn page_fault(frame: &mut TrapFrame) {
    let address = cpu::read_cr2();
    let code = frame.error_code;
    let access = match code {
        code if code & 16 != 0 => Access::Execute,
        code if code & 2 != 0 => Access::Write,
        _ => Access::Read,
    };
    let copying = usercopy::fixup(frame.rip);
    if !frame.is_user() && copying.is_none() {
        if is_return_fault(frame.rip) {
            return exception(frame, 14);
        }
        bugcheck(PAGE_FAULT_IN_NONPAGED_AREA, [address, code, frame.rip, 0], Some(frame));
    }
    if let Some(fixup) = copying.filter(|fixup| !fixup.may_retry) {
        frame.rip = fixup.landing;
        return;
    }
    let result = if usercopy::is_user_range(address, 1) {
        sched::current().process.space.fault(address, access)
    } else {
        Err(STATUS_ACCESS_VIOLATION)
    };
    match (result, copying) {
        (Ok(()), _) => {
            percpu::this().page_faults.fetch_add(1, Ordering::Relaxed);
        }
        (Err(_), Some(fixup)) => frame.rip = fixup.landing,
        (Err(status), None) => {
            let thread = sched::current();
            let status = if thread.is_stack_guard(address) { STATUS_STACK_OVERFLOW } else { status };
            let verb = match access {
                Access::Read => "read",
                Access::Write => "write",
                Access::Execute => "execute",
            };
            end_program(frame, status, Some((verb, address)));
        }
    }
}

fn fpu_first_use(frame: &mut TrapFrame) {
    if let Err(status) = sched::current().start_fpu() {
        end_program(frame, status, None);
    }
}

fn exception(frame: &mut TrapFrame, vector: u8) {
    if !frame.is_user() && !is_return_fault(frame.rip) {
        let (code, first) = match vector {
            14 => (PAGE_FAULT_IN_NONPAGED_AREA, cpu::read_cr2()),
            0..=31 => (UNEXPECTED_KERNEL_MODE_TRAP, u64::from(vector)),
            _ => (KMODE_EXCEPTION_NOT_HANDLED, u64::from(vector)),
        };
        bugcheck(code, [first, frame.error_code, frame.rip, frame.rsp], Some(frame));
    }
    let status = match vector {
        0 => STATUS_INTEGER_DIVIDE_BY_ZERO,
        1 => STATUS_SINGLE_STEP,
        3 => STATUS_BREAKPOINT,
        4 => STATUS_INTEGER_OVERFLOW,
        5 => STATUS_ARRAY_BOUNDS_EXCEEDED,
        6 => STATUS_ILLEGAL_INSTRUCTION,
        13 if is_privileged(frame.rip) => STATUS_PRIVILEGED_INSTRUCTION,
        16 => float_status(fpu::x87_exceptions()),
        19 => float_status(fpu::sse_exceptions()),
        17 => STATUS_DATATYPE_MISALIGNMENT,
        _ => STATUS_ACCESS_VIOLATION,
    };
    end_program(frame, status, None);
}

/// The status for unmasked floating-point exceptions: IE 1, DE 2, ZE 4, OE 8, UE 16, PE 32 (Intel SDM vol. 1, 8.1.3.3
/// and 10.2.3.1), the first in the order of their precedence.
fn float_status(exceptions: u32) -> NtStatus {
    match exceptions {
        e if e & 1 != 0 => STATUS_FLOAT_INVALID_OPERATION,
        e if e & 4 != 0 => STATUS_FLOAT_DIVIDE_BY_ZERO,
        e if e & 2 != 0 => STATUS_FLOAT_DENORMAL_OPERAND,
        e if e & 8 != 0 => STATUS_FLOAT_OVERFLOW,
        e if e & 16 != 0 => STATUS_FLOAT_UNDERFLOW,
        e if e & 32 != 0 => STATUS_FLOAT_INEXACT_RESULT,
        _ => STATUS_FLOAT_INVALID_OPERATION,
    }
}

/// Tells whether the instruction at a user address is one that only the kernel may execute (Intel SDM vol. 2, the
/// instructions that raise #GP(0) for CPL > 0): then the fault is not about memory.
fn is_privileged(rip: u64) -> bool {
    let mut code = [0; 8];
    let mut at = 0;
    while at < code.len() && usercopy::from_user(&mut code[at..=at], rip + at as u64) {
        at += 1;
    }
    let mut bytes =
        code[..at].iter().copied().skip_while(|b| matches!(b, 0x66 | 0x67 | 0xF2 | 0xF3 | 0x40..=0x4F));
    match bytes.next() {
        Some(0xF4 | 0xFA | 0xFB | 0xE4..=0xE7 | 0xEC..=0xEF | 0x6C..=0x6F) => true,
        Some(0x0F) => {
            matches!(bytes.next(), Some(0x00 | 0x01 | 0x06..=0x09 | 0x20..=0x23 | 0x30..=0x33 | 0x35 | 0xC7))
        }
        _ => false,
    }
}

/// A fault that the program does not handle: said on the console, then its process ends.
pub(super) fn end_program(frame: &mut TrapFrame, status: NtStatus, access: Option<(&str, u64)>) {
    let current = sched::current();
    let process = &current.process;
    let name = process.name();
    let (pid, tid) = (process.id(), current.id());
    klog::write(format_args!(
        "*** {}: unhandled exception {status} in process {pid} thread {tid} at {:#018x}\n",
        name.as_str(),
        frame.rip
    ));
    if let Some((verb, address)) = access {
        klog::write(format_args!("    could not {verb} address {address:#018x}\n"));
    }
    let f = &frame;
    klog::write(format_args!(
        "    rax={:016x} rbx={:016x} rcx={:016x} rdx={:016x}\n    rsi={:016x} rdi={:016x} rbp={:016x} rsp={:016x}\n",
        f.rax, f.rbx, f.rcx, f.rdx, f.rsi, f.rdi, f.rbp, f.rsp
    ));
    klog::write(format_args!(
        "    r8 ={:016x} r9 ={:016x} r10={:016x} r11={:016x}\n    r12={:016x} r13={:016x} r14={:016x} r15={:016x}\n    rflags={:08x} cs={:02x} ss={:02x}\n",
        f.r8, f.r9, f.r10, f.r11, f.r12, f.r13, f.r14, f.r15, f.rflags, f.cs, f.ss
    ));
    let _ = process.terminate(status.0);
    if is_return_fault(frame.rip) {
        // There is no user frame to go back to.
        thread::exit_current_thread();
    }
}
