//! QEMU's execution trace: a line for each instruction, read from a named pipe while the guest runs, and counted.

use super::lock::Sites;
use super::source::functions;
use super::{KERNEL, LEGS};
use crate::error::{Context, Result, message};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

/// How often each instruction was executed, by leg.
#[derive(Debug, Default)]
pub struct Executed {
    /// By address.
    pub counts: HashMap<u64, [u64; LEGS]>,
    /// How many of them while the dispatcher lock was held.
    pub locked: u64,
    /// The lock was also taken or opened by instructions that are not known, so that `locked` says nothing.
    pub lock_is_lost: bool,
}

/// Addresses in the program that the trace is cut by.
#[derive(Debug)]
pub struct Marks {
    begins: u64,
    ends: u64,
    client: Vec<std::ops::Range<u64>>,
    server: Vec<std::ops::Range<u64>>,
    lock: Sites,
}

impl Marks {
    /// Finds them in the program's symbols, and the lock's in the kernel.
    pub fn find(program: &Path, kernel: &Path) -> Result<Marks> {
        let mut marks =
            Marks { begins: 0, ends: 0, client: Vec::new(), server: Vec::new(), lock: Sites::find(kernel)? };
        for (name, range) in functions(program)? {
            match name.as_str() {
                "bench::measure::profile_begins" => marks.begins = range.start,
                "bench::measure::profile_ends" => marks.ends = range.start,
                name if name.starts_with("bench::server::") => marks.server.push(range),
                name if name.starts_with("bench::client::") || name.starts_with("bench::pairs::") => {
                    marks.client.push(range);
                }
                _ => {}
            }
        }
        if marks.begins == 0 || marks.ends == 0 || marks.begins == marks.ends {
            return Err(message("the program has lost its marks profile_begins and profile_ends"));
        }
        Ok(marks)
    }

    /// Whose code a user address is, if it is either's own.
    fn leg(&self, address: u64) -> Option<usize> {
        let holds = |ranges: &[std::ops::Range<u64>]| ranges.iter().any(|range| range.contains(&address));
        if holds(&self.client) {
            Some(0)
        } else if holds(&self.server) {
            Some(1)
        } else {
            None
        }
    }
}

/// The line that ends a trace, written by this side.
const END: &[u8] = b"end of trace\n";

/// A named pipe into which QEMU traces, and the thread that reads it.
pub struct Trace {
    /// The pipe.
    pub pipe: PathBuf,
    /// Open in both directions, so that neither side ever waits for the other to open it.
    file: File,
    reader: JoinHandle<Result<Executed>>,
}

impl Trace {
    /// Makes the pipe and starts to read.
    pub fn start(pipe: PathBuf, marks: Marks) -> Result<Trace> {
        let made = Command::new("mkfifo").arg(&pipe).status().context("start mkfifo")?;
        if !made.success() {
            return Err(message("mkfifo made no pipe for the trace"));
        }
        let open = || File::options().read(true).write(true).open(&pipe).context("open the trace");
        let (file, input) = (open()?, open()?);
        let reader = std::thread::spawn(move || read(input, marks));
        Ok(Trace { pipe, file, reader })
    }

    /// Everything that was executed. QEMU has stopped tracing.
    pub fn finish(mut self) -> Result<Executed> {
        self.file.write_all(END).context("end the trace")?;
        self.reader.join().map_err(|_| message("the trace's reader failed"))?
    }
}

fn read(input: File, marks: Marks) -> Result<Executed> {
    let mut reader = BufReader::with_capacity(1 << 20, input);
    let mut counter = Counter::new(marks);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line).context("read the trace")? == 0 || line == END {
            return Ok(counter.executed);
        }
        counter.line(&line);
    }
}

/// Counts what the trace's lines say.
struct Counter {
    marks: Marks,
    executed: Executed,
    inside: bool,
    leg: usize,
    /// The instruction that was counted last, to take it back.
    last: Option<(u64, usize)>,
    is_locked: bool,
}

impl Counter {
    fn new(marks: Marks) -> Counter {
        Counter { marks, executed: Executed::default(), inside: false, leg: 0, last: None, is_locked: false }
    }

