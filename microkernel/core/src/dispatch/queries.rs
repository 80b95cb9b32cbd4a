//! What can be asked about waits, for debuggers.

use super::{Dispatcher, NEVER, NONE, State};

/// Facts about a thread's wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitFacts {
    /// When it ends by itself ([`NEVER`]: not).
    pub deadline: u64,
    /// Dispatcher objects it is on; none for a parked thread.
    pub objects: u32,
    /// It is on all of them rather than on any.
    pub all: bool,
}

impl<P: Copy> Dispatcher<P> {
    /// What a thread waits for. Without a wait there are no objects and no deadline.
    pub fn wait_facts(&self, thread: u32) -> WaitFacts {
        let rec = self.rec(thread);
        if rec.state != State::Waiting {
            return WaitFacts { deadline: NEVER, objects: 0, all: false };
        }
        // Only a wait that has one sets it.
        let deadline = if rec.heap == NONE { NEVER } else { rec.deadline };
        WaitFacts { deadline, objects: rec.blocks.len() as u32, all: rec.wait_all }
    }

    /// The dispatcher object at place `at` of a thread's wait.
    pub fn waits_for(&self, thread: u32, at: usize) -> Option<u32> {
        let rec = self.rec(thread);
        rec.blocks.get(at).filter(|_| rec.state == State::Waiting).map(|block| block.object)
    }
}
