//! `./run.sh trace`: boots, records what happens while commands run, and writes it to a file that other tools open.
//!
//! The trace leaves the guest without the guest's help: its rings are made large enough, and at the end QEMU's monitor saves
//! that memory ([`dump`]). What the records say is joined by the crate [`trace`]; here are the formats, chosen by the
//! file's ending:
//!
//! | module | ending | opens in |
//! |---|---|---|
//! | [`perfetto`] | `.json` | ui.perfetto.dev, chrome://tracing |
//! | [`pcapng`] | `.pcapng` | Wireshark and tshark, with `alpc.lua` beside this file |
//! | [`jsonl`] | `.jsonl` | whatever reads JSON lines |
//! | [`page`] | `.html` | a browser |

pub mod dump;
pub mod jsonl;
pub mod page;
pub mod pcapng;
pub mod perfetto;
pub mod rules;
#[cfg(test)]
mod testing;

use crate::error::{Context, Error, Result, message};
use crate::exec::{self, Step};
use crate::guest::Guest;
use crate::session::{Line, Options, Session};
use dump::Dump;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use trace::{Clock, Exchange, Exchanges, Names, Reading, text};

/// `./run.sh trace --help`.
pub const HELP: &str = "\
./run.sh trace --out FILE [OPTIONS] [--kd 'COMMAND']... 'COMMAND'...

Boots the system as ./run.sh exec does, records ALPC traffic while the commands run, and writes it to FILE. The ending of
FILE says what it becomes:

  .html     one page with a sequence diagram, search, payloads and a graph of ports, for any browser
  .json     a trace for Perfetto (ui.perfetto.dev) or chrome://tracing
  .pcapng   packets for Wireshark and tshark; the dissector is boot/host/src/trace/alpc.lua
  .jsonl    a line of JSON for each message

  --filter 'FILTER'   record only what passes (as `trace on FILTER` in the debug console; docs/debugging.md)
  --payload N         bytes of each message to record, up to 1024 (256)
  --from-boot         from the first message of the boot, not from the first command (without filter and payloads)
  --records N         records in the ring of each processor (262144); what comes to more overwrites the oldest

Other options, order and exit status are those of ./run.sh exec; a file that cannot be written is status 1. Records that were
overwritten are counted and told.
";

/// What is asked for besides the machine and the commands.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The file.
    pub out: PathBuf,
    /// The filter, in the debug console's language.
    pub filter: String,
    /// Payload bytes of each message.
    pub payload: u16,
    /// From the start of the boot.
    pub from_boot: bool,
    /// Records for each processor.
    pub records: u32,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            out: PathBuf::new(),
            filter: String::new(),
            payload: PAYLOAD,
            from_boot: false,
            records: RECORDS,
        }
    }
}

/// Records for each processor that are usual.
pub const RECORDS: u32 = 1 << 18;
/// Payload bytes that are usual.
pub const PAYLOAD: u16 = 256;

/// A recorded trace.
#[derive(Debug)]
pub struct Capture {
    /// What was done, for titles.
    pub title: String,
    /// The time-stamp counter's measure.
    pub clock: Clock,
    /// Processors.
    pub cpus: usize,
    /// Names of processes and ports.
    pub names: Names,
    /// Events, and how many were lost.
    pub reading: Reading,
    /// What belongs together.
    pub exchanges: Exchanges,
}

/// What a file becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `.json`
    Perfetto,
    /// `.pcapng`
    Pcapng,
    /// `.jsonl`
    JsonLines,
    /// `.html`
    Page,
}

impl Format {
    /// What a file's ending says.
    ///
    /// # Errors
    /// When it says nothing.
    pub fn of(file: &Path) -> Result<Self> {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("json") => Ok(Self::Perfetto),
            Some("pcapng") => Ok(Self::Pcapng),
            Some("jsonl") => Ok(Self::JsonLines),
            Some("html") => Ok(Self::Page),
            _ => Err(Error::Usage(format!(
                "{} ends in none of .html, .json, .pcapng, .jsonl; ./run.sh trace --help explains",
                file.display()
            ))),
        }
    }
}

impl Capture {
    /// Writes it in a format.
    pub fn write(&self, format: Format) -> Vec<u8> {
        match format {
            Format::Perfetto => perfetto::write(self).into_bytes(),
            Format::Pcapng => pcapng::write(self),
            Format::JsonLines => jsonl::write(self).into_bytes(),
            Format::Page => page::write(self).into_bytes(),
        }
    }

    /// Nanoseconds since the kernel was entered.
    fn time(&self, tsc: u64) -> u64 {
        self.clock.nanoseconds(tsc)
    }

