//! What the edge must do where its models fail, as far as Janus messages are concerned: captured exchanges, changed in
//! the respect that a requirement is about. Each test bears its requirement's number (xrtc.md §9).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use xrtc::dialect::{Side, Verdict};
use xrtc::session::registration::{Mode, Registration, Role};

use crate::captures::*;
use crate::edge::{EDGE_TCP, EDGE_UDP, Edge};

/// Replays the capture `name`, each message as `change` makes it.
fn replay(name: &str, change: impl Fn(&mut Edge, Side, String) -> String) -> Replay {
    let (_, path) = captures().into_iter().find(|(found, _)| found == name).unwrap();
    replay_with(&path, Mode::HalfProxy, false, change)
}

fn as_captured(name: &str) -> Replay {
    replay(name, |_, _, body| body)
}

/// Names of the captures that `wanted` likes.
fn named(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let names: Vec<_> = captures().into_iter().map(|(name, _)| name).filter(|name| wanted(name)).collect();
    assert!(!names.is_empty());
    names
}

/// `body` with its one description as `change` makes it.
fn with_sdp(body: String, change: impl Fn(&str) -> String) -> String {
    let mut message: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let event = if message.is_array() { &mut message[0] } else { &mut message };
    match event["jsep"]["sdp"].as_str().map(change) {
        Some(sdp) => event["jsep"]["sdp"] = sdp.into(),
        None => return body,
    }
    message.to_string()
}

/// Each description with a side, as it came and as it went on.
fn descriptions(replay: &Replay) -> Vec<(Side, String, String)> {
    let mut found = Vec::new();
    for message in &replay.messages {
        let (before, after) = (objects(&message.before), objects(&message.after().unwrap_or_default()));
        let sdps = |all: &[Value]| all.iter().filter_map(sdp_of).map(str::to_owned).collect::<Vec<_>>();
        let (before, after) = (sdps(&before), sdps(&after));
        assert_eq!(before.len(), after.len());
        found.extend(before.into_iter().zip(after).map(|(before, after)| (message.from, before, after)));
    }
    assert!(found.len() > 1);
    found
}

/// Ufrags of client and backend, registration by registration.
fn pairs(replay: &Replay) -> Vec<(String, String)> {
    let registrations = replay.edge.registrations();
    registrations.iter().map(|it| (ufrag(it, Side::Client), ufrag(it, Side::Backend))).collect()
}

fn ufrag(registration: &Registration, side: Side) -> String {
    let credentials = if side == Side::Client { &registration.client } else { &registration.backend };
    credentials.ufrag.to_string()
}

#[test]
fn requirement_01_rewrites_descriptions_inside_the_array_of_a_long_poll() {
    let other = r#"{"janus":"media","session_id":1,"sender":2,"type":"audio","receiving":true}"#;
    for name in named(|name| name.contains("-http")) {
        for index in 0..3 {
            let replay = replay(&name, |_, from, body| {
                let Some(events) = body.strip_prefix('[').filter(|_| from == Side::Backend) else {
                    return body;
                };
                let before = format!("{other},").repeat(index);
                let after = format!(",{other}").repeat(2 - index);
                format!("[{before}{}{after}]", events.strip_suffix(']').unwrap())
            });
            let mut rewritten = 0;
            for message in replay.messages.iter().filter(|it| it.before.starts_with('[')) {
                let after = message.after().unwrap();
                assert!(after.starts_with('['), "{name}: {after}");
                assert_eq!(after.matches(other).count(), 2, "{name}: {after}");
                for sdp in objects(&after).iter().filter_map(sdp_of) {
                    assert!(sdp.contains(EDGE_UDP) && !sdp.contains("10.77.0."), "{name}: {sdp}");
                    rewritten += 1;
                }
            }
            assert!(rewritten > 0 && !replay.edge.registrations().is_empty(), "{name}");
        }
    }
}

