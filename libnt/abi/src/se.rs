//! Security: SIDs, LUIDs, privileges, tokens and their query classes, security descriptors.
//!
//! Layouts and values: public NT headers (winnt.h, phnt).

use core::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most sub-authorities of a SID.
pub const SID_MAX_SUB_AUTHORITIES: usize = 15;
/// Bytes of a SID before its sub-authorities.
pub const SID_HEAD: usize = 8;
/// SID_REVISION.
pub const SID_REVISION: u8 = 1;

/// A SID with room for the most sub-authorities; those that it does not have are zero, so that equal SIDs compare equal.
/// On the wire it ends after its last sub-authority ([`Sid::length`]).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sid {
    revision: u8,
    count: u8,
    authority: [u8; 6],
    sub_authorities: [u32; SID_MAX_SUB_AUTHORITIES],
}

impl Sid {
    /// `S-1-authority-sub_authorities...`. More than fifteen are cut off.
    pub const fn new(authority: u8, sub_authorities: &[u32]) -> Self {
        let mut sid = Self {
            revision: SID_REVISION,
            count: 0,
            authority: [0, 0, 0, 0, 0, authority],
            sub_authorities: [0; SID_MAX_SUB_AUTHORITIES],
        };
        while (sid.count as usize) < sub_authorities.len() && (sid.count as usize) < SID_MAX_SUB_AUTHORITIES {
            sid.sub_authorities[sid.count as usize] = sub_authorities[sid.count as usize];
            sid.count += 1;
        }
        sid
    }

    /// Bytes of the SID that begins with these, if it can be one (RtlValidSid, RtlLengthSid).
    pub const fn length_of(head: [u8; SID_HEAD]) -> Option<usize> {
        if head[0] != SID_REVISION || head[1] as usize > SID_MAX_SUB_AUTHORITIES {
            return None;
        }
        Some(SID_HEAD + 4 * head[1] as usize)
    }

