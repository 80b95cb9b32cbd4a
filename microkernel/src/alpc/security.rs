//! Whom a message comes from: what a port lets its peer have of its maker's identity, and what each message carries.
//!
//! A communication port made with ALPC_PORFLG_ALLOW_IMPERSONATION has a [`PortSecurity`]: its quality of service and, with
//! static tracking, a snapshot of its maker's token. The group keeps it by connection and side ([`Sides`]), so that the peer
//! finds it. A message carries security of its own ([`MessageSecurity`]) only if it was sent with the SECURITY attribute,
//! with LPC_NO_IMPERSONATE, or by a thread that impersonated and whose port has dynamic tracking. Without that it stands for
//! the snapshot, or for its sender's process; nothing is captured for it, and the fast path can take it.

use crate::alpc::attributes::{Attached, Given, Receiving, Sending};
use crate::alpc::group::GroupCell;
use crate::alpc::message::Body;
use crate::alpc::ops::Via;
use crate::alpc::port::Port;
use crate::ke::sched;
use crate::kref::Ref;
use crate::ps::ids;
use crate::quota::{Charge, Kind as Quota};
use crate::se::Subject;
use crate::se::impersonation::Impersonation;
use crate::se::token::Token;
use crate::sync::{Lock, rank};
use crate::sys::user;
use abi::NtStatus;
use abi::alpc::*;
use abi::arg::{In, Out};
use abi::se::*;
use abi::status::*;
use antares_core::alpc::{Origin, Role, Sender};
use antares_core::se::token::{Kind, Level, may_capture};
use antares_core::table::Table;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A quality of service, checked.
#[derive(Clone, Copy)]
struct Qos {
    level: Level,
    dynamic: bool,
    effective_only: bool,
}

/// Of messages on server objects, which have no port attributes: the server may check what the sender may do, as NT's kernel
/// does for its own objects, but not act for it.
const OBJECT_QOS: Qos = Qos { level: Level::Identification, dynamic: true, effective_only: false };

impl Qos {
    fn new(qos: &SecurityQualityOfService) -> Result<Self, NtStatus> {
        if qos.context_tracking_mode > SECURITY_DYNAMIC_TRACKING || qos.effective_only > 1 {
            return Err(STATUS_INVALID_PARAMETER);
        }
        Ok(Self {
            level: Level::from_number(qos.impersonation_level)?,
            dynamic: qos.context_tracking_mode == SECURITY_DYNAMIC_TRACKING,
            effective_only: qos.effective_only == 1,
        })
    }

    /// A token as it is whenever it is used.
    fn live(&self, token: Ref<Token>, effective_only: bool) -> Impersonation {
        let effective_only = self.effective_only || effective_only;
        Impersonation { token, level: self.level, effective_only, copy_on_open: true }
    }

    /// Whom the current thread acts as, by reference.
    fn capture(&self) -> Result<Impersonation, NtStatus> {
        let subject = Subject::current();
        may_capture(subject.level(), self.level)?;
        Ok(self.live(subject.token().clone(), subject.effective_only()))
    }

    /// The same as a copy: nothing that happens to the token later shows in it.
    fn snapshot(&self) -> Result<Impersonation, NtStatus> {
        let captured = self.capture()?;
        let token = captured.copy(&sched::current().process.quota())?;
        Ok(Impersonation { token, effective_only: false, ..captured })
    }
}

/// A snapshot that messages can name (NtAlpcCreateSecurityContext).
pub struct Context {
    client: Impersonation,
    revoked: AtomicBool,
    handle: AtomicU64,
    _charge: Charge,
}

/// See the module head.
pub struct PortSecurity {
    qos: Qos,
    snapshot: Option<Impersonation>,
    contexts: Lock<Table<Ref<Context>, 16, 32>, { rank::LEAF }>,
    /// Set in the handles of a client's contexts, so that the two sides of a connection never have the same.
    mark: u64,
    _charge: Charge,
}

