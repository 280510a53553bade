//! Which datagrams leave together: those to one destination, of one size but for a shorter last one, also where datagrams to
//! others stand between them. The order within a destination never changes.

use super::Outgoing;

/// Segments that the kernel takes in one GSO send (UDP_MAX_SEGMENTS of its first version).
pub(super) const MAX_SEGMENTS: usize = 64;
/// Payload that fits one IP datagram, with IPv6 headers to spare.
const MAX_GSO_BYTES: usize = 65_000;
/// How many runs a datagram is compared with, latest first. A burst of each of so many senders that arrived interleaved still
/// leaves whole; more would cost single packets of many sessions more than it gains.
const LOOK_BACK: usize = 8;
/// No datagram follows.
const END: u16 = u16::MAX;
/// Datagrams that can be grouped at a time; a batch brings far fewer.
pub(super) const LONGEST_QUEUE: usize = END as usize - 1;

/// Datagrams that leave as one send. They are chained in the order of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Index of its first datagram in the queue.
    pub(super) first: u16,
    last: u16,
    pub(super) count: u16,
    /// Nothing may follow: the last one was shorter.
    closed: bool,
    bytes: u32,
}

/// Runs of one queue.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) runs: Vec<Run>,
    /// For each datagram of the queue, the next one of its run.
    next: Vec<u16>,
}

impl Runs {
    /// Groups a queue of at most [`LONGEST_QUEUE`] datagrams; without `offload`, each leaves alone.
    pub(super) fn group(&mut self, queue: &[Outgoing], offload: bool) {
        self.runs.clear();
        self.next.clear();
        for (i, out) in (0..END).zip(queue) {
            self.next.push(END);
            if !offload || !self.join(queue, i, out) {
                self.runs.push(Run { first: i, last: i, count: 1, closed: false, bytes: out.size() as u32 });
            }
        }
    }

    /// The datagrams of a run, in order.
    pub(super) fn members(&self, run: Run) -> impl Iterator<Item = usize> + '_ {
        let mut at = run.first;
        std::iter::from_fn(move || {
            let here = usize::from(at);
            at = *self.next.get(here)?;
            Some(here)
        })
    }

    /// Adds a datagram to the latest run to its destination, if that can take it.
    #[inline]
    fn join(&mut self, queue: &[Outgoing], i: u16, out: &Outgoing) -> bool {
        let to_same = |run: &&mut Run| {
            let first = &queue[usize::from(run.first)];
            first.to == out.to && first.local == out.local
        };
        let Some(run) = self.runs.iter_mut().rev().take(LOOK_BACK).find(to_same) else { return false };
        let (segment, size) = (queue[usize::from(run.first)].size(), out.size());
        let bytes = run.bytes as usize + size;
        let takes = !run.closed
            && (1..=segment).contains(&size)
            && usize::from(run.count) < MAX_SEGMENTS
            && bytes <= MAX_GSO_BYTES;
        if takes {
            self.next[usize::from(run.last)] = i;
            run.last = i;
            run.count += 1;
            run.bytes = bytes as u32;
            run.closed = size < segment;
        }
        takes
    }
}
