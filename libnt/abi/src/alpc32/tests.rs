//! Both forms, field by field.

use super::*;
use crate::arg::Handle as NtHandle;
use crate::ob::{ObjectAttributes, UnicodeString};
extern crate std;
use proptest::prelude::*;
use std::vec::Vec;

#[test]
fn a_message_header_goes_over() {
    let wide = PortMessage {
        data_length: 9,
        total_length: 0x28 + 9,
        message_type: LPC_REQUEST | LPC_CONTINUATION_REQUIRED,
        data_info_offset: 0,
        client_id: ClientId { unique_process: 0x44, unique_thread: 0x48 },
        message_id: 0xAABB_CCDD,
        reserved: 0,
        callback_id: 7,
    };
    let narrow = PortMessage32::narrow(&wide).unwrap();
    assert_eq!(
        narrow,
        PortMessage32 {
            data_length: 9,
            total_length: 0x18 + 9,
            message_type: 0x2001,
            data_info_offset: 0,
            unique_process: 0x44,
            unique_thread: 0x48,
            message_id: 0xAABB_CCDD,
            callback_id: 7
        }
    );
    assert_eq!(narrow.widen::<PortMessage>(), Ok(wide));
}

#[test]
fn a_message_that_is_longest_in_32_bits_is_too_long_in_64() {
    let header = |data: u16, total: u16| PortMessage32 {
        data_length: data,
        total_length: total,
        ..Default::default()
    };
    assert!(header(0xFFD7, 0xFFEF).widen::<PortMessage>().is_ok());
    assert_eq!(header(0xFFD8, 0xFFF0).widen::<PortMessage>(), Err(DoesNotFit));
    assert_eq!(header(0xFFE7, 0xFFFF).widen::<PortMessage>(), Err(DoesNotFit));
    // Lengths that contradict each other still do.
    let wide: PortMessage = header(10, 0x18).widen().unwrap();
    assert_eq!((wide.data_length, wide.total_length), (10, 0x28));
    let short = PortMessage { total_length: 0xF, ..Default::default() };
    assert_eq!(PortMessage32::narrow(&short), Err(DoesNotFit));
}

#[test]
fn the_offset_of_data_information_moves_with_the_payload() {
    let wide =
        PortMessage { total_length: 0x40, data_length: 0x18, data_info_offset: 0x30, ..Default::default() };
    let narrow = PortMessage32::narrow(&wide).unwrap();
    assert_eq!((narrow.total_length, narrow.data_info_offset), (0x30, 0x20));
    assert_eq!(narrow.widen::<PortMessage>(), Ok(wide));
}

#[test]
fn what_needs_64_bits_is_refused() {
    let fits = AlpcPortAttributes { max_pool_usage: 0xFFFF_FFFF, flags: 0x8_0000, ..Default::default() };
    let narrow = AlpcPortAttributes32::narrow(&fits).unwrap();
    assert_eq!((narrow.flags, narrow.max_pool_usage), (0x8_0000, 0xFFFF_FFFF));
    let large = AlpcPortAttributes { max_view_size: 1 << 32, ..fits };
    assert_eq!(AlpcPortAttributes32::narrow(&large), Err(DoesNotFit));
    let context = AlpcContextAttr { port_context: 0x1_0000_0000, ..Default::default() };
    assert_eq!(AlpcContextAttr32::narrow(&context), Err(DoesNotFit));
}

#[test]
fn handles_keep_their_sign() {
    for (wide, narrow) in [(0x7FFF_FFFC, 0x7FFF_FFFC), (u64::MAX, u32::MAX), (u64::MAX - 1, u32::MAX - 1)] {
        let attribute = AlpcHandleAttr { handle: NtHandle(wide), ..Default::default() };
        let converted = AlpcHandleAttr32::narrow(&attribute).unwrap();
        assert_eq!(converted.handle, narrow);
        assert_eq!(converted.widen::<AlpcHandleAttr>(), Ok(attribute));
    }
    for wide in [0x8000_0000, 0xFFFF_FFFF, 1 << 40] {
        let attribute = AlpcHandleAttr { handle: NtHandle(wide), ..Default::default() };
        assert_eq!(AlpcHandleAttr32::narrow(&attribute), Err(DoesNotFit));
    }
}

