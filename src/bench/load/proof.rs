//! Proves, before anything is measured, that every session carries packets both ways; and tells backends where a forwarder
//! without any signalling sends from.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::pair::{End, Pair};
use crate::bench::BenchError;
use crate::stun;

/// A packet with stamp 0, which no measured time contains.
const PROBE: [u8; 40] = {
    let mut probe = [0; 40];
    probe[0] = 0x80;
    probe[1] = 96;
    probe
};
/// How long all probes may take, and how often one is repeated.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(100);

/// Connects each client to `at`, and each backend to where its client's first packet comes from.
pub(super) fn introduce(pairs: &[Pair], at: SocketAddr) -> Result<(), BenchError> {
    let mut buffer = [0; 2048];
    for pair in pairs {
        pair.client.connect(at)?;
        let start = Instant::now();
        loop {
            send(&pair.client, None);
            if let Some((_, from)) = pair.backend.wait(&mut buffer, RETRY) {
                pair.backend.connect(from)?;
                break;
            }
            if start.elapsed() > PATIENCE {
                return Err(silent(&format!(
                    "nothing of what is sent to {at} reaches {}",
                    pair.backend.addr
                )));
            }
        }
    }
    Ok(())
}

/// Sends probes until each end of each pair got one.
pub(super) fn both_ways(pairs: &[Pair]) -> Result<(), BenchError> {
    let start = Instant::now();
    let mut done = vec![(false, false); pairs.len()];
    while done.iter().any(|it| *it != (true, true)) {
        for (pair, (up, down)) in pairs.iter().zip(&done) {
            if !up {
                send(&pair.client, pair.channel);
            }
            if !down {
                send(&pair.backend, None);
            }
        }
        let round = Instant::now();
        while round.elapsed() < RETRY && done.iter().any(|it| *it != (true, true)) {
            for (pair, (up, down)) in pairs.iter().zip(&mut done) {
                *up |= heard(&pair.backend, false);
                *down |= heard(&pair.client, pair.channel.is_some());
            }
        }
        if start.elapsed() > PATIENCE {
            let (up, down) = (done.iter().filter(|it| it.0).count(), done.iter().filter(|it| it.1).count());
            return Err(silent(&format!(
                "of {} sessions, {up} carry packets up and {down} down",
                done.len()
            )));
        }
    }
    Ok(())
}

fn send(end: &End, channel: Option<u16>) {
    let mut framed = [0; 4 + PROBE.len()];
    framed[4..].copy_from_slice(&PROBE);
    framed[2..4].copy_from_slice(&(PROBE.len() as u16).to_be_bytes());
    framed[..2].copy_from_slice(&channel.unwrap_or_default().to_be_bytes());
    let start = if channel.is_some() { 0 } else { 4 };
    // A lost probe is sent again.
    let _ = end.socket.send(&framed[start..]);
}

fn heard(end: &End, in_channel: bool) -> bool {
    let mut buffer = [0; 2048];
    let mut heard = false;
    while let Ok(len) = end.socket.recv(&mut buffer) {
        let datagram = &buffer[..len];
        heard |=
            !stun::is_stun(datagram) && (in_channel || datagram.first().is_some_and(|first| first >> 6 == 2));
    }
    heard
}

fn silent(what: &str) -> BenchError {
    BenchError::Peer { who: "the program under test", what: what.to_owned() }
}