    /// The SID that these bytes begin with.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let head: [u8; SID_HEAD] = *bytes.first_chunk()?;
        let subs = bytes.get(SID_HEAD..Self::length_of(head)?)?;
        let mut sid = Self::new(0, &[]);
        sid.count = head[1];
        sid.authority.copy_from_slice(&head[2..]);
        for (to, from) in sid.sub_authorities.iter_mut().zip(subs.chunks_exact(4)) {
            *to = u32::from_le_bytes([from[0], from[1], from[2], from[3]]);
        }
        Some(sid)
    }

    /// Bytes on the wire.
    pub const fn length(&self) -> usize {
        SID_HEAD + 4 * self.count as usize
    }

    /// The SID on the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.as_bytes()[..self.length()]
    }

    /// The sub-authorities.
    pub fn sub_authorities(&self) -> &[u32] {
        &self.sub_authorities[..usize::from(self.count)]
    }

    /// The last sub-authority (the RID), if there is one.
    pub fn rid(&self) -> Option<u32> {
        self.sub_authorities().last().copied()
    }

    /// The level that a mandatory label (S-1-16-level) stands for.
    pub fn integrity_level(&self) -> Option<u32> {
        (self.authority == [0, 0, 0, 0, 0, 16] && self.count == 1).then(|| self.sub_authorities[0])
    }

    /// A mandatory label.
    pub const fn integrity(level: u32) -> Self {
        Self::new(16, &[level])
    }

    /// NT's name of a well-known SID.
    pub fn well_known_name(&self) -> Option<&'static str> {
        WELL_KNOWN.iter().find(|(sid, _)| sid == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.authority.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        write!(f, "S-{}-", self.revision)?;
        if authority >> 32 == 0 {
            write!(f, "{authority}")?
        } else {
            write!(f, "0x{authority:012X}")?
        }
        self.sub_authorities().iter().try_for_each(|sub| write!(f, "-{sub}"))
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Default for Sid {
    fn default() -> Self {
        Self::new(0, &[0])
    }
}

/// Everyone, S-1-1-0.
pub const SID_EVERYONE: Sid = Sid::new(1, &[0]);
/// The anonymous logon, S-1-5-7.
pub const SID_ANONYMOUS: Sid = Sid::new(5, &[7]);
/// Everyone who has logged on, S-1-5-11.
pub const SID_AUTHENTICATED_USERS: Sid = Sid::new(5, &[11]);
/// The system itself, S-1-5-18.
pub const SID_LOCAL_SYSTEM: Sid = Sid::new(5, &[18]);
/// LOCAL SERVICE, S-1-5-19.
pub const SID_LOCAL_SERVICE: Sid = Sid::new(5, &[19]);
/// NETWORK SERVICE, S-1-5-20.
pub const SID_NETWORK_SERVICE: Sid = Sid::new(5, &[20]);
/// Administrators, S-1-5-32-544.
pub const SID_ADMINISTRATORS: Sid = Sid::new(5, &[32, 544]);
/// Users, S-1-5-32-545.
pub const SID_USERS: Sid = Sid::new(5, &[32, 545]);

/// Integrity level of the untrusted.
pub const INTEGRITY_UNTRUSTED: u32 = 0;
/// Low integrity.
pub const INTEGRITY_LOW: u32 = 0x1000;
/// Medium integrity: what a token without a label has.
pub const INTEGRITY_MEDIUM: u32 = 0x2000;
/// High integrity.
pub const INTEGRITY_HIGH: u32 = 0x3000;
/// The system's integrity.
pub const INTEGRITY_SYSTEM: u32 = 0x4000;

/// Well-known SIDs by NT's names.
pub const WELL_KNOWN: [(Sid, &str); 13] = [
    (SID_EVERYONE, "Everyone"),
    (SID_ANONYMOUS, "NT AUTHORITY\\ANONYMOUS LOGON"),
    (SID_AUTHENTICATED_USERS, "NT AUTHORITY\\Authenticated Users"),
    (SID_LOCAL_SYSTEM, "NT AUTHORITY\\SYSTEM"),
    (SID_LOCAL_SERVICE, "NT AUTHORITY\\LOCAL SERVICE"),
    (SID_NETWORK_SERVICE, "NT AUTHORITY\\NETWORK SERVICE"),
    (SID_ADMINISTRATORS, "BUILTIN\\Administrators"),
    (SID_USERS, "BUILTIN\\Users"),
    (Sid::integrity(INTEGRITY_UNTRUSTED), "Mandatory Label\\Untrusted Mandatory Level"),
    (Sid::integrity(INTEGRITY_LOW), "Mandatory Label\\Low Mandatory Level"),
    (Sid::integrity(INTEGRITY_MEDIUM), "Mandatory Label\\Medium Mandatory Level"),
    (Sid::integrity(INTEGRITY_HIGH), "Mandatory Label\\High Mandatory Level"),
    (Sid::integrity(INTEGRITY_SYSTEM), "Mandatory Label\\System Mandatory Level"),
];

/// LUID: unique since boot, never 0 as an identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Luid {
    /// Low half.
    pub low_part: u32,
    /// High half.
    pub high_part: i32,
}

impl Luid {
    /// From one number.
    pub const fn from_u64(value: u64) -> Self {
        Self { low_part: value as u32, high_part: (value >> 32) as i32 }
    }

    /// As one number.
    pub const fn to_u64(self) -> u64 {
        (self.high_part as u32 as u64) << 32 | self.low_part as u64
    }
}

/// AuthenticationId of the system's logon session.
pub const SYSTEM_LUID: u64 = 0x3E7;
/// AuthenticationId of the anonymous logon session.
pub const ANONYMOUS_LOGON_LUID: u64 = 0x3E6;
/// First LUID that NtAllocateLocallyUniqueId gives.
pub const FIRST_LUID: u64 = 1001;

/// Token: give it to a process as its primary token.
pub const TOKEN_ASSIGN_PRIMARY: u32 = 0x1;
/// Token: NtDuplicateToken.
pub const TOKEN_DUPLICATE: u32 = 0x2;
/// Token: give it to a thread.
pub const TOKEN_IMPERSONATE: u32 = 0x4;
/// Token: NtQueryInformationToken, all but the source.
pub const TOKEN_QUERY: u32 = 0x8;
/// Token: query its source.
pub const TOKEN_QUERY_SOURCE: u32 = 0x10;
/// Token: NtAdjustPrivilegesToken.
pub const TOKEN_ADJUST_PRIVILEGES: u32 = 0x20;
/// Token: change its groups.
pub const TOKEN_ADJUST_GROUPS: u32 = 0x40;
/// Token: change owner, primary group, default DACL.
pub const TOKEN_ADJUST_DEFAULT: u32 = 0x80;
/// Token: change its session.
pub const TOKEN_ADJUST_SESSIONID: u32 = 0x100;
/// Token: everything.
pub const TOKEN_ALL_ACCESS: u32 = 0xF_01FF;

