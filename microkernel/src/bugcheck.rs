//! The end: the kernel found itself broken, says so once, and stops.
//!
//! Owns: the bugcheck screen on COM1, stopping the other processors, and Rust's panic handler. Called
//! from anywhere in ring 0, in any state. So it takes no lock, allocates nothing, trusts no pointer it
//! has not looked up in the page tables, and survives itself: a second bugcheck on the same processor
//! says one line, one on another processor just halts. Then the reduced debug console answers ([`crate::kd::console`]).

use crate::arch::apic;
use crate::arch::cpu::{self, cli, hlt};
use crate::arch::idt::TrapFrame;
use crate::arch::serial::Serial;
use crate::kd;
use crate::mm;
use crate::symbols::{Named, Return};
use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// NT's bugcheck codes, those that the kernel uses.
pub mod code {
    pub const IRQL_NOT_LESS_OR_EQUAL: u32 = 0x0A;
    pub const MEMORY_MANAGEMENT: u32 = 0x1A;
    pub const KMODE_EXCEPTION_NOT_HANDLED: u32 = 0x1E;
    pub const PHASE0_INITIALIZATION_FAILED: u32 = 0x31;
    pub const PAGE_FAULT_IN_NONPAGED_AREA: u32 = 0x50;
    pub const PROCESS1_INITIALIZATION_FAILED: u32 = 0x6B;
    pub const INSTALL_MORE_MEMORY: u32 = 0x7D;
    pub const UNEXPECTED_KERNEL_MODE_TRAP: u32 = 0x7F;
    pub const NMI_HARDWARE_FAILURE: u32 = 0x80;
    pub const MACHINE_CHECK_EXCEPTION: u32 = 0x9C;
    pub const MANUALLY_INITIATED_CRASH: u32 = 0xE2;
    pub const CRITICAL_PROCESS_DIED: u32 = 0xEF;
}

/// NT's name of a bugcheck code.
fn name(code: u32) -> &'static str {
    macro_rules! names {
        ($($name:ident)*) => {
            match code {
                $(code::$name => stringify!($name),)*
                _ => "UNKNOWN_BUGCHECK",
            }
        };
    }
    names! {
        IRQL_NOT_LESS_OR_EQUAL MEMORY_MANAGEMENT KMODE_EXCEPTION_NOT_HANDLED PHASE0_INITIALIZATION_FAILED
        PAGE_FAULT_IN_NONPAGED_AREA PROCESS1_INITIALIZATION_FAILED INSTALL_MORE_MEMORY
        UNEXPECTED_KERNEL_MODE_TRAP NMI_HARDWARE_FAILURE MACHINE_CHECK_EXCEPTION MANUALLY_INITIATED_CRASH CRITICAL_PROCESS_DIED
    }
}

/// STATUS_ASSERTION_FAILURE: parameter 1 of the bugcheck that a Rust panic makes.
const STATUS_ASSERTION_FAILURE: u64 = 0xC000_0420;
/// Lowest address that can be the kernel's.
const KERNEL_START: u64 = 0xFFFF_8000_0000_0000;
/// Most return addresses printed.
const DEPTH: usize = 32;
/// Frames further apart than this are not of one stack.
const LARGEST_FRAME: u64 = 64 * 1024;

/// `NOBODY`, or the APIC id of the processor that is printing the screen.
static OWNER: AtomicU32 = AtomicU32::new(NOBODY);
const NOBODY: u32 = u32::MAX;
/// How often the owner has come back here.
static NESTED: AtomicU64 = AtomicU64::new(0);
/// After so many further bugchecks it halts.
const MOST_NESTED: u64 = 3;

/// Stops the system with NT's screen. `frame` is the trap that led here, if one did.
pub fn bugcheck(code: u32, params: [u64; 4], frame: Option<&TrapFrame>) -> ! {
    stop(code, params, frame, None)
}

/// The same with a sentence that says why, for what a person can mend.
pub fn bugcheck_because(code: u32, params: [u64; 4], why: &dyn fmt::Display) -> ! {
    stop(code, params, None, Some(why))
}

