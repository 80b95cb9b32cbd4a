//! What a token says of its holder, and the rules of handing tokens on.
//!
//! An [`Identity`] (user, groups, integrity level) never changes once it is made, so tokens share it; [`Privileges`] are
//! each token's own. The rules: which tokens may be made from which ([`may_duplicate`]), what a client may let a server
//! have ([`may_capture`]), and at what level a server may then act as its client ([`impersonation_level`]). The kernel's
//! `se` module owns the token objects.

use crate::{NoMemory, try_push};
use abi::se::*;
use abi::status::*;
use alloc::vec::Vec;

/// Most groups of a token.
pub const MAX_GROUPS: usize = 128;

/// SECURITY_IMPERSONATION_LEVEL.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    /// Nothing can be learnt of the client.
    Anonymous = 0,
    /// The client is known.
    Identification = 1,
    /// The server may act as the client.
    Impersonation = 2,
    /// And on other systems.
    Delegation = 3,
}

impl Level {
    /// The level with NT's number; STATUS_BAD_IMPERSONATION_LEVEL for any other number.
    pub const fn from_number(number: u32) -> Result<Self, NtStatus> {
        Ok(match number {
            SECURITY_ANONYMOUS => Self::Anonymous,
            SECURITY_IDENTIFICATION => Self::Identification,
            SECURITY_IMPERSONATION => Self::Impersonation,
            SECURITY_DELEGATION => Self::Delegation,
            _ => return Err(STATUS_BAD_IMPERSONATION_LEVEL),
        })
    }
}

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A process's token.
    Primary,
    /// A thread's token.
    Impersonation(Level),
}

impl Kind {
    /// From TOKEN_TYPE and level.
    pub fn from_numbers(token_type: u32, level: u32) -> Result<Self, NtStatus> {
        match token_type {
            TOKEN_PRIMARY => Ok(Self::Primary),
            TOKEN_IMPERSONATION => Level::from_number(level).map(Self::Impersonation),
            _ => Err(STATUS_BAD_TOKEN_TYPE),
        }
    }

    /// TOKEN_TYPE.
    pub const fn token_type(self) -> u32 {
        match self {
            Self::Primary => TOKEN_PRIMARY,
            Self::Impersonation(_) => TOKEN_IMPERSONATION,
        }
    }

    /// The level; a primary token's holder can do all it says.
    pub const fn level(self) -> Option<Level> {
        match self {
            Self::Primary => None,
            Self::Impersonation(level) => Some(level),
        }
    }
}

/// A group with its SE_GROUP_ attributes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Group {
    /// The group.
    pub sid: Sid,
    /// SE_GROUP_ bits.
    pub attributes: u32,
}

/// Who somebody is.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: Sid,
    /// Groups, the mandatory label included.
    pub groups: Vec<Group>,
    /// Who owns what the holder makes.
    pub owner: Sid,
    /// Primary group.
    pub primary_group: Sid,
    /// Integrity level.
    pub integrity: u32,
    /// Logon session.
    pub authentication_id: u64,
    /// Terminal session.
    pub session: u32,
    /// Who made the token.
    pub source: TokenSource,
    /// Expiration as given.
    pub expiration: i64,
}

