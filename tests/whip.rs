//! The WHIP dialect by its decisions: what of each request and response the other side sees, and what the packet side is
//! told (whip.md §1, §3).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use xrtc::config::{DialectKind, Scheme, ServerUrl};
use xrtc::dialect::{Carrier, Context, Dialect, ExchangeId, Head, Message, Settings, Side, Verdict, build};
use xrtc::session::registration::{Command, EndReason, Mode, Registration};

const EDGE: &str = "candidate:1 1 udp 2013266431 192.0.2.1 6001 typ host";
const OFFER: &str = include_str!("vectors/whip/offer.sdp");
const ANSWER: &str = include_str!("vectors/whip/answer.sdp");
const TRICKLE: &str = include_str!("vectors/whip/trickle.sdpfrag");
const RESTART: &str = include_str!("vectors/whip/restart.sdpfrag");
const RESTARTED: &str = include_str!("vectors/whip/restarted.sdpfrag");
const SDP: Option<&str> = Some("application/sdp");
const FRAGMENT: Option<&str> = Some("application/trickle-ice-sdpfrag");
const SESSION: &str = "/whip/s/1";

struct Edge {
    dialect: Box<dyn Dialect>,
    now: Instant,
    random: u64,
    commands: Vec<Command>,
    exchange: u64,
}

/// One request with its response.
struct Asked {
    method: &'static str,
    path: String,
    exchange: ExchangeId,
}

impl Edge {
    fn new(mode: Mode, strict: bool) -> Self {
        let settings = Settings {
            route: "whip".into(),
            edge_candidates: Arc::from([Box::from(EDGE)]),
            mode,
            prefer_tcp: false,
            upstream: None,
        };
        let dialect = build(&DialectKind::Whip { strict }, settings).unwrap();
        Edge { dialect, now: Instant::now(), random: 1, commands: Vec::new(), exchange: 0 }
    }

    fn speak(&mut self, from: Side, asked: &Asked, head: Head<'_>, body: &[u8]) -> Verdict {
        let carrier = Carrier::Rest { method: asked.method, path: &asked.path };
        let random = &mut self.random;
        let mut fill = |bytes: &mut [u8]| {
            for byte in bytes {
                *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (*random >> 56) as u8;
            }
        };
        let mut cx = Context { now: self.now, random: &mut fill, commands: &mut self.commands };
        let head = Head { exchange: asked.exchange, ..head };
        self.dialect.handle_rest(&mut cx, Message { from, carrier, body }, &head)
    }

    /// What becomes of a request.
    fn ask(&mut self, method: &'static str, path: &str, head: Head<'_>, body: &str) -> (Asked, Verdict) {
        self.exchange += 1;
        let asked = Asked { method, path: path.to_owned(), exchange: ExchangeId(self.exchange) };
        let verdict = self.speak(Side::Client, &asked, head, body.as_bytes());
        (asked, verdict)
    }

    /// What becomes of its response; the exchange is over then.
    fn reply(&mut self, asked: Asked, head: Head<'_>, body: &str) -> Verdict {
        let verdict = self.speak(Side::Backend, &asked, head, body.as_bytes());
        self.dialect.concluded(asked.exchange);
        verdict
    }

    /// A session with the tag `"v1"`, and the answer that the client saw.
    fn session(&mut self) -> String {
        let (asked, verdict) = self.ask("POST", "/whip/live", typed(SDP), OFFER);
        assert_hidden(&replaced(verdict));
        replaced(self.reply(asked, created(), ANSWER))
    }

    fn summary(&self) -> String {
        let letter = |command: &Command| match command {
            Command::Register(_) => 'R',
            Command::AddCandidates(..) => 'C',
            Command::End(_, EndReason::Hangup) => 'H',
            Command::End(_, EndReason::Destroyed) => 'D',
            Command::End(..) => 'E',
        };
        self.commands.iter().map(letter).collect()
    }

    fn registration(&self) -> Arc<Registration> {
        let last = self.commands.iter().rev().find_map(|command| match command {
            Command::Register(registration) => Some(registration.clone()),
            _ => None,
        });
        last.unwrap()
    }
}

