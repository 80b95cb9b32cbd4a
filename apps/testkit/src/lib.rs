//! What the test programs share: checks that are counted and said, named tests ([`Test::case`]), records of what they
//! observed ([`record`]), kernel counters that must come back to where they were, and numbers from a seed.
//!
//! A test program prints what failed and ends with status 0 only when nothing did.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cases;
mod counters;
pub mod record;
mod threads;

pub use cases::{Cases, Mode};
pub use counters::Counters;
pub use threads::until_waits;

use core::fmt::{Debug, Display};
use libnt::prelude::*;

/// Counts checks and says which failed.
#[derive(Debug)]
pub struct Test {
    name: &'static str,
    checks: u32,
    failed: u32,
    /// The named test that runs.
    current: Option<&'static str>,
    cases: Cases,
}

/// A part of a test program, with its name.
pub type Part = (&'static str, fn(&mut Test) -> NtResult);

/// Failures that are printed; more are only counted.
const MAX_SAID: u32 = 50;

impl Test {
    /// A test program's checks.
    pub fn new(name: &'static str) -> Self {
        Self { name, checks: 0, failed: 0, current: None, cases: Cases::default() }
    }

    /// Something that must be true.
    pub fn check(&mut self, what: impl Display, ok: bool) -> bool {
        self.checks += 1;
        if record::is_on() {
            record::note(format_args!("{what}: {}", if ok { "holds" } else { "does not hold" }));
        }
        if !ok {
            self.fail(what);
        }
        ok
    }

    /// Something that went wrong.
    pub fn fail(&mut self, what: impl Display) {
        self.failed += 1;
        if self.failed <= MAX_SAID {
            match self.current {
                Some(case) => println!("{}: FAILED: {case}: {what}", self.name),
                None => println!("{}: FAILED: {what}", self.name),
            }
        }
    }

    /// Two values that must be the same.
    pub fn equal<T: PartialEq + Debug>(&mut self, what: impl Display, found: T, expected: T) -> bool {
        self.checks += 1;
        let ok = found == expected;
        record::note(format_args!("{what}: {}", if ok { "as expected" } else { "something else" }));
        if !ok {
            self.fail(format_args!("{what}: {found:?} instead of {expected:?}"));
        }
        ok
    }

    /// A call that must work; its value.
    pub fn ok<T>(&mut self, what: impl Display, result: NtResult<T>) -> Option<T> {
        self.checks += 1;
        record::note(format_args!("{what}: {}", result.as_ref().err().copied().unwrap_or(STATUS_SUCCESS)));
        match result {
            Ok(value) => Some(value),
            Err(status) => {
                self.fail(format_args!("{what}: {status}"));
                None
            }
        }
    }

    /// A call that must fail with this status.
    pub fn refused<T>(&mut self, what: impl Display, result: NtResult<T>, expected: NtStatus) -> bool {
        self.checks += 1;
        record::note(format_args!("{what}: {}", result.as_ref().err().copied().unwrap_or(STATUS_SUCCESS)));
        match result {
            Err(status) if status == expected => return true,
            Err(status) => self.fail(format_args!("{what}: {status} instead of {expected}")),
            Ok(_) => self.fail(format_args!("{what}: success instead of {expected}")),
        }
        false
    }

    /// Runs the parts of a test, each by itself: one that ends early is a failure, and the others still run.
    pub fn parts(&mut self, parts: &[Part]) {
        for (name, part) in parts {
            let ended = part(self);
            self.ok(name, ended);
        }
    }

    /// Says how it went; the exit status.
    pub fn finish(self) -> u32 {
        if self.failed == 0 && self.cases.mode() == Mode::Record {
            return 0;
        }
        if self.failed == 0 {
            println!("{}: {} checks passed", self.name, self.checks);
            return 0;
        }
        println!("{}: {} of {} checks FAILED", self.name, self.failed, self.checks);
        1
    }
}

/// Numbers from a seed (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence; every seed has its own.
    pub const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `limit` (which is not 0).
    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() >> 16) as usize % limit
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.number().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// The first argument as a number, or `default` without one; says what is wrong with any other.
pub fn count_argument(default: usize) -> NtResult<usize> {
    match env::args().next() {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| {
            println!("{}: '{text}' is not a number", env::image());
            STATUS_INVALID_PARAMETER
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_repeat_by_seed_and_differ() {
        let take = |seed| {
            let mut r = Random::new(seed);
            [r.number(), r.number(), r.number()]
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
        let mut random = Random::new(7);
        assert!((0..1000).all(|_| random.below(10) < 10));
        let mut bytes = [0; 13];
        random.fill(&mut bytes);
        assert!(bytes.iter().filter(|byte| **byte == 0).count() < 5);
    }
}
