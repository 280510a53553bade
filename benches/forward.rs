//! What the decision over one media packet costs: in both modes, among few and among many connected sessions, and for a sender that
//! no table knows. Nothing is sent; the kernel's share shows in `scripts/bench`.

#[path = "../tests/support/registration.rs"]
#[allow(clippy::unwrap_used, reason = "shared with tests, which fail by panicking")]
mod registration;

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use xrtc::config::Limits;
use xrtc::forward::{Forwarder, Received, Setup, Verdict, Via};
use xrtc::session::registration::{Command, Mode, Registration};
use xrtc::stun::{self, Class, Key, Message};

use registration::{check, registration};

criterion_group! {
    name = forward;
    // Connecting the sessions takes longer than measuring them.
    config = Criterion::default().sample_size(30);
    targets = packets, strangers
}
criterion_main!(forward);

const EDGE: ([u8; 4], u16) = ([10, 0, 0, 1], 40_000);
/// A step that visits the sessions in an order that no cache line foresees.
const STRIDE: usize = 7919;

fn packets(c: &mut Criterion) {
    let media = [0x80; 1200];
    for (mode, name) in [(Mode::HalfProxy, "half proxy"), (Mode::Transparent, "transparent")] {
        let mut group = c.benchmark_group(format!("forward, {name}"));
        group.throughput(Throughput::Elements(1));
        for count in [100, 50_000] {
            let mut world = World::connected(mode, count);
            let mut at = 0;
            for (direction, up) in [("up", true), ("down", false)] {
                group.bench_function(format!("{direction}, {count} sessions"), |b| {
                    b.iter(|| {
                        at = (at + STRIDE) % count;
                        let (via, from) = if up { world.client(at) } else { world.backends[at] };
                        world.handle(via, from, black_box(&media))
                    });
                });
            }
        }
        group.finish();
    }
}

fn strangers(c: &mut Criterion) {
    let media = [0x80; 1200];
    let mut group = c.benchmark_group("table lookup");
    group.throughput(Throughput::Elements(1));
    for count in [100, 50_000] {
        let mut world = World::connected(Mode::HalfProxy, count);
        let stranger = SocketAddr::from(([192, 0, 2, 66], 6666));
        group.bench_function(format!("media of a stranger, {count} sessions"), |b| {
            b.iter(|| world.handle(Via::Listener(0), stranger, black_box(&media)));
        });
    }
    group.finish();
}

/// A worker with sessions whose legs are up.
struct World {
    forwarder: Forwarder,
    now: Instant,
    reply: [u8; stun::BINDING_RESPONSE_MAX],
    /// By session: the socket that its backend sends to, and the backend.
    backends: Vec<(Via, SocketAddr)>,
}

impl World {
    fn connected(mode: Mode, count: usize) -> World {
        let now = Instant::now();
        let setup = Setup {
            worker: 0,
            listeners: vec![SocketAddr::from(([203, 0, 113, 1], 6001))],
            max_sessions: count,
            random: Box::new(|bytes| bytes.fill(7)),
            now,
        };
        let mut forwarder = Forwarder::new(setup);
        // Here virtual time stands still, and rates would run out.
        let limits = Limits { session_bytes: 0, session_packets: 0, ..Limits::default() };
        forwarder.set_limits(now, &limits);
        let mut world = World { forwarder, now, reply: [0; 256], backends: Vec::with_capacity(count) };
        for i in 0..count {
            world.connect(mode, i);
        }
        let (client, (via, backend)) = (world.client(count - 1), world.backends[count - 1]);
        let media = [0x80; 100];
        assert!(matches!(world.handle(client.0, client.1, &media), Verdict::Forward(_)), "{mode:?}: up");
        assert!(matches!(world.handle(via, backend, &media), Verdict::Forward(_)), "{mode:?}: down");
        world
    }

    fn client(&self, i: usize) -> (Via, SocketAddr) {
        (Via::Listener(0), SocketAddr::from(([198, 51, (i >> 8) as u8, i as u8], 5000)))
    }

    fn connect(&mut self, mode: Mode, i: usize) {
        let backend = SocketAddr::from(([10, 1, (i >> 8) as u8, i as u8], 20_000));
        let registration = Arc::new(registration(i as u64 + 1, mode, &[backend]));
        self.backends.push((Via::Backend(0), backend));
        self.forwarder.command(self.now, Command::Register(registration.clone()));
        let (via, from) = self.client(i);
        self.handle(via, from, &check(&registration));
        self.answer_checks(&registration, i, backend);
    }

    /// Opens the socket that is asked for, and answers as the backend, until it was nominated.
    fn answer_checks(&mut self, registration: &Registration, i: usize, backend: SocketAddr) {
        let key = Key::short_term(&registration.backend.pwd);
        let (_, client) = self.client(i);
        for _ in 0..4 {
            while let Some(request) = self.forwarder.poll_socket_request() {
                let socket = self.forwarder.socket_opened(self.now, request, EDGE.into());
                self.backends[i].0 = Via::Backend(socket.index);
            }
            while let Some(transmit) = self.forwarder.poll_transmit() {
                let Ok(check) = Message::parse(&transmit.bytes) else { continue };
                if transmit.to.to != backend || !check.is_binding(Class::Request) {
                    continue;
                }
                let mapped = if registration.mode == Mode::Transparent { client } else { EDGE.into() };
                let mut bytes = [0; 256];
                let answer = stun::binding_success(&mut bytes, check.transaction_id(), mapped, &key);
                self.handle(transmit.to.via, backend, &bytes[..answer.unwrap_or_default()]);
            }
            while self.forwarder.poll_event().is_some() {}
            // Little enough that even the last of 50 000 comes before the first one's consent is due.
            self.now += Duration::from_micros(10);
            self.forwarder.handle_timeout(self.now);
        }
    }

    fn handle(&mut self, via: Via, from: SocketAddr, bytes: &[u8]) -> Verdict {
        self.forwarder.handle(self.now, Received { via, from, local: None }, bytes, &mut self.reply)
    }
}
