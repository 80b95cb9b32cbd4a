//! The ends of views: deleted, closed with their ports, gone with their processes, all at once.

use super::secure::writable;
use super::{PORT, fill, filled, get_view, is_gone, protection, show};
use crate::holding::*;
use crate::pair::*;
use alloc::sync::Arc;
use libnt::abi::alpc::*;
use libnt::abi::mm::*;
use libnt::abi::ob::PORT_CONNECT;
use libnt::alpc::{Attributes, ConnectionPort};
use libnt::handle::duplicate;
use libnt::prelude::*;
use libnt::sys::{alpc_section, calls};
use libnt::thread;
use testkit::Test;

/// Something to do at the same time as other things.
type Act = Box<dyn FnOnce() -> NtResult + Send>;

pub fn deleted_while_shown(test: &mut Test) -> NtResult {
    for flags in [0, ALPC_VIEWFLG_AUTO_RELEASE] {
        for is_secure in [false, true] {
            let pair = Pair::new()?;
            let section = pair.client.section(PAGE_SIZE, is_secure)?;
            let view = section.view(PAGE_SIZE)?;
            fill(&view, 4)?;
            // The sender's goes while the message is queued, and its section with it.
            show(&pair.client, &view, flags)?;
            drop((view, section));
            let (got, seen) = get_view(pair.server.handle(), LPC_DATAGRAM)?;
            test.equal("the memory is still there", filled(&seen, 4), Ok(true));
            // The receiver's goes while it holds the message.
            let base = seen.base();
            drop(seen);
            let memory = calls::query_memory(Handle::CURRENT_PROCESS, base)?;
            test.equal("and goes", memory.state, MEM_FREE);
            let held = flags != 0 || is_secure;
            let released = answer(pair.server.handle(), got.header.message_id, None);
            test.equal("the message is given back", released.is_ok(), held);
        }
    }
    Ok(())
}

