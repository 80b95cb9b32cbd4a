//! Resources and interrupts: what user-mode drivers and system servers hold (Antares; [`abi::io`]).

use crate::arch::{apic, cpu, ioapic, percpu};
use crate::ke::event::Signal;
use crate::kref::Ref;
use crate::ob::Header;
use crate::quota::QuotaBlock;
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::io::*;
use abi::ob::ObjectType;
use abi::status::*;
use core::sync::atomic::Ordering;

/// A range of one kind of authority.
pub struct Resource {
    /// Object header.
    pub header: Header,
    /// RESOURCE_ kind.
    pub kind: u32,
    /// First port, address or interrupt.
    pub base: u64,
    /// How many.
    pub length: u64,
}

impl Resource {
    /// The resource everything is derived from.
    pub fn root() -> Result<Ref<Self>, NtStatus> {
        let header = Header::uncharged(ObjectType::Resource);
        Ref::try_new(Self { header, kind: RESOURCE_ROOT, base: 0, length: u64::MAX })
    }

    /// A narrower resource.
    pub fn derive(
        &self,
        quota: &Ref<QuotaBlock>,
        kind: u32,
        base: u64,
        length: u64,
    ) -> Result<Ref<Self>, NtStatus> {
        let ranged = matches!(kind, RESOURCE_IO_PORTS | RESOURCE_PHYSICAL | RESOURCE_IRQ);
        let single = matches!(kind, RESOURCE_DEBUG | RESOURCE_POWER | RESOURCE_QUOTA);
        let within =
            self.kind == RESOURCE_ROOT || (self.kind == kind && (!ranged || self.covers(base, length)));
        if !(ranged || single) || !within || (ranged && (length == 0 || base.checked_add(length).is_none())) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let fits = match kind {
            RESOURCE_IO_PORTS => base + length <= 0x1_0000,
            RESOURCE_IRQ => base + length <= 0x400,
            RESOURCE_PHYSICAL => {
                base + length <= cpu::physical_limit() && !crate::boot::overlaps_ram(base, length)
            }
            _ => true,
        };
        if !fits {
            return Err(STATUS_INVALID_PARAMETER);
        }
        Ref::try_new(Self { header: Header::new(ObjectType::Resource, quota)?, kind, base, length })
    }

    /// True when a range lies in this one.
    pub fn covers(&self, base: u64, length: u64) -> bool {
        base >= self.base && length <= self.length && base - self.base <= self.length - length
    }

    /// Checks that it is of a kind (or the root).
    pub fn check(&self, kind: u32) -> Result<(), NtStatus> {
        if self.kind == kind || self.kind == RESOURCE_ROOT { Ok(()) } else { Err(STATUS_ACCESS_DENIED) }
    }
}

/// Reads units from an I/O port.
pub fn read_port(port: u16, width: u32, to: &mut [u8]) {
    for unit in to.chunks_exact_mut(width as usize) {
        match width {
            1 => unit[0] = cpu::inb(port),
            2 => unit.copy_from_slice(&cpu::inw(port).to_le_bytes()),
            _ => unit.copy_from_slice(&cpu::inl(port).to_le_bytes()),
        }
    }
}

/// Writes units to an I/O port.
pub fn write_port(port: u16, width: u32, from: &[u8]) {
    for unit in from.chunks_exact(width as usize) {
        // SAFETY: the caller holds a resource for this port: what the device does is the driver's responsibility, and
        // no port of the platform that the kernel itself uses is handed out by a resource but the root.
        unsafe {
            match width {
                1 => cpu::outb(port, unit[0]),
                2 => cpu::outw(port, u16::from_le_bytes([unit[0], unit[1]])),
                _ => cpu::outl(port, u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])),
            }
        }
    }
}

const VECTORS: usize = (apic::LAST_DEVICE - apic::FIRST_DEVICE) as usize + 1;

#[derive(Clone, Copy)]
struct Connected {
    gsi: u32,
    signal: u32,
}

static CONNECTED: Lock<[Option<Connected>; VECTORS], { rank::IDS }> = Lock::new([None; VECTORS]);

/// An interrupt object.
pub struct Interrupt {
    /// Object header.
    pub header: Header,
    /// Signalled by the interrupt; a wait takes the signal.
    pub state: Signal,
    gsi: u32,
    slot: usize,
}

impl Interrupt {
    /// Connects a global system interrupt. Flags: bit 0 level-triggered, bit 1 active low; ISA interrupts (below 16)
    /// follow the firmware's overrides instead.
    pub fn new(quota: &Ref<QuotaBlock>, interrupt: u32, flags: u32) -> Result<Ref<Self>, NtStatus> {
        let header = Header::new(ObjectType::Interrupt, quota)?;
        let state = Signal::new(true, false)?;
        let (gsi, level, low) = match u8::try_from(interrupt) {
            Ok(irq) if irq < 16 => ioapic::isa_to_gsi(irq),
            _ => (interrupt, flags & 1 != 0, flags & 2 != 0),
        };
        let slot = {
            let mut connected = CONNECTED.lock();
            if connected.iter().flatten().any(|c| c.gsi == gsi) {
                return Err(STATUS_CONFLICTING_ADDRESSES);
            }
            let slot = connected.iter().position(Option::is_none).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
            connected[slot] = Some(Connected { gsi, signal: state.index() });
            slot
        };
        let interrupt = Ref::try_new(Self { header, state, gsi, slot });
        if interrupt.is_err() {
            CONNECTED.lock()[slot] = None;
        }
        let interrupt = interrupt?;
        let boot_cpu = percpu::of(0).apic_id.load(Ordering::Relaxed);
        let vector = apic::FIRST_DEVICE + slot as u8;
        if !ioapic::route(gsi, vector, boot_cpu, level, low, false) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        Ok(interrupt)
    }

    /// Lets the interrupt come again.
    pub fn acknowledge(&self) {
        ioapic::unmask(self.gsi);
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        ioapic::mask(self.gsi);
        CONNECTED.lock()[self.slot] = None;
    }
}

/// A device interrupt came: masks its line and signals its object.
pub fn device_interrupt(vector: u8) {
    let slot = usize::from(vector.wrapping_sub(apic::FIRST_DEVICE));
    let connected = CONNECTED.lock();
    if let Some(Some(Connected { gsi, signal })) = connected.get(slot).copied() {
        ioapic::mask(gsi);
        crate::ke::sched::lock().signal(signal);
    }
}
