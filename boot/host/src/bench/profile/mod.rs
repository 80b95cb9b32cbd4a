//! `./run.sh bench --profile NAME`: where the instructions of an operation go.
//!
//! QEMU writes a line for every instruction it executes (`-d exec` with one instruction per translated block); they are counted here by
//! program counter, from the program's mark `profile_begins` to `profile_ends`. Line tables tell which function, also one that was
//! inlined, an instruction came from. Nothing is sampled and the guest does not notice.

mod lock;
mod source;
mod trace;

use super::{Count, machine, parse};
use crate::error::{Result, message};
use crate::guest::{self, Guest};
use crate::paths::TempDir;
use crate::session::{Options, Session};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use trace::{Executed, Marks, Trace};

/// The benchmark that is profiled when none is named.
pub const DEFAULT: &str = "alpc_rt_32";
/// How many operations are traced: all of them count the same. Multiples of the batches that some benchmarks are made of.
const RUNS: [u64; 2] = [64, 192];
/// From so many instructions on the smaller number is traced.
const LARGE: u64 = 5000;
/// What is measured from outside.
const PAIRS: [&str; 2] = ["alpc_one_pair", "alpc_two_pairs"];
/// What other programs take part in: where their instructions are is not known, since all programs have the same addresses.
const MIXED: [&str; 2] = ["alpc_connect_close_by_name", "process_create_exit"];
/// The program.
const PROGRAM: &str = "bench";
/// First address of the kernel's half.
const KERNEL: u64 = 1 << 63;
/// Where the files are whose instructions are what tracing costs while it is off.
const TRACING: &str = "microkernel/src/trace/";
/// They may be so many percent of an operation.
pub const TRACING_OFF_PERCENT: f64 = 1.0;
/// A profile and the benchmark's own figure may differ by so many percent.
pub const DEVIATION_PERCENT: f64 = 1.0;
/// The two parts of an operation: until the server runs, and until the client runs again.
const LEGS: usize = 2;

/// A function with the instructions that came from it, per operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub function: String,
    /// The source file it is in; empty for assembly.
    pub file: String,
    /// Runs in the kernel.
    pub in_kernel: bool,
    /// Instructions per operation while the client or what it called ran, and the same of the server.
    pub legs: [f64; LEGS],
}

impl Row {
    /// Instructions per operation.
    pub fn total(&self) -> f64 {
        self.legs.iter().sum()
    }
}

/// A profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The benchmark.
    pub name: String,
    /// What the benchmark says of itself in the ordinary build, unobserved.
    pub instructions: u64,
    /// Most expensive function first.
    pub rows: Vec<Row>,
    /// Instructions per operation while the dispatcher lock is held, if that is known: with one processor, where all code
    /// that takes and opens it was recognised.
    pub locked: Option<f64>,
}

impl Profile {
    /// All rows together.
    pub fn total(&self) -> f64 {
        self.rows.iter().map(Row::total).sum()
    }

    /// What the checks whether tracing is on cost, in percent of the operation.
    pub fn tracing_percent(&self) -> f64 {
        self.rows
            .iter()
            .filter(|row| row.file.starts_with(TRACING))
            .map(Row::total)
            .fold(0.0, |sum, row| sum + row)
            / self.total()
            * 100.0
    }

    /// The rows by file, most expensive first.
    pub fn files(&self) -> Vec<(&str, [f64; LEGS])> {
        let mut sums: BTreeMap<&str, [f64; LEGS]> = BTreeMap::new();
        for row in &self.rows {
            let sum = sums.entry(if row.file.is_empty() { "(assembly)" } else { &row.file }).or_default();
            (0..LEGS).for_each(|leg| sum[leg] += row.legs[leg]);
        }
        let mut files: Vec<_> = sums.into_iter().collect();
        files.sort_by(|a, b| (b.1[0] + b.1[1]).total_cmp(&(a.1[0] + a.1[1])));
        files
    }

    /// By how much the total and the benchmark's own figure differ, in percent of the latter.
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub fn deviation(&self) -> f64 {
        let own = self.instructions as f64;
        (self.total() - own).abs() / own * 100.0
    }

    /// How much of the operation the dispatcher lock is held, and what that means for two processors: two customers of one server, with
    /// service and think times that vary at random, get 2 / (1 + share²) of what one gets alone.
    pub fn lock_words(&self) -> Option<String> {
        let locked = self.locked?;
        let share = locked / self.total();
        let scaling = 2.0 / (1.0 + share * share);
        Some(format!(
            "The dispatcher lock is held for {locked:.0} of these instructions, {:.0} %. If two processors met at it at random, they would\n\
             make {scaling:.2} times as many round trips as one.",
            share * 100.0
        ))
    }

