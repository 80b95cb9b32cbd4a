//! What a program file asks of its loader: pure logic on the file's first bytes.
//!
//! A program is a static ELF64 file for x86-64 with page-separated segments. [`plan`] checks it and says what to map and
//! to copy where; [`crate::process`] does it. Whatever is wrong with a file is STATUS_INVALID_IMAGE_FORMAT.

use abi::mm::{PAGE_EXECUTE_READ, PAGE_READONLY, PAGE_READWRITE, PAGE_SIZE, USER_MAX, USER_MIN};
use abi::status::{NtResult, STATUS_INVALID_IMAGE_FORMAT};
use alloc::vec::Vec;
use elf::abi::{EM_X86_64, ET_EXEC, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD, PT_TLS};
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::segment::{ProgramHeader, SegmentTable};

/// Bytes of a file's beginning that must hold the file header and all program headers.
pub const HEADER_BYTES: usize = 1024;
/// Most program headers.
const MAX_PROGRAM_HEADERS: u16 = 16;
/// Bytes of a program header.
const PROGRAM_HEADER_BYTES: usize = 56;
/// Most memory of an image.
const MAX_IMAGE: u64 = 1 << 30;

/// One segment of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First page.
    pub address: u64,
    /// Bytes of memory, whole pages.
    pub size: u64,
    /// PAGE_ protection while the program runs.
    pub protect: u32,
    /// Where the content begins within the first page.
    pub skew: u64,
    /// Where the content begins in the file.
    pub file_offset: u64,
    /// Bytes of content in the file; the rest is zero.
    pub file_size: u64,
}

impl Segment {
    /// True when the pages of the file can be mapped as they are: read-only content that lies in the file as in memory,
    /// with no zeroes behind.
    pub fn is_mappable(&self) -> bool {
        self.protect != PAGE_READWRITE
            && self.file_offset % PAGE_SIZE == self.skew
            && round_up(self.skew + self.file_size) == Some(self.size)
    }
}

/// What to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Address of the first instruction.
    pub entry: u64,
    /// Segments by ascending address; no two share a page.
    pub segments: Vec<Segment>,
}

fn round_up(value: u64) -> Option<u64> {
    value.checked_next_multiple_of(PAGE_SIZE)
}

/// Checks a program file of `file_size` bytes by its first [`HEADER_BYTES`] (or fewer, if the file is shorter).
pub fn plan(head: &[u8], file_size: u64) -> NtResult<Plan> {
    parse(head, file_size).ok_or(STATUS_INVALID_IMAGE_FORMAT)
}

fn parse(head: &[u8], file_size: u64) -> Option<Plan> {
    let ident = parse_ident::<LittleEndian>(head.get(..16)?).ok()?;
    if ident.1 != Class::ELF64 {
        return None;
    }
    let header = FileHeader::parse_tail(ident, head.get(16..64)?).ok()?;
    let executable = header.e_type == ET_EXEC && header.e_machine == EM_X86_64;
    let table = usize::from(header.e_phentsize) == PROGRAM_HEADER_BYTES
        && (1..=MAX_PROGRAM_HEADERS).contains(&header.e_phnum);
    if !executable || !table {
        return None;
    }
    let start = usize::try_from(header.e_phoff).ok()?;
    let end = start.checked_add(usize::from(header.e_phnum) * PROGRAM_HEADER_BYTES)?;
    let headers = SegmentTable::new(LittleEndian, Class::ELF64, head.get(start..end)?);

    let mut segments: Vec<Segment> = Vec::new();
    let mut free_from = USER_MIN;
    let mut total = 0;
    for header in headers.iter() {
        match header.p_type {
            PT_LOAD if header.p_memsz == 0 => {}
            PT_LOAD => {
                let segment = segment(&header, file_size)?;
                if segment.address < free_from {
                    return None;
                }
                free_from = segment.address + segment.size;
                total += segment.size;
                segments.push(segment);
            }
            // Dynamic linking and thread-local storage templates are not for static programs.
            PT_INTERP | PT_DYNAMIC | PT_TLS => return None,
            _ => {}
        }
    }
    let executable = |segment: &Segment| {
        let content = segment.address + segment.skew;
        segment.protect == PAGE_EXECUTE_READ
            && (content..content + segment.file_size).contains(&header.e_entry)
    };
    let valid = total <= MAX_IMAGE && segments.iter().any(executable);
    valid.then_some(Plan { entry: header.e_entry, segments })
}

fn segment(header: &ProgramHeader, file_size: u64) -> Option<Segment> {
    let protect = match (header.p_flags & PF_W != 0, header.p_flags & PF_X != 0) {
        (true, true) => return None,
        (true, false) => PAGE_READWRITE,
        (false, true) => PAGE_EXECUTE_READ,
        (false, false) => PAGE_READONLY,
    };
    let in_file = header.p_filesz <= header.p_memsz
        && header.p_offset.checked_add(header.p_filesz).is_some_and(|end| end <= file_size);
    let skew = header.p_vaddr % PAGE_SIZE;
    let address = header.p_vaddr - skew;
    let size = round_up(skew.checked_add(header.p_memsz)?)?;
    let in_user_space = address >= USER_MIN && address.checked_add(size).is_some_and(|end| end <= USER_MAX);
    (in_file && in_user_space).then_some(Segment {
        address,
        size,
        protect,
        skew,
        file_offset: header.p_offset,
        file_size: header.p_filesz,
    })
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
