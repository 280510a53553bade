//! \[pure\] Receiver statistics from RTP headers, which SRTP leaves in the clear (RFC 3550 §6.4.1, A.1, A.3, A.8).
//!
//! Loss is what the sender numbered and the edge did not get, so it is lost *before* the edge: on the client's side for
//! packets of the client, on the backend's for packets of the backend. A packet that was sent again under its own number
//! (no RTX) counts as received. Nobody tells the edge the clock rate of a dynamic payload type, so it is found by
//! comparing timestamps with arrival times over a second or more; until then there is no jitter. The arrival time is that of
//! the batch a packet was received in. All arithmetic wraps or saturates; no packet makes it panic.

use super::Tick;

/// Streams (SSRCs) followed per direction. A browser sends audio, video and its repairs: four; with simulcast seven. One
/// more takes the place of the stream that was silent longest, if that was for [`FORGET_AFTER`].
pub const MAX_STREAMS: usize = 8;
/// How long a stream must be silent before another one may take its place, ms.
const FORGET_AFTER: u32 = 5_000;
/// RFC 3550 A.1: a larger jump is a restart of the sender, or somebody else's number.
const MAX_DROPOUT: u16 = 3_000;
/// The same backwards.
const MAX_MISORDER: u16 = 100;
/// The "recent" figures cover so much time, ms.
const WINDOW: u32 = 2_000;
/// A clock rate is first looked for after so much time, and the search starts afresh after the second, µs.
const FIT: (u32, u32) = (1_000_000, 20_000_000);
/// Clock rates in use (RFC 3551 §6, and what is registered for dynamic types).
const RATES: [u32; 7] = [8_000, 16_000, 24_000, 32_000, 44_100, 48_000, 90_000];
/// A rate fits when it is so near, in thousandths: 44 100 and 48 000 are 88 apart.
const NEAR: u64 = 40;

/// Everything of one direction.
#[derive(Debug, Default)]
pub struct Reception {
    /// At most [`MAX_STREAMS`]; each is made with its first packet, and its place is never given back.
    streams: Vec<Stream>,
    /// Where the last packet's stream is: packets come in runs.
    latest: u8,
    /// Packets of streams for which there was no place.
    unfollowed: u32,
    /// Streams that made room for others: what they got and what they lacked.
    gone: (u64, u64),
}

/// What one packet says of its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// How far the stream's numbering went on.
    pub expected: u32,
    /// 1, unless the packet is no RTP, was there before, or its number is not believed.
    pub received: u32,
}

/// What one stream looks like to whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StreamReport {
    /// Synchronisation source.
    pub ssrc: u32,
    /// The latest payload type.
    pub payload_type: u8,
    /// Clock rate in Hz, where it is known or was found.
    pub clock_rate: Option<u32>,
    /// Packets received.
    pub received: u64,
    /// Packets that were numbered and never came.
    pub lost: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
    /// Interarrival jitter in ms.
    pub jitter_ms: Option<f64>,
    /// Bits per second over the last two seconds or so; 0 when nothing comes any more.
    pub recent_bps: u64,
    /// Share of packets lost over the same time.
    pub recent_loss: f64,
    /// Milliseconds since the last packet.
    pub idle_ms: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// Packets received since the numbering started; 0: the place is free.
    received: u32,
    ssrc: u32,
    /// The highest number, extended by how often it wrapped.
    highest: u32,
    /// The extended number that counting started at.
    base: u32,
    /// The number that proves a jump to be a restart, plus one; 0: none is expected (RFC 3550 A.1).
    after_jump: u32,
    payload_type: u8,
    /// Index into [`RATES`] plus one; 0: not known.
    rate: u8,
    timestamp: u32,
    /// When the latest new timestamp arrived, µs.
    arrived: u32,
    /// In timestamp units, times 16 (RFC 3550 A.8).
    jitter: u32,
    fit: Fit,
    last_millis: u32,
    bytes: u64,
    window: Window,
    /// From before the sender restarted its numbering.
    earlier: (u32, u32),
}

/// Where the search for a clock rate started.
#[derive(Clone, Copy, Debug, Default)]
struct Fit {
    micros: u32,
    timestamp: u32,
}

/// The time that "recent" figures are made of.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    start: u32,
    bytes: u32,
    received: u32,
    /// `highest` at the start.
    highest: u32,
    /// Of the window before: bits per second, and lost packets in 1/65536.
    bps: u32,
    loss: u16,
}

impl Reception {
    /// A packet whose first byte says RTP or RTCP.
    #[inline]
    pub fn packet(&mut self, tick: Tick, bytes: &[u8]) -> Heard {
        let Some(header) = bytes.first_chunk::<12>() else { return Heard::default() };
        // RFC 5761 §4: these are RTCP's packet types.
        if (192..=223).contains(&header[1]) {
            return Heard::default();
        }
        let ssrc = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        let latest = self.streams.get(usize::from(self.latest));
        if latest.is_none_or(|latest| latest.ssrc != ssrc || latest.received == 0) {
            match self.place_of(tick, ssrc) {
                Some(place) => self.latest = place,
                None => {
                    self.unfollowed = self.unfollowed.saturating_add(1);
                    return Heard::default();
                }
            }
        }
        let Some(stream) = self.streams.get_mut(usize::from(self.latest)) else { return Heard::default() };
        stream.packet(tick, header, bytes.len())
    }

