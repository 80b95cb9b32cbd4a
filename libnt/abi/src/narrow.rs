//! Structures that have a 32-bit and a 64-bit form, and the way from one to the other.
//!
//! A [`Layout`] says where each field lies in both forms; [`Layout::widen`] and [`Layout::narrow`] convert from it. What
//! does not fit the 32-bit form is refused, never cut. The structures themselves are in [`crate::alpc32`]; nothing in
//! the 64-bit kernel uses them: they are for the server that runs 32-bit programs.

use crate::arg::Pod;

/// How wide a program's pointers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

/// A value does not fit the other form, or a buffer is shorter than its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotFit;

/// How a field's value goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As it is: so many bytes in both forms.
    Same(usize),
    /// A pointer, size or context: 8 or 4 bytes, filled up with zeroes.
    Size,
    /// A handle: 8 or 4 bytes, filled up with its sign, so that the pseudo handles (-1, -2) stay what they are.
    Handle,
    /// The structure's own size, 4 bytes: each form has its own.
    OwnSize,
    /// A length or offset from the structure's start, 2 bytes, that counts the structure too.
    Behind,
    /// As [`Kind::Behind`], where 0 is "none".
    BehindOrNone,
}

/// A field in both forms.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Offset in the 64-bit form.
    pub wide: usize,
    /// Offset in the 32-bit form.
    pub narrow: usize,
    /// How its value goes over.
    pub kind: Kind,
}

/// A structure in both forms.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Size of the 64-bit form.
    pub wide: usize,
    /// Size of the 32-bit form.
    pub narrow: usize,
    /// All fields; what is between them is padding.
    pub fields: &'static [Field],
}

impl Kind {
    const fn bytes(self, width: Width) -> usize {
        match (self, width) {
            (Self::Same(bytes), _) => bytes,
            (Self::Size | Self::Handle, Width::W64) => 8,
            (Self::Size | Self::Handle | Self::OwnSize, _) => 4,
            (Self::Behind | Self::BehindOrNone, _) => 2,
        }
    }

    fn convert(self, value: u64, from: u64, to: u64, width: Width) -> Result<u64, DoesNotFit> {
        let fits = |value: u64, most: u64| if value <= most { Ok(value) } else { Err(DoesNotFit) };
        match (self, width) {
            (Self::Same(_), _) | (Self::Size, Width::W64) => Ok(value),
            (Self::Size, Width::W32) => fits(value, u32::MAX.into()),
            (Self::Handle, Width::W64) => Ok((value as u32).cast_signed() as i64 as u64),
            (Self::Handle, Width::W32) => {
                let same = (value as u32).cast_signed() as i64 as u64 == value;
                if same { Ok(value & u64::from(u32::MAX)) } else { Err(DoesNotFit) }
            }
            (Self::OwnSize, _) if value == from => Ok(to),
            // A wrong size stays wrong.
            (Self::OwnSize, _) if value == to => Err(DoesNotFit),
            (Self::OwnSize, _) => Ok(value),
            (Self::BehindOrNone, _) if value == 0 => Ok(0),
            (Self::Behind | Self::BehindOrNone, _) => {
                let value = (value + to).checked_sub(from).ok_or(DoesNotFit)?;
                fits(value, u16::MAX.into())
            }
        }
    }
}

fn get(bytes: &[u8], at: usize, count: usize) -> u64 {
    let mut value = [0; 8];
    value[..count].copy_from_slice(&bytes[at..at + count]);
    u64::from_le_bytes(value)
}

impl Layout {
    /// Size of a form.
    pub const fn size(&self, width: Width) -> usize {
        match width {
            Width::W32 => self.narrow,
            Width::W64 => self.wide,
        }
    }

    /// Converts the structure at the start of `from`, in the other form, to the form `to_width` at the start of `to`,
    /// whose padding becomes 0. On an error `to` may be written in part.
    ///
    /// # Errors
    /// [`DoesNotFit`] as said there.
    pub fn convert(&self, to_width: Width, from: &[u8], to: &mut [u8]) -> Result<(), DoesNotFit> {
        let from_width = if to_width == Width::W32 { Width::W64 } else { Width::W32 };
        let (from_size, to_size) = (self.size(from_width), self.size(to_width));
        let from = from.get(..from_size).ok_or(DoesNotFit)?;
        let to = to.get_mut(..to_size).ok_or(DoesNotFit)?;
        to.fill(0);
        for field in self.fields {
            let (source, target) = match to_width {
                Width::W32 => (field.wide, field.narrow),
                Width::W64 => (field.narrow, field.wide),
            };
            if let Kind::Same(bytes) = field.kind {
                to[target..target + bytes].copy_from_slice(&from[source..source + bytes]);
                continue;
            }
            let value = get(from, source, field.kind.bytes(from_width));
            let value = field.kind.convert(value, from_size as u64, to_size as u64, to_width)?;
            let bytes = field.kind.bytes(to_width);
            to[target..target + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
        }
        Ok(())
    }
}

/// A structure's 32-bit form.
pub trait Narrow: Pod {
    /// Both forms.
    const FORMS: Layout;

    /// The 64-bit form, as a type of its size.
    ///
    /// # Errors
    /// [`DoesNotFit`] when a length that counts the header does not fit the longer one, or a structure says of itself
    /// that it has the other form's size.
    fn widen<W: Pod>(&self) -> Result<W, DoesNotFit> {
        const { assert!(size_of::<W>() == Self::FORMS.wide) };
        let mut wide = W::new_zeroed();
        Self::FORMS.convert(Width::W64, self.as_bytes(), wide.as_mut_bytes())?;
        Ok(wide)
    }

    /// The 32-bit form of a structure.
    ///
    /// # Errors
    /// [`DoesNotFit`] when a pointer, size or handle needs more than 32 bits.
    fn narrow<W: Pod>(wide: &W) -> Result<Self, DoesNotFit> {
        const { assert!(size_of::<W>() == Self::FORMS.wide) };
        let mut narrow = Self::new_zeroed();
        Self::FORMS.convert(Width::W32, wide.as_bytes(), narrow.as_mut_bytes())?;
        Ok(narrow)
    }
}
