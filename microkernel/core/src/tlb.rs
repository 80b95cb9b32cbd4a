//! Which processors may remember translations of an address space, and when a processor must forget them.
//!
//! Each address space has a [`Residence`]: a value for CR3, and a bit for each processor that may have its translations. A
//! processor that loads the space sets its bit; the bit stays when it loads another one, since with process-context identifiers
//! (PCIDs) the translations stay as well. So a processor whose bit is set has been told of every change, and
//! loads the tables without forgetting anything; one whose bit is clear forgets whatever the identifier was used for before.
//! Told of a change, a processor that runs something else clears its bit, and is left alone from then on.
//! Without PCIDs each load forgets everything, and the same rules hold.
//!
//! The kernel carries out what is decided here ([`Residence::enter`], [`Answer`]); nothing here touches a processor. Only a processor
//! itself changes its bit, with interrupts off. Sources: Intel SDM vol. 3, 4.10.1 to 4.10.5.

use core::sync::atomic::{AtomicU64, Ordering};

/// CR3 bit 63: nothing is forgotten by this load.
pub const NO_FLUSH: u64 = 1 << 63;
/// Identifiers that there are. 0 is what the kernel's own tables have, and spaces for which there was none.
pub const PCIDS: u32 = 4096;

/// Identifiers in use.
pub struct Pcids {
    used: [u64; PCIDS as usize / 64],
}

impl Default for Pcids {
    fn default() -> Self {
        Self::new()
    }
}

impl Pcids {
    /// None but 0.
    pub const fn new() -> Self {
        let mut used = [0; PCIDS as usize / 64];
        used[0] = 1;
        Self { used }
    }

    /// One that nobody has, or 0.
    pub fn take(&mut self) -> u16 {
        let Some(at) = self.used.iter().position(|word| *word != u64::MAX) else { return 0 };
        let bit = self.used[at].trailing_ones();
        self.used[at] |= 1 << bit;
        at as u16 * 64 + bit as u16
    }

    /// It may be given to another space. Who has used it forgets that when it first loads that one.
    pub fn give_back(&mut self, pcid: u16) {
        if pcid != 0 && u32::from(pcid) < PCIDS {
            self.used[usize::from(pcid) / 64] &= !(1 << (pcid % 64));
        }
    }
}

/// See the module head.
pub struct Residence {
    /// Top-level table and identifier.
    table: u64,
    /// The same, with [`NO_FLUSH`] unless each load forgets everything.
    again: u64,
    processors: AtomicU64,
}

/// What a processor that is told of a change must do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Forget the pages that changed: it runs in the space.
    Forget,
    /// Nothing: the next load will forget everything.
    Left,
}

impl Residence {
    /// Of a space with this top-level table. `pcid` 0: translations are never kept.
    pub const fn new(root: u64, pcid: u16) -> Self {
        let table = root | pcid as u64;
        let again = if pcid == 0 { table } else { table | NO_FLUSH };
        Self { table, again, processors: AtomicU64::new(0) }
    }

    /// Top-level table and identifier: what is in CR3 while the space is loaded.
    #[inline(always)]
    pub const fn table(&self) -> u64 {
        self.table
    }

    /// Its identifier.
    pub const fn pcid(&self) -> u16 {
        (self.table & (PCIDS as u64 - 1)) as u16
    }

    /// What the processor with this bit is to load into CR3, right away, to run in the space.
    #[inline(always)]
    pub fn enter(&self, bit: u64) -> u64 {
        if self.processors.load(Ordering::Relaxed) & bit == 0 { self.settle(bit) } else { self.again }
    }

    #[cold]
    fn settle(&self, bit: u64) -> u64 {
        // Before the tables are looked at: who changes them after that sees the bit.
        self.processors.fetch_or(bit, Ordering::SeqCst);
        self.table
    }

    /// Processors that may have translations. To be asked after the tables were changed.
    pub fn processors(&self) -> u64 {
        self.processors.load(Ordering::SeqCst)
    }

