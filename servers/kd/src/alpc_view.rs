//! `!alpc`: ports, their queues and connections, messages.

use crate::process_view::port as port_text;
use crate::snapshot::Snapshot;
use abi::alpc::{ALPC_PORFLG_WAITABLE_PORT, LPC_CONTINUATION_REQUIRED, PORT_MESSAGE_SIZE, message_type_name};
use abi::info::{SystemMessageInformation, SystemPortInformation};
use abi::kd::SysdbgPort;
use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};
use trace::text::flag_letters;

/// A connection port.
const CONNECTION: u32 = 1;
/// A client communication port.
const CLIENT: u32 = 3;

const STATE_PENDING: u32 = 1;
const STATE_REFUSED: u32 = 2;
const STATE_DISCONNECTED: u32 = 4;
const STATE_CLOSED: u32 = 8;

/// `!alpc`: every port in one line, with the depths of its queues.
pub fn write_ports(out: &mut dyn Write, snapshot: &Snapshot) -> fmt::Result {
    writeln!(
        out,
        "PORT   KIND       OWNER                    PEER                     MAIN PENDING WAITERS RECEIVED STATE        NAME"
    )?;
    for port in snapshot.ports() {
        let peer = match port.peer_process {
            0 => String::from("-"),
            id => process(id, snapshot),
        };
        writeln!(
            out,
            "{:<6} {:<10} {:<24} {:<24} {:>4} {:>7} {:>7} {:>8} {:<12} {}",
            port.port,
            short_kind(port.kind),
            process(port.owner_process, snapshot),
            peer,
            port.main_queue,
            port.pending_queue,
            port.waiters,
            port.sequence_no,
            state(port),
            snapshot.name_of_port(port.port),
        )?;
    }
    writeln!(out, "{} ports, {} messages", snapshot.ports().len(), snapshot.messages().len())
}

/// `!alpc /p`: everything about a port. `facts` is what only a debugger is told.
pub fn write_port(
    out: &mut dyn Write,
    port: &SystemPortInformation,
    facts: Option<&SysdbgPort>,
    snapshot: &Snapshot,
) -> fmt::Result {
    let group = |kind| snapshot.ports().iter().find(|p| in_connection(p, port) && p.kind == kind);
    writeln!(out, "Port {}", port.port)?;
    let mut field = |name: &str, value: &dyn fmt::Display| writeln!(out, "  {name:<24}: {value}");
    field("Type", &kind(port.kind))?;
    field("ConnectionPort", &port_text(port.connection_port, snapshot))?;
    if port.kind != CONNECTION {
        field("ClientCommunicationPort", &optional(group(CLIENT)))?;
        field("ServerCommunicationPort", &optional(group(2)))?;
    }
    field("OwnerProcess", &process(port.owner_process, snapshot))?;
    if port.peer_process != 0 {
        field("PeerProcess", &process(port.peer_process, snapshot))?;
    }
    field("SequenceNo", &hex(port.sequence_no))?;
    field("Flags", &format!("0x{:x}", port.flags))?;
    field("Handles", &port.handles)?;
    field("WaitingThreads", &port.waiters)?;
    field("ConnectionPending", &yes(port.state & STATE_PENDING != 0))?;
    field("ConnectionRefused", &yes(port.state & STATE_REFUSED != 0))?;
    field("Disconnected", &yes(port.state & STATE_DISCONNECTED != 0))?;
    field("Closed", &yes(port.state & STATE_CLOSED != 0))?;
    field("Waitable", &yes(port.flags & ALPC_PORFLG_WAITABLE_PORT != 0))?;
    if let Some(facts) = facts {
        field("Object", &format!("{:016x}", facts.object))?;
        field("CompletionPort", &none_or(facts.completion_port != 0, &facts.completion_port))?;
        field("CompletionList", &yes(facts.completion_list != 0))?;
        field("MaxMessageLength", &hex(facts.max_message_length))?;
        field("PortContext", &format!("0x{:x}", facts.context))?;
        field("Security", &SECURITY.get(facts.security as usize).unwrap_or(&"?"))?;
        field("Reserves", &facts.reserves)?;
        field("Sections", &facts.sections)?;
        field("Views", &facts.views)?;
    }
    let (large, canceled) = facts.map_or((0, 0), |facts| (facts.large_queue, facts.canceled_queue));
    let main = port.main_queue.saturating_sub(large + canceled);
    for (queue, name, depth) in [
        (1, "Main queue", main),
        (4, "Large message queue", large),
        (5, "Canceled queue", canceled),
        (2, "Pending queue", port.pending_queue),
    ] {
        field(name, &format!("{depth} messages"))?;
        for message in snapshot.messages().iter().filter(|m| m.queue_port == port.port && m.queue == queue) {
            field("", &message_line(message, snapshot))?;
        }
    }
    if port.kind == CONNECTION {
        write_connections(out, port, snapshot)?;
    }
    Ok(())
}