fn typed(content_type: Option<&str>) -> Head<'_> {
    Head { content_type, ..Head::default() }
}

fn created() -> Head<'static> {
    Head { status: 201, content_type: SDP, etag: Some("\"v1\""), location: Some(SESSION), ..Head::default() }
}

fn replaced(verdict: Verdict) -> String {
    match verdict {
        Verdict::Replace(body) => String::from_utf8(body).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn status(verdict: &Verdict) -> u16 {
    match verdict {
        Verdict::Respond { status, .. } => *status,
        Verdict::Pass | Verdict::Replace(_) => 0,
        other => panic!("{other:?}"),
    }
}

fn assert_hidden(text: &str) {
    let foreign = text.replace(EDGE, "");
    for secret in ["candidate:", "10.0.0.", "198.51.100.", "203.0.113."] {
        assert!(!foreign.contains(secret), "{secret} in {text}");
    }
}

fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

#[test]
fn offer_and_answer_make_a_session_that_neither_side_sees_through() {
    for (mode, minted) in [(Mode::HalfProxy, true), (Mode::Transparent, false)] {
        let mut edge = Edge::new(mode, false);
        let shown = edge.session();
        assert_hidden(&shown);
        assert_eq!(shown.matches(EDGE).count(), 2, "in both m-sections: {shown}");
        assert_eq!(shown.contains("a=ice-lite"), minted);
        assert_eq!(line(&shown, "a=ice-ufrag:") == line(ANSWER, "a=ice-ufrag:"), !minted);
        assert_eq!(line(&shown, "a=fingerprint:"), line(ANSWER, "a=fingerprint:"));
        let registration = edge.registration();
        assert_eq!(&*registration.edge.ufrag, line(&shown, "a=ice-ufrag:"));
        assert_eq!(&*registration.client.ufrag, line(OFFER, "a=ice-ufrag:"));
        assert_eq!(&*registration.backend.ufrag, line(ANSWER, "a=ice-ufrag:"));
        assert_eq!(registration.candidates[0].addr, "198.51.100.1:39132".parse().unwrap());
        assert_eq!((edge.summary().as_str(), registration.mode), ("R", mode));
    }
}

#[test]
fn trickle_is_absorbed_and_checked() {
    let mut edge = Edge::new(Mode::HalfProxy, false);
    edge.session();
    let bad = "a=ice-ufrag:EsAw\r\na=candidate:1 1 udp\r\n";
    for (head, body, expected) in [
        (typed(FRAGMENT), TRICKLE, 204),
        (typed(Some("Application/Trickle-ICE-sdpfrag; charset=utf-8")), TRICKLE, 204),
        (Head { if_match: Some("\"v1\""), ..typed(FRAGMENT) }, TRICKLE, 204),
        (Head { etag: Some("\"v1\""), ..typed(FRAGMENT) }, TRICKLE, 204),
        (Head { if_match: Some("\"v0\""), ..typed(FRAGMENT) }, TRICKLE, 412),
        (Head { etag: Some("\"v0\""), ..typed(FRAGMENT) }, TRICKLE, 412),
        (typed(Some("application/json")), TRICKLE, 415),
        (typed(None), TRICKLE, 415),
        (typed(FRAGMENT), "what?", 400),
        (typed(FRAGMENT), "", 400),
        (typed(FRAGMENT), bad, 400),
        (typed(SDP), "not SDP", 400),
    ] {
        let (_, verdict) = edge.ask("PATCH", SESSION, head, body);
        assert_eq!(status(&verdict), expected, "{head:?} {body}");
    }
    assert_eq!(edge.summary(), "R");
}

#[test]
fn strict_asks_for_a_condition() {
    let mut edge = Edge::new(Mode::HalfProxy, true);
    edge.session();
    for (if_match, etag, expected) in [
        (None, None, 428),
        (Some("\"v1\""), None, 204),
        (Some("*"), None, 204),
        (None, Some("\"v1\""), 204),
        (Some("\"old\""), None, 412),
    ] {
        let (_, verdict) = edge.ask("PATCH", SESSION, Head { if_match, etag, ..typed(FRAGMENT) }, TRICKLE);
        assert_eq!(status(&verdict), expected, "{if_match:?} {etag:?}");
    }
}

#[test]
fn a_restart_goes_on_without_candidates_and_makes_a_new_generation() {
    for mode in [Mode::HalfProxy, Mode::Transparent] {
        let mut edge = Edge::new(mode, false);
        let before = edge.session();
        let session = edge.registration().session;
        let (asked, verdict) =
            edge.ask("PATCH", SESSION, Head { if_match: Some("*"), ..typed(FRAGMENT) }, RESTART);
        let sent = replaced(verdict);
        assert_hidden(&sent);
        assert_eq!(line(&sent, "a=ice-ufrag:"), line(RESTART, "a=ice-ufrag:"));
        // Candidates of either generation that come meanwhile end here.
        assert_eq!(status(&edge.ask("PATCH", SESSION, typed(FRAGMENT), RESTART).1), 204);
        let head = Head { status: 200, etag: Some("\"v2\""), ..typed(FRAGMENT) };
        let shown = replaced(edge.reply(asked, head, RESTARTED));
        assert_hidden(&shown);
        assert!(shown.contains(EDGE) && shown.contains("a=end-of-candidates"), "{shown}");
        assert!(!shown.contains("v=0"), "{shown}");
        let registration = edge.registration();
        assert_eq!(
            (edge.summary().as_str(), registration.session, registration.generation),
            ("RR", session, 1)
        );
        assert_eq!(&*registration.client.ufrag, line(RESTART, "a=ice-ufrag:"));
        assert_eq!(&*registration.backend.ufrag, line(RESTARTED, "a=ice-ufrag:"));
        assert_eq!(&*registration.edge.ufrag, line(&shown, "a=ice-ufrag:"));
        assert_ne!(line(&shown, "a=ice-ufrag:"), line(&before, "a=ice-ufrag:"));
        assert_eq!(registration.candidates[0].addr, "203.0.113.9:4000".parse().unwrap());
        // The tag is the new one now, and late candidates of the old credentials still end here.
        let old_tag = Head { if_match: Some("\"v1\""), ..typed(FRAGMENT) };
        assert_eq!(status(&edge.ask("PATCH", SESSION, old_tag, TRICKLE).1), 412);
        assert_eq!(status(&edge.ask("PATCH", SESSION, typed(FRAGMENT), TRICKLE).1), 204);
    }
}

#[test]
fn a_restart_that_the_backend_refuses_changes_nothing() {
    for code in [204, 412, 422, 500] {
        let mut edge = Edge::new(Mode::HalfProxy, false);
        edge.session();
        let (asked, _) = edge.ask("PATCH", SESSION, typed(FRAGMENT), RESTART);
        assert_eq!(edge.reply(asked, Head { status: code, ..Head::default() }, ""), Verdict::Pass);
        assert_eq!(edge.summary(), "R", "{code}");
        // It may be tried again.
        assert_hidden(&replaced(edge.ask("PATCH", SESSION, typed(FRAGMENT), RESTART).1));
    }
}

#[test]
fn whep_may_let_the_server_offer() {
    let mut edge = Edge::new(Mode::HalfProxy, false);
    let (asked, verdict) = edge.ask("POST", "/whep/live", Head::default(), "");
    assert_eq!(verdict, Verdict::Pass);
    let shown = replaced(edge.reply(asked, created(), ANSWER));
    assert_hidden(&shown);
    assert_eq!((shown.matches(EDGE).count(), edge.summary().as_str()), (2, ""));
    edge.now += Duration::from_secs(100);
    let (asked, verdict) = edge.ask("PATCH", SESSION, typed(SDP), OFFER);
    assert_hidden(&replaced(verdict));
    assert_eq!(edge.summary(), "R", "before the backend hears of it");
    assert_eq!(edge.reply(asked, Head { status: 204, ..Head::default() }, ""), Verdict::Pass);
    assert_eq!(&*edge.registration().edge.ufrag, line(&shown, "a=ice-ufrag:"));
}

#[test]
fn delete_ends_the_session_when_it_is_gone() {
    for (code, expected) in [(200, "RH"), (204, "RH"), (404, "RH"), (401, "R"), (412, "R"), (500, "R")] {
        let mut edge = Edge::new(Mode::HalfProxy, false);
        edge.session();
        let (asked, verdict) =
            edge.ask("DELETE", SESSION, Head { if_match: Some("\"old\""), ..Head::default() }, "");
        assert_eq!((verdict, edge.summary().as_str()), (Verdict::Pass, "R"));
        assert_eq!(edge.reply(asked, Head { status: code, ..Head::default() }, ""), Verdict::Pass);
        assert_eq!(edge.summary(), expected, "{code}");
    }
}

#[test]
fn what_cannot_be_an_offer_is_refused_and_errors_of_the_backend_pass() {
    let mut edge = Edge::new(Mode::HalfProxy, false);
    for (content_type, body, expected) in [
        (SDP, "garbage", 400),
        (SDP, "v=0\r\nm=audio 9 X 0\r\n", 400),
        (Some("application/json"), "{\"x\":\"a=candidate:1\"}", 415),
        (Some("application/json"), "{\"room\":1}", 0),
        (None, OFFER, 0),
        (SDP, OFFER, 0),
    ] {
        let (_, verdict) = edge.ask("POST", "/whip/live", typed(content_type), body);
        assert_eq!(status(&verdict), expected, "{content_type:?} {body}");
    }
    for code in [307, 400, 401, 406, 422, 503] {
        let (asked, _) = edge.ask("POST", "/whip/live", typed(SDP), OFFER);
        assert!(!edge.dialect.reads_response("POST", "/whip/live", code, Some("text/plain")));
        assert_eq!(edge.reply(asked, Head { status: code, ..Head::default() }, "why"), Verdict::Pass);
    }
    assert_eq!(edge.summary(), "");
}

#[test]
fn urls_that_nobody_made_are_the_backends_business_but_leak_nothing() {
    let mut edge = Edge::new(Mode::HalfProxy, false);
    for (method, content_type, body) in
        [("PATCH", FRAGMENT, TRICKLE), ("PATCH", SDP, OFFER), ("PUT", SDP, OFFER), ("PUT", None, OFFER)]
    {
        assert_hidden(&replaced(edge.ask(method, "/whip/s/9", typed(content_type), body).1));
    }
    assert_eq!(edge.ask("DELETE", "/whip/s/9", Head::default(), "").1, Verdict::Pass);
    let (asked, _) = edge.ask("PATCH", "/whip/s/9", typed(FRAGMENT), TRICKLE);
    let head = Head { status: 200, ..typed(FRAGMENT) };
    assert_hidden(&replaced(edge.reply(asked, head, RESTARTED)));
    let (asked, _) = edge.ask("GET", "/whip/live", Head::default(), "");
    assert!(edge.dialect.reads_response("GET", "/whip/live", 406, SDP));
    assert_hidden(&replaced(edge.reply(asked, Head { status: 406, ..typed(SDP) }, ANSWER)));
    assert_eq!(edge.summary(), "");
}

#[test]
fn a_session_belongs_to_the_server_that_made_it_and_may_be_named_by_a_query() {
    let mut edge = Edge::new(Mode::HalfProxy, false);
    let server = |port| ServerUrl {
        scheme: Scheme::Http,
        host: "10.0.0.1".into(),
        port,
        path: String::new(),
        query: String::new(),
    };
    for port in [1, 2] {
        let (asked, _) = edge.ask("POST", "/whip", typed(SDP), OFFER);
        let location = format!("/whip?session={port}");
        let head = Head { location: Some(&location), server: Some(&server(port)), ..created() };
        edge.reply(asked, head, ANSWER);
    }
    for port in [1, 2] {
        assert_eq!(edge.dialect.pinned("/whip", Some(&format!("session={port}"))), Some(server(port)));
    }
    assert_eq!(edge.dialect.pinned("/whip", None), None);
    let (asked, _) = edge.ask("DELETE", "/whip", Head { query: Some("session=2"), ..Head::default() }, "");
    edge.reply(asked, Head { status: 200, ..Head::default() }, "");
    assert_eq!((edge.summary().as_str(), edge.dialect.pinned("/whip", Some("session=2"))), ("RRH", None));
}

#[test]
fn answers_of_two_offers_at_the_same_time_are_not_mixed_up() {
    let mut edge = Edge::new(Mode::HalfProxy, false);
    let other = OFFER.replace(line(OFFER, "a=ice-ufrag:"), "other");
    let (first, _) = edge.ask("POST", "/whip/live", typed(SDP), OFFER);
    let (second, _) = edge.ask("POST", "/whip/live", typed(SDP), &other);
    edge.reply(second, Head { location: Some("/whip/s/2"), ..created() }, ANSWER);
    assert_eq!(&*edge.registration().client.ufrag, "other");
    edge.reply(first, created(), ANSWER);
    assert_eq!(&*edge.registration().client.ufrag, line(OFFER, "a=ice-ufrag:"));
}

#[test]
fn an_answer_that_cannot_be_used_shows_nothing() {
    let mut edge = Edge::new(Mode::HalfProxy, false);
    let (asked, _) = edge.ask("POST", "/whip/live", typed(SDP), OFFER);
    let broken: String =
        ANSWER.split_inclusive("\r\n").filter(|line| !line.starts_with("a=ice-pwd")).collect();
    assert_hidden(&replaced(edge.reply(asked, created(), &broken)));
    assert_eq!(edge.summary(), "");
}

#[test]
fn a_session_that_nobody_serves_is_forgotten() {
    let mut edge = Edge::new(Mode::HalfProxy, false);
    edge.session();
    let id = edge.registration().session;
    edge.dialect.ended(id, EndReason::ClientSilent);
    edge.now += Duration::from_secs(121);
    let mut commands = Vec::new();
    let mut cx = Context { now: edge.now, random: &mut |_| (), commands: &mut commands };
    edge.dialect.sweep(&mut cx);
    assert!(commands.is_empty());
    // The backend decides again over its URL.
    assert_hidden(&replaced(edge.ask("PATCH", SESSION, typed(FRAGMENT), TRICKLE).1));
}

fn pieces() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        OFFER,
        ANSWER,
        TRICKLE,
        RESTART,
        RESTARTED,
        "",
        "\0",
        "v=",
        "a=candidate:",
    ]);
    let cut = (part, any::<prop::sample::Index>(), any::<bool>()).prop_map(|(text, at, head)| {
        let at = at.index(text.len() + 1);
        let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        if head { text[..at].to_owned() } else { text[at..].to_owned() }
    });
    prop::collection::vec(cut, 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_candidate_ever_passes(steps in prop::collection::vec(
        (0..4usize, 0..4usize, pieces(), prop::sample::select(vec![0u16, 200, 201, 204, 404, 406]), pieces()), 1..6))
    {
        let mut edge = Edge::new(Mode::HalfProxy, false);
        edge.session();
        for (method, kind, sent, code, answered) in steps {
            let method = ["POST", "PATCH", "DELETE", "PUT"][method];
            let content_type = [SDP, FRAGMENT, Some("text/plain"), None][kind];
            let (asked, verdict) = edge.ask(method, SESSION, typed(content_type), &sent);
            let passed = match verdict {
                Verdict::Pass => sent,
                Verdict::Replace(body) => String::from_utf8(body).unwrap(),
                _ => continue,
            };
            let leaks = |text: &str| {
                text.replace(EDGE, "").split(['\r', '\n']).any(|line| line.starts_with("a=candidate:"))
            };
            prop_assert!(!leaks(&passed), "{}", passed);
            let head = Head { status: code, location: Some(SESSION), ..typed(content_type) };
            let shown = match edge.reply(asked, head, &answered) {
                Verdict::Pass => answered,
                Verdict::Replace(body) => String::from_utf8(body).unwrap(),
                _ => continue,
            };
            prop_assert!(matches!(content_type, Some("text/plain") | None) || !leaks(&shown), "{}", shown);
        }
    }
}
