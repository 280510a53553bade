//! `ums` and the JSON dialect by their rules: what of each body the other side sees, and what the packet side is told
//! (xrtc.md §2.3).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use xrtc::config::{DialectKind, Scheme, ServerUrl};
use xrtc::dialect::{
    Carrier, ConnectionId, Context, Dialect, ExchangeId, Head, Message, Settings, Side, Verdict, build,
};
use xrtc::session::registration::{CandidateTransport, Command, EndReason, Mode, Registration};

const EDGE: &str = "candidate:1 1 udp 2013266431 192.0.2.1 6001 typ host";
const OFFER: &str = include_str!("vectors/whip/offer.sdp");
const ANSWER: &str = include_str!("vectors/whip/answer.sdp");

struct Edge {
    dialect: Box<dyn Dialect>,
    commands: Vec<Command>,
    random: u8,
}

impl Edge {
    fn new(kind: &DialectKind) -> Self {
        let settings = Settings {
            route: "json".into(),
            edge_candidates: Arc::from([Box::from(EDGE)]),
            mode: Mode::HalfProxy,
            prefer_tcp: false,
            upstream: Some("10.9.9.9:80".parse().unwrap()),
        };
        Edge { dialect: build(kind, settings).unwrap(), commands: Vec::new(), random: 0 }
    }

    fn srs() -> Self {
        let pointer = |text: &str| text.to_owned();
        let (offer, answer, session) = (pointer("/sdp"), pointer("/sdp"), Some(pointer("/sessionid")));
        Edge::new(&DialectKind::Json { offer, answer, session })
    }

    fn speak(&mut self, from: Side, carrier: Carrier<'_>, head: Head<'_>, body: &str) -> Verdict {
        let random = &mut self.random;
        let mut fill = |bytes: &mut [u8]| {
            for byte in bytes {
                *random = random.wrapping_mul(5).wrapping_add(7);
                *byte = *random;
            }
        };
        let mut cx = Context { now: Instant::now(), random: &mut fill, commands: &mut self.commands };
        self.dialect.handle_rest(&mut cx, Message { from, carrier, body: body.as_bytes() }, &head)
    }

    /// A request and its response: what the backend and what the client see.
    fn post(&mut self, exchange: u64, request: &str, response: &str) -> (String, String) {
        let head = Head { exchange: ExchangeId(exchange), ..Head::default() };
        let sent = passed(request, self.speak(Side::Client, POST, head, request));
        let head = Head { status: 200, ..head };
        let shown = passed(response, self.speak(Side::Backend, POST, head, response));
        self.dialect.concluded(ExchangeId(exchange));
        (sent, shown)
    }

    fn registrations(&self) -> Vec<Arc<Registration>> {
        let registration = |command: &Command| match command {
            Command::Register(registration) => Some(registration.clone()),
            _ => None,
        };
        self.commands.iter().filter_map(registration).collect()
    }
}

const POST: Carrier<'_> = Carrier::Rest { method: "POST", path: "/rtc/v1/play/" };

fn passed(body: &str, verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => body.to_owned(),
        Verdict::Replace(body) => String::from_utf8(body).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn assert_hidden(text: &str) {
    let foreign = text.replace(EDGE, "");
    for secret in ["candidate:", "10.0.0.", "198.51.100."] {
        assert!(!foreign.contains(secret), "{secret} in {text}");
    }
}

fn srs_request(sdp: &str) -> String {
    format!(
        r#"{{"api":"http://srs/rtc/v1/play/", "tid":"5dd5a31" ,"big":9007199254740993,"sdp":{},"e":"\u00e9"}}"#,
        Value::from(sdp)
    )
}

fn srs_response(sdp: &str) -> String {
    json!({"code": 0, "server": "vid-1", "sessionid": "a:b", "sdp": sdp}).to_string()
}

#[test]
fn an_srs_api_works_by_pointers_and_every_other_byte_stays() {
    let mut edge = Edge::srs();
    let request = srs_request(OFFER);
    let (sent, shown) = edge.post(1, &request, &srs_response(ANSWER));
    assert_hidden(&sent);
    assert_hidden(&shown);
    let outside = |text: &str| {
        let (before, rest) = text.split_once("\"sdp\":").unwrap();
        format!("{before}{}", &rest[rest.find("\\r\\n\"").unwrap()..])
    };
    assert_eq!(outside(&sent), outside(&request));
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["sdp"].as_str().unwrap().matches(EDGE).count(), 2);
    assert_eq!((&shown["server"], &shown["code"]), (&json!("vid-1"), &json!(0)));
    assert_eq!(edge.registrations().len(), 1);
}

