//! Encoding and decoding of message payloads.

use crate::Protocol;
use abi::alpc::{ALPC_MAX_ALLOWED_MESSAGE_LENGTH, PORT_MESSAGE_SIZE};
use abi::status::{NtResult, NtStatus, STATUS_INVALID_MESSAGE, STATUS_PORT_MESSAGE_TOO_LONG};
use alloc::vec::Vec;
use serde::{Serialize, de::DeserializeOwned};

/// Most bytes of a payload, header included.
pub const MAX_PAYLOAD: usize = ALPC_MAX_ALLOWED_MESSAGE_LENGTH - PORT_MESSAGE_SIZE;

/// First byte of every payload of these protocols.
const MAGIC: u8 = 0xA7;

/// First four bytes of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// [`Protocol::NUMBER`].
    pub protocol: u8,
    /// [`Protocol::VERSION`].
    pub version: u16,
}

impl Header {
    /// Bytes of the header.
    pub const SIZE: usize = 4;

    fn of<P: Protocol>() -> Self {
        Self { protocol: P::NUMBER, version: P::VERSION }
    }

    pub(crate) fn bytes(self) -> [u8; Self::SIZE] {
        let [low, high] = self.version.to_le_bytes();
        [MAGIC, self.protocol, low, high]
    }

    /// Reads the header of a payload; `None` when the payload is not of these protocols.
    pub fn read(payload: &[u8]) -> Option<Self> {
        match payload {
            &[MAGIC, protocol, low, high, ..] => {
                Some(Self { protocol, version: u16::from_le_bytes([low, high]) })
            }
            _ => None,
        }
    }
}

fn encode<P: Protocol, T: Serialize>(value: &T) -> NtResult<Vec<u8>> {
    let mut payload = Vec::with_capacity(64);
    payload.extend_from_slice(&Header::of::<P>().bytes());
    let payload = postcard::to_extend(value, payload).map_err(|_| STATUS_INVALID_MESSAGE)?;
    if payload.len() > MAX_PAYLOAD { Err(STATUS_PORT_MESSAGE_TOO_LONG) } else { Ok(payload) }
}

fn decode<P: Protocol, T: DeserializeOwned>(payload: &[u8]) -> NtResult<T> {
    if Header::read(payload) != Some(Header::of::<P>()) {
        return Err(STATUS_INVALID_MESSAGE);
    }
    match postcard::take_from_bytes(&payload[Header::SIZE..]) {
        Ok((value, [])) => Ok(value),
        _ => Err(STATUS_INVALID_MESSAGE),
    }
}

/// The payload of a request.
pub fn encode_request<P: Protocol>(request: &P::Request) -> NtResult<Vec<u8>> {
    encode::<P, _>(request)
}

/// The request in a payload.
pub fn decode_request<P: Protocol>(payload: &[u8]) -> NtResult<P::Request> {
    decode::<P, _>(payload)
}

/// The payload of a reply. An answer that is too long becomes the error STATUS_PORT_MESSAGE_TOO_LONG.
pub fn encode_reply<P: Protocol>(reply: &Result<P::Reply, NtStatus>) -> NtResult<Vec<u8>> {
    let wire = reply.as_ref().map_err(|status| status.0);
    encode::<P, _>(&wire)
}

/// The answer in a payload: the reply, or the status that the server answered.
pub fn decode_reply<P: Protocol>(payload: &[u8]) -> NtResult<P::Reply> {
    decode::<P, Result<P::Reply, u32>>(payload)?.map_err(NtStatus)
}

/// The payload of the reply that a request fails with `status`, for a protocol known by its header's bytes only.
pub fn encode_error(header: &[u8], status: NtStatus) -> Vec<u8> {
    let wire: Result<(), u32> = Err(status.0);
    postcard::to_extend(&wire, header.to_vec()).unwrap_or_default()
}
