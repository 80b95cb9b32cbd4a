//! The benchmarks: every figure is there, repeats, keeps to the bounds that must hold, and is what `docs/performance.md` says.
//!
//! With `ANTARES_BLESS=1` in the environment the page is written instead.

use crate::runner::{Case, Context, Outcome, check, long_case, words};
use antares_host::bench::page::{self, Part};
use antares_host::bench::{self, linux, profile, table::Table};
use antares_host::{guest, paths};
use std::time::Duration;

/// The group.
pub fn cases() -> Vec<Case> {
    vec![
        long_case("bench::figures", 600, figures),
        long_case("bench::profile_agrees_and_tracing_off_is_cheap", 900, profile_agrees),
    ]
}

/// The bounds are those of `ENTRIES` in `boot/host/src/bench/table.rs`.
fn figures(test: &Context) -> Outcome {
    let guest = guest::built().map_err(words)?;
    let measure = || bench::antares(&guest, &test.options(bench::machine(1))).map_err(words);
    let (first, second) = (measure()?, measure()?);
    // Linux's figures are only wanted for the page: this test is to run where no Linux can be had.
    let linux = if is_blessing() {
        linux::counts(Duration::from_secs(600))
    } else {
        linux::Linux { counts: Vec::new(), words: Err("this test does without".into()) }
    };
    let table = Table::new(&first, &second, &linux);
    check(table.faults().is_empty(), "the benchmarks have faults", &table.text())?;
    page_says(Part::Figures, &page::figures(&table))
}

/// A profile of the round trip has as many instructions as the round trip.
fn profile_agrees(test: &Context) -> Outcome {
    let guest = guest::built().map_err(words)?;
    let profile = profile::run(&guest, profile::DEFAULT, &test.options(bench::machine(1))).map_err(words)?;
    let (deviation, tracing) = (profile.deviation(), profile.tracing_percent());
    check(deviation <= profile::DEVIATION_PERCENT, "the profile counts something else", &profile.text())?;
    check(
        tracing <= profile::TRACING_OFF_PERCENT,
        "tracing costs too much while it is off",
        &profile.text(),
    )?;
    page_says(Part::Profile, &page::profile(&profile).map_err(words)?)
}

fn is_blessing() -> bool {
    paths::variable("ANTARES_BLESS").is_some()
}

/// Writes the page, or compares it.
fn page_says(part: Part, measured: &str) -> Outcome {
    if is_blessing() {
        return page::write(part, measured).map_err(words);
    }
    let faults = page::faults(part, measured).map_err(words)?;
    check(
        faults.is_empty(),
        &faults.join("\n"),
        "(ANTARES_BLESS=1 ./run.sh test bench:: writes the page anew)",
    )
}
