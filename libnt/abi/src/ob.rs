//! Objects and handles: OBJECT_ATTRIBUTES, access masks, object types, NtQueryObject and NtDuplicateObject values.
//!
//! Layouts and values: public NT headers (phnt), WDK documentation.

use crate::arg::Handle;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// UNICODE_STRING: lengths in bytes, UTF-16LE, not terminated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UnicodeString {
    /// Bytes in use.
    pub length: u16,
    /// Bytes of the buffer.
    pub maximum_length: u16,
    /// Zero.
    pub reserved: u32,
    /// Address of the UTF-16 text.
    pub buffer: u64,
}

/// OBJECT_ATTRIBUTES, 0x30 bytes. The kernel takes `attributes` (OBJ_INHERIT and the like) and, where a call
/// says so, `root_directory`; names are the object manager's business and must be absent in a system call
/// (STATUS_OBJECT_PATH_SYNTAX_BAD).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ObjectAttributes {
    /// Size of this structure: 0x30. Anything else is STATUS_INVALID_PARAMETER.
    pub length: u32,
    /// Zero.
    pub reserved1: u32,
    /// Handle that the name is relative to.
    pub root_directory: Handle,
    /// Address of a [`UnicodeString`], or 0.
    pub object_name: u64,
    /// OBJ_ flags.
    pub attributes: u32,
    /// Zero.
    pub reserved2: u32,
    /// Address of a security descriptor, or 0.
    pub security_descriptor: u64,
    /// Address of a SECURITY_QUALITY_OF_SERVICE, or 0.
    pub security_quality_of_service: u64,
}

impl ObjectAttributes {
    /// Attributes of an unnamed object.
    pub const fn unnamed(attributes: u32) -> Self {
        Self::relative_to(Handle::NULL, attributes)
    }

    /// The object that `root` itself is (an empty name relative to it).
    pub const fn relative_to(root: Handle, attributes: u32) -> Self {
        Self {
            length: 0x30,
            reserved1: 0,
            root_directory: root,
            object_name: 0,
            attributes,
            reserved2: 0,
            security_descriptor: 0,
            security_quality_of_service: 0,
        }
    }
}

/// NtClose refuses the handle (STATUS_HANDLE_NOT_CLOSABLE).
pub const OBJ_PROTECT_CLOSE: u32 = 0x1;
/// A child process made with inheritance gets a copy of the handle.
pub const OBJ_INHERIT: u32 = 0x2;
/// The name outlives the last handle.
pub const OBJ_PERMANENT: u32 = 0x10;
/// Only one open handle at a time.
pub const OBJ_EXCLUSIVE: u32 = 0x20;
/// Names compare without regard to case.
pub const OBJ_CASE_INSENSITIVE: u32 = 0x40;
/// Creating opens what exists.
pub const OBJ_OPENIF: u32 = 0x80;
/// Opening a symbolic link opens the link itself.
pub const OBJ_OPENLINK: u32 = 0x100;
/// All flags a caller may pass.
pub const OBJ_VALID_ATTRIBUTES: u32 = 0x1FF2;

/// Standard right: delete the object.
pub const DELETE: u32 = 0x0001_0000;
/// Standard right: read the security descriptor.
pub const READ_CONTROL: u32 = 0x0002_0000;
/// Standard right: change the DACL.
pub const WRITE_DAC: u32 = 0x0004_0000;
/// Standard right: change the owner.
pub const WRITE_OWNER: u32 = 0x0008_0000;
/// Standard right: wait on the object.
pub const SYNCHRONIZE: u32 = 0x0010_0000;
/// Ask for everything that may be granted.
pub const MAXIMUM_ALLOWED: u32 = 0x0200_0000;
/// Generic rights, mapped per type.
pub const GENERIC_ALL: u32 = 0x1000_0000;
/// Generic execute.
pub const GENERIC_EXECUTE: u32 = 0x2000_0000;
/// Generic write.
pub const GENERIC_WRITE: u32 = 0x4000_0000;
/// Generic read.
pub const GENERIC_READ: u32 = 0x8000_0000;

