//! The reverse proxy over real loopback sockets: what it passes, what it changes, and how it fails.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use proxy_support::*;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use xrtc::config::{Balance, Http, IpNet, PathRule, RouteUpstream, Scheme, UpstreamGroup};
use xrtc::http::Phase;
use xrtc::session::registration::{EndReason, SessionId};

#[tokio::test]
async fn bodies_pass_with_a_length_and_in_chunks_by_post_and_put() {
    let upstream = Upstream::start(echo).await;
    let edge = Edge::start(http(vec![plain("/p", upstream.addr), read("/d", upstream.addr)])).await;
    for (method, path) in [("POST", "/p"), ("PUT", "/p"), ("POST", "/d"), ("PUT", "/d"), ("PATCH", "/d")] {
        let with_length = ask(edge.addr, method, path, "12345").await;
        assert_eq!(with_length, (200, format!("{method} {path} 5/- 12345")));

        let mut client = Client::connect(edge.addr).await;
        let response = client.send(request(method, path, chunked(vec!["123", "45"]))).await.unwrap();
        // A body that the dialect reads is known whole and goes on with its length.
        let framing = if path == "/d" && method != "PATCH" { "5/-" } else { "-/chunked" };
        assert_eq!(text(response).await, format!("{method} {path} {framing} 12345"));
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_upstream_that_answers_in_chunks_is_read_and_rewritten() {
    let chunks = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                  c\r\n[{\"janus\":\"r\r\n21\r\neplace-response\"},{\"x\":\"secret\"}]\r\n0\r\n\r\n";
    let upstream = raw_answer(chunks).await;
    let edge = Edge::start(http(vec![plain("/p", upstream.addr), read("/d", upstream.addr)])).await;
    let body = r#"[{"janus":"replace-response"},{"x":"secret"}]"#;
    assert_eq!(ask(edge.addr, "GET", "/p", "").await, (200, body.to_owned()));

    let mut client = Client::connect(edge.addr).await;
    let response = client.send(request("GET", "/d?maxev=10", full(""))).await.unwrap();
    let rewritten = body.replace("secret", "hidden-from-client");
    assert_eq!(response.headers()["content-length"], rewritten.len().to_string());
    assert_eq!(text(response).await, rewritten);
    assert_eq!(edge.record.entries(), [format!("Backend GET /d: {}", &body[..40])]);
    edge.stop().await;
}

#[tokio::test]
async fn connections_are_kept_on_both_sides() {
    let numbered = |_, number: usize| async move { Response::new(Full::from(number.to_string())) };
    let upstream = Upstream::start(numbered).await;
    let edge = Edge::start(http(vec![plain("/", upstream.addr), read("/d", upstream.addr)])).await;
    let mut client = Client::connect(edge.addr).await;
    for path in ["/", "/d", "/x", "/d"] {
        assert_eq!(client.ask("POST", path, "x").await, (200, "1".to_owned()));
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_long_poll_holds_up_nobody() {
    let release = Arc::new(Notify::new());
    let held = release.clone();
    let upstream = Upstream::start(move |request: Request<_>, _| {
        let held = held.clone();
        async move {
            if request.uri().path().ends_with("/poll") {
                held.notified().await;
            }
            json("{}")
        }
    })
    .await;
    let edge = Edge::start(http(vec![read("/janus", upstream.addr)])).await;
    let poll = tokio::spawn(ask(edge.addr, "GET", "/janus/poll", ""));
    let started = Instant::now();
    let others: Vec<_> = (0..50).map(|_| tokio::spawn(ask(edge.addr, "POST", "/janus/5", "{}"))).collect();
    for other in others {
        assert_eq!(in_time(other).await.unwrap().0, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(!poll.is_finished());
    tokio::time::sleep(Duration::from_secs(2).saturating_sub(started.elapsed())).await;
    release.notify_one();
    assert_eq!(in_time(poll).await.unwrap(), (200, "{}".to_owned()));
    edge.stop().await;
}

#[tokio::test]
async fn fifty_megabytes_stream_through_a_plain_route_in_flat_memory() {
    const PART: usize = 64 << 10;
    const PARTS: usize = 800;
    static AHEAD: AtomicUsize = AtomicUsize::new(0);
    static MOST_AHEAD: AtomicUsize = AtomicUsize::new(0);
    let upstream = Upstream::start(|request: Request<hyper::body::Incoming>, _| async move {
        let mut body = request.into_body();
        let mut total = 0;
        while let Some(frame) = body.frame().await {
            let size = frame.unwrap().data_ref().map_or(0, Bytes::len);
            AHEAD.fetch_sub(size, Ordering::Relaxed);
            total += size;
            // Slower than the sender, so that buffers would fill.
            tokio::task::yield_now().await;
        }
        Response::new(Full::from(total.to_string()))
    })
    .await;
    let edge = Edge::start(http(vec![plain("/", upstream.addr)])).await;
    let parts = futures_util::stream::iter((0..PARTS).map(|_| {
        let ahead = AHEAD.fetch_add(PART, Ordering::Relaxed) + PART;
        MOST_AHEAD.fetch_max(ahead, Ordering::Relaxed);
        Ok(Frame::data(Bytes::from_static(&[7; PART])))
    }));
    let mut client = Client::connect(edge.addr).await;
    let response = client.send(request("POST", "/big", StreamBody::new(parts).boxed())).await.unwrap();
    assert_eq!(text(response).await, (PART * PARTS).to_string());
    // What is on its way lies in the sockets' buffers and in two of the edge's.
    let most = MOST_AHEAD.load(Ordering::Relaxed);
    assert!(most < 20 << 20, "{most} bytes were on their way at once");
    edge.stop().await;
}

#[tokio::test]
async fn a_large_response_streams_too() {
    let body = vec![3; 20 << 20];
    let upstream = Upstream::start(move |_, _| {
        let body = body.clone();
        async move { Response::new(Full::from(body)) }
    })
    .await;
    let edge = Edge::start(http(vec![read("/", upstream.addr)])).await;
    let response = Client::connect(edge.addr).await.send(request("GET", "/file", full(""))).await.unwrap();
    assert_eq!(in_time(response.into_body().collect()).await.unwrap().to_bytes().len(), 20 << 20);
    edge.stop().await;
}

#[tokio::test]
async fn the_upstream_learns_who_asked_and_keeps_the_host() {
    let upstream = Upstream::start(|request: Request<_>, _| async move {
        let headers = request.headers();
        let names = ["host", "x-forwarded-for", "x-real-ip", "x-forwarded-proto", "x-forwarded-host", "te"];
        let shown =
            names.map(|name| headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned());
        assert_eq!(headers["x-request-id"].len(), 36);
        Response::new(Full::from(shown.join("|")))
    })
    .await;
    for (trusted, expected) in [
        (Vec::new(), "edge.test|127.0.0.1|127.0.0.1|http|edge.test|-"),
        (vec!["127.0.0.0"], "edge.test|203.0.113.5, 127.0.0.1|203.0.113.5|https|edge.test|-"),
    ] {
        let trusted_proxies =
            trusted.iter().map(|net| IpNet { addr: net.parse().unwrap(), prefix: 8 }).collect();
        let edge = Edge::start(Http { trusted_proxies, ..http(vec![plain("/", upstream.addr)]) }).await;
        let mut asked = request("GET", "/", full(""));
        for (name, value) in [
            ("x-forwarded-for", "203.0.113.5"),
            ("x-forwarded-proto", "https"),
            ("te", "trailers"),
            ("connection", "te"),
        ] {
            asked.headers_mut().insert(name, value.parse().unwrap());
        }
        let response = Client::connect(edge.addr).await.send(asked).await.unwrap();
        assert_eq!(text(response).await, expected);
        edge.stop().await;
    }
}

#[tokio::test]
async fn routes_are_chosen_and_paths_rewritten() {
    let upstream = Upstream::start(|request: Request<_>, _| async move {
        Response::new(Full::from(request.uri().to_string()))
    })
    .await;
    let mut rewriting = plain("/janus", upstream.addr);
    rewriting.paths =
        vec![PathRule { prefix: "/janus/v2".to_owned(), replacement: Some("/janus".to_owned()) }];
    let mut host = plain("/never", upstream.addr);
    host.hosts = vec!["media.example.org".to_owned()];
    let config = Http { servername: None, ..http(vec![plain("/janus", upstream.addr), rewriting, host]) };
    let edge = Edge::start(config).await;
    for (asked, expected) in [
        ("/janus/5/7?maxev=3&rid=1", (200, "/janus/5/7?maxev=3&rid=1")),
        ("/janus/v2/5?a=%2F", (200, "/janus/5?a=%2F")),
        ("/janus2", (200, "/janus2")),
        ("/other", (404, "")),
    ] {
        let (status, body) = ask(edge.addr, "GET", asked, "").await;
        assert_eq!((status, body.as_str()), expected, "{asked}");
    }
    let mut by_host = request("GET", "/other", full(""));
    by_host.headers_mut().insert("host", "Media.Example.org:8443".parse().unwrap());
    let response = Client::connect(edge.addr).await.send(by_host).await.unwrap();
    assert_eq!(text(response).await, "/other");
    edge.stop().await;
}

#[tokio::test]
async fn another_servername_is_421_and_an_unrouted_preflight_is_200() {
    let upstream = Upstream::start(echo).await;
    let servername = Some("edge.test".to_owned());
    let edge = Edge::start(Http { servername, ..http(vec![plain("/p", upstream.addr)]) }).await;
    let mut client = Client::connect(edge.addr).await;
    let response = client.send(request("OPTIONS", "/nowhere", full(""))).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert!(response.headers().contains_key("access-control-allow-headers"));
    assert_eq!(text(response).await, "");
    assert_eq!(client.ask("OPTIONS", "/p", "").await, (200, "OPTIONS /p -/- ".to_owned()));
    let mut elsewhere = request("GET", "/p", full(""));
    elsewhere.headers_mut().insert("host", "other.test".parse().unwrap());
    assert_eq!(client.send(elsewhere).await.unwrap().status(), 421);
    edge.stop().await;
}

#[tokio::test]
async fn a_group_takes_turns_and_one_without_fitting_server_is_502() {
    let name = |name: &'static str| move |_, _| async move { Response::new(Full::from(name)) };
    let (one, two) = (Upstream::start(name("one")).await, Upstream::start(name("two")).await);
    let groups = [
        UpstreamGroup {
            name: Arc::from("pool"),
            mode: Balance::RoundRobin,
            servers: vec![server(Scheme::Http, one.addr), server(Scheme::Http, two.addr)],
            health: None,
        },
        UpstreamGroup {
            name: Arc::from("sockets"),
            mode: Balance::Random,
            servers: vec![server(Scheme::Ws, one.addr)],
            health: None,
        },
    ];
    let mut routes = vec![plain("/pool", one.addr), plain("/sockets", one.addr)];
    routes[0].upstream = RouteUpstream::Group(0);
    routes[1].upstream = RouteUpstream::Group(1);
    let edge = Edge::with_groups(http(routes), &groups).await;
    for expected in ["one", "two", "one"] {
        assert_eq!(ask(edge.addr, "GET", "/pool", "").await, (200, expected.to_owned()));
    }
    let (status, body) = ask(edge.addr, "GET", "/sockets", "").await;
    assert_eq!(status, 502);
    assert_eq!(body, r#"{"status":"upstream group sockets has no server for HTTP requests"}"#);
    edge.stop().await;
}

#[tokio::test]
async fn the_dialect_answers_refuses_replaces_and_commands_before_the_message_goes_on() {
    let record = Record::default();
    let seen = record.clone();
    let upstream = Upstream::start(move |request: Request<hyper::body::Incoming>, _| {
        let seen = seen.clone();
        async move {
            assert!(!request.headers().contains_key("accept-encoding"));
            let body = request.into_body().collect().await.unwrap().to_bytes();
            seen.push(String::from_utf8_lossy(&body));
            json(r#"{"janus":"replace-response","x":"secret"}"#)
        }
    })
    .await;
    let edge = Edge::start(http(vec![read("/janus", upstream.addr)])).await;
    let mut client = Client::connect(edge.addr).await;

    let response = client.send(request("POST", "/janus/1", full(r#"{"janus":"answer"}"#))).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(text(response).await, r#"{"janus":"ack"}"#);
    let refused = client.ask("POST", "/janus/1", r#"{"janus":"refuse"}"#).await;
    assert_eq!(refused, (400, r#"{"status":"no ufrag in m-section 0"}"#.to_owned()));
    assert!(record.entries().is_empty(), "neither reaches the backend");

    let mut replaced = request("POST", "/janus/1", full(r#"{"a":"command","janus":"replace","x":"secret"}"#));
    replaced.headers_mut().insert("accept-encoding", "gzip, br".parse().unwrap());
    let response = client.send(replaced).await.unwrap();
    assert_eq!(text(response).await, r#"{"janus":"replace-response","x":"hidden-from-client"}"#);
    assert_eq!(record.entries(), [r#"{"a":"command","janus":"replace","x":"hidden-from-backend"}"#]);
    let told = edge.record.entries();
    assert_eq!(told[3], "command 7", "{told:?}");
    assert!(told[4].starts_with("Backend POST /janus/1"), "{told:?}");

    edge.service.session_ended(SessionId(7), EndReason::ClientSilent);
    assert_eq!(edge.record.entries()[5], "ended 7 client_silent");
    edge.stop().await;
}

#[tokio::test]
async fn coded_bodies_are_read_by_their_own_coding() {
    let upstream = Upstream::start(|request: Request<hyper::body::Incoming>, _| async move {
        let coding = request.headers().get("content-encoding").cloned();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let is_as_sent = coding.is_some() && body[..] == gzip(br#"{"janus":"pass"}"#);
        let text = match coding {
            Some(_) => {
                format!(r#"{{"replace-response":"{}"}}"#, if is_as_sent { "as sent" } else { "changed" })
            }
            None => format!(r#"{{"replace-response":{},"x":"secret"}}"#, String::from_utf8_lossy(&body)),
        };
        let mut response = json(gzip(text.as_bytes()));
        response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
        response
    })
    .await;
    let edge = Edge::start(http(vec![read("/d", upstream.addr)])).await;
    let (status, body) = post_coded(&edge, "gzip", gzip(br#"{"janus":"pass"}"#)).await;
    assert_eq!((status, body.as_str()), (200, r#"{"replace-response":"as sent"}"#));
    let (status, body) = post_coded(&edge, "gzip", gzip(br#"{"janus":"replace","y":"secret"}"#)).await;
    let expected =
        r#"{"replace-response":{"janus":"replace","y":"hidden-from-backend"},"x":"hidden-from-client"}"#;
    assert_eq!((status, body.as_str()), (200, expected));
    assert_eq!(post_coded(&edge, "br", b"xx".to_vec()).await.0, 400);
    assert_eq!(post_coded(&edge, "gzip", b"not gzip".to_vec()).await.0, 400);
    edge.stop().await;
}

#[tokio::test]
async fn a_stop_lets_running_requests_end_and_draining_takes_no_new_connections() {
    let release = Arc::new(Notify::new());
    let (held, asked) = (release.clone(), Arc::new(Notify::new()));
    let arrived = asked.clone();
    let upstream = Upstream::start(move |request: Request<_>, _| {
        let (held, asked) = (held.clone(), asked.clone());
        async move {
            if request.uri().path() == "/poll" {
                asked.notify_one();
                held.notified().await;
            }
            Response::new(Full::from("done"))
        }
    })
    .await;
    let edge = Edge::start(http(vec![plain("/", upstream.addr)])).await;
    let mut kept = Client::connect(edge.addr).await;
    assert_eq!(kept.ask("GET", "/", "").await.0, 200);
    let poll = tokio::spawn(ask(edge.addr, "GET", "/poll", ""));
    in_time(arrived.notified()).await;

    edge.phase.send(Phase::Draining).unwrap();
    in_time(async { while TcpStream::connect(edge.addr).await.is_ok() {} }).await;
    assert_eq!(kept.ask("GET", "/", "").await.0, 200, "open connections go on");

    let stopped = tokio::spawn(edge.stop());
    release.notify_one();
    assert_eq!(in_time(poll).await.unwrap(), (200, "done".to_owned()));
    in_time(stopped).await.unwrap();
}
