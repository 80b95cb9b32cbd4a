//! Port objects (connection, server and client communication ports) and server objects.

use crate::alpc::completion::{self, Tie};
use crate::alpc::direct::Sent;
use crate::alpc::group::{Fx, GroupCell, GroupRef};
use crate::alpc::section::{Limits, PortViews};
use crate::alpc::security::PortSecurity;
use crate::alpc::view::View;
use crate::ke::event::Signal;
use crate::kref::Ref;
use crate::ob::Header;
use crate::quota::QuotaBlock;
use crate::sync::{Lock, rank};
use crate::trace;
use abi::NtStatus;
use abi::alpc::{
    ALPC_MAX_ALLOWED_MESSAGE_LENGTH, ALPC_PORFLG_WAITABLE_PORT, AlpcPortAttributes, PORT_MESSAGE_SIZE,
};
use abi::ob::ObjectType;
use abi::status::{STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_PARAMETER};
use antares_core::alpc::{ObjectContext, Role};
use antares_core::table::Table;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

static PORTS: Lock<Table<Option<Ref<Port>>, 16, 16>, { rank::IDS }> = Lock::new(Table::wrapping(0));

/// A port object.
pub struct Port {
    /// Object header.
    pub header: Header,
    /// Port id, shown in traces.
    pub id: u32,
    /// What is behind it.
    pub group: GroupRef,
    /// Which kind of port it is.
    pub role: Role,
    /// ALPC_PORFLG_ flags it was made with.
    pub flags: u32,
    /// What it takes of what messages carry.
    pub limits: Limits,
    /// Its sections and views.
    pub views: PortViews,
    /// Direct messages sent on it.
    pub sent: Sent,
    /// Process that made it.
    pub owner: u32,
    /// What it lets its peer have of its maker.
    pub security: Option<Ref<PortSecurity>>,
    /// Waitable ports have one.
    pub signal: Option<Signal>,
    /// Handles that may receive; without one the port is closed.
    pub receivers: AtomicU32,
    max_length: AtomicU32,
    /// The I/O completion object that it posts to.
    pub completion: Lock<Option<Tie>, { rank::PROCESS }>,
    closed: AtomicBool,
}

/// The dispatcher object of a port with these flags.
pub fn new_signal(flags: u32) -> Result<Option<Signal>, NtStatus> {
    if flags & ALPC_PORFLG_WAITABLE_PORT == 0 {
        return Ok(None);
    }
    Signal::new(false, false).map(Some)
}

/// The largest message that a port with these attributes takes. STATUS_INVALID_PARAMETER: not even a header fits.
pub fn max_length(attributes: &AlpcPortAttributes) -> Result<usize, NtStatus> {
    match attributes.max_message_length {
        0 => Ok(ALPC_MAX_ALLOWED_MESSAGE_LENGTH),
        length if length < PORT_MESSAGE_SIZE as u64 => Err(STATUS_INVALID_PARAMETER),
        length => Ok(length.min(ALPC_MAX_ALLOWED_MESSAGE_LENGTH as u64) as usize),
    }
}

/// The most bytes of messages that a port with these attributes lets wait.
fn pool_limit(attributes: &AlpcPortAttributes) -> u64 {
    if attributes.max_pool_usage == 0 { u64::MAX } else { attributes.max_pool_usage }
}

fn reserve_id() -> Result<u32, NtStatus> {
    PORTS.lock().insert(None).map(|key| key as u32).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
}

fn forget_id(id: u32) {
    let old = PORTS.lock().remove(u64::from(id));
    drop(old);
}

impl Port {
    /// A connection port. Its last handle closes it.
    pub fn new_connection(
        quota: &Ref<QuotaBlock>,
        owner: u32,
        attributes: &AlpcPortAttributes,
    ) -> Result<Ref<Self>, NtStatus> {
        let max_length = max_length(attributes)?;
        let signal = new_signal(attributes.flags)?;
        let id = reserve_id()?;
        let cell = GroupCell::new(id, owner, attributes, max_length, signal.as_ref().map(Signal::index));
        let made = Ref::try_new(cell).map(GroupRef);
        let port = made.and_then(|group| {
            let made = Self::make(quota, id, group, Role::Connection, attributes, owner, signal);
            made.map_err(|(status, _)| status)
        });
        if port.is_err() {
            forget_id(id);
        }
        port
    }

    /// A communication port of a connection. On failure the caller closes the connection's side, and only then drops
    /// the signal it gets back, whose number the connection knows.
    pub fn new_communication(
        quota: &Ref<QuotaBlock>,
        group: &GroupRef,
        role: Role,
        attributes: &AlpcPortAttributes,
        owner: u32,
        signal: Option<Signal>,
    ) -> Result<Ref<Self>, (NtStatus, Option<Signal>)> {
        let id = match reserve_id() {
            Ok(id) => id,
            Err(status) => return Err((status, signal)),
        };
        let port = Self::make(quota, id, group.clone(), role, attributes, owner, signal);
        if port.is_err() {
            forget_id(id);
        }
        port
    }

