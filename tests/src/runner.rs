//! Runs the cases: two guests side by side, the logs of the failed ones kept.

use antares_host::exec::Step;
use antares_host::qemu::{self, Boot, Machine};
use antares_host::session::{Line, Options, Output, Session};
use antares_host::suite::Count;
use antares_host::trace::{self, Wanted};
use antares_host::{Error, guest, paths};
use std::collections::VecDeque;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How many guests run at a time.
const SIDE_BY_SIDE: usize = 2;

/// Why a test failed, in words.
pub type Failure = String;
/// What a test returns.
pub type Outcome = Result<(), Failure>;

/// A test.
pub struct Case {
    /// `group::name`.
    pub name: &'static str,
    /// How long each of its machines may run.
    pub timeout: Duration,
    /// What it does.
    pub run: fn(&Context) -> Outcome,
}

/// A test with two minutes' time.
pub const fn case(name: &'static str, run: fn(&Context) -> Outcome) -> Case {
    Case { name, timeout: Duration::from_secs(120), run }
}

/// A test with as much time as it says.
pub const fn long_case(name: &'static str, seconds: u64, run: fn(&Context) -> Outcome) -> Case {
    Case { name, timeout: Duration::from_secs(seconds), run }
}

/// What a running test knows of itself.
pub struct Context {
    name: &'static str,
    timeout: Duration,
    machines: AtomicU32,
}

impl Context {
    /// `group::name`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Boots a machine and waits for its prompt. Its logs are kept if the test fails.
    pub fn boot(&self, machine: Machine) -> Result<Session, Failure> {
        Session::boot(&self.options(machine)).map_err(words)
    }

    /// Boots the plain machine: direct boot, two processors, 512 MiB.
    pub fn boot_plain(&self) -> Result<Session, Failure> {
        self.boot(plain())
    }

    /// The options for a machine of this test.
    pub fn options(&self, machine: Machine) -> Options {
        let number = self.machines.fetch_add(1, Ordering::Relaxed);
        let logs = logs_of(self.name).join(number.to_string());
        Options { machine, timeout: self.timeout, logs: Some(logs), ..Options::default() }
    }

    /// Runs `./run.sh exec` with these arguments, direct boot if they do not say.
    pub fn exec(&self, arguments: &[&str]) -> Result<Ran, Failure> {
        self.tool("exec", arguments, &paths::root().map_err(words)?)
    }

