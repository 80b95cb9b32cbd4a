//! ntdll's helpers for message attributes, for either width of program: pure functions on a caller's buffer.
//!
//! Behaviour: Wine's tests of the four functions, which run on Windows. A buffer is an ALPC_MESSAGE_ATTRIBUTES with
//! the bodies of the allocated attributes behind it, highest bit first.

use abi::alpc::{ALPC_MAX_ALLOWED_MESSAGE_LENGTH, AlpcMessageAttributes};
use abi::alpc32::{attribute_offset_of, header_size_of};
use abi::status::{NtResult, STATUS_BUFFER_TOO_SMALL};
use zerocopy::{FromBytes, IntoBytes};

pub use abi::narrow::Width;

/// AlpcGetHeaderSize: bytes of a buffer for the attributes `flags`; unknown bits add nothing.
pub const fn header_size(width: Width, flags: u32) -> usize {
    header_size_of(width, flags)
}

/// AlpcMaxAllowedMessageLength: largest total length of a message.
pub const fn max_allowed_message_length() -> usize {
    ALPC_MAX_ALLOWED_MESSAGE_LENGTH
}

/// AlpcInitializeMessageAttribute: always tells the bytes that `flags` need. A `buffer` of at least `size` bytes is given
/// the header (`flags` as they are, unknown bits included; nothing valid) and is otherwise left as it is.
///
/// # Errors
/// STATUS_BUFFER_TOO_SMALL when `size`, or the buffer, is less than what is needed; nothing is written then. With enough
/// `size` and no buffer it succeeds.
pub fn initialize(
    width: Width,
    flags: u32,
    buffer: Option<&mut [u8]>,
    size: usize,
    required: &mut usize,
) -> NtResult {
    *required = header_size(width, flags);
    let size = buffer.as_ref().map_or(size, |buffer| size.min(buffer.len()));
    if size < *required {
        return Err(STATUS_BUFFER_TOO_SMALL);
    }
    if let Some(buffer) = buffer {
        let header = AlpcMessageAttributes { allocated_attributes: flags, valid_attributes: 0 };
        buffer[..size_of_val(&header)].copy_from_slice(header.as_bytes());
    }
    Ok(())
}

