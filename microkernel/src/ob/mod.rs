//! Objects and handles: what a handle table holds, and what happens when the last handle goes.
//!
//! Objects are counted twice: references (memory) and handles (NT's HandleCount). When the last handle goes, the object
//! is closed: a port disconnects, a server object tells its server, a process that never ran is taken down. Closing may
//! close further handles (those in queued messages), so it never happens inside a drop: the object is put on a list,
//! linked through the headers, that [`run_deferred`] works off before the kernel returns to user mode. The kernel knows
//! no names; a *name handle* refers to an object without keeping it open, for the name server.

pub mod handles;

use crate::alpc::group::GroupRef;
use crate::alpc::later;
use crate::alpc::port::{Port, ServerObject};
use crate::io::{Interrupt, Resource};
use crate::ke::completion::IoCompletion;
use crate::ke::event::Event;
use crate::kref::Ref;
use crate::mm::section::Section;
use crate::ps::process::Process;
use crate::ps::thread::Thread;
use crate::quota::{Charge, Kind, QuotaBlock};
use crate::se::token::Token;
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::ob::ObjectType;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Kernel memory charged for an object, whatever its type: the largest object and its table entries.
const OBJECT_CHARGE: u64 = 512;

/// The notice that a name server is owed when an object closes.
pub struct NameNotice {
    /// Where the notice goes.
    pub group: GroupRef,
    /// Reserved message.
    pub notice: u32,
}

/// What every object begins with.
pub struct Header {
    /// Type.
    pub kind: ObjectType,
    /// Unique since boot.
    pub id: u64,
    handles: AtomicU32,
    closed: AtomicBool,
    queued: AtomicBool,
    next_deferred: Lock<Option<Object>, { rank::LEAF }>,
    /// Set by the name server.
    pub name_notice: Lock<Option<NameNotice>, { rank::LEAF }>,
    _charge: Charge,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);
static ALIVE: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

impl Header {
    /// A header charged to a quota block.
    pub fn new(kind: ObjectType, quota: &Ref<QuotaBlock>) -> Result<Self, NtStatus> {
        Ok(Self::with(kind, Charge::new(quota, Kind::Pool, OBJECT_CHARGE)?))
    }

    /// A header of an object that the kernel makes for itself.
    pub fn uncharged(kind: ObjectType) -> Self {
        Self::with(kind, Charge::none())
    }

    fn with(kind: ObjectType, charge: Charge) -> Self {
        ALIVE[kind as usize].fetch_add(1, Ordering::Relaxed);
        Self {
            kind,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            handles: AtomicU32::new(0),
            closed: AtomicBool::new(false),
            queued: AtomicBool::new(false),
            next_deferred: Lock::new(None),
            name_notice: Lock::new(None),
            _charge: charge,
        }
    }

    /// Open handles.
    pub fn handle_count(&self) -> u32 {
        self.handles.load(Ordering::Relaxed)
    }

    /// Kernel memory charged.
    pub fn charged(&self) -> u64 {
        self._charge.amount()
    }
}

