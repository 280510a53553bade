//! What becomes of messages, rule by rule (janus.md §2, xrtc.md §9).

use std::time::Duration;

use serde_json::{Value, json};
use xrtc::dialect::{Carrier, Side, Verdict};
use xrtc::session::registration::{CandidateTransport, Command, Mode, Role};

use crate::edge::*;

fn established() -> Edge {
    let mut edge = Edge::new(Mode::HalfProxy);
    edge.client_sdp("offer", &sdp("cccc", &[]));
    edge.backend_sdp("answer", &sdp("bbbb", &[5001]));
    edge
}

#[test]
fn defect_1_jsep_inside_the_array_of_a_long_poll_is_rewritten_at_any_index() {
    for index in 0..3 {
        let mut edge = Edge::new(Mode::HalfProxy);
        edge.client_sdp("offer", &sdp("cccc", &[]));
        let mut events = vec![json!({"janus": "media", "session_id": 11, "sender": 22}); 3];
        events[index] = event("answer", &sdp("bbbb", &[5001]));
        let sent = sent(edge.backend(Value::from(events)));
        let shown = sent[index]["jsep"]["sdp"].as_str().unwrap();
        assert!(shown.contains("192.0.2.1") && !shown.contains("10.77.0.1"));
        assert_eq!(edge.registrations().len(), 1);
    }
}

#[test]
fn defect_4_put_requests_are_read_like_post_requests() {
    let edge = Edge::new(Mode::HalfProxy);
    for (method, is_read) in [("POST", true), ("PUT", true), ("GET", false), ("OPTIONS", false)] {
        assert_eq!(edge.dialect.reads_request(method, "/janus/1/2"), is_read, "{method}");
    }
    let mut edge = Edge::new(Mode::HalfProxy);
    let put = Carrier::Rest { method: "PUT", path: "/janus/11/22" };
    let body =
        json!({"janus": "message", "jsep": {"type": "offer", "sdp": sdp("cccc", &[5000])}}).to_string();
    assert!(!sent_sdp(edge.handle(Side::Client, put, body.as_bytes())).contains("5000"));
}

#[test]
fn defects_2_and_3_responses_are_read_by_what_they_are_not_by_how_they_are_framed() {
    let edge = Edge::new(Mode::HalfProxy);
    let reads =
        |method, status, content_type| edge.dialect.reads_response(method, "/janus/1", status, content_type);
    for method in ["GET", "POST", "PUT"] {
        assert!(reads(method, 200, Some("application/json")));
        assert!(reads(method, 200, Some("Application/JSON; charset=utf-8")));
        assert!(reads(method, 200, Some("text/plain")));
        assert!(reads(method, 200, None));
        assert!(reads(method, 404, None));
        assert!(!reads(method, 200, Some("text/html")));
        assert!(!reads(method, 502, Some("application/json")));
    }
    assert!(!reads("OPTIONS", 200, None));
}

