//! The machine's description, and switching it off.
//!
//! Owns: the parsed ACPI tables (the parser is `antares_core::acpi`) and the register writes of power-off
//! and reset. Called by start-up and by the shutdown system call. It never interprets AML and never
//! reads outside what the caller says is readable. Source: ACPI 6.5, 4.8.3.2, 4.8.3.6, 7.4.2.

use super::cpu::{cli, hlt, inb, inw, outb, outl, outw};
use antares_core::acpi::{PhysicalMemory, Tables, parse};
use core::arch::asm;
use spin::Once;

static TABLES: Once<Tables> = Once::new();

/// Physical memory through the kernel's map.
struct Mapped {
    readable: fn(u64, u64) -> bool,
}

impl PhysicalMemory for Mapped {
    fn bytes(&self, address: u64, length: usize) -> Option<&[u8]> {
        address.checked_add(length as u64)?;
        if !(self.readable)(address, length as u64) {
            return None;
        }
        // SAFETY: `init`'s caller vouches that a range it calls readable is mapped at `phys_to_virt`,
        // and firmware tables are not written any more.
        Some(unsafe { core::slice::from_raw_parts(crate::mm::phys_to_virt(address), length) })
    }
}

/// Reads the tables that the RSDP at physical address `rsdp` leads to. Returns whether there were any;
/// without, `tables` stays `None` and power-off is impossible. Once, on the boot processor.
///
/// # Safety
/// Where `readable(address, length)` says yes, `phys_to_virt(address)` must be mapped for that length, and
/// stay unwritten during this call.
pub unsafe fn init(rsdp: u64, readable: fn(u64, u64) -> bool) -> bool {
    match parse(&Mapped { readable }, rsdp) {
        Ok(tables) => {
            TABLES.call_once(|| tables);
            true
        }
        Err(_) => false,
    }
}

/// What `init` found.
pub fn tables() -> Option<&'static Tables> {
    TABLES.get()
}

const SCI_ENABLE: u16 = 1;
const SLEEP_TYPE_SHIFT: u16 = 10;
const SLEEP_TYPE_MASK: u16 = 7 << SLEEP_TYPE_SHIFT;
const SLEEP_ENABLE: u16 = 1 << 13;

/// A pause of about a microsecond on hardware (a read of an ISA port), bounded everywhere.
fn pause(microseconds: u32) {
    for _ in 0..microseconds {
        inb(0x80);
    }
}

/// Switches the machine off (sleep state S5). Returns only if that is impossible.
pub fn power_off() {
    let Some(power) = tables().map(|tables| tables.power) else { return };
    let (Some(control), Some((type_a, type_b))) = (power.pm1a_control, power.s5) else { return };
    cli();
    // SAFETY: the ports are those the firmware names for this purpose. The machine stops, or nothing
    // happens.
    unsafe {
        if inw(control) & SCI_ENABLE == 0 && power.smi_command != 0 && power.acpi_enable != 0 {
            outb(power.smi_command, power.acpi_enable);
            for _ in 0..1000 {
                if inw(control) & SCI_ENABLE != 0 {
                    break;
                }
                pause(1000);
            }
        }
        let value = |port: u16, kind: u8| {
            inw(port) & !(SLEEP_TYPE_MASK | SLEEP_ENABLE) | u16::from(kind) << SLEEP_TYPE_SHIFT
        };
        let second = power.pm1b_control.map(|port| (port, value(port, type_b)));
        let first = value(control, type_a);
        outw(control, first);
        if let Some((port, value)) = second {
            outw(port, value);
        }
        outw(control, first | SLEEP_ENABLE);
        if let Some((port, value)) = second {
            outw(port, value | SLEEP_ENABLE);
        }
    }
    pause(1_000_000);
}

/// Starts the machine anew: by the FADT's reset register, then the chipset's port 0xCF9, then the keyboard
/// controller, and if none works by a triple fault.
pub fn reboot() -> ! {
    cli();
    // SAFETY: each write resets the machine or does nothing.
    unsafe {
        if let Some((address, value)) = tables().and_then(|tables| tables.power.reset) {
            match address.space {
                1 => {
                    if let Some(port) = address.port() {
                        outb(port, value);
                    }
                }
                // PCI configuration space of bus 0 (ACPI 5.2.3.2): device in bits 32 to 47, function 16
                // to 31, offset below.
                2 => {
                    let (device, function, offset) = (
                        (address.address >> 32 & 0x1F) as u32,
                        (address.address >> 16 & 7) as u32,
                        (address.address & 0xFF) as u32,
                    );
                    outl(0xCF8, 1 << 31 | device << 11 | function << 8 | offset & 0xFC);
                    outb(0xCFC + (offset & 3) as u16, value);
                }
                _ => {}
            }
            pause(100_000);
        }
        outb(0xCF9, 0x02);
        pause(100);
        outb(0xCF9, 0x06);
        pause(100_000);
        for _ in 0..100_000 {
            if inb(0x64) & 2 == 0 {
                break;
            }
        }
        outb(0x64, 0xFE);
        pause(100_000);
        let nothing = [0u16; 5];
        asm!("lidt [{}]", "int3", in(reg) &nothing);
    }
    loop {
        hlt();
    }
}
