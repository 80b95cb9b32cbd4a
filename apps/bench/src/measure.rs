//! Counting instructions, with marks for the profiler.

use libnt::NtResult;
use libnt::time::tsc;

/// Mean of the instructions of `work`, after a tenth of the runs as a warm-up.
#[inline]
pub fn measure(runs: u64, mut work: impl FnMut() -> NtResult) -> NtResult<u64> {
    for _ in 0..runs.div_ceil(10) {
        work()?;
    }
    profile_begins();
    let start = tsc();
    for _ in 0..runs {
        work()?;
    }
    let total = tsc() - start;
    profile_ends();
    Ok(total / runs)
}

/// The profiler (`./run.sh bench --profile`) counts from this function's first instruction on.
#[inline(never)]
pub fn profile_begins() {
    core::hint::black_box(1u8);
}

/// The profiler counts up to this function's first instruction.
#[inline(never)]
pub fn profile_ends() {
    core::hint::black_box(2u16);
}
