//! \[pure\] A timer wheel: many timers, cheap to set, fired in order of their slot.
//!
//! It never cancels: whoever is woken looks at its own deadline and sets the next timer, so an outdated timer costs
//! one look and nothing else. Deadlines beyond the horizon fire early at the horizon, for the same reason.

use std::time::{Duration, Instant};

/// One slot's width. Timers that are near fire up to this much late; ICE pacing (50 ms) and retransmission (≥ 250 ms) do not notice.
const SLOT: Duration = Duration::from_millis(5);
/// Timers that are so many slots away fire together with others, at the next multiple of [`COARSE`]: up to 80 ms late after two seconds
/// or more. A thousand sessions that check their paths each in its own moment wake their worker a thousand times; so they
/// do it 12 times a second, and their checks leave in one call.
const FAR: u64 = 400;
const COARSE: u64 = 16;
/// Slots; the horizon is `SLOT * SLOTS` = 10.24 s.
const SLOTS: usize = 2048;
/// A slot that held more than so many gives its memory back: a crowd that came in one moment does not meet again there.
const KEPT: usize = 64;
const WORDS: usize = SLOTS / 64;

/// Timers for keys of type `K`.
pub struct Wheel<K> {
    start: Instant,
    /// The first slot that has not been fired, counted from `start`.
    cursor: u64,
    slots: Vec<Vec<K>>,
    /// One bit per slot that holds a timer.
    occupied: [u64; WORDS],
    /// When the first of those is due: asked for at every turn of a worker, and changed seldom.
    next: Option<Instant>,
}

impl<K> Wheel<K> {
    /// An empty wheel that knows no time before `start`.
    pub fn new(start: Instant) -> Self {
        let slots = (0..SLOTS).map(|_| Vec::new()).collect();
        Wheel { start, cursor: 0, slots, occupied: [0; WORDS], next: None }
    }

    /// Wakes `key` at `at`, or a little later; at the horizon where `at` is further away. Returns when it will be, so
    /// that whoever is woken can tell its own timer from an outdated one.
    pub fn set(&mut self, at: Instant, key: K) -> Instant {
        let mut wanted = self.slot_at(at) + 1;
        if wanted >= self.cursor + FAR {
            wanted = wanted.next_multiple_of(COARSE);
        }
        let serial = wanted.clamp(self.cursor, self.cursor + SLOTS as u64 - 1);
        let slot = serial as usize % SLOTS;
        self.slots[slot].push(key);
        self.occupied[slot / 64] |= 1 << (slot % 64);
        let at = self.time_of(serial);
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        at
    }

    /// Takes every key whose time has come into `due`, earliest slot first.
    pub fn fire(&mut self, now: Instant, due: &mut Vec<K>) {
        self.advance(self.slot_at(now), due);
        self.next = self.next_occupied().map(|ahead| self.time_of(self.cursor + ahead));
    }

    fn advance(&mut self, reached: u64, due: &mut Vec<K>) {
        while self.cursor <= reached {
            let Some(ahead) = self.next_occupied() else {
                self.cursor = reached + 1;
                return;
            };
            if self.cursor + ahead > reached {
                self.cursor = reached + 1;
                return;
            }
            self.cursor += ahead;
            let slot = self.cursor as usize % SLOTS;
            due.append(&mut self.slots[slot]);
            if self.slots[slot].capacity() > KEPT {
                self.slots[slot] = Vec::new();
            }
            self.occupied[slot / 64] &= !(1 << (slot % 64));
            self.cursor += 1;
        }
    }

    /// When [`Wheel::fire`] has something to do next.
    #[inline]
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    fn time_of(&self, slot: u64) -> Instant {
        self.start + Duration::from_millis(slot * SLOT.as_millis() as u64)
    }

    fn slot_at(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.start).as_micros() / SLOT.as_micros()) as u64
    }

    /// Distance from the cursor to the next occupied slot.
    fn next_occupied(&self) -> Option<u64> {
        let from = self.cursor as usize % SLOTS;
        let (word, bit) = (from / 64, from % 64);
        let first = self.occupied[word] >> bit;
        if first != 0 {
            return Some(u64::from(first.trailing_zeros()));
        }
        (1..=WORDS).find_map(|step| {
            let index = (word + step) % WORDS;
            let bits =
                if step == WORDS { self.occupied[index] & ((1 << bit) - 1) } else { self.occupied[index] };
            (bits != 0).then(|| (step * 64 - bit) as u64 + u64::from(bits.trailing_zeros()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_timer_fires_once_not_early_and_a_little_late_at_most() {
        let start = Instant::now();
        for delay in [0, 1, 4, 5, 6, 49, 50, 250, 3_000, 9_999] {
            let mut wheel = Wheel::new(start);
            wheel.set(start + ms(delay), 7);
            let mut due = Vec::new();
            let mut fired = None;
            for t in 0..12_000 {
                wheel.fire(start + ms(t), &mut due);
                if !due.is_empty() {
                    assert_eq!(fired, None, "fired twice");
                    fired = Some(t);
                    due.clear();
                }
            }
            let fired = fired.expect("never fired");
            let late = if delay < 2_000 { 10 } else { 90 };
            assert!(fired >= delay && fired <= delay + late, "wanted {delay}, fired {fired}");
        }
    }

    #[test]
    fn the_wheel_says_when_it_wants_to_be_called() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        assert_eq!(wheel.next(), None);
        let mut now = start;
        let mut due = Vec::new();
        for step in [1u64, 700, 3, 9_000, 64, 320, 640, 10_000] {
            wheel.set(now + ms(step), step);
            let next = wheel.next().expect("a timer is set");
            assert!(next >= now + ms(step), "{step}: too early");
            wheel.fire(next, &mut due);
            assert_eq!(due, [step]);
            due.clear();
            now = next;
        }
    }

    #[test]
    fn a_deadline_beyond_the_horizon_fires_at_the_horizon() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        let told = wheel.set(start + Duration::from_secs(3600), 1);
        let next = wheel.next().expect("a timer is set");
        assert_eq!(told, next);
        assert!(next <= start + Duration::from_secs(11));
        let mut due = Vec::new();
        wheel.fire(start + Duration::from_secs(20), &mut due);
        assert_eq!(due, [1]);
    }

    #[test]
    fn a_long_pause_fires_everything_that_is_due() {
        let start = Instant::now();
        let mut wheel = Wheel::new(start);
        for i in 0..5000u64 {
            wheel.set(start + ms(i), i);
        }
        let mut due = Vec::new();
        wheel.fire(start + Duration::from_secs(60), &mut due);
        due.sort_unstable();
        assert_eq!(due, (0..5000).collect::<Vec<_>>());
    }
}
