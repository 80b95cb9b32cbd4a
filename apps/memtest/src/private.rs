//! Private memory.

use crate::probe::{self, Region};
use core::arch::asm;
use libnt::abi::mm::*;
use libnt::memory::query;
use libnt::prelude::*;
use libnt::sys::calls;
use testkit::Test;

const ME: Handle = Handle::CURRENT_PROCESS;
const COMMIT: u32 = MEM_RESERVE | MEM_COMMIT;

/// All checks of this file.
pub fn run(test: &mut Test) -> NtResult {
    zeroed_and_freed(test)?;
    reserve_then_commit(test)?;
    protections(test)?;
    execution(test)?;
    wrong_calls(test)?;
    every_page(test)?;
    up_to_the_quota(test)
}

fn allocate(size: u64, kind: u32, protect: u32) -> NtResult<Region> {
    let (base, size) = calls::allocate_memory(ME, 0, size, kind, protect)?;
    Ok(Region { base, size })
}

fn free(region: Region) -> NtResult {
    // SAFETY: the tests reach the region by its address only, through the kernel.
    unsafe { calls::free_memory(ME, region.base, 0, MEM_RELEASE) }
}

fn protect(address: u64, size: u64, protect: u32) -> NtResult<u32> {
    // SAFETY: as above.
    unsafe { calls::protect_memory(ME, address, size, protect) }
}

fn zeroed_and_freed(test: &mut Test) -> NtResult {
    let region = allocate(5000, COMMIT, PAGE_READWRITE)?;
    test.equal("the size is whole pages", region.size, 2 * PAGE_SIZE);
    test.check(
        "the base is aligned",
        region.base.is_multiple_of(ALLOCATION_GRANULARITY) && region.base >= USER_MIN,
    );
    for offset in [0, 4088, 4096, 8184] {
        test.equal("fresh memory", probe::read(region.base + offset), Some(0));
        test.check("writing", probe::write(region.base + offset, offset + 1));
        test.equal("what was written", probe::read(region.base + offset), Some(offset + 1));
    }
    test.equal("behind the end", probe::read(region.base + 2 * PAGE_SIZE), None);
    let info = query(region.base + 4096)?;
    test.equal("base of the page", info.base_address, region.base + 4096);
    test.equal("base of the region", info.allocation_base, region.base);
    test.equal("size from there", info.region_size, PAGE_SIZE);
    test.equal(
        "state, protection, kind",
        (info.state, info.protect, info.kind),
        (MEM_COMMIT, PAGE_READWRITE, MEM_PRIVATE),
    );
    test.ok("freeing", free(region));
    test.equal("freed memory", probe::read(region.base), None);
    test.equal("its state", query(region.base)?.state, MEM_FREE);
    test.check("freeing twice", free(region).is_err());
    Ok(())
}

fn reserve_then_commit(test: &mut Test) -> NtResult {
    let region = allocate(16 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE)?;
    test.equal("reserved memory", probe::read(region.base), None);
    test.equal("its state", query(region.base)?.state, MEM_RESERVE);
    let page = region.base + 3 * PAGE_SIZE;
    test.ok("committing a page", calls::allocate_memory(ME, page, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE));
    test.check("writing to it", probe::write(page, 7));
    test.equal("the page before", probe::read(page - 8), None);
    test.equal("the page after", probe::read(page + PAGE_SIZE), None);
    test.equal("pages in a state", query(page)?.region_size, PAGE_SIZE);
    test.ok("committing it again", calls::allocate_memory(ME, page, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE));
    test.equal("what it held stays", probe::read(page), Some(7));
    test.refused(
        "protecting what is not committed",
        protect(region.base, PAGE_SIZE, PAGE_READONLY),
        STATUS_NOT_COMMITTED,
    );
    // SAFETY: the tests reach the page by its address only.
    test.ok("decommitting", unsafe { calls::free_memory(ME, page, PAGE_SIZE, MEM_DECOMMIT) });
    test.equal("decommitted", probe::read(page), None);
    calls::allocate_memory(ME, page, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE)?;
    test.equal("committed anew it is zero", probe::read(page), Some(0));
    free(region)
}

fn protections(test: &mut Test) -> NtResult {
    let region = allocate(3 * PAGE_SIZE, COMMIT, PAGE_READWRITE)?;
    let page = region.base + PAGE_SIZE;
    probe::write(page, 5);
    test.equal("the protection before", protect(page, PAGE_SIZE, PAGE_READONLY), Ok(PAGE_READWRITE));
    test.check("a read-only page can be read", probe::is_readable(page) && probe::read(page) == Some(5));
    test.check("a read-only page cannot be written", !probe::is_writable(page));
    test.check("its neighbours can", probe::is_writable(region.base) && probe::is_writable(page + PAGE_SIZE));
    test.equal("three states", query(region.base)?.region_size, PAGE_SIZE);
    test.equal("no access", protect(page, PAGE_SIZE, PAGE_NOACCESS), Ok(PAGE_READONLY));
    test.check("a page without access", !probe::is_readable(page) && !probe::is_writable(page));
    test.equal("back again", protect(page, PAGE_SIZE, PAGE_READWRITE), Ok(PAGE_NOACCESS));
    test.equal("what it held stays", probe::read(page), Some(5));
    test.equal("one state again", query(region.base)?.region_size, 3 * PAGE_SIZE);
    for wrong in [0, PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY, PAGE_READONLY | PAGE_READWRITE, 0x8000] {
        let result = protect(page, PAGE_SIZE, wrong);
        test.refused(format_args!("protection {wrong:#x}"), result, STATUS_INVALID_PAGE_PROTECTION);
        let result = allocate(PAGE_SIZE, COMMIT, wrong);
        test.refused(format_args!("allocating with {wrong:#x}"), result, STATUS_INVALID_PAGE_PROTECTION);
    }
    test.check("beyond the region", protect(page, 16 * PAGE_SIZE, PAGE_READONLY).is_err());
    test.check("the region is as it was", probe::is_writable(page));
    free(region)
}