impl Identity {
    /// A checked identity. `owner` defaults to the user.
    ///
    /// # Errors
    /// STATUS_INVALID_PARAMETER (unknown group attributes, two labels, too many groups), STATUS_INVALID_OWNER,
    /// STATUS_INVALID_PRIMARY_GROUP.
    pub fn new(
        user: Sid,
        mut groups: Vec<Group>,
        owner: Option<Sid>,
        primary_group: Sid,
        authentication_id: u64,
    ) -> Result<Self, NtStatus> {
        if groups.len() > MAX_GROUPS {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let mut integrity = None;
        for group in &mut groups {
            if group.attributes & !SE_GROUP_VALID != 0 {
                return Err(STATUS_INVALID_PARAMETER);
            }
            if group.attributes & SE_GROUP_MANDATORY != 0 {
                group.attributes |= SE_GROUP_ENABLED | SE_GROUP_ENABLED_BY_DEFAULT;
            }
            if group.attributes & SE_GROUP_INTEGRITY != 0 {
                let level = group.sid.integrity_level().filter(|_| integrity.is_none());
                integrity = Some(level.ok_or(STATUS_INVALID_PARAMETER)?);
            }
        }
        let owns = |sid: &Sid| groups.iter().any(|g| g.sid == *sid && g.attributes & SE_GROUP_OWNER != 0);
        if owner.is_some_and(|owner| owner != user && !owns(&owner)) {
            return Err(STATUS_INVALID_OWNER);
        }
        if primary_group != user && !groups.iter().any(|g| g.sid == primary_group) {
            return Err(STATUS_INVALID_PRIMARY_GROUP);
        }
        Ok(Self {
            user,
            groups,
            owner: owner.unwrap_or(user),
            primary_group,
            integrity: integrity.unwrap_or(INTEGRITY_MEDIUM),
            authentication_id,
            session: 0,
            source: TokenSource::default(),
            expiration: i64::MAX,
        })
    }

    /// The system's identity: S-1-5-18.
    pub fn system() -> Result<Self, NtStatus> {
        const HELD: u32 = SE_GROUP_ENABLED | SE_GROUP_ENABLED_BY_DEFAULT;
        let groups = [
            (SID_ADMINISTRATORS, HELD | SE_GROUP_OWNER),
            (SID_EVERYONE, HELD | SE_GROUP_MANDATORY),
            (SID_AUTHENTICATED_USERS, HELD | SE_GROUP_MANDATORY),
            (Sid::integrity(INTEGRITY_SYSTEM), SE_GROUP_INTEGRITY | SE_GROUP_INTEGRITY_ENABLED),
        ];
        let owner = Some(SID_ADMINISTRATORS);
        let identity = Self::new(SID_LOCAL_SYSTEM, list(&groups)?, owner, SID_LOCAL_SYSTEM, SYSTEM_LUID)?;
        Ok(Self { source: TokenSource { source_name: *b"*SYSTEM*", ..TokenSource::default() }, ..identity })
    }

    /// The anonymous logon's identity: S-1-5-7.
    pub fn anonymous() -> Result<Self, NtStatus> {
        let groups = [(Sid::integrity(INTEGRITY_UNTRUSTED), SE_GROUP_INTEGRITY | SE_GROUP_INTEGRITY_ENABLED)];
        Self::new(SID_ANONYMOUS, list(&groups)?, None, SID_ANONYMOUS, ANONYMOUS_LOGON_LUID)
    }

    /// True when something in it is disabled, so that [`Identity::effective`] is less.
    pub fn has_disabled(&self) -> bool {
        self.groups.iter().any(|group| !is_effective(group))
    }

    /// The same without disabled groups.
    pub fn effective(&self) -> Result<Self, NtStatus> {
        let mut groups = Vec::new();
        for group in self.groups.iter().filter(|group| is_effective(group)) {
            try_push(&mut groups, *group).map_err(|NoMemory| STATUS_INSUFFICIENT_RESOURCES)?;
        }
        Ok(Self { groups, ..*self })
    }

    /// True when the holder is this SID, or in this group; `deny`: for a denial.
    pub fn is(&self, sid: &Sid, deny: bool) -> bool {
        let counts = |group: &&Group| {
            let has = |bit| group.attributes & bit != 0;
            let enabled = if has(SE_GROUP_USE_FOR_DENY_ONLY) { deny } else { has(SE_GROUP_ENABLED) };
            enabled && !has(SE_GROUP_INTEGRITY)
        };
        self.user == *sid || self.groups.iter().filter(counts).any(|group| group.sid == *sid)
    }

    /// Bytes of kernel memory behind it.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.groups.capacity() * size_of::<Group>()
    }
}

fn is_effective(group: &Group) -> bool {
    group.attributes & (SE_GROUP_ENABLED | SE_GROUP_INTEGRITY | SE_GROUP_USE_FOR_DENY_ONLY) != 0
}

fn list(groups: &[(Sid, u32)]) -> Result<Vec<Group>, NtStatus> {
    let mut list = Vec::new();
    for (sid, attributes) in groups {
        let group = Group { sid: *sid, attributes: *attributes };
        try_push(&mut list, group).map_err(|NoMemory| STATUS_INSUFFICIENT_RESOURCES)?;
    }
    Ok(list)
}

/// A token's privileges as bit sets by LUID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Privileges {
    present: u64,
    enabled: u64,
    default: u64,
}

const ALL_PRIVILEGES: u64 =
    (1 << (SE_DELEGATE_SESSION_USER_IMPERSONATE_PRIVILEGE + 1)) - (1 << SE_CREATE_TOKEN_PRIVILEGE);

/// The bit of a privilege, if there is such a privilege.
fn bit(luid: u64) -> Option<u64> {
    (luid < 64).then(|| 1 << luid).filter(|bit| bit & ALL_PRIVILEGES != 0)
}

/// Outcome of [`Privileges::adjust`] for one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Adjusted {
    /// Nothing changed.
    Same,
    /// It changed; these were the attributes.
    Was(u32),
    /// The token does not have it.
    Missing,
}

impl Privileges {
    /// The system's: all, those enabled that NT enables.
    pub fn system() -> Self {
        const DISABLED: [u32; 13] = [
            SE_CREATE_TOKEN_PRIVILEGE,
            SE_ASSIGNPRIMARYTOKEN_PRIVILEGE,
            SE_INCREASE_QUOTA_PRIVILEGE,
            SE_SECURITY_PRIVILEGE,
            SE_TAKE_OWNERSHIP_PRIVILEGE,
            SE_LOAD_DRIVER_PRIVILEGE,
            SE_SYSTEMTIME_PRIVILEGE,
            SE_BACKUP_PRIVILEGE,
            SE_RESTORE_PRIVILEGE,
            SE_SHUTDOWN_PRIVILEGE,
            SE_SYSTEM_ENVIRONMENT_PRIVILEGE,
            SE_UNDOCK_PRIVILEGE,
            SE_MANAGE_VOLUME_PRIVILEGE,
        ];
        let enabled = DISABLED.iter().fold(ALL_PRIVILEGES, |set, number| set & !(1 << number));
        Self { present: ALL_PRIVILEGES, enabled, default: enabled }
    }

