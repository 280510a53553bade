//! What waits to be sent on one TCP connection, and what gives way when the other end reads slowly.
//!
//! Media that is late is worth nothing, so the oldest media packets are dropped, whole, once more than
//! [`MEDIA_LIMIT`] bytes wait. STUN and DTLS are never dropped: without them the session would fail instead of
//! stutter. Should even they not fit into [`HARD_LIMIT`], the connection is no good and must be closed.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::frames::{self, HEADER};
use crate::classify::{Kind, classify};
use crate::turn::wire::{CHANNEL_HEADER, starts_channel_data};

/// Two keyframes of a good video: one second at 2 Mbit/s.
pub(super) const MEDIA_LIMIT: usize = 256 << 10;
/// What a data channel may have under way before its own congestion control sees that nothing is acknowledged.
pub(super) const HARD_LIMIT: usize = 4 << 20;

/// How packets follow each other on the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::listener) enum Framing {
    /// Two bytes of length before each (RFC 4571).
    #[default]
    Ice,
    /// They say their length themselves, and are padded to a multiple of four (RFC 8656 §3.1).
    Turn,
}

impl Framing {
    /// Whether a packet may give way to newer ones. What TURN carries counts, not TURN.
    fn is_media(self, packet: &[u8]) -> bool {
        let inside = match (self, packet.first()) {
            (Framing::Turn, Some(first)) if starts_channel_data(*first) => {
                &packet[CHANNEL_HEADER.min(packet.len())..]
            }
            _ => packet,
        };
        classify(inside) == Kind::Media
    }

    fn put(self, out: &mut BytesMut, packet: &[u8]) {
        match self {
            Framing::Ice => frames::put(out, packet),
            Framing::Turn => {
                out.extend_from_slice(packet);
                out.resize(out.len() + packet.len().next_multiple_of(4) - packet.len(), 0);
            }
        }
    }
}

/// The packets.
#[derive(Debug, Default)]
pub(in crate::listener) struct Queue {
    framing: Framing,
    packets: VecDeque<Packet>,
    bytes: usize,
}

#[derive(Debug)]
struct Packet {
    bytes: Bytes,
    is_media: bool,
}

/// What became of a packet and of those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listener) enum Pushed {
    /// It waits; so many media packets gave way.
    Waits {
        /// How many.
        dropped: usize,
    },
    /// Nothing can give way any more.
    Overflow,
}

impl Queue {
    pub(in crate::listener) fn new(framing: Framing) -> Self {
        Queue { framing, ..Queue::default() }
    }

    pub(in crate::listener) fn push(&mut self, packet: &[u8]) -> Pushed {
        self.push_owned(Bytes::copy_from_slice(packet))
    }

    pub(in crate::listener) fn push_owned(&mut self, packet: Bytes) -> Pushed {
        let is_media = self.framing.is_media(&packet);
        let len = packet.len() + HEADER;
        let mut dropped = 0;
        while self.bytes + len > MEDIA_LIMIT && self.drop_oldest_media() {
            dropped += 1;
        }
        if is_media && self.bytes + len > MEDIA_LIMIT {
            return Pushed::Waits { dropped: dropped + 1 };
        }
        if self.bytes + len > HARD_LIMIT {
            return Pushed::Overflow;
        }
        self.bytes += len;
        self.packets.push_back(Packet { bytes: packet, is_media });
        Pushed::Waits { dropped }
    }

    /// Moves packets to `out`, as frames, until it has about `enough` bytes.
    pub(in crate::listener) fn take(&mut self, out: &mut BytesMut, enough: usize) {
        while out.len() < enough
            && let Some(packet) = self.packets.pop_front()
        {
            self.bytes -= packet.bytes.len() + HEADER;
            self.framing.put(out, &packet.bytes);
        }
        if self.packets.is_empty() {
            // A burst is no reason to keep its memory.
            self.packets = VecDeque::new();
        }
    }

    fn drop_oldest_media(&mut self) -> bool {
        let oldest = self.packets.iter().position(|packet| packet.is_media);
        let Some(packet) = oldest.and_then(|at| self.packets.remove(at)) else { return false };
        self.bytes -= packet.bytes.len() + HEADER;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8, number: usize, len: usize) -> Vec<u8> {
        let mut packet = vec![first; len];
        packet[1..9].copy_from_slice(&(number as u64).to_be_bytes());
        packet
    }

    fn numbers(queue: &mut Queue, first: u8) -> Vec<usize> {
        let mut out = BytesMut::new();
        queue.take(&mut out, usize::MAX);
        assert_eq!(queue.bytes, 0);
        let mut found = Vec::new();
        while let Some(packet) = frames::next(&mut out, usize::from(u16::MAX)).expect("short enough") {
            if packet[0] == first {
                found.push(u64::from_be_bytes(packet[1..9].try_into().expect("eight bytes")) as usize);
            }
        }
        found
    }

    #[test]
    fn the_oldest_media_gives_way_whole_and_nothing_else_does() {
        let mut queue = Queue::default();
        let (mut dropped, count) = (0, 1000);
        for number in 0..count {
            for first in [0x80, 0x16] {
                let len = if first == 0x80 { 1000 } else { 40 };
                let Pushed::Waits { dropped: more } = queue.push(&packet(first, number, len)) else {
                    panic!("overflow")
                };
                dropped += more;
            }
            assert!(queue.bytes <= MEDIA_LIMIT);
        }
        assert!(dropped > 500);
        let media = {
            let mut out = BytesMut::new();
            queue.take(&mut out, usize::MAX);
            let mut copy = Queue::default();
            while let Some(packet) = frames::next(&mut out, usize::from(u16::MAX)).expect("short enough") {
                copy.packets.push_back(Packet { is_media: packet[0] == 0x80, bytes: packet.clone() });
                copy.bytes += packet.len() + HEADER;
            }
            let media = copy.packets.iter().filter(|packet| packet.is_media).count();
            assert_eq!(numbers(&mut copy, 0x16), (0..count).collect::<Vec<_>>());
            media
        };
        assert_eq!(media, count - dropped, "every packet is either there or counted");
    }

    #[test]
    fn the_newest_media_stays() {
        let mut queue = Queue::default();
        for number in 0..2000 {
            queue.push(&packet(0x80, number, 1000));
        }
        let left = numbers(&mut queue, 0x80);
        assert_eq!(left.last(), Some(&1999));
        assert!(left.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }

    #[test]
    fn dtls_is_kept_up_to_the_hard_limit_and_media_gives_way_to_it() {
        let mut queue = Queue::default();
        assert_eq!(queue.push(&packet(0x80, 0, 1000)), Pushed::Waits { dropped: 0 });
        let mut kept = 0;
        while queue.push(&packet(0x17, kept, 1000)) != Pushed::Overflow {
            kept += 1;
        }
        assert!(queue.bytes <= HARD_LIMIT && queue.bytes > HARD_LIMIT - 2000);
        assert_eq!(queue.push(&packet(0x80, 1, 1000)), Pushed::Waits { dropped: 1 });
        assert_eq!(numbers(&mut queue, 0x17), (0..kept).collect::<Vec<_>>());
    }
}
