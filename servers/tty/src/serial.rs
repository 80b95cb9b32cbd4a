//! The serial line as smss hands it to a server: I/O ports and an interrupt, as extra handles.

use crate::uart::{Registers, Uart};
use alloc::vec::Vec;
use core::time::Duration;
use libnt::Handle;
use libnt::env;
use libnt::proto::kd::{HANDLE_SERIAL, HANDLE_SERIAL_IRQ};
use libnt::resource::{Interrupt, IoPorts};

/// The UART's registers, reached by system calls. A port that cannot be reached reads as one that is not there.
#[derive(Debug)]
struct Ports(IoPorts);

impl Registers for Ports {
    fn read(&mut self, index: u8) -> u8 {
        self.0.read(u16::from(index)).unwrap_or(0xFF)
    }

    fn write(&mut self, index: u8, bytes: &[u8]) {
        // A port that refuses writes reads as absent, and the driver stops using it.
        let _ = self.0.write_many(u16::from(index), bytes);
    }
}

/// A serial line and its interrupt.
#[derive(Debug)]
pub struct Serial {
    uart: Uart<Ports>,
    interrupt: Option<Interrupt>,
}

impl Serial {
    /// The line that smss gave this server, if it did.
    pub fn open() -> Option<Self> {
        let ports = env::extra(HANDLE_SERIAL)?;
        let base = u16::try_from(ports.data[0]).ok()?;
        let uart = Uart::new(Ports(IoPorts::new(ports.handle, base)));
        if !uart.is_present() {
            return None;
        }
        let interrupt = env::extra(HANDLE_SERIAL_IRQ).and_then(|irq| {
            let number = u32::try_from(irq.data[0]).ok()?;
            // ISA: edge-triggered, active high.
            Interrupt::connect(irq.handle, number, 0).ok()
        });
        Some(Self { uart, interrupt })
    }

    /// What to wait on for input; without it the line is polled.
    pub fn wait_handle(&self) -> Option<Handle> {
        self.interrupt.as_ref().map(Interrupt::handle)
    }

    /// True when something has come in.
    pub fn has_input(&mut self) -> bool {
        self.uart.has_input()
    }

    /// Takes what has come in.
    pub fn receive(&mut self, into: &mut Vec<u8>) {
        if let Some(interrupt) = &self.interrupt {
            // Before reading, so that a byte that comes meanwhile interrupts again.
            let _ = interrupt.acknowledge();
        }
        self.uart.receive(into);
    }

    /// Sends everything; a slow line is waited for.
    pub fn send(&mut self, mut bytes: &[u8]) {
        let mut polls = 0;
        while !bytes.is_empty() {
            let rest = self.uart.transmit(bytes);
            polls = if rest.len() == bytes.len() { polls + 1 } else { 0 };
            if polls > 100 {
                libnt::time::sleep(Duration::from_millis(1));
            }
            bytes = rest;
        }
    }
}
