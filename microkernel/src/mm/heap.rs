//! The kernel heap.
//!
//! Small blocks come from pages that each hold blocks of one size class, with a header in front; a page whose blocks
//! are all free goes back to the frame allocator (one is kept per class). Larger blocks are runs of whole frames.
//! Everything is reached through the direct map, so no mapping changes. Never used from a trap that could hit a
//! holder of the lock: the kernel runs with interrupts off.

use crate::mm::{frames, phys_to_virt};
use crate::sync::{Lock, rank};
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::{NonNull, null_mut};

const PAGE: usize = 4096;
const HEADER: usize = 64;
/// Block sizes; each is a multiple of its alignment guarantee, 16 (64 for multiples of 64).
const CLASSES: [usize; 13] = [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 640, 1344, 2016];

#[repr(C)]
struct PageHeader {
    prev: *mut PageHeader,
    next: *mut PageHeader,
    free: *mut FreeBlock,
    used: u32,
    class: u32,
}

struct FreeBlock {
    next: *mut FreeBlock,
}

struct Heap {
    /// Pages of each class that have a free block.
    partial: [*mut PageHeader; CLASSES.len()],
    bytes: u64,
    blocks: u64,
}

// SAFETY: the pointers are to memory that only the heap, under its lock, touches.
unsafe impl Send for Heap {}

static HEAP: Lock<Heap, { rank::HEAP }> =
    Lock::new(Heap { partial: [null_mut(); CLASSES.len()], bytes: 0, blocks: 0 });

fn class_of(layout: Layout) -> Option<usize> {
    let size = layout.size().max(1);
    let fits = |class: &usize| {
        *class >= size
            && (layout.align() <= 16 || (layout.align() <= 64 && class.is_multiple_of(layout.align())))
    };
    CLASSES.iter().position(fits)
}

impl Heap {
    fn alloc_small(&mut self, class: usize) -> *mut u8 {
        let mut page = self.partial[class];
        if page.is_null() {
            let Some(frame) = frames::alloc() else { return null_mut() };
            page = phys_to_virt(frame).cast();
            // SAFETY: a frame of our own; blocks are laid out behind the header within the page.
            unsafe {
                page.write(PageHeader {
                    prev: null_mut(),
                    next: null_mut(),
                    free: null_mut(),
                    used: 0,
                    class: class as u32,
                });
                let size = CLASSES[class];
                let count = (PAGE - HEADER) / size;
                for at in (0..count).rev() {
                    let block = page.cast::<u8>().add(HEADER + at * size).cast::<FreeBlock>();
                    block.write(FreeBlock { next: (*page).free });
                    (*page).free = block;
                }
            }
            self.push(page);
        }
        // SAFETY: a page in the partial list has a free block.
        unsafe {
            let block = (*page).free;
            (*page).free = (*block).next;
            (*page).used += 1;
            if (*page).free.is_null() {
                self.unlink(page);
            }
            block.cast()
        }
    }

    fn push(&mut self, page: *mut PageHeader) {
        // SAFETY: `page` is a heap page that is in no list.
        unsafe {
            let class = (*page).class as usize;
            (*page).prev = null_mut();
            (*page).next = self.partial[class];
            if let Some(mut next) = NonNull::new((*page).next) {
                next.as_mut().prev = page;
            }
            self.partial[class] = page;
        }
    }

    fn unlink(&mut self, page: *mut PageHeader) {
        // SAFETY: `page` is a heap page in the partial list of its class.
        unsafe {
            match NonNull::new((*page).prev) {
                Some(mut prev) => prev.as_mut().next = (*page).next,
                None => self.partial[(*page).class as usize] = (*page).next,
            }
            if let Some(mut next) = NonNull::new((*page).next) {
                next.as_mut().prev = (*page).prev;
            }
        }
    }

    fn free_small(&mut self, block: *mut u8) -> Option<*mut PageHeader> {
        let page = block.map_addr(|a| a & !(PAGE - 1)).cast::<PageHeader>();
        let block = block.cast::<FreeBlock>();
        // SAFETY: the block came from `alloc_small`, so its page begins with a header.
        unsafe {
            let was_full = (*page).free.is_null();
            block.write(FreeBlock { next: (*page).free });
            (*page).free = block;
            (*page).used -= 1;
            if was_full {
                self.push(page);
            }
            let alone = (*page).prev.is_null() && (*page).next.is_null();
            if (*page).used == 0 && !alone {
                self.unlink(page);
                return Some(page);
            }
        }
        None
    }
}

/// The kernel's global allocator.
pub struct KernelHeap;

fn frame_of(pointer: *mut u8) -> u64 {
    pointer as u64 - phys_to_virt(0) as u64
}

// SAFETY: blocks are disjoint, aligned as asked (classes and pages), and stay until they are freed.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (block, size) = match class_of(layout) {
            Some(class) => (HEAP.lock().alloc_small(class), CLASSES[class]),
            None if layout.align() > PAGE => return null_mut(),
            None => {
                let count = layout.size().div_ceil(PAGE);
                let block = frames::alloc_contiguous(count).map_or(null_mut(), phys_to_virt);
                (block, count * PAGE)
            }
        };
        if !block.is_null() {
            let mut heap = HEAP.lock();
            heap.bytes += size as u64;
            heap.blocks += 1;
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let size = match class_of(layout) {
            Some(class) => {
                let empty = HEAP.lock().free_small(block);
                if let Some(page) = empty {
                    frames::free(frame_of(page.cast()));
                }
                CLASSES[class]
            }
            None => {
                let count = layout.size().div_ceil(PAGE);
                for at in 0..count {
                    frames::free(frame_of(block) + (at * PAGE) as u64);
                }
                count * PAGE
            }
        };
        let mut heap = HEAP.lock();
        heap.bytes -= size as u64;
        heap.blocks -= 1;
    }
}

#[global_allocator]
static ALLOCATOR: KernelHeap = KernelHeap;

/// (bytes, blocks) in use.
pub fn usage() -> (u64, u64) {
    let heap = HEAP.lock();
    (heap.bytes, heap.blocks)
}
