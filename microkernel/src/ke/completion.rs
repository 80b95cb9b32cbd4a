//! I/O completion objects: packets that threads wait for, and the ports that post them.
//!
//! Order, limit and waiters are [`antares_core::dispatch`]'s queues, under the dispatcher lock; this module makes them
//! objects, charges each posted packet to its poster, and ties ALPC ports to them ([`Association`]). The object is
//! closed with its last handle: threads that wait then get STATUS_ABANDONED, and ports post nowhere. It never looks at
//! what packets say.

use crate::alpc::port::Port;
use crate::ke::event::Signal;
use crate::ke::{alert, sched};
use crate::kref::Ref;
use crate::ob::Header;
use crate::quota::{Kind, QuotaBlock};
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::completion::{FileIoCompletionInformation, IoStatusBlock};
use abi::info::WAIT_REASON_QUEUE;
use abi::ob::ObjectType;
use abi::status::*;
use alloc::vec::Vec;
use antares_core::dispatch::{Packet, PostError, Wait};
use core::sync::atomic::{AtomicU32, Ordering};

/// Kernel memory charged for a packet.
const PACKET_CHARGE: u64 = 64;
/// Most completion lists of an object.
const MAX_LISTS: usize = 64;

/// Queues that are free to be used again, and how many were made. As with [`Signal`], an object may be freed under
/// almost any lock.
static FREE: Lock<(Vec<u32>, usize), { rank::LEAF }> = Lock::new((Vec::new(), 0));

/// An I/O completion object.
pub struct IoCompletion {
    /// Object header.
    pub header: Header,
    /// Signalled while a packet can be had.
    pub signal: Signal,
    queue: u32,
    /// Ports tied to it that have completion lists; and how many, to see without the lock.
    lists: Lock<Vec<Ref<Port>>, { rank::LEAF }>,
    list_count: AtomicU32,
}

fn status(error: PostError) -> NtStatus {
    match error {
        PostError::Full => STATUS_QUOTA_EXCEEDED,
        PostError::NoMemory => STATUS_INSUFFICIENT_RESOURCES,
        // The last handle went while the call ran.
        PostError::Closed => STATUS_INVALID_HANDLE,
    }
}

/// Gives back what [`IoCompletion::post`] charged.
fn release(packet: &Packet) {
    if packet.owner != 0 {
        // SAFETY: a packet's owner came from `into_raw`, and each packet is released once, when it has left its queue.
        let quota = unsafe { Ref::from_raw(packet.owner as *const QuotaBlock) };
        quota.release(Kind::Pool, PACKET_CHARGE);
    }
}

impl IoCompletion {
    /// A new object of whose threads `limit` run at a time.
    pub fn new(quota: &Ref<QuotaBlock>, limit: u32) -> Result<Ref<Self>, NtStatus> {
        let header = Header::new(ObjectType::IoCompletion, quota)?;
        let signal = Signal::new(false, false)?;
        let object = signal.index();
        let reused = FREE.lock().0.pop();
        let queue = match reused {
            Some(queue) => {
                sched::lock().reuse_queue(queue, limit, object);
                queue
            }
            None => {
                {
                    let (free, made) = &mut *FREE.lock();
                    // Room for giving every one back.
                    let more = (*made + 1).saturating_sub(free.len());
                    free.try_reserve(more).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
                    *made += 1;
                }
                let made = sched::lock().add_queue(limit, object);
                made.map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?
            }
        };
        let object = Ref::try_new_or_back(Self {
            header,
            signal,
            queue,
            lists: Lock::new(Vec::new()),
            list_count: AtomicU32::new(0),
        });
        object.map_err(|object| {
            object.close();
            STATUS_INSUFFICIENT_RESOURCES
        })
    }

    /// The last handle is gone.
    pub fn close(&self) {
        let left = sched::lock().close_queue(self.queue);
        left.for_each(|packet| release(&packet));
    }

    /// Packets in the queue.
    pub fn depth(&self) -> u64 {
        sched::lock().queue_depth(self.queue)
    }

    /// Posts a packet, charged to `quota`.
    ///
    /// # Errors
    /// STATUS_QUOTA_EXCEEDED, STATUS_INSUFFICIENT_RESOURCES, or STATUS_INVALID_HANDLE when the object is closed.
    pub fn post(&self, quota: &Ref<QuotaBlock>, entry: &FileIoCompletionInformation) -> Result<(), NtStatus> {
        quota.charge(Kind::Pool, PACKET_CHARGE)?;
        let packet = Packet {
            key: entry.key_context,
            context: entry.apc_context,
            status: entry.io_status_block.status,
            information: entry.io_status_block.information,
            owner: Ref::into_raw(quota.clone()) as u64,
        };
        let posted = sched::lock().post_packet(self.queue, packet);
        posted.map_err(|error| {
            release(&packet);
            status(error)
        })
    }

