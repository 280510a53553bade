//! The STUN codec against the vectors of RFC 5769, against another implementation, and against hostile bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;

use proptest::prelude::*;
use stun_types::attribute as oracle_attribute;
use stun_types::message as oracle;
use xrtc::stun::*;

const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";
const ID: TransactionId = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
/// MD5 of `<user>:example.org:TheMatrIX`, the user being five katakana (RFC 5769 §2.4).
const LONG_TERM_KEY: [u8; 16] = 0xe8ca_7ad5_9d5e_b051_8e31_2911_d2da_b2a9_u128.to_be_bytes();

const REQUEST: &[u8] = include_bytes!("vectors/stun/rfc5769-2.1-request.bin");
const RESPONSE_V4: &[u8] = include_bytes!("vectors/stun/rfc5769-2.2-response-ipv4.bin");
const RESPONSE_V6: &[u8] = include_bytes!("vectors/stun/rfc5769-2.3-response-ipv6.bin");
const LONG_TERM: &[u8] = include_bytes!("vectors/stun/rfc5769-2.4-request-long-term.bin");
/// As erratum 6268 of RFC 8489 has it: what is printed there lacks PASSWORD-ALGORITHM.
const SHA256: &[u8] = include_bytes!("vectors/stun/rfc8489-b.1-request.bin");
const VECTORS: [&[u8]; 5] = [REQUEST, RESPONSE_V4, RESPONSE_V6, LONG_TERM, SHA256];