/// AlpcGetMessageAttribute: offset of the body of `flag` in a buffer; `None` when that is not exactly one attribute
/// that is known and allocated (valid or not).
pub fn find(width: Width, buffer: &[u8], flag: u32) -> Option<usize> {
    let (header, _) = AlpcMessageAttributes::read_from_prefix(buffer).ok()?;
    attribute_offset_of(width, header.allocated_attributes, flag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    const WIDTHS: [Width; 2] = [Width::W32, Width::W64];
    const ALL: u32 = 0xFE00_0000;

    #[test]
    fn sizes_follow_ntdll() {
        assert_eq!(WIDTHS.map(|width| header_size(width, 0)), [8, 8]);
        assert_eq!(WIDTHS.map(|width| header_size(width, ALL)), [0x6C, 0xA0]);
        assert_eq!(WIDTHS.map(|width| header_size(width, u32::MAX)), [0x6C, 0xA0]);
        assert_eq!(WIDTHS.map(|width| header_size(width, 0x01FF_FFFF)), [8, 8]);
        assert_eq!(max_allowed_message_length(), 0xFFFF);
    }

    #[test]
    fn a_buffer_that_is_too_small_is_not_touched() {
        for width in WIDTHS {
            let (mut required, needed) = (0, header_size(width, ALL));
            let mut buffer = [0xAA; 0xA0];
            let small = initialize(width, ALL, Some(&mut buffer), needed - 1, &mut required);
            assert_eq!((small, required), (Err(STATUS_BUFFER_TOO_SMALL), needed));
            assert!(buffer.iter().all(|byte| *byte == 0xAA));
            // The size is the caller's word; a slice that is shorter counts.
            let lie = initialize(width, ALL, Some(&mut buffer[..needed - 1]), needed, &mut required);
            assert_eq!(lie, Err(STATUS_BUFFER_TOO_SMALL));
        }
    }

    #[test]
    fn without_a_buffer_the_size_alone_decides() {
        for width in WIDTHS {
            let (mut required, needed) = (0, header_size(width, ALL));
            assert_eq!(initialize(width, ALL, None, needed, &mut required), Ok(()));
            assert_eq!(required, needed);
            assert_eq!(initialize(width, ALL, None, needed - 1, &mut required), Err(STATUS_BUFFER_TOO_SMALL));
            assert_eq!(initialize(width, ALL, None, 0, &mut required), Err(STATUS_BUFFER_TOO_SMALL));
        }
    }

    #[test]
    fn only_the_header_is_written() {
        for width in WIDTHS {
            let mut required = 0;
            let mut buffer = [0xAA; 0xA0];
            assert_eq!(initialize(width, 0x3000_0001, Some(&mut buffer), 0xA0, &mut required), Ok(()));
            assert_eq!(required, header_size(width, 0x3000_0000));
            assert_eq!(buffer[..8], [1, 0, 0, 0x30, 0, 0, 0, 0]);
            assert!(buffer[8..].iter().all(|byte| *byte == 0xAA));
        }
    }

    #[test]
    fn attributes_are_found_whether_valid_or_not() {
        let mut buffer = [0; 0xA0];
        for width in WIDTHS {
            let mut required = 0;
            initialize(width, 0x3000_0001, Some(&mut buffer), 0xA0, &mut required).unwrap();
            for valid in [0, 0xFF] {
                buffer[4..8].fill(valid);
                let sizes = [8, header_size(width, 0x2000_0000)];
                assert_eq!(find(width, &buffer, 0x2000_0000), Some(sizes[0]));
                assert_eq!(find(width, &buffer, 0x1000_0000), Some(sizes[1]));
                for none in [0, 1, 0x3000_0000, 0x4000_0000, 0x0100_0000, 0x8000_0000, u32::MAX] {
                    assert_eq!(find(width, &buffer, none), None, "{none:#x}");
                }
            }
        }
        assert_eq!(find(Width::W64, &[0xFF; 7], 0x2000_0000), None);
    }

    proptest! {
        /// Every attribute has its own place, in the order of the bits, and the last one ends where the buffer does.
        #[test]
        fn bodies_lie_one_behind_the_other(flags in any::<u32>(), wide in any::<bool>()) {
            let width = if wide { Width::W64 } else { Width::W32 };
            let mut buffer = [0; 0xA0];
            let mut required = 0;
            initialize(width, flags, Some(&mut buffer), 0xA0, &mut required).unwrap();
            let mut end = 8;
            for bit in (0..32).rev().map(|bit| 1u32 << bit) {
                match find(width, &buffer, bit) {
                    Some(at) => {
                        prop_assert!(flags & ALL & bit != 0);
                        prop_assert_eq!(at, end);
                        end = at + header_size(width, bit) - 8;
                    }
                    None => prop_assert!(flags & ALL & bit == 0),
                }
            }
            prop_assert_eq!(end, required);
        }

        /// Any size and any buffer: told what is needed, written only if there is room.
        #[test]
        fn no_size_is_wrong(flags in any::<u32>(), size in 0usize..0x100, length in 0usize..0x100) {
            for width in WIDTHS {
                let (mut required, mut buffer) = (0, vec![0x55u8; length]);
                let result = initialize(width, flags, Some(&mut buffer), size, &mut required);
                prop_assert_eq!(required, header_size(width, flags));
                prop_assert_eq!(result.is_ok(), size.min(length) >= required);
                let untouched = if result.is_ok() { &buffer[8..] } else { &buffer[..] };
                prop_assert!(untouched.iter().all(|byte| *byte == 0x55));
            }
        }
    }
}
