//! A table of slots whose keys carry a generation.
//!
//! A key is `generation << IDX_BITS | index`. Removing an entry bumps its slot's generation, so that a stale key
//! never names a later entry; a slot whose generations are used up is retired. Free slots are reused in the order
//! they were freed. Index 0 is never given out, so that key 0 means none. Used for handle tables, client ids,
//! connections and messages. A table made with [`Table::wrapping`] starts its generations anywhere and reuses them
//! after all have passed, for ids that the other side's layout limits to few bits and that come by the million.

use crate::{NoMemory, try_push};
use alloc::vec::Vec;

/// See the module head. Keys use `IDX_BITS + GEN_BITS` bits.
pub struct Table<T, const IDX_BITS: u32, const GEN_BITS: u32> {
    slots: Vec<Slot<T>>,
    free_head: u32,
    free_tail: u32,
    len: usize,
    first_generation: u32,
    wraps: bool,
    revives: bool,
}

/// An entry of a table: [`Table::occupied`].
pub struct Occupied<'a, T, const IDX_BITS: u32, const GEN_BITS: u32> {
    generation: &'a mut u32,
    index: u32,
    /// The value.
    pub value: &'a mut T,
}

impl<T, const IDX_BITS: u32, const GEN_BITS: u32> Occupied<'_, T, IDX_BITS, GEN_BITS> {
    /// Gives the entry a new key in its place: the old one is stale from then on. For tables whose generations wrap.
    #[inline(always)]
    pub fn renew(self) -> u64 {
        *self.generation = (*self.generation + 1) & Table::<T, IDX_BITS, GEN_BITS>::LAST_GENERATION;
        Table::<T, IDX_BITS, GEN_BITS>::key(*self.generation, self.index)
    }
}

enum Entry<T> {
    Used(T),
    /// Free; the next free slot (0 ends the list).
    Free(u32),
    /// Never to be used again.
    Retired,
}

struct Slot<T> {
    generation: u32,
    entry: Entry<T>,
}

impl<T, const IDX_BITS: u32, const GEN_BITS: u32> Default for Table<T, IDX_BITS, GEN_BITS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, const IDX_BITS: u32, const GEN_BITS: u32> Table<T, IDX_BITS, GEN_BITS> {
    const INDEX_MASK: u32 = (1 << IDX_BITS) - 1;
    const LAST_GENERATION: u32 = ((1u64 << GEN_BITS) - 1) as u32;

