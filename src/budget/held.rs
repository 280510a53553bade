//! How many things of one kind each source holds at a time: connections, allocations.
//!
//! Its memory is bounded by what it counts: a source that holds nothing is forgotten.

use std::net::IpAddr;

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::source::Source;

/// Counts per source.
#[derive(Debug, Default)]
pub struct Held {
    counts_by_source: HashMap<Source, u32, foldhash::quality::RandomState>,
    total: usize,
}

impl Held {
    /// One more for the source of `ip`, unless it has `limit` of them.
    pub fn take(&mut self, ip: IpAddr, limit: usize) -> bool {
        let count = self.counts_by_source.entry(Source::of(ip)).or_insert(0);
        let fits = (*count as usize) < limit;
        if fits {
            *count += 1;
            self.total += 1;
        } else if *count == 0 {
            self.counts_by_source.remove(&Source::of(ip));
        }
        fits
    }

    /// One of `ip` is gone.
    pub fn give_back(&mut self, ip: IpAddr) {
        let Entry::Occupied(mut count) = self.counts_by_source.entry(Source::of(ip)) else { return };
        self.total -= 1;
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }

    /// How many the source of `ip` has.
    pub fn of(&self, ip: IpAddr) -> usize {
        self.counts_by_source.get(&Source::of(ip)).map_or(0, |count| *count as usize)
    }

    /// How many all sources have.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many sources have any.
    pub fn sources(&self) -> usize {
        self.counts_by_source.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_a_limit_and_who_holds_nothing_is_forgotten() {
        let (home, site): (IpAddr, IpAddr) = ("192.0.2.7".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let mut held = Held::default();
        assert!(held.take(home, 2) && held.take(home, 2) && !held.take(home, 2));
        assert!(held.take(site, 1) && !held.take("2001:db8::2".parse().unwrap(), 1));
        assert_eq!((held.of(home), held.total(), held.sources()), (2, 3, 2));
        held.give_back(home);
        assert!(held.take(home, 2));
        for ip in [home, home, site, site] {
            held.give_back(ip);
        }
        assert_eq!((held.total(), held.sources()), (0, 0));
        assert!(!held.take(home, 0));
        assert_eq!(held.sources(), 0);
    }
}
