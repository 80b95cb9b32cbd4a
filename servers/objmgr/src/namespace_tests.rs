//! NT's name rules, lifetimes, and a comparison with a model.

use super::*;
use abi::ob::DIRECTORY_ALL_ACCESS;
use alloc::format;
use proptest::prelude::*;

struct Object(&'static str);

impl Typed for Object {
    fn type_name(&self) -> &'static str {
        self.0
    }
}

type Tree = Namespace<Object>;

const EXACT: Lookup = Lookup { case_insensitive: false, open_link: false };
const ANY_CASE: Lookup = Lookup { case_insensitive: true, open_link: false };
const LINK: Lookup = Lookup { case_insensitive: false, open_link: true };

fn directory() -> Kind<Object> {
    Kind::Directory { entries: BTreeMap::new(), world: DIRECTORY_ALL_ACCESS }
}

fn add(tree: &mut Tree, path: &str, kind: Kind<Object>, permanent: bool) -> NodeId {
    let Found::Absent { parent, leaf } = tree.lookup(ROOT, path, LINK).unwrap() else {
        panic!("{path} exists")
    };
    tree.create(Some((parent, leaf)), kind, permanent, 4).unwrap()
}

fn tree() -> Tree {
    let mut tree = Tree::new(DIRECTORY_ALL_ACCESS);
    add(&mut tree, "\\BaseNamedObjects", directory(), true);
    add(&mut tree, "\\BaseNamedObjects\\test", Kind::Object(Object("Event")), true);
    add(&mut tree, "\\link", Kind::SymbolicLink { target: "\\BaseNamedObjects".into() }, true);
    tree
}

fn found(tree: &Tree, name: &str, lookup: Lookup) -> NtResult<String> {
    match tree.lookup(ROOT, name, lookup)? {
        Found::Node(id) => Ok(tree.path(id)),
        Found::Absent { .. } => Err(STATUS_OBJECT_NAME_NOT_FOUND),
    }
}

#[test]
fn statuses_are_nts() {
    let tree = tree();
    for (name, status) in [
        ("", STATUS_OBJECT_PATH_SYNTAX_BAD),
        ("\\\\BaseNamedObjects", STATUS_OBJECT_NAME_INVALID),
        ("\\BaseNamedObjects\\\\test", STATUS_OBJECT_NAME_INVALID),
        ("\\BaseNamedObjects\\", STATUS_OBJECT_NAME_INVALID),
        ("\\nothing\\test", STATUS_OBJECT_PATH_NOT_FOUND),
        ("\\BaseNamedObjects\\nothing\\", STATUS_OBJECT_PATH_NOT_FOUND),
        ("\\BaseNamedObjects\\nothing", STATUS_OBJECT_NAME_NOT_FOUND),
        ("\\BaseNamedObjects\\test\\x", STATUS_OBJECT_PATH_INVALID),
        ("\\BASENamedObjects\\test", STATUS_OBJECT_PATH_NOT_FOUND),
    ] {
        assert_eq!(found(&tree, name, EXACT), Err(status), "{name}");
    }
    assert_eq!(found(&tree, "\\", EXACT).unwrap(), "\\");
    assert_eq!(found(&tree, "\\BASENamedObjects\\TEST", ANY_CASE).unwrap(), "\\BaseNamedObjects\\test");
    assert_eq!(found(&tree, "BaseNamedObjects\\test", EXACT).unwrap(), "\\BaseNamedObjects\\test");
}

#[test]
fn absolute_names_start_at_the_root_only() {
    let tree = tree();
    let Found::Node(base) = tree.lookup(ROOT, "\\BaseNamedObjects", EXACT).unwrap() else { panic!() };
    assert_eq!(tree.lookup(base, "\\x", EXACT), Err(STATUS_OBJECT_PATH_SYNTAX_BAD));
    assert!(matches!(tree.lookup(base, "test", EXACT), Ok(Found::Node(_))));
}

#[test]
fn links_are_followed_but_not_for_ever() {
    let mut tree = tree();
    assert_eq!(found(&tree, "\\link\\test", EXACT).unwrap(), "\\BaseNamedObjects\\test");
    assert_eq!(found(&tree, "\\link", EXACT).unwrap(), "\\BaseNamedObjects");
    assert_eq!(found(&tree, "\\link", LINK).unwrap(), "\\link");
    add(&mut tree, "\\loop", Kind::SymbolicLink { target: "\\loop".into() }, true);
    assert_eq!(found(&tree, "\\loop\\x", EXACT), Err(STATUS_OBJECT_NAME_NOT_FOUND));
    add(&mut tree, "\\grow", Kind::SymbolicLink { target: "\\grow\\grow".into() }, true);
    assert_eq!(found(&tree, "\\grow", EXACT), Err(STATUS_OBJECT_NAME_NOT_FOUND));
    add(&mut tree, "\\top", Kind::SymbolicLink { target: "\\".into() }, true);
    assert_eq!(found(&tree, "\\top", EXACT).unwrap(), "\\");
    assert_eq!(found(&tree, "\\top\\link\\test", EXACT).unwrap(), "\\BaseNamedObjects\\test");
    add(&mut tree, "\\odd", Kind::SymbolicLink { target: "relative".into() }, true);
    assert_eq!(found(&tree, "\\odd", EXACT), Err(STATUS_OBJECT_PATH_SYNTAX_BAD));
}

