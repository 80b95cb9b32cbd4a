//! `!running`, `!ready`, `!timer`, `!pcr`, `!idt`: processors and what they do next.

use crate::execute::System;
use crate::process_view;
use crate::snapshot::{Snapshot, id};
use crate::symbols::Symbols;
use abi::kd::{SysdbgProcessor, SysdbgThread};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use serde::Serialize;

/// KTHREAD_STATE.
pub const STATE_READY: u32 = 1;
/// KTHREAD_STATE.
pub const STATE_RUNNING: u32 = 2;
/// Bytes of an IDT entry.
const GATE: u64 = 16;

/// A thread on a processor, or ready for one.
#[derive(Clone, Debug, Serialize)]
pub struct ThreadRow {
    processor: u32,
    thread: u32,
    process: u32,
    image: String,
    priority: u32,
}

/// The threads of a snapshot that the kernel still knows, with what it knows of each.
fn threads<S: System>(snapshot: &Snapshot, system: &mut S) -> Vec<(u32, SysdbgThread)> {
    let all = snapshot.processes().iter().flat_map(|process| &process.threads);
    let ids: Vec<u32> = all.map(|thread| id(thread.unique_thread)).collect();
    // One that has ended meanwhile is left out.
    ids.into_iter().filter_map(|id| Some((id, system.thread(id).ok()?))).collect()
}

/// The threads in a state, by processor and priority.
pub fn in_state<S: System>(state: u32, snapshot: &Snapshot, system: &mut S) -> Vec<ThreadRow> {
    let found = threads(snapshot, system).into_iter().filter(|(_, thread)| thread.state == state);
    let mut rows: Vec<ThreadRow> = found
        .map(|(id, thread)| ThreadRow {
            processor: thread.processor,
            thread: id,
            process: thread.process,
            image: snapshot.process_name(thread.process).into(),
            priority: thread.priority,
        })
        .collect();
    rows.sort_by_key(|row| (row.processor, core::cmp::Reverse(row.priority), row.thread));
    rows
}

/// `!running` and `!ready`.
pub fn write_threads(out: &mut dyn Write, rows: &[ThreadRow], none: &str) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "{none}");
    }
    writeln!(out, "CPU PRIORITY THREAD PROCESS")?;
    for ThreadRow { processor, thread, process, image, priority } in rows {
        writeln!(out, "{processor:>3} {priority:>8} {thread:<6} {process} ({image})")?;
    }
    Ok(())
}

/// A wait that ends by itself.
#[derive(Clone, Debug, Serialize)]
pub struct TimerRow {
    /// Microseconds from now on; negative: it is over any moment.
    in_microseconds: i64,
    thread: u32,
    process: u32,
    image: String,
    state: String,
}

/// The waits with a time-out, the next first. `now` and `frequency` are of the time-stamp counter.
pub fn timers<S: System>(snapshot: &Snapshot, now: u64, frequency: u64, system: &mut S) -> Vec<TimerRow> {
    let mut rows = Vec::new();
    for (number, thread) in threads(snapshot, system) {
        if thread.deadline == u64::MAX {
            continue;
        }
        let ticks = i128::from(thread.deadline) - i128::from(now);
        let microseconds = ticks * 1_000_000 / i128::from(frequency.max(1));
        let listed = snapshot.processes().iter().flat_map(|process| &process.threads);
        let state = listed.into_iter().find(|t| id(t.unique_thread) == number).map(process_view::state);
        rows.push(TimerRow {
            in_microseconds: i64::try_from(microseconds).unwrap_or(i64::MAX),
            thread: number,
            process: thread.process,
            image: snapshot.process_name(thread.process).into(),
            state: state.unwrap_or_default(),
        });
    }
    rows.sort_by_key(|row| row.in_microseconds);
    rows
}

/// `!timer`.
pub fn write_timers(out: &mut dyn Write, rows: &[TimerRow]) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "no wait has a time-out");
    }
    writeln!(out, "     DUE IN MS THREAD PROCESS              STATE")?;
    for TimerRow { in_microseconds, thread, process, image, state } in rows {
        let (whole, part) = (in_microseconds / 1000, in_microseconds.unsigned_abs() % 1000);
        let process = format!("{process} ({image})");
        writeln!(out, "{whole:>10}.{part:03} {thread:<6} {process:<20} {state}")?;
    }
    Ok(())
}

/// A processor's control block.
#[derive(Clone, Debug, Serialize)]
pub struct PcrJson {
    processor: u32,
    self_address: u64,
    apic_id: u32,
    current_thread: Option<u32>,
    kernel_stack: u64,
    cr3: u64,
    cr0: u64,
    cr4: u64,
    efer: u64,
    idt: u64,
    interrupts: u64,
    page_faults: u64,
    alpc_fast: u64,
    idle_ticks: u64,
}