    /// Says that there is a request on a port of this name whose payload says `call` (`objmgr Open`), and that it was answered
    /// within so many ticks, which are instructions in a machine that counts them.
    ///
    /// # Errors
    /// What there is instead.
    pub fn answers(&self, port: &str, call: &str, ticks: u64) -> std::result::Result<(), String> {
        let of_port = |exchange: &&Exchange| self.names.port(exchange.port).contains(port);
        let mut others = BTreeSet::new();
        let mut best = None;
        for exchange in self.exchanges.all().iter().filter(of_port) {
            let said = text::payload_text(&exchange.payload, false);
            match exchange.latency() {
                Some(latency) if said.starts_with(call) => {
                    best = Some(best.map_or(latency, |best: u64| best.min(latency)));
                }
                _ => drop(others.insert(said)),
            }
        }
        match best {
            Some(best) if best <= ticks => Ok(()),
            Some(best) => Err(format!("`{call}` on `{port}` took {best} ticks, not {ticks} at most")),
            None => Err(format!("no `{call}` on `{port}` was answered; there were {others:?}")),
        }
    }

    /// How much there is of it, and what is missing.
    pub fn summary(&self) -> String {
        let (messages, events) = (self.exchanges.all().len(), self.reading.records.len());
        let lost = match self.reading.lost {
            0 => "nothing lost".to_owned(),
            lost => format!("{lost} records LOST: they were overwritten (--records makes the rings larger)"),
        };
        format!("{messages} messages, {events} events, {lost}")
    }
}

/// Boots, runs the commands, writes the file; the result is the exit status.
pub fn run(
    guest: &Guest,
    options: &Options,
    wanted: &Wanted,
    given: Vec<Step>,
    out: &mut dyn Write,
) -> Result<u8> {
    let format = Format::of(&wanted.out)?;
    // Before the boot, so that a wrong place is known at once.
    fs::write(&wanted.out, "").context(format_args!("write {}", wanted.out.display()))?;
    let (status, capture) = capture(guest, options, wanted, given, out)?;
    fs::write(&wanted.out, capture.write(format)).context(format_args!("write {}", wanted.out.display()))?;
    eprintln!("antares: {}: {}", wanted.out.display(), capture.summary());
    Ok(status)
}

/// Boots, records while the commands run, and shuts down: their exit status and the trace.
pub fn capture(
    guest: &Guest,
    options: &Options,
    wanted: &Wanted,
    given: Vec<Step>,
    out: &mut dyn Write,
) -> Result<(u8, Capture)> {
    let title = given.iter().map(|step| step.command.as_str()).collect::<Vec<_>>().join("; ");
    if let Some(step) = given.iter().find(|step| step.command.contains(|c: char| c.is_control())) {
        return Err(Error::Usage(format!("a command is one line, and this one is not: {:?}", step.command)));
    }
    let mut options = options.clone();
    let cmdline = &mut options.machine.cmdline;
    *cmdline += &format!(" trace.records={}", wanted.records);
    if wanted.from_boot {
        *cmdline += " trace=on";
    }
    let mut session = Session::start(guest, &options)?;
    session.wait_ready(Line::Console)?;
    let from = if wanted.from_boot {
        trace::Position::START
    } else {
        command(&mut session, &format!("trace on {} payload={} switches", wanted.filter, wanted.payload))?;
        Dump::take(&mut session, false)?.position()
    };
    let (status, ended) = exec::drive(&mut session, &exec::order(given), out)?;
    if ended {
        return Err(message("a command ended the system, and its trace with it"));
    }
    command(&mut session, "trace off")?;
    let dump = Dump::take(&mut session, true)?;
    session.shutdown()?;
    Ok((exec::exit_code(status), dump.capture(title, &from)))
}

fn command(session: &mut Session, command: &str) -> Result<()> {
    let output = session.kd(command)?;
    if output.status == 0 { Ok(()) } else { Err(Error::Usage(output.text.trim_end().to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_the_format() {
        assert_eq!(Format::of(Path::new("a/b.html")).unwrap(), Format::Page);
        assert_eq!(Format::of(Path::new("x.pcapng")).unwrap(), Format::Pcapng);
        for wrong in ["x", "x.pcap", "json"] {
            assert!(Format::of(Path::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_looked_for() {
        let capture = testing::capture();
        assert_eq!(capture.answers("RPC Control", "68 69", 15_000), Ok(()));
        assert!(capture.answers("RPC Control", "68 69", 14_999).unwrap_err().contains("took 15000 ticks"));
        assert!(capture.answers("Store", "68 69", 15_000).unwrap_err().contains("no `68 69`"));
    }
}
