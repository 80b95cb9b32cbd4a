//! The name space, by way of the object manager.
//!
//! Names are absolute NT paths (`\BaseNamedObjects\x`), or relative to a [`Directory`]. When objmgr was restarted, the
//! root directory is asked for again and the call repeated.

use crate::handle::OwnedHandle;
use crate::rpc::{self, Attach};
use crate::sync::Mutex;
use crate::{env, session, time};
use abi::arg::Handle;
use abi::ob::*;
use abi::status::*;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use proto::objmgr::{self, Entry, ObjectInfo, Objmgr};
use proto::{Call, Protocol};

/// Root directory of this process; renewed when objmgr was restarted.
static ROOT: Mutex<Option<Arc<OwnedHandle>>> = Mutex::new(None);

/// True once the handle of the parameter block is in [`ROOT`], which owns it from then on.
static GIVEN_TAKEN: AtomicBool = AtomicBool::new(false);

/// Sets the root directory, for a process that was started before the object manager.
pub fn set_root(root: OwnedHandle) {
    *ROOT.lock() = Some(Arc::new(root));
}

/// Forgets the root directory, when the object manager is known to be gone.
pub fn clear_root() {
    *ROOT.lock() = None;
}

/// The root directory's handle.
pub fn root() -> NtResult<Arc<OwnedHandle>> {
    if let Some(root) = &*ROOT.lock() {
        return Ok(root.clone());
    }
    let given = env::standard().root;
    let mut root = ROOT.lock();
    if root.is_none() && !given.is_null() && !GIVEN_TAKEN.swap(true, Ordering::Relaxed) {
        *root = Some(Arc::new(OwnedHandle::new(given)));
    }
    if let Some(root) = &*root {
        return Ok(root.clone());
    }
    drop(root);
    let handle = Arc::new(session::get_server("objmgr")?);
    *ROOT.lock() = Some(handle.clone());
    Ok(handle)
}

/// Asks the session manager for the root directory of the present objmgr.
fn renew_root(stale: &Arc<OwnedHandle>) -> NtResult {
    let handle = Arc::new(session::get_server("objmgr")?);
    let mut root = ROOT.lock();
    if root.as_ref().is_none_or(|current| Arc::ptr_eq(current, stale)) {
        *root = Some(handle);
    }
    Ok(())
}

/// Calls objmgr on the root directory.
fn call<C>(call: C, attach: Option<Attach>) -> NtResult<(C::Reply, Option<OwnedHandle>)>
where
    C: Call<Protocol = Objmgr> + Clone,
{
    let mut pauses = rpc::pauses();
    loop {
        let root = root()?;
        match rpc::call_on(root.raw(), call.clone(), attach) {
            Err(STATUS_PORT_DISCONNECTED) if Objmgr::is_idempotent(&call.clone().into_request()) => {
                // The session manager may not have seen yet that the old one has ended.
                time::sleep(pauses.next().ok_or(STATUS_PORT_DISCONNECTED)?);
                renew_root(&root)?;
            }
            result => return result,
        }
    }
}

fn attached<T>((_, handle): (T, Option<OwnedHandle>)) -> NtResult<OwnedHandle> {
    handle.ok_or(STATUS_INVALID_MESSAGE)
}

/// Flags that libnt's calls use: names compare without regard to case, as Win32 does.
const CASE: u32 = OBJ_CASE_INSENSITIVE;

/// Opens a kernel object of a type (NT's name; empty for any).
pub fn open(name: &str, type_name: &str, access: u32) -> NtResult<OwnedHandle> {
    let request = objmgr::Open {
        name: name.into(),
        attributes: CASE,
        desired_access: access,
        type_name: type_name.into(),
    };
    call(request, None).and_then(attached)
}

/// Opens a connection port by name.
pub fn open_port(name: &str, access: u32) -> NtResult<OwnedHandle> {
    open(name, ObjectType::AlpcPort.name(), access)
}

