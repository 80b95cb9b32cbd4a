//! Completion lists: messages that the kernel writes into this process's memory, and memory that is spoilt.

use crate::pair::*;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use libnt::abi::alpc::*;
use libnt::abi::completion::*;
use libnt::alpc::{Attributes, CompletionList, ConnectionPort, Message, Port};
use libnt::completion::IoCompletion;
use libnt::event::Event;
use libnt::memory::Pages;
use libnt::nt::*;
use libnt::prelude::*;
use libnt::sys::calls;
use libnt::thread;
use testkit::{Random, Test};
use zerocopy::IntoBytes;

/// The tests of this part.
pub fn run(test: &mut Test) {
    test.case("list/messages", messages);
    test.case("list/attributes", attributes);
    test.case("list/requests", requests);
    test.case("list/full", full);
    test.case("list/too-large", too_large);
    test.case("list/wrong-arguments", wrong_arguments);
    test.case("list/rundown", rundown);
    test.case("list/concurrency", concurrency);
    test.case("list/workers", workers);
    test.case("list/closed-port", closed_port);
    test.case("list/spoilt", spoilt);
    test.race("list/spoilt-meanwhile", spoilt_meanwhile);
    test.case("list/unmapped", unmapped);
    test.case("list/read-only", read_only);
}

const NOW: Option<Duration> = Some(Duration::ZERO);
const SIZE: u32 = 0x4000;

/// A pair whose connection port posts to an object and has a completion list. The list goes before the port.
struct Served {
    list: CompletionList,
    object: IoCompletion,
    pair: Pair,
}

impl Served {
    fn new(size: u32, concurrency: u32, attributes: u32) -> NtResult<Self> {
        let pair = Pair::new()?;
        let object = IoCompletion::create(1)?;
        pair.server.associate(&object, 1)?;
        let list = AlpcRegisterCompletionList(pair.server.handle(), size, concurrency, attributes)?;
        Ok(Self { list, object, pair })
    }

    fn send(&self, payload: &[u8]) -> NtResult {
        self.pair.client.datagram(&mut text(payload)?, None)
    }

    /// Whether there was a packet.
    fn packet(&self) -> NtResult<bool> {
        self.object.remove(NOW).map(|packet| packet.is_some())
    }

    /// Payloads of all messages in the list, which are given back.
    fn drain(&self) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| AlpcGetMessageFromCompletionList(&self.list))
            .map(|message| message.payload().to_vec())
            .collect()
    }
}

fn messages(test: &mut Test) -> NtResult {
    let s = Served::new(SIZE, 10, 0)?;
    test.check("an empty list", s.list.take().is_none());
    for number in 0..5u8 {
        s.send(&[number; 20])?;
    }
    test.check("a packet", s.packet()?);
    let mut taken = Vec::new();
    while let Some(message) = s.list.take() {
        let header = message.header();
        test.equal("type", header.message_type, LPC_DATAGRAM);
        test.equal("lengths", (header.data_length, header.total_length), (20, 0x28 + 20));
        test.equal("sender", header.client_id, thread::current_id());
        test.equal("attributes", AlpcGetCompletionListMessageAttributes(&message).len(), 0);
        test.equal("payload", message.payload(), &[taken.len() as u8; 20][..]);
        taken.push(message);
    }
    test.equal("messages", taken.len(), 5);
    test.equal("outstanding", AlpcGetOutstandingCompletionListMessageCount(&s.list), 5);
    let last = taken.last().map_or(0, |message| message.header().message_id);
    test.equal("the last one", AlpcGetCompletionListLastMessageInformation(&s.list), (last, 0));
    taken.into_iter().for_each(AlpcFreeCompletionListMessage);
    test.equal("given back", s.list.outstanding(), 0);
    test.check("the queue is empty", poll(&s.pair.server)?.is_none());
    test.equal("workers", (s.list.add_worker(), s.list.add_worker(), s.list.remove_worker()), (1, 2, 1));
    // Far more than the ring has entries.
    for round in 0..200u32 {
        s.send(&round.to_le_bytes())?;
        s.send(&[7; 300])?;
        while s.packet()? {}
        let expected = vec![round.to_le_bytes().to_vec(), vec![7; 300]];
        if !test.equal(format_args!("round {round}"), s.drain(), expected) {
            break;
        }
    }
    Ok(())
}

