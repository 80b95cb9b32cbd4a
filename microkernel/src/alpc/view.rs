//! Regions of port sections, and the views that show them.
//!
//! A region is the part of a port section that one view was made for. Its *maker*'s view is made by
//! NtAlpcCreateSectionView; others are mapped into who receives a message with the VIEW attribute. A [`Passage`] is
//! a region's part in one message. What the views of a region are to be (mapped or not, writable or not) follows from the
//! passages that exist and from who gave a view up; [`settle`] makes it so, under the region's lock, from any
//! thread. Dropping a passage only puts the region on the list of [`crate::alpc::later`].
//!
//! The region of a secure section has one writer: the maker while no message is out, then the receiver while it holds
//! the message.

use crate::alpc::later::{Later, Link};
use crate::alpc::port;
use crate::alpc::section::PortSection;
use crate::kref::Ref;
use crate::ps::ids;
use crate::ps::process::Process;
use crate::quota::{Charge, Kind};
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::mm::{PAGE_READONLY, PAGE_READWRITE};
use abi::status::*;
use alloc::vec::Vec;
use antares_core::try_push;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Kernel memory charged for a region or view.
const RECORD_CHARGE: u64 = 256;

/// See the module head.
pub struct Region {
    /// Section it is a part of.
    pub section: Ref<PortSection>,
    /// Where in the section.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    views: Lock<Vec<Ref<View>>, { rank::REGION }>,
    /// A message of a secure section is out.
    out: AtomicBool,
    /// Its place in the list of what is to be done later.
    pub link: Link,
    _charge: Charge,
}

/// A view of a region in one process, owned by one port.
pub struct View {
    /// What it shows.
    pub region: Ref<Region>,
    /// Whose address space.
    pub process: u32,
    /// Id of the port that owns it.
    pub port: u32,
    base: AtomicU64,
    maker: bool,
    /// Messages that its port holds with it.
    uses: AtomicU32,
    /// Goes with the last of those.
    auto: AtomicBool,
    /// Given up.
    closing: AtomicBool,
    writable: AtomicBool,
    _charge: Charge,
}

impl View {
    /// Its address.
    pub fn base(&self) -> u64 {
        self.base.load(Ordering::Relaxed)
    }

    /// Made by NtAlpcCreateSectionView.
    pub fn is_maker(&self) -> bool {
        self.maker
    }

    /// Its protection is ALPC's alone.
    pub fn is_secure(&self) -> bool {
        self.region.section.secure
    }

    /// Gives it up: it goes when its region is settled.
    pub fn give_up(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn must_go(&self) -> bool {
        self.closing.load(Ordering::Acquire)
            || (self.auto.load(Ordering::Acquire) && self.uses.load(Ordering::Acquire) == 0)
    }

    fn may_write(&self) -> bool {
        let section = &self.region.section;
        section.writable
            && (!section.secure
                || if self.maker {
                    !self.region.out.load(Ordering::Acquire)
                } else {
                    self.uses.load(Ordering::Acquire) > 0
                })
    }

    /// Gives its pages the protection that they must have. Under the region's lock.
    fn protect(&self, this: &Ref<Self>, write: bool) {
        if self.writable.swap(write, Ordering::Relaxed) == write {
            return;
        }
        if let Some(process) = ids::process(u64::from(self.process)) {
            process.space.protect_owned(
                self.base(),
                this,
                if write { PAGE_READWRITE } else { PAGE_READONLY },
            );
        }
    }
}

impl Region {
    /// A part of a section that no other region has.
    pub fn new(section: &Ref<PortSection>, size: u64, charge: &Ref<Process>) -> Result<Ref<Self>, NtStatus> {
        let charge = Charge::new(&charge.quota(), Kind::Pool, RECORD_CHARGE)?;
        let offset = section.take_range(size)?;
        let made = Ref::try_new_or_back(Self {
            section: section.clone(),
            offset,
            size,
            views: Lock::new(Vec::new()),
            out: AtomicBool::new(false),
            link: Link::new(),
            _charge: charge,
        });
        // What comes back gives its range back as it is dropped.
        made.map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
    }

    /// Maps a view of it for a port into a process, which pays.
    fn map(
        this: &Ref<Self>,
        views: &mut Vec<Ref<View>>,
        process: &Ref<Process>,
        port: u32,
        maker: bool,
    ) -> Result<Ref<View>, NtStatus> {
        let view = Ref::try_new(View {
            region: this.clone(),
            process: process.id(),
            port,
            base: AtomicU64::new(0),
            maker,
            uses: AtomicU32::new(0),
            auto: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            writable: AtomicBool::new(false),
            _charge: Charge::new(&process.quota(), Kind::Pool, RECORD_CHARGE)?,
        })?;
        let section = &this.section;
        let write = maker && view.may_write() || !section.secure && section.writable;
        view.writable.store(write, Ordering::Relaxed);
        let most = if section.writable { PAGE_READWRITE } else { PAGE_READONLY };
        let now = if write { PAGE_READWRITE } else { PAGE_READONLY };
        try_push(views, view.clone()).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let mapped = process.space.map_owned(&section.section, (this.offset, this.size), now, most, &view);
        match mapped {
            Ok(base) => {
                view.base.store(base, Ordering::Relaxed);
                Ok(view)
            }
            Err(status) => {
                views.pop();
                Err(status)
            }
        }
    }

