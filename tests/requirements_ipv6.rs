//! Requirement 17, what the edge must do for IPv6 where its models fail: addresses in STUN, in the configuration, in
//! candidates, and a whole session of a client that has nothing else.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and shows why")]

mod support;

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use support::backend::Backend;
use support::client::{Negotiated, negotiate_as};
use support::edge::{Edge, Ground};
use support::peer::Peer;
use support::registered::{self, BACKEND_PWD, MEDIA, request, success};
use support::routes::with_udp;
use support::sdp;
use support::stream::{Framed, FramedConn, receive_frame, send_frame};
use support::tap::Tap;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use xrtc::stun::{Class, Message};

#[test]
fn requirement_17_reads_an_ipv6_xor_address() {
    let response = include_bytes!("vectors/stun/rfc5769-2.3-response-ipv6.bin");
    let expected: SocketAddr = "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap();
    assert_eq!(Message::parse(response).unwrap().xor_mapped_address(), Some(expected));
    // And what is written is read as the same, by other people's code too.
    let check = request("aFrg", "oFrg", BACKEND_PWD, 1);
    let written = success(&check, expected, BACKEND_PWD);
    assert_eq!(Message::parse(&written).unwrap().xor_mapped_address(), Some(expected));
    use stun_types::attribute::XorMappedAddress;
    let theirs = stun_types::message::Message::from_bytes(&written).unwrap();
    let id = theirs.transaction_id();
    assert_eq!(theirs.attribute::<XorMappedAddress>().unwrap().addr(id), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn requirement_17_a_client_with_ipv6_alone_talks_to_a_backend_with_ipv4() {
    let backend = Backend::start().await;
    let upstream = on_ipv6(backend.addr).await;
    let edge = Edge::start_with(|ground| everything_on_ipv6(ground, upstream));
    let (http, udp) = (on_loopback(edge.http), on_loopback(edge.udp));
    let client = Ipv6::connect(udp).await;
    let negotiated = negotiate_as(client.peer, http).await;
    let candidate = format!("::1 {} typ host", udp.port());
    assert!(negotiated.answer.contains(&candidate), "{}", negotiated.answer);
    assert!(sdp::values(&negotiated.answer, "candidate").all(|line| line.contains(" ::1 ")));
    // The agent knows no IPv6; it is told what its pipe pretends.
    let answer = negotiated.answer.replace(&candidate, &format!("127.0.0.1 {} typ host", udp.port()));
    let connected = Negotiated { answer, ..negotiated }.connect().await;
    assert_eq!(connected.ping("hello").await, format!("hello via {}", connected.handle));
    assert_eq!(connected.ping_data("secret").await, "echo secret");

    let backend_leg = backend.peer(connected.handle).tap.received();
    assert!(!backend_leg.is_empty() && backend_leg.iter().all(|it| it.peer.is_ipv4()));
    let mapped = client.mapped.lock().unwrap();
    assert!(!mapped.is_empty() && mapped.iter().all(|addr| *addr == client.addr), "{mapped:?}");
}

#[test]
fn requirement_17_a_client_with_ipv4_alone_talks_to_a_backend_candidate_of_ipv6() {
    let edge = Edge::start(SocketAddr::from(([127, 0, 0, 1], 9)));
    let (client, backend) = (registered::Peer::new(), registered::Peer::at("[::1]:0"));
    registered::register(edge.http, BACKEND_PWD, &[backend.candidate()]);
    client.send(&request("aFrg", "oFrg", BACKEND_PWD, 1), edge.udp);
    let (check, side) = backend.next();
    assert!(side.is_ipv6());
    let answer = success(&check, side, BACKEND_PWD);
    backend.send(&answer, side);
    assert_eq!(client.next(), (answer, edge.udp));
    client.send(&MEDIA, edge.udp);
    assert_eq!(backend.next(), (MEDIA.to_vec(), side));
    backend.send(&MEDIA, side);
    assert_eq!(client.next(), (MEDIA.to_vec(), edge.udp));
}

/// UDP and candidates on `::1`, TCP on every address, the upstream with an IPv6 host.
fn everything_on_ipv6(ground: &Ground<'_>, upstream: SocketAddr) -> String {
    assert!(upstream.is_ipv6());
    with_udp(ground, upstream)
        .replace(&format!("\"{}\"", ground.udp), &format!("\"{}\"", on_loopback(ground.udp)))
        .replace(&format!("\"{}\"", ground.tcp), &format!("\"[::]:{}\"", ground.tcp.port()))
        .replace("\"127.0.0.1\"", "\"::1\"")
}

fn on_loopback(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::LOCALHOST.into(), addr.port())
}

/// An IPv6 address that leads to `addr`.
async fn on_ipv6(addr: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let own = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut far = TcpStream::connect(addr).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    own
}

/// A peer whose only way to the edge is IPv6.
struct Ipv6 {
    peer: Peer,
    addr: SocketAddr,
    /// Where the edge said that its packets come from.
    mapped: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Ipv6 {
    async fn connect(edge: SocketAddr) -> Ipv6 {
        let socket = UdpSocket::bind("[::1]:0").await.unwrap();
        socket.connect(edge).await.unwrap();
        let addr = socket.local_addr().unwrap();
        let mapped = Arc::new(Mutex::new(Vec::new()));
        let (near, far) = tokio::io::duplex(1 << 20);
        tokio::spawn(pump(far, Arc::new(socket), mapped.clone()));
        let pretended = |addr: SocketAddr| SocketAddr::from(([127, 0, 0, 1], addr.port()));
        let framed = Framed::over(near, pretended(addr), pretended(edge), usize::MAX);
        let peer = Peer::over(Tap::bind("127.0.0.1:0").await, FramedConn(framed)).await;
        Ipv6 { peer, addr, mapped }
    }
}

/// Frames of the agent as datagrams, and back.
async fn pump(agent: tokio::io::DuplexStream, socket: Arc<UdpSocket>, mapped: Arc<Mutex<Vec<SocketAddr>>>) {
    let (mut from_agent, mut to_agent) = tokio::io::split(agent);
    let out = socket.clone();
    tokio::spawn(async move {
        loop {
            out.send(&receive_frame(&mut from_agent).await).await.unwrap();
        }
    });
    let mut buffer = [0; 2048];
    while let Ok(length) = socket.recv(&mut buffer).await {
        let packet = &buffer[..length];
        if let Some(message) = Message::parse(packet).ok().filter(|it| it.is_binding(Class::Success)) {
            mapped.lock().unwrap().extend(message.xor_mapped_address());
        }
        send_frame(&mut to_agent, packet).await;
    }
}
