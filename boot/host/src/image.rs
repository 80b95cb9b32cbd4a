//! What QEMU starts from: the Limine ISO, or the files for direct boot.
//!
//! An ISO is kept in `build/` with a stamp of everything it was made from, and made anew when the stamp differs.

use crate::error::{Context, Result, message};
use crate::guest::Guest;
use crate::paths::{self, Lock, TempDir};
use crate::qemu::Boot;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What QEMU is given.
#[derive(Debug, Clone)]
pub enum Media {
    /// A CD image.
    Iso(PathBuf),
    /// Direct boot: names relative to a folder.
    Direct {
        /// The folder.
        folder: PathBuf,
        /// The loader's file.
        loader: String,
        /// QEMU's `-initrd`: the kernel with its command line, then the modules, each with its name.
        initrd: String,
    },
}

/// Makes what `boot` starts from. Direct boot's files are copied into `temp`, so that a build that goes on beside does not reach them.
pub fn media(guest: &Guest, boot: Boot, cmdline: &str, temp: &TempDir) -> Result<Media> {
    let _lock = Lock::take()?;
    match boot {
        Boot::Direct => direct(guest, cmdline, temp),
        Boot::Bios | Boot::Uefi => Ok(Media::Iso(iso(guest, cmdline)?)),
    }
}

fn direct(guest: &Guest, cmdline: &str, temp: &TempDir) -> Result<Media> {
    check_cmdline(cmdline)?;
    let boot = temp.path().join("boot");
    fs::create_dir_all(&boot).context(format_args!("make {}", boot.display()))?;
    let copy = |from: &Path, to: PathBuf| {
        fs::copy(from, &to).map(drop).context(format_args!("copy {} to {}", from.display(), to.display()))
    };
    copy(&guest.loader, boot.join("direct"))?;
    copy(&guest.kernel, boot.join("kernel"))?;
    for module in &guest.modules {
        copy(&module.file, boot.join(&module.name))?;
    }
    Ok(Media::Direct {
        folder: temp.path().to_path_buf(),
        loader: "boot/direct".into(),
        initrd: initrd(guest, cmdline),
    })
}

/// QEMU's `-initrd` list, in which commas are doubled.
fn initrd(guest: &Guest, cmdline: &str) -> String {
    let mut list = format!("boot/kernel {}", cmdline.replace(',', ",,")).trim_end().to_owned();
    for module in &guest.modules {
        let _ = write!(list, ",boot/{0} {0}", module.name);
    }
    list
}

fn check_cmdline(cmdline: &str) -> Result<()> {
    if cmdline.contains(['\n', '\r', '\0']) {
        return Err(message("the kernel command line is one line"));
    }
    Ok(())
}

/// `limine.conf`: the head from `boot/limine.conf`, then the command line and the modules.
pub fn limine_conf(head: &str, cmdline: &str, names: &[&str]) -> String {
    let mut text = head.trim_end().to_owned();
    if !cmdline.is_empty() {
        let _ = write!(text, "\n    kernel_cmdline: {cmdline}");
    }
    for name in names {
        let _ = write!(text, "\n    module_path: boot():/boot/{name}\n    module_cmdline: {name}");
    }
    text + "\n"
}

