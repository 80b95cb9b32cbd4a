//! The text screen as pixels.
//!
//! [`Painter`] remembers what it has painted and touches only the cells that changed: device memory is slow.

use crate::terminal::{Cell, Terminal};
use alloc::vec::Vec;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

/// Pixels of a character cell, across and down.
pub const CELL: (usize, usize) = (get_raster_width(FontWeight::Regular, RasterHeight::Size16), 16);

/// Red, green and blue of the sixteen colours.
const PALETTE: [[u8; 3]; 16] = [
    [12, 12, 12],
    [197, 15, 31],
    [19, 161, 14],
    [193, 156, 0],
    [0, 55, 218],
    [136, 23, 152],
    [58, 150, 221],
    [204, 204, 204],
    [118, 118, 118],
    [231, 72, 86],
    [22, 198, 12],
    [249, 241, 165],
    [59, 120, 255],
    [180, 0, 158],
    [97, 214, 214],
    [242, 242, 242],
];

/// A framebuffer of 32-bit pixels.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Pixels per line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Words from one line to the next.
    pub stride: usize,
    /// Bit positions of red, green and blue.
    pub shifts: [u8; 3],
}

impl Geometry {
    /// A geometry from what the boot loader says; `None` when it is not one of 32-bit pixels that can hold text.
    pub fn new(width: u32, height: u32, pitch: u64, bits_per_pixel: u32, shifts: [u8; 3]) -> Option<Self> {
        let [width, height] = [usize::try_from(width).ok()?, usize::try_from(height).ok()?];
        let stride = usize::try_from(pitch / 4).ok()?;
        let sane = bits_per_pixel == 32
            && pitch.is_multiple_of(4)
            && shifts.iter().all(|shift| *shift <= 24)
            && (CELL.0..=0x4000).contains(&width)
            && (CELL.1..=0x4000).contains(&height)
            && (width..=0x8000).contains(&stride);
        sane.then_some(Self { width, height, stride, shifts })
    }

    /// Columns and rows of text that fit.
    pub fn text_size(&self) -> (usize, usize) {
        (self.width / CELL.0, self.height / CELL.1)
    }

    /// Words of the whole framebuffer.
    pub fn words(&self) -> usize {
        self.stride * self.height
    }

    fn pixel(&self, rgb: [u8; 3]) -> u32 {
        rgb.iter().zip(self.shifts).fold(0, |pixel, (value, shift)| pixel | u32::from(*value) << shift)
    }
}

/// Paints a [`Terminal`].
#[derive(Debug)]
pub struct Painter {
    geometry: Geometry,
    /// What is on the screen; `None` where nobody has painted yet.
    painted: Vec<Option<Cell>>,
}

impl Painter {
    /// A painter for a framebuffer in an unknown state.
    pub fn new(geometry: Geometry) -> Self {
        let (columns, rows) = geometry.text_size();
        Self { geometry, painted: alloc::vec![None; columns * rows] }
    }

    /// Paints what changed since the last time. `pixels` holds at least [`Geometry::words`].
    pub fn paint(&mut self, terminal: &Terminal, pixels: &mut [u32]) {
        let (row, column) = terminal.cursor();
        let cursor = row * terminal.columns() + column;
        for (index, cell) in terminal.cells().iter().enumerate() {
            let mut cell = *cell;
            if index == cursor {
                (cell.foreground, cell.background) = (cell.background, cell.foreground);
            }
            if self.painted.get(index).is_some_and(|painted| *painted != Some(cell)) {
                self.painted[index] = Some(cell);
                self.glyph(index / terminal.columns(), index % terminal.columns(), cell, pixels);
            }
        }
    }

    fn glyph(&self, row: usize, column: usize, cell: Cell, pixels: &mut [u32]) {
        let colour = |number: u8| PALETTE[usize::from(number) % PALETTE.len()];
        let (ink, paper) = (colour(cell.foreground), colour(cell.background));
        let raster = |c| get_raster(c, FontWeight::Regular, RasterHeight::Size16);
        let Some(glyph) =
            raster(cell.character).or_else(|| raster(char::REPLACEMENT_CHARACTER)).or_else(|| raster('?'))
        else {
            return;
        };
        for (y, line) in glyph.rows().enumerate() {
            let start = (row * CELL.1 + y) * self.geometry.stride + column * CELL.0;
            let Some(target) = pixels.get_mut(start..start + line.len()) else { return };
            for (pixel, intensity) in target.iter_mut().zip(line) {
                *pixel = self.geometry.pixel(core::array::from_fn(|i| mix(paper[i], ink[i], *intensity)));
            }
        }
    }
}

/// A colour between two, by intensity.
fn mix(from: u8, to: u8, intensity: u8) -> u8 {
    let [from, to, intensity] = [from, to, intensity].map(u16::from);
    ((from * (255 - intensity) + to * intensity) / 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry() -> Geometry {
        Geometry::new(CELL.0 as u32 * 4 + 3, CELL.1 as u32 * 2 + 5, 4 * 64, 32, [16, 8, 0]).unwrap()
    }

    #[test]
    fn text_appears_and_only_changes_are_painted() {
        let geometry = geometry();
        assert_eq!(geometry.text_size(), (4, 2));
        let (mut terminal, mut painter) = (Terminal::new(4, 2), Painter::new(geometry));
        let mut pixels = alloc::vec![0xDEAD_BEEF; geometry.words()];
        terminal.feed(b"\x1b[97mX");
        painter.paint(&terminal, &mut pixels);
        let cell = |pixels: &[u32], column: usize| -> Vec<u32> {
            (0..CELL.1).flat_map(|y| pixels[y * 64 + column * CELL.0..][..CELL.0].to_vec()).collect()
        };
        assert!(cell(&pixels, 0).contains(&0x00F2_F2F2), "the X has ink");
        assert!(cell(&pixels, 1).iter().all(|p| *p == 0x00CC_CCCC), "the cursor is a block");
        assert!(cell(&pixels, 2).iter().all(|p| *p == 0x000C_0C0C), "the rest is paper");
        assert_eq!(pixels[4 * CELL.0], 0xDEAD_BEEF, "nothing beyond the text");

        pixels.fill(1);
        terminal.feed(b"Y");
        painter.paint(&terminal, &mut pixels);
        assert!(cell(&pixels, 0).iter().all(|p| *p == 1), "the X is not painted again");
        assert!(!cell(&pixels, 1).contains(&1) && !cell(&pixels, 2).contains(&1));
        assert!(cell(&pixels, 3).iter().all(|p| *p == 1));
    }

    #[test]
    fn a_short_framebuffer_is_not_overrun() {
        let mut terminal = Terminal::new(4, 2);
        terminal.feed("abcdefg\u{1F600}".as_bytes());
        Painter::new(geometry()).paint(&terminal, &mut [0; 100]);
    }

    #[test]
    fn odd_framebuffers_are_refused() {
        for (width, height, pitch, bits, shift) in [
            (1024, 768, 4096, 24, 16),
            (1024, 768, 4095, 32, 16),
            (1024, 768, 1024, 32, 16),
            (0, 768, 4096, 32, 16),
            (1024, u32::MAX, 4096, 32, 16),
            (1024, 768, u64::MAX - 3, 32, 16),
            (1024, 768, 4096, 32, 25),
        ] {
            assert!(Geometry::new(width, height, pitch, bits, [shift, 8, 0]).is_none());
        }
    }
}
