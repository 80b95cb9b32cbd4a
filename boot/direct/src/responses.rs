//! The answers to the kernel's requests.

use crate::memory::{Memory, virtual_address};
use crate::multiboot::Module;
use direct_boot::limine::{self, Feature, Requests};
use direct_boot::memmap::CAPACITY;
use direct_boot::{Error, HHDM, text};

/// Answers a request with a response of these words; nothing happens if the kernel does not make it.
pub fn answer(
    memory: &mut Memory,
    requests: &mut Requests<'_>,
    feature: Feature,
    words: &[u64],
) -> Result<(), Error> {
    if requests.wants(feature) {
        requests.answer(feature, memory.put(words)?);
    }
    Ok(())
}

/// The loader's name and version.
pub fn bootloader_info(memory: &mut Memory) -> Result<[u64; 3], Error> {
    let name = memory.put_string(&[b"Antares direct boot"])?;
    let version = memory.put_string(&[env!("CARGO_PKG_VERSION").as_bytes()])?;
    Ok([0, name, version])
}

/// A module's `limine_file` and its command line, in the HHDM.
pub fn file(memory: &mut Memory, module: &Module) -> Result<(u64, u64), Error> {
    let (path, rest) = text::split(module.text);
    let slash: &[u8] = if path.starts_with(b"/") { b"" } else { b"/" };
    let path = memory.put_string(&[slash, path])?;
    let cmdline = memory.put_string(&[rest])?;
    let size = module.end - module.start;
    let file = memory.put(&limine::file(HHDM + module.start, size, path, cmdline))?;
    Ok((file, cmdline))
}

/// The list of modules.
pub fn modules(memory: &mut Memory, modules: &[Module]) -> Result<[u64; 3], Error> {
    let list = memory.words(modules.len())?;
    for (place, module) in list.iter_mut().zip(modules) {
        (*place, _) = file(memory, module)?;
    }
    Ok([0, modules.len() as u64, virtual_address(list)])
}

/// Room for the memory map's response: it is filled in when no more memory is taken.
pub struct MapResponse {
    response: &'static mut [u64],
    list: &'static mut [u64],
    entries: &'static mut [u64],
}

impl MapResponse {
    /// Takes the room.
    pub fn reserve(memory: &mut Memory) -> Result<MapResponse, Error> {
        let response = memory.words(3)?;
        Ok(MapResponse { response, list: memory.words(CAPACITY)?, entries: memory.words(3 * CAPACITY)? })
    }

    /// The response's address in the HHDM.
    pub fn address(&self) -> u64 {
        virtual_address(self.response)
    }

    /// Fills in the map as it now is.
    pub fn fill(self, memory: Memory) {
        let regions = memory.map.regions();
        let places = self.list.iter_mut().zip(self.entries.chunks_exact_mut(3));
        for (region, (pointer, entry)) in regions.iter().zip(places) {
            entry.copy_from_slice(&[region.base, region.end - region.base, region.kind as u64]);
            *pointer = virtual_address(entry);
        }
        self.response.copy_from_slice(&[0, regions.len() as u64, virtual_address(self.list)]);
    }
}
