//! What client and server agree on.

use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::io::{Error, Result};
use std::process::Child;
use std::sync::atomic::AtomicU32;

/// The large payload: the largest that an ALPC message carries, so that both systems move the same bytes.
pub const LARGE: usize = 0xFFFF - 0x28;
/// Bytes of the memory that is shared in place of a copy.
pub const SHARED: usize = 0x1_0000;
/// Datagrams in a batch.
pub const BATCH: usize = 64;
/// Where the listening socket is.
pub const SOCKET: &str = "/socket";

/// The time-stamp counter, which counts guest instructions here.
pub fn tsc() -> u64 {
    // SAFETY: user mode may read the counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Mean of the instructions of `work`, after a tenth of the runs as a warm-up.
pub fn measure(runs: u64, mut work: impl FnMut() -> Result<()>) -> Result<u64> {
    for _ in 0..runs.div_ceil(10) {
        work()?;
    }
    let start = tsc();
    for _ in 0..runs {
        work()?;
    }
    Ok((tsc() - start) / runs)
}

/// The file descriptor that another process named in a word of the command line.
pub fn inherited(word: Option<&&str>) -> Result<BorrowedFd<'static>> {
    let number: RawFd =
        word.and_then(|word| word.parse().ok()).ok_or_else(|| Error::other("no descriptor"))?;
    // SAFETY: the parent opened it without close-on-exec for this process, which never closes it.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

/// A descriptor as a word of a command line.
pub fn word(descriptor: &OwnedFd) -> String {
    descriptor.as_raw_fd().to_string()
}

/// Reads until the buffer is full.
pub fn read_all(from: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match rustix::io::read(from, &mut buffer[done..])? {
            0 => return Err(Error::other("the other side is gone")),
            count => done += count,
        }
    }
    Ok(())
}

/// Writes all of the buffer.
pub fn write_all(to: BorrowedFd<'_>, buffer: &[u8]) -> Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        done += rustix::io::write(to, &buffer[done..])?;
    }
    Ok(())
}

/// Memory that processes share.
pub struct Mapping {
    base: *mut core::ffi::c_void,
}

impl Mapping {
    /// Maps the first [`SHARED`] bytes of a memory file.
    pub fn new(file: BorrowedFd<'_>) -> Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mmap(core::ptr::null_mut(), SHARED, protection, MapFlags::SHARED, file, 0) }?;
        Ok(Self { base })
    }

    /// The 32-bit word at a byte offset, a multiple of four.
    pub fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset < SHARED);
        // SAFETY: within the mapping and aligned; shared memory is used by atomics only.
        unsafe { AtomicU32::from_ptr(self.base.cast::<u8>().add(offset).cast()) }
    }

    /// Reads a word of each page.
    pub fn touch(&self) -> u32 {
        let word = |page| self.word(page * 4096).load(core::sync::atomic::Ordering::Relaxed);
        (0..SHARED / 4096).map(word).fold(0, u32::wrapping_add)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; borrows of it have ended.
        let _ = unsafe { rustix::mm::munmap(self.base, SHARED) };
    }
}

/// A memory file of [`SHARED`] bytes.
pub fn memory_file() -> Result<OwnedFd> {
    let file = rustix::fs::memfd_create("shared", rustix::fs::MemfdFlags::empty())?;
    rustix::fs::ftruncate(&file, SHARED as u64)?;
    Ok(file)
}

/// A child that is ended when it is dropped.
pub struct Server(pub Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Keeps this process on one processor.
pub fn stay_on(processor: usize) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    set.set(processor);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}
