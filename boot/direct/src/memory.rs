//! Physical memory: taking it, reaching it.
//!
//! While the loader runs, the first 4 GiB are mapped at their own addresses, and it takes memory only from
//! there. Whatever it builds for the kernel is reclaimable memory, named by addresses in the HHDM.

use direct_boot::memmap::{Kind, MemoryMap};
use direct_boot::paging::{Frames, Table};
use direct_boot::{Error, HHDM, PAGE};

/// The loader reaches memory below this.
const REACH: u64 = 1 << 32;
/// The least the arena takes at a time.
const CHUNK: u64 = 16 * PAGE;

/// Reads a value.
///
/// # Safety
/// It is there, below 4 GiB, and valid whatever its bytes.
pub unsafe fn read<T>(address: u64) -> T {
    // SAFETY: the caller's promise, with low memory mapped at its own address.
    unsafe { core::ptr::read_unaligned(address as *const T) }
}

/// Bytes that only the firmware or QEMU has written.
///
/// # Safety
/// They are there, below 4 GiB, and nothing writes to them from now on.
pub unsafe fn bytes_at(address: u64, length: usize) -> &'static [u8] {
    // SAFETY: the caller's promise, with low memory mapped at its own address.
    unsafe { core::slice::from_raw_parts(address as *const u8, length) }
}

/// Words that somebody is to own.
///
/// # Safety
/// They are there, below 4 GiB, 8-byte aligned, and nothing else refers to them from now on.
unsafe fn words_at(address: u64, length: usize) -> &'static mut [u64] {
    // SAFETY: the caller's promise, with low memory mapped at its own address.
    unsafe { core::slice::from_raw_parts_mut(address as *mut u64, length) }
}

/// The bytes of some words.
pub fn bytes(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: the same memory, borrowed as long; bytes need no alignment and any value is a byte.
    unsafe { core::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// A zero-terminated string, without the zero. Address 0 is the empty string.
///
/// # Safety
/// It is there, below 4 GiB, and nothing writes to it as long as it is in use.
pub unsafe fn string(address: u64) -> &'static [u8] {
    if address == 0 {
        return b"";
    }
    // SAFETY: the caller's promise, with low memory mapped at its own address.
    unsafe { core::ffi::CStr::from_ptr(address as *const core::ffi::c_char).to_bytes() }
}

/// All memory, and an arena for small things.
pub struct Memory {
    /// Who has what.
    pub map: MemoryMap,
    next: u64,
    end: u64,
}

impl Memory {
    /// Takes charge of the memory that `map` calls usable.
    ///
    /// # Safety
    /// It is so: nothing that is still needed lies there.
    pub unsafe fn new(map: MemoryMap) -> Memory {
        Memory { map, next: 0, end: 0 }
    }

    /// Takes whole pages, filled with zeroes, for good: the slice is the only one.
    pub fn take(&mut self, size: u64, align: u64, kind: Kind) -> Result<&'static mut [u64], Error> {
        self.take_below(REACH, size, align, kind)
    }

    /// Takes a page that a processor can start in.
    pub fn take_start_page(&mut self) -> Result<&'static mut [u64], Error> {
        self.take_below(0xa_0000, PAGE, PAGE, Kind::Reclaimable)
    }

    /// Takes whole pages below a limit.
    fn take_below(
        &mut self,
        limit: u64,
        size: u64,
        align: u64,
        kind: Kind,
    ) -> Result<&'static mut [u64], Error> {
        let address = self.map.take(size, align, limit, kind)?;
        let words = size.max(1).next_multiple_of(PAGE) / 8;
        // SAFETY: the map gave this memory to nobody before and gives it to nobody again; it is in reach
        // and page-aligned.
        let memory = unsafe { words_at(address, words as usize) };
        memory.fill(0);
        Ok(memory)
    }

    /// Takes a few words of reclaimable memory, for good.
    pub fn words(&mut self, count: usize) -> Result<&'static mut [u64], Error> {
        let size = count as u64 * 8;
        if self.end - self.next < size {
            let chunk = self.take(size.max(CHUNK), PAGE, Kind::Reclaimable)?;
            self.next = physical(chunk);
            self.end = self.next + chunk.len() as u64 * 8;
        }
        // SAFETY: this is the part of the chunk that has been given to nobody yet.
        let words = unsafe { words_at(self.next, count) };
        self.next += size;
        Ok(words)
    }

    /// Puts words into reclaimable memory and gives their address in the HHDM.
    pub fn put(&mut self, words: &[u64]) -> Result<u64, Error> {
        let place = self.words(words.len())?;
        place.copy_from_slice(words);
        Ok(virtual_address(place))
    }

    /// Puts the concatenation of `parts` and a zero there.
    pub fn put_string(&mut self, parts: &[&[u8]]) -> Result<u64, Error> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let words = self.words(length / 8 + 1)?;
        // The words are zero, so the string ends with a zero at least.
        let bytes = parts.iter().copied().flatten();
        for (number, byte) in bytes.enumerate() {
            words[number / 8] |= u64::from(*byte) << (number % 8 * 8);
        }
        Ok(virtual_address(words))
    }

    /// Takes a stack of at least so many bytes and gives its end in the HHDM.
    pub fn stack(&mut self, size: u64) -> Result<u64, Error> {
        let stack = self.take(size, PAGE, Kind::Reclaimable)?;
        Ok(virtual_address(stack) + stack.len() as u64 * 8)
    }
}

impl Frames for Memory {
    fn new_table(&mut self) -> Result<u64, Error> {
        Ok(physical(self.take(PAGE, PAGE, Kind::Reclaimable)?))
    }

    fn table(&mut self, address: u64) -> &mut Table {
        // SAFETY: the address is one that `new_table` gave, or is read from tables of such addresses alone;
        // and the borrow of `self` keeps other references to it away.
        unsafe { &mut *(address as *mut Table) }
    }
}

/// Where memory is.
pub fn physical(memory: &[u64]) -> u64 {
    memory.as_ptr() as u64
}

/// Where the kernel sees memory.
pub fn virtual_address(memory: &[u64]) -> u64 {
    HHDM + physical(memory)
}