#[test]
fn a_zlmediakit_api_takes_the_offer_as_the_whole_body() {
    let mut edge = Edge::srs();
    let (sent, shown) = edge.post(1, OFFER, &json!({"code": 0, "sdp": ANSWER, "type": "answer"}).to_string());
    assert!(sent.starts_with("v=0"));
    assert_hidden(&sent);
    assert_hidden(&shown);
    assert_eq!(edge.registrations().len(), 1);
}

#[test]
fn a_session_that_is_named_can_restart_and_end() {
    let mut edge = Edge::srs();
    edge.post(1, &srs_request(OFFER), &srs_response(ANSWER));
    let again = json!({"sessionid": "a:b", "sdp": OFFER.replace("EsAw", "newU")}).to_string();
    edge.post(2, &again, &srs_response(&ANSWER.replace("526be20a538ee422", "newB")));
    let registrations = edge.registrations();
    assert_eq!(registrations.len(), 2);
    assert_eq!((registrations[0].session, registrations[1].generation), (registrations[1].session, 1));
    for (exchange, path, query, status, ends) in [
        (3, "/rtc/v1/other", None, 200, false),
        (4, "/rtc/v1/a:b", None, 500, false),
        (5, "/rtc/v1/stop", Some("x=1&session=a:b"), 200, true),
    ] {
        let carrier = Carrier::Rest { method: "DELETE", path };
        let head = Head { exchange: ExchangeId(exchange), query, ..Head::default() };
        assert_eq!(edge.speak(Side::Client, carrier, head, ""), Verdict::Pass);
        assert_eq!(edge.speak(Side::Backend, carrier, Head { status, ..head }, ""), Verdict::Pass);
        let ended = matches!(edge.commands.last(), Some(Command::End(_, EndReason::Hangup)));
        assert_eq!(ended, ends, "{path} {query:?}");
    }
}

#[test]
fn a_named_session_belongs_to_its_server() {
    let mut edge = Edge::srs();
    let server = ServerUrl {
        scheme: Scheme::Http,
        host: "10.0.0.1".into(),
        port: 1,
        path: String::new(),
        query: String::new(),
    };
    edge.speak(Side::Client, POST, Head::default(), &srs_request(OFFER));
    let head = Head { status: 200, server: Some(&server), ..Head::default() };
    edge.speak(Side::Backend, POST, head, &srs_response(ANSWER));
    assert_eq!(edge.dialect.pinned("/rtc/v1/a:b", None), Some(server));
    assert_eq!(edge.dialect.pinned("/rtc/v1/play", None), None);
}