/// Kernel memory charged for a port's security, and for a context.
const CHARGE: u64 = 256;
/// A context's handle is its table key above this many bits.
const HANDLE_SHIFT: u32 = 3;
const CLIENT_MARK: u64 = 4;

impl PortSecurity {
    /// Each message is for whoever its sender then is, rather than for whoever made the port.
    pub fn is_dynamic(&self) -> bool {
        self.qos.dynamic
    }

    /// For a communication port that the current thread makes; none without ALPC_PORFLG_ALLOW_IMPERSONATION.
    ///
    /// # Errors
    /// STATUS_BAD_IMPERSONATION_LEVEL (an unknown level, or more than the thread itself has of its client),
    /// STATUS_INVALID_PARAMETER.
    pub fn new(attributes: &AlpcPortAttributes, is_client: bool) -> Result<Option<Ref<Self>>, NtStatus> {
        let qos = Qos::new(&attributes.qos())?;
        if attributes.flags & ALPC_PORFLG_ALLOW_IMPERSONATION == 0 {
            return Ok(None);
        }
        let charge = Charge::new(&sched::current().process.quota(), Quota::Pool, CHARGE)?;
        let snapshot = if qos.dynamic { None } else { Some(qos.snapshot()?) };
        let mark = if is_client { CLIENT_MARK } else { 0 };
        let contexts = Lock::new(Table::new());
        Ref::try_new(Self { qos, snapshot, contexts, mark, _charge: charge }).map(Some)
    }

    /// The quality of service at a user address, or the port's for 0.
    fn qos_at(&self, address: u64) -> Result<Qos, NtStatus> {
        if address == 0 { Ok(self.qos) } else { Qos::new(&user::read(In::at(address))?) }
    }

    /// Makes a context of whom the current thread acts as.
    fn create(&self, qos: Qos) -> Result<Ref<Context>, NtStatus> {
        let charge = Charge::new(&sched::current().process.quota(), Quota::Pool, CHARGE)?;
        let context = Ref::try_new(Context {
            client: qos.snapshot()?,
            revoked: AtomicBool::new(false),
            handle: AtomicU64::new(0),
            _charge: charge,
        })?;
        let mut contexts = self.contexts.lock();
        let inserted = contexts.insert(context.clone());
        drop(contexts);
        let key = inserted.map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        context.handle.store(key << HANDLE_SHIFT | self.mark, Ordering::Relaxed);
        Ok(context)
    }

    fn key(&self, handle: u64) -> Option<u64> {
        let low = (1 << HANDLE_SHIFT) - 1;
        (handle & low == self.mark).then_some(handle >> HANDLE_SHIFT)
    }

    /// A context that can be named in a message.
    fn find(&self, handle: u64) -> Result<Ref<Context>, NtStatus> {
        let found = self.key(handle).and_then(|key| self.contexts.lock().get(key).cloned());
        found.filter(|context| !context.is_revoked()).ok_or(STATUS_INVALID_HANDLE)
    }

    fn delete(&self, handle: u64) -> Result<(), NtStatus> {
        let removed = self.key(handle).and_then(|key| self.contexts.lock().remove(key));
        removed.map(drop).ok_or(STATUS_INVALID_HANDLE)
    }
}

impl Context {
    fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }
}

/// A communication port: its connection, and whether it is the client's.
/// Takes the security of a port that is being made out of its group again, unless the port has been made.
pub struct Undo<'a> {
    group: Option<&'a GroupCell>,
    role: Role,
}

impl<'a> Undo<'a> {
    /// For the port with this role.
    pub const fn new(group: &'a GroupCell, role: Role) -> Self {
        Self { group: Some(group), role }
    }

    /// The port takes it out when it closes.
    pub fn keep(mut self) {
        self.group = None;
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            group.sides.remove(self.role);
        }
    }
}

/// What a message carries of its own.
#[derive(Clone)]
pub enum MessageSecurity {
    /// It was sent with LPC_NO_IMPERSONATE.
    Refused,
    /// Whom its sender acted as.
    Captured(Impersonation),
    /// A security context of its sender's port.
    Context(Ref<Context>),
}

