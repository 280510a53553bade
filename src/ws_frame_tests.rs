use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

use super::*;

const LIMIT: usize = 1000;

#[test]
fn every_message_survives_encoding_and_any_segmentation() {
    let messages = [
        Message::Text(Bytes::from_static("grüße".as_bytes())),
        Message::Text(Bytes::new()),
        Message::Binary(Bytes::from(vec![7; 126])),
        Message::Ping(Bytes::from_static(b"p")),
        Message::Pong(Bytes::from(vec![1; 125])),
        Message::Binary(Bytes::from(vec![9; LIMIT])),
        close(4001, "bye"),
        Message::Close(Bytes::new()),
    ];
    for (sender, mask) in [(Sender::Client, Some([1, 2, 3, 250])), (Sender::Server, None)] {
        let mut wire = BytesMut::new();
        for message in &messages {
            encode(message, mask, &mut wire);
        }
        for step in [1, 2, 3, 7, 64, wire.len()] {
            let mut decoder = Decoder::new(sender, LIMIT);
            let mut seen = Vec::new();
            for part in wire.chunks(step) {
                decoder.buffer().extend_from_slice(part);
                while let Some(message) = decoder.next().unwrap() {
                    seen.push(message);
                }
            }
            assert_eq!(seen, messages, "{sender:?} in steps of {step}");
        }
    }
}

#[test]
fn fragments_are_joined_and_control_frames_pass_between_them() {
    // RFC 6455 §5.7: "Hel" and "lo", with a ping in between.
    let wire = [0x01, 3, b'H', b'e', b'l', 0x89, 1, b'!', 0x80, 2, b'l', b'o'];
    assert_eq!(
        all(&wire),
        [Ok(Message::Ping(Bytes::from_static(b"!"))), Ok(Message::Text(Bytes::from_static(b"Hello")))]
    );
}

#[test]
fn a_masked_frame_of_the_rfc_is_read() {
    let mut decoder = Decoder::new(Sender::Client, LIMIT);
    let wire = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    decoder.buffer().extend_from_slice(&wire);
    assert_eq!(decoder.next(), Ok(Some(Message::Text(Bytes::from_static(b"Hello")))));
}

#[test]
fn what_a_peer_does_wrong_has_its_close_code() {
    for (wire, code) in [
        (&[0xc1, 0][..], 1002),                // reserved bit
        (&[0x81, 0x80, 0, 0, 0, 0][..], 1002), // masked by a server
        (&[0x83, 0][..], 1002),                // reserved opcode
        (&[0x80, 0][..], 1002),                // continuation of nothing
        (&[0x01, 0, 0x81, 0][..], 1002),       // new message inside another one
        (&[0x09, 0][..], 1002),                // fragmented ping
        (&[0x89, 126, 0, 126][..], 1002),      // long ping
        (&[0x88, 1, 3][..], 1002),             // cut close code
        (&[0x88, 2, 3, 0xed][..], 1002),       // 1005 may not be sent
        (&[0x88, 2, 0, 0][..], 1002),          // 0
        (&[0x88, 3, 3, 0xe8, 0xff][..], 1007), // reason is not UTF-8
        (&[0x81, 1, 0xff][..], 1007),          // text is not UTF-8
        (&[0x82, 126, 3, 0xe9][..], 1009),     // 1001 bytes
        (&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255][..], 1009),
    ] {
        let last = all(wire).pop().unwrap();
        assert_eq!(last.map_err(Violation::close_code), Err(code), "{wire:?}");
    }
}

#[test]
fn fragments_count_together_against_the_limit() {
    let mut wire = vec![0x02, 126, 3, 0xe8];
    wire.extend([0; LIMIT]);
    wire.extend([0x80, 1]);
    assert_eq!(all(&wire), [Err(Violation::TooLarge(LIMIT))]);
}

#[test]
fn a_close_reason_is_cut_at_a_character() {
    let Message::Close(payload) = close(1011, &"ü".repeat(100)) else { unreachable!() };
    assert_eq!(payload.len(), 124);
    assert!(checked_close(payload).is_ok());
}

#[test]
fn hostile_bytes_end_in_messages_or_violations_but_never_in_panics() {
    let mut rng = StdRng::seed_from_u64(6455);
    for _ in 0..20_000 {
        let mut wire = vec![0; rng.random_range(0..64)];
        rng.fill_bytes(&mut wire);
        if rng.random() {
            // Most random first bytes are refused at once; these get further in.
            if let Some(first) = wire.first_mut() {
                *first &= 0x8f;
            }
        }
        let sender = if rng.random() { Sender::Client } else { Sender::Server };
        let mut decoder = Decoder::new(sender, LIMIT);
        decoder.buffer().extend_from_slice(&wire);
        while let Ok(Some(_)) = decoder.next() {}
    }
}

proptest::proptest! {
    #[test]
    fn any_frames_are_survived(data in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
        fuzz(&data);
    }
}

#[test]
fn wrong_bytes_in_good_frames_are_survived() {
    let hello = [0x01, 3, b'H', b'e', b'l', 0x89, 1, b'!', 0x80, 2, b'l', b'o', 0x88, 2, 3, 0xe8];
    let masked = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58, 0x82, 0x80, 1, 2, 3, 4];
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    for (how, wire) in [(1, &hello[..]), (0, &masked[..])] {
        crate::hostile::sweep(&[&[how], wire].concat(), &every_byte, fuzz);
    }
}

fn all(wire: &[u8]) -> Vec<Result<Message, Violation>> {
    let mut decoder = Decoder::new(Sender::Server, LIMIT);
    decoder.buffer().extend_from_slice(wire);
    std::iter::from_fn(|| decoder.next().transpose())
        .scan(false, |ended, item| {
            let stop = std::mem::replace(ended, item.is_err());
            (!stop).then_some(item)
        })
        .collect()
}
