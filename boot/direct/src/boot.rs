//! The whole story, in order.

use crate::memory::{self, Memory, physical};
use crate::multiboot::{Module, Multiboot};
use crate::responses::{self, MapResponse, answer};
use crate::{entry, firmware, machine, smp};
use core::convert::Infallible;
use direct_boot::acpi::{self, Processor};
use direct_boot::image::Image;
use direct_boot::limine::{self, Feature, Requests};
use direct_boot::memmap::{Kind, MemoryMap};
use direct_boot::paging::{AddressSpace, Size};
use direct_boot::{Error, HHDM};

/// The least stack a processor gets.
const STACK: u64 = 64 << 10;

unsafe extern "C" {
    static __image_start: [u8; 0];
    static __image_end: [u8; 0];
}

/// Starts the kernel, or says why not.
pub fn boot(magic: u32, information: u32) -> Result<Infallible, Error> {
    let multiboot = Multiboot::read(magic, information)?;
    let (kernel, modules) = multiboot.modules.split_first().ok_or(Error::NoKernel)?;
    let mut memory = take_charge(&multiboot, kernel, modules)?;

    // The kernel, into contiguous memory.
    // SAFETY: the module's pages have been set aside, and nothing writes to them.
    let file = unsafe { memory::bytes_at(kernel.start, (kernel.end - kernel.start) as usize) };
    let image = Image::parse(file)?;
    let place = memory.take(image.size, image.align, Kind::Executable)?;
    let kernel_base = physical(place);
    image.copy_to(memory::bytes(place));
    let from_file = image.bytes_from_file() as usize / 8;
    let mut requests = Requests::scan(&mut place[..from_file])?;

    // Requests that change how the kernel is started.
    let stack_size = requests.field(Feature::StackSize, 0).unwrap_or(0).max(STACK);
    let entry = requests.field(Feature::EntryPoint, 0).unwrap_or(image.entry);
    let five_levels = requests.revision(Feature::PagingMode) >= 1
        && requests.field(Feature::PagingMode, 2).is_some_and(|least| least > 0);
    if five_levels {
        return Err(Error::PagingMode);
    }
    if requests.wants(Feature::ExecutableFile) {
        let (start, end) = kernel.pages();
        memory.map.claim(start, end, Kind::Executable)?;
    }

    // The kernel's address space, from here on in force.
    let space = address_space(&mut memory, &image, kernel_base)?;
    // SAFETY: low memory is in it at its own addresses, as before.
    unsafe { machine::set_page_tables(space.root) };

    // The answers.
    let (kernel_file, cmdline) = responses::file(&mut memory, kernel)?;
    let info = responses::bootloader_info(&mut memory)?;
    let list = responses::modules(&mut memory, modules)?;
    let simple: [(Feature, &[u64]); 11] = [
        (Feature::BootloaderInfo, &info),
        (Feature::ExecutableCmdline, &[0, cmdline]),
        (Feature::FirmwareType, &[0, 0]),
        (Feature::StackSize, &[0]),
        (Feature::Hhdm, &[0, HHDM]),
        (Feature::PagingMode, &[0, 0]),
        (Feature::EntryPoint, &[0]),
        (Feature::ExecutableFile, &[0, kernel_file]),
        (Feature::Modules, &list),
        (Feature::DateAtBoot, &[0, firmware::unix_time() as u64]),
        (Feature::ExecutableAddress, &[0, kernel_base, image.base]),
    ];
    for (feature, words) in simple {
        answer(&mut memory, &mut requests, feature, words)?;
    }
    let rsdp = firmware::find_rsdp();
    if let Some(rsdp) = rsdp {
        answer(&mut memory, &mut requests, Feature::Rsdp, &[0, HHDM + rsdp])?;
    }

    // Interrupts, and the other processors.
    firmware::mask_pics();
    let madt = rsdp.and_then(firmware::find_madt).unwrap_or_default();
    for io_apic in acpi::io_apics(madt) {
        firmware::mask_io_apic(io_apic);
    }
    if requests.wants(Feature::Mp) {
        let me = machine::apic_id();
        let mut processors = acpi::processors(madt)?;
        if !processors.iter().any(|processor| processor.apic_id == me) {
            processors.clear();
            let alone = Processor { uid: 0, apic_id: me };
            processors.push(alone).map_err(|_| Error::TooMany("processors"))?;
        }
        let running = smp::start(&mut memory, &processors, space.root, stack_size)?;
        let list = memory.put(&running)?;
        let words = limine::mp_response(me, running.len(), list);
        answer(&mut memory, &mut requests, Feature::Mp, &words)?;
    }

    // From here on no memory is taken, so the map can be written down.
    let stack = memory.stack(stack_size)?;
    let map = MapResponse::reserve(&mut memory)?;
    requests.answer(Feature::Memmap, map.address());
    // Base revision 0 promises the identity map to the kernel; later ones do not, and then it goes.
    let low_entry = if requests.base_revision == 0 { 0 } else { HHDM + space.root };
    map.fill(memory);
    // SAFETY: the address space has the stack and the tables in the HHDM, and low memory at its own
    // addresses.
    unsafe { entry::handoff(entry, stack, low_entry) }
}

/// Makes the memory map, with everything in it that is still needed.
fn take_charge(multiboot: &Multiboot, kernel: &Module, modules: &[Module]) -> Result<Memory, Error> {
    let mut map = MemoryMap::from_firmware(&multiboot.map)?;
    for module in &multiboot.modules {
        // QEMU does not mind if memory ends before its modules do.
        if !map.is_usable(module.start, module.end) {
            return Err(Error::ModuleOutsideMemory);
        }
    }
    map.claim(&raw const __image_start as u64, &raw const __image_end as u64, Kind::Reclaimable)?;
    for module in &multiboot.modules {
        let text = module.text.as_ptr() as u64;
        map.claim(text, text + module.text.len() as u64 + 1, Kind::Reclaimable)?;
    }
    let (start, end) = kernel.pages();
    map.claim(start, end, Kind::Reclaimable)?;
    for module in modules {
        let (start, end) = module.pages();
        map.claim(start, end, Kind::Executable)?;
    }
    // SAFETY: what Multiboot left has been read; its modules and their strings, and the loader, are set
    // aside.
    Ok(unsafe { Memory::new(map) })
}

/// The kernel's address space: the HHDM, the kernel, and (until the handoff) low memory at its own
/// addresses.
fn address_space(memory: &mut Memory, image: &Image<'_>, kernel_base: u64) -> Result<AddressSpace, Error> {
    let largest = if machine::has_huge_pages() { Size::Huge } else { Size::Large };
    let space = AddressSpace::new(memory)?;
    space.map_direct(memory, HHDM, 0, 1 << 32, largest)?;
    // Taking memory for tables splits regions, but moves no bounds: a copy of the bounds is as good.
    let mut high = heapless::Vec::<_, 64>::new();
    for region in memory.map.regions() {
        if region.end > 1 << 32 && !matches!(region.kind, Kind::Reserved | Kind::Bad) {
            high.push(*region).map_err(|_| Error::TooMany("memory regions above 4 GiB"))?;
        }
    }
    for region in high {
        space.map_direct(memory, HHDM, region.base.max(1 << 32), region.end, largest)?;
    }
    for (offset, flags) in image.pages() {
        space.map(memory, image.base + offset, kernel_base + offset, Size::Page, flags)?;
    }
    space.mirror_low(memory, HHDM);
    Ok(space)
}
