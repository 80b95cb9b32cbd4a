//! Virtual memory and sections.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]
#![expect(clippy::too_many_arguments, reason = "NT's parameter lists")]

use super::{OK, SysResult, new_handle, process_of, user};
use crate::io::Resource;
use crate::ke::sched;
use crate::kref::Ref;
use crate::mm::section::Section;
use crate::ob::Object;
use crate::ps::thread::FLAG_END;
use crate::quota::Kind;
use abi::NtStatus;
use abi::arg::{Handle, In, InOut, Out, Req};
use abi::io::RESOURCE_PHYSICAL;
use abi::mm::*;
use abi::ob::*;
use abi::status::*;
use core::sync::atomic::Ordering;

type VmProcess = Req<{ ty::PROCESS }, PROCESS_VM_OPERATION>;

fn vm_process(handle: VmProcess) -> Result<Ref<crate::ps::process::Process>, NtStatus> {
    process_of(handle.0, PROCESS_VM_OPERATION)
}

pub fn NtAllocateVirtualMemory(
    ProcessHandle: VmProcess,
    BaseAddress: InOut<u64>,
    ZeroBits: u64,
    RegionSize: InOut<u64>,
    AllocationType: u32,
    Protect: u32,
) -> SysResult {
    let (base, size) = (user::read_inout(BaseAddress)?, user::read_inout(RegionSize)?);
    if ZeroBits != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let process = vm_process(ProcessHandle)?;
    let (base, size) = process.space.allocate(base, size, AllocationType, Protect)?;
    user::write_inout(BaseAddress, &base)?;
    user::write_inout(RegionSize, &size)?;
    OK
}

pub fn NtFreeVirtualMemory(
    ProcessHandle: VmProcess,
    BaseAddress: InOut<u64>,
    RegionSize: InOut<u64>,
    FreeType: u32,
) -> SysResult {
    let (base, size) = (user::read_inout(BaseAddress)?, user::read_inout(RegionSize)?);
    let (base, size) = vm_process(ProcessHandle)?.space.free(base, size, FreeType)?;
    user::write_inout(BaseAddress, &base)?;
    user::write_inout(RegionSize, &size)?;
    OK
}

pub fn NtProtectVirtualMemory(
    ProcessHandle: VmProcess,
    BaseAddress: InOut<u64>,
    RegionSize: InOut<u64>,
    NewProtect: u32,
    OldProtect: Out<u32>,
) -> SysResult {
    let (base, size) = (user::read_inout(BaseAddress)?, user::read_inout(RegionSize)?);
    let (base, size, old) = vm_process(ProcessHandle)?.space.protect(base, size, NewProtect)?;
    user::write_inout(BaseAddress, &base)?;
    user::write_inout(RegionSize, &size)?;
    user::write(OldProtect, &old)?;
    OK
}

pub fn NtQueryVirtualMemory(
    ProcessHandle: Req<{ ty::PROCESS }, PROCESS_QUERY_LIMITED_INFORMATION>,
    BaseAddress: u64,
    MemoryInformationClass: u32,
    MemoryInformation: Out<u8>,
    MemoryInformationLength: u64,
    ReturnLength: Out<u64>,
) -> SysResult {
    let process = process_of(ProcessHandle.0, PROCESS_QUERY_LIMITED_INFORMATION)?;
    if MemoryInformationClass != MEMORY_BASIC_INFORMATION {
        return Err(STATUS_INVALID_INFO_CLASS);
    }
    let basic = process.space.query(BaseAddress)?;
    user::answer(&basic, MemoryInformation, MemoryInformationLength, false)?;
    user::write_opt(ReturnLength, &(size_of::<MemoryBasicInformation>() as u64))?;
    OK
}

/// Bytes copied between two preemption points.
const PREEMPTION_BYTES: u64 = 0x1_0000;