fn key() -> Key {
    Key::short_term(PASSWORD)
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

mod rfc5769 {
    use super::*;

    #[test]
    fn the_request_is_read_and_verified() {
        let message = Message::parse(REQUEST).unwrap();
        assert!(message.is_binding(Class::Request));
        assert_eq!(message.transaction_id(), ID);
        assert_eq!(message.get(AttributeType::SOFTWARE), Some(&b"STUN test client"[..]));
        assert_eq!(message.priority(), Some(0x6e00_01ff));
        assert_eq!(message.ice_controlled(), Some(0x932f_f9b1_5126_3b36));
        assert_eq!(message.ice_controlling(), None);
        assert_eq!(message.username(), Some("evtj:h6vY"));
        assert_eq!(message.ufrags(), Some(("evtj", "h6vY")));
        assert!(!message.use_candidate());
        assert_eq!(message.verify(&key()), Ok(()));
        assert_eq!(message.check_fingerprint(), Fingerprint::Good);
        assert_eq!(message.unknown_required(AttributeType::KNOWN_TO_ICE).count(), 0);
    }

    #[test]
    fn both_responses_are_read_and_verified() {
        for (bytes, mapped) in
            [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
        {
            let message = Message::parse(bytes).unwrap();
            assert!(message.is_binding(Class::Success));
            assert_eq!(message.transaction_id(), ID);
            assert_eq!(message.get(AttributeType::SOFTWARE), Some(&b"test vector"[..]));
            assert_eq!(message.xor_mapped_address(), Some(addr(mapped)));
            assert_eq!(message.verify(&key()), Ok(()));
            assert_eq!(message.check_fingerprint(), Fingerprint::Good);
        }
    }

    #[test]
    fn the_request_with_long_term_credentials_is_read_and_verified() {
        let message = Message::parse(LONG_TERM).unwrap();
        assert_eq!(message.username(), Some("\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}"));
        assert_eq!(message.get(AttributeType::NONCE), Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..]));
        assert_eq!(message.get(AttributeType::REALM), Some(&b"example.org"[..]));
        assert_eq!(message.verify(&Key::from_bytes(&LONG_TERM_KEY)), Ok(()));
        assert_eq!(message.check_fingerprint(), Fingerprint::Absent);
    }

    /// The vectors pad with spaces and the builder with zeros, so the padding and what is computed over it differ.
    #[test]
    fn the_responses_are_built_byte_for_byte_but_for_the_padding() {
        for (bytes, mapped) in
            [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
        {
            let mut buffer = [0; 128];
            let len = Builder::new(&mut buffer, Class::Success, Method::BINDING, ID)
                .attribute(AttributeType::SOFTWARE, b"test vector")
                .xor_mapped_address(addr(mapped))
                .integrity(&key())
                .fingerprint()
                .finish()
                .unwrap();
            assert_eq!(len, bytes.len());
            let padding = 20 + 4 + b"test vector".len();
            let integrity = len - 8 - 24;
            assert_eq!(buffer[..padding], bytes[..padding]);
            assert_eq!(buffer[padding + 1..integrity + 4], bytes[padding + 1..integrity + 4]);
        }
    }
}

mod rfc8489 {
    use super::*;
    use xrtc::auth::LongTermKeys;

    const USERHASH: AttributeType = AttributeType(0x001e);
    const PASSWORD_ALGORITHM: AttributeType = AttributeType(0x001d);
    const USER: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";

    #[test]
    fn the_request_with_sha256_and_userhash_is_read_and_verified() {
        let message = Message::parse(SHA256).unwrap();
        assert!(message.is_binding(Class::Request));
        assert_eq!(
            message.get(AttributeType::NONCE),
            Some(&b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA"[..])
        );
        assert_eq!(message.get(AttributeType::REALM), Some(&b"example.org"[..]));
        assert_eq!(message.get(PASSWORD_ALGORITHM), Some(&[0, 2, 0, 0][..]));
        use sha2::Digest;
        let userhash = sha2::Sha256::digest(format!("{USER}:example.org"));
        assert_eq!(message.get(USERHASH), Some(&userhash[..]));
        let keys = LongTermKeys::new(USER, "example.org", "TheMatrIX");
        assert!(message.has_sha256_integrity() && !message.has_integrity());
        assert_eq!(message.verify_sha256(&keys.sha256_sha256), Ok(()));
        assert_eq!(message.verify_sha256(&keys.md5_sha256), Err(IntegrityError::Bad));
        assert_eq!(message.verify(&keys.sha256), Err(IntegrityError::Missing));
    }

    #[test]
    fn it_is_built_byte_for_byte() {
        let read = Message::parse(SHA256).unwrap();
        let keys = LongTermKeys::new(USER, "example.org", "TheMatrIX");
        let mut buffer = [0; 200];
        let mut builder = Builder::new(&mut buffer, Class::Request, Method::BINDING, read.transaction_id());
        for typ in [USERHASH, AttributeType::NONCE, AttributeType::REALM, PASSWORD_ALGORITHM] {
            builder = builder.attribute(typ, read.get(typ).unwrap());
        }
        let len = builder.integrity_sha256(&keys.sha256_sha256).finish().unwrap();
        assert_eq!(buffer[..len], *SHA256);
    }
}

mod builder {
    use super::*;

    #[test]
    fn a_check_comes_back_as_it_was_written() {
        let request = BindingRequest {
            receiver_ufrag: "a+/Z",
            sender_ufrag: "somebody-else",
            priority: 0x6eff_ffff,
            role: IceRole::Controlling(0x0123_4567_89ab_cdef),
            use_candidate: true,
        };
        let mut buffer = [0xEE; 256];
        let len = binding_request(&mut buffer, ID, &request, &key()).unwrap();
        let message = Message::parse(&buffer[..len]).unwrap();
        assert!(message.is_binding(Class::Request));
        assert_eq!(message.ufrags(), Some(("a+/Z", "somebody-else")));
        assert_eq!(message.priority(), Some(0x6eff_ffff));
        assert_eq!(message.ice_controlling(), Some(0x0123_4567_89ab_cdef));
        assert_eq!(message.ice_controlled(), None);
        assert!(message.use_candidate());
        assert_eq!(message.verify(&key()), Ok(()));
        assert_eq!(message.check_fingerprint(), Fingerprint::Good);
    }

    #[test]
    fn a_success_tells_the_ipv4_address_that_a_dual_stack_socket_saw() {
        for (seen, told) in [
            ("198.51.100.7:40001", "198.51.100.7:40001"),
            ("[2001:db8::7]:40001", "[2001:db8::7]:40001"),
            ("[::ffff:198.51.100.7]:40001", "198.51.100.7:40001"),
        ] {
            let mut buffer = [0; BINDING_RESPONSE_MAX];
            let len = binding_success(&mut buffer, ID, addr(seen), &key()).unwrap();
            let message = Message::parse(&buffer[..len]).unwrap();
            assert!(message.is_binding(Class::Success));
            assert_eq!(message.xor_mapped_address(), Some(addr(told)));
            assert_eq!(message.verify(&key()), Ok(()));
        }
    }

    #[test]
    fn an_error_carries_its_code_and_the_attributes_that_nobody_knows() {
        let unknown = [AttributeType(0x0777), AttributeType(0x0003)];
        let mut buffer = [0; BINDING_RESPONSE_MAX];
        let code = ErrorCode::UNKNOWN_ATTRIBUTE;
        let len = binding_error(&mut buffer, ID, code, unknown.iter().copied(), &key()).unwrap();
        let message = Message::parse(&buffer[..len]).unwrap();
        assert!(message.is_binding(Class::Error));
        assert_eq!(message.error_code(), Some((code, "Unknown Attribute")));
        assert_eq!(message.get(AttributeType::UNKNOWN_ATTRIBUTES), Some(&[0x07, 0x77, 0x00, 0x03][..]));
        assert_eq!(message.verify(&key()), Ok(()));

        let code = ErrorCode::ROLE_CONFLICT;
        let len = binding_error(&mut buffer, ID, code, std::iter::empty(), &key()).unwrap();
        let message = Message::parse(&buffer[..len]).unwrap();
        assert_eq!(message.error_code(), Some((ErrorCode(487), "Role Conflict")));
        assert_eq!(message.get(AttributeType::UNKNOWN_ATTRIBUTES), None);
    }

    #[test]
    fn the_largest_response_fits_the_promised_size() {
        let unknown = (1..=MAX_ATTRIBUTES as u16).map(AttributeType);
        let mut buffer = [0; BINDING_RESPONSE_MAX];
        binding_error(&mut buffer, ID, ErrorCode::UNKNOWN_ATTRIBUTE, unknown, &key()).unwrap();
    }

    #[test]
    fn a_buffer_of_any_smaller_size_is_an_error_and_not_a_panic() {
        let whole = binding_success(&mut [0; 256], ID, addr("192.0.2.1:1"), &key()).unwrap();
        for size in 0..whole {
            let mut buffer = vec![0; size];
            assert_eq!(binding_success(&mut buffer, ID, addr("192.0.2.1:1"), &key()), Err(BufferTooSmall));
        }
    }

    #[test]
    fn a_value_longer_than_its_length_field_is_an_error() {
        let mut buffer = vec![0; 200_000];
        for size in [65_533, 65_536, 70_000] {
            let value = vec![0; size];
            let built = Builder::new(&mut buffer, Class::Indication, Method::BINDING, ID)
                .attribute(AttributeType::SOFTWARE, &value)
                .integrity(&key())
                .finish();
            assert_eq!(built, Err(BufferTooSmall), "{size} bytes");
        }
    }
}

mod what_counts {
    use super::*;

    fn build(attributes: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Vec<u8> {
        let mut buffer = vec![0; 4096];
        let builder = Builder::new(&mut buffer, Class::Request, Method::BINDING, ID);
        let len = attributes(builder).finish().unwrap();
        buffer.truncate(len);
        buffer
    }

    #[test]
    fn attributes_behind_the_integrity_are_ignored() {
        let bytes = build(|b| b.ufrags("a", "b").integrity(&key()).priority(7).use_candidate());
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.verify(&key()), Ok(()));
        assert_eq!(message.ufrags(), Some(("a", "b")));
        assert_eq!(message.priority(), None);
        assert!(!message.use_candidate());
    }

    #[test]
    fn a_second_integrity_cannot_replace_the_first() {
        let forger = Key::short_term("forged");
        let bytes = build(|b| b.ufrags("a", "b").integrity(&forger).use_candidate().integrity(&key()));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.verify(&key()), Err(IntegrityError::Bad));
    }

    #[test]
    fn an_integrity_behind_the_sha256_one_does_not_count() {
        let sha256 = AttributeType::MESSAGE_INTEGRITY_SHA256;
        let bytes = build(|b| b.ufrags("a", "b").attribute(sha256, &[0; 32]).integrity(&key()));
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.verify(&key()), Err(IntegrityError::Missing));

        let bytes = build(|b| b.ufrags("a", "b").integrity(&key()).attribute(sha256, &[0; 32]).fingerprint());
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.verify(&key()), Ok(()));
        assert_eq!(message.check_fingerprint(), Fingerprint::Good);
    }

    #[test]
    fn nothing_may_follow_the_fingerprint() {
        let bytes = build(|b| b.ufrags("a", "b").integrity(&key()).fingerprint().priority(7));
        assert!(matches!(Message::parse(&bytes), Err(ParseError::AfterFingerprint { .. })));
        let bytes = build(|b| b.ufrags("a", "b").fingerprint().integrity(&key()));
        assert!(matches!(Message::parse(&bytes), Err(ParseError::AfterFingerprint { .. })));
    }

    #[test]
    fn the_first_of_two_equal_attributes_counts() {
        let bytes = build(|b| b.priority(1).priority(2));
        assert_eq!(Message::parse(&bytes).unwrap().priority(), Some(1));
    }

    #[test]
    fn values_of_the_wrong_size_are_absent() {
        let bytes = build(|b| {
            b.attribute(AttributeType::PRIORITY, &[1, 2, 3])
                .attribute(AttributeType::ICE_CONTROLLING, &[0; 7])
                .attribute(AttributeType::ICE_CONTROLLED, &[0; 12])
                .attribute(AttributeType::XOR_MAPPED_ADDRESS, &[0, 1, 0, 0, 1, 2, 3])
                .attribute(AttributeType::ERROR_CODE, &[0, 0, 4])
                .attribute(AttributeType::USERNAME, &[0xff, 0xfe])
        });
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.priority(), None);
        assert_eq!(message.ice_controlling(), None);
        assert_eq!(message.ice_controlled(), None);
        assert_eq!(message.xor_mapped_address(), None);
        assert_eq!(message.error_code(), None);
        assert_eq!(message.username(), None);
        assert_eq!(message.username_bytes(), Some(&[0xff, 0xfe][..]));
    }

    #[test]
    fn error_codes_outside_300_to_699_are_absent() {
        for (value, code) in [
            ([0, 0, 2, 99], None),
            ([0, 0, 3, 0], Some(ErrorCode(300))),
            ([0, 0, 6, 99], Some(ErrorCode(699))),
            ([0, 0, 7, 0], None),
            ([0, 0, 4, 100], None),
        ] {
            let bytes = build(|b| b.attribute(AttributeType::ERROR_CODE, &value));
            let found = Message::parse(&bytes).unwrap().error_code();
            assert_eq!(found, code.map(|code| (code, "")), "{value:?}");
        }
    }

    #[test]
    fn only_unknown_attributes_below_0x8000_must_be_refused() {
        let bytes = build(|b| {
            b.attribute(AttributeType(0x7fff), &[])
                .priority(1)
                .attribute(AttributeType(0x8000), &[])
                .attribute(AttributeType(0xc057), &[0, 1, 0, 10])
                .attribute(AttributeType(0x0003), &[0; 4])
                .use_candidate()
        });
        let message = Message::parse(&bytes).unwrap();
        let unknown: Vec<_> = message.unknown_required(AttributeType::KNOWN_TO_ICE).collect();
        assert_eq!(unknown, [AttributeType(0x7fff), AttributeType(0x0003)]);
    }

    #[test]
    fn more_attributes_than_the_limit_are_refused() {
        let fill = |count| build(|b| (0..count).fold(b, |b, _| b.use_candidate()));
        assert!(Message::parse(&fill(MAX_ATTRIBUTES)).is_ok());
        assert_eq!(Message::parse(&fill(MAX_ATTRIBUTES + 1)).unwrap_err(), ParseError::TooManyAttributes);
    }

    #[test]
    fn an_integrity_or_fingerprint_of_the_wrong_size_is_refused() {
        for typ in [AttributeType::MESSAGE_INTEGRITY, AttributeType::FINGERPRINT] {
            for size in [0, 3, 5, 19, 21, 32] {
                let bytes = build(|b| b.attribute(typ, &vec![0; size]));
                assert!(matches!(Message::parse(&bytes), Err(ParseError::AttributeLength { .. })));
            }
        }
    }

    #[test]
    fn headers_that_are_not_stun_are_told_apart() {
        let refused = |change: fn(&mut Vec<u8>)| {
            let mut bytes = REQUEST.to_vec();
            change(&mut bytes);
            Message::parse(&bytes).unwrap_err()
        };
        assert_eq!(refused(|b| b.truncate(19)), ParseError::TooShort { len: 19 });
        assert_eq!(refused(|b| b[0] = 0x80), ParseError::NotStun { first: 0x80 });
        assert_eq!(refused(|b| b[4] = 0), ParseError::Cookie);
        assert_eq!(refused(|b| b[3] -= 1), ParseError::Unaligned { said: 87 });
        assert_eq!(refused(|b| b[3] -= 4), ParseError::Length { said: 84, found: 88 });
        assert_eq!(refused(|b| b.push(0)), ParseError::Length { said: 88, found: 89 });
        assert_eq!(refused(|b| b[23] = 0xff), ParseError::AttributeCut { at: 20 });
    }

    #[test]
    fn a_key_does_not_show_its_password() {
        assert_eq!(format!("{:?}", key()), "Key(…)");
    }
}

