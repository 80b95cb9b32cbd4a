//! `./run.sh bench`: guest instructions per operation, beside Linux.
//!
//! The program `bench` inside prints `BENCH name instructions` lines. The machine counts instructions (`-icount`), so the figures are
//! the same on every host.

use crate::error::{Result, message};
use crate::guest::Guest;
use crate::qemu::{Boot, Machine};
use crate::session::{Options, Session};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// Linux 6.1 in the same machine, for the benchmarks that have a counterpart there.
const LINUX: [(&str, u64); 2] = [("null_syscall", 337), ("alpc_rt_32", 12_490)];
const FOOTNOTE: &str = "\
Guest instructions, counted by QEMU. ratio = instructions / linux; below 1 is faster than Linux.
Linux 6.1 in the same machine: null_syscall beside getppid (337), alpc_rt_32 beside a 32-byte round trip
over pipes (12490; over AF_UNIX seqpacket 18110, by futex 12050).
";

/// One benchmark's figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// Its name.
    pub name: String,
    /// Guest instructions per operation.
    pub instructions: u64,
}

impl Figure {
    fn linux(&self) -> Option<u64> {
        LINUX.iter().find(|(name, _)| *name == self.name).map(|(_, count)| *count)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    fn ratio(&self) -> Option<f64> {
        self.linux().map(|linux| (self.instructions as f64 / linux as f64 * 1000.0).round() / 1000.0)
    }
}

/// Finds the figures in the program's output.
pub fn parse(output: &str) -> Vec<Figure> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("BENCH")).then_some(())?;
        let name = words.next()?.to_owned();
        Some(Figure { name, instructions: words.next()?.parse().ok()? })
    };
    output.lines().filter_map(line).collect()
}

/// The figures as a table for people.
pub fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0).max(4);
    let mut text = format!("{:width$}  {:>14}  {:>8}  {:>7}\n", "name", "instructions", "linux", "ratio");
    for figure in figures {
        let linux = figure.linux().map_or("-".into(), |count| count.to_string());
        let ratio = figure.ratio().map_or("-".into(), |ratio| format!("{ratio:.3}"));
        let _ = writeln!(text, "{:width$}  {:>14}  {linux:>8}  {ratio:>7}", figure.name, figure.instructions);
    }
    text + "\n" + FOOTNOTE
}

/// The figures as a list of objects for programs.
pub fn json(figures: &[Figure]) -> String {
    let objects: Vec<Value> = figures
        .iter()
        .map(|figure| json!({"name": figure.name, "instructions": figure.instructions, "linux": figure.linux(), "ratio": figure.ratio()}))
        .collect();
    serde_json::to_string_pretty(&objects).unwrap_or_default() + "\n"
}

/// Boots, runs the benchmarks and returns the figures.
pub fn run(guest: &Guest, timeout: Duration) -> Result<Vec<Figure>> {
    let machine = Machine { boot: Boot::Direct, smp: 1, icount: true, ..Machine::default() };
    let mut session = Session::start(guest, &Options { machine, timeout, logs: None })?;
    let output = session.shell("bench")?;
    session.shutdown()?;
    let figures = parse(&output.text);
    if output.status != 0 || figures.is_empty() {
        return Err(message(format!(
            "`bench` ended with status {:#x} and printed:\n{}",
            output.status,
            output.text.trim_end()
        )));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_and_shown() {
        let figures = parse(
            "measuring\nBENCH null_syscall 120\nBENCH process_create_exit 90000\nBENCH broken\nno BENCH x 1\n",
        );
        assert_eq!(figures.len(), 2);
        let value: Value = serde_json::from_str(&json(&figures)).unwrap();
        assert_eq!(
            value[0],
            json!({"name": "null_syscall", "instructions": 120, "linux": 337, "ratio": 0.356})
        );
        assert_eq!(value[1]["linux"], Value::Null);
        assert!(
            table(&figures).contains("null_syscall                    120       337    0.356"),
            "{}",
            table(&figures)
        );
    }
}