/// TOKEN_TYPE: a process's token.
pub const TOKEN_PRIMARY: u32 = 1;
/// TOKEN_TYPE: a thread's token.
pub const TOKEN_IMPERSONATION: u32 = 2;

/// SECURITY_IMPERSONATION_LEVEL: the server learns nothing of the client.
pub const SECURITY_ANONYMOUS: u32 = 0;
/// The server learns who the client is, and may check access for it.
pub const SECURITY_IDENTIFICATION: u32 = 1;
/// The server may act as the client.
pub const SECURITY_IMPERSONATION: u32 = 2;
/// The server may act as the client on other systems too.
pub const SECURITY_DELEGATION: u32 = 3;

/// SECURITY_QUALITY_OF_SERVICE tracking mode: the client's token as it is when it connects.
pub const SECURITY_STATIC_TRACKING: u8 = 0;
/// Tracking mode: the client's token as it is at each message.
pub const SECURITY_DYNAMIC_TRACKING: u8 = 1;

/// SECURITY_QUALITY_OF_SERVICE, 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SecurityQualityOfService {
    /// Size of this structure: 12.
    pub length: u32,
    /// SECURITY_ level.
    pub impersonation_level: u32,
    /// SECURITY_STATIC_TRACKING or SECURITY_DYNAMIC_TRACKING.
    pub context_tracking_mode: u8,
    /// 1: the server sees only what is enabled in the client's token.
    pub effective_only: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

impl SecurityQualityOfService {
    /// A quality of service with everything of the token visible.
    pub const fn new(impersonation_level: u32, context_tracking_mode: u8) -> Self {
        Self { length: 12, impersonation_level, context_tracking_mode, effective_only: 0, reserved: [0; 2] }
    }
}

/// SE_GROUP_ attribute: cannot be disabled.
pub const SE_GROUP_MANDATORY: u32 = 0x1;
/// Group: enabled unless told otherwise.
pub const SE_GROUP_ENABLED_BY_DEFAULT: u32 = 0x2;
/// Group: counts in access checks.
pub const SE_GROUP_ENABLED: u32 = 0x4;
/// Group: may own objects.
pub const SE_GROUP_OWNER: u32 = 0x8;
/// Group: counts for denials only.
pub const SE_GROUP_USE_FOR_DENY_ONLY: u32 = 0x10;
/// Group: the mandatory label.
pub const SE_GROUP_INTEGRITY: u32 = 0x20;
/// Group: the mandatory label counts.
pub const SE_GROUP_INTEGRITY_ENABLED: u32 = 0x40;
/// Group: stands for the logon session.
pub const SE_GROUP_LOGON_ID: u32 = 0xC000_0000;
/// Every group attribute.
pub const SE_GROUP_VALID: u32 = 0xE000_007F;

/// SE_PRIVILEGE_ attribute: enabled unless told otherwise.
pub const SE_PRIVILEGE_ENABLED_BY_DEFAULT: u32 = 0x1;
/// Privilege: enabled.
pub const SE_PRIVILEGE_ENABLED: u32 = 0x2;
/// NtAdjustPrivilegesToken: take it out for good.
pub const SE_PRIVILEGE_REMOVED: u32 = 0x4;

macro_rules! privileges {
    ($($number:literal $constant:ident $name:literal $what:literal;)*) => {
        $(
            #[doc = concat!($name, ": ", $what, ".")]
            pub const $constant: u32 = $number;
        )*
        /// Every privilege: LUID, NT's name, what it is for.
        pub const PRIVILEGES: &[(u32, &str, &str)] = &[$(($number, $name, $what)),*];
    };
}

