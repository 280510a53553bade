//! A dialect with a clock, a random source and a list of what it told the packet side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use xrtc::config::DialectKind;
use xrtc::dialect::{Carrier, ConnectionId, Context, Dialect, Message, Settings, Side, Verdict, build};
use xrtc::session::registration::{BackendCandidate, Command, EndReason, Mode, Registration, SessionId};

pub(crate) const EDGE_UDP: &str = "candidate:1 1 udp 2013266431 192.0.2.1 6000 typ host";
pub(crate) const EDGE_TCP: &str = "candidate:2 1 tcp 1010827775 192.0.2.1 6000 typ host tcptype passive";

/// The WebSocket of all tests that need one.
pub(crate) const SOCKET: ConnectionId = ConnectionId(1);

/// Janus session and handle of all tests that need one.
pub(crate) const POST: Carrier<'_> = Carrier::Rest { method: "POST", path: "/janus/11/22" };
pub(crate) const POST_SESSION: Carrier<'_> = Carrier::Rest { method: "POST", path: "/janus/11" };
pub(crate) const POLL: Carrier<'_> = Carrier::Rest { method: "GET", path: "/janus/11" };
pub(crate) const WS: Carrier<'_> = Carrier::WebSocket(SOCKET);

/// A dialect with everything it needs, and everything that came out of it.
pub(crate) struct Edge {
    pub(crate) dialect: Box<dyn Dialect>,
    pub(crate) now: Instant,
    random: u64,
    pub(crate) commands: Vec<Command>,
}

impl Edge {
    pub(crate) fn new(mode: Mode) -> Self {
        Edge::preferring(mode, false)
    }

    pub(crate) fn preferring(mode: Mode, prefer_tcp: bool) -> Self {
        let settings = Settings {
            route: "janus".into(),
            edge_candidates: [EDGE_UDP, EDGE_TCP].map(Box::from).into(),
            mode,
            prefer_tcp,
            upstream: None,
        };
        let dialect = build(&DialectKind::Janus, settings).unwrap();
        Edge { dialect, now: Instant::now(), random: 1, commands: Vec::new() }
    }

