//! Replays captured exchanges of janus.js with Janus 1.1.2 through the Janus dialect, over REST and WebSocket, and checks
//! what each side gets to see and what the packet side is told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use xrtc::dialect::{Carrier, ConnectionId, Side, Verdict};
use xrtc::session::registration::{BackendCandidate, CandidateTransport, EndReason, Mode, Role};

use crate::edge::Edge;

/// One captured message.
#[derive(Deserialize)]
struct Step<'a> {
    n: usize,
    dir: &'a str,
    via: &'a str,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    method: Option<&'a str>,
    url: Option<&'a str>,
    reply_to: Option<usize>,
    open: Option<&'a str>,
    close: Option<u16>,
}

/// A capture replayed: what went in and what came out, message by message.
pub(crate) struct Replay {
    pub(crate) edge: Edge,
    pub(crate) messages: Vec<Passed>,
}

pub(crate) struct Passed {
    pub(crate) from: Side,
    pub(crate) before: String,
    pub(crate) verdict: Verdict,
    registered: usize,
}

impl Passed {
    pub(crate) fn after(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Pass => Some(self.before.clone()),
            Verdict::Replace(body) => Some(String::from_utf8(body.clone()).unwrap()),
            _ => None,
        }
    }
}

pub(crate) fn captures() -> Vec<(String, PathBuf)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/janus");
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let json = files.into_iter().filter(|path| path.extension().is_some_and(|it| it == "json"));
    json.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path)).collect()
}

fn replay(path: &Path, mode: Mode, spaced: bool) -> Replay {
    replay_with(path, mode, spaced, |_, _, body| body)
}

/// Replays what `change` makes of each message, which may also turn the clock.
pub(crate) fn replay_with(
    path: &Path,
    mode: Mode,
    spaced: bool,
    change: impl Fn(&mut Edge, Side, String) -> String,
) -> Replay {
    let text = std::fs::read_to_string(path).unwrap();
    let steps: Vec<Step<'_>> = serde_json::from_str(&text).unwrap();
    let requests: BTreeMap<usize, (&str, &str)> =
        steps.iter().filter_map(|it| Some((it.n, (it.method?, it.url?.split('?').next()?)))).collect();
    let mut replay = Replay { edge: Edge::new(mode), messages: Vec::new() };
    for step in &steps {
        if step.open.is_some() {
            continue;
        }
        if step.close.is_some() {
            replay.edge.with(|dialect, cx| dialect.closed(cx, ConnectionId(1)));
            continue;
        }
        let from = if step.dir == "C->J" { Side::Client } else { Side::Backend };
        let carrier = match step.via {
            "ws" => Carrier::WebSocket(ConnectionId(1)),
            _ => {
                let (method, path) = requests[&step.reply_to.unwrap_or(step.n)];
                Carrier::Rest { method, path }
            }
        };
        let raw = step.body.map_or("", RawValue::get);
        let before = if spaced || raw == "\"\"" { raw.trim_matches('"').to_owned() } else { compact(raw) };
        if from == Side::Client && step.method == Some("GET") {
            continue;
        }
        let before = change(&mut replay.edge, from, before);
        let verdict = replay.edge.handle(from, carrier, before.as_bytes());
        let registered = replay.edge.registrations().len();
        replay.messages.push(Passed { from, before, verdict, registered });
    }
    replay
}

/// JSON without the space between its tokens, as it was on the wire.
fn compact(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let keep = |it: &char| {
        let skip = !in_string && it.is_ascii_whitespace();
        match (in_string, escaped, it) {
            (true, true, _) => escaped = false,
            (true, false, '\\') => escaped = true,
            (_, false, '"') => in_string = !in_string,
            _ => {}
        }
        !skip
    };
    json.chars().filter(keep).collect()
}

/// The message objects of a body.
pub(crate) fn objects(body: &str) -> Vec<Value> {
    match serde_json::from_str(body) {
        Ok(Value::Array(elements)) => elements,
        Ok(object) => vec![object],
        Err(_) => Vec::new(),
    }
}

pub(crate) fn sdp_of(message: &Value) -> Option<&str> {
    message["jsep"]["sdp"].as_str()
}

