//! Quotas of users, of sources and of all; the bandwidth of one allocation; ports that no relay reaches.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::support::edge::free_udp;
use crate::world::*;

const USERS: &str = "realm: example.org, allow_peers: [127.0.0.1], auth: {password: pw}";

#[test]
fn a_user_has_so_many_and_gets_another_one_when_one_ends() {
    let world = World::new(&format!("{USERS}, allocations_per_user: 2"));
    let (mut first, _) = world.allocated("ann", "pw");
    let _second = world.allocated("ann", "pw");
    assert_eq!(world.refused("ann", "pw"), 486);
    let _other = world.allocated("bob", "pw");
    assert_eq!(first.refresh(0), 0);
    let _third = world.allocated("ann", "pw");
    assert_eq!(world.refused("ann", "pw"), 486);
    world.metric("xrtc_turn_refused_total{service=\"turn0\",reason=\"quota\"}", 2);
}

#[test]
fn a_source_has_so_many_whoever_it_says_it_is() {
    let world = World::new(&format!("{USERS}, allocations_per_client: 2"));
    let _held = [world.allocated("ann", "pw"), world.allocated("bob", "pw")];
    assert_eq!(world.refused("cid", "pw"), 486);
    // Another address of this host is another source.
    let mut elsewhere = world.client();
    elsewhere.socket = UdpSocket::bind("127.0.0.2:0").unwrap();
    elsewhere.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    elsewhere.socket.connect(world.turn).unwrap();
    elsewhere.allocate("cid", "pw").unwrap();
}

#[test]
fn the_server_has_so_many() {
    let world = World::new(&format!("{USERS}, allocations: 2"));
    let _held = [world.allocated("ann", "pw"), world.allocated("bob", "pw")];
    assert_eq!(world.refused("cid", "pw"), 508);
    world.metric("xrtc_turn_refused_total{service=\"turn0\",reason=\"capacity\"}", 1);
}

#[test]
fn an_allocation_gets_its_bandwidth_and_no_more() {
    const PACKET: usize = 1000;
    // A burst of one second's worth, then 100 packets per second.
    let world = World::new(&format!("{USERS}, bandwidth: 100000"));
    let (mut client, relay) = world.allocated("ann", "pw");
    let peer = socket_to(relay);
    assert_eq!(client.bind(peer.local_addr().unwrap(), 0x4000), 0);
    let start = Instant::now();
    let mut up = 0;
    peer.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    while start.elapsed() < Duration::from_secs(2) {
        client.send(0x4000, &[7; PACKET]);
        up += usize::from(receive(&peer).is_some());
    }
    peer.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    up += std::iter::from_fn(|| receive(&peer)).count();
    let allowed = 100.0 + 100.0 * start.elapsed().as_secs_f64();
    assert!((up as f64) < allowed * 1.1 && up > 150, "{up} packets, {allowed} were allowed");
    world.metric("xrtc_turn_drops_total{service=\"turn0\",reason=\"bandwidth\"}", 100);
}

/// Though their address is opened: a relay that reaches one makes a loop.
#[test]
fn no_relay_reaches_a_port_that_this_process_listens_on() {
    let other = free_udp();
    let service =
        format!("  turn1: {{proto: turn, net: {{addr: \"{other}\"}}, turn: {{auth: {{password: pw}}}}}}");
    let world = World::with(&File { service, ..File::new(USERS) });
    let (mut client, _) = world.allocated("ann", "pw");
    let peer = free_udp();
    assert_eq!(client.bind(peer, 0x4000), 0);
    for (number, own) in [(0x4001, world.turn), (0x4002, other)] {
        assert_eq!(client.bind(own, number), 403, "{own}");
    }
    // What goes to the ICE port does not leave the process.
    assert_eq!(client.bind(world.ice, 0x4003), 0);
    client.send(0x4003, b"x");
    world.metric("xrtc_turn_inside_packets_total{service=\"turn0\",direction=\"up\"}", 1);
}
