//! Page frames of RAM: the one allocator everything else gets memory from.
//!
//! The bitmap ([`antares_core::frames`]) lies in RAM found in the boot memory map. Memory below 1 MiB is left alone
//! (firmware and processor start-up use it). Addresses are physical.

use crate::boot::{BootInfo, RegionKind};
use crate::bugcheck::bugcheck;
use crate::mm::phys_to_virt;
use crate::sync::{Lock, rank};
use antares_core::frames::{Frames, bitmap_words, summary_words};

const PAGE: u64 = 4096;
const LOW_MEMORY: u64 = 0x10_0000;
/// Bugcheck code: the frame allocator was misused.
const MEMORY_MANAGEMENT: u32 = 0x1A;

static FRAMES: Lock<Option<Frames<'static>>, { rank::FRAMES }> = Lock::new(None);

/// Sets up the bitmap and gives it all usable memory. `None` if there is no room for the bitmap.
pub fn init(boot: &BootInfo) -> Option<()> {
    let usable = || boot.regions().iter().filter(|r| r.kind == RegionKind::Usable);
    let limit = usable().map(|r| (r.base + r.length) / PAGE).max()? as usize;
    let (bits, summary) = (bitmap_words(limit), summary_words(limit));
    let bytes = ((bits + summary) * 8) as u64;
    let place = usable()
        .map(|r| (r.base.max(LOW_MEMORY).next_multiple_of(PAGE), r.base + r.length))
        .find(|(start, end)| start + bytes <= *end)?
        .0;
    // SAFETY: usable RAM of this size, reached through the loader's direct map, that nobody else knows of; it is
    // zeroed before it becomes a slice and never given out.
    let (bit_words, summary_words) = unsafe {
        let words = phys_to_virt(place).cast::<u64>();
        words.write_bytes(0, bits + summary);
        let words = core::slice::from_raw_parts_mut(words, bits + summary);
        words.split_at_mut(bits)
    };
    let mut frames = Frames::new(bit_words, summary_words);
    for region in usable() {
        let start = region.base.max(LOW_MEMORY).next_multiple_of(PAGE);
        let end = (region.base + region.length) & !(PAGE - 1);
        let taken = place..(place + bytes).next_multiple_of(PAGE);
        for (from, to) in [(start, end.min(taken.start)), (start.max(taken.end), end)] {
            if from < to {
                frames.add((from / PAGE) as usize, ((to - from) / PAGE) as usize);
            }
        }
    }
    *FRAMES.lock() = Some(frames);
    Some(())
}

fn with<R>(f: impl FnOnce(&mut Frames<'static>) -> R) -> Option<R> {
    FRAMES.lock().as_mut().map(f)
}

/// Takes a frame; its contents are whatever they were.
pub fn alloc() -> Option<u64> {
    with(Frames::alloc).flatten().map(|frame| frame as u64 * PAGE)
}

/// Takes a frame and zeroes it.
pub fn alloc_zeroed() -> Option<u64> {
    let frame = alloc()?;
    // SAFETY: a frame just taken, in the direct map.
    unsafe { phys_to_virt(frame).write_bytes(0, PAGE as usize) };
    Some(frame)
}

/// Takes `count` frames in a row.
pub fn alloc_contiguous(count: usize) -> Option<u64> {
    with(|f| f.alloc_contiguous(count, 1)).flatten().map(|frame| frame as u64 * PAGE)
}

/// Gives a frame back. Freeing what is free already is a kernel bug and stops the system.
pub fn free(frame: u64) {
    if with(|f| f.release((frame / PAGE) as usize)) != Some(true) {
        bugcheck(MEMORY_MANAGEMENT, [1, frame, 0, 0], None);
    }
}

/// (all, free) frames.
pub fn counts() -> (u64, u64) {
    with(|f| (f.total() as u64, f.free_count() as u64)).unwrap_or((0, 0))
}

/// The same for the debug console; `None` when the frames are locked.
pub fn peek_counts() -> Option<(u64, u64)> {
    FRAMES.try_lock()?.as_ref().map(|f| (f.total() as u64, f.free_count() as u64))
}
