//! Whether a worker that has run out of work looks a moment longer before it sleeps. Decides over moments; never waits itself.
//!
//! Falling asleep and being woken costs more than forwarding a packet does, most of all in a virtual machine. Where packets
//! come one shortly after the other, the next one is there before the worker slept; where they do not, looking longer is
//! wasted. So an account is kept: every sleep that was spared pays in, looking costs, and with nothing left on it the worker
//! sleeps at once, until it may try again.

use std::time::{Duration, Instant};

/// Longest look.
pub(super) const LONGEST: Duration = Duration::from_micros(30);
/// What a spared sleep is worth, nanoseconds.
const WORTH: i64 = 8_000;
/// What may be lost before it is given up, nanoseconds: five looks in vain.
const CREDIT: i64 = 150_000;
/// What may be saved for worse times, nanoseconds.
const MOST_SAVED: i64 = 150_000;
/// Given up for so long; so what is wasted stays below one part in three hundred.
const PAUSE: Duration = Duration::from_millis(50);

/// The account of one worker.
#[derive(Debug)]
pub(super) struct Linger {
    balance: i64,
    /// Given up until then.
    until: Option<Instant>,
}

impl Linger {
    pub(super) fn new() -> Linger {
        Linger { balance: 0, until: None }
    }

    /// Whether to look longer, now that nothing is left to do.
    pub(super) fn is_worth_it(&mut self, now: Instant) -> bool {
        if self.until.is_some_and(|until| now >= until) {
            *self = Linger::new();
        }
        self.until.is_none()
    }

    /// A look took so long, and something came, or nothing did.
    pub(super) fn looked(&mut self, now: Instant, took: Duration, found: bool) {
        let took = i64::try_from(took.as_nanos()).unwrap_or(CREDIT);
        let gain = if found { WORTH } else { 0 };
        self.balance = (self.balance + gain - took).min(MOST_SAVED);
        if self.balance < -CREDIT {
            self.until = Some(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks whenever there is nothing to do, which is every `gap`; the share of time that went into it, and how often it spared
    /// a sleep.
    fn second(gap: Duration, take: Duration, found: bool) -> (f64, u32) {
        let (start, mut linger) = (Instant::now(), Linger::new());
        let (mut now, mut looked, mut spared) = (start, Duration::ZERO, 0);
        while now < start + Duration::from_secs(1) {
            now += gap;
            if linger.is_worth_it(now) {
                now += take;
                looked += take;
                spared += u32::from(found);
                linger.looked(now, take, found);
            }
        }
        (looked.as_secs_f64(), spared)
    }

    #[test]
    fn where_packets_follow_each_other_closely_it_never_sleeps() {
        let (_, spared) = second(Duration::from_micros(20), Duration::from_micros(3), true);
        assert!(spared > 40_000, "{spared}");
    }

    #[test]
    fn where_none_comes_in_time_next_to_nothing_is_wasted() {
        for gap in [50, 100, 1000] {
            let (wasted, _) = second(Duration::from_micros(gap), LONGEST, false);
            assert!(wasted < 0.005, "{gap} us: {wasted}");
        }
        // Nor where it is there in the end, after longer than a sleep costs.
        let (wasted, _) = second(Duration::from_micros(50), Duration::from_micros(25), true);
        assert!(wasted < 0.006, "{wasted}");
    }
}
