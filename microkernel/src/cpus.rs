//! Bringing processors up, and the tables each needs.

use crate::arch::gdt::{self, CpuTables};
use crate::arch::{apic, cpu, entry, idt, percpu, smp};
use crate::boot;
use crate::ke::sched;
use crate::mm::kernel_root;
use crate::mm::kstack::KernelStack;
use abi::NtStatus;
use abi::status::STATUS_INSUFFICIENT_RESOURCES;
use abi::trace::MAX_CPUS;
use alloc::alloc::{Layout, alloc};
use core::arch::asm;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use limine::mp::Cpu;

static TABLES: [AtomicPtr<CpuTables>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];
static STACKS: [AtomicPtr<u8>; MAX_CPUS] = [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CPUS];

/// State of the start of one processor.
static HANDSHAKE: AtomicU32 = AtomicU32::new(0);
const WAITING: u32 = 1;
const ARRIVED: u32 = 2;
const GIVEN_UP: u32 = 3;
const READY: u32 = 4;

/// Ticks that a processor has to arrive: far more than it needs, in emulation too.
const PATIENCE: u64 = 5_000_000_000;

fn leak_stack() -> Result<u64, NtStatus> {
    let stack = KernelStack::new()?;
    let top = stack.top();
    core::mem::forget(stack);
    Ok(top)
}

/// Makes a processor's tables and stacks, for good.
fn make_tables(index: u32) -> Result<[u64; 3], NtStatus> {
    // SAFETY: the layout is not zero-sized.
    let tables = unsafe { alloc(Layout::new::<CpuTables>()) }.cast::<CpuTables>();
    if tables.is_null() {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    }
    // SAFETY: fresh memory of this layout.
    unsafe { tables.write(CpuTables::new()) };
    TABLES[index as usize].store(tables, Ordering::Relaxed);
    STACKS[index as usize].store(leak_stack()? as *mut u8, Ordering::Relaxed);
    Ok([leak_stack()?, leak_stack()?, leak_stack()?])
}

/// Loads a processor's tables and sets its registers up. On that processor.
fn load_tables(index: u32, stacks: [u64; 3]) {
    let tables = TABLES[index as usize].load(Ordering::Relaxed);
    // SAFETY: made for this processor by `make_tables`, which nobody else uses until they are loaded; stacks likewise.
    unsafe { gdt::init(&mut *tables, stacks) };
    // SAFETY: the tables are never freed, and from now on only read.
    percpu::of(index).set_tables(unsafe { (*tables).rsp0() });
    idt::load();
    entry::init_this_cpu();
}

/// The boot processor, after memory and heap are there.
pub fn init_boot_processor() -> Result<(), NtStatus> {
    let stacks = make_tables(0)?;
    idt::init();
    load_tables(0, stacks);
    Ok(())
}

/// Starts the other processors, at most `MAX_CPUS` in all. Returns how many run then.
pub fn start_others() -> u32 {
    let boot = boot::boot_processor();
    let mut running = 1;
    for info in boot::processors().iter().filter(|info| info.lapic_id != boot) {
        if running as usize == MAX_CPUS {
            break;
        }
        let Ok(stacks) = make_tables(running) else { break };
        if sched::add_cpu().is_err() {
            break;
        }
        for (slot, top) in AP_STACKS.iter().zip(stacks) {
            slot.store(top as *mut u8, Ordering::Relaxed);
        }
        HANDSHAKE.store(WAITING, Ordering::Release);
        // SAFETY: from the response, not this processor, started once; the entry follows the protocol.
        unsafe { smp::start_ap(info, other_processor, u64::from(running)) };
        if !wait_for(READY) {
            crate::klog::write(format_args!("processor with APIC id {} did not start\n", info.lapic_id));
            break;
        }
        running += 1;
        percpu::set_count(running);
    }
    running
}

static AP_STACKS: [AtomicPtr<u8>; 3] = [const { AtomicPtr::new(core::ptr::null_mut()) }; 3];

fn wait_for(state: u32) -> bool {
    let start = cpu::rdtsc();
    while HANDSHAKE.load(Ordering::Acquire) != state {
        if cpu::rdtsc() - start > PATIENCE
            && HANDSHAKE.compare_exchange(WAITING, GIVEN_UP, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            return false;
        }
        core::hint::spin_loop();
    }
    true
}

unsafe extern "C" fn other_processor(info: &Cpu) -> ! {
    let index = info.extra.load(Ordering::Acquire) as u32;
    if HANDSHAKE.compare_exchange(WAITING, ARRIVED, Ordering::AcqRel, Ordering::Acquire).is_err() {
        crate::bugcheck::halt();
    }
    // SAFETY: the kernel's own tables map everything that is used from here on, this stack included.
    unsafe { cpu::write_cr3(kernel_root()) };
    percpu::init(index, info.lapic_id);
    percpu::this().page_table.store(kernel_root(), Ordering::Relaxed);
    cpu::init_this_cpu();
    load_tables(index, [0, 1, 2].map(|i| AP_STACKS[i].load(Ordering::Relaxed) as u64));
    apic::init_this_cpu();
    HANDSHAKE.store(READY, Ordering::Release);
    idle_on_own_stack()
}

/// Leaves the loader's stack for good and becomes the idle loop.
pub fn idle_on_own_stack() -> ! {
    let top = STACKS[percpu::this().index as usize].load(Ordering::Relaxed);
    // SAFETY: a stack made for this processor's idle loop, which nothing else uses; nothing on the old one is needed.
    unsafe {
        asm!("mov rsp, {top}", "xor ebp, ebp", "call {idle}", "ud2", top = in(reg) top, idle = sym idle, options(noreturn))
    }
}

extern "C" fn idle() -> ! {
    crate::arch::fpu::set_ts();
    percpu::this().fpu_trap.store(true, Ordering::Relaxed);
    sched::idle_loop()
}
