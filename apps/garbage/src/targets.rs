//! What garbage is sent to.

use libnt::abi::ob::{DIRECTORY_QUERY, ObjectType};
use libnt::ob::Directory;
use libnt::prelude::*;

/// A protocol that a target speaks.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    Console,
    Objmgr,
    Smss,
    Kd,
}

/// A handle on which messages reach a server.
#[derive(Debug)]
pub struct Target {
    pub name: String,
    pub handle: Handle,
    pub protocol: Option<Protocol>,
    /// Closes the handle, where it is not one that the program was started with.
    pub _owner: Option<OwnedHandle>,
}

/// Every named port in the name space.
pub fn named_ports() -> NtResult<Vec<String>> {
    let mut ports = Vec::new();
    let mut waiting = vec![String::from("\\")];
    while let Some(path) = waiting.pop() {
        // A directory may be gone, or not ours to list.
        let Ok(entries) = Directory::open(&path, DIRECTORY_QUERY).and_then(|directory| directory.list())
        else {
            continue;
        };
        for entry in entries {
            let separator = if path.ends_with('\\') { "" } else { "\\" };
            let name = format!("{path}{separator}{}", entry.name);
            match entry.type_name.as_str() {
                "Directory" => waiting.push(name),
                kind if kind == ObjectType::AlpcPort.name() => ports.push(name),
                _ => {}
            }
        }
    }
    Ok(ports)
}

/// The server objects that every program has.
pub fn objects() -> Vec<Target> {
    let standard = env::standard();
    let all = [
        ("stdin", standard.stdin, Protocol::Console),
        ("stdout", standard.stdout, Protocol::Console),
        ("stderr", standard.stderr, Protocol::Console),
        ("root directory", standard.root, Protocol::Objmgr),
        ("session", standard.session, Protocol::Smss),
    ];
    let mut targets: Vec<Target> = all
        .into_iter()
        .filter(|(_, handle, _)| !handle.is_null())
        .map(|(name, handle, protocol)| Target {
            name: name.into(),
            handle,
            protocol: Some(protocol),
            _owner: None,
        })
        .collect();
    for (name, protocol) in [("kd", Protocol::Kd), ("console", Protocol::Console)] {
        if let Ok(root) = libnt::session::get_server(name) {
            targets.push(Target {
                name: name.into(),
                handle: root.raw(),
                protocol: Some(protocol),
                _owner: Some(root),
            });
        }
    }
    targets
}
