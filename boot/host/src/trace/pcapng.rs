//! pcapng with link type USER0, which Wireshark and tshark show with the dissector `alpc.lua`.
//!
//! A packet for each message: requests and replies, connections and their outcomes, datagrams. Blocks as in the pcapng
//! specification (draft-ietf-opsawg-pcapng): a section header, an interface with nanoseconds, enhanced packets. The bytes of a
//! packet, little-endian:
//!
//! | offset | holds |
//! |---|---|
//! | 0 | version, 1 |
//! | 1 | kind: 1 request, 2 reply, 3 datagram, 4 connection request, 5 its outcome |
//! | 2 | PORT_MESSAGE type with flags, u16 |
//! | 4 | message id, u32 |
//! | 8, 12 | process and thread that sent it, u32 each |
//! | 16, 20 | process and thread that received it |
//! | 24 | connection port, u32 |
//! | 28 | status, u32 |
//! | 32 | number of the exchange, u32: request and reply have the same |
//! | 36 | number of the exchange that caused it, u32; !0: none |
//! | 40 | nanoseconds between sending and receiving, u64; !0: it was not received |
//! | 48 | attributes, u8 |
//! | 49 | bytes in each of three names, u8: sender's image, receiver's, port |
//! | 52 | the names, then the payload, of which the file may have less than the packet's length says |

use super::Capture;
use abi::alpc::{LPC_CONNECTION_REPLY, LPC_REPLY};
use trace::exchange::{Exchange, Kind, Who};

const LINKTYPE_USER0: u16 = 147;
/// Kinds of packets.
const REQUEST: u8 = 1;
const REPLY: u8 = 2;
const DATAGRAM: u8 = 3;
const CONNECT: u8 = 4;
const OUTCOME: u8 = 5;

struct Packet {
    time: u64,
    order: usize,
    bytes: Vec<u8>,
    /// With the payload that was not recorded.
    length: usize,
}

/// Writes a trace.
pub fn write(capture: &Capture) -> Vec<u8> {
    let mut packets: Vec<Packet> =
        capture.exchanges.all().iter().flat_map(|exchange| packets(capture, exchange)).collect();
    packets.sort_by_key(|packet| (packet.time, packet.order));
    let mut out = Vec::new();
    let lost = format!("{}; {} records lost", capture.title, capture.reading.lost);
    let mut section = Vec::new();
    section.extend(0x1A2B_3C4D_u32.to_le_bytes());
    section.extend([1, 0, 0, 0]);
    section.extend(u64::MAX.to_le_bytes());
    option(&mut section, 1, lost.as_bytes());
    option(&mut section, 4, b"Antares");
    option(&mut section, 0, &[]);
    block(&mut out, 0x0A0D_0D0A, &section);
    let mut interface = Vec::new();
    interface.extend(LINKTYPE_USER0.to_le_bytes());
    interface.extend([0; 6]);
    option(&mut interface, 2, b"alpc");
    option(&mut interface, 9, &[9]);
    option(&mut interface, 0, &[]);
    block(&mut out, 1, &interface);
    for packet in &packets {
        let mut body = Vec::new();
        body.extend(0_u32.to_le_bytes());
        body.extend(((packet.time >> 32) as u32).to_le_bytes());
        body.extend((packet.time as u32).to_le_bytes());
        body.extend((packet.bytes.len() as u32).to_le_bytes());
        body.extend((packet.length as u32).to_le_bytes());
        body.extend(&packet.bytes);
        pad(&mut body);
        block(&mut out, 6, &body);
    }
    out
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    out.extend(value);
    pad(out);
}

fn block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = (body.len() as u32 + 12).to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(length);
    out.extend(body);
    out.extend(length);
}

