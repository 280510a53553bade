//! A body for fuzzers: one exchange with hostile bytes in it, and what must hold whatever they are. Always compiled, so
//! that it cannot rot.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::dialect::{Carrier, ConnectionId, Context, Dialect, Message, Settings, Side, Verdict};
use crate::json_edit::{Value, first_value, quote};
use crate::session::registration::{Command, EndReason, Mode};

use super::Janus;
use super::message::Envelope;

/// Runs the dialect over `data`: as a body of each side over REST and WebSocket, and as the SDP and the trickled candidate of
/// otherwise good messages. Panics where a candidate passes, where good JSON becomes bad, or where sessions are left over.
pub fn fuzz(data: &[u8]) {
    let quoted = quote(&String::from_utf8_lossy(data));
    let about = br#""session_id":1,"sender":2,"handle_id":2,"transaction":"t""#.as_slice();
    let jsep = |kind: &'static [u8]| [b"{\"janus\":\"event\",", about, kind, &quoted, b"}}"].concat();
    let offer = jsep(br#","jsep":{"type":"offer","sdp":"#);
    let answer = jsep(br#","jsep":{"type":"answer","sdp":"#);
    let trickle =
        [b"[{\"janus\":\"trickle\",", about, br#","candidate":{"candidate":"#, &quoted, b"}},1]"].concat();

    let (client, backend) = (Side::Client, Side::Backend);
    let steps = [
        (client, data),
        (backend, data),
        (client, &offer),
        (backend, &trickle),
        (backend, &answer),
        (backend, &offer),
    ];
    for carrier in [Carrier::Rest { method: "POST", path: "/janus/1/2" }, Carrier::WebSocket(ConnectionId(7))]
    {
        let mut bench = Bench::new(Instant::now());
        for (from, body) in
            steps.into_iter().chain([(backend, trickle.as_slice()), (client, &answer), (backend, data)])
        {
            bench.step(from, carrier, body);
        }
        bench.finish();
    }
}

struct Bench {
    janus: Janus,
    now: Instant,
    random: u8,
    commands: Vec<Command>,
}

impl Bench {
    fn new(now: Instant) -> Self {
        let settings = Settings {
            route: "fuzz".into(),
            edge_candidates: std::iter::once("edge".into()).collect(),
            mode: Mode::HalfProxy,
            prefer_tcp: false,
            upstream: None,
        };
        Bench { janus: Janus::new(settings), now, random: 0, commands: Vec::new() }
    }

    fn step(&mut self, from: Side, carrier: Carrier<'_>, body: &[u8]) {
        let verdict = self.with(|janus, cx| janus.handle(cx, Message { from, carrier, body }));
        let passed = match &verdict {
            Verdict::Pass => body,
            Verdict::Replace(passed) => passed,
            Verdict::Answer(answer) | Verdict::Refuse { body: answer, .. } => {
                return assert!(first_value(answer).is_ok());
            }
            Verdict::Swallow | Verdict::Respond { .. } => return,
        };
        match (first_value(body), first_value(passed)) {
            (Ok(_), Ok(after)) => assert_hidden(after, 0),
            (Err(_), _) => assert_eq!(verdict, Verdict::Pass, "what is not JSON passes as it is"),
            (Ok(_), Err(error)) => panic!("good JSON became bad: {error}"),
        }
    }

    /// Whatever was registered ends with its Janus session.
    fn finish(mut self) {
        self.step(
            Side::Client,
            Carrier::Rest { method: "POST", path: "/janus/1" },
            br#"{"janus":"destroy"}"#,
        );
        self.with(|janus, cx| janus.sweep(cx));
        let mut live = BTreeSet::new();
        for command in &self.commands {
            match command {
                Command::Register(it) => _ = live.insert(it.session),
                Command::AddCandidates(session, _) => {
                    assert!(live.contains(session), "candidates of nobody")
                }
                Command::End(session, reason) => {
                    assert_ne!(*reason, EndReason::Shutdown);
                    assert!(live.remove(session), "ends twice");
                }
            }
        }
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Janus, &mut Context<'_>) -> T) -> T {
        let random = &mut self.random;
        let mut fill = |bytes: &mut [u8]| {
            for byte in bytes {
                *random = random.wrapping_mul(5).wrapping_add(1);
                *byte = *random;
            }
        };
        act(&mut self.janus, &mut Context { now: self.now, random: &mut fill, commands: &mut self.commands })
    }
}

/// No message object anywhere in an array tells a candidate.
fn assert_hidden(value: Value<'_>, depth: usize) {
    for element in value.elements().filter(|_| depth < 64) {
        assert_hidden(element, depth + 1);
    }
    let envelope = Envelope::read(value);
    let lines = envelope.jsep.iter().flat_map(|jsep| jsep.sdp.split(['\r', '\n']));
    let leaks = |line: &str| line.len() > 12 && line.as_bytes()[..12].eq_ignore_ascii_case(b"a=candidate:");
    assert!(!lines.into_iter().any(leaks), "a candidate of an SDP passes");
    assert!(
        !envelope.trickled().any(|it| it.candidate.is_some()) || !is_trickle(&envelope),
        "a trickled candidate passes"
    );
}

fn is_trickle(envelope: &Envelope<'_>) -> bool {
    envelope.kind == super::message::Kind::Trickle
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile::sweep;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 10.0.0.1\r\na=group:BUNDLE 0 1\r\nm=audio 9 X 0\r\nc=IN IP4 10.0.0.1\r\n\
        a=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=candidate:1 1 udp 1 10.0.0.1 5 typ host\r\n\
        m=video 9 X 0\r\na=mid:1\r\na=end-of-candidates\r\n";
    const TRICKLE: &str = r#"{"janus":"trickle","session_id":1,"sender":2,"candidate":
        {"candidate":"candidate:1 1 udp 1 10.0.0.1 5 typ host","sdpMid":"0"},"candidates":[{"completed":true}]}"#;

    fn samples() -> Vec<Vec<u8>> {
        let quoted = String::from_utf8(quote(OFFER)).unwrap();
        let event = format!(
            r#"{{"janus":"event","session_id":1,"sender":2,"jsep":{{"type":"answer","sdp":{quoted}}}}}"#
        );
        let array = format!("[{TRICKLE}, {event} ,{TRICKLE},[{TRICKLE}]]");
        let end = r#"{"janus":"error","session_id":1,"error":{"code":458}}"#;
        [OFFER, TRICKLE, &event, &array, end].map(|it| it.as_bytes().to_vec()).into()
    }

    #[test]
    fn truncated_and_mutated_messages_neither_panic_nor_leak() {
        for sample in samples() {
            sweep(&sample, br#""]\0"#, fuzz);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(data: Vec<u8>) {
            fuzz(&data);
        }

        #[test]
        fn any_mixture_of_messages_is_survived(picks in proptest::collection::vec((0..5usize, 0..400usize), 0..4)) {
            let samples = samples();
            let parts: Vec<_> = picks.iter().map(|(index, cut)| &samples[*index][(*cut).min(samples[*index].len())..]).collect();
            fuzz(&[b"[".as_slice(), &parts.join(&b','), b"]"].concat());
        }
    }
}
