//! The benchmarks: every figure is there, repeats, and keeps to the bounds that must hold.

use crate::runner::{Case, Context, Outcome, check, long_case, words};
use antares_host::bench::{self, linux::Linux, profile, table::Table};
use antares_host::guest;

/// The group.
pub fn cases() -> Vec<Case> {
    vec![
        long_case("bench::bounds_hold", 600, bounds_hold),
        long_case("bench::profile_agrees_and_tracing_off_is_cheap", 600, profile_agrees),
    ]
}

/// The bounds are those of `ENTRIES` in `boot/host/src/bench/table.rs`.
fn bounds_hold(test: &Context) -> Outcome {
    let guest = guest::built().map_err(words)?;
    let measure = || bench::antares(&guest, &test.options(bench::machine(1))).map_err(words);
    let no_linux = Linux { counts: Vec::new(), words: Err("this test does without".into()) };
    let table = Table::new(&measure()?, &measure()?, &no_linux);
    check(table.faults().is_empty(), "the benchmarks have faults", &table.text())
}

/// A profile of the round trip has as many instructions as the round trip.
fn profile_agrees(test: &Context) -> Outcome {
    let guest = guest::built().map_err(words)?;
    let profile = profile::run(&guest, profile::DEFAULT, &test.options(bench::machine(1))).map_err(words)?;
    let (deviation, tracing) = (profile.deviation(), profile.tracing_percent());
    check(deviation <= profile::DEVIATION_PERCENT, "the profile counts something else", &profile.text())?;
    check(tracing <= profile::TRACING_OFF_PERCENT, "tracing costs too much while it is off", &profile.text())
}