impl Drop for Header {
    fn drop(&mut self) {
        ALIVE[self.kind as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Objects alive by type number.
pub fn alive() -> [u64; 16] {
    core::array::from_fn(|i| ALIVE[i].load(Ordering::Relaxed))
}

/// A reference to an object of any type.
#[derive(Clone)]
pub enum Object {
    /// Process.
    Process(Ref<Process>),
    /// Thread.
    Thread(Ref<Thread>),
    /// Event.
    Event(Ref<Event>),
    /// Section.
    Section(Ref<Section>),
    /// ALPC port.
    Port(Ref<Port>),
    /// Server object.
    Server(Ref<ServerObject>),
    /// Resource.
    Resource(Ref<Resource>),
    /// Interrupt.
    Interrupt(Ref<Interrupt>),
    /// Token.
    Token(Ref<Token>),
    /// I/O completion object.
    IoCompletion(Ref<IoCompletion>),
}

impl Object {
    /// The object's header.
    pub fn header(&self) -> &Header {
        match self {
            Self::Process(o) => &o.header,
            Self::Thread(o) => &o.header,
            Self::Event(o) => &o.header,
            Self::Section(o) => &o.header,
            Self::Port(o) => &o.header,
            Self::Server(o) => &o.header,
            Self::Resource(o) => &o.header,
            Self::Interrupt(o) => &o.header,
            Self::Token(o) => &o.header,
            Self::IoCompletion(o) => &o.header,
        }
    }

    /// References to the object.
    pub fn pointer_count(&self) -> usize {
        match self {
            Self::Process(o) => Ref::count(o),
            Self::Thread(o) => Ref::count(o),
            Self::Event(o) => Ref::count(o),
            Self::Section(o) => Ref::count(o),
            Self::Port(o) => Ref::count(o),
            Self::Server(o) => Ref::count(o),
            Self::Resource(o) => Ref::count(o),
            Self::Interrupt(o) => Ref::count(o),
            Self::Token(o) => Ref::count(o),
            Self::IoCompletion(o) => Ref::count(o),
        }
    }

    /// Dispatcher object that a wait on this object waits for, if it can be waited on.
    pub fn waitable(&self) -> Option<u32> {
        match self {
            Self::Process(o) => Some(o.ended.index()),
            Self::Thread(o) => Some(o.ended.index()),
            Self::Event(o) => Some(o.state.index()),
            Self::Port(o) => o.signal.as_ref().map(|s| s.index()),
            Self::Interrupt(o) => Some(o.state.index()),
            Self::Section(_) | Self::Server(_) | Self::Resource(_) | Self::Token(_) => None,
            Self::IoCompletion(o) => Some(o.signal.index()),
        }
    }

    /// Every right that exists for the type, and what the generic rights mean: (all, read, write, execute).
    pub fn access_masks(&self) -> (u32, u32, u32, u32) {
        use abi::ob::*;
        use abi::se::*;
        let read = READ_CONTROL;
        match self.header().kind {
            ObjectType::Process => {
                (PROCESS_ALL_ACCESS, read | 0x410, read | 0xBEA, read | SYNCHRONIZE | 0x1001)
            }
            ObjectType::Thread => (THREAD_ALL_ACCESS, read | 0x48, read | 0x37, read | SYNCHRONIZE | 0x800),
            ObjectType::Event => {
                (EVENT_ALL_ACCESS, read | EVENT_QUERY_STATE, read | EVENT_MODIFY_STATE, read | SYNCHRONIZE)
            }
            ObjectType::Section => (
                SECTION_ALL_ACCESS | SYNCHRONIZE,
                read | SECTION_QUERY | SECTION_MAP_READ,
                read | SECTION_MAP_WRITE,
                read | SECTION_MAP_EXECUTE,
            ),
            ObjectType::AlpcPort => (PORT_ALL_ACCESS, read | PORT_CONNECT, DELETE, 0),
            ObjectType::IoCompletion => (
                IO_COMPLETION_ALL_ACCESS,
                read | IO_COMPLETION_QUERY_STATE,
                read | IO_COMPLETION_MODIFY_STATE,
                read | SYNCHRONIZE,
            ),
            ObjectType::Interrupt => (INTERRUPT_ALL_ACCESS, read, INTERRUPT_ACKNOWLEDGE, SYNCHRONIZE),
            ObjectType::Token => (
                TOKEN_ALL_ACCESS,
                read | TOKEN_QUERY_SOURCE | TOKEN_QUERY | TOKEN_DUPLICATE,
                read | TOKEN_ADJUST_SESSIONID
                    | TOKEN_ADJUST_DEFAULT
                    | TOKEN_ADJUST_GROUPS
                    | TOKEN_ADJUST_PRIVILEGES,
                read | TOKEN_IMPERSONATE | TOKEN_ASSIGN_PRIMARY,
            ),
            ObjectType::Resource => (RESOURCE_ALL_ACCESS, RESOURCE_USE, RESOURCE_USE, RESOURCE_USE),
            // A server's rights are its own: whatever it grants, within the specific and standard rights.
            ObjectType::Server | ObjectType::Any => (0x01FF_FFFF, 0, 0, 0),
        }
    }

    /// Turns generic rights and MAXIMUM_ALLOWED into the type's rights; `most` is what can be granted.
    pub fn map_access(&self, desired: u32, most: u32) -> u32 {
        use abi::ob::{GENERIC_ALL, GENERIC_EXECUTE, GENERIC_READ, GENERIC_WRITE, MAXIMUM_ALLOWED};
        let (all, read, write, execute) = self.access_masks();
        let mut access =
            desired & !(GENERIC_ALL | GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE | MAXIMUM_ALLOWED);
        for (generic, specific) in
            [(GENERIC_ALL, all), (GENERIC_READ, read), (GENERIC_WRITE, write), (GENERIC_EXECUTE, execute)]
        {
            if desired & generic != 0 {
                access |= specific;
            }
        }
        if desired & MAXIMUM_ALLOWED != 0 {
            access |= most;
        }
        access
    }

    /// What identifies it in listings: an id of the type's own.
    pub fn detail(&self) -> u32 {
        match self {
            Self::Process(o) => o.id(),
            Self::Thread(o) => o.id(),
            Self::Port(o) => o.id,
            Self::Server(o) => o.object.server_type,
            _ => 0,
        }
    }

    fn close(&self) {
        let notice = self.header().name_notice.lock().take();
        match self {
            Self::Server(o) => o.close(),
            Self::Process(o) => o.last_handle_closed(),
            Self::IoCompletion(o) => o.close(),
            _ => {}
        }
        if let Some(NameNotice { group, notice }) = notice {
            group.send_notice(notice);
        }
    }
}

/// A counted handle to an object: in a handle table, or on its way in a message.
///
/// A port is kept open by the handles that may receive on it; one that may only connect does not keep a dead server's
/// port alive.
pub struct HandleRef {
    object: Object,
    receives: bool,
}

fn receives(object: &Object, access: u32) -> bool {
    matches!(object, Object::Port(_)) && access & abi::ob::PORT_ALL_ACCESS == abi::ob::PORT_ALL_ACCESS
}

impl HandleRef {
    fn count(object: Object, receives: bool) -> Self {
        if let (Object::Port(port), true) = (&object, receives) {
            port.receivers.fetch_add(1, Ordering::AcqRel);
        }
        Self { object, receives }
    }

    /// A first handle to a new object, or a further one to an object that cannot be closed for good (process, thread),
    /// which will grant `access`. `None` when the object was closed.
    pub fn new(object: Object, access: u32) -> Option<Self> {
        let header = object.header();
        header.handles.fetch_add(1, Ordering::AcqRel);
        if header.closed.load(Ordering::Acquire) {
            header.handles.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let receives = receives(&object, access);
        Some(Self::count(object, receives))
    }

    /// The object.
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// A further handle that will grant `access`.
    pub fn another(&self, access: u32) -> Self {
        self.object.header().handles.fetch_add(1, Ordering::AcqRel);
        Self::count(self.object.clone(), receives(&self.object, access))
    }

    /// A further handle to an object that is not closed. Unlike [`HandleRef::new`] it refuses an object whose last
    /// handle has just gone.
    pub fn reopen(object: &Object, access: u32) -> Option<Self> {
        let header = object.header();
        let counted = header
            .handles
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n > 0).then_some(n + 1))
            .is_ok();
        counted.then(|| Self::count(object.clone(), receives(object, access)))
    }
}

impl Drop for HandleRef {
    fn drop(&mut self) {
        let header = self.object.header();
        if let (Object::Port(port), true) = (&self.object, self.receives)
            && port.receivers.fetch_sub(1, Ordering::AcqRel) == 1
        {
            defer(&self.object);
        }
        if header.handles.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Processes and threads can be opened again by id, tokens from them; everything else is closed for good.
            if !matches!(self.object, Object::Process(_) | Object::Thread(_) | Object::Token(_)) {
                header.closed.store(true, Ordering::Release);
            }
            defer(&self.object);
        }
    }
}

static DEFERRED: Lock<Option<Object>, { rank::LEAF }> = Lock::new(None);
static ANY_DEFERRED: AtomicBool = AtomicBool::new(false);

fn defer(object: &Object) {
    if object.header().queued.swap(true, Ordering::AcqRel) {
        return;
    }
    let mut list = DEFERRED.lock();
    let next = list.take();
    // Leaf under leaf: the link of an object that is not on the list yet is reached by nobody else.
    object.header().next_deferred.set_unshared(next);
    *list = Some(object.clone());
    drop(list);
    note_deferred();
}

/// Something waits for [`run_deferred`].
pub fn note_deferred() {
    ANY_DEFERRED.store(true, Ordering::Release);
}

/// True when something waits to be closed.
#[inline]
pub fn any_deferred() -> bool {
    ANY_DEFERRED.load(Ordering::Relaxed)
}

/// Closes what waits to be closed. Called with no lock held.
#[inline]
pub fn run_deferred() {
    if any_deferred() {
        run_deferred_list();
    }
}

#[cold]
fn run_deferred_list() {
    loop {
        run_deferred_objects();
        while later::run_one() {}
        later::wait_for_others();
        // Until here every processor sees that there is something to do or to wait for.
        if !later::if_idle(|| ANY_DEFERRED.store(false, Ordering::Release)) {
            continue;
        }
        // Whoever adds to the list of objects says so afterwards; what was said before the flag fell is looked for once more.
        if DEFERRED.lock().is_none() {
            return;
        }
        note_deferred();
    }
}

fn run_deferred_objects() {
    loop {
        let object = {
            let mut list = DEFERRED.lock();
            let Some(object) = list.take() else { return };
            *list = object.header().next_deferred.take_unshared();
            object
        };
        // A locked exchange, so that the counts below are read after it: who drops the last handle from now on queues
        // the object again.
        object.header().queued.swap(false, Ordering::AcqRel);
        match &object {
            Object::Port(port) if port.receivers.load(Ordering::Acquire) == 0 => port.close(),
            _ => {}
        }
        // A process or thread may have been opened again meanwhile.
        if object.header().handle_count() == 0 {
            object.close();
        }
    }
}
