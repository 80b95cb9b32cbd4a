//! Compiling what runs inside: kernel, direct-boot loader, servers and apps, in one cargo invocation.
//!
//! What was built is copied into `build/boot` (`kernel`, `direct`, `modules/NAME`), each file whole or not at all, and that folder is
//! what images are made from.

use crate::error::{Context, Result, message};
use crate::paths::{self, Lock};
use crate::types;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The target everything inside is compiled for.
pub const TARGET: &str = "x86_64-unknown-none";
/// The first process; the kernel is given its module first.
pub const FIRST: &str = "smss";

/// What an image is made from.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The kernel's ELF file.
    pub kernel: PathBuf,
    /// The direct-boot loader.
    pub loader: PathBuf,
    /// Boot modules, [`FIRST`] first.
    pub modules: Vec<Module>,
}

/// A boot module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// Its name inside.
    pub name: String,
    /// The file.
    pub file: PathBuf,
}

/// The folders of servers and apps, sorted: each with a `Cargo.toml` is one.
pub fn program_folders(root: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for parent in ["servers", "apps"] {
        let parent = root.join(parent);
        let Ok(entries) = fs::read_dir(&parent) else { continue };
        for entry in entries {
            let folder = entry.context(format_args!("read {}", parent.display()))?.path();
            if folder.join("Cargo.toml").is_file() {
                folders.push(folder);
            }
        }
    }
    folders.sort();
    Ok(folders)
}

/// The package's name in a manifest.
pub fn package_name(manifest: &Path) -> Result<String> {
    let text = fs::read_to_string(manifest).context(format_args!("read {}", manifest.display()))?;
    name_in_manifest(&text)
        .ok_or_else(|| message(format!("{} has no `name = \"...\"` under [package]", manifest.display())))
}

fn name_in_manifest(text: &str) -> Option<String> {
    let section = text.split_once("[package]")?.1;
    let section = section.split("\n[").next()?;
    let line = section.lines().find_map(|line| line.trim().strip_prefix("name"))?;
    let value = line.trim_start().strip_prefix('=')?.trim();
    Some(value.split('"').nth(1)?.to_owned())
}

/// Compiles what changed and brings `build/boot` up to date. With `ANTARES_AS_BUILT` in the environment the last build is taken as it is.
pub fn build() -> Result<Guest> {
    if paths::variable("ANTARES_AS_BUILT").is_some() {
        return built();
    }
    let root = paths::root()?;
    let folders = program_folders(&root)?;
    let packages =
        folders.iter().map(|folder| package_name(&folder.join("Cargo.toml"))).collect::<Result<Vec<_>>>()?;
    let _lock = Lock::take()?;
    let built = run_cargo(&root, &packages)?;
    collect(&root, &built)
}

/// The same system with a kernel and a program that say which function each instruction came from. The instructions are those of the
/// ordinary build.
pub fn with_line_tables(guest: &Guest, program: &str) -> Result<Guest> {
    let root = paths::root()?;
    let _lock = Lock::take()?;
    let folder = root.join("target/profile");
    if !folder.is_dir() {
        eprintln!("antares: compiling with line tables (the first time takes a minute)");
    }
    let mut cargo = cargo(&root)?;
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only").env("CARGO_TARGET_DIR", &folder);
    cargo.args(["--package", "microkernel", "--package", program]);
    let built = run(cargo, &root)?;
    let file = |name: &str| {
        let file = built.get(name).map(|(file, _)| file.clone());
        file.ok_or_else(|| message(format!("cargo built no binary called {name}")))
    };
    let mut guest = guest.clone();
    guest.kernel = file("microkernel")?;
    for module in guest.modules.iter_mut().filter(|module| module.name == program) {
        module.file = file(program)?;
    }
    Ok(guest)
}

/// What the last [`build`] left in `build/boot`.
pub fn built() -> Result<Guest> {
    let folder = paths::build("boot")?;
    let list = folder.join("modules.txt");
    let text =
        fs::read_to_string(&list).map_err(|_| message("nothing has been built yet: run ./run.sh build"))?;
    Ok(guest_in(&folder, text.lines().map(str::to_owned)))
}

fn guest_in(folder: &Path, names: impl Iterator<Item = String>) -> Guest {
    Guest {
        kernel: folder.join("kernel"),
        loader: folder.join("direct"),
        modules: names.map(|name| Module { file: folder.join("modules").join(&name), name }).collect(),
    }
}

