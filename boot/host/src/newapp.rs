//! `./run.sh new NAME`: a program of one's own in `apps/NAME`.

use crate::error::{Context, Error, Result};
use crate::paths;
use std::fs;
use std::path::Path;

const MANIFEST: &str = include_str!("../template/Cargo.toml.in");
const MAIN: &str = include_str!("../template/main.rs.in");

/// Names that cargo, the shell or the boot image already use.
const TAKEN: &[&str] = &[
    "abi",
    "alloc",
    "antares-core",
    "antares-host",
    "core",
    "direct",
    "help",
    "kernel",
    "libnt",
    "microkernel",
    "proto",
    "proc-macro",
    "shutdown",
    "start",
    "std",
    "taskkill",
    "tasklist",
    "test",
    "tests",
];
/// Rust's words, which a crate cannot be called.
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn",
    "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop",
    "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static",
    "struct", "super", "trait", "true", "try", "type", "typeof", "unsafe", "unsized", "use", "virtual",
    "where", "while", "yield",
];

/// Why a name will not do, if it will not.
pub fn problem(name: &str) -> Option<String> {
    let is_shaped = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 32
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if !is_shaped {
        return Some(format!(
            "`{name}` cannot be an app's name: use a lower-case letter, then up to 31 more of a-z, 0-9, - and _"
        ));
    }
    if TAKEN.contains(&name) || KEYWORDS.contains(&name) {
        return Some(format!("the name `{name}` is taken: cargo, the shell or the system uses it"));
    }
    None
}

/// Makes `apps/NAME` below `root`.
pub fn create(root: &Path, name: &str) -> Result<()> {
    if let Some(problem) = problem(name) {
        return Err(Error::Usage(problem));
    }
    for parent in ["apps", "servers"] {
        if root.join(parent).join(name).exists() {
            return Err(Error::Usage(format!("{parent}/{name} is there already; choose another name")));
        }
    }
    let folder = root.join("apps").join(name);
    fs::create_dir_all(folder.join("src")).context(format_args!("make {}", folder.display()))?;
    let fill = |text: &str| text.replace("{{name}}", name);
    fs::write(folder.join("Cargo.toml"), fill(MANIFEST)).context("write Cargo.toml")?;
    fs::write(folder.join("src/main.rs"), fill(MAIN)).context("write src/main.rs")
}

/// The command.
pub fn run(name: &str) -> Result<()> {
    create(&paths::root()?, name)?;
    println!(
        "apps/{name} is there: edit apps/{name}/src/main.rs, start ./run.sh, and type `{name}` in the shell"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::TempDir;

    #[test]
    fn names() {
        for good in ["a", "my-app", "x86_tool", "hello2"] {
            assert_eq!(problem(good), None, "{good}");
        }
        for bad in
            ["", "A", "2x", "../x", "a b", "-x", "ä", "kernel", "match", "abcdefghijklmnopqrstuvwxyzabcdefg"]
        {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn an_app_is_made_once() {
        let root = TempDir::new().unwrap();
        create(root.path(), "mine").unwrap();
        let manifest = fs::read_to_string(root.path().join("apps/mine/Cargo.toml")).unwrap();
        assert!(manifest.contains("name = \"mine\""), "{manifest}");
        assert!(root.path().join("apps/mine/src/main.rs").is_file());
        assert!(create(root.path(), "mine").unwrap_err().to_string().contains("already"));
    }
}
