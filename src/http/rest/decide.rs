//! \[pure\] What a registration is answered with, and whether the edge takes it at all (xrtc.md §5.2, §5.3).
//!
//! Knows no address database and no table of sessions: countries are asked of the caller, and what it wants registered
//! is a [`Wanted`] that the registry turns into a session.

use std::net::IpAddr;
use std::sync::Arc;

use super::refusal::Refusal;
use super::request::{Ice, Request};
use crate::config::Optimal;
use crate::sdp::candidate::{Candidate, Host};
use crate::session::registration::{BackendCandidate, Credentials};

/// ISO 3166-1 code of a country, as the database has it.
pub(super) type Country = [u8; 2];

/// What the edge publishes, ready to be sent.
#[derive(Debug)]
pub(super) struct Published {
    /// JSON array of the lines, empty where there is none.
    json: Box<str>,
    /// Address of the first line.
    first: Option<IpAddr>,
}

/// The answer to a request that is not refused.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) body: Vec<u8>,
    /// `None`: the client goes direct.
    pub(super) register: Option<Wanted>,
}

/// A session that the edge shall serve. Client and backend speak ICE with each other, so towards the client the edge has
/// the backend's credentials.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// `<answer ufrag>:<offer ufrag>`, the name of the session.
    pub(super) pair: Box<str>,
    pub(super) client: Credentials,
    pub(super) backend: Credentials,
    pub(super) candidates: Vec<BackendCandidate>,
    /// For logs.
    pub(super) label: Box<str>,
}

impl Published {
    /// From candidate lines without `a=`.
    pub(super) fn new(lines: &[Box<str>]) -> Self {
        let json = match lines {
            [] => String::new(),
            lines => array(lines.iter().map(|line| format!("a={line}"))),
        };
        Published { json: json.into(), first: lines.iter().find_map(|line| address(line)) }
    }
}

/// Decides over `request` of a client at `client`. `country` tells where an address is; it is asked for `geoip` alone.
pub(super) fn decide(
    request: &Request<'_>,
    edge: &Published,
    optimal: Optimal,
    client: IpAddr,
    country: impl Fn(IpAddr) -> Option<Country>,
) -> Result<Decision, Refusal> {
    if edge.json.is_empty() {
        return Err(Refusal::NoProxyCandidates);
    }
    let candidates = request.usable_candidates();
    if candidates.is_empty() {
        return Err(Refusal::NoUsableCandidate);
    }
    let proxied = match optimal {
        Optimal::Always => true,
        Optimal::Never => false,
        Optimal::GeoIp => {
            let backend = request.candidates.iter().find_map(|line| address(line)).and_then(&country);
            edge_is_nearer(country(client), edge.first.and_then(&country), backend)
        }
    };
    if !proxied {
        let body = answer(&request.session_key, &array(&request.candidates));
        return Ok(Decision { body, register: None });
    }
    let body = answer(&request.session_key, &edge.json);
    Ok(Decision { body, register: Some(wanted(request, candidates)) })
}

/// The detour pays where it begins at home and ends abroad; of an unknown place nothing is claimed.
fn edge_is_nearer(client: Option<Country>, edge: Option<Country>, backend: Option<Country>) -> bool {
    let (Some(client), Some(backend)) = (client, backend) else { return false };
    edge == Some(client) && backend != client
}

fn wanted(request: &Request<'_>, candidates: Vec<BackendCandidate>) -> Wanted {
    let pair = format!("{}:{}", request.answer.ufrag, request.offer.ufrag);
    let label = match &*request.session_key {
        "" => &pair,
        key => key,
    };
    Wanted {
        label: loggable(label),
        pair: pair.into(),
        client: credentials(&request.offer),
        backend: credentials(&request.answer),
        candidates,
    }
}

fn credentials(ice: &Ice<'_>) -> Credentials {
    Credentials { ufrag: Arc::from(&*ice.ufrag), pwd: Arc::from(&*ice.pwd) }
}

