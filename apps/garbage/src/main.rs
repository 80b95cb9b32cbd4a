//! Garbage to every server: random bytes of many sizes to each named port and to each server object that a program has.
//! `garbage [SEED]`. The servers must answer or refuse, and go on as the same processes.

#![no_std]
#![no_main]

extern crate alloc;

mod targets;

use core::time::Duration;
use libnt::alpc::{Connect, Message, Port};
use libnt::prelude::*;
use libnt::proto::{Header, MAX_PAYLOAD, console, kd, objmgr, smss};
use libnt::session;
use targets::{Protocol, Target};
use testkit::{Counters, Random, Test};

libnt::main!(main);

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages to each target, per kind.
const MESSAGES: usize = 150;
/// Connections with garbage to each port.
const CONNECTIONS: usize = 8;
/// Frames and heap blocks that servers may still have taken.
const SLACK: u64 = 200;

fn main() -> NtResult<u32> {
    let seed = testkit::count_argument(1)? as u64;
    let mut test = Test::new("garbage");
    let servers = session::servers()?;
    attack(&mut test, seed)?;
    let before = Counters::settled()?;
    attack(&mut test, seed + 1)?;
    before.must_return(&mut test, SLACK);
    for (was, is) in servers.iter().zip(session::servers()?) {
        test.equal(format_args!("process of {}", was.name), is.process_id, was.process_id);
        test.equal(format_args!("restarts of {}", was.name), is.restarts, was.restarts);
    }
    test.ok("objmgr still lists names", libnt::ob::Directory::open("\\", 1).and_then(|root| root.list()));
    println!("garbage: the console still writes");
    Ok(test.finish())
}

/// Sends garbage to everything there is.
fn attack(test: &mut Test, seed: u64) -> NtResult {
    let mut random = Random::new(seed);
    for port in targets::named_ports()? {
        connect(test, &port, &mut random);
    }
    for target in targets::objects() {
        for _ in 0..MESSAGES {
            send(test, &target, &bytes(&mut random));
            if let Some(payload) = half_good(&target, &mut random) {
                send(test, &target, &payload);
            }
        }
        datagrams(&target, &mut random)?;
    }
    Ok(())
}

/// Random bytes; mostly short, now and then as long as a message can be.
fn bytes(random: &mut Random) -> Vec<u8> {
    let length = match random.below(8) {
        0 => random.below(4),
        1..=4 => random.below(100),
        5 | 6 => random.below(2000),
        _ => [MAX_PAYLOAD, MAX_PAYLOAD - 1, random.below(MAX_PAYLOAD)][random.below(3)],
    };
    let mut bytes = vec![0; length];
    random.fill(&mut bytes);
    bytes
}

/// A good header with garbage behind it, or a good request that is damaged. Calls that would do what a person notices
/// (writing to the screen, taking a typed line, ending the system) are left out.
fn half_good(target: &Target, random: &mut Random) -> Option<Vec<u8>> {
    let sample = target.protocol.as_ref()?.sample(random);
    let mut payload = sample.ok()?;
    match random.below(4) {
        // Cut off.
        0 => payload.truncate(random.below(payload.len() + 1)),
        // Too long.
        1 => payload.extend((0..=random.below(20)).map(|_| random.number() as u8)),
        // A call that does not exist.
        2 => {
            payload.truncate(Header::SIZE);
            payload.push(0x40 | (random.number() & 0x3F) as u8);
            payload.extend((0..random.below(40)).map(|_| random.number() as u8));
        }
        // A wrong version.
        _ => payload[2] ^= 0x80 | (random.number() & 0x7F) as u8,
    }
    Some(payload)
}

/// Sends a request; whatever it is, an answer must come.
fn send(test: &mut Test, target: &Target, payload: &[u8]) {
    let mut message = Message::new(MAX_PAYLOAD);
    let sent = message
        .set_payload(payload)
        .and_then(|()| libnt::alpc::request(target.handle, &mut message, None, Some(PATIENCE)));
    test.ok(format_args!("{} with {} bytes", target.name, payload.len()), sent);
}

fn datagrams(target: &Target, random: &mut Random) -> NtResult {
    for _ in 0..MESSAGES / 4 {
        let mut message = Message::new(MAX_PAYLOAD);
        message.set_payload(&bytes(random))?;
        // The queue may be full; that is an answer too.
        let _ =
            Port::from_handle(libnt::handle::duplicate(target.handle, None)?).datagram(&mut message, None);
    }
    Ok(())
}

/// Connects with garbage; a server that lets us in gets more of it.
fn connect(test: &mut Test, name: &str, random: &mut Random) {
    for _ in 0..CONNECTIONS {
        let options = Connect { timeout: Some(PATIENCE), ..Connect::default() };
        let mut message = Message::new(MAX_PAYLOAD);
        let connected = message
            .set_payload(&bytes(random))
            .and_then(|()| libnt::ob::open_port(name, libnt::abi::ob::PORT_CONNECT))
            .and_then(|port| Port::connect_to(port.raw(), &options, Some(&mut message)));
        match connected {
            Ok(port) => {
                let target =
                    Target { name: name.into(), handle: port.handle(), protocol: None, _owner: None };
                for _ in 0..MESSAGES / CONNECTIONS {
                    send(test, &target, &bytes(random));
                }
            }
            Err(status) => {
                let refused = matches!(status, STATUS_PORT_CONNECTION_REFUSED | STATUS_PORT_MESSAGE_TOO_LONG);
                test.check(format_args!("connecting to {name}: {status}"), refused);
            }
        }
    }
}

impl Protocol {
    /// A request that is good and changes nothing that lasts.
    fn sample(&self, random: &mut Random) -> NtResult<Vec<u8>> {
        let text = |random: &mut Random| -> String {
            (0..random.below(30)).map(|_| char::from(b' ' + (random.number() % 95) as u8)).collect()
        };
        match self {
            Self::Console => {
                libnt::proto::encode_request::<console::Console>(&console::Request::Flush(console::Flush {}))
            }
            Self::Objmgr => {
                let call = objmgr::OpenDirectory {
                    name: text(random),
                    attributes: random.number() as u32,
                    desired_access: 1,
                };
                libnt::proto::encode_request::<objmgr::Objmgr>(&objmgr::Request::OpenDirectory(call))
            }
            Self::Smss => {
                let call = smss::GetServer { name: text(random) };
                libnt::proto::encode_request::<smss::Smss>(&smss::Request::GetServer(call))
            }
            Self::Kd => {
                let call = kd::Execute { command: text(random) };
                libnt::proto::encode_request::<kd::Kd>(&kd::Request::Execute(call))
            }
        }
    }
}
