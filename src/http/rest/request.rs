//! \[pure\] Reads the body of a registration request (xrtc.md §5.2) and refuses what cannot be registered.
//!
//! Never echoes what it refuses: a body holds passwords, and what is said of it goes to the log.

use std::borrow::Cow;

use serde::Deserialize;

use super::refusal::Refusal;
use crate::sdp::candidate::{Candidate, Kind, TcpType, Transport};
use crate::session::registration::{BackendCandidate, CandidateTransport};

/// A request that names both sides; its candidates are still as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    /// The caller's name for it, empty where there is none.
    pub(super) session_key: Cow<'a, str>,
    /// The client's.
    pub(super) offer: Ice<'a>,
    /// The backend's.
    pub(super) answer: Ice<'a>,
    /// The backend's, at least one.
    pub(super) candidates: Vec<Cow<'a, str>>,
}

/// Ufrag and password of one side.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ice<'a> {
    pub(super) ufrag: Cow<'a, str>,
    pub(super) pwd: Cow<'a, str>,
}

impl std::fmt::Debug for Ice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ice({}:…)", self.ufrag)
    }
}

/// Longest ufrag and longest password, bytes: what ICE itself allows (RFC 8839 §5.4). Its minima (4 and 22) are not asked for:
/// the original never did, and the strength of a password that the caller chose is the caller's matter.
const MAX_CREDENTIAL: usize = 256;
/// Candidates of one backend that are kept. A media server has a few addresses with two transports each; the backend leg
/// tries one after the other, so more would only delay its failure.
const MAX_CANDIDATES: usize = 32;

impl<'a> Request<'a> {
    /// Reads `body`. Unknown keys are ignored; depth is bounded by the JSON reader, length by the caller.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Refusal> {
        let typed: Typed<'a> = serde_json::from_slice(body)
            .map_err(|error| Refusal::NotJson { line: error.line(), column: error.column() })?;
        let candidates: Vec<_> =
            typed.candidates.unwrap_or_default().into_iter().map(|Text(line)| line).collect();
        if candidates.is_empty() {
            return Err(Refusal::NoServerCandidates);
        }
        Ok(Request {
            session_key: typed.session_key.map(|Text(key)| key).unwrap_or_default(),
            offer: ice("offer_ice", typed.offer_ice)?,
            answer: ice("answer_ice", typed.answer_ice)?,
            candidates,
        })
    }

    /// The candidates that the edge can reach, UDP before TCP, else in the order given.
    pub(super) fn usable_candidates(&self) -> Vec<BackendCandidate> {
        let lines = || self.candidates.iter().filter_map(|line| usable(line));
        let of = |wanted| lines().filter(move |candidate| candidate.transport == wanted);
        of(CandidateTransport::Udp).chain(of(CandidateTransport::TcpPassive)).take(MAX_CANDIDATES).collect()
    }
}

/// As typed. A key that is `null` counts as missing.
#[derive(Deserialize)]
struct Typed<'a> {
    #[serde(borrow, default)]
    session_key: Option<Text<'a>>,
    #[serde(borrow, default)]
    offer_ice: Option<TypedIce<'a>>,
    #[serde(borrow, default)]
    answer_ice: Option<TypedIce<'a>>,
    #[serde(borrow, default)]
    candidates: Option<Vec<Text<'a>>>,
}

/// `options` is part of the format and says nothing that the edge needs.
#[derive(Default, Deserialize)]
struct TypedIce<'a> {
    #[serde(borrow, default)]
    ufrag: Option<Text<'a>>,
    #[serde(borrow, default)]
    pwd: Option<Text<'a>>,
}

/// A string that is copied only where it has escapes; serde borrows no `Cow` inside an `Option` or a list by itself.
#[derive(Default, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn ice<'a>(side: &'static str, typed: Option<TypedIce<'a>>) -> Result<Ice<'a>, Refusal> {
    let typed = typed.unwrap_or_default();
    // The pair is written `answer:offer`, so a ufrag has no colon; USERNAME could not carry it either (RFC 8445 §7.2.2).
    let ufrag = credential(side, "ufrag", typed.ufrag, |c| c == ':')?;
    let pwd = credential(side, "pwd", typed.pwd, |_| false)?;
    Ok(Ice { ufrag, pwd })
}

fn credential<'a>(
    side: &'static str,
    name: &'static str,
    typed: Option<Text<'a>>,
    forbidden: impl Fn(char) -> bool,
) -> Result<Cow<'a, str>, Refusal> {
    let text = typed.map(|Text(text)| text).unwrap_or_default();
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || forbidden(c);
    match text.len() {
        0 => Err(Refusal::EmptyCredential { side, name }),
        length if length > MAX_CREDENTIAL => {
            Err(Refusal::LongCredential { side, name, limit: MAX_CREDENTIAL })
        }
        _ if text.contains(is_odd) => Err(Refusal::OddCredential { side, name }),
        _ => Ok(text),
    }
}

