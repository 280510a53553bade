//! \[pure\] What is remembered of a session for whoever asks later why it works or not: when each step of its way
//! happened first and last and how often, and how media arrives on each leg.
//!
//! It looks at packets that the forwarder has decided over and changes nothing about them. What is looked at per packet lies
//! in two cache lines of the session and two of the stream. A stream's statistics are made with its first packet; beyond
//! that nothing here allocates.

mod dtls;
mod milestones;
mod rtp;
mod tap;

use std::time::Instant;

pub use dtls::Record;
pub use milestones::{Mark, Milestone, Milestones};
pub use rtp::{Heard, MAX_STREAMS, Reception, StreamReport, fuzz};
pub use tap::{Captured, Leg, Tap};

use crate::classify::Kind;

/// A worker's time as this module counts it. Both wrap; only differences mean something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Microseconds, wrapping after 71 minutes: for what happens between two packets.
    pub micros: u32,
    /// Milliseconds, wrapping after 49 days: for what happens in a session.
    pub millis: u32,
}

/// Turns instants into ticks, once per batch instead of once per packet.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    last: Instant,
    tick: Tick,
}

impl Clock {
    /// A clock whose ticks start at `start`.
    pub fn new(start: Instant) -> Self {
        Clock { start, last: start, tick: Tick::default() }
    }

    /// The tick at `now`. All packets of a batch share one instant.
    #[inline]
    pub fn tick(&mut self, now: Instant) -> Tick {
        if now != self.last {
            self.last = now;
            self.tick = self.at(now);
        }
        self.tick
    }

    /// The tick at any instant.
    pub fn at(&self, now: Instant) -> Tick {
        let micros = now.saturating_duration_since(self.start).as_micros();
        Tick { micros: micros as u32, millis: (micros / 1000) as u32 }
    }
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
}

/// What one session remembers.
#[derive(Debug)]
// In this order what each packet needs comes first.
#[repr(C)]
pub struct Observed {
    /// Whoever wants to see its packets.
    tap: Option<Tap>,
    /// Media as it arrives from the client.
    pub from_client: Reception,
    /// Media as it arrives from the backend.
    pub from_backend: Reception,
    /// When it was registered, in its worker's time.
    pub born: u32,
    /// When what happened.
    pub milestones: Milestones,
    /// The description in the latest plain DTLS alert of each direction (RFC 8446 §6), plus one; 0: none.
    alerts: [u16; 2],
}

impl Observed {
    /// Nothing has happened yet.
    pub fn new(born: Tick) -> Self {
        Observed {
            born: born.millis,
            milestones: Milestones::default(),
            from_client: Reception::default(),
            from_backend: Reception::default(),
            alerts: [0; 2],
            tap: None,
        }
    }

    /// Something happened.
    #[inline]
    pub fn note(&mut self, tick: Tick, milestone: Milestone) {
        self.milestones.note(tick.millis.wrapping_sub(self.born), milestone);
    }

    /// A packet of the client that is no STUN, from an address that may send it. `streams`: whether to follow RTP streams.
    #[inline]
    pub fn up(&mut self, tick: Tick, kind: Kind, bytes: &[u8], streams: bool) -> Heard {
        if kind == Kind::Media {
            self.note(tick, Milestone::MediaUp);
            return if streams { self.from_client.packet(tick, bytes) } else { Heard::default() };
        }
        self.dtls(tick, Direction::Up, bytes);
        Heard::default()
    }

    /// The same of the backend.
    #[inline]
    pub fn down(&mut self, tick: Tick, kind: Kind, bytes: &[u8], streams: bool) -> Heard {
        if kind == Kind::Media {
            self.note(tick, Milestone::MediaDown);
            return if streams { self.from_backend.packet(tick, bytes) } else { Heard::default() };
        }
        self.dtls(tick, Direction::Down, bytes);
        Heard::default()
    }