privileges! {
    2 SE_CREATE_TOKEN_PRIVILEGE "SeCreateTokenPrivilege" "Create a token object";
    3 SE_ASSIGNPRIMARYTOKEN_PRIVILEGE "SeAssignPrimaryTokenPrivilege" "Replace a process level token";
    4 SE_LOCK_MEMORY_PRIVILEGE "SeLockMemoryPrivilege" "Lock pages in memory";
    5 SE_INCREASE_QUOTA_PRIVILEGE "SeIncreaseQuotaPrivilege" "Adjust memory quotas for a process";
    6 SE_MACHINE_ACCOUNT_PRIVILEGE "SeMachineAccountPrivilege" "Add workstations to domain";
    7 SE_TCB_PRIVILEGE "SeTcbPrivilege" "Act as part of the operating system";
    8 SE_SECURITY_PRIVILEGE "SeSecurityPrivilege" "Manage auditing and security log";
    9 SE_TAKE_OWNERSHIP_PRIVILEGE "SeTakeOwnershipPrivilege" "Take ownership of files or other objects";
    10 SE_LOAD_DRIVER_PRIVILEGE "SeLoadDriverPrivilege" "Load and unload device drivers";
    11 SE_SYSTEM_PROFILE_PRIVILEGE "SeSystemProfilePrivilege" "Profile system performance";
    12 SE_SYSTEMTIME_PRIVILEGE "SeSystemtimePrivilege" "Change the system time";
    13 SE_PROF_SINGLE_PROCESS_PRIVILEGE "SeProfileSingleProcessPrivilege" "Profile single process";
    14 SE_INC_BASE_PRIORITY_PRIVILEGE "SeIncreaseBasePriorityPrivilege" "Increase scheduling priority";
    15 SE_CREATE_PAGEFILE_PRIVILEGE "SeCreatePagefilePrivilege" "Create a pagefile";
    16 SE_CREATE_PERMANENT_PRIVILEGE "SeCreatePermanentPrivilege" "Create permanent shared objects";
    17 SE_BACKUP_PRIVILEGE "SeBackupPrivilege" "Back up files and directories";
    18 SE_RESTORE_PRIVILEGE "SeRestorePrivilege" "Restore files and directories";
    19 SE_SHUTDOWN_PRIVILEGE "SeShutdownPrivilege" "Shut down the system";
    20 SE_DEBUG_PRIVILEGE "SeDebugPrivilege" "Debug programs";
    21 SE_AUDIT_PRIVILEGE "SeAuditPrivilege" "Generate security audits";
    22 SE_SYSTEM_ENVIRONMENT_PRIVILEGE "SeSystemEnvironmentPrivilege" "Modify firmware environment values";
    23 SE_CHANGE_NOTIFY_PRIVILEGE "SeChangeNotifyPrivilege" "Bypass traverse checking";
    24 SE_REMOTE_SHUTDOWN_PRIVILEGE "SeRemoteShutdownPrivilege" "Force shutdown from a remote system";
    25 SE_UNDOCK_PRIVILEGE "SeUndockPrivilege" "Remove computer from docking station";
    26 SE_SYNC_AGENT_PRIVILEGE "SeSyncAgentPrivilege" "Synchronize directory service data";
    27 SE_ENABLE_DELEGATION_PRIVILEGE "SeEnableDelegationPrivilege" "Enable accounts to be trusted for delegation";
    28 SE_MANAGE_VOLUME_PRIVILEGE "SeManageVolumePrivilege" "Perform volume maintenance tasks";
    29 SE_IMPERSONATE_PRIVILEGE "SeImpersonatePrivilege" "Impersonate a client after authentication";
    30 SE_CREATE_GLOBAL_PRIVILEGE "SeCreateGlobalPrivilege" "Create global objects";
    31 SE_TRUSTED_CREDMAN_ACCESS_PRIVILEGE "SeTrustedCredManAccessPrivilege" "Access Credential Manager as a trusted caller";
    32 SE_RELABEL_PRIVILEGE "SeRelabelPrivilege" "Modify an object label";
    33 SE_INC_WORKING_SET_PRIVILEGE "SeIncreaseWorkingSetPrivilege" "Increase a process working set";
    34 SE_TIME_ZONE_PRIVILEGE "SeTimeZonePrivilege" "Change the time zone";
    35 SE_CREATE_SYMBOLIC_LINK_PRIVILEGE "SeCreateSymbolicLinkPrivilege" "Create symbolic links";
    36 SE_DELEGATE_SESSION_USER_IMPERSONATE_PRIVILEGE "SeDelegateSessionUserImpersonatePrivilege" "Obtain an impersonation token for another user in the same session";
}

