use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::config::{Balance, Scheme, ServerUrl, UpstreamGroup};

#[test]
fn only_a_whole_key_in_lower_case_is_one() {
    let key = StickyKey::new(*b"0123456789abcdef0123456789ABCDEF");
    let text = key.to_string();
    assert_eq!(StickyKey::parse(&text), Some(key));
    for cut in 0..text.len() {
        assert_eq!(StickyKey::parse(&text[..cut]), None);
    }
    for (at, byte) in [(0, "g"), (63, "F"), (5, " "), (5, "é")] {
        let mut other = text.clone();
        other.replace_range(at..=at, byte);
        assert_eq!(StickyKey::parse(&other), None, "{other}");
    }
}

#[test]
fn the_key_is_found_among_other_cookies() {
    let key = StickyKey::new([7; 32]);
    for cookies in [
        format!("gosessionid={key}"),
        format!("a=b; gosessionid={key}; c"),
        format!("gosessionid=; gosessionid=x;gosessionid={key}"),
    ] {
        assert_eq!(StickyKey::in_cookies(&cookies), Some(key), "{cookies}");
    }
    for cookies in
        ["", ";;=;", "gosessionid", &format!("xgosessionid={key}"), &format!("a=gosessionid={key}")]
    {
        assert_eq!(StickyKey::in_cookies(cookies), None, "{cookies}");
    }
}

#[test]
fn the_cookie_is_secure_on_tls_alone() {
    let key = StickyKey::new([0xab; 32]);
    let plain = format!("gosessionid={}; Path=/; Max-Age=3600; HttpOnly", "ab".repeat(32));
    assert_eq!(key.cookie(false), plain);
    assert_eq!(key.cookie(true), format!("{plain}; Secure"));
    assert_eq!(format!("{key:?}"), "StickyKey(…)");
}

#[test]
fn a_session_remembers_route_machine_and_kind_until_it_was_not_used_for_ten_minutes() {
    let [a, b] = machines();
    let mut table = StickyTable::new();
    let key = StickyKey::new([1; 32]);
    let start = Instant::now();
    assert!(!table.knows(key, start));
    assert!(table.remember(key, 0, RequestKind::Http, a, start));
    assert!(!table.remember(key, 0, RequestKind::WebSocket, b, start));
    assert!(!table.remember(key, 3, RequestKind::Http, b, start));

    let mut on = |route, kind| table.machines(key, route, kind, start).collect::<Vec<_>>();
    assert_eq!(on(0, RequestKind::Http), [a, b]);
    assert_eq!(on(0, RequestKind::WebSocket), [b, a]);
    assert_eq!(on(3, RequestKind::WebSocket), [b]);
    assert_eq!(on(1, RequestKind::Http), []);
    assert_eq!(table.last_route(key, start), Some(3));
    assert_eq!(table.last_route(StickyKey::new([2; 32]), start), None);

    let later = start + Duration::from_secs(599);
    assert_eq!(table.last_route(key, later), Some(3));
    table.sweep(later + Duration::from_secs(599));
    assert_eq!(table.last_route(key, later + Duration::from_secs(600)), None);
}

#[test]
fn the_cookie_is_sent_again_when_half_of_its_life_is_over() {
    let [a, _] = machines();
    let mut table = StickyTable::new();
    let key = StickyKey::new([1; 32]);
    let start = Instant::now();
    let sent: Vec<_> = (0..20)
        .filter(|minutes| {
            let now = start + Duration::from_secs(minutes * 300);
            table.remember(key, 0, RequestKind::Http, a, now)
        })
        .collect();
    assert_eq!(sent, [0, 6, 12, 18]);
}

#[test]
fn a_janus_session_is_known_in_its_group_alone() {
    let [a, b] = machines();
    let mut table = StickyTable::new();
    let now = Instant::now();
    table.learn_janus(0, 71, a, now);
    table.learn_janus(1, 71, b, now);
    assert_eq!(table.janus_machine(0, 71, now), Some(a));
    assert_eq!(table.janus_machine(1, 71, now), Some(b));
    assert_eq!(table.janus_machine(0, 72, now), None);
    assert_eq!(table.janus_machine(0, 71, now + Duration::from_secs(600)), None);
}

fn machines() -> [Machine; 2] {
    let server = |host: &str| ServerUrl {
        scheme: Scheme::Http,
        host: host.to_owned(),
        port: 80,
        path: String::new(),
        query: String::new(),
    };
    let group = UpstreamGroup {
        name: Arc::from("pool"),
        mode: Balance::RoundRobin,
        servers: vec![server("a"), server("b")],
        health: None,
    };
    let balancer = Balancer::new(&group);
    let machines: Vec<_> = balancer.members().map(|member| balancer.machine(member)).collect();
    [machines[0], machines[1]]
}
