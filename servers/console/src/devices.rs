//! The console's devices beside the serial line: the framebuffer and the kernel log.

use alloc::vec;
use alloc::vec::Vec;
use console::paint::{Geometry, Painter};
use console::terminal::Terminal;
use libnt::abi::mm::{PAGE_READWRITE, PAGE_SIZE};
use libnt::event::Event;
use libnt::prelude::*;
use libnt::proto::kd::HANDLE_DEBUG;
use libnt::resource;
use libnt::section::{Section, View};

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
    /// The framebuffer that smss gave this server, if there is one that can be used; one that cannot is said.
    pub fn open() -> Option<Self> {
        let (memory, info) = env::framebuffer()?;
        let [red, green, blue, _] = info.shifts;
        let geometry =
            Geometry::new(info.width, info.height, info.pitch, info.bits_per_pixel, [red, green, blue]);
        let Some(geometry) = geometry else {
            libnt::io::log(format_args!("console: no text on this framebuffer: {info:?}"));
            return None;
        };
        match Self::map(memory, geometry) {
            Ok(screen) => Some(screen),
            Err(status) => {
                libnt::io::log(format_args!("console: the framebuffer cannot be mapped: {status}"));
                None
            }
        }
    }

    fn map(memory: Handle, geometry: Geometry) -> NtResult<Self> {
        let bytes = (geometry.words() as u64 * 4).next_multiple_of(PAGE_SIZE);
        let section = Section::physical(memory, bytes)?;
        let mut view = section.map(0, bytes, PAGE_READWRITE)?;
        view.pixels().fill(0);
        let (columns, rows) = geometry.text_size();
        let (terminal, painter) = (Terminal::new(columns, rows), Painter::new(geometry));
        Ok(Self { view, terminal, painter, is_dirty: true })
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
