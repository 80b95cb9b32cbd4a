//! Waits, delays, yields, events.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]

use super::{OK, SysResult, new_handle, user};
use crate::arch::percpu;
use crate::ke::event::Event;
use crate::ke::{alert, deadline, sched};
use crate::kref::Ref;
use crate::ob::Object;
use crate::ob::handles::Target;
use abi::NtStatus;
use abi::arg::{Handle, In, Out, Req};
use abi::info::{WAIT_REASON_DELAY, WAIT_REASON_USER_REQUEST};
use abi::ob::*;
use abi::ps::*;
use abi::status::*;

pub fn NtGetCurrentProcessorNumber() -> SysResult {
    Ok(NtStatus(percpu::this().index))
}

fn waitable(handle: Handle) -> Result<(Object, u32), NtStatus> {
    let object = match super::objects::pseudo(handle) {
        Some((object, _)) => object,
        None => sched::current().process.handles.with(handle, |entry| {
            let Target::Open(open) = &entry.target else { return Err(STATUS_OBJECT_TYPE_MISMATCH) };
            if entry.access & SYNCHRONIZE == 0 {
                return Err(STATUS_ACCESS_DENIED);
            }
            Ok(open.object().clone())
        })?,
    };
    let index = object.waitable().ok_or(STATUS_OBJECT_TYPE_MISMATCH)?;
    Ok((object, index))
}

pub fn NtWaitForSingleObject(
    ObjectHandle: Req<{ ty::ANY }, SYNCHRONIZE>,
    Alertable: bool,
    Timeout: In<i64>,
) -> SysResult {
    let until = deadline(user::timeout(Timeout)?);
    let (_object, index) = waitable(ObjectHandle.0)?;
    Ok(alert::wait(&[index], false, until, WAIT_REASON_USER_REQUEST, Alertable))
}

pub fn NtWaitForMultipleObjects(
    Count: u32,
    Handles: In<Handle>,
    WaitType: u32,
    Alertable: bool,
    Timeout: In<i64>,
) -> SysResult {
    let count = Count as usize;
    if count == 0 || count > MAXIMUM_WAIT_OBJECTS || WaitType > WAIT_ANY {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let until = deadline(user::timeout(Timeout)?);
    let mut objects = heapless::Vec::<Object, MAXIMUM_WAIT_OBJECTS>::new();
    let mut indexes = heapless::Vec::<u32, MAXIMUM_WAIT_OBJECTS>::new();
    for at in 0..count {
        let handle = user::read(In::<Handle>::at(Handles.address().wrapping_add(8 * at as u64)))?;
        let (object, index) = waitable(handle)?;
        if WaitType == WAIT_ALL && indexes.contains(&index) {
            return Err(STATUS_INVALID_PARAMETER_MIX);
        }
        // At most MAXIMUM_WAIT_OBJECTS, checked above.
        let _ = (objects.push(object), indexes.push(index));
    }
    Ok(alert::wait(&indexes, WaitType == WAIT_ALL, until, WAIT_REASON_USER_REQUEST, Alertable))
}

pub fn NtDelayExecution(Alertable: bool, DelayInterval: In<i64>) -> SysResult {
    let until = deadline(Some(user::read(DelayInterval)?));
    if until == 0 && !Alertable {
        return NtYieldExecution().map(|_| STATUS_SUCCESS);
    }
    match alert::wait(&[], false, until, WAIT_REASON_DELAY, Alertable) {
        STATUS_TIMEOUT if until == 0 => NtYieldExecution().map(|_| STATUS_SUCCESS),
        STATUS_TIMEOUT => OK,
        status => Ok(status),
    }
}

pub fn NtYieldExecution() -> SysResult {
    Ok(if sched::yield_now() { STATUS_SUCCESS } else { STATUS_NO_YIELD_PERFORMED })
}

pub fn NtCreateEvent(
    EventHandle: Out<Handle>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
    EventType: u32,
    InitialState: bool,
) -> SysResult {
    let attributes = user::attributes(ObjectAttributes)?;
    if EventType > SYNCHRONIZATION_EVENT {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let event = Event::new(&sched::current().process.quota(), EventType, InitialState)?;
    new_handle(Object::Event(event), DesiredAccess, attributes, EventHandle)
}

type ModifyEvent = Req<{ ty::EVENT }, EVENT_MODIFY_STATE>;

fn event(handle: ModifyEvent) -> Result<Ref<Event>, NtStatus> {
    sched::current().process.handles.need(handle)
}

pub fn NtSetEvent(EventHandle: ModifyEvent, PreviousState: Out<i32>) -> SysResult {
    let was = event(EventHandle)?.state.set();
    user::write_opt(PreviousState, &i32::from(was))?;
    OK
}

pub fn NtResetEvent(EventHandle: ModifyEvent, PreviousState: Out<i32>) -> SysResult {
    let was = event(EventHandle)?.state.clear();
    user::write_opt(PreviousState, &i32::from(was))?;
    OK
}

pub fn NtClearEvent(EventHandle: ModifyEvent) -> SysResult {
    event(EventHandle)?.state.clear();
    OK
}

pub fn NtPulseEvent(EventHandle: ModifyEvent, PreviousState: Out<i32>) -> SysResult {
    let was = event(EventHandle)?.state.pulse();
    user::write_opt(PreviousState, &i32::from(was))?;
    OK
}

pub fn NtQueryEvent(
    EventHandle: Req<{ ty::EVENT }, EVENT_QUERY_STATE>,
    EventInformationClass: u32,
    EventInformation: Out<u8>,
    EventInformationLength: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let event: Ref<Event> = sched::current().process.handles.need(EventHandle)?;
    if EventInformationClass != 0 {
        return Err(STATUS_INVALID_INFO_CLASS);
    }
    let basic =
        EventBasicInformation { event_type: event.kind, event_state: i32::from(event.state.is_set()) };
    user::answer(&basic, EventInformation, u64::from(EventInformationLength), true)?;
    user::write_opt(ReturnLength, &(size_of::<EventBasicInformation>() as u32))?;
    OK
}
