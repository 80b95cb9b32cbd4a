//! The first process: made by the kernel from the boot module `smss`, with the handles that everything else comes from.

use crate::boot::{self, BootInfo, Module};
use crate::io::Resource;
use crate::kref::Ref;
use crate::mm::section::Section;
use crate::mm::{frames, phys_to_virt};
use crate::ob::handles::{Entry, Target};
use crate::ob::{HandleRef, Object};
use crate::ps::process::Process;
use crate::ps::thread::Thread;
use crate::quota::{QuotaBlock, set_commit_limit};
use crate::se::token::Token;
use abi::arg::Handle;
use abi::mm::*;
use abi::ob::*;
use abi::ps::*;
use abi::status::*;
use abi::{NtStatus, mm::PAGE_SIZE};
use core::sync::atomic::Ordering;
use elf::ElfBytes;
use elf::abi::{EM_X86_64, ET_EXEC, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use zerocopy::IntoBytes;

/// The module that becomes the first process.
const FIRST: &str = "smss";
const STACK: u64 = 256 * 1024;
/// Handles of the first process.
const HANDLES: u64 = 1 << 15;

/// Why there is no first process.
pub enum Failure {
    /// The boot module is missing.
    Missing,
    /// The boot module is not a program.
    Damaged,
    /// The kernel could not make it.
    Status(NtStatus),
}

impl From<NtStatus> for Failure {
    fn from(status: NtStatus) -> Self {
        Self::Status(status)
    }
}

/// Makes the first process and lets it run.
pub fn start() -> Result<(), Failure> {
    let boot = boot::info();
    let module = boot.modules.iter().find(|m| m.name == FIRST).ok_or(Failure::Missing)?;
    let (_, free) = frames::counts();
    // The kernel keeps a sixteenth of what is free now for itself.
    set_commit_limit(free - free / 16);
    let limits = QuotaLimits {
        pool: u64::MAX / 2,
        pages: u64::MAX / 2,
        processes: u64::MAX / 2,
        threads: u64::MAX / 2,
        handles_per_process: HANDLES,
    };
    let quota = Ref::try_new(QuotaBlock::new(limits))?;
    crate::quota::set_system(&quota);
    let process = Process::new(0, &quota, NORMAL_PRIORITY + 3, Token::system(&quota)?)?;
    Process::publish(&process);
    process.critical.store(true, Ordering::Relaxed);
    process.set_name(FIRST.try_into().unwrap_or_default());
    let entry = load(&process, module)?;
    let parameters = parameters(&process, boot)?;
    let thread = Thread::new(&process, entry, parameters, STACK)?;
    Thread::launch(&thread);
    Ok(())
}

/// Copies the program's segments into the process. Returns its entry point.
fn load(process: &Process, module: &Module) -> Result<u64, Failure> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(module.bytes).map_err(|_| Failure::Damaged)?;
    if file.ehdr.e_machine != EM_X86_64 || file.ehdr.e_type != ET_EXEC {
        return Err(Failure::Damaged);
    }
    let segments = file.segments().ok_or(Failure::Damaged)?;
    for segment in segments.iter().filter(|s| s.p_type == PT_LOAD) {
        let bytes = file.segment_data(&segment).map_err(|_| Failure::Damaged)?;
        let start = segment.p_vaddr & !(PAGE_SIZE - 1);
        let end = segment.p_vaddr.checked_add(segment.p_memsz).ok_or(Failure::Damaged)?;
        if segment.p_memsz < segment.p_filesz || end > USER_MAX {
            return Err(Failure::Damaged);
        }
        let size = end.next_multiple_of(PAGE_SIZE) - start;
        if size == 0 {
            continue;
        }
        process.space.allocate(start, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)?;
        write(process, segment.p_vaddr, bytes)?;
        let protect = match (segment.p_flags & PF_W != 0, segment.p_flags & PF_X != 0) {
            (true, true) => return Err(Failure::Damaged),
            (true, false) => continue,
            (false, true) => PAGE_EXECUTE_READ,
            (false, false) => PAGE_READONLY,
        };
        process.space.protect(start, size, protect)?;
    }
    Ok(file.ehdr.e_entry)
}

fn write(process: &Process, address: u64, bytes: &[u8]) -> Result<(), NtStatus> {
    let mut done = 0;
    while done < bytes.len() {
        let at = address + done as u64;
        let count = (bytes.len() - done).min((PAGE_SIZE - at % PAGE_SIZE) as usize);
        process.space.write(at, &bytes[done..done + count])?;
        done += count;
    }
    Ok(())
}

fn give(process: &Process, object: Object, access: u32) -> Result<Handle, NtStatus> {
    let open = HandleRef::new(object, access).ok_or(STATUS_UNSUCCESSFUL)?;
    process.handles.insert(Entry { target: Target::Open(open), access, attributes: 0 }, HANDLES)
}

/// Lays out [`InitialParameters`], the modules and the command line. Returns the address.
fn parameters(process: &Process, boot: &BootInfo) -> Result<u64, NtStatus> {
    let head = size_of::<InitialParameters>() as u64;
    let modules = boot.modules.len() as u64 * size_of::<BootModule>() as u64;
    let size = head + modules + boot.command_line.len() as u64;
    let (base, size) = process.space.allocate(0, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)?;
    let parameters = InitialParameters {
        magic: INITIAL_MAGIC,
        root_resource: give(process, Object::Resource(Resource::root()?), RESOURCE_ALL_ACCESS)?,
        module_count: boot.modules.len() as u32,
        command_line_length: boot.command_line.len() as u32,
        framebuffer: boot.framebuffer,
    };
    write(process, base, parameters.as_bytes())?;
    let mut at = base + head;
    for module in &boot.modules {
        let physical = module.bytes.as_ptr() as u64 - phys_to_virt(0) as u64;
        let section = Section::boot(physical, module.bytes.len() as u64)?;
        let access = SECTION_QUERY | SECTION_MAP_READ | SECTION_MAP_EXECUTE | READ_CONTROL;
        let mut name = [0; 48];
        let text = module.name.as_bytes();
        let length = text.len().min(name.len());
        name[..length].copy_from_slice(&text[..length]);
        let entry = BootModule {
            section: give(process, Object::Section(section), access)?,
            size: module.bytes.len() as u64,
            name,
        };
        write(process, at, entry.as_bytes())?;
        at += size_of::<BootModule>() as u64;
    }
    write(process, at, boot.command_line.as_bytes())?;
    process.space.protect(base, size, PAGE_READONLY)?;
    Ok(base)
}
