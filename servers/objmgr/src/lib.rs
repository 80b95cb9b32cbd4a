//! The object manager's logic that needs no kernel: the name space.
//!
//! Principles:
//! * The name space is a tree of [`namespace::Node`]s; what a kernel object *is* lies behind the type parameter, so that
//!   everything here runs on the host.
//! * A node's id is never used twice, so a late notice about a node that is gone finds nothing.
//! * No recursion over names, no unbounded loops: a name has at most 32767 units, a walk follows at most 32 links.
//!
//! Map: [`name`] splits, checks and folds names; [`namespace`] is the tree with its lookups, creation and lifetimes;
//! [`access`] says which rights a handle gives where; [`tree`] is NT's initial tree.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod access;
pub mod name;
pub mod namespace;
pub mod tree;