/// The caller chose it: it gets one line of the log and no more.
fn loggable(text: &str) -> Box<str> {
    const MOST: usize = 64;
    text.chars().take(MOST).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn address(line: &str) -> Option<IpAddr> {
    match Candidate::parse(line).ok()?.host {
        Host::Ip(ip) => Some(ip.to_canonical()),
        Host::Name(_) => None,
    }
}

fn answer(session_key: &str, candidates: &str) -> Vec<u8> {
    let mut body = String::with_capacity(candidates.len() + session_key.len() + 40);
    body.push('{');
    if !session_key.is_empty() {
        body.push_str("\"session_key\":");
        body.push_str(&quoted(session_key));
        body.push(',');
    }
    body.push_str("\"candidates\":");
    body.push_str(candidates);
    body.push('}');
    body.into_bytes()
}

fn array<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(|text| quoted(text.as_ref())).collect();
    format!("[{}]", quoted.join(","))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JANUS: &str = include_str!("../../../tests/vectors/rest/janus.json");
    const EDGE: [&str; 2] = [
        "candidate:1 1 udp 2013266431 192.0.2.1 6001 typ host",
        "candidate:2 1 tcp 1010827775 192.0.2.1 443 typ host tcptype passive",
    ];
    const OWN: &str = r#"["a=candidate:1 1 udp 2013266431 192.0.2.1 6001 typ host","a=candidate:2 1 tcp 1010827775 192.0.2.1 443 typ host tcptype passive"]"#;

    #[test]
    fn always_answers_with_the_edge_and_registers_the_backends_credentials_towards_the_client() {
        let decision = ask(JANUS, Optimal::Always, &[]).unwrap();
        assert_eq!(text(&decision), format!(r#"{{"session_key":"room 7","candidates":{OWN}}}"#));
        let wanted = decision.register.unwrap();
        assert_eq!((&*wanted.pair, &*wanted.label), ("aFrg:oFrg", "room 7"));
        assert_eq!(&*wanted.client.pwd, "offerpassword0123456789");
        assert_eq!(&*wanted.backend.pwd, "answerpassword01234567");
        assert_eq!(wanted.candidates.len(), 3);
    }

    #[test]
    fn an_empty_session_key_is_left_out_and_the_pair_names_the_session() {
        for key in [r#""session_key":"","#, ""] {
            let body = JANUS.replace(r#""session_key":"room 7","#, key);
            let decision = ask(&body, Optimal::Always, &[]).unwrap();
            assert_eq!(text(&decision), format!(r#"{{"candidates":{OWN}}}"#));
            assert_eq!(&*decision.register.unwrap().label, "aFrg:oFrg");
        }
    }

    #[test]
    fn a_session_key_is_echoed_whole_and_logged_on_one_line() {
        let key = r#"a\"\n\u0007é"#;
        let body = JANUS.replace("room 7", &format!("{key}{}", "x".repeat(100)));
        let decision = ask(&body, Optimal::Always, &[]).unwrap();
        let echoed: serde_json::Value = serde_json::from_slice(&decision.body).unwrap();
        assert_eq!(echoed["session_key"], format!("a\"\n\u{7}é{}", "x".repeat(100)));
        let label = decision.register.unwrap().label;
        assert!(!label.contains(char::is_control) && label.chars().count() == 64, "{label}");
    }

    #[test]
    fn never_hands_the_candidates_back_as_they_came() {
        let decision = ask(JANUS, Optimal::Never, &[]).unwrap();
        let (asked, told): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(JANUS).unwrap(), serde_json::from_slice(&decision.body).unwrap());
        assert_eq!(told["candidates"], asked["candidates"]);
        assert!(decision.register.is_none());
    }

    #[test]
    fn geoip_proxies_only_a_client_at_home_to_a_backend_abroad() {
        let (client, edge, backend) = ("198.51.100.9", "192.0.2.1", "10.77.0.1");
        for (places, proxied) in [
            ([(client, "AT"), (edge, "AT"), (backend, "US")], true),
            ([(client, "AT"), (edge, "AT"), (backend, "AT")], false),
            ([(client, "AT"), (edge, "DE"), (backend, "US")], false),
            ([(client, "AT"), (edge, "US"), (backend, "US")], false),
            ([(client, ""), (edge, "AT"), (backend, "US")], false),
            ([(client, "AT"), (edge, ""), (backend, "US")], false),
            ([(client, "AT"), (edge, "AT"), (backend, "")], false),
            ([(client, ""), (edge, ""), (backend, "US")], false),
        ] {
            let decision = ask(JANUS, Optimal::GeoIp, &places).unwrap();
            assert_eq!(decision.register.is_some(), proxied, "{places:?}");
        }
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let request = Request::parse(JANUS.as_bytes()).unwrap();
        let client = "198.51.100.9".parse().unwrap();
        let none = decide(&request, &Published::new(&[]), Optimal::Always, client, |_| None);
        assert_eq!(none.unwrap_err(), Refusal::NoProxyCandidates);
        let body = JANUS.replace(" typ host", " typ srflx");
        assert_eq!(ask(&body, Optimal::Always, &[]).unwrap_err(), Refusal::NoUsableCandidate);
    }

    fn ask(body: &str, optimal: Optimal, places: &[(&str, &str)]) -> Result<Decision, Refusal> {
        let lines = EDGE.map(Box::from);
        let country = |ip: IpAddr| {
            let (_, country) = places.iter().find(|(at, _)| *at == ip.to_string())?;
            country.as_bytes().try_into().ok()
        };
        let request = Request::parse(body.as_bytes()).unwrap();
        let client = "198.51.100.9".parse().unwrap();
        decide(&request, &Published::new(&lines), optimal, client, country)
    }

    fn text(decision: &Decision) -> &str {
        std::str::from_utf8(&decision.body).unwrap()
    }
}
