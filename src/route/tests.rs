use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{Optimal, RouteUpstream, Scheme, UpstreamTuning};

#[test]
fn the_longest_prefix_wins_and_ties_go_by_file_order() {
    let table = table(
        None,
        vec![
            route("short", &[], &[], &[("/janus", None)]),
            route("long", &[], &[], &[("/janus/admin", None)]),
            route("twin", &[], &[], &[("/janus", None)]),
            route("all", &[], &[], &[("/", None)]),
        ],
    );
    for (path, expected) in [
        ("/janus", Some(0)),
        ("/janus2", Some(0)),
        ("/janus/1/2", Some(0)),
        ("/janus/adminx", Some(1)),
        ("/jan", Some(3)),
        ("/Janus", Some(3)),
        ("*", None),
        ("", None),
    ] {
        assert_eq!(routed(&table, &Asked { path, ..Asked::default() }), expected, "{path}");
    }
}

#[test]
fn hosts_come_before_subprotocols_and_those_before_paths() {
    let table = table(
        None,
        vec![
            route("path", &[], &[], &[("/", None)]),
            route("proto", &[], &["janus-protocol"], &[]),
            route("host", &["media.example.org", "::1"], &[], &[]),
            route("second host", &["media.example.org"], &[], &[]),
        ],
    );
    for (host, offered, expected) in [
        (Some("MEDIA.example.org:8443"), &["janus-protocol"][..], Some(2)),
        (Some("media.example.org."), &[][..], Some(2)),
        (Some("[::1]:80"), &[][..], Some(2)),
        (Some("[::1]"), &[][..], Some(2)),
        (Some("other"), &["x", "janus-protocol"][..], Some(1)),
        (Some("other"), &["janus-protocol2"][..], Some(0)),
        (None, &[][..], Some(0)),
    ] {
        let asked = Asked { host, path: "/x", ws_protocols: offered };
        assert_eq!(routed(&table, &asked), expected, "{host:?} {offered:?}");
    }
}

#[test]
fn another_servername_is_misdirected_whatever_the_path() {
    let table = table(Some("Edge.example.org"), vec![route("all", &[], &[], &[("/", None)])]);
    for (host, misdirected) in [
        (Some("edge.example.org"), false),
        (Some("EDGE.EXAMPLE.ORG:8443"), false),
        (Some("edge.example.org.evil"), true),
        (Some(""), true),
        (None, true),
    ] {
        let choice = table.choose(&Asked { host, path: "/", ..Asked::default() });
        assert_eq!(choice == Choice::Misdirected, misdirected, "{host:?}");
    }
}

#[test]
fn the_matched_prefix_is_replaced_once_and_queries_are_joined() {
    let plain = server("", "");
    let based = server("/base", "key=1");
    for (server, rule, path, query, expected) in [
        (&plain, ("/a", None), "/a/b", None, "/a/b"),
        (&plain, ("/a", Some("/janus")), "/a/a/b", None, "/janus/a/b"),
        (&plain, ("/a", Some("/janus")), "/a2", Some("x=%20&y"), "/janus2?x=%20&y"),
        (&plain, ("/a/", Some("/")), "/a/b//c/../%2f", None, "/b//c/../%2f"),
        (&plain, ("/a", Some("")), "/a", None, "/"),
        (&based, ("/a", Some("/j")), "/a/1", Some("rid=5"), "/base/j/1?key=1&rid=5"),
        (&based, ("/a", None), "/a", None, "/base/a?key=1"),
    ] {
        let table = table(None, vec![route("r", &[], &[], &[rule])]);
        let Choice::Routed(chosen) = table.choose(&Asked { path, ..Asked::default() }) else {
            panic!("{path} is not routed");
        };
        assert_eq!(table.target(chosen, server, path, query), expected);
    }
}

#[test]
fn a_route_chosen_by_host_applies_its_own_longest_path_rule() {
    let rules = &[("/a", Some("/short")), ("/a/b", Some("/long"))][..];
    let table = table(None, vec![route("h", &["h"], &[], rules)]);
    for (path, expected) in [("/a/b/c", "/long/c"), ("/a/c", "/short/c"), ("/other", "/other")] {
        let Choice::Routed(chosen) = table.choose(&Asked { host: Some("h"), path, ..Asked::default() })
        else {
            panic!("{path} is not routed");
        };
        assert_eq!(table.target(chosen, &server("", ""), path, None), expected);
    }
}

fn routed(table: &RouteTable, asked: &Asked<'_>) -> Option<usize> {
    match table.choose(asked) {
        Choice::Routed(chosen) => Some(chosen.route),
        Choice::Misdirected | Choice::Unrouted => None,
    }
}

fn table(servername: Option<&str>, routes: Vec<Route>) -> RouteTable {
    RouteTable::new(&Http {
        servername: servername.map(str::to_owned),
        root: None,
        root_index: false,
        rest: true,
        routes,
        upstream: UpstreamTuning {
            max_idle: 100,
            idle_timeout: Duration::from_secs(30),
            dial_timeout: Duration::from_secs(10),
            response_header_timeout: Duration::from_secs(300),
            keepalive: Duration::from_secs(1200),
            flush_interval: Duration::from_millis(100),
            global_flush_interval: Duration::from_millis(100),
            tls_verify: true,
            ca_file: None,
        },
        turn_credentials: None,
        trusted_proxies: Vec::new(),
        optimal: Optimal::Always,
        geoip_db: None,
    })
}

fn route(name: &str, hosts: &[&str], protocols: &[&str], paths: &[(&str, Option<&str>)]) -> Route {
    Route {
        name: Arc::from(name),
        dialect: None,
        upstream: RouteUpstream::Server(server("", "")),
        ice_tcp: false,
        ice_direct: false,
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
        ws_protocols: protocols.iter().map(|protocol| (*protocol).to_owned()).collect(),
        paths: paths
            .iter()
            .map(|(prefix, replacement)| PathRule {
                prefix: (*prefix).to_owned(),
                replacement: replacement.map(str::to_owned),
            })
            .collect(),
    }
}

fn server(path: &str, query: &str) -> ServerUrl {
    ServerUrl {
        scheme: Scheme::Http,
        host: "127.0.0.1".to_owned(),
        port: 8088,
        path: path.to_owned(),
        query: query.to_owned(),
    }
}
