//! Makes trace memory for tests.

use crate::ring::Trace;
use abi::trace::{NameRecord, RECORD_WORDS, TraceRecord};
use alloc::vec;
use alloc::vec::Vec;
use zerocopy::transmute;

const NAME_WORDS: usize = size_of::<NameRecord>() / 8;

/// Trace memory as the kernel writes it.
pub struct TraceMemory {
    words: Vec<u64>,
    cpus: usize,
    records: usize,
    names: usize,
}

impl TraceMemory {
    /// Empty rings; 1 GHz, booted at tick 0.
    pub fn new(cpus: usize, records: usize, names: usize) -> Self {
        let mut words = vec![0; 512 + cpus * records * RECORD_WORDS + names * NAME_WORDS];
        words[0] = cpus as u64 | (records as u64) << 32;
        words[1] = names as u64 | 1 << 32;
        words[2] = 1_000_000_000;
        Self { words, cpus, records, names }
    }

    /// The memory.
    pub fn words(&self) -> &Vec<u64> {
        &self.words
    }

    /// The memory, to be damaged.
    pub fn words_mut(&mut self) -> &mut Vec<u64> {
        &mut self.words
    }

    /// The memory behind its reader.
    pub fn trace(self) -> Trace<Vec<u64>> {
        Trace::new(self.words).expect("a good header")
    }

    /// Writes an event.
    pub fn event(&mut self, cpu: usize, tsc: u64, fill: impl FnOnce(&mut TraceRecord)) {
        let number = self.words[5 + cpu];
        let mut record = TraceRecord { sequence: number + 1, tsc, cpu: cpu as u8, ..TraceRecord::default() };
        fill(&mut record);
        self.raw(cpu, transmute!(record));
    }

    /// Writes a record as it is, but for its sequence number.
    pub fn raw(&mut self, cpu: usize, mut words: [u64; RECORD_WORDS]) {
        let number = self.words[5 + cpu];
        words[0] = number + 1;
        let slot = cpu * self.records + number as usize % self.records;
        self.words[512 + slot * RECORD_WORDS..][..RECORD_WORDS].copy_from_slice(&words);
        self.words[5 + cpu] = number + 1;
    }

    /// Writes a name.
    pub fn name(&mut self, kind: u32, id: u32, owner: u32, name: &str) {
        let number = self.words[4];
        let mut text = [0; 40];
        text[..name.len()].copy_from_slice(name.as_bytes());
        let record =
            NameRecord { sequence: number + 1, kind, id, owner, length: name.len() as u32, name: text };
        let words: [u64; NAME_WORDS] = transmute!(record);
        let at = 512 + self.cpus * self.records * RECORD_WORDS + number as usize % self.names * NAME_WORDS;
        self.words[at..][..NAME_WORDS].copy_from_slice(&words);
        self.words[4] = number + 1;
    }
}
