//! Every bit of the flags of ports, sends, connects and passed handles, and what a port is when it is new.

use crate::asking::send;
use crate::holding::get;
use crate::pair::*;
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::arg::{In, InOut, Out};
use libnt::abi::info::WAIT_REASON_LPC_RECEIVE;
use libnt::abi::ob::{OBJ_INHERIT, PORT_ALL_ACCESS};
use libnt::abi::se::TOKEN_QUERY;
use libnt::alpc::{Attributes, ConnectionPort, Port};
use libnt::completion::IoCompletion;
use libnt::event::Event;
use libnt::handle::{basic_information, duplicate};
use libnt::prelude::*;
use libnt::sys::{self, alpc_control, calls};
use libnt::thread;
use libnt::token::Token;
use testkit::{Test, until_waits};

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("flag/ports", ports);
    test.case("flag/new-ports", new_ports);
    test.case("flag/create-arguments", create_arguments);
    test.case("flag/sends", sends);
    test.case("flag/connects", connects);
    test.case("flag/wake-policies", wake_policies);
    test.case("flag/handles", handles);
    test.case("flag/tokens", tokens);
    test.case("flag/posting-takes-no-memory", posting_takes_no_memory);
}

/// Bits that NT accepts and that mean nothing more here: LPC_MODE, which is the kernel's, and the wake policies.
const LPC_MODE: u32 = 0x1000;
const WAKE_POLICIES: [u32; 3] = [0x20_0000, 0x40_0000, 0x80_0000];

fn ports(test: &mut Test) -> NtResult {
    for bit in 0..32 {
        let flags = 1 << bit;
        let made =
            calls::create_port(&AlpcPortAttributes { flags, ..Default::default() }).map(OwnedHandle::new);
        if flags == ALPC_PORFLG_SYSTEM_PROCESS {
            test.refused("SYSTEM_PROCESS", made.map(drop), STATUS_INVALID_PARAMETER);
            continue;
        }
        let port = made?;
        let told = alpc_control::query_port(port.raw()).map(|basic| basic.flags);
        test.equal(format_args!("a port with flag {flags:#x}"), told, Ok(flags));
    }
    let system = AlpcPortAttributes { flags: ALPC_PORFLG_SYSTEM_PROCESS, ..Default::default() };
    let server = ConnectionPort::create()?;
    let asked = calls::connect_port(server.handle(), Some(&system), 0, None, None).map(drop);
    test.refused("SYSTEM_PROCESS of a client's port", asked, STATUS_INVALID_PARAMETER);
    // What is asked of a port with LPC_MODE is what is asked of any.
    let server = ConnectionPort::create_with(&AlpcPortAttributes { flags: LPC_MODE, ..Default::default() })?;
    let pair = Pair::on(server)?;
    let refused = send(pair.client.handle(), ALPC_MSGFLG_LPC_MODE, &mut text(b"x")?);
    test.refused("an LPC request needs ALLOW_LPC_REQUESTS", refused, STATUS_LPC_REQUESTS_NOT_ALLOWED);
    Ok(())
}

fn new_ports(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let basic = alpc_control::query_port(server.handle())?;
    test.equal("messages received", (basic.sequence_no, basic.port_context), (0, 0));
    let handle = basic_information(server.handle())?;
    test.equal("the handle", (handle.granted_access, handle.attributes), (PORT_ALL_ACCESS, 0));
    let (accepted, client) = connect(&server, CONTEXT)?;
    let contexts = [server.handle(), accepted.handle(), client.handle()]
        .map(|port| alpc_control::query_port(port).map(|basic| basic.port_context));
    test.equal("contexts", contexts, [Ok(0), Ok(CONTEXT), Ok(0)]);
    for port in [accepted.handle(), client.handle()] {
        let handle = basic_information(port)?;
        test.equal("its handle", (handle.granted_access, handle.attributes), (PORT_ALL_ACCESS, 0));
    }
    client.datagram(&mut text(b"x")?, None)?;
    expect(&server, LPC_DATAGRAM)?;
    let counted = alpc_control::query_port(server.handle())?.sequence_no;
    test.check("messages received are counted", counted > 1);
    Ok(())
}

