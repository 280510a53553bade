//! A rate with a burst, as a virtual clock that runs ahead of the real one while it is spent (GCRA, ITU-T I.371). Eight
//! bytes per budget, and no refilling: an untouched one is full.

use std::time::{Duration, Instant};

/// How much a budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// What comes back per second, at least 1.
    pub per_second: u32,
    /// What may be spent at once, at least 1.
    pub burst: u32,
}

/// Reads budgets of one rate.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    origin: Instant,
    /// Nanoseconds that one unit takes to come back.
    interval: u64,
    /// How far ahead of now a budget's clock may stand, nanoseconds.
    tolerance: u64,
}

/// What was spent of one budget: nanoseconds until it is full again, since the meter's origin. The default is a full one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spent(pub(super) u64);

/// Nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over budget, something is left in {} ms", retry_after.as_millis())]
pub struct OverBudget {
    /// When one unit is back.
    pub retry_after: Duration,
}

const SECOND: u64 = 1_000_000_000;

impl Meter {
    /// A meter for budgets that are first used at `now` or later.
    pub fn new(rate: Rate, now: Instant) -> Meter {
        let interval = SECOND / u64::from(rate.per_second.max(1));
        let tolerance = interval.saturating_mul(u64::from(rate.burst.max(1)) - 1);
        Meter { origin: now, interval, tolerance }
    }

    /// The same clock with another rate. What was spent stays spent, counted in time.
    pub fn with_rate(self, rate: Rate) -> Meter {
        Meter { origin: self.origin, ..Meter::new(rate, self.origin) }
    }

    /// Whether anything is left; spends nothing.
    pub fn has_left(&self, now: Instant, spent: Spent) -> bool {
        self.wait(self.ticks(now), spent) == 0
    }

    /// Spends one unit, if there is one. What is refused costs nothing more: who slows down is served again.
    pub fn take(&self, now: Instant, spent: &mut Spent) -> Result<(), OverBudget> {
        let now = self.ticks(now);
        match self.wait(now, *spent) {
            0 => {
                self.add(now, spent);
                Ok(())
            }
            wait => Err(OverBudget { retry_after: Duration::from_nanos(wait) }),
        }
    }

    /// Spends one unit of what was allowed before its price was known; never beyond the first unit that is not there.
    pub fn charge(&self, now: Instant, spent: &mut Spent) {
        let now = self.ticks(now);
        if self.wait(now, *spent) == 0 {
            self.add(now, spent);
        }
    }

    /// Whether the budget is as good as new.
    pub(super) fn is_full(&self, now: Instant, spent: Spent) -> bool {
        spent.0 <= self.ticks(now)
    }

    fn add(&self, now: u64, spent: &mut Spent) {
        spent.0 = spent.0.max(now).saturating_add(self.interval);
    }

    /// Nanoseconds until one unit is there.
    fn wait(&self, now: u64, spent: Spent) -> u64 {
        spent.0.saturating_sub(now.saturating_add(self.tolerance))
    }

    /// 584 years fit.
    fn ticks(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.origin).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Rate = Rate { per_second: 10, burst: 3 };

    #[test]
    fn a_burst_is_there_at_once_and_the_rest_at_its_rate() {
        let start = Instant::now();
        let (meter, mut spent) = (Meter::new(TEN, start), Spent::default());
        for _ in 0..3 {
            meter.take(start, &mut spent).unwrap();
        }
        let over = meter.take(start, &mut spent).unwrap_err();
        assert_eq!(over.retry_after, Duration::from_millis(100));
        assert!(meter.take(start + Duration::from_millis(99), &mut spent).is_err());
        assert!(meter.take(start + over.retry_after, &mut spent).is_ok());
        assert!(meter.take(start + over.retry_after, &mut spent).is_err());
    }

    #[test]
    fn over_a_long_time_the_rate_holds_whatever_is_tried() {
        let start = Instant::now();
        let (meter, mut spent) = (Meter::new(TEN, start), Spent::default());
        let tried = (0..100_000).map(|n| start + Duration::from_millis(n));
        let taken = tried.filter(|at| meter.take(*at, &mut spent).is_ok()).count();
        assert_eq!(taken, 1000 + 2);
    }

    #[test]
    fn what_is_refused_or_charged_beyond_the_end_does_not_prolong_the_wait() {
        let start = Instant::now();
        let (meter, mut spent) = (Meter::new(TEN, start), Spent::default());
        for _ in 0..1000 {
            meter.charge(start, &mut spent);
            let _ = meter.take(start, &mut spent);
        }
        assert!(!meter.has_left(start + Duration::from_millis(99), spent));
        assert!(meter.has_left(start + Duration::from_millis(100), spent));
        assert!(meter.is_full(start + Duration::from_millis(300), spent));
    }

    #[test]
    fn a_new_rate_holds_for_what_comes() {
        let start = Instant::now();
        let (meter, mut spent) = (Meter::new(TEN, start), Spent::default());
        while meter.take(start, &mut spent).is_ok() {}
        let meter = meter.with_rate(Rate { per_second: 1000, burst: 1000 });
        let taken = (0..2000).filter(|_| meter.take(start, &mut spent).is_ok()).count();
        // 300 ms are spent, of a burst that lasts one second.
        assert_eq!(taken, 700);
    }

    #[test]
    fn zero_counts_as_one_and_the_largest_numbers_hold() {
        let now = Instant::now();
        for rate in [Rate { per_second: 0, burst: 0 }, Rate { per_second: u32::MAX, burst: u32::MAX }] {
            let (meter, mut spent) = (Meter::new(rate, now), Spent::default());
            assert!(meter.take(now, &mut spent).is_ok());
        }
        let (meter, mut spent) = (Meter::new(TEN, now), Spent(u64::MAX));
        assert!(meter.take(now, &mut spent).is_err());
    }
}