/// Whether a bugcheck has begun anywhere.
pub fn in_progress() -> bool {
    OWNER.load(Ordering::Relaxed) != NOBODY
}

/// To be called first in the NMI handler: does not return if a bugcheck wants this processor stopped.
pub fn on_nmi(frame: &mut TrapFrame) {
    if in_progress() && OWNER.load(Ordering::Relaxed) != apic::id() {
        kd::stop::keep(frame);
        halt();
    }
    kd::stop::on_nmi(frame);
}

/// Halts this processor for good.
pub fn halt() -> ! {
    loop {
        cli();
        hlt();
    }
}

fn stop(code: u32, params: [u64; 4], frame: Option<&TrapFrame>, message: Option<&dyn fmt::Display>) -> ! {
    cli();
    let me = apic::id();
    match OWNER.compare_exchange(NOBODY, me, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => {}
        Err(owner) if owner == me => {
            // Each takes more of the stack.
            if NESTED.fetch_add(1, Ordering::Relaxed) >= MOST_NESTED {
                halt();
            }
            let _ = writeln!(Serial, "\n*** A further bugcheck after the first: {code:#010X} {params:x?}");
            answer()
        }
        Err(_) => halt(),
    }
    apic::send_nmi_all_but_self();
    if let Some(frame) = frame {
        kd::stop::keep(frame);
    }
    // Writing to `Serial` cannot fail.
    let _ = screen(&mut Serial, code, params, frame, message);
    answer()
}

/// The debug console's reduced form answers from here on, where its line is there. A fault in it ends in `stop`, which starts
/// it again.
fn answer() -> ! {
    if kd::line::is_present() {
        kd::console::run(kd::console::Mode::Crashed);
    }
    halt()
}

/// RIP (of here), RSP and RBP.
#[inline(always)]
pub fn here() -> (u64, u64, u64) {
    let (rip, rsp, rbp): (u64, u64, u64);
    // SAFETY: only copies registers.
    unsafe {
        asm!("lea {}, [rip]", "mov {}, rsp", "mov {}, rbp", out(reg) rip, out(reg) rsp, out(reg) rbp,
            options(nomem, nostack, preserves_flags));
    }
    (rip, rsp, rbp)
}

fn screen(
    out: &mut Serial,
    code: u32,
    params: [u64; 4],
    frame: Option<&TrapFrame>,
    message: Option<&dyn fmt::Display>,
) -> fmt::Result {
    let [p1, p2, p3, p4] = params;
    // A bare line first: other output may have stopped in the middle of one.
    writeln!(out)?;
    writeln!(out, "*** STOP: 0x{code:08X} (0x{p1:016X}, 0x{p2:016X}, 0x{p3:016X}, 0x{p4:016X})")?;
    writeln!(out, "{}", name(code))?;
    if let Some(message) = message {
        writeln!(out, "{message}")?;
    }
    writeln!(out)?;
    writeln!(out, "Processor: APIC id {}", apic::id())?;
    let (rip, _, rbp) = here();
    match frame {
        Some(frame) => {
            let ring = if frame.is_user() { "user" } else { "kernel" };
            writeln!(
                out,
                "Trap {:#04x}, error code {:#x}, from {ring} mode",
                frame.vector, frame.error_code
            )?;
            registers(out, frame)?;
        }
        None => writeln!(out, "No trap frame.")?,
    }
    let (cr0, cr4, efer) = (cpu::read_cr0(), cpu::read_cr4(), cpu::rdmsr(cpu::msr::EFER));
    writeln!(out, "cr0={cr0:016x} cr2={:016x} cr3={:016x}", cpu::read_cr2(), cpu::read_cr3())?;
    writeln!(out, "cr4={cr4:016x} efer={efer:016x} gs={:016x}", cpu::rdmsr(cpu::msr::GS_BASE))?;
    writeln!(out)?;
    writeln!(out, "Stack:")?;
    match frame.filter(|frame| !frame.is_user()) {
        Some(frame) => walk(out, frame.rip, frame.rbp, Some(frame.rsp))?,
        None => walk(out, rip, rbp, None)?,
    }
    writeln!(out)?;
    writeln!(out, "The system is halted.")
}

