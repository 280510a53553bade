//! \[pure\] A map that forgets what was not used for a time, and never holds more than so many entries.
//!
//! Entries live in two halves; using one moves it to the young half. When that is full, the old half is dropped: what was
//! not used for longest, without a list that must be kept in order.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(super) struct Memory<K, V> {
    young: HashMap<K, Entry<V>>,
    old: HashMap<K, Entry<V>>,
    half: usize,
    life: Duration,
}

#[derive(Debug)]
struct Entry<V> {
    used: Instant,
    value: V,
}

impl<K: Hash + Eq + Copy, V> Memory<K, V> {
    /// Holds at most `capacity` entries, each until `life` after its last use.
    pub(super) fn new(capacity: usize, life: Duration) -> Self {
        Memory { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1), life }
    }

    /// The value of `key`, which counts as a use of it.
    pub(super) fn get(&mut self, key: &K, now: Instant) -> Option<&mut V> {
        let entry = self.young.remove(key).or_else(|| self.old.remove(key))?;
        if now.saturating_duration_since(entry.used) >= self.life {
            return None;
        }
        self.insert(*key, entry.value, now);
        self.young.get_mut(key).map(|entry| &mut entry.value)
    }

    pub(super) fn insert(&mut self, key: K, value: V, now: Instant) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, Entry { used: now, value });
    }

    /// Drops what is too old; for every few seconds.
    pub(super) fn sweep(&mut self, now: Instant) {
        for half in [&mut self.young, &mut self.old] {
            half.retain(|_, entry| now.saturating_duration_since(entry.used) < self.life);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(600);

    #[test]
    fn an_entry_is_forgotten_a_life_after_its_last_use() {
        let mut memory = Memory::new(10, LIFE);
        let start = Instant::now();
        memory.insert(1, 'a', start);
        memory.insert(2, 'b', start);
        assert_eq!(memory.get(&1, start + LIFE - Duration::from_secs(1)), Some(&mut 'a'));
        assert_eq!(memory.get(&1, start + LIFE * 3 / 2), Some(&mut 'a'));
        assert_eq!(memory.get(&2, start + LIFE), None);
        memory.insert(3, 'c', start + LIFE);
        memory.sweep(start + LIFE * 2);
        assert_eq!(memory.len(), 1);
    }

    #[test]
    fn a_flood_drops_what_was_not_used_and_keeps_what_is() {
        let mut memory = Memory::new(100, LIFE);
        let now = Instant::now();
        memory.insert(0, 0, now);
        memory.insert(1, 1, now);
        for key in 2..10_000 {
            memory.insert(key, key, now);
            assert!(memory.len() <= 100, "{}", memory.len());
            assert_eq!(memory.get(&0, now), Some(&mut 0), "{key}");
        }
        assert_eq!(memory.get(&1, now), None);
    }
}
