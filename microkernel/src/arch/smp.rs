//! Starting the other processors, through the boot protocol's MP response.
//!
//! Owns: the hand-over of one processor. Called by the boot processor, once per other processor, when its
//! own kernel structures stand. It never sends INIT or SIPI: the boot loader has done that.
//!
//! **State in which a processor arrives at `entry`** (Limine protocol, "MP request" and "Entry
//! machine state"): 64-bit mode, ring 0; RDI points at its `Cpu` (argument in `extra`);
//! interrupts off, all other RFLAGS clear; RSP is a 64 KiB stack of the loader's, in
//! bootloader-reclaimable memory, with an invalid return address on it; CR3 is the **loader's** page tables
//! (same kernel and HHDM mappings as at the boot processor's entry); GDT the loader's, flat, also in
//! reclaimable memory; IDT undefined; EFER.NXE set; CR0.PG, PE, WP set; CR4.PAE set; the local
//! APIC's LVT masked. So `entry` must, in this order: load the kernel's CR3, switch to its own stack,
//! `cpu::init_this_cpu`, `gdt::init`, set GS base, `idt::load`, `apic::init_this_cpu`; and no memory
//! of the loader's may be reused before every processor has got past the second step.

use core::sync::atomic::Ordering;
use limine::mp::Cpu;

/// Sends the waiting processor of `info` to `entry`, with `argument` in `info.extra`.
///
/// The argument is written first, so what the caller wrote before is visible to the processor.
///
/// # Safety
/// `info` must come from the loader's MP response, be another processor than this, and not have
/// been started; `entry` must cope with the state described at the head of the file; the
/// memory behind `info` must stay the loader's until the processor has read it.
pub unsafe fn start_ap(info: &Cpu, entry: unsafe extern "C" fn(&Cpu) -> !, argument: u64) {
    info.extra.store(argument, Ordering::Release);
    info.goto_address.write(entry);
}
