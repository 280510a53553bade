//! Packets in a byte stream (RFC 4571 §2): two bytes of length, then the packet. Knows no socket.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes before each packet.
pub(super) const HEADER: usize = 2;

/// A frame is longer than the stream may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listener) struct TooLong;

/// Takes the next whole packet off the front of `buffer`. A frame of length 0 carries none and is passed over.
pub(in crate::listener) fn next(buffer: &mut BytesMut, longest: usize) -> Result<Option<Bytes>, TooLong> {
    loop {
        let Some(header) = buffer.first_chunk::<HEADER>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes(*header));
        if len > longest {
            return Err(TooLong);
        }
        if buffer.len() < HEADER + len {
            return Ok(None);
        }
        buffer.advance(HEADER);
        if len > 0 {
            return Ok(Some(buffer.split_to(len).freeze()));
        }
    }
}

/// Appends `packet` as a frame; one that no frame can hold is left out.
pub(super) fn put(buffer: &mut BytesMut, packet: &[u8]) {
    let Ok(len) = u16::try_from(packet.len()) else { return };
    buffer.extend_from_slice(&len.to_be_bytes());
    buffer.extend_from_slice(packet);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(packets: &[&[u8]]) -> BytesMut {
        let mut bytes = BytesMut::new();
        packets.iter().for_each(|packet| put(&mut bytes, packet));
        bytes
    }

    #[test]
    fn packets_come_out_whole_however_the_stream_is_cut() {
        let packets: [&[u8]; 5] = [b"one", b"", b"two", &[7; 70], b"4"];
        let bytes = stream(&packets);
        for piece in 1..bytes.len() {
            let mut buffer = BytesMut::new();
            let mut found: Vec<Bytes> = Vec::new();
            for part in bytes.chunks(piece) {
                buffer.extend_from_slice(part);
                while let Some(packet) = next(&mut buffer, 100).expect("short enough") {
                    found.push(packet);
                }
            }
            assert_eq!(found, [&b"one"[..], b"two", &[7; 70], b"4"], "pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_that_is_too_long_is_refused_before_its_bytes_arrive() {
        assert_eq!(next(&mut BytesMut::from(&[1, 0][..]), 255), Err(TooLong));
        assert_eq!(next(&mut BytesMut::from(&[1, 0][..]), 256), Ok(None));
    }
}
