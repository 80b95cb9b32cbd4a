//! The command line of the host tool, which is that of `run.sh`.

use crate::bench::profile;
use crate::error::{Error, Result, message};
use crate::exec::{self, Step};
use crate::paths::{self, TempDir};
use crate::qemu::{self, Boot, Machine};
use crate::session::{Line, Options};
use crate::{bench, guest, image, newapp, run, suite, trace};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that was said on the command line.
#[derive(Debug, Default)]
struct Arguments {
    command: Option<String>,
    /// The words after the subcommand and the `--kd` commands, in order.
    steps: Vec<Step>,
    boot: Option<Boot>,
    smp: Option<u32>,
    mem: Option<u32>,
    timeout: Option<u64>,
    cmdline: Option<String>,
    keep_logs: Option<PathBuf>,
    kvm: bool,
    gui: bool,
    icount: bool,
    json: bool,
    profile: bool,
    help: bool,
    out: Option<PathBuf>,
    filter: Option<String>,
    payload: Option<u32>,
    records: Option<u32>,
    from_boot: bool,
}

fn parse(mut parser: lexopt::Parser) -> Result<Arguments> {
    let mut given = Arguments::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("boot") => given.boot = Some(boot(&parser.value()?.string()?)?),
            Long("smp") => given.smp = Some(number(&parser.value()?.string()?, "--smp", 1, 255)?),
            Long("mem") => given.mem = Some(number(&parser.value()?.string()?, "--mem", 1, 1 << 24)?),
            Long("timeout") => {
                given.timeout = Some(number(&parser.value()?.string()?, "--timeout", 1, 1 << 20)?.into())
            }
            Long("cmdline") => given.cmdline = Some(parser.value()?.string()?),
            Long("keep-logs") => given.keep_logs = Some(paths::of_user(&parser.value()?.string()?)),
            Long("kd") => given.steps.push(Step { line: Line::Kd, command: parser.value()?.string()? }),
            Long("kvm") => given.kvm = true,
            Long("gui") => given.gui = true,
            Long("icount") => given.icount = true,
            Long("json") => given.json = true,
            Long("out") => given.out = Some(paths::of_user(&parser.value()?.string()?)),
            Long("filter") => given.filter = Some(parser.value()?.string()?),
            Long("payload") => {
                given.payload = Some(number(&parser.value()?.string()?, "--payload", 0, 1024)?)
            }
            Long("records") => {
                given.records = Some(number(&parser.value()?.string()?, "--records", 4096, 1 << 24)?);
            }
            Long("from-boot") => given.from_boot = true,
            Long("profile") => given.profile = true,
            Long("yes") => {}
            Long("help") | Short('h') => given.help = true,
            Value(word) if given.command.is_none() => given.command = Some(word.string()?),
            Value(word) => given.steps.push(Step { line: Line::Console, command: word.string()? }),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(given)
}

fn boot(word: &str) -> Result<Boot> {
    match word {
        "direct" => Ok(Boot::Direct),
        "bios" => Ok(Boot::Bios),
        "uefi" => Ok(Boot::Uefi),
        _ => Err(Error::Usage(format!("--boot is direct, bios or uefi, not `{word}`"))),
    }
}

fn number(text: &str, option: &str, least: u32, most: u32) -> Result<u32> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number
        .ok_or_else(|| Error::Usage(format!("{option} takes a number from {least} to {most}, not `{text}`")))
}

impl Arguments {
    fn machine(&self) -> Machine {
        let default = Machine::default();
        Machine {
            boot: self.boot.unwrap_or(default.boot),
            smp: self.smp.unwrap_or(if self.icount { 1 } else { default.smp }),
            mem: self.mem.unwrap_or(default.mem),
            cmdline: self.cmdline.clone().unwrap_or_default(),
            kvm: self.kvm,
            icount: self.icount,
            gui: self.gui,
        }
    }

    fn timeout(&self, default: u64) -> Duration {
        Duration::from_secs(self.timeout.unwrap_or(default))
    }

    /// The plain words after the subcommand, when `--kd` makes no sense.
    fn words(&self) -> Result<Vec<String>> {
        if let Some(step) = self.steps.iter().find(|step| step.line == Line::Kd) {
            return Err(Error::Usage(format!("--kd '{}' belongs to ./run.sh exec", step.command)));
        }
        Ok(self.steps.iter().map(|step| step.command.clone()).collect())
    }

    /// One word at most.
    fn word(&self) -> Result<Option<String>> {
        let words = self.words()?;
        match words.len() {
            0 | 1 => Ok(words.into_iter().next()),
            _ => Err(Error::Usage(format!("`{}` is one word too many", words[1]))),
        }
    }
}

