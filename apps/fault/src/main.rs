//! Makes faults: `fault KIND` makes one, so that the kernel ends the program with the right status; `fault all`
//! makes each in a child and checks that status; `fault list` prints them.

#![no_std]
#![no_main]

extern crate alloc;

use core::arch::asm;
use libnt::prelude::*;
use testkit::Test;

libnt::main!(main);

/// A kind of fault: its name, the exit status it must end with, and how it is made.
type Kind = (&'static str, NtStatus, fn());

const KINDS: &[Kind] = &[
    ("av-read", STATUS_ACCESS_VIOLATION, || read(0x10)),
    ("av-write", STATUS_ACCESS_VIOLATION, write_to_code),
    ("exec-nx", STATUS_ACCESS_VIOLATION, run_data),
    ("null-call", STATUS_ACCESS_VIOLATION, || call(0)),
    ("ud2", STATUS_ILLEGAL_INSTRUCTION, ud2),
    ("div0", STATUS_INTEGER_DIVIDE_BY_ZERO, divide),
    ("priv", STATUS_PRIVILEGED_INSTRUCTION, halt),
    ("priv-io", STATUS_PRIVILEGED_INSTRUCTION, port_io),
    ("int3", STATUS_BREAKPOINT, breakpoint),
    ("single-step", STATUS_SINGLE_STEP, single_step),
    ("stack-overflow", STATUS_STACK_OVERFLOW, overflow_stack),
    ("bad-stack", STATUS_ACCESS_VIOLATION, lose_stack),
    ("kernel-read", STATUS_ACCESS_VIOLATION, || read(0xFFFF_8000_0000_0000)),
    ("kernel-text", STATUS_ACCESS_VIOLATION, || call(0xFFFF_FFFF_8000_0000)),
    ("noncanonical", STATUS_ACCESS_VIOLATION, || read(0x0000_8000_0000_0000)),
    ("gp", STATUS_ACCESS_VIOLATION, bad_segment),
    ("float-div0", STATUS_FLOAT_DIVIDE_BY_ZERO, divide_float),
    ("thread", STATUS_ACCESS_VIOLATION, fault_in_thread),
    ("panic", STATUS_STACK_BUFFER_OVERRUN, || panic!("as asked")),
];

fn main() -> u32 {
    match env::args().next() {
        Some("list") => {
            KINDS.iter().for_each(|(name, status, _)| println!("{name:<16} {status}"));
            0
        }
        Some("all") => all(),
        Some(wanted) => match KINDS.iter().find(|(name, _, _)| *name == wanted) {
            Some((name, _, make)) => {
                make();
                println!("fault: {name} went without a fault");
                1
            }
            None => {
                println!("fault: unknown kind '{wanted}'; `fault list` prints them");
                2
            }
        },
        None => {
            println!("usage: fault KIND | all | list");
            2
        }
    }
}

/// Makes each fault in a child and compares the exit status.
fn all() -> u32 {
    let mut test = Test::new("fault");
    for (name, expected, _) in KINDS {
        let ended = libnt::process::spawn(env::image(), &[name]).and_then(|child| child.wait());
        if let Some(status) = test.ok(name, ended) {
            test.equal(name, status, *expected);
        }
    }
    test.finish()
}

fn read(address: u64) {
    // SAFETY: it is meant to fault; nothing else is touched.
    unsafe { asm!("mov {0}, [{0}]", inout(reg) address => _, options(nostack)) };
}

fn write_to_code() {
    // SAFETY: the program's code is mapped read-only: it is meant to fault.
    unsafe { asm!("mov byte ptr [{}], 0x90", in(reg) write_to_code as *const u8, options(nostack)) };
}

fn call(address: u64) {
    // SAFETY: nothing can run there: it is meant to fault.
    unsafe { asm!("call {}", in(reg) address, clobber_abi("sysv64")) };
}

fn run_data() {
    // `ret` twice, in memory that must not be executable.
    let code = Box::new([0xC3u8; 16]);
    call(code.as_ptr() as u64);
}

fn ud2() {
    // SAFETY: it is meant to fault.
    unsafe { asm!("ud2") };
}

fn divide() {
    // SAFETY: it is meant to fault; the registers are declared.
    unsafe { asm!("div {0:e}", in(reg) 0, inout("eax") 1 => _, inout("edx") 0 => _, options(nostack)) };
}

fn halt() {
    // SAFETY: it is meant to fault.
    unsafe { asm!("hlt", options(nostack)) };
}

fn port_io() {
    // SAFETY: it is meant to fault.
    unsafe { asm!("in al, 0x60", out("al") _, options(nostack)) };
}

fn breakpoint() {
    // SAFETY: it is meant to trap.
    unsafe { asm!("int3", options(nostack)) };
}

fn single_step() {
    // SAFETY: it is meant to trap after the instruction that follows `popfq`.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq", "nop", "nop") };
}

fn overflow_stack() {
    /// Uses stack until there is none.
    fn deeper(level: u64) -> u64 {
        let mut room = [level; 128];
        core::hint::black_box(&mut room);
        if level == u64::MAX { 0 } else { deeper(level + 1) + room[5] }
    }
    core::hint::black_box(deeper(0));
}

fn lose_stack() {
    // SAFETY: the push faults, and nothing runs after it.
    unsafe { asm!("mov rsp, 0x10", "push rax", "ud2") };
}

fn bad_segment() {
    // SAFETY: no such segment: it is meant to fault.
    unsafe { asm!("mov ds, {0:x}", in(reg) 0x1230u32, options(nostack)) };
}

fn divide_float() {
    let (control, zero) = (0x037Bu16, 0.0f64);
    // SAFETY: the control word unmasks division by zero; `fwait` delivers it. The operands are in memory.
    unsafe {
        asm!(
            "fninit",
            "fldcw [{control}]",
            "fld1",
            "fdiv qword ptr [{zero}]",
            "fwait",
            control = in(reg) &raw const control,
            zero = in(reg) &raw const zero,
            options(nostack),
        );
    }
}

fn fault_in_thread() {
    // The whole process ends, not the thread alone.
    if let Ok(thread) = libnt::thread::spawn(|| read(0x20)) {
        let _ = thread.join();
    }
    libnt::time::sleep(core::time::Duration::from_secs(5));
}
