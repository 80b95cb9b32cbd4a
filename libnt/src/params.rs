//! The parameter block: what a program is given at its start.
//!
//! The creator writes one position-independent block into the new process and passes its address to the first thread.
//! It begins with [`Header`]; offsets are from the block's start; strings are UTF-8. A string list is a sequence of
//! strings, each followed by a zero byte.

use abi::arg::Handle;
use alloc::string::String;
use alloc::vec::Vec;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// [`Header::magic`]: "NTPARM01" in little-endian order.
pub const MAGIC: u64 = u64::from_le_bytes(*b"NTPARM01");
/// [`Header::version`].
pub const VERSION: u32 = 1;
/// Largest block.
pub const MAX_LENGTH: usize = 0x1_0000;
/// Bytes of an extra handle's name.
pub const EXTRA_NAME: usize = 16;

/// First part of the block.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Bytes of the whole block.
    pub length: u32,
    /// Handles that every program has.
    pub standard: StandardHandles,
    /// Offset and bytes of the image name.
    pub image: [u32; 2],
    /// Offset and bytes of the arguments, a string list (without the program's name).
    pub arguments: [u32; 2],
    /// Offset and bytes of the environment, a string list of `NAME=value`.
    pub environment: [u32; 2],
    /// Offset and number of extra handles.
    pub extra: [u32; 2],
}

/// Handles that every program has; any may be null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StandardHandles {
    /// Console input (a server object of the console).
    pub stdin: Handle,
    /// Console output.
    pub stdout: Handle,
    /// Console output for errors.
    pub stderr: Handle,
    /// Root directory (a server object of objmgr).
    pub root: Handle,
    /// Session object of smss.
    pub session: Handle,
}

/// A further handle that the creator gives, found by name ([`crate::env::extra`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExtraHandle {
    /// ASCII name, zero-padded.
    pub name: [u8; EXTRA_NAME],
    /// The handle.
    pub handle: Handle,
    /// What belongs to it, by its name.
    pub data: [u64; 4],
}

impl ExtraHandle {
    /// An extra handle. A name of more than [`EXTRA_NAME`] bytes is cut.
    pub fn new(name: &str, handle: Handle, data: [u64; 4]) -> Self {
        let mut padded = [0; EXTRA_NAME];
        for (to, from) in padded.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        Self { name: padded, handle, data }
    }

    /// True when it has this name.
    pub fn is_named(&self, name: &str) -> bool {
        *self == Self { ..Self::new(name, self.handle, self.data) }
    }
}

/// What a creator puts into a block.
#[derive(Clone, Debug, Default)]
pub struct Parameters<'a> {
    /// Standard handles, valid in the new process.
    pub standard: StandardHandles,
    /// Image name.
    pub image: &'a str,
    /// Arguments.
    pub arguments: &'a [String],
    /// Environment, `NAME=value` each.
    pub environment: &'a [String],
    /// Extra handles, valid in the new process.
    pub extra: &'a [ExtraHandle],
}

impl Parameters<'_> {
    /// The block, or `None` when it would be too long or a string contains a zero byte.
    pub fn build(&self) -> Option<Vec<u8>> {
        fn append(block: &mut Vec<u8>, bytes: &[u8]) -> [u32; 2] {
            let offset = block.len() as u32;
            block.extend_from_slice(bytes);
            [offset, bytes.len() as u32]
        }
        fn list(strings: &[String]) -> Option<Vec<u8>> {
            let mut bytes = Vec::new();
            for string in strings {
                if string.contains('\0') {
                    return None;
                }
                bytes.extend_from_slice(string.as_bytes());
                bytes.push(0);
            }
            Some(bytes)
        }
        let mut header =
            Header { magic: MAGIC, version: VERSION, standard: self.standard, ..Header::default() };
        let mut block = header.as_bytes().to_vec();
        let extra = append(&mut block, self.extra.as_bytes());
        header.extra = [extra[0], self.extra.len() as u32];
        header.image = append(&mut block, self.image.as_bytes());
        header.arguments = append(&mut block, &list(self.arguments)?);
        header.environment = append(&mut block, &list(self.environment)?);
        header.length = u32::try_from(block.len()).ok()?;
        block[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        (block.len() <= MAX_LENGTH).then_some(block)
    }
}

/// A block as the program reads it. Whatever the bytes, reading never panics.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    header: Header,
    bytes: &'a [u8],
}

