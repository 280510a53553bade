//! How the reverse proxy fails over real loopback sockets: each fault has its status, its reason, and harms nobody else.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use proxy_support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_touches_nobody_else() {
    let upstream = Upstream::start(echo).await;
    let edge = Edge::start(http(vec![read("/d", upstream.addr)])).await;
    let mut bystander = Client::connect(edge.addr).await;
    assert_eq!(bystander.ask("POST", "/d", "1").await.0, 200);
    for body in [full(vec![b'x'; 2 << 20]), chunked(vec![Box::leak("x".repeat(2 << 20).into_boxed_str())])] {
        let response = Client::connect(edge.addr).await.send(request("POST", "/d", body)).await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(text(response).await, r#"{"status":"request body is larger than 1048576 bytes"}"#);
    }
    let bomb = gzip(&vec![b' '; 4 << 20]);
    assert_eq!(post_coded(&edge, "gzip", bomb).await.0, 413);
    assert_eq!(bystander.ask("POST", "/d", "2").await.0, 200);
    edge.stop().await;
}

#[tokio::test]
async fn an_upstream_that_is_down_is_502_and_works_again_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let edge = Edge::start(http(vec![read("/", addr)])).await;
    let mut client = Client::connect(edge.addr).await;
    let refused = format!(r#"{{"status":"upstream {addr}: connection refused"}}"#);
    assert_eq!(client.ask("POST", "/", "{}").await, (502, refused));
    let upstream = Upstream::on(TcpListener::bind(addr).await.unwrap(), echo);
    assert_eq!(client.ask("POST", "/", "{}").await.0, 200);
    drop(upstream);
    assert_eq!(client.ask("POST", "/", "{}").await.0, 502);
    let _upstream = Upstream::on(TcpListener::bind(addr).await.unwrap(), echo);
    assert_eq!(client.ask("POST", "/", "{}").await.0, 200);
    edge.stop().await;
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_502_within_the_dial_timeout() {
    // A queue of one that nobody empties: further handshakes are not answered.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(addr)).await
    {
        waiting.push(stream);
    }
    let mut config = http(vec![plain("/", addr)]);
    config.upstream.dial_timeout = Duration::from_millis(300);
    let edge = Edge::start(config).await;
    let started = Instant::now();
    let (status, body) = ask(edge.addr, "GET", "/", "").await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(
        (status, body.as_str()),
        (502, &*format!(r#"{{"status":"upstream {addr}: no connection within 300ms"}}"#))
    );
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_is_still_sending_can_read_why_it_failed() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let edge = Edge::start(http(vec![plain("/plain", gone), read("/read", gone)])).await;
    for (path, status) in [("/plain", 502), ("/read", 413), ("/nowhere", 404)] {
        for _ in 0..10 {
            let mut client = TcpStream::connect(edge.addr).await.unwrap();
            let head = format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 4 << 20);
            client.write_all(head.as_bytes()).await.unwrap();
            // Sends everything before it reads anything, as many clients do.
            in_time(client.write_all(&vec![b'x'; 4 << 20])).await.unwrap();
            let mut answer = vec![0; 12];
            in_time(client.read_exact(&mut answer)).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&answer[9..]), status.to_string());
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_upstream_that_stays_silent_is_504() {
    let upstream = Upstream::raw(|stream, _| async move {
        let _kept = stream;
        std::future::pending().await
    })
    .await;
    let mut config = http(vec![read("/", upstream.addr)]);
    config.upstream.response_header_timeout = Duration::from_millis(200);
    let edge = Edge::start(config).await;
    for method in ["GET", "POST"] {
        let (status, body) = ask(edge.addr, method, "/", "").await;
        assert_eq!(status, 504, "{body}");
        assert!(body.contains("no response header within 200ms"), "{body}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http_is_502() {
    for (answer, reason) in [
        ("SSH-2.0-OpenSSH_9\r\n\r\n", "answered with something that is not HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "answered with something that is not HTTP"),
        ("", "closed the connection before it answered"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "closed the connection before it answered"),
    ] {
        let upstream = raw_answer(answer).await;
        let edge = Edge::start(http(vec![plain("/", upstream.addr)])).await;
        let (status, body) = ask(edge.addr, "GET", "/", "").await;
        assert_eq!((status, body), (502, format!(r#"{{"status":"upstream {}: {reason}"}}"#, upstream.addr)));
        edge.stop().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_502_when_read_and_an_error_when_streamed() {
    let upstream = raw_answer(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"janus\"",
    )
    .await;
    let edge = Edge::start(http(vec![plain("/p", upstream.addr), read("/d", upstream.addr)])).await;
    assert_eq!(ask(edge.addr, "GET", "/d", "").await.0, 502);
    let response = Client::connect(edge.addr).await.send(request("GET", "/p", full(""))).await.unwrap();
    assert!(in_time(response.into_body().collect()).await.is_err());
    edge.stop().await;
}

#[tokio::test]
async fn an_answer_too_large_to_read_is_502() {
    let upstream = Upstream::start(|_, _| async { json(vec![b' '; (1 << 20) + 1]) }).await;
    let edge = Edge::start(http(vec![read("/", upstream.addr)])).await;
    let (status, body) = ask(edge.addr, "GET", "/", "").await;
    assert_eq!(status, 502);
    assert!(body.contains("answer is larger than 1048576 bytes"), "{body}");
    edge.stop().await;
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_gave_up_is_replaced_for_what_may_be_repeated() {
    // Each connection answers one request and closes when it sees the next.
    let upstream = Upstream::raw(|mut stream, number| async move {
        read_head(&mut stream).await;
        let body = number.to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let edge = Edge::start(http(vec![plain("/", upstream.addr)])).await;
    let mut client = Client::connect(edge.addr).await;
    assert_eq!(client.ask("GET", "/", "").await, (200, "1".to_owned()));
    assert_eq!(client.ask("GET", "/", "").await, (200, "2".to_owned()));
    assert_eq!(client.ask("POST", "/", "").await.0, 502, "a POST is never sent twice");
    assert_eq!(client.ask("POST", "/", "").await, (200, "3".to_owned()));
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_leaves_takes_its_request_along() {
    let (ended, mut seen) = mpsc::channel(4);
    let upstream = Upstream::raw(move |mut stream, _| {
        let ended = ended.clone();
        async move {
            read_head(&mut stream).await;
            ended.send("asked").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            ended.send("gone").await.unwrap();
        }
    })
    .await;
    let edge = Edge::start(http(vec![plain("/p", upstream.addr), read("/d", upstream.addr)])).await;
    for head in [
        "GET /d/poll HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /d/5 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nonly this",
        "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nonly ",
    ] {
        let mut client = TcpStream::connect(edge.addr).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(in_time(seen.recv()).await, Some("asked"), "{head}");
        drop(client);
        assert_eq!(in_time(seen.recv()).await, Some("gone"), "{head}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn requests_that_two_servers_would_read_differently_are_refused() {
    let upstream = Upstream::start(echo).await;
    let edge = Edge::start(http(vec![plain("/", upstream.addr)])).await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "400"),
        ("nonsense\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n", "400"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "400"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400",
        ),
        ("GET /a/../b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /a%2f%2e%2E/b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
        ("GET /a/.../b..c HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n\r\nhello",
            "400",
        ),
        ("GET http://b.test/x HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("GET / HTTP/1.0\r\n\r\n", "200"),
    ] {
        let mut client = TcpStream::connect(edge.addr).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        in_time(client.read_exact(&mut answer)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer[9..]), status, "{request}");
    }
    let mut tls = TcpStream::connect(edge.addr).await.unwrap();
    tls.write_all(b"\x16\x03\x01 a hello to a port without a certificate").await.unwrap();
    let mut nothing = Vec::new();
    let _ = in_time(tls.read_to_end(&mut nothing)).await;
    assert_eq!(nothing, b"", "closed without a word");
    let mut client = TcpStream::connect(edge.addr).await.unwrap();
    let flood = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(70 << 10));
    let _ = client.write_all(flood.as_bytes()).await;
    let mut answer = vec![0; 12];
    in_time(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer[9..], b"431");
    edge.stop().await;
}

#[tokio::test]
async fn a_body_of_unknown_length_is_passed_on_whatever_the_method() {
    let upstream = Upstream::start(echo).await;
    let edge = Edge::start(http(vec![plain("/", upstream.addr)])).await;
    for method in ["GET", "DELETE", "OPTIONS", "POST"] {
        let mut client = TcpStream::connect(edge.addr).await.unwrap();
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        in_time(client.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.ends_with(&format!("{method} / -/chunked abc")), "{answer}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_connection_over_the_cap_waits_until_another_one_ends() {
    let upstream = Upstream::start(echo).await;
    let (service, record) = service(&http(vec![plain("/", upstream.addr)]), &[]);
    let edge = Edge::serving(service, record, 2).await;
    let (mut first, mut second) = (Client::connect(edge.addr).await, Client::connect(edge.addr).await);
    assert_eq!(first.ask("GET", "/", "").await.0, 200);
    assert_eq!(second.ask("GET", "/", "").await.0, 200);
    let third = tokio::spawn(ask(edge.addr, "GET", "/", ""));
    for _ in 0..20 {
        assert_eq!(second.ask("GET", "/", "").await.0, 200);
    }
    assert!(!third.is_finished());
    drop(first);
    assert_eq!(in_time(third).await.unwrap().0, 200);
    edge.stop().await;
}
