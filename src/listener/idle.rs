//! How a packet thread waits for its next work. When to take a nap is decided in `coalesce`.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::coalesce::Coalescing;

/// The waits of one worker.
#[derive(Debug)]
pub(super) struct Idle {
    coalescing: Coalescing,
    was_busy: bool,
}

impl Idle {
    /// `nap`: `media.coalesce`.
    pub(super) fn new(nap: Duration, now: Instant) -> Idle {
        Idle { coalescing: Coalescing::new(nap, now), was_busy: false }
    }

    /// Packets came since the last wait.
    #[inline]
    pub(super) fn busy(&mut self) {
        self.was_busy = true;
    }

    /// Waits for something to happen, at most `timeout`. A timer may be late by as much as the kernel lets a thread sleep longer.
    pub(super) fn wait(
        &mut self,
        poll: &mut Poll,
        events: &mut Events,
        mut timeout: Option<Duration>,
    ) -> io::Result<()> {
        let was_busy = std::mem::take(&mut self.was_busy);
        if timeout == Some(Duration::ZERO) {
            return look(poll, events, timeout);
        }
        let before = Instant::now();
        let nap = if was_busy { self.coalescing.nap(before) } else { None };
        if let Some(nap) = nap.filter(|nap| timeout.is_none_or(|timeout| timeout > *nap)) {
            std::thread::sleep(nap);
            look(poll, events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                self.coalescing.slept(before.elapsed());
                return Ok(());
            }
            self.coalescing.was_vain();
            timeout = timeout.map(|timeout| timeout.saturating_sub(nap));
        }
        look(poll, events, timeout)?;
        self.coalescing.slept(before.elapsed());
        Ok(())
    }
}

fn look(poll: &mut Poll, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
    match poll.poll(events, timeout) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}
