//! The Antares kernel: traps, scheduling, memory, handles and ALPC in ring 0. Everything with a name lives in ring 3.
//!
//! Principles:
//! * The kernel knows no names, files, keys or services. A handle is (object, granted access, attributes).
//! * It runs with interrupts off and is never preempted; long work has named preemption points. A thread that blocks
//!   does so on its own kernel stack, and is ended only where it blocks or on its way to user mode.
//! * Locks have an order ([`sync::rank`]). User memory is copied only by [`arch::usercopy`], with no lock held that a
//!   page fault needs.
//! * What ring 3 asks for is charged to its quota block first ([`quota`]); memory that is not there is a status.
//! * Logic without hardware is in the crate `antares-core`, tested on the host.
//!
//! Map: [`arch`] processor and platform; [`mm`] memory; [`ke`] scheduling, waits, traps; [`ob`] objects and handles;
//! [`ps`] processes and threads; [`se`] tokens; [`alpc`] ports and messages; [`io`] resources and interrupts; [`sys`] system calls;
//! [`trace`], [`klog`], [`bugcheck`], [`symbols`], [`kd`] what the kernel tells of itself; [`boot`], [`cpus`], [`init`] start-up.

#![no_std]
#![no_main]
#![deny(unsafe_op_in_unsafe_fn)]

extern crate alloc;

mod account;
mod alpc;
mod arch;
mod boot;
mod bugcheck;
mod cpus;
mod init;
mod io;
mod kd;
mod ke;
mod klog;
mod kref;
mod mm;
mod ob;
mod ps;
mod quota;
mod se;
mod symbols;
mod sync;
mod sys;
mod trace;

use antares_core::options::Options;
use arch::{acpi, apic, cpu, ioapic, percpu, serial, time, usercopy};
use bugcheck::{bugcheck_because, code};
use core::sync::atomic::{AtomicU64, Ordering};

static TSC_BOOT: AtomicU64 = AtomicU64::new(0);
static TIME_AT_BOOT: AtomicU64 = AtomicU64::new(0);

/// Less usable RAM than this cannot hold the kernel, the servers and a shell.
const LEAST_MEMORY: u64 = 24 << 20;

/// Time-stamp counter at kernel entry.
pub fn tsc_boot() -> u64 {
    TSC_BOOT.load(Ordering::Relaxed)
}

/// System time: 100 ns since 1601.
pub fn system_time() -> i64 {
    (TIME_AT_BOOT.load(Ordering::Relaxed) + time::ticks_to_100ns(cpu::rdtsc() - tsc_boot())) as i64
}

fn stop(code: u32, why: &str) -> ! {
    bugcheck_because(code, [0; 4], &format_args!("Antares cannot start: {why}"))
}

/// Where the boot loader enters: 64-bit mode, interrupts off, the loader's page tables and stack.
#[unsafe(no_mangle)]
extern "C" fn kernel_entry() -> ! {
    TSC_BOOT.store(cpu::rdtsc(), Ordering::Relaxed);
    percpu::init(0, boot::boot_processor());
    serial::init();
    let boot = match boot::read() {
        Ok(boot) => boot,
        Err(why) => stop(code::PHASE0_INITIALIZATION_FAILED, why),
    };
    mm::set_direct_map(boot.direct_map);
    cpu::init_this_cpu();
    usercopy::init();
    if let Some(file) = boot.kernel_file {
        symbols::init(file);
    }
    let usable: u64 =
        boot.regions().iter().filter(|r| r.kind == boot::RegionKind::Usable).map(|r| r.length).sum();
    if usable < LEAST_MEMORY || mm::init(boot).is_none() {
        let (usable, least) = (usable >> 20, LEAST_MEMORY >> 20);
        let why =
            format_args!("Antares cannot start: {usable} MiB of memory are usable, {least} MiB are needed");
        bugcheck_because(code::INSTALL_MORE_MEMORY, [usable, least, 0, 0], &why);
    }
    if cpus::init_boot_processor().is_err() {
        stop(code::INSTALL_MORE_MEMORY, "no memory for the boot processor's tables");
    }
    let options = Options::parse(&boot.command_line, |word| {
        klog::write(format_args!("The kernel command line's `{word}` is not understood.\n"));
    });
    alpc::fastpath::enable(options.alpc_fastpath);
    platform(boot);
    let others = sched_and_processors();
    if trace::init(others, tsc_boot(), options.trace_records).is_none() {
        stop(code::INSTALL_MORE_MEMORY, "no memory for the trace rings");
    }
    if options.trace {
        trace::start(&abi::trace::TraceFilter::ALL);
    }
    let (name, version) = boot::loader();
    let (total, _) = mm::frames::counts();
    klog::write(format_args!(
        "Antares {}: {others} processor(s), {} MiB, loaded by {name} {version}\n",
        env!("CARGO_PKG_VERSION"),
        total >> 8
    ));
    match init::start() {
        Ok(()) => {}
        Err(init::Failure::Missing) => {
            stop(code::PROCESS1_INITIALIZATION_FAILED, "the boot module `smss` is missing");
        }
        Err(init::Failure::Damaged) => {
            stop(
                code::PROCESS1_INITIALIZATION_FAILED,
                "the boot module `smss` is damaged (no x86-64 program)",
            );
        }
        Err(init::Failure::Status(status)) => {
            klog::write(format_args!("\n*** {status}\n"));
            stop(code::INSTALL_MORE_MEMORY, "no memory for the first process");
        }
    }
    cpus::idle_on_own_stack()
}

/// ACPI, interrupt controllers, clocks.
fn platform(boot: &boot::BootInfo) {
    if let Some(rsdp) = boot.rsdp {
        // SAFETY: what `is_mapped` calls mapped is in the direct map, and nobody writes firmware tables.
        unsafe { acpi::init(rsdp, mm::is_mapped) };
    }
    apic::disable_pic();
    let local = acpi::tables().and_then(|t| t.local_apic_address).unwrap_or(0xFEE0_0000);
    match mm::map_device(local, 0x1000) {
        // SAFETY: the local APIC's registers, mapped uncached for good.
        Some(registers) => unsafe { apic::init_boot(registers) },
        None => stop(code::INSTALL_MORE_MEMORY, "no memory to map the local APIC"),
    }
    percpu::this().apic_id.store(apic::id(), Ordering::Relaxed);
    let mut controllers = heapless::Vec::<ioapic::IoApicInfo, 16>::new();
    if let Some(tables) = acpi::tables() {
        for io in tables.io_apics.as_slice() {
            if let Some(mmio_virtual) = mm::map_device(u64::from(io.address), 0x1000) {
                // As many as the tables hold.
                let _ = controllers.push(ioapic::IoApicInfo { mmio_virtual, gsi_base: io.gsi_base });
            }
        }
    }
    // SAFETY: each is an IO-APIC of the firmware's tables, mapped uncached for good.
    unsafe { ioapic::init(&controllers) };
    time::calibrate();
    let since_boot = time::ticks_to_100ns(cpu::rdtsc() - tsc_boot());
    TIME_AT_BOOT.store(time::read_rtc() - since_boot, Ordering::Relaxed);
}

fn sched_and_processors() -> u32 {
    if ke::sched::init().and_then(|()| ke::sched::add_cpu()).is_err() {
        stop(code::INSTALL_MORE_MEMORY, "no memory for the dispatcher");
    }
    cpus::start_others()
}
