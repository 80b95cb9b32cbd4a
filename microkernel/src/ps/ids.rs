//! Client ids: the numbers of processes and threads, from one table, as in NT.
//!
//! An id is a table key times four. It carries a generation, so the id of something that ended never names something
//! else. An entry refers to its process or thread until that ends.

use crate::kref::Ref;
use crate::ps::process::Process;
use crate::ps::thread::Thread;
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::status::{STATUS_INSUFFICIENT_RESOURCES, STATUS_UNSUCCESSFUL};
use antares_core::table::Table;

enum Entry {
    Reserved,
    Process(Ref<Process>),
    Thread(Ref<Thread>),
}

static IDS: Lock<Table<Entry, 14, 16>, { rank::IDS }> = Lock::new(Table::new());

/// An id that is given back when its owner goes.
pub struct Id(u32);

impl Id {
    /// A new id that names nothing yet.
    pub fn new() -> Result<Self, NtStatus> {
        let key = IDS.lock().insert(Entry::Reserved).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        Ok(Self((key << 2) as u32))
    }

    /// The number.
    pub fn number(&self) -> u32 {
        self.0
    }

    fn set(&self, entry: Entry) {
        let old = IDS.lock().get_mut(u64::from(self.0 >> 2)).map(|at| core::mem::replace(at, entry));
        drop(old);
    }

    /// The id names this process from now on.
    pub fn name_process(&self, process: &Ref<Process>) {
        self.set(Entry::Process(process.clone()));
    }

    /// The id names this thread from now on.
    pub fn name_thread(&self, thread: &Ref<Thread>) {
        self.set(Entry::Thread(thread.clone()));
    }

    /// The id names nothing any more, but is not reused before it is dropped.
    pub fn forget(&self) {
        self.set(Entry::Reserved);
    }
}

impl Drop for Id {
    fn drop(&mut self) {
        let old = IDS.lock().remove(u64::from(self.0 >> 2));
        drop(old);
    }
}

/// The process with this id.
pub fn process(id: u64) -> Option<Ref<Process>> {
    match IDS.lock().get(id >> 2)? {
        Entry::Process(process) => Some(process.clone()),
        _ => None,
    }
}

/// The thread with this id.
pub fn thread(id: u64) -> Option<Ref<Thread>> {
    match IDS.lock().get(id >> 2)? {
        Entry::Thread(thread) => Some(thread.clone()),
        _ => None,
    }
}

/// As [`next_process`], for the debug console: STATUS_UNSUCCESSFUL when the table is locked.
pub fn peek_process(mut from: u32) -> Result<Option<(Ref<Process>, u32)>, NtStatus> {
    let ids = IDS.try_lock().ok_or(STATUS_UNSUCCESSFUL)?;
    while let Some(key) = ids.next_key(from) {
        from = Table::<Entry, 14, 16>::index_of(key) + 1;
        if let Some(Entry::Process(process)) = ids.get(key) {
            return Ok(Some((process.clone(), from)));
        }
    }
    Ok(None)
}

/// As [`thread`], for the debug console: nothing either when the table is locked.
pub fn peek_thread(id: u32) -> Option<Ref<Thread>> {
    match IDS.try_lock()?.get(u64::from(id >> 2))? {
        Entry::Thread(thread) => Some(thread.clone()),
        _ => None,
    }
}

/// The first process in the table at or after `from`, and where to go on.
pub fn next_process(mut from: u32) -> Option<(Ref<Process>, u32)> {
    let ids = IDS.lock();
    loop {
        let key = ids.next_key(from)?;
        from = Table::<Entry, 14, 16>::index_of(key) + 1;
        if let Some(Entry::Process(process)) = ids.get(key) {
            return Some((process.clone(), from));
        }
    }
}