fn registers(out: &mut Serial, f: &TrapFrame) -> fmt::Result {
    writeln!(out, "rax={:016x} rbx={:016x} rcx={:016x}", f.rax, f.rbx, f.rcx)?;
    writeln!(out, "rdx={:016x} rsi={:016x} rdi={:016x}", f.rdx, f.rsi, f.rdi)?;
    writeln!(out, "rip={:016x} rsp={:016x} rbp={:016x}", f.rip, f.rsp, f.rbp)?;
    writeln!(out, " r8={:016x}  r9={:016x} r10={:016x}", f.r8, f.r9, f.r10)?;
    writeln!(out, "r11={:016x} r12={:016x} r13={:016x}", f.r11, f.r12, f.r13)?;
    writeln!(out, "r14={:016x} r15={:016x}", f.r14, f.r15)?;
    writeln!(out, "cs={:04x} ss={:04x} rflags={:08x}", f.cs, f.ss, f.rflags)
}

/// Prints `rip` and the return addresses found by following frame pointers from `rbp`: each frame higher
/// than the one before, near it, aligned and mapped. A jump into nowhere (`rip` not mapped) has its return
/// address at `rsp` still.
fn walk(out: &mut Serial, rip: u64, mut rbp: u64, rsp: Option<u64>) -> fmt::Result {
    writeln!(out, "  {}", Named(rip))?;
    if !is_mapped(rip)
        && let Some(address) = rsp.and_then(read_kernel)
    {
        writeln!(out, "  {}", Return(address))?;
    }
    for _ in 0..DEPTH {
        let (Some(next), Some(address)) = (read_kernel(rbp), read_kernel(rbp.wrapping_add(8))) else { break };
        if address < KERNEL_START {
            break;
        }
        writeln!(out, "  {}", Return(address))?;
        if next <= rbp || next - rbp > LARGEST_FRAME {
            break;
        }
        rbp = next;
    }
    Ok(())
}

/// The eight bytes at a kernel address, if it is aligned and mapped.
fn read_kernel(address: u64) -> Option<u64> {
    if !address.is_multiple_of(8) || !is_mapped(address) {
        return None;
    }
    // SAFETY: the page tables in use map the address, and it does not cross a page. Other processors are
    // stopped or being stopped; a value that changes meanwhile is only printed.
    Some(unsafe { (address as *const u64).read_volatile() })
}

/// Whether the page tables in use map the kernel address `address`.
fn is_mapped(address: u64) -> bool {
    const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;
    const PRESENT: u64 = 1;
    const LARGE: u64 = 1 << 7;
    if address < KERNEL_START {
        return false;
    }
    let top = if cpu::read_cr4() & cpu::CR4_LA57 != 0 { 4 } else { 3 };
    let mut table = cpu::read_cr3() & ADDRESS;
    for level in (0..=top).rev() {
        let index = (address >> (12 + 9 * level) & 0x1FF) as usize;
        // SAFETY: CR3 and the entries lead to page tables, which lie in ordinary memory that
        // `phys_to_virt` covers.
        let entry = unsafe { mm::phys_to_virt(table).cast::<u64>().add(index).read_volatile() };
        if entry & PRESENT == 0 {
            return false;
        }
        if level == 0 || (level <= 2 && entry & LARGE != 0) {
            return true;
        }
        table = entry & ADDRESS;
    }
    false
}

/// A panic in the kernel: a bugcheck with the message.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let line = info.location().map_or(0, |location| location.line());
    let (rip, _, _) = here();
    let params = [STATUS_ASSERTION_FAILURE, rip, line.into(), 0];
    stop(code::KMODE_EXCEPTION_NOT_HANDLED, params, None, Some(info))
}