/// Copies between a process's memory and the caller's in pieces that cross no page of the former. Returns how much.
fn copy_pieces(
    address: u64,
    length: u64,
    mut piece: impl FnMut(u64, u64, &mut [u8]) -> Result<(), NtStatus>,
) -> (u64, SysResult) {
    let mut bounce = [0; 512];
    let mut done = 0;
    let mut since = 0;
    while done < length {
        let Some(at) = address.checked_add(done) else { return (done, Err(STATUS_PARTIAL_COPY)) };
        let count = (length - done).min(bounce.len() as u64).min(PAGE_SIZE - at % PAGE_SIZE);
        if let Err(status) = piece(at, done, &mut bounce[..count as usize]) {
            let status = if done == 0 && status != STATUS_PROCESS_IS_TERMINATING {
                STATUS_PARTIAL_COPY
            } else {
                status
            };
            return (done, Err(if done > 0 { STATUS_PARTIAL_COPY } else { status }));
        }
        done += count;
        since += count;
        if since >= PREEMPTION_BYTES {
            since = 0;
            sched::preemption_point();
            if sched::current().flags.load(Ordering::Acquire) & FLAG_END != 0 {
                return (done, Err(STATUS_THREAD_IS_TERMINATING));
            }
        }
    }
    (done, OK)
}

pub fn NtReadVirtualMemory(
    ProcessHandle: Req<{ ty::PROCESS }, PROCESS_VM_READ>,
    BaseAddress: u64,
    Buffer: Out<u8>,
    NumberOfBytesToRead: u64,
    NumberOfBytesRead: Out<u64>,
) -> SysResult {
    let process = process_of(ProcessHandle.0, PROCESS_VM_READ)?;
    let (done, result) = copy_pieces(BaseAddress, NumberOfBytesToRead, |at, offset, bounce| {
        process.space.read(at, bounce)?;
        user::write_bytes(Buffer.address().wrapping_add(offset), bounce)
    });
    user::write_opt(NumberOfBytesRead, &done)?;
    result
}

pub fn NtWriteVirtualMemory(
    ProcessHandle: Req<{ ty::PROCESS }, PROCESS_VM_WRITE>,
    BaseAddress: u64,
    Buffer: In<u8>,
    NumberOfBytesToWrite: u64,
    NumberOfBytesWritten: Out<u64>,
) -> SysResult {
    let process = process_of(ProcessHandle.0, PROCESS_VM_WRITE)?;
    let (done, result) = copy_pieces(BaseAddress, NumberOfBytesToWrite, |at, offset, bounce| {
        user::read_bytes(Buffer.address().wrapping_add(offset), bounce)?;
        process.space.write(at, bounce)
    });
    user::write_opt(NumberOfBytesWritten, &done)?;
    result
}

pub fn NtCreateSection(
    SectionHandle: Out<Handle>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
    MaximumSize: In<u64>,
    SectionPageProtection: u32,
    AllocationAttributes: u32,
    FileHandle: Handle,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    let size = user::read(MaximumSize)?;
    let process = &sched::current().process;
    let quota = process.quota();
    if size == 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let section = match AllocationAttributes {
        SEC_COMMIT => {
            if !FileHandle.is_null() {
                return Err(STATUS_INVALID_FILE_FOR_SECTION);
            }
            if !matches!(
                SectionPageProtection,
                PAGE_READONLY | PAGE_READWRITE | PAGE_WRITECOPY | PAGE_EXECUTE | PAGE_EXECUTE_READ
            ) {
                return Err(STATUS_INVALID_PAGE_PROTECTION);
            }
            if size > USER_MAX || size.div_ceil(PAGE_SIZE) > quota.limits().pages {
                return Err(STATUS_SECTION_TOO_BIG);
            }
            debug_assert!(quota.used(Kind::Pages) <= u64::MAX / 2);
            Section::new(&quota, size, SectionPageProtection, AllocationAttributes)?
        }
        SEC_PHYSICAL => {
            if !matches!(SectionPageProtection & !PAGE_NOCACHE, PAGE_READONLY | PAGE_READWRITE) {
                return Err(STATUS_INVALID_PAGE_PROTECTION);
            }
            let (resource, _): (Ref<Resource>, u32) = process.handles.get(FileHandle, RESOURCE_USE)?;
            if resource.kind != RESOURCE_PHYSICAL {
                return Err(STATUS_INVALID_FILE_FOR_SECTION);
            }
            if resource.base % PAGE_SIZE != 0 || size > resource.length {
                return Err(STATUS_INVALID_PARAMETER);
            }
            Section::device(&quota, resource.base, size, SectionPageProtection & !PAGE_NOCACHE)?
        }
        _ => return Err(STATUS_INVALID_PARAMETER),
    };
    new_handle(Object::Section(section), DesiredAccess, attributes, SectionHandle)
}

