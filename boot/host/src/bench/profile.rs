//! `./run.sh bench --profile NAME`: where the instructions of an operation go.
//!
//! QEMU writes a line for every instruction it executes (`-d exec` with one instruction per translated block); they are counted here by
//! program counter, from the program's mark `profile_begins` to `profile_ends`. Line tables tell which function, also one that was
//! inlined, an instruction came from. Nothing is sampled and the guest does not notice.

use super::{Count, machine, parse};
use crate::error::{Context, Result, message};
use crate::guest::{self, Guest};
use crate::paths::{self, TempDir};
use crate::session::{Options, Session};
use addr2line::Loader;
use elf::ElfBytes;
use elf::abi::{STT_FUNC, STT_NOTYPE};
use elf::endian::LittleEndian;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

/// The benchmark that is profiled when none is named.
pub const DEFAULT: &str = "alpc_rt_32";
/// Operations that are traced: all of them count the same.
const RUNS: u64 = 200;
/// The program.
const PROGRAM: &str = "bench";
/// First address of the kernel's half.
const KERNEL: u64 = 1 << 63;
/// The file whose instructions are what tracing costs while it is off.
const TRACING: &str = "microkernel/src/trace.rs";
/// They may be so many percent of an operation.
pub const TRACING_OFF_PERCENT: f64 = 1.0;
/// A profile and the benchmark's own figure may differ by so many percent.
pub const DEVIATION_PERCENT: f64 = 1.0;
/// The two parts of an operation: until the server runs, and until the client runs again.
const LEGS: usize = 2;

/// How often each instruction was executed, by leg.
#[derive(Debug, Default)]
struct Executed {
    counts: HashMap<u64, [u64; LEGS]>,
}

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
}

impl Profile {
    /// All rows together.
    pub fn total(&self) -> f64 {
        self.rows.iter().map(Row::total).sum()
    }

    /// What the checks whether tracing is on cost, in percent of the operation.
    pub fn tracing_percent(&self) -> f64 {
        self.rows.iter().filter(|row| row.file == TRACING).map(Row::total).sum::<f64>() / self.total() * 100.0
    }

    /// The rows by file, most expensive first.
    fn files(&self) -> Vec<(&str, [f64; LEGS])> {
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
            "functions": rows,
        });
        serde_json::to_string_pretty(&object).unwrap_or_default() + "\n"
    }
}

