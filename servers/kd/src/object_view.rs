//! `!object` and `!token`: what has a name, who holds handles to it, and who a process acts as.

use crate::execute::System;
use crate::snapshot::{Snapshot, process_id, type_name};
use abi::se::{
    LuidAndAttributes, PRIVILEGES, SE_GROUP_ENABLED, SE_GROUP_INTEGRITY, SE_GROUP_OWNER,
    SE_GROUP_USE_FOR_DENY_ONLY, SE_PRIVILEGE_ENABLED, Sid,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use libnt::token::Group;
use serde::Serialize;

/// An object as the name space knows it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Named {
    /// Path.
    pub path: String,
    /// NT's type name.
    #[serde(rename = "type")]
    pub type_name: String,
    /// It stays without handles.
    pub permanent: bool,
    /// Where a symbolic link leads.
    pub target: Option<String>,
    /// Names in a directory, with their types.
    pub entries: Option<Vec<(String, String)>>,
}

/// `!object \PATH`.
pub fn write_named(out: &mut dyn Write, object: &Named) -> fmt::Result {
    writeln!(out, "Object {}  Type: {}", object.path, object.type_name)?;
    writeln!(out, "    Permanent: {}", if object.permanent { "Yes" } else { "No" })?;
    if let Some(target) = &object.target {
        writeln!(out, "    Target: {target}")?;
    }
    if let Some(entries) = &object.entries {
        for (name, type_name) in entries {
            writeln!(out, "    {type_name:<20} {name}")?;
        }
        writeln!(out, "    {} objects", entries.len())?;
    }
    Ok(())
}

/// A handle to an object.
#[derive(Clone, Debug, Serialize)]
pub struct Holder {
    process: u32,
    image: String,
    handle: u64,
    access: u32,
}

/// An object known by its id.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    object: u64,
    #[serde(rename = "type")]
    type_name: &'static str,
    handles: Vec<Holder>,
}

/// The handles of all processes to an object. `None`: there are none.
pub fn holders<S: System>(wanted: u64, snapshot: &Snapshot, system: &mut S) -> Option<Held> {
    let mut handles = Vec::new();
    let mut object_type = 0;
    for process in snapshot.processes() {
        // A process that has ended meanwhile holds nothing.
        for entry in system.handles(process_id(process)).unwrap_or_default() {
            if entry.object_id == wanted {
                object_type = entry.object_type;
                handles.push(Holder {
                    process: process_id(process),
                    image: process.name.clone(),
                    handle: entry.handle,
                    access: entry.granted_access,
                });
            }
        }
    }
    (!handles.is_empty()).then(|| Held { object: wanted, type_name: type_name(object_type), handles })
}

/// `!object ID`.
pub fn write_held(out: &mut dyn Write, held: &Held) -> fmt::Result {
    writeln!(out, "Object {}  Type: {}  HandleCount: {}", held.object, held.type_name, held.handles.len())?;
    for Holder { process, image, handle, access } in &held.handles {
        writeln!(out, "    handle {handle:#x} of process {process} ({image}), access {access:#010x}")?;
    }
    Ok(())
}

/// A token, as the kernel tells of it.
#[derive(Clone, Debug)]
pub struct TokenFacts {
    /// User.
    pub user: Sid,
    /// Groups.
    pub groups: Vec<Group>,
    /// Privileges.
    pub privileges: Vec<LuidAndAttributes>,
    /// Integrity level (RID).
    pub integrity: u32,
    /// Logon session.
    pub authentication_id: u64,
}

/// A token, as `--json` has it.
#[derive(Clone, Debug, Serialize)]
pub struct TokenJson {
    process: u32,
    image: String,
    user: String,
    integrity: String,
    authentication_id: u64,
    groups: Vec<(String, String)>,
    privileges: Vec<(String, String)>,
}

/// A token in words.
pub fn describe_token(process: u32, image: &str, facts: &TokenFacts) -> TokenJson {
    let group = |group: &Group| {
        let mut words = Vec::new();
        for (bit, word) in [
            (SE_GROUP_ENABLED, "Enabled"),
            (SE_GROUP_OWNER, "Owner"),
            (SE_GROUP_USE_FOR_DENY_ONLY, "DenyOnly"),
            (SE_GROUP_INTEGRITY, "Integrity"),
        ] {
            if group.attributes & bit != 0 {
                words.push(word);
            }
        }
        (group.sid.to_string(), words.join(", "))
    };
    let privilege = |entry: &LuidAndAttributes| {
        let luid = entry.luid.to_u64();
        let name =
            PRIVILEGES.iter().find(|(number, ..)| u64::from(*number) == luid).map(|(_, name, _)| *name);
        let state = if entry.attributes & SE_PRIVILEGE_ENABLED != 0 { "Enabled" } else { "Disabled" };
        (name.map_or_else(|| format!("{luid:#x}"), String::from), state.to_string())
    };
    TokenJson {
        process,
        image: image.into(),
        user: facts.user.to_string(),
        integrity: integrity(facts.integrity),
        authentication_id: facts.authentication_id,
        groups: facts.groups.iter().map(group).collect(),
        privileges: facts.privileges.iter().map(privilege).collect(),
    }
}

fn integrity(level: u32) -> String {
    let name = match level {
        0 => "Untrusted",
        0x1000 => "Low",
        0x2000 => "Medium",
        0x2100 => "MediumPlus",
        0x3000 => "High",
        0x4000 => "System",
        _ => return format!("{level:#x}"),
    };
    name.into()
}

/// `!token`.
pub fn write_token(out: &mut dyn Write, token: &TokenJson) -> fmt::Result {
    writeln!(out, "Token of process {} ({})", token.process, token.image)?;
    writeln!(out, "User: {}", token.user)?;
    writeln!(out, "IntegrityLevel: {}  AuthenticationId: {:#x}", token.integrity, token.authentication_id)?;
    writeln!(out, "Groups:")?;
    for (sid, attributes) in &token.groups {
        writeln!(out, "    {sid:<24} {attributes}")?;
    }
    writeln!(out, "Privileges:")?;
    for (name, state) in &token.privileges {
        writeln!(out, "    {name:<42} {state}")?;
    }
    Ok(())
}
