//! A body for fuzzers: the first bytes of a TCP connection behind a balancer, and the frames after them. Always compiled, so
//! that it cannot rot.

use bytes::BytesMut;

use super::frames;
use super::proxy_protocol::{self, Header};

const LONGEST_FRAME: usize = 200;

/// Takes `data` as a PROXY header and what follows as frames, the first byte as the size of the pieces that arrive. A header
/// ends where it says, pieces change nothing, and no frame is longer than allowed.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let header = proxy_protocol::header(bytes);
    let mut rest = bytes;
    if let Ok(Some(Header { len, .. })) = header {
        assert!(len > 0 && len <= bytes.len(), "a header of bytes that are not there");
        assert_eq!(proxy_protocol::header(&bytes[..len]), header, "what follows a header changes it");
        rest = &bytes[len..];
    }
    let whole = framed(rest, rest.len().max(1));
    assert_eq!(framed(rest, usize::from(*piece).max(1)), whole, "pieces change what is read");
    assert!(whole.iter().all(|frame| (1..=LONGEST_FRAME).contains(&frame.len())), "an impossible frame");
}

fn framed(bytes: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let mut buffer = BytesMut::new();
    let mut found = Vec::new();
    for part in bytes.chunks(piece) {
        buffer.extend_from_slice(part);
        loop {
            match frames::next(&mut buffer, LONGEST_FRAME) {
                Ok(Some(frame)) => found.push(frame.to_vec()),
                Ok(None) => break,
                // The connection is closed.
                Err(frames::TooLong) => return found,
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::sweep;

    #[test]
    fn wrong_bytes_in_good_beginnings_are_survived() {
        let every_byte: Vec<u8> = (0..=u8::MAX).collect();
        let frames = b"\x00\x03one\x00\x00\x00\x01x";
        for header in [
            &b""[..],
            b"PROXY TCP4 192.0.2.7 203.0.113.1 51201 443\r\n",
            b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xcb\x00\x71\x01\xc8\x01\x01\xbb",
        ] {
            sweep(&[&[2][..], header, frames].concat(), &every_byte, fuzz);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(data: Vec<u8>) {
            fuzz(&data);
        }
    }
}