/// Transparent sessions go to host candidates alone (xrtc.md §3); names are for those who resolve them.
fn usable(line: &str) -> Option<BackendCandidate> {
    let candidate = Candidate::parse(line).ok()?;
    let transport = match (candidate.transport, candidate.tcp) {
        (Transport::Udp, _) => CandidateTransport::Udp,
        (Transport::Tcp, Some(TcpType::Passive)) => CandidateTransport::TcpPassive,
        _ => return None,
    };
    let addr = candidate.addr()?;
    let reachable = addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast();
    let wanted = candidate.component == 1 && candidate.kind == Kind::Host;
    (reachable && wanted).then_some(BackendCandidate { transport, addr, priority: candidate.priority })
}

/// Body of a fuzz target: whatever the bytes are, reading them returns, and what was read can be registered.
pub fn fuzz(data: &[u8]) {
    match Request::parse(data) {
        Ok(request) => {
            for part in [&request.offer.ufrag, &request.offer.pwd, &request.answer.ufrag, &request.answer.pwd]
            {
                assert!((1..=MAX_CREDENTIAL).contains(&part.len()) && !part.contains(char::is_whitespace));
            }
            assert!(!request.candidates.is_empty());
            assert!(request.usable_candidates().len() <= MAX_CANDIDATES);
        }
        Err(refusal) => assert!(refusal.to_string().len() < 200, "what is refused is not repeated"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../../tests/vectors/rest/janus.json");

    #[test]
    fn a_request_is_read_without_copying_and_unknown_keys_are_ignored() {
        let request = Request::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(request.session_key, "room 7");
        assert_eq!((&*request.offer.ufrag, &*request.answer.ufrag), ("oFrg", "aFrg"));
        assert!(matches!(request.answer.pwd, Cow::Borrowed("answerpassword01234567")));
        assert_eq!(request.candidates.len(), 6);
        let usable = request.usable_candidates();
        let addrs: Vec<_> = usable.iter().map(|c| (c.transport, c.addr.to_string())).collect();
        assert_eq!(
            addrs,
            [
                (CandidateTransport::Udp, "127.0.0.1:20900".to_owned()),
                (CandidateTransport::Udp, "[2001:db8::7]:20901".to_owned()),
                (CandidateTransport::TcpPassive, "10.77.0.1:20509".to_owned()),
            ]
        );
        assert!(!format!("{request:?}").contains("password"));
    }

    #[test]
    fn escapes_are_undone_and_null_is_missing() {
        let body = r#"{"session_key":null,"offer_ice":{"ufrag":"\u006f","pwd":"p\/q"},"answer_ice":{"ufrag":"a","pwd":"q:r"},"candidates":["x"]}"#;
        let request = Request::parse(body.as_bytes()).unwrap();
        assert_eq!(
            (&*request.session_key, &*request.offer.ufrag, &*request.offer.pwd, &*request.answer.pwd),
            ("", "o", "p/q", "q:r")
        );
    }

    #[test]
    fn more_candidates_than_a_backend_has_are_left_out() {
        let lines: Vec<_> =
            (1..100).map(|n| format!("\"candidate:{n} 1 udp 1 10.0.0.1 {n} typ host\"")).collect();
        let body = GOOD.replace("\"garbage\"", &lines.join(","));
        assert_eq!(Request::parse(body.as_bytes()).unwrap().usable_candidates().len(), MAX_CANDIDATES);
    }

    #[test]
    fn a_refusal_never_repeats_the_password() {
        for body in [
            r#"{"offer_ice":"secret-password"}"#,
            r#"{"secret-password""#,
            r#"{"candidates":["x"],"offer_ice":{"ufrag":"u","pwd":"secret password"}}"#,
        ] {
            let refusal = Request::parse(body.as_bytes()).unwrap_err();
            assert!(!refusal.to_string().contains("secret"), "{refusal}");
        }
    }

    #[test]
    fn hostile_bytes_are_refused_and_never_panic() {
        let good = GOOD.as_bytes();
        for length in 0..good.len() {
            fuzz(&good[..length]);
        }
        for at in 0..good.len() {
            for byte in [0, b'"', b'{', b'[', b'\\', 0x7f, 0xff, good[at] ^ 1, good[at] ^ 0x80] {
                let mut bad = good.to_vec();
                bad[at] = byte;
                fuzz(&bad);
            }
        }
        for open in ["[", "{\"a\":", "{\"candidates\":["] {
            let deep = open.repeat(20_000);
            assert!(Request::parse(deep.as_bytes()).is_err());
            fuzz(format!("{{\"x\":{deep}").as_bytes());
        }
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_are_refused_and_never_panic(data: Vec<u8>) {
            fuzz(&data);
        }
    }
}
