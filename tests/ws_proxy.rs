//! The WebSocket proxy over real loopback sockets: handshake, messages, closes, and how each side's faults reach the other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod proxy_support;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use proxy_support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Response as HandshakeResponse;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};
use xrtc::config::{RouteUpstream, Scheme, UpstreamGroup};
use xrtc::http::Phase;

type Socket = WebSocketStream<TcpStream>;

/// An upstream whose sockets come out of the channel, each with the request that opened it.
async fn sockets() -> (Upstream, mpsc::Receiver<(Socket, Request)>) {
    let (opened, sockets) = mpsc::channel(8);
    let upstream = Upstream::raw(move |stream, _| {
        let opened = opened.clone();
        async move {
            let mut asked = None;
            #[expect(clippy::result_large_err, reason = "the library's own type")]
            let answer = |request: &Request, mut response: Response| {
                asked = Some(request.clone());
                if let Some(offered) = request.headers().get("sec-websocket-protocol") {
                    let first = offered.to_str().unwrap().split(',').next().unwrap();
                    response.headers_mut().insert("sec-websocket-protocol", first.parse().unwrap());
                }
                Ok::<_, ErrorResponse>(response)
            };
            let socket = accept_hdr_async(stream, answer).await.unwrap();
            let _ = opened.send((socket, asked.unwrap())).await;
        }
    })
    .await;
    (upstream, sockets)
}

async fn dial(edge: &Edge, path: &str) -> (Socket, HandshakeResponse) {
    try_dial(edge, path, &[("sec-websocket-protocol", "janus-protocol, other")]).await.unwrap()
}

async fn try_dial(
    edge: &Edge,
    path: &str,
    headers: &[(&'static str, &'static str)],
) -> Result<(Socket, HandshakeResponse), Error> {
    let mut request = format!("ws://{}{path}", edge.addr).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let stream = TcpStream::connect(edge.addr).await.unwrap();
    in_time(client_async(request, stream)).await
}

/// Both ends of one WebSocket through an edge, on a route that is read and on one that is not.
async fn pairs() -> (Edge, Vec<(Socket, Socket)>, Upstream) {
    let (upstream, mut opened) = sockets().await;
    let edge = Edge::start(http(vec![read("/read", upstream.addr), plain("/plain", upstream.addr)])).await;
    let mut pairs = Vec::new();
    for path in ["/read", "/plain"] {
        let (client, _) = dial(&edge, path).await;
        pairs.push((client, in_time(opened.recv()).await.unwrap().0));
    }
    (edge, pairs, upstream)
}

async fn read_pair() -> (Edge, Socket, Socket, Upstream) {
    let (edge, mut pairs, upstream) = pairs().await;
    let (client, backend) = pairs.swap_remove(0);
    (edge, client, backend, upstream)
}

async fn next(socket: &mut Socket) -> Message {
    in_time(socket.next()).await.unwrap().unwrap()
}

/// The code of the close that comes next.
async fn close_code(socket: &mut Socket) -> Option<u16> {
    match next(socket).await {
        Message::Close(frame) => frame.map(|frame| frame.code.into()),
        other => panic!("expected a close, got {other}"),
    }
}

fn close(code: u16) -> Message {
    Message::Close(Some(CloseFrame { code: code.into(), reason: "because".into() }))
}

