//! `./run.sh test`: unit tests on the host, then the system tests, and one line at the end.

use crate::error::{Context, Result, message};
use crate::guest;
use crate::paths;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Packages that build on the host as a whole, with their folders.
const HOST_PACKAGES: [(&str, &str); 7] = [
    ("abi", "libnt/abi"),
    ("antares-core", "microkernel/core"),
    ("antares-host", "boot/host"),
    ("direct", "boot/direct"),
    ("proto", "libnt/proto"),
    ("tests", "tests"),
    ("trace", "libnt/trace"),
];

/// How many tests did what.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: u32,
    /// Failed.
    pub failed: u32,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// Runs everything whose name contains `filter`; prints as it goes, the sum last.
pub fn run(filter: Option<&str>) -> Result<Count> {
    let mut count = Count::default();
    println!("== unit tests");
    count.add(unit_tests(filter)?);
    println!("== building the system");
    match guest::build() {
        Ok(_) => {
            println!("== system tests");
            count.add(system_tests(filter)?);
        }
        Err(error) => {
            eprintln!("antares: {error}");
            println!("FAIL build: no system, so no system tests");
            count.failed += 1;
        }
    }
    println!("{count}");
    Ok(count)
}

/// A cargo command with the host's toolchain.
pub(crate) fn cargo(root: &Path, verb: &str) -> Command {
    let mut cargo = Command::new(paths::variable("ANTARES_HOST_CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).arg(verb).args(["--quiet", "--target-dir", "target/tools"]);
    if let Some(rustc) = paths::variable("ANTARES_HOST_RUSTC") {
        let rustdoc = rustc.replace("rustc", "rustdoc");
        cargo.env("RUSTC", rustc).env("RUSTDOC", rustdoc);
    }
    cargo
}

fn unit_tests(filter: Option<&str>) -> Result<Count> {
    let root = paths::root()?;
    let mut count = Count::default();
    let whole = HOST_PACKAGES.map(|(package, folder)| (package.to_owned(), root.join(folder), false));
    for (package, folder, is_library) in whole.into_iter().chain(libraries(&root)?) {
        if !folder.join("Cargo.toml").is_file() {
            continue;
        }
        let mut cargo = cargo(&root, "test");
        cargo.args(["--no-fail-fast", "--package", &package]);
        if is_library {
            cargo.arg("--lib");
        }
        cargo.args(filter);
        let (lines, ok) = run_and_show(cargo)?;
        let mut of_package = Count::default();
        lines.iter().filter_map(|line| result_line(line)).for_each(|result| of_package.add(result));
        if !ok && of_package.failed == 0 {
            println!("FAIL {package}: its tests do not build or did not end");
            of_package.failed = 1;
        }
        println!("{package}: {} run, {} failed", of_package.passed + of_package.failed, of_package.failed);
        count.add(of_package);
    }
    Ok(count)
}

/// The logic of servers and apps that builds on the host: each package with a `src/lib.rs`.
fn libraries(root: &Path) -> Result<Vec<(String, PathBuf, bool)>> {
    let mut found = vec![("libnt".to_owned(), root.join("libnt"), true)];
    for folder in guest::program_folders(root)? {
        if folder.join("src/lib.rs").is_file() {
            found.push((guest::package_name(&folder.join("Cargo.toml"))?, folder, true));
        }
    }
    Ok(found)
}

fn system_tests(filter: Option<&str>) -> Result<Count> {
    let root = paths::root()?;
    let mut cargo = cargo(&root, "run");
    cargo.args(["--package", "tests", "--"]).args(filter);
    let me = std::env::current_exe().context("find this program")?;
    cargo.env("ANTARES_EXE", me);
    let (lines, ok) = run_and_show(cargo)?;
    let count = lines.iter().rev().find_map(|line| count_line(line));
    Ok(match count {
        Some(count) if ok || count.failed > 0 => count,
        Some(count) => Count { failed: 1, ..count },
        None => Count { passed: 0, failed: 1 },
    })
}

/// Runs a command, shows what it prints, and returns it.
fn run_and_show(mut command: Command) -> Result<(Vec<String>, bool)> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start cargo")?;
    let stdout = child.stdout.take().ok_or_else(|| message("cargo has no output"))?;
    let mut lines = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read the tests' output")?;
        if is_news(&line) {
            println!("{line}");
        }
        lines.push(line);
    }
    Ok((lines, child.wait().context("wait for cargo")?.success()))
}

/// Is the line more than the dots of tests that passed?
fn is_news(line: &str) -> bool {
    let noise = line.is_empty()
        || line.starts_with("running ")
        || line.starts_with("test result: ok")
        || count_line(line).is_some()
        || (line.starts_with('.') && !line.contains(|c: char| c.is_alphabetic()));
    !noise
}

/// Reads cargo's `test result: ok. 3 passed; 0 failed; ...`.
fn result_line(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| {
        rest.split([';', '.']).find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
    };
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

/// Reads `3 passed, 0 failed`.
fn count_line(line: &str) -> Option<Count> {
    let (passed, failed) = line.split_once(", ")?;
    Some(Count {
        passed: passed.strip_suffix(" passed")?.parse().ok()?,
        failed: failed.strip_suffix(" failed")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(result_line(line), Some(Count { passed: 12, failed: 3 }));
        assert_eq!(result_line("test x ... ok"), None);
        assert_eq!(count_line("7 passed, 0 failed"), Some(Count { passed: 7, failed: 0 }));
        assert_eq!(count_line("7 passed"), None);
        assert_eq!(
            count_line(&Count { passed: 1, failed: 2 }.to_string()),
            Some(Count { passed: 1, failed: 2 })
        );
    }

    #[test]
    fn noise_is_left_out() {
        for noise in [
            "",
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed;",
            "...",
            ".......... 10/12",
            "3 passed, 0 failed",
        ] {
            assert!(!is_news(noise), "{noise}");
        }
        for news in ["---- a::b stdout ----", "test result: FAILED. 0 passed; 1 failed;", "ok boot::direct"] {
            assert!(is_news(news), "{news}");
        }
    }
}