    /// The processor with this bit, which has `loaded` in CR3 (without [`NO_FLUSH`]), is told that pages of the space changed.
    pub fn answer(&self, bit: u64, loaded: u64) -> Answer {
        if loaded == self.table {
            return Answer::Forget;
        }
        self.processors.fetch_and(!bit, Ordering::SeqCst);
        Answer::Left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn identifiers_are_given_out_once() {
        let mut pcids = Pcids::new();
        let all: Vec<u16> = (1..PCIDS).map(|_| pcids.take()).collect();
        assert_eq!(all, (1..PCIDS as u16).collect::<Vec<_>>());
        assert_eq!(pcids.take(), 0);
        pcids.give_back(0);
        pcids.give_back(777);
        assert_eq!((pcids.take(), pcids.take()), (777, 0));
    }

    const CPUS: usize = 3;
    const PAGES: u64 = 4;
    const SPACES: usize = 5;

    /// A processor as the manual describes it: translations by identifier and page.
    #[derive(Default)]
    struct Cpu {
        cr3: u64,
        tlb: HashMap<(u64, u64), u32>,
    }

    impl Cpu {
        fn load(&mut self, cr3: u64) {
            let (table, pcid) = (cr3 & !NO_FLUSH, cr3 & 0xFFF);
            if cr3 & NO_FLUSH == 0 {
                self.tlb.retain(|(tag, _), _| *tag != pcid);
            }
            self.cr3 = table;
        }
    }

    struct Space {
        residence: Residence,
        pages: [u32; PAGES as usize],
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter { cpu: usize, space: usize },
        Idle { cpu: usize },
        Touch { cpu: usize, page: u64 },
        Change { cpu: usize, space: usize, page: u64 },
        Replace { space: usize },
    }

    fn steps() -> impl Strategy<Value = Step> {
        let (cpu, space, page) = (0..CPUS, 0..SPACES, 0..PAGES);
        prop_oneof![
            (cpu.clone(), space.clone()).prop_map(|(cpu, space)| Step::Enter { cpu, space }),
            cpu.clone().prop_map(|cpu| Step::Idle { cpu }),
            (cpu.clone(), page.clone()).prop_map(|(cpu, page)| Step::Touch { cpu, page }),
            (cpu, space.clone(), page).prop_map(|(cpu, space, page)| Step::Change { cpu, space, page }),
            space.prop_map(|space| Step::Replace { space }),
        ]
    }

    proptest! {
        /// With identifiers or without, with enough of them or not, no processor ever uses a translation that was changed.
        #[test]
        fn nobody_uses_what_has_changed(
            has_pcids in any::<bool>(),
            few in any::<bool>(),
            steps in proptest::collection::vec(steps(), 1..300),
        ) {
            let mut pcids = Pcids::new();
            if few {
                (0..PCIDS - 4).for_each(|_| { pcids.take(); });
            }
            let mut frame = 0;
            let mut next = || { frame += 1; frame };
            // The frame of a root comes back as its identifier does.
            let make = |at: usize, pcids: &mut Pcids| {
                let pcid = if has_pcids { pcids.take() } else { 0 };
                let root = 0x1000 * (at as u64 + 1);
                Space { residence: Residence::new(root, pcid), pages: [0; PAGES as usize] }
            };
            let mut spaces: Vec<Space> = (0..SPACES).map(|at| make(at, &mut pcids)).collect();
            let mut cpus: [Cpu; CPUS] = Default::default();
            for step in steps {
                match step {
                    Step::Enter { cpu, space } => {
                        let residence = &spaces[space].residence;
                        if cpus[cpu].cr3 != residence.table() {
                            let value = residence.enter(1 << cpu);
                            cpus[cpu].load(value);
                        }
                    }
                    Step::Idle { cpu } => cpus[cpu].load(0),
                    Step::Touch { cpu, page } => {
                        let loaded = cpus[cpu].cr3;
                        let Some(space) = spaces.iter().find(|s| s.residence.table() == loaded) else { continue };
                        let truth = space.pages[page as usize];
                        let tag = (u64::from(space.residence.pcid()), page);
                        prop_assert_eq!(*cpus[cpu].tlb.entry(tag).or_insert(truth), truth);
                    }
                    Step::Change { cpu, space, page } => {
                        let space = &mut spaces[space];
                        space.pages[page as usize] = next();
                        let told = space.residence.processors() | 1 << cpu;
                        for (at, cpu) in cpus.iter_mut().enumerate().filter(|(at, _)| told >> at & 1 == 1) {
                            if space.residence.answer(1 << at, cpu.cr3) == Answer::Forget {
                                cpu.tlb.remove(&(u64::from(space.residence.pcid()), page));
                            }
                        }
                    }
                    Step::Replace { space } => {
                        // It goes when nobody runs in it, and its identifier goes on to the next one.
                        let old = &spaces[space];
                        if cpus.iter().any(|cpu| cpu.cr3 == old.residence.table()) {
                            continue;
                        }
                        pcids.give_back(old.residence.pcid());
                        let mut fresh = make(space, &mut pcids);
                        fresh.pages = std::array::from_fn(|_| next());
                        spaces[space] = fresh;
                    }
                }
            }
        }
    }
}
