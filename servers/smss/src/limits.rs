//! How much of the machine the programs may have, all together, so that the core servers always have enough.

use abi::mm::PAGE_SIZE;
use abi::ps::QuotaLimits;

/// Most processes of programs at a time.
const PROCESSES: u64 = 512;
/// Most threads of programs at a time.
const THREADS: u64 = 4096;
/// Most handles of one program.
const HANDLES: u64 = 0x4000;

/// The programs' quota block on a machine where this many frames are free once smss runs: five eighths of them as user
/// pages, an eighth as kernel memory; a quarter stays for the servers and the kernel.
pub const fn programs(frames_free: u64) -> QuotaLimits {
    QuotaLimits {
        pool: frames_free / 8 * PAGE_SIZE,
        pages: frames_free / 8 * 5,
        processes: PROCESSES,
        threads: THREADS,
        handles_per_process: HANDLES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_leave_a_quarter() {
        let limits = programs(10_000);
        assert!(limits.pages + limits.pool / PAGE_SIZE <= 7_500);
    }
}
