//! A flood by one client's session, and one by strangers, through real sockets: other clients go on, and backends do not
//! notice at all.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/registration.rs"]
mod registration;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use xrtc::config::{Limits, Media};
use xrtc::forward::DropReason;
use xrtc::listener::PacketSide;
use xrtc::session::registration::{Command, Mode, SessionSink};
use xrtc::stun::{self, Class, Key, Message};

use registration::{check, registration};

/// Packets per second that a client may send here.
const RATE: u32 = 1_000;
const FLOOD_LASTS: Duration = Duration::from_secs(1);
/// Tells a call's packets from the flood's.
const CALL: [u8; 160] = [0x80; 160];
const FLOOD: [u8; 60] = [0x80; 60];

struct Call {
    client: UdpSocket,
    backend: UdpSocket,
    /// Where the backend sees the client.
    edge: SocketAddr,
}

fn edge() -> PacketSide {
    let media = Media { backend_ports: 20_000..=39_999, ..Media::new(1) };
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let side = PacketSide::start(&["127.0.0.1:0".parse().unwrap()], &[], &media, 100, events).unwrap();
    side.set_limits(&Limits { session_packets: RATE, ..Limits::default() });
    side
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

/// Session `n` in transparent mode, connected.
fn call(side: &PacketSide, n: u64) -> Call {
    let (client, backend) = (socket(), socket());
    client.connect(side.addresses()[0]).unwrap();
    let registration = registration(n, Mode::Transparent, &[backend.local_addr().unwrap()]);
    side.send(Command::Register(Arc::new(registration.clone())));
    let key = Key::short_term(&registration.backend.pwd);
    for _ in 0..20 {
        client.send(&check(&registration)).unwrap();
        let mut buffer = [0; 2048];
        let Ok((len, edge)) = backend.recv_from(&mut buffer) else { continue };
        let request = Message::parse(&buffer[..len]).unwrap();
        assert!(request.is_binding(Class::Request));
        let mut answer = [0; 256];
        let len = stun::binding_success(&mut answer, request.transaction_id(), edge, &key).unwrap();
        backend.send_to(&answer[..len], edge).unwrap();
        if client.recv(&mut buffer).is_ok() {
            return Call { client, backend, edge };
        }
    }
    panic!("session {n} does not connect");
}

/// Counts the packets of this size that arrive, until nothing comes any more.
fn count(at: &UdpSocket, size: usize) -> u32 {
    let mut buffer = [0; 2048];
    let mut packets = 0;
    while let Ok(len) = at.recv(&mut buffer) {
        packets += u32::from(len == size);
    }
    packets
}

#[test]
fn floods_cost_others_little_and_backends_nothing() {
    let side = edge();
    let [bad, good] = [1, 2].map(|n| call(&side, n));
    let stranger = socket();
    stranger.connect(side.addresses()[0]).unwrap();
    let over = AtomicBool::new(false);
    let (flooded, up, down, flood_arrived) = std::thread::scope(|scope| {
        let by_session = scope.spawn(|| {
            // In turn, so that the flood of both kinds is what one core can send.
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                sent += u32::from(bad.client.send(&FLOOD).is_ok());
                sent += u32::from(stranger.send(&FLOOD).is_ok());
            }
            sent
        });
        let up = scope.spawn(|| count(&good.backend, CALL.len()));
        let down = scope.spawn(|| count(&good.client, CALL.len()));
        let flood_arrived = scope.spawn(|| count(&bad.backend, FLOOD.len()));
        let end = Instant::now() + FLOOD_LASTS;
        let mut packets = 0;
        while Instant::now() < end {
            good.client.send(&CALL).unwrap();
            good.backend.send_to(&CALL, good.edge).unwrap();
            packets += 1;
            std::thread::sleep(Duration::from_millis(4));
        }
        over.store(true, Ordering::Relaxed);
        let flooded = by_session.join().unwrap();
        let share = |arrived: u32| f64::from(arrived) / f64::from(packets);
        (flooded, share(up.join().unwrap()), share(down.join().unwrap()), flood_arrived.join().unwrap())
    });
    let told = format!("flood {flooded}, of it forwarded {flood_arrived}; call up {up:.3}, down {down:.3}");
    // The kernel may drop anybody's packet where the flood overruns the socket; a build for tests drains it slowly.
    assert!(up > 0.7, "{told}");
    assert!(down > 0.99, "backends have sockets of their own: {told}");
    assert!(flooded > 10 * RATE, "a flood indeed: {told}");
    let (burst, seconds) = (RATE / 4, FLOOD_LASTS.as_secs() as u32 + 1);
    assert!(flood_arrived <= RATE * seconds + burst, "{told}");
    std::thread::sleep(Duration::from_millis(200));
    let counters = side.counters();
    assert!(counters.drops(DropReason::ClientTooFast) > 0 && counters.drops(DropReason::UnknownAddress) > 0);
    side.stop();
}