    /// What is known of each stream.
    pub fn streams(&self, tick: Tick) -> impl Iterator<Item = StreamReport> + '_ {
        self.streams.iter().filter(|stream| stream.received > 0).map(move |stream| stream.report(tick))
    }

    /// Packets of streams that there was no place for.
    pub fn unfollowed(&self) -> u32 {
        self.unfollowed
    }

    /// (received, lost) over all streams that were ever followed.
    pub fn totals(&self) -> (u64, u64) {
        self.streams.iter().filter(|stream| stream.received > 0).fold(
            self.gone,
            |(received, lost), stream| {
                let (got, lacks) = stream.totals();
                (received + got, lost + lacks)
            },
        )
    }

    /// The stream's place, which may be a new one or one that was given up.
    #[cold]
    fn place_of(&mut self, tick: Tick, ssrc: u32) -> Option<u8> {
        let known = self.streams.iter().position(|stream| stream.received > 0 && stream.ssrc == ssrc);
        if let Some(known) = known {
            return Some(known as u8);
        }
        if self.streams.len() < MAX_STREAMS {
            self.streams.reserve_exact(1);
            self.streams.push(Stream { ssrc, ..Stream::default() });
            return Some(self.streams.len() as u8 - 1);
        }
        let silent = |stream: &Stream| tick.millis.wrapping_sub(stream.last_millis);
        let place = (0..MAX_STREAMS).max_by_key(|place| silent(&self.streams[*place]))?;
        let old = &mut self.streams[place];
        if silent(old) < FORGET_AFTER {
            return None;
        }
        let (received, lost) = old.totals();
        self.gone = (self.gone.0 + received, self.gone.1 + lost);
        *old = Stream { ssrc, ..Stream::default() };
        Some(place as u8)
    }
}

impl Stream {
    #[inline]
    fn packet(&mut self, tick: Tick, header: &[u8; 12], len: usize) -> Heard {
        let number = u16::from_be_bytes([header[2], header[3]]);
        let timestamp = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        let payload_type = header[1] & 0x7f;
        self.last_millis = tick.millis;
        self.bytes += len as u64;
        self.window.bytes = self.window.bytes.saturating_add(len as u32);
        if self.received == 0 {
            self.start(tick, number, timestamp, payload_type);
            return Heard { expected: 1, received: 1 };
        }
        let ahead = number.wrapping_sub(self.highest as u16);
        let advance = match ahead {
            0 => return Heard::default(),
            1..MAX_DROPOUT => {
                self.highest = self.highest.wrapping_add(u32::from(ahead));
                self.received = self.received.wrapping_add(1).max(1);
                self.after_jump = 0;
                u32::from(ahead)
            }
            // RFC 3550 A.1: two in a row prove that the sender numbers anew.
            _ if ahead <= u16::MAX - MAX_MISORDER => {
                if self.after_jump != u32::from(number) + 1 {
                    self.after_jump = u32::from(number.wrapping_add(1)) + 1;
                    return Heard::default();
                }
                let (received, lost) = self.totals();
                self.earlier = (clamp(received), clamp(lost));
                self.start(tick, number, timestamp, payload_type);
                return Heard { expected: 1, received: 1 };
            }
            _ => {
                self.received = self.received.wrapping_add(1).max(1);
                return Heard { expected: 0, received: 1 };
            }
        };
        if payload_type != self.payload_type {
            self.payload_type = payload_type;
            self.rate = fixed_rate(payload_type);
            self.fit = Fit { micros: tick.micros, timestamp };
            (self.timestamp, self.arrived) = (timestamp, tick.micros);
        } else if timestamp != self.timestamp {
            self.time(tick, timestamp);
        }
        if tick.millis.wrapping_sub(self.window.start) >= WINDOW {
            self.close_window(tick);
        }
        Heard { expected: advance, received: 1 }
    }

    fn start(&mut self, tick: Tick, number: u16, timestamp: u32, payload_type: u8) {
        self.received = 1;
        self.highest = u32::from(number);
        self.base = self.highest;
        self.after_jump = 0;
        self.payload_type = payload_type;
        self.rate = fixed_rate(payload_type);
        (self.timestamp, self.arrived) = (timestamp, tick.micros);
        self.fit = Fit { micros: tick.micros, timestamp };
        self.window = Window {
            start: tick.millis,
            bytes: self.window.bytes,
            received: 0,
            highest: self.highest.wrapping_sub(1),
            ..self.window
        };
    }

