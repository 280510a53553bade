//! Which denials are told in the log: of each reason the first, and one a minute later again. Never decides what is denied, and
//! writes no log; that is the shell's.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::peers::Denial;

/// A denial is told at most once per reason and so much time.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Denials that wait to be told.
const MOST_WAITING: usize = 16;

/// A denial worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Why.
    pub reason: Denial,
    /// Who may not be reached.
    pub peer: IpAddr,
    /// Who wanted to.
    pub client: SocketAddr,
}

/// The denials to be told.
#[derive(Default)]
pub(super) struct Notices {
    told: [Option<Instant>; Denial::ALL.len()],
    waiting: VecDeque<Notice>,
}

impl Notices {
    /// Lets a denial wait to be told, if it is to be.
    pub(super) fn note(&mut self, now: Instant, notice: Notice) {
        let told = &mut self.told[notice.reason as usize];
        if told.is_none_or(|told| now >= told + TELL_EVERY) && self.waiting.len() < MOST_WAITING {
            *told = Some(now);
            self.waiting.push_back(notice);
        }
    }

    /// The oldest that waits.
    pub(super) fn poll(&mut self) -> Option<Notice> {
        self.waiting.pop_front()
    }
}
