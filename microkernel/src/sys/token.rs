//! Tokens: open, duplicate, query, adjust, create.
#![expect(non_snake_case, reason = "handlers and their arguments have NT's names")]
#![expect(clippy::too_many_arguments, reason = "NT's parameter lists")]

use super::process::open;
use super::{OK, SysResult, new_handle, process_of, thread_of, user};
use crate::ke::sched;
use crate::kref::Ref;
use crate::ob::Object;
use crate::ps::thread::Thread;
use crate::quota::{Charge, Kind as Quota};
use crate::se::Subject;
use crate::se::impersonation::Impersonation;
use crate::se::token::{Token, new_luid};
use abi::NtStatus;
use abi::arg::{Handle, In, Out, Pod, Req};
use abi::ob::*;
use abi::se::*;
use abi::status::*;
use alloc::vec::Vec;
use antares_core::se::token::{Adjusted, Group, Identity, Kind, Level, MAX_GROUPS};
use zerocopy::IntoBytes;

/// What the pseudo handles for tokens grant.
const PSEUDO_ACCESS: u32 = TOKEN_QUERY | TOKEN_QUERY_SOURCE;
/// Most privileges that a call takes.
const MAX_PRIVILEGES: u32 = 64;

/// A token as a query sees it.
struct View {
    token: Ref<Token>,
    kind: Kind,
}

impl View {
    fn of(token: Ref<Token>) -> Self {
        Self { kind: token.kind, token }
    }

    fn impersonated(impersonation: Impersonation) -> Self {
        Self { token: impersonation.token, kind: Kind::Impersonation(impersonation.level) }
    }
}

/// The token behind a handle, or a pseudo handle, that grants `access`.
fn token_of(handle: Handle, access: u32) -> Result<View, NtStatus> {
    let thread = sched::current();
    let impersonated = || match thread.impersonation.get() {
        Some(held) if held.level == Level::Anonymous => Err(STATUS_CANT_OPEN_ANONYMOUS),
        held => Ok(held.map(View::impersonated)),
    };
    let view = match handle {
        Handle::CURRENT_PROCESS_TOKEN => View::of(thread.process.token()),
        Handle::CURRENT_THREAD_TOKEN => impersonated()?.ok_or(STATUS_NO_TOKEN)?,
        Handle::CURRENT_EFFECTIVE_TOKEN => {
            impersonated()?.unwrap_or_else(|| View::of(thread.process.token()))
        }
        _ => return thread.process.handles.get(handle, access).map(|(token, _)| View::of(token)),
    };
    if access & !PSEUDO_ACCESS != 0 { Err(STATUS_ACCESS_DENIED) } else { Ok(view) }
}

/// What a thread will impersonate that is given a token by handle; nothing for the null handle.
pub fn assigned(thread: &Thread, handle: u64) -> Result<Option<Impersonation>, NtStatus> {
    if handle == 0 {
        return Ok(None);
    }
    let (token, _): (Ref<Token>, u32) =
        sched::current().process.handles.get(Handle(handle), TOKEN_IMPERSONATE)?;
    let Kind::Impersonation(level) = token.kind else { return Err(STATUS_BAD_TOKEN_TYPE) };
    let given = Impersonation { token, level, effective_only: false, copy_on_open: false };
    Ok(Some(given.lowered_for(&thread.process.token())))
}

pub fn NtOpenProcessToken(
    ProcessHandle: Req<{ ty::PROCESS }, PROCESS_QUERY_LIMITED_INFORMATION>,
    DesiredAccess: u32,
    TokenHandle: Out<Handle>,
) -> SysResult {
    NtOpenProcessTokenEx(ProcessHandle, DesiredAccess, 0, TokenHandle)
}

pub fn NtOpenProcessTokenEx(
    ProcessHandle: Req<{ ty::PROCESS }, PROCESS_QUERY_LIMITED_INFORMATION>,
    DesiredAccess: u32,
    HandleAttributes: u32,
    TokenHandle: Out<Handle>,
) -> SysResult {
    let process = process_of(ProcessHandle.0, PROCESS_QUERY_LIMITED_INFORMATION)?;
    let token = process.token();
    let most = Subject::current().token_access(&token)?;
    open(Object::Token(token), DesiredAccess, most, HandleAttributes, TokenHandle)
}

pub fn NtOpenThreadToken(
    ThreadHandle: Req<{ ty::THREAD }, THREAD_QUERY_LIMITED_INFORMATION>,
    DesiredAccess: u32,
    OpenAsSelf: bool,
    TokenHandle: Out<Handle>,
) -> SysResult {
    NtOpenThreadTokenEx(ThreadHandle, DesiredAccess, OpenAsSelf, 0, TokenHandle)
}

