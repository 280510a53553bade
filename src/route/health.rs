//! \[pure\] Whether one server is in the rotation of its group, by what requests and checks met.
//!
//! A request that cannot connect takes the server out at once; it is tried again after a time that doubles. Checks take it
//! out after `fall` failures in a row and bring it back after `rise` successes. Never opens a connection.

use std::time::{Duration, Instant};

/// First and longest time without a server that a request could not connect to.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What somebody met at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A request got through.
    Reached,
    /// A request got no connection.
    Unreachable,
    /// A check found it well.
    CheckPassed,
    /// A check did not.
    CheckFailed,
}

/// A server's part in the rotation changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It takes no more requests that another server can take.
    Left,
    /// It takes its turns again.
    Returned,
}

#[derive(Clone, Debug)]
pub(super) struct Health {
    state: State,
    /// Checks in a row that say the opposite of `state`.
    against: u32,
    backoff: Duration,
    fall: u32,
    rise: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Up,
    /// Until then; for as long as checks fail where there is no time.
    Down(Option<Instant>),
}

impl Health {
    pub(super) fn new(fall: u32, rise: u32) -> Self {
        Health { state: State::Up, against: 0, backoff: BACKOFF.0, fall, rise }
    }

    /// The same state, judged by other numbers from now on.
    pub(super) fn judged_by(self, fall: u32, rise: u32) -> Self {
        Health { fall, rise, ..self }
    }

    /// Whether requests should come here while others could take them.
    pub(super) fn is_usable(&self, now: Instant) -> bool {
        match self.state {
            State::Up => true,
            State::Down(until) => until.is_some_and(|until| now >= until),
        }
    }

    pub(super) fn report(&mut self, evidence: Evidence, now: Instant) -> Option<Change> {
        match (evidence, self.state) {
            // That some requests get through does not outvote the checks.
            (Evidence::Reached | Evidence::Unreachable, State::Down(None)) => None,
            (Evidence::Reached, State::Up) => {
                self.backoff = BACKOFF.0;
                None
            }
            (Evidence::Reached, State::Down(Some(_))) => self.rise(),
            (Evidence::Unreachable, _) => self.leave(now),
            (Evidence::CheckPassed, State::Up) | (Evidence::CheckFailed, State::Down(None)) => {
                self.against = 0;
                None
            }
            (Evidence::CheckPassed, State::Down(_)) => self.counts_against(self.rise).then(|| self.rise())?,
            (Evidence::CheckFailed, State::Up) => self.counts_against(self.fall).then(|| {
                self.state = State::Down(None);
                Change::Left
            }),
            (Evidence::CheckFailed, State::Down(Some(_))) => {
                self.state = State::Down(None);
                self.against = 0;
                None
            }
        }
    }

    fn counts_against(&mut self, enough: u32) -> bool {
        self.against += 1;
        let is_enough = self.against >= enough;
        if is_enough {
            self.against = 0;
        }
        is_enough
    }

    fn rise(&mut self) -> Option<Change> {
        self.against = 0;
        self.backoff = BACKOFF.0;
        (std::mem::replace(&mut self.state, State::Up) != State::Up).then_some(Change::Returned)
    }

    fn leave(&mut self, now: Instant) -> Option<Change> {
        let was = std::mem::replace(&mut self.state, State::Down(Some(now + self.backoff)));
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
        self.against = 0;
        (was == State::Up).then_some(Change::Left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_connection_takes_it_out_for_a_time_that_doubles() {
        let mut health = Health::new(2, 1);
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for attempt in 0..7 {
            let change = health.report(Evidence::Unreachable, now);
            assert_eq!(change, (attempt == 0).then_some(Change::Left));
            let out = (0..60).find(|wait| health.is_usable(now + Duration::from_secs(*wait))).unwrap();
            waits.push(out);
            now += Duration::from_secs(out);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(health.report(Evidence::Reached, now), Some(Change::Returned));
        assert_eq!(health.report(Evidence::Unreachable, now), Some(Change::Left));
        assert!(health.is_usable(now + Duration::from_secs(1)));
    }

    #[test]
    fn checks_count_in_a_row() {
        use Evidence::{CheckFailed as No, CheckPassed as Yes};
        let mut health = Health::new(3, 2);
        let now = Instant::now();
        let late = now + Duration::from_secs(1000);
        let changes: Vec<_> = [No, No, Yes, No, No, No, No, Yes, No, Yes, Yes, Yes, No]
            .map(|evidence| health.report(evidence, now).map(|change| (change, health.is_usable(late))))
            .into_iter()
            .enumerate()
            .filter_map(|(at, change)| Some((at, change?)))
            .collect();
        assert_eq!(changes, [(5, (Change::Left, false)), (10, (Change::Returned, true))]);
    }

    #[test]
    fn a_check_confirms_or_ends_what_a_request_met() {
        let now = Instant::now();
        let late = now + Duration::from_secs(1000);
        let mut dead = Health::new(2, 1);
        dead.report(Evidence::Unreachable, now);
        assert_eq!(dead.report(Evidence::CheckFailed, now), None);
        assert!(!dead.is_usable(late), "checks fail, so it is not tried again");
        for request in [Evidence::Unreachable, Evidence::Reached] {
            assert_eq!(dead.report(request, now), None);
            assert!(!dead.is_usable(late));
        }
        assert_eq!(dead.report(Evidence::CheckPassed, now), Some(Change::Returned));
        assert!(dead.is_usable(now));
    }
}
