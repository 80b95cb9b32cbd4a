//! Answers to requests.

use crate::named::Named;
use abi::ob::*;
use abi::status::*;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use libnt::rpc::{Answer, Caller, Origin, Server, Service};
use libnt::{NtResult, OwnedHandle};
use objmgr::access::{Authority, WORLD_CREATE, WORLD_LINK, grant};
use objmgr::name::check_length;
use objmgr::namespace::{Found, Kind, Lookup, Namespace, NodeId, ROOT, SYSTEM_OWNER};
use proto::MAX_PAYLOAD;
use proto::objmgr::*;

/// Most directory and link handles that one client opened.
const MAX_OPENS_PER_OWNER: usize = 0x1000;
/// Bytes of a listing: what a message holds, less the largest possible overhead of its frame.
const LISTING: usize = MAX_PAYLOAD - 64;
/// Bytes that an entry of a listing takes besides its strings, at most.
const ENTRY_OVERHEAD: usize = 6;

/// A handle that was minted.
#[derive(Clone, Copy, Debug)]
struct OpenHandle {
    node: NodeId,
    owner: u64,
}

/// The object manager.
#[derive(Debug)]
pub struct ObjectManager {
    names: Namespace<Named>,
    /// Minted handles by their context.
    opens: BTreeMap<u64, OpenHandle>,
    opens_by_owner: BTreeMap<u64, usize>,
    next_open: u64,
    /// Named kernel objects by the context of their name handles.
    released: BTreeMap<u64, NodeId>,
}

/// A request's directory and rights.
struct Base {
    node: NodeId,
    authority: Authority,
    owner: u64,
}

/// What a create call finds at its name.
enum Place {
    /// Something of the same type, and OBJ_OPENIF.
    Existing(NodeId),
    /// Nothing yet.
    Free(NodeId, String),
}

fn lookup_flags(attributes: u32) -> Lookup {
    Lookup {
        case_insensitive: attributes & OBJ_CASE_INSENSITIVE != 0,
        open_link: attributes & OBJ_OPENLINK != 0,
    }
}

fn link_lookup(attributes: u32) -> Lookup {
    Lookup { open_link: true, ..lookup_flags(attributes) }
}

fn check_attributes(attributes: u32) -> NtResult {
    if attributes & !OBJ_VALID_ATTRIBUTES == 0 { Ok(()) } else { Err(STATUS_INVALID_PARAMETER) }
}

impl ObjectManager {
    /// An object manager with this tree.
    pub fn new(names: Namespace<Named>) -> Self {
        Self {
            names,
            opens: BTreeMap::new(),
            opens_by_owner: BTreeMap::new(),
            next_open: 1,
            released: BTreeMap::new(),
        }
    }