pub(crate) fn line_values(sdp: &str, name: &str) -> Vec<String> {
    sdp.lines().filter_map(|line| line.strip_prefix(name)).map(str::to_owned).collect()
}

/// Candidate lines of a side, from descriptions and trickles, read with nothing but string functions.
pub(crate) fn candidates_of(replay: &Replay, side: Side) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for message in replay.messages.iter().filter(|it| it.from == side).flat_map(|it| objects(&it.before)) {
        found.extend(sdp_of(&message).iter().flat_map(|sdp| line_values(sdp, "a=candidate:")));
        let trickled = message["candidate"]["candidate"].as_str();
        found.extend(trickled.and_then(|it| it.strip_prefix("candidate:")).map(str::to_owned));
    }
    found
}

#[test]
fn every_capture_is_replayed() {
    assert!(captures().len() >= 34);
}

#[test]
fn neither_side_learns_an_address_or_a_candidate_of_the_other() {
    for (name, path) in captures() {
        for mode in [Mode::HalfProxy, Mode::Transparent] {
            let replay = replay(&path, mode, false);
            let ports: BTreeSet<String> = [Side::Client, Side::Backend]
                .iter()
                .flat_map(|side| candidates_of(&replay, *side))
                .map(|it| it.split(' ').nth(5).unwrap().to_owned())
                .filter(|port| port.len() > 1)
                .collect();
            for message in &replay.messages {
                let Some(after) = message.after() else { continue };
                assert!(!after.contains("10.77.0."), "{name}: {after}");
                assert!(!after.contains(".local"), "{name}: {after}");
                for port in &ports {
                    assert!(!after.contains(&format!(" {port} ")), "{name}: port {port} in {after}");
                }
                if message.from == Side::Client {
                    assert!(!after.contains("candidate:"), "{name}: {after}");
                    assert!(!after.contains("192.0.2.1"), "{name}: {after}");
                }
            }
        }
    }
}

#[test]
fn the_client_sees_credentials_of_the_edge_only() {
    for (name, path) in captures() {
        let replay = replay(&path, Mode::HalfProxy, false);
        for message in replay.messages.iter().filter(|it| it.from == Side::Backend) {
            let Some(after) = message.after() else { continue };
            for (old, new) in objects(&message.before)
                .iter()
                .filter_map(sdp_of)
                .zip(objects(&after).iter().filter_map(sdp_of))
            {
                let (olds, news) = (line_values(old, "a=ice-ufrag:"), line_values(new, "a=ice-ufrag:"));
                assert_eq!(olds.len(), news.len(), "{name}");
                assert!(news.iter().all(|it| it.len() == 16 && !olds.contains(it)), "{name}: {news:?}");
                let (olds, news) = (line_values(old, "a=ice-pwd:"), line_values(new, "a=ice-pwd:"));
                assert!(news.iter().all(|it| it.len() == 32 && !olds.contains(it)), "{name}");
                assert_eq!(line_values(new, "a=ice-lite").len(), 1, "{name}");
                for value in ["a=fingerprint:", "a=setup:", "a=mid:", "a=rtpmap:", "a=group:", "a=ssrc:"] {
                    assert_eq!(line_values(old, value), line_values(new, value), "{name}");
                }
                let sections =
                    new.lines().filter(|line| line.starts_with("m=") && !line.contains(" 0 ")).count();
                assert_eq!(line_values(new, "a=candidate:").len(), 2 * sections, "{name}");
                assert_eq!(line_values(new, "a=end-of-candidates").len(), sections, "{name}");
            }
        }
    }
}

/// `body` with every value that may change blanked out.
pub(crate) fn masked(body: &str) -> String {
    let mut masked = body.to_owned();
    for message in objects(body) {
        if let Some(sdp) = sdp_of(&message) {
            let quoted = serde_json::to_string(sdp).unwrap();
            assert!(masked.contains(&quoted));
            masked = masked.replacen(&quoted, "SDP", 1);
        }
    }
    masked
}

