//! `!vm`, `!syscalls`, `!handle` and `trace status`: counters and handles.

use crate::process_view::port;
use crate::snapshot::{Snapshot, type_name};
use abi::info::{SystemHandleEntry, SystemKernelCounters, SystemSyscallCounter};
use abi::ob::{OBJ_INHERIT, OBJ_PROTECT_CLOSE, ty};
use abi::syscalls::syscall_name;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use trace::{Memory, Position, Trace};

/// `!vm`: what the kernel holds.
pub fn write_vm(out: &mut dyn Write, counters: &SystemKernelCounters) -> fmt::Result {
    let pages = |frames: u64| format!("{frames} pages ({} KiB)", frames.saturating_mul(4));
    let mut field = |name: &str, value: &dyn fmt::Display| writeln!(out, "{name:<20}: {value}");
    field("Physical memory", &pages(counters.frames_total))?;
    field("Available", &pages(counters.frames_free))?;
    field("Stack cache", &pages(counters.frames_cached))?;
    field("In use", &pages(counters.frames_total.saturating_sub(counters.frames_free)))?;
    field("Kernel heap", &format!("{} bytes in {} blocks", counters.heap_bytes, counters.heap_blocks))?;
    field("Handles", &counters.handles)?;
    for (number, count) in
        (0u32..).zip(counters.objects).skip(1).filter(|(n, count)| type_name(*n) != "?" || *count > 0)
    {
        field(&format!("  {}", type_name(number)), &count)?;
    }
    field("Processes", &counters.processes)?;
    field("Threads", &counters.threads)?;
    field("ALPC messages", &counters.messages)?;
    field("ALPC fast path", &format!("{} requests and replies", counters.alpc_fast))?;
    field("System calls", &counters.system_calls)?;
    field("Context switches", &counters.context_switches)?;
    field("Interrupts", &counters.interrupts)?;
    field("Page faults", &counters.page_faults)?;
    field("TLB shoot-downs", &counters.tlb_shootdowns)?;
    field("Processor features", &features(counters.features))
}

/// The processor features in use.
pub fn features(bits: u64) -> String {
    let names = ["SMEP", "SMAP", "UMIP", "NX", "WP", "PCID", "XSAVE", "AVX", "x2APIC"];
    let there: Vec<&str> =
        names.iter().enumerate().filter(|(i, _)| bits >> i & 1 != 0).map(|(_, name)| *name).collect();
    there.join(" ")
}

/// `!syscalls`: the calls that were made, the most frequent first.
pub fn write_syscalls(out: &mut dyn Write, counters: &[SystemSyscallCounter]) -> fmt::Result {
    let mut made: Vec<&SystemSyscallCounter> = counters.iter().filter(|counter| counter.calls > 0).collect();
    made.sort_by_key(|counter| (core::cmp::Reverse(counter.calls), counter.number));
    writeln!(out, "{:>14} {:>4} NAME", "CALLS", "NR")?;
    for counter in &made {
        let name = u32::try_from(counter.number).ok().and_then(syscall_name).unwrap_or("?");
        writeln!(out, "{:>14} {:>4} {name}", counter.calls, counter.number)?;
    }
    writeln!(out, "{} system calls, {} of them used", counters.len(), made.len())
}

/// `!handle`: the handles of a process.
pub fn write_handles(
    out: &mut dyn Write,
    process: u32,
    handles: &[SystemHandleEntry],
    snapshot: &Snapshot,
) -> fmt::Result {
    writeln!(out, "Handles of process {process} ({}): {}", snapshot.process_name(process), handles.len())?;
    if !handles.is_empty() {
        writeln!(out, "HANDLE OBJECT     ACCESS     ATTRIBUTES TYPE          DETAIL")?;
    }
    for entry in handles {
        writeln!(
            out,
            "{:<#6x} {:<10} 0x{:08x} {:<10} {:<13} {}",
            entry.handle,
            entry.object_id,
            entry.granted_access,
            attributes(entry.attributes),
            type_name(entry.object_type),
            detail(entry, snapshot),
        )?;
    }
    Ok(())
}

/// Handle attributes in words.
pub fn attributes(bits: u32) -> String {
    let mut text = String::new();
    for (bit, name) in [(OBJ_PROTECT_CLOSE, "protect"), (OBJ_INHERIT, "inherit")] {
        if bits & bit != 0 {
            text += if text.is_empty() { "" } else { "," };
            text += name;
        }
    }
    if text.is_empty() { "-".into() } else { text }
}

