//! The process object: an address space, a handle table, threads, and how it all ends.
//!
//! A process ends when it is terminated or its last thread ends. Its threads are told, each leaves the kernel's waits
//! and exits by itself; the last one takes the process down: handles closed, memory freed, waiters told. A process
//! that never had a thread is taken down by whoever terminates it or closes its last handle.

use crate::arch::{paging, percpu};
use crate::ke::event::Signal;
use crate::ke::sched;
use crate::kref::Ref;
use crate::mm::kernel_root;
use crate::mm::space::AddressSpace;
use crate::ob::handles::HandleTable;
use crate::ob::{Header, run_deferred};
use crate::ps::ids::Id;
use crate::ps::thread::Thread;
use crate::quota::{Charge, Kind, QuotaBlock};
use crate::se::token::Token;
use crate::sync::{Lock, rank};
use crate::trace;
use abi::NtStatus;
use abi::ob::ObjectType;
use abi::ps::NORMAL_PRIORITY;
use abi::status::*;
use alloc::vec::Vec;
use antares_core::se::token::Kind as TokenKind;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Longest image name.
pub const NAME_LENGTH: usize = 40;
/// An image name.
pub type Name = heapless::String<NAME_LENGTH>;

/// Handles closed between two preemption points.
const CLOSE_BATCH: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    Ending,
    Ended,
}

struct Inner {
    life: Life,
    exit_status: u32,
    threads: Vec<Ref<Thread>>,
    name: Name,
}

/// See the module head.
pub struct Process {
    /// Object header.
    pub header: Header,
    id: Id,
    /// Parent's id.
    pub parent: u32,
    /// Memory.
    pub space: AddressSpace,
    /// Handles.
    pub handles: HandleTable,
    quota: Lock<Ref<QuotaBlock>, { rank::LEAF }>,
    token: Lock<Ref<Token>, { rank::LEAF }>,
    /// Signalled when it has ended.
    pub ended: Signal,
    inner: Lock<Inner, { rank::PROCESS }>,
    /// Priority of new threads.
    pub base_priority: AtomicI32,
    /// User address that user APCs go through; 0 until the program's runtime has set it.
    pub apc_dispatcher: AtomicU64,
    /// The system stops when it ends.
    pub critical: AtomicBool,
    /// Trace filter flag ([`trace::refresh_process`]).
    pub traced: AtomicBool,
    /// System time at creation.
    pub created: i64,
    /// System time at the end.
    pub exited: AtomicU64,
    /// Processor time of its ended threads, in ticks.
    pub past_ticks: AtomicU64,
    _charge: Lock<Option<Charge>, { rank::LEAF }>,
}

/// Processes that have not ended.
pub static ALIVE: AtomicU32 = AtomicU32::new(0);

impl Process {
    /// A process without threads, whose primary token `token` becomes. Nobody finds it before [`Process::publish`].
    pub fn new(
        parent: u32,
        quota: &Ref<QuotaBlock>,
        priority: i32,
        token: Ref<Token>,
    ) -> Result<Ref<Self>, NtStatus> {
        token.take();
        let charge = Charge::new(quota, Kind::Processes, 1)?;
        let inner = Inner { life: Life::Running, exit_status: 0, threads: Vec::new(), name: Name::new() };
        let process = Ref::try_new(Self {
            header: Header::new(ObjectType::Process, quota)?,
            id: Id::new()?,
            parent,
            space: AddressSpace::new(quota.clone())?,
            handles: HandleTable::new(quota.clone()),
            quota: Lock::new(quota.clone()),
            token: Lock::new(token),
            ended: Signal::new(false, false)?,
            inner: Lock::new(inner),
            base_priority: AtomicI32::new(priority),
            apc_dispatcher: AtomicU64::new(0),
            critical: AtomicBool::new(false),
            traced: AtomicBool::new(true),
            created: crate::system_time(),
            exited: AtomicU64::new(0),
            past_ticks: AtomicU64::new(0),
            _charge: Lock::new(Some(charge)),
        })?;
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Ok(process)
    }

    /// Lets it be found by id.
    pub fn publish(this: &Ref<Self>) {
        this.id.name_process(this);
    }

    /// A child of this process.
    pub fn new_child(&self, inherit: bool) -> Result<Ref<Self>, NtStatus> {
        if self.is_ending() {
            return Err(STATUS_PROCESS_IS_TERMINATING);
        }
        let quota = self.quota();
        let token = self.token().duplicate(&quota, TokenKind::Primary, TokenKind::Primary, false)?;
        let child = Self::new(self.id(), &quota, NORMAL_PRIORITY, token)?;
        if inherit && let Err(status) = child.handles.inherit(&self.handles) {
            let _ = child.terminate(status.0);
            return Err(status);
        }
        Self::publish(&child);
        Ok(child)
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.id.number()
    }

    /// Its quota block.
    pub fn quota(&self) -> Ref<QuotaBlock> {
        self.quota.lock().clone()
    }

    /// Gives it a quota block of its own: its memory is charged there at once, all else that it and its children spend
    /// from now on.
    pub fn set_quota(&self, block: &Ref<QuotaBlock>) -> Result<(), NtStatus> {
        let old = self.quota();
        self.space.set_quota(block)?;
        if let Err(status) = self.handles.set_quota(block) {
            // What was charged to the old block a moment ago is most likely still free there.
            let _ = self.space.set_quota(&old);
            return Err(status);
        }
        let old = core::mem::replace(&mut *self.quota.lock(), block.clone());
        drop(old);
        Ok(())
    }

    /// Its primary token.
    pub fn token(&self) -> Ref<Token> {
        self.token.lock().clone()
    }

