//! Round trips and hostile bytes.

use crate::*;
use abi::status::STATUS_OBJECT_NAME_NOT_FOUND;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

fn round_trip<P: Protocol>(request: P::Request)
where
    P::Request: PartialEq,
{
    let payload = encode_request::<P>(&request).unwrap();
    assert_eq!(decode_request::<P>(&payload).unwrap(), request);
}

#[test]
fn a_reply_carries_a_value_or_a_status() {
    let ok = encode_reply::<smss::Smss>(&Ok(smss::Reply::QueryBootMark(7))).unwrap();
    assert_eq!(decode_reply::<smss::Smss>(&ok).unwrap(), smss::Reply::QueryBootMark(7));
    assert_eq!(smss::QueryBootMark::from_reply(smss::Reply::QueryBootMark(7)), Some(7));
    assert_eq!(smss::GetServer::from_reply(smss::Reply::QueryBootMark(7)), None);
    let err = encode_reply::<smss::Smss>(&Err(STATUS_OBJECT_NAME_NOT_FOUND)).unwrap();
    assert_eq!(decode_reply::<smss::Smss>(&err), Err(STATUS_OBJECT_NAME_NOT_FOUND));
}

#[test]
fn other_protocols_versions_and_trailing_bytes_are_malformed() {
    let mut payload =
        encode_request::<kd::Kd>(&kd::Execute { command: "help".to_string() }.into_request()).unwrap();
    assert!(decode_request::<smss::Smss>(&payload).is_err());
    payload.push(0);
    assert_eq!(decode_request::<kd::Kd>(&payload), Err(STATUS_INVALID_MESSAGE));
    payload.pop();
    payload[2] += 1;
    assert_eq!(decode_request::<kd::Kd>(&payload), Err(STATUS_INVALID_MESSAGE));
    assert_eq!(decode_request::<kd::Kd>(&[]), Err(STATUS_INVALID_MESSAGE));
}

#[test]
fn text_shows_protocol_call_and_fields() {
    let payload =
        encode_request::<kd::Kd>(&kd::Execute { command: "help".to_string() }.into_request()).unwrap();
    assert_eq!(describe(&payload, false).unwrap(), "kd Execute(Execute { command: \"help\" })");
    assert_eq!(describe(b"hello", false), None);
}

#[test]
fn the_short_ways_encode_the_same() {
    for data in [&b""[..], b"hello", &[7; 300]] {
        let mut buffer = [0; 400];
        let length = console::write_payload(data, &mut buffer);
        let request = console::Write { data: Bytes::from(data) }.into_request();
        assert_eq!(buffer[..length], encode_request::<console::Console>(&request).unwrap());
    }
    let reply = encode_reply::<kd::Kd>(&Err(STATUS_OBJECT_NAME_NOT_FOUND)).unwrap();
    assert_eq!(codec::encode_error(&reply[..4], STATUS_OBJECT_NAME_NOT_FOUND), reply);
}

#[test]
fn what_does_not_fit_a_message_is_an_error() {
    let data = Bytes(vec![0; MAX_PAYLOAD]);
    let request = console::Write { data }.into_request();
    assert_eq!(encode_request::<console::Console>(&request), Err(abi::status::STATUS_PORT_MESSAGE_TOO_LONG));
}

proptest! {
    #[test]
    fn requests_round_trip(name in ".*", attributes: u32, access: u32, data: Vec<u8>) {
        round_trip::<objmgr::Objmgr>(
            objmgr::Open { name: name.clone(), attributes, desired_access: access, type_name: name.clone() }
                .into_request(),
        );
        round_trip::<console::Console>(console::Write { data: Bytes(data) }.into_request());
        round_trip::<smss::Smss>(smss::GetServer { name }.into_request());
    }

    #[test]
    fn random_bytes_never_panic(mut data: Vec<u8>, protocol in 1u8..5, is_reply: bool) {
        let _ = describe(&data, is_reply);
        data.splice(0..0, [0xA7, protocol, 1, 0]);
        prop_assert!(describe(&data, is_reply).is_some());
    }
}
