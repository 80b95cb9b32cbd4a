use super::*;
use proptest::prelude::*;

const MAPPING: GenericMapping = (0x1F_0001, 0x2_0001, 0x1_0000, 0);

fn ace(kind: u8, flags: u8, mask: u32, sid: &Sid) -> Vec<u8> {
    let mut ace = vec![kind, flags];
    ace.extend(((ACE_HEAD + sid.length()) as u16).to_le_bytes());
    ace.extend(mask.to_le_bytes());
    ace.extend(sid.bytes());
    ace
}

fn acl(aces: &[Vec<u8>]) -> Vec<u8> {
    let body = aces.concat();
    let mut acl = vec![2, 0];
    acl.extend(((ACL_HEAD + body.len()) as u16).to_le_bytes());
    acl.extend((aces.len() as u16).to_le_bytes());
    acl.extend([0, 0]);
    acl.extend(body);
    acl
}

fn descriptor(aces: &[Vec<u8>]) -> Descriptor {
    Descriptor { owner: None, group: None, dacl: Dacl::new(acl(aces)).unwrap() }
}

#[test]
fn entries_count_in_order() {
    let system = Identity::system().unwrap();
    let allow = |mask, sid| ace(ACCESS_ALLOWED_ACE_TYPE, 0, mask, sid);
    let deny = |mask, sid| ace(ACCESS_DENIED_ACE_TYPE, 0, mask, sid);
    let grants = |aces: &[Vec<u8>], desired| descriptor(aces).grants(&system, desired, MAPPING);
    assert!(grants(&[allow(1, &SID_EVERYONE)], 1));
    assert!(!grants(&[], 1), "an empty DACL lets nobody do anything");
    assert!(grants(&[], 0));
    assert!(!grants(&[allow(1, &SID_USERS)], 1));
    assert!(!grants(&[deny(1, &SID_EVERYONE), allow(1, &SID_EVERYONE)], 1));
    assert!(grants(&[allow(1, &SID_EVERYONE), deny(1, &SID_EVERYONE)], 1));
    assert!(grants(&[deny(2, &SID_EVERYONE), allow(1, &SID_EVERYONE)], 1));
    assert!(grants(&[allow(1, &SID_EVERYONE), allow(2, &SID_ADMINISTRATORS)], 3));
    assert!(!grants(&[allow(1, &SID_EVERYONE)], 3));
    assert!(grants(&[allow(GENERIC_ALL, &SID_LOCAL_SYSTEM)], 0x1F_0001));
    let inherit = ace(ACCESS_ALLOWED_ACE_TYPE, INHERIT_ONLY_ACE, 1, &SID_EVERYONE);
    assert!(!grants(&[inherit], 1));
}

#[test]
fn owners_and_null_dacls() {
    let system = Identity::system().unwrap();
    let owned = Descriptor { owner: Some(SID_ADMINISTRATORS), ..descriptor(&[]) };
    assert!(owned.grants(&system, READ_CONTROL | WRITE_DAC, MAPPING));
    assert!(!owned.grants(&system, 1, MAPPING));
    let open = Descriptor { dacl: Dacl::Null, ..owned };
    assert!(open.grants(&system, u32::MAX, MAPPING));
}

#[test]
fn what_is_no_acl_is_refused() {
    let good = acl(&[ace(ACCESS_ALLOWED_ACE_TYPE, 0, 1, &SID_EVERYONE)]);
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        Dacl::new(bytes)
    };
    assert!(broken(|_| ()).is_ok());
    assert_eq!(broken(|b| b[0] = 1), Err(STATUS_INVALID_ACL));
    assert_eq!(broken(|b| b.truncate(20)), Err(STATUS_INVALID_ACL));
    assert_eq!(broken(|b| b[4] = 2), Err(STATUS_INVALID_ACL));
    assert_eq!(broken(|b| b[10] = 4), Err(STATUS_INVALID_ACL));
    assert_eq!(broken(|b| b[10] = 0xFF), Err(STATUS_INVALID_ACL));
    assert_eq!(broken(|b| b[17] = 9), Err(STATUS_INVALID_ACL));
    assert_eq!(broken(|b| b[8] = 5), Err(STATUS_NOT_IMPLEMENTED));
    assert_eq!(Dacl::new(vec![]), Err(STATUS_INVALID_ACL));
    assert_eq!(acl_length([2, 0, 4, 0, 0, 0, 0, 0]), Err(STATUS_INVALID_ACL));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200), fix in any::<bool>()) {
        let mut bytes = bytes;
        if fix && bytes.len() >= ACL_HEAD {
            let length = bytes.len() & !3;
            bytes.truncate(length);
            bytes[0] = 2;
            bytes[2..4].copy_from_slice(&(length as u16).to_le_bytes());
            bytes[4..6].copy_from_slice(&[2, 0]);
        }
        let system = Identity::system().unwrap();
        if let Ok(dacl) = Dacl::new(bytes) {
            let descriptor = Descriptor { owner: None, group: None, dacl };
            let _ = descriptor.grants(&system, 1, MAPPING);
        }
    }
}
