//! The kernel's ELF file: what goes where, with which protection.

use crate::paging::{NO_EXECUTE, WRITE};
use crate::{Error, PAGE};
use elf::ElfBytes;
use elf::abi::{ELFCLASS64, ELFMAGIC, EM_X86_64, ET_EXEC, PF_W, PF_X, PT_LOAD};
use elf::endian::LittleEndian;
use heapless::Vec;

/// The lowest address a kernel may have.
pub const KERNEL_SPACE: u64 = 0xffff_ffff_8000_0000;

/// A kernel executable, checked, and not yet anywhere.
#[derive(Debug)]
pub struct Image<'a> {
    /// Virtual address of the first page.
    pub base: u64,
    /// Bytes from there to the end of the last page.
    pub size: u64,
    /// The alignment the physical copy should have.
    pub align: u64,
    /// Where the file says to start.
    pub entry: u64,
    segments: Vec<Segment<'a>, 16>,
}

/// A loadable segment, by its place in the image.
#[derive(Debug)]
struct Segment<'a> {
    offset: u64,
    size: u64,
    bytes: &'a [u8],
    flags: u32,
}

impl<'a> Image<'a> {
    /// Checks the file.
    pub fn parse(file: &'a [u8]) -> Result<Image<'a>, Error> {
        if !file.starts_with(&ELFMAGIC) {
            return Err(Error::NotElf);
        }
        // By hand, because the parser calls a foreign file's headers unreadable: class and machine.
        if file.get(4) != Some(&ELFCLASS64) || file.get(18..20) != Some(&EM_X86_64.to_le_bytes()[..]) {
            return Err(Error::NotX86_64);
        }
        let elf =
            ElfBytes::<LittleEndian>::minimal_parse(file).map_err(|_| Error::BadElf("unreadable headers"))?;
        if elf.ehdr.e_type != ET_EXEC {
            return Err(Error::NotExecutable);
        }
        let loadable = || {
            let table = elf.segments().into_iter().flat_map(|table| table.iter());
            table.filter(|header| header.p_type == PT_LOAD && header.p_memsz != 0)
        };
        let lowest = loadable().map(|header| header.p_vaddr).min();
        let lowest = lowest.ok_or(Error::BadElf("nothing to load"))?;
        if lowest < KERNEL_SPACE {
            return Err(Error::BadElf("a segment below 0xffffffff80000000"));
        }
        let base = lowest - lowest % PAGE;
        let mut image = Image { base, size: 0, align: PAGE, entry: elf.ehdr.e_entry, segments: Vec::new() };
        for header in loadable() {
            let outside = Error::BadElf("a segment outside the file or the address space");
            if header.p_filesz > header.p_memsz {
                return Err(outside);
            }
            let offset = header.p_vaddr - base;
            let end = offset.checked_add(header.p_memsz).ok_or(outside)?;
            let end = end.checked_next_multiple_of(PAGE).ok_or(outside)?;
            if end > 0u64.wrapping_sub(base) {
                return Err(outside);
            }
            let from = usize::try_from(header.p_offset).map_err(|_| outside)?;
            let length = usize::try_from(header.p_filesz).map_err(|_| outside)?;
            let bytes = from.checked_add(length).and_then(|to| file.get(from..to)).ok_or(outside)?;
            image.size = image.size.max(end);
            if header.p_align.is_power_of_two() {
                image.align = image.align.max(header.p_align.min(0x20_0000));
            }
            let segment = Segment { offset, size: header.p_memsz, bytes, flags: header.p_flags };
            image.segments.push(segment).map_err(|_| Error::TooMany("segments in the kernel"))?;
        }
        Ok(image)
    }

    /// Copies the segments into `memory`, which is `size` bytes long and zero.
    pub fn copy_to(&self, memory: &mut [u8]) {
        for segment in &self.segments {
            let from = segment.offset as usize;
            if let Some(place) = memory.get_mut(from..from + segment.bytes.len()) {
                place.copy_from_slice(segment.bytes);
            }
        }
    }

    /// Bytes of the image that come from the file, from its start: requests are only there.
    pub fn bytes_from_file(&self) -> u64 {
        let ends = self.segments.iter().map(|segment| segment.offset + segment.bytes.len() as u64);
        ends.max().unwrap_or(0)
    }

    /// The image's pages: offset, and page-table flags. A page that two segments share gets the rights of
    /// both; a page of none is left out.
    pub fn pages(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..self.size).step_by(PAGE as usize).filter_map(|page| {
            let on_page = |s: &&Segment<'_>| s.offset < page + PAGE && s.offset + s.size > page;
            let rights = self.segments.iter().filter(on_page).map(|s| s.flags).reduce(|a, b| a | b)?;
            let write = if rights & PF_W != 0 { WRITE } else { 0 };
            let no_execute = if rights & PF_X == 0 { NO_EXECUTE } else { 0 };
            Some((page, write | no_execute))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file with these program headers: (type, flags, file offset, address, file size, memory size).
    fn file(kind: u16, machine: u16, headers: &[(u32, u32, u64, u64, u64, u64)]) -> std::vec::Vec<u8> {
        let mut out = std::vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        out.extend(kind.to_le_bytes());
        out.extend(machine.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        for word in [KERNEL_SPACE + 0x10, 64, 0] {
            out.extend(word.to_le_bytes());
        }
        out.extend(0u32.to_le_bytes());
        for half in [64u16, 56, headers.len() as u16, 64, 0, 0] {
            out.extend(half.to_le_bytes());
        }
        for (kind, flags, offset, address, in_file, in_memory) in headers {
            out.extend(kind.to_le_bytes());
            out.extend(flags.to_le_bytes());
            for word in [*offset, *address, *address, *in_file, *in_memory, 0x1000] {
                out.extend(word.to_le_bytes());
            }
        }
        out.resize(0x1000, 0);
        out.extend([0xaa; 0x2000]);
        out
    }

    #[test]
    fn loads_with_protection() {
        let elf = file(
            2,
            62,
            &[
                (1, 5, 0x1000, KERNEL_SPACE, 0x800, 0x800),
                (1, 6, 0x1800, KERNEL_SPACE + 0x1800, 0x10, 0x1000),
                (1, 4, 0x1900, KERNEL_SPACE + 0x2900, 0x20, 0x20),
                (1, 4, 0x1000, KERNEL_SPACE + 0x5000, 0x1, 0x1),
                (6, 4, 0, 0, 0x1, 0x1),
            ],
        );
        let image = Image::parse(&elf).unwrap();
        assert_eq!((image.base, image.size, image.entry), (KERNEL_SPACE, 0x6000, KERNEL_SPACE + 0x10));
        assert_eq!(image.bytes_from_file(), 0x5001);
        let pages: std::vec::Vec<_> = image.pages().collect();
        assert_eq!(
            pages,
            [(0, 0), (0x1000, WRITE | NO_EXECUTE), (0x2000, WRITE | NO_EXECUTE), (0x5000, NO_EXECUTE)]
        );
        let mut memory = std::vec![0; 0x6000];
        image.copy_to(&mut memory);
        assert_eq!(memory.iter().filter(|byte| **byte == 0xaa).count(), 0x800 + 0x10 + 0x20 + 1);
        assert_eq!(memory[0x180f..0x1811], [0xaa, 0]);
    }

    #[test]
    fn refuses_what_it_cannot_load() {
        let parse = |file: &[u8]| Image::parse(file).unwrap_err();
        assert_eq!(parse(b"MZ"), Error::NotElf);
        assert_eq!(parse(b"\x7fELF"), Error::NotX86_64);
        let good = (1, 5, 0x1000, KERNEL_SPACE, 0x800, 0x800);
        assert_eq!(parse(&file(2, 62, &[good])[..70]), Error::BadElf("unreadable headers"));
        assert_eq!(parse(&file(2, 183, &[good])), Error::NotX86_64);
        assert_eq!(parse(&file(3, 62, &[good])), Error::NotExecutable);
        assert_eq!(parse(&file(2, 62, &[])), Error::BadElf("nothing to load"));
        let outside = Error::BadElf("a segment outside the file or the address space");
        assert_eq!(parse(&file(2, 62, &[(1, 5, 0x1000, KERNEL_SPACE, 0x9000, 0x9000)])), outside);
        assert_eq!(parse(&file(2, 62, &[(1, 5, u64::MAX, KERNEL_SPACE, 0x9, 0x9)])), outside);
        assert_eq!(parse(&file(2, 62, &[(1, 5, 0, KERNEL_SPACE, 0x9, 0x8)])), outside);
        assert_eq!(parse(&file(2, 62, &[(1, 5, 0, u64::MAX - 0xfff, 0x9, 0x1001)])), outside);
        assert_eq!(parse(&file(2, 62, &[(1, 5, 0, KERNEL_SPACE, 0x9, u64::MAX)])), outside);
        assert_eq!(
            parse(&file(2, 62, &[(1, 5, 0, 0x10_0000, 0x9, 0x9)])),
            Error::BadElf("a segment below 0xffffffff80000000")
        );
    }
}