impl<'a> Block<'a> {
    /// The block in `bytes`, or `None` when magic, version or length are wrong.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, _) = Header::read_from_prefix(bytes).ok()?;
        let valid =
            header.magic == MAGIC && header.version == VERSION && header.length as usize <= bytes.len();
        valid.then_some(Self { header, bytes })
    }

    /// A block without content.
    pub const fn empty() -> Self {
        Self {
            header: Header {
                magic: MAGIC,
                version: VERSION,
                length: 0,
                standard: StandardHandles {
                    stdin: Handle::NULL,
                    stdout: Handle::NULL,
                    stderr: Handle::NULL,
                    root: Handle::NULL,
                    session: Handle::NULL,
                },
                image: [0; 2],
                arguments: [0; 2],
                environment: [0; 2],
                extra: [0; 2],
            },
            bytes: &[],
        }
    }

    fn range(&self, [offset, length]: [u32; 2]) -> &'a [u8] {
        let start = offset as usize;
        self.bytes.get(start..start.saturating_add(length as usize)).unwrap_or_default()
    }

    fn strings(&self, range: [u32; 2]) -> impl Iterator<Item = &'a str> + use<'a> {
        self.range(range)
            .split_inclusive(|&b| b == 0)
            .filter_map(|s| core::str::from_utf8(s.strip_suffix(&[0])?).ok())
    }

    /// Standard handles.
    pub fn standard(&self) -> StandardHandles {
        self.header.standard
    }

    /// Image name.
    pub fn image(&self) -> &'a str {
        core::str::from_utf8(self.range(self.header.image)).unwrap_or_default()
    }

    /// Arguments, without the program's name.
    pub fn arguments(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.strings(self.header.arguments)
    }

    /// Environment, `NAME=value` each.
    pub fn environment(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.strings(self.header.environment)
    }

    /// Extra handles.
    pub fn extra(&self) -> impl Iterator<Item = ExtraHandle> + use<'a> {
        let [offset, count] = self.header.extra;
        let bytes = (count as usize).saturating_mul(size_of::<ExtraHandle>()).min(MAX_LENGTH) as u32;
        self.range([offset, bytes])
            .chunks_exact(size_of::<ExtraHandle>())
            .filter_map(|chunk| ExtraHandle::read_from_bytes(chunk).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_built_is_read(image in "[^\0]{0,40}", arguments: Vec<String>, environment: Vec<String>, handle: u64) {
            let clean = |v: Vec<String>| v.into_iter().map(|s| s.replace('\0', "")).collect::<Vec<_>>();
            let (arguments, environment) = (clean(arguments), clean(environment));
            let extra = [ExtraHandle::new("io", Handle(handle), [1, 2, 3, 4])];
            let standard = StandardHandles { stdout: Handle(handle), ..Default::default() };
            let parameters = Parameters { standard, image: &image, arguments: &arguments, environment: &environment, extra: &extra };
            let bytes = parameters.build().unwrap();
            let block = Block::read(&bytes).unwrap();
            prop_assert_eq!(block.standard(), standard);
            prop_assert_eq!(block.image(), image);
            prop_assert_eq!(block.arguments().map(str::to_string).collect::<Vec<_>>(), arguments);
            prop_assert_eq!(block.environment().map(str::to_string).collect::<Vec<_>>(), environment);
            prop_assert_eq!(block.extra().collect::<Vec<_>>(), extra.to_vec());
            prop_assert!(block.extra().next().unwrap().is_named("io"));
        }

        #[test]
        fn damaged_blocks_are_read_without_panic(ranges: [[u32; 2]; 4], tail: Vec<u8>) {
            let header = Header {
                magic: MAGIC, version: VERSION, length: 0,
                image: ranges[0], arguments: ranges[1], environment: ranges[2], extra: ranges[3],
                ..Header::default()
            };
            let bytes = [header.as_bytes(), &tail].concat();
            let block = Block::read(&bytes).unwrap();
            let _ = (block.image(), block.arguments().count(), block.environment().count(), block.extra().count());
        }
    }

    #[test]
    fn wrong_magic_and_zero_bytes_are_refused() {
        assert!(Block::read(&[0; 200]).is_none());
        assert!(Parameters { arguments: &["a\0b".to_string()], ..Default::default() }.build().is_none());
    }
}