/// `!alpc /lpc`: the connections of a connection port.
pub fn write_connections(
    out: &mut dyn Write,
    port: &SystemPortInformation,
    snapshot: &Snapshot,
) -> fmt::Result {
    let clients = || snapshot.ports().iter().filter(|p| p.connection_port == port.port && p.kind == CLIENT);
    writeln!(out, "Port {} has {} connections", port_text(port.port, snapshot), clients().count())?;
    for client in clients() {
        writeln!(
            out,
            "  server port {:<6} client port {:<6} client process {}{}",
            optional(snapshot.port(client.peer_port)),
            client.port,
            process(client.owner_process, snapshot),
            with_comma(client),
        )?;
    }
    Ok(())
}

/// `!alpc /lpp`: the ports of a process.
pub fn write_process_ports(out: &mut dyn Write, id: u32, snapshot: &Snapshot) -> fmt::Result {
    let of = |wanted: u32| {
        snapshot
            .ports()
            .iter()
            .filter(move |p| p.owner_process == id && (p.kind == CONNECTION) == (wanted == CONNECTION))
    };
    writeln!(out, "Ports created by process {}: {}", process(id, snapshot), of(CONNECTION).count())?;
    for port in of(CONNECTION) {
        let connections =
            snapshot.ports().iter().filter(|p| p.connection_port == port.port && p.kind == CLIENT).count();
        writeln!(
            out,
            "  {}: {connections} connections, {} queued",
            port_text(port.port, snapshot),
            port.main_queue
        )?;
    }
    let clients = || of(CLIENT).filter(|p| p.kind == CLIENT);
    writeln!(out, "Ports process {} is connected to: {}", process(id, snapshot), clients().count())?;
    for port in clients() {
        writeln!(
            out,
            "  client port {} -> server port {} of {}: {}{}",
            port.port,
            optional(snapshot.port(port.peer_port)),
            process(port.peer_process, snapshot),
            port_text(port.connection_port, snapshot),
            with_comma(port),
        )?;
    }
    Ok(())
}

/// `!alpc /m`: a message.
pub fn write_message(
    out: &mut dyn Write,
    message: &SystemMessageInformation,
    snapshot: &Snapshot,
) -> fmt::Result {
    let kind = u16::try_from(message.message_type & 0xFFFF).unwrap_or(0);
    writeln!(out, "Message {:08x}", message.message_id)?;
    let mut field = |name: &str, value: &dyn fmt::Display| writeln!(out, "  {name:<22}: {value}");
    field("MessageID", &hex(message.message_id))?;
    field("Type", &type_text(kind))?;
    field("DataLength", &hex(message.data_length))?;
    field("TotalLength", &hex(message.data_length + PORT_MESSAGE_SIZE as u32))?;
    field("Continuation", &yes(kind & LPC_CONTINUATION_REQUIRED != 0))?;
    field("OwnerProcess", &format!("{} thread {}", process(message.process, snapshot), message.thread))?;
    field("WaitingThread", &thread(message.waiting_thread))?;
    field("QueueType", &queue_name(message.queue))?;
    field("QueuePort", &port_text(message.queue_port, snapshot))?;
    let owner = snapshot.port(message.queue_port).map(|port| process(port.owner_process, snapshot));
    field("QueuePortOwnerProcess", &owner.unwrap_or_else(|| "-".into()))?;
    field("ConnectionPort", &port_text(message.connection_port, snapshot))?;
    field("ServerThread", &thread(message.server_thread))
}