pub fn NtMapViewOfSection(
    SectionHandle: Req<{ ty::SECTION }, 0>,
    ProcessHandle: VmProcess,
    BaseAddress: InOut<u64>,
    ZeroBits: u64,
    CommitSize: u64,
    SectionOffset: InOut<u64>,
    ViewSize: InOut<u64>,
    InheritDisposition: u32,
    AllocationType: u32,
    Win32Protect: u32,
) -> SysResult {
    let _ = CommitSize;
    let (base, size) = (user::read_inout(BaseAddress)?, user::read_inout(ViewSize)?);
    let offset = if SectionOffset.is_null() { 0 } else { user::read_inout(SectionOffset)? };
    if ZeroBits != 0
        || !matches!(InheritDisposition, VIEW_SHARE | VIEW_UNMAP)
        || AllocationType & !MEM_TOP_DOWN != 0
    {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let needed = match Win32Protect {
        PAGE_READWRITE => SECTION_MAP_WRITE,
        PAGE_EXECUTE | PAGE_EXECUTE_READ => SECTION_MAP_EXECUTE,
        PAGE_NOACCESS | PAGE_READONLY | PAGE_WRITECOPY => SECTION_MAP_READ,
        _ => return Err(STATUS_INVALID_PAGE_PROTECTION),
    };
    let (section, granted): (Ref<Section>, u32) =
        sched::current().process.handles.get(SectionHandle.0, needed)?;
    // A view can be made executable later only by a holder of that right.
    let executable = granted & SECTION_MAP_EXECUTE != 0;
    let process = vm_process(ProcessHandle)?;
    if Win32Protect == PAGE_EXECUTE_READ && !executable {
        return Err(STATUS_ACCESS_DENIED);
    }
    let top_down = AllocationType & MEM_TOP_DOWN != 0;
    let (base, size) = process.space.map(&section, base, offset, size, Win32Protect, top_down)?;
    user::write_inout(BaseAddress, &base)?;
    user::write_inout(ViewSize, &size)?;
    if !SectionOffset.is_null() {
        user::write_inout(SectionOffset, &offset)?;
    }
    OK
}

pub fn NtUnmapViewOfSection(ProcessHandle: VmProcess, BaseAddress: u64) -> SysResult {
    vm_process(ProcessHandle)?.space.unmap_view(BaseAddress)?;
    OK
}

pub fn NtQuerySection(
    SectionHandle: Req<{ ty::SECTION }, SECTION_QUERY>,
    SectionInformationClass: u32,
    SectionInformation: Out<u8>,
    SectionInformationLength: u64,
    ReturnLength: Out<u64>,
) -> SysResult {
    let section: Ref<Section> = sched::current().process.handles.need(SectionHandle)?;
    if SectionInformationClass != SECTION_BASIC_INFORMATION {
        return Err(STATUS_INVALID_INFO_CLASS);
    }
    let basic = SectionBasicInformation {
        base_address: 0,
        allocation_attributes: section.attributes,
        reserved: 0,
        maximum_size: section.size,
    };
    user::answer(&basic, SectionInformation, SectionInformationLength, true)?;
    user::write_opt(ReturnLength, &(size_of::<SectionBasicInformation>() as u64))?;
    OK
}
