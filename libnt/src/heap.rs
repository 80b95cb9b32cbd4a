//! The heap: `talc` on memory from NtAllocateVirtualMemory, grown in steps as needed.

use crate::sync::Mutex;
use crate::sys::calls;
use abi::arg::Handle;
use abi::mm::{MEM_COMMIT, MEM_RESERVE, PAGE_READWRITE};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};
use talc::{OomHandler, Span, Talc};

/// Least bytes of one growth.
const STEP: usize = 0x4_0000;

/// Asks the kernel for more memory when the heap is full.
struct Grow;

impl OomHandler for Grow {
    fn handle_oom(talc: &mut Talc<Self>, layout: Layout) -> Result<(), ()> {
        // Room for the block, its alignment and talc's own bookkeeping of a new span.
        let size = (layout.size() + layout.align() + 0x1000).max(STEP);
        let (base, size) = calls::allocate_memory(
            Handle::CURRENT_PROCESS,
            0,
            size as u64,
            MEM_RESERVE | MEM_COMMIT,
            PAGE_READWRITE,
        )
        .map_err(drop)?;
        // SAFETY: the kernel just gave this memory to us alone.
        unsafe { talc.claim(Span::from_base_size(base as *mut u8, size as usize)) }.map(drop)
    }
}

/// The process's heap.
pub struct Heap(Mutex<Talc<Grow>>);

// SAFETY: every operation holds the lock, and talc keeps the allocator's contract.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller passes a layout of non-zero size.
        unsafe { self.0.lock().malloc(layout) }.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller passes a live block of this heap, never null, with its layout.
        unsafe { self.0.lock().free(NonNull::new_unchecked(pointer), layout) }
    }
}

#[cfg(target_os = "none")]
#[global_allocator]
static HEAP: Heap = Heap(Mutex::new(Talc::new(Grow)));