    /// The first packet with a new timestamp. Later packets of the same frame say nothing of the network: they wait for
    /// each other at the sender.
    #[inline]
    fn time(&mut self, tick: Tick, timestamp: u32) {
        let media = timestamp.wrapping_sub(self.timestamp) as i32;
        let passed = tick.micros.wrapping_sub(self.arrived);
        (self.timestamp, self.arrived) = (timestamp, tick.micros);
        let Some(rate) = rate(self.rate) else { return self.find_rate(tick, timestamp) };
        let arrived = (u64::from(passed) * u64::from(rate) / 1_000_000) as i64;
        let difference = (arrived - i64::from(media)).unsigned_abs();
        // A second off is a pause or a new start of the media clock, no jitter.
        if difference < u64::from(rate) {
            let towards = difference as i64 - i64::from((self.jitter.saturating_add(8)) >> 4);
            self.jitter = (i64::from(self.jitter) + towards).clamp(0, i64::from(u32::MAX)) as u32;
        }
    }

    #[cold]
    fn find_rate(&mut self, tick: Tick, timestamp: u32) {
        let passed = tick.micros.wrapping_sub(self.fit.micros);
        if passed < FIT.0 {
            return;
        }
        let media = timestamp.wrapping_sub(self.fit.timestamp);
        let found = u64::from(media) * 1_000_000 / u64::from(passed);
        let near = |rate: &u32| found.abs_diff(u64::from(*rate)) * 1000 <= u64::from(*rate) * NEAR;
        if let Some(index) = RATES.iter().position(near) {
            self.rate = index as u8 + 1;
        } else if passed >= FIT.1 {
            self.fit = Fit { micros: tick.micros, timestamp };
        }
    }

    #[cold]
    fn close_window(&mut self, tick: Tick) {
        let millis = tick.millis.wrapping_sub(self.window.start).max(1);
        let expected = self.highest.wrapping_sub(self.window.highest);
        let received = self.received.wrapping_sub(self.window.received);
        let lost = expected.saturating_sub(received);
        self.window = Window {
            start: tick.millis,
            bytes: 0,
            received: self.received,
            highest: self.highest,
            bps: clamp(u64::from(self.window.bytes) * 8_000 / u64::from(millis)),
            loss: ((u64::from(lost) << 16) / u64::from(expected.max(1))).min(u64::from(u16::MAX)) as u16,
        };
    }

    /// (received, lost), the time before a restart of the numbering included.
    fn totals(&self) -> (u64, u64) {
        let expected = self.highest.wrapping_sub(self.base).wrapping_add(1);
        let lost = expected.saturating_sub(self.received);
        (u64::from(self.received) + u64::from(self.earlier.0), u64::from(lost) + u64::from(self.earlier.1))
    }

    fn report(&self, tick: Tick) -> StreamReport {
        let (received, lost) = self.totals();
        let idle_ms = tick.millis.wrapping_sub(self.last_millis);
        let clock_rate = rate(self.rate);
        let flows = idle_ms < 2 * WINDOW;
        StreamReport {
            ssrc: self.ssrc,
            payload_type: self.payload_type,
            clock_rate,
            received,
            lost,
            bytes: self.bytes,
            jitter_ms: clock_rate.map(|rate| f64::from(self.jitter) / 16.0 * 1000.0 / f64::from(rate)),
            recent_bps: if flows { u64::from(self.window.bps) } else { 0 },
            recent_loss: if flows { f64::from(self.window.loss) / 65_536.0 } else { 0.0 },
            idle_ms,
        }
    }
}

fn clamp(value: u64) -> u32 {
    value.min(u64::from(u32::MAX)) as u32
}

#[inline]
fn rate(index: u8) -> Option<u32> {
    RATES.get(usize::from(index).checked_sub(1)?).copied()
}

/// Payload types whose rate is fixed (RFC 3551 §6), as an index into [`RATES`] plus one.
fn fixed_rate(payload_type: u8) -> u8 {
    match payload_type {
        0 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 13 | 15 | 18 => 1,
        6 => 2,
        10 | 11 => 5,
        14 | 25 | 26 | 28 | 31..=34 => 7,
        _ => 0,
    }
}

/// Fuzz body: packets cut out of `data`, with times out of it, never panic, and what is reported stays possible.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let mut reception = Reception::default();
    let mut tick = Tick::default();
    for chunk in data.chunks(16) {
        let step = u32::from_be_bytes([0, chunk[0], *chunk.last().unwrap_or(&0), chunk.len() as u8]);
        tick.micros = tick.micros.wrapping_add(step << 6);
        tick.millis = tick.millis.wrapping_add(step >> 4);
        let heard = reception.packet(tick, chunk);
        assert!(heard.expected < u32::from(MAX_DROPOUT) && heard.received <= 1);
    }
    assert!(reception.streams(tick).count() <= MAX_STREAMS);
    for stream in reception.streams(tick) {
        assert!((0.0..=1.0).contains(&stream.recent_loss));
        assert!(stream.jitter_ms.is_none_or(f64::is_finite));
    }
}

#[cfg(test)]
#[path = "rtp_tests.rs"]
mod tests;