#[test]
fn a_structure_knows_its_own_size() {
    let narrow = ObjectAttributes32 { length: 0x18, root_directory: 8, attributes: 2, ..Default::default() };
    let wide: ObjectAttributes = narrow.widen().unwrap();
    assert_eq!(wide, ObjectAttributes::relative_to(NtHandle(8), 2));
    assert_eq!(ObjectAttributes32::narrow(&wide), Ok(narrow));
    let wrong = ObjectAttributes32 { length: 0x14, ..narrow };
    assert_eq!(wrong.widen::<ObjectAttributes>().unwrap().length, 0x14);
    let other = ObjectAttributes32 { length: 0x30, ..narrow };
    assert_eq!(other.widen::<ObjectAttributes>(), Err(DoesNotFit));
    let view = PortView32 { length: 0x18, view_size: 0x1000, ..Default::default() };
    let wide: [u64; 6] = view.widen().unwrap();
    assert_eq!((wide[0], wide[3]), (0x30, 0x1000));
    let remote = RemotePortView32 { length: 0xC, view_base: 0x2000, ..Default::default() };
    assert_eq!(remote.widen::<[u64; 3]>(), Ok([0x18, 0, 0x2000]));
}

#[test]
fn strings_and_information_go_over() {
    let string = UnicodeString32 { length: 4, maximum_length: 6, buffer: 0x1234 };
    assert_eq!(
        string.widen::<UnicodeString>(),
        Ok(UnicodeString { length: 4, maximum_length: 6, reserved: 0, buffer: 0x1234 })
    );
    let basic = AlpcBasicInformation { flags: 1, sequence_no: 2, port_context: 3 };
    assert_eq!(
        AlpcBasicInformation32::narrow(&basic),
        Ok(AlpcBasicInformation32 { flags: 1, sequence_no: 2, port_context: 3 })
    );
    let server = AlpcServerInformation32 {
        thread_blocked: 1,
        connected_process_id: 8,
        name_length: 2,
        ..Default::default()
    };
    assert_eq!(server.widen::<[u64; 4]>(), Ok([1, 8, 2, 0]));
    let list =
        AlpcPortCompletionListInformation32 { buffer: 1, size: 2, concurrency_count: 3, attribute_flags: 4 };
    assert_eq!(list.widen::<[u32; 6]>(), Ok([1, 0, 2, 3, 4, 0]));
    let bound = AlpcPortAssociateCompletionPort32 { completion_key: 5, completion_port: 0xFFFF_FFFF };
    assert_eq!(bound.widen::<[u64; 2]>(), Ok([5, u64::MAX]));
    let zone = AlpcPortMessageZoneInformation32 { buffer: 0x8000_0000, size: 0x1000 };
    assert_eq!(zone.widen::<[u32; 4]>(), Ok([0x8000_0000, 0, 0x1000, 0]));
}

