//! Named kernel objects.

use abi::ob::{MAXIMUM_ALLOWED, ObjectType};
use abi::status::*;
use libnt::alpc::ConnectionPort;
use libnt::handle::{basic_information, duplicate, object_id};
use libnt::sys::calls;
use libnt::{NtResult, OwnedHandle};
use objmgr::access::map_generic;
use objmgr::name::tail;
use objmgr::namespace::Typed;

/// Bytes of the label that the kernel keeps of a name.
const LABEL: usize = 256;

/// A kernel object that has, or is to get, a name.
#[derive(Debug)]
pub struct Named {
    object_type: ObjectType,
    /// The handle that does not keep the object open; absent until the object has its name.
    weak: Option<OwnedHandle>,
    /// A handle that keeps a permanent object open.
    kept: Option<OwnedHandle>,
}

impl Typed for Named {
    fn type_name(&self) -> &'static str {
        self.object_type.name()
    }
}

impl Named {
    /// Looks at a handle that a client passed: only events, sections and ports can be named.
    pub fn inspect(handle: &OwnedHandle) -> NtResult<Self> {
        let number = object_id(handle.raw())?.object_type;
        match u8::try_from(number).ok().and_then(ObjectType::from_number) {
            Some(object_type @ (ObjectType::Event | ObjectType::Section | ObjectType::AlpcPort)) => {
                Ok(Self { object_type, weak: None, kept: None })
            }
            _ => Err(STATUS_OBJECT_TYPE_MISMATCH),
        }
    }

    /// Gives the object its name; `context` comes back when it is released. A permanent name keeps the handle.
    pub fn attach(
        &mut self,
        port: &ConnectionPort,
        handle: OwnedHandle,
        context: u64,
        path: &str,
        permanent: bool,
    ) -> NtResult {
        let label = tail(path, LABEL).as_bytes();
        let weak = calls::create_name_handle(handle.raw(), port.handle(), context, label)?;
        self.weak = Some(OwnedHandle::new(weak));
        self.kept = permanent.then_some(handle);
        Ok(())
    }

    /// Opens the object. STATUS_OBJECT_NAME_NOT_FOUND says that its last handle has just been closed.
    pub fn open(&self, desired_access: u32) -> NtResult<OwnedHandle> {
        let weak = self.weak.as_ref().ok_or(STATUS_OBJECT_NAME_NOT_FOUND)?;
        let access = map_generic(self.type_name(), desired_access);
        if access & MAXIMUM_ALLOWED == 0 {
            return duplicate(weak.raw(), Some(access));
        }
        let granted = basic_information(weak.raw())?.granted_access;
        if access & !MAXIMUM_ALLOWED & !granted != 0 {
            return Err(STATUS_ACCESS_DENIED);
        }
        duplicate(weak.raw(), None)
    }

    /// Lets the name go with the last handle of others.
    pub fn make_temporary(&mut self) {
        self.kept = None;
    }
}