fn packets(capture: &Capture, exchange: &Exchange) -> Vec<Packet> {
    let (there, back) = match exchange.kind {
        Kind::Request => (REQUEST, REPLY),
        Kind::Connect => (CONNECT, OUTCOME),
        Kind::Datagram => (DATAGRAM, 0),
    };
    let (client, server) = (exchange.client, exchange.server);
    let travelled = |from: Option<u64>, to: Option<u64>| match (from, to) {
        (Some(from), Some(to)) => capture.clock.span(to.saturating_sub(from)),
        _ => u64::MAX,
    };
    let mut packets = Vec::new();
    if let Some(sent) = exchange.sent.or(exchange.received) {
        let status = if exchange.replied.is_none() { exchange.status } else { 0 };
        let head = head(
            capture,
            exchange,
            there,
            (client, server),
            status,
            travelled(exchange.sent, exchange.received),
        );
        packets.push(packet(capture.time(sent), exchange.index * 2, head, &exchange.payload, exchange.size));
    }
    if let Some(replied) = exchange.replied {
        let travelled = travelled(exchange.replied, exchange.returned);
        let head = head(capture, exchange, back, (exchange.replier, client), exchange.status, travelled);
        let size = exchange.reply_size;
        packets.push(packet(capture.time(replied), exchange.index * 2 + 1, head, &exchange.reply, size));
    }
    packets
}

fn packet(time: u64, order: usize, mut bytes: Vec<u8>, payload: &[u8], size: u16) -> Packet {
    let length = bytes.len() + usize::from(size);
    bytes.extend(&payload[..payload.len().min(size.into())]);
    Packet { time, order, bytes, length }
}

fn head(
    capture: &Capture,
    exchange: &Exchange,
    kind: u8,
    (from, to): (Who, Who),
    status: u32,
    travelled: u64,
) -> Vec<u8> {
    let message_type = match kind {
        REPLY => LPC_REPLY,
        OUTCOME => LPC_CONNECTION_REPLY,
        _ => exchange.message_type,
    };
    let mut bytes = vec![1, kind];
    bytes.extend(message_type.to_le_bytes());
    let parent = exchange.parent.map_or(u32::MAX, |parent| parent as u32);
    let numbers = [
        exchange.message,
        from.process,
        from.thread,
        to.process,
        to.thread,
        exchange.port,
        status,
        exchange.index as u32,
        parent,
    ];
    numbers.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    bytes.extend(travelled.to_le_bytes());
    bytes.push(exchange.attributes);
    let names = [
        capture.names.process(from.process),
        capture.names.process(to.process),
        capture.names.port(exchange.port),
    ];
    let names = names.map(|name| name.as_bytes()[..name.len().min(255)].to_vec());
    bytes.extend(names.iter().map(|name| name.len() as u8));
    names.iter().for_each(|name| bytes.extend(name));
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::testing::capture;

    /// The blocks: kind and body.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !bytes.is_empty() {
            let length = word(bytes, 4) as usize;
            assert_eq!((length % 4, word(bytes, length - 4) as usize), (0, length));
            blocks.push((word(bytes, 0), bytes[8..length - 4].to_vec()));
            bytes = &bytes[length..];
        }
        blocks
    }

    #[test]
    fn a_packet_for_each_message() {
        let blocks = blocks(&write(&capture()));
        assert_eq!(blocks.iter().map(|(kind, _)| *kind).take(3).collect::<Vec<_>>(), [0x0A0D_0D0A, 1, 6]);
        let packets: Vec<&Vec<u8>> = blocks[2..].iter().map(|(_, body)| body).collect();
        assert_eq!(packets.len(), 7);
        let number = |packet: &[u8], at: usize| u32::from_le_bytes(packet[at..at + 4].try_into().unwrap());
        let times: Vec<u32> = packets.iter().map(|packet| number(packet, 8)).collect();
        assert_eq!(times, [10_000, 14_000, 18_000, 21_000, 24_000, 26_000, 30_000]);
        let first = packets[0];
        let (there, all) = (number(first, 12) as usize, number(first, 16) as usize);
        assert_eq!((there, all), (52 + 3 + 6 + 14 + 2, there));
        assert_eq!(&first[20 + there - 2..20 + there], b"hi");
        let second = packets[1];
        assert_eq!(number(second, 16) - number(second, 12), 2, "a payload that was not recorded");
        assert_eq!((second[21], number(second, 20 + 32), number(second, 20 + 36)), (REQUEST, 1, 0));
    }
}