/// Makes the ISO for this command line, unless the one that is there is still right.
fn iso(guest: &Guest, cmdline: &str) -> Result<PathBuf> {
    check_cmdline(cmdline)?;
    let limine = paths::variable("ANTARES_LIMINE").map(PathBuf::from).ok_or_else(|| {
        message("Limine is not at hand, and --boot bios and uefi need it: let ./run.sh fetch it (network), set LIMINE_DIR, or use --boot direct")
    })?;
    let root = paths::root()?;
    let head = fs::read_to_string(root.join("boot/limine.conf")).context("read boot/limine.conf")?;
    let names: Vec<&str> = guest.modules.iter().map(|module| module.name.as_str()).collect();
    let conf = limine_conf(&head, cmdline, &names);

    let build = paths::build("")?;
    let name =
        if cmdline.is_empty() { "antares".to_owned() } else { format!("antares-{:016x}", hash(cmdline)) };
    let (iso, stamp_file) = (build.join(format!("{name}.iso")), build.join(format!("{name}.stamp")));
    let stamp = stamp(guest, &conf, &limine)?;
    if iso.is_file() && fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(iso);
    }
    let _ = fs::remove_file(&stamp_file);

    let tree = build.join("iso");
    if tree.exists() {
        fs::remove_dir_all(&tree).context("empty build/iso")?;
    }
    let copy = |from: &Path, to: &str| {
        let to = tree.join(to);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).context(format_args!("make {}", folder.display()))?;
        }
        fs::copy(from, &to).map(drop).context(format_args!("copy {} to {}", from.display(), to.display()))
    };
    copy(&guest.kernel, "boot/kernel")?;
    for module in &guest.modules {
        copy(&module.file, &format!("boot/{}", module.name))?;
    }
    for file in ["limine-bios.sys", "limine-bios-cd.bin", "limine-uefi-cd.bin"] {
        copy(&limine.join(file), &format!("boot/limine/{file}"))?;
    }
    copy(&limine.join("BOOTX64.EFI"), "EFI/BOOT/BOOTX64.EFI")?;
    fs::write(tree.join("boot/limine/limine.conf"), &conf).context("write limine.conf")?;
    make_iso(&tree, &iso)?;
    fs::write(&stamp_file, stamp).context("write the ISO's stamp")?;
    Ok(iso)
}

fn make_iso(tree: &Path, iso: &Path) -> Result<()> {
    let fresh = iso.with_extension("iso.new");
    let output = Command::new("xorriso")
        .args([
            "-as",
            "mkisofs",
            "-quiet",
            "-R",
            "-r",
            "-J",
            "-b",
            "boot/limine/limine-bios-cd.bin",
            "-no-emul-boot",
            "-boot-load-size",
            "4",
        ])
        .args([
            "-boot-info-table",
            "-hfsplus",
            "-apm-block-size",
            "2048",
            "--efi-boot",
            "boot/limine/limine-uefi-cd.bin",
        ])
        .args(["-efi-boot-part", "--efi-boot-image", "--protective-msdos-label"])
        .arg(tree)
        .arg("-o")
        .arg(&fresh)
        .stdin(Stdio::null())
        .output()
        .context("start xorriso (apt-get install xorriso)")?;
    if !output.status.success() {
        return Err(message(format!(
            "xorriso could not make the ISO:\n{}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        )));
    }
    fs::rename(&fresh, iso).context(format_args!("rename {}", fresh.display()))
}

/// Everything an ISO depends on: names, sizes and times of its files, and the text of its limine.conf.
fn stamp(guest: &Guest, conf: &str, limine: &Path) -> Result<String> {
    let mut text = format!("{conf}\n{}\n", limine.display());
    for file in std::iter::once(&guest.kernel).chain(guest.modules.iter().map(|module| &module.file)) {
        let meta = fs::metadata(file).context(format_args!("read {}", file.display()))?;
        let time = meta
            .modified()
            .ok()
            .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |time| time.as_nanos());
        let _ = writeln!(text, "{} {} {time}", file.display(), meta.len());
    }
    Ok(text)
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::Module;

    #[test]
    fn modules_follow_the_head() {
        let conf =
            limine_conf("timeout: 0\n\n/Antares\n    protocol: limine\n", "a=b", &["smss", "readme.txt"]);
        assert_eq!(
            conf,
            "timeout: 0\n\n/Antares\n    protocol: limine\n    kernel_cmdline: a=b\n    module_path: boot():/boot/smss\n    module_cmdline: \
             smss\n    module_path: boot():/boot/readme.txt\n    module_cmdline: readme.txt\n"
        );
    }

    #[test]
    fn the_kernel_leads_the_initrd_list() {
        let module = |name: &str| Module { name: name.into(), file: PathBuf::from("/x") };
        let guest =
            Guest { kernel: "/k".into(), loader: "/l".into(), modules: vec![module("smss"), module("cmd")] };
        assert_eq!(initrd(&guest, ""), "boot/kernel,boot/smss smss,boot/cmd cmd");
        assert_eq!(initrd(&guest, "a=1,2 b"), "boot/kernel a=1,,2 b,boot/smss smss,boot/cmd cmd");
    }
}
