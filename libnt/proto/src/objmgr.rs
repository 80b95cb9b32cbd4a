//! The object manager's protocol.
//!
//! Requests are sent on a directory handle (or, where it is said, a symbolic link handle): server objects of objmgr. No
//! connection is needed. Names are NT names: an absolute name (`\RPC Control\x`) may be used on the root directory's
//! handle only, any directory takes names relative to itself. `attributes` are OBJ_ flags, `desired_access` the type's
//! access mask or generic rights. Handles that a call opens come attached to the reply.
//!
//! Every call is idempotent across a restart: a new objmgr knows nothing of what the old one did.

use crate::declare::protocol;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Server type number of directory handles.
pub const TYPE_DIRECTORY: u32 = 1;
/// Server type number of symbolic link handles.
pub const TYPE_SYMBOLIC_LINK: u32 = 2;

/// Most UTF-16 units of a name, as in a UNICODE_STRING.
pub const MAX_NAME: usize = 32767;

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// NT's type name.
    pub type_name: String,
}

/// A part of a directory's listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// Names, in the directory's order.
    pub entries: Vec<Entry>,
    /// Index to go on at; `None` at the end.
    pub next: Option<u32>,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectInfo {
    /// NT's type name.
    pub type_name: String,
    /// Absolute path, or empty when it has lost its name.
    pub path: String,
    /// OBJ_PERMANENT or 0.
    pub attributes: u32,
    /// Target of a symbolic link, else empty.
    pub target: String,
}

protocol! {
    /// The object manager.
    pub Objmgr = 2 "objmgr" version 1;

    /// NtOpenDirectoryObject.
    idempotent OpenDirectory { name: String, attributes: u32, desired_access: u32 } -> ();

    /// NtCreateDirectoryObject. True when OBJ_OPENIF opened what was there (STATUS_OBJECT_NAME_EXISTS).
    idempotent CreateDirectory { name: String, attributes: u32, desired_access: u32 } -> bool;

    /// NtOpenSymbolicLinkObject.
    idempotent OpenSymbolicLink { name: String, attributes: u32, desired_access: u32 } -> ();

    /// NtCreateSymbolicLinkObject. True when OBJ_OPENIF opened what was there.
    idempotent CreateSymbolicLink { name: String, attributes: u32, desired_access: u32, target: String } -> bool;

    /// NtQuerySymbolicLinkObject, on a symbolic link handle: the target.
    idempotent QuerySymbolicLink {} -> String;

    /// Names the attached kernel object (event, section, connection port). With OBJ_OPENIF, where an object of the same
    /// type has the name already, that object comes attached and the answer is true.
    idempotent Insert { name: String, attributes: u32, desired_access: u32 } -> bool;

    /// Opens a kernel object by name. `type_name` is NT's type name, or empty for any.
    idempotent Open { name: String, attributes: u32, desired_access: u32, type_name: String } -> ();

    /// NtQueryDirectoryObject, on a directory handle with DIRECTORY_QUERY: as many entries from `index` on as fit.
    idempotent QueryDirectory { index: u32 } -> Entries;

    /// What the named object is (an empty name: the handle's own). Symbolic links at the end are not followed.
    idempotent QueryObject { name: String, attributes: u32 } -> ObjectInfo;

    /// NtMakeTemporaryObject by name: the name goes with the last handle. Needs the authority to create there.
    idempotent MakeTemporary { name: String, attributes: u32 } -> ();
}
