//! A body for fuzzers: one WHIP session with hostile bytes in it, and what must hold whatever they are. Always compiled, so
//! that it cannot rot.

use std::sync::Arc;
use std::time::Instant;

use crate::dialect::view::names_candidate_line;
use crate::dialect::{Carrier, Context, Dialect, ExchangeId, Head, Message, Settings, Side, Verdict};
use crate::session::registration::Mode;

use super::Whip;

const OFFER: &str =
    "v=0\r\nm=audio 9 X 0\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n";

/// Runs the dialect over `data` as the body of every kind of message, before and after there is a session. Panics where a
/// candidate passes.
pub fn fuzz(data: &[u8]) {
    let now = Instant::now();
    let settings = Settings {
        route: "fuzz".into(),
        edge_candidates: Arc::from([Box::from("edge")]),
        mode: Mode::HalfProxy,
        prefer_tcp: false,
        upstream: None,
    };
    let mut whip = Whip::new(settings, false);
    let offer = OFFER.as_bytes();
    let mut exchange = 0;
    for (sent, answered) in [(data, data), (offer, data), (offer, offer), (data, offer), (data, data)] {
        for method in ["POST", "PATCH", "DELETE"] {
            for content_type in ["application/sdp", "application/trickle-ice-sdpfrag"] {
                exchange += 1;
                let head = Head {
                    exchange: ExchangeId(exchange),
                    content_type: Some(content_type),
                    ..Head::default()
                };
                let answer = Head { status: 200 + u16::from(method == "POST"), location: Some("/s"), ..head };
                for (from, head, body) in [(Side::Client, head, sent), (Side::Backend, answer, answered)] {
                    let verdict = speak(&mut whip, now, (method, from), &head, body);
                    let passed = match &verdict {
                        Verdict::Pass => body,
                        Verdict::Replace(passed) => passed,
                        _ => break,
                    };
                    assert!(!names_candidate_line(passed), "a candidate passes");
                }
                whip.concluded(ExchangeId(exchange));
            }
        }
    }
    assert!(whip.waiting.is_empty(), "something waits for ever");
}

fn speak(
    whip: &mut Whip,
    now: Instant,
    (method, from): (&str, Side),
    head: &Head<'_>,
    body: &[u8],
) -> Verdict {
    let mut random = 0u8;
    let mut fill = |bytes: &mut [u8]| {
        for byte in bytes {
            random = random.wrapping_mul(5).wrapping_add(1);
            *byte = random;
        }
    };
    let mut commands = Vec::new();
    let mut cx = Context { now, random: &mut fill, commands: &mut commands };
    let carrier = Carrier::Rest { method, path: "/s" };
    whip.handle_rest(&mut cx, Message { from, carrier, body }, head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::sweep;

    const FRAGMENT: &str = "a=ice-ufrag:wxyz\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 X 0\r\na=mid:0\r\n\
        a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\na=end-of-candidates\r\n";

    #[test]
    fn truncated_and_mutated_messages_neither_panic_nor_leak() {
        for sample in [format!("{OFFER}a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\n"), FRAGMENT.to_owned()] {
            let sample = sample.into_bytes();
            sweep(&sample, &[0, b'\r', b'=', b'A', b':', 0xff], fuzz);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(data: Vec<u8>) {
            fuzz(&data);
        }
    }
}