/// Event: NtQueryEvent.
pub const EVENT_QUERY_STATE: u32 = 1;
/// Event: set, reset, pulse.
pub const EVENT_MODIFY_STATE: u32 = 2;
/// Event: everything.
pub const EVENT_ALL_ACCESS: u32 = 0x1F_0003;
/// Directory: list.
pub const DIRECTORY_QUERY: u32 = 1;
/// Directory: walk through.
pub const DIRECTORY_TRAVERSE: u32 = 2;
/// Directory: insert objects.
pub const DIRECTORY_CREATE_OBJECT: u32 = 4;
/// Directory: insert directories.
pub const DIRECTORY_CREATE_SUBDIRECTORY: u32 = 8;
/// Directory: everything.
pub const DIRECTORY_ALL_ACCESS: u32 = 0xF_000F;
/// Symbolic link: read the target.
pub const SYMBOLIC_LINK_QUERY: u32 = 1;
/// Symbolic link: everything.
pub const SYMBOLIC_LINK_ALL_ACCESS: u32 = 0xF_0001;
/// I/O completion object: NtQueryIoCompletion.
pub const IO_COMPLETION_QUERY_STATE: u32 = 1;
/// I/O completion object: post and remove packets.
pub const IO_COMPLETION_MODIFY_STATE: u32 = 2;
/// I/O completion object: everything.
pub const IO_COMPLETION_ALL_ACCESS: u32 = 0x1F_0003;
/// Section: NtQuerySection.
pub const SECTION_QUERY: u32 = 1;
/// Section: map writable.
pub const SECTION_MAP_WRITE: u32 = 2;
/// Section: map readable.
pub const SECTION_MAP_READ: u32 = 4;
/// Section: map executable.
pub const SECTION_MAP_EXECUTE: u32 = 8;
/// Section: extend.
pub const SECTION_EXTEND_SIZE: u32 = 0x10;
/// Section: everything.
pub const SECTION_ALL_ACCESS: u32 = 0xF_001F;
/// Port: connect to it.
pub const PORT_CONNECT: u32 = 1;
/// Port: everything. Receiving and accepting need an owner's handle with all of it.
pub const PORT_ALL_ACCESS: u32 = 0x1F_0001;
/// Process: terminate.
pub const PROCESS_TERMINATE: u32 = 0x1;
/// Process: create threads in it.
pub const PROCESS_CREATE_THREAD: u32 = 0x2;
/// Process: change its address space.
pub const PROCESS_VM_OPERATION: u32 = 0x8;
/// Process: read its memory.
pub const PROCESS_VM_READ: u32 = 0x10;
/// Process: write its memory.
pub const PROCESS_VM_WRITE: u32 = 0x20;
/// Process: duplicate handles from or to it.
pub const PROCESS_DUP_HANDLE: u32 = 0x40;
/// Process: make it the parent of a new process.
pub const PROCESS_CREATE_PROCESS: u32 = 0x80;
/// Process: set quotas.
pub const PROCESS_SET_QUOTA: u32 = 0x100;
/// Process: set information.
pub const PROCESS_SET_INFORMATION: u32 = 0x200;
/// Process: query information.
pub const PROCESS_QUERY_INFORMATION: u32 = 0x400;
/// Process: suspend and resume.
pub const PROCESS_SUSPEND_RESUME: u32 = 0x800;
/// Process: the harmless part of query.
pub const PROCESS_QUERY_LIMITED_INFORMATION: u32 = 0x1000;
/// Process: everything.
pub const PROCESS_ALL_ACCESS: u32 = 0x1F_FFFF;
/// Thread: terminate.
pub const THREAD_TERMINATE: u32 = 0x1;
/// Thread: suspend and resume.
pub const THREAD_SUSPEND_RESUME: u32 = 0x2;
/// Thread: alert.
pub const THREAD_ALERT: u32 = 0x4;
/// Thread: read its context.
pub const THREAD_GET_CONTEXT: u32 = 0x8;
/// Thread: write its context.
pub const THREAD_SET_CONTEXT: u32 = 0x10;
/// Thread: set information.
pub const THREAD_SET_INFORMATION: u32 = 0x20;
/// Thread: set or take away its impersonation token.
pub const THREAD_SET_THREAD_TOKEN: u32 = 0x80;
/// Thread: query information.
pub const THREAD_QUERY_INFORMATION: u32 = 0x40;
/// Thread: the harmless part of query.
pub const THREAD_QUERY_LIMITED_INFORMATION: u32 = 0x800;
/// Thread: everything.
pub const THREAD_ALL_ACCESS: u32 = 0x1F_FFFF;
/// Resource (Antares): use it.
pub const RESOURCE_USE: u32 = 1;
/// Resource (Antares): derive narrower resources from it.
pub const RESOURCE_DERIVE: u32 = 2;
/// Resource (Antares): everything.
pub const RESOURCE_ALL_ACCESS: u32 = 0x1F_0003;
/// Interrupt (Antares): acknowledge.
pub const INTERRUPT_ACKNOWLEDGE: u32 = 1;
/// Interrupt (Antares): everything.
pub const INTERRUPT_ALL_ACCESS: u32 = 0x1F_0001;

