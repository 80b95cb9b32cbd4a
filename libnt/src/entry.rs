//! Start and end of a program.

use crate::env;
use crate::params::{Block, Header, MAX_LENGTH};
use crate::sys::calls;
use abi::arg::Handle;
use abi::ps::{BootModule, INITIAL_MAGIC, InitialParameters};
use abi::status::{NtStatus, STATUS_SUCCESS};

/// What a program's main function may return.
pub trait Termination {
    /// The exit status, after saying on stderr what failed.
    fn report(self) -> NtStatus;
}

impl Termination for () {
    fn report(self) -> NtStatus {
        STATUS_SUCCESS
    }
}

impl Termination for NtStatus {
    fn report(self) -> NtStatus {
        self
    }
}

impl Termination for u32 {
    fn report(self) -> NtStatus {
        NtStatus(self)
    }
}

impl<T: Termination> Termination for Result<T, NtStatus> {
    fn report(self) -> NtStatus {
        match self {
            Ok(value) => value.report(),
            Err(status) => {
                crate::eprintln!("{}: {status}", env::image());
                status
            }
        }
    }
}

/// Runs a program: called by [`crate::main!`] with the first thread's argument.
///
/// # Safety
/// `parameters` must be what the kernel passed to the entry point; the function must be called once.
pub unsafe fn start<T: Termination>(parameters: u64, main: fn() -> T) -> ! {
    // SAFETY: the block lies in the process for all its life and nobody writes it.
    unsafe { read_parameters(parameters) };
    crate::apc::install();
    exit(main().report())
}

/// Reads the parameter block: a program's, or (by its magic) the one the kernel made for the first process.
///
/// # Safety
/// As for [`start`].
unsafe fn read_parameters(address: u64) {
    if address == 0 {
        return;
    }
    let pointer = address as *const u8;
    // SAFETY: both kinds of block are longer than the eight bytes of their magic and aligned.
    let magic = unsafe { pointer.cast::<u64>().read() };
    if magic == INITIAL_MAGIC {
        // SAFETY: the kernel wrote the block, with its modules and command line behind it.
        unsafe {
            let initial = &*pointer.cast::<InitialParameters>();
            let modules = pointer.add(size_of::<InitialParameters>()).cast::<BootModule>();
            let modules = core::slice::from_raw_parts(modules, initial.module_count as usize);
            let line = modules.as_ptr_range().end.cast::<u8>();
            let line = core::slice::from_raw_parts(line, initial.command_line_length as usize);
            env::set_initial(env::Initial { parameters: initial, modules, command_line: line });
        }
    } else if magic == crate::params::MAGIC {
        // SAFETY: the creator wrote a whole block; its length is in the header.
        let bytes = unsafe {
            let length = (*pointer.cast::<Header>()).length as usize;
            core::slice::from_raw_parts(pointer, length.min(MAX_LENGTH))
        };
        env::set_block(Block::read(bytes).unwrap_or(Block::empty()));
    }
}

/// Ends the process.
pub fn exit(status: NtStatus) -> ! {
    loop {
        let _ = calls::terminate_process(Handle::CURRENT_PROCESS, status);
    }
}

/// Says what went wrong on stderr and in the kernel log, then ends the process as a fail-fast does.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::io::report_panic(info);
    exit(abi::status::STATUS_STACK_BUFFER_OVERRUN)
}
