//! What NtTraceControl's [`TRACE_START`](super::TRACE_START) is given: which events are recorded, and what with them.
//!
//! A filter is a fixed set of conditions that all have to hold. The debug console makes it from its filter language;
//! the kernel checks that it is well formed ([`TraceFilter::is_valid`]) and looks at it as it makes each record.

use super::*;

/// Most payload bytes of a message that can be recorded.
pub const MOST_PAYLOAD: u16 = 1024;

/// Which events are recorded. A process's name holds for events done by, or done to a port owned by, a process with this
/// image name; a port's for events on a port with this name. Empty names match everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TraceFilter {
    /// Image name, zero-padded; compared without regard to ASCII case.
    pub process: [u8; 40],
    /// Port name (its last component, or its whole path if it begins with a backslash), zero-padded.
    pub port: [u8; 40],
    /// What must be true of the event itself.
    pub predicate: TracePredicate,
    /// Answers that took at least so many ticks; 0: all events. Otherwise only [`TRACE_TIMED`] is recorded, for
    /// requests that pass the rest of the filter.
    pub latency: u64,
    /// Payload bytes of each delivered message that are recorded with it, at most [`MOST_PAYLOAD`].
    pub payload: u16,
    /// `FILTER_` flags.
    pub flags: u16,
    /// 0.
    pub reserved: u32,
}

/// Events of all processes but the named one ([`TraceFilter::flags`]).
pub const FILTER_NOT_PROCESS: u16 = 1;
/// Events on all ports but the named one ([`TraceFilter::flags`]).
pub const FILTER_NOT_PORT: u16 = 2;
/// Switches between threads are recorded too, whatever else the filter says ([`TraceFilter::flags`]).
pub const FILTER_SWITCHES: u16 = 4;

/// Conditions on an event; all have to hold. What an event does not have (a size, without a message) holds for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TracePredicate {
    /// Bit n: the event's kind may be n; 0: any.
    pub events: u32,
    /// Bit n: the low byte of the message's type may be n; 0: any.
    pub types: u32,
    /// Fewest payload bytes.
    pub least_size: u16,
    /// Most payload bytes.
    pub most_size: u16,
    /// One of these attributes is sent or delivered (as in [`TraceRecord::attributes`]); 0: no matter.
    pub attributes: u32,
    /// Bits of the status that count.
    pub status_mask: u32,
    /// What these are.
    pub status: u32,
}

impl TracePredicate {
    /// Holds for everything.
    pub const ALL: Self = Self {
        events: 0,
        types: 0,
        least_size: 0,
        most_size: u16::MAX,
        attributes: 0,
        status_mask: 0,
        status: 0,
    };

    /// True when it holds for everything.
    pub fn is_all(&self) -> bool {
        *self == Self::ALL
    }

    /// True when it holds for an event.
    pub fn passes(&self, record: &TraceRecord) -> bool {
        let bit = |set: u32, number: u8| set == 0 || set.checked_shr(number.into()).unwrap_or(0) & 1 == 1;
        let has_message = record.total_length > 0;
        let type_passes = self.types == 0 || has_message && bit(self.types, record.message_type as u8);
        let size_passes = self.least_size == 0 && self.most_size == u16::MAX
            || has_message && (self.least_size..=self.most_size).contains(&record.data_length);
        bit(self.events, record.event)
            && type_passes
            && size_passes
            && (self.attributes == 0 || self.attributes & u32::from(record.attributes) != 0)
            && record.status & self.status_mask == self.status
    }

    /// The sizes of messages for which it may hold for an event that a leg of the fast path stands for, of kind `event` with
    /// messages of this type: the least, and how many more the greatest is. Without any, one that no message has.
    pub fn sizes_of_leg(&self, event: u8, message_type: u16) -> (u32, u32) {
        let stands_for: u32 = match event {
            TRACE_CALL => 1 << TRACE_SEND | 1 << TRACE_WAIT_REPLY | 1 << TRACE_RECEIVE,
            _ => 1 << TRACE_REPLY | 1 << TRACE_WAIT_NEW | 1 << TRACE_UNWAIT,
        };
        let of_type = self.types == 0 || self.types.checked_shr(message_type.into()).unwrap_or(0) & 1 == 1;
        let of_event = self.events == 0 || self.events & stands_for != 0;
        // What has attributes or a status that is not success does not go this way.
        if of_type && of_event && self.attributes | self.status == 0 {
            (self.least_size.into(), u32::from(self.most_size) - u32::from(self.least_size))
        } else {
            (0x1_0000, 0)
        }
    }
}

impl TraceFilter {
    /// Records everything.
    pub const ALL: Self = Self {
        process: [0; 40],
        port: [0; 40],
        predicate: TracePredicate::ALL,
        latency: 0,
        payload: 0,
        flags: 0,
        reserved: 0,
    };