#[test]
fn defect_5_unknown_keys_numbers_and_large_ids_survive_byte_for_byte() {
    let before = r#"{ "session_id":9007199254740993, "x":1.50e+3,"janus":"message","body":{"z":1,"a":"\u00e9\/"},
        "jsep":{"e2ee":true,"type":"offer","sdp":"SDP","restart" : false},"handle_id":22,"big":123456789012345678901 }"#;
    let quoted = |sdp: &str| serde_json::to_string(sdp).unwrap();
    let inner = sdp("cccc", &[5000]);
    let body = before.replace("\"SDP\"", &quoted(&inner));
    let mut edge = Edge::new(Mode::HalfProxy);
    let after = text(edge.handle(Side::Client, WS, body.as_bytes()));
    let hidden: String = inner
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("a=candidate"))
        .map(|line| match line.split(' ').next().unwrap() {
            "c=IN" => "c=IN IP4 0.0.0.0\r\n".to_owned(),
            "o=-" => "o=- 1 2 IN IP4 127.0.0.1\r\n".to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    assert_eq!(after, before.replace("\"SDP\"", &quoted(&hidden)));
}

#[test]
fn defect_6_candidates_and_trickle_end_at_the_edge_in_both_directions() {
    let mut edge = Edge::new(Mode::HalfProxy);
    let to_janus = edge.client_sdp("offer", &sdp("cccc", &[5000]));
    assert!(!to_janus.contains("candidate") && !to_janus.contains("10.77"));
    let trickled = json!({"janus": "trickle", "transaction": "t", "candidate": candidate(5000)});
    assert!(matches!(edge.client(trickled), Verdict::Answer(_)));
    assert!(!text(edge.backend_trickle(candidate(5001))).contains("5001"));
    let to_client = edge.backend_sdp("answer", &sdp("bbbb", &[5002]));
    assert!(!to_client.contains("10.77") && !to_client.contains("5002"));
    assert_eq!(to_client.matches(EDGE_UDP).count(), 2);
    assert_eq!(to_client.matches(EDGE_TCP).count(), 2);
    assert!(!text(edge.backend_trickle(candidate(5003))).contains("5003"));
}

#[test]
fn defect_7_ice_of_the_session_part_holds_and_a_last_m_section_needs_no_line_end() {
    let one = |ufrag| {
        let sdp = format!("v=0\r\n{}m=application 9 X 0\r\na=mid:d", credentials(ufrag));
        assert!(!sdp.ends_with('\n'));
        sdp
    };
    let mut edge = Edge::new(Mode::HalfProxy);
    let body = json!({"janus": "message", "jsep": {"type": "offer", "sdp": one("cccc")}});
    assert_eq!(edge.client(body), Verdict::Pass, "nothing to hide in it");
    let shown = edge.backend_sdp("answer", &one("bbbb"));
    let registration = edge.last_registration();
    assert_eq!((&*registration.client.ufrag, &*registration.backend.ufrag), ("cccc", "bbbb"));
    assert!(
        shown.ends_with(&format!("a=mid:d\r\na={EDGE_UDP}\r\na={EDGE_TCP}\r\na=end-of-candidates\r\n")),
        "{shown}"
    );
    assert_eq!(value_of(&shown, "a=ice-ufrag:"), &*registration.edge.ufrag);
}

#[test]
fn defect_8_a_renegotiation_with_the_same_credentials_changes_nothing() {
    for (offerer, answerer) in [(Side::Client, Side::Backend), (Side::Backend, Side::Client)] {
        let mut edge = established();
        let first = edge.last_registration();
        for (side, kind) in [(offerer, "offer"), (answerer, "answer")] {
            if side == Side::Client {
                edge.client_sdp(kind, &sdp("cccc", &[]));
            } else {
                let shown = edge.backend_sdp(kind, &sdp("bbbb", &[5001]));
                assert_eq!(value_of(&shown, "a=ice-ufrag:"), &*first.edge.ufrag);
                assert_eq!(value_of(&shown, "a=ice-pwd:"), &*first.edge.pwd);
            }
        }
        assert_eq!(edge.commands.len(), 1);
    }
}

#[test]
fn defect_8_an_ice_restart_of_either_side_is_a_new_generation_of_the_session() {
    for (offerer, answerer) in [(Side::Client, Side::Backend), (Side::Backend, Side::Client)] {
        let mut edge = established();
        let mut shown = String::new();
        for (side, kind) in [(offerer, "offer"), (answerer, "answer")] {
            assert_eq!(edge.registrations().len(), 1, "the old pair serves until the answer");
            match side {
                Side::Client => _ = edge.client_sdp(kind, &sdp("CCCC", &[])),
                Side::Backend => shown = edge.backend_sdp(kind, &sdp("BBBB", &[5001])),
            }
        }
        let [first, second] = edge.registrations().try_into().unwrap();
        assert_eq!((first.session, second.generation), (second.session, 1));
        assert!(std::sync::Arc::ptr_eq(&first.owner, &second.owner));
        assert_eq!((&*second.client.ufrag, &*second.backend.ufrag), ("CCCC", "BBBB"));
        assert_ne!(first.edge, second.edge);
        assert_eq!(value_of(&shown, "a=ice-ufrag:"), &*second.edge.ufrag);
        assert_eq!(first.role, second.role, "a restart keeps the roles");
        assert!(edge.ends().is_empty());
    }
}

#[test]
fn defect_8_the_server_may_offer_and_an_answer_may_come_late() {
    let mut edge = Edge::new(Mode::HalfProxy);
    let shown = edge.backend_sdp("offer", &sdp("bbbb", &[5001]));
    for _ in 0..20 {
        edge.now += Duration::from_secs(30);
        assert_eq!(edge.backend(json!([{"janus": "keepalive"}])), Verdict::Pass);
        edge.with(|dialect, cx| dialect.sweep(cx));
    }
    edge.client_sdp("answer", &sdp("cccc", &[]));
    let registration = edge.last_registration();
    assert_eq!(value_of(&shown, "a=ice-ufrag:"), &*registration.edge.ufrag);
    assert_eq!(registration.role, Role::Controlled);
    assert_eq!(registration.candidates.len(), 1);
}

#[test]
fn a_half_known_exchange_is_forgotten_when_its_handle_is_silent_for_two_minutes() {
    for (silence, kept) in [(119, true), (121, false)] {
        let mut edge = Edge::new(Mode::HalfProxy);
        edge.client_sdp("offer", &sdp("cccc", &[]));
        edge.now += Duration::from_secs(silence);
        edge.with(|dialect, cx| dialect.sweep(cx));
        edge.backend_sdp("answer", &sdp("bbbb", &[5001]));
        assert_eq!(!edge.registrations().is_empty(), kept, "{silence}");
    }
    let mut edge = established();
    edge.now += Duration::from_secs(3600);
    edge.with(|dialect, cx| dialect.sweep(cx));
    edge.backend_sdp("offer", &sdp("bbbb", &[5001]));
    edge.client_sdp("answer", &sdp("cccc", &[]));
    assert_eq!(edge.commands.len(), 1, "a session that is served is kept");
}

#[test]
fn what_is_not_json_or_needs_no_change_passes_as_it_is() {
    for body in [
        "",
        "hello",
        "{",
        "{\"janus\":\"trickle\"",
        "[]",
        "5",
        "null",
        r#"{"janus":"create","transaction":"t"}"#,
        r#"{"jsep":5}"#,
    ] {
        for carrier in [POST, WS] {
            for from in [Side::Client, Side::Backend] {
                assert_eq!(
                    Edge::new(Mode::HalfProxy).handle(from, carrier, body.as_bytes()),
                    Verdict::Pass,
                    "{body}"
                );
            }
        }
    }
}

#[test]
fn a_description_of_the_client_that_cannot_be_used_is_refused_in_the_words_of_janus() {
    let no_ufrag = "v=0\r\nm=audio 9 X 0\r\n";
    for (carrier, body, code, reason, reference) in [
        (
            POST,
            json!({"janus": "message", "transaction": "t", "jsep": {"type": "offer", "sdp": no_ufrag}}),
            465,
            "ice-ufrag",
            true,
        ),
        (
            WS,
            json!({"janus": "message", "session_id": 11, "transaction": "t", "jsep": {"type": "answer", "sdp": "hi"}}),
            465,
            "v=0",
            true,
        ),
        (
            POST,
            json!({"janus": "message", "transaction": "t", "jsep": {"type": "offer", "sdp": format!("v=0\r\n{}", "a".repeat(300_000))}}),
            465,
            "bytes",
            true,
        ),
    ] {
        let verdict = Edge::new(Mode::HalfProxy).handle(Side::Client, carrier, body.to_string().as_bytes());
        let Verdict::Refuse { reason: told, body } = verdict else { panic!("{verdict:?}") };
        assert!(told.contains(reason), "{told}");
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(error["janus"], "error");
        assert_eq!(error["error"], json!({"code": code, "reason": told}));
        assert_eq!((error["session_id"] == 11, error["transaction"] == "t"), (reference, reference));
    }
    let refused = [
        r#"{"janus":"message","jsep":{"sdp":"a","type":"offer","sd\u0070":"b"}}"#,
        r#"{"janus":"x","janus":"trickle"}"#,
    ];
    for body in
        refused.map(str::to_owned).into_iter().chain(["[".repeat(5000), "[[[[[[[[[[5]]]]]]]]]]".to_owned()])
    {
        let verdict = Edge::new(Mode::HalfProxy).client(&body);
        assert!(matches!(verdict, Verdict::Refuse { .. }), "{verdict:?}");
    }
}

#[test]
fn a_description_of_the_backend_that_cannot_be_used_passes_without_its_candidates() {
    let mut edge = Edge::new(Mode::HalfProxy);
    edge.client_sdp("offer", &sdp("cccc", &[]));
    for sdp in [
        "v=0\r\nm=audio 9 X 0\r\na=candidate:1 1 udp 1 10.77.0.1 5 typ host\r\nc=IN IP4 10.77.0.1\r\n",
        "a=candidate:1 1 udp 1 10.77.0.1 5 typ host",
    ] {
        let shown = edge.backend_sdp("answer", sdp);
        assert!(!shown.contains("candidate") && !shown.contains("10.77"), "{shown}");
    }
    assert!(edge.commands.is_empty());
    let doubled =
        r#"{"janus":"event","session_id":11,"sender":22,"jsep":{},"jsep":{"sdp":"a=candidate:10.77.0.1"}}"#;
    assert_eq!(text(edge.backend(doubled)), r#"{"janus":"keepalive"}"#);
    assert_eq!(edge.handle(Side::Backend, WS, doubled.as_bytes()), Verdict::Swallow);
    let nobody = json!({"janus": "event", "jsep": {"type": "answer", "sdp": sdp("bbbb", &[5001])}});
    assert!(!sent_sdp(edge.handle(Side::Backend, WS, nobody.to_string().as_bytes())).contains("10.77"));
}

#[test]
fn an_offer_that_the_backend_repeats_shows_the_same_credentials() {
    let mut edge = Edge::new(Mode::HalfProxy);
    let first = edge.backend_sdp("offer", &sdp("bbbb", &[5001]));
    let second = edge.backend_sdp("offer", &sdp("bbbb", &[5001]));
    let third = edge.backend_sdp("offer", &sdp("BBBB", &[5001]));
    assert_eq!(first, second);
    assert_ne!(value_of(&second, "a=ice-ufrag:"), value_of(&third, "a=ice-ufrag:"));
    edge.client_sdp("answer", &sdp("cccc", &[]));
    let registration = edge.last_registration();
    assert_eq!(&*registration.backend.ufrag, "BBBB");
    assert_eq!(value_of(&third, "a=ice-ufrag:"), &*registration.edge.ufrag);
}

#[test]
fn the_edge_controls_when_the_client_offered_or_the_backend_is_lite() {
    let lite = |ufrag| sdp(ufrag, &[5001]).replacen("a=group", "a=ice-lite\r\na=group", 1);
    for (client_offers, backend, role) in [
        (true, sdp("bbbb", &[5001]), Role::Controlling),
        (false, sdp("bbbb", &[5001]), Role::Controlled),
        (true, lite("bbbb"), Role::Controlling),
        (false, lite("bbbb"), Role::Controlling),
    ] {
        let mut edge = Edge::new(Mode::HalfProxy);
        if client_offers {
            edge.client_sdp("offer", &sdp("cccc", &[]));
            edge.backend_sdp("answer", &backend);
        } else {
            edge.backend_sdp("offer", &backend);
            edge.client_sdp("answer", &sdp("cccc", &[]));
        }
        assert_eq!(edge.last_registration().role, role);
    }
}

#[test]
fn m_sections_outside_of_the_bundle_group_are_sessions_of_their_own() {
    let unbundled = |ufrag: &str, port: u16| {
        let section = |mid: u8| {
            let line = format!("a=candidate:1 1 udp 1 10.77.0.1 {} typ host\r\n", port + u16::from(mid));
            format!("m=audio 9 X 0\r\na=mid:{mid}\r\n{}{line}", credentials(&format!("{ufrag}{mid}")))
        };
        format!("v=0\r\na=group:BUNDLE 0 1\r\n{}{}{}", section(0), section(1), section(2))
    };
    let mut edge = Edge::new(Mode::HalfProxy);
    edge.client_sdp("offer", &unbundled("ccc", 4000));
    let shown = edge.backend_sdp("answer", &unbundled("bbb", 5000));
    let [first, second] = edge.registrations().try_into().unwrap();
    assert_ne!(first.session, second.session);
    assert_eq!((&*first.client.ufrag, &*first.backend.ufrag), ("ccc0", "bbb0"));
    assert_eq!((&*second.client.ufrag, &*second.backend.ufrag), ("ccc2", "bbb2"));
    assert_eq!(&*first.origin.label, "janus session 11 handle 22");
    assert_eq!(&*second.origin.label, "janus session 11 handle 22 mid 2");
    assert_eq!(first.candidates.iter().map(|it| it.addr.port()).collect::<Vec<_>>(), [5000, 5001]);
    assert_eq!(second.candidates.iter().map(|it| it.addr.port()).collect::<Vec<_>>(), [5002]);
    let ufrags: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("a=ice-ufrag:")).collect();
    assert_eq!((ufrags[0], ufrags[2]), (&*first.edge.ufrag, &*second.edge.ufrag));

    let late = json!({"sdpMid": "2", "candidate": "candidate:1 1 udp 1 10.77.0.1 6002 typ host"});
    edge.backend_trickle(late);
    assert!(
        matches!(edge.commands.last(), Some(Command::AddCandidates(session, _)) if *session == second.session)
    );
}

#[test]
fn the_transport_stays_when_its_first_m_section_is_rejected() {
    let mut edge = established();
    let first = edge.last_registration();
    let rejected = |ufrag| sdp(ufrag, &[]).replacen("m=audio 9", "m=audio 0", 1);
    edge.client_sdp("offer", &rejected("cccc"));
    let shown = edge.backend_sdp("answer", &rejected("bbbb"));
    assert_eq!(
        shown.lines().filter_map(|it| it.strip_prefix("a=ice-ufrag:")).next_back(),
        Some(&*first.edge.ufrag)
    );
    assert_eq!(edge.commands.len(), 1);
}

#[test]
fn the_transparent_mode_mints_nothing_and_takes_host_candidates() {
    let mut edge = Edge::new(Mode::Transparent);
    edge.client_sdp("offer", &sdp("cccc", &[4000]));
    let reflexive = "a=candidate:2 1 udp 1 198.51.100.1 5002 typ srflx raddr 0.0.0.0 rport 0\r\n";
    let shown = edge.backend_sdp("answer", &(sdp("bbbb", &[5001]) + reflexive));
    assert_eq!(value_of(&shown, "a=ice-ufrag:"), "bbbb");
    assert!(!shown.contains("ice-lite") && !shown.contains("198.51.100.1") && shown.contains(EDGE_UDP));
    let registration = edge.last_registration();
    assert_eq!((registration.mode, &registration.edge), (Mode::Transparent, &registration.backend));
    assert_eq!(registration.candidates.len(), 1);
}

#[test]
fn tcp_candidates_come_first_where_the_route_asks_for_it() {
    for (prefer_tcp, first) in [(false, CandidateTransport::Udp), (true, CandidateTransport::TcpPassive)] {
        let mut edge = Edge::preferring(Mode::HalfProxy, prefer_tcp);
        edge.client_sdp("offer", &sdp("cccc", &[]));
        let tcp = "a=candidate:1 1 tcp 1 10.77.0.1 5002 typ host tcptype passive\r\n";
        edge.backend_sdp("answer", &format!("{}{tcp}", sdp("bbbb", &[5001])));
        assert_eq!(edge.last_registration().candidates[0].transport, first);
    }
}

#[test]
fn several_handles_of_a_janus_session_are_kept_apart() {
    let mut edge = Edge::new(Mode::HalfProxy);
    for handle in [22, 23] {
        let path = format!("/janus/11/{handle}");
        let body =
            json!({"janus": "message", "jsep": {"type": "offer", "sdp": sdp(&format!("cc{handle}"), &[])}});
        edge.handle(Side::Client, Carrier::Rest { method: "POST", path: &path }, body.to_string().as_bytes());
    }
    let mut events = vec![event("answer", &sdp("bb23", &[5023])), event("answer", &sdp("bb22", &[5022]))];
    events[0]["sender"] = 23.into();
    edge.backend(Value::from(events));
    let pairs: Vec<_> = edge
        .registrations()
        .iter()
        .map(|it| (it.client.ufrag.to_string(), it.backend.ufrag.to_string()))
        .collect();
    assert_eq!(pairs, [("cc23".into(), "bb23".into()), ("cc22".into(), "bb22".into())]);
}

#[test]
fn no_password_shows_in_what_may_be_logged() {
    let edge = established();
    let shown = format!("{:?}", edge.commands);
    assert!(shown.contains("cccc") && !shown.contains("cccccc"), "{shown}");
}