    /// Maps the maker's view.
    pub fn map_maker(this: &Ref<Self>, process: &Ref<Process>, port: u32) -> Result<Ref<View>, NtStatus> {
        Self::map(this, &mut this.views.lock(), process, port, true)
    }

    /// Unmaps a view, whatever it is used for. `false`: it is gone already.
    pub fn unmap(&self, view: &Ref<View>) -> bool {
        let mut views = self.views.lock();
        let Some(at) = views.iter().position(|v| v == view) else { return false };
        unmap(&views.swap_remove(at));
        true
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        self.section.give_range_back(self.offset);
    }
}

fn unmap(view: &Ref<View>) {
    if let Some(process) = ids::process(u64::from(view.process)) {
        process.space.unmap_owned(view.base(), view);
    }
}

/// Makes a region's views what they must be: takes from some first, then gives to others. Called with no lock held.
pub fn settle(region: &Ref<Region>) {
    loop {
        let gone = {
            let mut views = region.views.lock();
            let gone = views.iter().position(|view| view.must_go()).map(|at| views.swap_remove(at));
            match &gone {
                Some(view) => unmap(view),
                None if region.section.secure => {
                    views.iter().filter(|v| !v.may_write()).for_each(|v| v.protect(v, false));
                    // What may be written can change between the two; whoever changed it has put the region on the list
                    // again. Never two at once.
                    for view in views.iter().filter(|v| v.may_write()) {
                        if !views.iter().any(|other| other != view && other.writable.load(Ordering::Relaxed))
                        {
                            view.protect(view, true);
                        }
                    }
                }
                None => {}
            }
            gone
        };
        match gone {
            Some(view) => port::forget_view(&view),
            None => return,
        }
    }
}

/// A view went with its address space.
pub fn lost(view: &Ref<View>) {
    let found = {
        let mut views = view.region.views.lock();
        let at = views.iter().position(|v| v == view);
        at.map(|at| views.swap_remove(at))
    };
    if found.is_some() {
        port::forget_view(view);
    }
}

/// A region's part in one message, from its sending until it is released.
pub struct Passage {
    region: Ref<Region>,
    /// The receiver's mapping goes when it gives the message back.
    pub auto_release: bool,
    received: Option<Use>,
}

/// A receiver's use of its view for one message.
pub struct Use {
    view: Ref<View>,
    fresh: bool,
}

impl Use {
    /// The view.
    pub fn view(&self) -> &Ref<View> {
        &self.view
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if self.fresh {
            self.view.give_up();
        }
        self.view.uses.fetch_sub(1, Ordering::AcqRel);
        Later::Region(self.view.region.clone()).push();
    }
}

impl Passage {
    /// The message that shows this view is sent. The view of a secure section must not be out already; it becomes
    /// read-only here.
    pub fn new(view: &Ref<View>, auto_release: bool) -> Result<Self, NtStatus> {
        let region = view.region.clone();
        if region.section.secure {
            if region.out.swap(true, Ordering::AcqRel) {
                return Err(STATUS_ACCESS_DENIED);
            }
            settle(&region);
        }
        Ok(Self { region, auto_release, received: None })
    }

    /// What it shows.
    pub fn region(&self) -> &Ref<Region> {
        &self.region
    }

    /// Who gets the view has to give the message back.
    pub fn must_be_returned(&self) -> bool {
        self.auto_release || self.region.section.secure
    }

    /// The receiver has to give the message back.
    pub fn is_held(&self) -> bool {
        self.received.is_some() && self.must_be_returned()
    }

    /// Where the receiver's view is.
    pub fn mapped(&self) -> Option<u64> {
        self.received.as_ref().map(|held| held.view.base())
    }

    /// Gives a process a view to receive with, owned by a port: the one that it has, or a new one. `known` says whether
    /// the port can own one more, and is told of it.
    pub fn map(
        &self,
        process: &Ref<Process>,
        port: u32,
        known: impl FnOnce(&Ref<View>) -> Result<(), NtStatus>,
    ) -> Result<Use, NtStatus> {
        let region = &self.region;
        let mut views = region.views.lock();
        let id = process.id();
        let old = views.iter().find(|v| !v.maker && v.process == id && v.port == port && !v.must_go());
        let (view, fresh) = match old {
            Some(view) => (view.clone(), false),
            None => {
                let view = Region::map(region, &mut views, process, port, false)?;
                if let Err(status) = known(&view) {
                    views.pop();
                    unmap(&view);
                    return Err(status);
                }
                view.auto.store(self.auto_release, Ordering::Release);
                (view, true)
            }
        };
        if !self.auto_release {
            view.auto.store(false, Ordering::Release);
        }
        view.uses.fetch_add(1, Ordering::AcqRel);
        let held = Use { view, fresh };
        if region.section.secure {
            held.view.protect(&held.view, held.view.may_write());
        }
        Ok(held)
    }

    /// The receiver has its view.
    pub fn keep(&mut self, mut held: Use) {
        held.fresh = false;
        self.received = Some(held);
    }

    /// The receiver gives its view up with the message.
    pub fn give_up(&self) {
        if let Some(held) = &self.received {
            held.view.give_up();
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        // Whom it was shown to stops writing before its maker may write again.
        self.received = None;
        self.region.out.store(false, Ordering::Release);
        Later::Region(self.region.clone()).push();
    }
}
