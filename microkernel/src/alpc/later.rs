//! What has to be done after a message went, but not under the lock under which it went: views that change, and events
//! of direct messages; and memory that only a message kept.
//!
//! Messages are dropped under the lock of their group. What must follow is put on one list, linked through the things
//! themselves so that it needs no memory; [`crate::ob::run_deferred`] works it off before the kernel returns to user mode,
//! and before a thread that has answered a message blocks. No processor returns to user mode while another is still at
//! it: the maker of a view that an answer gives back may be the one that goes on.

use crate::alpc::direct::Completion;
use crate::alpc::view::{self, Region};
use crate::alpc::zone::Zone;
use crate::kref::Ref;
use crate::sync::{Lock, Relax, rank};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// One thing to be done.
pub enum Later {
    /// A region's views are to be as its messages want them.
    Region(Ref<Region>),
    /// A direct message has been dealt with.
    Completion(Ref<Completion>),
    /// A payload that lay in a zone is gone, and with it perhaps the zone.
    Zone(Ref<Zone>),
}

/// The place in the list of something that can be on it.
pub struct Link {
    queued: AtomicBool,
    next: Lock<Option<Later>, { rank::LEAF }>,
}

impl Link {
    /// Not on the list.
    pub const fn new() -> Self {
        Self { queued: AtomicBool::new(false), next: Lock::new(None) }
    }
}

static LIST: Lock<Option<Later>, { rank::LEAF }> = Lock::new(None);

impl Later {
    fn link(&self) -> &Link {
        match self {
            Self::Region(region) => &region.link,
            Self::Completion(completion) => &completion.link,
            Self::Zone(zone) => &zone.link,
        }
    }

    /// Puts it on the list, unless it is there.
    pub fn push(self) {
        if self.link().queued.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut list = LIST.lock();
        let next = list.take();
        // Leaf under leaf: the link of what is not on the list yet is reached by nobody else.
        self.link().next.set_unshared(next);
        *list = Some(self);
        drop(list);
        crate::ob::note_deferred();
    }

    fn run(&self) {
        match self {
            Self::Region(region) => view::settle(region),
            Self::Completion(completion) => completion.tell(),
            // That it is dropped after this is all.
            Self::Zone(_) => {}
        }
    }
}

/// Things taken from the list and not done yet, by all processors.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Calls `quiet` if nothing is on the list or being done, and nothing can be put there or taken meanwhile.
pub fn if_idle(quiet: impl FnOnce()) -> bool {
    let list = LIST.lock();
    let idle = list.is_none() && RUNNING.load(Ordering::Acquire) == 0;
    if idle {
        quiet();
    }
    idle
}

/// Waits until other processors have done what they took from the list. Called with no lock held.
pub fn wait_for_others() {
    while RUNNING.load(Ordering::Acquire) != 0 {
        <Relax as spin::RelaxStrategy>::relax();
    }
}

/// Does the first thing on the list. `false` when there is none. Called with no lock held.
pub fn run_one() -> bool {
    let later = {
        let mut list = LIST.lock();
        let Some(later) = list.take() else { return false };
        *list = later.link().next.take_unshared();
        RUNNING.fetch_add(1, Ordering::AcqRel);
        later
    };
    // A locked exchange, so that what is looked at below is looked at after it: whoever changes it from now on puts it on the
    // list again.
    later.link().queued.swap(false, Ordering::AcqRel);
    later.run();
    RUNNING.fetch_sub(1, Ordering::AcqRel);
    true
}