    /// Adds a privilege to a set in the making. STATUS_NO_SUCH_PRIVILEGE for an unknown one, STATUS_INVALID_PARAMETER for
    /// unknown attributes.
    pub fn add(&mut self, luid: u64, attributes: u32) -> Result<(), NtStatus> {
        let bit = bit(luid).ok_or(STATUS_NO_SUCH_PRIVILEGE)?;
        if attributes & !(SE_PRIVILEGE_ENABLED | SE_PRIVILEGE_ENABLED_BY_DEFAULT) != 0 {
            return Err(STATUS_INVALID_PARAMETER);
        }
        self.present |= bit;
        if attributes & SE_PRIVILEGE_ENABLED != 0 {
            self.enabled |= bit;
        }
        if attributes & SE_PRIVILEGE_ENABLED_BY_DEFAULT != 0 {
            self.default |= bit;
        }
        Ok(())
    }

    /// True when a privilege is there and enabled.
    pub fn holds(&self, privilege: u32) -> bool {
        bit(u64::from(privilege)).is_some_and(|bit| self.enabled & bit != 0)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.present.count_ones() as usize
    }

    /// LUID and attributes of each.
    pub fn iter(&self) -> impl Iterator<Item = LuidAndAttributes> + use<> {
        let this = *self;
        (0..64).filter(move |luid| this.present & 1 << luid != 0).map(move |luid| LuidAndAttributes {
            luid: Luid::from_u64(luid),
            attributes: this.attributes(1 << luid),
        })
    }

    fn attributes(&self, bit: u64) -> u32 {
        let enabled = if self.enabled & bit != 0 { SE_PRIVILEGE_ENABLED } else { 0 };
        enabled | if self.default & bit != 0 { SE_PRIVILEGE_ENABLED_BY_DEFAULT } else { 0 }
    }

    /// Enables, disables or removes one, as SE_PRIVILEGE_ `attributes` say.
    pub fn adjust(&mut self, luid: u64, attributes: u32) -> Adjusted {
        let Some(bit) = bit(luid).filter(|bit| self.present & bit != 0) else { return Adjusted::Missing };
        let before = *self;
        if attributes & SE_PRIVILEGE_REMOVED != 0 {
            self.present &= !bit;
            self.enabled &= !bit;
            self.default &= !bit;
        } else if attributes & SE_PRIVILEGE_ENABLED != 0 {
            self.enabled |= bit;
        } else {
            self.enabled &= !bit;
        }
        if *self == before { Adjusted::Same } else { Adjusted::Was(before.attributes(bit)) }
    }

    /// The same with nothing enabled.
    pub const fn none_enabled(self) -> Self {
        Self { enabled: 0, ..self }
    }

    /// The same without what is disabled.
    pub const fn effective(self) -> Self {
        Self { present: self.enabled, ..self }
    }
}

/// Whether a token may be made from one of another kind: an impersonation token gives at most its own level, and a
/// primary token only from the level on that lets the server act as the client.
pub fn may_duplicate(from: Kind, to: Kind) -> Result<(), NtStatus> {
    let allowed = match (from.level(), to) {
        (None, _) => true,
        (Some(level), Kind::Primary) => level >= Level::Impersonation,
        (Some(level), Kind::Impersonation(wanted)) => wanted <= level,
    };
    if allowed { Ok(()) } else { Err(STATUS_BAD_IMPERSONATION_LEVEL) }
}

/// Whether a client may let a server have its identity at a level. A client that itself impersonates (`own`) must be able to
/// act as *its* client, and gives at most the level it has.
pub fn may_capture(own: Option<Level>, wanted: Level) -> Result<(), NtStatus> {
    match own {
        Some(own) if own < Level::Impersonation || wanted > own => Err(STATUS_BAD_IMPERSONATION_LEVEL),
        _ => Ok(()),
    }
}

/// The level at which a process may impersonate with a token of another's: as given when it has SeImpersonatePrivilege, or
/// is the same user at no lower integrity; else no more than SecurityIdentification.
pub fn impersonation_level(
    server: &Identity,
    privileges: &Privileges,
    client: &Identity,
    level: Level,
) -> Level {
    let trusted = privileges.holds(SE_IMPERSONATE_PRIVILEGE)
        || (server.user == client.user && client.integrity <= server.integrity);
    if trusted { level } else { level.min(Level::Identification) }
}

#[cfg(test)]
mod tests;