    /// Mints a handle to a directory or link.
    pub fn mint(&mut self, server: &Server, node: NodeId, access: u32, owner: u64) -> NtResult<OwnedHandle> {
        let server_type = match self.names.get(node)?.kind {
            Kind::Directory { .. } => TYPE_DIRECTORY,
            Kind::SymbolicLink { .. } => TYPE_SYMBOLIC_LINK,
            _ => return Err(STATUS_OBJECT_TYPE_MISMATCH),
        };
        let count = self.opens_by_owner.get(&owner).copied().unwrap_or(0);
        if owner != SYSTEM_OWNER && count >= MAX_OPENS_PER_OWNER {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        let handle = server.create_object(self.next_open, server_type, access)?;
        self.opens.insert(self.next_open, OpenHandle { node, owner });
        self.next_open += 1;
        *self.opens_by_owner.entry(owner).or_default() += 1;
        self.names.opened(node);
        Ok(handle)
    }

    /// The node behind the handle that a request came on, which must be of this server type.
    fn opened(&self, caller: &Caller, wanted: u32) -> NtResult<NodeId> {
        match caller.origin {
            Origin::Object { context, server_type, .. } if server_type == wanted => {
                self.opens.get(&context).map(|open| open.node).ok_or(STATUS_INVALID_HANDLE)
            }
            _ => Err(STATUS_OBJECT_TYPE_MISMATCH),
        }
    }

    /// The directory that a request is relative to, with the right to walk through it.
    fn base(&self, caller: &Caller) -> NtResult<Base> {
        let node = self.opened(caller, TYPE_DIRECTORY)?;
        caller.require(DIRECTORY_TRAVERSE)?;
        let authority = Authority { granted: caller.access(), on_root: node == ROOT };
        // What the system's own handle makes is not counted against anyone.
        let owner = if authority.is_system() { SYSTEM_OWNER } else { caller.process_id() };
        Ok(Base { node, authority, owner })
    }

    /// Rights on a directory or link that was reached by name.
    fn allowed(&self, base: &Base, node: NodeId) -> NtResult<u32> {
        let world = match self.names.get(node)?.kind {
            Kind::Directory { .. } if node == base.node => base.authority.granted,
            Kind::Directory { world, .. } => world,
            _ => WORLD_LINK,
        };
        Ok(base.authority.on(world))
    }

    fn find(&self, base: &Base, name: &str, lookup: Lookup) -> NtResult<NodeId> {
        match self.names.lookup(base.node, name, lookup)? {
            Found::Node(id) => Ok(id),
            Found::Absent { .. } => Err(STATUS_OBJECT_NAME_NOT_FOUND),
        }
    }

    /// Opens a directory or link of this type by name.
    fn open_minted(
        &mut self,
        server: &Server,
        base: &Base,
        name: &str,
        lookup: Lookup,
        type_name: &str,
        desired: u32,
    ) -> NtResult<OwnedHandle> {
        let node = self.find(base, name, lookup)?;
        self.mint_existing(server, base, node, type_name, desired)
    }

    fn mint_existing(
        &mut self,
        server: &Server,
        base: &Base,
        node: NodeId,
        type_name: &str,
        desired: u32,
    ) -> NtResult<OwnedHandle> {
        if self.names.get(node)?.kind.type_name() != type_name {
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        }
        let access = grant(type_name, desired, self.allowed(base, node)?)?;
        self.mint(server, node, access, base.owner)
    }

    /// Decides on a name that is to be created, and checks the right to create it.
    fn place(
        &self,
        base: &Base,
        name: &str,
        attributes: u32,
        lookup: Lookup,
        type_name: &str,
    ) -> NtResult<Place> {
        if attributes & OBJ_PERMANENT != 0 && !base.authority.is_system() {
            return Err(STATUS_PRIVILEGE_NOT_HELD);
        }
        match self.names.lookup(base.node, name, lookup)? {
            Found::Node(id) => {
                if self.names.get(id)?.kind.type_name() != type_name {
                    Err(STATUS_OBJECT_TYPE_MISMATCH)
                } else if attributes & OBJ_OPENIF == 0 {
                    Err(STATUS_OBJECT_NAME_COLLISION)
                } else {
                    Ok(Place::Existing(id))
                }
            }
            Found::Absent { parent, leaf } => {
                let right = if type_name == "Directory" {
                    DIRECTORY_CREATE_SUBDIRECTORY
                } else {
                    DIRECTORY_CREATE_OBJECT
                };
                if self.allowed(base, parent)? & right == 0 {
                    return Err(STATUS_ACCESS_DENIED);
                }
                Ok(Place::Free(parent, leaf))
            }
        }
    }

    /// Creates a directory or link, or opens it by OBJ_OPENIF. True when it was there.
    fn create_minted(
        &mut self,
        server: &Server,
        base: &Base,
        request: CreateMinted<'_>,
    ) -> NtResult<(bool, OwnedHandle)> {
        let CreateMinted { name, attributes, desired, lookup, kind } = request;
        check_attributes(attributes)?;
        let type_name = kind.type_name();
        let permanent = attributes & OBJ_PERMANENT != 0;
        let place = if name.is_empty() {
            None
        } else {
            match self.place(base, name, attributes, lookup, type_name)? {
                Place::Existing(id) => {
                    return self.mint_existing(server, base, id, type_name, desired).map(|h| (true, h));
                }
                Place::Free(parent, leaf) => Some((parent, leaf)),
            }
        };
        let access = grant(type_name, desired, u32::MAX >> 8)?;
        let permanent = permanent && place.is_some();
        let node = self.names.create(place, kind, permanent, base.owner)?;
        self.mint(server, node, access, base.owner).map(|handle| (false, handle)).inspect_err(|_| {
            // Nobody could ever close it.
            self.names.remove_name(node);
        })
    }

    fn insert(
        &mut self,
        server: &Server,
        base: &Base,
        request: &Insert,
        handle: OwnedHandle,
    ) -> NtResult<Option<OwnedHandle>> {
        check_attributes(request.attributes)?;
        let object = Named::inspect(&handle)?;
        let type_name = objmgr::namespace::Typed::type_name(&object);
        let lookup = lookup_flags(request.attributes);
        let mut place = self.place(base, &request.name, request.attributes, lookup, type_name)?;
        if let Place::Existing(id) = place {
            match self.open_object(id, request.desired_access) {
                // Its last handle has just been closed: the name is free.
                Err(STATUS_OBJECT_NAME_NOT_FOUND) => {
                    place = self.place(base, &request.name, request.attributes, lookup, type_name)?;
                }
                opened => return opened.map(Some),
            }
        }
        let Place::Free(parent, leaf) = place else { return Err(STATUS_OBJECT_NAME_COLLISION) };
        let permanent = request.attributes & OBJ_PERMANENT != 0;
        let kind = Kind::Object(object);
        let node = self.names.create(Some((parent, leaf)), kind, permanent, base.owner)?;
        let context = self.next_open;
        self.next_open += 1;
        let path = self.names.path(node);
        let attached = match self.names.object_mut(node) {
            Some(named) => named.attach(server.port(), handle, context, &path, permanent),
            None => Err(STATUS_OBJECT_TYPE_MISMATCH),
        };
        if let Err(status) = attached {
            self.names.remove_name(node);
            return Err(status);
        }
        self.released.insert(context, node);
        Ok(None)
    }

    /// Opens a named kernel object; forgets its name when its last handle has just been closed.
    fn open_object(&mut self, node: NodeId, desired: u32) -> NtResult<OwnedHandle> {
        let Kind::Object(named) = &self.names.get(node)?.kind else {
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        };
        let opened = named.open(desired);
        if matches!(opened, Err(STATUS_OBJECT_NAME_NOT_FOUND)) {
            self.names.remove_name(node);
        }
        opened
    }

    fn open(&mut self, base: &Base, request: &proto::objmgr::Open) -> NtResult<OwnedHandle> {
        check_attributes(request.attributes)?;
        let node = self.find(base, &request.name, lookup_flags(request.attributes))?;
        let type_name = self.names.get(node)?.kind.type_name();
        if !request.type_name.is_empty() && request.type_name != type_name {
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        }
        self.open_object(node, request.desired_access)
    }

    fn list(&self, caller: &Caller, index: u32) -> NtResult<Entries> {
        let node = self.opened(caller, TYPE_DIRECTORY)?;
        caller.require(DIRECTORY_QUERY)?;
        let mut entries = Vec::new();
        let mut bytes = 0;
        for (name, type_name) in self.names.list(node, index as usize)? {
            bytes += name.len() + type_name.len() + ENTRY_OVERHEAD;
            if bytes > LISTING && !entries.is_empty() {
                let next = index.checked_add(entries.len() as u32);
                return Ok(Entries { entries, next });
            }
            entries.push(Entry { name: name.to_string(), type_name: type_name.to_string() });
        }
        Ok(Entries { entries, next: None })
    }

    fn query(&self, base: &Base, request: &QueryObject) -> NtResult<ObjectInfo> {
        check_attributes(request.attributes)?;
        let id = if request.name.is_empty() {
            base.node
        } else {
            self.find(base, &request.name, link_lookup(request.attributes))?
        };
        let node = self.names.get(id)?;
        let target = match &node.kind {
            Kind::SymbolicLink { target } => target.clone(),
            _ => String::new(),
        };
        Ok(ObjectInfo {
            type_name: node.kind.type_name().to_string(),
            path: self.names.path(id),
            attributes: if node.permanent { OBJ_PERMANENT } else { 0 },
            target,
        })
    }

    fn make_temporary(&mut self, base: &Base, request: &MakeTemporary) -> NtResult {
        let id = self.find(base, &request.name, link_lookup(request.attributes))?;
        if !base.authority.is_system() && self.names.get(id)?.owner != base.owner {
            return Err(STATUS_ACCESS_DENIED);
        }
        self.names.make_temporary(id);
        if let Some(named) = self.names.object_mut(id) {
            named.make_temporary();
        }
        Ok(())
    }

    fn query_link(&self, caller: &Caller) -> NtResult<String> {
        let node = self.opened(caller, TYPE_SYMBOLIC_LINK)?;
        caller.require(SYMBOLIC_LINK_QUERY)?;
        match &self.names.get(node)?.kind {
            Kind::SymbolicLink { target } => Ok(target.clone()),
            _ => Err(STATUS_OBJECT_TYPE_MISMATCH),
        }
    }

    /// Answers a request; a handle in the answer is given away.
    fn answer(
        &mut self,
        server: &Server,
        caller: &Caller,
        request: Request,
        handle: Option<OwnedHandle>,
    ) -> NtResult<(Reply, Option<OwnedHandle>)> {
        match request {
            Request::QueryDirectory(r) => {
                return self.list(caller, r.index).map(|e| (Reply::QueryDirectory(e), None));
            }
            Request::QuerySymbolicLink(_) => {
                return self.query_link(caller).map(|t| (Reply::QuerySymbolicLink(t), None));
            }
            _ => {}
        }
        let base = self.base(caller)?;
        match request {
            Request::OpenDirectory(r) => {
                check_attributes(r.attributes)?;
                let lookup = lookup_flags(r.attributes);
                self.open_minted(server, &base, &r.name, lookup, "Directory", r.desired_access)
                    .map(|handle| (Reply::OpenDirectory(()), Some(handle)))
            }
            Request::OpenSymbolicLink(r) => {
                check_attributes(r.attributes)?;
                let lookup = link_lookup(r.attributes);
                self.open_minted(server, &base, &r.name, lookup, "SymbolicLink", r.desired_access)
                    .map(|handle| (Reply::OpenSymbolicLink(()), Some(handle)))
            }
            Request::CreateDirectory(r) => {
                let create = CreateMinted {
                    name: &r.name,
                    attributes: r.attributes,
                    desired: r.desired_access,
                    lookup: lookup_flags(r.attributes),
                    kind: Kind::Directory { entries: BTreeMap::new(), world: WORLD_CREATE },
                };
                self.create_minted(server, &base, create)
                    .map(|(existed, handle)| (Reply::CreateDirectory(existed), Some(handle)))
            }
            Request::CreateSymbolicLink(r) => {
                if r.target.is_empty() {
                    return Err(STATUS_INVALID_PARAMETER);
                }
                check_length(&r.target)?;
                let create = CreateMinted {
                    name: &r.name,
                    attributes: r.attributes,
                    desired: r.desired_access,
                    lookup: link_lookup(r.attributes),
                    kind: Kind::SymbolicLink { target: r.target },
                };
                self.create_minted(server, &base, create)
                    .map(|(existed, handle)| (Reply::CreateSymbolicLink(existed), Some(handle)))
            }
            Request::Insert(r) => {
                let handle = handle.ok_or(STATUS_INVALID_PARAMETER)?;
                self.insert(server, &base, &r, handle)
                    .map(|existing| (Reply::Insert(existing.is_some()), existing))
            }
            Request::Open(r) => self.open(&base, &r).map(|handle| (Reply::Open(()), Some(handle))),
            Request::QueryObject(r) => self.query(&base, &r).map(|info| (Reply::QueryObject(info), None)),
            Request::MakeTemporary(r) => {
                self.make_temporary(&base, &r).map(|()| (Reply::MakeTemporary(()), None))
            }
            Request::QueryDirectory(_) | Request::QuerySymbolicLink(_) => Err(STATUS_INVALID_PARAMETER),
        }
    }
}

/// A directory or link to create.
struct CreateMinted<'a> {
    name: &'a str,
    attributes: u32,
    desired: u32,
    lookup: Lookup,
    kind: Kind<Named>,
}

impl Service for ObjectManager {
    type Protocol = Objmgr;

    fn request(
        &mut self,
        server: &mut Server,
        caller: &Caller,
        request: Request,
        handle: Option<OwnedHandle>,
    ) -> Answer<Reply> {
        match self.answer(server, caller, request, handle) {
            Ok((reply, Some(handle))) => Answer::Give(reply, handle, None),
            Ok((reply, None)) => Answer::Reply(reply),
            Err(status) => Answer::Error(status),
        }
    }

    fn object_closed(&mut self, _server: &mut Server, context: u64, _server_type: u32) {
        let Some(open) = self.opens.remove(&context) else { return };
        if let Some(count) = self.opens_by_owner.get_mut(&open.owner) {
            *count -= 1;
            if *count == 0 {
                self.opens_by_owner.remove(&open.owner);
            }
        }
        self.names.closed(open.node);
    }

    fn name_released(&mut self, _server: &mut Server, context: u64) {
        if let Some(node) = self.released.remove(&context) {
            self.names.remove_name(node);
        }
    }
}
