//! Stopping the whole system for the debug console, and letting it go on.
//!
//! Processors are asked by an ordinary interrupt. The kernel takes those only in user mode, idle, and at preemption
//! points, so they stop where they hold no lock and everything can be looked at. One that does not come in time is stopped by NMI
//! wherever it is. Each leaves its registers for the console, and goes on by itself when the system does.

use crate::arch::idt::TrapFrame;
use crate::arch::{apic, cpu, percpu, time};
use crate::kd::{console, line};
use crate::mm::tlb;
use abi::NtStatus;
use abi::status::STATUS_UNSUCCESSFUL;
use abi::trace::MAX_CPUS;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

/// The system is stopped, or being stopped.
static STOPPED: AtomicBool = AtomicBool::new(false);
/// Where each processor was stopped; null: it runs, or stopped itself.
static FRAMES: [AtomicPtr<TrapFrame>; MAX_CPUS] = [const { AtomicPtr::new(null_mut()) }; MAX_CPUS];

/// How long processors have to come by themselves, and then by NMI, in 100 ns.
const PATIENCE: u64 = 10_000_000;

/// The registers that a processor was stopped with.
pub fn frame(index: u32) -> Option<TrapFrame> {
    let frame = FRAMES.get(index as usize)?.load(Ordering::Acquire);
    // SAFETY: the frame lies on the stack of a processor that waits in `park` or has halted for good; it takes its frame out
    // of the list before it goes on, which it does only when the console, the one reader, has ended.
    (!frame.is_null()).then(|| unsafe { *frame })
}

/// Stops all other processors, answers on the debug console's line until `g`, and lets all go on. The caller holds no lock.
///
/// # Errors
/// STATUS_UNSUCCESSFUL: there is no serial line, or the system is being stopped already.
pub fn break_in() -> Result<(), NtStatus> {
    if !line::is_present() || STOPPED.swap(true, Ordering::AcqRel) {
        return Err(STATUS_UNSUCCESSFUL);
    }
    let me = percpu::this().index;
    let others = || (0..percpu::count()).filter(move |index| *index != me);
    for index in others() {
        apic::send_ipi(percpu::of(index).apic_id.load(Ordering::Relaxed), apic::BREAK);
    }
    if !wait(|| others().all(is_parked)) {
        apic::send_nmi_all_but_self();
        wait(|| others().all(is_parked));
    }
    console::run(console::Mode::Stopped);
    STOPPED.store(false, Ordering::Release);
    // Until the last has gone on, another break would find frames that are about to go.
    wait(|| !others().any(is_parked));
    Ok(())
}

fn is_parked(index: u32) -> bool {
    !FRAMES[index as usize].load(Ordering::Acquire).is_null()
}

/// Waits until something holds, not longer than [`PATIENCE`].
fn wait(holds: impl Fn() -> bool) -> bool {
    let until = cpu::rdtsc().saturating_add(time::ns100_to_ticks(PATIENCE));
    while !holds() {
        if cpu::rdtsc() >= until {
            return false;
        }
        // A processor on its way here may wait for this one to drop translations.
        tlb::answer();
        core::hint::spin_loop();
    }
    true
}

/// The break interrupt: waits until the system goes on.
pub fn on_interrupt(frame: &mut TrapFrame) {
    park(frame);
}

/// An NMI: the same, where the system is being stopped and the interrupt did not get through.
pub fn on_nmi(frame: &mut TrapFrame) {
    if STOPPED.load(Ordering::Acquire) && !is_parked(percpu::this().index) {
        park(frame);
    }
}

fn park(frame: &mut TrapFrame) {
    let slot = &FRAMES[percpu::this().index as usize];
    slot.store(frame, Ordering::Release);
    while STOPPED.load(Ordering::Acquire) {
        core::hint::spin_loop();
    }
    slot.store(null_mut(), Ordering::Release);
}

/// A bugcheck stops this processor for good: its registers stay to be looked at.
pub fn keep(frame: &TrapFrame) {
    if let Some(index) = percpu::try_index() {
        FRAMES[index as usize].store(core::ptr::from_ref(frame).cast_mut(), Ordering::Release);
    }
}
