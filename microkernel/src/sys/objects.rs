//! Handles: close, duplicate, query, compare; name handles.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::{OK, SysResult, process_of, user};
use crate::alpc::port::Port;
use crate::ke::sched;
use crate::kref::Ref;
use crate::ob::handles::{Entry, Target};
use crate::ob::{HandleRef, NameNotice, Object, run_deferred};
use abi::arg::{Handle, In, Out, Req};
use abi::ob::*;
use abi::status::*;
use abi::{NtStatus, alpc::LPC_NAME_RELEASED};
use antares_core::alpc::{ObjectContext, Role};

/// What a pseudo handle stands for.
pub fn pseudo(handle: Handle) -> Option<(Object, u32)> {
    match handle {
        Handle::CURRENT_PROCESS => {
            Some((Object::Process(sched::current().process.clone()), PROCESS_ALL_ACCESS))
        }
        Handle::CURRENT_THREAD => Some((Object::Thread(sched::current_ref()), THREAD_ALL_ACCESS)),
        _ => None,
    }
}

/// Closes an entry that was taken out of a table.
pub fn drop_entry(entry: Entry) {
    if let Target::Name(object) = &entry.target {
        let notice = object.header().name_notice.lock().take();
        if let Some(NameNotice { group, notice }) = notice {
            group.lock().drop_notice(notice);
        }
    }
    drop(entry);
}

pub fn NtClose(ObjectHandle: Handle) -> SysResult {
    if pseudo(ObjectHandle).is_some() {
        return OK;
    }
    let thread = sched::current();
    drop_entry(thread.process.handles.remove(ObjectHandle)?);
    thread.route.forget_handle(ObjectHandle);
    OK
}

pub fn NtDuplicateObject(
    SourceProcessHandle: Req<{ ty::PROCESS }, PROCESS_DUP_HANDLE>,
    SourceHandle: Handle,
    TargetProcessHandle: Handle,
    TargetHandle: Out<Handle>,
    DesiredAccess: u32,
    HandleAttributes: u32,
    Options: u32,
) -> SysResult {
    let source = process_of(SourceProcessHandle.0, PROCESS_DUP_HANDLE)?;
    let result = duplicate(
        &source,
        SourceHandle,
        TargetProcessHandle,
        TargetHandle,
        DesiredAccess,
        HandleAttributes,
        Options,
    );
    if Options & DUPLICATE_CLOSE_SOURCE != 0
        && let Ok(entry) = source.handles.remove(SourceHandle)
    {
        drop_entry(entry);
    }
    if result.is_err() && !TargetHandle.is_null() {
        user::write(TargetHandle, &Handle::NULL)?;
    }
    result
}

fn duplicate(
    source: &Ref<crate::ps::process::Process>,
    handle: Handle,
    target: Handle,
    to: Out<Handle>,
    desired: u32,
    attributes: u32,
    options: u32,
) -> SysResult {
    let same_process = core::ptr::eq(&raw const **source, &raw const *sched::current().process);
    let wanted = |object: &Object, granted: u32| {
        let access =
            if options & DUPLICATE_SAME_ACCESS != 0 { granted } else { object.map_access(desired, granted) };
        if access & !granted != 0 { Err(STATUS_ACCESS_DENIED) } else { Ok(access) }
    };
    let found = match pseudo(handle).filter(|_| same_process) {
        Some((object, granted)) => {
            wanted(&object, granted).map(|access| (HandleRef::new(object, access), access, 0))
        }
        None => source.handles.with(handle, |entry| {
            let access = wanted(entry.target.object(), entry.access)?;
            let open = match &entry.target {
                Target::Open(open) => Some(open.another(access)),
                Target::Name(object) => HandleRef::reopen(object, access),
            };
            Ok((open, access, entry.attributes))
        }),
    };
    let (open, access, old_attributes) = found?;
    let open = open.ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?;
    if target.is_null() {
        return if options & DUPLICATE_CLOSE_SOURCE != 0 { OK } else { Err(STATUS_INVALID_HANDLE) };
    }
    let target = process_of(target, PROCESS_DUP_HANDLE)?;
    let kept = if options & DUPLICATE_SAME_ATTRIBUTES != 0 { old_attributes } else { attributes };
    let entry =
        Entry { target: Target::Open(open), access, attributes: kept & (OBJ_INHERIT | OBJ_PROTECT_CLOSE) };
    let new = target.handles.insert(entry, target.quota().handle_limit())?;
    if !to.is_null()
        && let Err(status) = user::write(to, &new)
    {
        drop(target.handles.take(new));
        return Err(status);
    }
    OK
}

fn look_up(handle: Handle) -> Result<(Object, u32, u32), NtStatus> {
    match pseudo(handle) {
        Some((object, access)) => Ok((object, access, 0)),
        None => sched::current()
            .process
            .handles
            .with(handle, |entry| Ok((entry.target.object().clone(), entry.access, entry.attributes))),
    }
}

