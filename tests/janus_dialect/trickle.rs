//! Candidates that come by themselves, from either side (janus.md §2.2, §2.3).

use serde_json::{Value, json};
use xrtc::dialect::{Carrier, Side, Verdict};
use xrtc::session::registration::{Command, Mode};

use crate::edge::*;

fn established() -> Edge {
    let mut edge = Edge::new(Mode::HalfProxy);
    edge.client_sdp("offer", &sdp("cccc", &[]));
    edge.backend_sdp("answer", &sdp("bbbb", &[5001]));
    edge
}

#[test]
fn the_edge_acknowledges_trickle_with_ids_and_transaction_as_they_were_written() {
    let rest = |path| Carrier::Rest { method: "POST", path };
    for (carrier, body, ack) in [
        (
            rest("/janus/9007199254740993/22"),
            r#"{"janus":"trickle","transaction":"a\u0062\/"}"#,
            r#""session_id":9007199254740993,"transaction":"a\u0062\/""#,
        ),
        (
            rest("/x/y/11/22/"),
            r#"{"janus":"Trickle","transaction":"t","candidate":{"completed":true}}"#,
            r#""session_id":11,"transaction":"t""#,
        ),
        (
            rest("/janus"),
            r#"{"janus":"trickle","session_id":12,"handle_id":2,"transaction":"t"}"#,
            r#""session_id":12,"transaction":"t""#,
        ),
        (
            WS,
            r#"{"janus":"trickle","session_id":9007199254740993,"handle_id":2,"transaction":"t","candidates":[{"completed":true}]}"#,
            r#""session_id":9007199254740993,"transaction":"t""#,
        ),
        (
            WS,
            r#"{"candidate":{},"session_id":13,"j\u0061nus":"trickle","transaction":"t"}"#,
            r#""session_id":13,"transaction":"t""#,
        ),
        (
            WS,
            "{\"janus\":\"trickle\",\"session_id\":13,\"transaction\":\"t\"}\0 and more",
            r#""session_id":13,"transaction":"t""#,
        ),
    ] {
        let answer = text(Edge::new(Mode::HalfProxy).handle(Side::Client, carrier, body.as_bytes()));
        assert_eq!(answer, format!(r#"{{"janus":"ack",{ack}}}"#));
    }
}

#[test]
fn an_early_trickle_leaves_a_poll_that_is_still_valid() {
    let other = |n: u8| json!({"janus": "media", "session_id": 11, "sender": 22, "n": n});
    let early = || trickle(candidate(5001));
    for (events, left) in [
        (vec![early(), other(1), other(2)], vec![other(1), other(2)]),
        (vec![other(1), early(), other(2)], vec![other(1), other(2)]),
        (vec![other(1), other(2), early()], vec![other(1), other(2)]),
        (vec![early(), early(), other(1), early(), early()], vec![other(1)]),
        (vec![early(), other(1), early(), other(2), early()], vec![other(1), other(2)]),
        (vec![early()], vec![json!({"janus": "keepalive"})]),
        (vec![early(), early()], vec![json!({"janus": "keepalive"})]),
    ] {
        for pretty in [false, true] {
            let body = Value::from(events.clone());
            let body = if pretty { serde_json::to_string_pretty(&body).unwrap() } else { body.to_string() };
            assert_eq!(sent(Edge::new(Mode::HalfProxy).backend(body)), Value::from(left.clone()));
        }
    }
    assert_eq!(sent(Edge::new(Mode::HalfProxy).backend(early())), json!({"janus": "keepalive"}));
    let on_socket = Edge::new(Mode::HalfProxy).handle(Side::Backend, WS, early().to_string().as_bytes());
    assert_eq!(on_socket, Verdict::Swallow);
}

#[test]
fn candidates_that_come_before_the_answer_are_used_with_it() {
    let mut edge = Edge::new(Mode::HalfProxy);
    edge.client_sdp("offer", &sdp("cccc", &[]));
    for candidate in [
        candidate(5001),
        json!({"candidate": "candidate:2 1 udp 1 10.77.0.1 5002 typ host"}),
        candidate(5001),
        json!({"completed": true}),
    ] {
        assert_eq!(sent(edge.backend_trickle(candidate)), json!({"janus": "keepalive"}));
    }
    edge.backend_sdp("answer", &sdp("bbbb", &[]));
    let ports: Vec<_> = edge.last_registration().candidates.iter().map(|it| it.addr.port()).collect();
    assert_eq!(ports, [5001, 5002]);
}

#[test]
fn later_candidates_are_added_and_the_client_is_told_once_that_they_are_complete() {
    let mut edge = Edge::new(Mode::HalfProxy);
    edge.client_sdp("offer", &sdp("cccc", &[]));
    edge.backend_sdp("answer", &sdp("bbbb", &[]));
    assert!(edge.last_registration().candidates.is_empty());
    assert_eq!(sent(edge.backend_trickle(candidate(5001))), trickle(json!({"completed": true})));
    for again in [candidate(5001), candidate(5002), json!({"completed": true})] {
        assert_eq!(sent(edge.backend_trickle(again)), json!({"janus": "keepalive"}));
    }
    let added: Vec<_> = edge.commands.iter().skip(1).collect();
    let [Command::AddCandidates(session, first), Command::AddCandidates(_, second)] = added[..] else {
        panic!("{added:?}")
    };
    assert_eq!(*session, edge.last_registration().session);
    assert_eq!((first[0].addr.port(), second[0].addr.port(), first.len() + second.len()), (5001, 5002, 2));

    edge.backend_sdp("offer", &sdp("bbbb", &[]));
    assert_eq!(
        sent(edge.backend_trickle(candidate(5001))),
        trickle(json!({"completed": true})),
        "a new description"
    );
}

#[test]
fn candidates_trickled_while_a_restart_waits_belong_to_the_answer() {
    let mut edge = established();
    edge.client_sdp("offer", &sdp("CCCC", &[]));
    assert_eq!(sent(edge.backend_trickle(candidate(5009))), json!({"janus": "keepalive"}));
    assert_eq!(edge.commands.len(), 1);
    edge.backend_sdp("answer", &sdp("BBBB", &[]));
    assert_eq!(edge.last_registration().candidates[0].addr.port(), 5009);

    edge.client_sdp("offer", &sdp("CCCC", &[]));
    edge.backend_trickle(candidate(5010));
    edge.backend_sdp("answer", &sdp("BBBB", &[]));
    let Some(Command::AddCandidates(_, added)) = edge.commands.last() else { panic!("{:?}", edge.commands) };
    assert_eq!(added[0].addr.port(), 5010, "it was no restart, but the candidate is new");
}