    /// Waits until a packet was given to the caller, and takes it.
    ///
    /// # Errors
    /// What ended the wait: STATUS_TIMEOUT, STATUS_ALERTED, STATUS_USER_APC, STATUS_ABANDONED,
    /// STATUS_THREAD_IS_TERMINATING.
    pub fn remove(&self, deadline: u64, alertable: bool) -> Result<Packet, NtStatus> {
        let thread = sched::current();
        loop {
            let mut d = sched::lock();
            let started =
                d.remove_packet(thread.index, self.queue, deadline, WAIT_REASON_QUEUE as u8, alertable);
            if started == Wait::Done(0)
                && let Some(packet) = d.take_granted(self.queue)
            {
                d.end_alertable(thread.index);
                return Ok(packet);
            }
            let granted = started == Wait::Blocked;
            let status = sched::finish_wait(d, started, thread.index, deadline);
            alert::over(thread, status, alertable);
            if status != STATUS_SUCCESS {
                return Err(status);
            }
            if granted && let Some(packet) = sched::lock().take_granted(self.queue) {
                return Ok(packet);
            }
        }
    }

    /// A port with a completion list, by its place among them.
    pub fn list_port(&self, at: usize) -> Option<Ref<Port>> {
        if self.list_count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        self.lists.lock().get(at).cloned()
    }

    /// A port that is tied to it has a completion list now.
    pub fn add_list(&self, port: &Ref<Port>) -> Result<(), NtStatus> {
        let mut lists = self.lists.lock();
        if lists.len() >= MAX_LISTS {
            return Err(STATUS_QUOTA_EXCEEDED);
        }
        lists.try_reserve(1).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        lists.push(port.clone());
        self.list_count.store(lists.len() as u32, Ordering::Relaxed);
        Ok(())
    }

    /// A port has no completion list any more.
    pub fn remove_list(&self, port: u32) {
        let mut lists = self.lists.lock();
        let removed = lists.iter().position(|p| p.id == port).map(|at| lists.swap_remove(at));
        if lists.is_empty() {
            *lists = Vec::new();
        }
        self.list_count.store(lists.len() as u32, Ordering::Relaxed);
        drop(lists);
        drop(removed);
    }

    /// Takes a further packet if there is one.
    pub fn remove_more(&self) -> Option<Packet> {
        sched::lock().take_more(self.queue)
    }

    /// Puts back what could not be given to the caller, in the order it was taken.
    pub fn put_back(&self, packets: &[Packet]) {
        for packet in packets.iter().rev() {
            let back = sched::lock().unpost_packet(self.queue, *packet);
            if back.is_err() {
                release(packet);
            }
        }
    }
}

impl Drop for IoCompletion {
    fn drop(&mut self) {
        FREE.lock().0.push(self.queue);
    }
}

/// The packet as its receiver sees it; its charge is given back.
pub fn entry_of(packet: &Packet) -> FileIoCompletionInformation {
    FileIoCompletionInformation {
        key_context: packet.key,
        apc_context: packet.context,
        io_status_block: IoStatusBlock {
            status: packet.status,
            reserved: 0,
            information: packet.information,
        },
    }
}

/// The packets have reached their receiver.
pub fn delivered(packets: &[Packet]) {
    packets.iter().for_each(release);
}

/// A port's tie to an I/O completion object, which it keeps from being freed, not from being closed.
pub struct Association {
    object: Ref<IoCompletion>,
    source: u32,
}

impl Association {
    /// Ties a port: packets have this key.
    pub fn new(object: Ref<IoCompletion>, key: u64) -> Result<Self, NtStatus> {
        let source = sched::lock().add_source(object.queue, key);
        let source = source.map_err(status)?;
        Ok(Self { object, source })
    }

    /// What the port's state machine posts to.
    pub fn source(&self) -> u32 {
        self.source
    }

    /// The I/O completion object.
    pub fn object(&self) -> &IoCompletion {
        &self.object
    }

    /// Unties it; nobody posts to its source any more. Packets that are still queued go too.
    pub fn end(self) {
        sched::lock().remove_source(self.source);
        drop(self.object);
    }
}
