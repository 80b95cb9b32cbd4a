//! The local APIC: end of interrupt, the one-shot timer, interrupts between processors.
//!
//! Owns: the interrupt vectors' numbers, each processor's local APIC, and silencing the 8259 pair.
//! Called by start-up, the trap dispatcher (EOI), the scheduler (timer, reschedule), paging
//! (shoot-down) and bugcheck (NMI). It never decides when to interrupt whom, never allocates, never
//! waits without a bound.
//!
//! Two ways to reach the registers: MMIO (xAPIC), mapped uncached by the caller, or MSRs (x2APIC). The boot
//! processor takes x2APIC where CPUID offers it (a processor that is in it already cannot go back
//! without a reset), and all others follow. Without TSC-deadline mode the timer counts at divisor 1 in
//! 32 bits; a longer wait fires early at the counter's end, so **a timer handler looks at the clock and
//! arms again**.
//! Sources: Intel SDM vol. 3, chapter 11 (APIC), 11.5.4 (timer), 11.6 (IPI), 11.12 (x2APIC).

use super::cpu::{self, Features, msr, rdmsr, rdtsc, wrmsr};
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// First vector for device interrupts; up to `LAST_DEVICE`.
pub const FIRST_DEVICE: u8 = 0x30;
/// Last vector for device interrupts.
pub const LAST_DEVICE: u8 = 0xDF;
/// The local timer.
pub const TIMER: u8 = 0xE0;
/// Another processor asks this one to look at its ready queue.
pub const RESCHEDULE: u8 = 0xE1;
/// Another processor asks this one to drop translations.
pub const TLB: u8 = 0xE2;
/// The debug console stops the system.
pub const BREAK: u8 = 0xE3;
/// A spurious interrupt: no EOI.
pub const SPURIOUS: u8 = 0xFF;
/// Where the masked 8259s would deliver (their spurious interrupts can still arrive): 16 vectors, no EOI.
pub const PIC_BASE: u8 = 0x20;

/// Register offsets in the MMIO page.
mod register {
    pub const ID: u32 = 0x20;
    pub const VERSION: u32 = 0x30;
    pub const TASK_PRIORITY: u32 = 0x80;
    pub const EOI: u32 = 0xB0;
    pub const SPURIOUS: u32 = 0xF0;
    pub const ERROR_STATUS: u32 = 0x280;
    pub const LVT_CMCI: u32 = 0x2F0;
    pub const COMMAND_LOW: u32 = 0x300;
    pub const COMMAND_HIGH: u32 = 0x310;
    pub const LVT_TIMER: u32 = 0x320;
    pub const LVT_THERMAL: u32 = 0x330;
    pub const LVT_PERFORMANCE: u32 = 0x340;
    pub const LVT_LINT0: u32 = 0x350;
    pub const LVT_LINT1: u32 = 0x360;
    pub const LVT_ERROR: u32 = 0x370;
    pub const INITIAL_COUNT: u32 = 0x380;
    pub const CURRENT_COUNT: u32 = 0x390;
    pub const DIVIDE: u32 = 0x3E0;
}

/// IA32_APIC_BASE bits.
const BASE_BOOT_PROCESSOR: u64 = 1 << 8;
const BASE_X2APIC: u64 = 1 << 10;
const BASE_ENABLE: u64 = 1 << 11;

const LVT_MASKED: u32 = 1 << 16;
const LVT_NMI: u32 = 4 << 8;
const TIMER_TSC_DEADLINE: u32 = 2 << 17;
const DIVIDE_BY_1: u32 = 0b1011;
const SOFTWARE_ENABLE: u32 = 1 << 8;
const COMMAND_PENDING: u32 = 1 << 12;
const COMMAND_ASSERT: u32 = 1 << 14;
const COMMAND_NMI: u32 = 4 << 8;
/// Polls for an earlier IPI to have left; it takes some bus cycles.
const SEND_POLL_LIMIT: u32 = 100_000;

/// The xAPIC registers, null until `init_boot`.
static MMIO: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static X2APIC: AtomicBool = AtomicBool::new(false);
static READY: AtomicBool = AtomicBool::new(false);
/// Local APIC timer ticks per TSC tick, times 2^32; 0 until calibrated.
static TIMER_RATIO: AtomicU64 = AtomicU64::new(0);
/// The APIC ids of the processors that have been through `init_this_cpu`, and how many there are.
static ONLINE: [AtomicU32; 256] = [const { AtomicU32::new(NOBODY) }; 256];
static ONLINE_COUNT: AtomicUsize = AtomicUsize::new(0);
const NOBODY: u32 = u32::MAX;

fn x2apic() -> bool {
    X2APIC.load(Ordering::Relaxed)
}

/// Whether `init_boot` has run, so that IPIs can be sent.
pub fn is_ready() -> bool {
    READY.load(Ordering::Acquire)
}