mod hostile {
    use super::*;

    /// Everything that must hold for any bytes at all.
    fn survive(bytes: &[u8]) {
        fuzz(bytes);
        xrtc::classify::fuzz(bytes);
    }

    fn verifies(bytes: &[u8]) -> bool {
        Message::parse(bytes).is_ok_and(|message| {
            [key(), Key::from_bytes(&LONG_TERM_KEY)].iter().any(|key| message.verify(key).is_ok())
        })
    }

    #[test]
    fn no_truncation_verifies() {
        for vector in VECTORS {
            for len in 0..vector.len() {
                survive(&vector[..len]);
                assert!(!verifies(&vector[..len]));
            }
        }
    }

    /// Cutting at an attribute border and correcting the length field gives well-formed messages.
    #[test]
    fn no_truncation_with_a_corrected_length_verifies_unless_only_the_fingerprint_is_gone() {
        for vector in VECTORS {
            let protected = vector.len()
                - Message::parse(vector).map_or(0, |message| {
                    if message.check_fingerprint() == Fingerprint::Good { 8 } else { 0 }
                });
            for len in (20..vector.len()).step_by(4) {
                let mut bytes = vector[..len].to_vec();
                bytes[2..4].copy_from_slice(&(len as u16 - 20).to_be_bytes());
                survive(&bytes);
                assert_eq!(verifies(&bytes), len == protected);
            }
        }
    }

