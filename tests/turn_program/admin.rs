//! What operators see of allocations, and the end of one.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use crate::support::stream;
use crate::world::*;

const TURN: &str = "realm: example.org, allow_peers: [127.0.0.1], auth: {password: pw}";

fn rows(world: &World, query: &str) -> Vec<Value> {
    world.json(&format!("/api/turn{query}"))["allocations"].as_array().unwrap().clone()
}

#[test]
fn allocations_are_listed_with_what_they_carried() {
    let world = World::new(TURN);
    let none = world.json("/api/turn");
    assert_eq!((&none["total"], &none["services"][0]["service"]), (&Value::from(0), &Value::from("turn0")));
    let (mut ann, relay) = world.allocated("ann", "pw");
    let peer = socket_to(relay);
    assert_eq!(ann.bind(peer.local_addr().unwrap(), 0x4000), 0);
    for _ in 0..3 {
        ann.send(0x4000, &[7; 100]);
        receive(&peer).unwrap();
    }
    peer.send(&[8; 50]).unwrap();
    receive(&ann.socket).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let (_bob, _) = world.allocated("bob", "pw");

    let listed = rows(&world, "");
    assert_eq!(listed.iter().map(|row| row["user"].as_str().unwrap()).collect::<Vec<_>>(), ["bob", "ann"]);
    let row = &listed[1];
    assert_eq!(row["service"], "turn0");
    assert_eq!(row["transport"], "udp");
    assert_eq!(row["client"], ann.socket.local_addr().unwrap().to_string());
    assert_eq!(row["relays"], serde_json::json!([relay.to_string()]));
    assert_eq!((&row["permissions"], &row["channels"]), (&1.into(), &1.into()));
    assert_eq!(row["up"], serde_json::json!({"packets": 3, "bytes": 300}));
    assert_eq!(row["down"], serde_json::json!({"packets": 1, "bytes": 50}));
    assert!((590_000..=600_000).contains(&row["expires_in_ms"].as_u64().unwrap()), "{row}");
    assert_eq!(rows(&world, "?user=ann").len(), 1);
    assert_eq!(rows(&world, "?user=nobody").len(), 0);
    assert_eq!(rows(&world, "?limit=1")[0]["user"], "bob");
    assert_eq!(world.admin("GET", "/api/turn?limit=x").0, 400);
    world.metric("xrtc_turn_allocations{service=\"turn0\"}", 2);
    let whole = world.json("/api/turn");
    assert_eq!((&whole["total"], &whole["services"][0]["allocated"]), (&2.into(), &2.into()));
}

#[test]
fn an_operator_ends_one_and_leaves_the_others() {
    let world = World::new(TURN);
    let (mut ann, relay) = world.allocated("ann", "pw");
    let (mut bob, _) = world.allocated("bob", "pw");
    let peer = socket_to(relay);
    assert_eq!(ann.bind(peer.local_addr().unwrap(), 0x4000), 0);
    let id = rows(&world, "?user=ann")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(world.admin("DELETE", &format!("/api/turn/{id}")).0, 204);
    assert_eq!(world.admin("DELETE", &format!("/api/turn/{id}")).0, 404);
    assert_eq!(world.admin("DELETE", "/api/turn/nonsense").0, 400);
    assert_eq!(world.admin("GET", &format!("/api/turn/{id}")).0, 405);
    // What it sends reaches nobody, and it is told when it asks.
    ann.send(0x4000, b"late");
    peer.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    assert!(receive(&peer).is_none());
    assert_eq!(ann.refresh(600), 437);
    assert_eq!(bob.refresh(600), 0);
    assert_eq!(rows(&world, "").len(), 1);
    assert!(world.log().contains("ended by an operator"));
    // Its place is free.
    assert!(ann.allocate("ann", "pw").is_ok());
}

#[test]
fn they_are_told_by_what_their_clients_came_by() {
    let world = World::new(TURN);
    let _udp = world.allocated("udp", "pw");
    let mut plain = world.stream();
    allocate_over(&mut plain, "tcp", "pw");
    let mut in_tls = stream::blocking_tls(world.stream());
    allocate_over(&mut in_tls, "tls", "pw");
    let mut at_the_page = stream::blocking_tls(TcpStream::connect(world.web).unwrap());
    allocate_over(&mut at_the_page, "tls", "pw");
    let listed = rows(&world, "");
    assert_eq!(listed.len(), 4);
    for row in listed {
        assert_eq!(row["transport"], row["user"], "{row}");
    }
}

#[test]
fn over_tcp_the_connection_ends_with_it() {
    let world = World::new(TURN);
    let mut stream = world.stream();
    allocate_over(&mut stream, "ann", "pw");
    let row = &rows(&world, "")[0];
    assert_eq!(world.admin("DELETE", &format!("/api/turn/{}", row["id"].as_str().unwrap())).0, 204);
    assert_eq!(stream.read(&mut [0; 10]).unwrap_or(0), 0, "closed");
}