/// What a handle leads to, in words.
pub fn detail(entry: &SystemHandleEntry, snapshot: &Snapshot) -> String {
    match u8::try_from(entry.object_type).unwrap_or(0) {
        ty::PROCESS => format!("process {} ({})", entry.detail, snapshot.process_name(entry.detail)),
        ty::THREAD => format!("thread {}", entry.detail),
        ty::PORT => format!("port {}", port(entry.detail, snapshot)),
        ty::SERVER => format!("server type 0x{:x}", entry.detail),
        _ => String::new(),
    }
}

/// `trace status`.
pub fn write_trace_status<M: Memory>(out: &mut dyn Write, trace: &Trace<M>, since: &Position) -> fmt::Result {
    let recorded = trace.position().since(since);
    let lost = trace.read(since, |_| false).lost;
    let names_lost = trace.names().1;
    writeln!(out, "Tracing is {}", if trace.is_enabled() { "on" } else { "off" })?;
    writeln!(out, "{recorded} records since tracing was switched on, {lost} of them lost")?;
    writeln!(out, "{} rings of {} records", trace.cpus(), trace.records_per_ring())?;
    match trace.forgotten() {
        0 => {}
        count => writeln!(out, "{count} requests' times were forgotten before they were answered")?,
    }
    if names_lost > 0 {
        writeln!(out, "{names_lost} names lost: what has ended long ago may show as '?'")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::snapshot;
    use trace::testing::TraceMemory;

    fn text(write: impl FnOnce(&mut String) -> fmt::Result) -> String {
        let mut out = String::new();
        write(&mut out).unwrap();
        out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    #[test]
    fn vm() {
        let mut counters =
            SystemKernelCounters { frames_total: 1000, frames_free: 900, ..Default::default() };
        counters.objects[1] = 5;
        counters.features = 0b1001;
        let text = text(|out| write_vm(out, &counters));
        assert!(text.starts_with(
            "Physical memory     : 1000 pages (4000 KiB)\nAvailable           : 900 pages (3600 KiB)\n"
        ));
        assert!(text.contains("\nIn use              : 100 pages (400 KiB)\n"));
        assert!(text.contains("\n  Process           : 5\n"));
        assert!(text.ends_with("Processor features  : SMEP NX\n"));
    }

    #[test]
    fn syscalls_by_use() {
        let counter = |number, calls| SystemSyscallCounter { number, calls };
        let expected = "         CALLS   NR NAME
           100   68 NtAlpcSendWaitReceivePort
             7    1 NtClose
3 system calls, 2 of them used
";
        assert_eq!(
            text(|out| write_syscalls(out, &[counter(0, 0), counter(1, 7), counter(68, 100)])),
            expected
        );
    }

    #[test]
    fn handles() {
        let entry = |handle, object_type: u8, detail, attributes| SystemHandleEntry {
            handle,
            object_id: handle + 100,
            granted_access: 0x1F_0001,
            attributes,
            object_type: u32::from(object_type),
            detail,
        };
        let expected = "\
Handles of process 20 (cmd): 4
HANDLE OBJECT     ACCESS     ATTRIBUTES TYPE          DETAIL
0x4    104        0x001f0001 -          Process       process 12 (console)
0x8    108        0x001f0001 inherit    ALPC Port     port 10 (\\RPC Control\\x)
0xc    112        0x001f0001 protect,inherit Server Object server type 0x201
0x10   116        0x001f0001 -          Event
";
        let handles = [
            entry(4, ty::PROCESS, 12, 0),
            entry(8, ty::PORT, 10, 2),
            entry(12, ty::SERVER, 0x201, 3),
            entry(16, ty::EVENT, 0, 0),
        ];
        assert_eq!(text(|out| write_handles(out, 20, &handles, &snapshot())), expected);
    }

    #[test]
    fn status_counts_records_and_losses() {
        let mut memory = TraceMemory::new(1, 8, 2);
        (0..10).for_each(|t| memory.event(0, t, |_| {}));
        (0..3).for_each(|i| memory.name(1, i, 0, "x"));
        let text = text(|out| write_trace_status(out, &memory.trace(), &Position::START));
        assert!(text.starts_with(
            "Tracing is on\n10 records since tracing was switched on, 2 of them lost\n1 rings of 8 records\n"
        ));
        assert!(text.contains("1 names lost"));
    }
}