    /// Gives it another primary token, which no process has yet (STATUS_TOKEN_ALREADY_IN_USE). STATUS_NOT_SUPPORTED once it
    /// has threads, as in NT: who it is can no longer change.
    pub fn set_token(&self, token: &Ref<Token>) -> Result<(), NtStatus> {
        if !token.take() {
            return Err(STATUS_TOKEN_ALREADY_IN_USE);
        }
        let old = {
            let inner = self.inner.lock();
            if inner.life != Life::Running || !inner.threads.is_empty() {
                token.give_back();
                return Err(STATUS_NOT_SUPPORTED);
            }
            core::mem::replace(&mut *self.token.lock(), token.clone())
        };
        old.give_back();
        Ok(())
    }

    /// Image name.
    pub fn name(&self) -> Name {
        self.inner.lock().name.clone()
    }

    /// Sets the image name.
    pub fn set_name(&self, name: Name) {
        trace::name_process(self, &name);
        self.inner.lock().name = name;
    }

    /// True from the moment it is to end.
    pub fn is_ending(&self) -> bool {
        self.inner.lock().life != Life::Running
    }

    /// Exit status, or STATUS_PENDING.
    pub fn exit_status(&self) -> u32 {
        let inner = self.inner.lock();
        if inner.life == Life::Ended { inner.exit_status } else { STATUS_PENDING.0 }
    }

    /// Calls `with` on each thread.
    pub fn for_threads(&self, mut with: impl FnMut(&Ref<Thread>)) {
        self.inner.lock().threads.iter().for_each(&mut with);
    }

    /// Its image name and threads, for the debug console; `None` when they are locked.
    pub fn peek<R>(&self, with: impl FnOnce(&str, &[Ref<Thread>]) -> R) -> Option<R> {
        let inner = self.inner.try_lock()?;
        Some(with(&inner.name, &inner.threads))
    }

    /// Threads.
    pub fn thread_count(&self) -> usize {
        self.inner.lock().threads.len()
    }

    /// Takes a new thread in, unless the process is ending.
    pub fn add_thread(&self, thread: &Ref<Thread>) -> Result<(), NtStatus> {
        let mut inner = self.inner.lock();
        if inner.life != Life::Running {
            return Err(STATUS_PROCESS_IS_TERMINATING);
        }
        inner.threads.try_reserve(1).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        inner.threads.push(thread.clone());
        Ok(())
    }

    /// Lets a thread go that ends (or never ran). `true`: it was the last, and must call [`Process::take_down`].
    pub fn remove_thread(&self, thread: &Thread, exit_status: u32) -> bool {
        let removed = {
            let mut inner = self.inner.lock();
            let at = inner.threads.iter().position(|t| core::ptr::eq(&raw const **t, thread));
            let removed = at.map(|at| inner.threads.swap_remove(at));
            if removed.is_some() && inner.threads.is_empty() {
                if inner.life == Life::Running {
                    inner.life = Life::Ending;
                    inner.exit_status = exit_status;
                }
                (removed, true)
            } else {
                (removed, false)
            }
        };
        removed.1
    }

    /// Ends the process. Its threads go on their own; without threads it is taken down here.
    pub fn terminate(&self, exit_status: u32) -> Result<(), NtStatus> {
        let orphan = {
            let mut inner = self.inner.lock();
            if inner.life != Life::Running {
                return Err(STATUS_PROCESS_IS_TERMINATING);
            }
            inner.life = Life::Ending;
            inner.exit_status = exit_status;
            for thread in &inner.threads {
                thread.request_end(exit_status);
            }
            inner.threads.is_empty()
        };
        if orphan {
            self.take_down(false);
        }
        Ok(())
    }

    /// Ends all threads but one.
    pub fn terminate_others(&self, keep: &Thread, exit_status: u32) {
        let inner = self.inner.lock();
        for thread in inner.threads.iter().filter(|t| !core::ptr::eq(&raw const ***t, keep)) {
            thread.request_end(exit_status);
        }
    }

    /// Closes handles, frees memory, tells waiters. No thread of it runs user code any more; the caller may be its
    /// last thread. `drain`: what its handles kept open is closed before it counts as ended. Only its last thread may ask
    /// for that; elsewhere this may itself be part of such closing, which must not nest.
    pub fn take_down(&self, drain: bool) {
        self.handles.shut();
        let mut from = 0;
        let mut closed = 0;
        while let Some(entry) = self.handles.take_any(&mut from) {
            crate::sys::objects::drop_entry(entry);
            closed += 1;
            if closed % CLOSE_BATCH == 0 {
                if drain {
                    run_deferred();
                }
                sched::preemption_point();
            }
        }
        if drain {
            run_deferred();
        }
        if !percpu::is_idle() && core::ptr::eq(&raw const *sched::current().process, self) {
            paging::load(kernel_root());
        }
        self.space.clear();
        self.exited.store(crate::system_time() as u64, Ordering::Relaxed);
        self.inner.lock().life = Life::Ended;
        self.id.forget();
        drop(self._charge.lock().take());
        ALIVE.fetch_sub(1, Ordering::Relaxed);
        if self.critical.load(Ordering::Relaxed) {
            let status = self.inner.lock().exit_status;
            crate::bugcheck::bugcheck(0xEF, [u64::from(self.id()), u64::from(status), 0, 0], None);
        }
        self.ended.set();
    }

    /// Nobody has a handle any more: one that never got a thread can never run.
    pub fn last_handle_closed(&self) {
        if self.thread_count() == 0 {
            let _ = self.terminate(STATUS_PROCESS_IS_TERMINATING.0);
        }
    }
}