/// Opens an event by name.
pub fn open_event(name: &str, access: u32) -> NtResult<OwnedHandle> {
    open(name, ObjectType::Event.name(), access)
}

/// Opens a section by name.
pub fn open_section(name: &str, access: u32) -> NtResult<OwnedHandle> {
    open(name, ObjectType::Section.name(), access)
}

/// What [`insert`] did.
#[derive(Debug)]
pub enum Inserted {
    /// The object has the name now.
    New,
    /// OBJ_OPENIF: an object of the same type had it; here is a handle.
    Existing(OwnedHandle),
}

/// Names a kernel object. `attributes` are OBJ_ flags (OBJ_OPENIF, OBJ_PERMANENT); openers get at most `access`.
pub fn insert(name: &str, object: Handle, access: Option<u32>, attributes: u32) -> NtResult<Inserted> {
    let request = objmgr::Insert {
        name: name.into(),
        attributes: attributes | CASE,
        desired_access: access.unwrap_or(MAXIMUM_ALLOWED),
    };
    match call(request, Some(Attach { handle: object, access }))? {
        (true, Some(existing)) => Ok(Inserted::Existing(existing)),
        _ => Ok(Inserted::New),
    }
}

/// Names a connection port: others can connect, no more.
pub fn insert_port(name: &str, port: Handle) -> NtResult {
    insert(name, port, Some(PORT_CONNECT), 0).map(drop)
}

/// Creates a symbolic link; the name lasts until the handle is closed.
pub fn create_symbolic_link(name: &str, target: &str, attributes: u32) -> NtResult<OwnedHandle> {
    let request = objmgr::CreateSymbolicLink {
        name: name.into(),
        attributes: attributes | CASE,
        desired_access: SYMBOLIC_LINK_ALL_ACCESS,
        target: target.into(),
    };
    call(request, None).and_then(attached)
}

/// Target of a symbolic link.
pub fn query_symbolic_link(name: &str) -> NtResult<String> {
    let request =
        objmgr::OpenSymbolicLink { name: name.into(), attributes: CASE, desired_access: SYMBOLIC_LINK_QUERY };
    let link = call(request, None).and_then(attached)?;
    rpc::call_on(link.raw(), objmgr::QuerySymbolicLink {}, None).map(|(target, _)| target)
}

/// What the named object is; symbolic links at the end are not followed.
pub fn query(name: &str) -> NtResult<ObjectInfo> {
    call(objmgr::QueryObject { name: name.into(), attributes: CASE }, None).map(|(info, _)| info)
}

/// Takes OBJ_PERMANENT from a name.
pub fn make_temporary(name: &str) -> NtResult {
    call(objmgr::MakeTemporary { name: name.into(), attributes: CASE }, None).map(drop)
}

/// An open directory.
#[derive(Debug)]
pub struct Directory(OwnedHandle);

impl Directory {
    /// Opens a directory by its absolute path.
    pub fn open(name: &str, access: u32) -> NtResult<Self> {
        let request = objmgr::OpenDirectory { name: name.into(), attributes: CASE, desired_access: access };
        call(request, None).and_then(attached).map(Self)
    }

    /// Creates a directory by its absolute path; it lasts until the handle is closed, unless OBJ_PERMANENT.
    pub fn create(name: &str, attributes: u32) -> NtResult<Self> {
        let request = objmgr::CreateDirectory {
            name: name.into(),
            attributes: attributes | CASE,
            desired_access: DIRECTORY_ALL_ACCESS,
        };
        call(request, None).and_then(attached).map(Self)
    }

    /// The handle.
    pub const fn handle(&self) -> Handle {
        self.0.raw()
    }

    /// Every name in the directory.
    pub fn list(&self) -> NtResult<Vec<Entry>> {
        let mut all = Vec::new();
        let mut index = Some(0);
        while let Some(from) = index {
            let (mut part, _) = rpc::call_on(self.handle(), objmgr::QueryDirectory { index: from }, None)?;
            all.append(&mut part.entries);
            index = part.next.filter(|next| *next > from);
        }
        Ok(all)
    }
}