    #[test]
    fn no_change_of_a_byte_in_front_of_the_integrity_verifies() {
        for vector in VECTORS {
            for at in 0..vector.len() {
                for change in (0..8).map(|bit| 1 << bit).chain([0xff, 0x55]) {
                    let mut bytes = vector.to_vec();
                    bytes[at] ^= change;
                    survive(&bytes);
                    let fingerprint = at >= vector.len() - 8 && vector != LONG_TERM;
                    assert!(fingerprint || !verifies(&bytes), "byte {at} changed by {change:#x}");
                }
            }
        }
    }

    #[test]
    fn every_changed_byte_spoils_the_fingerprint() {
        for vector in [REQUEST, RESPONSE_V4, RESPONSE_V6] {
            for at in 0..vector.len() {
                let mut bytes = vector.to_vec();
                bytes[at] ^= 0x10;
                let Ok(message) = Message::parse(&bytes) else { continue };
                assert_ne!(message.check_fingerprint(), Fingerprint::Good, "byte {at}");
            }
        }
    }

    #[test]
    fn bytes_put_in_or_taken_out_never_verify() {
        for vector in VECTORS {
            for at in 0..vector.len() {
                let mut longer = vector.to_vec();
                longer.insert(at, 0);
                survive(&longer);
                assert!(!verifies(&longer));
                let mut shorter = vector.to_vec();
                shorter.remove(at);
                survive(&shorter);
                assert!(!verifies(&shorter));
            }
        }
    }

