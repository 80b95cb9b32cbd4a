//! NT's initial tree.

use crate::access::{WORLD_CREATE, WORLD_READ};
use crate::namespace::{Found, Kind, Lookup, Namespace, ROOT, SYSTEM_OWNER, Typed};
use abi::status::{NtResult, STATUS_OBJECT_NAME_COLLISION, STATUS_OBJECT_PATH_NOT_FOUND};
use alloc::collections::BTreeMap;
use alloc::string::ToString;

/// Directories, with the rights of the world.
const DIRECTORIES: &[(&str, u32)] = &[
    ("\\ObjectTypes", WORLD_READ),
    ("\\BaseNamedObjects", WORLD_CREATE),
    ("\\Sessions", WORLD_READ),
    ("\\Sessions\\0", WORLD_READ),
    ("\\Sessions\\0\\DosDevices", WORLD_READ),
    ("\\Sessions\\BNOLINKS", WORLD_READ),
    ("\\RPC Control", WORLD_CREATE),
    ("\\KnownDlls", WORLD_READ),
    ("\\Device", WORLD_READ),
    ("\\Device\\BootModules", WORLD_READ),
    ("\\Driver", WORLD_READ),
    ("\\FileSystem", WORLD_READ),
    ("\\GLOBAL??", WORLD_READ),
    ("\\KernelObjects", WORLD_READ),
    ("\\Security", WORLD_READ),
];

/// Symbolic links.
const LINKS: &[(&str, &str)] = &[
    ("\\SystemRoot", "\\Device\\BootModules"),
    ("\\??", "\\GLOBAL??"),
    ("\\DosDevices", "\\??"),
    ("\\BaseNamedObjects\\Global", "\\BaseNamedObjects"),
    ("\\BaseNamedObjects\\Local", "\\BaseNamedObjects"),
    ("\\BaseNamedObjects\\Session", "\\Sessions\\BNOLINKS"),
    ("\\Sessions\\0\\BaseNamedObjects", "\\BaseNamedObjects"),
    ("\\Sessions\\BNOLINKS\\0", "\\BaseNamedObjects"),
];

/// Object types of the kernel and of objmgr itself.
const TYPES: &[&str] = &[
    "Type",
    "Directory",
    "SymbolicLink",
    "Process",
    "Thread",
    "Event",
    "Section",
    "ALPC Port",
    "Server Object",
    "Resource",
    "Interrupt",
    "IoCompletion",
];

/// A name space with NT's tree, all of it permanent.
pub fn initial<T: Typed>() -> NtResult<Namespace<T>> {
    let mut namespace = Namespace::new(WORLD_READ);
    for (path, world) in DIRECTORIES {
        add(&mut namespace, path, Kind::Directory { entries: BTreeMap::new(), world: *world })?;
    }
    for (path, target) in LINKS {
        add(&mut namespace, path, Kind::SymbolicLink { target: (*target).to_string() })?;
    }
    for name in TYPES {
        add(&mut namespace, &alloc::format!("\\ObjectTypes\\{name}"), Kind::Type)?;
    }
    Ok(namespace)
}

fn add<T: Typed>(namespace: &mut Namespace<T>, path: &str, kind: Kind<T>) -> NtResult {
    match namespace.lookup(ROOT, path, Lookup { open_link: true, ..Lookup::default() })? {
        Found::Absent { parent, leaf } => {
            namespace.create(Some((parent, leaf)), kind, true, SYSTEM_OWNER).map(drop)
        }
        Found::Node(ROOT) => Err(STATUS_OBJECT_PATH_NOT_FOUND),
        Found::Node(_) => Err(STATUS_OBJECT_NAME_COLLISION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;
    impl Typed for Nothing {
        fn type_name(&self) -> &'static str {
            "Nothing"
        }
    }

    #[test]
    fn the_tree_stands_and_its_links_lead_somewhere() {
        let namespace = initial::<Nothing>().unwrap();
        for (path, target) in LINKS {
            let found = namespace.lookup(ROOT, path, Lookup::default()).unwrap();
            let Found::Node(id) = found else { panic!("{path} leads nowhere") };
            if *target != "\\??" {
                assert_eq!(namespace.path(id), *target);
            }
        }
        let names: alloc::vec::Vec<_> = namespace.list(ROOT, 0).unwrap().map(|(name, _)| name).collect();
        assert!(names.contains(&"RPC Control") && names.contains(&"DosDevices"));
    }
}