/// Types of kernel objects. The values index the type table and appear in traces and handle listings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ObjectType {
    /// Any type (only as a requirement).
    Any = 0,
    /// Process.
    Process = 1,
    /// Thread.
    Thread = 2,
    /// Event.
    Event = 3,
    /// Section.
    Section = 4,
    /// ALPC port of any of the three kinds.
    AlpcPort = 5,
    /// A handle minted by a server for something it owns.
    Server = 6,
    /// Hardware and system authority (Antares).
    Resource = 7,
    /// A device interrupt (Antares: for user-mode drivers).
    Interrupt = 8,
    /// Access token.
    Token = 10,
    /// I/O completion object.
    IoCompletion = 9,
}

impl ObjectType {
    /// NT's type name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "Any",
            Self::Process => "Process",
            Self::Thread => "Thread",
            Self::Event => "Event",
            Self::Section => "Section",
            Self::AlpcPort => "ALPC Port",
            Self::Server => "Server Object",
            Self::Resource => "Resource",
            Self::Interrupt => "Interrupt",
            Self::Token => "Token",
            Self::IoCompletion => "IoCompletion",
        }
    }

    /// The type with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Process,
            2 => Self::Thread,
            3 => Self::Event,
            4 => Self::Section,
            5 => Self::AlpcPort,
            6 => Self::Server,
            7 => Self::Resource,
            8 => Self::Interrupt,
            10 => Self::Token,
            9 => Self::IoCompletion,
            _ => return None,
        })
    }
}

/// Type numbers as constants, for [`crate::arg::Req`].
pub mod ty {
    /// Any type.
    pub const ANY: u8 = 0;
    /// Process.
    pub const PROCESS: u8 = 1;
    /// Thread.
    pub const THREAD: u8 = 2;
    /// Event.
    pub const EVENT: u8 = 3;
    /// Section.
    pub const SECTION: u8 = 4;
    /// ALPC port.
    pub const PORT: u8 = 5;
    /// Server object.
    pub const SERVER: u8 = 6;
    /// Resource.
    pub const RESOURCE: u8 = 7;
    /// Interrupt.
    pub const INTERRUPT: u8 = 8;
    /// Access token.
    pub const TOKEN: u8 = 10;
    /// I/O completion object.
    pub const IO_COMPLETION: u8 = 9;
}

/// NtDuplicateObject: close the source handle, whatever else happens.
pub const DUPLICATE_CLOSE_SOURCE: u32 = 1;
/// NtDuplicateObject: grant what the source grants.
pub const DUPLICATE_SAME_ACCESS: u32 = 2;
/// NtDuplicateObject: keep the source's handle attributes.
pub const DUPLICATE_SAME_ATTRIBUTES: u32 = 4;

/// NtQueryObject class 0: OBJECT_BASIC_INFORMATION.
pub const OBJECT_BASIC_INFORMATION: u32 = 0;
/// NtQueryObject class 2: OBJECT_TYPE_INFORMATION (Antares returns the name part: a [`UnicodeString`] and its text).
pub const OBJECT_TYPE_INFORMATION: u32 = 2;
/// NtQueryObject class 4: handle flags (two bytes: inherit, protect from close).
pub const OBJECT_HANDLE_FLAG_INFORMATION: u32 = 4;
/// NtQueryObject (Antares): [`ObjectIdInformation`].
pub const OBJECT_ID_INFORMATION: u32 = 0x1000;

/// OBJECT_BASIC_INFORMATION, 0x38 bytes.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ObjectBasicInformation {
    /// Handle attributes.
    pub attributes: u32,
    /// Access granted to this handle.
    pub granted_access: u32,
    /// Open handles to the object.
    pub handle_count: u32,
    /// References to the object, handles included.
    pub pointer_count: u32,
    /// Kernel memory charged for it, in bytes.
    pub paged_pool_charge: u32,
    /// As above.
    pub non_paged_pool_charge: u32,
    /// Zero.
    pub reserved: [u32; 3],
    /// Zero: the kernel has no names.
    pub name_info_size: u32,
    /// Size of the type information.
    pub type_info_size: u32,
    /// Size of the security descriptor.
    pub security_descriptor_size: u32,
    /// Zero.
    pub creation_time: i64,
}

/// What identifies an object beyond its handles (Antares).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ObjectIdInformation {
    /// Unique among all objects since boot. For ports it is the port id of traces.
    pub object_id: u64,
    /// [`ObjectType`] number.
    pub object_type: u32,
    /// For server objects: the type number the server gave.
    pub server_type: u32,
}
