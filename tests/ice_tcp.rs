//! ICE over TCP on the shared port: whole sessions of other people's ICE and DTLS, plain, in TLS and in ssltcp.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and shows why")]

mod support;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::backend::Backend;
use support::client::{Client, Negotiated, negotiate_as};
use support::edge::Edge;
use support::peer::{Peer, media_packet};
use support::routes::{shared, with_udp};
use support::stream::{self, Framed, FramedConn, Reading, receive_frame, send_frame};
use support::tap::Tap;
use support::within;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xrtc::stun::{self, BindingRequest, Class, IceRole, Key, Message};

/// What the frames are in.
#[derive(Clone, Copy, Debug)]
enum In {
    Plain,
    Tls,
    SslTcp,
}

async fn framed(edge: SocketAddr, within: In, piece: usize) -> Arc<Framed> {
    let stream = TcpStream::connect(edge).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let local = stream.local_addr().unwrap();
    match within {
        In::Plain => Framed::over(stream, local, edge, piece),
        In::Tls => {
            let stream = stream::tls(stream, rustls::ALL_VERSIONS).await.unwrap();
            Framed::over(stream, local, edge, piece)
        }
        In::SslTcp => Framed::over(stream::ssltcp(stream, piece).await, local, edge, piece),
    }
}

async fn connect(edge: SocketAddr, within: In, piece: usize) -> (Client, Arc<Framed>) {
    let framed = framed(edge, within, piece).await;
    let peer = Peer::over(Tap::bind("127.0.0.1:0").await, FramedConn(framed.clone())).await;
    let negotiated = negotiate_as(peer, edge).await;
    // The agent knows no TCP; it is told that the candidate is a datagram's.
    let answer =
        negotiated.answer.replace(" tcp 1010827775 ", " udp 1010827775 ").replace(" tcptype passive", "");
    assert_ne!(answer, negotiated.answer, "the answer has a TCP candidate");
    (Negotiated { answer, ..negotiated }.connect().await, framed)
}

