//! Binding for who has proven nothing (RFC 8489 §7.3.1): tells a sender where it came from. Decides how much may be said, so that
//! nobody can use the answer to send a victim more than he sends himself: **no such answer over UDP is larger, on the wire, than
//! one and a half times its question**. Whether a stranger is answered at all is decided elsewhere.

use std::net::SocketAddr;

use super::{AttributeType, Builder, Class, ErrorCode, Message, Method};

/// IP and UDP headers, which both directions pay as well.
const HEADERS_V4: usize = 28;
const HEADERS_V6: usize = 48;
/// Unknown attributes that an answer names; more are nobody's mistake.
const MOST_UNKNOWN: usize = 8;

/// How many bytes may be said to an unproven sender of `request` bytes. Who has a connection is proven.
pub fn allowance(request: usize, remote: SocketAddr, is_stream: bool) -> usize {
    if is_stream {
        return usize::MAX;
    }
    let headers = if remote.ip().to_canonical().is_ipv4() { HEADERS_V4 } else { HEADERS_V6 };
    ((request + headers) * 3 / 2).saturating_sub(headers)
}

/// Whether a Binding request asks for nothing but its own address: it names no user, is not signed, and has nothing of an ICE
/// check (RFC 8445 §7.1) in it.
pub fn is_plain(request: &Message<'_>) -> bool {
    const OF_CHECKS: [AttributeType; 5] = [
        AttributeType::USERNAME,
        AttributeType::PRIORITY,
        AttributeType::USE_CANDIDATE,
        AttributeType::ICE_CONTROLLED,
        AttributeType::ICE_CONTROLLING,
    ];
    request.is_binding(Class::Request)
        && !request.has_integrity()
        && !request.has_sha256_integrity()
        && OF_CHECKS.iter().all(|typ| request.get(*typ).is_none())
}

/// Answers a Binding request with where it came from, or, where it holds attributes that are not in `known` and must be, with
/// their types (RFC 8489 §6.3.1). Its length; `None` where the answer would be larger than `allowance`.
pub fn plain_answer(
    reply: &mut [u8],
    request: &Message<'_>,
    remote: SocketAddr,
    known: &[AttributeType],
    allowance: usize,
) -> Option<usize> {
    let unknown = request.unknown_required(known).take(MOST_UNKNOWN);
    let is_known = unknown.clone().next().is_none();
    let class = if is_known { Class::Success } else { Class::Error };
    let answer = Builder::new(reply, class, Method::BINDING, request.transaction_id());
    let answer = match is_known {
        true => answer.xor_mapped_address(remote),
        false => answer.bare_error_code(ErrorCode::UNKNOWN_ATTRIBUTE).unknown_attributes(unknown),
    };
    closed(answer, request).filter(|len| *len <= allowance)
}

/// FINGERPRINT for those who use it.
pub fn closed(message: Builder<'_>, request: &Message<'_>) -> Option<usize> {
    let message = if request.has_fingerprint() { message.fingerprint() } else { message };
    message.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(with: impl FnOnce(Builder<'_>) -> Builder<'_>) -> Vec<u8> {
        let mut bytes = vec![0; 300];
        let len = with(Builder::new(&mut bytes, Class::Request, Method::BINDING, [9; 12])).finish();
        bytes.truncate(len.expect("room"));
        bytes
    }

    fn answer(request: &[u8], remote: &str) -> Option<Vec<u8>> {
        let (message, remote) = (Message::parse(request).expect("STUN"), remote.parse().expect("an address"));
        let (mut reply, allowance) = ([0; 256], allowance(request.len(), remote, false));
        let known = AttributeType::KNOWN_TO_ICE;
        let len = plain_answer(&mut reply, &message, remote, known, allowance)?;
        Some(reply[..len].to_vec())
    }

    #[test]
    fn the_shortest_question_gets_the_shortest_answer() {
        for (remote, len) in [("192.0.2.1:5", 32), ("[::ffff:192.0.2.1]:5", 32), ("[2001:db8::1]:5", 44)] {
            let answer = answer(&request(|it| it), remote).expect("an answer");
            assert_eq!(answer.len(), len, "{remote}");
            let mapped = Message::parse(&answer).expect("STUN").xor_mapped_address().expect("an address");
            let sent: SocketAddr = remote.parse().expect("an address");
            assert_eq!((mapped.ip(), mapped.port()), (sent.ip().to_canonical(), 5));
        }
    }

    #[test]
    fn a_fingerprint_is_answered_with_one() {
        let answer = answer(&request(|it| it.fingerprint()), "192.0.2.1:5").expect("an answer");
        assert_eq!(answer.len(), 40);
        let message = Message::parse(&answer).expect("STUN");
        assert_eq!(message.check_fingerprint(), crate::stun::Fingerprint::Good);
    }

    #[test]
    fn unknown_attributes_are_named_as_far_as_the_allowance_goes() {
        let one = request(|it| it.attribute(AttributeType(0x7abc), &[]));
        let answered = answer(&one, "192.0.2.1:5").expect("an answer");
        let message = Message::parse(&answered).expect("STUN");
        assert_eq!(message.error_code().map(|(code, _)| code), Some(ErrorCode(420)));
        assert_eq!(message.get(AttributeType::UNKNOWN_ATTRIBUTES), Some(&[0x7a, 0xbc][..]));
        let many = request(|it| (0..60).fold(it, |it, i| it.attribute(AttributeType(0x7000 + i), &[])));
        assert!(answer(&many, "192.0.2.1:5").expect("an answer").len() < 60);
    }

    #[test]
    fn what_belongs_to_a_check_is_not_plain() {
        let is_plain = |bytes: Vec<u8>| super::is_plain(&Message::parse(&bytes).expect("STUN"));
        assert!(is_plain(request(|it| it)));
        assert!(is_plain(request(|it| it.attribute(AttributeType::SOFTWARE, b"x").fingerprint())));
        let key = crate::stun::Key::short_term("pwd");
        assert!(!is_plain(request(|it| it.attribute(AttributeType::USERNAME, b"u"))));
        assert!(!is_plain(request(|it| it.priority(1))));
        assert!(!is_plain(request(|it| it.use_candidate())));
        assert!(!is_plain(request(|it| it.ice_controlled(1))));
        assert!(!is_plain(request(|it| it.integrity(&key))));
    }
}