/// Profiles a benchmark. `guest` is the ordinary build; of the options the machine does not count.
pub fn run(guest: &Guest, name: &str, options: &Options) -> Result<Profile> {
    let with_tables = guest::with_line_tables(guest, PROGRAM)?;
    let instructions = unobserved(guest, name, options)?.instructions;
    let (executed, runs) = observed(&with_tables, name, options)?;
    if executed.counts.is_empty() {
        return Err(message(format!(
            "{name} has no region to profile: it is made of several processes' loops"
        )));
    }
    Ok(Profile { name: name.to_owned(), instructions, rows: rows(&executed, runs, &with_tables)? })
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

fn observed(guest: &Guest, name: &str, options: &Options) -> Result<(Executed, u64)> {
    let temp = TempDir::new()?;
    let trace = Trace::start(temp.path().join("trace"), Marks::find(&program_file(guest)?)?)?;
    let machine = machine(processors(name));
    let mut session = Session::start(guest, &Options { machine, ..options.clone() })?;
    // One run to warm up what lasts; its end is also the moment from which the trace is wanted.
    count(&mut session, &format!("{PROGRAM} {name} 1"))?;
    one_instruction_per_block(&mut session)?;
    session.monitor(&format!("logfile {}", trace.pipe.display()))?;
    session.monitor("log exec,nochain")?;
    let figure = count(&mut session, &format!("{PROGRAM} {name} {RUNS}"))?;
    session.monitor("log none")?;
    let executed = trace.finish()?;
    session.shutdown()?;
    Ok((executed, figure.runs))
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

// ---- Reading the trace

/// Addresses in the program that the trace is cut by.
#[derive(Debug, Clone)]
struct Marks {
    begins: u64,
    ends: u64,
    client: Vec<std::ops::Range<u64>>,
    server: Vec<std::ops::Range<u64>>,
}

impl Marks {
    fn find(program: &Path) -> Result<Marks> {
        let mut marks = Marks { begins: 0, ends: 0, client: Vec::new(), server: Vec::new() };
        for (name, range) in functions(program)? {
            match name.as_str() {
                "bench::measure::profile_begins" => marks.begins = range.start,
                "bench::measure::profile_ends" => marks.ends = range.start,
                name if name.starts_with("bench::server::") => marks.server.push(range),
                name if name.starts_with("bench::client::") || name.starts_with("bench::pairs::") => {
                    marks.client.push(range);
                }
                _ => {}
            }
        }
        if marks.begins == 0 || marks.ends == 0 || marks.begins == marks.ends {
            return Err(message("the program has lost its marks profile_begins and profile_ends"));
        }
        Ok(marks)
    }

    /// Whose code a user address is, if it is either's own.
    fn leg(&self, address: u64) -> Option<usize> {
        let holds = |ranges: &[std::ops::Range<u64>]| ranges.iter().any(|range| range.contains(&address));
        if holds(&self.client) {
            Some(0)
        } else if holds(&self.server) {
            Some(1)
        } else {
            None
        }
    }
}

/// The functions of an ELF file's symbol table, demangled.
fn functions(file: &Path) -> Result<Vec<(String, std::ops::Range<u64>)>> {
    let bytes = std::fs::read(file).context(format_args!("read {}", file.display()))?;
    let parsed = ElfBytes::<LittleEndian>::minimal_parse(&bytes)
        .and_then(|parsed| parsed.symbol_table())
        .map_err(|error| message(format!("{}: {error}", file.display())))?;
    let (symbols, names) =
        parsed.ok_or_else(|| message(format!("{} has no symbol table", file.display())))?;
    let function = |symbol: elf::symbol::Symbol| {
        let name = names.get(symbol.st_name as usize).unwrap_or_default();
        let name = addr2line::demangle_auto(name.into(), None);
        (without_hash(&name).to_owned(), symbol.st_value..symbol.st_value + symbol.st_size)
    };
    // Assembly's labels have no type.
    let is_code = |symbol: &elf::symbol::Symbol| matches!(symbol.st_symtype(), STT_FUNC | STT_NOTYPE);
    Ok(symbols.iter().filter(is_code).map(function).collect())
}

/// A demangled name without the compiler's hash (`::h0123456789abcdef`).
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((rest, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => rest,
        _ => name,
    }
}

/// The line that ends a trace, written by this side.
const END: &[u8] = b"end of trace\n";

/// A named pipe into which QEMU traces, and the thread that reads it.
struct Trace {
    pipe: PathBuf,
    /// Open in both directions, so that neither side ever waits for the other to open it.
    file: File,
    reader: JoinHandle<Result<Executed>>,
}

impl Trace {
    fn start(pipe: PathBuf, marks: Marks) -> Result<Trace> {
        let made = Command::new("mkfifo").arg(&pipe).status().context("start mkfifo")?;
        if !made.success() {
            return Err(message("mkfifo made no pipe for the trace"));
        }
        let open = || File::options().read(true).write(true).open(&pipe).context("open the trace");
        let (file, input) = (open()?, open()?);
        let reader = std::thread::spawn(move || read(input, marks));
        Ok(Trace { pipe, file, reader })
    }

    /// Everything that was executed. QEMU has stopped tracing.
    fn finish(mut self) -> Result<Executed> {
        self.file.write_all(END).context("end the trace")?;
        self.reader.join().map_err(|_| message("the trace's reader failed"))?
    }
}

fn read(input: File, marks: Marks) -> Result<Executed> {
    let mut reader = BufReader::with_capacity(1 << 20, input);
    let mut counter = Counter::new(marks);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).context("read the trace")? == 0 || line == END {
            return Ok(counter.executed);
        }
        counter.line(&line);
    }
}

/// Counts what the trace's lines say.
struct Counter {
    marks: Marks,
    executed: Executed,
    inside: bool,
    leg: usize,
    /// The instruction that was counted last, to take it back.
    last: Option<(u64, usize)>,
}

impl Counter {
    fn new(marks: Marks) -> Counter {
        Counter { marks, executed: Executed::default(), inside: false, leg: 0, last: None }
    }

    fn line(&mut self, line: &[u8]) {
        if line.starts_with(b"Trace ") {
            if let Some(address) = traced_address(line) {
                self.instruction(address);
            }
        } else if line.starts_with(b"Stopped ") {
            // The block named last was left before it did anything.
            if let Some((address, leg)) = self.last.take()
                && let Some(legs) = self.executed.counts.get_mut(&address)
            {
                legs[leg] -= 1;
            }
        }
    }

    fn instruction(&mut self, address: u64) {
        if address == self.marks.begins {
            self.inside = true;
        } else if address == self.marks.ends {
            self.inside = false;
        }
        self.last = None;
        if !self.inside {
            return;
        }
        if address < KERNEL {
            self.leg = self.marks.leg(address).unwrap_or(self.leg);
        }
        self.executed.counts.entry(address).or_default()[self.leg] += 1;
        self.last = Some((address, self.leg));
    }
}

/// The program counter in `Trace 0: 0x7f.. [cs-base/program counter/flags/cflags] symbol`.
fn traced_address(line: &[u8]) -> Option<u64> {
    let open = line.iter().position(|byte| *byte == b'[')?;
    let rest = &line[open + 1..];
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let digits = rest[slash + 1..].iter().take_while(|byte| byte.is_ascii_hexdigit());
    let mut address = 0u64;
    for digit in digits {
        let value = (*digit as char).to_digit(16)?;
        address = address << 4 | u64::from(value);
    }
    Some(address)
}

