//! Time, shutdown, tracing, the kernel log.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::{OK, SysResult, user};
use crate::arch::{acpi, cpu, time};
use crate::bugcheck::bugcheck;
use crate::io::Resource;
use crate::kd::query::{self, Output};
use crate::kd::stop;
use crate::ke::sched;
use crate::kref::Ref;
use crate::{klog, trace};
use abi::NtStatus;
use abi::arg::{Handle, In, Out, Req};
use abi::io::*;
use abi::kd::*;
use abi::mm::{PAGE_READONLY, PAGE_SIZE};
use abi::ob::*;
use abi::status::*;
use abi::trace::{TRACE_MAP, TRACE_START, TRACE_STOP, TraceFilter};

const MANUALLY_INITIATED_CRASH: u32 = 0xE2;

type UseResource = Req<{ ty::RESOURCE }, RESOURCE_USE>;

fn authority(handle: UseResource, kind: u32) -> Result<(), NtStatus> {
    let resource: Ref<Resource> = sched::current().process.handles.need(handle)?;
    resource.check(kind)
}

pub fn NtQuerySystemTime(SystemTime: Out<i64>) -> SysResult {
    user::write(SystemTime, &crate::system_time())?;
    OK
}

pub fn NtQueryPerformanceCounter(PerformanceCounter: Out<i64>, PerformanceFrequency: Out<i64>) -> SysResult {
    user::write(PerformanceCounter, &((cpu::rdtsc() - crate::tsc_boot()) as i64))?;
    user::write_opt(PerformanceFrequency, &(time::tsc_frequency() as i64))?;
    OK
}

pub fn NtShutdownSystem(PowerResource: UseResource, Action: u32) -> SysResult {
    authority(PowerResource, RESOURCE_POWER)?;
    match Action {
        SHUTDOWN_REBOOT => acpi::reboot(),
        SHUTDOWN_POWER_OFF => acpi::power_off(),
        SHUTDOWN_NO_REBOOT => {}
        _ => return Err(STATUS_INVALID_PARAMETER),
    }
    klog::write(format_args!("It is now safe to turn off the machine.\n"));
    crate::bugcheck::halt()
}

pub fn NtTraceControl(
    DebugResource: UseResource,
    FunctionCode: u32,
    InBuffer: In<u8>,
    InBufferLength: u32,
    OutBuffer: Out<u8>,
    OutBufferLength: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    authority(DebugResource, RESOURCE_DEBUG)?;
    let written: u32 = match FunctionCode {
        TRACE_MAP => {
            if OutBufferLength != 16 {
                return Err(STATUS_INVALID_PARAMETER);
            }
            let section = trace::section()?;
            let space = &sched::current().process.space;
            let (base, size) = space.map(&section, 0, 0, section.size, PAGE_READONLY, false)?;
            let out = [base, size.min(section.size.next_multiple_of(PAGE_SIZE))];
            user::write(OutBuffer.cast::<[u64; 2]>(), &out)?;
            16
        }
        TRACE_START => {
            let filter = match InBufferLength {
                0 => TraceFilter::ALL,
                _ => user::input(InBuffer, InBufferLength).map_err(|status| match status {
                    STATUS_INFO_LENGTH_MISMATCH => STATUS_INVALID_PARAMETER,
                    other => other,
                })?,
            };
            if !filter.is_valid() {
                return Err(STATUS_INVALID_PARAMETER);
            }
            trace::start(&filter);
            0
        }
        TRACE_STOP => {
            trace::stop();
            0
        }
        _ => return Err(STATUS_INVALID_PARAMETER),
    };
    user::write_opt(ReturnLength, &written)?;
    OK
}

pub fn NtSystemDebugControl(
    DebugResource: UseResource,
    Command: u32,
    InputBuffer: In<u8>,
    InputBufferLength: u32,
    OutputBuffer: Out<u8>,
    OutputBufferLength: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    authority(DebugResource, RESOURCE_DEBUG)?;
    let output = Output { buffer: OutputBuffer, length: OutputBufferLength };
    let read = || user::input::<SysdbgRead>(InputBuffer, InputBufferLength);
    let id = || match InputBufferLength {
        8 => Ok(InputBuffer.cast::<u64>()),
        _ => Err(STATUS_INFO_LENGTH_MISMATCH),
    };
    let written = match Command {
        DEBUG_CONTROL_BUGCHECK => {
            let thread = sched::current();
            let params = [u64::from(thread.process.id()), u64::from(thread.id()), 0, 0];
            bugcheck(MANUALLY_INITIATED_CRASH, params, None)
        }
        SYSDBG_QUERY_MODULE_INFORMATION => query::modules(output)?,
        SYSDBG_BREAK_POINT => stop::break_in().map(|()| 0)?,
        SYSDBG_READ_VIRTUAL => query::read_virtual(&read()?, output)?,
        SYSDBG_READ_PHYSICAL => query::read_physical(&read()?, output)?,
        SYSDBG_READ_CONTROL_SPACE => query::processor(&read()?, output)?,
        SYSDBG_QUERY_PROCESS => query::process(id()?, output)?,
        SYSDBG_QUERY_THREAD => query::thread(id()?, output)?,
        SYSDBG_QUERY_PORT => query::port(id()?, output)?,
        _ => return Err(STATUS_INVALID_PARAMETER),
    };
    user::write_opt(ReturnLength, &written)?;
    OK
}

pub fn NtDisplayString(String: In<u8>, Length: u32) -> SysResult {
    let mut bytes = [0; 1024];
    let bytes = bytes.get_mut(..Length as usize).ok_or(STATUS_INVALID_PARAMETER)?;
    user::read_bytes(String.address(), bytes)?;
    for piece in bytes.utf8_chunks() {
        klog::write(format_args!("{}", piece.valid()));
    }
    OK
}

pub fn NtxReadKernelLog(
    DebugResource: UseResource,
    Event: Handle,
    Buffer: Out<u8>,
    Length: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    authority(DebugResource, RESOURCE_DEBUG)?;
    let event = if Event.is_null() {
        None
    } else {
        let (event, _): (Ref<crate::ke::event::Event>, u32) =
            sched::current().process.handles.get(Event, EVENT_MODIFY_STATE)?;
        Some(event)
    };
    let mut bytes = [0; 512];
    let room = (Length as usize).min(bytes.len());
    let count = klog::read(&mut bytes[..room], event);
    user::write_bytes(Buffer.address(), &bytes[..count])?;
    user::write(ReturnLength, &(count as u32))?;
    OK
}