/// A cargo command with the toolchain that `run.sh` chose for the guest.
fn cargo(root: &Path) -> Result<Command> {
    let way = paths::variable("ANTARES_GUEST_WAY")
        .ok_or_else(|| message("no guest toolchain: start this by ./run.sh, which finds one"))?;
    let mut cargo = Command::new(paths::variable("ANTARES_GUEST_CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).env("CARGO_TARGET_DIR", "target");
    cargo.args(["build", "--release", "--target", TARGET]);
    if let Some(rustc) = paths::variable("ANTARES_GUEST_RUSTC") {
        cargo.env("RUSTC", rustc);
    }
    if way == "2" {
        cargo.env("RUSTC_BOOTSTRAP", "1");
        cargo
            .args(["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"]);
    }
    if let Some(linker) = paths::variable("ANTARES_GUEST_LINKER") {
        cargo.env("CARGO_TARGET_X86_64_UNKNOWN_NONE_LINKER", linker);
    }
    Ok(cargo)
}

/// Runs cargo; the result is each binary's name with its file and the folder its package is in.
fn run_cargo(root: &Path, packages: &[String]) -> Result<BTreeMap<String, (PathBuf, String)>> {
    if !root.join("target").join(TARGET).join("release").is_dir() {
        eprintln!("antares: compiling the system (the first time takes a minute or two)");
    }
    let mut cargo = cargo(root)?;
    for package in ["microkernel", "direct"].into_iter().chain(packages.iter().map(String::as_str)) {
        cargo.args(["--package", package]);
    }
    run(cargo, root)
}

fn run(mut cargo: Command, root: &Path) -> Result<BTreeMap<String, (PathBuf, String)>> {
    cargo.arg("--bins").arg("--message-format=json-render-diagnostics");
    if !std::io::stderr().is_terminal() {
        cargo.arg("--quiet");
    }
    let mut child = cargo.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().context("start cargo")?;
    let stdout = child.stdout.take().ok_or_else(|| message("cargo has no output"))?;
    let mut built = BTreeMap::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read cargo's output")?;
        let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
        if let (Some("compiler-artifact"), Some(file)) =
            (value["reason"].as_str(), value["executable"].as_str())
        {
            let manifest = Path::new(value["manifest_path"].as_str().unwrap_or_default());
            let parent = manifest
                .parent()
                .and_then(Path::parent)
                .and_then(|path| path.strip_prefix(root).ok())
                .unwrap_or(Path::new(""));
            let name = value["target"]["name"].as_str().unwrap_or_default().to_owned();
            built.insert(name, (PathBuf::from(file), parent.to_string_lossy().into_owned()));
        }
    }
    let status = child.wait().context("wait for cargo")?;
    if !status.success() {
        return Err(message(
            "the system does not compile (the messages above say why; without network, cargo needs the crates it fetched before)",
        ));
    }
    Ok(built)
}

fn collect(root: &Path, built: &BTreeMap<String, (PathBuf, String)>) -> Result<Guest> {
    let folder = paths::build("boot")?;
    let modules = paths::build("boot/modules")?;
    let one = |name: &str| {
        built
            .get(name)
            .map(|(file, _)| file)
            .ok_or_else(|| message(format!("cargo built no binary called {name}")))
    };
    take_kernel(one("microkernel")?, &folder.join("kernel"), &modules.join(types::NAME))?;
    paths::copy_if_changed(one("direct")?, &folder.join("direct"))?;
    let mut names: Vec<String> = built
        .iter()
        .filter(|(_, (_, parent))| parent == "servers" || parent == "apps")
        .map(|(name, _)| name.clone())
        .collect();
    names.sort_by_key(|name| (name != FIRST, name.clone()));
    if names.first().map(String::as_str) != Some(FIRST) {
        return Err(message(format!(
            "there is no {FIRST} among servers/, which is the first process the kernel starts"
        )));
    }
    for name in &names {
        paths::copy_if_changed(&built[name].0, &modules.join(name))?;
    }
    paths::copy_if_changed(&root.join("boot/readme.txt"), &modules.join("readme.txt"))?;
    names.push("readme.txt".into());
    names.push(types::NAME.into());
    for entry in fs::read_dir(&modules).context("read build/boot/modules")?.flatten() {
        if !names.iter().any(|name| *entry.file_name() == **name) {
            let _ = fs::remove_file(entry.path());
        }
    }
    fs::write(folder.join("modules.txt"), names.join("\n") + "\n").context("write build/boot/modules.txt")?;
    Ok(guest_in(&folder, names.into_iter()))
}

/// Takes over a kernel that was compiled anew: without its debug information, and the table of its types from that.
fn take_kernel(from: &Path, to: &Path, table: &Path) -> Result<()> {
    let time = |file: &Path| fs::metadata(file).and_then(|meta| meta.modified()).ok();
    if table.is_file() && time(to).is_some() && time(to) == time(from) {
        return Ok(());
    }
    let kernel = fs::read(from).context(format_args!("read {}", from.display()))?;
    let put = |file: &Path, bytes: &[u8]| -> Result<()> {
        let new = file.with_extension("new");
        fs::write(&new, bytes).context(format_args!("write {}", new.display()))?;
        let opened = fs::File::options().write(true).open(&new);
        let set = opened.and_then(|opened| time(from).map_or(Ok(()), |time| opened.set_modified(time)));
        set.context(format_args!("set the time of {}", new.display()))?;
        fs::rename(&new, file).context(format_args!("rename {}", new.display()))
    };
    put(table, types::table(&kernel)?.as_bytes())?;
    put(to, &types::without_debug_information(&kernel)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_package_section() {
        assert_eq!(
            name_in_manifest("[package]\nname = \"cmd\"\nversion.workspace = true\n"),
            Some("cmd".into())
        );
        assert_eq!(
            name_in_manifest("# x\n[package]\n  name=\"a-b\" # c\n[[bin]]\nname = \"z\"\n"),
            Some("a-b".into())
        );
        assert_eq!(name_in_manifest("[package]\nversion = \"1\"\n[[bin]]\nname = \"z\"\n"), None);
    }
}