fn attributes(test: &mut Test) -> NtResult {
    let flags = ALPC_MESSAGE_CONTEXT_ATTRIBUTE | ALPC_MESSAGE_HANDLE_ATTRIBUTE;
    let s = Served::new(SIZE, 1, flags)?;
    s.send(b"plain")?;
    let event = Event::notification(true)?;
    let mut attributes = Attributes::passing(event.handle(), None);
    s.pair.client.datagram(&mut text(b"with a handle")?, Some(&mut attributes))?;
    test.check("a packet", s.packet()?);
    let message = s.list.take().ok_or(STATUS_NO_MORE_ENTRIES)?;
    let context = message.context().unwrap_or_default();
    test.equal("port context", context.port_context, CONTEXT);
    test.equal("message id", context.message_id, message.header().message_id);
    test.check("no handle", message.handle().is_none());
    test.equal("size of the attributes", message.attributes().len(), header_size(flags));
    let with = s.list.take().ok_or(STATUS_NO_MORE_ENTRIES)?;
    let handle = with.handle().map(|attribute| OwnedHandle::new(attribute.handle));
    test.check(
        "the handle",
        handle.is_some_and(|handle| libnt::handle::same_object(handle.raw(), event.handle())),
    );
    test.equal("its payload", with.payload(), &b"with a handle"[..]);
    Ok(())
}

fn requests(test: &mut Test) -> NtResult {
    let Served { list, object, pair: Pair { server, accepted, client } } = Served::new(SIZE, 1, 0)?;
    let asker = thread::spawn(move || -> NtResult<Vec<u8>> {
        let mut message = text(b"question")?;
        client.request(&mut message, None, Some(LONG))?;
        Ok(message.payload().to_vec())
    })?;
    let id = loop {
        object.remove(Some(LONG))?;
        if let Some(message) = list.take() {
            test.equal("the request", message.payload(), &b"question"[..]);
            break message.header().message_id;
        }
    };
    // It was given back, and can still be answered.
    reply(&server, id, b"answer")?;
    test.equal("the answer", asker.join()?, Ok(b"answer".to_vec()));
    drop((list, accepted));
    Ok(())
}

fn full(test: &mut Test) -> NtResult {
    const COUNT: usize = 60;
    let s = Served::new(0x1000, 1, 0)?;
    for number in 0..COUNT {
        s.send(&[number as u8; 200])?;
    }
    let mut seen = Vec::new();
    let mut rounds = 0;
    while s.packet()? {
        let taken: Vec<_> = core::iter::from_fn(|| s.list.take()).collect();
        test.check("some fit, not all", !taken.is_empty() && taken.len() < COUNT / 2);
        seen.extend(taken.iter().map(|message| message.payload()[0]));
        rounds += 1;
        // While they are out nothing more comes, and nobody is woken for nothing.
        if rounds == 1 {
            test.check("no packet while it is full", !s.packet()?);
            test.check("no message while it is full", s.list.take().is_none());
        }
    }
    test.equal("all came, in order", seen, (0..COUNT as u8).collect::<Vec<_>>());
    Ok(())
}