/// As `--json` has it.
pub fn pcr(processor: u32, block: &SysdbgProcessor) -> PcrJson {
    PcrJson {
        processor,
        self_address: block.self_address,
        apic_id: block.apic_id,
        current_thread: (block.current_thread != 0).then_some(block.current_thread),
        kernel_stack: block.kernel_stack,
        cr3: block.page_table,
        cr0: block.cr0,
        cr4: block.cr4,
        efer: block.efer,
        idt: block.idt_base,
        interrupts: block.interrupts,
        page_faults: block.page_faults,
        alpc_fast: block.alpc_fast,
        idle_ticks: block.idle_ticks,
    }
}

/// `!pcr`.
pub fn write_pcr(out: &mut dyn Write, pcr: &PcrJson, snapshot: &Snapshot) -> fmt::Result {
    writeln!(out, "KPCR for processor {} at {:016x}", pcr.processor, pcr.self_address)?;
    let mut field = |name: &str, value: &dyn fmt::Display| writeln!(out, "    {name:<14}: {value}");
    field("ApicId", &pcr.apic_id)?;
    let all = || snapshot.processes().iter().flat_map(|process| &process.threads);
    let current = pcr.current_thread.map(|thread| {
        let process = all().find(|t| id(t.unique_thread) == thread).map_or(0, |t| id(t.unique_process));
        format!("{thread} of process {process} ({})", snapshot.process_name(process))
    });
    field("CurrentThread", &current.as_deref().unwrap_or("none (idle)"))?;
    field("KernelStack", &format_args!("{:016x}", pcr.kernel_stack))?;
    field("Cr3", &format_args!("{:016x}", pcr.cr3))?;
    field("Cr0, Cr4, Efer", &format_args!("{:08x} {:08x} {:08x}", pcr.cr0, pcr.cr4, pcr.efer))?;
    field("IDT", &format_args!("{:016x}", pcr.idt))?;
    field("Interrupts", &pcr.interrupts)?;
    field("PageFaults", &pcr.page_faults)?;
    field("AlpcFast", &pcr.alpc_fast)?;
    field("IdleTicks", &pcr.idle_ticks)
}

/// A gate of the interrupt descriptor table.
#[derive(Clone, Debug, Serialize)]
pub struct GateRow {
    vector: u8,
    handler: u64,
    symbol: String,
    ist: u8,
    dpl: u8,
    means: &'static str,
}

/// What a vector is for (the kernel's `arch::apic` and Intel SDM vol. 3, 6.3.1).
fn means(vector: u8) -> &'static str {
    const EXCEPTIONS: [&str; 22] = [
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "", "#TS", "#NP", "#SS", "#GP", "#PF",
        "", "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
    ];
    match vector {
        0x20..=0x2F => "8259 (masked)",
        0x30..=0xDF => "device",
        0xE0 => "timer",
        0xE1 => "reschedule",
        0xE2 => "TLB shoot-down",
        0xE3 => "debug break",
        0xFF => "spurious",
        vector => EXCEPTIONS.get(usize::from(vector)).copied().unwrap_or(""),
    }
}

/// Reads the gates of a table (all, or one).
pub fn gates<S: System>(
    base: u64,
    wanted: Option<u8>,
    symbols: &mut Symbols,
    system: &mut S,
) -> Vec<GateRow> {
    let vectors = wanted.map_or(0..=u8::MAX, |vector| vector..=vector);
    let mut rows = Vec::new();
    for vector in vectors {
        let mut bytes = [0; GATE as usize];
        if !system.read_all(0, base + GATE * u64::from(vector), &mut bytes) {
            continue;
        }
        let gate = u128::from_le_bytes(bytes);
        let part = |shift: u32, mask: u128| (gate >> shift & mask) as u64;
        let handler = part(0, 0xFFFF) | part(48, 0xFFFF) << 16 | part(64, 0xFFFF_FFFF) << 32;
        if part(47, 1) == 0 {
            continue;
        }
        rows.push(GateRow {
            vector,
            handler,
            symbol: symbols.describe(handler, "", system),
            ist: part(32, 7) as u8,
            dpl: part(45, 3) as u8,
            means: means(vector),
        });
    }
    rows
}

/// `!idt`.
pub fn write_gates(out: &mut dyn Write, rows: &[GateRow]) -> fmt::Result {
    for GateRow { vector, handler, symbol, ist, dpl, means } in rows {
        writeln!(out, "{vector:02x}: {handler:016x} {symbol:<34} IST {ist} DPL {dpl} {means}")?;
    }
    Ok(())
}