impl MessageSecurity {
    /// Flags in the type of the message.
    pub fn type_flags(&self) -> u16 {
        if matches!(self, Self::Refused) { LPC_NO_IMPERSONATE } else { 0 }
    }
}

/// What a new message carries though its sender did not say so by an attribute.
fn implied(via: &Via, message_type: u16) -> Result<Option<MessageSecurity>, NtStatus> {
    if message_type & LPC_NO_IMPERSONATE != 0 {
        return Ok(Some(MessageSecurity::Refused));
    }
    if !sched::current().impersonation.is_active() {
        return Ok(None);
    }
    let qos = match via {
        Via::Port(port) => port.security.as_ref().map(|security| security.qos),
        Via::Object(..) => Some(OBJECT_QOS),
    };
    match qos.filter(|qos| qos.dynamic) {
        Some(qos) => qos.capture().map(MessageSecurity::Captured).map(Some),
        None => Ok(None),
    }
}

/// Gives a new message the security that it carries though its sender did not say so by an attribute.
pub fn imply(via: &Via, header: &PortMessage, body: &mut Body) -> Result<(), NtStatus> {
    match implied(via, header.message_type)? {
        Some(security) => body.imply_security(security),
        None => Ok(()),
    }
}

/// The security of a communication port; STATUS_CANNOT_IMPERSONATE when it lets its peer have none.
fn of_port(port: Option<&Port>) -> Result<&Ref<PortSecurity>, NtStatus> {
    let port = port.filter(|port| port.role != Role::Connection).ok_or(STATUS_INVALID_PARAMETER)?;
    port.security.as_ref().ok_or(STATUS_CANNOT_IMPERSONATE)
}

/// Captures the SECURITY attribute: a new context, one that is there, or whom the thread acts as now.
pub fn capture(sending: &Sending, from: u64, attached: &mut Attached) -> Result<(), NtStatus> {
    let attribute: AlpcSecurityAttr = user::read(In::at(from))?;
    if attribute.flags & !ALPC_SECFLG_CREATE_HANDLE != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let security = of_port(sending.port)?;
    let carried = if attribute.flags & ALPC_SECFLG_CREATE_HANDLE != 0 {
        MessageSecurity::Context(make_context(security, &attribute, from)?)
    } else if attribute.context_handle != 0 {
        MessageSecurity::Context(security.find(attribute.context_handle)?)
    } else {
        MessageSecurity::Captured(security.qos_at(attribute.qos)?.capture()?)
    };
    attached.security = Some(carried);
    Ok(())
}

fn make_context(
    security: &PortSecurity,
    attribute: &AlpcSecurityAttr,
    to: u64,
) -> Result<Ref<Context>, NtStatus> {
    let context = security.create(security.qos_at(attribute.qos)?)?;
    let context_handle = context.handle.load(Ordering::Relaxed);
    if let Err(status) = user::write(Out::at(to), &AlpcSecurityAttr { context_handle, ..*attribute }) {
        // Nobody knows of it.
        let _ = security.delete(context_handle);
        return Err(status);
    }
    Ok(context)
}

/// NtAlpcCreateSecurityContext, with the attribute at a user address.
pub fn create_context(port: &Port, at: u64) -> Result<(), NtStatus> {
    let attribute: AlpcSecurityAttr = user::read(In::at(at))?;
    if attribute.flags & !ALPC_SECFLG_CREATE_HANDLE != 0 {
        return Err(STATUS_INVALID_PARAMETER);
    }
    make_context(of_port(Some(port))?, &attribute, at).map(drop)
}

/// NtAlpcDeleteSecurityContext: messages that carry it already keep it.
pub fn delete_context(port: &Port, handle: u64) -> Result<(), NtStatus> {
    port.security.as_ref().ok_or(STATUS_INVALID_HANDLE)?.delete(handle)
}