fn too_large(test: &mut Test) -> NtResult {
    let s = Served::new(0x1000, 4, 0)?;
    let mut large = Message::new(0x2000);
    let mut small = 0u8;
    for round in 0..3 {
        // One that is too large alone, then between others.
        for _ in 0..round {
            small += 1;
            s.send(&[small; 10])?;
        }
        large.set_length(0x2000)?;
        s.pair.client.datagram(&mut large, None)?;
        small += 1;
        s.send(&[small; 10])?;
        test.check("a packet", s.packet()?);
        let expected: Vec<_> = (small - round..=small).map(|number| vec![number; 10]).collect();
        test.equal("the others pass it", s.drain(), expected);
        let mut message = Message::new(0x2000);
        let got = s.pair.server.receive(&mut message, &mut Attributes::new(), NOW)?;
        test.equal("received directly", (got, message.payload().len()), (true, 0x2000));
        while s.packet()? {}
        test.check("no more", s.list.take().is_none() && poll(&s.pair.server)?.is_none());
    }
    // The largest that the list can take, if it is empty, does not pass: it waits, and those behind it.
    let room = s.list.data_size() - 0x28;
    s.send(b"out")?;
    test.check("a packet", s.packet()?);
    let out = s.list.take();
    large.set_length(room)?;
    s.pair.client.datagram(&mut large, None)?;
    s.send(b"behind")?;
    test.check("no packet is lost", s.packet()?);
    test.check("nothing passes it", s.list.take().is_none());
    drop(out);
    while s.packet()? {}
    test.equal("it comes", s.list.take().map(|message| message.payload().len()), Some(room));
    while s.packet()? {}
    test.equal("then the next", s.drain(), vec![b"behind".to_vec()]);
    large.set_length(room + 1)?;
    s.pair.client.datagram(&mut large, None)?;
    test.check("a packet", s.packet()?);
    test.check("one byte more does not come", s.list.take().is_none());
    let mut message = Message::new(0x2000);
    test.check("but directly", s.pair.server.receive(&mut message, &mut Attributes::new(), NOW)?);
    Ok(())
}

fn register(port: Handle, information: &AlpcPortCompletionListInformation) -> NtResult {
    calls::set_port(port, ALPC_REGISTER_COMPLETION_LIST_INFORMATION, information.as_bytes())
}

