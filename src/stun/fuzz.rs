//! Fuzz body: reads anything, and checks that what was read can be written again. Never panics on bad input; a panic
//! is a bug of the codec.

use std::net::SocketAddr;

use super::{AttributeType, Builder, Fingerprint, IntegrityError, Key, Message, is_stun};

/// Reads `data` as a message and asks everything that can be asked of it.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let Ok(message) = Message::parse(data) else {
        return;
    };
    assert!(message.method().0 <= 0xFFF, "methods have twelve bits");
    assert!(message.method().0 > 0xFF || is_stun(data), "the cheap test refuses a message of a known method");
    ask(&message);
    tell(&message);
    rewrite(&message);
}

/// A stranger is never told more than his question allows, and nothing that is part of a check makes it plain.
fn tell(message: &Message<'_>) {
    if !super::is_plain(message) {
        return;
    }
    assert!(message.is_binding(super::Class::Request) && message.username_bytes().is_none());
    for remote in
        [SocketAddr::from(([192, 0, 2, 1], 5)), SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 5))]
    {
        let allowance = super::allowance(message.as_bytes().len(), remote, false);
        let mut reply = [0; super::BINDING_RESPONSE_MAX];
        let known = AttributeType::KNOWN_TO_ICE;
        let Some(len) = super::plain_answer(&mut reply, message, remote, known, allowance) else { continue };
        assert!(len <= allowance);
        let Ok(answer) = Message::parse(&reply[..len]) else { panic!("wrote what cannot be read") };
        assert_eq!(answer.transaction_id(), message.transaction_id());
        assert!(answer.xor_mapped_address().is_none_or(|told| told == remote));
    }
}

fn ask(message: &Message<'_>) {
    let key = Key::short_term("a password that the fuzzer does not know");
    let expected = if message.has_integrity() { IntegrityError::Bad } else { IntegrityError::Missing };
    assert_eq!(message.verify(&key), Err(expected), "verified a message without knowing the key");
    let _ = message.check_fingerprint();
    let _ = (message.username(), message.ufrags(), message.priority(), message.use_candidate());
    let _ = (message.ice_controlling(), message.ice_controlled(), message.error_code());
    let _ = message.xor_mapped_address();
    assert!(message.unknown_required(AttributeType::KNOWN_TO_ICE).count() <= super::MAX_ATTRIBUTES);
}

fn rewrite(message: &Message<'_>) {
    let key = Key::short_term("VOkJxbRl1RmTxUk/WvJxBt");
    let mut buffer = vec![0; message.as_bytes().len() + 32];
    let mut builder = Builder::new(&mut buffer, message.class(), message.method(), message.transaction_id());
    for attribute in message.attributes() {
        builder = builder.attribute(attribute.typ, attribute.value);
    }
    // Fails only where the longer message would not fit into its length field.
    let Ok(len) = builder.integrity(&key).fingerprint().finish() else {
        return;
    };
    let Ok(again) = Message::parse(&buffer[..len]) else {
        assert!(message.attributes().count() + 2 > super::MAX_ATTRIBUTES, "wrote what cannot be read");
        return;
    };
    assert!(again.attributes().eq(message.attributes()));
    assert_eq!(again.verify(&key), Ok(()));
    assert_eq!(again.check_fingerprint(), Fingerprint::Good);
}