/// NtAlpcRevokeSecurityContext, by the port that made it or the one at the other side: nobody can use it any more.
pub fn revoke_context(port: &Port, handle: u64) -> Result<(), NtStatus> {
    let own = port.security.as_ref().and_then(|security| security.find(handle).ok());
    let context = match (own, peer(port.role)) {
        (Some(context), _) => context,
        (None, Some(peer)) => port.group.sides.get(peer).ok_or(STATUS_INVALID_HANDLE)?.find(handle)?,
        (None, None) => return Err(STATUS_INVALID_PORT_HANDLE),
    };
    context.revoked.store(true, Ordering::Release);
    Ok(())
}

/// The other side of a connection.
fn peer(role: Role) -> Option<Role> {
    match role {
        Role::Connection => None,
        Role::Client(connection) => Some(Role::Server(connection)),
        Role::Server(connection) => Some(Role::Client(connection)),
    }
}

fn token_of_process(sender: Sender) -> Result<Ref<Token>, NtStatus> {
    let process = ids::process(u64::from(sender.process)).ok_or(STATUS_NO_IMPERSONATION_TOKEN)?;
    Ok(process.token())
}

/// Whom a message lets its receiver impersonate.
fn client_of(
    group: &GroupCell,
    origin: &Origin,
    own: Option<&MessageSecurity>,
) -> Result<Impersonation, NtStatus> {
    match own {
        Some(MessageSecurity::Refused) => return Err(STATUS_CANNOT_IMPERSONATE),
        Some(MessageSecurity::Captured(client)) => return Ok(client.clone()),
        Some(MessageSecurity::Context(context)) if context.is_revoked() => {
            return Err(STATUS_CANNOT_IMPERSONATE);
        }
        Some(MessageSecurity::Context(context)) => return Ok(context.client.clone()),
        None => {}
    }
    let Some(from) = origin.from else {
        return Ok(OBJECT_QOS.live(token_of_process(origin.sender)?, false));
    };
    let security = group.sides.get(from).ok_or(STATUS_CANNOT_IMPERSONATE)?;
    match &security.snapshot {
        Some(client) => Ok(client.clone()),
        None => Ok(security.qos.live(token_of_process(origin.sender)?, false)),
    }
}

/// The token that says who sent a message: the one that may be impersonated, else that of its sender's process.
fn token_of(
    group: &GroupCell,
    origin: &Origin,
    own: Option<&MessageSecurity>,
) -> Result<Ref<Token>, NtStatus> {
    match client_of(group, origin, own) {
        Ok(client) if client.level == Level::Anonymous => Err(STATUS_BAD_IMPERSONATION_LEVEL),
        Ok(client) => Ok(client.token),
        Err(_) => token_of_process(origin.sender),
    }
}

/// Where a message that was received through a port and is still held comes from, and what it carries.
fn look_up(port: &Port, header: &PortMessage) -> Result<(Origin, Option<MessageSecurity>), NtStatus> {
    let mut group = port.group.lock();
    let (id, callback_id) = (header.message_id, header.callback_id as u32);
    let origin = group.received(port.role, id, callback_id)?;
    let kept = group.kept(port.role, id, callback_id);
    let own = kept.and_then(|body| body.attached()).and_then(|attached| attached.security.clone());
    Ok((origin, own))
}

/// The process and thread that sent a message which was received through a port and is still held.
pub fn sender(port: &Port, header: &PortMessage) -> Result<Sender, NtStatus> {
    look_up(port, header).map(|(origin, _)| origin.sender)
}

/// The token that says who sent a message.
pub fn message_token(port: &Port, header: &PortMessage) -> Result<Ref<Token>, NtStatus> {
    let (origin, own) = look_up(port, header)?;
    token_of(&port.group, &origin, own.as_ref())
}

