//! The state of the system at one moment, decoded from what NtQuerySystemInformation tells.
//!
//! The kernel takes the parts one after the other, so they may disagree where something ended in between; every
//! look-up copes with that.

use abi::info::{
    SystemHandleEntry, SystemMessageInformation, SystemPortInformation, SystemProcessInformation,
    SystemThreadInformation,
};
use abi::ob::ObjectType;
use alloc::string::String;
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// A process with its threads.
#[derive(Clone, Debug)]
pub struct Process {
    /// What the kernel says of it.
    pub info: SystemProcessInformation,
    /// Image name.
    pub name: String,
    /// Threads.
    pub threads: Vec<SystemThreadInformation>,
}

impl Process {
    /// Its id.
    pub fn id(&self) -> u32 {
        id(self.info.unique_process_id)
    }
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
        self.processes.iter().find(|process| process.id() == id)
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

/// Decodes SystemProcessInformation from `buffer`, which the kernel filled when it lay at address `base`.
/// An entry that does not fit its buffer ends the list.
pub fn decode_processes(buffer: &[u8], base: u64) -> Vec<Process> {
    let mut processes = Vec::new();
    let mut offset = 0usize;
    while let Some((info, mut rest)) = buffer.get(offset..).and_then(read::<SystemProcessInformation>) {
        let mut threads = Vec::new();
        for _ in 0..info.number_of_threads {
            let Some((thread, after)) = read(rest) else { break };
            threads.push(thread);
            rest = after;
        }
        let name = info.image_name.buffer.checked_sub(base).and_then(|at| usize::try_from(at).ok());
        let text = name.and_then(|at| buffer.get(at..)?.get(..usize::from(info.image_name.length)));
        let units = text.unwrap_or(&[]).chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
        let name = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        processes.push(Process { info, name, threads });
        match usize::try_from(info.next_entry_offset) {
            Ok(next) if next > 0 => offset += next,
            _ => break,
        }
    }
    processes
}

/// Decodes an array of fixed records; a part of a record at the end is ignored.
pub fn decode_array<T: FromBytes + KnownLayout + Immutable>(mut buffer: &[u8]) -> Vec<T> {
    let mut records = Vec::new();
    while let Some((record, rest)) = read(buffer) {
        records.push(record);
        buffer = rest;
    }
    records
}

fn read<T: FromBytes + KnownLayout + Immutable>(bytes: &[u8]) -> Option<(T, &[u8])> {
    T::read_from_prefix(bytes).ok()
}

/// Decodes a handle listing.
pub fn decode_handles(buffer: &[u8]) -> Vec<SystemHandleEntry> {
    decode_array(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::ob::UnicodeString;
    use zerocopy::IntoBytes;

    const BASE: u64 = 0x7000_0000;

    fn process(buffer: &mut Vec<u8>, id: u64, name: &str, threads: u32, last: bool) {
        let start = buffer.len();
        let text: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let size =
            size_of::<SystemProcessInformation>() + threads as usize * size_of::<SystemThreadInformation>();
        let total = (size + text.len()).next_multiple_of(8);
        let info = SystemProcessInformation {
            next_entry_offset: if last { 0 } else { total as u32 },
            number_of_threads: threads,
            unique_process_id: id,
            image_name: UnicodeString {
                length: text.len() as u16,
                buffer: BASE + (start + size) as u64,
                ..UnicodeString::default()
            },
            ..SystemProcessInformation::default()
        };
        buffer.extend_from_slice(info.as_bytes());
        for thread in 0..threads {
            let info = SystemThreadInformation {
                unique_thread: id + u64::from(thread),
                ..SystemThreadInformation::default()
            };
            buffer.extend_from_slice(info.as_bytes());
        }
        buffer.extend_from_slice(&text);
        buffer.resize(start + total, 0);
    }

    #[test]
    fn processes_with_threads_and_names() {
        let mut buffer = Vec::new();
        process(&mut buffer, 4, "smss", 1, false);
        process(&mut buffer, 8, "café", 3, true);
        let processes = decode_processes(&buffer, BASE);
        assert_eq!(
            processes.iter().map(|p| (p.id(), p.name.as_str(), p.threads.len())).collect::<Vec<_>>(),
            [(4, "smss", 1), (8, "café", 3)]
        );
        assert_eq!(processes[1].threads[2].unique_thread, 10);
    }

    #[test]
    fn a_damaged_buffer_is_read_as_far_as_it_goes() {
        let mut buffer = Vec::new();
        process(&mut buffer, 4, "smss", 2, false);
        process(&mut buffer, 8, "objmgr", 1, true);
        for length in 0..buffer.len() {
            assert!(decode_processes(&buffer[..length], BASE).len() <= 2);
        }
        assert_eq!(decode_processes(&buffer, BASE + 0x10_0000)[0].name, "");
        buffer[0..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode_processes(&buffer, BASE).len(), 1);
    }

    #[test]
    fn a_part_of_a_record_is_ignored() {
        let record = SystemHandleEntry { handle: 4, ..SystemHandleEntry::default() };
        let mut buffer = record.as_bytes().to_vec();
        buffer.extend_from_slice(&record.as_bytes()[..10]);
        assert_eq!(decode_handles(&buffer).len(), 1);
    }
}
