//! QEMU's command line: one place for what a machine looks like.

use crate::error::{Context, Result, message};
use crate::image::Media;
use crate::paths::{self, TempDir};
use std::fs;
use std::path::Path;
use std::process::Command;

/// How the kernel is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boot {
    /// QEMU's `-kernel` with the loader in `boot/direct`.
    Direct,
    /// The Limine ISO under SeaBIOS.
    Bios,
    /// The Limine ISO under OVMF.
    Uefi,
}

impl Boot {
    /// The word on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Boot::Direct => "direct",
            Boot::Bios => "bios",
            Boot::Uefi => "uefi",
        }
    }
}

/// The machine to start.
#[derive(Debug, Clone)]
pub struct Machine {
    /// How it starts.
    pub boot: Boot,
    /// Processors.
    pub smp: u32,
    /// Memory in MiB.
    pub mem: u32,
    /// The kernel command line.
    pub cmdline: String,
    /// KVM instead of emulation.
    pub kvm: bool,
    /// Count instructions: the clock follows them, so that runs repeat exactly.
    pub icount: bool,
    /// With a window.
    pub gui: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Machine {
            boot: default_boot(),
            smp: 2,
            mem: 512,
            cmdline: String::new(),
            kvm: false,
            icount: false,
            gui: false,
        }
    }
}

/// The ISO where Limine is at hand, direct boot where it is not.
pub fn default_boot() -> Boot {
    if paths::variable("ANTARES_LIMINE").is_some() { Boot::Bios } else { Boot::Direct }
}

/// Does the processor show vmx or svm, and may this user open `/dev/kvm`?
pub fn kvm_is_usable() -> bool {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let shown = flags
        .lines()
        .filter(|line| line.starts_with("flags"))
        .any(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"));
    shown && fs::File::options().read(true).write(true).open("/dev/kvm").is_ok()
}

/// QEMU for a machine and its media, without serial lines. UEFI's variables go into `temp`.
pub fn command(machine: &Machine, media: &Media, temp: &TempDir) -> Result<Command> {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-M",
        "q35",
        "-cpu",
        "max",
        "-no-reboot",
        "-nic",
        "none",
        "-vga",
        "std",
    ]);
    qemu.args(["-smp", &machine.smp.to_string(), "-m", &machine.mem.to_string()]);
    if machine.kvm {
        qemu.args(["-accel", "kvm"]);
    } else {
        qemu.args(["-accel", "tcg"]);
    }
    if machine.icount {
        if machine.kvm {
            return Err(message(
                "--icount counts instructions of the emulator, so it does not go with --kvm",
            ));
        }
        qemu.args(["-icount", "shift=0,sleep=off"]);
    }
    if !machine.gui {
        qemu.args(["-display", "none"]);
    }
    match media {
        Media::Iso(iso) => {
            qemu.arg("-drive")
                .arg(format!("file={},format=raw,if=none,id=cd,media=cdrom,readonly=on", option_value(iso)?));
            qemu.args(["-device", "ide-cd,bus=ide.0,drive=cd,bootindex=1"]);
            if machine.boot == Boot::Uefi {
                firmware(&mut qemu, temp)?;
            }
        }
        Media::Direct { folder, loader, initrd } => {
            // Relative names: QEMU takes a module's name up to the first space.
            qemu.current_dir(folder);
            qemu.args(["-kernel", loader, "-initrd", initrd]);
        }
    }
    Ok(qemu)
}

fn firmware(qemu: &mut Command, temp: &TempDir) -> Result<()> {
    let missing =
        || message("UEFI needs OVMF: apt-get install ovmf, or start this by ./run.sh, which finds it");
    let code = paths::variable("ANTARES_OVMF_CODE").ok_or_else(missing)?;
    let vars = paths::variable("ANTARES_OVMF_VARS").ok_or_else(missing)?;
    let copy = temp.path().join("vars.fd");
    fs::copy(&vars, &copy).context(format_args!("copy {vars} to {}", copy.display()))?;
    qemu.arg("-drive")
        .arg(format!("if=pflash,unit=0,format=raw,readonly=on,file={}", option_value(Path::new(&code))?));
    qemu.arg("-drive").arg(format!("if=pflash,unit=1,format=raw,file={}", option_value(&copy)?));
    Ok(())
}

/// A path inside a QEMU option, where commas are doubled.
pub fn option_value(path: &Path) -> Result<String> {
    let text = path.to_str().ok_or_else(|| message(format!("the path {} is not UTF-8", path.display())))?;
    Ok(text.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_are_doubled() {
        assert_eq!(option_value(Path::new("/a,b/c")).unwrap(), "/a,,b/c");
    }
}