fn wrong_arguments(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let port = pair.server.handle();
    let pages = Pages::allocate(0x11_0000)?;
    let good = AlpcPortCompletionListInformation {
        buffer: pages.bytes().as_ptr() as u64,
        size: 0x1000,
        concurrency_count: 1,
        attribute_flags: 0,
        reserved: 0,
    };
    test.refused("a port that posts nowhere", register(port, &good), STATUS_PORT_NOT_SET);
    for class in [ALPC_UNREGISTER_COMPLETION_LIST_INFORMATION, ALPC_COMPLETION_LIST_RUNDOWN_INFORMATION] {
        test.refused("no tie", calls::set_port(port, class, &[]), STATUS_PORT_NOT_SET);
    }
    let object = IoCompletion::create(1)?;
    pair.server.associate(&object, 1)?;
    for class in [ALPC_UNREGISTER_COMPLETION_LIST_INFORMATION, ALPC_COMPLETION_LIST_RUNDOWN_INFORMATION] {
        test.refused("no list", calls::set_port(port, class, &[]), STATUS_INVALID_PARAMETER);
        test.refused("data", calls::set_port(port, class, &[0; 4]), STATUS_INFO_LENGTH_MISMATCH);
    }
    let adjust = ALPC_ADJUST_COMPLETION_LIST_CONCURRENCY_COUNT_INFORMATION;
    test.refused("no list", calls::set_port(port, adjust, &[1, 0, 0, 0]), STATUS_INVALID_PARAMETER);
    test.refused("no number", calls::set_port(port, adjust, &[]), STATUS_INFO_LENGTH_MISMATCH);
    let invalid = [
        ("an odd address", AlpcPortCompletionListInformation { buffer: good.buffer + 8, ..good }),
        ("size 0", AlpcPortCompletionListInformation { size: 0, ..good }),
        ("a small size", AlpcPortCompletionListInformation { size: 0xFFF, ..good }),
        ("a large size", AlpcPortCompletionListInformation { size: 0x10_0001, ..good }),
        ("the largest size", AlpcPortCompletionListInformation { size: u32::MAX, ..good }),
        ("no thread", AlpcPortCompletionListInformation { concurrency_count: 0, ..good }),
        ("unknown attributes", AlpcPortCompletionListInformation { attribute_flags: 1, ..good }),
        ("the reserved field", AlpcPortCompletionListInformation { reserved: 1, ..good }),
    ];
    for (what, information) in invalid {
        test.refused(what, register(port, &information), STATUS_INVALID_PARAMETER);
    }
    for buffer in [0, 0x1000, 0x7FFF_FFFF_F000, 0x8000_0000_0000, 0xFFFF_8000_0000_0000, u64::MAX - 127] {
        let refused = register(port, &AlpcPortCompletionListInformation { buffer, ..good });
        test.refused(format_args!("a region at {buffer:#x}"), refused, STATUS_ACCESS_VIOLATION);
    }
    let short = &good.as_bytes()[..16];
    let refused = calls::set_port(port, ALPC_REGISTER_COMPLETION_LIST_INFORMATION, short);
    test.refused("a short structure", refused, STATUS_INFO_LENGTH_MISMATCH);
    test.ok("after all that", register(port, &good));
    test.refused("twice", register(port, &good), STATUS_PORT_ALREADY_HAS_COMPLETION_LIST);
    test.refused("no threads", calls::set_port(port, adjust, &[0; 4]), STATUS_INVALID_PARAMETER);
    test.ok("the end", calls::set_port(port, ALPC_UNREGISTER_COMPLETION_LIST_INFORMATION, &[]));
    test.ok("and again", register(port, &AlpcPortCompletionListInformation { size: 0x10_0000, ..good }));
    test.ok("the end", calls::set_port(port, ALPC_UNREGISTER_COMPLETION_LIST_INFORMATION, &[]));
    Ok(())
}

fn rundown(test: &mut Test) -> NtResult {
    let s = Served::new(SIZE, 1, 0)?;
    s.send(b"before")?;
    test.check("a packet", s.packet()?);
    AlpcRundownCompletionList(&s.list)?;
    s.send(b"after")?;
    test.check("a packet", s.packet()?);
    test.equal("what was there can be taken", s.drain(), vec![b"before".to_vec()]);
    test.equal("the rest comes directly", poll(&s.pair.server)?.map(|m| m.payload), Some(b"after".to_vec()));
    let Served { list, object, pair } = s;
    AlpcUnregisterCompletionList(list)?;
    pair.client.datagram(&mut text(b"no list")?, None)?;
    test.check("packets go on", object.remove(NOW)?.is_some());
    test.check("the message is queued", poll(&pair.server)?.is_some());
    let list = CompletionList::register(pair.server.handle(), SIZE, 1, 0)?;
    pair.client.datagram(&mut text(b"new list")?, None)?;
    object.remove(NOW)?;
    test.equal("a new list", list.take().map(|m| m.payload().to_vec()), Some(b"new list".to_vec()));
    Ok(())
}

fn concurrency(test: &mut Test) -> NtResult {
    let s = Served::new(SIZE, 2, 0)?;
    for _ in 0..10 {
        s.send(b"x")?;
    }
    test.equal("packets for two threads", s.object.depth()?, 2);
    AlpcAdjustCompletionListConcurrencyCount(&s.list, 5)?;
    for _ in 0..10 {
        s.send(b"x")?;
    }
    test.equal("packets for five", s.object.depth()?, 5);
    test.refused("for none", s.list.adjust_concurrency(0), STATUS_INVALID_PARAMETER);
    test.check("a packet", s.packet()?);
    test.equal("all messages", s.drain().len(), 20);
    Ok(())
}

