//! A registered session through the built `xrtc`, over plain UDP sockets: every packet passes unchanged, both ways, and
//! only of those who know the password.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::json;
use support::edge::Edge;
use support::registered::{BACKEND_PWD, CLIENT_PWD, MEDIA, Peer, SILENCE, register, request, success};
use xrtc::stun::Message;

const OTHER_PWD: &str = "otherpassword012345678";
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
        let lines: Vec<_> = backends.iter().map(|peer| peer.candidate()).collect();
        let own = format!("a=candidate:1 1 udp 2013266431 127.0.0.1 {} typ host", self.udp.port());
        let answer = register(self.edge.http, backend_pwd, &lines);
        assert_eq!(answer, json!({"session_key": "room 7", "candidates": [own]}));
    }
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
