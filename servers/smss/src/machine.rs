//! What the kernel gave the first process, and the narrow resources made from it.

use abi::arg::Handle;
use abi::io::*;
use abi::mm::PAGE_SIZE;
use abi::ps::FramebufferInformation;
use libnt::process::Command;
use libnt::{NtResult, OwnedHandle, env, resource};
use proto::kd::{HANDLE_DEBUG, HANDLE_SERIAL, HANDLE_SERIAL_IRQ};
use zerocopy::FromBytes;
use zerocopy::IntoBytes;

/// A serial line: first I/O port, global interrupt.
struct Serial {
    port: u64,
    interrupt: u64,
}

/// The console's line, COM1.
const CONSOLE_LINE: Serial = Serial { port: 0x3F8, interrupt: 4 };
/// The debug console's line, COM2.
const KD_LINE: Serial = Serial { port: 0x2F8, interrupt: 3 };
/// I/O ports of a serial line.
const SERIAL_PORTS: u64 = 8;

/// Authority and boot modules.
#[derive(Debug)]
pub struct Machine {
    initial: env::Initial,
}

impl Machine {
    /// The machine as the kernel described it.
    pub const fn new(initial: env::Initial) -> Self {
        Self { initial }
    }

    /// Boot modules: name and section.
    pub fn modules(&self) -> impl Iterator<Item = (&'static str, Handle)> + use<> {
        self.initial.modules.iter().map(|module| {
            let name = module.name.split(|&b| b == 0).next().unwrap_or_default();
            (core::str::from_utf8(name).unwrap_or_default(), module.section)
        })
    }

    /// Section of a boot module.
    pub fn module(&self, name: &str) -> Option<Handle> {
        self.modules().find(|(module, _)| *module == name).map(|(_, section)| section)
    }

    /// A resource made from the root resource.
    pub fn derive(&self, kind: u32, base: u64, length: u64) -> NtResult<OwnedHandle> {
        resource::derive(self.initial.parameters.root_resource, kind, base, length)
    }

    /// Gives a server its resources. The handles that are returned may be closed once the server runs.
    pub fn equip(&self, server: &str, command: &mut Command) -> NtResult<alloc::vec::Vec<OwnedHandle>> {
        let mut handles = alloc::vec::Vec::new();
        let line = match server {
            "console" => CONSOLE_LINE,
            "kd" => KD_LINE,
            _ => return Ok(handles),
        };
        let mut give = |name: &str, handle: OwnedHandle, data: [u64; 4]| {
            command.give(name, handle.raw(), None, data);
            handles.push(handle);
        };
        let ports = self.derive(RESOURCE_IO_PORTS, line.port, SERIAL_PORTS)?;
        give(HANDLE_SERIAL, ports, [line.port, 0, 0, 0]);
        let interrupt = self.derive(RESOURCE_IRQ, line.interrupt, 1)?;
        give(HANDLE_SERIAL_IRQ, interrupt, [line.interrupt, 0, 0, 0]);
        give(HANDLE_DEBUG, self.derive(RESOURCE_DEBUG, 0, 0)?, [0; 4]);
        let screen = &self.initial.parameters.framebuffer;
        if server == "console" && screen.physical != 0 {
            let bytes = (screen.pitch * u64::from(screen.height)).next_multiple_of(PAGE_SIZE);
            let memory = self.derive(RESOURCE_PHYSICAL, screen.physical, bytes)?;
            give(env::FRAMEBUFFER, memory, geometry(screen));
        }
        Ok(handles)
    }
}

fn geometry(screen: &FramebufferInformation) -> [u64; 4] {
    <[u64; 4]>::read_from_bytes(screen.as_bytes()).unwrap_or_default()
}
