//! The figures in `docs/performance.md`: written there from a measurement, and compared with a later one.

use super::profile::Profile;
use super::table::Table;
use crate::error::{Context, Result, message};
use crate::paths;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const PAGE: &str = "docs/performance.md";
/// A figure of the page may be off by so many percent, so that small changes need no new page.
const TOLERANCE: f64 = 5.0;
/// And the files of the profile together by so many percent of the operation.
const PROFILE_TOLERANCE: f64 = 15.0;
/// Files with a smaller share of an operation, in percent, are one row.
const SMALL: f64 = 1.0;

/// A part of the page that is written from a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The table of all figures.
    Figures,
    /// The profile of the round trip.
    Profile,
}

impl Part {
    fn marks(self) -> (String, String) {
        let name = match self {
            Part::Figures => "figures",
            Part::Profile => "profile",
        };
        let begins =
            format!("<!-- {name}: `ANTARES_BLESS=1 ./run.sh test bench::` writes what follows -->\n");
        (begins, format!("<!-- end of {name} -->\n"))
    }

    /// The page before, in and after the part.
    fn split(self, page: &str) -> Result<(&str, &str, &str)> {
        let (begins, ends) = self.marks();
        let found = page.split_once(&begins).and_then(|(before, rest)| {
            let (within, after) = rest.split_once(&ends)?;
            Some((before, within, after))
        });
        found.ok_or_else(|| message(format!("{PAGE} has lost the marks of its {self:?}")))
    }
}

/// The figures as the page shows them.
pub fn figures(table: &Table) -> String {
    let mut text = String::from(
        "| operation | instructions | Linux's nearest | instructions | ratio | bound |\n|---|---:|---|---:|---:|---|\n",
    );
    for row in &table.rows {
        let linux = row.linux.map_or_else(
            || "| |".into(),
            |(name, linux)| format!("{name} | {} | {:.3}", row.shown(linux), row.ratio().unwrap_or(0.0)),
        );
        let bound = row.bound.map_or_else(String::new, |bound| {
            let word = if bound.holds(row.value) { "" } else { " (not met)" };
            format!("{bound}{word}")
        });
        let _ = writeln!(text, "| {} | {} | {linux} | {bound} |", row.name, row.shown(row.value));
    }
    match table.kernel() {
        Ok(kernel) => {
            let _ = writeln!(text, "\nLinux is {kernel}. Also measured there: {}", table.others());
        }
        Err(reason) => {
            let _ = writeln!(text, "\nLinux was not measured: {reason}.");
        }
    }
    text
}

/// The profile as the page shows it: by file, with what the file says of itself.
pub fn profile(profile: &Profile) -> Result<String> {
    let root = paths::root()?;
    let total = profile.total();
    let mut text = String::from(
        "| file | what it does | request | reply | both | share |\n|---|---|---:|---:|---:|---:|\n",
    );
    let mut small = [0.0; 2];
    let mut row = |name: &str, what: &str, legs: [f64; 2]| {
        let sum = legs[0] + legs[1];
        let share = sum / total * 100.0;
        let _ =
            writeln!(text, "| {name} | {what} | {:.0} | {:.0} | {sum:.0} | {share:.1} % |", legs[0], legs[1]);
    };
    for (file, legs) in profile.files() {
        if (legs[0] + legs[1]) / total * 100.0 < SMALL {
            (0..2).for_each(|leg| small[leg] += legs[leg]);
        } else {
            row(file, &purpose(&root.join(file)), legs);
        }
    }
    row("the rest", &format!("files with less than {SMALL} % each"), small);
    let sum = |leg: usize| profile.rows.iter().map(|row| row.legs[leg]).sum();
    row("all", "", [sum(0), sum(1)]);
    if let Some(words) = profile.lock_words() {
        let _ = writeln!(text, "\n{words}");
    }
    Ok(text)
}

/// The first sentence of a file's head.
fn purpose(file: &Path) -> String {
    let Ok(text) = fs::read_to_string(file) else {
        return "entry, exit, copies from and to user memory".into();
    };
    let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim).collect();
    let head = head.split(|line| line.is_empty()).next().unwrap_or_default().join(" ");
    let end = head.find(". ").unwrap_or(head.len());
    head[..end].trim_end_matches('.').replace('|', "/")
}