/// How a port's maker may be impersonated.
const SECURITY: [&str; 3] = ["none", "static", "dynamic"];

fn none_or(is: bool, value: &dyn fmt::Display) -> String {
    if is { format!("{value}") } else { "-".into() }
}

fn message_line(message: &SystemMessageInformation, snapshot: &Snapshot) -> String {
    let kind = u16::try_from(message.message_type & 0xFFFF).unwrap_or(0);
    format!(
        "{:08x} {} {} bytes from {} thread {}",
        message.message_id,
        type_text(kind),
        message.data_length,
        process(message.process, snapshot),
        message.thread
    )
}

/// A message type with its flags.
pub fn type_text(message_type: u16) -> String {
    let flags = flag_letters(message_type);
    let blank = if flags.is_empty() { "" } else { " " };
    format!("{}{blank}{flags}", message_type_name(message_type))
}

/// NT's name of a queue.
pub fn queue_name(queue: u32) -> &'static str {
    match queue {
        1 => "ALPC_MSGQUEUE_MAIN",
        2 => "ALPC_MSGQUEUE_PENDING",
        3 => "being delivered",
        4 => "ALPC_MSGQUEUE_LARGE",
        5 => "ALPC_MSGQUEUE_CANCELED",
        6 => "ALPC_MSGQUEUE_DIRECT",
        _ => "?",
    }
}

/// NT's name of a kind of port.
pub fn kind(kind: u32) -> &'static str {
    match kind {
        CONNECTION => "ALPC_CONNECTION_PORT",
        2 => "ALPC_SERVER_COMMUNICATION_PORT",
        CLIENT => "ALPC_CLIENT_COMMUNICATION_PORT",
        _ => "?",
    }
}

fn short_kind(kind: u32) -> &'static str {
    match kind {
        CONNECTION => "connection",
        2 => "server",
        CLIENT => "client",
        _ => "?",
    }
}

/// A port's state in a word.
pub fn state(port: &SystemPortInformation) -> &'static str {
    match port.state {
        s if s & STATE_CLOSED != 0 => "closed",
        s if s & STATE_REFUSED != 0 => "refused",
        s if s & STATE_DISCONNECTED != 0 => "disconnected",
        s if s & STATE_PENDING != 0 => "pending",
        _ if port.kind == CONNECTION => "listening",
        _ => "connected",
    }
}

fn with_comma(port: &SystemPortInformation) -> String {
    match state(port) {
        "connected" => String::new(),
        state => format!(", {state}"),
    }
}

fn in_connection(one: &SystemPortInformation, other: &SystemPortInformation) -> bool {
    one.port == other.port || (other.peer_port != 0 && one.port == other.peer_port)
}

fn process(id: u32, snapshot: &Snapshot) -> String {
    format!("{id} ({})", snapshot.process_name(id))
}

fn optional(port: Option<&SystemPortInformation>) -> String {
    port.map_or_else(|| "-".into(), |port| format!("{}", port.port))
}

fn thread(id: u32) -> String {
    if id == 0 { "-".into() } else { format!("{id}") }
}

fn hex(value: u32) -> String {
    format!("0x{value:x} ({value})")
}

