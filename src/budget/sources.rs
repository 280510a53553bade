//! One budget per source, in a table that never grows.
//!
//! A source has a few places where it may stand, chosen by a keyed hash. A budget that is full again is as good as none, so
//! its place is free. Where all places are taken, **who owes least gives way**: a flood of addresses that each came once
//! pushes out its like, and to push out a source that has spent all, its own and seven neighbours must have spent all too, in places
//! that nobody outside can compute. Whoever has so many addresses has their budgets anyway and wins nothing.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::time::Instant;

use foldhash::quality::FixedState;

use super::rate::{Meter, OverBudget, Rate, Spent};
use super::source::Source;

/// Places per source: two cache lines.
const WAYS: usize = 8;
/// Not the key of any source.
const NOBODY: u64 = u64::MAX;

/// Budgets of many sources, all of one rate.
#[derive(Clone, Debug)]
pub struct Sources {
    meter: Meter,
    hasher: FixedState,
    /// A power of two.
    sets: Box<[[Place; WAYS]]>,
    forgotten: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    key: u64,
    spent: Spent,
}

impl Sources {
    /// Room for about `capacity` sources that owe something, at 16 bytes each, all of it taken at once. `seed` is a secret
    /// random number: who knows it can aim at places.
    pub fn new(rate: Rate, capacity: usize, seed: u64, now: Instant) -> Self {
        let sets = capacity.div_ceil(WAYS).clamp(1, 1 << 24).next_power_of_two();
        let empty = Place { key: NOBODY, spent: Spent::default() };
        Sources {
            meter: Meter::new(rate, now),
            hasher: FixedState::with_seed(seed),
            sets: vec![[empty; WAYS]; sets].into(),
            forgotten: 0,
        }
    }

    /// Another rate from now on; nobody is forgotten.
    pub fn set_rate(&mut self, rate: Rate) {
        self.meter = self.meter.with_rate(rate);
    }

    /// Spends one unit of the source of `ip`, if it has one.
    pub fn take(&mut self, now: Instant, ip: IpAddr) -> Result<(), OverBudget> {
        let meter = self.meter;
        meter.take(now, self.place(now, ip))
    }

    /// Whether the source of `ip` has anything left; spends nothing and remembers nothing.
    pub fn has_left(&self, now: Instant, ip: IpAddr) -> bool {
        let key = Source::of(ip).key();
        let known = self.sets[self.set(key)].iter().find(|place| place.key == key);
        known.is_none_or(|place| self.meter.has_left(now, place.spent))
    }

    /// Spends one unit of what was allowed before its price was known.
    pub fn charge(&mut self, now: Instant, ip: IpAddr) {
        let meter = self.meter;
        meter.charge(now, self.place(now, ip));
    }

    /// How often a source was forgotten though it owed something, because the table was full where it stood.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// How many sources owe something. Looks at the whole table: for a scrape.
    pub fn tracked(&self, now: Instant) -> usize {
        let owes = |place: &&Place| place.key != NOBODY && !self.meter.is_full(now, place.spent);
        self.sets.iter().flatten().filter(owes).count()
    }

    /// The place of a source: its own, else the one of whoever owes least.
    fn place(&mut self, now: Instant, ip: IpAddr) -> &mut Spent {
        let key = Source::of(ip).key();
        let set = self.set(key);
        let places = &mut self.sets[set];
        let way = match places.iter().position(|place| place.key == key) {
            Some(own) => own,
            None => {
                let least = least_owing(places);
                let owes = places[least].key != NOBODY && !self.meter.is_full(now, places[least].spent);
                self.forgotten += u64::from(owes);
                places[least] = Place { key, spent: Spent::default() };
                least
            }
        };
        &mut places[way].spent
    }

    fn set(&self, key: u64) -> usize {
        self.hasher.hash_one(key) as usize & (self.sets.len() - 1)
    }
}

/// An empty place owes nothing at all.
fn least_owing(places: &[Place; WAYS]) -> usize {
    let mut least = 0;
    for way in 1..WAYS {
        if places[way].spent < places[least].spent {
            least = way;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 5 };
    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(n))
    }

    fn spend_all(sources: &mut Sources, now: Instant, ip: IpAddr) -> usize {
        (0..).take_while(|_| sources.take(now, ip).is_ok()).count()
    }

    #[test]
    fn each_source_has_a_budget_of_its_own() {
        let now = Instant::now();
        let mut sources = Sources::new(RATE, 1024, 1, now);
        assert_eq!(spend_all(&mut sources, now, HOME), 5);
        assert_eq!(spend_all(&mut sources, now, v4(1)), 5);
        let site = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        assert_eq!(spend_all(&mut sources, now, site(1)), 5);
        assert_eq!(spend_all(&mut sources, now, site(2)), 0);
        assert_eq!(sources.tracked(now), 3);
        let later = now + Duration::from_secs(1);
        assert_eq!(sources.tracked(later), 0);
        assert_eq!(spend_all(&mut sources, later, HOME), 5);
    }

    #[test]
    fn looking_spends_nothing_and_charging_does() {
        let now = Instant::now();
        let mut sources = Sources::new(RATE, 1024, 1, now);
        for left in (0..5).rev() {
            assert!(sources.has_left(now, HOME));
            sources.charge(now, HOME);
            assert_eq!(sources.has_left(now, HOME), left > 0);
        }
        assert_eq!(sources.take(now, HOME).unwrap_err().retry_after, Duration::from_millis(100));
    }

    #[test]
    fn a_flood_of_a_million_addresses_does_not_free_a_source_that_has_spent_all() {
        let now = Instant::now();
        let mut sources = Sources::new(RATE, 4096, 7, now);
        spend_all(&mut sources, now, HOME);
        for n in 0..1_000_000 {
            sources.take(now, v4(n)).unwrap();
        }
        assert!(!sources.has_left(now, HOME));
        assert!(sources.forgotten() > 900_000, "the flood pushed out its like");
    }

    #[test]
    fn a_table_full_of_debtors_forgets_and_never_grows_or_refuses_the_newcomer() {
        let now = Instant::now();
        let mut sources = Sources::new(RATE, 64, 7, now);
        for n in 0..10_000 {
            assert_eq!(spend_all(&mut sources, now, v4(n)), 5);
        }
        assert_eq!(sources.tracked(now), 64);
    }

    #[test]
    fn who_has_paid_back_gives_way_without_being_counted() {
        let now = Instant::now();
        let mut sources = Sources::new(RATE, 8, 7, now);
        for n in 0..8 {
            sources.charge(now, v4(n));
        }
        let later = now + Duration::from_millis(100);
        for n in 8..16 {
            sources.charge(later, v4(n));
        }
        assert_eq!(sources.forgotten(), 0);
        sources.charge(later, v4(99));
        assert_eq!(sources.forgotten(), 1);
    }

    #[test]
    fn another_seed_gives_other_places() {
        let now = Instant::now();
        let table = |seed| {
            let sources = Sources::new(RATE, 4096, seed, now);
            (0..64).map(|n| sources.set(Source::of(v4(n)).key())).collect::<Vec<_>>()
        };
        assert_eq!(table(1), table(1));
        assert_ne!(table(1), table(2));
    }

    #[test]
    fn a_new_rate_keeps_what_was_spent() {
        let now = Instant::now();
        let mut sources = Sources::new(RATE, 64, 7, now);
        spend_all(&mut sources, now, HOME);
        sources.set_rate(Rate { per_second: 1, burst: 1 });
        assert!(!sources.has_left(now, HOME));
    }
}
