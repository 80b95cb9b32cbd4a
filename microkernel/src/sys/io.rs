//! Resources, I/O ports, interrupts (Antares).
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::{OK, SysResult, new_handle, user};
use crate::io::{Interrupt, Resource, read_port, write_port};
use crate::ke::sched;
use crate::kref::Ref;
use crate::ob::Object;
use abi::NtStatus;
use abi::arg::{Handle, In, Out, Req};
use abi::io::{RESOURCE_IO_PORTS, RESOURCE_IRQ};
use abi::ob::*;
use abi::status::*;

const PIECE: usize = 256;
const MOST: u32 = 4096;

pub fn NtxCreateResource(
    ResourceHandle: Out<Handle>,
    Parent: Req<{ ty::RESOURCE }, RESOURCE_DERIVE>,
    Kind: u32,
    Base: u64,
    Length: u64,
) -> SysResult {
    let process = &sched::current().process;
    let parent: Ref<Resource> = process.handles.need(Parent)?;
    let resource = parent.derive(&process.quota(), Kind, Base, Length)?;
    new_handle(Object::Resource(resource), RESOURCE_ALL_ACCESS, 0, ResourceHandle)
}

fn port_range(
    resource: Req<{ ty::RESOURCE }, RESOURCE_USE>,
    port: u32,
    width: u32,
    count: u32,
) -> Result<usize, NtStatus> {
    let resource: Ref<Resource> = sched::current().process.handles.need(resource)?;
    resource.check(RESOURCE_IO_PORTS)?;
    let inside = port < 0x1_0000 && resource.covers(u64::from(port), u64::from(width));
    if !inside || !matches!(width, 1 | 2 | 4) || count > MOST / width {
        return Err(STATUS_INVALID_PARAMETER);
    }
    Ok((width * count) as usize)
}

pub fn NtxReadIoPort(
    Resource: Req<{ ty::RESOURCE }, RESOURCE_USE>,
    Port: u32,
    Width: u32,
    Buffer: Out<u8>,
    Count: u32,
) -> SysResult {
    let length = port_range(Resource, Port, Width, Count)?;
    let mut piece = [0; PIECE];
    let mut done = 0;
    while done < length {
        let bytes = &mut piece[..(length - done).min(PIECE)];
        read_port(Port as u16, Width, bytes);
        user::write_bytes(Buffer.address().wrapping_add(done as u64), bytes)?;
        done += bytes.len();
    }
    OK
}

pub fn NtxWriteIoPort(
    Resource: Req<{ ty::RESOURCE }, RESOURCE_USE>,
    Port: u32,
    Width: u32,
    Buffer: In<u8>,
    Count: u32,
) -> SysResult {
    let length = port_range(Resource, Port, Width, Count)?;
    let mut piece = [0; PIECE];
    let mut done = 0;
    while done < length {
        let bytes = &mut piece[..(length - done).min(PIECE)];
        user::read_bytes(Buffer.address().wrapping_add(done as u64), bytes)?;
        write_port(Port as u16, Width, bytes);
        done += bytes.len();
    }
    OK
}

pub fn NtxCreateInterrupt(
    InterruptHandle: Out<Handle>,
    Resource: Req<{ ty::RESOURCE }, RESOURCE_USE>,
    GlobalInterrupt: u32,
    Flags: u32,
) -> SysResult {
    let process = &sched::current().process;
    let resource: Ref<crate::io::Resource> = process.handles.need(Resource)?;
    resource.check(RESOURCE_IRQ)?;
    if !resource.covers(u64::from(GlobalInterrupt), 1) || Flags > 3 || GlobalInterrupt > 0x3FF {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let interrupt = Interrupt::new(&process.quota(), GlobalInterrupt, Flags)?;
    new_handle(Object::Interrupt(interrupt), INTERRUPT_ALL_ACCESS, 0, InterruptHandle)
}

pub fn NtxAcknowledgeInterrupt(InterruptHandle: Req<{ ty::INTERRUPT }, INTERRUPT_ACKNOWLEDGE>) -> SysResult {
    let interrupt: Ref<Interrupt> = sched::current().process.handles.need(InterruptHandle)?;
    interrupt.acknowledge();
    OK
}