async fn until(seconds: u64, what: &str, happened: impl Fn() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < Duration::from_secs(seconds), "{what}: not within {seconds} s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_run_over_plain_tcp_over_tls_and_over_ssltcp_on_one_port_in_pieces_of_any_size() {
    let backend = Backend::start().await;
    let edge = Edge::start_with(|ground| shared(ground, backend.addr));
    let mut clients = Vec::new();
    for within in [In::Plain, In::Tls, In::SslTcp] {
        for piece in [1, 7, usize::MAX] {
            let (client, framed) = connect(edge.http, within, piece).await;
            assert_eq!(client.ping("hello").await, format!("hello via {}", client.handle), "{within:?}");
            assert_eq!(client.ping_data("secret").await, "echo secret");
            clients.push((client, framed));
        }
    }
    for (client, _) in &clients {
        for text in ["again", &"x".repeat(8000)] {
            assert_eq!(client.ping(text).await, format!("{text} via {}", client.handle));
        }
    }
    let log = edge.end();
    for (verdict, count) in [("ice_tcp", 3), ("ice_tls", 3), ("ssltcp", 3)] {
        let line = format!("connections verdict={verdict} count={count}");
        assert!(log.contains(&line), "{line} is not in\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_only_connection_ends_the_session_at_once() {
    let backend = Backend::start().await;
    let edge = Edge::start_with(|ground| shared(ground, backend.addr));
    let stream = TcpStream::connect(edge.http).await.unwrap();
    let (near, far) = tokio::io::duplex(1 << 16);
    // A pipe between agent and connection, so that the test can cut it.
    let cut = tokio::spawn(async move {
        let (mut far, mut stream) = (far, stream);
        let _ = tokio::io::copy_bidirectional(&mut far, &mut stream).await;
    });
    let framed = Framed::over(near, "127.0.0.1:40404".parse().unwrap(), edge.http, usize::MAX);
    let peer = Peer::over(Tap::bind("127.0.0.1:0").await, FramedConn(framed)).await;
    let negotiated = negotiate_as(peer, edge.http).await;
    let answer =
        negotiated.answer.replace(" tcp 1010827775 ", " udp 1010827775 ").replace(" tcptype passive", "");
    let client = Negotiated { answer, ..negotiated }.connect().await;
    assert_eq!(client.ping("hello").await, format!("hello via {}", client.handle));
    assert!(!edge.log().contains("INFO ended session="), "{}", edge.log());
    cut.abort();
    until(2, "the end of the session", || edge.log().contains("INFO ended session=")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_up_nobody_and_loses_only_media() {
    let backend = Backend::start().await;
    // What the client sends is more than one may; here the question is what it does not read.
    let unlimited = "limits: {session_packets: 0}\n";
    let edge = Edge::start_with(|ground| with_udp(ground, backend.addr) + unlimited);
    let (slow, framed) = connect(edge.http, In::Plain, usize::MAX).await;
    let quick = Client::connect(edge.http).await;
    assert_eq!(slow.ping("hello").await, format!("hello via {}", slow.handle));
    let seen = backend.peer(slow.handle);
    let backend_side = seen.connected().await;
    framed.read(Reading::Nothing);
    let packet = media_packet(&"x".repeat(1000));
    let mut slowest = Duration::ZERO;
    for burst in 0..40 {
        for _ in 0..500 {
            framed.inject(&packet);
        }
        let start = Instant::now();
        assert_eq!(quick.ping(&format!("{burst}")).await, format!("{burst} via {}", quick.handle));
        slowest = slowest.max(start.elapsed());
        // With more media behind it than the edge keeps.
        backend_side.dtls.write(format!("kept {burst}").as_bytes(), None).await.unwrap();
    }
    assert!(slowest < Duration::from_millis(500), "a client over UDP waited {slowest:?}");
    assert!(edge.memory() < 200 << 20, "{} bytes in use", edge.memory());
    has_echoed_all(&seen.tap, &framed).await;
    framed.read(Reading::AllButMedia);
    for burst in 0..40 {
        let kept = format!("kept {burst}");
        assert_eq!(slow.next_data(&kept).await, kept);
    }
    // And the session goes on.
    framed.read(Reading::Everything);
    assert_eq!(slow.ping_data("still here").await, "echo still here");
    let log = edge.end();
    assert!(log.contains("reason=tcp_client_slow"), "{log}");
}

/// Returns when the backend has nothing left of what the client sent before: a mark goes the way of the media in front of it,
/// and is sent again as one may be lost where the backend's own buffers are full.
async fn has_echoed_all(backend: &Tap, client: &Framed) {
    let all = async {
        while !backend.has_sent(b"the mark") {
            client.inject(&media_packet("the mark"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(30, "the echo of what was injected", all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_tcp_addresses_of_both_families_beside_its_udp_one_and_outlives_them() {
    let backend = Backend::start().await;
    let edge = Edge::start_with(|ground| {
        [ground.tcp, ground.udp].iter().fold(with_udp(ground, backend.addr), |file, addr| {
            file.replace(&format!("addr: \"{addr}\""), &format!("addr: \"[::]:{}\"", addr.port()))
        })
    });
    let negotiated = negotiate_as(Peer::new().await, edge.http).await;
    let pwd = negotiated.peer.pwd.clone();
    let client = negotiated.connect().await;
    assert_eq!(client.ping("by UDP").await, format!("by UDP via {}", client.handle));
    let v6 = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), edge.http.port());
    for addr in [edge.http, v6] {
        let mut tcp = TcpStream::connect(addr).await.unwrap();
        prove(&mut tcp, &client, &pwd).await;
        send_frame(&mut tcp, &media_packet("by TCP")).await;
        let echoed = loop {
            let packet = within(5, "the echo", receive_frame(&mut tcp)).await;
            if packet[0] == 0x80 {
                break packet;
            }
        };
        assert_eq!(echoed, media_packet(&format!("by TCP via {}", client.handle)));
        drop(tcp);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(client.ping("UDP again").await, format!("UDP again via {}", client.handle));
    }
    let log = edge.log();
    assert!(!log.contains("INFO ended session="), "{log}");
    assert!(
        log.contains("INFO migrated session=") && !log.contains("ffff:127"),
        "IPv4 is told as IPv4: {log}"
    );
}

/// Sends a check with USE-CANDIDATE, and answers the one that the edge sends before it takes media from a new address.
async fn prove(tcp: &mut TcpStream, client: &Client, pwd: &str) {
    let request = BindingRequest {
        receiver_ufrag: &client.edge_ufrag,
        sender_ufrag: &client.ufrag,
        priority: 1,
        role: IceRole::Controlling(1),
        use_candidate: true,
    };
    let (mut check, edge_key, own_key) = ([0; 512], Key::short_term(&client.edge_pwd), Key::short_term(pwd));
    let len = stun::binding_request(&mut check, rand::random(), &request, &edge_key).unwrap();
    send_frame(tcp, &check[..len]).await;
    let (mut answered, mut checked) = (false, false);
    while !(answered && checked) {
        let packet = within(5, "answer and check", receive_frame(tcp)).await;
        let message = Message::parse(&packet).unwrap();
        if message.is_binding(Class::Success) {
            assert_eq!(message.xor_mapped_address(), Some(tcp.local_addr().unwrap()));
            assert_eq!(message.verify(&edge_key), Ok(()));
            answered = true;
        } else {
            assert!(message.is_binding(Class::Request));
            let mut reply = [0; stun::BINDING_RESPONSE_MAX];
            let edge = tcp.peer_addr().unwrap();
            let len = stun::binding_success(&mut reply, message.transaction_id(), edge, &own_key).unwrap();
            send_frame(tcp, &reply[..len]).await;
            checked = true;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_valid_check_is_closed_in_time_and_garbage_at_once() {
    let backend = Backend::start().await;
    let edge = Edge::start_with(|ground| shared(ground, backend.addr));
    let stranger = include_bytes!("vectors/stun/rfc5769-2.1-request.bin");
    let frame = [&(stranger.len() as u16).to_be_bytes(), &stranger[..]].concat();
    let mut valid_frame = TcpStream::connect(edge.http).await.unwrap();
    valid_frame.write_all(&frame).await.unwrap();
    let start = Instant::now();
    let mut garbage = TcpStream::connect(edge.http).await.unwrap();
    garbage.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
    let mut buffer = [0; 16];
    assert!(matches!(within(2, "the end", garbage.read(&mut buffer)).await, Ok(0) | Err(_)));
    let mut too_long = TcpStream::connect(edge.http).await.unwrap();
    too_long.write_all(&frame).await.unwrap();
    too_long.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    assert!(matches!(within(2, "the end", too_long.read(&mut buffer)).await, Ok(0) | Err(_)));
    // Further invalid checks buy no time.
    let read = async {
        loop {
            if valid_frame.write_all(&frame).await.is_err() {
                return;
            }
            let silent = tokio::time::timeout(Duration::from_millis(500), valid_frame.read(&mut buffer));
            if let Ok(Ok(0) | Err(_)) = silent.await {
                return;
            }
        }
    };
    within(13, "the end", read).await;
    assert!(start.elapsed() > Duration::from_secs(9), "closed after {:?}", start.elapsed());
}
