//! What is compared with what, the bounds, and the table.

use super::linux::Linux;
use super::{Count, TRACED};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A bound on a figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Bound {
    /// Does a figure keep to it?
    pub fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtMost(most) => value <= most,
            Bound::AtLeast(least) => value >= least,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::AtMost(most) => write!(f, "<= {most}"),
            Bound::AtLeast(least) => write!(f, ">= {least}"),
        }
    }
}

/// What a figure is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    /// Guest instructions of one operation: the program's own count, and Linux's for the nearest operation.
    Instructions(&'static str),
    /// How many times one pair's throughput two pairs have, from the counts of both (see [`scaling`]).
    Scaling([&'static str; 2], [&'static str; 2]),
    /// By how many percent the second count is above the first.
    Percent([&'static str; 2]),
}

/// A row of the table.
struct Entry {
    name: &'static str,
    measure: Measure,
    bound: Option<Bound>,
    /// The bound is kept today and must stay so: the system test `bench::bounds_hold` fails when it is not.
    enforced: bool,
}

const fn plain(name: &'static str, linux: &'static str) -> Entry {
    Entry { name, measure: Measure::Instructions(linux), bound: None, enforced: false }
}

const fn bounded(name: &'static str, measure: Measure, bound: Bound, enforced: bool) -> Entry {
    Entry { name, measure, bound: Some(bound), enforced }
}

/// All rows. The names of the counts are those of `apps/bench` and `boot/linux-bench`; an empty name: nothing comparable.
const ENTRIES: [Entry; 16] = [
    bounded("null_syscall", Measure::Instructions("getppid"), Bound::AtMost(90.0), true),
    bounded("alpc_rt_32", Measure::Instructions("pipe_rt_32"), Bound::AtMost(800.0), false),
    plain("alpc_rt_32_other_cpu", "pipe_rt_32_other_cpu"),
    plain("alpc_rt_1k", "pipe_rt_1k"),
    plain("alpc_rt_64k", "pipe_rt_64k"),
    plain("alpc_view_64k", "memfd_share_64k"),
    plain("alpc_section_64k", "memfd_share_64k"),
    plain("alpc_handle_rt", "fd_pass_rt"),
    plain("alpc_connect_close", "connect_close"),
    plain("alpc_connect_close_by_name", "connect_close"),
    plain("alpc_async_32", "datagram_batch"),
    plain("process_create_exit", "fork_exec_exit"),
    plain("boot_to_prompt", ""),
    plain(TRACED, ""),
    bounded("tracing_on_percent", Measure::Percent(["alpc_rt_32", TRACED]), Bound::AtMost(15.0), true),
    bounded(
        "two_pairs_over_one",
        Measure::Scaling(["alpc_one_pair", "alpc_two_pairs"], ["pipe_one_pair", "pipe_two_pairs"]),
        Bound::AtLeast(1.7),
        true,
    ),
];

/// Two runs may differ by one in so many.
const REPEATS: f64 = 1000.0;

/// A figure with what it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Guest instructions, or what the name says.
    pub value: f64,
    /// The same from a second run.
    pub again: f64,
    /// Linux's figure for the nearest operation, and what that is.
    pub linux: Option<(&'static str, f64)>,
    /// Where it must stay.
    pub bound: Option<Bound>,
    /// The bound is one that must hold today.
    pub enforced: bool,
    is_count: bool,
}

impl Row {
    /// This figure over Linux's.
    pub fn ratio(&self) -> Option<f64> {
        self.linux.map(|(_, linux)| (self.value / linux * 1000.0).round() / 1000.0)
    }

    /// Is the bound kept, if there is one?
    pub fn passes(&self) -> Option<bool> {
        self.bound.map(|bound| bound.holds(self.value))
    }

    /// Was the second run the same, to 0.1 % (a percentage: to 0.1 points)?
    pub fn repeats(&self) -> bool {
        let scale = if self.name.ends_with("percent") { 100.0 } else { self.value.abs() };
        (self.value - self.again).abs() * REPEATS <= scale
    }

    fn per_million(&self) -> Option<f64> {
        self.is_count.then(|| 1e6 / self.value)
    }

    /// A value as this row's are shown.
    pub fn shown(&self, value: f64) -> String {
        if self.is_count { format!("{value:.0}") } else { format!("{value:.2}") }
    }
}

/// All figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The rows.
    pub rows: Vec<Row>,
    linux: std::result::Result<String, String>,
    /// Linux's counts that no row is compared with.
    others: Vec<Count>,
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn find(counts: &[Count], name: &str) -> Option<f64> {
    counts.iter().find(|count| count.name == name).map(|count| count.instructions as f64)
}

/// Two pairs' throughput over one's. `one` and `two` are the instructions that the whole machine executes for a round trip of each
/// pair: with two pairs on two processors, each processor executes half of `two` in the time of one round trip of each.
fn scaling(counts: &[Count], [one, two]: [&str; 2]) -> Option<f64> {
    Some(2.0 * find(counts, one)? / (find(counts, two)? / 2.0))
}

impl Measure {
    fn value(self, counts: &[Count], name: &str) -> Option<f64> {
        match self {
            Measure::Instructions(_) => find(counts, name),
            Measure::Scaling(ours, _) => scaling(counts, ours),
            Measure::Percent([below, above]) => {
                let base = find(counts, below)?;
                Some((find(counts, above)? - base) / base * 100.0)
            }
        }
    }

    fn linux(self, counts: &[Count]) -> Option<(&'static str, f64)> {
        match self {
            Measure::Instructions(name) => Some((name, find(counts, name)?)),
            Measure::Scaling(_, linux) => Some((linux[1], scaling(counts, linux)?)),
            Measure::Percent(_) => None,
        }
    }
}

impl Table {
    /// The figures of two runs, beside Linux's.
    pub fn new(first: &[Count], second: &[Count], linux: &Linux) -> Table {
        let row = |entry: &Entry| {
            Some(Row {
                name: entry.name,
                value: entry.measure.value(first, entry.name)?,
                again: entry.measure.value(second, entry.name)?,
                linux: entry.measure.linux(&linux.counts),
                bound: entry.bound,
                enforced: entry.enforced,
                is_count: matches!(entry.measure, Measure::Instructions(_)),
            })
        };
        let rows: Vec<Row> = ENTRIES.iter().filter_map(row).collect();
        let is_other = |count: &&Count| {
            let compared = rows.iter().any(|row| row.linux.is_some_and(|(name, _)| name == count.name));
            !compared && count.name != "pipe_one_pair"
        };
        let others = linux.counts.iter().filter(is_other).cloned().collect();
        Table { rows, linux: linux.words.clone(), others }
    }

    /// Which Linux was measured, or why none was.
    pub fn kernel(&self) -> std::result::Result<&str, &str> {
        self.linux.as_deref().map_err(String::as_str)
    }

    /// Linux's counts that no figure is compared with, in words.
    pub fn others(&self) -> String {
        let others = self.others.iter().map(|count| format!("{} {}", count.name, count.instructions));
        others.collect::<Vec<_>>().join(", ")
    }

    /// What is wrong: rows that are missing, bounds that must hold and do not, figures that do not repeat.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for entry in &ENTRIES {
            let Some(row) = self.rows.iter().find(|row| row.name == entry.name) else {
                faults.push(format!("{} was not measured", entry.name));
                continue;
            };
            if let Some(bound) = row.bound.filter(|bound| row.enforced && !bound.holds(row.value)) {
                faults.push(format!("{} is {}, and must be {bound}", row.name, row.shown(row.value)));
            }
            if !row.repeats() {
                let (once, again) = (row.shown(row.value), row.shown(row.again));
                faults.push(format!("{} is {once} in one run and {again} in another", row.name));
            }
        }
        faults
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{:27} {:>12} {:>12} {:>9} {:>7}  goal\n",
            "name", "instructions", "per million", "linux", "ratio"
        );
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        for row in &self.rows {
            let verdict = match row.passes() {
                Some(true) => "pass",
                Some(false) => "FAIL",
                None => "",
            };
            let line = format!(
                "{:27} {:>12} {:>12} {:>9} {:>7}  {:9} {verdict}",
                row.name,
                row.shown(row.value),
                or_dash(row.per_million().map(|count| format!("{count:.1}"))),
                or_dash(row.linux.map(|(_, linux)| row.shown(linux))),
                or_dash(row.ratio().map(|ratio| format!("{ratio:.3}"))),
                or_dash(row.bound.map(|bound| bound.to_string())),
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        text.push_str("\nGuest instructions of one operation, counted by QEMU; per million: operations in a million instructions.\n");
        text.push_str("ratio = instructions / linux: below 1 is cheaper than Linux. What is compared: docs/performance.md.\n");
        match &self.linux {
            Ok(kernel) => {
                let _ = writeln!(text, "linux: {kernel} in the same machine; also: {}", self.others());
            }
            Err(reason) => {
                let _ = writeln!(text, "linux: not measured: {reason}");
            }
        }
        for fault in self.faults() {
            let _ = writeln!(text, "FAULT: {fault}");
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> String {
        let row = |row: &Row| {
            json!({
                "name": row.name,
                "instructions": if row.is_count { json!(row.value.round() as u64) } else { Value::Null },
                "value": row.value,
                "again": row.again,
                "linux_name": row.linux.map(|(name, _)| name),
                "linux": row.linux.map(|(_, linux)| linux),
                "ratio": row.ratio(),
                "goal": row.bound.map(|bound| bound.to_string()),
                "pass": row.passes(),
                "enforced": row.enforced,
            })
        };
        let other = |count: &Count| json!({"linux_name": count.name, "linux": count.instructions});
        let objects: Vec<Value> = self.rows.iter().map(row).chain(self.others.iter().map(other)).collect();
        serde_json::to_string_pretty(&objects).unwrap_or_default() + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, instructions: u64) -> Count {
        Count { name: name.into(), instructions, runs: 1 }
    }

    fn linux() -> Linux {
        let counts = vec![count("getppid", 300), count("pipe_rt_32", 12_000), count("futex_rt", 11_000)];
        Linux { counts, words: Ok("Linux 6.1".into()) }
    }

    #[test]
    fn figures_are_compared_and_judged() {
        let counts = [
            count("null_syscall", 75),
            count("alpc_rt_32", 1000),
            count(TRACED, 1100),
            count("alpc_one_pair", 1000),
            count("alpc_two_pairs", 2500),
        ];
        let table = Table::new(&counts, &counts, &linux());
        let row = |name: &str| table.rows.iter().find(|row| row.name == name).unwrap();
        assert_eq!((row("null_syscall").ratio(), row("null_syscall").passes()), (Some(0.25), Some(true)));
        assert_eq!(row("alpc_rt_32").passes(), Some(false));
        assert!((row("tracing_on_percent").value - 10.0).abs() < 1e-9);
        assert!((row("two_pairs_over_one").value - 1.6).abs() < 1e-9);
        let text = table.text();
        assert!(text.contains("FAULT: two_pairs_over_one is 1.60, and must be >= 1.7"), "{text}");
        assert!(text.contains("FAULT: alpc_rt_64k was not measured"), "{text}");
        assert!(text.contains("Linux 6.1 in the same machine; also: futex_rt 11000\n"), "{text}");
        let value: Value = serde_json::from_str(&table.json()).unwrap();
        assert_eq!((&value[0]["instructions"], &value[0]["linux_name"]), (&json!(75), &json!("getppid")));
    }

    #[test]
    fn a_figure_that_varies_is_called_out() {
        let table = |again| {
            Table::new(&[count("boot_to_prompt", 10_000)], &[count("boot_to_prompt", again)], &linux())
        };
        assert!(table(10_010).rows[0].repeats());
        assert!(!table(9_989).rows[0].repeats());
        assert!(table(9_989).text().contains("boot_to_prompt is 10000 in one run and 9989 in another"));
    }
}