pub fn NtQueryObject(
    ObjectHandle: Handle,
    ObjectInformationClass: u32,
    ObjectInformation: Out<u8>,
    ObjectInformationLength: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let (object, access, attributes) = look_up(ObjectHandle)?;
    let header = object.header();
    let length = u64::from(ObjectInformationLength);
    let size = match ObjectInformationClass {
        OBJECT_BASIC_INFORMATION => {
            let basic = ObjectBasicInformation {
                attributes,
                granted_access: access,
                handle_count: header.handle_count(),
                // The reference taken for this query does not count.
                pointer_count: object.pointer_count() as u32 - 1,
                paged_pool_charge: header.charged() as u32,
                type_info_size: type_information(&object).len() as u32,
                ..ObjectBasicInformation::default()
            };
            user::answer(&basic, ObjectInformation, length, true)?;
            size_of::<ObjectBasicInformation>()
        }
        OBJECT_TYPE_INFORMATION => {
            let bytes = type_information(&object);
            user::write_opt(ReturnLength, &(bytes.len() as u32))?;
            if (ObjectInformationLength as usize) < bytes.len() {
                return Err(STATUS_INFO_LENGTH_MISMATCH);
            }
            let mut bytes = bytes;
            let text = ObjectInformation.address().wrapping_add(size_of::<UnicodeString>() as u64);
            bytes[8..16].copy_from_slice(&text.to_le_bytes());
            user::write_bytes(ObjectInformation.address(), &bytes)?;
            bytes.len()
        }
        OBJECT_HANDLE_FLAG_INFORMATION => {
            let flags =
                [u8::from(attributes & OBJ_INHERIT != 0), u8::from(attributes & OBJ_PROTECT_CLOSE != 0)];
            user::answer(&flags, ObjectInformation, length, true)?;
            2
        }
        OBJECT_ID_INFORMATION => {
            let object_id = match &object {
                Object::Port(port) => u64::from(port.id),
                _ => header.id,
            };
            let server_type = if matches!(object, Object::Server(_)) { object.detail() } else { 0 };
            let id = ObjectIdInformation { object_id, object_type: header.kind as u32, server_type };
            user::answer(&id, ObjectInformation, length, true)?;
            size_of::<ObjectIdInformation>()
        }
        _ => return Err(STATUS_INVALID_INFO_CLASS),
    };
    user::write_opt(ReturnLength, &(size as u32))?;
    OK
}

/// UNICODE_STRING (its buffer address still zero) and the type's name.
fn type_information(object: &Object) -> heapless::Vec<u8, 64> {
    let name = object.header().kind.name();
    let length = (name.len() * 2) as u16;
    let mut bytes = heapless::Vec::new();
    let header = length.to_le_bytes().into_iter().chain(length.to_le_bytes()).chain([0; 12]);
    // Type names are short.
    bytes.extend(header.chain(name.encode_utf16().flat_map(u16::to_le_bytes)));
    bytes
}

pub fn NtSetInformationObject(
    ObjectHandle: Handle,
    ObjectInformationClass: u32,
    ObjectInformation: In<u8>,
    ObjectInformationLength: u32,
) -> SysResult {
    if ObjectInformationClass != OBJECT_HANDLE_FLAG_INFORMATION {
        return Err(STATUS_INVALID_INFO_CLASS);
    }
    let [inherit, protect]: [u8; 2] = user::input(ObjectInformation, ObjectInformationLength)?;
    sched::current().process.handles.with(ObjectHandle, |entry| {
        entry.attributes =
            if inherit != 0 { OBJ_INHERIT } else { 0 } | if protect != 0 { OBJ_PROTECT_CLOSE } else { 0 };
        OK
    })
}

pub fn NtCompareObjects(FirstObjectHandle: Handle, SecondObjectHandle: Handle) -> SysResult {
    let (first, second) = (look_up(FirstObjectHandle)?.0, look_up(SecondObjectHandle)?.0);
    if first.header().id == second.header().id { OK } else { Err(STATUS_NOT_SAME_OBJECT) }
}

pub fn NtxCreateNameHandle(
    NameHandle: Out<Handle>,
    ObjectHandle: Handle,
    PortHandle: Req<{ ty::PORT }, PORT_ALL_ACCESS>,
    Context: u64,
    Name: In<u8>,
    NameLength: u32,
) -> SysResult {
    let process = &sched::current().process;
    let port: Ref<Port> = process.handles.need(PortHandle)?;
    if port.role != Role::Connection {
        return Err(STATUS_INVALID_PORT_HANDLE);
    }
    if NameLength > 256 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    // An object has one name, so the right to give it is not everybody's.
    if !crate::quota::is_system(&process.quota()) {
        return Err(STATUS_ACCESS_DENIED);
    }
    let label = user::name::<256>(Name, NameLength)?;
    let (object, access) = process.handles.with(ObjectHandle, |entry| match &entry.target {
        Target::Open(open) => Ok((open.object().clone(), entry.access)),
        Target::Name(_) => Err(STATUS_OBJECT_TYPE_MISMATCH),
    })?;
    let context = ObjectContext { context: Context, access: 0, server_type: object.header().kind as u32 };
    let body = crate::alpc::message::Body::empty(&process.quota())?;
    let notice = port.group.lock().reserve_notice(LPC_NAME_RELEASED, body, context)?;
    let taken = {
        let mut slot = object.header().name_notice.lock();
        let free = slot.is_none();
        if free {
            *slot = Some(NameNotice { group: port.group.clone(), notice });
        }
        !free
    };
    if taken {
        port.group.lock().drop_notice(notice);
        return Err(STATUS_OBJECT_NAME_COLLISION);
    }
    let target = Target::Name(object.clone());
    let inserted =
        process.handles.insert(Entry { target, access, attributes: 0 }, process.quota().handle_limit());
    let handle = match inserted {
        Ok(handle) => handle,
        Err(status) => {
            drop_entry(Entry { target: Target::Name(object), access, attributes: 0 });
            return Err(status);
        }
    };
    if let Object::Port(named) = &object {
        crate::trace::name_port(named, &label);
    }
    if let Err(status) = user::write(NameHandle, &handle) {
        NtClose(handle)?;
        return Err(status);
    }
    run_deferred();
    OK
}
