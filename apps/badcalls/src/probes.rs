//! One bad argument at a time, the others good.

use crate::bench::Bench;
use crate::raw::{WORDS, call};
use libnt::abi::arg::Dir;
use libnt::abi::io::DEBUG_CONTROL_BUGCHECK;
use libnt::abi::kd::*;
use libnt::abi::mm::{PAGE_SIZE, USER_MAX};
use libnt::abi::ob::ty;
use libnt::abi::ps::PROCESS_HANDLE_COUNT;
use libnt::abi::syscalls::{ArgInfo, SYSCALL_LIMIT, SyscallInfo, syscalls};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::calls;
use testkit::Test;
use zerocopy::IntoBytes;

/// Handles that are none: not in use, stale, beyond any table, a kernel address.
const BAD_HANDLES: [u64; 6] = [0, 0x7FF0, 0x00FF_FFFC, 1 << 32, 0x8000_0000_0000_0000, u64::MAX - 2];

/// Calls that are declared only. They may refuse an argument first.
const NOT_IMPLEMENTED: [&str; 2] = ["NtOpenIoCompletion", "NtAlpcConnectPort"];

/// All probes.
pub fn run(test: &mut Test) -> NtResult {
    numbers(test);
    for info in syscalls() {
        let before = handle_count()?;
        handles(test, info)?;
        let between = handle_count()?;
        test.equal(format_args!("open handles after bad handles to {}", info.name), between, before);
        pointers(test, info)?;
        let after = handle_count()?;
        test.equal(format_args!("open handles after bad pointers to {}", info.name), after, between);
        values(info)?;
        test.equal(format_args!("open handles after bad values to {}", info.name), handle_count()?, after);
    }
    declared_only(test)?;
    known_refusals(test)?;
    no_debugger(test)
}

/// Handles that this program has open.
fn handle_count() -> NtResult<u32> {
    calls::query_process(Handle::CURRENT_PROCESS, PROCESS_HANDLE_COUNT)
}

fn numbers(test: &mut Test) {
    let declared = |number: u32| syscalls().iter().any(|info| info.number == number);
    let holes = (0..SYSCALL_LIMIT).filter(|number| !declared(*number));
    let beyond = [SYSCALL_LIMIT, SYSCALL_LIMIT + 1, 0x1000, 0x7FFF_FFFF, 0x8000_0000, u32::MAX];
    for number in holes.chain(beyond) {
        // SAFETY: no such call.
        let status = NtStatus(unsafe { call(number, &[u64::MAX; WORDS]) });
        test.equal(format_args!("call {number:#x}"), status, STATUS_INVALID_SYSTEM_SERVICE);
    }
}

/// Null is a meaning of its own: the caller's other threads, the caller.
fn null_is_allowed(info: &SyscallInfo, argument: &ArgInfo) -> bool {
    matches!(
        (info.name, argument.name),
        ("NtTerminateProcess" | "NtTerminateThread", _)
            | ("NtCreateProcessEx", "SectionHandle" | "DebugPort" | "ExceptionPort")
            | ("NtCreateSection", "FileHandle")
            | ("NtAlpcCreatePortSection", "SectionHandle")
            | ("NtDuplicateObject", "TargetProcessHandle")
    )
}

fn handles(test: &mut Test, info: &SyscallInfo) -> NtResult {
    for (index, argument) in info.args.iter().enumerate().filter(|(_, argument)| argument.dir == Dir::Handle)
    {
        let what = format!("{} with a bad {}", info.name, argument.name);
        for bad in BAD_HANDLES {
            if bad == 0 && null_is_allowed(info, argument) {
                continue;
            }
            let mut bench = Bench::new()?;
            let mut words = bench.words(info);
            words[index] = bad;
            let status = bench.call(info, &words);
            test.check(format_args!("{what} {bad:#x}: {status}"), !status.is_success());
        }
        if argument.object_type == ty::ANY {
            continue;
        }
        let types = [
            ty::PROCESS,
            ty::THREAD,
            ty::EVENT,
            ty::SECTION,
            ty::PORT,
            ty::SERVER,
            ty::TOKEN,
            ty::IO_COMPLETION,
        ];
        for other in types {
            let mut bench = Bench::new()?;
            let mut words = bench.words(info);
            words[index] = bench.handle(other).0;
            if other == argument.object_type {
                // The right object with no right to it.
                let blind = duplicate(Handle(words[index]), Some(0))?;
                words[index] = blind.raw().0;
                let status = bench.call(info, &words);
                if argument.access != 0 {
                    exactly(test, format_args!("{what} without access"), status, STATUS_ACCESS_DENIED);
                }
            } else {
                let status = bench.call(info, &words);
                exactly(test, format_args!("{what} of type {other}"), status, STATUS_OBJECT_TYPE_MISMATCH);
            }
        }
    }
    Ok(())
}

