use super::*;
use Level::*;

fn group(sid: Sid, attributes: u32) -> Group {
    Group { sid, attributes }
}

#[test]
fn the_system_is_who_nt_says() {
    let system = Identity::system().unwrap();
    assert_eq!(system.user.to_string(), "S-1-5-18");
    assert_eq!(system.integrity, INTEGRITY_SYSTEM);
    assert_eq!(system.owner, SID_ADMINISTRATORS);
    assert!(system.is(&SID_EVERYONE, false) && system.is(&SID_ADMINISTRATORS, false));
    assert!(!system.is(&SID_USERS, false));
    assert!(!system.is(&Sid::integrity(INTEGRITY_SYSTEM), false), "a label is no group");
    assert_eq!(Identity::anonymous().unwrap().user, SID_ANONYMOUS);
    let privileges = Privileges::system();
    assert_eq!(privileges.count(), PRIVILEGES.len());
    assert!(privileges.holds(SE_IMPERSONATE_PRIVILEGE) && !privileges.holds(SE_CREATE_TOKEN_PRIVILEGE));
    assert!(!privileges.holds(0) && !privileges.holds(63) && !privileges.holds(1000));
}

#[test]
fn an_identity_is_checked() {
    let user = Sid::new(5, &[21, 1]);
    let make = |groups: &[Group], owner, primary| Identity::new(user, groups.to_vec(), owner, primary, 7);
    assert_eq!(make(&[], None, user).unwrap().integrity, INTEGRITY_MEDIUM);
    assert_eq!(make(&[], None, SID_USERS), Err(STATUS_INVALID_PRIMARY_GROUP));
    let users = group(SID_USERS, SE_GROUP_ENABLED);
    assert_eq!(make(&[users], Some(SID_USERS), SID_USERS), Err(STATUS_INVALID_OWNER));
    let owners = group(SID_USERS, SE_GROUP_ENABLED | SE_GROUP_OWNER);
    assert_eq!(make(&[owners], Some(SID_USERS), SID_USERS).unwrap().owner, SID_USERS);
    assert_eq!(make(&[group(SID_USERS, 0x80)], None, user), Err(STATUS_INVALID_PARAMETER));
    let label = group(Sid::integrity(INTEGRITY_LOW), SE_GROUP_INTEGRITY);
    assert_eq!(make(&[label], None, user).unwrap().integrity, INTEGRITY_LOW);
    assert_eq!(make(&[label, label], None, user), Err(STATUS_INVALID_PARAMETER));
    assert_eq!(make(&[group(SID_USERS, SE_GROUP_INTEGRITY)], None, user), Err(STATUS_INVALID_PARAMETER));
    assert_eq!(make(&vec![users; MAX_GROUPS + 1], None, user), Err(STATUS_INVALID_PARAMETER));
}

#[test]
fn disabled_groups_do_not_count() {
    let user = Sid::new(5, &[21, 1]);
    let groups = vec![
        group(SID_USERS, 0),
        group(SID_ADMINISTRATORS, SE_GROUP_USE_FOR_DENY_ONLY),
        group(SID_EVERYONE, SE_GROUP_MANDATORY),
    ];
    let identity = Identity::new(user, groups, None, user, 7).unwrap();
    assert!(!identity.is(&SID_USERS, false) && !identity.is(&SID_USERS, true));
    assert!(!identity.is(&SID_ADMINISTRATORS, false) && identity.is(&SID_ADMINISTRATORS, true));
    assert!(identity.is(&SID_EVERYONE, false), "mandatory means enabled");
    assert!(identity.has_disabled());
    let effective = identity.effective().unwrap();
    assert_eq!(effective.groups.len(), 2);
    assert!(!effective.has_disabled());
}

#[test]
fn privileges_are_adjusted() {
    let mut privileges = Privileges::default();
    assert_eq!(privileges.add(1, 0), Err(STATUS_NO_SUCH_PRIVILEGE));
    assert_eq!(privileges.add(37, 0), Err(STATUS_NO_SUCH_PRIVILEGE));
    assert_eq!(privileges.add(1 << 40, 0), Err(STATUS_NO_SUCH_PRIVILEGE));
    assert_eq!(privileges.add(20, 0x10), Err(STATUS_INVALID_PARAMETER));
    privileges.add(20, 0).unwrap();
    privileges.add(23, SE_PRIVILEGE_ENABLED | SE_PRIVILEGE_ENABLED_BY_DEFAULT).unwrap();
    assert_eq!(privileges.adjust(20, SE_PRIVILEGE_ENABLED), Adjusted::Was(0));
    assert_eq!(privileges.adjust(20, SE_PRIVILEGE_ENABLED), Adjusted::Same);
    assert!(privileges.holds(20));
    assert_eq!(privileges.adjust(21, SE_PRIVILEGE_ENABLED), Adjusted::Missing);
    assert_eq!(privileges.adjust(23, 0), Adjusted::Was(3));
    assert_eq!(privileges.effective().count(), 1);
    assert!(!privileges.none_enabled().holds(20));
    assert_eq!(privileges.adjust(20, SE_PRIVILEGE_REMOVED), Adjusted::Was(2));
    assert_eq!(privileges.adjust(20, SE_PRIVILEGE_ENABLED), Adjusted::Missing);
    let left: Vec<_> = privileges.iter().collect();
    assert_eq!(left, [LuidAndAttributes { luid: Luid::from_u64(23), attributes: 1 }]);
}

#[test]
fn a_token_gives_no_more_than_it_is() {
    let levels = [Anonymous, Identification, Impersonation, Delegation];
    for wanted in levels {
        assert_eq!(may_duplicate(Kind::Primary, Kind::Impersonation(wanted)), Ok(()));
        for own in levels {
            let made = may_duplicate(Kind::Impersonation(own), Kind::Impersonation(wanted)).is_ok();
            assert_eq!(made, wanted <= own);
            let captured = may_capture(Some(own), wanted).is_ok();
            assert_eq!(captured, own >= Impersonation && wanted <= own);
        }
        assert_eq!(
            may_duplicate(Kind::Impersonation(wanted), Kind::Primary).is_ok(),
            wanted >= Impersonation
        );
        assert_eq!(may_capture(None, wanted), Ok(()));
    }
    assert_eq!(Level::from_number(4), Err(STATUS_BAD_IMPERSONATION_LEVEL));
    assert_eq!(Kind::from_numbers(3, 0), Err(STATUS_BAD_TOKEN_TYPE));
}

#[test]
fn who_is_not_trusted_only_identifies() {
    let system = Identity::system().unwrap();
    let user = |number: u32, level: u32| {
        let sid = Sid::new(5, &[21, number]);
        let label = group(Sid::integrity(level), SE_GROUP_INTEGRITY);
        Identity::new(sid, vec![label], None, sid, 7).unwrap()
    };
    let (anna, bert) = (user(1, INTEGRITY_MEDIUM), user(2, INTEGRITY_MEDIUM));
    let none = Privileges::default();
    assert_eq!(impersonation_level(&system, &Privileges::system(), &anna, Delegation), Delegation);
    assert_eq!(impersonation_level(&anna, &none, &bert, Impersonation), Identification);
    assert_eq!(impersonation_level(&anna, &none, &bert, Anonymous), Anonymous);
    assert_eq!(impersonation_level(&anna, &none, &user(1, INTEGRITY_LOW), Impersonation), Impersonation);
    assert_eq!(impersonation_level(&anna, &none, &user(1, INTEGRITY_HIGH), Impersonation), Identification);
}
