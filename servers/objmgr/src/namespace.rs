//! The tree of names.
//!
//! A node is a directory, a symbolic link, a type, or a kernel object (`T`). It lives as long as something keeps it: its
//! name while it is permanent or has open handles; handles; entries, for a directory. A temporary node loses its name when
//! its last handle is closed; who owns handles reports opens and closes ([`Namespace::opened`], [`Namespace::closed`],
//! [`Namespace::remove_name`]).

use crate::name::{SEPARATOR, check_length, fold, split_first};
use abi::status::*;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Symbolic links that one walk follows at most.
pub const MAX_LINKS: usize = 32;

/// Identifies a node; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NodeId(u64);

/// NT's type name of a kernel object.
pub trait Typed {
    /// The name.
    fn type_name(&self) -> &'static str;
}

/// What a node is.
#[derive(Debug)]
pub enum Kind<T> {
    /// A directory: entries by folded and exact name, and the rights of the world on it.
    Directory {
        /// Entries.
        entries: BTreeMap<(String, String), NodeId>,
        /// Rights of the world.
        world: u32,
    },
    /// A symbolic link.
    SymbolicLink {
        /// Where it leads.
        target: String,
    },
    /// An entry of `\ObjectTypes`.
    Type,
    /// A kernel object.
    Object(T),
}

impl<T: Typed> Kind<T> {
    /// NT's type name.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "Directory",
            Self::SymbolicLink { .. } => "SymbolicLink",
            Self::Type => "Type",
            Self::Object(object) => object.type_name(),
        }
    }
}

/// A node of the tree.
#[derive(Debug)]
pub struct Node<T> {
    /// Name in its directory.
    pub name: String,
    /// Its directory; `None` for the root and for what has no name (any more).
    pub parent: Option<NodeId>,
    /// The name outlives the handles.
    pub permanent: bool,
    /// Who made it (a process id), for the count of names per client.
    pub owner: u64,
    /// Open handles that objmgr minted (directories and links).
    pub handles: u32,
    /// What it is.
    pub kind: Kind<T>,
}

/// How a name is looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lookup {
    /// Case does not matter (OBJ_CASE_INSENSITIVE).
    pub case_insensitive: bool,
    /// A symbolic link at the end is not followed (OBJ_OPENLINK, and calls about links themselves).
    pub open_link: bool,
}

/// Where a name leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// To a node.
    Node(NodeId),
    /// To a name that its directory does not have.
    Absent {
        /// The directory.
        parent: NodeId,
        /// The name.
        leaf: String,
    },
}

/// The tree.
#[derive(Debug)]
pub struct Namespace<T> {
    nodes: BTreeMap<NodeId, Node<T>>,
    next_id: u64,
    names_by_owner: BTreeMap<u64, usize>,
}

/// The root directory.
pub const ROOT: NodeId = NodeId(0);
/// Most nodes in all.
pub const MAX_NODES: usize = 0x1_0000;
/// Most nodes that one client made.
pub const MAX_NODES_PER_OWNER: usize = 0x1000;
/// The owner that is not limited: the system itself.
pub const SYSTEM_OWNER: u64 = 0;

impl<T: Typed> Namespace<T> {
    /// An empty root directory with these rights for the world.
    pub fn new(world: u32) -> Self {
        let root = Node {
            name: String::new(),
            parent: None,
            permanent: true,
            owner: SYSTEM_OWNER,
            handles: 0,
            kind: Kind::Directory { entries: BTreeMap::new(), world },
        };
        Self { nodes: BTreeMap::from([(ROOT, root)]), next_id: 1, names_by_owner: BTreeMap::new() }
    }

    /// A node, while it lives.
    pub fn get(&self, id: NodeId) -> NtResult<&Node<T>> {
        self.nodes.get(&id).ok_or(STATUS_OBJECT_NAME_NOT_FOUND)
    }

    /// A kernel object, to change it.
    pub fn object_mut(&mut self, id: NodeId) -> Option<&mut T> {
        match &mut self.nodes.get_mut(&id)?.kind {
            Kind::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Nodes alive.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True when there is only the root.
    pub fn is_empty(&self) -> bool {
        self.nodes.len() == 1
    }

    fn child(&self, directory: NodeId, name: &str, lookup: Lookup) -> Option<NodeId> {
        let Kind::Directory { entries, .. } = &self.nodes.get(&directory)?.kind else { return None };
        let folded = fold(name);
        if !lookup.case_insensitive {
            return entries.get(&(folded, name.to_string())).copied();
        }
        let first = entries.range((folded.clone(), String::new())..).next()?;
        (first.0.0 == folded).then_some(*first.1)
    }

    /// Looks a name up. An absolute name is allowed from the root directory only. An empty name is
    /// STATUS_OBJECT_PATH_SYNTAX_BAD (what it means for the caller, the caller decides before).
    pub fn lookup(&self, base: NodeId, name: &str, lookup: Lookup) -> NtResult<Found> {
        check_length(name)?;
        if name.is_empty() {
            return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
        }
        let mut directory = base;
        let mut text = name.to_string();
        let mut at = 0;
        if name.starts_with(SEPARATOR) {
            if base != ROOT {
                return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
            }
            if name.len() == 1 {
                return Ok(Found::Node(ROOT));
            }
            at = 1;
        }
        let mut links = 0;
        loop {
            let (component, tail) = split_first(&text[at..]);
            if component.is_empty() {
                return Err(STATUS_OBJECT_NAME_INVALID);
            }
            let Some(id) = self.child(directory, component, lookup) else {
                return match tail {
                    Some(_) => Err(STATUS_OBJECT_PATH_NOT_FOUND),
                    None => Ok(Found::Absent { parent: directory, leaf: component.to_string() }),
                };
            };
            match (&self.get(id)?.kind, tail) {
                (Kind::SymbolicLink { target }, tail) if tail.is_some() || !lookup.open_link => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(STATUS_OBJECT_NAME_NOT_FOUND);
                    }
                    text = follow(target, tail)?;
                    at = 0;
                    directory = ROOT;
                    if text.is_empty() {
                        return Ok(Found::Node(ROOT));
                    }
                }
                (_, None) => return Ok(Found::Node(id)),
                (Kind::Directory { .. }, Some(tail)) => {
                    directory = id;
                    at = text.len() - tail.len();
                }
                (_, Some(_)) => return Err(STATUS_OBJECT_PATH_INVALID),
            }
        }
    }

