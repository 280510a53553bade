//! \[pure\] What a call sends, and how what comes back is recognised and counted.
//!
//! Payloads carry a mark and a number. A server that decodes what it publishes (WHIP) gets silence and a black picture instead.

use std::time::Instant;

use super::facts::Media;
use super::journal::millis;

/// Audio frames that are not counted: both sides may still be busy with the end of the handshake.
pub(super) const WARM_UP: u32 = 10;
/// Audio frames that are counted, 20 ms each.
pub(super) const COUNTED_AUDIO: u32 = 50;
/// Video frames that are not counted.
pub(super) const WARM_UP_VIDEO: u32 = 2;
/// Video frames that are counted, 100 ms each.
pub(super) const COUNTED_VIDEO: u32 = 10;
/// Bytes of a video frame: three packets, so that full-sized ones are among them.
const VIDEO_FRAME: usize = 3000;

/// 20 ms of silence in Opus (RFC 6716 §3.1).
const OPUS_SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// A whole VP8 key frame of one pixel (RFC 6386 §9).
const VP8_PIXEL: [u8; 22] = [
    0x30, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x01, 0x00, 0x01, 0x00, 0x0e, 0xc0, 0xfe, 0x25, 0xa4, 0x00, 0x03,
    0x70, 0x00, 0x00, 0x00, 0x00,
];
const MARK: &[u8; 8] = b"xrtcprbe";

/// Which kind of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Audio,
    Video,
}

/// Frames of one kind, numbered.
#[derive(Debug)]
pub(super) struct Track {
    kind: Kind,
    /// Whether a mark may stand in the payload.
    echo: bool,
    next: u32,
    sent: Vec<(u32, Instant)>,
    times: Vec<f64>,
}

impl Track {
    pub(super) fn new(kind: Kind, echo: bool) -> Track {
        Track { kind, echo, next: 0, sent: Vec::new(), times: Vec::new() }
    }

    /// The next frame's number and bytes.
    pub(super) fn frame(&mut self, now: Instant, facts: &mut Media) -> (u32, Vec<u8>) {
        let number = self.next;
        self.next += 1;
        if self.counts(number) {
            facts.sent += 1;
            self.sent.push((number, now));
        }
        (number, self.bytes(number))
    }

    /// Counts a frame that came back.
    pub(super) fn came_back(&mut self, frame: &[u8], now: Instant, facts: &mut Media) {
        let Some(number) = number(frame) else { return };
        let Some(at) = self.sent.iter().position(|(sent, _)| *sent == number) else { return };
        let (_, sent) = self.sent.swap_remove(at);
        facts.returned += 1;
        self.times.push(millis(now.saturating_duration_since(sent)));
        facts.rtt_ms = median(&self.times);
    }

    /// Whether all that counts has left.
    pub(super) fn is_sent(&self) -> bool {
        let (warm_up, counted) = self.plan();
        self.next >= warm_up + counted
    }

    /// Whether all that left has come back.
    pub(super) fn is_back(&self) -> bool {
        self.is_sent() && self.sent.is_empty()
    }

    fn counts(&self, number: u32) -> bool {
        let (warm_up, counted) = self.plan();
        (warm_up..warm_up + counted).contains(&number)
    }

    fn plan(&self) -> (u32, u32) {
        match self.kind {
            Kind::Audio => (WARM_UP, COUNTED_AUDIO),
            Kind::Video => (WARM_UP_VIDEO, COUNTED_VIDEO),
        }
    }

    fn bytes(&self, number: u32) -> Vec<u8> {
        let mut bytes = match self.kind {
            Kind::Audio => OPUS_SILENCE.to_vec(),
            Kind::Video => VP8_PIXEL.to_vec(),
        };
        if self.echo {
            bytes.extend_from_slice(MARK);
            bytes.extend_from_slice(&number.to_be_bytes());
            let len = if self.kind == Kind::Video { VIDEO_FRAME } else { bytes.len() };
            bytes.resize(len, 0);
        }
        bytes
    }
}

fn number(frame: &[u8]) -> Option<u32> {
    let at = memchr::memmem::find(frame, MARK)? + MARK.len();
    Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

/// The middle one of some times.
pub(super) fn median(times: &[f64]) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_counted_once_and_the_warm_up_never() {
        let (mut track, mut facts) = (Track::new(Kind::Audio, true), Media::default());
        let now = Instant::now();
        let frames: Vec<_> = (0..WARM_UP + COUNTED_AUDIO).map(|_| track.frame(now, &mut facts).1).collect();
        assert!(track.is_sent() && !track.is_back());
        for frame in frames.iter().chain(&frames) {
            track.came_back(frame, now, &mut facts);
        }
        assert_eq!((facts.sent, facts.returned), (COUNTED_AUDIO, COUNTED_AUDIO));
        assert!(track.is_back() && facts.rtt_ms.is_some());
    }

    #[test]
    fn foreign_frames_do_not_count() {
        let (mut track, mut facts) = (Track::new(Kind::Video, true), Media::default());
        for _ in 0..5 {
            track.frame(Instant::now(), &mut facts);
        }
        for frame in [&b""[..], b"xrtcprbe", b"xrtcprbe\0\0", b"xrtcprbe\xff\xff\xff\xff"] {
            track.came_back(frame, Instant::now(), &mut facts);
        }
        assert_eq!(facts.returned, 0);
    }

    #[test]
    fn a_publisher_sends_nothing_but_silence_and_a_pixel() {
        let mut facts = Media::default();
        let frame = Track::new(Kind::Audio, false).frame(Instant::now(), &mut facts).1;
        assert_eq!(frame, OPUS_SILENCE);
        assert_eq!(Track::new(Kind::Video, false).frame(Instant::now(), &mut facts).1, VP8_PIXEL);
    }
}