/// Writes a part of the page.
pub fn write(part: Part, text: &str) -> Result<()> {
    let _lock = paths::Lock::take()?;
    let path = paths::root()?.join(PAGE);
    let page = fs::read_to_string(&path).context(format_args!("read {PAGE}"))?;
    let (before, _, after) = part.split(&page)?;
    let (begins, ends) = part.marks();
    fs::write(&path, [before, &begins, text, &ends, after].concat()).context(format_args!("write {PAGE}"))
}

/// What the page says that a measurement, in the same form, does not.
pub fn faults(part: Part, measured: &str) -> Result<Vec<String>> {
    let page = fs::read_to_string(paths::root()?.join(PAGE)).context(format_args!("read {PAGE}"))?;
    let (_, shown, _) = part.split(&page)?;
    Ok(compare(part, shown, measured))
}

fn compare(part: Part, shown: &str, measured: &str) -> Vec<String> {
    let column = match part {
        Part::Figures => 1,
        Part::Profile => 4,
    };
    let (shown, measured) = (cells(shown, column), cells(measured, column));
    match part {
        Part::Figures => {
            let names = shown.keys().chain(measured.keys().filter(|name| !shown.contains_key(*name)));
            let fault = |name: &String| {
                let (page, now) = (shown.get(name), measured.get(name));
                let close = match (page, now) {
                    (Some(page), Some(now)) if name.ends_with("percent") => (page - now).abs() <= TOLERANCE,
                    (Some(page), Some(now)) => (page - now).abs() <= now.abs() * TOLERANCE / 100.0,
                    _ => false,
                };
                (!close).then(|| format!("{PAGE} says {page:?} for {name}, measured was {now:?}"))
            };
            names.filter_map(fault).collect()
        }
        Part::Profile => {
            let total = measured.get("all").copied().unwrap_or(0.0);
            let files = shown.keys().chain(measured.keys().filter(|name| !shown.contains_key(*name)));
            let of = |cells: &BTreeMap<String, f64>, name: &str| cells.get(name).copied().unwrap_or(0.0);
            let apart: f64 = files
                .filter(|name| *name != "all")
                .map(|name| (of(&shown, name) - of(&measured, name)).abs())
                .sum();
            let far = apart > total * PROFILE_TOLERANCE / 100.0;
            far.then(|| {
                format!("{PAGE}'s profile and a new one differ in {apart:.0} of {total:.0} instructions")
            })
            .into_iter()
            .collect()
        }
    }
}

/// First cell and the number in another, of each row that has them.
fn cells(table: &str, column: usize) -> BTreeMap<String, f64> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        Some(((*cells.first()?).to_owned(), cells.get(column)?.parse().ok()?))
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_may_be_off_a_little() {
        let row = |name: &str, figure: &str| format!("| {name} | {figure} | | | | |\n");
        let faults = |page: &str, now: &str| compare(Part::Figures, &row("a", page), &row("a", now)).len();
        assert_eq!((faults("100", "104"), faults("100", "120"), faults("1.99", "2.00")), (0, 1, 0));
        assert_eq!(compare(Part::Figures, &row("a", "1"), &row("b", "1")).len(), 2);
        assert_eq!(compare(Part::Figures, &row("x_percent", "1.00"), &row("x_percent", "5.50")).len(), 0);
    }

    #[test]
    fn profiles_are_compared_as_a_whole() {
        let table = |a: u32, b: u32| {
            format!(
                "| f | x | 1 | 1 | {a} | 2 % |\n| g | x | 1 | 1 | {b} | 2 % |\n| all | | 1 | 1 | {} | 100 % |\n",
                a + b
            )
        };
        assert!(compare(Part::Profile, &table(50, 50), &table(53, 47)).is_empty());
        assert_eq!(compare(Part::Profile, &table(50, 50), &table(90, 10)).len(), 1);
    }
}
