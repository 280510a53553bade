use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::config::{Balance, HealthCheck, ServerUrl, UpstreamGroup};

const PAIRS: [&str; 4] = ["http a 1", "ws a 2", "https b 3", "wss b 4"];

#[test]
fn round_robin_starts_at_the_first_server_and_counts_each_kind_alone() {
    let mut balancer = balancer(Balance::RoundRobin, &PAIRS);
    let ports: Vec<_> = [Http, WebSocket, Http, WebSocket, Http, WebSocket]
        .map(|kind| port(&mut balancer, kind, 99, &[], now()))
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(ports, [1, 2, 3, 4, 1, 2]);
}

#[test]
fn whoever_takes_no_turn_meets_the_server_of_the_next_request() {
    let mut balancer = balancer(Balance::RoundRobin, &["http a 1", "http b 2"]);
    let port = |takes_turn| {
        let member = balancer.choose(&Wanted { kind: Http, now: now(), random: 0, tried: &[], takes_turn });
        balancer.url(member.expect("a server")).port
    };
    assert_eq!([false, true, false, true, true].map(port), [1, 1, 2, 2, 1]);
}

#[test]
fn random_choice_follows_the_random_number() {
    let mut balancer = balancer(Balance::Random, &PAIRS);
    for (random, expected) in [(0, 1), (1, 3), (2, 1), (u64::MAX, 3)] {
        assert_eq!(port(&mut balancer, Http, random, &[], now()), Some(expected));
    }
}

#[test]
fn a_group_without_a_fitting_scheme_has_no_server() {
    for mode in [Balance::RoundRobin, Balance::Random] {
        let mut balancer = balancer(mode, &["http a 1", "https b 3"]);
        assert_eq!(port(&mut balancer, WebSocket, 5, &[], now()), None);
    }
}

#[test]
fn a_server_that_is_down_loses_its_turns_until_it_returns() {
    for mode in [Balance::RoundRobin, Balance::Random] {
        let mut balancer = balancer(mode, &["http a 1", "http b 2", "http c 3"]);
        let now = now();
        let second = balancer.members().nth(1).unwrap();
        assert_eq!(balancer.report(second, Evidence::Unreachable, now), Some(Change::Left));
        for random in 0..6 {
            assert_ne!(port(&mut balancer, Http, random, &[], now), Some(2));
        }
        assert_eq!(balancer.report(second, Evidence::Reached, now), Some(Change::Returned));
        let seen: Vec<_> = (0..3).map(|random| port(&mut balancer, Http, random, &[], now)).collect();
        assert!(seen.contains(&Some(2)), "{seen:?}");
    }
}

#[test]
fn with_all_servers_down_one_is_tried_all_the_same_but_no_second_one() {
    let mut balancer = balancer(Balance::RoundRobin, &["http a 1", "http b 2"]);
    let now = now();
    let members: Vec<_> = balancer.members().collect();
    for member in &members {
        balancer.report(*member, Evidence::CheckFailed, now);
        balancer.report(*member, Evidence::CheckFailed, now);
    }
    assert_eq!(port(&mut balancer, Http, 0, &[], now), Some(1));
    assert_eq!(port(&mut balancer, Http, 0, &members[..1], now), None);
    balancer.report(members[1], Evidence::CheckPassed, now);
    assert_eq!(port(&mut balancer, Http, 0, &members[..1], now), Some(2));
    assert_eq!(port(&mut balancer, Http, 0, &members, now), None);
}

#[test]
fn the_nth_http_and_the_nth_ws_server_of_a_host_are_one_machine() {
    let balancer = balancer(
        Balance::RoundRobin,
        &["ws a 8188", "http a 8088", "http a 8089", "http b 8088", "wss a 8189", "ws c 8188"],
    );
    let pair = |port: u16| {
        let of = |member: &Member| balancer.url(*member).port == port && balancer.url(*member).host != "b";
        let member = balancer.members().find(of).unwrap();
        let machine = balancer.machine(member);
        let on = |kind| balancer.on(machine, kind).map(|member| balancer.url(member).port);
        (on(Http), on(WebSocket))
    };
    assert_eq!(pair(8088), (Some(8088), Some(8188)));
    assert_eq!(pair(8089), (Some(8089), Some(8189)));
    assert_eq!(pair(8189), (Some(8089), Some(8189)));
    let alone = balancer.members().nth(3).unwrap();
    assert_eq!(balancer.on(balancer.machine(alone), WebSocket), None);
}

use RequestKind::{Http, WebSocket};

fn port(
    balancer: &mut Balancer,
    kind: RequestKind,
    random: u64,
    tried: &[Member],
    now: Instant,
) -> Option<u16> {
    let member = balancer.choose(&Wanted { kind, now, random, tried, takes_turn: true })?;
    Some(balancer.url(member).port)
}

fn balancer(mode: Balance, servers: &[&str]) -> Balancer {
    let check = HealthCheck {
        path: None,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        fall: 2,
        rise: 1,
    };
    let servers = servers.iter().map(|server| url(server)).collect();
    Balancer::new(&UpstreamGroup { name: Arc::from("pool"), mode, servers, health: Some(check) })
}

fn url(text: &str) -> ServerUrl {
    use crate::config::Scheme::{Http, Https, Ws, Wss};
    let [scheme, host, port] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
    let scheme = [("http", Http), ("https", Https), ("ws", Ws), ("wss", Wss)]
        .into_iter()
        .find(|(name, _)| *name == scheme)
        .unwrap()
        .1;
    ServerUrl {
        scheme,
        host: host.to_owned(),
        port: port.parse().unwrap(),
        path: String::new(),
        query: String::new(),
    }
}

fn now() -> Instant {
    Instant::now()
}