    pub(crate) fn with<T>(&mut self, act: impl FnOnce(&mut dyn Dialect, &mut Context<'_>) -> T) -> T {
        let random = &mut self.random;
        let mut fill = |bytes: &mut [u8]| {
            for byte in bytes {
                *random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (*random >> 56) as u8;
            }
        };
        let mut cx = Context { now: self.now, random: &mut fill, commands: &mut self.commands };
        act(self.dialect.as_mut(), &mut cx)
    }

    pub(crate) fn handle(&mut self, from: Side, carrier: Carrier<'_>, body: &[u8]) -> Verdict {
        self.with(|dialect, cx| dialect.handle(cx, Message { from, carrier, body }))
    }

    pub(crate) fn registrations(&self) -> Vec<Arc<Registration>> {
        let registration = |command: &Command| match command {
            Command::Register(registration) => Some(registration.clone()),
            _ => None,
        };
        self.commands.iter().filter_map(registration).collect()
    }

    pub(crate) fn ends(&self) -> Vec<(SessionId, EndReason)> {
        let end = |command: &Command| match command {
            Command::End(session, reason) => Some((*session, *reason)),
            _ => None,
        };
        self.commands.iter().filter_map(end).collect()
    }

    /// Every candidate that the packet side learns of a session, by generation.
    pub(crate) fn candidates(&self) -> BTreeMap<(SessionId, u32), Vec<BackendCandidate>> {
        let mut all = BTreeMap::new();
        let mut newest = BTreeMap::new();
        for command in &self.commands {
            match command {
                Command::Register(it) => {
                    newest.insert(it.session, it.generation);
                    all.insert((it.session, it.generation), it.candidates.clone());
                }
                Command::AddCandidates(session, more) => {
                    all.get_mut(&(*session, newest[session])).unwrap().extend(more.iter().cloned());
                }
                Command::End(..) => {}
            }
        }
        all
    }

    pub(crate) fn client(&mut self, body: impl ToString) -> Verdict {
        self.handle(Side::Client, POST, body.to_string().as_bytes())
    }

    pub(crate) fn backend(&mut self, body: impl ToString) -> Verdict {
        self.handle(Side::Backend, POLL, body.to_string().as_bytes())
    }

    /// The client sends a description; returns what Janus gets.
    pub(crate) fn client_sdp(&mut self, kind: &str, sdp: &str) -> String {
        let body =
            json!({"janus": "message", "transaction": "t", "body": {}, "jsep": {"type": kind, "sdp": sdp}});
        sent_sdp(self.client(body))
    }

    /// Janus sends a description in a poll; returns what the client gets.
    pub(crate) fn backend_sdp(&mut self, kind: &str, sdp: &str) -> String {
        sent_sdp(self.backend(event(kind, sdp)))
    }

    /// Janus trickles; returns what is left of the event.
    pub(crate) fn backend_trickle(&mut self, candidate: Value) -> Verdict {
        self.backend(trickle(candidate))
    }

    pub(crate) fn last_registration(&self) -> Arc<Registration> {
        self.registrations().pop().unwrap()
    }
}

/// An event with a description.
pub(crate) fn event(kind: &str, sdp: &str) -> Value {
    json!({"janus": "event", "session_id": 11, "sender": 22, "jsep": {"type": kind, "sdp": sdp}})
}

/// A trickle event.
pub(crate) fn trickle(candidate: Value) -> Value {
    json!({"janus": "trickle", "session_id": 11, "sender": 22, "candidate": candidate})
}

/// A candidate of Janus as it is trickled.
pub(crate) fn candidate(port: u16) -> Value {
    json!({"sdpMid": "0", "sdpMLineIndex": 0, "candidate": format!("candidate:1 1 udp 1 10.77.0.1 {port} typ host")})
}

/// A description with one bundled pair of m-sections.
pub(crate) fn sdp(ufrag: &str, candidates: &[u16]) -> String {
    let candidates: String = candidates
        .iter()
        .map(|port| format!("a=candidate:1 1 udp 1 10.77.0.1 {port} typ host\r\n"))
        .collect();
    let section = |kind: &str, mid: u8| {
        format!("m={kind} 9 X 0\r\nc=IN IP4 10.77.0.1\r\na=mid:{mid}\r\n{}{candidates}", credentials(ufrag))
    };
    format!(
        "v=0\r\no=- 1 2 IN IP4 10.77.0.1\r\na=group:BUNDLE 0 1\r\n{}{}",
        section("audio", 0),
        section("video", 1)
    )
}

/// Credential lines; the password follows from the ufrag.
pub(crate) fn credentials(ufrag: &str) -> String {
    format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{ufrag}{ufrag}{ufrag}{ufrag}{ufrag}{ufrag}\r\n")
}

/// The first value of a line.
pub(crate) fn value_of<'a>(sdp: &'a str, name: &str) -> &'a str {
    sdp.lines().find_map(|line| line.strip_prefix(name)).unwrap()
}

/// The description in the (first) message that was sent on changed.
pub(crate) fn sent_sdp(verdict: Verdict) -> String {
    let sent = sent(verdict);
    let message = sent.get(0).unwrap_or(&sent);
    message["jsep"]["sdp"].as_str().unwrap().to_owned()
}

/// The text that was sent on changed, or answered.
pub(crate) fn text(verdict: Verdict) -> String {
    let (Verdict::Replace(body) | Verdict::Answer(body)) = verdict else { panic!("{verdict:?}") };
    String::from_utf8(body).unwrap()
}

/// The body that was sent on changed.
pub(crate) fn sent(verdict: Verdict) -> Value {
    let Verdict::Replace(body) = verdict else { panic!("{verdict:?}") };
    serde_json::from_slice(&body).unwrap()
}