#[tokio::test]
async fn the_handshake_is_replayed_and_its_answer_passed_on() {
    let (upstream, mut opened) = sockets().await;
    let edge = Edge::start(http(vec![read("/janus-ws", upstream.addr)])).await;
    let headers = [
        ("sec-websocket-protocol", "janus-protocol, other"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("x-mine", "1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("host", "edge.test"),
    ];
    let (client, response) = try_dial(&edge, "/janus-ws?token=x", &headers).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "janus-protocol");
    let (backend, asked) = in_time(opened.recv()).await.unwrap();
    assert_eq!(asked.uri(), "/janus-ws?token=x");
    for (name, value) in [
        ("sec-websocket-protocol", "janus-protocol, other"),
        ("x-mine", "1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("host", "edge.test"),
    ] {
        assert_eq!(asked.headers()[name], value, "{name}");
    }
    assert!(!asked.headers().contains_key("sec-websocket-extensions"));
    drop((client, backend));
    edge.stop().await;
}

#[tokio::test]
async fn an_answer_other_than_101_is_the_clients_answer() {
    let upstream = Upstream::start(|_, _| async {
        let body = http_body_util::Full::from("come with a token");
        hyper::Response::builder().status(403).header("x-why", "token").body(body).unwrap()
    })
    .await;
    let edge = Edge::start(http(vec![read("/read", upstream.addr), plain("/plain", upstream.addr)])).await;
    for (path, status) in [("/read", 403), ("/plain", 403), ("/nowhere", 404)] {
        let Err(Error::Http(response)) = try_dial(&edge, path, &[]).await else { panic!("{path} opened") };
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().contains_key("x-why"), status == 403);
    }
    edge.stop().await;
}

#[tokio::test]
async fn failing_upstreams_are_502_and_504_before_the_upgrade() {
    let silent = Upstream::raw(|stream, _| async move {
        let _kept = stream;
        std::future::pending().await
    })
    .await;
    let odd = Upstream::raw(|mut stream, _| async move {
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let only_http = [UpstreamGroup {
        name: "pool".into(),
        mode: Default::default(),
        servers: vec![server(Scheme::Http, gone)],
        health: None,
    }];
    let mut group = read("/group", gone);
    group.upstream = RouteUpstream::Group(0);
    let routes = vec![read("/silent", silent.addr), read("/odd", odd.addr), read("/gone", gone), group];
    let mut config = http(routes);
    config.upstream.response_header_timeout = Duration::from_millis(200);
    let edge = Edge::with_groups(config, &only_http).await;
    for (path, status) in [("/silent", 504), ("/odd", 502), ("/gone", 502), ("/group", 502)] {
        let Err(Error::Http(response)) = try_dial(&edge, path, &[]).await else { panic!("{path} opened") };
        assert_eq!(response.status(), status, "{path}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn a_slow_and_large_handshake_passes() {
    let upstream = Upstream::raw(|mut stream, _| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(1200)).await;
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nX-Large: {}\r\n\r\n",
            "x".repeat(3000)
        );
        // The first frame comes in one segment with the answer.
        stream.write_all(&[answer.as_bytes(), &[0x81, 2, b'h', b'i']].concat()).await.unwrap();
        // The edge says goodbye for the client that left.
        let _ = stream.read(&mut [0; 8]).await;
    })
    .await;
    let edge = Edge::start(http(vec![read("/read", upstream.addr), plain("/plain", upstream.addr)])).await;
    for path in ["/read", "/plain"] {
        let mut client = TcpStream::connect(edge.addr).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(&[0x81, 2, b'h', b'i']) {
            answer.push(in_time(client.read_u8()).await.unwrap());
        }
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 101") && text.contains(&"x".repeat(3000)), "{text}");
    }
    edge.stop().await;
}

#[tokio::test]
async fn large_and_many_messages_pass_whole_and_in_order_both_ways() {
    let (edge, pairs, _upstream) = pairs().await;
    for (mut client, mut backend) in pairs {
        let large = Message::text("ü".repeat(150_000));
        client.send(large.clone()).await.unwrap();
        assert_eq!(next(&mut backend).await, large);
        backend.send(large.clone()).await.unwrap();
        assert_eq!(next(&mut client).await, large);

        let count = 500;
        let both = [client, backend].map(|mut socket| {
            tokio::spawn(async move {
                for number in 0..count {
                    socket.feed(Message::text(format!("{{\"n\":{number}}}"))).await.unwrap();
                }
                socket.flush().await.unwrap();
                for number in 0..count {
                    assert_eq!(next(&mut socket).await, Message::text(format!("{{\"n\":{number}}}")));
                }
            })
        });
        for side in both {
            in_time(side).await.unwrap();
        }
    }
    edge.stop().await;
}

#[tokio::test]
async fn fragments_arrive_whole_and_binary_and_empty_messages_unchanged() {
    let (edge, mut client, mut backend, _upstream) = read_pair().await;
    for (opcode, part, is_final) in
        [(Data::Text, "{\"jan", false), (Data::Continue, "us\":", false), (Data::Continue, "1}", true)]
    {
        let frame = Frame::message(part, OpCode::Data(opcode), is_final);
        client.send(Message::Frame(frame)).await.unwrap();
        client.send(Message::Ping(Bytes::from_static(b"between"))).await.unwrap();
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&Message::text("{\"janus\":1}")) {
        seen.push(next(&mut backend).await);
    }
    assert_eq!(seen.len(), 3, "two pings came first: {seen:?}");
    for message in [Message::binary(vec![0, 255]), Message::text(""), Message::binary(vec![])] {
        client.send(message.clone()).await.unwrap();
        let mut other = next(&mut backend).await;
        while other.is_ping() {
            other = next(&mut backend).await;
        }
        assert_eq!(other, message);
    }
    drop((client, backend));
    edge.stop().await;
}

#[tokio::test]
async fn pings_go_to_the_far_end_and_come_back_once() {
    let (edge, mut client, mut backend, _upstream) = read_pair().await;
    client.send(Message::Ping(Bytes::from_static(b"are you there"))).await.unwrap();
    // Nobody but the backend answers, and it does so when it reads.
    assert_eq!(next(&mut backend).await, Message::Ping(Bytes::from_static(b"are you there")));
    backend.send(Message::text("after")).await.unwrap();
    let first = next(&mut client).await;
    let second = next(&mut client).await;
    let pong = Message::Pong(Bytes::from_static(b"are you there"));
    assert!([&first, &second].contains(&&pong) && [&first, &second].contains(&&Message::text("after")));
    backend.send(Message::Ping(Bytes::from_static(b"b"))).await.unwrap();
    assert_eq!(next(&mut client).await, Message::Ping(Bytes::from_static(b"b")));
    client.flush().await.unwrap();
    assert_eq!(next(&mut backend).await, Message::Pong(Bytes::from_static(b"b")));
    drop((client, backend));
    edge.stop().await;
}

#[tokio::test]
async fn the_dialect_replaces_answers_and_swallows_messages() {
    let (edge, mut client, mut backend, _upstream) = read_pair().await;
    for message in [
        r#"{"janus":"swallow"}"#,
        r#"{"janus":"refuse"}"#,
        r#"{"janus":"answer"}"#,
        r#"{"janus":"replace","x":"secret","y":"command"}"#,
    ] {
        client.send(Message::text(message)).await.unwrap();
    }
    assert_eq!(next(&mut client).await, Message::text(r#"{"janus":"ack"}"#));
    let replaced = r#"{"janus":"replace","x":"hidden-from-backend","y":"command"}"#;
    assert_eq!(next(&mut backend).await, Message::text(replaced));
    assert!(edge.record.entries().contains(&"command 7".to_owned()));
    backend.send(Message::text(r#"{"replace-response":"secret"}"#)).await.unwrap();
    assert_eq!(next(&mut client).await, Message::text(r#"{"replace-response":"hidden-from-client"}"#));
    drop((client, backend));
    edge.stop().await;
}

#[tokio::test]
async fn binary_messages_are_judged_like_text_and_answered_in_kind() {
    let (edge, mut client, mut backend, _upstream) = read_pair().await;
    for message in
        [&br#"{"janus":"swallow"}"#[..], br#"{"janus":"answer"}"#, br#"{"janus":"replace","x":"secret"}"#]
    {
        client.send(Message::binary(message)).await.unwrap();
    }
    assert_eq!(next(&mut client).await, Message::binary(&br#"{"janus":"ack"}"#[..]));
    let replaced = &br#"{"janus":"replace","x":"hidden-from-backend"}"#[..];
    assert_eq!(next(&mut backend).await, Message::binary(replaced));
    backend.send(Message::binary(&br#"{"replace-response":"secret"}"#[..])).await.unwrap();
    let replaced = &br#"{"replace-response":"hidden-from-client"}"#[..];
    assert_eq!(next(&mut client).await, Message::binary(replaced));
    drop((client, backend));
    edge.stop().await;
}

#[tokio::test]
async fn close_codes_pass_both_ways_and_the_dialect_hears_of_the_end() {
    for client_closes in [true, false] {
        let (edge, pairs, _upstream) = pairs().await;
        for (client, backend) in pairs {
            let (mut first, mut second) = if client_closes { (client, backend) } else { (backend, client) };
            first.send(Message::text("last words")).await.unwrap();
            first.send(close(4001)).await.unwrap();
            assert_eq!(next(&mut second).await, Message::text("last words"));
            assert_eq!(next(&mut second).await, close(4001));
            let _ = second.flush().await;
            assert_eq!(next(&mut first).await, close(4001));
            drop(second);
            assert!(matches!(in_time(first.next()).await, None | Some(Err(Error::ConnectionClosed))));
        }
        let record = edge.record.clone();
        edge.stop().await;
        assert_eq!(record.entries().last().unwrap(), "closed 1");
    }
}

#[tokio::test]
async fn a_close_without_code_passes_without_code() {
    let (edge, mut client, mut backend, _upstream) = read_pair().await;
    client.send(Message::Close(None)).await.unwrap();
    assert_eq!(close_code(&mut backend).await, None);
    drop((client, backend));
    edge.stop().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_1009_for_its_sender_alone() {
    for client_sends in [true, false] {
        let (edge, client, backend, _upstream) = read_pair().await;
        let (mut sender, mut other) = if client_sends { (client, backend) } else { (backend, client) };
        let sending = async {
            // The sender may be cut off in the middle, and must still read why.
            let _ = sender.send(Message::text("x".repeat(3 << 20))).await;
            close_code(&mut sender).await
        };
        let (sender_code, other_code) = tokio::join!(sending, close_code(&mut other));
        assert_eq!(sender_code, Some(1009));
        assert_eq!(other_code, Some(if client_sends { 1001 } else { 1011 }));
        drop((sender, other));
        edge.stop().await;
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_1007_and_broken_frames_are_1002() {
    for (frame, code) in [(&[0x81, 1, 0xff][..], 1007), (&[0x83, 0][..], 1002), (&[0xf1, 0][..], 1002)] {
        let (edge, mut client, mut backend, _upstream) = read_pair().await;
        backend.get_mut().write_all(frame).await.unwrap();
        assert_eq!(close_code(&mut client).await, Some(1011));
        assert_eq!(close_code(&mut backend).await, Some(code));
        drop((client, backend));
        edge.stop().await;
    }
}

#[tokio::test]
async fn a_side_that_vanishes_closes_the_other_after_its_last_words() {
    for client_vanishes in [true, false] {
        let (edge, client, backend, _upstream) = read_pair().await;
        let (mut first, mut second) = if client_vanishes { (client, backend) } else { (backend, client) };
        for number in 0..100 {
            first.feed(Message::text(number.to_string())).await.unwrap();
        }
        first.flush().await.unwrap();
        drop(first);
        for number in 0..100 {
            assert_eq!(next(&mut second).await, Message::text(number.to_string()));
        }
        assert_eq!(close_code(&mut second).await, Some(if client_vanishes { 1001 } else { 1011 }));
        drop(second);
        edge.stop().await;
    }
}

#[tokio::test]
async fn an_unread_tunnel_ends_with_its_upstream_and_loses_nothing() {
    let (edge, mut pairs, _upstream) = pairs().await;
    let (mut client, mut backend) = pairs.swap_remove(1);
    backend.send(Message::text("last words")).await.unwrap();
    drop(backend);
    assert_eq!(next(&mut client).await, Message::text("last words"));
    let end = in_time(client.next()).await;
    assert!(
        matches!(end, Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))),
        "{end:?}"
    );
    drop((client, pairs));
    edge.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_its_backend_and_nobody_else() {
    let (edge, mut pairs, _upstream) = pairs().await;
    let (mut slow, mut backend) = pairs.swap_remove(0);
    let message = Message::text("x".repeat(100_000));
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(500), backend.send(message.clone())).await.is_ok() {
        sent += 1;
        assert!(sent < 400, "40 MB went towards a client that reads nothing");
    }
    let (mut quick, mut quick_backend) = pairs.swap_remove(0);
    quick.send(Message::text("hello")).await.unwrap();
    assert_eq!(next(&mut quick_backend).await, Message::text("hello"));

    let rest = tokio::spawn(async move {
        backend.flush().await.unwrap();
        backend.send(Message::text("end")).await.unwrap();
        backend
    });
    let mut received = 0;
    while next(&mut slow).await == message {
        received += 1;
    }
    assert!(received >= sent, "{received} of {sent} arrived");
    in_time(rest).await.unwrap();
    drop((slow, quick, quick_backend));
    edge.stop().await;
}

#[tokio::test]
async fn a_stop_closes_read_sockets_with_1001_on_both_sides() {
    let (edge, mut client, mut backend, _upstream) = read_pair().await;
    edge.phase.send(Phase::Draining).unwrap();
    client.send(Message::text("still open")).await.unwrap();
    assert_eq!(next(&mut backend).await, Message::text("still open"));
    let record = edge.record.clone();
    let stopped = tokio::spawn(edge.stop());
    assert_eq!(close_code(&mut client).await, Some(1001));
    assert_eq!(close_code(&mut backend).await, Some(1001));
    let _ = tokio::join!(client.flush(), backend.flush());
    in_time(stopped).await.unwrap();
    assert_eq!(record.entries().last().unwrap(), "closed 1");
}

#[tokio::test]
async fn hostile_frames_after_the_handshake_harm_nobody() {
    use rand::{Rng, RngExt, SeedableRng};
    let (upstream, mut opened) = sockets().await;
    let edge = Edge::start(http(vec![read("/read", upstream.addr)])).await;
    let (bystander, _) = dial(&edge, "/read").await;
    let (mut bystander, mut behind) = (bystander, in_time(opened.recv()).await.unwrap().0);
    let mut rng = rand::rngs::StdRng::seed_from_u64(7);
    for _ in 0..30 {
        let (hostile, _) = dial(&edge, "/read").await;
        let _backend = in_time(opened.recv()).await.unwrap();
        let mut bytes = vec![0; rng.random_range(1..200)];
        rng.fill_bytes(&mut bytes);
        let _ = hostile.into_inner().write_all(&bytes).await;
    }
    bystander.send(Message::text("fine")).await.unwrap();
    assert_eq!(next(&mut behind).await, Message::text("fine"));
    drop((bystander, behind));
    edge.stop().await;
}

#[tokio::test]
async fn a_client_frame_without_mask_is_1002() {
    let (edge, client, mut backend, _upstream) = read_pair().await;
    let mut stream = client.into_inner();
    stream.write_all(&[0x81, 1, b'x']).await.unwrap();
    let mut client =
        WebSocketStream::from_raw_socket(stream, Role::Client, Some(WebSocketConfig::default())).await;
    assert_eq!(close_code(&mut backend).await, Some(1001));
    assert_eq!(close_code(&mut client).await, Some(1002));
    drop((client, backend));
    edge.stop().await;
}
