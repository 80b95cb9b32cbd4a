//! Floating point: each thread keeps its own x87, SSE and AVX registers, however often it is preempted; a new thread
//! begins with clean ones; arithmetic gives the right bits. And no program spoils another's GS base.

#![no_std]
#![no_main]

extern crate alloc;

use core::arch::asm;
use libnt::prelude::*;
use libnt::process::Command;
use libnt::{info, thread};
use testkit::{Random, Test};

libnt::main!(main);

/// Threads per processor.
const THREADS: usize = 3;
/// Rounds of each thread.
const ROUNDS: u32 = 20;
/// Turns of the loop between loading and storing: more than a quantum every few rounds.
const SPIN: u64 = 4_000_000;
/// Bit of SystemKernelCounters::features.
const FEATURE_AVX: u64 = 128;

/// Sixteen vector registers of 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
struct Vectors([[u64; 4]; 16]);

/// What a new thread finds in its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fresh {
    mxcsr: u32,
    control: u16,
    xmm: [u64; 2],
}

fn main() -> NtResult<u32> {
    if env::args().next() == Some("--spoil") {
        spoil_gs();
    }
    let mut test = Test::new("fptest");
    arithmetic(&mut test);
    let has_avx = info::counters()?.features & FEATURE_AVX != 0;
    println!("fptest: AVX is {}", if has_avx { "there" } else { "not there" });
    let processors = usize::from(info::basic()?.number_of_processors);
    let mut threads = Vec::new();
    for seed in 0..(processors * THREADS) as u64 {
        threads.push(thread::spawn(move || keeps_registers(seed + 1, has_avx))?);
    }
    for thread in threads {
        if let Some(wrong) = test.ok("a thread with registers", thread.join()) {
            test.equal("what is wrong", wrong, None);
        }
    }
    // The threads before left their patterns; a new one must not see them.
    for _ in 0..4 {
        let fresh = thread::spawn(fresh_registers)?.join()?;
        test.equal("MXCSR of a new thread", fresh.mxcsr, 0x1F80);
        test.check("x87 control word of a new thread", matches!(fresh.control, 0x037F | 0x027F));
        test.equal("xmm0 of a new thread", fresh.xmm, [0, 0]);
    }
    keeps_gs(&mut test, processors)?;
    Ok(test.finish())
}

/// Other processes load GS with a selector, which takes its base away, and yield; this one must keep its TEB. All
/// processes have theirs at the same address.
fn keeps_gs(test: &mut Test, processors: usize) -> NtResult {
    let mut spoilers = Vec::new();
    for _ in 0..processors {
        spoilers.push(Command::new("fptest").argument("--spoil").spawn()?);
    }
    let mut kept = true;
    while spoilers.iter().any(|process| process.exit_status() == Ok(STATUS_PENDING)) {
        let teb: u64;
        // SAFETY: the TEB holds its own address at 0x30; should the base be gone, the fault is the test's failure.
        unsafe { asm!("mov {}, gs:[0x30]", out(reg) teb, options(nostack, readonly)) };
        kept &= teb != 0;
        thread::yield_now();
    }
    test.check("the GS base is kept", kept);
    for process in spoilers {
        test.equal("a program that spoils its GS", process.exit_status()?, STATUS_SUCCESS);
    }
    Ok(())
}

/// Loads GS with the user data selector and yields, many times; then ends the process without the runtime, which
/// needs GS.
fn spoil_gs() -> ! {
    // SAFETY: only registers and system calls without memory arguments; nothing of the runtime runs afterwards.
    unsafe {
        asm!(
            "mov ebx, 20000",
            "2:",
            "mov eax, 0x1b",
            "mov gs, ax",
            "mov eax, {yield_}",
            "syscall",
            "dec ebx",
            "jnz 2b",
            "mov rdi, -1",
            "xor esi, esi",
            "mov eax, {terminate}",
            "syscall",
            "ud2",
            yield_ = const abi::syscalls::nr::NtYieldExecution,
            terminate = const abi::syscalls::nr::NtTerminateProcess,
            options(noreturn),
        )
    }
}

/// Plain Rust arithmetic with known results.
fn arithmetic(test: &mut Test) {
    let mut sum = 0.0f64;
    for n in 1..=1000u32 {
        sum += core::hint::black_box(1.0) / f64::from(n);
    }
    test.equal("the thousandth harmonic number", sum.to_bits(), 7.485_470_860_550_343_f64.to_bits());
    let third = core::hint::black_box(1.0f32) / 3.0;
    test.equal("a third", third.to_bits(), 0x3EAA_AAAB);
    test.check("a quotient by zero is infinite", (core::hint::black_box(1.0f64) / 0.0).is_infinite());
}

fn fresh_registers() -> Fresh {
    let mut fresh = Fresh { mxcsr: 0, control: 0, xmm: [1, 1] };
    // SAFETY: the three instructions store to the fields they are given.
    unsafe {
        asm!(
            "stmxcsr [{mxcsr}]",
            "fnstcw [{control}]",
            "movups [{xmm}], xmm0",
            mxcsr = in(reg) &raw mut fresh.mxcsr,
            control = in(reg) &raw mut fresh.control,
            xmm = in(reg) &raw mut fresh.xmm,
            options(nostack),
        );
    }
    fresh
}

