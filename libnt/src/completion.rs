//! I/O completion objects: packets, and threads of which only so many run at a time.

use crate::handle::OwnedHandle;
use crate::sys::calls;
use crate::time::relative;
use crate::wait::Ended;
use abi::arg::Handle;
use abi::completion::{FileIoCompletionInformation, IoStatusBlock};
use abi::ob::IO_COMPLETION_ALL_ACCESS;
use abi::status::{NtResult, NtStatus, STATUS_ALERTED, STATUS_TIMEOUT, STATUS_USER_APC};
use core::time::Duration;

/// An I/O completion object.
#[derive(Debug)]
pub struct IoCompletion(OwnedHandle);

impl IoCompletion {
    /// A new object of whose threads `limit` run at a time (0: as many as there are processors).
    pub fn create(limit: u32) -> NtResult<Self> {
        calls::create_io_completion(IO_COMPLETION_ALL_ACCESS, limit).map(OwnedHandle::new).map(Self)
    }

    /// An I/O completion object behind a handle.
    pub const fn from_handle(handle: OwnedHandle) -> Self {
        Self(handle)
    }

    /// The handle; it is signalled while packets are queued.
    pub const fn handle(&self) -> Handle {
        self.0.raw()
    }

    /// Posts a packet.
    pub fn post(&self, key: u64, context: u64, status: NtStatus, information: u64) -> NtResult {
        let io_status_block = IoStatusBlock { status: status.0, reserved: 0, information };
        let packet = FileIoCompletionInformation { key_context: key, apc_context: context, io_status_block };
        calls::set_io_completion(self.handle(), &packet)
    }

    /// Removes the next packet; `None` when the time-out passed. An object whose last handle is closed meanwhile is
    /// `Err(STATUS_ABANDONED)`.
    pub fn remove(&self, timeout: Option<Duration>) -> NtResult<Option<FileIoCompletionInformation>> {
        let (status, packet) = calls::remove_io_completion(self.handle(), relative(timeout).as_ref())?;
        match status {
            NtStatus(0) => Ok(Some(packet)),
            STATUS_TIMEOUT => Ok(None),
            status => Err(status),
        }
    }

    /// Removes up to as many packets as `packets` has room for, waiting for the first: how many there were, or what ended
    /// the wait.
    pub fn remove_many(
        &self,
        packets: &mut [FileIoCompletionInformation],
        timeout: Option<Duration>,
        alertable: bool,
    ) -> NtResult<Ended> {
        let timeout = relative(timeout);
        let (status, count) =
            calls::remove_io_completion_ex(self.handle(), packets, timeout.as_ref(), alertable)?;
        match status {
            NtStatus(0) => Ok(Ended::Signalled(count as usize)),
            STATUS_TIMEOUT => Ok(Ended::TimedOut),
            STATUS_ALERTED => Ok(Ended::Alerted),
            STATUS_USER_APC => Ok(Ended::Apc),
            status => Err(status),
        }
    }

    /// Packets in the queue.
    pub fn depth(&self) -> NtResult<i32> {
        calls::query_io_completion(self.handle()).map(|basic| basic.depth)
    }
}
