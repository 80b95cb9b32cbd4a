//! All system tests, a file per group.

mod boot;
mod exec;

use crate::runner::Case;

/// Every case, the slowest groups first.
pub fn all() -> Vec<Case> {
    [boot::cases(), exec::cases()].into_iter().flatten().collect()
}