    fn make(
        quota: &Ref<QuotaBlock>,
        id: u32,
        group: GroupRef,
        role: Role,
        attributes: &AlpcPortAttributes,
        owner: u32,
        signal: Option<Signal>,
    ) -> Result<Ref<Self>, (NtStatus, Option<Signal>)> {
        let header = match Header::new(ObjectType::AlpcPort, quota) {
            Ok(header) => header,
            Err(status) => return Err((status, signal)),
        };
        let port = Ref::try_new_or_back(Self {
            header,
            id,
            security: group.sides.get(role),
            group,
            role,
            flags: attributes.flags,
            limits: Limits::default(),
            views: PortViews::default(),
            sent: Sent::new(),
            owner,
            signal,
            receivers: AtomicU32::new(0),
            max_length: AtomicU32::new(0),
            completion: Lock::new(None),
            closed: AtomicBool::new(false),
        });
        let port = port.map_err(|port| (STATUS_INSUFFICIENT_RESOURCES, port.signal))?;
        port.apply(attributes);
        if let Some(slot) = PORTS.lock().get_mut(u64::from(id)) {
            *slot = Some(port.clone());
        }
        Ok(port)
    }

    fn apply(&self, attributes: &AlpcPortAttributes) {
        let longest = max_length(attributes).unwrap_or(ALPC_MAX_ALLOWED_MESSAGE_LENGTH);
        self.max_length.store(longest.min(self.group.max_length) as u32, Ordering::Relaxed);
        self.group.lock().set_pool_limit(self.role, pool_limit(attributes));
        self.limits.set(attributes);
        if self.role == Role::Connection {
            self.group.limits.set(attributes);
        }
    }

    /// Longest message that may be sent through it, header included.
    #[inline]
    pub fn max_length(&self) -> usize {
        self.max_length.load(Ordering::Relaxed) as usize
    }

    /// That length, where it is kept.
    pub const fn longest(&self) -> *const AtomicU32 {
        &raw const self.max_length
    }

    /// Gives it other limits. The flags stay as they are.
    pub fn set_attributes(&self, attributes: &AlpcPortAttributes) -> Result<(), NtStatus> {
        max_length(attributes)?;
        if attributes.flags != self.flags {
            return Err(STATUS_INVALID_PARAMETER);
        }
        self.apply(attributes);
        Ok(())
    }

    /// The last handle that may receive is gone. Done once.
    pub fn close(&self) {
        if self.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut fx = Fx::new(false);
        trace::port_event(abi::trace::TRACE_CLOSE, self, trace::Details::default());
        match self.role {
            Role::Connection => self.group.lock().close_connection_port(&mut fx),
            Role::Server(connection) => self.group.lock().close_server(connection, &mut fx),
            Role::Client(connection) => self.group.lock().close_client(connection, &mut fx),
        }
        drop(fx);
        completion::dissociate(self);
        self.views.close();
        self.sent.clear();
        drop(self.group.sides.remove(self.role));
        drop(self.group.zones.remove(self.role));
        forget_id(self.id);
    }

    /// True from the moment it closes.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A view is gone: the port that owned it, if it is still there, forgets it.
pub fn forget_view(view: &Ref<View>) {
    if let Some(port) = find(view.port) {
        let details = trace::Details::default().detail(view.base());
        trace::port_event(abi::trace::TRACE_UNMAP, &port, details);
        port.views.forget(view);
    }
}

/// A handle's object that a server made for something it owns.
pub struct ServerObject {
    /// Object header.
    pub header: Header,
    /// The server's group.
    pub group: GroupRef,
    /// Context and type; the access is each handle's own.
    pub object: ObjectContext,
    notice: u32,
}

impl ServerObject {
    /// A new object; `notice` is the reserved message that will tell of its last close.
    pub fn new(
        quota: &Ref<QuotaBlock>,
        group: GroupRef,
        object: ObjectContext,
        notice: u32,
    ) -> Result<Ref<Self>, NtStatus> {
        Ref::try_new(Self { header: Header::new(ObjectType::Server, quota)?, group, object, notice })
    }

    /// The last handle is gone.
    pub fn close(&self) {
        self.group.send_notice(self.notice);
    }
}

/// The first port in the list at or after `from`, and where to go on.
pub fn next_port(mut from: u32) -> Option<(Ref<Port>, u32)> {
    let ports = PORTS.lock();
    loop {
        let key = ports.next_key(from)?;
        from = Table::<Option<Ref<Port>>, 16, 16>::index_of(key) + 1;
        if let Some(Some(port)) = ports.get(key) {
            return Some((port.clone(), from));
        }
    }
}

/// Calls `with` on each port, for the debug console; `false` when the list is locked.
pub fn peek_ports(mut with: impl FnMut(&Port)) -> bool {
    let Some(ports) = PORTS.try_lock() else { return false };
    ports.iter().filter_map(|(_, port)| port.as_ref()).for_each(|port| with(port));
    true
}

/// A thread has ended that has taken call backs: whoever still waits for an answer to one learns that none will come.
pub fn thread_gone(thread: u32) {
    let mut from = 0;
    while let Some((port, next)) = next_port(from) {
        if port.role == Role::Connection {
            port.group.lock().thread_gone(thread, &mut Fx::new(false));
        }
        from = next;
    }
}

/// The port with an id.
pub fn find(id: u32) -> Option<Ref<Port>> {
    PORTS.lock().get(u64::from(id))?.clone()
}
