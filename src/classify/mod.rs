//! \[pure\] First byte → kind of packet (RFC 7983, with QUIC's place from RFC 9443).
//!
//! Decides what a UDP payload claims to be; never whether the claim is true, and never what becomes of it. What a TCP
//! connection starts with (TLS, HTTP, framed ICE, TURN, ssltcp) is decided in [`stream`], because a stream shows its first
//! bytes piece by piece.

pub mod stream;

use crate::stun;

/// What a UDP payload claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// First byte 0–3, a whole header and the magic cookie: without those two it is [`Kind::Unknown`].
    Stun,
    /// 16–19: ZRTP.
    Zrtp,
    /// 20–63: DTLS of any version.
    Dtls,
    /// 64–79: TURN channel data.
    TurnChannel,
    /// 128–191: RTP or RTCP, encrypted or not.
    Media,
    /// 80–127 and 192–255: QUIC.
    Quic,
    /// 4–15, nothing at all, or what starts like STUN and is none.
    Unknown,
}

/// What `payload` claims to be.
#[inline]
pub fn classify(payload: &[u8]) -> Kind {
    let Some(&first) = payload.first() else {
        return Kind::Unknown;
    };
    match first {
        128..=191 => Kind::Media,
        0..=3 if stun::is_stun(payload) => Kind::Stun,
        16..=19 => Kind::Zrtp,
        20..=63 => Kind::Dtls,
        64..=79 => Kind::TurnChannel,
        80..=127 | 192..=255 => Kind::Quic,
        0..=15 => Kind::Unknown,
    }
}

/// Fuzz body: the answer depends on nothing but the first byte, and for STUN on the header.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let kind = classify(data);
    assert_eq!(kind == Kind::Stun, stun::is_stun(data));
    let Some(&first) = data.first() else {
        return assert_eq!(kind, Kind::Unknown);
    };
    if first > 3 {
        assert_eq!(kind, classify(&[first]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_first_byte_has_the_place_that_the_rfcs_give_it() {
        for (range, kind) in [
            (0..=15, Kind::Unknown),
            (16..=19, Kind::Zrtp),
            (20..=63, Kind::Dtls),
            (64..=79, Kind::TurnChannel),
            (80..=127, Kind::Quic),
            (128..=191, Kind::Media),
            (192..=255, Kind::Quic),
        ] {
            for first in range {
                assert_eq!(classify(&[first]), kind, "first byte {first}");
                assert_eq!(
                    classify(&[first, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                    kind,
                    "first byte {first}"
                );
            }
        }
    }

    #[test]
    fn stun_needs_its_cookie_and_a_whole_header() {
        let mut header = [0; 20];
        header[4..8].copy_from_slice(&stun::MAGIC_COOKIE);
        for first in 0..=3 {
            header[0] = first;
            assert_eq!(classify(&header), Kind::Stun);
            assert_eq!(classify(&header[..19]), Kind::Unknown);
        }
        header[7] ^= 1;
        assert_eq!(classify(&header), Kind::Unknown);
    }

    #[test]
    fn nothing_is_unknown() {
        assert_eq!(classify(&[]), Kind::Unknown);
    }

    #[test]
    fn packets_of_every_length_and_first_byte_pass_the_fuzz_body() {
        for first in 0..=255 {
            for len in 0..40 {
                let mut packet = vec![first; len];
                fuzz(&packet);
                if let Some(cookie) = packet.get_mut(4..8) {
                    cookie.copy_from_slice(&stun::MAGIC_COOKIE);
                }
                fuzz(&packet);
            }
        }
    }
}
