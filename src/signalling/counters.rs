//! What the rooms of one protocol counted. Plain counters; who scrapes adds the gauges.

use std::sync::atomic::{AtomicU64, Ordering};

use super::protocol::Refusal;

/// Codes that closes are counted by; others count as the last one.
const CODES: [&str; 12] =
    ["1000", "1001", "1002", "1003", "1005", "1007", "1008", "1009", "1011", "1013", "lost", "other"];
const REFUSALS: [&str; 5] = ["not_found", "unauthorized", "full", "too_often", "stopping"];
const NOTICES: [&str; 2] = ["delivered", "dropped"];

/// Counters of one protocol.
#[derive(Debug, Default)]
pub(super) struct Counters {
    connections: AtomicU64,
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    closes: [AtomicU64; CODES.len()],
    refusals: [AtomicU64; REFUSALS.len()],
    notices: [AtomicU64; NOTICES.len()],
}

/// Seen from the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

impl Counters {
    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn message(&self, direction: Direction) {
        let counter = match direction {
            Direction::In => &self.messages_in,
            Direction::Out => &self.messages_out,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection ended with this code, whoever said it; `None`: without any.
    pub(super) fn closed(&self, code: Option<u16>) {
        let label = code.map_or("lost".to_owned(), |code| code.to_string());
        let at = CODES.iter().position(|known| *known == label).unwrap_or(CODES.len() - 1);
        self.closes[at].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        let at = match refusal {
            Refusal::NotFound => 0,
            Refusal::Unauthorized => 1,
            Refusal::Full(_) => 2,
            Refusal::TooOften => 3,
            Refusal::Stopping => 4,
        };
        self.refusals[at].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn noticed(&self, delivered: bool) {
        self.notices[usize::from(!delivered)].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Label and value of every direction.
    pub(super) fn messages(&self) -> [(&'static str, u64); 2] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [("in", load(&self.messages_in)), ("out", load(&self.messages_out))]
    }

    /// Label and value of every close code.
    pub(super) fn closes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        pairs(&CODES, &self.closes)
    }

    /// Label and value of every reason to let nobody in.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        pairs(&REFUSALS, &self.refusals)
    }

    /// Label and value of what became of notices.
    pub(super) fn notices(&self) -> impl Iterator<Item = (&'static str, u64)> {
        pairs(&NOTICES, &self.notices)
    }
}

fn pairs<'a>(
    labels: &'a [&'static str],
    counters: &'a [AtomicU64],
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    labels.iter().zip(counters).map(|(label, counter)| (*label, counter.load(Ordering::Relaxed)))
}
