//! `./run.sh bench`: guest instructions per operation, beside Linux, against the bounds that Antares has set itself.
//!
//! The program `bench` inside prints `BENCH name instructions operations` lines. The machine counts instructions (`-icount`), so the figures are the same
//! on every host. Each machine is booted twice, and a figure that is not the same both times, to 0.1 %, is called out.
//!
//! Map: [`table`] says what is compared with what and which bounds there are; [`linux`] measures Linux; [`profile`] tells where the
//! instructions of an operation go; [`page`] keeps `docs/performance.md` true.

pub mod linux;
pub mod page;
pub mod profile;
pub mod table;

use crate::error::{Result, message};
use crate::guest::Guest;
use crate::qemu::{Boot, Machine};
use crate::session::{Options, Session};
use std::time::Duration;
use table::Table;

/// The debug console's command that switches tracing on for all, and the one that ends it.
const TRACE: [&str; 2] = ["trace on", "trace off"];
/// The traced round trip's name; the program knows it by its untraced name.
pub const TRACED: &str = "alpc_rt_32_traced";
const UNTRACED: &str = "alpc_rt_32";

/// What a program counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// The operation.
    pub name: String,
    /// Guest instructions for one.
    pub instructions: u64,
    /// How many were made.
    pub runs: u64,
}

/// Finds the counts in a program's output.
pub fn parse(output: &str) -> Vec<Count> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("BENCH")).then_some(())?;
        let name = words.next()?.to_owned();
        let instructions = words.next()?.parse().ok()?;
        Some(Count { name, instructions, runs: words.next().and_then(|word| word.parse().ok()).unwrap_or(1) })
    };
    output.lines().filter_map(line).collect()
}

/// The machine that everything is measured in.
pub fn machine(processors: u32) -> Machine {
    Machine { boot: Boot::Direct, smp: processors, icount: true, ..Machine::default() }
}

/// Measures Antares twice and Linux once (or takes Linux's counts from the last time), and compares.
pub fn run(guest: &Guest, timeout: Duration) -> Result<Table> {
    let options = Options { timeout, ..Options::default() };
    let first = antares(guest, &options)?;
    let second = antares(guest, &options)?;
    Ok(Table::new(&first, &second, &linux::counts(timeout)))
}

/// All counts of Antares, from a machine with one processor and one with two; of the options only the machine does not count.
pub fn antares(guest: &Guest, options: &Options) -> Result<Vec<Count>> {
    let mut counts = Vec::new();
    let mut session = Session::start(guest, &Options { machine: machine(1), ..options.clone() })?;
    counts.extend(measure(&mut session, "bench")?);
    quiet_kd(&mut session, TRACE[0])?;
    counts.extend(
        measure(&mut session, &format!("bench {UNTRACED}"))?
            .into_iter()
            .map(|count| Count { name: TRACED.into(), ..count }),
    );
    quiet_kd(&mut session, TRACE[1])?;
    session.shutdown()?;
    let mut session = Session::start(guest, &Options { machine: machine(2), ..options.clone() })?;
    counts.extend(measure(&mut session, "bench two")?);
    session.shutdown()?;
    Ok(counts)
}

fn measure(session: &mut Session, command: &str) -> Result<Vec<Count>> {
    let output = session.shell(command)?;
    let counts = parse(&output.text);
    if output.status != 0 || counts.is_empty() {
        return Err(message(format!(
            "`{command}` ended with status {:#x} and printed:\n{}",
            output.status,
            output.text.trim_end()
        )));
    }
    Ok(counts)
}

fn quiet_kd(session: &mut Session, command: &str) -> Result<()> {
    let output = session.kd(command)?;
    if output.status == 0 {
        return Ok(());
    }
    Err(message(format!("the debug console refused `{command}`: {}", output.text.trim_end())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found() {
        let counts =
            parse("measuring\nBENCH null_syscall 90 20000\r\nBENCH boot 7\nBENCH broken\nno BENCH x 1\n");
        let count = |name: &str, instructions, runs| Count { name: name.to_owned(), instructions, runs };
        assert_eq!(counts, [count("null_syscall", 90, 20_000), count("boot", 7, 1)]);
    }
}