fn create_arguments(test: &mut Test) -> NtResult {
    // SAFETY: all pointers are null, or wrong on purpose and refused.
    let create = |to: u64, attributes: u64| unsafe {
        sys::NtAlpcCreatePort(Out::at(to), In::NULL, In::at(attributes))
    };
    test.equal("nowhere to put the handle", create(0, 0), STATUS_ACCESS_VIOLATION);
    test.equal("attributes that cannot be read", create(0, 0x10), STATUS_ACCESS_VIOLATION);
    let mut handle = Handle::NULL;
    // SAFETY: `handle` is ours, the rest is null.
    let made = unsafe { sys::NtAlpcCreatePort((&mut handle).into(), In::NULL, In::NULL) };
    test.equal("without a name and attributes", made, STATUS_SUCCESS);
    let port = OwnedHandle::new(handle);
    test.equal("it has no flags", alpc_control::query_port(port.raw())?.flags, 0);
    let mut client = Handle::NULL;
    // SAFETY: `client` is ours, the rest is null.
    let named = unsafe {
        sys::NtAlpcConnectPort(
            (&mut client).into(),
            In::NULL,
            In::NULL,
            In::NULL,
            0,
            0,
            InOut::NULL,
            InOut::NULL,
            InOut::NULL,
            InOut::NULL,
            In::NULL,
        )
    };
    test.equal("the kernel knows no names", named, STATUS_OBJECT_PATH_SYNTAX_BAD);
    Ok(())
}

fn sends(test: &mut Test) -> NtResult {
    const RELEASE: u32 = ALPC_MSGFLG_RELEASE_MESSAGE;
    let pair = Pair::new()?;
    let allowed = [
        ALPC_MSGFLG_REPLY_MESSAGE,
        ALPC_MSGFLG_LPC_MODE,
        ALPC_MSGFLG_RELEASE_MESSAGE,
        ALPC_MSGFLG_SYNC_REQUEST,
        ALPC_MSGFLG_TRACK_PORT_REFERENCES,
        ALPC_MSGFLG_WAIT_USER_MODE,
        ALPC_MSGFLG_WAIT_ALERTABLE,
    ];
    for flag in (0..32).map(|bit| 1 << bit).filter(|flag| !allowed.contains(flag)) {
        let refused = send(pair.client.handle(), flag | RELEASE, &mut text(b"x")?);
        test.refused(format_args!("flag {flag:#x}"), refused, STATUS_INVALID_PARAMETER);
    }
    test.check("nothing was sent", poll(&pair.server)?.is_none());
    // How the sender waits means nothing to one that does not.
    for flag in [ALPC_MSGFLG_WAIT_USER_MODE, ALPC_MSGFLG_WAIT_ALERTABLE, ALPC_MSGFLG_TRACK_PORT_REFERENCES] {
        test.ok(format_args!("flag {flag:#x}"), send(pair.client.handle(), flag | RELEASE, &mut text(b"x")?));
        test.equal("its type", expect(&pair.server, LPC_DATAGRAM)?.header.message_type, LPC_DATAGRAM);
    }
    Ok(())
}

fn connects(test: &mut Test) -> NtResult {
    let server = ConnectionPort::create()?;
    let attributes = AlpcPortAttributes::default();
    let connect = |flags: u32| {
        calls::connect_port(server.handle(), Some(&attributes), flags, None, None)
            .map(|(client, _)| OwnedHandle::new(client))
    };
    let allowed = [ALPC_MSGFLG_SYNC_CONNECTION, ALPC_MSGFLG_WAIT_USER_MODE, ALPC_MSGFLG_WAIT_ALERTABLE];
    for flag in (0..32).map(|bit| 1 << bit).filter(|flag| !allowed.contains(flag)) {
        test.refused(format_args!("flag {flag:#x}"), connect(flag).map(drop), STATUS_INVALID_PARAMETER);
    }
    test.check("nobody asked", poll(&server)?.is_none());
    for flag in [ALPC_MSGFLG_WAIT_USER_MODE, ALPC_MSGFLG_WAIT_ALERTABLE] {
        let client = connect(flag)?;
        let request = expect(&server, LPC_CONNECTION_REQUEST)?;
        test.equal(format_args!("flag {flag:#x}"), request.header.message_type, LPC_CONNECTION_REQUEST);
        refuse(&server, &request)?;
        drop(client);
    }
    Ok(())
}

/// Whatever the policy, each message wakes one thread, the one that has waited longest.
fn wake_policies(test: &mut Test) -> NtResult {
    for policy in WAKE_POLICIES.into_iter().chain([0, WAKE_POLICIES.iter().sum()]) {
        let server =
            ConnectionPort::create_with(&AlpcPortAttributes { flags: policy, ..Default::default() })?;
        let pair = Pair::on(server)?;
        let wait = || -> NtResult<_> {
            let port = duplicate(pair.server.handle(), None)?;
            let thread = thread::spawn(move || -> NtResult<Vec<u8>> {
                let server = ConnectionPort::from_handle(port);
                Ok(expect(&server, LPC_DATAGRAM)?.payload)
            })?;
            until_waits(thread.handle(), WAIT_REASON_LPC_RECEIVE)?;
            Ok(thread)
        };
        let (first, second) = (wait()?, wait()?);
        pair.client.datagram(&mut text(b"one")?, None)?;
        test.equal(format_args!("policy {policy:#x}"), first.join()?, Ok(b"one".to_vec()));
        until_waits(second.handle(), WAIT_REASON_LPC_RECEIVE)?;
        pair.client.datagram(&mut text(b"two")?, None)?;
        test.equal("the other one's turn", second.join()?, Ok(b"two".to_vec()));
    }
    Ok(())
}

