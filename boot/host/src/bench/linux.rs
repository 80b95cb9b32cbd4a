//! Linux in the same machine: the program `boot/linux-bench` as the first process of a Linux kernel.
//!
//! The kernel is one of `/boot`, or Debian's package unpacked into the user's cache (nothing is installed). The counts of a kernel and a
//! program never change, so they are kept in `build/linux-bench`.

use super::{Count, machine, parse};
use crate::error::{Context, Result, message};
use crate::image::Media;
use crate::paths::{self, TempDir};
use crate::session::die_with_parent;
use crate::{qemu, suite};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// Debian's package that depends on the kernel of the day.
const PACKAGE: &str = "linux-image-amd64";
/// What the program is compiled for.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What the kernel is told. `maxcpus`: the program starts the second processor (see `boot/linux-bench/src/pairs.rs`).
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 maxcpus=1 --";
/// The program's last line.
const LAST: &str = "BENCH end";

/// Linux's counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linux {
    /// What was counted; empty if nothing could be.
    pub counts: Vec<Count>,
    /// Which kernel, or why there are no counts.
    pub words: std::result::Result<String, String>,
}

/// Counts, or takes the counts of the last time, or says why not.
pub fn counts(timeout: Duration) -> Linux {
    match try_counts(timeout) {
        Ok((counts, kernel)) => Linux { counts, words: Ok(kernel) },
        Err(error) => Linux { counts: Vec::new(), words: Err(error.to_string()) },
    }
}

fn try_counts(timeout: Duration) -> Result<(Vec<Count>, String)> {
    let kernel = kernel()?;
    let program = program()?;
    let kernel_bytes = fs::read(&kernel).context(format_args!("read {}", kernel.display()))?;
    let program_bytes = fs::read(&program).context(format_args!("read {}", program.display()))?;
    let name = kernel.file_name().unwrap_or_default().to_string_lossy().replacen("vmlinuz", "linux", 1);
    let kept =
        paths::build("linux-bench")?.join(format!("{:016x}", fingerprint(&[&kernel_bytes, &program_bytes])));
    if let Ok(text) = fs::read_to_string(&kept) {
        return Ok((parse(&text), name));
    }
    eprintln!("antares: measuring {name} (once, under a minute)");
    let temp = TempDir::new()?;
    fs::write(temp.path().join("initrd"), initramfs(&program_bytes)?).context("write the initramfs")?;
    fs::write(temp.path().join("kernel"), &kernel_bytes).context("copy the kernel")?;
    let deadline = Instant::now() + timeout;
    let mut text = String::new();
    for (processors, word) in [(1, "one"), (2, "two")] {
        text += &boot(&temp, processors, word, deadline)?;
    }
    fs::write(&kept, &text).context(format_args!("write {}", kept.display()))?;
    Ok((parse(&text), name))
}

/// 64 bits of FNV-1a.
fn fingerprint(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter());
    bytes.fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3))
}

// ---- The kernel

fn kernel() -> Result<PathBuf> {
    let cache = cache();
    if let Some(found) = newest_kernel(Path::new("/boot")).or_else(|| newest_kernel(&cache)) {
        return Ok(found);
    }
    let failed = paths::build("")?.join("no-linux");
    if let Ok(reason) = fs::read_to_string(&failed) {
        return Err(message(format!("{} (rm build/no-linux tries again)", reason.trim())));
    }
    fetch(&cache).inspect_err(|error| {
        let _ = fs::write(&failed, error.to_string());
    })?;
    newest_kernel(&cache).ok_or_else(|| message(format!("{PACKAGE} holds no kernel")))
}

fn cache() -> PathBuf {
    let base = paths::variable("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(paths::variable("HOME").unwrap_or_else(|| "/root".into())).join(".cache"),
        PathBuf::from,
    );
    base.join("antares/linux")
}

/// The last of a folder's kernels that this user may read.
fn newest_kernel(folder: &Path) -> Option<PathBuf> {
    let mut kernels: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .filter(|path| fs::File::open(path).is_ok())
        .collect();
    kernels.sort();
    kernels.pop()
}

/// Downloads Debian's kernel package and unpacks the kernel into the cache.
fn fetch(cache: &Path) -> Result<()> {
    let package = package().or_else(|error| {
        // A machine without package lists; updating them needs root.
        if !rustix::process::geteuid().is_root() {
            return Err(error);
        }
        let _ = quiet("apt-get", &["update"], Path::new("/"));
        package()
    })?;
    eprintln!(
        "antares: fetching {package} for the comparison with Linux (once, about 70 MB; nothing is installed)"
    );
    let temp = TempDir::new()?;
    let folder = temp.path();
    quiet("apt-get", &["download", &package], folder)?;
    let file = fs::read_dir(folder)
        .ok()
        .and_then(|mut entries| entries.next()?.ok())
        .ok_or_else(|| message("apt-get downloaded nothing"))?;
    let script = "dpkg-deb --fsys-tarfile \"$0\" | tar -x --wildcards './boot/vmlinuz-*'";
    quiet("sh", &["-c", script, &file.file_name().to_string_lossy()], folder)?;
    let kernel =
        newest_kernel(&folder.join("boot")).ok_or_else(|| message(format!("{package} holds no kernel")))?;
    fs::create_dir_all(cache).context(format_args!("make the folder {}", cache.display()))?;
    paths::copy_if_changed(&kernel, &cache.join(kernel.file_name().unwrap_or_default()))
}