    /// Makes a node. Without `place` it has no name (and lives by its handles alone).
    pub fn create(
        &mut self,
        place: Option<(NodeId, String)>,
        kind: Kind<T>,
        permanent: bool,
        owner: u64,
    ) -> NtResult<NodeId> {
        let owned = self.names_by_owner.get(&owner).copied().unwrap_or(0);
        let full = self.nodes.len() >= MAX_NODES || owned >= MAX_NODES_PER_OWNER;
        if owner != SYSTEM_OWNER && full {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        let id = NodeId(self.next_id);
        let (parent, name) = match place {
            Some((parent, name)) => {
                let Some(Kind::Directory { entries, .. }) = self.nodes.get_mut(&parent).map(|n| &mut n.kind)
                else {
                    return Err(STATUS_OBJECT_PATH_NOT_FOUND);
                };
                let key = (fold(&name), name.clone());
                if entries.contains_key(&key) {
                    return Err(STATUS_OBJECT_NAME_COLLISION);
                }
                entries.insert(key, id);
                (Some(parent), name)
            }
            None => (None, String::new()),
        };
        self.next_id += 1;
        self.nodes.insert(id, Node { name, parent, permanent, owner, handles: 0, kind });
        *self.names_by_owner.entry(owner).or_default() += 1;
        Ok(id)
    }

    /// A handle to a directory or link was minted.
    pub fn opened(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.handles += 1;
        }
    }

    /// A handle to a directory or link was closed. A temporary node loses its name with the last one.
    pub fn closed(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.handles = node.handles.saturating_sub(1);
        if node.handles == 0 && !node.permanent {
            self.remove_name(id);
        }
    }

    /// Makes the name go with the last handle; it goes at once when no handle is open (for a kernel object, the owner of
    /// its handles decides that).
    pub fn make_temporary(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if id == ROOT {
            return;
        }
        node.permanent = false;
        if node.handles == 0 && !matches!(node.kind, Kind::Object(_)) {
            self.remove_name(id);
        }
    }

    /// Takes a node's name away. The node goes unless handles or entries keep it; so do the directories above that only
    /// it kept.
    pub fn remove_name(&mut self, id: NodeId) {
        if id == ROOT {
            return;
        }
        let mut doubtful = VecDeque::from([id]);
        while let Some(id) = doubtful.pop_front() {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            if let Some(parent) = node.parent.take() {
                let key = (fold(&node.name), node.name.clone());
                if let Some(Kind::Directory { entries, .. }) =
                    self.nodes.get_mut(&parent).map(|n| &mut n.kind)
                {
                    entries.remove(&key);
                }
                if self.is_forgotten(parent) {
                    doubtful.push_back(parent);
                }
            }
            if self.is_forgotten(id)
                && let Some(node) = self.nodes.remove(&id)
                && let Some(count) = self.names_by_owner.get_mut(&node.owner)
            {
                *count -= 1;
                if *count == 0 {
                    self.names_by_owner.remove(&node.owner);
                }
            }
        }
    }

    /// True for a node without name, handles and entries.
    fn is_forgotten(&self, id: NodeId) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        let has_entries = matches!(&node.kind, Kind::Directory { entries, .. } if !entries.is_empty());
        id != ROOT && node.parent.is_none() && node.handles == 0 && !has_entries
    }

    /// Absolute path of a node; empty when it, or a directory above it, has no name any more.
    pub fn path(&self, id: NodeId) -> String {
        if id == ROOT {
            return SEPARATOR.to_string();
        }
        let mut names = Vec::new();
        let mut at = id;
        while at != ROOT {
            let Some(node) = self.nodes.get(&at) else { return String::new() };
            let Some(parent) = node.parent else { return String::new() };
            names.push(node.name.as_str());
            at = parent;
        }
        let mut path = String::new();
        for name in names.iter().rev() {
            path.push(SEPARATOR);
            path.push_str(name);
        }
        path
    }

    /// Entries of a directory from `index` on, in order: name and type name.
    pub fn list(&self, id: NodeId, index: usize) -> NtResult<impl Iterator<Item = (&str, &'static str)>> {
        let Kind::Directory { entries, .. } = &self.get(id)?.kind else {
            return Err(STATUS_OBJECT_TYPE_MISMATCH);
        };
        Ok(entries
            .values()
            .skip(index)
            .filter_map(|id| self.nodes.get(id))
            .map(|node| (node.name.as_str(), node.kind.type_name())))
    }
}

/// The name to go on with, from the root, when a link leads to `target` and `tail` is left.
fn follow(target: &str, tail: Option<&str>) -> NtResult<String> {
    let Some(target) = target.strip_prefix(SEPARATOR) else {
        return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
    };
    let mut name = target.to_string();
    if let Some(tail) = tail {
        if !name.is_empty() {
            name.push(SEPARATOR);
        }
        name.push_str(tail);
    }
    check_length(&name)?;
    Ok(name)
}

#[cfg(test)]
#[path = "namespace_tests.rs"]
mod tests;
