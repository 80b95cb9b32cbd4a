//! When requests were sent: kept only while a filter asks for latencies.
//!
//! A table of a fixed size in which a request takes the place that its number gives. A request that finds another in its
//! place takes it all the same; the other's time is forgotten, and counted, so that nobody takes its answer's absence
//! from the trace for a quick answer.

use super::ring;
use crate::sync::{Lock, rank};
use antares_core::alpc::Sender;

const PLACES: usize = 4096;

#[derive(Clone, Copy)]
struct Request {
    /// Connection port and message id; 0: free.
    key: (u32, u32),
    /// When it was sent.
    tsc: u64,
    /// By whom.
    sender: Sender,
}

struct Table {
    places: [Request; PLACES],
    forgotten: u64,
}

const FREE: Request = Request { key: (0, 0), tsc: 0, sender: Sender { process: 0, thread: 0 } };

static TABLE: Lock<Table, { rank::LEAF }> = Lock::new(Table { places: [FREE; PLACES], forgotten: 0 });

fn place(port: u32, id: u32) -> usize {
    (port.wrapping_mul(0x9E37_79B1).rotate_left(12) ^ id) as usize % PLACES
}

/// Forgets everything.
pub fn clear() {
    let mut table = TABLE.lock();
    table.places.fill(FREE);
    table.forgotten = 0;
    ring::set_forgotten(0);
}

/// A request was sent.
pub fn sent(port: u32, id: u32, tsc: u64, sender: Sender) {
    let mut table = TABLE.lock();
    let at = place(port, id);
    if table.places[at].key != (0, 0) {
        table.forgotten += 1;
        ring::set_forgotten(table.forgotten);
    }
    table.places[at] = Request { key: (port, id), tsc, sender };
}

/// A request was answered, or will not be: who sent it and when.
pub fn ended(port: u32, id: u32) -> Option<(Sender, u64)> {
    let mut table = TABLE.lock();
    let at = &mut table.places[place(port, id)];
    if at.key != (port, id) {
        return None;
    }
    let request = core::mem::replace(at, FREE);
    Some((request.sender, request.tsc))
}
