//! What the system says of itself.

use crate::sys::calls;
use abi::arg::Pod;
use abi::info::*;
use abi::status::{NtResult, STATUS_INFO_LENGTH_MISMATCH};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

/// A process in the system's list.
#[derive(Clone, Debug)]
pub struct Process {
    /// NT's record.
    pub information: SystemProcessInformation,
    /// Image name.
    pub name: String,
    /// Its threads.
    pub threads: Vec<SystemThreadInformation>,
}

/// A class of any length, with a buffer that grows as needed.
pub fn query_bytes(class: u32, prefix: &[u8]) -> NtResult<Vec<u8>> {
    let mut size = 0x1000;
    loop {
        // 8-byte alignment is not needed: records are copied out.
        let mut buffer = vec![0u8; size];
        buffer[..prefix.len()].copy_from_slice(prefix);
        let (status, length) = calls::query_system(class, &mut buffer);
        if status == STATUS_INFO_LENGTH_MISMATCH && size < 1 << 26 {
            size = (length + length / 4).max(size * 2);
            continue;
        }
        status.ok()?;
        buffer.truncate(length);
        return Ok(buffer);
    }
}

/// An array class.
pub fn query_array<T: Pod>(class: u32, prefix: &[u8]) -> NtResult<Vec<T>> {
    let bytes = query_bytes(class, prefix)?;
    Ok(bytes.chunks_exact(size_of::<T>()).filter_map(|chunk| T::read_from_bytes(chunk).ok()).collect())
}

fn query<T: Pod>(class: u32) -> NtResult<T> {
    let mut value = T::new_zeroed();
    calls::query_system(class, value.as_mut_bytes()).0.ok()?;
    Ok(value)
}

/// Processors, memory, addresses.
pub fn basic() -> NtResult<SystemBasicInformation> {
    query(SYSTEM_BASIC_INFORMATION)
}

/// What the kernel holds.
pub fn counters() -> NtResult<SystemKernelCounters> {
    query(SYSTEM_KERNEL_COUNTERS)
}

/// ALPC ports.
pub fn ports() -> NtResult<Vec<SystemPortInformation>> {
    query_array(SYSTEM_PORT_INFORMATION, &[])
}

/// Queued and pending ALPC messages.
pub fn messages() -> NtResult<Vec<SystemMessageInformation>> {
    query_array(SYSTEM_MESSAGE_INFORMATION, &[])
}

/// Handles of a process.
pub fn handles(process_id: u64) -> NtResult<Vec<SystemHandleEntry>> {
    query_array(SYSTEM_HANDLE_INFORMATION, process_id.as_bytes())
}

/// System calls made, by number.
pub fn syscall_counters() -> NtResult<Vec<SystemSyscallCounter>> {
    query_array(SYSTEM_SYSCALL_COUNTERS, &[])
}

/// Processes with their threads.
pub fn processes() -> NtResult<Vec<Process>> {
    let bytes = query_bytes(SYSTEM_PROCESS_INFORMATION, &[])?;
    Ok(parse_processes(&bytes))
}

/// Reads the list that SYSTEM_PROCESS_INFORMATION gives. The name follows an entry's threads.
fn parse_processes(bytes: &[u8]) -> Vec<Process> {
    let mut processes = Vec::new();
    let mut rest = bytes;
    while let Ok((information, behind)) = SystemProcessInformation::read_from_prefix(rest) {
        let count = information.number_of_threads as usize;
        let threads: Vec<_> = behind
            .chunks_exact(size_of::<SystemThreadInformation>())
            .take(count)
            .filter_map(|chunk| SystemThreadInformation::read_from_bytes(chunk).ok())
            .collect();
        let name = behind
            .get(count.saturating_mul(size_of::<SystemThreadInformation>())..)
            .and_then(|text| text.get(..information.image_name.length as usize))
            .unwrap_or_default();
        let units = name.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let name = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
        processes.push(Process { information, name, threads });
        match information.next_entry_offset as usize {
            0 => break,
            next => rest = rest.get(next..).unwrap_or_default(),
        }
    }
    processes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_lists_are_walked_by_their_offsets() {
        let mut first =
            SystemProcessInformation { next_entry_offset: 0x158, number_of_threads: 1, ..Default::default() };
        first.image_name.length = 4;
        let thread = SystemThreadInformation { unique_thread: 9, ..Default::default() };
        let second = SystemProcessInformation { unique_process_id: 7, ..Default::default() };
        let bytes = [first.as_bytes(), thread.as_bytes(), b"h\0i\0\0\0\0\0", second.as_bytes()].concat();
        let list = parse_processes(&bytes);
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].name, "hi");
        assert_eq!(list[0].threads[0].unique_thread, 9);
        assert_eq!(list[1].information.unique_process_id, 7);
        assert_eq!(parse_processes(&bytes[..0x100]).len(), 1);
    }
}
