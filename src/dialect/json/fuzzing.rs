//! A body for fuzzers: one JSON API with hostile bytes in it, and what must hold whatever they are. Always compiled, so that
//! it cannot rot.

use std::sync::Arc;
use std::time::Instant;

use crate::dialect::view::names_candidate_line;
use crate::dialect::{Carrier, Context, Dialect, ExchangeId, Head, Message, Settings, Side, Verdict};
use crate::json_edit::{first_value, quote};
use crate::session::registration::Mode;

use super::{Json, Places};

/// Runs the dialect over `data` as a body and as the SDP of good bodies. Panics where a candidate passes at the places of
/// offer and answer, and where good JSON becomes bad.
pub fn fuzz(data: &[u8]) {
    let now = Instant::now();
    let settings = Settings {
        route: "fuzz".into(),
        edge_candidates: Arc::from([Box::from("edge")]),
        mode: Mode::HalfProxy,
        prefer_tcp: false,
        upstream: None,
    };
    let mut json = Json::new(settings, Places::new("/sdp", "/sdp", Some("/id")));
    let sdp = [b"{\"id\":7,\"sdp\":", quote(&String::from_utf8_lossy(data)).as_slice(), b"}"].concat();
    for (exchange, body) in [data, &sdp, data, &sdp].into_iter().enumerate() {
        for from in [Side::Client, Side::Backend] {
            let head = Head { exchange: ExchangeId(exchange as u64), ..Head::default() };
            let verdict = speak(&mut json, now, from, &head, body);
            let passed = match &verdict {
                Verdict::Pass => body,
                Verdict::Replace(passed) => passed,
                _ => break,
            };
            assert_hidden(&json.places, body, passed);
        }
        json.concluded(ExchangeId(exchange as u64));
    }
    assert!(json.waiting.is_empty(), "something waits for ever");
}

fn assert_hidden(places: &Places, before: &[u8], after: &[u8]) {
    let Ok(root) = first_value(after) else {
        assert!(first_value(before).is_err(), "good JSON became bad");
        return assert!(!after.starts_with(b"v=") || !names_candidate_line(after), "a candidate passes");
    };
    let sdp = places.offer.find(root).ok().flatten().and_then(|value| value.string());
    assert!(!sdp.is_some_and(|sdp| names_candidate_line(sdp.as_bytes())), "a candidate passes");
}

fn speak(json: &mut Json, now: Instant, from: Side, head: &Head<'_>, body: &[u8]) -> Verdict {
    let mut random = 0u8;
    let mut fill = |bytes: &mut [u8]| {
        for byte in bytes {
            random = random.wrapping_mul(5).wrapping_add(1);
            *byte = random;
        }
    };
    let mut commands = Vec::new();
    let mut cx = Context { now, random: &mut fill, commands: &mut commands };
    let carrier = Carrier::Rest { method: "POST", path: "/rtc" };
    json.handle_rest(&mut cx, Message { from, carrier, body }, head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::sweep;

    const OFFER: &str = "v=0\r\nm=audio 9 X 0\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n\
        a=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\n";

    #[test]
    fn truncated_and_mutated_messages_neither_panic_nor_leak() {
        let json = [b"{\"id\":\"a\",\"sdp\":", quote(OFFER).as_slice(), b",\"x\":[1,{}]}"].concat();
        for sample in [OFFER.as_bytes().to_vec(), json] {
            sweep(&sample, &[0, b'"', b'\\', b'=', b'A', b'}', 0xff], fuzz);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(data: Vec<u8>) {
            fuzz(&data);
        }
    }
}