/// Threads that share a list, and blocking clients.
fn workers(test: &mut Test) -> NtResult {
    const CLIENTS: usize = 3;
    const ROUNDS: usize = 50;
    const STOP: u64 = 9;
    let server = Arc::new(ConnectionPort::create()?);
    let object = Arc::new(IoCompletion::create(2)?);
    let pairs = (0..CLIENTS as u64).map(|i| connect(&server, i)).collect::<NtResult<Vec<_>>>()?;
    let (accepted, clients): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    server.associate(&object, 1)?;
    let list = CompletionList::register(server.handle(), 0x1000, 2, ALPC_MESSAGE_CONTEXT_ATTRIBUTE)?;
    let list = Arc::new(list);
    let threads = (0..3)
        .map(|_| {
            let (server, object, list) = (server.clone(), object.clone(), list.clone());
            thread::spawn(move || -> NtResult<usize> {
                let mut answered = 0;
                loop {
                    let Some(packet) = object.remove(None)? else { continue };
                    if packet.key_context == STOP {
                        return Ok(answered);
                    }
                    while let Some(message) = list.take() {
                        let id = message.header().message_id;
                        let mut answer = text(message.payload())?;
                        drop(message);
                        answer.set_reply_to(id);
                        server.reply(&mut answer, None)?;
                        answered += 1;
                    }
                }
            })
        })
        .collect::<NtResult<Vec<_>>>()?;
    let askers = clients
        .into_iter()
        .map(|client| {
            thread::spawn(move || -> NtResult<(usize, Port)> {
                let mut right = 0;
                for round in 0..ROUNDS {
                    let mut message = text(&[round as u8; 100])?;
                    client.request(&mut message, None, Some(Duration::from_secs(600)))?;
                    right += usize::from(message.payload() == [round as u8; 100]);
                }
                // The end of the connection is a message too, which nobody could answer.
                Ok((right, client))
            })
        })
        .collect::<NtResult<Vec<_>>>()?;
    let mut clients = Vec::new();
    for asker in askers {
        let (right, client) = asker.join()??;
        test.equal("right answers", right, ROUNDS);
        clients.push(client);
    }
    for _ in &threads {
        object.post(STOP, 0, STATUS_SUCCESS, 0)?;
    }
    let mut answered = 0;
    for thread in threads {
        answered += thread.join()??;
    }
    test.equal("all requests", answered, CLIENTS * ROUNDS);
    test.equal("all given back", list.outstanding(), 0);
    drop((accepted, clients, list));
    Ok(())
}

fn closed_port(test: &mut Test) -> NtResult {
    let Served { list, object, pair: Pair { server, accepted, client } } = Served::new(SIZE, 1, 0)?;
    client.datagram(&mut text(b"x")?, None)?;
    test.check("a packet", object.remove(NOW)?.is_some());
    client.datagram(&mut text(b"y")?, None)?;
    drop((server, accepted));
    test.check("no packets of a closed port", object.remove(NOW)?.is_none());
    test.equal("what was there", list.take().map(|m| m.payload().to_vec()), Some(b"x".to_vec()));
    test.check("and no more", list.take().is_none());
    drop(client);
    Ok(())
}

/// Writes a word of the region, as no sane program would.
fn spoil(region: (u64, usize), word: usize, value: u64) {
    let (base, size) = region;
    let at = base + (word * 8 % size) as u64;
    // SAFETY: an aligned word of the list's pages, which live as long as the list that the callers hold; the program
    // spoils its own list, and takes nothing from it any more.
    unsafe { AtomicU64::from_ptr(at as *mut u64) }.store(value, Ordering::SeqCst);
}

