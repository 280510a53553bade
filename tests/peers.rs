//! Twenty sessions at once through one UDP port, with other people's ICE and DTLS on both sides.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;

use support::backend::Backend;
use support::client::Client;
use support::edge::Edge;
use support::{sdp, within};

const SESSIONS: usize = 20;
const PACKETS: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_sessions_share_the_port_and_nobody_gets_a_packet_of_another() {
    let backend = Backend::start().await;
    let edge = Edge::start(backend.addr);
    let clients = within(120, "all sessions", connect_all(&edge)).await;

    for client in &clients {
        expect_end_to_end(client, &backend).await;
        expect_only_the_edge_is_told(client, &backend, &edge);
    }
    within(60, "all echoes", talk_all(&clients)).await;
    for client in &clients {
        expect_nothing_foreign(client, &backend, &edge);
    }
}

/// When this fails, the fault is with the peers themselves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peers_find_each_other_without_an_edge() {
    let backend = Backend::start().await;
    let client = Client::connect(backend.addr).await;
    expect_end_to_end(&client, &backend).await;
    within(20, "the echoes", talk(7, &client)).await;
    assert_eq!(client.peer.remote(), backend.peer(client.handle).tap.addr());
}

async fn connect_all(edge: &Edge) -> Vec<Client> {
    futures_util::future::join_all((0..SESSIONS).map(|_| Client::connect(edge.http))).await
}

/// Both ends saw the certificate that the other end described: nobody stands between them.
async fn expect_end_to_end(client: &Client, backend: &Backend) {
    let peer = backend.peer(client.handle);
    let connected = within(10, "the backend's handshake", peer.connected()).await;
    assert_eq!(Some(client.peer.peer_fingerprint.as_str()), sdp::value(&peer.answer, "fingerprint"));
    assert_eq!(Some(connected.peer_fingerprint.as_str()), sdp::value(&client.offer, "fingerprint"));
    assert_eq!(sdp::value(&client.answer, "fingerprint"), sdp::value(&peer.answer, "fingerprint"));
    assert_eq!(sdp::value(&client.offer, "fingerprint"), sdp::value(&peer.offer, "fingerprint"));
}

fn expect_only_the_edge_is_told(client: &Client, backend: &Backend, edge: &Edge) {
    let peer = backend.peer(client.handle);
    let told: Vec<_> = sdp::values(&client.answer, "candidate").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&format!(" {} {} typ host", edge.udp.ip(), edge.udp.port())), "{told:?}");
    let theirs = client.peer.tap.addr().port().to_string();
    // As a number of its own: its digits may well lie within a session id.
    let mut numbers = peer.offer.split(|c: char| !c.is_ascii_digit());
    assert!(numbers.all(|number| number != theirs), "the client's port reached the backend:\n{}", peer.offer);
    assert_ne!(sdp::value(&client.answer, "ice-ufrag"), sdp::value(&peer.answer, "ice-ufrag"));
}

async fn talk_all(clients: &[Client]) {
    let talks = clients.iter().enumerate().map(|(number, client)| talk(number, client));
    futures_util::future::join_all(talks).await;
}

async fn talk(number: usize, client: &Client) {
    for packet in 0..PACKETS {
        let text = format!("<media {number}> packet {packet}");
        assert_eq!(client.ping(&text).await, format!("{text} via {}", client.handle));
    }
    let text = format!("secret of {number}");
    assert_eq!(client.ping_data(&text).await, format!("echo {text}"));
}

/// Reads what the sockets of both ends really received.
fn expect_nothing_foreign(client: &Client, backend: &Backend, edge: &Edge) {
    let peer = backend.peer(client.handle);
    let own = format!(" via {}", client.handle);
    let at_client = client.peer.tap.received();
    assert!(at_client.iter().all(|datagram| datagram.peer == edge.udp), "a packet came past the edge");
    let echoes: Vec<_> = at_client.iter().filter(|datagram| datagram.contains(b"<media ")).collect();
    assert_eq!(echoes.len(), PACKETS);
    assert!(echoes.iter().all(|datagram| datagram.contains(own.as_bytes())));

    let at_backend = peer.tap.received();
    let media = at_backend.iter().filter(|datagram| datagram.contains(b"<media "));
    let senders: HashSet<_> = media.map(|datagram| marker(&datagram.bytes)).collect();
    assert_eq!(senders.len(), 1, "packets of several clients: {senders:?}");
    assert!(at_backend.iter().all(|datagram| datagram.peer != client.peer.tap.addr()));
}

/// `<media 7>` out of a packet.
fn marker(packet: &[u8]) -> String {
    let text = String::from_utf8_lossy(&packet[12..]).into_owned();
    text.split_inclusive('>').next().unwrap_or_default().to_owned()
}