#[test]
fn names_that_differ_in_case_live_side_by_side() {
    let mut tree = tree();
    add(&mut tree, "\\BaseNamedObjects\\TEST", Kind::Object(Object("Section")), true);
    assert_eq!(found(&tree, "\\BaseNamedObjects\\test", EXACT).unwrap(), "\\BaseNamedObjects\\test");
    assert_eq!(found(&tree, "\\BaseNamedObjects\\TEST", EXACT).unwrap(), "\\BaseNamedObjects\\TEST");
    assert!(found(&tree, "\\BaseNamedObjects\\Test", ANY_CASE).is_ok());
    assert!(found(&tree, "\\BaseNamedObjects\\Test", EXACT).is_err());
}

#[test]
fn temporary_directories_vanish_with_their_last_handle() {
    let mut tree = tree();
    let before = tree.len();
    let outer = add(&mut tree, "\\outer", directory(), false);
    tree.opened(outer);
    tree.opened(outer);
    let inner = add(&mut tree, "\\outer\\inner", Kind::Object(Object("Event")), false);
    tree.closed(outer);
    assert!(found(&tree, "\\outer\\inner", EXACT).is_ok());
    tree.closed(outer);
    assert_eq!(found(&tree, "\\outer", EXACT), Err(STATUS_OBJECT_NAME_NOT_FOUND));
    assert_eq!(tree.path(inner), "");
    assert_eq!(tree.len(), before + 2, "the entry keeps its directory");
    tree.remove_name(inner);
    assert_eq!(tree.len(), before);
}

#[test]
fn permanent_nodes_stay_until_made_temporary() {
    let mut tree = tree();
    let node = add(&mut tree, "\\stay", directory(), true);
    tree.opened(node);
    tree.closed(node);
    assert!(found(&tree, "\\stay", EXACT).is_ok());
    tree.make_temporary(node);
    assert!(found(&tree, "\\stay", EXACT).is_err());
    tree.make_temporary(ROOT);
    tree.remove_name(ROOT);
    assert!(found(&tree, "\\", EXACT).is_ok());
}

#[test]
fn one_client_cannot_fill_the_tree() {
    let mut tree = Tree::new(0);
    for i in 0..MAX_NODES_PER_OWNER {
        tree.create(Some((ROOT, format!("{i}"))), Kind::Type, false, 9).unwrap();
    }
    let one_more = |owner, tree: &mut Tree| tree.create(Some((ROOT, "x".into())), Kind::Type, false, owner);
    assert_eq!(one_more(9, &mut tree), Err(STATUS_QUOTA_EXCEEDED));
    assert_eq!(one_more(8, &mut tree).map(drop), Ok(()));
    let Found::Node(first) = tree.lookup(ROOT, "\\0", EXACT).unwrap() else { panic!() };
    tree.remove_name(first);
    assert!(tree.create(Some((ROOT, "y".into())), Kind::Type, false, 9).is_ok());
}

/// What a client does in the comparison with the model.
#[derive(Clone, Debug)]
enum Step {
    Create(String),
    Remove(String),
    Lookup(String),
}

fn step() -> impl Strategy<Value = Step> {
    let name = "(\\\\[abAB]){1,3}";
    prop_oneof![
        name.prop_map(Step::Create),
        name.prop_map(Step::Remove),
        "[abAB\\\\]{0,8}".prop_map(Step::Lookup),
    ]
}

/// The model's answer: a flat set of absolute paths, all directories.
fn model_lookup(paths: &alloc::collections::BTreeSet<String>, name: &str) -> NtResult<bool> {
    if name.is_empty() {
        return Err(STATUS_OBJECT_PATH_SYNTAX_BAD);
    }
    if name == "\\" {
        return Ok(true);
    }
    let components: Vec<&str> = name.strip_prefix('\\').unwrap_or(name).split('\\').collect();
    let mut path = String::new();
    for (i, component) in components.iter().enumerate() {
        if component.is_empty() {
            return Err(STATUS_OBJECT_NAME_INVALID);
        }
        path = format!("{path}\\{component}");
        if !paths.contains(&path) {
            let last = i == components.len() - 1;
            return if last { Ok(false) } else { Err(STATUS_OBJECT_PATH_NOT_FOUND) };
        }
    }
    Ok(true)
}

proptest! {
    #[test]
    fn the_tree_behaves_as_a_set_of_paths(steps in proptest::collection::vec(step(), 0..60)) {
        let mut tree = Tree::new(0);
        let mut paths = alloc::collections::BTreeSet::new();
        for step in steps {
            match step {
                Step::Create(path) => {
                    let exists = model_lookup(&paths, &path);
                    match tree.lookup(ROOT, &path, EXACT) {
                        Ok(Found::Absent { parent, leaf }) => {
                            prop_assert_eq!(exists, Ok(false));
                            tree.create(Some((parent, leaf)), directory(), true, 4).unwrap();
                            paths.insert(path);
                        }
                        Ok(Found::Node(id)) => {
                            prop_assert_eq!(exists, Ok(true));
                            prop_assert_eq!(tree.path(id), path);
                        }
                        Err(status) => prop_assert_eq!(exists, Err(status)),
                    }
                }
                Step::Remove(path) => {
                    if let Ok(Found::Node(id)) = tree.lookup(ROOT, &path, EXACT) {
                        prop_assert!(paths.contains(&path));
                        tree.remove_name(id);
                        paths.retain(|p| *p != path && !p.starts_with(&format!("{path}\\")));
                    }
                }
                Step::Lookup(name) => {
                    let result = tree.lookup(ROOT, &name, EXACT).map(|f| matches!(f, Found::Node(_)));
                    prop_assert_eq!(result, model_lookup(&paths, &name));
                }
            }
        }
    }

    #[test]
    fn any_name_is_answered(name in "\\PC{0,40}", case_insensitive: bool) {
        let _ = tree().lookup(ROOT, &name, Lookup { case_insensitive, open_link: false });
    }
}
