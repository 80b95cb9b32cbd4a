//! The table of docs/alpc.md, `The whole story`, against the tests that it names: no row without a test, and no test
//! that does not exist.
//!
//! A row's last cell names its tests, each in backquotes: `alpctest: part/name`, `system: group::name`, `package: path::test`
//! (a test on the host), the path of a file with tests, or the name of a test program that a system test runs.

#![cfg(test)]

use antares_host::paths;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const HEADING: &str = "## The whole story";
const HEAD: [&str; 4] = ["call, flag or attribute", "what NT does", "what Antares does", "test"];

/// Names of the tests of a program's sources: the texts after each `.case(` and `.race(`.
pub fn case_names(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in sources(folder) {
        let text = fs::read_to_string(file).unwrap();
        for rest in text.split(".case(").flat_map(|rest| rest.split(".race(")).skip(1) {
            if let Some(name) = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

/// All Rust sources below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The rows of the table, a line's number with each.
fn rows(page: &str) -> Vec<(usize, Vec<String>)> {
    let lines = page.lines().enumerate().skip_while(|(_, line)| *line != HEADING).skip(1);
    let of_section = lines.take_while(|(_, line)| !line.starts_with("## "));
    let table = of_section.filter_map(|(at, line)| {
        let cells = line.trim().strip_prefix('|')?.strip_suffix('|')?;
        let cells = cells.replace("\\|", "\u{1}");
        let cells = cells.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
        Some((at + 1, cells))
    });
    let is_text = |(_, cells): &(usize, Vec<String>)| {
        let rule = cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|c| "-: ".contains(c)));
        !rule && cells.iter().map(String::as_str).ne(HEAD)
    };
    table.filter(is_text).collect()
}

/// What a row's last cell names.
fn named(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).map(str::trim).filter(|name| !name.is_empty()).collect()
}

struct Known {
    root: PathBuf,
    alpctest: BTreeSet<String>,
    system: String,
}

impl Known {
    fn read() -> Self {
        let root = paths::root().unwrap();
        let cases = sources(&root.join("tests/src/cases"));
        Self {
            alpctest: case_names(&root.join("apps/alpctest/src")),
            system: cases.iter().map(|file| fs::read_to_string(file).unwrap()).collect(),
            root,
        }
    }

    /// Is there a test of this name?
    fn has(&self, name: &str) -> bool {
        match name.split_once(": ") {
            Some(("alpctest", test)) => self.alpctest.contains(test),
            Some(("system", test)) => self.system.contains(&format!("\"{test}\"")),
            Some((package, test)) => {
                let function = format!("fn {}(", test.rsplit("::").next().unwrap_or(test));
                self.package(package).is_some_and(|folder| {
                    sources(&folder)
                        .iter()
                        .any(|file| fs::read_to_string(file).is_ok_and(|text| text.contains(&function)))
                })
            }
            None if name.contains('/') => self.root.join(name).is_file(),
            None => self.root.join("apps").join(name).is_dir() && self.system.contains(&format!("\"{name}")),
        }
    }

    fn package(&self, name: &str) -> Option<PathBuf> {
        let folder = match name {
            "antares-core" => "microkernel/core".to_owned(),
            "abi" | "proto" => format!("libnt/{name}"),
            "libnt" | "tests" => name.to_owned(),
            other => [format!("servers/{other}"), format!("apps/{other}")]
                .into_iter()
                .find(|folder| self.root.join(folder).is_dir())?,
        };
        Some(self.root.join(folder))
    }
}

#[test]
fn every_row_of_the_alpc_table_has_its_tests() {
    let known = Known::read();
    let page = fs::read_to_string(known.root.join("docs/alpc.md")).unwrap();
    let mut wrong = Vec::new();
    for (line, cells) in rows(&page) {
        let tests = cells.last().map(|cell| named(cell)).unwrap_or_default();
        if cells.len() != HEAD.len() || cells[..3].iter().any(String::is_empty) {
            wrong.push(format!("docs/alpc.md:{line}: a row is `{}`", HEAD.join(" | ")));
        } else if tests.is_empty() {
            wrong.push(format!("docs/alpc.md:{line}: no test is named"));
        }
        let missing = tests.into_iter().filter(|test| !known.has(test));
        wrong.extend(missing.map(|test| format!("docs/alpc.md:{line}: there is no test `{test}`")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rows_are_read() {
    let page = format!(
        "| not | this |\n{HEADING}\n\ntext\n\n| {} |\n|---|:--|---|---|\n| a \\| b | c | d | `x: y/z`, `e` |\n\n## Next\n| x |",
        HEAD.join(" | ")
    );
    let rows = rows(&page);
    assert_eq!(rows, [(8, ["a | b", "c", "d", "`x: y/z`, `e`"].map(str::to_owned).to_vec())]);
    assert_eq!(named(&rows[0].1[3]), ["x: y/z", "e"]);
    assert!(named("none").is_empty());
}

#[test]
fn tests_are_found() {
    let known = Known::read();
    for there in [
        "alpctest: fast/lengths",
        "system: alpc::every_test_passes",
        "tests: doc_table::tests_are_found",
        "antares-core: alpc::tests::model::behaves_like_the_model",
        "microkernel/core/src/alpc/tests.rs",
        "killtest",
    ] {
        assert!(known.has(there), "{there}");
    }
    for missing in
        ["alpctest: fast", "alpctest: x/y", "system: a::b", "abi: no_such", "nowhere", "no/such.rs", "x: y"]
    {
        assert!(!known.has(missing), "{missing}");
    }
}