/// Ports with views close in every order.
pub fn ports_close(test: &mut Test) -> NtResult {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for order in ORDERS {
        for stage in ["queued", "received", "asked"] {
            for is_secure in [false, true] {
                let Pair { server, accepted, client } = Pair::new()?;
                let section = client.section(2 * PAGE_SIZE, is_secure)?;
                let view = section.view(PAGE_SIZE)?;
                let made = view.base();
                let attribute = view.attribute(ALPC_VIEWFLG_AUTO_RELEASE);
                view.forget();
                drop(section);
                let mut asker = None;
                // The section is gone by name: show it before, under its own name.
                let section = client.section(PAGE_SIZE, is_secure)?;
                let shown = section.view(PAGE_SIZE)?;
                let bases = [made, shown.base()];
                let attribute = AlpcDataViewAttr { flags: attribute.flags, ..shown.attribute(0) };
                let mut attributes = Attributes::showing(&attribute);
                match stage {
                    "asked" => asker = Some(ask(client.handle(), attributes)?),
                    _ => client.datagram(&mut text(b"")?, Some(&mut attributes))?,
                }
                let mut received = None;
                if stage != "queued" {
                    let got = get(server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
                    received = got.attributes.view().map(|view| view.view_base);
                    test.check("a view was received", received.is_some());
                }
                shown.forget();
                drop(section);
                let mut ports = [
                    Some(duplicate(client.handle(), None)?),
                    Some(duplicate(accepted.handle(), None)?),
                    Some(duplicate(server.handle(), None)?),
                ];
                drop((client, accepted, server));
                for port in order {
                    ports[port] = None;
                    if let Some(asker) = asker.take_if(|_| port > 0) {
                        let asked = asker.join()?;
                        test.refused("asking whom the port closed for", asked, STATUS_PORT_DISCONNECTED);
                    }
                }
                if let Some(asker) = asker {
                    test.check("asking on one's closed port", asker.join()?.is_err());
                }
                for base in bases.into_iter().chain(received) {
                    let memory = calls::query_memory(Handle::CURRENT_PROCESS, base)?;
                    test.equal(format_args!("a view of closed ports, {stage}"), memory.state, MEM_FREE);
                }
            }
        }
    }
    Ok(())
}

pub fn processes_die(test: &mut Test) -> NtResult {
    // Who shows a view: its receiver keeps what it sees, until it gives it back.
    for received in [false, true] {
        let server = ConnectionPort::create()?;
        let child = child_of("views/show").give(PORT, server.handle(), Some(PORT_CONNECT), [0; 4]).spawn()?;
        let request = receive_within(&server, LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
        let _accepted = accept(&server, &request, 0, b"")?;
        libnt::wait::one(server.handle(), Some(LONG))?;
        let mut seen = None;
        if received {
            let view = get_view(server.handle(), LPC_DATAGRAM)?.1;
            test.equal("what a child shows", filled(&view, 6), Ok(true));
            test.ok("writing to it", fill(&view, 7));
            seen = Some(view);
        }
        child.terminate(STATUS_CANCELLED)?;
        child.wait()?;
        match seen {
            Some(view) => {
                expect(&server, LPC_PORT_CLOSED)?;
                test.check("it goes with the connection", is_gone(&view));
                view.forget();
            }
            None => {
                let got = get(server.handle(), LONG)?.ok_or(STATUS_IO_TIMEOUT)?;
                test.equal("what was sent before the end", got.header.kind(), LPC_DATAGRAM);
            }
        }
    }
    // Who receives a secure view, on a port that others have too: the sender gets its own back with the message.
    let pair = Pair::new()?;
    let section = pair.client.section(4 * PAGE_SIZE, true)?;
    let view = section.view(4 * PAGE_SIZE)?;
    for _ in 0..2 {
        show(&pair.client, &view, 0)?;
        let child = child_of("views/take").give(PORT, pair.server.handle(), None, [0; 4]).spawn()?;
        let id = child.wait()?.0;
        test.equal("what it wrote", filled(&view, 8), Ok(true));
        test.equal("its message is still out", protection(view.base()), Ok(PAGE_READONLY));
        test.ok("it is given back for it", answer(pair.server.handle(), id, None));
        writable(test, &view, "after that");
    }
    Ok(())
}

fn closing(ports: impl Send + 'static) -> Act {
    Box::new(move || {
        drop(ports);
        Ok(())
    })
}

/// The ways of a view to go, at the same time.
pub fn races(test: &mut Test) -> NtResult {
    for round in 0..40 {
        let Pair { server, accepted, client } = Pair::new()?;
        let section = client.section(4 * PAGE_SIZE, round % 2 == 0)?;
        let view = section.view(4 * PAGE_SIZE)?;
        show(&client, &view, ALPC_VIEWFLG_AUTO_RELEASE)?;
        let (got, seen) = get_view(server.handle(), LPC_DATAGRAM)?;
        let (id, bases) = (got.header.message_id, [view.base(), seen.base()]);
        view.forget();
        seen.forget();
        drop(section);
        let (server, client) = (Arc::new(server), Arc::new(client));
        let mut threads = Vec::new();
        let mut race = |what: Act| -> NtResult {
            threads.push(thread::spawn(what)?);
            Ok(())
        };
        let port = server.clone();
        race(Box::new(move || answer(port.handle(), id, Some(&mut Attributes::giving_up_the_view()))))?;
        let port = server.clone();
        // SAFETY: nothing uses the views any more; so below.
        race(Box::new(move || unsafe { alpc_section::delete_section_view(port.handle(), bases[1]) }))?;
        let port = client.clone();
        // SAFETY: as above.
        race(Box::new(move || unsafe { alpc_section::delete_section_view(port.handle(), bases[0]) }))?;
        match round % 4 {
            0 => race(closing((accepted, client)))?,
            1 => race(closing((server, client)))?,
            2 => race(Box::new(move || client.disconnect()))?,
            _ => race(Box::new(move || accepted.disconnect()))?,
        }
        for thread in threads {
            // Who comes late is refused.
            let _ = thread.join()?;
        }
        for base in bases {
            let memory = calls::query_memory(Handle::CURRENT_PROCESS, base)?;
            test.equal("a view after the race", memory.state, MEM_FREE);
        }
    }
    Ok(())
}