fn yes(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::snapshot;

    fn text(write: impl FnOnce(&mut String, &Snapshot) -> fmt::Result) -> String {
        let mut out = String::new();
        write(&mut out, &snapshot()).unwrap();
        out.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    #[test]
    fn all_ports() {
        let expected = "\
PORT   KIND       OWNER                    PEER                     MAIN PENDING WAITERS RECEIVED STATE        NAME
8      connection 12 (console)             -                           1       0       1        5 listening    \\RPC Control\\x
9      server     12 (console)             20 (cmd)                    0       0       0        5 connected    \\RPC Control\\x
10     client     20 (cmd)                 12 (console)                0       0       0        5 connected    \\RPC Control\\x
3 ports, 1 messages
";
        assert_eq!(text(|out, snapshot| write_ports(out, snapshot)), expected);
    }

    #[test]
    fn a_connection_port() {
        let expected = "\
Port 8
  Type                    : ALPC_CONNECTION_PORT
  ConnectionPort          : 8 (\\RPC Control\\x)
  OwnerProcess            : 12 (console)
  SequenceNo              : 0x5 (5)
  Flags                   : 0x40000
  Handles                 : 1
  WaitingThreads          : 1
  ConnectionPending       : No
  ConnectionRefused       : No
  Disconnected            : No
  Closed                  : No
  Waitable                : Yes
  Main queue              : 1 messages
                          : 00000042 LPC_REQUEST C 32 bytes from 20 (cmd) thread 21
  Large message queue     : 0 messages
  Canceled queue          : 0 messages
  Pending queue           : 0 messages
Port 8 (\\RPC Control\\x) has 1 connections
  server port 9      client port 10     client process 20 (cmd)
";
        assert_eq!(
            text(|out, snapshot| write_port(out, snapshot.port(8).unwrap(), None, snapshot)),
            expected
        );
    }

    #[test]
    fn what_only_a_debugger_is_told() {
        let facts = SysdbgPort {
            completion_port: 77,
            completion_list: 1,
            large_queue: 1,
            max_message_length: 0x100,
            security: 2,
            views: 3,
            ..SysdbgPort::default()
        };
        let text = text(|out, snapshot| write_port(out, snapshot.port(8).unwrap(), Some(&facts), snapshot));
        for line in [
            "  CompletionPort          : 77\n  CompletionList          : Yes\n",
            "  MaxMessageLength        : 0x100 (256)\n",
            "  Security                : dynamic\n",
            "  Views                   : 3\n  Main queue              : 0 messages\n",
            "  Large message queue     : 1 messages\n",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn a_communication_port_names_both_sides() {
        for port in [9, 10] {
            let text = text(|out, snapshot| write_port(out, snapshot.port(port).unwrap(), None, snapshot));
            assert!(text.contains("ClientCommunicationPort : 10\n  ServerCommunicationPort : 9\n"), "{text}");
        }
    }

    #[test]
    fn ports_of_a_process() {
        let expected = "\
Ports created by process 20 (cmd): 0
Ports process 20 (cmd) is connected to: 1
  client port 10 -> server port 9 of 12 (console): 8 (\\RPC Control\\x)
";
        assert_eq!(text(|out, snapshot| write_process_ports(out, 20, snapshot)), expected);
        let text = text(|out, snapshot| write_process_ports(out, 12, snapshot));
        assert!(text.contains("console): 1\n  8 (\\RPC Control\\x): 1 connections, 1 queued\n"), "{text}");
        assert!(text.ends_with("connected to: 0\n"), "{text}");
    }

    #[test]
    fn a_message() {
        let expected = "\
Message 00000042
  MessageID             : 0x42 (66)
  Type                  : LPC_REQUEST C
  DataLength            : 0x20 (32)
  TotalLength           : 0x48 (72)
  Continuation          : Yes
  OwnerProcess          : 20 (cmd) thread 21
  WaitingThread         : 21
  QueueType             : ALPC_MSGQUEUE_MAIN
  QueuePort             : 8 (\\RPC Control\\x)
  QueuePortOwnerProcess : 12 (console)
  ConnectionPort        : 8 (\\RPC Control\\x)
  ServerThread          : -
";
        assert_eq!(text(|out, snapshot| write_message(out, &snapshot.messages()[0], snapshot)), expected);
    }
}