fn spoilt(test: &mut Test) -> NtResult {
    let mut random = Random::new(77);
    for round in 0..30u64 {
        let s = Served::new(0x1000, 1, 0xFE00_0000)?;
        let region = s.list.region();
        for step in 0..10 {
            s.send(&[1; 100])?;
            match round % 4 {
                // Everything, with ones or noise.
                0 => (0..region.1 / 8).for_each(|word| spoil(region, word, u64::MAX)),
                1 => (0..region.1 / 8).for_each(|word| spoil(region, word, random.number())),
                2 => (0..region.1 / 8).for_each(|word| spoil(region, word, 0)),
                // Here and there.
                _ => (0..20).for_each(|_| spoil(region, random.below(region.1 / 8), random.number())),
            }
            s.object.remove(NOW)?;
            if step == 9 {
                // What the list does not take, the port still has.
                while poll(&s.pair.server)?.is_some() {}
            }
        }
    }
    test.check("the kernel goes on", poll(&Pair::new()?.server)?.is_none());
    Ok(())
}

fn spoilt_meanwhile(test: &mut Test) -> NtResult {
    let s = Served::new(0x2000, 1, ALPC_MESSAGE_CONTEXT_ATTRIBUTE)?;
    let (region, stop) = (s.list.region(), Arc::new(AtomicBool::new(false)));
    let stops = stop.clone();
    let scribbler = thread::spawn(move || {
        let mut random = Random::new(5);
        while !stops.load(Ordering::SeqCst) {
            spoil(region, random.below(region.1 / 8), random.number());
            // The state and the bitmap most of all.
            spoil(region, 0x80 / 8, random.number());
        }
    })?;
    for _ in 0..400 {
        s.send(&[1; 60])?;
        s.object.remove(NOW)?;
    }
    stop.store(true, Ordering::SeqCst);
    scribbler.join()?;
    while poll(&s.pair.server)?.is_some() {}
    test.ok("the end", s.list.unregister());
    Ok(())
}

fn unmapped(test: &mut Test) -> NtResult {
    let pair = Pair::new()?;
    let object = IoCompletion::create(1)?;
    pair.server.associate(&object, 1)?;
    let pages = Pages::allocate(0x1000)?;
    let information = AlpcPortCompletionListInformation {
        buffer: pages.bytes().as_ptr() as u64,
        size: 0x1000,
        concurrency_count: 1,
        attribute_flags: 0,
        reserved: 0,
    };
    register(pair.server.handle(), &information)?;
    drop(pages);
    pair.client.datagram(&mut text(b"x")?, None)?;
    test.check("a packet comes", object.remove(NOW)?.is_some());
    test.check("the message is still queued", poll(&pair.server)?.is_some());
    // A list that the kernel has given up stays registered.
    let again = register(pair.server.handle(), &information);
    test.check("a region that is gone", again.is_err());
    test.ok(
        "the end",
        calls::set_port(pair.server.handle(), ALPC_UNREGISTER_COMPLETION_LIST_INFORMATION, &[]),
    );
    Ok(())
}

fn read_only(test: &mut Test) -> NtResult {
    use libnt::abi::mm::{PAGE_READONLY, PAGE_READWRITE, PAGE_SIZE};
    let s = Served::new(0x2000, 1, 0)?;
    let (base, _) = s.list.region();
    let me = Handle::CURRENT_PROCESS;
    // SAFETY: nobody writes there until it is writable again, but the kernel, which must see that it cannot.
    unsafe { calls::protect_memory(me, base + PAGE_SIZE, PAGE_SIZE, PAGE_READONLY) }?;
    for _ in 0..40 {
        s.send(&[3; 200])?;
    }
    test.check("a packet", s.packet()?);
    let written = s.drain().len();
    test.check("what lay before the page was written", written < 40);
    let mut queued = 0;
    while poll(&s.pair.server)?.is_some() {
        queued += 1;
    }
    test.equal("the rest is queued", written + queued, 40);
    // SAFETY: as it was.
    unsafe { calls::protect_memory(me, base + PAGE_SIZE, PAGE_SIZE, PAGE_READWRITE) }?;
    Ok(())
}
