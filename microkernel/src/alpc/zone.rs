//! Message zones: memory of a port's owner in which payloads lie that wait to be received on the port.
//!
//! A zone is a part of a section that its owner has mapped (NtAlpcSetInformation class 5). It keeps the section, so its
//! frames stay whatever becomes of the mapping, the port or the process, and are reached through the direct map. A
//! message that is sent to the port takes a [`Block`] and has its payload there instead of in the pool: it is charged
//! to nobody, because the memory is. Without a block that is free it lies in the pool.
//!
//! Ring 3 can write the memory at any time, and so change payloads that it will receive itself. Lengths, headers and
//! attributes are the kernel's; nothing is ever read from a zone but the bytes that are handed out.

use crate::alpc::attributes::Sending;
use crate::alpc::later::{Later, Link};
use crate::alpc::port::Port;
use crate::arch::paging::PAGE;
use crate::arch::usercopy;
use crate::ke::sched;
use crate::kref::Ref;
use crate::mm::phys_to_virt;
use crate::mm::section::Section;
use crate::quota::{Charge, Kind};
use crate::sync::{Lock, rank};
use abi::NtStatus;
use abi::alpc::{ALPC_MESSAGE_ZONE_LARGEST, ALPC_MESSAGE_ZONE_SMALLEST, AlpcPortMessageZoneInformation};
use abi::status::*;
use alloc::vec::Vec;
use antares_core::alpc::Role;
use antares_core::granules::Granules;

/// Bytes that payloads take multiples of.
const GRANULE: u64 = 64;

/// See the module head.
pub struct Zone {
    /// Its pages.
    frames: Vec<u64>,
    granules: Lock<Granules, { rank::LEAF }>,
    /// For the last message in a zone that no port has any more.
    pub link: Link,
    /// Owner of the frames.
    _section: Ref<Section>,
    _charge: Charge,
}

impl Zone {
    /// A zone in memory of the current process.
    ///
    /// # Errors
    /// STATUS_INVALID_PARAMETER: size or alignment. Those of
    /// [`AddressSpace::section_behind`](crate::mm::space::AddressSpace::section_behind).
    fn new(information: &AlpcPortMessageZoneInformation) -> Result<Ref<Self>, NtStatus> {
        let AlpcPortMessageZoneInformation { buffer, size, .. } = *information;
        let in_pages = buffer.is_multiple_of(PAGE) && u64::from(size).is_multiple_of(PAGE);
        if !in_pages || !(ALPC_MESSAGE_ZONE_SMALLEST..=ALPC_MESSAGE_ZONE_LARGEST).contains(&size) {
            return Err(STATUS_INVALID_PARAMETER);
        }
        let size = u64::from(size);
        let process = &sched::current().process;
        let (section, offset) = process.space.section_behind(buffer, size)?;
        let (pages, count) = (size / PAGE, (size / GRANULE) as u32);
        let bytes = size_of::<Self>() as u64 + pages * 8 + Granules::bytes(count);
        let charge = Charge::new(&process.quota(), Kind::Pool, bytes)?;
        let mut frames = Vec::new();
        frames.try_reserve_exact(pages as usize).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        for page in 0..pages {
            frames.push(section.frame(offset + page * PAGE)?);
        }
        let granules = Granules::new(count).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)?;
        let granules = Lock::new(granules);
        Ref::try_new(Self { frames, granules, link: Link::new(), _section: section, _charge: charge })
    }

    /// Calls `copy` with the kernel address, the place in the whole, and the length of each part of `length` bytes from
    /// `offset` on that lies in one page.
    fn for_parts(
        &self,
        offset: u64,
        length: usize,
        mut copy: impl FnMut(*mut u8, u64, usize) -> bool,
    ) -> bool {
        let mut done = 0;
        while done < length as u64 {
            let (at, rest) = (offset + done, length as u64 - done);
            let part = rest.min(PAGE - at % PAGE);
            let Some(frame) = self.frames.get((at / PAGE) as usize) else { return false };
            if !copy(phys_to_virt(frame + at % PAGE), done, part as usize) {
                return false;
            }
            done += part;
        }
        true
    }
}

