//! Runs what reads a server's words over hostile bytes: events, candidates, answers, frames, media that came back.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use bytes::BytesMut;

use super::candidates::{self, Remotes};
use super::facts::{Media, Transport};
use super::media::{Kind, Track};
use super::{http, janus, journal, path};
use crate::sdp::Description;

/// Checks what must hold for any bytes: nothing panics, nothing is shown raw, no list grows without bound.
pub fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let shown = journal::clean(&text);
    assert!(!shown.contains(char::is_control), "control characters are shown");
    assert!(!http::reason(data).contains(char::is_control), "control characters are shown");

    let mut remotes = Description::read(&text).map(|answer| Remotes::of(&answer)).unwrap_or_default();
    for line in text.split(',') {
        remotes.add_line(line);
    }
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let list = remotes.over(transport);
        assert!(list.len() <= candidates::MOST, "too many candidates");
        for remote in list {
            let row = remote.row(IpAddr::V4(Ipv4Addr::LOCALHOST));
            assert!(!row.candidate.contains(char::is_control), "control characters are shown");
        }
    }
    if let Ok(message) = serde_json::from_slice(data)
        && let Some(janus::Event::Candidate(line)) = janus::event(&message)
    {
        remotes.add_line(&line);
    }
    let (mut received, mut packet) = (BytesMut::from(data), Vec::new());
    while path::take_frame(&mut received, &mut packet) {
        assert!(packet.len() <= usize::from(u16::MAX), "a frame of more than its header can say");
        packet.clear();
    }
    let mut facts = Media::default();
    Track::new(Kind::Audio, true).came_back(data, Instant::now(), &mut facts);
    assert_eq!(facts.returned, 0, "what was never sent came back");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::sweep;

    #[test]
    fn truncated_and_mutated_words_are_survived() {
        let samples: [&[u8]; 4] = [
            br#"{"janus":"trickle","candidate":{"candidate":"candidate:1 1 udp 1 10.0.0.1 5 typ host"}}"#,
            b"candidate:1 1 tcp 1 x.local 9 typ host tcptype passive,candidate:1 1 udp 1 ::1 7 typ relay",
            b"v=0\r\nm=audio 9 X 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=candidate:1 1 udp 1 1.2.3.4 5 typ host\r\n",
            b"\x00\x03abc\x00\x00\x00\x01dxrtcprbe\x00\x00\x00\x0b",
        ];
        for sample in samples {
            sweep(sample, &[0, b'\n', 0x1b, b'"', b':', 0xff], fuzz);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(data: Vec<u8>) {
            fuzz(&data);
        }
    }
}
