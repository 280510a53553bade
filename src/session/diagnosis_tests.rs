use std::sync::Arc;
use std::time::Duration;

use super::super::observe::Milestones;
use super::super::registration::{CandidateTransport, Mode, Origin, SessionId, Traffic};
use super::super::story::BackendTry;
use super::*;

fn backend_at(addr: &str, local: bool) -> BackendTry {
    BackendTry {
        remote: addr.parse().unwrap(),
        transport: CandidateTransport::Udp,
        local: local.then(|| "10.0.0.1:40000".parse().unwrap()),
        answered: false,
        selected: false,
    }
}

/// A session of this age in which these things happened at these times, ms.
fn story(stage: Stage, age: u64, happened: &[(Milestone, &[u32])]) -> Story {
    let mut milestones = Milestones::default();
    for (milestone, times) in happened {
        for at in *times {
            milestones.note(*at, *milestone);
        }
    }
    Story {
        session: SessionId(1),
        origin: Arc::new(Origin { route: "janus".into(), label: "x".into() }),
        mode: Mode::HalfProxy,
        generation: 0,
        worker: Some(0),
        stage,
        age: Duration::from_millis(age),
        offer_before: None,
        milestones,
        alerts: [None; 2],
        clients: Vec::new(),
        backends: vec![backend_at("10.0.0.5:20000", true)],
        traffic: Traffic::default(),
        from_client: Vec::new(),
        from_backend: Vec::new(),
    }
}

#[track_caller]
fn says(story: &Story, ended: Option<EndReason>, side: Side, text: &str) {
    let diagnosis = diagnose(story, ended, "UDP 203.0.113.7:6001");
    assert!(diagnosis.text.contains(text), "expected {text:?} in {diagnosis:?}");
    assert_eq!(diagnosis.side, side, "{diagnosis:?}");
    assert!(!diagnosis.text.ends_with('.') && diagnosis.text.len() < 240, "{diagnosis:?}");
}

use Milestone::*;

const CHECKED: &[(Milestone, &[u32])] = &[(ClientCheck, &[100, 600])];
const UP: &[(Milestone, &[u32])] = &[(ClientCheck, &[100]), (BackendStun, &[150]), (Connected, &[200])];

