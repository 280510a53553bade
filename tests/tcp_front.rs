//! One TCP port as its clients see it: HTTP, HTTPS, WS and WSS in pieces of any size, certificates, slow clients, many
//! clients, and clients behind a balancer. ICE on the same port is in `ice_tcp`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and shows why")]

mod support;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::CertificateDer;
use support::edge::{Edge, Ground};
use support::routes::one_port;
use support::stream::{self, ask};
use support::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// An upstream that answers with what it was sent, and echoes WebSocket messages.
async fn upstream() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, seen.clone()));
        }
    });
    (addr, heads)
}

async fn answer(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut peeked = [0; 8];
    while stream.peek(&mut peeked).await.unwrap_or(0) >= 7 {
        if peeked.starts_with(b"GET /ws") {
            let mut echo = tokio_tungstenite::accept_async(stream).await.unwrap();
            while let Some(Ok(message @ Message::Text(_))) = echo.next().await {
                echo.send(message).await.unwrap();
            }
            return;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        heads.lock().unwrap().push(String::from_utf8(head).unwrap());
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    }
}

fn shared(ground: &Ground<'_>, upstream: SocketAddr, net: &str) -> String {
    let all = format!("{{dialect: plain, upstream: \"http://{upstream}\", paths: [/]}}");
    one_port(ground, net, &format!("{{rest: false, routes: {{all: {all}}}}}"))
}

async fn start(net: &str) -> (Edge, Arc<Mutex<Vec<String>>>) {
    let (upstream, heads) = upstream().await;
    let edge = Edge::start_with(|ground| {
        stream::write_certificate(ground.dir, "one");
        shared(ground, upstream, net)
    });
    (edge, heads)
}

async fn open(edge: &Edge) -> TcpStream {
    let stream = TcpStream::connect(edge.http).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

const REQUEST: &[u8] = b"GET /page HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n";

fn is_fine(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello")
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_https_are_told_apart_whatever_the_pieces() {
    let (edge, heads) = start("").await;
    for piece in [1, 2, 3, 5, 11, usize::MAX] {
        assert!(is_fine(&ask(open(&edge).await, REQUEST, piece).await));
        for version in rustls::ALL_VERSIONS {
            let tls = stream::tls(open(&edge).await, &[version]).await.unwrap();
            assert!(is_fine(&ask(tls, REQUEST, piece).await), "{version:?}");
        }
    }
    for split in 1..14 {
        let mut stream = open(&edge).await;
        stream.write_all(&REQUEST[..split]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(is_fine(&ask(stream, &REQUEST[split..], usize::MAX).await), "split at {split}");
    }
    // TLS itself in pieces of one byte, through a relay.
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (via, to) = (relay.local_addr().unwrap(), edge.http);
    tokio::spawn(async move {
        let (near, _) = relay.accept().await.unwrap();
        let far = TcpStream::connect(to).await.unwrap();
        far.set_nodelay(true).unwrap();
        let ((mut up, mut down), (mut back, mut forth)) = (near.into_split(), far.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut back, &mut down).await });
        while let Ok(byte) = up.read_u8().await {
            forth.write_u8(byte).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let tls = stream::tls(TcpStream::connect(via).await.unwrap(), rustls::ALL_VERSIONS).await.unwrap();
    assert!(is_fine(&ask(tls, REQUEST, usize::MAX).await));

    let heads = heads.lock().unwrap();
    let forwarded = |head: &&String| head.contains("proto=https; httpproto=\"http/1.1\"; tlsver=tls1");
    let https = heads.iter().filter(forwarded).count();
    assert_eq!(https, 6 * 2 + 1, "{heads:#?}");
    assert!(heads.iter().filter(forwarded).all(|head| head.contains("x-forwarded-proto: https")));
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_run_plain_and_in_tls_on_the_same_port() {
    let (edge, _) = start("").await;
    let (plain, _) = tokio_tungstenite::client_async("ws://edge/ws", open(&edge).await).await.unwrap();
    let tls = stream::tls(open(&edge).await, rustls::ALL_VERSIONS).await.unwrap();
    let (secure, _) = tokio_tungstenite::client_async("wss://edge/ws", tls).await.unwrap();
    let (mut plain, mut secure) = (plain, secure);
    for text in ["one", "two"] {
        plain.send(Message::text(text)).await.unwrap();
        secure.send(Message::text(text)).await.unwrap();
        assert_eq!(within(5, "the echo", plain.next()).await.unwrap().unwrap(), Message::text(text));
        assert_eq!(within(5, "the echo", secure.next()).await.unwrap().unwrap(), Message::text(text));
    }
}

async fn shown(edge: &Edge) -> Option<CertificateDer<'static>> {
    let tls = stream::tls(open(edge).await, rustls::ALL_VERSIONS).await.ok()?;
    Some(tls.get_ref().1.peer_certificates()?[0].clone().into_owned())
}

async fn shows(edge: &Edge, expected: &CertificateDer<'static>) {
    let start = Instant::now();
    while shown(edge).await.as_ref() != Some(expected) {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the new certificate is not shown:\n{}",
            edge.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_shown_without_a_restart_and_a_bad_one_is_not() {
    let (edge, _) = start("").await;
    let first = shown(&edge).await.unwrap();
    let kept = stream::tls(open(&edge).await, rustls::ALL_VERSIONS).await.unwrap();
    let second = stream::write_certificate(edge.dir(), "two");
    assert_ne!(first, second);
    shows(&edge, &second).await;
    // A connection that was open goes on; a key that does not fit changes nothing.
    assert!(is_fine(&ask(kept, REQUEST, usize::MAX).await));
    let other = edge.dir().join("other");
    std::fs::create_dir(&other).unwrap();
    stream::write_certificate(&other, "three");
    std::fs::copy(other.join("cert.pem"), edge.dir().join("cert.pem")).unwrap();
    edge.says("the one before stays", 1).await;
    assert_eq!(shown(&edge).await, Some(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_fails_tls_alone_until_it_is_good() {
    let (upstream, _) = upstream().await;
    let edge = Edge::start_with(|ground| {
        std::fs::write(ground.dir.join("cert.pem"), "no certificate").unwrap();
        std::fs::write(ground.dir.join("key.pem"), "no key").unwrap();
        shared(ground, upstream, "")
    });
    assert!(shown(&edge).await.is_none());
    assert!(is_fine(&ask(open(&edge).await, REQUEST, usize::MAX).await));
    assert!(edge.log().contains("certificate not usable"), "{}", edge.log());
    let good = stream::write_certificate(edge.dir(), "good");
    shows(&edge, &good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_certificate_is_told_and_when_it_is_over_that_too() {
    let (upstream, _) = upstream().await;
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let edge = Edge::start_with(|ground| {
        stream::write_certificate_until(ground.dir, "good", 3000);
        let routes = shared(ground, upstream, "");
        let service = format!("services:\n  admin0: {{proto: admin, net: {{addr: \"{admin}\"}}}}\n");
        routes.replacen("services:\n", &service, 1)
    });
    let expiry = async || {
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = ask(TcpStream::connect(admin).await.unwrap(), request, usize::MAX).await;
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            name.starts_with("xrtc_tls_certificate_expiry_seconds{service=").then(|| value.to_owned())
        };
        answer.lines().filter_map(sample).collect::<Vec<_>>()
    };
    assert_eq!(expiry().await, ["32503680000"]);
    assert!(!edge.log().contains("clients refuse"), "{}", edge.log());
    let old = stream::write_certificate_until(edge.dir(), "old", 2020);
    // Some clients take it all the same.
    shows(&edge, &old).await;
    assert_eq!(expiry().await, ["1577836800"]);
    let over = "reason=expired on 2020-01-01T00:00:00Z";
    edge.says(over, 1).await;
    // It is looked at every two seconds.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(edge.log().matches(over).count(), 1, "{}", edge.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dawdles_is_closed_after_ten_seconds_in_every_state_and_holds_up_nobody() {
    let (edge, _) = start("").await;
    let check = include_bytes!("vectors/stun/rfc5769-2.1-request.bin");
    let frame = [&(check.len() as u16).to_be_bytes(), &check[..]].concat();
    let hello = xrtc::classify::stream::SSLTCP_CLIENT_HELLO;
    let starts: [&[u8]; 8] = [
        b"",
        b"G",
        b"\x16",
        b"\x16\x03\x01\x02\x00\x01\x00",
        &hello[..40],
        &hello,
        &frame[..7],
        &frame[..40],
    ];
    let mut states = tokio::task::JoinSet::new();
    for bytes in starts {
        let (mut stream, bytes) = (open(&edge).await, bytes.to_vec());
        states.spawn(async move {
            stream.write_all(&bytes).await.unwrap();
            let (start, mut sink) = (Instant::now(), Vec::new());
            let _ = within(15, &format!("the end after {bytes:02x?}"), stream.read_to_end(&mut sink)).await;
            assert!(start.elapsed() > Duration::from_secs(9), "{bytes:02x?} ended {:?}", start.elapsed());
        });
    }
    // Inside TLS the clock runs anew.
    let mut silent = stream::tls(open(&edge).await, rustls::ALL_VERSIONS).await.unwrap();
    states.spawn(async move {
        let _ = within(15, "the end inside TLS", silent.read_u8()).await;
    });
    assert!(is_fine(&ask(open(&edge).await, REQUEST, usize::MAX).await));
    while let Some(done) = states.join_next().await {
        done.unwrap();
    }
    let log = edge.end();
    for verdict in ["sniff_timeout", "tls_timeout", "ice_timeout"] {
        assert!(log.contains(&format!("verdict={verdict} ")), "{verdict} is not in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_connections_cost_little_and_hold_up_nobody() {
    let (edge, _) = start("").await;
    assert!(is_fine(&ask(open(&edge).await, REQUEST, usize::MAX).await));
    let before = edge.memory();
    let mut silent = Vec::new();
    for number in 0..1000 {
        let mut stream = open(&edge).await;
        if number % 2 == 0 {
            stream.write_all(b"P").await.unwrap();
        }
        silent.push(stream);
    }
    let start = Instant::now();
    assert!(is_fine(&ask(open(&edge).await, REQUEST, usize::MAX).await));
    assert!(start.elapsed() < Duration::from_secs(1), "answered after {:?}", start.elapsed());
    let each = edge.memory().saturating_sub(before) / silent.len();
    println!("{each} bytes for each silent connection");
    assert!(each < 8 << 10, "{each} bytes for each silent connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_balancer_the_client_is_who_the_proxy_header_names() {
    let (edge, heads) = start("proxy_protocol: true").await;
    let v1 = b"PROXY TCP4 192.0.2.7 203.0.113.1 51201 443\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([192, 0, 2, 7, 203, 0, 113, 1, 0xc8, 0x01, 0x01, 0xbb]);
    for header in [v1, v2] {
        for piece in [1, usize::MAX] {
            let whole = [&header[..], REQUEST].concat();
            assert!(is_fine(&ask(open(&edge).await, &whole, piece).await));
        }
        let mut tcp = open(&edge).await;
        tcp.write_all(&header).await.unwrap();
        let tls = stream::tls(tcp, rustls::ALL_VERSIONS).await.unwrap();
        assert!(is_fine(&ask(tls, REQUEST, usize::MAX).await));
    }
    assert_eq!(ask(open(&edge).await, REQUEST, usize::MAX).await, "", "without a header there is no answer");
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 6);
    assert!(heads.iter().all(|head| head.contains("x-forwarded-for: 192.0.2.7")), "{heads:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_trusted_balancers_are_believed() {
    let (upstream, heads) = upstream().await;
    let edge = Edge::start_with(|ground| {
        stream::write_certificate(ground.dir, "one");
        let config = shared(ground, upstream, "proxy_protocol: true");
        config.replace(
            "    enable_http: true\n",
            "    enable_http: true\n    trusted_proxies: [198.51.100.0/24]\n",
        )
    });
    assert!(is_fine(&ask(open(&edge).await, REQUEST, usize::MAX).await), "a stranger comes without a header");
    let forged = [b"PROXY TCP4 192.0.2.7 203.0.113.1 51201 443\r\n", REQUEST].concat();
    let answer = ask(open(&edge).await, &forged, usize::MAX).await;
    assert!(!answer.contains("200"), "{answer}");
    assert!(heads.lock().unwrap().iter().all(|head| head.contains("x-forwarded-for: 127.0.0.1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_not_said_what_it_wants_does_not_hold_up_the_end() {
    let (edge, _) = start("").await;
    let silent = open(&edge).await;
    let mut half_head = open(&edge).await;
    half_head.write_all(b"GET /x HTTP/1.1\r\n").await.unwrap();
    let mut half_hello = open(&edge).await;
    half_hello.write_all(&[22, 3, 1, 0, 200, 1]).await.unwrap();
    let mut answered = open(&edge).await;
    answered.write_all(b"GET /x HTTP/1.1\r\nhost: edge\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    answered.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let asked = Instant::now();
    let log = tokio::task::spawn_blocking(move || edge.end()).await.unwrap();
    assert!(log.contains("xrtc stops"), "{log}");
    assert!(asked.elapsed() < Duration::from_secs(3), "took {:?}", asked.elapsed());
    drop((silent, half_head, half_hello, answered));
}