#[test]
fn attribute_sizes_and_offsets_are_nts() {
    let sizes = |width| ATTRIBUTES.map(|(_, layout)| layout.size(width));
    assert_eq!(sizes(Width::W32), [0xC, 0x10, 0x14, 0x10, 0x18, 4, 8]);
    let offset = |flag| attribute_offset_of(Width::W32, 0xFE00_0000, flag);
    assert_eq!(offset(ALPC_MESSAGE_SECURITY_ATTRIBUTE), Some(8));
    assert_eq!(offset(ALPC_MESSAGE_VIEW_ATTRIBUTE), Some(0x14));
    assert_eq!(offset(ALPC_MESSAGE_CONTEXT_ATTRIBUTE), Some(0x24));
    assert_eq!(offset(ALPC_MESSAGE_HANDLE_ATTRIBUTE), Some(0x38));
    assert_eq!(offset(ALPC_MESSAGE_TOKEN_ATTRIBUTE), Some(0x48));
    assert_eq!(offset(ALPC_MESSAGE_DIRECT_ATTRIBUTE), Some(0x60));
    assert_eq!(offset(ALPC_MESSAGE_WORK_ON_BEHALF_ATTRIBUTE), Some(0x64));
    for flags in (0u32..128).map(|bits| bits << 25) {
        assert_eq!(header_size_of(Width::W64, flags | 0x3F), header_size(flags));
        for (flag, _) in ATTRIBUTES {
            assert_eq!(attribute_offset_of(Width::W64, flags, flag), attribute_offset(flags, flag));
        }
    }
}

#[test]
fn buffers_of_attributes_go_over() {
    let context = AlpcContextAttr { port_context: 0x11, message_id: 9, ..Default::default() };
    let handle = AlpcHandleAttr { handle: NtHandle(0x44), desired_access: 3, ..Default::default() };
    let mut wide = Vec::new();
    let header = AlpcMessageAttributes { allocated_attributes: 0x3000_0000, valid_attributes: 0x3000_0000 };
    wide.extend_from_slice(header.as_bytes());
    wide.extend_from_slice(context.as_bytes());
    wide.extend_from_slice(handle.as_bytes());
    let mut narrow = [0xAA; 0x40];
    assert_eq!(convert_attributes(Width::W32, &wide, &mut narrow), Ok(8 + 0x14 + 0x10));
    assert_eq!(narrow[8], 0x11);
    assert_eq!(narrow[8 + 0xC], 9);
    assert_eq!(narrow[8 + 0x14 + 4], 0x44);
    assert_eq!(narrow[8 + 0x14 + 0x10], 0xAA);
    let mut back = [0; 0x40];
    assert_eq!(convert_attributes(Width::W64, &narrow, &mut back), Ok(0x40));
    assert_eq!(back, wide.as_slice());
    assert_eq!(convert_attributes(Width::W32, &wide[..0x3F], &mut narrow), Err(DoesNotFit));
    assert_eq!(convert_attributes(Width::W32, &wide, &mut narrow[..0x2B]), Err(DoesNotFit));
    assert_eq!(convert_attributes(Width::W32, &wide[..7], &mut narrow), Err(DoesNotFit));
}

#[test]
fn only_valid_attributes_are_looked_at() {
    let mut wide = [0xFFu8; 0xA0];
    let header = AlpcMessageAttributes { allocated_attributes: 0xFE00_0000, valid_attributes: 0x0800_0000 };
    wide[..8].copy_from_slice(header.as_bytes());
    let mut narrow = [0xAA; 0x6C];
    assert_eq!(convert_attributes(Width::W32, &wide, &mut narrow), Ok(0x6C));
    assert!(narrow[8..0x48].iter().all(|byte| *byte == 0));
    assert!(narrow[0x48..0x60].iter().all(|byte| *byte == 0xFF));
}

#[test]
fn an_indirect_handle_is_an_address() {
    let header = AlpcMessageAttributes { allocated_attributes: 0x1000_0000, valid_attributes: 0x1000_0000 };
    let body = AlpcHandleAttr32 {
        flags: ALPC_HANDLEFLG_INDIRECT,
        handle: 0x9000_0000,
        object_type: 3,
        desired_access: 0,
    };
    let mut narrow = Vec::new();
    narrow.extend_from_slice(header.as_bytes());
    narrow.extend_from_slice(body.as_bytes());
    let mut wide = [0; 0x20];
    assert_eq!(convert_attributes(Width::W64, &narrow, &mut wide), Ok(0x20));
    let (converted, _) = AlpcHandleAttr::read_from_prefix(&wide[8..]).unwrap();
    assert_eq!((converted.handle, converted.object_type), (NtHandle(0x9000_0000), 3));
    let mut back = [0; 0x18];
    assert_eq!(convert_attributes(Width::W32, &wide, &mut back), Ok(0x18));
    assert_eq!(back, narrow.as_slice());
}