fn up(further: &[(Milestone, &'static [u32])]) -> Vec<(Milestone, &'static [u32])> {
    UP.iter().chain(further).copied().collect()
}

#[test]
fn a_client_that_does_not_come_is_told_from_one_that_may_still_come() {
    says(&story(Stage::Waiting, 2_000, &[]), None, Side::Underway, "waiting for the client's first check");
    let late = story(Stage::Waiting, 9_000, &[]);
    says(&late, None, Side::Client, "no check from the client in 9.0 s: UDP 203.0.113.7:6001 is blocked");
    let ended = story(Stage::Waiting, 30_010, &[]);
    says(&ended, Some(EndReason::NeverConnected), Side::Client, "no check from the client in 30 s");
    let short = story(Stage::Waiting, 1_500, &[]);
    says(&short, Some(EndReason::Hangup), Side::Nobody, "ended (hangup) after 1.5 s before");
    says(&short, Some(EndReason::TooManySessions), Side::Edge, "limits.sessions");
    says(&short, Some(EndReason::PairInUse), Side::Edge, "same pair of ufrags");
}

#[test]
fn checks_with_a_wrong_password_are_named_as_such() {
    let forged = story(Stage::Waiting, 3_000, &[(BadIntegrity, &[100, 600, 2_000])]);
    says(&forged, None, Side::Client, "arrive but fail integrity (3 times, last 1.0 s ago)");
    says(&forged, Some(EndReason::NeverConnected), Side::Client, "fail integrity (3 times)");
}

#[test]
fn a_backend_that_does_not_answer_is_named_with_its_address() {
    says(&story(Stage::Connecting, 1_000, CHECKED), None, Side::Underway, "waiting for the backend");
    let mut silent = CHECKED.to_vec();
    silent.push((BackendSent, &[110, 160, 5_000]));
    let silent = story(Stage::Connecting, 6_000, &silent);
    says(&silent, None, Side::Backend, "no checks at 10.0.0.5:20000 (3 times, last 1.0 s ago)");
    says(&silent, Some(EndReason::BackendSilent), Side::Backend, "no checks at 10.0.0.5:20000 (3 times)");
    let mut none = story(Stage::Connecting, 6_000, CHECKED);
    says(&none, None, Side::Backend, "no way to the backend: cannot connect to 10.0.0.5:20000");
    none.backends.clear();
    says(&none, None, Side::Backend, "gave no candidate");
    let mut wrong = CHECKED.to_vec();
    wrong.extend([(BackendSent, &[110_u32][..]), (BackendRejected, &[120])]);
    says(&story(Stage::Connecting, 6_000, &wrong), None, Side::Backend, "does not fit the credentials");
    wrong.push((BackendStun, &[130]));
    let mut answers = story(Stage::Connecting, 6_000, &wrong);
    answers.backends[0].answered = true;
    says(&answers, None, Side::Backend, "answers at 10.0.0.5:20000, but no pair was nominated");
}

#[test]
fn many_addresses_are_not_listed_all() {
    let mut silent = CHECKED.to_vec();
    silent.push((BackendSent, &[110]));
    let mut silent = story(Stage::Connecting, 6_000, &silent);
    silent.backends = (1..=9).map(|n| backend_at(&format!("10.0.0.{n}:1"), true)).collect();
    says(&silent, None, Side::Backend, "at 10.0.0.1:1, 10.0.0.2:1, 10.0.0.3:1 and 6 more (once");
}

#[test]
fn dtls_that_stays_without_answer_names_who_is_silent() {
    let hello = |milestone, age| story(Stage::Connected, age, &up(&[(milestone, &[300, 800])]));
    says(&hello(ClientHelloUp, 900), None, Side::Underway, "ClientHello went to the backend (2 times");
    says(
        &hello(ClientHelloUp, 9_000),
        None,
        Side::Backend,
        "to the backend (2 times, last 8.2 s ago), no ServerHello",
    );
    says(
        &hello(ClientHelloDown, 9_000),
        None,
        Side::Client,
        "to the client (2 times, last 8.2 s ago), no ServerHello",
    );
    let ended = hello(ClientHelloUp, 900);
    says(&ended, Some(EndReason::Hangup), Side::Backend, "(2 times), no ServerHello came back");
    says(&story(Stage::Connected, 1_000, UP), None, Side::Underway, "waiting for DTLS to start");
    says(&story(Stage::Connected, 9_000, UP), None, Side::Backend, "neither side has started DTLS");
}

#[test]
fn an_alert_names_whose_certificate_or_doing_it_is() {
    let mut story =
        story(Stage::Connected, 9_000, &up(&[(ClientHelloUp, &[300]), (ServerHelloDown, &[310])]));
    story.alerts = [Some(42), None];
    says(&story, None, Side::Backend, "client broke off DTLS with alert 42 (bad_certificate");
    story.alerts = [None, Some(40)];
    says(&story, None, Side::Backend, "backend broke off DTLS with alert 40 (handshake_failure)");
    story.alerts = [Some(0), Some(0)];
    says(&story, None, Side::Nobody, "no media");
}

#[test]
fn media_that_flows_is_fine_unless_some_of_it_is_lost_on_one_side() {
    let flow: &[(Milestone, &'static [u32])] =
        &[(ClientHelloUp, &[300]), (ServerHelloDown, &[310]), (MediaUp, &[400])];
    let mut one_way = story(Stage::Connected, 9_000, &up(flow));
    says(&one_way, None, Side::Nobody, "media flows from the client alone");
    one_way.milestones.note(410, MediaDown);
    says(&one_way, None, Side::Nobody, "media flows both ways");
    let stream = |loss| StreamReport { recent_bps: 1_000_000, recent_loss: loss, ..StreamReport::default() };
    let idle = StreamReport { recent_loss: 0.9, ..StreamReport::default() };
    one_way.from_client = vec![stream(0.05), idle];
    says(&one_way, None, Side::Client, "5.0 % of the client's packets never reach the edge");
    one_way.from_backend = vec![stream(0.10)];
    says(&one_way, None, Side::Backend, "10.0 % of the backend's packets never reach the edge");
}

#[test]
fn an_end_says_whose_it_was() {
    let flow: &[(Milestone, &'static [u32])] = &[(ClientHelloUp, &[300]), (ServerHelloDown, &[310])];
    let story = story(Stage::Connected, 61_000, &up(flow));
    says(
        &story,
        Some(EndReason::ClientSilent),
        Side::Client,
        "ended after 61 s: nothing came from the client",
    );
    says(&story, Some(EndReason::BackendSilent), Side::Backend, "the backend stopped answering");
    says(&story, Some(EndReason::ClientClosed), Side::Nobody, "closed its last connection");
    says(&story, Some(EndReason::Hangup), Side::Nobody, "as told by signalling (hangup)");
}
