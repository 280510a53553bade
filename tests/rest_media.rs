//! A registered session through the built `xrtc`, over plain UDP sockets: every packet passes unchanged, both ways, and
//! only of those who know the password.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::edge::Edge;
use xrtc::stun::{AttributeType, Builder, Class, Key, Message, Method};

const CLIENT_PWD: &str = "offerpassword0123456789";
const BACKEND_PWD: &str = "answerpassword01234567";
const OTHER_PWD: &str = "otherpassword012345678";
const MEDIA: [u8; 24] = [0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
/// How long something would have to come that must not; the edge forwards within a millisecond.
const SILENCE: Duration = Duration::from_millis(200);
/// Between two checks of a client that gets no answer.
const RETRY: Duration = Duration::from_millis(250);

#[test]
fn stun_and_media_pass_unchanged_in_both_directions() {
    let world = World::new();
    let backend = Peer::new();
    world.register(BACKEND_PWD, &[&backend]);
    let client = Peer::new();
    let (check, side) = connect(&world, &client, &backend);
    assert_ne!(side, client.addr(), "the backend never sees the client's address");

    // The backend's answer: the mapped address is the edge's backend side, and the client reads just that.
    let answer = success(&check, side, BACKEND_PWD);
    backend.send(&answer, side);
    assert_eq!(client.next(), (answer, world.udp));

    let check = request("oFrg", "aFrg", CLIENT_PWD, 2);
    backend.send(&check, side);
    assert_eq!(client.next(), (check.clone(), world.udp));
    let answer = success(&check, world.udp, CLIENT_PWD);
    client.send(&answer, world.udp);
    assert_eq!(backend.next(), (answer, side));

    for number in 0..20_u8 {
        let packet = [&MEDIA[..], &[number]].concat();
        client.send(&packet, world.udp);
        assert_eq!(backend.next(), (packet.clone(), side));
        backend.send(&packet, side);
        assert_eq!(client.next(), (packet, world.udp));
    }
    let log = world.edge.log();
    assert!(log.contains("room 7") && log.contains("route=rest"), "{log}");
    assert!(!log.contains(CLIENT_PWD) && !log.contains(BACKEND_PWD), "{log}");
}

#[test]
fn who_does_not_know_the_password_reaches_nobody() {
    let world = World::new();
    let backend = Peer::new();
    world.register(BACKEND_PWD, &[&backend]);
    let (client, forger) = (Peer::new(), Peer::new());
    forger.send(&request("aFrg", "oFrg", CLIENT_PWD, 1), world.udp);
    forger.send(&request("oFrg", "aFrg", BACKEND_PWD, 2), world.udp);
    forger.send(&MEDIA, world.udp);
    assert_eq!(backend.waits(SILENCE), None);

    let (check, side) = connect(&world, &client, &backend);
    backend.send(&success(&check, side, BACKEND_PWD), side);
    client.next();
    forger.send(&request("aFrg", "oFrg", OTHER_PWD, 3), world.udp);
    forger.send(&MEDIA, world.udp);
    assert_eq!(backend.waits(SILENCE), None);
    backend.send(&MEDIA, side);
    assert_eq!(client.next(), (MEDIA.to_vec(), world.udp));
    assert_eq!(forger.waits(SILENCE), None);
}

#[test]
fn the_last_registration_of_a_pair_counts_until_a_client_is_there() {
    let world = World::new();
    let (early, late, never) = (Peer::new(), Peer::new(), Peer::new());
    world.register(OTHER_PWD, &[&early]);
    world.register(BACKEND_PWD, &[&late]);
    let client = Peer::new();
    client.send(&request("aFrg", "oFrg", OTHER_PWD, 1), world.udp);
    assert_eq!(early.waits(SILENCE), None);
    let (check, side) = connect(&world, &client, &late);
    late.send(&success(&check, side, BACKEND_PWD), side);
    client.next();

    // Now the session runs: it is answered, and nothing changes.
    world.register(OTHER_PWD, &[&never]);
    let again = request("aFrg", "oFrg", BACKEND_PWD, 4);
    client.send(&again, world.udp);
    assert_eq!(late.next(), (again, side));
    client.send(&MEDIA, world.udp);
    assert_eq!(late.next(), (MEDIA.to_vec(), side));
    client.send(&request("aFrg", "oFrg", OTHER_PWD, 5), world.udp);
    assert_eq!(never.waits(SILENCE), None);
    assert_eq!(early.waits(SILENCE), None);
}

#[test]
fn a_backend_address_that_stays_silent_makes_room_for_the_next_one() {
    let world = World::new();
    let (silent, backend) = (Peer::new(), Peer::new());
    world.register(BACKEND_PWD, &[&silent, &backend]);
    let client = Peer::new();
    let (check, side) = connect(&world, &client, &backend);
    backend.send(&success(&check, side, BACKEND_PWD), side);
    client.next();
    while client.waits(SILENCE).is_some() {}
    while backend.waits(SILENCE).is_some() {}
    client.send(&MEDIA, world.udp);
    assert_eq!(backend.next(), (MEDIA.to_vec(), side));
}

/// An edge; its one route leads nowhere.
struct World {
    edge: Edge,
    udp: SocketAddr,
}

impl World {
    fn new() -> World {
        let edge = Edge::start(SocketAddr::from(([127, 0, 0, 1], 9)));
        World { udp: edge.udp, edge }
    }

    /// Registers the pair `aFrg:oFrg` and expects the edge's candidate.
    fn register(&self, backend_pwd: &str, backends: &[&Peer]) {
        let line = |peer: &&Peer| {
            format!("a=candidate:1 1 udp 2013266431 127.0.0.1 {} typ host", peer.addr().port())
        };
        let body = json!({
            "session_key": "room 7",
            "offer_ice": {"ufrag": "oFrg", "pwd": CLIENT_PWD, "options": ""},
            "answer_ice": {"ufrag": "aFrg", "pwd": backend_pwd, "options": ""},
            "candidates": backends.iter().map(line).collect::<Vec<_>>(),
        });
        let own = format!("a=candidate:1 1 udp 2013266431 127.0.0.1 {} typ host", self.udp.port());
        assert_eq!(post(self.edge.http, &body), json!({"session_key": "room 7", "candidates": [own]}));
    }
}

fn post(addr: SocketAddr, body: &Value) -> Value {
    let body = body.to_string();
    let mut stream = TcpStream::connect(addr).unwrap();
    let head = format!(
        "POST /webrtc/request HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}",
        body.len()
    );
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(body).unwrap()
}

/// Lets `client` check until a check of it reaches `backend`, and returns that check and where it came from.
fn connect(world: &World, client: &Peer, backend: &Peer) -> (Vec<u8>, SocketAddr) {
    let start = Instant::now();
    for number in 10.. {
        assert!(start.elapsed() < Duration::from_secs(15), "no check reaches the backend");
        let check = request("aFrg", "oFrg", BACKEND_PWD, number);
        client.send(&check, world.udp);
        if let Some((received, side)) = backend.waits(RETRY) {
            let passed = Message::parse(&received).unwrap();
            assert_eq!(passed.username(), Some("aFrg:oFrg"));
            // Unchanged: what arrives is one of those that were sent, to the last byte.
            let sent = request(
                "aFrg",
                "oFrg",
                BACKEND_PWD,
                u32::from_be_bytes(passed.transaction_id()[8..].try_into().unwrap()),
            );
            assert_eq!(received, sent);
            return (received, side);
        }
    }
    unreachable!("the loop has no end of its own")
}

/// A UDP socket of one side.
struct Peer(UdpSocket);

impl Peer {
    fn new() -> Peer {
        Peer(UdpSocket::bind("127.0.0.1:0").unwrap())
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn send(&self, packet: &[u8], to: SocketAddr) {
        self.0.send_to(packet, to).unwrap();
    }

    fn waits(&self, time: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        self.0.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 2048];
        let (length, from) = self.0.recv_from(&mut buffer).ok()?;
        Some((buffer[..length].to_vec(), from))
    }

    #[track_caller]
    fn next(&self) -> (Vec<u8>, SocketAddr) {
        self.waits(Duration::from_secs(5)).expect("a packet within 5 s")
    }
}

/// A check of `sender`, which knows the receiver's password; the same for the same number.
fn request(receiver: &str, sender: &str, pwd: &str, number: u32) -> Vec<u8> {
    let mut id = *b"checked!----";
    id[8..].copy_from_slice(&number.to_be_bytes());
    let mut buffer = [0; 256];
    let length = Builder::new(&mut buffer, Class::Request, Method::BINDING, id)
        .ufrags(receiver, sender)
        .priority(0x6e7f_1eff)
        .ice_controlling(1)
        .use_candidate()
        .integrity(&Key::short_term(pwd))
        .fingerprint()
        .finish()
        .unwrap();
    buffer[..length].to_vec()
}

fn success(check: &[u8], mapped: SocketAddr, pwd: &str) -> Vec<u8> {
    let id = Message::parse(check).unwrap().transaction_id();
    let mut buffer = [0; 256];
    let length = Builder::new(&mut buffer, Class::Success, Method::BINDING, id)
        .xor_mapped_address(mapped)
        .attribute(AttributeType::SOFTWARE, b"a backend")
        .integrity(&Key::short_term(pwd))
        .fingerprint()
        .finish()
        .unwrap();
    buffer[..length].to_vec()
}