/// From the 32-bit form and back nothing changes, whatever it holds; and what was widened narrows.
fn round_trip<N: Narrow + PartialEq + core::fmt::Debug>(bytes: &[u8]) {
    let (narrow, _) = N::read_from_prefix(bytes).unwrap();
    let mut wide = [0u8; 0x48];
    if N::FORMS.convert(Width::W64, narrow.as_bytes(), &mut wide).is_ok() {
        let mut back = [0u8; 0x48];
        assert_eq!(N::FORMS.convert(Width::W32, &wide, &mut back), Ok(()));
        assert_eq!(N::read_from_prefix(&back).unwrap().0, narrow);
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_on_the_way(bytes in proptest::collection::vec(any::<u8>(), 0x48)) {
        round_trip::<UnicodeString32>(&bytes);
        round_trip::<ObjectAttributes32>(&bytes);
        round_trip::<ClientId32>(&bytes);
        round_trip::<PortMessage32>(&bytes);
        round_trip::<PortView32>(&bytes);
        round_trip::<RemotePortView32>(&bytes);
        round_trip::<AlpcPortAttributes32>(&bytes);
        round_trip::<AlpcBasicInformation32>(&bytes);
        round_trip::<AlpcPortAssociateCompletionPort32>(&bytes);
        round_trip::<AlpcServerInformation32>(&bytes);
        round_trip::<AlpcPortCompletionListInformation32>(&bytes);
        round_trip::<AlpcPortMessageZoneInformation32>(&bytes);
    }

    /// What narrows is what was there: narrowing loses no bit that is not padding.
    #[test]
    fn nothing_is_cut(attributes in any::<[u64; 9]>(), small in any::<[u32; 6]>(), choice in 0usize..64) {
        let mut wide = AlpcPortAttributes::read_from_bytes(attributes.as_bytes()).unwrap();
        let fields = [
            &mut wide.max_message_length, &mut wide.memory_bandwidth, &mut wide.max_pool_usage,
            &mut wide.max_section_size, &mut wide.max_view_size, &mut wide.max_total_section_size,
        ];
        let mut fit = true;
        for (at, field) in fields.into_iter().enumerate() {
            if choice >> at & 1 == 0 {
                *field = small[at].into();
            }
            fit &= *field <= u32::MAX.into();
        }
        wide.reserved = 0;
        let narrow = AlpcPortAttributes32::narrow(&wide);
        prop_assert_eq!(narrow.is_ok(), fit);
        if let Ok(narrow) = narrow {
            let back: AlpcPortAttributes = narrow.widen().unwrap();
            prop_assert_eq!(back.as_bytes(), wide.as_bytes());
        }
    }

    /// Attribute buffers of any contents convert or are refused; what converts comes back.
    #[test]
    fn any_attributes_go_over_or_are_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..0xB0), flags in any::<(u32, u32)>()) {
        if bytes.len() >= 8 {
            bytes[..4].copy_from_slice(&flags.0.to_le_bytes());
            bytes[4..8].copy_from_slice(&flags.1.to_le_bytes());
        }
        let mut wide = [0; 0xA0];
        if let Ok(size) = convert_attributes(Width::W64, &bytes, &mut wide) {
            let mut back = [0; 0x6C];
            let again = convert_attributes(Width::W32, &wide[..size], &mut back);
            prop_assert_eq!(again, Ok(header_size_of(Width::W32, flags.0)));
            let mut once_more = [0; 0xA0];
            prop_assert_eq!(convert_attributes(Width::W64, &back, &mut once_more), Ok(size));
            prop_assert_eq!(wide, once_more);
        }
    }
}