pub fn NtOpenThreadTokenEx(
    ThreadHandle: Req<{ ty::THREAD }, THREAD_QUERY_LIMITED_INFORMATION>,
    DesiredAccess: u32,
    OpenAsSelf: bool,
    HandleAttributes: u32,
    TokenHandle: Out<Handle>,
) -> SysResult {
    let thread = thread_of(ThreadHandle.0, THREAD_QUERY_LIMITED_INFORMATION)?;
    let held = thread.impersonation.get().ok_or(STATUS_NO_TOKEN)?;
    if held.level == Level::Anonymous {
        return Err(STATUS_CANT_OPEN_ANONYMOUS);
    }
    let subject = if OpenAsSelf { Subject::process() } else { Subject::current() };
    let most = subject.token_access(&held.token)?;
    let lowered = held.token.kind != Kind::Impersonation(held.level);
    let token =
        if held.copy_on_open || lowered { held.copy(&sched::current().process.quota())? } else { held.token };
    open(Object::Token(token), DesiredAccess, most, HandleAttributes, TokenHandle)
}

/// The level that OBJECT_ATTRIBUTES ask for by a quality of service: SecurityAnonymous without one.
fn level_in(attributes: In<ObjectAttributes>) -> Result<(u32, Level), NtStatus> {
    if attributes.is_null() {
        return Ok((0, Level::Anonymous));
    }
    let value = user::object_attributes(attributes)?;
    if !value.root_directory.is_null() {
        return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
    }
    if value.security_quality_of_service == 0 {
        return Ok((value.attributes, Level::Anonymous));
    }
    let qos: SecurityQualityOfService = user::read(In::at(value.security_quality_of_service))?;
    if qos.length as usize != size_of::<SecurityQualityOfService>() {
        return Err(STATUS_INVALID_PARAMETER);
    }
    Ok((value.attributes, Level::from_number(qos.impersonation_level)?))
}

pub fn NtDuplicateToken(
    ExistingTokenHandle: Req<{ ty::TOKEN }, TOKEN_DUPLICATE>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
    EffectiveOnly: bool,
    TokenType: u32,
    NewTokenHandle: Out<Handle>,
) -> SysResult {
    let process = &sched::current().process;
    let (token, granted): (Ref<Token>, u32) = process.handles.get(ExistingTokenHandle.0, TOKEN_DUPLICATE)?;
    let (attributes, level) = level_in(ObjectAttributes)?;
    let kind = Kind::from_numbers(TokenType, level as u32)?;
    let made = token.duplicate(&process.quota(), token.kind, kind, EffectiveOnly)?;
    let access = if DesiredAccess == 0 { granted } else { DesiredAccess };
    new_handle(Object::Token(made), access, attributes, NewTokenHandle)
}

/// Bytes of an answer, with pointers to what lies behind.
struct Answer {
    bytes: Vec<u8>,
    base: u64,
}

impl Answer {
    fn new(base: u64, room: usize) -> Result<Self, NtStatus> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(room).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(Self { bytes, base })
    }

    fn put<T: Pod>(&mut self, value: &T) {
        self.bytes.extend_from_slice(value.as_bytes());
    }

    /// SID_AND_ATTRIBUTES of each, then the SIDs.
    fn sids(&mut self, sids: impl ExactSizeIterator<Item = Group> + Clone) {
        let mut at =
            self.base.wrapping_add((self.bytes.len() + sids.len() * size_of::<SidAndAttributes>()) as u64);
        for group in sids.clone() {
            self.put(&SidAndAttributes { sid: at, attributes: group.attributes, reserved: 0 });
            at = at.wrapping_add(group.sid.length() as u64);
        }
        for group in sids {
            self.bytes.extend_from_slice(group.sid.bytes());
        }
    }

    /// The address of a SID, then the SID.
    fn sid(&mut self, sid: &Sid) {
        self.put(&self.base.wrapping_add(8));
        self.bytes.extend_from_slice(sid.bytes());
    }
}

fn statistics(view: &View) -> TokenStatistics {
    let (token, identity) = (&view.token, view.token.identity());
    let expiration = identity.expiration as u64;
    TokenStatistics {
        token_id: Luid::from_u64(token.id),
        authentication_id: Luid::from_u64(identity.authentication_id),
        expiration_time: [expiration as u32, (expiration >> 32) as u32],
        token_type: view.kind.token_type(),
        impersonation_level: view.kind.level().map_or(0, |level| level as u32),
        dynamic_charged: (token.header.charged() as usize + identity.bytes()) as u32,
        dynamic_available: 0,
        group_count: identity.groups.len() as u32,
        privilege_count: token.privileges().count() as u32,
        modified_id: Luid::from_u64(token.modified_id()),
    }
}