/// NtAlpcImpersonateClientOfPort: whom the current thread is to act as.
///
/// # Errors
/// STATUS_MESSAGE_NOT_FOUND, STATUS_CANNOT_IMPERSONATE, STATUS_BAD_IMPERSONATION_LEVEL (less than was required),
/// STATUS_PRIVILEGE_NOT_HELD (required to act as the client, and not trusted to), STATUS_NO_IMPERSONATION_TOKEN (the
/// sender has gone).
pub fn impersonate(port: &Port, header: &PortMessage, flags: u64) -> Result<Impersonation, NtStatus> {
    let (origin, own) = look_up(port, header)?;
    let mut client = client_of(&port.group, &origin, own.as_ref())?;
    let process = &sched::current().process;
    if flags & ALPC_IMPERSONATEFLG_ANONYMOUS != 0 {
        let level = Level::Impersonation;
        let token = Token::anonymous(&process.quota(), Kind::Impersonation(level))?;
        client = Impersonation { token, level, effective_only: false, copy_on_open: false };
    }
    let least = Level::from_number((flags >> ALPC_IMPERSONATE_LEVEL_SHIFT) as u32)?;
    let required = flags & ALPC_IMPERSONATEFLG_REQUIRE_IMPERSONATE != 0;
    let least = if required { least.max(Level::Impersonation) } else { least };
    if client.level < least {
        return Err(STATUS_BAD_IMPERSONATION_LEVEL);
    }
    let lowered = client.lowered_for(&process.token());
    if lowered.level < least { Err(STATUS_PRIVILEGE_NOT_HELD) } else { Ok(lowered) }
}

/// The identity of the process at the other side of a connection.
pub fn connected_token(port: &Port) -> Result<Ref<Token>, NtStatus> {
    let facts = port.group.lock().facts(port.role);
    let Some(peer) = peer(port.role) else { return Err(STATUS_INVALID_PORT_HANDLE) };
    if facts.state != 0 {
        return Err(STATUS_PORT_DISCONNECTED);
    }
    if matches!(peer, Role::Server(_)) {
        return Ok(port.group.owner_token.clone());
    }
    let origin = Origin { sender: Sender { process: facts.peer_process, thread: 0 }, from: Some(peer) };
    token_of(&port.group, &origin, None).map_err(|status| match status {
        STATUS_NO_IMPERSONATION_TOKEN => STATUS_PORT_DISCONNECTED,
        other => other,
    })
}

/// Writes the TOKEN attribute: ids of the token that says who sent the message. Answers and notices have none.
pub fn deliver_token(receiving: &mut Receiving, to: u64, _: &mut Given) -> Result<bool, NtStatus> {
    let header = &receiving.mail.header;
    let answers = matches!(header.kind(), LPC_REPLY | LPC_CONNECTION_REPLY | LPC_CANCELED);
    if answers || header.message_type & LPC_KERNELMODE_MESSAGE != 0 {
        return Ok(false);
    }
    let Some(port) = receiving.port else { return Ok(false) };
    let origin = port.group.lock().origin(header.message_id, header.callback_id as u32);
    let Some(origin) = origin else { return Ok(false) };
    let own = receiving.attached.as_ref().and_then(|attached| attached.security.as_ref());
    // A sender that has gone, or shows nothing of itself.
    let Ok(token) = token_of(&port.group, &origin, own) else { return Ok(false) };
    let attribute = AlpcTokenAttr {
        token_id: token.id,
        authentication_id: token.identity().authentication_id,
        modified_id: token.modified_id(),
    };
    user::write(Out::at(to), &attribute)?;
    Ok(true)
}

/// Writes the SECURITY attribute: the handle of the context that the message carries, by which its receiver can revoke it.
pub fn deliver(receiving: &mut Receiving, to: u64, _: &mut Given) -> Result<bool, NtStatus> {
    let own = receiving.attached.as_ref().and_then(|attached| attached.security.as_ref());
    let Some(MessageSecurity::Context(context)) = own else { return Ok(false) };
    let context_handle = context.handle.load(Ordering::Relaxed);
    user::write(Out::at(to), &AlpcSecurityAttr { context_handle, ..AlpcSecurityAttr::default() })?;
    Ok(true)
}