/// A status, unless the call is declared only.
fn exactly(test: &mut Test, what: core::fmt::Arguments<'_>, status: NtStatus, expected: NtStatus) {
    if status != STATUS_NOT_IMPLEMENTED {
        test.equal(what, status, expected);
    }
}

/// Bad pointers that the kernel need not notice with good other arguments.
fn may_be_unseen(info: &SyscallInfo, argument: &ArgInfo, place: &str) -> bool {
    let only_read = matches!(place, "a read-only page" | "the program's code");
    match (info.name, argument.name) {
        // No privileges: four bytes.
        ("NtAdjustPrivilegesToken", "NewState" | "PreviousState") => place.starts_with("straddling"),
        // The answer comes later, and takes its own buffers.
        ("NtAlpcConnectPortEx", "InMessageAttributes") => true,
        // Written with the answer only.
        ("NtAlpcSendWaitReceivePort", "SendMessageAttributes") => only_read,
        ("NtAlpcConnectPortEx", "BufferLength" | "OutMessageAttributes" | "ConnectionMessage") => only_read,
        _ => false,
    }
}

fn pointers(test: &mut Test, info: &SyscallInfo) -> NtResult {
    let is_pointer = |argument: &ArgInfo| matches!(argument.dir, Dir::In | Dir::Out | Dir::InOut);
    for (index, argument) in info.args.iter().enumerate().filter(|(_, argument)| is_pointer(argument)) {
        let bench = Bench::new()?;
        let size = argument.size.max(8) as u64;
        let mut bad = vec![
            ("a null page address", 0x10),
            ("a page without access", bench.no_access() + 64),
            ("straddling into no access", bench.no_access() - size / 2),
            ("the end of user space", USER_MAX - size / 2),
            ("beyond user space", USER_MAX + PAGE_SIZE),
            ("not canonical", 0x0000_8000_0000_0000),
            ("not canonical in the middle", 0x0100_0000_0000_0000),
            ("the kernel's direct map", 0xFFFF_8000_0000_1000),
            ("the kernel's text", 0xFFFF_FFFF_8000_0000),
            ("the last address", u64::MAX),
            ("wrapping around", u64::MAX - size / 2 + 1),
        ];
        if argument.dir != Dir::In {
            bad.push(("a read-only page", bench.read_only()));
            bad.push(("the program's code", pointers as *const () as u64));
        }
        drop(bench);
        for (place, address) in bad {
            let mut bench = Bench::new()?;
            let mut words = bench.words(info);
            // The bench is made anew each time, at the same or another place: take its own pages.
            words[index] = match place {
                "a page without access" => bench.no_access() + 64,
                "straddling into no access" => bench.no_access() - size / 2,
                "a read-only page" => bench.read_only(),
                _ => address,
            };
            let status = bench.call(info, &words);
            let refused = !status.is_success() || may_be_unseen(info, argument, place);
            test.check(format_args!("{} with {} at {place}: {status}", info.name, argument.name), refused);
        }
    }
    Ok(())
}

/// Values without sense: each call must come back, whatever it says.
fn values(info: &SyscallInfo) -> NtResult {
    if info.name == "NtDisplayString" {
        // Some lengths are good, and would be shown.
        return Ok(());
    }
    for (index, _) in info.args.iter().enumerate().filter(|(_, argument)| argument.dir == Dir::Value) {
        for value in [1, 2, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 47, 1 << 63, u64::MAX] {
            let mut bench = Bench::new()?;
            let mut words = bench.words(info);
            words[index] = value;
            bench.call(info, &words);
        }
    }
    Ok(())
}