/// Passes a handle; attributes of the receiver's.
fn passed(pair: &Pair, handle: Handle, flags: u32) -> NtResult<u32> {
    let body =
        AlpcHandleAttr { flags: flags | ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS, handle, ..Default::default() };
    let mut attributes = Attributes::new().with(ALPC_MESSAGE_HANDLE_ATTRIBUTE, &body);
    pair.client.datagram(&mut text(b"")?, Some(&mut attributes))?;
    let received = expect(&pair.server, LPC_DATAGRAM)?.attributes.take_handle();
    received.map_or(Err(STATUS_INVALID_HANDLE), |handle| {
        basic_information(handle.raw()).map(|information| information.attributes)
    })
}

fn handles(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let plain = Event::notification(false)?;
    let copied = calls::duplicate(
        Handle::CURRENT_PROCESS,
        plain.handle(),
        Handle::CURRENT_PROCESS,
        0,
        OBJ_INHERIT,
        libnt::abi::ob::DUPLICATE_SAME_ACCESS,
    )?;
    let inherited = OwnedHandle::new(copied);
    for (handle, flags, expected) in [
        (plain.handle(), 0, 0),
        (plain.handle(), ALPC_HANDLEFLG_DUPLICATE_INHERIT, OBJ_INHERIT),
        (plain.handle(), ALPC_HANDLEFLG_DUPLICATE_SAME_ATTRIBUTES, 0),
        (inherited.raw(), 0, 0),
        (inherited.raw(), ALPC_HANDLEFLG_DUPLICATE_SAME_ATTRIBUTES, OBJ_INHERIT),
        (inherited.raw(), ALPC_HANDLEFLG_DUPLICATE_INHERIT, OBJ_INHERIT),
    ] {
        test.equal(
            format_args!("attributes with flags {flags:#x}"),
            passed(&pair, handle, flags),
            Ok(expected),
        );
    }
    let known = ALPC_HANDLEFLG_DUPLICATE_SAME_ACCESS
        | ALPC_HANDLEFLG_DUPLICATE_SAME_ATTRIBUTES
        | ALPC_HANDLEFLG_INDIRECT
        | ALPC_HANDLEFLG_DUPLICATE_INHERIT;
    for flag in (0..32).map(|bit| 1 << bit).filter(|flag| known & flag == 0) {
        let refused = passed(&pair, plain.handle(), flag);
        test.refused(format_args!("flag {flag:#x}"), refused, STATUS_INVALID_PARAMETER);
    }
    Ok(())
}

/// A token has a type code, so it can be let through and kept out.
fn tokens(test: &mut Test) -> NtResult {
    const TOKEN: u32 = 0x200;
    let token = Token::of_process(Handle::CURRENT_PROCESS, TOKEN_QUERY)?;
    for (types, expected) in [(0, Ok(())), (TOKEN, Ok(())), (0x10, Err(STATUS_ACCESS_DENIED))] {
        let attributes = AlpcPortAttributes { dup_object_types: types, ..Default::default() };
        let pair = Pair::on(ConnectionPort::create_with(&attributes)?)?;
        let mut passing = Attributes::passing(token.handle(), None);
        let sent = pair.client.datagram(&mut text(b"")?, Some(&mut passing));
        test.equal(format_args!("a token where {types:#x} may pass"), sent, expected);
        if expected.is_ok() {
            let mut got = get(pair.server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
            test.equal("its code", got.attributes.handle().map(|body| body.object_type), Some(TOKEN));
            drop(got.attributes.take_handle());
        }
    }
    Ok(())
}

/// Ports post packets that were never allocated, which is what NT's lookaside lists of packets are there for.
fn posting_takes_no_memory(test: &mut Test) -> NtResult {
    const COUNT: u64 = 2000;
    let object = IoCompletion::create(1)?;
    let pair = Pair::new()?;
    pair.server.associate(&object, 1)?;
    let flood = |client: &Port| -> NtResult<u64> {
        let before = pool()?;
        for _ in 0..COUNT {
            client.datagram(&mut text(b"12345678")?, None)?;
        }
        Ok(pool()? - before)
    };
    test.equal("charged for messages that post", flood(&pair.client)?, COUNT * (192 + 8));
    test.equal("packets", object.depth()?, COUNT as i32);
    let mut packets = 0;
    while object.remove(Some(Duration::ZERO))?.is_some() {
        packets += 1;
    }
    test.equal("all of them", packets, COUNT);
    let silent = Pair::new()?;
    test.equal("for messages that do not", flood(&silent.client)?, COUNT * (192 + 8));
    Ok(())
}
