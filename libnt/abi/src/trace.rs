//! Trace records: what the kernel writes into its per-processor rings and the debug console reads.
//!
//! Layout of the trace memory (mapped read-only by NtTraceControl's [`TRACE_MAP`]): a [`TraceHeader`] page,
//! then one ring per processor of `records_per_ring` records, then the name log of `name_records` records.
//! A ring is written by its processor only. The n-th record (n = 0, 1, ...) of a ring is written to slot
//! `n % records_per_ring` with `sequence` first set to 0 and last to n + 1; `heads[cpu]` is n + 1 after that.
//! A reader copies the record, then checks that `sequence` was the expected value before and after;
//! what it finds overwritten it counts as lost. What a filter can ask for is in [`filter`].

pub mod filter;

pub use filter::{TraceFilter, TracePredicate};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

/// Most processors.
pub const MAX_CPUS: usize = 64;

/// First page of the trace memory.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TraceHeader {
    /// Rings that follow.
    pub cpus: u32,
    /// Records in each ring.
    pub records_per_ring: u32,
    /// Records in the name log.
    pub name_records: u32,
    /// 1 while ALPC events are recorded.
    pub enabled: u32,
    /// Time-stamp counter ticks per second.
    pub tsc_frequency: u64,
    /// Time-stamp counter at kernel entry.
    pub tsc_boot: u64,
    /// Records written to the name log.
    pub name_head: u64,
    /// Records written to each ring.
    pub heads: [u64; MAX_CPUS],
    /// Requests whose time was forgotten before they were answered, while a filter asked for latencies.
    pub forgotten: u64,
}

/// One event, 64 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TraceRecord {
    /// Number of the record in its ring, counted from 1; 0 while it is being written.
    pub sequence: u64,
    /// Time-stamp counter.
    pub tsc: u64,
    /// `TRACE_` event kind.
    pub event: u8,
    /// Processor.
    pub cpu: u8,
    /// PORT_MESSAGE type with flags; for system calls the number.
    pub message_type: u16,
    /// NTSTATUS of the operation.
    pub status: u32,
    /// Process and thread that did it.
    pub process: u32,
    /// As above.
    pub thread: u32,
    /// Id of the port it was done on (the port behind the caller's handle).
    pub port: u32,
    /// Id of the connection port behind that port (the one with a name), or the port itself.
    pub connection_port: u32,
    /// Message id.
    pub message_id: u32,
    /// Process at the other side (0 when there is none yet).
    pub peer_process: u32,
    /// Payload bytes.
    pub data_length: u16,
    /// Header and payload bytes.
    pub total_length: u16,
    /// Valid attributes' bits, shifted right by 25.
    pub attributes: u8,
    /// Messages in the queue after the event (255: that many or more).
    pub queue_depth: u8,
    /// 0.
    pub reserved: u16,
    /// What else there is to say; the event's kind says what it is. For send and reply the thread at the other side, if the
    /// processor went straight to it. Else 0.
    pub detail: u64,
}

/// What the fast path writes for each leg, all that happens at once: [`TRACE_CALL`] or [`TRACE_RETURN`]. As long as a
/// [`TraceRecord`], with the event's kind at the same place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirectRecord {
    /// As in [`TraceRecord`].
    pub sequence: u64,
    /// As in [`TraceRecord`].
    pub tsc: u64,
    /// [`TRACE_CALL`] or [`TRACE_RETURN`].
    pub event: u8,
    /// Processor; 0 in the ring, which says it too.
    pub cpu: u8,
    /// PORT_MESSAGE type with flags.
    pub message_type: u16,
    /// `DIRECT_` flags.
    pub flags: u32,
    /// Who sends.
    pub from: DirectSide,
    /// Who receives.
    pub to: DirectSide,
    /// Payload bytes.
    pub data_length: u16,
    /// Header and payload bytes.
    pub total_length: u16,
    /// Id of the connection port.
    pub connection_port: u32,
}

/// A thread of a [`DirectRecord`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirectSide {
    /// Its process.
    pub process: u32,
    /// Its id.
    pub thread: u32,
    /// Id of the port that it waits on: the sender from here on, the receiver until here.
    pub port: u32,
    /// Id of the message whose answer it waits for; else 0.
    pub message: u32,
}

/// What the receiver does is not to be recorded, or has a record of its own ([`DirectRecord::flags`]).
pub const DIRECT_TOLD: u32 = 1;
/// What the sender does is not to be recorded ([`DirectRecord::flags`]).
pub const DIRECT_UNSEEN: u32 = 2;

impl DirectRecord {
    /// Id of the message.
    pub fn message_id(&self) -> u32 {
        if self.event == TRACE_CALL { self.from.message } else { self.to.message }
    }

