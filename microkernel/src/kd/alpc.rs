//! What the reduced console prints of ports and messages.

use crate::alpc::port::{self, Port};
use crate::kd::show::{Found, ImageOf, LOCKED, find_message};
use abi::alpc::{PORT_MESSAGE_SIZE, message_type_name};
use antares_core::alpc::Role;
use core::fmt::{self, Write};

/// `!alpc`: every port in one line.
pub fn ports(out: &mut dyn Write) -> fmt::Result {
    let mut result = writeln!(out, "PORT   KIND       OWNER  QUEUED PENDING WAITERS NAME");
    let open = port::peek_ports(|port| result = result.and_then(|()| line(out, port)));
    if !open {
        writeln!(out, "the ports are {LOCKED}")?;
    }
    result
}

fn line(out: &mut dyn Write, port: &Port) -> fmt::Result {
    let kind = match port.role {
        Role::Connection => "connection",
        Role::Server(_) => "server",
        Role::Client(_) => "client",
    };
    write!(out, "{:<6} {kind:<10} {:<6} ", port.id, port.owner)?;
    let Some(group) = port.group.try_lock() else { return writeln!(out, "({LOCKED})") };
    let facts = group.facts(port.role);
    drop(group);
    write!(out, "{:>6} {:>7} {:>7} ", facts.queued, facts.pending, facts.waiters)?;
    match port.group.label.try_lock() {
        Some(label) => writeln!(out, "{}", label.as_str()),
        None => writeln!(out, "?"),
    }
}

fn queue(number: u32) -> &'static str {
    match number {
        1 => "ALPC_MSGQUEUE_MAIN",
        2 => "ALPC_MSGQUEUE_PENDING",
        3 => "being delivered",
        4 => "ALPC_MSGQUEUE_LARGE",
        5 => "ALPC_MSGQUEUE_CANCELED",
        6 => "ALPC_MSGQUEUE_DIRECT",
        _ => "?",
    }
}

/// `!alpc /m`: a message.
pub fn message(out: &mut dyn Write, id: u32) -> fmt::Result {
    let Some(Found { facts, queue_port, owner, connection_port }) = find_message(id) else {
        return writeln!(out, "message {id:08x} is neither queued nor pending, or {LOCKED}");
    };
    let length = facts.data_length;
    writeln!(out, "Message {id:08x}")?;
    writeln!(out, "  Type                  : {}", message_type_name(facts.message_type))?;
    writeln!(out, "  DataLength            : {length:#x} ({length})")?;
    let total = length + PORT_MESSAGE_SIZE;
    writeln!(out, "  TotalLength           : {total:#x} ({total})")?;
    let sender = facts.sender;
    writeln!(out, "  OwnerProcess          : {} ({})", sender.process, ImageOf(sender.process))?;
    writeln!(out, "  WaitingThread         : {}", if facts.waits { sender.thread } else { 0 })?;
    writeln!(out, "  QueueType             : {}", queue(facts.queue))?;
    writeln!(out, "  QueuePort             : {queue_port}")?;
    writeln!(out, "  QueuePortOwnerProcess : {owner} ({})", ImageOf(owner))?;
    writeln!(out, "  ConnectionPort        : {connection_port}")?;
    writeln!(out, "  ServerThread          : {}", facts.receiver.thread)
}
