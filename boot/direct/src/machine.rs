//! Ports, registers, COM1.

use core::arch::asm;
use core::fmt;

/// Writes a byte to a port.
pub fn outb(port: u16, value: u8) {
    // SAFETY: the loader has the machine to itself and writes only to ports of the PC's standard devices,
    // none of which touches memory in the ways used here.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads a byte from a port.
pub fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: as for `outb`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Reads a model-specific register.
///
/// # Safety
/// The processor has it.
pub unsafe fn read_msr(number: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller knows the register exists; reading has no effect on memory.
    unsafe {
        asm!(
            "rdmsr",
            in("ecx") number, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags)
        );
    }
    u64::from(high) << 32 | u64::from(low)
}

/// Makes these the page tables.
///
/// # Safety
/// They map the running code, its stack and all memory in use where they are now.
pub unsafe fn set_page_tables(root: u64) {
    // SAFETY: the caller's promise.
    unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) }
}

/// Whether the processor has 1 GiB pages.
pub fn has_huge_pages() -> bool {
    cpuid(0x8000_0001).edx & 1 << 26 != 0
}

/// This processor's local APIC id.
pub fn apic_id() -> u32 {
    cpuid(1).ebx >> 24
}

/// The CPUID instruction; the entry code has made sure that leaf 0x80000001 exists.
fn cpuid(leaf: u32) -> core::arch::x86_64::CpuidResult {
    // SAFETY: every 64-bit processor has CPUID. (Newer toolchains call this safe.)
    #[allow(unused_unsafe)]
    unsafe {
        core::arch::x86_64::__cpuid(leaf)
    }
}

/// Waits this many microseconds (50,000 at most) by the timer chip's second channel.
pub fn wait_microseconds(time: u32) {
    let count = time * 1193 / 1000 + 1;
    outb(0x61, inb(0x61) & !2 | 1); // count, but keep quiet
    outb(0x43, 0xb0); // channel 2, low byte then high byte, mode 0: the output rises at zero
    outb(0x42, count as u8);
    outb(0x42, (count >> 8) as u8);
    while inb(0x61) & 0x20 == 0 {
        core::hint::spin_loop();
    }
}

/// COM1, at whatever speed it has.
pub struct Com1;

impl fmt::Write for Com1 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // A port that is not there reads as all ones, so this ends.
            while inb(0x3fd) & 0x20 == 0 {
                core::hint::spin_loop();
            }
            outb(0x3f8, byte);
        }
        Ok(())
    }
}

/// Says why on COM1, in one line, and stops the machine.
pub fn stop(why: impl fmt::Display) -> ! {
    use fmt::Write;
    // COM1 cannot fail.
    let _ = write!(Com1, "direct boot: {why}\r\n");
    loop {
        // SAFETY: waiting with interrupts off ends nothing that anybody waits for.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
