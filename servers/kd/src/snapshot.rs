//! The state of the system at one moment, as NtQuerySystemInformation tells it.
//!
//! The kernel takes the parts one after the other, so they may disagree where something ended in between; every
//! look-up copes with that.

use abi::info::{SystemMessageInformation, SystemPortInformation};
use abi::ob::ObjectType;
use alloc::string::String;
use alloc::vec::Vec;
use libnt::info::Process;

/// Id of a process.
pub fn process_id(process: &Process) -> u32 {
    id(process.information.unique_process_id)
}

/// An id as traces and port listings have it.
pub fn id(id: u64) -> u32 {
    u32::try_from(id).unwrap_or(u32::MAX)
}

/// Processes, ports and messages.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    processes: Vec<Process>,
    ports: Vec<SystemPortInformation>,
    messages: Vec<SystemMessageInformation>,
}

impl Snapshot {
    /// Puts a snapshot together.
    pub fn new(
        processes: Vec<Process>,
        ports: Vec<SystemPortInformation>,
        messages: Vec<SystemMessageInformation>,
    ) -> Self {
        Self { processes, ports, messages }
    }

    /// All processes.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// All ports.
    pub fn ports(&self) -> &[SystemPortInformation] {
        &self.ports
    }

    /// All messages that are queued or pending.
    pub fn messages(&self) -> &[SystemMessageInformation] {
        &self.messages
    }

    /// The process with an id.
    pub fn process(&self, id: u32) -> Option<&Process> {
        self.processes.iter().find(|process| process_id(process) == id)
    }

    /// The port with an id.
    pub fn port(&self, id: u32) -> Option<&SystemPortInformation> {
        self.ports.iter().find(|port| port.port == id)
    }

    /// The message with an id.
    pub fn message(&self, id: u32) -> Option<&SystemMessageInformation> {
        self.messages.iter().find(|message| message.message_id == id)
    }

    /// Image name of a process, or `?`.
    pub fn process_name(&self, id: u32) -> &str {
        self.process(id).map_or("?", |process| &process.name)
    }

    /// Name of a port, or of the connection port it belongs to; empty when there is none.
    pub fn name_of_port(&self, id: u32) -> String {
        let Some(port) = self.port(id) else { return String::new() };
        let named = self.port(port.connection_port).unwrap_or(port);
        port_name(named)
    }
}

/// The name a port was given.
pub fn port_name(port: &SystemPortInformation) -> String {
    let length = usize::try_from(port.name_length).unwrap_or(0).min(port.name.len());
    String::from_utf8_lossy(&port.name[..length]).into_owned()
}

/// NT's name of an object type number.
pub fn type_name(number: u32) -> &'static str {
    u8::try_from(number).ok().and_then(ObjectType::from_number).map_or("?", ObjectType::name)
}