/// Does what the command line says; the result is the exit status.
pub fn main() -> Result<u8> {
    let given = parse(lexopt::Parser::from_env())?;
    match given.command.as_deref() {
        None | Some("boot") => {
            given.word()?;
            let mut machine = given.machine();
            machine.kvm = machine.kvm || (!machine.icount && qemu::kvm_is_usable());
            run::boot(&guest::build()?, &machine)
        }
        Some("exec") => run_exec(given),
        Some("trace") => run_trace(given),
        Some("test") => {
            let count = suite::run(given.word()?.as_deref())?;
            Ok(u8::from(count.failed > 0))
        }
        Some("bench") if given.profile => {
            let name = given.word()?;
            let name = name.as_deref().unwrap_or(profile::DEFAULT);
            let profile = profile::run(
                &guest::build()?,
                name,
                &Options { timeout: given.timeout(600), ..Options::default() },
            )?;
            print!("{}", if given.json { profile.json() } else { profile.text() });
            Ok(0)
        }
        Some("bench") => {
            given.word()?;
            let table = bench::run(&guest::build()?, given.timeout(600))?;
            print!("{}", if given.json { table.json() } else { table.text() });
            Ok(u8::from(!table.faults().is_empty()))
        }
        Some("kd") => {
            let commands = given.words()?;
            if commands.is_empty() {
                return run::kd().map(|()| 0);
            }
            run::kd_commands(&commands, given.timeout(60)).map(exec::exit_code)
        }
        Some("new") => {
            let name =
                given.word()?.ok_or_else(|| Error::Usage("./run.sh new NAME: the name is missing".into()))?;
            newapp::run(&name).map(|()| 0)
        }
        Some("build") => {
            let guest = guest::build()?;
            eprintln!("antares: build/boot has the kernel and {} modules", guest.modules.len());
            Ok(0)
        }
        Some("iso") => {
            let guest = guest::build()?;
            let media =
                image::media(&guest, Boot::Bios, given.cmdline.as_deref().unwrap_or(""), &TempDir::new()?)?;
            if let image::Media::Iso(path) = media {
                println!("{}", path.display());
            }
            Ok(0)
        }
        Some(other) => {
            Err(Error::Usage(format!("there is no `{other}` here; ./run.sh help lists what there is")))
        }
    }
}

fn run_exec(given: Arguments) -> Result<u8> {
    if given.help {
        print!("{}", exec::HELP);
        return Ok(0);
    }
    if given.steps.is_empty() {
        return Err(Error::Usage(
            "./run.sh exec needs a command to run; ./run.sh exec --help explains".into(),
        ));
    }
    if given.json {
        return Err(message("--json belongs to ./run.sh bench"));
    }
    let options = Options {
        machine: given.machine(),
        timeout: given.timeout(120),
        logs: given.keep_logs,
        ..Options::default()
    };
    exec::run(&guest::build()?, &options, given.steps, &mut std::io::stdout())
}

fn run_trace(given: Arguments) -> Result<u8> {
    if given.help {
        print!("{}", trace::HELP);
        return Ok(0);
    }
    let usage = |what: &str| Error::Usage(format!("{what}; ./run.sh trace --help explains"));
    let out = given.out.clone().ok_or_else(|| usage("./run.sh trace needs --out FILE"))?;
    if !given.steps.iter().any(|step| step.line == Line::Console) {
        return Err(usage("./run.sh trace needs a command to run"));
    }
    if given.from_boot && (given.filter.is_some() || given.payload.is_some()) {
        return Err(usage("--from-boot records everything, without --filter and --payload"));
    }
    let wanted = trace::Wanted {
        out,
        filter: given.filter.clone().unwrap_or_default(),
        payload: given.payload.map_or(trace::PAYLOAD, |bytes| bytes as u16),
        from_boot: given.from_boot,
        records: given.records.unwrap_or(trace::RECORDS),
    };
    let options = Options {
        machine: given.machine(),
        timeout: given.timeout(120),
        logs: given.keep_logs.clone(),
        ..Options::default()
    };
    trace::run(&guest::build()?, &options, &wanted, given.steps, &mut std::io::stdout())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Result<Arguments> {
        parse(lexopt::Parser::from_args(words))
    }

    #[test]
    fn exec_keeps_the_order_of_its_commands() {
        let given = arguments(&[
            "exec", "--boot", "uefi", "--kd", "trace on", "a b", "--kd=lm", "c", "--smp=4", "--mem", "64",
        ])
        .unwrap();
        assert_eq!(given.command.as_deref(), Some("exec"));
        assert_eq!((given.boot, given.smp, given.mem), (Some(Boot::Uefi), Some(4), Some(64)));
        let lines: Vec<_> = given.steps.iter().map(|step| (step.line, step.command.as_str())).collect();
        assert_eq!(
            lines,
            [(Line::Kd, "trace on"), (Line::Console, "a b"), (Line::Kd, "lm"), (Line::Console, "c")]
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [&["--boot", "grub"][..], &["--smp", "0"], &["--mem", "x"], &["--what"], &["--smp"]] {
            assert_eq!(arguments(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn words_are_counted() {
        assert!(arguments(&["test", "a", "b"]).unwrap().word().is_err());
        assert!(arguments(&["new", "x", "--kd", "y"]).unwrap().word().is_err());
        assert_eq!(arguments(&["test"]).unwrap().word().unwrap(), None);
    }
}
