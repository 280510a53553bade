//! Upstream groups: a dead server leaves the rotation and returns, by what requests meet there and by checks.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use proxy_support::*;
use tokio::net::{TcpListener, TcpSocket};
use xrtc::config::{HealthCheck, Scheme, UpstreamGroup};

#[tokio::test]
async fn a_request_that_cannot_connect_goes_to_the_next_server_whatever_its_method() {
    for (method, body) in [("GET", ""), ("DELETE", ""), ("PUT", "{}"), ("POST", "{}")] {
        let (group, upstreams) = with_dead_first(2).await;
        let edge = Edge::with_groups(http(vec![janus("/d")]), &[group]).await;
        for expected in ["1", "2", "1", "2"] {
            assert_eq!(ask(edge.addr, method, "/d", body).await, (200, expected.to_owned()), "{method}");
        }
        edge.stop().await;
        drop(upstreams);
    }
}

#[tokio::test]
async fn an_upgrade_that_cannot_connect_goes_to_the_next_server() {
    let alive = greeting_socket("alive".to_owned()).await;
    let servers = vec![server(Scheme::Ws, dead_for_good()), server(Scheme::Ws, alive.addr)];
    let edge = Edge::with_groups(http(vec![in_group("/")]), &[group(servers, None)]).await;
    for _ in 0..3 {
        let stream = tokio::net::TcpStream::connect(edge.addr).await.unwrap();
        let url = format!("ws://{}/", edge.addr);
        let (_, response) = in_time(tokio_tungstenite::client_async(url, stream)).await.unwrap();
        assert_eq!(response.status(), 101);
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_streamed_body_is_sent_once_and_a_broken_answer_is_final() {
    let (group_with_dead, _alive) = with_dead_first(1).await;
    let edge = Edge::with_groups(http(vec![in_group("/")]), &[group_with_dead]).await;
    let streamed = request("PUT", "/", chunked(vec!["a", "b"]));
    assert_eq!(Client::connect(edge.addr).await.send(streamed).await.unwrap().status(), 502);
    edge.stop().await;

    let broken = Upstream::raw(|mut stream, _| async move { read_head(&mut stream).await }).await;
    let well = Upstream::start(|_, _| async { Response::new(Full::<Bytes>::from("well")) }).await;
    let servers = vec![server(Scheme::Http, broken.addr), server(Scheme::Http, well.addr)];
    let edge = Edge::with_groups(http(vec![in_group("/")]), &[group(servers, None)]).await;
    for expected in [502, 200, 502, 200] {
        assert_eq!(ask(edge.addr, "GET", "/", "").await.0, expected, "it connects, so it keeps its turns");
    }
    edge.stop().await;
}

#[tokio::test]
async fn with_every_server_dead_each_request_says_why_and_the_first_one_back_serves() {
    let (first, second) = (dead().await, dead().await);
    let servers = vec![server(Scheme::Http, first), server(Scheme::Http, second)];
    let edge = Edge::with_groups(http(vec![in_group("/")]), &[group(servers, None)]).await;
    for _ in 0..4 {
        let (status, body) = ask(edge.addr, "GET", "/", "").await;
        assert_eq!(status, 502);
        assert!(body.contains("connection refused"), "{body}");
    }
    let _back = named(second, "back").await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(ask(edge.addr, "GET", "/", "").await.0);
    }
    assert!(answers.contains(&200), "{answers:?}");
    edge.stop().await;
}

#[tokio::test]
async fn a_server_that_requests_found_dead_returns_by_itself() {
    let addr = dead().await;
    let alive = Upstream::start(|_, _| async { Response::new(Full::<Bytes>::from("alive")) }).await;
    let servers = vec![server(Scheme::Http, addr), server(Scheme::Http, alive.addr)];
    let edge = Edge::with_groups(http(vec![in_group("/")]), &[group(servers, None)]).await;
    for _ in 0..4 {
        assert_eq!(ask(edge.addr, "GET", "/", "").await.1, "alive");
    }
    let _back = named(addr, "back").await;
    wait_until(async || ask(edge.addr, "GET", "/", "").await.1 == "back").await;
    edge.stop().await;
}

#[tokio::test]
async fn a_check_takes_a_dead_server_out_before_a_request_meets_it_and_brings_it_back() {
    let addr = dead().await;
    let up = named(addr, "first").await;
    let second = Upstream::start(|_, _| async { Response::new(Full::<Bytes>::from("second")) }).await;
    let servers = vec![server(Scheme::Http, addr), server(Scheme::Http, second.addr)];
    let edge = checked(servers, None).await;
    for expected in ["first", "second", "first"] {
        assert_eq!(streamed(&edge).await, (200, expected.to_owned()));
    }
    drop(up);
    // A streamed body cannot be sent twice: only the check can keep it away from the dead server.
    tokio::time::sleep(Duration::from_millis(400)).await;
    for _ in 0..4 {
        assert_eq!(streamed(&edge).await, (200, "second".to_owned()));
    }
    let _up = named(addr, "first").await;
    wait_until(async || streamed(&edge).await.1 == "first").await;
    edge.stop().await;
}

#[tokio::test]
async fn a_check_with_a_path_wants_a_success_and_leaves_ws_servers_to_their_port() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let moody = Upstream::start(move |request: hyper::Request<_>, _| {
        let fails = request.uri() == "/janus/info?x" && !is_well.load(Ordering::Relaxed);
        async move {
            let mut response = Response::new(Full::<Bytes>::from("moody"));
            *response.status_mut() = if fails { 503 } else { 200 }.try_into().unwrap();
            response
        }
    })
    .await;
    let steady = Upstream::start(|_, _| async { Response::new(Full::<Bytes>::from("steady")) }).await;
    let socket = greeting_socket("hello".to_owned()).await;
    let servers = vec![
        server(Scheme::Http, moody.addr),
        server(Scheme::Http, steady.addr),
        server(Scheme::Ws, socket.addr),
    ];
    let edge = checked(servers, Some("/janus/info?x")).await;
    wait_until(async || ask(edge.addr, "GET", "/", "").await.1 == "steady").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for _ in 0..4 {
        assert_eq!(ask(edge.addr, "GET", "/", "").await.1, "steady");
    }
    let stream = tokio::net::TcpStream::connect(edge.addr).await.unwrap();
    let upgraded = tokio_tungstenite::client_async(format!("ws://{}/", edge.addr), stream);
    assert!(in_time(upgraded).await.is_ok());
    well.store(true, Ordering::Relaxed);
    wait_until(async || ask(edge.addr, "GET", "/", "").await.1 == "moody").await;
    edge.stop().await;
}

