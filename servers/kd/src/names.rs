//! Names of processes and ports, from the trace's log and from all that lives.

use crate::snapshot::{Snapshot, port_name, process_id};
pub use trace::names::{Names, port_matches, process_matches};

/// Takes the names of everything that lives now.
pub fn add_snapshot(names: &mut Names, snapshot: &Snapshot) {
    for process in snapshot.processes() {
        names.add_process(process_id(process), &process.name);
    }
    for port in snapshot.ports() {
        names.add_port(port.port, port.owner_process, &port_name(port));
    }
}
