//! Upstreams behind TLS: who is believed, by which name, and what a client is told of one who is not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use proxy_support::tls::{Authority, say_what_was_asked, upstream};
use proxy_support::*;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use xrtc::config::{Http, Route, RouteUpstream, Scheme, ServerUrl};
use xrtc::http::HttpService;

#[tokio::test]
async fn a_verified_upstream_is_asked_by_its_own_name_and_told_the_clients_host() {
    let authority = Authority::new();
    let upstream = upstream(authority.acceptor("localhost", 2100), say_what_was_asked).await;
    let edge = Edge::start(trusting(route(&upstream, "localhost"), authority.file("tls_verified"))).await;
    let answer = ask(edge.addr, "POST", "/x?y=1", "body").await;
    assert_eq!(answer, (200, "POST /x?y=1 edge.test localhost".to_owned()));
    edge.stop().await;
}

#[tokio::test]
async fn a_certificate_for_an_address_is_taken_where_the_url_has_one() {
    let authority = Authority::new();
    let upstream = upstream(authority.acceptor("127.0.0.1", 2100), say_what_was_asked).await;
    let edge = Edge::start(trusting(route(&upstream, "127.0.0.1"), authority.file("tls_address"))).await;
    assert_eq!(ask(edge.addr, "GET", "/", "").await, (200, "GET / edge.test no name".to_owned()));
    edge.stop().await;
}

#[tokio::test]
async fn a_certificate_that_does_not_hold_is_a_502_that_says_why() {
    let (authority, stranger) = (Authority::new(), Authority::named("a stranger"));
    let ca = authority.file("tls_wrong");
    for (acceptor, reason) in [
        (stranger.acceptor("localhost", 2100), "UnknownIssuer"),
        (authority.acceptor("other.test", 2100), "not valid for name"),
        (authority.acceptor("localhost", 2001), "certificate expired"),
    ] {
        let upstream = upstream(acceptor, say_what_was_asked).await;
        let edge = Edge::start(trusting(route(&upstream, "localhost"), ca.clone())).await;
        let (status, body) = ask(edge.addr, "GET", "/", "").await;
        assert_eq!(status, 502, "{body}");
        assert!(body.contains("TLS") && body.contains(reason), "{reason}: {body}");
        edge.stop().await;
    }
}

#[tokio::test]
async fn without_verification_any_certificate_is_taken() {
    let upstream = upstream(Authority::new().acceptor("other.test", 2001), say_what_was_asked).await;
    let mut config = http(vec![route(&upstream, "localhost")]);
    config.upstream.tls_verify = false;
    let edge = Edge::start(config).await;
    assert_eq!(ask(edge.addr, "GET", "/", "").await.0, 200);
    edge.stop().await;
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_tls_or_never_answers_the_handshake_is_a_502() {
    let silent = Upstream::raw(|stream, _| async move {
        let _stream = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let plain_text = Upstream::raw(|mut stream, _| async move {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        read_head(&mut stream).await;
    })
    .await;
    for (upstream, reason) in [
        (plain_text, "TLS"),
        (Upstream::raw(|stream, _| async move { drop(stream) }).await, "TLS"),
        (silent, "no connection within 300ms"),
    ] {
        let mut config = http(vec![route(&upstream, "localhost")]);
        config.upstream.dial_timeout = Duration::from_millis(300);
        let edge = Edge::start(config).await;
        let (status, body) = ask(edge.addr, "GET", "/", "").await;
        assert_eq!(status, 502, "{body}");
        assert!(body.contains(reason), "{body}");
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_websocket_goes_over_tls_like_any_request() {
    let authority = Authority::new();
    let upstream = upstream(authority.acceptor("localhost", 2100), echo_socket).await;
    for route in [route(&upstream, "localhost"), read_route(&upstream)] {
        let edge = Edge::start(trusting(route, authority.file("tls_websocket"))).await;
        let request = format!("ws://{}/ws", edge.addr).into_client_request().unwrap();
        let stream = TcpStream::connect(edge.addr).await.unwrap();
        let (mut socket, _) = in_time(tokio_tungstenite::client_async(request, stream)).await.unwrap();
        let long = "x".repeat(300_000);
        socket.send(Message::text(&long)).await.unwrap();
        assert_eq!(in_time(socket.next()).await.unwrap().unwrap().into_text().unwrap(), long.as_str());
        drop(socket);
        edge.stop().await;
    }
}

#[test]
fn a_ca_file_that_holds_no_certificate_stops_the_start() {
    let directory = scratch("tls_no_ca");
    let (missing, empty) = (directory.join("missing.pem"), directory.join("empty.pem"));
    std::fs::write(&empty, "nothing\n").unwrap();
    for file in [missing, empty] {
        let url =
            ServerUrl { host: "localhost".to_owned(), ..server(Scheme::Https, ([127, 0, 0, 1], 1).into()) };
        let route = Route { upstream: RouteUpstream::Server(url), ..plain("/", ([127, 0, 0, 1], 1).into()) };
        let config = trusting(route, file.clone());
        let sink: std::sync::Arc<dyn xrtc::session::registration::SessionSink> =
            std::sync::Arc::new(Record::default());
        let built = HttpService::new(&config, &[], &limits(), &std::sync::Arc::from(Vec::new()), &sink);
        let error = built.unwrap_err().to_string();
        assert!(error.contains("upstream_ca_file") && error.contains(&*file.to_string_lossy()), "{error}");
    }
}

async fn echo_socket(stream: TlsStream<TcpStream>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    while let Some(Ok(message)) = socket.next().await {
        if message.is_text() {
            let _ = socket.send(message).await;
        }
    }
}

fn trusting(route: Route, ca: PathBuf) -> Http {
    let mut config = http(vec![route]);
    config.upstream.ca_file = Some(ca);
    config
}

/// A route to `upstream`, by the name `host`.
fn route(upstream: &Upstream, host: &str) -> Route {
    let url = ServerUrl { host: host.to_owned(), ..server(Scheme::Https, upstream.addr) };
    Route { upstream: RouteUpstream::Server(url), ..plain("/", upstream.addr) }
}

fn read_route(upstream: &Upstream) -> Route {
    Route { upstream: route(upstream, "localhost").upstream, ..read("/", upstream.addr) }
}
