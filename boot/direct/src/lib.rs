//! The part of the direct-boot loader that needs no hardware.
//!
//! Everything here works on values and slices that the caller hands in, allocates nothing, and builds on
//! the host, where the unit tests run. The binary beside it (`main.rs`) does the rest: it reads what
//! Multiboot left in memory, owns physical memory and page tables, and wakes the processors.
//!
//! | module | one idea |
//! |---|---|
//! | [`acpi`] | what the loader wants from ACPI: valid RSDP, processors and I/O APICs |
//! | [`clock`] | the real-time clock's registers as seconds since 1970 |
//! | [`error`] | every reason to give up, as one line |
//! | [`image`] | the kernel's ELF file: what goes where, with which protection |
//! | [`limine`] | the Limine protocol: finding requests in an image, the shapes of the answers |
//! | [`memmap`] | the memory map: sorted, page-aligned, without overlap; and taking memory from it |
//! | [`paging`] | 4-level page tables, over any supply of frames |
//! | [`text`] | a module's string: its path and the words after it |

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod acpi;
pub mod clock;
pub mod error;
pub mod image;
pub mod limine;
pub mod memmap;
pub mod paging;
pub mod text;

pub use error::Error;

/// Bytes in a page, and in a page table.
pub const PAGE: u64 = 4096;

/// Where all physical memory appears in the kernel's address space (the Limine protocol's HHDM).
pub const HHDM: u64 = 0xffff_8000_0000_0000;
