//! What the boot loader tells: requests and responses of the Limine boot protocol.
//!
//! The requests ask for base revision 2, which Limine 8.2 and 12 and direct boot all serve; the kernel keeps to the
//! stricter rules of revision 4 (no identity map, devices mapped by itself). Everything needed later is copied out of
//! the loader's memory here. Source: the Limine boot protocol document.

use abi::ps::FramebufferInformation;
use limine::BaseRevision;
use limine::memory_map::EntryType;
use limine::request::*;
use spin::Once;

#[used]
#[unsafe(link_section = ".requests_start_marker")]
static START: RequestsStartMarker = RequestsStartMarker::new();
#[used]
#[unsafe(link_section = ".requests_end_marker")]
static END: RequestsEndMarker = RequestsEndMarker::new();

macro_rules! requests {
    ($($name:ident: $t:ty = $value:expr;)*) => {$(
        #[used]
        #[unsafe(link_section = ".requests")]
        static $name: $t = $value;
    )*};
}
requests! {
    BASE_REVISION: BaseRevision = BaseRevision::with_revision(2);
    MEMORY_MAP: MemoryMapRequest = MemoryMapRequest::new();
    HHDM: HhdmRequest = HhdmRequest::new();
    ADDRESS: ExecutableAddressRequest = ExecutableAddressRequest::new();
    FILE: ExecutableFileRequest = ExecutableFileRequest::new();
    MODULES: ModuleRequest = ModuleRequest::new();
    RSDP: RsdpRequest = RsdpRequest::new();
    PROCESSORS: MpRequest = MpRequest::new();
    FRAMEBUFFER: FramebufferRequest = FramebufferRequest::new();
    LOADER: BootloaderInfoRequest = BootloaderInfoRequest::new();
    STACK: StackSizeRequest = StackSizeRequest::new().with_size(64 * 1024);
}

/// What a region of physical memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionKind {
    /// Free RAM.
    Usable,
    /// RAM that the loader uses.
    Reclaimable,
    /// ACPI tables and NVS.
    Acpi,
    /// Kernel image and boot modules.
    Kernel,
    /// Firmware, devices.
    Reserved,
}

/// A region of physical memory.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub length: u64,
    /// What it is.
    pub kind: RegionKind,
}

/// A boot module.
#[derive(Clone, Copy)]
pub struct Module {
    /// Contents.
    pub bytes: &'static [u8],
    /// Name (the module's command line).
    pub name: &'static str,
}

const MOST_REGIONS: usize = 256;
const MOST_MODULES: usize = 64;

/// Everything the kernel keeps of what the loader told.
pub struct BootInfo {
    regions: heapless::Vec<Region, MOST_REGIONS>,
    /// Boot modules.
    pub modules: heapless::Vec<Module, MOST_MODULES>,
    /// Base of the loader's direct map.
    pub direct_map: u64,
    /// Physical address of the kernel image.
    pub kernel_physical: u64,
    /// The kernel's ELF file, for symbols.
    pub kernel_file: Option<&'static [u8]>,
    /// Kernel command line.
    pub command_line: heapless::String<1024>,
    /// Physical address of the RSDP.
    pub rsdp: Option<u64>,
    /// Framebuffer.
    pub framebuffer: FramebufferInformation,
}

static INFO: Once<BootInfo> = Once::new();

impl BootInfo {
    /// Physical memory.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }
}

/// What [`read`] found.
pub fn info() -> &'static BootInfo {
    INFO.get().expect("boot information is read first")
}

/// True when a physical range touches RAM (or what the firmware keeps in it).
pub fn overlaps_ram(base: u64, length: u64) -> bool {
    info()
        .regions
        .iter()
        .filter(|r| r.kind != RegionKind::Reserved)
        .any(|r| base < r.base + r.length && r.base < base.saturating_add(length))
}

fn text(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or("")
}

/// Reads the responses. `Err` says in words what is missing.
pub fn read() -> Result<&'static BootInfo, &'static str> {
    if !BASE_REVISION.is_supported() {
        return Err("the boot loader does not serve base revision 2 of the Limine boot protocol");
    }
    let map = MEMORY_MAP.get_response().ok_or("the boot loader gave no memory map")?;
    let mut regions = heapless::Vec::new();
    for entry in map.entries() {
        let kind = match entry.entry_type {
            EntryType::USABLE => RegionKind::Usable,
            EntryType::BOOTLOADER_RECLAIMABLE => RegionKind::Reclaimable,
            EntryType::ACPI_RECLAIMABLE | EntryType::ACPI_NVS => RegionKind::Acpi,
            EntryType::EXECUTABLE_AND_MODULES => RegionKind::Kernel,
            _ => RegionKind::Reserved,
        };
        let region = Region { base: entry.base, length: entry.length, kind };
        regions.push(region).map_err(|_| "the memory map has more than 256 entries")?;
    }
    let direct_map = HHDM.get_response().ok_or("the boot loader gave no direct map")?.offset();
    let kernel_physical =
        ADDRESS.get_response().ok_or("the boot loader does not tell where the kernel is")?.physical_base();
    let file = FILE.get_response().map(|response| response.file());
    let mut command_line = heapless::String::new();
    if let Some(file) = file {
        // A longer command line is cut.
        let _ = command_line.push_str(text(file.string().to_bytes()));
    }
    let mut modules = heapless::Vec::new();
    for module in MODULES.get_response().map(|r| r.modules()).unwrap_or_default() {
        // SAFETY: the loader's module: mapped, of this size, in memory that is never reused.
        let bytes = unsafe { core::slice::from_raw_parts(module.addr(), module.size() as usize) };
        let module = Module { bytes, name: text(module.string().to_bytes()) };
        modules.push(module).map_err(|_| "there are more than 64 boot modules")?;
    }
    // Revision 2 gives a direct-map address; later ones a physical one.
    let rsdp = RSDP.get_response().map(|r| r.address() as u64);
    let rsdp = rsdp.map(|address| if address >= direct_map { address - direct_map } else { address });
    let framebuffer = FRAMEBUFFER.get_response().and_then(|response| response.framebuffers().next()).map_or(
        FramebufferInformation::default(),
        |fb| FramebufferInformation {
            physical: (fb.addr() as u64).wrapping_sub(direct_map),
            pitch: fb.pitch(),
            width: fb.width() as u32,
            height: fb.height() as u32,
            bits_per_pixel: u32::from(fb.bpp()),
            shifts: [fb.red_mask_shift(), fb.green_mask_shift(), fb.blue_mask_shift(), 0],
        },
    );
    Ok(INFO.call_once(|| BootInfo {
        regions,
        modules,
        direct_map,
        kernel_physical,
        // SAFETY: as for modules.
        kernel_file: file.map(|f| unsafe { core::slice::from_raw_parts(f.addr(), f.size() as usize) }),
        command_line,
        rsdp,
        framebuffer,
    }))
}

/// Processors that the loader found and parked.
pub fn processors() -> &'static [&'static limine::mp::Cpu] {
    PROCESSORS.get_response().map(|response| response.cpus()).unwrap_or_default()
}

/// Local APIC id of the processor that boots.
pub fn boot_processor() -> u32 {
    PROCESSORS.get_response().map_or(0, |response| response.bsp_lapic_id())
}

/// Name and version of the loader.
pub fn loader() -> (&'static str, &'static str) {
    LOADER.get_response().map_or(("unknown loader", ""), |response| (response.name(), response.version()))
}
