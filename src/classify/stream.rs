//! \[pure\] First bytes of a TCP connection → what it carries (xrtc.md §7), on as few bytes as it takes.
//!
//! A stream shows its bytes in pieces of any size, so the answer may be [`Sniff::NeedMore`]; once it is anything else,
//! further bytes never change it. Decides what the bytes claim to be, never whether the claim is true. Nothing that
//! can start a connection is mistaken for something else: a first frame of ICE-TCP holds a check, which is shorter than
//! any number that the other protocols' first two bytes spell.

use crate::stun::MAGIC_COOKIE;

/// What a connection starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sniff {
    /// Undecided.
    NeedMore,
    /// Google's pseudo TLS: a whole [`SSLTCP_CLIENT_HELLO`]; what is inside comes after [`SSLTCP_SERVER_HELLO`].
    SslTcp,
    /// A TLS handshake record.
    Tls,
    /// An HTTP request.
    Http,
    /// A frame (RFC 4571) that holds STUN: ICE-TCP (RFC 6544).
    IceTcp,
    /// STUN without a frame: TURN over TCP (RFC 8656 §3.1).
    TurnTcp,
    /// None of what is expected here.
    Unknown,
}

/// What may come on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// TLS, which has a further start inside. Not inside TLS itself.
    pub tls: bool,
    /// HTTP.
    pub http: bool,
    /// ICE-TCP, and so ssltcp where TLS is not there yet.
    pub ice: bool,
    /// TURN.
    pub turn: bool,
    /// ssltcp; not inside TLS or ssltcp.
    pub ssltcp: bool,
}

/// The longest prefix that any answer takes.
pub const LONGEST: usize = SSLTCP_CLIENT_HELLO.len();
/// No first frame is longer: it holds a check, which with two ufrags of 256 characters stays below 800 bytes.
pub const MAX_FIRST_FRAME: usize = 2048;
/// Frame header (RFC 4571 §2), then STUN type, length and cookie (RFC 8489 §5).
const FRAMED_COOKIE: std::ops::Range<usize> = 6..10;
const BARE_COOKIE: std::ops::Range<usize> = 4..8;
const STUN_HEADER: usize = 20;

/// How the methods start that a shared port recognises (xrtc.md §7).
const METHODS: [&[u8; 3]; 7] = [b"GET", b"POS", b"OPT", b"HEA", b"PUT", b"DEL", b"PAT"];

/// Looks for one kind alone.
type Attempt = fn(&[u8]) -> Sniff;

/// What the connection that starts with `bytes` carries.
pub fn sniff(bytes: &[u8], expect: Expect) -> Sniff {
    let tries: [(bool, Attempt); 5] = [
        (expect.ssltcp && expect.ice, ssltcp),
        (expect.tls, tls),
        (expect.http, if expect.ice || expect.turn { known_method } else { anything }),
        (expect.ice, framed_stun),
        (expect.turn, bare_stun),
    ];
    let mut answer = Sniff::Unknown;
    for (_, attempt) in tries.into_iter().filter(|(expected, _)| *expected) {
        match attempt(bytes) {
            Sniff::Unknown => {}
            Sniff::NeedMore => answer = Sniff::NeedMore,
            // Where an earlier kind is still possible, a later one that is sure waits for it.
            sure if answer == Sniff::Unknown => return sure,
            _ => return Sniff::NeedMore,
        }
    }
    answer
}

fn ssltcp(bytes: &[u8]) -> Sniff {
    starts(bytes, &SSLTCP_CLIENT_HELLO, Sniff::SslTcp)
}

/// Record type handshake and major version 3; the minor one is 1 to 4 and says nothing (RFC 8446 §5.1).
fn tls(bytes: &[u8]) -> Sniff {
    match starts(bytes, &[0x16, 0x03], Sniff::Tls) {
        Sniff::Tls if bytes.len() < 3 => Sniff::NeedMore,
        other => other,
    }
}

fn known_method(bytes: &[u8]) -> Sniff {
    let mut answer = Sniff::Unknown;
    for method in METHODS {
        match starts(bytes, method, Sniff::Http) {
            Sniff::Unknown => {}
            found => answer = found,
        }
    }
    answer
}

/// Where HTTP is all there is, its server says itself what it does not understand.
fn anything(bytes: &[u8]) -> Sniff {
    if bytes.is_empty() { Sniff::NeedMore } else { Sniff::Http }
}

