//! The system tests: each boots the real thing in QEMU and drives it like a person at the console.
//!
//! `./run.sh test [FILTER]` runs them; every test whose name contains FILTER, two guests at a time. A test that fails leaves its console
//! logs in `build/logs/test/NAME`. A new group of tests is a file in `cases/` with a function `cases`, named in `cases/mod.rs`.

mod cases;
mod doc_table;
mod runner;

use std::process::ExitCode;

fn main() -> ExitCode {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let count = runner::run(cases::all(), &filter);
    println!("{count}");
    ExitCode::from(u8::from(count.failed > 0))
}
