//! What the edge must do where its models fail, as far as packets and their connections are concerned: each test bears its
//! requirement's number. Those of HTTP are in `requirements_http`, those of Janus messages in `janus_dialect`.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and shows why")]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use support::backend::Backend;
use support::client::{Client, negotiate};
use support::edge::Edge;
use support::registered::{self, BACKEND_PWD, MEDIA, Peer, SILENCE, candidate, request, success};
use support::routes::{shared, with_udp};
use support::stream::{self, ask, receive_frame, send_frame};
use support::{sdp, unreachable, within};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::client::TlsStream;
use xrtc::stun::{self, BindingRequest, IceRole, Key};

#[test]
fn every_requirement_has_a_test_that_bears_its_number() {
    let mut found = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut found);
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, (1..=22).collect::<Vec<_>>());
}

/// The numbers of all tests below `dir`.
fn collect(dir: &Path, found: &mut Vec<u32>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names = text.lines().filter_map(|line| {
                line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn requirement_")
            });
            found.extend(names.map(|name| name[..2].parse::<u32>().unwrap()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requirement_06_media_never_bypass_the_edge() {
    let backend = Backend::start().await;
    let edge = Edge::start_with(|ground| with_udp(ground, backend.addr));
    let client = Client::connect(edge.http).await;
    assert_eq!(client.ping("hello").await, format!("hello via {}", client.handle));
    let peer = backend.peer(client.handle);
    let (near, far) = (client.peer.tap.addr(), peer.tap.addr());
    assert!(peer.answer.contains(&format!(" {} typ host", far.port())));
    assert!(!client.answer.contains(&format!(" {} typ ", far.port())), "{}", client.answer);
    assert!(client.offer.contains(&format!(" {} typ host", near.port())));
    assert!(!peer.offer.contains("candidate:"), "{}", peer.offer);
    let seen_by_client = client.peer.tap.received();
    assert!(!seen_by_client.is_empty() && seen_by_client.iter().all(|it| it.peer == edge.udp));
    let seen_by_backend = peer.tap.received();
    assert!(!seen_by_backend.is_empty() && seen_by_backend.iter().all(|it| it.peer != near));
}

#[tokio::test(flavor = "multi_thread")]
async fn requirement_14_sniffs_first_segments_of_any_size_and_recognises_patch_and_records_0303() {
    const PATCH: &[u8] =
        b"PATCH /janus HTTP/1.1\r\nHost: edge\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let backend = Backend::start().await;
    let edge = Edge::start_with(|ground| shared(ground, backend.addr));
    for piece in [1, 2, 4, 5, 6, 11, 71, usize::MAX] {
        let answer = ask(TcpStream::connect(edge.http).await.unwrap(), PATCH, piece).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("no such path"), "{piece}: {answer}");
        let tls = tls_with_record_0303(TcpStream::connect(edge.http).await.unwrap(), piece).await;
        let answer = ask(tls, PATCH, usize::MAX).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("no such path"), "{piece}: {answer}");
    }
    // One segment that is a whole request and shorter than 72 bytes.
    let short = b"GET /janus HTTP/1.0\r\n\r\n";
    let answer = ask(TcpStream::connect(edge.http).await.unwrap(), short, usize::MAX).await;
    assert!(answer.starts_with("HTTP/1.") && answer.contains("no such path"), "{answer}");
}

/// TLS whose first record says 0303, and comes `piece` bytes at a time.
async fn tls_with_record_0303(mut tcp: TcpStream, piece: usize) -> TlsStream<DuplexStream> {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    tcp.set_nodelay(true).unwrap();
    tokio::spawn(async move {
        let mut record = vec![0; 5];
        far.read_exact(&mut record).await.unwrap();
        assert_eq!(record[..3], [22, 3, 1], "rustls says 0301 itself");
        record[2] = 3;
        record.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
        far.read_exact(&mut record[5..]).await.unwrap();
        stream::write_in_pieces(&mut tcp, &record, piece).await;
        let _ = tokio::io::copy_bidirectional(&mut far, &mut tcp).await;
    });
    stream::tls(near, rustls::ALL_VERSIONS).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn requirement_15_a_second_socket_with_the_username_and_wrong_integrity_never_receives_a_byte() {
    for paths in ["paths: [/janus]", "paths: [/janus], icedirect: true"] {
        let backend = Backend::start().await;
        let edge =
            Edge::start_with(|ground| with_udp(ground, backend.addr).replace("paths: [/janus]", paths));
        let negotiated = negotiate(edge.http).await;
        let (edge_ufrag, ufrag) =
            (sdp::value(&negotiated.answer, "ice-ufrag").unwrap().to_owned(), negotiated.peer.ufrag.clone());
        let second = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        second.connect(edge.udp).await.unwrap();
        let wrong = Key::short_term("some other password 1234");
        let forge = || async {
            let request = BindingRequest {
                receiver_ufrag: &edge_ufrag,
                sender_ufrag: &ufrag,
                priority: 0x7fff_ffff,
                role: IceRole::Controlling(u64::MAX),
                use_candidate: true,
            };
            let mut bytes = [0; 512];
            let length = stun::binding_request(&mut bytes, rand::random(), &request, &wrong).unwrap();
            second.send(&bytes[..length]).await.unwrap();
            second.send(&MEDIA).await.unwrap();
        };
        forge().await;
        let client = negotiated.connect().await;
        for number in 0..20 {
            forge().await;
            let text = format!("packet {number}");
            assert_eq!(client.ping(&text).await, format!("{text} via {}", client.handle));
        }
        tokio::time::sleep(SILENCE).await;
        let received = second.try_recv(&mut [0; 2048]);
        assert!(received.is_err(), "{paths}: the second socket got {received:?} bytes");
        let peer = backend.peer(client.handle);
        assert!(
            !peer.tap.received().iter().any(|it| it.contains(&MEDIA)),
            "{paths}: its media was forwarded"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requirement_16_a_backend_that_never_accepts_delays_only_its_own_session() {
    let backend = Backend::start().await;
    let edge = Edge::start_with(|ground| with_udp(ground, backend.addr));
    let other = Client::connect(edge.http).await;
    let (hung, _held) = unreachable::listener().await;
    let next = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let candidates = [candidate("tcp", hung), candidate("tcp", next.local_addr().unwrap())];
    registered::register(edge.http, BACKEND_PWD, &candidates);
    let client = Peer::new();
    client.send(&request("aFrg", "oFrg", BACKEND_PWD, 1), edge.udp);
    let start = Instant::now();
    for number in 0..50 {
        let asked = Instant::now();
        let text = format!("packet {number}");
        assert_eq!(other.ping(&text).await, format!("{text} via {}", other.handle));
        assert!(asked.elapsed() < Duration::from_secs(1), "waited {:?}", asked.elapsed());
    }
    let fresh = within(10, "another session", Client::connect(edge.http)).await;
    assert_eq!(fresh.ping("new").await, format!("new via {}", fresh.handle));
    // And the slow one gets on with its next candidate.
    let (_, check) = first_check(&client, edge.udp, &next).await;
    assert!(start.elapsed() > Duration::from_millis(500), "the first candidate was dialled");
    assert_eq!(stun::Message::parse(&check).unwrap().username(), Some("aFrg:oFrg"));
}

/// Lets `client` check until a check of it comes over a connection to `backend`.
async fn first_check(client: &Peer, edge: SocketAddr, backend: &TcpListener) -> (TcpStream, Vec<u8>) {
    let arrived = async {
        let (mut stream, _) = backend.accept().await.unwrap();
        let check = receive_frame(&mut stream).await;
        (stream, check)
    };
    tokio::pin!(arrived);
    for number in 100..160 {
        client.send(&request("aFrg", "oFrg", BACKEND_PWD, number), edge);
        if let Ok(arrived) = tokio::time::timeout(Duration::from_millis(250), &mut arrived).await {
            return arrived;
        }
    }
    panic!("no check within 15 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn requirement_16_more_than_1024_connections_do_not_stall_accept() {
    let backend = Backend::start().await;
    let edge = Edge::start_with(|ground| shared(ground, backend.addr));
    let mut idle = Vec::new();
    for _ in 0..1_200 {
        idle.push(within(5, "a connection", TcpStream::connect(edge.http)).await.unwrap());
    }
    let start = Instant::now();
    let get = b"GET /janus HTTP/1.1\r\nHost: edge\r\nConnection: close\r\n\r\n";
    let answer = ask(TcpStream::connect(edge.http).await.unwrap(), get, usize::MAX).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(start.elapsed() < Duration::from_secs(2), "answered after {:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn requirement_18_a_backend_works_over_udp_without_icetcp() {
    let backend = Backend::start().await;
    let edge = Edge::start(backend.addr);
    let client = Client::connect(edge.http).await;
    assert_eq!(client.ping("hello").await, format!("hello via {}", client.handle));
    assert_eq!(client.ping_data("secret").await, "echo secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn requirement_18_a_udp_candidate_counts_after_a_stun_response_only_and_the_next_may_be_tcp() {
    let edge = Edge::start(SocketAddr::from(([127, 0, 0, 1], 9)));
    let (silent, next) = (Peer::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let candidates = [silent.candidate(), candidate("tcp", next.local_addr().unwrap())];
    registered::register(edge.http, BACKEND_PWD, &candidates);
    let client = Peer::new();
    client.send(&request("aFrg", "oFrg", BACKEND_PWD, 1), edge.udp);
    let (_, side) = silent.next();
    // Something else than a response proves nothing.
    silent.send(&MEDIA, side);
    let (mut stream, check) = first_check(&client, edge.udp, &next).await;
    let own = stream.peer_addr().unwrap();
    send_frame(&mut stream, &success(&check, own, BACKEND_PWD)).await;
    while client.waits(SILENCE).is_some() {}
    while silent.waits(SILENCE).is_some() {}
    client.send(&MEDIA, edge.udp);
    let passed = loop {
        let packet = within(5, "media", receive_frame(&mut stream)).await;
        if packet[0] == MEDIA[0] {
            break packet;
        }
    };
    assert_eq!(passed, MEDIA);
    assert_eq!(silent.waits(SILENCE), None, "it did not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn requirement_19_the_end_of_the_clients_last_connection_ends_session_and_backend_leg() {
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let edge = Edge::start_with(|ground| shared(ground, SocketAddr::from(([127, 0, 0, 1], 9))));
    let candidates = [candidate("tcp", backend.local_addr().unwrap())];
    registered::register(edge.http, BACKEND_PWD, &candidates);
    let mut client = TcpStream::connect(edge.http).await.unwrap();
    send_frame(&mut client, &request("aFrg", "oFrg", BACKEND_PWD, 1)).await;
    let (mut leg, _) = within(5, "the backend leg", backend.accept()).await.unwrap();
    let check = within(5, "the check", receive_frame(&mut leg)).await;
    let own = leg.peer_addr().unwrap();
    send_frame(&mut leg, &success(&check, own, BACKEND_PWD)).await;
    within(5, "the answer", receive_frame(&mut client)).await;
    send_frame(&mut client, &MEDIA).await;
    assert_eq!(within(5, "media", receive_frame(&mut leg)).await, MEDIA);
    assert!(!edge.log().contains("INFO ended session="), "{}", edge.log());

    drop(client);
    let mut rest = Vec::new();
    within(2, "the end of the backend leg", leg.read_to_end(&mut rest)).await.unwrap();
    let start = Instant::now();
    while !edge.log().contains("INFO ended session=") {
        assert!(start.elapsed() < Duration::from_secs(2), "{}", edge.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
