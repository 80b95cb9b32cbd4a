//! The trace memory, taken out of the guest by QEMU's monitor.

use super::Capture;
use crate::error::{Context, Result, message};
use crate::paths::TempDir;
use crate::session::Session;
use abi::trace::{TRACE_ADDRESS, TraceHeader};
use std::fs;
use trace::{Exchanges, Names, Position, Trace};

/// Where the rings begin.
const HEADER: usize = size_of::<TraceHeader>().next_multiple_of(4096);
/// The name log's records and the rings' are as long as each other.
const RECORD: usize = 64;

/// A copy of the trace memory.
#[derive(Debug)]
pub struct Dump(Trace<Vec<u64>>);

impl Dump {
    /// Copies the trace memory: with `all`, its rings and names too, as far as they are written; else only the header counts.
    pub fn take(session: &mut Session, all: bool) -> Result<Self> {
        let temp = TempDir::new()?;
        let mut words = save(session, &temp, 0, HEADER)?;
        let (cpus, records) = (words[0] as u32 as usize, (words[0] >> 32) as usize);
        let names = words[1] as u32 as usize;
        let size = HEADER + (cpus * records + names) * RECORD;
        if cpus == 0 || cpus > abi::trace::MAX_CPUS || size > 1 << 31 {
            return Err(message("the guest's trace memory has no sensible header"));
        }
        words.resize(size / 8, 0);
        let heads = core::mem::offset_of!(TraceHeader, heads) / 8;
        let name_head = words[core::mem::offset_of!(TraceHeader, name_head) / 8];
        let rings = (0..cpus).map(|cpu| (HEADER + cpu * records * RECORD, words[heads + cpu], records));
        let logs: Vec<_> = rings.chain([(HEADER + cpus * records * RECORD, name_head, names)]).collect();
        for (at, written, capacity) in logs.into_iter().filter(|_| all) {
            let used = usize::try_from(written).unwrap_or(capacity).min(capacity) * RECORD;
            if used > 0 {
                let part = save(session, &temp, at, used)?;
                words[at / 8..][..part.len()].copy_from_slice(&part);
            }
        }
        let trace =
            Trace::new(words).ok_or_else(|| message("the guest's trace memory has no good header"))?;
        Ok(Self(trace))
    }

    /// How far the rings are written.
    pub fn position(&self) -> Position {
        self.0.position()
    }

    /// What was recorded since `from`.
    pub fn capture(&self, title: String, from: &Position) -> Capture {
        let mut names = Names::default();
        names.add_log(&self.0.names().0);
        let reading = self.0.read(from, |_| true);
        let exchanges = Exchanges::of(&reading);
        // Ports without a name are known by who receives there.
        for exchange in exchanges.all().iter().filter(|exchange| exchange.server.process != 0) {
            if names.port_entry(exchange.port).is_none() {
                names.add_port(exchange.port, exchange.server.process, "");
            }
        }
        Capture { title, clock: self.0.clock(), cpus: self.0.cpus(), names, reading, exchanges }
    }
}

/// Saves `size` bytes from `offset` of the trace memory on.
fn save(session: &mut Session, temp: &TempDir, offset: usize, size: usize) -> Result<Vec<u64>> {
    let file = temp.path().join("trace");
    let address = TRACE_ADDRESS + offset as u64;
    let said = session.monitor(&format!("memsave {address:#x} {size} \"{}\"", file.display()))?;
    let bytes = fs::read(&file).context(format_args!("read {}", file.display()))?;
    if bytes.len() != size {
        return Err(message(format!("QEMU saved {} of {size} bytes of the trace: {said}", bytes.len())));
    }
    fs::remove_file(&file).context("remove the saved memory")?;
    let (words, _) = bytes.as_chunks::<8>();
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}
