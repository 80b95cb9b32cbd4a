//! Every reason to give up, as the one line the user reads.

use core::fmt;

/// Why the kernel cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not started by a Multiboot loader.
    NotMultiboot,
    /// Multiboot gave no memory map.
    NoMemoryMap,
    /// More memory-map regions or modules than the loader has room for.
    TooMany(&'static str),
    /// No module, so no kernel.
    NoKernel,
    /// The first module is not an ELF file.
    NotElf,
    /// An ELF file for some other machine.
    NotX86_64,
    /// An ELF file that is not a fixed-address executable.
    NotExecutable,
    /// An ELF file whose headers contradict themselves or the file's size.
    BadElf(&'static str),
    /// The image has no Limine request.
    NoRequests,
    /// The image has one request twice.
    DuplicateRequest(u64, u64),
    /// The image has two base revision tags.
    DuplicateRevision,
    /// The image insists on 5-level paging.
    PagingMode,
    /// QEMU put a module where there is no memory.
    ModuleOutsideMemory,
    /// So many bytes were not to be had.
    OutOfMemory(u64),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotMultiboot => f.write_str("not started by a Multiboot loader (use QEMU's -kernel)"),
            Error::NoMemoryMap => f.write_str("no memory map in the Multiboot information"),
            Error::TooMany(what) => write!(f, "too many {what}"),
            Error::NoKernel => {
                f.write_str("no kernel: the first file of -initrd must be the kernel's ELF file")
            }
            Error::NotElf => f.write_str("the kernel (first file of -initrd) is not an ELF file"),
            Error::NotX86_64 => f.write_str("the kernel is not an x86-64 ELF file"),
            Error::NotExecutable => f.write_str("the kernel is not a fixed-address executable"),
            Error::BadElf(why) => write!(f, "the kernel's ELF file is damaged: {why}"),
            Error::NoRequests => f.write_str("no Limine requests found in the kernel"),
            Error::DuplicateRequest(a, b) => {
                write!(f, "the kernel has the Limine request {a:016x} {b:016x} twice")
            }
            Error::DuplicateRevision => f.write_str("the kernel has two Limine base revision tags"),
            Error::PagingMode => f.write_str("the kernel insists on 5-level paging; only 4-level is offered"),
            Error::ModuleOutsideMemory => {
                f.write_str("out of memory: the files of -initrd do not fit (raise -m)")
            }
            Error::OutOfMemory(bytes) => {
                write!(f, "out of memory: no room for {bytes} bytes below 4 GiB (raise -m)")
            }
        }
    }
}
