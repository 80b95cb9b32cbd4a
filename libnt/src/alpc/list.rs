//! Completion lists: messages of a port in memory that the kernel writes and this process takes from, without a system
//! call for each.
//!
//! The port must be tied to an I/O completion object. A thread waits for packets there; when it has one, the messages
//! that had arrived lie in the list, and it takes them with [`CompletionList::take`] until there are none. What finds no
//! room stays queued in the port, and comes when messages were given back and a thread waits for packets again.

use crate::memory::SharedPages;
use crate::sys::calls;
use abi::alpc::*;
use abi::arg::Handle;
use abi::completion::list_header::*;
use abi::completion::*;
use abi::status::NtResult;
use core::sync::atomic::Ordering;
use zerocopy::{FromBytes, IntoBytes};

/// A registered completion list, with its memory. Dropping it unregisters it.
#[derive(Debug)]
pub struct CompletionList {
    port: Handle,
    pages: SharedPages,
    list: u64,
    entries: u32,
    bitmap: u64,
    data: u64,
    data_size: u64,
    attribute_size: u64,
    registered: bool,
}

impl CompletionList {
    /// AlpcRegisterCompletionList with memory of `size` bytes (0x1000 to 0x100000). `concurrency`: threads that work on it
    /// at a time; `attributes`: ALPC_MESSAGE_ bits that its messages carry. The port must stay open as long as the list.
    ///
    /// # Errors
    /// STATUS_PORT_NOT_SET: the port is not tied to an I/O completion object. STATUS_PORT_ALREADY_HAS_COMPLETION_LIST.
    pub fn register(port: Handle, size: u32, concurrency: u32, attributes: u32) -> NtResult<Self> {
        let pages = SharedPages::allocate(size as usize)?;
        let information = AlpcPortCompletionListInformation {
            buffer: pages.address(),
            size,
            concurrency_count: concurrency,
            attribute_flags: attributes,
            reserved: 0,
        };
        calls::set_port(port, ALPC_REGISTER_COMPLETION_LIST_INFORMATION, information.as_bytes())?;
        let mut this = Self {
            port,
            pages,
            list: 0,
            entries: 0,
            bitmap: 0,
            data: 0,
            data_size: 0,
            attribute_size: 0,
            registered: true,
        };
        let part = |offset| u64::from(this.pages.word(offset).load(Ordering::Acquire));
        let parts = [LIST_OFFSET, LIST_SIZE, BITMAP_OFFSET, DATA_OFFSET, DATA_SIZE, ATTRIBUTE_SIZE].map(part);
        let [list, list_size, bitmap, data, data_size, attribute_size] = parts;
        (this.list, this.entries, this.bitmap) = (list, (list_size / 4) as u32, bitmap);
        (this.data, this.data_size, this.attribute_size) = (data, data_size, attribute_size);
        Ok(this)
    }

    /// AlpcGetMessageFromCompletionList: the next message, if there is one. Any thread may call it.
    pub fn take(&self) -> Option<ListMessage<'_>> {
        let state = self.pages.long(STATE);
        let mut now = state.load(Ordering::Acquire);
        loop {
            let (head, tail) = (now & INDEX_MASK, now >> TAIL_SHIFT & INDEX_MASK);
            if head == tail || head >= u64::from(self.entries) {
                return None;
            }
            let granule = self.pages.word(self.list + head * 4).load(Ordering::Acquire);
            let next = (head + 1) % u64::from(self.entries);
            let taken = now & !INDEX_MASK | next;
            match state.compare_exchange_weak(now, taken, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(ListMessage { list: self, granule }),
                Err(changed) => now = changed,
            }
        }
    }

    /// Bytes that its messages have room in: attributes, headers and payloads.
    pub const fn data_size(&self) -> usize {
        self.data_size as usize
    }

    /// AlpcGetOutstandingCompletionListMessageCount: messages that were written and not given back.
    pub fn outstanding(&self) -> u32 {
        let posted = self.pages.word(POST_COUNT).load(Ordering::Acquire);
        posted.wrapping_sub(self.pages.word(RETURN_COUNT).load(Ordering::Acquire))
    }

    /// AlpcGetCompletionListLastMessageInformation: message id and callback id of the message last written.
    pub fn last_message(&self) -> (u32, u32) {
        let [id, callback] =
            [LAST_MESSAGE_ID, LAST_CALLBACK_ID].map(|at| self.pages.word(at).load(Ordering::Acquire));
        (id, callback)
    }

    /// AlpcRegisterCompletionListWorkerThread: one more thread works on the list; how many do.
    pub fn add_worker(&self) -> u16 {
        (self.pages.long(STATE).fetch_add(1 << THREADS_SHIFT, Ordering::AcqRel) >> THREADS_SHIFT) as u16 + 1
    }

    /// AlpcUnregisterCompletionListWorkerThread: one thread less works on the list; how many do. There must be one.
    pub fn remove_worker(&self) -> u16 {
        (self.pages.long(STATE).fetch_sub(1 << THREADS_SHIFT, Ordering::AcqRel) >> THREADS_SHIFT) as u16 - 1
    }

    /// AlpcAdjustCompletionListConcurrencyCount.
    pub fn adjust_concurrency(&self, count: u32) -> NtResult {
        let class = ALPC_ADJUST_COMPLETION_LIST_CONCURRENCY_COUNT_INFORMATION;
        calls::set_port(self.port, class, count.as_bytes())
    }

    /// AlpcRundownCompletionList: no more messages are written; those that are there can be taken.
    pub fn run_down(&self) -> NtResult {
        calls::set_port(self.port, ALPC_COMPLETION_LIST_RUNDOWN_INFORMATION, &[])
    }

    /// AlpcUnregisterCompletionList.
    pub fn unregister(mut self) -> NtResult {
        self.end()
    }

    fn end(&mut self) -> NtResult {
        if !core::mem::take(&mut self.registered) {
            return Ok(());
        }
        calls::set_port(self.port, ALPC_UNREGISTER_COMPLETION_LIST_INFORMATION, &[])
    }

    /// Address and size of the region.
    pub fn region(&self) -> (u64, usize) {
        (self.pages.address(), self.pages.size())
    }
}

