//! Every behaviour of ALPC that programs may depend on: connecting, sending, receiving, replying, time-outs, ends of
//! either side at every stage, passed handles, server objects.
//!
//! `alpctest` runs all tests twice (to warm up, then with the kernel's counters watched) and prints how many checks
//! there were. `alpctest /v` prints a line for each test, `alpctest /list` the names alone, `alpctest /record` what each
//! test observed, in a form that is the same on every run. Names of tests or parts choose some: `alpctest /v end connect/time-out`.
//!
//! A test has a name `part/name`, in small letters with hyphens, and is a function `fn(&mut Test) -> NtResult` in a
//! module for its part. The module's `run` has a line for each, `test.case("part/name", function)`, and nothing else;
//! [`run`] has a line for each module. A test that needs a child process starts it by [`pair::child_of`], and its
//! module has a line in [`CHILDREN`]. Receives and requests through [`pair`] are recorded; a test that makes its own
//! notes what it saw by [`pair::note`] or [`testkit::record::note`], with ids as [`testkit::record::Id`]. A test must
//! not observe what differs from run to run (who of two came first, addresses, times) in texts of checks or notes; one
//! that must is a race, `test.race("part/name", function)`, of which only the outcome is recorded.

#![no_std]
#![no_main]

extern crate alloc;

mod asking;
mod asynchronous;
mod attributes;
mod callbacks;
mod cancel;
mod completion;
mod connecting;
mod ends;
mod fast;
mod flags;
mod handles;
mod holding;
mod invitations;
mod limits;
mod lists;
mod messages;
mod pair;
mod query;
mod reserves;
mod security;
mod views;
mod zones;

use libnt::prelude::*;
use testkit::Test;

libnt::main!(main);

/// First argument of a child; the second is `module/role`.
const CHILD: &str = "/child";

/// What a child does in a role.
type Child = fn(&str) -> NtResult;

/// What children do, by module.
const CHILDREN: &[(&str, Child)] =
    &[("ends", ends::child), ("security", security::child), ("views", views::child)];

/// Frames and heap blocks that servers may still have taken.
const SLACK: u64 = 24;

fn main() -> NtResult<u32> {
    let mut arguments = env::args();
    if arguments.next() == Some(CHILD) {
        let (module, role) =
            arguments.next().and_then(|role| role.split_once('/')).ok_or(STATUS_INVALID_PARAMETER)?;
        let child = CHILDREN.iter().find(|(name, _)| *name == module).ok_or(STATUS_INVALID_PARAMETER)?;
        return child.1(role).map(|()| 0);
    }
    Test::from_arguments("alpctest")?.run_cases(SLACK, run)
}

/// All tests.
fn run(test: &mut Test) {
    connecting::run(test);
    messages::run(test);
    ends::run(test);
    handles::run(test);
    views::run(test);
    security::run(test);
    attributes::run(test);
    fast::run(test);
    completion::run(test);
    lists::run(test);
    cancel::run(test);
    callbacks::run(test);
    asynchronous::run(test);
    reserves::run(test);
    limits::run(test);
    query::run(test);
    zones::run(test);
    invitations::run(test);
    flags::run(test);
}
