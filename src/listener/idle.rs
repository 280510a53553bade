//! How a packet thread waits for its next work. When to take a nap is decided in `coalesce`.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use nix::time::{ClockId, clock_gettime};

use super::alarm::Alarm;
use super::coalesce::Coalescing;

/// The waits of one worker.
#[derive(Debug)]
pub(super) struct Idle {
    alarm: Alarm,
    coalescing: Coalescing,
    was_busy: bool,
    /// When the last wait ended: near enough to now for all that is decided here, and the clock is not asked twice.
    woken: Instant,
}

impl Idle {
    /// The waits of who waits with `poll`. `nap`: `media.coalesce`.
    pub(super) fn new(poll: &Poll, nap: Duration, now: Instant) -> io::Result<Idle> {
        Ok(Idle {
            alarm: Alarm::new(poll)?,
            coalescing: Coalescing::new(nap, now),
            was_busy: false,
            woken: now,
        })
    }

    /// `media.coalesce` is another one from now on.
    pub(super) fn set_nap(&mut self, nap: Duration, now: Instant) {
        self.coalescing = Coalescing::new(nap, now);
    }

    /// Packets came since the last wait.
    #[inline]
    pub(super) fn busy(&mut self) {
        self.was_busy = true;
    }

    /// Looks whether something happened, without waiting. Returns the time.
    pub(super) fn look(&mut self, poll: &mut Poll, events: &mut Events) -> io::Result<Instant> {
        self.was_busy = false;
        wait_for_events(poll, events, Some(Duration::ZERO))?;
        Ok(self.now())
    }

    /// Waits for something to happen, until `until` or a little later. Returns the time then.
    pub(super) fn wait(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        until: Option<Instant>,
    ) -> io::Result<Instant> {
        let now = self.woken;
        if until.is_some_and(|until| until <= now) {
            return self.look(poll, events);
        }
        let was_busy = std::mem::take(&mut self.was_busy);
        let nap = if was_busy { self.coalescing.nap(now, worked) } else { None };
        if let Some(nap) = nap.filter(|nap| until.is_none_or(|until| until > now + *nap)) {
            std::thread::sleep(nap);
            wait_for_events(poll, events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                return Ok(self.now());
            }
            self.coalescing.was_vain();
        }
        if let Some(until) = until {
            self.alarm.ring_by(until, now)?;
        }
        wait_for_events(poll, events, None)?;
        Ok(self.now())
    }

    fn now(&mut self) -> Instant {
        self.woken = Instant::now();
        self.woken
    }
}

fn wait_for_events(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}

/// Processor time that this thread has used.
fn worked() -> Duration {
    // There is such a clock on every Linux; without it there would be no naps.
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
