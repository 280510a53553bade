use super::*;
use crate::config::{Http, Optimal, PathRule, Route, RouteUpstream, UpstreamTuning};
use crate::route::{Asked, Choice};

fn server(host: &str, port: u16, path: &str) -> ServerUrl {
    ServerUrl { scheme: Scheme::Http, host: host.into(), port, path: path.into(), query: String::new() }
}

fn rule(rule: (&str, Option<&str>)) -> PathRule {
    PathRule { prefix: rule.0.to_owned(), replacement: rule.1.map(str::to_owned) }
}

fn table(server: ServerUrl, paths: Vec<PathRule>) -> RouteTable {
    let route = Route {
        name: "whip".into(),
        dialect: None,
        upstream: RouteUpstream::Server(server),
        ice_tcp: false,
        ice_direct: false,
        hosts: Vec::new(),
        ws_protocols: Vec::new(),
        paths,
    };
    RouteTable::new(&Http {
        servername: None,
        root: None,
        root_index: false,
        rest: false,
        routes: vec![route],
        upstream: UpstreamTuning::default(),
        turn_credentials: None,
        trusted_proxies: Vec::new(),
        optimal: Optimal::Always,
        geoip_db: None,
    })
}

/// The `Location` of a server that was asked for `target` because the client asked for `asked`.
fn mapped(
    rules: &[(&str, Option<&str>)],
    path: &str,
    (asked, target): (&str, &str),
    location: &str,
) -> String {
    let (a, b) = (server("10.0.0.1", 8080, path), server("media-b", 80, path));
    let rules = rules.iter().copied().map(rule).collect();
    let table = table(a.clone(), rules);
    let Choice::Routed(chosen) = table.choose(&Asked { path: asked, ..Asked::default() }) else { panic!() };
    let answered = Answered {
        table: &table,
        chosen,
        server: &a,
        servers: &[a.clone(), b],
        target,
        origin: "https://edge.example",
    };
    match map(&answered, location) {
        Some(it) if it.header == it.target => it.header,
        Some(it) => {
            assert_eq!(it.header, format!("https://edge.example{}", it.target));
            it.header
        }
        None => "-".to_owned(),
    }
}

#[test]
fn a_location_of_the_backend_becomes_one_of_the_edge() {
    let asked = ("/whip/live", "/whip/live");
    for (location, expected) in [
        ("/whip/s/1", "/whip/s/1"),
        ("s/1", "/whip/s/1"),
        ("./s/1?x=/../y", "/whip/s/1?x=/../y"),
        ("../whip/s/1#f", "/whip/s/1"),
        ("?session=1", "/whip/live?session=1"),
        ("http://10.0.0.1:8080/whip/s/1", "https://edge.example/whip/s/1"),
        ("//10.0.0.1:8080/whip/s/1", "https://edge.example/whip/s/1"),
        ("HTTP://MEDIA-B/whip/s/1", "https://edge.example/whip/s/1"),
        ("https://edge.example/whip/s/1", "https://edge.example/whip/s/1"),
        ("http://edge.example/whip/s/1", "https://edge.example/whip/s/1"),
        ("http://media-b:81/whip/s/1", "-"),
        ("https://elsewhere.example/whip/s/1", "-"),
        ("ftp://10.0.0.1:8080/whip", "-"),
        ("http://10.0.0.1:8080", "https://edge.example/"),
        ("/a b", "-"),
        ("", "-"),
    ] {
        assert_eq!(mapped(&[("/whip", None)], "", asked, location), expected, "{location}");
    }
}

#[test]
fn a_rewrite_is_undone() {
    let asked = ("/edge/whip/live", "/api/v1/live");
    for (rules, path, location, expected) in [
        (&[("/edge/whip", Some("/api/v1"))][..], "", "/api/v1/s/1", "/edge/whip/s/1"),
        (&[("/edge/whip", Some("/api/v1"))], "", "s/1", "/edge/whip/s/1"),
        (
            &[("/edge/whip", Some("/api/v1"))],
            "",
            "http://10.0.0.1:8080/api/v1/s",
            "https://edge.example/edge/whip/s",
        ),
        (&[("/edge/whip", Some("/api/v1"))], "", "/other", "/other"),
        (&[("/edge/whip", Some("/api")), ("/s", Some("/session"))], "", "/session/1", "/s/1"),
        (&[("/edge/whip", Some("/v1"))], "/api", "/api/v1/s", "/edge/whip/s"),
        (&[("/edge", Some("/"))], "", "/s/1", "/edges/1"),
    ] {
        assert_eq!(mapped(rules, path, asked, location), expected, "{rules:?} {location}");
    }
}