    #[test]
    fn the_largest_datagram_is_read_or_refused() {
        for fill in [0x00, 0x20, 0xff] {
            let mut bytes = vec![fill; 65_535];
            bytes[..20].copy_from_slice(&REQUEST[..20]);
            bytes[2..4].copy_from_slice(&0xfffc_u16.to_be_bytes());
            survive(&bytes);
            survive(&bytes[..65_532]);
        }
    }

    proptest! {
        #[test]
        fn random_bytes_behind_a_good_header_survive(body in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut bytes = REQUEST[..20].to_vec();
            bytes[2..4].copy_from_slice(&(body.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&body);
            survive(&bytes);
            prop_assert!(!verifies(&bytes));
        }

        #[test]
        fn random_bytes_survive(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            survive(&bytes);
        }
    }
}

mod against_another_implementation {
    use super::*;
    use stun_types::attribute::{AttributeFromRaw, AttributeStaticType};
    use stun_types::message::{MessageWrite, MessageWriteExt};

    #[derive(Clone, Debug)]
    enum Part {
        Raw(u16, Vec<u8>),
        Username(String),
        Mapped(SocketAddr),
    }

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let raw = (0x4000_u16..0xffff, proptest::collection::vec(any::<u8>(), 0..40))
            .prop_filter("closes a message", |(typ, _)| ![0x8028].contains(typ))
            .prop_map(|(typ, value)| Part::Raw(typ, value));
        let username = "[a-zA-Z0-9+/]{4,40}:[a-zA-Z0-9+/]{4,40}".prop_map(Part::Username);
        let mapped = any::<SocketAddr>()
            .prop_map(|addr| Part::Mapped(SocketAddr::new(addr.ip().to_canonical(), addr.port())));
        proptest::collection::vec(prop_oneof![raw, username, mapped], 0..12)
    }

