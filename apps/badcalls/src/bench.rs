//! Good arguments for each call, so that one of them can be made bad.

use core::time::Duration;
use libnt::abi::alpc::{AlpcContextAttr, AlpcPortAttributes, LPC_CONNECTION_REQUEST, PortMessage};
use libnt::abi::arg::Dir;
use libnt::abi::mm::{
    MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_READONLY, PAGE_READWRITE, PAGE_SIZE, SEC_COMMIT, VIEW_UNMAP,
};
use libnt::abi::ob::{
    OBJECT_HANDLE_FLAG_INFORMATION, ObjectAttributes, PROCESS_ALL_ACCESS, THREAD_ALL_ACCESS, ty,
};
use libnt::abi::ps::{THREAD_CREATE_FLAGS_CREATE_SUSPENDED, WAIT_ANY};
use libnt::abi::se::{TOKEN_ALL_ACCESS, TOKEN_PRIMARY};
use libnt::abi::syscalls::{ArgInfo, SyscallInfo};
use libnt::alpc::{Attributes, ConnectionPort, Message, Port};
use libnt::completion::IoCompletion;
use libnt::event::Event;
use libnt::memory::Pages;
use libnt::prelude::*;
use libnt::section::Section;
use libnt::sys::calls;
use libnt::token::Token;

use crate::raw::{WORDS, call};

/// Bytes of scratch memory of one argument.
const SLOT: usize = PAGE_SIZE as usize;
/// A length that is given with buffers.
const LENGTH: u64 = 64;
/// Times the thread is suspended, so that a few resumes do not let it run.
const SUSPENSIONS: usize = 10;
/// Messages that wait for the client, and packets, so that a receive always has one to copy.
const QUEUED: usize = 40;

/// An object of each kind, and memory.
#[derive(Debug)]
pub struct Bench {
    /// A process without threads of its own; nothing runs in it.
    process: OwnedHandle,
    /// A suspended thread in it.
    thread: OwnedHandle,
    event: Event,
    section: Section,
    port: ConnectionPort,
    client: Port,
    _accepted: Port,
    object: OwnedHandle,
    token: Token,
    completion: IoCompletion,
    /// One slot per argument, then a page that is read-only, then one that is not there.
    memory: Pages,
}

impl Bench {
    /// Makes all of it.
    pub fn new() -> NtResult<Self> {
        let process = OwnedHandle::new(calls::create_process(PROCESS_ALL_ACCESS, 0)?);
        let suspended = THREAD_CREATE_FLAGS_CREATE_SUSPENDED;
        // SAFETY: the thread is in another process, and never runs.
        let thread =
            unsafe { calls::create_thread(process.raw(), THREAD_ALL_ACCESS, 0x10_0000, 0, suspended, 0) }?;
        for _ in 1..SUSPENSIONS {
            calls::suspend_thread(thread)?;
        }
        let port = ConnectionPort::create()?;
        let (client, accepted) = connect(&port)?;
        let completion = IoCompletion::create(1)?;
        for key in 0..QUEUED as u64 {
            completion.post(key, 0, STATUS_SUCCESS, 0)?;
        }
        let memory = Pages::allocate((WORDS + 2) * SLOT)?;
        let base = memory.bytes().as_ptr() as u64;
        let (read_only, missing) = (base + (WORDS * SLOT) as u64, base + ((WORDS + 1) * SLOT) as u64);
        // SAFETY: the two pages are reached by system calls only, from here on.
        unsafe {
            calls::protect_memory(Handle::CURRENT_PROCESS, read_only, PAGE_SIZE, PAGE_READONLY)?;
            calls::protect_memory(
                Handle::CURRENT_PROCESS,
                missing,
                PAGE_SIZE,
                libnt::abi::mm::PAGE_NOACCESS,
            )?;
        }
        Ok(Self {
            process,
            thread: OwnedHandle::new(thread),
            event: Event::notification(true)?,
            section: Section::create(PAGE_SIZE)?,
            object: port.create_object(1, 1, 1)?,
            token: Token::of_process(Handle::CURRENT_PROCESS, TOKEN_ALL_ACCESS)?.duplicate_primary()?,
            completion,
            port,
            client,
            _accepted: accepted,
            memory,
        })
    }

    /// Address of an argument's scratch memory.
    pub fn slot(&self, index: usize) -> u64 {
        self.memory.bytes().as_ptr() as u64 + (index * SLOT) as u64
    }

    /// A page that can only be read.
    pub fn read_only(&self) -> u64 {
        self.slot(WORDS)
    }

    /// A page that cannot be touched; the one before is read-only.
    pub fn no_access(&self) -> u64 {
        self.slot(WORDS + 1)
    }

    /// A handle of each type, by type number; null where this program can have none.
    pub fn handle(&self, object_type: u8) -> Handle {
        match object_type {
            ty::PROCESS => self.process.raw(),
            ty::THREAD => self.thread.raw(),
            ty::ANY | ty::EVENT => self.event.handle(),
            ty::SECTION => self.section.handle(),
            ty::PORT => self.port.handle(),
            ty::SERVER => self.object.raw(),
            ty::TOKEN => self.token.handle(),
            ty::IO_COMPLETION => self.completion.handle(),
            _ => Handle::NULL,
        }
    }

    /// The client's port, which has messages waiting.
    pub fn client(&self) -> Handle {
        self.client.handle()
    }

