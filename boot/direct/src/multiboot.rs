//! What Multiboot left in memory.

use crate::memory;
use direct_boot::memmap::{Kind, Region};
use direct_boot::{Error, PAGE};
use heapless::Vec;

/// What the loader leaves in eax.
const MAGIC: u32 = 0x2bad_b002;

/// The information: only what the loader uses.
#[repr(C)]
struct Information {
    flags: u32,
    _lower_upper_device_cmdline: [u32; 4],
    module_count: u32,
    modules: u32,
    _symbols: [u32; 4],
    map_bytes: u32,
    map: u32,
}

/// Information flag: the modules are valid.
const HAS_MODULES: u32 = 1 << 3;
/// Information flag: the memory map is valid.
const HAS_MAP: u32 = 1 << 6;

/// A module's record.
#[repr(C)]
#[derive(Clone, Copy)]
struct ModuleRecord {
    start: u32,
    end: u32,
    text: u32,
    _reserved: u32,
}

/// A memory map entry's record, after the word that says how long it is.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct MapRecord {
    base: u64,
    length: u64,
    kind: u32,
}

/// A file in memory.
#[derive(Clone, Copy)]
pub struct Module {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Its string: path, then the rest.
    pub text: &'static [u8],
}

/// What Multiboot left, copied out, except for the modules' bytes and strings.
pub struct Multiboot {
    /// The firmware's memory map.
    pub map: Vec<Region, 128>,
    /// The modules; the first is the kernel.
    pub modules: Vec<Module, 64>,
}

impl Multiboot {
    /// Reads it.
    pub fn read(magic: u32, information: u32) -> Result<Multiboot, Error> {
        if magic != MAGIC {
            return Err(Error::NotMultiboot);
        }
        // SAFETY: with the magic number in place, Multiboot promises that the information is there; the
        // loader writes to no memory but its own image before all of it has been read.
        let information = unsafe { memory::read::<Information>(u64::from(information)) };
        let mut modules = Vec::new();
        if information.flags & HAS_MODULES != 0 {
            for number in 0..information.module_count {
                let address = u64::from(information.modules) + 16 * u64::from(number);
                // SAFETY: as above; this is one of the records the information counts.
                let record = unsafe { memory::read::<ModuleRecord>(address) };
                let module = Module {
                    start: u64::from(record.start),
                    end: u64::from(record.end.max(record.start)),
                    // SAFETY: as above; the memory it lies in is set aside before any is taken.
                    text: unsafe { memory::string(u64::from(record.text)) },
                };
                modules.push(module).map_err(|_| Error::TooMany("modules"))?;
            }
        }
        if information.flags & HAS_MAP == 0 {
            return Err(Error::NoMemoryMap);
        }
        let mut map = Vec::new();
        let mut at = u64::from(information.map);
        let end = at + u64::from(information.map_bytes);
        while at + 24 <= end {
            // SAFETY: as above; both lie inside the map.
            let (size, record) = unsafe { (memory::read::<u32>(at), memory::read::<MapRecord>(at + 4)) };
            let region = Region {
                base: record.base,
                end: record.base.saturating_add(record.length),
                kind: Kind::from_e820(record.kind),
            };
            map.push(region).map_err(|_| Error::TooMany("memory regions"))?;
            at += 4 + u64::from(size);
        }
        Ok(Multiboot { map, modules })
    }
}

impl Module {
    /// The whole pages it lies in.
    pub fn pages(&self) -> (u64, u64) {
        (self.start - self.start % PAGE, self.end.next_multiple_of(PAGE))
    }
}