/// The package that [`PACKAGE`] stands for today.
fn package() -> Result<String> {
    let text = quiet("apt-cache", &["depends", PACKAGE], Path::new("/"))?;
    let found = text.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    found
        .map(|version| format!("linux-image-{version}"))
        .ok_or_else(|| message(format!("no kernel in /boot, and apt knows no {PACKAGE}")))
}

/// Runs a program without a word; its output, or one line of why it failed.
fn quiet(program: &str, words: &[&str], folder: &Path) -> Result<String> {
    let output = Command::new(program).args(words).current_dir(folder).stdin(Stdio::null()).output();
    let why = match output {
        Ok(output) if output.status.success() => {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Ok(output) => String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(message(format!("no kernel in /boot, and {program} {} cannot get one: {why}", words[0])))
}

// ---- The program

/// Compiles `boot/linux-bench` without shared libraries.
fn program() -> Result<PathBuf> {
    let root = paths::root()?;
    let mut cargo = suite::cargo(&root, "build");
    cargo.args(["--release", "--package", "linux-bench", "--target", TARGET]);
    cargo.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let status = cargo.stdin(Stdio::null()).status().context("start cargo")?;
    if !status.success() {
        return Err(message("boot/linux-bench does not compile (cargo says why)"));
    }
    Ok(root.join("target/tools").join(TARGET).join("release/linux-bench"))
}

/// A file of the initramfs.
struct Entry<'a> {
    name: &'a str,
    mode: u32,
    data: &'a [u8],
    /// Major and minor number of a device.
    device: [u32; 2],
}

/// An initramfs (a cpio archive in the format `newc`) with the console and the program.
fn initramfs(program: &[u8]) -> Result<Vec<u8>> {
    let entries = [
        Entry { name: "dev", mode: 0o040_755, data: &[], device: [0, 0] },
        Entry { name: "dev/console", mode: 0o020_600, data: &[], device: [5, 1] },
        Entry { name: "init", mode: 0o100_755, data: program, device: [0, 0] },
        Entry { name: "TRAILER!!!", mode: 0, data: &[], device: [0, 0] },
    ];
    let mut archive = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        add(&mut archive, u32::try_from(number + 1).unwrap_or(0), entry)?;
    }
    Ok(archive)
}

fn add(archive: &mut Vec<u8>, number: u32, entry: &Entry<'_>) -> Result<()> {
    let length = |bytes: usize| u32::try_from(bytes).map_err(|_| message("the program is too large"));
    // Inode, mode, owner, group, links, time, size, the archive's device, the file's device, length of the name, no checksum.
    let fields = [
        number,
        entry.mode,
        0,
        0,
        1,
        0,
        length(entry.data.len())?,
        0,
        0,
        entry.device[0],
        entry.device[1],
        length(entry.name.len() + 1)?,
        0,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(entry.name.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(entry.data);
    archive.resize(archive.len().next_multiple_of(4), 0);
    Ok(())
}

// ---- The machine

/// Boots and returns what the program printed.
fn boot(temp: &TempDir, processors: u32, word: &str, deadline: Instant) -> Result<String> {
    let media =
        Media::Direct { folder: temp.path().to_path_buf(), loader: "kernel".into(), initrd: "initrd".into() };
    let mut command = qemu::command(&machine(processors), &media, temp)?;
    command.args(["-append", &format!("{COMMAND_LINE} {word}"), "-serial", "stdio"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    die_with_parent(&mut command);
    let mut qemu = command.spawn().context("start qemu-system-x86_64")?;
    let stdout = qemu.stdout.take().ok_or_else(|| message("QEMU has no output"))?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut text = String::new();
    let complete = loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.starts_with(LAST) => break true,
            Ok(line) => text += &(line.trim_end().to_owned() + "\n"),
            Err(_) => break false,
        }
    };
    let _ = qemu.kill();
    let _ = qemu.wait();
    if complete {
        return Ok(text);
    }
    let last = text.lines().last().unwrap_or("nothing").to_owned();
    Err(message(format!("Linux did not finish its measurements; the last it said was: {last}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_newc() {
        let archive = initramfs(b"program").unwrap();
        assert!(archive.starts_with(b"070701"));
        assert_eq!(archive.len() % 4, 0);
        let text = String::from_utf8_lossy(&archive);
        for name in ["dev\0", "dev/console\0", "init\0", "program", "TRAILER!!!\0"] {
            assert!(text.contains(name), "{name}");
        }
        // The first file's header is 110 bytes, its name 4 and 2 for alignment.
        assert_eq!(&archive[116..122], b"070701");
        assert_eq!(&archive[116 + 14..116 + 22], b"00002180");
    }
}
