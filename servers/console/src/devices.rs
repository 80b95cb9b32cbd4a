//! The console's devices: the serial line, the framebuffer, the kernel log.

use alloc::vec;
use alloc::vec::Vec;
use console::paint::{Geometry, Painter};
use console::terminal::Terminal;
use core::time::Duration;
use libnt::abi::mm::{PAGE_NOCACHE, PAGE_READWRITE, PAGE_SIZE};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::proto::kd::{HANDLE_DEBUG, HANDLE_SERIAL, HANDLE_SERIAL_IRQ};
use libnt::resource::{self, Interrupt, IoPorts};
use libnt::section::{Section, View};
use tty::uart::{Registers, Uart};

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

/// The kernel's log: crash reports and what is said before there is a console.
#[derive(Debug)]
pub struct KernelLog {
    debug: Handle,
    event: Event,
}

impl KernelLog {
    /// The log, if smss gave the right to read it.
    pub fn open() -> Option<Self> {
        let debug = env::extra(HANDLE_DEBUG)?.handle;
        let event = Event::synchronization(false).ok()?;
        Some(Self { debug, event })
    }

    /// Signalled when there is more.
    pub fn wait_handle(&self) -> Handle {
        self.event.handle()
    }

    /// Takes what is there.
    pub fn read(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut buffer = vec![0; 2048];
        while let Ok(length @ 1..) = resource::read_kernel_log(self.debug, self.event.handle(), &mut buffer) {
            text.extend_from_slice(&buffer[..length.min(2048)]);
        }
        text
    }
}

/// The framebuffer with its text.
#[derive(Debug)]
pub struct Screen {
    view: View,
    terminal: Terminal,
    painter: Painter,
    is_dirty: bool,
}

impl Screen {
    /// The framebuffer that smss gave this server, if there is one that can be used.
    pub fn open() -> Option<Self> {
        let (memory, info) = env::framebuffer()?;
        let [red, green, blue, _] = info.shifts;
        let geometry =
            Geometry::new(info.width, info.height, info.pitch, info.bits_per_pixel, [red, green, blue])?;
        let bytes = (geometry.words() as u64 * 4).next_multiple_of(PAGE_SIZE);
        let section = Section::physical(memory, bytes).ok()?;
        let mut view = section.map(0, bytes, PAGE_READWRITE | PAGE_NOCACHE).ok()?;
        view.pixels().fill(0);
        let (columns, rows) = geometry.text_size();
        let (terminal, painter) = (Terminal::new(columns, rows), Painter::new(geometry));
        Some(Self { view, terminal, painter, is_dirty: true })
    }

    /// Takes output; it shows after [`Screen::paint`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.terminal.feed(bytes);
        self.is_dirty = true;
    }

    /// True when something is not shown yet.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Shows everything.
    pub fn paint(&mut self) {
        if core::mem::take(&mut self.is_dirty) {
            self.painter.paint(&self.terminal, self.view.pixels());
        }
    }
}