fn read(register: u32) -> u32 {
    if x2apic() {
        return rdmsr(msr::X2APIC + register / 16) as u32;
    }
    // SAFETY: `init_boot`'s caller mapped the whole register page for good, and callers pass offsets
    // from `register`, all within it.
    unsafe { MMIO.load(Ordering::Relaxed).add(register as usize).cast::<u32>().read_volatile() }
}

fn write(register: u32, value: u32) {
    // SAFETY: as in `read`; the registers written in this file affect interrupt delivery only.
    unsafe {
        if x2apic() {
            wrmsr(msr::X2APIC + register / 16, value.into());
        } else {
            MMIO.load(Ordering::Relaxed).add(register as usize).cast::<u32>().write_volatile(value);
        }
    }
}

/// Chooses the mode for the system and sets up the boot processor's local APIC.
///
/// # Safety
/// `mmio_virtual` must map the 4 KiB local APIC page (physical address from the MADT), uncached and
/// writable, in every address space and for good. It may be null only where x2APIC exists.
pub unsafe fn init_boot(mmio_virtual: *mut u8) {
    MMIO.store(mmio_virtual, Ordering::Relaxed);
    let already = rdmsr(msr::APIC_BASE) & BASE_X2APIC != 0;
    X2APIC.store(already || cpu::features().contains(Features::X2APIC), Ordering::Relaxed);
    init_this_cpu();
    READY.store(true, Ordering::Release);
}

/// Sets up this processor's local APIC: enabled, all local interrupts masked but LINT1 (NMI) on the boot
/// processor, timer stopped, every priority accepted. After `init_boot`, and after `idt::load` on this
/// processor: from here on it gets NMIs.
pub fn init_this_cpu() {
    let base = rdmsr(msr::APIC_BASE);
    // From xAPIC to x2APIC is one step once enabled; the mode bits may not be set in one go from disabled.
    // SAFETY: the address field stays; x2APIC is only set where CPUID has it or where it is on.
    unsafe {
        wrmsr(msr::APIC_BASE, base | BASE_ENABLE);
        if x2apic() {
            wrmsr(msr::APIC_BASE, base | BASE_ENABLE | BASE_X2APIC);
        }
    }
    write(register::SPURIOUS, SOFTWARE_ENABLE | u32::from(SPURIOUS));
    write(register::TASK_PRIORITY, 0);
    let last_lvt = read(register::VERSION) >> 16 & 0xFF;
    write(register::LVT_TIMER, LVT_MASKED);
    write(register::LVT_LINT0, LVT_MASKED);
    write(register::LVT_LINT1, if base & BASE_BOOT_PROCESSOR != 0 { LVT_NMI } else { LVT_MASKED });
    write(register::LVT_ERROR, LVT_MASKED | u32::from(SPURIOUS));
    for (number, lvt) in [(4, register::LVT_PERFORMANCE), (5, register::LVT_THERMAL), (6, register::LVT_CMCI)]
    {
        if last_lvt >= number {
            write(lvt, LVT_MASKED);
        }
    }
    write(register::ERROR_STATUS, 0);
    write(register::DIVIDE, DIVIDE_BY_1);
    write(register::INITIAL_COUNT, 0);
    if deadline_mode() {
        write(register::LVT_TIMER, TIMER_TSC_DEADLINE | u32::from(TIMER));
        // SAFETY: MFENCE has no effect but order. The LVT write must be seen before the first write of the
        // deadline (Intel SDM vol. 3, 11.5.4.1).
        unsafe { asm!("mfence", options(nostack, preserves_flags)) };
    } else {
        write(register::LVT_TIMER, u32::from(TIMER));
    }
    eoi();
    if let Some(slot) = ONLINE.get(ONLINE_COUNT.fetch_add(1, Ordering::Relaxed)) {
        slot.store(read_id(), Ordering::Release);
    }
}

fn deadline_mode() -> bool {
    cpu::features().contains(Features::TSC_DEADLINE)
}

/// This processor's APIC id. Before `init_boot`: the initial id from CPUID.
pub fn id() -> u32 {
    if !is_ready() {
        return cpu::cpuid(1, 0).ebx >> 24;
    }
    read_id()
}

fn read_id() -> u32 {
    let id = read(register::ID);
    if x2apic() { id } else { id >> 24 }
}

/// Tells the local APIC that the interrupt in service has been handled. Not for `SPURIOUS`, exceptions
/// or NMI.
pub fn eoi() {
    write(register::EOI, 0);
}