impl Drop for CompletionList {
    fn drop(&mut self) {
        // A port that is closed has no list any more.
        let _ = self.end();
    }
}

/// A message in a completion list. Dropping it gives it back (AlpcFreeCompletionListMessage).
#[derive(Debug)]
pub struct ListMessage<'a> {
    list: &'a CompletionList,
    granule: u32,
}

impl ListMessage<'_> {
    /// Bytes of the block from `offset` on, within the data area.
    fn part(&self, offset: u64, length: usize) -> &[u8] {
        let list = self.list;
        let at = u64::from(self.granule) * u64::from(COMPLETION_LIST_GRANULE) + offset;
        let room = list.data_size.saturating_sub(at) as usize;
        // SAFETY: the kernel leaves a block alone from when it shows it until its bit is cleared, which happens when
        // `self` is dropped; a list that lies about its blocks was spoilt by this process itself.
        unsafe { list.pages.part(list.data + at, length.min(room)) }
    }

    /// The header.
    pub fn header(&self) -> PortMessage {
        let bytes = self.part(self.list.attribute_size, PORT_MESSAGE_SIZE);
        PortMessage::read_from_bytes(bytes).unwrap_or_default()
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        let offset = self.list.attribute_size + PORT_MESSAGE_SIZE as u64;
        self.part(offset, self.header().data_length.into())
    }

    /// AlpcGetCompletionListMessageAttributes: the attribute buffer, empty if the list has none.
    pub fn attributes(&self) -> &[u8] {
        self.part(0, self.list.attribute_size as usize)
    }

    /// The CONTEXT attribute, if it is there.
    pub fn context(&self) -> Option<AlpcContextAttr> {
        self.attribute(ALPC_MESSAGE_CONTEXT_ATTRIBUTE)
    }

    /// The HANDLE attribute, if it is there; the handle is this process's, and the caller's to close.
    pub fn handle(&self) -> Option<AlpcHandleAttr> {
        self.attribute(ALPC_MESSAGE_HANDLE_ATTRIBUTE)
    }

    fn attribute<T: FromBytes>(&self, flag: u32) -> Option<T> {
        let buffer = self.attributes();
        let (header, _) = AlpcMessageAttributes::read_from_prefix(buffer).ok()?;
        let offset = attribute_offset(header.allocated_attributes, flag)
            .filter(|_| header.valid_attributes & flag != 0)?;
        T::read_from_prefix(buffer.get(offset..)?).ok().map(|(value, _)| value)
    }
}

impl Drop for ListMessage<'_> {
    fn drop(&mut self) {
        let list = self.list;
        let (word, bit) = (u64::from(self.granule / 64) * 8, 1 << (self.granule % 64));
        if u64::from(self.granule) * u64::from(COMPLETION_LIST_GRANULE) < list.data_size {
            list.pages.long(list.bitmap + word).fetch_and(!bit, Ordering::AcqRel);
        }
        list.pages.word(RETURN_COUNT).fetch_add(1, Ordering::AcqRel);
    }
}