#[test]
fn bad_offers_are_refused_with_the_reason_and_other_calls_pass() {
    let mut edge = Edge::srs();
    let twice = format!(r#"{{"sdp":{0},"sdp":{0}}}"#, Value::from(OFFER));
    let behind = format!("{{}} {OFFER}");
    for (body, reason) in [
        (srs_request("garbage"), "line 1: expected `v=0`"),
        (twice, "expected the key `sdp` only once"),
        (behind, "expected JSON"),
        (format!("// lenient\n{}", srs_request(OFFER)), "expected JSON"),
    ] {
        match edge.speak(Side::Client, POST, Head::default(), &body) {
            Verdict::Refuse { reason: found, .. } => assert_eq!(found, reason),
            other => panic!("{body}: {other:?}"),
        }
    }
    for body in [r#"{"other":1}"#, r#"{"sdp":5}"#, r#"{"sdp":""}"#, "[]", "plain", ""] {
        assert_eq!(edge.speak(Side::Client, POST, Head::default(), body), Verdict::Pass);
        let head = Head { status: 200, ..Head::default() };
        assert_eq!(edge.speak(Side::Backend, POST, head, body), Verdict::Pass);
    }
    let (_, shown) = edge.post(9, "{}", &srs_response(ANSWER));
    assert_hidden(&shown);
    assert!(edge.commands.is_empty(), "an answer without an offer makes no session");
}

fn ums(offer: Option<&str>, answer: Option<&str>) -> String {
    let channel = json!({"webrtc_offer": offer, "webrtc_answer": answer, "id": 9_007_199_254_740_993_u64});
    json!({
        "type": "SESSION_REQUEST_WEBRTC_OFFER",
        "action": {"session_key": "k1", "user_roster": [{"audio_status": {"channels": [channel]}}]},
    })
    .to_string()
}

#[test]
fn ums_offers_and_answers_in_its_channel() {
    let mut edge = Edge::new(&DialectKind::Ums);
    let (sent, shown) = edge.post(1, &ums(Some(OFFER), None), &ums(None, Some(ANSWER)));
    assert_hidden(&sent);
    assert_hidden(&shown);
    assert!(sent.contains("9007199254740993") && shown.contains(EDGE));
    assert_eq!(edge.registrations()[0].candidates[0].addr, "198.51.100.1:39132".parse().unwrap());
    // Shorter than any description: says that there is none yet.
    let mut edge = Edge::new(&DialectKind::Ums);
    let short = ums(None, Some("pending"));
    assert_eq!(edge.post(1, &ums(Some(OFFER), None), &short).1, short);
    assert!(edge.commands.is_empty());
}

#[test]
fn a_ums_without_candidates_and_trickle_is_assumed_at_its_host() {
    let without =
        |text: &str| text.split_inclusive("\r\n").filter(|it| !it.contains("candidate")).collect::<String>();
    let bare = without(ANSWER);
    let trickles = bare.replace("s=-\r\n", "s=-\r\na=ice-options:ice2 trickle\r\n");
    for (answer, expected) in [(&bare, 2), (&trickles, 0)] {
        let mut edge = Edge::new(&DialectKind::Ums);
        let (_, shown) = edge.post(1, &ums(Some(OFFER), None), &ums(None, Some(answer)));
        assert!(shown.contains(EDGE) && !shown.contains("10.9.9.9"));
        let candidates = edge.registrations()[0].candidates.clone();
        let found: Vec<_> = candidates.iter().map(|it| (it.transport, it.addr.to_string())).collect();
        let assumed = [
            (CandidateTransport::Udp, "10.9.9.9:5000".to_owned()),
            (CandidateTransport::TcpPassive, "10.9.9.9:443".to_owned()),
        ];
        assert_eq!(found, assumed[..expected]);
    }
    let mut edge = Edge::srs();
    edge.post(1, &srs_request(OFFER), &srs_response(&bare));
    assert!(edge.registrations()[0].candidates.is_empty(), "ums alone");
}

#[test]
fn over_a_websocket_an_answer_belongs_to_the_last_offer() {
    let mut edge = Edge::new(&DialectKind::Ums);
    let carrier = Carrier::WebSocket(ConnectionId(1));
    let sent = passed("", edge.speak(Side::Client, carrier, Head::default(), &ums(Some(OFFER), None)));
    assert_hidden(&sent);
    let shown = passed("", edge.speak(Side::Backend, carrier, Head::default(), &ums(None, Some(ANSWER))));
    assert_hidden(&shown);
    assert_eq!(edge.registrations().len(), 1);
}
