//! All system tests, a file per group.

mod alpc;
mod bench;
mod boot;
mod docs;
mod editor;
mod exec;
mod programs;
mod spine;

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
        docs::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