    fn line(&mut self, line: &[u8]) {
        if line.starts_with(b"Trace ") {
            if let Some(address) = traced_address(line) {
                self.instruction(address);
            }
        } else if line.starts_with(b"Stopped ") {
            // The block named last was left before it did anything.
            if let Some((address, leg)) = self.last.take()
                && let Some(legs) = self.executed.counts.get_mut(&address)
            {
                legs[leg] -= 1;
            }
        }
    }

    fn instruction(&mut self, address: u64) {
        if address == self.marks.begins {
            self.inside = true;
        } else if address == self.marks.ends {
            self.inside = false;
        }
        self.last = None;
        let was_locked = self.is_locked;
        let (takes, opens) =
            (self.marks.lock.takes.contains(&address), self.marks.lock.opens.contains(&address));
        self.is_locked = !opens && address >= KERNEL && (was_locked || takes);
        if !self.inside {
            return;
        }
        if address < KERNEL {
            self.leg = self.marks.leg(address).unwrap_or(self.leg);
        }
        self.executed.counts.entry(address).or_default()[self.leg] += 1;
        self.executed.locked += u64::from(was_locked);
        // Opened without having been taken, or held by user mode.
        self.executed.lock_is_lost |= opens && !was_locked || was_locked && address < KERNEL;
        self.last = Some((address, self.leg));
    }
}

/// The program counter in `Trace 0: 0x7f.. [cs-base/program counter/flags/cflags] symbol`.
fn traced_address(line: &[u8]) -> Option<u64> {
    let open = line.iter().position(|byte| *byte == b'[')?;
    let rest = &line[open + 1..];
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let digits = rest[slash + 1..].iter().take_while(|byte| byte.is_ascii_hexdigit());
    let mut address = 0u64;
    for digit in digits {
        let value = (*digit as char).to_digit(16)?;
        address = address << 4 | u64::from(value);
    }
    Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter() -> Counter {
        Counter::new(Marks {
            begins: 0x10,
            ends: 0x20,
            client: vec![0x100..0x180, 0x180..0x200],
            server: vec![0x200..0x280, 0x280..0x300],
            lock: Sites { takes: [KERNEL + 8].into(), opens: [KERNEL + 16].into() },
        })
    }

    fn trace(counter: &mut Counter, addresses: &[u64]) {
        for address in addresses {
            counter.line(format!("Trace 0: 0x7f01 [00000000/{address:016x}/00c0/ff00] name\n").as_bytes());
        }
    }

    #[test]
    fn instructions_between_the_marks_are_counted_by_leg() {
        let mut counter = counter();
        let kernel = KERNEL + 4;
        trace(&mut counter, &[0x100, 0x10, 0x104, kernel, 0x204, kernel, kernel, 0x104, 0x20, 0x108]);
        let counts = &counter.executed.counts;
        assert_eq!(counts[&kernel], [1, 2]);
        assert_eq!((counts[&0x104], counts[&0x204]), ([2, 0], [0, 1]));
        assert_eq!((counts.get(&0x100), counts.get(&0x108), counts.get(&0x20)), (None, None, None));
    }

    #[test]
    fn a_block_that_was_stopped_does_not_count() {
        let mut counter = counter();
        trace(&mut counter, &[0x10, 0x104]);
        counter.line(b"Stopped execution of TB chain before 0x7f01 [104] name\n");
        counter.line(b"Stopped execution of TB chain before 0x7f01 [104] name\n");
        trace(&mut counter, &[0x104]);
        assert_eq!(counter.executed.counts[&0x104], [1, 0]);
        assert_eq!(counter.executed.counts[&0x10], [1, 0]);
    }

    #[test]
    fn what_runs_under_the_lock_is_counted() {
        let mut counter = counter();
        let [takes, other, opens] = [KERNEL + 8, KERNEL + 4, KERNEL + 16];
        trace(&mut counter, &[0x10, takes, other, other, opens, other, 0x204]);
        assert_eq!((counter.executed.locked, counter.executed.lock_is_lost), (3, false));
        trace(&mut counter, &[takes, 0x204]);
        assert!(counter.executed.lock_is_lost);
    }

    #[test]
    fn addresses_are_read() {
        assert_eq!(traced_address(b"Trace 1: 0x1 [0/ffffffff80000010/1/2] x"), Some(0xFFFF_FFFF_8000_0010));
        assert_eq!(traced_address(b"Trace nothing"), None);
    }
}