fn describe(view: &View, class: u32, base: u64) -> Result<Vec<u8>, NtStatus> {
    let identity = view.token.identity();
    // Enough for every class: no answer grows while it is written.
    let room = (identity.groups.len() + 1) * (size_of::<SidAndAttributes>() + size_of::<Sid>());
    let mut answer = Answer::new(base, room.max(1024))?;
    match class {
        TOKEN_USER_CLASS => answer.sids([Group { sid: identity.user, attributes: 0 }].into_iter()),
        TOKEN_GROUPS_CLASS => {
            answer.put(&TokenGroups { group_count: identity.groups.len() as u32, reserved: 0 });
            answer.sids(identity.groups.iter().copied());
        }
        TOKEN_PRIVILEGES_CLASS => {
            let privileges = view.token.privileges();
            answer.put(&(privileges.count() as u32));
            privileges.iter().for_each(|privilege| answer.put(&privilege));
        }
        TOKEN_OWNER_CLASS => answer.sid(&identity.owner),
        TOKEN_PRIMARY_GROUP_CLASS => answer.sid(&identity.primary_group),
        TOKEN_SOURCE_CLASS => answer.put(&identity.source),
        TOKEN_TYPE_CLASS => answer.put(&view.kind.token_type()),
        TOKEN_IMPERSONATION_LEVEL_CLASS => {
            answer.put(&(view.kind.level().ok_or(STATUS_INVALID_INFO_CLASS)? as u32));
        }
        TOKEN_STATISTICS_CLASS => answer.put(&statistics(view)),
        TOKEN_RESTRICTED_SIDS_CLASS => answer.put(&TokenGroups::default()),
        TOKEN_SESSION_ID_CLASS => answer.put(&identity.session),
        TOKEN_HAS_RESTRICTIONS_CLASS => answer.put(&0u32),
        TOKEN_INTEGRITY_LEVEL_CLASS => {
            let attributes = SE_GROUP_INTEGRITY | SE_GROUP_INTEGRITY_ENABLED;
            answer.sids([Group { sid: Sid::integrity(identity.integrity), attributes }].into_iter());
        }
        _ => return Err(STATUS_INVALID_INFO_CLASS),
    }
    Ok(answer.bytes)
}

pub fn NtQueryInformationToken(
    TokenHandle: Req<{ ty::TOKEN }, TOKEN_QUERY>,
    TokenInformationClass: u32,
    TokenInformation: Out<u8>,
    TokenInformationLength: u32,
    ReturnLength: Out<u32>,
) -> SysResult {
    let access = if TokenInformationClass == TOKEN_SOURCE_CLASS { TOKEN_QUERY_SOURCE } else { TOKEN_QUERY };
    let view = token_of(TokenHandle.0, access)?;
    let bytes = describe(&view, TokenInformationClass, TokenInformation.address())?;
    user::write_opt(ReturnLength, &(bytes.len() as u32))?;
    if (TokenInformationLength as usize) < bytes.len() {
        return Err(STATUS_BUFFER_TOO_SMALL);
    }
    user::write_bytes(TokenInformation.address(), &bytes)?;
    OK
}

/// Reads TOKEN_PRIVILEGES.
fn read_privileges(from: In<u32>) -> Result<heapless::Vec<LuidAndAttributes, 64>, NtStatus> {
    let count = user::read(from)?;
    if count > MAX_PRIVILEGES {
        return Err(STATUS_INVALID_PARAMETER);
    }
    let mut list = heapless::Vec::new();
    let mut bytes = [0; MAX_PRIVILEGES as usize * size_of::<LuidAndAttributes>()];
    let bytes = &mut bytes[..count as usize * size_of::<LuidAndAttributes>()];
    user::read_bytes(from.address().wrapping_add(4), bytes)?;
    for entry in bytes.chunks_exact(size_of::<LuidAndAttributes>()) {
        if let Ok(entry) = zerocopy::FromBytes::read_from_bytes(entry) {
            // There is room: the count was checked.
            let _ = list.push(entry);
        }
    }
    Ok(list)
}

