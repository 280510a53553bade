//! TCP towards backends in transparent mode: dialled without holding up anybody, framed both ways, and its end is noticed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/registration.rs"]
mod registration;
#[path = "support/unreachable.rs"]
mod unreachable;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;
use xrtc::config::Media;
use xrtc::listener::PacketSide;
use xrtc::session::registration::*;
use xrtc::stun::{self, Class, Key, Message};

use registration::{check, registration};

const MEDIA: [u8; 20] = [0x80, 111, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];

struct World {
    packets: PacketSide,
    _events: mpsc::UnboundedReceiver<SessionEvent>,
}

impl World {
    fn new() -> World {
        let (events, receiver) = mpsc::unbounded_channel();
        let media = Media { socket_buffer: 1 << 18, ..Media::new(2) };
        let packets = PacketSide::start(&["127.0.0.1:0".parse().unwrap()], &[], &media, 100, events).unwrap();
        World { packets, _events: receiver }
    }

    fn register(&self, n: u64, backends: &[SocketAddr]) -> Registration {
        let mut registration = registration(n, Mode::Transparent, backends);
        registration.prefer_tcp = true;
        for candidate in &mut registration.candidates {
            candidate.transport = CandidateTransport::TcpPassive;
        }
        self.packets.send(Command::Register(Arc::new(registration.clone())));
        registration
    }

    async fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.packets.addresses()[0]).await.unwrap();
        socket
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.packets.stop();
    }
}

async fn frame(stream: &mut TcpStream) -> Vec<u8> {
    let len = stream.read_u16().await.unwrap();
    let mut packet = vec![0; usize::from(len)];
    stream.read_exact(&mut packet).await.unwrap();
    packet
}

async fn answer(stream: &mut TcpStream, registration: &Registration, request: &[u8]) {
    let message = Message::parse(request).unwrap();
    assert!(message.is_binding(Class::Request));
    let key = Key::short_term(&registration.backend.pwd);
    assert_eq!(message.verify(&key), Ok(()), "passed as it was");
    let mut reply = [0; stun::BINDING_RESPONSE_MAX];
    let mapped = stream.peer_addr().unwrap();
    let len = stun::binding_success(&mut reply, message.transaction_id(), mapped, &key).unwrap();
    send(stream, &reply[..len]).await;
}

async fn send(stream: &mut TcpStream, packet: &[u8]) {
    let bytes = [&(packet.len() as u16).to_be_bytes(), packet].concat();
    for part in bytes.chunks(3) {
        stream.write_all(part).await.unwrap();
        tokio::task::yield_now().await;
    }
}

async fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 2048];
    let len = timeout(Duration::from_secs(5), client.recv(&mut buffer)).await.unwrap().unwrap();
    buffer.truncate(len);
    buffer
}

/// Session `n`, connected over a TCP connection to `backend`.
async fn connected(world: &World, n: u64, backend: &TcpListener) -> (Registration, UdpSocket, TcpStream) {
    let registration = world.register(n, &[backend.local_addr().unwrap()]);
    let client = world.client().await;
    client.send(&check(&registration)).await.unwrap();
    let (mut stream, _) = timeout(Duration::from_secs(5), backend.accept()).await.unwrap().unwrap();
    stream.set_nodelay(true).unwrap();
    let request = frame(&mut stream).await;
    answer(&mut stream, &registration, &request).await;
    assert!(Message::parse(&receive(&client).await).unwrap().is_binding(Class::Success));
    (registration, client, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_pass_both_ways_in_frames_over_a_connection_that_the_edge_dials() {
    let world = World::new();
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for n in 1..=3 {
        let (_, client, mut stream) = connected(&world, n, &backend).await;
        client.send(&MEDIA).await.unwrap();
        assert_eq!(frame(&mut stream).await, MEDIA);
        send(&mut stream, &MEDIA).await;
        assert_eq!(receive(&client).await, MEDIA);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_does_not_accept_delays_only_its_own_session() {
    let world = World::new();
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (hung_addr, _hung) = unreachable::listener().await;
    let slow = world.register(1, &[hung_addr, backend.local_addr().unwrap()]);
    let client = world.client().await;
    client.send(&check(&slow)).await.unwrap();
    let start = Instant::now();
    connected(&world, 2, &backend).await;
    assert!(start.elapsed() < Duration::from_secs(1), "another session waited {:?}", start.elapsed());
    // And that one goes on to its next candidate.
    let accepted = async {
        loop {
            client.send(&check(&slow)).await.unwrap();
            if let Ok(accepted) = timeout(Duration::from_millis(500), backend.accept()).await {
                return accepted.unwrap();
            }
        }
    };
    let (mut stream, _) = timeout(Duration::from_secs(15), accepted).await.unwrap();
    let request = frame(&mut stream).await;
    answer(&mut stream, &slow, &request).await;
    assert!(Message::parse(&receive(&client).await).unwrap().is_binding(Class::Success));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_backend_closes_is_dialled_again_for_the_next_check() {
    let world = World::new();
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (registration, client, stream) = connected(&world, 1, &backend).await;
    drop(stream);
    let accepted = async {
        loop {
            client.send(&check(&registration)).await.unwrap();
            if let Ok(accepted) = timeout(Duration::from_millis(300), backend.accept()).await {
                return accepted.unwrap();
            }
        }
    };
    let (mut stream, _) = timeout(Duration::from_secs(10), accepted).await.unwrap();
    let request = frame(&mut stream).await;
    answer(&mut stream, &registration, &request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connection_to_the_backend_closes_with_its_session() {
    let world = World::new();
    let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (registration, _client, mut stream) = connected(&world, 1, &backend).await;
    world.packets.send(Command::End(registration.session, EndReason::Hangup));
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.unwrap().unwrap();
}