// ---- From addresses to functions

/// What tells where an address came from.
struct Source {
    lines: Loader,
    symbols: BTreeMap<u64, String>,
    root: String,
}

impl Source {
    fn open(file: &Path) -> Result<Source> {
        let lines = Loader::new(file)
            .map_err(|error| message(format!("read the line tables of {}: {error}", file.display())))?;
        let mut symbols: BTreeMap<u64, String> = BTreeMap::new();
        for (name, range) in functions(file)? {
            // Of two names for one place the longer says more.
            let known = symbols.entry(range.start).or_default();
            if name.len() > known.len() {
                *known = name;
            }
        }
        Ok(Source { lines, symbols, root: format!("{}/", paths::root()?.display()) })
    }

    /// Function and file of an address: the innermost function of this project, so that what the standard library does inlined is its
    /// caller's, as a closure's is that of the function around it.
    fn place(&self, address: u64) -> (String, String) {
        if let Ok(mut frames) = self.lines.find_frames(address) {
            while let Ok(Some(frame)) = frames.next() {
                let name = frame.function.as_ref().and_then(|function| function.demangle().ok());
                let file = frame.location.and_then(|location| location.file);
                if let (Some(name), Some(file)) = (name, file)
                    && let Some(file) = file.strip_prefix(&self.root)
                    && !name.starts_with('{')
                {
                    return (plain(&name), file.to_owned());
                }
            }
        }
        let symbol = self.symbols.range(..=address).next_back();
        (symbol.map_or_else(|| format!("{address:#x}"), |(_, name)| name.clone()), String::new())
    }
}

/// A function's name without its hash and its type arguments.
fn plain(name: &str) -> String {
    let name = without_hash(name);
    let end = name.find('<').filter(|at| *at > 0).unwrap_or(name.len());
    name[..end].to_owned()
}

fn rows(executed: &Executed, runs: u64, guest: &Guest) -> Result<Vec<Row>> {
    let (kernel, program) = (Source::open(&guest.kernel)?, Source::open(&program_file(guest)?)?);
    let mut sums: BTreeMap<(bool, (String, String)), [u64; LEGS]> = BTreeMap::new();
    for (address, counts) in &executed.counts {
        let in_kernel = *address >= KERNEL;
        let place = (if in_kernel { &kernel } else { &program }).place(*address);
        let sum = sums.entry((in_kernel, place)).or_default();
        (0..LEGS).for_each(|leg| sum[leg] += counts[leg]);
    }
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let row = |((in_kernel, (function, file)), sum): ((bool, (String, String)), [u64; LEGS])| Row {
        function,
        file,
        in_kernel,
        legs: sum.map(|count| count as f64 / runs as f64),
    };
    let mut rows: Vec<Row> = sums.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.total().total_cmp(&a.total()));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> Counter {
        Counter::new(Marks {
            begins: 0x10,
            ends: 0x20,
            client: vec![0x100..0x180, 0x180..0x200],
            server: vec![0x200..0x280, 0x280..0x300],
        })
    }

    fn trace(counter: &mut Counter, addresses: &[u64]) {
        for address in addresses {
            counter.line(format!("Trace 0: 0x7f01 [00000000/{address:016x}/00c0/ff00] name\n").as_bytes());
        }
    }

    #[test]
    fn instructions_between_the_marks_are_counted_by_leg() {
        let mut counter = counter();
        let kernel = KERNEL + 4;
        trace(&mut counter, &[0x100, 0x10, 0x104, kernel, 0x204, kernel, kernel, 0x104, 0x20, 0x108]);
        let counts = &counter.executed.counts;
        assert_eq!(counts[&kernel], [1, 2]);
        assert_eq!((counts[&0x104], counts[&0x204]), ([2, 0], [0, 1]));
        assert_eq!((counts.get(&0x100), counts.get(&0x108), counts.get(&0x20)), (None, None, None));
    }

    #[test]
    fn a_block_that_was_stopped_does_not_count() {
        let mut counter = counter();
        trace(&mut counter, &[0x10, 0x104]);
        counter.line(b"Stopped execution of TB chain before 0x7f01 [104] name\n");
        counter.line(b"Stopped execution of TB chain before 0x7f01 [104] name\n");
        trace(&mut counter, &[0x104]);
        assert_eq!(counter.executed.counts[&0x104], [1, 0]);
        assert_eq!(counter.executed.counts[&0x10], [1, 0]);
    }

    #[test]
    fn names_lose_their_hashes() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::hello"), "a::hello");
        assert_eq!(plain("switch<a::B, {closure_env#0}>"), "switch");
        assert_eq!(traced_address(b"Trace 1: 0x1 [0/ffffffff80000010/1/2] x"), Some(0xFFFF_FFFF_8000_0010));
        assert_eq!(traced_address(b"Trace nothing"), None);
    }
}
