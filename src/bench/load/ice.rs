//! As much ICE as the two ends of a session need: a client that checks until it is answered, and answers to checks.
//! Consent checks come during the traffic too, and [`answer`] serves them there.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::pair::{End, Pair};
use crate::bench::BenchError;
use crate::sdp::candidate::{Candidate, Host, Transport};
use crate::stun::{self, BINDING_RESPONSE_MAX, BindingRequest, Class, IceRole, Key, Message, TransactionId};

/// Time between two checks of a client that has no answer.
const RETRY: Duration = Duration::from_millis(250);
/// Priority of a host candidate, type preference 110 for peer-reflexive ones (RFC 8445 §5.1.2).
const PRIORITY: u32 = 0x6e7f_1eff;

/// ICE credentials of one side.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    pub(super) ufrag: String,
    pub(super) pwd: String,
}

impl Credentials {
    /// Those of number `i`, well formed and easy to recognise in a trace.
    pub(super) fn of(side: &str, i: usize) -> Credentials {
        Credentials { ufrag: format!("{side}{i:06x}"), pwd: format!("{side}-password-{i:012x}") }
    }

    pub(super) fn key(&self) -> Key {
        Key::short_term(&self.pwd)
    }
}

/// What the client of one session sends its checks with.
pub(super) struct Checker {
    /// Of whom it talks to: the edge, or through it the backend.
    pub(super) remote: Credentials,
    pub(super) local: Credentials,
}

impl Checker {
    fn check(&self, buffer: &mut [u8], id: TransactionId) -> usize {
        let request = BindingRequest {
            receiver_ufrag: &self.remote.ufrag,
            sender_ufrag: &self.local.ufrag,
            priority: PRIORITY,
            role: IceRole::Controlling(1),
            use_candidate: true,
        };
        stun::binding_request(buffer, id, &request, &self.remote.key()).unwrap_or_default()
    }
}

/// Where one session is on its way up.
#[derive(Clone, Default)]
struct Progress {
    checked: Option<Instant>,
    answered: bool,
    backend_seen: bool,
}

/// Lets every client check until its session is up on both sides: the client's check was answered, and a check reached the
/// backend, which is then connected to where that came from.
pub(super) fn connect(pairs: &[Pair], checkers: &[Checker], patience: Duration) -> Result<(), BenchError> {
    let start = Instant::now();
    let mut progress = vec![Progress::default(); pairs.len()];
    let mut serial = 0;
    while progress.iter().any(|it| !it.answered || !it.backend_seen) {
        if start.elapsed() > patience {
            return Err(not_up(&progress));
        }
        for (i, (pair, checker)) in pairs.iter().zip(checkers).enumerate() {
            let progress = &mut progress[i];
            let due = progress.checked.is_none_or(|at| at.elapsed() >= RETRY);
            if due && !(progress.answered && progress.backend_seen) {
                progress.checked = Some(Instant::now());
                serial += 1;
                send_check(&pair.client, checker, serial);
            }
            progress.answered |= serve(&pair.client, |_| Ok(()))?;
            progress.backend_seen |= serve_backend(&pair.backend, progress.backend_seen)?;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

fn send_check(client: &End, checker: &Checker, serial: u64) {
    let mut id = *b"load\0\0\0\0\0\0\0\0";
    id[4..].copy_from_slice(&serial.to_be_bytes());
    let mut buffer = [0; 512];
    let len = checker.check(&mut buffer, id);
    // A lost check is sent again.
    let _ = client.socket.send(&buffer[..len]);
}

/// Answers what came; whether there was a success response among it. `on_request` learns where a request came from.
fn serve(
    end: &End,
    mut on_request: impl FnMut(SocketAddr) -> Result<(), BenchError>,
) -> Result<bool, BenchError> {
    let mut buffer = [0; 2048];
    let mut success = false;
    loop {
        match end.socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                let Ok(message) = Message::parse(&buffer[..len]) else { continue };
                success |= message.is_binding(Class::Success);
                if message.is_binding(Class::Request) {
                    on_request(from)?;
                    answer(end, &message, from);
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(_) => return Ok(success),
        }
    }
}

/// Serves a backend, which sends where its first check came from. Whether it had one.
fn serve_backend(backend: &End, connected: bool) -> Result<bool, BenchError> {
    let mut peer = None;
    serve(backend, |from| {
        if !connected && peer.is_none() {
            backend.connect(from)?;
            peer = Some(from);
        }
        Ok(())
    })?;
    Ok(peer.is_some())
}

/// Answers a check with the end's own password.
pub(super) fn answer(end: &End, check: &Message<'_>, from: SocketAddr) {
    let Some(key) = &end.key else { return };
    let mut buffer = [0; BINDING_RESPONSE_MAX];
    if let Ok(len) = stun::binding_success(&mut buffer, check.transaction_id(), from, key) {
        let _ = end.socket.send_to(&buffer[..len], from);
    }
}

fn not_up(progress: &[Progress]) -> BenchError {
    let answered = progress.iter().filter(|it| it.answered).count();
    let seen = progress.iter().filter(|it| it.backend_seen).count();
    let all = progress.len();
    BenchError::Peer {
        who: "xrtc",
        what: format!("of {all} sessions, {answered} clients were answered and {seen} backends were checked"),
    }
}

/// The address of a UDP candidate; `None` for any other line.
pub(super) fn udp_address(line: &str) -> Option<SocketAddr> {
    let candidate = Candidate::parse(line).ok()?;
    match (candidate.transport, candidate.host) {
        (Transport::Udp, Host::Ip(ip)) => Some(SocketAddr::new(ip, candidate.port)),
        _ => None,
    }
}