    /// An empty table; allocates nothing.
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free_head: 0,
            free_tail: 0,
            len: 0,
            first_generation: 0,
            wraps: false,
            revives: false,
        }
    }

    /// An empty table whose slots' generations start at `seed` and are reused after the last.
    pub const fn wrapping(seed: u32) -> Self {
        let mut table = Self::new();
        table.first_generation = seed & Self::LAST_GENERATION;
        table.wraps = true;
        table
    }

    /// An empty table whose used-up slots are taken again once there are no others: keys come back only after all there are
    /// have passed. For ids that must fit few bits and never run out.
    pub const fn reviving() -> Self {
        let mut table = Self::new();
        table.revives = true;
        table
    }

    /// Entries in the table.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Slots that take memory, used or not.
    pub const fn slots(&self) -> usize {
        self.slots.len()
    }

    /// True when there are none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an entry in and returns its key; gives the value back when there is no slot or memory.
    pub fn insert(&mut self, value: T) -> Result<u64, T> {
        let index = if self.free_head != 0 {
            let index = self.free_head;
            let slot = &mut self.slots[index as usize];
            if let Entry::Free(next) = slot.entry {
                self.free_head = next;
                if next == 0 {
                    self.free_tail = 0;
                }
            }
            index
        } else {
            match self.new_slot() {
                Ok(index) => index,
                Err(NoMemory) => return Err(value),
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.entry = Entry::Used(value);
        self.len += 1;
        Ok(Self::key(slot.generation, index))
    }

    /// A slot that never was, or else one that is used up.
    fn new_slot(&mut self) -> Result<u32, NoMemory> {
        if self.reserve_one().is_ok() {
            self.slots.push(Slot { generation: self.first_generation, entry: Entry::Retired });
            return Ok(self.slots.len() as u32 - 1);
        }
        let full = self.slots.len() as u32 > Self::INDEX_MASK;
        let mut used_up = self.slots.iter().skip(1).map(|slot| matches!(slot.entry, Entry::Retired));
        let at = used_up.position(|retired| retired && self.revives && full).ok_or(NoMemory)?;
        self.slots[at + 1].generation = self.first_generation;
        Ok(at as u32 + 1)
    }

    fn reserve_one(&mut self) -> Result<(), NoMemory> {
        if self.slots.is_empty() {
            try_push(&mut self.slots, Slot { generation: 0, entry: Entry::Retired })?;
        }
        if self.slots.len() as u32 > Self::INDEX_MASK {
            return Err(NoMemory);
        }
        self.slots.try_reserve(1).map_err(|_| NoMemory)
    }

    /// Puts an entry in under a given key of an otherwise untouched index; gives the value back when that is not
    /// possible. For building a copy of another table, in ascending order of keys.
    pub fn insert_at(&mut self, key: u64, value: T) -> Result<(), T> {
        let (index, generation) = (Self::index_of(key), Self::generation_of(key));
        if index == 0 || generation > u64::from(Self::LAST_GENERATION) || (index as usize) < self.slots.len()
        {
            return Err(value);
        }
        let old = self.slots.len().max(1);
        if self.slots.try_reserve(index as usize + 1 - self.slots.len()).is_err() {
            return Err(value);
        }
        if self.slots.is_empty() {
            self.slots.push(Slot { generation: 0, entry: Entry::Retired });
        }
        for free in old..index as usize {
            self.slots.push(Slot { generation: self.first_generation, entry: Entry::Free(0) });
            self.free(free as u32);
        }
        self.slots.push(Slot { generation: generation as u32, entry: Entry::Used(value) });
        self.len += 1;
        Ok(())
    }

    fn slot(&self, key: u64) -> Option<&Slot<T>> {
        let slot = self.slots.get(Self::index_of(key) as usize)?;
        (u64::from(slot.generation) == Self::generation_of(key)).then_some(slot)
    }

    /// The entry with this key.
    #[inline(always)]
    pub fn get(&self, key: u64) -> Option<&T> {
        match &self.slot(key)?.entry {
            Entry::Used(value) => Some(value),
            _ => None,
        }
    }

    /// The entry with this key.
    #[inline(always)]
    pub fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(Self::index_of(key) as usize)?;
        if u64::from(slot.generation) != Self::generation_of(key) {
            return None;
        }
        match &mut slot.entry {
            Entry::Used(value) => Some(value),
            _ => None,
        }
    }

    /// The entry at an index, and its key.
    #[inline(always)]
    pub fn at_mut(&mut self, index: u32) -> Option<(u64, &mut T)> {
        let slot = self.slots.get_mut(index as usize)?;
        match &mut slot.entry {
            Entry::Used(value) => Some((Self::key(slot.generation, index), value)),
            _ => None,
        }
    }

    /// Takes the entry with this key out; the key is stale from then on.
    pub fn remove(&mut self, key: u64) -> Option<T> {
        let index = Self::index_of(key);
        let slot = self.slots.get_mut(index as usize)?;
        if u64::from(slot.generation) != Self::generation_of(key) || !matches!(slot.entry, Entry::Used(_)) {
            return None;
        }
        let last = slot.generation == Self::LAST_GENERATION;
        let retired = last && !self.wraps;
        let freed = if retired { Entry::Retired } else { Entry::Free(0) };
        let Entry::Used(value) = core::mem::replace(&mut slot.entry, freed) else { return None };
        self.len -= 1;
        if !retired {
            slot.generation = if last { 0 } else { slot.generation + 1 };
            self.free(index);
        }
        Some(value)
    }

    /// Drops the entry with this key where it is. `false` if there is none.
    pub fn discard(&mut self, key: u64) -> bool {
        let index = Self::index_of(key);
        let Some(slot) = self.slots.get_mut(index as usize) else { return false };
        if u64::from(slot.generation) != Self::generation_of(key) || !matches!(slot.entry, Entry::Used(_)) {
            return false;
        }
        let last = slot.generation == Self::LAST_GENERATION;
        let retired = last && !self.wraps;
        slot.entry = if retired { Entry::Retired } else { Entry::Free(0) };
        self.len -= 1;
        if !retired {
            slot.generation = if last { 0 } else { slot.generation + 1 };
            self.free(index);
        }
        true
    }

    /// Gives the entry with this key a new key in its place.
    pub fn renew(&mut self, key: u64) -> Option<u64> {
        self.occupied(key).map(Occupied::renew)
    }

    /// The entry with this key, for giving it a new one.
    #[inline(always)]
    pub fn occupied(&mut self, key: u64) -> Option<Occupied<'_, T, IDX_BITS, GEN_BITS>> {
        let index = Self::index_of(key);
        let slot = self.slots.get_mut(index as usize)?;
        if u64::from(slot.generation) != Self::generation_of(key) {
            return None;
        }
        match &mut slot.entry {
            Entry::Used(value) => Some(Occupied { generation: &mut slot.generation, index, value }),
            _ => None,
        }
    }

    /// Puts a slot at the end of the free list.
    fn free(&mut self, index: u32) {
        if self.free_tail == 0 {
            self.free_head = index;
        } else {
            self.slots[self.free_tail as usize].entry = Entry::Free(index);
        }
        self.free_tail = index;
    }

    /// Key of the first entry in a slot at or after `index` (start with 0, go on with the key's index plus one).
    pub fn next_key(&self, index: u32) -> Option<u64> {
        let rest = self.slots.get(index as usize..)?;
        let at = rest.iter().position(|slot| matches!(slot.entry, Entry::Used(_)))?;
        let index = index + at as u32;
        Some(Self::key(self.slots[index as usize].generation, index))
    }

    /// Index part of a key.
    pub const fn index_of(key: u64) -> u32 {
        key as u32 & Self::INDEX_MASK
    }

    /// Generation part of a key. A key with bits beyond the generation names nothing: no slot has so large a one.
    const fn generation_of(key: u64) -> u64 {
        key >> IDX_BITS
    }

    const fn key(generation: u32, index: u32) -> u64 {
        (generation as u64) << IDX_BITS | index as u64
    }

    /// All entries with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| match &slot.entry {
            Entry::Used(value) => Some((Self::key(slot.generation, index as u32), value)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    type Small = Table<u32, 4, 3>;

    #[test]
    fn a_copy_keeps_its_keys_and_fills_the_gaps() {
        let mut table = Small::new();
        table.insert_at(2 << 4 | 3, 30).unwrap();
        table.insert_at(5, 50).unwrap();
        assert_eq!(table.insert_at(4, 40), Err(40), "out of order");
        assert_eq!((table.get(2 << 4 | 3), table.get(5), table.len()), (Some(&30), Some(&50), 2));
        let rest: Vec<u64> = (0..4).map(|n| table.insert(n).unwrap()).collect();
        assert_eq!(rest, [1, 2, 4, 6]);
    }

    #[test]
    fn a_wrapping_table_never_runs_out() {
        let mut table = Table::<u32, 4, 3>::wrapping(6);
        let first = table.insert(1).unwrap();
        assert_eq!(first, 6 << 4 | 1);
        table.remove(first);
        for _ in 0..100 {
            let key = table.insert(2).unwrap();
            assert_ne!(key, 0);
            table.remove(key);
        }
        assert_eq!(table.get(1 << 40 | first), None, "bits beyond the key name nothing");
    }

    #[test]
    fn a_reviving_table_uses_all_keys_before_one_comes_back() {
        let mut table = Table::<u32, 4, 3>::reviving();
        let kept = table.insert(1).unwrap();
        let mut seen = std::collections::HashSet::new();
        let first = table.insert(2).unwrap();
        table.remove(first);
        seen.insert(first);
        loop {
            let key = table.insert(3).unwrap();
            table.remove(key);
            if !seen.insert(key) {
                assert_eq!(key, first);
                break;
            }
        }
        assert_eq!(seen.len(), 14 * 8, "all but the one that was in use");
        assert_eq!(table.get(kept), Some(&1));
        let all: Vec<u64> = (0..14).map(|n| table.insert(n).unwrap()).collect();
        assert_eq!(table.insert(0), Err(0), "full is full: {all:?}");
    }

    #[test]
    fn keys_are_never_zero_and_never_come_back() {
        let mut table = Small::new();
        let mut seen = std::collections::HashSet::new();
        let mut count = 0;
        while let Ok(key) = table.insert(7) {
            assert_ne!(key, 0);
            assert!(seen.insert(key), "key {key:#x} was given out twice");
            assert_eq!(table.remove(key), Some(7));
            assert_eq!(table.get(key), None);
            assert_eq!(table.remove(key), None);
            count += 1;
        }
        assert_eq!(count, 15 * 8, "every generation of every slot, then retired");
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in proptest::collection::vec((any::<bool>(), any::<u16>()), 0..400)) {
            let mut table: Table<u32, 6, 6> = Table::new();
            let mut model: HashMap<u64, u32> = HashMap::new();
            let mut all: Vec<u64> = Vec::new();
            for (insert, n) in ops {
                if insert || all.is_empty() {
                    if let Ok(key) = table.insert(u32::from(n)) {
                        prop_assert!(!all.contains(&key));
                        all.push(key);
                        model.insert(key, u32::from(n));
                    } else {
                        prop_assert!(model.len() >= 32);
                    }
                } else {
                    let key = all[usize::from(n) % all.len()];
                    if n % 2 == 0 {
                        prop_assert_eq!(table.discard(key), model.remove(&key).is_some());
                    } else {
                        prop_assert_eq!(table.remove(key), model.remove(&key));
                    }
                }
                prop_assert_eq!(table.len(), model.len());
                for key in &all {
                    prop_assert_eq!(table.get(*key), model.get(key));
                }
            }
            prop_assert_eq!(table.iter().map(|(k, v)| (k, *v)).collect::<HashMap<_, _>>(), model);
        }
    }
}