    /// The events that it stands for, one after the other.
    fn events(&self) -> [Option<TraceRecord>; 3] {
        let plain = TraceRecord {
            sequence: self.sequence,
            tsc: self.tsc,
            cpu: self.cpu,
            process: self.from.process,
            thread: self.from.thread,
            port: self.from.port,
            connection_port: self.connection_port,
            message_id: self.message_id(),
            peer_process: self.to.process,
            ..TraceRecord::default()
        };
        let sent = TraceRecord {
            message_type: self.message_type,
            data_length: self.data_length,
            total_length: self.total_length,
            ..plain
        };
        let received = TraceRecord {
            process: self.to.process,
            thread: self.to.thread,
            port: self.to.port,
            peer_process: self.from.process,
            ..sent
        };
        let told = self.flags & DIRECT_TOLD != 0;
        let seen = self.flags & DIRECT_UNSEEN == 0;
        let (sends, waits, receives) = match self.event {
            TRACE_CALL => (TRACE_SEND, TraceRecord { event: TRACE_WAIT_REPLY, ..plain }, TRACE_RECEIVE),
            _ => {
                let waits = TraceRecord { event: TRACE_WAIT_NEW, message_id: 0, peer_process: 0, ..plain };
                (TRACE_REPLY, waits, TRACE_UNWAIT)
            }
        };
        [
            seen.then_some(TraceRecord { event: sends, detail: self.to.thread.into(), ..sent }),
            seen.then_some(waits),
            (!told).then_some(TraceRecord { event: receives, ..received }),
        ]
    }
}

/// Bytes that one [`PayloadRecord`] holds.
pub const PAYLOAD_PIECE: usize = 40;

/// A piece of the payload of the message whose event stands before it in the same ring, behind that event's other pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PayloadRecord {
    /// As in [`TraceRecord`].
    pub sequence: u64,
    /// Time-stamp counter, not before that of the event.
    pub tsc: u64,
    /// [`TRACE_PAYLOAD`].
    pub event: u8,
    /// Bytes that are used.
    pub length: u8,
    /// Where in the payload they are.
    pub offset: u16,
    /// Message id.
    pub message_id: u32,
    /// The bytes.
    pub bytes: [u8; PAYLOAD_PIECE],
}

/// Words of a record.
pub const RECORD_WORDS: usize = size_of::<TraceRecord>() / 8;

/// A record as it lies in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawRecord {
    /// One event.
    Event(TraceRecord),
    /// A leg of the fast path.
    Direct(DirectRecord),
    /// A piece of a payload.
    Payload(PayloadRecord),
}

impl RawRecord {
    /// Tells the record of `cpu`'s ring.
    pub fn new(words: [u64; RECORD_WORDS], cpu: u8) -> Self {
        match words[2] as u8 {
            TRACE_CALL | TRACE_RETURN => Self::Direct(DirectRecord { cpu, ..transmute!(words) }),
            TRACE_PAYLOAD => Self::Payload(transmute!(words)),
            _ => Self::Event(TraceRecord { cpu, ..transmute!(words) }),
        }
    }

    /// The events that it stands for, one after the other; pieces of payloads are none.
    pub fn events(&self) -> impl Iterator<Item = TraceRecord> + use<> {
        let events = match self {
            Self::Event(event) => [Some(*event), None, None],
            Self::Direct(direct) => direct.events(),
            Self::Payload(_) => [None; 3],
        };
        events.into_iter().flatten()
    }
}

const _: () = assert!(size_of::<TraceRecord>() == 64 && size_of::<DirectRecord>() == 64);
const _: () = assert!(size_of::<PayloadRecord>() == 64 && size_of::<NameRecord>() == 64);

/// A name of a process or port, 64 bytes, in the name log.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NameRecord {
    /// As in [`TraceRecord`].
    pub sequence: u64,
    /// [`NAME_PROCESS`] or [`NAME_PORT`].
    pub kind: u32,
    /// Process or port id.
    pub id: u32,
    /// Parent process, or owner of the port.
    pub owner: u32,
    /// Bytes of the name.
    pub length: u32,
    /// UTF-8 name, cut to fit.
    pub name: [u8; 40],
}

/// A process got its name.
pub const NAME_PROCESS: u32 = 1;
/// A port got its name.
pub const NAME_PORT: u32 = 2;

macro_rules! events {
    ($($value:literal $name:ident $text:literal $what:literal;)*) => {
        $(
            #[doc = $what]
            pub const $name: u8 = $value;
        )*
        /// Short name of an event kind.
        pub const fn event_name(event: u8) -> &'static str {
            match event { $($value => $text,)* _ => "?" }
        }
    };
}