    /// For people.
    pub fn text(&self) -> String {
        let total = self.total();
        let head = format!("{:>8} {:>8} {:>8} {:>6}  ", "total", "request", "reply", "share");
        let mut text = format!("{head}function\n");
        let line = |text: &mut String, legs: [f64; LEGS], name: &str| {
            let sum = legs[0] + legs[1];
            let share = sum / total * 100.0;
            let _ = writeln!(text, "{sum:>8.1} {:>8.1} {:>8.1} {share:>5.1}%  {name}", legs[0], legs[1]);
        };
        for row in &self.rows {
            let file = if row.file.is_empty() { String::new() } else { format!("  {}", row.file) };
            line(&mut text, row.legs, &format!("{}{file}", row.function));
        }
        let _ = writeln!(text, "\n{head}file");
        for (file, legs) in self.files() {
            line(&mut text, legs, file);
        }
        let sum = |leg: usize| self.rows.iter().map(|row| row.legs[leg]).sum();
        line(&mut text, [sum(0), sum(1)], "all");
        let _ = writeln!(
            text,
            "\nInstructions of one {}, also of functions that were inlined. request: from the client until the server runs.\n\
             The benchmark itself counts {}, which is {:.2} % away (goal: {DEVIATION_PERCENT}).\n\
             Tracing, which is off, costs {:.2} % (goal: {TRACING_OFF_PERCENT}).",
            self.name,
            self.instructions,
            self.deviation(),
            self.tracing_percent()
        );
        if let Some(words) = self.lock_words() {
            let _ = writeln!(text, "{words}");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> String {
        let row = |row: &Row| {
            json!({
                "function": row.function,
                "file": row.file,
                "mode": if row.in_kernel { "kernel" } else { "user" },
                "request": row.legs[0],
                "reply": row.legs[1],
                "total": row.total(),
                "share": row.total() / self.total(),
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        let object = json!({
            "name": self.name,
            "instructions": self.instructions,
            "total": self.total(),
            "tracing_off_percent": self.tracing_percent(),
            "dispatcher_locked": self.locked,
            "functions": rows,
        });
        serde_json::to_string_pretty(&object).unwrap_or_default() + "\n"
    }
}

/// Profiles a benchmark. `guest` is the ordinary build; of the options the machine does not count.
pub fn run(guest: &Guest, name: &str, options: &Options) -> Result<Profile> {
    if PAIRS.contains(&name) {
        return Err(message(format!(
            "{name} is the work of several processes, which have no common beginning and end to profile"
        )));
    }
    let with_tables = guest::with_line_tables(guest, PROGRAM)?;
    let instructions = unobserved(guest, name, options)?.instructions;
    let runs = RUNS[usize::from(instructions < LARGE)];
    let executed = observed(&with_tables, name, runs, options)?;
    if executed.counts.is_empty() {
        return Err(message(format!("the trace of {name} has lost its marks")));
    }
    let program = if MIXED.contains(&name) { None } else { Some(program_file(&with_tables)?) };
    let rows = source::rows(&executed, runs, &with_tables.kernel, program.as_deref())?;
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let locked =
        (processors(name) == 1 && !executed.lock_is_lost).then_some(executed.locked as f64 / runs as f64);
    Ok(Profile { name: name.to_owned(), instructions, rows, locked })
}

fn processors(name: &str) -> u32 {
    if name.ends_with("other_cpu") { 2 } else { 1 }
}

fn count(session: &mut Session, command: &str) -> Result<Count> {
    let output = session.shell(command)?;
    let count = parse(&output.text).into_iter().next().filter(|_| output.status == 0);
    count.ok_or_else(|| message(format!("`{command}` printed no figure:\n{}", output.text.trim_end())))
}

fn unobserved(guest: &Guest, name: &str, options: &Options) -> Result<Count> {
    let mut session =
        Session::start(guest, &Options { machine: machine(processors(name)), ..options.clone() })?;
    let figure = count(&mut session, &format!("{PROGRAM} {name}"))?;
    session.shutdown()?;
    Ok(figure)
}

fn observed(guest: &Guest, name: &str, runs: u64, options: &Options) -> Result<Executed> {
    let temp = TempDir::new()?;
    let trace = Trace::start(temp.path().join("trace"), Marks::find(&program_file(guest)?, &guest.kernel)?)?;
    let machine = machine(processors(name));
    let mut session = Session::start(guest, &Options { machine, ..options.clone() })?;
    // One run to warm up what lasts; its end is also the moment from which the trace is wanted.
    count(&mut session, &format!("{PROGRAM} {name} 1"))?;
    one_instruction_per_block(&mut session)?;
    session.monitor(&format!("logfile {}", trace.pipe.display()))?;
    session.monitor("log exec,nochain")?;
    count(&mut session, &format!("{PROGRAM} {name} {runs}"))?;
    session.monitor("log none")?;
    let executed = trace.finish()?;
    session.shutdown()?;
    Ok(executed)
}

/// QEMU 8.1 gave the command a better name.
fn one_instruction_per_block(session: &mut Session) -> Result<()> {
    for command in ["one-insn-per-tb on", "singlestep on"] {
        if !session.monitor(command)?.contains("unknown command") {
            return Ok(());
        }
    }
    Err(message("this QEMU has no monitor command that makes translated blocks one instruction long"))
}

fn program_file(guest: &Guest) -> Result<PathBuf> {
    let module = guest.modules.iter().find(|module| module.name == PROGRAM);
    module.map(|module| module.file.clone()).ok_or_else(|| message(format!("there is no program {PROGRAM}")))
}