    /// Runs a subcommand of `./run.sh` that boots, in a folder, with these arguments; direct boot if they do not say.
    pub fn tool(&self, subcommand: &str, arguments: &[&str], folder: &Path) -> Result<Ran, Failure> {
        let program = paths::variable("ANTARES_EXE")
            .ok_or("this test runs the host tool, which ./run.sh test names in ANTARES_EXE")?;
        let logs = self.options(plain()).logs.unwrap_or_default();
        let mut command = Command::new(program);
        // What was built is tested, even if somebody edits a source meanwhile.
        command.env("ANTARES_AS_BUILT", "1").env("ANTARES_CWD", folder);
        command.arg(subcommand).arg("--keep-logs").arg(logs);
        if !arguments.contains(&"--boot") {
            command.args(["--boot", "direct"]);
        }
        let output =
            command.args(arguments).stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        Ok(Ran {
            status: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Runs a command and says that it causes a request like this: to a port of this name (or owner, for ports without), whose
/// payload says this call, answered within so many instructions.
pub fn causes(test: &Context, command: &str, port: &str, call: &str, instructions: u64) -> Outcome {
    let machine = Machine { icount: true, smp: 1, ..plain() };
    let steps = vec![Step { line: Line::Console, command: command.into() }];
    let guest = guest::built().map_err(words)?;
    let recorded = trace::capture(&guest, &test.options(machine), &Wanted::default(), steps, &mut Vec::new());
    recorded.map_err(words)?.1.answers(port, call, instructions)
}

/// What `exec` did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit status.
    pub status: i32,
    /// Its output.
    pub out: String,
    /// Its messages.
    pub err: String,
}

/// The plain machine: direct boot, two processors, 512 MiB.
pub fn plain() -> Machine {
    Machine { boot: Boot::Direct, ..Machine::default() }
}

/// An error in words, for `map_err`.
#[expect(clippy::needless_pass_by_value, reason = "the shape map_err wants")]
pub fn words(error: Error) -> Failure {
    error.to_string()
}

/// Runs a shell command that must succeed; its output.
pub fn good(session: &mut Session, command: &str) -> Result<String, Failure> {
    let Output { text, status } = session.shell(command).map_err(words)?;
    if status != 0 {
        return Err(format!("`{command}` ended with status {status:#x} and printed:\n{text}"));
    }
    Ok(text)
}

/// Runs a debug-console command that must succeed; its output.
pub fn good_kd(session: &mut Session, command: &str) -> Result<String, Failure> {
    let Output { text, status } = session.kd(command).map_err(words)?;
    if status != 0 {
        return Err(format!("kd `{command}` ended with status {status:#x} and printed:\n{text}"));
    }
    Ok(text)
}

/// Fails with `what` and the text at fault unless `holds`.
pub fn check(holds: bool, what: &str, text: &str) -> Outcome {
    if holds { Ok(()) } else { Err(format!("{what}; it was:\n{text}")) }
}

/// Is Limine at hand, so that the ISO can be tested?
pub fn has_limine() -> bool {
    qemu::default_boot() != Boot::Direct
}

fn logs_of(name: &str) -> PathBuf {
    let folder = paths::build("logs/test").unwrap_or_else(|_| std::env::temp_dir());
    folder.join(name.replace("::", "-").replace('/', "-"))
}

/// Runs the cases whose names contain `filter`.
pub fn run(cases: Vec<Case>, filter: &str) -> Count {
    let chosen: VecDeque<Case> = cases.into_iter().filter(|case| case.name.contains(filter)).collect();
    let (queue, count) = (Mutex::new(chosen), Mutex::new(Count::default()));
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) else {
                        return;
                    };
                    let passed = run_one(&case);
                    if let Ok(mut count) = count.lock() {
                        *(if passed { &mut count.passed } else { &mut count.failed }) += 1;
                    }
                }
            });
        }
    });
    count.into_inner().unwrap_or_default()
}

/// A long text's beginning and end; the logs have all of it.
fn shortened(text: &str) -> String {
    const HALF: usize = 20;
    let lines: Vec<&str> = text.lines().collect();
    if lines.len() <= 2 * HALF + 1 {
        return text.to_owned();
    }
    let left_out = format!("[{} lines]", lines.len() - 2 * HALF);
    let end = &lines[lines.len() - HALF..];
    lines[..HALF]
        .iter()
        .copied()
        .chain([left_out.as_str()])
        .chain(end.iter().copied())
        .collect::<Vec<_>>()
        .join("\n")
}

fn run_one(case: &Case) -> bool {
    let logs = logs_of(case.name);
    let _ = fs::remove_dir_all(&logs);
    let context = Context { name: case.name, timeout: case.timeout, machines: AtomicU32::new(0) };
    let start = Instant::now();
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| (case.run)(&context)))
        .unwrap_or_else(|_| Err("the test itself panicked (see above)".into()));
    let seconds = start.elapsed().as_secs_f32();
    match outcome {
        Ok(()) => {
            let _ = fs::remove_dir_all(&logs);
            println!("ok   {} ({seconds:.1} s)", case.name);
            true
        }
        Err(failure) => {
            let text = shortened(failure.trim_end()).replace('\n', "\n     ");
            println!("FAIL {} ({seconds:.1} s)\n     {text}\n     logs: {}", case.name, logs.display());
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_failures_are_shortened() {
        let text = |lines: usize| (0..lines).map(|line| line.to_string()).collect::<Vec<_>>().join("\n");
        assert_eq!(shortened(&text(41)), text(41));
        let short = shortened(&text(100));
        assert_eq!(short.lines().count(), 41);
        assert!(short.contains("19\n[60 lines]\n80"), "{short}");
    }
}
