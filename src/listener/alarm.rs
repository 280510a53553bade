//! When a packet thread wants to be woken though nothing comes, told to the kernel beside its waits.
//!
//! For a wait with a timeout the kernel sets a timer, and takes it back when something came first: where packets come, nearly
//! always. That costs over a microsecond, as in a virtual machine each change of the next interrupt leaves the machine. An
//! alarm stays set instead. It is set anew when it rang, or when something is to be done before it; where what it was for came
//! to be later, it rings once too often.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

/// The alarm's token. Whoever waits has nothing to do for it: it is awake.
pub(super) const ALARM: Token = Token(usize::MAX - 1);

/// One thread's alarm.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: TimerFd,
    rings: Option<Instant>,
}

impl Alarm {
    /// One that is not set, and wakes who waits with `poll`.
    pub(super) fn new(poll: &Poll) -> io::Result<Alarm> {
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_fd().as_raw_fd()), ALARM, Interest::READABLE)?;
        Ok(Alarm { timer, rings: None })
    }

    /// Has it ring at `at` or before. `now` may be a little old; `at` is later.
    #[inline]
    pub(super) fn ring_by(&mut self, at: Instant, now: Instant) -> io::Result<()> {
        // What should have rung has, and is not read: the next ring is a new event.
        if self.rings.is_some_and(|rings| now < rings && rings <= at) {
            return Ok(());
        }
        // A timer of zero would be none.
        let after = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        self.timer.set(Expiration::OneShot(TimeSpec::from_duration(after)), TimerSetTimeFlags::empty())?;
        self.rings = Some(at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use mio::Events;

    use super::*;

    /// Waits at most so long; how long it was, and whether the alarm rang.
    fn wait(poll: &mut Poll, most: Duration) -> (Duration, bool) {
        let (start, mut events) = (Instant::now(), Events::with_capacity(4));
        poll.poll(&mut events, Some(most)).expect("waiting");
        (start.elapsed(), events.iter().any(|event| event.token() == ALARM))
    }

    #[test]
    fn it_rings_each_time_it_is_set_though_nobody_reads_it() {
        let mut poll = Poll::new().expect("poll");
        let mut alarm = Alarm::new(&poll).expect("alarm");
        for _ in 0..3 {
            let now = Instant::now();
            alarm.ring_by(now + Duration::from_millis(20), now).expect("set");
            let (took, rang) = wait(&mut poll, Duration::from_secs(10));
            assert!(rang && took >= Duration::from_millis(19), "{took:?}");
        }
        assert!(!wait(&mut poll, Duration::from_millis(50)).1, "once each");
    }

    #[test]
    fn it_rings_at_the_earliest_time_that_it_was_set_for() {
        let mut poll = Poll::new().expect("poll");
        let mut alarm = Alarm::new(&poll).expect("alarm");
        let now = Instant::now();
        for millis in [5_000, 30, 7_000] {
            alarm.ring_by(now + Duration::from_millis(millis), now).expect("set");
        }
        let (took, rang) = wait(&mut poll, Duration::from_secs(4));
        assert!(rang && took >= Duration::from_millis(29), "{took:?}");
    }
}
