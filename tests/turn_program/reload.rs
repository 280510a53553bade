//! A changed file changes who may come in and whom relays reach, and no live allocation ends by it.

use std::net::SocketAddr;
use std::time::Duration;

use xrtc::auth::mint;
use xrtc::config::Secret;

use crate::world::*;

const OPEN: &str =
    "realm: example.org, allow_peers: [127.0.0.2], auth: {users: {john: s3cr3t}, secrets: [old]}";

fn minted(secret: &str) -> (String, String) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let minted = mint(&Secret::new(secret), "alice", now + 600);
    (minted.username, minted.password.expose().to_owned())
}

/// Whether a packet reaches the peer, and one of the peer the client.
fn passes(client: &Client, peer: &std::net::UdpSocket) -> (bool, bool) {
    for socket in [&client.socket, peer] {
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    }
    client.send(0x4000, b"up");
    let up = receive(peer).is_some();
    peer.send(b"down").unwrap();
    let down = receive(&client.socket).is_some();
    client.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    (up, down)
}

fn bound(client: &mut Client, relay: SocketAddr) -> std::net::UdpSocket {
    // No address that this host tells others; permissions for those stay, for the sake of other relays.
    let peer = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
    peer.connect(relay).unwrap();
    assert_eq!(client.bind(peer.local_addr().unwrap(), 0x4000), 0);
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_rotate_and_users_leave_while_their_calls_go_on() {
    let world = World::new(OPEN);
    let (name, password) = minted("old");
    let (mut with_old, relay) = world.allocated(&name, &password);
    let peer_of_old = bound(&mut with_old, relay);
    let (mut john, relay) = world.allocated("john", "s3cr3t");
    let peer_of_john = bound(&mut john, relay);

    // Both secrets count while they overlap.
    world.reload(&File::new(&OPEN.replace("[old]", "[new, old]"))).await;
    world.allocated(&name, &password);
    let (newer, its_password) = minted("new");
    world.allocated(&newer, &its_password);

    // The old one goes, and a user with it.
    world
        .reload(&File::new(&OPEN.replace("{john: s3cr3t}, secrets: [old]", "{jane: pw}, secrets: [new]")))
        .await;
    assert_eq!(world.refused(&name, &password), 401);
    assert_eq!(world.refused("john", "s3cr3t"), 401);
    world.allocated("jane", "pw");
    for (client, peer) in [(&mut with_old, &peer_of_old), (&mut john, &peer_of_john)] {
        assert_eq!(passes(client, peer), (true, true));
        assert_eq!(client.refresh(600), 0, "who is in stays in");
        assert_eq!(client.permit(peer.local_addr().unwrap()), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_closed_loses_its_permission_and_the_allocation_stays() {
    let world = World::new(OPEN);
    let (mut client, relay) = world.allocated("john", "s3cr3t");
    let peer = bound(&mut client, relay);
    assert_eq!(passes(&client, &peer), (true, true));
    world.reload(&File::new(&OPEN.replace("allow_peers: [127.0.0.2], ", ""))).await;
    assert_eq!(passes(&client, &peer), (false, false));
    assert_eq!(client.bind(peer.local_addr().unwrap(), 0x4000), 403);
    assert_eq!(client.refresh(600), 0);
    world.reload(&File::new(OPEN)).await;
    assert_eq!(client.bind(peer.local_addr().unwrap(), 0x4000), 0);
    assert_eq!(passes(&client, &peer), (true, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotas_follow_the_file_and_what_needs_a_restart_is_named() {
    let world = World::new(OPEN);
    let (mut held, _) = world.allocated("john", "s3cr3t");
    let tighter = OPEN.replace("realm: example.org", "realm: another.example, allocations_per_user: 1");
    world.reload(&File::new(&tighter)).await;
    assert_eq!(world.refused("john", "s3cr3t"), 486);
    assert_eq!(held.refresh(600), 0);
    assert!(world.log().contains("needs a restart") && world.log().contains("realm"), "{}", world.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_refused_changes_nothing() {
    let world = World::new(OPEN);
    let (mut client, relay) = world.allocated("john", "s3cr3t");
    let peer = bound(&mut client, relay);
    world.reload_badly(&File::new("realm: example.org, allow_peers: [nonsense], auth: {}")).await;
    assert_eq!(passes(&client, &peer), (true, true));
    world.allocated("john", "s3cr3t");
    assert_eq!(client.refresh(600), 0);
}
