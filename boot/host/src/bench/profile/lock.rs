//! Where the kernel takes and opens the dispatcher lock, which all processors share.
//!
//! Instruction counts do not show that processors wait for each other, so a profile tells for how many of its instructions
//! this lock is held. A spin lock's byte is taken by `xchg` and opened by a `mov` of 0; both name it relative to the instruction.

use super::source::symbols;
use crate::error::{Context, Result, message};
use elf::ElfBytes;
use elf::abi::{SHF_EXECINSTR, STT_OBJECT};
use elf::endian::LittleEndian;
use std::collections::HashSet;
use std::path::Path;

/// The lock's name in the kernel. Its byte comes first in it.
const LOCK: &str = "microkernel::ke::sched::DISPATCHER";

/// Addresses of instructions.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sites {
    /// They take the lock.
    pub takes: HashSet<u64>,
    /// They open it.
    pub opens: HashSet<u64>,
}

impl Sites {
    /// Finds them in the kernel's file.
    pub fn find(kernel: &Path) -> Result<Sites> {
        let lock = symbols(kernel, &[STT_OBJECT])?.into_iter().find(|(name, _)| name == LOCK);
        let (_, lock) = lock.ok_or_else(|| message(format!("the kernel has no {LOCK}")))?;
        let bytes = std::fs::read(kernel).context(format_args!("read {}", kernel.display()))?;
        let broken = |error| message(format!("{}: {error}", kernel.display()));
        let parsed = ElfBytes::<LittleEndian>::minimal_parse(&bytes).map_err(broken)?;
        let mut sites = Sites::default();
        for section in parsed.section_headers().into_iter().flatten() {
            if section.sh_flags & u64::from(SHF_EXECINSTR) != 0 {
                let (code, _) = parsed.section_data(&section).map_err(broken)?;
                sites.scan(code, section.sh_addr, lock.start);
            }
        }
        if sites.takes.is_empty() || sites.opens.is_empty() {
            return Err(message(format!("no code takes and opens {LOCK} in the way that is known here")));
        }
        Ok(sites)
    }

    fn scan(&mut self, code: &[u8], base: u64, lock: u64) {
        for (at, window) in code.windows(7).enumerate() {
            let mut address = base + at as u64;
            // The displacement's place and the instruction's length.
            let (sites, displacement, length) = match *window {
                [0x86, register, ..] if register & 0xC7 == 5 => (&mut self.takes, 2, 6),
                [0xC6, 0x05, _, _, _, _, 0, ..] => (&mut self.opens, 2, 7),
                _ => continue,
            };
            let bytes = [0, 1, 2, 3].map(|byte| window[displacement + byte]);
            let target = address.wrapping_add(length).wrapping_add_signed(i32::from_le_bytes(bytes).into());
            if target == lock {
                // A prefix for one of the newer registers.
                let prefix = at > 0 && matches!(code[at - 1], 0x40..=0x4F) && window[0] == 0x86;
                address -= u64::from(prefix);
                sites.insert(address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_that_name_the_lock_are_found() {
        let mut code = vec![0x90; 64];
        let mut put = |at: usize, bytes: &[u8]| code[at..at + bytes.len()].copy_from_slice(bytes);
        // At 0x1000 + offset, with the lock at 0x1100.
        put(0, &[0x86, 0x15, 0xFA, 0, 0, 0]);
        put(16, &[0x44, 0x86, 0x1D, 0xE9, 0, 0, 0]);
        put(32, &[0xC6, 0x05, 0xD9, 0, 0, 0, 0]);
        put(48, &[0xC6, 0x05, 0xD9, 0, 0, 0, 0]);
        let mut sites = Sites::default();
        sites.scan(&code, 0x1000, 0x1100);
        assert_eq!(sites, Sites { takes: [0x1000, 0x1010].into(), opens: [0x1020].into() });
    }
}
