//! Waking the other processors and parking them.
//!
//! A processor starts in 16-bit mode in a page below 1 MiB, goes through the loader's image into 64-bit
//! mode with the kernel's page tables, moves to the HHDM and there waits for the kernel to give it an
//! address. They are woken one after the other, so one set of variables serves all.

use crate::machine::{self, wait_microseconds};
use crate::memory::{Memory, virtual_address};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use direct_boot::acpi::{MAX_PROCESSORS, Processor};
use direct_boot::{Error, PAGE, limine};
use heapless::Vec;

/// The page tables for the next processor.
static ROOT: AtomicU32 = AtomicU32::new(0);
/// Its stack, in the HHDM.
static STACK: AtomicU64 = AtomicU64::new(0);
/// Its `limine_mp_info`, in the HHDM.
static INFO: AtomicU64 = AtomicU64::new(0);
/// Set by it once it is parked and needs none of these any more.
static PARKED: AtomicU32 = AtomicU32::new(0);

global_asm!(
    ".section .rodata.start_page, \"a\"",
    ".code16",
    ".balign 8",
    "start_page:",
    "cli",
    "cld",
    "mov ax, cs",
    "mov ds, ax",
    ".byte 0x66, 0x0f, 0x01, 0x16", // lgdt, with all 32 bits of the base
    ".word start_page_gdtr - start_page",
    "mov eax, cr0",
    "or eax, 1",
    "mov cr0, eax",
    ".byte 0x66, 0xea", // far jump to 0x18:start32
    ".long ap_start32",
    ".word 0x18",
    "start_page_gdtr:",
    ".word 55",
    ".long boot_gdt",
    ".balign 8",
    "start_page_end:",
    ".section .text.start_ap, \"ax\"",
    ".code32",
    "ap_start32:",
    "mov eax, 0x20",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov eax, dword ptr [{root}]",
    "mov ebp, offset ap_start64",
    "jmp long_mode",
    ".code64",
    "ap_start64:",
    "mov rsp, qword ptr [rip + {stack}]",
    "mov rdi, qword ptr [rip + {info}]",
    "lea rbp, [rip + 2f]",
    "jmp high_half",
    "2:",
    "mov dword ptr [rip + {parked}], 1",
    "3:",
    "mov rax, qword ptr [rdi + 16]",
    "test rax, rax",
    "jnz go",
    "pause",
    "jmp 3b",
    root = sym ROOT,
    stack = sym STACK,
    info = sym INFO,
    parked = sym PARKED,
);

unsafe extern "C" {
    static start_page: [u64; 0];
    static start_page_end: [u64; 0];
}

/// The local APIC's interrupt command registers.
struct LocalApic {
    address: u64,
}

impl LocalApic {
    /// The one of the running processor.
    fn here() -> LocalApic {
        // SAFETY: every 64-bit processor has the APIC base register.
        let base = unsafe { machine::read_msr(0x1b) };
        LocalApic { address: base & 0xffff_f000 }
    }

    /// Sends a command to a processor and waits until it has gone out.
    fn command(&self, apic_id: u32, command: u32) {
        let low = (self.address + 0x300) as *mut u32;
        let high = (self.address + 0x310) as *mut u32;
        // SAFETY: the local APIC's registers are there, below 4 GiB; the commands sent here reach only a
        // processor that waits to be started.
        unsafe {
            high.write_volatile(apic_id << 24);
            low.write_volatile(command);
            while low.read_volatile() & 1 << 12 != 0 {
                core::hint::spin_loop();
            }
        }
    }

    /// INIT: the processor waits to be started.
    fn init(&self, apic_id: u32) {
        self.command(apic_id, 0x4500);
        wait_microseconds(10_000);
    }

    /// Startup: the processor starts at this page.
    fn startup(&self, apic_id: u32, page: u64) {
        self.command(apic_id, 0x4600 | (page / PAGE) as u32);
    }
}

/// Starts all processors but this one and gives the addresses of the `limine_mp_info` of all that run.
///
/// `root` are the kernel's page tables, already in force, with low memory still at its own addresses.
pub fn start(
    memory: &mut Memory,
    processors: &[Processor],
    root: u64,
    stack_size: u64,
) -> Result<Vec<u64, MAX_PROCESSORS>, Error> {
    let me = machine::apic_id();
    let mut running = Vec::new();
    let mut page = None;
    for processor in processors {
        let info = memory.put(&limine::processor(processor.uid, processor.apic_id))?;
        if processor.apic_id != me {
            let page = match page {
                Some(page) => page,
                None => *page.insert(make_start_page(memory)?),
            };
            ROOT.store(root as u32, Ordering::Relaxed);
            STACK.store(memory.stack(stack_size)?, Ordering::Relaxed);
            INFO.store(info, Ordering::Relaxed);
            PARKED.store(0, Ordering::Release);
            if !wake(processor.apic_id, page) {
                continue;
            }
        }
        running.push(info).map_err(|_| Error::TooMany("processors"))?;
    }
    Ok(running)
}

/// Copies the 16-bit code to where a processor can start.
fn make_start_page(memory: &mut Memory) -> Result<u64, Error> {
    let page = memory.take_start_page()?;
    let (from, to) = (&raw const start_page, &raw const start_page_end);
    let words = (to as usize - from as usize) / 8;
    // SAFETY: the two symbols are the bounds of constant, 8-byte aligned code in the loader's image.
    let code = unsafe { core::slice::from_raw_parts(from.cast::<u64>(), words) };
    page[..words].copy_from_slice(code);
    Ok(virtual_address(page) - direct_boot::HHDM)
}

/// Wakes a processor; whether it has come.
fn wake(apic_id: u32, page: u64) -> bool {
    let apic = LocalApic::here();
    let parked = |waits: u32| {
        (0..waits).any(|_| {
            wait_microseconds(200);
            PARKED.load(Ordering::Acquire) != 0
        })
    };
    apic.init(apic_id);
    apic.startup(apic_id, page);
    if parked(50) {
        return true;
    }
    apic.startup(apic_id, page);
    if parked(10_000) {
        return true;
    }
    // Too late now: it must not come while another is being woken.
    apic.init(apic_id);
    false
}
