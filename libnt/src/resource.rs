//! Hardware and system authority: what user-mode drivers and system servers hold.

use crate::handle::OwnedHandle;
use crate::sys::calls;
use abi::arg::Handle;
use abi::status::NtResult;
use zerocopy::{FromZeros, IntoBytes};

/// Derives a narrower resource (`abi::io::RESOURCE_...`).
pub fn derive(parent: Handle, kind: u32, base: u64, length: u64) -> NtResult<OwnedHandle> {
    calls::create_resource(parent, kind, base, length).map(OwnedHandle::new)
}

/// A range of I/O ports.
#[derive(Clone, Copy, Debug)]
pub struct IoPorts {
    resource: Handle,
    base: u16,
}

impl IoPorts {
    /// The ports of a RESOURCE_IO_PORTS resource; offsets are from `base`.
    pub const fn new(resource: Handle, base: u16) -> Self {
        Self { resource, base }
    }

    /// Reads a byte.
    pub fn read(&self, offset: u16) -> NtResult<u8> {
        let mut byte = [0];
        self.read_many(offset, &mut byte)?;
        Ok(byte[0])
    }

    /// Reads one port as often as the buffer has bytes.
    pub fn read_many(&self, offset: u16, buffer: &mut [u8]) -> NtResult {
        calls::read_io_port(self.resource, self.base + offset, buffer)
    }

    /// Writes a byte.
    pub fn write(&self, offset: u16, byte: u8) -> NtResult {
        self.write_many(offset, &[byte])
    }

    /// Writes bytes to one port, one after the other.
    pub fn write_many(&self, offset: u16, bytes: &[u8]) -> NtResult {
        calls::write_io_port(self.resource, self.base + offset, bytes)
    }
}

/// A device interrupt: a waitable object.
#[derive(Debug)]
pub struct Interrupt(OwnedHandle);

impl Interrupt {
    /// Connects a global system interrupt of a RESOURCE_IRQ resource. Flags: bit 0 level, bit 1 active low.
    pub fn connect(resource: Handle, global_interrupt: u32, flags: u32) -> NtResult<Self> {
        calls::create_interrupt(resource, global_interrupt, flags).map(OwnedHandle::new).map(Self)
    }

    /// The handle to wait on.
    pub const fn handle(&self) -> Handle {
        self.0.raw()
    }

    /// Lets the interrupt come again.
    pub fn acknowledge(&self) -> NtResult {
        calls::acknowledge_interrupt(self.handle())
    }
}

/// Takes bytes out of the kernel log; `event` is signalled when there are more.
pub fn read_kernel_log(debug: Handle, event: Handle, buffer: &mut [u8]) -> NtResult<usize> {
    calls::read_kernel_log(debug, event, buffer)
}

/// NtTraceControl with structures; pass `&[]` bytes for none.
pub fn trace_control(debug: Handle, function: u32, input: &[u8], output: &mut [u8]) -> NtResult<usize> {
    calls::trace_control(debug, function, input, output)
}

/// Maps the trace memory read-only: address and size.
pub fn map_trace(debug: Handle) -> NtResult<(u64, u64)> {
    let mut output = <[u64; 2]>::new_zeroed();
    calls::trace_control(debug, abi::trace::TRACE_MAP, &[], output.as_mut_bytes())?;
    Ok((output[0], output[1]))
}

/// Stops the kernel with bugcheck MANUALLY_INITIATED_CRASH.
pub fn bugcheck(debug: Handle) -> NtResult {
    calls::debug_control(debug, abi::io::DEBUG_CONTROL_BUGCHECK, &[], &mut []).map(drop)
}
