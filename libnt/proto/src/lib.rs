//! The protocols of the ring-3 servers, declared once.
//!
//! A protocol is a number, a name, a version and a list of calls; the [`protocol!`] macro makes from it a struct per
//! call, the `Request` and `Reply` enums that travel, and the [`Protocol`] and [`Call`] implementations that clients,
//! servers and decoding tools use.
//!
//! On the wire a message's payload is a four-byte [`Header`], then postcard: a request is the protocol's `Request`,
//! a reply is `Result<Reply, u32>` where the error is an NTSTATUS. Bytes behind that, another protocol number or another
//! version make the message malformed ([`STATUS_INVALID_MESSAGE`]); decoding never panics and never allocates more
//! than the message's length warrants.
//!
//! Map: [`smss`], [`objmgr`], [`console`], [`kd`] are the protocols; [`codec`] encodes and decodes; [`describe`] shows a
//! payload as text.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod bytes;
pub mod codec;
pub mod console;
mod declare;
pub mod kd;
pub mod objmgr;
pub mod smss;

pub use bytes::Bytes;
pub use codec::{Header, MAX_PAYLOAD, decode_reply, decode_request, encode_reply, encode_request};

use abi::status::STATUS_INVALID_MESSAGE;
use alloc::format;
use alloc::string::String;
use core::fmt::Debug;
use serde::{Serialize, de::DeserializeOwned};

/// A server's protocol.
pub trait Protocol: 'static {
    /// Number in the header of each message.
    const NUMBER: u8;
    /// Name that tools show.
    const NAME: &'static str;
    /// Version in the header of each message; both sides must have the same.
    const VERSION: u16;
    /// Everything a client can ask.
    type Request: Serialize + DeserializeOwned + Debug;
    /// Every answer.
    type Reply: Serialize + DeserializeOwned + Debug;
    /// True when the request may be sent again after the server died and came back.
    fn is_idempotent(request: &Self::Request) -> bool;
    /// Name of the request's call.
    fn call_name(request: &Self::Request) -> &'static str;
}

/// One call of a protocol, with the type of its answer.
pub trait Call: Sized {
    /// The protocol it belongs to.
    type Protocol: Protocol;
    /// What the server answers.
    type Reply;
    /// Name of the call.
    const NAME: &'static str;
    /// The request that travels.
    fn into_request(self) -> <Self::Protocol as Protocol>::Request;
    /// This call's answer, or `None` when the server answered another call.
    fn from_reply(reply: <Self::Protocol as Protocol>::Reply) -> Option<Self::Reply>;
}

/// The payload of a message as text (`objmgr Open { ... }`), or `None` when it is of no protocol known here.
///
/// `is_reply` says whether the message's type is LPC_REPLY.
pub fn describe(payload: &[u8], is_reply: bool) -> Option<String> {
    fn one<P: Protocol>(payload: &[u8], is_reply: bool) -> String {
        if is_reply {
            match decode_reply::<P>(payload) {
                Ok(reply) => format!("{} {reply:?}", P::NAME),
                Err(STATUS_INVALID_MESSAGE) => format!("{} (malformed)", P::NAME),
                Err(status) => format!("{} Err({status})", P::NAME),
            }
        } else {
            match decode_request::<P>(payload) {
                Ok(request) => format!("{} {request:?}", P::NAME),
                Err(_) => format!("{} (malformed)", P::NAME),
            }
        }
    }
    match Header::read(payload)?.protocol {
        smss::Smss::NUMBER => Some(one::<smss::Smss>(payload, is_reply)),
        objmgr::Objmgr::NUMBER => Some(one::<objmgr::Objmgr>(payload, is_reply)),
        console::Console::NUMBER => Some(one::<console::Console>(payload, is_reply)),
        kd::Kd::NUMBER => Some(one::<kd::Kd>(payload, is_reply)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