#[test]
fn requirement_05_preserves_unknown_keys_number_notation_and_ids_up_to_2_53_byte_for_byte() {
    let added = r#""jsep":{"e2ee":true,"gain":1.50e+3,"ssrc":9007199254740992,"name":"\u00e9\/","#;
    let host = r"\r\na=candidate:1 1 udp 1 10.77.0.9 5000 typ host";
    // The ids of this session and handle in the capture.
    let replay = replay("echotest-restart-ws", |_, from, body| {
        let body = match from {
            Side::Client => body.replacen(r"\r\na=mid:0", &format!(r"{host}\r\na=mid:0"), 1),
            Side::Backend => body,
        };
        let body = body.replace("3398074418266718", "9007199254740992");
        body.replace("2755945721886117", "9007199254740991").replace("\"jsep\":{", added)
    });
    let mut rewritten = 0;
    for message in &replay.messages {
        match message.after() {
            Some(after) => {
                assert_eq!(masked(&after), masked(&message.before));
                rewritten += usize::from(after.contains(added) && after != message.before);
            }
            None => {
                let Verdict::Answer(ack) = &message.verdict else { panic!("{:?}", message.verdict) };
                assert!(String::from_utf8_lossy(ack).contains(r#""session_id":9007199254740992,"#));
            }
        }
    }
    assert_eq!(rewritten, 4, "two offers and two answers");
    let label = &replay.edge.registrations()[0].origin.label;
    assert_eq!(&**label, "janus session 9007199254740992 handle 9007199254740991");
}

#[test]
fn requirement_06_candidates_of_one_side_never_reach_the_other_in_descriptions_or_by_trickle() {
    let (mut in_offers, mut trickled_up, mut trickled_down) = (0, 0, 0);
    for name in named(|_| true) {
        let replay = as_captured(&name);
        for message in &replay.messages {
            for object in objects(&message.before) {
                let in_sdp = sdp_of(&object).is_some_and(|sdp| sdp.contains("a=candidate:"));
                in_offers += usize::from(message.from == Side::Client && in_sdp);
                let trickled = usize::from(object["candidate"]["candidate"].is_string());
                *if message.from == Side::Client { &mut trickled_up } else { &mut trickled_down } += trickled;
            }
            let Some(after) = message.after() else { continue };
            let shown: BTreeSet<_> = candidate_lines(&after).into_iter().collect();
            match message.from {
                Side::Client => assert!(shown.is_empty(), "{name}: {after}"),
                Side::Backend => {
                    let edges = BTreeSet::from([EDGE_UDP, EDGE_TCP].map(str::to_owned));
                    assert!(shown.is_subset(&edges), "{name}: {after}");
                }
            }
        }
        let told: usize = replay.edge.candidates().values().map(Vec::len).sum();
        assert!(told > 0, "{name}: the packet side knows where the backend is");
    }
    assert!(in_offers > 2 && trickled_up > 50 && trickled_down > 30, "the captures have all of it");
}

/// Every candidate in `body`, wherever it stands.
fn candidate_lines(body: &str) -> Vec<String> {
    let starts = body.match_indices("candidate:").map(|(at, _)| &body[at..]);
    starts.map(|rest| rest.split(['\\', '"', '\r', '\n']).next().unwrap().to_owned()).collect()
}

#[test]
fn requirement_07_reads_ice_attributes_of_session_level_and_completes_a_last_section_without_line_end() {
    for name in ["echotest-ws", "echotest-http", "streaming-ws", "firefox-echotest-http"] {
        let original = as_captured(name);
        let changed = replay(name, |_, _, body| with_sdp(body, at_session_level));
        assert_eq!(pairs(&changed), pairs(&original), "{name}");
        for (side, before, after) in descriptions(&changed) {
            assert!(!before.ends_with('\n') && before.find("a=ice-ufrag:") < before.find("m="), "{name}");
            let last = after.rsplit("\r\nm=").next().unwrap();
            assert_eq!(last.contains(&format!("\r\na={EDGE_UDP}\r\n")), side == Side::Backend, "{last}");
        }
    }
}

/// The credentials before the first m-section and nowhere else, and no line end at the end.
fn at_session_level(sdp: &str) -> String {
    let is_ice = |line: &&str| line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:");
    let ice: String = sdp.split_inclusive("\r\n").filter(is_ice).take(2).collect();
    let rest: String = sdp.split_inclusive("\r\n").filter(|line| !is_ice(line)).collect();
    rest.replacen("m=", &format!("{ice}m="), 1).trim_end().to_owned()
}

#[test]
fn requirement_07_reads_ice_attributes_of_every_m_section() {
    let changed = replay("echotest-ws", |_, _, body| with_sdp(body, unbundled));
    let shown = descriptions(&changed).pop().unwrap();
    let sections = shown.1.matches("\r\nm=").count();
    assert!(sections > 1);
    let original = pairs(&as_captured("echotest-ws")).remove(0);
    let expected: Vec<_> =
        (0..sections).map(|n| (format!("{}{n}", original.0), format!("{}{n}", original.1))).collect();
    assert_eq!(pairs(&changed), expected);
    let minted: BTreeSet<_> = line_values(&shown.2, "a=ice-ufrag:").into_iter().collect();
    assert_eq!(minted.len(), sections, "each has credentials of its own");
}

/// Every m-section a transport of its own.
fn unbundled(sdp: &str) -> String {
    let (mut text, mut number) = (String::new(), 0);
    for line in sdp.split_inclusive("\r\n").filter(|line| !line.starts_with("a=group:")) {
        match line.strip_prefix("a=ice-ufrag:") {
            Some(ufrag) => {
                text += &format!("a=ice-ufrag:{}{number}\r\n", ufrag.trim_end());
                number += 1;
            }
            None => text += line,
        }
    }
    text
}

#[test]
fn requirement_08_serves_an_offer_by_the_server() {
    for name in named(|name| name.starts_with("streaming") || name.starts_with("textroom")) {
        let replay = as_captured(&name);
        let descriptions = descriptions(&replay);
        assert_eq!((descriptions[0].0, descriptions[1].0), (Side::Backend, Side::Client), "{name}");
        let [registration] = replay.edge.registrations().try_into().unwrap();
        assert!(descriptions[0].2.contains(&*registration.edge.ufrag), "{name}");
        let lite = descriptions[0].1.contains("a=ice-lite");
        assert_eq!(registration.role, if lite { Role::Controlling } else { Role::Controlled }, "{name}");
    }
}

#[test]
fn requirement_08_a_renegotiation_by_either_side_keeps_the_session_and_its_credentials() {
    for (name, offerer, exchanges) in [
        ("echotest-reneg-ws", Side::Client, 2),
        ("videoroom-ws-publisher", Side::Client, 3),
        ("videoroom-ws-subscriber", Side::Backend, 4),
    ] {
        let replay = as_captured(name);
        let descriptions = descriptions(&replay);
        assert_eq!((descriptions[0].0, descriptions.len()), (offerer, 2 * exchanges), "{name}");
        let shown: Vec<_> = descriptions.iter().filter(|it| it.0 == Side::Backend).collect();
        let (before, last) = (shown[exchanges - 2], shown[exchanges - 1]);
        let ufrag = |sdp: &str| line_values(sdp, "a=ice-ufrag:").remove(0);
        assert_eq!(ufrag(&before.1), ufrag(&last.1), "{name}: Janus kept its own");
        assert_eq!(ufrag(&before.2), ufrag(&last.2), "{name}");
        let sessions: BTreeSet<_> = replay.edge.registrations().iter().map(|it| it.session).collect();
        assert_eq!(sessions.len(), 1, "{name}");
    }
}

#[test]
fn requirement_08_an_ice_restart_from_either_side_is_a_new_generation_of_the_session() {
    // In the rooms Janus restarts as it offers anew.
    for name in named(|name| name.contains("restart") || name.contains("subscriber")) {
        let replay = as_captured(&name);
        let first = descriptions(&replay)[0].0;
        assert_eq!(first == Side::Client, name.contains("restart"), "{name}");
        let [old, new] = replay.edge.registrations().try_into().unwrap();
        assert_eq!((old.session, old.generation, new.generation), (new.session, 0, 1), "{name}");
        assert_ne!(ufrag(&old, first), ufrag(&new, first), "{name}");
        assert_ne!(old.edge, new.edge, "{name}");
        let shown: Vec<_> = descriptions(&replay).into_iter().filter(|it| it.0 == Side::Backend).collect();
        assert!(shown.iter().any(|(_, _, after)| after.contains(&*new.edge.ufrag)), "{name}");
    }
}

#[test]
fn requirement_08_survives_an_answer_that_comes_later_than_30_s() {
    for name in named(|_| true) {
        let replay = replay(&name, |edge, _, body| {
            if objects(&body).iter().any(|it| it["jsep"]["type"] == "answer") {
                for _ in 0..10 {
                    edge.now += Duration::from_secs(10);
                    edge.with(|dialect, cx| dialect.sweep(cx));
                }
            }
            body
        });
        assert_eq!(pairs(&replay), pairs(&as_captured(&name)), "{name}");
        for (side, before, after) in descriptions(&replay) {
            assert_eq!(after.contains(EDGE_UDP), side == Side::Backend, "{name}: {before}");
        }
    }
}
