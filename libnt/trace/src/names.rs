//! Names of processes and ports, also of those that have ended.

use abi::trace::{NAME_PORT, NAME_PROCESS, NameRecord};
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

/// What is known of a port's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortName {
    /// Its path.
    pub name: String,
    /// Process that made it.
    pub owner: u32,
}

/// Names by id. Ids are never used twice, so a name once known stays true.
#[derive(Clone, Debug, Default)]
pub struct Names {
    processes: BTreeMap<u32, String>,
    ports: BTreeMap<u32, PortName>,
}

impl Names {
    /// Takes names from the kernel's name log (a later record of the same id wins).
    pub fn add_log(&mut self, records: &[NameRecord]) {
        for record in records {
            let length = usize::try_from(record.length).unwrap_or(0).min(record.name.len());
            let name = String::from_utf8_lossy(&record.name[..length]).into_owned();
            match record.kind {
                NAME_PROCESS => drop(self.processes.insert(record.id, name)),
                NAME_PORT => drop(self.ports.insert(record.id, PortName { name, owner: record.owner })),
                _ => {}
            }
        }
    }

    /// Takes a process's name.
    pub fn add_process(&mut self, id: u32, name: &str) {
        self.processes.insert(id, name.into());
    }

    /// Takes a port's name.
    pub fn add_port(&mut self, id: u32, owner: u32, name: &str) {
        self.ports.insert(id, PortName { name: name.into(), owner });
    }

    /// The processes that are known.
    pub fn processes(&self) -> impl Iterator<Item = (u32, &str)> {
        self.processes.iter().map(|(id, name)| (*id, name.as_str()))
    }

    /// Name of a process.
    pub fn process(&self, id: u32) -> Cow<'_, str> {
        match self.processes.get(&id) {
            Some(name) if !name.is_empty() => Cow::Borrowed(name),
            _ if id == 0 => Cow::Borrowed("kernel"),
            _ => Cow::Borrowed("?"),
        }
    }

    /// Name of a connection port, or what can be said of one without.
    pub fn port(&self, id: u32) -> Cow<'_, str> {
        match self.ports.get(&id) {
            Some(port) if !port.name.is_empty() => Cow::Borrowed(&port.name),
            Some(port) => Cow::Owned(format!("port {id} of {}", self.process(port.owner))),
            None => Cow::Owned(format!("port {id}")),
        }
    }

    /// Name and owner of a connection port.
    pub fn port_entry(&self, id: u32) -> Option<&PortName> {
        self.ports.get(&id)
    }
}

/// True when a process has this name (in any case).
pub fn process_matches(name: &str, wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted)
}

/// True when a port has this name: its whole path when `wanted` begins with a backslash, else its last component.
pub fn port_matches(name: &str, wanted: &str) -> bool {
    let name = if wanted.starts_with('\\') { name } else { name.rsplit('\\').next().unwrap_or(name) };
    name.eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TraceMemory;

    #[test]
    fn names_outlive_what_they_name() {
        let mut memory = TraceMemory::new(1, 8, 8);
        memory.name(NAME_PROCESS, 12, 4, "alpcping");
        memory.name(NAME_PORT, 7, 12, "\\RPC Control\\x");
        memory.name(NAME_PROCESS, 12, 4, "renamed");
        let mut names = Names::default();
        names.add_log(&memory.trace().names().0);
        assert_eq!(names.process(12), "renamed");
        assert_eq!(names.process(13), "?");
        assert_eq!(names.process(0), "kernel");
        assert_eq!(names.port(7), "\\RPC Control\\x");
        assert_eq!(names.port_entry(7).unwrap().owner, 12);
        assert_eq!(names.port(8), "port 8");
    }

    #[test]
    fn ports_match_by_path_or_last_part() {
        let name = "\\RPC Control\\Echo";
        assert!(port_matches(name, "echo"));
        assert!(port_matches(name, "\\rpc control\\echo"));
        assert!(!port_matches(name, "\\echo"));
        assert!(!port_matches(name, "RPC Control\\echo"));
        assert!(!port_matches(name, ""));
    }
}