/// A route of the test dialect, which reads POST and PUT whole.
fn janus(prefix: &str) -> xrtc::config::Route {
    xrtc::config::Route { dialect: Some(xrtc::config::DialectKind::Ums), ..in_group(prefix) }
}

/// An edge that checks its servers every 50 ms.
async fn checked(servers: Vec<xrtc::config::ServerUrl>, path: Option<&str>) -> Edge {
    let check = HealthCheck {
        path: path.map(str::to_owned),
        interval: Duration::from_millis(50),
        timeout: Duration::from_secs(2),
        fall: 2,
        rise: 2,
    };
    let edge = Edge::with_groups(http(vec![in_group("/")]), &[group(servers, Some(check))]).await;
    let (service, phase) = (edge.service.clone(), edge.phase.subscribe());
    tokio::spawn(async move { service.sweep(phase).await });
    edge
}

async fn streamed(edge: &Edge) -> (u16, String) {
    let asked = request("POST", "/", chunked(vec!["a", "b"]));
    let response = Client::connect(edge.addr).await.send(asked).await.unwrap();
    (response.status().as_u16(), text(response).await)
}

async fn wait_until(holds: impl AsyncFn() -> bool) {
    in_time(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

fn group(servers: Vec<xrtc::config::ServerUrl>, health: Option<HealthCheck>) -> UpstreamGroup {
    UpstreamGroup { name: Arc::from("pool"), mode: xrtc::config::Balance::RoundRobin, servers, health }
}

/// Servers that say their number from 1 on, behind one that is not there.
async fn with_dead_first(count: usize) -> (UpstreamGroup, Vec<Upstream>) {
    let (mut group, upstreams) =
        servers_of(count, |number, _| Response::new(Full::from((number + 1).to_string()))).await;
    group.servers.insert(0, server(Scheme::Http, dead_for_good()));
    (group, upstreams)
}

/// An address that refuses connections, and on which somebody may listen later.
async fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// An address that refuses connections for as long as the test runs: it stays bound, so that the kernel gives it to nobody else.
fn dead_for_good() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = socket.local_addr().unwrap();
    std::mem::forget(socket);
    addr
}

async fn named(addr: SocketAddr, name: &'static str) -> Upstream {
    let listener = in_time(async {
        loop {
            match TcpListener::bind(addr).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await;
    Upstream::on(listener, move |_, _| async move { Response::new(Full::<Bytes>::from(name)) })
}