events! {
    1 TRACE_CREATE "create" "A connection port was created.";
    2 TRACE_CONNECT "connect" "A client asked for a connection.";
    3 TRACE_ACCEPT "accept" "The server accepted it.";
    4 TRACE_REFUSE "refuse" "The server refused it.";
    5 TRACE_CONNECTED "connected" "The client learned of the outcome.";
    6 TRACE_SEND "send" "A request or datagram was sent.";
    7 TRACE_RECEIVE "receive" "A message was received.";
    8 TRACE_REPLY "reply" "A request was answered.";
    9 TRACE_WAIT_REPLY "wait-reply" "A sender blocks for the reply.";
    10 TRACE_WAIT_NEW "wait-new" "A receiver blocks for a message.";
    11 TRACE_UNWAIT "unwait" "A blocked sender or receiver goes on; status says why.";
    12 TRACE_CANCEL "cancel" "A message was cancelled.";
    13 TRACE_DISCONNECT "disconnect" "A connection ended.";
    14 TRACE_CLOSE "close" "A port's last handle was closed.";
    15 TRACE_HANDLE "handle" "A handle was passed to a receiver; detail: its value there.";
    16 TRACE_NOT_IMPLEMENTED "not-impl" "A system call returned STATUS_NOT_IMPLEMENTED.";
    17 TRACE_CALL "call" "A request went straight to a thread that waited: send, wait-reply, and the other side's receive ([`DirectRecord`]).";
    18 TRACE_RETURN "return" "A reply went straight to its blocked sender: reply, wait-new, and the other side's unwait ([`DirectRecord`]).";
    19 TRACE_TIMED "timed" "A request of this process was answered by the peer, not sooner than the filter's latency; detail: ticks that it took.";
    20 TRACE_PAYLOAD "payload" "A piece of a payload ([`PayloadRecord`]).";
    21 TRACE_SWITCH "switch" "The processor went from this thread to thread `detail` of the peer (0: it idles).";
    22 TRACE_VIEW "view" "A view was mapped, by its maker or for a receiver; detail: its address.";
    23 TRACE_UNMAP "unmap" "A view was unmapped; detail: its address.";
    24 TRACE_IMPERSONATE "impersonate" "A thread took on a message's sender's identity.";
}

/// Where the kernel has the trace memory in its part of every address space; for debuggers outside of the system.
pub const TRACE_ADDRESS: u64 = 0xFFFF_FF80_0000_0000;

/// NtTraceControl: map the trace memory read-only; output: u64 address, u64 size.
pub const TRACE_MAP: u32 = 1;
/// NtTraceControl: start recording; input: [`TraceFilter`] (or nothing: everything).
pub const TRACE_START: u32 = 2;
/// NtTraceControl: stop recording.
pub const TRACE_STOP: u32 = 3;

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn record(event: u8, flags: u32) -> DirectRecord {
        let (asker, server) = (9, 0);
        let messages = if event == TRACE_CALL { (asker, server) } else { (server, asker) };
        DirectRecord {
            event,
            flags,
            from: DirectSide { process: 4, thread: 8, port: 1, message: messages.0 },
            to: DirectSide { process: 12, thread: 16, port: 3, message: messages.1 },
            connection_port: 2,
            message_type: 0x2001,
            data_length: 32,
            total_length: 72,
            ..DirectRecord::default()
        }
    }

    fn told(record: DirectRecord) -> Vec<(u8, u32, u32, u32, u32, u16)> {
        RawRecord::new(transmute!(record), 5)
            .events()
            .map(|r| {
                assert_eq!((r.cpu, r.connection_port), (5, 2));
                (r.event, r.process, r.port, r.peer_process, r.message_id, r.data_length)
            })
            .collect()
    }

    #[test]
    fn a_record_of_the_fast_path_is_three_events() {
        let call = [
            (TRACE_SEND, 4, 1, 12, 9, 32),
            (TRACE_WAIT_REPLY, 4, 1, 12, 9, 0),
            (TRACE_RECEIVE, 12, 3, 4, 9, 32),
        ];
        assert_eq!(told(record(TRACE_CALL, 0)), call);
        let back = [
            (TRACE_REPLY, 4, 1, 12, 9, 32),
            (TRACE_WAIT_NEW, 4, 1, 0, 0, 0),
            (TRACE_UNWAIT, 12, 3, 4, 9, 32),
        ];
        assert_eq!(told(record(TRACE_RETURN, 0)), back);
    }

    #[test]
    fn a_side_that_is_not_recorded_is_left_out() {
        assert_eq!(told(record(TRACE_CALL, DIRECT_TOLD)).len(), 2);
        assert_eq!(told(record(TRACE_RETURN, DIRECT_UNSEEN)), [(TRACE_UNWAIT, 12, 3, 4, 9, 32)]);
    }

    #[test]
    fn other_records_are_what_they_are() {
        let event = TraceRecord { event: TRACE_SEND, port: 7, ..TraceRecord::default() };
        let raw = RawRecord::new(transmute!(event), 1);
        assert_eq!(raw.events().collect::<Vec<_>>(), [TraceRecord { cpu: 1, ..event }]);
        let mut words = [0; RECORD_WORDS];
        words[2] = u64::from(TRACE_PAYLOAD);
        assert_eq!(RawRecord::new(words, 0).events().count(), 0);
    }
}