fn execution(test: &mut Test) -> NtResult {
    let region = allocate(PAGE_SIZE, COMMIT, PAGE_READWRITE)?;
    // mov eax, 0x1234; ret
    probe::write(region.base, u64::from_le_bytes([0xB8, 0x34, 0x12, 0, 0, 0xC3, 0x90, 0x90]));
    protect(region.base, PAGE_SIZE, PAGE_EXECUTE_READ)?;
    let value: u32;
    // SAFETY: the code there sets eax and returns.
    unsafe { asm!("call {}", in(reg) region.base, out("eax") value, clobber_abi("sysv64")) };
    test.equal("code that was written and made executable", value, 0x1234);
    test.check("it cannot be written now", !probe::is_writable(region.base));
    free(region)
}

fn wrong_calls(test: &mut Test) -> NtResult {
    let region = allocate(4 * PAGE_SIZE, COMMIT, PAGE_READWRITE)?;
    let at = |base: u64, size: u64| calls::allocate_memory(ME, base, size, COMMIT, PAGE_READWRITE).map(drop);
    test.refused("no bytes", at(0, 0), STATUS_INVALID_PARAMETER);
    test.refused("a type that is none", allocate(PAGE_SIZE, 0, PAGE_READWRITE), STATUS_INVALID_PARAMETER);
    test.refused("a range that is taken", at(region.base, PAGE_SIZE), STATUS_CONFLICTING_ADDRESSES);
    for (what, base) in [
        ("the null page", 0x1000),
        ("the end of user space", USER_MAX),
        ("the kernel", 0xFFFF_8000_0000_0000),
    ] {
        test.check(
            what,
            matches!(at(base, PAGE_SIZE), Err(STATUS_CONFLICTING_ADDRESSES | STATUS_INVALID_PARAMETER)),
        );
    }
    for size in [u64::MAX, u64::MAX - 4094, USER_MAX, 1 << 47, 1 << 62] {
        test.check(format_args!("{size:#x} bytes"), at(0, size).is_err());
    }
    // SAFETY: the tests reach the region by its address only.
    let freed = |base: u64, size: u64, kind: u32| unsafe { calls::free_memory(ME, base, size, kind) };
    test.check("freeing with no type", freed(region.base, 0, 0).is_err());
    test.check("freeing with both types", freed(region.base, 0, MEM_RELEASE | MEM_DECOMMIT).is_err());
    test.check("freeing what is not there", freed(region.base + 0x100_0000, 0, MEM_RELEASE).is_err());
    test.check("decommitting beyond the region", freed(region.base, 99 * PAGE_SIZE, MEM_DECOMMIT).is_err());
    test.check("the region is as it was", probe::is_writable(region.base + 3 * PAGE_SIZE));
    test.check("asking about the kernel", query(0xFFFF_8000_0000_0000).is_err());
    free(region)
}

/// Many pages, each with its own contents.
fn every_page(test: &mut Test) -> NtResult {
    const PAGES: u64 = 2000;
    let region = allocate(PAGES * PAGE_SIZE, COMMIT, PAGE_READWRITE)?;
    let addresses = || (0..PAGES).map(|page| region.base + page * PAGE_SIZE);
    test.check("writing every page", addresses().all(|address| probe::write(address, address * 3)));
    test.check(
        "every page keeps what is its own",
        addresses().all(|address| probe::read(address) == Some(address * 3)),
    );
    free(region)
}

/// Until the kernel refuses; then everything is given back and can be had again.
fn up_to_the_quota(test: &mut Test) -> NtResult {
    const BLOCK: u64 = 64 << 20;
    const ENOUGH: usize = 4096;
    let mut counts = [0; 2];
    for count in &mut counts {
        let mut blocks = Vec::new();
        let refusal = loop {
            match allocate(BLOCK, COMMIT, PAGE_READWRITE) {
                Ok(block) if blocks.len() < ENOUGH => blocks.push(block),
                Ok(block) => {
                    free(block)?;
                    break None;
                }
                Err(status) => break Some(status),
            }
        };
        let expected =
            matches!(refusal, Some(STATUS_QUOTA_EXCEEDED | STATUS_NO_MEMORY | STATUS_INSUFFICIENT_RESOURCES));
        test.check(format_args!("memory without end: {refusal:?}"), expected);
        *count = blocks.len();
        for block in blocks {
            free(block)?;
        }
    }
    test.equal("blocks the second time", counts[1], counts[0]);
    Ok(())
}
