//! A map in many small parts. A hash table grows by moving all it has at once, which for fifty thousand entries takes longer
//! than a packet may wait; here a part at a time grows, each at its own moment, in some ten microseconds.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Parts: so many that the growth of one is short, and so few that their heads stay in the cache.
const PARTS: usize = 64;

/// Values by key. Strangers choose the keys up to a point, hence the random seed.
pub(super) struct Shards<K, V> {
    hasher: foldhash::quality::RandomState,
    parts: Box<[HashTable<(K, V)>; PARTS]>,
}

impl<K, V> Default for Shards<K, V> {
    fn default() -> Self {
        let parts = Box::new(std::array::from_fn(|_| HashTable::new()));
        Shards { hasher: foldhash::quality::RandomState::default(), parts }
    }
}

impl<K: Hash + Eq, V> Shards<K, V> {
    #[inline]
    pub(super) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        self.parts[part(hash)].find(hash, |(known, _)| known.borrow() == key).map(|(_, value)| value)
    }

    pub(super) fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let found = self.parts[part(hash)].find_mut(hash, |(known, _)| known.borrow() == key);
        found.map(|(_, value)| value)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The value that was there before.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.entry(key) {
            (Entry::Occupied(mut entry), _) => Some(std::mem::replace(&mut entry.get_mut().1, value)),
            (Entry::Vacant(entry), key) => {
                entry.insert((key, value));
                None
            }
        }
    }

    /// The value of `key`, made by `make` where there is none.
    pub(super) fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> &mut V {
        match self.entry(key) {
            (Entry::Occupied(entry), _) => &mut entry.into_mut().1,
            (Entry::Vacant(entry), key) => &mut entry.insert((key, make())).into_mut().1,
        }
    }

    pub(super) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let found = self.parts[part(hash)].find_entry(hash, |(known, _)| known.borrow() == key).ok()?;
        Some(found.remove().0.1)
    }

    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.parts.iter().flat_map(|part| part.iter().map(|(key, _)| key))
    }

    fn entry(&mut self, key: K) -> (Entry<'_, (K, V)>, K) {
        let hash = self.hasher.hash_one(&key);
        let hasher = &self.hasher;
        let part = &mut self.parts[part(hash)];
        (part.entry(hash, |(known, _)| *known == key, |(known, _)| hasher.hash_one(known)), key)
    }
}

/// The table within a part goes by the lowest and the highest bits.
#[inline]
fn part(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_map() {
        let mut map = Shards::<Box<[u8]>, usize>::default();
        let key = |n: usize| format!("key {n}").into_bytes().into_boxed_slice();
        for n in 0..10_000 {
            assert_eq!(map.insert(key(n), n), None);
        }
        assert_eq!(map.insert(key(5), 50), Some(5));
        assert_eq!((map.len(), map.get(&b"key 5"[..]), map.get(&b"key"[..])), (10_000, Some(&50), None));
        assert_eq!((map.remove(&key(5)), map.remove(&key(5))), (Some(50), None));
        assert_eq!(*map.get_or_insert_with(key(5), || 7), 7);
        assert_eq!(*map.get_or_insert_with(key(5), || 8), 7);
        *map.get_mut(&key(6)).unwrap() += 1;
        assert!(map.contains_key(&key(6)) && map.keys().count() == 10_000);
    }

    #[test]
    fn parts_grow_each_at_its_own_moment() {
        let mut map = Shards::<usize, usize>::default();
        let capacities =
            |map: &Shards<usize, usize>| map.parts.iter().map(HashTable::capacity).collect::<Vec<_>>();
        let (mut before, mut most) = (capacities(&map), 0);
        for n in 0..50_000 {
            map.insert(n, n);
            if n % 256 == 255 {
                let after = capacities(&map);
                // Small parts are quick to move, however many of them.
                let grown = |(old, new): &(&usize, &usize)| new > old && **old > 200;
                most = most.max(before.iter().zip(&after).filter(grown).count());
                before = after;
            }
        }
        assert!(most < PARTS / 2, "{most} of {PARTS} at once");
    }
}
