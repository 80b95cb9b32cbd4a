//! All system tests, a file per group.

mod alpc;
mod bench;
mod boot;
mod docs;
mod editor;
mod exec;
mod kd;
mod programs;
mod spine;
mod trace;

use crate::runner::Case;

/// Every case, the slowest groups first.
pub fn all() -> Vec<Case> {
    [
        boot::cases(),
        alpc::cases(),
        bench::cases(),
        programs::cases(),
        spine::cases(),
        exec::cases(),
        editor::cases(),
        kd::cases(),
        trace::cases(),
        docs::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