    /// Shows every packet of the session to `tap` from now on, instead of whoever saw them so far.
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Whether somebody wants to see its packets.
    #[inline]
    pub fn is_tapped(&self) -> bool {
        self.tap.is_some()
    }

    /// Shows a packet to whoever wants to see it.
    pub fn show(&mut self, packet: &Captured<'_>) {
        if self.tap.as_mut().is_some_and(|tap| !tap.show(packet)) {
            self.tap = None;
        }
    }

    /// The latest alert that a side sent in the clear.
    pub fn alert(&self, direction: Direction) -> Option<u8> {
        self.alerts[direction as usize].checked_sub(1).map(|alert| alert as u8)
    }

    fn dtls(&mut self, tick: Tick, direction: Direction, bytes: &[u8]) {
        let up = direction == Direction::Up;
        let pick = |a, b| if up { a } else { b };
        let milestone = match Record::of(bytes) {
            Record::ClientHello => pick(Milestone::ClientHelloUp, Milestone::ClientHelloDown),
            Record::ServerHello => pick(Milestone::ServerHelloUp, Milestone::ServerHelloDown),
            Record::Alert { description } => {
                self.alerts[direction as usize] = u16::from(description) + 1;
                pick(Milestone::AlertUp, Milestone::AlertDown)
            }
            Record::Other => pick(Milestone::DtlsUp, Milestone::DtlsDown),
        };
        self.note(tick, milestone);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_one_session_remembers_is_small_and_what_a_packet_needs_comes_first() {
        assert!(size_of::<Observed>() <= 480, "{}", size_of::<Observed>());
        let hot = std::mem::offset_of!(Observed, milestones) + 2 * size_of::<Mark>();
        assert!(hot <= 144, "{hot}");
    }

    #[test]
    fn where_streams_are_not_followed_media_is_noted_all_the_same() {
        let mut observed = Observed::new(Tick::default());
        let mut rtp = [0; 40];
        rtp[0] = 0x80;
        assert_eq!(observed.up(Tick::default(), Kind::Media, &rtp, false), Heard::default());
        assert_eq!(observed.down(Tick::default(), Kind::Media, &rtp, false), Heard::default());
        assert!(observed.milestones.has(Milestone::MediaUp) && observed.milestones.has(Milestone::MediaDown));
        assert_eq!(observed.from_client.streams(Tick::default()).count(), 0);
        assert_eq!(observed.up(Tick::default(), Kind::Media, &rtp, true).received, 1);
    }

    #[test]
    fn a_clock_counts_from_its_start_and_wraps() {
        let start = Instant::now();
        let mut clock = Clock::new(start);
        assert_eq!(clock.tick(start), Tick::default());
        let late = start + Duration::from_micros((1 << 32) + 5);
        assert_eq!(clock.tick(late), Tick { micros: 5, millis: 4_294_967 });
        assert_eq!(clock.tick(late), clock.at(late));
    }

    #[test]
    fn dtls_of_both_sides_is_told_apart_and_an_alert_keeps_its_description() {
        let mut observed = Observed::new(Tick { micros: 0, millis: 100 });
        let tick = Tick { micros: 0, millis: 130 };
        let mut hello = [0; 25];
        (hello[0], hello[1], hello[13]) = (22, 254, 1);
        assert_eq!(observed.up(tick, Kind::Dtls, &hello, true), Heard::default());
        hello[13] = 2;
        observed.down(tick, Kind::Dtls, &hello, true);
        observed.down(tick, Kind::Dtls, &[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 42], true);
        let first = |milestone| observed.milestones.get(milestone).first();
        assert_eq!(first(Milestone::ClientHelloUp), Some(30));
        assert_eq!(first(Milestone::ServerHelloDown), Some(30));
        assert_eq!(first(Milestone::ClientHelloDown), None);
        assert_eq!((observed.alert(Direction::Up), observed.alert(Direction::Down)), (None, Some(42)));
    }
}
