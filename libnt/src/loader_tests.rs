//! Well-formed, damaged and random program files.

use super::*;
use abi::status::STATUS_INVALID_IMAGE_FORMAT;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
struct Load {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_size: u64,
    memory_size: u64,
}

const R: u32 = 4;
const RX: u32 = 5;
const RW: u32 = 6;

fn image(entry: u64, loads: &[Load]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    file.extend_from_slice(&2u16.to_le_bytes());
    file.extend_from_slice(&62u16.to_le_bytes());
    file.extend_from_slice(&1u32.to_le_bytes());
    for word in [entry, 64, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&0u32.to_le_bytes());
    for half in [64, 56, loads.len() as u16, 64, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    for load in loads {
        file.extend_from_slice(&load.kind.to_le_bytes());
        file.extend_from_slice(&load.flags.to_le_bytes());
        for word in [load.offset, load.address, load.address, load.file_size, load.memory_size, 4096] {
            file.extend_from_slice(&word.to_le_bytes());
        }
    }
    file
}

const GOOD: [Load; 3] = [
    Load { kind: 1, flags: R, offset: 0, address: 0x20_0000, file_size: 0x500, memory_size: 0x500 },
    Load { kind: 1, flags: RX, offset: 0x1000, address: 0x20_1000, file_size: 0x1800, memory_size: 0x1800 },
    Load { kind: 1, flags: RW, offset: 0x2800, address: 0x20_3800, file_size: 0x100, memory_size: 0x5000 },
];

fn refused(entry: u64, loads: &[Load]) {
    assert_eq!(plan(&image(entry, loads), 0x3000), Err(STATUS_INVALID_IMAGE_FORMAT));
}

#[test]
fn a_good_image_is_planned() {
    let plan = plan(&image(0x20_1010, &GOOD), 0x3000).unwrap();
    assert_eq!(plan.entry, 0x20_1010);
    assert!(plan.segments[0].is_mappable() && plan.segments[1].is_mappable());
    assert_eq!(plan.segments[1].size, 0x2000);
    let data = plan.segments[2];
    assert_eq!((data.address, data.skew, data.size), (0x20_3000, 0x800, 0x6000));
    assert!(!data.is_mappable());
}

#[test]
fn content_that_is_not_congruent_is_copied() {
    let odd = Load { offset: 0x10, ..GOOD[1] };
    let plan = plan(&image(0x20_1010, &[odd]), 0x3000).unwrap();
    assert!(!plan.segments[0].is_mappable());
}

#[test]
fn hostile_images_are_refused() {
    let [head, code, data] = GOOD;
    refused(0x20_3800, &GOOD); // Entry in data.
    refused(0x20_2900, &GOOD); // Entry behind the code's content.
    refused(0x20_1010, &[code, head]); // Descending.
    refused(0x20_1010, &[code, Load { address: 0x20_2F00, ..data }]); // Shared page.
    refused(0x20_1010, &[Load { flags: 7, ..code }]); // W^X.
    refused(0x20_1010, &[Load { file_size: 0x2000, ..code }]); // More content than memory.
    refused(0x20_1010, &[Load { offset: u64::MAX, ..code }]); // Offset overflows.
    refused(0x20_1010, &[Load { offset: 0x2000, ..code }]); // Behind the file's end.
    refused(0x1010, &[Load { address: 0x1000, ..code }]); // Null guard.
    refused(0x20_1010, &[code, Load { address: USER_MAX - 0x1000, offset: 0x2000, ..data }]); // Past user space.
    refused(0x20_1010, &[code, Load { memory_size: u64::MAX - 0x1000, ..data }]);
    refused(0x20_1010, &[code, Load { memory_size: 1 << 31, ..data }]); // Too large.
    refused(0x20_1010, &[code, Load { kind: 3, ..data }]); // Interpreter.
    refused(0x20_1010, &[]);
    refused(0x20_1010, &[code; 17]);
}

#[test]
fn cut_files_are_refused() {
    let file = image(0x20_1010, &GOOD);
    for length in 0..file.len() {
        assert_eq!(plan(&file[..length], 0x3000), Err(STATUS_INVALID_IMAGE_FORMAT));
    }
}

proptest! {
    #[test]
    fn damage_never_panics_and_plans_are_sane(at in 0usize..232, byte: u8, more in proptest::collection::vec((0usize..232, any::<u8>()), 0..4)) {
        let mut file = image(0x20_1010, &GOOD);
        file[at] = byte;
        for (at, byte) in more {
            file[at] = byte;
        }
        if let Ok(plan) = plan(&file, 0x3000) {
            let mut last = USER_MIN;
            for segment in &plan.segments {
                prop_assert!(segment.address >= last && segment.address % PAGE_SIZE == 0);
                prop_assert!(segment.file_offset + segment.file_size <= 0x3000);
                prop_assert!(segment.skew + segment.file_size <= segment.size);
                last = segment.address + segment.size;
            }
            prop_assert!(last <= USER_MAX);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, size: u64) {
        let _ = plan(&bytes, size);
    }
}