/// Loads all registers with a pattern, spins, stores them, compares; what was wrong, if anything.
fn keeps_registers(seed: u64, has_avx: bool) -> Option<&'static str> {
    let mut random = Random::new(seed);
    for _ in 0..ROUNDS {
        let pattern = Vectors(core::array::from_fn(|_| core::array::from_fn(|_| random.number())));
        let found = if has_avx { through_avx(&pattern) } else { through_sse(&pattern) };
        if found != pattern {
            return Some("vector registers");
        }
        let numbers = core::array::from_fn(|_| (random.number() >> 12) as i64);
        if through_x87(&numbers) != numbers {
            return Some("x87 registers");
        }
        // Rounding mode and masked exceptions by seed.
        let mxcsr = 0x1F80 | ((seed as u32 & 3) << 13);
        if through_mxcsr(mxcsr) != mxcsr {
            return Some("MXCSR");
        }
    }
    None
}

/// `vmovups` of all sixteen registers.
macro_rules! all_registers {
    ($($n:literal),*) => {
        /// The pattern after a while in the YMM registers.
        fn through_avx(pattern: &Vectors) -> Vectors {
            let mut found = Vectors([[0; 4]; 16]);
            // SAFETY: the registers are loaded from and stored to sixteen slots of 32 bytes each. Nothing else in the
            // program uses them: it is compiled without SSE.
            unsafe {
                asm!(
                    $(concat!("vmovups ymm", $n, ", [{from} + 32 * ", $n, "]"),)*
                    "2:",
                    "dec {spin}",
                    "jnz 2b",
                    $(concat!("vmovups [{to} + 32 * ", $n, "], ymm", $n),)*
                    "vzeroupper",
                    from = in(reg) pattern,
                    to = in(reg) &raw mut found,
                    spin = inout(reg) SPIN => _,
                    options(nostack),
                );
            }
            found
        }

        /// The pattern after a while in the XMM registers, half by half.
        fn through_sse(pattern: &Vectors) -> Vectors {
            let mut found = Vectors([[0; 4]; 16]);
            for half in 0..2 {
                // SAFETY: as above, with 16 bytes of each slot.
                unsafe {
                    asm!(
                        $(concat!("movups xmm", $n, ", [{from} + 32 * ", $n, "]"),)*
                        "2:",
                        "dec {spin}",
                        "jnz 2b",
                        $(concat!("movups [{to} + 32 * ", $n, "], xmm", $n),)*
                        from = in(reg) (&raw const *pattern).cast::<u8>().add(16 * half),
                        to = in(reg) (&raw mut found).cast::<u8>().add(16 * half),
                        spin = inout(reg) SPIN => _,
                        options(nostack),
                    );
                }
            }
            found
        }
    };
}
all_registers!(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

/// Eight integers after a while on the x87 stack.
fn through_x87(numbers: &[i64; 8]) -> [i64; 8] {
    let mut found = [0i64; 8];
    // SAFETY: eight loads and eight stores of eight bytes each; the stack of the unit is empty before and after.
    unsafe {
        asm!(
            "fninit",
            "fild qword ptr [{from}]",
            "fild qword ptr [{from} + 8]",
            "fild qword ptr [{from} + 16]",
            "fild qword ptr [{from} + 24]",
            "fild qword ptr [{from} + 32]",
            "fild qword ptr [{from} + 40]",
            "fild qword ptr [{from} + 48]",
            "fild qword ptr [{from} + 56]",
            "2:",
            "dec {spin}",
            "jnz 2b",
            "fistp qword ptr [{to} + 56]",
            "fistp qword ptr [{to} + 48]",
            "fistp qword ptr [{to} + 40]",
            "fistp qword ptr [{to} + 32]",
            "fistp qword ptr [{to} + 24]",
            "fistp qword ptr [{to} + 16]",
            "fistp qword ptr [{to} + 8]",
            "fistp qword ptr [{to}]",
            from = in(reg) numbers,
            to = in(reg) &raw mut found,
            spin = inout(reg) SPIN / 4 => _,
            options(nostack),
        );
    }
    found
}

/// MXCSR after a while with this value.
fn through_mxcsr(value: u32) -> u32 {
    let mut found = 0u32;
    let usual = 0x1F80u32;
    // SAFETY: the values are valid for the register, and it is put back.
    unsafe {
        asm!(
            "ldmxcsr [{value}]",
            "2:",
            "dec {spin}",
            "jnz 2b",
            "stmxcsr [{found}]",
            "ldmxcsr [{usual}]",
            value = in(reg) &raw const value,
            found = in(reg) &raw mut found,
            usual = in(reg) &raw const usual,
            spin = inout(reg) SPIN / 8 => _,
            options(nostack),
        );
    }
    found
}