/// SID_AND_ATTRIBUTES, 16 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SidAndAttributes {
    /// Address of the SID.
    pub sid: u64,
    /// SE_GROUP_ attributes.
    pub attributes: u32,
    /// Zero.
    pub reserved: u32,
}

/// Head of TOKEN_GROUPS; [`SidAndAttributes`] follow.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TokenGroups {
    /// How many.
    pub group_count: u32,
    /// Zero.
    pub reserved: u32,
}

/// LUID_AND_ATTRIBUTES, 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LuidAndAttributes {
    /// The privilege.
    pub luid: Luid,
    /// SE_PRIVILEGE_ attributes.
    pub attributes: u32,
}

/// TOKEN_SOURCE, 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TokenSource {
    /// Who made it, padded with spaces or zeros.
    pub source_name: [u8; 8],
    /// LUID of its maker's choice.
    pub source_identifier: Luid,
}

/// TOKEN_STATISTICS, 0x38 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TokenStatistics {
    /// This token.
    pub token_id: Luid,
    /// Its logon session.
    pub authentication_id: Luid,
    /// As given when it was made; not enforced, as in NT.
    pub expiration_time: [u32; 2],
    /// TOKEN_PRIMARY or TOKEN_IMPERSONATION.
    pub token_type: u32,
    /// Level of an impersonation token.
    pub impersonation_level: u32,
    /// Kernel memory charged for it.
    pub dynamic_charged: u32,
    /// Zero.
    pub dynamic_available: u32,
    /// Groups.
    pub group_count: u32,
    /// Privileges.
    pub privilege_count: u32,
    /// Changes with the token.
    pub modified_id: Luid,
}

/// Antares: the three pointers of NtCreateToken that its system call takes in one structure.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TokenDefaults {
    /// TOKEN_OWNER: address of a SID, or 0 for the user.
    pub owner: u64,
    /// TOKEN_PRIMARY_GROUP: address of a SID.
    pub primary_group: u64,
    /// TOKEN_DEFAULT_DACL: must be 0 (STATUS_NOT_IMPLEMENTED).
    pub default_dacl: u64,
}

/// NtQueryInformationToken: [`SidAndAttributes`] of the user.
pub const TOKEN_USER_CLASS: u32 = 1;
/// NtQueryInformationToken: [`TokenGroups`].
pub const TOKEN_GROUPS_CLASS: u32 = 2;
/// NtQueryInformationToken: u32 count and [`LuidAndAttributes`].
pub const TOKEN_PRIVILEGES_CLASS: u32 = 3;
/// NtQueryInformationToken: address of the owner's SID.
pub const TOKEN_OWNER_CLASS: u32 = 4;
/// NtQueryInformationToken: address of the primary group's SID.
pub const TOKEN_PRIMARY_GROUP_CLASS: u32 = 5;
/// NtQueryInformationToken: [`TokenSource`] (TOKEN_QUERY_SOURCE).
pub const TOKEN_SOURCE_CLASS: u32 = 7;
/// NtQueryInformationToken: u32 type.
pub const TOKEN_TYPE_CLASS: u32 = 8;
/// NtQueryInformationToken: u32 level, of an impersonation token only.
pub const TOKEN_IMPERSONATION_LEVEL_CLASS: u32 = 9;
/// NtQueryInformationToken: [`TokenStatistics`].
pub const TOKEN_STATISTICS_CLASS: u32 = 10;
/// NtQueryInformationToken: [`TokenGroups`] of the restricting SIDs (none).
pub const TOKEN_RESTRICTED_SIDS_CLASS: u32 = 11;
/// NtQueryInformationToken: u32 session.
pub const TOKEN_SESSION_ID_CLASS: u32 = 12;
/// NtQueryInformationToken: u32, 1 when the token is restricted.
pub const TOKEN_HAS_RESTRICTIONS_CLASS: u32 = 21;
/// NtQueryInformationToken: [`SidAndAttributes`] of the mandatory label.
pub const TOKEN_INTEGRITY_LEVEL_CLASS: u32 = 25;