/// No command of the debugger's call does anything for a program that was not handed the authority, whatever handle it has.
fn no_debugger(test: &mut Test) -> NtResult {
    let event = libnt::event::Event::notification(false)?;
    let handles = [Handle::NULL, event.handle(), env::standard().session, Handle::CURRENT_PROCESS];
    let commands = [
        DEBUG_CONTROL_BUGCHECK,
        SYSDBG_QUERY_MODULE_INFORMATION,
        SYSDBG_BREAK_POINT,
        SYSDBG_READ_VIRTUAL,
        SYSDBG_READ_PHYSICAL,
        SYSDBG_READ_CONTROL_SPACE,
        SYSDBG_QUERY_PROCESS,
        SYSDBG_QUERY_THREAD,
        SYSDBG_QUERY_PORT,
    ];
    for (handle, command) in handles.into_iter().flat_map(|h| commands.map(|command| (h, command))) {
        let request = SysdbgRead { address: 0xFFFF_FFFF_8000_0000, request: 16, ..SysdbgRead::default() };
        let mut bytes = [0xA5; 16];
        let result = calls::debug_control(handle, command, request.as_bytes(), &mut bytes);
        let refused =
            matches!(result, Err(STATUS_INVALID_HANDLE | STATUS_OBJECT_TYPE_MISMATCH | STATUS_ACCESS_DENIED));
        let what = format_args!("NtSystemDebugControl {command:#x} on {handle:?} is refused: {result:?}");
        test.check(what, refused && bytes == [0xA5; 16]);
    }
    Ok(())
}

fn find(name: &str) -> Option<&'static SyscallInfo> {
    syscalls().iter().find(|info| info.name == name)
}

fn declared_only(test: &mut Test) -> NtResult {
    for info in NOT_IMPLEMENTED.into_iter().filter_map(find) {
        let mut bench = Bench::new()?;
        let words = bench.words(info);
        let status = bench.call(info, &words);
        test.check(format_args!("{}, which is declared only: {status}", info.name), !status.is_success());
    }
    Ok(())
}

/// A value of one argument, and the status that it must give.
type Refusal = (&'static str, &'static str, u64, NtStatus);

