//! The I/O APICs: which device interrupt goes to which processor and vector.
//!
//! Owns: the redirection tables. Called by start-up and by the Interrupt object of user-mode drivers. It
//! never maps memory (the caller does), never touches a local APIC, and takes only its own lock,
//! briefly, with interrupts off. Sources: Intel 82093AA data sheet, 3.0; ACPI 6.5, 5.2.12.5.

use super::acpi;
use spin::Mutex;

/// One I/O APIC, its registers already mapped.
#[derive(Debug, Clone, Copy)]
pub struct IoApicInfo {
    /// Its 4 KiB of registers, uncached.
    pub mmio_virtual: *mut u8,
    /// First global system interrupt it serves.
    pub gsi_base: u32,
}

/// Most chips we handle; as many as the ACPI parser lists.
const MOST: usize = 16;

const WINDOW: usize = 0x10;
const VERSION: u32 = 1;
const REDIRECTION: u32 = 0x10;

const ACTIVE_LOW: u32 = 1 << 13;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;

struct Chip {
    mmio: *mut u8,
    gsi_base: u32,
    lines: u32,
}

// SAFETY: the pointer leads to device registers mapped in every address space; the lock around the list
// orders their use.
unsafe impl Send for Chip {}

impl Chip {
    fn read(&mut self, register: u32) -> u32 {
        // SAFETY: `init`'s caller mapped the registers; select, then window, under the lock.
        unsafe {
            self.mmio.cast::<u32>().write_volatile(register);
            self.mmio.add(WINDOW).cast::<u32>().read_volatile()
        }
    }

    fn write(&mut self, register: u32, value: u32) {
        // SAFETY: as in `read`; a redirection entry only directs interrupts.
        unsafe {
            self.mmio.cast::<u32>().write_volatile(register);
            self.mmio.add(WINDOW).cast::<u32>().write_volatile(value);
        }
    }
}

static CHIPS: Mutex<heapless::Vec<Chip, MOST>> = Mutex::new(heapless::Vec::new());

/// Takes the chips of `list` into use and masks every line. What exceeds the bound is ignored.
///
/// # Safety
/// Each `mmio_virtual` must map an I/O APIC's registers, uncached and writable, in every address space
/// and for good.
pub unsafe fn init(list: &[IoApicInfo]) {
    let mut chips = CHIPS.lock();
    chips.clear();
    for info in list {
        let mut chip = Chip { mmio: info.mmio_virtual, gsi_base: info.gsi_base, lines: 0 };
        chip.lines = (chip.read(VERSION) >> 16 & 0xFF) + 1;
        for line in 0..chip.lines {
            chip.write(REDIRECTION + 2 * line, MASKED);
            chip.write(REDIRECTION + 2 * line + 1, 0);
        }
        if chips.push(chip).is_err() {
            break;
        }
    }
}

/// Runs `work` on the chip that serves `gsi`, with the number of the entry's low register.
fn with_line<R>(gsi: u32, work: impl FnOnce(&mut Chip, u32) -> R) -> Option<R> {
    let mut chips = CHIPS.lock();
    let chip =
        chips.iter_mut().find(|chip| gsi.checked_sub(chip.gsi_base).is_some_and(|line| line < chip.lines))?;
    let low = REDIRECTION + 2 * (gsi - chip.gsi_base);
    Some(work(chip, low))
}

/// Sends global system interrupt `gsi` to `vector` on the processor `apic_id`. False if no chip serves
/// it, if the vector is not for devices, or if the id does not fit the 8-bit destination.
pub fn route(gsi: u32, vector: u8, apic_id: u32, level: bool, active_low: bool, masked: bool) -> bool {
    if !(super::apic::FIRST_DEVICE..=super::apic::LAST_DEVICE).contains(&vector) || apic_id >= 0xFF {
        return false;
    }
    let mut entry = u32::from(vector);
    for (condition, bit) in [(level, LEVEL), (active_low, ACTIVE_LOW), (masked, MASKED)] {
        if condition {
            entry |= bit;
        }
    }
    with_line(gsi, |chip, low| {
        // Masked while half-written.
        chip.write(low, MASKED);
        chip.write(low + 1, apic_id << 24);
        chip.write(low, entry);
    })
    .is_some()
}

/// Holds `gsi` back. An edge that comes while masked is lost; a level is delivered on `unmask`.
pub fn mask(gsi: u32) {
    with_line(gsi, |chip, low| {
        let entry = chip.read(low);
        chip.write(low, entry | MASKED);
    });
}

/// Lets `gsi` through again.
pub fn unmask(gsi: u32) {
    with_line(gsi, |chip, low| {
        let entry = chip.read(low);
        chip.write(low, entry & !MASKED);
    });
}

/// Where ISA interrupt `irq` arrives: global system interrupt, level, active low. One to one, edge,
/// active high unless the MADT says otherwise.
pub fn isa_to_gsi(irq: u8) -> (u32, bool, bool) {
    acpi::tables()
        .and_then(|tables| tables.overrides.as_slice().iter().find(|entry| entry.irq == irq))
        .map_or((u32::from(irq), false, false), |entry| (entry.gsi, entry.level, entry.active_low))
}
