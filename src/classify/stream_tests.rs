use super::*;

const ALL: Expect = Expect { tls: true, http: true, ice: true, turn: true, ssltcp: true };
const INSIDE_TLS: Expect = Expect { tls: false, ssltcp: false, ..ALL };
const WEB: Expect = Expect { tls: true, http: true, ice: false, turn: false, ssltcp: false };

const CHECK: &[u8] = include_bytes!("../../tests/vectors/stun/rfc5769-2.1-request.bin");

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = u16::try_from(payload.len()).expect("fits").to_be_bytes().to_vec();
    frame.extend_from_slice(payload);
    frame
}

fn starts() -> Vec<(Vec<u8>, Sniff, usize)> {
    let mut starts = vec![
        (SSLTCP_CLIENT_HELLO.to_vec(), Sniff::SslTcp, 72),
        (framed(CHECK), Sniff::IceTcp, 10),
        (CHECK.to_vec(), Sniff::TurnTcp, 8),
    ];
    for minor in 0..=4 {
        starts.push((vec![0x16, 3, minor, 2, 0, 1, 0, 1, 0xfc], Sniff::Tls, 3));
    }
    for method in ["GET", "POST", "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH"] {
        starts.push((format!("{method} / HTTP/1.1\r\n\r\n").into_bytes(), Sniff::Http, 3));
    }
    starts
}

#[test]
fn every_start_is_known_after_the_fewest_bytes_and_stays_known() {
    for (bytes, expected, needed) in starts() {
        for len in 0..bytes.len() {
            let answer = if len < needed { Sniff::NeedMore } else { expected };
            assert_eq!(sniff(&bytes[..len], ALL), answer, "{len} bytes of {expected:?}");
        }
    }
}

#[test]
fn inside_tls_there_is_no_second_tls() {
    for (bytes, expected, _) in starts() {
        let expected = match expected {
            Sniff::SslTcp | Sniff::Tls => Sniff::Unknown,
            other => other,
        };
        assert_eq!(sniff(&bytes, INSIDE_TLS), expected);
    }
}

#[test]
fn a_port_for_http_alone_leaves_every_other_start_to_the_http_server() {
    for (bytes, expected, _) in starts() {
        let expected = if expected == Sniff::Tls { Sniff::Tls } else { Sniff::Http };
        assert_eq!(sniff(&bytes, WEB), expected);
    }
    assert_eq!(sniff(b"PROPFIND / HTTP/1.1", WEB), Sniff::Http);
}

#[test]
fn what_starts_like_nothing_expected_is_unknown_at_once() {
    for bytes in [
        &b"SSH-2.0-OpenSSH"[..],
        b"CONNECT a:1 HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"\x00\x00",
        b"\x00\x13\x00\x01\x00\x00\x21\x12\xa4\x43",
        b"\x00\x6c\x80\x01",
        b"\x08\x01\x00\x01\x00\x58\x21\x12\xa4\x42",
        b"\x16\x02\x01",
        b"\x80\x46\x01\x03\x00",
        b"\xff",
    ] {
        assert_eq!(sniff(bytes, Expect { turn: false, ..ALL }), Sniff::Unknown, "{bytes:02x?}");
    }
}

#[test]
fn ice_and_turn_are_told_apart_though_both_start_with_small_numbers() {
    // Length 257 as a frame, type 0x0101 as bare STUN: the cookie's place decides.
    let success = [0x01, 0x01, 0x00, 0x01, 0x21, 0x12, 0xa4, 0x42];
    assert_eq!(sniff(&success, ALL), Sniff::TurnTcp);
    let frame = [0x01, 0x01, 0x00, 0x01, 0x00, 0xed, 0x21, 0x12, 0xa4, 0x42];
    assert_eq!(sniff(&frame[..8], Expect { turn: false, ..ALL }), Sniff::NeedMore);
    assert_eq!(sniff(&frame, ALL), Sniff::IceTcp);
}

#[test]
fn any_bytes_in_any_pieces_pass_the_fuzz_body() {
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    };
    for (bytes, ..) in starts() {
        for flags in 0..32 {
            fuzz(&[&[flags], &bytes[..]].concat());
            for at in 0..bytes.len().min(LONGEST) {
                let mut hostile = [&[flags], &bytes[..]].concat();
                hostile[at + 1] ^= 1 << (random() & 7);
                fuzz(&hostile);
                hostile[at + 1] = random();
                fuzz(&hostile);
            }
        }
    }
    for first in 0..=255 {
        for _ in 0..40 {
            let len = usize::from(random()) % 100;
            let mut bytes = vec![random() & 31, first];
            bytes.extend((0..len).map(|_| random()));
            fuzz(&bytes);
        }
    }
}