    /// True when it is well formed: names are UTF-8, no unknown bit is set, no range is empty.
    pub fn is_valid(&self) -> bool {
        let known = FILTER_NOT_PROCESS | FILTER_NOT_PORT | FILTER_SWITCHES;
        let events =
            (1..32).filter(|kind| event_name(*kind) != "?").fold(0, |all: u32, kind| all | 1 << kind);
        let predicate = &self.predicate;
        self.process_name().is_some()
            && self.port_name().is_some()
            && self.flags & !known == 0
            && self.reserved == 0
            && self.payload <= MOST_PAYLOAD
            && predicate.events & !events == 0
            && predicate.least_size <= predicate.most_size
            && predicate.attributes & !0x7F == 0
            && predicate.status & !predicate.status_mask == 0
    }

    /// The process's name; `None` when it is not UTF-8.
    pub fn process_name(&self) -> Option<&str> {
        name(&self.process)
    }

    /// The port's name; `None` when it is not UTF-8.
    pub fn port_name(&self) -> Option<&str> {
        name(&self.port)
    }
}

fn name(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(size: u16) -> TraceRecord {
        TraceRecord {
            event: TRACE_SEND,
            message_type: 0x2001,
            data_length: size,
            total_length: size + 40,
            attributes: 0x10,
            ..TraceRecord::default()
        }
    }

    fn with(change: impl FnOnce(&mut TracePredicate)) -> TracePredicate {
        let mut predicate = TracePredicate::ALL;
        change(&mut predicate);
        predicate
    }

    #[test]
    fn each_condition_counts() {
        let waits = TraceRecord { event: TRACE_WAIT_NEW, ..TraceRecord::default() };
        let failed = TraceRecord { status: 0xC000_0037, ..sent(10) };
        assert!([sent(0), waits, failed].iter().all(|r| TracePredicate::ALL.passes(r)));
        let of_event = with(|p| p.events = 1 << TRACE_SEND);
        assert!(of_event.passes(&sent(1)) && !of_event.passes(&waits));
        let of_type = with(|p| p.types = 1 << 1);
        assert!(of_type.passes(&sent(1)) && !of_type.passes(&waits));
        assert!(!of_type.passes(&TraceRecord { message_type: 3, ..sent(1) }));
        assert!(!of_type.passes(&TraceRecord { message_type: 0xFF, ..sent(1) }));
        let of_size = with(|p| (p.least_size, p.most_size) = (10, 20));
        assert!(of_size.passes(&sent(10)) && of_size.passes(&sent(20)));
        assert!(!of_size.passes(&sent(9)) && !of_size.passes(&sent(21)) && !of_size.passes(&waits));
        let of_handles = with(|p| p.attributes = 0x30);
        assert!(of_handles.passes(&sent(1)) && !of_handles.passes(&waits));
        let of_errors = with(|p| (p.status_mask, p.status) = (0xC000_0000, 0xC000_0000));
        assert!(of_errors.passes(&failed) && !of_errors.passes(&sent(10)));
    }

    #[test]
    fn a_leg_passes_when_one_of_its_events_may() {
        let call = DirectRecord {
            event: TRACE_CALL,
            message_type: 0x2001,
            data_length: 32,
            total_length: 72,
            ..DirectRecord::default()
        };
        let may_pass = |change: fn(&mut TracePredicate)| {
            let (least, more) = with(change).sizes_of_leg(TRACE_CALL, 1);
            32_u32.wrapping_sub(least) <= more
        };
        assert!(may_pass(|_| {}));
        assert!(!may_pass(|p| p.events = 1 << TRACE_REPLY));
        assert!(!may_pass(|p| p.types = 1 << 2));
        assert!(!may_pass(|p| p.least_size = 33));
        assert!(!may_pass(|p| (p.status_mask, p.status) = (!0, 1)));
        // Whatever passes alone passes as part of a leg.
        let changes: [fn(&mut TracePredicate); 4] = [
            |p| p.least_size = 32,
            |p| p.events = 1 << TRACE_WAIT_REPLY,
            |p| p.events = 1 << TRACE_RECEIVE,
            |p| p.types = 2,
        ];
        for change in changes {
            assert!(RawRecord::Direct(call).events().any(|event| with(change).passes(&event)));
            assert!(may_pass(change));
        }
    }

    #[test]
    fn malformed_filters_are_told() {
        assert!(TraceFilter::ALL.is_valid());
        let all = TraceFilter::ALL;
        let predicate = |change: fn(&mut TracePredicate)| TraceFilter { predicate: with(change), ..all };
        for bad in [
            TraceFilter { process: [0xFF; 40], ..all },
            TraceFilter { port: [0xC0; 40], ..all },
            TraceFilter { flags: 8, ..all },
            TraceFilter { reserved: 1, ..all },
            TraceFilter { payload: MOST_PAYLOAD + 1, ..all },
            predicate(|p| p.events = 1),
            predicate(|p| p.events = 1 << 31),
            predicate(|p| {
                p.least_size = 1 + {
                    p.most_size = 5;
                    5
                }
            }),
            predicate(|p| p.attributes = 0x80),
            predicate(|p| p.status = 1),
        ] {
            assert!(!bad.is_valid(), "{bad:?}");
        }
    }
}
