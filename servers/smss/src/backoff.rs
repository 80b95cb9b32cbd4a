//! When a server that ended is started again.
//!
//! The first time at once; then, for a server that keeps ending soon after its start, with delays that double up to
//! [`LONGEST`]. A server that ran for [`STABLE`] starts afresh.

/// A second in units of 100 ns.
const SECOND: i64 = 10_000_000;
/// First delay: 100 ms.
pub const FIRST: i64 = SECOND / 10;
/// Longest delay.
pub const LONGEST: i64 = 30 * SECOND;
/// A run of this length clears the record.
pub const STABLE: i64 = 30 * SECOND;

/// Record of one server's ends. Times are system times (100 ns).
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    started: i64,
    ends_in_a_row: u32,
}

impl Backoff {
    /// It was started.
    pub fn started(&mut self, now: i64) {
        self.started = now;
    }

    /// It ended (or could not be started); answers when to start it.
    pub fn ended(&mut self, now: i64) -> i64 {
        if now.saturating_sub(self.started) >= STABLE {
            self.ends_in_a_row = 0;
        }
        let delay = match self.ends_in_a_row {
            0 => 0,
            n => FIRST.checked_shl(n - 1).filter(|d| (1..LONGEST).contains(d)).unwrap_or(LONGEST),
        };
        self.ends_in_a_row = self.ends_in_a_row.saturating_add(1);
        now.saturating_add(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let mut now = 1000 * SECOND;
        let mut last = -1;
        for i in 0..100 {
            backoff.started(now);
            let delay = backoff.ended(now) - now;
            match i {
                0 => assert_eq!(delay, 0),
                1 => assert_eq!(delay, FIRST),
                2 => assert_eq!(delay, 2 * FIRST),
                _ => assert!(delay >= last && delay <= LONGEST),
            }
            last = delay;
            now += delay;
        }
        assert_eq!(last, LONGEST);
    }

    #[test]
    fn a_stable_run_clears_the_record() {
        let mut backoff = Backoff::default();
        backoff.started(0);
        backoff.ended(1);
        backoff.ended(2);
        backoff.started(3);
        assert_eq!(backoff.ended(3 + STABLE), 3 + STABLE);
    }
}
