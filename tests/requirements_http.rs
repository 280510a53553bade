//! What the edge must do where its models fail, as far as HTTP is concerned: each test bears its requirement's number.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;
#[path = "support/unreachable.rs"]
mod unreachable;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::Response;
use proxy_support::tls::{Authority, say_what_was_asked, upstream};
use proxy_support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use xrtc::config::{DialectKind, Http, PathRule, Route, RouteUpstream, Scheme, ServerUrl};
use xrtc::dialect::{ConnectionId, Context, Dialect, Message, Settings, Verdict};
use xrtc::http::{HttpService, Registrar};
use xrtc::session::registration::{EndReason, Mode, SessionId, SessionSink};

const SECRET: &str = r#"{"janus":"replace-response","x":"secret"}"#;
const HIDDEN: &str = r#"{"janus":"replace-response","x":"hidden-from-client"}"#;

#[tokio::test]
async fn requirement_02_rewrites_answers_in_chunks_and_without_length() {
    let chunked = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                   1\r\n{\r\n28\r\n\"janus\":\"replace-response\",\"x\":\"secret\"}\r\n0\r\n\r\n";
    let until_close = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n\
                       {\"janus\":\"replace-response\",\"x\":\"secret\"}";
    for answer in [chunked, until_close] {
        let upstream = raw_answer(answer).await;
        let edge = Edge::start(http(vec![read("/", upstream.addr)])).await;
        assert_eq!(ask(edge.addr, "GET", "/", "").await, (200, HIDDEN.to_owned()), "{answer}");
        edge.stop().await;
    }
}

#[tokio::test]
async fn requirement_03_decompresses_a_response_by_its_own_coding() {
    // The request is coded and the response is not, then the other way round.
    for (request_coded, response_coded) in [(true, false), (false, true)] {
        let upstream = Upstream::start(move |_, _| async move {
            let mut response = json(if response_coded { gzip(SECRET.as_bytes()) } else { SECRET.into() });
            if response_coded {
                response.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
            }
            response
        })
        .await;
        let edge = Edge::start(http(vec![read("/d", upstream.addr)])).await;
        let body = r#"{"janus":"pass"}"#.as_bytes();
        let answer = match request_coded {
            true => post_coded(&edge, "gzip", gzip(body)).await,
            false => post_coded(&edge, "identity", body.to_vec()).await,
        };
        assert_eq!(answer, (200, HIDDEN.to_owned()));
        edge.stop().await;
    }
}

#[tokio::test]
async fn requirement_04_reads_chunked_and_put_requests_like_post() {
    let upstream = Upstream::start(echo).await;
    let edge = Edge::start(http(vec![read("/", upstream.addr)])).await;
    for method in ["POST", "PUT"] {
        let parts = vec![r#"{"janus":"rep"#, r#"lace","x":"secret"}"#];
        let asked = request(method, "/", chunked(parts));
        let response = Client::connect(edge.addr).await.send(asked).await.unwrap();
        let said = text(response).await;
        assert!(said.ends_with(r#"{"janus":"replace","x":"hidden-from-backend"}"#), "{said}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn requirement_09_keeps_icetcp_icedirect_and_the_kind_of_request_on_a_sticky_hit() {
    let (mut group, _http) = named_group(2).await;
    let mut sockets = Vec::new();
    for number in 0..2 {
        let upstream = greeting_socket(format!("ws {number}")).await;
        group.servers.push(server(Scheme::Ws, upstream.addr));
        sockets.push(upstream);
    }
    let route = |prefix: &str, ice_tcp, ice_direct| Route {
        ice_tcp,
        ice_direct,
        dialect: Some(DialectKind::Janus),
        ..in_group(prefix)
    };
    let edge = naming_edge(vec![route("/a", true, true), route("/b", false, false)], group).await;
    for (prefix, settings) in [("/a", "tcp Transparent"), ("/b", "udp HalfProxy")] {
        let first = Client::connect(edge.addr).await.send(request("GET", prefix, full(""))).await.unwrap();
        let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let home = text(first).await;
        // Nothing matches this path: the sticky session decides, with all that belongs to its route.
        let mut again = request("POST", "/elsewhere", full("{}"));
        again.headers_mut().insert("cookie", cookie.parse().unwrap());
        let response = Client::connect(edge.addr).await.send(again).await.unwrap();
        assert_eq!(text(response).await, home);
        assert_eq!(edge.record.entries().last().unwrap(), settings);

        let upgrade = |path| {
            let cookie = cookie.clone();
            let addr = edge.addr;
            async move { first_message(addr, path, &cookie).await }
        };
        assert_eq!(upgrade("/elsewhere").await, format!("ws {home}"), "an upgrade goes to a ws server");
        assert_eq!(upgrade(prefix).await, format!("ws {home}"));
    }
    edge.stop().await;
}

#[tokio::test]
async fn requirement_10_chooses_the_longest_prefix_and_the_first_of_equals() {
    let mut names = Vec::new();
    for name in ["short", "long", "twin", "root"] {
        names
            .push(Upstream::start(move |_, _| async move { Response::new(Full::<Bytes>::from(name)) }).await);
    }
    let routes = ["/j", "/janus/v1", "/janus/v1", "/"].iter().zip(&names);
    let edge = Edge::start(http(routes.map(|(prefix, name)| plain(prefix, name.addr)).collect())).await;
    for _ in 0..20 {
        for (path, expected) in
            [("/janus/v1/5", "long"), ("/janus/v12", "long"), ("/janus", "short"), ("/x", "root")]
        {
            assert_eq!(ask(edge.addr, "GET", path, "").await.1, expected, "{path}");
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn requirement_11_starts_round_robin_at_the_first_server_and_is_502_without_a_fitting_one() {
    let (group, _upstreams) = named_group(3).await;
    let edge = Edge::with_groups(http(vec![in_group("/")]), &[group]).await;
    for expected in ["0", "1", "2", "0"] {
        assert_eq!(ask(edge.addr, "GET", "/", "").await.1, expected);
    }
    let upgrade = upgrade(edge.addr, "/").await;
    assert!(upgrade.starts_with("HTTP/1.1 502 "), "{upgrade}");
    assert!(upgrade.contains("upstream group pool has no server for WebSockets"), "{upgrade}");
    edge.stop().await;
}

#[tokio::test]
async fn requirement_12_applies_the_path_rewrite() {
    let upstream = Upstream::start(echo).await;
    let mut route = plain("/", upstream.addr);
    route.paths = vec![PathRule { prefix: "/try".to_owned(), replacement: Some("/janus".to_owned()) }];
    let edge = Edge::start(http(vec![route])).await;
    for (asked, expected) in [
        ("/try", "GET /janus -/- "),
        ("/try/5/7?maxev=3", "GET /janus/5/7?maxev=3 -/- "),
        ("/try/try", "GET /janus/try -/- "),
        ("/try%2f", "GET /janus%2f -/- "),
    ] {
        assert_eq!(ask(edge.addr, "GET", asked, "").await.1, expected);
    }
    edge.stop().await;
}

#[tokio::test]
async fn requirement_13_passes_large_messages_and_slow_and_large_handshakes_and_flushes_at_an_error() {
    let upstream = Upstream::raw(|mut stream, _| async move {
        let head = read_whole_head(&mut stream).await;
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap().to_owned();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {accept}\r\nX-Filler: {}\r\n\r\n",
            "x".repeat(5000)
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let role = tokio_tungstenite::tungstenite::protocol::Role::Server;
        let mut socket = tokio_tungstenite::WebSocketStream::from_raw_socket(stream, role, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && message.len() == 3 {
                // The last words of a server that dies: no close frame.
                socket.send(WsMessage::text("last words")).await.unwrap();
                return;
            }
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    })
    .await;
    let edge = Edge::start(http(vec![read("/read", upstream.addr), plain("/plain", upstream.addr)])).await;
    for path in ["/read", "/plain"] {
        let stream = TcpStream::connect(edge.addr).await.unwrap();
        let url = format!("ws://{}{path}", edge.addr);
        let (mut socket, response) = in_time(tokio_tungstenite::client_async(url, stream)).await.unwrap();
        assert_eq!(response.headers()["x-filler"].len(), 5000);
        for size in [256 << 10, (256 << 10) + 1, 1_000_000] {
            let message = "y".repeat(size);
            socket.send(WsMessage::text(message.clone())).await.unwrap();
            let back = in_time(socket.next()).await.unwrap().unwrap().into_text().unwrap();
            assert!(back.as_str() == message, "{size} bytes on {path}");
        }
        socket.send(WsMessage::text("die")).await.unwrap();
        let last = in_time(socket.next()).await.unwrap().unwrap();
        assert_eq!(last.into_text().unwrap(), "last words");
    }
    edge.stop().await;
}

#[tokio::test]
async fn requirement_16_lets_a_slow_upstream_and_idle_connections_delay_nobody_else() {
    let (full_queue, _held) = unreachable::listener().await;
    let well = Upstream::start(echo).await;
    let edge = Edge::start(http(vec![plain("/slow", full_queue), plain("/", well.addr)])).await;
    let slow: Vec<_> = (0..50).map(|_| tokio::spawn(ask(edge.addr, "GET", "/slow", ""))).collect();
    let mut idle = Vec::new();
    // The cap of this edge is 1000; it counts the 50 above.
    for _ in 0..900 {
        idle.push(TcpStream::connect(edge.addr).await.unwrap());
    }
    let started = Instant::now();
    for _ in 0..50 {
        assert_eq!(ask(edge.addr, "GET", "/x", "").await.0, 200);
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(slow.iter().all(|slow| !slow.is_finished()), "still dialling");
    for slow in slow {
        slow.abort();
    }
    drop(idle);
    edge.stop().await;
}

#[tokio::test]
async fn requirement_20_works_without_geoip_says_valid_json_and_honours_root_and_servername() {
    let root = scratch("requirement_20");
    std::fs::write(root.join("page.html"), "the page").unwrap();
    let config = Http { root: Some(root), servername: Some("edge.test".to_owned()), ..http(Vec::new()) };
    let record = Record::default();
    let sink: Arc<dyn SessionSink> = Arc::new(record.clone());
    let candidates = Arc::from([Box::from("candidate:1 1 udp 2013266431 192.0.2.1 6001 typ host")]);
    let registrar = Arc::new(Registrar::new(&limits(), &candidates, &sink));
    let service = HttpService::new(&config, &[], &limits(), &candidates, &sink).unwrap();
    let service = service.with_rest(&config, &registrar).unwrap();
    let edge = Edge::serving(Arc::new(service), record, 100).await;
    for (method, path, status) in [("GET", "/webrtc/version", 200), ("GET", "/webrtc/request", 405)] {
        let (said, body) = ask(edge.addr, method, path, "").await;
        assert_eq!(said, status);
        assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{path}: {body}");
    }
    assert_eq!(ask(edge.addr, "GET", "/page.html", "").await, (200, "the page".to_owned()));
    let mut elsewhere = request("GET", "/page.html", full(""));
    elsewhere.headers_mut().insert("host", "other.test".parse().unwrap());
    assert_eq!(Client::connect(edge.addr).await.send(elsewhere).await.unwrap().status(), 421);
    edge.stop().await;
}

#[tokio::test]
async fn requirement_21_answers_421_and_no_file_to_another_servername() {
    let root = scratch("requirement_21");
    std::fs::write(root.join("index.html"), "not for you").unwrap();
    let upstream = Upstream::start(echo).await;
    let servername = Some("edge.test".to_owned());
    let config = Http { root: Some(root), servername, ..http(vec![plain("/p", upstream.addr)]) };
    let edge = Edge::start(config).await;
    for (host, path, status) in [
        ("edge.test", "/", 200),
        ("Edge.Test:8443", "/p", 200),
        ("other.test", "/", 421),
        ("other.test", "/p", 421),
        ("edge.test.evil", "/", 421),
    ] {
        let mut asked = request("GET", path, full(""));
        asked.headers_mut().insert("host", host.parse().unwrap());
        let response = Client::connect(edge.addr).await.send(asked).await.unwrap();
        assert_eq!(response.status(), status, "{host} {path}");
        assert_eq!(text(response).await.contains("not for you"), status == 200 && path == "/");
    }
    edge.stop().await;
}

#[tokio::test]
async fn requirement_22_verifies_upstream_tls() {
    let (authority, stranger) = (Authority::new(), Authority::named("a stranger"));
    let ca = authority.file("requirement_22");
    for (acceptor, status) in
        [(authority.acceptor("localhost", 2100), 200), (stranger.acceptor("localhost", 2100), 502)]
    {
        let upstream = upstream(acceptor, say_what_was_asked).await;
        let url = ServerUrl { host: "localhost".to_owned(), ..server(Scheme::Https, upstream.addr) };
        let route = Route { upstream: RouteUpstream::Server(url), ..plain("/", upstream.addr) };
        let mut config = http(vec![route]);
        config.upstream.ca_file = Some(ca.clone());
        let edge = Edge::start(config).await;
        assert_eq!(ask(edge.addr, "GET", "/", "").await.0, status);
        let upgrade = upgrade(edge.addr, "/").await;
        assert_eq!(upgrade.starts_with("HTTP/1.1 502 "), status == 502, "{upgrade}");
        edge.stop().await;
    }
}

/// An edge whose dialect says what it was built with, and its record.
async fn naming_edge(routes: Vec<Route>, group: xrtc::config::UpstreamGroup) -> Edge {
    let record = Record::default();
    let sink: Arc<dyn SessionSink> = Arc::new(record.clone());
    let for_dialects = record.clone();
    let dialects = move |_: &DialectKind, settings: Settings| -> Option<Box<dyn Dialect>> {
        Some(Box::new(Naming(settings, for_dialects.clone())))
    };
    let none = Arc::from(Vec::new());
    let service = HttpService::with_dialects(&http(routes), &[group], &limits(), &none, &sink, &dialects);
    Edge::serving(Arc::new(service.unwrap()), record, 100).await
}

struct Naming(Settings, Record);

impl Dialect for Naming {
    fn reads_request(&self, method: &str, _path: &str) -> bool {
        method == "POST"
    }

    fn reads_response(&self, _: &str, _: &str, _: u16, _: Option<&str>) -> bool {
        false
    }

    fn handle(&mut self, _: &mut Context<'_>, _: Message<'_>) -> Verdict {
        let transport = if self.0.prefer_tcp { "tcp" } else { "udp" };
        let mode = if self.0.mode == Mode::Transparent { "Transparent" } else { "HalfProxy" };
        self.1.push(format!("{transport} {mode}"));
        Verdict::Pass
    }

    fn renew(&mut self, _: Settings) {}

    fn closed(&mut self, _: &mut Context<'_>, _: ConnectionId) {}
    fn ended(&mut self, _: SessionId, _: EndReason) {}
    fn sweep(&mut self, _: &mut Context<'_>) {}
}

async fn first_message(addr: std::net::SocketAddr, path: &str, cookie: &str) -> String {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("ws://{addr}{path}").into_client_request().unwrap();
    request.headers_mut().insert("cookie", cookie.parse().unwrap());
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut socket, _) = in_time(tokio_tungstenite::client_async(request, stream)).await.unwrap();
    in_time(socket.next()).await.unwrap().unwrap().into_text().unwrap().to_string()
}

/// What an upgrade is answered, read as far as its first body byte comes.
async fn upgrade(addr: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let asked = format!(
        "GET {path} HTTP/1.1\r\nHost: edge.test\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    in_time(stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// The head of a request, in lower case but for values.
async fn read_whole_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}