const fn granules_of(length: usize) -> u32 {
    (length as u64).div_ceil(GRANULE) as u32
}

/// A payload in a zone.
pub struct Block {
    zone: Ref<Zone>,
    first: u32,
    length: usize,
}

impl Block {
    /// Copies a payload that is sent into the zone of the port that it is for. `None` when there is no zone or no room, or
    /// nothing to copy. STATUS_ACCESS_VIOLATION: it cannot be read.
    pub fn capture(sending: &Sending, address: u64, length: usize) -> Result<Option<Self>, NtStatus> {
        if length == 0 || sending.group.zones.is_empty() {
            return Ok(None);
        }
        let Some(zone) = receiver(sending) else { return Ok(None) };
        let first = zone.granules.lock().take(granules_of(length));
        let Some(first) = first else { return Ok(None) };
        let block = Self { zone, first, length };
        let copied = block.zone.for_parts(block.offset(), length, |to, at, part| {
            // SAFETY: `part` bytes of a frame of the section that the zone keeps, in the direct map. Ring 3 may reach them
            // too; no reference does.
            unsafe { usercopy::from_user_to(to, address.wrapping_add(at), part) }
        });
        if copied { Ok(Some(block)) } else { Err(STATUS_ACCESS_VIOLATION) }
    }

    /// Copies the payload out. STATUS_ACCESS_VIOLATION: it cannot be written there.
    pub fn deliver(&self, address: u64) -> Result<(), NtStatus> {
        let copied = self.zone.for_parts(self.offset(), self.length, |from, at, part| {
            // SAFETY: as in `capture`.
            unsafe { usercopy::to_user_from(address.wrapping_add(at), from, part) }
        });
        if copied { Ok(()) } else { Err(STATUS_ACCESS_VIOLATION) }
    }

    /// Bytes of the payload.
    pub const fn length(&self) -> usize {
        self.length
    }

    fn offset(&self) -> u64 {
        u64::from(self.first) * GRANULE
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.zone.granules.lock().give_back(self.first, granules_of(self.length));
        // The last reference frees all of a section's frames, which must not happen under the locks of a message's end.
        Later::Zone(self.zone.clone()).push();
    }
}

/// The zone of the port that receives what is sent: a server communication port's own goes before the connection port's.
fn receiver(sending: &Sending) -> Option<Ref<Zone>> {
    let zones = &sending.group.zones;
    match sending.port.map(|port| port.role) {
        Some(Role::Server(connection)) => zones.get(Role::Client(connection)),
        Some(Role::Client(connection)) => {
            zones.get(Role::Server(connection)).or_else(|| zones.get(Role::Connection))
        }
        Some(Role::Connection) | None => zones.get(Role::Connection),
    }
}

/// Gives a port a zone in memory of the current process, or takes the port's zone away (Buffer and Size 0): what lies in
/// it is still received from there, and nothing more is put into it.
///
/// # Errors
/// STATUS_PORT_ALREADY_SET: the port has a zone. STATUS_INVALID_PARAMETER: it has none to be taken away. STATUS_PORT_CLOSED.
/// Those of [`Zone::new`].
pub fn set(port: &Port, information: &AlpcPortMessageZoneInformation) -> Result<(), NtStatus> {
    let zones = &port.group.zones;
    if information.buffer == 0 && information.size == 0 {
        return zones.remove(port.role).map(drop).ok_or(STATUS_INVALID_PARAMETER);
    }
    if zones.get(port.role).is_some() {
        return Err(STATUS_PORT_ALREADY_SET);
    }
    let zone = Zone::new(information)?;
    let added = {
        let _group = port.group.lock();
        zones.reserve().map(|()| zones.add(port.role, zone.clone()))
    };
    if !added? {
        return Err(STATUS_PORT_ALREADY_SET);
    }
    if port.is_closed() {
        // Whether or not the port took it out as it closed.
        drop(zones.remove(port.role));
        return Err(STATUS_PORT_CLOSED);
    }
    Ok(())
}