#[test]
fn every_byte_outside_of_the_affected_values_stays() {
    let (mut changed, mut passed) = (0, 0);
    for (name, path) in captures() {
        for spaced in [false, true] {
            for message in replay(&path, Mode::HalfProxy, spaced).messages {
                let trickles = objects(&message.before).iter().any(|it| it["janus"] == "trickle");
                match message.after() {
                    Some(after) if !trickles => {
                        let is_jsep = objects(&message.before).iter().any(|it| sdp_of(it).is_some());
                        *if is_jsep { &mut changed } else { &mut passed } += 1;
                        assert_eq!(masked(&after), masked(&message.before), "{name}");
                    }
                    Some(after) => others_stay(&message.before, &after),
                    None => assert!(trickles, "{name}: {} {:?}", message.before, message.verdict),
                }
            }
        }
    }
    assert!(changed > 100 && passed > 1000, "{changed} {passed}");
}

/// What is not a trickle stands in the same order in both bodies; a trickle that stays says `completed` and no more.
fn others_stay(before: &str, after: &str) {
    let mut masked: Vec<_> = [before, after].map(objects).into();
    for message in masked.iter_mut().flatten().filter(|it| it["jsep"]["sdp"].is_string()) {
        message["jsep"]["sdp"] = Value::Null;
    }
    let others = |all: &[Value]| -> Vec<Value> {
        all.iter().filter(|it| it["janus"] != "trickle" && it["janus"] != "keepalive").cloned().collect()
    };
    assert_eq!(others(&masked[0]), others(&masked[1]));
    for trickle in masked[1].iter().filter(|it| it["janus"] == "trickle") {
        assert_eq!(trickle["candidate"], serde_json::json!({"completed": true}));
        assert!(trickle["sender"].is_u64() && trickle["session_id"].is_u64());
    }
}

#[test]
fn trickle_of_the_client_is_acknowledged_by_the_edge_as_janus_did() {
    let mut count = 0;
    for (name, path) in captures() {
        let replay = replay(&path, Mode::HalfProxy, false);
        let acks: Vec<Value> = replay
            .messages
            .iter()
            .filter(|it| it.from == Side::Backend)
            .flat_map(|it| objects(&it.before))
            .filter(|it| it["janus"] == "ack")
            .collect();
        for message in replay.messages.iter().filter(|it| it.from == Side::Client) {
            let trickle: Value = serde_json::from_str(&message.before).unwrap();
            match &message.verdict {
                Verdict::Answer(answer) => {
                    count += 1;
                    assert_eq!(trickle["janus"], "trickle");
                    let answer: Value = serde_json::from_slice(answer).unwrap();
                    assert!(acks.contains(&answer), "{name}: {answer}");
                }
                _ => assert_ne!(trickle["janus"], "trickle", "{name}"),
            }
        }
    }
    assert!(count > 50);
}

#[test]
fn the_client_is_told_once_per_description_that_candidates_are_complete() {
    for (name, path) in captures().into_iter().filter(|(name, _)| name.contains("fulltrickle")) {
        let replay = replay(&path, Mode::HalfProxy, false);
        let shown = replay.messages.iter().filter(|it| it.from == Side::Backend).filter_map(Passed::after);
        let mut described = false;
        for message in shown.flat_map(|body| objects(&body)) {
            if message["janus"] == "trickle" {
                assert!(described, "{name}: completed without a description, or twice");
                described = false;
            }
            described |= sdp_of(&message).is_some();
        }
    }
}

/// What a capture says, read with string functions: the pairs of ufrags that complete, and who offered first.
fn expected_pairs(replay: &Replay) -> (Vec<(String, String)>, Side, bool) {
    let (mut client, mut backend) = (None, None);
    let (mut pairs, mut first, mut lite) = (Vec::new(), None, false);
    for (side, message) in
        replay.messages.iter().flat_map(|it| objects(&it.before).into_iter().map(|object| (it.from, object)))
    {
        let Some(sdp) = sdp_of(&message) else { continue };
        let ufrag = line_values(sdp, "a=ice-ufrag:").first().cloned();
        first.get_or_insert(side);
        match side {
            Side::Client => client = ufrag,
            Side::Backend => backend = ufrag,
        }
        lite |= side == Side::Backend && sdp.contains("a=ice-lite");
        if message["jsep"]["type"] == "answer" {
            pairs.push((client.clone().unwrap(), backend.clone().unwrap()));
        }
    }
    pairs.dedup();
    (pairs, first.unwrap(), lite)
}