fn framed_stun(bytes: &[u8]) -> Sniff {
    let length = |length: [u8; 2]| usize::from(u16::from_be_bytes(length));
    match *bytes {
        [] => return Sniff::NeedMore,
        [high, ..] if length([high, 0]) > MAX_FIRST_FRAME => return Sniff::Unknown,
        [high, low, ..] if !(STUN_HEADER..=MAX_FIRST_FRAME).contains(&length([high, low])) => {
            return Sniff::Unknown;
        }
        [_, _, kind, ..] if kind > 3 => return Sniff::Unknown,
        _ => {}
    }
    cookie_at(bytes, FRAMED_COOKIE, Sniff::IceTcp)
}

fn bare_stun(bytes: &[u8]) -> Sniff {
    match bytes.first() {
        Some(4..) => Sniff::Unknown,
        _ => cookie_at(bytes, BARE_COOKIE, Sniff::TurnTcp),
    }
}

fn cookie_at(bytes: &[u8], place: std::ops::Range<usize>, then: Sniff) -> Sniff {
    starts(bytes.get(place.start..).unwrap_or_default(), &MAGIC_COOKIE, then)
}

/// `then`, once `bytes` start with all of `pattern`.
fn starts(bytes: &[u8], pattern: &[u8], then: Sniff) -> Sniff {
    let seen = bytes.len().min(pattern.len());
    if bytes[..seen] != pattern[..seen] {
        Sniff::Unknown
    } else if seen < pattern.len() {
        Sniff::NeedMore
    } else {
        then
    }
}

/// What a client of ssltcp starts with: an SSL 2.0 hello with a fixed challenge, the same for all clients.
pub const SSLTCP_CLIENT_HELLO: [u8; 72] = [
    0x80, 0x46, 0x01, 0x03, 0x01, 0x00, 0x2d, 0x00, 0x00, 0x00, 0x10, 0x01, 0x00, 0x80, 0x03, 0x00, 0x80,
    0x07, 0x00, 0xc0, 0x06, 0x00, 0x40, 0x02, 0x00, 0x80, 0x04, 0x00, 0x80, 0x00, 0x00, 0x04, 0x00, 0xfe,
    0xff, 0x00, 0x00, 0x0a, 0x00, 0xfe, 0xfe, 0x00, 0x00, 0x09, 0x00, 0x00, 0x64, 0x00, 0x00, 0x62, 0x00,
    0x00, 0x03, 0x00, 0x00, 0x06, 0x1f, 0x17, 0x0c, 0xa6, 0x2f, 0x00, 0x78, 0xfc, 0x46, 0x55, 0x2e, 0xb1,
    0x83, 0x39, 0xf1, 0xea,
];

/// What it waits for: a TLS 1.0 ServerHello, byte for byte this one.
pub const SSLTCP_SERVER_HELLO: [u8; 79] = [
    0x16, 0x03, 0x01, 0x00, 0x4a, 0x02, 0x00, 0x00, 0x46, 0x03, 0x01, 0x42, 0x85, 0x45, 0xa7, 0x27, 0xa9,
    0x5d, 0xa0, 0xb3, 0xc5, 0xe7, 0x53, 0xda, 0x48, 0x2b, 0x3f, 0xc6, 0x5a, 0xca, 0x89, 0xc1, 0x58, 0x52,
    0xa1, 0x78, 0x3c, 0x5b, 0x17, 0x46, 0x00, 0x85, 0x3f, 0x20, 0x0e, 0xd3, 0x06, 0x72, 0x5b, 0x5b, 0x1b,
    0x5f, 0x15, 0xac, 0x13, 0xf9, 0x88, 0x53, 0x9d, 0x9b, 0xe8, 0x3d, 0x7b, 0x0c, 0x30, 0x32, 0x6e, 0x38,
    0x4d, 0xa2, 0x75, 0x57, 0x41, 0x6c, 0x34, 0x5c, 0x00, 0x04, 0x00,
];

/// Fuzz body: the first byte says what is expected; an answer is found within [`LONGEST`] bytes and never changes.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let Some((flags, bytes)) = data.split_first() else { return };
    let flag = |bit: u8| flags & (1 << bit) != 0;
    let expect = Expect { tls: flag(0), http: flag(1), ice: flag(2), turn: flag(3), ssltcp: flag(4) };
    let mut decided = Sniff::NeedMore;
    for len in 0..=bytes.len() {
        let answer = sniff(&bytes[..len], expect);
        assert!(decided == Sniff::NeedMore || answer == decided, "{decided:?} became {answer:?}");
        assert!(answer != Sniff::NeedMore || len < LONGEST, "undecided after {len} bytes");
        decided = answer;
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
