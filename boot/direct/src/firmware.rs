//! ACPI tables, legacy interrupt controllers, the clock.

use crate::machine::{inb, outb};
use crate::memory;
use direct_boot::acpi;
use direct_boot::clock::Registers;

/// Looks for the RSDP where a BIOS puts it: in the first KiB of its extended data area, or below 1 MiB.
pub fn find_rsdp() -> Option<u64> {
    // SAFETY: the BIOS data area's word that names the segment is there on every PC with a BIOS.
    let segment = unsafe { memory::read::<u16>(0x40e) };
    let data_area = u64::from(segment) << 4;
    let data_area = if (0x8_0000..0xa_0000).contains(&data_area) { data_area } else { 0x9_fc00 };
    let candidates = (data_area..data_area + 1024).chain(0xe_0000..0x10_0000);
    candidates.step_by(16).find(|address| acpi::is_rsdp(rsdp_bytes(*address)))
}

/// The bytes at a place where the RSDP may be.
fn rsdp_bytes(address: u64) -> &'static [u8] {
    // SAFETY: all callers stay below 1 MiB, in memory that the firmware keeps and the loader never writes.
    unsafe { memory::bytes_at(address, 36) }
}

/// The MADT, by the RSDP at this address.
pub fn find_madt(rsdp: u64) -> Option<&'static [u8]> {
    let (root, width) = acpi::root_table(rsdp_bytes(rsdp))?;
    let mut tables = acpi::table_addresses(table(root)?, width).filter_map(table);
    tables.find(|table| table.starts_with(b"APIC"))
}

/// An ACPI table, if the loader can reach it.
fn table(address: u64) -> Option<&'static [u8]> {
    const REACH: u64 = 1 << 32;
    if address == 0 || address > REACH - 36 {
        return None;
    }
    // SAFETY: a valid RSDP leads only to tables; they lie in memory that the firmware keeps.
    let header = unsafe { memory::bytes_at(address, 36) };
    let length = acpi::table_length(header);
    if length < 36 || length as u64 > REACH - address {
        return None;
    }
    // SAFETY: the same table, with the length its header gives.
    Some(unsafe { memory::bytes_at(address, length) })
}

/// Masks the legacy interrupt controllers.
pub fn mask_pics() {
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

/// Masks the ordinary interrupts (delivery mode fixed or lowest priority) of an I/O APIC.
pub fn mask_io_apic(address: u64) {
    let select = address as *mut u32;
    let window = (address + 16) as *mut u32;
    let read = |register: u32| {
        // SAFETY: the MADT says that an I/O APIC's registers are there; it lies below 4 GiB.
        unsafe {
            select.write_volatile(register);
            window.read_volatile()
        }
    };
    let last = read(1) >> 16 & 0xff;
    for pin in 0..=last {
        let low = read(0x10 + 2 * pin);
        if low >> 8 & 7 <= 1 {
            // SAFETY: as above; `read` has just selected this register.
            unsafe { window.write_volatile(low | 1 << 16) };
        }
    }
}

/// The time, in seconds since 1970.
pub fn unix_time() -> i64 {
    let read = |register: u8| {
        outb(0x70, register | 0x80);
        inb(0x71)
    };
    let registers = || {
        // An update takes 2 ms at most; a clock that is not there must not stop the boot.
        for _ in 0..100_000 {
            if read(10) & 0x80 == 0 {
                break;
            }
        }
        Registers {
            second: read(0),
            minute: read(2),
            hour: read(4),
            day: read(7),
            month: read(8),
            year: read(9),
            mode: read(11),
        }
    };
    let mut seen = registers();
    for _ in 0..10 {
        let again = registers();
        if again == seen {
            break;
        }
        seen = again;
    }
    seen.unix_time()
}
