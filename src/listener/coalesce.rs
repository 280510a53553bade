//! Whether a worker that has run out of packets sleeps for a moment whatever comes, or until the next packet comes. Decides over
//! moments; never waits itself.
//!
//! Falling asleep and being woken costs as much as forwarding a packet does, most of all in a virtual machine, and so does waking
//! whoever receives. Where packets follow each other closely, a nap has several of them pay for one waking, as network cards
//! do it with their interrupts. A packet waits for it, though, so only a worker with a good part of its time taken does it;
//! with time to spare it answers at once. Where packets come one by one, a nap would only be one more waking: naps are
//! judged by what had come when they were over, and given up for a while.

use std::time::{Duration, Instant};

/// How often it is decided anew.
const WINDOW: Duration = Duration::from_millis(20);
/// Naps begin where so many hundredths of the time are work.
const BUSY_FROM: u32 = 28;
/// So often in a row: when a hypervisor takes the processor away for a moment, that counts as work here.
const BUSY_FOR: u32 = 5;
/// They end where fewer than so many are: they save up to a quarter of it, and what would not begin them does not keep them.
const BUSY_UNTIL: u32 = 22;
/// They are tried from so many rests in a window on, a waking every 250 µs.
const TRIED_FROM: u128 = 80;
/// One nap in so many may be in vain. With fewer than two packets per nap on average it is more than a seventh (e^-2), and a
/// timer costs about what two wakings by a packet do.
const VAIN_AT_MOST: u32 = 7;
/// Where more are, naps are given up for so long: a twentieth of the time goes into trying.
const PAUSE: Duration = Duration::from_millis(400);

/// The rests of one worker.
#[derive(Debug)]
pub(super) struct Coalescing {
    nap: Duration,
    naps: bool,
    /// Windows in a row that were busy enough.
    busy_for: u32,
    not_before: Instant,
    /// The window; what follows is counted in it.
    since: Instant,
    /// Times that packets had come and nothing was left to do.
    rests: u32,
    vain: u32,
    /// What the worker had worked by then.
    worked: Duration,
}

impl Coalescing {
    /// `nap`: how long; zero: never.
    pub(super) fn new(nap: Duration, now: Instant) -> Coalescing {
        Coalescing {
            nap,
            naps: false,
            busy_for: 0,
            not_before: now,
            since: now,
            rests: 0,
            vain: 0,
            worked: Duration::ZERO,
        }
    }

    /// How long to sleep, now that packets came and nothing is left to do. `worked` is asked for the processor time that
    /// the worker has used up to now: time in which others had the processor is no reason to make packets wait.
    pub(super) fn nap(&mut self, now: Instant, worked: impl FnOnce() -> Duration) -> Option<Duration> {
        if self.nap.is_zero() {
            return None;
        }
        self.rests += 1;
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            let worked = worked();
            self.decide(now, passed, worked.saturating_sub(self.worked));
            (self.since, self.rests, self.vain, self.worked) = (now, 0, 0, worked);
        }
        self.naps.then_some(self.nap)
    }

    /// The nap is over, and nothing had come.
    pub(super) fn was_vain(&mut self) {
        self.vain += 1;
    }

    fn decide(&mut self, now: Instant, passed: Duration, busy: Duration) {
        let share_from = |hundredths| busy * 100 >= passed * hundredths;
        if !self.naps {
            let often = u128::from(self.rests) * WINDOW.as_nanos() >= TRIED_FROM * passed.as_nanos();
            self.busy_for = if often && share_from(BUSY_FROM) { self.busy_for + 1 } else { 0 };
            self.naps = self.busy_for >= BUSY_FOR && now >= self.not_before;
        } else if self.vain * VAIN_AT_MOST > self.rests {
            self.naps = false;
            self.not_before = now + PAUSE;
        } else {
            self.naps = share_from(BUSY_UNTIL);
        }
        if self.naps {
            self.busy_for = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAP: Duration = Duration::from_micros(200);

    /// A packet comes every `gap` and takes `work`, microseconds. Returns how often the worker fell asleep within a second, after
    /// one to get used to it, and the longest that a packet waited.
    fn second(nap: Duration, gap: u64, work: u64) -> (u32, Duration) {
        let (gap, work) = (Duration::from_micros(gap), Duration::from_micros(work));
        let start = Instant::now();
        let mut coalescing = Coalescing::new(nap, start);
        let (mut now, mut next, mut sleeps, mut longest) = (start, start, 0, Duration::ZERO);
        let mut worked = Duration::ZERO;
        while now < start + Duration::from_secs(2) {
            while next <= now {
                longest = longest.max(now - next);
                if now < start + Duration::from_secs(1) {
                    sleeps = 0;
                }
                (now, next, worked) = (now + work, next + gap, worked + work);
            }
            if let Some(nap) = coalescing.nap(now, || worked) {
                (now, sleeps) = (now + nap, sleeps + 1);
                if next <= now {
                    continue;
                }
                coalescing.was_vain();
            }
            (now, sleeps) = (next.max(now), sleeps + 1);
        }
        (sleeps, longest)
    }

    #[test]
    fn a_worker_with_much_to_do_lets_packets_share_a_waking() {
        for (gap, work, at_most) in [(25, 12, 4000), (40, 15, 4500), (90, 40, 5500)] {
            let ((with, longest), (without, _)) = (second(NAP, gap, work), second(Duration::ZERO, gap, work));
            assert!(with < at_most && with < without, "{gap} {work}: {with} instead of {without}");
            assert!(longest <= 2 * NAP, "{gap} {work}: {longest:?}");
        }
    }

    #[test]
    fn one_with_time_to_spare_takes_each_packet_at_once() {
        for (gap, work) in [(40, 10), (90, 20), (1000, 10), (20_000, 10)] {
            assert_eq!(second(NAP, gap, work), second(Duration::ZERO, gap, work), "{gap} {work}");
        }
    }

    #[test]
    fn where_they_come_one_by_one_next_to_nothing_is_lost_by_trying() {
        for (gap, work) in [(240, 100), (300, 150), (1000, 500)] {
            let ((with, _), (without, _)) = (second(NAP, gap, work), second(Duration::ZERO, gap, work));
            assert!(with <= without + without / 15, "{gap} {work}: {with} instead of {without}");
        }
    }

    #[test]
    fn one_moment_without_the_processor_begins_no_naps() {
        let start = Instant::now();
        let mut coalescing = Coalescing::new(NAP, start);
        let (mut now, mut worked) = (start, Duration::ZERO);
        while now < start + Duration::from_secs(2) {
            // A quarter of the time is work; twice a second something takes 10 ms of it.
            let stall = if (now - start).as_millis() % 500 < 1 { 10_000 } else { 0 };
            now += Duration::from_micros(60 + stall);
            worked += Duration::from_micros(15 + stall);
            assert_eq!(coalescing.nap(now, || worked), None, "at {:?}", now - start);
        }
    }

    #[test]
    fn naps_end_with_the_load() {
        let mut now = Instant::now();
        let mut coalescing = Coalescing::new(NAP, now);
        let mut worked = Duration::ZERO;
        let mut after = |coalescing: &mut Coalescing, work: u64, others: u64| {
            for _ in 0..2000 {
                now += Duration::from_micros(work + others);
                worked += Duration::from_micros(work);
                coalescing.nap(now, || worked);
            }
            coalescing.nap(now, || worked).is_some()
        };
        assert!(!after(&mut coalescing, 26, 74));
        assert!(after(&mut coalescing, 30, 70));
        assert!(after(&mut coalescing, 23, 77), "what they save does not end them");
        assert!(!after(&mut coalescing, 20, 80));
    }
}