pub fn NtAdjustPrivilegesToken(
    TokenHandle: Req<{ ty::TOKEN }, TOKEN_ADJUST_PRIVILEGES>,
    DisableAllPrivileges: bool,
    NewState: In<u32>,
    BufferLength: u32,
    PreviousState: Out<u32>,
    ReturnLength: Out<u32>,
) -> SysResult {
    let needs = TOKEN_ADJUST_PRIVILEGES | if PreviousState.is_null() { 0 } else { TOKEN_QUERY };
    let (token, _): (Ref<Token>, u32) = sched::current().process.handles.get(TokenHandle.0, needs)?;
    let wanted = if DisableAllPrivileges {
        token.privileges().iter().map(|p| LuidAndAttributes { attributes: 0, ..p }).collect()
    } else if NewState.is_null() {
        return Err(STATUS_INVALID_PARAMETER);
    } else {
        read_privileges(NewState)?
    };
    let mut previous = heapless::Vec::<LuidAndAttributes, 64>::new();
    let room = if PreviousState.is_null() { usize::MAX } else { BufferLength as usize };
    let mut needed = 0;
    let mut all = true;
    token.change_privileges(|privileges| {
        let mut next = *privileges;
        for wanted in &wanted {
            match next.adjust(wanted.luid.to_u64(), wanted.attributes) {
                Adjusted::Same => {}
                Adjusted::Missing => all = false,
                // At most one of each entry, so there is room.
                Adjusted::Was(attributes) => drop(previous.push(LuidAndAttributes { attributes, ..*wanted })),
            }
        }
        needed = 4 + previous.len() * size_of::<LuidAndAttributes>();
        let changes = needed <= room && next != *privileges;
        if changes {
            *privileges = next;
        }
        changes
    });
    if !PreviousState.is_null() {
        user::write_opt(ReturnLength, &(needed as u32))?;
        if needed > room {
            return Err(STATUS_BUFFER_TOO_SMALL);
        }
        user::write(PreviousState, &(previous.len() as u32))?;
        user::write_bytes(PreviousState.address().wrapping_add(4), previous.as_bytes())?;
    }
    Ok(if all { STATUS_SUCCESS } else { STATUS_NOT_ALL_ASSIGNED })
}

pub fn NtAllocateLocallyUniqueId(Luid: Out<Luid>) -> SysResult {
    user::write(Luid, &abi::se::Luid::from_u64(new_luid()))?;
    OK
}

pub fn NtxCreateToken(
    TokenHandle: Out<Handle>,
    DesiredAccess: u32,
    ObjectAttributes: In<ObjectAttributes>,
    TokenType: u32,
    AuthenticationId: In<Luid>,
    ExpirationTime: In<i64>,
    User: In<SidAndAttributes>,
    Groups: In<TokenGroups>,
    Privileges: In<u32>,
    Defaults: In<TokenDefaults>,
    Source: In<TokenSource>,
) -> SysResult {
    if !Subject::current().holds(SE_CREATE_TOKEN_PRIVILEGE) {
        return Err(STATUS_PRIVILEGE_NOT_HELD);
    }
    let (attributes, level) = level_in(ObjectAttributes)?;
    let kind = Kind::from_numbers(TokenType, level as u32)?;
    let authentication_id = user::read(AuthenticationId)?.to_u64();
    let user_sid = user::sid(user::read(User)?.sid)?;
    let quota = sched::current().process.quota();
    let count = user::read(Groups)?.group_count as usize;
    if count > MAX_GROUPS {
        return Err(STATUS_INVALID_PARAMETER);
    }
    // Until the token has been made, which charges for what it keeps.
    let _charge = Charge::new(&quota, Quota::Pool, (count * size_of::<Group>()) as u64)?;
    let mut groups = Vec::new();
    groups.try_reserve_exact(count).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
    let mut at = Groups.address().wrapping_add(size_of::<TokenGroups>() as u64);
    for _ in 0..count {
        let entry: SidAndAttributes = user::read(In::at(at))?;
        groups.push(Group { sid: user::sid(entry.sid)?, attributes: entry.attributes });
        at = at.wrapping_add(size_of::<SidAndAttributes>() as u64);
    }
    let mut privileges = antares_core::se::token::Privileges::default();
    for entry in read_privileges(Privileges)? {
        privileges.add(entry.luid.to_u64(), entry.attributes)?;
    }
    let defaults = user::read(Defaults)?;
    if defaults.default_dacl != 0 {
        return Err(STATUS_NOT_IMPLEMENTED);
    }
    let owner = if defaults.owner == 0 { None } else { Some(user::sid(defaults.owner)?) };
    let primary_group = user::sid(defaults.primary_group)?;
    let identity = Identity::new(user_sid, groups, owner, primary_group, authentication_id)?;
    let identity =
        Identity { source: user::read(Source)?, expiration: user::read(ExpirationTime)?, ..identity };
    let token = Token::new(&quota, kind, identity, privileges)?;
    new_handle(Object::Token(token), DesiredAccess, attributes, TokenHandle)
}