/// Fires `TIMER` once, `ticks_tsc` TSC ticks from now; 0 means as soon as possible. Replaces an earlier
/// setting. May fire early when the counter is too short (see the head), late never by more than a
/// counter tick.
pub fn timer_one_shot(ticks_tsc: u64) {
    if deadline_mode() {
        let deadline = cpu::rdtsc_unordered().saturating_add(ticks_tsc).max(1);
        // SAFETY: the MSR exists (CPUID); a deadline in the past fires at once.
        unsafe { wrmsr(msr::TSC_DEADLINE, deadline) };
    } else {
        let ratio = match TIMER_RATIO.load(Ordering::Relaxed) {
            0 => 1 << 32,
            ratio => ratio,
        };
        let count = (u128::from(ticks_tsc) * u128::from(ratio) + u128::from(u32::MAX)) >> 32;
        write(register::INITIAL_COUNT, u32::try_from(count).unwrap_or(u32::MAX).max(1));
    }
}

/// One reading of the timer's counter and the TSC values around it.
struct Reading {
    before: u64,
    count: u32,
    after: u64,
}

/// The tightest of some readings.
fn reading() -> Reading {
    let one = || {
        let before = rdtsc();
        let count = read(register::CURRENT_COUNT);
        Reading { before, count, after: rdtsc() }
    };
    (0..15).fold(one(), |best, _| {
        let next = one();
        if next.after - next.before < best.after - best.before { next } else { best }
    })
}

/// Measures the timer against the TSC, which runs at `tsc_frequency`, and keeps the ratio. About 1 ms.
/// Returns the timer's frequency, or 0 where TSC-deadline mode makes it needless or the counter does not
/// move. Called by `time::calibrate`, with the timer not in use.
pub fn calibrate_timer(tsc_frequency: u64) -> u64 {
    if !is_ready() || deadline_mode() {
        return 0;
    }
    write(register::LVT_TIMER, LVT_MASKED);
    write(register::INITIAL_COUNT, u32::MAX);
    let start = reading();
    while rdtsc() - start.after < tsc_frequency / 1000 {
        core::hint::spin_loop();
    }
    let end = reading();
    write(register::INITIAL_COUNT, 0);
    write(register::LVT_TIMER, u32::from(TIMER));

    let counted = u64::from(start.count.saturating_sub(end.count));
    if counted < 2 {
        return 0;
    }
    // Each count is the truth rounded by less than one; the TSC values bracket it.
    let low = (counted - 1).saturating_mul(tsc_frequency) / (end.after - start.before).max(1);
    let high = (counted + 1).saturating_mul(tsc_frequency) / (end.before - start.after).max(1);
    let frequency = super::time::settle(low, high);
    let ratio = (u128::from(frequency) << 32) / u128::from(tsc_frequency.max(1));
    TIMER_RATIO.store(u64::try_from(ratio).unwrap_or(0), Ordering::Relaxed);
    frequency
}

fn send(destination: u32, command: u32) {
    if x2apic() {
        // SAFETY: fences have no effect but order: a WRMSR to the x2APIC does not wait for earlier
        // stores, and the receiver must see them (Intel SDM vol. 3, 11.12.3). The write sends an
        // interrupt, nothing else.
        unsafe {
            asm!("mfence", "lfence", options(nostack, preserves_flags));
            wrmsr(
                msr::X2APIC + register::COMMAND_LOW / 16,
                u64::from(destination) << 32 | u64::from(command),
            );
        }
        return;
    }
    for _ in 0..SEND_POLL_LIMIT {
        if read(register::COMMAND_LOW) & COMMAND_PENDING == 0 {
            break;
        }
        core::hint::spin_loop();
    }
    write(register::COMMAND_HIGH, destination << 24);
    write(register::COMMAND_LOW, command);
}

/// Sends `vector` to the processor with that APIC id. Stores made before are visible to its handler.
/// Interrupts must be off (in xAPIC mode the command is two writes).
pub fn send_ipi(apic_id: u32, vector: u8) {
    send(apic_id, COMMAND_ASSERT | u32::from(vector));
}

/// Sends an NMI to every other processor that has been through `init_this_cpu`. Not by the broadcast
/// shorthand: a processor that still waits in the boot loader has no handler and would reset the machine.
pub fn send_nmi_all_but_self() {
    let me = id();
    for slot in &ONLINE {
        let other = slot.load(Ordering::Acquire);
        if other != NOBODY && other != me {
            send(other, COMMAND_ASSERT | COMMAND_NMI);
        }
    }
}

/// Moves the 8259 pair's vectors to `PIC_BASE`, away from the exceptions, and masks all its lines.
/// (Intel 8259A data sheet: ICW1 to ICW4, OCW1.)
pub fn disable_pic() {
    // SAFETY: these ports are the 8259s'; they reach no memory.
    unsafe {
        for (port, value) in [
            (0x20, 0x11),
            (0xA0, 0x11),
            (0x21, PIC_BASE),
            (0xA1, PIC_BASE + 8),
            (0x21, 4),
            (0xA1, 2),
            (0x21, 1),
            (0xA1, 1),
            (0x21, 0xFF),
            (0xA1, 0xFF),
        ] {
            cpu::outb(port, value);
            // A write to an unused port gives old chips their time.
            cpu::outb(0x80, 0);
        }
    }
}
