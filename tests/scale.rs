//! Fifty thousand sessions at once: what a worker does between two batches stays short, so that forwarding does not pause,
//! and a packet costs the same among many sessions as among few.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and tells its figures"
)]

#[path = "support/registration.rs"]
mod registration;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use xrtc::forward::{Forwarder, Received, Setup, Verdict, Via};
use xrtc::session::registration::{Command, Mode, Registration};
use xrtc::stun::{self, Message};

use registration::check;

const SESSIONS: u64 = 50_000;
/// As many commands as a worker carries out between two receives.
const COMMANDS_AT_ONCE: usize = 256;
/// The bound is for the optimised program. Here others share the cores, and a build for tests is ten times slower.
const LONGEST_PAUSE: Duration =
    if cfg!(debug_assertions) { Duration::from_millis(250) } else { Duration::from_millis(5) };

fn forwarder(now: Instant) -> Forwarder {
    Forwarder::new(Setup {
        worker: 0,
        listeners: vec![SocketAddr::from(([203, 0, 113, 1], 6001))],
        max_sessions: 100_000,
        random: Box::new(|bytes| bytes.fill(7)),
        now,
    })
}

fn registration(n: u64, backend: SocketAddr) -> Arc<Registration> {
    Arc::new(registration::registration(n, Mode::Transparent, &[backend]))
}

/// Runs `steps` and tells how long the longest took.
fn longest(mut step: impl FnMut() -> bool) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let start = Instant::now();
        let goes_on = step();
        longest = longest.max(start.elapsed());
        if !goes_on {
            return longest;
        }
    }
}

fn backend(n: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, (n >> 14) as u8, 2], 20_000 + (n & 0x3fff) as u16))
}

#[test]
fn fifty_thousand_registrations_come_and_expire_without_a_pause() {
    let mut now = Instant::now();
    let mut forwarder = forwarder(now);
    for round in 0..3 {
        let all: Vec<_> = (0..SESSIONS).map(|n| registration(round * SESSIONS + n, backend(n))).collect();
        let mut chunks = all.chunks(COMMANDS_AT_ONCE);
        let registering = longest(|| {
            let Some(chunk) = chunks.next() else { return false };
            for registration in chunk {
                forwarder.command(now, Command::Register(registration.clone()));
            }
            true
        });
        assert_eq!(forwarder.known_sessions(), SESSIONS as usize);
        // All of them were registered in the same moment, the worst case: all expire in the same moment.
        let mut turns = 0;
        now += Duration::from_secs(11);
        let expiring = longest(|| {
            if forwarder.next_timeout().is_none_or(|at| at > now) {
                now += Duration::from_secs(10);
            }
            forwarder.handle_timeout(now);
            while forwarder.poll_event().is_some() {}
            turns += 1;
            forwarder.known_sessions() > 0
        });
        println!(
            "round {round}: longest pause registering {registering:?}, expiring {expiring:?} in {turns} turns"
        );
        assert!(turns >= SESSIONS as usize / 256, "spread over turns");
        assert!(registering < LONGEST_PAUSE && expiring < LONGEST_PAUSE, "{registering:?} {expiring:?}");
    }
}

/// A forwarder with so many sessions in transparent mode, all connected, whose backends share one address: each needs a
/// backend-facing socket of its own, the worst case.
fn connected(sessions: u64, muxed: bool) -> (Forwarder, Instant, Duration) {
    let now = Instant::now();
    let mut forwarder = forwarder(now);
    let mut reply = [0; stun::BINDING_RESPONSE_MAX];
    let start = Instant::now();
    for n in 0..sessions {
        let registration = registration(n, if muxed { backend(0) } else { backend(n) });
        forwarder.command(now, Command::Register(registration.clone()));
        let received = Received { via: Via::Listener(0), from: client(n), local: None };
        forwarder.handle(now, received, &check(&registration), &mut reply);
        while let Some(request) = forwarder.poll_socket_request() {
            let local = SocketAddr::from(([10, 9, 9, 9], 1024 + n as u16));
            forwarder.socket_opened(now, request, local);
        }
        while let Some(transmit) = forwarder.poll_transmit() {
            assert!(Message::parse(&transmit.bytes).is_ok());
        }
    }
    (forwarder, now, start.elapsed())
}

fn client(n: u64) -> SocketAddr {
    SocketAddr::from(([198, 51, (n >> 14) as u8, 7], 5_000 + (n & 0x3fff) as u16))
}

#[test]
fn a_socket_per_session_costs_no_more_with_ten_times_the_sessions() {
    let (_, _, few) = connected(1_000, true);
    let (forwarder, _, many) = connected(10_000, true);
    assert_eq!(forwarder.live_sessions(), 10_000);
    // Linear is ten times; quadratic, as a search through all sockets would be, a hundred.
    println!("1000 sessions connected in {few:?}, 10 000 in {many:?}");
    assert!(many < few * 40, "{few:?} for 1000, {many:?} for 10 000");
}

#[test]
fn a_packet_finds_its_session_among_five_thousand() {
    for (sessions, muxed) in [(100, false), (5_000, false), (5_000, true)] {
        let (mut forwarder, now, _) = connected(sessions, muxed);
        let mut reply = [0; stun::BINDING_RESPONSE_MAX];
        let packets = 100_000;
        let start = Instant::now();
        for i in 0..packets {
            let received = Received { via: Via::Listener(0), from: client(i % sessions), local: None };
            let verdict = forwarder.handle(now, received, &[0x80; 172], &mut reply);
            assert!(matches!(verdict, Verdict::Forward(to) if muxed || to.to == backend(i % sessions)));
        }
        println!("{sessions} sessions, muxed {muxed}: {:?} per packet", start.elapsed() / packets as u32);
    }
}
