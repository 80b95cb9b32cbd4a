//! Trace records: what the kernel writes into its per-processor rings and the debug console reads.
//!
//! Layout of the trace memory (mapped read-only by NtTraceControl's [`TRACE_MAP`]): a [`TraceHeader`] page,
//! then one ring per processor of `records_per_ring` records, then the name log of `name_records` records.
//! A ring is written by its processor only. The n-th record (n = 0, 1, ...) of a ring is written to slot
//! `n % records_per_ring` with `sequence` first set to 0 and last to n + 1; `heads[cpu]` is n + 1 after that.
//! A reader copies the record, then checks that `sequence` was the expected value before and after;
//! what it finds overwritten it counts as lost.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

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
    /// `TRACE_FLAG_` bits.
    pub flags: u16,
    /// Of [`TRACE_CALL`] and [`TRACE_RETURN`]: the thread at the other side; else 0.
    pub peer_thread: u32,
    /// Of those: the id of the port that it waited on; else 0.
    pub peer_port: u32,
}

/// The other side's event is not to be recorded, or has a record of its own ([`TraceRecord::flags`]).
pub const TRACE_FLAG_TOLD: u16 = 1;
/// What the sender does is not to be recorded ([`TraceRecord::flags`]).
pub const TRACE_FLAG_UNSEEN: u16 = 2;

impl TraceRecord {
    /// The events that a record stands for, one after the other: itself, but for the records of the fast path, which the kernel
    /// writes one for all that happens at once.
    pub fn events(&self) -> impl Iterator<Item = Self> {
        let plain = Self { flags: 0, peer_thread: 0, peer_port: 0, ..*self };
        // What a wait is for, without the message.
        let waits = Self { message_type: 0, data_length: 0, total_length: 0, attributes: 0, ..plain };
        let received = Self {
            process: self.peer_process,
            thread: self.peer_thread,
            peer_process: self.process,
            port: self.peer_port,
            ..plain
        };
        let told = self.flags & TRACE_FLAG_TOLD != 0;
        let seen = self.flags & TRACE_FLAG_UNSEEN == 0;
        let events = match self.event {
            TRACE_CALL => [
                seen.then_some(Self { event: TRACE_SEND, ..plain }),
                seen.then_some(Self { event: TRACE_WAIT_REPLY, ..waits }),
                (!told).then_some(Self { event: TRACE_RECEIVE, ..received }),
            ],
            TRACE_RETURN => [
                seen.then_some(Self { event: TRACE_REPLY, ..plain }),
                seen.then_some(Self { event: TRACE_WAIT_NEW, message_id: 0, peer_process: 0, ..waits }),
                (!told).then_some(Self { event: TRACE_UNWAIT, ..received }),
            ],
            _ => [Some(*self), None, None],
        };
        events.into_iter().flatten()
    }
}

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
    15 TRACE_HANDLE "handle" "A handle was passed to a receiver.";
    16 TRACE_NOT_IMPLEMENTED "not-impl" "A system call returned STATUS_NOT_IMPLEMENTED.";
    17 TRACE_CALL "call" "A request went straight to a thread that waited: send, wait-reply, and the other side's receive.";
    18 TRACE_RETURN "return" "A reply went straight to its blocked sender: reply, wait-new, and the other side's unwait.";
}

/// NtTraceControl: map the trace memory read-only; output: u64 address, u64 size.
pub const TRACE_MAP: u32 = 1;
/// NtTraceControl: start recording; input: [`TraceFilter`] (or nothing: everything).
pub const TRACE_START: u32 = 2;
/// NtTraceControl: stop recording.
pub const TRACE_STOP: u32 = 3;

/// Which events are recorded: those done by, or done to a port owned by, a process with this image name, or done
/// on a port with this name. Empty names match everything; with both given, both must match.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct TraceFilter {
    /// Image name, zero-padded; compared without regard to ASCII case.
    pub process: [u8; 40],
    /// Port name (its last component, or its whole path if it begins with a backslash), zero-padded.
    pub port: [u8; 40],
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    fn record(event: u8, flags: u16) -> TraceRecord {
        TraceRecord {
            event,
            flags,
            process: 4,
            thread: 8,
            port: 1,
            connection_port: 2,
            message_id: 9,
            peer_process: 12,
            peer_thread: 16,
            peer_port: 3,
            message_type: 0x2001,
            data_length: 32,
            total_length: 72,
            ..TraceRecord::default()
        }
    }

    fn told(record: TraceRecord) -> Vec<(u8, u32, u32, u32, u32, u16)> {
        record
            .events()
            .map(|r| (r.event, r.process, r.port, r.peer_process, r.message_id, r.data_length))
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
        assert_eq!(told(record(TRACE_CALL, TRACE_FLAG_TOLD)).len(), 2);
        assert_eq!(told(record(TRACE_RETURN, TRACE_FLAG_UNSEEN)), [(TRACE_UNWAIT, 12, 3, 4, 9, 32)]);
        assert_eq!(told(record(TRACE_SEND, 0)), [(TRACE_SEND, 4, 1, 12, 9, 32)]);
    }
}
