//! \[pure\] One m-section's way back: which of its sources is echoed, and under which sequence number and timestamp.
//!
//! A browser that replaces a track, or sends simulcast, has several sources in one m-section; its decoder sees one stream
//! without a gap.

use std::time::{Duration, Instant};

/// A source that is silent for so long gives way to another one of its m-section.
const SILENCE: Duration = Duration::from_millis(800);

/// Where a packet goes in the stream that is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Extended sequence number.
    pub(super) sequence: u64,
    /// RTP timestamp.
    pub(super) time: u32,
    /// The source has just become the one that is echoed: it should begin with a whole picture.
    pub(super) first: bool,
}

/// What is known about one m-section.
#[derive(Debug)]
pub(super) struct Track {
    clock_rate: u32,
    source: Option<Source>,
    /// Behind the last packet that was sent back.
    next_sequence: u64,
    last_time: u32,
    last_at: Option<Instant>,
}

#[derive(Debug)]
struct Source {
    ssrc: u32,
    first_sequence: u64,
    /// Added to what the source says, modulo.
    sequence_offset: u64,
    time_offset: u32,
}

impl Track {
    /// `clock_rate` in Hz.
    pub(super) fn new(clock_rate: u32) -> Track {
        Track { clock_rate, source: None, next_sequence: 0, last_time: 0, last_at: None }
    }

    /// The place of a packet, or `None` if its source is not the one that is echoed.
    pub(super) fn place(&mut self, ssrc: u32, sequence: u64, time: u32, now: Instant) -> Option<Place> {
        let silent = self.last_at.is_none_or(|at| now.duration_since(at) >= SILENCE);
        let first = match &self.source {
            Some(source) if source.ssrc == ssrc => false,
            Some(_) if !silent => return None,
            _ => {
                self.source = Some(self.join(ssrc, sequence, time, now));
                true
            }
        };
        let source = self.source.as_ref().filter(|source| sequence >= source.first_sequence)?;
        let place = Place {
            sequence: sequence.wrapping_add(source.sequence_offset),
            time: time.wrapping_add(source.time_offset),
            first,
        };
        // A packet that was sent again comes late and moves nothing.
        if place.sequence >= self.next_sequence {
            (self.next_sequence, self.last_time) = (place.sequence + 1, place.time);
        }
        self.last_at = Some(now);
        Some(place)
    }

    /// What is not echoed for a while leaves no gap for which the browser would ask.
    pub(super) fn pause(&mut self) {
        self.source = None;
    }

    /// Continues where the stream stands, as much later as time has passed; the very first one goes as it is.
    fn join(&self, ssrc: u32, sequence: u64, time: u32, now: Instant) -> Source {
        let (sequence_offset, time_offset) = match self.last_at {
            None => (0, 0),
            Some(at) => {
                let passed = now.duration_since(at).as_millis() as u64 * u64::from(self.clock_rate) / 1000;
                let due = self.last_time.wrapping_add(passed as u32);
                (self.next_sequence.wrapping_sub(sequence), due.wrapping_sub(time))
            }
        };
        Source { ssrc, first_sequence: sequence, sequence_offset, time_offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: u32 = 90_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn one_source_goes_back_as_it_came_holes_and_latecomers_too() {
        let (mut track, now) = (Track::new(VIDEO), Instant::now());
        let mut place = |sequence, time| {
            track.place(7, sequence, time, now).map(|place| (place.sequence, place.time, place.first))
        };
        assert_eq!(place(1000, 5), Some((1000, 5, true)));
        assert_eq!(place(1002, 6), Some((1002, 6, false)));
        assert_eq!(place(1001, 5), Some((1001, 5, false)));
        assert_eq!(place(1003, 6), Some((1003, 6, false)));
    }

    #[test]
    fn a_second_source_waits_for_the_silence_of_the_first_and_joins_without_a_gap() {
        let (mut track, start) = (Track::new(VIDEO), Instant::now());
        assert!(track.place(7, 1000, 90_000, start).is_some());
        assert_eq!(track.place(8, 50, 4, start + ms(100)), None);
        let joined = track.place(8, 52, 8, start + ms(1000)).expect("echoed");
        assert_eq!(joined, Place { sequence: 1001, time: 180_000, first: true });
        let next = track.place(8, 53, 3008, start + ms(1033)).expect("echoed");
        assert_eq!(next, Place { sequence: 1002, time: 183_000, first: false });
        // From before it was chosen.
        assert_eq!(track.place(8, 51, 6, start + ms(1040)), None);
        assert_eq!(track.place(7, 1001, 99_000, start + ms(1050)), None);
    }

    #[test]
    fn a_pause_leaves_no_hole() {
        let (mut track, start) = (Track::new(48_000), Instant::now());
        assert!(track.place(7, 10, 960, start).is_some());
        track.pause();
        let resumed = track.place(7, 500, 471_360, start + ms(9800)).expect("echoed");
        assert_eq!(resumed, Place { sequence: 11, time: 471_360, first: true });
    }

    #[test]
    fn numbers_wrap() {
        let (mut track, start) = (Track::new(VIDEO), Instant::now());
        assert!(track.place(7, 65_535, u32::MAX, start).is_some());
        let joined = track.place(8, u64::from(u32::MAX), 1, start + ms(1000)).expect("echoed");
        assert_eq!(joined, Place { sequence: 65_536, time: 89_999, first: true });
    }
}