    /// Words that are good for a call, as far as this program can have them; writes what they point to.
    pub fn words(&mut self, info: &SyscallInfo) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        for (index, argument) in info.args.iter().enumerate() {
            words[index] = match argument.dir {
                Dir::Handle => self.handle_word(info, argument),
                Dir::Value => value(info, argument),
                Dir::In | Dir::Out | Dir::InOut => {
                    self.fill(index, argument);
                    self.slot(index)
                }
            };
        }
        words
    }

    fn handle_word(&self, info: &SyscallInfo, argument: &ArgInfo) -> u64 {
        let handle = match (info.name, argument.name) {
            ("NtDuplicateObject", "SourceProcessHandle" | "TargetProcessHandle") => Handle::CURRENT_PROCESS,
            ("NtAlpcSendWaitReceivePort", _) => self.client.handle(),
            ("NtTerminateProcess", _) => self.process.raw(),
            ("NtTerminateThread", _) => self.thread.raw(),
            // Optional, and must be absent.
            ("NtCreateProcessEx", "SectionHandle" | "DebugPort" | "ExceptionPort") => Handle::NULL,
            ("NtCreateSection", "FileHandle") => Handle::NULL,
            ("NtAlpcCreatePortSection", "SectionHandle") => self.section.handle(),
            _ => self.handle(argument.object_type),
        };
        handle.0
    }

    fn fill(&mut self, index: usize, argument: &ArgInfo) {
        use zerocopy::IntoBytes;
        let port = self.port.handle();
        let event = self.event.handle();
        let slot = &mut self.memory.bytes_mut()[index * SLOT..][..SLOT];
        slot.fill(0);
        let mut put = |bytes: &[u8]| slot[..bytes.len()].copy_from_slice(bytes);
        match (argument.name, argument.type_name) {
            ("ConnectionPortObjectAttributes", _) => put(ObjectAttributes::relative_to(port, 0).as_bytes()),
            (_, name) if name.contains("ObjectAttributes") => put(ObjectAttributes::unnamed(0).as_bytes()),
            (_, name) if name.contains("PortMessage") => {
                put(PortMessage::with_data(8).unwrap_or_default().as_bytes());
            }
            // Without an id no port is looked at.
            ("MessageContext", _) => put(AlpcContextAttr { message_id: 1, ..Default::default() }.as_bytes()),
            ("BufferLength", _) => put(&0x400u64.to_le_bytes()),
            ("RegionSize" | "MaximumSize" | "ViewSize", _) => put(&PAGE_SIZE.to_le_bytes()),
            ("Handles", _) => put(event.as_bytes()),
            _ => {}
        }
    }

    /// Makes the call, and closes what it opened.
    pub fn call(&mut self, info: &SyscallInfo, words: &[u64; WORDS]) -> NtStatus {
        // SAFETY: good pointers are to this bench's memory, which is nobody else's; bad ones the kernel must refuse.
        // The process that calls change has no code of ours.
        let status = NtStatus(unsafe { call(info.number, words) });
        for (index, argument) in info.args.iter().enumerate() {
            if argument.dir == Dir::Out
                && argument.name.ends_with("Handle")
                && words[index] == self.slot(index)
            {
                let bytes = &mut self.memory.bytes_mut()[index * SLOT..][..8];
                let handle = Handle(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)));
                bytes.fill(0);
                if status.is_success() && info.name == "NtCreateProcessEx" {
                    // It has no thread that could end it.
                    let _ = calls::terminate_process(handle, STATUS_SUCCESS);
                }
                if !handle.is_null() {
                    // It may have been made with OBJ_PROTECT_CLOSE.
                    let _ = calls::set_object(handle, OBJECT_HANDLE_FLAG_INFORMATION, &[0, 0]);
                    drop(OwnedHandle::new(handle));
                }
            }
        }
        status
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // Each bench has a process; without waiting there would soon be more of them than the quota allows.
        let _ = calls::terminate_process(self.process.raw(), STATUS_SUCCESS);
        let _ = libnt::wait::one(self.process.raw(), Some(Duration::from_secs(10)));
    }
}

/// A value that is good for an argument.
fn value(info: &SyscallInfo, argument: &ArgInfo) -> u64 {
    let value = match (info.name, argument.name) {
        ("NtAllocateVirtualMemory", "AllocationType") => MEM_RESERVE | MEM_COMMIT,
        (_, "AllocationAttributes") => SEC_COMMIT,
        ("NtAlpcCreateResourceReserve", "MessageSize") => 0x100,
        (_, "Protect" | "NewProtect" | "Win32Protect" | "SectionPageProtection") => PAGE_READWRITE,
        (_, "FreeType") => MEM_RELEASE,
        (_, "InheritDisposition") => VIEW_UNMAP,
        (_, "WaitType") => WAIT_ANY,
        (_, "TokenType") => TOKEN_PRIMARY,
        (_, "Count" | "ServerType") => 1,
        (_, "CreateFlags") => THREAD_CREATE_FLAGS_CREATE_SUSPENDED,
        (_, "StartRoutine") => 0x10_0000,
        (_, name) if name.ends_with("Length") || name.starts_with("NumberOfBytes") => LENGTH as u32,
        _ => 0,
    };
    u64::from(value)
}

/// A connection to a port of this process; the client has messages waiting.
fn connect(port: &ConnectionPort) -> NtResult<(Port, Port)> {
    let attributes = AlpcPortAttributes::default();
    let (client, _) = calls::connect_port(port.handle(), Some(&attributes), 0, None, None)?;
    let client = Port::from_handle(OwnedHandle::new(client));
    let mut request = Message::new(64);
    port.receive(&mut request, &mut Attributes::new(), None)?;
    if request.header().kind() != LPC_CONNECTION_REQUEST {
        return Err(STATUS_INVALID_MESSAGE);
    }
    let accepted = port.accept(&request, 0)?;
    for _ in 0..QUEUED {
        let mut message = Message::new(16);
        message.set_length(16)?;
        accepted.datagram(&mut message, None)?;
    }
    Ok((client, accepted))
}