    fn credentials(password: &str) -> oracle::MessageIntegrityCredentials {
        oracle::ShortTermCredentials::new(password.to_owned()).into()
    }

    fn theirs(id: TransactionId, parts: &[Part], password: &str) -> Vec<u8> {
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&id);
        let id: oracle::TransactionId = u128::from_be_bytes(wide).into();
        let typ = oracle::MessageType::from_class_method(oracle::MessageClass::Request, oracle::BINDING);
        let mut message = oracle::Message::builder(typ, id, oracle::MessageWriteVec::new());
        for part in parts {
            match part {
                Part::Raw(typ, value) => {
                    let raw = oracle_attribute::RawAttribute::new((*typ).into(), value);
                    message.add_attribute(&raw).unwrap();
                }
                Part::Username(name) => {
                    let name = oracle_attribute::RawAttribute::new(0x0006.into(), name.as_bytes());
                    message.add_attribute(&name).unwrap();
                }
                Part::Mapped(addr) => {
                    let mapped = oracle_attribute::XorMappedAddress::new(*addr, id);
                    message.add_attribute(&mapped).unwrap();
                }
            }
        }
        message.add_message_integrity(&credentials(password), oracle::IntegrityAlgorithm::Sha1).unwrap();
        message.add_fingerprint().unwrap();
        message.finish()
    }

    fn ours(id: TransactionId, parts: &[Part], password: &str) -> Vec<u8> {
        let mut buffer = vec![0xAA; 4096];
        let mut builder = Builder::new(&mut buffer, Class::Request, Method::BINDING, id);
        for part in parts {
            builder = match part {
                Part::Raw(typ, value) => builder.attribute(AttributeType(*typ), value),
                Part::Username(name) => {
                    let (receiver, sender) = name.split_once(':').unwrap();
                    builder.ufrags(receiver, sender)
                }
                Part::Mapped(addr) => builder.xor_mapped_address(*addr),
            };
        }
        let len = builder.integrity(&Key::short_term(password)).fingerprint().finish().unwrap();
        buffer.truncate(len);
        buffer
    }

    proptest! {
        #[test]
        fn both_write_the_same_bytes_and_read_each_other(
            id in any::<TransactionId>(),
            parts in parts(),
            password in "[a-zA-Z0-9+/]{22,80}",
        ) {
            let bytes = ours(id, &parts, &password);
            prop_assert_eq!(&bytes, &theirs(id, &parts, &password));

            let read = oracle::Message::from_bytes(&bytes).unwrap();
            prop_assert!(read.validate_integrity(&credentials(&password)).is_ok());
            let message = Message::parse(&bytes).unwrap();
            prop_assert_eq!(message.verify(&Key::short_term(&password)), Ok(()));
            prop_assert_eq!(message.verify(&Key::short_term("other")), Err(IntegrityError::Bad));
            prop_assert_eq!(message.check_fingerprint(), Fingerprint::Good);
            let mapped = read
                .raw_attribute(oracle_attribute::XorMappedAddress::TYPE)
                .map(|raw| oracle_attribute::XorMappedAddress::from_raw(raw).unwrap().addr(read.transaction_id()));
            prop_assert_eq!(message.xor_mapped_address(), mapped);
        }

        /// Where the other one reads a changed message, both see the same integrity.
        #[test]
        fn both_agree_on_changed_bytes(parts in parts(), at in any::<proptest::sample::Index>(), with in any::<u8>()) {
            let mut bytes = ours(ID, &parts, PASSWORD);
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            if let (Ok(read), Ok(message)) = (oracle::Message::from_bytes(&bytes), Message::parse(&bytes)) {
                let theirs = read.validate_integrity(&credentials(PASSWORD)).is_ok();
                prop_assert_eq!(message.verify(&key()).is_ok(), theirs);
            }
        }
    }
}
