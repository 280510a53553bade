//! WHIP through the real proxy: `Location`, CORS, statuses of the edge, and the server that has a session.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use proxy_support::*;
use xrtc::config::{Balance, DialectKind, PathRule, Route, RouteUpstream, Scheme, UpstreamGroup};
use xrtc::http::HttpService;
use xrtc::session::registration::{Command, SessionSink};

const OFFER: &str = include_str!("vectors/whip/offer.sdp");
const ANSWER: &str = include_str!("vectors/whip/answer.sdp");
const TRICKLE: &str = include_str!("vectors/whip/trickle.sdpfrag");
const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");

struct Sink(Record);

impl SessionSink for Sink {
    fn send(&self, command: Command) {
        self.0.push(match command {
            Command::Register(_) => "register",
            Command::AddCandidates(..) => "add",
            Command::End(..) => "end",
        });
    }
}

/// A WHIP server below `/api` that says what it was asked for in `x-asked`, and its number in its session URLs.
async fn whip_server(number: usize, location: &'static str) -> Upstream {
    Upstream::start(move |request: Request<hyper::body::Incoming>, _| async move {
        let asked = format!("{number} {} {}", request.method(), request.uri());
        let is_post = request.method() == "POST" && request.uri().path() == "/api/live";
        let body = request.into_body().collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("candidate:"), "the backend sees a candidate");
        let response = Response::builder().header("x-asked", asked);
        let response = match is_post {
            true => response
                .status(201)
                .header(SDP.0, SDP.1)
                .header("etag", "\"v1\"")
                .header("location", location),
            false => response.status(200),
        };
        response.body(Full::from(if is_post { ANSWER } else { "" })).unwrap()
    })
    .await
}

async fn edge(upstream: RouteUpstream, groups: &[UpstreamGroup]) -> Edge {
    let route = Route {
        dialect: Some(DialectKind::Whip { strict: false }),
        upstream,
        paths: vec![PathRule { prefix: "/whip".into(), replacement: Some("/api".into()) }],
        ..plain("/", "127.0.0.1:1".parse().unwrap())
    };
    let record = Record::default();
    let sink: Arc<dyn SessionSink> = Arc::new(Sink(record.clone()));
    let candidates = Arc::from([Box::from("candidate:1 1 udp 1 192.0.2.1 6001 typ host")]);
    let service = HttpService::new(&http(vec![route]), groups, &limits(), &candidates, &sink).unwrap();
    Edge::serving(Arc::new(service), record, 10).await
}

async fn ask(
    edge: &Edge,
    method: &str,
    path: &str,
    header: (&'static str, &'static str),
    body: &'static str,
) -> (u16, HeaderMap, String) {
    let mut request = request(method, path, full(body));
    request.headers_mut().insert(header.0, header.1.parse().unwrap());
    let response = Client::connect(edge.addr).await.send(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    (status, headers, text(response).await)
}

#[tokio::test]
async fn a_publisher_lives_behind_the_edge_from_post_to_delete() {
    for (location, expected) in [
        ("/api/s/1", "/whip/s/1"),
        ("s/1", "/whip/s/1"),
        ("http://edge.test/api/s/1?t=x", "http://edge.test/whip/s/1?t=x"),
        ("https://elsewhere.test/api/s/1", "https://elsewhere.test/api/s/1"),
    ] {
        let upstream = whip_server(1, location).await;
        let edge = edge(RouteUpstream::Server(server(Scheme::Http, upstream.addr)), &[]).await;
        let (status, headers, answer) = ask(&edge, "POST", "/whip/live", SDP, OFFER).await;
        assert_eq!((status, headers["location"].to_str().unwrap()), (201, expected));
        assert!(answer.contains("192.0.2.1 6001") && !answer.contains("198.51.100."), "{answer}");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["access-control-expose-headers"], "Location, ETag, Link");
        assert_eq!(headers["etag"], "\"v1\"");
        assert_eq!(headers["x-asked"], "1 POST /api/live");
        if expected.starts_with("https") {
            continue;
        }
        let session = expected.trim_start_matches("http://edge.test");
        let (status, headers, body) = ask(&edge, "PATCH", session, FRAGMENT, TRICKLE).await;
        assert_eq!((status, body.as_str(), headers.get("etag")), (204, "", None));
        assert!(!headers.contains_key("content-length"));
        let (status, headers, body) = ask(&edge, "PATCH", session, ("content-type", "text/plain"), "x").await;
        assert_eq!(status, 415);
        assert_eq!(headers["content-type"], "application/json");
        assert!(body.starts_with(r#"{"status":"expected"#), "{body}");
        let (status, _, _) = ask(&edge, "DELETE", session, ("if-match", "\"old\""), "").await;
        assert_eq!((status, edge.record.entries()), (200, vec!["register".to_owned(), "end".to_owned()]));
        edge.stop().await;
    }
}

#[tokio::test]
async fn preflights_and_bad_offers() {
    let upstream = whip_server(1, "s").await;
    let edge = edge(RouteUpstream::Server(server(Scheme::Http, upstream.addr)), &[]).await;
    let (status, headers, _) = ask(&edge, "OPTIONS", "/whip/live", ("origin", "https://page.test"), "").await;
    assert_eq!(status, 200);
    assert_eq!(headers["x-asked"], "1 OPTIONS /api/live");
    assert_eq!(headers["access-control-allow-methods"], "POST, GET, PATCH, DELETE, OPTIONS");
    let (status, _, body) = ask(&edge, "POST", "/whip/live", SDP, "garbage").await;
    assert_eq!((status, body.as_str()), (400, r#"{"status":"line 1: expected `v=0`"}"#));
    edge.stop().await;
}

#[tokio::test]
async fn a_session_stays_with_the_server_that_made_it() {
    let (first, second) = (whip_server(1, "/api/s/1").await, whip_server(2, "/api/s/2").await);
    let servers = [first.addr, second.addr].map(|addr| server(Scheme::Http, addr)).to_vec();
    let group = UpstreamGroup { name: "pool".into(), mode: Balance::RoundRobin, servers, health: None };
    let edge = edge(RouteUpstream::Group(0), &[group]).await;
    for number in ["1", "2"] {
        let (_, headers, _) = ask(&edge, "POST", "/whip/live", SDP, OFFER).await;
        assert_eq!(headers["location"], format!("/whip/s/{number}").as_str());
    }
    for number in ["2", "2", "1", "2"] {
        let session = format!("/whip/s/{number}");
        let (_, headers, _) = ask(&edge, "GET", &session, SDP, "").await;
        assert_eq!(headers["x-asked"], format!("{number} GET /api/s/{number}").as_str());
    }
    edge.stop().await;
}