const REFUSALS: &[Refusal] = &[
    ("NtCreateEvent", "EventType", 2, STATUS_INVALID_PARAMETER),
    ("NtCreateEvent", "EventType", 0xFFFF_FFFF, STATUS_INVALID_PARAMETER),
    ("NtQueryEvent", "EventInformationClass", 1, STATUS_INVALID_INFO_CLASS),
    ("NtQueryIoCompletion", "IoCompletionInformationClass", 1, STATUS_INVALID_INFO_CLASS),
    ("NtQueryIoCompletion", "IoCompletionInformationLength", 8, STATUS_INFO_LENGTH_MISMATCH),
    ("NtRemoveIoCompletionEx", "Count", 0, STATUS_INVALID_PARAMETER),
    ("NtQueueApcThread", "ApcRoutine", 0xFFFF_8000_0000_0000, STATUS_INVALID_PARAMETER),
    ("NtQueueApcThread", "ApcRoutine", 0x10_0000, STATUS_NOT_SUPPORTED),
    ("NtAlpcSetInformation", "PortInformationClass", 0x7777, STATUS_INVALID_INFO_CLASS),
    ("NtQueryObject", "ObjectInformationClass", 0x7777, STATUS_INVALID_INFO_CLASS),
    ("NtQueryObject", "ObjectInformationLength", 1, STATUS_INFO_LENGTH_MISMATCH),
    ("NtSetInformationObject", "ObjectInformationClass", 0, STATUS_INVALID_INFO_CLASS),
    ("NtWaitForMultipleObjects", "Count", 0, STATUS_INVALID_PARAMETER),
    ("NtWaitForMultipleObjects", "Count", 65, STATUS_INVALID_PARAMETER),
    ("NtWaitForMultipleObjects", "Count", 0xFFFF_FFFF, STATUS_INVALID_PARAMETER),
    ("NtWaitForMultipleObjects", "WaitType", 2, STATUS_INVALID_PARAMETER),
    ("NtCreateProcessEx", "Flags", 0x8000_0000, STATUS_INVALID_PARAMETER),
    ("NtCreateThreadEx", "CreateFlags", 0x8000_0001, STATUS_INVALID_PARAMETER),
    ("NtCreateThreadEx", "StartRoutine", 0xFFFF_8000_0000_0000, STATUS_INVALID_PARAMETER),
    ("NtCreateThreadEx", "StackSize", 1 << 40, STATUS_INVALID_PARAMETER),
    ("NtCreateThreadEx", "AttributeList", 0x1000, STATUS_INVALID_PARAMETER),
    ("NtQueryInformationProcess", "ProcessInformationClass", 0x7777, STATUS_INVALID_INFO_CLASS),
    ("NtQueryInformationThread", "ThreadInformationClass", 0x7777, STATUS_INVALID_INFO_CLASS),
    ("NtSetInformationThread", "ThreadInformationClass", 0x7777, STATUS_INVALID_INFO_CLASS),
    ("NtAllocateVirtualMemory", "Protect", 0x40, STATUS_INVALID_PAGE_PROTECTION),
    ("NtAllocateVirtualMemory", "AllocationType", 0, STATUS_INVALID_PARAMETER),
    ("NtCreateSection", "SectionPageProtection", 0, STATUS_INVALID_PAGE_PROTECTION),
    ("NtCreateSection", "AllocationAttributes", 0, STATUS_INVALID_PARAMETER),
    ("NtQuerySystemInformation", "SystemInformationClass", 0x7777, STATUS_INVALID_INFO_CLASS),
    ("NtQuerySystemInformation", "SystemInformationLength", 1, STATUS_INFO_LENGTH_MISMATCH),
    ("NtDisplayString", "Length", 1025, STATUS_INVALID_PARAMETER),
    ("NtDisplayString", "Length", 0xFFFF_FFFF, STATUS_INVALID_PARAMETER),
    ("NtAlpcQueryInformation", "PortInformationClass", 0x7777, STATUS_INVALID_INFO_CLASS),
    ("NtQueryInformationToken", "TokenInformationClass", 0x7777, STATUS_INVALID_INFO_CLASS),
    ("NtQueryInformationToken", "TokenInformationClass", 9, STATUS_INVALID_INFO_CLASS),
    ("NtDuplicateToken", "TokenType", 3, STATUS_BAD_TOKEN_TYPE),
    ("NtDuplicateToken", "DesiredAccess", 0x0020_0000, STATUS_ACCESS_DENIED),
    ("NtxCreateToken", "TokenType", 1, STATUS_PRIVILEGE_NOT_HELD),
    ("NtAdjustPrivilegesToken", "NewState", 0, STATUS_INVALID_PARAMETER),
    ("NtAlpcCancelMessage", "Flags", 0x10, STATUS_INVALID_PARAMETER),
    ("NtAlpcCancelMessage", "Flags", 0xFFFF_FFFF, STATUS_INVALID_PARAMETER),
    ("NtAlpcCreateResourceReserve", "Flags", 1, STATUS_INVALID_PARAMETER),
    ("NtAlpcCreateResourceReserve", "MessageSize", 0x27, STATUS_INVALID_PARAMETER),
    ("NtAlpcCreateResourceReserve", "MessageSize", 0x1_0000, STATUS_PORT_MESSAGE_TOO_LONG),
    ("NtAlpcCreateResourceReserve", "MessageSize", u64::MAX, STATUS_PORT_MESSAGE_TOO_LONG),
    ("NtAlpcDeleteResourceReserve", "Flags", 1, STATUS_INVALID_PARAMETER),
    ("NtAlpcDeleteResourceReserve", "ResourceId", 0x8000_0005, STATUS_INVALID_PARAMETER),
    ("NtAlpcDisconnectPort", "Flags", 2, STATUS_INVALID_PARAMETER),
    ("NtAlpcCreatePortSection", "Flags", 1, STATUS_INVALID_PARAMETER),
    ("NtAlpcCreatePortSection", "Flags", 0x4_0000, STATUS_INVALID_PARAMETER),
    ("NtAlpcCreatePortSection", "SectionSize", u64::MAX, STATUS_SECTION_TOO_BIG),
    ("NtAlpcCreatePortSection", "SectionSize", 0x1001, STATUS_SECTION_TOO_BIG),
    ("NtAlpcDeletePortSection", "SectionHandle", 1, STATUS_INVALID_HANDLE),
    ("NtAlpcDeletePortSection", "Flags", 1, STATUS_INVALID_PARAMETER),
    ("NtAlpcCreateSectionView", "Flags", 1, STATUS_INVALID_PARAMETER),
    ("NtAlpcDeleteSectionView", "ViewBase", 0x1_0000, STATUS_NOT_MAPPED_VIEW),
    ("NtAlpcDeleteSectionView", "Flags", 1, STATUS_INVALID_PARAMETER),
    ("NtxCreateNameHandle", "NameLength", 257, STATUS_INVALID_PARAMETER),
];

fn known_refusals(test: &mut Test) -> NtResult {
    for (name, argument, value, expected) in REFUSALS {
        let found = find(name).and_then(|info| {
            Some((info, info.args.iter().position(|candidate| candidate.name == *argument)?))
        });
        let Some((info, index)) = found else {
            test.fail(format_args!("the table has no {name} with {argument}"));
            continue;
        };
        let mut bench = Bench::new()?;
        let mut words = bench.words(info);
        words[index] = *value;
        let status = bench.call(info, &words);
        test.equal(format_args!("{name} with {argument} {value:#x}"), status, *expected);
    }
    Ok(())
}
