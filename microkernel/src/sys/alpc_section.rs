//! ALPC calls on port sections and views.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::{OK, SysResult, user};
use crate::alpc::port::Port;
use crate::alpc::section;
use crate::ke::sched;
use crate::kref::Ref;
use crate::trace;
use abi::alpc::*;
use abi::arg::{Handle, InOut, Out, Req};
use abi::ob::*;
use abi::status::*;

type OwnedPort = Req<{ ty::PORT }, PORT_ALL_ACCESS>;

pub fn NtAlpcCreatePortSection(
    PortHandle: OwnedPort,
    Flags: u32,
    SectionHandle: Handle,
    SectionSize: u64,
    AlpcSectionHandle: Out<u64>,
    ActualSectionSize: Out<u64>,
) -> SysResult {
    if Flags & !ALPC_PORTSECTION_SECURE != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let port: Ref<Port> = sched::current().process.handles.need(PortHandle)?;
    let secure = Flags & ALPC_PORTSECTION_SECURE != 0;
    let (handle, size) = section::create(&port, SectionHandle, SectionSize, secure)?;
    let written =
        user::write(AlpcSectionHandle, &handle).and_then(|()| user::write(ActualSectionSize, &size));
    if let Err(status) = written {
        section::delete(&port, handle)?;
        return Err(status);
    }
    OK
}

pub fn NtAlpcDeletePortSection(PortHandle: OwnedPort, Flags: u32, SectionHandle: u64) -> SysResult {
    if Flags != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let port: Ref<Port> = sched::current().process.handles.need(PortHandle)?;
    section::delete(&port, SectionHandle)?;
    OK
}

pub fn NtAlpcCreateSectionView(
    PortHandle: OwnedPort,
    Flags: u32,
    ViewAttributes: InOut<AlpcDataViewAttr>,
) -> SysResult {
    if Flags != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let port: Ref<Port> = sched::current().process.handles.need(PortHandle)?;
    let mut attribute = user::read_inout(ViewAttributes)?;
    section::create_view(&port, &mut attribute)?;
    if let Err(status) = user::write_inout(ViewAttributes, &attribute) {
        section::delete_view(&port, attribute.view_base)?;
        return Err(status);
    }
    let details = trace::Details::default().detail(attribute.view_base);
    trace::port_event(abi::trace::TRACE_VIEW, &port, details);
    OK
}

pub fn NtAlpcDeleteSectionView(PortHandle: OwnedPort, Flags: u32, ViewBase: u64) -> SysResult {
    if Flags != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let port: Ref<Port> = sched::current().process.handles.need(PortHandle)?;
    section::delete_view(&port, ViewBase)?;
    OK
}