#[test]
fn the_packet_side_learns_credentials_candidates_role_and_generation() {
    for (name, path) in captures() {
        for mode in [Mode::HalfProxy, Mode::Transparent] {
            let replay = replay(&path, mode, false);
            let (pairs, first, lite) = expected_pairs(&replay);
            let registrations = replay.edge.registrations();
            let ufrags: Vec<_> = registrations
                .iter()
                .map(|it| (it.client.ufrag.to_string(), it.backend.ufrag.to_string()))
                .collect();
            assert_eq!(ufrags, pairs, "{name}");

            let role = if first == Side::Client || lite { Role::Controlling } else { Role::Controlled };
            for (generation, registration) in registrations.iter().enumerate() {
                assert_eq!(registration.generation as usize, generation, "{name}");
                assert_eq!(registration.session, registrations[0].session, "{name}");
                assert!(Arc::ptr_eq(&registration.owner, &registrations[0].owner), "{name}");
                assert_eq!((registration.mode, registration.role), (mode, role), "{name}");
                assert_eq!(registration.edge == registration.backend, mode == Mode::Transparent, "{name}");
                assert_eq!(&*registration.origin.route, "janus");
                assert!(registration.origin.label.starts_with("janus session "), "{name}");
                assert!(!registration.origin.label.contains("mid"), "{name}");
            }
            let mut edges: Vec<_> = registrations.iter().map(|it| it.edge.ufrag.clone()).collect();
            edges.dedup();
            assert_eq!(edges.len(), registrations.len(), "{name}: new credentials for each generation");

            let usable = |line: &String| !line.contains("tcptype active");
            let expected: BTreeSet<String> =
                candidates_of(&replay, Side::Backend).into_iter().filter(usable).collect();
            for (generation, candidates) in replay.edge.candidates() {
                let told: BTreeSet<String> = candidates.iter().map(line).collect();
                assert_eq!(told.len(), candidates.len(), "{name}: told twice");
                let expected: BTreeSet<String> = expected
                    .iter()
                    .map(|it| it.split(' ').skip(2).take(4).collect::<Vec<_>>().join(" "))
                    .collect();
                assert_eq!(told, expected, "{name} {generation:?}");
            }
        }
    }
}

fn line(candidate: &BackendCandidate) -> String {
    let transport = match candidate.transport {
        CandidateTransport::Udp => "udp",
        CandidateTransport::TcpPassive => "tcp",
    };
    format!("{transport} {} {} {}", candidate.priority, candidate.addr.ip(), candidate.addr.port())
}

#[test]
fn the_flows_make_as_many_generations_as_expected() {
    let expected = |name: &str| match name {
        _ if name.contains("restart") => 2,
        _ if name.contains("videoroom") => 2,
        _ => 1,
    };
    for (name, path) in captures() {
        assert_eq!(
            replay(&path, Mode::HalfProxy, false).edge.registrations().len(),
            expected(&name),
            "{name}"
        );
    }
}

#[test]
fn a_session_is_registered_before_the_message_that_completes_it_passes() {
    for (name, path) in captures() {
        let replay = replay(&path, Mode::HalfProxy, false);
        let registrations = replay.edge.registrations();
        let mut seen = 0;
        for message in &replay.messages {
            let grew = message.registered - seen;
            seen = message.registered;
            let answers = objects(&message.before).iter().any(|it| it["jsep"]["type"] == "answer");
            assert!(grew == 0 || answers, "{name}");
            // The credentials that the client reads are those the packet side knows by then, or will with the answer.
            let Some(after) = message.after().filter(|_| message.from == Side::Backend) else { continue };
            for sdp in objects(&after).iter().filter_map(sdp_of) {
                let shown = &line_values(sdp, "a=ice-ufrag:")[0];
                let known = registrations.iter().position(|it| *it.edge.ufrag == **shown);
                assert!(known.is_some_and(|at| at < seen || !answers), "{name}");
            }
        }
    }
}

#[test]
fn a_detached_handle_ends_its_session_once() {
    for (name, path) in captures() {
        let replay = replay(&path, Mode::HalfProxy, false);
        let session = replay.edge.registrations()[0].session;
        assert_eq!(replay.edge.ends(), [(session, EndReason::Detached)], "{name}");
    }
}
