//! Which rights a directory handle gives, on its own directory and on what is reached through it.
//!
//! There are no security descriptors yet. A directory has a mask of rights for the world; a handle's own granted access
//! counts for its own directory; a handle on the root directory with DIRECTORY_ALL_ACCESS (the session manager's) gives
//! every right everywhere.

use abi::ob::*;
use abi::status::{NtResult, STATUS_ACCESS_DENIED};

/// Rights for the world on a directory that only the system changes.
pub const WORLD_READ: u32 = DIRECTORY_QUERY | DIRECTORY_TRAVERSE | READ_CONTROL;
/// Rights for the world on a directory where programs put names.
pub const WORLD_CREATE: u32 = WORLD_READ | DIRECTORY_CREATE_OBJECT | DIRECTORY_CREATE_SUBDIRECTORY;
/// Rights for the world on a symbolic link.
pub const WORLD_LINK: u32 = SYMBOLIC_LINK_QUERY | READ_CONTROL;

/// The rights behind a handle that a request came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Access granted to the handle.
    pub granted: u32,
    /// True when the handle's directory is the root.
    pub on_root: bool,
}

impl Authority {
    /// True for the system's own handle.
    pub fn is_system(self) -> bool {
        self.on_root && self.granted & DIRECTORY_ALL_ACCESS == DIRECTORY_ALL_ACCESS
    }

    /// Rights on an object that is reached by name and gives the world `world`.
    pub fn on(self, world: u32) -> u32 {
        if self.is_system() { STANDARD_ALL | 0xFFFF } else { world }
    }
}

/// Every standard right.
const STANDARD_ALL: u32 = 0x1F_0000;

/// Rights that generic rights stand for, of a type: read, write, execute, all.
struct GenericMapping {
    read: u32,
    write: u32,
    execute: u32,
    all: u32,
}

fn mapping(type_name: &str) -> GenericMapping {
    match type_name {
        "Directory" => GenericMapping {
            read: READ_CONTROL | DIRECTORY_QUERY | DIRECTORY_TRAVERSE,
            write: READ_CONTROL | DIRECTORY_CREATE_OBJECT | DIRECTORY_CREATE_SUBDIRECTORY,
            execute: READ_CONTROL | DIRECTORY_QUERY | DIRECTORY_TRAVERSE,
            all: DIRECTORY_ALL_ACCESS,
        },
        "SymbolicLink" => GenericMapping {
            read: READ_CONTROL | SYMBOLIC_LINK_QUERY,
            write: READ_CONTROL,
            execute: READ_CONTROL | SYMBOLIC_LINK_QUERY,
            all: SYMBOLIC_LINK_ALL_ACCESS,
        },
        "Event" => GenericMapping {
            read: READ_CONTROL | EVENT_QUERY_STATE,
            write: READ_CONTROL | EVENT_MODIFY_STATE,
            execute: READ_CONTROL | SYNCHRONIZE,
            all: EVENT_ALL_ACCESS,
        },
        "Section" => GenericMapping {
            read: READ_CONTROL | SECTION_QUERY | SECTION_MAP_READ,
            write: READ_CONTROL | SECTION_MAP_WRITE,
            execute: READ_CONTROL | SECTION_MAP_EXECUTE,
            all: SECTION_ALL_ACCESS,
        },
        _ => GenericMapping {
            read: READ_CONTROL | PORT_CONNECT,
            write: DELETE | PORT_CONNECT,
            execute: 0,
            all: PORT_ALL_ACCESS,
        },
    }
}

/// Replaces generic rights by those of the type. MAXIMUM_ALLOWED stays.
pub fn map_generic(type_name: &str, access: u32) -> u32 {
    let mapping = mapping(type_name);
    let mut mapped = access & !(GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE | GENERIC_ALL);
    for (generic, rights) in [
        (GENERIC_READ, mapping.read),
        (GENERIC_WRITE, mapping.write),
        (GENERIC_EXECUTE, mapping.execute),
        (GENERIC_ALL, mapping.all),
    ] {
        if access & generic != 0 {
            mapped |= rights;
        }
    }
    mapped
}

/// The access to grant of what is desired and allowed; `all` is the type's every right.
pub fn grant(type_name: &str, desired: u32, allowed: u32) -> NtResult<u32> {
    let all = mapping(type_name).all;
    let desired = map_generic(type_name, desired);
    if desired & MAXIMUM_ALLOWED != 0 {
        let rest = desired & !MAXIMUM_ALLOWED;
        return if rest & !allowed == 0 { Ok(allowed & all) } else { Err(STATUS_ACCESS_DENIED) };
    }
    if desired & !allowed == 0 { Ok(desired) } else { Err(STATUS_ACCESS_DENIED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generic_rights_map_as_in_nt() {
        assert_eq!(map_generic("Directory", GENERIC_READ), 0x2_0003);
        assert_eq!(map_generic("Directory", GENERIC_WRITE), 0x2_000C);
        assert_eq!(map_generic("Event", GENERIC_EXECUTE | EVENT_QUERY_STATE), 0x12_0001);
        assert_eq!(map_generic("ALPC Port", GENERIC_ALL), PORT_ALL_ACCESS);
    }

    #[test]
    fn no_more_is_granted_than_allowed() {
        assert_eq!(grant("Directory", DIRECTORY_QUERY, WORLD_READ), Ok(DIRECTORY_QUERY));
        assert_eq!(grant("Directory", DIRECTORY_CREATE_OBJECT, WORLD_READ), Err(STATUS_ACCESS_DENIED));
        assert_eq!(grant("Directory", MAXIMUM_ALLOWED, WORLD_READ), Ok(WORLD_READ));
        assert_eq!(grant("Directory", MAXIMUM_ALLOWED | 4, WORLD_READ), Err(STATUS_ACCESS_DENIED));
    }

    #[test]
    fn only_the_full_root_handle_is_the_system() {
        let full = Authority { granted: DIRECTORY_ALL_ACCESS, on_root: true };
        assert_eq!(full.on(0) & DIRECTORY_ALL_ACCESS, DIRECTORY_ALL_ACCESS);
        assert_eq!(Authority { on_root: false, ..full }.on(1), 1);
        assert_eq!(Authority { granted: WORLD_READ, on_root: true }.on(2), 2);
    }
}