/// NtSetInformationThread class 5: handle of an impersonation token, or 0 to stop impersonating.
pub const THREAD_IMPERSONATION_TOKEN: u32 = 5;
/// NtSetInformationProcess class 9: [`ProcessAccessToken`].
pub const PROCESS_ACCESS_TOKEN: u32 = 9;

/// PROCESS_ACCESS_TOKEN, 16 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ProcessAccessToken {
    /// A primary token (TOKEN_ASSIGN_PRIMARY).
    pub token: u64,
    /// The first thread; not looked at.
    pub thread: u64,
}

/// SECURITY_DESCRIPTOR_RELATIVE, 20 bytes: offsets from its start.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SecurityDescriptorRelative {
    /// SECURITY_DESCRIPTOR_REVISION: 1.
    pub revision: u8,
    /// Zero.
    pub sbz1: u8,
    /// SE_ control bits.
    pub control: u16,
    /// Offset of the owner's SID, or 0.
    pub owner: u32,
    /// Offset of the group's SID, or 0.
    pub group: u32,
    /// Offset of the system ACL, or 0.
    pub sacl: u32,
    /// Offset of the discretionary ACL, or 0.
    pub dacl: u32,
}

/// SECURITY_DESCRIPTOR control: there is a DACL (a null one lets everybody do everything).
pub const SE_DACL_PRESENT: u16 = 0x4;
/// There is a SACL.
pub const SE_SACL_PRESENT: u16 = 0x10;
/// Parts are given by offset.
pub const SE_SELF_RELATIVE: u16 = 0x8000;

/// ACE type: allows.
pub const ACCESS_ALLOWED_ACE_TYPE: u8 = 0;
/// ACE type: denies.
pub const ACCESS_DENIED_ACE_TYPE: u8 = 1;
/// ACE flag: not for this object.
pub const INHERIT_ONLY_ACE: u8 = 8;

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn layouts_are_nts() {
        assert_eq!(size_of::<Sid>(), 68);
        assert_eq!(size_of::<SecurityQualityOfService>(), 12);
        assert_eq!(size_of::<SidAndAttributes>(), 16);
        assert_eq!(size_of::<LuidAndAttributes>(), 12);
        assert_eq!(size_of::<TokenSource>(), 16);
        assert_eq!(size_of::<TokenStatistics>(), 0x38);
        assert_eq!(core::mem::offset_of!(TokenStatistics, modified_id), 0x30);
        assert_eq!(size_of::<SecurityDescriptorRelative>(), 20);
    }

    #[test]
    fn sids_are_read_and_written() {
        let system = [1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0];
        assert_eq!(Sid::parse(&system), Some(SID_LOCAL_SYSTEM));
        assert_eq!(SID_LOCAL_SYSTEM.bytes(), system);
        assert_eq!(SID_ADMINISTRATORS.to_string(), "S-1-5-32-544");
        assert_eq!(SID_EVERYONE.well_known_name(), Some("Everyone"));
        assert_eq!(Sid::integrity(INTEGRITY_HIGH).integrity_level(), Some(0x3000));
        assert_eq!(SID_USERS.integrity_level(), None);
        let long = [1, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(Sid::parse(&long).unwrap().to_string(), "S-1-0x010000000000");
    }

    #[test]
    fn what_is_no_sid_is_refused() {
        assert_eq!(Sid::parse(&[]), None);
        assert_eq!(Sid::parse(&[1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0]), None);
        assert_eq!(Sid::parse(&[2, 0, 0, 0, 0, 0, 0, 5]), None);
        assert_eq!(Sid::parse(&[&[1, 16, 0, 0, 0, 0, 0, 5][..], &[0; 64]].concat()), None);
        // What follows it does not count.
        let trailing = [1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 7, 7];
        assert_eq!(Sid::parse(&trailing), Some(SID_EVERYONE));
    }
}
